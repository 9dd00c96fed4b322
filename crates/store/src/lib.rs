//! RocketMQ's message store on local disk: one commit log for all topics, and what is derived from
//! it. Files are those of Apache RocketMQ 5.5.0, in both directions.
//!
//! ```text
//! append ──▶ commit_log::writer ──▶ staged ──settle/flusher──▶ visible ──sync──▶ durable
//!                   │ entry                    │
//!                   ▼                          ├─▶ ArrivalListener
//!             consume_queue (RAM) ──each second─▶ files
//!                                              └─▶ index (follows the log)
//! ```
//!
//! The log is the truth: consume queues, key index, checkpoint and progress may be deleted and are
//! built again from it.
//!
//! | module | owns |
//! |---|---|
//! | `api` | traits and values: [`MessageStore`], [`StoreAdmin`] |
//! | `commit_log`, `segmented_log` | records, their files, flush, the end of the log |
//! | `consume_queue` | where the messages of each queue are |
//! | `index` | messages by key |
//! | `dispatch` | what a record means for what is derived |
//! | `checkpoint`, `progress`, `mark` | how far everything is: Apache's form, ours, and ours of what is not synced |
//! | `recovery` | opening |
//! | `read` | reading |
//! | [`inspect`] | looking at a store's files from outside: check, dump |
//! | `local` | [`LocalStore`]: wiring, background work, stop |

mod api;
mod checkpoint;
mod commit_log;
mod config;
mod consume_queue;
mod dispatch;
mod gate;
mod index;
pub mod inspect;
mod layout;
mod local;
mod mark;
mod progress;
mod read;
mod recovery;
mod segmented_log;

pub use api::{
    AdminError, AdmitAll, AppendError, AppendReceipt, ArrivalListener, Boundary, Expired, Health,
    KeyKind, KeyQuery, MessageFilter, MessageStore, QueryOutcome, QueueKey, ReadError, ReadOutcome,
    ReadRequest, ReadStatus, StoreAdmin, StoreStatus,
};
pub use config::{Config, ConfigError, FlushDiskType};
pub use local::{Chore, LocalStore, OpenError, StopError};
