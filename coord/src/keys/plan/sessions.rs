//! Sessions: registration and what a live session publishes.

use segment::{SessionId, TimestampMs};

use super::{PlanError, Planned, revision_of, unchanged};
use crate::keys::broker::{self, BrokerRecord};
use crate::keys::codec::{Seen, encode};
use crate::keys::session::{self, SessionRecord};
use crate::keys::session_record::{self, SessionHistoryRecord};
use crate::keys::space::Keyspace;
use crate::kv::{Compare, Op, Revision, SessionLease, Txn};
use crate::rules::Rule;

/// A session that begins.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its id: 128 random bits.
    pub session: SessionId,
    /// Its lease, granted just before.
    pub lease: SessionLease,
    /// What it publishes.
    pub record: SessionRecord,
    /// When it begins.
    pub started_ms: TimestampMs,
}

/// Begins a session: its record for ever, its key and its claim of the broker id bound to the
/// lease. The id was never used and no live session has the broker id. On failure the claim is
/// read.
///
/// # Panics
/// When the lease is 0, which no store grants: a key that is bound to it would outlive its session.
pub fn open_session(space: &Keyspace, registration: Registration) -> Planned<SessionRecord> {
    let Registration {
        session,
        lease,
        record,
        started_ms,
    } = registration;
    assert!(lease != SessionLease(0), "lease 0 means none");
    let broker = record.broker;
    let key = session::key(space, session);
    let history_key = session_record::key(space, session);
    let claim_key = broker::key(space, broker);
    let history = SessionHistoryRecord { broker, started_ms };
    let txn = Txn::new()
        .when(Compare::absent(key.clone()))
        .when(Compare::absent(history_key.clone()))
        .rule(Rule::BrokerIdOnce, Compare::absent(claim_key.clone()))
        .and_then(Op::put(history_key, encode(&history)))
        .and_then(Op::put_bound(key, encode(&record), lease))
        .and_then(Op::put_bound(
            claim_key.clone(),
            encode(&BrokerRecord { session }),
            lease,
        ))
        .or_else(Op::Get(claim_key));
    assert_eq!(txn.validate(), Ok(()), "the three keys of a session differ");
    Planned {
        txn,
        record,
        planned_on: Revision::ZERO,
    }
}

/// Publishes a new state of our session. The key is as it was read (so it is there); it stays bound
/// to the lease.
///
/// # Errors
/// [`PlanError::Conflict`] if the broker id would change.
///
/// # Panics
/// When the lease is 0, which no store grants: the key would be bound to none.
pub fn update_session(
    space: &Keyspace,
    session: SessionId,
    lease: SessionLease,
    seen: &Seen<SessionRecord>,
    record: SessionRecord,
) -> Result<Planned<SessionRecord>, PlanError> {
    if record.broker != seen.record.broker {
        let reason = "a session keeps its broker id".to_string();
        return Err(PlanError::Conflict { reason });
    }
    assert!(lease != SessionLease(0), "lease 0 means none");
    let key = session::key(space, session);
    let txn = Txn::new()
        .rule(Rule::WrittenAsRead, unchanged(&key, Some(seen)))
        .and_then(Op::put_bound(key.clone(), encode(&record), lease))
        .or_else(Op::Get(key));
    Ok(Planned {
        txn,
        record,
        planned_on: revision_of(Some(seen)),
    })
}
