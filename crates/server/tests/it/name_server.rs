//! The name server as a program.

use rustix::process::Signal;

use crate::program::Place;

const FREE: &[&str] = &["namesrv", "--listen", "127.0.0.1:0"];

#[test]
fn name_server_starts_and_ends_with_either_signal() {
    let place = Place::new();
    for signal in [Signal::TERM, Signal::INT] {
        let program = place.start(FREE);
        assert!(program.address("name server").ip().is_loopback());
        let ended = program.stop(signal);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn port_in_use_is_said_in_one_line() {
    let place = Place::new();
    let first = place.start(FREE);
    let at = first.address("name server").to_string();
    let ended = place.run(&["namesrv", "--listen", &at]);
    assert_eq!(ended.status, Some(1));
    assert_eq!(
        ended.stderr,
        format!(
            "rmq-server: the name server cannot listen on {at}: the port is in use by another process\n"
        )
    );
}

#[test]
fn wrong_settings_end_with_status_2_and_the_place() {
    let place = Place::new();
    place.write("a.conf", "# mine\nlistenPrt=1\n");
    place.write("b.conf", "listenPort=many\n");
    place.write("c.conf", "bindAddress=0.0.0.0\n");
    for (words, expected) in [
        (
            &["namesrv", "-c", "a.conf"][..],
            "a.conf:2: there is no setting `listenPrt`; did you mean `listenPort`?",
        ),
        (
            &["namesrv", "-c", "b.conf"],
            "b.conf:1: listenPort: `many` is not a whole number from 0 to 65535",
        ),
        (&["namesrv", "-c", "none.conf"], "none.conf"),
        (&["namesrv", "-c", "c.conf"], "add --insecure-open if that is meant"),
        (&["namesrv", "--nonsense"], "--nonsense"),
    ] {
        let ended = place.run(words);
        assert_eq!(ended.status, Some(2), "{words:?} {ended:?}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
}

#[test]
fn damaged_key_value_store_is_an_error_and_not_a_fresh_start() {
    let place = Place::new();
    place.write("namesrv/kvConfig.json", "{\"configTable\":");
    let ended = place.run(FREE);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("kvConfig.json"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

#[test]
fn settings_of_apache_only_are_listed_once() {
    let place = Place::new();
    place.write("n.conf", "listenPort=0\nserverWorkerThreads=8\nuseTLS=false\n");
    let program = place.start(&["namesrv", "-c", "n.conf"]);
    assert_eq!(program.lines[0], "settings without effect here: serverWorkerThreads, useTLS");
    assert_eq!(program.lines.len(), 3);
}
