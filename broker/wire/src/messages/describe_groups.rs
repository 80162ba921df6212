//! DescribeGroups: API key 15, versions 0-6. Describes groups and their members.
//!
//! v1: throttle time. v3: authorized operations (KIP-430). v4: static members (KIP-345). v5:
//! flexible. v6: GROUP_ID_NOT_FOUND with a text for unknown groups (KIP-1043).
//!
//! Source: `DescribeGroupsRequest.json` and `DescribeGroupsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Describes groups and their members.
    pub struct DescribeGroupsRequest<'a>: versions 0..=6, flexible 5 {
        /// Groups, one entry each.
        groups: Vec<&'a str> = Vec::new(), since(0);
        /// Whether to list what the client may do with each group. Since v3.
        include_authorized_operations: bool = false, since(3);
    }
}

message! {
    /// Answers [`DescribeGroupsRequest`].
    pub struct DescribeGroupsResponse<'a>: versions 0..=6, flexible 5 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v1.
        throttle_time_ms: i32 = 0, since(1).ignorable();
        /// Groups, one entry each.
        groups: Vec<DescribedGroup<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeGroupsResponse::groups`].
    pub struct DescribedGroup<'a> {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did. Since v6.
        error_message: Option<&'a str> = None, since(6).nullable(6).ignorable();
        /// The group.
        group_id: &'a str = "", since(0);
        /// State of the group, as text.
        group_state: &'a str = "", since(0);
        /// Kind of the group's protocol; `consumer` for consumers.
        protocol_type: &'a str = "", since(0);
        /// Name of the protocol (assignor) that the group has chosen.
        protocol_data: &'a str = "", since(0);
        /// Members of the group, one entry each.
        members: Vec<DescribedGroupMember<'a>> = Vec::new(), since(0);
        /// Operations that the client may perform, one bit each; `i32::MIN` if not asked for. Since
        /// v3.
        authorized_operations: i32 = i32::MIN, since(3);
    }
}

part! {
    /// One entry of [`DescribedGroup::members`].
    pub struct DescribedGroupMember<'a> {
        /// Id that the coordinator gave the member; empty before the first join.
        member_id: &'a str = "", since(0);
        /// Name of a static member (KIP-345); null for a dynamic one. Since v4.
        group_instance_id: Option<&'a str> = None, since(4).nullable(4).ignorable();
        /// The client id in the member's latest join.
        client_id: &'a str = "", since(0);
        /// Address from which the member connected.
        client_host: &'a str = "", since(0);
        /// The member's metadata: an opaque blob of the group's protocol.
        member_metadata: &'a [u8] = &[], since(0);
        /// The member's assignment: an opaque blob of the group's protocol.
        member_assignment: &'a [u8] = &[], since(0);
    }
}
