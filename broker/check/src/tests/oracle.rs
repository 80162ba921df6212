//! The rules said again in the most direct way, pair by pair: what every history of the tests is
//! judged by a second time. Gives only which anomalies there are.

use std::collections::BTreeSet;

use crate::*;

type Found = BTreeSet<Anomaly>;

struct Batch<'a> {
    number: usize,
    send: SendId,
    producer: Producer,
    kind: Kind,
    partition: Partition,
    values: &'a [Value],
}

struct Standing {
    number: usize,
    observer: Observer,
    partition: Partition,
    record: Record,
    at: At,
}

/// A history with its batches and its records read.
struct Told<'a> {
    history: &'a [Event],
    batches: Vec<Batch<'a>>,
    reads: Vec<Standing>,
}

pub(super) fn broken(history: &[Event]) -> Found {
    let told = Told::new(history);
    let mut found = Found::new();
    told.stands(&mut found);
    told.full(&mut found);
    told.ordered(&mut found);
    told.neighbors(&mut found);
    told.shown(&mut found);
    told.marks(&mut found);
    told.committed(&mut found);
    told.expected(&mut found);
    told.plain(&mut found);
    found
}

impl<'a> Told<'a> {
    fn new(history: &'a [Event]) -> Self {
        let (mut batches, mut reads) = (Vec::new(), Vec::new());
        for (number, event) in history.iter().enumerate() {
            match event {
                Event::Send {
                    send,
                    producer,
                    kind,
                    partition,
                    values,
                    ..
                } => batches.push(Batch {
                    number,
                    send: *send,
                    producer: *producer,
                    kind: *kind,
                    partition: *partition,
                    values,
                }),
                Event::Poll {
                    observer,
                    partition,
                    records,
                    at,
                    ..
                } => reads.extend(records.iter().map(|record| Standing {
                    number,
                    observer: *observer,
                    partition: *partition,
                    record: *record,
                    at: *at,
                })),
                _ => (),
            }
        }
        Self {
            history,
            batches,
            reads,
        }
    }

    /// Where a batch was acknowledged, when, and at which event.
    fn acknowledged(&self, batch: &Batch<'_>) -> Option<(Option<i64>, At, usize)> {
        let mut events = self.history.iter().enumerate();
        events.find_map(|(number, event)| match event {
            Event::Ok { send, offset, at } if *send == batch.send => Some((*offset, *at, number)),
            _ => None,
        })
    }

    fn batch(&self, value: Value) -> Option<&Batch<'a>> {
        let mut batches = self.batches.iter();
        batches.find(|batch| batch.values.contains(&value))
    }

    fn log_start(&self, wanted: Partition) -> i64 {
        let starts = self.history.iter().filter_map(|event| match event {
            Event::LogStart {
                partition, offset, ..
            } if *partition == wanted => Some(*offset),
            _ => None,
        });
        starts.max().unwrap_or(0).max(0)
    }

    /// Everything that was told of any place.
    fn places(&self) -> Vec<(Partition, i64, Value)> {
        let read = self.reads.iter();
        let mut all: Vec<_> = read
            .map(|read| (read.partition, read.record.offset, read.record.value))
            .collect();
        for batch in &self.batches {
            if let Some((Some(base), ..)) = self.acknowledged(batch) {
                let placed = (base..).zip(batch.values);
                all.extend(placed.map(|(offset, value)| (batch.partition, offset, *value)));
            }
        }
        all
    }

    fn keyed(&self, value: Value) -> Option<Keyed> {
        let records = self.history.iter().rev().filter_map(|event| match event {
            Event::Keyed { records, .. } => Some(records),
            _ => None,
        });
        let mut records = records.flat_map(|records| records.iter().rev());
        records.find(|record| record.value == value).copied()
    }

    /// Whether log compaction may have taken what stands at a place.
    fn is_compactable(&self, (partition, offset): (Partition, i64)) -> bool {
        let all = self.places();
        let at = |place| self.keyed(self.at(&all, place)?);
        let Some(here) = at((partition, offset)) else {
            return false;
        };
        let later = |(of, other, _): &(Partition, i64, Value)| {
            let same = || at((*of, *other)).is_some_and(|other| other.key == here.key);
            *of == partition && *other > offset && same()
        };
        here.deletes || all.iter().any(later)
    }

    fn stands(&self, found: &mut Found) {
        let all = self.places();
        for (partition, offset, value) in &all {
            let batch = self.batch(*value);
            if batch.is_none_or(|batch| batch.partition != *partition) {
                found.insert(Anomaly::Phantom);
            }
            let failed = |event: &Event| matches!(event, Event::Fail { send, .. } if Some(*send) == batch.map(|batch| batch.send));
            if self.history.iter().any(failed) {
                found.insert(Anomaly::G1a);
            }
            for (other_partition, other_offset, other) in &all {
                let same_place = (partition, offset) == (other_partition, other_offset);
                if same_place && value != other {
                    found.insert(Anomaly::InconsistentOffsets);
                }
                let once = batch.is_some_and(|batch| batch.kind == Kind::Idempotent);
                if once && value == other && !same_place {
                    found.insert(Anomaly::Duplicate);
                }
            }
        }
        for read in &self.reads {
            let batch = self.batch(read.record.value);
            if batch.is_some_and(|batch| batch.number > read.number) {
                found.insert(Anomaly::G1c);
            }
            for other in &self.reads {
                let (one, two) = (read.record, other.record);
                let known = one.epoch != Epoch::NONE && two.epoch != Epoch::NONE;
                let falls = one.offset < two.offset && one.epoch > two.epoch;
                let changes = one.offset == two.offset && one.epoch != two.epoch;
                if known && read.partition == other.partition && (falls || changes) {
                    found.insert(Anomaly::EpochOrder);
                }
            }
        }
    }

    fn full(&self, found: &mut Found) {
        for event in self.history {
            match event {
                Event::FullRead {
                    observer,
                    partition,
                    start,
                    end,
                    began,
                    ..
                } => {
                    let mine = |read: &&Standing| {
                        read.observer == *observer && read.partition == *partition
                    };
                    let mine: Vec<_> = self.reads.iter().filter(mine).collect();
                    let at = |offset: i64| {
                        let last = mine.iter().rfind(|read| read.record.offset == offset);
                        last.map(|read| read.record.value)
                    };
                    let inside = *start..*end;
                    let outside = |read: &&Standing| !inside.contains(&read.record.offset);
                    let hole = |offset: i64| {
                        at(offset).is_none() && !self.is_compactable((*partition, offset))
                    };
                    if inside.clone().any(hole)
                        || mine.iter().any(outside)
                        || *start > self.log_start(*partition)
                    {
                        found.insert(Anomaly::Gap);
                    }
                    let gone = |read: &Standing| {
                        let offset = read.record.offset;
                        read.partition == *partition
                            && read.at < *began
                            && offset >= *start
                            && hole(offset)
                    };
                    let mut kept = !self.reads.iter().any(gone);
                    for batch in &self.batches {
                        let Some((base, when, _)) = self.acknowledged(batch) else {
                            continue;
                        };
                        if batch.partition != *partition || when >= *began {
                            continue;
                        }
                        for (place, value) in (0..).zip(batch.values) {
                            kept &= match base.map(|base| base + place) {
                                Some(offset) => {
                                    let gone = at(offset).is_none() && !hole(offset);
                                    offset < *start || at(offset) == Some(*value) || gone
                                }
                                None => {
                                    *start > 0
                                        || self.keyed(*value).is_some()
                                        || mine
                                            .iter()
                                            .any(|read| at(read.record.offset) == Some(*value))
                                }
                            };
                        }
                    }
                    let all = self.places();
                    let of = |offset| self.keyed(self.at(&all, (*partition, offset))?);
                    for read in &mine {
                        let Some(here) = self.keyed(at(read.record.offset).unwrap()) else {
                            continue;
                        };
                        let same = |offset: &i64| of(*offset).is_some_and(|it| it.key == here.key);
                        let places = all.iter().filter(|place| place.0 == *partition);
                        let last = places.map(|place| place.1).filter(same).max();
                        kept &= last.is_none_or(|last| {
                            last <= read.record.offset || last >= *end || at(last).is_some()
                        });
                    }
                    if !kept {
                        found.insert(Anomaly::LostWrite);
                    }
                }
                Event::Settled { at } => {
                    for batch in &self.batches {
                        let Some((base, when, _)) = self.acknowledged(batch) else {
                            continue;
                        };
                        let start = self.log_start(batch.partition);
                        let gone = start > 0 && base.is_none_or(|base| base < start);
                        let seen = |(place, value): (i64, &Value)| {
                            let mut reads = self.reads.iter();
                            let compacted = match base {
                                Some(base) => self.is_compactable((batch.partition, base + place)),
                                None => self.keyed(*value).is_some(),
                            };
                            compacted || reads.any(|read| read.record.value == *value)
                        };
                        if when < *at && !gone && !(0..).zip(batch.values).all(seen) {
                            found.insert(Anomaly::Unseen);
                        }
                    }
                }
                _ => (),
            }
        }
    }

    fn ordered(&self, found: &mut Found) {
        let place = |batch: &Batch<'_>| {
            let told = self.acknowledged(batch).and_then(|(base, ..)| base);
            let read = || {
                let first = batch.values.first()?;
                let of = self.reads.iter().filter(|read| read.record.value == *first);
                of.map(|read| read.record.offset).min()
            };
            match batch.kind {
                Kind::Idempotent => told.or_else(read),
                Kind::Plain => told,
            }
        };
        for (number, first) in self.batches.iter().enumerate() {
            for second in &self.batches[number + 1..] {
                if first.partition != second.partition {
                    continue;
                }
                let same = first.producer == second.producer;
                if let (true, Some(before), Some(after)) = (same, place(first), place(second))
                    && before >= after
                {
                    found.insert(Anomaly::NonmonotonicSend);
                }
                if let (Some((Some(before), _, acked)), Some((Some(after), ..))) =
                    (self.acknowledged(first), self.acknowledged(second))
                    && !same
                    && acked < second.number
                    && after < before + i64::try_from(first.values.len()).unwrap()
                {
                    found.insert(Anomaly::G0);
                }
            }
        }
    }

    /// The first value that was told for a place, reads before acknowledgments.
    fn at(&self, all: &[(Partition, i64, Value)], place: (Partition, i64)) -> Option<Value> {
        let mut all = all.iter();
        all.find(|(partition, offset, _)| (*partition, *offset) == place)
            .map(|(.., value)| *value)
    }

    /// Whether the values of a batch stand in another order, each where it stands first.
    fn is_swapped(&self, all: &[(Partition, i64, Value)], batch: &Batch<'_>) -> bool {
        let stands =
            |(partition, offset, _): &&(Partition, i64, Value)| self.at(all, (*partition, *offset));
        let lowest = |value: &Value| {
            let here = all.iter().filter(|place| stands(place) == Some(*value));
            here.map(|(_, offset, _)| *offset).min()
        };
        let mut pairs = batch.values.windows(2);
        pairs.any(|pair| {
            let (before, after) = (lowest(&pair[0]), lowest(&pair[1]));
            before.is_some() && after.is_some() && before >= after
        })
    }

    fn neighbors(&self, found: &mut Found) {
        let all = self.places();
        let swapped =
            |batch: Option<&Batch<'_>>| batch.is_some_and(|batch| self.is_swapped(&all, batch));
        if self.batches.iter().any(|batch| swapped(Some(batch))) {
            found.insert(Anomaly::IntNonmonotonicSend);
        }
        for (partition, offset, _) in &all {
            let first = self.at(&all, (*partition, *offset));
            let second = self.at(&all, (*partition, offset + 1));
            let (Some(first), Some(second)) = (first, second) else {
                continue;
            };
            let (one, two) = (self.batch(first), self.batch(second));
            let ends = one.is_none_or(|of| of.values.last() == Some(&first));
            let begins = two.is_none_or(|of| of.values.first() == Some(&second));
            let goes_on =
                one.is_some_and(|of| of.values.windows(2).any(|pair| pair == [first, second]));
            let follows = goes_on || (ends && begins);
            if !(follows || swapped(one) || swapped(two)) {
                found.insert(Anomaly::IntSendSkip);
            }
        }
    }

    /// What one observer was shown after another thing.
    fn shown(&self, found: &mut Found) {
        let all = self.places();
        let exists = |partition, from: i64, to: i64| {
            let from = from.max(self.log_start(partition));
            all.iter().any(|(of, offset, _)| {
                let here = *of == partition && (from..to).contains(offset);
                here && !self.is_compactable((*of, *offset))
            })
        };
        for (place, second) in self.reads.iter().enumerate() {
            let before = self.reads[..place].iter();
            let mut mine = before.filter(|read| {
                (read.observer, read.partition) == (second.observer, second.partition)
            });
            let first = mine.next_back();
            let since = first.map_or(0, |first| first.number);
            let between = &self.history[since..second.number];
            let moved = between.iter().rev().find_map(|event| match event {
                Event::Seek {
                    observer,
                    partition,
                    offset,
                    ..
                } if (*observer, *partition) == (second.observer, second.partition) => {
                    Some(offset - 1)
                }
                _ => None,
            });
            let before = moved.or(first.map(|first| first.record.offset));
            let Some(from) = before else {
                continue;
            };
            let within = first.is_some_and(|first| first.number == second.number);
            let to = second.record.offset;
            let kind = match (from >= to, within) {
                (true, true) => Anomaly::IntNonmonotonicPoll,
                (true, false) => Anomaly::NonmonotonicPoll,
                (false, _) if !exists(second.partition, from + 1, to) => continue,
                (false, true) => Anomaly::IntPollSkip,
                (false, false) => Anomaly::PollSkip,
            };
            found.insert(kind);
        }
    }

    /// High watermarks, owners, and positions out of range.
    fn marks(&self, found: &mut Found) {
        for (number, first) in self.history.iter().enumerate() {
            if let Event::OutOfRange {
                partition, offset, ..
            } = first
                && *offset >= self.log_start(*partition)
            {
                found.insert(Anomaly::OutOfRange);
            }
            for (later, second) in self.history.iter().enumerate() {
                if let (Some(one), Some(two)) = (owner(first), owner(second))
                    && one.0 == two.0
                    && one.1 != two.1
                {
                    found.insert(Anomaly::TwoOwners);
                }
                let (Some(one), Some(two)) = (mark(first), mark(second)) else {
                    continue;
                };
                let astray = one.astray || two.astray;
                let follows = one.observer == two.observer && number < later && !astray;
                let same_epoch = one.epoch == two.epoch && one.epoch != Epoch::NONE;
                let after = follows || (same_epoch && one.at < two.began);
                if one.partition == two.partition && after && two.high < one.high {
                    found.insert(Anomaly::HighWatermarkFalls);
                }
            }
        }
    }

    fn committed(&self, found: &mut Found) {
        for (number, event) in self.history.iter().enumerate() {
            match event {
                Event::CommittedRead { offset, began, .. }
                    if !self.committed_read(number, *offset, *began) =>
                {
                    found.insert(Anomaly::CommittedFalls);
                }
                Event::Committed {
                    generation, offset, ..
                } => {
                    let begun = self.history[..number].iter().rposition(|event| {
                        matches!(event, Event::Committing { generation: by, offset: of, .. }
                            if by == generation && of == offset)
                    });
                    let newer = |event: &Event| matches!(event, Event::Committed { generation: by, .. } if by > generation);
                    let before = &self.history[..begun.unwrap_or(0)];
                    if *generation != Generation::NONE && before.iter().any(newer) {
                        found.insert(Anomaly::StaleCommit);
                    }
                }
                _ => (),
            }
        }
    }

    fn committed_read(&self, number: usize, offset: Option<i64>, began: At) -> bool {
        let mut settled: Vec<(At, Generation, i64)> = Vec::new();
        let mut begun: Vec<(Generation, i64)> = Vec::new();
        for before in &self.history[..number] {
            let newest = settled.iter().map(|(_, generation, _)| *generation).max();
            let newest = newest.unwrap_or(Generation::NONE);
            match before {
                Event::Committing {
                    generation, offset, ..
                } => begun.push((*generation, *offset)),
                Event::Committed {
                    generation,
                    offset,
                    at,
                    ..
                } if *generation >= newest => settled.push((*at, *generation, *offset)),
                Event::CommittedRead {
                    offset: Some(offset),
                    at,
                    ..
                } if settled.last().is_none_or(|(.., last)| offset > last) => {
                    settled.push((*at, newest, *offset));
                }
                _ => (),
            }
        }
        let floor = settled.iter().rfind(|(at, ..)| *at < began);
        match (offset, floor) {
            (None, floor) => floor.is_none(),
            (Some(offset), None) => begun.iter().any(|(_, of)| *of == offset),
            (Some(offset), Some((_, generation, floor))) => begun
                .iter()
                .any(|(by, of)| *of == offset && (offset >= *floor || by > generation)),
        }
    }

    fn expected(&self, found: &mut Found) {
        for event in self.history {
            match event {
                Event::Expect {
                    progress,
                    partitions,
                    from,
                    until,
                    within,
                    ..
                } => {
                    for partition in (0..*partitions).map(Partition) {
                        let mut ends = vec![*from, *until];
                        ends.extend(self.happened(*progress, partition));
                        ends.retain(|at| from <= at && at <= until);
                        // Every moment but the last has another one soon after it.
                        let is_late = |at: &At| {
                            let next = ends.iter().filter(|other| *other > at).min();
                            next.is_some_and(|next| next.0 - at.0 > *within)
                        };
                        if ends.iter().any(is_late) {
                            found.insert(match progress {
                                Progress::Acknowledged => Anomaly::StuckProducer,
                                Progress::Read => Anomaly::StuckConsumer,
                                Progress::Committed => Anomaly::StuckCommitter,
                            });
                        }
                    }
                }
                Event::ExpectLag {
                    observers,
                    from,
                    until,
                    within,
                    ..
                } => {
                    for observer in observers {
                        if self.lags(*observer, (*from, *until), *within) {
                            found.insert(Anomaly::RealtimeLag);
                        }
                    }
                }
                Event::ExpectFresh { within } if self.is_stale(*within) => {
                    found.insert(Anomaly::RealtimeLag);
                }
                _ => (),
            }
        }
    }

    fn lags(&self, observer: Observer, (from, until): (At, At), within: u64) -> bool {
        self.batches.iter().any(|batch| {
            let Some((Some(base), at, _)) = self.acknowledged(batch) else {
                return false;
            };
            let last = base + i64::try_from(batch.values.len()).unwrap() - 1;
            let reads = self.reads.iter().filter(|read| {
                read.observer == observer
                    && read.partition == batch.partition
                    && read.record.offset >= last
            });
            let read = reads.map(|read| read.at).min().unwrap_or(until).min(until);
            from <= at && at <= until && read.0.saturating_sub(at.0) > within
        })
    }

    fn is_stale(&self, within: u64) -> bool {
        let mut marks = self.history.iter().filter_map(mark);
        marks.any(|mark| {
            self.batches.iter().any(|batch| {
                let Some((Some(base), at, _)) = self.acknowledged(batch) else {
                    return false;
                };
                batch.partition == mark.partition
                    && at.0 + within < mark.began.0
                    && mark.high < base + i64::try_from(batch.values.len()).unwrap()
            })
        })
    }

    fn happened(&self, progress: Progress, wanted: Partition) -> Vec<At> {
        match progress {
            Progress::Acknowledged => {
                let mine = self.batches.iter();
                let mine = mine.filter(|batch| batch.partition == wanted);
                mine.filter_map(|batch| Some(self.acknowledged(batch)?.1))
                    .collect()
            }
            Progress::Read => {
                let mine = self.reads.iter();
                let mine = mine.filter(|read| read.partition == wanted);
                mine.map(|read| read.at).collect()
            }
            Progress::Committed => {
                let committed = self.history.iter().filter_map(|event| match event {
                    Event::Committed { partition, at, .. } if *partition == wanted => Some(*at),
                    _ => None,
                });
                committed.collect()
            }
        }
    }

    /// What a single event says.
    fn plain(&self, found: &mut Found) {
        for (number, event) in self.history.iter().enumerate() {
            match event {
                Event::Refused { .. } => {
                    found.insert(Anomaly::ProducerState);
                }
                Event::ExpectBack {
                    before,
                    after,
                    allowed,
                    ..
                } if *after > before + allowed => {
                    found.insert(Anomaly::Leak);
                }
                Event::Ok { send, .. } | Event::Fail { send, .. } | Event::Unknown { send, .. } => {
                    let mut begun = self.batches.iter();
                    if !begun.any(|batch| batch.send == *send && batch.number < number) {
                        found.insert(Anomaly::Malformed);
                    }
                }
                _ => (),
            }
        }
    }
}

/// Who leads what, by an event.
fn owner(event: &Event) -> Option<((Partition, Epoch), Broker)> {
    match event {
        Event::Leader {
            partition,
            broker,
            epoch,
            ..
        }
        | Event::Poll {
            partition,
            broker,
            epoch,
            ..
        } if *epoch != Epoch::NONE => Some(((*partition, *epoch), *broker)),
        _ => None,
    }
}

struct Mark {
    observer: Observer,
    partition: Partition,
    epoch: Epoch,
    astray: bool,
    began: At,
    at: At,
    high: i64,
}

fn mark(event: &Event) -> Option<Mark> {
    match event {
        Event::Poll {
            observer,
            partition,
            epoch,
            astray,
            began,
            high_watermark,
            at,
            ..
        } => Some(Mark {
            observer: *observer,
            partition: *partition,
            epoch: *epoch,
            astray: *astray,
            began: *began,
            at: *at,
            high: *high_watermark,
        }),
        _ => None,
    }
}
