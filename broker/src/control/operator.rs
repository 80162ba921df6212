//! The cluster as an operator sees it: read from the metadata store, whether brokers run or not.
//!
//! On a thread of its own, blocking. It writes one kind of key, the drain of a broker; everything
//! else is done by the brokers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use coord::keys::cluster::{self, ClusterRecord};
use coord::keys::drain::{self, DrainRecord};
use coord::keys::partition::{self, PartitionRecord};
use coord::keys::session::{self, SessionRecord, SessionState};
use coord::keys::slot::{self, SLOTS, SlotRecord};
use coord::keys::topic::{self, TopicRecord};
use coord::keys::{CodecError, Keyspace, KeyspaceError, Record, Seen, encode, seen};
use coord::kv::etcd::{ConnectError, Etcd, EtcdOptions};
use coord::kv::{Key, Kv, KvError, Op, Span, Txn};
use segment::{BrokerId, PartitionIndex, SessionId, TimestampMs, TopicPartition};

use super::follow::{Followed, read};

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
        let takes = matches!(self.state, SessionState::Healthy | SessionState::Degraded);
        takes && !self.draining
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

impl ClusterState {
    /// How far counts of partitions differ between brokers that placement gives any, and how many
    /// have no owner: 0 or 1, and 0, when nothing will move.
    pub fn imbalance(&self) -> (usize, usize) {
        let counts = || {
            let eligible = self.brokers.iter().filter(|broker| broker.is_eligible());
            eligible.map(|broker| broker.partitions)
        };
        let spread = counts().max().unwrap_or(0) - counts().min().unwrap_or(0);
        (spread, self.leaderless)
    }
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
        self.runtime.block_on(self.read_state())
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

    async fn all<K, T: Record>(
        &self,
        what: &'static str,
        span: Span,
        parse: fn(&Keyspace, &Key) -> Option<K>,
    ) -> Result<Vec<(K, Seen<T>)>, KvError> {
        let followed = Followed { what, span, parse };
        Ok(read(&self.kv, &self.space, &followed).await?.0)
    }

    async fn read_state(&self) -> Result<ClusterState, OperatorError> {
        let space = &self.space;
        let found = self.kv.get(cluster::key(space)).await?;
        let cluster = seen::<ClusterRecord>(found.as_ref())?;
        let cluster = cluster.ok_or_else(|| OperatorError::NoCluster(self.name.clone()))?;
        let topics: Vec<(_, Seen<TopicRecord>)> = self
            .all("topics", topic::span(space), |s, k| topic::parse(s, k).ok())
            .await?;
        let owners: Vec<(_, Seen<PartitionRecord>)> = self
            .all("partitions", partition::span(space), |s, k| {
                partition::parse(s, k).ok()
            })
            .await?;
        let slots: Vec<(_, Seen<SlotRecord>)> = self
            .all("slots", slot::span(space), |s, k| slot::parse(s, k).ok())
            .await?;
        let drains: Vec<(_, Seen<DrainRecord>)> = self
            .all("drains", drain::span(space), |s, k| drain::parse(s, k).ok())
            .await?;
        let sessions: Vec<(_, Seen<SessionRecord>)> = self
            .all("sessions", session::span(space), |s, k| {
                session::parse(s, k).ok()
            })
            .await?;
        let row = |(session, seen): (SessionId, Seen<SessionRecord>)| {
            let record = seen.record;
            let row = BrokerRow {
                id: record.broker,
                session,
                address: format!("{}:{}", record.host, record.port),
                state: record.state,
                draining: drains.iter().any(|(broker, _)| *broker == record.broker),
                partitions: 0,
                slots: 0,
            };
            (session, row)
        };
        let mut rows: BTreeMap<SessionId, BrokerRow> = sessions.into_iter().map(row).collect();
        let owners: BTreeMap<TopicPartition, SessionId> = owners
            .into_iter()
            .filter_map(|(id, seen)| Some((id, seen.record.owner?.session)))
            .collect();
        let (mut partitions, mut leaderless) = (0, 0);
        for (_, topic) in &topics {
            for index in 0..topic.record.partition_count {
                let id = TopicPartition::new(topic.record.topic_id, PartitionIndex::new(index));
                partitions += 1;
                match owners.get(&id).and_then(|session| rows.get_mut(session)) {
                    Some(row) => row.partitions += 1,
                    None => leaderless += 1,
                }
            }
        }
        let mut owned_slots = 0;
        for owner in slots.into_iter().filter_map(|(_, seen)| seen.record.owner) {
            if let Some(row) = rows.get_mut(&owner.session) {
                row.slots += 1;
                owned_slots += 1;
            }
        }
        let mut brokers: Vec<BrokerRow> = rows.into_values().collect();
        brokers.sort_by_key(|row| row.id);
        Ok(ClusterState {
            cluster: cluster.record,
            brokers,
            topics: topics.len(),
            partitions,
            leaderless,
            slots_without_owner: usize::from(SLOTS).saturating_sub(owned_slots),
        })
    }
}
