//! Answers of the coordinator, independent of the wire format and its versions.

use std::sync::Arc;

use bytes::Bytes;
use segment::TopicPartition;

use super::error::GroupError;
use super::group::GroupState;
use super::ids::{Generation, GroupId, InstanceId, MemberId};
use super::stored::CommittedOffset;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To JoinGroup.
    Join(Result<JoinedGroup, JoinRefused>),
    /// To SyncGroup.
    Sync(Result<SyncedGroup, GroupError>),
    /// To Heartbeat.
    Heartbeat(Result<(), GroupError>),
    /// To LeaveGroup. An error concerns the whole request.
    Leave(Result<Vec<LeaveReply>, GroupError>),
    /// To OffsetCommit, one entry for each offset in order; an error of the group is in each.
    Commit(Vec<CommitReply>),
    /// To OffsetFetch: one entry for each partition in order; for null partitions those that have
    /// an offset. An error concerns the whole group.
    Fetch(Result<Vec<FetchedOffset>, GroupError>),
    /// To DeleteGroups, one entry for each group in order.
    DeleteGroups(Vec<(GroupId, Result<(), GroupError>)>),
    /// To OffsetDelete. An error concerns the whole request.
    DeleteOffsets(Result<Vec<DeleteOffsetsReply>, GroupError>),
}

/// A member as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member.
    pub member: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<InstanceId>,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// A generation that a member has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedGroup {
    /// The generation.
    pub generation: Generation,
    /// Kind of group.
    pub protocol_type: Arc<str>,
    /// The protocol chosen for this generation.
    pub protocol_name: Arc<str>,
    /// Who makes the assignment.
    pub leader: MemberId,
    /// The member itself.
    pub member: MemberId,
    /// The leader need not make an assignment: the present one holds (KIP-814).
    pub skip_assignment: bool,
    /// All members, for the leader; empty for the others.
    pub members: Vec<JoinedMember>,
}

/// A refused JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// Member id of the answer: with `MemberIdRequired` the one to join again with.
    pub member: MemberId,
}

/// A member's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncedGroup {
    /// Kind of group.
    pub protocol_type: Arc<str>,
    /// The protocol of this generation.
    pub protocol_name: Arc<str>,
    /// Opaque bytes of the leader.
    pub assignment: Bytes,
}

/// Result of leaving for one member, which is named as in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveReply {
    /// The member.
    pub member: MemberId,
    /// Its instance id.
    pub instance: Option<InstanceId>,
    /// Whether it has left.
    pub result: Result<(), GroupError>,
}

/// Result of committing one offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitReply {
    /// The partition.
    pub partition: TopicPartition,
    /// Whether the offset is durable.
    pub result: Result<(), GroupError>,
}

/// One partition of an OffsetFetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// The committed offset; `None` (Kafka: -1) when there is none.
    pub result: Result<Option<CommittedOffset>, GroupError>,
}

/// Result of deleting one offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOffsetsReply {
    /// The partition.
    pub partition: TopicPartition,
    /// Whether it has no offset any more.
    pub result: Result<(), GroupError>,
}

/// A group as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// The group.
    pub group: GroupId,
    /// Its state.
    pub state: GroupState,
    /// Generation, for logs and metrics; DescribeGroups does not send it.
    pub generation: Generation,
    /// Kind of group; empty for one that only commits offsets.
    pub protocol_type: Arc<str>,
    /// The chosen protocol, only in `Stable`; otherwise empty.
    pub protocol_name: Arc<str>,
    /// The members.
    pub members: Vec<MemberDescription>,
}

/// A member as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    /// The member.
    pub member: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<InstanceId>,
    /// Client id of its JoinGroup.
    pub client_id: Arc<str>,
    /// Address of its JoinGroup.
    pub client_host: Arc<str>,
    /// Metadata for the chosen protocol, only in `Stable`; otherwise empty.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// A group as ListGroups shows it. The type is always `classic`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    /// The group.
    pub group: GroupId,
    /// Kind of group; empty for one that only commits offsets.
    pub protocol_type: Arc<str>,
    /// Its state.
    pub state: GroupState,
}
