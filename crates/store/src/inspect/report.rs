//! What a check has found.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::api::QueueKey;

/// Findings that are kept; more are counted.
const FINDINGS_MAX: usize = 1000;

/// What a finding means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; the store is sound.
    #[default]
    Note,
    /// Nobody can say whether it is sound.
    Unchecked,
    /// Something is lost or wrong.
    Damage,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Unchecked => "not checked",
            Self::Damage => "damage",
        })
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it means.
    pub severity: Severity,
    /// File or directory.
    pub path: PathBuf,
    /// Byte in the file.
    pub at: Option<u64>,
    /// Queue, as `topic/number`.
    pub queue: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub next: &'static str,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        path: &Path,
        problem: impl Into<String>,
        next: &'static str,
    ) -> Self {
        let (path, problem) = (path.to_owned(), problem.into());
        Self { severity, path, at: None, queue: None, problem, next }
    }

    pub(super) fn damage(path: &Path, problem: impl Into<String>, next: &'static str) -> Self {
        Self::new(Severity::Damage, path, problem, next)
    }

    pub(super) fn unchecked(path: &Path, problem: impl Into<String>, next: &'static str) -> Self {
        Self::new(Severity::Unchecked, path, problem, next)
    }

    pub(super) fn note(path: &Path, problem: impl Into<String>, next: &'static str) -> Self {
        Self::new(Severity::Note, path, problem, next)
    }

    pub(super) fn at(self, at: u64) -> Self {
        Self { at: Some(at), ..self }
    }

    pub(super) fn queue(self, queue: &QueueKey) -> Self {
        Self { queue: Some(queue.to_string()), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.path.display())?;
        if let Some(at) = self.at {
            write!(f, " at byte {at}")?;
        }
        if let Some(queue) = &self.queue {
            write!(f, ", queue {queue}")?;
        }
        write!(f, ": {}; {}", self.problem, self.next)
    }
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Files of the commit log.
    pub log_files: u64,
    /// Readable records in them.
    pub records: u64,
    /// First position of the log.
    pub log_begin: u64,
    /// First byte after its last record.
    pub log_end: u64,
    /// Consume queues of either kind.
    pub queues: u64,
    /// Entries that were held against a record.
    pub entries: u64,
    /// Units of consume queue extensions.
    pub extension_units: u64,
    /// Files of the key index.
    pub index_files: u64,
    /// Their items.
    pub index_items: u64,
    /// Units of the timer log.
    pub timer_units: u64,
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How much was looked at.
    pub counts: Counts,
    /// What is not as it should be, in the order of the look.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub left_out: u64,
    worst: Severity,
}

impl Report {
    /// Adds a finding, as the checker of other files of the directory may.
    pub fn add(&mut self, finding: Finding) {
        self.worst = self.worst.max(finding.severity);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    /// The worst of the findings; [`Severity::Note`] when the store is sound.
    pub fn worst(&self) -> Severity {
        self.worst
    }
}
