//! [`Range`]: which records of a topic are meant, and [`Span`]: what that is in one partition.

use std::collections::BTreeMap;

use client::{Client, ClientError, FoundOffset, OffsetSpec, TopicInfo, TopicPartition};
use schemars::JsonSchema;
use segment::calendar::parse_timestamp;
use segment::{Offset, PartitionIndex, TimestampMs};
use serde::{Deserialize, Serialize};

use super::{OffsetNumber, PartitionNumber, TopicName, number, offset};
use crate::bounds::{List, Text, Whole};
use crate::tool::ToolError;

/// Partitions of one call.
const PARTITIONS_MAX: usize = 100;

/// A time as a caller gives it.
type Time = Text<1, 40>;

/// Which records of a topic are meant. At most one of `positions`, `since` and `last`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Range {
    /// Name of the topic
    pub(super) topic: TopicName,
    /// Partitions to read; all of the topic if left out
    #[serde(default)]
    partitions: Option<List<PartitionNumber, PARTITIONS_MAX>>,
    /// Start at exactly these offsets, one for each partition to read (instead of `partitions`); `next` of an answer has
    /// the form that is needed to go on
    #[serde(default)]
    positions: Option<List<Position, PARTITIONS_MAX>>,
    /// Start at the first record at or after this time: RFC 3339, for example 2026-05-01T12:00:00Z, or milliseconds since 1970
    #[serde(default)]
    since: Option<Time>,
    /// Start at the last N records of each partition
    #[serde(default)]
    last: Option<Whole<1, 10_000_000>>,
    /// Stop before the first record at or after this time; the form is that of `since`
    #[serde(default)]
    until: Option<Time>,
}

/// Where to start in one partition.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Position {
    partition: PartitionNumber,
    offset: OffsetNumber,
}

/// Where a partition goes on, and how far its log goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct NextPosition {
    partition: i32,
    offset: i64,
}

/// The log of a partition, as it was when the call began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct LogBounds {
    partition: i32,
    /// Offset of the first record that there is
    start_offset: i64,
    /// Offset that the next record will get
    end_offset: i64,
}

/// Offsets to be read in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) partition: TopicPartition,
    /// First and next offset of the log.
    log: (Offset, Offset),
    pub(super) from: Offset,
    /// The offset after the last one.
    pub(super) to: Offset,
}

impl Span {
    pub(super) fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Whether nothing but the end of the log ends it.
    pub(super) fn is_open(&self) -> bool {
        self.to == self.log.1
    }

    pub(super) fn bounds(&self) -> LogBounds {
        LogBounds {
            partition: self.partition.partition.get(),
            start_offset: self.log.0.get(),
            end_offset: self.log.1.get(),
        }
    }

    pub(super) fn next(&self, offset: Offset) -> NextPosition {
        NextPosition {
            partition: self.partition.partition.get(),
            offset: offset.get(),
        }
    }
}

/// Where reading starts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Start {
    Positions(BTreeMap<PartitionIndex, Offset>),
    Since(TimestampMs),
    Last(u64),
}

/// A range, as spans of partitions.
#[derive(Debug)]
pub(super) struct Spans {
    pub(super) spans: Vec<Span>,
    /// Partitions without a leader, which cannot be read now.
    pub(super) unavailable: Vec<i32>,
}

impl Range {
    /// Looks up what the range is in each partition. Without a start, it is the last records, `by_default` in all.
    pub(super) fn spans(&self, client: &mut Client, by_default: u64) -> Result<Spans, ToolError> {
        let until = self.until.as_ref().map(|time| read_time("until", time));
        let until = until.transpose()?;
        let start = self.start()?;
        let info = client.topic(self.topic.as_str())?;
        let (chosen, unavailable) = self.choose(&info, start.as_ref())?;
        let share = by_default / chosen.len().max(1) as u64;
        let start = start.unwrap_or(Start::Last(share.max(1)));
        let bounds = client.log_bounds(&chosen)?;
        let mut at = |time: Option<TimestampMs>| match time {
            Some(time) => client.offsets(&chosen, OffsetSpec::At(time)),
            None => Ok(BTreeMap::new()),
        };
        let since = match start {
            Start::Since(time) => at(Some(time))?,
            _ => BTreeMap::new(),
        };
        let until = at(until)?;
        let spans = chosen.into_iter().map(|partition| {
            let log = bounds.get(&partition).copied().unwrap_or_default();
            span(partition, log, &start, &since, &until)
        });
        Ok(Spans {
            spans: spans.collect::<Result<_, _>>()?,
            unavailable,
        })
    }

    fn start(&self) -> Result<Option<Start>, ToolError> {
        let given = [
            self.positions.is_some(),
            self.since.is_some(),
            self.last.is_some(),
        ];
        let refuse = |text: &str| Err(ToolError::Arguments(text.to_owned()));
        if given.iter().filter(|given| **given).count() > 1 {
            return refuse("give only one of `positions`, `since` and `last`");
        }
        if let Some(positions) = &self.positions {
            if self.partitions.is_some() {
                return refuse("`positions` names the partitions to read: leave `partitions` out");
            }
            let starts = positions.as_slice().iter();
            let starts: BTreeMap<_, _> = starts
                .map(|it| (PartitionIndex::new(number(it.partition)), offset(it.offset)))
                .collect();
            if starts.len() < positions.as_slice().len() {
                return refuse("`positions` names a partition twice");
            }
            return Ok(Some(Start::Positions(starts)));
        }
        if let Some(since) = &self.since {
            return Ok(Some(Start::Since(read_time("since", since)?)));
        }
        Ok(self.last.map(|last| Start::Last(last.get())))
    }

    /// The partitions that are read, and those that cannot be.
    fn choose(
        &self,
        info: &TopicInfo,
        start: Option<&Start>,
    ) -> Result<(Vec<TopicPartition>, Vec<i32>), ToolError> {
        let named: Option<Vec<PartitionIndex>> = match (start, &self.partitions) {
            (Some(Start::Positions(starts)), _) => Some(starts.keys().copied().collect()),
            (_, Some(named)) => {
                let named = named.as_slice().iter();
                let mut named: Vec<_> = named.map(|it| PartitionIndex::new(number(*it))).collect();
                named.sort();
                named.dedup();
                Some(named)
            }
            _ => None,
        };
        let wanted = match named {
            Some(named) => named,
            None if info.partitions.len() > PARTITIONS_MAX => {
                let text = format!(
                    "topic {} has {} partitions, numbered from 0: name at most {PARTITIONS_MAX} of them in `partitions`",
                    info.name,
                    info.partitions.len()
                );
                return Err(ToolError::Arguments(text));
            }
            None => info.partitions.iter().map(|it| it.partition).collect(),
        };
        let (mut chosen, mut unavailable) = (Vec::new(), Vec::new());
        for partition in wanted {
            let Some(found) = info.partition(partition) else {
                return Err(ToolError::Client(ClientError::UnknownPartition {
                    topic: info.name.to_string(),
                    partition: partition.get(),
                    count: info.partitions.len(),
                }));
            };
            match found.leader {
                Some(_) => chosen.push(TopicPartition::new(info.name.clone(), partition)),
                None => unavailable.push(partition.get()),
            }
        }
        Ok((chosen, unavailable))
    }
}

fn span(
    partition: TopicPartition,
    log: (Offset, Offset),
    start: &Start,
    since: &BTreeMap<TopicPartition, FoundOffset>,
    until: &BTreeMap<TopicPartition, FoundOffset>,
) -> Result<Span, ToolError> {
    // No record is that late: the end is.
    let found = |found: &FoundOffset| found.offset.unwrap_or(log.1);
    let from = match start {
        Start::Positions(starts) => {
            let offset = starts.get(&partition.partition).copied();
            let offset = offset.unwrap_or(log.0);
            if offset < log.0 || offset > log.1 {
                return Err(ToolError::Client(ClientError::OutOfRange {
                    partition,
                    offset: offset.get(),
                    start: log.0.get(),
                    end: log.1.get(),
                }));
            }
            offset
        }
        Start::Since(_) => since.get(&partition).map_or(log.1, found),
        Start::Last(count) => {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            Offset::new(log.1.get().saturating_sub(count).max(log.0.get()))
        }
    };
    let to = until.get(&partition).map_or(log.1, found);
    Ok(Span {
        partition,
        log,
        from,
        to,
    })
}

/// Reads a time of an argument.
pub(super) fn read_time<const MAX: usize>(
    argument: &str,
    time: &Text<1, MAX>,
) -> Result<TimestampMs, ToolError> {
    parse_timestamp(time.as_str())
        .map_err(|reason| ToolError::Arguments(format!("argument `{argument}`: {reason}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wire::{ErrorCode, Uuid};

    use super::*;

    fn range(more: Value) -> Range {
        let mut arguments = json!({ "topic": "t" });
        arguments
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(arguments).unwrap()
    }

    fn topic(partitions: i32, leaderless: &[i32]) -> TopicInfo {
        let partition = |number: i32| client::PartitionInfo {
            partition: PartitionIndex::new(number),
            leader: (!leaderless.contains(&number)).then_some(1),
            leader_epoch: 0,
            replicas: vec![1],
            error: ErrorCode::NONE,
        };
        TopicInfo {
            name: "t".into(),
            id: Uuid::ZERO,
            is_internal: false,
            error: ErrorCode::NONE,
            partitions: (0..partitions).map(partition).collect(),
        }
    }

    #[test]
    fn one_start_is_allowed() {
        assert_eq!(range(json!({})).start().unwrap(), None);
        let last = range(json!({ "last": 5 })).start().unwrap();
        assert_eq!(last, Some(Start::Last(5)));
        let since = range(json!({ "since": "1970-01-01T00:00:01Z" })).start();
        assert_eq!(since.unwrap(), Some(Start::Since(TimestampMs::new(1_000))));
        for (wrong, told) in [
            (json!({ "last": 5, "since": "0" }), "only one of"),
            (json!({ "since": "yesterday" }), "`since`"),
            (
                json!({ "positions": [{ "partition": 0, "offset": 1 }], "partitions": [0] }),
                "leave `partitions` out",
            ),
            (
                json!({ "positions": [{ "partition": 0, "offset": 1 }, { "partition": 0, "offset": 2 }] }),
                "twice",
            ),
        ] {
            let error = range(wrong.clone()).start().unwrap_err().to_string();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }

    #[test]
    fn partitions_without_a_leader_are_told_and_too_many_are_refused() {
        let choose = |more: Value, topic: &TopicInfo| {
            let range = range(more);
            let start = range.start().unwrap();
            range
                .choose(topic, start.as_ref())
                .map(|(chosen, without)| {
                    let numbers: Vec<i32> = chosen.iter().map(|it| it.partition.get()).collect();
                    (numbers, without)
                })
        };
        let four = topic(4, &[2]);
        assert_eq!(choose(json!({}), &four).unwrap(), (vec![0, 1, 3], vec![2]));
        let named = choose(json!({ "partitions": [3, 0, 3] }), &four).unwrap();
        assert_eq!(named, (vec![0, 3], vec![]));
        let error = choose(json!({ "partitions": [4] }), &four).unwrap_err();
        assert!(error.to_string().contains("no partition 4"), "{error}");
        let error = choose(json!({}), &topic(101, &[])).unwrap_err();
        assert!(error.to_string().contains("at most 100"), "{error}");
    }

    #[test]
    fn a_span_lies_inside_the_log() {
        let log = (Offset::new(10), Offset::new(20));
        let partition = TopicPartition::new("t", PartitionIndex::new(0));
        let found = |offset: Option<i64>| {
            let found = FoundOffset {
                offset: offset.map(Offset::new),
                timestamp: None,
                leader_epoch: 0,
            };
            BTreeMap::from([(partition.clone(), found)])
        };
        let none = BTreeMap::new();
        let of = |start: Start, since: &_, until: &_| {
            let span = span(partition.clone(), log, &start, since, until)?;
            Ok::<_, ToolError>((span.from.get(), span.to.get()))
        };
        assert_eq!(of(Start::Last(3), &none, &none).unwrap(), (17, 20));
        assert_eq!(of(Start::Last(99), &none, &none).unwrap(), (10, 20));
        assert_eq!(of(Start::Last(u64::MAX), &none, &none).unwrap(), (10, 20));
        let since = || Start::Since(TimestampMs::ZERO);
        assert_eq!(
            of(since(), &found(Some(12)), &found(Some(15))).unwrap(),
            (12, 15)
        );
        assert_eq!(of(since(), &found(None), &found(None)).unwrap(), (20, 20));
        let at = |offset| Start::Positions([(PartitionIndex::new(0), Offset::new(offset))].into());
        assert_eq!(of(at(20), &none, &none).unwrap(), (20, 20));
        for outside in [9, 21] {
            let error = of(at(outside), &none, &none).unwrap_err().to_string();
            assert!(error.contains("10 to 20"), "{error}");
        }
    }
}
