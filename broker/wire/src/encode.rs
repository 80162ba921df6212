//! [`Encoder`] and [`Frame`]: a message becomes a list of `Bytes`, records are not copied.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::EncodeError;

/// Bytes of the length prefix in front of every frame.
pub const LENGTH_PREFIX_BYTES: usize = 4;
/// First allocation of an encoder; one such block serves most responses.
const BLOCK_BYTES: usize = 512;
/// Largest block that is taken on the encoder's own account.
const BLOCK_BYTES_MAX: usize = 16 * 1024;
/// A block with less room than this is left behind a chunk: what stands between two record sets
/// is some 60 bytes, and a shared block that overflows is reallocated for each small value.
const BLOCK_ROOM_MIN_BYTES: usize = 128;

/// An encoded frame, ready for one vectored write: the length prefix and the message, in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// The parts in order. The first begins with the 4-byte length prefix.
    pub parts: Vec<Bytes>,
    /// Bytes of all parts together, length prefix included.
    pub len: usize,
}

impl Frame {
    /// The whole frame as one piece, length prefix included. Copies if there are several parts.
    pub fn to_bytes(&self) -> Bytes {
        if let [only] = self.parts.as_slice() {
            return only.clone();
        }
        let mut whole = BytesMut::with_capacity(self.len);
        for part in &self.parts {
            whole.extend_from_slice(part);
        }
        whole.freeze()
    }

    /// The frame without its length prefix, as a peer hands it to its decoder.
    pub fn body(&self) -> Bytes {
        let mut whole = self.to_bytes();
        whole.split_off(LENGTH_PREFIX_BYTES.min(whole.len()))
    }
}

/// Collects one frame. Small values go to a growing block; [`Encoder::chunk`] splits off what
/// the block holds and appends the given `Bytes` as they are.
///
/// Invariant: `parts` is empty, or its first entry is a placeholder for `first`, which stays
/// mutable until [`Encoder::finish`] knows the length to patch in front.
#[derive(Debug)]
pub struct Encoder {
    parts: Vec<Bytes>,
    first: BytesMut,
    block: BytesMut,
    /// Bytes already split off into `first` and `parts`.
    split: usize,
    /// Size of the latest block; the next one is twice as large, up to [`BLOCK_BYTES_MAX`].
    block_bytes: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder that holds only the placeholder of the length prefix.
    pub fn new() -> Self {
        Self::with_capacity(BLOCK_BYTES, 0)
    }

    /// As [`Encoder::new`], with room for `block_bytes` of small values and `parts` parts.
    pub fn with_capacity(block_bytes: usize, parts: usize) -> Self {
        let block_bytes = block_bytes.max(LENGTH_PREFIX_BYTES);
        let mut block = BytesMut::with_capacity(block_bytes);
        block.put_i32(0);
        let parts = Vec::with_capacity(parts);
        Self {
            parts,
            first: BytesMut::new(),
            block,
            split: 0,
            block_bytes,
        }
    }

    /// Bytes written so far, length prefix included.
    pub fn len(&self) -> usize {
        self.split.saturating_add(self.block.len())
    }

    /// Whether nothing but the length prefix has been written.
    pub fn is_empty(&self) -> bool {
        self.len() <= LENGTH_PREFIX_BYTES
    }

    /// Appends a signed byte.
    pub fn i8(&mut self, value: i8) {
        self.block.put_i8(value);
    }

    /// Appends a big-endian `i16`.
    pub fn i16(&mut self, value: i16) {
        self.block.put_i16(value);
    }

    /// Appends a big-endian `i32`.
    pub fn i32(&mut self, value: i32) {
        self.block.put_i32(value);
    }

    /// Appends a big-endian `i64`.
    pub fn i64(&mut self, value: i64) {
        self.block.put_i64(value);
    }

    /// Appends a boolean as one byte.
    pub fn bool(&mut self, value: bool) {
        self.block.put_i8(i8::from(value));
    }

    /// Appends bytes as they are, by copy.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
    }

    /// Appends an unsigned varint.
    pub fn uvarint(&mut self, value: u32) {
        let mut left = value;
        while left >= 0x80 {
            let [low, ..] = left.to_le_bytes();
            self.block.put_u8(low | 0x80);
            left >>= 7;
        }
        let [last, ..] = left.to_le_bytes();
        self.block.put_u8(last);
    }

    /// Appends a compact length: the varint of the value plus one, zero for null.
    fn compact_length(&mut self, length: Option<usize>) -> Result<(), EncodeError> {
        let Some(length) = length else {
            self.uvarint(0);
            return Ok(());
        };
        // Kafka keeps lengths in an i32, so i32::MAX is the bound in both encodings.
        let checked = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
        self.uvarint(checked.unsigned_abs().saturating_add(1));
        Ok(())
    }

    /// Appends the length of a string; `None` is null.
    pub(crate) fn string_length(
        &mut self,
        length: Option<usize>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        if flexible {
            return self.compact_length(length);
        }
        match length {
            None => self.i16(-1),
            Some(length) => {
                self.i16(i16::try_from(length).map_err(|_| EncodeError::TooLong(length))?);
            }
        }
        Ok(())
    }

    /// Appends the length of bytes, records or an array; `None` is null.
    pub(crate) fn long_length(
        &mut self,
        length: Option<usize>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        if flexible {
            return self.compact_length(length);
        }
        match length {
            None => self.i32(-1),
            Some(length) => {
                self.i32(i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?);
            }
        }
        Ok(())
    }

    /// Appends a string; `None` is null.
    pub fn nullable_str(&mut self, value: Option<&str>, flexible: bool) -> Result<(), EncodeError> {
        self.string_length(value.map(str::len), flexible)?;
        self.raw(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// Appends bytes, by copy; `None` is null.
    pub fn nullable_bytes(
        &mut self,
        value: Option<&[u8]>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        self.long_length(value.map(<[u8]>::len), flexible)?;
        self.raw(value.unwrap_or_default());
        Ok(())
    }

    /// Appends `bytes` as a part of its own, without a copy.
    pub fn chunk(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.split_block();
        self.split = self.split.saturating_add(bytes.len());
        self.parts.push(bytes);
        if self.block.capacity() < BLOCK_ROOM_MIN_BYTES {
            self.block_bytes = self.block_bytes.saturating_mul(2).min(BLOCK_BYTES_MAX);
            self.block = BytesMut::with_capacity(self.block_bytes);
        }
    }

    fn split_block(&mut self) {
        if self.block.is_empty() {
            return;
        }
        self.split = self.split.saturating_add(self.block.len());
        let block = self.block.split();
        if self.parts.is_empty() {
            self.first = block;
            self.parts.push(Bytes::new());
        } else {
            self.parts.push(block.freeze());
        }
    }

    /// Appends one tagged field: tag, size, content. The size is known only after the content
    /// is there, so it is written behind and rotated in front; contents are a few bytes.
    pub(crate) fn tagged_field(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.uvarint(tag);
        let start = self.block.len();
        let split = self.split;
        write(self)?;
        // No schema has records in a tagged field; a chunk inside would move `start`.
        debug_assert_eq!(split, self.split);
        let end = self.block.len();
        let size = end.saturating_sub(start);
        self.uvarint(u32::try_from(size).map_err(|_| EncodeError::TooLong(size))?);
        let size_bytes = self.block.len().saturating_sub(end);
        if let Some(field) = self.block.get_mut(start..) {
            field.rotate_right(size_bytes);
        }
        Ok(())
    }

    /// Patches the length prefix and returns the frame.
    pub fn finish(mut self) -> Result<Frame, EncodeError> {
        self.split_block();
        let len = self.split;
        let body = len.saturating_sub(LENGTH_PREFIX_BYTES);
        let prefix = i32::try_from(body).map_err(|_| EncodeError::TooLong(body))?;
        let mut first = self.first;
        if let Some(place) = first.first_chunk_mut::<LENGTH_PREFIX_BYTES>() {
            *place = prefix.to_be_bytes();
        }
        let mut parts = self.parts;
        if let Some(place) = parts.first_mut() {
            *place = first.freeze();
        }
        Ok(Frame { parts, len })
    }
}
