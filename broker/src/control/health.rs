//! How the object store is: Healthy, Degraded or Unavailable (DESIGN §8), and what follows.
//!
//! [`Health`] is a state machine without I/O or clock. It looks at the store's latency and failures
//! over a window. It turns worse at once, but only on enough samples, so that one error on a quiet
//! broker is no outage; it turns better when the last part of the window has been better for a
//! while, so that recovery does not wait for old failures to age out and a threshold is not
//! crossed to and fro. While it is not healthy [`watch`] probes the store, so that it recovers
//! without traffic; while it is, an idle broker sends nothing.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use coord::keys::session::SessionState;
use store::GetRange;

use super::context::Context;
use super::session::publish_state;

/// Parts that the window is cut into.
const BUCKETS: u32 = 60;
/// The last part of the window, which recovery looks at: long enough for some probes.
const RECENT: Duration = Duration::from_secs(5);
/// Samples without which nothing turns worse.
const SAMPLES_MIN: u64 = 5;
/// Failures without which errors count for nothing.
const ERRORS_MIN: u64 = 3;
/// Samples without which nothing turns better.
const RECENT_SAMPLES_MIN: u64 = 3;
/// How often the state is looked at, and the store probed while it is not healthy.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthState {
    /// All is well.
    Healthy,
    /// Slow, or some requests fail: everything is accepted, and there is a warning.
    Degraded,
    /// Very slow, or many requests fail: produce is refused.
    Unavailable,
}

/// The thresholds.
#[derive(Debug, Clone, Copy)]
pub struct HealthConfig {
    /// Time that is looked at.
    pub window: Duration,
    /// Mean latency from which it is Degraded, and Unavailable.
    pub latency: (Duration, Duration),
    /// Fraction of failures above which it is Degraded, and Unavailable.
    pub errors: (f64, f64),
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    number: u64,
    samples: u64,
    errors: u64,
    latency: Duration,
}

/// The state machine. Times are those of one monotonic clock.
#[derive(Debug)]
pub struct Health {
    config: HealthConfig,
    buckets: VecDeque<Bucket>,
    state: HealthState,
    since: Duration,
    better_since: Option<Duration>,
}

impl Health {
    /// Healthy until something else is seen.
    pub fn new(config: HealthConfig) -> Self {
        Self {
            config,
            buckets: VecDeque::with_capacity(BUCKETS as usize + 1),
            state: HealthState::Healthy,
            since: Duration::ZERO,
            better_since: None,
        }
    }

    /// The state, and since when.
    pub fn state(&self) -> (HealthState, Duration) {
        (self.state, self.since)
    }

    fn number(&self, now: Duration) -> u64 {
        let width = (self.config.window / BUCKETS).max(Duration::from_millis(1));
        u64::try_from(now.as_millis() / width.as_millis().max(1)).unwrap_or(u64::MAX)
    }

    /// A request to the store has been answered, or has failed.
    pub fn record(&mut self, now: Duration, latency: Duration, ok: bool) {
        let number = self.number(now);
        if self.buckets.back().is_none_or(|last| last.number < number) {
            self.buckets.push_back(Bucket {
                number,
                ..Bucket::default()
            });
        }
        self.forget(number);
        if let Some(last) = self.buckets.back_mut() {
            last.samples += 1;
            last.errors += u64::from(!ok);
            last.latency += latency;
        }
    }

    fn forget(&mut self, number: u64) {
        let oldest = number.saturating_sub(u64::from(BUCKETS));
        while self
            .buckets
            .pop_front_if(|first| first.number <= oldest)
            .is_some()
        {}
    }

    fn recent(&self) -> Duration {
        RECENT.min(self.config.window)
    }

    /// Samples, failures and mean latency of the last part of the window.
    fn over(&self, now: Duration, part: Duration) -> (u64, u64, Duration) {
        let parts = self.number(part).max(1);
        let from = self.number(now).saturating_sub(parts);
        let recent = self.buckets.iter().filter(|bucket| bucket.number > from);
        let (samples, errors, latency) = recent.fold((0, 0, Duration::ZERO), |sum, bucket| {
            (
                sum.0 + bucket.samples,
                sum.1 + bucket.errors,
                sum.2 + bucket.latency,
            )
        });
        let mean = latency.checked_div(u32::try_from(samples).unwrap_or(u32::MAX));
        (samples, errors, mean.unwrap_or_default())
    }

    /// Mean latency and fraction of failures over the window.
    pub fn rates(&self, now: Duration) -> (Duration, f64) {
        let (samples, errors, mean) = self.over(now, self.config.window);
        (mean, errors as f64 / samples.max(1) as f64)
    }

    fn verdict(&self, (samples, errors, mean): (u64, u64, Duration)) -> HealthState {
        let rate = errors as f64 / samples.max(1) as f64;
        let counts = errors >= ERRORS_MIN;
        let (warn, critical) = self.config.errors;
        if mean >= self.config.latency.1 || counts && rate > critical {
            HealthState::Unavailable
        } else if mean >= self.config.latency.0 || counts && rate > warn {
            HealthState::Degraded
        } else {
            HealthState::Healthy
        }
    }

    /// Looks at the samples; gives the new state when it changes.
    pub fn step(&mut self, now: Duration) -> Option<HealthState> {
        self.forget(self.number(now));
        let all = self.over(now, self.config.window);
        let recent = self.over(now, self.recent());
        let seen = self.verdict(all);
        // What is past and has been better since then does not make it worse again.
        let worse = seen.min(self.verdict(recent));
        if all.0 >= SAMPLES_MIN && recent.0 > 0 && worse > self.state {
            return Some(self.turn(worse, now));
        }
        let is_better = recent.0 >= RECENT_SAMPLES_MIN && self.verdict(recent) < self.state;
        if !is_better {
            self.better_since = None;
            return None;
        }
        let since = *self.better_since.get_or_insert(now);
        if now.saturating_sub(since) < self.recent() / 2 {
            return None;
        }
        let better = self.verdict(recent);
        Some(self.turn(better, now))
    }

    fn turn(&mut self, state: HealthState, now: Duration) -> HealthState {
        self.state = state;
        self.since = now;
        self.better_since = None;
        state
    }
}

/// Watches the store of a context, for ever.
pub async fn watch(context: Rc<Context>) {
    let key = context.keys.cluster();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let look = context.objects.step_health();
        let metrics = &context.metrics;
        metrics.health_state.set(look.state as i64);
        metrics
            .health_latency_ms
            .set(look.latency.as_secs_f64() * 1e3);
        metrics.health_error_rate.set(look.error_rate);
        metrics.health_state_seconds.set(look.lasted.as_secs_f64());
        if look.changed {
            changed(&context, &look).await;
        }
        if look.state == HealthState::Healthy {
            continue;
        }
        // One small read; its answer is a sample.
        let _ = context.objects.get_once(&key, GetRange::Full).await;
        let is_cut = look.state == HealthState::Unavailable
            && look.lasted > context.config.broker.session_ttl * 2
            && context.view.another_is_healthy(context.session.id);
        if is_cut {
            context.failure.end_session(
                "the object store is out of reach for this broker and not for others: they take \
                 over"
                    .to_owned(),
            );
            return;
        }
    }
}

/// What was seen at one look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The state.
    pub state: HealthState,
    /// Whether it has just changed.
    pub changed: bool,
    /// How long it has lasted.
    pub lasted: Duration,
    /// Mean latency over the window.
    pub latency: Duration,
    /// Fraction of failures over the window.
    pub error_rate: f64,
}

async fn changed(context: &Context, look: &Look) {
    context.metrics.health_transitions.increment();
    let (latency_ms, error_rate) = (look.latency.as_millis() as u64, look.error_rate);
    let state = look.state;
    context
        .refusal
        .store_is_unavailable(state == HealthState::Unavailable);
    let published = match state {
        HealthState::Healthy => {
            tracing::info!(
                ?state,
                latency_ms,
                error_rate,
                "the object store has recovered"
            );
            SessionState::Healthy
        }
        HealthState::Degraded => {
            tracing::warn!(
                ?state,
                latency_ms,
                error_rate,
                "the object store is slow or fails"
            );
            SessionState::Degraded
        }
        HealthState::Unavailable => {
            tracing::error!(
                ?state,
                latency_ms,
                error_rate,
                "the object store is unavailable: produce is refused, reads from memory go on"
            );
            SessionState::Unavailable
        }
    };
    let published = publish_state(context, published);
    match tokio::time::timeout(LOOK_EVERY, published).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the state of the store was not published"),
        Err(_) => tracing::warn!("the state of the store was not published in time"),
    }
}

/// A clock and a state machine, as the store's requests share them.
#[derive(Debug)]
pub struct SharedHealth {
    origin: Instant,
    health: std::sync::Mutex<Health>,
}

impl SharedHealth {
    /// Healthy, from now on.
    pub fn new(config: HealthConfig) -> Self {
        Self {
            origin: Instant::now(),
            health: std::sync::Mutex::new(Health::new(config)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// See [`Health::record`].
    pub fn record(&self, latency: Duration, ok: bool) {
        self.lock().record(self.origin.elapsed(), latency, ok);
    }

    /// One look.
    pub fn step(&self) -> Look {
        let now = self.origin.elapsed();
        let mut health = self.lock();
        let changed = health.step(now).is_some();
        let (state, since) = health.state();
        let (latency, error_rate) = health.rates(now);
        Look {
            state,
            changed,
            lasted: now.saturating_sub(since),
            latency,
            error_rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn health() -> Health {
        Health::new(HealthConfig {
            window: Duration::from_secs(60),
            latency: (Duration::from_millis(500), Duration::from_millis(2_000)),
            errors: (0.01, 0.05),
        })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const FAST: Duration = Duration::from_millis(20);

    #[test]
    fn one_error_on_a_quiet_broker_is_no_outage() {
        let mut health = health();
        health.record(at(1), FAST, false);
        assert_eq!(health.step(at(1)), None);
        for second in 2..4 {
            health.record(at(second), FAST, true);
        }
        health.record(at(5), FAST, false);
        assert_eq!(health.step(at(5)), None);
    }

    #[test]
    fn many_errors_refuse_and_a_store_that_answers_again_recovers_in_seconds() {
        let mut health = health();
        for second in 0..20 {
            health.record(at(second), FAST, false);
            health.step(at(second));
        }
        assert_eq!(health.state().0, HealthState::Unavailable);
        let mut recovered = None;
        for second in 20..80 {
            health.record(at(second), FAST, true);
            if health.step(at(second)) == Some(HealthState::Healthy) {
                recovered = Some(second);
                break;
            }
        }
        assert!((25..=36).contains(&recovered.unwrap()), "{recovered:?}");
        for second in recovered.unwrap()..90 {
            health.record(at(second), FAST, true);
            assert_eq!(
                health.step(at(second)),
                None,
                "old failures do not count again"
            );
        }
    }

    #[test]
    fn a_slow_store_is_degraded_and_a_very_slow_one_unavailable() {
        for (ms, state) in [(300, 0), (600, 1), (2_500, 2)] {
            let mut health = health();
            for second in 0..30 {
                health.record(at(second), Duration::from_millis(ms), true);
                health.step(at(second));
            }
            assert_eq!(health.state().0 as i64, state, "{ms} ms");
        }
    }

    proptest! {
        /// Whatever it has seen: some seconds of good answers make it healthy, and
        /// it never turns better twice within the pause.
        #[test]
        fn good_answers_always_make_it_healthy(
            past in proptest::collection::vec((any::<bool>(), 0_u64..4_000), 0..200),
        ) {
            let mut health = health();
            let mut last_better: Option<u64> = None;
            let mut state = HealthState::Healthy;
            let mut look = |health: &mut Health, second: u64| {
                if let Some(now) = health.step(at(second)) {
                    if now < state {
                        assert!(last_better.is_none_or(|last| second - last >= 3), "it flaps");
                        last_better = Some(second);
                    }
                    state = now;
                }
            };
            let end = past.len() as u64;
            for (second, (ok, ms)) in (0..).zip(past) {
                health.record(at(second), Duration::from_millis(ms), ok);
                look(&mut health, second);
            }
            for second in end..end + 40 {
                health.record(at(second), FAST, true);
                look(&mut health, second);
            }
            prop_assert_eq!(health.state().0, HealthState::Healthy);
        }
    }
}
