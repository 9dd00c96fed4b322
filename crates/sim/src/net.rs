//! A network between machines: connections whose bytes come late, not at all, or with their end.
//!
//! What TCP promises is kept: bytes of one direction of a connection arrive in order or not at all.
//! Connections overtake each other. What breaks is said by whoever holds the [`SimNet`]:
//!
//! | fault | what peers see |
//! |---|---|
//! | [`cut`](SimNet::cut), one direction | what is sent waits; dialling hangs; after [`mend`](SimNet::mend) it arrives, or the connection is reset |
//! | [`delay`](SimNet::delay), one direction | everything takes longer |
//! | [`reset`](SimNet::reset) | connections between two machines end with an error |
//! | a program that is killed ([`program_ended`](SimNet::program_ended)) | its connections end with an error |
//! | a machine that loses power ([`power_lost`](SimNet::power_lost)) | nothing at all; once the machine is back, whoever writes gets an error |

mod connection;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rmq_runtime::{ClockExt, Listener, Net, Stream};

use crate::{SimClock, SimEntropy};
use connection::{Connection, Segment, SimStream, What};

/// Shortest way of a segment, and by how much it varies.
const LATENCY_US: (u64, u64) = (100, 400);
/// Between two tries to dial a machine that does not answer.
const DIAL_AGAIN: Duration = Duration::from_secs(1);
/// First port of dialling sides.
const PORTS: u16 = 32_768;
/// Connections that wait to be accepted.
const BACKLOG: usize = 128;

/// A machine's number.
pub type Machine = u8;

/// The address of a machine.
pub fn address(machine: Machine) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, machine).into()
}

fn machine_of(address: IpAddr) -> Option<Machine> {
    match address {
        IpAddr::V4(ip) => match ip.octets() {
            [10, 0, 0, machine] => Some(machine),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

/// One direction between two machines.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    cut: bool,
    delay: Duration,
}

#[derive(Default)]
struct Listening {
    waiting: Vec<SimStream>,
    waker: Option<Waker>,
    id: u64,
}

struct State {
    links: BTreeMap<(Machine, Machine), Link>,
    without_power: BTreeSet<Machine>,
    listening: BTreeMap<SocketAddr, Listening>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    ports: BTreeMap<Machine, u16>,
    chance: SimEntropy,
}

/// See the module. Clones are the same network.
#[derive(Clone)]
pub struct SimNet {
    clock: Arc<SimClock>,
    state: Arc<Mutex<State>>,
}

impl SimNet {
    /// A network on which nothing is broken.
    pub fn new(clock: &Arc<SimClock>, seed: u64) -> Self {
        let state = State {
            links: BTreeMap::new(),
            without_power: BTreeSet::new(),
            listening: BTreeMap::new(),
            connections: BTreeMap::new(),
            next: 0,
            ports: BTreeMap::new(),
            chance: SimEntropy::new(seed),
        };
        Self { clock: Arc::clone(clock), state: Arc::new(Mutex::new(state)) }
    }

    /// The network as a machine sees it.
    pub fn of(&self, machine: Machine) -> Arc<dyn Net> {
        Arc::new(Port { net: self.clone(), machine })
    }

    /// Holds back everything that goes from one machine to the other.
    pub fn cut(&self, from: Machine, to: Machine) {
        self.state.lock().links.entry((from, to)).or_default().cut = true;
    }

    /// Lets it pass again; half of the connections that were held back are reset instead.
    pub fn mend(&self, from: Machine, to: Machine) {
        let now = self.clock.nanos();
        let mut state = self.state.lock();
        state.links.entry((from, to)).or_default().cut = false;
        let State { connections, chance, .. } = &mut *state;
        for connection in connections.values_mut() {
            if connection.release(from, to, now) && chance.one_in(2) {
                connection.reset(now);
            }
        }
    }

    /// Has everything that goes from one machine to the other take so much longer.
    pub fn delay(&self, from: Machine, to: Machine, by: Duration) {
        self.state.lock().links.entry((from, to)).or_default().delay = by;
    }

    /// Ends all connections between two machines with an error.
    pub fn reset(&self, one: Machine, other: Machine) {
        let now = self.clock.nanos();
        for connection in self.state.lock().connections.values_mut() {
            if connection.is_between(one, other) {
                connection.reset(now);
            }
        }
    }

    /// The program on a machine has ended and the system closes what it had open.
    pub fn program_ended(&self, machine: Machine) {
        let now = self.clock.nanos();
        let mut state = self.state.lock();
        let State { connections, links, .. } = &mut *state;
        for connection in connections.values_mut() {
            connection.program_ended(machine, now, |from, to| is_cut(links, from, to));
        }
        connections.retain(|_, connection| !connection.is_over());
        let unheard = state.close(machine);
        drop(state);
        drop(unheard);
    }

    /// A machine has gone without a word.
    pub fn power_lost(&self, machine: Machine) {
        let mut state = self.state.lock();
        state.without_power.insert(machine);
        for connection in state.connections.values_mut() {
            connection.power_lost(machine);
        }
        state.connections.retain(|_, connection| !connection.is_over());
        let unheard = state.close(machine);
        drop(state);
        drop(unheard);
    }

    /// It is back.
    pub fn power_back(&self, machine: Machine) {
        self.state.lock().without_power.remove(&machine);
    }

    /// How many connections there are, for those who look for leaks.
    pub fn connections(&self) -> usize {
        self.state.lock().connections.len()
    }

    /// How long a segment takes now; `None` when it does not arrive.
    fn latency(&self, from: Machine, to: Machine) -> Option<Duration> {
        let state = self.state.lock();
        if is_cut(&state.links, from, to)
            || state.without_power.contains(&from)
            || state.without_power.contains(&to)
        {
            return None;
        }
        Some(state.latency(from, to))
    }

    /// Dials: once there and once back.
    async fn dial(&self, from: Machine, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let machine = machine_of(to.ip()).ok_or(io::ErrorKind::HostUnreachable)?;
        loop {
            let (Some(there), Some(back)) =
                (self.latency(from, machine), self.latency(machine, from))
            else {
                self.clock.sleep(DIAL_AGAIN).await;
                continue;
            };
            self.clock.sleep(there).await;
            let Some(stream) = self.accept_from(from, to) else {
                self.clock.sleep(back).await;
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            self.clock.sleep(back).await;
            return Ok(Box::new(stream));
        }
    }

    fn accept_from(&self, from: Machine, to: SocketAddr) -> Option<SimStream> {
        let mut state = self.state.lock();
        let machine = machine_of(to.ip())?;
        let room = state.listening.get(&to).is_some_and(|at| at.waiting.len() < BACKLOG);
        if !room {
            return None;
        }
        let port = state.ports.entry(from).or_insert(PORTS);
        *port = port.checked_add(1).unwrap_or(PORTS);
        let dialling = SocketAddr::new(address(from), *port);
        state.next += 1;
        let id = state.next;
        state.connections.insert(id, Connection::new([from, machine]));
        let stream = |side| SimStream::new(self.clone(), (id, side), [dialling, to]);
        let (near, far) = (stream(0), stream(1));
        let listening = state.listening.get_mut(&to)?;
        listening.waiting.push(far);
        let waker = listening.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Some(near)
    }
}

fn is_cut(links: &BTreeMap<(Machine, Machine), Link>, from: Machine, to: Machine) -> bool {
    links.get(&(from, to)).is_some_and(|link| link.cut)
}

impl State {
    /// Takes away where a machine listens. The streams in it tell the network when they are dropped,
    /// so that must be done without this lock.
    fn close(&mut self, machine: Machine) -> Vec<Listening> {
        let listening = std::mem::take(&mut self.listening);
        let (mine, others) =
            listening.into_iter().partition(|(at, _)| machine_of(at.ip()) == Some(machine));
        self.listening = others;
        let mine: BTreeMap<SocketAddr, Listening> = mine;
        mine.into_values().collect()
    }

    fn latency(&self, from: Machine, to: Machine) -> Duration {
        let delay = self.links.get(&(from, to)).map_or(Duration::ZERO, |link| link.delay);
        let (least, spread) = LATENCY_US;
        let wire = Duration::from_micros(least + below(&self.chance, spread));
        // A slow link is slow more often than not, and not always alike.
        let percent = u32::try_from(50 + below(&self.chance, 50)).unwrap_or(100);
        wire + delay * percent / 100
    }

    /// Puts something on its way to the other side.
    fn send(&mut self, (id, side): (u64, usize), what: What, now: u64) -> Option<Waker> {
        let connection = self.connections.get(&id)?;
        if !connection.is_there(side) {
            return None;
        }
        let machines = connection.machines;
        let (from, to) = (machines[side], machines[1 - side]);
        let latency = nanos(self.latency(from, to));
        let held = is_cut(&self.links, from, to);
        let gone = self.without_power.contains(&to);
        let connection = self.connections.get_mut(&id)?;
        if gone || !connection.is_there(1 - side) {
            // A machine that is up says that it knows no such connection.
            if !gone && !held {
                connection.refuse(side, now + 2 * latency);
            }
            return None;
        }
        let at = if held { u64::MAX } else { now + latency };
        connection.deliver(1 - side, Segment { at, what })
    }
}

fn below(chance: &SimEntropy, bound: u64) -> u64 {
    rmq_runtime::Entropy::below(chance, bound)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// The network of one machine.
struct Port {
    net: SimNet,
    machine: Machine,
}

#[async_trait]
impl Net for Port {
    async fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        self.net.dial(self.machine, to).await
    }

    async fn listen(&self, at: SocketAddr, _shared: bool) -> io::Result<Box<dyn Listener>> {
        let at = SocketAddr::new(address(self.machine), at.port());
        let mut state = self.net.state.lock();
        if state.listening.contains_key(&at) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.next += 1;
        let id = state.next;
        state.listening.insert(at, Listening { id, ..Listening::default() });
        Ok(Box::new(SimListener { net: self.net.clone(), at, id }))
    }

    async fn resolve(&self, host_port: &str) -> io::Result<Vec<SocketAddr>> {
        let address = host_port.parse();
        address.map(|address| vec![address]).map_err(|_| io::ErrorKind::NotFound.into())
    }

    fn local_ips(&self) -> Vec<IpAddr> {
        vec![address(self.machine)]
    }
}

struct SimListener {
    net: SimNet,
    at: SocketAddr,
    id: u64,
}

impl SimListener {
    fn poll_accept(&self, cx: &Context<'_>) -> Poll<io::Result<Box<dyn Stream>>> {
        let mut state = self.net.state.lock();
        let mine = state.listening.get_mut(&self.at).filter(|listening| listening.id == self.id);
        let Some(listening) = mine else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if listening.waiting.is_empty() {
            listening.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(Box::new(listening.waiting.remove(0))))
    }
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&mut self) -> io::Result<Box<dyn Stream>> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn local_addr(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = self.net.state.lock();
        let mine = state.listening.get(&self.at).is_some_and(|listening| listening.id == self.id);
        let gone = if mine { state.listening.remove(&self.at) } else { None };
        // Streams tell the network when they end.
        drop(state);
        drop(gone);
    }
}

#[cfg(test)]
#[path = "net_test.rs"]
mod tests;
