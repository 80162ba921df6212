//! The producer snapshot object: what deduplication and transactions need to know of a partition's
//! log at exactly one end offset. Written by each compaction, loaded by a taker.
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! | 0 | 4 | magic `KPRS` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 16 | topic id |
//! | 24 | 4 | partition |
//! | 28 | 8 | end offset |
//! | 36 | 4 | producer count |
//! | 40 | | producers, by rising id |
//! | | 4 | count of aborted transactions |
//! | | | aborted transactions, by rising last offset |
//! | end-4 | 4 | CRC-32 (IEEE) of all before it |
//!
//! A producer: id (8), epoch (2), batch count (2), coordinator epoch (4), last timestamp
//! (8), first offset of its open transaction or -1 (8), then per batch base sequence (4), last
//! sequence (4), base offset (8), last offset (8), timestamp (8). An aborted transaction: producer
//! id (8), first offset (8), last offset (8), last stable offset (8).

use bytes::Bytes;

use crate::cursor::{Cursor, Ended};
use crate::ids::{
    Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TimestampMs, TopicId,
    TopicPartition,
};

/// Batches remembered a producer, as in Apache Kafka: a client has at most five in flight.
pub const PRODUCER_BATCHES_MAX: usize = 5;

const MAGIC: [u8; 4] = *b"KPRS";
const VERSION: u16 = 1;
const PRODUCER_BYTES: usize = 32;
const BATCH_BYTES: usize = 32;
const ABORTED_BYTES: usize = 32;
const CRC_BYTES: usize = 4;
/// Magic, version, reserved, topic, partition and end offset.
const HEADER_BYTES: usize = 36;

// The field has 16 bits.
const _: () = assert!(PRODUCER_BATCHES_MAX <= u16::MAX as usize);

/// Why bytes are not a producer snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProducerSnapshotError {
    /// Fewer bytes than the counts ask for.
    #[error("producer snapshot is cut off at {len} bytes")]
    Truncated {
        /// Bytes present.
        len: usize,
    },
    /// More bytes than the counts ask for.
    #[error("producer snapshot has {extra} bytes after its end")]
    TrailingBytes {
        /// Bytes past the end.
        extra: usize,
    },
    /// Another magic.
    #[error("producer snapshot has magic {found:02x?}")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A version that this code does not know.
    #[error("producer snapshot has version {version}, expected 1")]
    Version {
        /// Version found.
        version: u16,
    },
    /// The CRC-32 does not match.
    #[error("producer snapshot has CRC {stored:08x}, its bytes give {computed:08x}")]
    Crc {
        /// CRC stored.
        stored: u32,
        /// CRC of the bytes.
        computed: u32,
    },
    /// A field is out of range or out of order.
    #[error("producer snapshot is wrong: {what}")]
    Content {
        /// The rule that does not hold.
        what: &'static str,
    },
}

/// One remembered batch of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotBatch {
    /// Sequence of its first record.
    pub base_sequence: Sequence,
    /// Sequence of its last record.
    pub last_sequence: Sequence,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Its max timestamp.
    pub timestamp: TimestampMs,
}

/// What is known of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer's id.
    pub producer_id: ProducerId,
    /// Its latest epoch.
    pub epoch: ProducerEpoch,
    /// Epoch of the coordinator that wrote its last marker; -1 before the first.
    pub coordinator_epoch: i32,
    /// Timestamp of its last batch or marker, for expiry.
    pub last_timestamp: TimestampMs,
    /// First offset of its open transaction, if one is open.
    pub transaction_first_offset: Option<Offset>,
    /// Its last batches in offset order, at most five; none after a marker of a new epoch.
    pub batches: Vec<SnapshotBatch>,
}

/// A transaction that was aborted, for readers of committed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: ProducerId,
    /// First offset of the transaction.
    pub first_offset: Offset,
    /// Offset of the abort marker.
    pub last_offset: Offset,
    /// Last stable offset when the marker was appended.
    pub last_stable_offset: Offset,
}

/// State of all producers of a partition at one end offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// The partition.
    pub partition: TopicPartition,
    /// Exactly the batches below this offset are taken into account.
    pub end_offset: Offset,
    /// Producers by rising id.
    pub producers: Vec<ProducerState>,
    /// Aborted transactions at or above the log start, by rising last offset.
    pub aborted: Vec<AbortedTransaction>,
}

impl ProducerSnapshot {
    /// Decodes a snapshot object.
    ///
    /// # Errors
    /// Anything but exactly what `encode` writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProducerSnapshotError> {
        let truncated = ProducerSnapshotError::Truncated { len: bytes.len() };
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(truncated)?;
        let mut cursor = Cursor::new(body);
        read_magic(&mut cursor).unwrap_or(Err(truncated))?;
        let (stored, computed) = (u32::from_be_bytes(*crc), crc32fast::hash(body));
        if stored != computed {
            return Err(ProducerSnapshotError::Crc { stored, computed });
        }
        let snapshot = Self::read(&mut cursor).map_err(|Ended| truncated)?;
        if cursor.remaining() != 0 {
            return Err(ProducerSnapshotError::TrailingBytes {
                extra: cursor.remaining(),
            });
        }
        match snapshot.fault() {
            Some(what) => Err(ProducerSnapshotError::Content { what }),
            None => Ok(snapshot),
        }
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Ended> {
        let topic = TopicId::new(cursor.array()?);
        let partition = TopicPartition::new(topic, PartitionIndex::new(cursor.i32()?));
        let end_offset = Offset::new(cursor.i64()?);
        let count = cursor.count(PRODUCER_BYTES)?;
        let mut producers = Vec::with_capacity(count);
        for _ in 0..count {
            producers.push(read_producer(cursor)?);
        }
        let count = cursor.count(ABORTED_BYTES)?;
        let mut aborted = Vec::with_capacity(count);
        for _ in 0..count {
            aborted.push(AbortedTransaction {
                producer_id: ProducerId::new(cursor.i64()?),
                first_offset: Offset::new(cursor.i64()?),
                last_offset: Offset::new(cursor.i64()?),
                last_stable_offset: Offset::new(cursor.i64()?),
            });
        }
        Ok(Self {
            partition,
            end_offset,
            producers,
            aborted,
        })
    }

    /// The object's bytes.
    ///
    /// # Panics
    /// When the content breaks a rule of the format: it is our own state.
    pub fn encode(&self) -> Bytes {
        let fault = self.fault();
        assert!(
            fault.is_none(),
            "a producer snapshot of our own is sound: {}",
            fault.unwrap_or_default()
        );
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.partition.topic.get());
        out.extend_from_slice(&self.partition.partition.get().to_be_bytes());
        out.extend_from_slice(&self.end_offset.get().to_be_bytes());
        put_count(&mut out, self.producers.len());
        self.producers
            .iter()
            .for_each(|producer| put_producer(&mut out, producer));
        put_count(&mut out, self.aborted.len());
        for transaction in &self.aborted {
            out.extend_from_slice(&transaction.producer_id.get().to_be_bytes());
            out.extend_from_slice(&transaction.first_offset.get().to_be_bytes());
            out.extend_from_slice(&transaction.last_offset.get().to_be_bytes());
            out.extend_from_slice(&transaction.last_stable_offset.get().to_be_bytes());
        }
        let batches: usize = self.producers.iter().map(|own| own.batches.len()).sum();
        let rows = self.producers.len() * PRODUCER_BYTES + batches * BATCH_BYTES;
        let bytes = HEADER_BYTES + 2 * 4 + rows + self.aborted.len() * ABORTED_BYTES;
        assert!(out.len() == bytes, "rows have the lengths of their kinds");
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out.into()
    }

    /// The rule that the content breaks, if any.
    fn fault(&self) -> Option<&'static str> {
        let rules = [
            (
                self.partition.partition.get() >= 0,
                "the partition is negative",
            ),
            (self.end_offset.is_valid(), "the end offset is negative"),
            (
                self.producers
                    .is_sorted_by(|a, b| a.producer_id < b.producer_id),
                "producers are out of order",
            ),
            (
                self.producers
                    .iter()
                    .all(|producer| producer.is_sound(self.end_offset)),
                "a producer contradicts itself",
            ),
            (
                self.aborted
                    .is_sorted_by(|a, b| a.last_offset < b.last_offset),
                "aborted transactions are out of order",
            ),
            (
                self.aborted
                    .iter()
                    .all(|transaction| transaction.is_sound(self.end_offset)),
                "an aborted transaction contradicts itself",
            ),
        ];
        rules
            .iter()
            .find(|(holds, _)| !holds)
            .map(|(_, what)| *what)
    }
}

impl ProducerState {
    fn is_sound(&self, end: Offset) -> bool {
        let below = |offset: Offset| offset.is_valid() && offset < end;
        self.producer_id.is_some()
            && self.epoch >= ProducerEpoch::ZERO
            && self.coordinator_epoch >= -1
            && self.transaction_first_offset.is_none_or(below)
            && self.batches.len() <= PRODUCER_BATCHES_MAX
            && self
                .batches
                .iter()
                .all(|batch| batch.is_sound() && below(batch.last_offset))
            && self
                .batches
                .is_sorted_by(|a, b| a.last_offset < b.base_offset)
    }
}

impl SnapshotBatch {
    fn is_sound(&self) -> bool {
        let records = self.last_offset.distance_from(self.base_offset);
        let records = records.and_then(|records| u32::try_from(records).ok());
        self.base_offset.is_valid()
            && self.base_sequence >= Sequence::ZERO
            && records.map(|records| self.base_sequence.next(records)) == Some(self.last_sequence)
    }
}

impl AbortedTransaction {
    fn is_sound(&self, end: Offset) -> bool {
        self.producer_id.is_some()
            && self.first_offset.is_valid()
            && self.first_offset < self.last_offset
            && self.last_offset < end
            && self.last_stable_offset.is_valid()
    }
}

fn read_magic(cursor: &mut Cursor<'_>) -> Result<Result<(), ProducerSnapshotError>, Ended> {
    let found = cursor.array::<4>()?;
    if found != MAGIC {
        return Ok(Err(ProducerSnapshotError::Magic { found }));
    }
    let version = cursor.u16()?;
    if version != VERSION {
        return Ok(Err(ProducerSnapshotError::Version { version }));
    }
    if cursor.u16()? != 0 {
        return Ok(Err(ProducerSnapshotError::Content {
            what: "a reserved byte is set",
        }));
    }
    Ok(Ok(()))
}

fn read_producer(cursor: &mut Cursor<'_>) -> Result<ProducerState, Ended> {
    let producer_id = ProducerId::new(cursor.i64()?);
    let epoch = ProducerEpoch::new(cursor.i16()?);
    let batch_count = usize::from(cursor.u16()?);
    let coordinator_epoch = cursor.i32()?;
    let last_timestamp = TimestampMs::new(cursor.i64()?);
    let transaction = Offset::new(cursor.i64()?);
    let mut batches = Vec::with_capacity(batch_count.min(PRODUCER_BATCHES_MAX));
    for _ in 0..batch_count {
        batches.push(SnapshotBatch {
            base_sequence: Sequence::new(cursor.i32()?),
            last_sequence: Sequence::new(cursor.i32()?),
            base_offset: Offset::new(cursor.i64()?),
            last_offset: Offset::new(cursor.i64()?),
            timestamp: TimestampMs::new(cursor.i64()?),
        });
    }
    Ok(ProducerState {
        producer_id,
        epoch,
        coordinator_epoch,
        last_timestamp,
        transaction_first_offset: (transaction != Offset::NONE).then_some(transaction),
        batches,
    })
}

fn put_producer(out: &mut Vec<u8>, producer: &ProducerState) {
    let start = out.len();
    let batch_count = u16::try_from(producer.batches.len()).expect("at most five");
    let transaction = producer.transaction_first_offset.unwrap_or(Offset::NONE);
    out.extend_from_slice(&producer.producer_id.get().to_be_bytes());
    out.extend_from_slice(&producer.epoch.get().to_be_bytes());
    out.extend_from_slice(&batch_count.to_be_bytes());
    out.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
    out.extend_from_slice(&producer.last_timestamp.get().to_be_bytes());
    out.extend_from_slice(&transaction.get().to_be_bytes());
    assert!(
        out.len() - start == PRODUCER_BYTES,
        "a producer has 32 bytes before its batches"
    );
    for batch in &producer.batches {
        out.extend_from_slice(&batch.base_sequence.get().to_be_bytes());
        out.extend_from_slice(&batch.last_sequence.get().to_be_bytes());
        out.extend_from_slice(&batch.base_offset.get().to_be_bytes());
        out.extend_from_slice(&batch.last_offset.get().to_be_bytes());
        out.extend_from_slice(&batch.timestamp.get().to_be_bytes());
    }
    let expected = PRODUCER_BYTES + producer.batches.len() * BATCH_BYTES;
    assert!(out.len() - start == expected, "a batch has 32 bytes");
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a partition's state is bounded");
    out.extend_from_slice(&count.to_be_bytes());
}

#[cfg(test)]
mod tests;
