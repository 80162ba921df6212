//! Coordinator slots, groups and committed offsets (log-protocol H14).
//!
//! All changes of a slot's groups are serial: each transaction compares the slot's record (so its
//! commit counter and owner) with what the last one left, and bumps the counter. A commit that
//! arrives late, from a queue or a zombie, meets another counter and does nothing. After an unknown
//! outcome the slot is read back ([`Planned::resolve`]) before the next change is sent.

use std::collections::BTreeMap;

use segment::{SessionId, TopicPartition};

use super::{PlanError, Planned, guarded, revision_of, session_gone, session_lives, unchanged};
use crate::keys::codec::{Seen, encode};
use crate::keys::group::{self, GroupRecord};
use crate::keys::group_offset::{self, GroupOffsetRecord};
use crate::keys::partition::Owner;
use crate::keys::slot::{self, SlotId, SlotRecord};
use crate::keys::space::Keyspace;
use crate::kv::{Compare, Key, KvLimits, Op, Revision, Txn};
use crate::rules::Rule;

/// Changes in one transaction of a slot: with the slot itself and the compares, within etcd's 128.
pub const SLOT_CHANGES_MAX: usize = 100;

const _: () = assert!(
    SLOT_CHANGES_MAX + 2 <= KvLimits::ETCD.operations_max,
    "a compare for each change, one of the slot and one of our session"
);

/// The slot that guards a change, as the last change left it.
#[derive(Clone, Debug)]
pub struct SlotGuard<'a> {
    /// The slot.
    pub slot: SlotId,
    /// Its record and revision.
    pub seen: &'a Seen<SlotRecord>,
    /// Our session, which owns it.
    pub writer: SessionId,
}

/// One change of a group of the slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// Writes the group's state, if the key is still at the revision read (0: absent).
    Put {
        /// The group.
        group: String,
        /// The mod revision of its key.
        seen: Revision,
        /// Its state.
        record: GroupRecord,
    },
    /// Commits an offset. Of several for one partition the last counts.
    Commit {
        /// The group.
        group: String,
        /// The partition.
        partition: TopicPartition,
        /// The offset.
        record: GroupOffsetRecord,
    },
    /// Deletes a committed offset (OffsetDelete, expiry).
    DeleteOffset {
        /// The group.
        group: String,
        /// The partition.
        partition: TopicPartition,
    },
    /// Deletes the group and all its offsets, if its key is still at the revision read (0: it
    /// has offsets only).
    Delete {
        /// The group.
        group: String,
        /// The mod revision of its key.
        seen: Revision,
    },
}

/// Takes a slot: its record is as it was read, its owner's session is gone (or it has no owner),
/// ours lives. The old owner joins the sessions to be fenced before the slot serves.
///
/// # Errors
/// [`PlanError::Exists`] if we own it already, [`PlanError::Exhausted`] at the end of a counter.
pub fn take_slot(
    space: &Keyspace,
    slot: SlotId,
    seen: Option<&Seen<SlotRecord>>,
    me: Owner,
) -> Result<Planned<SlotRecord>, PlanError> {
    let empty = SlotRecord {
        owner: None,
        epoch: 0,
        commit_counter: 0,
        unfenced: Vec::new(),
    };
    let mut record = seen.map_or(empty, |seen| seen.record.clone());
    let old_owner = record.owner.replace(me);
    if old_owner.is_some_and(|owner| owner.session == me.session) {
        return Err(PlanError::Exists);
    }
    let epoch = record.epoch.checked_add(1);
    record.epoch = epoch.ok_or(PlanError::Exhausted { what: "slot epoch" })?;
    bump(&mut record)?;
    assert!(
        seen.is_none_or(|seen| record.epoch > seen.record.epoch),
        "each taking over has an epoch of its own"
    );
    record.unfenced.extend(old_owner);
    assert!(record.owner == Some(me), "who takes it owns it");
    let key = slot::key(space, slot);
    let mut planned = guarded(space, me.session, key, seen, record);
    if let Some(owner) = old_owner {
        planned.txn = planned
            .txn
            .rule(Rule::OwnerIsGone, session_gone(space, owner.session));
    }
    Ok(planned)
}

/// Records that all earlier owners are fenced: from now on the slot serves.
///
/// # Errors
/// [`PlanError::NotOwner`].
pub fn finish_slot_take(
    space: &Keyspace,
    guard: &SlotGuard<'_>,
) -> Result<Planned<SlotRecord>, PlanError> {
    let mut record = owned_slot(guard)?;
    record.unfenced.clear();
    bump(&mut record)?;
    assert!(
        record.owner == guard.seen.record.owner && record.epoch == guard.seen.record.epoch,
        "who has taken it keeps it, in the same epoch"
    );
    let key = slot::key(space, guard.slot);
    Ok(guarded(space, guard.writer, key, Some(guard.seen), record))
}

/// Releases a slot; it must not be served after this has been sent, whatever the reply.
///
/// # Errors
/// [`PlanError::NotOwner`].
pub fn release_slot(
    space: &Keyspace,
    guard: &SlotGuard<'_>,
) -> Result<Planned<SlotRecord>, PlanError> {
    let mut record = owned_slot(guard)?;
    record.owner = None;
    bump(&mut record)?;
    assert!(
        record.unfenced == guard.seen.record.unfenced,
        "who is not fenced yet is not forgotten"
    );
    let key = slot::key(space, guard.slot);
    Ok(guarded(space, guard.writer, key, Some(guard.seen), record))
}

/// Applies changes of a slot's groups in one transaction and bumps the slot's commit counter. The
/// slot is as the last change left it and ours, our session lives, every group is as it was read.
///
/// # Errors
/// [`PlanError::NotOwner`]; [`PlanError::TooMany`] above [`SLOT_CHANGES_MAX`];
/// [`PlanError::Conflict`] if two changes of one group exclude each other.
pub fn slot_changes(
    space: &Keyspace,
    guard: &SlotGuard<'_>,
    changes: Vec<GroupChange>,
) -> Result<Planned<SlotRecord>, PlanError> {
    let mut record = owned_slot(guard)?;
    bump(&mut record)?;
    let count = changes.len();
    if count > SLOT_CHANGES_MAX {
        return Err(PlanError::TooMany {
            count,
            max: SLOT_CHANGES_MAX,
        });
    }
    let key = slot::key(space, guard.slot);
    let mut txn = Txn::new()
        .rule(Rule::WrittenAsRead, unchanged(&key, Some(guard.seen)))
        .rule(Rule::WriterLives, session_lives(space, guard.writer))
        .and_then(Op::put(key.clone(), encode(&record)))
        .or_else(Op::Get(key));
    let mut offsets: BTreeMap<Key, Op> = BTreeMap::new();
    for change in changes {
        txn = add_change(space, txn, &mut offsets, change);
    }
    assert!(offsets.len() <= count, "an offset changes once");
    assert!(
        record.owner == guard.seen.record.owner && record.epoch == guard.seen.record.epoch,
        "a change of groups changes no owner"
    );
    assert!(
        record.commit_counter > guard.seen.record.commit_counter,
        "each change has a number of its own"
    );
    txn.then.extend(offsets.into_values());
    txn.validate().map_err(|error| PlanError::Conflict {
        reason: error.to_string(),
    })?;
    let max = KvLimits::ETCD.operations_max;
    if txn.operations() > max {
        return Err(PlanError::TooMany {
            count: txn.operations(),
            max,
        });
    }
    Ok(Planned {
        txn,
        record,
        planned_on: revision_of(Some(guard.seen)),
    })
}

fn add_change(
    space: &Keyspace,
    txn: Txn,
    offsets: &mut BTreeMap<Key, Op>,
    change: GroupChange,
) -> Txn {
    match change {
        GroupChange::Put {
            group,
            seen,
            record,
        } => {
            let key = group::key(space, &group);
            txn.when(Compare::mod_revision(key.clone(), seen))
                .and_then(Op::put(key, record.encode()))
        }
        GroupChange::Commit {
            group,
            partition,
            record,
        } => {
            let key = group_offset::key(space, &group, partition);
            offsets.insert(key.clone(), Op::put(key, encode(&record)));
            txn
        }
        GroupChange::DeleteOffset { group, partition } => {
            let key = group_offset::key(space, &group, partition);
            offsets.insert(key.clone(), Op::Delete(key));
            txn
        }
        GroupChange::Delete { group, seen } => {
            let key = group::key(space, &group);
            txn.when(Compare::mod_revision(key.clone(), seen))
                .and_then(Op::Delete(key))
                .and_then(Op::DeleteSpan(group_offset::group_span(space, &group)))
        }
    }
}

/// [`slot_changes`] with one [`GroupChange::Put`]: before SyncGroup is answered.
///
/// # Errors
/// As [`slot_changes`].
pub fn put_group(
    space: &Keyspace,
    guard: &SlotGuard<'_>,
    group: &str,
    seen: Revision,
    record: GroupRecord,
) -> Result<Planned<SlotRecord>, PlanError> {
    let change = GroupChange::Put {
        group: group.to_string(),
        seen,
        record,
    };
    slot_changes(space, guard, vec![change])
}

/// [`slot_changes`] with offsets, in the order in which they are to be acknowledged.
///
/// # Errors
/// As [`slot_changes`].
pub fn commit_offsets(
    space: &Keyspace,
    guard: &SlotGuard<'_>,
    offsets: Vec<(String, TopicPartition, GroupOffsetRecord)>,
) -> Result<Planned<SlotRecord>, PlanError> {
    let commit = |(group, partition, record)| GroupChange::Commit {
        group,
        partition,
        record,
    };
    slot_changes(space, guard, offsets.into_iter().map(commit).collect())
}

/// [`slot_changes`] with one [`GroupChange::Delete`].
///
/// # Errors
/// As [`slot_changes`].
pub fn delete_group(
    space: &Keyspace,
    guard: &SlotGuard<'_>,
    group: &str,
    seen: Revision,
) -> Result<Planned<SlotRecord>, PlanError> {
    slot_changes(
        space,
        guard,
        vec![GroupChange::Delete {
            group: group.to_string(),
            seen,
        }],
    )
}

fn owned_slot(guard: &SlotGuard<'_>) -> Result<SlotRecord, PlanError> {
    let record = guard.seen.record.clone();
    let ours = record
        .owner
        .is_some_and(|owner| owner.session == guard.writer);
    if ours {
        Ok(record)
    } else {
        Err(PlanError::NotOwner {
            session: guard.writer,
        })
    }
}

fn bump(record: &mut SlotRecord) -> Result<(), PlanError> {
    let counter = record.commit_counter.checked_add(1);
    record.commit_counter = counter.ok_or(PlanError::Exhausted {
        what: "commit counter",
    })?;
    Ok(())
}
