//! [`Fetched`]: what one fetch brought of one partition.

use std::ops::ControlFlow;

use bytes::Bytes;
use segment::Offset;
use segment::batch::Batches;
use segment::record::{DecodeLimits, Record, RecordError, RecordSet};
use wire::messages::fetch::PartitionData;

use crate::error::ClientError;
use crate::metadata::TopicPartition;

/// Batches of one partition, as they came. Records before the position that was asked for, which a
/// batch may begin with, are not shown.
#[derive(Debug, Clone)]
pub struct Fetched {
    partition: TopicPartition,
    from: Offset,
    next: Offset,
    high_watermark: Offset,
    log_start: Offset,
    cut_short: bool,
    bytes: Bytes,
}

impl Fetched {
    pub(super) fn new(
        partition: &TopicPartition,
        from: Offset,
        bytes: Bytes,
        data: &PartitionData<'_>,
    ) -> Result<Self, ClientError> {
        let mut fetched = Self {
            partition: partition.clone(),
            from,
            next: from,
            high_watermark: Offset::new(data.high_watermark),
            log_start: Offset::new(data.log_start_offset),
            cut_short: false,
            bytes,
        };
        let (mut next, mut batches) = (from, Batches::until_truncated(&fetched.bytes));
        let mut found = false;
        for batch in batches.by_ref() {
            let batch = batch.map_err(|cause| fetched.damaged(cause.into()))?;
            next = next.max(batch.header.next_offset());
            found = true;
        }
        let complete = batches.position();
        fetched.next = next;
        fetched.cut_short = !found && !fetched.bytes.is_empty();
        fetched.bytes.truncate(complete);
        Ok(fetched)
    }

    /// Which partition.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The position that was asked for: no record before it is shown.
    pub fn first_offset(&self) -> Offset {
        self.from
    }

    /// Offset after the last batch: where reading goes on.
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    /// Offset below which all is durable and visible.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// First offset that can be read.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Bytes of the batches.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are bytes, but less than one batch.
    pub(super) fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Shows each record, in offset order, until one of them breaks. Control batches are left out.
    ///
    /// # Errors
    /// A batch that is damaged or cannot be decompressed.
    pub fn for_each<B>(
        &self,
        mut visit: impl FnMut(&Record<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ClientError> {
        let limits = DecodeLimits::default();
        for batch in Batches::strict(&self.bytes) {
            let batch = batch.map_err(|cause| self.damaged(cause.into()))?;
            batch
                .verify_crc()
                .map_err(|cause| self.damaged(cause.into()))?;
            if batch.header.attributes.is_control() {
                continue;
            }
            let records = RecordSet::decode(batch.bytes, &limits);
            for record in &records.map_err(|cause| self.damaged(cause))? {
                let record = record.map_err(|cause| self.damaged(cause))?;
                if record.offset < self.from {
                    continue;
                }
                if let ControlFlow::Break(value) = visit(&record) {
                    return Ok(ControlFlow::Break(value));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn damaged(&self, cause: RecordError) -> ClientError {
        let (partition, offset) = (self.partition.clone(), self.from.get());
        ClientError::Damaged {
            partition,
            offset,
            cause,
        }
    }
}
