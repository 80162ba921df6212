//! ListOffsets (key 2), versions 1-11.
//!
//! - Latest (-1) is the high watermark (last stable offset when reading committed records, which is the same
//!   without transactions); earliest (-2) is the log start; both come from the published snapshot, without
//!   a message to the owner.
//! - A timestamp finds the first record with that timestamp or a later one, by its owner: the first section or
//!   segment that may hold it, of a segment the block of about 1 MiB that its manifest names, then the batch,
//!   then the record.
//! - v4: leader epochs (KIP-320). v7: -3, the record with the largest timestamp (KIP-734). v8: -4, the
//!   earliest local offset (KIP-405), which is the earliest here. v9: -5, the latest tiered offset (KIP-1005):
//!   -1, nothing is tiered. v10: a timeout, which is not needed: a lookup reads a bounded number of chunks.
//!   v11: -6, the first offset that is not tiered yet (KIP-1023): -1, nothing is going to be.
//! - INVALID_REQUEST for a partition that is named again, as in Kafka: a lookup by time reads blocks.
//! - UNSUPPORTED_VERSION for a special time that the version does not have, and for those that there are not.
//! - Needs DESCRIBE on each topic: TOPIC_AUTHORIZATION_FAILED, whether it exists or not.
//! - No record that late: offset -1, timestamp -1, no error, as Kafka answers.

use std::collections::HashSet;
use std::rc::Rc;

use security::acl::{Operation, ResourceType};
use segment::record::{DecodeLimits, find_timestamp, max_timestamp_offset};
use segment::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicPartition};
use wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, error, fetch};
use crate::control::TimeTarget;
use crate::metadata::Metadata;
use crate::partition::PartitionHandle;
use crate::partition::run::Run;
use crate::shard::{ReadError, RunOfTime, Shard};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 11 };

/// First version whose reply carries leader epochs.
const EPOCHS_FROM: i16 = 4;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// First version with a special time; none if there is no such time.
const fn special_from(timestamp: i64) -> Option<i16> {
    match timestamp {
        LATEST | EARLIEST => Some(1),
        MAX_TIMESTAMP => Some(7),
        EARLIEST_LOCAL => Some(8),
        LATEST_TIERED => Some(9),
        EARLIEST_PENDING_UPLOAD => Some(11),
        _ => None,
    }
}

/// Answers a lookup.
pub(super) async fn handle(cx: &RequestContext, request: ListOffsetsRequest<'_>) -> Reply {
    let metadata = cx.shard.metadata();
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut seen = HashSet::new();
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        let may = cx.authorize(Operation::Describe, ResourceType::Topic, topic.name);
        for wanted in &topic.partitions {
            cx.next_row().await;
            let found = if let Err(code) = may {
                Err(code)
            } else if seen.insert((topic.name, wanted.partition_index)) {
                find(cx, &metadata, topic.name, wanted).await
            } else {
                Err(ErrorCode::INVALID_REQUEST)
            };
            let response = match found {
                Ok(found) => found,
                Err(code) => {
                    cx.failed(code);
                    ListOffsetsPartitionResponse {
                        error_code: code,
                        ..Default::default()
                    }
                }
            };
            let partition_index = wanted.partition_index;
            let leader_epoch = if cx.version >= EPOCHS_FROM {
                response.leader_epoch
            } else {
                -1
            };
            partitions.push(ListOffsetsPartitionResponse {
                partition_index,
                leader_epoch,
                ..response
            });
        }
        topics.push(ListOffsetsTopicResponse {
            name: topic.name,
            partitions,
        });
    }
    cx.reply(&ListOffsetsResponse {
        topics,
        ..ListOffsetsResponse::default()
    })
}

async fn find(
    cx: &RequestContext,
    metadata: &Metadata,
    topic: &str,
    wanted: &ListOffsetsPartition,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    let from = special_from(wanted.timestamp);
    if wanted.timestamp < 0 && from.is_none_or(|from| cx.version < from) {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let index = PartitionIndex::new(wanted.partition_index);
    let handle = metadata
        .topic(topic)
        .and_then(|topic| topic.partition(index));
    let handle = handle.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let snapshot = cx.shard.snapshot(handle);
    let snapshot = snapshot.ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    let epoch = fetch::epoch_verdict(wanted.current_leader_epoch, snapshot.leader_epoch);
    if !epoch.is_none() {
        return Err(epoch);
    }
    let at = |offset: Offset| ListOffsetsPartitionResponse {
        offset: offset.get(),
        leader_epoch: snapshot.leader_epoch.get(),
        ..ListOffsetsPartitionResponse::default()
    };
    match wanted.timestamp {
        LATEST => Ok(at(snapshot.high_watermark)),
        EARLIEST | EARLIEST_LOCAL => Ok(at(snapshot.log_start)),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(ListOffsetsPartitionResponse::default()),
        MAX_TIMESTAMP => by_owner(cx, handle, Target::Largest).await,
        timestamp => by_owner(cx, handle, Target::From(TimestampMs::new(timestamp))).await,
    }
}

#[derive(Debug, Clone, Copy)]
enum Target {
    /// The first record that is not older.
    From(TimestampMs),
    /// The record with the largest timestamp.
    Largest,
}

type Lookup = Result<Option<(Offset, TimestampMs, LeaderEpoch)>, ReadError>;

async fn by_owner(
    cx: &RequestContext,
    handle: &PartitionHandle,
    target: Target,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    let id = handle.id;
    let owner = &cx.shard.shared.peers[handle.shard.index()];
    let lookup: Lookup = if handle.shard == cx.shard.id {
        look_up(cx.shard.clone(), id, target).await
    } else {
        let lookup = owner.call_task(move |shard| look_up(shard, id, target));
        lookup.await.unwrap_or(Err(ReadError::NotServed))
    };
    match lookup {
        Ok(Some((offset, timestamp, epoch))) => Ok(ListOffsetsPartitionResponse {
            offset: offset.get(),
            timestamp: timestamp.get(),
            leader_epoch: epoch.get(),
            ..ListOffsetsPartitionResponse::default()
        }),
        Ok(None) => Ok(ListOffsetsPartitionResponse::default()),
        Err(error) => Err(error::read_code(&error)),
    }
}

async fn look_up(shard: Rc<Shard>, id: TopicPartition, target: Target) -> Lookup {
    match target {
        Target::From(timestamp) => first_from(&shard, id, timestamp).await,
        Target::Largest => largest(&shard, id).await,
    }
}

async fn first_from(shard: &Rc<Shard>, id: TopicPartition, target: TimestampMs) -> Lookup {
    let mut from = Offset::ZERO;
    loop {
        let piece = shard.with_log(id, |log| log.first_with_timestamp(target, from));
        let Some((first, segment)) = piece.ok_or(ReadError::NotServed)? else {
            return Ok(None);
        };
        let run = match segment {
            Some(base) => {
                let target = TimeTarget::From(target);
                match shard.run_of_time(id, base, target, first).await? {
                    RunOfTime::Block(run) | RunOfTime::Part(run) => run,
                    RunOfTime::NotBefore(end) => {
                        from = end;
                        continue;
                    }
                }
            }
            None => shard.run_at(id, first).await?,
        };
        for batch in run.batches().iter().filter(|batch| batch.last >= first) {
            if batch.max_timestamp < target {
                continue;
            }
            let bytes = run.batch_bytes(batch);
            let found = find_timestamp(&bytes, target, &DecodeLimits::default());
            match found {
                Ok(Some((offset, timestamp))) => {
                    return Ok(Some((offset, timestamp, epoch_at(shard, id, offset))));
                }
                Ok(None) => {}
                // A client compressed it in a way that we cannot read: its first record is close enough.
                Err(error) => {
                    tracing::warn!(%id, offset = %batch.base, %error, "a batch cannot be decoded");
                    return Ok(Some((
                        batch.base,
                        batch.max_timestamp,
                        epoch_at(shard, id, batch.base),
                    )));
                }
            }
        }
        from = after(&run, first)?;
    }
}

async fn largest(shard: &Rc<Shard>, id: TopicPartition) -> Lookup {
    let piece = shard.with_log(id, |log| log.piece_with_max_timestamp());
    let Some((mut first, mut end, segment)) = piece.ok_or(ReadError::NotServed)? else {
        return Ok(None);
    };
    let mut best: Option<(Offset, TimestampMs)> = None;
    while first < end {
        let found = match segment {
            Some(base) => {
                shard
                    .run_of_time(id, base, TimeTarget::Largest, first)
                    .await?
            }
            None => RunOfTime::NotBefore(end),
        };
        let run = match found {
            RunOfTime::Block(run) => {
                // No other block has to be read.
                end = run.last().next().unwrap_or(end);
                run
            }
            RunOfTime::Part(run) => run,
            RunOfTime::NotBefore(_) => shard.run_at(id, first).await?,
        };
        for batch in run.batches().iter().filter(|batch| batch.last >= first) {
            if best.is_some_and(|(_, timestamp)| batch.max_timestamp <= timestamp) {
                continue;
            }
            let bytes = run.batch_bytes(batch);
            let found = max_timestamp_offset(&bytes, &DecodeLimits::default());
            best = found
                .ok()
                .flatten()
                .or(Some((batch.base, batch.max_timestamp)));
        }
        first = after(&run, first)?;
    }
    Ok(best.map(|(offset, timestamp)| (offset, timestamp, epoch_at(shard, id, offset))))
}

/// Where a lookup that has looked through a run from `from` on goes on: always further on.
fn after(run: &Run, from: Offset) -> Result<Offset, ReadError> {
    let next = run.last().next().ok_or(ReadError::OutOfRange)?;
    (next > from).then_some(next).ok_or(ReadError::EndsBefore)
}

fn epoch_at(shard: &Shard, id: TopicPartition, offset: Offset) -> LeaderEpoch {
    let epoch = shard.with_log(id, |log| {
        log.epochs()
            .epoch_at(offset)
            .unwrap_or_else(|| log.leader_epoch())
    });
    epoch.unwrap_or(LeaderEpoch::NONE)
}
