//! The tables of `docs/metrics.md`.

use std::fmt::Write;

use super::declaration::{COMPUTED_METRICS, CONTROL_METRICS, SHARD_METRICS};
use super::family::Family;

/// Three Markdown tables, from the declaration.
pub fn metrics_markdown() -> String {
    let parts: [(&str, Vec<&Family>); 3] = [
        ("Requests, groups and process", COMPUTED_METRICS.to_vec()),
        ("Shards", SHARD_METRICS.iter().collect()),
        ("Store, log and cluster", CONTROL_METRICS.iter().collect()),
    ];
    let mut text = String::new();
    for (title, families) in parts {
        // Writing to a String cannot fail.
        let _ = write!(text, "## {title}\n\n");
        text.push_str("| Metric | Type | Labels | Unit | Meaning |\n|---|---|---|---|---|\n");
        for family in families {
            text.push_str(&row(family));
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn row(family: &Family) -> String {
    let values = family
        .values
        .iter()
        .map(|value| format!("`{value}`"))
        .collect::<Vec<_>>();
    let label = |(index, label): (usize, &&str)| match (index, values.is_empty()) {
        (0, false) => format!("`{label}` = {}", values.join(", ")),
        _ => format!("`{label}`"),
    };
    let labels = family
        .labels
        .iter()
        .enumerate()
        .map(label)
        .collect::<Vec<_>>();
    format!(
        "| `{}` | {} | {} | {} | {} |\n",
        family.name,
        family.shape.word(),
        labels.join("; "),
        family.unit,
        family.help,
    )
}
