//! DeleteRecords: API key 21, versions 0-2. Deletes the records below an offset.
//!
//! v0: KIP-107. v2: flexible.
//!
//! Source: `DeleteRecordsRequest.json` and `DeleteRecordsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Deletes the records below an offset.
    pub struct DeleteRecordsRequest<'a>: versions 0..=2, flexible 2 {
        /// Topics, one entry each.
        topics: Vec<DeleteRecordsTopic<'a>> = Vec::new(), since(0);
        /// How long the broker may take, in ms.
        timeout_ms: i32 = 0, since(0);
    }
}

part! {
    /// One entry of [`DeleteRecordsRequest::topics`].
    pub struct DeleteRecordsTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<DeleteRecordsPartition> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DeleteRecordsTopic::partitions`].
    pub struct DeleteRecordsPartition {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Offset below which to delete; -1 for the high watermark.
        offset: i64 = 0, since(0);
    }
}

message! {
    /// Answers [`DeleteRecordsRequest`].
    pub struct DeleteRecordsResponse<'a>: versions 0..=2, flexible 2 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Topics, one entry each.
        topics: Vec<DeleteRecordsTopicResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DeleteRecordsResponse::topics`].
    pub struct DeleteRecordsTopicResult<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<DeleteRecordsPartitionResult> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DeleteRecordsTopicResult::partitions`].
    pub struct DeleteRecordsPartitionResult {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// First offset that can still be read.
        low_watermark: i64 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
    }
}
