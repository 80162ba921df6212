//! Tools that work on bucket and metadata themselves, whether brokers run or not.
//!
//! One thread, no session: nothing here owns a partition. What a tool changes is guarded by the
//! revisions and ETags that it has read, so that a broker that runs meanwhile is never hurt. On the
//! embedded store a tool holds the lock of the data directory, so that a running broker refuses it.

pub mod adopt;
pub mod backup;
pub mod doctor;
mod epochs;
pub mod export;
pub mod fsck;
mod left;
mod place;
pub mod restore;

use std::path::PathBuf;
use std::sync::Arc;

use coord::keys::cluster::{self, ClusterRecord, CommitMode};
use coord::keys::{CodecError, Keyspace, KeyspaceError, seen};
use coord::kv::embedded::METADATA_FILE;
use coord::kv::{Kv, KvError};
use segment::keys::KeySpace;
use store::ObjectStore;
use tokio::task::LocalSet;

use crate::config::{Config, Mode};
use crate::control::objects::Objects;
use crate::start::{
    StartError, connect_backups, health_config, key_space, open_unprobed, without_conditions,
};

/// Why a tool cannot work on a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The stores cannot be opened.
    #[error(transparent)]
    Open(#[from] StartError),
    /// The runtime of this thread cannot be made.
    #[error("start a runtime: {0}")]
    Runtime(std::io::Error),
    /// There is no data directory.
    #[error(
        "{0} holds no {METADATA_FILE}: set KAFSCALE_DATA_DIR to the directory of a broker, or \
         KAFSCALE_S3_BUCKET and KAFSCALE_ETCD_ENDPOINTS to those of a cluster"
    )]
    NoData(PathBuf),
    /// The metadata store failed.
    #[error("metadata: {0}")]
    Kv(#[from] KvError),
    /// The name of the cluster names no keys.
    #[error(transparent)]
    Space(#[from] KeyspaceError),
    /// A record cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// No broker has ever started there.
    #[error(
        "there is no cluster named {0:?}: check KAFSCALE_CLUSTER and where its metadata is, or \
         start its first broker"
    )]
    NoCluster(String),
}

/// Where a cluster keeps everything, as tools see it.
#[derive(Clone)]
pub struct Ground {
    /// The object store.
    pub store: Arc<dyn ObjectStore>,
    /// The same, bounded and retried.
    pub objects: Objects,
    /// Where backups of the metadata are kept: the same, or another bucket.
    pub backups: Objects,
    /// The metadata store.
    pub kv: Arc<dyn Kv>,
    /// Keys of objects.
    pub keys: KeySpace,
    /// Keys of metadata.
    pub space: Keyspace,
    /// How a reader is told where that is.
    pub place: String,
    /// What the cluster is; none where no broker has ever started.
    pub cluster: Option<ClusterRecord>,
    /// Its name.
    pub name: String,
}

impl Ground {
    /// What the cluster is.
    ///
    /// # Errors
    /// [`ToolError::NoCluster`] where no broker has ever started.
    pub fn cluster(&self) -> Result<&ClusterRecord, ToolError> {
        let none = || ToolError::NoCluster(self.name.clone());
        self.cluster.as_ref().ok_or_else(none)
    }

    /// How WAL objects are committed.
    ///
    /// # Errors
    /// [`ToolError::NoCluster`] where no broker has ever started.
    pub fn mode(&self) -> Result<CommitMode, ToolError> {
        Ok(self.cluster()?.commit_mode)
    }
}

/// Carries out the work of a tool on this thread.
///
/// # Errors
/// [`ToolError::Runtime`].
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, ToolError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ToolError::Runtime)?;
    let outcome = LocalSet::new().block_on(&runtime, work);
    // A lookup of a name that hangs must not keep the process.
    runtime.shutdown_background();
    Ok(outcome)
}

/// Opens the stores that the settings name. Writes nothing.
///
/// # Errors
/// [`ToolError`]; a data directory that a broker uses is refused.
pub async fn open(config: &Config) -> Result<Ground, ToolError> {
    if config.mode() == Mode::Embedded {
        let directory = &config.log.data_dir;
        if !directory.join(METADATA_FILE).is_file() {
            return Err(ToolError::NoData(directory.clone()));
        }
    }
    let (store, kv, place) = open_unprobed(config).await?;
    let apart = connect_backups(config).await?;
    ground(config, (store, kv, place), apart).await
}

/// A ground on stores that are open: the object store, the metadata store, and how a reader is told where they are.
/// Backups are kept in the first, or in `apart`.
///
/// # Errors
/// [`ToolError`].
pub async fn ground(
    config: &Config,
    (store, kv, place): (Arc<dyn ObjectStore>, Arc<dyn Kv>, String),
    apart: Option<Arc<dyn ObjectStore>>,
) -> Result<Ground, ToolError> {
    let keys = key_space(config)?;
    let space = Keyspace::new(&config.broker.cluster)?;
    let cluster = kv.get(cluster::key(&space)).await?;
    let cluster = seen::<ClusterRecord>(cluster.as_ref())?.map(|seen| seen.record);
    let is_guarded = |it: &ClusterRecord| it.commit_mode == CommitMode::Guarded;
    let is_guarded = cluster.as_ref().is_some_and(is_guarded);
    let kept = |store| match is_guarded {
        true => without_conditions(store),
        false => store,
    };
    let store = kept(store);
    let metrics = Arc::default();
    let bounded = |store, metrics| {
        let health = health_config(config);
        Objects::new(store, metrics, config.s3.concurrency, health)
    };
    let objects = bounded(store.clone(), metrics);
    let apart = apart.map(kept);
    let backups = apart.map_or_else(|| objects.clone(), |store| bounded(store, Arc::default()));
    Ok(Ground {
        objects,
        backups,
        store,
        kv,
        keys,
        space,
        place,
        cluster,
        name: config.broker.cluster.clone(),
    })
}

#[cfg(test)]
pub(crate) mod testing {
    //! Grounds for tests.

    use std::time::Duration;

    use super::*;
    use crate::control::health::HealthConfig;

    /// Stores of a cluster that never fail, as a tool sees them.
    pub(crate) fn ground(store: Arc<dyn ObjectStore>, kv: Arc<dyn Kv>, mode: CommitMode) -> Ground {
        let never = HealthConfig {
            window: Duration::from_secs(60),
            latency: (Duration::from_secs(60), Duration::from_secs(60)),
            errors: (1.0, 1.0),
        };
        let objects = Objects::new(store.clone(), Arc::default(), 64, never);
        Ground {
            backups: objects.clone(),
            objects,
            store,
            kv,
            keys: KeySpace::default(),
            space: Keyspace::new("kafscale").unwrap(),
            place: "memory".to_owned(),
            cluster: Some(ClusterRecord {
                cluster_id: "test".to_owned(),
                commit_mode: mode,
                created_ms: segment::TimestampMs::new(0),
            }),
            name: "kafscale".to_owned(),
        }
    }
}
