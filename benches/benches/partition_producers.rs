//! Times `broker::partition::producers`: the check of a new batch and of a retry.
//!
//! Near: one SipHash of a producer id and one or two cache misses, the entry and its last five batches; of
//! 1,000 producers all is in the second-level cache.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use benches::partition::{PRODUCER_STRIDE, PRODUCERS, producer_batch, producers};
use broker::partition::producers::Verdict;
use criterion::{Criterion, criterion_group, criterion_main};
use segment::TimestampMs;

fn check(c: &mut Criterion) {
    let producers = producers();
    let mut producer = 0;
    for (name, sequence) in [("new", 5), ("retry", 2)] {
        c.bench_function(&format!("partition_producers/check_{name}"), |b| {
            b.iter(|| {
                producer = (producer + PRODUCER_STRIDE) % PRODUCERS;
                let verdict = producers.check(black_box(&producer_batch(producer, sequence)));
                assert!((verdict == Ok(Verdict::Append)) == (sequence == 5));
                verdict
            });
        });
    }
}

fn record(c: &mut Criterion) {
    let mut producers = producers();
    let mut sequence = 5;
    c.bench_function("partition_producers/record", |b| {
        b.iter(|| {
            let batch = black_box(producer_batch(7, sequence));
            producers.record(batch, TimestampMs::new(1_000));
            sequence = (sequence + 1) & i32::MAX;
        });
    });
}

criterion_group!(all, check, record);
criterion_main!(all);
