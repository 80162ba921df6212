//! ListConfigResources: API key 74, versions 0-1. Lists resources that have a configuration
//! (KIP-714, KIP-1142).
//!
//! v0: client metrics only. v1: the types that are asked for, and the type of each resource.
//!
//! Source: `ListConfigResourcesRequest.json` and `ListConfigResourcesResponse.json` of Apache
//! Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Lists resources that have a configuration.
    pub struct ListConfigResourcesRequest: versions 0..=1, flexible 0 {
        /// Types to list; empty for all that are supported. Since v1.
        resource_types: Vec<i8> = Vec::new(), since(1);
    }
}

message! {
    /// Answers [`ListConfigResourcesRequest`].
    pub struct ListConfigResourcesResponse<'a>: versions 0..=1, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Resources, one entry each.
        config_resources: Vec<ConfigResource<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ListConfigResourcesResponse::config_resources`].
    pub struct ConfigResource<'a> {
        /// Name of the resource.
        resource_name: &'a str = "", since(0);
        /// Type of the resource: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        /// Since v1; before, all are client metrics.
        resource_type: i8 = 16, since(1).ignorable();
    }
}
