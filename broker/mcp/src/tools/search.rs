//! `search_records`: the records of a bounded range that contain a text.

use std::ops::ControlFlow;

use schemars::JsonSchema;
use segment::Offset;
use segment::record::Record;
use serde::{Deserialize, Serialize};

use super::data::{Encoding, ShownRecord};
use super::range::{NextPosition, Range, Span};
use super::scan::Scan;
use crate::bounds::{Limit, Text};
use crate::desk::Visit;
use crate::tool::{Effect, Tool, ToolError};

/// See [`Tool::NAME`].
pub(super) struct SearchRecords;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Arguments {
    #[serde(flatten)]
    range: Range,
    /// The text that a record must contain, byte by byte as UTF-8; no pattern
    text: Text<1, 1_024>,
    /// Whether upper and lower case differ (of the letters a to z; of others they always do)
    #[serde(default)]
    case_sensitive: bool,
    /// Where to look
    #[serde(default)]
    within: Within,
    /// Matches of the answer at most
    #[serde(default)]
    max_matches: Limit<1, 200, 20>,
    /// Records to look at, at most
    #[serde(default)]
    max_scan_records: Limit<1, 1_000_000, 20_000>,
    /// Bytes of keys, values and headers to look at, at most
    #[serde(default)]
    max_scan_bytes: Limit<1_024, 1_073_741_824, 67_108_864>,
    /// Bytes of the answer's records at most, as JSON; one match comes in any case
    #[serde(default)]
    max_bytes: Limit<1_024, 1_048_576, 65_536>,
    /// Bytes of each key and value at most
    #[serde(default)]
    max_value_bytes: Limit<0, 262_144, 1_024>,
    /// How keys, values and headers are shown
    #[serde(default)]
    encoding: Encoding,
}

/// Parts of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Within {
    /// Key, value and headers.
    #[default]
    Anywhere,
    /// The key.
    Key,
    /// The value.
    Value,
    /// Names and values of headers.
    Headers,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answer {
    /// By partition, then by offset
    matches: Vec<ShownRecord>,
    /// Records that were looked at
    scanned_records: u64,
    /// Bytes of their keys, values and headers
    scanned_bytes: u64,
    /// Where there is more of the range that was not looked at: give it as `positions` to go on
    next: Vec<NextPosition>,
    /// Why there is more: the bound that was reached
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_by: Option<StoppedBy>,
    /// Partitions without a leader, which cannot be read now
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unavailable: Vec<i32>,
}

/// The bound that ended a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum StoppedBy {
    MaxMatches,
    MaxBytes,
    MaxScanRecords,
    MaxScanBytes,
    Time,
}

impl Tool for SearchRecords {
    type Arguments = Arguments;
    type Answer = Answer;

    const NAME: &'static str = "search_records";
    const TITLE: &'static str = "Search records";
    const DESCRIPTION: &'static str = "Find records of a topic that contain a text, in key, value or headers, within a \
        bounded range: from offsets (`positions`), a time (`since`) or the `last` records of each partition, until a time \
        (`until`). Without a start, the last `max_scan_records` of the topic are searched. A search reads records one by \
        one (there is no index), so narrow the range by time or partition. If `stopped_by` is there, the range was not \
        searched to its end: pass `next` as `positions` to go on.";
    const EFFECT: Effect = Effect::Reads;

    fn run(visit: &mut Visit, arguments: Arguments) -> Result<Answer, ToolError> {
        let client = visit.client()?;
        let by_default = arguments.max_scan_records.get();
        let found = arguments.range.spans(client, by_default)?;
        let mut search = Search::new(&arguments);
        let next = search.run(&mut Scan::new(client), &found.spans)?;
        let stopped_by = match next.is_empty() {
            true => None,
            false => Some(search.full.unwrap_or(StoppedBy::Time)),
        };
        Ok(Answer {
            matches: search.matches,
            scanned_records: search.records,
            scanned_bytes: search.bytes,
            next,
            stopped_by,
            unavailable: found.unavailable,
        })
    }
}

/// A search that goes on.
struct Search<'a> {
    arguments: &'a Arguments,
    needle: Needle,
    matches: Vec<ShownRecord>,
    match_bytes: usize,
    records: u64,
    bytes: u64,
    /// The bound that a record has met. Nothing is looked at afterwards.
    full: Option<StoppedBy>,
}

impl<'a> Search<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        Self {
            arguments,
            needle: Needle::new(arguments.text.as_str(), arguments.case_sensitive),
            matches: Vec::new(),
            match_bytes: 0,
            records: 0,
            bytes: 0,
            full: None,
        }
    }

    fn run(&mut self, scan: &mut Scan<'_>, spans: &[Span]) -> Result<Vec<NextPosition>, ToolError> {
        let mut next = Vec::new();
        for span in spans.iter().filter(|span| !span.is_empty()) {
            let reached: Offset = match self.full {
                Some(_) => span.from,
                None => {
                    let partition = span.partition.partition.get();
                    scan.walk(span, |record| self.look(partition, record))?
                }
            };
            if reached < span.to {
                next.push(span.next(reached));
            }
        }
        Ok(next)
    }

    fn look(&mut self, partition: i32, record: &Record<'_>) -> ControlFlow<()> {
        let arguments = self.arguments;
        let bound = match () {
            () if self.records >= arguments.max_scan_records.get() => {
                Some(StoppedBy::MaxScanRecords)
            }
            () if self.bytes >= arguments.max_scan_bytes.get() => Some(StoppedBy::MaxScanBytes),
            () => None,
        };
        let found = bound.is_none() && self.needle.is_in(record, arguments.within);
        let full = bound.or_else(|| found.then(|| self.found(partition, record)).flatten());
        if full.is_some() {
            self.full = full;
            return ControlFlow::Break(());
        }
        self.records += 1;
        self.bytes += record_bytes(record);
        ControlFlow::Continue(())
    }

    /// Notes a match, or tells which bound has no place for it.
    fn found(&mut self, partition: i32, record: &Record<'_>) -> Option<StoppedBy> {
        let arguments = self.arguments;
        if self.matches.len() >= arguments.max_matches.size() {
            return Some(StoppedBy::MaxMatches);
        }
        let most = arguments.max_value_bytes.size();
        let shown = ShownRecord::new(partition, record, arguments.encoding, most);
        let bytes = shown.json_bytes();
        if !self.matches.is_empty() && self.match_bytes + bytes > arguments.max_bytes.size() {
            return Some(StoppedBy::MaxBytes);
        }
        self.match_bytes += bytes;
        self.matches.push(shown);
        None
    }
}

fn record_bytes(record: &Record<'_>) -> u64 {
    let of = |bytes: Option<&[u8]>| bytes.map_or(0, |bytes| bytes.len() as u64);
    let headers = record.headers.clone();
    let headers: u64 = headers
        .map(|(name, value)| name.len() as u64 + of(value))
        .sum();
    of(record.key) + of(record.value) + headers
}

/// The text that is looked for.
#[derive(Debug)]
struct Needle {
    bytes: Vec<u8>,
    case_sensitive: bool,
}

impl Needle {
    fn new(text: &str, case_sensitive: bool) -> Self {
        Self {
            bytes: text.as_bytes().to_vec(),
            case_sensitive,
        }
    }

    fn is_in(&self, record: &Record<'_>, within: Within) -> bool {
        let holds = |bytes: Option<&[u8]>| bytes.is_some_and(|bytes| self.matches(bytes));
        let key = || holds(record.key);
        let value = || holds(record.value);
        let headers = || {
            let mut headers = record.headers.clone();
            headers.any(|(name, value)| self.matches(name) || holds(value))
        };
        match within {
            Within::Anywhere => key() || value() || headers(),
            Within::Key => key(),
            Within::Value => value(),
            Within::Headers => headers(),
        }
    }

    fn matches(&self, bytes: &[u8]) -> bool {
        let mut windows = bytes.windows(self.bytes.len());
        match self.case_sensitive {
            true => windows.any(|window| window == self.bytes),
            false => windows.any(|window| window.eq_ignore_ascii_case(&self.bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use segment::TimestampMs;
    use segment::record::{DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_text_is_found_in_the_parts_that_are_searched() {
        let header: (&str, Option<&[u8]>) = ("Trace", Some(b"id-7"));
        let mut builder = RecordBatchBuilder::new();
        let record = NewRecord {
            timestamp: TimestampMs::ZERO,
            key: Some(b"Order-1"),
            value: Some("gr\u{fc}n \u{0}FAILED".as_bytes()),
            headers: &[header],
        };
        builder.push(record).unwrap();
        let batch = builder.build().unwrap();
        let set = RecordSet::decode(&batch, &DecodeLimits::default()).unwrap();
        let record = set.into_iter().next().unwrap().unwrap();
        let is_in = |text, case, within| Needle::new(text, case).is_in(&record, within);
        assert!(is_in("failed", false, Within::Anywhere));
        assert!(!is_in("failed", true, Within::Anywhere));
        assert!(is_in("\u{fc}n \u{0}FAILED", true, Within::Value));
        assert!(is_in("order-1", false, Within::Key) && !is_in("order", false, Within::Value));
        assert!(is_in("trace", false, Within::Headers) && is_in("ID-7", false, Within::Headers));
        assert!(!is_in("FAILED and more", false, Within::Anywhere));
    }

    fn arguments(more: Value) -> Arguments {
        let mut all = json!({ "topic": "t", "text": "x" });
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn a_search_ends_at_its_bounds_and_before_the_record_that_meets_them() {
        let mut builder = RecordBatchBuilder::new();
        for number in 0..10 {
            let value: &[u8] = if number % 2 == 0 { b"x" } else { b"y" };
            let record = NewRecord {
                timestamp: TimestampMs::ZERO,
                key: None,
                value: Some(value),
                headers: &[],
            };
            builder.push(record).unwrap();
        }
        let batch = builder.build().unwrap();
        let set = RecordSet::decode(&batch, &DecodeLimits::default()).unwrap();
        let run = |more: Value| {
            let arguments = arguments(more);
            let mut search = Search::new(&arguments);
            for record in &set {
                if search.look(0, &record.unwrap()).is_break() {
                    break;
                }
            }
            (search.matches.len(), search.records, search.full)
        };
        assert_eq!(run(json!({})), (5, 10, None));
        assert_eq!(
            run(json!({ "max_matches": 2 })),
            (2, 4, Some(StoppedBy::MaxMatches))
        );
        let scanned = run(json!({ "max_scan_records": 3 }));
        assert_eq!(scanned, (2, 3, Some(StoppedBy::MaxScanRecords)));
        let (found, _, full) = run(json!({ "max_bytes": 1024, "max_matches": 200 }));
        assert_eq!((found, full), (5, None));
    }
}
