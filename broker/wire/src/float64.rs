//! [`Float64`]: a fraction as the protocol carries it.

use crate::decode::Decoder;
use crate::encode::Encoder;
use crate::error::{DecodeError, EncodeError};
use crate::field::{Field, Shape};

/// An IEEE 754 double. Compared by its bits, so that messages with one have an equality: NaN is
/// equal to itself, and the two zeros differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Float64(u64);

impl Float64 {
    /// Zero.
    pub const ZERO: Self = Self::new(0.0);

    /// A value of the protocol.
    pub const fn new(value: f64) -> Self {
        Self(value.to_bits())
    }

    /// The number; peers may send any, NaN included.
    pub const fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl Field<'_> for Float64 {
    fn wire_bytes_min(_: Shape) -> usize {
        8
    }

    fn read(d: &mut Decoder<'_>, _: Shape) -> Result<Self, DecodeError> {
        d.i64().map(|bits| Self(bits.cast_unsigned()))
    }

    fn write(&self, e: &mut Encoder, _: Shape) -> Result<(), EncodeError> {
        e.i64(self.0.cast_signed());
        Ok(())
    }

    #[cfg(test)]
    fn arbitrary(rng: &mut crate::tests::Rng, _: Shape) -> Self {
        Self::new(rng.int() as f64 / 16.0)
    }
}
