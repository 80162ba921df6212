//! What a reader gives: runs of whole batches, and the records in them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use segment::batch::BatchHeader;
use segment::record::{DecodeLimits, RecordError, RecordSet};
use segment::{Offset, TimestampMs, TopicPartition};

use crate::error::ReadError;

/// One record batch, exactly as its producer sent it but for the base offset and the leader epoch.
/// Its CRC has been checked.
#[derive(Debug, Clone)]
pub struct RunBatch {
    /// Its header.
    pub header: BatchHeader,
    /// All of its bytes.
    pub bytes: Bytes,
    /// Key of the object that it was read from.
    pub key: Arc<str>,
}

/// Whole record batches of one partition, in offset order. Offsets may be missing between them: log
/// compaction has removed their records.
#[derive(Debug, Clone)]
pub struct Run {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset that was asked for. The first batch may begin before it.
    pub position: Offset,
    /// Where the next run begins: the offset to checkpoint once this run has been processed.
    pub next: Offset,
    /// The batches; at least one.
    pub batches: Vec<RunBatch>,
}

impl Run {
    /// Bytes of the batches, as stored.
    pub fn bytes(&self) -> u64 {
        self.batches
            .iter()
            .map(|batch| batch.bytes.len() as u64)
            .sum()
    }

    /// Records that the headers of the batches state: those below the position and control records
    /// are counted, too.
    pub fn record_count(&self) -> u64 {
        let counts = self.batches.iter();
        counts
            .map(|batch| u64::from(batch.header.record_count))
            .sum()
    }

    /// The records from the position on, decoded batch by batch as they are asked for. Control
    /// records (transaction markers) are left out.
    pub fn records(&self) -> Records<'_> {
        self.records_within(DecodeLimits::default())
    }

    /// The same with other limits on what may come out of a decompressor.
    pub fn records_within(&self, limits: DecodeLimits) -> Records<'_> {
        Records {
            position: self.position,
            limits,
            batches: self.batches.iter(),
            decoded: VecDeque::new(),
            failed: false,
        }
    }
}

/// One record. Keys and values of a batch that is not compressed are slices of it, not copies; they
/// keep it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: Offset,
    /// Its own timestamp, or the batch's where the broker set it.
    pub timestamp: TimestampMs,
    /// The key, if any.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    /// The headers: key (UTF-8 from any correct producer, not checked) and value.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The records of a run. One batch is decoded at a time. Ends after the first error.
#[derive(Debug)]
pub struct Records<'a> {
    position: Offset,
    limits: DecodeLimits,
    batches: std::slice::Iter<'a, RunBatch>,
    decoded: VecDeque<Record>,
    failed: bool,
}

impl Records<'_> {
    fn decode(&mut self, batch: &RunBatch) -> Result<(), RecordError> {
        if batch.header.attributes.is_control() {
            return Ok(());
        }
        let set = RecordSet::decode(&batch.bytes, &self.limits)?;
        for record in &set {
            let record = record?;
            if record.offset >= self.position {
                self.decoded.push_back(owned(&batch.bytes, &record));
            }
        }
        Ok(())
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.decoded.pop_front() {
                return Some(Ok(record));
            }
            if self.failed {
                return None;
            }
            let batch = self.batches.next()?;
            if let Err(source) = self.decode(batch) {
                // The records before the one that cannot be read are not given: a batch is whole.
                self.decoded.clear();
                self.failed = true;
                return Some(Err(ReadError::Records {
                    key: batch.key.to_string(),
                    offset: batch.header.base_offset,
                    source,
                }));
            }
        }
    }
}

impl std::iter::FusedIterator for Records<'_> {}

fn owned(batch: &Bytes, record: &segment::record::Record<'_>) -> Record {
    let bytes = |part: &[u8]| shared(batch, part);
    let headers = record.headers.clone();
    Record {
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.map(bytes),
        value: record.value.map(bytes),
        headers: headers
            .map(|(key, value)| (bytes(key), value.map(bytes)))
            .collect(),
    }
}

/// A part of the batch itself is shared; one of its decompressed records is copied.
fn shared(batch: &Bytes, part: &[u8]) -> Bytes {
    let within = batch.as_ptr_range();
    let is_inside = !part.is_empty()
        && within.contains(&part.as_ptr())
        && part.as_ptr_range().end <= within.end;
    match is_inside {
        true => batch.slice_ref(part),
        false => Bytes::copy_from_slice(part),
    }
}
