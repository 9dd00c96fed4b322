//! Waiting for what should come, with an end.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Result, bail};
use rmq_runtime::{ClockExt, Monotonic, World};

/// The real world, once for all tests of a program.
pub static WORLD: LazyLock<World> = LazyLock::new(World::system);

/// Time that anything may take on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

/// Looks again and again until there is something to be seen.
///
/// # Errors
/// It did not come within [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let deadline = now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return Ok(seen);
        }
        if now() > deadline {
            bail!("{what}: not within {} s", PATIENCE.as_secs());
        }
        WORLD.clock.sleep(PAUSE).await;
    }
}

/// Looks again and again until it holds.
///
/// # Errors
/// It did not within [`PATIENCE`].
pub async fn holds(what: &str, mut look: impl FnMut() -> bool) -> Result<()> {
    eventually(what, async || look().then_some(())).await
}

/// The monotonic time.
pub fn now() -> Monotonic {
    WORLD.clock.monotonic()
}
