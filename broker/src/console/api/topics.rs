//! Topics: all of the cluster's by name, with sizes and rates of the partitions that this broker leads; created and
//! deleted as any client would.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use client::NewTopic;
use hyper::StatusCode;
use segment::TopicName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Paging, Question, rounded};
use crate::console::call::Refused;
use crate::console::traffic::{Look, Rates};
use crate::control::events::{EventKind, Severity};
use crate::metadata::{Metadata, Topic};

/// Characters of a search.
const SEARCH_MAX: usize = 249;

/// Answer of `GET /api/v1/topics`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Topics {
    /// Topics that the viewer may know of.
    total: usize,
    /// Those of them that the search finds.
    matched: usize,
    page: usize,
    per: usize,
    rows: Vec<Row>,
}

/// A topic. Sizes and rates are of the partitions that this broker leads, and `null` if it leads none.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    partitions: usize,
    led_here: usize,
    leaderless: usize,
    cleanup: String,
    stored_bytes: Option<u64>,
    memory_bytes: Option<u64>,
    damaged_segments: usize,
    bytes_in: Option<f64>,
    records_in: Option<f64>,
    bytes_out: Option<f64>,
}

pub(in crate::console) async fn list(question: &Question<'_>) -> Result<Topics, Refused> {
    let (service, query) = (question.service, question.query);
    let paging = Paging::of(query)?;
    let search = query.get("search").unwrap_or_default().to_lowercase();
    if search.len() > SEARCH_MAX {
        return Err(Refused::bad("the search is too long"));
    }
    let sort = query.get("sort").unwrap_or("name");
    let is_descending = query.get("order") == Some("desc");
    let compare = order(sort)?;
    let look = service.traffic.look().await;
    let metadata = service.context.metadata.load_full();
    let seen = |topic: &&Arc<Topic>| {
        service
            .access
            .may_describe_topic(question.viewer, topic.name.as_str())
    };
    let all: Vec<&Arc<Topic>> = metadata.topics().filter(seen).collect();
    let total = all.len();
    let found = all
        .into_iter()
        .filter(|topic| search.is_empty() || topic.name.as_str().to_lowercase().contains(&search));
    let mut rows: Vec<Row> = found.map(|topic| row(&metadata, topic, &look)).collect();
    rows.sort_unstable_by(|one, other| {
        let by = compare(one, other);
        let by = if is_descending { by.reverse() } else { by };
        by.then_with(|| one.name.cmp(&other.name))
    });
    Ok(Topics {
        total,
        matched: rows.len(),
        page: paging.page,
        per: paging.per,
        rows: paging.cut(rows),
    })
}

type Compare = fn(&Row, &Row) -> Ordering;

/// What is not known counts as nothing.
fn order(sort: &str) -> Result<Compare, Refused> {
    fn number(one: Option<f64>, other: Option<f64>) -> Ordering {
        let of = |it: Option<f64>| it.unwrap_or(-1.0);
        of(one).total_cmp(&of(other))
    }
    Ok(match sort {
        "name" => |one, other| one.name.cmp(&other.name),
        "partitions" => |one, other| one.partitions.cmp(&other.partitions),
        "stored" => |one, other| one.stored_bytes.cmp(&other.stored_bytes),
        "memory" => |one, other| one.memory_bytes.cmp(&other.memory_bytes),
        "in" => |one, other| number(one.bytes_in, other.bytes_in),
        "records" => |one, other| number(one.records_in, other.records_in),
        "out" => |one, other| number(one.bytes_out, other.bytes_out),
        _ => {
            let text = "sort is one of name, partitions, stored, memory, in, records, out";
            return Err(Refused::bad(text));
        }
    })
}

fn row(metadata: &Metadata, topic: &Topic, look: &Look) -> Row {
    let (mut led_here, mut leaderless, mut damaged) = (0, 0, 0);
    let (mut stored, mut memory) = (0_u64, 0_u64);
    let mut rates: Option<Rates> = None;
    for handle in &topic.partitions {
        leaderless += usize::from(metadata.leader(handle).is_none());
        let Some(partition) = look.partitions.get(handle.id) else {
            continue;
        };
        led_here += 1;
        damaged += partition.damaged;
        stored = stored.saturating_add(partition.stored_bytes());
        memory = memory.saturating_add(partition.figures.tail_bytes);
        if let Some(more) = &partition.rates {
            rates.get_or_insert_default().add(more);
        }
    }
    let is_known = led_here > 0;
    let cleanup = topic.config.overrides().get("cleanup.policy");
    Row {
        name: topic.name.as_str().to_owned(),
        partitions: topic.partitions.len(),
        led_here,
        leaderless,
        cleanup: cleanup.map_or("delete", String::as_str).to_owned(),
        stored_bytes: is_known.then_some(stored),
        memory_bytes: is_known.then_some(memory),
        damaged_segments: damaged,
        bytes_in: rates.map(|rates| rounded(rates.bytes_in)),
        records_in: rates.map(|rates| rounded(rates.records_in)),
        bytes_out: rates.map(|rates| rounded(rates.bytes_out)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateForm {
    name: String,
    partitions: Option<i32>,
    #[serde(default)]
    configs: BTreeMap<String, String>,
}

pub(in crate::console) async fn create(question: &Question<'_>) -> Result<Value, Refused> {
    let form: CreateForm = question.form()?;
    let name = form.name;
    TopicName::new(&name).map_err(|error| Refused::bad(error.to_string()))?;
    let topic = NewTopic {
        name: name.clone(),
        partitions: form.partitions,
        replication_factor: None,
        configs: form.configs.into_iter().collect(),
    };
    let service = question.service;
    service
        .kafka
        .ask(move |client| client.create_topic(&topic))
        .await?;
    changed(question, &format!("topic {name} created"));
    Ok(json!({ "created": name }))
}

pub(in crate::console) async fn delete(
    question: &Question<'_>,
    name: &str,
) -> Result<Value, Refused> {
    question.topic(name)?;
    // As a person has to type it on the page: one wrong character of a script deletes nothing.
    if question.query.get("confirm") != Some(name) {
        return Err(Refused::new(
            StatusCode::PRECONDITION_REQUIRED,
            "confirm=<name of the topic> is needed: its records will be gone",
        ));
    }
    let topic = name.to_owned();
    let service = question.service;
    service
        .kafka
        .ask(move |client| client.delete_topic(&topic))
        .await?;
    changed(question, &format!("topic {name} deleted"));
    Ok(json!({ "deleted": name }))
}

/// Notes a change and by whom.
pub(super) fn changed(question: &Question<'_>, what: &str) {
    let user = question.viewer.name().unwrap_or("nobody");
    tracing::info!(user, what, "changed through the console");
    let events = &question.service.context.events;
    let text = format!("{what} by {user}");
    events.note(EventKind::Console, Severity::Info, text);
}
