//! Transactions: a message that consumers see only when its producer says so.
//!
//! [`TransactionProducer::send`] stores a half message, runs the listener's local branch, and tells
//! the broker how that ended. Should the broker not hear of it, because this process or the way to
//! it fails, it asks a live producer of the group, whose listener then finds out
//! ([`TransactionListener::check`]). A panic counts as "unknown": the broker asks later.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use futures_util::FutureExt;
use rmq_client_core::protocol::{EndTransaction, verdict};
use rmq_client_core::{CheckBack, SendReceipt, SendStatus, TransactionQuestion};
use rmq_message::{Message, MessageQueue, MessageView, id, property, sys_flag};

use crate::error::{MessageError, SendError};
use crate::producer::{Producer, Shared};
use crate::trace::Traces;

/// How a transaction has ended.
#[doc(alias = "LocalTransactionState")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Consumers get the message.
    #[doc(alias = "COMMIT_MESSAGE")]
    Commit,
    /// Nobody gets it.
    #[doc(alias = "ROLLBACK_MESSAGE")]
    Rollback,
    /// Not known yet; the broker asks later.
    #[default]
    #[doc(alias = "UNKNOW")]
    Unknown,
}

impl Verdict {
    fn code(self) -> i32 {
        match self {
            Self::Commit => verdict::COMMIT,
            Self::Rollback => verdict::ROLLBACK,
            Self::Unknown => verdict::UNKNOWN,
        }
    }

    /// Java's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Commit => "COMMIT_MESSAGE",
            Self::Rollback => "ROLLBACK_MESSAGE",
            Self::Unknown => "UNKNOW",
        }
    }
}

/// The application's side of transactions.
#[async_trait]
pub trait TransactionListener: Send + Sync + 'static {
    /// Runs the local branch, now that the half message is stored.
    #[doc(alias = "executeLocalTransaction")]
    async fn execute(&self, message: &Message, receipt: &SendReceipt) -> Verdict;

    /// Finds out how an earlier transaction has ended, maybe one of another process of the group.
    #[doc(alias = "checkLocalTransaction")]
    async fn check(&self, message: &MessageView) -> Verdict;
}

/// What became of a transaction.
#[doc(alias = "TransactionSendResult")]
#[derive(Clone, Debug)]
pub struct TransactionReceipt {
    /// Where the half message is.
    pub receipt: SendReceipt,
    /// How the local branch ended. That the broker has heard of it is not certain; it asks if not.
    pub verdict: Verdict,
}

/// Sends messages in transactions. Clones share everything.
#[doc(alias = "TransactionMQProducer")]
#[derive(Clone)]
pub struct TransactionProducer {
    producer: Producer,
    listener: Arc<dyn TransactionListener>,
}

/// A half message that is stored; dropped without an end, it stays open until the broker asks.
#[derive(Debug)]
#[must_use = "an open transaction is ended by commit or rollback"]
pub struct OpenTransaction {
    producer: Producer,
    receipt: SendReceipt,
    /// As brokers know it.
    queue: MessageQueue,
    message: Message,
}

impl TransactionProducer {
    pub(crate) fn new(producer: Producer, listener: Arc<dyn TransactionListener>) -> Self {
        let shared = &producer.shared;
        let asked = Asked { shared: Arc::downgrade(shared), listener: Arc::clone(&listener) };
        shared.instance.answer_checks(&shared.config.group, Arc::new(asked));
        Self { producer, listener }
    }

    /// Stores a half message, runs the listener's local branch, and ends the transaction. A message
    /// that is stored, but not as safe as the broker's settings demand, is rolled back without
    /// running it.
    ///
    /// Dropping the future leaves the transaction open.
    ///
    /// # Errors
    /// As [`Producer::send`]; also [`MessageError::DelayInTransaction`].
    #[doc(alias = "sendMessageInTransaction")]
    pub async fn send(&self, message: Message) -> Result<TransactionReceipt, SendError> {
        let open = self.begin(message).await?;
        let verdict = if open.receipt.status == SendStatus::Ok {
            let branch = self.listener.execute(&open.message, &open.receipt);
            let ended = AssertUnwindSafe(branch).catch_unwind().await;
            ended.unwrap_or_else(|_| {
                tracing::error!(id = open.receipt.id, "a local transaction panicked");
                Verdict::Unknown
            })
        } else {
            Verdict::Rollback
        };
        let receipt = open.receipt.clone();
        open.end(verdict).await;
        Ok(TransactionReceipt { receipt, verdict })
    }

    /// Stores a half message, to be ended by the caller.
    ///
    /// # Errors
    /// As [`TransactionProducer::send`].
    pub async fn begin(&self, mut message: Message) -> Result<OpenTransaction, SendError> {
        let is_delayed = [
            property::DELAY,
            property::TIMER_DELAY_MS,
            property::TIMER_DELAY_SEC,
            property::TIMER_DELIVER_MS,
        ]
        .iter()
        .any(|name| message.properties.get(name).is_some());
        if is_delayed {
            return Err(MessageError::DelayInTransaction.into());
        }
        let (producer, shared) = (self.producer.clone(), &self.producer.shared);
        message.properties.set(property::TRANSACTION_PREPARED, "true");
        message.properties.set(property::PRODUCER_GROUP, &shared.config.group);
        let half = message.clone();
        let receipt = self.producer.send_marked(half, sys_flag::TRANSACTION_PREPARED).await?;
        if let Some(id) = &receipt.transaction_id {
            message.properties.set(property::TRANSACTION_ID, id);
        }
        message.properties.set(property::UNIQ_KEY, &receipt.id);
        let topic = shared.instance.namespace().wrap(&receipt.queue.topic);
        let queue = MessageQueue { topic, ..receipt.queue.clone() };
        Ok(OpenTransaction { producer, receipt, queue, message })
    }

    /// The producer, for messages without a transaction.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// As [`Producer::shutdown`]. Open transactions are asked about at other producers of the group.
    pub async fn shutdown(&self) {
        self.producer.shutdown().await;
    }
}

impl std::fmt::Debug for TransactionProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TransactionProducer").field(&self.producer).finish()
    }
}

impl OpenTransaction {
    /// Where the half message is.
    pub fn receipt(&self) -> &SendReceipt {
        &self.receipt
    }

    /// Consumers get the message.
    pub async fn commit(self) {
        self.end(Verdict::Commit).await;
    }

    /// Nobody gets the message.
    pub async fn rollback(self) {
        self.end(Verdict::Rollback).await;
    }

    async fn end(self, verdict: Verdict) {
        let Self { producer, receipt, queue, message } = self;
        let shared = &*producer.shared;
        let Some((_, at)) = id::parse_offset_id(&receipt.offset_id) else {
            return tracing::warn!(id = receipt.offset_id, "no offset id; the broker will ask");
        };
        let end = EndTransaction {
            topic: Some(queue.topic.clone()),
            producer_group: shared.config.group.as_str().into(),
            tran_state_table_offset: receipt.queue_offset.0,
            commit_log_offset: at.to_i64(),
            commit_or_rollback: verdict.code(),
            from_transaction_check: Some(false),
            msg_id: Some(receipt.id.as_str().into()),
            transaction_id: receipt.transaction_id.clone(),
            broker_name: Some(queue.broker_name.clone()),
        };
        if let Err(error) = shared.instance.brokers().end_transaction(&queue, &end).await {
            tracing::warn!(id = receipt.id, %error, "the broker was not told; it will ask");
        }
        Traces::ended(shared, &message, &receipt, verdict);
    }
}

/// Answers brokers. Knows the producer only weakly, as the instance holds it.
struct Asked {
    shared: Weak<Shared>,
    listener: Arc<dyn TransactionListener>,
}

#[async_trait]
impl CheckBack for Asked {
    async fn check(&self, question: TransactionQuestion) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut message = question.message.clone();
        message.topic = shared.instance.namespace().strip(&message.topic);
        let found = AssertUnwindSafe(self.listener.check(&message)).catch_unwind().await;
        let verdict = found.unwrap_or_else(|_| {
            tracing::error!(id = message.id(), "the check of a transaction panicked");
            Verdict::Unknown
        });
        let end = question.answer(&shared.config.group, verdict.code());
        if let Err(error) = shared.instance.brokers().answer_check(&question.from, &end).await {
            tracing::warn!(id = message.id(), %error, "the broker was not answered; it asks again");
        }
    }
}
