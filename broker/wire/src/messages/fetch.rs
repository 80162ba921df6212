//! Fetch: API key 1, versions 4-18. Reads record batches from partitions, and may wait for them.
//!
//! v4: record batches v2 and isolation levels (KIP-98). v5: log start offset (KIP-107). v7:
//! incremental sessions (KIP-227). v9: leader epochs (KIP-320). v10: zstd (KIP-110). v11:
//! follower fetching (KIP-392). v12: flexible (KIP-482), diverging epochs (KIP-595). v13: topic
//! ids instead of names (KIP-516). v15: replica state (KIP-903). v16: the new leader in the
//! response (KIP-951). v17: directory ids (KIP-853). v18: the follower's high watermark
//! (KIP-1166). v0-3 were removed from Kafka 4.0 (KIP-896) and are not declared.
//!
//! Source: `FetchRequest.json` and `FetchResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::{between, since};
use crate::records::Records;
use crate::uuid::Uuid;

message! {
    /// Reads record batches from partitions, and may wait for them.
    pub struct FetchRequest<'a>: versions 4..=18, flexible 12 {
        /// Id of the cluster, if known. Since v12.
        cluster_id: Option<&'a str> = None, since(12).nullable(12).tag(0).ignorable();
        /// Id of the follower that asks; -1 for a consumer. Until v14.
        replica_id: i32 = -1, between(0, 14);
        /// The follower that asks (KIP-903). Since v15.
        replica_state: ReplicaState = ReplicaState::default(), since(15).tag(1);
        /// How long the broker may wait for `min_bytes`, in ms.
        max_wait_ms: i32 = 0, since(0);
        /// Fewest bytes worth an answer before `max_wait_ms` is over.
        min_bytes: i32 = 0, since(0);
        /// Most bytes wanted in all; the first batch comes whole even if larger (KIP-74).
        max_bytes: i32 = i32::MAX, since(0).ignorable();
        /// 0 reads all records, 1 only committed ones (KIP-98).
        isolation_level: i8 = 0, since(0).ignorable();
        /// The fetch session (KIP-227); 0 for none. Since v7.
        session_id: i32 = 0, since(7).ignorable();
        /// Epoch of the fetch session (KIP-227); -1 for none, 0 to begin one. Since v7.
        session_epoch: i32 = -1, since(7).ignorable();
        /// Topics, one entry each.
        topics: Vec<FetchTopic<'a>> = Vec::new(), since(0);
        /// Partitions to drop from the incremental session (KIP-227). Since v7.
        forgotten_topics_data: Vec<ForgottenTopic<'a>> = Vec::new(), since(7);
        /// Rack of the client (KIP-392); empty if unknown. Since v11.
        rack_id: &'a str = "", since(11).ignorable();
    }
}

part! {
    /// Content of [`FetchRequest::replica_state`].
    pub struct ReplicaState {
        /// Id of the follower that asks; -1 for a consumer. Since v15.
        replica_id: i32 = -1, since(15);
        /// Epoch of the follower; -1 if none. Since v15.
        replica_epoch: i64 = -1, since(15);
    }
}

part! {
    /// One entry of [`FetchRequest::topics`].
    pub struct FetchTopic<'a> {
        /// Name of the topic. Until v12.
        topic: &'a str = "", between(0, 12).ignorable();
        /// Id of the topic (KIP-516). Since v13.
        topic_id: Uuid = Uuid::ZERO, since(13).ignorable();
        /// Partitions, one entry each.
        partitions: Vec<FetchPartition> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`FetchTopic::partitions`].
    pub struct FetchPartition {
        /// Index of the partition.
        partition: i32 = 0, since(0);
        /// Leader epoch that the client knows, to detect stale metadata; -1 if unknown (KIP-320).
        /// Since v9.
        current_leader_epoch: i32 = -1, since(9).ignorable();
        /// First offset wanted.
        fetch_offset: i64 = 0, since(0);
        /// Epoch of the last record that the client has; -1 for none. Since v12.
        last_fetched_epoch: i32 = -1, since(12);
        /// First offset that can still be read; -1 if unknown. Since v5.
        log_start_offset: i64 = -1, since(5).ignorable();
        /// Most bytes wanted from the partition; the first batch comes whole even if larger
        /// (KIP-74).
        partition_max_bytes: i32 = 0, since(0);
        /// Directory of the follower that fetches (KIP-853). Since v17.
        replica_directory_id: Uuid = Uuid::ZERO, since(17).tag(0).ignorable();
        /// High watermark that a follower knows (KIP-1166); -1 if none, `i64::MAX` if not sent.
        /// Since v18.
        high_watermark: i64 = i64::MAX, since(18).tag(1).ignorable();
    }
}

part! {
    /// One entry of [`FetchRequest::forgotten_topics_data`].
    pub struct ForgottenTopic<'a> {
        /// Name of the topic. Versions 7 to 12.
        topic: &'a str = "", between(7, 12).ignorable();
        /// Id of the topic (KIP-516). Since v13.
        topic_id: Uuid = Uuid::ZERO, since(13).ignorable();
        /// Partitions, one entry each. Since v7.
        partitions: Vec<i32> = Vec::new(), since(7);
    }
}

message! {
    /// Answers [`FetchRequest`].
    pub struct FetchResponse<'a>: versions 4..=18, flexible 12 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0).ignorable();
        /// Outcome; 0 is success. Since v7.
        error_code: ErrorCode = ErrorCode::NONE, since(7).ignorable();
        /// The fetch session (KIP-227); 0 for none. Since v7.
        session_id: i32 = 0, since(7);
        /// Outcomes, one entry each.
        responses: Vec<FetchableTopicResponse<'a>> = Vec::new(), since(0);
        /// Addresses of the leaders that `current_leader` names (KIP-951). Since v16.
        node_endpoints: Vec<NodeEndpoint<'a>> = Vec::new(), since(16).tag(0);
    }
}

part! {
    /// One entry of [`FetchResponse::responses`].
    pub struct FetchableTopicResponse<'a> {
        /// Name of the topic. Until v12.
        topic: &'a str = "", between(0, 12).ignorable();
        /// Id of the topic (KIP-516). Since v13.
        topic_id: Uuid = Uuid::ZERO, since(13).ignorable();
        /// Partitions, one entry each.
        partitions: Vec<PartitionData<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`FetchableTopicResponse::partitions`].
    pub struct PartitionData<'a> {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Offset below which every record is durable and visible.
        high_watermark: i64 = 0, since(0);
        /// Offset below which no transaction is open; -1 if unknown.
        last_stable_offset: i64 = -1, since(0).ignorable();
        /// First offset that can still be read; -1 if unknown. Since v5.
        log_start_offset: i64 = -1, since(5).ignorable();
        /// Set where the client's log diverges from this one (KIP-595): the epoch and its end.
        /// Since v12.
        diverging_epoch: EpochEndOffset = EpochEndOffset::default(), since(12).tag(0);
        /// The leader that the client should turn to (KIP-951). Since v12.
        current_leader: LeaderIdAndEpoch = LeaderIdAndEpoch::default(), since(12).tag(1);
        /// The snapshot to fetch instead (KIP-630). Since v12.
        snapshot_id: SnapshotId = SnapshotId::default(), since(12).tag(2);
        /// Aborted transactions whose records the response may contain; null unless the fetch reads
        /// committed records only.
        aborted_transactions: Option<Vec<AbortedTransaction>> =
            None, since(0).nullable(0).ignorable();
        /// Broker from which the client should fetch (KIP-392); -1 for this one. Since v11.
        preferred_read_replica: i32 = -1, since(11);
        /// Record batches.
        records: Records<'a> = Records::Null, since(0);
    }
}

part! {
    /// Content of [`PartitionData::diverging_epoch`].
    pub struct EpochEndOffset {
        /// An epoch. Since v12.
        epoch: i32 = -1, since(12);
        /// End of the epoch: the offset behind its last record. Since v12.
        end_offset: i64 = -1, since(12);
    }
}

part! {
    /// Content of [`PartitionData::current_leader`].
    pub struct LeaderIdAndEpoch {
        /// Id of the leading broker; -1 if none is known. Since v12.
        leader_id: i32 = -1, since(12);
        /// Leader epoch; -1 if unknown. Since v12.
        leader_epoch: i32 = -1, since(12);
    }
}

part! {
    /// Content of [`PartitionData::snapshot_id`].
    pub struct SnapshotId {
        /// End of the epoch: the offset behind its last record.
        end_offset: i64 = -1, since(0);
        /// An epoch.
        epoch: i32 = -1, since(0);
    }
}

part! {
    /// One entry of [`PartitionData::aborted_transactions`].
    pub struct AbortedTransaction {
        /// Id of the producer; -1 if none.
        producer_id: i64 = 0, since(0);
        /// First offset of the transaction.
        first_offset: i64 = 0, since(0);
    }
}

part! {
    /// One entry of [`FetchResponse::node_endpoints`].
    pub struct NodeEndpoint<'a> {
        /// Id of the broker. Since v16.
        node_id: i32 = 0, since(16);
        /// Host name or address. Since v16.
        host: &'a str = "", since(16);
        /// TCP port. Since v16.
        port: i32 = 0, since(16);
        /// Rack of the broker, if it has one. Since v16.
        rack: Option<&'a str> = None, since(16).nullable(16);
    }
}
