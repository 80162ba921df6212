//! The open loop's schedule, and waiting for it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Slack that the kernel may add to a sleep, in ns. The default of 50 us is as long as a fetch.
const TIMER_SLACK_NS: &str = "1000";

/// When each request of one connection should be sent: evenly spaced, whatever the broker does.
///
/// The time of request `n` never depends on an earlier reply. Latency counted from it includes
/// the time that a request spent waiting for its turn behind a stall; that is what corrects
/// coordinated omission.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    start: Instant,
    phase_ns: f64,
    interval_ns: f64,
}

impl Schedule {
    /// `per_second` requests a second over `connections` connections, of which this is number
    /// `connection`: their sends are spread over the interval, so that they do not come in bursts.
    ///
    /// # Panics
    /// If the rate or the number of connections is not above 0.
    pub fn new(start: Instant, per_second: f64, connection: usize, connections: usize) -> Self {
        assert!(per_second > 0.0, "a schedule has a rate");
        assert!(connections > 0, "a schedule has a connection");
        let interval_ns = 1e9 * connections as f64 / per_second;
        let phase_ns = interval_ns * connection as f64 / connections as f64;
        Self {
            start,
            phase_ns,
            interval_ns,
        }
    }

    /// When request `number` should be sent.
    pub fn intended(&self, number: u64) -> Instant {
        let ns = self.phase_ns + self.interval_ns * number as f64;
        self.start + Duration::from_nanos(ns as u64)
    }

    /// Requests whose time comes within `duration` of the start.
    pub fn count_within(&self, duration: Duration) -> u64 {
        let left = duration.as_nanos() as f64 - self.phase_ns;
        if left <= 0.0 {
            0
        } else {
            (left / self.interval_ns).ceil() as u64
        }
    }
}

/// Sleeps until `when`; returns at once if it is past. Does not spin.
pub fn sleep_until(when: Instant) {
    loop {
        let left = when.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left);
    }
}

/// Asks the kernel for precise sleeps, in this thread and in those that it starts from now on.
/// Where that is not possible the sleeps are a little longer, and the latency shows it.
pub fn use_precise_sleeps() {
    let _ = std::fs::write("/proc/self/timerslack_ns", TIMER_SLACK_NS);
}

/// Nanoseconds since the first call in this process: what records carry to be timed end to end.
pub fn process_ns(now: Instant) -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(Instant::now);
    u64::try_from(now.saturating_duration_since(origin).as_nanos()).unwrap_or(u64::MAX)
}

/// The part of a run that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// When the first request may be sent.
    pub start: Instant,
    /// When the warm-up is over.
    pub from: Instant,
    /// When the last request may be sent.
    pub to: Instant,
    /// When what is not answered counts as failed.
    pub give_up: Instant,
}

impl Window {
    /// A window that starts after a moment in which all threads can get ready.
    /// Replies are awaited for `patience` after its end.
    pub fn soon(warmup: Duration, duration: Duration, patience: Duration) -> Self {
        let start = Instant::now() + Duration::from_millis(50);
        let from = start + warmup;
        let to = from + duration;
        Self {
            start,
            from,
            to,
            give_up: to + patience,
        }
    }

    /// Whether what happened at `when` is measured.
    pub fn holds(&self, when: Instant) -> bool {
        self.from <= when && when < self.to
    }

    /// Warm-up and measured part together.
    pub fn length(&self) -> Duration {
        self.to.saturating_duration_since(self.start)
    }

    /// The measured part in seconds.
    pub fn measured_seconds(&self) -> f64 {
        self.to.saturating_duration_since(self.from).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_the_rate_and_do_not_send_together() {
        let start = Instant::now();
        let all: Vec<Schedule> = (0..4).map(|c| Schedule::new(start, 1000.0, c, 4)).collect();
        let first: Vec<u128> = all
            .iter()
            .map(|s| s.intended(0).duration_since(start).as_micros())
            .collect();
        assert_eq!(first, vec![0, 1000, 2000, 3000]);
        assert_eq!(
            all[1].intended(3).duration_since(start),
            Duration::from_millis(13)
        );
        let sum: u64 = all
            .iter()
            .map(|s| s.count_within(Duration::from_secs(2)))
            .sum();
        assert_eq!(sum, 2000);
        assert_eq!(all[3].count_within(Duration::from_millis(3)), 0);
    }

    #[test]
    fn a_sleep_ends_at_its_time_or_after() {
        let when = Instant::now() + Duration::from_millis(3);
        sleep_until(when);
        assert!(Instant::now() >= when);
        sleep_until(when);
    }
}
