//! The message browser: reads a topic as any consumer does, from an offset, a time or the end, all partitions or one,
//! whatever key or one; what is compressed is unpacked.
//!
//! On the pool. Bounds: messages, bytes of the answer, bytes and records that are looked at, partitions, time. Where it
//! stops before what was asked for is found, it says why and where to go on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use client::{
    Client, ClientError, Fetched, Fetcher, FetcherSettings, OffsetReset, OffsetSpec,
    TopicPartition as Named, partition_of_key,
};
use segment::calendar::parse_timestamp;
use segment::{Offset, PartitionIndex, TimestampMs};
use serde::Serialize;

use super::Question;
use super::record::RecordRow;
use crate::console::call::Refused;

/// Messages of one answer.
const LIMIT_MAX: usize = 200;
/// Bytes of a key, value or header that are shown: unless told otherwise, at most, and at most of one message alone.
const PREVIEW: (usize, usize, usize) = (1 << 10, 64 << 10, 1 << 20);
/// Bytes of one answer, about.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Partitions that are read together.
const PARTITIONS_MAX: usize = 64;
/// What one question may look at: time, bytes of batches, records.
const TIME_MAX: Duration = Duration::from_secs(4);
const BYTES_MAX: usize = 64 << 20;
const RECORDS_MAX: usize = 500_000;
/// Bytes of one fetch; a larger batch comes whole.
const FETCH_BYTES: i32 = 1 << 20;
/// Bytes of a key that is looked for.
const KEY_BYTES_MAX: usize = 4 << 10;

/// Answer of `GET /api/v1/topics/{topic}/messages`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Messages {
    records: Vec<RecordRow>,
    /// Why there are no more: `limit`, `end`, `time`, `size`.
    stopped: &'static str,
    partitions: Vec<Read>,
    looked_at: usize,
}

/// What was read of a partition.
#[derive(Debug, Clone, Serialize)]
struct Read {
    partition: i32,
    log_start: i64,
    high_watermark: i64,
    /// Where reading began.
    from: i64,
    /// Where it goes on.
    next: i64,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Earliest,
    Latest,
    Offset(i64),
    Time(TimestampMs),
}

/// What is looked for.
#[derive(Debug, Clone)]
struct Wanted {
    topic: String,
    partitions: Vec<PartitionIndex>,
    from: From,
    key: Option<Vec<u8>>,
    limit: usize,
    preview: usize,
}

pub(in crate::console) async fn browse(
    question: &Question<'_>,
    name: &str,
) -> Result<Messages, Refused> {
    let topic = question.topic(name)?;
    let service = question.service;
    let may = service.access.may_read(question.viewer, name);
    may.map_err(Refused::forbidden)?;
    let wanted = wanted(question, name, topic.partitions.len())?;
    service
        .kafka
        .ask(move |client| Reading::new(client, wanted)?.run(client))
        .await
}

fn wanted(question: &Question<'_>, name: &str, count: usize) -> Result<Wanted, Refused> {
    let query = question.query;
    let key = key(query.get("key"), query.get("key_hex"))?;
    let partition = query.number("partition")?;
    let partitions = match (partition, &key) {
        (Some(number), _) => {
            let number = i32::try_from(number).ok().filter(|it| *it >= 0);
            let is_there = |it: &i32| usize::try_from(*it).is_ok_and(|it| it < count);
            let number = number.filter(is_there).ok_or_else(|| {
                Refused::bad(format!("topic {name} has {count} partitions, from 0 on"))
            })?;
            vec![PartitionIndex::new(number)]
        }
        // Where Kafka's producers put it, unless they were told otherwise.
        (None, Some(key)) if query.get("everywhere").is_none() => {
            vec![partition_of_key(key, count)]
        }
        (None, _) => (0..count)
            .filter_map(|number| i32::try_from(number).ok())
            .map(PartitionIndex::new)
            .collect(),
    };
    if partitions.len() > PARTITIONS_MAX {
        return Err(Refused::bad(format!(
            "a topic of more than {PARTITIONS_MAX} partitions is read by partition: choose one"
        )));
    }
    let limit = query.bounded("limit", 50, 1, LIMIT_MAX)?;
    let (usual, most, alone) = PREVIEW;
    let most = if limit == 1 { alone } else { most };
    Ok(Wanted {
        topic: name.to_owned(),
        partitions,
        from: from(question, key.is_some())?,
        key,
        limit,
        preview: query.bounded("preview", usual, 0, most)?,
    })
}

fn from(question: &Question<'_>, has_key: bool) -> Result<From, Refused> {
    let query = question.query;
    Ok(match query.get("from") {
        Some("earliest") => From::Earliest,
        Some("latest") => From::Latest,
        // What is looked for by its key may be anywhere.
        None if has_key => From::Earliest,
        None => From::Latest,
        Some("offset") => {
            let offset = query.number("offset")?.filter(|offset| *offset >= 0);
            From::Offset(offset.ok_or_else(|| Refused::bad("offset=<number> is needed"))?)
        }
        Some("time") => {
            let text = query.get("time").unwrap_or_default();
            From::Time(
                parse_timestamp(text).map_err(|error| Refused::bad(format!("time: {error}")))?,
            )
        }
        Some(_) => {
            let text = "from is one of earliest, latest, offset, time";
            return Err(Refused::bad(text));
        }
    })
}

fn key(text: Option<&str>, hex: Option<&str>) -> Result<Option<Vec<u8>>, Refused> {
    let key = match (text, hex) {
        (None, None) => return Ok(None),
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(hex)) => {
            let digits: Vec<u8> = hex.bytes().filter(|it| !it.is_ascii_whitespace()).collect();
            let byte = |pair: &[u8]| {
                let pair = std::str::from_utf8(pair).ok()?;
                let is_pair = pair.len() == 2 && pair.chars().all(|it| it.is_ascii_hexdigit());
                u8::from_str_radix(pair, 16).ok().filter(|_| is_pair)
            };
            let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
            bytes.ok_or_else(|| Refused::bad("key_hex must be pairs of hexadecimal digits"))?
        }
    };
    match key.len() {
        0..=KEY_BYTES_MAX => Ok(Some(key)),
        _ => Err(Refused::bad("the key is too long")),
    }
}

/// A partition that is being read.
#[derive(Debug)]
struct Place {
    read: Read,
    /// Where the log ended when it was asked.
    end: Offset,
    found: usize,
}

/// One question to a topic, being answered.
struct Reading {
    wanted: Wanted,
    places: BTreeMap<PartitionIndex, Place>,
    records: Vec<RecordRow>,
    weight: usize,
    looked_at: usize,
    bytes: usize,
    deadline: Instant,
}

impl Reading {
    fn new(client: &mut Client, wanted: Wanted) -> Result<Self, ClientError> {
        let deadline = Instant::now() + TIME_MAX;
        let named = |partition: &PartitionIndex| Named::new(wanted.topic.as_str(), *partition);
        let partitions: Vec<Named> = wanted.partitions.iter().map(named).collect();
        client.topic(&wanted.topic)?;
        let bounds = client.log_bounds(&partitions)?;
        let by_time = match wanted.from {
            From::Time(time) => client.offsets(&partitions, OffsetSpec::At(time))?,
            _ => BTreeMap::new(),
        };
        let mut places = BTreeMap::new();
        for (of, (start, end)) in bounds {
            let at = match wanted.from {
                From::Earliest => start,
                From::Latest => {
                    let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
                    Offset::new(end.get().saturating_sub(limit))
                }
                From::Offset(offset) => Offset::new(offset),
                // No record is that late.
                From::Time(_) => by_time.get(&of).and_then(|it| it.offset).unwrap_or(end),
            };
            let at = at.max(start).min(end);
            let read = Read {
                partition: of.partition.get(),
                log_start: start.get(),
                high_watermark: end.get(),
                from: at.get(),
                next: at.get(),
            };
            let place = Place {
                read,
                end,
                found: 0,
            };
            places.insert(of.partition, place);
        }
        Ok(Self {
            wanted,
            places,
            records: Vec::new(),
            weight: 0,
            looked_at: 0,
            bytes: 0,
            deadline,
        })
    }

    /// Partitions that have more to give, and from where.
    fn open(&self) -> Vec<(Named, Offset)> {
        let limit = self.wanted.limit;
        let open = self
            .places
            .values()
            .filter(|it| it.read.next < it.end.get() && it.found < limit);
        let named = |place: &Place| {
            let partition = PartitionIndex::new(place.read.partition);
            let named = Named::new(self.wanted.topic.as_str(), partition);
            (named, Offset::new(place.read.next))
        };
        open.map(named).collect()
    }

    /// Why nothing more is read, if so.
    fn over(&self) -> Option<&'static str> {
        if self.weight >= ANSWER_BYTES_MAX {
            return Some("size");
        }
        let is_much = self.bytes >= BYTES_MAX || self.looked_at >= RECORDS_MAX;
        (is_much || Instant::now() >= self.deadline).then_some("time")
    }

    fn run(mut self, client: &mut Client) -> Result<Messages, ClientError> {
        let mut fetcher = Fetcher::new(FetcherSettings {
            fetch_bytes: FETCH_BYTES,
            partition_bytes: FETCH_BYTES,
            min_bytes: 1,
            wait: Duration::from_millis(200),
            // The log start may rise while it is read.
            reset: OffsetReset::Earliest,
        });
        let mut assigned = 0;
        let stopped = loop {
            let open = self.open();
            if open.is_empty() {
                let is_full = |place: &Place| place.found >= self.wanted.limit;
                break match self.places.values().any(is_full) {
                    true => "limit",
                    false => "end",
                };
            }
            if let Some(why) = self.over() {
                break why;
            }
            if open.len() != assigned {
                assigned = open.len();
                fetcher.assign(open);
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if let Some(fetched) = fetcher.poll(client, left)? {
                self.take(&fetched)?;
            }
        };
        Ok(self.answer(stopped))
    }

    fn take(&mut self, fetched: &Fetched) -> Result<(), ClientError> {
        self.bytes += fetched.bytes();
        let partition = fetched.partition().partition;
        let (wanted, end) = (
            &self.wanted,
            match self.places.get(&partition) {
                Some(place) => place.end,
                None => return Ok(()),
            },
        );
        let (mut found, mut looked_at, mut weight) = (Vec::new(), 0, self.weight);
        let mut next = fetched.next_offset();
        let room = {
            let place = &self.places[&partition];
            wanted.limit.saturating_sub(place.found)
        };
        let walked = fetched.for_each(|record| {
            if record.offset >= end || found.len() >= room || weight >= ANSWER_BYTES_MAX {
                return ControlFlow::Break(record.offset);
            }
            looked_at += 1;
            let is_wanted = wanted
                .key
                .as_deref()
                .is_none_or(|key| record.key == Some(key));
            if is_wanted {
                let row = RecordRow::of(partition.get(), record, wanted.preview);
                weight += row.weight();
                found.push(row);
            }
            ControlFlow::Continue(())
        })?;
        if let ControlFlow::Break(at) = walked {
            next = next.min(at);
        }
        if let Some(place) = self.places.get_mut(&partition) {
            place.found += found.len();
            place.read.next = next.get().min(place.end.get());
        }
        self.looked_at += looked_at;
        self.weight = weight;
        self.records.append(&mut found);
        Ok(())
    }

    /// The newest first where the end was asked for, else the oldest; of several partitions by time.
    fn answer(mut self, stopped: &'static str) -> Messages {
        let is_latest = self.wanted.from == From::Latest;
        let by = |row: &RecordRow| (row.timestamp_ms, row.partition, row.offset);
        match self.places.len() {
            1 => self.records.sort_by_key(|row| row.offset),
            _ => self.records.sort_by_key(by),
        }
        if is_latest {
            self.records.reverse();
        }
        let stopped = match self.records.len() > self.wanted.limit {
            true => "limit",
            false => stopped,
        };
        self.records.truncate(self.wanted.limit);
        Messages {
            records: self.records,
            stopped,
            partitions: self.places.into_values().map(|place| place.read).collect(),
            looked_at: self.looked_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_given_as_text_or_as_digits() {
        assert_eq!(key(None, None), Ok(None));
        assert_eq!(key(Some("a"), Some("00")), Ok(Some(b"a".to_vec())));
        assert_eq!(key(None, Some("00 fF")), Ok(Some(vec![0, 255])));
        for hex in ["0", "0g", "zz", "+1"] {
            assert!(key(None, Some(hex)).is_err(), "{hex}");
        }
        assert!(key(Some(&"k".repeat(KEY_BYTES_MAX + 1)), None).is_err());
    }
}
