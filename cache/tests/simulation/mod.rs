//! Trace-driven comparison of cache policies: the one of production, LRU, and a bound that knows
//! the future. Sizes are those of production: 4 MiB a chunk, less at the end of a segment, and
//! little for the sections of a log that is not compacted yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cache::s3_fifo::Cache;

const MIB: u64 = 1 << 20;
/// Bytes of a span of a segment.
const SPAN_BYTES: u64 = 4 * MIB;
/// The budget of all comparisons: 128 chunks.
pub(crate) const BUDGET_BYTES: u64 = 128 * SPAN_BYTES;
/// Chunks that fill the budget, about.
const CHUNKS: u64 = BUDGET_BYTES / SPAN_BYTES;
/// What is read before anything is counted.
const WARM_UP: usize = 2_000;

/// A chunk of a log: which log, and which chunk of it.
pub(crate) type Key = (u64, u64);

/// The size of a chunk: every 17th is the end of a segment, logs above 1,000 are not compacted.
pub(crate) fn bytes(key: Key) -> u64 {
    match key {
        (1_000.., chunk) => 65_536 + mix(chunk) % MIB,
        (_, chunk) if chunk % 17 == 16 => MIB + mix(chunk) % (3 * MIB),
        _ => SPAN_BYTES,
    }
}

/// A sequence of reads.
pub(crate) struct Trace {
    /// What it is like.
    pub(crate) name: &'static str,
    /// Whether scans are mixed with reads that come again.
    pub(crate) mixed_with_scans: bool,
    /// The reads: one for each pass of a reader through a chunk.
    pub(crate) reads: Vec<Key>,
}

/// Share of reads that find their chunk, by count, 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratios {
    /// The policy of production.
    pub(crate) ours: f64,
    /// Least recently used.
    pub(crate) lru: f64,
    /// The entry that is needed last goes first: the optimum where all sizes are equal.
    pub(crate) bound: f64,
}

/// Runs all three over a trace.
pub(crate) fn compare(trace: &Trace) -> Ratios {
    Ratios {
        ours: ours(&trace.reads),
        lru: lru(&trace.reads),
        bound: belady(&trace.reads),
    }
}

/// The traces that are compared.
pub(crate) fn traces() -> Vec<Trace> {
    let mut random = Random(7);
    let trace = |name, mixed_with_scans, reads| Trace {
        name,
        mixed_with_scans,
        reads,
    };
    vec![
        trace(
            "zipf 0.8 over 16 x the cache",
            false,
            zipf(&mut random, 0.8, 16),
        ),
        trace(
            "zipf 1.0 over 16 x the cache",
            false,
            zipf(&mut random, 1.0, 16),
        ),
        trace("three scans, nothing read twice", false, scans()),
        trace(
            "zipf 1.0 and scans, one to one",
            true,
            zipf_and_scans(&mut random),
        ),
        trace(
            "new logs, scans and zipf",
            true,
            tail_scans_zipf(&mut random),
        ),
        trace("a loop of 1.1 x the cache", false, a_loop()),
        trace(
            "a reader 0.05 x the cache behind another",
            false,
            followers(CHUNKS / 20),
        ),
        trace(
            "a reader 0.5 x the cache behind another",
            false,
            followers(CHUNKS / 2),
        ),
        trace(
            "the same, and two scans",
            true,
            followers_and_scans(CHUNKS / 2),
        ),
        trace("a hot set that changes", false, moving_hot_set(&mut random)),
    ]
}

fn zipf(random: &mut Random, skew: f64, times: u64) -> Vec<Key> {
    let zipf = Zipf::new(CHUNKS * times, skew);
    (0..40_000).map(|_| (0, zipf.draw(random))).collect()
}

fn scans() -> Vec<Key> {
    (0..30_000).map(|n| (n % 3, n / 3)).collect()
}

fn zipf_and_scans(random: &mut Random) -> Vec<Key> {
    let zipf = Zipf::new(CHUNKS * 4, 1.0);
    let read = |n: u64| match n % 2 {
        0 => (0, zipf.draw(random)),
        _ => (1 + n % 3, n / 2),
    };
    (0..40_000).map(read).collect()
}

/// Chunks just written are read by a few groups at little distance; three readers catch up; the rest
/// is read again and again.
fn tail_scans_zipf(random: &mut Random) -> Vec<Key> {
    let zipf = Zipf::new(CHUNKS * 2, 1.0);
    let mut reads = Vec::new();
    for n in 0..8_000_u64 {
        let behind = random.below(4);
        reads.extend([(1_000, n), (1_000, n.saturating_sub(behind))]);
        reads.extend((1..4).map(|log| (log, n)));
        reads.extend([(0, zipf.draw(random)), (0, zipf.draw(random))]);
    }
    reads
}

fn a_loop() -> Vec<Key> {
    (0..40_000).map(|n| (0, n % (CHUNKS * 11 / 10))).collect()
}

fn followers(behind: u64) -> Vec<Key> {
    let both = |n: u64| [(0, n + behind), (0, n)];
    (0..20_000).flat_map(both).collect()
}

fn followers_and_scans(behind: u64) -> Vec<Key> {
    let all = |n: u64| [(0, n + behind / 2), (1, n), (2, n), (0, n)];
    (0..10_000).flat_map(all).collect()
}

fn moving_hot_set(random: &mut Random) -> Vec<Key> {
    let zipf = Zipf::new(CHUNKS * 2, 1.0);
    let read = |n: u64| (n / 10_000, zipf.draw(random));
    (0..40_000).map(read).collect()
}

fn ours(reads: &[Key]) -> f64 {
    let mut cache = Cache::new(BUDGET_BYTES, 1 << 20);
    share(reads, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, (), bytes(key));
        }
        assert!(cache.used_bytes() <= BUDGET_BYTES);
        hit
    })
}

fn lru(reads: &[Key]) -> f64 {
    let mut used_at: HashMap<Key, u64> = HashMap::new();
    let mut order: BTreeMap<u64, Key> = BTreeMap::new();
    let (mut used, mut now) = (0, 0);
    share(reads, |key| {
        now += 1;
        let before = used_at.insert(key, now);
        match before {
            Some(before) => drop(order.remove(&before)),
            None => used += bytes(key),
        }
        order.insert(now, key);
        while used > BUDGET_BYTES {
            let (_, oldest) = order.pop_first().expect("what is used is held");
            used_at.remove(&oldest);
            used -= bytes(oldest);
        }
        before.is_some()
    })
}

fn belady(reads: &[Key]) -> f64 {
    let mut next_of = vec![u64::MAX; reads.len()];
    let mut seen: HashMap<Key, u64> = HashMap::new();
    for (at, key) in reads.iter().enumerate().rev() {
        next_of[at] = seen.insert(*key, at as u64).unwrap_or(u64::MAX);
    }
    let mut held: HashMap<Key, u64> = HashMap::new();
    let mut by_next: BTreeSet<(u64, Key)> = BTreeSet::new();
    let (mut used, mut at) = (0, 0);
    share(reads, |key| {
        let next = next_of[at];
        at += 1;
        let hit = held.remove(&key);
        match hit {
            Some(next) => drop(by_next.remove(&(next, key))),
            None => used += bytes(key),
        }
        held.insert(key, next);
        by_next.insert((next, key));
        while used > BUDGET_BYTES {
            let (_, last) = by_next.pop_last().expect("what is used is held");
            held.remove(&last);
            used -= bytes(last);
        }
        hit.is_some()
    })
}

fn share(reads: &[Key], mut read: impl FnMut(Key) -> bool) -> f64 {
    let hits: Vec<bool> = reads.iter().map(|key| read(*key)).collect();
    let counted = &hits[WARM_UP..];
    counted.iter().filter(|hit| **hit).count() as f64 / counted.len() as f64
}

/// Numbers drawn with a probability that falls with their rank; ranks are dealt at random.
struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    fn new(count: u64, skew: f64) -> Self {
        let mut sum = 0.0;
        let add = |rank: u64| {
            sum += (rank as f64).powf(-skew);
            sum
        };
        Self {
            sums: (1..=count).map(add).collect(),
        }
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let point = random.fraction() * self.sums[self.sums.len() - 1];
        self.sums.partition_point(|sum| *sum < point) as u64
    }
}

/// Reproducible random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
