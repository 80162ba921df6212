//! Metrics that need more than one look: rates and lag.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Samples that a window is cut into.
const SAMPLES: u32 = 60;
/// Pairs of group and topic that get a series of their own.
pub(super) const LAG_SERIES_MAX: usize = 1000;
/// Buckets of the original.
pub(super) const LAG_BOUNDS: &[f64] = &[
    1.0,
    10.0,
    100.0,
    1000.0,
    5000.0,
    10_000.0,
    50_000.0,
    100_000.0,
    500_000.0,
    1_000_000.0,
];

/// Requests at one time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    produce: u64,
    fetch: u64,
}

/// Requests a second over a sliding window.
#[derive(Debug)]
pub(super) struct Rates {
    window: Duration,
    samples: VecDeque<Sample>,
}

impl Rates {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            samples: VecDeque::with_capacity(SAMPLES as usize + 2),
        }
    }

    /// Takes a sample, unless the last one is recent, and forgets those that the window has left.
    pub(super) fn sample(&mut self, at: Instant, produce: u64, fetch: u64) {
        let recent = |last: &Sample| at.saturating_duration_since(last.at) < self.window / SAMPLES;
        if self.samples.back().is_some_and(recent) {
            return;
        }
        self.samples.push_back(Sample { at, produce, fetch });
        // The one just before the window stays: it is where the window's count begins.
        let left = |sample: &Sample| at.saturating_duration_since(sample.at) >= self.window;
        while self.samples.get(1).is_some_and(left) || self.samples.len() > SAMPLES as usize + 2 {
            self.samples.pop_front();
        }
    }

    /// Produce and Fetch requests a second from the oldest sample until now.
    pub(super) fn rates(&self, now: Instant, produce: u64, fetch: u64) -> (f64, f64) {
        let Some(first) = self.samples.front() else {
            return (0.0, 0.0);
        };
        let elapsed = now.saturating_duration_since(first.at).as_secs_f64();
        if elapsed <= 0.0 {
            return (0.0, 0.0);
        }
        let rate = |then: u64, now: u64| now.saturating_sub(then) as f64 / elapsed;
        (rate(first.produce, produce), rate(first.fetch, fetch))
    }
}

/// Records between a group's committed offsets in a topic and the high watermarks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLag {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The lag, over all partitions of the topic.
    pub records: u64,
}

/// The last sample of lag, and all samples by size.
#[derive(Debug, Default)]
pub(super) struct Lags {
    pub(super) largest: Vec<GroupLag>,
    pub(super) dropped: usize,
    /// Cumulative by [`LAG_BOUNDS`]; grows with each sample, so that rates over it mean something.
    pub(super) totals: [u64; LAG_BOUNDS.len()],
    pub(super) count: u64,
    pub(super) sum: f64,
}

impl Lags {
    pub(super) fn set(&mut self, mut lags: Vec<GroupLag>) {
        for lag in &lags {
            self.count += 1;
            self.sum += lag.records as f64;
            for (total, bound) in self.totals.iter_mut().zip(LAG_BOUNDS) {
                *total += u64::from(lag.records as f64 <= *bound);
            }
        }
        lags.sort_unstable_by(|a, b| {
            let by_lag = b.records.cmp(&a.records);
            by_lag.then_with(|| (&a.group, &a.topic).cmp(&(&b.group, &b.topic)))
        });
        self.dropped = lags.len().saturating_sub(LAG_SERIES_MAX);
        lags.truncate(LAG_SERIES_MAX);
        self.largest = lags;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_the_window() {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let mut rates = Rates::new(Duration::from_secs(60));
        assert_eq!(rates.rates(start, 5, 5), (0.0, 0.0));
        for second in 0..=60 {
            rates.sample(at(second), second * 100, second);
        }
        assert_eq!(rates.rates(at(60), 6000, 60), (100.0, 1.0));
        for second in 61..=180 {
            rates.sample(at(second), 6000, 60);
        }
        assert_eq!(rates.rates(at(180), 6000, 60), (0.0, 0.0));
        assert!(rates.samples.len() <= SAMPLES as usize + 2);
        rates.sample(at(180), 7000, 60);
        assert_eq!(
            rates.samples.back().map(|sample| sample.produce),
            Some(6000)
        );
    }

    #[test]
    fn lag_keeps_the_largest_and_counts_the_rest() {
        let lag = |number: usize| GroupLag {
            group: format!("g{number}"),
            topic: "t".to_owned(),
            records: number as u64,
        };
        let mut lags = Lags::default();
        lags.set((0..LAG_SERIES_MAX + 5).map(lag).collect());
        assert_eq!((lags.largest.len(), lags.dropped), (LAG_SERIES_MAX, 5));
        assert_eq!(lags.largest[0].records, LAG_SERIES_MAX as u64 + 4);
        lags.set(vec![lag(7)]);
        assert_eq!((lags.largest.len(), lags.dropped), (1, 0));
        assert_eq!((lags.count, lags.totals[0]), (LAG_SERIES_MAX as u64 + 6, 2));
    }
}
