//! Ends of transactions (37), and another round of checks of one that was given up (323).
//!
//! A commit stages the message where it belongs and the note of the end behind it, in that order:
//! a crash between the two delivers it twice at worst. Of two verdicts the first one counts
//! (INV-33); who ends a transaction must name its group and both positions of its half message
//! (HI-26).

use std::sync::Arc;

use bytes::Bytes;
use rmq_message::record::{NewRecord, RecordView};
use rmq_message::{PhysicalOffset, Timestamp, id, sys_flag};
use rmq_remoting::protocol::transaction::{EndTransaction, ResumeCheck, verdict};
use rmq_remoting::{RemotingCommand, Reply, Response};
use rmq_runtime::Clock;
use rmq_store::{AppendError, AppendReceipt, QueueKey, ReadError};

use crate::append::{Appender, Before};
use crate::cold::ColdReads;
use crate::identity::Identity;
use crate::reply;
use crate::topic_table::TopicTable;
use crate::transaction::{Half, Ledger, half_queue, note, resumed_properties, tags_code};

/// Serves ends of transactions.
pub(crate) struct TransactionRequests {
    pub(crate) identity: Arc<Identity>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) cold: Arc<ColdReads>,
    pub(crate) appender: Appender,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Age at which a transaction may be checked, in ms.
    pub(crate) timeout_ms: i64,
}

impl TransactionRequests {
    /// Serves one. A producer that does not know yet gets no answer.
    pub(crate) fn process(self: &Arc<Self>, request: &RemotingCommand) -> Reply {
        let end = match request.payload::<EndTransaction>() {
            Ok(end) if end.commit_or_rollback == verdict::UNKNOWN => return Reply::None,
            Ok(end) => end,
            Err(error) => return reply::failed(error).into(),
        };
        let Some(at) = PhysicalOffset::from_i64(end.commit_log_offset) else {
            return reply::half_missing().into();
        };
        let (this, oneway) = (Arc::clone(self), request.is_oneway());
        self.cold.with_message(at, move |stored| match this.end(&end, stored) {
            Ok(_) if oneway => Reply::None,
            Ok(receipt) => this.appender.answer(receipt.end, Before::default(), Response::ok()),
            Err(refused) => {
                let (group, half) = (&*end.producer_group, end.tran_state_table_offset);
                let why = refused.remark.as_deref();
                tracing::warn!(group, half, why, "the end of a transaction is refused");
                refused.into()
            }
        })
    }

    /// Has the producer asked again about a transaction that was given up (323): a new half message
    /// is made of what lies in `TRANS_CHECK_MAX_TIME_TOPIC`.
    pub(crate) fn resume(self: &Arc<Self>, request: &RemotingCommand) -> Reply {
        let asked = match request.payload::<ResumeCheck>() {
            Ok(asked) => asked,
            Err(error) => return reply::failed(error).into(),
        };
        let Some((_, at)) = asked.msg_id.as_deref().and_then(id::parse_offset_id) else {
            return reply::resume_failed().into();
        };
        let this = Arc::clone(self);
        self.cold.with_message(at, move |stored| match this.stage_again(stored) {
            Ok(receipt) => this.appender.answer(receipt.end, Before::default(), Response::ok()),
            Err(refused) => refused.into(),
        })
    }

    fn stage_again(&self, stored: Result<Bytes, ReadError>) -> Result<AppendReceipt, Response> {
        let stored = stored.map_err(|_| reply::resume_failed())?;
        let given_up = RecordView::parse(&stored).map_err(|_| reply::resume_failed())?;
        let properties = resumed_properties(&given_up).ok_or_else(reply::resume_refused)?;
        let queue = half_queue();
        let half = NewRecord {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            properties: &properties,
            store_host: self.identity.address(),
            ..given_up.to_new(tags_code(&given_up))
        };
        let staged = self.appender.stage(&queue, std::slice::from_ref(&half));
        staged.map_err(|error| reply::append_failed(&error, self.appender.body_max()))
    }

    fn end(
        &self,
        end: &EndTransaction,
        stored: Result<Bytes, ReadError>,
    ) -> Result<AppendReceipt, Response> {
        let commit = match end.commit_or_rollback {
            verdict::COMMIT => true,
            verdict::ROLLBACK => false,
            other => return Err(reply::no_verdict(other)),
        };
        let stored = stored.map_err(|error| match error {
            ReadError::NotFound { .. } => reply::half_missing(),
            error => reply::failed(error),
        })?;
        let half = RecordView::parse(&stored).ok().and_then(Half::of);
        let half = half.ok_or_else(reply::half_missing)?;
        self.check_owner(end, &half)?;
        let target = commit.then(|| self.target(&half)).transpose()?;
        let ended = self.ledger.end(half.offset(), half.origin(), |halves| {
            if let Some(target) = &target {
                self.commit(&half, target)?;
            }
            let now = Timestamp::from(self.clock.wall());
            note(halves, now, self.identity.address(), |record| {
                let queue = QueueKey::new(record.topic, record.queue_id);
                self.appender.stage(&queue, std::slice::from_ref(record))
            })
        });
        let staged = ended.map_err(|_| reply::transaction_over())?;
        staged.map_err(|error| reply::append_failed(&error, self.appender.body_max()))
    }

    fn check_owner(&self, end: &EndTransaction, half: &Half<'_>) -> Result<(), Response> {
        if half.group() != Some(&*end.producer_group) {
            return Err(reply::transaction_of_another_group());
        }
        if half.offset() != end.tran_state_table_offset
            || half.record().queue_id != half_queue().queue_id
        {
            return Err(reply::transaction_elsewhere());
        }
        let age = Timestamp::from(self.clock.wall()) - half.record().born_timestamp;
        let is_late = half.immunity_ms(self.timeout_ms).is_some_and(|immunity| age > immunity);
        if is_late && end.from_transaction_check != Some(true) {
            return Err(reply::transaction_late());
        }
        Ok(())
    }

    /// Where the message belongs, if its topic is still there.
    fn target(&self, half: &Half<'_>) -> Result<QueueKey, Response> {
        let target = half.target().ok_or_else(reply::half_missing)?;
        let topic = self.topics.find(&target.topic);
        let topic = topic.ok_or_else(|| reply::topic_unmade(&target.topic))?;
        // The topic may have fewer queues than when the message came.
        let queue_id = target.queue_id.rem_euclid(topic.queues().max(1));
        Ok(QueueKey { queue_id, ..target })
    }

    fn commit(&self, half: &Half<'_>, target: &QueueKey) -> Result<AppendReceipt, AppendError> {
        let properties = half.committed_properties();
        let record = half.record();
        let committed = NewRecord {
            topic: &target.topic,
            queue_id: target.queue_id,
            sys_flag: record.sys_flag & !sys_flag::TRANSACTION_ROLLBACK
                | sys_flag::TRANSACTION_COMMIT,
            prepared_transaction_offset: record.physical_offset.to_i64(),
            store_host: self.identity.address(),
            ..half.with_properties(&properties)
        };
        self.appender.stage(target, std::slice::from_ref(&committed))
    }
}
