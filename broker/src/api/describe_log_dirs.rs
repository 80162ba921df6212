//! DescribeLogDirs (key 35), versions 1-5.
//!
//! - One directory a broker: the absolute data directory of the embedded store, or the bucket and
//!   prefix of the segments (`s3://bucket/prefix`) in a cluster. It holds the partitions that this
//!   broker serves; with direct routing those of the shard that is asked, which is a node to clients.
//! - The size of a partition is what `retention.bytes` counts: segments and WAL sections from the log
//!   start on, as far as they are acknowledged. There is one replica, so nothing lags, and nothing is
//!   moved between directories (KIP-113). Topics without a partition here are left out, as in Kafka, and
//!   so is what is not known or served.
//! - Needs DESCRIBE on the cluster: CLUSTER_AUTHORIZATION_FAILED (v3), before it no directory.
//! - v4 (KIP-827): bytes of the volume and what can be used of it; -1 (unknown) for a bucket.
//!   v5 (KIP-1066): no directory is cordoned.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::join_all;
use security::acl::Operation;
use segment::{PartitionIndex, TopicPartition};
use wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};
use crate::config::{Config, Mode};
use crate::control::ControlMsg;
use crate::metadata::{Metadata, Topic};
use crate::shard::{ShardHandle, ShardId};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 5 };
/// First version with an error for the whole reply.
const ERROR_FROM: i16 = 3;
/// Partitions that a shard adds up in one turn of its loop.
const SIZES_AT_ONCE: usize = 256;
/// "Unknown" in a reply.
const UNKNOWN: i64 = -1;

pub(crate) async fn handle(cx: &RequestContext, request: DescribeLogDirsRequest<'_>) -> Reply {
    if let Err((error_code, _)) = cx.authorize_cluster(Operation::Describe) {
        cx.failed(error_code);
        return cx.reply(&DescribeLogDirsResponse {
            error_code: match cx.version >= ERROR_FROM {
                true => error_code,
                false => ErrorCode::NONE,
            },
            ..DescribeLogDirsResponse::default()
        });
    }
    let metadata = cx.shard.metadata();
    let topics = served(cx, &metadata, request.topics.as_deref());
    let sizes = sizes(cx, &topics).await;
    let volume = cx.shard.shared.control.ask(ControlMsg::Volume).await;
    let volume = volume.ok().flatten();
    let bytes = |bytes: Option<u64>| {
        bytes.map_or(UNKNOWN, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
    };
    let rows = topics.iter().map(|(topic, ids)| {
        let row = |id: &TopicPartition| {
            let size = sizes.get(id)?;
            Some(DescribeLogDirsPartition {
                partition_index: id.partition.get(),
                partition_size: bytes(Some(*size)),
                offset_lag: 0,
                is_future_key: false,
            })
        };
        DescribeLogDirsTopic {
            name: topic.name.as_str(),
            partitions: ids.iter().filter_map(row).collect(),
        }
    });
    let result = DescribeLogDirsResult {
        log_dir: &log_dir(&cx.shard.shared.config),
        topics: rows.filter(|row| !row.partitions.is_empty()).collect(),
        total_bytes: bytes(volume.map(|volume| volume.total_bytes)),
        usable_bytes: bytes(volume.map(|volume| volume.usable_bytes)),
        ..DescribeLogDirsResult::default()
    };
    cx.reply(&DescribeLogDirsResponse {
        results: vec![result],
        ..DescribeLogDirsResponse::default()
    })
}

/// How clients are told where the logs of this broker lie.
fn log_dir(config: &Config) -> String {
    match config.mode() {
        Mode::Embedded => {
            let directory = &config.log.data_dir;
            let absolute = std::path::absolute(directory);
            absolute.as_ref().unwrap_or(directory).display().to_string()
        }
        Mode::Cluster => {
            let bucket = config.s3.bucket.as_deref().unwrap_or_default();
            let whole = format!("s3://{bucket}/{}", config.s3.prefix);
            whole.trim_end_matches('/').to_owned()
        }
    }
}

/// What is asked for and may be served by this node.
fn served<'a>(
    cx: &RequestContext,
    metadata: &'a Metadata,
    asked: Option<&[DescribableLogDirTopic<'_>]>,
) -> Vec<(&'a Arc<Topic>, Vec<TopicPartition>)> {
    let node = metadata.node(metadata.broker);
    let node = node.and_then(|node| node.at(cx.listener()));
    let is_shard_a_node = node.is_some_and(|node| !node.advertised().shard_ports.is_empty());
    let is_ours = |id: &TopicPartition| !is_shard_a_node || cx.shard.owner(*id).id == cx.shard.id;
    let Some(asked) = asked else {
        let topics = metadata.topics().map(|topic| {
            let ids = topic.partitions.iter().map(|handle| handle.id);
            (topic, ids.filter(is_ours).collect())
        });
        return topics.collect();
    };
    // A partition that is named twice is told of once.
    let mut seen = HashSet::new();
    let topics = asked.iter().filter_map(|asked| {
        let topic = metadata.topic(asked.topic)?;
        let indexes = asked.partitions.iter().copied().map(PartitionIndex::new);
        let ids = indexes.filter_map(|index| Some(topic.partition(index)?.id));
        let ids = ids.filter(is_ours).filter(|id| seen.insert(*id));
        Some((topic, ids.collect()))
    });
    topics.collect()
}

/// The sizes of what is open.
async fn sizes(
    cx: &RequestContext,
    topics: &[(&Arc<Topic>, Vec<TopicPartition>)],
) -> HashMap<TopicPartition, u64> {
    let mut by_shard: HashMap<ShardId, Vec<TopicPartition>> = HashMap::new();
    for id in topics.iter().flat_map(|(_, ids)| ids) {
        by_shard
            .entry(cx.shard.owner(*id).id)
            .or_default()
            .push(*id);
    }
    let all = by_shard.into_iter().map(|(shard, ids)| {
        let shard = &cx.shard.shared.peers[shard.index()];
        sizes_on(shard, ids)
    });
    join_all(all).await.into_iter().flatten().collect()
}

async fn sizes_on(shard: &ShardHandle, ids: Vec<TopicPartition>) -> Vec<(TopicPartition, u64)> {
    let mut found = Vec::new();
    for some in ids.chunks(SIZES_AT_ONCE) {
        let asked = some.to_vec();
        // A shard that has ended ends the process by itself.
        let sizes = shard.call(move |shard| shard.retained_bytes(&asked)).await;
        let sizes = some.iter().copied().zip(sizes.unwrap_or_default());
        found.extend(sizes.filter_map(|(id, size)| Some((id, size?))));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_absolute_or_the_place_in_the_bucket() {
        let embedded = Config::with(&[("log.data_dir", "some/where")]).unwrap();
        let name = log_dir(&embedded);
        assert!(
            name.starts_with('/') && name.ends_with("/some/where"),
            "{name}"
        );
        let cluster = |prefix| {
            let settings = [
                ("s3.bucket", "b"),
                ("s3.prefix", prefix),
                ("etcd.endpoints", "http://127.0.0.1:1"),
            ];
            log_dir(&Config::with(&settings).unwrap())
        };
        assert_eq!(cluster("logs/"), "s3://b/logs");
        assert_eq!(cluster(""), "s3://b");
    }
}
