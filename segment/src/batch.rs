//! Kafka record batch v2: the unit that is produced, stored and fetched, protected by one CRC-32C.
//!
//! The header has 61 bytes. Base offset and leader epoch lie outside the CRC, so the broker patches
//! them in place; everything from the attributes on is covered.
//!
//! | at | bytes | field | at | bytes | field |
//! |---:|---:|---|---:|---:|---|
//! | 0 | 8 | base offset | 27 | 8 | base timestamp |
//! | 8 | 4 | batch length (bytes after this field) | 35 | 8 | max timestamp |
//! | 12 | 4 | partition leader epoch | 43 | 8 | producer id |
//! | 16 | 1 | magic (2) | 51 | 2 | producer epoch |
//! | 17 | 4 | CRC-32C of bytes 21.. | 53 | 4 | base sequence |
//! | 21 | 2 | attributes | 57 | 4 | record count |
//! | 23 | 4 | last offset delta | 61 | | records |

use crate::cursor::{Cursor, Ended};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Bytes of a batch header.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes before the ones that the batch length counts.
pub const BATCH_LENGTH_OVERHEAD: usize = 12;
/// Where the bytes covered by the CRC begin.
pub const BATCH_CRC_START: usize = 21;
/// Most bytes that a batch can have: the length field is a signed 32-bit integer.
pub const BATCH_BYTES_MAX: usize = i32::MAX as usize + BATCH_LENGTH_OVERHEAD;

const MAGIC: i8 = 2;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const EPOCH_AT: usize = 12;
const MAX_TIMESTAMP_AT: usize = 35;

const CODEC_MASK: i16 = 0x07;
const TIMESTAMP_TYPE_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

const _: () = assert!(BATCH_HEADER_BYTES == 57 + 4);
const _: () = assert!(CRC_AT + 4 == BATCH_CRC_START);
const _: () = assert!(BATCH_LENGTH_OVERHEAD == EPOCH_AT && EPOCH_AT + 4 == MAGIC_AT);
const _: () = assert!(MAGIC_AT + 1 == CRC_AT);
const _: () = assert!(MAX_TIMESTAMP_AT == BATCH_CRC_START + 2 + 4 + 8);
const _: () = assert!(
    CODEC_MASK + TIMESTAMP_TYPE_BIT + TRANSACTIONAL_BIT + CONTROL_BIT + DELETE_HORIZON_BIT
        == CODEC_MASK | TIMESTAMP_TYPE_BIT | TRANSACTIONAL_BIT | CONTROL_BIT | DELETE_HORIZON_BIT,
    "no bit has two meanings"
);
const _: () = {
    let mut number = 0;
    while number < Codec::ALL.len() {
        assert!(Codec::ALL[number].number() as usize == number);
        let read = Codec::from_number(number as u8);
        assert!(matches!(read, Some(codec) if codec.number() as usize == number));
        number += 1;
    }
    assert!(
        Codec::from_number(number as u8).is_none(),
        "ALL has them all"
    );
    assert!(number <= CODEC_MASK as usize + 1);
};

/// Why bytes are not a record batch that may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header or the batch length asks for.
    #[error("record batch is cut off: {available} of {needed} bytes")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes present.
        available: usize,
    },
    /// More bytes than the batch length says.
    #[error("record batch has {extra} bytes after its end")]
    TrailingBytes {
        /// Bytes past the end.
        extra: usize,
    },
    /// Magic 0 or 1 (message sets) or a number that no Kafka version has.
    #[error("record batch has magic {magic}, expected 2")]
    UnsupportedMagic {
        /// The magic byte.
        magic: i8,
    },
    /// The batch length is smaller than a header, or negative.
    #[error("record batch has batch length {batch_length}")]
    Length {
        /// The field as found.
        batch_length: i32,
    },
    /// The batch has more bytes than the limit allows.
    #[error("record batch has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Bytes of the batch.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The CRC-32C does not match.
    #[error("record batch has CRC {stored:08x}, its bytes give {computed:08x}")]
    Crc {
        /// CRC in the header.
        stored: u32,
        /// CRC of the bytes.
        computed: u32,
    },
    /// Codec bits 5 to 7, which no Kafka version has.
    #[error("record batch has compression codec {codec}")]
    Codec {
        /// The codec bits.
        codec: u8,
    },
    /// Record count and last offset delta are negative, or overflow the offset.
    #[error("record batch has {record_count} records and last offset delta {last_offset_delta}")]
    OffsetRange {
        /// Records as stated.
        record_count: i32,
        /// Last offset delta as stated.
        last_offset_delta: i32,
    },
    /// A producer's batch must hold at least one record and last offset delta + 1 of them.
    #[error("producer's batch has {record_count} records, last offset delta {last_offset_delta}")]
    RecordCount {
        /// Records as stated.
        record_count: i32,
        /// Last offset delta as stated.
        last_offset_delta: i32,
    },
    /// A client sent a control batch.
    #[error("client sent a control batch")]
    ControlFromClient,
    /// A timestamp below -1, or a producer's batch that claims log append time.
    #[error("record batch has illegal timestamps")]
    Timestamp,
    /// The largest timestamp is later than the limit.
    #[error("record batch has max timestamp {max_timestamp}, later than {latest}")]
    TimestampTooLate {
        /// Max timestamp of the batch.
        max_timestamp: TimestampMs,
        /// The limit.
        latest: TimestampMs,
    },
    /// Producer id, epoch and sequence contradict each other, or a transaction has no producer id.
    #[error("record batch has producer id {producer_id}, epoch {epoch}, sequence {sequence}")]
    Producer {
        /// Producer id as stated.
        producer_id: ProducerId,
        /// Producer epoch as stated.
        epoch: ProducerEpoch,
        /// Base sequence as stated.
        sequence: Sequence,
    },
}

impl BatchError {
    /// Whether damage on the way explains the error, so that a producer may send the batch again.
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Truncated { .. }
            | Self::TrailingBytes { .. }
            | Self::Length { .. }
            | Self::Crc { .. } => true,
            Self::UnsupportedMagic { .. }
            | Self::TooLarge { .. }
            | Self::Codec { .. }
            | Self::OffsetRange { .. }
            | Self::RecordCount { .. }
            | Self::ControlFromClient
            | Self::Timestamp
            | Self::TimestampTooLate { .. }
            | Self::Producer { .. } => false,
        }
    }
}

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Codec {
    /// Not compressed (0).
    #[default]
    None,
    /// gzip (1).
    Gzip,
    /// Snappy (2), raw or in xerial framing.
    Snappy,
    /// LZ4 frames (3).
    Lz4,
    /// Zstandard frames (4).
    Zstd,
}

impl Codec {
    /// Every codec, in the order of its number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in a batch's attributes.
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The codec with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Kafka's name of the codec (`compression.type`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// What a batch's timestamps mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// Set by the producer, per record.
    #[default]
    CreateTime,
    /// Set by the broker: every record has the batch's max timestamp.
    LogAppendTime,
}

/// The attribute bits of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Attributes(i16);

impl Attributes {
    /// Wraps the raw bits.
    pub const fn new(bits: i16) -> Self {
        Self(bits)
    }

    /// The raw bits.
    pub const fn get(self) -> i16 {
        self.0
    }

    /// The codec, or its number when no Kafka version has it.
    pub const fn codec(self) -> Result<Codec, u8> {
        let number = (self.0 & CODEC_MASK) as u8;
        match Codec::from_number(number) {
            Some(codec) => Ok(codec),
            None => Err(number),
        }
    }

    /// What the timestamps mean.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & TIMESTAMP_TYPE_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds a control record (a transaction marker) and no data.
    pub const fn is_control(self) -> bool {
        self.0 & CONTROL_BIT != 0
    }

    /// Whether the base timestamp is the delete horizon that log compaction set (KIP-534).
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON_BIT != 0
    }

    pub(crate) const fn with_codec(self, codec: Codec) -> Self {
        Self(self.0 & !CODEC_MASK | codec.number() as i16)
    }

    pub(crate) const fn with_timestamp_type(self, kind: TimestampType) -> Self {
        match kind {
            TimestampType::CreateTime => Self(self.0 & !TIMESTAMP_TYPE_BIT),
            TimestampType::LogAppendTime => Self(self.0 | TIMESTAMP_TYPE_BIT),
        }
    }

    pub(crate) const fn with_transactional(self) -> Self {
        Self(self.0 | TRANSACTIONAL_BIT)
    }

    pub(crate) const fn with_delete_horizon(self) -> Self {
        Self(self.0 | DELETE_HORIZON_BIT)
    }

    pub(crate) const fn with_control(self) -> Self {
        Self(self.0 | CONTROL_BIT)
    }
}

/// The 61 bytes before the records of a batch.
///
/// A parsed header is sound: magic 2, a length of at least a header, counts and deltas that are not
/// negative, a last offset that does not overflow. Whether its bytes are intact is `verify_crc`'s
/// business, whether a client may send it `validate`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (before log compaction removed any).
    pub base_offset: Offset,
    /// Bytes after this field: total bytes minus 12.
    pub batch_length: u32,
    /// Epoch of the owner that appended the batch.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of the bytes from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type and flags.
    pub attributes: Attributes,
    /// Last offset minus base offset.
    pub last_offset_delta: u32,
    /// Timestamp of the first record, from which the records' deltas count.
    pub base_timestamp: TimestampMs,
    /// Largest timestamp of the records.
    pub max_timestamp: TimestampMs,
    /// Producer id, or `NONE`.
    pub producer_id: ProducerId,
    /// Producer epoch, or `NONE`.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, or `NONE`.
    pub base_sequence: Sequence,
    /// Records in the batch. Less than last offset delta + 1 after log compaction.
    pub record_count: u32,
}

/// What a producer's batch may be, beyond being well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most bytes of a batch, header included (`max.message.bytes`).
    pub bytes_max: usize,
    /// Latest max timestamp of a batch (`message.timestamp.after.max.ms` added to now), if any.
    pub timestamp_latest: Option<TimestampMs>,
}

impl Default for BatchLimits {
    /// As large as the format allows, at any time.
    fn default() -> Self {
        Self {
            bytes_max: BATCH_BYTES_MAX,
            timestamp_latest: None,
        }
    }
}

impl BatchHeader {
    /// Decodes the header at the front of `bytes`; what follows it may be cut off.
    ///
    /// # Errors
    /// Fewer than 61 bytes, another magic than 2, or a header that is not sound.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        RawHeader::read_framed(bytes)?.check_range()
    }

    /// Checks a batch that a producer sent. `bytes` must hold exactly the batch.
    ///
    /// Checked in this order: magic, length, size, CRC, offset range, codec, counts, control bit,
    /// timestamps, producer fields. The CRC comes before the meaning, so that damage on the way is
    /// reported as damage. The records themselves are not read.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn validate(bytes: &[u8], limits: &BatchLimits) -> Result<Self, BatchError> {
        let raw = RawHeader::read_framed(bytes)?;
        check_len(raw.header.total_bytes(), bytes.len())?;
        if bytes.len() > limits.bytes_max {
            return Err(BatchError::TooLarge {
                bytes: bytes.len(),
                limit: limits.bytes_max,
            });
        }
        raw.header.verify_crc(bytes)?;
        let header = raw.check_range()?;
        header.check_producer_input(limits)?;
        Ok(header)
    }

    /// Decodes the header of `bytes`, which must hold exactly the batch.
    ///
    /// # Errors
    /// As `parse`, and bytes missing or left over.
    pub fn parse_whole(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::parse(bytes)?;
        check_len(header.total_bytes(), bytes.len())?;
        Ok(header)
    }

    /// Compares the CRC-32C with the bytes of the batch. `bytes` must be exactly the batch.
    ///
    /// # Errors
    /// `Crc` when they differ, `Truncated` when there are fewer bytes than a header.
    pub fn verify_crc(&self, bytes: &[u8]) -> Result<(), BatchError> {
        let covered = bytes.get(BATCH_CRC_START..).ok_or(BatchError::Truncated {
            needed: BATCH_HEADER_BYTES,
            available: bytes.len(),
        })?;
        let computed = crc32c::crc32c(covered);
        if computed == self.crc {
            Ok(())
        } else {
            Err(BatchError::Crc {
                stored: self.crc,
                computed,
            })
        }
    }

    /// Bytes of the whole batch, header included.
    pub const fn total_bytes(&self) -> usize {
        self.batch_length as usize + BATCH_LENGTH_OVERHEAD
    }

    /// Offset of the last record (before log compaction removed any).
    pub fn last_offset(&self) -> Offset {
        self.base_offset
            .checked_add(i64::from(self.last_offset_delta))
            .expect("parse and assign refuse an overflow")
    }

    /// Offset that the next batch gets: last offset + 1.
    pub fn next_offset(&self) -> Offset {
        self.last_offset()
            .next()
            .expect("parse and assign refuse an overflow")
    }

    /// Sequence of the last record, or `NONE`.
    pub fn last_sequence(&self) -> Sequence {
        self.base_sequence.last_of_count(self.last_offset_delta + 1)
    }

    /// Whether the batch comes from an idempotent producer.
    pub fn is_idempotent(&self) -> bool {
        self.producer_id.is_some()
    }

    fn check_producer_input(&self, limits: &BatchLimits) -> Result<(), BatchError> {
        if let Err(codec) = self.attributes.codec() {
            return Err(BatchError::Codec { codec });
        }
        if self.record_count == 0 || self.record_count - 1 != self.last_offset_delta {
            return Err(BatchError::RecordCount {
                record_count: i32::try_from(self.record_count).unwrap_or(i32::MAX),
                last_offset_delta: i32::try_from(self.last_offset_delta).unwrap_or(i32::MAX),
            });
        }
        if self.attributes.is_control() {
            return Err(BatchError::ControlFromClient);
        }
        self.check_timestamps(limits)?;
        self.check_producer_fields()
    }

    fn check_timestamps(&self, limits: &BatchLimits) -> Result<(), BatchError> {
        // Only the broker may state log append time: the bit means that the broker set the clock.
        if self.attributes.timestamp_type() == TimestampType::LogAppendTime {
            return Err(BatchError::Timestamp);
        }
        if self.max_timestamp < TimestampMs::NONE || self.base_timestamp < TimestampMs::NONE {
            return Err(BatchError::Timestamp);
        }
        match limits.timestamp_latest {
            Some(latest) if self.max_timestamp > latest => Err(BatchError::TimestampTooLate {
                max_timestamp: self.max_timestamp,
                latest,
            }),
            _ => Ok(()),
        }
    }

    fn check_producer_fields(&self) -> Result<(), BatchError> {
        let consistent = if self.is_idempotent() {
            self.producer_epoch >= ProducerEpoch::ZERO && self.base_sequence >= Sequence::ZERO
        } else {
            self.producer_id == ProducerId::NONE && !self.attributes.is_transactional()
        };
        if consistent {
            return Ok(());
        }
        Err(BatchError::Producer {
            producer_id: self.producer_id,
            epoch: self.producer_epoch,
            sequence: self.base_sequence,
        })
    }

    pub(crate) fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        assert!(
            (BATCH_HEADER_BYTES..=BATCH_BYTES_MAX).contains(&self.total_bytes()),
            "the batch length is one that a reader takes"
        );
        assert!(
            self.record_count.max(self.last_offset_delta) <= i32::MAX as u32,
            "both counts fit their signed fields"
        );
        let mut out = Vec::with_capacity(BATCH_HEADER_BYTES);
        out.extend_from_slice(&self.base_offset.get().to_be_bytes());
        out.extend_from_slice(&self.batch_length.to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.get().to_be_bytes());
        out.push(MAGIC as u8);
        out.extend_from_slice(&self.crc.to_be_bytes());
        out.extend_from_slice(&self.attributes.get().to_be_bytes());
        out.extend_from_slice(&self.last_offset_delta.to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.get().to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.get().to_be_bytes());
        out.extend_from_slice(&self.producer_id.get().to_be_bytes());
        out.extend_from_slice(&self.producer_epoch.get().to_be_bytes());
        out.extend_from_slice(&self.base_sequence.get().to_be_bytes());
        out.extend_from_slice(&self.record_count.to_be_bytes());
        out.try_into().expect("the fields add up to 61 bytes")
    }
}

/// The fields as they lie in the bytes. Those of `header` that a rule bounds are still zero, except
/// that the batch length is set by `read_framed`.
struct RawHeader {
    header: BatchHeader,
    batch_length: i32,
    magic: i8,
    last_offset_delta: i32,
    record_count: i32,
}

impl RawHeader {
    /// Reads a header of magic 2 with a possible length: enough to find the end of the batch.
    fn read_framed(bytes: &[u8]) -> Result<Self, BatchError> {
        // Message sets of magic 0 and 1 keep the byte at the same place and may be shorter than our
        // header, so the magic is looked at first: the client then gets the error that it can act
        // on.
        if let Some(&[byte]) = bytes.get(MAGIC_AT..=MAGIC_AT)
            && byte != MAGIC as u8
        {
            return Err(BatchError::UnsupportedMagic { magic: byte as i8 });
        }
        let mut raw = Self::read(bytes).map_err(|Ended| BatchError::Truncated {
            needed: BATCH_HEADER_BYTES,
            available: bytes.len(),
        })?;
        assert!(raw.magic == MAGIC, "the magic was looked at");
        let batch_length = raw.batch_length;
        let length = u32::try_from(batch_length).unwrap_or(0);
        if (length as usize) < BATCH_HEADER_BYTES - BATCH_LENGTH_OVERHEAD {
            return Err(BatchError::Length { batch_length });
        }
        raw.header.batch_length = length;
        Ok(raw)
    }

    fn read(bytes: &[u8]) -> Result<Self, Ended> {
        let mut cursor = Cursor::new(bytes);
        let base_offset = Offset::new(cursor.i64()?);
        let batch_length = cursor.i32()?;
        let leader_epoch = LeaderEpoch::new(cursor.i32()?);
        let magic = cursor.i8()?;
        let crc = cursor.u32()?;
        let attributes = Attributes::new(cursor.i16()?);
        let last_offset_delta = cursor.i32()?;
        let header = BatchHeader {
            base_offset,
            batch_length: 0,
            leader_epoch,
            crc,
            attributes,
            last_offset_delta: 0,
            base_timestamp: TimestampMs::new(cursor.i64()?),
            max_timestamp: TimestampMs::new(cursor.i64()?),
            producer_id: ProducerId::new(cursor.i64()?),
            producer_epoch: ProducerEpoch::new(cursor.i16()?),
            base_sequence: Sequence::new(cursor.i32()?),
            record_count: 0,
        };
        let record_count = cursor.i32()?;
        assert!(
            cursor.position() == BATCH_HEADER_BYTES,
            "the header's fields have 61 bytes"
        );
        Ok(Self {
            header,
            batch_length,
            magic,
            last_offset_delta,
            record_count,
        })
    }

    fn check_range(self) -> Result<BatchHeader, BatchError> {
        let Self {
            header,
            last_offset_delta,
            record_count,
            ..
        } = self;
        let range = BatchError::OffsetRange {
            record_count,
            last_offset_delta,
        };
        let count = u32::try_from(record_count).map_err(|_| range)?;
        let delta = u32::try_from(last_offset_delta).map_err(|_| range)?;
        if header
            .base_offset
            .next_after_count(delta)
            .and_then(Offset::next)
            .is_none()
        {
            return Err(range);
        }
        Ok(BatchHeader {
            last_offset_delta: delta,
            record_count: count,
            ..header
        })
    }
}

fn check_len(needed: usize, available: usize) -> Result<(), BatchError> {
    if available < needed {
        return Err(BatchError::Truncated { needed, available });
    }
    if available > needed {
        return Err(BatchError::TrailingBytes {
            extra: available - needed,
        });
    }
    Ok(())
}

/// Gives a validated batch its place in the log: patches base offset and leader epoch in place.
/// Both lie outside the CRC.
///
/// # Panics
/// When `batch` is shorter than a header or its last offset would overflow: the caller validated
/// the batch and bounds the log end.
pub fn assign(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    assert!(
        batch.len() >= BATCH_HEADER_BYTES,
        "a validated batch has a header"
    );
    assert!(base_offset.is_valid(), "a log has no negative offsets");
    batch[..8].copy_from_slice(&base_offset.get().to_be_bytes());
    batch[EPOCH_AT..EPOCH_AT + 4].copy_from_slice(&leader_epoch.get().to_be_bytes());
    let header = BatchHeader::parse(batch).expect("a validated batch keeps a sound header");
    assert!(
        header.base_offset == base_offset,
        "the patch is what is read back"
    );
}

/// Makes a validated batch one of log append time: sets the bit and the max timestamp and computes
/// the CRC anew.
///
/// # Panics
/// When `batch` is shorter than a header or has another magic: the caller validated it.
pub fn set_log_append_time(batch: &mut [u8], now: TimestampMs) {
    assert!(
        batch.len() >= BATCH_HEADER_BYTES,
        "a validated batch has a header"
    );
    assert!(
        batch[MAGIC_AT] == MAGIC as u8,
        "a validated batch has this layout"
    );
    let bits = i16::from_be_bytes([batch[BATCH_CRC_START], batch[BATCH_CRC_START + 1]]);
    let attributes = Attributes::new(bits).with_timestamp_type(TimestampType::LogAppendTime);
    batch[BATCH_CRC_START..BATCH_CRC_START + 2].copy_from_slice(&attributes.get().to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&now.get().to_be_bytes());
    let crc = crc32c::crc32c(&batch[BATCH_CRC_START..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// One batch of a run: its header and exactly its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch<'a> {
    /// The decoded header.
    pub header: BatchHeader,
    /// The whole batch, header included.
    pub bytes: &'a [u8],
    /// Where the batch starts in the run.
    pub position: usize,
}

impl Batch<'_> {
    /// Compares the CRC-32C with the bytes.
    ///
    /// # Errors
    /// `BatchError::Crc` when they differ.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        self.header.verify_crc(self.bytes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Error,
    End,
}

/// Walks concatenated batches, for example a segment's body. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
    tail: Tail,
}

impl<'a> Batches<'a> {
    /// Walks `bytes`, which must end where a batch ends: a batch that is cut off is an error.
    pub fn strict(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            position: 0,
            tail: Tail::Error,
        }
    }

    /// Walks `bytes`, of which the last batch may be cut off: the walk then ends before it.
    /// `position` tells where.
    pub fn until_truncated(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            position: 0,
            tail: Tail::End,
        }
    }

    /// Bytes walked so far: where the next batch starts, or the one that could not be read.
    pub fn position(&self) -> usize {
        self.position
    }

    fn step(&mut self) -> Result<Batch<'a>, BatchError> {
        let left = self.bytes.get(self.position..).unwrap_or_default();
        let header = BatchHeader::parse(left)?;
        let needed = header.total_bytes();
        let bytes = left.get(..needed).ok_or(BatchError::Truncated {
            needed,
            available: left.len(),
        })?;
        let position = self.position;
        self.position += needed;
        Ok(Batch {
            header,
            bytes,
            position,
        })
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.bytes.len() {
            return None;
        }
        let item = self.step();
        if let Err(error) = &item {
            let truncated = matches!(error, BatchError::Truncated { .. });
            // Nothing after a batch that cannot be read can be found: stop for good.
            self.bytes = self.bytes.get(..self.position).unwrap_or_default();
            assert!(
                self.position == self.bytes.len(),
                "the walk is over, and stands where it failed"
            );
            if truncated && self.tail == Tail::End {
                return None;
            }
        }
        Some(item)
    }
}

impl std::iter::FusedIterator for Batches<'_> {}

#[cfg(test)]
mod tests;
