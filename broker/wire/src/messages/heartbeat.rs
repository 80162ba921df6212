//! Heartbeat: API key 12, versions 0-4. Keeps a member's session alive.
//!
//! v1: throttle time. v3: static members (KIP-345). v4: flexible.
//!
//! Source: `HeartbeatRequest.json` and `HeartbeatResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::message;
use crate::field::since;

message! {
    /// Keeps a member's session alive.
    pub struct HeartbeatRequest<'a>: versions 0..=4, flexible 4 {
        /// The group.
        group_id: &'a str = "", since(0);
        /// Generation of the group, which rises with each rebalance.
        generation_id: i32 = 0, since(0);
        /// Id that the coordinator gave the member; empty before the first join.
        member_id: &'a str = "", since(0);
        /// Name of a static member (KIP-345); null for a dynamic one. Since v3.
        group_instance_id: Option<&'a str> = None, since(3).nullable(3);
    }
}

message! {
    /// Answers [`HeartbeatRequest`].
    pub struct HeartbeatResponse: versions 0..=4, flexible 4 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v1.
        throttle_time_ms: i32 = 0, since(1).ignorable();
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
    }
}
