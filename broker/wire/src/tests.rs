//! Tests of the codec: against an oracle, against hostile bytes, against known bytes.

mod frames;
mod hostile;
mod known_bytes;
mod oracle;

use bytes::Bytes;

use crate::encode::Encoder;
use crate::field::{Field, Shape};
use crate::message::Message;
use crate::records::Records;
use crate::uuid::Uuid;

/// Texts of the lengths at which encodings change: empty, one, 127 and more, and not ASCII.
const TEXTS: &[&str] = &[
    "",
    "a",
    "topic-1",
    "größe",
    "0123456789012345678901234567890123456789012345678901234567890123\
     0123456789012345678901234567890123456789012345678901234567890123",
];
/// Bytes of such lengths.
const BLOBS: &[&[u8]] = &[&[], &[0], &[255, 0, 128], &[7; 130]];

/// A seeded generator (SplitMix64): a failing case is found again by its seed.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    /// Small, extreme and arbitrary numbers alike.
    pub(crate) fn int(&mut self) -> i64 {
        match self.below(6) {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => i64::MIN,
            4 => self.below(1000) as i64,
            _ => self.next() as i64,
        }
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        match self.below(3) {
            0 => Uuid::ZERO,
            _ => Uuid::from_u128(u128::from(self.next()) << 64 | u128::from(self.next())),
        }
    }

    pub(crate) fn text(&mut self) -> &'static str {
        TEXTS[self.below(TEXTS.len())]
    }

    pub(crate) fn bytes(&mut self) -> &'static [u8] {
        BLOBS[self.below(BLOBS.len())]
    }

    pub(crate) fn records<'a>(&mut self) -> Records<'a> {
        match self.below(4) {
            0 => Records::Null,
            1 => Records::Borrowed(self.bytes()),
            _ => {
                let count = self.below(4);
                Records::Chunks(
                    (0..count)
                        .map(|_| Bytes::from_static(self.bytes()))
                        .collect(),
                )
            }
        }
    }
}

/// A random message of `version`; `case` makes it another one.
fn arbitrary<M: Message<'static> + Field<'static>>(version: i16, case: u64) -> M {
    let name = M::NAME
        .bytes()
        .fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
    let mut rng = Rng::new(name ^ (version as u64) << 32 ^ case << 48);
    let flexible = version >= M::FLEXIBLE_FROM;
    M::arbitrary(
        &mut rng,
        Shape {
            version,
            flexible,
            nullable: false,
        },
    )
}

/// The bytes of one message, without header and length prefix.
fn body<'a, M: Message<'a>>(message: &M, version: i16) -> Bytes {
    let mut encoder = Encoder::new();
    message.encode(&mut encoder, version).unwrap();
    encoder.finish().unwrap().body()
}
