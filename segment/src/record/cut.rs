//! A batch as it was at a moment: without the records that came later.
//!
//! Records are taken out as they lie in the batch, byte for byte, so nothing of those that stay is
//! changed: not their attributes, nor header keys that are no text. Offsets are treated as Kafka's log
//! cleaner does: base offset, last offset delta, producer and sequence stay; only record count, length,
//! largest timestamp and CRC are new.

use bytes::Bytes;

use super::builder::BuildError;
use super::clean::{CleanError, Cleaned};
use super::codec::{DecodeLimits, compress};
use super::reader::RecordSet;
use super::{RecordError, builder};
use crate::batch::{
    BATCH_CRC_START, BATCH_HEADER_BYTES, BATCH_LENGTH_OVERHEAD, BatchHeader, Codec, TimestampType,
};
use crate::ids::TimestampMs;

/// Takes out of `batch` the records later than `until`; one of exactly that time stays.
///
/// Every record is asked for its own timestamp: they need not be in order, and the largest one that
/// the header of a compressed batch states is the client's word. A batch that holds no record counts
/// by its header, and one of log append time as a whole.
///
/// # Errors
/// [`CleanError`]: the records cannot be read, or what is left cannot be compressed.
pub fn cut_batch(
    batch: &[u8],
    limits: &DecodeLimits,
    until: TimestampMs,
) -> Result<Cleaned, CleanError> {
    let header = BatchHeader::parse_whole(batch).map_err(RecordError::from)?;
    let is_one = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    if header.record_count == 0 || is_one {
        return Ok(match header.max_timestamp <= until {
            true => Cleaned::Whole,
            false => Cleaned::Nothing,
        });
    }
    let set = RecordSet::decode(batch, limits)?;
    let mut records = set.iter();
    let (mut kept, mut kept_count, mut max_timestamp) = (Vec::new(), 0, TimestampMs::NONE);
    let mut start = records.position();
    while let Some(record) = records.next() {
        let timestamp = record?.timestamp;
        let end = records.position();
        if timestamp <= until {
            kept.push(start..end);
            kept_count += 1;
            max_timestamp = max_timestamp.max(timestamp);
        }
        start = end;
    }
    assert!(
        start == set.uncompressed_bytes(),
        "the records fill the batch"
    );
    if kept_count == header.record_count {
        return Ok(Cleaned::Whole);
    }
    if kept.is_empty() {
        return Ok(Cleaned::Nothing);
    }
    let bytes = set.uncompressed();
    let kept: Vec<&[u8]> = kept.into_iter().map(|range| &bytes[range]).collect();
    let left = BatchHeader {
        record_count: kept_count,
        max_timestamp,
        ..header
    };
    Ok(Cleaned::Rewritten(encode(left, &kept.concat())?))
}

fn encode(header: BatchHeader, records: &[u8]) -> Result<Bytes, BuildError> {
    assert!(header.record_count > 0, "an empty batch is made otherwise");
    let codec = header.attributes.codec().unwrap_or(Codec::None);
    let packed = compress(codec, records)?;
    let total = BATCH_HEADER_BYTES + packed.len();
    let batch_length = builder::length(total - BATCH_LENGTH_OVERHEAD)?.unsigned_abs();
    let header = BatchHeader {
        batch_length,
        crc: 0,
        ..header
    };
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(&packed);
    let crc = crc32c::crc32c(&out[BATCH_CRC_START..]);
    out[BATCH_CRC_START - 4..BATCH_CRC_START].copy_from_slice(&crc.to_be_bytes());
    assert!(
        out.len() == header.total_bytes(),
        "the header states the batch's length"
    );
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batches;
    use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
    use crate::record::{NewRecord, Record, RecordBatchBuilder};
    use proptest::prelude::*;

    type Row = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

    fn batch(codec: Codec, rows: &[(i32, i64)]) -> Bytes {
        let mut builder = RecordBatchBuilder::new()
            .base_offset(Offset::new(100))
            .leader_epoch(LeaderEpoch::new(3))
            .codec(codec)
            .producer(ProducerId::new(9), ProducerEpoch::new(2), Sequence::new(40));
        for (number, (delta, timestamp)) in rows.iter().enumerate() {
            let key = number.to_string();
            let record = NewRecord {
                timestamp: TimestampMs::new(*timestamp),
                key: (number % 3 != 0).then_some(key.as_bytes()),
                value: (number % 4 != 1).then_some(b"a value"),
                headers: &[("trace", Some(b"1")), ("none", None)],
            };
            builder.push_at(*delta, record).unwrap();
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

    fn cut(batch: &[u8], until: i64) -> Cleaned {
        cut_batch(batch, &DecodeLimits::default(), TimestampMs::new(until)).unwrap()
    }

    #[test]
    fn later_records_go_wherever_they_lie_and_all_else_stays_in_every_codec() {
        for codec in Codec::ALL {
            let old = batch(codec, &[(0, 50), (1, 10), (4, 30), (5, 20), (9, 31)]);
            let Cleaned::Rewritten(new) = cut(&old, 30) else {
                panic!("{codec:?}: two records go");
            };
            assert_eq!(rows(&new), rows(&old)[1..4], "{codec:?}");
            let before = BatchHeader::parse_whole(&old).unwrap();
            let after = Batches::strict(&new).next().unwrap().unwrap();
            after.verify_crc().unwrap();
            let expected = BatchHeader {
                batch_length: after.header.batch_length,
                crc: after.header.crc,
                record_count: 3,
                max_timestamp: TimestampMs::new(30),
                ..before
            };
            assert_eq!(
                after.header, expected,
                "{codec:?}: offsets and producer stay"
            );
            assert_eq!(cut(&new, 30), Cleaned::Whole, "{codec:?}");
        }
    }

    #[test]
    fn a_batch_of_one_side_is_whole_or_nothing() {
        for codec in Codec::ALL {
            let old = batch(codec, &[(0, 50), (1, 10)]);
            assert_eq!(cut(&old, 50), Cleaned::Whole);
            assert_eq!(cut(&old, 9), Cleaned::Nothing);
        }
    }

    /// The CRC covers it, but nobody has compared it with the records.
    #[test]
    fn the_largest_timestamp_of_a_header_is_not_believed() {
        let mut old = batch(Codec::Zstd, &[(0, 50), (1, 10)]).to_vec();
        old[35..43].copy_from_slice(&10_i64.to_be_bytes());
        let Cleaned::Rewritten(new) = cut(&old, 10) else {
            panic!("the first record is later than the header says");
        };
        assert_eq!(rows(&new).len(), 1);
        old[35..43].copy_from_slice(&90_i64.to_be_bytes());
        assert_eq!(cut(&old, 50), Cleaned::Whole);
    }

    #[test]
    fn log_append_time_and_batches_without_records_count_as_a_whole() {
        let record = |timestamp| NewRecord {
            timestamp: TimestampMs::new(timestamp),
            value: Some(b"v"),
            ..NewRecord::default()
        };
        let mut builder = RecordBatchBuilder::new().log_append_time(TimestampMs::new(40));
        builder.push(record(10)).unwrap().push(record(99)).unwrap();
        let appended = builder.build().unwrap();
        assert_eq!(cut(&appended, 39), Cleaned::Nothing);
        assert_eq!(cut(&appended, 40), Cleaned::Whole);
        let header = BatchHeader::parse_whole(&appended).unwrap();
        let empty = crate::record::empty_batch(&header);
        assert_eq!(cut(&empty, 39), Cleaned::Nothing);
        assert_eq!(cut(&empty, 40), Cleaned::Whole);
    }

    /// Deltas count from the delete horizon, which stands in the place of the base timestamp.
    #[test]
    fn a_delete_horizon_stays() {
        let mut builder = RecordBatchBuilder::new().delete_horizon(TimestampMs::new(7_000));
        for timestamp in [20, 10, 30] {
            let record = NewRecord {
                timestamp: TimestampMs::new(timestamp),
                key: Some(b"k"),
                ..NewRecord::default()
            };
            builder.push(record).unwrap();
        }
        let Cleaned::Rewritten(new) = cut(&builder.build().unwrap(), 20) else {
            panic!("the last goes");
        };
        let header = BatchHeader::parse_whole(&new).unwrap();
        assert!(header.attributes.has_delete_horizon());
        assert_eq!(header.base_timestamp, TimestampMs::new(7_000));
        let set = RecordSet::decode(&new, &DecodeLimits::default()).unwrap();
        let times: Vec<i64> = set.iter().map(|r| r.unwrap().timestamp.get()).collect();
        assert_eq!(times, [20, 10]);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let mut old = batch(Codec::Gzip, &[(0, 50), (1, 10)]).to_vec();
        let last = old.len() - 12;
        old[last..].fill(0xff);
        assert!(cut_batch(&old, &DecodeLimits::default(), TimestampMs::new(10)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_a_filter_of_the_records_leaves(
            times in prop::collection::vec((0_i64..30, 1_i32..4), 1..40),
            until in -1_i64..31,
            codec in prop::sample::select(Codec::ALL.to_vec()),
        ) {
            let mut delta = -1;
            let given: Vec<(i32, i64)> = times
                .iter()
                .map(|(time, step)| {
                    delta += step;
                    (delta, *time)
                })
                .collect();
            let old = batch(codec, &given);
            let left = match cut(&old, until) {
                Cleaned::Whole => rows(&old),
                Cleaned::Rewritten(new) => rows(&new),
                Cleaned::Nothing => Vec::new(),
            };
            let expected: Vec<Row> = rows(&old).into_iter().filter(|row| row.1 <= until).collect();
            prop_assert_eq!(left, expected);
        }
    }
}
