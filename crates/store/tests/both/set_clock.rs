//! A clock that tells the time it was told; waits are real.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use rmq_runtime::system::SystemClock;
use rmq_runtime::{BoxFuture, Clock, Monotonic};

pub(crate) struct SetClock {
    /// What it tells, ms since 1970.
    pub(crate) now: AtomicI64,
    system: SystemClock,
}

impl SetClock {
    pub(crate) fn new(now: i64) -> Arc<Self> {
        Arc::new(Self { now: AtomicI64::new(now), system: SystemClock::new() })
    }
}

impl Clock for SetClock {
    fn wall(&self) -> SystemTime {
        let ms = u64::try_from(self.now.load(Ordering::SeqCst)).unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }
    fn monotonic(&self) -> Monotonic {
        self.system.monotonic()
    }
    fn sleep_until(&self, at: Monotonic) -> BoxFuture<'static, ()> {
        self.system.sleep_until(at)
    }
    fn utc_offset_ms(&self) -> i64 {
        0
    }
}
