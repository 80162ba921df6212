//! `/debug`: what the broker knows of shards, partitions and owners, for whoever looks for a fault with a script.
//!
//! Bounded: partitions come a page at a time (`from`, `limit`), in order of topic and number.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Question, shards};
use crate::console::call::{Answer, Refused};
use crate::metadata::Topic;
use crate::partition::PartitionHandle;
use crate::shard::SLOTS;
use hyper::StatusCode;

pub(in crate::console) async fn show(
    question: &Question<'_>,
    what: &str,
) -> Result<Answer, Refused> {
    match what {
        "shards" => Ok(Answer::ok(
            &json!({ "shards": shards::rows(question.service) }),
        )),
        "partitions" => Ok(Answer::ok(&partitions(question).await?)),
        "owners" => Ok(Answer::ok(&owners(question)?)),
        _ => Err(Refused::new(
            StatusCode::NOT_FOUND,
            "there are /debug/shards, /debug/partitions and /debug/owners",
        )),
    }
}

/// A page of all partitions that the viewer may know of.
struct Page {
    total: usize,
    from: usize,
    rows: Vec<(Arc<Topic>, Arc<PartitionHandle>)>,
}

impl Page {
    fn of(question: &Question<'_>) -> Result<Self, Refused> {
        let from = question.query.bounded("from", 0, 0, 10_000_000)?;
        let limit = question.query.bounded("limit", 200, 1, 2_000)?;
        let metadata = question.service.context.metadata.load_full();
        let access = &question.service.access;
        let may = |it: &&Arc<Topic>| access.may_describe_topic(question.viewer, it.name.as_str());
        let mut topics: Vec<&Arc<Topic>> = metadata.topics().filter(may).collect();
        topics.sort_unstable_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        let total = topics.iter().map(|it| it.partitions.len()).sum();
        let all = topics.into_iter().flat_map(|topic| {
            let handles = topic.partitions.iter();
            handles.map(move |handle| (topic, handle))
        });
        let rows = all.skip(from).take(limit);
        Ok(Self {
            total,
            from,
            rows: rows.map(|(t, h)| (t.clone(), h.clone())).collect(),
        })
    }

    fn next(&self) -> Option<usize> {
        let next = self.from + self.rows.len();
        (next < self.total && !self.rows.is_empty()).then_some(next)
    }
}

async fn partitions(question: &Question<'_>) -> Result<Value, Refused> {
    let page = Page::of(question)?;
    let look = question.service.traffic.look().await;
    let rows: Vec<Value> = page
        .rows
        .iter()
        .map(|(topic, handle)| {
            let known = look.partitions.get(handle.id);
            let log = known.and_then(|it| it.figures.log);
            json!({
                "topic": topic.name.as_str(),
                "topic_id": topic.id.to_string(),
                "partition": handle.id.partition.get(),
                "shard": handle.shard.0,
                "is_open": log.is_some(),
                "leader_epoch": log.map(|log| log.leader_epoch.get()),
                "log_start": log.map(|log| log.log_start.get()),
                "compacted_end": log.map(|log| log.compacted_end.get()),
                "high_watermark": log.map(|log| log.high_watermark.get()),
                "log_end": log.map(|log| log.log_end.get()),
                "open_bytes": log.map(|log| log.open_bytes),
                "wal_sections": log.map(|log| log.wal_sections),
                "wal_bytes": log.map(|log| log.wal_bytes),
                "producers": log.map(|log| log.producers),
                "segments": known.map(|it| it.segments),
                "segment_bytes": known.map(|it| it.segment_bytes),
                "damaged_segments": known.map(|it| it.damaged),
                "memory_bytes": known.map(|it| it.figures.tail_bytes),
                "bytes_in": known.map(|it| it.counts.bytes_in),
                "records_in": known.map(|it| it.counts.records_in),
                "bytes_out": known.map(|it| it.counts.bytes_out),
                "hits": known.map(|it| it.counts.hits),
                "misses": known.map(|it| it.counts.misses),
            })
        })
        .collect();
    Ok(json!({ "total": page.total, "from": page.from, "next": page.next(), "partitions": rows }))
}

/// Who owns what, as the metadata store tells this broker.
fn owners(question: &Question<'_>) -> Result<Value, Refused> {
    let page = Page::of(question)?;
    let context = &question.service.context;
    let view = &context.view;
    let rows: Vec<Value> = page
        .rows
        .iter()
        .map(|(topic, handle)| {
            let leader = view.leader(handle.id);
            json!({
                "topic": topic.name.as_str(),
                "partition": handle.id.partition.get(),
                "session": view.owner(handle.id).map(|it| it.to_string()),
                "broker": leader.map(|it| it.broker.get()),
                "leader_epoch": leader.map(|it| it.epoch.get()),
                "pin": view.pin(handle.id).map(|it| it.get()),
                "is_open_here": context.owned(handle.id).is_some(),
            })
        })
        .collect();
    let sessions: Vec<Value> = view
        .sessions()
        .iter()
        .map(|it| {
            json!({
                "session": it.id.to_string(),
                "broker": it.record.broker.get(),
                "state": it.record.state,
                "is_drained": it.is_drained,
                "is_this": it.id == context.session.id,
            })
        })
        .collect();
    let coordinators = view.coordinators();
    let slots: Vec<Value> = (0..SLOTS)
        .map(|slot| {
            json!({
                "slot": slot,
                "broker": coordinators.get(usize::from(slot)).copied().flatten().map(|it| it.get()),
                "session": view.slot_owner(slot).map(|it| it.to_string()),
            })
        })
        .collect();
    Ok(json!({
        "total": page.total,
        "from": page.from,
        "next": page.next(),
        "sessions": sessions,
        "slots": slots,
        "partitions": rows,
    }))
}
