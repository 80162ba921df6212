use proptest::prelude::*;

use super::*;
use crate::batch::Codec;
use crate::samples;

const CREATED: TimestampMs = TimestampMs::new(1_700_000_000_123);

fn object(base: i64, counts: &[u32]) -> KfsObject {
    KfsObject::build(Offset::new(base), CREATED, samples::run(base, counts)).unwrap()
}

#[test]
fn a_segment_states_what_it_holds() {
    let object = object(500, &[3, 1, 120, 7]);
    let bytes = object.to_vec();
    assert_eq!(bytes.len() as u64, object.len);
    assert_eq!(crc32fast::hash(&bytes), object.crc32);
    assert_eq!(object.last_offset, Offset::new(630));
    assert_eq!(object.record_count, 131);
    assert_eq!(KfsHeader::parse(&bytes), Ok(object.header));
    assert_eq!(KfsFooter::parse(&bytes), Ok(object.footer));
    let report = verify(&bytes);
    assert_eq!(report.faults, vec![]);
    assert_eq!(report.batch_count, 4);
    assert_eq!(report.record_count, 131);
    assert_eq!(report.gap_count, 0);
    assert_eq!(report.last_offset, Some(object.last_offset));
    assert_eq!(report.max_timestamp, object.max_timestamp);
    assert_eq!(report.index, object.index);
    assert_eq!(body_range(object.len), Some(32..object.len - 16));
    assert_eq!(body_range(47), None);
}

#[test]
fn the_body_is_not_copied() {
    let chunks = samples::run(0, &[2, 2]);
    let object = KfsObject::build(Offset::ZERO, CREATED, chunks.clone()).unwrap();
    assert_eq!(object.chunks[1].as_ptr(), chunks[0].as_ptr());
    assert_eq!(object.chunks[2].as_ptr(), chunks[1].as_ptr());
}

#[test]
fn building_refuses_what_is_no_segment() {
    let build = |base: i64, chunks| KfsObject::build(Offset::new(base), CREATED, chunks);
    assert_eq!(build(0, vec![]).unwrap_err(), KfsError::Empty);
    let mut run = samples::run(10, &[2, 2]);
    assert!(matches!(
        build(11, run.clone()),
        Err(KfsError::OffsetOrder { position: 32, .. })
    ));
    run.swap(0, 1);
    assert!(matches!(
        build(10, run.clone()),
        Err(KfsError::OffsetOrder { .. })
    ));
    let cut = run[1].slice(..run[1].len() - 1);
    assert!(matches!(
        build(10, vec![cut]),
        Err(KfsError::Batch { position: 32, .. })
    ));
}

#[test]
fn gaps_of_log_compaction_are_counted() {
    let chunks = vec![
        samples::batch(4, 2, Codec::None),
        samples::batch(9, 1, Codec::None),
    ];
    let bytes = KfsObject::build(Offset::ZERO, CREATED, chunks)
        .unwrap()
        .to_vec();
    let report = verify(&bytes);
    assert!(report.is_sound());
    assert_eq!(report.gap_count, 2);
}

#[test]
fn each_fault_is_named() {
    let object = object(5, &[2, 3]);
    let bytes = object.to_vec();
    let end = bytes.len();
    let with = |at: usize, with: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        verify(&bytes).faults
    };
    assert_eq!(
        with(0, b"XAFS"),
        vec![KfsError::HeaderMagic { found: *b"XAFS" }]
    );
    assert_eq!(with(4, &[0, 2]), vec![KfsError::Version { version: 2 }]);
    assert_eq!(with(6, &[0, 1]), vec![KfsError::Flags { flags: 1 }]);
    assert_eq!(
        with(16, &[0, 0, 0, 9]),
        vec![KfsError::RecordCount {
            stated: 9,
            counted: 5
        }]
    );
    assert!(matches!(
        with(16, &[0xff])[..],
        [KfsError::HeaderRange { .. }]
    ));
    assert!(matches!(
        with(8, &6_i64.to_be_bytes())[..],
        [KfsError::OffsetOrder { position: 32, .. }]
    ));
    assert_eq!(
        with(end - 4, b"END?"),
        vec![KfsError::FooterMagic { found: *b"END?" }]
    );
    assert!(matches!(
        with(end - 16, &[0; 4])[..],
        [KfsError::BodyCrc { .. }]
    ));
    assert!(matches!(
        with(end - 12, &[1])[..],
        [KfsError::LastOffset { .. }]
    ));
    // A damaged batch is named with its position, and the walk goes on behind it.
    let faults = with(32 + 70, &[0xee]);
    assert!(matches!(
        faults[..],
        [
            KfsError::Batch { position: 32, .. },
            KfsError::BodyCrc { .. }
        ]
    ));
    assert_eq!(verify(&[]).faults, vec![KfsError::TooShort { len: 0 }]);
    let mut hollow = bytes[..32].to_vec();
    hollow.extend_from_slice(&bytes[end - 16..]);
    assert!(verify(&hollow).faults.contains(&KfsError::Empty));
}

#[test]
fn one_flipped_bit_of_body_or_footer_is_detected() {
    let bytes = object(5, &[2, 3]).to_vec();
    for (at, flipped) in samples::flips(&bytes, 0..bytes.len()) {
        // Created time and the reserved field of the header are not protected by the format.
        let unprotected = (20..32).contains(&at);
        // A lower base offset is legal: the first batch may have been compacted away.
        let base_offset = (8..16).contains(&at);
        assert!(
            unprotected || base_offset || !verify(&flipped).is_sound(),
            "bit of byte {at}"
        );
    }
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let bytes = object(5, &[2, 3]).to_vec();
    for len in 0..bytes.len() {
        assert!(!verify(&bytes[..len]).is_sound(), "{len}");
        if len < 32 {
            assert_eq!(
                KfsHeader::parse(&bytes[..len]),
                Err(KfsError::TooShort { len })
            );
        }
    }
}

#[test]
fn faults_are_bounded() {
    let counts = vec![1; 200];
    let mut bytes = object(0, &counts).to_vec();
    let end = bytes.len() - 16;
    let mut at = 32;
    while at < end {
        let header = crate::batch::BatchHeader::parse(&bytes[at..]).unwrap();
        bytes[at + 40] ^= 1;
        at += header.total_bytes();
    }
    assert_eq!(verify(&bytes).faults.len(), KFS_FAULTS_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn segments_round_trip(
        base in 0_i64..1 << 60,
        counts in prop::collection::vec(1_u32..60, 1..12),
        merged in any::<bool>(),
    ) {
        let mut chunks = samples::run(base, &counts);
        if merged {
            chunks = vec![Bytes::from(chunks.concat())];
        }
        let object = KfsObject::build(Offset::new(base), CREATED, chunks.clone()).unwrap();
        let bytes = object.to_vec();
        let report = verify(&bytes);
        prop_assert!(report.is_sound());
        prop_assert_eq!(report.record_count, u64::from(counts.iter().sum::<u32>()));
        prop_assert_eq!(&bytes[32..bytes.len() - 16], chunks.concat());
        prop_assert_eq!(&report.index, &object.index);
        prop_assert_eq!(Index::build(&chunks, INDEX_INTERVAL).unwrap(), object.index);
    }

    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        framed in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if framed && bytes.len() >= 49 {
            bytes[..8].copy_from_slice(b"KAFS\0\x01\0\0");
            let end = bytes.len();
            bytes[end - 4..].copy_from_slice(b"END!");
            bytes[48] = 2;
        }
        let _ = verify(&bytes);
        let _ = KfsHeader::parse(&bytes);
        let _ = KfsFooter::parse(&bytes);
    }
}
