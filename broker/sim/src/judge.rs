//! What is checked when a run is over: the history of the clients of each topic.

use check::Event;

/// Violations of one topic's history.
pub(crate) fn judge(topic: &str, history: &[Event]) -> Vec<String> {
    let report = check::check(history);
    let told = report.violations.iter();
    told.map(|violation| format!("{topic}: {}: {}", violation.anomaly, violation.what))
        .collect()
}
