//! Times `wire::decode_request`: parsing of a frame, which must not depend on its records.
//!
//! Near: nothing of the memory is touched but the request's own fields, which are in the first-level cache: a
//! few instructions a field, and one allocation for each list. 16 KiB and 256 KiB of records cost the same.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use benches::batch;
use benches::requests::{fetch_frame, produce_frame};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wire::decode_request;
use wire::messages::{FetchRequest, ProduceRequest};

fn produce(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire_decode/produce");
    for (partitions, batch_bytes) in [(1, 1 << 10), (1, 256 << 10), (100, 1 << 10)] {
        let frame = produce_frame(partitions, &batch(batch_bytes, None));
        let name = format!("{partitions}p x {batch_bytes}");
        group.bench_with_input(BenchmarkId::from_parameter(name), &frame, |b, frame| {
            b.iter(|| {
                let request = decode_request::<ProduceRequest<'_>>(black_box(frame));
                request.expect("a sound request").1.topic_data.len()
            });
        });
    }
    group.finish();
}

fn fetch(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire_decode/fetch");
    for partitions in [1, 100] {
        let frame = fetch_frame(partitions);
        let name = format!("{partitions}p");
        group.bench_with_input(BenchmarkId::from_parameter(name), &frame, |b, frame| {
            b.iter(|| {
                let request = decode_request::<FetchRequest<'_>>(black_box(frame));
                request.expect("a sound request").1.topics.len()
            });
        });
    }
    group.finish();
}

criterion_group!(all, produce, fetch);
criterion_main!(all);
