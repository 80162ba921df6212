//! OffsetForLeaderEpoch: API key 23, versions 0-4.
//!
//! Asks where leader epochs end, to detect truncation.
//!
//! v1: leader epoch in the response (KIP-279). v2: the current leader epoch (KIP-320). v3:
//! replica id. v4: flexible.
//!
//! Source: `OffsetForLeaderEpochRequest.json` and `OffsetForLeaderEpochResponse.json` of Apache
//! Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Asks where leader epochs end, to detect truncation.
    pub struct OffsetForLeaderEpochRequest<'a>: versions 0..=4, flexible 4 {
        /// Id of the follower that asks; -1 for a consumer. Since v3.
        replica_id: i32 = -2, since(3).ignorable();
        /// Topics, one entry each.
        topics: Vec<OffsetForLeaderTopic<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetForLeaderEpochRequest::topics`].
    pub struct OffsetForLeaderTopic<'a> {
        /// Name of the topic.
        topic: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<OffsetForLeaderPartition> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetForLeaderTopic::partitions`].
    pub struct OffsetForLeaderPartition {
        /// Index of the partition.
        partition: i32 = 0, since(0);
        /// Leader epoch that the client knows, to detect stale metadata; -1 if unknown (KIP-320).
        /// Since v2.
        current_leader_epoch: i32 = -1, since(2).ignorable();
        /// Leader epoch; -1 if unknown.
        leader_epoch: i32 = 0, since(0);
    }
}

message! {
    /// Answers [`OffsetForLeaderEpochRequest`].
    pub struct OffsetForLeaderEpochResponse<'a>: versions 0..=4, flexible 4 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v2.
        throttle_time_ms: i32 = 0, since(2).ignorable();
        /// Topics, one entry each.
        topics: Vec<OffsetForLeaderTopicResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetForLeaderEpochResponse::topics`].
    pub struct OffsetForLeaderTopicResult<'a> {
        /// Name of the topic.
        topic: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<EpochEndOffset> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetForLeaderTopicResult::partitions`].
    pub struct EpochEndOffset {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Index of the partition.
        partition: i32 = 0, since(0);
        /// Leader epoch; -1 if unknown. Since v1.
        leader_epoch: i32 = -1, since(1).ignorable();
        /// End of the epoch: the offset behind its last record.
        end_offset: i64 = -1, since(0);
    }
}
