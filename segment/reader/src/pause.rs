//! A pause that needs no runtime.
//!
//! Pauses are rare (a store that fails, an object that is being replaced) and short, so each has a
//! thread of its own that sleeps.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

#[derive(Default)]
struct Alarm {
    rung: bool,
    waker: Option<Waker>,
}

/// Waits for so long, on any runtime or none. Where no thread can be had it does not wait.
pub(crate) async fn pause(time: Duration) {
    let alarm = Arc::new(Mutex::new(Alarm::default()));
    let ring = alarm.clone();
    let sleep = move || {
        std::thread::sleep(time);
        let mut alarm = ring.lock().unwrap_or_else(PoisonError::into_inner);
        alarm.rung = true;
        if let Some(waker) = alarm.waker.take() {
            waker.wake();
        }
    };
    let thread = std::thread::Builder::new().name("reader-pause".to_owned());
    if thread.spawn(sleep).is_err() {
        return;
    }
    poll_fn(|context| {
        let mut alarm = alarm.lock().unwrap_or_else(PoisonError::into_inner);
        if alarm.rung {
            return Poll::Ready(());
        }
        alarm.waker = Some(context.waker().clone());
        Poll::Pending
    })
    .await;
}

/// A number from 0 to 1, another one each time: readers that failed together do not try again
/// together.
pub(crate) fn uniform() -> f64 {
    let number = RandomState::new().hash_one(0_u8);
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_after_its_time_without_a_runtime() {
        let began = std::time::Instant::now();
        coord::kv::wait(pause(Duration::from_millis(20)));
        assert!(began.elapsed() >= Duration::from_millis(20));
        assert!((0.0..=1.0).contains(&uniform()));
    }
}
