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
    let text = "brokerName=b\nlistenPort=1\nnamesrvAddr=a:1\nstorePathRootDir=/x\nuseTLS=false\n";
    SystemDisk.write(&file, text.as_bytes()).unwrap();
    let file = file.to_str().unwrap();
    let plan =
        plan(&["broker", "-c", file, "-n", "b:2;c:3", "--store", "/y", "--set", "listenPort=0"])
            .unwrap();
    assert_eq!(plan.without_effect, ["useTLS"]);
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
