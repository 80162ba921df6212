//! Coordinator slots: consumer groups and committed offsets in the metadata store.
//!
//! Control thread. Writes of a slot are serial and in order: each transaction compares and bumps
//! the slot's commit counter, and the next is sent only when the outcome of the last is known
//! (log-protocol H14). Writes that wait are joined into one transaction.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use coord::groups::{
    CommittedOffset, GROUP_FORMAT_VERSION, GroupId, GroupWrite, OffsetKey, Persisted, StoredGroup,
    WriteOp,
};
use coord::keys::cluster::CommitMode;
use coord::keys::group::GroupRecord;
use coord::keys::group_offset::GroupOffsetRecord;
use coord::keys::partition::Owner;
use coord::keys::plan::{self, GroupChange, SlotGuard};
use coord::keys::slot::{SlotId, SlotRecord};
use coord::keys::{CodecError, Seen, floor, group, group_offset, seen, slot};
use coord::kv::{KvError, Revision, range_all};
use futures_channel::oneshot;
use segment::{SessionId, WalSequence};

use super::commit::{Change, CommitError, commit, commit_all};
use super::context::Context;
use super::harvest::{Harvest, HarvestError};
use crate::shard::{Shard, ShardGone, ShardHandle, ShardId, slot_of_group};

/// Slots of one request where the store sets a limit.
const SLOTS_A_REQUEST: usize = 32;
/// A release waits this long for writes that are under way.
const QUIET_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it looks.
const QUIET_EVERY: Duration = Duration::from_millis(5);

/// Why the slots cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    /// The metadata store failed.
    #[error("take the coordinator slots: {0}")]
    Commit(#[from] CommitError),
    /// The metadata store failed.
    #[error("take the coordinator slots: {0}")]
    Kv(#[from] KvError),
    /// An earlier session cannot be fenced.
    #[error("take the coordinator slots: {0}")]
    Harvest(#[from] HarvestError),
    /// A stored group or offset cannot be read.
    #[error("read the groups: {key}: {reason}")]
    Record {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A shard has ended.
    #[error("take the coordinator slots: {0}")]
    Shard(#[from] ShardGone),
}

type Waiting = (GroupWrite, oneshot::Sender<Persisted>);

/// A slot of ours.
#[derive(Debug)]
struct Slot {
    id: SlotId,
    seen: Seen<SlotRecord>,
    /// When the key of each stored group was last changed.
    groups: HashMap<GroupId, Revision>,
    waiting: VecDeque<Waiting>,
    busy: bool,
}

/// What is stored of the groups of a slot.
#[derive(Debug, Default)]
struct Stored {
    groups: Vec<StoredGroup>,
    offsets: Vec<(OffsetKey, CommittedOffset)>,
    revisions: HashMap<GroupId, Revision>,
}

/// The slots of ours.
pub struct Slots {
    context: Rc<Context>,
    slots: RefCell<BTreeMap<u16, Slot>>,
}

impl Slots {
    /// No slot is ours yet.
    pub fn new(context: Rc<Context>) -> Rc<Self> {
        Rc::new(Self {
            context,
            slots: RefCell::default(),
        })
    }

    /// Whether a slot is ours and open.
    pub fn is_open(&self, slot: SlotId) -> bool {
        self.slots.borrow().contains_key(&slot.get())
    }

    /// Takes slots that nobody else owns, ends their earlier owners, and opens them on their
    /// shards. One that another broker takes first is left to it.
    ///
    /// # Errors
    /// [`SlotsError`]; slots may be ours all the same, so that the next try opens them.
    pub async fn take(&self, ids: Vec<SlotId>) -> Result<(), SlotsError> {
        let context = &self.context;
        let records = read_slots(context).await?;
        let taken = self.own(&ids, &records).await?;
        fence_owners(context, taken.iter().map(|(_, seen)| seen)).await?;
        let mut changes = Vec::new();
        for (id, seen) in &taken {
            let guard = self.guard(*id, seen);
            let planned = plan::finish_slot_take(&context.space, &guard);
            changes.push(Change {
                key: slot::key(&context.space, *id),
                planned: planned.map_err(CommitError::from)?,
                before: Some(seen.clone()),
            });
        }
        let outcomes = commit_all(&context.kv, &changes, SLOTS_A_REQUEST).await;
        let mut stored = read_groups(context).await?;
        for ((id, _), outcome) in taken.into_iter().zip(outcomes) {
            let seen = outcome?;
            context.view.slot_is(id.get(), &seen);
            let stored = stored.remove(&id.get()).unwrap_or_default();
            self.open(id, seen, stored).await?;
        }
        Ok(())
    }

    fn guard<'a>(&self, slot: SlotId, seen: &'a Seen<SlotRecord>) -> SlotGuard<'a> {
        SlotGuard {
            slot,
            seen,
            writer: self.context.session.id,
        }
    }

    /// The slots that are ours now. One that was ours already is not taken again.
    async fn own(
        &self,
        ids: &[SlotId],
        records: &HashMap<u16, Seen<SlotRecord>>,
    ) -> Result<Vec<(SlotId, Seen<SlotRecord>)>, SlotsError> {
        let context = &self.context;
        let me = Owner {
            session: context.session.id,
            broker: context.session.broker,
        };
        let (mut ours, mut changes, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        for id in ids {
            let before = records.get(&id.get()).cloned();
            match plan::take_slot(&context.space, *id, before.as_ref(), me) {
                Ok(planned) => {
                    let key = slot::key(&context.space, *id);
                    changes.push(Change {
                        key,
                        planned,
                        before,
                    });
                    wanted.push(*id);
                }
                Err(plan::PlanError::Exists) => ours.extend(before.map(|seen| (*id, seen))),
                Err(error) => return Err(CommitError::from(error).into()),
            }
        }
        let outcomes = commit_all(&context.kv, &changes, SLOTS_A_REQUEST).await;
        for (id, outcome) in wanted.into_iter().zip(outcomes) {
            match outcome {
                Ok(seen) => ours.push((id, seen)),
                Err(CommitError::Superseded) => {
                    tracing::debug!(slot = id.get(), "another broker was first");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(ours)
    }

    async fn open(
        &self,
        id: SlotId,
        seen: Seen<SlotRecord>,
        stored: Stored,
    ) -> Result<(), SlotsError> {
        let number = id.get();
        let Stored {
            groups,
            offsets,
            revisions,
        } = stored;
        let slot = Slot {
            id,
            seen,
            groups: revisions,
            waiting: VecDeque::new(),
            busy: false,
        };
        let before = self.slots.borrow_mut().insert(number, slot);
        assert!(before.is_none(), "a slot is opened once");
        let open = move |shard: &Rc<Shard>| shard.open_slot(number, groups, offsets);
        self.shard_of(number).call(open).await?;
        Ok(())
    }

    fn shard_of(&self, number: u16) -> &ShardHandle {
        let count = self.context.shards.len();
        let shard = ShardId((usize::from(number) % count) as u16);
        self.context.shard(shard)
    }

    /// Makes a write durable, after those of its slot before it. A sender that is dropped without
    /// an answer means that the broker is going down with the outcome unknown.
    pub fn persist(
        self: &Rc<Self>,
        slot: u16,
        write: GroupWrite,
        reply: oneshot::Sender<Persisted>,
    ) {
        let start = {
            let mut slots = self.slots.borrow_mut();
            // Given away meanwhile: nothing was written, and nobody waits any more.
            let Some(slot) = slots.get_mut(&slot) else {
                let _ = reply.send(Persisted::Failed);
                return;
            };
            slot.waiting.push_back((write, reply));
            !std::mem::replace(&mut slot.busy, true)
        };
        if start {
            let slots = self.clone();
            let write = async move { slots.write_slot(slot).await };
            self.context.spawn("coordinator slot", write);
        }
    }

    async fn write_slot(&self, number: u16) {
        loop {
            let (waiting, id, before, revisions) = {
                let mut slots = self.slots.borrow_mut();
                let Some(slot) = slots.get_mut(&number) else {
                    return;
                };
                // One at a time: shards join what fits a transaction, and wait for it.
                let Some(waiting) = slot.waiting.pop_front() else {
                    slot.busy = false;
                    return;
                };
                let revisions = waiting.0.ops.iter().map(group_of).map(|id| {
                    (
                        id.clone(),
                        slot.groups.get(id).copied().unwrap_or(Revision::ZERO),
                    )
                });
                let revisions: HashMap<GroupId, Revision> = revisions.collect();
                (waiting, slot.id, slot.seen.clone(), revisions)
            };
            let (write, reply) = waiting;
            let changes = changes(&write, &revisions);
            let persisted = match self.commit(id, &before, changes).await {
                Ok(seen) => {
                    self.adopt(number, seen, &write);
                    Persisted::Done
                }
                Err(error) if error.is_ambiguous() => return,
                Err(CommitError::Superseded) => return self.give_up(number).await,
                Err(error) => {
                    tracing::warn!(slot = number, %error, "group changes could not be stored");
                    Persisted::Failed
                }
            };
            // The slot may be closed: then nobody waits.
            let _ = reply.send(persisted);
        }
    }

    /// Closes a slot whose record is not what we left: if it is ours all the same, the next round
    /// opens it again with what is stored. Whoever waits is told that the coordinator has moved.
    async fn give_up(&self, number: u16) {
        tracing::warn!(
            slot = number,
            "a coordinator slot was changed by others; it is closed"
        );
        self.slots.borrow_mut().remove(&number);
        let close = move |shard: &Rc<Shard>| shard.close_slot(number);
        // An error means that the shard has ended.
        let _ = self.shard_of(number).call(close).await;
        self.context.view.touch();
    }

    async fn commit(
        &self,
        id: SlotId,
        before: &Seen<SlotRecord>,
        changes: Vec<GroupChange>,
    ) -> Result<Seen<SlotRecord>, CommitError> {
        let Context { space, kv, .. } = &*self.context;
        let planned = plan::slot_changes(space, &self.guard(id, before), changes)?;
        commit(kv, &slot::key(space, id), &planned, Some(before)).await
    }

    /// Remembers what a transaction left.
    fn adopt(&self, number: u16, seen: Seen<SlotRecord>, written: &GroupWrite) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(&number) else {
            return;
        };
        let revision = seen.mod_revision;
        slot.seen = seen;
        for op in &written.ops {
            match op {
                WriteOp::PutGroup(group) => drop(slot.groups.insert(group.group.clone(), revision)),
                WriteOp::DeleteGroup(group) => drop(slot.groups.remove(group)),
                WriteOp::PutOffset(..) | WriteOp::DeleteOffset(_) => {}
            }
        }
    }

    /// Gives slots back: closes them, waits for what is being written, then releases them.
    ///
    /// # Errors
    /// [`SlotsError`]; a slot that was not released is closed, and opened again by the next round.
    pub async fn release(&self, ids: &[SlotId]) -> Result<(), SlotsError> {
        let Context { space, kv, .. } = &*self.context;
        for id in ids {
            let number = id.get();
            let close = move |shard: &Rc<Shard>| shard.close_slot(number);
            self.shard_of(number).call(close).await?;
        }
        let is_busy = |id: &SlotId| self.slots.borrow().get(&id.get()).is_some_and(|s| s.busy);
        let quiet = async {
            while ids.iter().any(is_busy) {
                tokio::time::sleep(QUIET_EVERY).await;
            }
        };
        // What is still being written then is decided by its guard.
        let _ = tokio::time::timeout(QUIET_TIMEOUT, quiet).await;
        let mut changes = Vec::new();
        let closed = ids
            .iter()
            .filter_map(|id| self.slots.borrow_mut().remove(&id.get()));
        let closed: Vec<Slot> = closed.collect();
        for slot in &closed {
            let planned = plan::release_slot(space, &self.guard(slot.id, &slot.seen));
            changes.push(Change {
                key: slot::key(space, slot.id),
                planned: planned.map_err(CommitError::from)?,
                before: Some(slot.seen.clone()),
            });
        }
        let outcomes = commit_all(kv, &changes, SLOTS_A_REQUEST).await;
        for (slot, outcome) in closed.iter().zip(outcomes) {
            self.context.view.slot_is(slot.id.get(), &outcome?);
        }
        Ok(())
    }

    /// Gives all slots back, at a shutdown.
    ///
    /// # Errors
    /// As [`Self::release`].
    pub async fn release_all(&self) -> Result<(), SlotsError> {
        let ids: Vec<SlotId> = self.slots.borrow().values().map(|slot| slot.id).collect();
        self.release(&ids).await
    }
}

fn group_of(op: &WriteOp) -> &GroupId {
    match op {
        WriteOp::PutGroup(stored) => &stored.group,
        WriteOp::DeleteGroup(group) => group,
        WriteOp::PutOffset(key, _) | WriteOp::DeleteOffset(key) => &key.group,
    }
}

/// The changes of a transaction: of several on one key the last counts.
fn changes(write: &GroupWrite, revisions: &HashMap<GroupId, Revision>) -> Vec<GroupChange> {
    let mut groups: BTreeMap<&GroupId, Option<&StoredGroup>> = BTreeMap::new();
    let mut offsets: BTreeMap<&OffsetKey, Option<&CommittedOffset>> = BTreeMap::new();
    for op in &write.ops {
        match op {
            WriteOp::PutGroup(stored) => drop(groups.insert(&stored.group, Some(stored))),
            WriteOp::DeleteGroup(group) => drop(groups.insert(group, None)),
            WriteOp::PutOffset(key, offset) => drop(offsets.insert(key, Some(offset))),
            WriteOp::DeleteOffset(key) => drop(offsets.insert(key, None)),
        }
    }
    let gone: BTreeSet<&GroupId> = groups
        .iter()
        .filter(|(_, stored)| stored.is_none())
        .map(|(group, _)| *group)
        .collect();
    let mut all: Vec<GroupChange> = groups
        .iter()
        .map(|(id, stored)| {
            let group = id.as_str().to_owned();
            let seen = revisions.get(*id).copied().unwrap_or(Revision::ZERO);
            match stored {
                Some(stored) => {
                    let state_version = u32::from(GROUP_FORMAT_VERSION);
                    let record = GroupRecord {
                        state_version,
                        state: stored.encode(),
                    };
                    GroupChange::Put {
                        group,
                        seen,
                        record,
                    }
                }
                None => GroupChange::Delete { group, seen },
            }
        })
        .collect();
    // A deleted group takes its offsets along.
    let offsets = offsets
        .into_iter()
        .filter(|(key, _)| !gone.contains(&key.group));
    all.extend(offsets.map(|(key, offset)| {
        let (group, partition) = (key.group.as_str().to_owned(), key.partition);
        match offset {
            Some(offset) => GroupChange::Commit {
                group,
                partition,
                record: offset_record(offset),
            },
            None => GroupChange::DeleteOffset { group, partition },
        }
    }));
    all
}

fn offset_record(offset: &CommittedOffset) -> GroupOffsetRecord {
    GroupOffsetRecord {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.to_string(),
        commit_ms: offset.commit_timestamp,
        expire_ms: offset.expire_timestamp,
    }
}

fn committed_offset(record: GroupOffsetRecord) -> CommittedOffset {
    CommittedOffset {
        offset: record.offset,
        leader_epoch: record.leader_epoch,
        metadata: record.metadata.into(),
        commit_timestamp: record.commit_ms,
        expire_timestamp: record.expire_ms,
    }
}

async fn read_slots(context: &Context) -> Result<HashMap<u16, Seen<SlotRecord>>, SlotsError> {
    let mut records = HashMap::new();
    for entry in range_all(&context.kv, slot::span(&context.space))
        .await?
        .entries
    {
        let Ok(id) = slot::parse(&context.space, &entry.key) else {
            continue;
        };
        let record = seen::<SlotRecord>(Some(&entry)).map_err(CommitError::from)?;
        records.extend(record.map(|seen| (id.get(), seen)));
    }
    Ok(records)
}

/// Ends the sessions that owned the slots before, as for partitions.
async fn fence_owners<'a>(
    context: &Context,
    taken: impl Iterator<Item = &'a Seen<SlotRecord>>,
) -> Result<(), SlotsError> {
    // In the guarded mode a session whose key is gone can commit nothing: there is nothing to fence.
    if context.mode == CommitMode::Guarded {
        return Ok(());
    }
    let me = context.session.id;
    let owners: BTreeMap<SessionId, Owner> = taken
        .flat_map(|seen| &seen.record.unfenced)
        .filter(|owner| owner.session != me)
        .map(|owner| (owner.session, *owner))
        .collect();
    for (session, owner) in owners {
        let key = floor::key(&context.space, session);
        let floor = context.kv.get(key).await?;
        let floor = seen::<floor::FloorRecord>(floor.as_ref()).map_err(CommitError::from)?;
        let floor = floor.map_or(WalSequence::ZERO, |seen| seen.record.floor);
        let mut harvest = Harvest::new(&context.objects, &context.keys, me, HashSet::new());
        harvest.fence(owner, floor).await?;
    }
    Ok(())
}

/// Everything that is stored of groups, by slot.
async fn read_groups(context: &Context) -> Result<HashMap<u16, Stored>, SlotsError> {
    let space = &context.space;
    let mut all: HashMap<u16, Stored> = HashMap::new();
    for entry in range_all(&context.kv, group::span(space)).await?.entries {
        let fail = |reason: String| SlotsError::Record {
            key: entry.key.to_string(),
            reason,
        };
        let name = group::parse(space, &entry.key).map_err(|error| fail(error.to_string()))?;
        let record = GroupRecord::decode(&entry.value).map_err(|error| fail(error.to_string()))?;
        let group = StoredGroup::decode(record.state).map_err(|error| fail(error.to_string()))?;
        let slot = all.entry(slot_of_group(&name)).or_default();
        slot.revisions
            .insert(group.group.clone(), entry.mod_revision);
        slot.groups.push(group);
    }
    for entry in range_all(&context.kv, group_offset::span(space))
        .await?
        .entries
    {
        let fail = |reason: String| SlotsError::Record {
            key: entry.key.to_string(),
            reason,
        };
        let parsed = group_offset::parse(space, &entry.key);
        let (name, partition) = parsed.map_err(|error| fail(error.to_string()))?;
        let record: Result<Option<Seen<GroupOffsetRecord>>, CodecError> = seen(Some(&entry));
        let record = record.map_err(|error| fail(error.to_string()))?;
        let slot = all.entry(slot_of_group(&name)).or_default();
        let key = OffsetKey {
            group: GroupId::new(name),
            partition,
        };
        slot.offsets
            .extend(record.map(|seen| (key, committed_offset(seen.record))));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use segment::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId, TopicPartition};

    fn key(group: &str) -> OffsetKey {
        let partition = TopicPartition::new(TopicId::new([1; 16]), PartitionIndex::ZERO);
        OffsetKey {
            group: GroupId::new(group),
            partition,
        }
    }

    fn put(group: &str, offset: i64) -> WriteOp {
        let committed = CommittedOffset {
            offset: Offset::new(offset),
            leader_epoch: LeaderEpoch::NONE,
            metadata: "".into(),
            commit_timestamp: TimestampMs::ZERO,
            expire_timestamp: None,
        };
        WriteOp::PutOffset(key(group), committed)
    }

    #[test]
    fn the_last_operation_on_a_key_counts() {
        let write = GroupWrite {
            ops: vec![put("g", 1), WriteOp::DeleteOffset(key("g")), put("g", 7)],
            bytes: 0,
        };
        let all = changes(&write, &HashMap::new());
        assert_eq!(all.len(), 1);
        let GroupChange::Commit { record, .. } = &all[0] else {
            panic!("{all:?}")
        };
        assert_eq!(record.offset, Offset::new(7));
    }
}
