//! The promises said again in the most direct way, pair by pair: what the property test compares
//! the checker with. Gives only which promises were broken.

use std::collections::BTreeSet;

use super::{At, Event, Kind, Observer, Partition, Producer, Progress, Value, ViolationKind};

struct Write {
    value: Value,
    producer: Producer,
    kind: Kind,
    partition: Partition,
}

struct Standing {
    observer: Observer,
    partition: Partition,
    offset: i64,
    value: Value,
    at: At,
}

fn writes(history: &[Event]) -> Vec<Write> {
    let of = |event: &Event| match event {
        Event::Invoke {
            value,
            producer,
            kind,
            partition,
            ..
        } => Some(Write {
            value: *value,
            producer: *producer,
            kind: *kind,
            partition: *partition,
        }),
        _ => None,
    };
    history.iter().filter_map(of).collect()
}

fn reads(history: &[Event]) -> Vec<Standing> {
    let of = |event: &Event| match event {
        Event::Read {
            observer,
            partition,
            offset,
            value,
            at,
            ..
        } => Some(Standing {
            observer: *observer,
            partition: *partition,
            offset: *offset,
            value: *value,
            at: *at,
        }),
        _ => None,
    };
    history.iter().filter_map(of).collect()
}

/// When and where a value was acknowledged.
fn acknowledged(history: &[Event], wanted: Value) -> Option<(Option<i64>, At)> {
    history.iter().find_map(|event| match event {
        Event::Ok { value, offset, at } if *value == wanted => Some((*offset, *at)),
        _ => None,
    })
}

pub(super) fn broken(history: &[Event]) -> BTreeSet<ViolationKind> {
    let mut broken = BTreeSet::new();
    let (writes, reads) = (writes(history), reads(history));
    stands(history, &writes, &reads, &mut broken);
    full(history, &writes, &reads, &mut broken);
    ordered(history, &writes, &reads, &mut broken);
    forward(history, &mut broken);
    committed(history, &mut broken);
    progressed(history, &writes, &mut broken);
    broken
}

fn stands(
    history: &[Event],
    writes: &[Write],
    reads: &[Standing],
    broken: &mut BTreeSet<ViolationKind>,
) {
    let mut all: Vec<_> = reads
        .iter()
        .map(|read| (read.partition, read.offset, read.value))
        .collect();
    for write in writes {
        if let Some((Some(offset), _)) = acknowledged(history, write.value) {
            all.push((write.partition, offset, write.value));
        }
    }
    for (partition, offset, value) in &all {
        let write = writes.iter().find(|write| write.value == *value);
        let failed = history
            .iter()
            .any(|event| matches!(event, Event::Fail { value: of, .. } if of == value));
        if failed || write.is_none_or(|write| write.partition != *partition) {
            broken.insert(ViolationKind::Phantom);
        }
        for (other_partition, other_offset, other) in &all {
            let same_place = (partition, offset) == (other_partition, other_offset);
            if same_place && value != other {
                broken.insert(ViolationKind::TwoValues);
            }
            let once = write.is_some_and(|write| write.kind == Kind::Idempotent);
            if once && value == other && !same_place {
                broken.insert(ViolationKind::Duplicate);
            }
        }
    }
}

fn full(
    history: &[Event],
    writes: &[Write],
    reads: &[Standing],
    broken: &mut BTreeSet<ViolationKind>,
) {
    for event in history {
        let Event::FullRead {
            observer,
            partition,
            end,
            began,
            ..
        } = event
        else {
            continue;
        };
        let of = |read: &&Standing| read.observer == *observer && read.partition == *partition;
        let mine: Vec<_> = reads.iter().filter(of).collect();
        let at = |offset: i64| mine.iter().rfind(|read| read.offset == offset);
        if (0..*end).any(|offset| at(offset).is_none())
            || mine.iter().any(|read| read.offset >= *end)
        {
            broken.insert(ViolationKind::Gap);
        }
        for write in writes.iter().filter(|write| write.partition == *partition) {
            let Some((offset, when)) = acknowledged(history, write.value) else {
                continue;
            };
            let kept = match offset {
                Some(offset) => at(offset).is_some_and(|read| read.value == write.value),
                None => mine
                    .iter()
                    .any(|read| at(read.offset).is_some_and(|last| last.value == write.value)),
            };
            if when < *began && !kept {
                broken.insert(ViolationKind::Lost);
            }
        }
        let gone = |read: &Standing| {
            read.partition == *partition && read.at < *began && at(read.offset).is_none()
        };
        if reads.iter().any(gone) {
            broken.insert(ViolationKind::ReadLost);
        }
    }
}

fn ordered(
    history: &[Event],
    writes: &[Write],
    reads: &[Standing],
    broken: &mut BTreeSet<ViolationKind>,
) {
    let place = |write: &Write| {
        let told = acknowledged(history, write.value).and_then(|(offset, _)| offset);
        let read = || {
            let of = reads.iter().filter(|read| read.value == write.value);
            of.map(|read| read.offset).min()
        };
        match write.kind {
            Kind::Idempotent => told.or_else(read),
            Kind::Plain => told,
        }
    };
    for (number, first) in writes.iter().enumerate() {
        for second in &writes[number + 1..] {
            let line = (first.producer, first.partition) == (second.producer, second.partition);
            if let (true, Some(before), Some(after)) = (line, place(first), place(second))
                && before >= after
            {
                broken.insert(ViolationKind::Order);
            }
        }
    }
}

fn forward(history: &[Event], broken: &mut BTreeSet<ViolationKind>) {
    for (number, first) in history.iter().enumerate() {
        if matches!(first, Event::OutOfRange { .. }) {
            broken.insert(ViolationKind::ReadBack);
        }
        if matches!(first, Event::Refused { .. }) {
            broken.insert(ViolationKind::ProducerState);
        }
        let mut next_read_seen = false;
        for second in &history[number + 1..] {
            match (first, second) {
                (
                    Event::HighWatermark {
                        observer,
                        partition,
                        high_watermark,
                        ..
                    },
                    Event::HighWatermark {
                        observer: by,
                        partition: of,
                        high_watermark: later,
                        ..
                    },
                ) if (observer, partition) == (by, of) && later < high_watermark => {
                    broken.insert(ViolationKind::HighWatermark);
                }
                (
                    Event::Read {
                        observer,
                        partition,
                        offset,
                        ..
                    },
                    Event::Read {
                        observer: by,
                        partition: of,
                        offset: later,
                        ..
                    },
                ) if (observer, partition) == (by, of) && !next_read_seen => {
                    next_read_seen = true;
                    if later <= offset {
                        broken.insert(ViolationKind::ReadBack);
                    }
                }
                _ => (),
            }
        }
    }
}

fn committed(history: &[Event], broken: &mut BTreeSet<ViolationKind>) {
    for (number, event) in history.iter().enumerate() {
        let Event::CommittedRead {
            partition, offset, ..
        } = event
        else {
            continue;
        };
        let mut floor = None;
        let mut known = false;
        for before in &history[..number] {
            match before {
                Event::Committing {
                    partition: of,
                    offset: begun,
                    ..
                } if of == partition => known |= *offset == Some(*begun),
                Event::Committed {
                    partition: of,
                    offset: settled,
                    ..
                } if of == partition => floor = Some(*settled),
                Event::CommittedRead {
                    partition: of,
                    offset: Some(settled),
                    ..
                } if of == partition => {
                    floor = Some(floor.map_or(*settled, |floor: i64| floor.max(*settled)));
                }
                _ => (),
            }
        }
        let right = match offset {
            None => floor.is_none(),
            Some(offset) => known && floor.is_none_or(|floor| *offset >= floor),
        };
        if !right {
            broken.insert(ViolationKind::Committed);
        }
    }
}

fn progressed(history: &[Event], writes: &[Write], broken: &mut BTreeSet<ViolationKind>) {
    for event in history {
        let Event::Expect {
            progress,
            partitions,
            from,
            until,
            within,
            ..
        } = event
        else {
            continue;
        };
        for partition in (0..*partitions).map(Partition) {
            let mut ends = vec![*from, *until];
            ends.extend(happened(history, writes, *progress, partition));
            ends.retain(|at| from <= at && at <= until);
            // Every moment but the last has another one soon after it.
            let is_late = |at: &At| {
                let next = ends.iter().filter(|other| *other > at).min();
                next.is_some_and(|next| next.0 - at.0 > *within)
            };
            if ends.iter().any(is_late) {
                broken.insert(ViolationKind::Progress);
            }
        }
    }
}

fn happened(history: &[Event], writes: &[Write], progress: Progress, wanted: Partition) -> Vec<At> {
    let of = |event: &Event| match (progress, event) {
        (Progress::Acknowledged, Event::Ok { value, at, .. }) => {
            let mut mine = writes.iter().filter(|write| write.partition == wanted);
            mine.any(|write| write.value == *value).then_some(*at)
        }
        (Progress::Read, Event::Read { partition, at, .. })
        | (Progress::Committed, Event::Committed { partition, at, .. }) => {
            (*partition == wanted).then_some(*at)
        }
        _ => None,
    };
    history.iter().filter_map(of).collect()
}
