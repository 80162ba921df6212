//! A group whose members are stable and send heartbeats.

use bytes::Bytes;
use coord::groups::{
    Coordinator, Generation, GroupConfig, GroupId, HeartbeatRequest, MemberId, Millis, Now,
    StoredGroup, StoredMember,
};
use segment::TimestampMs;

/// Members of the group.
pub const MEMBERS: usize = 100;
/// Groups of the slot.
const GROUPS: usize = 100;

/// The time `ms` milliseconds after the start.
pub fn now(ms: u64) -> Now {
    Now {
        monotonic: Millis::new(ms),
        wall: TimestampMs::new(1_700_000_000_000),
    }
}

fn group_id(number: usize) -> GroupId {
    GroupId::from(format!("group-{number:04}"))
}

fn member_id(number: usize) -> MemberId {
    MemberId::from(format!("member-{number:04}"))
}

fn group(number: usize) -> StoredGroup {
    let members = (0..MEMBERS).map(|member| StoredMember {
        member: member_id(member),
        instance: None,
        client_id: "bench".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: 300_000,
        session_timeout_ms: 45_000,
        metadata: Bytes::from_static(b"subscription"),
        assignment: Bytes::from_static(b"assignment"),
    });
    StoredGroup {
        group: group_id(number),
        generation: Generation::new(3),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        leader: Some(member_id(0)),
        state_timestamp: TimestampMs::new(1_700_000_000_000),
        members: members.collect(),
    }
}

/// A slot with 100 groups of [`MEMBERS`] members.
///
/// # Panics
/// Never: the groups are sound.
pub fn slot() -> Coordinator {
    let mut coordinator = Coordinator::new(GroupConfig::default());
    coordinator
        .restore((0..GROUPS).map(group), [], now(0))
        .expect("sound groups");
    coordinator
}

/// The heartbeat of each member of one of the groups.
pub fn heartbeats() -> Vec<HeartbeatRequest> {
    let heartbeat = |member: usize| HeartbeatRequest {
        group: group_id(GROUPS / 2),
        member: member_id(member),
        instance: None,
        generation: Generation::new(3),
    };
    (0..MEMBERS).map(heartbeat).collect()
}
