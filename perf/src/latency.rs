//! Latency: an HDR histogram of every request, and what is published of it.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart from longer ones, in ns: 10 minutes.
const HIGHEST_NS: u64 = 600_000_000_000;
/// Decimal digits that are kept: an error of at most 0.1 %.
const DIGITS: u8 = 3;
/// Halvings of the distance to 100 % up to which a curve goes: 1 - 2^-20 is beyond p99.9999.
const CURVE_HALVINGS: u32 = 20;
/// Points of a curve between two halvings.
const CURVE_POINTS: u32 = 4;

/// Latencies of one thread, or of a run. In ns inside, in us outside.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// An empty one.
    ///
    /// # Panics
    /// Never: the bounds are constants.
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, HIGHEST_NS, DIGITS).expect("the bounds are sound"))
    }

    /// Records the time from `from` to `to`, 0 if that is negative.
    pub fn record(&mut self, from: Instant, to: Instant) {
        self.record_duration(to.saturating_duration_since(from), 1);
    }

    /// Records `count` times the same latency.
    pub fn record_duration(&mut self, latency: Duration, count: u64) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record_n(ns, count);
    }

    /// Adds those of another thread.
    ///
    /// # Panics
    /// Never: all have the same bounds.
    pub fn add(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("all histograms have the same bounds");
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency in us that `percentile` percent did not exceed.
    pub fn percentile_us(&self, percentile: f64) -> f64 {
        us(self.0.value_at_quantile(percentile / 100.0))
    }

    /// The published percentiles.
    pub fn summary(&self) -> Summary {
        Summary {
            count: self.count(),
            min_us: us(self.0.min()),
            mean_us: self.0.mean() / 1e3,
            p50_us: self.percentile_us(50.0),
            p90_us: self.percentile_us(90.0),
            p99_us: self.percentile_us(99.0),
            p999_us: self.percentile_us(99.9),
            p9999_us: self.percentile_us(99.99),
            max_us: us(self.0.max()),
        }
    }

    /// Percentile and latency in us, denser towards 100 %; it ends where a single sample is left.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let mut points = Vec::new();
        for step in 0..=CURVE_HALVINGS * CURVE_POINTS {
            let left = 0.5_f64.powf(f64::from(step) / f64::from(CURVE_POINTS));
            if left * (self.count() as f64) < 1.0 {
                break;
            }
            let percentile = 100.0 * (1.0 - left);
            points.push((percentile, self.percentile_us(percentile)));
        }
        points
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// Percentiles in us.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Samples.
    pub count: u64,
    /// Smallest.
    pub min_us: f64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// 99.99 %.
    pub p9999_us: f64,
    /// Largest.
    pub max_us: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::new();
        for us in 1..=10_000 {
            latencies.record_duration(Duration::from_micros(us), 1);
        }
        let summary = latencies.summary();
        assert_eq!(summary.count, 10_000);
        for (found, expected) in [
            (summary.p50_us, 5_000.0),
            (summary.p99_us, 9_900.0),
            (summary.p9999_us, 9_999.0),
            (summary.max_us, 10_000.0),
        ] {
            assert!(
                (found / expected - 1.0_f64).abs() < 0.002,
                "{found} for {expected}"
            );
        }
        let curve = latencies.curve();
        assert!(
            curve
                .windows(2)
                .all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1)
        );
        assert!(curve.last().is_some_and(|(p, _)| *p > 99.98 && *p < 100.0));
    }

    #[test]
    fn threads_add_up_and_what_is_too_long_saturates() {
        let mut one = Latencies::new();
        let mut two = Latencies::new();
        one.record_duration(Duration::from_micros(10), 3);
        two.record_duration(Duration::from_secs(100_000), 1);
        one.add(&two);
        assert_eq!(one.count(), 4);
        assert!(one.summary().max_us > 5e8);
    }
}
