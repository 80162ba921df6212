//! Backups of the metadata in the object store: made, listed, read, pruned; and made on a schedule.
//!
//! Control thread, and `kafscale backup`. A backup is one object, written once, with every key of the
//! cluster at one revision but those of a lease. The first of the live brokers makes one when the
//! newest in the bucket is an interval old, whoever made that; two brokers that both take themselves
//! for the first make two, which harms nobody. Its failure is counted, told and tried again: nothing
//! else waits for it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use coord::keys::Keyspace;
use coord::kv::{Kv, KvError, range_all};
use segment::TimestampMs;
use segment::backup::{Backup, BackupEntry, BackupFormatError};
use segment::keys::{KeySpace, ObjectKey as Named};
use store::{Body, GetError, GetRange, ListError, ObjectMeta, PutCondition, PutError};

use super::context::{Context, wall_clock};
use super::objects::Objects;

/// Most bytes of keys and values that are backed up: more than etcd's usual quota of 2 GiB holds once
/// it is compacted, and what a tool may hold in memory.
const BYTES_MAX: usize = 1 << 30;
/// How often the schedule is looked at; most seconds that a metric of age is behind.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Shortest time between two tries of a backup that fails.
const RETRY_EVERY: Duration = Duration::from_secs(60);

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The metadata store failed.
    #[error("back up the metadata: {0}")]
    Kv(#[from] KvError),
    /// The metadata is larger than a backup may be.
    #[error("back up the metadata: it has {bytes} bytes, at most {BYTES_MAX} are backed up")]
    TooLarge {
        /// Bytes of keys and values.
        bytes: usize,
    },
    /// There is nothing to back up.
    #[error("back up the metadata: there is none")]
    Empty,
    /// The object store refused it.
    #[error("write backup {key}: {source}")]
    Put {
        /// Its key.
        key: String,
        /// Why not.
        source: PutError,
    },
    /// The object store refused.
    #[error("look for backups: {0}")]
    List(#[from] ListError),
    /// A backup could not be read.
    #[error(transparent)]
    Read(#[from] ReadBackupError),
}

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackupError {
    /// The object store failed.
    #[error("read backup {key}: {source}")]
    Get {
        /// Its key.
        key: String,
        /// Why not.
        source: GetError,
    },
    /// It is not what was written.
    #[error("backup {key} is damaged: {source}")]
    Damaged {
        /// Its key.
        key: String,
        /// What is wrong.
        source: BackupFormatError,
    },
    /// It was written under another name, or by another cluster.
    #[error("backup {key} is not what it should be: {what}")]
    Other {
        /// Its key.
        key: String,
        /// What differs.
        what: String,
    },
}

impl ReadBackupError {
    /// Whether it will never be readable.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Other { .. } => true,
            Self::Get { source, .. } => matches!(source, GetError::Corrupt { .. }),
        }
    }
}

/// A backup in the bucket, as LIST shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBackup {
    /// Its key.
    pub key: String,
    /// Its name: what follows the prefix of backups.
    pub name: String,
    /// When it was made, to the second.
    pub made: TimestampMs,
    /// Revision of the metadata store.
    pub revision: u64,
    /// Bytes of the object.
    pub bytes: u64,
}

/// What was deleted, and what was found out by the way.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Backups that were read, sound, and kept.
    pub kept: Vec<StoredBackup>,
    /// Backups that are damaged, and newer than the oldest that is kept: left alone.
    pub damaged: Vec<(StoredBackup, ReadBackupError)>,
    /// Older ones, which were deleted.
    pub deleted: Vec<StoredBackup>,
    /// Of these, those that could not be deleted now.
    pub failed: usize,
}

/// Where backups are.
#[derive(Debug, Clone, Copy)]
pub struct Backups<'a> {
    /// The object store.
    pub objects: &'a Objects,
    /// Its keys.
    pub keys: &'a KeySpace,
}

impl Backups<'_> {
    /// All backups, the newest first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(&self) -> Result<Vec<StoredBackup>, ListError> {
        let prefix = self.keys.backups_prefix();
        let listed = self.objects.list(&prefix, None).await?;
        let mut all: Vec<StoredBackup> = listed.iter().filter_map(|meta| self.told(meta)).collect();
        all.sort_by(|a, b| b.name.cmp(&a.name));
        Ok(all)
    }

    fn told(&self, meta: &ObjectMeta) -> Option<StoredBackup> {
        let key = meta.key.as_str();
        let Named::Backup { made, revision } = self.keys.parse(key)? else {
            return None;
        };
        Some(StoredBackup {
            key: key.to_owned(),
            name: key.strip_prefix(&self.keys.backups_prefix())?.to_owned(),
            made,
            revision,
            bytes: meta.len,
        })
    }

    /// Makes one. A backup of the same second and revision is the same.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn create(
        &self,
        kv: &Arc<dyn Kv>,
        space: &Keyspace,
        (cluster, cluster_id): (&str, &str),
        now: TimestampMs,
    ) -> Result<(StoredBackup, Backup), BackupError> {
        let all = range_all(kv, space.span()).await?;
        let bytes = all.entries.iter();
        let bytes: usize = bytes.map(|entry| entry.key.len() + entry.value.len()).sum();
        if bytes > BYTES_MAX {
            return Err(BackupError::TooLarge { bytes });
        }
        let entries = all.entries.iter().filter(|entry| entry.session.is_none());
        let entries: Vec<BackupEntry> = entries
            .map(|entry| BackupEntry {
                key: entry.key.to_bytes(),
                value: entry.value.to_bytes(),
            })
            .collect();
        if entries.is_empty() {
            return Err(BackupError::Empty);
        }
        let backup = Backup {
            cluster_id: cluster_id.to_owned(),
            cluster: cluster.to_owned(),
            revision: u64::try_from(all.revision.0).expect("revisions count up from 0"),
            made: now,
            entries,
        };
        let key = self.keys.backup(now, backup.revision);
        let bytes = backup.encode();
        let stored = StoredBackup {
            name: key[self.keys.backups_prefix().len()..].to_owned(),
            key: key.clone(),
            made: TimestampMs::new(now.get() / 1_000 * 1_000),
            revision: backup.revision,
            bytes: bytes.len() as u64,
        };
        let put = self
            .objects
            .put(&key, Body::from(bytes), PutCondition::IfAbsent);
        match put.await {
            Ok(_) | Err(PutError::AlreadyExists { .. }) => Ok((stored, backup)),
            Err(source) => Err(BackupError::Put { key, source }),
        }
    }

    /// Reads one and checks every byte of it, that it is the one that its name says, and that it is
    /// of this cluster, where that is known.
    ///
    /// # Errors
    /// [`ReadBackupError`].
    pub async fn read(
        &self,
        stored: &StoredBackup,
        cluster_id: Option<&str>,
    ) -> Result<Backup, ReadBackupError> {
        let key = stored.key.clone();
        let found = match self.objects.get(&key, GetRange::Full).await {
            Ok(found) => found.bytes,
            Err(source) => return Err(ReadBackupError::Get { key, source }),
        };
        let parsed = super::pool::run(move || Backup::parse(&found)).await;
        let parsed = parsed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let backup = match parsed {
            Ok(backup) => backup,
            Err(source) => return Err(ReadBackupError::Damaged { key, source }),
        };
        if self.keys.backup(backup.made, backup.revision) != key {
            let (made, revision) = (backup.made, backup.revision);
            let what = format!("it says that it is of revision {revision}, made at {made}");
            return Err(ReadBackupError::Other { key, what });
        }
        match cluster_id.filter(|id| *id != backup.cluster_id) {
            None => Ok(backup),
            Some(id) => {
                let what = format!("it is of cluster {}, expected {id}", backup.cluster_id);
                Err(ReadBackupError::Other { key, what })
            }
        }
    }

    /// Keeps the newest `keep` that are sound, and deletes what is older than these; nothing where
    /// there are not so many.
    ///
    /// # Errors
    /// The store failed; nothing was deleted.
    pub async fn prune(&self, keep: usize, cluster_id: &str) -> Result<Pruned, BackupError> {
        let mut all = self.list().await?.into_iter();
        let mut pruned = Pruned::default();
        if all.len() <= keep {
            pruned.kept = all.collect();
            return Ok(pruned);
        }
        while pruned.kept.len() < keep.max(1) {
            let Some(stored) = all.next() else { break };
            match self.read(&stored, Some(cluster_id)).await {
                Ok(_) => pruned.kept.push(stored),
                Err(error) if error.is_final() => pruned.damaged.push((stored, error)),
                Err(error) => return Err(error.into()),
            }
        }
        pruned.deleted = all.collect();
        let gone: Vec<String> = pruned.deleted.iter().map(|old| old.key.clone()).collect();
        if !gone.is_empty() {
            pruned.failed = self.objects.delete(&gone).await;
        }
        Ok(pruned)
    }
}

/// The schedule of one broker.
pub struct Schedule {
    context: Rc<Context>,
    every: Duration,
    /// The newest backup that is known; none: to be looked for.
    newest: Option<TimestampMs>,
    /// Before this, nothing that failed is tried again.
    rest_until: TimestampMs,
}

impl Schedule {
    /// The schedule that the settings ask for; none where they ask for none.
    pub fn new(context: Rc<Context>) -> Option<Self> {
        let usual = match context.proof.is_forever() {
            // One directory: what loses the metadata loses the backup too.
            true => Duration::ZERO,
            false => Duration::from_secs(3_600),
        };
        let every = context.config.backup.interval.unwrap_or(usual);
        (every > Duration::ZERO).then(|| Self {
            context,
            every,
            newest: None,
            rest_until: TimestampMs::ZERO,
        })
    }

    /// Makes backups, for ever.
    pub async fn run(mut self) {
        let pause = LOOK_EVERY.min(self.every);
        loop {
            self.step(wall_clock()).await;
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks whether one is due; makes it then.
    pub async fn step(&mut self, now: TimestampMs) {
        let metrics = self.context.metrics.clone();
        let first = self.context.view.nodes().first().map(|node| node.id);
        if first.is_some_and(|first| first != self.context.node.id) {
            // Another one makes them, and tells of them.
            self.newest = None;
            metrics.backup_age.set(0);
            metrics.backup_bytes.set(0);
            return;
        }
        if now < self.rest_until {
            self.tell_age(now);
            return;
        }
        if let Err(error) = self.try_step(now).await {
            metrics.backup_errors.increment();
            let rest = i64::try_from(RETRY_EVERY.min(self.every).as_millis()).unwrap_or(i64::MAX);
            self.rest_until = TimestampMs::new(now.get().saturating_add(rest));
            tracing::warn!(%error, "no backup of the metadata was made now; it is tried again");
        }
        self.tell_age(now);
    }

    async fn try_step(&mut self, now: TimestampMs) -> Result<(), BackupError> {
        let Context {
            backups: objects,
            keys,
            kv,
            space,
            config,
            cluster_id,
            metrics,
            ..
        } = &*self.context;
        let backups = Backups { objects, keys };
        if self.newest.is_none() {
            let newest = backups.list().await?.into_iter().next();
            metrics
                .backup_bytes
                .set_bytes(newest.as_ref().map_or(0, |newest| newest.bytes));
            self.newest = newest.map(|newest| newest.made);
        }
        let every = i64::try_from(self.every.as_millis()).unwrap_or(i64::MAX);
        let is_due = self
            .newest
            .is_none_or(|made| now.get() - made.get() >= every);
        if !is_due {
            return Ok(());
        }
        let name = (config.broker.cluster.as_str(), cluster_id.as_str());
        let (stored, backup) = backups.create(kv, space, name, now).await?;
        self.newest = Some(now);
        metrics.backups.increment();
        metrics.backup_bytes.set_bytes(stored.bytes);
        let (name, keys, bytes) = (stored.name, backup.entries.len(), stored.bytes);
        tracing::info!(name, keys, bytes, "backed up the metadata");
        let pruned = backups.prune(config.backup.keep, cluster_id).await?;
        for (stored, error) in &pruned.damaged {
            tracing::error!(name = stored.name, %error, "a backup cannot be used");
        }
        Ok(())
    }

    fn tell_age(&self, now: TimestampMs) {
        let age = self
            .newest
            .map_or(0, |made| (now.get() - made.get()).max(0) / 1_000);
        self.context.metrics.backup_age.set(age);
    }
}

#[cfg(test)]
mod tests;
