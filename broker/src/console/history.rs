//! The last minutes of this broker: counters every two seconds, latencies every ten, so that a page that is opened
//! shows what has been, and a rate is over a stated time.
//!
//! Control thread. Bounded rings; the cells of the shards are read, which wakes none of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::context::wall_clock;
use crate::metrics::{ControlMetrics, Distribution, Registry, ShardMetrics};

/// Time between two looks at counters.
pub(super) const EVERY: Duration = Duration::from_secs(2);
/// Looks that are kept: five minutes.
const LOOKS_MAX: usize = 151;
/// Looks at counters for one at latencies.
const LATENCIES_EVERY: u64 = 5;
/// Looks at latencies that are kept: a minute.
const LATENCY_LOOKS_MAX: usize = 7;
/// Bounds of latencies: from 1 us, eight a power of two.
const BOUNDS: usize = 8 * 26 + 1;
const BOUND_LEAST_NS: f64 = 1_000.0;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    BytesIn,
    BytesOut,
    RecordsIn,
    Produces,
    Fetches,
    Hits,
    Misses,
    Puts,
    Gets,
    Lists,
    Deletes,
    Heads,
    PutBytes,
    GetBytes,
}

const FIGURES: usize = 14;

/// The latencies that are shown, with their names.
pub(super) const LATENCIES: [&str; 7] = [
    "produce",
    "fetch_hit",
    "fetch_miss",
    "hop",
    "flush",
    "put",
    "get",
];

/// Processor time of a shard's thread, where the kernel tells.
pub(super) type CpuTime = Option<Duration>;

/// One look at counters.
#[derive(Debug, Clone)]
struct Sample {
    at: Instant,
    at_ms: i64,
    figures: [u64; FIGURES],
    cpu: Vec<CpuTime>,
}

/// One look at latencies: for each how many were at most each bound, and how many there were.
#[derive(Debug, Clone)]
struct LatencySample {
    at: Instant,
    below: Vec<Vec<u64>>,
}

/// A latency over the last minute.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Latency {
    pub(super) name: &'static str,
    /// Since this session began.
    pub(super) total: u64,
    /// Over the last minute.
    pub(super) count: u64,
    /// Seconds that this minute has.
    pub(super) over: Duration,
    /// Upper bounds of the buckets that hold these fractions, in ms; none without samples.
    pub(super) quantiles: Vec<Option<f64>>,
    /// Buckets that hold something: upper bound in ms, and how many.
    pub(super) buckets: Vec<(f64, u64)>,
}

/// The fractions.
pub(super) const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// The last minutes.
pub(super) struct History {
    registry: Arc<Registry>,
    shards: Vec<Arc<ShardMetrics>>,
    control: Arc<ControlMetrics>,
    /// Where the kernel tells the processor time of each shard.
    threads: Vec<Option<String>>,
    looks: VecDeque<Sample>,
    latencies: VecDeque<LatencySample>,
    taken: u64,
    bounds_ns: Vec<f64>,
}

fn bounds_ns() -> Vec<f64> {
    let bound = |step: usize| BOUND_LEAST_NS * (step as f64 / 8.0).exp2();
    (0..BOUNDS).map(bound).collect()
}

impl History {
    pub(super) fn new(
        registry: Arc<Registry>,
        shards: Vec<Arc<ShardMetrics>>,
        control: Arc<ControlMetrics>,
        threads: Vec<Option<String>>,
    ) -> Self {
        let mut this = Self {
            registry,
            shards,
            control,
            threads,
            looks: VecDeque::with_capacity(LOOKS_MAX),
            latencies: VecDeque::with_capacity(LATENCY_LOOKS_MAX),
            taken: 0,
            bounds_ns: bounds_ns(),
        };
        this.take();
        this
    }

    /// Takes a look.
    pub(super) fn take(&mut self) {
        if self.looks.len() == LOOKS_MAX {
            self.looks.pop_front();
        }
        let cpu = self.threads.iter().map(|path| cpu_time(path.as_deref()?));
        self.looks.push_back(Sample {
            at: Instant::now(),
            at_ms: wall_clock().get(),
            figures: self.figures(),
            cpu: cpu.collect(),
        });
        if self.taken.is_multiple_of(LATENCIES_EVERY) {
            if self.latencies.len() == LATENCY_LOOKS_MAX {
                self.latencies.pop_front();
            }
            let look = self.latency_look();
            self.latencies.push_back(look);
        }
        self.taken += 1;
    }

    fn figures(&self) -> [u64; FIGURES] {
        let sum = |of: fn(&ShardMetrics) -> u64| self.shards.iter().map(|it| of(it)).sum();
        let control = &self.control;
        [
            sum(|it| it.produce_bytes.get()),
            sum(|it| it.fetch_bytes.get()),
            sum(|it| it.produce_records.get()),
            self.registry.totals(0).count,
            self.registry.totals(1).count,
            sum(|it| it.fetch_hits.get()),
            sum(|it| it.fetch_misses.get()),
            control.puts.get(),
            control.gets.get(),
            control.lists.get(),
            control.deletes.get(),
            control.heads.get(),
            control.put_bytes.get(),
            control.get_bytes.get(),
        ]
    }

    fn latency_look(&self) -> LatencySample {
        let mut below = Vec::with_capacity(LATENCIES.len());
        for name in LATENCIES {
            let mut read = Distribution::default();
            for shard in &self.shards {
                match name {
                    "produce" => shard.produce_latency.read(&mut read),
                    "fetch_hit" => shard.fetch_hit_latency.read(&mut read),
                    "fetch_miss" => shard.fetch_miss_latency.read(&mut read),
                    "hop" => shard.hop_latency.read(&mut read),
                    _ => {}
                }
            }
            match name {
                "flush" => self.control.flush_latency.read(&mut read),
                "put" => self.control.put_latency.read(&mut read),
                "get" => self.control.get_latency.read(&mut read),
                _ => {}
            }
            let mut counts = read.cumulative(&self.bounds_ns);
            counts.push(read.count());
            below.push(counts);
        }
        LatencySample {
            at: Instant::now(),
            below,
        }
    }

    /// How much a second, over the last `over` or as much of it as is known; none before the second look.
    pub(super) fn rate(&self, figure: Figure, over: Duration) -> Option<f64> {
        let last = self.looks.back()?;
        let within = |look: &&Sample| last.at.duration_since(look.at) <= over;
        let first = self.looks.iter().find(within)?;
        let time = last.at.duration_since(first.at).as_secs_f64();
        let (from, to) = (
            first.figures[figure as usize],
            last.figures[figure as usize],
        );
        (time > 0.0).then(|| to.saturating_sub(from) as f64 / time)
    }

    /// When each look was, but for the first.
    pub(super) fn times(&self) -> Vec<i64> {
        self.looks.iter().skip(1).map(|look| look.at_ms).collect()
    }

    /// How much a second between looks.
    pub(super) fn series(&self, figure: Figure) -> Vec<f64> {
        let pairs = self.looks.iter().zip(self.looks.iter().skip(1));
        let rate = |(one, next): (&Sample, &Sample)| {
            let time = next.at.duration_since(one.at).as_secs_f64().max(1e-3);
            let (from, to) = (one.figures[figure as usize], next.figures[figure as usize]);
            (to.saturating_sub(from) as f64 / time * 10.0).round() / 10.0
        };
        pairs.map(rate).collect()
    }

    /// Which part of its core each shard has used over the last ten seconds; none where it is not known.
    pub(super) fn utilization(&self) -> Vec<Option<f64>> {
        let shards = 0..self.threads.len();
        let nothing = || shards.clone().map(|_| None).collect();
        let Some(last) = self.looks.back() else {
            return nothing();
        };
        let within = |look: &&Sample| last.at.duration_since(look.at) <= 5 * EVERY;
        let Some(first) = self.looks.iter().find(within) else {
            return nothing();
        };
        let time = last.at.duration_since(first.at).as_secs_f64();
        let part = |shard: usize| {
            let (from, to) = ((*first.cpu.get(shard)?)?, (*last.cpu.get(shard)?)?);
            let used = to.saturating_sub(from).as_secs_f64();
            (time > 0.0).then(|| (used / time).min(1.0))
        };
        shards.clone().map(part).collect()
    }

    /// The latencies of the last minute, up to now.
    pub(super) fn latencies(&self) -> Vec<Latency> {
        let now = self.latency_look();
        let first = self.latencies.front().unwrap_or(&now);
        let over = now.at.duration_since(first.at);
        let of = |(index, name): (usize, &'static str)| {
            self.latency(name, &first.below[index], &now.below[index], over)
        };
        LATENCIES.into_iter().enumerate().map(of).collect()
    }

    fn latency(&self, name: &'static str, from: &[u64], to: &[u64], over: Duration) -> Latency {
        let below = from
            .iter()
            .zip(to)
            .map(|(from, to)| to.saturating_sub(*from));
        let below: Vec<u64> = below.collect();
        let count = below.last().copied().unwrap_or(0);
        let ms = |ns: f64| ns / 1e6;
        let mut buckets = Vec::new();
        let mut before = 0;
        for (bound, below) in self.bounds_ns.iter().zip(&below) {
            if *below > before {
                buckets.push((ms(*bound), below - before));
            }
            before = before.max(*below);
        }
        let quantile = |part: f64| {
            let wanted = (count as f64 * part).ceil().max(1.0) as u64;
            let at = below.iter().position(|below| *below >= wanted)?;
            // Beyond the last bound there is none to tell.
            self.bounds_ns.get(at).map(|bound| ms(*bound))
        };
        Latency {
            name,
            total: to.last().copied().unwrap_or(0),
            count,
            over,
            quantiles: QUANTILES.iter().map(|part| quantile(*part)).collect(),
            buckets,
        }
    }
}

/// Processor time of a thread.
fn cpu_time(path: &str) -> CpuTime {
    let text = std::fs::read_to_string(path).ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// Where the kernel tells the processor time of the calling thread.
pub(super) fn own_cpu_path() -> Option<String> {
    let link = std::fs::read_link("/proc/thread-self").ok()?;
    let path = format!("/proc/{}/schedstat", link.to_str()?);
    cpu_time(&path).map(|_| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> (History, Arc<ShardMetrics>) {
        let cells = ShardMetrics::new();
        let control = Arc::new(ControlMetrics::default());
        let registry = Registry::new(
            vec![cells.clone()],
            control.clone(),
            crate::metrics::Prices {
                put_per_1000: 0.0,
                get_per_1000: 0.0,
                storage_gb_month: 0.0,
            },
            Duration::from_secs(60),
            Instant::now(),
        );
        let threads = vec![own_cpu_path()];
        let history = History::new(Arc::new(registry), vec![cells.clone()], control, threads);
        (history, cells)
    }

    #[test]
    fn rates_are_over_the_time_between_looks_and_unknown_after_one() {
        let (mut history, cells) = history();
        assert_eq!(history.rate(Figure::BytesIn, Duration::from_secs(60)), None);
        assert_eq!(history.utilization(), [None]);
        cells.produce_bytes.add(1_000_000);
        std::thread::sleep(Duration::from_millis(20));
        history.take();
        let rate = history
            .rate(Figure::BytesIn, Duration::from_secs(60))
            .unwrap();
        assert!(rate > 1_000.0 && rate <= 50_000_000.0, "{rate}");
        assert_eq!(history.times().len(), 1);
        assert_eq!(history.series(Figure::BytesIn).len(), 1);
        assert_eq!(history.series(Figure::Puts), [0.0]);
        for _ in 0..2 * LOOKS_MAX {
            history.take();
        }
        assert_eq!(history.times().len(), LOOKS_MAX - 1);
    }

    #[test]
    fn a_thread_that_works_is_seen_to() {
        let (mut history, _) = history();
        let until = Instant::now() + Duration::from_millis(60);
        let mut sum = 0_u64;
        while Instant::now() < until {
            sum = std::hint::black_box(sum + 1);
        }
        history.take();
        let used = history.utilization()[0].expect("Linux tells it");
        assert!(used > 0.05, "{used}");
    }

    #[test]
    fn latencies_are_those_since_the_first_look_that_is_kept() {
        let (mut history, cells) = history();
        for _ in 0..99 {
            cells
                .fetch_hit_latency
                .record_time(Duration::from_micros(50));
        }
        cells
            .fetch_hit_latency
            .record_time(Duration::from_millis(40));
        let found = history.latencies();
        let hit = found.iter().find(|it| it.name == "fetch_hit").unwrap();
        assert_eq!((hit.count, hit.total, hit.buckets.len()), (100, 100, 2));
        let [p50, .., p999] = hit.quantiles.as_slice() else {
            panic!("four quantiles");
        };
        assert!((0.05..0.056).contains(&p50.unwrap()), "{p50:?}");
        assert!((40.0..44.0).contains(&p999.unwrap()), "{p999:?}");
        let miss = found.iter().find(|it| it.name == "fetch_miss").unwrap();
        assert_eq!((miss.count, miss.quantiles[0]), (0, None));
        for _ in 0..LATENCY_LOOKS_MAX as u64 * LATENCIES_EVERY {
            history.take();
        }
        let hit = &history.latencies()[1];
        assert_eq!((hit.count, hit.total), (0, 100), "the minute is over");
    }
}
