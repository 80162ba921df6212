//! DescribeCluster (key 60), versions 0-2.
//!
//! - The live brokers with their addresses at the listener that the client came by, those without it left out, the cluster id and the controller, which is the node with the smallest id:
//!   any broker carries out admin requests.
//! - v0: authorized operations, all of them where no ACLs decide, none without DESCRIBE on the cluster (KIP-700). v1: the type of
//!   endpoints asked for (KIP-919): brokers (1) only; 2 is MISMATCHED_ENDPOINT_TYPE as on any Kafka
//!   broker, another number UNSUPPORTED_ENDPOINT_TYPE. v2: fenced brokers (KIP-1073): there are
//!   none, since a broker without a session is not known.

use wire::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use wire::{ErrorCode, VersionRange};

use super::metadata::controller;
use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 2 };
/// Create, alter, describe, cluster action, describe configs, alter configs, idempotent write: the
/// bit of an operation is its number in `AclOperation`.
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

const ENDPOINTS_BROKERS: i8 = 1;
const ENDPOINTS_CONTROLLERS: i8 = 2;

pub(crate) async fn handle(cx: &RequestContext, request: DescribeClusterRequest) -> Reply {
    let refused = match request.endpoint_type {
        ENDPOINTS_BROKERS => None,
        ENDPOINTS_CONTROLLERS => Some((
            ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of \
             type CONTROLLER",
        )),
        _ => Some((
            ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            "Unsupported endpoint type",
        )),
    };
    if let Some((error_code, message)) = refused {
        cx.failed(error_code);
        return cx.reply(&DescribeClusterResponse {
            error_code,
            error_message: Some(message),
            ..DescribeClusterResponse::default()
        });
    }
    let metadata = cx.shard.metadata();
    let brokers = metadata
        .endpoints(cx.listener())
        .map(|node| DescribeClusterBroker {
            broker_id: node.id.get(),
            host: node.host,
            port: i32::from(node.port),
            rack: node.rack,
            is_fenced: false,
        });
    let with_operations = request.include_cluster_authorized_operations;
    cx.reply(&DescribeClusterResponse {
        cluster_id: &metadata.cluster_id,
        controller_id: controller(cx.listener(), &metadata),
        brokers: brokers.collect(),
        cluster_authorized_operations: cx.cluster_operations(with_operations, CLUSTER_OPERATIONS),
        ..DescribeClusterResponse::default()
    })
}
