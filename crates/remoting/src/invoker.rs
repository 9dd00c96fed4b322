//! The asking side: send a command to an address and wait for its answer.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use compact_str::CompactString;

use crate::command::RemotingCommand;

/// Sends commands to other processes.
#[async_trait]
pub trait Invoker: Send + Sync + 'static {
    /// Sends a request and waits for its answer, whatever code that has.
    ///
    /// # Errors
    /// [`InvokeError`]. Dropping the future gives the answer up; the request may still be served.
    async fn invoke(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError>;

    /// Hands a request over to the connection and wants no answer. The timeout bounds connecting.
    ///
    /// # Errors
    /// [`InvokeError`]. Success says nothing about arrival.
    async fn oneway(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<(), InvokeError>;

    /// Closes the connection to an address, if there is one.
    fn disconnect(&self, to: &Endpoint);
}

/// Address of a server: host name or IP, and port. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    text: CompactString,
    /// Where the colon before the port stands.
    colon: u16,
    port: u16,
}

impl Endpoint {
    /// Joins a host and a port. An IPv6 host is written in brackets.
    ///
    /// # Errors
    /// [`EndpointError`] when the host is empty or longer than a name can be.
    pub fn new(host: &str, port: u16) -> Result<Self, EndpointError> {
        let bracketed = host.contains(':') && !host.starts_with('[');
        if bracketed {
            format!("[{host}]:{port}").parse()
        } else {
            format!("{host}:{port}").parse()
        }
    }

    /// Host name or IP as it was written, without brackets.
    pub fn host(&self) -> &str {
        let host = self.text.get(..usize::from(self.colon)).unwrap_or_default();
        host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
    }

    /// Port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads `host:port`. Everything up to the last slash is dropped, as other peers write resolved
    /// names as `name/ip:port`.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim().rsplit('/').next().unwrap_or_default();
        let wrong = || EndpointError { text: text.into() };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || host.len() > 255 || host.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| wrong())?;
        let colon = u16::try_from(host.len()).map_err(|_| wrong())?;
        Ok(Self { text: text.into(), colon, port })
    }
}

impl From<std::net::SocketAddr> for Endpoint {
    fn from(address: std::net::SocketAddr) -> Self {
        address.to_string().parse().expect("a socket address has a host and a port")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address; write host:port")]
pub struct EndpointError {
    /// What was to be read.
    pub text: CompactString,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// There is no connection; nothing was sent.
    #[error("cannot connect to {to}: {source}")]
    Connect {
        /// Address.
        to: Endpoint,
        /// What the network says.
        source: io::Error,
    },
    /// No answer in time. The outcome is unknown: the request may have been served.
    #[error("no answer from {to} to request {code} within {timeout:?}; it may have been served")]
    Timeout {
        /// Address.
        to: Endpoint,
        /// Request code.
        code: i32,
        /// How long was waited.
        timeout: Duration,
    },
    /// The connection ended before the answer came. The outcome is unknown.
    #[error("the connection to {to} ended: {reason}")]
    Closed {
        /// Address.
        to: Endpoint,
        /// Why it ended, as far as known.
        reason: CompactString,
    },
    /// More requests or bytes wait to be sent than allowed; nothing was sent. Try later.
    #[error("too many requests to {to} are waiting")]
    TooMany {
        /// Address.
        to: Endpoint,
    },
    /// The request cannot be written: larger than a frame may be, or its code does not fit the
    /// header encoding. Nothing was sent.
    #[error("request {code} cannot be written: {source}")]
    Encode {
        /// Request code.
        code: i32,
        /// What is wrong with it.
        source: crate::frame::EncodeError,
    },
}

impl InvokeError {
    /// Whether it is certain that the request was never sent.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::TooMany { .. } | Self::Encode { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, u16)> {
        let endpoint: Endpoint = text.parse().ok()?;
        Some((endpoint.host().to_owned(), endpoint.port()))
    }

    #[test]
    fn addresses_are_read_as_other_peers_write_them() {
        let wanted = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(parts("127.0.0.1:9876"), wanted("127.0.0.1", 9876));
        assert_eq!(parts(" broker-a.example:10911 "), wanted("broker-a.example", 10911));
        assert_eq!(parts("name/10.0.0.1:10911"), wanted("10.0.0.1", 10911));
        assert_eq!(parts("/10.0.0.1:10911"), wanted("10.0.0.1", 10911));
        assert_eq!(parts("[::1]:80"), wanted("::1", 80));
        for text in ["", ":80", "host", "host:", "host:65536", "host:-1", "a b:80"] {
            assert_eq!(parts(text), None, "{text}");
        }
        assert!(parts(&format!("{}:80", "x".repeat(256))).is_none());
    }

    #[test]
    fn host_and_port_make_an_address() {
        assert_eq!(Endpoint::new("::1", 80).unwrap().as_str(), "[::1]:80");
        assert_eq!(Endpoint::new("host", 80).unwrap().to_string(), "host:80");
        let address = std::net::SocketAddr::from(([10, 0, 0, 1], 5));
        assert_eq!(Endpoint::from(address).as_str(), "10.0.0.1:5");
    }
}
