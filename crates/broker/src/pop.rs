//! Pop consumption: messages are taken from a queue and stay hidden until they are acknowledged or
//! their time is over (Apache RocketMQ 5.5.0, the file variant).
//!
//! | room | owns |
//! |---|---|
//! | `receipt` | the text by which a client names what it has taken |
//! | `cursor` | how far queues have been taken while that is not yet committed |
//! | `check_point` | bodies and records of the revive topic |
//! | `revive_log` | the writing side of the revive topic |
//! | `in_flight` | what of the revive topic is still open; plain, without clock or I/O |
//! | `revive` | the loop that reads the revive topic and brings back what is overdue |
//! | `order` | what members of an ordered group hold (`consumerOrderInfo.json`) |
//!
//! What is handed out is written to the revive topic first, as a *check point*; what is
//! acknowledged follows as an *ack*. A check point is over when the topic holds acks for all of its
//! messages. So the log alone tells what is in flight, after any crash (INV-32). Apache lets both
//! wait in its timer and reads them in the order of their time; here they lie in the topic at once
//! and wait in memory. Records and bodies are the same.

pub(crate) mod check_point;
pub(crate) mod cursor;
pub(crate) mod in_flight;
pub(crate) mod order;
pub(crate) mod receipt;
pub(crate) mod revive;
pub(crate) mod revive_log;

/// Group whose progress on the revive topic says what is over.
pub(crate) const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// In place of a queue of the revive topic: taken in order, without a check point.
pub(crate) const ORDER_QUEUE: i32 = 999;
