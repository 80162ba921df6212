//! Pins every stored layout to bytes in `testdata/`. A change of a layout needs a new version and a
//! new file; these stay, since buckets hold such objects.
//!
//! `UPDATE_GOLDEN=1 cargo test -p segment --test golden` writes the files anew.

#![expect(clippy::unwrap_used, reason = "a test helper may panic")]

use std::path::PathBuf;

use bytes::Bytes;
use segment::backup::{Backup, BackupEntry};
use segment::batch::{BatchHeader, Batches};
use segment::index::{INDEX_INTERVAL, Index};
use segment::kfs::{self, KfsObject};
use segment::manifest::{Manifest, ManifestSegment, time_points};
use segment::producer_snapshot::{
    AbortedTransaction, ProducerSnapshot, ProducerState, SnapshotBatch,
};
use segment::record::{ControlMarker, MarkerKind, NewRecord, RecordBatchBuilder};
use segment::wal::{
    self, WalDirectory, WalHeader, WalObject, WalSection, WalSectionBuilder, WalTail,
};
use segment::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, SessionId,
    TimestampMs, TopicId, TopicPartition, WalSequence,
};

const TOPIC: TopicId = TopicId::new(*b"golden topic id.");
const SESSION: SessionId = SessionId::new(*b"golden session..");
const EPOCH: LeaderEpoch = LeaderEpoch::new(4);
const T0: i64 = 1_700_000_000_000;

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, PartitionIndex::new(index))
}

/// Batches without compression: an encoder's next version may write other bytes for the same
/// records.
fn batches() -> Vec<Bytes> {
    let mut next = 1_000_i64;
    let mut out = Vec::new();
    for count in [1, 120, 30, 70, 5] {
        let mut builder = RecordBatchBuilder::new().base_offset(Offset::new(next));
        builder = builder.leader_epoch(EPOCH);
        if count == 30 {
            let sequence = Sequence::new(i32::MAX - 9);
            builder = builder.producer(ProducerId::new(77), ProducerEpoch::new(2), sequence);
        }
        for number in 0..count {
            let value = format!("value {}", next + number);
            builder
                .push(NewRecord {
                    timestamp: TimestampMs::new(T0 + next + number),
                    key: (number % 2 == 0).then_some(b"key".as_slice()),
                    value: Some(value.as_bytes()),
                    headers: &[("h", Some(b"1")), ("none", None)],
                })
                .unwrap();
        }
        out.push(builder.build().unwrap());
        next += count;
    }
    out
}

fn segment_object() -> KfsObject {
    let created = TimestampMs::new(T0 + 9_999);
    KfsObject::build(Offset::new(1_000), created, batches()).unwrap()
}

fn section(index: i32, first: i64, batches: &[Bytes]) -> WalSection {
    let mut builder = WalSectionBuilder::new(partition(index), EPOCH, Offset::new(first));
    for bytes in batches {
        builder
            .push(&BatchHeader::parse(bytes).unwrap(), bytes.clone())
            .unwrap();
    }
    builder.finish()
}

fn marker(offset: i64) -> Bytes {
    let marker = ControlMarker {
        kind: MarkerKind::Commit,
        coordinator_epoch: 6,
    };
    let (id, epoch) = (ProducerId::new(77), ProducerEpoch::new(2));
    let bytes = RecordBatchBuilder::marker(marker, id, epoch, TimestampMs::new(T0)).unwrap();
    let mut bytes = bytes.to_vec();
    segment::batch::assign(&mut bytes, Offset::new(offset), EPOCH);
    bytes.into()
}

fn wal_object() -> WalObject {
    let acknowledged = Some(WalSequence::new(40));
    let header = WalHeader::data(
        BrokerId::new(3),
        SESSION,
        WalSequence::new(42),
        acknowledged,
    );
    let (own, _) = section(1, 1_000, &batches()).into_own(8);
    wal::encode(
        header,
        vec![
            section(0, 1_000, &batches()),
            own,
            section(2, 5, &[marker(5)]),
        ],
    )
}

fn fence_object() -> WalObject {
    let by = SessionId::new(*b"another session.");
    let header = WalHeader::fence(BrokerId::new(3), SESSION, WalSequence::new(43), by);
    wal::encode(header, vec![])
}

fn snapshot() -> ProducerSnapshot {
    let batch = SnapshotBatch {
        base_sequence: Sequence::new(i32::MAX - 9),
        last_sequence: Sequence::new(19),
        base_offset: Offset::new(1_121),
        last_offset: Offset::new(1_150),
        timestamp: TimestampMs::new(T0 + 1_150),
    };
    ProducerSnapshot {
        partition: partition(0),
        end_offset: Offset::new(1_226),
        producers: vec![
            ProducerState {
                producer_id: ProducerId::new(77),
                epoch: ProducerEpoch::new(2),
                coordinator_epoch: -1,
                last_timestamp: TimestampMs::new(T0 + 1_150),
                transaction_first_offset: None,
                batches: vec![batch],
            },
            ProducerState {
                producer_id: ProducerId::new(78),
                epoch: ProducerEpoch::ZERO,
                coordinator_epoch: 6,
                last_timestamp: TimestampMs::new(T0),
                transaction_first_offset: Some(Offset::new(1_200)),
                batches: vec![],
            },
        ],
        aborted: vec![AbortedTransaction {
            producer_id: ProducerId::new(78),
            first_offset: Offset::new(1_010),
            last_offset: Offset::new(1_020),
            last_stable_offset: Offset::new(1_010),
        }],
    }
}

fn manifest() -> Manifest {
    let object = segment_object();
    Manifest {
        partition: partition(0),
        leader_epoch: EPOCH,
        compacted_end: Offset::new(1_226),
        log_start: Offset::new(1_001),
        segments: vec![ManifestSegment {
            base: Offset::new(1_000),
            end: Offset::new(1_226),
            bytes: object.len,
            crc32: object.crc32,
            created: object.header.created,
            max_timestamp: object.max_timestamp,
            max_timestamp_offset: Some(Offset::new(1_225)),
            time_points: time_points(&batches()).unwrap(),
        }],
    }
}

/// File names and the bytes that this code writes.
fn written() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("segment-v1.kfs", segment_object().to_vec()),
        ("segment-v1.index", segment_object().index.encode().to_vec()),
        ("data-v1.wal", wal_object().to_vec()),
        ("fence-v1.wal", fence_object().to_vec()),
        (
            "bundle-v1.dir",
            wal::encode_directories(&[wal_object().tail(), fence_object().tail()]).to_vec(),
        ),
        ("producers-v1", snapshot().encode().to_vec()),
        ("manifest-v1.kfm", manifest().encode().to_vec()),
        ("backup-v1", backup().encode().to_vec()),
    ]
}

fn backup() -> Backup {
    let entry = |key: &'static str, value: &'static str| BackupEntry {
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::from_static(value.as_bytes()),
    };
    Backup {
        cluster_id: "golden cluster id".to_owned(),
        cluster: "kafscale".to_owned(),
        revision: 42,
        made: TimestampMs::new(T0),
        entries: vec![
            entry("/kafscale/kafscale/cluster", r#"{"v":1}"#),
            entry("/kafscale/kafscale/topics/orders", ""),
        ],
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

fn stored(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("testdata/{name}: {error}"))
}

#[test]
fn what_is_written_equals_the_golden_files() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (name, bytes) in written() {
        if update {
            std::fs::write(path(name), &bytes).unwrap();
        }
        assert!(
            stored(name) == bytes,
            "testdata/{name} differs from what is written today"
        );
    }
}

#[test]
fn the_golden_files_are_read() {
    let report = kfs::verify(&stored("segment-v1.kfs"));
    assert_eq!(report.faults, vec![]);
    assert_eq!(report.record_count, 226);
    assert_eq!(Index::parse(&stored("segment-v1.index")), Ok(report.index));
    let report = wal::verify(&stored("data-v1.wal"));
    assert_eq!(report.faults, vec![]);
    assert_eq!(report.directory, Some(wal_object().directory));
    let fence = WalDirectory::from_tail(&stored("fence-v1.wal"));
    assert_eq!(fence, Ok(WalTail::Directory(fence_object().directory)));
    let bundle = wal::parse_directories(&stored("bundle-v1.dir"));
    assert_eq!(
        bundle,
        Ok(vec![wal_object().directory, fence_object().directory])
    );
    assert_eq!(
        ProducerSnapshot::parse(&stored("producers-v1")),
        Ok(snapshot())
    );
    assert_eq!(Manifest::parse(&stored("manifest-v1.kfm")), Ok(manifest()));
    assert_eq!(Backup::parse(&stored("backup-v1").into()), Ok(backup()));
}

fn be<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}

/// Version 1 readers of KafScale: the broker seeks by index, the command line checks magics,
/// version and counts. Written from the format's table alone, without this crate's parsers.
#[test]
fn a_version_1_reader_accepts_segment_and_index() {
    let segment = stored("segment-v1.kfs");
    assert_eq!(&segment[0..4], b"KAFS");
    assert_eq!(u16::from_be_bytes(be(&segment, 4)), 1);
    assert_eq!(u16::from_be_bytes(be(&segment, 6)), 0);
    assert_eq!(i64::from_be_bytes(be(&segment, 8)), 1_000);
    assert_eq!(i32::from_be_bytes(be(&segment, 16)), 226);
    assert_eq!(i64::from_be_bytes(be(&segment, 20)), T0 + 9_999);
    assert_eq!(u32::from_be_bytes(be(&segment, 28)), 0);
    let end = segment.len() - 16;
    assert_eq!(
        u32::from_be_bytes(be(&segment, end)),
        crc32c::crc32c(&segment[32..end])
    );
    assert_eq!(i64::from_be_bytes(be(&segment, end + 4)), 1_225);
    assert_eq!(&segment[end + 12..], b"END!");

    // The entries that the rule asks for: the first batch, then one when 100 messages have passed.
    let (mut expected, mut since, mut at) = (Vec::new(), 0, 32);
    while at < end {
        if expected.is_empty() || since >= 100 {
            expected.push((
                i64::from_be_bytes(be(&segment, at)),
                i32::try_from(at).unwrap(),
            ));
            since = 0;
        }
        since += i32::from_be_bytes(be(&segment, at + 57));
        at += 12 + usize::try_from(i32::from_be_bytes(be(&segment, at + 8))).unwrap();
    }
    assert_eq!(at, end);

    let index = stored("segment-v1.index");
    assert_eq!(&index[0..4], b"IDX\0");
    assert_eq!(u16::from_be_bytes(be(&index, 4)), 1);
    let count = usize::try_from(i32::from_be_bytes(be(&index, 6))).unwrap();
    assert_eq!(u32::from_be_bytes(be(&index, 10)), INDEX_INTERVAL);
    assert_eq!(u16::from_be_bytes(be(&index, 14)), 0);
    assert_eq!(index.len(), 16 + 12 * count);
    let entries: Vec<(i64, i32)> = (0..count)
        .map(|k| {
            let offset = i64::from_be_bytes(be(&index, 16 + 12 * k));
            (offset, i32::from_be_bytes(be(&index, 24 + 12 * k)))
        })
        .collect();
    assert_eq!(entries, expected);
    assert_eq!(entries.len(), 3);
}

#[test]
fn a_wal_section_is_the_body_of_a_segment() {
    let bytes = stored("data-v1.wal");
    let segment = stored("segment-v1.kfs");
    let directory = wal_object().directory;
    let range = directory.entries[0].inline_range().unwrap();
    let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
    assert_eq!(&bytes[range], &segment[32..segment.len() - 16]);
    // The section that lies in an object of its own is checked against that object's body.
    let own = &directory.entries[1];
    assert_eq!(
        wal::verify_section(own, &segment[32..segment.len() - 16]),
        Ok(5)
    );
    assert_eq!(Batches::strict(&segment[32..segment.len() - 16]).count(), 5);
}
