//! The cluster as the metadata store tells this broker: live brokers, what each leads, and this broker itself.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Question;
use super::shards::{self, ShardRow};
use crate::config::UNNAMED;
use crate::node::BrokerNode;

/// Answer of `GET /api/v1/cluster`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Cluster {
    id: String,
    name: String,
    commit_mode: String,
    brokers: Vec<Broker>,
    leaderless_partitions: usize,
    this: This,
    shards: Vec<ShardRow>,
}

#[derive(Debug, Serialize)]
struct Broker {
    id: i32,
    is_this: bool,
    session: String,
    /// What it publishes of itself.
    state: String,
    /// Whether an operator drains it.
    is_drained: bool,
    rack: Option<String>,
    listeners: Vec<Listener>,
    partitions: usize,
    group_slots: usize,
}

#[derive(Debug, Serialize)]
struct Listener {
    /// None where it has no name of its own.
    name: Option<String>,
    address: String,
    shard_ports: Vec<u16>,
}

/// What only this broker knows of itself.
#[derive(Debug, Serialize)]
struct This {
    id: i32,
    version: &'static str,
    session: String,
    uptime_s: u64,
    place: String,
    driver: &'static str,
    shards: usize,
    admin: String,
    flush_interval_ms: u64,
    segment_bytes: u64,
    session_ttl_ms: u64,
    /// Takeovers and releases of partitions since the process began.
    takeovers: u64,
    releases: u64,
    sessions: u64,
    keep_alive_errors: u64,
}

pub(in crate::console) fn show(question: &Question<'_>) -> Cluster {
    let service = question.service;
    let context = &service.context;
    let metadata = context.metadata.load_full();
    let (mut led, mut leaderless) = (BTreeMap::<i32, usize>::new(), 0);
    for handle in metadata.topics().flat_map(|topic| &topic.partitions) {
        match metadata.leader(handle) {
            Some(leader) => *led.entry(leader.broker.get()).or_default() += 1,
            None => leaderless += 1,
        }
    }
    let mut slots = BTreeMap::<i32, usize>::new();
    for broker in context.view.coordinators().into_iter().flatten() {
        *slots.entry(broker.get()).or_default() += 1;
    }
    let own = context.node.id;
    let brokers = context.view.sessions().into_iter().map(|session| {
        let (node, id) = (BrokerNode::from(&session.record), session.record.broker);
        Broker {
            id: id.get(),
            is_this: id == own,
            session: session.id.to_string(),
            state: word(&session.record.state),
            is_drained: session.is_drained,
            listeners: node.listeners.iter().map(listener).collect(),
            rack: node.rack,
            partitions: led.get(&id.get()).copied().unwrap_or(0),
            group_slots: slots.get(&id.get()).copied().unwrap_or(0),
        }
    });
    Cluster {
        id: context.cluster_id.clone(),
        name: context.config.broker.cluster.clone(),
        commit_mode: format!("{:?}", context.mode).to_lowercase(),
        brokers: brokers.collect(),
        leaderless_partitions: leaderless,
        this: this(question),
        shards: shards::rows(service),
    }
}

/// What it is called in the metadata store.
fn word(state: &impl Serialize) -> String {
    let value = serde_json::to_value(state);
    let word = value.ok().and_then(|it| it.as_str().map(str::to_owned));
    word.unwrap_or_default()
}

fn listener(at: &crate::config::Advertised) -> Listener {
    Listener {
        name: (at.listener != UNNAMED).then(|| at.listener.clone()),
        address: match at.host.contains(':') {
            true => format!("[{}]:{}", at.host, at.port),
            false => format!("{}:{}", at.host, at.port),
        },
        shard_ports: at.shard_ports.clone(),
    }
}

fn this(question: &Question<'_>) -> This {
    let service = question.service;
    let (context, config) = (&service.context, &service.context.config);
    let metrics = &context.metrics;
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    This {
        id: context.node.id.get(),
        version: env!("CARGO_PKG_VERSION"),
        session: context.session.id.to_string(),
        uptime_s: service.age().as_secs(),
        place: service.facts.place.clone(),
        driver: service.facts.driver,
        shards: context.shards.len(),
        admin: service.facts.admin.to_string(),
        flush_interval_ms: ms(config.flush_interval()),
        segment_bytes: config.log.segment_bytes,
        session_ttl_ms: ms(config.broker.session_ttl),
        takeovers: metrics.takeovers.get(),
        releases: metrics.releases.get(),
        sessions: metrics.sessions_begun.get(),
        keep_alive_errors: metrics.keep_alive_errors.get(),
    }
}
