//! Full reads: lost-write, gap; and unseen, at the end of the history.

use std::collections::{BTreeMap, HashSet};

use super::anomaly::{Anomaly, Report};
use super::history::{At, Event, Observer, Partition, Value};
use super::index::{Index, Sent};

/// A full read with what it holds.
struct Full {
    observer: Observer,
    partition: Partition,
    start: i64,
    end: i64,
    began: At,
    content: BTreeMap<i64, Value>,
}

pub(crate) fn check(history: &[Event], index: &Index<'_>, report: &mut Report) {
    for event in history {
        match event {
            Event::FullRead {
                observer,
                partition,
                start,
                end,
                began,
                ..
            } => {
                let polls = index.by_observer.get(&(*observer, *partition));
                let polls = polls.into_iter().flatten();
                let polls = polls.filter_map(|number| index.polls.get(*number));
                let records = polls.flat_map(|poll| poll.records);
                let full = Full {
                    observer: *observer,
                    partition: *partition,
                    start: *start,
                    end: *end,
                    began: *began,
                    content: records
                        .map(|record| (record.offset, record.value))
                        .collect(),
                };
                dense(&full, index, report);
                lost(&full, index, report);
                undeleted(&full, index, report);
            }
            Event::Settled { at } => unseen(*at, index, report),
            _ => (),
        }
    }
}

impl Full {
    fn who(&self) -> String {
        format!("observer {} in partition {}", self.observer, self.partition)
    }
}

fn dense(full: &Full, index: &Index<'_>, report: &mut Report) {
    let log_start = index.log_start(full.partition);
    if full.start > log_start.max(0) {
        report.add(Anomaly::Gap, || {
            let (who, start) = (full.who(), full.start);
            format!("{who}: the log begins at {start}, nobody raised it beyond {log_start}")
        });
    }
    let mut expected = full.start;
    let inside = full.content.range(full.start..full.end.max(full.start));
    let stops = inside.map(|(offset, _)| *offset).chain([full.end]);
    for offset in stops {
        let mut missing = expected..offset;
        if let Some(first) = missing.find(|at| !index.is_compactable(full.partition, *at)) {
            report.add(Anomaly::Gap, || {
                let who = full.who();
                format!(
                    "{who}: no record at {first} of {expected} to {}",
                    offset - 1
                )
            });
        }
        expected = offset.saturating_add(1);
    }
    let mut outside = full.content.keys();
    if let Some(offset) = outside.find(|offset| **offset < full.start || **offset >= full.end) {
        report.add(Anomaly::Gap, || {
            let (who, start, end) = (full.who(), full.start, full.end);
            format!("{who}: a record at {offset}, the log is {start} to {end}")
        });
    }
}

fn lost(full: &Full, index: &Index<'_>, report: &mut Report) {
    let present: HashSet<Value> = full.content.values().copied().collect();
    for sent in index.sends.values() {
        let Some((base, at)) = sent.acknowledged else {
            continue;
        };
        if sent.partition == full.partition && at < full.began {
            missing(full, index, (sent, base), &present, report);
        }
    }
    let Some(known) = index.known.get(&full.partition) else {
        return;
    };
    for (offset, at) in known.first_read.range(full.start..) {
        let is_gone = !full.content.contains_key(offset);
        if *at < full.began && is_gone && !index.is_compactable(full.partition, *offset) {
            report.add(Anomaly::LostWrite, || {
                let (who, end) = (full.who(), full.end);
                format!("{who}: offset {offset} had been read before, the end is {end}")
            });
        }
    }
}

/// The values of an acknowledged batch that a full read does not hold where they belong.
fn missing(
    full: &Full,
    index: &Index<'_>,
    (sent, base): (&Sent<'_>, Option<i64>),
    present: &HashSet<Value>,
    report: &mut Report,
) {
    for (place, value) in (0..).zip(sent.values) {
        let offset = base.map(|base| base.saturating_add(place));
        let kept = match offset {
            Some(offset) if offset < full.start => true,
            Some(offset) => match full.content.get(&offset) {
                Some(found) => found == value,
                None => index.is_compactable(full.partition, offset),
            },
            // It may be among what retention or log compaction took.
            None => full.start > 0 || present.contains(value) || index.keyed.contains_key(value),
        };
        if !kept {
            let found = offset.and_then(|offset| full.content.get(&offset));
            report.add(Anomaly::LostWrite, || {
                let who = full.who();
                format!("{who}: {value} acknowledged at {offset:?}, there is {found:?}")
            });
        }
    }
}

/// A record that deletes its key is gone, and one before it of that key is left: the key is back.
fn undeleted(full: &Full, index: &Index<'_>, report: &mut Report) {
    let Some(known) = index.known.get(&full.partition) else {
        return;
    };
    for (offset, value) in &full.content {
        let Some(of) = index.keyed.get(value) else {
            continue;
        };
        let Some(last) = known.last_of_key.get(&of.key) else {
            continue;
        };
        let is_gone = *last < full.end && !full.content.contains_key(last);
        if offset < last && is_gone {
            report.add(Anomaly::LostWrite, || {
                let (who, key) = (full.who(), of.key);
                format!("{who}: key {key} is deleted at {last}, which is gone; {value} at {offset} is not")
            });
        }
    }
}

/// What was acknowledged before `settled` and is in nobody's answers.
fn unseen(settled: At, index: &Index<'_>, report: &mut Report) {
    let records = index.polls.iter().flat_map(|poll| poll.records);
    let seen: HashSet<Value> = records.map(|record| record.value).collect();
    for (id, sent) in &index.sends {
        let Some((base, at)) = sent.acknowledged else {
            continue;
        };
        let log_start = index.log_start(sent.partition);
        let gone = log_start > 0 && base.is_none_or(|base| base < log_start);
        let compacted = |place: i64, value: &Value| match base {
            Some(base) => index.is_compactable(sent.partition, base.saturating_add(place)),
            None => index.keyed.contains_key(value),
        };
        let mut values = (0..).zip(sent.values);
        let unseen =
            values.find(|(place, value)| !seen.contains(value) && !compacted(*place, value));
        if let (true, false, Some((_, value))) = (at < settled, gone, unseen) {
            report.add(Anomaly::Unseen, || {
                let partition = sent.partition;
                format!("partition {partition}: {value} of batch {id}, acknowledged at {base:?}")
            });
        }
    }
}
