//! One topic: its settings, and its partitions, a page at a time. Of partitions that other brokers lead their leaders
//! are asked where they begin and end; what else they are is known to those brokers alone.

use std::collections::BTreeMap;

use client::TopicPartition as Named;
use segment::Offset;
use serde::Serialize;

use super::{Question, rounded};
use crate::console::call::Refused;
use crate::console::traffic::Look;
use crate::metadata::{Metadata, Topic};
use crate::partition::PartitionHandle;

/// Answer of `GET /api/v1/topics/{topic}`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Shown {
    name: String,
    id: String,
    generation: u32,
    partitions: usize,
    led_here: usize,
    from: usize,
    rows: Vec<Row>,
    may_read: bool,
    /// Why not.
    read_refusal: Option<String>,
    /// Settings that are not the default.
    configs: BTreeMap<String, String>,
    /// What could not be asked.
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: Option<i32>,
    log_start: Option<i64>,
    high_watermark: Option<i64>,
    /// The rest is known of partitions that this broker leads.
    here: Option<Here>,
}

#[derive(Debug, Serialize)]
struct Here {
    shard: u16,
    log_end: i64,
    compacted_end: i64,
    segments: usize,
    segment_bytes: u64,
    damaged_segments: usize,
    wal_sections: usize,
    wal_bytes: u64,
    memory_bytes: u64,
    producers: usize,
    bytes_in: Option<f64>,
    records_in: Option<f64>,
    bytes_out: Option<f64>,
    hits: Option<f64>,
    misses: Option<f64>,
}

pub(in crate::console) async fn show(
    question: &Question<'_>,
    name: &str,
) -> Result<Shown, Refused> {
    let service = question.service;
    let topic = question.topic(name)?;
    let from = question.query.bounded("from", 0, 0, 1_000_000)?;
    let limit = question.query.bounded("limit", 100, 1, 500)?;
    let look = service.traffic.look().await;
    let metadata = service.context.metadata.load_full();
    let handles = topic.partitions.iter().skip(from).take(limit);
    let mut rows: Vec<Row> = handles.map(|it| row(&metadata, it, &look)).collect();
    let note = ask_others(question, name, &mut rows).await.err();
    let may_read = service.access.may_read(question.viewer, name);
    let is_ours = |it: &&std::sync::Arc<PartitionHandle>| look.partitions.contains(it.id);
    let may_see = service.access.may_describe_configs(question.viewer, name);
    Ok(Shown {
        name: name.to_owned(),
        id: topic.id.to_string(),
        generation: topic.generation,
        partitions: topic.partitions.len(),
        led_here: topic.partitions.iter().filter(is_ours).count(),
        from,
        rows,
        may_read: may_read.is_ok(),
        read_refusal: may_read.err(),
        configs: match may_see {
            true => topic.config.overrides().clone(),
            false => BTreeMap::new(),
        },
        note: note.map(|refused| refused.text),
    })
}

fn row(metadata: &Metadata, handle: &PartitionHandle, look: &Look) -> Row {
    let leader = metadata.leader(handle);
    let known = look.partitions.get(handle.id);
    let log = known.and_then(|it| it.figures.log);
    let here = known.zip(log).map(|(it, log)| {
        let rate = |of: fn(&crate::console::traffic::Rates) -> f64| {
            it.rates.as_ref().map(|rates| rounded(of(rates)))
        };
        Here {
            shard: handle.shard.0,
            log_end: log.log_end.get(),
            compacted_end: log.compacted_end.get(),
            segments: it.segments,
            segment_bytes: it.segment_bytes,
            damaged_segments: it.damaged,
            wal_sections: log.wal_sections,
            wal_bytes: log.wal_bytes,
            memory_bytes: it.figures.tail_bytes,
            producers: log.producers,
            bytes_in: rate(|rates| rates.bytes_in),
            records_in: rate(|rates| rates.records_in),
            bytes_out: rate(|rates| rates.bytes_out),
            hits: rate(|rates| rates.hits),
            misses: rate(|rates| rates.misses),
        }
    });
    Row {
        partition: handle.id.partition.get(),
        leader: leader.map(|leader| leader.broker.get()),
        leader_epoch: leader.map(|leader| leader.epoch.get()),
        log_start: log.map(|log| log.log_start.get()),
        high_watermark: log.map(|log| log.high_watermark.get()),
        here,
    }
}

/// Asks the leaders of others' partitions where they begin and end.
async fn ask_others(question: &Question<'_>, name: &str, rows: &mut [Row]) -> Result<(), Refused> {
    let others = rows
        .iter()
        .filter(|row| row.here.is_none() && row.leader.is_some());
    let wanted: Vec<Named> = others
        .map(|row| Named::new(name, segment::PartitionIndex::new(row.partition)))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let kafka = &question.service.kafka;
    let bounds = kafka.ask(move |client| client.log_bounds(&wanted)).await?;
    let bounds: BTreeMap<i32, (Offset, Offset)> = bounds
        .into_iter()
        .map(|(of, bounds)| (of.partition.get(), bounds))
        .collect();
    for row in rows {
        if let Some((start, end)) = bounds.get(&row.partition) {
            (row.log_start, row.high_watermark) = (Some(start.get()), Some(end.get()));
        }
    }
    Ok(())
}

/// Answer of `GET /api/v1/topics/{topic}/configs`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Configs {
    rows: Vec<Config>,
}

#[derive(Debug, Serialize)]
struct Config {
    name: String,
    value: String,
    /// Whether the topic sets it itself.
    is_set: bool,
    about: &'static str,
}

pub(in crate::console) fn configs(question: &Question<'_>, name: &str) -> Result<Configs, Refused> {
    let service = question.service;
    let topic = question.topic(name)?;
    if !service.access.may_describe_configs(question.viewer, name) {
        let text = format!("this needs DESCRIBE_CONFIGS on topic {name}");
        return Err(Refused::forbidden(text));
    }
    Ok(Configs {
        rows: rows_of_configs(&topic, service.context.config.log.segment_bytes),
    })
}

fn rows_of_configs(topic: &Topic, segment_bytes: u64) -> Vec<Config> {
    let overrides = topic.config.overrides();
    let rows = topic.config.describe(segment_bytes).into_iter();
    rows.map(|row| Config {
        is_set: overrides.contains_key(row.name),
        name: row.name.to_owned(),
        value: row.value,
        about: row.about,
    })
    .collect()
}
