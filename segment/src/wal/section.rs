//! A partition's part of a WAL object: its row in the directory, its bytes, and how a shard builds
//! it.

use bytes::Bytes;

use crate::batch::{Batch, BatchHeader, TimestampType};
use crate::cursor::{Cursor, Ended};
use crate::ids::{
    LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TimestampMs, TopicId,
    TopicPartition,
};
use crate::record::{ControlMarker, MarkerKind, RecordError};

/// Bytes of a section's row without its producer batches.
pub(super) const ENTRY_BYTES: usize = 88;
/// Bytes of a producer batch in a row.
pub(super) const PRODUCER_BATCH_BYTES: usize = 48;

const PLACE_INLINE: u8 = 0;
const PLACE_OWN: u8 = 1;

/// What an idempotent producer's batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProducerBatchKind {
    /// Data outside a transaction.
    Idempotent,
    /// Data inside a transaction.
    Transactional,
    /// A marker that commits the producer's open transaction.
    Commit {
        /// Epoch of the transaction coordinator that wrote it.
        coordinator_epoch: i32,
    },
    /// A marker that aborts the producer's open transaction.
    Abort {
        /// Epoch of the transaction coordinator that wrote it.
        coordinator_epoch: i32,
    },
}

impl ProducerBatchKind {
    fn encode(self) -> (u8, i32) {
        let (number, epoch) = match self {
            Self::Idempotent => (0, -1),
            Self::Transactional => (1, -1),
            Self::Commit { coordinator_epoch } => (2, coordinator_epoch),
            Self::Abort { coordinator_epoch } => (3, coordinator_epoch),
        };
        assert!(
            Self::decode(number, epoch) == Some(self),
            "a kind is read as it was written"
        );
        (number, epoch)
    }

    fn decode(number: u8, coordinator_epoch: i32) -> Option<Self> {
        match (number, coordinator_epoch) {
            (0, -1) => Some(Self::Idempotent),
            (1, -1) => Some(Self::Transactional),
            (2, coordinator_epoch) => Some(Self::Commit { coordinator_epoch }),
            (3, coordinator_epoch) => Some(Self::Abort { coordinator_epoch }),
            _ => None,
        }
    }

    /// Whether this is a transaction marker, which has no sequence.
    pub fn is_marker(self) -> bool {
        matches!(self, Self::Commit { .. } | Self::Abort { .. })
    }
}

/// What a taker must know of one batch of an idempotent producer to go on without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Id of the producer.
    pub producer_id: ProducerId,
    /// Epoch of the producer.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record; `NONE` for a marker.
    pub base_sequence: Sequence,
    /// Records in the batch.
    pub record_count: u32,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Largest timestamp of the records.
    pub max_timestamp: TimestampMs,
    /// Data or marker, in or out of a transaction.
    pub kind: ProducerBatchKind,
}

impl ProducerBatch {
    /// Reads what a stored batch says of its producer; `None` for a batch without a producer id.
    ///
    /// # Errors
    /// A control batch whose marker cannot be read.
    pub fn from_batch(batch: &Batch<'_>) -> Result<Option<Self>, RecordError> {
        let header = &batch.header;
        if !header.is_idempotent() {
            return Ok(None);
        }
        let kind = if header.attributes.is_control() {
            let marker = ControlMarker::parse(batch)?;
            let coordinator_epoch = marker.coordinator_epoch;
            match marker.kind {
                MarkerKind::Commit => ProducerBatchKind::Commit { coordinator_epoch },
                MarkerKind::Abort => ProducerBatchKind::Abort { coordinator_epoch },
            }
        } else if header.attributes.is_transactional() {
            ProducerBatchKind::Transactional
        } else {
            ProducerBatchKind::Idempotent
        };
        Ok(Some(Self {
            producer_id: header.producer_id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            record_count: header.record_count,
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
            kind,
        }))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let (kind, coordinator_epoch) = self.kind.encode();
        out.extend_from_slice(&self.producer_id.get().to_be_bytes());
        out.extend_from_slice(&self.epoch.get().to_be_bytes());
        out.extend_from_slice(&[kind, 0]);
        out.extend_from_slice(&coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&self.base_sequence.get().to_be_bytes());
        out.extend_from_slice(&self.record_count.to_be_bytes());
        out.extend_from_slice(&self.base_offset.get().to_be_bytes());
        out.extend_from_slice(&self.last_offset.get().to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.get().to_be_bytes());
        assert!(
            out.len() - start == PRODUCER_BATCH_BYTES,
            "a producer batch has 48 bytes"
        );
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, Ended> {
        let start = cursor.position();
        let producer_id = ProducerId::new(cursor.i64()?);
        let epoch = ProducerEpoch::new(cursor.i16()?);
        let kind = cursor.u8()?;
        let reserved = cursor.u8()?;
        let kind = ProducerBatchKind::decode(kind, cursor.i32()?);
        let base_sequence = Sequence::new(cursor.i32()?);
        let record_count = cursor.u32()?;
        let base_offset = Offset::new(cursor.i64()?);
        let last_offset = Offset::new(cursor.i64()?);
        let max_timestamp = TimestampMs::new(cursor.i64()?);
        assert!(
            cursor.position() - start == PRODUCER_BATCH_BYTES,
            "a producer batch has 48 bytes"
        );
        Ok(kind.filter(|_| reserved == 0).map(|kind| Self {
            producer_id,
            epoch,
            base_sequence,
            record_count,
            base_offset,
            last_offset,
            max_timestamp,
            kind,
        }))
    }

    fn is_sound(&self) -> bool {
        let sequence_fits = self.kind.is_marker() || self.base_sequence >= Sequence::ZERO;
        self.producer_id.is_some()
            && self.epoch >= ProducerEpoch::ZERO
            && sequence_fits
            && self.base_offset.is_valid()
            && self.base_offset.last_of_count(self.record_count) == Some(self.last_offset)
    }
}

/// Where the bytes of a section lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionPlace {
    /// In the WAL object itself.
    Inline {
        /// First byte in the object.
        position: u64,
    },
    /// In the session's `own-{counter}.kfs`, as the whole body of that segment.
    Own {
        /// The object's counter.
        counter: u64,
    },
}

/// One row of a WAL object's directory. Immutable, shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalEntry {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// Epoch of the owner that appended.
    pub leader_epoch: LeaderEpoch,
    /// First offset of the section.
    pub first_offset: Offset,
    /// Last offset of the section.
    pub last_offset: Offset,
    /// Largest timestamp of the section's batches.
    pub max_timestamp: TimestampMs,
    /// First offset with that timestamp, where it is known without reading the records.
    pub max_timestamp_offset: Option<Offset>,
    /// Records of the section: last offset - first offset + 1.
    pub record_count: u32,
    /// Where the bytes lie.
    pub place: SectionPlace,
    /// Bytes of the section.
    pub len: u64,
    /// CRC-32 (IEEE) of the section's bytes.
    pub crc: u32,
    /// The batches of idempotent producers, in offset order.
    pub producers: Vec<ProducerBatch>,
}

impl WalEntry {
    /// The partition that the section belongs to.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.partition)
    }

    /// Byte range in the WAL object; `None` when the bytes are in an object of their own.
    pub fn inline_range(&self) -> Option<std::ops::Range<u64>> {
        match self.place {
            SectionPlace::Inline { position } => Some(position..position.checked_add(self.len)?),
            SectionPlace::Own { .. } => None,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, place) = match self.place {
            SectionPlace::Inline { position } => (PLACE_INLINE, position),
            SectionPlace::Own { counter } => (PLACE_OWN, counter),
        };
        let start = out.len();
        let producer_count = u32::try_from(self.producers.len()).expect("a flush is bounded");
        out.extend_from_slice(&self.topic.get());
        out.extend_from_slice(&self.partition.get().to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.get().to_be_bytes());
        out.extend_from_slice(&self.first_offset.get().to_be_bytes());
        out.extend_from_slice(&self.last_offset.get().to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.get().to_be_bytes());
        let max_timestamp_offset = self.max_timestamp_offset.unwrap_or(Offset::NONE);
        out.extend_from_slice(&max_timestamp_offset.get().to_be_bytes());
        out.extend_from_slice(&self.record_count.to_be_bytes());
        out.extend_from_slice(&[kind, 0, 0, 0]);
        out.extend_from_slice(&place.to_be_bytes());
        out.extend_from_slice(&self.len.to_be_bytes());
        out.extend_from_slice(&self.crc.to_be_bytes());
        out.extend_from_slice(&producer_count.to_be_bytes());
        assert!(out.len() - start == ENTRY_BYTES, "a row has 88 bytes");
        self.producers.iter().for_each(|batch| batch.encode(out));
    }

    /// Reads a row; the inner error names the rule that a complete row breaks.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Result<Self, &'static str>, Ended> {
        let start = cursor.position();
        let topic = TopicId::new(cursor.array()?);
        let partition = PartitionIndex::new(cursor.i32()?);
        let leader_epoch = LeaderEpoch::new(cursor.i32()?);
        let first_offset = Offset::new(cursor.i64()?);
        let last_offset = Offset::new(cursor.i64()?);
        let max_timestamp = TimestampMs::new(cursor.i64()?);
        let max_timestamp_offset = Offset::new(cursor.i64()?);
        let record_count = cursor.u32()?;
        let [kind, reserved @ ..] = cursor.array::<4>()?;
        let place = cursor.u64()?;
        let len = cursor.u64()?;
        let crc = cursor.u32()?;
        let producer_count = cursor.count(PRODUCER_BATCH_BYTES)?;
        assert!(
            cursor.position() - start == ENTRY_BYTES,
            "a row has 88 bytes before its producer batches"
        );
        let mut producers = Vec::with_capacity(producer_count);
        for _ in 0..producer_count {
            match ProducerBatch::read(cursor)? {
                Some(batch) => producers.push(batch),
                None => return Ok(Err("a producer batch has an unknown kind")),
            }
        }
        let place = match kind {
            PLACE_INLINE => SectionPlace::Inline { position: place },
            PLACE_OWN => SectionPlace::Own { counter: place },
            _ => return Ok(Err("its place is of an unknown kind")),
        };
        if reserved != [0; 3] {
            return Ok(Err("a reserved byte is set"));
        }
        if max_timestamp_offset < Offset::NONE {
            return Ok(Err("the offset of the max timestamp is out of range"));
        }
        let entry = Self {
            topic,
            partition,
            leader_epoch,
            first_offset,
            last_offset,
            max_timestamp,
            max_timestamp_offset: Some(max_timestamp_offset).filter(|offset| offset.is_valid()),
            record_count,
            place,
            len,
            crc,
            producers,
        };
        Ok(entry.check().map(|()| entry))
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let within = |offset: Offset| self.first_offset <= offset && offset <= self.last_offset;
        let rules = [
            (self.partition.get() >= 0, "the partition is negative"),
            (self.leader_epoch.get() >= 0, "the leader epoch is negative"),
            (self.first_offset.is_valid(), "the first offset is negative"),
            (
                self.first_offset.last_of_count(self.record_count) == Some(self.last_offset),
                "offsets and record count differ",
            ),
            (
                self.last_offset.next().is_some(),
                "the last offset overflows",
            ),
            (
                self.max_timestamp_offset.is_none_or(within),
                "the offset of the max timestamp is out of range",
            ),
            (
                self.len >= crate::batch::BATCH_HEADER_BYTES as u64,
                "it is shorter than a batch",
            ),
            (
                self.producers.iter().all(|batch| batch.is_sound()),
                "a producer batch contradicts itself",
            ),
            (
                self.producers
                    .iter()
                    .all(|batch| within(batch.base_offset) && within(batch.last_offset)),
                "a producer batch is out of range",
            ),
            (
                self.producers
                    .is_sorted_by(|a, b| a.last_offset < b.base_offset),
                "producer batches are out of order",
            ),
        ];
        rules
            .iter()
            .find(|(holds, _)| !holds)
            .map_or(Ok(()), |(_, what)| Err(what))
    }
}

/// The bytes of a section that is to be written.
#[derive(Debug, Clone)]
pub enum SectionBody {
    /// Written into the WAL object: chunks of whole batches, in offset order.
    Inline(Vec<Bytes>),
    /// Durable already as `own-{counter}.kfs`.
    Own {
        /// The object's counter.
        counter: u64,
    },
}

/// A partition's part of a flush, hashed by the shard that owns it.
#[derive(Debug, Clone)]
pub struct WalSection {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// Epoch of the owner that appends.
    pub leader_epoch: LeaderEpoch,
    /// First offset of the section.
    pub first_offset: Offset,
    /// Last offset of the section.
    pub last_offset: Offset,
    /// Largest timestamp of the section's batches.
    pub max_timestamp: TimestampMs,
    /// First offset with that timestamp, where it is known without reading the records.
    pub max_timestamp_offset: Option<Offset>,
    /// Records of the section.
    pub record_count: u32,
    /// Bytes of the section.
    pub len: u64,
    /// CRC-32 (IEEE) of the section's bytes.
    pub crc: u32,
    /// The batches of idempotent producers, in offset order.
    pub producers: Vec<ProducerBatch>,
    /// The bytes, or where they are already.
    pub body: SectionBody,
}

impl WalSection {
    /// The partition that the section belongs to.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.partition)
    }

    /// The same section with its bytes in `own-{counter}.kfs`, once that is durable. Gives the
    /// chunks back too (empty when they were not inline).
    pub fn into_own(mut self, counter: u64) -> (Self, Vec<Bytes>) {
        let chunks = match std::mem::replace(&mut self.body, SectionBody::Own { counter }) {
            SectionBody::Inline(chunks) => chunks,
            SectionBody::Own { .. } => Vec::new(),
        };
        let bytes: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        assert!(
            chunks.is_empty() || bytes == self.len,
            "the object of its own holds the whole section"
        );
        (self, chunks)
    }

    pub(super) fn into_entry(self, position: u64) -> (WalEntry, Vec<Bytes>) {
        let (place, chunks) = match self.body {
            SectionBody::Inline(chunks) => (SectionPlace::Inline { position }, chunks),
            SectionBody::Own { counter } => (SectionPlace::Own { counter }, Vec::new()),
        };
        let entry = WalEntry {
            topic: self.topic,
            partition: self.partition,
            leader_epoch: self.leader_epoch,
            first_offset: self.first_offset,
            last_offset: self.last_offset,
            max_timestamp: self.max_timestamp,
            max_timestamp_offset: self.max_timestamp_offset,
            record_count: self.record_count,
            place,
            len: self.len,
            crc: self.crc,
            producers: self.producers,
        };
        (entry, chunks)
    }
}

/// Collects the batches of one partition's section and hashes them as they come. Shard-owned.
#[derive(Debug, Clone)]
pub struct WalSectionBuilder {
    partition: TopicPartition,
    leader_epoch: LeaderEpoch,
    first_offset: Offset,
    next_offset: Offset,
    max_timestamp: TimestampMs,
    max_timestamp_offset: Option<Offset>,
    len: u64,
    sum: crc32fast::Hasher,
    producers: Vec<ProducerBatch>,
    chunks: Vec<Bytes>,
}

impl WalSectionBuilder {
    /// An empty section whose first batch will have `first_offset`.
    pub fn new(partition: TopicPartition, leader_epoch: LeaderEpoch, first_offset: Offset) -> Self {
        assert!(first_offset.is_valid(), "a log has no negative offsets");
        assert!(leader_epoch.get() >= 0, "an owner has an epoch");
        Self {
            partition,
            leader_epoch,
            first_offset,
            next_offset: first_offset,
            max_timestamp: TimestampMs::NONE,
            max_timestamp_offset: None,
            len: 0,
            sum: crc32fast::Hasher::new(),
            producers: Vec::new(),
            chunks: Vec::new(),
        }
    }

    /// Appends one validated batch that has its place in the log (`batch::assign`).
    ///
    /// # Errors
    /// A control batch whose marker cannot be read: nothing is appended.
    ///
    /// # Panics
    /// When the header is not the bytes', or the batch does not follow the one before it.
    pub fn push(&mut self, header: &BatchHeader, bytes: Bytes) -> Result<(), RecordError> {
        assert!(
            bytes.len() == header.total_bytes(),
            "the header is the batch's"
        );
        assert!(
            header.base_offset == self.next_offset,
            "offsets follow each other"
        );
        assert!(
            header.leader_epoch == self.leader_epoch,
            "a section has one epoch"
        );
        let batch = Batch {
            header: *header,
            bytes: &bytes,
            position: 0,
        };
        let producer = ProducerBatch::from_batch(&batch)?;
        self.producers.extend(producer);
        if self.chunks.is_empty() || header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            let log_append = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
            let known = header.record_count == 1 || log_append;
            self.max_timestamp_offset = known.then_some(header.base_offset);
        }
        self.next_offset = header.next_offset();
        self.len += bytes.len() as u64;
        self.sum.update(&bytes);
        self.chunks.push(bytes);
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no batch was pushed.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Offset that the next batch must have.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The section.
    ///
    /// # Panics
    /// When no batch was pushed, or more than `u32::MAX` records.
    pub fn finish(self) -> WalSection {
        assert!(!self.chunks.is_empty(), "a section holds a batch");
        let records = self.next_offset.distance_from(self.first_offset);
        let record_count = records
            .and_then(|count| u32::try_from(count).ok())
            .expect("a flush is bounded far below 2^32 records");
        let last_offset = self.first_offset.last_of_count(record_count);
        let bytes: u64 = self.chunks.iter().map(|chunk| chunk.len() as u64).sum();
        assert!(bytes == self.len, "each chunk is counted once");
        assert!(
            self.producers
                .is_sorted_by(|a, b| a.last_offset < b.base_offset),
            "producer batches follow each other"
        );
        WalSection {
            topic: self.partition.topic,
            partition: self.partition.partition,
            leader_epoch: self.leader_epoch,
            first_offset: self.first_offset,
            last_offset: last_offset.expect("the batches before it fitted"),
            max_timestamp: self.max_timestamp,
            max_timestamp_offset: self.max_timestamp_offset,
            record_count,
            len: self.len,
            crc: self.sum.finalize(),
            producers: self.producers,
            body: SectionBody::Inline(self.chunks),
        }
    }
}
