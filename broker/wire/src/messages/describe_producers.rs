//! DescribeProducers: API key 61, version 0. Describes the producers with state on partitions.
//!
//! v0: KIP-664, flexible from the start.
//!
//! Source: `DescribeProducersRequest.json` and `DescribeProducersResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Describes the producers with state on partitions.
    pub struct DescribeProducersRequest<'a>: versions 0..=0, flexible 0 {
        /// Topics, one entry each.
        topics: Vec<TopicRequest<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeProducersRequest::topics`].
    pub struct TopicRequest<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Indexes of the partitions.
        partition_indexes: Vec<i32> = Vec::new(), since(0);
    }
}

message! {
    /// Answers [`DescribeProducersRequest`].
    pub struct DescribeProducersResponse<'a>: versions 0..=0, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Topics, one entry each.
        topics: Vec<TopicResponse<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeProducersResponse::topics`].
    pub struct TopicResponse<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<PartitionResponse<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`TopicResponse::partitions`].
    pub struct PartitionResponse<'a> {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// Producers with state on the partition.
        active_producers: Vec<ProducerState> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`PartitionResponse::active_producers`].
    pub struct ProducerState {
        /// Id of the producer; -1 if none.
        producer_id: i64 = 0, since(0);
        /// Epoch of the producer id.
        producer_epoch: i32 = 0, since(0);
        /// Last sequence number written; -1 if none.
        last_sequence: i32 = -1, since(0);
        /// Largest timestamp written, in ms since the epoch; -1 if none.
        last_timestamp: i64 = -1, since(0);
        /// Epoch of the transaction coordinator.
        coordinator_epoch: i32 = 0, since(0);
        /// First offset of the producer's open transaction; -1 if none.
        current_txn_start_offset: i64 = -1, since(0);
    }
}
