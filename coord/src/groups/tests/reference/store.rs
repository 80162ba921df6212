//! Offsets, deletions, and what is durable.

use super::*;

impl Model {
    pub(in super::super) fn new(config: GroupConfig, now: Now) -> Self {
        Self {
            config,
            now,
            answers: BTreeMap::new(),
            writes: VecDeque::new(),
            groups: BTreeMap::new(),
            stored_groups: BTreeMap::new(),
            stored_offsets: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    fn writes_of(&self, id: &GroupId) -> impl DoubleEndedIterator<Item = &Write> {
        self.writes.iter().filter(move |write| write.group == *id)
    }

    /// Offsets of a group that are durable.
    fn offsets_of(&self, id: &GroupId) -> BTreeMap<TopicPartition, CommittedOffset> {
        let own = self
            .stored_offsets
            .iter()
            .filter(|(key, _)| key.group == *id);
        own.map(|(key, offset)| (key.partition, offset.clone()))
            .collect()
    }

    /// Offsets of a group that writes under way concern.
    fn unstable(&self, id: &GroupId) -> BTreeSet<TopicPartition> {
        let ops = self.writes_of(id).flat_map(|write| &write.ops);
        ops.filter_map(|op| match op {
            WriteOp::PutOffset(key, _) | WriteOp::DeleteOffset(key) => Some(key.partition),
            WriteOp::PutGroup(_) | WriteOp::DeleteGroup(_) => None,
        })
        .collect()
    }

    /// All offsets that there are or may be.
    fn possible(&self, id: &GroupId) -> BTreeSet<TopicPartition> {
        let durable = self.offsets_of(id).into_keys();
        durable.chain(self.unstable(id)).collect()
    }

    /// Keeps a group, unless nothing of it is worth it.
    pub(super) fn put_back(&mut self, group: Group) {
        let is_bare = !group.is_recorded
            && self.writes_of(&group.id).next().is_none()
            && self.offsets_of(&group.id).is_empty();
        // Unlike Kafka, which writes a record of an empty group and expires it later.
        let is_unused = group.is(GroupState::Empty)
            && group.generation == Generation::ZERO
            && group.given_out.is_empty();
        if !(is_bare && (group.is(GroupState::Dead) || is_unused)) {
            self.groups.insert(group.id.clone(), group);
        }
    }

    pub(super) fn write(&mut self, group: &mut Group, ops: Vec<WriteOp>, then: Then) {
        group.is_recorded |= ops.iter().any(|op| matches!(op, WriteOp::PutGroup(_)));
        self.writes.push_back(Write {
            ops,
            group: group.id.clone(),
            then,
            fetches: Vec::new(),
        });
    }

    /// Makes writes for entries of a request; it is answered when all have an outcome.
    fn write_entries(
        &mut self,
        group: &mut Group,
        ops: Vec<(usize, WriteOp)>,
        token: u64,
        answer: Reply,
    ) {
        let count = self.write_portions(group, ops, |entries| Then::Answer { token, entries });
        self.wait(token, answer, count);
    }

    fn write_portions(
        &mut self,
        group: &mut Group,
        ops: Vec<(usize, WriteOp)>,
        then: impl Fn(Vec<usize>) -> Then,
    ) -> usize {
        let portions = ops.chunks(self.config.write_ops_max).map(<[_]>::to_vec);
        let portions: Vec<Vec<(usize, WriteOp)>> = portions.collect();
        let count = portions.len();
        for portion in portions {
            let (entries, ops) = portion.into_iter().unzip();
            self.write(group, ops, then(entries));
        }
        count
    }

    fn wait(&mut self, token: u64, answer: Reply, writes: usize) {
        if writes == 0 {
            self.answer(token, answer);
        } else {
            self.waiting.insert(token, (answer, writes));
        }
    }

    pub(in super::super) fn commit(&mut self, request: &CommitRequest, token: ReplyToken) {
        let has_generation = request.generation >= Generation::ZERO;
        let refusal = match self.groups.get(&request.group) {
            Some(group) => validate_commit(group, request).err(),
            None if !has_generation => None,
            None if request.group_not_found_supported => Some(GroupError::GroupIdNotFound),
            None => Some(GroupError::IllegalGeneration),
        };
        let max = self.config.offset_metadata_max;
        let results: Vec<CommitReply> = request
            .offsets
            .iter()
            .map(|offset| {
                let units = offset
                    .metadata
                    .as_deref()
                    .map_or(0, |text| text.encode_utf16().count());
                let is_too_large = units > max;
                let own = is_too_large.then_some(GroupError::OffsetMetadataTooLarge);
                CommitReply {
                    partition: offset.partition,
                    result: refusal.or(own).map_or(Ok(()), Err),
                }
            })
            .collect();
        if refusal.is_some() {
            self.answer(token.0, Reply::Commit(results));
            return;
        }
        let wall = self.now.wall;
        let mut group = match self.groups.remove(&request.group) {
            Some(group) => group,
            None => Group::new(&request.group, wall),
        };
        if matches!(
            group.state,
            GroupState::Stable | GroupState::PreparingRebalance
        ) {
            self.start_session(&mut group, &request.member);
        }
        let accepted = request
            .offsets
            .iter()
            .enumerate()
            .filter(|(entry, _)| results[*entry].result.is_ok());
        let puts = accepted.map(|(entry, offset)| {
            let expires = request
                .retention_ms
                .map(|ms| TimestampMs::new(wall.get() + ms));
            let committed = CommittedOffset {
                offset: offset.offset,
                leader_epoch: offset.leader_epoch,
                metadata: offset.metadata.clone().unwrap_or_default(),
                commit_timestamp: offset.timestamp.unwrap_or(wall),
                expire_timestamp: expires,
            };
            (
                entry,
                WriteOp::PutOffset(key(&group.id, offset.partition), committed),
            )
        });
        let puts = puts.collect();
        self.write_entries(&mut group, puts, token.0, Reply::Commit(results.clone()));
        self.put_back(group);
    }

    pub(in super::super) fn fetch(&mut self, request: &FetchRequest, token: ReplyToken) {
        let unstable = self.unstable(&request.group);
        let waits = match &request.partitions {
            None => !unstable.is_empty(),
            Some(asked) => asked.iter().any(|at| unstable.contains(at)),
        };
        if request.require_stable && waits {
            let own = self
                .writes
                .iter_mut()
                .rev()
                .find(|write| write.group == request.group);
            let last = own.expect("an offset under way is in a write");
            last.fetches.push((token.0, request.clone()));
        } else {
            let reply = self.fetched(request);
            self.answer(token.0, reply);
        }
    }

    fn fetched(&self, request: &FetchRequest) -> Reply {
        let durable = self.offsets_of(&request.group);
        let asked = match &request.partitions {
            None => durable.keys().copied().collect(),
            Some(asked) => asked.clone(),
        };
        let entries = asked.into_iter().map(|at| FetchedOffset {
            partition: at,
            result: Ok(durable.get(&at).cloned()),
        });
        Reply::Fetch(Ok(entries.collect()))
    }

    pub(in super::super) fn delete_groups(&mut self, ids: &[GroupId], token: ReplyToken) {
        let mut count = 0;
        let mut results = Vec::new();
        for (entry, id) in ids.iter().enumerate() {
            let state = self.groups.get(id).map(|group| group.state);
            let result = match state {
                None | Some(GroupState::Dead) => Err(GroupError::GroupIdNotFound),
                Some(GroupState::Empty) => Ok(()),
                Some(_) => Err(GroupError::NonEmptyGroup),
            };
            if result.is_ok() {
                let mut group = self.groups.remove(id).expect("it is there");
                let answer = Then::Answer {
                    token: token.0,
                    entries: vec![entry],
                };
                count += self.delete(&mut group, &answer);
                self.put_back(group);
            }
            results.push((id.clone(), result));
        }
        self.wait(token.0, Reply::DeleteGroups(results), count);
    }

    /// Deletes an empty group, its record last.
    fn delete(&mut self, group: &mut Group, then: &Then) -> usize {
        let offsets = self.possible(&group.id).into_iter();
        let mut ops: Vec<_> = offsets
            .map(|at| (0, WriteOp::DeleteOffset(key(&group.id, at))))
            .collect();
        if group.is_recorded {
            ops.push((0, WriteOp::DeleteGroup(group.id.clone())));
        }
        group.given_out.clear();
        group.state = GroupState::Dead;
        self.write_portions(group, ops, |_| then.clone())
    }

    pub(in super::super) fn delete_offsets(
        &mut self,
        request: &DeleteOffsetsRequest,
        token: ReplyToken,
    ) {
        let group = self.groups.get(&request.group);
        let refusal = match group.map(|group| (group.state, group.kind.as_deref())) {
            _ if request.group.is_empty() => Some(GroupError::InvalidGroupId),
            None | Some((GroupState::Dead, _)) => Some(GroupError::GroupIdNotFound),
            Some((GroupState::Empty, _) | (_, Some("consumer"))) => None,
            Some(_) => Some(GroupError::NonEmptyGroup),
        };
        if let Some(error) = refusal {
            self.answer(token.0, Reply::DeleteOffsets(Err(error)));
            return;
        }
        let mut group = self.groups.remove(&request.group).expect("it is there");
        let possible = self.possible(&group.id);
        let mut results = Vec::new();
        let mut ops = Vec::new();
        for (entry, offset) in request.offsets.iter().enumerate() {
            let is_used = group.uses(&offset.topic_name);
            if !is_used && possible.contains(&offset.partition) {
                ops.push((
                    entry,
                    WriteOp::DeleteOffset(key(&group.id, offset.partition)),
                ));
            }
            results.push(DeleteOffsetsReply {
                partition: offset.partition,
                result: if is_used {
                    Err(GroupError::GroupSubscribedToTopic)
                } else {
                    Ok(())
                },
            });
        }
        self.write_entries(&mut group, ops, token.0, Reply::DeleteOffsets(Ok(results)));
        self.put_back(group);
    }

    pub(in super::super) fn delete_topic(&mut self, topic: TopicId) {
        for id in self.groups.keys().cloned().collect::<Vec<_>>() {
            let gone = self
                .possible(&id)
                .into_iter()
                .filter(|at| at.topic == topic)
                .collect();
            self.delete_silently(&id, gone);
        }
    }

    fn delete_silently(&mut self, id: &GroupId, partitions: Vec<TopicPartition>) {
        let mut group = self.groups.remove(id).expect("it is there");
        let ops = partitions
            .into_iter()
            .map(|at| (0, WriteOp::DeleteOffset(key(id, at))));
        self.write_portions(&mut group, ops.collect(), |_| Then::Nothing);
        self.put_back(group);
    }

    /// A whole pass of expiry.
    pub(in super::super) fn expire(&mut self, topic_name: &dyn Fn(TopicId) -> String) {
        for id in self.groups.keys().cloned().collect::<Vec<_>>() {
            let group = &self.groups[&id];
            if self.writes_of(&id).next().is_some() || group.is(GroupState::Dead) {
                continue;
            }
            let offsets = self.offsets_of(&id);
            let expired = offsets.iter().filter(|(at, offset)| {
                let is_over = self.is_over(group, offset);
                is_over && !group.uses(&topic_name(at.topic))
            });
            let expired: Vec<TopicPartition> = expired.map(|(at, _)| *at).collect();
            let is_unused = group.is(GroupState::Empty) && group.given_out.is_empty();
            if is_unused && expired.len() == offsets.len() {
                let mut group = self.groups.remove(&id).expect("it is there");
                self.delete(&mut group, &Then::Nothing);
                self.put_back(group);
            } else {
                self.delete_silently(&id, expired);
            }
        }
    }

    /// `OffsetExpirationConditionImpl`, and the times that `ClassicGroup` gives it.
    fn is_over(&self, group: &Group, offset: &CommittedOffset) -> bool {
        let from = match (group.state, &group.kind) {
            (_, None) => offset.commit_timestamp,
            (GroupState::Empty, Some(_)) => group.since,
            (GroupState::Stable, Some(_)) if group.topics.is_some() => offset.commit_timestamp,
            _ => return false,
        };
        match offset.expire_timestamp {
            Some(at) => self.now.wall >= at,
            None => self.now.wall.get() - from.get() >= self.config.offsets_retention_ms as i64,
        }
    }

    /// The oldest write takes effect, or does not.
    pub(in super::super) fn finish(&mut self, outcome: Persisted) {
        let write = self.writes.pop_front().expect("a write is under way");
        let mut group = self
            .groups
            .remove(&write.group)
            .expect("a group is kept while it is written");
        if outcome == Persisted::Done {
            write.ops.iter().for_each(|op| self.store(op));
            group.is_recorded &= !write
                .ops
                .iter()
                .any(|op| matches!(op, WriteOp::DeleteGroup(_)));
        }
        let is_idle = self.writes_of(&group.id).next().is_none();
        let is_left = group.is_recorded || !self.offsets_of(&group.id).is_empty();
        if group.is(GroupState::Dead) && is_idle && is_left {
            // The deletion has failed, in whole or in part.
            group.state = GroupState::Empty;
        }
        match write.then {
            Then::Nothing => {}
            Then::Assign(generation, plan) => {
                self.on_assigned(&mut group, generation, &plan, outcome)
            }
            Then::Replaced(replaced) => self.on_replaced(&mut group, *replaced, outcome),
            Then::Answer { token, entries } => self.on_entries(token, &entries, outcome),
        }
        for (token, request) in write.fetches {
            let reply = self.fetched(&request);
            self.answer(token, reply);
        }
        self.put_back(group);
    }

    fn on_entries(&mut self, token: u64, entries: &[usize], outcome: Persisted) {
        let (mut answer, left) = self.waiting.remove(&token).expect("it waits");
        if outcome == Persisted::Failed {
            fail(&mut answer, entries, GroupError::CoordinatorNotAvailable);
        }
        self.wait(token, answer, left - 1);
    }

    fn store(&mut self, op: &WriteOp) {
        match op {
            WriteOp::PutGroup(group) => {
                self.stored_groups
                    .insert(group.group.clone(), group.clone());
            }
            WriteOp::DeleteGroup(id) => {
                self.stored_groups.remove(id);
            }
            WriteOp::PutOffset(key, offset) => {
                self.stored_offsets.insert(key.clone(), offset.clone());
            }
            WriteOp::DeleteOffset(key) => {
                self.stored_offsets.remove(key);
            }
        }
    }

    /// Writes of different groups that arise in one moment have no order of their own: they take the one
    /// given. Those of one group keep theirs.
    pub(in super::super) fn take_order(&mut self, groups: &[GroupId]) {
        let mut rest = std::mem::take(&mut self.writes);
        for id in groups {
            let next = rest.iter().position(|write| write.group == *id);
            self.writes.extend(next.and_then(|next| rest.remove(next)));
        }
        self.writes.append(&mut rest);
    }

    /// The oldest write takes effect, and nobody learns of it.
    pub(in super::super) fn finish_unseen(&mut self) {
        let write = self.writes.pop_front().expect("a write is under way");
        write.ops.iter().for_each(|op| self.store(op));
    }

    /// The slot is given up: whoever waits is sent elsewhere.
    pub(in super::super) fn unload(&mut self) {
        let error = GroupError::NotCoordinator;
        for mut group in std::mem::take(&mut self.groups).into_values() {
            for (id, member) in &mut group.members {
                self.answer_both(member, error, id);
            }
        }
        for (token, (mut answer, _)) in std::mem::take(&mut self.waiting) {
            let all: Vec<usize> = (0..entries(&answer)).collect();
            fail(&mut answer, &all, error);
            self.answer(token, answer);
        }
        let fetches = self
            .writes
            .iter_mut()
            .flat_map(|write| std::mem::take(&mut write.fetches));
        for (token, _) in fetches.collect::<Vec<_>>() {
            self.answer(token, Reply::Fetch(Err(error)));
        }
    }

    /// Another coordinator takes up what is durable; what was under way is forgotten.
    pub(in super::super) fn restart(&mut self, members_max: usize) {
        self.config.members_max = members_max;
        self.writes.clear();
        self.waiting.clear();
        self.groups.clear();
        for record in self.stored_groups.clone().into_values() {
            let mut group = Group::new(&record.group, record.state_timestamp);
            group.generation = record.generation;
            group.kind = record.protocol_type;
            group.protocol = record.protocol_name;
            group.leader = record.leader;
            group.is_recorded = true;
            for stored in record.members {
                let name = group.protocol.clone().expect("members have a protocol");
                let metadata = stored.metadata;
                let member = Member {
                    instance: stored.instance,
                    client: (stored.client_id, stored.client_host),
                    session_ms: stored.session_timeout_ms,
                    rebalance_ms: stored.rebalance_timeout_ms,
                    protocols: vec![Protocol { name, metadata }],
                    assignment: stored.assignment,
                    join: None,
                    sync: None,
                    is_new: false,
                    session_end: Some(self.after(u64::from(stored.session_timeout_ms))),
                };
                group.members.insert(stored.member, member);
                group.state = GroupState::Stable;
            }
            group.topics = group.subscriptions();
            if group.members.len() > members_max {
                // The bound has been lowered: members get the chance to commit, and the last to come go.
                self.prepare(&mut group);
            }
            self.groups.insert(group.id.clone(), group);
        }
        for key in self.stored_offsets.keys() {
            let wall = self.now.wall;
            let group = self.groups.entry(key.group.clone());
            group.or_insert_with(|| Group::new(&key.group, wall));
        }
    }

    pub(in super::super) fn describe(&self, id: &str) -> Option<GroupDescription> {
        let group = self.groups.get(id)?;
        let protocol = group
            .protocol
            .clone()
            .filter(|_| group.is(GroupState::Stable));
        let members = group.members.iter().map(|(id, member)| MemberDescription {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client.0.clone(),
            client_host: member.client.1.clone(),
            metadata: protocol
                .as_ref()
                .and_then(|name| member.metadata(name))
                .unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        Some(GroupDescription {
            group: group.id.clone(),
            state: group.state,
            generation: group.generation,
            protocol_type: group.kind.clone().unwrap_or_default(),
            members: members.collect(),
            protocol_name: protocol.unwrap_or_default(),
        })
    }

    pub(in super::super) fn list(&self) -> Vec<GroupSummary> {
        let groups = self.groups.values().map(|group| GroupSummary {
            group: group.id.clone(),
            protocol_type: group.kind.clone().unwrap_or_default(),
            state: group.state,
        });
        groups.collect()
    }

    /// Requests without an answer.
    pub(in super::super) fn parked(&self) -> usize {
        let members = self
            .groups
            .values()
            .flat_map(|group| group.members.values());
        let members =
            members.map(|m| usize::from(m.join.is_some()) + usize::from(m.sync.is_some()));
        let fetches = self.writes.iter().map(|write| write.fetches.len());
        members.chain(fetches).sum::<usize>() + self.waiting.len()
    }
}

fn key(group: &GroupId, partition: TopicPartition) -> OffsetKey {
    OffsetKey {
        group: group.clone(),
        partition,
    }
}

/// `ClassicGroup.validateOffsetCommit`.
fn validate_commit(group: &Group, request: &CommitRequest) -> Result<(), GroupError> {
    let has_generation = request.generation >= Generation::ZERO;
    let is_member = has_generation || !request.member.is_empty() || request.instance.is_some();
    if group.is(GroupState::Dead) {
        return Err(GroupError::CoordinatorNotAvailable);
    }
    if !has_generation && group.is(GroupState::Empty) {
        return Ok(());
    }
    if is_member {
        group.validate(&request.member, request.instance.as_ref())?;
        if request.generation != group.generation {
            return Err(GroupError::IllegalGeneration);
        }
    } else if !group.is(GroupState::Empty) {
        return Err(GroupError::UnknownMemberId);
    }
    if group.is(GroupState::CompletingRebalance) {
        return Err(GroupError::RebalanceInProgress);
    }
    Ok(())
}
