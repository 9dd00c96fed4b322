//! Certificates of an authority that a test trusts, and of one that it does not.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rmq_client_core::ClientTls;
use rmq_remoting::tls::ServerTls;

use crate::wait::WORLD;

/// An authority, with the folder where its certificates and their keys lie.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
    name: &'static str,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// Its file cannot be written.
    pub fn new(name: &'static str, dir: &Path) -> Result<Self> {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let authority = Self { issuer, dir: dir.to_owned(), name };
        WORLD.disk.write(&authority.certificate(), authority.issuer.pem().as_bytes())?;
        Ok(authority)
    }

    /// The file with its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.name))
    }

    /// Signs a certificate; returns its file and that of the key.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn sign(&self, name: &str) -> Result<[PathBuf; 2]> {
        let key = KeyPair::generate()?;
        let mut params = params(name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let paths =
            ["pem", "key"].map(|kind| self.dir.join(format!("{}-{name}.{kind}", self.name)));
        WORLD.disk.write(&paths[0], certificate.pem().as_bytes())?;
        WORLD.disk.write(&paths[1], key.serialize_pem().as_bytes())?;
        Ok(paths)
    }

    /// TLS of a server with a certificate of this authority.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn server(&self) -> Result<ServerTls> {
        let [cert, key] = self.sign("server")?;
        Ok(ServerTls { cert_path: Some(cert), key_path: Some(key), ..ServerTls::default() })
    }

    /// TLS of a client that believes servers of this authority.
    pub fn trusting(&self) -> ClientTls {
        let trust_cert_path = Some(self.certificate());
        ClientTls { enable: true, trust_cert_path, ..ClientTls::default() }
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("name", &self.name).finish_non_exhaustive()
    }
}
