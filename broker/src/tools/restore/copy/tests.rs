use super::*;
use segment::LeaderEpoch;
use segment::batch::{Batches, Codec};
use segment::record::{NewRecord, RecordBatchBuilder};

fn batch(base: i64, codec: Codec, epoch: i32, times: &[i64]) -> (BatchHeader, Bytes) {
    let mut builder = RecordBatchBuilder::new()
        .base_offset(Offset::new(base))
        .leader_epoch(LeaderEpoch::new(epoch))
        .codec(codec);
    for time in times {
        let record = NewRecord {
            timestamp: TimestampMs::new(*time),
            value: Some(b"a value of some length"),
            ..NewRecord::default()
        };
        builder.push(record).unwrap();
    }
    let bytes = builder.build().unwrap();
    (BatchHeader::parse(&bytes).unwrap(), bytes)
}

fn terms(until: i64, segment_bytes: u64) -> Terms {
    Terms {
        until: TimestampMs::new(until),
        segment_bytes,
        created: TimestampMs::new(77),
        writes: true,
    }
}

fn body(sealed: &Sealed) -> Vec<u8> {
    let object = sealed.kfs.to_vec();
    object[32..object.len() - 16].to_vec()
}

#[test]
fn what_lies_within_is_copied_byte_for_byte_and_segments_are_bounded() {
    let batches: Vec<_> = (0..10)
        .map(|n| batch(n * 2, Codec::Gzip, 0, &[n, n]))
        .collect();
    let len = batches[0].1.len() as u64;
    let mut copy = Copy::new(terms(100, 3 * len + 1), Offset::ZERO);
    let mut sealed = copy.batches(&batches).unwrap();
    let (last, copied) = copy.finish().unwrap();
    sealed.extend(last);
    assert_eq!(sealed.len(), 4);
    let bytes: Vec<u8> = sealed.iter().flat_map(body).collect();
    let given: Vec<u8> = batches.iter().flat_map(|(_, b)| b.to_vec()).collect();
    assert_eq!(bytes, given);
    assert_eq!((copied.records, copied.later, copied.cut), (20, 0, 0));
    assert_eq!(copied.bytes, given.len() as u64);
    let entries: Vec<_> = sealed.iter().map(|sealed| sealed.entry.clone()).collect();
    assert_eq!(copied.segments, entries);
    let ranges: Vec<_> = entries
        .iter()
        .map(|e| (e.base.get(), e.end.get()))
        .collect();
    assert_eq!(ranges, [(0, 6), (6, 12), (12, 18), (18, 20)]);
}

/// Holes belong to the segment that comes next, so that coverage has none.
#[test]
fn segments_join_over_what_is_left_out() {
    let batches = [
        batch(10, Codec::None, 2, &[900]),
        batch(12, Codec::Lz4, 2, &[5, 900, 6]),
        batch(15, Codec::None, 3, &[900, 901]),
        batch(30, Codec::None, 5, &[7]),
        batch(31, Codec::None, 6, &[900]),
    ];
    let mut copy = Copy::new(terms(10, 1), Offset::new(8));
    let mut sealed = Vec::new();
    for one in batches.chunks(1) {
        sealed.extend(copy.batches(one).unwrap());
    }
    let (last, copied) = copy.finish().unwrap();
    sealed.extend(last);
    let ranges: Vec<_> = copied
        .segments
        .iter()
        .map(|e| (e.base.get(), e.end.get()))
        .collect();
    assert_eq!(ranges, [(8, 15), (15, 31)]);
    assert_eq!((copied.start.get(), copied.end.get()), (8, 31));
    assert_eq!((copied.records, copied.later, copied.cut), (3, 5, 1));
    let starts = copied.epochs.starts().iter();
    let starts: Vec<_> = starts.map(|s| (s.epoch.get(), s.start.get())).collect();
    assert_eq!(starts, [(2, 12), (5, 30)], "of batches that stayed");
    for sealed in &sealed {
        let report = segment::kfs::verify(&sealed.kfs.to_vec());
        assert!(report.is_sound(), "{:?}", report.faults);
    }
}

/// Records below the log's start come with their batch, and nobody is shown them.
#[test]
fn a_batch_that_begins_below_the_start_is_whole() {
    let mut copy = Copy::new(terms(10, 1_000), Offset::new(2));
    copy.batches(&[batch(0, Codec::None, 0, &[1, 2, 3])])
        .unwrap();
    let (sealed, copied) = copy.finish().unwrap();
    assert_eq!(sealed.unwrap().entry.base, Offset::ZERO);
    assert_eq!((copied.start.get(), copied.end.get()), (2, 3));
}

#[test]
fn nothing_left_is_an_empty_log_at_its_start() {
    let mut copy = Copy::new(terms(10, 1_000), Offset::new(4));
    copy.batches(&[batch(4, Codec::None, 0, &[11, 12])])
        .unwrap();
    let (sealed, copied) = copy.finish().unwrap();
    assert!(sealed.is_none());
    assert_eq!((copied.start, copied.end), (Offset::new(4), Offset::new(4)));
    assert_eq!(copied.later, 2);
}

#[test]
fn a_dry_run_counts_the_same_and_makes_nothing() {
    let batches = [
        batch(0, Codec::Zstd, 0, &[1, 20, 3]),
        batch(3, Codec::None, 1, &[4]),
        batch(4, Codec::None, 1, &[40]),
    ];
    let count = |writes| {
        let terms = Terms {
            writes,
            ..terms(10, 1)
        };
        let mut copy = Copy::new(terms, Offset::ZERO);
        let sealed = copy.batches(&batches).unwrap().len();
        let (last, copied) = copy.finish().unwrap();
        (sealed + usize::from(last.is_some()), copied)
    };
    let ((made, real), (none, dry)) = (count(true), count(false));
    assert_eq!((made, none), (2, 0));
    let segments = Vec::new();
    assert_eq!(dry, Copied { segments, ..real });
}

/// A few batches of a large read do not keep it in memory.
#[test]
fn what_is_kept_of_a_sparse_run_is_copied_out() {
    let batches: Vec<_> = (0..8)
        .map(|n| batch(n, Codec::None, 0, &[if n == 3 { 1 } else { 100 }]))
        .collect();
    let mut copy = Copy::new(terms(10, 1_000), Offset::ZERO);
    copy.batches(&batches).unwrap();
    assert_eq!(copy.chunks.len(), 1);
    assert_ne!(copy.chunks[0].as_ptr(), batches[3].1.as_ptr());
    let mut copy = Copy::new(terms(100, 1_000), Offset::ZERO);
    copy.batches(&batches).unwrap();
    assert_eq!(copy.chunks[3].as_ptr(), batches[3].1.as_ptr());
}

#[test]
fn a_batch_that_cannot_be_read_counts_by_its_header() {
    let damaged = |until| {
        let (_, bytes) = batch(0, Codec::Gzip, 0, &[5, 6]);
        let mut bytes = bytes.to_vec();
        let end = bytes.len();
        bytes[end - 12..].fill(0xff);
        let sum = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&sum.to_be_bytes());
        let header = BatchHeader::parse(&bytes).unwrap();
        let mut copy = Copy::new(terms(until, 1_000), Offset::ZERO);
        copy.batches(&[(header, bytes.into())]).unwrap();
        let (sealed, copied) = copy.finish().unwrap();
        assert_eq!(copied.unreadable, 1);
        sealed.map(|sealed| body(&sealed)).unwrap_or_default()
    };
    assert!(damaged(5).is_empty());
    let kept = damaged(6);
    assert_eq!(Batches::strict(&kept).count(), 1);
}

/// Bit by bit: the crate that computes it is not one of ours.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| match sum & 1 {
            1 => (sum >> 1) ^ 0x82f6_3b78,
            _ => sum >> 1,
        })
    };
    !bytes.iter().fold(!0, step)
}
