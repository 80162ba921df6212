//! The cells that a shard counts in.
//!
//! Each cell has one writer, the thread that owns it, and any number of readers. That is why
//! adding is a load and a store and not an atomic read-modify-write: a few nanoseconds less on
//! every request, and nothing that another core waits for. Readers see each cell whole, and cells
//! at slightly different moments.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// *One writer, any reader.* A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one. Called by the owner only.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`. Called by the owner only.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// *One writer, any reader.* A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets the number. Called by the owner only.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Sets the number to a count. Called by the owner only.
    #[inline]
    pub fn set_count(&self, count: usize) {
        self.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets the number to so many bytes. Called by the owner only.
    #[inline]
    pub fn set_bytes(&self, bytes: u64) {
        self.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Adds `change`, which may be negative. Called by the owner only.
    #[inline]
    pub fn add(&self, change: i64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(change), Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// *One writer, any reader.* A fraction or a mean.
#[derive(Debug, Default)]
pub struct FloatGauge(AtomicU64);

impl FloatGauge {
    /// Sets the number. Called by the owner only.
    #[inline]
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// Values below `2 x SUB` have a bucket each; above, every power of two is cut into `SUB`.
const SUB_BITS: u32 = 6;
/// Buckets a power of two: a bucket is at most 1/64 = 1.6 % wide.
const SUB: usize = 1 << SUB_BITS;
/// Values from `2^VALUE_BITS` up are counted in the last bucket: 18 minutes in nanoseconds.
const VALUE_BITS: u32 = 40;
const BUCKETS: usize = ((VALUE_BITS - SUB_BITS) as usize + 1) << SUB_BITS;

const _: () = assert!(bucket_of(u64::MAX) == BUCKETS - 1);
const _: () = assert!(bucket_of((1 << VALUE_BITS) - 1) == BUCKETS - 1);

/// *One writer, any reader.* A histogram with the bucket layout of HDR: logarithmic, with linear
/// steps inside a power of two. Recording is one shift, one add, two stores; nothing is allocated
/// after it was made, so a reader needs neither a message nor a swap of buffers.
#[derive(Debug)]
pub struct Histogram {
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self {
            counts,
            sum: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts a value. Called by the owner only.
    #[inline]
    pub fn record(&self, value: u64) {
        if let Some(cell) = self.counts.get(bucket_of(value)) {
            cell.store(cell.load(Relaxed).wrapping_add(1), Relaxed);
        }
        self.sum
            .store(self.sum.load(Relaxed).wrapping_add(value), Relaxed);
    }

    /// Counts a duration, in nanoseconds. Called by the owner only.
    #[inline]
    pub fn record_time(&self, time: Duration) {
        self.record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds what was counted to `into`.
    pub fn read(&self, into: &mut Distribution) {
        for (total, cell) in into.counts.iter_mut().zip(&self.counts) {
            *total += cell.load(Relaxed);
        }
        into.sum = into.sum.wrapping_add(self.sum.load(Relaxed));
    }
}

/// What histograms of one kind counted, together.
#[derive(Debug, Clone)]
pub struct Distribution {
    counts: Vec<u64>,
    sum: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            sum: 0,
        }
    }
}

impl Distribution {
    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// For each of the ascending `bounds`, how many values are certainly not above it: a value
    /// that shares its bucket with the bound counts as above.
    pub fn cumulative(&self, bounds: &[f64]) -> Vec<u64> {
        let (mut below, mut bucket) = (0, 0);
        let mut totals = Vec::with_capacity(bounds.len());
        for bound in bounds {
            while bucket < BUCKETS && highest_of(bucket) as f64 <= *bound {
                below += self.counts[bucket];
                bucket += 1;
            }
            totals.push(below);
        }
        totals
    }

    /// The highest value of the bucket that holds the fraction `part` of all values; 0 if there
    /// are none.
    pub fn quantile(&self, part: f64) -> u64 {
        let wanted = ((self.count() as f64 * part.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                return highest_of(bucket);
            }
        }
        0
    }
}

/// Bucket of a value.
const fn bucket_of(value: u64) -> usize {
    if value >> VALUE_BITS != 0 {
        return BUCKETS - 1;
    }
    // Setting a low bit keeps the shift at 0 for small values without another branch.
    let shift = 63 - (value | (SUB as u64)).leading_zeros() - SUB_BITS;
    ((shift as usize) << SUB_BITS) + (value >> shift) as usize
}

/// Highest value of a bucket.
const fn highest_of(bucket: usize) -> u64 {
    if bucket < 2 * SUB {
        return bucket as u64;
    }
    let shift = (bucket >> SUB_BITS) - 1;
    let steps = (bucket - (shift << SUB_BITS)) as u64;
    ((steps + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_every_value_in_order_and_are_narrow() {
        let mut lowest = 0;
        for bucket in 0..BUCKETS {
            let highest = highest_of(bucket);
            assert_eq!(bucket_of(lowest), bucket);
            assert_eq!(bucket_of(highest), bucket);
            assert!(
                (highest - lowest) as f64 <= lowest as f64 / SUB as f64,
                "{lowest}..{highest}"
            );
            lowest = highest + 1;
        }
        assert_eq!(lowest, 1 << VALUE_BITS);
    }

    #[test]
    fn quantiles_agree_with_the_hdr_library() {
        let ours = Histogram::default();
        let mut theirs = hdrhistogram::Histogram::<u64>::new(3).unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..100_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = 1 + (state >> (24 + state % 32));
            ours.record(value);
            theirs.record(value).unwrap();
        }
        let mut read = Distribution::default();
        ours.read(&mut read);
        assert_eq!(read.count(), theirs.len());
        for part in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (ours, theirs) = (
                read.quantile(part) as f64,
                theirs.value_at_quantile(part) as f64,
            );
            assert!(
                (ours - theirs).abs() <= theirs * 0.02 + 1.0,
                "{part}: {ours} {theirs}"
            );
        }
    }

    #[test]
    fn cumulative_counts_are_sums_over_cells() {
        let (left, right) = (Histogram::default(), Histogram::default());
        left.record(10);
        right.record(10);
        right.record_time(Duration::from_micros(50));
        right.record(u64::MAX >> 1);
        let mut read = Distribution::default();
        left.read(&mut read);
        right.read(&mut read);
        assert_eq!(read.cumulative(&[9.0, 10.0, 60_000.0, 1e12]), [0, 2, 3, 3]);
        assert_eq!(
            (read.count(), Distribution::default().quantile(0.5)),
            (4, 0)
        );
    }

    #[test]
    fn counters_and_gauges_hold_what_was_put() {
        let (counter, gauge, float) = (Counter::default(), Gauge::default(), FloatGauge::default());
        counter.increment();
        counter.add(4);
        gauge.set_count(7);
        gauge.add(-9);
        float.set(0.25);
        assert_eq!((counter.get(), gauge.get(), float.get()), (5, -2, 0.25));
    }
}
