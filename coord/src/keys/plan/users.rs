//! Changing the credentials of users.

use segment::SessionId;

use super::{Planned, guarded, session_lives, unchanged};
use crate::keys::codec::Seen;
use crate::keys::decoy::{self, DecoyRecord};
use crate::keys::scram::{self, ScramKey, ScramRecord};
use crate::keys::space::Keyspace;
use crate::kv::{Op, Txn};
use crate::rules::Rule;

/// Sets a credential: it is as it was read, and our session lives.
pub fn put_scram(
    space: &Keyspace,
    writer: SessionId,
    of: &ScramKey,
    seen: Option<&Seen<ScramRecord>>,
    record: ScramRecord,
) -> Planned<ScramRecord> {
    guarded(space, writer, scram::key(space, of), seen, record)
}

/// Removes a credential: it is as it was read, and our session lives. After an unknown outcome an absent key is what
/// was wanted.
pub fn delete_scram(
    space: &Keyspace,
    writer: SessionId,
    of: &ScramKey,
    seen: &Seen<ScramRecord>,
) -> Txn {
    let key = scram::key(space, of);
    let txn = Txn::new()
        .rule(Rule::WrittenAsRead, unchanged(&key, Some(seen)))
        .rule(Rule::WriterLives, session_lives(space, writer))
        .and_then(Op::Delete(key.clone()))
        .or_else(Op::Get(key));
    assert!(
        !txn.compares.is_empty(),
        "a deletion has a guard, whichever rule is taken out"
    );
    txn
}

/// Writes the secret from which unknown users are answered, where there is none yet.
pub fn create_decoy(
    space: &Keyspace,
    writer: SessionId,
    record: DecoyRecord,
) -> Planned<DecoyRecord> {
    guarded(space, writer, decoy::key(space), None, record)
}
