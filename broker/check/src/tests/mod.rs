//! Each anomaly by a history that shows it and one that nearly does, random histories against a
//! second statement of the same rules, and the model of the log.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod anomalies;
mod model;
mod oracle;
mod planted;
mod random;

use std::collections::BTreeSet;

use super::*;

const FULL: Observer = Observer(100);
const HOME: Partition = Partition(0);
const GROUP: Group = Group(1);

/// Writes a history, one millisecond an event, in partition 0 and epoch 1 of broker 1 unless said
/// otherwise.
#[derive(Debug, Default, Clone)]
struct Writer {
    events: Vec<Event>,
    now: u64,
    values: u64,
    sends: u64,
}

impl Writer {
    fn tick(&mut self) -> At {
        self.now += 1_000;
        At(self.now)
    }

    fn add(&mut self, event: impl FnOnce(At) -> Event) {
        let at = self.tick();
        self.events.push(event(at));
    }

    fn send(&mut self, producer: u32, kind: Kind, partition: Partition, count: u64) -> Sending {
        self.sends += 1;
        let send = SendId(self.sends);
        let values: Vec<Value> = (1..=count).map(|of| Value(self.values + of)).collect();
        self.values += count;
        let of = values.clone();
        self.add(|at| Event::Send {
            send,
            producer: Producer(producer),
            kind,
            partition,
            values: of,
            at,
        });
        Sending { send, values }
    }

    /// One value of an idempotent producer.
    fn one(&mut self, producer: u32) -> Sending {
        self.send(producer, Kind::Idempotent, HOME, 1)
    }

    fn ok(&mut self, sending: &Sending, offset: impl Into<Option<i64>>) {
        let (send, offset) = (sending.send, offset.into());
        self.add(|at| Event::Ok { send, offset, at });
    }

    fn poll(&mut self, observer: u32, records: &[(i64, Value)]) {
        let end = records.last().map_or(0, |(offset, _)| offset + 1);
        self.poll_as(Observer(observer), (1, 1), records, end);
    }

    /// A poll of a broker in an epoch, with a high watermark.
    fn poll_as(
        &mut self,
        observer: Observer,
        (broker, epoch): (i32, i32),
        records: &[(i64, Value)],
        high_watermark: i64,
    ) {
        let began = self.tick();
        let record = |(offset, value): &(i64, Value)| Record {
            offset: *offset,
            value: *value,
            epoch: Epoch::NONE,
        };
        let records = records.iter().map(record).collect();
        self.add(|at| Event::Poll {
            observer,
            partition: HOME,
            broker: Broker(broker),
            epoch: Epoch(epoch),
            astray: false,
            began,
            records,
            high_watermark,
            at,
        });
    }

    fn mark(&mut self, high_watermark: i64) {
        self.poll_as(Observer(1), (1, -1), &[], high_watermark);
    }

    /// A full read of a log that begins at 0.
    fn full(&mut self, log: &[Value]) {
        self.full_to(log, i64::try_from(log.len()).unwrap());
    }

    fn full_to(&mut self, log: &[Value], end: i64) {
        let records: Vec<(i64, Value)> = (0..).zip(log.iter().copied()).collect();
        self.full_of(FULL, HOME, &records, 0, end);
    }

    fn full_of(
        &mut self,
        observer: Observer,
        partition: Partition,
        records: &[(i64, Value)],
        start: i64,
        end: i64,
    ) {
        let began = self.tick();
        let record = |(offset, value): &(i64, Value)| Record {
            offset: *offset,
            value: *value,
            epoch: Epoch::NONE,
        };
        let records = records.iter().map(record).collect();
        self.add(|at| Event::Poll {
            observer,
            partition,
            broker: Broker(1),
            epoch: Epoch::NONE,
            astray: false,
            began,
            records,
            high_watermark: end,
            at,
        });
        self.events.push(Event::FullRead {
            observer,
            partition,
            broker: Broker(1),
            start,
            end,
            began,
        });
    }

    fn committing(&mut self, generation: i32, offset: i64) {
        self.add(|at| Event::Committing {
            group: GROUP,
            generation: Generation(generation),
            partition: HOME,
            offset,
            at,
        });
    }

    fn committed(&mut self, generation: i32, offset: i64) {
        self.add(|at| Event::Committed {
            group: GROUP,
            generation: Generation(generation),
            partition: HOME,
            offset,
            at,
        });
    }

    fn committed_read(&mut self, offset: Option<i64>) {
        let began = self.tick();
        self.add(|at| Event::CommittedRead {
            group: GROUP,
            partition: HOME,
            offset,
            began,
            at,
        });
    }

    /// What the checker finds, which is what the oracle finds.
    fn kinds(&self) -> BTreeSet<Anomaly> {
        let report = check(&self.events);
        let found = report.violations.iter().map(|violation| violation.anomaly);
        let found: BTreeSet<_> = found.collect();
        assert_eq!(
            found,
            oracle::broken(&self.events),
            "{:#?}",
            report.violations
        );
        found
    }
}

/// A batch that a [`Writer`] began.
#[derive(Debug, Clone)]
struct Sending {
    send: SendId,
    values: Vec<Value>,
}

impl Sending {
    fn value(&self) -> Value {
        self.values[0]
    }
}

/// Three acknowledged values of an idempotent producer in partition 0.
fn three() -> (Writer, [Value; 3]) {
    let mut writer = Writer::default();
    let values = [0, 1, 2].map(|offset| {
        let sending = writer.one(1);
        writer.ok(&sending, offset);
        sending.value()
    });
    (writer, values)
}
