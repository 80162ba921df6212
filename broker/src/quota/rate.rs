//! The arithmetic of a budget that refills at a steady rate: pure functions on its state.
//!
//! The state is one number, the time until which everything that was used has been paid for at the rate of the
//! quota. It lies at most `burst` behind now: that much may be used at once. Ahead of now, the client owes the
//! difference, and that is how long it is throttled. This is the delay that Kafka computes,
//! `(O - T) / T * W` for a rate `O` that was observed over a window `W` with a quota `T`: what was used
//! beyond `T * W`, as time at `T`.

use std::time::Duration;

/// Until when what was used is paid for, in nanoseconds on the clock of the budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Paid(pub i64);

impl Paid {
    /// Of a client that has used nothing yet.
    pub const LONG_AGO: Self = Self(i64::MIN);
}

/// How fast a budget refills, and how much of it may be used at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// What may be used in a second; above 0.
    pub per_second: f64,
    /// What may be used at once, as time at that rate, in nanoseconds.
    burst_ns: i64,
}

impl Rate {
    /// A rate above 0.
    pub fn new(per_second: f64, burst: Duration) -> Self {
        assert!(per_second > 0.0, "a quota of {per_second}");
        Self {
            per_second,
            burst_ns: i64::try_from(burst.as_nanos()).unwrap_or(i64::MAX / 4),
        }
    }

    /// What may be used at once by a client that has been idle.
    pub fn burst(&self) -> f64 {
        self.per_second * self.burst_ns as f64 / 1e9
    }

    /// Uses an amount, whatever was used before. Gives what is owed afterwards, in nanoseconds.
    pub fn charge(&self, paid: Paid, amount: f64, now_ns: i64) -> (Paid, i64) {
        let paid = Paid(self.base(paid, now_ns).saturating_add(self.cost(amount)));
        (paid, paid.0.saturating_sub(now_ns).max(0))
    }

    /// Uses an amount if nothing is owed afterwards. What is more than could ever be used at once goes when
    /// nothing else was used, and is owed then: it would never go otherwise.
    ///
    /// # Errors
    /// How long to wait until it can be used, in nanoseconds.
    pub fn try_charge(&self, paid: Paid, amount: f64, now_ns: i64) -> Result<Paid, i64> {
        let (after, owed) = self.charge(paid, amount, now_ns);
        let is_whole = self.is_whole(paid, now_ns);
        if owed == 0 || is_whole {
            return Ok(after);
        }
        Err(owed.min(self.base(paid, now_ns).saturating_sub(now_ns) + self.burst_ns))
    }

    /// Takes back a charge.
    pub fn give_back(&self, paid: Paid, amount: f64) -> Paid {
        Paid(paid.0.saturating_sub(self.cost(amount)))
    }

    /// Uses an amount unless something is owed already: Kafka's strict quota of mutations, which lets the
    /// last request before the end through whole.
    ///
    /// # Errors
    /// What is owed, in nanoseconds.
    pub fn charge_unless_owed(&self, paid: Paid, amount: f64, now_ns: i64) -> Result<Paid, i64> {
        let owed = self.base(paid, now_ns).saturating_sub(now_ns);
        if owed > 0 {
            return Err(owed);
        }
        Ok(self.charge(paid, amount, now_ns).0)
    }

    /// Whether the budget is as good as one that was never used.
    pub fn is_whole(&self, paid: Paid, now_ns: i64) -> bool {
        paid.0 <= now_ns.saturating_sub(self.burst_ns)
    }

    fn base(&self, paid: Paid, now_ns: i64) -> i64 {
        paid.0.max(now_ns.saturating_sub(self.burst_ns))
    }

    /// An amount as time at the rate.
    fn cost(&self, amount: f64) -> i64 {
        // A cast from a fraction saturates.
        (amount / self.per_second * 1e9) as i64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Counts what is left, as Kafka's `TokenBucket` does; knows nothing of times paid for.
    struct Oracle {
        rate: f64,
        burst: f64,
        tokens: f64,
        updated_s: f64,
    }

    impl Oracle {
        fn new(rate: f64, burst_s: f64) -> Self {
            let burst = rate * burst_s;
            Self {
                rate,
                burst,
                tokens: burst,
                updated_s: 0.0,
            }
        }

        fn refill(&mut self, now_s: f64) {
            let more = self.rate * (now_s - self.updated_s);
            self.tokens = (self.tokens + more).min(self.burst);
            self.updated_s = now_s;
        }

        /// Seconds until no more is owed.
        fn owed_s(&self) -> f64 {
            (-self.tokens / self.rate).max(0.0)
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Charge(u32),
        Try(u32),
        Strict(u32),
        Pause(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..5_000_u32).prop_map(Step::Charge),
            (0..30_000_u32).prop_map(Step::Try),
            (0..5_000_u32).prop_map(Step::Strict),
            (0..4_000_u32).prop_map(Step::Pause),
        ]
    }

    const NEAR_NS: f64 = 100_000.0;

    fn near(ours_ns: i64, theirs_s: f64) -> bool {
        (ours_ns as f64 - theirs_s * 1e9).abs() < NEAR_NS
    }

    /// Whether the oracle is so near the point where it would say otherwise that a rounding decides.
    fn is_close(tokens: f64) -> bool {
        tokens.abs() < 1e-3
    }

    proptest! {
        #[test]
        fn the_time_paid_for_and_counted_tokens_say_the_same(
            rate in 10..5_000_u32, burst_s in 1..12_u64, steps in prop::collection::vec(step(), 1..80),
        ) {
            let rate = f64::from(rate);
            let ours = Rate::new(rate, Duration::from_secs(burst_s));
            let mut oracle = Oracle::new(rate, burst_s as f64);
            let (mut paid, mut now_ns) = (Paid::LONG_AGO, 0_i64);
            for step in steps {
                oracle.refill(now_ns as f64 / 1e9);
                match step {
                    Step::Pause(ms) => now_ns += i64::from(ms) * 1_000_000,
                    Step::Charge(amount) => {
                        let amount = f64::from(amount);
                        oracle.tokens -= amount;
                        let (after, owed) = ours.charge(paid, amount, now_ns);
                        paid = after;
                        prop_assert!(near(owed, oracle.owed_s()), "{owed} {}", oracle.owed_s());
                    }
                    Step::Try(amount) => {
                        let amount = f64::from(amount);
                        let left = oracle.tokens - amount;
                        let whole = oracle.tokens - oracle.burst;
                        if is_close(left) || is_close(whole) && whole != 0.0 {
                            continue;
                        }
                        match ours.try_charge(paid, amount, now_ns) {
                            Ok(after) => {
                                prop_assert!(left > 0.0 || whole == 0.0);
                                oracle.tokens = left;
                                paid = after;
                            }
                            Err(wait) => {
                                prop_assert!(left < 0.0);
                                // It goes then, and not before.
                                let until = (-left / rate).min(-whole / rate);
                                prop_assert!(near(wait, until), "{wait} {until}");
                            }
                        }
                    }
                    Step::Strict(amount) => {
                        let amount = f64::from(amount);
                        if is_close(oracle.tokens) {
                            continue;
                        }
                        match ours.charge_unless_owed(paid, amount, now_ns) {
                            Ok(after) => {
                                prop_assert!(oracle.tokens > 0.0);
                                oracle.tokens -= amount;
                                paid = after;
                            }
                            Err(owed) => prop_assert!(near(owed, oracle.owed_s())),
                        }
                    }
                }
            }
        }

        /// Whoever does what it is told gets the rate of its quota, beside what it may use at once.
        #[test]
        fn a_client_that_waits_as_told_gets_its_rate(
            rate in 100..1_000_000_u32, amounts in prop::collection::vec(1..200_000_u32, 300),
        ) {
            let ours = Rate::new(f64::from(rate), Duration::from_secs(1));
            let (mut paid, mut now_ns, mut used) = (Paid::LONG_AGO, 0_i64, 0.0);
            let mut last = 0.0;
            for amount in amounts {
                let (after, owed) = ours.charge(paid, f64::from(amount), now_ns);
                (paid, now_ns) = (after, now_ns + owed);
                (used, last) = (used + f64::from(amount), f64::from(amount));
            }
            let seconds = now_ns as f64 / 1e9;
            prop_assert!(used <= (seconds + 1.0) * ours.per_second * 1.001 + 1.0);
            prop_assert!(used + last >= seconds * ours.per_second * 0.999);
        }
    }

    /// Kafka's formula, from its own terms: a rate that was observed over a window.
    #[test]
    fn the_delay_is_that_of_kafka_for_what_is_used_in_one_window() {
        let (quota, window_s) = (1_000.0, 10.0);
        let rate = Rate::new(quota, Duration::from_secs(10));
        for used in [5_000.0, 10_000.0, 10_001.0, 25_000.0, 1e9] {
            let observed = used / window_s;
            let delay_s = ((observed - quota) / quota * window_s).max(0.0);
            let (_, owed) = rate.charge(Paid::LONG_AGO, used, 7);
            assert!(near(owed, delay_s), "{used}: {owed} {delay_s}");
        }
    }

    #[test]
    fn what_can_never_be_used_at_once_goes_when_nothing_else_was_used() {
        let rate = Rate::new(100.0, Duration::from_secs(2));
        let paid = rate.try_charge(Paid::LONG_AGO, 1_000.0, 0).unwrap();
        assert_eq!(paid, Paid(8_000_000_000), "and is owed");
        assert_eq!(rate.try_charge(paid, 1_000.0, 0), Err(10_000_000_000));
        let paid = rate.try_charge(paid, 1_000.0, 10_000_000_000).unwrap();
        assert!(!rate.is_whole(paid, 10_000_000_000));
    }
}
