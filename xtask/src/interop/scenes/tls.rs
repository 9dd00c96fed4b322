//! Connections that others cannot read.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::interop::house::Side;
use crate::interop::players::{Sends, Wants, await_all, await_until};
use crate::interop::stage::Stage;
use crate::interop::words::{Sent, expect_same};

const WITHIN: Duration = Duration::from_secs(40);
/// Until a name server that we cannot ask tells clients of its broker.
const ROUTE_WITHIN: Duration = Duration::from_secs(90);
/// Time in which a client that is not let in does not give up by itself.
const REFUSED: &[&str] = &["--timeout-ms", "3000"];

/// Clients with TLS and without meet on the same ports, without any setting at the servers.
pub(super) fn permissive(stage: &mut Stage<'_>) -> Result<()> {
    let cluster = stage.cluster(Side::Ours)?;
    let name_server = cluster.address();
    let mut all = Vec::new();
    for (side, prefix, options) in [
        (Side::Apache, "java-tls", ["--tls"].as_slice()),
        (Side::Apache, "java-plain", &[]),
        (Side::Ours, "ours-tls", &["--tls"]),
    ] {
        all.extend(exchange(stage, side, name_server, prefix, options)?);
    }
    for (side, group, options) in [
        (Side::Apache, "tls_java", ["--tls"].as_slice()),
        (Side::Apache, "plain_java", &[]),
        (Side::Ours, "tls_ours", &["--tls"]),
    ] {
        receive(stage, side, name_server, &all, group, options)?;
    }
    Ok(())
}

/// Messages of all sizes.
fn exchange(
    stage: &mut Stage<'_>,
    side: Side,
    name_server: SocketAddr,
    prefix: &str,
    options: &[&str],
) -> Result<Vec<Sent>> {
    let mut sent = Vec::new();
    for (size, count) in [("100", 50), ("300000", 5)] {
        let sends = Sends::new("Secret", &format!("{prefix}-{size}"), count);
        let sends = sends.with(&["--body-size", size]).with(options);
        sent.extend(stage.produce(side, name_server, &sends)?);
    }
    Ok(sent)
}

fn receive(
    stage: &mut Stage<'_>,
    side: Side,
    name_server: SocketAddr,
    all: &[Sent],
    group: &str,
    options: &[&str],
) -> Result<()> {
    let consumer = stage.consume(side, name_server, &Wants::new(group, "Secret").with(options))?;
    await_all(&[&consumer], all, WITHIN)?;
    // While it holds a pull: what is sent now must wake it.
    let late = Sends::new("Secret", &format!("late-{group}"), 5).with(options);
    let late = stage.produce(side, name_server, &late)?;
    await_all(&[&consumer], &late, WITHIN)?;
    let got = consumer.got();
    let first: Vec<_> = got.into_iter().filter(|one| !one.body.starts_with("late-")).collect();
    expect_same(all, &first)?;
    consumer.stop()
}

/// Servers that serve nothing but TLS, with a certificate that clients check; broker and name server
/// speak it to each other. Who does not speak it, or believes others, is not served.
pub(super) fn enforcing(stage: &mut Stage<'_>, servers: Side, client: Side) -> Result<()> {
    let papers = Papers::new(&stage.folder)?;
    stage.secure(&[
        ("tls.server.mode", "enforcing"),
        ("tls.test.mode.enable", "false"),
        ("tls.server.certPath", papers.certificate.as_str()),
        ("tls.server.keyPath", papers.key.as_str()),
        ("tls.client.authServer", "true"),
        ("tls.client.trustCertPath", papers.authority.as_str()),
    ]);
    let cluster = stage.cluster(servers)?;
    let (name_server, trust) = (cluster.address(), ["--tls-trust", papers.authority.as_str()]);
    await_route(stage, client, name_server, &trust)?;
    let sent = exchange(stage, client, name_server, "safe", &trust)?;
    receive(stage, client, name_server, &sent, "safe", &trust)?;
    for options in [&[][..], &["--tls-trust", papers.stranger.as_str()]] {
        let sends = Sends::new("Secret", "refused", 1).with(REFUSED).with(options);
        let refused = stage.produce(client, name_server, &sends);
        ensure!(refused.is_err(), "a client with {options:?} could send");
    }
    Ok(())
}

/// Servers as Apache's are when only TLS is asked for: the certificate is made at the start.
pub(super) fn test_mode(stage: &mut Stage<'_>, servers: Side, client: Side) -> Result<()> {
    stage.secure(&[("tls.server.mode", "enforcing")]);
    let cluster = stage.cluster(servers)?;
    let name_server = cluster.address();
    await_route(stage, client, name_server, &["--tls"])?;
    let sent = exchange(stage, client, name_server, "test", &["--tls"])?;
    receive(stage, client, name_server, &sent, "test", &["--tls"])
}

/// Until a message can be sent: that is all one can ask of servers that serve nothing but TLS.
fn await_route(
    stage: &mut Stage<'_>,
    client: Side,
    name_server: SocketAddr,
    options: &[&str],
) -> Result<()> {
    let first = Sends::new("First", "first", 1).with(options);
    await_until("first message", ROUTE_WITHIN, || {
        let is_sent = stage.produce(client, name_server, &first).is_ok();
        if !is_sent {
            thread::sleep(Duration::from_secs(1));
        }
        is_sent
    })
}

/// Certificates in files.
struct Papers {
    authority: String,
    certificate: String,
    key: String,
    /// An authority that has signed nothing here.
    stranger: String,
}

impl Papers {
    fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let write = |name: &str, text: String| -> Result<String> {
            let path: PathBuf = fs::canonicalize(folder)?.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path.to_string_lossy().into_owned())
        };
        let (authority, stranger) = (Self::authority("ours")?, Self::authority("others")?);
        let key = KeyPair::generate()?;
        let certificate = Self::params("broker").signed_by(&key, &authority)?;
        Ok(Self {
            authority: write("authority.pem", authority.pem())?,
            certificate: write("server.pem", certificate.pem())?,
            key: write("server.key", key.serialize_pem())?,
            stranger: write("stranger.pem", stranger.pem())?,
        })
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
        let mut params = Self::params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
    }
}
