//! Whether the read replica is worth asking.
//!
//! Invariant: after [`FAILURES_MAX`] failures in a row it is left alone for [`PAUSE`], so that a
//! replica that is down costs its connect timeout rarely and not with every read. An object that it
//! lacks is no failure: it only lags.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which the replica gets a pause.
pub const FAILURES_MAX: u32 = 3;
/// How long it is left alone.
pub const PAUSE: Duration = Duration::from_secs(30);

/// What is known of the replica. Pure: the time is passed in.
#[derive(Debug, Default)]
pub(super) struct ReplicaHealth {
    failures: u32,
    paused_until: Option<Instant>,
}

impl ReplicaHealth {
    /// Whether to ask it now. After a pause one failure is enough for the next.
    pub(super) fn usable(&self, now: Instant) -> bool {
        self.paused_until.is_none_or(|until| until <= now)
    }

    /// It answered, be it that it has no such object.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// It failed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            self.paused_until = Some(now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_fails_is_left_alone_for_a_while() {
        let start = Instant::now();
        let mut health = ReplicaHealth::default();
        for _ in 0..FAILURES_MAX {
            assert!(health.usable(start));
            health.failed(start);
        }
        assert!(!health.usable(start));
        assert!(!health.usable(start + PAUSE / 2));
        assert!(health.usable(start + PAUSE));
        health.failed(start + PAUSE);
        assert!(!health.usable(start + PAUSE), "still down");
        health.answered();
        assert!(health.usable(start + PAUSE));
        health.failed(start + PAUSE);
        assert!(health.usable(start + PAUSE));
    }
}
