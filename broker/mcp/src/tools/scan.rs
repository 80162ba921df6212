//! [`Scan`]: walks the records of spans, within a time.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use client::{Client, Fetcher, FetcherSettings, TopicPartition};
use segment::Offset;
use segment::record::Record;

use super::range::Span;
use crate::tool::ToolError;

/// Longest time of a walk; what is left is told to the caller, who goes on there.
const SCAN_TIME_MAX: Duration = Duration::from_secs(20);
/// Bytes of one answer of a broker. A batch that is larger comes whole.
const FETCH_BYTES: i32 = 1 << 20;

/// A walk over records.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    client: &'a mut Client,
    fetcher: Fetcher,
    until: Instant,
}

impl<'a> Scan<'a> {
    pub(super) fn new(client: &'a mut Client) -> Self {
        let settings = FetcherSettings {
            fetch_bytes: FETCH_BYTES,
            partition_bytes: FETCH_BYTES,
            ..FetcherSettings::default()
        };
        let limit = SCAN_TIME_MAX.min(client.settings().request_timeout);
        Self {
            client,
            fetcher: Fetcher::new(settings),
            until: Instant::now() + limit,
        }
    }

    pub(super) fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Shows the records of a span until one is refused, the span ends or the time is over. Gives where to go on, which
    /// is the end of the span, or beyond it, if all were taken.
    pub(super) fn walk(
        &mut self,
        span: &Span,
        mut take: impl FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<Offset, ToolError> {
        let mut next = span.from;
        self.fetcher.assign([(span.partition.clone(), next)]);
        while next < span.to && !self.is_late() {
            let left = self.until.saturating_duration_since(Instant::now());
            let Some(fetched) = self.fetcher.poll(self.client, left)? else {
                break;
            };
            let ended = fetched.for_each(|record| {
                if record.offset >= span.to {
                    return ControlFlow::Break(span.to);
                }
                match take(record) {
                    ControlFlow::Break(()) => ControlFlow::Break(record.offset),
                    ControlFlow::Continue(()) => ControlFlow::Continue(()),
                }
            })?;
            match ended {
                ControlFlow::Break(at) => return Ok(at),
                // Behind what was compacted away there may be no record at all.
                ControlFlow::Continue(()) => next = fetched.next_offset(),
            }
        }
        Ok(next)
    }

    /// Waits for the first records behind the ends of these spans.
    pub(super) fn wait(
        &mut self,
        spans: &[Span],
        wait: Duration,
        mut take: impl FnMut(&TopicPartition, &Record<'_>) -> ControlFlow<()>,
    ) -> Result<Option<(TopicPartition, Offset)>, ToolError> {
        let ends = spans.iter().map(|span| (span.partition.clone(), span.from));
        self.fetcher.assign(ends);
        let Some(fetched) = self.fetcher.poll(self.client, wait)? else {
            return Ok(None);
        };
        let partition = fetched.partition().clone();
        let ended = fetched.for_each(|record| match take(&partition, record) {
            ControlFlow::Break(()) => ControlFlow::Break(record.offset),
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
        })?;
        Ok(Some(match ended {
            ControlFlow::Break(at) => (partition, at),
            ControlFlow::Continue(()) => (partition, fetched.next_offset()),
        }))
    }
}
