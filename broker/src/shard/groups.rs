//! The shell of the group coordinators: which slot a group belongs to, how a request of any shard
//! reaches it, and how the effects of the state machine are carried out.
//!
//! *Shard-owned.* Slot `s` lives on shard `s % shards`. Rules:
//! - no borrow of a slot is held across an await or while an effect is carried out;
//! - the writes of a slot are serial and in order: one is under way, those that wait are joined;
//! - a slot that is closed takes its outcomes with it: a later tenure never sees them;
//! - one task a shard runs the timers of all its slots, and sleeps while there is nothing to do.

mod timer;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use coord::groups::{
    CommittedOffset, Coordinator, Effect, Effects, GroupConfig, GroupId, GroupState, GroupWrite,
    Millis, Now, OffsetKey, Persisted, Reply, ReplyToken, StoredGroup, WriteId, WriteOp,
};
use futures_channel::oneshot;
use segment::{TopicId, TopicPartition};

use super::Shard;
use super::handle::{ShardHandle, ShardId};
use crate::config::Config;
use crate::control::ControlMsg;
use crate::runtime;
use timer::Alarm;

/// Coordinator slots of a cluster.
pub const SLOTS: u16 = coord::keys::slot::SLOTS;

/// Requests of one shard's slots that wait for an answer, at most.
const PARKED_MAX: usize = 100_000;
/// Share of the memory budget that groups may take, all slots together.
const MEMORY_SHARE: u64 = 8;
/// Least and most bytes of one slot.
const SLOT_BYTES: (usize, usize) = (1 << 20, 64 << 20);
/// Operations that go into one transaction.
const JOINED_OPS_MAX: usize = coord::keys::plan::SLOT_CHANGES_MAX;
/// Bytes that go into one transaction, about; a single write may be larger.
const JOINED_BYTES_MAX: usize = 1 << 20;
/// How long a request waits for the metadata store (Kafka's `offsets.commit.timeout.ms`).
const WRITE_WAIT: Duration = Duration::from_secs(5);
/// Time between two passes of offset expiry (Kafka's `offsets.retention.check.interval.ms`), and
/// between two steps of a pass.
const EXPIRY_INTERVAL_MS: u64 = 600_000;
const EXPIRY_STEP_MS: u64 = 100;

/// The slot that a group belongs to. Stored groups lie under it, so it never changes.
pub fn slot_of_group(group: &str) -> u16 {
    let slot = crc32fast::hash(group.as_bytes()) % u32::from(SLOTS);
    u16::try_from(slot).expect("a remainder of the number of slots")
}

/// The shard that a slot lives on.
pub fn shard_of_slot(slot: u16, shards: usize) -> ShardId {
    let shard = usize::from(slot) % shards;
    ShardId(u16::try_from(shard).expect("not above the slot"))
}

/// Why a group cannot be served now. Clients retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupUnavailable {
    /// The slot is not open yet: COORDINATOR_LOAD_IN_PROGRESS.
    #[error("the group coordinator is loading")]
    Loading,
    /// Too many requests wait: COORDINATOR_NOT_AVAILABLE.
    #[error("too many group requests wait")]
    Busy,
    /// The metadata store does not answer; a write may yet be carried out: COORDINATOR_NOT_AVAILABLE.
    #[error("the metadata store did not answer in time")]
    Late,
    /// The broker is going down, or has given up the slot: NOT_COORDINATOR.
    #[error("the group coordinator has ended")]
    Gone,
}

/// One open slot.
struct Slot {
    coordinator: Coordinator,
    /// Tells this tenure of the slot from an earlier one.
    tenure: u64,
    waiting: VecDeque<(WriteId, GroupWrite)>,
    is_writing: bool,
    /// A pass of offset expiry is not complete.
    expires: bool,
}

impl Slot {
    /// Takes the writes that go into the next transaction.
    fn next_write(&mut self, ops_max: usize) -> Option<(Vec<WriteId>, GroupWrite)> {
        let (id, mut joined) = self.waiting.pop_front()?;
        let mut ids = vec![id];
        while let Some((_, next)) = self.waiting.front() {
            let fits = joined.ops.len() + next.ops.len() <= ops_max
                && joined.bytes + next.bytes <= JOINED_BYTES_MAX
                && !deletes_group(&joined)
                && !deletes_group(next);
            let Some((id, next)) = self.waiting.pop_front_if(|_| fits) else {
                break;
            };
            joined.ops.extend(next.ops);
            joined.bytes += next.bytes;
            ids.push(id);
        }
        Some((
            ids,
            GroupWrite {
                ops: last_of_each(joined.ops),
                bytes: joined.bytes,
            },
        ))
    }
}

/// The deletion of a group goes alone: its store may carry it out as the deletion of a span, which
/// says nothing of what else lies in it.
fn deletes_group(write: &GroupWrite) -> bool {
    write
        .ops
        .iter()
        .any(|op| matches!(op, WriteOp::DeleteGroup(_)))
}

/// The same effect with one operation a key: the last one on a key wins, and stays in its place.
fn last_of_each(ops: Vec<WriteOp>) -> Vec<WriteOp> {
    let mut last: BTreeMap<(Option<OffsetKey>, Option<String>), usize> = BTreeMap::new();
    let key = |op: &WriteOp| match op {
        WriteOp::PutGroup(group) => (None, Some(group.group.as_str().to_owned())),
        WriteOp::DeleteGroup(group) => (None, Some(group.as_str().to_owned())),
        WriteOp::PutOffset(key, _) | WriteOp::DeleteOffset(key) => (Some(key.clone()), None),
    };
    for (index, op) in ops.iter().enumerate() {
        last.insert(key(op), index);
    }
    if last.len() == ops.len() {
        return ops;
    }
    let kept = ops.into_iter().enumerate();
    let kept = kept.filter(|(index, op)| last.get(&key(op)) == Some(index));
    kept.map(|(_, op)| op).collect()
}

/// The coordinator slots of a shard. Shard-owned.
pub struct GroupSlots {
    config: GroupConfig,
    slots: RefCell<BTreeMap<u16, Slot>>,
    parked: RefCell<HashMap<ReplyToken, oneshot::Sender<Reply>>>,
    next_token: Cell<u64>,
    next_tenure: Cell<u64>,
    alarm: Alarm,
    expiry_at: Cell<Option<u64>>,
    has_timer_task: Cell<bool>,
}

impl GroupSlots {
    /// No slots.
    pub fn new(config: &Config) -> Self {
        Self {
            config: group_config(config),
            slots: RefCell::default(),
            parked: RefCell::default(),
            next_token: Cell::new(0),
            next_tenure: Cell::new(0),
            alarm: Alarm::default(),
            expiry_at: Cell::new(None),
            has_timer_task: Cell::new(false),
        }
    }

    /// Opens a slot with what is stored of it: it serves when this returns. Records that
    /// contradict each other leave it closed, which is logged.
    pub fn open(
        &self,
        shard: &Rc<Shard>,
        slot: u16,
        groups: Vec<StoredGroup>,
        offsets: Vec<(OffsetKey, CommittedOffset)>,
    ) {
        assert!(slot < SLOTS, "slots are numbered below their count");
        assert!(
            shard_of_slot(slot, shard.shared.peers.len()) == shard.id,
            "a slot is opened on the shard that owns it"
        );
        let room = shard.shared.group_room.clone();
        let mut coordinator = Coordinator::within(self.config.clone(), room);
        if let Err(error) = coordinator.restore(groups, offsets, now(shard)) {
            tracing::error!(slot, %error, "coordinator slot stays closed: its records are damaged");
            return;
        }
        let tenure = self.next_tenure.get();
        self.next_tenure.set(tenure + 1);
        let opened = Slot {
            coordinator,
            tenure,
            waiting: VecDeque::new(),
            is_writing: false,
            expires: false,
        };
        let previous = self.slots.borrow_mut().insert(slot, opened);
        assert!(previous.is_none(), "a slot is open once");
        if !self.has_timer_task.replace(true) {
            runtime::spawn(timer::run(Rc::downgrade(shard)));
        }
        self.arm(slot, shard.now_ms());
    }

    /// Gives up a slot: whoever waits is answered with NOT_COORDINATOR.
    pub fn close(&self, shard: &Rc<Shard>, slot: u16) {
        let closed = self.slots.borrow_mut().remove(&slot);
        if let Some(closed) = closed {
            let mut out = Effects::new();
            closed.coordinator.unload(now(shard), &mut out);
            self.carry_out(shard, slot, out);
        }
    }

    /// Deletes the offsets of topics that are gone.
    pub fn topics_deleted(&self, shard: &Rc<Shard>, topics: &[TopicId]) {
        for slot in self.open_slots() {
            self.step(shard, slot, |coordinator, now, out| {
                coordinator.on_topics_deleted(topics, now, out);
            });
        }
    }

    /// Groups in memory, in all slots of this shard.
    pub fn group_count(&self) -> usize {
        self.slots
            .borrow()
            .values()
            .map(|slot| slot.coordinator.group_count())
            .sum()
    }

    /// Calls `each` with the state and the number of members of every group.
    pub fn for_each(&self, mut each: impl FnMut(GroupState, usize)) {
        for slot in self.slots.borrow().values() {
            slot.coordinator
                .states()
                .for_each(|(state, members)| each(state, members));
        }
    }

    /// Calls `each` with every committed offset.
    pub fn for_each_offset(
        &self,
        mut each: impl FnMut(&GroupId, TopicPartition, &CommittedOffset),
    ) {
        for slot in self.slots.borrow().values() {
            slot.coordinator.for_each_offset(&mut each);
        }
    }

    fn open_slots(&self) -> Vec<u16> {
        self.slots.borrow().keys().copied().collect()
    }

    /// Runs a transition of a slot and carries out its effects. `None` if the slot is not open.
    fn step<R>(
        &self,
        shard: &Rc<Shard>,
        slot: u16,
        transition: impl FnOnce(&mut Coordinator, Now, &mut Effects) -> R,
    ) -> Option<R> {
        let mut out = Effects::new();
        let now = now(shard);
        let result = {
            let mut slots = self.slots.borrow_mut();
            transition(&mut slots.get_mut(&slot)?.coordinator, now, &mut out)
        };
        self.carry_out(shard, slot, out);
        self.arm(slot, now.monotonic.get());
        Some(result)
    }

    /// Starts a request on a slot of this shard.
    fn start<F>(
        &self,
        shard: &Rc<Shard>,
        slot: u16,
        request: F,
    ) -> Result<oneshot::Receiver<Reply>, GroupUnavailable>
    where
        F: FnOnce(&mut Coordinator, ReplyToken, Now, &mut Effects),
    {
        if !self.slots.borrow().contains_key(&slot) {
            return Err(shard.closed_slot(slot));
        }
        let token = ReplyToken(self.next_token.get());
        let answer = {
            let mut parked = self.parked.borrow_mut();
            if parked.len() >= PARKED_MAX {
                return Err(GroupUnavailable::Busy);
            }
            let (reply, answer) = oneshot::channel();
            parked.insert(token, reply);
            answer
        };
        self.next_token.set(token.0 + 1);
        self.step(shard, slot, |coordinator, now, out| {
            request(coordinator, token, now, out)
        });
        Ok(answer)
    }

    fn carry_out(&self, shard: &Rc<Shard>, slot: u16, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Reply { token, reply } => {
                    let waiting = self.parked.borrow_mut().remove(&token);
                    // The connection may be gone: then nobody reads the answer.
                    waiting.map(|waiting| waiting.send(reply));
                }
                Effect::Persist { id, write } => self.persist(shard, slot, id, write),
            }
        }
    }

    fn persist(&self, shard: &Rc<Shard>, slot: u16, id: WriteId, write: GroupWrite) {
        shard.noted.groups_written(&write.ops);
        let mut slots = self.slots.borrow_mut();
        let open = slots
            .get_mut(&slot)
            .expect("a slot that is given up writes nothing");
        open.waiting.push_back((id, write));
        if !std::mem::replace(&mut open.is_writing, true) {
            runtime::spawn(write_all(shard.clone(), slot, open.tenure));
        }
    }

    /// The next transaction of a slot; `None`, and the writer ends, when nothing waits or the slot
    /// was given up.
    fn next_write(&self, slot: u16, tenure: u64) -> Option<(Vec<WriteId>, GroupWrite)> {
        let mut slots = self.slots.borrow_mut();
        let open = slots.get_mut(&slot).filter(|open| open.tenure == tenure)?;
        let next = open.next_write(JOINED_OPS_MAX);
        open.is_writing = next.is_some();
        next
    }

    /// Sees to it that the timer task wakes up in time for a slot.
    fn arm(&self, slot: u16, now_ms: u64) {
        let deadline = {
            let slots = self.slots.borrow();
            let Some(open) = slots.get(&slot) else { return };
            if self.expiry_at.get().is_none() && open.coordinator.group_count() > 0 {
                self.expiry_at.set(Some(now_ms + EXPIRY_INTERVAL_MS));
                self.alarm.at_latest(now_ms + EXPIRY_INTERVAL_MS);
            }
            open.coordinator.next_deadline()
        };
        if let Some(deadline) = deadline {
            self.alarm.at_latest(deadline.get());
        }
    }

    /// Runs everything that is due and gives the time of the next, if there is any.
    fn run_due(&self, shard: &Rc<Shard>) -> Option<u64> {
        let now_ms = shard.now_ms();
        for slot in self.open_slots() {
            let deadline = {
                let slots = self.slots.borrow();
                slots
                    .get(&slot)
                    .and_then(|open| open.coordinator.next_deadline())
            };
            if deadline.is_some_and(|deadline| deadline.get() <= now_ms) {
                self.step(shard, slot, Coordinator::on_timer);
            }
        }
        if self.expiry_at.get().is_some_and(|at| at <= now_ms) {
            self.expire(shard, now_ms);
        }
        let slots = self.slots.borrow();
        let deadlines = slots
            .values()
            .filter_map(|open| open.coordinator.next_deadline());
        deadlines.map(Millis::get).chain(self.expiry_at.get()).min()
    }

    /// One step of offset expiry in each slot, and when the next one is.
    fn expire(&self, shard: &Rc<Shard>, now_ms: u64) {
        let metadata = shard.metadata();
        let topic_name = |id| {
            let topic = metadata.topic_by_id(id)?;
            Some(Arc::<str>::from(topic.name.as_str()))
        };
        let is_new_pass = !self.slots.borrow().values().any(|open| open.expires);
        let mut goes_on = false;
        for slot in self.open_slots() {
            if !is_new_pass
                && !self
                    .slots
                    .borrow()
                    .get(&slot)
                    .is_some_and(|open| open.expires)
            {
                continue;
            }
            let is_complete = self.step(shard, slot, |coordinator, now, out| {
                coordinator.expire_offsets(&topic_name, now, out)
            });
            let expires = is_complete == Some(false);
            goes_on |= expires;
            if let Some(open) = self.slots.borrow_mut().get_mut(&slot) {
                open.expires = expires;
            }
        }
        let pause = if goes_on {
            EXPIRY_STEP_MS
        } else {
            EXPIRY_INTERVAL_MS
        };
        let is_idle = !goes_on && self.group_count() == 0;
        self.expiry_at.set((!is_idle).then_some(now_ms + pause));
    }
}

/// Writes what waits in a slot, one transaction after the other.
async fn write_all(shard: Rc<Shard>, slot: u16, tenure: u64) {
    while let Some((ids, write)) = shard.groups.next_write(slot, tenure) {
        let control = shard.shared.control.clone();
        let outcome = control
            .ask(|reply| ControlMsg::PersistGroups(slot, write, reply))
            .await;
        let Ok(outcome) = outcome else {
            // The broker goes down and the outcome is unknown: the next tenure reads what is there.
            shard.groups.close(&shard, slot);
            return;
        };
        if outcome == Persisted::Failed {
            tracing::warn!(slot, writes = ids.len(), "group state could not be written");
        }
        let is_current = |groups: &GroupSlots| {
            groups
                .slots
                .borrow()
                .get(&slot)
                .is_some_and(|open| open.tenure == tenure)
        };
        if !is_current(&shard.groups) {
            return;
        }
        for id in ids {
            shard.groups.step(&shard, slot, |coordinator, now, out| {
                coordinator.on_persisted(id, outcome, now, out);
            });
        }
    }
}

fn now(shard: &Shard) -> Now {
    Now {
        monotonic: Millis::new(shard.now_ms()),
        wall: shard.wall_clock(),
    }
}

/// The settings of the state machine, from those of the broker.
fn group_config(config: &Config) -> GroupConfig {
    let millis = |duration: std::time::Duration| {
        u32::try_from(duration.as_millis())
            .unwrap_or(i32::MAX as u32)
            .min(i32::MAX as u32)
    };
    let share = config.memory_bytes() / MEMORY_SHARE / u64::from(SLOTS);
    let slot_bytes_max = usize::try_from(share)
        .unwrap_or(usize::MAX)
        .clamp(SLOT_BYTES.0, SLOT_BYTES.1);
    let metadata = config.group.offset_metadata_bytes_max;
    let group = &config.group;
    let retention = group.offsets_retention.as_millis();
    let defaults = GroupConfig::default();
    GroupConfig {
        session_timeout_min_ms: millis(group.session_timeout_min),
        session_timeout_max_ms: millis(group.session_timeout_max),
        initial_rebalance_delay_ms: millis(group.initial_rebalance_delay),
        members_max: group.size_max,
        slot_bytes_max,
        write_bytes_max: (slot_bytes_max / 4).min(defaults.write_bytes_max),
        write_ops_max: JOINED_OPS_MAX,
        offset_metadata_max: usize::try_from(metadata).unwrap_or(usize::MAX),
        offsets_retention_ms: u64::try_from(retention).unwrap_or(u64::MAX),
        ..defaults
    }
}

impl Shard {
    /// Why a slot that is not open cannot be asked: it is ours and still loading, or another's.
    fn closed_slot(&self, slot: u16) -> GroupUnavailable {
        let metadata = self.metadata();
        if metadata.coordinator(slot) == Some(metadata.broker) {
            GroupUnavailable::Loading
        } else {
            GroupUnavailable::Gone
        }
    }

    fn slot_owner(&self, slot: u16) -> &ShardHandle {
        &self.shared.peers[shard_of_slot(slot, self.shared.peers.len()).index()]
    }

    /// Passes a request to the coordinator of a group, on whatever shard that is, and waits for its
    /// answer, which may take as long as a rebalance.
    ///
    /// # Errors
    /// The coordinator cannot serve it now.
    pub async fn group_call<F>(
        self: &Rc<Self>,
        group: &str,
        request: F,
    ) -> Result<Reply, GroupUnavailable>
    where
        F: FnOnce(&mut Coordinator, ReplyToken, Now, &mut Effects) + Send + 'static,
    {
        self.slot_call(slot_of_group(group), request).await
    }

    /// As [`Shard::group_call`], for a request whose answer waits for nothing but the metadata store: at
    /// most [`WRITE_WAIT`]. What was to be written may be written later all the same.
    ///
    /// # Errors
    /// The coordinator cannot serve it now.
    pub async fn group_write<F>(
        self: &Rc<Self>,
        group: &str,
        request: F,
    ) -> Result<Reply, GroupUnavailable>
    where
        F: FnOnce(&mut Coordinator, ReplyToken, Now, &mut Effects) + Send + 'static,
    {
        let call = self.at_most(WRITE_WAIT, self.group_call(group, request));
        call.await.unwrap_or(Err(GroupUnavailable::Late))
    }

    /// Passes a request to a slot; see [`Shard::group_call`].
    ///
    /// # Errors
    /// The coordinator cannot serve it now.
    pub async fn slot_call<F>(
        self: &Rc<Self>,
        slot: u16,
        request: F,
    ) -> Result<Reply, GroupUnavailable>
    where
        F: FnOnce(&mut Coordinator, ReplyToken, Now, &mut Effects) + Send + 'static,
    {
        if !self.is_proven() {
            return Err(GroupUnavailable::Gone);
        }
        let owner = self.slot_owner(slot);
        if owner.id == self.id {
            let answer = self.groups.start(self, slot, request)?;
            return answer.await.map_err(|_| GroupUnavailable::Gone);
        }
        self.metrics.hops.increment();
        let call = owner.call_task(move |shard| async move {
            let answer = shard.groups.start(&shard, slot, request)?;
            answer.await.map_err(|_| GroupUnavailable::Gone)
        });
        call.await.unwrap_or(Err(GroupUnavailable::Gone))
    }

    /// Reads something of a slot, on whatever shard that is.
    ///
    /// # Errors
    /// The coordinator cannot serve it now.
    pub async fn slot_read<R, F>(self: &Rc<Self>, slot: u16, read: F) -> Result<R, GroupUnavailable>
    where
        R: Send + 'static,
        F: FnOnce(&Coordinator) -> R + Send + 'static,
    {
        let read = move |shard: &Rc<Self>| {
            let slots = shard.groups.slots.borrow();
            let open = slots.get(&slot);
            let open = open.ok_or_else(|| shard.closed_slot(slot))?;
            Ok(read(&open.coordinator))
        };
        if !self.is_proven() {
            return Err(GroupUnavailable::Gone);
        }
        let owner = self.slot_owner(slot);
        if owner.id == self.id {
            return read(self);
        }
        self.metrics.hops.increment();
        owner
            .call(read)
            .await
            .unwrap_or(Err(GroupUnavailable::Gone))
    }

    /// Reads something of every slot that this broker owns, shard by shard.
    ///
    /// # Errors
    /// A slot is ours and not open yet.
    pub async fn read_all_slots<R, F>(self: &Rc<Self>, read: F) -> Result<Vec<R>, GroupUnavailable>
    where
        R: Send + 'static,
        F: Fn(&Coordinator) -> R + Clone + Send + 'static,
    {
        let mut all = Vec::with_capacity(usize::from(SLOTS));
        let shards = self.shared.peers.len().min(usize::from(SLOTS));
        for owner in &self.shared.peers[..shards] {
            let read = read.clone();
            let read = move |shard: &Rc<Self>| {
                let count = shard.shared.peers.len();
                let slots = shard.groups.slots.borrow();
                let own = (0..SLOTS).filter(|slot| shard_of_slot(*slot, count) == shard.id);
                let mut rows = Vec::new();
                for slot in own {
                    match slots.get(&slot) {
                        Some(open) => rows.push(read(&open.coordinator)),
                        None if shard.closed_slot(slot) == GroupUnavailable::Loading => {
                            return Err(GroupUnavailable::Loading);
                        }
                        None => {}
                    }
                }
                Ok(rows)
            };
            let part = if owner.id == self.id {
                read(self)
            } else {
                owner
                    .call(read)
                    .await
                    .unwrap_or(Err(GroupUnavailable::Gone))
            };
            all.extend(part?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use segment::{LeaderEpoch, Offset, PartitionIndex, TimestampMs};

    use super::*;

    fn key(partition: i32) -> OffsetKey {
        let topic = TopicId::new([1; 16]);
        let partition = TopicPartition::new(topic, PartitionIndex::new(partition));
        OffsetKey {
            group: GroupId::from("g"),
            partition,
        }
    }

    fn put(partition: i32, offset: i64) -> WriteOp {
        let offset = CommittedOffset {
            offset: Offset::new(offset),
            leader_epoch: LeaderEpoch::NONE,
            metadata: "".into(),
            commit_timestamp: TimestampMs::new(0),
            expire_timestamp: None,
        };
        WriteOp::PutOffset(key(partition), offset)
    }

    fn slot(writes: Vec<GroupWrite>) -> Slot {
        let ids = (0..).map(WriteId);
        Slot {
            coordinator: Coordinator::new(GroupConfig::default()),
            tenure: 0,
            waiting: ids.zip(writes).collect(),
            is_writing: true,
            expires: false,
        }
    }

    #[test]
    fn slots_are_stable_and_spread_over_shards() {
        // Stored groups lie under these numbers: they must never change.
        assert_eq!(slot_of_group(""), 0);
        assert_eq!(slot_of_group("my-group"), slot_of_group("my-group"));
        let mut seen = [false; SLOTS as usize];
        for group in 0..2_000 {
            seen[usize::from(slot_of_group(&format!("group-{group}")))] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
        assert_eq!(shard_of_slot(63, 8), ShardId(7));
        assert_eq!(shard_of_slot(63, 256), ShardId(63));
    }

    #[test]
    fn waiting_writes_are_joined_in_order_and_within_bounds() {
        let write = |ops: Vec<WriteOp>| GroupWrite { ops, bytes: 10 };
        let mut slot = slot(vec![
            write(vec![put(0, 1), put(1, 1)]),
            write(vec![put(0, 2)]),
            write(vec![WriteOp::DeleteOffset(key(1)), put(2, 1)]),
        ]);
        let (ids, joined) = slot.next_write(3).unwrap();
        assert_eq!(ids, [WriteId(0), WriteId(1)]);
        assert_eq!(joined.ops, [put(1, 1), put(0, 2)]);
        assert_eq!(joined.bytes, 20);
        let (ids, joined) = slot.next_write(3).unwrap();
        assert_eq!(ids, [WriteId(2)]);
        assert_eq!(joined.ops.len(), 2);
        assert!(slot.next_write(3).is_none());
    }

    #[test]
    fn a_write_above_the_bound_goes_alone() {
        let write = |bytes| GroupWrite {
            ops: vec![put(0, 1)],
            bytes,
        };
        let mut slot = slot(vec![write(JOINED_BYTES_MAX * 2), write(1)]);
        assert_eq!(slot.next_write(8).unwrap().0, [WriteId(0)]);
        assert_eq!(slot.next_write(8).unwrap().0, [WriteId(1)]);
    }

    #[test]
    fn the_deletion_of_a_group_is_joined_with_nothing() {
        let delete = GroupWrite {
            ops: vec![WriteOp::DeleteGroup(GroupId::from("g"))],
            bytes: 1,
        };
        let write = GroupWrite {
            ops: vec![put(0, 1)],
            bytes: 1,
        };
        let mut slot = slot(vec![write.clone(), delete, write]);
        for id in 0..3 {
            assert_eq!(slot.next_write(8).unwrap().0, [WriteId(id)]);
        }
    }

    #[test]
    fn the_settings_of_the_broker_reach_the_state_machine() {
        let config = Config::with(&[
            ("group.session_timeout_min_ms", "7000"),
            ("group.initial_rebalance_delay_ms", "5"),
            ("group.size_max", "9"),
            ("memory.budget_bytes", "16MiB"),
        ])
        .unwrap();
        let group = group_config(&config);
        assert_eq!(group.session_timeout_min_ms, 7_000);
        assert_eq!(group.initial_rebalance_delay_ms, 5);
        assert_eq!(group.members_max, 9);
        assert_eq!(group.slot_bytes_max, SLOT_BYTES.0);
    }
}
