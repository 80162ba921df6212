//! ApiVersions: API key 18, versions 0-5. Asks which APIs and versions a broker serves.
//!
//! v1: throttle time. v3: flexible; the client's name and version (KIP-511); features (KIP-584).
//! v4: features with minimum version 0. v5: the node that the client means (KIP-1242). The response header is always version 0, and a request in
//! a version that the broker does not know is answered in v0 with UNSUPPORTED_VERSION (KIP-511).
//!
//! Source: `ApiVersionsRequest.json` and `ApiVersionsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Asks which APIs and versions a broker serves.
    pub struct ApiVersionsRequest<'a>: versions 0..=5, flexible 3 {
        /// Name of the client library. Since v3.
        client_software_name: &'a str = "", since(3).ignorable();
        /// Version of the client library. Since v3.
        client_software_version: &'a str = "", since(3).ignorable();
        /// Id of the cluster that the client means; null if it knows none. Since v5.
        cluster_id: Option<&'a str> = None, since(5).nullable(5).ignorable();
        /// Id of the node that the client means; -1 if it knows none. Since v5.
        node_id: i32 = -1, since(5).ignorable();
    }
}

message! {
    /// Answers [`ApiVersionsRequest`].
    pub struct ApiVersionsResponse<'a>: versions 0..=5, flexible 3 {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// The APIs that the broker serves.
        api_keys: Vec<ApiVersion> = Vec::new(), since(0);
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v1.
        throttle_time_ms: i32 = 0, since(1).ignorable();
        /// Features that the broker supports. Since v3.
        supported_features: Vec<SupportedFeatureKey<'a>> =
            Vec::new(), since(3).tag(0).ignorable();
        /// Rises with each change of the finalized features; -1 if unknown. Since v3.
        finalized_features_epoch: i64 = -1, since(3).tag(1).ignorable();
        /// Features that are in force in the whole cluster. Since v3.
        finalized_features: Vec<FinalizedFeatureKey<'a>> =
            Vec::new(), since(3).tag(2).ignorable();
        /// Whether a migration from ZooKeeper may begin (KIP-866). Since v3.
        zk_migration_ready: bool = false, since(3).tag(3).ignorable();
    }
}

part! {
    /// One entry of [`ApiVersionsResponse::api_keys`].
    pub struct ApiVersion {
        /// Key of the API.
        api_key: i16 = 0, since(0);
        /// Lowest version.
        min_version: i16 = 0, since(0);
        /// Highest version.
        max_version: i16 = 0, since(0);
    }
}

part! {
    /// One entry of [`ApiVersionsResponse::supported_features`].
    pub struct SupportedFeatureKey<'a> {
        /// Name of the feature. Since v3.
        name: &'a str = "", since(3);
        /// Lowest version. Since v3.
        min_version: i16 = 0, since(3);
        /// Highest version. Since v3.
        max_version: i16 = 0, since(3);
    }
}

part! {
    /// One entry of [`ApiVersionsResponse::finalized_features`].
    pub struct FinalizedFeatureKey<'a> {
        /// Name of the feature. Since v3.
        name: &'a str = "", since(3);
        /// Highest level of the feature. Since v3.
        max_version_level: i16 = 0, since(3);
        /// Lowest level of the feature. Since v3.
        min_version_level: i16 = 0, since(3);
    }
}
