//! Where the keys of a cluster lie, and how names become parts of keys.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use segment::TopicName;

use crate::kv::{Key, Span};

/// Why a name is no cluster name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cluster name {name:?}: 1 to 249 of a-z A-Z 0-9 . _ - and not . or ..")]
pub struct KeyspaceError {
    /// The name.
    pub name: String,
}

/// Why a key is not of the type that it was taken for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {key} is not a {expected} key")]
pub struct KeyError {
    /// The key.
    pub key: Key,
    /// The type expected.
    pub expected: &'static str,
}

/// The keys of one cluster: everything under `/kafscale/{cluster}/`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    prefix: Arc<str>,
}

impl Keyspace {
    /// The keys of the cluster with this name (`KAFSCALE_CLUSTER`).
    ///
    /// # Errors
    /// [`KeyspaceError`] if the name is not legal in a key; the rule is that of topic names.
    pub fn new(cluster: &str) -> Result<Self, KeyspaceError> {
        if TopicName::new(cluster).is_err() {
            return Err(KeyspaceError {
                name: cluster.to_string(),
            });
        }
        Ok(Self {
            prefix: format!("/kafscale/{cluster}/").into(),
        })
    }

    /// What all keys of the cluster begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// All keys of the cluster.
    pub fn span(&self) -> Span {
        Span::prefix(self.prefix())
    }

    /// The key of this path within the cluster.
    pub(super) fn key(&self, path: impl Display) -> Key {
        Key::from(format!("{}{path}", self.prefix))
    }

    /// What follows `folder` in a key of the cluster.
    pub(super) fn rest<'k>(
        &self,
        key: &'k Key,
        folder: &str,
        expected: &'static str,
    ) -> Result<&'k str, KeyError> {
        key.as_str()
            .and_then(|text| text.strip_prefix(self.prefix()))
            .and_then(|text| text.strip_prefix(folder))
            .ok_or_else(|| KeyError {
                key: key.clone(),
                expected,
            })
    }
}

/// A value parsed from one part of a key; only the text that it is written as is taken.
pub(super) fn parse_exact<T: FromStr + Display>(text: &str) -> Option<T> {
    text.parse::<T>()
        .ok()
        .filter(|value| value.to_string() == text)
}

/// A number of ten digits, as partitions and broker ids are written in keys.
pub(super) fn parse_ten_digits(text: &str) -> Option<i32> {
    let digits = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<i32> = digits.then(|| text.parse().ok()).flatten();
    assert!(
        number.is_none_or(|number| number >= 0),
        "digits have no sign"
    );
    number
}

/// The key part of a name that may hold anything, '/' included: bytes outside `a-z A-Z 0-9 . _ -`
/// become `%` and two hexadecimal digits; the empty name becomes a lone `%`.
pub fn escape(name: &str) -> String {
    if name.is_empty() {
        return "%".to_string();
    }
    let mut part = String::with_capacity(name.len());
    for byte in name.bytes() {
        if is_plain(byte) {
            part.push(char::from(byte));
        } else {
            part.push('%');
            part.push(char::from(HEX[usize::from(byte >> 4)]));
            part.push(char::from(HEX[usize::from(byte & 0xf)]));
        }
    }
    assert!(part.len() >= name.len(), "no byte is left out");
    assert!(!part.contains('/'), "a name is one part of a key");
    part
}

/// The name of a key part; `None` if [`escape`] never writes it.
pub fn unescape(part: &str) -> Option<String> {
    if part == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (high, low) = (hex_digit(rest.next()?)?, hex_digit(rest.next()?)?);
        bytes.push(high << 4 | low);
    }
    let name = String::from_utf8(bytes).ok()?;
    (escape(&name) == part).then_some(name)
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn hex_digit(byte: u8) -> Option<u8> {
    HEX.iter()
        .position(|digit| *digit == byte)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cluster_name_cannot_leave_its_folder() {
        assert!(Keyspace::new("kafscale").is_ok());
        for name in ["", "a/b", "..", "a b"] {
            assert!(Keyspace::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_slash_never_reaches_a_key() {
        assert_eq!(escape("a/b c"), "a%2Fb%20c");
        assert_eq!(escape(""), "%");
        assert_eq!(
            unescape("a%2fb"),
            None,
            "lowercase digits are never written"
        );
        assert_eq!(unescape("%41"), None, "a plain byte is never escaped");
        assert_eq!(unescape("%2"), None);
        assert_eq!(unescape(""), None);
    }

    proptest! {
        #[test]
        fn any_name_round_trips(name in ".{0,60}") {
            let part = escape(&name);
            prop_assert!(!part.contains('/'));
            prop_assert_eq!(unescape(&part), Some(name));
        }

        #[test]
        fn any_part_unescapes_to_what_escapes_to_it(part in "[%0-9A-Fa-f/]{0,12}") {
            if let Some(name) = unescape(&part) {
                prop_assert_eq!(escape(&name), part);
            }
        }
    }
}
