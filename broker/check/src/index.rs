//! The history by what the checks ask for.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::anomaly::{Anomaly, Report};
use super::history::{At, Broker, Epoch, Event, Key, Keyed, Kind, Observer, Partition, Producer};
use super::history::{Record, SendId, Value};

/// A batch as far as it is known.
pub(crate) struct Sent<'a> {
    pub(crate) producer: Producer,
    pub(crate) kind: Kind,
    pub(crate) partition: Partition,
    pub(crate) values: &'a [Value],
    /// Place of its beginning in the history.
    pub(crate) number: usize,
    /// Offset of its first value, if that was told, and when.
    pub(crate) acknowledged: Option<(Option<i64>, At)>,
    pub(crate) failed: bool,
}

impl Sent<'_> {
    /// Each value with the offset that was acknowledged for it.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (i64, Value)> {
        let base = self.acknowledged.and_then(|(base, _)| base);
        let from = |base: i64| {
            let numbered = (0..).zip(self.values);
            numbered.map(move |(place, value)| (base.saturating_add(place), *value))
        };
        base.map(from).into_iter().flatten()
    }

    /// The offset after its last value.
    pub(crate) fn end(&self, base: i64) -> i64 {
        base.saturating_add(i64::try_from(self.values.len()).unwrap_or(i64::MAX))
    }
}

/// One answer to one fetch.
pub(crate) struct Polled<'a> {
    pub(crate) observer: Observer,
    pub(crate) partition: Partition,
    pub(crate) broker: Broker,
    pub(crate) epoch: Epoch,
    pub(crate) astray: bool,
    pub(crate) began: At,
    pub(crate) records: &'a [Record],
    pub(crate) high_watermark: i64,
    pub(crate) at: At,
}

/// What is known of one partition's log from all who read it or were acknowledged.
#[derive(Default)]
pub(crate) struct Known {
    /// The first value that was told for each offset.
    pub(crate) values: BTreeMap<i64, Value>,
    /// When an offset was first read.
    pub(crate) first_read: BTreeMap<i64, At>,
    /// Below it records may be gone.
    pub(crate) log_start: i64,
    /// Where the last record of each key stands.
    pub(crate) last_of_key: BTreeMap<Key, i64>,
}

#[derive(Default)]
pub(crate) struct Index<'a> {
    pub(crate) sends: BTreeMap<SendId, Sent<'a>>,
    /// The batch of a value, and its place there.
    pub(crate) written: HashMap<Value, (SendId, usize)>,
    pub(crate) polls: Vec<Polled<'a>>,
    pub(crate) by_observer: BTreeMap<(Observer, Partition), Vec<usize>>,
    pub(crate) known: BTreeMap<Partition, Known>,
    /// Values that were read when nobody had yet begun to write them.
    pub(crate) early: HashSet<Value>,
    /// Records that have a key.
    pub(crate) keyed: HashMap<Value, Keyed>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(history: &'a [Event], report: &mut Report) -> Self {
        let mut index = Self::default();
        for (number, event) in history.iter().enumerate() {
            index.add(number, event, report);
        }
        for sent in index.sends.values() {
            let known = index.known.entry(sent.partition).or_default();
            for (offset, value) in sent.placed() {
                known.values.entry(offset).or_insert(value);
            }
        }
        for known in index.known.values_mut() {
            for (offset, value) in &known.values {
                if let Some(of) = index.keyed.get(value) {
                    known.last_of_key.insert(of.key, *offset);
                }
            }
        }
        index
    }

    /// Whether log compaction may have taken what stands there: a later record of its key is known,
    /// or it deletes its key.
    pub(crate) fn is_compactable(&self, partition: Partition, offset: i64) -> bool {
        let known = self.known.get(&partition);
        let found = known.and_then(|known| Some((known, known.values.get(&offset)?)));
        found.is_some_and(|(known, value)| {
            self.keyed.get(value).is_some_and(|of| {
                of.deletes
                    || known
                        .last_of_key
                        .get(&of.key)
                        .is_some_and(|last| *last > offset)
            })
        })
    }

    /// The batch that a value belongs to, and the value's place there.
    pub(crate) fn batch_of(&self, value: Value) -> Option<(SendId, usize, &Sent<'a>)> {
        let (id, place) = *self.written.get(&value)?;
        Some((id, place, self.sends.get(&id)?))
    }

    /// Below it records may be gone.
    pub(crate) fn log_start(&self, partition: Partition) -> i64 {
        self.known
            .get(&partition)
            .map_or(0, |known| known.log_start)
    }

    fn add(&mut self, number: usize, event: &'a Event, report: &mut Report) {
        match event {
            Event::Send {
                send,
                producer,
                kind,
                partition,
                values,
                ..
            } => {
                let sent = Sent {
                    producer: *producer,
                    kind: *kind,
                    partition: *partition,
                    values,
                    number,
                    acknowledged: None,
                    failed: false,
                };
                self.begin(*send, sent, report);
            }
            Event::Ok { send, offset, at } => self.end(*send, report, |sent, report| {
                report.acknowledged += sent.values.len();
                sent.acknowledged = Some((*offset, *at));
            }),
            Event::Fail { send, .. } => self.end(*send, report, |sent, _| sent.failed = true),
            Event::Unknown { send, .. } => self.end(*send, report, |sent, report| {
                report.unknown += sent.values.len();
            }),
            Event::Poll { .. } => self.poll(event, report),
            Event::Keyed { records, .. } => {
                let of = records.iter().map(|record| (record.value, *record));
                self.keyed.extend(of);
            }
            Event::LogStart {
                partition, offset, ..
            } => {
                let known = self.known.entry(*partition).or_default();
                known.log_start = known.log_start.max(*offset);
            }
            Event::FullRead { .. } => report.full_reads += 1,
            Event::Refused {
                producer,
                partition,
                broker,
                reason,
                ..
            } => report.add(Anomaly::ProducerState, || {
                format!(
                    "producer {producer} in partition {partition}, by broker {broker}: {reason}"
                )
            }),
            _ => (),
        }
    }

    fn begin(&mut self, id: SendId, sent: Sent<'a>, report: &mut Report) {
        report.sent += sent.values.len();
        for (place, value) in sent.values.iter().enumerate() {
            if self.written.insert(*value, (id, place)).is_some() {
                report.add(Anomaly::Malformed, || {
                    format!("value {value} is sent twice")
                });
            }
        }
        if self.sends.insert(id, sent).is_some() {
            report.add(Anomaly::Malformed, || format!("batch {id} begins twice"));
        }
    }

    fn end(&mut self, id: SendId, report: &mut Report, end: impl FnOnce(&mut Sent, &mut Report)) {
        match self.sends.get_mut(&id) {
            Some(sent) => end(sent, report),
            None => report.add(Anomaly::Malformed, || {
                format!("batch {id} ends and never began")
            }),
        }
    }

    fn poll(&mut self, event: &'a Event, report: &mut Report) {
        let Event::Poll {
            observer,
            partition,
            broker,
            epoch,
            astray,
            began,
            records,
            high_watermark,
            at,
        } = event
        else {
            return;
        };
        report.reads += records.len();
        let known = self.known.entry(*partition).or_default();
        for record in records {
            known.values.entry(record.offset).or_insert(record.value);
            known.first_read.entry(record.offset).or_insert(*at);
            if !self.written.contains_key(&record.value) {
                self.early.insert(record.value);
            }
        }
        let of = self.by_observer.entry((*observer, *partition)).or_default();
        of.push(self.polls.len());
        self.polls.push(Polled {
            observer: *observer,
            partition: *partition,
            broker: *broker,
            epoch: *epoch,
            astray: *astray,
            began: *began,
            records,
            high_watermark: *high_watermark,
            at: *at,
        });
    }
}
