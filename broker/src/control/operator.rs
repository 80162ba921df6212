//! The cluster as an operator sees it: read from the metadata store, whether brokers run or not.
//!
//! On a thread of its own, blocking. It writes one kind of key, the drain of a broker; everything
//! else is done by the brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use coord::keys::cluster::{self, ClusterRecord};
use coord::keys::drain::{self, DrainRecord};
use coord::keys::partition::{self, PartitionRecord};
use coord::keys::pin::{self, PinRecord};
use coord::keys::session::{self, SessionRecord, SessionState};
use coord::keys::slot::{self, SLOTS, SlotId, SlotRecord};
use coord::keys::topic::{self, TopicRecord};
use coord::keys::{CodecError, Keyspace, KeyspaceError, Record, Seen, encode, seen};
use coord::kv::etcd::{ConnectError, Etcd, EtcdOptions};
use coord::kv::{Key, Kv, KvError, Op, Span, Txn};
use coord::placement::{self, Item, Member, Standing};
use segment::{BrokerId, PartitionIndex, SessionId, TimestampMs, TopicName, TopicPartition};

use super::follow::{Followed, read};
use super::ownership::GIVE_MAX;

/// Why the cluster cannot be looked at, or changed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The thread's runtime cannot be made.
    #[error("start a runtime: {0}")]
    Runtime(#[from] std::io::Error),
    /// etcd cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// etcd failed.
    #[error("etcd: {0}")]
    Kv(#[from] KvError),
    /// The name of the cluster names no keys.
    #[error(transparent)]
    Space(#[from] KeyspaceError),
    /// A record cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// There is no such cluster.
    #[error(
        "etcd knows no cluster named {0:?}: check KAFSCALE_CLUSTER and KAFSCALE_ETCD_ENDPOINTS, or \
         start its first broker"
    )]
    NoCluster(String),
}

/// A live broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerRow {
    /// Its id.
    pub id: BrokerId,
    /// Its session.
    pub session: SessionId,
    /// Where clients reach it.
    pub address: String,
    /// Its rack, if it is set.
    pub rack: Option<String>,
    /// What it publishes of itself.
    pub state: SessionState,
    /// Whether an operator wants it drained.
    pub draining: bool,
    /// Partitions that it owns.
    pub partitions: usize,
    /// Coordinator slots that it owns.
    pub slots: usize,
}

impl BrokerRow {
    /// Whether placement gives it anything.
    pub fn is_eligible(&self) -> bool {
        self.state.standing(self.draining) == Standing::Takes
    }
}

/// The cluster at one moment.
#[derive(Debug, Clone)]
pub struct ClusterState {
    /// Its id and how it commits.
    pub cluster: ClusterRecord,
    /// Live brokers, by id.
    pub brokers: Vec<BrokerRow>,
    /// Topics.
    pub topics: usize,
    /// Partitions of all topics.
    pub partitions: usize,
    /// Partitions that no live broker owns.
    pub leaderless: usize,
    /// Slots that no live broker owns.
    pub slots_without_owner: usize,
}

/// What changes its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moving {
    /// A partition of this topic.
    Partition(TopicName, PartitionIndex),
    /// A coordinator slot.
    Slot(u16),
}

/// A change of owner to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What moves.
    pub moving: Moving,
    /// The live broker that has it now.
    pub from: Option<BrokerId>,
    /// The broker that gets it.
    pub to: BrokerId,
}

/// A drain that is looked at as if it were wanted, or not.
#[derive(Debug, Clone, Copy)]
pub struct Supposed {
    /// The broker.
    pub broker: BrokerId,
    /// Whether it is drained.
    pub drained: bool,
}

/// A connection to the metadata store.
pub struct Operator {
    runtime: tokio::runtime::Runtime,
    kv: Arc<dyn Kv>,
    space: Keyspace,
    name: String,
}

impl Operator {
    /// Connects.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn connect(options: EtcdOptions, cluster: &str) -> Result<Self, OperatorError> {
        let space = Keyspace::new(cluster)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let etcd = runtime.block_on(Etcd::connect(options))?;
        Ok(Self {
            runtime,
            kv: Arc::new(etcd),
            space,
            name: cluster.to_owned(),
        })
    }

    /// Reads the cluster. The parts are read one after the other, while it lives.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn state(&self) -> Result<ClusterState, OperatorError> {
        Ok(self.runtime.block_on(self.read())?.state())
    }

    /// Wants a broker drained, or no longer.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn set_drain(&self, broker: BrokerId, on: bool) -> Result<(), OperatorError> {
        let key = drain::key(&self.space, broker);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        });
        let since_ms = TimestampMs::new(since);
        let op = match on {
            true => Op::put(key, encode(&DrainRecord { since_ms })),
            false => Op::Delete(key),
        };
        // Whatever an unknown outcome was: the caller looks at what came of it.
        let sent = self.runtime.block_on(self.kv.txn(Txn::new().and_then(op)));
        sent.map(drop).map_err(OperatorError::from)
    }

    /// What brokers will move until all of them have their shares, partitions first. With
    /// `supposed`: what they would move if that drain were so.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn changes(&self, supposed: Option<Supposed>) -> Result<Vec<Change>, OperatorError> {
        let found = self.runtime.block_on(self.read())?;
        Ok(found.changes(supposed))
    }

    async fn all<K, T: Record>(
        &self,
        what: &'static str,
        span: Span,
        parse: fn(&Keyspace, &Key) -> Option<K>,
    ) -> Result<Vec<(K, Seen<T>)>, KvError> {
        let followed = Followed { what, span, parse };
        Ok(read(&self.kv, &self.space, &followed).await?.0)
    }

    async fn read(&self) -> Result<Found, OperatorError> {
        let space = &self.space;
        let cluster = self.kv.get(cluster::key(space)).await?;
        let cluster = seen::<ClusterRecord>(cluster.as_ref())?;
        let cluster = cluster.ok_or_else(|| OperatorError::NoCluster(self.name.clone()))?;
        let topics = self
            .all("topics", topic::span(space), |s, k| topic::parse(s, k).ok())
            .await?;
        let owners = self
            .all("partitions", partition::span(space), |s, k| {
                partition::parse(s, k).ok()
            })
            .await?;
        let slots = self
            .all("slots", slot::span(space), |s, k| slot::parse(s, k).ok())
            .await?;
        let drains: Vec<(BrokerId, Seen<DrainRecord>)> = self
            .all("drains", drain::span(space), |s, k| drain::parse(s, k).ok())
            .await?;
        let pins: Vec<(TopicPartition, Seen<PinRecord>)> = self
            .all("pins", pin::span(space), |s, k| pin::parse(s, k).ok())
            .await?;
        // Last: an owner whose session is not known counts as dead.
        let sessions = self
            .all("sessions", session::span(space), |s, k| {
                session::parse(s, k).ok()
            })
            .await?;
        let owner = |(id, seen): (_, Seen<PartitionRecord>)| Some((id, seen.record.owner?.session));
        let slot_owner =
            |(id, seen): (SlotId, Seen<SlotRecord>)| Some((id.get(), seen.record.owner?.session));
        let pinned = |(id, seen): (_, Seen<PinRecord>)| Some((id, seen.record.broker?));
        Ok(Found {
            cluster: cluster.record,
            topics,
            owners: owners.into_iter().filter_map(owner).collect(),
            slots: slots.into_iter().filter_map(slot_owner).collect(),
            pins: pins.into_iter().filter_map(pinned).collect(),
            drains: drains.into_iter().map(|(broker, _)| broker).collect(),
            sessions: sessions
                .into_iter()
                .map(|(session, seen)| (session, seen.record))
                .collect(),
        })
    }
}

/// What is in the metadata store.
struct Found {
    cluster: ClusterRecord,
    topics: Vec<(TopicName, Seen<TopicRecord>)>,
    /// Owners by record, live or not.
    owners: BTreeMap<TopicPartition, SessionId>,
    slots: BTreeMap<u16, SessionId>,
    /// Brokers that are to own partitions.
    pins: BTreeMap<TopicPartition, BrokerId>,
    drains: BTreeSet<BrokerId>,
    /// The live ones.
    sessions: BTreeMap<SessionId, SessionRecord>,
}

impl Found {
    fn partitions(&self) -> impl Iterator<Item = (&TopicName, TopicPartition)> {
        self.topics.iter().flat_map(|(name, topic)| {
            let id = topic.record.topic_id;
            let all = (0..topic.record.partition_count).map(PartitionIndex::new);
            all.map(move |index| (name, TopicPartition::new(id, index)))
        })
    }

    fn state(&self) -> ClusterState {
        let row = |(session, record): (&SessionId, &SessionRecord)| {
            let row = BrokerRow {
                id: record.broker,
                session: *session,
                address: format!("{}:{}", record.host, record.port),
                rack: record.rack.clone(),
                state: record.state,
                draining: self.drains.contains(&record.broker),
                partitions: 0,
                slots: 0,
            };
            (*session, row)
        };
        let mut rows: BTreeMap<SessionId, BrokerRow> = self.sessions.iter().map(row).collect();
        let (mut partitions, mut leaderless) = (0, 0);
        for (_, id) in self.partitions() {
            partitions += 1;
            match self.owners.get(&id).and_then(|owner| rows.get_mut(owner)) {
                Some(row) => row.partitions += 1,
                None => leaderless += 1,
            }
        }
        let mut owned_slots = 0;
        for owner in self.slots.values() {
            if let Some(row) = rows.get_mut(owner) {
                row.slots += 1;
                owned_slots += 1;
            }
        }
        let mut brokers: Vec<BrokerRow> = rows.into_values().collect();
        brokers.sort_by_key(|row| row.id);
        ClusterState {
            cluster: self.cluster.clone(),
            brokers,
            topics: self.topics.len(),
            partitions,
            leaderless,
            slots_without_owner: usize::from(SLOTS).saturating_sub(owned_slots),
        }
    }

    fn changes(&self, supposed: Option<Supposed>) -> Vec<Change> {
        let is_drained = |broker| match supposed {
            Some(supposed) if supposed.broker == broker => supposed.drained,
            _ => self.drains.contains(&broker),
        };
        let member = |(session, record): (&SessionId, &SessionRecord)| Member {
            session: *session,
            broker: record.broker,
            standing: record.state.standing(is_drained(record.broker)),
        };
        let members: Vec<Member> = self.sessions.iter().map(member).collect();
        let broker = |session| self.sessions.get(&session).map(|record| record.broker);
        let changes = |items: Vec<Item>, moving: &dyn Fn(usize) -> Moving| {
            let moves = placement::moves(&members, &items, GIVE_MAX).into_iter();
            let change = moves.filter_map(|it| {
                Some(Change {
                    moving: moving(it.item),
                    from: it.from.and_then(broker),
                    to: broker(it.to)?,
                })
            });
            change.collect::<Vec<Change>>()
        };
        let (names, ids): (Vec<_>, Vec<_>) = self.partitions().unzip();
        let items = ids.iter().map(|id| Item {
            hash: placement::hash_of_partition(*id),
            owner: self.owners.get(id).copied(),
            pin: self.pins.get(id).copied(),
        });
        let mut all = changes(items.collect(), &|item| {
            Moving::Partition(names[item].clone(), ids[item].partition)
        });
        let items = (0..SLOTS).map(|slot| Item {
            hash: placement::hash_of_slot(slot),
            owner: self.slots.get(&slot).copied(),
            pin: None,
        });
        let slot = |item| Moving::Slot(u16::try_from(item).expect("an index of a slot"));
        all.extend(changes(items.collect(), &slot));
        all
    }
}
