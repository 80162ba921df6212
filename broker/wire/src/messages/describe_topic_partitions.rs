//! DescribeTopicPartitions: API key 75, version 0. Describes topics page by page.
//!
//! v0: KIP-966, flexible from the start.
//!
//! Source: `DescribeTopicPartitionsRequest.json` and `DescribeTopicPartitionsResponse.json` of
//! Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;
use crate::uuid::Uuid;

message! {
    /// Describes topics page by page.
    pub struct DescribeTopicPartitionsRequest<'a>: versions 0..=0, flexible 0 {
        /// Topics, one entry each.
        topics: Vec<TopicRequest<'a>> = Vec::new(), since(0);
        /// Most partitions that the response may list.
        response_partition_limit: i32 = 2000, since(0);
        /// Where to go on; null to start with the first topic.
        cursor: Option<Cursor<'a>> = None, since(0).nullable(0);
    }
}

part! {
    /// One entry of [`DescribeTopicPartitionsRequest::topics`].
    pub struct TopicRequest<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
    }
}

part! {
    /// Content of [`DescribeTopicPartitionsRequest::cursor`].
    pub struct Cursor<'a> {
        /// Name of the topic.
        topic_name: &'a str = "", since(0);
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
    }
}

message! {
    /// Answers [`DescribeTopicPartitionsRequest`].
    pub struct DescribeTopicPartitionsResponse<'a>: versions 0..=0, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0).ignorable();
        /// Topics, one entry each.
        topics: Vec<DescribeTopicPartitionsResponseTopic<'a>> = Vec::new(), since(0);
        /// Where the next request should go on; null if all is said.
        next_cursor: Option<Cursor<'a>> = None, since(0).nullable(0);
    }
}

part! {
    /// One entry of [`DescribeTopicPartitionsResponse::topics`].
    pub struct DescribeTopicPartitionsResponseTopic<'a> {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Name of the topic.
        name: Option<&'a str> = None, since(0).nullable(0);
        /// Id of the topic (KIP-516).
        topic_id: Uuid = Uuid::ZERO, since(0).ignorable();
        /// Whether the topic is one of Kafka's own.
        is_internal: bool = false, since(0).ignorable();
        /// Partitions, one entry each.
        partitions: Vec<DescribeTopicPartitionsResponsePartition> = Vec::new(), since(0);
        /// Operations on the topic that the client may perform, one bit each; `i32::MIN` if not
        /// asked for.
        topic_authorized_operations: i32 = i32::MIN, since(0);
    }
}

part! {
    /// One entry of [`DescribeTopicPartitionsResponseTopic::partitions`].
    pub struct DescribeTopicPartitionsResponsePartition {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Id of the leading broker; -1 if none is known.
        leader_id: i32 = 0, since(0);
        /// Leader epoch; -1 if unknown.
        leader_epoch: i32 = -1, since(0).ignorable();
        /// Ids of the brokers that hold replicas.
        replica_nodes: Vec<i32> = Vec::new(), since(0);
        /// Ids of the brokers in sync.
        isr_nodes: Vec<i32> = Vec::new(), since(0);
        /// Replicas that may become leader though not in sync (KIP-966); null if unknown.
        eligible_leader_replicas: Option<Vec<i32>> = None, since(0).nullable(0);
        /// Last known eligible leader replicas (KIP-966); null if unknown.
        last_known_elr: Option<Vec<i32>> = None, since(0).nullable(0);
        /// Ids of the replicas that are offline.
        offline_replicas: Vec<i32> = Vec::new(), since(0).ignorable();
    }
}
