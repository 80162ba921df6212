//! ListOffsets: API key 2, versions 1-11.
//!
//! Looks up offsets by time, or by a special time: -1 latest, -2 earliest.
//!
//! v1: one offset per partition. v2: isolation levels (KIP-98). v4: leader epochs (KIP-320). v6:
//! flexible. v7: -3, the offset of the largest timestamp (KIP-734). v8: -4, the local log's start
//! (KIP-405). v9: -5, the end of tiered storage (KIP-1005). v10: a timeout (KIP-1075). v11: -6, the
//! first offset that tiered storage lacks (KIP-1023). v0 was removed from Kafka 4.0 (KIP-896) and is not declared.
//!
//! Source: `ListOffsetsRequest.json` and `ListOffsetsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Looks up offsets by time, or by a special time: -1 latest, -2 earliest.
    pub struct ListOffsetsRequest<'a>: versions 1..=11, flexible 6 {
        /// Id of the follower that asks; -1 for a consumer.
        replica_id: i32 = 0, since(0);
        /// 0 reads all records, 1 only committed ones (KIP-98). Since v2.
        isolation_level: i8 = 0, since(2);
        /// Topics, one entry each.
        topics: Vec<ListOffsetsTopic<'a>> = Vec::new(), since(0);
        /// How long the broker may take, in ms. Since v10.
        timeout_ms: i32 = 0, since(10).ignorable();
    }
}

part! {
    /// One entry of [`ListOffsetsRequest::topics`].
    pub struct ListOffsetsTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<ListOffsetsPartition> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ListOffsetsTopic::partitions`].
    pub struct ListOffsetsPartition {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Leader epoch that the client knows, to detect stale metadata; -1 if unknown (KIP-320).
        /// Since v4.
        current_leader_epoch: i32 = -1, since(4).ignorable();
        /// Time in ms since the epoch; negative values name special offsets.
        timestamp: i64 = 0, since(0);
    }
}

message! {
    /// Answers [`ListOffsetsRequest`].
    pub struct ListOffsetsResponse<'a>: versions 1..=11, flexible 6 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v2.
        throttle_time_ms: i32 = 0, since(2).ignorable();
        /// Topics, one entry each.
        topics: Vec<ListOffsetsTopicResponse<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ListOffsetsResponse::topics`].
    pub struct ListOffsetsTopicResponse<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<ListOffsetsPartitionResponse> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ListOffsetsTopicResponse::partitions`].
    pub struct ListOffsetsPartitionResponse {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Timestamp of the record found, in ms since the epoch; -1 if none.
        timestamp: i64 = -1, since(0);
        /// The offset; -1 if none was found.
        offset: i64 = -1, since(0);
        /// Leader epoch; -1 if unknown. Since v4.
        leader_epoch: i32 = -1, since(4);
    }
}
