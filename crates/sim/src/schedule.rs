//! What runs next, and when time passes.
//!
//! All tasks of all machines are polled on one thread. Those that are ready at one moment are polled
//! in an order that the seed chooses; time passes only when none is ready, and then up to the next
//! moment that somebody sleeps for. So the order in which tasks were woken does not matter, and a
//! seed gives the same run each time.
//!
//! Tasks belong to a *life*: one run of a program on a machine. Ending a life drops its tasks where
//! they stand, as a kill does; a life that is paused is not polled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use rmq_runtime::{BoxFuture, Executor, executor};

use crate::{SimClock, SimEntropy};

/// Polls without any time passing after which the run is taken to go round in circles.
const STILL_MAX: u64 = 2_000_000;

/// One run of a program on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life(u64);

/// See the module.
pub struct Schedule {
    clock: Arc<SimClock>,
    chance: SimEntropy,
    woken: Arc<Mutex<Vec<u64>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<u64, Task>,
    next_task: u64,
    next_life: u64,
    lives: BTreeSet<Life>,
    /// Paused lives and their tasks that are ready.
    paused: BTreeMap<Life, Vec<u64>>,
    polls: u64,
}

struct Task {
    life: Life,
    /// None while it is polled.
    future: Option<BoxFuture<'static, ()>>,
    bell: Arc<Bell>,
}

/// Notes that a task is ready, once.
struct Bell {
    id: u64,
    rung: AtomicBool,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.woken.lock().push(self.id);
        }
    }
}

impl Schedule {
    /// Nothing runs yet, and no time has passed since that wall time (milliseconds since 1970).
    pub fn new(seed: u64, wall_ms: i64) -> Arc<Self> {
        Arc::new(Self {
            clock: SimClock::new(wall_ms),
            chance: SimEntropy::new(seed),
            woken: Arc::default(),
            state: Mutex::default(),
        })
    }

    /// Its time.
    pub fn clock(&self) -> &Arc<SimClock> {
        &self.clock
    }

    /// How often a task was polled.
    pub fn polls(&self) -> u64 {
        self.state.lock().polls
    }

    /// Begins a life.
    pub fn begin(&self) -> Life {
        let mut state = self.state.lock();
        state.next_life += 1;
        let life = Life(state.next_life);
        state.lives.insert(life);
        life
    }

    /// Whether it has not ended.
    pub fn is_alive(&self, life: Life) -> bool {
        self.state.lock().lives.contains(&life)
    }

    /// Starts a task; that of a life that has ended is dropped.
    pub fn spawn(&self, life: Life, future: BoxFuture<'static, ()>) {
        let mut state = self.state.lock();
        if !state.lives.contains(&life) {
            drop(state);
            return drop_dead(future);
        }
        state.next_task += 1;
        let (id, woken) = (state.next_task, Arc::clone(&self.woken));
        let bell = Arc::new(Bell { id, rung: AtomicBool::new(false), woken });
        bell.wake_by_ref();
        state.tasks.insert(id, Task { life, future: Some(future), bell });
    }

    /// Ends a life: its tasks are dropped where they stand.
    pub fn end(&self, life: Life) {
        let mut state = self.state.lock();
        state.lives.remove(&life);
        state.paused.remove(&life);
        let all = std::mem::take(&mut state.tasks);
        let (dead, left) = all.into_iter().partition(|(_, task)| task.life == life);
        state.tasks = left;
        drop(state);
        let _dead = executor::enter(Arc::new(Nowhere));
        let dead: BTreeMap<u64, Task> = dead;
        dead.into_values().for_each(drop);
    }

    /// Polls nothing of a life until it is [resumed](Self::resume).
    pub fn pause(&self, life: Life) {
        self.state.lock().paused.entry(life).or_default();
    }

    /// Goes on with a life.
    pub fn resume(&self, life: Life) {
        let ready = self.state.lock().paused.remove(&life).unwrap_or_default();
        self.woken.lock().extend(ready);
    }

    /// Runs until that future is ready, as a life of its own.
    ///
    /// # Panics
    /// Nobody will ever do anything any more, or everybody does something without time passing.
    pub fn run<T: Send + 'static>(
        self: &Arc<Self>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (life, output) = (self.begin(), Arc::new(Mutex::new(None)));
        let into = Arc::clone(&output);
        self.spawn(life, Box::pin(async move { *into.lock() = Some(future.await) }));
        let mut still = 0;
        loop {
            let polled = self.poll_ready();
            if let Some(output) = output.lock().take() {
                self.end(life);
                return output;
            }
            if polled > 0 {
                still += polled;
                assert!(still < STILL_MAX, "time stands still: {}", self.busy());
            } else {
                still = 0;
                assert!(self.clock.advance_to_next(), "nobody will ever do anything any more");
            }
        }
    }

    /// Ends everything.
    pub fn end_all(&self) {
        let lives: Vec<Life> = self.state.lock().lives.iter().copied().collect();
        lives.into_iter().for_each(|life| self.end(life));
    }

    fn busy(&self) -> String {
        let (state, woken) = (self.state.lock(), self.woken.lock());
        let tasks = woken.iter().filter_map(|id| state.tasks.get(id));
        let lives: BTreeSet<_> = tasks.map(|task| task.life).collect();
        format!("tasks of {lives:?} are ready again and again")
    }

    /// Polls every task that is ready now, once. Returns how many there were.
    fn poll_ready(self: &Arc<Self>) -> u64 {
        let mut ready = std::mem::take(&mut *self.woken.lock());
        ready.sort_unstable();
        for last in (1..ready.len()).rev() {
            ready.swap(last, self.chance.place(last + 1));
        }
        let count = ready.len() as u64;
        for id in ready {
            self.poll(id);
        }
        count
    }

    fn poll(self: &Arc<Self>, id: u64) {
        let mut state = self.state.lock();
        state.polls += 1;
        let State { tasks, paused, .. } = &mut *state;
        let Some(task) = tasks.get_mut(&id) else { return };
        if let Some(ready) = paused.get_mut(&task.life) {
            return ready.push(id);
        }
        let Some(mut future) = task.future.take() else { return };
        let (life, bell) = (task.life, Arc::clone(&task.bell));
        drop(state);
        bell.rung.store(false, Ordering::Release);
        let waker = Waker::from(bell);
        let poll = {
            let _entered = executor::enter(self.executor(life));
            future.as_mut().poll(&mut Context::from_waker(&waker))
        };
        let mut state = self.state.lock();
        match (poll, state.tasks.get_mut(&id)) {
            (Poll::Pending, Some(task)) => task.future = Some(future),
            (Poll::Ready(()), Some(_)) => {
                let task = state.tasks.remove(&id);
                drop(state);
                let _entered = executor::enter(self.executor(life));
                drop((task, future));
            }
            // Its life has ended while it was polled.
            (_, None) => {
                drop(state);
                drop_dead(future);
            }
        }
    }

    fn executor(self: &Arc<Self>, life: Life) -> Arc<dyn Executor> {
        Arc::new(OfLife { schedule: Arc::downgrade(self), life })
    }
}

/// Starts tasks of one life.
struct OfLife {
    schedule: Weak<Schedule>,
    life: Life,
}

impl Executor for OfLife {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        match self.schedule.upgrade() {
            Some(schedule) => schedule.spawn(self.life, task),
            None => drop_dead(task),
        }
    }
}

/// Where the dead would start their tasks: a task's drop may start another, and nobody is left to poll it.
struct Nowhere;

impl Executor for Nowhere {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(task);
    }
}

fn drop_dead(future: BoxFuture<'static, ()>) {
    let _dead = executor::enter(Arc::new(Nowhere));
    drop(future);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rmq_runtime::{ClockExt, OnFailure, Tasks};

    use super::*;

    /// The order in which ten tasks come, each after a second.
    fn order(seed: u64) -> Vec<usize> {
        let schedule = Schedule::new(seed, 0);
        let (clock, came) = (Arc::clone(schedule.clock()), Arc::new(Mutex::new(Vec::new())));
        let all = Arc::clone(&came);
        schedule.run(async move {
            let tasks = Tasks::new("test");
            for number in 0..10 {
                let (clock, came) = (Arc::clone(&clock), Arc::clone(&all));
                tasks.spawn("task", OnFailure::Log, async move {
                    clock.sleep(Duration::from_secs(1)).await;
                    came.lock().push(number);
                });
            }
            clock.sleep(Duration::from_secs(2)).await;
        });
        let came = came.lock().clone();
        assert_eq!(schedule.clock().wall_ms(), 2_000);
        came
    }

    #[test]
    fn a_seed_gives_the_same_order_and_others_give_others() {
        assert_eq!(order(1), order(1));
        assert!((2..10).any(|seed| order(seed) != order(1)));
    }

    #[test]
    fn a_life_that_ends_takes_its_tasks_along_and_starts_no_others() {
        let schedule = Schedule::new(1, 0);
        let (life, clock) = (schedule.begin(), Arc::clone(schedule.clock()));
        let marks = Arc::new(Mutex::new(Vec::new()));
        let (inner, outer) = (Arc::clone(&clock), Arc::clone(&marks));
        schedule.spawn(
            life,
            Box::pin(async move {
                for second in 1.. {
                    inner.sleep(Duration::from_secs(1)).await;
                    outer.lock().push(second);
                }
            }),
        );
        let shared = Arc::clone(&schedule);
        schedule.run(async move {
            clock.sleep(Duration::from_millis(1500)).await;
            shared.pause(life);
            clock.sleep(Duration::from_secs(10)).await;
            shared.resume(life);
            clock.sleep(Duration::from_millis(1200)).await;
            shared.end(life);
            clock.sleep(Duration::from_secs(10)).await;
            shared.spawn(life, Box::pin(async { unreachable!() }));
        });
        assert_eq!(*marks.lock(), [1, 2, 3]);
    }

    #[test]
    fn blocking_calls_run_at_once_and_there_are_no_threads() {
        let schedule = Schedule::new(1, 0);
        let (value, thread) = schedule.run(async {
            let tasks = Tasks::new("test");
            (tasks.blocking(|| 7).await, tasks.thread("t", OnFailure::Log, |_| {}).is_err())
        });
        assert_eq!((value, thread), (Some(7), true));
    }
}
