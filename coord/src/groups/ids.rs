//! Names and numbers of the group protocol as types.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use segment::{TimestampMs, TopicPartition};

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes any text; the coordinator refuses what the protocol forbids.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the text is empty.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// Length in bytes.
            pub fn len(&self) -> usize {
                self.0.len()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

text! {
    /// Name of a group. The empty name is allowed only for offset commits and fetches, describe and
    /// delete, as in Kafka. Cloning copies a reference.
    GroupId
}

text! {
    /// Id of one member, made by the coordinator. Empty in a request means "not known yet". Cloning
    /// copies a reference.
    MemberId
}

text! {
    /// `group.instance.id` of a static member (KIP-345), chosen by its operator. Cloning copies a
    /// reference.
    InstanceId
}

impl MemberId {
    /// `{prefix}-{uuid}`, where the uuid (version 4) is made of `random_bits`. The prefix is the
    /// client id, or the instance id of a static member.
    pub(super) fn generate(prefix: &str, random_bits: u128) -> Self {
        const VERSION_MASK: u128 = 0xf << 76;
        const VERSION_4: u128 = 0x4 << 76;
        const VARIANT_MASK: u128 = 0b11 << 62;
        const VARIANT_RFC: u128 = 0b10 << 62;
        let bits = random_bits & !VERSION_MASK & !VARIANT_MASK | VERSION_4 | VARIANT_RFC;
        let hex = format!("{bits:032x}");
        assert_eq!(hex.len(), 32, "128 bits are 32 hexadecimal digits");
        Self::new(format!(
            "{prefix}-{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        ))
    }
}

/// Number of a rebalance of a group. 0 before the first; rises by one with each; `NONE` (-1) in a
/// commit by a consumer that is not a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(i32);

impl Generation {
    /// Kafka's "no generation", -1.
    pub const NONE: Self = Self(-1);
    /// A group that never completed a rebalance.
    pub const ZERO: Self = Self(0);

    /// Wraps a raw value.
    pub const fn new(value: i32) -> Self {
        Self(value)
    }

    /// The raw value.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The next generation. After `i32::MAX` comes 1: at a rebalance a second that is 68 years.
    pub(super) fn next(self) -> Self {
        Self(self.0.checked_add(1).unwrap_or(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

const _: () = assert!(
    Generation::NONE.0 < Generation::ZERO.0,
    "no group has the generation that stands for none"
);

/// Milliseconds of a monotonic clock with an arbitrary start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(u64);

impl Millis {
    /// Wraps a raw value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The raw value.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// This time plus `ms` milliseconds, at most the end of the range.
    pub const fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// The time of an input, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: all timers run on it. Never goes back between calls.
    pub monotonic: Millis,
    /// Wall clock: commit times and offset expiry. May jump.
    pub wall: TimestampMs,
}

/// Names a parked request towards the owner of the coordinator, which chooses the values. Each
/// token gets exactly one [`Reply`](super::Reply).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyToken(pub u64);

/// Number of an [`Effect::Persist`](super::Effect) of one [`Coordinator`](super::Coordinator)
/// value, from 0 without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// Key of a committed offset. It names the topic by its id, so a topic created again under the same
/// name never sees the offsets of the former one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetKey {
    /// The group.
    pub group: GroupId,
    /// The partition of one incarnation of a topic.
    pub partition: TopicPartition,
}
