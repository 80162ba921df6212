use proptest::prelude::*;

use super::*;
use crate::samples;

fn segment(base: i64, end: i64) -> ManifestSegment {
    ManifestSegment {
        base: Offset::new(base),
        end: Offset::new(end),
        bytes: 3 << 20,
        crc32: 0xdead_beef,
        created: TimestampMs::new(77),
        max_timestamp: TimestampMs::new(base * 10),
        max_timestamp_offset: Some(Offset::new(base)),
        time_points: vec![
            TimePoint {
                max_timestamp: TimestampMs::new(base * 10),
                offset: Offset::new(base),
                position: 32,
            },
            TimePoint {
                max_timestamp: TimestampMs::new(base * 10 - 5),
                offset: Offset::new(end - 1),
                position: 1 << 20,
            },
        ],
    }
}

fn manifest() -> Manifest {
    Manifest {
        partition: samples::partition(2),
        leader_epoch: samples::EPOCH,
        compacted_end: Offset::new(300),
        log_start: Offset::new(12),
        segments: vec![
            segment(10, 100),
            ManifestSegment {
                max_timestamp_offset: None,
                time_points: vec![],
                ..segment(100, 200)
            },
            segment(250, 300),
        ],
    }
}

#[test]
fn manifests_round_trip() {
    let manifest = manifest();
    assert_eq!(Manifest::parse(&manifest.encode()), Ok(manifest));
}

#[test]
fn cut_or_flipped_manifests_are_refused() {
    let bytes = manifest().encode();
    for len in 0..bytes.len() {
        assert!(Manifest::parse(&bytes[..len]).is_err(), "{len}");
    }
    for (at, flipped) in samples::flips(&bytes, 0..bytes.len()) {
        assert!(Manifest::parse(&flipped).is_err(), "bit of byte {at}");
    }
}

#[test]
fn rules_are_kept() {
    let changes: [fn(&mut Manifest); 8] = [
        |manifest| manifest.segments.swap(0, 1),
        |manifest| manifest.segments[0].end = Offset::new(10),
        |manifest| manifest.segments[0].bytes = 5 << 30,
        |manifest| manifest.segments[0].time_points[0].position = 33,
        |manifest| manifest.segments[0].time_points.swap(0, 1),
        |manifest| manifest.compacted_end = Offset::new(299),
        |manifest| manifest.log_start = Offset::NONE,
        |manifest| manifest.leader_epoch = LeaderEpoch::NONE,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut manifest = manifest();
        change(&mut manifest);
        assert!(manifest.fault().is_some(), "change {number}");
    }
}

#[test]
fn segments_are_found_by_offset() {
    let manifest = manifest();
    let base = |offset: i64| {
        manifest
            .segment_at(Offset::new(offset))
            .map(|found| found.base.get())
    };
    assert_eq!(base(0), Some(10));
    assert_eq!(base(99), Some(10));
    assert_eq!(base(100), Some(100));
    assert_eq!(base(220), Some(250));
    assert_eq!(base(300), None);
}

#[test]
fn blocks_are_found_by_time() {
    let segment = segment(10, 100);
    let find = |target: i64| segment.find_block(TimestampMs::new(target), 3 << 20);
    assert_eq!(find(0), Some((Offset::new(10), 32..1 << 20)));
    assert_eq!(find(100), Some((Offset::new(10), 32..1 << 20)));
    assert_eq!(find(101), None);
    let mut late = segment.clone();
    late.time_points[1].max_timestamp = TimestampMs::new(500);
    let found = late.find_block(TimestampMs::new(101), 3 << 20);
    assert_eq!(found, Some((Offset::new(99), 1 << 20..3 << 20)));
}

#[test]
fn time_points_cover_blocks_of_whole_batches() {
    let run = samples::run(0, &[40; 30]);
    let mut builder = TimePointsBuilder::new(2_000);
    let mut position = 32;
    for bytes in &run {
        builder.push(&BatchHeader::parse(bytes).unwrap(), position);
        position += u32::try_from(bytes.len()).unwrap();
    }
    let points = builder.finish();
    assert!(points.len() > 5);
    for pair in points.windows(2) {
        assert!(pair[1].position - pair[0].position >= 2_000);
        // Timestamps rise by one a record in these batches: a block's largest is its last record's.
        assert_eq!(
            pair[0].max_timestamp.get(),
            1_700_000_000_000 + pair[1].offset.get() - 1
        );
    }
    assert_eq!(time_points(&run).unwrap().len(), 1);
}

proptest! {
    #[test]
    fn damaged_bytes_behind_a_right_crc_never_panic(at in 8_usize..300, with: [u8; 8]) {
        let mut bytes = manifest().encode().to_vec();
        let end = bytes.len() - CRC_BYTES;
        if let Some(room) = bytes[..end].get_mut(at..at + 8) {
            room.copy_from_slice(&with);
        }
        let crc = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_be_bytes());
        if let Ok(manifest) = Manifest::parse(&bytes) {
            prop_assert_eq!(manifest.encode(), bytes);
            let _ = manifest.segment_at(Offset::new(50));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::parse(&bytes);
    }
}
