//! Requests of clients: who serves which; frequent ones first.

use std::sync::Arc;

use rmq_message::id::UniqueIds;
use rmq_remoting::request_code as code;
use rmq_remoting::{Peer, RemotingCommand, Reply};

use super::parts::Parts;
use crate::processor::ack::AckRequests;
use crate::processor::assignment::AssignmentRequests;
use crate::processor::client::ClientRequests;
use crate::processor::lock::LockRequests;
use crate::processor::notification::NotificationRequests;
use crate::processor::offset::OffsetRequests;
use crate::processor::pop::PopRequests;
use crate::processor::pull::PullRequests;
use crate::processor::query::QueryRequests;
use crate::processor::recall::RecallRequests;
use crate::processor::reply::ReplyRequests;
use crate::processor::send::SendRequests;
use crate::processor::send_back::SendBackRequests;
use crate::processor::transaction::TransactionRequests;
use crate::reply;
use crate::timer::Timing;

/// Those who serve them.
pub(super) struct Requests {
    send: Arc<SendRequests>,
    pull: Arc<PullRequests>,
    offsets: OffsetRequests,
    pub(super) clients: Arc<ClientRequests>,
    locks: LockRequests,
    queries: QueryRequests,
    recalls: RecallRequests,
    send_back: Arc<SendBackRequests>,
    pop: Arc<PopRequests>,
    acks: AckRequests,
    notifications: Arc<NotificationRequests>,
    transactions: Arc<TransactionRequests>,
    replies: Arc<ReplyRequests>,
    assignments: Arc<AssignmentRequests>,
}

impl Requests {
    pub(super) fn new(p: &Parts) -> Self {
        let pop = Arc::new(pop(p));
        let send = Arc::new(send(p));
        Self {
            notifications: Arc::new(NotificationRequests { pops: Arc::clone(&pop) }),
            pop,
            acks: acks(p),
            replies: Arc::new(ReplyRequests {
                send: Arc::clone(&send),
                producers: Arc::clone(&p.producers),
                store: p.config.store_reply_message_enable,
            }),
            send,
            assignments: Arc::new(assignments(p)),
            pull: Arc::new(pull(p)),
            offsets: offsets(p),
            clients: Arc::new(clients(p)),
            locks: LockRequests {
                topics: Arc::clone(&p.topics),
                locks: Arc::clone(&p.locks),
                clock: p.clock(),
            },
            queries: QueryRequests {
                store: Arc::clone(&p.store),
                cold: Arc::clone(&p.cold),
                tasks: p.tasks.clone(),
            },
            recalls: recalls(p),
            send_back: Arc::new(send_back(p)),
            transactions: Arc::new(transactions(p)),
        }
    }

    /// Serves the request, or hands it back.
    pub(super) fn process(
        &self,
        peer: &Arc<Peer>,
        request: RemotingCommand,
    ) -> Result<Reply, RemotingCommand> {
        Ok(match request.code {
            code::SEND_MESSAGE_V2 | code::SEND_MESSAGE | code::SEND_BATCH_MESSAGE => {
                self.send.process(peer, &request)
            }
            code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => self.pull.process(peer, request),
            code::POP_MESSAGE => self.pop.process(peer, &request),
            code::ACK_MESSAGE => self.acks.ack(peer, &request),
            code::BATCH_ACK_MESSAGE => self.acks.ack_many(&request),
            code::CHANGE_MESSAGE_INVISIBLETIME => self.acks.change(peer, &request),
            code::PEEK_MESSAGE => self.pop.peek(peer, &request),
            // What is in flight lies in the files that this would move it to.
            code::POP_ROLLBACK => reply::unset().into(),
            code::NOTIFICATION => self.notifications.process(peer, &request),
            code::QUERY_ASSIGNMENT => self.assignments.query(&request),
            code::SET_MESSAGE_REQUEST_MODE => self.assignments.set(&request),
            code::GET_ALL_MESSAGE_REQUEST_MODE => self.assignments.all().into(),
            code::POLLING_INFO => self.pop.polling(peer, &request).into(),
            code::END_TRANSACTION => self.transactions.process(&request),
            code::RESUME_CHECK_HALF_MESSAGE => self.transactions.resume(&request),
            code::UPDATE_CONSUMER_OFFSET => self.offsets.update(peer, &request).into(),
            code::QUERY_CONSUMER_OFFSET => self.offsets.query(&request),
            code::CONSUMER_SEND_MSG_BACK => self.send_back.process(&request),
            code::HEART_BEAT => self.clients.heartbeat(peer, &request).into(),
            code::GET_CONSUMER_LIST_BY_GROUP => self.clients.list(&request).into(),
            code::LOCK_BATCH_MQ => self.locks.lock(&request),
            code::UNLOCK_BATCH_MQ => self.locks.unlock(&request).into(),
            code::UNREGISTER_CLIENT => self.clients.unregister(peer, &request).into(),
            code::CHECK_CLIENT_CONFIG => self.clients.check(&request).into(),
            code::GET_MAX_OFFSET => self.offsets.max(&request).into(),
            code::GET_MIN_OFFSET => self.offsets.min(&request).into(),
            code::GET_EARLIEST_MSG_STORETIME => self.offsets.earliest(&request),
            code::SEARCH_OFFSET_BY_TIMESTAMP => self.offsets.search(&request),
            code::RECALL_MESSAGE => self.recalls.process(peer, &request),
            code::SEND_REPLY_MESSAGE_V2 | code::SEND_REPLY_MESSAGE => {
                self.replies.process(peer, request)
            }
            code::QUERY_MESSAGE => self.queries.query(&request),
            code::VIEW_MESSAGE_BY_ID => self.queries.view(&request),
            _ => return Err(request),
        })
    }
}

fn send(p: &Parts) -> SendRequests {
    SendRequests {
        identity: Arc::clone(&p.identity),
        live: Arc::clone(&p.live),
        topics: Arc::clone(&p.topics),
        groups: Arc::clone(&p.groups),
        locks: Arc::clone(&p.locks),
        appender: p.appender(),
        levels: p.levels.clone(),
        clock: p.clock(),
        entropy: Arc::clone(&p.world.entropy),
        ids: UniqueIds::new(
            p.config.broker_ip1,
            std::process::id(),
            u32::try_from(p.world.entropy.below(1 << 32)).unwrap_or(0),
            p.world.clock.utc_offset_ms(),
        ),
        stats: Arc::clone(&p.stats),
        timers: Timing::of(&p.config),
        reject_transactions: p.config.reject_transaction_message,
        accept_from: p.config.start_accept_send_request_time_stamp,
    }
}

fn recalls(p: &Parts) -> RecallRequests {
    RecallRequests {
        identity: Arc::clone(&p.identity),
        live: Arc::clone(&p.live),
        topics: Arc::clone(&p.topics),
        appender: p.appender(),
        clock: p.clock(),
        rules: Timing::of(&p.config),
    }
}

fn pull(p: &Parts) -> PullRequests {
    PullRequests {
        identity: Arc::clone(&p.identity),
        live: Arc::clone(&p.live),
        topics: Arc::clone(&p.topics),
        groups: Arc::clone(&p.groups),
        offsets: Arc::clone(&p.offsets),
        consumers: Arc::clone(&p.consumers),
        store: Arc::clone(&p.store),
        holds: Arc::clone(&p.holds),
        filters: Arc::clone(&p.filters),
        clock: p.clock(),
        cold: Arc::clone(&p.cold),
        stats: Arc::clone(&p.stats),
    }
}

fn pop(p: &Parts) -> PopRequests {
    PopRequests {
        identity: Arc::clone(&p.identity),
        live: Arc::clone(&p.live),
        topics: Arc::clone(&p.topics),
        groups: Arc::clone(&p.groups),
        filters: Arc::clone(&p.filters),
        offsets: Arc::clone(&p.offsets),
        cursors: Arc::clone(&p.pop.cursors),
        orders: Arc::clone(&p.pop.orders),
        log: Arc::clone(&p.pop.log),
        watch: Arc::clone(&p.pop.watch),
        store: Arc::clone(&p.store),
        appender: p.appender(),
        holds: Arc::clone(&p.holds),
        clock: p.clock(),
        entropy: Arc::clone(&p.world.entropy),
        stats: Arc::clone(&p.stats),
        retries: p.pop.retries,
        cold: Arc::clone(&p.cold),
        ascending: p.pop.ascending,
    }
}

fn acks(p: &Parts) -> AckRequests {
    AckRequests {
        identity: Arc::clone(&p.identity),
        topics: Arc::clone(&p.topics),
        groups: Arc::clone(&p.groups),
        offsets: Arc::clone(&p.offsets),
        cursors: Arc::clone(&p.pop.cursors),
        orders: Arc::clone(&p.pop.orders),
        log: Arc::clone(&p.pop.log),
        store: Arc::clone(&p.store),
        appender: p.appender(),
        holds: Arc::clone(&p.holds),
        clock: p.clock(),
    }
}

fn assignments(p: &Parts) -> AssignmentRequests {
    AssignmentRequests {
        live: Arc::clone(&p.live),
        topics: Arc::clone(&p.topics),
        groups: Arc::clone(&p.groups),
        consumers: Arc::clone(&p.consumers),
        modes: Arc::clone(&p.modes),
        routes: Arc::clone(&p.routes),
        clock: p.clock(),
    }
}

fn clients(p: &Parts) -> ClientRequests {
    ClientRequests {
        live: Arc::clone(&p.live),
        topics: Arc::clone(&p.topics),
        groups: Arc::clone(&p.groups),
        consumers: Arc::clone(&p.consumers),
        producers: Arc::clone(&p.producers),
        filters: Arc::clone(&p.filters),
        filter_table: Arc::clone(&p.filter_table),
        clock: p.clock(),
    }
}

fn send_back(p: &Parts) -> SendBackRequests {
    SendBackRequests {
        identity: Arc::clone(&p.identity),
        live: Arc::clone(&p.live),
        topics: Arc::clone(&p.topics),
        groups: Arc::clone(&p.groups),
        cold: Arc::clone(&p.cold),
        appender: p.appender(),
        levels: p.levels.clone(),
        clock: p.clock(),
        entropy: Arc::clone(&p.world.entropy),
        stats: Arc::clone(&p.stats),
    }
}

fn transactions(p: &Parts) -> TransactionRequests {
    TransactionRequests {
        identity: Arc::clone(&p.identity),
        topics: Arc::clone(&p.topics),
        cold: Arc::clone(&p.cold),
        appender: p.appender(),
        ledger: Arc::clone(&p.ledger),
        clock: p.clock(),
        timeout_ms: p.transaction_rules().timeout_ms,
    }
}

pub(super) fn offsets(p: &Parts) -> OffsetRequests {
    OffsetRequests {
        topics: Arc::clone(&p.topics),
        groups: Arc::clone(&p.groups),
        offsets: Arc::clone(&p.offsets),
        delays: Arc::clone(&p.delays),
        consumers: Arc::clone(&p.consumers),
        store: Arc::clone(&p.store),
        cold: Arc::clone(&p.cold),
        clock: p.clock(),
        tasks: p.tasks.clone(),
    }
}
