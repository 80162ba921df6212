//! `list_topics` and `describe_topic`.

pub(super) mod create;

use client::{ConfigEntry, PartitionInfo, TopicInfo, TopicPartition};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PartitionNumber, TopicName, number};
use crate::bounds::{Limit, Text};
use crate::desk::Visit;
use crate::tool::{Effect, Tool, ToolError};

/// See [`Tool::NAME`].
pub(super) struct ListTopics;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListArguments {
    /// Only topics whose name contains this text
    #[serde(default)]
    name_contains: Option<TopicName>,
    /// Topics of the answer at most
    #[serde(default)]
    limit: Limit<1, 1_000, 100>,
    /// Only topics after this name: `after` of an earlier answer
    #[serde(default)]
    after: Option<TopicName>,
    /// Also topics in which the cluster keeps its own data
    #[serde(default)]
    include_internal: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ListAnswer {
    /// By name
    topics: Vec<TopicRow>,
    /// Topics with such a name in all
    total: usize,
    /// There are more: give this as `after`
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct TopicRow {
    topic: String,
    partitions: usize,
}

impl Tool for ListTopics {
    type Arguments = ListArguments;
    type Answer = ListAnswer;

    const NAME: &'static str = "list_topics";
    const TITLE: &'static str = "List topics";
    const DESCRIPTION: &'static str = "List the topics of the cluster that this server's user may see, by name, with their \
        numbers of partitions.";
    const EFFECT: Effect = Effect::Reads;

    fn run(visit: &mut Visit, arguments: ListArguments) -> Result<ListAnswer, ToolError> {
        let mut topics = visit.client()?.all_topics()?;
        let part = arguments.name_contains.as_ref().map_or("", Text::as_str);
        topics.retain(|topic| {
            topic.name.contains(part) && (arguments.include_internal || !topic.is_internal)
        });
        let total = topics.len();
        let after = arguments.after.as_ref().map_or("", Text::as_str);
        topics.retain(|topic| *topic.name > *after);
        let more = topics.len() > arguments.limit.size();
        topics.truncate(arguments.limit.size());
        let last = topics.last().map(|topic| topic.name.to_string());
        let row = |topic: &TopicInfo| TopicRow {
            topic: topic.name.to_string(),
            partitions: topic.partitions.len(),
        };
        Ok(ListAnswer {
            topics: topics.iter().map(row).collect(),
            total,
            after: last.filter(|_| more),
        })
    }
}

/// See [`Tool::NAME`].
pub(super) struct DescribeTopic;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct DescribeArguments {
    /// Name of the topic
    topic: TopicName,
    /// All configuration, not only what the topic sets itself
    #[serde(default)]
    all_configs: bool,
    /// First partition of the answer
    #[serde(default)]
    from_partition: Option<PartitionNumber>,
    /// Partitions of the answer at most
    #[serde(default)]
    limit: Limit<1, 1_000, 100>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DescribeAnswer {
    topic: String,
    id: String,
    /// Partitions of the topic
    partition_count: usize,
    /// Offsets between start and end in the partitions below; fewer records where the topic is compacted
    offsets: i64,
    partitions: Vec<PartitionRow>,
    /// There are more partitions: give this as `from_partition`
    #[serde(skip_serializing_if = "Option::is_none")]
    next_partition: Option<i32>,
    configs: Vec<ConfigRow>,
    /// Why `configs` is empty, where they may not be read
    #[serde(skip_serializing_if = "Option::is_none")]
    configs_unreadable: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct PartitionRow {
    partition: i32,
    /// The broker that serves it; null if none does
    leader: Option<i32>,
    leader_epoch: i32,
    /// Offset of the first record
    start_offset: Option<i64>,
    /// Offset that the next record will get
    end_offset: Option<i64>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct ConfigRow {
    name: String,
    value: Option<String>,
    /// Whether the topic sets it; else it is a default
    set_by_topic: bool,
}

impl Tool for DescribeTopic {
    type Arguments = DescribeArguments;
    type Answer = DescribeAnswer;

    const NAME: &'static str = "describe_topic";
    const TITLE: &'static str = "Describe a topic";
    const DESCRIPTION: &'static str = "Show a topic: its partitions with leaders and first and next offsets, and its \
        configuration (retention, cleanup policy, and so on).";
    const EFFECT: Effect = Effect::Reads;

    fn run(visit: &mut Visit, arguments: DescribeArguments) -> Result<DescribeAnswer, ToolError> {
        let client = visit.client()?;
        let info = client.topic(arguments.topic.as_str())?;
        let first = arguments.from_partition.map_or(0, number);
        let from = info.partitions.iter();
        let mut from = from.filter(|partition| partition.partition.get() >= first);
        let shown: Vec<&PartitionInfo> = from.by_ref().take(arguments.limit.size()).collect();
        let next = from.next().map(|partition| partition.partition.get());
        let led = shown.iter().filter(|partition| partition.leader.is_some());
        let led: Vec<TopicPartition> = led
            .map(|it| TopicPartition::new(info.name.clone(), it.partition))
            .collect();
        let bounds = client.log_bounds(&led)?;
        let row = |partition: &&PartitionInfo| {
            let of = TopicPartition::new(info.name.clone(), partition.partition);
            let bounds = bounds.get(&of);
            PartitionRow {
                partition: partition.partition.get(),
                leader: partition.leader,
                leader_epoch: partition.leader_epoch,
                start_offset: bounds.map(|(start, _)| start.get()),
                end_offset: bounds.map(|(_, end)| end.get()),
            }
        };
        let partitions: Vec<PartitionRow> = shown.iter().map(row).collect();
        // A rule may allow to describe a topic and not its configuration.
        let (configs, unreadable) = match client.topic_configs(&info.name) {
            Ok(configs) => (configs, None),
            Err(error) if error.code().is_some() => (Vec::new(), Some(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let configs = configs.into_iter();
        let configs = configs.filter(|config| config.is_set || arguments.all_configs);
        Ok(DescribeAnswer {
            topic: info.name.to_string(),
            id: info.id.to_string(),
            partition_count: info.partitions.len(),
            offsets: bounds
                .values()
                .map(|(start, end)| end.get() - start.get())
                .sum(),
            partitions,
            next_partition: next,
            configs: configs.map(config_row).collect(),
            configs_unreadable: unreadable,
        })
    }
}

fn config_row(config: ConfigEntry) -> ConfigRow {
    ConfigRow {
        name: config.name,
        value: config.value,
        set_by_topic: config.is_set,
    }
}
