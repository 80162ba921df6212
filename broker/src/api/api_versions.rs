//! ApiVersions (key 18), versions 0-5.
//!
//! - The list is the table in [`super`]: what is advertised is exactly what is dispatched.
//! - A version that is not known is answered in version 0 with UNSUPPORTED_VERSION and the versions
//!   of this API alone, so that the client can ask again (KIP-511); [`unsupported`] makes that
//!   reply.
//! - v3: the client's software name and version; INVALID_REQUEST unless both are letters, digits,
//!   dots and hyphens that begin and end with a letter or digit.
//! - v5: the node that the client means (KIP-1242). REBOOTSTRAP_REQUIRED if that is of another cluster or another
//!   broker, INVALID_REQUEST if only one of cluster and node is named.
//! - v4: the features of [`FEATURES`], each at level 0 and therefore not among the finalized ones. v3
//!   (KIP-584) cannot carry features that begin at 0: they are left out, as in Kafka.

use wire::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, SupportedFeatureKey,
};
use wire::{ApiKey, ErrorCode, VersionRange};

use super::update_features::FEATURES;
use super::{Reply, RequestContext, advertised};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 5 };
/// First version with features that begin at level 0.
const FEATURES_FROM: i16 = 4;
/// Epoch of the finalized features: they have never changed.
const FEATURES_EPOCH: i64 = 0;
/// "No node".
const NO_NODE: i32 = -1;
/// First version in which the client names its software.
const SOFTWARE_FROM: i16 = 3;

pub(crate) async fn handle(cx: &RequestContext, request: ApiVersionsRequest<'_>) -> Reply {
    let names = [
        request.client_software_name,
        request.client_software_version,
    ];
    if cx.version >= SOFTWARE_FROM && !names.into_iter().all(is_software_name) {
        cx.failed(ErrorCode::INVALID_REQUEST);
        return cx.reply(&ApiVersionsResponse {
            error_code: ErrorCode::INVALID_REQUEST,
            ..ApiVersionsResponse::default()
        });
    }
    if let Err(error_code) = check_node(cx, &request) {
        cx.failed(error_code);
        return cx.reply(&ApiVersionsResponse {
            error_code,
            ..ApiVersionsResponse::default()
        });
    }
    let api_keys = advertised().map(row).collect();
    let features = FEATURES.iter().filter(|_| cx.version >= FEATURES_FROM);
    let features = features.map(|(name, max)| SupportedFeatureKey {
        name,
        min_version: 0,
        max_version: *max,
    });
    cx.reply(&ApiVersionsResponse {
        api_keys,
        supported_features: features.collect(),
        finalized_features_epoch: FEATURES_EPOCH,
        ..ApiVersionsResponse::default()
    })
}

/// Whether the client has reached whom it means, where it says so.
fn check_node(cx: &RequestContext, request: &ApiVersionsRequest<'_>) -> Result<(), ErrorCode> {
    let (cluster, node) = match (request.cluster_id, request.node_id) {
        (None, NO_NODE) => return Ok(()),
        (None, _) | (Some(_), NO_NODE) => return Err(ErrorCode::INVALID_REQUEST),
        (Some(cluster), node) => (cluster, node),
    };
    let metadata = cx.shard.metadata();
    let own = metadata.node(metadata.broker);
    if cluster == metadata.cluster_id && own.is_some_and(|own| own.has_node(node)) {
        Ok(())
    } else {
        Err(ErrorCode::REBOOTSTRAP_REQUIRED)
    }
}

/// The answer to a version that is not known, in version 0.
pub(super) fn unsupported(correlation_id: i32) -> Reply {
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: vec![row((ApiKey::ApiVersions, VERSIONS))],
        ..ApiVersionsResponse::default()
    };
    let frame = wire::encode_response(correlation_id, ApiKey::ApiVersions, 0, &response);
    frame.map_or(Reply::Close, Reply::from)
}

fn row((api, versions): (ApiKey, VersionRange)) -> ApiVersion {
    ApiVersion {
        api_key: api.as_i16(),
        min_version: versions.min,
        max_version: versions.max,
    }
}

fn is_software_name(name: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let bytes = name.as_bytes();
    is_end(bytes.first()) && is_end(bytes.last()) && bytes.iter().copied().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_those_that_kafka_takes() {
        for good in ["apache-kafka-java", "4.1.0", "x", "librdkafka"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-x", "x.", "a b", "a_b", "ä"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
