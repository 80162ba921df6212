//! Deletes WAL objects that nobody needs any more (log-protocol H1, H2, H9).
//!
//! Control thread. Objects of our session go below a floor whose transaction is confirmed. Objects
//! of dead sessions go when no partition record names their session with a range that contains
//! them, and nobody has yet to fence it; the first of the live brokers looks for them. Both are
//! decided from the records of all partitions at one revision. **Fences are never deleted**, nor is
//! anything of a session that the metadata store has never heard of: that is reported.

mod dead;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use coord::keys::floor::{self, FloorRecord};
use coord::keys::partition::{self, PartitionRecord};
use coord::keys::plan;
use coord::keys::seen;
use coord::kv::KvError;
use coord::rules::{self, Rule};
use segment::keys::ObjectKey as Named;
use segment::{BrokerId, Offset, SessionId, TopicPartition, WalSequence};
use store::{GetError, ListError, ObjectMeta};

use super::commit::{CommitError, commit};
use super::context::Context;
use super::takeover::read_records;
use crate::shard::{Shard, ShardGone};
pub use dead::{BARE_BYTES, Needed, Records, Sessions, judge, unfenced};

/// Shortest time between two passes.
const PASS_EVERY: Duration = Duration::from_secs(10);
/// Longest time between two passes: other brokers compact what was ours.
const IDLE_PASS_EVERY: Duration = Duration::from_secs(300);
/// How often everything is listed: what has been swept is not listed in between.
const LIST_ALL_EVERY: Duration = Duration::from_secs(3_600);

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
    /// The object store failed.
    #[error("{0}")]
    Get(#[from] GetError),
    /// A shard has ended.
    #[error("{0}")]
    Shard(#[from] ShardGone),
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
    /// When everything under the WAL prefix was listed.
    listed_at: Option<Instant>,
    /// Dead sessions that were swept, and what was needed of them then: until that changes there is
    /// nothing to look for.
    swept: HashMap<SessionId, Vec<Range<WalSequence>>>,
}

impl Garbage {
    /// A collector for our session.
    pub fn new(context: Rc<Context>) -> Self {
        Self {
            context,
            reported: HashSet::new(),
            listed_at: None,
            swept: HashMap::new(),
        }
    }

    /// Runs for ever: one pass at the start, then after compactions and sweeps, and now and then for
    /// what others do.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.pass().await {
                tracing::warn!(%error, "old WAL objects could not be deleted now");
            }
            tokio::time::sleep(PASS_EVERY).await;
            let context = self.context.clone();
            tokio::select! {
                () = context.compacted.notified() => {}
                () = tokio::time::sleep(IDLE_PASS_EVERY) => {}
            }
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
        let early = match rules::holds(Rule::SessionsBeforeRecords) {
            true => None,
            false => Some(self.records().await?),
        };
        let dead = Sessions::read(&self.context.kv, &self.context.space).await?;
        let records = match early {
            None => self.records().await?,
            Some(records) => records,
        };
        self.collect_own(end, &holdings, &records).await?;
        let first = self.context.view.nodes().first().map(|node| node.id);
        if first.is_some_and(|first| first != self.context.node.id) {
            return Ok(());
        }
        self.collect_dead(&dead, &records).await
    }

    async fn records(&self) -> Result<Records, CommitError> {
        let Context { kv, space, .. } = &*self.context;
        read_records(kv, space, partition::span(space)).await
    }

    async fn collect_own(
        &mut self,
        end: WalSequence,
        holdings: &HashMap<TopicPartition, Holding>,
        records: &Records,
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
        let counts = |id| holdings.contains_key(id) || rules::holds(Rule::ReleasedPartitionsCount);
        let needed = records
            .iter()
            .filter(|(id, _)| counts(id))
            .filter_map(|(id, seen)| first_needed(&seen.record, session.id, holdings.get(id), end));
        let needed = needed.filter(|_| rules::holds(Rule::FloorBelowNeeded));
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
            let raised = commit(kv, &key, &planned, seen.as_ref()).await;
            if rules::holds(Rule::DeleteBelowConfirmedFloor) {
                raised?;
            }
        }
        coord::mark!(FloorRaised);
        self.context.floor.set(to);
        let gone = (from.get()..to.get()).map(WalSequence::new);
        let mut gone: Vec<String> = gone
            .map(|sequence| keys.wal(session.broker, session.id, sequence))
            .collect();
        self.context
            .own_objects
            .borrow_mut()
            .retain(|(named_by, counter)| {
                let is_needed = *named_by >= to;
                if !is_needed {
                    gone.push(keys.own(session.broker, session.id, counter.0));
                }
                is_needed
            });
        self.context.bundles.borrow_mut().retain(|block| {
            let is_needed = block.last >= to;
            if !is_needed {
                let (first, last) = (block.first, block.last);
                gone.push(keys.wal_directories(session.broker, session.id, first, last));
            }
            is_needed
        });
        let failed = objects.delete(&gone).await;
        metrics.wal_deleted.add((gone.len() - failed) as u64);
        tracing::debug!(%from, %to, failed, "deleted WAL objects of this session");
        Ok(())
    }

    async fn collect_dead(
        &mut self,
        sessions: &Sessions,
        records: &Records,
    ) -> Result<(), GarbageError> {
        let unfenced = unfenced(&self.context.kv, &self.context.space, records).await?;
        let needed = Needed::of(records);
        let mut pending = 0;
        let is_due = self
            .listed_at
            .is_none_or(|at| at.elapsed() >= LIST_ALL_EVERY);
        let all = match is_due {
            true => self.list_all(sessions).await?,
            false => HashMap::new(),
        };
        let unknown = all.keys().map(|session| (session, &BrokerId::ZERO));
        let unknown = unknown.filter(|_| !rules::holds(Rule::UnknownSessionsStay));
        for (session, broker) in sessions.known.iter().chain(unknown) {
            let lives = sessions.live.contains(session) && rules::holds(Rule::OnlyOwnersDeleteLive);
            let unfenced = unfenced.contains(session) && rules::holds(Rule::UnfencedSessionsStay);
            if lives || unfenced {
                continue;
            }
            let ranges = needed.of_session(*session);
            let is_new = self.swept.get(session).map(Vec::as_slice) != Some(ranges);
            let objects = match all.get(session) {
                Some(objects) => objects.clone(),
                None if is_new && !is_due => {
                    let prefix = self.context.keys.session_prefix(*broker, *session);
                    self.context.objects.list(&prefix, None).await?
                }
                None => Vec::new(),
            };
            if !is_new && !is_due {
                continue;
            }
            match self.sweep(&objects, ranges).await? {
                0 => drop(self.swept.insert(*session, ranges.to_vec())),
                left => pending += left,
            }
        }
        self.context.metrics.wal_garbage_bytes.set_bytes(pending);
        Ok(())
    }

    /// Everything under the WAL prefix, by session. What belongs to no known session is reported.
    async fn list_all(
        &mut self,
        sessions: &Sessions,
    ) -> Result<HashMap<SessionId, Vec<ObjectMeta>>, GarbageError> {
        let Context { keys, objects, .. } = &*self.context;
        let mut all: HashMap<SessionId, Vec<ObjectMeta>> = HashMap::new();
        for meta in objects.list(keys.wal_root(), None).await? {
            let session = match keys.parse(meta.key.as_str()) {
                Some(
                    Named::Wal { session, .. }
                    | Named::Own { session, .. }
                    | Named::WalDirectories { session, .. },
                ) => session,
                _ => continue,
            };
            all.entry(session).or_default().push(meta);
        }
        let unknown = all
            .iter()
            .filter(|(session, _)| !sessions.known.contains_key(session));
        let unknown: u64 = unknown
            .flat_map(|(_, objects)| objects)
            .map(|meta| meta.len)
            .sum();
        self.context.metrics.wal_unknown_bytes.set_bytes(unknown);
        for (session, objects) in &all {
            if !sessions.known.contains_key(session) && self.reported.insert(*session) {
                let objects = objects.len();
                tracing::warn!(%session, objects, "WAL objects of a session that the metadata has \
                    never heard of are left alone: was it restored from a backup?");
            }
        }
        self.listed_at = Some(Instant::now());
        Ok(all)
    }

    /// Deletes what a dead session has left and nobody needs; gives the bytes of it that are still
    /// there, about.
    async fn sweep(
        &self,
        objects: &[ObjectMeta],
        needed: &[Range<WalSequence>],
    ) -> Result<u64, GarbageError> {
        let Context {
            keys,
            metrics,
            objects: store,
            ..
        } = &*self.context;
        let garbage = judge(store, keys, objects, needed).await?;
        let bytes: u64 = garbage.iter().map(|meta| meta.len).sum();
        let gone = garbage.iter().map(|meta| meta.key.as_str().to_owned());
        let gone: Vec<String> = gone.collect();
        if gone.is_empty() {
            return Ok(0);
        }
        let failed = store.delete(&gone).await;
        metrics.wal_deleted.add((gone.len() - failed) as u64);
        coord::mark!(DeadSessionCollected);
        tracing::debug!(
            objects = gone.len(),
            failed,
            "deleted objects of a dead session"
        );
        Ok(bytes * failed as u64 / gone.len() as u64)
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
