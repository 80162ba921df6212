//! Metadata: API key 3, versions 0-13. Describes brokers and topics: who leads which partition.
//!
//! v1: the controller, racks, null for all topics. v2: cluster id (KIP-78). v4: no automatic
//! creation. v5: offline replicas (KIP-112). v7: leader epochs (KIP-320). v8: authorized
//! operations (KIP-430). v9: flexible. v10, v12: topic ids (KIP-516). v11: no cluster operations
//! (KIP-700). v13: an error for the whole response (KIP-1102).
//!
//! Source: `MetadataRequest.json` and `MetadataResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::{between, since};
use crate::uuid::Uuid;

message! {
    /// Describes brokers and topics: who leads which partition.
    pub struct MetadataRequest<'a>: versions 0..=13, flexible 9 {
        /// Topics to describe. Null asks for all (in v0 an empty list does); empty asks for none.
        topics: Option<Vec<MetadataRequestTopic<'a>>> = Some(Vec::new()), since(0).nullable(1);
        /// Whether a topic that does not exist may be created, if the broker allows it. Since v4.
        allow_auto_topic_creation: bool = true, since(4);
        /// Whether to list what the client may do with the cluster. Versions 8 to 10.
        include_cluster_authorized_operations: bool = false, between(8, 10);
        /// Whether to list what the client may do with each topic. Since v8.
        include_topic_authorized_operations: bool = false, since(8);
    }
}

part! {
    /// One entry of [`MetadataRequest::topics`].
    pub struct MetadataRequestTopic<'a> {
        /// Id of the topic (KIP-516). Since v10.
        topic_id: Uuid = Uuid::ZERO, since(10).ignorable();
        /// Name of the topic.
        name: Option<&'a str> = Some(""), since(0).nullable(10);
    }
}

message! {
    /// Answers [`MetadataRequest`].
    pub struct MetadataResponse<'a>: versions 0..=13, flexible 9 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v3.
        throttle_time_ms: i32 = 0, since(3).ignorable();
        /// The brokers of the cluster.
        brokers: Vec<MetadataResponseBroker<'a>> = Vec::new(), since(0);
        /// Id of the cluster, if known. Since v2.
        cluster_id: Option<&'a str> = None, since(2).nullable(2).ignorable();
        /// Id of the controller; -1 if unknown. Since v1.
        controller_id: i32 = -1, since(1).ignorable();
        /// Topics, one entry each.
        topics: Vec<MetadataResponseTopic<'a>> = Vec::new(), since(0);
        /// Operations on the cluster that the client may perform, one bit each; `i32::MIN` if not
        /// asked for. Versions 8 to 10.
        cluster_authorized_operations: i32 = i32::MIN, between(8, 10);
        /// Outcome; 0 is success. Since v13.
        error_code: ErrorCode = ErrorCode::NONE, since(13).ignorable();
    }
}

part! {
    /// One entry of [`MetadataResponse::brokers`].
    pub struct MetadataResponseBroker<'a> {
        /// Id of the broker.
        node_id: i32 = 0, since(0);
        /// Host name or address.
        host: &'a str = "", since(0);
        /// TCP port.
        port: i32 = 0, since(0);
        /// Rack of the broker, if it has one. Since v1.
        rack: Option<&'a str> = None, since(1).nullable(1).ignorable();
    }
}

part! {
    /// One entry of [`MetadataResponse::topics`].
    pub struct MetadataResponseTopic<'a> {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Name of the topic.
        name: Option<&'a str> = Some(""), since(0).nullable(12);
        /// Id of the topic (KIP-516). Since v10.
        topic_id: Uuid = Uuid::ZERO, since(10).ignorable();
        /// Whether the topic is one of Kafka's own. Since v1.
        is_internal: bool = false, since(1).ignorable();
        /// Partitions, one entry each.
        partitions: Vec<MetadataResponsePartition> = Vec::new(), since(0);
        /// Operations on the topic that the client may perform, one bit each; `i32::MIN` if not
        /// asked for. Since v8.
        topic_authorized_operations: i32 = i32::MIN, since(8);
    }
}

part! {
    /// One entry of [`MetadataResponseTopic::partitions`].
    pub struct MetadataResponsePartition {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Id of the leading broker; -1 if none is known.
        leader_id: i32 = 0, since(0);
        /// Leader epoch; -1 if unknown. Since v7.
        leader_epoch: i32 = -1, since(7).ignorable();
        /// Ids of the brokers that hold replicas.
        replica_nodes: Vec<i32> = Vec::new(), since(0);
        /// Ids of the brokers in sync.
        isr_nodes: Vec<i32> = Vec::new(), since(0);
        /// Ids of the replicas that are offline. Since v5.
        offline_replicas: Vec<i32> = Vec::new(), since(5).ignorable();
    }
}
