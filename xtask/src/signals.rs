//! Ctrl-C and SIGTERM become a question that loops ask: should we stop?

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    ASKED.store(true, Ordering::Relaxed);
}

/// From now on both signals are only noted; for verbs that have something to stop in order.
#[expect(unsafe_code, reason = "the standard library has no signal handlers")]
pub(crate) fn install() {
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
        unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
    }
}

/// True once somebody wants us to stop.
pub(crate) fn asked_to_stop() -> bool {
    ASKED.load(Ordering::Relaxed)
}
