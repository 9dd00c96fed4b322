//! Runs the program in a directory of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use rmq_runtime::Disk as _;
use rmq_runtime::system::SystemDisk;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What a program that has ended left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Where programs run: their home and current directory.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.0.path().join(file);
        SystemDisk.create_dir(path.parent().unwrap()).unwrap();
        SystemDisk.write(&path, text.as_bytes()).unwrap();
    }

    pub(crate) fn path(&self, file: &str) -> std::path::PathBuf {
        self.0.path().join(file)
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        self.0.path().join(file).exists()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rmq-server"));
        command.args(words).current_dir(self.0.path()).env("HOME", self.0.path());
        command.env("RMQ_LOG", "warn").env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Runs it to its end, which must come by itself.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        let output = self.command(words).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        Ended { status: output.status.code(), stdout, stderr }
    }

    /// Runs it until it says that it is ready.
    pub(crate) fn start(&self, words: &[&str]) -> Program {
        let mut child =
            self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.starts_with("ready")) {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let mut stderr = String::new();
                child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
                panic!("ended instead of being ready: {stderr}");
            }
            lines.push(line.trim_end().to_owned());
        }
        Program { child, stdout, lines }
    }
}

/// A program that runs; killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) lines: Vec<String>,
}

impl Program {
    /// The address in the line that begins like this.
    pub(crate) fn address(&self, beginning: &str) -> SocketAddr {
        let line = self.lines.iter().find(|line| line.starts_with(beginning)).unwrap();
        line.split([' ', ',']).find_map(|word| word.parse().ok()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self, signal: Signal) -> Ended {
        self.signal(signal);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ended { status: self.child.wait().unwrap().code(), stdout: rest, stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
