//! Times `segment::batch`: validation of a produced batch (CRC-32C) and the patch in place.
//!
//! Near: CRC-32C by the SSE4.2 instruction takes 8 bytes a cycle on three interleaved streams (some 20 GB/s at
//! 2.6 GHz); beyond the caches memory bandwidth is the bound. `assign` patches 12 bytes: one cache line.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use benches::{BATCH_SIZES, batch};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use segment::batch::{BatchHeader, BatchLimits, assign};
use segment::{LeaderEpoch, Offset};

fn validate(c: &mut Criterion) {
    let mut group = c.benchmark_group("segment_batch/validate");
    for size in BATCH_SIZES {
        let bytes = batch(size, None);
        let limits = BatchLimits::default();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &bytes, |b, bytes| {
            b.iter(|| BatchHeader::validate(black_box(bytes), &limits).expect("a sound batch"));
        });
    }
    group.finish();
}

fn assign_in_place(c: &mut Criterion) {
    let mut bytes = batch(16 << 10, None).to_vec();
    c.bench_function("segment_batch/assign", |b| {
        b.iter(|| assign(black_box(&mut bytes), Offset::new(42), LeaderEpoch::new(3)));
    });
}

criterion_group!(all, validate, assign_in_place);
criterion_main!(all);
