//! Creating, changing and deleting topics, and reading their configuration.

use std::time::Duration;

use wire::ErrorCode;
use wire::messages::create_partitions::CreatePartitionsTopic;
use wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use wire::messages::delete_topics::DeleteTopicState;
use wire::messages::describe_configs::DescribeConfigsResource;
use wire::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use wire::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest,
};

use crate::error::ClientError;
use crate::router::Client;

/// Kafka's number for the configuration of a topic.
const RESOURCE_TOPIC: i8 = 2;
/// Kafka's number for a value that the topic itself sets.
const SOURCE_TOPIC: i8 = 1;
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;
/// Time that the answer to a change may take beyond the time that the broker is given.
const SLACK: Duration = Duration::from_secs(5);

/// A topic to be created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// Number of partitions; none leaves it to the broker.
    pub partitions: Option<i32>,
    /// Copies of each partition; none leaves it to the broker.
    pub replication_factor: Option<i16>,
    /// Configuration, as names and values.
    pub configs: Vec<(String, String)>,
}

/// A change of one configuration value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets a value.
    Set(String, String),
    /// Goes back to the default.
    Delete(String),
}

/// One configuration value of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The name.
    pub name: String,
    /// The value; none if there is none, or if it is secret.
    pub value: Option<String>,
    /// Whether the topic sets it, rather than a default.
    pub is_set: bool,
    /// Whether it cannot be changed.
    pub is_read_only: bool,
}

impl Client {
    /// Creates a topic.
    ///
    /// # Errors
    /// The broker refuses, for example because the topic exists.
    pub fn create_topic(&mut self, topic: &NewTopic) -> Result<(), ClientError> {
        let timeout = self.settings().request_timeout;
        self.settled("create topic", &topic.name, |client| {
            let configs = topic
                .configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig {
                    name,
                    value: Some(value),
                });
            let creatable = CreatableTopic {
                name: &topic.name,
                num_partitions: topic.partitions.unwrap_or(-1),
                replication_factor: topic.replication_factor.unwrap_or(-1),
                configs: configs.collect(),
                ..Default::default()
            };
            let request = CreateTopicsRequest {
                topics: vec![creatable],
                timeout_ms: millis(timeout),
                validate_only: false,
            };
            let reply = client.call_controller(&request, timeout + SLACK)?;
            let response = reply.decode()?;
            let operation = || format!("create topic {}", topic.name);
            response.topics.iter().try_for_each(|result| {
                ClientError::check(operation, result.error_code, result.error_message)
            })
        })
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// The broker refuses, for example because there is no such topic.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let timeout = self.settings().request_timeout;
        self.settled("delete topic", name, |client| {
            let by_name = DeleteTopicState {
                name: Some(name),
                ..Default::default()
            };
            let request = DeleteTopicsRequest {
                topics: vec![by_name],
                topic_names: vec![name],
                timeout_ms: millis(timeout),
            };
            let reply = client.call_controller(&request, timeout + SLACK)?;
            let operation = || format!("delete topic {name}");
            reply.decode()?.responses.iter().try_for_each(|result| {
                ClientError::check(operation, result.error_code, result.error_message)
            })
        })
    }

    /// Raises the number of partitions of a topic to `count`.
    ///
    /// # Errors
    /// The broker refuses, for example because the topic has as many already.
    pub fn create_partitions(&mut self, name: &str, count: i32) -> Result<(), ClientError> {
        let timeout = self.settings().request_timeout;
        self.settled("add partitions", name, |client| {
            let request = CreatePartitionsRequest {
                topics: vec![CreatePartitionsTopic {
                    name,
                    count,
                    assignments: None,
                }],
                timeout_ms: millis(timeout),
                validate_only: false,
            };
            let reply = client.call_controller(&request, timeout + SLACK)?;
            let operation = || format!("change topic {name} to {count} partitions");
            reply.decode()?.results.iter().try_for_each(|result| {
                ClientError::check(operation, result.error_code, result.error_message)
            })
        })
    }

    /// Changes configuration values of a topic, all or none.
    ///
    /// # Errors
    /// The broker refuses, for example because a name is unknown.
    pub fn alter_topic(&mut self, name: &str, changes: &[ConfigChange]) -> Result<(), ClientError> {
        self.settled("change topic", name, |client| {
            let configs = changes.iter().map(|change| match change {
                ConfigChange::Set(name, value) => AlterableConfig {
                    name,
                    config_operation: OPERATION_SET,
                    value: Some(value),
                },
                ConfigChange::Delete(name) => AlterableConfig {
                    name,
                    config_operation: OPERATION_DELETE,
                    value: None,
                },
            });
            let resource = AlterConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: name,
                configs: configs.collect(),
            };
            let resources = vec![resource];
            let request = IncrementalAlterConfigsRequest {
                resources,
                validate_only: false,
            };
            let reply = client.call_any(&request)?;
            let operation = || format!("change the configuration of topic {name}");
            reply.decode()?.responses.iter().try_for_each(|result| {
                ClientError::check(operation, result.error_code, result.error_message)
            })
        })
    }

    /// The configuration of a topic, by name.
    ///
    /// # Errors
    /// The broker refuses, for example because there is no such topic.
    pub fn topic_configs(&mut self, name: &str) -> Result<Vec<ConfigEntry>, ClientError> {
        self.settled("read configuration", name, |client| {
            let resource = DescribeConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: name,
                configuration_keys: None,
            };
            let resources = vec![resource];
            let request = DescribeConfigsRequest {
                resources,
                ..Default::default()
            };
            let reply = client.call_any(&request)?;
            let mut entries = Vec::new();
            for result in &reply.decode()?.results {
                let operation = || format!("read the configuration of topic {name}");
                ClientError::check(operation, result.error_code, result.error_message)?;
                entries.extend(result.configs.iter().map(|config| ConfigEntry {
                    name: config.name.to_owned(),
                    value: config.value.map(str::to_owned),
                    is_set: config.config_source == SOURCE_TOPIC,
                    is_read_only: config.read_only,
                }));
            }
            entries.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(entries)
        })
    }

    /// Tries until it is done or refused for good. That a topic does not exist is final
    /// here, not a matter of waiting.
    fn settled<T>(
        &mut self,
        operation: &str,
        topic: &str,
        mut attempt: impl FnMut(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.retry(operation, |client| {
            attempt(client).map_err(|error| match error.code() {
                Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => ClientError::UnknownTopic {
                    topic: topic.to_owned(),
                },
                _ => error,
            })
        })
    }
}

/// Whole milliseconds, as the protocol states times.
pub(crate) fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
