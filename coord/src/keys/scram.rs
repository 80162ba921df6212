//! `users/{user}/{mechanism}`: what is stored of a user's password for a SCRAM mechanism (KIP-554). A user name is
//! escaped; the mechanism is its registered name, as `SCRAM-SHA-256`. A password cannot be had from it, and one cannot
//! log in with it (RFC 5802); still it is no more shown than a password is, since guesses can be tried on it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::codec::Record;
use super::space::{KeyError, Keyspace, escape, unescape};
use crate::kv::{Key, Span};

const FOLDER: &str = "users/";
/// Bytes of a salt at most.
pub const SALT_BYTES_MAX: usize = 1024;

/// Whose credential it is, and for which mechanism.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScramKey {
    /// The user.
    pub user: String,
    /// Registered name of the mechanism.
    pub mechanism: String,
}

/// Salt, iterations and keys of one user and mechanism.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramRecord {
    /// The salt.
    #[serde(with = "hex")]
    pub salt: Vec<u8>,
    /// Iterations of the hash.
    pub iterations: u32,
    /// What a client's proof is checked with.
    #[serde(with = "hex")]
    pub stored_key: Vec<u8>,
    /// What a broker proves itself with.
    #[serde(with = "hex")]
    pub server_key: Vec<u8>,
}

impl fmt::Debug for ScramRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramRecord({} iterations, ***)", self.iterations)
    }
}

impl Record for ScramRecord {
    const NAME: &'static str = "scram";

    fn check(&self) -> Result<(), String> {
        if self.salt.is_empty() || self.salt.len() > SALT_BYTES_MAX {
            return Err(format!("a salt of {} bytes", self.salt.len()));
        }
        if self.stored_key.len() != self.server_key.len() || self.stored_key.is_empty() {
            return Err("keys of different lengths, or empty".to_owned());
        }
        Ok(())
    }
}

/// `#[serde(with)]`: bytes as hexadecimal digits.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            text.extend([byte >> 4, byte & 15].map(|digit| {
                char::from_digit(u32::from(digit), 16).expect("four bits are a digit")
            }));
        }
        assert!(text.len() == 2 * bytes.len(), "two digits a byte");
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|it| u8::try_from(it).ok())
        };
        let pairs = text.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        bytes.ok_or_else(|| D::Error::custom("not pairs of hexadecimal digits"))
    }
}

/// The key of a credential.
pub fn key(space: &Keyspace, of: &ScramKey) -> Key {
    space.key(format_args!(
        "{FOLDER}{}/{}",
        escape(&of.user),
        escape(&of.mechanism)
    ))
}

/// The credentials of all users.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// Whose credential a key is.
///
/// # Errors
/// [`KeyError`] if it is not the key of a credential.
pub fn parse(space: &Keyspace, key: &Key) -> Result<ScramKey, KeyError> {
    let rest = space.rest(key, FOLDER, "scram")?;
    let parts = rest.split_once('/');
    let names = parts.and_then(|(user, mechanism)| Some((unescape(user)?, unescape(mechanism)?)));
    let (user, mechanism) = names.ok_or_else(|| KeyError {
        key: key.clone(),
        expected: "scram",
    })?;
    Ok(ScramKey { user, mechanism })
}
