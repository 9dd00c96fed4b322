//! A disk that takes nothing for a while: sends are told to come again, and none that was
//! acknowledged is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rmq_broker::BrokerConfig;
use rmq_remoting::{RemotingCommand, response_code};
use rmq_runtime::{ClockExt, World};
use rmq_store::FlushDiskType;

use crate::disk::TestDisk;
use crate::fixture::{Fixture, config, header, seen};

/// More than the store keeps for a disk that takes nothing.
const SENDS: usize = 24;

async fn send(fixture: &Fixture, number: usize) -> (String, RemotingCommand) {
    let body = format!("{number:>4}{}", "x".repeat((4 << 20) - 1_000));
    let answer = fixture.ask(header("Orders", "").to_command(body.into())).await;
    (format!("{number:>4}"), answer)
}

async fn stored(fixture: &Fixture) -> BTreeSet<String> {
    let (mut all, mut at) = (BTreeSet::new(), 0);
    loop {
        let found = seen(&fixture.pull("Orders", 0, at).await.body);
        let Some(last) = found.last() else { return all };
        at = last.offset + 1;
        all.extend(found.into_iter().map(|message| message.body[..4].to_owned()));
    }
}

#[tokio::test]
async fn a_disk_that_takes_nothing_makes_sends_come_again_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let settings = || BrokerConfig {
        flush_disk_type: FlushDiskType::Sync,
        sync_flush_timeout: 1_500,
        ..config(dir.path())
    };
    let disk = TestDisk::default();
    let world = World { disk: Arc::new(disk.clone()), ..World::system() };
    let fixture = Fixture::start_in(world, settings());
    let mut safe = BTreeSet::new();
    let (body, answer) = send(&fixture, 0).await;
    assert_eq!(answer.code, response_code::SUCCESS);
    safe.insert(body);

    disk.writes.close();
    let answers = join_all((1..=SENDS).map(|number| send(&fixture, number))).await;
    let (mut unknown, mut busy) = (0, 0);
    for (body, answer) in answers {
        match answer.code {
            response_code::SUCCESS => {
                safe.insert(body);
            }
            response_code::FLUSH_DISK_TIMEOUT => unknown += 1,
            code => {
                let remark = answer.remark.as_deref().unwrap_or_default();
                assert_eq!(code, response_code::SYSTEM_BUSY, "{remark}");
                let text = "[PC_SYNCHRONIZED]broker busy, start flow control for a while";
                assert_eq!(remark, text);
                busy += 1;
            }
        }
    }
    assert!(unknown > 0 && busy > 0, "{unknown} unknown, {busy} refused");
    // What asks for no room is served as ever.
    assert_eq!(fixture.pull("Orders", 0, 0).await.code, response_code::SUCCESS);

    disk.writes.open();
    // Soon there is room again, and then time to flush.
    for number in SENDS + 1.. {
        let (body, answer) = send(&fixture, number).await;
        match answer.code {
            response_code::SUCCESS => {
                safe.insert(body);
                break;
            }
            response_code::FLUSH_DISK_TIMEOUT => unknown += 1,
            code => {
                assert_eq!(code, response_code::SYSTEM_BUSY, "{:?}", answer.remark);
                // Between tries, as clients wait; the loop ends with the first success only.
                fixture.world.clock.sleep(Duration::from_millis(20)).await;
            }
        }
    }
    fixture.stop().await;
    let fixture = Fixture::start(settings());
    let stored = stored(&fixture).await;
    assert!(stored.is_superset(&safe), "of {safe:?} only {stored:?} are there");
    // What was refused was not stored; what was unknown was.
    assert_eq!(stored.len(), safe.len() + unknown);
    fixture.stop().await;
}
