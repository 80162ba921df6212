//! Log compaction of one batch: which of its records stay, and the batch that is left.
//!
//! The rules are those of Kafka's `Cleaner` (KIP-534 for tombstones):
//! - a record with a later one of the same key goes, and so does one without a key;
//! - a tombstone that is the last of its key stays for `delete.retention.ms` from the first time that
//!   it was found so: the batch states until when in the place of its base timestamp;
//! - offsets, producer, sequence and codec stay; control batches stay whole.

use std::str;

use bytes::Bytes;

use super::RecordError;
use super::builder::{BuildError, NewRecord, RecordBatchBuilder};
use super::codec::DecodeLimits;
use super::reader::{Record, RecordSet};
use crate::batch::{
    Attributes, BATCH_CRC_START, BATCH_HEADER_BYTES, BATCH_LENGTH_OVERHEAD, BatchHeader, Codec,
    TimestampType,
};
use crate::ids::{Offset, TimestampMs};

const CRC_AT: usize = 17;

const _: () = assert!(CRC_AT + 4 == BATCH_CRC_START);

/// Why a batch is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CleanError {
    /// Its records cannot be read.
    #[error(transparent)]
    Read(#[from] RecordError),
    /// What is left of it cannot be written.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A header's key is no text.
    #[error("a record header's key is not UTF-8")]
    HeaderKey,
}

/// What is left of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleaned {
    /// All of it, unchanged.
    Whole,
    /// Some of its records.
    Rewritten(Bytes),
    /// None of its records; [`empty_batch`] keeps its offsets where they are needed.
    Nothing,
}

/// When tombstones go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstones {
    /// Wall clock.
    pub now: TimestampMs,
    /// How long a tombstone stays once it is the last of its key (`delete.retention.ms`).
    pub retention_ms: i64,
}

/// Cleans one batch. `is_superseded` tells whether a record with that key and a higher offset exists.
///
/// # Errors
/// [`CleanError`]: the batch is to be kept as it is.
pub fn clean_batch(
    batch: &[u8],
    limits: &DecodeLimits,
    tombstones: Tombstones,
    mut is_superseded: impl FnMut(&[u8], Offset) -> bool,
) -> Result<Cleaned, CleanError> {
    let header = BatchHeader::parse_whole(batch).map_err(RecordError::from)?;
    if header.attributes.is_control() || header.record_count == 0 {
        return Ok(Cleaned::Whole);
    }
    let horizon = header
        .attributes
        .has_delete_horizon()
        .then_some(header.base_timestamp);
    let are_due = horizon.is_some_and(|horizon| tombstones.now >= horizon);
    let records = RecordSet::decode(batch, limits)?;
    let (mut kept, mut read, mut has_tombstone) = (Vec::new(), 0, false);
    for record in &records {
        let record = record?;
        read += 1;
        let Some(key) = record.key else { continue };
        let is_due = record.value.is_none() && are_due;
        if !is_due && !is_superseded(key, record.offset) {
            has_tombstone |= record.value.is_none();
            kept.push(record);
        }
    }
    assert!(
        read == header.record_count as usize,
        "each record is looked at"
    );
    let new_horizon = match horizon {
        None if has_tombstone => Some(TimestampMs::new(
            tombstones.now.get().saturating_add(tombstones.retention_ms),
        )),
        _ => None,
    };
    if kept.len() == read && new_horizon.is_none() {
        return Ok(Cleaned::Whole);
    }
    if kept.is_empty() {
        return Ok(Cleaned::Nothing);
    }
    rebuild(&header, &kept, horizon.or(new_horizon)).map(Cleaned::Rewritten)
}

fn rebuild(
    header: &BatchHeader,
    records: &[Record<'_>],
    horizon: Option<TimestampMs>,
) -> Result<Bytes, CleanError> {
    assert!(!records.is_empty(), "an empty batch is made otherwise");
    assert!(
        records.is_sorted_by(|a, b| a.offset < b.offset),
        "records keep their order"
    );
    let delta = i32::try_from(header.last_offset_delta).map_err(|_| BuildError::TooLarge)?;
    let codec = header.attributes.codec().unwrap_or(Codec::None);
    let mut builder = RecordBatchBuilder::new()
        .base_offset(header.base_offset)
        .leader_epoch(header.leader_epoch)
        .codec(codec)
        .producer(
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
        )
        .last_offset_delta(delta);
    if header.attributes.is_transactional() {
        builder = builder.transactional();
    }
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        builder = builder.log_append_time(header.max_timestamp);
    }
    if let Some(horizon) = horizon {
        builder = builder.delete_horizon(horizon);
    }
    for record in records {
        let mut headers = Vec::with_capacity(record.headers.len());
        for (key, value) in record.headers.clone() {
            headers.push((
                str::from_utf8(key).map_err(|_| CleanError::HeaderKey)?,
                value,
            ));
        }
        let delta = record.offset.get() - header.base_offset.get();
        let delta = i32::try_from(delta).map_err(|_| BuildError::TooLarge)?;
        let record = NewRecord {
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &headers,
        };
        builder.push_at(delta, record)?;
    }
    Ok(builder.build()?)
}

/// A batch without records in the place of one: it keeps offsets, epoch, producer and sequence.
pub fn empty_batch(header: &BatchHeader) -> Bytes {
    let attributes = Attributes::new(0)
        .with_codec(Codec::None)
        .with_timestamp_type(header.attributes.timestamp_type());
    let empty = BatchHeader {
        batch_length: (BATCH_HEADER_BYTES - BATCH_LENGTH_OVERHEAD) as u32,
        crc: 0,
        attributes: match header.attributes.is_transactional() {
            true => attributes.with_transactional(),
            false => attributes,
        },
        base_timestamp: header.max_timestamp,
        record_count: 0,
        ..*header
    };
    let mut out = empty.encode().to_vec();
    let crc = crc32c::crc32c(&out[BATCH_CRC_START..]);
    out[CRC_AT..BATCH_CRC_START].copy_from_slice(&crc.to_be_bytes());
    assert!(
        out.len() == empty.total_bytes(),
        "a batch without records is its header"
    );
    assert!(
        empty.next_offset() == header.next_offset(),
        "a batch keeps its offsets without its records"
    );
    out.into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::batch::Batches;
    use crate::ids::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};
    use proptest::prelude::*;

    const NOW: TimestampMs = TimestampMs::new(5_000_000);
    const KEPT: Tombstones = Tombstones {
        now: NOW,
        retention_ms: 1_000,
    };

    type Row = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

    fn batch(base: i64, codec: Codec, rows: &[(Option<&str>, Option<&str>)]) -> Bytes {
        let mut builder = RecordBatchBuilder::new()
            .base_offset(Offset::new(base))
            .leader_epoch(LeaderEpoch::new(3))
            .codec(codec)
            .producer(ProducerId::new(9), ProducerEpoch::new(2), Sequence::new(40));
        for (number, (key, value)) in rows.iter().enumerate() {
            let record = NewRecord {
                timestamp: TimestampMs::new(1_000 + number as i64),
                key: key.map(str::as_bytes),
                value: value.map(str::as_bytes),
                headers: &[("trace", Some(b"1")), ("none", None)],
            };
            builder.push(record).unwrap();
        }
        builder.build().unwrap()
    }

    fn rows(batch: &[u8]) -> Vec<Row> {
        let set = RecordSet::decode(batch, &DecodeLimits::default()).unwrap();
        let row = |record: Record<'_>| {
            assert_eq!(record.headers.len(), 2);
            let bytes = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
            let (offset, timestamp) = (record.offset.get(), record.timestamp.get());
            (offset, timestamp, bytes(record.key), bytes(record.value))
        };
        set.iter().map(|record| row(record.unwrap())).collect()
    }

    fn clean(batch: &[u8], tombstones: Tombstones, latest: &HashMap<&str, i64>) -> Cleaned {
        let is_superseded = |key: &[u8], offset: Offset| {
            let latest = latest.get(str::from_utf8(key).unwrap());
            latest.is_some_and(|latest| *latest > offset.get())
        };
        clean_batch(batch, &DecodeLimits::default(), tombstones, is_superseded).unwrap()
    }

    #[test]
    fn superseded_records_and_those_without_a_key_go_in_every_codec() {
        for codec in [
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ] {
            let old = batch(
                100,
                codec,
                &[
                    (Some("a"), Some("1")),
                    (Some("b"), Some("2")),
                    (None, Some("3")),
                    (Some("c"), Some("4")),
                    (Some("a"), Some("5")),
                ],
            );
            let latest = HashMap::from([("a", 104), ("b", 101), ("c", 200)]);
            let Cleaned::Rewritten(new) = clean(&old, KEPT, &latest) else {
                panic!("some records go");
            };
            let left: Vec<i64> = rows(&new).iter().map(|row| row.0).collect();
            assert_eq!(left, [101, 104]);
            assert_eq!(
                rows(&new)[1],
                rows(&old)[4],
                "{codec:?}: a record is not changed"
            );
            let (before, after) = (
                BatchHeader::parse_whole(&old).unwrap(),
                BatchHeader::parse_whole(&new).unwrap(),
            );
            assert_eq!(after.base_offset, before.base_offset);
            assert_eq!(after.last_offset_delta, before.last_offset_delta);
            assert_eq!(after.attributes, before.attributes);
            assert_eq!(
                (after.producer_id, after.producer_epoch, after.base_sequence),
                (
                    before.producer_id,
                    before.producer_epoch,
                    before.base_sequence
                )
            );
            assert_eq!(after.leader_epoch, before.leader_epoch);
        }
    }

    #[test]
    fn what_loses_nothing_is_not_written_and_what_loses_all_is_nothing() {
        let whole = batch(
            0,
            Codec::Zstd,
            &[(Some("a"), Some("1")), (Some("b"), Some("2"))],
        );
        assert_eq!(clean(&whole, KEPT, &HashMap::new()), Cleaned::Whole);
        let all = HashMap::from([("a", 9), ("b", 9)]);
        assert_eq!(clean(&whole, KEPT, &all), Cleaned::Nothing);
        let header = BatchHeader::parse_whole(&whole).unwrap();
        let empty = empty_batch(&header);
        let read = Batches::strict(&empty).next().unwrap().unwrap().header;
        assert_eq!(
            (read.base_offset, read.last_offset_delta),
            (Offset::ZERO, 1)
        );
        assert_eq!(read.record_count, 0);
        assert_eq!(read.max_timestamp, header.max_timestamp);
        assert!(rows(&empty).is_empty());
        assert_eq!(clean(&empty, KEPT, &all), Cleaned::Whole);
    }

    #[test]
    fn a_tombstone_stays_for_its_time_and_then_goes() {
        let old = batch(0, Codec::Lz4, &[(Some("a"), None), (Some("b"), Some("2"))]);
        let Cleaned::Rewritten(marked) = clean(&old, KEPT, &HashMap::new()) else {
            panic!("its time begins now");
        };
        assert_eq!(rows(&marked), rows(&old), "timestamps too");
        let header = BatchHeader::parse_whole(&marked).unwrap();
        assert!(header.attributes.has_delete_horizon());
        assert_eq!(header.base_timestamp.get(), NOW.get() + 1_000);
        let at = |now| Tombstones {
            now: TimestampMs::new(now),
            retention_ms: 1_000,
        };
        let early = at(NOW.get() + 999);
        assert_eq!(clean(&marked, early, &HashMap::new()), Cleaned::Whole);
        let Cleaned::Rewritten(left) = clean(&marked, at(NOW.get() + 1_000), &HashMap::new())
        else {
            panic!("it goes");
        };
        assert_eq!(rows(&left), rows(&old)[1..]);
        let gone = HashMap::from([("a", 7)]);
        let Cleaned::Rewritten(left) = clean(&old, KEPT, &gone) else {
            panic!("a later record of its key takes it away at once");
        };
        assert_eq!(rows(&left), rows(&old)[1..]);
    }

    #[test]
    fn a_rewritten_batch_passes_the_checks_of_a_stored_one() {
        let old = batch(
            7,
            Codec::None,
            &[(Some("a"), Some("1")), (Some("b"), Some("2"))],
        );
        let Cleaned::Rewritten(new) = clean(&old, KEPT, &HashMap::from([("a", 9)])) else {
            panic!("one goes");
        };
        for bytes in [&new, &empty_batch(&BatchHeader::parse_whole(&old).unwrap())] {
            let walked = Batches::strict(bytes).next().unwrap().unwrap();
            assert_eq!(walked.header.last_offset(), Offset::new(8));
            assert_eq!(walked.verify_crc(), Ok(()));
        }
    }

    proptest! {
        /// Whatever is cleaned, the latest record of every key is what a reader of the whole finds.
        #[test]
        fn the_latest_of_every_key_survives(
            keys in prop::collection::vec((0_u8..6, prop::option::of(0_u8..9)), 1..40),
            codec in prop::sample::select(vec![Codec::None, Codec::Snappy, Codec::Gzip]),
        ) {
            let names: Vec<(String, Option<String>)> = keys
                .iter()
                .map(|(key, value)| (key.to_string(), value.map(|value| value.to_string())))
                .collect();
            let given: Vec<_> = names
                .iter()
                .map(|(key, value)| (Some(key.as_str()), value.as_deref()))
                .collect();
            let old = batch(50, codec, &given);
            let mut latest: HashMap<&str, i64> = HashMap::new();
            for (number, (key, _)) in names.iter().enumerate() {
                latest.insert(key, 50 + number as i64);
            }
            let left = match clean(&old, KEPT, &latest) {
                Cleaned::Whole => rows(&old),
                Cleaned::Rewritten(new) => rows(&new),
                Cleaned::Nothing => Vec::new(),
            };
            let expected: Vec<Row> = rows(&old)
                .into_iter()
                .filter(|row| {
                    let key = String::from_utf8(row.2.clone().unwrap()).unwrap();
                    latest[key.as_str()] == row.0
                })
                .collect();
            prop_assert_eq!(left, expected);
        }
    }
}
