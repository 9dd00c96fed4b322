//! Certificates and keys as they lie on disk: PEM, as OpenSSL writes it.

use std::path::Path;

use rmq_runtime::World;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// How a key begins that needs a password: PKCS#8, and OpenSSL's older form.
const ENCRYPTED: [&[u8]; 2] = [b"ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];

/// A certificate, those between it and its authority, and the key to it.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// The texts of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Texts {
    certificates: Vec<u8>,
    key: Vec<u8>,
}

/// Where an identity is written: names of settings and their values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) certificate: (&'static str, &'a Path),
    pub(super) key: (&'static str, &'a Path),
}

impl Place<'_> {
    pub(super) fn read(&self, world: &World) -> Result<Texts, TlsError> {
        let (certificates, key) = (read(world, self.certificate)?, read(world, self.key)?);
        Ok(Texts { certificates, key })
    }

    pub(super) fn parse(&self, texts: &Texts) -> Result<Identity, TlsError> {
        let chain = parse_certificates(self.certificate, &texts.certificates)?;
        let (setting, path) = self.key;
        let shown = path.display();
        let holds = |mark: &&[u8]| texts.key.windows(mark.len()).any(|part| part == *mark);
        if ENCRYPTED.iter().any(holds) {
            let problem = format!(
                "{shown} is encrypted, and only plain keys are read; write it anew with \
                 `openssl pkcs8 -topk8 -nocrypt -in {shown} -out PLAIN` and keep that from others"
            );
            return Err(TlsError::new(setting, problem));
        }
        let key = PrivateKeyDer::from_pem_slice(&texts.key).map_err(|error| {
            TlsError::new(setting, format!("{shown} holds no private key in PEM: {error}"))
        })?;
        Ok(Identity { chain, key })
    }
}

/// Certificates of a file, one at least.
pub(super) fn certificates(
    world: &World,
    place: (&'static str, &Path),
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    parse_certificates(place, &read(world, place)?)
}

fn read(world: &World, (setting, path): (&'static str, &Path)) -> Result<Vec<u8>, TlsError> {
    let bytes = world.disk.read(path);
    bytes.map(Vec::from).map_err(|error| TlsError::new(setting, format!("{error}")))
}

fn parse_certificates(
    (setting, path): (&'static str, &Path),
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |problem: &str| {
        TlsError::new(setting, format!("{} holds no certificate in PEM: {problem}", path.display()))
    };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let certificates = read.map_err(|error| wrong(&error.to_string()))?;
    if certificates.is_empty() { Err(wrong("there is none")) } else { Ok(certificates) }
}
