//! OffsetForLeaderEpoch (key 23), versions 2-4.
//!
//! - Answers where a leader epoch ends, so that a consumer finds out whether its position was truncated
//!   (KIP-320). Our log never truncates what was acknowledged; the history of epochs is kept all the same.
//! - An epoch that is not known is answered -1, -1, as Kafka does.
//! - Needs CLUSTER_ACTION on the cluster or DESCRIBE on each topic: TOPIC_AUTHORIZATION_FAILED, whether it exists or not.
//! - v2: the client's current leader epoch is checked. v3: replica id, ignored. v4: flexible.

use security::acl::{CLUSTER, Operation, ResourceType};
use segment::{LeaderEpoch, Offset, PartitionIndex};
use wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, fetch};
use crate::metadata::Metadata;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 2, max: 4 };

/// Answers a lookup.
pub(super) async fn handle(cx: &RequestContext, request: OffsetForLeaderEpochRequest<'_>) -> Reply {
    let metadata = cx.shard.metadata();
    let mut topics = Vec::with_capacity(request.topics.len());
    let may_all = cx.allows_quietly(Operation::ClusterAction, ResourceType::Cluster, CLUSTER);
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        let may = match may_all {
            true => Ok(()),
            false => cx.authorize(Operation::Describe, ResourceType::Topic, topic.topic),
        };
        for wanted in &topic.partitions {
            cx.next_row().await;
            let found = match may {
                Ok(()) => find(cx, &metadata, topic.topic, wanted).await,
                Err(code) => Err(code),
            };
            let response = found.unwrap_or_else(|code| {
                cx.failed(code);
                EpochEndOffset {
                    error_code: code,
                    ..EpochEndOffset::default()
                }
            });
            partitions.push(EpochEndOffset {
                partition: wanted.partition,
                ..response
            });
        }
        topics.push(OffsetForLeaderTopicResult {
            topic: topic.topic,
            partitions,
        });
    }
    cx.reply(&OffsetForLeaderEpochResponse {
        topics,
        ..OffsetForLeaderEpochResponse::default()
    })
}

async fn find(
    cx: &RequestContext,
    metadata: &Metadata,
    topic: &str,
    wanted: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, ErrorCode> {
    let index = PartitionIndex::new(wanted.partition);
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
    let (id, requested) = (handle.id, LeaderEpoch::new(wanted.leader_epoch));
    let owner = &cx.shard.shared.peers[handle.shard.index()];
    let end = owner.call(move |shard| {
        shard.with_log(id, |log| {
            log.epochs()
                .end_of(requested, log.leader_epoch(), log.high_watermark())
        })
    });
    let end = end
        .await
        .ok()
        .flatten()
        .ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    let (epoch, offset) = end.unwrap_or((LeaderEpoch::NONE, Offset::NONE));
    Ok(EpochEndOffset {
        leader_epoch: epoch.get(),
        end_offset: offset.get(),
        ..EpochEndOffset::default()
    })
}
