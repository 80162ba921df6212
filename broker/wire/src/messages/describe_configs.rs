//! DescribeConfigs: API key 32, versions 0-4. Lists the configuration of topics and brokers.
//!
//! v1: synonyms and sources (KIP-226). v3: documentation and types (KIP-569). v4: flexible.
//!
//! Source: `DescribeConfigsRequest.json` and `DescribeConfigsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::{between, since};

message! {
    /// Lists the configuration of topics and brokers.
    pub struct DescribeConfigsRequest<'a>: versions 0..=4, flexible 4 {
        /// Resources, one entry each.
        resources: Vec<DescribeConfigsResource<'a>> = Vec::new(), since(0);
        /// Whether to add the values that stand behind each entry. Since v1.
        include_synonyms: bool = false, since(1);
        /// Whether to add each entry's documentation. Since v3.
        include_documentation: bool = false, since(3);
    }
}

part! {
    /// One entry of [`DescribeConfigsRequest::resources`].
    pub struct DescribeConfigsResource<'a> {
        /// Type of the resource: 2 topic, 4 broker, 8 broker logger, 32 group.
        resource_type: i8 = 0, since(0);
        /// Name of the resource.
        resource_name: &'a str = "", since(0);
        /// Names of the entries to list; null for all.
        configuration_keys: Option<Vec<&'a str>> = None, since(0).nullable(0);
    }
}

message! {
    /// Answers [`DescribeConfigsRequest`].
    pub struct DescribeConfigsResponse<'a>: versions 0..=4, flexible 4 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcomes, one entry each.
        results: Vec<DescribeConfigsResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeConfigsResponse::results`].
    pub struct DescribeConfigsResult<'a> {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// Type of the resource: 2 topic, 4 broker, 8 broker logger, 32 group.
        resource_type: i8 = 0, since(0);
        /// Name of the resource.
        resource_name: &'a str = "", since(0);
        /// Configuration entries.
        configs: Vec<DescribeConfigsResourceResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeConfigsResult::configs`].
    pub struct DescribeConfigsResourceResult<'a> {
        /// Name of the configuration entry.
        name: &'a str = "", since(0);
        /// The value; null if there is none.
        value: Option<&'a str> = None, since(0).nullable(0);
        /// Whether the entry cannot be changed.
        read_only: bool = false, since(0);
        /// Whether the value is the default. Until v0.
        is_default: bool = false, between(0, 0);
        /// Where the value comes from; 5 is the default, 1 a topic's own. Since v1.
        config_source: i8 = -1, since(1).ignorable();
        /// Whether the value is secret, and therefore withheld.
        is_sensitive: bool = false, since(0);
        /// Values that stand behind the entry, in order of precedence. Since v1.
        synonyms: Vec<DescribeConfigsSynonym<'a>> = Vec::new(), since(1).ignorable();
        /// Type of the value; 0 is unknown. Since v3.
        config_type: i8 = 0, since(3).ignorable();
        /// What the entry does. Since v3.
        documentation: Option<&'a str> = None, since(3).nullable(0).ignorable();
    }
}

part! {
    /// One entry of [`DescribeConfigsResourceResult::synonyms`].
    pub struct DescribeConfigsSynonym<'a> {
        /// Name of the configuration entry. Since v1.
        name: &'a str = "", since(1);
        /// The value; null if there is none. Since v1.
        value: Option<&'a str> = None, since(1).nullable(0);
        /// Where the value comes from. Since v1.
        source: i8 = 0, since(1);
    }
}
