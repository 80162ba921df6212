//! OffsetFetch (key 9), versions 1-10.
//!
//! - What is durable. A partition without a committed offset has offset -1 and no error, whether
//!   the topic exists or not, as in Kafka: the client then applies its `auto.offset.reset`.
//! - A group that is named twice is answered once, by its first mention.
//! - Null topics (v2): all partitions that have an offset and whose topic exists.
//! - v2: an error for the whole reply; in v1 it is in every partition. v5: leader epochs (KIP-320).
//!   v7: `require_stable` waits for commits under way (KIP-447). v8: several groups (KIP-709),
//!   asked side by side. v9: member id and epoch of the consumer protocol (KIP-848), which are not
//!   looked at: all groups here are classic. v10: topic ids instead of names; UNKNOWN_TOPIC_ID for a topic that does
//!   not exist.
//!
//! - Needs DESCRIBE on the group (GROUP_AUTHORIZATION_FAILED) and on each topic (TOPIC_AUTHORIZATION_FAILED; left out where
//!   no topics are named).
//!
//! Left out: v0, which read from ZooKeeper.

use std::collections::{BTreeMap, HashSet};

use coord::groups::{FetchRequest, FetchedOffset, GroupId, Reply as GroupReply};
use security::acl::{Operation, ResourceType};
use segment::{PartitionIndex, TopicId, TopicPartition};
use wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use wire::{ErrorCode, Uuid, VersionRange};

use super::offset_commit::find_topic;
use super::{Reply, RequestContext, error};
use crate::metadata::Metadata;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 10 };
/// First version with an error for the whole reply.
const GROUP_ERROR_FROM: i16 = 2;
/// First version with several groups.
const SEVERAL_FROM: i16 = 8;
/// "No offset", "no leader epoch".
const NO_OFFSET: i64 = -1;
const NO_EPOCH: i32 = -1;

/// A topic with partitions, as either form of the request names it.
struct Asked<'a> {
    name: &'a str,
    id: Uuid,
    partitions: &'a [i32],
}

/// One group of the request.
struct Query<'a> {
    group: &'a str,
    topics: Option<Vec<Asked<'a>>>,
}

/// One partition of the reply.
struct Row {
    index: i32,
    offset: i64,
    epoch: i32,
    metadata: std::sync::Arc<str>,
    code: ErrorCode,
}

/// A topic of the reply.
struct Topic {
    name: String,
    id: Uuid,
    rows: Vec<Row>,
}

/// A group of the reply: its topics, in the order of the request.
struct Answer {
    code: ErrorCode,
    topics: Vec<Topic>,
}

pub(crate) async fn handle(cx: &RequestContext, request: OffsetFetchRequest<'_>) -> Reply {
    let metadata = cx.shard.metadata();
    let queries = queries(cx.version, &request);
    let work = queries
        .iter()
        .map(|query| fetch(cx, &metadata, query, request.require_stable));
    let answers = cx.side_by_side(work).await;
    if cx.version < SEVERAL_FROM {
        let answer = answers.into_iter().next();
        return one_group(
            cx,
            &answer.unwrap_or(Answer {
                code: ErrorCode::NONE,
                topics: vec![],
            }),
        );
    }
    let groups = queries
        .iter()
        .zip(&answers)
        .map(|(query, answer)| OffsetFetchResponseGroup {
            group_id: query.group,
            topics: answer.topics.iter().map(several_topic).collect(),
            error_code: answer.code,
        });
    cx.reply(&OffsetFetchResponse {
        groups: groups.collect(),
        ..OffsetFetchResponse::default()
    })
}

fn queries<'a>(version: i16, request: &'a OffsetFetchRequest<'_>) -> Vec<Query<'a>> {
    if version < SEVERAL_FROM {
        let topics = request.topics.as_ref().map(|topics| {
            let asked = topics.iter();
            asked
                .map(|t| Asked {
                    name: t.name,
                    id: Uuid::ZERO,
                    partitions: &t.partition_indexes,
                })
                .collect()
        });
        return vec![Query {
            group: request.group_id,
            topics,
        }];
    }
    // A few bytes of a request are all offsets of a group in the reply.
    let mut seen = HashSet::new();
    let groups = request.groups.iter();
    let groups = groups.filter(|group| seen.insert(group.group_id));
    let groups = groups.map(|group| Query {
        group: group.group_id,
        topics: group.topics.as_ref().map(|topics| {
            let asked = topics.iter();
            asked
                .map(|t| Asked {
                    name: t.name,
                    id: t.topic_id,
                    partitions: &t.partition_indexes,
                })
                .collect()
        }),
    });
    groups.collect()
}

async fn fetch(
    cx: &RequestContext,
    metadata: &Metadata,
    query: &Query<'_>,
    require_stable: bool,
) -> Answer {
    if let Err(code) = cx.authorize(Operation::Describe, ResourceType::Group, query.group) {
        return failed(cx, query, code);
    }
    let partitions = query
        .topics
        .as_deref()
        .map(|topics| known(cx, metadata, topics));
    let request = FetchRequest {
        group: GroupId::from(query.group),
        partitions,
        require_stable,
    };
    let call = cx
        .shard
        .group_write(query.group, |coordinator, token, _, out| {
            coordinator.fetch_offsets(request, token, out);
        });
    let fetched = match call.await {
        Ok(GroupReply::Fetch(result)) => result.map_err(error::group_code),
        Ok(_) => unreachable!("a fetch of offsets is answered as one"),
        Err(error) => Err(error::unavailable_code(error)),
    };
    match (fetched, &query.topics) {
        (Ok(fetched), None) => Answer {
            code: ErrorCode::NONE,
            topics: all(cx, metadata, &fetched),
        },
        (Ok(fetched), Some(topics)) => Answer {
            code: ErrorCode::NONE,
            topics: named(cx, metadata, topics, &fetched),
        },
        (Err(code), _) => failed(cx, query, code),
    }
}

fn failed(cx: &RequestContext, query: &Query<'_>, code: ErrorCode) -> Answer {
    cx.failed(code);
    let topics = query.topics.as_deref();
    let topics = topics.filter(|_| cx.version < GROUP_ERROR_FROM);
    Answer {
        code,
        topics: refused(topics.unwrap_or_default(), code),
    }
}

fn find<'a>(
    cx: &RequestContext,
    metadata: &'a Metadata,
    asked: &Asked<'_>,
) -> Result<&'a std::sync::Arc<crate::metadata::Topic>, ErrorCode> {
    find_topic(cx, metadata, asked.name, asked.id, Operation::Describe)
}

/// The partitions of topics that exist, in order.
fn known(cx: &RequestContext, metadata: &Metadata, topics: &[Asked<'_>]) -> Vec<TopicPartition> {
    let ids = topics.iter().filter_map(|asked| {
        let topic = find(cx, metadata, asked).ok()?;
        Some((topic.id, asked))
    });
    let partitions = ids.flat_map(|(id, asked)| {
        let indexes = asked.partitions.iter();
        indexes.map(move |index| TopicPartition::new(id, PartitionIndex::new(*index)))
    });
    partitions.collect()
}

/// Everything that was fetched and may be seen, under the topics' names.
fn all(cx: &RequestContext, metadata: &Metadata, fetched: &[FetchedOffset]) -> Vec<Topic> {
    let mut topics: BTreeMap<(&str, TopicId), Vec<Row>> = BTreeMap::new();
    for entry in fetched {
        let topic = metadata.topic_by_id(entry.partition.topic).filter(|topic| {
            cx.allows_quietly(
                Operation::Describe,
                ResourceType::Topic,
                topic.name.as_str(),
            )
        });
        if let Some(topic) = topic {
            let index = entry.partition.partition.get();
            topics
                .entry((topic.name.as_str(), topic.id))
                .or_default()
                .push(row(index, Some(entry)));
        }
    }
    topics
        .into_iter()
        .map(|((name, id), rows)| Topic {
            name: name.to_owned(),
            id: Uuid(id.get()),
            rows,
        })
        .collect()
}

/// What was fetched, in the places of the request; the entries are in the order of [`known`].
fn named(
    cx: &RequestContext,
    metadata: &Metadata,
    topics: &[Asked<'_>],
    fetched: &[FetchedOffset],
) -> Vec<Topic> {
    let mut fetched = fetched.iter();
    let mut found = Vec::with_capacity(topics.len());
    for asked in topics {
        let topic = find(cx, metadata, asked);
        let rows = asked.partitions.iter().map(|index| match topic {
            Ok(_) => row(*index, fetched.next()),
            // A name that is not known has no offset, and no error.
            Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => row(*index, None),
            Err(code) => refused_row(*index, code),
        });
        found.push(Topic {
            name: asked.name.to_owned(),
            id: asked.id,
            rows: rows.collect(),
        });
    }
    found
}

fn refused(topics: &[Asked<'_>], code: ErrorCode) -> Vec<Topic> {
    let topics = topics.iter().map(|asked| {
        let rows = asked.partitions.iter();
        Topic {
            name: asked.name.to_owned(),
            id: asked.id,
            rows: rows.map(|index| refused_row(*index, code)).collect(),
        }
    });
    topics.collect()
}

fn refused_row(index: i32, code: ErrorCode) -> Row {
    Row {
        code,
        ..row(index, None)
    }
}

fn row(index: i32, entry: Option<&FetchedOffset>) -> Row {
    let none = |code| Row {
        index,
        offset: NO_OFFSET,
        epoch: NO_EPOCH,
        metadata: "".into(),
        code,
    };
    match entry.map(|entry| &entry.result) {
        None | Some(Ok(None)) => none(ErrorCode::NONE),
        Some(Err(error)) => none(error::group_code(*error)),
        Some(Ok(Some(committed))) => Row {
            index,
            offset: committed.offset.get(),
            epoch: committed.leader_epoch.get(),
            metadata: committed.metadata.clone(),
            code: ErrorCode::NONE,
        },
    }
}

fn one_group(cx: &RequestContext, answer: &Answer) -> Reply {
    let topics = answer.topics.iter().map(|topic| OffsetFetchResponseTopic {
        name: &topic.name,
        partitions: topic
            .rows
            .iter()
            .map(|row| OffsetFetchResponsePartition {
                partition_index: row.index,
                committed_offset: row.offset,
                committed_leader_epoch: row.epoch,
                metadata: Some(&row.metadata),
                error_code: row.code,
            })
            .collect(),
    });
    cx.reply(&OffsetFetchResponse {
        topics: topics.collect(),
        error_code: answer.code,
        ..OffsetFetchResponse::default()
    })
}

fn several_topic(topic: &Topic) -> OffsetFetchResponseTopics<'_> {
    let partitions = topic.rows.iter().map(|row| OffsetFetchResponsePartitions {
        partition_index: row.index,
        committed_offset: row.offset,
        committed_leader_epoch: row.epoch,
        metadata: Some(&row.metadata),
        error_code: row.code,
    });
    OffsetFetchResponseTopics {
        name: &topic.name,
        topic_id: topic.id,
        partitions: partitions.collect(),
    }
}
