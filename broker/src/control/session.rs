//! One life of this broker: its random id, its keys, its WAL prefix.
//!
//! Control thread. Order (DESIGN §4): the cluster's key, then its object; the session's keys, then
//! the `open` object, whose creation proves that the WAL prefix is new; only then takeovers.

use std::sync::Arc;

use coord::keys::cluster::{self, ClusterRecord, CommitMode};
use coord::keys::plan::{self, Registration};
use coord::keys::session::{self, SessionRecord, SessionState};
use coord::keys::{Keyspace, broker, seen};
use coord::kv::{Kv, KvError, SessionLease};
use segment::keys::KeySpace;
use segment::wal::{WalHeader, encode};
use segment::{BrokerId, SessionId, TimestampMs, TopicId};
use store::{Body, GetError, GetRange, PutCondition, PutError};

use super::commit::{CommitError, commit};
use super::objects::Objects;
use crate::config::Advertised;

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
         {expected}: metadata and objects do not go together. Use the metadata that belongs to \
         these objects, or another data directory or namespace"
    )]
    OtherCluster {
        /// The object that names the cluster.
        key: String,
        /// Cluster of the objects.
        found: String,
        /// Cluster of the metadata.
        expected: String,
    },
    /// The cluster commits in a way that this build does not know.
    #[error("the cluster commits in guarded mode, which this build does not serve")]
    CommitMode,
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
    /// Our broker id.
    pub broker: BrokerId,
    /// Where clients reach us.
    pub advertised: &'a Advertised,
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

impl Begin<'_> {
    /// Finds the cluster id, creating it at the first start: first the key, then the object.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn cluster(&self) -> Result<String, SessionError> {
        let key = cluster::key(self.space);
        let found = self.kv.get(key.clone()).await?;
        let record = match seen::<ClusterRecord>(found.as_ref()).map_err(CommitError::from)? {
            Some(seen) => seen.record,
            None => {
                let record = ClusterRecord {
                    cluster_id: random_topic_id().to_string(),
                    commit_mode: CommitMode::Conditional,
                    created_ms: self.now,
                };
                let planned = plan::create_cluster(self.space, record);
                commit(self.kv, &key, &planned, None).await?.record
            }
        };
        if record.commit_mode != CommitMode::Conditional {
            return Err(SessionError::CommitMode);
        }
        self.check_cluster_object(&record.cluster_id).await?;
        Ok(record.cluster_id)
    }

    async fn check_cluster_object(&self, cluster_id: &str) -> Result<(), SessionError> {
        let key = self.keys.cluster();
        let body = Body::from(format!("{cluster_id}\n").into_bytes());
        match self.objects.put(&key, body, PutCondition::IfAbsent).await {
            Ok(_) => return Ok(()),
            Err(PutError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let found = self.objects.get(&key, GetRange::Full).await?;
        let found = String::from_utf8_lossy(&found.bytes).trim().to_owned();
        if found == cluster_id {
            return Ok(());
        }
        Err(SessionError::OtherCluster {
            key,
            found,
            expected: cluster_id.to_owned(),
        })
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
            let lease = self.kv.grant_session(self.ttl).await?;
            self.register(id, lease).await?;
            if self.create_open(id).await? {
                return Ok(Session {
                    id,
                    broker: self.broker,
                    lease,
                });
            }
            tracing::warn!(session = %id, "a random session id was in use; choosing another");
            self.kv.revoke(lease).await?;
        }
        Err(SessionError::NoFreeId)
    }

    async fn register(&self, id: SessionId, lease: SessionLease) -> Result<(), SessionError> {
        let record = SessionRecord {
            broker: self.broker,
            host: self.advertised.host.clone(),
            port: self.advertised.port,
            rack: None,
            shard_ports: Vec::new(),
            state: SessionState::Healthy,
        };
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
        let claim = self.kv.get(broker::key(self.space, self.broker)).await?;
        let claim = seen::<broker::BrokerRecord>(claim.as_ref()).map_err(CommitError::from)?;
        match claim {
            Some(claim) => {
                let session = claim.record.session;
                Err(SessionError::BrokerIdInUse {
                    broker: self.broker,
                    session,
                })
            }
            None => Err(CommitError::Superseded.into()),
        }
    }

    /// Creates the object of sequence 0; false if there is one, whoever made it.
    async fn create_open(&self, id: SessionId) -> Result<bool, SessionError> {
        let object = encode(WalHeader::open(self.broker, id), Vec::new());
        let key = self.keys.wal(self.broker, id, segment::WalSequence::ZERO);
        let body = Body::new(object.chunks).with_crc32(object.crc32);
        match self.objects.put(&key, body, PutCondition::IfAbsent).await {
            Ok(_) => Ok(true),
            Err(PutError::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
