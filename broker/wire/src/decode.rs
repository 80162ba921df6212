//! [`Decoder`]: a bounded cursor over one frame.
//!
//! Invariants:
//! - It never reads outside the frame and never panics, whatever the bytes.
//! - It goes bad once: after the first error every further read returns that same error.
//! - It allocates only vectors of decoded structs, each paid for from a budget before it exists.
//!   An element count must also fit the bytes left, at the smallest size an element can have.
//! - Strings, bytes and records are borrowed from the frame.

use std::mem;

use crate::error::{DecodeError, DecodeErrorKind};

/// Unknown tagged fields that one struct may carry. Real peers send none or a few; each costs a
/// loop turn before anybody is authenticated, so the number is small and fixed.
pub const UNKNOWN_TAGS_MAX: usize = 64;

/// Elements that the arrays of one request may have, all together. Each is a step that nobody else can take meanwhile:
/// 100,000 partitions in as many topics, the most that the settings allow by default, and some.
pub const REQUEST_ELEMENTS_MAX: usize = 250_000;

/// Decoded bytes that any frame may use, however small it is.
const BUDGET_BASE_BYTES: usize = 64 * 1024;
/// Decoded bytes that a request may use beyond the base and twice its size.
const BUDGET_EXTRA_BYTES: usize = 4 * 1024 * 1024;
/// A `u32` varint has at most this many bytes.
const VARINT_BYTES_MAX: usize = 5;

/// A cursor over one frame (without its length prefix).
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    /// Address of the frame's first byte; used for error offsets only.
    base: usize,
    budget: usize,
    elements: usize,
    bad: Option<DecodeError>,
}

/// Memory, in bytes, that the structs decoded from a request of `frame_bytes` may take:
/// `64 KiB + 2 x frame + min(6 x frame, 4 MiB)`.
///
/// A struct is bigger in memory than on the wire: the worst honest requests (one-letter topics of
/// one partition each) need about 6 bytes a wire byte, so small frames get 8. Large honest frames
/// are record data, which is borrowed and costs nothing, so the surplus is capped: 4 MiB are
/// some 30,000 topics of one partition, and a hostile 100 MiB frame gets 2.04 times its size.
pub const fn request_budget_bytes(frame_bytes: usize) -> usize {
    let surplus = frame_bytes.saturating_mul(6);
    let surplus = if surplus < BUDGET_EXTRA_BYTES {
        surplus
    } else {
        BUDGET_EXTRA_BYTES
    };
    frame_bytes
        .saturating_mul(2)
        .saturating_add(surplus)
        .saturating_add(BUDGET_BASE_BYTES)
}

/// Memory, in bytes, that the structs decoded from a response of `frame_bytes` may take:
/// `64 KiB + 16 x frame`. A client chose its broker and asks for whole clusters' metadata, so
/// the bound is only there to keep a count from meaning more than the bytes behind it.
pub const fn response_budget_bytes(frame_bytes: usize) -> usize {
    frame_bytes
        .saturating_mul(16)
        .saturating_add(BUDGET_BASE_BYTES)
}

impl<'a> Decoder<'a> {
    /// A decoder over `frame` with the budget of a request ([`request_budget_bytes`], [`REQUEST_ELEMENTS_MAX`]).
    pub fn new(frame: &'a [u8]) -> Self {
        Self {
            elements: REQUEST_ELEMENTS_MAX,
            ..Self::with_budget(frame, request_budget_bytes(frame.len()))
        }
    }

    /// A decoder over `frame` whose decoded structs may take `budget_bytes` of memory.
    pub fn with_budget(frame: &'a [u8], budget_bytes: usize) -> Self {
        Self {
            rest: frame,
            base: frame.as_ptr().addr(),
            budget: budget_bytes,
            elements: usize::MAX,
            bad: None,
        }
    }

    /// Bytes not read yet (within the tagged field, while one is being read).
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Offset of the next byte in the frame.
    pub fn position(&self) -> usize {
        self.rest.as_ptr().addr().saturating_sub(self.base)
    }

    /// Memory, in bytes, that decoded structs may still take.
    pub fn budget_left(&self) -> usize {
        self.budget
    }

    /// Marks the decoder bad and returns the error; the first one stays.
    #[cold]
    pub(crate) fn fail(&mut self, kind: DecodeErrorKind) -> DecodeError {
        let error = match self.bad {
            Some(first) => first,
            None => DecodeError {
                kind,
                at: self.position(),
            },
        };
        self.bad = Some(error);
        // An empty slice that still points to where it went bad.
        self.rest = self.rest.split_at_checked(0).map_or(&[], |(none, _)| none);
        error
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(*head)
            }
            None => Err(self.fail(DecodeErrorKind::Truncated)),
        }
    }

    /// The next `count` bytes, borrowed.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(count) {
            // A bad decoder is empty, and must not hand out even an empty slice.
            Some((head, rest)) if self.bad.is_none() => {
                self.rest = rest;
                Ok(head)
            }
            _ => Err(self.fail(DecodeErrorKind::Truncated)),
        }
    }

    /// A signed byte.
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.fixed().map(i8::from_be_bytes)
    }

    /// A big-endian `i16`.
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.fixed().map(i16::from_be_bytes)
    }

    /// A big-endian `i32`.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// A big-endian `i64`.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// A boolean: zero is false, any other byte is true, as in Kafka.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Result<[u8; 16], DecodeError> {
        self.fixed()
    }

    /// An unsigned varint of at most 32 bits. Zero-padded forms of up to 5 bytes are accepted,
    /// as Kafka does; a longer one, or one above `u32::MAX`, is an error.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u32 = 0;
        for index in 0..VARINT_BYTES_MAX {
            let [byte] = self.fixed::<1>()?;
            let bits = u32::from(byte & 0x7f);
            let shift = u32::try_from(index).unwrap_or(0).wrapping_mul(7);
            let shifted = bits.wrapping_shl(shift);
            if shifted.wrapping_shr(shift) != bits {
                return Err(self.fail(DecodeErrorKind::Varint));
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.fail(DecodeErrorKind::Varint))
    }

    /// A length or a count as the flexible (compact) encoding writes it: varint of the value
    /// plus one, zero for null.
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.uvarint()?.checked_sub(1) {
            None => Ok(None),
            Some(length) => match usize::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(self.fail(DecodeErrorKind::Truncated)),
            },
        }
    }

    /// The length of a string: compact, or `i16`; `None` is null.
    pub(crate) fn string_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.compact_length();
        }
        let length = self.i16()?;
        self.signed_length(i32::from(length))
    }

    /// The length of bytes, records or an array: compact, or `i32`; `None` is null.
    pub(crate) fn long_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.compact_length();
        }
        let length = self.i32()?;
        self.signed_length(length)
    }

    /// The one place where a signed length becomes unsigned: -1 is null, below is an error.
    fn signed_length(&mut self, length: i32) -> Result<Option<usize>, DecodeError> {
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.fail(DecodeErrorKind::NegativeLength)),
        }
    }

    /// A string, borrowed; `None` is null.
    pub fn nullable_str(&mut self, flexible: bool) -> Result<Option<&'a str>, DecodeError> {
        let Some(length) = self.string_length(flexible)? else {
            return Ok(None);
        };
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.fail(DecodeErrorKind::Utf8)),
        }
    }

    /// Bytes or records, borrowed; `None` is null.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.long_length(flexible)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    /// Pays for `count` elements of `element_bytes` memory each, which take at least
    /// `wire_bytes_min` bytes of the frame each. Only after this may memory be reserved.
    pub(crate) fn pay(
        &mut self,
        count: usize,
        element_bytes: usize,
        wire_bytes_min: usize,
    ) -> Result<(), DecodeError> {
        if count.saturating_mul(wire_bytes_min.max(1)) > self.rest.len() {
            return Err(self.fail(DecodeErrorKind::Count));
        }
        match self.elements.checked_sub(count) {
            Some(left) => self.elements = left,
            None => return Err(self.fail(DecodeErrorKind::Elements)),
        }
        match self.budget.checked_sub(count.saturating_mul(element_bytes)) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(self.fail(DecodeErrorKind::Budget)),
        }
    }

    /// Reads a struct's tagged fields (KIP-482). `read` gets a decoder that ends where the field
    /// ends; it answers whether it knows the tag. Unknown fields are skipped, never stored.
    /// `known` is the number of tags that the struct declares.
    pub(crate) fn tagged_fields(
        &mut self,
        known: usize,
        mut read: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.uvarint()?;
        let bound = known.saturating_add(UNKNOWN_TAGS_MAX);
        if usize::try_from(count).unwrap_or(usize::MAX) > bound {
            return Err(self.fail(DecodeErrorKind::TaggedFields));
        }
        let mut unknown: usize = 0;
        for _ in 0..count {
            let tag = self.uvarint()?;
            let size = self.uvarint()?;
            let content = self.take(usize::try_from(size).unwrap_or(usize::MAX))?;
            let after = mem::replace(&mut self.rest, content);
            if read(self, tag)? {
                if !self.rest.is_empty() {
                    return Err(self.fail(DecodeErrorKind::TaggedFieldSize));
                }
            } else {
                unknown = unknown.saturating_add(1);
                if unknown > UNKNOWN_TAGS_MAX {
                    return Err(self.fail(DecodeErrorKind::TaggedFields));
                }
            }
            self.rest = after;
        }
        Ok(())
    }
}
