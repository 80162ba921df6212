//! The object store: how it is, what is asked of it, and what that costs.
//!
//! Costs are an estimate: requests of this broker over the last minute, for a month, at the list price of S3 Standard in
//! us-east-1 (2026-11). A local directory costs nothing by request, and has no estimate.

use std::time::Duration;

use serde::Serialize;

use super::{Question, rounded};
use crate::config::Mode;
use crate::console::history::Figure;
use crate::console::service::state_word;
use crate::metrics::Prices;

/// Rates are over this.
const MINUTE: Duration = Duration::from_secs(60);

/// Answer of `GET /api/v1/store`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Store {
    place: String,
    /// Whether it is S3, whose requests cost.
    is_s3: bool,
    state: &'static str,
    state_lasts_s: f64,
    /// Over the health window.
    latency_ms: f64,
    error_rate: f64,
    last_failure: Option<String>,
    /// Why produce is refused, if it is.
    produce_refused: Option<&'static str>,
    operations: Vec<Operation>,
    /// At the present rate.
    dollars_per_month: Option<f64>,
    retries: u64,
    bytes_written: Bytes,
    bytes_read: Bytes,
    flush_interval_ms: u64,
    wal: Wal,
    segments: Segments,
    thresholds: Thresholds,
}

#[derive(Debug, Serialize)]
struct Operation {
    name: &'static str,
    total: u64,
    errors: u64,
    per_second: Option<f64>,
    dollars_per_month: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Bytes {
    total: u64,
    per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Wal {
    backlog_objects: i64,
    backlog_bytes: i64,
    backlog_limit: i64,
    written: u64,
    deleted: u64,
    garbage_bytes: i64,
    unknown_bytes: i64,
}

#[derive(Debug, Serialize)]
struct Segments {
    count: i64,
    bytes: i64,
    damaged: i64,
    compactions: u64,
    merges: u64,
    rewrites: u64,
    failed: u64,
    deleted: u64,
}

#[derive(Debug, Serialize)]
struct Thresholds {
    window_s: u64,
    latency_warn_ms: u64,
    latency_crit_ms: u64,
    error_rate_warn: f64,
    error_rate_crit: f64,
}

pub(in crate::console) fn show(question: &Question<'_>) -> Store {
    let service = question.service;
    let (context, config) = (&service.context, &service.context.config);
    let metrics = &context.metrics;
    let history = service.history.borrow();
    let is_s3 = config.mode() == Mode::Cluster;
    let rate = |figure| history.rate(figure, MINUTE);
    let prices = config.prices();
    let operation = |name, figure, total, errors, dollars: fn(&Prices, f64) -> f64| {
        let per_second = rate(figure);
        let costs = per_second.filter(|_| is_s3);
        let costs = costs.map(|rate| dollars(&prices, rate));
        Operation {
            name,
            total,
            errors,
            per_second: per_second.map(|rate| (rate * 1e3).round() / 1e3),
            dollars_per_month: costs.map(|it| (it * 100.0).round() / 100.0),
        }
    };
    let m = metrics;
    let operations = vec![
        operation(
            "PUT",
            Figure::Puts,
            m.puts.get(),
            m.put_errors.get(),
            Prices::writes,
        ),
        operation(
            "GET",
            Figure::Gets,
            m.gets.get(),
            m.get_errors.get(),
            Prices::reads,
        ),
        operation(
            "LIST",
            Figure::Lists,
            m.lists.get(),
            m.list_errors.get(),
            Prices::writes,
        ),
        operation(
            "HEAD",
            Figure::Heads,
            m.heads.get(),
            m.head_errors.get(),
            Prices::reads,
        ),
        operation(
            "DELETE",
            Figure::Deletes,
            m.deletes.get(),
            m.delete_errors.get(),
            Prices::deletes,
        ),
    ];
    let dollars: Option<Vec<f64>> = operations.iter().map(|it| it.dollars_per_month).collect();
    Store {
        place: service.facts.place.clone(),
        is_s3,
        state: state_word(metrics.health_state.get()),
        state_lasts_s: rounded(metrics.health_state_seconds.get()),
        latency_ms: rounded(metrics.health_latency_ms.get()),
        error_rate: metrics.health_error_rate.get(),
        last_failure: context.objects.last_failure(),
        produce_refused: context.refusal.reason(),
        operations,
        dollars_per_month: dollars.map(|all| all.iter().sum()),
        retries: metrics.store_retries.get(),
        bytes_written: Bytes {
            total: metrics.put_bytes.get(),
            per_second: rate(Figure::PutBytes).map(rounded),
        },
        bytes_read: Bytes {
            total: metrics.get_bytes.get(),
            per_second: rate(Figure::GetBytes).map(rounded),
        },
        flush_interval_ms: config.flush_interval().as_millis() as u64,
        wal: Wal {
            backlog_objects: metrics.wal_backlog_objects.get(),
            backlog_bytes: metrics.wal_backlog_bytes.get(),
            backlog_limit: metrics.wal_backlog_limit.get(),
            written: metrics.wal_written.get(),
            deleted: metrics.wal_deleted.get(),
            garbage_bytes: metrics.wal_garbage_bytes.get(),
            unknown_bytes: metrics.wal_unknown_bytes.get(),
        },
        segments: Segments {
            count: metrics.segments.get(),
            bytes: metrics.segment_bytes.get(),
            damaged: metrics.segments_damaged.get(),
            compactions: metrics.compactions.get(),
            merges: metrics.merges.get(),
            rewrites: metrics.rewrites.get(),
            failed: metrics.compaction_errors.get(),
            deleted: metrics.segments_deleted.get(),
        },
        thresholds: Thresholds {
            window_s: config.health.window.as_secs(),
            latency_warn_ms: config.health.latency_warn.as_millis() as u64,
            latency_crit_ms: config.health.latency_crit.as_millis() as u64,
            error_rate_warn: config.health.error_rate_warn,
            error_rate_crit: config.health.error_rate_crit,
        },
    }
}
