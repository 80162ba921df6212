//! Domain values as types, so that an offset is never added to an epoch by mistake.
//!
//! All are `Copy`, ordered and hashable. Arithmetic is checked: it returns `None` instead of
//! wrapping. `new` takes any value, since Kafka uses negative ones as sentinels (`NONE` where it
//! does).

use std::fmt;
use std::str::FromStr;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// The text has the wrong number of characters.
    #[error("parse id: {found} characters, expected {expected}")]
    Length {
        /// Characters (bytes) found.
        found: usize,
        /// Characters expected.
        expected: usize,
    },
    /// A character outside the alphabet, or one that no encoder writes at this place.
    #[error("parse id: bad character at {position}")]
    Character {
        /// Byte position in the text.
        position: usize,
    },
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($inner);

        impl $name {
            /// The value zero.
            pub const ZERO: Self = Self(0);

            /// Wraps a raw value.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The raw value.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// This value plus one, or `None` at the end of the range.
            pub const fn next(self) -> Option<Self> {
                match self.0.checked_add(1) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$name> for $inner {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

number! {
    /// Position of a record in its partition's log. Valid offsets are 0 and up.
    Offset(i64)
}

number! {
    /// Rises with each change of a partition's owner and fences the former one. `NONE` is -1.
    LeaderEpoch(i32)
}

number! {
    /// Number of a partition inside its topic, 0 and up.
    PartitionIndex(i32)
}

number! {
    /// Id that the cluster gave to an idempotent producer. `NONE` (-1) marks a batch without one.
    ProducerId(i64)
}

number! {
    /// Fences former instances of the same producer id. `NONE` is -1.
    ProducerEpoch(i16)
}

number! {
    /// Id of a broker, 0 and up.
    BrokerId(i32)
}

number! {
    /// Number of a WAL object inside its session, from 0 without gaps.
    WalSequence(u64)
}

number! {
    /// Milliseconds since the Unix epoch. `NONE` (-1) is Kafka's "no timestamp".
    TimestampMs(i64)
}

impl Offset {
    /// Kafka's "unknown offset", -1.
    pub const NONE: Self = Self(-1);

    /// This offset plus `delta`, or `None` on overflow.
    pub const fn checked_add(self, delta: i64) -> Option<Self> {
        match self.0.checked_add(delta) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The offset after `count` records of which this is the first, or `None` on overflow.
    pub const fn next_after_count(self, count: u32) -> Option<Self> {
        self.checked_add(count as i64)
    }

    /// The last of `count` offsets of which this is the first; `None` for no records or on
    /// overflow.
    pub const fn last_of_count(self, count: u32) -> Option<Self> {
        if count == 0 {
            None
        } else {
            self.checked_add(count as i64 - 1)
        }
    }

    /// Offsets from `earlier` up to this one; `None` when `earlier` is later.
    pub fn distance_from(self, earlier: Self) -> Option<u64> {
        u64::try_from(i128::from(self.0) - i128::from(earlier.0)).ok()
    }

    /// Whether a record can have this offset (0 and up).
    pub const fn is_valid(self) -> bool {
        self.0 >= 0
    }
}

impl LeaderEpoch {
    /// No epoch, -1.
    pub const NONE: Self = Self(-1);
}

impl ProducerId {
    /// No producer id, -1: the batch is not idempotent.
    pub const NONE: Self = Self(-1);

    /// Whether this is an id and not `NONE`.
    pub const fn is_some(self) -> bool {
        self.0 >= 0
    }
}

impl ProducerEpoch {
    /// No producer epoch, -1.
    pub const NONE: Self = Self(-1);
}

impl TimestampMs {
    /// No timestamp, -1.
    pub const NONE: Self = Self(-1);
}

impl WalSequence {
    /// The sequence before this one, or `None` at 0.
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }
}

/// Number of a record inside its producer's stream, per partition. Goes from `i32::MAX` back to 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(i32);

impl Sequence {
    /// The first sequence of a producer epoch.
    pub const ZERO: Self = Self(0);
    /// No sequence, -1: the batch is not idempotent.
    pub const NONE: Self = Self(-1);

    /// Wraps a raw value.
    pub const fn new(value: i32) -> Self {
        Self(value)
    }

    /// The raw value.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The sequence `count` records later, with Kafka's wrap from `i32::MAX` to 0. A negative
    /// sequence (`NONE`) stays as it is.
    pub const fn next(self, count: u32) -> Self {
        if self.0 < 0 {
            return self;
        }
        let sum = self.0 as u64 + count as u64;
        let next = (sum % (i32::MAX as u64 + 1)) as i32;
        assert!(next >= 0, "a sequence goes back to 0, not below");
        Self(next)
    }

    /// The last of `count` sequences of which this is the first; `count` 0 gives this one.
    pub const fn last_of_count(self, count: u32) -> Self {
        if count == 0 {
            self
        } else {
            self.next(count - 1)
        }
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<Sequence> for i32 {
    fn from(value: Sequence) -> Self {
        value.0
    }
}

/// Random id of a topic: a re-created topic has another. Shown as Kafka's `Uuid` (base64url, 22
/// characters, no padding).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId([u8; 16]);

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TOPIC_ID_CHARS: usize = 22;

// Four bits are left over: they are zero.
const _: () = assert!(TOPIC_ID_CHARS * 6 == 128 + 4);

impl TopicId {
    /// Kafka's zero id: "no topic id".
    pub const ZERO: Self = Self([0; 16]);

    /// Wraps the 16 bytes, in wire order.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, in wire order.
    pub const fn get(self) -> [u8; 16] {
        self.0
    }

    /// Whether this is `ZERO`.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = [0_u8; TOPIC_ID_CHARS];
        for (position, slot) in text.iter_mut().enumerate() {
            // 22 characters carry 132 bits: the last one holds two bits of the id and four zeros.
            let six = if position == TOPIC_ID_CHARS - 1 {
                (bits & 0b11) << 4
            } else {
                (bits >> (122 - 6 * position)) & 0x3f
            };
            *slot = BASE64URL[six as usize];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

impl FromStr for TopicId {
    type Err = ParseIdError;

    /// Parses exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.len() != TOPIC_ID_CHARS {
            return Err(ParseIdError::Length {
                found: text.len(),
                expected: TOPIC_ID_CHARS,
            });
        }
        let mut bits = 0_u128;
        for (position, byte) in text.bytes().enumerate() {
            let six = BASE64URL
                .iter()
                .position(|&letter| letter == byte)
                .ok_or(ParseIdError::Character { position })? as u128;
            if position == TOPIC_ID_CHARS - 1 {
                if six & 0x0f != 0 {
                    return Err(ParseIdError::Character { position });
                }
                bits = bits << 2 | six >> 4;
            } else {
                bits = bits << 6 | six;
            }
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

/// 128 random bits that name one life of a broker; its WAL prefix is never reused. Shown as 32
/// lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId([u8; 16]);

const SESSION_ID_CHARS: usize = 32;

const _: () = assert!(SESSION_ID_CHARS * 4 == 128);

impl SessionId {
    /// No session: all bits zero.
    pub const ZERO: Self = Self([0; 16]);

    /// Wraps the 16 bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn get(self) -> [u8; 16] {
        self.0
    }

    /// Whether this is `ZERO`.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl FromStr for SessionId {
    type Err = ParseIdError;

    /// Parses exactly what `Display` writes (lowercase only).
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.len() != SESSION_ID_CHARS {
            return Err(ParseIdError::Length {
                found: text.len(),
                expected: SESSION_ID_CHARS,
            });
        }
        let mut bits = 0_u128;
        for (position, byte) in text.bytes().enumerate() {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return Err(ParseIdError::Character { position }),
            };
            bits = bits << 4 | u128::from(digit);
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

/// A partition of one incarnation of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's random id.
    pub topic: TopicId,
    /// The partition inside the topic.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// Names a partition.
    pub const fn new(topic: TopicId, partition: PartitionIndex) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_wrap_as_kafka_does() {
        assert_eq!(Sequence::new(i32::MAX).next(1), Sequence::ZERO);
        assert_eq!(Sequence::new(i32::MAX - 1).next(3), Sequence::new(1));
        assert_eq!(Sequence::new(5).next(0), Sequence::new(5));
        assert_eq!(Sequence::NONE.next(7), Sequence::NONE);
        assert_eq!(Sequence::new(i32::MAX).last_of_count(2), Sequence::ZERO);
    }

    #[test]
    fn offsets_check_their_arithmetic() {
        assert_eq!(Offset::new(7).next_after_count(3), Some(Offset::new(10)));
        assert_eq!(Offset::new(7).last_of_count(3), Some(Offset::new(9)));
        assert_eq!(Offset::new(7).last_of_count(0), None);
        assert_eq!(Offset::new(i64::MAX).next(), None);
        assert_eq!(Offset::new(9).distance_from(Offset::new(4)), Some(5));
        assert_eq!(Offset::new(4).distance_from(Offset::new(9)), None);
        assert_eq!(
            Offset::new(i64::MAX).distance_from(Offset::new(i64::MIN)),
            Some(u64::MAX)
        );
    }

    #[test]
    fn topic_ids_read_like_kafkas_uuid() {
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        // Kafka's Uuid.ONE_UUID and METADATA_TOPIC_ID: new Uuid(0, 1).
        let one = TopicId::new(1_u128.to_be_bytes());
        assert_eq!(one.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(
            TopicId::new([0xff; 16]).to_string(),
            "_____________________w"
        );
        assert!("AAAAAAAAAAAAAAAAAAAAAB".parse::<TopicId>().is_err());
        assert!("AAAA".parse::<TopicId>().is_err());
        assert!("AAAAAAAAAAAAAAAAAAAA/Q".parse::<TopicId>().is_err());
    }

    proptest! {
        #[test]
        fn ids_round_trip(bytes: [u8; 16]) {
            let topic = TopicId::new(bytes);
            prop_assert_eq!(topic.to_string().parse::<TopicId>(), Ok(topic));
            let session = SessionId::new(bytes);
            prop_assert_eq!(session.to_string().parse::<SessionId>(), Ok(session));
        }

        #[test]
        fn any_text_parses_or_errs(text in ".{0,40}") {
            let _ = text.parse::<TopicId>();
            let _ = text.parse::<SessionId>();
        }
    }
}
