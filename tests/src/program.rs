//! `rmq-server` as a process of its own, which can be killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::wait::eventually;

const LOG: &str = "output.log";

/// A running `rmq-server`; killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    #[expect(clippy::disallowed_methods, reason = "a process writes into a file of the system's")]
    pub(crate) fn start(kind: &str, conf: &Path, dir: &Path) -> Result<Self> {
        let log = dir.join(LOG);
        let out = fs::File::options().create(true).append(true).open(&log)?;
        let program = server()?;
        let mut command = Command::new(&program);
        command.arg(kind).arg("--config").arg(conf).env("NO_COLOR", "1").current_dir(dir);
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("{} could not be started", program.display()))?;
        Ok(Self { child, log })
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.context("no process id")?, rustix::process::Signal::TERM)?;
        let status =
            eventually("end of a stopped program", async || self.child.try_wait().ok()?).await?;
        ensure!(status.success(), "stopped with {status}: {}", self.last_words());
        Ok(())
    }

    /// Fails with its last words when it has ended.
    pub(crate) fn expect_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("rmq-server ended with {status}: {}", self.last_words()),
            None => Ok(()),
        }
    }

    /// Bytes of its own memory.
    pub(crate) fn memory(&self) -> Result<u64> {
        memory(self.child.id())
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to kill.
        let _ended = self.kill();
    }
}

/// Bytes of memory that a process has for itself; pages of mapped files are left out, the system
/// takes them back when it likes.
pub(crate) fn memory(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no RssAnon")?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// The server that is built with these tests, or the one that `RMQ_SERVER` names.
fn server() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RMQ_SERVER") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("the test has no build folder")?;
    Ok(folder.join("server"))
}
