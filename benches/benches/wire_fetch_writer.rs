//! Times `wire::FetchResponseWriter`: a response to a fetch that hits, records passed on by slice.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use benches::batch;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wire::messages::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use wire::{FetchResponseWriter, Frame, Records, Uuid};

/// Version with topic ids.
const VERSION: i16 = 17;

fn respond(partitions: usize, slices: &[Bytes]) -> Frame {
    let head = FetchResponse {
        session_id: 1,
        ..Default::default()
    };
    let topic = FetchableTopicResponse {
        topic_id: Uuid::from_u128(7),
        ..Default::default()
    };
    let mut writer = FetchResponseWriter::new(1, VERSION, &head, 1).expect("a known version");
    writer.topic(&topic, partitions).expect("one topic");
    for index in 0..partitions {
        let data = PartitionData {
            partition_index: index as i32,
            high_watermark: 1_000,
            last_stable_offset: 1_000,
            log_start_offset: 0,
            records: Records::Slices(slices),
            ..Default::default()
        };
        writer
            .partition(&data)
            .expect("as many partitions as announced");
    }
    writer.finish(&[]).expect("a complete response")
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire_fetch_writer/respond");
    let bytes = batch(16 << 10, None);
    for (partitions, slices) in [(1, 1), (1, 16), (100, 1)] {
        let slices = vec![bytes.clone(); slices];
        let name = format!("{partitions}p x {} slices", slices.len());
        group.bench_with_input(BenchmarkId::from_parameter(name), &slices, |b, slices| {
            b.iter(|| respond(partitions, black_box(slices)).len);
        });
    }
    group.finish();
}

criterion_group!(all, encode);
criterion_main!(all);
