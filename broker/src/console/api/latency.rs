//! Latencies of the last minute, from the histograms of `/metrics`.

use serde::Serialize;

use super::Question;
use crate::console::history::QUANTILES;

/// Answer of `GET /api/v1/latency`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Latencies {
    /// The fractions of `quantiles_ms`.
    fractions: [f64; QUANTILES.len()],
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    /// Since the session began.
    total: u64,
    /// Over the last `over_s`.
    count: u64,
    over_s: f64,
    /// Upper bounds of the buckets, 9 % wide, that hold these fractions.
    quantiles_ms: Vec<Option<f64>>,
    /// Upper bounds, and how many: of buckets that hold something.
    buckets: Vec<(f64, u64)>,
}

pub(in crate::console) fn show(question: &Question<'_>) -> Latencies {
    let latencies = question.service.history.borrow().latencies();
    let digits = |ms: f64| (ms * 1e5).round() / 1e5;
    let rows = latencies.into_iter().map(|it| Row {
        name: it.name,
        total: it.total,
        count: it.count,
        over_s: (it.over.as_secs_f64() * 10.0).round() / 10.0,
        quantiles_ms: it.quantiles.iter().map(|ms| ms.map(digits)).collect(),
        buckets: it
            .buckets
            .iter()
            .map(|(bound, count)| (digits(*bound), *count))
            .collect(),
    });
    Latencies {
        fractions: QUANTILES,
        rows: rows.collect(),
    }
}
