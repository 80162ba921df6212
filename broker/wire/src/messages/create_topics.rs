//! CreateTopics: API key 19, versions 0-7. Creates topics.
//!
//! v1: validation only, error texts. v4: defaults for partitions and replicas (KIP-464). v5:
//! flexible; the response describes the topic (KIP-525). v7: topic ids (KIP-516).
//!
//! Source: `CreateTopicsRequest.json` and `CreateTopicsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;
use crate::uuid::Uuid;

message! {
    /// Creates topics.
    pub struct CreateTopicsRequest<'a>: versions 0..=7, flexible 5 {
        /// Topics, one entry each.
        topics: Vec<CreatableTopic<'a>> = Vec::new(), since(0);
        /// How long the broker may take, in ms.
        timeout_ms: i32 = 60000, since(0);
        /// Whether only to check the request, and change nothing. Since v1.
        validate_only: bool = false, since(1);
    }
}

part! {
    /// One entry of [`CreateTopicsRequest::topics`].
    pub struct CreatableTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Number of partitions; -1 for the default.
        num_partitions: i32 = 0, since(0);
        /// Number of replicas; -1 for the default.
        replication_factor: i16 = 0, since(0);
        /// Replicas of each partition, chosen by hand; empty for the broker's choice.
        assignments: Vec<CreatableReplicaAssignment> = Vec::new(), since(0);
        /// Configuration of the new topic.
        configs: Vec<CreatableTopicConfig<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`CreatableTopic::assignments`].
    pub struct CreatableReplicaAssignment {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Ids of the brokers that hold the replicas.
        broker_ids: Vec<i32> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`CreatableTopic::configs`].
    pub struct CreatableTopicConfig<'a> {
        /// Name of the configuration entry.
        name: &'a str = "", since(0);
        /// The value; null if there is none.
        value: Option<&'a str> = None, since(0).nullable(0);
    }
}

message! {
    /// Answers [`CreateTopicsRequest`].
    pub struct CreateTopicsResponse<'a>: versions 0..=7, flexible 5 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v2.
        throttle_time_ms: i32 = 0, since(2).ignorable();
        /// Topics, one entry each.
        topics: Vec<CreatableTopicResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`CreateTopicsResponse::topics`].
    pub struct CreatableTopicResult<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Id of the topic (KIP-516). Since v7.
        topic_id: Uuid = Uuid::ZERO, since(7).ignorable();
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did. Since v1.
        error_message: Option<&'a str> = None, since(1).nullable(0).ignorable();
        /// Set if the configuration of the topic cannot be described. Since v5.
        topic_config_error_code: ErrorCode = ErrorCode::NONE, since(5).tag(0).ignorable();
        /// Number of partitions; -1 for the default. Since v5.
        num_partitions: i32 = -1, since(5).ignorable();
        /// Number of replicas; -1 for the default. Since v5.
        replication_factor: i16 = -1, since(5).ignorable();
        /// Configuration that the topic got; null if it cannot be described. Since v5.
        configs: Option<Vec<CreatableTopicConfigs<'a>>> =
            Some(Vec::new()), since(5).nullable(5).ignorable();
    }
}

part! {
    /// One entry of [`CreatableTopicResult::configs`].
    pub struct CreatableTopicConfigs<'a> {
        /// Name of the configuration entry. Since v5.
        name: &'a str = "", since(5);
        /// The value; null if there is none. Since v5.
        value: Option<&'a str> = None, since(5).nullable(5);
        /// Whether the entry cannot be changed. Since v5.
        read_only: bool = false, since(5);
        /// Where the value comes from; 5 is the default, 1 a topic's own. Since v5.
        config_source: i8 = -1, since(5).ignorable();
        /// Whether the value is secret, and therefore withheld. Since v5.
        is_sensitive: bool = false, since(5);
    }
}
