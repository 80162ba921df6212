//! AlterPartitionReassignments: API key 45, versions 0-1. Changes the replicas of partitions.
//!
//! v0: KIP-455, flexible from the start. v1: whether the number of replicas may change (KIP-860).
//!
//! Source: `AlterPartitionReassignmentsRequest.json` and `AlterPartitionReassignmentsResponse.json`
//! of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Changes the replicas of partitions.
    pub struct AlterPartitionReassignmentsRequest<'a>: versions 0..=1, flexible 0 {
        /// How long the broker may take, in ms.
        timeout_ms: i32 = 60_000, since(0);
        /// Whether the number of replicas may change. Since v1.
        allow_replication_factor_change: bool = true, since(1);
        /// Topics, one entry each.
        topics: Vec<ReassignableTopic<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`AlterPartitionReassignmentsRequest::topics`].
    pub struct ReassignableTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Its partitions, one entry each.
        partitions: Vec<ReassignablePartition> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ReassignableTopic::partitions`].
    pub struct ReassignablePartition {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Brokers that are to hold it; null takes back a change that is under way.
        replicas: Option<Vec<i32>> = None, since(0).nullable(0);
    }
}

message! {
    /// Answers [`AlterPartitionReassignmentsRequest`].
    pub struct AlterPartitionReassignmentsResponse<'a>: versions 0..=1, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Whether the number of replicas was allowed to change. Since v1.
        allow_replication_factor_change: bool = true, since(1).ignorable();
        /// Outcome of the whole request; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// Outcomes, one entry for each topic.
        responses: Vec<ReassignableTopicResponse<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`AlterPartitionReassignmentsResponse::responses`].
    pub struct ReassignableTopicResponse<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Its partitions, one entry each.
        partitions: Vec<ReassignablePartitionResponse<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ReassignableTopicResponse::partitions`].
    pub struct ReassignablePartitionResponse<'a> {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
    }
}
