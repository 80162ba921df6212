//! The pool for blocking and heavy work, so that an acknowledgement never waits behind it.

use tokio::task::JoinHandle;

/// Runs `work` on the pool of the control thread; a simulation, which has one thread, runs it as a task.
pub(super) fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    #[cfg(feature = "simulation")]
    if crate::runtime::simulated::is_on() {
        return tokio::task::spawn_local(async move { work() });
    }
    tokio::task::spawn_blocking(work)
}
