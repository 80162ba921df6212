//! `read_records`: records of a topic from offsets, from a time or from the end.

use std::ops::ControlFlow;
use std::time::Duration;

use schemars::JsonSchema;
use segment::record::Record;
use serde::{Deserialize, Serialize};

use super::data::{Encoding, ShownRecord};
use super::range::{LogBounds, NextPosition, Range, Span};
use super::scan::Scan;
use crate::bounds::Limit;
use crate::desk::Visit;
use crate::tool::{Effect, Tool, ToolError};

/// See [`Tool::NAME`].
pub(super) struct ReadRecords;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Arguments {
    #[serde(flatten)]
    range: Range,
    /// Records of the answer at most, shared by the partitions
    #[serde(default)]
    max_records: Limit<1, 500, 20>,
    /// Bytes of the answer's records at most, as JSON; one record comes in any case
    #[serde(default)]
    max_bytes: Limit<1_024, 1_048_576, 65_536>,
    /// Bytes of each key and value at most; what is longer is cut and tells `cut_from_bytes`
    #[serde(default)]
    max_value_bytes: Limit<0, 262_144, 2_048>,
    /// How keys, values and headers are shown
    #[serde(default)]
    encoding: Encoding,
    /// Where nothing is there yet: milliseconds to wait for the first new record
    #[serde(default)]
    wait_ms: Limit<0, 10_000, 0>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answer {
    /// By partition, then by offset
    records: Vec<ShownRecord>,
    /// Where there is more of what was asked for: give it as `positions` to go on
    next: Vec<NextPosition>,
    /// Why there is more: the bound that was reached
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_by: Option<StoppedBy>,
    /// The logs of the partitions when the call began
    partitions: Vec<LogBounds>,
    /// Partitions without a leader, which cannot be read now
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unavailable: Vec<i32>,
}

/// The bound that ended an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum StoppedBy {
    MaxRecords,
    MaxBytes,
    Time,
}

impl Tool for ReadRecords {
    type Arguments = Arguments;
    type Answer = Answer;

    const NAME: &'static str = "read_records";
    const TITLE: &'static str = "Read records";
    const DESCRIPTION: &'static str = "Read records of a topic: key, value, headers, time and offset. Starts at exact \
        offsets (`positions`), at a time (`since`), or at the `last` records of each partition (the default). Several \
        partitions share `max_records`. To go on, pass `next` of the answer as `positions`. Nothing is committed: no \
        consumer group is touched.";
    const EFFECT: Effect = Effect::Reads;

    fn run(visit: &mut Visit, arguments: Arguments) -> Result<Answer, ToolError> {
        let client = visit.client()?;
        let by_default = arguments.max_records.get();
        let found = arguments.range.spans(client, by_default)?;
        let mut page = Page::new(&arguments);
        let (next, late) = page.fill(&mut Scan::new(client), &found.spans)?;
        let stopped_by = match page.full {
            Some(bound) => Some(bound),
            None if late => Some(StoppedBy::Time),
            None => None,
        };
        Ok(Answer {
            records: page.records,
            stopped_by: stopped_by.filter(|_| !next.is_empty()),
            next,
            partitions: found.spans.iter().map(Span::bounds).collect(),
            unavailable: found.unavailable,
        })
    }
}

/// Records gathered for an answer.
struct Page<'a> {
    arguments: &'a Arguments,
    records: Vec<ShownRecord>,
    bytes: usize,
    /// The bound that a record has met.
    full: Option<StoppedBy>,
}

impl<'a> Page<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        Self {
            arguments,
            records: Vec::new(),
            bytes: 0,
            full: None,
        }
    }

    /// Gathers records of all spans. Gives where they go on, and whether the time was over.
    fn fill(
        &mut self,
        scan: &mut Scan<'_>,
        spans: &[Span],
    ) -> Result<(Vec<NextPosition>, bool), ToolError> {
        let mut next = Vec::new();
        let mut late = false;
        for (place, span) in spans.iter().enumerate() {
            let reached = match self.share(spans.len() - place) {
                Some((records, bytes)) if !span.is_empty() => {
                    let partition = span.partition.partition.get();
                    scan.walk(span, |record| self.take(partition, record, records, bytes))?
                }
                _ => span.from,
            };
            if reached < span.to {
                next.push(span.next(reached));
                late |= scan.is_late();
            }
        }
        let wait = Duration::from_millis(self.arguments.wait_ms.get());
        let at_end = spans.iter().all(|span| span.is_empty() && span.is_open());
        if !wait.is_zero() && at_end && !spans.is_empty() {
            let (records, bytes) = self.share(1).unwrap_or_default();
            let come = scan.wait(spans, wait, |partition, record| {
                self.take(partition.partition.get(), record, records, bytes)
            })?;
            if let Some((partition, reached)) = come {
                let from = |span: &Span| match span.partition == partition {
                    true => reached,
                    false => span.from,
                };
                next.extend(spans.iter().map(|span| span.next(from(span))));
            }
        }
        Ok((next, late))
    }

    /// How many records, and bytes, there may be after a partition, with so many to come; none if nothing is left.
    fn share(&mut self, partitions: usize) -> Option<(usize, usize)> {
        let records = self.arguments.max_records.size() - self.records.len();
        let bytes = self.arguments.max_bytes.size().saturating_sub(self.bytes);
        if records == 0 || bytes == 0 {
            let bound = match records {
                0 => StoppedBy::MaxRecords,
                _ => StoppedBy::MaxBytes,
            };
            self.full.get_or_insert(bound);
            return None;
        }
        Some((
            self.records.len() + records.div_ceil(partitions),
            self.bytes + bytes.div_ceil(partitions),
        ))
    }

    fn take(
        &mut self,
        partition: i32,
        record: &Record<'_>,
        records_max: usize,
        bytes_max: usize,
    ) -> ControlFlow<()> {
        if self.records.len() >= records_max {
            self.full = Some(StoppedBy::MaxRecords);
            return ControlFlow::Break(());
        }
        let most = self.arguments.max_value_bytes.size();
        let shown = ShownRecord::new(partition, record, self.arguments.encoding, most);
        let bytes = shown.json_bytes();
        // One comes in any case, so that who goes on always gets further.
        if !self.records.is_empty() && self.bytes + bytes > bytes_max {
            self.full = Some(StoppedBy::MaxBytes);
            return ControlFlow::Break(());
        }
        self.bytes += bytes;
        self.records.push(shown);
        ControlFlow::Continue(())
    }
}
