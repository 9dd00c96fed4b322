//! What every RocketMQ client needs, whatever it produces or consumes: one identity and its
//! connections, routes, heartbeats, typed calls to brokers, the sharing of queues within a group,
//! and the keeping of progress. Applications use it through a producer or a consumer.
//!
//! | module | owns |
//! |---|---|
//! | [`instance`] | the engine: connections and the four tasks; members join and leave |
//! | [`config`], [`client_id`] | settings; who a client is in the eyes of brokers |
//! | [`route`] | queues and addresses, fetched from name servers |
//! | `address_server` | the name servers, when a domain is all that is known |
//! | [`hook`], [`namespace`] | what is added to requests, and to names |
//! | [`broker_client`] | typed calls: send, pull, progress, locks |
//! | [`member`], [`commands`] | what an instance and brokers ask of a consumer |
//! | [`check_back`] | what brokers ask producers about open transactions |
//! | [`rebalance`] | who of a group consumes which queues |
//! | [`offset`] | progress in memory, at brokers, in a file |
//! | [`trace`] | what tools show of the way of a message |
//! | [`error`] | why something could not be done, and what to do next |
//!
//! Nothing here is global: two instances of one process share nothing.

mod address_server;
pub mod broker_client;
pub mod check_back;
pub mod client_id;
pub mod commands;
pub mod config;
pub mod error;
mod heartbeat;
pub mod hook;
pub mod instance;
pub mod member;
mod name_servers;
pub mod namespace;
pub mod offset;
pub mod rebalance;
mod replies;
pub mod route;
#[cfg(test)]
mod testing;
pub mod trace;
mod wire;

pub use broker_client::{
    BrokerClient, PopCall, PopOutcome, Popped, PullCall, PullOutcome, PullStatus, Receipt,
    SendBackCall, SendCall, SendReceipt, SendStatus,
};
pub use check_back::{CheckBack, TransactionQuestion};
pub use config::{AccessChannel, ClientConfig};
pub use error::{ClientError, ErrorKind, FAQ_SUFFIX, GroupKind};
pub use hook::RequestHook;
pub use instance::ClientInstance;
pub use member::{GroupMember, MemberCommand, MemberHeartbeat, MemberReply};
pub use namespace::Namespace;
pub use offset::{LocalFileOffsets, OffsetStore, Positions, Progress, RemoteOffsets};
pub use replies::AwaitedReply;
pub use rmq_remoting::tls::ClientTls;
pub use route::PublishRoute;

/// Words of the protocol that members and users meet.
pub mod protocol {
    pub use rmq_remoting::command::RemotingCommand;
    pub use rmq_remoting::invoker::{Endpoint, InvokeError, Invoker};
    pub use rmq_remoting::protocol::assignment::{Assignment, RequestMode};
    pub use rmq_remoting::protocol::client::{
        ConsumeRates, ConsumerSnapshot, DirectOutcome, DirectResult, PopQueueSnapshot,
        ProcessQueueSnapshot, property as snapshot_property,
    };
    pub use rmq_remoting::protocol::heartbeat::{
        ConsumeFromWhere, ConsumeType, MessageModel, TopicSubscription,
    };
    pub use rmq_remoting::protocol::offset::Boundary;
    pub use rmq_remoting::protocol::transaction::{EndTransaction, verdict};
    pub use rmq_remoting::response_code;
}
