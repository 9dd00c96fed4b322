//! A whole cluster in one thread: the real name server, brokers, producers and push consumers on
//! machines of [`rmq_sim`], under trouble that a seed chooses, and judged at the end (CT-10).
//!
//! | module | owns |
//! |---|---|
//! | `stage` | the machines, and what the run is like |
//! | `programs` | what runs on them |
//! | `trouble` | what goes wrong, and when |
//! | `record` | what everybody saw, and what is wrong the moment it happens |
//! | `judge` | what must be true at the end |
//!
//! The same seed gives the same run; [`Outcome::digest`] tells.

mod judge;
mod programs;
mod record;
mod stage;
mod trouble;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use stage::{Shape, Stage};

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// A hash of everything that was seen, in order, with times.
    pub digest: u64,
    /// What is wrong.
    pub violations: Vec<String>,
    /// What was seen last, before the first of them if there are any.
    pub lines: Vec<String>,
    /// Sends that were acknowledged.
    pub acknowledged: usize,
    /// Calls of listeners.
    pub deliveries: usize,
    /// What went wrong on purpose.
    pub troubles: usize,
    /// Virtual time.
    pub passed: Duration,
    /// Polls of tasks.
    pub polls: u64,
}

thread_local! {
    static PANICS: Mutex<Vec<String>> = const { Mutex::new(Vec::new()) };
}

/// Has panics of simulated programs noted instead of shown.
fn watch_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if stage::is_running() {
                PANICS.with(|panics| panics.lock().push(panic.to_string()));
            } else {
                usual(panic);
            }
        }));
    });
}

/// Runs a cluster for so long.
pub fn run(seed: u64, minutes: u64) -> Outcome {
    let length = Duration::from_secs(60 * minutes);
    act(Stage::new(seed, Shape::of(seed)), move |stage| async move {
        stage.open().await;
        trouble::make(&stage, length * 6 / 10).await;
        judge::settle(&stage, length).await;
    })
}

/// Members come, leave and are killed on a network without faults; after each change every queue has
/// just one owner within five seconds (INV-26).
pub fn changes_of_members(seed: u64) -> Outcome {
    act(Stage::new(seed, Shape::of(seed)), move |stage| async move {
        stage.open().await;
        stage.sleep(Duration::from_secs(60)).await;
        for _ in 0..20 {
            trouble::change_members(&stage).await;
            stage.sleep(trouble::BALANCED).await;
            judge::owners(&stage).into_iter().for_each(|wrong| stage.record.wrong(wrong));
            stage.sleep(stage.some_ms(0, 30_000)).await;
        }
    })
}

/// Runs a scene on a stage.
fn act<F>(stage: Arc<Stage>, scene: impl FnOnce(Arc<Stage>) -> F) -> Outcome
where
    F: Future<Output = ()> + Send + 'static,
{
    watch_panics();
    let played = {
        let _running = stage::running();
        let (schedule, scene) = (Arc::clone(&stage.schedule), scene(Arc::clone(&stage)));
        let played = std::panic::catch_unwind(AssertUnwindSafe(|| schedule.run(scene)));
        stage.schedule.end_all();
        played
    };
    let mut outcome = stage.record.outcome();
    if played.is_err() {
        outcome.violations.push("the run itself has panicked".to_owned());
    }
    outcome.violations.extend(PANICS.with(|panics| std::mem::take(&mut *panics.lock())));
    outcome.passed = Duration::from_nanos(stage.now());
    outcome.polls = stage.schedule.polls();
    outcome
}
