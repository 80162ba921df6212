//! DescribeConfigs (key 32), versions 0-4.
//!
//! - Topics: every setting that Kafka has, with the value in force, whether it comes from the
//!   topic, the broker or the default, its type and what it does here.
//! - Brokers: with this broker's id, the settings that have a name in Kafka, read-only but for the throttles of
//!   reassignments, since settings are read once at start; with an empty name what is set for all brokers.
//! - Broker loggers: the modules that log, with the level in force; `root` is everything.
//! - Client metrics and groups: no settings, as Kafka where none is set. Client metrics are not collected, and what
//!   Kafka can set for a group is about the newer group protocols.
//! - A resource that is named twice is described once, by its first mention: a few bytes of a request are tens of
//!   kilobytes of the reply.
//! - A list of names that is not empty filters. UNKNOWN_TOPIC_OR_PARTITION,
//!   INVALID_TOPIC_EXCEPTION; INVALID_REQUEST for another broker's id, for an empty name of a logger's broker, client
//!   metrics or a group, and for other kinds of resource.
//! - Needs DESCRIBE_CONFIGS on the topic or group, on the cluster for anything else, before anything is looked up.
//! - v1: synonyms and sources (KIP-226). v3: documentation and types (KIP-569).

use std::collections::HashSet;
use std::time::Duration;

use security::acl::{CLUSTER, Operation, ResourceType};
use segment::TopicName;
use wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use wire::{ErrorCode, VersionRange};

use super::create_topics::{Refusal, refusal};
use super::{Reply, RequestContext, dynamic_configs, error};
use crate::config::Config;
use crate::control::TopicError;
use crate::metadata::Metadata;
use crate::node::{BrokerNode, NodesAt};
use crate::topic_config::{ConfigRow, ConfigSource, ConfigType};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 4 };
/// First version with sources and synonyms.
const SOURCES_FROM: i16 = 1;

/// `ConfigResource.Type`: a topic.
pub(super) const RESOURCE_TOPIC: i8 = 2;
/// `ConfigResource.Type`: a broker.
pub(super) const RESOURCE_BROKER: i8 = 4;
/// `ConfigResource.Type`: the loggers of a broker.
pub(super) const RESOURCE_BROKER_LOGGER: i8 = 8;
/// `ConfigResource.Type`: a subscription to metrics of clients.
pub(super) const RESOURCE_CLIENT_METRICS: i8 = 16;
/// `ConfigResource.Type`: a group.
pub(super) const RESOURCE_GROUP: i8 = 32;

/// The settings of one resource.
struct Described {
    rows: Vec<ConfigRow>,
    read_only: bool,
}

pub(crate) async fn handle(cx: &RequestContext, request: DescribeConfigsRequest<'_>) -> Reply {
    let metadata = cx.shard.metadata();
    let mut seen = HashSet::new();
    let mut resources = Vec::new();
    for resource in &request.resources {
        if seen.insert((resource.resource_type, resource.resource_name)) {
            resources.push(resource);
        }
    }
    let mut outcomes: Vec<Result<Described, Refusal>> = Vec::with_capacity(resources.len());
    for resource in &resources {
        cx.next_row().await;
        outcomes.push(describe(cx, &metadata, resource));
    }
    let mut results = Vec::with_capacity(resources.len());
    for (resource, outcome) in resources.iter().zip(&outcomes) {
        cx.next_row().await;
        let (error_code, error_message, configs) = match outcome {
            Ok(described) => (
                ErrorCode::NONE,
                None,
                rows(cx, &request, resource, described),
            ),
            Err((code, text)) => {
                cx.failed(*code);
                (*code, Some(text.as_str()), Vec::new())
            }
        };
        results.push(DescribeConfigsResult {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs,
        });
    }
    cx.reply(&DescribeConfigsResponse {
        results,
        ..DescribeConfigsResponse::default()
    })
}

fn describe(
    cx: &RequestContext,
    metadata: &Metadata,
    resource: &DescribeConfigsResource<'_>,
) -> Result<Described, Refusal> {
    let invalid = |text: String| Err((ErrorCode::INVALID_REQUEST, text));
    let (name, config) = (resource.resource_name, &cx.shard.shared.config);
    authorize(cx, Operation::DescribeConfigs, resource.resource_type, name)?;
    match resource.resource_type {
        RESOURCE_TOPIC => {
            TopicName::new(name)
                .map_err(|error| (error::topic_name_code(&error), error.to_string()))?;
            let topic = metadata
                .topic(name)
                .ok_or_else(|| refusal(&TopicError::Unknown))?;
            let rows = topic.config.describe(config.log.segment_bytes);
            Ok(Described {
                rows,
                read_only: false,
            })
        }
        RESOURCE_BROKER if name.is_empty() => Ok(Described {
            rows: dynamic_configs::rows(metadata, true),
            read_only: true,
        }),
        RESOURCE_BROKER => {
            check_broker(metadata, name)?;
            Ok(Described {
                rows: broker_rows(metadata, config, cx.listener()),
                read_only: true,
            })
        }
        RESOURCE_BROKER_LOGGER if name.is_empty() => {
            invalid("Broker id must not be empty".to_owned())
        }
        RESOURCE_BROKER_LOGGER => {
            check_broker(metadata, name)?;
            Ok(Described {
                rows: dynamic_configs::logger_rows(),
                read_only: false,
            })
        }
        RESOURCE_CLIENT_METRICS if name.is_empty() => {
            invalid("Client metrics subscription name must not be empty".to_owned())
        }
        RESOURCE_GROUP if name.is_empty() => invalid("Group name must not be empty".to_owned()),
        RESOURCE_CLIENT_METRICS | RESOURCE_GROUP => Ok(Described {
            rows: Vec::new(),
            read_only: false,
        }),
        other => invalid(format!("Unsupported resource type: {other}")),
    }
}

/// Whether its client may see or change settings. What is no kind of resource with settings is refused later.
pub(super) fn authorize(
    cx: &RequestContext,
    operation: Operation,
    kind: i8,
    name: &str,
) -> Result<(), Refusal> {
    let (resource, name) = match kind {
        RESOURCE_TOPIC => (ResourceType::Topic, name),
        RESOURCE_GROUP => (ResourceType::Group, name),
        RESOURCE_BROKER | RESOURCE_BROKER_LOGGER | RESOURCE_CLIENT_METRICS => {
            (ResourceType::Cluster, CLUSTER)
        }
        _ => return Ok(()),
    };
    cx.authorize_or_tell(operation, resource, name)
}

/// The name of a broker resource must be a node of this broker.
pub(super) fn check_broker(metadata: &Metadata, name: &str) -> Result<(), Refusal> {
    let node = metadata.node(metadata.broker);
    let own = first_node(metadata, node.and_then(|node| node.everywhere().next()));
    let is_node = |id| node.is_some_and(|node| node.has_node(id));
    let text = match name.parse::<i32>() {
        Ok(id) if id == own || is_node(id) => return Ok(()),
        Ok(_) => format!("Unexpected broker id, expected {own}, but received {name}"),
        Err(_) => format!("Node id must be an integer, but it is: {name}"),
    };
    Err((ErrorCode::INVALID_REQUEST, text))
}

/// The first of this broker's nodes, as clients of a listener know it.
fn own_node(metadata: &Metadata, listener: &str) -> i32 {
    let node = metadata.node(metadata.broker);
    first_node(metadata, node.and_then(|node| node.at(listener)))
}

/// The first of these nodes; the broker itself where there is none.
fn first_node(metadata: &Metadata, at: Option<NodesAt<'_>>) -> i32 {
    let first = at.and_then(|at| at.endpoints().next());
    first.map_or(metadata.broker.get(), |node| node.id.get())
}

fn rows<'a>(
    cx: &RequestContext,
    request: &DescribeConfigsRequest<'_>,
    resource: &DescribeConfigsResource<'_>,
    described: &'a Described,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    let wanted = resource.configuration_keys.as_deref().unwrap_or_default();
    let is_wanted = |row: &&ConfigRow| wanted.is_empty() || wanted.contains(&row.name);
    let has_sources = cx.version >= SOURCES_FROM;
    let rows = described.rows.iter().filter(is_wanted);
    let rows = rows.map(|row| DescribeConfigsResourceResult {
        name: row.name,
        value: Some(&row.value),
        read_only: described.read_only && !dynamic_configs::is_dynamic(row.name),
        is_default: !has_sources && row.source == ConfigSource::Default,
        config_source: source_code(row.source),
        is_sensitive: false,
        synonyms: if request.include_synonyms {
            synonyms(row)
        } else {
            Vec::new()
        },
        config_type: type_code(row.kind),
        documentation: request.include_documentation.then_some(row.about),
    });
    rows.collect()
}

/// Where the value was looked for, the most specific place first.
fn synonyms(row: &ConfigRow) -> Vec<DescribeConfigsSynonym<'_>> {
    let own = match row.source {
        ConfigSource::Topic | ConfigSource::DynamicBroker | ConfigSource::DynamicDefault => {
            Some(DescribeConfigsSynonym {
                name: row.name,
                value: Some(&row.value),
                source: source_code(row.source),
            })
        }
        ConfigSource::Broker | ConfigSource::BrokerLogger | ConfigSource::Default => None,
    };
    let below = match row.source {
        ConfigSource::Broker => ConfigSource::Broker,
        _ => ConfigSource::Default,
    };
    let default = row.server_name.map(|name| DescribeConfigsSynonym {
        name,
        value: Some(&row.default),
        source: source_code(below),
    });
    own.into_iter().chain(default).collect()
}

/// `ConfigSource` on the wire.
pub(super) const fn source_code(source: ConfigSource) -> i8 {
    match source {
        ConfigSource::Topic => 1,
        ConfigSource::DynamicBroker => 2,
        ConfigSource::DynamicDefault => 3,
        ConfigSource::Broker => 4,
        ConfigSource::Default => 5,
        ConfigSource::BrokerLogger => 6,
    }
}

/// `ConfigType` on the wire.
const fn type_code(kind: ConfigType) -> i8 {
    match kind {
        ConfigType::Boolean => 1,
        ConfigType::String => 2,
        ConfigType::Int => 3,
        ConfigType::Long => 5,
        ConfigType::Double => 6,
        ConfigType::List => 7,
    }
}

/// A setting of the broker under the name that Kafka's tools know.
struct BrokerSetting {
    name: &'static str,
    kind: ConfigType,
    /// Of the configuration and the cluster, for clients of a listener.
    value: fn(&Config, &Metadata, &str) -> String,
    about: &'static str,
}

/// In order of name.
static BROKER_SETTINGS: &[BrokerSetting] = &[
    BrokerSetting {
        name: "advertised.listeners",
        kind: ConfigType::String,
        value: advertised,
        about: "Where clients are told to connect (broker.host, broker.port, listeners.advertised).",
    },
    BrokerSetting {
        name: "auto.create.topics.enable",
        kind: ConfigType::Boolean,
        value: |config, _, _| config.topic.auto_create.to_string(),
        about: "Whether a topic is created when a client asks for it (topic.auto_create).",
    },
    BrokerSetting {
        name: "broker.id",
        kind: ConfigType::Int,
        value: |_, metadata, listener| own_node(metadata, listener).to_string(),
        about: "Node id of this broker (broker.id).",
    },
    BrokerSetting {
        name: "default.replication.factor",
        kind: ConfigType::Int,
        value: |_, _, _| "1".to_owned(),
        about: "Replicas reported for a partition; the object store keeps the copies.",
    },
    BrokerSetting {
        name: "group.initial.rebalance.delay.ms",
        kind: ConfigType::Int,
        value: |config, _, _| millis(config.group.initial_rebalance_delay),
        about: "How long the first rebalance of an empty group waits \
                (group.initial_rebalance_delay_ms).",
    },
    BrokerSetting {
        name: "group.max.session.timeout.ms",
        kind: ConfigType::Int,
        value: |config, _, _| millis(config.group.session_timeout_max),
        about: "Longest session timeout of a member (group.session_timeout_max_ms).",
    },
    BrokerSetting {
        name: "group.max.size",
        kind: ConfigType::Int,
        value: |config, _, _| config.group.size_max.to_string(),
        about: "Members that one group may have (group.size_max).",
    },
    BrokerSetting {
        name: "group.min.session.timeout.ms",
        kind: ConfigType::Int,
        value: |config, _, _| millis(config.group.session_timeout_min),
        about: "Shortest session timeout of a member (group.session_timeout_min_ms).",
    },
    BrokerSetting {
        name: "inter.broker.listener.name",
        kind: ConfigType::String,
        value: |config, _, _| shown(config, &config.inter_broker_listener().name).to_owned(),
        about: "The listener by which brokers ask each other (listeners.inter_broker).",
    },
    BrokerSetting {
        name: "listener.security.protocol.map",
        kind: ConfigType::String,
        value: protocols,
        about: "The protocol of each listener (listeners.protocols).",
    },
    BrokerSetting {
        name: "log.segment.bytes",
        kind: ConfigType::Int,
        value: |config, _, _| config.log.segment_bytes.to_string(),
        about: "Bytes of one partition that are compacted into a segment (log.segment_bytes).",
    },
    BrokerSetting {
        name: "message.max.bytes",
        kind: ConfigType::Int,
        value: |_, _, _| i32::MAX.to_string(),
        about: "Largest record batch; unlimited unless a topic sets max.message.bytes.",
    },
    BrokerSetting {
        name: "num.partitions",
        kind: ConfigType::Int,
        value: |config, _, _| config.topic.auto_create_partitions.to_string(),
        about: "Partitions of a topic that is created without a number \
                (topic.auto_create_partitions).",
    },
    BrokerSetting {
        name: "offset.metadata.max.bytes",
        kind: ConfigType::Int,
        value: |config, _, _| config.group.offset_metadata_bytes_max.to_string(),
        about: "Metadata stored with one committed offset (group.offset_metadata_bytes_max).",
    },
    BrokerSetting {
        name: "offsets.retention.minutes",
        kind: ConfigType::Int,
        value: |config, _, _| (config.group.offsets_retention.as_secs() / 60).to_string(),
        about: "How long the offsets of an empty group are kept (group.offsets_retention_ms).",
    },
    BrokerSetting {
        name: "producer.id.expiration.check.interval.ms",
        kind: ConfigType::Int,
        value: |config, _, _| millis(config.log.producer_id_expiration_check_interval),
        about: "How often a partition is looked at for producers whose state is kept no longer \
                (log.producer_id_expiration_check_interval_ms).",
    },
    BrokerSetting {
        name: "producer.id.expiration.ms",
        kind: ConfigType::Int,
        value: |config, _, _| millis(config.log.producer_id_expiration),
        about: "How long the state of an idle idempotent producer is kept \
                (log.producer_id_expiration_ms).",
    },
];

/// A listener's name as Kafka's tools know it: one without a name of its own is called after its protocol.
fn shown<'a>(config: &Config, name: &'a str) -> &'a str {
    if !config.listeners.bind.is_empty() {
        return name;
    }
    let listeners = config.kafka_listeners();
    listeners
        .first()
        .map_or(name, |it| it.protocol.kafka_name())
}

fn advertised(config: &Config, metadata: &Metadata, _: &str) -> String {
    let own = metadata.node(metadata.broker).into_iter();
    let at = own.flat_map(BrokerNode::everywhere).flat_map(|at| {
        let name = shown(config, &at.advertised().listener);
        at.endpoints().map(move |node| (name, node))
    });
    let listeners = at.map(|(name, node)| format!("{name}://{}:{}", node.host, node.port));
    listeners.collect::<Vec<_>>().join(",")
}

fn protocols(config: &Config, _: &Metadata, _: &str) -> String {
    let listeners = config.kafka_listeners();
    let pairs = listeners.iter().map(|it| {
        let name = shown(config, &it.name);
        format!("{name}:{}", it.protocol.kafka_name())
    });
    pairs.collect::<Vec<_>>().join(",")
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn broker_rows(metadata: &Metadata, config: &Config, listener: &str) -> Vec<ConfigRow> {
    let rows = BROKER_SETTINGS.iter().map(|setting| {
        let value = (setting.value)(config, metadata, listener);
        ConfigRow {
            name: setting.name,
            default: value.clone(),
            value,
            source: ConfigSource::Broker,
            kind: setting.kind,
            server_name: Some(setting.name),
            about: setting.about,
        }
    });
    let mut rows: Vec<ConfigRow> = rows.collect();
    rows.extend(dynamic_configs::rows(metadata, false));
    rows.sort_by_key(|row| row.name);
    rows
}

#[cfg(test)]
mod tests {
    use segment::BrokerId;

    use super::*;
    use crate::config::{Advertised, UNNAMED};
    use crate::topic_config::TopicConfig;

    #[test]
    fn a_broker_has_the_id_that_clients_of_a_listener_know_it_by() {
        let direct = Advertised {
            listener: "DIRECT".to_owned(),
            ..Advertised::unnamed("h", 2, &[3, 4])
        };
        let node = BrokerNode {
            id: BrokerId::new(3),
            listeners: vec![direct, Advertised::unnamed("h", 1, &[])],
            rack: None,
        };
        let metadata = Metadata::new("c".to_owned(), BrokerId::new(3), vec![node], []);
        assert_eq!(own_node(&metadata, UNNAMED), 3);
        assert_eq!(own_node(&metadata, "DIRECT"), 4 * 256);
        for name in ["3", "1024", "1025"] {
            assert_eq!(check_broker(&metadata, name), Ok(()), "whoever asks");
        }
    }

    #[test]
    fn broker_settings_are_in_order_and_follow_the_configuration() {
        let config = Config::with(&[("topic.auto_create_partitions", "7")]).unwrap();
        let metadata = Metadata::new("c".to_owned(), BrokerId::new(3), Vec::new(), []);
        let rows = broker_rows(&metadata, &config, UNNAMED);
        assert!(rows.windows(2).all(|pair| pair[0].name < pair[1].name));
        let value = |name| {
            rows.iter()
                .find(|row| row.name == name)
                .unwrap()
                .value
                .as_str()
        };
        assert_eq!(value("num.partitions"), "7");
        assert_eq!(value("broker.id"), "3");
        assert_eq!(check_broker(&metadata, "3"), Ok(()));
        assert!(check_broker(&metadata, "4").is_err());
        assert!(check_broker(&metadata, "x").is_err());
    }

    #[test]
    fn synonyms_go_from_the_topic_to_the_default() {
        let own = [("retention.ms".to_owned(), "5".to_owned())].into();
        let config = TopicConfig::from_overrides(own).unwrap();
        let rows = config.describe(1);
        let row = rows.iter().find(|row| row.name == "retention.ms").unwrap();
        let synonyms = synonyms(row);
        assert_eq!(synonyms.len(), 2);
        assert_eq!((synonyms[0].name, synonyms[0].source), ("retention.ms", 1));
        assert_eq!(
            (synonyms[1].name, synonyms[1].source),
            ("log.retention.ms", 5)
        );
        assert_eq!(synonyms[1].value, Some("604800000"));
    }
}
