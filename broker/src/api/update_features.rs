//! UpdateFeatures (key 57), versions 0-2 (KIP-584, KIP-778, KIP-1022).
//!
//! - Kafka's checks of each feature against what this broker supports ([`FEATURES`]), of which every level is 0: to
//!   set one to 0 is what holds already, and any other level is INVALID_UPDATE_VERSION, as is an unknown feature, a
//!   level below 0 and an unknown kind of update. Validation only is honored.
//! - Needs ALTER on the cluster: CLUSTER_AUTHORIZATION_FAILED.
//! - v0-1: an outcome for each feature where all went through; after an error only that of the whole, as in Kafka.

use security::acl::Operation;
use wire::messages::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 2 };
/// First version that names the kind of an update.
const KINDS_FROM: i16 = 1;
/// Last version with an outcome for each feature.
const RESULTS_UNTIL: i16 = 1;

/// Features that this broker knows, with the highest level that it supports. At level 0, which is the lowest of
/// each, there are only classic groups, transactions as before KIP-890, no share groups and no streams groups.
pub(super) const FEATURES: &[(&str, i16)] = &[
    ("group.version", 0),
    ("share.version", 0),
    ("streams.version", 0),
    ("transaction.version", 0),
];

/// Kinds of update: raise, lower where nothing is lost, lower whatever is lost.
const KINDS: std::ops::RangeInclusive<i8> = 1..=3;

pub(crate) async fn handle(cx: &RequestContext, request: UpdateFeaturesRequest<'_>) -> Reply {
    if let Err((error_code, text)) = cx.authorize_cluster(Operation::Alter) {
        cx.failed(error_code);
        return cx.reply(&UpdateFeaturesResponse {
            error_code,
            error_message: Some(text),
            ..UpdateFeaturesResponse::default()
        });
    }
    let mut updates = request.feature_updates.iter();
    if let Some(text) = updates.find_map(|update| refusal(cx.version, update)) {
        cx.failed(ErrorCode::INVALID_UPDATE_VERSION);
        let text = format!(
            "The update failed for all features since the following feature had an error: {text}"
        );
        return cx.reply(&UpdateFeaturesResponse {
            error_code: ErrorCode::INVALID_UPDATE_VERSION,
            error_message: Some(&text),
            ..UpdateFeaturesResponse::default()
        });
    }
    let results = request.feature_updates.iter();
    let results = results.map(|update| UpdatableFeatureResult {
        feature: update.feature,
        ..UpdatableFeatureResult::default()
    });
    cx.reply(&UpdateFeaturesResponse {
        results: if cx.version <= RESULTS_UNTIL {
            results.collect()
        } else {
            Vec::new()
        },
        ..UpdateFeaturesResponse::default()
    })
}

/// Why an update is refused.
fn refusal(version: i16, update: &FeatureUpdateKey<'_>) -> Option<String> {
    let (feature, level) = (update.feature, update.max_version_level);
    let supported = FEATURES.iter().find(|(name, _)| *name == feature);
    let reason = if version >= KINDS_FROM && !KINDS.contains(&update.upgrade_type) {
        "The controller does not support the given upgrade type.".to_owned()
    } else if level < 0 {
        "A feature version cannot be less than 0.".to_owned()
    } else {
        match supported {
            None if level > 0 => "This cluster does not support this feature.".to_owned(),
            Some((_, max)) if level > *max => {
                format!("This cluster only supports versions 0-{max}")
            }
            // Level 0 of a feature is that there is none.
            None | Some(_) => return None,
        }
    };
    Some(format!(
        "Invalid update version {level} for feature {feature}. {reason}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_holds_already_can_be_set() {
        let update = |feature, level, kind| FeatureUpdateKey {
            feature,
            max_version_level: level,
            upgrade_type: kind,
            ..FeatureUpdateKey::default()
        };
        assert_eq!(refusal(1, &update("group.version", 0, 2)), None);
        assert_eq!(refusal(1, &update("x", 0, 2)), None);
        let says = |update, text: &str| {
            let found = refusal(2, &update).unwrap();
            assert!(found.contains(text), "{found}");
        };
        says(update("group.version", 1, 1), "only supports versions 0-0");
        says(
            update("metadata.version", 20, 1),
            "does not support this feature",
        );
        says(update("group.version", -1, 1), "less than 0");
        says(update("group.version", 0, 0), "upgrade type");
        assert_eq!(
            refusal(0, &update("group.version", 0, 0)),
            None,
            "v0 names no kind"
        );
    }
}
