//! The consumer through its public door, against a scripted broker in virtual time.
#![expect(clippy::unwrap_used, reason = "a test, with helpers outside of its functions")]

#[path = "consumer/script.rs"]
mod script;

#[path = "consumer/around.rs"]
mod around;
#[path = "consumer/assignment.rs"]
mod assignment;
#[path = "consumer/failures.rs"]
mod failures;
#[path = "consumer/parts.rs"]
mod parts;
#[path = "consumer/progress.rs"]
mod progress;
#[path = "consumer/pulling.rs"]
mod pulling;
#[path = "consumer/start.rs"]
mod start;
