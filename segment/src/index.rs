//! The `.index` object: a sparse table from offsets to byte positions in a `.kfs` object,
//! byte-compatible with KafScale's version 1. It is derived from the segment and rebuilt when it
//! does not match.
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! | 0 | 4 | magic `IDX\0` |
//! | 4 | 2 | version, 1 |
//! | 6 | 4 | entry count |
//! | 10 | 4 | interval in records |
//! | 14 | 2 | reserved, 0 |
//! | 16+12k | 8 | offset of entry k |
//! | 24+12k | 4 | byte position of its batch in the `.kfs` object |
//!
//! The first batch has an entry; then every batch before which at least `interval` records have
//! passed since the last entry.

use std::ops::Range;

use bytes::Bytes;

use crate::batch::{BatchError, Batches};
use crate::cursor::{Cursor, Ended};
use crate::ids::Offset;
use crate::kfs::KFS_HEADER_BYTES;

/// Records between two entries, as KafScale has it.
pub const INDEX_INTERVAL: u32 = 100;
/// Bytes before the entries.
pub const INDEX_HEADER_BYTES: usize = 16;
/// Bytes of an entry.
pub const INDEX_ENTRY_BYTES: usize = 12;

const MAGIC: [u8; 4] = *b"IDX\0";
const VERSION: u16 = 1;

const _: () = assert!(INDEX_HEADER_BYTES == 4 + 2 + 4 + 4 + 2);
const _: () = assert!(INDEX_ENTRY_BYTES == 8 + 4);

/// Why bytes are not an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Fewer bytes than the header or its entry count asks for.
    #[error("index is cut off at {len} bytes")]
    Truncated {
        /// Bytes present.
        len: usize,
    },
    /// More bytes than the entry count asks for.
    #[error("index has {extra} bytes after its entries")]
    TrailingBytes {
        /// Bytes past the end.
        extra: usize,
    },
    /// The bytes do not start with `IDX\0`.
    #[error("index has magic {found:02x?}")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// Another version than 1.
    #[error("index has version {version}, expected 1")]
    Version {
        /// Version found.
        version: u16,
    },
    /// A negative entry count, or an interval below 1.
    #[error("index states {count} entries with interval {interval}")]
    HeaderRange {
        /// Entry count found.
        count: i32,
        /// Interval found.
        interval: i32,
    },
    /// An entry does not lie after the one before it, or the first not at the body's start.
    #[error("index entry {entry} (offset {offset}, position {position}) is out of order")]
    Order {
        /// Number of the entry.
        entry: usize,
        /// Its offset.
        offset: Offset,
        /// Its position.
        position: i32,
    },
    /// An entry points past the segment's body.
    #[error("index points to {position}, the body ends at {body_end}")]
    PastBody {
        /// Position of the last entry.
        position: u32,
        /// End of the body in the object.
        body_end: u64,
    },
}

/// One entry: a batch and where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Base offset of the batch.
    pub offset: Offset,
    /// Where the batch starts in the `.kfs` object; 32 and up.
    pub position: u32,
}

/// A decoded index: entries rise strictly in offset and position. Immutable, shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    interval: u32,
    entries: Vec<IndexEntry>,
}

impl Index {
    /// Builds the index of a segment from the batches of its body, given in chunks of whole
    /// batches.
    ///
    /// # Errors
    /// A chunk that does not hold whole batches. Batches past 2 GiB get no entry.
    pub fn build(chunks: &[Bytes], interval: u32) -> Result<Self, BatchError> {
        let mut builder = IndexBuilder::new(interval);
        let mut start = KFS_HEADER_BYTES;
        for chunk in chunks {
            for batch in Batches::strict(chunk) {
                let batch = batch?;
                if let Ok(position) = i32::try_from(start + batch.position) {
                    let header = &batch.header;
                    builder.push(header.base_offset, position as u32, header.record_count);
                }
            }
            start += chunk.len();
        }
        Ok(builder.finish())
    }

    /// Decodes an index object.
    ///
    /// # Errors
    /// Anything but exactly what `encode` writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        Self::read(bytes).unwrap_or(Err(IndexError::Truncated { len: bytes.len() }))
    }

    fn read(bytes: &[u8]) -> Result<Result<Self, IndexError>, Ended> {
        let mut cursor = Cursor::new(bytes);
        let found = cursor.array::<4>()?;
        if found != MAGIC {
            return Ok(Err(IndexError::Magic { found }));
        }
        let version = cursor.u16()?;
        if version != VERSION {
            return Ok(Err(IndexError::Version { version }));
        }
        let count = cursor.i32()?;
        let interval = cursor.i32()?;
        let _reserved = cursor.u16()?;
        assert!(
            cursor.position() == INDEX_HEADER_BYTES,
            "the header's fields have 16 bytes"
        );
        let header_range = IndexError::HeaderRange { count, interval };
        let (Ok(entry_count), Ok(interval)) = (usize::try_from(count), u32::try_from(interval))
        else {
            return Ok(Err(header_range));
        };
        if interval == 0 {
            return Ok(Err(header_range));
        }
        // Compared before anything is reserved: the count is the store's word.
        let fitting = cursor.remaining() / INDEX_ENTRY_BYTES;
        if entry_count > fitting {
            return Err(Ended);
        }
        let extra = cursor.remaining() - entry_count * INDEX_ENTRY_BYTES;
        if extra != 0 {
            return Ok(Err(IndexError::TrailingBytes { extra }));
        }
        let mut entries: Vec<IndexEntry> = Vec::with_capacity(entry_count);
        for entry in 0..entry_count {
            let offset = Offset::new(cursor.i64()?);
            let position = cursor.i32()?;
            match next_entry(entries.last(), offset, position) {
                Some(decoded) => entries.push(decoded),
                None => {
                    return Ok(Err(IndexError::Order {
                        entry,
                        offset,
                        position,
                    }));
                }
            }
        }
        assert!(cursor.remaining() == 0, "the entries fill the index");
        Ok(Ok(Self { interval, entries }))
    }

    /// The object's bytes.
    pub fn encode(&self) -> Bytes {
        assert!(self.interval > 0, "an index has an interval");
        let bytes = INDEX_HEADER_BYTES + self.entries.len() * INDEX_ENTRY_BYTES;
        let count = i32::try_from(self.entries.len()).expect("positions bound the entries");
        let interval = i32::try_from(self.interval).expect("the builder bounds the interval");
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&interval.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        for entry in &self.entries {
            out.extend_from_slice(&entry.offset.get().to_be_bytes());
            out.extend_from_slice(&entry.position.to_be_bytes());
        }
        assert!(out.len() == bytes, "an entry has 12 bytes");
        out.into()
    }

    /// The entries, in order.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// Records between two entries.
    pub fn interval(&self) -> u32 {
        self.interval
    }

    /// The entry from which a reader of `offset` starts: the last one at or before it. `None` when
    /// the segment starts later.
    pub fn lookup(&self, offset: Offset) -> Option<IndexEntry> {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        let found = self.entries.get(after.checked_sub(1)?).copied();
        assert!(
            found.is_some_and(|entry| entry.offset <= offset),
            "an entry is at the offset or before it"
        );
        found
    }

    /// Cuts the body into runs of whole entry spans of about `target_bytes`: byte ranges of the
    /// object that together cover `32..body_end`, each starting at a batch. A span larger than the
    /// target is a run of its own.
    ///
    /// # Errors
    /// `PastBody` when the index does not belong to a body that ends at `body_end`.
    pub fn chunks(&self, target_bytes: u64, body_end: u64) -> Result<Vec<Range<u64>>, IndexError> {
        let start = KFS_HEADER_BYTES as u64;
        let last = self
            .entries
            .last()
            .map_or(KFS_HEADER_BYTES as u32, |entry| entry.position);
        if u64::from(last) >= body_end {
            return Err(IndexError::PastBody {
                position: last,
                body_end,
            });
        }
        let mut runs = Vec::new();
        let mut run = start..start;
        let ends = self
            .entries
            .iter()
            .skip(1)
            .map(|entry| u64::from(entry.position));
        for end in ends.chain([body_end]) {
            if run.end > run.start && end - run.start > target_bytes {
                runs.push(run.clone());
                run.start = run.end;
            }
            run.end = end;
        }
        runs.push(run);
        assert!(
            runs.first().is_some_and(|run| run.start == start),
            "the runs begin with the body"
        );
        assert!(
            runs.is_sorted_by(|a, b| a.end == b.start),
            "the runs leave nothing out"
        );
        assert!(
            runs.last().is_some_and(|run| run.end == body_end),
            "the runs cover the body"
        );
        Ok(runs)
    }
}

fn next_entry(last: Option<&IndexEntry>, offset: Offset, position: i32) -> Option<IndexEntry> {
    let position = u32::try_from(position).ok()?;
    let in_order = match last {
        Some(last) => offset > last.offset && position > last.position,
        None => offset.is_valid() && position == KFS_HEADER_BYTES as u32,
    };
    in_order.then_some(IndexEntry { offset, position })
}

/// Collects index entries while batches are written.
#[derive(Debug, Clone)]
pub struct IndexBuilder {
    interval: u32,
    since_last: u64,
    entries: Vec<IndexEntry>,
}

impl IndexBuilder {
    /// An index with an entry every `interval` records (at least 1, at most `i32::MAX`).
    pub fn new(interval: u32) -> Self {
        let interval = interval.clamp(1, i32::MAX as u32);
        Self {
            interval,
            since_last: 0,
            entries: Vec::new(),
        }
    }

    /// Tells the builder of the next batch: its base offset, its position in the object and its
    /// records. A batch out of order gets no entry.
    pub fn push(&mut self, offset: Offset, position: u32, record_count: u32) {
        if self.entries.is_empty() || self.since_last >= u64::from(self.interval) {
            let entry = i32::try_from(position)
                .ok()
                .and_then(|position| next_entry(self.entries.last(), offset, position));
            if let Some(entry) = entry {
                self.entries.push(entry);
                self.since_last = 0;
            }
        }
        self.since_last += u64::from(record_count);
    }

    /// The index of the batches pushed.
    pub fn finish(self) -> Index {
        assert!(
            self.entries
                .is_sorted_by(|a, b| a.offset < b.offset && a.position < b.position),
            "offsets and positions rise"
        );
        Index {
            interval: self.interval,
            entries: self.entries,
        }
    }
}

#[cfg(test)]
mod tests;
