//! `list_groups` and `describe_group`: who reads, and how far behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Client, ClientError, CommittedOffset, GroupDescription, GroupMember, TopicPartition};
use schemars::JsonSchema;
use segment::Offset;
use serde::{Deserialize, Serialize};

use super::GroupName;
use crate::bounds::{Limit, Text};
use crate::desk::Visit;
use crate::tool::{Effect, Tool, ToolError};

/// See [`Tool::NAME`].
pub(super) struct ListGroups;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListArguments {
    /// Only groups whose name contains this text
    #[serde(default)]
    name_contains: Option<GroupName>,
    /// Groups of the answer at most
    #[serde(default)]
    limit: Limit<1, 1_000, 100>,
    /// Only groups after this name: `after` of an earlier answer
    #[serde(default)]
    after: Option<GroupName>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ListAnswer {
    /// By name
    groups: Vec<GroupRow>,
    /// Groups with such a name in all
    total: usize,
    /// There are more: give this as `after`
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct GroupRow {
    group: String,
    /// Stable, Empty, PreparingRebalance, CompletingRebalance or Dead
    state: String,
    /// What its members speak; empty where only offsets are kept
    protocol_type: String,
}

impl Tool for ListGroups {
    type Arguments = ListArguments;
    type Answer = ListAnswer;

    const NAME: &'static str = "list_groups";
    const TITLE: &'static str = "List consumer groups";
    const DESCRIPTION: &'static str = "List the consumer groups of the cluster that this server's user may see, by name, \
        with their states. Empty means that offsets are kept and nobody reads now.";
    const EFFECT: Effect = Effect::Reads;

    fn run(visit: &mut Visit, arguments: ListArguments) -> Result<ListAnswer, ToolError> {
        let client = visit.client()?;
        client.refresh_brokers()?;
        let mut groups = client.groups()?;
        let part = arguments.name_contains.as_ref().map_or("", Text::as_str);
        groups.retain(|group| group.group.contains(part));
        let total = groups.len();
        let after = arguments.after.as_ref().map_or("", Text::as_str);
        groups.retain(|group| group.group.as_str() > after);
        let more = groups.len() > arguments.limit.size();
        groups.truncate(arguments.limit.size());
        let last = groups.last().map(|group| group.group.clone());
        let row = |group: client::GroupListing| GroupRow {
            group: group.group,
            state: group.state,
            protocol_type: group.protocol_type,
        };
        Ok(ListAnswer {
            groups: groups.into_iter().map(row).collect(),
            total,
            after: last.filter(|_| more),
        })
    }
}

/// See [`Tool::NAME`].
pub(super) struct DescribeGroup;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct DescribeArguments {
    /// Name of the group
    group: GroupName,
    /// Partitions of the answer at most: those with the most lag
    #[serde(default)]
    max_partitions: Limit<1, 2_000, 100>,
    /// Members of the answer at most
    #[serde(default)]
    max_members: Limit<0, 500, 50>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DescribeAnswer {
    group: String,
    state: String,
    /// How members share partitions, for example range
    assignor: String,
    /// The broker that coordinates it
    coordinator: i32,
    /// Records that the group has not read, in all partitions where that is known
    total_lag: u64,
    member_count: usize,
    members: Vec<MemberRow>,
    partition_count: usize,
    /// By lag, the most first
    partitions: Vec<ProgressRow>,
    /// Members and partitions that were left out
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<LeftOut>,
    /// Topics whose ends cannot be asked for, and why
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    topics_unreadable: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct LeftOut {
    members: usize,
    partitions: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct MemberRow {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    client_id: String,
    host: String,
    /// Partitions that it reads
    partitions: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct ProgressRow {
    topic: String,
    partition: i32,
    /// Offset of the next record to read; null if none was committed
    committed: Option<i64>,
    /// End of the log
    end: Option<i64>,
    /// Records that were not read
    lag: Option<u64>,
    /// Id of the member that reads it
    member: Option<String>,
}

impl Tool for DescribeGroup {
    type Arguments = DescribeArguments;
    type Answer = DescribeAnswer;

    const NAME: &'static str = "describe_group";
    const TITLE: &'static str = "Describe a consumer group";
    const DESCRIPTION: &'static str = "Show a consumer group: its state and members, and for each partition the committed \
        offset, the end of the log and the lag (records that were not read), the most lag first.";
    const EFFECT: Effect = Effect::Reads;

    fn run(visit: &mut Visit, arguments: DescribeArguments) -> Result<DescribeAnswer, ToolError> {
        let client = visit.client()?;
        let group = client.describe_group(arguments.group.as_str())?;
        let committed = client.committed(&group.group, None)?;
        let readers = readers(&group, &committed);
        let (ends, unreadable) = ends(client, readers.keys())?;
        let mut rows: Vec<ProgressRow> = readers
            .into_iter()
            .map(|(partition, member)| row(&partition, member, &committed, &ends))
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.lag));
        let lags = rows.iter().filter_map(|row| row.lag);
        let total_lag = lags.fold(0, u64::saturating_add);
        let (partition_count, member_count) = (rows.len(), group.members.len());
        rows.truncate(arguments.max_partitions.size());
        let members = group.members.iter().take(arguments.max_members.size());
        let members: Vec<MemberRow> = members.map(member_row).collect();
        let left_out = LeftOut {
            members: member_count - members.len(),
            partitions: partition_count - rows.len(),
        };
        let some_left = left_out.members + left_out.partitions > 0;
        Ok(DescribeAnswer {
            group: group.group,
            state: group.state,
            assignor: group.assignor,
            coordinator: group.coordinator,
            total_lag,
            member_count,
            members,
            partition_count,
            partitions: rows,
            left_out: some_left.then_some(left_out),
            topics_unreadable: unreadable,
        })
    }
}

fn member_row(member: &GroupMember) -> MemberRow {
    MemberRow {
        id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        host: member.host.clone(),
        partitions: member.assignment.len(),
    }
}

/// The partitions that a group reads or has read, with the members that read them.
fn readers<'a>(
    group: &'a GroupDescription,
    committed: &BTreeMap<TopicPartition, CommittedOffset>,
) -> BTreeMap<TopicPartition, Option<&'a GroupMember>> {
    let committed = committed.keys().map(|partition| (partition.clone(), None));
    let mut readers: BTreeMap<_, _> = committed.collect();
    for member in &group.members {
        let of_member = member.assignment.iter().cloned();
        readers.extend(of_member.map(|partition| (partition, Some(member))));
    }
    readers
}

fn row(
    partition: &TopicPartition,
    member: Option<&GroupMember>,
    committed: &BTreeMap<TopicPartition, CommittedOffset>,
    ends: &BTreeMap<TopicPartition, Offset>,
) -> ProgressRow {
    let committed = committed.get(partition).map(|found| found.offset);
    let end = ends.get(partition).copied();
    let lag = end.zip(committed);
    ProgressRow {
        topic: partition.topic.to_string(),
        partition: partition.partition.get(),
        committed: committed.map(Offset::get),
        end: end.map(Offset::get),
        lag: lag.map(|(end, committed)| end.distance_from(committed).unwrap_or(0)),
        member: member.map(|member| member.id.clone()),
    }
}

type Ends = BTreeMap<TopicPartition, Offset>;

/// The ends of partitions that exist and have a leader; and the topics that may not be asked for.
fn ends<'a>(
    client: &mut Client,
    partitions: impl Iterator<Item = &'a TopicPartition>,
) -> Result<(Ends, BTreeMap<String, String>), ToolError> {
    let mut by_topic: BTreeMap<Arc<str>, Vec<TopicPartition>> = BTreeMap::new();
    for partition in partitions {
        let of_topic = by_topic.entry(partition.topic.clone()).or_default();
        of_topic.push(partition.clone());
    }
    let (mut existing, mut unreadable) = (Vec::new(), BTreeMap::new());
    for (topic, partitions) in by_topic {
        match client.topic(&topic) {
            Ok(info) => existing.extend(partitions.into_iter().filter(|wanted| {
                let found = info.partition(wanted.partition);
                found.is_some_and(|found| found.leader.is_some())
            })),
            Err(error @ (ClientError::Refused { .. } | ClientError::UnknownTopic { .. })) => {
                unreadable.insert(topic.to_string(), error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    let bounds = client.log_bounds(&existing)?;
    let ends = bounds.into_iter().map(|(of, (_, end))| (of, end));
    Ok((ends.collect(), unreadable))
}
