//! Micro-benchmarks of KafScale, each named after the module that it times, and the gate that
//! compares instruction counts with a baseline ([`gate`]; `docs/performance.md`).
//!
//! `cargo bench -p benches` runs all; `cargo bench -p benches --no-default-features` those that do
//! not need the broker, which takes minutes to build. The files under `benches/` are the programs;
//! here is what they share with the gate: batches, requests and filled state of a given size.

#![forbid(unsafe_code)]

pub mod cache_entries;
#[cfg(feature = "broker")]
pub mod gate;
pub mod group;
#[cfg(feature = "broker")]
pub mod partition;
pub mod requests;
pub mod wal;

use bytes::Bytes;
use segment::batch::BATCH_HEADER_BYTES;
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::{ProducerEpoch, ProducerId, Sequence, TimestampMs};

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
