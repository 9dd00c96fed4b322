//! The broker as a program, alone and beside a name server.

use std::sync::Arc;
use std::time::Duration;

use rmq_remoting::protocol::route::{GetRoute, TopicRoute};
use rmq_remoting::tls::ServerTls;
use rmq_remoting::{Client, ClientConfig, Endpoint, Unsupported, call};
use rmq_runtime::{Tasks, World};
use rmq_server::{BrokerSettings, start_broker, start_namesrv};
use rustix::process::Signal;

use crate::program::{Place, Program};

const PATIENCE: Duration = Duration::from_secs(10);
/// Small files, so that many brokers fit on a small disk.
const SMALL: &str = "mappedFileSizeCommitLog=1048576\nmappedFileSizeConsumeQueue=4000\nmaxHashSlotNum=1000\nmaxIndexNum=4000\n";
const STANDALONE: &[&str] =
    &["standalone", "--listen", "127.0.0.1:0", "-c", "small.conf", "--set", "listenPort=0"];
const BROKER: &[&str] =
    &["broker", "--store", "rmq-data", "-c", "small.conf", "--set", "listenPort=0"];

fn place() -> Place {
    let place = Place::new();
    place.write("small.conf", SMALL);
    place
}

/// The route of a topic that every broker has.
async fn route(world: &World, name_server: Endpoint) -> Option<TopicRoute> {
    let tasks = Tasks::new("test");
    let client = Client::new(world.clone(), &tasks, ClientConfig::default(), Arc::new(Unsupported));
    let topic = GetRoute { topic: "SELF_TEST_TOPIC".into(), accept_standard_json_only: None };
    let answer = call(&*client, &name_server, &topic, PATIENCE).await.ok();
    tasks.stop(&*world.clock, PATIENCE).await;
    answer
}

fn routed_address(program: &Program) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let name_server = program.address("name server").into();
    let route = runtime.block_on(route(&World::system(), name_server))?;
    route.broker_datas.first()?.broker_addrs.get(&0).map(|address| address.to_string())
}

#[test]
fn standalone_is_registered_when_it_is_ready_and_starts_again_on_its_store() {
    let place = place();
    for signal in [Signal::TERM, Signal::INT] {
        let program = place.start(STANDALONE);
        assert_eq!(routed_address(&program), Some(program.address("broker").to_string()));
        assert!(place.has("rmq-data/abort"));
        let ended = program.stop(signal);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
        assert!(!place.has("rmq-data/abort"), "a clean stop says so");
    }
}

#[test]
fn killed_broker_starts_again() {
    let place = place();
    place.start(STANDALONE).stop(Signal::KILL);
    assert!(place.has("rmq-data/abort"));
    let ended = place.start(STANDALONE).stop(Signal::TERM);
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

#[test]
fn store_of_another_process_is_left_alone() {
    let place = place();
    let _first = place.start(STANDALONE);
    let ended = place.run(BROKER);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("in use by another process"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

#[test]
fn port_in_use_is_an_error_also_beside_another_broker() {
    let (place, other) = (place(), place());
    let first = place.start(STANDALONE);
    let at = first.address("broker");
    let port = format!("listenPort={}", at.port());
    let ended = other.run(&["broker", "-c", "small.conf", "--set", &port]);
    assert_eq!(ended.status, Some(1));
    assert_eq!(
        ended.stderr,
        format!(
            "rmq-server: the broker cannot listen on {at}: the port is in use by another process\n"
        )
    );
}

#[test]
fn damaged_store_is_named() {
    let place = place();
    place.start(BROKER).stop(Signal::TERM);
    place.write("rmq-data/commitlog/00000000000000000000", "short");
    let ended = place.run(BROKER);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("00000000000000000000"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

#[test]
fn broker_without_a_reachable_name_server_still_starts() {
    let place = place();
    let mut words = BROKER.to_vec();
    words.extend(["-n", "127.0.0.1:1"]);
    let ended = place.start(&words).stop(Signal::TERM);
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

#[tokio::test]
async fn servers_run_and_stop_inside_a_process() {
    let (world, dir) = (World::system(), tempfile::tempdir().unwrap());
    let config = rmq_namesrv::NamesrvConfig { listen_port: 0, ..Default::default() };
    let namesrv = start_namesrv(&world, config, &ServerTls::default()).await.unwrap();
    let mut settings = BrokerSettings::default();
    settings.broker.listen_port = 0;
    settings.set_store(dir.path());
    settings.store.mapped_file_size_commit_log = 1 << 20;
    settings.add_name_server(namesrv.addr());
    let broker = start_broker(&world, settings).await.unwrap();
    let endpoint = || Endpoint::from(namesrv.addr());
    let seen = route(&world, endpoint()).await.unwrap();
    assert_eq!(seen.broker_datas[0].broker_addrs[&0], broker.addr().to_string());
    assert_eq!(broker.stop(PATIENCE).await, Vec::<String>::new());
    assert_eq!(route(&world, endpoint()).await, None, "a broker leaves before it stops");
    assert_eq!(namesrv.stop(PATIENCE).await, Vec::<String>::new());
}
