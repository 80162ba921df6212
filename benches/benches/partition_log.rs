//! Times `broker::partition::log`: appends, then one seal and its acknowledgement.
//!
//! Near: an append patches 12 bytes of the batch and notes where it is: a cache miss for the batch's header
//! where another core received it. A seal hashes the section (memory bandwidth, see `segment_wal`) and copies
//! batches under 64 KiB once.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use benches::batch;
use benches::partition::{APPENDS, append_all, appends, open, seal_and_acknowledge};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("partition_log/append_64");
    for size in [1 << 10, 16 << 10] {
        let bytes = batch(size, None);
        group.throughput(Throughput::Elements(APPENDS as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_batched(
                || (open(), appends(APPENDS, &bytes)),
                |((mut log, handle), appends)| {
                    append_all(&mut log, appends);
                    (log, handle)
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("partition_log/seal_and_acknowledge_64");
    for size in [1 << 10, 16 << 10] {
        let bytes = batch(size, None);
        let filled = || {
            let (mut log, handle) = open();
            append_all(&mut log, appends(APPENDS, &bytes));
            (log, handle)
        };
        group.throughput(Throughput::Bytes((APPENDS * bytes.len()) as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_batched(
                filled,
                |(mut log, handle)| {
                    let section = seal_and_acknowledge(&mut log, 1);
                    (log, handle, section)
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(all, append, seal);
criterion_main!(all);
