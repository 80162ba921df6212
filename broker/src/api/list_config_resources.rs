//! ListConfigResources (key 74), versions 0-1 (KIP-714, KIP-1142).
//!
//! - Topics, brokers, and brokers again for their loggers. Client metrics and groups have no settings here, so none
//!   is listed.
//! - Needs DESCRIBE_CONFIGS on the cluster: CLUSTER_AUTHORIZATION_FAILED.
//! - v0: client metrics only. v1: the types asked for, each listed once however often it is named; an empty list asks
//!   for all. UNSUPPORTED_VERSION for a type that cannot be listed in the version, as in Kafka.

use security::acl::Operation;
use wire::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use wire::{ErrorCode, VersionRange};

use super::describe_configs::{
    RESOURCE_BROKER, RESOURCE_BROKER_LOGGER, RESOURCE_CLIENT_METRICS, RESOURCE_GROUP,
    RESOURCE_TOPIC,
};
use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 1 };

/// The types that can be listed in a version.
fn supported(version: i16) -> &'static [i8] {
    match version {
        0 => &[RESOURCE_CLIENT_METRICS],
        _ => &[
            RESOURCE_TOPIC,
            RESOURCE_BROKER,
            RESOURCE_BROKER_LOGGER,
            RESOURCE_CLIENT_METRICS,
            RESOURCE_GROUP,
        ],
    }
}

pub(crate) async fn handle(cx: &RequestContext, request: ListConfigResourcesRequest) -> Reply {
    if let Err((error_code, _)) = cx.authorize_cluster(Operation::DescribeConfigs) {
        cx.failed(error_code);
        return cx.reply(&ListConfigResourcesResponse {
            error_code,
            ..ListConfigResourcesResponse::default()
        });
    }
    let supported = supported(cx.version);
    let asked = request.resource_types;
    if asked.iter().any(|kind| !supported.contains(kind)) {
        cx.failed(ErrorCode::UNSUPPORTED_VERSION);
        return cx.reply(&ListConfigResourcesResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION,
            ..ListConfigResourcesResponse::default()
        });
    }
    let metadata = cx.shard.metadata();
    let brokers: Vec<String> = metadata
        .endpoints(cx.listener())
        .map(|node| node.id.get().to_string())
        .collect();
    let mut found = Vec::new();
    let is_asked = |kind: &&i8| asked.is_empty() || asked.contains(kind);
    for &kind in supported.iter().filter(is_asked) {
        let resource = |resource_name| ConfigResource {
            resource_name,
            resource_type: kind,
        };
        match kind {
            RESOURCE_TOPIC => {
                let mut names: Vec<&str> = metadata.topics().map(|it| it.name.as_str()).collect();
                names.sort_unstable();
                found.extend(names.into_iter().map(resource));
            }
            RESOURCE_BROKER | RESOURCE_BROKER_LOGGER => {
                found.extend(brokers.iter().map(|id| resource(id.as_str())));
            }
            _ => {}
        }
    }
    cx.reply(&ListConfigResourcesResponse {
        config_resources: found,
        ..ListConfigResourcesResponse::default()
    })
}
