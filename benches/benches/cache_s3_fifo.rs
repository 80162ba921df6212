//! Times `cache::s3_fifo`: hits, misses, and inserts into a full cache.
//!
//! Near: one cache miss for the entry's place in the map and one for the entry; 4,096 entries fit the
//! second-level cache, so that some 30 ns are instructions (a SipHash of the key is half of them).

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use benches::cache_entries::{CHUNK_BYTES, ENTRIES, STRIDE, full};
use criterion::{Criterion, criterion_group, criterion_main};

fn get(c: &mut Criterion) {
    let mut cache = full();
    let mut number = 0;
    for (name, object) in [("hit", 1), ("miss", 2)] {
        c.bench_function(&format!("cache_s3_fifo/get_{name}"), |b| {
            b.iter(|| {
                number = (number + STRIDE) % ENTRIES;
                cache.get(black_box(&(object, number))).copied()
            });
        });
    }
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
