//! What brokers ask producers about transactions that are still open.

use async_trait::async_trait;
use rmq_message::MessageView;
use rmq_remoting::invoker::Endpoint;
use rmq_remoting::protocol::transaction::{CheckTransaction, EndTransaction};

/// A producer that knows how its transactions have ended.
#[doc(alias = "MQProducerInner")]
#[async_trait]
pub trait CheckBack: Send + Sync + 'static {
    /// Finds out how a transaction has ended, and tells the broker. Runs in a task of its own.
    #[doc(alias = "checkTransactionState")]
    async fn check(&self, question: TransactionQuestion);
}

/// A broker's question about one open transaction (39).
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionQuestion {
    /// The half message, with the topic and the queue where it belongs.
    pub message: MessageView,
    /// Where the answer goes.
    pub from: Endpoint,
    pub(crate) header: CheckTransaction,
}

impl TransactionQuestion {
    /// The answer; `verdict` is one of [`crate::protocol::verdict`].
    pub fn answer(&self, group: &str, verdict: i32) -> EndTransaction {
        let unique_id = self.message.id();
        EndTransaction {
            topic: self.header.topic.clone(),
            producer_group: group.into(),
            tran_state_table_offset: self.header.tran_state_table_offset,
            commit_log_offset: self.header.commit_log_offset,
            commit_or_rollback: verdict,
            from_transaction_check: Some(true),
            msg_id: Some(unique_id.into()),
            transaction_id: self.header.transaction_id.clone(),
            broker_name: self.header.broker_name.clone(),
        }
    }
}
