//! Violations planted one by one, and random histories against the oracle.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::oracle::broken;
use super::*;

const FULL: Observer = Observer(100);

/// Writes a history as a cluster without a fault would make it.
#[derive(Default)]
struct Writer {
    events: Vec<Event>,
    now: u64,
    values: u64,
}

impl Writer {
    fn tick(&mut self) -> At {
        self.now += 1_000;
        At(self.now)
    }

    fn invoke(&mut self, producer: u32, kind: Kind, partition: i32) -> Value {
        self.values += 1;
        let (value, at) = (Value(self.values), self.tick());
        self.events.push(Event::Invoke {
            value,
            producer: Producer(producer),
            kind,
            partition: Partition(partition),
            at,
        });
        value
    }

    fn ok(&mut self, value: Value, offset: impl Into<Option<i64>>) {
        let (at, offset) = (self.tick(), offset.into());
        self.events.push(Event::Ok { value, offset, at });
    }

    fn read(&mut self, observer: Observer, partition: i32, offset: i64, value: Value) {
        let at = self.tick();
        self.events.push(Event::Read {
            observer,
            partition: Partition(partition),
            broker: Broker(1),
            offset,
            value,
            at,
        });
    }

    fn mark(&mut self, high_watermark: i64) {
        let at = self.tick();
        self.events.push(Event::HighWatermark {
            observer: Observer(1),
            partition: Partition(0),
            broker: Broker(1),
            high_watermark,
            at,
        });
    }

    fn full(&mut self, log: &[Value]) {
        self.full_to(log, i64::try_from(log.len()).unwrap());
    }

    fn full_to(&mut self, log: &[Value], end: i64) {
        let began = self.tick();
        for (offset, value) in (0..).zip(log) {
            self.read(FULL, 0, offset, *value);
        }
        self.events.push(Event::FullRead {
            observer: FULL,
            partition: Partition(0),
            broker: Broker(1),
            end,
            began,
        });
    }

    fn kinds(&self) -> BTreeSet<ViolationKind> {
        let report = check(&self.events);
        let found = report.violations.iter().map(|violation| violation.kind);
        let found: BTreeSet<_> = found.collect();
        assert_eq!(found, broken(&self.events), "{:?}", report.violations);
        found
    }

    fn only(&self, kind: ViolationKind) {
        assert_eq!(self.kinds(), BTreeSet::from([kind]));
    }
}

/// Three acknowledged values of an idempotent producer in partition 0.
fn three() -> (Writer, [Value; 3]) {
    let mut writer = Writer::default();
    let values = [0, 1, 2].map(|offset| {
        let value = writer.invoke(1, Kind::Idempotent, 0);
        writer.ok(value, offset);
        value
    });
    (writer, values)
}

#[test]
fn a_history_without_a_fault_is_clean() {
    let (mut writer, values) = three();
    let unknown = writer.invoke(2, Kind::Plain, 0);
    let at = writer.tick();
    writer.events.push(Event::Unknown { value: unknown, at });
    writer.mark(3);
    writer.full(&[values[0], values[1], values[2], unknown, unknown]);
    assert_eq!(writer.kinds(), BTreeSet::new());
    let report = check(&writer.events);
    let counts = (report.invoked, report.acknowledged, report.unknown);
    assert_eq!((counts, report.reads, report.full_reads), ((4, 3, 1), 5, 1));
    assert_eq!(report.gaps.len(), 0, "nothing was expected");
}

#[test]
fn a_lost_acknowledged_value_is_found() {
    let (mut writer, values) = three();
    writer.full(&values[..2]);
    writer.only(ViolationKind::Lost);
    let (mut writer, values) = three();
    let silent = writer.invoke(1, Kind::Idempotent, 0);
    writer.ok(silent, None);
    writer.full(&values);
    writer.only(ViolationKind::Lost);
}

#[test]
fn what_is_acknowledged_after_a_full_read_began_may_be_missing_from_it() {
    let (mut writer, values) = three();
    writer.full(&values);
    let late = writer.invoke(1, Kind::Idempotent, 0);
    writer.ok(late, 3);
    assert_eq!(writer.kinds(), BTreeSet::new());
}

#[test]
fn a_record_that_was_read_and_is_gone_is_found() {
    let (mut writer, values) = three();
    let unknown = writer.invoke(1, Kind::Idempotent, 0);
    writer.read(Observer(1), 0, 3, unknown);
    writer.full(&values);
    writer.only(ViolationKind::ReadLost);
}

#[test]
fn two_values_at_one_offset_are_found() {
    let (mut writer, values) = three();
    let other = writer.invoke(2, Kind::Plain, 0);
    writer.read(Observer(1), 0, 2, other);
    writer.full(&values);
    writer.only(ViolationKind::TwoValues);
    // By acknowledgments alone.
    let (mut writer, _) = three();
    let other = writer.invoke(2, Kind::Plain, 0);
    writer.ok(other, 2);
    writer.only(ViolationKind::TwoValues);
}

#[test]
fn a_duplicate_of_an_idempotent_producer_is_found_and_one_of_a_plain_producer_is_allowed() {
    let (mut writer, [a, b, c]) = three();
    writer.full(&[a, b, c, c]);
    writer.only(ViolationKind::Duplicate);
    let mut writer = Writer::default();
    let value = writer.invoke(1, Kind::Plain, 0);
    writer.ok(value, 1);
    writer.full(&[value, value]);
    assert_eq!(writer.kinds(), BTreeSet::new());
}

#[test]
fn a_value_that_nobody_wrote_there_is_found() {
    let (mut writer, [a, b, c]) = three();
    writer.full(&[a, b, c, Value(77)]);
    writer.only(ViolationKind::Phantom);
    let (mut writer, [a, b, c]) = three();
    let elsewhere = writer.invoke(2, Kind::Plain, 1);
    writer.full(&[a, b, c, elsewhere]);
    writer.only(ViolationKind::Phantom);
    let (mut writer, [a, b, c]) = three();
    let failed = writer.invoke(2, Kind::Plain, 0);
    let at = writer.tick();
    writer.events.push(Event::Fail { value: failed, at });
    writer.full(&[a, b, c, failed]);
    writer.only(ViolationKind::Phantom);
}

#[test]
fn an_offset_without_a_record_is_found_even_if_it_was_never_acknowledged() {
    let (mut writer, values) = three();
    writer.full_to(&values, 4);
    writer.only(ViolationKind::Gap);
    let (mut writer, values) = three();
    let late = writer.invoke(1, Kind::Idempotent, 0);
    writer.read(FULL, 0, 4, late);
    let began = writer.tick();
    for (offset, value) in (5..).zip(values) {
        let of = writer.invoke(3, Kind::Plain, 0);
        let _ = (offset, value, of);
    }
    writer.events.push(Event::FullRead {
        observer: FULL,
        partition: Partition(0),
        broker: Broker(1),
        end: 5,
        began,
    });
    assert!(writer.kinds().contains(&ViolationKind::Gap));
}

#[test]
fn a_record_beyond_the_high_watermark_is_found() {
    let (mut writer, values) = three();
    let early = writer.invoke(1, Kind::Idempotent, 0);
    writer.full_to(&[values[0], values[1], values[2], early], 3);
    writer.only(ViolationKind::Gap);
}

#[test]
fn another_order_than_that_of_the_producer_is_found() {
    let mut writer = Writer::default();
    let (a, b) = (
        writer.invoke(1, Kind::Plain, 0),
        writer.invoke(1, Kind::Plain, 0),
    );
    writer.ok(a, 1);
    writer.ok(b, 0);
    writer.full(&[b, a]);
    writer.only(ViolationKind::Order);
    // An idempotent producer's order holds without acknowledgments.
    let mut writer = Writer::default();
    let values = [0; 2].map(|_| writer.invoke(1, Kind::Idempotent, 0));
    writer.full(&[values[1], values[0]]);
    writer.only(ViolationKind::Order);
}

#[test]
fn a_high_watermark_that_falls_is_found() {
    let (mut writer, values) = three();
    writer.mark(2);
    writer.mark(1);
    writer.mark(2);
    writer.full(&values);
    writer.only(ViolationKind::HighWatermark);
}

#[test]
fn a_reader_that_is_sent_back_is_found() {
    let (mut writer, [a, b, _]) = three();
    writer.read(Observer(1), 0, 1, b);
    writer.read(Observer(1), 0, 0, a);
    writer.only(ViolationKind::ReadBack);
    let (mut writer, _) = three();
    let at = writer.tick();
    writer.events.push(Event::OutOfRange {
        observer: Observer(1),
        partition: Partition(0),
        broker: Broker(2),
        offset: 3,
        at,
    });
    writer.only(ViolationKind::ReadBack);
}

#[test]
fn a_committed_offset_that_is_not_what_was_committed_is_found() {
    let partition = Partition(0);
    for (acknowledged, read, right) in [
        (true, Some(7), true),
        (true, Some(8), true),
        (true, Some(6), false),
        (true, None, false),
        (true, Some(9), false),
        (false, None, true),
        (false, Some(7), true),
    ] {
        let mut writer = Writer::default();
        for offset in [6, 7, 8] {
            let at = writer.tick();
            let begin = Event::Committing {
                partition,
                offset,
                at,
            };
            writer.events.push(begin);
            if acknowledged && offset < 8 {
                let at = writer.tick();
                let end = Event::Committed {
                    partition,
                    offset,
                    at,
                };
                writer.events.push(end);
            }
        }
        let at = writer.tick();
        writer.events.push(Event::CommittedRead {
            partition,
            offset: read,
            at,
        });
        let expected = (!right).then_some(ViolationKind::Committed);
        assert_eq!(writer.kinds(), expected.into_iter().collect(), "{read:?}");
    }
}

#[test]
fn missed_progress_and_refused_producers_are_found() {
    // Acknowledged at 2, 4 and 6 ms.
    let expect = |from, until, within| Event::Expect {
        name: "test".to_owned(),
        progress: Progress::Acknowledged,
        partitions: 1,
        from: At(from),
        until: At(until),
        within,
    };
    for (from, until, within, gap) in [
        (5_500, 6_000, 500, 500),
        (5_500, 6_000, 499, 500),
        (0, 6_000, 2_000, 2_000),
        (0, 6_000, 1_999, 2_000),
        // After the last one, and where there was none.
        (3_000, 9_000, 3_000, 3_000),
        (3_000, 9_000, 2_999, 3_000),
        (7_000, 9_000, 1_999, 2_000),
    ] {
        let (mut writer, values) = three();
        writer.events.push(expect(from, until, within));
        writer.full(&values);
        let late = (within < gap).then_some(ViolationKind::Progress);
        assert_eq!(
            writer.kinds(),
            late.into_iter().collect(),
            "{from} {within}"
        );
        let (_, _, longest) = check(&writer.events).gaps[0];
        assert_eq!((longest.length, longest.partition), (gap, Partition(0)));
    }
    let (mut writer, values) = three();
    for progress in [Progress::Read, Progress::Committed] {
        writer.events.push(Event::Expect {
            name: "test".to_owned(),
            progress,
            partitions: 1,
            from: At(6_000),
            until: At(12_000),
            within: 5_000,
        });
    }
    writer.full(&values);
    writer.only(ViolationKind::Progress);
    let report = check(&writer.events);
    assert_eq!(report.violation_count, 1, "it was read, and not committed");
    let (mut writer, _) = three();
    let at = writer.tick();
    writer.events.push(Event::Refused {
        producer: Producer(1),
        partition: Partition(0),
        broker: Broker(1),
        reason: "OUT_OF_ORDER_SEQUENCE_NUMBER".to_owned(),
        at,
    });
    writer.only(ViolationKind::ProducerState);
}

#[test]
fn a_malformed_history_is_reported_and_never_panics() {
    let mut writer = Writer::default();
    writer.ok(Value(5), 3);
    let report = check(&writer.events);
    assert_eq!(report.violations[0].kind, ViolationKind::Malformed);
}

#[test]
fn violations_beyond_the_bound_are_counted() {
    let mut writer = Writer::default();
    for offset in 0..300 {
        writer.read(Observer(1), 0, offset, Value(1_000 + offset.unsigned_abs()));
    }
    let report = check(&writer.events);
    assert_eq!(report.violations.len(), REPORTED_MAX);
    assert_eq!(report.violation_count, 300);
}

/// A step of a random history over 2 partitions, 3 producers and a log that forgets, repeats and
/// swaps now and then.
fn step() -> impl Strategy<Value = (u8, u32, i32, i64)> {
    (0..22_u8, 0..3_u32, 0..2_i32, 0..8_i64)
}

#[derive(Default)]
struct Random {
    writer: Writer,
    logs: [Vec<Value>; 2],
    pending: Vec<(Value, i32)>,
    observers: u32,
}

impl Random {
    fn step(&mut self, (what, producer, partition, number): (u8, u32, i32, i64)) {
        let log = usize::try_from(partition).unwrap();
        let position = usize::try_from(number).unwrap();
        let kind = match producer {
            0 => Kind::Plain,
            _ => Kind::Idempotent,
        };
        match what {
            0..=6 => {
                let value = self.writer.invoke(producer, kind, partition);
                self.logs[log].push(value);
                let offset = i64::try_from(self.logs[log].len()).unwrap() - 1;
                self.writer.ok(value, (what > 0).then_some(offset));
            }
            7..=8 => {
                let value = self.writer.invoke(producer, kind, partition);
                self.pending.push((value, partition));
                self.logs[log].push(value);
            }
            9..=13 => self.full(partition, 0),
            14 => self.full(partition, number - 4),
            15 if position < self.logs[log].len() => {
                self.logs[log].remove(position);
            }
            16 if position < self.logs[log].len() => {
                let again = self.logs[log][position];
                self.logs[log].push(again);
            }
            17 if position + 1 < self.logs[log].len() => {
                self.logs[log].swap(position, position + 1)
            }
            18 => {
                if let Some((value, _)) = self.pending.pop() {
                    let at = self.writer.tick();
                    self.writer.events.push(Event::Fail { value, at });
                }
            }
            19 => self.writer.mark(number),
            20 => self.commit(partition, number),
            21 => {
                let from = At(self.writer.now.saturating_sub(3_000));
                self.writer.events.push(Event::Expect {
                    name: "random".to_owned(),
                    progress: Progress::ALL[position % 3],
                    partitions: 2,
                    from,
                    until: At(from.0 + u64::from(producer) * 4_000),
                    within: number.unsigned_abs() * 1_000,
                });
            }
            _ => {
                if let Some(value) = self.logs[log].get(position).copied() {
                    self.writer
                        .read(Observer(producer), partition, number, value);
                }
            }
        }
    }

    fn commit(&mut self, partition: i32, number: i64) {
        let (partition, at) = (Partition(partition), self.writer.tick());
        let offset = number / 3;
        self.writer.events.push(match number % 3 {
            0 => Event::Committing {
                partition,
                offset,
                at,
            },
            1 => Event::Committed {
                partition,
                offset,
                at,
            },
            _ => Event::CommittedRead {
                partition,
                offset: Some(offset),
                at,
            },
        });
    }

    fn full(&mut self, partition: i32, change: i64) {
        self.observers += 1;
        let observer = Observer(1_000 + self.observers);
        let began = self.writer.tick();
        let log = self.logs[usize::try_from(partition).unwrap()].clone();
        for (offset, value) in (0..).zip(&log) {
            self.writer.read(observer, partition, offset, *value);
        }
        let end = (i64::try_from(log.len()).unwrap() + change).max(0);
        self.writer.events.push(Event::FullRead {
            observer,
            partition: Partition(partition),
            broker: Broker(1),
            end,
            began,
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_checker_agrees_with_the_oracle(steps in prop::collection::vec(step(), 0..40)) {
        let mut random = Random::default();
        for step in steps {
            random.step(step);
        }
        let events = random.writer.events;
        let found = check(&events).violations.iter().map(|violation| violation.kind).collect();
        prop_assert_eq!(broken(&events), found);
    }
}
