//! Times `segment::wal`: the hash of a section, and the building of an object from hashed sections.
//!
//! Near: the hash (CRC-32 by PCLMULQDQ, 64 bytes a step) is bound by memory bandwidth once the batches are not
//! in a cache, some 10 to 20 GB/s a core. Building touches 88 bytes a section and none of the records; the
//! combination of sums is a few hundred nanoseconds a section, whatever its length.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use benches::{batch, wal};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn hash(c: &mut Criterion) {
    let mut group = c.benchmark_group("segment_wal/hash");
    for size in [1 << 10, 16 << 10, 1 << 20] {
        let bytes = batch(size, None);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &bytes, |b, bytes| {
            b.iter(|| crc32fast::hash(black_box(bytes)));
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("segment_wal/encode");
    let bytes = batch(1 << 10, Some(0));
    for count in [1, 100, 1_000] {
        let sections: Vec<_> = (0..count)
            .map(|index| wal::section(index, 2, &bytes))
            .collect();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(
            BenchmarkId::from_parameter(format!("{count} sections")),
            |b| {
                b.iter_batched(
                    || sections.clone(),
                    |sections| segment::wal::encode(wal::header(), sections),
                    BatchSize::LargeInput,
                );
            },
        );
    }
    group.finish();
}

criterion_group!(all, hash, encode);
criterion_main!(all);
