//! `decoy`: a secret of the cluster from which answers to unknown users are made, so that a user who is not there looks
//! the same on every broker, and like one who is (RFC 5802 leaves it open; Kafka tells them apart by its answer).
//! Written once, by the broker that needs it first; never changed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::codec::Record;
use super::space::Keyspace;
use crate::kv::Key;

/// Characters of the secret.
pub const SECRET_CHARS: usize = 64;

/// The secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecoyRecord {
    /// Random characters.
    pub secret: String,
}

impl fmt::Debug for DecoyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecoyRecord(***)")
    }
}

impl Record for DecoyRecord {
    const NAME: &'static str = "decoy";

    fn check(&self) -> Result<(), String> {
        match self.secret.len() {
            SECRET_CHARS => Ok(()),
            other => Err(format!("a secret of {other} characters")),
        }
    }
}

/// Its key.
pub fn key(space: &Keyspace) -> Key {
    space.key("decoy")
}
