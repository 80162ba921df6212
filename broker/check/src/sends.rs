//! Order of writes: nonmonotonic-send, int-nonmonotonic-send, int-send-skip, G0.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::anomaly::{Anomaly, Report};
use super::history::{Event, Kind, Partition, Producer, SendId, Value};
use super::index::Index;

pub(crate) fn check(history: &[Event], index: &Index<'_>, report: &mut Report) {
    sessions(index, report);
    neighbors(index, report);
    real_time(history, index, report);
}

/// nonmonotonic-send. Where a batch stands: as acknowledged, else (idempotent only) as first read.
fn sessions(index: &Index<'_>, report: &mut Report) {
    let mut lowest: HashMap<Value, i64> = HashMap::new();
    for record in index.polls.iter().flat_map(|poll| poll.records) {
        let at = lowest.entry(record.value).or_insert(record.offset);
        *at = (*at).min(record.offset);
    }
    type Line = Vec<(usize, i64, SendId)>;
    let mut lines: BTreeMap<(Producer, Partition), Line> = BTreeMap::new();
    for (id, sent) in &index.sends {
        let acknowledged = sent.acknowledged.and_then(|(base, _)| base);
        let read = || lowest.get(sent.values.first()?).copied();
        let base = match sent.kind {
            Kind::Idempotent => acknowledged.or_else(read),
            Kind::Plain => acknowledged,
        };
        if let Some(base) = base {
            let line = lines.entry((sent.producer, sent.partition)).or_default();
            line.push((sent.number, base, *id));
        }
    }
    for ((producer, partition), mut line) in lines {
        line.sort_unstable();
        for pair in line.windows(2) {
            let [(_, before, first), (_, after, second)] = pair else {
                continue;
            };
            if before >= after {
                report.add(Anomaly::NonmonotonicSend, || {
                    format!(
                        "producer {producer} in partition {partition}: batch {first} at {before}, \
                         then batch {second} at {after}"
                    )
                });
            }
        }
    }
}

/// Batches whose values do not stand in their order, each where it stands first.
fn swapped(index: &Index<'_>, report: &mut Report) -> HashSet<SendId> {
    let mut lowest: HashMap<Value, i64> = HashMap::new();
    for known in index.known.values() {
        for (offset, value) in &known.values {
            let at = lowest.entry(*value).or_insert(*offset);
            *at = (*at).min(*offset);
        }
    }
    let mut swapped = HashSet::new();
    for (id, sent) in &index.sends {
        let standing = sent.values.iter().map(|value| lowest.get(value));
        let standing: Vec<Option<&i64>> = standing.collect();
        let falls = |pair: &[Option<&i64>]| match pair {
            [Some(before), Some(after)] => before >= after,
            _ => false,
        };
        if standing.windows(2).any(falls) {
            swapped.insert(*id);
            report.add(Anomaly::IntNonmonotonicSend, || {
                format!(
                    "partition {}: batch {id} stands at {standing:?}",
                    sent.partition
                )
            });
        }
    }
    swapped
}

/// What stands side by side ends one batch and begins another, or goes on in the same batch.
fn neighbors(index: &Index<'_>, report: &mut Report) {
    let swapped = swapped(index, report);
    for (partition, known) in &index.known {
        let mut before: Option<(i64, Value)> = None;
        for (offset, value) in &known.values {
            if let Some((at, first)) = before
                && at.saturating_add(1) == *offset
                && is_torn(index, first, *value, &swapped)
            {
                report.add(Anomaly::IntSendSkip, || {
                    format!("partition {partition}: {first} at {at} is followed by {value}")
                });
            }
            before = Some((*offset, *value));
        }
    }
}

/// Whether `second` right behind `first` tears a batch that is in order otherwise.
fn is_torn(index: &Index<'_>, first: Value, second: Value, swapped: &HashSet<SendId>) -> bool {
    let (first, second) = (index.batch_of(first), index.batch_of(second));
    let ended = first.is_none_or(|(_, place, sent)| place + 1 == sent.values.len());
    let begun = second.is_none_or(|(_, place, _)| place == 0);
    let known = [first, second].map(|of| of.is_some_and(|(id, ..)| swapped.contains(&id)));
    let goes_on = match (first, second) {
        (Some((id, place, _)), Some((of, next, _))) => id == of && place + 1 == next,
        _ => false,
    };
    let is_whole = goes_on || (ended && begun);
    !is_whole && known == [false, false]
}

/// G0: who sends after an acknowledgment stands behind it.
fn real_time(history: &[Event], index: &Index<'_>, report: &mut Report) {
    // The furthest acknowledged batch of each partition, and that of any other producer.
    let mut furthest: HashMap<Partition, Vec<(i64, Producer, SendId)>> = HashMap::new();
    let mut floors: HashMap<SendId, (i64, SendId)> = HashMap::new();
    for event in history {
        match event {
            Event::Send {
                send,
                producer,
                partition,
                ..
            } => {
                let line = furthest.get(partition);
                let mut line = line.into_iter().flatten();
                if let Some((end, _, of)) = line.find(|(_, by, _)| by != producer) {
                    floors.insert(*send, (*end, *of));
                }
            }
            Event::Ok {
                send,
                offset: Some(base),
                ..
            } => {
                let Some(sent) = index.sends.get(send) else {
                    continue;
                };
                if let Some((end, of)) = floors.get(send)
                    && base < end
                {
                    report.add(Anomaly::G0, || {
                        format!(
                            "partition {}: batch {send} at {base} was begun after batch {of} was \
                             acknowledged up to {end}",
                            sent.partition
                        )
                    });
                }
                let line = furthest.entry(sent.partition).or_default();
                let end = sent.end(*base);
                match line.iter_mut().find(|(_, by, _)| *by == sent.producer) {
                    Some(own) if own.0 >= end => (),
                    Some(own) => *own = (end, sent.producer, *send),
                    None => line.push((end, sent.producer, *send)),
                }
                line.sort_unstable_by_key(|(end, ..)| std::cmp::Reverse(*end));
                line.truncate(2);
            }
            _ => (),
        }
    }
}
