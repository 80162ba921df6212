//! The Prometheus text format, version 0.0.4, and OpenMetrics 1.0.0, which differ in little.

use std::fmt::Write;

use super::cell::Distribution;
use super::family::{Family, Scale, Shape};

/// The form of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exposition {
    /// The Prometheus text format, version 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.0: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
    OpenMetrics,
}

/// What a client that takes OpenMetrics names in `Accept`.
const OPEN_METRICS: &str = "application/openmetrics-text";

impl Exposition {
    /// The form that a client with this `Accept` header is given: OpenMetrics if it names that at all, since Prometheus
    /// prefers it then.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains(OPEN_METRICS) => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page being written. Writing to a `String` cannot fail, so results are dropped.
#[derive(Debug, Default)]
pub(super) struct Page {
    exposition: Exposition,
    text: String,
}

impl Page {
    pub(super) fn new(exposition: Exposition) -> Self {
        Self {
            exposition,
            text: String::new(),
        }
    }

    /// Starts a metric.
    pub(super) fn family(&mut self, family: &Family) {
        let mut help = family.help.replace('\\', "\\\\");
        let mut name = family.name;
        if self.exposition == Exposition::OpenMetrics {
            help = help.replace('"', "\\\"");
            if family.shape == Shape::Counter {
                // The suffix belongs to the series, not to the family.
                name = name.strip_suffix("_total").unwrap_or(name);
            }
        }
        let _ = writeln!(self.text, "# HELP {name} {help}");
        let _ = writeln!(self.text, "# TYPE {name} {}", family.shape.word());
    }

    /// A whole number.
    pub(super) fn whole(&mut self, name: &str, labels: &[(&str, &str)], value: i128) {
        self.series(name, "", labels);
        let _ = writeln!(self.text, " {value}");
    }

    /// Any number; what is not finite is written as 0, because a panel cannot show it.
    pub(super) fn float(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.series(name, "", labels);
        let value = if value.is_finite() { value } else { 0.0 };
        let _ = writeln!(self.text, " {value}");
    }

    /// Count and sum without quantiles.
    pub(super) fn summary(&mut self, name: &str, labels: &[(&str, &str)], count: u64, sum: f64) {
        self.series(name, "_sum", labels);
        let _ = writeln!(self.text, " {sum}");
        self.series(name, "_count", labels);
        let _ = writeln!(self.text, " {count}");
    }

    /// A distribution in the buckets of `scale`.
    pub(super) fn spread(&mut self, name: &str, scale: Scale, spread: &Distribution) {
        let raw: Vec<f64> = scale
            .bounds
            .iter()
            .map(|bound| bound * scale.factor)
            .collect();
        let totals = spread.cumulative(&raw);
        let sum = spread.sum() as f64 / scale.factor;
        self.buckets(name, scale.bounds, &totals, spread.count(), sum);
    }

    /// Cumulative counts by bound.
    pub(super) fn buckets(
        &mut self,
        name: &str,
        bounds: &[f64],
        totals: &[u64],
        count: u64,
        sum: f64,
    ) {
        for (bound, total) in bounds.iter().zip(totals) {
            let _ = match self.exposition {
                Exposition::Text => {
                    writeln!(self.text, "{name}_bucket{{le=\"{bound}\"}} {total}")
                }
                // Bounds are written as floats there: 1.0 and not 1.
                Exposition::OpenMetrics => {
                    writeln!(self.text, "{name}_bucket{{le=\"{bound:?}\"}} {total}")
                }
            };
        }
        let _ = writeln!(self.text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(self.text, "{name}_sum {sum}");
        let _ = writeln!(self.text, "{name}_count {count}");
    }

    /// The finished page.
    pub(super) fn finish(mut self) -> String {
        if self.exposition == Exposition::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn series(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)]) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_given_to_who_takes_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5";
        for (accept, wanted) in [
            (None, Exposition::Text),
            (Some("*/*"), Exposition::Text),
            (Some(prometheus), Exposition::OpenMetrics),
        ] {
            assert_eq!(Exposition::accepted(accept), wanted, "{accept:?}");
        }
    }

    #[test]
    fn labels_are_escaped_and_numbers_are_finite() {
        let mut page = Page::default();
        page.whole("a", &[("group", "x\"y\\z\n"), ("topic", "t")], -3);
        page.float("b", &[], f64::NAN);
        page.summary("c", &[("api", "Fetch")], 2, 1.5);
        let text = page.finish();
        assert_eq!(
            text,
            "a{group=\"x\\\"y\\\\z\\n\",topic=\"t\"} -3\nb 0\nc_sum{api=\"Fetch\"} 1.5\n\
             c_count{api=\"Fetch\"} 2\n"
        );
    }
}
