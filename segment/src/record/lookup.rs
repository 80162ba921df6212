//! Finds records of a batch by time, as ListOffsets asks.

use super::RecordError;
use super::codec::DecodeLimits;
use super::reader::RecordSet;
use crate::batch::BatchHeader;
use crate::ids::{Offset, TimestampMs};

/// The first record of `batch` whose timestamp is at or after `target`: its offset and timestamp.
/// `None` when the batch holds none; the header's max timestamp is believed, so that most batches
/// are ruled out without decompressing them.
///
/// # Errors
/// A batch or records that cannot be read.
pub fn find_timestamp(
    batch: &[u8],
    target: TimestampMs,
    limits: &DecodeLimits,
) -> Result<Option<(Offset, TimestampMs)>, RecordError> {
    let header = BatchHeader::parse_whole(batch)?;
    if header.max_timestamp < target {
        return Ok(None);
    }
    for record in &RecordSet::decode(batch, limits)? {
        let record = record?;
        if record.timestamp >= target {
            assert!(
                (header.base_offset..=header.last_offset()).contains(&record.offset),
                "a record is inside its batch"
            );
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

/// The first record of `batch` with its largest timestamp: offset and timestamp. `None` for a batch
/// without records (log compaction leaves such).
///
/// # Errors
/// A batch or records that cannot be read.
pub fn max_timestamp_offset(
    batch: &[u8],
    limits: &DecodeLimits,
) -> Result<Option<(Offset, TimestampMs)>, RecordError> {
    let mut found: Option<(Offset, TimestampMs)> = None;
    let set = RecordSet::decode(batch, limits)?;
    for record in &set {
        let record = record?;
        if found.is_none_or(|(_, timestamp)| record.timestamp > timestamp) {
            found = Some((record.offset, record.timestamp));
        }
    }
    assert!(
        found.is_some() == (set.header().record_count > 0),
        "one of the records has the largest timestamp"
    );
    Ok(found)
}
