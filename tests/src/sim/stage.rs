//! The machines of a run.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client_core::ClientConfig;
use rmq_runtime::{Clock, ClockExt, World};
use rmq_sim::{Machine, Schedule, SimEntropy, SimNet, net};
use rmq_store::{FlushDiskType, LocalStore};
use tokio::sync::watch;

use super::programs;
use super::record::Record;
use super::trouble::FELT;
use crate::Client;

/// The moment at which all runs begin, ms since 1970.
const BEGIN_MS: i64 = 1_800_000_000_000;

/// Topic whose senders try once: so a message is there once, or the sender does not know.
pub(super) const ORDERS: &str = "Orders";
/// Topic whose senders try again.
pub(super) const BILLS: &str = "Bills";
/// Groups, and whether they consume in order.
pub(super) const GROUPS: [(&str, bool); 3] = [("stock", false), ("ledger", true), ("audit", false)];
/// Most members of a group.
pub(super) const MEMBERS: u8 = 3;
/// Queues of a topic at each broker.
pub(super) const QUEUES: i32 = 4;

pub(super) const NAMESRV: u8 = 1;
const FIRST_BROKER: u8 = 10;
const FIRST_PRODUCER: u8 = 20;
const FIRST_CONSUMER: u8 = 30;
const WATCHER: u8 = 9;

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) brokers: u8,
    pub(super) producers: u8,
    /// Members that each group begins with.
    pub(super) members: u8,
    pub(super) flush: FlushDiskType,
    /// Longest pause of a sender between two messages.
    pub(super) pause: Duration,
}

impl Shape {
    /// The one that belongs to a seed.
    pub(super) fn of(seed: u64) -> Self {
        let chance = SimEntropy::new(seed ^ 0x5AAE);
        let number = |bound: usize| u8::try_from(chance.place(bound)).unwrap_or(0);
        Self {
            brokers: 1 + number(2),
            producers: 1 + number(2),
            members: 1 + number(3),
            flush: if chance.one_in(3) { FlushDiskType::Async } else { FlushDiskType::Sync },
            pause: Duration::from_millis(if chance.one_in(4) { 800 } else { 5_000 }),
        }
    }
}

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a simulation runs on this thread.
pub(super) fn is_running() -> bool {
    RUNNING.get()
}

pub(super) fn running() -> Running {
    RUNNING.set(true);
    Running
}

pub(super) struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(false);
    }
}

/// A place of a member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    pub(super) group: usize,
    pub(super) number: u8,
}

/// See the module.
pub(super) struct Stage {
    pub(super) seed: u64,
    pub(super) shape: Shape,
    pub(super) schedule: Arc<Schedule>,
    pub(super) net: SimNet,
    pub(super) chance: SimEntropy,
    pub(super) record: Record,
    pub(super) namesrv: Arc<Machine>,
    pub(super) brokers: Vec<Arc<Machine>>,
    pub(super) producers: Vec<Arc<Machine>>,
    pub(super) seats: BTreeMap<Seat, Arc<Machine>>,
    pub(super) watcher: Arc<Machine>,
    /// Stores of the brokers that run.
    pub(super) stores: Mutex<BTreeMap<u8, Arc<LocalStore>>>,
    /// Programs of machines in it are to end by themselves.
    pub(super) leaving: watch::Sender<BTreeMap<u8, u64>>,
    /// Senders go on.
    pub(super) sending: watch::Sender<bool>,
}

impl Stage {
    pub(super) fn new(seed: u64, shape: Shape) -> Arc<Self> {
        let schedule = Schedule::new(seed, BEGIN_MS);
        let net = SimNet::new(schedule.clock(), seed ^ 1);
        let machine = |number| Machine::new(&schedule, &net, number, seed);
        let seat = |group: usize, number: u8| {
            let offset = u8::try_from(group).unwrap_or(0) * MEMBERS + number;
            (Seat { group, number }, machine(FIRST_CONSUMER + offset))
        };
        let seats = (0..GROUPS.len()).flat_map(|group| (0..MEMBERS).map(move |n| (group, n)));
        let seats = seats.map(|(group, number)| seat(group, number)).collect();
        Arc::new(Self {
            seed,
            shape,
            net: net.clone(),
            chance: SimEntropy::new(seed ^ 2),
            record: Record::new(schedule.clock()),
            namesrv: machine(NAMESRV),
            brokers: (0..shape.brokers).map(|n| machine(FIRST_BROKER + n)).collect(),
            producers: (0..shape.producers).map(|n| machine(FIRST_PRODUCER + n)).collect(),
            seats,
            watcher: machine(WATCHER),
            stores: Mutex::default(),
            leaving: watch::Sender::default(),
            sending: watch::Sender::new(true),
            schedule,
        })
    }

    /// Virtual nanoseconds.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.schedule.clock().monotonic().0.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) async fn sleep(&self, time: Duration) {
        self.schedule.clock().sleep(time).await;
    }

    /// A number of milliseconds between two.
    pub(super) fn some_ms(&self, least: u64, most: u64) -> Duration {
        let span = usize::try_from(most.saturating_sub(least)).unwrap_or(0);
        Duration::from_millis(least + self.chance.place(span) as u64)
    }

    /// Starts everything.
    pub(super) async fn open(self: &Arc<Self>) {
        self.record.disturb(FELT);
        self.start_namesrv();
        for broker in &self.brokers {
            self.start_broker(broker);
        }
        let stage = Arc::clone(self);
        self.watcher.start(|world| programs::watcher(stage, world));
        self.sleep(Duration::from_secs(2)).await;
        for producer in &self.producers {
            self.start_producer(producer);
        }
        for (seat, _) in self.seats.iter().filter(|(seat, _)| seat.number < self.shape.members) {
            self.start_consumer(*seat);
        }
    }

    pub(super) fn start_namesrv(self: &Arc<Self>) {
        self.namesrv.start(programs::namesrv);
    }

    pub(super) fn start_broker(self: &Arc<Self>, machine: &Arc<Machine>) {
        let (stage, number) = (Arc::clone(self), machine.number());
        machine.start(|world| programs::broker(stage, number, world));
    }

    pub(super) fn start_producer(self: &Arc<Self>, machine: &Arc<Machine>) {
        let (stage, number, life) = (Arc::clone(self), machine.number(), machine.lives() + 1);
        machine.start(|world| programs::producer(stage, (number, life), world));
    }

    pub(super) fn start_consumer(self: &Arc<Self>, seat: Seat) {
        let Some(machine) = self.seats.get(&seat) else { return };
        let (stage, number, life) = (Arc::clone(self), machine.number(), machine.lives() + 1);
        machine.start(|world| programs::consumer(stage, seat, (number, life), world));
    }

    /// Asks the program of a machine to end by itself.
    pub(super) fn ask_to_leave(&self, machine: &Machine) {
        self.leaving.send_modify(|leaving| {
            leaving.insert(machine.number(), machine.lives());
        });
    }

    /// Ready when a program is asked to end.
    pub(super) async fn left(&self, number: u8, life: u64) {
        let mut leaving = self.leaving.subscribe();
        // The sender lives as long as the stage.
        drop(leaving.wait_for(|leaving| leaving.get(&number) >= Some(&life)).await);
    }

    /// Which programs of all brokers run.
    pub(super) fn broker_lives(&self) -> Vec<(u8, u64)> {
        self.brokers.iter().map(|broker| (broker.number(), broker.lives())).collect()
    }

    /// Members of a group that are up.
    pub(super) fn members_of(&self, group: usize) -> Vec<Seat> {
        let seats = self.seats.iter().filter(|(seat, _)| seat.group == group);
        seats.filter(|(_, machine)| machine.is_up()).map(|(seat, _)| *seat).collect()
    }

    /// Every machine that trouble may come to.
    pub(super) fn machines(&self) -> Vec<u8> {
        let all = self.brokers.iter().chain(&self.producers).chain(self.seats.values());
        all.chain([&self.namesrv]).map(|machine| machine.number()).collect()
    }

    pub(super) fn namesrv_address() -> SocketAddr {
        SocketAddr::new(net::address(NAMESRV), 9876)
    }

    /// Settings of a client on a machine.
    pub(super) fn client_config(number: u8, life: u64) -> ClientConfig {
        ClientConfig {
            instance_name: Some(format!("{number}-{life}")),
            ..ClientConfig::new(&Self::namesrv_address().to_string())
        }
    }

    /// A client that sees everything.
    pub(super) async fn reader(&self, world: World) -> Option<Client> {
        let config = Self::client_config(WATCHER, self.watcher.lives());
        Client::connect_from(world, config).await.ok()
    }
}
