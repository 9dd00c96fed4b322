//! Time. Code that decides takes `now` as an argument; only code that waits holds a [`Clock`].
//! Deadlines and leases use the monotonic clock, stored times the wall clock.

use std::time::{Duration, SystemTime};

use thiserror::Error;

use crate::BoxFuture;

/// A moment of the monotonic clock: time since some moment before the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// Time since `earlier`, zero when that is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Monotonic {
    type Output = Self;
    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}

/// Time.
pub trait Clock: Send + Sync + 'static {
    /// The calendar's time; may step in either direction.
    fn wall(&self) -> SystemTime;
    /// A time that never goes back.
    fn monotonic(&self) -> Monotonic;
    /// Ready at that moment, or at once when it has passed. Cancel-safe.
    fn sleep_until(&self, at: Monotonic) -> BoxFuture<'static, ()>;
    /// How far local time is ahead of UTC now, in milliseconds.
    fn utc_offset_ms(&self) -> i64;
}

/// The time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the time was up")]
pub struct Elapsed;

/// Waiting, on top of [`Clock`].
pub trait ClockExt: Clock {
    /// Ready after that time. Cancel-safe.
    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.monotonic() + wait)
    }

    /// The future's output, unless the time is up first; then the future is dropped.
    fn timeout<F: Future + Send>(
        &self,
        wait: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> + Send {
        let deadline = self.sleep(wait);
        async move {
            tokio::select! {
                biased;
                output = future => Ok(output),
                () = deadline => Err(Elapsed),
            }
        }
    }
}

impl<C: Clock + ?Sized> ClockExt for C {}
