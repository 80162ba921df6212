//! DescribeAcls: API key 29, versions 1-3. Lists access control entries.
//!
//! v1: pattern types of resources (KIP-290). v2: flexible. v3: the resource type User (KIP-373).
//!
//! Source: `DescribeAclsRequest.json` and `DescribeAclsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Lists access control entries.
    pub struct DescribeAclsRequest<'a>: versions 1..=3, flexible 2 {
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
    /// Answers [`DescribeAclsRequest`].
    pub struct DescribeAclsResponse<'a>: versions 1..=3, flexible 2 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = Some(""), since(0).nullable(0);
        /// Resources that entries name.
        resources: Vec<DescribeAclsResource<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeAclsResponse::resources`].
    pub struct DescribeAclsResource<'a> {
        /// Type of the resource.
        resource_type: i8 = 0, since(0);
        /// Name of the resource.
        resource_name: &'a str = "", since(0);
        /// Pattern type of the resource; 3 is literal.
        pattern_type: i8 = 3, since(1);
        /// Its entries.
        acls: Vec<AclDescription<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeAclsResource::acls`].
    pub struct AclDescription<'a> {
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
