use proptest::prelude::*;

use super::*;
use crate::record::{ControlMarker, MarkerKind, NewRecord, RecordBatchBuilder};
use crate::samples;

fn validate(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    BatchHeader::validate(bytes, &BatchLimits::default())
}

/// Overwrites bytes of a batch and repairs its CRC.
fn patched(batch: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut out = batch.to_vec();
    out[at..at + with.len()].copy_from_slice(with);
    let crc = crc32c::crc32c(&out[BATCH_CRC_START..]);
    out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    out
}

#[test]
fn a_header_is_decoded_field_by_field() {
    let bytes = samples::produced(40, 5, 9, 70);
    let header = validate(&bytes).unwrap();
    assert_eq!(header.base_offset, Offset::new(40));
    assert_eq!(header.last_offset(), Offset::new(44));
    assert_eq!(header.next_offset(), Offset::new(45));
    assert_eq!(header.leader_epoch, samples::EPOCH);
    assert_eq!(header.producer_id, ProducerId::new(9));
    assert_eq!(header.base_sequence, Sequence::new(70));
    assert_eq!(header.last_sequence(), Sequence::new(74));
    assert_eq!(header.record_count, 5);
    assert_eq!(header.max_timestamp, TimestampMs::new(1_700_000_000_044));
    assert_eq!(header.total_bytes(), bytes.len());
    assert_eq!(header.encode().as_slice(), &bytes[..BATCH_HEADER_BYTES]);
}

#[test]
fn each_rule_has_its_error() {
    let batch = samples::batch(0, 3, Codec::None);
    let case = |at: usize, with: &[u8]| validate(&patched(&batch, at, with)).unwrap_err();
    assert_eq!(case(16, &[1]), BatchError::UnsupportedMagic { magic: 1 });
    assert_eq!(case(16, &[0]), BatchError::UnsupportedMagic { magic: 0 });
    assert!(matches!(
        case(8, &(-1_i32).to_be_bytes()),
        BatchError::Length { .. }
    ));
    assert!(matches!(
        case(8, &48_i32.to_be_bytes()),
        BatchError::Length { .. }
    ));
    assert!(matches!(
        case(8, &49_i32.to_be_bytes()),
        BatchError::TrailingBytes { .. }
    ));
    assert!(matches!(
        case(8, &i32::MAX.to_be_bytes()),
        BatchError::Truncated { .. }
    ));
    assert_eq!(case(22, &[5]), BatchError::Codec { codec: 5 });
    assert_eq!(case(22, &[0x20]), BatchError::ControlFromClient);
    assert_eq!(case(22, &[0x08]), BatchError::Timestamp);
    assert!(matches!(case(22, &[0x10]), BatchError::Producer { .. }));
    assert!(matches!(
        case(23, &3_i32.to_be_bytes()),
        BatchError::RecordCount { .. }
    ));
    assert!(matches!(
        case(23, &(-1_i32).to_be_bytes()),
        BatchError::OffsetRange { .. }
    ));
    assert!(matches!(
        case(57, &0_i32.to_be_bytes()),
        BatchError::RecordCount { .. }
    ));
    assert!(matches!(
        case(57, &(-3_i32).to_be_bytes()),
        BatchError::OffsetRange { .. }
    ));
    assert!(matches!(
        case(0, &i64::MAX.to_be_bytes()),
        BatchError::OffsetRange { .. }
    ));
    assert_eq!(case(35, &(-2_i64).to_be_bytes()), BatchError::Timestamp);
    assert!(matches!(
        case(43, &(-2_i64).to_be_bytes()),
        BatchError::Producer { .. }
    ));
    // An id needs an epoch and a sequence.
    assert!(matches!(
        case(43, &1_i64.to_be_bytes()),
        BatchError::Producer { .. }
    ));
}

#[test]
fn limits_are_kept() {
    let batch = samples::batch(0, 3, Codec::None);
    let small = BatchLimits {
        bytes_max: batch.len() - 1,
        timestamp_latest: None,
    };
    assert!(matches!(
        BatchHeader::validate(&batch, &small),
        Err(BatchError::TooLarge { .. })
    ));
    let latest = Some(TimestampMs::new(1_700_000_000_001));
    let early = BatchLimits {
        bytes_max: batch.len(),
        timestamp_latest: latest,
    };
    assert!(matches!(
        BatchHeader::validate(&batch, &early),
        Err(BatchError::TimestampTooLate { .. })
    ));
}

#[test]
fn message_sets_are_named_even_when_short() {
    // 26 bytes: the smallest magic 1 message there is.
    let mut bytes = [0_u8; 26];
    bytes[16] = 1;
    assert_eq!(
        validate(&bytes),
        Err(BatchError::UnsupportedMagic { magic: 1 })
    );
}

#[test]
fn one_flipped_bit_is_detected() {
    let batch = samples::produced(7, 4, 5, 0);
    for (at, flipped) in samples::flips(&batch, 0..batch.len()) {
        // Base offset and leader epoch are the broker's to write: they lie outside the CRC.
        let broker_owned = at < 8 || (12..16).contains(&at);
        let outcome = validate(&flipped);
        assert!(broker_owned || outcome.is_err(), "bit of byte {at}");
        if at >= CRC_AT {
            assert!(
                outcome.is_err_and(|error| error.is_corruption()),
                "bit of byte {at}"
            );
        }
    }
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let batch = samples::batch(7, 4, Codec::None);
    for len in 0..batch.len() {
        assert!(validate(&batch[..len]).is_err());
        if len > 0 {
            assert!(Batches::strict(&batch[..len]).any(|item| item.is_err()));
        }
        assert_eq!(Batches::until_truncated(&batch[..len]).count(), 0);
    }
}

#[test]
fn assign_keeps_the_crc() {
    let mut batch = samples::batch(0, 3, Codec::None).to_vec();
    assign(&mut batch, Offset::new(1_000), LeaderEpoch::new(12));
    let header = validate(&batch).unwrap();
    assert_eq!(header.base_offset, Offset::new(1_000));
    assert_eq!(header.leader_epoch, LeaderEpoch::new(12));
}

#[test]
#[should_panic(expected = "sound header")]
fn assign_refuses_an_overflow() {
    let mut batch = samples::batch(0, 3, Codec::None).to_vec();
    assign(&mut batch, Offset::new(i64::MAX - 1), LeaderEpoch::new(12));
}

#[test]
fn log_append_time_gives_a_new_crc() {
    let mut batch = samples::batch(0, 3, Codec::None).to_vec();
    set_log_append_time(&mut batch, TimestampMs::new(77));
    let header = BatchHeader::parse_whole(&batch).unwrap();
    header.verify_crc(&batch).unwrap();
    assert_eq!(header.max_timestamp, TimestampMs::new(77));
    assert_eq!(
        header.attributes.timestamp_type(),
        TimestampType::LogAppendTime
    );
    assert_eq!(validate(&batch), Err(BatchError::Timestamp));
}

#[test]
fn runs_are_walked_and_cut_tails_are_chosen() {
    let run = samples::run(10, &[1, 4, 2]).concat();
    let walked: Vec<_> = Batches::strict(&run).map(Result::unwrap).collect();
    assert_eq!(walked.len(), 3);
    assert_eq!(walked[2].header.base_offset, Offset::new(15));
    assert_eq!(walked[2].position, run.len() - walked[2].bytes.len());
    walked.iter().for_each(|batch| batch.verify_crc().unwrap());

    let cut = &run[..run.len() - 1];
    let mut lenient = Batches::until_truncated(cut);
    assert_eq!(lenient.by_ref().map(Result::unwrap).count(), 2);
    assert_eq!(lenient.position(), walked[2].position);
    let mut strict = Batches::strict(cut);
    assert_eq!(strict.by_ref().filter(Result::is_err).count(), 1);
    assert_eq!(strict.next(), None);

    // Damage is an error for both: only a cut-off tail may end the walk.
    let mut damaged = run.clone();
    damaged[walked[1].position + MAGIC_AT] = 1;
    assert_eq!(
        Batches::until_truncated(&damaged)
            .filter(Result::is_err)
            .count(),
        1
    );
}

#[test]
fn markers_are_no_producer_input() {
    let marker = ControlMarker {
        kind: MarkerKind::Commit,
        coordinator_epoch: 4,
    };
    let bytes = RecordBatchBuilder::marker(
        marker,
        ProducerId::new(1),
        ProducerEpoch::ZERO,
        TimestampMs::new(5),
    )
    .unwrap();
    assert_eq!(validate(&bytes), Err(BatchError::ControlFromClient));
    let header = BatchHeader::parse_whole(&bytes).unwrap();
    let batch = Batch {
        header,
        bytes: &bytes,
        position: 0,
    };
    assert_eq!(ControlMarker::parse(&batch), Ok(marker));
}

#[test]
fn compacted_batches_parse_but_are_no_producer_input() {
    let mut builder = RecordBatchBuilder::new().last_offset_delta(9);
    builder.push_at(4, NewRecord::default()).unwrap();
    let bytes = builder.build().unwrap();
    assert_eq!(
        BatchHeader::parse_whole(&bytes).unwrap().last_offset(),
        Offset::new(9)
    );
    assert!(matches!(
        validate(&bytes),
        Err(BatchError::RecordCount { .. })
    ));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = validate(&bytes);
        let _ = Batches::strict(&bytes).count();
        let _ = Batches::until_truncated(&bytes).count();
    }

    #[test]
    fn random_headers_with_magic_2_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 61..90),
        length in 49_i32..90,
    ) {
        let mut bytes = bytes;
        bytes[MAGIC_AT] = 2;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        if let Ok(header) = BatchHeader::parse(&bytes) {
            prop_assert!(header.next_offset() > header.base_offset);
            let encoded = header.encode();
            prop_assert_eq!(&encoded[..], &bytes[..BATCH_HEADER_BYTES]);
            let _ = header.last_sequence();
        }
        let _ = Batches::strict(&bytes).count();
    }
}
