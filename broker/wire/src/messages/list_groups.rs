//! ListGroups: API key 16, versions 0-5. Lists the groups that a broker coordinates.
//!
//! v1: throttle time. v3: flexible. v4: states (KIP-518). v5: types (KIP-848).
//!
//! Source: `ListGroupsRequest.json` and `ListGroupsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Lists the groups that a broker coordinates.
    pub struct ListGroupsRequest<'a>: versions 0..=5, flexible 3 {
        /// Only groups in these states; empty for all (KIP-518). Since v4.
        states_filter: Vec<&'a str> = Vec::new(), since(4);
        /// Only groups of these types; empty for all (KIP-848). Since v5.
        types_filter: Vec<&'a str> = Vec::new(), since(5);
    }
}

message! {
    /// Answers [`ListGroupsRequest`].
    pub struct ListGroupsResponse<'a>: versions 0..=5, flexible 3 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v1.
        throttle_time_ms: i32 = 0, since(1).ignorable();
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Groups, one entry each.
        groups: Vec<ListedGroup<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ListGroupsResponse::groups`].
    pub struct ListedGroup<'a> {
        /// The group.
        group_id: &'a str = "", since(0);
        /// Kind of the group's protocol; `consumer` for consumers.
        protocol_type: &'a str = "", since(0);
        /// State of the group, as text. Since v4.
        group_state: &'a str = "", since(4).ignorable();
        /// Type of the group: `classic` or `consumer`. Since v5.
        group_type: &'a str = "", since(5).ignorable();
    }
}
