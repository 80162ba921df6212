//! What is checked when a run is over: the histories of the clients, and what lies in the stores.

use std::collections::BTreeMap;

use faults::checker::{self, Event, Observer, Partition, Value};

use crate::client::scene::{Keeping, Topic};

/// Violations of one topic's history; `reader` is the one that read everything at the end.
pub(crate) fn judge(topic: &Topic, history: &[Event], reader: u32) -> Vec<String> {
    let report = checker::check(history);
    let told = report.violations.iter();
    let mut found: Vec<String> = told
        .map(|violation| format!("{}: {:?}: {}", topic.name, violation.kind, violation.what))
        .collect();
    if topic.keeping == Keeping::Trimmed {
        found.extend(trimmed(topic, history, Observer(reader)));
    }
    found
}

/// What is left of a log whose beginning was deleted is whole: from its first record on, every acknowledged one is
/// there, at its offset, and no offset is missing.
fn trimmed(topic: &Topic, history: &[Event], reader: Observer) -> Vec<String> {
    let mut content: BTreeMap<(Partition, i64), Value> = BTreeMap::new();
    let mut partitions: BTreeMap<Value, Partition> = BTreeMap::new();
    for event in history {
        match event {
            Event::Read {
                observer,
                partition,
                offset,
                value,
                ..
            } if *observer == reader => {
                content.insert((*partition, *offset), *value);
            }
            Event::Invoke {
                value, partition, ..
            } => {
                partitions.insert(*value, *partition);
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for partition in (0..topic.partitions).map(Partition) {
        let of = (partition, i64::MIN)..=(partition, i64::MAX);
        let offsets: Vec<i64> = content.range(of).map(|((_, offset), _)| *offset).collect();
        let Some(first) = offsets.first().copied() else {
            continue;
        };
        let gap = offsets.windows(2).find(|pair| pair[1] != pair[0] + 1);
        if let Some(gap) = gap {
            found.push(format!(
                "{}: {partition}: a gap after {}",
                topic.name, gap[0]
            ));
        }
        for event in history {
            let Event::Ok {
                value,
                offset: Some(offset),
                ..
            } = event
            else {
                continue;
            };
            if partitions.get(value) != Some(&partition) || *offset < first {
                continue;
            }
            let there = content.get(&(partition, *offset));
            if there != Some(value) {
                found.push(format!(
                    "{}: {partition}: {value} acknowledged at {offset}, there is {there:?}",
                    topic.name
                ));
            }
        }
    }
    found
}
