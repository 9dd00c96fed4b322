//! Members as processes of their own, and how they come and go.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future;
use parking_lot::Mutex;
use rmq_runtime::{ClockExt, Entropy, Tasks};

use super::ledger::Ledger;
use super::{GROUP, LOOK, Plan, TOPIC, report};
use crate::program;
use crate::wait::{WORLD, eventually, now};

/// Memory that no member may pass: the messages it may hold, many times over.
const MEMORY_MAX: u64 = 128 << 20;

/// How a member ends.
#[derive(Clone, Copy)]
enum End {
    Leaves,
    Dies,
}

/// The members, and what became of them.
pub(super) struct Group {
    binary: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    ledger: Arc<Mutex<Ledger>>,
    tasks: Tasks,
    joined: AtomicU32,
    left: AtomicU32,
    killed: AtomicU32,
    first_memory: AtomicU64,
    memory_max: AtomicU64,
}

impl Group {
    /// Nobody is there yet. Members leave when the tasks are stopped.
    pub(super) fn new(
        plan: &Plan,
        namesrv: &str,
        ledger: Arc<Mutex<Ledger>>,
        tasks: Tasks,
    ) -> Result<Self> {
        let log = plan.logs.join("members.log");
        WORLD.disk.create_dir(&plan.logs)?;
        WORLD.disk.write(&log, b"")?;
        let mut arguments: Vec<String> =
            ["--namesrv", namesrv, "--group", GROUP, "--topic", TOPIC].map(str::to_owned).into();
        arguments.extend(plan.ordered.then(|| "--ordered".to_owned()));
        Ok(Self {
            binary: plan.member.clone(),
            arguments,
            log,
            ledger,
            tasks,
            joined: AtomicU32::new(0),
            left: AtomicU32::new(0),
            killed: AtomicU32::new(0),
            first_memory: AtomicU64::new(0),
            memory_max: AtomicU64::new(0),
        })
    }

    /// Memory of the member that stays, when it was last looked at.
    pub(super) fn first_memory(&self) -> u64 {
        self.first_memory.load(Ordering::Relaxed)
    }

    /// One member stays; in every other place one follows the other.
    pub(super) async fn live(&self, plan: &Plan) -> Result<()> {
        let stays = self.serve(None, &self.first_memory);
        let places = (1..plan.members).map(|place| self.come_and_go(plan, place));
        future::try_join(stays, future::try_join_all(places)).await?;
        Ok(())
    }

    async fn come_and_go(&self, plan: &Plan, place: u32) -> Result<()> {
        let chance = plan.chance(place);
        while !self.tasks.stop_token().is_requested() {
            let mut life = Duration::from_millis(2000 + chance.below(8000));
            if plan.ordered {
                // Else all queues would be locked by the dead.
                life *= 10;
            }
            let end = if chance.one_in(2) { End::Dies } else { End::Leaves };
            self.serve(Some((life, end)), &self.memory_max).await?;
            self.pause(Duration::from_millis(chance.below(2000))).await;
        }
        Ok(())
    }

    /// Ready after that time, or when all is over.
    pub(super) async fn pause(&self, time: Duration) {
        let stop = self.tasks.stop_token();
        let stopped = Box::pin(stop.requested());
        future::select(WORLD.clock.sleep(time), stopped).await;
    }

    /// The life of one member, which ends as told or when all is over.
    async fn serve(&self, end: Option<(Duration, End)>, memory: &AtomicU64) -> Result<()> {
        let number = self.joined.fetch_add(1, Ordering::Relaxed) + 1;
        let (mut member, output) =
            self.start().with_context(|| self.binary.display().to_string())?;
        let ledger = Arc::clone(&self.ledger);
        let reading = self.tasks.blocking(move || report::read(output, number, &ledger));
        let living = async {
            let since = now();
            loop {
                let left = end.map(|(life, _)| life.saturating_sub(now().since(since)));
                if self.tasks.stop_token().is_requested() || left.is_some_and(|it| it.is_zero()) {
                    break;
                }
                let bytes = member.memory()?;
                ensure!(bytes < MEMORY_MAX, "{} MiB in use", bytes >> 20);
                memory.fetch_max(bytes, Ordering::Relaxed);
                self.pause(left.map_or(LOOK, |left| left.min(LOOK))).await;
            }
            if let (Some((_, End::Dies)), false) = (end, self.tasks.stop_token().is_requested()) {
                self.killed.fetch_add(1, Ordering::Relaxed);
                return member.kill();
            }
            self.left.fetch_add(1, Ordering::Relaxed);
            member.leave().await
        };
        let (read, lived) = future::join(reading, living).await;
        lived.with_context(|| format!("member {number}; see {}", self.log.display()))?;
        read.context("a reader panicked")?.with_context(|| format!("reports of member {number}"))
    }

    #[expect(clippy::disallowed_methods, reason = "a process writes into a file of the system's")]
    fn start(&self) -> Result<(Member, ChildStdout)> {
        let log = fs::File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).env("NO_COLOR", "1");
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn()?;
        let output = child.stdout.take().context("no output")?;
        Ok((Member { child }, output))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [joined, left, killed] =
            [&self.joined, &self.left, &self.killed].map(|count| count.load(Ordering::Relaxed));
        let memory = self.memory_max.load(Ordering::Relaxed) >> 20;
        write!(f, "{joined} members came, {left} left, {killed} were killed, ≤ {memory} MiB each")
    }
}

/// A member's process; killed when dropped.
struct Member {
    child: Child,
}

impl Member {
    /// Bytes of its own memory.
    fn memory(&mut self) -> Result<u64> {
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("ended by itself with {status}");
        }
        program::memory(self.child.id())
    }

    /// Ends it as `kill -9` does.
    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// It ends with its input.
    async fn leave(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let ended = eventually("farewell of a member", async || self.child.try_wait().ok()?);
        let status = ended.await?;
        ensure!(status.success(), "left with {status}");
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to kill.
        let _ended = self.kill();
    }
}
