//! What must be true in the end, when everything is mended and time has passed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmq_message::{MessageQueue, QueueOffset, name, record};
use rmq_runtime::World;
use rmq_store::{AdmitAll, MessageStore, QueueKey, ReadRequest};

use super::programs::failures;
use super::stage::{BILLS, GROUPS, ORDERS, QUEUES, Stage};
use super::trouble;
use crate::Client;
use crate::history::Contents;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(3);
/// What senders still send after everything is mended.
const LAST_SENDS: Duration = Duration::from_secs(15);

/// Nanoseconds after which the cluster must have come to rest, however short the run: a member that
/// went without a word is given up, and a retry takes its delay.
const REST_MAX: u64 = 300_000_000_000;

/// Lets the cluster come to rest until `length` of virtual time has passed since the beginning, and
/// judges.
pub(super) async fn settle(stage: &Arc<Stage>, length: Duration) {
    trouble::fill(stage);
    let mended = stage.now();
    stage.sleep(LAST_SENDS).await;
    stage.sending.send_replace(false);
    // Calls that are on their way come to their end.
    stage.sleep(Duration::from_secs(10)).await;
    let Some(reader) = stage.reader(stage.judge_world()).await else { return };
    let Some(contents) = contents(stage, &reader).await else { return };
    judge_sends(stage, &contents);
    let end = u64::try_from(length.as_nanos()).unwrap_or(0);
    let left = loop {
        let left = left_to_do(stage, &reader, &contents).await;
        let rests = left.is_empty() && stage.record.is_calm();
        if rests || stage.now() >= end.max(mended + REST_MAX) {
            break left;
        }
        stage.sleep(LOOK).await;
    };
    left.into_iter().for_each(|what| stage.record.wrong(what));
    stage.sleep(LOOK).await;
    reader.shutdown().await;
}

/// What all topics hold, read as consumers read.
async fn contents(stage: &Arc<Stage>, reader: &Client) -> Option<[Contents; 2]> {
    let mut last = String::new();
    for _ in 0..40 {
        let read =
            async { anyhow::Ok([reader.contents(ORDERS).await?, reader.contents(BILLS).await?]) };
        match read.await {
            Ok(contents) => return Some(contents),
            Err(error) => last = format!("{error:#}"),
        }
        stage.sleep(LOOK).await;
    }
    stage.record.wrong(format!("topics cannot be read after everything is mended: {last}"));
    None
}

fn judge_sends(stage: &Arc<Stage>, [orders, bills]: &[Contents; 2]) {
    match stage.record.orders.check(orders) {
        Ok(verdict) if verdict.duplicates > 0 => {
            stage.record.wrong(format!("P1: sent once and stored twice: {verdict}"));
        }
        Ok(verdict) => stage.record.note(&verdict.to_string()),
        Err(error) => stage.record.wrong(format!("P1 {ORDERS}: {error}")),
    }
    match stage.record.bills.check(bills) {
        Ok(verdict) => stage.record.note(&verdict.to_string()),
        Err(error) => stage.record.wrong(format!("P1 {BILLS}: {error}")),
    }
}

/// What groups have not done yet.
async fn left_to_do(stage: &Arc<Stage>, reader: &Client, contents: &[Contents; 2]) -> Vec<String> {
    let mut left = owners(stage);
    for (group, (name, ordered)) in GROUPS.iter().enumerate() {
        let letters = dead_letters(stage, name);
        for (topic, contents) in [ORDERS, BILLS].iter().zip(contents) {
            if *topic == BILLS && *name != "stock" {
                continue;
            }
            for (queue, messages) in contents {
                let missing = messages.iter().find(|message| {
                    !stage.record.is_done(group, &message.body) && !letters.contains(&message.body)
                });
                if let Some(missing) = missing {
                    let body = String::from_utf8_lossy(&missing.body);
                    let (offset, fails) = (missing.offset, failures(name, &missing.body));
                    left.push(format!(
                        "P2: {name} never got {queue} {offset} ({body}, which fails {fails} times)"
                    ));
                }
            }
            left.extend(lag(reader, name, topic, contents).await);
        }
        if !ordered {
            for letter in letters.iter().filter(|letter| failures(name, letter) < 3) {
                left.push(format!(
                    "{} is a dead letter of {name}",
                    String::from_utf8_lossy(letter)
                ));
            }
        }
    }
    left
}

/// Queues that have not just one owner in each group.
pub(super) fn owners(stage: &Stage) -> Vec<String> {
    let mut wrong = Vec::new();
    for (group, (name, _)) in GROUPS.iter().enumerate() {
        for (number, store) in stage.stores.lock().iter() {
            // A broker to which nothing was sent yet does not have the topic.
            let ends = (0..QUEUES).map(|id| store.offsets(&QueueKey::new(ORDERS, id)).end);
            if ends.max() <= Some(QueueOffset::ZERO) {
                continue;
            }
            let broker = format!("broker-{number}");
            for queue in (0..QUEUES).map(|id| MessageQueue::new(ORDERS, &broker, id)) {
                let owners = stage.record.owners(group, &queue);
                if owners.len() != 1 {
                    wrong.push(format!("INV-26: {queue} is owned by {owners:?} of {name}"));
                }
            }
        }
    }
    wrong
}

/// Queues whose committed progress is not their end.
async fn lag(reader: &Client, group: &str, topic: &str, contents: &Contents) -> Vec<String> {
    let progress = match reader.progress(group, topic).await {
        Ok(progress) => progress,
        Err(error) => return vec![format!("progress of {group} is unknown: {error:#}")],
    };
    let mut left = Vec::new();
    for (queue, committed) in progress {
        let end = contents.get(&queue).map_or(0, Vec::len);
        if usize::try_from(committed).ok() != Some(end) {
            left.push(format!("INV-20: {group} has committed {committed} of {end} in {queue}"));
        }
    }
    left
}

/// Bodies of the dead letters of a group, read from the stores.
fn dead_letters(stage: &Arc<Stage>, group: &str) -> BTreeSet<Bytes> {
    let queue = QueueKey::new(name::dlq_topic(group), 0);
    let mut bodies = BTreeSet::new();
    for store in stage.stores.lock().values() {
        let range = store.offsets(&queue);
        let mut offset = range.start;
        while offset < range.end {
            let request = ReadRequest { queue: &queue, offset, count_max: 32, bytes_max: 1 << 20 };
            let Ok(found) = store.read(&request, &AdmitAll) else { break };
            for record in &found.records {
                let mut rest = record.clone();
                while let Ok(view) = record::RecordView::parse(&rest) {
                    bodies.insert(Bytes::copy_from_slice(view.body));
                    let len = view.total_len.min(rest.len());
                    rest = rest.slice(len..);
                }
            }
            offset = found.next_offset.max(QueueOffset(offset.0 + 1));
        }
    }
    bodies
}

impl Stage {
    /// The world of the judge.
    pub(super) fn judge_world(&self) -> World {
        World {
            clock: Arc::clone(self.schedule.clock()) as _,
            disk: Arc::new(rmq_sim::SimDisk::new(self.schedule.clock())),
            net: self.net.of(8),
            entropy: Arc::new(rmq_sim::SimEntropy::new(self.seed ^ 8)),
        }
    }
}
