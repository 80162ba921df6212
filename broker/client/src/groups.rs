//! Groups seen from outside: listing, describing and deleting them, their committed offsets.

use std::collections::BTreeMap;

use segment::{Offset, PartitionIndex};
use wire::messages::consumer_protocol::ConsumerProtocolAssignment;
use wire::messages::describe_groups::DescribedGroup;
use wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use wire::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetFetchRequest, OffsetFetchResponse,
};
use wire::{ApiKey, ErrorCode};

use crate::error::ClientError;
use crate::metadata::TopicPartition;
use crate::router::Client;

/// First version of OffsetFetch with a list of groups.
const FETCH_GROUPS_FROM: i16 = 8;
/// State in which Kafka describes a group that it does not know.
const STATE_DEAD: &str = "Dead";

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupListing {
    /// Name of the group.
    pub group: String,
    /// What its members speak: `consumer`, or empty where only offsets are kept.
    pub protocol_type: String,
    /// Its state, for example `Stable`; empty if the broker is too old to tell it.
    pub state: String,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Id that the coordinator gave it.
    pub id: String,
    /// Name of its own, if it has one (KIP-345).
    pub instance_id: Option<String>,
    /// What it calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// The partitions that it reads.
    pub assignment: Vec<TopicPartition>,
}

/// A group with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Name of the group.
    pub group: String,
    /// Its state, for example `Stable`.
    pub state: String,
    /// What its members speak.
    pub protocol_type: String,
    /// How they share the partitions, for example `range`.
    pub assignor: String,
    /// Its members.
    pub members: Vec<GroupMember>,
    /// The broker that coordinates it.
    pub coordinator: i32,
}

/// An offset that a group has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Offset of the next record to read.
    pub offset: Offset,
    /// What the committer noted beside it.
    pub metadata: String,
}

impl Client {
    /// The groups of all brokers, by name.
    ///
    /// # Errors
    /// A broker cannot be asked.
    pub fn groups(&mut self) -> Result<Vec<GroupListing>, ClientError> {
        let nodes: Vec<i32> = self.metadata().brokers.keys().copied().collect();
        let mut groups = Vec::new();
        for node in nodes {
            let found = self.retry("list groups", |client| {
                let reply = client.call(node, &ListGroupsRequest::default())?;
                let response = reply.decode()?;
                ClientError::check(|| "list groups".to_owned(), response.error_code, None)?;
                let listing = |group: &wire::messages::list_groups::ListedGroup<'_>| GroupListing {
                    group: group.group_id.to_owned(),
                    protocol_type: group.protocol_type.to_owned(),
                    state: group.group_state.to_owned(),
                };
                Ok(response.groups.iter().map(listing).collect::<Vec<_>>())
            })?;
            groups.extend(found);
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    /// A group with its members.
    ///
    /// # Errors
    /// The group does not exist, or its coordinator cannot be asked.
    pub fn describe_group(&mut self, group: &str) -> Result<GroupDescription, ClientError> {
        self.retry("describe group", |client| {
            let coordinator = client.coordinator(group)?;
            let groups = vec![group];
            let request = DescribeGroupsRequest {
                groups,
                ..Default::default()
            };
            let reply = client.call(coordinator, &request)?;
            let response = reply.decode()?;
            let operation = || format!("describe group {group}");
            let unknown = || ClientError::Refused {
                operation: operation(),
                code: ErrorCode::GROUP_ID_NOT_FOUND,
                message: Some("there is no such group".to_owned()),
            };
            let found = response.groups.first().ok_or_else(unknown)?;
            if found.error_code == ErrorCode::GROUP_ID_NOT_FOUND {
                return Err(unknown());
            }
            ClientError::check(operation, found.error_code, found.error_message)?;
            if found.group_state == STATE_DEAD {
                return Err(unknown());
            }
            Ok(description(found, coordinator))
        })
    }

    /// Deletes a group with its committed offsets.
    ///
    /// # Errors
    /// The group has members or does not exist, or its coordinator cannot be asked.
    pub fn delete_group(&mut self, group: &str) -> Result<(), ClientError> {
        self.retry("delete group", |client| {
            let coordinator = client.coordinator(group)?;
            let request = DeleteGroupsRequest {
                groups_names: vec![group],
            };
            let reply = client.call(coordinator, &request)?;
            let operation = || format!("delete group {group}");
            reply
                .decode()?
                .results
                .iter()
                .try_for_each(|result| ClientError::check(operation, result.error_code, None))
        })
    }

    /// What a group has committed: of all partitions, or of those given.
    ///
    /// # Errors
    /// The coordinator cannot be asked.
    pub fn committed(
        &mut self,
        group: &str,
        of: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        self.retry("read committed offsets", |client| {
            let coordinator = client.coordinator(group)?;
            let grouped = of.map(by_topic);
            let version = client.version(coordinator, ApiKey::OffsetFetch)?;
            let request = if version >= FETCH_GROUPS_FROM {
                let topics = grouped.map(|topics| {
                    let topics = topics.into_iter();
                    let named = |(name, partition_indexes)| OffsetFetchRequestTopics {
                        name,
                        partition_indexes,
                        ..Default::default()
                    };
                    topics.map(named).collect()
                });
                let asked = OffsetFetchRequestGroup {
                    group_id: group,
                    topics,
                    ..Default::default()
                };
                OffsetFetchRequest {
                    groups: vec![asked],
                    ..Default::default()
                }
            } else {
                let topics = grouped.map(|topics| {
                    let topics = topics.into_iter();
                    let named = |(name, partition_indexes)| OffsetFetchRequestTopic {
                        name,
                        partition_indexes,
                    };
                    topics.map(named).collect()
                });
                OffsetFetchRequest {
                    group_id: group,
                    topics,
                    ..Default::default()
                }
            };
            let reply = client.call(coordinator, &request)?;
            read_committed(group, &reply.decode()?)
        })
    }

    /// Commits offsets of a group that has no members, as an operator does.
    ///
    /// # Errors
    /// The group has members, or its coordinator cannot be asked.
    pub fn commit_offline(
        &mut self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), ClientError> {
        self.retry("commit offsets", |client| {
            let coordinator = client.coordinator(group)?;
            client.commit_at(
                coordinator,
                &Committer {
                    group,
                    ..Committer::default()
                },
                offsets,
            )
        })
    }

    /// Commits offsets at the coordinator, in the name of a member or of nobody.
    pub(crate) fn commit_at(
        &mut self,
        coordinator: i32,
        who: &Committer<'_>,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition<'_>>> = BTreeMap::new();
        for (partition, offset) in offsets {
            topics
                .entry(&partition.topic)
                .or_default()
                .push(OffsetCommitRequestPartition {
                    partition_index: partition.partition.get(),
                    committed_offset: offset.get(),
                    committed_metadata: Some(""),
                    ..Default::default()
                });
        }
        let topics = topics.into_iter();
        let named = |(name, partitions)| OffsetCommitRequestTopic {
            name,
            partitions,
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: who.group,
            generation_id_or_member_epoch: who.generation,
            member_id: who.member_id,
            group_instance_id: who.instance_id,
            topics: topics.map(named).collect(),
            ..Default::default()
        };
        let reply = self.call(coordinator, &request)?;
        for topic in &reply.decode()?.topics {
            for partition in &topic.partitions {
                let operation = || format!("commit offsets of group {}", who.group);
                ClientError::check(operation, partition.error_code, None)?;
            }
        }
        Ok(())
    }
}

/// In whose name offsets are committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Committer<'a> {
    pub(crate) group: &'a str,
    pub(crate) generation: i32,
    pub(crate) member_id: &'a str,
    pub(crate) instance_id: Option<&'a str>,
}

impl Default for Committer<'_> {
    /// Nobody: for groups without members.
    fn default() -> Self {
        Self {
            group: "",
            generation: -1,
            member_id: "",
            instance_id: None,
        }
    }
}

/// Partition numbers by the name of their topic.
pub(crate) fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics
            .entry(&partition.topic)
            .or_default()
            .push(partition.partition.get());
    }
    topics
}

fn description(group: &DescribedGroup<'_>, coordinator: i32) -> GroupDescription {
    let members = group.members.iter().map(|member| GroupMember {
        id: member.member_id.to_owned(),
        instance_id: member.group_instance_id.map(str::to_owned),
        client_id: member.client_id.to_owned(),
        host: member.client_host.to_owned(),
        assignment: assignment(member.member_assignment),
    });
    GroupDescription {
        group: group.group_id.to_owned(),
        state: group.group_state.to_owned(),
        protocol_type: group.protocol_type.to_owned(),
        assignor: group.protocol_data.to_owned(),
        members: members.collect(),
        coordinator,
    }
}

/// The partitions of an assignment; none if it is of another protocol than the consumers'.
pub(crate) fn assignment(blob: &[u8]) -> Vec<TopicPartition> {
    let Ok((_, assignment)) = ConsumerProtocolAssignment::from_blob(blob) else {
        return Vec::new();
    };
    let mut partitions: Vec<_> = assignment
        .assigned_partitions
        .iter()
        .flat_map(|topic| {
            let numbers = topic.partitions.iter();
            numbers.map(|number| TopicPartition::new(topic.topic, PartitionIndex::new(*number)))
        })
        .collect();
    partitions.sort();
    partitions
}

fn read_committed(
    group: &str,
    response: &OffsetFetchResponse<'_>,
) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
    let operation = || format!("read committed offsets of group {group}");
    ClientError::check(operation, response.error_code, None)?;
    let mut committed = BTreeMap::new();
    let mut add = |topic: &str, partition: i32, offset: i64, metadata: Option<&str>| {
        if offset >= 0 {
            let partition = TopicPartition::new(topic, PartitionIndex::new(partition));
            let (offset, metadata) = (Offset::new(offset), metadata.unwrap_or_default().to_owned());
            committed.insert(partition, CommittedOffset { offset, metadata });
        }
    };
    for topic in &response.topics {
        for found in &topic.partitions {
            ClientError::check(operation, found.error_code, None)?;
            add(
                topic.name,
                found.partition_index,
                found.committed_offset,
                found.metadata,
            );
        }
    }
    for answered in &response.groups {
        ClientError::check(operation, answered.error_code, None)?;
        for topic in &answered.topics {
            for found in &topic.partitions {
                ClientError::check(operation, found.error_code, None)?;
                add(
                    topic.name,
                    found.partition_index,
                    found.committed_offset,
                    found.metadata,
                );
            }
        }
    }
    Ok(committed)
}
