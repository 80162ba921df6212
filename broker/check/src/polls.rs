//! What each reader is shown: poll-skip, nonmonotonic-poll (and int-), out-of-range,
//! high-watermark-falls, two-owners.

use std::collections::{BTreeMap, HashMap};

use super::anomaly::{Anomaly, Report};
use super::history::{At, Broker, Epoch, Event, Observer, Partition, Record};
use super::index::{Index, Polled};

pub(crate) fn check(history: &[Event], index: &Index<'_>, report: &mut Report) {
    let mut readers: HashMap<(Observer, Partition), Reader> = HashMap::new();
    let mut polls = index.polls.iter();
    for event in history {
        match event {
            Event::Poll { .. } => {
                let Some(poll) = polls.next() else {
                    continue;
                };
                let of = (poll.observer, poll.partition);
                readers.entry(of).or_default().poll(index, poll, report);
            }
            Event::Seek {
                observer,
                partition,
                offset,
                ..
            } => {
                let reader = readers.entry((*observer, *partition)).or_default();
                reader.position = None;
                reader.seek = Some(*offset);
            }
            Event::OutOfRange {
                observer,
                partition,
                broker,
                offset,
                ..
            } if *offset >= index.log_start(*partition) => {
                report.add(Anomaly::OutOfRange, || {
                    format!(
                        "observer {observer} in partition {partition}: broker {broker} says that \
                         {offset} is out of range"
                    )
                });
            }
            _ => (),
        }
    }
    high_watermarks(index, report);
    owners(history, report);
}

#[derive(Default)]
struct Reader {
    /// Offset read last.
    position: Option<i64>,
    /// Where it was put, until it has read something.
    seek: Option<i64>,
    high_watermark: Option<i64>,
}

impl Reader {
    fn poll(&mut self, index: &Index<'_>, poll: &Polled<'_>, report: &mut Report) {
        let who = || {
            format!(
                "observer {} in partition {}, broker {}",
                poll.observer, poll.partition, poll.broker
            )
        };
        if !poll.astray {
            let highest = self.high_watermark.unwrap_or(poll.high_watermark);
            if poll.high_watermark < highest {
                report.add(Anomaly::HighWatermarkFalls, || {
                    format!("{}: {highest}, then {}", who(), poll.high_watermark)
                });
            }
            self.high_watermark = Some(highest.max(poll.high_watermark));
        }
        let before = self.position.or_else(|| Some(self.seek?.saturating_sub(1)));
        let mut last = before;
        for (number, record) in poll.records.iter().enumerate() {
            let kinds = match number {
                0 => (Anomaly::NonmonotonicPoll, Anomaly::PollSkip),
                _ => (Anomaly::IntNonmonotonicPoll, Anomaly::IntPollSkip),
            };
            if let Some(last) = last {
                step(index, poll.partition, last, record, kinds, &who, report);
            }
            last = Some(record.offset);
        }
        if !poll.records.is_empty() {
            self.seek = None;
        }
        self.position = last.filter(|_| self.seek.is_none());
    }
}

/// From one record to the next: forward, and past nothing that exists.
fn step(
    index: &Index<'_>,
    partition: Partition,
    last: i64,
    record: &Record,
    (back, skip): (Anomaly, Anomaly),
    who: &dyn Fn() -> String,
    report: &mut Report,
) {
    let offset = record.offset;
    if offset <= last {
        report.add(back, || format!("{}: {last}, then {offset}", who()));
        return;
    }
    let Some(known) = index.known.get(&partition) else {
        return;
    };
    let from = last.saturating_add(1).max(known.log_start);
    if from >= offset {
        return;
    }
    let mut missed = known.values.range(from..offset);
    if let Some((missed, value)) = missed.find(|(at, _)| !index.is_compactable(partition, **at)) {
        report.add(skip, || {
            format!(
                "{}: {last}, then {offset}; at {missed} there is {value}",
                who()
            )
        });
    }
}

/// Within one epoch: an answer to a question that was asked after another answer came shows no less.
fn high_watermarks(index: &Index<'_>, report: &mut Report) {
    let mut epochs: BTreeMap<(Partition, Epoch), Vec<&Polled<'_>>> = BTreeMap::new();
    let known = index.polls.iter().filter(|poll| poll.epoch != Epoch::NONE);
    for poll in known {
        let of = epochs.entry((poll.partition, poll.epoch)).or_default();
        of.push(poll);
    }
    for ((partition, epoch), mut polls) in epochs {
        polls.sort_by_key(|poll| poll.at);
        let mut highest: Vec<(At, i64)> = Vec::with_capacity(polls.len());
        for poll in &polls {
            let before = highest.last().map_or(i64::MIN, |(_, highest)| *highest);
            highest.push((poll.at, before.max(poll.high_watermark)));
        }
        for poll in &polls {
            let ended = highest.partition_point(|(at, _)| *at < poll.began);
            let floor = ended.checked_sub(1).and_then(|last| highest.get(last));
            if let Some((_, floor)) = floor
                && poll.high_watermark < *floor
            {
                report.add(Anomaly::HighWatermarkFalls, || {
                    format!(
                        "partition {partition} in epoch {epoch}: {floor} had been shown, observer \
                         {} is shown {} by broker {}",
                        poll.observer, poll.high_watermark, poll.broker
                    )
                });
            }
        }
    }
}

/// Who led in each epoch, by what anybody named and by who served it.
fn owners(history: &[Event], report: &mut Report) {
    let mut owners: HashMap<(Partition, Epoch), Broker> = HashMap::new();
    for event in history {
        let (Event::Leader {
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
        }) = event
        else {
            continue;
        };
        if *epoch == Epoch::NONE {
            continue;
        }
        let first = *owners.entry((*partition, *epoch)).or_insert(*broker);
        if first != *broker {
            report.add(Anomaly::TwoOwners, || {
                format!("partition {partition} in epoch {epoch}: brokers {first} and {broker}")
            });
        }
    }
}
