//! When long polls end.
//!
//! A thousand idle consumers would wake a shard for each of their polls: once when it ends and once more for the
//! request that follows. Polls therefore end at common instants, and since a consumer asks again as soon as it is
//! answered, their requests come together as well: both cost one turn of the shard for many.
//!
//! Invariants: a poll never ends before its time, and at most [`LATE_SHARE`] of its time and [`STEP_MAX`] late.

use std::time::Duration;

/// A poll may end late by its time divided by this.
const LATE_SHARE: u32 = 16;
/// A poll ends late by less than this.
const STEP_MAX: Duration = Duration::from_millis(256);

/// The end of a poll that begins at `now` and lasts for `time`, both counted from when the shard started: the next
/// multiple of a power of two of milliseconds, so that polls of different lengths meet too.
pub(super) fn end(now: Duration, time: Duration) -> Duration {
    let exact = now.saturating_add(time);
    let step = (time / LATE_SHARE).min(STEP_MAX).as_millis();
    let Some(power) = step.checked_ilog2() else {
        return exact;
    };
    let step_ms = 1_u64 << power;
    let exact_ms = exact.as_micros().div_ceil(1000);
    u64::try_from(exact_ms)
        .ok()
        .and_then(|ms| ms.checked_next_multiple_of(step_ms))
        .map_or(exact, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_thousand_polls_of_half_a_second_end_at_the_same_32_instants() {
        let ends: BTreeSet<_> = (0..1000)
            .map(|number| {
                end(
                    Duration::from_micros(number * 500),
                    Duration::from_millis(500),
                )
            })
            .collect();
        assert!(ends.len() <= 32, "{}", ends.len());
    }

    #[test]
    fn a_short_poll_ends_when_it_says() {
        let (now, time) = (Duration::from_micros(1_234_567), Duration::from_millis(10));
        assert_eq!(end(now, time), now + time);
    }

    proptest! {
        #[test]
        fn a_poll_never_ends_early_and_less_than_its_share_late(now in 0..u64::MAX / 2, time in 0..u64::from(u32::MAX)) {
            let (now, time) = (Duration::from_micros(now), Duration::from_millis(time));
            let end = end(now, time);
            prop_assert!(end >= now + time);
            let share = (time / LATE_SHARE).min(STEP_MAX);
            // The next millisecond, where steps are of one.
            prop_assert!(end - (now + time) <= share + Duration::from_millis(1));
        }
    }
}
