//! Which queues a member of a group consumes, and whether by pull or by pop, when the broker says it
//! (Apache RocketMQ 5.5.0, `QueryAssignmentProcessor`).
//!
//! | room | owns |
//! |---|---|
//! | `modes` | pull or pop by topic and group (`messageRequestMode.json`) |
//! | `routes` | the queues of topics on all brokers, as a name server tells them |
//! | `share` | the formulas |

pub(crate) mod modes;
pub(crate) mod routes;
pub(crate) mod share;
