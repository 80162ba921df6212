//! From the batches of a log to the segments of the log as it was at a moment. Pure: no I/O.
//!
//! Invariants:
//! - a record is in the segments if and only if it was given and is not later than the moment, at its
//!   own offset;
//! - a batch of which all records stay is there byte for byte;
//! - segments follow each other without a gap from the log's start to its end, also where no record
//!   is left: an offset that no record has belongs to the segment that comes next.

use bytes::Bytes;
use segment::batch::BatchHeader;
use segment::kfs::{KfsError, KfsObject};
use segment::manifest::{ManifestSegment, time_points};
use segment::record::{Cleaned, DecodeLimits, cut_batch};
use segment::{Offset, TimestampMs};

use crate::control::compactor::manifest_segment;
use crate::tools::epochs::EpochHistory;

/// Most records of a segment: its header states them in 31 bits.
const RECORDS_MAX: u64 = i32::MAX as u64;

/// What is copied, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The last timestamp that stays.
    pub until: TimestampMs,
    /// Bytes of a segment's batches, unless one batch has more.
    pub segment_bytes: u64,
    /// Creation time in the segments' headers.
    pub created: TimestampMs,
    /// Whether segments are made; else records are only counted.
    pub writes: bool,
}

/// What came of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// First offset of the copy.
    pub start: Offset,
    /// The offset after its last.
    pub end: Offset,
    /// Records that stayed.
    pub records: u64,
    /// Their batches, in bytes.
    pub bytes: u64,
    /// Records that are later than the moment.
    pub later: u64,
    /// Batches of which some records stayed.
    pub cut: u64,
    /// Batches whose records cannot be read: each stayed or went by the largest timestamp that its
    /// header states.
    pub unreadable: u64,
    /// Segments, in order.
    pub segments: Vec<ManifestSegment>,
    /// Where leader epochs begin.
    pub epochs: EpochHistory,
}

/// A segment that is to be written.
#[derive(Debug)]
pub(super) struct Sealed {
    /// The object and its index.
    pub kfs: KfsObject,
    /// What the manifest tells of it.
    pub entry: ManifestSegment,
}

/// A log that is being copied.
#[derive(Debug)]
pub(super) struct Copy {
    terms: Terms,
    copied: Copied,
    /// Where the segment that is being gathered begins.
    base: Option<Offset>,
    chunks: Vec<Bytes>,
    chunk_bytes: u64,
    chunk_records: u64,
}

impl Copy {
    /// A copy of a log that starts at `start`.
    pub(super) fn new(terms: Terms, start: Offset) -> Self {
        let copied = Copied {
            start,
            end: start,
            records: 0,
            bytes: 0,
            later: 0,
            cut: 0,
            unreadable: 0,
            segments: Vec::new(),
            epochs: EpochHistory::default(),
        };
        Self {
            terms,
            copied,
            base: None,
            chunks: Vec::new(),
            chunk_bytes: 0,
            chunk_records: 0,
        }
    }

    /// The next batches of the log, in order; gives the segments that are full.
    ///
    /// # Errors
    /// [`KfsError`] if batches do not fit a segment: they are out of order, or one is larger than any
    /// segment.
    pub(super) fn batches(
        &mut self,
        batches: &[(BatchHeader, Bytes)],
    ) -> Result<Vec<Sealed>, KfsError> {
        let given: usize = batches.iter().map(|(_, bytes)| bytes.len()).sum();
        let kept: Vec<(BatchHeader, Bytes)> = batches
            .iter()
            .filter_map(|(header, bytes)| self.cut(header, bytes))
            .collect();
        let left: usize = kept.iter().map(|(_, bytes)| bytes.len()).sum();
        // A few batches must not keep the memory of all that were read with them.
        let is_sparse = left < given / 2;
        let mut sealed = Vec::new();
        for (header, bytes) in kept {
            let bytes = match is_sparse {
                true => Bytes::copy_from_slice(&bytes),
                false => bytes,
            };
            sealed.extend(self.gather(&header, bytes)?);
        }
        Ok(sealed)
    }

    /// What stays of a batch.
    fn cut(&mut self, header: &BatchHeader, bytes: &Bytes) -> Option<(BatchHeader, Bytes)> {
        let copied = &mut self.copied;
        let all = u64::from(header.record_count);
        let left = match cut_batch(bytes, &DecodeLimits::default(), self.terms.until) {
            Ok(left) => left,
            Err(error) => {
                let offset = header.base_offset;
                tracing::debug!(%offset, %error, "a batch counts by its header");
                copied.unreadable += 1;
                match header.max_timestamp <= self.terms.until {
                    true => Cleaned::Whole,
                    false => Cleaned::Nothing,
                }
            }
        };
        match left {
            Cleaned::Whole => {
                copied.records += all;
                Some((*header, bytes.clone()))
            }
            Cleaned::Rewritten(new) => {
                let header = BatchHeader::parse_whole(&new).expect("what was encoded is read");
                let kept = u64::from(header.record_count);
                copied.records += kept;
                copied.later += all - kept;
                copied.cut += 1;
                Some((header, new))
            }
            Cleaned::Nothing => {
                copied.later += all;
                None
            }
        }
    }

    fn gather(&mut self, header: &BatchHeader, bytes: Bytes) -> Result<Option<Sealed>, KfsError> {
        let (len, records) = (bytes.len() as u64, u64::from(header.record_count));
        let is_full = self.chunk_bytes + len > self.terms.segment_bytes
            || self.chunk_records + records > RECORDS_MAX;
        let sealed = match is_full {
            true => self.seal()?,
            false => None,
        };
        // The first may hold records below the log's start, which nobody is shown.
        let base = self.copied.end.min(header.base_offset);
        self.base.get_or_insert(base);
        let end = header.next_offset();
        self.copied.end = self.copied.end.max(end);
        self.copied.epochs.batch(header);
        self.copied.bytes += len;
        self.chunk_bytes += len;
        self.chunk_records += records;
        if self.terms.writes {
            self.chunks.push(bytes);
        }
        Ok(sealed)
    }

    /// Ends the segment that is being gathered.
    fn seal(&mut self) -> Result<Option<Sealed>, KfsError> {
        let Some(base) = self.base.take() else {
            return Ok(None);
        };
        (self.chunk_bytes, self.chunk_records) = (0, 0);
        let chunks = std::mem::take(&mut self.chunks);
        if !self.terms.writes {
            return Ok(None);
        }
        let points = time_points(&chunks).unwrap_or_default();
        let kfs = KfsObject::build(base, self.terms.created, chunks)?;
        let end = self.copied.end;
        assert!(
            kfs.last_offset.next() == Some(end),
            "a segment ends with its last batch"
        );
        let entry = manifest_segment(&kfs, base, end, points);
        self.copied.segments.push(entry.clone());
        Ok(Some(Sealed { kfs, entry }))
    }

    /// Ends the copy; gives the last segment, if there is one more.
    ///
    /// # Errors
    /// As [`Copy::batches`].
    pub(super) fn finish(mut self) -> Result<(Option<Sealed>, Copied), KfsError> {
        let sealed = self.seal()?;
        Ok((sealed, self.copied))
    }
}

#[cfg(test)]
mod tests;
