//! Times `broker::partition::producers`: the check of a new batch and of a retry.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use broker::partition::producers::{ProducerBatch, Producers, Verdict};
use criterion::{Criterion, criterion_group, criterion_main};
use segment::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Producers of the partition.
const PRODUCERS: i64 = 1_000;
/// Producers are taken in a stride that is prime to their number.
const STRIDE: i64 = 619;

fn batch(producer: i64, sequence: i32) -> ProducerBatch {
    ProducerBatch {
        producer_id: ProducerId::new(producer),
        epoch: ProducerEpoch::ZERO,
        base_sequence: Sequence::new(sequence),
        count: 1,
        base_offset: Offset::new(producer * 5 + i64::from(sequence)),
        max_timestamp: TimestampMs::new(1_000),
    }
}

fn filled() -> Producers {
    let mut producers = Producers::default();
    for producer in 0..PRODUCERS {
        for sequence in 0..5 {
            producers.record(batch(producer, sequence), TimestampMs::new(1_000));
        }
    }
    producers
}

fn check(c: &mut Criterion) {
    let producers = filled();
    let mut producer = 0;
    for (name, sequence) in [("new", 5), ("retry", 2)] {
        c.bench_function(&format!("partition_producers/check_{name}"), |b| {
            b.iter(|| {
                producer = (producer + STRIDE) % PRODUCERS;
                let verdict = producers.check(black_box(&batch(producer, sequence)));
                assert!((verdict == Ok(Verdict::Append)) == (sequence == 5));
                verdict
            });
        });
    }
}

fn record(c: &mut Criterion) {
    let mut producers = filled();
    let mut sequence = 5;
    c.bench_function("partition_producers/record", |b| {
        b.iter(|| {
            producers.record(black_box(batch(7, sequence)), TimestampMs::new(1_000));
            sequence = (sequence + 1) & i32::MAX;
        });
    });
}

criterion_group!(all, check, record);
criterion_main!(all);
