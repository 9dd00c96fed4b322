//! Whether messages are taken, and why not. Open is one load.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::api::{AppendError, Health};
use rmq_runtime::canary;

#[derive(Default)]
struct Reasons {
    /// A write or sync of the log has failed; stays (INV-03).
    fault: Option<Arc<str>>,
    /// Consume queues cannot be written at the moment.
    queues: Option<Arc<str>>,
    /// Work stands still at the moment.
    still: Option<Arc<str>>,
    /// The disk is full at the moment.
    full: Option<PathBuf>,
    stopped: bool,
}

#[derive(Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    reasons: Mutex<Reasons>,
}

impl Gate {
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        if !self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let reasons = self.reasons.lock();
        let reason = [&reasons.fault, &reasons.queues, &reasons.still].into_iter().flatten().next();
        if let Some(reason) = reason {
            return Err(AppendError::ReadOnly { reason: Arc::clone(reason) });
        }
        if reasons.stopped {
            return Err(AppendError::Stopped);
        }
        match &reasons.full {
            Some(path) => Err(AppendError::Full { path: path.clone() }),
            None => Ok(()),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Reasons) -> T) -> T {
        let mut reasons = self.reasons.lock();
        let result = change(&mut reasons);
        let open = reasons.fault.is_none()
            && reasons.queues.is_none()
            && reasons.still.is_none()
            && reasons.full.is_none()
            && !reasons.stopped;
        self.closed.store(!open, Ordering::Release);
        result
    }

    /// Closes for good; the first reason stays.
    pub(crate) fn fail(&self, reason: &str) {
        self.change(|reasons| {
            reasons.fault.get_or_insert_with(|| reason.into());
        });
    }

    pub(crate) fn fault(&self) -> Option<Arc<str>> {
        if self.closed.load(Ordering::Acquire) { self.reasons.lock().fault.clone() } else { None }
    }

    pub(crate) fn stop(&self) {
        self.change(|reasons| reasons.stopped = true);
    }

    pub(crate) fn set_queues(&self, reason: Option<Arc<str>>) {
        self.change(|reasons| reasons.queues = reason);
    }

    pub(crate) fn set_still(&self, reason: Option<Arc<str>>) {
        self.change(|reasons| reasons.still = reason);
    }

    /// Whether it was otherwise before.
    pub(crate) fn set_full(&self, path: Option<PathBuf>) -> bool {
        if canary("RS-18 once full is full for ever") && path.is_none() {
            return false;
        }
        self.change(|reasons| {
            let before = std::mem::replace(&mut reasons.full, path);
            before.is_some() != reasons.full.is_some()
        })
    }

    pub(crate) fn health(&self) -> Health {
        match self.check() {
            Ok(()) => Health { writable: true, reason: None },
            Err(error) => Health { writable: false, reason: Some(error.to_string().into()) },
        }
    }
}
