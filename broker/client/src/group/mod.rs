//! [`GroupConsumer`]: reads topics as a member of a group, with the classic group protocol.
//!
//! The member joins, the leader among the members shares the partitions out, everyone is told its
//! share. A thread of its own sends heartbeats, so that a member whose caller is busy stays in the
//! group, as long as the caller comes back within the rebalance time. When the group rebalances,
//! offsets that were marked are committed first, then the member joins again.

mod assignor;
mod heartbeat;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segment::Offset;
use wire::messages::consumer_protocol::ConsumerProtocolSubscription;
use wire::messages::join_group::JoinGroupRequestProtocol;
use wire::messages::leave_group::MemberIdentity;
use wire::messages::sync_group::SyncGroupRequestAssignment;
use wire::messages::{JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest};
use wire::{ApiKey, ErrorCode};

use crate::admin::millis;
use crate::consumer::{Fetched, Fetcher, FetcherSettings, OffsetReset};
use crate::error::ClientError;
use crate::groups::{Committer, assignment};
use crate::metadata::TopicPartition;
use crate::offsets::OffsetSpec;
use crate::router::Client;
use assignor::{ASSIGNORS, Member, assign};
use heartbeat::{Beat, Heartbeat};

/// What consumers call their protocol.
const PROTOCOL_TYPE: &str = "consumer";
/// Version of the subscription and assignment blobs that is written.
const BLOB_VERSION: i16 = 1;
/// First version of LeaveGroup with a list of members.
const LEAVE_MEMBERS_FROM: i16 = 3;
/// Time that the answer to a join may take beyond the rebalance time.
const JOIN_SLACK: Duration = Duration::from_secs(10);
/// Most attempts to join in a row; each may wait for the whole rebalance time.
const JOIN_ATTEMPTS_MAX: u32 = 100;

/// How a member takes part in its group.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// Name of the group.
    pub group: String,
    /// Topics to read.
    pub topics: Vec<String>,
    /// A name of the member's own, which keeps its share over a restart (KIP-345).
    pub instance_id: Option<String>,
    /// Time without heartbeats after which the group gives the member up.
    pub session_timeout: Duration,
    /// Time that a member has to come back to `poll`, and to join again.
    pub rebalance_timeout: Duration,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// Time between commits of what is marked.
    pub commit_interval: Duration,
    /// Where to begin in a partition without a committed offset.
    pub reset: OffsetReset,
    /// How partitions are read.
    pub fetch: FetcherSettings,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            group: String::new(),
            topics: Vec::new(),
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_secs(300),
            heartbeat_interval: Duration::from_secs(3),
            commit_interval: Duration::from_secs(5),
            reset: OffsetReset::Latest,
            fetch: FetcherSettings::default(),
        }
    }
}

/// A member's place in its group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Membership {
    member_id: String,
    generation: i32,
    coordinator: i32,
}

/// A member of a group. Leaves the group when it is closed; one that is dropped is given up by the
/// group after the session time.
#[derive(Debug)]
pub struct GroupConsumer {
    client: Client,
    settings: GroupSettings,
    fetcher: Fetcher,
    membership: Membership,
    joined: bool,
    heartbeat: Option<Heartbeat>,
    marked: BTreeMap<TopicPartition, Offset>,
    committed_at: Instant,
    /// Counts the assignments, so that a caller can tell a new one.
    assignments: u64,
}

impl GroupConsumer {
    /// A member that joins with its first `poll`.
    ///
    /// # Errors
    /// No group or no topics are named, or a topic does not exist.
    pub fn new(mut client: Client, settings: GroupSettings) -> Result<Self, ClientError> {
        if settings.group.is_empty() || settings.topics.is_empty() {
            let text = "a group consumer needs the name of a group and at least one topic";
            return Err(ClientError::Usage(text.to_owned()));
        }
        for topic in &settings.topics {
            client.topic(topic)?;
        }
        let mut fetch = settings.fetch.clone();
        fetch.reset = settings.reset;
        Ok(Self {
            client,
            fetcher: Fetcher::new(fetch),
            settings,
            membership: Membership::default(),
            joined: false,
            heartbeat: None,
            marked: BTreeMap::new(),
            committed_at: Instant::now(),
            assignments: 0,
        })
    }

    /// The client, for questions beside the group's work.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The partitions that the member reads, with the next offset that `poll` has not given yet.
    pub fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.fetcher.positions()
    }

    /// How many assignments the member has had; 0 until it has joined.
    pub fn assignments(&self) -> u64 {
        self.assignments
    }

    /// Joins or rejoins where that is due, and gives the next records that arrive; none if nothing
    /// came in `wait`.
    ///
    /// # Errors
    /// The group cannot be joined, or records cannot be fetched.
    pub fn poll(&mut self, wait: Duration) -> Result<Option<Fetched>, ClientError> {
        self.listen()?;
        if !self.joined {
            self.join()?;
        }
        if self.committed_at.elapsed() >= self.settings.commit_interval {
            self.commit_or_rejoin()?;
        }
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.polled();
        }
        self.fetcher.poll(&mut self.client, wait)
    }

    /// Notes that everything before `next` has been dealt with, to be committed by and by.
    pub fn mark(&mut self, partition: &TopicPartition, next: Offset) {
        self.marked.insert(partition.clone(), next);
    }

    /// Commits what is marked, now.
    ///
    /// # Errors
    /// The group does not take it: another member may have the partitions by now.
    pub fn commit(&mut self) -> Result<(), ClientError> {
        self.committed_at = Instant::now();
        if self.marked.is_empty() {
            return Ok(());
        }
        let (marked, membership) = (self.marked.clone(), self.membership.clone());
        let (group, instance_id) = (
            self.settings.group.clone(),
            self.settings.instance_id.clone(),
        );
        let committer = Committer {
            group: &group,
            generation: membership.generation,
            member_id: &membership.member_id,
            instance_id: instance_id.as_deref(),
        };
        self.client.retry("commit offsets", |client| {
            let coordinator = client.coordinator(&group)?;
            client.commit_at(coordinator, &committer, &marked)
        })?;
        self.marked.clear();
        Ok(())
    }

    /// Commits what is marked and leaves the group.
    ///
    /// # Errors
    /// The commit fails. Leaving is an offer: whether it worked does not matter.
    pub fn close(mut self) -> Result<(), ClientError> {
        self.heartbeat = None;
        if !self.joined {
            return Ok(());
        }
        let committed = self.commit();
        // A static member keeps its place (KIP-345).
        if self.settings.instance_id.is_none() {
            let _ = self.leave();
        }
        committed
    }

    fn leave(&mut self) -> Result<(), ClientError> {
        let coordinator = self.membership.coordinator;
        let version = self.client.version(coordinator, ApiKey::LeaveGroup)?;
        let many = version >= LEAVE_MEMBERS_FROM;
        let member_id = self.membership.member_id.clone();
        let reason = Some("the consumer is being closed");
        let identity = MemberIdentity {
            member_id: &member_id,
            group_instance_id: None,
            reason,
        };
        let request = LeaveGroupRequest {
            group_id: &self.settings.group,
            member_id: if many { "" } else { &member_id },
            members: if many { vec![identity] } else { Vec::new() },
        };
        self.client.call(coordinator, &request).map(drop)
    }

    /// Takes note of what the heartbeats have found out.
    fn listen(&mut self) -> Result<(), ClientError> {
        let Some(heartbeat) = &self.heartbeat else {
            return Ok(());
        };
        match heartbeat.state() {
            Beat::Alive => return Ok(()),
            // The group goes on without this generation; what was done in it can be committed.
            Beat::Rebalance => self.commit_or_forget(),
            Beat::Fenced(ErrorCode::FENCED_INSTANCE_ID) => {
                return Err(self.refused("stay in", ErrorCode::FENCED_INSTANCE_ID));
            }
            Beat::Fenced(ErrorCode::ILLEGAL_GENERATION) => self.marked.clear(),
            Beat::Fenced(_) => {
                self.marked.clear();
                self.membership.member_id.clear();
            }
            // The coordinator is gone or has moved: joining again finds it.
            Beat::Lost => self.commit_or_forget(),
        }
        self.heartbeat = None;
        self.joined = false;
        Ok(())
    }

    fn commit_or_forget(&mut self) {
        // A refusal means that another member has the partitions and reads from the last commit.
        if self.commit().is_err() {
            self.marked.clear();
        }
    }

    fn commit_or_rejoin(&mut self) -> Result<(), ClientError> {
        match self.commit() {
            Ok(()) => Ok(()),
            Err(error) => match error.code() {
                // Taken up again when the group has settled.
                Some(ErrorCode::REBALANCE_IN_PROGRESS) => Ok(()),
                Some(ErrorCode::ILLEGAL_GENERATION | ErrorCode::UNKNOWN_MEMBER_ID) => {
                    self.marked.clear();
                    self.heartbeat = None;
                    self.joined = false;
                    self.join()
                }
                _ => Err(error),
            },
        }
    }

    /// Joins until the group has settled with this member in it.
    fn join(&mut self) -> Result<(), ClientError> {
        for _ in 0..JOIN_ATTEMPTS_MAX {
            let group = self.settings.group.clone();
            self.membership.coordinator = self
                .client
                .retry("find coordinator", |client| client.coordinator(&group))?;
            let begun = match self.join_once() {
                Ok(Some(assigned)) => self.begin(&assigned),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match begun {
                Ok(()) => return Ok(()),
                Err(error) => self.after_failed_join(error)?,
            }
        }
        Err(self.refused("join", ErrorCode::REBALANCE_IN_PROGRESS))
    }

    /// Whether another attempt may succeed.
    fn after_failed_join(&mut self, error: ClientError) -> Result<(), ClientError> {
        let wait = self.client.settings().wait_before(2);
        match error.code() {
            Some(ErrorCode::UNKNOWN_MEMBER_ID) => self.membership.member_id.clear(),
            Some(ErrorCode::ILLEGAL_GENERATION | ErrorCode::REBALANCE_IN_PROGRESS) => (),
            _ if error.is_retriable() => std::thread::sleep(wait),
            _ => return Err(error),
        }
        Ok(())
    }

    /// One round of join and sync. None where the group wants another one at once.
    fn join_once(&mut self) -> Result<Option<Vec<TopicPartition>>, ClientError> {
        let topics: Vec<&str> = self.settings.topics.iter().map(String::as_str).collect();
        let subscription = ConsumerProtocolSubscription {
            topics,
            ..Default::default()
        };
        let blob = subscription.to_blob(BLOB_VERSION)?;
        let protocol = |name: &&'static str| JoinGroupRequestProtocol {
            name,
            metadata: &blob,
        };
        let member_id = self.membership.member_id.clone();
        let request = JoinGroupRequest {
            group_id: &self.settings.group,
            session_timeout_ms: millis(self.settings.session_timeout),
            rebalance_timeout_ms: millis(self.settings.rebalance_timeout),
            member_id: &member_id,
            group_instance_id: self.settings.instance_id.as_deref(),
            protocol_type: PROTOCOL_TYPE,
            protocols: ASSIGNORS.iter().map(protocol).collect(),
            reason: None,
        };
        let (node, patience) = (
            self.membership.coordinator,
            self.settings.rebalance_timeout + JOIN_SLACK,
        );
        let reply = self
            .client
            .call_within(node, &request, i16::MAX, patience)?;
        let response = reply.decode()?;
        if response.error_code == ErrorCode::MEMBER_ID_REQUIRED {
            self.membership.member_id = response.member_id.to_owned();
            return Ok(None);
        }
        let operation = || format!("join group {}", self.settings.group);
        ClientError::check(operation, response.error_code, None)?;
        self.membership.member_id = response.member_id.to_owned();
        self.membership.generation = response.generation_id;
        let leads = response.leader == response.member_id && !response.skip_assignment;
        let shares = if leads {
            self.share_out(&response)?
        } else {
            Vec::new()
        };
        self.sync(&response, &shares).map(Some)
    }

    /// The assignment of each member, as the leader decides it.
    fn share_out(
        &mut self,
        response: &JoinGroupResponse<'_>,
    ) -> Result<Vec<(String, bytes::Bytes)>, ClientError> {
        let mut members = Vec::with_capacity(response.members.len());
        for member in &response.members {
            let read = ConsumerProtocolSubscription::from_blob(member.metadata);
            let topics = read.map_or_else(
                |_| Vec::new(),
                |(_, subscription)| {
                    subscription
                        .topics
                        .iter()
                        .map(|topic| (*topic).to_owned())
                        .collect()
                },
            );
            members.push(Member {
                id: member.member_id.to_owned(),
                instance_id: member.group_instance_id.map(str::to_owned),
                topics,
            });
        }
        let mut counts = BTreeMap::new();
        for topic in members.iter().flat_map(|member| &member.topics) {
            if !counts.contains_key(topic) {
                // A topic that is gone has no partitions to share.
                let count = self
                    .client
                    .topic(topic)
                    .map_or(0, |info| info.partitions.len());
                counts.insert(topic.clone(), count);
            }
        }
        let assignor = response.protocol_name.unwrap_or_default();
        let shares = assign(assignor, &members, &counts);
        let blob = |(id, partitions): (String, Vec<TopicPartition>)| {
            let blob = assignor::to_blob(&partitions, BLOB_VERSION)?;
            Ok((id, blob))
        };
        shares.into_iter().map(blob).collect()
    }

    fn sync(
        &mut self,
        joined: &JoinGroupResponse<'_>,
        shares: &[(String, bytes::Bytes)],
    ) -> Result<Vec<TopicPartition>, ClientError> {
        let assignments = shares
            .iter()
            .map(|(member_id, assignment)| SyncGroupRequestAssignment {
                member_id,
                assignment,
            });
        let request = SyncGroupRequest {
            group_id: &self.settings.group,
            generation_id: joined.generation_id,
            member_id: joined.member_id,
            group_instance_id: self.settings.instance_id.as_deref(),
            protocol_type: Some(PROTOCOL_TYPE),
            protocol_name: joined.protocol_name,
            assignments: assignments.collect(),
        };
        let (node, patience) = (
            self.membership.coordinator,
            self.settings.rebalance_timeout + JOIN_SLACK,
        );
        let reply = self
            .client
            .call_within(node, &request, i16::MAX, patience)?;
        let response = reply.decode()?;
        let operation = || format!("join group {}", self.settings.group);
        ClientError::check(operation, response.error_code, None)?;
        Ok(assignment(response.assignment))
    }

    /// Starts reading what was assigned, from the committed offsets.
    fn begin(&mut self, assigned: &[TopicPartition]) -> Result<(), ClientError> {
        self.heartbeat = Some(Heartbeat::start(
            &self.client,
            &self.settings,
            &self.membership,
        )?);
        let committed = match assigned.is_empty() {
            true => BTreeMap::new(),
            false => self
                .client
                .committed(&self.settings.group, Some(assigned))?,
        };
        let missing: Vec<TopicPartition> = assigned
            .iter()
            .filter(|it| !committed.contains_key(*it))
            .cloned()
            .collect();
        let mut positions: BTreeMap<TopicPartition, Offset> = committed
            .into_iter()
            .map(|(partition, found)| (partition, found.offset))
            .collect();
        if !missing.is_empty() {
            let spec = match self.settings.reset {
                OffsetReset::Earliest => OffsetSpec::Earliest,
                OffsetReset::Latest => OffsetSpec::Latest,
                OffsetReset::Fail => {
                    let text = format!("group {} has no committed offset", self.settings.group);
                    return Err(ClientError::Usage(text));
                }
            };
            for (partition, found) in self.client.offsets(&missing, spec)? {
                positions.insert(partition, found.offset.unwrap_or(Offset::ZERO));
            }
        }
        // Where reading begins is committed too: else what comes to a partition that was empty
        // could be missed by the next member, which would begin at its end.
        let begun = missing
            .into_iter()
            .filter_map(|it| Some((it.clone(), *positions.get(&it)?)));
        self.marked = begun.collect();
        self.fetcher.assign(positions);
        self.joined = true;
        self.assignments += 1;
        self.committed_at = Instant::now();
        Ok(())
    }

    fn refused(&self, what: &str, code: ErrorCode) -> ClientError {
        let operation = format!("{what} group {}", self.settings.group);
        ClientError::Refused {
            operation,
            code,
            message: None,
        }
    }
}
