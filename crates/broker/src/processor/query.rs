//! Single messages: by key (12), by position (33).

use std::sync::Arc;

use rmq_message::{PhysicalOffset, Timestamp};
use rmq_remoting::protocol::query::{QueryMessage, QueryResponse, ViewMessage};
use rmq_remoting::{Body, RemotingCommand, Reply, Response};
use rmq_runtime::Tasks;
use rmq_store::{KeyKind, KeyQuery, MessageStore};

use super::offset::{answer, blocking, read};
use crate::reply;

/// Messages that a query by unique key returns at most, whatever it asks for.
const UNIQUE_MAX: usize = 32;

/// Serves queries.
pub(crate) struct QueryRequests {
    pub(crate) store: Arc<dyn MessageStore>,
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
    pub(crate) fn view(&self, request: &RemotingCommand) -> Response {
        answer(read::<ViewMessage>(request).and_then(|asked| {
            let at = PhysicalOffset::from_i64(asked.offset);
            let record = at.and_then(|at| self.store.message_at(at).ok());
            let record = record.ok_or_else(|| reply::view_missing(asked.offset))?;
            Ok(Response::ok().with_body(record))
        }))
    }
}
