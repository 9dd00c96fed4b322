//! Every task and thread of a program, its failure and its end.
//!
//! A part gets a [`Tasks`] of its own by [`Tasks::child`]; stopping a parent stops its children.
//! Nothing is detached: whoever holds the `Tasks` can end all that it started and wait for it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Clock, ClockExt, executor};

/// What the end of a task by panic means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is logged; the rest goes on.
    Log,
    /// The program cannot keep its promises any more: [`Tasks::failure`] tells.
    Unhealthy,
}

/// Told to stop.
#[derive(Clone, Debug)]
pub struct Stop(CancellationToken);

impl Stop {
    /// Ready when it is time to stop. Cancel-safe.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Whether it is time to stop.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }
}

struct Shared {
    /// What runs, by number: shown when something does not end.
    running: Mutex<BTreeMap<u64, String>>,
    next: AtomicU64,
    failure: watch::Sender<Option<String>>,
    children: Mutex<Vec<Weak<Shared>>>,
}

impl Shared {
    fn new(failure: watch::Sender<Option<String>>) -> Arc<Self> {
        Arc::new(Self {
            running: Mutex::default(),
            next: AtomicU64::new(0),
            failure,
            children: Mutex::default(),
        })
    }

    fn all_running(&self, names: &mut Vec<String>) {
        names.extend(self.running.lock().values().cloned());
        let children: Vec<_> = self.children.lock().iter().filter_map(Weak::upgrade).collect();
        children.iter().for_each(|child| child.all_running(names));
    }
}

/// Starts tasks and ends them.
#[derive(Clone)]
pub struct Tasks {
    name: Arc<str>,
    stop: CancellationToken,
    tracker: TaskTracker,
    shared: Arc<Shared>,
}

struct Running {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.running.lock().remove(&self.id);
    }
}

impl Tasks {
    /// The tasks of a program or a test.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
            shared: Shared::new(watch::Sender::new(None)),
        }
    }

    /// The tasks of a part: they stop with these, and can be stopped alone.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let shared = Shared::new(self.shared.failure.clone());
        {
            let mut children = self.shared.children.lock();
            children.retain(|child| child.strong_count() > 0);
            children.push(Arc::downgrade(&shared));
        }
        Self {
            name: format!("{}/{name}", self.name).into(),
            stop: self.stop.child_token(),
            tracker: TaskTracker::new(),
            shared,
        }
        .tracked_by(self)
    }

    /// A parent is done only when its children are: it holds one token of each.
    fn tracked_by(self, parent: &Self) -> Self {
        let (child, running) = (self.clone(), parent.enter(&self.name));
        let token = parent.tracker.token();
        // Spawned on the tracker's behalf only where a runtime is there; elsewhere the child's own
        // stop is waited for by whoever made it.
        if executor::is_there() {
            run(async move {
                child.stop.cancelled().await;
                child.tracker.close();
                child.tracker.wait().await;
                drop((token, running));
            });
        }
        self
    }

    fn enter(&self, name: &str) -> Running {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.running.lock().insert(id, name.to_owned());
        Running { shared: Arc::clone(&self.shared), id }
    }

    fn guard(&self, name: &str, on_failure: OnFailure) -> impl FnOnce(bool) + Send + 'static {
        let (running, failure) = (self.enter(name), self.shared.failure.clone());
        let name = format!("{}/{name}", self.name);
        move |panicked| {
            if panicked {
                tracing::error!(task = %name, "task panicked");
                if on_failure == OnFailure::Unhealthy {
                    failure.send_if_modified(|first| {
                        first.is_none() && {
                            *first = Some(name);
                            true
                        }
                    });
                }
            }
            drop(running);
        }
    }

    /// Starts a task on the runtime of the caller. It ends by itself, or when it sees
    /// [`Tasks::stop_token`] requested.
    pub fn spawn<F>(&self, name: &str, on_failure: OnFailure, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let done = self.guard(name, on_failure);
        run(self.tracker.track_future(async move {
            let outcome = CatchUnwind(Box::pin(future)).await;
            done(outcome.is_err());
        }));
    }

    /// Starts a thread of its own, for loops that block. Fails in a simulation.
    pub fn thread<F>(&self, name: &str, on_failure: OnFailure, body: F) -> std::io::Result<()>
    where
        F: FnOnce(Stop) + Send + 'static,
    {
        if executor::entered().is_some() {
            return Err(std::io::ErrorKind::Unsupported.into());
        }
        let (done, token, stop) =
            (self.guard(name, on_failure), self.tracker.token(), self.stop_token());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| body(stop)));
            done(outcome.is_err());
            drop(token);
        })?;
        Ok(())
    }

    /// Runs a call that blocks away from the runtime's own threads; in a simulation at once, here.
    /// `None` when it panicked.
    pub async fn blocking<T, F>(&self, call: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if executor::entered().is_some() {
            return std::panic::catch_unwind(AssertUnwindSafe(call)).ok();
        }
        self.tracker.spawn_blocking(call).await.ok()
    }

    /// Tells when to stop.
    pub fn stop_token(&self) -> Stop {
        Stop(self.stop.clone())
    }

    /// The names of what runs.
    pub fn running(&self) -> Vec<String> {
        self.shared.running.lock().values().cloned().collect()
    }

    /// The names of what runs, here and in all parts.
    pub fn all_running(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.shared.all_running(&mut names);
        names
    }

    /// The first task whose failure makes the program unhealthy, now or later.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.shared.failure.subscribe()
    }

    /// Asks everything to stop, without waiting.
    pub fn request_stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Asks everything to stop and waits. Returns the names of what did not end in time.
    pub async fn stop(&self, clock: &dyn Clock, grace: Duration) -> Vec<String> {
        self.request_stop();
        match clock.timeout(grace, self.tracker.wait()).await {
            Ok(()) => Vec::new(),
            Err(_) => self.running(),
        }
    }
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").field("name", &self.name).field("running", &self.running()).finish()
    }
}

/// Starts a task on the executor that is entered, else on the runtime of the caller.
fn run(task: impl Future<Output = ()> + Send + 'static) {
    match executor::entered() {
        Some(executor) => executor.spawn(Box::pin(task)),
        None => drop(tokio::runtime::Handle::current().spawn(task)),
    }
}

struct CatchUnwind<F>(std::pin::Pin<Box<F>>);

impl<F: Future> Future for CatchUnwind<F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        match std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemClock;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn stopping_ends_children_too_and_names_stragglers() {
        let (tasks, clock) = (Tasks::new("test"), SystemClock::new());
        let child = tasks.child("part");
        let stop = child.stop_token();
        child.spawn("polite", OnFailure::Log, async move { stop.requested().await });
        assert_eq!(tasks.stop(&clock, GRACE).await, Vec::<String>::new());

        let tasks = Tasks::new("test");
        tasks.spawn("deaf", OnFailure::Log, std::future::pending());
        assert_eq!(tasks.stop(&clock, Duration::from_millis(1)).await, ["deaf"]);
    }

    #[tokio::test]
    async fn a_panic_of_an_essential_task_is_told() {
        let tasks = Tasks::new("test");
        let child = tasks.child("part");
        let mut failure = tasks.failure();
        child.spawn("loop", OnFailure::Unhealthy, async { panic!("bang") });
        let seen = failure.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(seen.as_deref(), Some("test/part/loop"));
    }

    #[tokio::test]
    async fn a_thread_is_waited_for() {
        let (tasks, clock) = (Tasks::new("test"), SystemClock::new());
        let (tx, rx) = std::sync::mpsc::channel();
        tasks
            .thread("loop", OnFailure::Log, move |stop| {
                while !stop.is_requested() {
                    std::thread::yield_now();
                }
                tx.send(()).unwrap();
            })
            .unwrap();
        assert_eq!(tasks.stop(&clock, GRACE).await, Vec::<String>::new());
        rx.try_recv().unwrap();
    }
}
