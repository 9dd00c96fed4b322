//! Errors of clients. Where the Java client has a text for a case, ours begins with it, so that
//! what people search for is found; the rest says where it happened and what to do next.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rmq_message::name::NameError;
use rmq_message::{CompactString, QueueOffset};
use rmq_remoting::invoker::{Endpoint, InvokeError};
use rmq_remoting::response_code;
use rmq_remoting::tls::TlsError;
use rmq_remoting::typed::{CallError, PayloadError};
use thiserror::Error;

/// What Java appends to errors that its documentation explains.
pub const FAQ_SUFFIX: &str =
    "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nothing was done; trying again, maybe elsewhere, may help.
    Retry,
    /// The other side understood and said no; the same call will fail again.
    Rejected,
    /// The outcome is unknown: it may or may not have been done.
    Timeout,
    /// This client is shut down.
    Closed,
    /// The program or its settings must change.
    Config,
}

/// The two kinds of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupKind {
    /// Consumers.
    Consumer,
    /// Producers.
    Producer,
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consumer => "consumer",
            Self::Producer => "producer",
        })
    }
}

/// Why a client could not do something.
#[doc(alias = "MQClientException")]
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No name server is configured.
    #[error("No name server address, please set it.")]
    NoNameServer,
    /// The server that tells the name servers does not.
    #[error("no name server address from {url}: {source}; see whether it is reachable")]
    AddressServer {
        /// Where it was asked.
        url: String,
        /// What happened.
        source: io::Error,
    },
    /// No name server knows the topic, or it has no usable queue.
    #[error(
        "No route info of this topic: {topic}; create the topic, or wait until a broker registers it"
    )]
    NoRoute {
        /// Topic.
        topic: CompactString,
    },
    /// No address of a broker is known.
    #[error(
        "The broker[{name}] not exist; the routes hold no address for it, see whether it is registered"
    )]
    BrokerNotExist {
        /// Name of the broker.
        name: CompactString,
    },
    /// A server answered with an error.
    #[error("CODE: {code}  DESC: {remark}; answered by {address} to request {request}")]
    Refused {
        /// Who answered.
        address: Endpoint,
        /// Request code.
        request: i32,
        /// Response code.
        code: i32,
        /// The server's reason.
        remark: CompactString,
    },
    /// A server gave no answer.
    #[error("Invoke Broker[{address}] exception; {source}")]
    Call {
        /// Who was asked.
        address: Endpoint,
        /// What happened.
        source: InvokeError,
    },
    /// A server's answer cannot be read.
    #[error("the answer of {address} to request {request} cannot be read: {source}")]
    Malformed {
        /// Who answered.
        address: Endpoint,
        /// Request code.
        request: i32,
        /// What is wrong with it.
        source: PayloadError,
    },
    /// A server answered with a position that is none.
    #[error("{address} answered request {request} with position {offset}, which is none")]
    NoPosition {
        /// Who answered.
        address: Endpoint,
        /// Request code.
        request: i32,
        /// What it said.
        offset: QueueOffset,
    },
    /// The first stored message of an answer is damaged, so nothing of it can be used.
    #[error("{address} sent a damaged message of {queue}: {source}; see the broker's log")]
    Damaged {
        /// Who answered.
        address: Endpoint,
        /// The queue.
        queue: CompactString,
        /// What is wrong with it.
        source: rmq_message::record::RecordError,
    },
    /// The group is already in use at this instance.
    #[error(
        "The {kind} group[{group}] has been created before, specify another name please.{FAQ_SUFFIX}"
    )]
    DuplicateGroup {
        /// Consumers or producers.
        kind: GroupKind,
        /// Group.
        group: CompactString,
    },
    /// The broker is too old for the subscription's filter.
    #[error(
        "The broker[{name}, {version}] does not upgrade to support for filter message by SQL92"
    )]
    NoSql92 {
        /// Name of the broker.
        name: CompactString,
        /// Its release as it announced it; 0 when it has not yet.
        version: i32,
    },
    /// A name of a topic or group is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A setting is wrong.
    #[error("setting `{setting}` is wrong: {reason}")]
    Config {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it and what is right.
        reason: String,
    },
    /// The offset file and the one before it cannot be read.
    #[error(
        "readLocalOffset Exception, maybe fastjson version too low; {path}: {source}; repair or remove it"
    )]
    OffsetFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The offset file cannot be written.
    #[error(
        "cannot save offsets to {path}: {source}; the positions stay in memory until the next try"
    )]
    OffsetFileWrite {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// This client is shut down.
    #[error("client {client_id} is shut down; start a new one")]
    Closed {
        /// Client id.
        client_id: CompactString,
    },
}

impl ClientError {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRoute { .. }
            | Self::AddressServer { .. }
            | Self::BrokerNotExist { .. }
            | Self::Damaged { .. }
            | Self::OffsetFileWrite { .. } => ErrorKind::Retry,
            Self::Refused { code, .. } if is_passing(*code) => ErrorKind::Retry,
            Self::Refused { .. } | Self::Malformed { .. } | Self::NoPosition { .. } => {
                ErrorKind::Rejected
            }
            Self::Call { source: InvokeError::Encode { .. }, .. } => ErrorKind::Rejected,
            Self::Call { source, .. } if source.is_unsent() => ErrorKind::Retry,
            Self::Call { .. } => ErrorKind::Timeout,
            Self::NoNameServer
            | Self::DuplicateGroup { .. }
            | Self::NoSql92 { .. }
            | Self::Name(_)
            | Self::Config { .. }
            | Self::OffsetFile { .. } => ErrorKind::Config,
            Self::Closed { .. } => ErrorKind::Closed,
        }
    }

    /// The response code when a server refused, else the code that the Java client gives to the
    /// case: 10001 connect, 10002 timeout, 10003 other, 10004 no name server, 10005 no route.
    #[doc(alias = "getResponseCode")]
    pub fn code(&self) -> i32 {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Call { source: InvokeError::Connect { .. }, .. } => 10_001,
            Self::Call { source: InvokeError::Timeout { .. }, .. } => 10_002,
            Self::NoNameServer | Self::AddressServer { .. } => 10_004,
            Self::NoRoute { .. } => 10_005,
            _ => 10_003,
        }
    }

    /// Whether a server refused with this code.
    pub fn is_refused_with(&self, code: i32) -> bool {
        matches!(self, Self::Refused { code: said, .. } if *said == code)
    }

    pub(crate) fn of_call(address: &Endpoint, request: i32, error: CallError) -> Self {
        let address = address.clone();
        match error {
            CallError::Invoke(source) => Self::Call { address, source },
            CallError::Refused { code, remark } => Self::Refused { address, request, code, remark },
            CallError::Malformed(source) => Self::Malformed { address, request, source },
            // A kind of failure that this release does not know says nothing about the outcome.
            other => Self::Refused {
                address,
                request,
                code: response_code::SYSTEM_ERROR,
                remark: CompactString::from(other.to_string()),
            },
        }
    }
}

impl From<TlsError> for ClientError {
    fn from(TlsError { setting, problem }: TlsError) -> Self {
        Self::Config { setting, reason: problem }
    }
}

/// Codes that speak of a moment, not of the request.
fn is_passing(code: i32) -> bool {
    matches!(
        code,
        response_code::SYSTEM_ERROR
            | response_code::SYSTEM_BUSY
            | response_code::SERVICE_NOT_AVAILABLE
            | response_code::SUBSCRIPTION_NOT_EXIST
            | response_code::SUBSCRIPTION_NOT_LATEST
            | response_code::FLOW_CONTROL
            | response_code::GO_AWAY
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_begin_as_the_java_client_says_them() {
        let group = ClientError::DuplicateGroup { kind: GroupKind::Consumer, group: "g".into() };
        assert_eq!(
            group.to_string(),
            "The consumer group[g] has been created before, specify another name please.\nSee \
             https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
        );
        let refused = ClientError::Refused {
            address: "1.2.3.4:10911".parse().unwrap(),
            request: 310,
            code: 16,
            remark: "no permission".into(),
        };
        assert!(refused.to_string().starts_with("CODE: 16  DESC: no permission"));
        let broker = ClientError::BrokerNotExist { name: "b".into() };
        assert!(broker.to_string().starts_with("The broker[b] not exist"));
        let route = ClientError::NoRoute { topic: "T".into() };
        assert!(route.to_string().starts_with("No route info of this topic: T"));
        assert_eq!(ClientError::NoNameServer.to_string(), "No name server address, please set it.");
    }

    #[test]
    fn every_error_has_the_number_of_java_and_says_what_can_be_done() {
        let refused = |code| ClientError::Refused {
            address: "1.2.3.4:10911".parse().unwrap(),
            request: 310,
            code,
            remark: "no".into(),
        };
        let source = io::Error::from(io::ErrorKind::ConnectionRefused);
        for (error, kind, code) in [
            (refused(response_code::SYSTEM_BUSY), ErrorKind::Retry, response_code::SYSTEM_BUSY),
            (refused(16), ErrorKind::Rejected, 16),
            (ClientError::NoNameServer, ErrorKind::Config, 10_004),
            (ClientError::AddressServer { url: "u".into(), source }, ErrorKind::Retry, 10_004),
            (ClientError::NoRoute { topic: "T".into() }, ErrorKind::Retry, 10_005),
            (ClientError::BrokerNotExist { name: "b".into() }, ErrorKind::Retry, 10_003),
            (ClientError::Closed { client_id: "c".into() }, ErrorKind::Closed, 10_003),
        ] {
            assert_eq!((error.kind(), error.code()), (kind, code), "{error}");
        }
        assert!(refused(16).is_refused_with(16) && !refused(16).is_refused_with(1));
    }

    #[test]
    fn a_timeout_is_unknown_and_a_failed_connect_is_not() {
        let to: Endpoint = "1.2.3.4:10911".parse().unwrap();
        let error = |source| ClientError::Call { address: to.clone(), source };
        let timeout = std::time::Duration::from_secs(3);
        let timeout = error(InvokeError::Timeout { to: to.clone(), code: 310, timeout });
        assert_eq!((timeout.kind(), timeout.code()), (ErrorKind::Timeout, 10_002));
        let source = io::Error::from(io::ErrorKind::ConnectionRefused);
        let connect = error(InvokeError::Connect { to: to.clone(), source });
        assert_eq!((connect.kind(), connect.code()), (ErrorKind::Retry, 10_001));
        let closed = error(InvokeError::Closed { to: to.clone(), reason: "reset".into() });
        assert_eq!(closed.kind(), ErrorKind::Timeout);
    }
}
