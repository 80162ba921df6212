//! `brokers/{broker id, 10 digits}`: the claim of a broker id. Bound to the lease of its
//! session, so a second process with the id of a live session is refused.

use segment::{BrokerId, SessionId};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::{KeyError, Keyspace, parse_ten_digits};
use crate::kv::{Key, Span};

const FOLDER: &str = "brokers/";

/// Who has claimed the id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRecord {
    /// The session.
    #[serde(with = "codec::text")]
    pub session: SessionId,
}

impl Record for BrokerRecord {
    const NAME: &'static str = "broker";
}

/// The key of a broker id.
///
/// # Panics
/// When the id is negative: settings are checked before.
pub fn key(space: &Keyspace, broker: BrokerId) -> Key {
    let id = broker.get();
    assert!(id >= 0, "broker id {id} is negative");
    space.key(format_args!("{FOLDER}{id:010}"))
}

/// All claimed ids.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The broker id in a broker key.
///
/// # Errors
/// [`KeyError`] if it is not a broker key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<BrokerId, KeyError> {
    let rest = space.rest(key, FOLDER, "broker")?;
    let id = parse_ten_digits(rest);
    id.map(BrokerId::new).ok_or_else(|| KeyError {
        key: key.clone(),
        expected: "broker",
    })
}

/// The smallest id that is not in use, given those that are.
pub fn smallest_free(claimed: impl IntoIterator<Item = BrokerId>) -> BrokerId {
    let claimed: std::collections::BTreeSet<i32> = claimed.into_iter().map(BrokerId::get).collect();
    let free = (0..=i32::MAX).find(|id| !claimed.contains(id));
    let free = free.expect("not every id is in use");
    assert!(
        usize::try_from(free).is_ok_and(|free| free <= claimed.len()),
        "every id below the smallest free one is claimed"
    );
    BrokerId::new(free)
}
