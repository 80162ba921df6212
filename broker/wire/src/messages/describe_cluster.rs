//! DescribeCluster: API key 60, versions 0-2. Describes the cluster and its brokers.
//!
//! v0: KIP-700, flexible from the start. v1: endpoint types (KIP-919). v2: fenced brokers
//! (KIP-1073).
//!
//! Source: `DescribeClusterRequest.json` and `DescribeClusterResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Describes the cluster and its brokers.
    pub struct DescribeClusterRequest: versions 0..=2, flexible 0 {
        /// Whether to list what the client may do with the cluster.
        include_cluster_authorized_operations: bool = false, since(0);
        /// 1 for brokers, 2 for controllers. Since v1.
        endpoint_type: i8 = 1, since(1);
        /// Whether to list fenced brokers too (KIP-1073). Since v2.
        include_fenced_brokers: bool = false, since(2);
    }
}

message! {
    /// Answers [`DescribeClusterRequest`].
    pub struct DescribeClusterResponse<'a>: versions 0..=2, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// 1 for brokers, 2 for controllers. Since v1.
        endpoint_type: i8 = 1, since(1);
        /// Id of the cluster, if known.
        cluster_id: &'a str = "", since(0);
        /// Id of the controller; -1 if unknown.
        controller_id: i32 = -1, since(0);
        /// The brokers of the cluster.
        brokers: Vec<DescribeClusterBroker<'a>> = Vec::new(), since(0);
        /// Operations on the cluster that the client may perform, one bit each; `i32::MIN` if not
        /// asked for.
        cluster_authorized_operations: i32 = i32::MIN, since(0);
    }
}

part! {
    /// One entry of [`DescribeClusterResponse::brokers`].
    pub struct DescribeClusterBroker<'a> {
        /// Id of the broker.
        broker_id: i32 = 0, since(0);
        /// Host name or address.
        host: &'a str = "", since(0);
        /// TCP port.
        port: i32 = 0, since(0);
        /// Rack of the broker, if it has one.
        rack: Option<&'a str> = None, since(0).nullable(0);
        /// Whether the broker is fenced. Since v2.
        is_fenced: bool = false, since(2);
    }
}
