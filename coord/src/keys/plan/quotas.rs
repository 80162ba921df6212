//! Changing quotas.

use segment::SessionId;

use super::{Planned, guarded, revision_of, session_lives, unchanged};
use crate::keys::codec::Seen;
use crate::keys::quota::{self, QuotaEntity, QuotaRecord};
use crate::keys::space::Keyspace;
use crate::kv::{Op, Txn};
use crate::rules::Rule;

/// Replaces the quotas of an entity, or deletes its key where none is left: they are as they were read,
/// and our session lives. After an unknown outcome a deletion is read as an absent key, not resolved.
pub fn put_quotas(
    space: &Keyspace,
    writer: SessionId,
    entity: &QuotaEntity,
    seen: Option<&Seen<QuotaRecord>>,
    record: QuotaRecord,
) -> Planned<QuotaRecord> {
    let key = quota::key(space, entity);
    if !record.values.is_empty() {
        return guarded(space, writer, key, seen, record);
    }
    let txn = Txn::new()
        .rule(Rule::WrittenAsRead, unchanged(&key, seen))
        .rule(Rule::WriterLives, session_lives(space, writer))
        .and_then(Op::Delete(key.clone()))
        .or_else(Op::Get(key));
    assert!(
        !txn.compares.is_empty(),
        "a deletion has a guard, whichever rule is taken out"
    );
    Planned {
        txn,
        record,
        planned_on: revision_of(seen),
    }
}
