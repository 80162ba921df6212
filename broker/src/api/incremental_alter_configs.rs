//! IncrementalAlterConfigs (key 44), versions 0-1.
//!
//! - Changes single settings of a topic (KIP-339): set, delete (back to the default), and, for
//!   lists, append and subtract. Validation only is honored. The result is checked as a whole.
//! - The refusals are those of AlterConfigs, and INVALID_CONFIG for append to or subtract from a
//!   setting that is not a list, INVALID_REQUEST for an unknown operation.
//! - Of a broker, and of all brokers (an empty name), the throttles of reassignments can be changed, and the levels of its
//!   loggers: see `dynamic_configs`.
//! - Of two requests that change one topic at the same moment, neither is lost: the later one is
//!   applied to what the first has left.
//!
//! - To delete settings of client metrics or of a group changes nothing: there are none, as in Kafka where none is set.
//!
//! - Needs ALTER_CONFIGS as AlterConfigs does.
//!
//! Left out: policies.

use std::collections::BTreeMap;

use security::acl::Operation;
use wire::VersionRange;
use wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::alter_configs::{
    check_entries, check_resource, checked, existing, named_twice, outcome_fields, repeated,
    replace,
};
use super::create_topics::Refusal;
use super::describe_configs::{
    RESOURCE_BROKER, RESOURCE_BROKER_LOGGER, RESOURCE_CLIENT_METRICS, RESOURCE_GROUP, authorize,
};
use super::dynamic_configs::{
    APPEND, DELETE, Op, SET, SUBTRACT, alter_broker, alter_loggers, unknown_operation,
};
use super::{Reply, RequestContext, create_topics, error};
use crate::control::TopicError;
use crate::metadata::Metadata;
use crate::topic_config::{ListChange, change_list};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 1 };

/// Tries of a change that meets others.
const TRIES_MAX: usize = 16;

pub(crate) async fn handle(
    cx: &RequestContext,
    request: IncrementalAlterConfigsRequest<'_>,
) -> Reply {
    let keys = request
        .resources
        .iter()
        .map(|own| (own.resource_type, own.resource_name));
    let repeated = repeated(keys);
    let work = request.resources.iter().map(|resource| async {
        if repeated.contains_key(&(resource.resource_type, resource.resource_name)) {
            return Err(named_twice());
        }
        let (kind, name) = (resource.resource_type, resource.resource_name);
        authorize(cx, Operation::AlterConfigs, kind, name)?;
        change(cx, resource, request.validate_only).await
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
    cx.reply(&IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..IncrementalAlterConfigsResponse::default()
    })
}

/// Changes one resource; a topic again from what holds then, where others change it at the same time.
async fn change(
    cx: &RequestContext,
    resource: &AlterConfigsResource<'_>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let name = resource.resource_name;
    let ops = resource.configs.iter();
    let ops = ops.map(|own| (own.name, own.config_operation, own.value));
    let ops: Vec<Op<'_>> = ops.collect();
    match resource.resource_type {
        RESOURCE_BROKER => return alter_broker(cx, name, &ops, false, validate_only).await,
        RESOURCE_BROKER_LOGGER => {
            return alter_loggers(&cx.shard.metadata(), name, &ops, validate_only);
        }
        _ => {}
    }
    if deletes_nothing(resource) {
        return Ok(());
    }
    for _ in 0..TRIES_MAX {
        let metadata = cx.shard.metadata();
        let config = checked(changed(&metadata, resource)?)?;
        let topic = existing(&metadata, resource.resource_name)?;
        if validate_only {
            return Ok(());
        }
        let base = topic.config.clone();
        match replace(cx, &topic, config, Some(base)).await {
            Err(TopicError::Changed) => {}
            outcome => return outcome.map_err(|error| create_topics::refusal(&error)),
        }
    }
    Err(create_topics::refusal(&TopicError::Changed))
}

/// Whether all that is asked for is that settings go which cannot be there.
fn deletes_nothing(resource: &AlterConfigsResource<'_>) -> bool {
    let without = [RESOURCE_CLIENT_METRICS, RESOURCE_GROUP];
    let mut asked = resource.configs.iter();
    without.contains(&resource.resource_type)
        && !resource.resource_name.is_empty()
        && asked.all(|own| own.config_operation == DELETE)
}

/// The overrides of the topic with the changes of the request.
fn changed(
    metadata: &Metadata,
    resource: &AlterConfigsResource<'_>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let is_null = |own: &&_| {
        let own: &wire::messages::incremental_alter_configs::AlterableConfig<'_> = own;
        own.config_operation != DELETE && own.value.is_none()
    };
    let nulls = resource.configs.iter().filter(is_null).map(|own| own.name);
    check_entries(resource.configs.iter().map(|own| own.name), nulls)?;
    check_resource(metadata, resource.resource_type, resource.resource_name)?;
    // A topic that does not exist is refused later: its settings are checked first, as in Kafka.
    let topic = metadata.topic(resource.resource_name);
    let mut overrides = topic
        .map(|topic| topic.config.overrides().clone())
        .unwrap_or_default();
    for own in &resource.configs {
        let value = own.value.unwrap_or_default();
        let current = overrides.get(own.name).map(String::as_str);
        let new = match own.config_operation {
            SET => value.to_owned(),
            DELETE => {
                overrides.remove(own.name);
                continue;
            }
            APPEND => list(own.name, current, ListChange::Append(value))?,
            SUBTRACT => list(own.name, current, ListChange::Subtract(value))?,
            other => return Err(unknown_operation(other)),
        };
        overrides.insert(own.name.to_owned(), new);
    }
    Ok(overrides)
}

fn list(name: &str, current: Option<&str>, change: ListChange<'_>) -> Result<String, Refusal> {
    change_list(name, current, change)
        .map_err(|error| (error::config_code(&error), error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wire::ErrorCode;

    use segment::{BrokerId, TopicId, TopicName};
    use wire::messages::incremental_alter_configs::AlterableConfig;

    use super::super::describe_configs::RESOURCE_TOPIC;
    use super::*;
    use crate::metadata::Topic;
    use crate::topic_config::TopicConfig;

    fn metadata() -> Metadata {
        let own = [("retention.ms".to_owned(), "5".to_owned())].into();
        let topic = Topic {
            name: TopicName::new("a").unwrap(),
            id: TopicId::new([1; 16]),
            generation: 0,
            config: TopicConfig::from_overrides(own).unwrap(),
            partitions: Vec::new(),
        };
        Metadata::new(
            "c".to_owned(),
            BrokerId::new(0),
            Vec::new(),
            [Arc::new(topic)],
        )
    }

    fn change(name: &str, operation: i8, value: Option<&str>) -> Result<String, ErrorCode> {
        let resource = AlterConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: "a",
            configs: vec![AlterableConfig {
                name,
                config_operation: operation,
                value,
            }],
        };
        let overrides = changed(&metadata(), &resource).map_err(|(code, _)| code)?;
        let pairs = overrides
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        Ok(pairs.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn settings_that_cannot_be_there_can_be_deleted_and_not_set() {
        let asked = |resource_type, resource_name, config_operation| {
            let own = AlterableConfig {
                name: "interval.ms",
                config_operation,
                value: Some("1"),
            };
            deletes_nothing(&AlterConfigsResource {
                resource_type,
                resource_name,
                configs: vec![own],
            })
        };
        assert!(asked(RESOURCE_GROUP, "g", DELETE) && asked(RESOURCE_CLIENT_METRICS, "m", DELETE));
        assert!(!asked(RESOURCE_GROUP, "g", SET) && !asked(RESOURCE_GROUP, "", DELETE));
        assert!(!asked(RESOURCE_TOPIC, "a", DELETE));
    }

    #[test]
    fn single_settings_change_and_the_others_stay() {
        assert_eq!(
            change("flush.ms", SET, Some("1")).unwrap(),
            "flush.ms=1 retention.ms=5"
        );
        assert_eq!(change("retention.ms", DELETE, None).unwrap(), "");
        assert_eq!(
            change("cleanup.policy", APPEND, Some("compact")).unwrap(),
            "cleanup.policy=delete,compact retention.ms=5"
        );
        assert_eq!(
            change("flush.ms", SET, None),
            Err(ErrorCode::INVALID_REQUEST)
        );
        assert_eq!(
            change("flush.ms", APPEND, Some("1")),
            Err(ErrorCode::INVALID_CONFIG)
        );
        assert_eq!(
            change("flush.ms", 9, Some("1")),
            Err(ErrorCode::INVALID_REQUEST)
        );
    }
}
