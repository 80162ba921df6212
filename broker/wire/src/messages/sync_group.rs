//! SyncGroup: API key 14, versions 0-5. Distributes the leader's assignment to all members.
//!
//! v1: throttle time. v3: static members (KIP-345). v4: flexible. v5: protocol type and name
//! (KIP-559).
//!
//! Source: `SyncGroupRequest.json` and `SyncGroupResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Distributes the leader's assignment to all members.
    pub struct SyncGroupRequest<'a>: versions 0..=5, flexible 4 {
        /// The group.
        group_id: &'a str = "", since(0);
        /// Generation of the group, which rises with each rebalance.
        generation_id: i32 = 0, since(0);
        /// Id that the coordinator gave the member; empty before the first join.
        member_id: &'a str = "", since(0);
        /// Name of a static member (KIP-345); null for a dynamic one. Since v3.
        group_instance_id: Option<&'a str> = None, since(3).nullable(3);
        /// Kind of the group's protocol; `consumer` for consumers. Since v5.
        protocol_type: Option<&'a str> = None, since(5).nullable(5).ignorable();
        /// Name of the protocol (assignor) that the group has chosen; null before. Since v5.
        protocol_name: Option<&'a str> = None, since(5).nullable(5).ignorable();
        /// Assignment of every member, from the group's leader; empty from followers.
        assignments: Vec<SyncGroupRequestAssignment<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`SyncGroupRequest::assignments`].
    pub struct SyncGroupRequestAssignment<'a> {
        /// Id that the coordinator gave the member; empty before the first join.
        member_id: &'a str = "", since(0);
        /// The member's assignment: an opaque blob of the group's protocol.
        assignment: &'a [u8] = &[], since(0);
    }
}

message! {
    /// Answers [`SyncGroupRequest`].
    pub struct SyncGroupResponse<'a>: versions 0..=5, flexible 4 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v1.
        throttle_time_ms: i32 = 0, since(1).ignorable();
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Kind of the group's protocol; `consumer` for consumers. Since v5.
        protocol_type: Option<&'a str> = None, since(5).nullable(5).ignorable();
        /// Name of the protocol (assignor) that the group has chosen; null before. Since v5.
        protocol_name: Option<&'a str> = None, since(5).nullable(5).ignorable();
        /// The member's assignment: an opaque blob of the group's protocol.
        assignment: &'a [u8] = &[], since(0);
    }
}
