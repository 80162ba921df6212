//! JoinGroup: API key 11, versions 0-9. Joins a group, or begins its rebalance.
//!
//! v1: rebalance timeout (KIP-62). v4: the first join returns a member id (KIP-394). v5: static
//! members (KIP-345). v6: flexible. v7: protocol type and nullable protocol name (KIP-559). v8: a
//! reason (KIP-800). v9: the leader may skip the assignment (KIP-814).
//!
//! Source: `JoinGroupRequest.json` and `JoinGroupResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Joins a group, or begins its rebalance.
    pub struct JoinGroupRequest<'a>: versions 0..=9, flexible 6 {
        /// The group.
        group_id: &'a str = "", since(0);
        /// How long the coordinator waits for a heartbeat, in ms.
        session_timeout_ms: i32 = 0, since(0);
        /// How long the coordinator waits for the member to rejoin, in ms; -1 for the session
        /// timeout. Since v1.
        rebalance_timeout_ms: i32 = -1, since(1).ignorable();
        /// Id that the coordinator gave the member; empty before the first join.
        member_id: &'a str = "", since(0);
        /// Name of a static member (KIP-345); null for a dynamic one. Since v5.
        group_instance_id: Option<&'a str> = None, since(5).nullable(5);
        /// Kind of the group's protocol; `consumer` for consumers.
        protocol_type: &'a str = "", since(0);
        /// Protocols (assignors) that the member knows, best first.
        protocols: Vec<JoinGroupRequestProtocol<'a>> = Vec::new(), since(0);
        /// Why the client does it, for people (KIP-800). Since v8.
        reason: Option<&'a str> = None, since(8).nullable(8).ignorable();
    }
}

part! {
    /// One entry of [`JoinGroupRequest::protocols`].
    pub struct JoinGroupRequestProtocol<'a> {
        /// Name of the protocol (assignor).
        name: &'a str = "", since(0);
        /// An opaque blob of the group's protocol.
        metadata: &'a [u8] = &[], since(0);
    }
}

message! {
    /// Answers [`JoinGroupRequest`].
    pub struct JoinGroupResponse<'a>: versions 0..=9, flexible 6 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v2.
        throttle_time_ms: i32 = 0, since(2).ignorable();
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Generation of the group, which rises with each rebalance.
        generation_id: i32 = -1, since(0);
        /// Kind of the group's protocol; `consumer` for consumers. Since v7.
        protocol_type: Option<&'a str> = None, since(7).nullable(7).ignorable();
        /// Name of the protocol (assignor) that the group has chosen; null before.
        protocol_name: Option<&'a str> = Some(""), since(0).nullable(7);
        /// Member id of the group's leader.
        leader: &'a str = "", since(0);
        /// Whether the leader shall leave the assignment as it is (KIP-814). Since v9.
        skip_assignment: bool = false, since(9);
        /// Id that the coordinator gave the member; empty before the first join.
        member_id: &'a str = "", since(0);
        /// Members of the group, one entry each.
        members: Vec<JoinGroupResponseMember<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`JoinGroupResponse::members`].
    pub struct JoinGroupResponseMember<'a> {
        /// Id that the coordinator gave the member; empty before the first join.
        member_id: &'a str = "", since(0);
        /// Name of a static member (KIP-345); null for a dynamic one. Since v5.
        group_instance_id: Option<&'a str> = None, since(5).nullable(5).ignorable();
        /// An opaque blob of the group's protocol.
        metadata: &'a [u8] = &[], since(0);
    }
}
