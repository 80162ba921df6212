//! Kafka's rule for topic names, as a type: a name that is not legal cannot reach an object key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest legal topic name, in bytes (Kafka's `Topic.MAX_NAME_LENGTH`).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Topics that clients may not create or write by name, as Apache Kafka has them.
const INTERNAL: [&str; 4] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
    "__cluster_metadata",
];

/// Why a text is not a topic name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// The empty text.
    #[error("topic name is empty")]
    Empty,
    /// "." or "..", which are directories.
    #[error("topic name cannot be \".\" or \"..\"")]
    Dots,
    /// More than 249 bytes.
    #[error("topic name has {bytes} bytes, more than {TOPIC_NAME_BYTES_MAX}")]
    TooLong {
        /// Bytes found.
        bytes: usize,
    },
    /// A byte outside `[a-zA-Z0-9._-]`.
    #[error("topic name has an illegal character at byte {position}")]
    Character {
        /// Byte position of the first illegal character.
        position: usize,
    },
}

/// A legal topic name: 1 to 249 of `[a-zA-Z0-9._-]`, not "." or "..". Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks `name` against Kafka's rule (`Topic.validate`).
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        validate(name)?;
        Ok(Self(Arc::from(name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name has a '.' or '_', which metric names cannot tell apart.
    pub fn has_collision_chars(&self) -> bool {
        self.0.bytes().any(|byte| matches!(byte, b'.' | b'_'))
    }

    /// Whether the two names are equal once '.' is read as '_' (Kafka's `Topic.hasCollision`).
    /// Equal names collide too.
    pub fn collides_with(&self, other: &Self) -> bool {
        let unify = |byte: u8| if byte == b'.' { b'_' } else { byte };
        self.0.len() == other.0.len() && self.0.bytes().map(unify).eq(other.0.bytes().map(unify))
    }

    /// Whether Apache Kafka keeps this name for itself.
    pub fn is_internal(&self) -> bool {
        INTERNAL.contains(&self.as_str())
    }
}

fn validate(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots);
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(TopicNameError::TooLong { bytes: name.len() });
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match name.bytes().position(|byte| !legal(byte)) {
        Some(position) => Err(TopicNameError::Character { position }),
        None => Ok(()),
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(name: &str) -> Result<Self, TopicNameError> {
        Self::new(name)
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicName({:?})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_rule_holds() {
        for name in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            assert!(TopicName::new(name).is_ok(), "{name}");
        }
        assert_eq!(TopicName::new(""), Err(TopicNameError::Empty));
        assert_eq!(TopicName::new("."), Err(TopicNameError::Dots));
        assert_eq!(TopicName::new(".."), Err(TopicNameError::Dots));
        assert_eq!(
            TopicName::new(&"x".repeat(250)),
            Err(TopicNameError::TooLong { bytes: 250 })
        );
        for name in ["a/b", "a b", "a@1", "a\0", "\u{e9}", "a\n"] {
            assert!(
                matches!(TopicName::new(name), Err(TopicNameError::Character { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        let name = |text: &str| TopicName::new(text).unwrap();
        assert!(name("a.b").collides_with(&name("a_b")));
        assert!(name("a.b_c").collides_with(&name("a_b.c")));
        assert!(!name("a.b").collides_with(&name("a-b")));
        assert!(!name("a.b").collides_with(&name("a.bc")));
        assert!(name("a.b").has_collision_chars());
        assert!(!name("a-b").has_collision_chars());
    }

    #[test]
    fn internal_topics_are_known() {
        assert!(TopicName::new("__consumer_offsets").unwrap().is_internal());
        assert!(!TopicName::new("orders").unwrap().is_internal());
    }
}
