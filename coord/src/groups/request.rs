//! Requests to the coordinator, independent of the wire format and its versions.

use std::sync::Arc;

use bytes::Bytes;
use segment::{LeaderEpoch, Offset, TimestampMs, TopicId, TopicPartition};

use super::ids::{Generation, GroupId, InstanceId, MemberId};

/// One protocol that a member can use, with its opaque metadata (a consumer's subscription).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// Name, such as `range` or `cooperative-sticky`.
    pub name: Arc<str>,
    /// Opaque to the coordinator, except that the topics of a consumer's subscription are read to
    /// protect their offsets.
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The group; not empty.
    pub group: GroupId,
    /// The member; empty when the client has none yet.
    pub member: MemberId,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance: Option<InstanceId>,
    /// Client id from the request header, empty when null. Prefix of a new member id.
    pub client_id: Arc<str>,
    /// Address of the client, as Kafka shows it (`/10.0.0.7`).
    pub client_host: Arc<str>,
    /// Session timeout in milliseconds.
    pub session_timeout_ms: i32,
    /// Rebalance timeout in milliseconds. Below 0 (version 0 has none): the session timeout.
    pub rebalance_timeout_ms: i32,
    /// Kind of group, such as `consumer` or `connect`.
    pub protocol_type: Arc<str>,
    /// Protocols in order of preference.
    pub protocols: Vec<Protocol>,
    /// 128 fresh random bits, for the member id if one is made.
    pub random_bits: u128,
    /// Version 4 and up: a dynamic member without an id gets MEMBER_ID_REQUIRED first (KIP-394).
    pub member_id_required: bool,
    /// Version 9 and up: the answer can say `skip_assignment` (KIP-814).
    pub skip_assignment_supported: bool,
}

/// The leader's assignment for one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberAssignment {
    /// The member.
    pub member: MemberId,
    /// Opaque bytes.
    pub assignment: Bytes,
}

/// SyncGroup.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// The group; not empty.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<InstanceId>,
    /// Generation that JoinGroup gave.
    pub generation: Generation,
    /// Version 5 and up: checked against the group's where given.
    pub protocol_type: Option<Arc<str>>,
    /// Version 5 and up: checked against the group's where given.
    pub protocol_name: Option<Arc<str>>,
    /// From the leader; empty from the others.
    pub assignments: Vec<MemberAssignment>,
}

/// Heartbeat.
#[derive(Debug, Clone)]
pub struct HeartbeatRequest {
    /// The group; not empty.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<InstanceId>,
    /// Generation of the member.
    pub generation: Generation,
}

/// One member that leaves.
#[derive(Debug, Clone)]
pub struct LeaveMember {
    /// The member; empty to remove a static member by its instance id.
    pub member: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<InstanceId>,
    /// Why, for the log (KIP-800).
    pub reason: Option<Arc<str>>,
}

/// LeaveGroup; versions 0 to 2 name one member.
#[derive(Debug, Clone)]
pub struct LeaveRequest {
    /// The group; not empty.
    pub group: GroupId,
    /// The members that leave.
    pub members: Vec<LeaveMember>,
}

/// One offset to commit.
#[derive(Debug, Clone)]
pub struct CommitOffset {
    /// The partition; the owner has resolved the topic's name.
    pub partition: TopicPartition,
    /// Next offset to read. Any value, as in Kafka.
    pub offset: Offset,
    /// Leader epoch of the last record read; `NONE` when not known (KIP-320).
    pub leader_epoch: LeaderEpoch,
    /// Free text of the client; null is stored as empty.
    pub metadata: Option<Arc<str>>,
    /// Version 1 only: commit time chosen by the client; otherwise the wall clock is taken.
    pub timestamp: Option<TimestampMs>,
}

/// OffsetCommit.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The group. May be empty, as in Kafka.
    pub group: GroupId,
    /// The member; empty for a consumer that assigns itself.
    pub member: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<InstanceId>,
    /// Generation of the member; `NONE` for a consumer that assigns itself, or an administrator.
    pub generation: Generation,
    /// Versions 2 to 4 only: how long to keep the offsets, in milliseconds; `None` for -1.
    pub retention_ms: Option<i64>,
    /// Version 9 and up: an unknown group gives GROUP_ID_NOT_FOUND and not ILLEGAL_GENERATION.
    pub group_not_found_supported: bool,
    /// Offsets, in the order of the answer.
    pub offsets: Vec<CommitOffset>,
}

/// OffsetFetch of one group.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The group. May be empty, as in Kafka.
    pub group: GroupId,
    /// Partitions asked for; `None` for all that have an offset.
    pub partitions: Option<Vec<TopicPartition>>,
    /// Version 7 and up: wait for commits of the group that are under way (KIP-447).
    pub require_stable: bool,
}

/// One offset to delete.
#[derive(Debug, Clone)]
pub struct OffsetToDelete {
    /// The partition.
    pub partition: TopicPartition,
    /// The topic's name, which subscriptions use.
    pub topic_name: Arc<str>,
}

/// OffsetDelete (KIP-496).
#[derive(Debug, Clone)]
pub struct DeleteOffsetsRequest {
    /// The group; not empty.
    pub group: GroupId,
    /// Offsets, in the order of the answer.
    pub offsets: Vec<OffsetToDelete>,
}

/// Resolves a topic id to its present name; `None` when the topic is gone.
pub(super) type TopicName<'a> = &'a dyn Fn(TopicId) -> Option<Arc<str>>;
