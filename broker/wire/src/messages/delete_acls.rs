//! DeleteAcls: API key 31, versions 1-3. Deletes access control entries.
//!
//! v1: pattern types of resources (KIP-290). v2: flexible. v3: the resource type User (KIP-373).
//!
//! Source: `DeleteAclsRequest.json` and `DeleteAclsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Deletes access control entries.
    pub struct DeleteAclsRequest<'a>: versions 1..=3, flexible 2 {
        /// What is deleted: entries that one of these matches.
        filters: Vec<DeleteAclsFilter<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DeleteAclsRequest::filters`].
    pub struct DeleteAclsFilter<'a> {
        /// Type of the resources.
        resource_type_filter: i8 = 0, since(0);
        /// Name of the resources; null for any.
        resource_name_filter: Option<&'a str> = Some(""), since(0).nullable(0);
        /// Pattern type of the resources; 3 is literal.
        pattern_type_filter: i8 = 3, since(1);
        /// The principal; null for any.
        principal_filter: Option<&'a str> = Some(""), since(0).nullable(0);
        /// The host; null for any.
        host_filter: Option<&'a str> = Some(""), since(0).nullable(0);
        /// The operation.
        operation: i8 = 0, since(0);
        /// Whether to allow or to deny.
        permission_type: i8 = 0, since(0);
    }
}

message! {
    /// Answers [`DeleteAclsRequest`].
    pub struct DeleteAclsResponse<'a>: versions 1..=3, flexible 2 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcomes, one for each filter, in their order.
        filter_results: Vec<DeleteAclsFilterResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DeleteAclsResponse::filter_results`].
    pub struct DeleteAclsFilterResult<'a> {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = Some(""), since(0).nullable(0);
        /// Entries that the filter matched.
        matching_acls: Vec<DeleteAclsMatchingAcl<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DeleteAclsFilterResult::matching_acls`].
    pub struct DeleteAclsMatchingAcl<'a> {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = Some(""), since(0).nullable(0);
        /// Type of the resource.
        resource_type: i8 = 0, since(0);
        /// Name of the resource.
        resource_name: &'a str = "", since(0);
        /// Pattern type of the resource; 3 is literal.
        pattern_type: i8 = 3, since(1);
        /// The principal.
        principal: &'a str = "", since(0);
        /// The host.
        host: &'a str = "", since(0);
        /// The operation.
        operation: i8 = 0, since(0);
        /// Whether to allow or to deny.
        permission_type: i8 = 0, since(0);
    }
}
