//! The first page: how this broker is, what goes through it, and what has gone through it in the last minutes.

use std::time::Duration;

use serde::Serialize;

use super::shards::{self, ShardRow};
use super::{Question, rounded};
use crate::console::history::{Figure, History};
use crate::console::service::state_word;

/// Rates of now are over this.
const NOW: Duration = Duration::from_secs(10);
/// Lags that are shown.
const LAGS_MAX: usize = 8;

/// Answer of `GET /api/v1/overview`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Overview {
    broker: Broker,
    cluster: Cluster,
    now: Now,
    latency: Vec<Latency>,
    store: Store,
    series: Series,
    shards: Vec<ShardRow>,
    /// The largest lags of groups that this broker coordinates.
    lag: Vec<Lag>,
}

#[derive(Debug, Serialize)]
struct Broker {
    id: i32,
    uptime_s: u64,
    shards: usize,
    driver: &'static str,
    place: String,
    connections: i64,
    owned_partitions: usize,
}

#[derive(Debug, Serialize)]
struct Cluster {
    id: String,
    brokers: usize,
    topics: usize,
    partitions: usize,
    leaderless_partitions: usize,
}

#[derive(Debug, Serialize)]
struct Now {
    bytes_in: Option<f64>,
    bytes_out: Option<f64>,
    records_in: Option<f64>,
    produces: Option<f64>,
    fetches: Option<f64>,
    /// Part of the reads that memory answered.
    hit_ratio: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Latency {
    name: &'static str,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Store {
    state: &'static str,
    latency_ms: f64,
    error_rate: f64,
    wal_backlog_objects: i64,
    wal_backlog_limit: i64,
}

#[derive(Debug, Serialize)]
struct Series {
    times_ms: Vec<i64>,
    bytes_in: Vec<f64>,
    bytes_out: Vec<f64>,
    records_in: Vec<f64>,
    produces: Vec<f64>,
    fetches: Vec<f64>,
    puts: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Lag {
    group: String,
    topic: String,
    records: u64,
}

pub(in crate::console) async fn show(question: &Question<'_>) -> Overview {
    let service = question.service;
    let context = &service.context;
    let metadata = context.metadata.load_full();
    let (mut partitions, mut leaderless) = (0, 0);
    for handle in metadata.topics().flat_map(|topic| &topic.partitions) {
        partitions += 1;
        leaderless += usize::from(metadata.leader(handle).is_none());
    }
    let history = service.history.borrow();
    let metrics = &context.metrics;
    Overview {
        broker: Broker {
            id: context.node.id.get(),
            uptime_s: service.age().as_secs(),
            shards: context.shards.len(),
            driver: service.facts.driver,
            place: service.facts.place.clone(),
            connections: service.cells.iter().map(|it| it.connections.get()).sum(),
            owned_partitions: context.owned.borrow().len(),
        },
        cluster: Cluster {
            id: context.cluster_id.clone(),
            brokers: metadata.brokers.len(),
            topics: metadata.topic_count(),
            partitions,
            leaderless_partitions: leaderless,
        },
        now: now(&history),
        latency: latency(&history),
        store: Store {
            state: state_word(metrics.health_state.get()),
            latency_ms: rounded(metrics.health_latency_ms.get()),
            error_rate: metrics.health_error_rate.get(),
            wal_backlog_objects: metrics.wal_backlog_objects.get(),
            wal_backlog_limit: metrics.wal_backlog_limit.get(),
        },
        series: series(&history),
        shards: shards::rows(service),
        lag: lag(question),
    }
}

fn now(history: &History) -> Now {
    let rate = |figure| history.rate(figure, NOW).map(rounded);
    let (hits, misses) = (rate(Figure::Hits), rate(Figure::Misses));
    let ratio = hits.zip(misses).and_then(|(hits, misses)| {
        let all = hits + misses;
        (all > 0.0).then(|| (hits / all * 1e4).round() / 1e4)
    });
    Now {
        bytes_in: rate(Figure::BytesIn),
        bytes_out: rate(Figure::BytesOut),
        records_in: rate(Figure::RecordsIn),
        produces: rate(Figure::Produces),
        fetches: rate(Figure::Fetches),
        hit_ratio: ratio,
    }
}

fn latency(history: &History) -> Vec<Latency> {
    let shown = ["produce", "fetch_hit", "flush", "put"];
    let all = history.latencies().into_iter();
    let all = all.filter(|latency| shown.contains(&latency.name));
    all.map(|latency| Latency {
        name: latency.name,
        p50_ms: latency.quantiles[0],
        p99_ms: latency.quantiles[2],
        count: latency.count,
    })
    .collect()
}

fn series(history: &History) -> Series {
    Series {
        times_ms: history.times(),
        bytes_in: history.series(Figure::BytesIn),
        bytes_out: history.series(Figure::BytesOut),
        records_in: history.series(Figure::RecordsIn),
        produces: history.series(Figure::Produces),
        fetches: history.series(Figure::Fetches),
        puts: history.series(Figure::Puts),
    }
}

fn lag(question: &Question<'_>) -> Vec<Lag> {
    let (access, viewer) = (&question.service.access, question.viewer);
    let all = question.service.registry.group_lags().into_iter();
    let seen = all.filter(|lag| {
        access.may_describe_group(viewer, &lag.group)
            && access.may_describe_topic(viewer, &lag.topic)
    });
    let shown = seen.take(LAGS_MAX).map(|lag| Lag {
        group: lag.group,
        topic: lag.topic,
        records: lag.records,
    });
    shown.collect()
}
