//! Micro-benchmarks of KafScale, each named after the module that it times.
//!
//! `cargo bench -p benches` runs all; `cargo bench -p benches --no-default-features` those that do
//! not need the broker, which takes minutes to build. The files under `benches/` are the programs;
//! here is what they share: batches and requests of a given size.

#![forbid(unsafe_code)]

use bytes::Bytes;
use segment::batch::BATCH_HEADER_BYTES;
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::{ProducerEpoch, ProducerId, Sequence, TimestampMs};
use wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::{ApiKey, Records, RequestHeader};

/// Bytes of a record's value, where a batch has room for more than one.
pub const RECORD_BYTES: usize = 1024;
/// Bytes of a record besides its value, about.
const RECORD_OVERHEAD_BYTES: usize = 10;
/// Sizes of batches that are timed.
pub const BATCH_SIZES: [usize; 3] = [1 << 10, 16 << 10, 256 << 10];

/// A batch of about `batch_bytes`, idempotent if `sequence` is given.
///
/// # Panics
/// If it is too small for a record.
pub fn batch(batch_bytes: usize, sequence: Option<i32>) -> Bytes {
    let room = batch_bytes - BATCH_HEADER_BYTES - RECORD_OVERHEAD_BYTES;
    let size = RECORD_BYTES.min(room);
    let value: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
    let mut builder = RecordBatchBuilder::new();
    if let Some(sequence) = sequence {
        let (id, epoch) = (ProducerId::new(7), ProducerEpoch::ZERO);
        builder = builder.producer(id, epoch, Sequence::new(sequence));
    }
    for _ in 0..(room / (size + RECORD_OVERHEAD_BYTES)).max(1) {
        let record = NewRecord {
            timestamp: TimestampMs::new(1_700_000_000_000),
            key: None,
            value: Some(&value),
            headers: &[],
        };
        builder.push(record).expect("a record of a sound size");
    }
    builder.build().expect("a batch with a record")
}

/// A produce request without its length prefix: one batch for each of `partitions` partitions.
///
/// # Panics
/// Never: the request is sound.
pub fn produce_frame(version: i16, partitions: usize, batch: &Bytes) -> Bytes {
    let data = (0..partitions).map(|index| PartitionProduceData {
        index: index as i32,
        records: Records::Chunks(vec![batch.clone()]),
    });
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: "orders",
            partition_data: data.collect(),
            ..Default::default()
        }],
    };
    let header = RequestHeader {
        api_key: ApiKey::Produce.as_i16(),
        api_version: version,
        correlation_id: 1,
        client_id: Some("bench"),
    };
    wire::encode_request(&header, &request)
        .expect("a sound request")
        .body()
}
