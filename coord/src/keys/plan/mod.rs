//! The guarded transactions on the keys, as pure functions: what was read goes in, a [`Txn`] comes
//! out.
//!
//! Every one compares the mod revision of what it read **and** the presence of the writer's own
//! session key (those of tools, which have none: revisions alone), so neither a stale reader nor a dead session changes anything, however late its
//! request arrives. On failure (`otherwise`) the key that is most likely to have changed is read
//! back.
//!
//! An ambiguous outcome is resolved by [`Planned::resolve`] from a new reading, never assumed.

mod acls;
mod broker_configs;
mod log;
mod made;
mod ownership;
mod pins;
mod producers;
mod quotas;
mod recovery;
mod sessions;
mod slots;
mod topics;
mod users;

#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod testing;

use segment::{Offset, SessionId};

pub use acls::{ACLS_MAX, delete_acls, put_acls};
pub use broker_configs::put_broker_config;
pub use log::{
    Finish, SourceTrim, begin_intent, commit_sequence, finish_compaction, raise_floor,
    raise_log_start,
};
pub use made::{
    adopt_offset, adopt_partition, adopt_topic, begin_restore, discard_restore, finish_restore,
    restore_partition,
};
pub use ownership::{
    Extent, PARTITIONS_MAX, Take, TakePlan, append_epoch, close_sources, release_partition,
    take_partition,
};
pub use pins::pin_partition;
pub use producers::{ProducerBlock, create_cluster, take_producer_block};
pub use quotas::put_quotas;
pub use recovery::{begin_recovery, discard_keys, finish_recovery, recover_keys};
pub use sessions::{Registration, open_session, update_session};
pub use slots::{
    GroupChange, SLOT_CHANGES_MAX, SlotGuard, commit_offsets, delete_group, finish_slot_take,
    put_group, release_slot, slot_changes, take_slot,
};
pub use topics::{CreateTopic, alter_topic, create_topic, delete_topic, finish_topic_deletion};
pub use users::{create_decoy, delete_scram, put_scram};

use super::codec::{Record, Seen, encode};
use super::space::Keyspace;
use super::{partition, session};
use crate::kv::{Compare, Key, Op, Revision, Txn};
use crate::rules::Rule;

/// Why no transaction is planned: what was read does not allow the change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The record read does not name the writer's session as owner.
    #[error("session {session} does not own it")]
    NotOwner {
        /// The writer's session.
        session: SessionId,
    },
    /// It is there already.
    #[error("it exists already")]
    Exists,
    /// The pending intent must be finished first.
    #[error("an intent for [{base}, {end}) is pending")]
    IntentPending {
        /// Its base.
        base: Offset,
        /// Its end.
        end: Offset,
    },
    /// There is no intent to finish.
    #[error("no intent is pending")]
    NoIntent,
    /// A source of that session has no end yet, and none was given.
    #[error("source of session {session} is open")]
    OpenSource {
        /// The session of the source.
        session: SessionId,
    },
    /// No such source of that session.
    #[error("no such source of session {session}")]
    UnknownSource {
        /// The session named.
        session: SessionId,
    },
    /// A value that only rises would fall, or stay.
    #[error("{what} would go from {from} to {to}")]
    Backward {
        /// Its name.
        what: &'static str,
        /// Its value.
        from: i128,
        /// The value asked for.
        to: i128,
    },
    /// The range does not fit the log.
    #[error("range [{base}, {end}) does not fit: {reason}")]
    BadRange {
        /// Its base.
        base: Offset,
        /// Its end.
        end: Offset,
        /// Why not.
        reason: &'static str,
    },
    /// More than goes into one transaction.
    #[error("{count} changes in one transaction, at most {max}")]
    TooMany {
        /// How many were given.
        count: usize,
        /// How many go.
        max: usize,
    },
    /// Two of the changes exclude each other.
    #[error("changes that exclude each other: {reason}")]
    Conflict {
        /// Which.
        reason: String,
    },
    /// A counter is at its end.
    #[error("{what} has no next value")]
    Exhausted {
        /// The counter.
        what: &'static str,
    },
}

/// A planned transaction and the record that is stored if it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned<T> {
    /// The transaction.
    pub txn: Txn,
    /// What it stores under the main key.
    pub record: T,
    /// The mod revision of the main key that it was planned on (0: it was absent).
    pub planned_on: Revision,
}

/// What a reading tells of a transaction whose outcome was unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It was applied: the key holds what it wrote.
    Applied,
    /// Not yet, and it may still be: the key is as it was. Send the same transaction again: its
    /// guard lets only one of the two through.
    Unchanged,
    /// Somebody else has changed the key: it was applied before that, or never will be. Plan anew
    /// from what was read.
    Superseded,
}

impl<T: PartialEq> Planned<T> {
    /// Resolves an unknown outcome from what the main key holds now. A record that was written by
    /// this plan and changed since counts as superseded: plan anew from it.
    pub fn resolve(&self, now: Option<&Seen<T>>) -> Resolution {
        let now_revision = now.map_or(Revision::ZERO, |now| now.mod_revision);
        if now_revision == self.planned_on {
            return Resolution::Unchanged;
        }
        match now {
            Some(now) if now.record == self.record => Resolution::Applied,
            _ => Resolution::Superseded,
        }
    }
}

/// The writer's session lives.
fn session_lives(space: &Keyspace, session: SessionId) -> Compare {
    Compare::exists(session::key(space, session))
}

/// The session is gone.
fn session_gone(space: &Keyspace, session: SessionId) -> Compare {
    Compare::absent(session::key(space, session))
}

/// The key is as it was read.
fn unchanged<T>(key: &Key, seen: Option<&Seen<T>>) -> Compare {
    Compare::mod_revision(key.clone(), revision_of(seen))
}

fn revision_of<T>(seen: Option<&Seen<T>>) -> Revision {
    seen.map_or(Revision::ZERO, |seen| seen.mod_revision)
}

/// The usual transaction: the key is as it was read and our session lives; write the record.
fn guarded<T: Record>(
    space: &Keyspace,
    writer: SessionId,
    key: Key,
    seen: Option<&Seen<T>>,
    record: T,
) -> Planned<T> {
    assert!(
        key.as_bytes().starts_with(space.prefix().as_bytes()),
        "a plan writes keys of its own cluster"
    );
    let txn = Txn::new()
        .rule(Rule::WrittenAsRead, unchanged(&key, seen))
        .rule(Rule::WriterLives, session_lives(space, writer))
        .and_then(Op::put(key.clone(), encode(&record)))
        .or_else(Op::Get(key));
    assert!(
        !txn.compares.is_empty(),
        "a write has a guard, whichever rule is taken out"
    );
    Planned {
        txn,
        record,
        planned_on: revision_of(seen),
    }
}

/// A record that the writer owns, or the reason to plan nothing.
fn owned(
    seen: &Seen<partition::PartitionRecord>,
    writer: SessionId,
) -> Result<partition::PartitionRecord, PlanError> {
    if seen.record.is_owned_by(writer) {
        Ok(seen.record.clone())
    } else {
        Err(PlanError::NotOwner { session: writer })
    }
}
