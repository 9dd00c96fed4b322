//! The accepting side of a handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::RwLock;
use rmq_runtime::{Clock, ClockExt, Stream, World};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::files::{Identity, Place, Texts};
use super::stream::{Begun, Secure};
use super::trust::{self, Now};
use super::{ServerTls, TlsError, TlsMode};

/// Longest handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Bytes of what stands before a record: its kind, version and length.
const RECORD_HEADER: usize = 5;
/// Bytes of a record without encryption.
const RECORD_MAX: usize = RECORD_HEADER + (16 << 10);
/// Bytes of a first record that are read at once.
const READ_MAX: usize = 2 << 10;
/// Handshakes at once; a connection beyond is closed.
const HANDSHAKES_MAX: usize = 8192;

/// Accepts TLS connections.
pub struct Acceptor {
    settings: ServerTls,
    current: RwLock<Current>,
    handshakes: Semaphore,
}

/// What new connections are shown.
struct Current {
    config: Arc<ServerConfig>,
    /// Where it comes from, unless it was made at the start.
    texts: Option<Texts>,
}

impl Acceptor {
    pub(super) fn new(settings: &ServerTls, world: &World) -> Result<Option<Arc<Self>>, TlsError> {
        let (identity, texts) = match place(settings) {
            Some(place) => {
                let texts = place.read(world)?;
                (place.parse(&texts)?, Some(texts))
            }
            None => (self_signed()?, None),
        };
        let config = config(settings, world, identity)?;
        Ok(Some(Arc::new(Self {
            settings: settings.clone(),
            current: RwLock::new(Current { config, texts }),
            handshakes: Semaphore::new(HANDSHAKES_MAX),
        })))
    }

    /// Whether connections without TLS are served.
    pub(crate) fn admits_plain(&self) -> bool {
        self.settings.mode != TlsMode::Enforcing
    }

    /// Shows new connections another certificate when its files have changed. Half-written files
    /// change nothing.
    pub(crate) fn refresh(&self, world: &World) {
        let Some(place) = place(&self.settings) else { return };
        let fresh = place.read(world).and_then(|texts| {
            if self.current.read().texts.as_ref() == Some(&texts) {
                return Ok(None);
            }
            let config = config(&self.settings, world, place.parse(&texts)?)?;
            Ok(Some(Current { config, texts: Some(texts) }))
        });
        match fresh {
            Ok(None) => {}
            Ok(Some(fresh)) => {
                *self.current.write() = fresh;
                tracing::info!("new connections are shown the certificate that was changed");
            }
            Err(error) => tracing::warn!(%error, "the certificate stays as it was"),
        }
    }

    /// The handshake on a connection whose first bytes have been read.
    pub(crate) async fn accept(
        &self,
        stream: Box<dyn Stream>,
        first: BytesMut,
        clock: &dyn Clock,
    ) -> io::Result<Box<dyn Stream>> {
        let Ok(_place) = self.handshakes.try_acquire() else {
            return Err(io::Error::other("too many handshakes at once"));
        };
        match clock.timeout(HANDSHAKE_MAX, self.shake_hands(stream, first)).await {
            Ok(accepted) => accepted,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long")),
        }
    }

    async fn shake_hands(
        &self,
        mut stream: Box<dyn Stream>,
        mut first: BytesMut,
    ) -> io::Result<Box<dyn Stream>> {
        first_record(&mut stream, &mut first).await?;
        let tls = TlsAcceptor::from(Arc::clone(&self.current.read().config));
        // On the heap once, rather than in each future around it.
        let handshake = Box::pin(tls.accept(Begun { first: first.freeze(), stream }));
        Ok(Box::new(Secure(handshake.await?.into())))
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Reads on until the first record is whole: before that a handshake costs what has come of it, and
/// no state. One that is longer than records may be is left to whoever refuses it.
async fn first_record(
    stream: &mut (impl AsyncRead + Unpin),
    first: &mut BytesMut,
) -> io::Result<()> {
    loop {
        let wanted = match first.get(3..RECORD_HEADER) {
            Some(&[high, low]) => RECORD_HEADER + usize::from(u16::from_be_bytes([high, low])),
            _ => RECORD_HEADER,
        };
        if first.len() >= wanted.min(RECORD_MAX) {
            return Ok(());
        }
        first.reserve((wanted - first.len()).min(READ_MAX));
        if stream.read_buf(first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn place(settings: &ServerTls) -> Option<Place<'_>> {
    if settings.is_test_mode() {
        return None;
    }
    let (certificate, key) = (settings.cert_path.as_deref()?, settings.key_path.as_deref()?);
    Some(Place {
        certificate: ("tls.server.certPath", certificate),
        key: ("tls.server.keyPath", key),
    })
}

/// A certificate for tests, which nobody has signed.
fn self_signed() -> Result<Identity, TlsError> {
    let names = ["rmq".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| TlsError::new("tls.test.mode.enable", error.to_string()))?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    Ok(Identity { chain: vec![made.cert.into()], key })
}

fn config(
    settings: &ServerTls,
    world: &World,
    identity: Identity,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = trust::provider();
    let clients = trust::clients(settings, world, &provider)?;
    let config = ServerConfig::builder_with_details(provider, Arc::new(Now(world.clock.clone())))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new("tls.server.mode", error.to_string()))?;
    let config = match clients {
        Some(clients) => config.with_client_cert_verifier(clients),
        None => config.with_no_client_auth(),
    };
    config
        .with_single_cert(identity.chain, identity.key)
        .map(Arc::new)
        .map_err(|error| TlsError::new("tls.server.certPath", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_certificate_is_shown_once_it_fits_its_key() {
        let (world, dir) = (World::system(), tempfile::tempdir().unwrap());
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
        let made = || rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
        let (first, second) = (made(), made());
        world.disk.write(&cert, first.cert.pem().as_bytes()).unwrap();
        world.disk.write(&key, first.signing_key.serialize_pem().as_bytes()).unwrap();
        let (cert_path, key_path) = (Some(cert.clone()), Some(key.clone()));
        let settings = ServerTls { cert_path, key_path, ..ServerTls::default() };
        let acceptor = Acceptor::new(&settings, &world).unwrap().unwrap();
        let refreshed = || {
            let before = Arc::clone(&acceptor.current.read().config);
            acceptor.refresh(&world);
            !Arc::ptr_eq(&before, &acceptor.current.read().config)
        };
        assert!(!refreshed(), "nothing has changed");
        world.disk.write(&cert, second.cert.pem().as_bytes()).unwrap();
        assert!(!refreshed(), "the key is still the former one's");
        world.disk.write(&key, second.signing_key.serialize_pem().as_bytes()).unwrap();
        assert!(refreshed() && !refreshed());
    }

    #[tokio::test]
    async fn the_first_record_is_whole_before_anything_is_made_for_its_handshake() {
        let record = [0x16, 3, 1, 0, 4, 1, 2, 3, 4, 5];
        let whole = &record[..9];
        for cut in 1..record.len() {
            let mut first = BytesMut::from(&record[..1]);
            let mut rest = (&record[1..cut]).chain(&record[cut..]);
            first_record(&mut rest, &mut first).await.unwrap();
            assert!(first.starts_with(whole), "cut at {cut}: {first:?}");
        }
        let ended = first_record(&mut &record[6..8], &mut BytesMut::from(&record[..6])).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let mut first = BytesMut::from(&[0x16, 3, 1, 255, 255][..]);
        first_record(&mut tokio::io::repeat(7), &mut first).await.unwrap();
        assert!(
            (RECORD_MAX..RECORD_MAX + READ_MAX).contains(&first.len()),
            "no longer than records"
        );
    }

    #[test]
    fn files_that_cannot_be_used_say_why() {
        let (world, dir) = (World::system(), tempfile::tempdir().unwrap());
        let path = dir.path().join("file.pem");
        let settings = ServerTls {
            cert_path: Some(path.clone()),
            key_path: Some(path.clone()),
            ..ServerTls::default()
        };
        let made = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for (text, setting, expected) in [
            (String::new(), "tls.server.certPath", "holds no certificate"),
            (made.clone(), "tls.server.keyPath", "holds no private key"),
            (made + encrypted, "tls.server.keyPath", "openssl pkcs8 -topk8 -nocrypt"),
        ] {
            world.disk.write(&path, text.as_bytes()).unwrap();
            let error = Acceptor::new(&settings, &world).unwrap_err();
            assert_eq!(error.setting, setting);
            assert!(error.problem.contains(expected), "{error}");
        }
    }
}
