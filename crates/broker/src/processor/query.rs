//! Single messages: by key (12), by position (33).

use std::sync::Arc;

use rmq_message::{PhysicalOffset, Timestamp};
use rmq_remoting::protocol::query::{QueryMessage, QueryResponse, ViewMessage};
use rmq_remoting::{Body, RemotingCommand, Reply, Response};
use rmq_runtime::Tasks;
use rmq_store::{KeyKind, KeyQuery, MessageStore};

use super::offset::{blocking, read};
use crate::cold::ColdReads;
use crate::reply;

/// Messages that a query by unique key returns at most, whatever it asks for.
const UNIQUE_MAX: usize = 32;

/// Serves queries.
pub(crate) struct QueryRequests {
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) cold: Arc<ColdReads>,
    pub(crate) tasks: Tasks,
}

impl QueryRequests {
    /// Messages by key (12).
    pub(crate) fn query(&self, request: &RemotingCommand) -> Reply {
        let asked: QueryMessage = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let store = Arc::clone(&self.store);
        blocking(self.tasks.clone(), move || {
            let unique = asked.unique_key == Some(true);
            let query = KeyQuery {
                topic: &asked.topic,
                key: &asked.key,
                kind: match asked.index_type.as_deref() {
                    Some("T") => KeyKind::Tag,
                    _ => KeyKind::Key,
                },
                begin: Timestamp(asked.begin_timestamp),
                end: Timestamp(asked.end_timestamp),
                count_max: if unique {
                    UNIQUE_MAX
                } else {
                    usize::try_from(asked.max_num).unwrap_or(0)
                },
            };
            match store.query(&query) {
                Ok(found) if found.records.is_empty() => {
                    reply::query_empty().with(&QueryResponse {
                        index_last_update_timestamp: 0,
                        index_last_update_phyoffset: 0,
                    })
                }
                Ok(found) => {
                    let mut response = Response::of(&QueryResponse {
                        index_last_update_timestamp: found.index_timestamp.0,
                        index_last_update_phyoffset: found.index_offset.to_i64(),
                    });
                    response.body = found.records.into_iter().collect::<Body>();
                    response
                }
                Err(error) => reply::read_failed(&error),
            }
        })
    }

    /// The message at a position (33).
    pub(crate) fn view(&self, request: &RemotingCommand) -> Reply {
        let offset = match read::<ViewMessage>(request) {
            Ok(asked) => asked.offset,
            Err(refused) => return Reply::Now(refused),
        };
        let Some(at) = PhysicalOffset::from_i64(offset) else {
            return Reply::Now(reply::view_missing(offset));
        };
        self.cold.with_message(at, move |record| {
            Reply::Now(match record {
                Ok(record) => Response::ok().with_body(record),
                Err(_) => reply::view_missing(offset),
            })
        })
    }
}
