//! The broker: processors, hold service, tables of topics, groups and offsets.
