//! Time and resources: stuck-producer, stuck-consumer, stuck-committer, realtime-lag, leak.

use std::collections::{BTreeMap, HashMap};

use super::anomaly::{Anomaly, Gap, Lag, Report};
use super::history::{At, Event, Observer, Partition, Progress};
use super::index::Index;

pub(crate) fn check(history: &[Event], index: &Index<'_>, report: &mut Report) {
    let times = times(history, index);
    for event in history {
        match event {
            Event::Expect {
                name,
                progress,
                partitions,
                from,
                until,
                within,
            } => {
                let gap = |number| {
                    let partition = Partition(number);
                    let times = times.get(&(*progress, partition));
                    let times = times.map_or(&[][..], Vec::as_slice);
                    longest(times, *from, *until, partition)
                };
                let gaps: Vec<Gap> = (0..*partitions).map(gap).collect();
                if let Some(longest) = gaps.iter().max_by_key(|gap| gap.length) {
                    report.gaps.push((name.clone(), *progress, *longest));
                }
                for gap in gaps.iter().filter(|gap| gap.length > *within) {
                    stuck(name, *progress, gap, *within, report);
                }
            }
            Event::ExpectLag {
                name,
                observers,
                from,
                until,
                within,
            } => {
                let worst = observers
                    .iter()
                    .filter_map(|observer| lag(index, *observer, *from, *until))
                    .max_by_key(|lag| lag.length);
                behind(name, worst, *within, report);
            }
            Event::ExpectFresh { within } => fresh(index, *within, report),
            Event::ExpectBack {
                broker,
                resource,
                before,
                after,
                allowed,
            } if *after > before.saturating_add(*allowed) => report.add(Anomaly::Leak, || {
                format!("broker {broker}: {resource:?} {before}, then {after}")
            }),
            _ => (),
        }
    }
}

fn stuck(name: &str, progress: Progress, gap: &Gap, within: u64, report: &mut Report) {
    let anomaly = match progress {
        Progress::Acknowledged => Anomaly::StuckProducer,
        Progress::Read => Anomaly::StuckConsumer,
        Progress::Committed => Anomaly::StuckCommitter,
    };
    report.add(anomaly, || {
        format!(
            "{name}: partition {} was without {progress} for {} ms from {} ms on, {} ms are allowed",
            gap.partition,
            gap.length / 1000,
            gap.from.0 / 1000,
            within / 1000
        )
    });
}

/// When there was progress, sorted.
fn times(history: &[Event], index: &Index<'_>) -> BTreeMap<(Progress, Partition), Vec<At>> {
    let mut times: BTreeMap<(Progress, Partition), Vec<At>> = BTreeMap::new();
    let mut add = |progress, partition: Partition, at: At| {
        times.entry((progress, partition)).or_default().push(at);
    };
    for sent in index.sends.values() {
        if let Some((_, at)) = sent.acknowledged {
            add(Progress::Acknowledged, sent.partition, at);
        }
    }
    for event in history {
        match event {
            Event::Poll {
                partition,
                records,
                at,
                ..
            } if !records.is_empty() => add(Progress::Read, *partition, *at),
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

/// The longest time that an observer took to read what was acknowledged between two times.
fn lag(index: &Index<'_>, observer: Observer, from: At, until: At) -> Option<Lag> {
    let reached = reached(index, observer);
    let lags = index.sends.values().filter_map(|sent| {
        let (base, at) = sent.acknowledged?;
        let last = sent.end(base?).saturating_sub(1);
        if at < from || at > until {
            return None;
        }
        let line = reached.get(&sent.partition).map_or(&[][..], Vec::as_slice);
        let first = line.partition_point(|(offset, _)| *offset < last);
        let read = line.get(first).map_or(until, |(_, read)| *read);
        Some(Lag {
            observer,
            partition: sent.partition,
            from: at,
            length: read.min(until).0.saturating_sub(at.0),
        })
    });
    lags.max_by_key(|lag| lag.length)
}

/// When an observer had first read up to an offset, by partition.
fn reached(index: &Index<'_>, observer: Observer) -> HashMap<Partition, Vec<(i64, At)>> {
    let all = (observer, Partition(i32::MIN))..=(observer, Partition(i32::MAX));
    let mut reached: HashMap<Partition, Vec<(i64, At)>> = HashMap::new();
    for ((_, partition), polls) in index.by_observer.range(all) {
        let line = reached.entry(*partition).or_default();
        for poll in polls.iter().filter_map(|number| index.polls.get(*number)) {
            let furthest = line.last().map_or(i64::MIN, |(furthest, _)| *furthest);
            let highest = poll.records.iter().map(|record| record.offset).max();
            if let Some(highest) = highest
                && highest > furthest
            {
                line.push((highest, poll.at));
            }
        }
    }
    reached
}

fn behind(name: &str, worst: Option<Lag>, within: u64, report: &mut Report) {
    let Some(worst) = worst else {
        return;
    };
    report.lags.push((name.to_owned(), worst));
    if worst.length > within {
        report.add(Anomaly::RealtimeLag, || {
            format!(
                "{name}: observer {} in partition {} was {} ms behind what was acknowledged at {} \
                 ms, {} ms are allowed",
                worst.observer,
                worst.partition,
                worst.length / 1000,
                worst.from.0 / 1000,
                within / 1000
            )
        });
    }
}

/// High watermarks that are older than they may be.
fn fresh(index: &Index<'_>, within: u64, report: &mut Report) {
    // The furthest acknowledged end by time, for each partition.
    let mut ends: BTreeMap<Partition, Vec<(At, i64)>> = BTreeMap::new();
    for sent in index.sends.values() {
        if let Some((Some(base), at)) = sent.acknowledged {
            let line = ends.entry(sent.partition).or_default();
            line.push((at, sent.end(base)));
        }
    }
    for line in ends.values_mut() {
        line.sort_unstable();
        let mut furthest = i64::MIN;
        for (_, end) in line.iter_mut() {
            furthest = furthest.max(*end);
            *end = furthest;
        }
    }
    for poll in &index.polls {
        let Some(line) = ends.get(&poll.partition) else {
            continue;
        };
        let old = line.partition_point(|(at, _)| at.0.saturating_add(within) < poll.began.0);
        let known = old.checked_sub(1).and_then(|last| line.get(last));
        if let Some((at, end)) = known
            && poll.high_watermark < *end
        {
            report.add(Anomaly::RealtimeLag, || {
                format!(
                    "partition {}: {end} was acknowledged by {} ms; broker {}, asked at {} ms, shows \
                     {}",
                    poll.partition,
                    at.0 / 1000,
                    poll.broker,
                    poll.began.0 / 1000,
                    poll.high_watermark
                )
            });
        }
    }
}
