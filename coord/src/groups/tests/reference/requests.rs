//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use super::*;

impl Model {
    pub(in super::super) fn join(&mut self, request: &JoinRequest, token: ReplyToken) {
        let (min, max) = (
            self.config.session_timeout_min_ms,
            self.config.session_timeout_max_ms,
        );
        let is_allowed =
            (i64::from(min)..=i64::from(max)).contains(&i64::from(request.session_timeout_ms));
        let error = if request.group.is_empty() {
            Some(GroupError::InvalidGroupId)
        } else if !is_allowed {
            Some(GroupError::InvalidSessionTimeout)
        } else if !self.groups.contains_key(&request.group) && !request.member.is_empty() {
            Some(GroupError::UnknownMemberId)
        } else {
            None
        };
        if let Some(error) = error {
            self.answer(token.0, refused(error, &request.member));
            return;
        }
        let mut group = match self.groups.remove(&request.group) {
            Some(group) => group,
            None => Group::new(&request.group, self.now.wall),
        };
        self.join_group(&mut group, request, token.0);
        self.put_back(group);
    }

    fn join_group(&mut self, group: &mut Group, request: &JoinRequest, token: u64) {
        let max = self.config.members_max;
        let own = group.members.get(&request.member);
        let has_room = match group.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                own.is_some_and(|own| own.join.is_some()) || group.waiting() < max
            }
            _ => own.is_some() || group.members.len() < max,
        };
        if !has_room {
            self.remove(group, &request.member);
            self.answer(token, refused(GroupError::GroupMaxSizeReached, &nobody()));
        } else if group.is(GroupState::Dead) {
            self.answer(
                token,
                refused(GroupError::CoordinatorNotAvailable, &request.member),
            );
        } else if !group.supports(&request.protocol_type, &request.protocols) {
            self.answer(
                token,
                refused(GroupError::InconsistentGroupProtocol, &request.member),
            );
        } else if request.member.is_empty() {
            self.join_new(group, request, token);
        } else {
            self.join_known(group, request, token);
        }
    }

    fn join_new(&mut self, group: &mut Group, request: &JoinRequest, token: u64) {
        let instance = request.instance.as_ref();
        let prefix = instance.map_or(&*request.client_id, InstanceId::as_str);
        let id = MemberId::generate(prefix, request.random_bits);
        let former = instance.and_then(|instance| group.static_member(instance));
        if let Some(former) = former {
            self.replace(group, &former, &id, request, token);
        } else if instance.is_some() || !request.member_id_required {
            self.add(group, &id, request, token);
        } else if group.given_out.len() >= self.config.members_max {
            // Unlike Kafka, which gives out ids without a bound.
            self.answer(token, refused(GroupError::GroupMaxSizeReached, &nobody()));
        } else {
            let lapses = self.after(request.session_timeout_ms as u64);
            group.given_out.insert(id.clone(), lapses);
            self.answer(token, refused(GroupError::MemberIdRequired, &id));
        }
    }

    fn join_known(&mut self, group: &mut Group, request: &JoinRequest, token: u64) {
        let id = &request.member;
        if group.given_out.contains_key(id) {
            match request.instance {
                None => self.add(group, id, request, token),
                // An IllegalStateException there.
                Some(_) => self.answer(token, refused(GroupError::UnknownServerError, id)),
            }
            return;
        }
        if let Err(error) = group.validate(id, request.instance.as_ref()) {
            self.answer(token, refused(error, id));
            return;
        }
        let is_changed = group.members[id].protocols != request.protocols;
        let rejoins = match group.state {
            GroupState::PreparingRebalance => true,
            GroupState::CompletingRebalance => is_changed,
            _ => is_changed || group.leads(id),
        };
        if !rejoins {
            self.answer(token, Reply::Join(Ok(group.joined(id))));
            return;
        }
        let member = group.members.get_mut(id).expect("it is a member");
        member.take_over(request);
        if let Some(former) = member.join.replace(token) {
            // Unlike Kafka, which leaves it without an answer.
            self.answer(former, refused(GroupError::RebalanceInProgress, id));
        }
        self.rebalance_or_complete(group);
    }

    fn add(&mut self, group: &mut Group, id: &MemberId, request: &JoinRequest, token: u64) {
        if group.is(GroupState::PreparingRebalance) && group.is_first {
            group.more_came = true;
        }
        if group.members.is_empty() {
            group.kind = Some(request.protocol_type.clone());
        }
        let mut member = Member::new(request);
        member.is_new = true;
        member.join = Some(token);
        member.session_end = Some(self.after(u64::from(self.config.new_member_join_timeout_ms)));
        group.given_out.remove(id);
        group.leader.get_or_insert_with(|| id.clone());
        group.members.insert(id.clone(), member);
        self.rebalance_or_complete(group);
    }

    /// A static member that has restarted takes the place of the one before.
    fn replace(
        &mut self,
        group: &mut Group,
        former: &MemberId,
        id: &MemberId,
        request: &JoinRequest,
        token: u64,
    ) {
        let former_leader = group.leader.clone();
        let mut gone = group.members.remove(former).expect("it is a member");
        self.answer_both(&mut gone, GroupError::FencedInstanceId, former);
        let mut member = Member::new(request);
        member.assignment = gone.assignment.clone();
        member.join = Some(token);
        group.members.insert(id.clone(), member);
        swap(group, former, id);
        self.start_session(group, id);
        if group.is(GroupState::Stable) && group.protocol == Some(group.elect_protocol()) {
            let record = group.record(group.since, |_, member| member.assignment.clone());
            let replaced = Replaced {
                id: id.clone(),
                generation: group.generation,
                former_id: former.clone(),
                former: gone,
                former_leader,
                skips: request.skip_assignment_supported,
            };
            self.write(
                group,
                vec![WriteOp::PutGroup(record)],
                Then::Replaced(Box::new(replaced)),
            );
        } else {
            self.rebalance_or_complete(group);
        }
    }

    pub(super) fn on_replaced(
        &mut self,
        group: &mut Group,
        replaced: Replaced,
        outcome: Persisted,
    ) {
        let is_current = group.is(GroupState::Stable) && group.generation == replaced.generation;
        let Some(member) = group.members.get_mut(&replaced.id).filter(|_| is_current) else {
            return; // Unlike Kafka: the rebalance answers it.
        };
        let token = member.join.take();
        if outcome == Persisted::Failed {
            let error = GroupError::CoordinatorNotAvailable;
            token
                .into_iter()
                .for_each(|token| self.answer(token, refused(error, &nobody())));
            group.members.remove(&replaced.id);
            group
                .members
                .insert(replaced.former_id.clone(), replaced.former);
            swap(group, &replaced.id, &replaced.former_id);
            self.start_session(group, &replaced.former_id);
            return;
        }
        let mut joined = group.joined(&replaced.id);
        if replaced.skips {
            joined.skip_assignment = group.leads(&replaced.id);
        } else {
            joined.members.clear();
            joined.leader = replaced.former_leader.expect("members have a leader");
        }
        token
            .into_iter()
            .for_each(|token| self.answer(token, Reply::Join(Ok(joined.clone()))));
        self.start_session(group, &replaced.id);
    }

    pub(in super::super) fn sync(&mut self, request: &SyncRequest, token: ReplyToken) {
        let is_named = !request.group.is_empty();
        let named = is_named.then(|| self.groups.remove(&request.group));
        let Some(mut group) = named.flatten() else {
            let error = if is_named {
                GroupError::UnknownMemberId
            } else {
                GroupError::InvalidGroupId
            };
            self.answer(token.0, Reply::Sync(Err(error)));
            return;
        };
        if let Err(error) = validate_sync(&group, request) {
            self.answer(token.0, Reply::Sync(Err(error)));
        } else {
            self.sync_group(&mut group, request, token.0);
        }
        self.put_back(group);
    }

    fn sync_group(&mut self, group: &mut Group, request: &SyncRequest, token: u64) {
        let id = &request.member;
        group.owe_sync.remove(id);
        if group.owe_sync.is_empty() {
            group.sync_end = None;
        }
        if group.is(GroupState::Stable) {
            self.answer(token, Reply::Sync(Ok(group.synced(id))));
            return;
        }
        let member = group.members.get_mut(id).expect("it is a member");
        if let Some(former) = member.sync.replace(token) {
            // Unlike Kafka, which leaves it without an answer.
            self.answer(former, Reply::Sync(Err(GroupError::RebalanceInProgress)));
        }
        let is_assigned = |write: &Write| match &write.then {
            Then::Assign(generation, _) => {
                write.group == group.id && *generation == group.generation
            }
            _ => false,
        };
        // A leader that tries again only waits: the first of two assignments holds in Kafka, too.
        if group.leads(id) && !self.writes.iter().any(is_assigned) {
            let plan = request.assignments.clone();
            let record = group.record(self.now.wall, |id, _| planned(&plan, id));
            let then = Then::Assign(group.generation, plan);
            self.write(group, vec![WriteOp::PutGroup(record)], then);
        }
    }

    pub(super) fn on_assigned(
        &mut self,
        group: &mut Group,
        generation: Generation,
        plan: &[MemberAssignment],
        outcome: Persisted,
    ) {
        if !group.is(GroupState::CompletingRebalance) || group.generation != generation {
            return;
        }
        if outcome == Persisted::Failed {
            self.reset_assignments(group, GroupError::CoordinatorNotAvailable);
            self.prepare(group);
            return;
        }
        for (id, member) in &mut group.members {
            member.assignment = planned(plan, id);
        }
        for id in group.ids() {
            let synced = group.synced(&id);
            let member = group.members.get_mut(&id).expect("it is a member");
            if let Some(token) = member.sync.take() {
                self.answer(token, Reply::Sync(Ok(synced)));
                self.start_session(group, &id);
            }
        }
        self.enter(group, GroupState::Stable);
    }

    pub(in super::super) fn heartbeat(&mut self, request: &HeartbeatRequest, token: ReplyToken) {
        let named = (!request.group.is_empty()).then(|| self.groups.remove(&request.group));
        let result = match named.flatten() {
            _ if request.group.is_empty() => Err(GroupError::InvalidGroupId),
            None => Err(GroupError::UnknownMemberId),
            Some(mut group) => {
                let result = self.heartbeat_group(&mut group, request);
                self.put_back(group);
                result
            }
        };
        self.answer(token.0, Reply::Heartbeat(result));
    }

    fn heartbeat_group(
        &mut self,
        group: &mut Group,
        request: &HeartbeatRequest,
    ) -> Result<(), GroupError> {
        if group.is(GroupState::Dead) {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        group.validate(&request.member, request.instance.as_ref())?;
        if request.generation != group.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.start_session(group, &request.member);
        if group.is(GroupState::PreparingRebalance) {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    pub(in super::super) fn leave(&mut self, request: &LeaveRequest, token: ReplyToken) {
        let named = (!request.group.is_empty()).then(|| self.groups.remove(&request.group));
        let result = match named.flatten() {
            _ if request.group.is_empty() => Err(GroupError::InvalidGroupId),
            None => {
                let unknown = |leaver| left(leaver, Err(GroupError::UnknownMemberId));
                Ok(request.members.iter().map(unknown).collect())
            }
            Some(mut group) => {
                let result = self.leave_group(&mut group, &request.members);
                self.put_back(group);
                result
            }
        };
        self.answer(token.0, Reply::Leave(result));
    }

    fn leave_group(
        &mut self,
        group: &mut Group,
        leavers: &[LeaveMember],
    ) -> Result<Vec<LeaveReply>, GroupError> {
        if group.is(GroupState::Dead) {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let mut replies = Vec::new();
        for leaver in leavers {
            let named = leaver
                .instance
                .as_ref()
                .and_then(|own| group.static_member(own));
            let id = if leaver.member.is_empty() {
                named.ok_or(GroupError::UnknownMemberId)
            } else if group.given_out.contains_key(&leaver.member) {
                Ok(leaver.member.clone())
            } else {
                let valid = group.validate(&leaver.member, leaver.instance.as_ref());
                valid.map(|()| leaver.member.clone())
            };
            if let Ok(id) = &id {
                self.remove(group, id);
            }
            replies.push(left(leaver, id.map(drop)));
        }
        if replies.iter().any(|reply| reply.result.is_ok()) {
            match group.state {
                GroupState::Stable | GroupState::CompletingRebalance => self.prepare(group),
                _ => self.maybe_complete(group),
            }
        }
        Ok(replies)
    }
}

fn left(leaver: &LeaveMember, result: Result<(), GroupError>) -> LeaveReply {
    LeaveReply {
        member: leaver.member.clone(),
        instance: leaver.instance.clone(),
        result,
    }
}

fn swap(group: &mut Group, from: &MemberId, to: &MemberId) {
    if group.leads(from) {
        group.leader = Some(to.clone());
    }
    if group.owe_sync.remove(from) {
        group.owe_sync.insert(to.clone());
    }
}

fn planned(plan: &[MemberAssignment], id: &MemberId) -> Bytes {
    // Of several entries for a member the last holds.
    let own = plan.iter().rev().find(|entry| entry.member == *id);
    own.map_or_else(Bytes::new, |entry| entry.assignment.clone())
}

fn validate_sync(group: &Group, request: &SyncRequest) -> Result<(), GroupError> {
    let differs = |asked: &Option<Arc<str>>, own: &Option<Arc<str>>| match (asked, own) {
        (Some(asked), Some(own)) => asked != own,
        _ => false,
    };
    if group.is(GroupState::Empty) {
        return Err(GroupError::UnknownMemberId);
    }
    if group.is(GroupState::Dead) {
        return Err(GroupError::CoordinatorNotAvailable);
    }
    group.validate(&request.member, request.instance.as_ref())?;
    if request.generation != group.generation {
        return Err(GroupError::IllegalGeneration);
    }
    if differs(&request.protocol_type, &group.kind)
        || differs(&request.protocol_name, &group.protocol)
    {
        return Err(GroupError::InconsistentGroupProtocol);
    }
    if group.is(GroupState::PreparingRebalance) {
        return Err(GroupError::RebalanceInProgress);
    }
    Ok(())
}
