//! The broker through its public door: recorded requests of Apache's tools and clients, the
//! conversations of producers and consumers, restarts, foreign input. Over a real store.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod admin;
mod busy;
mod clients;
mod cold;
mod delay;
mod disk;
mod fixture;
mod foreign;
mod golden;
mod lacking;
mod plain;
mod pop;
mod pull;
mod register;
mod remote;
mod reply;
mod send;
mod state_files;
mod timer;
mod transaction;
