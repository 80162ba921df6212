//! Guarded transactions, carried through: an unknown outcome is resolved by reading, never assumed.
//!
//! Control thread. The transactions themselves are pure functions of `coord::keys::plan`.

use std::sync::Arc;

use coord::keys::plan::{PlanError, Planned, Resolution};
use coord::keys::{CodecError, Record, Seen, seen};
use coord::kv::{Key, Kv, KvError, Revision, Txn, TxnReply};
use coord::mark;
use coord::rules::{self, Rule};

use super::retry::Pauses;

/// Tries of a transaction that failed without effect, while its caller waits.
const TRIES_MAX: u32 = 5;
/// Transactions of one request where the store sets no limit.
const BATCH_MAX: usize = 4_096;

/// Why a change was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The store does not take it now; nothing was changed.
    #[error(transparent)]
    Store(#[from] KvError),
    /// What it was planned on has changed, or our session has ended.
    #[error("the metadata changed under the transaction, or the session has ended")]
    Superseded,
    /// What was read does not allow it.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A record cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl CommitError {
    /// Whether the outcome is unknown even now: the store was closed before it could be read.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_ambiguous())
    }
}

/// Carries out a planned transaction on `key` and gives the record as it is stored now.
///
/// # Errors
/// [`CommitError`]; the change was not made then, unless [`CommitError::is_ambiguous`].
pub async fn commit<T: Record + PartialEq + Clone>(
    kv: &Arc<dyn Kv>,
    key: &Key,
    planned: &Planned<T>,
    before: Option<&Seen<T>>,
) -> Result<Seen<T>, CommitError> {
    match send(kv, &planned.txn).await {
        Ok(reply) if reply.succeeded => Ok(stored(planned, before, reply.revision)),
        Ok(_) => {
            mark!(Superseded);
            Err(CommitError::Superseded)
        }
        Err(error) if error.is_ambiguous() => resolve(kv, key, planned, before, error).await,
        Err(error) => Err(error.into()),
    }
}

/// Sends a transaction; a failure without effect is tried again a few times.
async fn send(kv: &Arc<dyn Kv>, txn: &Txn) -> Result<TxnReply, KvError> {
    let mut pauses = Pauses::default();
    let mut tries = 0;
    loop {
        tries += 1;
        match kv.txn(txn.clone()).await {
            Err(error) if error.is_retriable() && tries < TRIES_MAX => pauses.pause().await,
            outcome => return outcome,
        }
    }
}

fn stored<T: Clone>(planned: &Planned<T>, before: Option<&Seen<T>>, at: Revision) -> Seen<T> {
    let create_revision = before.map_or(at, |before| before.create_revision);
    Seen {
        record: planned.record.clone(),
        create_revision,
        mod_revision: at,
    }
}

/// Reads until the outcome is known.
async fn resolve<T: Record + PartialEq + Clone>(
    kv: &Arc<dyn Kv>,
    key: &Key,
    planned: &Planned<T>,
    before: Option<&Seen<T>>,
    unknown: KvError,
) -> Result<Seen<T>, CommitError> {
    if !rules::holds(Rule::UnknownOutcomeIsRead) {
        return Ok(stored(planned, before, planned.planned_on));
    }
    mark!(UnknownOutcome);
    let mut pauses = Pauses::default();
    // Why it does not apply, now or ever, though the key is as it was: another guard failed, since our session is gone,
    // or the lease that it names is.
    let mut refused: Option<CommitError> = None;
    loop {
        tracing::warn!(%key, error = %unknown, "the outcome of a transaction is unknown; reading");
        match kv.get(key.clone()).await {
            Ok(found) => {
                let now = seen::<T>(found.as_ref())?;
                match planned.resolve(now.as_ref()) {
                    Resolution::Applied => {
                        mark!(UnknownWasApplied);
                        return now.ok_or(CommitError::Superseded);
                    }
                    Resolution::Superseded => return Err(CommitError::Superseded),
                    Resolution::Unchanged => {
                        if let Some(refused) = refused.take() {
                            return Err(refused);
                        }
                        // Its guard lets only one of the two through.
                        match kv.txn(planned.txn.clone()).await {
                            Ok(reply) if reply.succeeded => {
                                mark!(UnknownWasNotApplied);
                                return Ok(stored(planned, now.as_ref(), reply.revision));
                            }
                            Ok(_) => refused = Some(CommitError::Superseded),
                            Err(error) if is_for_ever(&error) => refused = Some(error.into()),
                            Err(_) => {}
                        }
                    }
                }
            }
            // Nobody can read any more: the process is going down, the outcome stays unknown.
            Err(KvError::Closed) => return Err(unknown.into()),
            Err(_) => {}
        }
        pauses.pause().await;
    }
}

/// Whether a transaction that was answered so is never applied, however often it is sent.
fn is_for_ever(error: &KvError) -> bool {
    !error.is_retriable() && !error.is_ambiguous() && !matches!(error, KvError::Closed)
}

/// One change of many: the key, its transaction, and the record that it was planned on.
#[derive(Debug)]
pub struct Change<T> {
    /// The main key.
    pub key: Key,
    /// The transaction.
    pub planned: Planned<T>,
    /// What it was planned on.
    pub before: Option<Seen<T>>,
}

/// Carries out many transactions, each atomic on its own, in as few requests as the store allows.
/// Outcomes are in the order of the changes.
pub async fn commit_all<T: Record + PartialEq + Clone>(
    kv: &Arc<dyn Kv>,
    changes: &[Change<T>],
    batch_max: usize,
) -> Vec<Result<Seen<T>, CommitError>> {
    let unlimited = kv.limits().operations_max == usize::MAX;
    let size = if unlimited || !rules::holds(Rule::TransactionsAreBounded) {
        BATCH_MAX
    } else {
        batch_max
    };
    let mut outcomes = Vec::with_capacity(changes.len());
    for changes in changes.chunks(size.max(1)) {
        let txn = Txn::batch(changes.iter().map(|change| change.planned.txn.clone()));
        match send(kv, &txn).await {
            Ok(reply) => outcomes.extend(changes.iter().enumerate().map(|(index, change)| {
                match reply.nested(index) {
                    Some(nested) if nested.succeeded => Ok(stored(
                        &change.planned,
                        change.before.as_ref(),
                        reply.revision,
                    )),
                    Some(_) | None => Err(CommitError::Superseded),
                }
            })),
            Err(error) if error.is_ambiguous() => {
                for change in changes {
                    let Change {
                        key,
                        planned,
                        before,
                    } = change;
                    let outcome = resolve(kv, key, planned, before.as_ref(), error.clone());
                    outcomes.push(outcome.await);
                }
            }
            Err(error) => {
                outcomes.extend(changes.iter().map(|_| Err(error.clone().into())));
            }
        }
    }
    assert!(
        outcomes.len() == changes.len(),
        "every change has an outcome"
    );
    outcomes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use coord::keys::Keyspace;
    use coord::keys::partition::{self, Owner, PartitionRecord};
    use coord::keys::plan::{Extent, release_partition};
    use coord::kv::Op;
    use coord::kv::simulated::{Fault, Simulated};
    use coord::kv::wait;
    use segment::{
        BrokerId, LeaderEpoch, PartitionIndex, SessionId, TopicId, TopicPartition, WalSequence,
    };

    const OURS: SessionId = SessionId::new([1; 16]);

    struct World {
        kv: Arc<dyn Kv>,
        simulated: Simulated,
        space: Keyspace,
        id: TopicPartition,
    }

    impl World {
        fn new() -> Self {
            let simulated = Simulated::new();
            let space = Keyspace::new("test").unwrap();
            let id = TopicPartition::new(TopicId::new([7; 16]), PartitionIndex::ZERO);
            let kv: Arc<dyn Kv> = Arc::new(simulated.clone());
            let mut record = PartitionRecord::absent();
            record.leader_epoch = LeaderEpoch::ZERO;
            record.owner = Some(Owner {
                session: OURS,
                broker: BrokerId::ZERO,
            });
            record.sources.push(partition::Source {
                session: OURS,
                broker: BrokerId::ZERO,
                first_sequence: WalSequence::ZERO,
                end_sequence: None,
            });
            let alive = coord::keys::session::key(&space, OURS);
            let txn = Txn::new()
                .and_then(Op::put(
                    partition::key(&space, id),
                    coord::keys::encode(&record),
                ))
                .and_then(Op::put(alive, "{}".into()));
            assert!(wait(kv.txn(txn)).unwrap().succeeded);
            Self {
                kv,
                simulated,
                space,
                id,
            }
        }

        fn seen(&self) -> Seen<PartitionRecord> {
            let found = wait(self.kv.get(partition::key(&self.space, self.id))).unwrap();
            seen(found.as_ref()).unwrap().unwrap()
        }

        fn release(&self) -> Planned<PartitionRecord> {
            let end = WalSequence::new(9);
            release_partition(
                &self.space,
                OURS,
                self.id,
                &self.seen(),
                end,
                Extent::Unknown,
            )
            .unwrap()
        }
    }

    /// H7: the outcome of a release is read, never assumed.
    #[tokio::test]
    async fn an_unknown_outcome_is_resolved_by_reading() {
        for fault in [
            Fault::AppliedReplyLost,
            Fault::RequestLost,
            Fault::Failed,
            Fault::Delayed,
        ] {
            let world = World::new();
            let (key, before) = (partition::key(&world.space, world.id), world.seen());
            let planned = world.release();
            world.simulated.inject(fault);
            let stored = commit(&world.kv, &key, &planned, Some(&before))
                .await
                .unwrap();
            assert_eq!(stored.record.owner, None, "{fault:?}");
            assert_eq!(stored, world.seen(), "{fault:?}");
            world.simulated.land_delayed();
            assert_eq!(
                stored,
                world.seen(),
                "{fault:?}: what lands late meets its guard"
            );
        }
    }

    #[tokio::test]
    async fn a_dead_session_changes_nothing_and_does_not_try_for_ever() {
        let world = World::new();
        let (key, before) = (partition::key(&world.space, world.id), world.seen());
        let planned = world.release();
        let alive = coord::keys::session::key(&world.space, OURS);
        wait(world.kv.txn(Txn::new().and_then(Op::Delete(alive)))).unwrap();
        let outcome = commit(&world.kv, &key, &planned, Some(&before)).await;
        assert!(matches!(outcome, Err(CommitError::Superseded)));
        world.simulated.inject(Fault::RequestLost);
        let outcome = commit(&world.kv, &key, &planned, Some(&before)).await;
        assert!(matches!(outcome, Err(CommitError::Superseded)));
    }

    /// A session that is begun has nobody who tells it that its lease has ended meanwhile (seed 4150 of the simulator).
    #[tokio::test]
    async fn what_names_a_lease_that_is_gone_is_not_sent_for_ever() {
        let world = World::new();
        let (key, before) = (partition::key(&world.space, world.id), world.seen());
        let lease = wait(world.kv.grant_session(Duration::from_secs(1))).unwrap();
        let planned = world.release();
        let bound = Op::put_bound("/bound".into(), "value".into(), lease);
        let planned = Planned {
            txn: planned.txn.clone().and_then(bound),
            ..planned
        };
        wait(world.kv.revoke(lease)).unwrap();
        for fault in [Fault::RequestLost, Fault::Failed] {
            world.simulated.inject(fault);
            let outcome = commit(&world.kv, &key, &planned, Some(&before));
            let outcome = tokio::time::timeout(Duration::from_secs(20), outcome).await;
            let outcome = outcome.expect("it ends");
            let gone = matches!(
                outcome,
                Err(CommitError::Store(KvError::SessionGone { .. }))
            );
            assert!(gone, "{fault:?}: {outcome:?}");
        }
        assert_eq!(world.seen(), before);
    }

    #[tokio::test]
    async fn every_change_of_a_batch_has_its_own_outcome() {
        for fault in [
            None,
            Some(Fault::AppliedReplyLost),
            Some(Fault::RequestLost),
        ] {
            let world = World::new();
            let (key, before) = (partition::key(&world.space, world.id), world.seen());
            let stale = Planned {
                planned_on: Revision(77),
                txn: Txn::new().when(coord::kv::Compare::mod_revision(
                    "/other".into(),
                    Revision(77),
                )),
                ..world.release()
            };
            let good = Change {
                key,
                planned: world.release(),
                before: Some(before),
            };
            let bad = Change {
                key: "/other".into(),
                planned: stale,
                before: None,
            };
            world.simulated.inject(fault);
            let outcomes = commit_all(&world.kv, &[good, bad], 32).await;
            assert_eq!(*outcomes[0].as_ref().unwrap(), world.seen());
            assert!(
                matches!(outcomes[1], Err(CommitError::Superseded)),
                "{fault:?}"
            );
        }
    }
}
