//! Pacer: shares a number of bytes a second among all who ask.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Largest piece that is sent or taken at once under a limit, in bytes.
pub(crate) const PIECE: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Pacer {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Pacer {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits until `bytes` more have passed. Those who ask are served in order.
    pub(crate) async fn pass(&self, bytes: usize) {
        let done = self.reserve(bytes);
        tokio::time::sleep_until(done.into()).await;
    }

    fn reserve(&self, bytes: usize) -> Instant {
        let nanos = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(Instant::now()) + cost;
        *free_at
    }
}
