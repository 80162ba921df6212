//! IncrementalAlterConfigs: API key 44, versions 0-1.
//!
//! Changes single configuration entries of resources.
//!
//! v0: KIP-339. v1: flexible.
//!
//! Source: `IncrementalAlterConfigsRequest.json` and `IncrementalAlterConfigsResponse.json` of
//! Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Changes single configuration entries of resources.
    pub struct IncrementalAlterConfigsRequest<'a>: versions 0..=1, flexible 1 {
        /// Resources, one entry each.
        resources: Vec<AlterConfigsResource<'a>> = Vec::new(), since(0);
        /// Whether only to check the request, and change nothing.
        validate_only: bool = false, since(0);
    }
}

part! {
    /// One entry of [`IncrementalAlterConfigsRequest::resources`].
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
        /// What to do: 0 set, 1 delete, 2 append, 3 subtract.
        config_operation: i8 = 0, since(0);
        /// The value; null if there is none.
        value: Option<&'a str> = None, since(0).nullable(0);
    }
}

message! {
    /// Answers [`IncrementalAlterConfigsRequest`].
    pub struct IncrementalAlterConfigsResponse<'a>: versions 0..=1, flexible 1 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcomes, one entry each.
        responses: Vec<AlterConfigsResourceResponse<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`IncrementalAlterConfigsResponse::responses`].
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
