//! Times `broker::partition::view`: what a fetch that hits does, from the snapshot to the slices.
//!
//! `locate` is the lookup in the tail alone: near some four to six cache misses (chunk list, chunk, run, batches),
//! 200 to 400 ns when the tail is cold, and a few binary searches when it is not. `read_hit` adds one atomic
//! increment a slice. `available` is what a long poll asks.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use benches::partition::{OFFSET_STRIDE, filled};
use broker::partition::TailRead;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use segment::Offset;

fn read(c: &mut Criterion) {
    let (_log, handle, records) = filled();
    let mut group = c.benchmark_group("partition_view/read_hit");
    for budget in [16_u64 << 10, 256 << 10] {
        let mut offset = 0;
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(budget), |b| {
            b.iter(|| {
                offset = (offset + OFFSET_STRIDE) % records;
                out.clear();
                let offset = black_box(Offset::new(offset as i64));
                let read = handle.with_snapshot(|snapshot| {
                    let snapshot = snapshot.expect("published");
                    snapshot.read(offset, budget, true, &mut out)
                });
                assert!(read != TailRead::Cold);
                out.len()
            });
        });
    }
    group.finish();
}

fn locate(c: &mut Criterion) {
    let (_log, handle, records) = filled();
    let snapshot = handle.snapshot().expect("published");
    let mut offset = 0;
    c.bench_function("partition_view/locate", |b| {
        b.iter(|| {
            offset = (offset + OFFSET_STRIDE) % records;
            snapshot
                .tail
                .run_with(black_box(Offset::new(offset as i64)))
        });
    });
    c.bench_function("partition_view/available", |b| {
        b.iter(|| {
            offset = (offset + OFFSET_STRIDE) % records;
            snapshot.available(black_box(Offset::new(offset as i64)), 64 << 10)
        });
    });
}

criterion_group!(all, read, locate);
criterion_main!(all);
