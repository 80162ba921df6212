//! Who serves what: takes what placement assigns to this broker, gives away what it assigns to
//! others (DESIGN §7).
//!
//! Control thread, one round at a time. A round looks at what is known of the cluster
//! ([`ClusterView`](super::view::ClusterView)), computes this broker's duties
//! (`coord::placement`), and carries them out: partitions and coordinator slots without a live
//! owner are taken, and of those that others should have at most [`GIVE_MAX`] are released, then
//! there is a pause. Two brokers that disagree meet in the guarded transactions.
//!
//! Invariants:
//! - a partition is released only when nothing of it waits for a flush or its acknowledgement;
//! - once its release has been sent it is closed, whatever the reply; it is opened again only by a
//!   takeover with a higher epoch.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use coord::keys::Seen;
use coord::keys::partition::{self as partition_key, PartitionRecord};
use coord::keys::plan::{self, Extent, PARTITIONS_MAX};
use coord::keys::slot::SlotId;
use coord::placement::{self, Duties, Item};
use segment::{Offset, SessionId, TopicPartition};
use tracing::Instrument;

use super::catalog::{Catalog, CatalogError};
use super::commit::{Change, commit_all};
use super::context::Context;
use super::events::{EventKind, Severity};
use super::slots::{Slots, SlotsError};
use super::sweep;
use super::takeover::{Owned, Target};
use crate::logging::span;
use crate::partition::{PartitionLog, RunSlot};
use crate::shard::{SLOTS, Shard};

/// Partitions that are given away in one round.
pub const GIVE_MAX: usize = 32;
/// Pause after a round that gave something away: with [`GIVE_MAX`] the rate at which partitions
/// move.
const GIVE_PAUSE: Duration = Duration::from_millis(250);
/// Changes that come together are looked at together.
const SETTLE: Duration = Duration::from_millis(10);
/// Pause after a round that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A partition that cannot be served is tried again after this: because a store was in trouble, or
/// because something is damaged.
const REFUSED_PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];
/// A release waits this long for what was appended to be durable; then appends go on.
const QUIET_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it looks.
const QUIET_EVERY: Duration = Duration::from_millis(5);

/// Why a round was not finished. The next one starts anew.
#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    /// Partitions could not be taken.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Slots could not be taken or released.
    #[error(transparent)]
    Slots(#[from] SlotsError),
}

/// The ownership of this broker.
pub struct Ownership {
    context: Rc<Context>,
    catalog: Rc<Catalog>,
    slots: Rc<Slots>,
    /// Partitions that could not be served, and until when they rest.
    refused: RefCell<HashMap<TopicPartition, Instant>>,
}

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// There is nothing to do until something changes.
    Settled,
    /// Something was given away: look again after a pause.
    Gave,
}

impl Ownership {
    /// Nothing is taken yet.
    pub fn new(context: Rc<Context>, catalog: Rc<Catalog>, slots: Rc<Slots>) -> Self {
        Self {
            context,
            catalog,
            slots,
            refused: RefCell::default(),
        }
    }

    /// Takes what is assigned to this broker at its start.
    ///
    /// # Errors
    /// [`OwnershipError`].
    pub async fn begin(&self) -> Result<(), OwnershipError> {
        self.round().await.map(drop)
    }

    /// Runs for ever: a round after every change.
    pub async fn run(self) {
        let mut changed = self.context.view.subscribe();
        loop {
            changed.mark_unchanged();
            let pause = match self.round().await {
                Ok(Round::Settled) => None,
                Ok(Round::Gave) => Some(GIVE_PAUSE),
                Err(error) => {
                    tracing::warn!(%error, "what this broker should serve could not be taken now");
                    Some(RETRY_PAUSE)
                }
            };
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    tokio::select! {
                        changed = changed.changed() => if changed.is_err() { return },
                        () = tokio::time::sleep(self.rest()) => {}
                    }
                    tokio::time::sleep(SETTLE).await;
                }
            }
        }
    }

    async fn round(&self) -> Result<Round, OwnershipError> {
        self.catalog.publish();
        let slots_given = self.round_of_slots().await?;
        let partitions_given = self.round_of_partitions().await?;
        self.sweep_orphans().await;
        self.catalog.publish();
        Ok(match slots_given + partitions_given {
            0 => Round::Settled,
            _ => Round::Gave,
        })
    }

    /// Deleted topics whose deleter may be gone are swept by the first of the live brokers.
    async fn sweep_orphans(&self) {
        let context = &self.context;
        let first = context.view.nodes().first().map(|node| node.id);
        if first != Some(context.node.id) {
            return;
        }
        if let Err(error) = sweep::resume(context).await {
            tracing::warn!(%error, "deleted topics could not be looked for now");
        }
    }

    async fn round_of_slots(&self) -> Result<usize, OwnershipError> {
        let (view, me) = (&self.context.view, self.context.session.id);
        let item = |slot: u16| Item {
            hash: placement::hash_of_slot(slot),
            owner: view.slot_owner(slot),
            pin: None,
        };
        let items: Vec<Item> = (0..SLOTS).map(item).collect();
        let Duties { take, give } = placement::duties(&view.members(), &items, me, GIVE_MAX);
        let id = |index: usize| u16::try_from(index).ok().and_then(SlotId::new);
        let unopened = (0..items.len())
            .filter(|index| items[*index].owner == Some(me))
            .filter_map(id)
            .filter(|slot| !self.slots.is_open(*slot));
        let take: Vec<SlotId> = take.into_iter().filter_map(id).chain(unopened).collect();
        let give: Vec<SlotId> = give.into_iter().filter_map(id).collect();
        if !take.is_empty() {
            self.slots.take(take).await?;
            self.catalog.publish();
        }
        if !give.is_empty() {
            self.slots.release(&give).await?;
        }
        Ok(give.len())
    }

    async fn round_of_partitions(&self) -> Result<usize, OwnershipError> {
        let me = self.context.session.id;
        let targets = self.catalog.targets();
        let items: Vec<Item> = targets.iter().map(|target| self.item(target)).collect();
        let members = self.context.view.members();
        let Duties { take, give } = placement::duties(&members, &items, me, GIVE_MAX);
        let unopened = (0..items.len()).filter(|index| self.is_unopened(&targets[*index], me));
        let take: Vec<Target> = take
            .into_iter()
            .chain(unopened)
            .map(|index| targets[index].clone())
            .filter(|target| !self.rests(target.handle.id))
            .collect();
        if !take.is_empty() {
            self.take(take).await?;
        }
        let give = give.into_iter();
        let give: Vec<TopicPartition> = give.map(|index| targets[index].handle.id).collect();
        Ok(self.give(&give).await)
    }

    fn item(&self, target: &Target) -> Item {
        let id = target.handle.id;
        Item {
            hash: placement::hash_of_partition(id),
            owner: self.context.view.owner(id),
            pin: self.context.view.pin(id),
        }
    }

    /// Ours by its record, and not open: a takeover or a release whose outcome was unknown.
    fn is_unopened(&self, target: &Target, me: SessionId) -> bool {
        let id = target.handle.id;
        self.context.view.owner(id) == Some(me) && self.context.owned(id).is_none()
    }

    fn rests(&self, id: TopicPartition) -> bool {
        let mut refused = self.refused.borrow_mut();
        let now = Instant::now();
        refused.retain(|_, until| *until > now);
        refused.contains_key(&id)
    }

    /// How long nothing is to be done if nothing changes.
    fn rest(&self) -> Duration {
        let [_, longest] = REFUSED_PAUSES;
        let refused = self.refused.borrow();
        let first = refused.values().min();
        first.map_or(longest, |until| {
            until.saturating_duration_since(Instant::now()).min(longest)
        })
    }

    async fn take(&self, targets: Vec<Target>) -> Result<(), OwnershipError> {
        let began = Instant::now();
        let wanted = targets.len();
        let taken = self.catalog.take(targets);
        let span = span!("take_over", partitions = wanted as u64);
        let refused = taken.instrument(span).await?;
        if !refused.is_empty() {
            let text = format!("{} partitions cannot be served now", refused.len());
            let events = &self.context.events;
            events.note(EventKind::Partition, Severity::Error, text);
        }
        if wanted > refused.len() {
            let taken = wanted - refused.len();
            let text = format!(
                "{taken} partitions taken in {} ms",
                began.elapsed().as_millis()
            );
            let events = &self.context.events;
            events.note(EventKind::Takeover, Severity::Info, text);
            tracing::info!(
                partitions = taken,
                took_ms = began.elapsed().as_millis() as u64,
                "partitions taken"
            );
        }
        let mut resting = self.refused.borrow_mut();
        let [short, long] = REFUSED_PAUSES;
        let until = |may_pass| Instant::now() + if may_pass { short } else { long };
        resting.extend(
            refused
                .into_iter()
                .map(|(id, may_pass)| (id, until(may_pass))),
        );
        Ok(())
    }

    /// Gives partitions away; how many.
    async fn give(&self, ids: &[TopicPartition]) -> usize {
        let owned: Vec<Rc<Owned>> = ids
            .iter()
            .filter_map(|id| self.context.owned(*id))
            .collect();
        if owned.is_empty() {
            return 0;
        }
        let ids: Vec<TopicPartition> = owned.iter().map(|owned| owned.handle.id).collect();
        if !self.quiesce(&ids).await {
            tracing::warn!(
                "partitions are not given away now: the store does not take the last of them"
            );
            return 0;
        }
        let span = span!("give_away", partitions = ids.len() as u64);
        let released = release(&self.context, owned).instrument(span).await;
        let text = format!("{released} partitions given away");
        self.context
            .events
            .note(EventKind::Release, Severity::Info, text);
        self.close(&ids).await;
        ids.len()
    }

    /// Stops appends and waits until everything appended is acknowledged; else appends go on.
    async fn quiesce(&self, ids: &[TopicPartition]) -> bool {
        self.on_shards(ids, |shard, ids| {
            ids.iter().for_each(|id| shard.release(*id))
        })
        .await;
        let quiet = async {
            while !self
                .on_shards(ids, |shard, ids| shard.are_quiet(ids))
                .await
                .into_iter()
                .all(|quiet| quiet)
            {
                tokio::time::sleep(QUIET_EVERY).await;
            }
        };
        if tokio::time::timeout(QUIET_TIMEOUT, quiet).await.is_ok() {
            return true;
        }
        coord::mark!(ReleaseGivenUp);
        self.on_shards(ids, |shard, ids| {
            ids.iter().for_each(|id| shard.resume(*id))
        })
        .await;
        false
    }

    /// Runs `work` on each shard that serves some of the partitions.
    async fn on_shards<R: Send + 'static>(
        &self,
        ids: &[TopicPartition],
        work: impl Fn(&Rc<Shard>, &[TopicPartition]) -> R + Copy + Send + 'static,
    ) -> Vec<R> {
        let context = &self.context;
        let mut by_shard: BTreeMap<_, Vec<TopicPartition>> = BTreeMap::new();
        for id in ids {
            by_shard
                .entry(context.shard_of(*id).id)
                .or_default()
                .push(*id);
        }
        let calls = by_shard.into_iter().map(|(shard, ids)| {
            let shard = context.shard(shard);
            shard.call(move |shard| work(shard, &ids))
        });
        // A shard that has ended ends the process by itself.
        let answers = futures_util::future::join_all(calls).await;
        answers.into_iter().flatten().collect()
    }

    async fn close(&self, ids: &[TopicPartition]) {
        self.on_shards(ids, |shard, ids| shard.close(ids)).await;
        let mut owned = self.context.owned.borrow_mut();
        ids.iter().for_each(|id| drop(owned.remove(*id)));
    }
}

/// Releases partitions of which nothing waits for a flush or its acknowledgement: their sources are
/// closed at the acknowledged end. The records are locked first, so that no compaction is under
/// way. What is not released is ours by its record still; gives how many are.
pub async fn release(context: &Context, owned: Vec<Rc<Owned>>) -> usize {
    let end = context.flushed.told_end();
    let mut records = Vec::with_capacity(owned.len());
    for owned in owned {
        let mut state = owned.state.lock().await;
        // From here on nobody changes record or log.
        if !std::mem::replace(&mut state.gone, true) {
            records.push((owned.handle.id, state.seen.clone()));
        }
    }
    let extents = extents(context, &records).await;
    let (mut changes, mut ids) = (Vec::new(), Vec::new());
    for (id, seen) in records {
        let extent = extents.get(&id).copied().unwrap_or(Extent::Unknown);
        let session = context.session.id;
        match plan::release_partition(&context.space, session, id, &seen, end, extent) {
            Ok(planned) => {
                changes.push(Change {
                    key: partition_key::key(&context.space, id),
                    planned,
                    before: Some(seen),
                });
                ids.push(id);
            }
            Err(error) => tracing::warn!(partition = %id, %error, "cannot be released"),
        }
    }
    let outcomes = commit_all(&context.kv, &changes, PARTITIONS_MAX).await;
    let mut released = 0;
    for (id, outcome) in ids.into_iter().zip(outcomes) {
        match outcome {
            Ok(seen) => {
                released += 1;
                context.metrics.releases.increment();
                context.view.partition_is(id, &seen);
            }
            Err(error) => tracing::warn!(partition = %id, %error, "was not released"),
        }
    }
    released
}

/// Where the sections of each partition lie that no segment holds, as its shard knows it, so that a
/// taker reads no other objects.
async fn extents(
    context: &Context,
    records: &[(TopicPartition, Seen<PartitionRecord>)],
) -> HashMap<TopicPartition, Extent> {
    let mut by_shard: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (id, seen) in records {
        let told = (*id, seen.record.compacted_end.max(seen.record.log_start));
        by_shard
            .entry(context.shard_of(*id).id)
            .or_default()
            .push(told);
    }
    let look = |shard: &Rc<Shard>, ids: Vec<(TopicPartition, Offset)>| -> Vec<_> {
        let extent = |(id, covered)| shard.with_log(id, |log| (id, extent(log, covered)));
        ids.into_iter().filter_map(extent).collect()
    };
    let asked = by_shard.into_iter().map(|(shard, ids)| {
        context
            .shard(shard)
            .call(move |shard: &Rc<Shard>| look(shard, ids))
    });
    let answers = futures_util::future::join_all(asked).await;
    answers.into_iter().flatten().flatten().collect()
}

fn extent(log: &PartitionLog, covered: Offset) -> Extent {
    let object = |slot: &RunSlot| (slot.location.session, slot.location.sequence);
    match (log.oldest_slot(), log.newest_slot()) {
        (Some(first), Some(last)) => Extent::Objects {
            first: object(first),
            last: object(last),
        },
        _ if covered >= log.high_watermark() => Extent::Empty,
        _ => Extent::Unknown,
    }
}
