//! OffsetDelete: API key 47, version 0. Deletes a group's offsets of single partitions.
//!
//! v0: KIP-496. Never flexible.
//!
//! Source: `OffsetDeleteRequest.json` and `OffsetDeleteResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Deletes a group's offsets of single partitions.
    pub struct OffsetDeleteRequest<'a>: versions 0..=0, flexible none {
        /// The group.
        group_id: &'a str = "", since(0);
        /// Topics, one entry each.
        topics: Vec<OffsetDeleteRequestTopic<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetDeleteRequest::topics`].
    pub struct OffsetDeleteRequestTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<OffsetDeleteRequestPartition> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetDeleteRequestTopic::partitions`].
    pub struct OffsetDeleteRequestPartition {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
    }
}

message! {
    /// Answers [`OffsetDeleteRequest`].
    pub struct OffsetDeleteResponse<'a>: versions 0..=0, flexible none {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0).ignorable();
        /// Topics, one entry each.
        topics: Vec<OffsetDeleteResponseTopic<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetDeleteResponse::topics`].
    pub struct OffsetDeleteResponseTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<OffsetDeleteResponsePartition> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetDeleteResponseTopic::partitions`].
    pub struct OffsetDeleteResponsePartition {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
    }
}
