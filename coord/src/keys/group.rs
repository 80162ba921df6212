//! `groups/{escaped group}`: the state of a consumer group, opaque here.
//!
//! A line of JSON (`{"v":1,"state_version":3}`), a newline, then the state's bytes as they are:
//! they may be large, and base64 would add a third.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::CodecError;
use super::space::{KeyError, Keyspace, escape, unescape};
use crate::kv::{Key, Span, Value};

const FOLDER: &str = "groups/";
const NAME: &str = "group";
const VERSION: u32 = 1;

/// The state of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    /// Version of the state's own codec.
    pub state_version: u32,
    /// The state.
    pub state: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Header {
    v: u32,
    state_version: u32,
}

impl GroupRecord {
    /// The stored form.
    pub fn encode(&self) -> Value {
        let header = Header {
            v: VERSION,
            state_version: self.state_version,
        };
        let mut bytes = serde_json::to_vec(&header).expect("a header is two numbers");
        assert!(!bytes.contains(&b'\n'), "the header is one line");
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.state);
        Value::from(bytes)
    }

    /// The record in a stored value.
    ///
    /// # Errors
    /// [`CodecError`] if it has no header, or one of a newer version.
    pub fn decode(value: &Value) -> Result<Self, CodecError> {
        let malformed = |reason: &str| CodecError::Malformed {
            record: NAME,
            reason: reason.to_string(),
        };
        let bytes = value.to_bytes();
        let line = bytes.iter().position(|byte| *byte == b'\n');
        let line = line.ok_or_else(|| malformed("no header line"))?;
        let header: Header = serde_json::from_slice(&bytes[..line])
            .map_err(|error| malformed(&error.to_string()))?;
        if header.v == 0 || header.v > VERSION {
            return Err(CodecError::Version {
                record: NAME,
                found: header.v,
                known: VERSION,
            });
        }
        Ok(Self {
            state_version: header.state_version,
            state: bytes.slice(line + 1..),
        })
    }
}

/// The key of a group; its name may be any text.
pub fn key(space: &Keyspace, group: &str) -> Key {
    space.key(format_args!("{FOLDER}{}", escape(group)))
}

/// All groups.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The name in a group key.
///
/// # Errors
/// [`KeyError`] if it is not a group key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<String, KeyError> {
    let rest = space.rest(key, FOLDER, NAME)?;
    unescape(rest).ok_or_else(|| KeyError {
        key: key.clone(),
        expected: NAME,
    })
}
