//! AlterConfigs: API key 33, versions 0-2. Replaces the whole configuration of resources.
//!
//! v0: KIP-133. v2: flexible. Superseded by IncrementalAlterConfigs (KIP-339).
//!
//! Source: `AlterConfigsRequest.json` and `AlterConfigsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Replaces the whole configuration of resources.
    pub struct AlterConfigsRequest<'a>: versions 0..=2, flexible 2 {
        /// Resources, one entry each.
        resources: Vec<AlterConfigsResource<'a>> = Vec::new(), since(0);
        /// Whether only to check the request, and change nothing.
        validate_only: bool = false, since(0);
    }
}

part! {
    /// One entry of [`AlterConfigsRequest::resources`].
    pub struct AlterConfigsResource<'a> {
        /// Type of the resource: 2 topic, 4 broker, 8 broker logger, 32 group.
        resource_type: i8 = 0, since(0);
        /// Name of the resource.
        resource_name: &'a str = "", since(0);
        /// Configuration entries.
        configs: Vec<AlterableConfig<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`AlterConfigsResource::configs`].
    pub struct AlterableConfig<'a> {
        /// Name of the configuration entry.
        name: &'a str = "", since(0);
        /// The value; null if there is none.
        value: Option<&'a str> = None, since(0).nullable(0);
    }
}

message! {
    /// Answers [`AlterConfigsRequest`].
    pub struct AlterConfigsResponse<'a>: versions 0..=2, flexible 2 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcomes, one entry each.
        responses: Vec<AlterConfigsResourceResponse<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`AlterConfigsResponse::responses`].
    pub struct AlterConfigsResourceResponse<'a> {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// Type of the resource: 2 topic, 4 broker, 8 broker logger, 32 group.
        resource_type: i8 = 0, since(0);
        /// Name of the resource.
        resource_name: &'a str = "", since(0);
    }
}
