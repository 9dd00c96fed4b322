//! Opening after a kill, until the first send is acknowledged; building consume queues and the key
//! index again from the log. Real data: `RMQ_BENCH_GIB` (default 1) of messages of 1 KiB over
//! `RMQ_BENCH_QUEUES` (default 8) queues. `RMQ_BENCH_SYNC=1`: with `SYNC_FLUSH`; 2: only after the
//! kill, so that it finds much that is not synced. `RMQ_BENCH_POWER=1`: it goes by what was synced,
//! as after a power loss. By hand: one pass over the bytes with their checksums.
#![expect(clippy::unwrap_used, reason = "a bench that fails may stop")]
#![expect(clippy::disallowed_methods, reason = "measures time itself")]
#![expect(clippy::print_stdout, reason = "this is what a bench is for")]

mod bed;
mod fill;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bed::{Bed, message, queues};
use fill::fill;
use rmq_message::record;
use rmq_runtime::{OpenMode, World};
use rmq_store::{FlushDiskType, MessageStore, StoreAdmin};

/// Names the directory to the process that is to be killed.
const VICTIM: &str = "RMQ_BENCH_VICTIM";

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let (gib, queue_count) = (setting("RMQ_BENCH_GIB", 1), setting("RMQ_BENCH_QUEUES", 8));
    let messages = gib * ((1 << 30) / 1260);
    let queues = queues(i32::try_from(queue_count).unwrap());
    let mode = |on| if on { FlushDiskType::Sync } else { FlushDiskType::Async };
    let sync = setting("RMQ_BENCH_SYNC", 0);
    if let Some(dir) = std::env::var_os(VICTIM) {
        let bed = Bed::open(Path::new(&dir), mode(sync == 1));
        fill(&bed, &queues, messages);
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let status = Command::new(std::env::current_exe().unwrap()).env(VICTIM, home).status().unwrap();
    assert!(!status.success(), "it was to be killed");

    if setting("RMQ_BENCH_POWER", 0) > 0 {
        World::system().disk.remove(&home.join("progress.boot")).unwrap();
    }

    println!("{gib} GiB of {messages} messages in {queue_count} queues");
    let started = Instant::now();
    let bed = Bed::open(home, mode(sync > 0));
    let opened = started.elapsed();
    let receipt = bed.store.append(&queues[0], &[message(b"first")]).unwrap();
    bed.store.settle().unwrap();
    bed.runtime.block_on(bed.store.durable(receipt.end)).unwrap();
    let (acknowledged, end) = (started.elapsed(), receipt.end.0);
    println!("  after a kill: open {opened:.1?}, first send acknowledged {acknowledged:.1?}");
    let kept: i64 = queues.iter().map(|queue| bed.store.offsets(queue).end.0).sum();
    assert_eq!(usize::try_from(kept).unwrap(), messages + 1, "all that was sent is there");
    tell_index(&bed, started, messages, end, "  after a kill");
    drop(bed);

    rebuild(home, messages, end);
    by_hand(home, messages, end);
}

/// Waits for the key index, which is made anew beside the store's work.
fn tell_index(bed: &Bed, started: Instant, messages: usize, end: u64, when: &str) {
    bed.runtime.block_on(bed.store.indexed().reached(bed.store.status().max_physical.0)).unwrap();
    rate(&format!("{when}: key index complete"), started.elapsed(), messages, end);
}

#[expect(clippy::cast_precision_loss, reason = "figures of three digits")]
fn rate(what: &str, took: Duration, messages: usize, bytes: u64) {
    let (seconds, mib) = (took.as_secs_f64(), bytes as f64 / f64::from(1 << 20));
    println!(
        "{what} {took:.1?}: {:.0} ns each, {:.0} MiB/s",
        seconds * 1e9 / messages as f64,
        mib / seconds
    );
}

fn rebuild(home: &Path, messages: usize, end: u64) {
    let disk = World::system().disk;
    for derived in ["consumequeue", "index"] {
        disk.remove_dir(&home.join(derived)).unwrap();
    }
    let started = Instant::now();
    let bed = Bed::open(home, FlushDiskType::Async);
    rate("  without consume queues: open", started.elapsed(), messages, end);
    tell_index(&bed, started, messages, end, "  without key index");
}

/// Walks the records of the log and computes their checksums.
fn by_hand(home: &Path, messages: usize, end: u64) {
    let disk = World::system().disk;
    let started = Instant::now();
    for entry in disk.list(&home.join("commitlog")).unwrap() {
        let path = home.join("commitlog").join(&entry.name);
        let file = disk.open(&path, OpenMode::Read).unwrap();
        let bytes = file.slice(0, usize::try_from(entry.len).unwrap()).unwrap();
        record::walk(&bytes).map_while(Result::ok).for_each(|it| it.verify().unwrap());
    }
    rate("  by hand: walk and checksum", started.elapsed(), messages, end);
}
