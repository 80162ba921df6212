//! Requests that hold their shard for long, and the rest that others have after one.
//!
//! A request may name a hundred thousand partitions. What can be done piece by piece gives others their turn in between
//! (`api/rows.rs`); decoding it, encoding the answer, and a few steps between them are one piece each, of some
//! milliseconds. Whoever asks for such things without a pause would have the shard for itself. So the shard's next heavy
//! request is carried out only after a rest of [`REST`] times what the last one held: they never take more than a sixth of
//! its time, however many there are, and what is not heavy waits for one of them, seldom.
//!
//! A request counts as heavy when its frame is large. Nobody knows what it costs before it is carried out: it reserves what
//! one of its size is expected to hold, and is charged what it held.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A step that takes longer holds up others.
pub(crate) const LONG: Duration = Duration::from_micros(500);
/// The rest after a heavy request, in times what it held.
const REST: u32 = 5;
/// What a large request is expected to hold, for each KiB of it, until it is known.
const EXPECTED_PER_KIB: Duration = Duration::from_micros(5);
/// No request waits longer.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// When the next heavy request of a shard may be carried out. Shard-owned.
#[derive(Debug, Default)]
pub(crate) struct Heavy {
    free_at: Cell<Option<Instant>>,
}

/// What a request is expected to hold its shard for.
pub(crate) fn expected(frame_bytes: usize) -> Duration {
    let kib = u32::try_from(frame_bytes >> 10).unwrap_or(u32::MAX);
    EXPECTED_PER_KIB.saturating_mul(kib)
}

impl Heavy {
    /// Takes the next place for a request that is expected to hold the shard for so long, and gives how long it has to
    /// wait for it: nothing if no heavy request came lately.
    pub(crate) fn place(&self, expected: Duration, now: Instant) -> Duration {
        let free_at = self.free_at.get().unwrap_or(now);
        let at = free_at.clamp(now, now + WAIT_MAX);
        self.free_at.set(Some(at + expected * REST));
        at - now
    }

    /// A request has held the shard for `held`, of which `expected` had been reckoned with.
    pub(crate) fn used(&self, held: Duration, expected: Duration, now: Instant) {
        let free_at = self.free_at.get().unwrap_or(now);
        let free_at = match held.checked_sub(expected) {
            Some(more) => free_at.max(now) + more * REST,
            None => free_at.checked_sub((expected - held) * REST).unwrap_or(now),
        };
        self.free_at.set(Some(free_at));
    }
}

/// Does `work`, and gives how long it held the shard in steps longer than [`LONG`].
pub(crate) async fn measured<F: Future>(mut work: Pin<&mut F>) -> (F::Output, Duration) {
    let mut held = Duration::ZERO;
    std::future::poll_fn(move |context| {
        let began = Instant::now();
        let step = work.as_mut().poll(context);
        let took = began.elapsed();
        if took > LONG {
            held += took;
        }
        match step {
            Poll::Ready(output) => Poll::Ready((output, held)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn heavy_requests_have_a_sixth_of_the_time_however_many_come_at_once() {
        let (heavy, now) = (Heavy::default(), Instant::now());
        // All of them come at once, are expected to hold 2 ms and hold 3.
        let waits: Vec<_> = (0..5).map(|_| heavy.place(2 * MS, now)).collect();
        assert_eq!(waits, [0, 10, 20, 30, 40].map(|ms| ms * MS));
        for _ in 0..5 {
            heavy.used(3 * MS, 2 * MS, now);
        }
        assert_eq!(heavy.place(MS, now), 5 * 3 * REST * MS);
    }

    #[test]
    fn one_that_held_less_than_was_expected_gives_the_rest_back() {
        let (heavy, now) = (Heavy::default(), Instant::now());
        assert_eq!(heavy.place(10 * MS, now), Duration::ZERO);
        heavy.used(Duration::ZERO, 10 * MS, now);
        assert_eq!(heavy.place(MS, now), Duration::ZERO);
        heavy.used(5 * MS, MS, now);
        assert_eq!(heavy.place(MS, now + 10 * MS), 15 * MS);
        // Long after that nobody waits.
        assert_eq!(heavy.place(MS, now + 1_000 * MS), Duration::ZERO);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let (heavy, now) = (Heavy::default(), Instant::now());
        heavy.used(Duration::from_secs(3_600), Duration::ZERO, now);
        assert_eq!(heavy.place(MS, now), WAIT_MAX);
        assert_eq!(heavy.place(MS, now + WAIT_MAX), 5 * MS);
    }

    #[test]
    fn only_long_steps_count() {
        let run = async {
            let work = async {
                std::thread::sleep(3 * LONG);
                crate::runtime::sleep(20 * LONG).await;
                7
            };
            let (output, held) = measured(pin!(work)).await;
            assert_eq!(output, 7);
            assert!(held >= 3 * LONG, "{held:?}");
            let (_, held) = measured(pin!(std::future::ready(()))).await;
            assert_eq!(held, Duration::ZERO);
        };
        crate::runtime::run(crate::runtime::Driver::Epoll, None, run).expect("a runtime");
    }
}
