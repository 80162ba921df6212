//! UpdateFeatures: API key 57, versions 0-2. Raises and lowers feature levels (KIP-584).
//!
//! v1: kinds of downgrade, validation only (KIP-778). v2: no outcome for each feature (KIP-1022).
//!
//! Source: `UpdateFeaturesRequest.json` and `UpdateFeaturesResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::{between, since};

message! {
    /// Raises and lowers feature levels.
    pub struct UpdateFeaturesRequest<'a>: versions 0..=2, flexible 0 {
        /// How long to wait for the outcome, in ms.
        timeout_ms: i32 = 60_000, since(0);
        /// Features, one entry each.
        feature_updates: Vec<FeatureUpdateKey<'a>> = Vec::new(), since(0);
        /// Whether to check the request only. Since v1.
        validate_only: bool = false, since(1);
    }
}

part! {
    /// One entry of [`UpdateFeaturesRequest::feature_updates`].
    pub struct FeatureUpdateKey<'a> {
        /// Name of the feature.
        feature: &'a str = "", since(0);
        /// Its new level; below 1 to delete it.
        max_version_level: i16 = 0, since(0);
        /// Whether the level may fall. Until v0.
        allow_downgrade: bool = false, between(0, 0);
        /// Whether the level may fall: 1 no, 2 where nothing is lost, 3 whatever is lost. Since v1.
        upgrade_type: i8 = 1, since(1);
    }
}

message! {
    /// Answers [`UpdateFeaturesRequest`].
    pub struct UpdateFeaturesResponse<'a>: versions 0..=2, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// Outcomes, one entry for each feature. Until v1.
        results: Vec<UpdatableFeatureResult<'a>> = Vec::new(), between(0, 1).ignorable();
    }
}

part! {
    /// One entry of [`UpdateFeaturesResponse::results`].
    pub struct UpdatableFeatureResult<'a> {
        /// Name of the feature.
        feature: &'a str = "", since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
    }
}
