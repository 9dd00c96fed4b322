//! rmq-server.
fn main() {}
