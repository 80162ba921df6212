//! Times `wire::FetchResponseWriter`: a response to a fetch that hits, records passed on by slice.
//!
//! Near: some 45 bytes a partition in the first-level cache, and one atomic increment a slice (about 5 ns, a
//! cache miss of 50 to 100 ns where another core took the slice last). The records are not touched.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use benches::batch;
use benches::requests::fetch_response;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire_fetch_writer/respond");
    let bytes = batch(16 << 10, None);
    for (partitions, slices) in [(1, 1), (1, 16), (100, 1)] {
        let slices = vec![bytes.clone(); slices];
        let name = format!("{partitions}p x {} slices", slices.len());
        group.bench_with_input(BenchmarkId::from_parameter(name), &slices, |b, slices| {
            b.iter(|| fetch_response(partitions, black_box(slices)).len);
        });
    }
    group.finish();
}

criterion_group!(all, encode);
criterion_main!(all);
