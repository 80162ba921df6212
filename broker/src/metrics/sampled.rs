//! Metrics that need more than one look: rates and lag.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::cost::OPERATIONS;

/// Tiers of the cache: `tail` and `chunk`.
pub(super) const CACHE_TIERS: usize = 2;
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

/// What is counted over a window, at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) produce: u64,
    pub(super) fetch: u64,
    /// Requests to the store, by [`Price`](super::cost::Price).
    pub(super) operations: [u64; OPERATIONS],
    /// Reads that the cache was asked for: those that hit, and those that missed, of its tiers.
    pub(super) cache: [(u64, u64); CACHE_TIERS],
}

/// What was counted from the oldest sample until now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    seconds: f64,
    first: Counts,
    last: Counts,
}

impl Span {
    /// How many a second.
    pub(super) fn rate(&self, of: impl Fn(&Counts) -> u64) -> f64 {
        let count = of(&self.last).saturating_sub(of(&self.first)) as f64;
        if self.seconds > 0.0 {
            count / self.seconds
        } else {
            0.0
        }
    }

    /// The fraction of reads of a tier that hit; none where there were none.
    pub(super) fn hit_ratio(&self, tier: usize) -> Option<f64> {
        let ((hits, misses), (hits_then, misses_then)) =
            (self.last.cache[tier], self.first.cache[tier]);
        let (hits, misses) = (
            hits.saturating_sub(hits_then),
            misses.saturating_sub(misses_then),
        );
        (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
    }
}

/// Counts over a sliding window.
#[derive(Debug)]
pub(super) struct Rates {
    window: Duration,
    samples: VecDeque<(Instant, Counts)>,
}

impl Rates {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            samples: VecDeque::with_capacity(SAMPLES as usize + 2),
        }
    }

    /// Takes a sample, unless the last one is recent, and forgets those that the window has left.
    pub(super) fn sample(&mut self, at: Instant, counts: Counts) {
        let since = |then: &Instant| at.saturating_duration_since(*then);
        if self
            .samples
            .back()
            .is_some_and(|(then, _)| since(then) < self.window / SAMPLES)
        {
            return;
        }
        self.samples.push_back((at, counts));
        // The one just before the window stays: it is where the window's count begins.
        let left = |(then, _): &(Instant, Counts)| since(then) >= self.window;
        while self.samples.get(1).is_some_and(left) || self.samples.len() > SAMPLES as usize + 2 {
            self.samples.pop_front();
        }
    }

    /// From the oldest sample until now.
    pub(super) fn span(&self, now: Instant, last: Counts) -> Span {
        let (then, first) = self.samples.front().copied().unwrap_or((now, last));
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        Span {
            seconds,
            first,
            last,
        }
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
    /// How long the oldest record waits that the group has not read, in any of them.
    pub wait: Duration,
}

impl GroupLag {
    pub(super) fn labels(&self) -> [(&'static str, &str); 2] {
        [
            ("group", self.group.as_str()),
            ("topic", self.topic.as_str()),
        ]
    }
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
        let counts = |produce, fetch| Counts {
            produce,
            fetch,
            cache: [(3 * fetch, fetch), (0, 0)],
            ..Counts::default()
        };
        let rates_of = |rates: &Rates, now, last| {
            let span = rates.span(now, last);
            (span.rate(|c| c.produce), span.rate(|c| c.fetch))
        };
        let mut rates = Rates::new(Duration::from_secs(60));
        assert_eq!(rates_of(&rates, start, counts(5, 5)), (0.0, 0.0));
        for second in 0..=60 {
            rates.sample(at(second), counts(second * 100, second));
        }
        assert_eq!(rates_of(&rates, at(60), counts(6000, 60)), (100.0, 1.0));
        let span = rates.span(at(60), counts(6000, 60));
        assert_eq!((span.hit_ratio(0), span.hit_ratio(1)), (Some(0.75), None));
        for second in 61..=180 {
            rates.sample(at(second), counts(6000, 60));
        }
        assert_eq!(rates_of(&rates, at(180), counts(6000, 60)), (0.0, 0.0));
        assert!(rates.samples.len() <= SAMPLES as usize + 2);
        rates.sample(at(180), counts(7000, 60));
        assert_eq!(
            rates.samples.back().map(|(_, counts)| counts.produce),
            Some(6000)
        );
    }

    #[test]
    fn lag_keeps_the_largest_and_counts_the_rest() {
        let lag = |number: usize| GroupLag {
            group: format!("g{number}"),
            topic: "t".to_owned(),
            records: number as u64,
            wait: Duration::ZERO,
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
