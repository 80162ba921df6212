//! `metrics`: samples of the brokers' `/metrics`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds::{Limit, Text};
use crate::desk::Visit;
use crate::tool::{Effect, Tool, ToolError};

/// See [`Tool::NAME`].
pub(super) struct Metrics;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Arguments {
    /// Only samples whose name or labels contain this text, for example `lag` or `topic="orders"`
    #[serde(default)]
    contains: Option<Text<1, 200>>,
    /// Also the buckets of histograms; their sums and counts come in any case
    #[serde(default)]
    include_buckets: bool,
    /// Samples of the answer at most
    #[serde(default)]
    limit: Limit<1, 2_000, 200>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answer {
    listeners: Vec<Listener>,
    /// Samples that were left out: narrow `contains`
    #[serde(skip_serializing_if = "is_zero")]
    left_out: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct Listener {
    address: String,
    /// Lines in the Prometheus text format: name{labels} value
    samples: Vec<String>,
    /// Why there are none
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Tool for Metrics {
    type Arguments = Arguments;
    type Answer = Answer;

    const NAME: &'static str = "metrics";
    const TITLE: &'static str = "Metrics of brokers";
    const DESCRIPTION: &'static str = "Read metrics of the brokers now, in the Prometheus text format: rates, latencies, \
        consumer lag, state of the object store, cache, memory. Counters only grow: compare two calls for a rate.";
    const EFFECT: Effect = Effect::Reads;

    fn run(visit: &mut Visit, arguments: Arguments) -> Result<Answer, ToolError> {
        let pages = visit.admin();
        let mut answer = Answer {
            listeners: Vec::new(),
            left_out: 0,
        };
        let mut left = arguments.limit.size();
        for (address, page) in pages.read("/metrics") {
            let (samples, error) = match page {
                Ok(page) if page.status == 200 => {
                    let mut wanted = samples(&page.text, &arguments);
                    let shown: Vec<String> =
                        wanted.by_ref().take(left).map(str::to_owned).collect();
                    left -= shown.len();
                    answer.left_out += wanted.count();
                    (shown, None)
                }
                Ok(page) => (Vec::new(), Some(format!("it answers {}", page.status))),
                Err(error) => (Vec::new(), Some(error)),
            };
            answer.listeners.push(Listener {
                address,
                samples,
                error,
            });
        }
        Ok(answer)
    }
}

/// The samples of a page that are asked for.
fn samples<'a>(page: &'a str, arguments: &'a Arguments) -> impl Iterator<Item = &'a str> {
    let part = arguments.contains.as_ref().map_or("", Text::as_str);
    let lines = page.lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter(move |line| {
        let series = line.rsplit_once(' ').map_or(*line, |(series, _)| series);
        let name = series.split('{').next().unwrap_or_default();
        series.contains(part) && (arguments.include_buckets || !name.ends_with("_bucket"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn samples_are_chosen_by_name_and_label() {
        let page = "# HELP a_total Text with lag.\n# TYPE a_total counter\na_total 7\n\n\
                    lag{group=\"g\",topic=\"t\"} 3\nput_seconds_bucket{le=\"1\"} 5\nput_seconds_sum 2\n";
        let chosen = |arguments: Value| {
            let arguments: Arguments = serde_json::from_value(arguments).unwrap();
            samples(page, &arguments)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let lag = "lag{group=\"g\",topic=\"t\"} 3";
        assert_eq!(chosen(json!({})), ["a_total 7", lag, "put_seconds_sum 2"]);
        assert_eq!(chosen(json!({ "contains": "lag" })), [lag]);
        assert_eq!(chosen(json!({ "contains": "topic=\"t\"" })), [lag]);
        let buckets = chosen(json!({ "contains": "put", "include_buckets": true }));
        assert_eq!(
            buckets,
            ["put_seconds_bucket{le=\"1\"} 5", "put_seconds_sum 2"]
        );
    }
}
