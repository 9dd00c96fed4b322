//! The second half of transactions: end (37), check (39), and a new round of checks (323).

use bytes::Bytes;
use compact_str::CompactString;

use super::declare::{conversation, header};

header! {
    /// Ends a transaction (37), mostly one-way.
    #[doc(alias = "EndTransactionRequestHeader")]
    pub struct EndTransaction {
        /// Topic.
        topic: Option<CompactString> = "topic",
        /// Group of the producer.
        producer_group: CompactString = "producerGroup" or "",
        /// Position in the queue of half messages.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// Physical offset of the half message.
        commit_log_offset: i64 = "commitLogOffset",
        /// One of [`verdict`].
        commit_or_rollback: i32 = "commitOrRollback",
        /// Whether a check asked for it.
        from_transaction_check: Option<bool> = "fromTransactionCheck",
        /// Unique id.
        msg_id: Option<CompactString> = "msgId",
        /// Transaction id.
        transaction_id: Option<CompactString> = "transactionId",
        /// Broker that is meant.
        broker_name: Option<CompactString> = "bname",
    }

    /// Asks a producer for the state of a transaction (39, broker to client, one-way); the body is
    /// the half message.
    #[doc(alias = "CheckTransactionStateRequestHeader")]
    pub struct CheckTransaction {
        /// Topic.
        topic: Option<CompactString> = "topic",
        /// Position in the queue of half messages.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// Physical offset of the half message.
        commit_log_offset: i64 = "commitLogOffset",
        /// Unique id.
        msg_id: Option<CompactString> = "msgId",
        /// Transaction id.
        transaction_id: Option<CompactString> = "transactionId",
        /// Offset message id.
        offset_msg_id: Option<CompactString> = "offsetMsgId",
        /// Broker.
        broker_name: Option<CompactString> = "bname",
    }

    /// Has the producer asked again about a transaction that was given up (323).
    #[doc(alias = "ResumeCheckHalfMessageRequestHeader")]
    pub struct ResumeCheck {
        /// Topic.
        topic: Option<CompactString> = "topic",
        /// Offset message id of the message that was given up.
        msg_id: Option<CompactString> = "msgId",
    }
}

/// Values of [`EndTransaction::commit_or_rollback`].
pub mod verdict {
    /// Not known yet.
    pub const UNKNOWN: i32 = 0;
    /// Deliver the message.
    pub const COMMIT: i32 = 8;
    /// Drop the message.
    pub const ROLLBACK: i32 = 12;
}

conversation! {
    EndTransaction = END_TRANSACTION => ();
    ResumeCheck = RESUME_CHECK_HALF_MESSAGE => ();
    (CheckTransaction, Bytes) = CHECK_TRANSACTION_STATE => ();
}
