//! Builds batches: for the command line, tests, transaction markers and log compaction.

use bytes::Bytes;

use super::codec::{CodecError, compress};
use super::marker::ControlMarker;
use crate::batch::{Attributes, BATCH_HEADER_BYTES, BatchHeader, Codec, TimestampType};
use crate::batch::{BATCH_CRC_START, BATCH_LENGTH_OVERHEAD};
use crate::cursor::{put_varint, put_varlong};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

const CRC_AT: usize = 17;

const _: () = assert!(CRC_AT + 4 == BATCH_CRC_START);

/// Why a batch cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No record was pushed.
    #[error("build record batch: it holds no record")]
    Empty,
    /// More bytes or records than the format can state.
    #[error("build record batch: more than 2 GiB or 2^31 records")]
    TooLarge,
    /// An offset delta is negative or not after the record before it, or the last one is too low.
    #[error("build record batch: offset delta {offset_delta} is out of order")]
    OffsetOrder {
        /// The delta.
        offset_delta: i32,
    },
    /// A timestamp too far from the first record's.
    #[error("build record batch: timestamp {timestamp} is out of range")]
    Timestamp {
        /// The timestamp.
        timestamp: TimestampMs,
    },
    /// The encoder failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// A record to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewRecord<'a> {
    /// When it was created.
    pub timestamp: TimestampMs,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Header keys and values.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Collects records and encodes them as one batch. Options may be set before or between records.
#[derive(Debug, Clone)]
pub struct RecordBatchBuilder {
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    codec: Codec,
    attributes: Attributes,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: Sequence,
    log_append_time: Option<TimestampMs>,
    last_offset_delta: Option<i32>,
    base_timestamp: Option<TimestampMs>,
    max_timestamp: TimestampMs,
    last_delta: i32,
    count: i32,
    records: Vec<u8>,
    scratch: Vec<u8>,
}

impl Default for RecordBatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl RecordBatchBuilder {
    /// A batch without records: base offset 0, no leader epoch, no codec, no producer id.
    pub fn new() -> Self {
        Self {
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::NONE,
            codec: Codec::None,
            attributes: Attributes::default(),
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            log_append_time: None,
            last_offset_delta: None,
            base_timestamp: None,
            max_timestamp: TimestampMs::NONE,
            last_delta: -1,
            count: 0,
            records: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// A control batch with one transaction marker, from the coordinator for the given producer.
    ///
    /// # Errors
    /// None in practice; the signature is the builder's.
    pub fn marker(
        marker: ControlMarker,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        timestamp: TimestampMs,
    ) -> Result<Bytes, BuildError> {
        let mut builder = Self::new().producer(producer_id, producer_epoch, Sequence::NONE);
        builder.attributes = builder.attributes.with_transactional().with_control();
        let (key, value) = (marker.key(), marker.value());
        builder.push(NewRecord {
            timestamp,
            key: Some(&key),
            value: Some(&value),
            headers: &[],
        })?;
        builder.build()
    }

    /// Sets the base offset.
    pub fn base_offset(mut self, base_offset: Offset) -> Self {
        self.base_offset = base_offset;
        self
    }

    /// Sets the leader epoch.
    pub fn leader_epoch(mut self, leader_epoch: LeaderEpoch) -> Self {
        self.leader_epoch = leader_epoch;
        self
    }

    /// Sets the codec.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Makes the batch one of an idempotent producer.
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base: Sequence) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base;
        self
    }

    /// Makes the batch part of a transaction.
    pub fn transactional(mut self) -> Self {
        self.attributes = self.attributes.with_transactional();
        self
    }

    /// Gives all records the broker's timestamp.
    pub fn log_append_time(mut self, now: TimestampMs) -> Self {
        self.log_append_time = Some(now);
        self
    }

    /// Keeps the offset range of the batch that log compaction read, although its last records are
    /// gone.
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.last_offset_delta = Some(delta);
        self
    }

    /// States until when tombstones stay, in the place of the base timestamp (KIP-534). To be called
    /// before the first record.
    pub fn delete_horizon(mut self, horizon: TimestampMs) -> Self {
        assert!(self.count == 0, "records count from the base timestamp");
        self.attributes = self.attributes.with_delete_horizon();
        self.base_timestamp = Some(horizon);
        self
    }

    /// Appends a record at the next offset.
    ///
    /// # Errors
    /// As `push_at`.
    pub fn push(&mut self, record: NewRecord<'_>) -> Result<&mut Self, BuildError> {
        let delta = self.last_delta.checked_add(1).ok_or(BuildError::TooLarge)?;
        self.push_at(delta, record)
    }

    /// Appends a record at base offset + `offset_delta`, as log compaction needs.
    ///
    /// # Errors
    /// A delta that is not after the last one, a timestamp out of range, or too many bytes.
    pub fn push_at(
        &mut self,
        offset_delta: i32,
        record: NewRecord<'_>,
    ) -> Result<&mut Self, BuildError> {
        if offset_delta <= self.last_delta {
            return Err(BuildError::OffsetOrder { offset_delta });
        }
        let timestamp = record.timestamp;
        let base_timestamp = self.base_timestamp.unwrap_or(timestamp);
        let timestamp_delta = timestamp
            .get()
            .checked_sub(base_timestamp.get())
            .ok_or(BuildError::Timestamp { timestamp })?;
        self.scratch.clear();
        encode_record(&mut self.scratch, offset_delta, timestamp_delta, &record)?;
        let len = length(self.scratch.len())?;
        length(self.records.len() + self.scratch.len() + 2 * BATCH_HEADER_BYTES)?;
        put_varint(&mut self.records, len);
        self.records.extend_from_slice(&self.scratch);
        self.base_timestamp = Some(base_timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_delta = offset_delta;
        self.count += 1;
        assert!(
            self.count <= offset_delta.saturating_add(1),
            "each record has an offset of its own"
        );
        assert!(
            self.records.len() + BATCH_HEADER_BYTES <= i32::MAX as usize,
            "records that are not compressed fit a batch"
        );
        Ok(self)
    }

    /// Records so far.
    pub fn record_count(&self) -> u32 {
        self.count.unsigned_abs()
    }

    /// Encodes the batch.
    ///
    /// # Errors
    /// No record, a last offset delta below the last record's, or too many bytes.
    pub fn build(&self) -> Result<Bytes, BuildError> {
        if self.count == 0 {
            return Err(BuildError::Empty);
        }
        let last_delta = self.last_offset_delta.unwrap_or(self.last_delta);
        if last_delta < self.last_delta {
            return Err(BuildError::OffsetOrder {
                offset_delta: last_delta,
            });
        }
        let packed = compress(self.codec, &self.records)?;
        let total = BATCH_HEADER_BYTES + packed.len();
        let batch_length = length(total - BATCH_LENGTH_OVERHEAD)?;
        let kind = match self.log_append_time {
            Some(_) => TimestampType::LogAppendTime,
            None => TimestampType::CreateTime,
        };
        let header = BatchHeader {
            base_offset: self.base_offset,
            batch_length: batch_length.unsigned_abs(),
            leader_epoch: self.leader_epoch,
            crc: 0,
            attributes: self
                .attributes
                .with_codec(self.codec)
                .with_timestamp_type(kind),
            last_offset_delta: last_delta.unsigned_abs(),
            base_timestamp: self.base_timestamp.unwrap_or(TimestampMs::NONE),
            max_timestamp: self.log_append_time.unwrap_or(self.max_timestamp),
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.record_count(),
        };
        let mut out = Vec::with_capacity(total);
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(&packed);
        let crc = crc32c::crc32c(&out[BATCH_CRC_START..]);
        out[CRC_AT..BATCH_CRC_START].copy_from_slice(&crc.to_be_bytes());
        assert!(
            out.len() == header.total_bytes(),
            "the header states the batch's length"
        );
        assert!(
            i64::from(header.record_count) <= i64::from(header.last_offset_delta) + 1,
            "the offsets have room for the records"
        );
        Ok(out.into())
    }
}

fn encode_record(
    out: &mut Vec<u8>,
    offset_delta: i32,
    timestamp_delta: i64,
    record: &NewRecord<'_>,
) -> Result<(), BuildError> {
    assert!(offset_delta >= 0, "a record is not before its batch");
    out.push(0);
    put_varlong(out, timestamp_delta);
    put_varint(out, offset_delta);
    put_nullable(out, record.key)?;
    put_nullable(out, record.value)?;
    put_varint(out, length(record.headers.len())?);
    for (key, value) in record.headers {
        put_nullable(out, Some(key.as_bytes()))?;
        put_nullable(out, *value)?;
    }
    Ok(())
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<(), BuildError> {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, length(bytes.len())?);
            out.extend_from_slice(bytes);
        }
    }
    Ok(())
}

/// A length as the format states it.
pub(super) fn length(bytes: usize) -> Result<i32, BuildError> {
    i32::try_from(bytes).map_err(|_| BuildError::TooLarge)
}
