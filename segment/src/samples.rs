//! Batches for the tests of this crate.

use bytes::Bytes;
use proptest::prelude::*;

use crate::batch::Codec;
use crate::ids::{
    LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TimestampMs, TopicId,
    TopicPartition,
};
use crate::record::{NewRecord, RecordBatchBuilder};

pub(crate) const EPOCH: LeaderEpoch = LeaderEpoch::new(3);

pub(crate) fn partition(number: u8) -> TopicPartition {
    TopicPartition::new(
        TopicId::new([number; 16]),
        PartitionIndex::new(i32::from(number)),
    )
}

/// A batch of `count` records at `base`, with keys and headers of varied shape.
pub(crate) fn batch(base: i64, count: u32, codec: Codec) -> Bytes {
    filled(RecordBatchBuilder::new().codec(codec), base, count)
}

/// A batch of an idempotent producer.
pub(crate) fn produced(base: i64, count: u32, id: i64, sequence: i32) -> Bytes {
    let id = ProducerId::new(id);
    let sequence = Sequence::new(sequence);
    filled(
        RecordBatchBuilder::new().producer(id, ProducerEpoch::ZERO, sequence),
        base,
        count,
    )
}

pub(crate) fn filled(builder: RecordBatchBuilder, base: i64, count: u32) -> Bytes {
    let mut builder = builder.base_offset(Offset::new(base)).leader_epoch(EPOCH);
    for number in 0..count {
        let key = format!("key-{number}");
        let value = vec![b'v'; (number % 7) as usize];
        let headers: [(&str, Option<&[u8]>); 2] = [("trace", Some(b"abc")), ("null", None)];
        builder
            .push(NewRecord {
                timestamp: TimestampMs::new(1_700_000_000_000 + base + i64::from(number)),
                key: number.is_multiple_of(3).then_some(key.as_bytes()),
                value: (number % 5 != 4).then_some(value.as_slice()),
                headers: if number % 4 == 1 { &headers } else { &[] },
            })
            .unwrap();
    }
    builder.build().unwrap()
}

/// Batches of the given sizes, one after the other from `base`.
pub(crate) fn run(base: i64, counts: &[u32]) -> Vec<Bytes> {
    let mut next = base;
    counts
        .iter()
        .map(|&count| {
            let bytes = batch(next, count, Codec::None);
            next += i64::from(count);
            bytes
        })
        .collect()
}

pub(crate) fn any_codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

/// Every copy of `bytes` with one bit of `range` flipped.
pub(crate) fn flips(
    bytes: &[u8],
    range: std::ops::Range<usize>,
) -> impl Iterator<Item = (usize, Vec<u8>)> {
    let bytes = bytes.to_vec();
    range.flat_map(move |at| {
        let bytes = bytes.clone();
        (0..8).map(move |bit| {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            (at, flipped)
        })
    })
}
