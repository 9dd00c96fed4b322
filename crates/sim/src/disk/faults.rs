//! What goes wrong, and when; and what was done so far.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error; nothing is done.
    Error,
    /// No space is left; nothing is done.
    StorageFull,
    /// A signal came; nothing is done.
    Interrupted,
    /// The call panics, as a bug below would.
    Panic,
    /// A write ends half-way with an I/O error; other calls are done, and answer with an error.
    Short,
}

/// What a call does to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    Reads,
    Changes,
    /// Makes a file durable.
    Syncs,
}

/// How a call goes on.
pub(super) enum Turn {
    Go,
    /// Done, but answered with an error.
    GoAndFail(io::Error),
    /// Half done.
    Half(io::Error),
    /// What was to be synced is forgotten.
    LoseSync(io::Error),
}

/// Operations that are remembered.
const TRACE_MAX: usize = 200;

#[derive(Clone, Debug)]
struct Operation {
    number: u64,
    what: &'static str,
    path: PathBuf,
    range: Option<(u64, usize)>,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, what, path, range } = self;
        write!(f, "{number:>5} {what:<9} {}", path.display())?;
        match range {
            Some((at, len)) => write!(f, " {at}..{}", at + *len as u64),
            None => Ok(()),
        }
    }
}

#[derive(Default)]
pub(super) struct Faults {
    calls: u64,
    operations: u64,
    syncs: u64,
    fail_call: Option<(u64, Fault)>,
    fail_sync: Option<u64>,
    /// The next call on such a path.
    fail_path: Option<(&'static str, Fault)>,
    freeze_at: Option<u64>,
    pub(super) frozen: bool,
    /// Whether a call failed because it was told to.
    pub(super) struck: bool,
    trace: VecDeque<Operation>,
}

impl Faults {
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.iter().map(Operation::to_string).collect()
    }

    pub(super) fn fail_call(&mut self, n: u64, fault: Fault) {
        self.fail_call = Some((self.calls + n, fault));
    }

    pub(super) fn fail_path(&mut self, part: &'static str, fault: Fault) {
        self.fail_path = Some((part, fault));
    }

    pub(super) fn fail_sync(&mut self, n: u64) {
        self.fail_sync = Some(self.syncs + n);
    }

    pub(super) fn freeze_at(&mut self, n: u64) {
        self.freeze_at = Some(self.operations + n);
    }

    pub(super) fn step(
        &mut self,
        nature: Nature,
        what: &'static str,
        path: &Path,
        range: Option<(u64, usize)>,
    ) -> io::Result<Turn> {
        let error = |kind: io::ErrorKind, why: &str| {
            io::Error::new(kind, format!("{what} {}: {why}", path.display()))
        };
        if self.frozen {
            return Err(error(io::ErrorKind::Other, "the power is off"));
        }
        self.calls += 1;
        if nature != Nature::Reads {
            self.operations += 1;
            if self.trace.len() == TRACE_MAX {
                self.trace.pop_front();
            }
            let (number, path) = (self.operations, path.to_owned());
            self.trace.push_back(Operation { number, what, path, range });
            if self.freeze_at == Some(self.operations) {
                self.frozen = true;
                let error = error(io::ErrorKind::Other, "the power went off");
                // A sync that was on its way may have done any part of its work: none is the same
                // as any, because unsynced sectors are chosen at the crash.
                return if nature == Nature::Syncs {
                    Err(error)
                } else {
                    Ok(Turn::GoAndFail(error))
                };
            }
        }
        if nature == Nature::Syncs {
            self.syncs += 1;
            if self.fail_sync == Some(self.syncs) {
                self.struck = true;
                return Ok(Turn::LoseSync(error(io::ErrorKind::Other, "failed as told")));
            }
        }
        let on_path = self.fail_path.filter(|(part, _)| path.to_string_lossy().contains(part));
        if let Some((_, fault)) = on_path {
            (self.fail_path, self.fail_call) = (None, Some((self.calls, fault)));
        }
        match self.fail_call {
            Some((at, fault)) if at == self.calls => {
                self.struck = true;
                let why = "failed as told";
                match fault {
                    Fault::Error => Err(error(io::ErrorKind::Other, why)),
                    Fault::StorageFull => Err(error(io::ErrorKind::StorageFull, why)),
                    Fault::Interrupted => Err(error(io::ErrorKind::Interrupted, why)),
                    Fault::Panic => panic!("{}", error(io::ErrorKind::Other, why)),
                    Fault::Short => Ok(Turn::Half(error(io::ErrorKind::Other, why))),
                }
            }
            _ => Ok(Turn::Go),
        }
    }
}
