//! Every interleaving of a few members, queues and events, then long random walks (CT-11): the real
//! plan, owned queues, process queues, leases and progress, beside a model of the broker.
//!
//! After each event: INV-20..22, 24, 28. At the end of each path everything comes to rest, and then
//! each queue has one owner and every message is done with (INV-20, 26). `RMQ_EXPLORE=deep` takes
//! three members and four queues.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use parking_lot::Mutex;
use rmq_client_core::offset::Progress;
use rmq_client_core::rebalance::{self, Average};
use rmq_client_core::{ClientError, OffsetStore};
use rmq_message::{MessageQueue, MessageView, QueueOffset, Timestamp};
use rmq_runtime::Monotonic;

use crate::assignment;
use crate::owned_queue::OwnedQueue;
use crate::process_queue::Batch;
use crate::queue_lease::Lease;
use crate::ready::{ReadyLine, Work};
use crate::stats::StatsTable;
use crate::testing::message;

/// Messages of each queue.
const MESSAGES: i64 = 2;
/// How long a broker's lock lives.
const LOCK: Duration = Duration::from_secs(60);
/// How far one tick moves the clock: a lease ends after two, a lock after four.
const TICK: Duration = Duration::from_secs(16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Join(usize),
    Leave(usize),
    Crash(usize),
    /// The broker gives up a member that has crashed.
    Forget(usize),
    /// Asks who the members are.
    Look(usize),
    /// Balances by the last answer.
    Balance(usize),
    /// Finds out where to begin; the answer may fail to come.
    Begin(usize, bool),
    Pull(usize),
    /// The oldest pull is answered.
    Came(usize),
    /// A listener gets the next message.
    Call(usize),
    /// The oldest, or the youngest, call succeeds, or fails.
    Done(usize),
    DoneLast(usize),
    Fails(usize),
    Persist(usize),
    Renew(usize),
    Tick,
}

#[derive(Default)]
struct Broker {
    members: BTreeSet<usize>,
    committed: BTreeMap<MessageQueue, i64>,
    locks: BTreeMap<MessageQueue, (usize, Monotonic)>,
    /// What listeners were done with.
    done: BTreeMap<MessageQueue, BTreeSet<i64>>,
    unreachable: bool,
    wrong: Option<String>,
}

impl Broker {
    fn lowest_open(&self, queue: &MessageQueue) -> i64 {
        let done = self.done.get(queue);
        (0..MESSAGES).find(|at| done.is_none_or(|done| !done.contains(at))).unwrap_or(MESSAGES)
    }

    fn commit(&mut self, queue: &MessageQueue, offset: i64, by_the_way: bool) {
        let known = self.committed.get(queue).copied().unwrap_or(0);
        if offset < known {
            if !by_the_way {
                self.wrong = Some(format!("INV-22: {queue} goes back from {known} to {offset}"));
            }
            return;
        }
        if offset > self.lowest_open(queue) {
            self.wrong = Some(format!("INV-21: {queue} is committed up to {offset}"));
        }
        self.committed.insert(queue.clone(), offset);
    }

    fn lock(&mut self, queue: &MessageQueue, member: usize, now: Monotonic) -> bool {
        let held = self.locks.get(queue);
        let free = held.is_none_or(|(owner, until)| *owner == member || *until <= now);
        if free {
            self.locks.insert(queue.clone(), (member, now + LOCK));
        }
        free
    }
}

struct Store(Arc<Mutex<Broker>>);

#[async_trait]
impl OffsetStore for Store {
    async fn read(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        let broker = self.0.lock();
        if broker.unreachable {
            return Err(ClientError::NoNameServer);
        }
        Ok(broker.committed.get(queue).copied().map(QueueOffset))
    }

    async fn write(
        &self,
        positions: BTreeMap<MessageQueue, QueueOffset>,
    ) -> Result<(), ClientError> {
        let mut broker = self.0.lock();
        positions.iter().for_each(|(queue, at)| broker.commit(queue, at.0, true));
        Ok(())
    }

    async fn keep(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<(), ClientError> {
        self.0.lock().commit(queue, offset.0, false);
        Ok(())
    }
}

type Answer = (Arc<OwnedQueue>, Vec<MessageView>);

/// A member: what is real of it, in the hands of the explorer instead of its tasks.
struct Member {
    progress: Progress,
    line: ReadyLine,
    owned: BTreeMap<MessageQueue, Arc<OwnedQueue>>,
    seen: Option<Vec<usize>>,
    pulls: Vec<Answer>,
    calls: Vec<(Arc<OwnedQueue>, Batch)>,
}

impl Member {
    fn new(broker: &Arc<Mutex<Broker>>) -> Self {
        Self {
            progress: Progress::new(Arc::new(Store(Arc::clone(broker)))),
            line: ReadyLine::default(),
            owned: BTreeMap::new(),
            seen: None,
            pulls: Vec::new(),
            calls: Vec::new(),
        }
    }
}

/// What comes of a call.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("the model answers at once")
}

struct Scene {
    ordered: bool,
    queues: Vec<MessageQueue>,
    now: Monotonic,
    broker: Arc<Mutex<Broker>>,
    members: Vec<Option<Member>>,
    stats: StatsTable,
}

impl Scene {
    fn new(members: usize, queues: i32, ordered: bool) -> Self {
        Self {
            ordered,
            queues: (0..queues).map(|id| MessageQueue::new("T", "b", id)).collect(),
            now: Monotonic(Duration::from_secs(1_000)),
            broker: Arc::default(),
            members: (0..members).map(|_| None).collect(),
            stats: StatsTable::default(),
        }
    }

    fn events(&self) -> Vec<Event> {
        let mut events = vec![];
        if self.ordered {
            events.push(Event::Tick);
        }
        for (number, member) in self.members.iter().enumerate() {
            let Some(member) = member else {
                let known = self.broker.lock().members.contains(&number);
                events.push(if known { Event::Forget(number) } else { Event::Join(number) });
                continue;
            };
            events.extend([Event::Leave(number), Event::Crash(number), Event::Look(number)]);
            if member.seen.is_some() {
                events.push(Event::Balance(number));
            }
            if member.owned.values().any(|owned| !owned.has_begun()) {
                events.extend([Event::Begin(number, true), Event::Begin(number, false)]);
            }
            if member.owned.values().any(|owned| owned.has_begun()) {
                events.extend([Event::Pull(number), Event::Persist(number)]);
                if self.ordered {
                    events.push(Event::Renew(number));
                }
            }
            if !member.pulls.is_empty() {
                events.push(Event::Came(number));
            }
            if member.owned.values().any(|owned| owned.load().count > 0) {
                events.push(Event::Call(number));
            }
            if !member.calls.is_empty() {
                events.extend([Event::Done(number), Event::Fails(number)]);
            }
            if member.calls.len() > 1 {
                events.push(Event::DoneLast(number));
            }
        }
        events
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::Tick => self.now = self.now + TICK,
            Event::Join(number) => {
                self.broker.lock().members.insert(number);
                self.members[number] = Some(Member::new(&self.broker));
            }
            Event::Forget(number) => {
                self.broker.lock().members.remove(&number);
            }
            Event::Crash(number) => self.members[number] = None,
            Event::Leave(number) => {
                let queues: Vec<_> = self.owned(number);
                queues.iter().for_each(|owned| self.release(number, owned));
                self.broker.lock().members.remove(&number);
                self.members[number] = None;
            }
            Event::Look(number) => {
                let seen = self.broker.lock().members.iter().copied().collect();
                self.member(number).seen = Some(seen);
            }
            Event::Balance(number) => self.balance(number),
            Event::Begin(number, known) => {
                self.broker.lock().unreachable = !known;
                self.owned(number).iter().for_each(|owned| self.begin(number, owned));
                self.broker.lock().unreachable = false;
            }
            Event::Pull(number) => self.pull(number),
            Event::Came(number) => {
                let member = self.member(number);
                let (owned, messages) = member.pulls.remove(0);
                owned.put(messages, QueueOffset(MESSAGES), &member.line);
            }
            Event::Call(number) => self.call(number),
            Event::Done(number) => self.ended(number, 0, true),
            Event::DoneLast(number) => {
                let last = self.member(number).calls.len() - 1;
                self.ended(number, last, true);
            }
            Event::Fails(number) => self.ended(number, 0, false),
            Event::Persist(number) => {
                let now = self.now;
                let member = self.member(number);
                let begun = member.owned.values().filter(|it| it.has_begun() && it.is_leased(now));
                let begun: Vec<_> = begun.map(|owned| (*owned.queue).clone()).collect();
                now_or_never(member.progress.persist(&begun)).unwrap();
            }
            Event::Renew(number) => {
                for owned in self.owned(number) {
                    self.ask_lock(number, &owned);
                }
            }
        }
    }

    fn member(&mut self, number: usize) -> &mut Member {
        self.members[number].as_mut().unwrap()
    }

    fn owned(&mut self, number: usize) -> Vec<Arc<OwnedQueue>> {
        self.member(number).owned.values().cloned().collect()
    }

    fn fresh(&self, queue: &MessageQueue) -> Arc<OwnedQueue> {
        let lease = self.ordered.then(|| Lease::new(true));
        OwnedQueue::new(queue.clone(), self.stats.of("T"), lease, Timestamp(1))
    }

    fn ask_lock(&mut self, number: usize, owned: &Arc<OwnedQueue>) {
        let Some(lease) = &owned.lease else { return };
        if self.broker.lock().lock(&owned.queue, number, self.now) {
            lease.granted(self.now, Timestamp(1));
        } else {
            lease.refused();
        }
    }

    fn balance(&mut self, number: usize) {
        let queues = self.queues.clone();
        let member = self.member(number);
        let seen: Vec<String> = member.seen.iter().flatten().map(ToString::to_string).collect();
        let Ok(wanted) = rebalance::allocate(&Average, &number.to_string(), queues, seen) else {
            return;
        };
        let owned = member.owned.values().cloned().collect();
        let (leaving, assign) = assignment::difference(owned, &wanted);
        for owned in leaving {
            owned.close();
            let keeps = owned.running() > 0
                && owned.lease.as_ref().is_some_and(|lease| lease.holds_back(self.now));
            if !keeps {
                self.release(number, &owned);
            }
        }
        for queue in assign {
            let fresh = self.fresh(&queue);
            let member = self.member(number);
            if member.owned.contains_key(&queue) {
                // Still being given up.
                continue;
            }
            member.progress.let_go(&queue);
            member.owned.insert(queue, fresh);
        }
    }

    fn retire(&self, owned: &OwnedQueue) {
        owned.retire();
        let load = owned.load();
        if load.count + load.bytes > 0 {
            let wrong = format!("INV-28: {load:?} of {} is still counted", owned.queue);
            self.broker.lock().wrong = Some(wrong);
        }
    }

    /// Gives a queue up, as the consumer does.
    fn release(&mut self, number: usize, owned: &Arc<OwnedQueue>) {
        self.retire(owned);
        let (queue, now) = (&*owned.queue, self.now);
        let committed = self.broker.lock().committed.get(queue).copied().map(QueueOffset);
        let ordered = self.ordered;
        let member = self.member(number);
        if owned.has_begun() && owned.is_leased(now) && committed <= member.progress.memory(queue) {
            now_or_never(member.progress.persist_one(queue)).unwrap();
        }
        member.progress.let_go(queue);
        member.owned.remove(queue);
        let mut broker = self.broker.lock();
        if ordered && broker.locks.get(queue).is_some_and(|(owner, _)| *owner == number) {
            broker.locks.remove(queue);
        }
    }

    fn begin(&mut self, number: usize, owned: &Arc<OwnedQueue>) {
        // Its own listener may still have messages of an earlier ownership.
        let lingers = self.member(number).calls.iter().any(|(of, _)| of.queue == owned.queue);
        if owned.has_begun() || (self.ordered && lingers) {
            return;
        }
        self.ask_lock(number, owned);
        if !owned.is_leased(self.now) {
            return;
        }
        let member = self.member(number);
        let Ok(found) = now_or_never(member.progress.read(&owned.queue)) else { return };
        owned.begin(found.unwrap_or(QueueOffset::ZERO), found.is_some(), &member.progress);
    }

    fn pull(&mut self, number: usize) {
        let member = self.member(number);
        for owned in member.owned.values().filter(|owned| owned.has_begun()) {
            let from = member.progress.memory(&owned.queue).map_or(0, |from| from.0);
            let messages = (from..MESSAGES).map(|at| {
                let mut message = message("T", at, b"x");
                message.queue_id = owned.queue.queue_id;
                message
            });
            member.pulls.push((Arc::clone(owned), messages.collect()));
        }
    }

    fn call(&mut self, number: usize) {
        let now = self.now;
        let member = self.members[number].as_mut().unwrap();
        let Some(Work::Pulled(owned)) = member.line.next().now_or_never() else { return };
        if !owned.is_leased(now) {
            return self.anew(number, &owned);
        }
        let Some(batch) = owned.take(1, now, &member.line) else { return };
        member.calls.push((owned, batch));
    }

    /// An ordered queue has lost its lock.
    fn anew(&mut self, number: usize, owned: &Arc<OwnedQueue>) {
        let fresh = self.fresh(&owned.queue);
        let current = self.member(number).owned.get(&*owned.queue);
        if owned.is_open() && current.is_some_and(|current| Arc::ptr_eq(current, owned)) {
            self.retire(owned);
            let member = self.member(number);
            member.progress.let_go(&owned.queue);
            member.owned.insert((*owned.queue).clone(), fresh);
        }
    }

    fn ended(&mut self, number: usize, index: usize, ok: bool) {
        let (now, broker, ordered) = (self.now, Arc::clone(&self.broker), self.ordered);
        let member = self.member(number);
        let (owned, batch) = member.calls.remove(index);
        let offsets: Vec<_> = batch.messages.iter().map(|message| message.queue_offset).collect();
        owned.ended();
        if ok {
            let mut broker = broker.lock();
            let done = broker.done.entry((*owned.queue).clone()).or_default();
            done.extend(offsets.iter().map(|offset| offset.0));
        }
        if ordered && (owned.is_retired() || !owned.is_leased(now)) {
            return self.anew(number, &owned);
        }
        if ok {
            owned.done(batch.ticket, offsets, &member.progress);
        } else {
            owned.put_back(batch.ticket, offsets, true, &member.line);
        }
        if ordered {
            owned.reschedule(&member.line);
        }
    }

    /// What must be so at every moment.
    fn check(&self) -> Result<(), String> {
        let mut broker = self.broker.lock();
        if let Some(wrong) = broker.wrong.take() {
            return Err(wrong);
        }
        for queue in &self.queues {
            let lowest = broker.lowest_open(queue);
            let mut leased = Vec::new();
            for (number, member) in self.members.iter().enumerate() {
                let Some(member) = member else { continue };
                let Some(owned) = member.owned.get(queue) else { continue };
                let told = member.progress.memory(queue).filter(|_| owned.has_begun());
                if told.is_some_and(|told| told.0 > lowest) {
                    return Err(format!(
                        "INV-21: {number} is beyond {lowest} in {queue}: {told:?}"
                    ));
                }
                if self.ordered && owned.is_leased(self.now) && owned.has_begun() {
                    leased.push(number);
                }
            }
            if leased.len() > 1 {
                return Err(format!("INV-24: {leased:?} own {queue}"));
            }
        }
        Ok(())
    }

    /// Everybody does what there is to do, until everything is done.
    fn settle(&mut self) -> Result<(), String> {
        for number in 0..self.members.len() {
            if self.members[number].is_none() {
                self.broker.lock().members.remove(&number);
            }
        }
        if self.members.iter().all(Option::is_none) {
            self.act(Event::Join(0));
        }
        let alive: Vec<_> =
            (0..self.members.len()).filter(|n| self.members[*n].is_some()).collect();
        for _ in 0..12 {
            for &number in &alive {
                let steps =
                    [Event::Look(number), Event::Balance(number), Event::Begin(number, true)];
                steps.into_iter().for_each(|event| self.act(event));
                self.act(Event::Pull(number));
                while !self.member(number).pulls.is_empty() {
                    self.act(Event::Came(number));
                }
                loop {
                    self.act(Event::Call(number));
                    if self.member(number).calls.is_empty() {
                        break;
                    }
                    while !self.member(number).calls.is_empty() {
                        self.act(Event::Done(number));
                    }
                }
                self.act(Event::Persist(number));
                self.act(Event::Renew(number));
                self.check()?;
            }
            if self.unrest(&alive).is_none() {
                return Ok(());
            }
            self.now = self.now + TICK;
        }
        self.unrest(&alive).map_or(Ok(()), Err)
    }

    /// A queue that has not just one owner, or is not consumed to its end.
    fn unrest(&self, alive: &[usize]) -> Option<String> {
        let broker = self.broker.lock();
        self.queues.iter().find_map(|queue| {
            let owners = alive.iter().filter(|number| {
                self.members[**number].as_ref().is_some_and(|it| it.owned.contains_key(queue))
            });
            let (owners, committed) = (owners.count(), broker.committed.get(queue).copied());
            (owners != 1 || committed != Some(MESSAGES))
                .then(|| format!("INV-20, 26: {queue} has {owners} owners, is at {committed:?}"))
        })
    }

    /// Everything that the future depends on.
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let broker = self.broker.lock();
        format!("{:?}{:?}{:?}", broker.members, broker.committed, broker.done).hash(&mut hasher);
        for (queue, (owner, until)) in &broker.locks {
            (queue.queue_id, owner, until.since(self.now)).hash(&mut hasher);
        }
        for member in &self.members {
            let Some(member) = member else {
                0.hash(&mut hasher);
                continue;
            };
            format!("{:?}{:?}", member.seen, member.progress.snapshot()).hash(&mut hasher);
            let mut identities = Vec::new();
            for owned in member.owned.values() {
                identities.push(Arc::as_ptr(owned));
                let lease =
                    owned.lease.as_ref().map(|it| (it.is_held(self.now), it.holds_back(self.now)));
                (owned.is_open(), owned.has_begun(), owned.running(), lease).hash(&mut hasher);
                format!("{:?}{:?}", owned.load(), owned.bounds()).hash(&mut hasher);
            }
            let which = |owned: &Arc<OwnedQueue>| {
                (identities.iter().position(|it| *it == Arc::as_ptr(owned)), owned.queue.queue_id)
            };
            for (owned, messages) in &member.pulls {
                (which(owned), messages.len()).hash(&mut hasher);
            }
            for (owned, batch) in &member.calls {
                let offsets: Vec<_> = batch.messages.iter().map(|it| it.queue_offset.0).collect();
                (which(owned), offsets).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// Where explorations begin: one member that has everything; two members that have shared, of which
/// the first is in the middle of its work.
fn beginnings() -> [Vec<Event>; 2] {
    let take = |n| [Event::Look(n), Event::Balance(n), Event::Begin(n, true)];
    let mut alone = vec![Event::Join(0)];
    alone.extend(take(0));
    let mut shared = alone.clone();
    shared.extend([Event::Pull(0), Event::Came(0), Event::Call(0), Event::Join(1)]);
    shared.extend(take(1));
    alone.extend([Event::Pull(0), Event::Came(0)]);
    [alone, shared]
}

struct Exploration {
    size: (usize, i32, bool),
    /// States, and how many events were left when they were seen.
    seen: HashMap<u64, usize>,
    paths: u64,
}

impl Exploration {
    fn replay(&self, path: &[Event]) -> Scene {
        let (members, queues, ordered) = self.size;
        let mut scene = Scene::new(members, queues, ordered);
        for (at, event) in path.iter().enumerate() {
            scene.act(*event);
            if let Err(wrong) = scene.check() {
                panic!("{wrong}, after {:?} of {:?}", &path[..=at], self.size);
            }
        }
        scene
    }

    fn explore(&mut self, path: &mut Vec<Event>, left: usize) {
        let mut scene = self.replay(path);
        let before = self.seen.entry(scene.key()).or_insert(0);
        if *before > left {
            return;
        }
        *before = left + 1;
        if left == 0 {
            self.paths += 1;
            if let Err(wrong) = scene.settle() {
                panic!("{wrong}, at rest after {path:?} of {:?}", self.size);
            }
            return;
        }
        for event in scene.events() {
            path.push(event);
            self.explore(path, left - 1);
            path.pop();
        }
    }
}

fn is_deep() -> bool {
    std::env::var("RMQ_EXPLORE").is_ok_and(|depth| depth == "deep")
}

fn explore(ordered: bool) {
    let (members, queues, events) = if is_deep() { (3, 4, 6) } else { (2, 2, 6) };
    for mut path in beginnings() {
        let size = (members, queues, ordered);
        let mut all = Exploration { size, seen: HashMap::new(), paths: 0 };
        all.explore(&mut path, events);
        println!("{size:?}: {} states, {} ends after {events} events", all.seen.len(), all.paths);
    }
}

#[test]
fn every_interleaving_keeps_the_promises_of_concurrent_groups() {
    explore(false);
}

#[test]
fn every_interleaving_keeps_the_promises_of_ordered_groups() {
    explore(true);
}

#[test]
fn random_walks_keep_the_promises() {
    let steps: u64 = if is_deep() { 5_000_000 } else { 100_000 };
    let mut number = 7_u64;
    let mut chance = move |bound: usize| {
        number =
            number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((u128::from(number) * bound as u128) >> 64).unwrap()
    };
    for walk in 0..steps / 200 {
        let size = (3, 4, walk % 2 == 1);
        let (mut scene, mut path) = (Scene::new(3, 4, size.2), Vec::new());
        for _ in 0..200 {
            let events = scene.events();
            path.push(events[chance(events.len())]);
            scene.act(path[path.len() - 1]);
            if let Err(wrong) = scene.check() {
                panic!("{wrong}, in walk {walk} of {size:?}: {path:?}");
            }
        }
        if let Err(wrong) = scene.settle() {
            panic!("{wrong}, at rest after walk {walk} of {size:?}: {path:?}");
        }
    }
}
