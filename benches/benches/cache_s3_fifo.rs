//! Times `cache::s3_fifo`: hits, misses, and inserts into a full cache.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use cache::s3_fifo::Cache;
use criterion::{Criterion, criterion_group, criterion_main};

/// Chunks that the cache holds.
const ENTRIES: u64 = 4096;
/// Bytes of a chunk.
const CHUNK_BYTES: u64 = 1 << 20;
/// Keys are taken in a stride that is prime to their number, so that no two turns are neighbors.
const STRIDE: u64 = 1_597;

/// As the broker has it: object and number of the chunk.
type Key = (u64, u64);

fn full() -> Cache<Key, u64> {
    let mut cache = Cache::new(ENTRIES * CHUNK_BYTES, ENTRIES as usize * 2);
    (0..ENTRIES).for_each(|number| drop(cache.insert((1, number), number, CHUNK_BYTES)));
    cache
}

fn get(c: &mut Criterion) {
    let mut cache = full();
    let mut number = 0;
    c.bench_function("cache_s3_fifo/get_hit", |b| {
        b.iter(|| {
            number = (number + STRIDE) % ENTRIES;
            cache.get(black_box(&(1, number))).copied()
        });
    });
    c.bench_function("cache_s3_fifo/get_miss", |b| {
        b.iter(|| {
            number = (number + STRIDE) % ENTRIES;
            cache.get(black_box(&(2, number))).copied()
        });
    });
}

fn insert(c: &mut Criterion) {
    let mut cache = full();
    let mut number = 0;
    c.bench_function("cache_s3_fifo/insert_evicts", |b| {
        b.iter(|| {
            number += 1;
            cache
                .insert(black_box((3, number)), number, CHUNK_BYTES)
                .len()
        });
    });
}

criterion_group!(all, get, insert);
criterion_main!(all);
