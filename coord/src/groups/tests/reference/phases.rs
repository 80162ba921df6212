//! Rebalances and timers.

use super::*;

impl Model {
    pub(super) fn after(&self, ms: u64) -> u64 {
        self.now.monotonic.get() + ms
    }

    pub(super) fn answer(&mut self, token: u64, reply: Reply) {
        let former = self.answers.insert(token, reply);
        assert!(former.is_none(), "the model answers once");
    }

    pub(super) fn enter(&mut self, group: &mut Group, state: GroupState) {
        group.state = state;
        group.since = self.now.wall;
    }

    pub(super) fn start_session(&mut self, group: &mut Group, id: &MemberId) {
        if let Some(member) = group.members.get_mut(id) {
            member.session_end = Some(self.after(u64::from(member.session_ms)));
        }
    }

    /// Answers what a member that goes waits for.
    pub(super) fn answer_both(&mut self, member: &mut Member, error: GroupError, id: &MemberId) {
        if let Some(token) = member.join.take() {
            self.answer(token, refused(error, id));
        }
        if let Some(token) = member.sync.take() {
            // Unlike Kafka, which forgets it where a member leaves.
            self.answer(token, Reply::Sync(Err(error)));
        }
    }

    /// Removes a member, or an id that was given out.
    pub(super) fn remove(&mut self, group: &mut Group, id: &MemberId) {
        if let Some(mut member) = group.members.remove(id) {
            self.answer_both(&mut member, GroupError::UnknownMemberId, &nobody());
        }
        if group.leads(id) {
            group.leader = group.members.keys().next().cloned();
        }
        group.given_out.remove(id);
        group.owe_sync.remove(id);
    }

    pub(super) fn rebalance_or_complete(&mut self, group: &mut Group) {
        if group.is(GroupState::PreparingRebalance) {
            self.maybe_complete(group);
        } else {
            self.prepare(group);
        }
    }

    pub(super) fn maybe_complete(&mut self, group: &mut Group) {
        // The first rebalance of a group waits for its timer.
        if group.is(GroupState::PreparingRebalance) && !group.is_first && group.have_all_joined() {
            self.complete(group);
        }
    }

    pub(super) fn prepare(&mut self, group: &mut Group) {
        if group.is(GroupState::CompletingRebalance) {
            self.reset_assignments(group, GroupError::RebalanceInProgress);
        }
        group.owe_sync.clear();
        group.sync_end = None;
        group.is_first = group.is(GroupState::Empty);
        self.enter(group, GroupState::PreparingRebalance);
        if group.is_first {
            // Unlike Kafka, which remembers a member of a wait before.
            group.more_came = false;
            let delay = u64::from(self.config.initial_rebalance_delay_ms);
            let left = group.longest_rebalance().saturating_sub(delay);
            group.join_end = Some(JoinEnd {
                at: self.after(delay),
                first: Some((delay, left)),
            });
        } else if group.have_all_joined() {
            self.complete(group);
        } else {
            let at = self.after(group.longest_rebalance());
            group.join_end = Some(JoinEnd { at, first: None });
        }
    }

    pub(super) fn reset_assignments(&mut self, group: &mut Group, error: GroupError) {
        for id in group.ids() {
            let member = group.members.get_mut(&id).expect("it is a member");
            member.assignment = Bytes::new();
            if let Some(token) = member.sync.take() {
                self.answer(token, Reply::Sync(Err(error)));
                self.start_session(group, &id);
            }
        }
    }

    /// Ends the join phase.
    fn complete(&mut self, group: &mut Group) {
        group.join_end = None;
        for id in group.ids() {
            let member = &group.members[&id];
            if member.join.is_none() && member.instance.is_none() {
                self.remove(group, &id);
            }
        }
        let has_joined = |id: &MemberId| group.members.get(id).is_some_and(|m| m.join.is_some());
        if !group.members.is_empty() && !group.leader.as_ref().is_some_and(has_joined) {
            match group.ids().into_iter().find(has_joined) {
                Some(id) => group.leader = Some(id),
                None => {
                    // Only static members, and none has come. Unlike Kafka, 100 ms at least.
                    let at = self.after(group.longest_rebalance().max(100));
                    group.join_end = Some(JoinEnd { at, first: None });
                    return;
                }
            }
        }
        group.generation = Generation::new(group.generation.get() + 1);
        group.owe_sync.clear();
        if group.members.is_empty() {
            group.protocol = None;
            group.topics = group
                .kind
                .as_deref()
                .filter(|kind| *kind == "consumer")
                .map(|_| BTreeSet::new());
            self.enter(group, GroupState::Empty);
            let record = group.record(group.since, |_, _| Bytes::new());
            self.write(group, vec![WriteOp::PutGroup(record)], Then::Nothing);
            return;
        }
        group.protocol = Some(group.elect_protocol());
        group.topics = group.subscriptions();
        self.enter(group, GroupState::CompletingRebalance);
        for id in group.ids() {
            let joined = group.joined(&id);
            let member = group.members.get_mut(&id).expect("it is a member");
            member.is_new = false;
            if let Some(token) = member.join.take() {
                self.answer(token, Reply::Join(Ok(joined)));
            }
            self.start_session(group, &id);
            group.owe_sync.insert(id);
        }
        group.sync_end = Some(self.after(group.longest_rebalance()));
    }

    /// When the next timer is due.
    pub(in super::super) fn next_deadline(&self) -> Option<u64> {
        let timers = self.groups.values().flat_map(Group::timers);
        timers.map(|(at, _)| at).min()
    }

    /// Runs what is due, one after the other.
    pub(in super::super) fn wake(&mut self, now: Now) {
        self.now = now;
        for id in self.groups.keys().cloned().collect::<Vec<_>>() {
            let mut group = self.groups.remove(&id).expect("it was there");
            let is_due = |(at, _): &(u64, Timer)| *at <= now.monotonic.get();
            while let Some((_, timer)) = group.timers().into_iter().find(is_due) {
                self.fire(&mut group, timer);
            }
            self.put_back(group);
        }
    }

    fn fire(&mut self, group: &mut Group, timer: Timer) {
        match timer {
            Timer::Given(id) => {
                self.remove(group, &id);
                self.complete_if_all_joined(group);
            }
            Timer::Session(id) => {
                let member = group.members.get_mut(&id).expect("it is a member");
                if !member.is_new && (member.join.is_some() || member.sync.is_some()) {
                    member.session_end = None;
                    return;
                }
                self.remove(group, &id);
                match group.state {
                    GroupState::Stable | GroupState::CompletingRebalance => self.prepare(group),
                    _ => self.complete_if_all_joined(group),
                }
            }
            Timer::Sync => {
                group.sync_end = None;
                let silent = std::mem::take(&mut group.owe_sync);
                if !silent.is_empty() {
                    silent.iter().for_each(|id| self.remove(group, id));
                    self.prepare(group);
                }
            }
            Timer::Join(JoinEnd {
                first: Some((delay, left)),
                ..
            }) if group.more_came && left > 0 => {
                group.more_came = false;
                let next = u64::from(self.config.initial_rebalance_delay_ms).min(left);
                group.join_end = Some(JoinEnd {
                    at: self.after(next),
                    first: Some((next, left.saturating_sub(delay))),
                });
            }
            Timer::Join(_) => self.complete(group),
        }
    }

    /// Unlike the end of other events, this ends a first rebalance, too.
    fn complete_if_all_joined(&mut self, group: &mut Group) {
        if group.is(GroupState::PreparingRebalance) && group.have_all_joined() {
            self.complete(group);
        }
    }
}
