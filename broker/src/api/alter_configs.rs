//! AlterConfigs (key 33), versions 0-2.
//!
//! - Replaces all settings of a topic: what the request does not name goes back to its default.
//!   Validation only is honored. IncrementalAlterConfigs changes single settings (KIP-339).
//! - Of a broker the throttles of reassignments are replaced: see `dynamic_configs`.
//! - INVALID_REQUEST for a resource or a setting that is named twice, for a null value, for the
//!   default topic (an empty name), for loggers (which IncrementalAlterConfigs changes), for client metrics and
//!   groups (which have no settings here), for settings of a broker that are read when it starts, and for any other kind of resource; INVALID_TOPIC_EXCEPTION, INVALID_CONFIG, and, after the settings have
//!   been checked as in Kafka, UNKNOWN_TOPIC_OR_PARTITION.
//! - The answer comes when the settings are durable; REQUEST_TIMED_OUT after 30 s, as this request
//!   has no timeout of its own.
//!
//! - Needs ALTER_CONFIGS on the topic or group, on the cluster for anything else, before anything is looked up.
//!
//! Left out: policies.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use security::acl::Operation;
use segment::TopicName;
use wire::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use wire::{ErrorCode, VersionRange};

use super::create_topics::{Refusal, timed_out};
use super::describe_configs::{
    RESOURCE_BROKER, RESOURCE_BROKER_LOGGER, RESOURCE_CLIENT_METRICS, RESOURCE_GROUP,
    RESOURCE_TOPIC, authorize, check_broker,
};
use super::dynamic_configs::{Op, SET, alter_broker};
use super::{Reply, RequestContext, create_topics, error};
use crate::control::{ControlMsg, NewConfig, TopicError};
use crate::metadata::{Metadata, Topic};
use crate::topic_config::TopicConfig;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 2 };
/// How long a change of settings waits for the metadata store.
pub(super) const WAIT: Duration = Duration::from_secs(30);

pub(crate) async fn handle(cx: &RequestContext, request: AlterConfigsRequest<'_>) -> Reply {
    let keys = request
        .resources
        .iter()
        .map(|own| (own.resource_type, own.resource_name));
    let repeated = repeated(keys);
    let metadata = cx.shard.metadata();
    let work = request.resources.iter().map(|resource| async {
        if repeated.contains_key(&(resource.resource_type, resource.resource_name)) {
            return Err(named_twice());
        }
        let (kind, name) = (resource.resource_type, resource.resource_name);
        authorize(cx, Operation::AlterConfigs, kind, name)?;
        if resource.resource_type == RESOURCE_BROKER {
            let own = resource.configs.iter();
            let ops: Vec<Op<'_>> = own.map(|own| (own.name, SET, own.value)).collect();
            let validate_only = request.validate_only;
            return alter_broker(cx, name, &ops, true, validate_only).await;
        }
        let overrides = overrides(resource)?;
        check_resource(&metadata, resource.resource_type, resource.resource_name)?;
        let config = checked(overrides)?;
        let topic = existing(&metadata, resource.resource_name)?;
        if request.validate_only {
            Ok(())
        } else {
            replace(cx, &topic, config, None)
                .await
                .map_err(|error| create_topics::refusal(&error))
        }
    });
    let outcomes: Vec<Result<(), Refusal>> = cx.side_by_side(work).await;
    let responses = request
        .resources
        .iter()
        .zip(&outcomes)
        .map(|(resource, outcome)| {
            let (error_code, error_message) = outcome_fields(cx, outcome);
            AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
            }
        });
    cx.reply(&AlterConfigsResponse {
        responses: responses.collect(),
        ..AlterConfigsResponse::default()
    })
}

fn overrides(resource: &AlterConfigsResource<'_>) -> Result<BTreeMap<String, String>, Refusal> {
    let names = resource.configs.iter().map(|own| own.name);
    let nulls = resource
        .configs
        .iter()
        .filter(|own| own.value.is_none())
        .map(|own| own.name);
    check_entries(names, nulls)?;
    let pairs = resource
        .configs
        .iter()
        .filter_map(|own| Some((own.name, own.value?)));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Keys that occur more than once.
pub(super) fn repeated<K: std::hash::Hash + Eq>(
    keys: impl Iterator<Item = K>,
) -> HashMap<K, usize> {
    let mut counts = HashMap::new();
    for key in keys {
        *counts.entry(key).or_insert(0_usize) += 1;
    }
    counts.retain(|_, count| *count > 1);
    counts
}

/// What is said of a resource that is named twice.
pub(super) fn named_twice() -> Refusal {
    let text = "Each resource must appear at most once.";
    (ErrorCode::INVALID_REQUEST, text.to_owned())
}

/// Refuses settings that are named twice or have no value.
pub(super) fn check_entries<'a>(
    names: impl Iterator<Item = &'a str>,
    nulls: impl Iterator<Item = &'a str>,
) -> Result<(), Refusal> {
    if !repeated(names).is_empty() {
        let text = "Error due to duplicate config keys".to_owned();
        return Err((ErrorCode::INVALID_REQUEST, text));
    }
    let nulls: Vec<&str> = nulls.collect();
    if nulls.is_empty() {
        return Ok(());
    }
    let text = format!("Null value not supported for : {}", nulls.join(", "));
    Err((ErrorCode::INVALID_REQUEST, text))
}

/// Refuses what has no settings that can be changed, or not as those of a topic.
pub(super) fn check_resource(metadata: &Metadata, kind: i8, name: &str) -> Result<(), Refusal> {
    let invalid = |text: String| Err((ErrorCode::INVALID_REQUEST, text));
    match kind {
        RESOURCE_TOPIC if name.is_empty() => {
            invalid("Default topic resources are not allowed.".to_owned())
        }
        RESOURCE_TOPIC => match TopicName::new(name) {
            Ok(_) => Ok(()),
            Err(error) => Err((error::topic_name_code(&error), error.to_string())),
        },
        RESOURCE_BROKER_LOGGER => {
            check_broker(metadata, name)?;
            let text = "AlterConfigs does not change levels of loggers: IncrementalAlterConfigs does.";
            invalid(text.to_owned())
        }
        RESOURCE_CLIENT_METRICS => invalid(
            "Client metrics are not collected by this broker: nothing can be subscribed to.".to_owned(),
        ),
        RESOURCE_GROUP => invalid(
            "Groups of this broker have no settings: those of Kafka are about the consumer, share and \
             streams protocols, which it does not serve."
                .to_owned(),
        ),
        other => invalid(format!("Unknown resource type {other}")),
    }
}

/// Checks settings as a whole.
pub(super) fn checked(overrides: BTreeMap<String, String>) -> Result<TopicConfig, Refusal> {
    TopicConfig::from_overrides(overrides)
        .map_err(|error| (error::config_code(&error), error.to_string()))
}

/// The topic of that name.
pub(super) fn existing(metadata: &Metadata, name: &str) -> Result<Arc<Topic>, Refusal> {
    let unknown = || {
        let text = format!("The topic '{name}' does not exist.");
        (error::topic_code(&TopicError::Unknown), text)
    };
    metadata.topic(name).cloned().ok_or_else(unknown)
}

/// Makes settings durable and effective. With `based_on`, only while those settings hold.
pub(super) async fn replace(
    cx: &RequestContext,
    topic: &Topic,
    config: TopicConfig,
    based_on: Option<TopicConfig>,
) -> Result<(), TopicError> {
    let control = &cx.shard.shared.control;
    let new = NewConfig { config, based_on };
    let altered = control.ask(|reply| ControlMsg::AlterConfig(topic.id, new, reply));
    match cx.shard.at_most(WAIT, altered).await {
        Some(Ok(altered)) => altered.map(drop),
        None | Some(Err(_)) => {
            let (_, text) = timed_out();
            Err(TopicError::Unavailable(text))
        }
    }
}

/// Error code and text of a response.
pub(super) fn outcome_fields<'a>(
    cx: &RequestContext,
    outcome: &'a Result<(), Refusal>,
) -> (ErrorCode, Option<&'a str>) {
    match outcome {
        Ok(()) => (ErrorCode::NONE, None),
        Err((code, text)) => {
            cx.failed(*code);
            (*code, Some(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use segment::BrokerId;

    use super::*;

    #[test]
    fn only_topics_have_settings_that_can_be_changed() {
        let metadata = Metadata::new("c".to_owned(), BrokerId::new(0), Vec::new(), []);
        let code = |kind, name| check_resource(&metadata, kind, name).map_err(|(code, _)| code);
        assert_eq!(code(RESOURCE_TOPIC, "a"), Ok(()));
        assert_eq!(code(RESOURCE_TOPIC, ""), Err(ErrorCode::INVALID_REQUEST));
        assert_eq!(
            code(RESOURCE_TOPIC, "a b"),
            Err(ErrorCode::INVALID_TOPIC_EXCEPTION)
        );
        for (kind, name) in [
            (RESOURCE_GROUP, "g"),
            (RESOURCE_CLIENT_METRICS, "m"),
            (RESOURCE_BROKER_LOGGER, "0"),
            (RESOURCE_BROKER_LOGGER, ""),
            (0, ""),
        ] {
            assert_eq!(code(kind, name), Err(ErrorCode::INVALID_REQUEST));
        }
    }

    #[test]
    fn entries_are_named_once_and_have_values() {
        let none = || std::iter::empty();
        assert_eq!(check_entries(["a", "b"].into_iter(), none()), Ok(()));
        assert!(check_entries(["a", "a"].into_iter(), none()).is_err());
        let (_, text) = check_entries(["a"].into_iter(), ["a"].into_iter()).unwrap_err();
        assert_eq!(text, "Null value not supported for : a");
    }
}
