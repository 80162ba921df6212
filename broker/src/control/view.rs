//! What this broker knows of the cluster: live sessions, owners of partitions and slots, drains, pins.
//!
//! Control thread. A mirror of the metadata store, kept by followers; it may lag, so nothing is
//! decided by it alone: whoever changes something is guarded by the revision that it read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use coord::keys::broker_config::{self, BrokerConfigRecord};
use coord::keys::drain::{self, DrainRecord};
use coord::keys::partition::{self, Owner, PartitionRecord};
use coord::keys::pin::{self, PinRecord};
use coord::keys::session::{self, SessionRecord, SessionState};
use coord::keys::slot::{self, SlotRecord};
use coord::keys::{Keyspace, Record, Seen};
use coord::kv::{Kv, KvError, Revision};
use coord::placement::Member;
use segment::{BrokerId, LeaderEpoch, SessionId, TopicPartition};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::follow::{Followed, Update, follow, read};
use crate::metadata::BrokerConfigs;
use crate::node::BrokerNode;
use crate::partition::{Leader, Neighbor, RowMap};
use crate::shard::SLOTS;

/// Who owns something, by its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The owner; none after a release.
    pub owner: Option<Owner>,
    /// The epoch of the ownership (partitions).
    pub epoch: LeaderEpoch,
}

/// A live session.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// Its id.
    pub id: SessionId,
    /// What it tells of itself.
    pub record: SessionRecord,
    /// Whether an operator drains its broker.
    pub is_drained: bool,
}

/// Values by key, each with the revision that wrote it: an update that is older than what is known
/// changes nothing, so that outcomes learned early are not undone by a watch that lags.
#[derive(Debug)]
struct Mirror<K: Neighbor, V> {
    rows: RowMap<K, (V, Revision)>,
}

impl<K: Neighbor, V> Default for Mirror<K, V> {
    fn default() -> Self {
        Self {
            rows: RowMap::default(),
        }
    }
}

impl<K: Neighbor, V: Copy + PartialEq> Mirror<K, V> {
    fn get(&self, id: K) -> Option<V> {
        self.rows.get(id).map(|(value, _)| *value)
    }

    fn put(&mut self, id: K, value: V, at: Revision) -> bool {
        match self.rows.get_mut(id) {
            Some((_, known)) if *known > at => false,
            Some(row) => std::mem::replace(row, (value, at)).0 != value,
            None => {
                self.rows.insert(id, (value, at));
                true
            }
        }
    }

    /// Applies an update; whether anything has changed.
    fn apply<T>(&mut self, update: Update<K, T>, value: impl Fn(&T) -> V) -> bool {
        match update {
            Update::Whole(all, at) => {
                self.rows.retain(|_, (_, known)| *known > at);
                for (id, seen) in all {
                    self.put(id, value(&seen.record), seen.mod_revision);
                }
                true
            }
            Update::Put(id, seen) => self.put(id, value(&seen.record), seen.mod_revision),
            Update::Gone(id, at) => {
                let is_older = self.rows.get(id).is_some_and(|(_, known)| *known < at);
                is_older && self.rows.remove(id).is_some()
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<SessionId, SessionRecord>,
    drains: BTreeSet<BrokerId>,
    partitions: Mirror<TopicPartition, Holder>,
    slots: Mirror<u16, Holder>,
    pins: Mirror<TopicPartition, Option<BrokerId>>,
    broker_configs: BTreeMap<Option<BrokerId>, (BTreeMap<String, String>, Revision)>,
}

/// The mirror.
#[derive(Debug)]
pub struct ClusterView {
    state: RefCell<State>,
    changed: watch::Sender<u64>,
}

impl Default for ClusterView {
    fn default() -> Self {
        Self {
            state: RefCell::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl ClusterView {
    /// Told after every change; also after those that others announce with [`Self::touch`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Something that hangs on the view has changed: a topic, an outcome.
    pub fn touch(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The live sessions as placement sees them.
    pub fn members(&self) -> Vec<Member> {
        let state = self.state.borrow();
        let member = |(session, record): (&SessionId, &SessionRecord)| Member {
            session: *session,
            broker: record.broker,
            standing: record.state.standing(state.drains.contains(&record.broker)),
        };
        state.sessions.iter().map(member).collect()
    }

    /// The live sessions, by broker, as they tell of themselves.
    pub fn sessions(&self) -> Vec<LiveSession> {
        let state = self.state.borrow();
        let live = |(id, record): (&SessionId, &SessionRecord)| LiveSession {
            id: *id,
            is_drained: state.drains.contains(&record.broker),
            record: record.clone(),
        };
        let mut all: Vec<LiveSession> = state.sessions.iter().map(live).collect();
        all.sort_by_key(|session| session.record.broker);
        all
    }

    /// Whether a session lives.
    pub fn lives(&self, session: SessionId) -> bool {
        self.state.borrow().sessions.contains_key(&session)
    }

    /// Whether a broker other than ours publishes that it is healthy.
    pub fn another_is_healthy(&self, us: SessionId) -> bool {
        let state = self.state.borrow();
        let mut others = state.sessions.iter().filter(|(session, _)| **session != us);
        others.any(|(_, record)| record.state == SessionState::Healthy)
    }

    /// Whether a broker other than ours publishes that the store does not take its writes.
    pub fn another_is_unavailable(&self, us: SessionId) -> bool {
        let state = self.state.borrow();
        let mut others = state.sessions.iter().filter(|(session, _)| **session != us);
        others.any(|(_, record)| record.state == SessionState::Unavailable)
    }

    /// The live brokers, by id.
    pub fn nodes(&self) -> Vec<BrokerNode> {
        let state = self.state.borrow();
        let mut nodes: Vec<BrokerNode> = state.sessions.values().map(BrokerNode::from).collect();
        nodes.sort_by_key(|node| node.id);
        nodes.dedup_by_key(|node| node.id);
        nodes
    }

    /// Who owns a partition by its record, live or not.
    pub fn owner(&self, id: TopicPartition) -> Option<SessionId> {
        let state = self.state.borrow();
        Some(state.partitions.get(id)?.owner?.session)
    }

    /// The live broker that owns a partition.
    pub fn leader(&self, id: TopicPartition) -> Option<Leader> {
        let state = self.state.borrow();
        let holder = state.partitions.get(id)?;
        let owner = holder.owner?;
        state
            .sessions
            .contains_key(&owner.session)
            .then_some(Leader {
                broker: owner.broker,
                epoch: holder.epoch,
            })
    }

    /// The broker that is to own a partition, where one was chosen.
    pub fn pin(&self, id: TopicPartition) -> Option<BrokerId> {
        self.state.borrow().pins.get(id).flatten()
    }

    /// All such choices.
    pub fn pins(&self) -> Vec<(TopicPartition, BrokerId)> {
        let state = self.state.borrow();
        let rows = state.pins.rows.iter();
        rows.filter_map(|(id, (broker, _))| Some((id, (*broker)?)))
            .collect()
    }

    /// The settings of brokers that were changed while they run; under none those of all.
    pub fn broker_configs(&self) -> BrokerConfigs {
        let state = self.state.borrow();
        let rows = state.broker_configs.iter();
        rows.map(|(broker, (values, _))| (*broker, values.clone()))
            .collect()
    }

    /// Who owns a slot by its record, live or not.
    pub fn slot_owner(&self, slot: u16) -> Option<SessionId> {
        Some(self.state.borrow().slots.get(slot)?.owner?.session)
    }

    /// The live broker that owns each slot.
    pub fn coordinators(&self) -> Vec<Option<BrokerId>> {
        let state = self.state.borrow();
        let live = |slot: u16| {
            let owner = state.slots.get(slot)?.owner?;
            let is_live = state.sessions.contains_key(&owner.session);
            is_live.then_some(owner.broker)
        };
        (0..SLOTS).map(live).collect()
    }

    /// Learns the outcome of a transaction of ours before the watch tells of it.
    pub fn partition_is(&self, id: TopicPartition, seen: &Seen<PartitionRecord>) {
        let now = holder(&seen.record);
        let mut state = self.state.borrow_mut();
        state.partitions.put(id, now, seen.mod_revision);
    }

    /// The same for a slot.
    pub fn slot_is(&self, slot: u16, seen: &Seen<SlotRecord>) {
        let now = slot_holder(&seen.record);
        let mut state = self.state.borrow_mut();
        state.slots.put(slot, now, seen.mod_revision);
    }

    /// The same for the choice of an owner.
    pub fn pin_is(&self, id: TopicPartition, seen: &Seen<PinRecord>) {
        let mut state = self.state.borrow_mut();
        state.pins.put(id, seen.record.broker, seen.mod_revision);
    }

    /// The same for settings of a broker, or of all.
    pub fn broker_config_is(&self, broker: Option<BrokerId>, seen: &Seen<BrokerConfigRecord>) {
        let mut state = self.state.borrow_mut();
        let known = state.broker_configs.get(&broker);
        if known.is_none_or(|(_, known)| *known < seen.mod_revision) {
            let row = (seen.record.values.clone(), seen.mod_revision);
            state.broker_configs.insert(broker, row);
        }
    }

    /// Reads everything, and follows it from there.
    ///
    /// # Errors
    /// The metadata store failed at the first reading.
    pub async fn follow(
        self: &Rc<Self>,
        kv: &Arc<dyn Kv>,
        space: &Keyspace,
    ) -> Result<Vec<JoinHandle<()>>, KvError> {
        let drains = Followed {
            what: "drains",
            span: drain::span(space),
            parse: |space, key| drain::parse(space, key).ok(),
        };
        let partitions = Followed {
            what: "partitions",
            span: partition::span(space),
            parse: |space, key| partition::parse(space, key).ok(),
        };
        let slots = Followed {
            what: "slots",
            span: slot::span(space),
            parse: |space, key| slot::parse(space, key).ok().map(slot::SlotId::get),
        };
        let pins = Followed {
            what: "pins",
            span: pin::span(space),
            parse: |space, key| pin::parse(space, key).ok(),
        };
        let broker_configs = Followed {
            what: "settings of brokers",
            span: broker_config::span(space),
            parse: |space, key| broker_config::parse(space, key).ok(),
        };
        let sessions = Followed {
            what: "sessions",
            span: session::span(space),
            parse: |space, key| session::parse(space, key).ok(),
        };
        // Sessions last: an owner whose session is not known yet would count as dead.
        Ok(vec![
            self.begin(kv, space, drains, Self::on_drain).await?,
            self.begin(kv, space, broker_configs, Self::on_broker_config)
                .await?,
            self.begin(kv, space, pins, Self::on_pin).await?,
            self.begin(kv, space, slots, Self::on_slot).await?,
            self.begin(kv, space, partitions, Self::on_partition)
                .await?,
            self.begin(kv, space, sessions, Self::on_session).await?,
        ])
    }

    async fn begin<K: 'static, T: Record + 'static>(
        self: &Rc<Self>,
        kv: &Arc<dyn Kv>,
        space: &Keyspace,
        followed: Followed<K>,
        on: fn(&Rc<Self>, Update<K, T>),
    ) -> Result<JoinHandle<()>, KvError> {
        let (all, at) = read(kv, space, &followed).await?;
        on(self, Update::Whole(all, at));
        let (view, kv, space) = (self.clone(), kv.clone(), space.clone());
        Ok(tokio::task::spawn_local(async move {
            follow(kv, space, followed, at, move |update| on(&view, update)).await;
        }))
    }

    fn on_session(self: &Rc<Self>, update: Update<SessionId, SessionRecord>) {
        let mut state = self.state.borrow_mut();
        match update {
            Update::Whole(all, _) => {
                let all = all.into_iter();
                state.sessions = all.map(|(id, seen)| (id, seen.record)).collect();
            }
            Update::Put(id, seen) => drop(state.sessions.insert(id, seen.record)),
            Update::Gone(id, _) => drop(state.sessions.remove(&id)),
        }
        drop(state);
        self.touch();
    }

    fn on_drain(self: &Rc<Self>, update: Update<BrokerId, DrainRecord>) {
        let mut state = self.state.borrow_mut();
        match update {
            Update::Whole(all, _) => {
                state.drains = all.into_iter().map(|(id, _)| id).collect();
            }
            Update::Put(id, _) => {
                state.drains.insert(id);
            }
            Update::Gone(id, _) => {
                state.drains.remove(&id);
            }
        }
        drop(state);
        self.touch();
    }

    /// Compaction writes the record of a partition too: only a change of the owner is news.
    fn on_partition(self: &Rc<Self>, update: Update<TopicPartition, PartitionRecord>) {
        let changed = self.state.borrow_mut().partitions.apply(update, holder);
        if changed {
            self.touch();
        }
    }

    fn on_pin(self: &Rc<Self>, update: Update<TopicPartition, PinRecord>) {
        let changed = self.state.borrow_mut().pins.apply(update, |pin| pin.broker);
        if changed {
            self.touch();
        }
    }

    /// Such a key is never deleted: it is empty once nothing is set.
    fn on_broker_config(self: &Rc<Self>, update: Update<Option<BrokerId>, BrokerConfigRecord>) {
        match update {
            Update::Whole(all, _) => all
                .iter()
                .for_each(|(broker, seen)| self.broker_config_is(*broker, seen)),
            Update::Put(broker, seen) => self.broker_config_is(broker, &seen),
            Update::Gone(broker, at) => {
                let mut state = self.state.borrow_mut();
                let known = state.broker_configs.get(&broker);
                if known.is_some_and(|(_, known)| *known < at) {
                    state.broker_configs.remove(&broker);
                }
            }
        }
        self.touch();
    }

    fn on_slot(self: &Rc<Self>, update: Update<u16, SlotRecord>) {
        let changed = self.state.borrow_mut().slots.apply(update, slot_holder);
        if changed {
            self.touch();
        }
    }
}

fn holder(record: &PartitionRecord) -> Holder {
    Holder {
        owner: record.owner,
        epoch: record.leader_epoch,
    }
}

fn slot_holder(record: &SlotRecord) -> Holder {
    Holder {
        owner: record.owner,
        epoch: LeaderEpoch::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(id: u16, value: u8, at: i64) -> Update<u16, u8> {
        let seen = Seen {
            record: value,
            create_revision: Revision(1),
            mod_revision: Revision(at),
        };
        Update::Put(id, seen)
    }

    #[test]
    fn an_outcome_learned_early_is_not_undone_by_a_watch_that_lags() {
        let mut mirror: Mirror<u16, u8> = Mirror::default();
        let same = |value: &u8| *value;
        assert!(mirror.apply(put(1, 10, 5), same));
        assert!(mirror.put(1, 11, Revision(8)), "our own transaction");
        assert!(!mirror.apply(put(1, 10, 6), same), "a late event");
        assert!(!mirror.apply(Update::Gone(1, Revision(7)), same));
        assert_eq!(mirror.get(1), Some(11));
        assert!(
            !mirror.apply(put(1, 11, 8), same),
            "its own event is no news"
        );
        assert!(mirror.apply(Update::Whole(Vec::new(), Revision(7)), same));
        assert_eq!(mirror.get(1), Some(11), "the reading was before it");
        assert!(mirror.apply(Update::Gone(1, Revision(9)), same));
        assert_eq!(mirror.get(1), None);
    }
}
