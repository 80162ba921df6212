//! Times `wire::messages::produce`: decoding of a request, which must not depend on its records.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use benches::{batch, produce_frame};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wire::decode_request;
use wire::messages::produce::ProduceRequest;

/// Version with names, flexible.
const VERSION: i16 = 12;

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire_produce/decode");
    for (partitions, batch_bytes) in [(1, 1 << 10), (1, 256 << 10), (100, 1 << 10)] {
        let frame = produce_frame(VERSION, partitions, &batch(batch_bytes, None));
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

criterion_group!(all, decode);
criterion_main!(all);
