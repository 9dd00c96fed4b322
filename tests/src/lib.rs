//! Clusters for tests, in this process or as real programs.
