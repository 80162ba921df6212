//! Members of consumer groups: they join, share the partitions out, commit, leave, vanish and come back.
//!
//! A group commits offsets of one topic. What is checked: a partition has one owner in a generation, no commit of
//! a generation is accepted after a later one is known to have begun, and what is read back is what was committed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use check::{At, Event, Generation, Partition};
use wire::messages::join_group::JoinGroupRequestProtocol;
use wire::messages::leave_group::MemberIdentity;
use wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch::OffsetFetchRequestTopic;
use wire::messages::sync_group::SyncGroupRequestAssignment;
use wire::messages::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use wire::{ErrorCode, decode_response};

use super::connection::Connection;
use super::scene::{SMALL_TIMEOUT, Scene};
use crate::clock::sleep;
use crate::fault::Fault;
use crate::random::Random;
use crate::trace::{self, trace};

const FIND_COORDINATOR: i16 = 2;
const JOIN_GROUP: i16 = 5;
const SYNC_GROUP: i16 = 3;
const HEARTBEAT: i16 = 3;
const LEAVE_GROUP: i16 = 3;
const OFFSET_COMMIT: i16 = 7;
const OFFSET_FETCH: i16 = 6;
const SESSION_TIMEOUT_MS: i32 = 3_000;
const REBALANCE_TIMEOUT_MS: i32 = 3_000;
const JOIN_WAIT: Duration = Duration::from_secs(12);

/// What all members of a group know together: the checker's side of it.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) topic: usize,
    book: RefCell<Book>,
    /// The highest acknowledged commit of each partition.
    settled: RefCell<BTreeMap<i32, i64>>,
}

#[derive(Default)]
struct Book {
    /// The newest generation in which somebody was given an assignment.
    generation: i32,
    owners: BTreeMap<(i32, i32), String>,
    /// Offsets that are being or were committed, by partition: rising, so that the checker can order them.
    next: BTreeMap<i32, i64>,
    commits: u64,
    /// Generations in which the outcome of a commit of a partition is unknown: it may still take effect, after
    /// later ones of that generation.
    doubts: BTreeMap<i32, i32>,
}

impl Group {
    pub(crate) fn new(name: String, topic: usize) -> Rc<Self> {
        Rc::new(Self {
            name,
            topic,
            book: RefCell::default(),
            settled: RefCell::default(),
        })
    }

    /// Commits that were acknowledged.
    pub(crate) fn commits(&self) -> u64 {
        self.book.borrow().commits
    }
}

/// A member.
pub(crate) struct Member {
    scene: Rc<Scene>,
    group: Rc<Group>,
    name: String,
    random: Random,
    flaps: bool,
    id: String,
    connection: Option<Rc<Connection>>,
    /// What it was given before.
    before: Option<Share>,
}

/// What a member was given.
#[derive(Clone)]
struct Share {
    generation: i32,
    partitions: Vec<i32>,
}

impl Member {
    pub(crate) fn new(
        scene: Rc<Scene>,
        group: Rc<Group>,
        number: u32,
        flaps: bool,
        seed: u64,
    ) -> Self {
        let name = format!("member/{}.{number}", group.name);
        Self {
            random: Random::of(seed, &name),
            scene,
            group,
            name,
            flaps,
            id: String::new(),
            connection: None,
            before: None,
        }
    }

    /// Is a member until the run is over.
    pub(crate) async fn run(mut self) {
        while !self.scene.is_over() {
            match self.join().await {
                Some(share) => {
                    self.commit_late(&share).await;
                    self.before = Some(share.clone());
                    self.live(share).await;
                }
                None => {
                    sleep(self.random.millis(20..300)).await;
                }
            }
        }
    }

    async fn coordinator(&mut self) -> Option<Rc<Connection>> {
        if let Some(open) = &self.connection
            && !open.is_over()
        {
            return Some(open.clone());
        }
        let asked = self.random.index(self.scene.brokers);
        let connection = Connection::open(&self.scene.network, asked).await.ok()?;
        let request = FindCoordinatorRequest {
            key: &self.group.name,
            ..FindCoordinatorRequest::default()
        };
        let body = connection
            .call(&request, FIND_COORDINATOR, SMALL_TIMEOUT)
            .await
            .ok()?;
        let (_, response) =
            decode_response::<FindCoordinatorRequest<'_>>(&body, FIND_COORDINATOR).ok()?;
        if !response.error_code.is_none() {
            return None;
        }
        let broker = usize::try_from(response.node_id).ok()?;
        let opened = Connection::open(&self.scene.network, broker).await.ok()?;
        self.connection = Some(opened.clone());
        Some(opened)
    }

    async fn join(&mut self) -> Option<Share> {
        let connection = self.coordinator().await?;
        let (mut generation, mut leader, mut members) = (-1, String::new(), Vec::new());
        // A first join is told its id, and sent again.
        for _ in 0..2 {
            let (group, id) = (self.group.clone(), self.id.clone());
            let request = JoinGroupRequest {
                group_id: &group.name,
                session_timeout_ms: SESSION_TIMEOUT_MS,
                rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
                member_id: &id,
                protocol_type: "consumer",
                protocols: vec![JoinGroupRequestProtocol {
                    name: "range",
                    metadata: b"",
                }],
                ..JoinGroupRequest::default()
            };
            let Ok(body) = connection.call(&request, JOIN_GROUP, JOIN_WAIT).await else {
                self.connection = None;
                return None;
            };
            let (_, response) = decode_response::<JoinGroupRequest<'_>>(&body, JOIN_GROUP).ok()?;
            self.id = response.member_id.to_owned();
            match response.error_code {
                ErrorCode::NONE => {
                    generation = response.generation_id;
                    leader = response.leader.to_owned();
                    let ids = response
                        .members
                        .iter()
                        .map(|member| member.member_id.to_owned());
                    members = ids.collect();
                    break;
                }
                ErrorCode::MEMBER_ID_REQUIRED => {}
                code => {
                    self.failed(code);
                    return None;
                }
            }
        }
        if generation < 0 {
            return None;
        }
        self.sync(&connection, generation, &leader, &members).await
    }

    async fn sync(
        &mut self,
        connection: &Rc<Connection>,
        generation: i32,
        leader: &str,
        members: &[String],
    ) -> Option<Share> {
        let partitions = self.scene.topics[self.group.topic].partitions;
        let mut shares: Vec<(String, Vec<u8>)> =
            members.iter().map(|id| (id.clone(), Vec::new())).collect();
        if leader == self.id && !shares.is_empty() {
            for partition in 0..partitions {
                let at = partition as usize % shares.len();
                shares[at].1.extend(partition.to_be_bytes());
            }
        }
        let (group, id) = (self.group.clone(), self.id.clone());
        let assignments = shares.iter().filter(|_| leader == self.id);
        let request = SyncGroupRequest {
            group_id: &group.name,
            generation_id: generation,
            member_id: &id,
            assignments: assignments
                .map(|(id, share)| SyncGroupRequestAssignment {
                    member_id: id,
                    assignment: share,
                })
                .collect(),
            ..SyncGroupRequest::default()
        };
        let Ok(body) = connection.call(&request, SYNC_GROUP, JOIN_WAIT).await else {
            self.connection = None;
            return None;
        };
        let (_, response) = decode_response::<SyncGroupRequest<'_>>(&body, SYNC_GROUP).ok()?;
        if !response.error_code.is_none() {
            self.failed(response.error_code);
            return None;
        }
        let given = response.assignment.chunks_exact(4);
        let partitions: Vec<i32> = given
            .filter_map(|bytes| {
                bytes
                    .first_chunk::<4>()
                    .map(|bytes| i32::from_be_bytes(*bytes))
            })
            .collect();
        trace!(self.name, "generation {generation}: {partitions:?}");
        self.note(generation, &partitions);
        Some(Share {
            generation,
            partitions,
        })
    }

    /// Checks what was given against what others were given.
    fn note(&self, generation: i32, partitions: &[i32]) {
        let mut book = self.group.book.borrow_mut();
        book.generation = book.generation.max(generation);
        for partition in partitions {
            let key = (generation, *partition);
            let owner = book.owners.entry(key).or_insert_with(|| self.id.clone());
            if *owner != self.id {
                self.scene.violation(format!(
                    "{}: partition {partition} has two owners in generation {generation}",
                    self.name
                ));
            }
        }
    }

    fn failed(&mut self, code: ErrorCode) {
        trace!(self.name, "{code:?}");
        match code {
            ErrorCode::UNKNOWN_MEMBER_ID => self.id.clear(),
            ErrorCode::NOT_COORDINATOR
            | ErrorCode::COORDINATOR_NOT_AVAILABLE
            | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => self.connection = None,
            _ => {}
        }
    }

    /// A commit of the generation before arrives when the next one has begun: the member is known, its generation
    /// is over.
    async fn commit_late(&mut self, share: &Share) {
        let Some(before) = self.before.take() else {
            return;
        };
        let is_over = before.generation < share.generation;
        if !is_over || !self.flaps || !self.scene.is_faulty() || !self.random.one_in(2) {
            return;
        }
        if let Some(partition) = before.partitions.first() {
            trace::fault(Fault::MemberCommitsLate);
            trace!(self.name, "commits for generation {}", before.generation);
            self.commit(&before, *partition).await;
        }
    }

    /// Owns its share until the group rebalances, it fails, or it has had enough.
    async fn live(&mut self, share: Share) {
        for partition in &share.partitions {
            self.read_committed(*partition).await;
        }
        let turns = self.random.within(2..30);
        for turn in 0.. {
            sleep(self.random.millis(100..900)).await;
            if self.scene.is_over() {
                return;
            }
            if self.flaps && self.scene.is_faulty() && turn >= turns {
                return self.go_away(share).await;
            }
            if let Some(partition) = share.partitions.first() {
                let at = self.random.index(share.partitions.len());
                let partition = share.partitions.get(at).unwrap_or(partition);
                if !self.commit(&share, *partition).await {
                    return;
                }
            }
            if !self.heartbeat(share.generation).await {
                return;
            }
        }
    }

    async fn go_away(&mut self, share: Share) {
        match self.random.below(3) {
            0 => {
                trace::fault(Fault::MemberVanishes);
                trace!(self.name, "vanishes");
                self.connection = None;
                self.id.clear();
                sleep(self.random.millis(500..8_000)).await;
            }
            1 => {
                trace::fault(Fault::MemberFlaps);
                self.leave().await;
                self.id.clear();
                sleep(self.random.millis(0..1_000)).await;
            }
            _ => {
                trace::fault(Fault::MemberCommitsLate);
                trace!(self.name, "stands still, and commits late");
                sleep(self.random.millis(3_500..12_000)).await;
                if let Some(partition) = share.partitions.first() {
                    self.commit(&share, *partition).await;
                }
            }
        }
    }

    async fn heartbeat(&mut self, generation: i32) -> bool {
        let Some(connection) = self.coordinator().await else {
            return true;
        };
        let (group, id) = (self.group.clone(), self.id.clone());
        let request = HeartbeatRequest {
            group_id: &group.name,
            generation_id: generation,
            member_id: &id,
            ..HeartbeatRequest::default()
        };
        let Ok(body) = connection.call(&request, HEARTBEAT, SMALL_TIMEOUT).await else {
            self.connection = None;
            return true;
        };
        let Ok((_, response)) = decode_response::<HeartbeatRequest<'_>>(&body, HEARTBEAT) else {
            return false;
        };
        if !response.error_code.is_none() {
            self.failed(response.error_code);
        }
        let stays = matches!(
            response.error_code,
            ErrorCode::NONE
                | ErrorCode::NOT_COORDINATOR
                | ErrorCode::COORDINATOR_NOT_AVAILABLE
                | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        );
        stays
    }

    async fn leave(&mut self) {
        let Some(connection) = self.coordinator().await else {
            return;
        };
        let (group, id) = (self.group.clone(), self.id.clone());
        let request = LeaveGroupRequest {
            group_id: &group.name,
            members: vec![MemberIdentity {
                member_id: &id,
                ..MemberIdentity::default()
            }],
            ..LeaveGroupRequest::default()
        };
        trace!(self.name, "leaves");
        drop(connection.call(&request, LEAVE_GROUP, SMALL_TIMEOUT).await);
    }

    /// Commits the next offset of a partition; whether the member may go on.
    async fn commit(&mut self, share: &Share, partition: i32) -> bool {
        let Some(connection) = self.coordinator().await else {
            return true;
        };
        let (offset, newest) = {
            let mut book = self.group.book.borrow_mut();
            let next = book.next.entry(partition).or_default();
            *next += 1;
            (*next, book.generation)
        };
        let is_of_today = share.generation >= newest;
        self.record(
            share.generation,
            partition,
            |group, generation, partition, at| Event::Committing {
                group,
                generation,
                partition,
                offset,
                at,
            },
        );
        let (group, id, scene) = (self.group.clone(), self.id.clone(), self.scene.clone());
        let request = OffsetCommitRequest {
            group_id: &group.name,
            generation_id_or_member_epoch: share.generation,
            member_id: &id,
            topics: vec![OffsetCommitRequestTopic {
                name: &scene.topics[self.group.topic].name,
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: partition,
                    committed_offset: offset,
                    ..OffsetCommitRequestPartition::default()
                }],
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        };
        let Ok(body) = connection
            .call(&request, OFFSET_COMMIT, SMALL_TIMEOUT)
            .await
        else {
            self.connection = None;
            let mut book = self.group.book.borrow_mut();
            let doubt = book.doubts.entry(partition).or_insert(share.generation);
            *doubt = (*doubt).max(share.generation);
            return true;
        };
        let decoded = decode_response::<OffsetCommitRequest<'_>>(&body, OFFSET_COMMIT);
        let code = decoded.ok().and_then(|(_, response)| {
            let mut all = response.topics.iter().flat_map(|topic| &topic.partitions);
            all.next().map(|part| part.error_code)
        });
        let Some(code) = code else { return false };
        if !code.is_none() {
            self.failed(code);
            return !matches!(
                code,
                ErrorCode::ILLEGAL_GENERATION
                    | ErrorCode::UNKNOWN_MEMBER_ID
                    | ErrorCode::REBALANCE_IN_PROGRESS
            );
        }
        if !is_of_today {
            self.scene.violation(format!(
                "{}: a commit of generation {} is accepted, generation {newest} had begun before it was sent",
                self.name, share.generation
            ));
        }
        trace!(self.name, "commits {partition} at {offset}");
        let mut book = self.group.book.borrow_mut();
        book.commits += 1;
        if book.doubts.get(&partition) == Some(&share.generation) {
            return true;
        }
        self.record(
            share.generation,
            partition,
            |group, generation, partition, at| Event::Committed {
                group,
                generation,
                partition,
                offset,
                at,
            },
        );
        let mut settled = self.group.settled.borrow_mut();
        let before = settled.entry(partition).or_insert(-1);
        *before = (*before).max(offset);
        true
    }

    /// Reads what is committed for a partition.
    async fn read_committed(&mut self, partition: i32) {
        let Some(connection) = self.coordinator().await else {
            return;
        };
        let (group, scene) = (self.group.clone(), self.scene.clone());
        let floor = self.settled(partition);
        let began = scene.now();
        let request = OffsetFetchRequest {
            group_id: &group.name,
            topics: Some(vec![OffsetFetchRequestTopic {
                name: &scene.topics[self.group.topic].name,
                partition_indexes: vec![partition],
            }]),
            ..OffsetFetchRequest::default()
        };
        let Ok(body) = connection.call(&request, OFFSET_FETCH, SMALL_TIMEOUT).await else {
            self.connection = None;
            return;
        };
        let decoded = decode_response::<OffsetFetchRequest<'_>>(&body, OFFSET_FETCH);
        let Ok((_, response)) = decoded else { return };
        let part = response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .next();
        let Some(part) = part.filter(|part| part.error_code.is_none()) else {
            self.failed(response.error_code);
            return;
        };
        if !response.error_code.is_none() {
            return self.failed(response.error_code);
        }
        let found = part.committed_offset;
        trace!(self.name, "reads {found} as committed of {partition}");
        if !self.is_in_doubt(partition) {
            self.record(Generation::NONE.0, partition, |group, _, partition, at| {
                Event::CommittedRead {
                    group,
                    partition,
                    offset: (found >= 0).then_some(found),
                    began,
                    at,
                }
            });
        }
        let begun = self
            .group
            .book
            .borrow()
            .next
            .get(&partition)
            .copied()
            .unwrap_or(0);
        if found < floor || found > begun {
            self.scene.violation(format!(
                "{}: partition {partition}: {found} is committed, {floor} had been acknowledged and {begun} begun",
                self.name
            ));
        }
    }

    /// Whether a commit of the newest generation may yet take effect, after those that were acknowledged since.
    fn is_in_doubt(&self, partition: i32) -> bool {
        let book = self.group.book.borrow();
        let doubt = book.doubts.get(&partition);
        doubt.is_some_and(|generation| *generation >= book.generation)
    }

    fn record(
        &self,
        generation: i32,
        partition: i32,
        event: impl FnOnce(check::Group, Generation, Partition, At) -> Event,
    ) {
        let (generation, partition) = (Generation(generation), Partition(partition));
        let event = event(check::Group(0), generation, partition, self.scene.now());
        self.scene.record(self.group.topic, event);
    }

    /// The last commit of a partition that is known to have been acknowledged; -1 for none.
    fn settled(&self, partition: i32) -> i64 {
        self.group
            .settled
            .borrow()
            .get(&partition)
            .copied()
            .unwrap_or(-1)
    }
}
