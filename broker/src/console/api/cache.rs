//! What lies in memory, by shard and partition, and how often it was found there.

use serde::Serialize;

use super::shards::{self, ShardRow};
use super::{Question, rounded};

/// Partitions that are shown, the largest.
const PARTITIONS_MAX: usize = 1_024;

/// Answer of `GET /api/v1/cache`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Cache {
    shards: Vec<ShardRow>,
    /// The largest in memory, and those that are read most.
    partitions: Vec<Row>,
    /// The others.
    left_out: LeftOut,
}

#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    shard: u16,
    memory_bytes: u64,
    stored_bytes: u64,
    hits: u64,
    misses: u64,
    hits_per_s: Option<f64>,
    misses_per_s: Option<f64>,
    bytes_out: Option<f64>,
}

#[derive(Debug, Default, Serialize)]
struct LeftOut {
    partitions: usize,
    memory_bytes: u64,
}

pub(in crate::console) async fn show(question: &Question<'_>) -> Cache {
    let service = question.service;
    let look = service.traffic.look().await;
    let metadata = service.context.metadata.load_full();
    let mut rows = Vec::new();
    for (id, it) in look.partitions.iter() {
        let Some(topic) = metadata.topic_by_id(id.topic) else {
            continue;
        };
        let name = topic.name.as_str();
        let has_any = it.figures.tail_bytes > 0 || it.counts.hits + it.counts.misses > 0;
        if !has_any || !service.access.may_describe_topic(question.viewer, name) {
            continue;
        }
        rows.push(Row {
            topic: name.to_owned(),
            partition: id.partition.get(),
            shard: service.context.shard_of(id).id.0,
            memory_bytes: it.figures.tail_bytes,
            stored_bytes: it.stored_bytes(),
            hits: it.counts.hits,
            misses: it.counts.misses,
            hits_per_s: it.rates.map(|rates| rounded(rates.hits)),
            misses_per_s: it.rates.map(|rates| rounded(rates.misses)),
            bytes_out: it.rates.map(|rates| rounded(rates.bytes_out)),
        });
    }
    let heat = |row: &Row| (row.memory_bytes, row.hits + row.misses);
    rows.sort_unstable_by(|one, other| {
        let by_heat = heat(other).cmp(&heat(one));
        by_heat.then_with(|| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)))
    });
    let left_out = rows.split_off(rows.len().min(PARTITIONS_MAX));
    Cache {
        shards: shards::rows(service),
        partitions: rows,
        left_out: LeftOut {
            partitions: left_out.len(),
            memory_bytes: left_out.iter().map(|row| row.memory_bytes).sum(),
        },
    }
}
