//! What one kind of request, reads or writes, has met: the state machine of its own health.
//!
//! Pure. Two looks at the samples decide. Rates over the whole window, with a minimum of samples,
//! tell a store that is somewhat worse than it should be. An outage is seen in the last samples
//! already, when most of them have met it. It turns better when what has been seen for a while is
//! better, and not by samples that are older than that; a store that keeps falling back into
//! unavailability has to be well for longer each time.

use std::collections::VecDeque;
use std::time::Duration;

use super::{HealthConfig, HealthState};

/// Parts that the window is cut into.
pub(super) const PARTS: u32 = 240;
/// What was seen longer ago is past: it makes nothing worse by itself.
const RECENT: Duration = Duration::from_secs(5);
/// Shortest time over which an outage shows.
const ACUTE: Duration = Duration::from_secs(1);
/// Samples without which nothing turns worse.
pub(super) const SAMPLES_MIN: u64 = 5;
/// Failures without which a rate of errors makes nothing worse.
const ERRORS_MIN: u64 = 3;
/// How long it must have been well before it is unavailable no longer, and before it is healthy.
const WELL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));
/// A store that is unavailable again within so many times the time for which it had to be well has
/// to be well twice as long.
pub(super) const RELAPSE: u32 = 10;
/// Most that this time grows by.
pub(super) const PATIENCE_MAX: u32 = 32;

/// What a request came to, by the thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Good,
    Slow,
    Bad,
}

/// Sums of the samples of one part of the window.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    number: u64,
    sums: Sums,
}

/// Sums of some samples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) samples: u64,
    pub(super) errors: u64,
    pub(super) latency: Duration,
    /// Answers that were slow, not counting those that were bad.
    slow: u64,
    /// Failures, and answers after the critical latency.
    bad: u64,
}

impl Sums {
    pub(super) fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.errors += other.errors;
        self.latency += other.latency;
        self.slow += other.slow;
        self.bad += other.bad;
    }

    /// Mean latency.
    pub(super) fn mean(&self) -> Duration {
        let samples = u32::try_from(self.samples).unwrap_or(u32::MAX).max(1);
        self.latency / samples
    }

    /// Fraction of failures.
    pub(super) fn error_rate(&self) -> f64 {
        self.errors as f64 / self.samples.max(1) as f64
    }

    /// What mean latency and rate of errors say, where fewer than `errors_min` failures say nothing.
    fn rated(&self, config: &HealthConfig, errors_min: u64) -> HealthState {
        let (mean, rate) = (self.mean(), self.error_rate());
        let counts = self.errors >= errors_min;
        if mean >= config.latency.1 || counts && rate > config.errors.1 {
            HealthState::Unavailable
        } else if mean >= config.latency.0 || counts && rate > config.errors.0 {
            HealthState::Degraded
        } else {
            HealthState::Healthy
        }
    }

    /// What most of the requests have met.
    fn mostly(&self) -> HealthState {
        if self.samples < SAMPLES_MIN {
            HealthState::Healthy
        } else if self.bad * 2 > self.samples {
            HealthState::Unavailable
        } else if (self.bad + self.slow) * 2 > self.samples {
            HealthState::Degraded
        } else {
            HealthState::Healthy
        }
    }
}

/// The health of one kind of request. Times are those of one monotonic clock.
#[derive(Debug)]
pub(super) struct Track {
    parts: VecDeque<Part>,
    /// What is older made the state what it was before the last change for the better, and makes
    /// nothing worse again.
    counts_from: u64,
    state: HealthState,
    since: Duration,
    /// By how much longer it must be well, since it keeps falling back.
    patience: u32,
    /// When it was last unavailable, and no longer.
    left: Option<Duration>,
    answered: Option<Duration>,
}

impl Track {
    /// Healthy until something else is seen.
    pub(super) fn new() -> Self {
        Self {
            parts: VecDeque::with_capacity(PARTS as usize + 1),
            counts_from: 0,
            state: HealthState::Healthy,
            since: Duration::ZERO,
            patience: 1,
            left: None,
            answered: None,
        }
    }

    pub(super) fn state(&self) -> HealthState {
        self.state
    }

    /// When a request was last answered, or failed.
    pub(super) fn answered(&self) -> Option<Duration> {
        self.answered
    }

    /// Notes that a request has ended at `now`, whether or not it is a sample.
    pub(super) fn ended(&mut self, now: Duration) {
        self.answered = Some(now);
    }

    /// Counts a sample in the part of `now`; gives the number of that part.
    pub(super) fn record(
        &mut self,
        config: &HealthConfig,
        now: Duration,
        latency: Duration,
        ok: bool,
    ) -> u64 {
        let number = number(config, now);
        self.forget(number);
        if self.parts.back().is_none_or(|last| last.number < number) {
            let sums = Sums::default();
            self.parts.push_back(Part { number, sums });
        }
        let answer = match ok {
            true if latency < config.latency.0 => Answer::Good,
            true if latency < config.latency.1 => Answer::Slow,
            _ => Answer::Bad,
        };
        let last = self.parts.back_mut().expect("one was just pushed");
        last.sums.add(Sums {
            samples: 1,
            errors: u64::from(!ok),
            latency,
            slow: u64::from(answer == Answer::Slow),
            bad: u64::from(answer == Answer::Bad),
        });
        last.number
    }

    /// The request that was counted as slow in the part `number` has failed in the end.
    pub(super) fn failed_late(&mut self, number: u64) {
        let part = self.parts.iter_mut().find(|part| part.number == number);
        if let Some(part) = part {
            part.sums.errors += 1;
        }
    }

    fn forget(&mut self, number: u64) {
        let Some(oldest) = number.checked_sub(u64::from(PARTS)) else {
            return;
        };
        let is_old = |first: &mut Part| first.number <= oldest;
        while self.parts.pop_front_if(is_old).is_some() {}
    }

    /// Sums from the part `from` on.
    fn sums(&self, from: u64) -> Sums {
        let parts = self.parts.iter().filter(|part| part.number >= from);
        parts.fold(Sums::default(), |mut all, part| {
            all.add(part.sums);
            all
        })
    }

    /// Sums of the whole window.
    pub(super) fn window(&self) -> Sums {
        self.sums(0)
    }

    fn recent(&self, config: &HealthConfig, now: Duration) -> Sums {
        let from = now.saturating_sub(RECENT.min(config.window));
        self.sums(number(config, from).max(self.counts_from))
    }

    /// Sums of the last samples: of [`ACUTE`], or of as much more as it takes to judge by.
    fn acute(&self, config: &HealthConfig, now: Duration) -> Sums {
        let always = number(config, now.saturating_sub(ACUTE.min(config.window)));
        let oldest = number(config, now.saturating_sub(RECENT.min(config.window)));
        let mut sums = Sums::default();
        for part in self.parts.iter().rev() {
            let is_needed = part.number >= always || sums.samples < SAMPLES_MIN;
            if !is_needed || part.number < oldest.max(self.counts_from) {
                break;
            }
            sums.add(part.sums);
        }
        sums
    }

    /// Whether it is asked for a sample though it seems healthy: something bad was seen just now,
    /// and too little else to judge by.
    pub(super) fn is_suspect(&self, config: &HealthConfig, now: Duration) -> bool {
        let recent = self.recent(config, now);
        recent.bad > 0 && recent.samples < SAMPLES_MIN
    }

    /// Looks at the samples.
    pub(super) fn step(&mut self, config: &HealthConfig, now: Duration) {
        self.forget(number(config, now));
        let (all, recent) = (self.sums(self.counts_from), self.recent(config, now));
        // What is past and has been better since then makes nothing worse.
        let rated = match all.samples >= SAMPLES_MIN && recent.samples > 0 {
            true => all
                .rated(config, ERRORS_MIN)
                .min(recent.rated(config, ERRORS_MIN)),
            false => HealthState::Healthy,
        };
        let seen = rated.max(self.acute(config, now).mostly());
        if seen > self.state {
            self.turn_worse(seen, now);
        } else if self.state > HealthState::Healthy {
            self.turn_better(config, now);
        }
    }

    fn turn_worse(&mut self, state: HealthState, now: Duration) {
        if state == HealthState::Unavailable {
            let is_relapse = self
                .left
                .is_some_and(|left| now.saturating_sub(left) < self.well() * RELAPSE);
            self.patience = match is_relapse {
                true => (self.patience * 2).min(PATIENCE_MAX),
                false => 1,
            };
        }
        (self.state, self.since) = (state, now);
    }

    /// How long it must be well to be unavailable no longer.
    fn well(&self) -> Duration {
        WELL.0 * self.patience
    }

    fn turn_better(&mut self, config: &HealthConfig, now: Duration) {
        let is_unavailable = self.state == HealthState::Unavailable;
        let well = if is_unavailable { self.well() } else { WELL.1 };
        let well = well.min(config.window);
        let from = now.saturating_sub(well);
        let lately = self.sums(number(config, from));
        let seen = lately.rated(config, 1);
        if now.saturating_sub(self.since) < well || lately.samples == 0 || seen >= self.state {
            return;
        }
        if is_unavailable {
            self.left = Some(now);
        }
        // One step at a time: who was unavailable is watched for a while.
        let floor = match self.state {
            HealthState::Unavailable => HealthState::Degraded,
            HealthState::Degraded | HealthState::Healthy => HealthState::Healthy,
        };
        (self.state, self.since) = (seen.max(floor), now);
        self.counts_from = number(config, now);
    }
}

/// The number of the part of the window that a time lies in.
fn number(config: &HealthConfig, at: Duration) -> u64 {
    let width = (config.window / PARTS).as_millis().max(1);
    u64::try_from(at.as_millis() / width).unwrap_or(u64::MAX)
}
