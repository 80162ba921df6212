//! Deletes WAL objects that nobody needs any more (log-protocol H1, H2, H9).
//!
//! Control thread. Objects of our session go below a floor whose transaction is confirmed. Objects
//! of dead sessions go when no partition record names their session with a range that contains
//! them, and nobody has yet to fence it. Both are decided from the records of all partitions at one
//! revision. **Fences are never
//! deleted**, nor is anything of a session that the metadata store has never heard of: that is
//! reported.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use coord::keys::floor::{self, FloorRecord};
use coord::keys::partition::{self, PartitionRecord};
use coord::keys::plan;
use coord::keys::slot::{self, SlotRecord};
use coord::keys::{Seen, seen, session, session_record};
use coord::kv::{KvError, range_all};
use segment::keys::ObjectKey as Named;
use segment::wal::{WAL_HEADER_BYTES, WAL_TRAILER_BYTES};
use segment::{Offset, SessionId, TopicPartition, WalSequence};
use store::ListError;

use super::commit::{CommitError, commit};
use super::context::Context;
use super::takeover::read_records;
use crate::shard::{Shard, ShardGone};

/// Shortest time between two passes.
const PASS_EVERY: Duration = Duration::from_secs(10);
/// Bytes of a WAL object without sections: a first object or a fence, which stays.
const BARE_BYTES: u64 = (WAL_HEADER_BYTES + 4 + WAL_TRAILER_BYTES) as u64;

/// Why a pass was not finished. The next one starts anew.
#[derive(Debug, thiserror::Error)]
pub enum GarbageError {
    /// The metadata store failed.
    #[error("{0}")]
    Commit(#[from] CommitError),
    /// The metadata store failed.
    #[error("{0}")]
    Kv(#[from] KvError),
    /// The object store failed.
    #[error("{0}")]
    List(#[from] ListError),
    /// A shard has ended.
    #[error("{0}")]
    Shard(#[from] ShardGone),
}

/// Sessions, as the metadata store knows them.
#[derive(Debug)]
struct Sessions {
    known: HashSet<SessionId>,
    live: HashSet<SessionId>,
}

/// What a shard tells of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The object of its oldest section that no segment holds.
    pub oldest: Option<(SessionId, WalSequence)>,
    /// Offset below which everything is acknowledged.
    pub high_watermark: Offset,
}

/// The garbage collector.
pub struct Garbage {
    context: Rc<Context>,
    reported: HashSet<SessionId>,
}

impl Garbage {
    /// A collector for our session.
    pub fn new(context: Rc<Context>) -> Self {
        Self {
            context,
            reported: HashSet::new(),
        }
    }

    /// Runs for ever: one pass at the start, then after compactions.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.pass().await {
                tracing::warn!(%error, "old WAL objects could not be deleted now");
            }
            tokio::time::sleep(PASS_EVERY).await;
            let context = self.context.clone();
            context.compacted.notified().await;
        }
    }

    /// One pass.
    ///
    /// # Errors
    /// [`GarbageError`].
    pub async fn pass(&mut self) -> Result<(), GarbageError> {
        // In this order: what is acknowledged later has a higher sequence, and the records are at
        // least as far as the shards.
        let end = self.context.flushed.acknowledged_end();
        let holdings = holdings(&self.context).await?;
        // Sessions before records: a session that is dead now is in no record that is written
        // later, since every takeover compares the presence of the taker's session.
        let dead = self.dead_sessions().await?;
        let span = partition::span(&self.context.space);
        let records = read_records(&self.context.kv, &self.context.space, span).await?;
        self.collect_own(end, &holdings, &records).await?;
        self.collect_dead(dead, &records).await
    }

    /// The sessions that the metadata store has heard of, and whether each is dead.
    async fn dead_sessions(&self) -> Result<Sessions, GarbageError> {
        let Context { kv, space, .. } = &*self.context;
        let known = range_all(kv, session_record::span(space)).await?.entries;
        let known = known.iter();
        let known = known.filter_map(|entry| session_record::parse(space, &entry.key).ok());
        let known: HashSet<SessionId> = known.collect();
        let live = range_all(kv, session::span(space)).await?.entries;
        let live = live.iter();
        let live = live.filter_map(|entry| session::parse(space, &entry.key).ok());
        let live: HashSet<SessionId> = live.collect();
        Ok(Sessions { known, live })
    }

    /// Sessions that a taker of a partition or slot has yet to fence: it begins at their floor and
    /// ends them at the first object that is missing, so none of theirs may be missing above it.
    async fn unfenced(
        &self,
        records: &HashMap<TopicPartition, Seen<PartitionRecord>>,
    ) -> Result<HashSet<SessionId>, GarbageError> {
        let Context { kv, space, .. } = &*self.context;
        let sources = records.values().flat_map(|seen| &seen.record.sources);
        let open = sources.filter(|source| source.is_open());
        let mut unfenced: HashSet<SessionId> = open.map(|source| source.session).collect();
        for entry in range_all(kv, slot::span(space)).await?.entries {
            let seen = seen::<SlotRecord>(Some(&entry)).map_err(CommitError::from)?;
            let owners = seen.into_iter().flat_map(|seen| {
                let SlotRecord {
                    owner, unfenced, ..
                } = seen.record;
                owner.into_iter().chain(unfenced)
            });
            unfenced.extend(owners.map(|owner| owner.session));
        }
        Ok(unfenced)
    }

    async fn collect_own(
        &mut self,
        end: WalSequence,
        holdings: &HashMap<TopicPartition, Holding>,
        records: &HashMap<TopicPartition, Seen<PartitionRecord>>,
    ) -> Result<(), GarbageError> {
        let Context {
            keys,
            kv,
            space,
            session,
            objects,
            metrics,
            ..
        } = &*self.context;
        let needed = records
            .iter()
            .filter_map(|(id, seen)| first_needed(&seen.record, session.id, holdings.get(id), end));
        let to = needed.min().unwrap_or(end).min(end);
        let from = self.context.floor.get();
        if to <= from {
            return Ok(());
        }
        let key = floor::key(space, session.id);
        let found = kv.get(key.clone()).await?;
        let seen = seen::<FloorRecord>(found.as_ref()).map_err(CommitError::from)?;
        // A pass that stopped after its transaction has left a floor that is high enough.
        if seen.as_ref().is_none_or(|seen| seen.record.floor < to) {
            let planned = plan::raise_floor(space, session.id, seen.as_ref(), to, end);
            let planned = planned.map_err(CommitError::from)?;
            commit(kv, &key, &planned, seen.as_ref()).await?;
        }
        self.context.floor.set(to);
        let gone = (from.get()..to.get()).map(WalSequence::new);
        let gone: Vec<String> = gone
            .map(|sequence| keys.wal(session.broker, session.id, sequence))
            .collect();
        let failed = objects.delete(&gone).await;
        metrics.wal_deleted.add((gone.len() - failed) as u64);
        tracing::debug!(%from, %to, failed, "deleted WAL objects of this session");
        Ok(())
    }

    async fn collect_dead(
        &mut self,
        Sessions { known, live }: Sessions,
        records: &HashMap<TopicPartition, Seen<PartitionRecord>>,
    ) -> Result<(), GarbageError> {
        let context = self.context.clone();
        let Context {
            keys,
            objects,
            metrics,
            ..
        } = &*context;
        let unfenced = self.unfenced(records).await?;
        let mut unknown: BTreeMap<SessionId, u64> = BTreeMap::new();
        let mut gone = Vec::new();
        for meta in objects.list(keys.wal_root(), None).await? {
            let parsed = keys.parse(meta.key.as_str());
            let Some(Named::Wal {
                session, sequence, ..
            }) = parsed
            else {
                continue;
            };
            if !known.contains(&session) {
                *unknown.entry(session).or_default() += 1;
                continue;
            }
            let needed = records
                .values()
                .any(|seen| seen.record.needs(session, sequence));
            let ended = !live.contains(&session) && !unfenced.contains(&session);
            if ended && !needed && meta.len > BARE_BYTES {
                gone.push(meta.key.as_str().to_owned());
            }
        }
        tracing::debug!(
            dead = gone.len(),
            "WAL objects of dead sessions that nobody needs"
        );
        for (session, objects) in unknown {
            if self.reported.insert(session) {
                tracing::warn!(%session, objects, "WAL objects of a session that the metadata has \
                    never heard of are left alone: was it restored from a backup?");
            }
        }
        let failed = objects.delete(&gone).await;
        metrics.wal_deleted.add((gone.len() - failed) as u64);
        Ok(())
    }
}

/// What the shards hold, by partition.
async fn holdings(context: &Context) -> Result<HashMap<TopicPartition, Holding>, ShardGone> {
    let look = |shard: &Rc<Shard>| -> Vec<(TopicPartition, Holding)> {
        let ids = shard.partition_ids().into_iter();
        let ids = ids.map(|(topic, partition)| TopicPartition::new(topic, partition));
        let holding = |id: TopicPartition| {
            shard.with_log(id, |log| {
                let oldest = log.oldest_slot();
                let oldest = oldest.map(|slot| (slot.location.session, slot.location.sequence));
                (
                    id,
                    Holding {
                        oldest,
                        high_watermark: log.high_watermark(),
                    },
                )
            })
        };
        ids.filter_map(holding).collect()
    };
    let asked = context.shards.iter().map(|shard| shard.call(look));
    let mut all = HashMap::new();
    for answer in futures_util::future::join_all(asked).await {
        all.extend(answer?);
    }
    Ok(all)
}

/// The first object of our session that a partition still needs; `None` if it needs none below
/// `end`, the acknowledged end when its shard was asked.
fn first_needed(
    record: &PartitionRecord,
    session: SessionId,
    holding: Option<&Holding>,
    end: WalSequence,
) -> Option<WalSequence> {
    let of_session = record
        .sources
        .iter()
        .filter(|source| source.session == session);
    let named = of_session.map(|source| source.first_sequence).min()?;
    match holding {
        // Everything that was acknowledged is in segments, and the record says so too.
        Some(Holding {
            oldest: None,
            high_watermark,
        }) if record.compacted_end >= *high_watermark => (named > end).then_some(named),
        Some(Holding {
            oldest: Some((of, sequence)),
            ..
        }) if *of == session => Some(named.max(*sequence)),
        // What it holds of an earlier session comes first; where ours begins is not told.
        Some(_) | None => Some(named),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coord::keys::partition::Source;
    use segment::BrokerId;

    const OURS: SessionId = SessionId::new([1; 16]);
    const DEAD: SessionId = SessionId::new([2; 16]);

    fn record(compacted_end: i64, sources: &[(SessionId, u64)]) -> PartitionRecord {
        let source = |(session, first): &(SessionId, u64)| Source {
            session: *session,
            broker: BrokerId::ZERO,
            first_sequence: WalSequence::new(*first),
            end_sequence: None,
        };
        PartitionRecord {
            compacted_end: Offset::new(compacted_end),
            sources: sources.iter().map(source).collect(),
            ..PartitionRecord::absent()
        }
    }

    fn needed(record: &PartitionRecord, holding: Option<Holding>) -> Option<u64> {
        let end = WalSequence::new(50);
        first_needed(record, OURS, holding.as_ref(), end).map(WalSequence::get)
    }

    fn holding(oldest: Option<(SessionId, u64)>, high_watermark: i64) -> Option<Holding> {
        let oldest = oldest.map(|(session, sequence)| (session, WalSequence::new(sequence)));
        Some(Holding {
            oldest,
            high_watermark: Offset::new(high_watermark),
        })
    }

    #[test]
    fn an_idle_partition_holds_nothing_back_and_an_unknown_one_everything() {
        let idle = record(100, &[(OURS, 3)]);
        assert_eq!(needed(&idle, holding(None, 100)), None);
        assert_eq!(
            needed(&idle, None),
            Some(3),
            "a refused partition keeps what it may need"
        );
        assert_eq!(needed(&record(100, &[(DEAD, 3)]), None), None);
    }

    #[test]
    fn the_record_has_to_agree_with_the_shard() {
        let behind = record(90, &[(OURS, 3)]);
        assert_eq!(needed(&behind, holding(None, 100)), Some(3));
    }

    #[test]
    fn the_oldest_section_is_needed() {
        let held = record(100, &[(OURS, 3)]);
        assert_eq!(needed(&held, holding(Some((OURS, 20)), 200)), Some(20));
        let inherited = record(100, &[(DEAD, 1), (OURS, 3)]);
        assert_eq!(needed(&inherited, holding(Some((DEAD, 9)), 200)), Some(3));
    }
}
