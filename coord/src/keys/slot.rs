//! `slots/{slot, 5 digits}`: a coordinator slot. Groups hash into slots; the owner of a slot
//! coordinates its groups, and every change of them compares and bumps its commit counter.

use serde::{Deserialize, Serialize};

use super::codec::Record;
use super::partition::Owner;
use super::space::{KeyError, Keyspace};
use crate::kv::{Key, Span};

const FOLDER: &str = "slots/";

/// Coordinator slots of a cluster.
pub const SLOTS: u16 = 64;

const _: () = assert!(SLOTS > 0, "each group has a slot");

/// Number of a coordinator slot, below [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u16);

impl SlotId {
    /// The slot with this number; `None` from [`SLOTS`] on.
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// Its number.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// A coordinator slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// The owner; none after a release.
    #[serde(default)]
    pub owner: Option<Owner>,
    /// Rises by one with each takeover.
    pub epoch: u32,
    /// Rises by one with each change of the slot's groups or offsets, and with each takeover.
    pub commit_counter: u64,
    /// Earlier owners that no taker has fenced yet; all must be before the slot serves.
    #[serde(default)]
    pub unfenced: Vec<Owner>,
}

impl Record for SlotRecord {
    const NAME: &'static str = "slot";
}

/// The key of a slot.
pub fn key(space: &Keyspace, slot: SlotId) -> Key {
    assert!(slot.0 < SLOTS, "there is no slot {}", slot.0);
    space.key(format_args!("{FOLDER}{:05}", slot.0))
}

/// All slots.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The slot in a slot key.
///
/// # Errors
/// [`KeyError`] if it is not a slot key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<SlotId, KeyError> {
    let rest = space.rest(key, FOLDER, "slot")?;
    let digits = rest.len() == 5 && rest.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| rest.parse().ok()).flatten();
    number.and_then(SlotId::new).ok_or_else(|| KeyError {
        key: key.clone(),
        expected: "slot",
    })
}
