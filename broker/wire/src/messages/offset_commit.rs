//! OffsetCommit: API key 8, versions 0-10. Stores a group's offsets.
//!
//! v0-1: offsets in ZooKeeper, and a timestamp. v2-4: a retention time. v6: leader epochs
//! (KIP-320). v7: static members (KIP-345). v8: flexible. v9: the consumer protocol's member
//! epoch (KIP-848). v10: topic ids instead of names (KIP-848).
//!
//! Source: `OffsetCommitRequest.json` and `OffsetCommitResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::{between, since};
use crate::uuid::Uuid;

message! {
    /// Stores a group's offsets.
    pub struct OffsetCommitRequest<'a>: versions 0..=10, flexible 8 {
        /// The group.
        group_id: &'a str = "", since(0);
        /// Generation of the group (or the member's epoch, KIP-848); -1 for a commit from outside
        /// the group. Since v1.
        generation_id_or_member_epoch: i32 = -1, since(1).ignorable();
        /// Id that the coordinator gave the member; empty before the first join. Since v1.
        member_id: &'a str = "", since(1).ignorable();
        /// Name of a static member (KIP-345); null for a dynamic one. Since v7.
        group_instance_id: Option<&'a str> = None, since(7).nullable(7);
        /// How long to keep the offset, in ms; -1 for the broker's default. Versions 2 to 4.
        retention_time_ms: i64 = -1, between(2, 4).ignorable();
        /// Topics, one entry each.
        topics: Vec<OffsetCommitRequestTopic<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetCommitRequest::topics`].
    pub struct OffsetCommitRequestTopic<'a> {
        /// Name of the topic. Until v9.
        name: &'a str = "", between(0, 9).ignorable();
        /// Id of the topic (KIP-516). Since v10.
        topic_id: Uuid = Uuid::ZERO, since(10).ignorable();
        /// Partitions, one entry each.
        partitions: Vec<OffsetCommitRequestPartition<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetCommitRequestTopic::partitions`].
    pub struct OffsetCommitRequestPartition<'a> {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// The next offset to read.
        committed_offset: i64 = 0, since(0);
        /// Leader epoch of the last record consumed; -1 if unknown. Since v6.
        committed_leader_epoch: i32 = -1, since(6).ignorable();
        /// Time of the commit, in ms since the epoch; -1 for the broker's clock. Version 1 only.
        commit_timestamp: i64 = -1, between(1, 1);
        /// Text that the client stores with the offset.
        committed_metadata: Option<&'a str> = None, since(0).nullable(0);
    }
}

message! {
    /// Answers [`OffsetCommitRequest`].
    pub struct OffsetCommitResponse<'a>: versions 0..=10, flexible 8 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v3.
        throttle_time_ms: i32 = 0, since(3).ignorable();
        /// Topics, one entry each.
        topics: Vec<OffsetCommitResponseTopic<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetCommitResponse::topics`].
    pub struct OffsetCommitResponseTopic<'a> {
        /// Name of the topic. Until v9.
        name: &'a str = "", between(0, 9).ignorable();
        /// Id of the topic (KIP-516). Since v10.
        topic_id: Uuid = Uuid::ZERO, since(10).ignorable();
        /// Partitions, one entry each.
        partitions: Vec<OffsetCommitResponsePartition> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`OffsetCommitResponseTopic::partitions`].
    pub struct OffsetCommitResponsePartition {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
    }
}
