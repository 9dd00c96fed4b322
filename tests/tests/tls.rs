//! Connections that others cannot read: TLS and plain ones on one port, who is let in, and who is
//! believed (M95, HI-29 with TLS).

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rmq_client_core::{ClientConfig, ClientTls};
use rmq_namesrv::NamesrvConfig;
use rmq_remoting::request_code;
use rmq_remoting::tls::{ClientAuth, ServerTls, TlsMode};
use rmq_runtime::ClockExt;
use rmq_server::{BrokerSettings, Running, start_broker, start_namesrv};
use rmq_tests::papers::Authority;
use rmq_tests::wire::Wire;
use rmq_tests::{Client, Cluster, Inbox, PATIENCE, WORLD, eventually};
use tempfile::TempDir;

const TOPIC: &str = "Secret";
const GRACE: Duration = Duration::from_secs(5);
/// Handshakes that begin and do not go on.
const HALF_OPEN: usize = 200;
/// What a client's first message begins with: a handshake of 512 bytes, most of which do not come.
const BEGINNING: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7, 7];

/// A name server and a broker with the same settings of TLS.
struct Servers {
    namesrv: Running,
    broker: Running,
    dir: TempDir,
}

impl Servers {
    /// The broker dials the name server as `client` says.
    async fn start(dir: TempDir, tls: ServerTls, client: ClientTls) -> Result<Self> {
        let config = NamesrvConfig { listen_port: 0, ..NamesrvConfig::default() };
        let namesrv = start_namesrv(&WORLD, config, &tls).await?;
        let mut settings = BrokerSettings { tls, client_tls: client, ..BrokerSettings::default() };
        settings.broker.listen_port = 0;
        settings.set_store(&dir.path().join("store"));
        settings.store.mapped_file_size_commit_log = 16 << 20;
        settings.add_name_server(namesrv.addr());
        let broker = start_broker(&WORLD, settings).await?;
        Ok(Self { namesrv, broker, dir })
    }

    async fn stop(self) -> Result<()> {
        for server in [self.broker, self.namesrv] {
            let late = server.stop(GRACE).await;
            ensure!(late.is_empty(), "did not end in time: {late:?}");
        }
        drop(self.dir);
        Ok(())
    }
}

async fn client(namesrv: SocketAddr, tls: ClientTls) -> Result<Client> {
    let config = ClientConfig { tls, ..ClientConfig::new(&namesrv.to_string()) };
    Client::connect_from(WORLD.clone(), config).await
}

/// Sends and reads, in both directions more than any buffer holds.
async fn use_fully(client: &Client, topic: &str) -> Result<()> {
    eventually("first send", async || client.send(topic, "first").await.ok()).await?;
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    client.send(topic, large.clone()).await?;
    let stored = client.contents(topic).await?;
    let bodies: Vec<_> = stored.values().flatten().map(|one| &one.body[..]).collect();
    ensure!(bodies.len() == 2 && bodies.contains(&&large[..]), "{} bodies came", bodies.len());
    Ok(())
}

/// Why a client gets no route.
async fn refusal(namesrv: SocketAddr, tls: ClientTls) -> Result<String> {
    let client = client(namesrv, tls).await?;
    let refused = client.instance().refresh_route(TOPIC).await;
    client.shutdown().await;
    Ok(refused.err().context("the client was let in")?.to_string())
}

fn anyone() -> ClientTls {
    ClientTls { enable: true, auth_server: false, ..ClientTls::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_plain_clients_share_the_ports_of_usual_servers() -> Result<()> {
    let cluster = Cluster::builder().start().await?;
    let at = cluster.namesrv_address();
    let (plain, secure) = (client(at, ClientTls::default()).await?, client(at, anyone()).await?);
    use_fully(&plain, "Plain").await?;
    use_fully(&secure, "Tls").await?;
    ensure!(plain.contents("Tls").await? == secure.contents("Tls").await?, "they differ");

    let inbox = Inbox::new();
    let consumer = rmq_client_push::PushConsumer::builder()
        .namesrv(&cluster.namesrv())
        .group("listener")
        .subscribe("Tls", "*")
        .consume_from(rmq_client_push::ConsumeFrom::FirstOffset)
        .tls(anyone())
        .listener(inbox.listener("tls"))
        .start()
        .await?;
    eventually("both messages", async || (inbox.all().len() == 2).then_some(())).await?;
    // The pull is held now.
    plain.send("Tls", "third").await?;
    eventually("a message that wakes", async || (inbox.all().len() == 3).then_some(())).await?;
    consumer.shutdown(GRACE).await;
    plain.shutdown().await;
    secure.shutdown().await;
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enforcing_servers_refuse_plain_clients_and_clients_refuse_wrong_authorities() -> Result<()>
{
    let dir = TempDir::new()?;
    let (ours, others) =
        (Authority::new("ours", dir.path())?, Authority::new("others", dir.path())?);
    let tls = ServerTls { mode: TlsMode::Enforcing, ..ours.server()? };
    let servers = Servers::start(dir, tls, ours.trusting()).await?;
    let at = servers.namesrv.addr();
    let trusting = client(at, ours.trusting()).await?;
    use_fully(&trusting, TOPIC).await?;
    trusting.shutdown().await;

    for address in [at, servers.broker.addr()] {
        let mut wire = Wire::connect(address).await?;
        let answer = wire.ask(request_code::GET_BROKER_CLUSTER_INFO, &[], b"").await?;
        ensure!(answer.is_none(), "answered without TLS: {answer:?}");
    }
    let said = refusal(at, ClientTls::default()).await?;
    ensure!(said.contains("ended"), "{said}");
    let said = refusal(at, others.trusting()).await?;
    ensure!(said.contains("see whether tls.client.trustCertPath names its authority"), "{said}");
    servers.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_want_certificates_let_in_who_has_one() -> Result<()> {
    let dir = TempDir::new()?;
    let (ours, others) =
        (Authority::new("ours", dir.path())?, Authority::new("others", dir.path())?);
    let tls = ServerTls {
        mode: TlsMode::Enforcing,
        need_client_auth: ClientAuth::Require,
        auth_client: true,
        trust_cert_path: Some(ours.certificate()),
        ..ours.server()?
    };
    let with = |[cert, key]: [std::path::PathBuf; 2]| ClientTls {
        cert_path: Some(cert),
        key_path: Some(key),
        ..ours.trusting()
    };
    let servers = Servers::start(dir, tls, with(ours.sign("broker")?)).await?;
    let at = servers.namesrv.addr();
    let known = client(at, with(ours.sign("client")?)).await?;
    use_fully(&known, TOPIC).await?;
    known.shutdown().await;
    for stranger in [ours.trusting(), with(others.sign("client")?)] {
        let said = refusal(at, stranger).await?;
        ensure!(said.contains("alert") || said.contains("ended"), "{said}");
    }
    servers.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_speaks_no_tls_is_told_from_one_that_is_silent() -> Result<()> {
    let disabled = ServerTls { mode: TlsMode::Disabled, ..ServerTls::default() };
    let servers = Servers::start(TempDir::new()?, disabled, ClientTls::default()).await?;
    let said = refusal(servers.namesrv.addr(), anyone()).await?;
    ensure!(said.contains("see whether the server speaks TLS"), "{said}");
    servers.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_handshakes_hinder_nobody_and_end() -> Result<()> {
    let cluster = Cluster::builder().start().await?;
    let secure = client(cluster.namesrv_address(), anyone()).await?;
    let mut open = Vec::new();
    for _ in 0..HALF_OPEN {
        let mut wire = Wire::connect(cluster.broker(0)).await?;
        ensure!(wire.write(BEGINNING).await, "closed before the handshake began");
        open.push(wire);
    }
    use_fully(&secure, TOPIC).await?;
    let all_closed = async {
        for wire in &mut open {
            ensure!(wire.read().await?.is_none(), "an answer to half a handshake");
        }
        Ok(())
    };
    WORLD.clock.timeout(PATIENCE, all_closed).await.context("they stay open")??;
    secure.shutdown().await;
    cluster.stop().await
}

#[tokio::test]
async fn clients_that_cannot_have_tls_do_not_start() -> Result<()> {
    let at = SocketAddr::from(([127, 0, 0, 1], 1));
    for (tls, expected) in [
        (checked(), "or set tls.client.authServer to false"),
        (ClientTls { trust_cert_path: Some(Path::new("/none").into()), ..checked() }, "/none"),
    ] {
        let refused = client(at, tls).await.err().context("it started")?;
        let said = format!("{refused:#}");
        ensure!(said.contains("tls.client.trustCertPath") && said.contains(expected), "{said}");
    }
    Ok(())
}

fn checked() -> ClientTls {
    ClientTls { enable: true, ..ClientTls::default() }
}
