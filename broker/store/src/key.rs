//! Object keys: the names that every store accepts, whatever lies below it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Longest key, in bytes: S3's bound.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest component of a key, in bytes: the bound of a file name on Linux.
pub const KEY_COMPONENT_BYTES_MAX: usize = 255;
/// Most components of a key: bounds the depth of a directory walk.
pub const KEY_COMPONENTS_MAX: usize = 32;

/// The name of an object: immutable, cheap to clone, valid in S3 and as a path below a directory.
///
/// A key is 3 to [`KEY_BYTES_MAX`] bytes of UTF-8 without control characters: 2 to
/// [`KEY_COMPONENTS_MAX`] components separated by `/`, each 1 to [`KEY_COMPONENT_BYTES_MAX`]
/// bytes and none of them `.` or `..`. The first component does not begin with a dot, and there
/// are at least two, because the top of a data directory also holds what is not an object (the
/// lock, the embedded metadata, `.tmp`). Ordered by bytes, as LIST is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// Checks `key` and makes it an object key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] names the rule that the key breaks.
    pub fn new(key: impl Into<Arc<str>>) -> Result<Self, KeyError> {
        let key = key.into();
        check(&key)?;
        Ok(Self(key))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the last `/`: the directory of the object in a local store.
    pub(crate) fn directory(&self) -> &str {
        let end = self
            .0
            .rfind('/')
            .expect("a key has at least two components");
        &self.0[..end]
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ObjectKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ObjectKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(key: &str) -> Result<Self, KeyError> {
        Self::new(key)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = KeyError;

    fn try_from(key: String) -> Result<Self, KeyError> {
        Self::new(key)
    }
}

/// Why a text is not an object key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Empty, or longer than [`KEY_BYTES_MAX`].
    #[error("object key has {bytes} bytes; allowed are 3 to {KEY_BYTES_MAX}")]
    Length {
        /// Length of the refused key, in bytes.
        bytes: usize,
    },
    /// Fewer than two components or more than [`KEY_COMPONENTS_MAX`].
    #[error("object key has {count} components; allowed are 2 to {KEY_COMPONENTS_MAX}")]
    Components {
        /// Number of components of the refused key.
        count: usize,
    },
    /// An empty component (also a leading or trailing `/`), `.`, `..`, or one that is too long.
    #[error("component {index} of the object key is empty, a dot name or over 255 bytes")]
    Component {
        /// Position of the refused component, from 0.
        index: usize,
    },
    /// The first component begins with a dot.
    #[error("object key begins with a dot, which is reserved")]
    Reserved,
    /// A control character at this byte.
    #[error("object key has a control character at byte {position}")]
    Control {
        /// Byte position of the character.
        position: usize,
    },
}

fn check(key: &str) -> Result<(), KeyError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(KeyError::Length { bytes: key.len() });
    }
    if let Some((position, _)) = key.char_indices().find(|(_, c)| c.is_control()) {
        return Err(KeyError::Control { position });
    }
    let mut count = 0;
    for (index, component) in key.split('/').enumerate() {
        if !component_is_valid(component) {
            return Err(KeyError::Component { index });
        }
        count += 1;
    }
    if !(2..=KEY_COMPONENTS_MAX).contains(&count) {
        return Err(KeyError::Components { count });
    }
    if key.starts_with('.') {
        return Err(KeyError::Reserved);
    }
    Ok(())
}

/// Whether `component` may stand between two slashes of a key.
pub(crate) fn component_is_valid(component: &str) -> bool {
    let length_ok = (1..=KEY_COMPONENT_BYTES_MAX).contains(&component.len());
    length_ok && component != "." && component != ".." && !component.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_keys_are_refused() {
        let long_component = format!("a/{}", "x".repeat(256));
        let long = format!("a/{}", "x/".repeat(520));
        let deep = format!("a{}", "/a".repeat(KEY_COMPONENTS_MAX));
        for key in [
            "",
            "a",
            "/a",
            "/a/b",
            "a/",
            "a//b",
            "a/../b",
            "../a",
            "a/..",
            "./a",
            "a/./b",
            ".tmp/x",
            ".",
            "..",
            "/",
            "a/b\0c",
            "a/b\nc",
            "a/b/",
            "\u{7f}/a",
            &long_component,
            &long,
            &deep,
        ] {
            assert!(ObjectKey::new(key).is_err(), "accepted {key:?}");
        }
    }

    #[test]
    fn ordinary_keys_are_accepted() {
        for key in [
            "a/b",
            "kafscale/default/.topic/0/segment-1.kfs",
            "a/...",
            "a/t@1/0/x",
            "ä/ö",
        ] {
            assert_eq!(ObjectKey::new(key).unwrap().as_str(), key);
        }
        assert_eq!(ObjectKey::new("a/b/c").unwrap().directory(), "a/b");
    }
}
