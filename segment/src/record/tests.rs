use proptest::prelude::*;

use super::*;
use crate::batch::{BatchHeader, BatchLimits, Codec};
use crate::ids::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use crate::samples;

type Headers = Vec<(String, Option<Vec<u8>>)>;
type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Headers);

fn build(codec: Codec, records: &[Owned]) -> bytes::Bytes {
    let mut builder = RecordBatchBuilder::new()
        .codec(codec)
        .base_offset(Offset::new(100));
    for (timestamp, key, value, headers) in records {
        let headers: Vec<(&str, Option<&[u8]>)> = headers
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        builder
            .push(NewRecord {
                timestamp: TimestampMs::new(*timestamp),
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &headers,
            })
            .unwrap();
    }
    builder.build().unwrap()
}

fn read(batch: &[u8]) -> Result<Vec<Owned>, RecordError> {
    let set = RecordSet::decode(batch, &DecodeLimits::default())?;
    set.iter()
        .map(|record| {
            let record = record?;
            let headers = record
                .headers
                .clone()
                .map(|(key, value)| {
                    (
                        String::from_utf8(key.to_vec()).unwrap(),
                        value.map(<[u8]>::to_vec),
                    )
                })
                .collect();
            Ok((
                record.timestamp.get(),
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
                headers,
            ))
        })
        .collect()
}

fn any_record() -> impl Strategy<Value = Owned> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    let headers = prop::collection::vec(("[a-z]{0,5}", bytes()), 0..3);
    (0..=1_i64 << 50, bytes(), bytes(), headers)
}

#[test]
fn large_records_survive_every_codec() {
    let value: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let records = vec![
        (1, None, Some(value), vec![]),
        (2, Some(vec![0; 100_000]), None, vec![]),
    ];
    for codec in Codec::ALL {
        let batch = build(codec, &records);
        BatchHeader::validate(&batch, &BatchLimits::default()).unwrap();
        assert_eq!(read(&batch).unwrap(), records, "{codec:?}");
    }
}

#[test]
fn raw_snappy_is_accepted() {
    let plain = b"librdkafka writes no framing".repeat(9);
    let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    let limits = DecodeLimits::default();
    assert_eq!(decompress(Codec::Snappy, &raw, &limits).unwrap(), plain);
    let framed = compress(Codec::Snappy, &plain).unwrap();
    let twice = [framed.as_ref(), framed.as_ref()].concat();
    assert_eq!(
        decompress(Codec::Snappy, &twice, &limits).unwrap(),
        plain.repeat(2)
    );
}

#[test]
fn lz4_frames_of_other_writers_are_accepted() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let plain = b"linked blocks, checksums, content size".repeat(9_000);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        let info = FrameInfo::new()
            .block_mode(mode)
            .block_size(BlockSize::Max256KB)
            .block_checksums(true)
            .content_checksum(true)
            .content_size(Some(plain.len() as u64));
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&plain).unwrap();
        let frame = encoder.finish().unwrap();
        let read = decompress(Codec::Lz4, &frame, &DecodeLimits::default());
        assert_eq!(read.unwrap(), plain);
    }
}

#[test]
fn decompression_bombs_are_refused() {
    let zeros = vec![0_u8; 8 << 20];
    let tight = DecodeLimits {
        bytes_max: 1 << 20,
        ..DecodeLimits::default()
    };
    let ratio = DecodeLimits {
        ratio_max: 10,
        ratio_free_bytes: 4096,
        ..DecodeLimits::default()
    };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let packed = compress(codec, &zeros).unwrap();
        for limits in [tight, ratio] {
            assert!(
                matches!(
                    decompress(codec, &packed, &limits),
                    Err(CodecError::TooLarge { .. })
                ),
                "{codec:?}"
            );
        }
        assert_eq!(
            decompress(codec, &packed, &DecodeLimits::default()).unwrap(),
            zeros
        );
    }
    // Five bytes that promise 4 GiB reserve nothing.
    let lie = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let outcome = decompress(Codec::Snappy, &lie, &DecodeLimits::default());
    assert!(matches!(outcome, Err(CodecError::Malformed { .. })));
}

#[test]
fn truncated_records_are_an_error_in_every_codec() {
    for codec in Codec::ALL {
        let batch = samples::batch(0, 12, codec);
        for len in 61..batch.len() {
            let mut cut = batch[..len].to_vec();
            let stated = u32::try_from(len - 12).unwrap();
            cut[8..12].copy_from_slice(&stated.to_be_bytes());
            // A gzip or zstd trailer, or an LZ4 end mark, may be lost without losing a record: such
            // a batch may be read, but never as something else.
            match read(&cut) {
                Err(_) => (),
                Ok(records) => assert_eq!(records, read(&batch).unwrap(), "{codec:?} {len}"),
            }
        }
    }
}

#[test]
fn malformed_records_name_themselves() {
    let batch = build(
        Codec::None,
        &[(1, None, Some(vec![7]), vec![]), (2, None, None, vec![])],
    );
    let at = 61;
    let with = |position: usize, byte: u8| {
        let mut bytes = batch.to_vec();
        bytes[position] = byte;
        read(&bytes).unwrap_err()
    };
    // The first record: length, attributes, timestamp delta, offset delta, key, value, headers.
    assert!(matches!(
        with(at, 0x01),
        RecordError::Malformed { record: 0, .. }
    ));
    assert!(matches!(
        with(at, 0x7e),
        RecordError::Malformed { record: 0, .. }
    ));
    assert!(matches!(
        with(at + 3, 0x02),
        RecordError::Offset { record: 1, .. }
    ));
    assert!(matches!(
        with(at + 3, 0x0a),
        RecordError::Offset { record: 0, .. }
    ));
    assert!(matches!(
        with(at + 4, 0x03),
        RecordError::Malformed { record: 0, .. }
    ));
    assert!(matches!(with(60, 1), RecordError::TrailingBytes { .. }));
    assert!(matches!(
        with(60, 3),
        RecordError::Malformed { record: 2, .. }
    ));
    assert!(matches!(
        with(22, 6),
        RecordError::Batch(crate::batch::BatchError::Codec { codec: 6 })
    ));
}

#[test]
fn header_counts_reserve_nothing() {
    // A record that promises 2^31 - 1 headers and has none.
    let mut body = vec![0, 0, 0, 1, 1];
    crate::cursor::put_varint(&mut body, i32::MAX);
    let mut records = Vec::new();
    crate::cursor::put_varint(&mut records, i32::try_from(body.len()).unwrap());
    records.extend_from_slice(&body);
    let template = samples::batch(0, 1, Codec::None);
    let mut batch = template[..61].to_vec();
    batch.extend_from_slice(&records);
    let stated = u32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&stated.to_be_bytes());
    assert!(matches!(
        read(&batch),
        Err(RecordError::Malformed { record: 0, .. })
    ));
}

#[test]
fn lookups_by_time_find_the_first_record() {
    let at = |timestamp: i64| (timestamp, None, None, vec![]);
    let limits = DecodeLimits::default();
    for codec in Codec::ALL {
        let batch = build(codec, &[at(10), at(30), at(20), at(30)]);
        let find = |target: i64| {
            find_timestamp(&batch, TimestampMs::new(target), &limits)
                .unwrap()
                .map(|(offset, timestamp)| (offset.get(), timestamp.get()))
        };
        assert_eq!(find(0), Some((100, 10)));
        assert_eq!(find(11), Some((101, 30)));
        assert_eq!(find(30), Some((101, 30)));
        assert_eq!(find(31), None);
        let max = max_timestamp_offset(&batch, &limits).unwrap();
        assert_eq!(max, Some((Offset::new(101), TimestampMs::new(30))));
    }
}

#[test]
fn log_append_time_is_every_records_time() {
    let mut builder = RecordBatchBuilder::new().log_append_time(TimestampMs::new(99));
    for timestamp in [1, 2, 3] {
        let timestamp = TimestampMs::new(timestamp);
        builder
            .push(NewRecord {
                timestamp,
                ..NewRecord::default()
            })
            .unwrap();
    }
    let batch = builder.build().unwrap();
    let found = find_timestamp(&batch, TimestampMs::new(50), &DecodeLimits::default());
    assert_eq!(found, Ok(Some((Offset::ZERO, TimestampMs::new(99)))));
}

#[test]
fn the_builder_refuses_what_the_format_cannot_say() {
    assert_eq!(RecordBatchBuilder::new().build(), Err(BuildError::Empty));
    let mut builder = RecordBatchBuilder::new().last_offset_delta(1);
    builder.push_at(3, NewRecord::default()).unwrap();
    let again = builder.push_at(3, NewRecord::default()).map(|_| ());
    assert_eq!(again, Err(BuildError::OffsetOrder { offset_delta: 3 }));
    assert_eq!(
        builder.build(),
        Err(BuildError::OffsetOrder { offset_delta: 1 })
    );
    let far = NewRecord {
        timestamp: TimestampMs::new(i64::MAX),
        ..NewRecord::default()
    };
    let mut builder = RecordBatchBuilder::new();
    let near = NewRecord {
        timestamp: TimestampMs::NONE,
        ..NewRecord::default()
    };
    builder.push(near).unwrap();
    assert!(matches!(
        builder.push(far),
        Err(BuildError::Timestamp { .. })
    ));
}

#[test]
fn markers_of_unknown_type_are_refused() {
    let marker = ControlMarker {
        kind: MarkerKind::Abort,
        coordinator_epoch: 2,
    };
    let bytes = RecordBatchBuilder::marker(
        marker,
        ProducerId::new(4),
        ProducerEpoch::new(1),
        TimestampMs::new(8),
    )
    .unwrap();
    let header = BatchHeader::parse_whole(&bytes).unwrap();
    assert_eq!(header.base_sequence, Sequence::NONE);
    let mut unknown = bytes.to_vec();
    // Length, attributes, two deltas and the key's length lie before the key; its type is its third
    // and fourth byte.
    unknown[61 + 5 + 3] = 9;
    let batch = crate::batch::Batch {
        header,
        bytes: &unknown,
        position: 0,
    };
    assert_eq!(ControlMarker::parse(&batch), Err(RecordError::Marker));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn records_round_trip(
        codec in samples::any_codec(),
        records in prop::collection::vec(any_record(), 1..20),
    ) {
        let batch = build(codec, &records);
        prop_assert!(BatchHeader::validate(&batch, &BatchLimits::default()).is_ok());
        prop_assert_eq!(read(&batch).unwrap(), records);
    }

    #[test]
    fn damaged_records_never_panic(
        codec in samples::any_codec(),
        at in 61_usize..400,
        byte: u8,
    ) {
        let mut batch = samples::batch(0, 20, codec).to_vec();
        if let Some(slot) = batch.get_mut(at) {
            *slot = byte;
        }
        let set = RecordSet::decode(&batch, &DecodeLimits::default());
        if let Ok(set) = set {
            for record in set.iter().flatten() {
                let _ = record.headers.count();
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(
        codec in samples::any_codec(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let limits = DecodeLimits { bytes_max: 1 << 20, ..DecodeLimits::default() };
        let _ = decompress(codec, &bytes, &limits);
        let mut batch = samples::batch(0, 2, codec)[..61].to_vec();
        batch.extend_from_slice(&bytes);
        let stated = u32::try_from(batch.len() - 12).unwrap();
        batch[8..12].copy_from_slice(&stated.to_be_bytes());
        if let Ok(set) = RecordSet::decode(&batch, &limits) {
            let _ = set.iter().count();
        }
    }
}
