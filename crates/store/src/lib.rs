//! RocketMQ's message store on local disk: one commit log for all topics, and what is derived
//! from it.

mod api;
mod config;
mod local;

pub use api::{
    AdminError, AdmitAll, AppendError, AppendReceipt, ArrivalListener, Boundary, Expired, Health,
    KeyKind, KeyQuery, MessageFilter, MessageStore, QueryOutcome, QueueKey, ReadError, ReadOutcome,
    ReadRequest, ReadStatus, StoreAdmin, StoreStatus,
};
pub use config::{Config, ConfigError, FlushDiskType};
pub use local::{LocalStore, OpenError};
