//! Asks producers about transactions that stay open, and gives up those about which they were
//! asked too often.
//!
//! One pass each `transactionCheckInterval`: it goes through the half messages in order, passes
//! those that are ended, puts back those that are still open (with a question to a live producer of
//! the group once their time is over), moves those that are given up to
//! `TRANS_CHECK_MAX_TIME_TOPIC`, and stops at the first that is too young. Progress moves when all
//! of that is durable.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmq_message::record::{NewRecord, Placement, crc};
use rmq_message::{PhysicalOffset, Timestamp, id, name, property};
use rmq_remoting::protocol::transaction::CheckTransaction;
use rmq_remoting::{Peer, RemotingCommand, TypedRequest};
use rmq_runtime::{Clock, ClockExt, Monotonic, Stop};
use rmq_store::{AppendError, AppendReceipt, MessageStore, QueueKey};

use super::half::{Half, age_ms, read, records};
use super::ledger::{Ledger, Over};
use super::{ends, half_queue, op_queue, progress, set_progress};
use crate::append::Appender;
use crate::cold::ColdReads;
use crate::identity::Identity;
use crate::offset_table::OffsetTable;
use crate::producer_registry::ProducerRegistry;
use crate::topic_table::TopicTable;

/// Longest pass.
const PASS_MAX: Duration = Duration::from_secs(60);

/// When a producer is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Age from which on, in ms, unless the message says another.
    pub(crate) timeout_ms: i64,
    /// How often.
    pub(crate) checks_max: u32,
    /// Age at which a message is given up, in ms.
    pub(crate) age_max_ms: i64,
}

/// Asks.
pub(crate) struct TransactionCheck {
    pub(crate) identity: Arc<Identity>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) producers: Arc<ProducerRegistry>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) cold: Arc<ColdReads>,
    pub(crate) appender: Appender,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rules: Rules,
    pub(crate) interval: Duration,
}

/// What becomes of an open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is too young, and so are all behind it.
    Stop,
    /// It stays open without a question, since it is immune still.
    Keep,
    /// Its producer is asked, for the so-maniest time.
    Ask(u32),
    GiveUp,
}

impl Rules {
    /// `began`: when the pass did.
    fn step(&self, half: &Half<'_>, began: Timestamp, now: Timestamp) -> Step {
        let age = age_ms(half, now);
        if half.checks() >= self.checks_max || age > self.age_max_ms {
            return Step::GiveUp;
        }
        if half.record().store_timestamp >= began {
            return Step::Stop;
        }
        match half.immunity_ms(self.timeout_ms) {
            Some(immunity) if age < immunity => Step::Keep,
            None if (0..self.timeout_ms).contains(&age) => Step::Stop,
            _ => Step::Ask(half.checks().saturating_add(1)),
        }
    }
}

/// A pass under way.
struct Pass {
    began: Timestamp,
    /// The half message that comes next.
    next: i64,
    /// Half messages from here on have come meanwhile.
    end: i64,
    ended: ends::Ends,
    /// End of what was staged.
    staged: Option<PhysicalOffset>,
    questions: Vec<(Arc<Peer>, RemotingCommand)>,
    over: bool,
}

impl TransactionCheck {
    /// Passes until it is time to stop.
    pub(crate) async fn run(self: Arc<Self>, stop: Stop) {
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return,
                () = self.clock.sleep(self.interval) => {}
            }
            tokio::select! {
                biased;
                () = stop.requested() => return,
                outcome = self.pass() => if let Err(why) = outcome {
                    tracing::warn!(why, "open transactions wait for the next check");
                }
            }
        }
    }

    async fn pass(&self) -> Result<(), String> {
        let (began, deadline) = (self.wall(), self.clock.monotonic() + PASS_MAX);
        let (halves, ops) = (half_queue(), op_queue());
        let end = self.store.offsets(&halves).end.0;
        let next = progress(&self.offsets, &*self.store, &halves);
        let from = progress(&self.offsets, &*self.store, &ops);
        let ended = self.cold.aside(move |store| ends::read(store, from)).await.flatten();
        let ended = ended.map_err(|error| error.to_string())?;
        let (staged, questions, over) = (None, Vec::new(), false);
        let mut pass = Pass { began, next, end, ended, staged, questions, over };
        while self.has_more(&mut pass, deadline) {
            let before = pass.next;
            let batch = self.cold.aside(move |store| read(store, &half_queue(), before)).await;
            let (slices, next) = batch.flatten().map_err(|error| error.to_string())?;
            let mut failure = None;
            records(slices, |record| {
                let Some(half) = Half::of(record) else { return true };
                match self.look_at(&mut pass, &half) {
                    Ok(()) => !pass.over,
                    Err(error) => {
                        failure = Some(error.to_string());
                        false
                    }
                }
            });
            if !pass.over && failure.is_none() {
                pass.next = pass.next.max(next);
            }
            self.settle(&mut pass).await?;
            if pass.next > before {
                set_progress(&self.offsets, &halves, pass.next, self.wall());
                self.ledger.passed(pass.next);
            } else if !pass.over {
                break;
            }
            if let Some(failure) = failure {
                return Err(failure);
            }
            tokio::task::yield_now().await;
        }
        set_progress(&self.offsets, &halves, pass.next, self.wall());
        set_progress(&self.offsets, &ops, pass.ended.needed_from(pass.next), self.wall());
        self.ledger.passed(pass.next);
        Ok(())
    }

    /// Goes to the next half message that is not ended; whether there is one, and time for it.
    fn has_more(&self, pass: &mut Pass, deadline: Monotonic) -> bool {
        while pass.next < pass.end && pass.ended.ended.contains(&pass.next) {
            pass.next += 1;
        }
        !pass.over && pass.next < pass.end && self.clock.monotonic() < deadline
    }

    fn look_at(&self, pass: &mut Pass, half: &Half<'_>) -> Result<(), AppendError> {
        let (at, origin) = (half.offset(), half.origin());
        if at >= pass.end {
            pass.over = true;
            return Ok(());
        }
        let is_ended = pass.ended.ended.contains(&at) || pass.ended.ended.contains(&origin);
        if !is_ended {
            match self.rules.step(half, pass.began, self.wall()) {
                Step::Stop => pass.over = true,
                Step::Keep => self.put_back(pass, half, None)?,
                Step::Ask(times) => self.put_back(pass, half, Some(times))?,
                Step::GiveUp => self.give_up(pass, half)?,
            }
        }
        if !pass.over {
            pass.next = pass.next.max(at.saturating_add(1));
        }
        Ok(())
    }

    /// Puts a copy behind all others and, if the producer is to be asked, prepares the question.
    fn put_back(
        &self,
        pass: &mut Pass,
        half: &Half<'_>,
        times: Option<u32>,
    ) -> Result<(), AppendError> {
        let properties = half.copied_properties(times);
        let store_host = self.identity.address();
        let copy = NewRecord { store_host, ..half.with_properties(&properties) };
        let put = self.ledger.put_back(half.offset(), half.origin(), || {
            let receipt = self.appender.stage(&half_queue(), std::slice::from_ref(&copy))?;
            Ok::<_, AppendError>((receipt.queue_offset.0, receipt))
        });
        let receipt = match put {
            Ok(staged) => staged?,
            // Ended just now: the next pass sees the note.
            Err(Over) => {
                pass.over = true;
                return Ok(());
            }
        };
        pass.staged = Some(receipt.end);
        if times.is_some() {
            let peer = half.group().and_then(|group| self.producers.any(group));
            let question = peer.zip(self.question(half, &properties, &receipt));
            pass.questions.extend(question);
        }
        Ok(())
    }

    fn question(
        &self,
        half: &Half<'_>,
        properties: &[u8],
        receipt: &AppendReceipt,
    ) -> Option<RemotingCommand> {
        let real = half.target()?;
        let store_host = self.identity.address();
        let message = NewRecord {
            topic: &real.topic,
            queue_id: real.queue_id,
            store_host,
            ..half.with_properties(properties)
        };
        let at = Placement {
            queue_offset: receipt.queue_offset,
            physical_offset: receipt.physical_offset,
            store_timestamp: receipt.store_timestamp,
        };
        let mut body = Vec::new();
        message.encode(&mut body, message.encoded_len().ok()?, crc(message.body), at);
        let unique_id = half.record().property(property::UNIQ_KEY).map(Into::into);
        let header = CheckTransaction {
            topic: Some(name::HALF_TOPIC.into()),
            tran_state_table_offset: receipt.queue_offset.0,
            commit_log_offset: receipt.physical_offset.to_i64(),
            transaction_id: unique_id.clone(),
            msg_id: unique_id,
            offset_msg_id: Some(id::offset_id(store_host, receipt.physical_offset).into()),
            broker_name: Some(self.identity.name.clone()),
        };
        Some((header, Bytes::from(body)).to_command())
    }

    /// Puts it where operators find it.
    fn give_up(&self, pass: &mut Pass, half: &Half<'_>) -> Result<(), AppendError> {
        let (topic, now) = (name::TRANS_CHECK_MAX_TIME_TOPIC, self.wall());
        let made = self.topics.provide(topic, 1, 0, now);
        if made.is_none() {
            tracing::error!(topic, "no more topics; undecided transactions are kept there anyway");
        }
        let queue = QueueKey::new(topic, 0);
        let record =
            NewRecord { topic: &queue.topic, ..half.with_properties(half.record().properties) };
        // Like a copy: should its end be told at this moment, that comes first.
        let put = self.ledger.put_back(half.offset(), half.origin(), || {
            let receipt = self.appender.stage(&queue, std::slice::from_ref(&record))?;
            Ok::<_, AppendError>((half.offset(), receipt.end))
        });
        match put {
            Ok(staged) => pass.staged = Some(staged?),
            Err(Over) => {
                pass.over = true;
                return Ok(());
            }
        }
        tracing::warn!(
            half = half.offset(),
            group = half.group(),
            unique_id = half.record().property(property::UNIQ_KEY),
            "a transaction that nobody has ended is given up"
        );
        Ok(())
    }

    /// Waits until what was staged is durable, then asks.
    async fn settle(&self, pass: &mut Pass) -> Result<(), String> {
        if let Some(end) = pass.staged.take() {
            self.appender.settled(end).await.map_err(|error| error.to_string())?;
        }
        for (peer, question) in pass.questions.drain(..) {
            if let Err(error) = peer.oneway(question) {
                tracing::debug!(%error, "a producer was not asked; the next check asks again");
            }
        }
        Ok(())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from(self.clock.wall())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_message::QueueOffset;
    use rmq_message::record::RecordView;

    const RULES: Rules = Rules { timeout_ms: 6_000, checks_max: 15, age_max_ms: 1_000_000 };

    fn step(properties: &str, stored: i64, now: i64) -> Step {
        let record = NewRecord {
            topic: name::HALF_TOPIC,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: Timestamp(1_000),
            born_host: "1.2.3.4:5".parse().unwrap(),
            store_host: "10.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"b",
            properties: properties.as_bytes(),
            tags_code: 0,
        };
        let at = Placement {
            queue_offset: QueueOffset(4),
            physical_offset: PhysicalOffset(0),
            store_timestamp: Timestamp(stored),
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes, record.encoded_len().unwrap(), crc(b"b"), at);
        let half = Half::of(RecordView::parse(&bytes).unwrap()).unwrap();
        RULES.step(&half, Timestamp(now), Timestamp(now))
    }

    #[test]
    fn an_open_transaction_is_asked_about_from_its_time_on() {
        assert_eq!(step("", 1_000, 6_999), Step::Stop);
        assert_eq!(step("", 1_000, 7_000), Step::Ask(1));
        assert_eq!(step("TRANSACTION_CHECK_TIMES\u{1}3\u{2}", 1_000, 9_000), Step::Ask(4));
        assert_eq!(step("", 9_000, 9_000), Step::Stop, "stored since the pass began");
        assert_eq!(step("", 500, 900), Step::Ask(1), "its clock is ahead of ours");
    }

    #[test]
    fn an_immune_one_is_kept_and_checked_exactly_when_that_ends() {
        let immune = "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}20\u{2}";
        assert_eq!(step(immune, 1_000, 20_999), Step::Keep);
        assert_eq!(step(immune, 1_000, 21_000), Step::Ask(1));
        assert_eq!(step("CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}x\u{2}", 1_000, 7_000), Step::Ask(1));
    }

    #[test]
    fn one_that_nobody_ends_is_given_up() {
        assert_eq!(step("TRANSACTION_CHECK_TIMES\u{1}15\u{2}", 1_000, 9_000), Step::GiveUp);
        assert_eq!(step("", 1_000, 1_001_001), Step::GiveUp);
    }
}
