//! The manifest object of a partition: its segments and where their timestamps lie, so that opening
//! it costs a few GETs and a lookup by time reads at most one block of one segment.
//!
//! It is a hint. It is believed only when its leader epoch and compacted end equal what etcd holds.
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! | 0 | 4 | magic `KMAN` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 16 | topic id |
//! | 24 | 4 | partition |
//! | 28 | 4 | leader epoch |
//! | 32 | 8 | compacted end |
//! | 40 | 8 | log start |
//! | 48 | 4 | segment count |
//! | 52 | | segments, by rising base |
//! | end-4 | 4 | CRC-32 (IEEE) of all before it |
//!
//! A segment: base (8), end (8), bytes (8), CRC-32 of the object (4), created (8), max timestamp
//! (8), its offset or -1 (8), count of time points (4), then per point max timestamp (8), offset
//! (8), position (4).

use bytes::Bytes;

use crate::batch::{BatchError, BatchHeader, Batches};
use crate::cursor::{Cursor, Ended};
use crate::ids::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId, TopicPartition};
use crate::kfs::{KFS_BYTES_MAX, KFS_HEADER_BYTES};

/// Bytes of a segment's body that one time point covers.
pub const TIME_BLOCK_BYTES: u64 = 1024 * 1024;

const MAGIC: [u8; 4] = *b"KMAN";
const VERSION: u16 = 1;
const SEGMENT_BYTES: usize = 56;
const POINT_BYTES: usize = 20;
const CRC_BYTES: usize = 4;
/// Magic, version, reserved, topic, partition, leader epoch, compacted end and log start.
const HEADER_BYTES: usize = 48;

/// Why bytes are not a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Fewer bytes than the counts ask for.
    #[error("manifest is cut off at {len} bytes")]
    Truncated {
        /// Bytes present.
        len: usize,
    },
    /// More bytes than the counts ask for.
    #[error("manifest has {extra} bytes after its end")]
    TrailingBytes {
        /// Bytes past the end.
        extra: usize,
    },
    /// Another magic.
    #[error("manifest has magic {found:02x?}")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A version that this code does not know.
    #[error("manifest has version {version}, expected 1")]
    Version {
        /// Version found.
        version: u16,
    },
    /// The CRC-32 does not match.
    #[error("manifest has CRC {stored:08x}, its bytes give {computed:08x}")]
    Crc {
        /// CRC stored.
        stored: u32,
        /// CRC of the bytes.
        computed: u32,
    },
    /// A field is out of range or out of order.
    #[error("manifest is wrong: {what}")]
    Content {
        /// The rule that does not hold.
        what: &'static str,
    },
}

/// A block of about 1 MiB of a segment: whole batches from `position` to the next point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimePoint {
    /// Largest timestamp in the block.
    pub max_timestamp: TimestampMs,
    /// Base offset of the block's first batch.
    pub offset: Offset,
    /// Where the block starts in the `.kfs` object.
    pub position: u32,
}

/// One segment of the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSegment {
    /// First offset.
    pub base: Offset,
    /// Last offset + 1.
    pub end: Offset,
    /// Bytes of the `.kfs` object.
    pub bytes: u64,
    /// CRC-32 (IEEE) of the `.kfs` object.
    pub crc32: u32,
    /// When it was built.
    pub created: TimestampMs,
    /// Largest timestamp of its batches.
    pub max_timestamp: TimestampMs,
    /// First offset with that timestamp, where it is known.
    pub max_timestamp_offset: Option<Offset>,
    /// Blocks by rising position; the first starts at 32. May be empty (an adopted segment that was
    /// never read).
    pub time_points: Vec<TimePoint>,
}

impl ManifestSegment {
    /// The first block that may hold a record at or after `target`, as a byte range of the object
    /// up to `body_end`. `None` when the segment has no such record, or no time points.
    pub fn find_block(
        &self,
        target: TimestampMs,
        body_end: u32,
    ) -> Option<(Offset, std::ops::Range<u32>)> {
        let number = self
            .time_points
            .iter()
            .position(|point| point.max_timestamp >= target)?;
        let point = self.time_points.get(number)?;
        let end = self
            .time_points
            .get(number + 1)
            .map_or(body_end, |next| next.position);
        Some((point.offset, point.position..end))
    }

    fn is_sound(&self) -> bool {
        let within = |offset: Offset| self.base <= offset && offset < self.end;
        let starts_right = self
            .time_points
            .first()
            .is_none_or(|point| u64::from(point.position) == KFS_HEADER_BYTES as u64);
        self.base.is_valid()
            && self.base < self.end
            && self.bytes <= KFS_BYTES_MAX
            && self.max_timestamp_offset.is_none_or(within)
            && starts_right
            && self.time_points.iter().all(|point| within(point.offset))
            && self
                .time_points
                .iter()
                .all(|point| u64::from(point.position) < self.bytes)
            && self
                .time_points
                .is_sorted_by(|a, b| a.position < b.position && a.offset < b.offset)
    }
}

/// What is known of a partition's segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The partition.
    pub partition: TopicPartition,
    /// Epoch of the owner that wrote it.
    pub leader_epoch: LeaderEpoch,
    /// Offset up to which segments hold the log.
    pub compacted_end: Offset,
    /// First offset still readable.
    pub log_start: Offset,
    /// Segments by rising base.
    pub segments: Vec<ManifestSegment>,
}

impl Manifest {
    /// Decodes a manifest object.
    ///
    /// # Errors
    /// Anything but exactly what `encode` writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let truncated = ManifestError::Truncated { len: bytes.len() };
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(truncated)?;
        let mut cursor = Cursor::new(body);
        read_magic(&mut cursor).unwrap_or(Err(truncated))?;
        let (stored, computed) = (u32::from_be_bytes(*crc), crc32fast::hash(body));
        if stored != computed {
            return Err(ManifestError::Crc { stored, computed });
        }
        let manifest = Self::read(&mut cursor).map_err(|Ended| truncated)?;
        if cursor.remaining() != 0 {
            return Err(ManifestError::TrailingBytes {
                extra: cursor.remaining(),
            });
        }
        match manifest.fault() {
            Some(what) => Err(ManifestError::Content { what }),
            None => Ok(manifest),
        }
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Ended> {
        let topic = TopicId::new(cursor.array()?);
        let partition = TopicPartition::new(topic, PartitionIndex::new(cursor.i32()?));
        let leader_epoch = LeaderEpoch::new(cursor.i32()?);
        let compacted_end = Offset::new(cursor.i64()?);
        let log_start = Offset::new(cursor.i64()?);
        let count = cursor.count(SEGMENT_BYTES)?;
        let mut segments = Vec::with_capacity(count);
        for _ in 0..count {
            segments.push(read_segment(cursor)?);
        }
        Ok(Self {
            partition,
            leader_epoch,
            compacted_end,
            log_start,
            segments,
        })
    }

    /// The object's bytes.
    ///
    /// # Panics
    /// When the content breaks a rule of the format: it is our own state.
    pub fn encode(&self) -> Bytes {
        let fault = self.fault();
        assert!(
            fault.is_none(),
            "a manifest of our own is sound: {}",
            fault.unwrap_or_default()
        );
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.partition.topic.get());
        out.extend_from_slice(&self.partition.partition.get().to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.get().to_be_bytes());
        out.extend_from_slice(&self.compacted_end.get().to_be_bytes());
        out.extend_from_slice(&self.log_start.get().to_be_bytes());
        put_count(&mut out, self.segments.len());
        self.segments
            .iter()
            .for_each(|segment| put_segment(&mut out, segment));
        let points: usize = self.segments.iter().map(|own| own.time_points.len()).sum();
        let rows = self.segments.len() * SEGMENT_BYTES + points * POINT_BYTES;
        assert!(
            out.len() == HEADER_BYTES + 4 + rows,
            "each segment stands once in it"
        );
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out.into()
    }

    /// The segment that holds `offset`, or the first one after it. Segments may overlap: the one
    /// that starts last wins.
    pub fn segment_at(&self, offset: Offset) -> Option<&ManifestSegment> {
        let after = self
            .segments
            .partition_point(|segment| segment.base <= offset);
        let candidate = after
            .checked_sub(1)
            .and_then(|number| self.segments.get(number));
        let found = candidate
            .filter(|segment| offset < segment.end)
            .or_else(|| self.segments.get(after));
        assert!(
            found.is_none_or(|segment| offset < segment.end),
            "a segment ends behind the offset that it is read at"
        );
        found
    }

    /// The rule that the content breaks, if any.
    fn fault(&self) -> Option<&'static str> {
        let rules = [
            (
                self.partition.partition.get() >= 0,
                "the partition is negative",
            ),
            (self.leader_epoch.get() >= 0, "the leader epoch is negative"),
            (
                self.compacted_end.is_valid(),
                "the compacted end is negative",
            ),
            (self.log_start.is_valid(), "the log start is negative"),
            (
                self.segments.is_sorted_by(|a, b| a.base < b.base),
                "segments are out of order",
            ),
            (
                self.segments.iter().all(ManifestSegment::is_sound),
                "a segment contradicts itself",
            ),
            (
                self.segments
                    .iter()
                    .all(|segment| segment.end <= self.compacted_end),
                "a segment ends after the compacted end",
            ),
        ];
        rules
            .iter()
            .find(|(holds, _)| !holds)
            .map(|(_, what)| *what)
    }
}

/// Collects time points while batches are written.
#[derive(Debug, Clone)]
pub struct TimePointsBuilder {
    block_bytes: u64,
    points: Vec<TimePoint>,
}

impl TimePointsBuilder {
    /// Time points for blocks of about `block_bytes` (`TIME_BLOCK_BYTES` unless a test asks
    /// otherwise).
    pub fn new(block_bytes: u64) -> Self {
        assert!(block_bytes > 0, "a block has bytes");
        Self {
            block_bytes,
            points: Vec::new(),
        }
    }

    /// Tells the builder of the next batch and its position in the `.kfs` object.
    pub fn push(&mut self, header: &BatchHeader, position: u32) {
        assert!(
            self.points
                .last()
                .is_none_or(|point| point.position < position),
            "batches come in the order of their bytes"
        );
        if let Some(point) = self.points.last_mut()
            && u64::from(position) < u64::from(point.position) + self.block_bytes
        {
            point.max_timestamp = point.max_timestamp.max(header.max_timestamp);
            return;
        }
        self.points.push(TimePoint {
            max_timestamp: header.max_timestamp,
            offset: header.base_offset,
            position,
        });
    }

    /// The points of the batches pushed.
    pub fn finish(self) -> Vec<TimePoint> {
        assert!(
            self.points.is_sorted_by(|a, b| {
                u64::from(a.position) + self.block_bytes <= u64::from(b.position)
            }),
            "a block that has another behind it is full"
        );
        self.points
    }
}

/// The time points of a segment's body, given in chunks of whole batches.
///
/// # Errors
/// A chunk that does not hold whole batches. Batches past 2 GiB get no point.
pub fn time_points(chunks: &[Bytes]) -> Result<Vec<TimePoint>, BatchError> {
    let mut builder = TimePointsBuilder::new(TIME_BLOCK_BYTES);
    let mut start = KFS_HEADER_BYTES;
    for chunk in chunks {
        for batch in Batches::strict(chunk) {
            let batch = batch?;
            if let Ok(position) = i32::try_from(start + batch.position) {
                builder.push(&batch.header, position.unsigned_abs());
            }
        }
        start += chunk.len();
    }
    let points = builder.finish();
    assert!(
        points
            .first()
            .is_none_or(|first| first.position as usize == KFS_HEADER_BYTES),
        "the first block starts with the body"
    );
    Ok(points)
}

fn read_magic(cursor: &mut Cursor<'_>) -> Result<Result<(), ManifestError>, Ended> {
    let found = cursor.array::<4>()?;
    if found != MAGIC {
        return Ok(Err(ManifestError::Magic { found }));
    }
    let version = cursor.u16()?;
    if version != VERSION {
        return Ok(Err(ManifestError::Version { version }));
    }
    if cursor.u16()? != 0 {
        return Ok(Err(ManifestError::Content {
            what: "a reserved byte is set",
        }));
    }
    Ok(Ok(()))
}

fn read_segment(cursor: &mut Cursor<'_>) -> Result<ManifestSegment, Ended> {
    let base = Offset::new(cursor.i64()?);
    let end = Offset::new(cursor.i64()?);
    let bytes = cursor.u64()?;
    let crc32 = cursor.u32()?;
    let created = TimestampMs::new(cursor.i64()?);
    let max_timestamp = TimestampMs::new(cursor.i64()?);
    let max_timestamp_offset = Offset::new(cursor.i64()?);
    let count = cursor.count(POINT_BYTES)?;
    let mut time_points = Vec::with_capacity(count);
    for _ in 0..count {
        time_points.push(TimePoint {
            max_timestamp: TimestampMs::new(cursor.i64()?),
            offset: Offset::new(cursor.i64()?),
            position: cursor.u32()?,
        });
    }
    let known = max_timestamp_offset != Offset::NONE;
    let max_timestamp_offset = known.then_some(max_timestamp_offset);
    Ok(ManifestSegment {
        base,
        end,
        bytes,
        crc32,
        created,
        max_timestamp,
        max_timestamp_offset,
        time_points,
    })
}

fn put_segment(out: &mut Vec<u8>, segment: &ManifestSegment) {
    let start = out.len();
    let max_timestamp_offset = segment.max_timestamp_offset.unwrap_or(Offset::NONE);
    out.extend_from_slice(&segment.base.get().to_be_bytes());
    out.extend_from_slice(&segment.end.get().to_be_bytes());
    out.extend_from_slice(&segment.bytes.to_be_bytes());
    out.extend_from_slice(&segment.crc32.to_be_bytes());
    out.extend_from_slice(&segment.created.get().to_be_bytes());
    out.extend_from_slice(&segment.max_timestamp.get().to_be_bytes());
    out.extend_from_slice(&max_timestamp_offset.get().to_be_bytes());
    put_count(out, segment.time_points.len());
    assert!(
        out.len() - start == SEGMENT_BYTES,
        "a segment has 56 bytes before its points"
    );
    for point in &segment.time_points {
        out.extend_from_slice(&point.max_timestamp.get().to_be_bytes());
        out.extend_from_slice(&point.offset.get().to_be_bytes());
        out.extend_from_slice(&point.position.to_be_bytes());
    }
    let bytes = SEGMENT_BYTES + segment.time_points.len() * POINT_BYTES;
    assert!(out.len() - start == bytes, "a point has 20 bytes");
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a partition's state is bounded");
    out.extend_from_slice(&count.to_be_bytes());
}

#[cfg(test)]
mod tests;
