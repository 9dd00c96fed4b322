//! What goes wrong, one thing after the other and some at once: the seed chooses what, where, when
//! and for how long. Everything is mended in the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_runtime::{OnFailure, Tasks};
use rmq_sim::Machine;
use rmq_store::FlushDiskType;

use super::stage::{GROUPS, MEMBERS, Seat, Stage};

/// Until members of a group that heard of everything are in balance: the longest time without a
/// notice, and what a balancing takes.
pub(super) const FELT: Duration = Duration::from_secs(40);
/// Until a broker gives up a member that has gone without a word, and the others heard of it.
const FELT_SILENCE: Duration = Duration::from_secs(180);
const GRACE: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Broker,
    Names,
    Member,
    Pause,
    Cut,
    Slow,
    Reset,
    Clock,
    Rest,
}

const KINDS: [Kind; 14] = [
    Kind::Broker,
    Kind::Broker,
    Kind::Broker,
    Kind::Names,
    Kind::Member,
    Kind::Member,
    Kind::Member,
    Kind::Pause,
    Kind::Cut,
    Kind::Cut,
    Kind::Slow,
    Kind::Reset,
    Kind::Clock,
    Kind::Rest,
];

/// Machines that have trouble now: one at a time each.
type Busy = Arc<Mutex<BTreeSet<u8>>>;

/// Makes trouble for so long; ready when everything is mended.
pub(super) async fn make(stage: &Arc<Stage>, length: Duration) {
    let until = stage.now() + u64::try_from(length.as_nanos()).unwrap_or(0);
    let (tasks, busy) = (Tasks::new("trouble"), Busy::default());
    loop {
        stage.sleep(stage.some_ms(500, 15_000)).await;
        if stage.now() >= until {
            break;
        }
        let kind = KINDS[stage.chance.place(KINDS.len())];
        if matches!(kind, Kind::Rest) {
            stage.sleep(stage.some_ms(10_000, 120_000)).await;
            continue;
        }
        let (stage, busy) = (Arc::clone(stage), Arc::clone(&busy));
        tasks.spawn("trouble", OnFailure::Log, async move { trouble(&stage, &busy, kind).await });
    }
    let late = tasks.stop(&**stage.schedule.clock(), GRACE).await;
    if !late.is_empty() {
        stage.record.wrong(format!("trouble does not end: {late:?}"));
    }
}

async fn trouble(stage: &Arc<Stage>, busy: &Busy, kind: Kind) {
    let machine = match kind {
        Kind::Broker => stage.brokers[stage.chance.place(stage.brokers.len())].number(),
        Kind::Names => stage.namesrv.number(),
        Kind::Member => {
            let seats: Vec<_> = stage.seats.values().collect();
            seats[stage.chance.place(seats.len())].number()
        }
        _ => {
            let all = stage.machines();
            all[stage.chance.place(all.len())]
        }
    };
    if !busy.lock().insert(machine) {
        return;
    }
    match kind {
        Kind::Broker => broker(stage, machine).await,
        Kind::Names => {
            let down = stage.some_ms(100, 40_000);
            stage.record.trouble(&format!("name server down for {down:?}"), down + FELT);
            stage.namesrv.kill();
            stage.sleep(down).await;
            stage.start_namesrv();
        }
        Kind::Member => member(stage, machine).await,
        Kind::Pause => pause(stage, machine).await,
        Kind::Cut => cut(stage, machine).await,
        Kind::Slow => slow(stage, machine).await,
        Kind::Reset => {
            let all = stage.machines();
            let other = all[stage.chance.place(all.len())];
            stage.record.trouble(&format!("connections of {machine} and {other} reset"), FELT);
            stage.net.reset(machine, other);
        }
        Kind::Clock => clock(stage, machine),
        Kind::Rest => {}
    }
    busy.lock().remove(&machine);
}

fn find(stage: &Stage, number: u8) -> Option<Arc<Machine>> {
    let all = stage.brokers.iter().chain(&stage.producers).chain(stage.seats.values());
    all.chain([&stage.namesrv]).find(|machine| machine.number() == number).cloned()
}

async fn broker(stage: &Arc<Stage>, number: u8) {
    let Some(machine) = find(stage, number) else { return };
    let down = stage.some_ms(50, 12_000);
    let ways = if stage.shape.flush == FlushDiskType::Sync { 3 } else { 2 };
    match stage.chance.place(ways) {
        0 => {
            stage.record.trouble(&format!("broker {number} killed for {down:?}"), down + FELT);
            machine.kill();
        }
        1 => {
            stage.record.trouble(&format!("broker {number} stops for {down:?}"), down + FELT * 2);
            stage.ask_to_leave(&machine);
            while machine.is_up() {
                stage.sleep(Duration::from_millis(100)).await;
            }
        }
        _ => {
            let felt = down + FELT_SILENCE;
            stage.record.trouble(&format!("broker {number} without power for {down:?}"), felt);
            machine.power_off(rmq_runtime::Entropy::next_u64(&stage.chance));
        }
    }
    stage.stores.lock().remove(&number);
    stage.sleep(down).await;
    stage.record.note(&format!("broker {number} starts"));
    stage.start_broker(&machine);
}

fn seat_of(stage: &Stage, number: u8) -> Option<Seat> {
    stage.seats.iter().find(|(_, machine)| machine.number() == number).map(|(seat, _)| *seat)
}

/// A member comes, or goes in one of three ways; the last one of a group comes back.
async fn member(stage: &Arc<Stage>, number: u8) {
    let (Some(machine), Some(seat)) = (find(stage, number), seat_of(stage, number)) else { return };
    if !machine.is_up() {
        stage.record.trouble(&format!("{seat:?} comes"), FELT);
        return stage.start_consumer(seat);
    }
    match stage.chance.place(3) {
        0 => {
            stage.record.trouble(&format!("{seat:?} leaves"), FELT);
            stage.ask_to_leave(&machine);
            while machine.is_up() {
                stage.sleep(Duration::from_millis(100)).await;
            }
        }
        1 => {
            stage.record.trouble(&format!("{seat:?} is killed"), FELT);
            machine.kill();
        }
        _ => {
            stage.record.trouble(&format!("{seat:?} loses power"), FELT_SILENCE);
            machine.power_off(1);
        }
    }
    stage.record.owns(seat, None);
    let alone = stage.members_of(seat.group).is_empty();
    if alone || stage.chance.one_in(2) {
        stage.sleep(stage.some_ms(100, 30_000)).await;
        stage.record.trouble(&format!("{seat:?} comes back"), FELT);
        stage.start_consumer(seat);
    }
}

async fn pause(stage: &Arc<Stage>, number: u8) {
    let Some(machine) = find(stage, number) else { return };
    let time = stage.some_ms(100, 90_000);
    stage.record.trouble(&format!("{number} stands still for {time:?}"), time + FELT_SILENCE);
    if let Some(seat) = seat_of(stage, number) {
        stage.record.froze(seat);
    }
    machine.pause();
    stage.sleep(time).await;
    stage.record.note(&format!("{number} goes on"));
    machine.resume();
}

async fn cut(stage: &Arc<Stage>, number: u8) {
    let all = stage.machines();
    let other = all[stage.chance.place(all.len())];
    let (there, back) = match stage.chance.place(3) {
        0 => (true, false),
        1 => (false, true),
        _ => (true, true),
    };
    let time = stage.some_ms(100, 60_000);
    let what = format!("between {number} and {other} cut for {time:?}, there {there}, back {back}");
    stage.record.trouble(&what, time + FELT_SILENCE);
    for (cut, from, to) in [(there, number, other), (back, other, number)] {
        if cut {
            stage.net.cut(from, to);
        }
    }
    stage.sleep(time).await;
    stage.record.note(&format!("between {number} and {other} mended"));
    stage.net.mend(number, other);
    stage.net.mend(other, number);
}

async fn slow(stage: &Arc<Stage>, number: u8) {
    let all = stage.machines();
    let other = all[stage.chance.place(all.len())];
    let (by, time) = (stage.some_ms(5, 4_000), stage.some_ms(1_000, 40_000));
    let what = format!("between {number} and {other} slower by {by:?} for {time:?}");
    stage.record.trouble(&what, time + FELT_SILENCE);
    stage.net.delay(number, other, by);
    stage.net.delay(other, number, by);
    stage.sleep(time).await;
    stage.net.delay(number, other, Duration::ZERO);
    stage.net.delay(other, number, Duration::ZERO);
}

fn clock(stage: &Arc<Stage>, number: u8) {
    let Some(machine) = find(stage, number) else { return };
    let ms = i64::try_from(stage.some_ms(1, 3_600_000).as_millis()).unwrap_or(0);
    let by = if stage.chance.one_in(2) { ms } else { -ms };
    stage.record.trouble(&format!("clock of {number} steps by {by} ms"), FELT);
    machine.clock().step(by);
}

/// Within this time after a change every queue has an owner.
pub(super) const BALANCED: Duration = Duration::from_secs(5);

/// A member of some group comes, leaves or is killed; somebody stays.
pub(super) async fn change_members(stage: &Arc<Stage>) {
    let seats: Vec<_> = stage.seats.iter().collect();
    let (seat, machine) = seats[stage.chance.place(seats.len())];
    let alone = stage.members_of(seat.group).len() == 1;
    if !machine.is_up() {
        stage.record.trouble(&format!("{seat:?} comes"), FELT);
        stage.start_consumer(*seat);
    } else if !alone && stage.chance.one_in(2) {
        stage.record.trouble(&format!("{seat:?} leaves"), FELT);
        stage.ask_to_leave(machine);
        while machine.is_up() {
            stage.sleep(Duration::from_millis(100)).await;
        }
    } else if !alone {
        stage.record.trouble(&format!("{seat:?} is killed"), FELT);
        machine.kill();
        stage.record.owns(*seat, None);
    }
}

/// Groups in which nobody is left get their first member back.
pub(super) fn fill(stage: &Arc<Stage>) {
    for group in 0..GROUPS.len() {
        if stage.members_of(group).is_empty() {
            for number in 0..MEMBERS.min(stage.shape.members) {
                stage.record.trouble(&format!("{group} gets member {number}"), FELT);
                stage.start_consumer(Seat { group, number });
            }
        }
    }
}
