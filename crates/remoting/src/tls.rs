//! TLS on connections: what a server does with the first byte that comes, and whom a client believes.
//!
//! Settings carry the names of Apache RocketMQ 5.5 (`remoting/netty/TlsSystemConfig`): those of a
//! server become an [`Acceptor`], those of a client a [`Connector`]. A server serves TLS and plain
//! connections on the same port: a handshake begins with the byte 0x16, no frame does. Versions are
//! 1.2 and 1.3.
//!
//! Whoever asks for TLS gets it or an error, never a plain connection.
//!
//! | module | owns |
//! |---|---|
//! | `files` | certificates and keys as they lie on disk |
//! | `trust` | which certificates are believed |
//! | `accept`, `connect` | the two sides of a handshake |
//! | `stream` | connections below and above TLS |
//! | `absent` | what is left of all this in a build without the feature `tls` |

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod accept;
#[cfg(feature = "tls")]
mod connect;
#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "tls")]
mod stream;
#[cfg(feature = "tls")]
mod trust;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rmq_runtime::World;
use serde::{Deserialize, Serialize};
use thiserror::Error;

#[cfg(not(feature = "tls"))]
pub use absent::{Acceptor, Connector};
#[cfg(feature = "tls")]
pub use accept::Acceptor;
#[cfg(feature = "tls")]
pub use connect::Connector;

/// What a server serves on its port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Plain connections only.
    Disabled,
    /// Both kinds.
    #[default]
    Permissive,
    /// TLS only.
    Enforcing,
}

/// Whether a server wants certificates of clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// It does not ask.
    #[default]
    None,
    /// A client may come without one.
    Optional,
    /// None comes in without one.
    Require,
}

/// TLS of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerTls {
    /// What is served.
    #[serde(rename = "tls.server.mode")]
    pub mode: TlsMode,
    /// Whether a certificate is made at the start, which proves nothing to anybody, and outgoing
    /// connections believe any. `None`: if no certificate is named.
    #[serde(rename = "tls.test.mode.enable")]
    pub test_mode: Option<bool>,
    /// Whether clients need a certificate.
    #[serde(rename = "tls.server.need.client.auth")]
    pub need_client_auth: ClientAuth,
    /// The server's key, PEM.
    #[serde(rename = "tls.server.keyPath")]
    pub key_path: Option<PathBuf>,
    /// What the key is encrypted with.
    #[serde(rename = "tls.server.keyPassword")]
    pub key_password: Option<Secret>,
    /// The server's certificate and those between it and its authority, PEM.
    #[serde(rename = "tls.server.certPath")]
    pub cert_path: Option<PathBuf>,
    /// Whether a client's certificate must come from one of the trusted authorities.
    #[serde(rename = "tls.server.authClient")]
    pub auth_client: bool,
    /// Certificates of the authorities of clients, PEM.
    #[serde(rename = "tls.server.trustCertPath")]
    pub trust_cert_path: Option<PathBuf>,
}

/// TLS of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientTls {
    /// Whether connections are TLS.
    #[doc(alias = "tls.enable")]
    #[serde(rename = "useTLS", alias = "tls.enable")]
    pub enable: bool,
    /// Whether any server is believed, as with `authServer` off.
    #[serde(rename = "tls.test.mode.enable")]
    pub test_mode: bool,
    /// Whether a server's certificate must come from one of the trusted authorities. Java's default
    /// is off.
    #[serde(rename = "tls.client.authServer")]
    pub auth_server: bool,
    /// Certificates of the authorities of servers, or of the servers themselves, PEM.
    #[serde(rename = "tls.client.trustCertPath")]
    pub trust_cert_path: Option<PathBuf>,
    /// The client's key, PEM, for servers that want a certificate.
    #[serde(rename = "tls.client.keyPath")]
    pub key_path: Option<PathBuf>,
    /// What the key is encrypted with.
    #[serde(rename = "tls.client.keyPassword")]
    pub key_password: Option<Secret>,
    /// The client's certificate and those between it and its authority, PEM.
    #[serde(rename = "tls.client.certPath")]
    pub cert_path: Option<PathBuf>,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self {
            enable: false,
            test_mode: false,
            auth_server: true,
            trust_cert_path: None,
            key_path: None,
            key_password: None,
            cert_path: None,
        }
    }
}

/// A text that logs do not show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A setting with which no TLS is possible.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{setting}: {problem}")]
pub struct TlsError {
    /// Its name.
    pub setting: &'static str,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl TlsError {
    fn new(setting: &'static str, problem: impl Into<String>) -> Self {
        Self { setting, problem: problem.into() }
    }
}

impl ServerTls {
    /// Whether the server's certificate is made at the start.
    pub fn is_test_mode(&self) -> bool {
        self.test_mode.unwrap_or(self.cert_path.is_none() && self.key_path.is_none())
    }

    /// What accepts connections; none when all are plain.
    ///
    /// # Errors
    /// [`TlsError`]: settings contradict each other, or a file cannot be used.
    pub fn acceptor(&self, world: &World) -> Result<Option<Arc<Acceptor>>, TlsError> {
        if self.mode == TlsMode::Disabled {
            return Ok(None);
        }
        self.check()?;
        Acceptor::new(self, world)
    }

    fn check(&self) -> Result<(), TlsError> {
        let wrong = |setting, problem: &str| Err(TlsError::new(setting, problem));
        if self.is_test_mode() {
            if self.cert_path.is_some() || self.key_path.is_some() {
                return wrong(
                    "tls.test.mode.enable",
                    "`true` makes a certificate of its own; set it to false to use that of tls.server.certPath",
                );
            }
        } else if self.cert_path.is_none() {
            return wrong("tls.server.certPath", "missing; name the file with the certificate");
        } else if self.key_path.is_none() {
            return wrong("tls.server.keyPath", "missing; name the file with the key");
        }
        let asks = self.need_client_auth != ClientAuth::None;
        if asks && self.auth_client && self.trust_cert_path.is_none() {
            return wrong(
                "tls.server.trustCertPath",
                "missing; name the file with the certificates of the authorities of clients",
            );
        }
        Ok(())
    }
}

impl ClientTls {
    /// Whether any server is believed.
    fn believes_anyone(&self) -> bool {
        self.test_mode || !self.auth_server
    }

    /// What makes connections TLS; none when they are plain.
    ///
    /// # Errors
    /// [`TlsError`]: settings contradict each other, or a file cannot be used.
    pub fn connector(&self, world: &World) -> Result<Option<Arc<Connector>>, TlsError> {
        if !self.enable {
            return Ok(None);
        }
        self.check()?;
        Connector::new(self, world).map(|connector| Some(Arc::new(connector)))
    }

    fn check(&self) -> Result<(), TlsError> {
        if self.test_mode && self.trust_cert_path.is_some() {
            return Err(TlsError::new(
                "tls.test.mode.enable",
                "`true` believes any server; set it to false to use tls.client.trustCertPath",
            ));
        }
        if !self.believes_anyone() && self.trust_cert_path.is_none() {
            return Err(TlsError::new(
                "tls.client.trustCertPath",
                "missing; name the file with the certificates of the authorities of servers, \
                 or set tls.client.authServer to false to believe any server",
            ));
        }
        let missing = match (&self.cert_path, &self.key_path) {
            (Some(_), None) => "tls.client.keyPath",
            (None, Some(_)) => "tls.client.certPath",
            _ => return Ok(()),
        };
        Err(TlsError::new(missing, "missing; a certificate and its key go together"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> ServerTls {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn settings_have_apaches_names() {
        let tls = server(
            r#"{"tls.server.mode":"enforcing","tls.server.need.client.auth":"require",
                "tls.server.certPath":"/c","tls.server.keyPath":"/k","tls.server.keyPassword":"x"}"#,
        );
        assert_eq!((tls.mode, tls.need_client_auth), (TlsMode::Enforcing, ClientAuth::Require));
        assert!(!tls.is_test_mode() && server("{}").is_test_mode());
        assert!(!format!("{tls:?}").contains('x'), "secrets are not shown");
        let client: ClientTls =
            serde_json::from_str(r#"{"tls.enable":true,"tls.client.authServer":false}"#).unwrap();
        assert!(client.enable && client.believes_anyone());
        assert!(!ClientTls::default().believes_anyone());
    }

    #[test]
    fn settings_that_cannot_work_say_what_is_missing() {
        for (text, setting) in [
            (r#"{"tls.test.mode.enable":false}"#, "tls.server.certPath"),
            (r#"{"tls.server.certPath":"/c"}"#, "tls.server.keyPath"),
            (r#"{"tls.server.certPath":"/c","tls.test.mode.enable":true}"#, "tls.test.mode.enable"),
            (
                r#"{"tls.server.need.client.auth":"require","tls.server.authClient":true}"#,
                "tls.server.trustCertPath",
            ),
        ] {
            assert_eq!(server(text).check().unwrap_err().setting, setting, "{text}");
        }
        for (text, setting) in [
            ("{}", "tls.client.trustCertPath"),
            (
                r#"{"tls.test.mode.enable":true,"tls.client.trustCertPath":"/c"}"#,
                "tls.test.mode.enable",
            ),
            (r#"{"tls.test.mode.enable":true,"tls.client.keyPath":"/k"}"#, "tls.client.certPath"),
        ] {
            let tls: ClientTls = serde_json::from_str(text).unwrap();
            assert_eq!(tls.check().unwrap_err().setting, setting, "{text}");
        }
        let plain =
            ServerTls { mode: TlsMode::Disabled, ..server(r#"{"tls.test.mode.enable":false}"#) };
        assert!(plain.acceptor(&World::system()).unwrap().is_none());
    }
}
