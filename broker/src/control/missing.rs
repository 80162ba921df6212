//! An object that should be there is not: what follows from it.
//!
//! Control thread. Rules (DESIGN §4 and §6, log-protocol H11 and H16):
//! - a WAL object that is gone never moves the log start: its partition's record is read again, and
//!   whoever finds another owner in it serves nothing of its session any more;
//! - a segment that is gone was deleted by somebody, as lifecycle rules do: the log start follows
//!   what is still there, in the record first.

use coord::keys::partition::{self, PartitionRecord};
use coord::keys::seen;
use coord::rules::{self, Rule};
use segment::TopicPartition;
use segment::keys::ObjectKey as Named;

use super::context::Context;
use super::log_start::raise_log_start;
use super::segments::find_segments;

/// What a reader does about an object that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The log has changed: look again where the offset is now.
    LookAgain,
    /// The partition is not ours any more.
    NotOurs,
    /// It cannot be told now: try again later.
    Unknown,
    /// It should be there: it is lost, or the store does not show it now.
    Lost,
}

/// Finds out why an object of a partition is gone, and does what follows.
pub async fn look_into(context: &Context, id: TopicPartition, key: &str) -> Missing {
    match context.keys.parse(key) {
        Some(Named::Segment { .. } | Named::Index { .. }) => {
            segment_is_gone(context, id, key).await
        }
        _ if rules::holds(Rule::MissingObjectsAreLookedInto) => {
            wal_object_is_gone(context, id, key).await
        }
        _ => Missing::Lost,
    }
}

async fn wal_object_is_gone(context: &Context, id: TopicPartition, key: &str) -> Missing {
    let Context {
        kv, space, session, ..
    } = context;
    let found = match kv.get(partition::key(space, id)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(key, %error, "an object is gone and its partition's record cannot be read");
            return Missing::Unknown;
        }
    };
    let record = match seen::<PartitionRecord>(found.as_ref()) {
        Ok(seen) => seen.map(|seen| seen.record),
        Err(error) => {
            tracing::error!(partition = %id, %error, "the record of a partition cannot be read");
            return Missing::Unknown;
        }
    };
    let owner = record.and_then(|record| record.owner);
    if owner.is_some_and(|owner| owner.session == session.id) {
        if context.lost.report(key) {
            tracing::error!(partition = %id, key, "a WAL object with acknowledged records is gone: \
                somebody else has deleted it. Restore it from a backup or a bucket version; until \
                then its records cannot be read");
        }
        return Missing::Lost;
    }
    // A release or a deletion of our own closes the partition before anybody else can take it.
    if context.owned(id).is_some() {
        let reason = format!("partition {id} was taken over by another broker");
        context.failure.end_session(reason);
    }
    Missing::NotOurs
}

async fn segment_is_gone(context: &Context, id: TopicPartition, key: &str) -> Missing {
    let Some(owned) = context.owned(id) else {
        return Missing::NotOurs;
    };
    let covered_from = {
        let state = owned.state.lock().await;
        if state.gone {
            return Missing::NotOurs;
        }
        let keys = &context.keys;
        let known = |base| state.segments.iter().any(|segment| segment.base == base);
        match keys.parse(key) {
            Some(Named::Segment { base, .. } | Named::Index { base, .. }) if known(base) => {}
            // Somebody else has asked before, or retention was faster.
            _ => return Missing::LookAgain,
        }
        let record = &state.seen.record;
        match find_segments(&context.objects, keys, &owned.dir, id, record).await {
            Ok(found) if found.covered_from > record.log_start => found.covered_from,
            Ok(_) => {
                if context.lost.report(key) {
                    tracing::error!(partition = %id, key, "a segment cannot be read although LIST \
                        shows it");
                }
                return Missing::Lost;
            }
            Err(error) => {
                tracing::warn!(partition = %id, key, %error, "a segment is gone; looked into later");
                return Missing::Unknown;
            }
        }
    };
    match raise_log_start(context, id, covered_from).await {
        Ok(log_start) => {
            tracing::warn!(partition = %id, key, %log_start,
                "old segments are gone, as by a lifecycle rule: the log starts later");
            Missing::LookAgain
        }
        Err(error) => {
            tracing::warn!(partition = %id, key, %error, "a segment is gone; looked into later");
            Missing::Unknown
        }
    }
}
