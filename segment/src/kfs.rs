//! The `.kfs` segment object, byte-compatible with KafScale's version 1.
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! | 0 | 4 | magic `KAFS` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | flags, 0 |
//! | 8 | 8 | base offset |
//! | 16 | 4 | record count |
//! | 20 | 8 | created, ms since the Unix epoch |
//! | 28 | 4 | reserved, 0 |
//! | 32 | n | body: record batches, one after the other |
//! | 32+n | 4 | CRC-32C of the body |
//! | 36+n | 8 | last offset |
//! | 44+n | 4 | footer magic `END!` |
//!
//! The header lies outside the CRC; the base offset, the count and the last offset are checked
//! against the batches instead. The created time alone is unprotected.

use std::ops::Range;

use bytes::Bytes;

use crate::batch::{Batch, BatchError, Batches};
use crate::cursor::{Cursor, Ended};
use crate::ids::{Offset, TimestampMs};
use crate::index::{INDEX_INTERVAL, Index, IndexBuilder};

/// Bytes before the body.
pub const KFS_HEADER_BYTES: usize = 32;
/// Bytes after the body.
pub const KFS_FOOTER_BYTES: usize = 16;
/// Most bytes of a segment: an index position is a signed 32-bit integer.
pub const KFS_BYTES_MAX: u64 = i32::MAX as u64;
/// Most faults that `verify` lists.
pub const KFS_FAULTS_MAX: usize = 64;

const MAGIC: [u8; 4] = *b"KAFS";
const END_MAGIC: [u8; 4] = *b"END!";
const VERSION: u16 = 1;

const _: () = assert!(KFS_FOOTER_BYTES == 4 + 8 + END_MAGIC.len());

/// What is wrong with a segment's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KfsError {
    /// Fewer bytes than header and footer have.
    #[error("segment has {len} bytes, fewer than header and footer")]
    TooShort {
        /// Bytes present.
        len: usize,
    },
    /// The header does not start with `KAFS`.
    #[error("segment header has magic {found:02x?}")]
    HeaderMagic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// Another version than 1.
    #[error("segment has version {version}, expected 1")]
    Version {
        /// Version found.
        version: u16,
    },
    /// Flags that no version defines.
    #[error("segment has flags {flags:#06x}, expected 0")]
    Flags {
        /// Flags found.
        flags: u16,
    },
    /// A base offset or record count below 0.
    #[error("segment header has base offset {base_offset} and {record_count} records")]
    HeaderRange {
        /// Base offset found.
        base_offset: Offset,
        /// Record count found.
        record_count: i32,
    },
    /// The footer does not end with `END!`.
    #[error("segment footer has magic {found:02x?}")]
    FooterMagic {
        /// The last four bytes.
        found: [u8; 4],
    },
    /// The body's CRC-32C does not match the footer's.
    #[error("segment footer has CRC {stored:08x}, the body gives {computed:08x}")]
    BodyCrc {
        /// CRC in the footer.
        stored: u32,
        /// CRC of the body.
        computed: u32,
    },
    /// The body holds no batch.
    #[error("segment holds no batch")]
    Empty,
    /// A batch cannot be read or is damaged.
    #[error("batch at {position}: {source}")]
    Batch {
        /// Where the batch starts in the object.
        position: u64,
        /// What is wrong with it.
        source: BatchError,
    },
    /// A batch starts before the one before it ended, or before the segment's base offset.
    #[error("batch at {position} has base offset {found}, expected at least {expected}")]
    OffsetOrder {
        /// Where the batch starts in the object.
        position: u64,
        /// Lowest offset that it may have.
        expected: Offset,
        /// Its base offset.
        found: Offset,
    },
    /// The header's record count is not the batches'.
    #[error("segment header states {stated} records, the batches hold {counted}")]
    RecordCount {
        /// Count in the header.
        stated: u32,
        /// Sum over the batches.
        counted: u64,
    },
    /// The footer's last offset is not the last batch's.
    #[error("segment footer states last offset {stated}, the last batch has {found}")]
    LastOffset {
        /// Last offset in the footer.
        stated: Offset,
        /// Last offset of the last batch.
        found: Offset,
    },
    /// More bytes than an index can point into.
    #[error("segment has {len} bytes, more than {KFS_BYTES_MAX}")]
    TooLarge {
        /// Bytes of the object.
        len: u64,
    },
    /// More records than the header's field holds.
    #[error("segment has {counted} records, more than its header can state")]
    TooManyRecords {
        /// Sum over the batches.
        counted: u64,
    },
}

/// The 32 bytes before the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KfsHeader {
    /// First offset of the segment.
    pub base_offset: Offset,
    /// Records in the body.
    pub record_count: u32,
    /// When the segment was built.
    pub created: TimestampMs,
}

impl KfsHeader {
    /// Decodes the header at the front of `bytes`.
    ///
    /// # Errors
    /// Too few bytes, wrong magic, version or flags, a negative offset or count.
    pub fn parse(bytes: &[u8]) -> Result<Self, KfsError> {
        Self::read(bytes).unwrap_or(Err(KfsError::TooShort { len: bytes.len() }))
    }

    fn read(bytes: &[u8]) -> Result<Result<Self, KfsError>, Ended> {
        let mut cursor = Cursor::new(bytes);
        let found = cursor.array::<4>()?;
        let version = cursor.u16()?;
        let flags = cursor.u16()?;
        let base_offset = Offset::new(cursor.i64()?);
        let record_count = cursor.i32()?;
        let created = TimestampMs::new(cursor.i64()?);
        let _reserved = cursor.u32()?;
        assert!(
            cursor.position() == KFS_HEADER_BYTES,
            "the header's fields have 32 bytes"
        );
        if found != MAGIC {
            return Ok(Err(KfsError::HeaderMagic { found }));
        }
        if version != VERSION {
            return Ok(Err(KfsError::Version { version }));
        }
        if flags != 0 {
            return Ok(Err(KfsError::Flags { flags }));
        }
        Ok(match u32::try_from(record_count) {
            Ok(count) if base_offset.is_valid() => Ok(Self {
                base_offset,
                record_count: count,
                created,
            }),
            _ => Err(KfsError::HeaderRange {
                base_offset,
                record_count,
            }),
        })
    }

    /// The 32 bytes.
    pub fn encode(&self) -> [u8; KFS_HEADER_BYTES] {
        assert!(
            self.base_offset.is_valid(),
            "a segment starts at a valid offset"
        );
        assert!(
            i32::try_from(self.record_count).is_ok(),
            "the count fits its field"
        );
        let mut out = [0; KFS_HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4..6].copy_from_slice(&VERSION.to_be_bytes());
        out[8..16].copy_from_slice(&self.base_offset.get().to_be_bytes());
        out[16..20].copy_from_slice(&self.record_count.to_be_bytes());
        out[20..28].copy_from_slice(&self.created.get().to_be_bytes());
        out
    }
}

/// The 16 bytes after the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KfsFooter {
    /// CRC-32C of the body.
    pub body_crc32c: u32,
    /// Last offset of the segment.
    pub last_offset: Offset,
}

impl KfsFooter {
    /// Decodes the footer from the last 16 bytes of `tail`, which is the object or any end of it.
    ///
    /// # Errors
    /// Too few bytes or a wrong magic.
    pub fn parse(tail: &[u8]) -> Result<Self, KfsError> {
        let footer = tail
            .last_chunk::<KFS_FOOTER_BYTES>()
            .ok_or(KfsError::TooShort { len: tail.len() })?;
        Self::read(footer).unwrap_or(Err(KfsError::TooShort { len: tail.len() }))
    }

    fn read(footer: &[u8]) -> Result<Result<Self, KfsError>, Ended> {
        let mut cursor = Cursor::new(footer);
        let body_crc32c = cursor.u32()?;
        let last_offset = Offset::new(cursor.i64()?);
        let found = cursor.array::<4>()?;
        assert!(cursor.remaining() == 0, "the footer's fields have 16 bytes");
        if found != END_MAGIC {
            return Ok(Err(KfsError::FooterMagic { found }));
        }
        Ok(Ok(Self {
            body_crc32c,
            last_offset,
        }))
    }

    /// The 16 bytes.
    pub fn encode(&self) -> [u8; KFS_FOOTER_BYTES] {
        let mut out = [0; KFS_FOOTER_BYTES];
        out[0..4].copy_from_slice(&self.body_crc32c.to_be_bytes());
        out[4..12].copy_from_slice(&self.last_offset.get().to_be_bytes());
        out[12..16].copy_from_slice(&END_MAGIC);
        out
    }
}

/// Byte range of the body in an object of `len` bytes; `None` when it is too short for one.
pub fn body_range(len: u64) -> Option<Range<u64>> {
    let end = len.checked_sub(KFS_FOOTER_BYTES as u64)?;
    (end >= KFS_HEADER_BYTES as u64).then_some(KFS_HEADER_BYTES as u64..end)
}

/// A segment ready to be PUT: the body's chunks are the caller's, not copies.
#[derive(Debug, Clone)]
pub struct KfsObject {
    /// Header, body, footer: the object is their concatenation.
    pub chunks: Vec<Bytes>,
    /// Bytes of the object.
    pub len: u64,
    /// CRC-32 (IEEE) of the whole object, for the store's checksum.
    pub crc32: u32,
    /// The header that was written.
    pub header: KfsHeader,
    /// The footer that was written.
    pub footer: KfsFooter,
    /// Last offset of the last batch.
    pub last_offset: Offset,
    /// Records in the body.
    pub record_count: u32,
    /// Largest timestamp of the batches.
    pub max_timestamp: TimestampMs,
    /// The `.index` that goes with the object (interval 100).
    pub index: Index,
}

impl KfsObject {
    /// Builds a segment around `chunks`, each of which holds whole batches, in offset order.
    ///
    /// The headers of the batches are walked; their CRCs are not computed again, since every batch
    /// was verified when it arrived. `base_offset` may be lower than the first batch's (log
    /// compaction leaves gaps).
    ///
    /// # Errors
    /// No batch, a chunk that does not hold whole batches, offsets out of order, or more bytes or
    /// records than the format can state.
    pub fn build(
        base_offset: Offset,
        created: TimestampMs,
        chunks: Vec<Bytes>,
    ) -> Result<Self, KfsError> {
        let mut walk = BodyWalk::new(base_offset);
        let mut body_crc32c = 0;
        for chunk in &chunks {
            walk.chunk(chunk)?;
            body_crc32c = crc32c::crc32c_append(body_crc32c, chunk);
        }
        let last_offset = walk.last_offset.ok_or(KfsError::Empty)?;
        let len = walk.position + KFS_FOOTER_BYTES as u64;
        if len > KFS_BYTES_MAX {
            return Err(KfsError::TooLarge { len });
        }
        let counted = walk.record_count;
        let record_count = i32::try_from(counted)
            .ok()
            .and_then(|count| u32::try_from(count).ok())
            .ok_or(KfsError::TooManyRecords { counted })?;
        let header = KfsHeader {
            base_offset,
            record_count,
            created,
        };
        let footer = KfsFooter {
            body_crc32c,
            last_offset,
        };
        let mut all = Vec::with_capacity(chunks.len() + 2);
        all.push(Bytes::copy_from_slice(&header.encode()));
        all.extend(chunks);
        all.push(Bytes::copy_from_slice(&footer.encode()));
        let mut sum = crc32fast::Hasher::new();
        all.iter().for_each(|chunk| sum.update(chunk));
        assert!(
            all.iter().map(|chunk| chunk.len() as u64).sum::<u64>() == len,
            "nothing is lost"
        );
        assert!(
            last_offset >= base_offset,
            "a segment ends behind its beginning"
        );
        assert!(
            body_range(len).is_some_and(|body| body.end == walk.position),
            "the body ends where the batches end"
        );
        let index = walk.index.finish();
        assert!(
            index
                .entries()
                .first()
                .is_some_and(|first| first.position as usize == KFS_HEADER_BYTES),
            "the index has the first batch"
        );
        Ok(Self {
            chunks: all,
            len,
            crc32: sum.finalize(),
            header,
            footer,
            last_offset,
            record_count,
            max_timestamp: walk.max_timestamp,
            index,
        })
    }

    /// The object in one piece (a copy), for tests and small objects.
    pub fn to_vec(&self) -> Vec<u8> {
        self.chunks.concat()
    }
}

/// What walking a body finds out, in the order of the batches.
struct BodyWalk {
    position: u64,
    expected: Offset,
    last_offset: Option<Offset>,
    record_count: u64,
    batch_count: u64,
    gap_count: u64,
    max_timestamp: TimestampMs,
    index: IndexBuilder,
}

impl BodyWalk {
    fn new(base_offset: Offset) -> Self {
        Self {
            position: KFS_HEADER_BYTES as u64,
            expected: base_offset,
            last_offset: None,
            record_count: 0,
            batch_count: 0,
            gap_count: 0,
            max_timestamp: TimestampMs::NONE,
            index: IndexBuilder::new(INDEX_INTERVAL),
        }
    }

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), KfsError> {
        let start = self.position;
        for batch in Batches::strict(chunk) {
            let position = self.position;
            let batch = batch.map_err(|source| KfsError::Batch { position, source })?;
            self.batch(&batch)?;
        }
        assert!(
            self.position == start + chunk.len() as u64,
            "every byte of a chunk is one of a batch"
        );
        Ok(())
    }

    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), KfsError> {
        let header = &batch.header;
        let position = self.position;
        let (expected, found) = (self.expected, header.base_offset);
        self.position += batch.bytes.len() as u64;
        self.expected = header.next_offset();
        self.last_offset = Some(header.last_offset());
        self.batch_count += 1;
        self.record_count += u64::from(header.record_count);
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        if found < expected {
            return Err(KfsError::OffsetOrder {
                position,
                expected,
                found,
            });
        }
        if found > expected {
            self.gap_count += 1;
        }
        // A position past the limit fails the build below; the index must not see it.
        if let Ok(position) = i32::try_from(position) {
            self.index.push(found, position as u32, header.record_count);
        }
        Ok(())
    }
}

/// What `verify` found. The segment is sound when `faults` is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KfsReport {
    /// The header, where it can be read.
    pub header: Option<KfsHeader>,
    /// The footer, where it can be read.
    pub footer: Option<KfsFooter>,
    /// Batches walked.
    pub batch_count: u64,
    /// Records that their headers state.
    pub record_count: u64,
    /// Places where offsets are skipped: usual after log compaction only.
    pub gap_count: u64,
    /// Last offset of the last batch walked.
    pub last_offset: Option<Offset>,
    /// Largest timestamp of the batches walked.
    pub max_timestamp: TimestampMs,
    /// The index that the batches call for (interval 100).
    pub index: Index,
    /// What is wrong, in the order of the bytes; at most `KFS_FAULTS_MAX`.
    pub faults: Vec<KfsError>,
}

impl KfsReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, fault: KfsError) {
        if self.faults.len() < KFS_FAULTS_MAX {
            self.faults.push(fault);
        }
    }
}

/// Checks a whole segment: magic, version, the body's CRC-32C, every batch's CRC, the order of
/// offsets, counts and the last offset.
pub fn verify(bytes: &[u8]) -> KfsReport {
    let mut report = KfsReport {
        header: None,
        footer: None,
        batch_count: 0,
        record_count: 0,
        gap_count: 0,
        last_offset: None,
        max_timestamp: TimestampMs::NONE,
        index: IndexBuilder::new(INDEX_INTERVAL).finish(),
        faults: Vec::new(),
    };
    let body_end = bytes.len().saturating_sub(KFS_FOOTER_BYTES);
    let Some(body) = bytes.get(KFS_HEADER_BYTES..body_end) else {
        report.fault(KfsError::TooShort { len: bytes.len() });
        return report;
    };
    match KfsHeader::parse(bytes) {
        Ok(header) => report.header = Some(header),
        Err(fault) => report.fault(fault),
    }
    match KfsFooter::parse(bytes) {
        Ok(footer) => report.footer = Some(footer),
        Err(fault) => report.fault(fault),
    }
    verify_body(body, &mut report);
    if bytes.len() as u64 > KFS_BYTES_MAX {
        report.fault(KfsError::TooLarge {
            len: bytes.len() as u64,
        });
    }
    assert!(
        !report.is_sound() || report.header.is_some() && report.footer.is_some(),
        "what cannot be read is a fault"
    );
    report
}

fn verify_body(body: &[u8], report: &mut KfsReport) {
    let base_offset = report
        .header
        .map_or(Offset::new(i64::MIN), |header| header.base_offset);
    let mut walk = BodyWalk::new(base_offset);
    let mut batches = Batches::strict(body);
    for batch in batches.by_ref() {
        let position = walk.position;
        let checked = batch
            .and_then(|batch| batch.verify_crc().map(|()| batch))
            .map_err(|source| KfsError::Batch { position, source });
        // A damaged batch still tells its length, so the walk goes on behind it.
        let outcome = match (batch, checked) {
            (Ok(batch), Ok(_)) => walk.batch(&batch),
            (Ok(batch), Err(fault)) => walk.batch(&batch).and(Err(fault)),
            (Err(_), checked) => checked.map(|_| ()),
        };
        if let Err(fault) = outcome {
            report.fault(fault);
        }
    }
    assert!(
        walk.position == (KFS_HEADER_BYTES + batches.position()) as u64,
        "each batch is counted once, damaged or not"
    );
    let complete = batches.position() == body.len();
    report.batch_count = walk.batch_count;
    report.record_count = walk.record_count;
    report.gap_count = walk.gap_count;
    report.last_offset = walk.last_offset;
    report.max_timestamp = walk.max_timestamp;
    if walk.batch_count == 0 {
        report.fault(KfsError::Empty);
    }
    verify_footer(body, complete, report);
    report.index = walk.index.finish();
}

fn verify_footer(body: &[u8], complete: bool, report: &mut KfsReport) {
    if let Some(footer) = report.footer {
        let computed = crc32c::crc32c(body);
        let stored = footer.body_crc32c;
        if stored != computed {
            report.fault(KfsError::BodyCrc { stored, computed });
        }
        match report.last_offset {
            Some(found) if complete && found != footer.last_offset => {
                report.fault(KfsError::LastOffset {
                    stated: footer.last_offset,
                    found,
                });
            }
            _ => (),
        }
    }
    if let Some(header) = report.header
        && complete
        && u64::from(header.record_count) != report.record_count
    {
        let (stated, counted) = (header.record_count, report.record_count);
        report.fault(KfsError::RecordCount { stated, counted });
    }
}

#[cfg(test)]
mod tests;
