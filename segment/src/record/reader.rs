//! Reads the records of a batch.

use std::borrow::Cow;

use super::RecordError;
use super::codec::{DecodeLimits, decompress};
use crate::batch::{BATCH_HEADER_BYTES, BatchError, BatchHeader, TimestampType};
use crate::cursor::{Cursor, Ended};
use crate::ids::{Offset, TimestampMs};

/// The decompressed records of one batch.
#[derive(Debug, Clone)]
pub struct RecordSet<'a> {
    header: BatchHeader,
    bytes: Cow<'a, [u8]>,
}

impl<'a> RecordSet<'a> {
    /// Decompresses the records of `batch`, which must be exactly one batch. Its CRC is not
    /// computed here.
    ///
    /// # Errors
    /// A header that cannot be read, an unknown codec, or records that do not decompress under the
    /// caps.
    pub fn decode(batch: &'a [u8], limits: &DecodeLimits) -> Result<Self, RecordError> {
        let header = BatchHeader::parse_whole(batch)?;
        let codec = header
            .attributes
            .codec()
            .map_err(|codec| BatchError::Codec { codec })?;
        let packed = batch.get(BATCH_HEADER_BYTES..).unwrap_or_default();
        let bytes = decompress(codec, packed, limits)?;
        Ok(Self { header, bytes })
    }

    /// Header of the batch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Bytes of the records when not compressed.
    pub fn uncompressed_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The records when not compressed.
    pub(super) fn uncompressed(&self) -> &[u8] {
        &self.bytes
    }

    /// The records, in offset order. Ends after the first error.
    pub fn iter(&self) -> Records<'_> {
        Records {
            header: self.header,
            cursor: Cursor::new(&self.bytes),
            number: 0,
            last_delta: -1,
            ended: false,
        }
    }
}

impl<'a> IntoIterator for &'a RecordSet<'_> {
    type Item = Result<Record<'a>, RecordError>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

/// One record, borrowed from its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset in the partition.
    pub offset: Offset,
    /// Its own timestamp, or the batch's max timestamp where the broker set it.
    pub timestamp: TimestampMs,
    /// The record's attribute byte (no bit is defined).
    pub attributes: i8,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: RecordHeaders<'a>,
}

/// The headers of a record, checked when the record was read, decoded as they are walked.
#[derive(Debug, Clone)]
pub struct RecordHeaders<'a> {
    count: u32,
    cursor: Cursor<'a>,
}

impl RecordHeaders<'_> {
    /// Headers not walked yet.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl PartialEq for RecordHeaders<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.clone().eq(other.clone())
    }
}

impl Eq for RecordHeaders<'_> {}

impl<'a> Iterator for RecordHeaders<'a> {
    /// Key (UTF-8 from any correct producer, not checked) and value.
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let header = read_header(&mut self.cursor);
        assert!(header.is_ok(), "each header was read once with its record");
        header.ok()
    }
}

/// Walks the records of a batch.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    header: BatchHeader,
    cursor: Cursor<'a>,
    number: u32,
    last_delta: i32,
    ended: bool,
}

/// A record as it lies in the bytes.
struct RawRecord<'a> {
    attributes: i8,
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: RecordHeaders<'a>,
}

impl<'a> Records<'a> {
    /// Bytes of the uncompressed records that have been read: where the next one starts.
    pub(super) fn position(&self) -> usize {
        self.cursor.position()
    }

    fn step(&mut self) -> Result<Record<'a>, RecordError> {
        let record = self.number;
        let position = self.cursor.position();
        let raw = read_record(&mut self.cursor)
            .map_err(|Ended| RecordError::Malformed { record, position })?;
        self.number += 1;
        let delta = raw.offset_delta;
        let within = u32::try_from(delta).is_ok_and(|delta| delta <= self.header.last_offset_delta);
        if !within || delta <= self.last_delta {
            return Err(RecordError::Offset {
                record,
                offset_delta: delta,
            });
        }
        self.last_delta = delta;
        let timestamp_delta = raw.timestamp_delta;
        let own = self
            .header
            .base_timestamp
            .get()
            .checked_add(timestamp_delta);
        let timestamp = match self.header.attributes.timestamp_type() {
            TimestampType::LogAppendTime => self.header.max_timestamp,
            TimestampType::CreateTime => TimestampMs::new(own.ok_or(RecordError::Timestamp {
                record,
                timestamp_delta,
            })?),
        };
        let offset = self.header.base_offset.checked_add(i64::from(delta));
        Ok(Record {
            offset: offset.ok_or(RecordError::Offset {
                record,
                offset_delta: delta,
            })?,
            timestamp,
            attributes: raw.attributes,
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.number == self.header.record_count {
            self.ended = true;
            let extra = self.cursor.remaining();
            return (extra != 0).then_some(Err(RecordError::TrailingBytes { extra }));
        }
        let item = self.step();
        self.ended = item.is_err();
        Some(item)
    }
}

impl std::iter::FusedIterator for Records<'_> {}

fn read_record<'a>(cursor: &mut Cursor<'a>) -> Result<RawRecord<'a>, Ended> {
    let len = usize::try_from(cursor.varint()?).map_err(|_| Ended)?;
    let mut body = Cursor::new(cursor.take(len)?);
    let attributes = body.i8()?;
    let timestamp_delta = body.varlong()?;
    let offset_delta = body.varint()?;
    let key = read_nullable(&mut body)?;
    let value = read_nullable(&mut body)?;
    let count = u32::try_from(body.varint()?).map_err(|_| Ended)?;
    let headers = RecordHeaders {
        count,
        cursor: body.clone(),
    };
    // Every header is walked once here, so that the caller's walk cannot fail. A count beyond the
    // bytes ends at the first missing one.
    for _ in 0..count {
        read_header(&mut body)?;
    }
    if body.remaining() != 0 {
        return Err(Ended);
    }
    Ok(RawRecord {
        attributes,
        timestamp_delta,
        offset_delta,
        key,
        value,
        headers,
    })
}

fn read_header<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), Ended> {
    let key = read_nullable(cursor)?.ok_or(Ended)?;
    Ok((key, read_nullable(cursor)?))
}

fn read_nullable<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, Ended> {
    match cursor.varint()? {
        -1 => Ok(None),
        len => {
            let len = usize::try_from(len).map_err(|_| Ended)?;
            cursor.take(len).map(Some)
        }
    }
}
