//! The two phases of a rebalance: members join, then they get the leader's assignment.

use bytes::Bytes;

use super::effect::WriteOp;
use super::error::GroupError;
use super::group::{Group, GroupState, JoinTimer, answer_sync};
use super::ids::{Generation, MemberId, Millis, WriteId};
use super::reason::Reason;
use super::reply::{Reply, SyncedGroup};
use super::writes::{Context, Purpose};

/// Shortest wait for members that come back, in milliseconds: a rebalance timeout of 0 must not
/// turn the timers into a busy loop.
const REJOIN_WAIT_MIN_MS: u64 = 100;

impl Group {
    /// Starts a write of this group.
    pub(super) fn persist(
        &mut self,
        ops: Vec<WriteOp>,
        purpose: Purpose,
        ctx: &mut Context<'_>,
    ) -> WriteId {
        for op in &ops {
            match op {
                WriteOp::PutOffset(key, _) | WriteOp::DeleteOffset(key) => {
                    assert_eq!(key.group, self.id, "a write concerns one group");
                    *self.pending_offsets.entry(key.partition).or_insert(0) += 1;
                }
                // It may take effect from now on.
                WriteOp::PutGroup(_) => self.is_durable = true,
                WriteOp::DeleteGroup(_) => {}
            }
        }
        let write = ctx.persist(&self.id, ops, purpose);
        assert!(
            self.last_write.is_none_or(|last| last < write),
            "writes are numbered in order"
        );
        self.writes += 1;
        self.last_write = Some(write);
        write
    }

    /// A member has come or changed: start a rebalance, or see whether the present one can go on.
    pub(super) fn rebalance_or_complete(&mut self, reason: Reason, ctx: &mut Context<'_>) {
        if self.state == GroupState::PreparingRebalance {
            self.maybe_complete_join(ctx);
        } else {
            self.prepare_rebalance(reason, ctx);
        }
    }

    /// Starts a rebalance: members that wait for an assignment have to join again.
    pub(super) fn prepare_rebalance(&mut self, reason: Reason, ctx: &mut Context<'_>) {
        if self.is(GroupState::CompletingRebalance) {
            self.reset_assignment(GroupError::RebalanceInProgress, ctx);
        }
        self.assigning = None;
        self.pending_syncs.clear();
        self.sync_deadline = None;
        self.set_state(GroupState::PreparingRebalance, ctx.now.wall);
        // The one line of a rebalance; what comes of it is told by the next, or by metrics.
        let (members, reason) = (self.members.len(), reason.text());
        tracing::info!(group = %self.id, generation = %self.generation, members, reason, "rebalance");
        if self.is_initial_rebalance {
            self.new_member_added = false;
            let delay_ms = u64::from(ctx.config.initial_rebalance_delay_ms);
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.start_initial_wait(delay_ms, remaining_ms, ctx.now.monotonic);
        } else if self.has_all_members_joined() {
            self.complete_join(ctx);
        } else {
            self.start_join_wait(self.rebalance_timeout_ms(), ctx.now.monotonic);
        }
    }

    fn start_initial_wait(&mut self, delay_ms: u64, remaining_ms: u64, now: Millis) {
        let at = now.after(delay_ms);
        self.join_timer = Some(JoinTimer::Initial {
            at,
            delay_ms,
            remaining_ms,
        });
        self.wake_at(at);
    }

    fn start_join_wait(&mut self, wait_ms: u64, now: Millis) {
        let at = now.after(wait_ms);
        self.join_timer = Some(JoinTimer::Rebalance { at });
        self.wake_at(at);
    }

    /// Ends the join phase if all members are there. The first rebalance of a group always waits
    /// for its timer, since more members may come.
    pub(super) fn maybe_complete_join(&mut self, ctx: &mut Context<'_>) {
        if self.is(GroupState::PreparingRebalance)
            && !self.is_initial_rebalance
            && self.has_all_members_joined()
        {
            self.complete_join(ctx);
        }
    }

    /// The wait for members to join has ended.
    pub(super) fn on_join_timer(&mut self, timer: JoinTimer, ctx: &mut Context<'_>) {
        assert!(
            self.is(GroupState::PreparingRebalance),
            "the timer ends with the phase"
        );
        match timer {
            JoinTimer::Initial {
                delay_ms,
                remaining_ms,
                ..
            } if self.new_member_added && remaining_ms > 0 => {
                self.new_member_added = false;
                let initial_ms = u64::from(ctx.config.initial_rebalance_delay_ms);
                let next_ms = initial_ms.min(remaining_ms);
                let left_ms = remaining_ms.saturating_sub(delay_ms);
                self.start_initial_wait(next_ms, left_ms, ctx.now.monotonic);
            }
            JoinTimer::Initial { .. } | JoinTimer::Rebalance { .. } => self.complete_join(ctx),
        }
    }

    /// Ends the join phase. Dynamic members that have not come are removed; static ones stay, until
    /// their session ends. The others learn the next generation.
    pub(super) fn complete_join(&mut self, ctx: &mut Context<'_>) {
        assert!(
            self.is(GroupState::PreparingRebalance),
            "only a phase that runs can end"
        );
        self.join_timer = None;
        let absent = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && !member.is_static());
        let absent: Vec<MemberId> = absent.map(|member| member.id.clone()).collect();
        for id in &absent {
            self.remove_member(id, ctx);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members, and none has come: wait until one does or its session ends.
            let wait_ms = self.rebalance_timeout_ms().max(REJOIN_WAIT_MIN_MS);
            self.start_join_wait(wait_ms, ctx.now.monotonic);
            return;
        }
        self.start_generation(ctx);
    }

    /// Sees that the leader is a member that has joined; false when none has.
    fn elect_joined_leader(&mut self) -> bool {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_some_and(|leader| leader.awaiting_join.is_some()) {
            return true;
        }
        let joined = self
            .members
            .values()
            .find(|member| member.awaiting_join.is_some());
        let Some(joined) = joined.map(|member| member.id.clone()) else {
            return false;
        };
        assert!(
            self.awaiting_join > 0,
            "the leader is one of those that wait"
        );
        self.leader = Some(joined);
        true
    }

    fn start_generation(&mut self, ctx: &mut Context<'_>) {
        let before = self.generation;
        self.generation = before.next();
        assert!(
            self.generation != before,
            "each rebalance has a generation of its own"
        );
        self.pending_syncs.clear();
        if self.members.is_empty() {
            self.protocol_name = None;
            self.leader = None;
            self.note_subscriptions();
            self.set_state(GroupState::Empty, ctx.now.wall);
            tracing::debug!(group = %self.id, generation = %self.generation, "group is empty");
            // If this write fails or has no room, a restart finds the former members again, and
            // they time out. Kafka takes the same chance.
            if !ctx.writes.is_full(ctx.config) {
                let stored = self.to_stored(|_| Bytes::new());
                self.persist(vec![WriteOp::PutGroup(stored)], Purpose::Silent, ctx);
            }
            return;
        }
        assert!(
            self.generation > Generation::ZERO,
            "generations count from 1"
        );
        self.protocol_name = Some(self.select_protocol());
        self.note_subscriptions();
        self.set_state(GroupState::CompletingRebalance, ctx.now.wall);
        tracing::debug!(
            group = %self.id, generation = %self.generation, members = self.members.len(),
            "members have joined"
        );
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            let joined = self.joined(id);
            self.complete_join_of(id, Reply::Join(Ok(joined)), ctx);
            self.start_session(id, ctx.now.monotonic);
            if let Some(member) = self.members.get_mut(id) {
                member.is_new = false;
            }
        }
        assert_eq!(self.awaiting_join, 0, "all parked joins are answered");
        self.pending_syncs = ids.into_iter().collect();
        let at = ctx.now.monotonic.after(self.rebalance_timeout_ms());
        self.sync_deadline = Some(at);
        self.wake_at(at);
    }

    /// Members that have not sent SyncGroup in time are removed.
    pub(super) fn on_sync_deadline(&mut self, ctx: &mut Context<'_>) {
        assert!(
            self.is(GroupState::CompletingRebalance) || self.is(GroupState::Stable),
            "the deadline ends with the generation"
        );
        self.sync_deadline = None;
        let silent: Vec<MemberId> = self.pending_syncs.iter().cloned().collect();
        if silent.is_empty() {
            return;
        }
        for id in &silent {
            self.remove_member(id, ctx);
        }
        assert!(self.pending_syncs.is_empty(), "who was silent is gone");
        self.prepare_rebalance(Reason::MemberDidNotSync, ctx);
    }

    /// A member has sent SyncGroup.
    pub(super) fn note_sync(&mut self, member: &MemberId) {
        self.pending_syncs.remove(member);
        if self.pending_syncs.is_empty() {
            self.sync_deadline = None;
        }
    }

    /// Clears all assignments and answers parked SyncGroups with an error.
    pub(super) fn reset_assignment(&mut self, error: GroupError, ctx: &mut Context<'_>) {
        assert!(
            self.is(GroupState::CompletingRebalance),
            "no assignment has been given out"
        );
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            self.set_assignment(id, Bytes::new());
        }
        self.answer_syncs(&ids, Some(error), ctx);
    }

    /// Gives the assignment to all members and ends the rebalance.
    pub(super) fn complete_sync(&mut self, ctx: &mut Context<'_>) {
        assert!(
            self.is(GroupState::CompletingRebalance),
            "a rebalance ends once"
        );
        let assigning = self.assigning.take().expect("an assignment was written");
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            let assignment = assigning.assignments.get(id).cloned().unwrap_or_default();
            self.set_assignment(id, assignment);
        }
        self.answer_syncs(&ids, None, ctx);
        self.set_state(GroupState::Stable, ctx.now.wall);
    }

    fn answer_syncs(&mut self, ids: &[MemberId], error: Option<GroupError>, ctx: &mut Context<'_>) {
        for id in ids {
            let result = match error {
                Some(error) => Err(error),
                None => Ok(self.synced(id)),
            };
            let member = self.members.get_mut(id).expect("the ids are of members");
            if answer_sync(member, Reply::Sync(result), ctx) {
                // The session may have ended while the request was parked, without effect.
                self.start_session(id, ctx.now.monotonic);
            }
        }
    }

    /// The answer to a member's SyncGroup.
    pub(super) fn synced(&self, member: &MemberId) -> SyncedGroup {
        assert!(
            self.is(GroupState::CompletingRebalance) || self.is(GroupState::Stable),
            "only these states have an assignment"
        );
        let member = self.members.get(member).expect("only members sync");
        SyncedGroup {
            protocol_type: self
                .protocol_type
                .clone()
                .expect("a group with members has a type"),
            protocol_name: self
                .protocol_name
                .clone()
                .expect("a generation has a protocol"),
            assignment: member.assignment.clone(),
        }
    }

    /// Runs the timers that are due.
    pub(super) fn on_timer(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now.monotonic;
        let lapsed = self.pending_joins.iter().filter(|(_, at)| **at <= now);
        let lapsed: Vec<MemberId> = lapsed.map(|(id, _)| id.clone()).collect();
        for id in &lapsed {
            self.remove_member(id, ctx);
            if self.is(GroupState::PreparingRebalance) && self.has_all_members_joined() {
                self.complete_join(ctx);
            }
        }
        let ended = self.members.values();
        let ended = ended.filter(|member| member.deadline.is_some_and(|at| at <= now));
        let ended: Vec<MemberId> = ended.map(|member| member.id.clone()).collect();
        for id in &ended {
            self.on_session_end(id, ctx);
        }
        if self.sync_deadline.is_some_and(|at| at <= now) {
            self.on_sync_deadline(ctx);
        }
        if let Some(timer) = self.join_timer.filter(|timer| timer.at() <= now) {
            self.on_join_timer(timer, ctx);
        }
        self.due = self.earliest_timer();
        assert!(
            self.due.is_none_or(|at| at > now)
                || self.sync_deadline.is_some()
                || self.join_timer.is_some(),
            "sessions and ids that are over are gone"
        );
    }

    fn on_session_end(&mut self, id: &MemberId, ctx: &mut Context<'_>) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.deadline.is_none_or(|at| at > ctx.now.monotonic) {
            return;
        }
        if member.has_satisfied_heartbeat() {
            member.deadline = None;
            return;
        }
        crate::mark!(MemberExpired);
        tracing::info!(group = %self.id, member = %id, "session has ended, removing the member");
        self.remove_member(id, ctx);
        self.after_removal(ctx);
    }

    /// The session of a member has ended: rebalance, or end the join phase if it was the last to
    /// wait for.
    fn after_removal(&mut self, ctx: &mut Context<'_>) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.prepare_rebalance(Reason::MemberExpired, ctx);
            }
            GroupState::PreparingRebalance if self.has_all_members_joined() => {
                self.complete_join(ctx);
            }
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => {}
        }
    }
}
