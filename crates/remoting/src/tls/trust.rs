//! Which certificates are believed.
//!
//! A client compares the authority of a server's certificate, or the certificate itself, and when it
//! is valid. It does not compare names, as Apache's clients do not: brokers are dialled at addresses
//! that a name server tells, and certificates of the field do not carry them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rmq_runtime::{Clock, World};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::{ClientAuth, ClientTls, ServerTls, TlsError, files};

/// The algorithms.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The time at which certificates must be valid.
pub(super) struct Now(pub(super) Arc<dyn Clock>);

/// `TimeProvider` asks for it; a clock has nothing to show.
impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.wall().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// Authorities of a file, with the file's certificates.
fn authorities(
    world: &World,
    setting: &'static str,
    path: &Path,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let certificates = files::certificates(world, (setting, path))?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| {
            let problem = format!("{} holds a certificate that is none: {error}", path.display());
            TlsError::new(setting, problem)
        })?;
    }
    Ok((roots, certificates))
}

/// The part of a verifier that is the same whomever one believes: that the other side has the key to
/// its certificate.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

/// Which servers a client believes.
#[derive(Debug)]
pub(super) struct Servers {
    algorithms: WebPkiSupportedAlgorithms,
    /// `None`: any.
    trusted: Option<(RootCertStore, Vec<CertificateDer<'static>>)>,
}

impl Servers {
    pub(super) fn new(
        settings: &ClientTls,
        world: &World,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let trusted = match &settings.trust_cert_path {
            Some(path) if !settings.believes_anyone() => {
                Some(authorities(world, "tls.client.trustCertPath", path)?)
            }
            _ => None,
        };
        Ok(Self { algorithms: provider.signature_verification_algorithms, trusted })
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some((roots, certificates)) = &self.trusted
            && !certificates.contains(end_entity)
        {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

/// Which clients a server believes; `None`: it does not ask.
pub(super) fn clients(
    settings: &ServerTls,
    world: &World,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    const SETTING: &str = "tls.server.trustCertPath";
    let mandatory = match settings.need_client_auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::Optional => false,
        ClientAuth::Require => true,
    };
    let path = match &settings.trust_cert_path {
        Some(path) if settings.auth_client => path,
        _ => {
            let algorithms = provider.signature_verification_algorithms;
            return Ok(Some(Arc::new(AnyClient { algorithms, mandatory })));
        }
    };
    let (roots, _) = authorities(world, SETTING, path)?;
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if !mandatory {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| TlsError::new(SETTING, error.to_string()))?;
    Ok(Some(verifier))
}

/// Believes any client that has a certificate at all.
#[derive(Debug)]
struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
    mandatory: bool,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}
