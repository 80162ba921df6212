//! OffsetFetch: API key 9, versions 1-10. Looks up a group's stored offsets.
//!
//! v2: null for all topics, and an error for the whole response. v5: leader epochs (KIP-320). v6:
//! flexible. v7: stable offsets only (KIP-447). v8: several groups (KIP-709). v9: the consumer
//! protocol (KIP-848). v10: topic ids instead of names (KIP-848). v0 read from ZooKeeper and is
//! not declared.
//!
//! Source: `OffsetFetchRequest.json` and `OffsetFetchResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::{between, since};
use crate::uuid::Uuid;

message! {
    /// Looks up a group's stored offsets.
    pub struct OffsetFetchRequest<'a>: versions 1..=10, flexible 6 {
        /// The group. Until v7.
        group_id: &'a str = "", between(0, 7);
        /// Topics to look up; null for all of the group. Until v7.
        topics: Option<Vec<OffsetFetchRequestTopic<'a>>> =
            Some(Vec::new()), between(0, 7).nullable(2);
        /// Groups, one entry each. Since v8.
        groups: Vec<OffsetFetchRequestGroup<'a>> = Vec::new(), since(8);
        /// Whether to fail where offsets of an open transaction are pending (KIP-447). Since v7.
        require_stable: bool = false, since(7);
    }
}

part! {
    /// One entry of [`OffsetFetchRequest::topics`].
    pub struct OffsetFetchRequestTopic<'a> {
        /// Name of the topic. Until v7.
        name: &'a str = "", between(0, 7);
        /// Indexes of the partitions. Until v7.
        partition_indexes: Vec<i32> = Vec::new(), between(0, 7);
    }
}

part! {
    /// One entry of [`OffsetFetchRequest::groups`].
    pub struct OffsetFetchRequestGroup<'a> {
        /// The group. Since v8.
        group_id: &'a str = "", since(8);
        /// Id that the coordinator gave the member; empty before the first join. Since v9.
        member_id: Option<&'a str> = None, since(9).nullable(9).ignorable();
        /// Epoch of the member (KIP-848); -1 for the classic protocol. Since v9.
        member_epoch: i32 = -1, since(9).ignorable();
        /// Topics to look up; null for all of the group. Since v8.
        topics: Option<Vec<OffsetFetchRequestTopics<'a>>> =
            Some(Vec::new()), since(8).nullable(8);
    }
}

part! {
    /// One entry of [`OffsetFetchRequestGroup::topics`].
    pub struct OffsetFetchRequestTopics<'a> {
        /// Name of the topic. Versions 8 to 9.
        name: &'a str = "", between(8, 9).ignorable();
        /// Id of the topic (KIP-516). Since v10.
        topic_id: Uuid = Uuid::ZERO, since(10).ignorable();
        /// Indexes of the partitions. Since v8.
        partition_indexes: Vec<i32> = Vec::new(), since(8);
    }
}

message! {
    /// Answers [`OffsetFetchRequest`].
    pub struct OffsetFetchResponse<'a>: versions 1..=10, flexible 6 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v3.
        throttle_time_ms: i32 = 0, since(3).ignorable();
        /// Topics, one entry each. Until v7.
        topics: Vec<OffsetFetchResponseTopic<'a>> = Vec::new(), between(0, 7);
        /// Outcome; 0 is success. Versions 2 to 7.
        error_code: ErrorCode = ErrorCode::NONE, between(2, 7).ignorable();
        /// Groups, one entry each. Since v8.
        groups: Vec<OffsetFetchResponseGroup<'a>> = Vec::new(), since(8);
    }
}

part! {
    /// One entry of [`OffsetFetchResponse::topics`].
    pub struct OffsetFetchResponseTopic<'a> {
        /// Name of the topic. Until v7.
        name: &'a str = "", between(0, 7);
        /// Partitions, one entry each. Until v7.
        partitions: Vec<OffsetFetchResponsePartition<'a>> = Vec::new(), between(0, 7);
    }
}

part! {
    /// One entry of [`OffsetFetchResponseTopic::partitions`].
    pub struct OffsetFetchResponsePartition<'a> {
        /// Index of the partition. Until v7.
        partition_index: i32 = 0, between(0, 7);
        /// The next offset to read. Until v7.
        committed_offset: i64 = 0, between(0, 7);
        /// Leader epoch of the last record consumed; -1 if unknown. Versions 5 to 7.
        committed_leader_epoch: i32 = -1, between(5, 7).ignorable();
        /// Text that the client stored with the offset. Until v7.
        metadata: Option<&'a str> = None, between(0, 7).nullable(0);
        /// Outcome; 0 is success. Until v7.
        error_code: ErrorCode = ErrorCode::NONE, between(0, 7);
    }
}

part! {
    /// One entry of [`OffsetFetchResponse::groups`].
    pub struct OffsetFetchResponseGroup<'a> {
        /// The group. Since v8.
        group_id: &'a str = "", since(8);
        /// Topics, one entry each. Since v8.
        topics: Vec<OffsetFetchResponseTopics<'a>> = Vec::new(), since(8);
        /// Outcome; 0 is success. Since v8.
        error_code: ErrorCode = ErrorCode::NONE, since(8);
    }
}

part! {
    /// One entry of [`OffsetFetchResponseGroup::topics`].
    pub struct OffsetFetchResponseTopics<'a> {
        /// Name of the topic. Versions 8 to 9.
        name: &'a str = "", between(8, 9).ignorable();
        /// Id of the topic (KIP-516). Since v10.
        topic_id: Uuid = Uuid::ZERO, since(10).ignorable();
        /// Partitions, one entry each. Since v8.
        partitions: Vec<OffsetFetchResponsePartitions<'a>> = Vec::new(), since(8);
    }
}

part! {
    /// One entry of [`OffsetFetchResponseTopics::partitions`].
    pub struct OffsetFetchResponsePartitions<'a> {
        /// Index of the partition. Since v8.
        partition_index: i32 = 0, since(8);
        /// The next offset to read. Since v8.
        committed_offset: i64 = 0, since(8);
        /// Leader epoch of the last record consumed; -1 if unknown. Since v8.
        committed_leader_epoch: i32 = -1, since(8).ignorable();
        /// Text that the client stored with the offset. Since v8.
        metadata: Option<&'a str> = None, since(8).nullable(8);
        /// Outcome; 0 is success. Since v8.
        error_code: ErrorCode = ErrorCode::NONE, since(8);
    }
}
