//! Who owns a partition: takeover, closing of sources, release (log-protocol H5, H6, H7, H15).

use segment::{Offset, SessionId, TopicName, TopicPartition, WalSequence};

use super::{
    PlanError, Planned, guarded, owned, revision_of, session_gone, session_lives, unchanged,
};
use crate::keys::codec::{CodecError, Seen, encode, seen as decode_seen};
use crate::keys::floor::{self, FloorRecord};
use crate::keys::partition::{self, EpochStart, Owner, PartitionRecord, Source};
use crate::keys::space::Keyspace;
use crate::keys::topic;
use crate::kv::{Compare, KvLimits, Op, Revision, Txn, TxnReply};
use crate::rules::{self, Rule};

/// Partitions of one request ([`Txn::batch`]): each is atomic on its own.
pub const PARTITIONS_MAX: usize = 32;

const _: () = assert!(
    PARTITIONS_MAX < KvLimits::ETCD.operations_max,
    "etcd takes a transaction for each partition, and what is in them"
);

/// A partition to take.
#[derive(Clone, Debug)]
pub struct Take<'a> {
    /// The name of its topic.
    pub topic: &'a TopicName,
    /// The create revision of the topic key, as it was read with this partition's topic id.
    pub topic_created: Revision,
    /// The partition.
    pub partition: TopicPartition,
    /// Its record as it was read; none if the key was absent.
    pub seen: Option<&'a Seen<PartitionRecord>>,
    /// Who takes it.
    pub me: Owner,
    /// The first sequence of our session that can hold batches of it.
    pub first_sequence: WalSequence,
    /// Where our own session owns it already (a release that was not applied): the sequence
    /// after the last that it has acknowledged, which ends our earlier source.
    pub own_end: Option<WalSequence>,
}

/// A planned takeover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakePlan {
    /// The transaction and the record that it writes.
    pub planned: Planned<PartitionRecord>,
    /// Sessions whose sources must be fenced, oldest first; the transaction reads their floors.
    pub to_fence: Vec<SessionId>,
}

impl TakePlan {
    /// The floor of each session to fence, from the reply of the transaction that succeeded.
    ///
    /// # Errors
    /// [`CodecError`] if a floor does not decode.
    pub fn floors(&self, reply: &TxnReply) -> Result<Vec<(SessionId, WalSequence)>, CodecError> {
        assert!(
            reply.succeeded,
            "only a takeover that succeeded has read the floors"
        );
        let mut floors = Vec::with_capacity(self.to_fence.len());
        for (index, session) in self.to_fence.iter().enumerate() {
            // The first response is that of the put.
            let floor = decode_seen::<FloorRecord>(reply.get(index + 1))?;
            floors.push((
                *session,
                floor.map_or(WalSequence::ZERO, |seen| seen.record.floor),
            ));
        }
        assert!(
            floors.len() == self.to_fence.len(),
            "each session to fence has a floor"
        );
        Ok(floors)
    }
}

/// Takes a partition: its record is as it was read, its owner's session is gone (or it has no
/// owner), our session lives, its topic is the one that was read. Writes us as owner, the next
/// leader epoch and our source, and reads the floors of the sources to be fenced.
///
/// # Errors
/// [`PlanError::OpenSource`] if we own it already and `own_end` is missing,
/// [`PlanError::Exhausted`] after the last leader epoch.
pub fn take_partition(space: &Keyspace, take: Take<'_>) -> Result<TakePlan, PlanError> {
    let before = take
        .seen
        .map_or_else(PartitionRecord::absent, |seen| seen.record.clone());
    let old_owner = before.owner;
    let record = taken(before, &take)?;
    let mut to_fence: Vec<SessionId> = Vec::new();
    for source in record.sources.iter().filter(|source| source.is_open()) {
        let ours = source.session == take.me.session;
        if !ours && !to_fence.contains(&source.session) {
            to_fence.push(source.session);
        }
    }
    assert!(!to_fence.contains(&take.me.session), "nobody fences itself");
    assert!(record.is_owned_by(take.me.session), "who takes it owns it");
    let key = partition::key(space, take.partition);
    let topic_key = topic::key(space, take.topic);
    let mut txn = Txn::new()
        .rule(Rule::WrittenAsRead, unchanged(&key, take.seen))
        .rule(Rule::WriterLives, session_lives(space, take.me.session))
        .when(Compare::create_revision(topic_key, take.topic_created));
    if let Some(owner) = old_owner.filter(|owner| owner.session != take.me.session) {
        txn = txn.rule(Rule::OwnerIsGone, session_gone(space, owner.session));
    }
    txn = txn.and_then(Op::put(key.clone(), encode(&record)));
    for session in &to_fence {
        txn = txn.and_then(Op::Get(floor::key(space, *session)));
    }
    assert!(
        txn.then.len() == 1 + to_fence.len(),
        "the floors are answered behind the put, in the order of the sessions"
    );
    let planned_on = revision_of(take.seen);
    let planned = Planned {
        txn: txn.or_else(Op::Get(key)),
        record,
        planned_on,
    };
    Ok(TakePlan { planned, to_fence })
}

fn taken(mut record: PartitionRecord, take: &Take<'_>) -> Result<PartitionRecord, PlanError> {
    let before = record.leader_epoch;
    let epoch = before.next();
    record.leader_epoch = epoch.ok_or(PlanError::Exhausted {
        what: "leader epoch",
    })?;
    for source in &mut record.sources {
        if source.session == take.me.session && source.is_open() {
            let end = take.own_end.ok_or(PlanError::OpenSource {
                session: source.session,
            })?;
            source.end_sequence = Some(end);
        }
    }
    record.sources.retain(|source| !source.is_empty());
    record.owner = Some(take.me);
    record.sources.push(Source {
        session: take.me.session,
        broker: take.me.broker,
        first_sequence: take.first_sequence,
        end_sequence: None,
    });
    assert!(
        record.leader_epoch > before,
        "each taking over has an epoch of its own"
    );
    let mine = record
        .sources
        .iter()
        .filter(|source| source.session == take.me.session);
    assert!(
        mine.filter(|source| source.is_open()).count() == 1,
        "an owner appends to one source"
    );
    Ok(record)
}

/// Where the sections of a partition lie that no segment holds, in the order of its sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// It is not known: sources stay as wide as they are.
    Unknown,
    /// There are none.
    Empty,
    /// From the first to the last WAL object with such a section, inclusive.
    Objects {
        /// The first.
        first: (SessionId, WalSequence),
        /// The last.
        last: (SessionId, WalSequence),
    },
}

impl Extent {
    /// Narrows closed sources to what they are needed for, so that the next taker reads no more. A
    /// source that it does not find leaves all as they are. The open source, ours, is the last and
    /// stays.
    pub(super) fn narrow(self, sources: &mut Vec<Source>) {
        let is_closed = |source: &Source| !source.is_open();
        let (first, last) = match self {
            Self::Unknown => return,
            Self::Empty => return sources.retain(|source| !is_closed(source)),
            Self::Objects { first, last } => (first, last),
        };
        let holds = |(session, sequence): (SessionId, WalSequence)| {
            move |source: &Source| is_closed(source) && source.contains(session, sequence)
        };
        let from = sources.iter().position(holds(first));
        let to = sources.iter().rposition(holds(last));
        let (Some(from), Some(to), Some(end)) = (from, to, last.1.next()) else {
            return;
        };
        if from > to {
            return;
        }
        assert!(from <= to, "the first object is not behind the last");
        sources[to].end_sequence = Some(end);
        sources[from].first_sequence = first.1;
        let mut index = 0..;
        sources.retain(|source| {
            let index = index.next().expect("the range has no end");
            source.is_open() || (from..=to).contains(&index)
        });
    }
}

/// Closes the sources that were fenced, each at the sequence of its session's fence, narrows all to
/// `extent`, and appends our leader epoch's start to the history if the log end is known already
/// (else see [`append_epoch`]). The record is as it was read, our session lives.
///
/// # Errors
/// [`PlanError::NotOwner`]; [`PlanError::OpenSource`] if a source but our last is left without an
/// end; [`PlanError::Backward`] for a start below the last one.
pub fn close_sources(
    space: &Keyspace,
    writer: SessionId,
    partition: TopicPartition,
    seen: &Seen<PartitionRecord>,
    ends: &[(SessionId, WalSequence)],
    extent: Extent,
    start: Option<Offset>,
) -> Result<Planned<PartitionRecord>, PlanError> {
    let mut record = owned(seen, writer)?;
    for source in record.sources.iter_mut().filter(|source| source.is_open()) {
        if source.session == writer {
            continue;
        }
        let end = ends.iter().find(|(session, _)| *session == source.session);
        let (_, end) = end.ok_or(PlanError::OpenSource {
            session: source.session,
        })?;
        source.end_sequence = Some(*end);
    }
    extent.narrow(&mut record.sources);
    record.sources.retain(|source| !source.is_empty());
    assert!(
        record
            .sources
            .iter()
            .all(|source| !source.is_open() || source.session == writer),
        "the sources of others are closed"
    );
    if let Some(start) = start {
        push_epoch(&mut record, start)?;
    }
    let key = partition::key(space, partition);
    Ok(guarded(space, writer, key, Some(seen), record))
}

/// Appends (our leader epoch, start) to the history: to be sent before we write at `start`. The
/// record is as it was read, our session lives.
///
/// # Errors
/// [`PlanError::NotOwner`]; [`PlanError::OpenSource`] while a fenced source is not closed;
/// [`PlanError::Backward`] for a start below the last one.
pub fn append_epoch(
    space: &Keyspace,
    writer: SessionId,
    partition: TopicPartition,
    seen: &Seen<PartitionRecord>,
    start: Offset,
) -> Result<Planned<PartitionRecord>, PlanError> {
    let mut record = owned(seen, writer)?;
    let open = record
        .sources
        .iter()
        .find(|source| source.is_open() && source.session != writer);
    if let Some(open) = open {
        return Err(PlanError::OpenSource {
            session: open.session,
        });
    }
    push_epoch(&mut record, start)?;
    let key = partition::key(space, partition);
    Ok(guarded(space, writer, key, Some(seen), record))
}

/// An epoch that began where ours begins wrote nothing: it is dropped.
fn push_epoch(record: &mut PartitionRecord, start: Offset) -> Result<(), PlanError> {
    let epoch = record.leader_epoch;
    record.epochs.retain(|past| past.epoch != epoch);
    if let Some(last) = record.epochs.last()
        && last.start > start
    {
        let (from, to) = (last.start.get().into(), start.get().into());
        return Err(PlanError::Backward {
            what: "start of the leader epoch",
            from,
            to,
        });
    }
    let keep = |past: &EpochStart| past.start < start && rules::holds(Rule::EpochHistoryIsKept);
    record.epochs.retain(keep);
    record.epochs.push(EpochStart { epoch, start });
    assert!(
        record.epochs.iter().all(|past| past.start <= start),
        "the last epoch starts last"
    );
    Ok(())
}

/// Releases a partition, once every object with it is acknowledged: closes our source at the
/// acknowledged sequence + 1, narrows all to `extent`, and leaves no owner. The record is as it was
/// read, our session lives.
/// **After this has been sent the partition takes no appends in this ownership, whatever the
/// reply.**
///
/// # Errors
/// [`PlanError::NotOwner`]; [`PlanError::OpenSource`] while a fenced source is not closed;
/// [`PlanError::UnknownSource`] if our session has no open source.
pub fn release_partition(
    space: &Keyspace,
    writer: SessionId,
    partition: TopicPartition,
    seen: &Seen<PartitionRecord>,
    acknowledged_end: WalSequence,
    extent: Extent,
) -> Result<Planned<PartitionRecord>, PlanError> {
    let mut record = owned(seen, writer)?;
    let open = record
        .sources
        .iter()
        .find(|source| source.is_open() && source.session != writer);
    if let Some(open) = open {
        return Err(PlanError::OpenSource {
            session: open.session,
        });
    }
    let ours = record.sources.iter_mut().find(|source| source.is_open());
    let ours = ours.ok_or(PlanError::UnknownSource { session: writer })?;
    ours.end_sequence = Some(acknowledged_end);
    extent.narrow(&mut record.sources);
    record.sources.retain(|source| !source.is_empty());
    record.owner = None;
    assert!(
        record.leader_epoch == seen.record.leader_epoch,
        "who gives it up takes no epoch"
    );
    let key = partition::key(space, partition);
    Ok(guarded(space, writer, key, Some(seen), record))
}
