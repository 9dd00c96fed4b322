//! Where tasks run: on tokio's runtime around the caller or, while one is entered on this thread, on
//! the executor of a simulation. There nothing runs beside: calls that block run where they are
//! made, and there are no threads.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::BoxFuture;

/// Runs tasks of a simulation.
pub trait Executor: Send + Sync + 'static {
    /// Takes a task over; it begins after this call.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

thread_local! {
    static ENTERED: RefCell<Option<Arc<dyn Executor>>> = const { RefCell::new(None) };
}

/// Has all tasks that are started on this thread run there, until the answer is dropped.
pub fn enter(executor: Arc<dyn Executor>) -> Entered {
    let before = ENTERED.replace(Some(executor));
    Entered { before, of_this_thread: PhantomData }
}

/// See [`enter`].
#[must_use = "dropping it leaves the executor again"]
pub struct Entered {
    before: Option<Arc<dyn Executor>>,
    of_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.set(self.before.take());
    }
}

/// Whether a task can be started here.
pub fn is_there() -> bool {
    entered().is_some() || tokio::runtime::Handle::try_current().is_ok()
}

pub(crate) fn entered() -> Option<Arc<dyn Executor>> {
    ENTERED.with_borrow(Clone::clone)
}
