//! From what the store holds to the image that a shard opens. Pure: no I/O.
//!
//! Nothing is guessed: a gap, an overlap or an unreadable object in what a partition needs refuses
//! that partition, loudly, and leaves everything as it is.

use std::collections::HashMap;

use coord::keys::partition::{PartitionRecord, Source};
use coord::rules::{self, Rule};
use segment::manifest::ManifestSegment;
use segment::producer_snapshot::{ProducerSnapshot, ProducerState};
use segment::wal::{ProducerBatch as StoredBatch, ProducerBatchKind, SectionPlace, WalEntry};
use segment::{Offset, SessionId, TimestampMs, WalSequence};

use super::harvest::Found;
use crate::partition::producers::{ProducerBatch, ProducerEntry, Producers, SequenceError};
use crate::partition::{RunSlot, WalLocation};

/// Why a partition is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Offsets are missing, or there twice.
    #[error(
        "object {sequence} of session {session} continues at offset {found}, expected {expected}"
    )]
    Gap {
        /// Session of the object.
        session: SessionId,
        /// The object.
        sequence: WalSequence,
        /// The offset that should follow.
        expected: Offset,
        /// The offset that follows.
        found: Offset,
    },
    /// An object that may hold batches cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// Producer state contradicts itself.
    #[error("producer state at offset {at}: {source}")]
    Producers {
        /// The batch.
        at: Offset,
        /// What is wrong.
        source: SequenceError,
    },
    /// The producer snapshot that the record names cannot be used.
    #[error("producer snapshot {key}: {reason}")]
    Snapshot {
        /// Its key.
        key: String,
        /// Why not.
        reason: String,
    },
    /// The segments cannot be read.
    #[error("segments: {0}")]
    Segments(String),
    /// The metadata cannot be changed.
    #[error("{0}")]
    Metadata(String),
}

impl ImageError {
    /// Whether a store was in trouble, so that the next try may well succeed; else something is
    /// damaged, which somebody has to mend first.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Segments(_) | Self::Metadata(_))
    }
}

/// The sections of a partition from its compacted end on, in order.
#[derive(Debug, Default)]
pub struct Sections {
    /// The sections.
    pub found: Vec<Found>,
    /// Offset after the last.
    pub end: Offset,
}

/// Where the source of a record begins to matter: its objects below the floor of the session are
/// known to hold nothing that is needed.
pub fn first_needed(source: &Source, floor: WalSequence) -> WalSequence {
    source.first_sequence.max(floor)
}

/// Puts the sections of a partition in order: source by source, each from the first to before the
/// last sequence in `ranges` (in the order of the record's sources).
///
/// # Errors
/// [`ImageError::Gap`] if they do not follow each other from the compacted end on.
pub fn order_sections(
    record: &PartitionRecord,
    ranges: &[(SessionId, WalSequence, WalSequence)],
    mut found: Vec<Found>,
) -> Result<Sections, ImageError> {
    let rank = |section: &Found| {
        ranges.iter().position(|(session, first, end)| {
            section.session == *session && *first <= section.sequence && section.sequence < *end
        })
    };
    found.retain(|section| {
        section.entry.last_offset >= record.compacted_end && rank(section).is_some()
    });
    found.sort_by_key(|section| (rank(section), section.sequence, section.entry.first_offset));
    let mut expected = record.compacted_end;
    for section in &found {
        let first = section.entry.first_offset;
        if first != expected {
            let (session, sequence) = (section.session, section.sequence);
            return Err(ImageError::Gap {
                session,
                sequence,
                expected,
                found: first,
            });
        }
        expected = section
            .entry
            .last_offset
            .next()
            .expect("checked when the row was read");
    }
    Ok(Sections {
        found,
        end: expected.max(record.log_start),
    })
}

/// The slots of these sections.
pub fn slots(sections: &[Found]) -> Vec<RunSlot> {
    let slot = |found: &Found| {
        let entry = &found.entry;
        RunSlot {
            first: entry.first_offset,
            last: entry.last_offset,
            max_timestamp: entry.max_timestamp,
            record_count: u64::from(entry.record_count),
            location: WalLocation {
                key: found.key.clone(),
                session: found.session,
                sequence: found.sequence,
                range: bytes_of(entry),
            },
            acknowledged_ms: 0,
        }
    };
    sections.iter().map(slot).collect()
}

/// Bytes of a section inside the object that holds it.
pub fn bytes_of(entry: &WalEntry) -> std::ops::Range<u64> {
    match entry.place {
        SectionPlace::Inline { position } => position..position + entry.len,
        SectionPlace::Own { .. } => {
            let start = segment::kfs::KFS_HEADER_BYTES as u64;
            start..start + entry.len
        }
    }
}

/// The producers as of the end of the log: the snapshot, then the batches of the sections after it.
///
/// # Errors
/// [`ImageError::Producers`] if a batch is of an older epoch than one before it.
pub fn producers(
    snapshot: Option<&ProducerSnapshot>,
    sections: &[Found],
    now: TimestampMs,
) -> Result<Producers, ImageError> {
    let mut producers = Producers::default();
    for state in snapshot.iter().flat_map(|snapshot| &snapshot.producers) {
        producers.restore(state.producer_id, restored(state));
    }
    let batches = sections.iter().flat_map(|found| &found.entry.producers);
    let batches = batches.filter(|_| rules::holds(Rule::DirectoriesReplayProducers));
    for stored in batches.filter(|batch| !batch.kind.is_marker()) {
        let batch = replayed(stored);
        if let Err(source @ SequenceError::Fenced { .. }) = producers.check(&batch) {
            return Err(ImageError::Producers {
                at: batch.base_offset,
                source,
            });
        }
        producers.record(batch, now);
    }
    Ok(producers)
}

fn replayed(stored: &StoredBatch) -> ProducerBatch {
    ProducerBatch {
        producer_id: stored.producer_id,
        epoch: stored.epoch,
        base_sequence: stored.base_sequence,
        count: stored.record_count,
        base_offset: stored.base_offset,
        max_timestamp: stored.max_timestamp,
    }
}

fn restored(state: &ProducerState) -> ProducerEntry {
    let batches = state.batches.iter().map(|batch| {
        let records = batch
            .last_offset
            .distance_from(batch.base_offset)
            .unwrap_or(0)
            + 1;
        ProducerBatch {
            producer_id: state.producer_id,
            epoch: state.epoch,
            base_sequence: batch.base_sequence,
            count: u32::try_from(records).expect("the snapshot was checked when it was read"),
            base_offset: batch.base_offset,
            max_timestamp: batch.timestamp,
        }
    });
    let last_seen = state.last_timestamp;
    ProducerEntry {
        epoch: state.epoch,
        batches: batches.collect(),
        last_seen,
    }
}

/// A producer of a plan as a snapshot stores it.
pub fn stored_producer(id: segment::ProducerId, entry: &ProducerEntry) -> ProducerState {
    let batches = entry
        .batches
        .iter()
        .map(|batch| segment::producer_snapshot::SnapshotBatch {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset,
            last_offset: batch.last_offset(),
            timestamp: batch.max_timestamp,
        });
    ProducerState {
        producer_id: id,
        epoch: entry.epoch,
        coordinator_epoch: -1,
        last_timestamp: entry.last_seen,
        transaction_first_offset: None,
        batches: batches.collect(),
    }
}

/// A batch of a section on its way into a WAL object.
pub fn stored_batch(batch: &ProducerBatch) -> StoredBatch {
    StoredBatch {
        producer_id: batch.producer_id,
        epoch: batch.epoch,
        base_sequence: batch.base_sequence,
        record_count: batch.count,
        base_offset: batch.base_offset,
        last_offset: batch.last_offset(),
        max_timestamp: batch.max_timestamp,
        kind: ProducerBatchKind::Idempotent,
    }
}

/// The segments that cover the log up to `compacted_end` without a gap, in order, out of all that
/// the store shows. Of those that end together the widest is taken: the others were merged into it.
/// A late segment of a zombie lies outside the chain and is left out (log-protocol H16).
pub fn contiguous(segments: &[ManifestSegment], compacted_end: Offset) -> Vec<ManifestSegment> {
    if !rules::holds(Rule::CoverageIsContiguous) {
        let mut all = segments.to_vec();
        all.sort_by_key(|segment| segment.base);
        return all;
    }
    let mut by_end: HashMap<Offset, &ManifestSegment> = HashMap::new();
    for segment in segments.iter().filter(|segment| segment.base < segment.end) {
        let widest = by_end.entry(segment.end).or_insert(segment);
        if segment.base < widest.base {
            *widest = segment;
        }
    }
    let mut want = compacted_end;
    let mut chain = Vec::new();
    while let Some(segment) = by_end.get(&want) {
        want = segment.base;
        chain.push((*segment).clone());
    }
    chain.reverse();
    chain
}

/// Bases of segments that were merged into one of the chain, which is in order.
pub fn superseded(segments: &[ManifestSegment], chain: &[ManifestSegment]) -> Vec<Offset> {
    let is_merged = |segment: &&ManifestSegment| {
        let after = chain.partition_point(|merged| merged.base <= segment.base);
        let merged = after.checked_sub(1).and_then(|at| chain.get(at));
        merged.is_some_and(|merged| merged.base < segment.base && segment.end <= merged.end)
    };
    segments
        .iter()
        .filter(is_merged)
        .map(|segment| segment.base)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base: i64, end: i64) -> ManifestSegment {
        ManifestSegment {
            base: Offset::new(base),
            end: Offset::new(end),
            bytes: 100,
            crc32: 0,
            created: TimestampMs::ZERO,
            max_timestamp: TimestampMs::ZERO,
            max_timestamp_offset: None,
            time_points: Vec::new(),
        }
    }

    fn bases(chain: &[ManifestSegment]) -> Vec<i64> {
        chain.iter().map(|segment| segment.base.get()).collect()
    }

    #[test]
    fn coverage_ends_at_the_first_gap_below_the_compacted_end() {
        let all = [segment(0, 10), segment(20, 30), segment(30, 50)];
        assert_eq!(bases(&contiguous(&all, Offset::new(50))), [20, 30]);
        assert!(contiguous(&[segment(0, 10)], Offset::new(50)).is_empty());
    }

    #[test]
    fn a_late_segment_of_a_zombie_is_left_out() {
        let all = [
            segment(0, 30),
            segment(30, 40),
            segment(30, 35),
            segment(50, 60),
        ];
        assert_eq!(bases(&contiguous(&all, Offset::new(40))), [0, 30]);
    }

    #[test]
    fn a_merged_segment_goes_before_those_that_it_holds() {
        let all = [
            segment(0, 10),
            segment(10, 40),
            segment(20, 30),
            segment(30, 40),
            segment(40, 50),
        ];
        let chain = contiguous(&all, Offset::new(50));
        assert_eq!(bases(&chain), [0, 10, 40]);
        let gone = superseded(&all, &chain);
        assert_eq!(gone, [Offset::new(20), Offset::new(30)]);
    }
}
