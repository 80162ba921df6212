//! Timers: those of the kernel, or of the simulator on a thread that it runs.

use std::time::{Duration, Instant};

#[cfg(not(feature = "simulation"))]
pub(super) fn after(duration: Duration) -> monoio::time::Sleep {
    monoio::time::sleep(duration)
}

#[cfg(not(feature = "simulation"))]
pub(super) fn at(deadline: Instant) -> monoio::time::Sleep {
    monoio::time::sleep_until(deadline.into())
}

#[cfg(feature = "simulation")]
pub(super) async fn after(duration: Duration) {
    at(Instant::now() + duration).await;
}

#[cfg(feature = "simulation")]
pub(super) async fn at(deadline: Instant) {
    match super::simulated::backend() {
        Some(backend) => backend.sleep_until(deadline).await,
        None => monoio::time::sleep_until(deadline.into()).await,
    }
}
