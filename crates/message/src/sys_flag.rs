//! Flag bits: of messages (`sysFlag` of sends and records) and of pull requests.

/// The body is compressed.
pub const COMPRESSED: i32 = 1;
/// A half message of a transaction.
pub const TRANSACTION_PREPARED: i32 = 4;
/// A committed transactional message.
pub const TRANSACTION_COMMIT: i32 = 8;
/// A rolled back transactional message; also the mask of the transaction bits.
pub const TRANSACTION_ROLLBACK: i32 = 12;
/// The born host is an IPv6 address (20 bytes instead of 8).
pub const BORN_HOST_V6: i32 = 16;
/// The store host is an IPv6 address (20 bytes instead of 8).
pub const STORE_HOST_V6: i32 = 32;
/// The client must expand an inner batch.
pub const NEED_UNWRAP: i32 = 64;
/// The record is an inner batch.
pub const INNER_BATCH: i32 = 128;
/// Mask of the compression kind.
pub const COMPRESSION_MASK: i32 = 0x700;

/// The transaction bits of a message's flags.
pub fn transaction(flags: i32) -> i32 {
    flags & TRANSACTION_ROLLBACK
}

/// Flags of a pull request.
pub mod pull {
    /// The request carries progress to commit.
    pub const COMMIT_OFFSET: i32 = 1;
    /// The request may wait for messages.
    pub const SUSPEND: i32 = 2;
    /// The request carries its subscription.
    pub const SUBSCRIPTION: i32 = 4;
    /// Class filter (legacy).
    pub const CLASS_FILTER: i32 = 8;
    /// A lite pull.
    pub const LITE_PULL: i32 = 16;
}

/// Bits of a topic's own flags.
pub mod topic {
    /// The topic belongs to a unit.
    pub const UNIT: i32 = 1;
    /// Subscribed by a unit.
    pub const UNIT_SUB: i32 = 2;
}
