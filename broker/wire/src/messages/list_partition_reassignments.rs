//! ListPartitionReassignments: API key 46, version 0. Lists changes of replicas that are under way.
//!
//! v0: KIP-455, flexible.
//!
//! Source: `ListPartitionReassignmentsRequest.json` and `ListPartitionReassignmentsResponse.json`
//! of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Lists changes of replicas that are under way.
    pub struct ListPartitionReassignmentsRequest<'a>: versions 0..=0, flexible 0 {
        /// How long the broker may take, in ms.
        timeout_ms: i32 = 60_000, since(0);
        /// Topics, one entry each; null for all.
        topics: Option<Vec<ListPartitionReassignmentsTopics<'a>>> = None, since(0).nullable(0);
    }
}

part! {
    /// One entry of [`ListPartitionReassignmentsRequest::topics`].
    pub struct ListPartitionReassignmentsTopics<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Its partitions, by index.
        partition_indexes: Vec<i32> = Vec::new(), since(0);
    }
}

message! {
    /// Answers [`ListPartitionReassignmentsRequest`].
    pub struct ListPartitionReassignmentsResponse<'a>: versions 0..=0, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome of the whole request; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// Topics with changes under way.
        topics: Vec<OngoingTopicReassignment<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ListPartitionReassignmentsResponse::topics`].
    pub struct OngoingTopicReassignment<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Its partitions with changes under way.
        partitions: Vec<OngoingPartitionReassignment> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OngoingTopicReassignment::partitions`].
    pub struct OngoingPartitionReassignment {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Brokers that hold it while the change is under way.
        replicas: Vec<i32> = Vec::new(), since(0);
        /// Brokers that are being added.
        adding_replicas: Vec<i32> = Vec::new(), since(0);
        /// Brokers that are being removed.
        removing_replicas: Vec<i32> = Vec::new(), since(0);
    }
}
