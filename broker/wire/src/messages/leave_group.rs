//! LeaveGroup: API key 13, versions 0-5. Takes members out of a group.
//!
//! v1: throttle time. v3: several members, static ones too (KIP-345). v4: flexible. v5: a reason
//! (KIP-800).
//!
//! Source: `LeaveGroupRequest.json` and `LeaveGroupResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::{between, since};

message! {
    /// Takes members out of a group.
    pub struct LeaveGroupRequest<'a>: versions 0..=5, flexible 4 {
        /// The group.
        group_id: &'a str = "", since(0);
        /// Id that the coordinator gave the member; empty before the first join. Until v2.
        member_id: &'a str = "", between(0, 2);
        /// Members of the group, one entry each. Since v3.
        members: Vec<MemberIdentity<'a>> = Vec::new(), since(3);
    }
}

part! {
    /// One entry of [`LeaveGroupRequest::members`].
    pub struct MemberIdentity<'a> {
        /// Id that the coordinator gave the member; empty before the first join. Since v3.
        member_id: &'a str = "", since(3);
        /// Name of a static member (KIP-345); null for a dynamic one. Since v3.
        group_instance_id: Option<&'a str> = None, since(3).nullable(3);
        /// Why the client does it, for people (KIP-800). Since v5.
        reason: Option<&'a str> = None, since(5).nullable(5).ignorable();
    }
}

message! {
    /// Answers [`LeaveGroupRequest`].
    pub struct LeaveGroupResponse<'a>: versions 0..=5, flexible 4 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v1.
        throttle_time_ms: i32 = 0, since(1).ignorable();
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Members of the group, one entry each. Since v3.
        members: Vec<MemberResponse<'a>> = Vec::new(), since(3);
    }
}

part! {
    /// One entry of [`LeaveGroupResponse::members`].
    pub struct MemberResponse<'a> {
        /// Id that the coordinator gave the member; empty before the first join. Since v3.
        member_id: &'a str = "", since(3);
        /// Name of a static member (KIP-345); null for a dynamic one. Since v3.
        group_instance_id: Option<&'a str> = None, since(3).nullable(3);
        /// Outcome; 0 is success. Since v3.
        error_code: ErrorCode = ErrorCode::NONE, since(3);
    }
}
