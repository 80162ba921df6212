//! What stands where: inconsistent-offsets, duplicate, phantom, G1a, G1c, epoch-order.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::anomaly::{Anomaly, Report};
use super::history::{Epoch, Kind, Partition, Value};
use super::index::Index;

type Place = (Partition, i64);

pub(crate) fn check(index: &Index<'_>, report: &mut Report) {
    let mut at: HashMap<Place, Value> = HashMap::new();
    let mut places: HashMap<Value, Place> = HashMap::new();
    let mut told: HashSet<(Place, Value)> = HashSet::new();
    let read = index.polls.iter().flat_map(|poll| {
        let of = move |record: &super::Record| ((poll.partition, record.offset), record.value);
        poll.records.iter().map(of)
    });
    let acknowledged = index.sends.values().flat_map(|sent| {
        let of = move |(offset, value)| ((sent.partition, offset), value);
        sent.placed().map(of)
    });
    for (place, value) in read.chain(acknowledged) {
        if !told.insert((place, value)) {
            continue;
        }
        let (partition, offset) = place;
        let first = *at.entry(place).or_insert(value);
        if first != value {
            report.add(Anomaly::InconsistentOffsets, || {
                format!("partition {partition} offset {offset}: {first} and {value}")
            });
        }
        origin(index, place, value, report);
        let first = *places.entry(value).or_insert(place);
        let of = index.batch_of(value);
        if first != place && of.is_some_and(|(_, _, sent)| sent.kind == Kind::Idempotent) {
            report.add(Anomaly::Duplicate, || {
                format!(
                    "value {value} at partition {} offset {} and at partition {partition} offset \
                     {offset}",
                    first.0, first.1
                )
            });
        }
    }
    epochs(index, report);
}

/// Whether somebody wrote what was told for a place.
fn origin(index: &Index<'_>, (partition, offset): Place, value: Value, report: &mut Report) {
    let Some((id, _, sent)) = index.batch_of(value) else {
        report.add(Anomaly::Phantom, || {
            format!("partition {partition} offset {offset}: {value} was never sent")
        });
        return;
    };
    if sent.partition != partition {
        report.add(Anomaly::Phantom, || {
            format!(
                "partition {partition} offset {offset}: {value} was for partition {}",
                sent.partition
            )
        });
    }
    if sent.failed {
        report.add(Anomaly::G1a, || {
            format!("partition {partition} offset {offset}: {value} of batch {id}, which failed")
        });
    }
    if index.early.contains(&value) {
        report.add(Anomaly::G1c, || {
            format!("partition {partition} offset {offset}: {value} was read before it was sent")
        });
    }
}

/// Epochs of the records of each partition in the order of offsets.
fn epochs(index: &Index<'_>, report: &mut Report) {
    let mut lines: BTreeMap<Partition, BTreeMap<i64, Epoch>> = BTreeMap::new();
    for poll in &index.polls {
        let line = lines.entry(poll.partition).or_default();
        let known = poll.records.iter();
        for record in known.filter(|record| record.epoch != Epoch::NONE) {
            let first = *line.entry(record.offset).or_insert(record.epoch);
            if first != record.epoch {
                report.add(Anomaly::EpochOrder, || {
                    format!(
                        "partition {} offset {}: of epoch {first}, then of epoch {}",
                        poll.partition, record.offset, record.epoch
                    )
                });
            }
        }
    }
    for (partition, line) in lines {
        let mut before = Epoch::NONE;
        for (offset, epoch) in line {
            if epoch < before {
                report.add(Anomaly::EpochOrder, || {
                    format!("partition {partition} offset {offset}: epoch {epoch} after {before}")
                });
            }
            before = epoch;
        }
    }
}
