//! A reference model of the coordinator: small, slow, and written from Apache Kafka's source
//! (`GroupMetadataManager`, `ClassicGroup`, `OffsetMetadataManager`), not from ours.
//!
//! It keeps no index, no counter and no wake-up time: whatever it needs it looks up in the members
//! and in the writes under way. The time moves by [`Model::wake`], one timer after the other. It
//! shares the types of requests and answers with the coordinator, and nothing else.
//!
//! Where Kafka leaves a choice open, this is the choice: of several members or protocols the first by
//! name; of several timers of one moment ids given out, sessions, the sync phase, the join phase.
//! Where the coordinator is meant to differ from Kafka, the line says `unlike Kafka`:
//! - requests that Kafka leaves without an answer get one;
//! - a group that nothing is kept of is forgotten at once, and not with the next pass of expiry;
//! - a group that is deleted refuses requests until that is durable;
//! - a static member's replacement that a rebalance overtakes is answered by the rebalance; its
//!   session begins with its answer, and it is shown with its own client id and address;
//! - the wait for a first generation is put off for members of this wait, not of one before;
//! - a rebalance that nobody joins waits 100 ms at least.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use segment::{TimestampMs, TopicId, TopicPartition};

use crate::groups::*;

pub(super) struct Model {
    pub(super) config: GroupConfig,
    pub(super) now: Now,
    /// What was answered since it was last taken.
    pub(super) answers: BTreeMap<u64, Reply>,
    pub(super) writes: VecDeque<Write>,
    groups: BTreeMap<GroupId, Group>,
    stored_groups: BTreeMap<GroupId, StoredGroup>,
    stored_offsets: BTreeMap<OffsetKey, CommittedOffset>,
    /// Requests that wait for writes: the answer if all succeed, and how many are left.
    waiting: BTreeMap<u64, (Reply, usize)>,
}

pub(super) struct Write {
    pub(super) ops: Vec<WriteOp>,
    group: GroupId,
    then: Then,
    fetches: Vec<(u64, FetchRequest)>,
}

#[derive(Clone)]
enum Then {
    Nothing,
    Assign(Generation, Vec<MemberAssignment>),
    Replaced(Box<Replaced>),
    Answer { token: u64, entries: Vec<usize> },
}

#[derive(Clone)]
struct Replaced {
    id: MemberId,
    generation: Generation,
    former_id: MemberId,
    former: Member,
    former_leader: Option<MemberId>,
    skips: bool,
}

struct Group {
    id: GroupId,
    state: GroupState,
    /// The rebalance under way began in an empty group.
    is_first: bool,
    since: TimestampMs,
    generation: Generation,
    kind: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    /// Ids given out with MEMBER_ID_REQUIRED, and when they lapse.
    given_out: BTreeMap<MemberId, u64>,
    owe_sync: BTreeSet<MemberId>,
    join_end: Option<JoinEnd>,
    sync_end: Option<u64>,
    more_came: bool,
    /// Topics of the subscriptions; `None` where they are not known.
    topics: Option<BTreeSet<String>>,
    /// There may be a record of it.
    is_recorded: bool,
}

#[derive(Clone, Copy)]
struct JoinEnd {
    at: u64,
    /// First rebalance of a group: this delay, and what is left of the longest wait.
    first: Option<(u64, u64)>,
}

#[derive(Clone)]
struct Member {
    instance: Option<InstanceId>,
    client: (Arc<str>, Arc<str>),
    session_ms: u32,
    rebalance_ms: u32,
    protocols: Vec<Protocol>,
    assignment: Bytes,
    join: Option<u64>,
    sync: Option<u64>,
    is_new: bool,
    session_end: Option<u64>,
}

impl Group {
    fn new(id: &GroupId, wall: TimestampMs) -> Self {
        Self {
            id: id.clone(),
            state: GroupState::Empty,
            is_first: false,
            since: wall,
            generation: Generation::ZERO,
            kind: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            given_out: BTreeMap::new(),
            owe_sync: BTreeSet::new(),
            join_end: None,
            sync_end: None,
            more_came: false,
            topics: None,
            is_recorded: false,
        }
    }

    fn is(&self, state: GroupState) -> bool {
        self.state == state
    }

    fn leads(&self, id: &MemberId) -> bool {
        self.leader.as_ref() == Some(id)
    }

    fn ids(&self) -> Vec<MemberId> {
        self.members.keys().cloned().collect()
    }

    fn static_member(&self, instance: &InstanceId) -> Option<MemberId> {
        let mut members = self.members.iter();
        members
            .find(|(_, member)| member.instance.as_ref() == Some(instance))
            .map(|(id, _)| id.clone())
    }

    fn waiting(&self) -> usize {
        self.members.values().filter(|m| m.join.is_some()).count()
    }

    fn have_all_joined(&self) -> bool {
        self.waiting() == self.members.len() && self.given_out.is_empty()
    }

    fn longest_rebalance(&self) -> u64 {
        let longest = self.members.values().map(|m| m.rebalance_ms).max();
        u64::from(longest.unwrap_or(0))
    }

    fn supports(&self, kind: &str, protocols: &[Protocol]) -> bool {
        let all_have = |name: &str| self.members.values().all(|m| m.metadata(name).is_some());
        let is_shared = protocols.iter().any(|own| all_have(&own.name));
        let fits = self.kind.as_deref() == Some(kind) && is_shared;
        !kind.is_empty() && !protocols.is_empty() && (self.is(GroupState::Empty) || fits)
    }

    /// Each member votes for the first of its protocols that all have.
    fn elect_protocol(&self) -> Arc<str> {
        let mut votes: BTreeMap<Arc<str>, i32> = BTreeMap::new();
        for member in self.members.values() {
            let mut own = member.protocols.iter().map(|own| &own.name);
            let all_have =
                |name: &Arc<str>| self.members.values().all(|m| m.metadata(name).is_some());
            let vote = own
                .find(|name| all_have(name))
                .expect("members share a protocol");
            *votes.entry(vote.clone()).or_default() += 1;
        }
        // The most votes; of several the first by name.
        let mut votes: Vec<_> = votes.into_iter().collect();
        votes.sort_by_key(|(name, count)| (-count, name.clone()));
        votes[0].0.clone()
    }

    fn subscriptions(&self) -> Option<BTreeSet<String>> {
        if self.kind.as_deref() != Some("consumer") {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let metadata = member.metadata(self.protocol.as_deref()?)?;
            topics.extend(read_topics(&metadata)?);
        }
        Some(topics)
    }

    fn uses(&self, topic: &str) -> bool {
        match &self.topics {
            Some(topics) => topics.contains(topic),
            None => self.kind.as_deref() == Some("consumer"),
        }
    }

    fn validate(&self, id: &MemberId, instance: Option<&InstanceId>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.static_member(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(present) if present != *id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        let is_member = self.members.contains_key(id);
        is_member.then_some(()).ok_or(GroupError::UnknownMemberId)
    }

    fn joined(&self, id: &MemberId) -> JoinedGroup {
        let protocol = self.protocol.clone().expect("a generation has a protocol");
        let members = self.members.iter().map(|(id, member)| JoinedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(&protocol).unwrap_or_default(),
        });
        JoinedGroup {
            generation: self.generation,
            protocol_type: self.kind.clone().expect("members have a kind"),
            leader: self.leader.clone().expect("members have a leader"),
            member: id.clone(),
            skip_assignment: false,
            members: if self.leads(id) {
                members.collect()
            } else {
                Vec::new()
            },
            protocol_name: protocol,
        }
    }

    fn synced(&self, id: &MemberId) -> SyncedGroup {
        SyncedGroup {
            protocol_type: self.kind.clone().expect("members have a kind"),
            protocol_name: self.protocol.clone().expect("a generation has a protocol"),
            assignment: self.members[id].assignment.clone(),
        }
    }

    fn record(
        &self,
        since: TimestampMs,
        assignment: impl Fn(&MemberId, &Member) -> Bytes,
    ) -> StoredGroup {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| StoredMember {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client.0.clone(),
            client_host: member.client.1.clone(),
            rebalance_timeout_ms: member.rebalance_ms,
            session_timeout_ms: member.session_ms,
            metadata: member.metadata(&protocol).unwrap_or_default(),
            assignment: assignment(id, member),
        });
        StoredGroup {
            group: self.id.clone(),
            generation: self.generation,
            protocol_type: self.kind.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone(),
            state_timestamp: since,
            members: members.collect(),
        }
    }

    /// The next timer, or the next of those that are due, in the order of one moment.
    fn timers(&self) -> Vec<(u64, Timer)> {
        let given_out = self
            .given_out
            .iter()
            .map(|(id, at)| (*at, Timer::Given(id.clone())));
        let sessions = self.members.iter();
        let sessions =
            sessions.filter_map(|(id, m)| Some((m.session_end?, Timer::Session(id.clone()))));
        let sync = self.sync_end.map(|at| (at, Timer::Sync));
        let join = self.join_end.map(|end| (end.at, Timer::Join(end)));
        given_out.chain(sessions).chain(sync).chain(join).collect()
    }
}

enum Timer {
    Given(MemberId),
    Session(MemberId),
    Sync,
    Join(JoinEnd),
}

impl Member {
    fn new(request: &JoinRequest) -> Self {
        let mut member = Self {
            instance: request.instance.clone(),
            client: (request.client_id.clone(), request.client_host.clone()),
            session_ms: 0,
            rebalance_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            join: None,
            sync: None,
            is_new: false,
            session_end: None,
        };
        member.take_over(request);
        member
    }

    fn take_over(&mut self, request: &JoinRequest) {
        self.session_ms = request.session_timeout_ms as u32;
        self.rebalance_ms = u32::try_from(request.rebalance_timeout_ms).unwrap_or(self.session_ms);
        self.protocols = request.protocols.clone();
    }

    fn metadata(&self, protocol: &str) -> Option<Bytes> {
        let mut own = self.protocols.iter();
        own.find(|own| &*own.name == protocol)
            .map(|own| own.metadata.clone())
    }
}

/// ConsumerProtocolSubscription up to its topics.
fn read_topics(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut take = |count: usize| {
        let (head, rest) = bytes.split_at_checked(count)?;
        bytes = rest;
        Some(head.to_vec())
    };
    let version = i16::from_be_bytes(take(2)?.try_into().ok()?);
    let count = i32::from_be_bytes(take(4)?.try_into().ok()?);
    let mut topics = Vec::new();
    for _ in 0..count {
        let len = u16::from_be_bytes(take(2)?.try_into().ok()?);
        topics.push(String::from_utf8(take(usize::from(len))?).ok()?);
    }
    (version >= 0).then_some(topics)
}

fn refused(error: GroupError, member: &MemberId) -> Reply {
    Reply::Join(Err(JoinRefused {
        error,
        member: member.clone(),
    }))
}

fn nobody() -> MemberId {
    MemberId::from("")
}

/// Turns entries of an answer into errors.
fn fail(answer: &mut Reply, entries: &[usize], error: GroupError) {
    for &entry in entries {
        match answer {
            Reply::Commit(entries) => entries[entry].result = Err(error),
            Reply::DeleteGroups(entries) => entries[entry].1 = Err(error),
            Reply::DeleteOffsets(Ok(entries)) => entries[entry].result = Err(error),
            _ => unreachable!("other requests do not wait for writes"),
        }
    }
}

fn entries(answer: &Reply) -> usize {
    match answer {
        Reply::Commit(entries) => entries.len(),
        Reply::DeleteGroups(entries) => entries.len(),
        Reply::DeleteOffsets(Ok(entries)) => entries.len(),
        _ => 0,
    }
}

mod phases;
mod requests;
mod store;
