use clap::Parser as _;
use rmq_runtime::Disk as _;
use rmq_runtime::system::SystemDisk;

use super::*;

fn plan(words: &[&str]) -> Result<Plan, PlanError> {
    let args = Args::try_parse_from(std::iter::once("rmq-server").chain(words.iter().copied()));
    Plan::new(&World::system(), &args.unwrap())
}

fn problem(words: &[&str]) -> String {
    plan(words).unwrap_err().to_string()
}

#[test]
fn everything_listens_on_this_machine_only_unless_told_otherwise() {
    let plan_of = |words: &[&str]| plan(words).unwrap();
    let namesrv = plan_of(&["namesrv"]).namesrv.unwrap();
    assert_eq!(
        (namesrv.bind_address.to_string().as_str(), namesrv.listen_port),
        ("127.0.0.1", 9876)
    );
    let broker = plan_of(&["broker"]).broker.unwrap();
    assert!(broker.bind_address.is_loopback());
    assert_eq!(broker.broker.broker_ip1.to_string(), "127.0.0.1");
    assert_eq!(broker.broker.listen_port, 10911);
    let open = plan_of(&["broker", "--insecure-open"]).broker.unwrap();
    assert!(open.bind_address.is_unspecified());
    for words in [
        &["broker", "--set", "bindAddress=0.0.0.0"][..],
        &["namesrv", "--listen", "0.0.0.0:1"],
        &["standalone", "--set", "bindAddress=192.0.2.1"],
    ] {
        assert!(problem(words).contains("add --insecure-open"), "{words:?}");
    }
    let told = problem(&["broker", "--set", "brokerIP1=192.0.2.1"]);
    assert!(told.contains("brokerIP1") && told.contains("--insecure-open"), "{told}");
}

#[test]
fn flags_go_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker.conf");
    let text =
        "brokerName=b\nlistenPort=1\nnamesrvAddr=a:1\nstorePathRootDir=/x\nserverWorkerThreads=8\n";
    SystemDisk.write(&file, text.as_bytes()).unwrap();
    let file = file.to_str().unwrap();
    let plan =
        plan(&["broker", "-c", file, "-n", "b:2;c:3", "--store", "/y", "--set", "listenPort=0"])
            .unwrap();
    assert_eq!(plan.without_effect, ["serverWorkerThreads"]);
    let settings = plan.broker.unwrap();
    assert_eq!(settings.broker.broker_name, "b");
    assert_eq!(
        (settings.broker.listen_port, settings.broker.namesrv_addr.as_str()),
        (0, "b:2;c:3")
    );
    assert_eq!(settings.store.store_path_root_dir, Path::new("/y"));
    assert_eq!(settings.broker.store_path_root_dir, Path::new("/y"));
}

#[test]
fn standalone_keeps_all_its_files_in_one_directory() {
    let plan = plan(&["standalone", "--listen", "localhost:0", "--set", "listenPort=5"]).unwrap();
    let (namesrv, broker) = (plan.namesrv.unwrap(), plan.broker.unwrap());
    assert_eq!((namesrv.listen_port, broker.broker.listen_port), (0, 5));
    assert_eq!(broker.store.store_path_root_dir, Path::new("rmq-data"));
    assert_eq!(
        namesrv.kv_config_path.as_deref(),
        Some(Path::new("rmq-data/namesrv/kvConfig.json"))
    );
    assert_eq!(broker.broker.broker_name, "broker-a");
}

#[test]
fn wrong_words_are_named() {
    for (words, expected) in [
        (&["namesrv", "--set", "listenPrt=1"][..], "did you mean `listenPort`?"),
        (&["broker", "--set", "namesrvAddr=nowhere"], "command line: namesrvAddr: "),
        (&["broker", "--set", "deleteWhen=25"], "command line: deleteWhen: "),
        (&["namesrv", "--listen", "here"], "--listen: `here` is no IP:PORT"),
        (&["broker", "-c", "/does/not/exist.conf"], "/does/not/exist.conf"),
    ] {
        let said = problem(words);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn settings_of_tls_come_from_their_own_file_beneath_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tls.properties");
    let text = "tls.server.mode=enforcing\ntls.server.need.client.auth=optional\ntls.client.authServer=false\n";
    SystemDisk.write(&file, text.as_bytes()).unwrap();
    let named = format!("tls.config.file={}", file.display());
    let broker = plan(&["broker", "--set", &named, "--set", "tls.server.need.client.auth=none"]);
    let broker = broker.unwrap().broker.unwrap();
    assert_eq!(
        (broker.tls.mode, broker.tls.need_client_auth),
        (TlsMode::Enforcing, ClientAuth::None)
    );
    assert!(broker.client_tls.enable, "who serves nothing else dials so");
    let namesrv = plan(&["namesrv", "--set", &named]).unwrap();
    assert_eq!(namesrv.tls.mode, TlsMode::Enforcing);
    assert_eq!(namesrv.without_effect, ["tls.client.authServer"]);
}

#[test]
fn dialling_follows_serving_unless_it_is_set() {
    let client = |words: &[&str]| {
        let sets = words.iter().flat_map(|word| ["--set", word]);
        plan(&["broker"].into_iter().chain(sets).collect::<Vec<_>>())
            .unwrap()
            .broker
            .unwrap()
            .client_tls
    };
    assert!(!client(&[]).enable, "plain, as Apache's");
    assert!(!client(&["tls.server.mode=enforcing", "tls.enable=false"]).enable);
    let asked = client(&["useTLS=true"]);
    assert!(
        asked.enable && asked.test_mode,
        "the usual certificate is for tests, so any is believed"
    );
}

#[test]
fn what_makes_tls_impossible_is_told_with_its_place() {
    for (words, expected) in [
        (
            &[
                "broker",
                "--set",
                "tls.server.certPath=/does/not/exist",
                "--set",
                "tls.server.keyPath=/x",
            ][..],
            "command line: tls.server.certPath: ",
        ),
        (&["namesrv", "--set", "tls.server.keyPath=/x"], "tls.server.certPath: missing"),
        (
            &["namesrv", "--set", "tls.server.mode=both"],
            "is not one of disabled, permissive, enforcing",
        ),
        (&["namesrv", "--set", "tls.server.kyePath=/x"], "did you mean `tls.server.keyPath`?"),
        (&["namesrv", "--set", "tls.config.file=/does/not/exist"], "/does/not/exist"),
        (
            &[
                "broker",
                "--set",
                "useTLS=true",
                "--set",
                "tls.client.trustCertPath=/does/not/exist",
            ],
            "tls.client.trustCertPath: ",
        ),
    ] {
        let said = problem(words);
        assert!(said.contains(expected), "{said}");
    }
}
