//! A coordinator, its store and its clients' answers, driven by hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use segment::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId, TopicPartition};

use crate::groups::*;

/// What is durable, in encoded form.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) groups: BTreeMap<GroupId, Bytes>,
    pub(super) offsets: BTreeMap<OffsetKey, Bytes>,
}

impl Store {
    fn apply(&mut self, write: &GroupWrite) {
        for op in &write.ops {
            match op {
                WriteOp::PutGroup(group) => {
                    let encoded = group.encode();
                    assert_eq!(StoredGroup::decode(encoded.clone()).as_ref(), Ok(group));
                    self.groups.insert(group.group.clone(), encoded);
                }
                WriteOp::DeleteGroup(group) => {
                    self.groups.remove(group);
                }
                WriteOp::PutOffset(key, offset) => {
                    self.offsets.insert(key.clone(), offset.encode());
                }
                WriteOp::DeleteOffset(key) => {
                    self.offsets.remove(key);
                }
            }
        }
    }

    pub(super) fn group(&self, name: &str) -> Option<StoredGroup> {
        self.groups
            .get(name)
            .map(|bytes| StoredGroup::decode(bytes.clone()).unwrap())
    }
}

pub(super) struct World {
    pub(super) coordinator: Coordinator,
    pub(super) config: GroupConfig,
    /// Of every coordinator that is made by a restart.
    pub(super) room: Arc<GroupRoom>,
    pub(super) now_ms: u64,
    pub(super) store: Store,
    pub(super) queue: VecDeque<(WriteId, GroupWrite)>,
    pub(super) replies: BTreeMap<u64, Reply>,
    /// Writes succeed at once.
    pub(super) auto: bool,
    next_token: u64,
    next_random: u128,
}

pub(super) const WALL_START: i64 = 1_700_000_000_000;
pub(super) const SESSION_MS: i32 = 10_000;
pub(super) const REBALANCE_MS: i32 = 60_000;
const GROUP: &str = "g";

pub(super) fn partition(topic: u8, index: i32) -> TopicPartition {
    TopicPartition::new(TopicId::new([topic; 16]), PartitionIndex::new(index))
}

pub(super) fn protocol(name: &str, metadata: &[u8]) -> Protocol {
    Protocol {
        name: Arc::from(name),
        metadata: Bytes::copy_from_slice(metadata),
    }
}

/// A consumer's subscription, version 1.
pub(super) fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut out = vec![0, 1];
    out.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        out.extend((topic.len() as i16).to_be_bytes());
        out.extend(topic.as_bytes());
    }
    out.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    out
}

pub(super) fn join_request(member: &MemberId) -> JoinRequest {
    JoinRequest {
        group: GROUP.into(),
        member: member.clone(),
        instance: None,
        client_id: "client".into(),
        client_host: "/10.0.0.7".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", &subscription(&["t"]))],
        random_bits: 0,
        member_id_required: true,
        skip_assignment_supported: true,
    }
}

pub(super) fn commit_request(member: &MemberId, generation: Generation) -> CommitRequest {
    CommitRequest {
        group: GROUP.into(),
        member: member.clone(),
        instance: None,
        generation,
        retention_ms: None,
        group_not_found_supported: true,
        offsets: Vec::new(),
    }
}

pub(super) fn offset(at: TopicPartition, value: i64) -> CommitOffset {
    CommitOffset {
        partition: at,
        offset: Offset::new(value),
        leader_epoch: LeaderEpoch::new(3),
        metadata: Some("note".into()),
        timestamp: None,
    }
}

pub(super) fn nobody() -> MemberId {
    MemberId::from("")
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(GroupConfig::default())
    }

    pub(super) fn with(config: GroupConfig) -> Self {
        Self {
            coordinator: Coordinator::new(config.clone()),
            room: Arc::default(),
            config,
            now_ms: 1_000,
            store: Store::default(),
            queue: VecDeque::new(),
            replies: BTreeMap::new(),
            auto: true,
            next_token: 0,
            next_random: 1,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now {
            monotonic: Millis::new(self.now_ms),
            wall: TimestampMs::new(WALL_START + self.now_ms as i64),
        }
    }

    pub(super) fn token(&mut self) -> ReplyToken {
        self.next_token += 1;
        ReplyToken(self.next_token)
    }

    /// Takes up effects; writes succeed at once where that is chosen.
    pub(super) fn absorb(&mut self, out: Effects) {
        for effect in out {
            match effect {
                Effect::Reply { token, reply } => {
                    let former = self.replies.insert(token.0, reply);
                    assert!(former.is_none(), "one answer for each request");
                }
                Effect::Persist { id, write } => {
                    assert!(write.ops.len() <= self.config.write_ops_max);
                    self.queue.push_back((id, write));
                }
            }
        }
        self.coordinator.check();
        while self.auto && !self.queue.is_empty() {
            self.finish_write(Persisted::Done);
        }
    }

    pub(super) fn finish_write(&mut self, outcome: Persisted) {
        let (id, write) = self.queue.pop_front().expect("a write is under way");
        if outcome == Persisted::Done {
            self.store.apply(&write);
        }
        let mut out = Effects::new();
        self.coordinator
            .on_persisted(id, outcome, self.now(), &mut out);
        self.absorb(out);
    }

    /// The oldest write takes effect, and the coordinator does not learn of it.
    pub(super) fn finish_unseen(&mut self) {
        let (_, write) = self.queue.pop_front().expect("a write is under way");
        self.store.apply(&write);
    }

    /// Lets time pass; timers run when they are due.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        for _ in 0..100_000 {
            let Some(next) = self
                .coordinator
                .next_deadline()
                .filter(|at| at.get() <= end)
            else {
                self.now_ms = end;
                return;
            };
            self.now_ms = self.now_ms.max(next.get());
            let mut out = Effects::new();
            self.coordinator.on_timer(self.now(), &mut out);
            self.absorb(out);
        }
        panic!("timers make no progress");
    }

    /// A new coordinator takes up what is stored; what was parked is lost.
    pub(super) fn restart(&mut self) {
        self.queue.clear();
        self.coordinator = Coordinator::within(self.config.clone(), self.room.clone());
        let groups = self
            .store
            .groups
            .values()
            .map(|bytes| StoredGroup::decode(bytes.clone()));
        let groups: Vec<StoredGroup> = groups.map(Result::unwrap).collect();
        let offsets = self.store.offsets.iter();
        let offsets: Vec<_> = offsets
            .map(|(key, bytes)| (key.clone(), CommittedOffset::decode(bytes.clone()).unwrap()))
            .collect();
        self.coordinator
            .restore(groups, offsets, self.now())
            .unwrap();
        self.coordinator.check();
    }

    pub(super) fn send_join(&mut self, mut request: JoinRequest) -> u64 {
        request.random_bits = self.next_random << 64 | self.next_random;
        self.next_random += 1;
        let token = self.token();
        let mut out = Effects::new();
        self.coordinator.join(request, token, self.now(), &mut out);
        self.absorb(out);
        token.0
    }

    pub(super) fn answer(&mut self, token: u64) -> Reply {
        self.replies
            .remove(&token)
            .expect("the request is answered")
    }

    pub(super) fn is_parked(&self, token: u64) -> bool {
        !self.replies.contains_key(&token)
    }

    pub(super) fn joined(&mut self, token: u64) -> JoinedGroup {
        match self.answer(token) {
            Reply::Join(Ok(joined)) => joined,
            other => panic!("not joined: {other:?}"),
        }
    }

    pub(super) fn join_error(&mut self, token: u64) -> GroupError {
        match self.answer(token) {
            Reply::Join(Err(refused)) => refused.error,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Both steps of a new dynamic member; its JoinGroup may be parked.
    pub(super) fn enter(&mut self, change: impl Fn(&mut JoinRequest)) -> (MemberId, u64) {
        let mut request = join_request(&nobody());
        change(&mut request);
        let token = self.send_join(request);
        let Reply::Join(Err(refused)) = self.answer(token) else {
            panic!("an id is required")
        };
        assert_eq!(refused.error, GroupError::MemberIdRequired);
        let mut request = join_request(&refused.member);
        change(&mut request);
        let token = self.send_join(request);
        (refused.member, token)
    }

    pub(super) fn rejoin(&mut self, member: &MemberId) -> u64 {
        self.send_join(join_request(member))
    }

    pub(super) fn send_sync(
        &mut self,
        member: &MemberId,
        generation: Generation,
        assignments: &[(&MemberId, &str)],
    ) -> u64 {
        let request = SyncRequest {
            group: GROUP.into(),
            member: member.clone(),
            instance: None,
            generation,
            protocol_type: None,
            protocol_name: None,
            assignments: assignments
                .iter()
                .map(|(member, bytes)| MemberAssignment {
                    member: (*member).clone(),
                    assignment: Bytes::copy_from_slice(bytes.as_bytes()),
                })
                .collect(),
        };
        self.send_sync_request(request)
    }

    pub(super) fn send_sync_request(&mut self, request: SyncRequest) -> u64 {
        let token = self.token();
        let mut out = Effects::new();
        self.coordinator.sync(request, token, self.now(), &mut out);
        self.absorb(out);
        token.0
    }

    pub(super) fn synced(&mut self, token: u64) -> String {
        match self.answer(token) {
            Reply::Sync(Ok(synced)) => String::from_utf8(synced.assignment.to_vec()).unwrap(),
            other => panic!("not synced: {other:?}"),
        }
    }

    pub(super) fn sync_error(&mut self, token: u64) -> GroupError {
        match self.answer(token) {
            Reply::Sync(Err(error)) => error,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        member: &MemberId,
        generation: Generation,
    ) -> Result<(), GroupError> {
        self.heartbeat_as(member, None, generation)
    }

    pub(super) fn heartbeat_as(
        &mut self,
        member: &MemberId,
        instance: Option<&str>,
        generation: Generation,
    ) -> Result<(), GroupError> {
        let request = HeartbeatRequest {
            group: GROUP.into(),
            member: member.clone(),
            instance: instance.map(InstanceId::from),
            generation,
        };
        let token = self.token();
        let mut out = Effects::new();
        self.coordinator
            .heartbeat(request, token, self.now(), &mut out);
        self.absorb(out);
        match self.answer(token.0) {
            Reply::Heartbeat(result) => result,
            other => panic!("not a heartbeat: {other:?}"),
        }
    }

    pub(super) fn leave(
        &mut self,
        members: &[(&MemberId, Option<&str>)],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let members = members.iter().map(|(member, instance)| LeaveMember {
            member: (*member).clone(),
            instance: instance.map(InstanceId::from),
            reason: None,
        });
        let request = LeaveRequest {
            group: GROUP.into(),
            members: members.collect(),
        };
        let token = self.token();
        let mut out = Effects::new();
        self.coordinator.leave(request, token, self.now(), &mut out);
        self.absorb(out);
        match self.answer(token.0) {
            Reply::Leave(result) => {
                result.map(|all| all.into_iter().map(|entry| entry.result).collect())
            }
            other => panic!("not a leave: {other:?}"),
        }
    }

    pub(super) fn send_commit(&mut self, request: CommitRequest) -> u64 {
        let token = self.token();
        let mut out = Effects::new();
        self.coordinator
            .commit(request, token, self.now(), &mut out);
        self.absorb(out);
        token.0
    }

    pub(super) fn committed(&mut self, token: u64) -> Vec<Result<(), GroupError>> {
        match self.answer(token) {
            Reply::Commit(entries) => entries.into_iter().map(|entry| entry.result).collect(),
            other => panic!("not a commit: {other:?}"),
        }
    }

    /// Commits one offset and gives the result, which must be there at once.
    pub(super) fn commit(
        &mut self,
        member: &MemberId,
        generation: Generation,
        at: TopicPartition,
        value: i64,
    ) -> Result<(), GroupError> {
        let mut request = commit_request(member, generation);
        request.offsets = vec![offset(at, value)];
        let token = self.send_commit(request);
        self.committed(token)[0]
    }

    pub(super) fn send_fetch(
        &mut self,
        partitions: Option<Vec<TopicPartition>>,
        require_stable: bool,
    ) -> u64 {
        let token = self.token();
        let request = FetchRequest {
            group: GROUP.into(),
            partitions,
            require_stable,
        };
        let mut out = Effects::new();
        self.coordinator.fetch_offsets(request, token, &mut out);
        self.absorb(out);
        token.0
    }

    /// The committed offset as Kafka shows it: -1 for none.
    pub(super) fn fetch(&mut self, at: TopicPartition) -> i64 {
        let token = self.send_fetch(Some(vec![at]), false);
        let Reply::Fetch(Ok(entries)) = self.answer(token) else {
            panic!("not fetched")
        };
        assert_eq!(entries.len(), 1);
        entries[0]
            .result
            .clone()
            .unwrap()
            .map_or(-1, |committed| committed.offset.get())
    }

    pub(super) fn delete_groups(&mut self, names: &[&str]) -> u64 {
        let token = self.token();
        let mut out = Effects::new();
        let groups = names.iter().map(|name| GroupId::from(*name)).collect();
        self.coordinator
            .delete_groups(groups, token, self.now(), &mut out);
        self.absorb(out);
        token.0
    }

    pub(super) fn deleted(&mut self, token: u64) -> Vec<Result<(), GroupError>> {
        match self.answer(token) {
            Reply::DeleteGroups(entries) => entries.into_iter().map(|entry| entry.1).collect(),
            other => panic!("not a deletion: {other:?}"),
        }
    }

    pub(super) fn expire(&mut self) {
        for _ in 0..10_000 {
            let mut out = Effects::new();
            let name = |id: TopicId| (id.get()[0] < 100).then(|| Arc::from(topic_name(id)));
            let is_complete = self.coordinator.expire_offsets(&name, self.now(), &mut out);
            self.absorb(out);
            if is_complete {
                return;
            }
        }
        panic!("expiry makes no progress");
    }

    pub(super) fn state(&self) -> Option<GroupState> {
        self.coordinator.describe(GROUP).map(|group| group.state)
    }

    pub(super) fn generation(&self) -> Generation {
        self.coordinator.describe(GROUP).unwrap().generation
    }

    /// A stable group of `count` dynamic members, the leader first.
    pub(super) fn stable(&mut self, count: usize) -> (Vec<MemberId>, Generation) {
        let entered: Vec<_> = (0..count).map(|_| self.enter(|_| {})).collect();
        self.pass(1_000);
        let mut members: Vec<MemberId> = entered.iter().map(|(id, _)| id.clone()).collect();
        let joined: Vec<JoinedGroup> = entered
            .iter()
            .map(|(_, token)| self.joined(*token))
            .collect();
        let generation = joined[0].generation;
        let leader = joined[0].leader.clone();
        members.sort_by_key(|id| *id != leader);
        let names: Vec<String> = (0..count).map(|index| format!("a{index}")).collect();
        let plan: Vec<_> = members
            .iter()
            .zip(names.iter().map(String::as_str))
            .collect();
        let tokens: Vec<u64> = members
            .iter()
            .map(|id| self.send_sync(id, generation, if *id == leader { &plan } else { &[] }))
            .collect();
        for (token, name) in tokens.into_iter().zip(&names) {
            assert_eq!(self.synced(token), *name);
        }
        assert_eq!(self.state(), Some(GroupState::Stable));
        (members, generation)
    }
}

/// Topics are named after the first byte of their id: 1 is `t`, others `t2`, `t3`, ...
pub(super) fn topic_name(id: TopicId) -> String {
    match id.get()[0] {
        1 => "t".to_owned(),
        other => format!("t{other}"),
    }
}
