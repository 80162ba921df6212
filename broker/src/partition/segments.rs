//! Where acknowledged batches lie in the object store: segments below the compacted end, WAL sections
//! from there to the high watermark.
//!
//! Shard-owned. Invariant: segments, then slots, are contiguous in offsets up to the high watermark.

use std::ops::Range;
use std::sync::Arc;

use segment::keys::PartitionDir;
use segment::manifest::ManifestSegment;
use segment::{Offset, SessionId, TimestampMs, WalSequence};

/// Where a section lies in a WAL object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalLocation {
    /// Key of the object.
    pub key: Arc<str>,
    /// Session that wrote it.
    pub session: SessionId,
    /// Its number in that session.
    pub sequence: WalSequence,
    /// Bytes of the section inside the object.
    pub range: Range<u64>,
}

/// One acknowledged WAL section of this partition.
#[derive(Debug, Clone)]
pub struct RunSlot {
    /// First offset.
    pub first: Offset,
    /// Last offset.
    pub last: Offset,
    /// Largest record timestamp.
    pub max_timestamp: TimestampMs,
    /// Records in it.
    pub record_count: u64,
    /// Where it is stored.
    pub location: WalLocation,
    /// When it was acknowledged, by the shard's clock.
    pub acknowledged_ms: u64,
}

impl RunSlot {
    /// Bytes of the section.
    pub fn bytes(&self) -> u64 {
        assert!(
            self.location.range.start <= self.location.range.end,
            "a section has a place"
        );
        self.location.range.end - self.location.range.start
    }
}

/// A span of a segment's body that is read with one ranged GET: whole batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkSpan {
    /// First offset of the span.
    pub first: Offset,
    /// Bytes inside the object; empty where the records are lost, because it is damaged.
    pub range: Range<u64>,
}

/// One `.kfs` object.
#[derive(Debug, Clone)]
pub struct SegmentRef {
    /// First offset.
    pub base: Offset,
    /// Offset after the last.
    pub end: Offset,
    /// Largest record timestamp.
    pub max_timestamp: TimestampMs,
    /// Bytes of the object.
    pub bytes: u64,
    /// Where it lies.
    pub dir: PartitionDir,
    /// Its key and spans, once the index has been read: most segments are never read.
    opened: Option<Arc<Opened>>,
}

/// A segment whose index has been read.
#[derive(Debug)]
struct Opened {
    key: Arc<str>,
    spans: Arc<[ChunkSpan]>,
}

/// What must be read to serve an offset that is not in memory.
#[derive(Debug, Clone)]
pub enum ColdPlace {
    /// The index of this segment, first.
    Index {
        /// Base offset of the segment.
        base: Offset,
        /// Key of the index.
        index_key: Arc<str>,
        /// Key of the segment.
        key: Arc<str>,
        /// Bytes of the segment.
        bytes: u64,
    },
    /// Nothing: the segment with this key is damaged here.
    Lost {
        /// Key of the segment.
        key: Arc<str>,
    },
    /// This range of this object: whole batches, the first of which has offset `first`.
    Chunk {
        /// First offset of the range.
        first: Offset,
        /// Offset after it: where the next range begins.
        next: Offset,
        /// Key of the object.
        key: Arc<str>,
        /// Bytes inside it.
        range: Range<u64>,
    },
}

impl SegmentRef {
    /// A segment whose index has not been read.
    pub fn new(dir: PartitionDir, segment: &ManifestSegment) -> Self {
        Self {
            base: segment.base,
            end: segment.end,
            max_timestamp: segment.max_timestamp,
            bytes: segment.bytes,
            dir,
            opened: None,
        }
    }

    /// Shares the name of the directory with a neighbor.
    pub(super) fn share_dir(&mut self, neighbor: &Self) {
        assert!(
            self.dir == neighbor.dir,
            "segments of a partition lie together"
        );
        self.dir = neighbor.dir.clone();
    }

    /// Remembers its spans, once its index has been read.
    pub fn set_spans(&mut self, spans: Arc<[ChunkSpan]>) {
        assert!(!spans.is_empty(), "a segment that was opened has a span");
        assert!(
            spans.is_sorted_by(|a, b| a.first <= b.first),
            "spans come in the order of their offsets"
        );
        let key = self.dir.segment(self.base).into();
        self.opened = Some(Arc::new(Opened { key, spans }));
    }

    /// What to read for `offset`, which this segment holds.
    pub fn place(&self, offset: Offset) -> ColdPlace {
        assert!(
            self.base <= offset,
            "a segment is asked for what lies behind its base"
        );
        let Some(opened) = &self.opened else {
            return ColdPlace::Index {
                base: self.base,
                index_key: self.dir.index(self.base).into(),
                key: self.dir.segment(self.base).into(),
                bytes: self.bytes,
            };
        };
        let (key, spans) = (opened.key.clone(), &opened.spans);
        let after = spans.partition_point(|span| span.first <= offset);
        let span = &spans[after.saturating_sub(1)];
        let next = spans.get(after).map_or(self.end, |next| next.first);
        if span.range.is_empty() {
            return ColdPlace::Lost { key };
        }
        ColdPlace::Chunk {
            first: span.first,
            next,
            key,
            range: span.range.clone(),
        }
    }
}
