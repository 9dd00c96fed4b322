//! Groups of several kinds of members that come, leave and are killed under load.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::interop::house::Side;
use crate::interop::players::{Consumer, Player, Sends, Wants, await_all, await_until};
use crate::interop::stage::Stage;
use crate::interop::words::{self, Got, Sent, expect_no_leap, expect_same};

const TOPIC: &str = "Members";
const GROUP: &str = "members";
const QUEUES: usize = 8;
/// Both sides rebalance every 20 s if no message from the broker wakes them before.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// The lock of an ordered queue outlives a killed member by a minute.
const WITHIN: Duration = Duration::from_secs(120);

/// What happens to a group.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Join(Player),
    /// The eldest of that kind says good-bye.
    Leave(Player),
    /// The eldest of that kind gets SIGKILL.
    Kill(Player),
}

use Act::{Join, Kill, Leave};
use Player::{Java, Ours};

/// Each kind comes to each kind, leaves it and is killed beside it.
pub(super) const WE_FIRST: &[Act] = &[
    Join(Ours),
    Join(Java),
    Join(Ours),
    Leave(Java),
    Join(Java),
    Kill(Ours),
    Kill(Java),
    Join(Java),
    Leave(Ours),
];
pub(super) const JAVA_FIRST: &[Act] = &[
    Join(Java),
    Join(Ours),
    Join(Java),
    Leave(Ours),
    Join(Ours),
    Kill(Java),
    Kill(Ours),
    Join(Ours),
    Leave(Java),
];
/// With Java's last client before version 5.
pub(super) const WITH_OLD_JAVA: &[Act] = &[
    Join(Player::OldJava),
    Join(Ours),
    Join(Java),
    Kill(Player::OldJava),
    Join(Player::OldJava),
    Leave(Ours),
    Leave(Java),
];

/// The members of a group, living and gone.
#[derive(Default)]
struct Group {
    living: Vec<(Player, Consumer)>,
    gone: Vec<Consumer>,
}

impl Group {
    fn act(
        &mut self,
        stage: &mut Stage<'_>,
        at: std::net::SocketAddr,
        act: Act,
        manner: &[&str],
    ) -> Result<()> {
        match act {
            Join(player) => {
                let instance = format!("m{}", self.living.len() + self.gone.len());
                let wants = Wants::new(GROUP, TOPIC).with(&["--instance", &instance]).with(manner);
                self.living.push((player, stage.consume(player, at, &wants)?));
            }
            Leave(player) => {
                let mut leaver = self.take(player)?;
                leaver.leave()?;
                self.gone.push(leaver);
            }
            Kill(player) => {
                let mut victim = self.take(player)?;
                victim.kill();
                self.gone.push(victim);
            }
        }
        Ok(())
    }

    fn take(&mut self, player: Player) -> Result<Consumer> {
        let at = self.living.iter().position(|(who, _)| *who == player);
        Ok(self.living.remove(at.with_context(|| format!("there is no {player:?}"))?).1)
    }

    /// Whether the living share all queues evenly.
    fn is_settled(&self) -> bool {
        let shares: Vec<_> = self.living.iter().map(|(_, one)| one.assigned(TOPIC)).collect();
        let (least, each) = (QUEUES / shares.len(), QUEUES.div_ceil(shares.len()));
        shares.iter().all(|share| (least..=each).contains(&share.len()))
            && shares.iter().flatten().collect::<std::collections::BTreeSet<_>>().len() == QUEUES
            && shares.iter().map(std::collections::BTreeSet::len).sum::<usize>() == QUEUES
    }

    fn shares(&self) -> String {
        let shares =
            self.living.iter().map(|(player, one)| format!("{player:?} {:?}", one.assigned(TOPIC)));
        shares.collect::<Vec<_>>().join(", ")
    }

    fn all(&self) -> Vec<&Consumer> {
        self.living.iter().map(|(_, one)| one).chain(&self.gone).collect()
    }
}

/// Under a steady load members come and go; after each step the living share all queues evenly and nothing is lost.
/// `--orderly` in `manner` means that nothing overtakes either.
pub(super) fn come_and_go(
    stage: &mut Stage<'_>,
    servers: Side,
    acts: &[Act],
    manner: &[&str],
) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let at = cluster.address();
    stage.admin(at)?.create_topic(cluster.broker.address, TOPIC, u32::try_from(QUEUES)?)?;
    let mut group = Group::default();
    let mut sent: Vec<Sent> = Vec::new();
    for (step, act) in acts.iter().enumerate() {
        let load = Sends::new(TOPIC, &format!("s{step}"), 150).with(&["--pause-ms", "5"]);
        let mut producer = stage.start_producing(Side::Ours, at, &load)?;
        producer.wait_for("30 messages", WITHIN, |lines| {
            (words::sent(lines).len() >= 30).then_some(())
        })?;
        group.act(stage, at, *act, manner)?;
        let status = producer.wait_end(WITHIN)?;
        ensure!(
            status.success(),
            "the producer ended with {status}; see {}",
            producer.log().display()
        );
        sent.extend(words::sent(&producer.lines()));
        await_until("even division", SETTLED_WITHIN, || group.is_settled())
            .with_context(|| format!("after step {step}, {act:?}: {}", group.shares()))?;
        await_all(&group.all(), &sent, WITHIN)
            .with_context(|| format!("after step {step}, {act:?}"))?;
    }
    if manner.contains(&"--orderly") {
        expect_no_leap(group.all().into_iter().flat_map(Consumer::got))?;
    }
    Ok(())
}

/// In one broadcast group of Java and us each gets everything, also when the other has been killed.
pub(super) fn broadcast(stage: &mut Stage<'_>, servers: Side) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let at = cluster.address();
    stage.admin(at)?.create_topic(cluster.broker.address, TOPIC, 4)?;
    let wants = |instance| Wants::new(GROUP, TOPIC).with(&["--broadcast", "--instance", instance]);
    let mut java = stage.consume(Java, at, &wants("java"))?;
    let ours = stage.consume(Ours, at, &wants("ours"))?;
    // A broadcast consumer without progress of its own begins where it finds the queues: all must be assigned first.
    await_until("assignment of all queues to both", WITHIN, || {
        [&java, &ours].iter().all(|consumer| consumer.assigned(TOPIC).len() == 4)
    })?;
    let mut sent = stage.produce(Side::Apache, at, &Sends::new(TOPIC, "cast", 100))?;
    for consumer in [&java, &ours] {
        await_all(&[consumer], &sent, WITHIN)?;
        expect_same(&sent, &consumer.got())?;
    }
    java.kill();
    sent.extend(stage.produce(Side::Ours, at, &Sends::new(TOPIC, "later", 100))?);
    await_all(&[&ours], &sent, WITHIN)?;
    expect_same(&sent, &ours.got())?;
    ours.stop()
}

/// What one kind fails to consume, the other kind consumes when it comes back.
pub(super) fn handed_over(stage: &mut Stage<'_>, servers: Side, failing: Player) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let at = cluster.address();
    stage.admin(at)?.create_topic(cluster.broker.address, TOPIC, 4)?;
    let saving = if failing == Ours { Java } else { Ours };
    // The retry topic has one queue, which belongs to the first in the order of names.
    let saver =
        stage.consume(saving, at, &Wants::new(GROUP, TOPIC).with(&["--instance", "first"]))?;
    let failing = stage.consume(
        failing,
        at,
        &Wants::new(GROUP, TOPIC).with(&["--instance", "second", "--fail-all"]),
    )?;
    await_until("division into two and two", SETTLED_WITHIN, || {
        [&saver, &failing].iter().all(|one| one.assigned(TOPIC).len() == 2)
    })?;
    let sent = stage.produce(Side::Apache, at, &Sends::new(TOPIC, "retry", 40))?;
    await_all(&[&saver], &sent, WITHIN)?;
    let failed = failing.got();
    ensure!(failed.len() == 20, "20 deliveries were to fail, {} did", failed.len());
    for first in &failed {
        let again: Vec<Got> =
            saver.got().into_iter().filter(|got| got.body == first.body).collect();
        let well = matches!(again.as_slice(), [one] if one.reconsumed == 1 && one.topic == TOPIC);
        ensure!(well, "{first:?} failed and came back as {again:?}");
    }
    saver.stop()?;
    failing.stop()
}

/// What fails too often lies among the dead letters, and comes no more.
pub(super) fn dead_letters(
    stage: &mut Stage<'_>,
    servers: Side,
    consumer: Side,
    manner: &[&str],
) -> Result<()> {
    const COUNT: u32 = 6;
    const REPETITIONS: u32 = 2;
    let cluster = stage.cluster(servers)?;
    let at = cluster.address();
    let mut admin = stage.admin(at)?;
    admin.create_topic(cluster.broker.address, TOPIC, 2)?;
    let sent = stage.produce(Side::Apache, at, &Sends::new(TOPIC, "dead", COUNT))?;
    let wants = Wants::new(GROUP, TOPIC)
        .with(&["--fail-all", "--max-reconsume", &REPETITIONS.to_string()])
        .with(manner);
    let consumer = stage.consume(consumer, at, &wants)?;
    let dead = || -> i64 {
        let told = admin.ask(&format!("topicStats %DLQ%{GROUP}")).unwrap_or_default();
        told.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).sum()
    };
    let mut dead = dead;
    await_until("all messages among the dead letters", WITHIN, || dead() == i64::from(COUNT))
        .with_context(|| format!("got {:?}", consumer.got()))?;
    for one in &sent {
        let times: Vec<u32> = consumer
            .got()
            .iter()
            .filter(|got| got.body == one.body)
            .map(|got| got.reconsumed)
            .collect();
        ensure!(
            times == (0..=REPETITIONS).collect::<Vec<_>>(),
            "{} came with attempts {times:?}",
            one.body
        );
    }
    consumer.stop()
}

/// A client of another language in one group with us: all that it and we send arrives at one of the two.
pub(super) fn foreign(stage: &mut Stage<'_>, player: Player) -> Result<()> {
    let cluster = stage.cluster(Side::Ours)?;
    let at = cluster.address();
    stage.admin(at)?.create_topic(cluster.broker.address, TOPIC, 4)?;
    let wants = |instance| Wants::new(GROUP, TOPIC).with(&["--instance", instance]);
    let alone =
        stage.consume(player, at, &Wants::new("alone", TOPIC).with(&["--instance", "alone"]))?;
    let other = stage.consume(player, at, &wants("other"))?;
    let ours = stage.consume(Ours, at, &wants("ours"))?;
    await_until("our half of the queues", SETTLED_WITHIN, || ours.assigned(TOPIC).len() == 2)?;
    let mut sent = stage.produce(
        player,
        at,
        &Sends::new(TOPIC, "theirs", 100).with(&["--body-size", "6000"]),
    )?;
    sent.extend(stage.produce(
        Ours,
        at,
        &Sends::new(TOPIC, "ours", 100).with(&["--body-size", "6000"]),
    )?);
    await_all(&[&alone], &sent, WITHIN)?;
    await_all(&[&ours, &other], &sent, WITHIN)?;
    ensure!(!ours.got().is_empty() && !other.got().is_empty(), "one of them got nothing");
    other.stop()?;
    await_until("all queues for us", SETTLED_WITHIN, || ours.assigned(TOPIC).len() == 4)?;
    alone.stop()?;
    let failing =
        stage.consume(player, at, &Wants::new("failing", TOPIC).with(&["--fail-first", "3"]))?;
    await_all(&[&failing], &sent, WITHIN)?;
    // The C++ client gives more back than what failed.
    await_until("three second deliveries", WITHIN, || {
        failing.got().iter().filter(|got| got.reconsumed > 0).count() >= 3
    })?;
    failing.stop()?;
    ours.stop()
}
