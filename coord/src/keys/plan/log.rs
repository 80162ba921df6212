//! The log of a partition: intents, compaction, log start; the floor of a session (H1, H4, H9,
//! H16).

use segment::{Offset, SessionId, TopicPartition, WalSequence};

use super::{PlanError, Planned, guarded, owned};
use crate::keys::codec::Seen;
use crate::keys::committed::{self, CommittedRecord};
use crate::keys::floor::{self, FloorRecord};
use crate::keys::partition::{
    self, Intent, IntentKind, PartitionRecord, ProducerSnapshotRef, Source,
};
use crate::keys::space::Keyspace;

/// Decides the range and header of the next segment, before anything is PUT under its key. The
/// record is as it was read, our session lives.
///
/// # Errors
/// [`PlanError::NotOwner`]; [`PlanError::IntentPending`]; [`PlanError::BadRange`] if an appended
/// segment does not start at the compacted end (or at the log start above it), or an extended or
/// rewritten one does not start below it.
pub fn begin_intent(
    space: &Keyspace,
    writer: SessionId,
    partition: TopicPartition,
    seen: &Seen<PartitionRecord>,
    intent: Intent,
) -> Result<Planned<PartitionRecord>, PlanError> {
    let mut record = owned(seen, writer)?;
    if let Some(pending) = &record.intent {
        return Err(PlanError::IntentPending {
            base: pending.base,
            end: pending.end,
        });
    }
    check_range(&record, &intent)?;
    assert!(intent.base < intent.end, "an intent has a range");
    record.intent = Some(Box::new(intent));
    let key = partition::key(space, partition);
    Ok(guarded(space, writer, key, Some(seen), record))
}

fn check_range(record: &PartitionRecord, intent: &Intent) -> Result<(), PlanError> {
    let (base, end) = (intent.base, intent.end);
    let bad = |reason| Err(PlanError::BadRange { base, end, reason });
    if base < Offset::ZERO || end <= base {
        return bad("it is empty");
    }
    let compacted_end = record.compacted_end;
    let next_base = compacted_end.max(record.log_start);
    match intent.kind {
        IntentKind::Append if base != compacted_end && base != next_base => {
            bad("a new segment starts at the compacted end")
        }
        IntentKind::Extend { .. } if base >= compacted_end => {
            bad("an existing segment starts below the compacted end")
        }
        IntentKind::Rewrite { .. } if end > compacted_end => {
            bad("a rewritten range ends at the compacted end at most")
        }
        IntentKind::Append | IntentKind::Extend { .. } | IntentKind::Rewrite { .. } => Ok(()),
    }
}

/// What compaction no longer needs of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceTrim {
    /// The session of the source.
    pub session: SessionId,
    /// Its first sequence, as recorded: a session can have several sources.
    pub first_sequence: WalSequence,
    /// The first sequence still needed; at or above the end of a closed source it goes.
    pub keep_from: WalSequence,
}

/// The end of a compaction whose segment is verified in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finish {
    /// The sources that shrink or go; the others stay.
    pub trims: Vec<SourceTrim>,
    /// The producer snapshot at the new compacted end; none without idempotent producers.
    /// Ignored when the intent does not move the compacted end.
    pub producer_snapshot: Option<ProducerSnapshotRef>,
}

/// Finishes the pending intent: moves the compacted end to its end, trims the sources and names the
/// producer snapshot. The record is as it was read, our session lives.
///
/// # Errors
/// [`PlanError::NotOwner`]; [`PlanError::NoIntent`]; [`PlanError::UnknownSource`];
/// [`PlanError::Backward`] if a source would grow; [`PlanError::BadRange`] if the snapshot is not
/// at exactly the new compacted end.
pub fn finish_compaction(
    space: &Keyspace,
    writer: SessionId,
    partition: TopicPartition,
    seen: &Seen<PartitionRecord>,
    finish: &Finish,
) -> Result<Planned<PartitionRecord>, PlanError> {
    let mut record = owned(seen, writer)?;
    let intent = record.intent.take().ok_or(PlanError::NoIntent)?;
    if intent.end > record.compacted_end {
        let at_end = finish
            .producer_snapshot
            .is_none_or(|snapshot| snapshot.end == intent.end);
        if !at_end {
            let (base, end) = (intent.base, intent.end);
            let reason = "the producer snapshot is not at its end";
            return Err(PlanError::BadRange { base, end, reason });
        }
        record.compacted_end = intent.end;
        record.producer_snapshot = finish.producer_snapshot;
    }
    for trim in &finish.trims {
        trim_source(&mut record.sources, *trim)?;
    }
    record.sources.retain(|source| !source.is_empty());
    assert!(
        record.sources.len() <= seen.record.sources.len(),
        "a compaction adds no source"
    );
    assert!(
        record.compacted_end >= seen.record.compacted_end,
        "the compacted end never falls"
    );
    let key = partition::key(space, partition);
    Ok(guarded(space, writer, key, Some(seen), record))
}

fn trim_source(sources: &mut [Source], trim: SourceTrim) -> Result<(), PlanError> {
    let named = |source: &&mut Source| {
        source.session == trim.session && source.first_sequence == trim.first_sequence
    };
    let source = sources.iter_mut().find(named);
    let source = source.ok_or(PlanError::UnknownSource {
        session: trim.session,
    })?;
    if trim.keep_from < source.first_sequence {
        let (from, to) = (
            source.first_sequence.get().into(),
            trim.keep_from.get().into(),
        );
        return Err(PlanError::Backward {
            what: "first sequence of the source",
            from,
            to,
        });
    }
    assert!(
        trim.keep_from >= source.first_sequence,
        "a source only loses its beginning"
    );
    source.first_sequence = trim.keep_from;
    Ok(())
}

/// Raises the log start (retention, DeleteRecords, lifecycle rules), before it is reported. Prunes
/// the epoch history below it. The record is as it was read, our session lives.
///
/// # Errors
/// [`PlanError::NotOwner`]; [`PlanError::Backward`] if it would not rise.
pub fn raise_log_start(
    space: &Keyspace,
    writer: SessionId,
    partition: TopicPartition,
    seen: &Seen<PartitionRecord>,
    log_start: Offset,
) -> Result<Planned<PartitionRecord>, PlanError> {
    let mut record = owned(seen, writer)?;
    let from = record.log_start;
    if log_start <= from {
        let (from, to) = (from.get().into(), log_start.get().into());
        return Err(PlanError::Backward {
            what: "log start",
            from,
            to,
        });
    }
    assert!(log_start > from, "the log start only rises");
    record.log_start = log_start;
    // The last epoch that began at or below the log start still covers it.
    let covers = record
        .epochs
        .iter()
        .rposition(|past| past.start <= log_start);
    if let Some(covers) = covers {
        record.epochs.drain(..covers);
    }
    assert!(
        record.epochs.is_empty() == seen.record.epochs.is_empty(),
        "the epoch that covers the log start is kept"
    );
    let key = partition::key(space, partition);
    Ok(guarded(space, writer, key, Some(seen), record))
}

/// Raises the floor of our own session. The caller has read, at one revision, the records of all
/// partitions in the objects below it. The floor is as it was read, our session lives.
///
/// # Errors
/// [`PlanError::Backward`] if it would not rise, or rise above `acknowledged_end` (the sequence
/// after the last acknowledged).
pub fn raise_floor(
    space: &Keyspace,
    writer: SessionId,
    seen: Option<&Seen<FloorRecord>>,
    floor: WalSequence,
    acknowledged_end: WalSequence,
) -> Result<Planned<FloorRecord>, PlanError> {
    let from = seen.map_or(WalSequence::ZERO, |seen| seen.record.floor);
    rises("floor", from, floor)?;
    if floor > acknowledged_end {
        let (from, to) = (acknowledged_end.get().into(), floor.get().into());
        return Err(PlanError::Backward {
            what: "acknowledged end below the floor",
            from,
            to,
        });
    }
    Ok(guarded(
        space,
        writer,
        floor::key(space, writer),
        seen,
        FloorRecord { floor },
    ))
}

/// Commits WAL objects in the guarded mode: moves our session's committed sequence to `end`. It is
/// as it was read, our session lives.
///
/// # Errors
/// [`PlanError::Backward`] if it would not rise.
pub fn commit_sequence(
    space: &Keyspace,
    writer: SessionId,
    seen: Option<&Seen<CommittedRecord>>,
    end: WalSequence,
) -> Result<Planned<CommittedRecord>, PlanError> {
    let from = seen.map_or(WalSequence::ZERO, |seen| seen.record.end);
    rises("committed sequence", from, end)?;
    Ok(guarded(
        space,
        writer,
        committed::key(space, writer),
        seen,
        CommittedRecord { end },
    ))
}

fn rises(what: &'static str, from: WalSequence, to: WalSequence) -> Result<(), PlanError> {
    if to > from {
        return Ok(());
    }
    Err(PlanError::Backward {
        what,
        from: from.get().into(),
        to: to.get().into(),
    })
}
