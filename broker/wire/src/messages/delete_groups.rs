//! DeleteGroups: API key 42, versions 0-3. Deletes groups and their offsets.
//!
//! v0: KIP-229. v2: flexible. v3: texts for errors (KIP-1043).
//!
//! Source: `DeleteGroupsRequest.json` and `DeleteGroupsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Deletes groups and their offsets.
    pub struct DeleteGroupsRequest<'a>: versions 0..=3, flexible 2 {
        /// The groups to delete.
        groups_names: Vec<&'a str> = Vec::new(), since(0);
    }
}

message! {
    /// Answers [`DeleteGroupsRequest`].
    pub struct DeleteGroupsResponse<'a>: versions 0..=3, flexible 2 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcomes, one entry each.
        results: Vec<DeletableGroupResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DeleteGroupsResponse::results`].
    pub struct DeletableGroupResult<'a> {
        /// The group.
        group_id: &'a str = "", since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did. Since v3.
        error_message: Option<&'a str> = None, since(3).nullable(3).ignorable();
    }
}
