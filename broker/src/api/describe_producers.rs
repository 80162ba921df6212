//! DescribeProducers (key 61), version 0 (KIP-664).
//!
//! - The idempotent producers whose state a partition holds, as its owner has them, in order of id: epoch, sequence
//!   of the last record, largest timestamp of the last batch.
//! - A partition that is named twice is described once: a few bytes of a request are all its producers in the reply.
//! - Needs READ on each topic: TOPIC_AUTHORIZATION_FAILED, whether it exists or not.
//! - INVALID_TOPIC_EXCEPTION, UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER.
//! - There are no transactions: coordinator epoch and start of a transaction are -1.

use std::collections::HashSet;

use security::acl::{Operation, ResourceType};
use segment::{PartitionIndex, TopicName};
use wire::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};
use wire::{ErrorCode, VersionRange};

use super::create_topics::{Refusal, refusal};
use super::{Reply, RequestContext, error};
use crate::control::TopicError;
use crate::metadata::Metadata;
use crate::partition::PartitionLog;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 0 };
/// "None" for what only transactions have.
const NO_TRANSACTION: i32 = -1;

type Found = Result<Vec<ProducerState>, Refusal>;

pub(crate) async fn handle(cx: &RequestContext, request: DescribeProducersRequest<'_>) -> Reply {
    let metadata = cx.shard.metadata();
    let mut seen = HashSet::new();
    let mut asked: Vec<(&str, Vec<i32>)> = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let indexes = topic.partition_indexes.iter().copied();
        let indexes = indexes.filter(|index| seen.insert((topic.name, *index)));
        asked.push((topic.name, indexes.collect()));
    }
    let all = asked.iter().map(|(topic, indexes)| {
        let indexes = indexes.iter();
        cx.side_by_side(indexes.map(|index| find(cx, &metadata, topic, *index)))
    });
    let all: Vec<Vec<Found>> = cx.side_by_side(all).await;
    let topics = asked.iter().zip(&all);
    let topics = topics.map(|((name, indexes), found)| TopicResponse {
        name,
        partitions: indexes
            .iter()
            .zip(found)
            .map(|(index, found)| response(cx, *index, found))
            .collect(),
    });
    cx.reply(&DescribeProducersResponse {
        topics: topics.collect(),
        ..DescribeProducersResponse::default()
    })
}

fn response<'a>(cx: &RequestContext, index: i32, found: &'a Found) -> PartitionResponse<'a> {
    let (error_code, error_message, active_producers) = match found {
        Ok(producers) => (ErrorCode::NONE, None, producers.clone()),
        Err((code, text)) => {
            cx.failed(*code);
            (
                *code,
                Some(text.as_str()).filter(|it| !it.is_empty()),
                Vec::new(),
            )
        }
    };
    PartitionResponse {
        partition_index: index,
        error_code,
        error_message,
        active_producers,
    }
}

async fn find(cx: &RequestContext, metadata: &Metadata, topic: &str, index: i32) -> Found {
    cx.authorize_or_tell(Operation::Read, ResourceType::Topic, topic)?;
    TopicName::new(topic).map_err(|error| (error::topic_name_code(&error), error.to_string()))?;
    let handle = metadata
        .topic(topic)
        .and_then(|topic| topic.partition(PartitionIndex::new(index)))
        .ok_or_else(|| refusal(&TopicError::Unknown))?;
    let not_owner = || (ErrorCode::NOT_LEADER_OR_FOLLOWER, String::new());
    if !cx.shard.is_proven() {
        return Err(not_owner());
    }
    let id = handle.id;
    let owner = &cx.shard.shared.peers[handle.shard.index()];
    let found = owner.call(move |shard| shard.with_log(id, |log| producers(log)));
    found.await.ok().flatten().ok_or_else(not_owner)
}

fn producers(log: &PartitionLog) -> Vec<ProducerState> {
    let mut all: Vec<ProducerState> = log
        .producers()
        .map(|(id, entry)| {
            let last = entry.batches.back();
            ProducerState {
                producer_id: id.get(),
                producer_epoch: i32::from(entry.epoch.get()),
                last_sequence: last.map_or(-1, |batch| batch.last_sequence().get()),
                last_timestamp: last.map_or(-1, |batch| batch.max_timestamp.get()),
                coordinator_epoch: NO_TRANSACTION,
                current_txn_start_offset: i64::from(NO_TRANSACTION),
            }
        })
        .collect();
    all.sort_unstable_by_key(|state| state.producer_id);
    all
}
