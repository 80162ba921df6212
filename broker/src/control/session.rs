//! One life of this broker: its random id, its keys, its WAL prefix.
//!
//! Control thread. Order (DESIGN §4): the cluster's key, then its object; the session's keys, then
//! the `open` object, whose creation proves that the WAL prefix is new; only then takeovers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coord::keys::cluster::{self, ClusterRecord, CommitMode};
use coord::keys::plan::{self, Registration};
use coord::keys::recovery::{self, RecoveryRecord};
use coord::keys::session::{self, ListenerRecord, SessionRecord, SessionState};
use coord::keys::{Keyspace, broker, seen, session_record};
use coord::kv::{Kv, KvError, Range, SessionLease, range_all};
use coord::rules::{self, Rule};
use segment::keys::KeySpace;
use segment::wal::{WalHeader, encode};
use segment::{BrokerId, SessionId, TimestampMs, TopicId};
use store::{Body, GetError, GetRange, PutCondition, PutError};

use super::commit::{CommitError, commit};
use super::context::Context;
use super::objects::Objects;
use crate::config::{Advertised, UNNAMED};
use crate::node::{BrokerNode, NodeId, NodesAt};

/// How long beyond its time to live an earlier session with our broker id is waited for.
const CLAIM_GRACE: Duration = Duration::from_secs(2);
/// How often the claim of a broker id is tried meanwhile.
const CLAIM_PAUSE: Duration = Duration::from_millis(200);
/// Session ids that are tried before the random numbers are held to be broken.
const IDS_TRIED_MAX: usize = 8;

/// Our session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Our broker id.
    pub broker: BrokerId,
    /// Its lease.
    pub lease: SessionLease,
    /// When the lease was asked for: the first proof of life.
    pub sent: Instant,
}

/// Why no session could be begun.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The metadata store failed.
    #[error("begin a session: {0}")]
    Commit(#[from] CommitError),
    /// The metadata store failed.
    #[error("begin a session: {0}")]
    Kv(#[from] KvError),
    /// The object store refused.
    #[error("begin a session: {0}")]
    Put(#[from] PutError),
    /// A live broker has a node id that would be ours.
    #[error(
        "node id {node} is in use by live broker {other}: with direct routing the shards of broker \
         {broker} have the node ids from {first} on. Give one of the two another \
         KAFSCALE_BROKER_ID: ids below 256 never meet those of shards"
    )]
    NodeIdInUse {
        /// The node.
        node: NodeId,
        /// Who has it.
        other: BrokerId,
        /// The one of both with direct routing.
        broker: BrokerId,
        /// Its first node.
        first: NodeId,
    },
    /// The object store refused.
    #[error("begin a session: {0}")]
    Get(#[from] GetError),
    /// Another live broker has our id.
    #[error(
        "broker id {broker} is in use by a live broker (session {session}); set another \
         KAFSCALE_BROKER_ID, or stop that broker"
    )]
    BrokerIdInUse {
        /// The id.
        broker: BrokerId,
        /// Who has it.
        session: SessionId,
    },
    /// The objects belong to another cluster than the metadata.
    #[error(
        "the object store belongs to cluster {found} (object {key}), the metadata to cluster \
         {expected}: metadata and objects do not go together. Two clusters may share a bucket, \
         each with a KAFSCALE_S3_NAMESPACE of its own: set another one; or set KAFSCALE_CLUSTER \
         and KAFSCALE_ETCD_ENDPOINTS to those of the cluster that these objects belong to (on the \
         embedded store: another KAFSCALE_DATA_DIR). If etcd has lost its data, `kafscale backup \
         restore` brings the metadata back (docs/operations.md, \"etcd is lost\")"
    )]
    OtherCluster {
        /// The object that names the cluster.
        key: String,
        /// Cluster of the objects.
        found: String,
        /// Cluster of the metadata.
        expected: String,
    },
    /// The cluster has served before, and its objects are not here.
    #[error(
        "cluster {cluster} has served before, and the object {key}, which it created then, is not \
         in this store: its objects lie elsewhere. Set KAFSCALE_S3_BUCKET, KAFSCALE_S3_ENDPOINT, \
         KAFSCALE_S3_NAMESPACE and KAFSCALE_S3_WAL_PREFIX as on its other brokers, or another \
         KAFSCALE_CLUSTER to begin a new one. If objects were deleted from the right place, \
         restore them: acknowledged batches may be among them"
    )]
    OtherPlace {
        /// The object that names the cluster.
        key: String,
        /// The cluster.
        cluster: String,
    },
    /// The cluster's segments lie under another prefix.
    #[error(
        "the segments of this cluster lie under {found:?}, and this broker would look for them \
         under {ours:?}: set KAFSCALE_S3_PREFIX as on its other brokers"
    )]
    OtherPrefix {
        /// Where they are.
        found: String,
        /// Where this broker would look.
        ours: String,
    },
    /// The store does not behave as the cluster's commit mode needs.
    #[error(
        "the cluster commits in {expected:?} mode, which was decided at its first start, but the \
         object store was probed now and allows only {found:?}: a broker that commits otherwise \
         would lose what others acknowledge. Use the store that the cluster was started with \
         (KAFSCALE_S3_ENDPOINT, KAFSCALE_S3_BUCKET), or mend its conditional writes"
    )]
    CommitMode {
        /// The cluster's.
        expected: CommitMode,
        /// What the probe allows.
        found: CommitMode,
    },
    /// The metadata is not whole.
    #[error(
        "the metadata of this cluster is being written back from backup {backup}, which was not \
         finished: run `kafscale backup restore` again, and start the brokers when it has succeeded"
    )]
    Recovering {
        /// Key of the backup.
        backup: String,
    },
    /// Every id was taken: random numbers repeat.
    #[error("begin a session: {IDS_TRIED_MAX} random session ids were in use already")]
    NoFreeId,
}

/// What a session is begun with.
pub struct Begin<'a> {
    /// The metadata store.
    pub kv: &'a Arc<dyn Kv>,
    /// Its keys.
    pub space: &'a Keyspace,
    /// The object store.
    pub objects: &'a Objects,
    /// Its keys.
    pub keys: &'a KeySpace,
    /// Our broker id; none: the smallest that is free.
    pub broker: Option<BrokerId>,
    /// Where clients reach us, by listener; at least one. Older brokers are told of the first.
    pub advertised: &'a [Advertised],
    /// Our rack, if it is set.
    pub rack: Option<&'a str>,
    /// What the store allows.
    pub mode: CommitMode,
    /// How long the session lives after each proof of life.
    pub ttl: std::time::Duration,
    /// Wall clock.
    pub now: TimestampMs,
}

/// A random id that is no reserved one.
pub fn random_topic_id() -> TopicId {
    loop {
        let id = TopicId::new(rand::random());
        // As in Kafka: 0 and 1 are reserved, and a leading '-' reads like a flag.
        let reserved = u128::from_be_bytes(id.get()) <= 1;
        if !reserved && !id.to_string().starts_with('-') {
            return id;
        }
    }
}

/// Publishes how this broker is, in the key of its session.
///
/// # Errors
/// [`SessionError`]: it was not published.
pub async fn publish_state(context: &Context, state: SessionState) -> Result<(), SessionError> {
    let Context {
        kv, space, session, ..
    } = context;
    let key = session::key(space, session.id);
    let found = kv.get(key.clone()).await?;
    let before = seen::<SessionRecord>(found.as_ref()).map_err(CommitError::from)?;
    let before = before.ok_or(CommitError::Superseded)?;
    if before.record.state == state {
        return Ok(());
    }
    let record = SessionRecord {
        state,
        ..before.record.clone()
    };
    let planned = plan::update_session(space, session.id, session.lease, &before, record);
    let planned = planned.map_err(CommitError::from)?;
    commit(kv, &key, &planned, Some(&before)).await?;
    Ok(())
}

impl Begin<'_> {
    /// Finds the cluster id, creating it at the first start: first the key, then the object.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn cluster(&self) -> Result<ClusterRecord, SessionError> {
        let key = cluster::key(self.space);
        let found = self.kv.get(key.clone()).await?;
        let record = match seen::<ClusterRecord>(found.as_ref()).map_err(CommitError::from)? {
            Some(seen) => seen.record,
            None => {
                let recovery = self.kv.get(recovery::key(self.space)).await?;
                let recovery = seen::<RecoveryRecord>(recovery.as_ref());
                if let Some(seen) = recovery.map_err(CommitError::from)? {
                    let backup = seen.record.backup;
                    return Err(SessionError::Recovering { backup });
                }
                let record = ClusterRecord {
                    cluster_id: random_topic_id().to_string(),
                    commit_mode: self.mode,
                    created_ms: self.now,
                };
                let planned = plan::create_cluster(self.space, record);
                match commit(self.kv, &key, &planned, None).await {
                    Ok(seen) => seen.record,
                    // Another broker was first: what it has written holds.
                    Err(CommitError::Superseded) => {
                        let found = self.kv.get(key).await?;
                        let found = seen::<ClusterRecord>(found.as_ref());
                        found
                            .map_err(CommitError::from)?
                            .ok_or(CommitError::Superseded)?
                            .record
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        if !rules::holds(Rule::OneCommitMode) {
            let commit_mode = self.mode;
            return Ok(ClusterRecord {
                commit_mode,
                ..record
            });
        }
        // A store that allows conditional commits allows the other way too; the cluster stays as it
        // was started.
        if record.commit_mode == CommitMode::Conditional && self.mode == CommitMode::Guarded {
            return Err(SessionError::CommitMode {
                expected: record.commit_mode,
                found: self.mode,
            });
        }
        self.check_cluster_object(&record.cluster_id).await?;
        Ok(record)
    }

    /// Checks that these objects are the cluster's, by the object that names it. It is read before
    /// it is created: a store that ignores conditions would replace it. Once the cluster has had a
    /// session the object exists, so a store without it is another one.
    async fn check_cluster_object(&self, cluster_id: &str) -> Result<(), SessionError> {
        let key = self.keys.cluster();
        let ours = format!("{cluster_id}\n{}\n", self.keys.segments_root());
        let found = match self.objects.get(&key, GetRange::Full).await {
            Ok(found) => found,
            // Another broker may have made it since, and begun the session that we see.
            Err(GetError::NotFound { .. }) if self.has_had_sessions().await? => {
                let cluster = cluster_id.to_owned();
                let again = self.objects.get(&key, GetRange::Full).await;
                again.map_err(|error| match error {
                    GetError::NotFound { .. } => SessionError::OtherPlace {
                        key: key.clone(),
                        cluster,
                    },
                    error => error.into(),
                })?
            }
            Err(GetError::NotFound { .. }) => {
                let body = Body::from(ours.clone().into_bytes());
                match self.objects.put(&key, body, PutCondition::IfAbsent).await {
                    Ok(_) => return Ok(()),
                    Err(PutError::AlreadyExists { .. }) => {
                        self.objects.get(&key, GetRange::Full).await?
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        let found = String::from_utf8_lossy(&found.bytes);
        let mut lines = found.lines();
        let (id, segments) = (lines.next().unwrap_or_default(), lines.next());
        if id != cluster_id && rules::holds(Rule::OneClusterOneStore) {
            return Err(SessionError::OtherCluster {
                key,
                found: id.to_owned(),
                expected: cluster_id.to_owned(),
            });
        }
        match segments.filter(|found| *found != self.keys.segments_root()) {
            None => Ok(()),
            Some(found) => Err(SessionError::OtherPrefix {
                found: found.to_owned(),
                ours: self.keys.segments_root().to_owned(),
            }),
        }
    }

    async fn has_had_sessions(&self) -> Result<bool, KvError> {
        let first = Range {
            span: session_record::span(self.space),
            limit: 1,
            at: None,
        };
        Ok(!self.kv.range(first).await?.entries.is_empty())
    }

    /// Begins a session.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn session(&self) -> Result<Session, SessionError> {
        for _ in 0..IDS_TRIED_MAX {
            let id = SessionId::new(rand::random());
            if id.is_zero() {
                continue;
            }
            let sent = Instant::now();
            let lease = self.kv.grant_session(self.ttl).await?;
            let registered = self.register(id, lease).await;
            if registered.is_err() {
                // It would keep its keys until its time is over.
                let _ = self.kv.revoke(lease).await;
            }
            let broker = registered?;
            let opened = self.create_open(broker, id).await;
            if let Ok(true) = opened {
                return Ok(Session {
                    id,
                    broker,
                    lease,
                    sent,
                });
            }
            // As above: the next try would wait for our own broker id.
            let _ = self.kv.revoke(lease).await;
            opened?;
            tracing::warn!(session = %id, "a random session id was in use; choosing another");
        }
        Err(SessionError::NoFreeId)
    }

    /// Claims the broker id. An id whose last session may still live is waited for: a broker that
    /// was killed comes back before its lease has ended.
    async fn register(&self, id: SessionId, lease: SessionLease) -> Result<BrokerId, SessionError> {
        let deadline = Instant::now() + self.ttl + CLAIM_GRACE;
        let mut told = false;
        loop {
            let broker = match self.broker {
                Some(broker) => broker,
                None => self.free_id().await?,
            };
            match self.claim(id, lease, broker).await {
                Err(SessionError::BrokerIdInUse { session, .. }) if Instant::now() < deadline => {
                    if self.broker.is_some() && !std::mem::replace(&mut told, true) {
                        tracing::info!(%broker, %session,
                            "the broker id has a live session; waiting for it to end");
                    }
                    tokio::time::sleep(CLAIM_PAUSE).await;
                    // Waiting must not cost our own lease.
                    self.kv.keep_alive(lease).await?;
                }
                outcome => return outcome.map(|()| broker),
            }
        }
    }

    async fn free_id(&self) -> Result<BrokerId, SessionError> {
        let claimed = range_all(self.kv, broker::span(self.space)).await?.entries;
        let claimed = claimed
            .iter()
            .filter_map(|entry| broker::parse(self.space, &entry.key).ok());
        Ok(broker::smallest_free(claimed))
    }

    /// Refuses nodes that clients would take for those of a live broker. Two brokers that start at the
    /// same moment are not caught.
    async fn check_nodes(&self, ours: &SessionRecord) -> Result<(), SessionError> {
        let ours = BrokerNode::from(ours);
        let live = range_all(self.kv, session::span(self.space)).await?.entries;
        for entry in &live {
            let theirs = seen::<SessionRecord>(Some(entry)).map_err(CommitError::from)?;
            let Some(theirs) = theirs.map(|seen| BrokerNode::from(&seen.record)) else {
                continue;
            };
            let Some(node) = ours.common(&theirs).filter(|_| theirs.id != ours.id) else {
                continue;
            };
            let direct = match theirs.is_direct() {
                true => &theirs,
                false => &ours,
            };
            let mut nodes = direct.everywhere().flat_map(NodesAt::endpoints);
            return Err(SessionError::NodeIdInUse {
                node,
                other: theirs.id,
                broker: direct.id,
                first: nodes.next().map_or(node, |first| first.id),
            });
        }
        Ok(())
    }

    fn record(&self, broker: BrokerId) -> SessionRecord {
        let named = |it: &Advertised| ListenerRecord {
            name: it.listener.clone(),
            host: it.host.clone(),
            port: it.port,
            shard_ports: it.shard_ports.clone(),
        };
        let first = &self.advertised[0];
        let is_alone = self.advertised.len() == 1 && first.listener == UNNAMED;
        let listeners = self.advertised.iter().filter(|_| !is_alone).map(named);
        SessionRecord {
            broker,
            host: first.host.clone(),
            port: first.port,
            rack: self.rack.map(str::to_owned),
            shard_ports: first.shard_ports.clone(),
            listeners: listeners.collect(),
            state: SessionState::Healthy,
        }
    }

    async fn claim(
        &self,
        id: SessionId,
        lease: SessionLease,
        broker: BrokerId,
    ) -> Result<(), SessionError> {
        let record = self.record(broker);
        self.check_nodes(&record).await?;
        let registration = Registration {
            session: id,
            lease,
            record,
            started_ms: self.now,
        };
        let planned = plan::open_session(self.space, registration);
        let outcome = commit(self.kv, &session::key(self.space, id), &planned, None).await;
        let Err(CommitError::Superseded) = outcome else {
            return outcome.map(drop).map_err(SessionError::from);
        };
        let claim = self.kv.get(broker::key(self.space, broker)).await?;
        let claim = seen::<broker::BrokerRecord>(claim.as_ref()).map_err(CommitError::from)?;
        // It may have ended between the two: then the next try succeeds.
        let session = claim.map_or(SessionId::ZERO, |claim| claim.record.session);
        Err(SessionError::BrokerIdInUse { broker, session })
    }

    /// Creates the object of sequence 0; false if there is one, whoever made it.
    async fn create_open(&self, broker: BrokerId, id: SessionId) -> Result<bool, SessionError> {
        let object = encode(WalHeader::open(broker, id), Vec::new());
        let key = self.keys.wal(broker, id, segment::WalSequence::ZERO);
        let body = Body::new(object.chunks).with_crc32(object.crc32);
        match self.objects.put(&key, body, PutCondition::IfAbsent).await {
            Ok(_) => Ok(true),
            Err(PutError::AlreadyExists { .. }) => Ok(!rules::holds(Rule::OpenProvesPrefixNew)),
            Err(error) => Err(error.into()),
        }
    }
}
