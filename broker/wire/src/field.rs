//! How one field is laid out in a version ([`Spec`], [`Shape`]) and how each type of field is
//! read and written ([`Field`]). Messages are declared over this in `messages/`.

use bytes::Bytes;

use crate::codes::ErrorCode;
use crate::decode::Decoder;
use crate::encode::Encoder;
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::records::Records;
use crate::uuid::Uuid;

/// A version that no message reaches.
const NEVER: i16 = i16::MAX;
/// Marks a nullable struct as absent or present.
const STRUCT_NULL: i8 = -1;
const STRUCT_PRESENT: i8 = 1;

/// What the schema says of one field, apart from its type and default.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    first: i16,
    last: i16,
    nullable_from: i16,
    tag: Option<u32>,
    ignorable: bool,
}

/// A field that is there from version `first` on.
pub(crate) const fn since(first: i16) -> Spec {
    between(first, NEVER)
}

/// A field that is there in the versions from `first` to `last`, both included.
pub(crate) const fn between(first: i16, last: i16) -> Spec {
    Spec {
        first,
        last,
        nullable_from: NEVER,
        tag: None,
        ignorable: false,
    }
}

impl Spec {
    /// Null is allowed from this version on.
    pub(crate) const fn nullable(self, from: i16) -> Self {
        Spec {
            nullable_from: from,
            ..self
        }
    }

    /// The field is a tagged one (KIP-482) in all versions that have it.
    pub(crate) const fn tag(self, tag: u32) -> Self {
        Spec {
            tag: Some(tag),
            ..self
        }
    }

    /// A value may be dropped silently where the version has no such field.
    pub(crate) const fn ignorable(self) -> Self {
        Spec {
            ignorable: true,
            ..self
        }
    }

    pub(crate) const fn is_ignorable(&self) -> bool {
        self.ignorable
    }

    pub(crate) const fn is_tagged(&self) -> bool {
        self.tag.is_some()
    }

    const fn has(&self, version: i16) -> bool {
        version >= self.first && version <= self.last
    }

    /// Whether the field stands at its place in the struct's body in `version`.
    pub(crate) const fn in_body(&self, version: i16) -> bool {
        self.tag.is_none() && self.has(version)
    }

    /// The field's tag, if it is a tagged field of `version`.
    pub(crate) const fn tag_in(&self, version: i16) -> Option<u32> {
        if self.has(version) { self.tag } else { None }
    }

    /// How the field is laid out inside a struct of shape `outer`.
    pub(crate) const fn shape(&self, outer: Shape) -> Shape {
        Shape {
            nullable: outer.version >= self.nullable_from,
            ..outer
        }
    }
}

/// The layout in force while a value is read or written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Version of the message.
    pub(crate) version: i16,
    /// Whether that version uses compact lengths and tagged fields.
    pub(crate) flexible: bool,
    /// Whether null is allowed here.
    pub(crate) nullable: bool,
}

impl Shape {
    /// Elements of an array are never null.
    const fn element(self) -> Self {
        Shape {
            nullable: false,
            ..self
        }
    }

    /// Bytes of an empty array, string, or the like: its length field.
    const fn length_bytes(self, inflexible: usize) -> usize {
        if self.flexible { 1 } else { inflexible }
    }
}

/// A type that a message can hold.
pub(crate) trait Field<'a>: Sized {
    /// The least number of bytes that a value takes on the wire.
    fn wire_bytes_min(shape: Shape) -> usize;
    /// Reads a value.
    fn read(d: &mut Decoder<'a>, shape: Shape) -> Result<Self, DecodeError>;
    /// Appends a value.
    fn write(&self, e: &mut Encoder, shape: Shape) -> Result<(), EncodeError>;
    /// Sets a number of milliseconds; other types have none.
    fn set_millis(&mut self, _ms: i32) {}
    /// Sets the throttle time of a struct that has one in `version`.
    fn set_throttle_time(&mut self, _version: i16, _ms: i32) {}
    /// A random value that `shape` can carry.
    #[cfg(test)]
    fn arbitrary(rng: &mut crate::tests::Rng, shape: Shape) -> Self;
    /// Memory, in bytes, that the value owns beyond its own size.
    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// A type that has a null form.
pub(crate) trait Nullable<'a>: Field<'a> {
    /// Reads a value or null; `shape.nullable` holds.
    fn read_nullable(d: &mut Decoder<'a>, shape: Shape) -> Result<Option<Self>, DecodeError>;
    /// Appends a value or null; `shape.nullable` holds.
    fn write_nullable(
        this: Option<&Self>,
        e: &mut Encoder,
        shape: Shape,
    ) -> Result<(), EncodeError>;
}

/// Whether a field has another value than its default.
pub(crate) fn differ<T: PartialEq>(value: &T, default: T) -> bool {
    *value != default
}

fn not_null<T>(d: &mut Decoder<'_>, value: Option<T>) -> Result<T, DecodeError> {
    match value {
        Some(value) => Ok(value),
        None => Err(d.fail(DecodeErrorKind::UnexpectedNull)),
    }
}

macro_rules! fixed_field {
    ($($ty:ty, $bytes:literal, |$d:ident| $read:expr, |$e:ident, $value:ident| $write:expr,
       |$rng:ident| $random:expr;)*) => {
        $(impl Field<'_> for $ty {
            fn wire_bytes_min(_: Shape) -> usize {
                $bytes
            }

            fn read($d: &mut Decoder<'_>, _: Shape) -> Result<Self, DecodeError> {
                $read
            }

            fn write(&self, $e: &mut Encoder, _: Shape) -> Result<(), EncodeError> {
                let $value = *self;
                $write;
                Ok(())
            }

            #[cfg(test)]
            fn arbitrary($rng: &mut crate::tests::Rng, _: Shape) -> Self {
                $random
            }
        })*
    };
}

fixed_field! {
    bool, 1, |d| d.bool(), |e, value| e.bool(value), |rng| rng.next() & 1 == 1;
    i8, 1, |d| d.i8(), |e, value| e.i8(value), |rng| rng.int() as i8;
    i16, 2, |d| d.i16(), |e, value| e.i16(value), |rng| rng.int() as i16;
    i64, 8, |d| d.i64(), |e, value| e.i64(value), |rng| rng.int();
    ErrorCode, 2, |d| d.i16().map(ErrorCode), |e, value| e.i16(value.0),
        |rng| ErrorCode(rng.int() as i16);
    Uuid, 16, |d| d.uuid().map(Uuid), |e, value| e.raw(&value.0), |rng| rng.uuid();
}

impl Field<'_> for i32 {
    fn wire_bytes_min(_: Shape) -> usize {
        4
    }

    fn read(d: &mut Decoder<'_>, _: Shape) -> Result<Self, DecodeError> {
        d.i32()
    }

    fn write(&self, e: &mut Encoder, _: Shape) -> Result<(), EncodeError> {
        e.i32(*self);
        Ok(())
    }

    fn set_millis(&mut self, ms: i32) {
        *self = ms;
    }

    #[cfg(test)]
    fn arbitrary(rng: &mut crate::tests::Rng, _: Shape) -> Self {
        rng.int() as i32
    }
}

impl<'a> Field<'a> for &'a str {
    fn wire_bytes_min(shape: Shape) -> usize {
        shape.length_bytes(2)
    }

    fn read(d: &mut Decoder<'a>, shape: Shape) -> Result<Self, DecodeError> {
        let value = d.nullable_str(shape.flexible)?;
        not_null(d, value)
    }

    fn write(&self, e: &mut Encoder, shape: Shape) -> Result<(), EncodeError> {
        e.nullable_str(Some(self), shape.flexible)
    }

    #[cfg(test)]
    fn arbitrary(rng: &mut crate::tests::Rng, _: Shape) -> Self {
        rng.text()
    }
}

impl<'a> Nullable<'a> for &'a str {
    fn read_nullable(d: &mut Decoder<'a>, shape: Shape) -> Result<Option<Self>, DecodeError> {
        d.nullable_str(shape.flexible)
    }

    fn write_nullable(
        this: Option<&Self>,
        e: &mut Encoder,
        shape: Shape,
    ) -> Result<(), EncodeError> {
        e.nullable_str(this.copied(), shape.flexible)
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn wire_bytes_min(shape: Shape) -> usize {
        shape.length_bytes(4)
    }

    fn read(d: &mut Decoder<'a>, shape: Shape) -> Result<Self, DecodeError> {
        let value = d.nullable_bytes(shape.flexible)?;
        not_null(d, value)
    }

    fn write(&self, e: &mut Encoder, shape: Shape) -> Result<(), EncodeError> {
        e.nullable_bytes(Some(self), shape.flexible)
    }

    #[cfg(test)]
    fn arbitrary(rng: &mut crate::tests::Rng, _: Shape) -> Self {
        rng.bytes()
    }
}

impl<'a> Nullable<'a> for &'a [u8] {
    fn read_nullable(d: &mut Decoder<'a>, shape: Shape) -> Result<Option<Self>, DecodeError> {
        d.nullable_bytes(shape.flexible)
    }

    fn write_nullable(
        this: Option<&Self>,
        e: &mut Encoder,
        shape: Shape,
    ) -> Result<(), EncodeError> {
        e.nullable_bytes(this.copied(), shape.flexible)
    }
}

/// Records are null or bytes in every version that has them; Kafka marks them nullable.
impl<'a> Field<'a> for Records<'a> {
    fn wire_bytes_min(shape: Shape) -> usize {
        shape.length_bytes(4)
    }

    fn read(d: &mut Decoder<'a>, shape: Shape) -> Result<Self, DecodeError> {
        Ok(match d.nullable_bytes(shape.flexible)? {
            Some(bytes) => Records::Borrowed(bytes),
            None => Records::Null,
        })
    }

    fn write(&self, e: &mut Encoder, shape: Shape) -> Result<(), EncodeError> {
        let pieces: &[Bytes] = match self {
            Records::Null => return e.long_length(None, shape.flexible),
            Records::Borrowed(bytes) => return e.nullable_bytes(Some(bytes), shape.flexible),
            Records::Slices(slices) => slices,
            Records::Chunks(chunks) => chunks,
        };
        e.long_length(Some(self.len()), shape.flexible)?;
        for piece in pieces {
            e.chunk(piece.clone());
        }
        Ok(())
    }

    #[cfg(test)]
    fn arbitrary(rng: &mut crate::tests::Rng, _: Shape) -> Self {
        rng.records()
    }
}

impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    fn wire_bytes_min(shape: Shape) -> usize {
        shape.length_bytes(4)
    }

    fn read(d: &mut Decoder<'a>, shape: Shape) -> Result<Self, DecodeError> {
        let count = d.long_length(shape.flexible)?;
        let count = not_null(d, count)?;
        read_elements(d, count, shape)
    }

    fn write(&self, e: &mut Encoder, shape: Shape) -> Result<(), EncodeError> {
        e.long_length(Some(self.len()), shape.flexible)?;
        self.iter()
            .try_for_each(|element| element.write(e, shape.element()))
    }

    #[cfg(test)]
    fn arbitrary(rng: &mut crate::tests::Rng, shape: Shape) -> Self {
        (0..rng.below(4))
            .map(|_| T::arbitrary(rng, shape.element()))
            .collect()
    }

    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        let elements: usize = self.iter().map(Field::heap_bytes).sum();
        elements + self.capacity() * size_of::<T>()
    }
}

impl<'a, T: Field<'a>> Nullable<'a> for Vec<T> {
    fn read_nullable(d: &mut Decoder<'a>, shape: Shape) -> Result<Option<Self>, DecodeError> {
        match d.long_length(shape.flexible)? {
            Some(count) => read_elements(d, count, shape).map(Some),
            None => Ok(None),
        }
    }

    fn write_nullable(
        this: Option<&Self>,
        e: &mut Encoder,
        shape: Shape,
    ) -> Result<(), EncodeError> {
        match this {
            Some(elements) => elements.write(e, shape),
            None => e.long_length(None, shape.flexible),
        }
    }
}

/// Reads `count` elements. The exact memory is reserved, but only after `pay` has found it both
/// plausible (the bytes left can hold that many) and affordable (the budget covers it).
fn read_elements<'a, T: Field<'a>>(
    d: &mut Decoder<'a>,
    count: usize,
    shape: Shape,
) -> Result<Vec<T>, DecodeError> {
    let shape = shape.element();
    d.pay(count, size_of::<T>(), T::wire_bytes_min(shape))?;
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        elements.push(T::read(d, shape)?);
    }
    Ok(elements)
}

impl<'a, T: Nullable<'a>> Field<'a> for Option<T> {
    fn wire_bytes_min(shape: Shape) -> usize {
        // A null struct is one byte; nothing else has a null that is shorter than an empty value.
        T::wire_bytes_min(shape).min(if shape.nullable { 1 } else { usize::MAX })
    }

    fn read(d: &mut Decoder<'a>, shape: Shape) -> Result<Self, DecodeError> {
        if shape.nullable {
            T::read_nullable(d, shape)
        } else {
            T::read(d, shape).map(Some)
        }
    }

    fn write(&self, e: &mut Encoder, shape: Shape) -> Result<(), EncodeError> {
        if shape.nullable {
            return T::write_nullable(self.as_ref(), e, shape);
        }
        match self {
            Some(value) => value.write(e, shape),
            None => Err(EncodeError::UnexpectedNull),
        }
    }

    #[cfg(test)]
    fn arbitrary(rng: &mut crate::tests::Rng, shape: Shape) -> Self {
        if shape.nullable && rng.below(4) == 0 {
            None
        } else {
            Some(T::arbitrary(rng, shape))
        }
    }

    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, Field::heap_bytes)
    }
}

/// Reads a nullable struct: a byte that says whether it is there, then the struct.
pub(crate) fn read_nullable_struct<'a, T: Field<'a>>(
    d: &mut Decoder<'a>,
    shape: Shape,
) -> Result<Option<T>, DecodeError> {
    if d.i8()? < 0 {
        return Ok(None);
    }
    T::read(d, shape.element()).map(Some)
}

/// Appends a nullable struct; see [`read_nullable_struct`].
pub(crate) fn write_nullable_struct<'a, T: Field<'a>>(
    this: Option<&T>,
    e: &mut Encoder,
    shape: Shape,
) -> Result<(), EncodeError> {
    match this {
        None => {
            e.i8(STRUCT_NULL);
            Ok(())
        }
        Some(value) => {
            e.i8(STRUCT_PRESENT);
            value.write(e, shape.element())
        }
    }
}
