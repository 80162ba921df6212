//! The checks. Each is one pass over an index of the history.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::history::{At, Event, Kind, Observer, Partition, Producer, Progress, Value};

/// Violations kept word for word; more are only counted.
pub const REPORTED_MAX: usize = 100;

/// Which promise was broken; the numbers are those of the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// 1: an acknowledged value is not where it was acknowledged.
    Lost,
    /// 1: a record that was read is gone.
    ReadLost,
    /// 2: two values at one offset.
    TwoValues,
    /// 3: a value of an idempotent producer at two offsets.
    Duplicate,
    /// 4: a value that nobody wrote there.
    Phantom,
    /// 5: an offset without a record, or a record beyond the end.
    Gap,
    /// 6: values of one producer in another order.
    Order,
    /// 7: a high watermark that falls.
    HighWatermark,
    /// 7: a reader that is given an offset again, or told that it is out of range.
    ReadBack,
    /// 8: a committed offset that is not what was committed.
    Committed,
    /// 9: too long without progress.
    Progress,
    /// 10: a refusal that no correct producer is given.
    ProducerState,
    /// The history itself is wrong: a write that ends without having begun, or a value used twice.
    Malformed,
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which.
    pub kind: ViolationKind,
    /// In words, with the numbers.
    pub what: String,
}

/// What was found, and how much there was.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Values invoked.
    pub invoked: usize,
    /// Values acknowledged.
    pub acknowledged: usize,
    /// Values whose fate the producer does not know.
    pub unknown: usize,
    /// Records read, each reading counted.
    pub reads: usize,
    /// Full reads.
    pub full_reads: usize,
    /// The first [`REPORTED_MAX`] violations.
    pub violations: Vec<Violation>,
    /// All violations.
    pub violation_count: usize,
    /// The longest time that a partition was without progress, for each expectation in order: its
    /// name and kind.
    pub gaps: Vec<(String, Progress, Gap)>,
}

/// A time without progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// When it began.
    pub from: At,
    /// How long it was, in microseconds.
    pub length: u64,
    /// The partition.
    pub partition: Partition,
}

impl Report {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.violation_count == 0
    }

    fn add(&mut self, kind: ViolationKind, what: impl FnOnce() -> String) {
        self.violation_count += 1;
        if self.violations.len() < REPORTED_MAX {
            self.violations.push(Violation { kind, what: what() });
        }
    }
}

/// A write as far as it is known.
struct Write {
    producer: Producer,
    kind: Kind,
    partition: Partition,
    /// Place of the invocation among all: the order of invocation.
    number: usize,
    acknowledged: Option<(Option<i64>, At)>,
    failed: bool,
}

/// A record in the reads of one observer.
struct Seen {
    offset: i64,
    value: Value,
}

/// The history by what the checks ask for.
#[derive(Default)]
struct Index {
    writes: HashMap<Value, Write>,
    reads: BTreeMap<(Observer, Partition), Vec<Seen>>,
    full: Vec<(Observer, Partition, i64, At)>,
    /// When an offset was first read.
    first_read: BTreeMap<(Partition, i64), At>,
}

/// Checks a history. See the module's documentation for what must hold.
pub fn check(history: &[Event]) -> Report {
    let mut report = Report::default();
    let index = index(history, &mut report);
    values(&index, &mut report);
    for (observer, partition, end, began) in &index.full {
        full_read(&index, *observer, *partition, *end, *began, &mut report);
    }
    order(&index, &mut report);
    nothing_goes_back(history, &mut report);
    commits(history, &mut report);
    progress(history, &index, &mut report);
    report
}

fn index(history: &[Event], report: &mut Report) -> Index {
    let mut index = Index::default();
    for (number, event) in history.iter().enumerate() {
        match event {
            Event::Invoke {
                value,
                producer,
                kind,
                partition,
                ..
            } => {
                report.invoked += 1;
                let write = Write {
                    producer: *producer,
                    kind: *kind,
                    partition: *partition,
                    number,
                    acknowledged: None,
                    failed: false,
                };
                if index.writes.insert(*value, write).is_some() {
                    report.add(ViolationKind::Malformed, || {
                        format!("value {value} is invoked twice")
                    });
                }
            }
            Event::Ok { value, offset, at } => {
                report.acknowledged += 1;
                end_of(&mut index, *value, report, |write| {
                    write.acknowledged = Some((*offset, *at));
                });
            }
            Event::Fail { value, .. } => {
                end_of(&mut index, *value, report, |write| write.failed = true);
            }
            Event::Unknown { value, .. } => {
                report.unknown += 1;
                end_of(&mut index, *value, report, |_| ());
            }
            Event::Read {
                observer,
                partition,
                offset,
                value,
                at,
                ..
            } => {
                report.reads += 1;
                let seen = Seen {
                    offset: *offset,
                    value: *value,
                };
                let first = index.first_read.entry((*partition, *offset));
                first.or_insert(*at);
                let of = index.reads.entry((*observer, *partition)).or_default();
                of.push(seen);
            }
            Event::FullRead {
                observer,
                partition,
                end,
                began,
                ..
            } => {
                report.full_reads += 1;
                index.full.push((*observer, *partition, *end, *began));
            }
            Event::Refused {
                producer,
                partition,
                broker,
                reason,
                ..
            } => report.add(ViolationKind::ProducerState, || {
                format!(
                    "producer {producer} in partition {partition}, by broker {broker}: {reason}"
                )
            }),
            _ => (),
        }
    }
    index
}

fn end_of(index: &mut Index, value: Value, report: &mut Report, end: impl FnOnce(&mut Write)) {
    match index.writes.get_mut(&value) {
        Some(write) => end(write),
        None => report.add(ViolationKind::Malformed, || {
            format!("the write of value {value} ends and never began")
        }),
    }
}

/// 2, 3 and 4: what stands where.
fn values(index: &Index, report: &mut Report) {
    let mut at: HashMap<(Partition, i64), Value> = HashMap::new();
    let mut places: HashMap<Value, (Partition, i64)> = HashMap::new();
    let mut told: HashSet<(Partition, i64, Value)> = HashSet::new();
    let acknowledged = index.writes.iter().filter_map(|(value, write)| {
        let (offset, _) = write.acknowledged?;
        Some((write.partition, offset?, *value))
    });
    let read = index.reads.iter().flat_map(|((_, partition), seen)| {
        let of = move |seen: &Seen| (*partition, seen.offset, seen.value);
        seen.iter().map(of)
    });
    for (partition, offset, value) in read.chain(acknowledged) {
        if !told.insert((partition, offset, value)) {
            continue;
        }
        let first = *at.entry((partition, offset)).or_insert(value);
        if first != value {
            report.add(ViolationKind::TwoValues, || {
                format!("partition {partition} offset {offset}: {first} and {value}")
            });
        }
        let Some(write) = index.writes.get(&value) else {
            report.add(ViolationKind::Phantom, || {
                format!("partition {partition} offset {offset}: {value} was never written")
            });
            continue;
        };
        if write.partition != partition || write.failed {
            let of = write.partition;
            report.add(ViolationKind::Phantom, || {
                format!(
                    "partition {partition} offset {offset}: {value} was for partition {of}, \
                     failed: {}",
                    write.failed
                )
            });
        }
        let place = *places.entry(value).or_insert((partition, offset));
        if write.kind == Kind::Idempotent && place != (partition, offset) {
            report.add(ViolationKind::Duplicate, || {
                format!(
                    "value {value} of idempotent producer {} at partition {} offset {} and at \
                     partition {partition} offset {offset}",
                    write.producer, place.0, place.1
                )
            });
        }
    }
}

/// 1 and 5: one full read.
fn full_read(
    index: &Index,
    observer: Observer,
    partition: Partition,
    end: i64,
    began: At,
    report: &mut Report,
) {
    let empty = Vec::new();
    let seen = index.reads.get(&(observer, partition)).unwrap_or(&empty);
    let content: BTreeMap<i64, Value> = seen.iter().map(|seen| (seen.offset, seen.value)).collect();
    let who = || format!("observer {observer} in partition {partition}");
    let mut expected = 0;
    let beyond = end..end + 1;
    let stops = content.keys().copied().filter(|offset| *offset < end);
    for offset in stops.chain(beyond) {
        if offset > expected {
            report.add(ViolationKind::Gap, || {
                format!("{}: no record at {expected} to {}", who(), offset - 1)
            });
        }
        expected = offset + 1;
    }
    if let Some((offset, _)) = content.range(end..).next() {
        report.add(ViolationKind::Gap, || {
            format!("{}: a record at {offset}, the end is {end}", who())
        });
    }
    let present: HashSet<Value> = content.values().copied().collect();
    let mut writes: Vec<_> = index.writes.iter().collect();
    writes.sort_unstable_by_key(|(value, _)| **value);
    for (value, write) in writes {
        let Some((offset, at)) = write.acknowledged else {
            continue;
        };
        if write.partition != partition || at >= began {
            continue;
        }
        let kept = match offset {
            Some(offset) => content.get(&offset) == Some(value),
            None => present.contains(value),
        };
        if !kept {
            let found = offset.and_then(|offset| content.get(&offset));
            report.add(ViolationKind::Lost, || {
                format!(
                    "{}: {value} acknowledged at {offset:?}, there is {found:?}",
                    who()
                )
            });
        }
    }
    let of = (partition, i64::MIN)..=(partition, i64::MAX);
    for ((_, offset), at) in index.first_read.range(of) {
        if *at < began && !content.contains_key(offset) {
            report.add(ViolationKind::ReadLost, || {
                format!(
                    "{}: offset {offset} had been read before, the end is {end}",
                    who()
                )
            });
        }
    }
}

/// 6: order of each producer.
fn order(index: &Index, report: &mut Report) {
    // Where each value stands: acknowledged, else (idempotent only) first read.
    let mut read: HashMap<Value, i64> = HashMap::new();
    for seen in index.reads.values().flatten() {
        let lowest = read.entry(seen.value).or_insert(seen.offset);
        *lowest = (*lowest).min(seen.offset);
    }
    type Line = Vec<(usize, i64, Value)>;
    let mut lines: BTreeMap<(Producer, Partition), Line> = BTreeMap::new();
    for (value, write) in &index.writes {
        let acknowledged = write.acknowledged.and_then(|(offset, _)| offset);
        let standing = match write.kind {
            Kind::Idempotent => acknowledged.or_else(|| read.get(value).copied()),
            Kind::Plain => acknowledged,
        };
        if let Some(offset) = standing {
            let line = lines.entry((write.producer, write.partition)).or_default();
            line.push((write.number, offset, *value));
        }
    }
    for ((producer, partition), mut line) in lines {
        line.sort_unstable();
        for pair in line.windows(2) {
            let [(_, before, first), (_, after, second)] = pair else {
                continue;
            };
            if before >= after {
                report.add(ViolationKind::Order, || {
                    format!(
                        "producer {producer} in partition {partition}: {first} at {before}, then \
                         {second} at {after}"
                    )
                });
            }
        }
    }
}

/// 7: what each observer sees.
fn nothing_goes_back(history: &[Event], report: &mut Report) {
    let mut marks: HashMap<(Observer, Partition), i64> = HashMap::new();
    let mut positions: HashMap<(Observer, Partition), i64> = HashMap::new();
    for event in history {
        match event {
            Event::HighWatermark {
                observer,
                partition,
                broker,
                high_watermark,
                ..
            } => {
                let highest = marks
                    .entry((*observer, *partition))
                    .or_insert(*high_watermark);
                if *high_watermark < *highest {
                    report.add(ViolationKind::HighWatermark, || {
                        format!(
                            "observer {observer} in partition {partition}: {highest}, then \
                             {high_watermark} from broker {broker}"
                        )
                    });
                }
                *highest = (*highest).max(*high_watermark);
            }
            Event::Read {
                observer,
                partition,
                broker,
                offset,
                ..
            } => match positions.insert((*observer, *partition), *offset) {
                Some(before) if before >= *offset => report.add(ViolationKind::ReadBack, || {
                    format!(
                        "observer {observer} in partition {partition}: {before}, then {offset} \
                         from broker {broker}"
                    )
                }),
                _ => (),
            },
            Event::OutOfRange {
                observer,
                partition,
                broker,
                offset,
                ..
            } => report.add(ViolationKind::ReadBack, || {
                format!(
                    "observer {observer} in partition {partition}: broker {broker} says that \
                     {offset} is out of range"
                )
            }),
            _ => (),
        }
    }
}

/// 8: committed offsets.
fn commits(history: &[Event], report: &mut Report) {
    let mut begun: HashMap<Partition, HashSet<i64>> = HashMap::new();
    let mut last: HashMap<Partition, i64> = HashMap::new();
    for event in history {
        match event {
            Event::Committing {
                partition, offset, ..
            } => {
                begun.entry(*partition).or_default().insert(*offset);
            }
            Event::Committed {
                partition, offset, ..
            } => {
                last.insert(*partition, *offset);
            }
            Event::CommittedRead {
                partition, offset, ..
            } => {
                let floor = last.get(partition).copied();
                let known = |offset: &i64| {
                    let of = begun.get(partition);
                    of.is_some_and(|begun| begun.contains(offset))
                };
                let right = match offset {
                    None => floor.is_none(),
                    Some(offset) => floor.is_none_or(|floor| *offset >= floor) && known(offset),
                };
                if !right {
                    report.add(ViolationKind::Committed, || {
                        format!(
                            "partition {partition}: {offset:?} read, {floor:?} was the last \
                             acknowledged commit"
                        )
                    });
                }
                // What was read once is settled: an unknown commit that took effect stays.
                if let Some(offset) = offset {
                    let settled = last.entry(*partition).or_insert(*offset);
                    *settled = (*settled).max(*offset);
                }
            }
            _ => (),
        }
    }
}

/// 9, and the longest times without progress.
fn progress(history: &[Event], index: &Index, report: &mut Report) {
    let times = times(history, index);
    for event in history {
        let Event::Expect {
            name,
            progress,
            partitions,
            from,
            until,
            within,
        } = event
        else {
            continue;
        };
        let gap = |partition: Partition| {
            let times = times.get(&(*progress, partition));
            let times = times.map_or(&[][..], Vec::as_slice);
            longest(times, *from, *until, partition)
        };
        let gaps: Vec<Gap> = (0..*partitions)
            .map(|number| gap(Partition(number)))
            .collect();
        if let Some(longest) = gaps.iter().max_by_key(|gap| gap.length) {
            report.gaps.push((name.clone(), *progress, *longest));
        }
        for gap in gaps {
            if gap.length > *within {
                report.add(ViolationKind::Progress, || {
                    format!(
                        "{name}: partition {} was without {progress} for {} ms from {} ms on, {} \
                         ms are allowed",
                        gap.partition,
                        gap.length / 1000,
                        gap.from.0 / 1000,
                        within / 1000
                    )
                });
            }
        }
    }
}

/// When there was progress, sorted.
fn times(history: &[Event], index: &Index) -> BTreeMap<(Progress, Partition), Vec<At>> {
    let mut times: BTreeMap<(Progress, Partition), Vec<At>> = BTreeMap::new();
    let mut add = |progress, partition: Partition, at: At| {
        times.entry((progress, partition)).or_default().push(at);
    };
    for write in index.writes.values() {
        if let Some((_, at)) = write.acknowledged {
            add(Progress::Acknowledged, write.partition, at);
        }
    }
    for event in history {
        match event {
            Event::Read { partition, at, .. } => add(Progress::Read, *partition, *at),
            Event::Committed { partition, at, .. } => add(Progress::Committed, *partition, *at),
            _ => (),
        }
    }
    times.values_mut().for_each(|times| times.sort_unstable());
    times
}

/// The longest time without one of `times` between `from` and `until`.
fn longest(times: &[At], from: At, until: At, partition: Partition) -> Gap {
    let first = times.partition_point(|at| *at < from);
    let inside = times.get(first..).unwrap_or_default().iter().copied();
    let inside = inside.take_while(|at| *at <= until);
    let (mut last, mut gap) = (from, None);
    for at in inside.chain([until]) {
        let length = at.0.saturating_sub(last.0);
        if gap.is_none_or(|gap: Gap| length > gap.length) {
            gap = Some(Gap {
                from: last,
                length,
                partition,
            });
        }
        last = at;
    }
    gap.unwrap_or(Gap {
        from,
        length: 0,
        partition,
    })
}
