//! `create_topic`: a tool that writes.

use std::collections::BTreeMap;

use client::NewTopic;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::TopicName;
use crate::bounds::Whole;
use crate::desk::Visit;
use crate::tool::{Effect, Tool, ToolError};

/// Configuration values of one call.
const CONFIGS_MAX: usize = 50;

/// See [`Tool::NAME`].
pub(in crate::tools) struct CreateTopic;

#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::tools) struct Arguments {
    /// Name of the topic: letters, digits, '.', '_' and '-'
    topic: TopicName,
    /// Number of partitions; the cluster's default if left out
    #[serde(default)]
    partitions: Option<Whole<1, 10_000>>,
    /// Copies of each partition; the cluster's default if left out
    #[serde(default)]
    replication_factor: Option<Whole<1, 100>>,
    /// Configuration, for example {"retention.ms": "86400000"}
    #[serde(default)]
    #[schemars(extend("maxProperties" = CONFIGS_MAX))]
    configs: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::tools) struct Answer {
    topic: String,
    partitions: usize,
}

impl Tool for CreateTopic {
    type Arguments = Arguments;
    type Answer = Answer;

    const NAME: &'static str = "create_topic";
    const TITLE: &'static str = "Create a topic";
    const DESCRIPTION: &'static str = "Create a topic. Fails if it exists.";
    const EFFECT: Effect = Effect::Writes;

    fn run(visit: &mut Visit, arguments: Arguments) -> Result<Answer, ToolError> {
        if arguments.configs.len() > CONFIGS_MAX {
            let text = format!("argument `configs`: at most {CONFIGS_MAX} values");
            return Err(ToolError::Arguments(text));
        }
        let topic = NewTopic {
            name: arguments.topic.to_string(),
            partitions: arguments
                .partitions
                .map(|count| i32::try_from(count.get()).unwrap_or(i32::MAX)),
            replication_factor: arguments
                .replication_factor
                .map(|count| i16::try_from(count.get()).unwrap_or(i16::MAX)),
            configs: arguments.configs.into_iter().collect(),
        };
        let client = visit.client()?;
        client.create_topic(&topic)?;
        let created = client.topic(&topic.name)?;
        Ok(Answer {
            topic: created.name.to_string(),
            partitions: created.partitions.len(),
        })
    }
}
