//! Programs that we start: they die with us, their lines are kept in a log and in memory, and they are stopped politely first.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::signals;

/// One line that a program printed, and when we read it.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) at: Instant,
}

#[derive(Default)]
struct Printed {
    lines: Mutex<Vec<Line>>,
    grown: Condvar,
}

impl Printed {
    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program that runs; dropped, it is killed.
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    printed: Arc<Printed>,
}

impl Running {
    /// Starts a program; what it prints is appended to `log` and handed to `listen`, line by line.
    ///
    /// Call it from the main thread: the kernel ties the life of the child to the thread that started it.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        log: &Path,
        listen: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self> {
        let file = Arc::new(Mutex::new(open_log(log)?));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        die_with_parent(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .with_context(|| format!("{name} could not be started from {program}"))?;
        let printed = Arc::new(Printed::default());
        let listen = Arc::new(listen);
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        for pipe in pipes.into_iter().flatten() {
            let (file, printed, listen) =
                (Arc::clone(&file), Arc::clone(&printed), Arc::clone(&listen));
            thread::spawn(move || collect(pipe, &file, &printed, &*listen));
        }
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), printed })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.printed.lock().clone()
    }

    /// How the program ended, once it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Writes a line to the program's standard input, which must be piped.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        let input = self
            .child
            .stdin
            .as_mut()
            .with_context(|| format!("{} has no standard input", self.name))?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .with_context(|| format!("{} does not listen", self.name))
    }

    /// Waits until the lines satisfy `look`; says what it waited for when they do not, or when the program ends before.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&[Line]) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + within;
        loop {
            // The order matters: lines that were printed just before the end count.
            let ended = self.ended();
            if let Some(found) = look(&self.printed.lock()) {
                return Ok(found);
            }
            if let Some(status) = ended {
                thread::sleep(Duration::from_millis(50)); // the last lines may still be in the pipe
                return look(&self.printed.lock()).ok_or_else(|| {
                    anyhow!(
                        "{} ended ({status}) before {what}; see {}",
                        self.name,
                        self.log.display()
                    )
                });
            }
            if signals::asked_to_stop() {
                bail!("interrupted");
            }
            if Instant::now() > deadline {
                bail!(
                    "{}: no {what} within {} s; see {}",
                    self.name,
                    within.as_secs(),
                    self.log.display()
                );
            }
            let lines = self.printed.lock();
            drop(self.printed.grown.wait_timeout(lines, Duration::from_millis(100)));
        }
    }

    /// Waits for the end of the program.
    pub(crate) fn wait_end(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended() {
                thread::sleep(Duration::from_millis(50));
                return Ok(status);
            }
            if signals::asked_to_stop() {
                bail!("interrupted");
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not end within {} s; see {}",
                    self.name,
                    within.as_secs(),
                    self.log.display()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM only; the caller waits.
    pub(crate) fn ask_to_stop(&mut self) {
        if self.ended().is_none() {
            send_signal(self.child.id(), libc::SIGTERM);
        }
    }

    /// SIGTERM, then SIGKILL when the grace is over; true if it ended by itself.
    pub(crate) fn stop(&mut self, grace: Duration) -> bool {
        self.ask_to_stop();
        let deadline = Instant::now() + grace;
        while self.ended().is_none() {
            if Instant::now() > deadline {
                self.kill();
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// SIGKILL, and wait until it is gone.
    pub(crate) fn kill(&mut self) {
        // A child that has already gone is as good as a killed one.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn open_log(log: &Path) -> Result<File> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))
}

fn collect(pipe: impl Read, file: &Mutex<File>, printed: &Printed, listen: &dyn Fn(&str)) {
    let mut reader = BufReader::new(pipe);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        // A full disk must not stop the program that we watch.
        drop(writeln!(file.lock().unwrap_or_else(PoisonError::into_inner), "{text}"));
        listen(&text);
        printed.lock().push(Line { text, at: Instant::now() });
        printed.grown.notify_all();
    }
}

/// The child gets a process group of its own (Ctrl-C reaches only us, who stop it in order) and is killed when we die.
#[expect(unsafe_code, reason = "prctl must be called between fork and exec")]
fn die_with_parent(command: &mut Command) {
    let parent = process::id();
    command.process_group(0);
    // SAFETY: prctl and getppid are async-signal-safe and touch no memory of ours.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::other("the starter is gone"));
            }
            Ok(())
        });
    }
}

/// Sends a signal; false if there is no such process.
#[expect(unsafe_code, reason = "the standard library can only send SIGKILL")]
pub(crate) fn send_signal(process: u32, signal: libc::c_int) -> bool {
    let Ok(process) = libc::pid_t::try_from(process) else { return false };
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(process, signal) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_and_a_term_ends_the_program() {
        let log = std::env::temp_dir().join(format!("xtask-process-{}.log", process::id()));
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo one; echo two >&2; sleep 30"]);
        let mut running = Running::start("sh", shell, &log, |_| {}).unwrap();
        running
            .wait_for("both lines", Duration::from_secs(5), |lines| {
                (lines.len() == 2).then_some(())
            })
            .unwrap();
        assert!(running.stop(Duration::from_secs(5)));
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn waiting_for_a_line_fails_at_once_when_the_program_ends() {
        let log = std::env::temp_dir().join(format!("xtask-ended-{}.log", process::id()));
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo bye"]);
        let mut running = Running::start("sh", shell, &log, |_| {}).unwrap();
        let begin = Instant::now();
        let error =
            running.wait_for("a greeting", Duration::from_secs(30), |_| None::<()>).unwrap_err();
        assert!(error.to_string().contains("before a greeting"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(10));
        fs::remove_file(log).unwrap();
    }
}
