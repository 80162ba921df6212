//! Virtual time: that of the paused tokio runtime, which jumps to the next timer when nothing else can run.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::{entropy, trace};

thread_local! {
    static ORIGIN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The run begins now.
pub(crate) fn begin() {
    ORIGIN.set(Some(Instant::now()));
    read();
}

/// Reads the runtime's clock, for the standard library and for the trace; gives the time since the beginning.
pub(crate) fn read() -> Duration {
    let origin = ORIGIN.get().expect("the run has begun");
    let now = Instant::now().duration_since(origin);
    entropy::set_now(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    trace::set_now(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
    now
}

/// Sleeps, and reads the clock.
pub(crate) async fn sleep(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
    read();
}
