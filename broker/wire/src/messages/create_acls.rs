//! CreateAcls: API key 30, versions 1-3. Adds access control entries.
//!
//! v1: pattern types of resources (KIP-290). v2: flexible. v3: the resource type User (KIP-373).
//!
//! Source: `CreateAclsRequest.json` and `CreateAclsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Adds access control entries.
    pub struct CreateAclsRequest<'a>: versions 1..=3, flexible 2 {
        /// The entries.
        creations: Vec<AclCreation<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`CreateAclsRequest::creations`].
    pub struct AclCreation<'a> {
        /// Type of the resource.
        resource_type: i8 = 0, since(0);
        /// Name of the resource.
        resource_name: &'a str = "", since(0);
        /// Pattern type of the resource; 3 is literal.
        resource_pattern_type: i8 = 3, since(1);
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

message! {
    /// Answers [`CreateAclsRequest`].
    pub struct CreateAclsResponse<'a>: versions 1..=3, flexible 2 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcomes, one for each entry, in their order.
        results: Vec<AclCreationResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`CreateAclsResponse::results`].
    pub struct AclCreationResult<'a> {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = Some(""), since(0).nullable(0);
    }
}
