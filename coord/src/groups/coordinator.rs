//! The coordinator of one slot: finds groups, arms their timers, carries outcomes back to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::GroupConfig;
use super::effect::{Effect, Effects, Persisted, WriteOp};
use super::error::GroupError;
use super::group::{Group, GroupState, answer_join, answer_sync, refused};
use super::ids::{GroupId, Millis, Now, ReplyToken, WriteId};
use super::reply::Reply;
use super::room::{GroupRoom, Places};
use super::timers::Timers;
use super::writes::{Context, PendingWrite, Purpose, Writes};

/// The groups of one coordinator slot.
///
/// One value is one tenure of the slot: after a restart or a takeover a new value is made and takes
/// up what is stored with [`restore`](Self::restore). All methods are synchronous and bounded; what
/// they want done is appended to the effects.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) config: GroupConfig,
    pub(super) groups: BTreeMap<GroupId, Group>,
    /// One for each group.
    pub(super) places: Places,
    pub(super) writes: Writes,
    pub(super) timers: Timers,
    /// Bytes of all groups.
    pub(super) bytes: usize,
    /// Where the present pass of expiry goes on; `None` between passes.
    pub(super) expiry_cursor: Option<GroupId>,
}

impl Coordinator {
    /// An empty slot of a cluster that may have any number of groups.
    pub fn new(config: GroupConfig) -> Self {
        Self::within(config, Arc::default())
    }

    /// An empty slot whose groups take their places in a room that it shares with others.
    pub fn within(config: GroupConfig, room: Arc<GroupRoom>) -> Self {
        config.check();
        Self {
            config,
            groups: BTreeMap::new(),
            places: Places::new(room),
            writes: Writes::default(),
            timers: Timers::default(),
            bytes: 0,
            expiry_cursor: None,
        }
    }

    /// When `on_timer` has to be called next; `None` without timers. It may be early: then that
    /// call finds nothing to do but to set the next time.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.timers.next()
    }

    /// Runs all timers that are due: sessions, pending member ids, the two phases of rebalances.
    pub fn on_timer(&mut self, now: Now, out: &mut Effects) {
        for id in self.timers.due(now.monotonic) {
            let found = self.with_group(&id, now, out, |group, ctx| group.on_timer(ctx));
            assert!(found.is_some(), "a group that is armed is there");
        }
    }

    /// The outcome of a write. Outcomes come in the order of the writes, one for each, and each is
    /// definite. Requests that waited are answered: on failure with COORDINATOR_NOT_AVAILABLE.
    ///
    /// # Panics
    /// If `id` is not the oldest write under way: that is a defect of the owner.
    pub fn on_persisted(&mut self, id: WriteId, outcome: Persisted, now: Now, out: &mut Effects) {
        let write = self.writes.take(id);
        let group = write.group.clone();
        let found = self.with_group(&group, now, out, |group, ctx| {
            group.on_write(write, outcome, ctx);
        });
        assert!(found.is_some(), "a group is kept while it is written");
    }

    /// Gives up the slot: every parked request is answered with NOT_COORDINATOR, and what is under
    /// way is forgotten. Outcomes of its writes must not be passed to the next tenure.
    pub fn unload(self, now: Now, out: &mut Effects) {
        let Self {
            config,
            groups,
            mut writes,
            ..
        } = self;
        let error = GroupError::NotCoordinator;
        for mut group in groups.into_values() {
            let mut ctx = Context {
                config: &config,
                now,
                writes: &mut writes,
                out,
                slot_full: false,
            };
            for (id, mut member) in std::mem::take(&mut group.members) {
                answer_join(&mut member, refused(error, id), &mut ctx);
                answer_sync(&mut member, Reply::Sync(Err(error)), &mut ctx);
            }
        }
        writes.unload(out);
    }

    /// Calls `each` with every committed offset.
    pub fn for_each_offset(
        &self,
        mut each: impl FnMut(&GroupId, segment::TopicPartition, &super::CommittedOffset),
    ) {
        for (id, group) in &self.groups {
            for (partition, offset) in &group.offsets {
                each(id, *partition, offset);
            }
        }
    }

    /// Groups in memory.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// State and number of members of each group, for gauges.
    pub fn states(&self) -> impl Iterator<Item = (super::GroupState, usize)> + '_ {
        self.groups
            .values()
            .map(|group| (group.state, group.members.len()))
    }

    /// Bytes of memory of the groups and the writes under way, about.
    pub fn memory_bytes(&self) -> usize {
        self.bytes + self.writes.bytes()
    }

    pub(super) fn is_full(&self) -> bool {
        self.memory_bytes() >= self.config.slot_bytes_max
    }

    /// Makes an empty group, if there is room. The first write makes it durable.
    pub(super) fn create_group(&mut self, id: &GroupId, now: Now) -> Result<(), GroupError> {
        if self.groups.len() >= self.config.groups_max || self.is_full() {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if !self.places.take() {
            return Err(GroupError::TooManyGroups);
        }
        let former = self
            .groups
            .insert(id.clone(), Group::new(id.clone(), now.wall));
        assert!(former.is_none(), "a group is made once");
        Ok(())
    }

    /// Runs a transition of a group, then sees to its timers and its place in memory, and asserts that
    /// the group is one. `None` without the group.
    pub(super) fn with_group<R>(
        &mut self,
        id: &GroupId,
        now: Now,
        out: &mut Effects,
        transition: impl FnOnce(&mut Group, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let result = self.touch_group(id, now, out, transition);
        if let Some(group) = self.groups.get(id) {
            group.assert_consistent();
        }
        assert!(
            self.places.taken() == self.groups.len(),
            "each group has a place"
        );
        assert!(
            self.timers.len() <= self.groups.len(),
            "a group is armed once"
        );
        result
    }

    /// As [`with_group`](Self::with_group), for what happens all the time and changes no more of a group
    /// than the session of a member.
    pub(super) fn touch_group<R>(
        &mut self,
        id: &GroupId,
        now: Now,
        out: &mut Effects,
        transition: impl FnOnce(&mut Group, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let slot_full = self.is_full();
        let group = self.groups.get_mut(id)?;
        let mut ctx = Context {
            config: &self.config,
            now,
            writes: &mut self.writes,
            out,
            slot_full,
        };
        let result = transition(group, &mut ctx);
        if group.is_gone() {
            let group = self.groups.remove(id).expect("it was there just now");
            assert!(group.members.is_empty(), "a group with members stays");
            assert!(group.offsets.is_empty(), "a group with offsets stays");
            self.places.give_back();
            self.timers.set(id, group.armed, None);
            assert!(
                self.bytes >= group.accounted,
                "the bytes of each group are counted"
            );
            self.bytes -= group.accounted;
            assert!(
                self.bytes == 0 || !self.groups.is_empty(),
                "the bytes of groups that are gone are not counted"
            );
            return Some(result);
        }
        self.timers.set(id, group.armed, group.due);
        group.armed = group.due;
        assert!(
            self.bytes >= group.accounted,
            "the bytes of each group are counted"
        );
        self.bytes -= group.accounted;
        group.accounted = group.bytes();
        self.bytes += group.accounted;
        Some(result)
    }

    /// Checks that all indexes agree.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.groups.values().for_each(Group::check);
        let bytes: usize = self.groups.values().map(Group::bytes).sum();
        assert_eq!(bytes, self.bytes, "bytes are counted");
        let armed = self
            .groups
            .values()
            .filter(|group| group.armed.is_some())
            .count();
        assert_eq!(armed, self.timers.len(), "armed groups are in the order");
        let writes: usize = self.groups.values().map(|group| group.writes).sum();
        assert_eq!(writes, self.writes.len(), "writes are counted");
        let places = self.places.taken();
        assert_eq!(places, self.groups.len(), "each group has a place");
    }
}

impl Group {
    /// Whether the group is dropped: nothing was kept yet, or its deletion is complete.
    fn is_gone(&self) -> bool {
        let is_deleted = self.is(GroupState::Dead)
            && self.writes == 0
            && !self.is_durable
            && self.offsets.is_empty();
        is_deleted || self.is_vacant()
    }

    /// The outcome of one of its writes.
    fn on_write(&mut self, write: PendingWrite, outcome: Persisted, ctx: &mut Context<'_>) {
        assert!(self.writes > 0, "each write has one outcome");
        self.writes -= 1;
        for op in write.ops {
            self.on_op(op, outcome);
        }
        if self.is(GroupState::Dead) && self.writes == 0 && !self.is_gone() {
            // The deletion failed, in whole or in part: what is left is a group again.
            self.set_state(GroupState::Empty, self.state_timestamp);
        }
        match write.purpose {
            Purpose::Silent => {}
            Purpose::Assignment => self.on_assignment(write.id, outcome, ctx),
            Purpose::StaticJoin(join) => self.on_static_join(*join, outcome, ctx),
            Purpose::Entries { wait, entries } => {
                ctx.writes.resolve(wait, &entries, outcome, ctx.out);
            }
        }
        for (token, request) in write.fetches {
            let reply = Reply::Fetch(Ok(self.fetch(&request)));
            ctx.reply(token, reply);
        }
    }

    /// The only place where committed offsets change, after `restore`.
    fn on_op(&mut self, op: WriteOp, outcome: Persisted) {
        let is_done = outcome == Persisted::Done;
        if let WriteOp::PutOffset(key, _) | WriteOp::DeleteOffset(key) = &op {
            let count = self.pending_offsets.get_mut(&key.partition);
            let count = count.expect("operations under way are counted");
            assert!(*count > 0, "an operation has one outcome");
            *count -= 1;
            if *count == 0 {
                self.pending_offsets.remove(&key.partition);
            }
        }
        match op {
            WriteOp::PutOffset(key, offset) if is_done => self.put_offset(key.partition, offset),
            WriteOp::DeleteOffset(key) if is_done => self.remove_offset(&key.partition),
            WriteOp::DeleteGroup(_) if is_done => self.is_durable = false,
            WriteOp::PutOffset(..)
            | WriteOp::DeleteOffset(_)
            | WriteOp::DeleteGroup(_)
            | WriteOp::PutGroup(_) => {}
        }
    }
}

/// Appends an answer that needs no group.
pub(super) fn reply(out: &mut Effects, token: ReplyToken, reply: Reply) {
    out.push(Effect::Reply { token, reply });
}
