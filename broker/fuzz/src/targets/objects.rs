//! What lies in the object store: segments, indexes, WAL objects, manifests, snapshots of producers, backups.

use bytes::Bytes;
use segment::backup::{Backup, BackupEntry};
use segment::index::{INDEX_HEADER_BYTES, Index};
use segment::kfs::{KFS_FOOTER_BYTES, KFS_HEADER_BYTES, KfsFooter, KfsHeader, body_range};
use segment::manifest::Manifest;
use segment::producer_snapshot::ProducerSnapshot;
use segment::survey::Survey;
use segment::wal::{
    WAL_HEADER_BYTES, WAL_TRAILER_BYTES, WalDirectory, WalHeader, WalTail, WalTrailer,
    encode_directories, parse_directories,
};
use segment::{Offset, TimestampMs, kfs, wal};

use super::Target;
use crate::{feedback, memory, recorded};

/// Decoded rows are larger than stored ones: a row of a directory that has no batch of a producer takes half as much
/// again, and a vector that grows has room for twice its rows.
const BYTES_FOR_EACH: usize = 4;

/// A file that pins a format.
fn pinned(name: &str) -> Vec<Vec<u8>> {
    let path = recorded::testdata()
        .join("../../../segment/testdata")
        .join(name);
    std::fs::read(path).into_iter().collect()
}

/// The bytes with a right CRC-32 of all that comes before it at their end.
fn with_crc(input: &[u8]) -> Option<Vec<u8>> {
    let mut fixed = input.to_vec();
    let (body, crc) = fixed.split_last_chunk_mut::<4>()?;
    *crc = crc32fast::hash(body).to_be_bytes();
    Some(fixed)
}

/// The input as it is, and with a right checksum.
fn both(input: &[u8], check: fn(&[u8])) {
    check(input);
    if let Some(fixed) = with_crc(input) {
        check(&fixed);
    }
}

/// No beginning of a sound object is sound.
fn cut_off_is_refused(bytes: &[u8], is_sound: impl Fn(&[u8]) -> bool) {
    let step = bytes.len() / 256 + 1;
    for cut in (0..bytes.len()).step_by(step) {
        assert!(
            !is_sound(&bytes[..cut]),
            "{cut} of {} bytes are accepted",
            bytes.len()
        );
    }
}

/// `.kfs` objects.
pub const SEGMENT: Target = Target {
    name: "segment",
    about: "segment reader: header, footer, body",
    run: segment,
    seeds: || pinned("segment-v1.kfs"),
    words: &[b"KAFS\0\x01\0\0", b"END!"],
};

fn segment(input: &[u8]) {
    let report = memory::within(input.len(), BYTES_FOR_EACH, || kfs::verify(input));
    feedback::note((report.is_sound(), report.faults.len().min(4)));
    for fault in &report.faults {
        feedback::note_result::<(), _>("fault", &Err(fault));
    }
    surveyed(input);
    let header = KfsHeader::parse(input);
    feedback::note_result("header", &header);
    if let Ok(header) = &header {
        // The last four bytes of a header are reserved.
        assert_eq!(header.encode()[..28], input[..28]);
    }
    let footer = KfsFooter::parse(input);
    feedback::note_result("footer", &footer);
    if let Ok(footer) = footer {
        assert_eq!(footer.encode(), input[input.len() - KFS_FOOTER_BYTES..]);
    }
    if report.is_sound() {
        let header = header.expect("a sound segment has a header");
        let body = body_range(input.len() as u64).expect("a sound segment has a body");
        let body = Bytes::copy_from_slice(&input[body.start as usize..body.end as usize]);
        let built = kfs::KfsObject::build(header.base_offset, header.created, vec![body]);
        let built = built.expect("a sound body can be built again").to_vec();
        assert_eq!(built[KFS_HEADER_BYTES..], input[KFS_HEADER_BYTES..]);
        cut_off_is_refused(input, |bytes| kfs::verify(bytes).is_sound());
    }
    // Behind a right checksum of the body.
    if let Some(body) = body_range(input.len() as u64)
        && footer.is_ok()
    {
        let mut fixed = input.to_vec();
        let (start, end) = (body.start as usize, body.end as usize);
        let crc = crc32c::crc32c(&fixed[start..end]);
        fixed[end..end + 4].copy_from_slice(&crc.to_be_bytes());
        let report = kfs::verify(&fixed);
        feedback::note(("fixed", report.is_sound(), report.faults.len().min(4)));
    }
}

/// What a damaged segment still has covers its offsets once, and can be made a segment of.
fn surveyed(input: &[u8]) {
    let base = Offset::new(100);
    let survey = Survey::of(base, input, 1 << 10);
    let end = survey.stated_end.unwrap_or(survey.sound_end());
    let lost = survey.lost(end).len();
    feedback::note(("survey", survey.stretches.len().min(4), lost.min(4)));
    assert!(survey.sound_end() >= base);
    let mut reached = base;
    for stretch in survey.up_to(end) {
        assert_eq!(stretch.first, reached);
        reached = stretch.next;
    }
}

/// `.index` objects.
pub const INDEX: Target = Target {
    name: "index",
    about: "index reader; a lookup is a linear scan",
    run: index,
    seeds: || pinned("segment-v1.index"),
    words: &[b"IDX\0\0\x01"],
};

fn index(input: &[u8]) {
    let parsed = memory::within(input.len(), 2, || Index::parse(input));
    feedback::note_result("index", &parsed);
    let Ok(index) = parsed else {
        return;
    };
    let encoded = index.encode();
    let reserved = INDEX_HEADER_BYTES - 2..INDEX_HEADER_BYTES;
    let mut same = input.to_vec();
    same[reserved].fill(0);
    assert_eq!(encoded, same, "encode after decode is the identity");
    cut_off_is_refused(&encoded, |bytes| Index::parse(bytes).is_ok());
    let entries = index.entries();
    feedback::note(entries.len().min(8));
    let near = entries
        .iter()
        .take(64)
        .flat_map(|entry| [-1, 0, 1].map(|by| entry.offset.get().saturating_add(by)));
    for offset in near.chain([0, -1, i64::MAX, i64::MIN]).map(Offset::new) {
        let scanned = entries
            .iter()
            .rev()
            .find(|entry| entry.offset <= offset)
            .copied();
        assert_eq!(
            index.lookup(offset),
            scanned,
            "a lookup of {offset} is a scan"
        );
    }
    for body_end in [33, 1 << 20, u64::from(u32::MAX)] {
        if let Ok(runs) = index.chunks(100, body_end) {
            assert_eq!(runs[0].start, KFS_HEADER_BYTES as u64);
            assert!(runs.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(runs.iter().all(|run| run.start < run.end));
        }
    }
}

/// WAL objects.
pub const WAL: Target = Target {
    name: "wal",
    about: "WAL reader: header, trailer, directory, sections",
    run: run_wal,
    seeds: || [pinned("data-v1.wal"), pinned("fence-v1.wal")].concat(),
    words: &[b"KWAL\0\x01"],
};

fn run_wal(input: &[u8]) {
    check_wal(input);
    if let Some(fixed) = fixed_wal(input) {
        check_wal(&fixed);
    }
}

/// The object with right checksums of header, directory and trailer, and a trailer that repeats its header and says where
/// the directory lies.
fn fixed_wal(input: &[u8]) -> Option<Vec<u8>> {
    let mut object = input.to_vec();
    let trailer = object.len().checked_sub(WAL_TRAILER_BYTES)?;
    if trailer < WAL_HEADER_BYTES {
        return None;
    }
    let crc = crc32fast::hash(&object[..WAL_HEADER_BYTES - 4]);
    object[WAL_HEADER_BYTES - 4..WAL_HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    let (head, rest) = object.split_at_mut(trailer);
    rest[..WAL_HEADER_BYTES].copy_from_slice(&head[..WAL_HEADER_BYTES]);
    let stated = u64::from_be_bytes(*rest[WAL_HEADER_BYTES..].first_chunk()?);
    let position = (stated as usize).clamp(WAL_HEADER_BYTES, trailer);
    let directory = &head[position..];
    let fields = [
        &(position as u64).to_be_bytes()[..],
        &((trailer + WAL_TRAILER_BYTES) as u64).to_be_bytes(),
        &(directory.len() as u32).to_be_bytes(),
        &crc32fast::hash(directory).to_be_bytes(),
    ];
    rest[WAL_HEADER_BYTES..WAL_HEADER_BYTES + 24].copy_from_slice(&fields.concat());
    let crc = crc32fast::hash(&rest[..WAL_HEADER_BYTES + 24]);
    rest[WAL_HEADER_BYTES + 24..WAL_HEADER_BYTES + 28].copy_from_slice(&crc.to_be_bytes());
    rest[WAL_HEADER_BYTES + 28..].copy_from_slice(&input[input.len() - 4..]);
    Some(object)
}

fn check_wal(input: &[u8]) {
    let header = WalHeader::parse(input);
    feedback::note_result("header", &header);
    if let Ok(header) = header {
        assert_eq!(WalHeader::parse(&header.encode()), Ok(header));
    }
    let trailer = WalTrailer::parse(input);
    feedback::note_result("trailer", &trailer);
    let tail = memory::within(input.len(), BYTES_FOR_EACH, || {
        WalDirectory::from_tail(input)
    });
    feedback::note_result("tail", &tail);
    if let Ok(WalTail::Directory(directory)) = &tail {
        let rows = directory
            .partitions()
            .map(|id| directory.entries_of(id).len());
        assert_eq!(
            rows.sum::<usize>(),
            directory.entries.len(),
            "every row is found"
        );
        feedback::note(directory.entries.len().min(6));
        for entry in &directory.entries {
            if let Some(range) = entry.inline_range() {
                assert!(
                    range.start < range.end && range.end <= directory.trailer.directory_position
                );
            }
        }
    }
    let report = memory::within(input.len(), 2 * BYTES_FOR_EACH, || wal::verify(input));
    feedback::note((report.is_sound(), report.faults.len().min(4)));
    for fault in &report.faults {
        feedback::note_result::<(), _>("fault", &Err(fault));
    }
    if report.is_sound() {
        cut_off_is_refused(input, |bytes| wal::verify(bytes).is_sound());
        for bit in (0..input.len() * 8).step_by(input.len() * 8 / 64 + 1) {
            let mut flipped = input.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!wal::verify(&flipped).is_sound(), "bit {bit} is not missed");
        }
    }
}

/// Bundles of directories of WAL objects.
pub const WAL_BUNDLE: Target = Target {
    name: "wal-bundle",
    about: "directories of WAL objects, written together",
    run: |input| both(input, check_bundle),
    seeds: || pinned("bundle-v1.dir"),
    words: &[b"KDIR\0\x01\0\0", b"KWAL\0\x01"],
};

fn check_bundle(input: &[u8]) {
    let parsed = memory::within(input.len(), BYTES_FOR_EACH, || parse_directories(input));
    feedback::note_result("bundle", &parsed);
    if let Ok(directories) = parsed {
        feedback::note(directories.len().min(4));
        cut_off_is_refused(input, |bytes| parse_directories(bytes).is_ok());
        if directories.is_empty() {
            assert_eq!(encode_directories(&[]), input);
        }
    }
}

/// Manifests of partitions.
pub const MANIFEST: Target = Target {
    name: "manifest",
    about: "a partition's manifest",
    run: |input| both(input, check_manifest),
    seeds: || pinned("manifest-v1.kfm"),
    words: &[],
};

fn check_manifest(input: &[u8]) {
    let parsed = memory::within(input.len(), BYTES_FOR_EACH, || Manifest::parse(input));
    feedback::note_result("manifest", &parsed);
    let Ok(manifest) = parsed else {
        return;
    };
    assert_eq!(
        manifest.encode(),
        input,
        "encode after decode is the identity"
    );
    cut_off_is_refused(input, |bytes| Manifest::parse(bytes).is_ok());
    let segments = &manifest.segments;
    feedback::note(segments.len().min(5));
    for offset in segments.iter().take(16).flat_map(|it| [it.base, it.end]) {
        let holds = segments
            .iter()
            .rev()
            .find(|it| it.base <= offset && offset < it.end);
        let found = manifest.segment_at(offset);
        assert!(
            holds.is_none() || found.is_some(),
            "what holds {offset} is found"
        );
    }
    for segment in segments.iter().take(16) {
        let _ = segment.find_block(TimestampMs::new(0), u32::MAX);
    }
}

/// Snapshots of producers.
pub const PRODUCERS: Target = Target {
    name: "producer-snapshot",
    about: "the producers of a partition",
    run: |input| both(input, check_producers),
    seeds: || pinned("producers-v1"),
    words: &[],
};

fn check_producers(input: &[u8]) {
    let parsed = memory::within(input.len(), BYTES_FOR_EACH, || {
        ProducerSnapshot::parse(input)
    });
    feedback::note_result("producers", &parsed);
    if let Ok(snapshot) = parsed {
        feedback::note(snapshot.producers.len().min(4));
        assert_eq!(
            snapshot.encode(),
            input,
            "encode after decode is the identity"
        );
        cut_off_is_refused(input, |bytes| ProducerSnapshot::parse(bytes).is_ok());
    }
}

/// Backups of the metadata.
pub const BACKUP: Target = Target {
    name: "backup",
    about: "a backup of the metadata",
    run: |input| both(input, check_backup),
    seeds: || pinned("backup-v1"),
    words: &[b"/kafscale/c/"],
};

fn check_backup(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    let row = size_of::<BackupEntry>();
    // Two lengths of four bytes are the least that a row has.
    let parsed = memory::within(input.len(), row / 8 + 1, || Backup::parse(&bytes));
    feedback::note_result("backup", &parsed);
    if let Ok(backup) = parsed {
        feedback::note(backup.entries.len().min(4));
        assert_eq!(
            backup.encode(),
            bytes,
            "encode after decode is the identity"
        );
        cut_off_is_refused(input, |cut| {
            Backup::parse(&Bytes::copy_from_slice(cut)).is_ok()
        });
    }
}
