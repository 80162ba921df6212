//! One consumer group: its members, and how far it is behind in each partition, asked now.

use std::collections::BTreeMap;

use client::{Client, ClientError, CommittedOffset, GroupDescription, TopicPartition as Named};
use segment::Offset;
use serde::Serialize;

use super::Question;
use crate::console::call::Refused;

/// Partitions that are looked at.
const PARTITIONS_MAX: usize = 5_000;
/// Partitions of a member that are named.
const ASSIGNED_MAX: usize = 100;

/// Answer of `GET /api/v1/groups/{group}`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Group {
    group: String,
    state: String,
    protocol_type: String,
    assignor: String,
    coordinator: i32,
    members: Vec<Member>,
    partitions: Vec<Partition>,
    /// Partitions that are not shown: too many, or of topics that the viewer may not know of.
    left_out: usize,
    /// Records, over the partitions that are shown and whose end is known.
    lag: u64,
}

#[derive(Debug, Serialize)]
struct Member {
    id: String,
    instance: Option<String>,
    client: String,
    host: String,
    partitions: usize,
    /// The first of them.
    assigned: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Partition {
    topic: String,
    partition: i32,
    committed: i64,
    metadata: String,
    log_start: Option<i64>,
    end: Option<i64>,
    lag: Option<u64>,
    /// Who reads it now.
    member: Option<String>,
}

/// What the cluster tells of a group.
struct Told {
    description: GroupDescription,
    committed: BTreeMap<Named, CommittedOffset>,
    left_out: usize,
    bounds: BTreeMap<Named, (Offset, Offset)>,
}

pub(in crate::console) async fn show(
    question: &Question<'_>,
    group: &str,
) -> Result<Group, Refused> {
    let (service, viewer) = (question.service, question.viewer);
    if !service.access.may_describe_group(viewer, group) {
        return Err(Refused::unknown("group", group));
    }
    let name = group.to_owned();
    let told = service.kafka.ask(move |client| ask(client, &name)).await?;
    let may = |topic: &str| service.access.may_describe_topic(viewer, topic);
    Ok(shown(told, may))
}

fn ask(client: &mut Client, group: &str) -> Result<Told, ClientError> {
    let description = client.describe_group(group)?;
    let mut committed = client.committed(group, None)?;
    let all = committed.len();
    if let Some((first, _)) = committed.iter().nth(PARTITIONS_MAX) {
        let first = first.clone();
        drop(committed.split_off(&first));
    }
    let left_out = all - committed.len();
    let bounds = bounds(client, committed.keys())?;
    Ok(Told {
        description,
        committed,
        left_out,
        bounds,
    })
}

/// First and next offset of those partitions that still exist.
pub(super) fn bounds<'a>(
    client: &mut Client,
    partitions: impl Iterator<Item = &'a Named>,
) -> Result<BTreeMap<Named, (Offset, Offset)>, ClientError> {
    let mut counts: BTreeMap<std::sync::Arc<str>, usize> = BTreeMap::new();
    let mut existing = Vec::new();
    for of in partitions {
        if !counts.contains_key(&of.topic) {
            let count = match client.topic(&of.topic) {
                Ok(info) => info.partitions.len(),
                Err(ClientError::UnknownTopic { .. }) => 0,
                Err(error) => return Err(error),
            };
            counts.insert(of.topic.clone(), count);
        }
        let count = counts.get(&of.topic).copied().unwrap_or(0);
        if usize::try_from(of.partition.get()).is_ok_and(|number| number < count) {
            existing.push(of.clone());
        }
    }
    match existing.is_empty() {
        true => Ok(BTreeMap::new()),
        false => client.log_bounds(&existing),
    }
}

fn shown(told: Told, may: impl Fn(&str) -> bool) -> Group {
    let Told {
        description,
        committed,
        mut left_out,
        bounds,
    } = told;
    let mut readers = BTreeMap::new();
    for member in &description.members {
        for of in &member.assignment {
            readers.insert(of, member.client_id.as_str());
        }
    }
    let mut partitions = Vec::with_capacity(committed.len());
    for (of, committed) in &committed {
        if !may(&of.topic) {
            left_out += 1;
            continue;
        }
        let bounds = bounds.get(of);
        let lag = bounds.map(|(start, end)| {
            let next = committed.offset.max(*start);
            u64::try_from(end.get().saturating_sub(next.get())).unwrap_or(0)
        });
        partitions.push(Partition {
            topic: of.topic.to_string(),
            partition: of.partition.get(),
            committed: committed.offset.get(),
            metadata: committed.metadata.chars().take(200).collect(),
            log_start: bounds.map(|(start, _)| start.get()),
            end: bounds.map(|(_, end)| end.get()),
            lag,
            member: readers.get(of).map(|client| (*client).to_owned()),
        });
    }
    let members = description.members.iter().map(|member| Member {
        id: member.id.clone(),
        instance: member.instance_id.clone(),
        client: member.client_id.clone(),
        host: member.host.clone(),
        partitions: member.assignment.len(),
        assigned: member
            .assignment
            .iter()
            .filter(|of| may(&of.topic))
            .take(ASSIGNED_MAX)
            .map(ToString::to_string)
            .collect(),
    });
    Group {
        members: members.collect(),
        lag: partitions.iter().filter_map(|it| it.lag).sum(),
        partitions,
        left_out,
        group: description.group,
        state: description.state,
        protocol_type: description.protocol_type,
        assignor: description.assignor,
        coordinator: description.coordinator,
    }
}
