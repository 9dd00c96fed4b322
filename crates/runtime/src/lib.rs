//! The world as the rest of rmq sees it: time, files, sockets and chance behind traits, so that a
//! whole cluster can also run in one thread under a seed; and the few things every part needs to
//! live in it: tasks with an owner, a number that only grows, retry delays, small state files.
//!
//! | module | owns |
//! |---|---|
//! | [`clock`], [`disk`], [`net`], [`entropy`] | the four seams |
//! | [`system`] | the real world behind them; the only unsafe code of the workspace |
//! | [`tasks`] | every task and thread, its failure and its end |
//! | [`executor`] | where they run |
//! | [`watermark`] | a number that only grows, and those who wait for it |
//! | [`backoff`] | delays between tries |
//! | [`settings_file`] | settings as operators write them, and how one of them is changed |
//! | [`canary`](canary()) | bugs that tests bring back |
//! | [`state_file`] | atomic replacement of small files, with the generation before |

use std::sync::Arc;

pub mod backoff;
mod canary;
pub mod clock;
pub mod disk;
pub mod entropy;
pub mod executor;
pub mod net;
pub mod settings_file;
pub mod state_file;
pub mod system;
pub mod tasks;
pub mod watermark;

pub use backoff::Backoff;
pub use canary::canary;
pub use clock::{Clock, ClockExt, Elapsed, Monotonic};
pub use disk::{DirEntry, Disk, DiskFile, DiskLock, OpenMode, Usage, Volume};
pub use entropy::Entropy;
pub use executor::Executor;
pub use net::{Listener, Net, Stream};
pub use tasks::{OnFailure, Stop, Tasks};
pub use watermark::{Ended, Watermark};

/// A future behind a pointer.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything outside the process, handed to each part when it is built.
#[derive(Clone)]
pub struct World {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Sockets.
    pub net: Arc<dyn Net>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

impl World {
    /// The real one.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(system::SystemClock::new()),
            disk: Arc::new(system::SystemDisk),
            net: Arc::new(system::SystemNet),
            entropy: Arc::new(system::SystemEntropy),
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}
