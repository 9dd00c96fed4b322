//! The world behind traits: clock, disk, network, entropy, tasks.
