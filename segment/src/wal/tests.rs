use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::batch::{BatchHeader, Codec};
use crate::ids::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use crate::record::{ControlMarker, MarkerKind, RecordBatchBuilder};
use crate::samples;

const BROKER: BrokerId = BrokerId::new(7);
const SESSION: SessionId = SessionId::new([0x5e; 16]);
const OTHER: SessionId = SessionId::new([0x77; 16]);

fn section(number: u8, base: i64, batches: &[Bytes]) -> WalSection {
    let partition = samples::partition(number);
    let mut builder = WalSectionBuilder::new(partition, samples::EPOCH, Offset::new(base));
    for bytes in batches {
        let header = BatchHeader::parse(bytes).unwrap();
        builder.push(&header, bytes.clone()).unwrap();
    }
    builder.finish()
}

fn marker(base: i64, kind: MarkerKind) -> Bytes {
    let marker = ControlMarker {
        kind,
        coordinator_epoch: 6,
    };
    let at = TimestampMs::new(9);
    let bytes =
        RecordBatchBuilder::marker(marker, ProducerId::new(11), ProducerEpoch::ZERO, at).unwrap();
    let mut bytes = bytes.to_vec();
    crate::batch::assign(&mut bytes, Offset::new(base), samples::EPOCH);
    bytes.into()
}

fn header(sequence: u64) -> WalHeader {
    let acknowledged = WalSequence::new(sequence).previous();
    WalHeader::data(BROKER, SESSION, WalSequence::new(sequence), acknowledged)
}

fn sample() -> WalObject {
    let plain = samples::run(100, &[3, 1]);
    let produced = vec![
        samples::produced(50, 4, 11, 0),
        samples::produced(54, 2, 12, 8),
    ];
    let ended = vec![marker(7, MarkerKind::Abort), marker(8, MarkerKind::Commit)];
    let (own, _) = section(4, 900, &samples::run(900, &[2])).into_own(3);
    let follows = section(4, 902, &samples::run(902, &[1]));
    let sections = vec![
        follows,
        section(3, 7, &ended),
        own,
        section(2, 50, &produced),
        section(1, 100, &plain),
    ];
    encode(header(5), sections)
}

#[test]
fn an_object_round_trips_through_its_tail() {
    let object = sample();
    let bytes = object.to_vec();
    assert_eq!(bytes.len() as u64, object.len);
    assert_eq!(crc32fast::hash(&bytes), object.crc32);
    assert_eq!(WalHeader::parse(&bytes), Ok(header(5)));
    let tail = WalDirectory::from_tail(&bytes).unwrap();
    assert_eq!(tail, WalTail::Directory(object.directory.clone()));
    assert_eq!(WalDirectory::from_tail(&object.tail()).unwrap(), tail);

    let report = verify(&bytes);
    assert_eq!(report.faults, vec![]);
    assert_eq!(
        (report.inline_count, report.own_count, report.batch_count),
        (4, 1, 7)
    );
    assert_eq!(report.directory, Some(object.directory));
}

#[test]
fn the_sections_are_not_copied_and_lie_where_the_rows_say() {
    let batches = samples::run(100, &[3, 1]);
    let object = encode(header(1), vec![section(1, 100, &batches)]);
    assert_eq!(object.chunks[1].as_ptr(), batches[0].as_ptr());
    let entry = &object.directory.entries[0];
    assert_eq!(
        entry.inline_range(),
        Some(64..64 + batches.concat().len() as u64)
    );
    assert_eq!(
        object.to_vec()[64..64 + batches.concat().len()],
        batches.concat()
    );
}

#[test]
fn rows_say_what_a_taker_needs() {
    let object = sample();
    let rows = |number| object.directory.entries_of(samples::partition(number));
    let [row] = rows(2) else { panic!("one row") };
    assert_eq!(row.first_offset, Offset::new(50));
    assert_eq!(row.last_offset, Offset::new(55));
    assert_eq!(row.record_count, 6);
    assert_eq!(row.leader_epoch, samples::EPOCH);
    assert_eq!(row.max_timestamp, TimestampMs::new(1_700_000_000_055));
    assert_eq!(row.max_timestamp_offset, None);
    assert_eq!(row.producers.len(), 2);
    assert_eq!(row.producers[1].base_sequence, Sequence::new(8));
    assert_eq!(row.producers[1].base_offset, Offset::new(54));
    assert_eq!(row.producers[1].kind, ProducerBatchKind::Idempotent);
    let [row] = rows(3) else { panic!("one row") };
    assert_eq!(
        row.producers[0].kind,
        ProducerBatchKind::Abort {
            coordinator_epoch: 6
        }
    );
    assert_eq!(
        row.producers[1].kind,
        ProducerBatchKind::Commit {
            coordinator_epoch: 6
        }
    );
    assert_eq!(row.max_timestamp_offset, Some(Offset::new(7)));
    let [own, follows] = rows(4) else {
        panic!("two rows")
    };
    assert_eq!(own.place, SectionPlace::Own { counter: 3 });
    assert_eq!(follows.first_offset, Offset::new(902));
    assert_eq!(rows(9), &[]);
    assert_eq!(object.directory.partitions().count(), 4);
}

#[test]
fn small_objects_have_their_kinds() {
    let open = WalHeader::open(BROKER, SESSION);
    let fence = WalHeader::fence(BROKER, SESSION, WalSequence::new(4), OTHER);
    let empty = WalHeader::empty(BROKER, SESSION, WalSequence::new(4), None);
    for header in [open, fence, empty] {
        let object = encode(header, vec![]);
        let bytes = object.to_vec();
        assert_eq!(bytes.len(), 64 + 4 + 96);
        assert!(verify(&bytes).is_sound());
        let WalTail::Directory(directory) = WalDirectory::from_tail(&bytes).unwrap() else {
            panic!("the tail is the object")
        };
        assert_eq!(directory.header(), &header);
    }
    assert_eq!(fence.fenced_by, Some(OTHER));
}

#[test]
fn a_long_directory_is_fetched_on_its_own() {
    let mut sections = Vec::new();
    for number in 0..255 {
        let batches: Vec<Bytes> = (0..8)
            .map(|turn| samples::produced(turn, 1, turn, 0))
            .collect();
        sections.push(section(number, 0, &batches));
    }
    let object = encode(header(2), sections);
    let bytes = object.to_vec();
    let tail = &bytes[bytes.len() - usize::try_from(WAL_TAIL_BYTES).unwrap()..];
    let WalTail::Fetch(trailer) = WalDirectory::from_tail(tail).unwrap() else {
        panic!("the directory is longer than the tail")
    };
    let range = trailer.directory_range();
    let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
    let directory = WalDirectory::parse(&trailer, &bytes[range]).unwrap();
    assert_eq!(directory, object.directory);
}

#[test]
fn one_flipped_bit_is_detected() {
    let bytes = sample().to_vec();
    for (at, flipped) in samples::flips(&bytes, 0..bytes.len()) {
        assert!(!verify(&flipped).is_sound(), "bit of byte {at}");
    }
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let bytes = sample().to_vec();
    for len in 0..bytes.len() {
        assert!(!verify(&bytes[..len]).is_sound(), "{len}");
        assert!(!verify(&bytes[bytes.len() - len..]).is_sound(), "{len}");
        assert!(WalDirectory::from_tail(&bytes[..len]).is_err(), "{len}");
    }
}

/// Encodes `object` again with a changed directory, its CRCs repaired: what a bug in another
/// version could write.
fn forged(object: &WalObject, change: impl FnOnce(&mut WalDirectory)) -> Vec<u8> {
    let mut directory = object.directory.clone();
    change(&mut directory);
    let mut rows = u32::try_from(directory.entries.len())
        .unwrap()
        .to_be_bytes()
        .to_vec();
    directory
        .entries
        .iter()
        .for_each(|entry| entry.encode(&mut rows));
    let trailer = WalTrailer {
        directory_crc: crc32fast::hash(&rows),
        directory_len: u32::try_from(rows.len()).unwrap(),
        object_len: directory.trailer.directory_position + rows.len() as u64 + 96,
        ..directory.trailer
    };
    let mut bytes = object.to_vec();
    bytes.truncate(usize::try_from(directory.trailer.directory_position).unwrap());
    bytes.extend_from_slice(&rows);
    bytes.extend_from_slice(&trailer.encode());
    bytes
}

#[test]
fn rows_that_contradict_themselves_are_refused() {
    let object = sample();
    assert!(verify(&forged(&object, |_| ())).is_sound());
    let changes: [fn(&mut WalDirectory); 14] = [
        |directory| directory.entries.swap(0, 1),
        |directory| directory.entries[0].len += 1,
        |directory| directory.entries[0].record_count += 1,
        |directory| directory.entries[0].record_count = 0,
        |directory| directory.entries[0].partition = crate::ids::PartitionIndex::new(-1),
        |directory| directory.entries[0].leader_epoch = crate::ids::LeaderEpoch::NONE,
        |directory| directory.entries[0].last_offset = Offset::new(i64::MAX),
        |directory| directory.entries[0].max_timestamp_offset = Some(Offset::new(-5)),
        |directory| directory.entries[0].max_timestamp_offset = Some(Offset::new(104)),
        |directory| directory.entries[1].producers.swap(0, 1),
        |directory| directory.entries[1].producers[0].base_sequence = Sequence::NONE,
        |directory| directory.entries[1].producers[0].base_offset = Offset::new(49),
        |directory| directory.entries[0].place = SectionPlace::Inline { position: 65 },
        |directory| directory.entries.clear(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let bytes = forged(&object, change);
        assert!(WalDirectory::from_tail(&bytes).is_err(), "change {number}");
    }
    let gap = forged(&object, |directory| {
        directory.entries[4].first_offset = Offset::new(903);
        directory.entries[4].last_offset = Offset::new(903);
    });
    assert!(matches!(
        WalDirectory::from_tail(&gap),
        Err(WalError::Section { section: 4, .. })
    ));
}

#[test]
fn rows_that_contradict_the_batches_are_found() {
    let object = sample();
    let changes: [fn(&mut WalDirectory); 6] = [
        |directory| directory.entries[0].crc ^= 1,
        |directory| directory.entries[0].max_timestamp = TimestampMs::new(1),
        |directory| directory.entries[0].leader_epoch = crate::ids::LeaderEpoch::new(4),
        |directory| directory.entries[1].producers.clear(),
        |directory| {
            directory.entries[0].first_offset = Offset::new(101);
            directory.entries[0].last_offset = Offset::new(104);
        },
        |directory| {
            directory.entries[0].last_offset = Offset::new(104);
            directory.entries[0].record_count = 5;
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let bytes = forged(&object, change);
        assert!(WalDirectory::from_tail(&bytes).is_ok(), "change {number}");
        assert_eq!(verify(&bytes).faults.len(), 1, "change {number}");
    }
}

#[test]
fn a_foreign_header_is_found() {
    let bytes = encode(header(5), vec![section(1, 0, &samples::run(0, &[1]))]).to_vec();
    let other = encode(header(6), vec![section(1, 0, &samples::run(0, &[1]))]).to_vec();
    let mixed = [&other[..64], &bytes[64..]].concat();
    assert_eq!(verify(&mixed).faults, vec![WalFault::HeaderCopy]);
    let long = [&bytes[..64], &[0; 3], &bytes[64..]].concat();
    assert!(matches!(
        verify(&long).faults[..],
        [WalFault::Length { .. }]
    ));
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let sound = header(5);
    let fence = WalHeader::fence(BROKER, SESSION, WalSequence::new(4), OTHER);
    let cases = [
        WalHeader {
            broker: BrokerId::new(-1),
            ..sound
        },
        WalHeader {
            session: SessionId::ZERO,
            ..sound
        },
        WalHeader {
            acknowledged: Some(WalSequence::new(5)),
            ..sound
        },
        WalHeader {
            fenced_by: Some(OTHER),
            ..sound
        },
        WalHeader {
            fenced_by: None,
            ..fence
        },
        WalHeader {
            kind: WalKind::Open,
            ..sound
        },
    ];
    for case in cases {
        assert!(
            matches!(case.check(), Err(WalError::Header { .. })),
            "{case:?}"
        );
    }
}

#[test]
#[should_panic(expected = "a data object and nothing else has sections")]
fn only_data_has_sections() {
    let sections = vec![section(1, 0, &samples::run(0, &[1]))];
    encode(WalHeader::open(BROKER, SESSION), sections);
}

#[test]
#[should_panic(expected = "offsets follow each other")]
fn a_section_has_no_gaps() {
    section(
        1,
        0,
        &[
            samples::batch(0, 2, Codec::None),
            samples::batch(3, 1, Codec::None),
        ],
    );
}

#[test]
fn bundles_round_trip() {
    let objects: Vec<WalObject> = (3..6)
        .map(|sequence| {
            encode(
                header(sequence),
                vec![section(1, 0, &samples::run(0, &[1]))],
            )
        })
        .collect();
    let tails: Vec<Bytes> = objects.iter().map(WalObject::tail).collect();
    let bytes = encode_directories(&tails);
    let directories = parse_directories(&bytes).unwrap();
    let expected: Vec<WalDirectory> = objects
        .iter()
        .map(|object| object.directory.clone())
        .collect();
    assert_eq!(directories, expected);
    for len in 0..bytes.len() {
        assert!(parse_directories(&bytes[..len]).is_err(), "{len}");
    }
    for (at, flipped) in samples::flips(&bytes, 0..bytes.len()) {
        assert!(parse_directories(&flipped).is_err(), "bit of byte {at}");
    }
    let gap = encode_directories(&[tails[0].clone(), tails[2].clone()]);
    assert_eq!(
        parse_directories(&gap),
        Err(WalBundleError::Order { number: 1 })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn objects_round_trip(
        parts in prop::collection::btree_map(
            any::<u8>(),
            (0_i64..1 << 50, prop::collection::vec(1_u32..20, 1..5), any::<bool>()),
            1..8,
        ),
        sequence in 1_u64..1 << 60,
    ) {
        let sections = parts
            .iter()
            .map(|(&number, (base, counts, own))| {
                let section = section(number, *base, &samples::run(*base, counts));
                if *own { section.into_own(u64::from(number)).0 } else { section }
            })
            .rev()
            .collect();
        let object = encode(header(sequence), sections);
        let bytes = object.to_vec();
        prop_assert_eq!(crc32fast::hash(&bytes), object.crc32);
        let report = verify(&bytes);
        prop_assert_eq!(report.faults, vec![]);
        prop_assert_eq!(report.directory, Some(object.directory));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = verify(&bytes);
        let _ = WalHeader::parse(&bytes);
        let _ = WalDirectory::from_tail(&bytes);
        let _ = parse_directories(&bytes);
        let trailer = sample().directory.trailer;
        // Rows of any content behind a CRC that fits.
        let trailer = WalTrailer {
            directory_len: u32::try_from(bytes.len()).unwrap(),
            directory_crc: crc32fast::hash(&bytes),
            ..trailer
        };
        let _ = WalDirectory::parse(&trailer, &bytes);
    }

    #[test]
    fn damaged_rows_never_panic(at in 0_usize..900, with: [u8; 8]) {
        let object = sample();
        let tail = object.tail();
        let mut rows = tail[..tail.len() - 96].to_vec();
        if let Some(room) = rows.get_mut(at..at + 8) {
            room.copy_from_slice(&with);
        }
        let trailer = WalTrailer {
            directory_crc: crc32fast::hash(&rows),
            ..object.directory.trailer
        };
        let _ = WalDirectory::parse(&trailer, &rows);
    }
}
