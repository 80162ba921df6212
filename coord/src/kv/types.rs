//! The words of the seam: keys, values, revisions, spans, leases.

use std::fmt;

use bytes::Bytes;

/// A key: bytes in lexical order, usually a path such as `/kafscale/kafscale/topics/orders`.
/// Never empty in a request (an empty key is refused as invalid, as etcd refuses it).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// A key of these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text, when it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The bytes of the key, shared.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the key has no bytes, which no stored key has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The smallest key above this one: this key and a zero byte.
    pub fn successor(&self) -> Key {
        let mut bytes = Vec::with_capacity(self.0.len() + 1);
        bytes.extend_from_slice(&self.0);
        bytes.push(0);
        assert!(bytes > self.0, "a successor is behind");
        Key(Bytes::from(bytes))
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", String::from_utf8_lossy(&self.0))
    }
}

/// A stored value: opaque bytes; what they mean is decided in [`crate::keys`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Value(Bytes);

impl Value {
    /// A value of these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes of the value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes of the value, shared.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::from(bytes))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({:?})", String::from_utf8_lossy(&self.0))
    }
}

/// The store-wide counter of changes: it rises by one with each transaction that changes a key.
/// Zero is "never": the revision of an empty store, and the create revision of an absent key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision before the first change.
    pub const ZERO: Revision = Revision(0);

    /// The next revision.
    ///
    /// # Panics
    /// When 2^63 - 1 changes have been made, which no store lives to see.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(
            self.0
                .checked_add(1)
                .expect("a revision counts single transactions"),
        )
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The lease of a live session in the store. Keys put with it vanish with it. It is the store's
/// name for the lease (etcd: the lease id), not the 128-bit session id of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionLease(pub i64);

impl fmt::Display for SessionLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One key with what the store knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: Value,
    /// Revision of the change that created the key (since it was last absent).
    pub create_revision: Revision,
    /// Revision of the last change.
    pub mod_revision: Revision,
    /// The lease that the key is bound to, if it is bound.
    pub session: Option<SessionLease>,
}

/// A half-open run of keys, `[start, end)`; without an end it runs to the last key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    start: Key,
    end: Option<Key>,
}

impl Span {
    /// Every key that begins with these bytes.
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        let start: Key = prefix.into();
        let end = prefix_end(start.as_bytes());
        assert!(
            end.as_ref().is_none_or(|end| *end > start),
            "the keys with a prefix are a span"
        );
        Self { start, end }
    }

    /// The keys from `start` on, below `end`. An `end` at or below `start` is an empty span.
    pub fn between(start: Key, end: Key) -> Self {
        Self {
            start,
            end: Some(end),
        }
    }

    /// That one key.
    pub fn single(key: Key) -> Self {
        let end = key.successor();
        Self {
            start: key,
            end: Some(end),
        }
    }

    /// The first key of the span.
    pub fn start(&self) -> &Key {
        &self.start
    }

    /// The first key beyond the span, if it has an end.
    pub fn end(&self) -> Option<&Key> {
        self.end.as_ref()
    }

    /// Whether the key lies in the span.
    pub fn contains(&self, key: &Key) -> bool {
        *key >= self.start && self.end.as_ref().is_none_or(|end| key < end)
    }

    /// Whether the span can hold no key at all.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// What is left of the span above `key`: where the next page starts.
    #[must_use]
    pub fn after(&self, key: &Key) -> Span {
        let successor = key.successor();
        let start = if successor > self.start {
            successor
        } else {
            self.start.clone()
        };
        assert!(start > *key, "the key is left behind");
        Span {
            start,
            end: self.end.clone(),
        }
    }
}

/// The first key above every key with this prefix; none when the prefix is all `0xff` or empty.
fn prefix_end(prefix: &[u8]) -> Option<Key> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(Key::new(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_span_holds_exactly_the_keys_with_that_prefix() {
        let span = Span::prefix("/a/");
        assert!(span.contains(&"/a/".into()));
        assert!(span.contains(&Key::new(vec![b'/', b'a', b'/', 0xff, 0xff])));
        assert!(!span.contains(&"/a0".into()));
        assert!(!span.contains(&"/a".into()));
        assert!(Span::prefix(Key::new(vec![0xff])).end().is_none());
        assert!(Span::prefix("").contains(&"x".into()));
    }

    #[test]
    fn after_never_moves_back() {
        let span = Span::prefix("m");
        assert_eq!(span.after(&"a".into()).start(), span.start());
        assert!(!span.after(&"m1".into()).contains(&"m1".into()));
        assert!(
            span.after(&"m1".into())
                .contains(&Key::new(vec![b'm', b'1', 0]))
        );
    }
}
