//! `describe_cluster`: brokers, what each owns, the controller.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desk::Visit;
use crate::tool::{Effect, Tool, ToolError};

/// Partitions without a leader that are named.
const LEADERLESS_MAX: usize = 50;

/// See [`Tool::NAME`].
pub(super) struct DescribeCluster;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Arguments {}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answer {
    cluster_id: Option<String>,
    /// Broker that carries out changes of topics
    controller: Option<i32>,
    brokers: Vec<BrokerRow>,
    /// Topics that this server's user may see, the cluster's own among them
    topics: usize,
    /// Their partitions
    partitions: usize,
    /// Partitions that no broker serves
    leaderless_count: usize,
    /// The first of those
    #[serde(skip_serializing_if = "Vec::is_empty")]
    leaderless: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct BrokerRow {
    id: i32,
    /// Where clients reach it
    address: String,
    /// Partitions that it serves
    owned_partitions: usize,
}

impl Tool for DescribeCluster {
    type Arguments = Arguments;
    type Answer = Answer;

    const NAME: &'static str = "describe_cluster";
    const TITLE: &'static str = "Describe the cluster";
    const DESCRIPTION: &'static str = "Show the cluster: its brokers with their addresses and the numbers of partitions that \
        each owns, the controller, and partitions that no broker serves.";
    const EFFECT: Effect = Effect::Reads;

    fn run(visit: &mut Visit, _: Arguments) -> Result<Answer, ToolError> {
        let client = visit.client()?;
        let topics = client.all_topics()?;
        let metadata = client.metadata();
        let mut owned: BTreeMap<i32, usize> =
            metadata.brokers.keys().map(|node| (*node, 0)).collect();
        let (mut partitions, mut leaderless_count) = (0, 0);
        let mut leaderless = Vec::new();
        for topic in &topics {
            for partition in &topic.partitions {
                partitions += 1;
                match partition.leader {
                    Some(leader) => *owned.entry(leader).or_default() += 1,
                    None => {
                        leaderless_count += 1;
                        leaderless.push(format!("{}-{}", topic.name, partition.partition));
                        leaderless.truncate(LEADERLESS_MAX);
                    }
                }
            }
        }
        let address = |node: &i32| metadata.brokers.get(node).map(ToString::to_string);
        let rows = owned.iter().map(|(node, count)| BrokerRow {
            id: *node,
            address: address(node).unwrap_or_else(|| "gone".to_owned()),
            owned_partitions: *count,
        });
        Ok(Answer {
            cluster_id: metadata.cluster_id.clone(),
            controller: metadata.controller,
            brokers: rows.collect(),
            topics: topics.len(),
            partitions,
            leaderless_count,
            leaderless,
        })
    }
}
