//! Follows a span of keys: what is there, then what changes, for ever.
//!
//! Control thread. A watch that falls behind, or whose store was lost, is followed by a new
//! reading: whoever applies the updates sees [`Update::Whole`] again and must forget what it does
//! not name.

use std::sync::Arc;

use coord::keys::{CodecError, Keyspace, Record, Seen, seen};
use coord::kv::{
    Key, KeyValue, Kv, KvError, Revision, Span, Watch, WatchError, WatchEvent, range_map,
};

use super::retry::Pauses;

/// A change of what is followed, in order.
#[derive(Debug)]
pub enum Update<K, T> {
    /// Everything there is, as of a revision.
    Whole(Vec<(K, Seen<T>)>, Revision),
    /// A record was written.
    Put(K, Seen<T>),
    /// A record was deleted by the transaction of that revision.
    Gone(K, Revision),
}

/// A kind of record to follow.
#[derive(Clone)]
pub struct Followed<K> {
    /// What the log calls it.
    pub what: &'static str,
    /// Its keys.
    pub span: Span,
    /// What a key of it names; `None` for a key that is none of it.
    pub parse: fn(&Keyspace, &Key) -> Option<K>,
}

/// Reads everything there is.
///
/// # Errors
/// The metadata store failed. A record that cannot be read is logged and left out.
pub async fn read<K, T: Record>(
    kv: &Arc<dyn Kv>,
    space: &Keyspace,
    followed: &Followed<K>,
) -> Result<(Vec<(K, Seen<T>)>, Revision), KvError> {
    let decode = |entry: KeyValue| {
        let id = (followed.parse)(space, &entry.key)?;
        match seen::<T>(Some(&entry)) {
            Ok(record) => Some((id, record?)),
            Err(error) => {
                unreadable(followed.what, &entry.key, &error);
                None
            }
        }
    };
    range_map(kv, followed.span.clone(), decode).await
}

fn unreadable(what: &str, key: &Key, error: &CodecError) {
    tracing::error!(what, %key, %error, "a record cannot be read and is left out");
}

/// Applies every change from revision `from` on, for ever; the reading before it is that of
/// [`read`].
pub async fn follow<K, T: Record>(
    kv: Arc<dyn Kv>,
    space: Keyspace,
    followed: Followed<K>,
    from: Revision,
    mut apply: impl FnMut(Update<K, T>),
) {
    let mut at = from;
    let mut pauses = Pauses::default();
    loop {
        let ended = match kv.watch(followed.span.clone(), at.next()).await {
            Ok(watch) => {
                pauses = Pauses::default();
                apply_changes(&space, &followed, watch, &mut at, &mut apply).await
            }
            Err(KvError::Compacted { .. }) => WatchError::Compacted { revision: at },
            Err(error) => {
                tracing::warn!(what = followed.what, %error, "cannot watch the metadata store now");
                pauses.pause().await;
                continue;
            }
        };
        coord::mark!(WatchReadAgain);
        tracing::debug!(what = followed.what, %ended, "a watch has ended; reading again");
        loop {
            match read(&kv, &space, &followed).await {
                Ok((all, revision)) => {
                    at = revision;
                    apply(Update::Whole(all, revision));
                    break;
                }
                Err(error) => {
                    tracing::warn!(what = followed.what, %error, "the metadata store cannot be read");
                    pauses.pause().await;
                }
            }
        }
    }
}

async fn apply_changes<K, T: Record>(
    space: &Keyspace,
    followed: &Followed<K>,
    mut watch: Watch,
    at: &mut Revision,
    apply: &mut impl FnMut(Update<K, T>),
) -> WatchError {
    loop {
        let batch = match watch.next().await {
            Ok(batch) => batch,
            Err(ended) => return ended,
        };
        for event in batch.events {
            let Some(id) = (followed.parse)(space, event.key()) else {
                continue;
            };
            match event {
                WatchEvent::Put(entry) => match seen::<T>(Some(&entry)) {
                    Ok(Some(record)) => apply(Update::Put(id, record)),
                    Ok(None) => {}
                    Err(error) => unreadable(followed.what, &entry.key, &error),
                },
                WatchEvent::Delete { .. } => apply(Update::Gone(id, batch.revision)),
            }
        }
        *at = batch.revision;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use coord::keys::floor::{self, FloorRecord};
    use coord::kv::simulated::{Simulated, SimulatedConfig};
    use coord::kv::{Op, Txn};
    use segment::{SessionId, WalSequence};

    use super::*;

    fn followed(space: &Keyspace) -> Followed<SessionId> {
        Followed {
            what: "floors",
            span: floor::span(space),
            parse: |space, key| floor::parse(space, key).ok(),
        }
    }

    fn put(space: &Keyspace, session: u8, floor: u64) -> Txn {
        let key = floor::key(space, SessionId::new([session; 16]));
        let record = FloorRecord {
            floor: WalSequence::new(floor),
        };
        Txn::new().and_then(Op::put(key, coord::keys::encode(&record)))
    }

    /// Whatever comes between, the follower ends up with what is stored.
    #[tokio::test]
    async fn a_follower_that_falls_behind_reads_again_and_ends_up_right() {
        let config = SimulatedConfig {
            watch_queue_batches: 2,
            ..SimulatedConfig::default()
        };
        let kv: Arc<dyn Kv> = Arc::new(Simulated::with(config));
        let space = Keyspace::new("test").unwrap();
        kv.txn(put(&space, 1, 1)).await.unwrap();
        let (all, at) = read::<_, FloorRecord>(&kv, &space, &followed(&space))
            .await
            .unwrap();
        assert_eq!(all.len(), 1);
        let state: Rc<RefCell<BTreeMap<SessionId, u64>>> = Rc::default();
        let (seen, whole) = (state.clone(), Rc::new(RefCell::new(0)));
        let wholes = whole.clone();
        let following = follow(
            kv.clone(),
            space.clone(),
            followed(&space),
            at,
            move |update| {
                let mut state = seen.borrow_mut();
                match update {
                    Update::Whole(all, _) => {
                        *wholes.borrow_mut() += 1;
                        let all = all.into_iter();
                        *state = all
                            .map(|(id, s): (_, Seen<FloorRecord>)| (id, s.record.floor.get()))
                            .collect();
                    }
                    Update::Put(id, record) => drop(state.insert(id, record.record.floor.get())),
                    Update::Gone(id, _) => drop(state.remove(&id)),
                }
            },
        );
        let changes = async {
            tokio::task::yield_now().await;
            for round in 2..40_u64 {
                kv.txn(put(&space, (round % 3) as u8, round)).await.unwrap();
                if round % 5 == 0 {
                    let gone = floor::key(&space, SessionId::new([0; 16]));
                    kv.txn(Txn::new().and_then(Op::Delete(gone))).await.unwrap();
                }
                if round % 7 == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        };
        tokio::select! {
            () = following => unreachable!("a follower never ends"),
            () = changes => {}
        }
        let (all, _) = read::<_, FloorRecord>(&kv, &space, &followed(&space))
            .await
            .unwrap();
        let stored: BTreeMap<SessionId, u64> = all
            .into_iter()
            .map(|(id, s)| (id, s.record.floor.get()))
            .collect();
        assert_eq!(*state.borrow(), stored);
        assert!(
            *whole.borrow() > 0,
            "the short queue overflowed at least once"
        );
    }
}
