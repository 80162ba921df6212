//! Writes metadata back: marked as not whole until the cluster's key, which comes last.

use std::collections::BTreeMap;

use coord::keys::cluster::{self, ClusterRecord};
use coord::keys::plan;
use coord::keys::recovery::{self, RecoveryRecord};
use coord::keys::{Seen, seen, session};
use coord::kv::{Key, KvError, Txn, Value, range_all};
use segment::TimestampMs;

use super::RecoverError;
use crate::control::commit::commit;
use crate::control::retry::Pauses;
use crate::tools::Ground;

/// Keys that one transaction writes at most, beside its guard.
const KEYS_AT_ONCE: usize = 100;
/// Bytes of keys and values that one transaction writes, unless one key has more.
const BYTES_AT_ONCE: usize = 512 << 10;
/// Tries of one transaction. All of them are the same, so that one whose outcome is not known is sent
/// again.
const TRIES_MAX: usize = 10;

/// What is there before a recovery.
#[derive(Debug)]
pub(super) struct Found {
    /// The mark of one that was interrupted.
    pub(super) interrupted: Option<Seen<RecoveryRecord>>,
    /// Keys that it has written.
    keys: Vec<Key>,
}

/// Looks at the keyspace.
///
/// # Errors
/// [`RecoverError::NotEmpty`] where there is anything that no recovery has written,
/// [`RecoverError::BrokersRun`] while a session lives.
pub(super) async fn look(ground: &Ground) -> Result<Found, RecoverError> {
    let space = &ground.space;
    let entries = range_all(&ground.kv, space.span()).await?.entries;
    let live = session::span(space);
    if entries.iter().any(|entry| live.contains(&entry.key)) {
        return Err(RecoverError::BrokersRun(ground.name.clone()));
    }
    let mark = recovery::key(space);
    let found = entries.iter().find(|entry| entry.key == mark);
    let interrupted = seen::<RecoveryRecord>(found)?;
    let has_cluster = entries.iter().any(|entry| entry.key == cluster::key(space));
    if has_cluster || (interrupted.is_none() && !entries.is_empty()) {
        return Err(RecoverError::NotEmpty {
            keys: entries.len(),
            prefix: space.prefix().to_owned(),
        });
    }
    let keys = entries.into_iter().map(|entry| entry.key);
    Ok(Found {
        interrupted,
        keys: keys.filter(|key| *key != mark).collect(),
    })
}

/// Marks the keyspace. From here on no broker begins the cluster.
///
/// # Errors
/// The metadata store failed, or it is no more as it was.
pub(super) async fn begin(
    ground: &Ground,
    found: &Found,
    backup: &str,
    now: TimestampMs,
) -> Result<Seen<RecoveryRecord>, RecoverError> {
    let record = RecoveryRecord {
        backup: backup.to_owned(),
        begun_ms: now,
    };
    let before = found.interrupted.as_ref();
    let planned = plan::begin_recovery(&ground.space, before, record);
    let key = recovery::key(&ground.space);
    Ok(commit(&ground.kv, &key, &planned, before).await?)
}

/// Writes all entries, deletes what an interrupted recovery has left beside them, and ends the
/// recovery.
///
/// # Errors
/// The metadata store failed, or another recovery has begun: run it again.
pub(super) async fn write(
    ground: &Ground,
    found: &Found,
    ours: &Seen<RecoveryRecord>,
    entries: &BTreeMap<Key, Value>,
    record: ClusterRecord,
) -> Result<(), RecoverError> {
    let space = &ground.space;
    let stale: Vec<&Key> = found
        .keys
        .iter()
        .filter(|key| !entries.contains_key(key))
        .collect();
    for keys in stale.chunks(KEYS_AT_ONCE) {
        let keys = keys.iter().map(|key| (*key).clone());
        send(ground, plan::discard_keys(space, ours, keys)).await?;
    }
    let mut portion: Vec<(Key, Value)> = Vec::new();
    let mut bytes = 0;
    for (key, value) in entries {
        let more = key.len() + value.len();
        if portion.len() == KEYS_AT_ONCE || (bytes + more > BYTES_AT_ONCE && !portion.is_empty()) {
            send(ground, plan::recover_keys(space, ours, portion.drain(..))).await?;
            bytes = 0;
        }
        bytes += more;
        portion.push((key.clone(), value.clone()));
    }
    send(ground, plan::recover_keys(space, ours, portion)).await?;
    let live = range_all(&ground.kv, session::span(space)).await?.entries;
    if !live.is_empty() {
        return Err(RecoverError::BrokersRun(ground.name.clone()));
    }
    let planned = plan::finish_recovery(space, ours, record);
    commit(&ground.kv, &cluster::key(space), &planned, None).await?;
    Ok(())
}

async fn send(ground: &Ground, txn: Txn) -> Result<(), RecoverError> {
    let mut pauses = Pauses::default();
    for left in (0..TRIES_MAX).rev() {
        match ground.kv.txn(txn.clone()).await {
            Ok(reply) if reply.succeeded => return Ok(()),
            Ok(_) => return Err(RecoverError::Overtaken),
            Err(error) if left > 0 && may_try_again(&error) => pauses.pause().await,
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last try returns");
}

fn may_try_again(error: &KvError) -> bool {
    error.is_ambiguous() || error.is_retriable()
}
