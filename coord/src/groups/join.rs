//! JoinGroup: new members, members that come back, and static members that replace their
//! predecessor.

use super::config::GroupConfig;
use super::coordinator::Coordinator;
use super::effect::{Effect, Effects, Persisted, WriteOp};
use super::error::GroupError;
use super::group::{Group, GroupState, answer_join, answer_sync, refused};
use super::ids::{InstanceId, MemberId, Now, ReplyToken};
use super::member::{Member, protocol_bytes};
use super::reason::Reason;
use super::reply::Reply;
use super::request::JoinRequest;
use super::writes::{Context, Purpose, StaticJoin};

impl Coordinator {
    /// JoinGroup. The answer comes when the rebalance has its members, at once in the other cases.
    ///
    /// Refusals: INVALID_GROUP_ID, INVALID_SESSION_TIMEOUT, UNKNOWN_MEMBER_ID, MEMBER_ID_REQUIRED
    /// (KIP-394), FENCED_INSTANCE_ID (KIP-345), INCONSISTENT_GROUP_PROTOCOL,
    /// GROUP_MAX_SIZE_REACHED, POLICY_VIOLATION, COORDINATOR_NOT_AVAILABLE; REBALANCE_IN_PROGRESS for a parked
    /// request that a retry replaces.
    pub fn join(&mut self, request: JoinRequest, token: ReplyToken, now: Now, out: &mut Effects) {
        if let Err(error) = self.admit_join(&request, now) {
            out.push(Effect::Reply {
                token,
                reply: refused(error, request.member),
            });
            return;
        }
        let group = request.group.clone();
        let found = self.with_group(&group, now, out, |group, ctx| {
            group.join(request, token, ctx)
        });
        assert!(found.is_some(), "a member that is admitted has a group");
    }

    /// Checks what does not need the group, and creates the group if the member may be its first.
    fn admit_join(&mut self, request: &JoinRequest, now: Now) -> Result<(), GroupError> {
        if request.group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        if !is_session_timeout_allowed(request.session_timeout_ms, &self.config) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if self.groups.contains_key(&request.group) {
            return Ok(());
        }
        if !request.member.is_empty() {
            return Err(GroupError::UnknownMemberId);
        }
        self.create_group(&request.group, now)
    }
}

impl Group {
    fn join(&mut self, request: JoinRequest, token: ReplyToken, ctx: &mut Context<'_>) {
        if !self.has_room_for(&request.member, ctx.config.members_max) {
            self.remove_member(&request.member, ctx);
            ctx.reply(
                token,
                refused(GroupError::GroupMaxSizeReached, MemberId::from("")),
            );
        } else if request.member.is_empty() {
            self.join_new(request, token, ctx);
        } else {
            self.join_known(request, token, ctx);
        }
    }

    /// Whether the group takes this member. While members join those that wait count, so that a
    /// group above its bound loses the members that come last.
    fn has_room_for(&self, member: &MemberId, members_max: usize) -> bool {
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                let waits = self
                    .members
                    .get(member)
                    .is_some_and(|own| own.awaiting_join.is_some());
                waits || self.awaiting_join < members_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.contains_key(member) || self.members.len() < members_max
            }
        }
    }

    /// A member without an id.
    fn join_new(&mut self, request: JoinRequest, token: ReplyToken, ctx: &mut Context<'_>) {
        let prefix = match &request.instance {
            Some(instance) => instance.as_str(),
            None => &request.client_id,
        };
        let id = MemberId::generate(prefix, request.random_bits);
        let is_taken = self.members.contains_key(&id) || self.pending_joins.contains_key(&id);
        let replaced = request
            .instance
            .as_ref()
            .and_then(|own| self.static_members.get(own));
        let error = if self.is(GroupState::Dead) || is_taken || ctx.slot_full {
            Some(GroupError::CoordinatorNotAvailable)
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            Some(GroupError::InconsistentGroupProtocol)
        } else {
            None
        };
        if let Some(error) = error {
            ctx.reply(token, refused(error, MemberId::from("")));
            return;
        }
        match (replaced.cloned(), &request.instance) {
            (Some(former), Some(instance)) => {
                let instance = instance.clone();
                self.replace_static(&instance, &former, id, &request, token, ctx);
            }
            (_, None) if request.member_id_required => {
                self.require_member_id(id, &request, token, ctx)
            }
            (_, _) => self.add_member(id, &request, token, ctx),
        }
    }

    /// Gives out a member id with which the client has to join again (KIP-394). Kafka does not
    /// bound the ids that are given out.
    fn require_member_id(
        &mut self,
        id: MemberId,
        request: &JoinRequest,
        token: ReplyToken,
        ctx: &mut Context<'_>,
    ) {
        let bytes = self.member_bytes + id.len() * (self.pending_joins.len() + 1);
        let is_full = self.pending_joins.len() >= ctx.config.members_max;
        if is_full || bytes > ctx.config.group_bytes_max {
            ctx.reply(
                token,
                refused(GroupError::GroupMaxSizeReached, MemberId::from("")),
            );
            return;
        }
        let session_ms = u64::try_from(request.session_timeout_ms).unwrap_or(0);
        let at = ctx.now.monotonic.after(session_ms);
        let former = self.pending_joins.insert(id.clone(), at);
        assert!(former.is_none(), "an id is given out once");
        assert!(
            self.pending_joins.len() <= ctx.config.members_max,
            "ids that are given out are bounded"
        );
        self.wake_at(at);
        ctx.reply(token, refused(GroupError::MemberIdRequired, id));
    }

    /// A member that names its id.
    fn join_known(&mut self, request: JoinRequest, token: ReplyToken, ctx: &mut Context<'_>) {
        let id = request.member.clone();
        let error = if self.is(GroupState::Dead) {
            Some(GroupError::CoordinatorNotAvailable)
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            Some(GroupError::InconsistentGroupProtocol)
        } else if self.pending_joins.contains_key(&id) {
            // Ids are given out to dynamic members only. Kafka fails the request in the same way.
            request
                .instance
                .as_ref()
                .map(|_| GroupError::UnknownServerError)
        } else {
            self.validate_member(&id, request.instance.as_ref()).err()
        };
        if let Some(error) = error {
            ctx.reply(token, refused(error, id));
            return;
        }
        if self.pending_joins.contains_key(&id) {
            self.add_member(id, &request, token, ctx);
            return;
        }
        let is_changed = !self.members[&id].matches(&request.protocols);
        let rejoins = match self.state {
            GroupState::PreparingRebalance => true,
            GroupState::CompletingRebalance => is_changed,
            // The leader rejoins to have a new assignment made, for example for new partitions.
            GroupState::Stable => is_changed || self.is_leader(&id),
            GroupState::Empty | GroupState::Dead => unreachable!("these states have no members"),
        };
        if rejoins {
            self.update_member(id, &request, token, ctx);
        } else {
            // It lost the answer, or joins again without a need: this generation is still its own.
            let joined = self.joined(&id);
            ctx.reply(token, Reply::Join(Ok(joined)));
        }
    }

    fn add_member(
        &mut self,
        id: MemberId,
        request: &JoinRequest,
        token: ReplyToken,
        ctx: &mut Context<'_>,
    ) {
        let mut member = Member::new(id.clone(), request);
        let error = if ctx.slot_full {
            Some(GroupError::CoordinatorNotAvailable)
        } else {
            let bytes = self.member_bytes + member.bytes();
            (bytes > ctx.config.group_bytes_max).then_some(GroupError::GroupMaxSizeReached)
        };
        if let Some(error) = error {
            ctx.reply(token, refused(error, request.member.clone()));
            return;
        }
        if self.is(GroupState::PreparingRebalance) && self.is_initial_rebalance {
            self.new_member_added = true;
        }
        let at = ctx
            .now
            .monotonic
            .after(u64::from(ctx.config.new_member_join_timeout_ms));
        assert!(!self.is(GroupState::Dead), "nobody joins a group that goes");
        member.is_new = true;
        member.deadline = Some(at);
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.insert_member(member);
        self.wake_at(at);
        self.park_join(&id, token, ctx);
        self.rebalance_or_complete(Reason::MemberJoined, ctx);
    }

    fn update_member(
        &mut self,
        id: MemberId,
        request: &JoinRequest,
        token: ReplyToken,
        ctx: &mut Context<'_>,
    ) {
        let before = protocol_bytes(&self.members[&id].protocols);
        let after = protocol_bytes(&request.protocols);
        assert!(
            self.member_bytes >= before,
            "the bytes of each member are counted"
        );
        let error = if ctx.slot_full && after > before {
            Some(GroupError::CoordinatorNotAvailable)
        } else {
            let bytes = self.member_bytes - before + after;
            (bytes > ctx.config.group_bytes_max).then_some(GroupError::GroupMaxSizeReached)
        };
        if let Some(error) = error {
            ctx.reply(token, refused(error, id));
            return;
        }
        let mut member = self.take_member(&id).expect("it has been validated");
        member.update(request);
        self.insert_member(member);
        self.park_join(&id, token, ctx);
        self.rebalance_or_complete(Reason::MemberRejoined, ctx);
    }

    /// A static member has restarted and comes without its id: it takes its predecessor's place
    /// (KIP-345). The predecessor is fenced.
    fn replace_static(
        &mut self,
        instance: &InstanceId,
        former: &MemberId,
        id: MemberId,
        request: &JoinRequest,
        token: ReplyToken,
        ctx: &mut Context<'_>,
    ) {
        let mut member = Member::new(id.clone(), request);
        let others = self.member_bytes - self.members[former].bytes();
        let is_writing = self.is(GroupState::Stable) && ctx.writes.is_full(ctx.config);
        let error = if others + member.bytes() > ctx.config.group_bytes_max {
            Some(GroupError::GroupMaxSizeReached)
        } else {
            is_writing.then_some(GroupError::CoordinatorNotAvailable)
        };
        if let Some(error) = error {
            ctx.reply(token, refused(error, MemberId::from("")));
            return;
        }
        let leader_before = self.leader.clone();
        let fenced = GroupError::FencedInstanceId;
        let mut previous = self
            .take_member(former)
            .expect("static members are members");
        answer_join(&mut previous, refused(fenced, former.clone()), ctx);
        answer_sync(&mut previous, Reply::Sync(Err(fenced)), ctx);
        assert!(
            previous.awaiting_join.is_none() && previous.awaiting_sync.is_none(),
            "who is replaced waits no longer"
        );
        member.assignment = previous.assignment.clone();
        self.insert_member(member);
        self.swap_id(former, &id);
        assert_eq!(
            self.static_members.get(instance),
            Some(&id),
            "the instance has a new member"
        );
        self.start_session(&id, ctx.now.monotonic);
        self.park_join(&id, token, ctx);
        match self.state {
            GroupState::Stable if self.protocol_name.as_ref() == Some(&self.select_protocol()) => {
                let join = StaticJoin {
                    member: id,
                    generation: self.generation,
                    previous,
                    leader_before,
                    skip_assignment_supported: request.skip_assignment_supported,
                };
                self.persist_static_join(join, ctx);
            }
            // The leader may have been told of the former id: its assignment would miss the new
            // one.
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.prepare_rebalance(Reason::StaticMemberReplaced, ctx);
            }
            GroupState::PreparingRebalance => self.maybe_complete_join(ctx),
            GroupState::Empty | GroupState::Dead => unreachable!("these states have no members"),
        }
    }

    /// Moves leadership and the duty to sync to the id that replaces another.
    fn swap_id(&mut self, from: &MemberId, to: &MemberId) {
        assert!(
            self.members.contains_key(to) && !self.members.contains_key(from),
            "one member has taken the place of another"
        );
        if self.is_leader(from) {
            self.leader = Some(to.clone());
        }
        if self.pending_syncs.remove(from) {
            self.pending_syncs.insert(to.clone());
        }
    }

    /// No rebalance is needed, but the new id has to be durable before its member learns it.
    fn persist_static_join(&mut self, join: StaticJoin, ctx: &mut Context<'_>) {
        assert!(
            self.is(GroupState::Stable),
            "otherwise a rebalance answers the new member"
        );
        let stored = self.to_stored(|member| member.assignment.clone());
        if stored.encoded_len() > ctx.config.group_bytes_max {
            self.undo_static_join(join, GroupError::UnknownServerError, ctx);
            return;
        }
        self.persist(
            vec![WriteOp::PutGroup(stored)],
            Purpose::StaticJoin(Box::new(join)),
            ctx,
        );
    }

    /// The outcome of that write. If a rebalance has begun since, it answers the parked JoinGroup.
    pub(super) fn on_static_join(
        &mut self,
        join: StaticJoin,
        outcome: Persisted,
        ctx: &mut Context<'_>,
    ) {
        let is_current = self.is(GroupState::Stable) && self.generation == join.generation;
        if !is_current || !self.members.contains_key(&join.member) {
            return;
        }
        if outcome == Persisted::Failed {
            self.undo_static_join(join, GroupError::CoordinatorNotAvailable, ctx);
            return;
        }
        let mut joined = self.joined(&join.member);
        if join.skip_assignment_supported {
            joined.skip_assignment = self.is_leader(&join.member);
        } else {
            // An older client must not think that it leads, or it would make an assignment that
            // nobody waits for.
            joined.members.clear();
            joined.leader = join.leader_before.unwrap_or(joined.leader);
        }
        self.complete_join_of(&join.member, Reply::Join(Ok(joined)), ctx);
        self.start_session(&join.member, ctx.now.monotonic);
    }

    fn undo_static_join(&mut self, join: StaticJoin, error: GroupError, ctx: &mut Context<'_>) {
        let mut replaced = self.take_member(&join.member).expect("it has been checked");
        let parked = replaced.awaiting_join.is_some();
        answer_join(&mut replaced, refused(error, MemberId::from("")), ctx);
        assert!(
            parked || replaced.awaiting_sync.is_none(),
            "it waits in JoinGroup only"
        );
        let former = join.previous.id.clone();
        self.insert_member(join.previous);
        self.swap_id(&join.member, &former);
        assert!(
            !self.members.contains_key(&join.member),
            "an instance id has one member"
        );
        self.start_session(&former, ctx.now.monotonic);
    }
}

fn is_session_timeout_allowed(timeout_ms: i32, config: &GroupConfig) -> bool {
    let bounds = config.session_timeout_min_ms..=config.session_timeout_max_ms;
    u32::try_from(timeout_ms).is_ok_and(|timeout_ms| bounds.contains(&timeout_ms))
}
