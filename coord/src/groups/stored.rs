//! The durable form of a group and of a committed offset.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use segment::{LeaderEpoch, Offset, TimestampMs};

use super::ids::{Generation, GroupId, InstanceId, MemberId};

/// A group as it is persisted: the last generation whose assignment was made, or an empty group.
/// Its bytes are in `codec`; the group's name is part of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGroup {
    /// The group.
    pub group: GroupId,
    /// Generation, 0 and up.
    pub generation: Generation,
    /// Kind of group; `None` for one that only commits offsets.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol; `Some` exactly when there are members.
    pub protocol_name: Option<Arc<str>>,
    /// The leader; one of the members, `Some` exactly when there are members.
    pub leader: Option<MemberId>,
    /// Wall clock when the group entered its state; offsets of an empty group expire from here.
    pub state_timestamp: TimestampMs,
    /// The members, in order of id, without duplicates.
    pub members: Vec<StoredMember>,
}

/// A member as it is persisted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMember {
    /// The member.
    pub member: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<InstanceId>,
    /// Client id of its JoinGroup.
    pub client_id: Arc<str>,
    /// Address of its JoinGroup.
    pub client_host: Arc<str>,
    /// Rebalance timeout in milliseconds.
    pub rebalance_timeout_ms: u32,
    /// Session timeout in milliseconds.
    pub session_timeout_ms: u32,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Next offset to read.
    pub offset: Offset,
    /// Leader epoch of the last record read, or `NONE` (KIP-320).
    pub leader_epoch: LeaderEpoch,
    /// Free text of the client.
    pub metadata: Arc<str>,
    /// Wall clock of the commit.
    pub commit_timestamp: TimestampMs,
    /// When it expires, where the client asked for a retention time (versions 2 to 4).
    pub expire_timestamp: Option<TimestampMs>,
}

impl StoredGroup {
    /// Checks what the writer guarantees.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.generation < Generation::ZERO {
            return Err("the generation is negative");
        }
        if self.protocol_type.as_deref() == Some("") {
            return Err("the protocol type is empty");
        }
        if self.members.is_empty() {
            if self.protocol_name.is_some() || self.leader.is_some() {
                return Err("an empty group has a protocol or a leader");
            }
            return Ok(());
        }
        if self.protocol_type.is_none() || self.protocol_name.is_none() {
            return Err("a group with members has no protocol");
        }
        if !self
            .members
            .windows(2)
            .all(|pair| pair[0].member < pair[1].member)
        {
            return Err("the members are not in order of id");
        }
        let mut instances = BTreeSet::new();
        let mut named = self
            .members
            .iter()
            .filter_map(|member| member.instance.as_ref());
        if !named.all(|instance| instances.insert(instance)) {
            return Err("two members have one instance id");
        }
        if self.members.iter().any(|member| member.member.is_empty()) {
            return Err("a member id is empty");
        }
        match &self.leader {
            Some(leader) if self.members.iter().any(|member| member.member == *leader) => Ok(()),
            Some(_) => Err("the leader is not a member"),
            None => Err("a group with members has no leader"),
        }
    }
}
