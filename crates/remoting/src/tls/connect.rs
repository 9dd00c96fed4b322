//! The dialling side of a handshake.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rmq_runtime::{Stream, World};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::files::Place;
use super::stream::{Begun, Secure};
use super::trust::{self, Now, Servers};
use super::{ClientTls, TlsError};
use crate::invoker::Endpoint;

/// Makes connections TLS.
pub struct Connector {
    tls: tokio_rustls::TlsConnector,
}

impl Connector {
    pub(super) fn new(settings: &ClientTls, world: &World) -> Result<Self, TlsError> {
        let provider = trust::provider();
        let servers = Servers::new(settings, world, &provider)?;
        let config =
            ClientConfig::builder_with_details(provider, Arc::new(Now(world.clock.clone())))
                .with_safe_default_protocol_versions()
                .map_err(|error| TlsError::new("useTLS", error.to_string()))?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(servers));
        let config = match (&settings.cert_path, &settings.key_path) {
            (Some(certificate), Some(key)) => {
                let place = Place {
                    certificate: ("tls.client.certPath", certificate),
                    key: ("tls.client.keyPath", key),
                };
                let identity = place.parse(&place.read(world)?)?;
                config
                    .with_client_auth_cert(identity.chain, identity.key)
                    .map_err(|error| TlsError::new("tls.client.keyPath", error.to_string()))?
            }
            _ => config.with_no_client_auth(),
        };
        Ok(Self { tls: Arc::new(config).into() })
    }

    /// The handshake. The caller bounds the time.
    pub(crate) async fn connect(
        &self,
        to: &Endpoint,
        stream: Box<dyn Stream>,
    ) -> io::Result<Box<dyn Stream>> {
        let address = stream.remote_addr().ip();
        let name = ServerName::try_from(to.host().to_owned())
            .unwrap_or_else(|_| ServerName::IpAddress(address.into()));
        let begun = Begun { first: Bytes::new(), stream };
        match Box::pin(self.tls.connect(name, begun)).await {
            Ok(stream) => Ok(Box::new(Secure(stream.into()))),
            Err(error) => Err(io::Error::new(error.kind(), explained(&error))),
        }
    }
}

/// What went wrong, and where to look.
fn explained(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let hint = match cause {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "; see whether tls.client.trustCertPath names its authority"
        }
        Some(rustls::Error::AlertReceived(_)) => "; see the server's log",
        _ if error.kind() == io::ErrorKind::UnexpectedEof => "; see whether the server speaks TLS",
        _ => "",
    };
    format!("the TLS handshake failed: {error}{hint}")
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}
