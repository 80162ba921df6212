//! A group: its members, what it has committed, and the bookkeeping that keeps both consistent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use segment::{TimestampMs, TopicPartition};

use super::error::GroupError;
use super::ids::{Generation, GroupId, InstanceId, MemberId, Millis, ReplyToken, WriteId};
use super::member::Member;
use super::reply::{JoinRefused, JoinedGroup, JoinedMember, Reply};
use super::request::Protocol;
use super::stored::{CommittedOffset, StoredGroup};
use super::subscription::{CONSUMER_PROTOCOL_TYPE, collect_topics};
use super::writes::Context;

/// Bytes of memory that a group, a member, an offset and a topic name take beside their contents;
/// generous estimates, for the slot's bound.
const GROUP_OVERHEAD: usize = 1_024;
const MEMBER_OVERHEAD: usize = 512;
const OFFSET_OVERHEAD: usize = 160;
const TOPIC_OVERHEAD: usize = 64;

/// States of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    /// No members; may have offsets.
    Empty,
    /// Waits for its members to join.
    PreparingRebalance,
    /// Waits for the leader's assignment, and for it to be durable.
    CompletingRebalance,
    /// All members have or can get their assignment.
    Stable,
    /// Being deleted: lasts until the deletion is durable.
    Dead,
}

impl GroupState {
    /// The name that DescribeGroups and ListGroups use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }

    /// Whether a group may go from `self` to `next`.
    const fn allows(self, next: Self) -> bool {
        match next {
            Self::Empty => matches!(self, Self::PreparingRebalance | Self::Dead),
            Self::PreparingRebalance => {
                matches!(self, Self::Stable | Self::CompletingRebalance | Self::Empty)
            }
            Self::CompletingRebalance => matches!(self, Self::PreparingRebalance),
            Self::Stable => matches!(self, Self::CompletingRebalance),
            Self::Dead => matches!(self, Self::Empty),
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// When the wait for members to join ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum JoinTimer {
    /// First rebalance of an empty group: may be put off while members come.
    Initial {
        at: Millis,
        /// Length of this wait.
        delay_ms: u64,
        /// By how much the waits after this one may add up.
        remaining_ms: u64,
    },
    /// Every other rebalance.
    Rebalance { at: Millis },
}

impl JoinTimer {
    pub(super) fn at(self) -> Millis {
        match self {
            Self::Initial { at, .. } | Self::Rebalance { at } => at,
        }
    }
}

/// The leader's assignment while it is made durable.
#[derive(Debug)]
pub(super) struct Assigning {
    pub(super) write: WriteId,
    pub(super) assignments: BTreeMap<MemberId, Bytes>,
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) state: GroupState,
    /// The rebalance that is prepared started from an empty group.
    pub(super) is_initial_rebalance: bool,
    pub(super) generation: Generation,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol_name: Option<Arc<str>>,
    pub(super) leader: Option<MemberId>,
    pub(super) state_timestamp: TimestampMs,
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) static_members: BTreeMap<InstanceId, MemberId>,
    /// Member ids given out with MEMBER_ID_REQUIRED, and when they lapse.
    pub(super) pending_joins: BTreeMap<MemberId, Millis>,
    /// Members of this generation that have not sent SyncGroup.
    pub(super) pending_syncs: BTreeSet<MemberId>,
    /// How many members support each protocol.
    supported: BTreeMap<Arc<str>, usize>,
    /// Members with a parked JoinGroup.
    pub(super) awaiting_join: usize,
    /// Topics of this generation's subscriptions; `None` when not known.
    pub(super) subscribed: Option<BTreeSet<String>>,
    /// A member came while the initial rebalance waited.
    pub(super) new_member_added: bool,
    pub(super) join_timer: Option<JoinTimer>,
    pub(super) sync_deadline: Option<Millis>,
    pub(super) assigning: Option<Assigning>,
    /// There is a record of the group in the store, or there may be.
    pub(super) is_durable: bool,
    /// Writes of the group under way, and the last of them.
    pub(super) writes: usize,
    pub(super) last_write: Option<WriteId>,
    /// What is durable, and only that.
    pub(super) offsets: BTreeMap<TopicPartition, CommittedOffset>,
    /// Operations under way for each offset.
    pub(super) pending_offsets: BTreeMap<TopicPartition, usize>,
    /// Earliest timer known; the wake-up that is armed in the slot's order.
    pub(super) due: Option<Millis>,
    pub(super) armed: Option<Millis>,
    /// Bytes counted for the slot's bound.
    pub(super) accounted: usize,
    pub(super) member_bytes: usize,
    pub(super) assignment_bytes: usize,
    offset_bytes: usize,
    subscribed_bytes: usize,
}

impl Group {
    pub(super) fn new(id: GroupId, wall: TimestampMs) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            is_initial_rebalance: false,
            generation: Generation::ZERO,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            state_timestamp: wall,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeMap::new(),
            pending_syncs: BTreeSet::new(),
            supported: BTreeMap::new(),
            awaiting_join: 0,
            subscribed: None,
            new_member_added: false,
            join_timer: None,
            sync_deadline: None,
            assigning: None,
            is_durable: false,
            writes: 0,
            last_write: None,
            offsets: BTreeMap::new(),
            pending_offsets: BTreeMap::new(),
            due: None,
            armed: None,
            accounted: 0,
            member_bytes: 0,
            assignment_bytes: 0,
            offset_bytes: 0,
            subscribed_bytes: 0,
        }
    }

    pub(super) fn is(&self, state: GroupState) -> bool {
        self.state == state
    }

    /// Nothing of the group is worth keeping: it has no generation, nothing stored and nobody in
    /// it.
    pub(super) fn is_vacant(&self) -> bool {
        self.is(GroupState::Empty)
            && self.generation == Generation::ZERO
            && !self.is_durable
            && self.writes == 0
            && self.pending_joins.is_empty()
            && self.offsets.is_empty()
    }

    /// Bytes of memory, about.
    pub(super) fn bytes(&self) -> usize {
        GROUP_OVERHEAD
            + self.id.len()
            + (self.members.len() + self.pending_joins.len()) * MEMBER_OVERHEAD
            + self.member_bytes
            + self.assignment_bytes
            + self.offset_bytes
            + self.subscribed_bytes
    }

    pub(super) fn set_state(&mut self, next: GroupState, wall: TimestampMs) {
        assert!(
            self.state.allows(next),
            "group {}: {} to {next}",
            self.id,
            self.state
        );
        assert!(
            next != GroupState::Empty || self.members.is_empty(),
            "a group with members is not empty"
        );
        if next == GroupState::PreparingRebalance {
            self.is_initial_rebalance = self.is(GroupState::Empty);
        }
        self.state = next;
        self.state_timestamp = wall;
    }

    pub(super) fn is_leader(&self, member: &MemberId) -> bool {
        self.leader.as_ref() == Some(member)
    }

    /// Sets the session's end and sees that the group is woken up by then.
    pub(super) fn start_session(&mut self, member: &MemberId, now: Millis) {
        let Some(member) = self.members.get_mut(member) else {
            return;
        };
        let at = now.after(u64::from(member.session_timeout_ms));
        member.deadline = Some(at);
        self.wake_at(at);
    }

    /// Sees that the group is woken up at `at` or before.
    pub(super) fn wake_at(&mut self, at: Millis) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
        assert!(self.due.is_some_and(|due| due <= at), "it wakes up in time");
    }

    /// The earliest of all timers.
    pub(super) fn earliest_timer(&self) -> Option<Millis> {
        let sessions = self.members.values().filter_map(|member| member.deadline);
        let pending = self.pending_joins.values().copied();
        let phases = self
            .join_timer
            .map(JoinTimer::at)
            .into_iter()
            .chain(self.sync_deadline);
        sessions.chain(pending).chain(phases).min()
    }

    /// The longest rebalance timeout of the members, in milliseconds.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        let timeouts = self
            .members
            .values()
            .map(|member| member.rebalance_timeout_ms);
        timeouts.max().map_or(0, u64::from)
    }

    pub(super) fn has_all_members_joined(&self) -> bool {
        self.awaiting_join == self.members.len() && self.pending_joins.is_empty()
    }

    /// Adds a member to all indexes.
    pub(super) fn insert_member(&mut self, member: Member) {
        assert!(
            !self.members.contains_key(&member.id),
            "member ids are unique"
        );
        if let Some(instance) = &member.instance {
            let former = self
                .static_members
                .insert(instance.clone(), member.id.clone());
            assert!(former.is_none(), "an instance id has one member");
        }
        for name in member.protocol_names() {
            let count = self.supported.entry(name).or_insert(0);
            assert!(
                *count <= self.members.len(),
                "each member supports a protocol once"
            );
            *count += 1;
        }
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        self.member_bytes += member.bytes();
        self.assignment_bytes += member.assignment.len();
        self.pending_joins.remove(&member.id);
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member out of all indexes but the pending syncs and the leadership.
    pub(super) fn take_member(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.members.remove(id)?;
        if let Some(instance) = &member.instance {
            let former = self.static_members.remove(instance);
            assert_eq!(former.as_ref(), Some(id), "static members are indexed");
        }
        for name in member.protocol_names() {
            let count = self
                .supported
                .get_mut(&name)
                .expect("its protocols are counted");
            assert!(*count > 0, "what nobody supports is not counted");
            *count -= 1;
            if *count == 0 {
                self.supported.remove(&name);
            }
        }
        assert!(
            self.member_bytes >= member.bytes(),
            "the bytes of each member are counted"
        );
        assert!(
            self.assignment_bytes >= member.assignment.len(),
            "the bytes of each assignment are counted"
        );
        let parked = usize::from(member.awaiting_join.is_some());
        assert!(self.awaiting_join >= parked, "parked joins are counted");
        self.awaiting_join -= parked;
        self.member_bytes -= member.bytes();
        self.assignment_bytes -= member.assignment.len();
        Some(member)
    }

    /// Removes a member, or a pending member id. Its parked requests are answered with
    /// UNKNOWN_MEMBER_ID, so that a client that is still there joins anew. (Kafka forgets the
    /// parked SyncGroup of a member that leaves.)
    pub(super) fn remove_member(&mut self, id: &MemberId, ctx: &mut Context<'_>) {
        if let Some(mut member) = self.take_member(id) {
            let error = GroupError::UnknownMemberId;
            answer_join(&mut member, refused(error, MemberId::from("")), ctx);
            answer_sync(&mut member, Reply::Sync(Err(error)), ctx);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_joins.remove(id);
        self.pending_syncs.remove(id);
        assert!(
            self.leader.is_some() != self.members.is_empty(),
            "the members that stay have a leader"
        );
    }

    /// Parks a JoinGroup of a member. A parked one that this replaces (the client has tried again)
    /// is answered with REBALANCE_IN_PROGRESS; Kafka leaves it without an answer.
    pub(super) fn park_join(&mut self, id: &MemberId, token: ReplyToken, ctx: &mut Context<'_>) {
        let member = self.members.get_mut(id).expect("only members are parked");
        let superseded = member.awaiting_join.replace(token);
        match superseded {
            None => self.awaiting_join += 1,
            Some(former) => {
                ctx.reply(former, refused(GroupError::RebalanceInProgress, id.clone()));
            }
        }
        assert!(
            self.awaiting_join <= self.members.len(),
            "a member is parked once"
        );
    }

    /// Answers a member's parked JoinGroup, if it has one.
    pub(super) fn complete_join_of(
        &mut self,
        id: &MemberId,
        reply: Reply,
        ctx: &mut Context<'_>,
    ) -> bool {
        let Some(member) = self.members.get_mut(id) else {
            return false;
        };
        let answered = answer_join(member, reply, ctx);
        assert!(
            !answered || self.awaiting_join > 0,
            "parked joins are counted"
        );
        self.awaiting_join -= usize::from(answered);
        answered
    }

    pub(super) fn set_assignment(&mut self, id: &MemberId, assignment: Bytes) {
        let member = self
            .members
            .get_mut(id)
            .expect("only members get assignments");
        assert!(
            self.assignment_bytes >= member.assignment.len(),
            "the bytes of each assignment are counted"
        );
        self.assignment_bytes -= member.assignment.len();
        self.assignment_bytes += assignment.len();
        member.assignment = assignment;
    }

    /// Whether a member with these protocols fits the group: it has at least one that all members
    /// support.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if protocol_type.is_empty() || protocols.is_empty() {
            return false;
        }
        self.is(GroupState::Empty)
            || self.protocol_type.as_deref() == Some(protocol_type)
                && protocols.iter().any(|protocol| {
                    self.supported.get(&protocol.name).copied().unwrap_or(0) == self.members.len()
                })
    }

    /// The protocol that all members support and most prefer; of several the first by name (Kafka
    /// takes any).
    pub(super) fn select_protocol(&self) -> Arc<str> {
        assert!(!self.members.is_empty(), "an empty group has no protocol");
        let shared = self
            .supported
            .iter()
            .filter(|(_, count)| **count == self.members.len());
        let candidates: BTreeSet<Arc<str>> = shared.map(|(name, _)| Arc::clone(name)).collect();
        assert!(!candidates.is_empty(), "members share a protocol");
        let mut votes: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.vote(&candidates).expect("members share a protocol");
            *votes.entry(vote).or_insert(0) += 1;
        }
        let most = votes.values().copied().max().unwrap_or(0);
        let winner = votes.into_iter().find(|(_, count)| *count == most);
        winner.map(|(name, _)| name).expect("each member votes")
    }

    /// Recomputes the subscribed topics from the members' metadata.
    pub(super) fn note_subscriptions(&mut self) {
        self.subscribed = self.subscriptions();
        let topics = self.subscribed.iter().flatten();
        self.subscribed_bytes = topics.map(|topic| TOPIC_OVERHEAD + topic.len()).sum();
    }

    fn subscriptions(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL_TYPE) {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            collect_topics(member.metadata(self.protocol_name.as_ref()), &mut topics).ok()?;
        }
        Some(topics)
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Whether the group uses the topic. A consumer group whose subscriptions cannot be read uses
    /// all.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// Checks that a request is from a member, and for a static member from the present one.
    pub(super) fn validate_member(
        &self,
        member: &MemberId,
        instance: Option<&InstanceId>,
    ) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(present) if present != member => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) {
            Ok(())
        } else {
            Err(GroupError::UnknownMemberId)
        }
    }

    /// The answer to a member's JoinGroup in the present generation.
    pub(super) fn joined(&self, member: &MemberId) -> JoinedGroup {
        assert!(
            self.is(GroupState::CompletingRebalance) || self.is(GroupState::Stable),
            "only these states have a generation to join"
        );
        let members = if self.is_leader(member) {
            self.joined_members()
        } else {
            Vec::new()
        };
        JoinedGroup {
            generation: self.generation,
            protocol_type: self
                .protocol_type
                .clone()
                .expect("a group with members has a type"),
            protocol_name: self
                .protocol_name
                .clone()
                .expect("a generation has a protocol"),
            leader: self
                .leader
                .clone()
                .expect("a group with members has a leader"),
            member: member.clone(),
            skip_assignment: false,
            members,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol_name.as_ref();
        let members = self.members.values().map(|member| JoinedMember {
            member: member.id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol),
        });
        members.collect()
    }

    /// The durable form, with each member's assignment from `assignment`.
    pub(super) fn to_stored(&self, assignment: impl Fn(&Member) -> Bytes) -> StoredGroup {
        let is_empty = self.members.is_empty();
        let members = self.members.values().map(|member| {
            let protocol = self
                .protocol_name
                .as_ref()
                .expect("a generation has a protocol");
            member.to_stored(protocol, assignment(member))
        });
        StoredGroup {
            group: self.id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone().filter(|_| !is_empty),
            leader: self.leader.clone().filter(|_| !is_empty),
            state_timestamp: self.state_timestamp,
            members: members.collect(),
        }
    }

    pub(super) fn put_offset(&mut self, partition: TopicPartition, offset: CommittedOffset) {
        self.offset_bytes += OFFSET_OVERHEAD + offset.metadata.len();
        if let Some(former) = self.offsets.insert(partition, offset) {
            self.offset_bytes -= OFFSET_OVERHEAD + former.metadata.len();
        }
    }

    pub(super) fn remove_offset(&mut self, partition: &TopicPartition) {
        if let Some(former) = self.offsets.remove(partition) {
            let bytes = OFFSET_OVERHEAD + former.metadata.len();
            assert!(
                self.offset_bytes >= bytes,
                "the bytes of each offset are counted"
            );
            self.offset_bytes -= bytes;
        }
    }

    /// Asserts what holds after every transition, as far as that takes no walk over the members.
    pub(super) fn assert_consistent(&self) {
        let members = self.members.len();
        assert!(self.awaiting_join <= members, "only members wait to join");
        assert!(
            self.static_members.len() <= members,
            "static members are members"
        );
        assert!(self.pending_syncs.len() <= members, "only members sync");
        assert!(
            self.pending_syncs.is_empty() || self.sync_deadline.is_some(),
            "the wait for SyncGroup ends"
        );
        match &self.leader {
            Some(leader) => assert!(self.members.contains_key(leader), "the leader is a member"),
            None => assert!(members == 0, "members have a leader"),
        }
        assert!(
            self.writes > 0 || self.pending_offsets.is_empty(),
            "offsets under way are in a write"
        );
        assert!(
            self.writes == 0 || self.last_write.is_some(),
            "the last write is known"
        );
        let assigning = self.assigning.as_ref().map(|assigning| assigning.write);
        assert!(
            assigning.is_none() || self.writes > 0 && assigning <= self.last_write,
            "an assignment is in a write under way"
        );
        assert!(
            self.generation >= Generation::ZERO,
            "generations count from 0"
        );
        self.assert_state();
    }

    /// Asserts what holds in the present state.
    fn assert_state(&self) {
        let has_members = !self.members.is_empty();
        assert!(
            self.join_timer.is_some() == self.is(GroupState::PreparingRebalance),
            "the wait for JoinGroup ends with its phase"
        );
        let is_initial = matches!(self.join_timer, Some(JoinTimer::Initial { .. }));
        assert!(
            self.is_initial_rebalance || !is_initial,
            "only the first rebalance waits for members to come"
        );
        assert!(
            self.writes > 0 || !self.is(GroupState::Dead),
            "a group that goes is written"
        );
        match self.state {
            GroupState::Empty | GroupState::Dead => {
                assert!(!has_members, "nobody is in an empty group");
                assert!(self.assigning.is_none(), "nobody is assigned to");
                assert!(self.protocol_name.is_none(), "nobody has a protocol");
                assert!(self.sync_deadline.is_none(), "nobody is waited for");
            }
            GroupState::PreparingRebalance => {
                assert!(self.assigning.is_none(), "no assignment is under way");
                assert!(self.pending_syncs.is_empty(), "nobody syncs yet");
                assert!(self.sync_deadline.is_none(), "no SyncGroup is awaited");
            }
            GroupState::CompletingRebalance => {
                assert!(has_members, "a generation has members");
                assert!(self.awaiting_join == 0, "all have joined");
                assert!(
                    self.sync_deadline.is_some() || self.assigning.is_some(),
                    "the wait for SyncGroup ends"
                );
                assert!(self.protocol_name.is_some(), "a generation has a protocol");
            }
            GroupState::Stable => {
                assert!(has_members, "a generation has members");
                assert!(self.assigning.is_none(), "the assignment is durable");
                assert!(self.protocol_name.is_some(), "a generation has a protocol");
            }
        }
    }

    /// Checks that the indexes agree.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let awaiting = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_some());
        assert_eq!(
            awaiting.count(),
            self.awaiting_join,
            "parked joins are counted"
        );
        let bytes: usize = self.members.values().map(Member::bytes).sum();
        assert_eq!(bytes, self.member_bytes, "member bytes are counted");
        let assigned: usize = self
            .members
            .values()
            .map(|member| member.assignment.len())
            .sum();
        assert_eq!(
            assigned, self.assignment_bytes,
            "assignment bytes are counted"
        );
        let statics = self
            .members
            .values()
            .filter(|member| member.is_static())
            .count();
        assert_eq!(
            statics,
            self.static_members.len(),
            "static members are indexed"
        );
        assert!(
            self.pending_syncs
                .iter()
                .all(|id| self.members.contains_key(id)),
            "syncs"
        );
        assert!(
            self.pending_joins
                .keys()
                .all(|id| !self.members.contains_key(id)),
            "joins"
        );
        let leader_known = self
            .leader
            .as_ref()
            .is_none_or(|id| self.members.contains_key(id));
        assert!(leader_known, "the leader is a member");
        assert_eq!(
            self.leader.is_some(),
            !self.members.is_empty(),
            "members have a leader"
        );
        self.check_state();
        self.check_timers();
    }

    #[cfg(test)]
    fn check_state(&self) {
        match self.state {
            GroupState::Empty | GroupState::Dead => assert!(self.members.is_empty(), "empty"),
            GroupState::PreparingRebalance => {
                assert!(self.join_timer.is_some(), "a rebalance ends");
                assert!(self.assigning.is_none(), "no assignment is under way");
            }
            GroupState::CompletingRebalance => {
                assert!(
                    self.sync_deadline.is_some() || self.assigning.is_some(),
                    "the wait for SyncGroup ends"
                );
                assert!(!self.members.is_empty(), "a generation has members");
            }
            GroupState::Stable => assert!(!self.members.is_empty(), "a generation has members"),
        }
    }

    #[cfg(test)]
    fn check_timers(&self) {
        assert_eq!(self.due, self.armed, "the group is woken up in time");
        let earliest = self.earliest_timer();
        if let Some(at) = earliest {
            assert!(
                self.armed.is_some_and(|armed| armed <= at),
                "no timer is missed"
            );
        }
        for member in self.members.values() {
            let kept = member.has_satisfied_heartbeat();
            assert!(
                member.deadline.is_some() || kept,
                "a member that is silent goes"
            );
        }
    }
}

/// A refused JoinGroup.
pub(super) fn refused(error: GroupError, member: MemberId) -> Reply {
    Reply::Join(Err(JoinRefused { error, member }))
}

/// Answers a parked JoinGroup. The caller counts it out where the member is still in the group.
pub(super) fn answer_join(member: &mut Member, reply: Reply, ctx: &mut Context<'_>) -> bool {
    match member.awaiting_join.take() {
        Some(token) => {
            ctx.reply(token, reply);
            true
        }
        None => false,
    }
}

/// Answers a parked SyncGroup.
pub(super) fn answer_sync(member: &mut Member, reply: Reply, ctx: &mut Context<'_>) -> bool {
    match member.awaiting_sync.take() {
        Some(token) => {
            ctx.reply(token, reply);
            true
        }
        None => false,
    }
}
