//! A directory as the object store, with the durability and the conditions of S3.
//!
//! An object is a file below the root with its key as path. A PUT writes a temporary file in
//! `{root}/.tmp`, syncs it, links it to its key (`hard_link` fails where the key exists: that is
//! `IfAbsent`) and syncs the directory: two fsyncs, of which the second is shared by all PUTs to
//! one directory that wait at once. A crash leaves at most a temporary file, removed at the next
//! start; an object is never torn.
//!
//! Whatever a read shows is durable: an entry that a running PUT has linked and not synced yet is
//! synced before a GET, HEAD, LIST or a refusal (`AlreadyExists`) tells of it, and so is each
//! directory at its first use after a start, because the process before may have crashed in
//! between. Nothing is so built on an object that a power loss takes away.
//!
//! The top of the root also holds files that are no objects (the lock, the embedded metadata); a
//! key has at least two components, so it never names them.

mod directories;
mod list;
mod lock;
mod pool;
mod read;
mod volume;
mod write;

use std::fs::{self, File};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;

use crate::error::{DeleteError, GetError, HeadError, ListError, PutError};
use crate::key::ObjectKey;
use crate::object::{
    Body, ETag, GetOutcome, GetRange, ListPage, ListRequest, ObjectMeta, PutCondition, PutOutcome,
};
use crate::{DeleteResults, ObjectStore, StoreFuture};
use directories::Directories;
pub use lock::{DirectoryLock, LOCK_FILE, LockError};
use pool::{Lost, Pool};
pub use volume::{VolumeSpace, volume_space};

/// Directory of temporary files below the root.
const TEMPORARY: &str = ".tmp";
/// Critical sections that keys are spread over.
const STRIPES: usize = 64;
/// Modification times are multiples of this: file systems keep at least so much of them.
const STAMP_NS: i64 = 1_000;

/// How a local store works.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Threads for PUT, at least 1. Also the most PUTs that run at once.
    pub writers: usize,
    /// Threads for GET, HEAD, LIST and DELETE, at least 1: reads never delay a PUT.
    pub readers: usize,
    /// Most operations that wait in each of the two queues; beyond it callers wait unqueued.
    pub queue_max: usize,
    /// Whether to check a body against its stated CRC-32 while writing (reads it once more).
    pub verify_crc32: bool,
    /// Whether reads and lists make durable what they show. Turn it off only for measurements.
    pub durable_reads: bool,
}

impl Default for LocalOptions {
    fn default() -> Self {
        let (writers, readers, queue_max) = (4, 4, 1024);
        Self {
            writers,
            readers,
            queue_max,
            verify_crc32: false,
            durable_reads: true,
        }
    }
}

/// Counters of a local store since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalStats {
    /// PUTs that succeeded.
    pub puts: u64,
    /// Bytes of those PUTs.
    pub put_bytes: u64,
    /// Syncs of files.
    pub file_syncs: u64,
    /// Syncs of directories: at most one a PUT, fewer when PUTs share them.
    pub directory_syncs: u64,
    /// Bodies checked against their CRC-32.
    pub crc32_checks: u64,
    /// Bodies that did not match it.
    pub crc32_mismatches: u64,
    /// Temporary files of a crashed process that were removed at the start.
    pub temporaries_removed: u64,
}

/// Why a directory cannot be opened as a store.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It is not ours.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file operation failed.
    #[error("open local store: {attempt} {path}: {source}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The file system cannot carry the conditions that the log needs.
    #[error("open local store: the file system of {path} {lack}; use ext4, xfs, btrfs or tmpfs")]
    Unfit {
        /// The directory.
        path: PathBuf,
        /// What it lacks.
        lack: &'static str,
    },
}

/// A directory as the object store. Works from any runtime: blocking work runs on its own threads.
///
/// Dropping it finishes the operations already queued and joins the threads; it holds the
/// [`DirectoryLock`] until then.
#[derive(Debug)]
pub struct LocalStore {
    shared: Arc<Shared>,
    writers: Pool,
    readers: Pool,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    lock: Arc<DirectoryLock>,
    options: LocalOptions,
    directories: Directories,
    /// Check-and-replace of one key is a critical section: its stripe.
    stripes: Vec<Mutex<()>>,
    next_temporary: AtomicU64,
    last_stamp_ns: AtomicI64,
    counters: Counters,
    #[cfg(test)]
    full: std::sync::atomic::AtomicBool,
}

#[derive(Debug, Default)]
struct Counters {
    puts: AtomicU64,
    put_bytes: AtomicU64,
    file_syncs: AtomicU64,
    crc32_checks: AtomicU64,
    crc32_mismatches: AtomicU64,
    temporaries_removed: AtomicU64,
}

impl LocalStore {
    /// Locks the directory `root` (made where it does not exist) and opens it as a store.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; a directory that another process uses is refused by name.
    pub fn open(root: &Path, options: LocalOptions) -> Result<Self, OpenError> {
        Self::open_locked(Arc::new(DirectoryLock::acquire(root)?), options)
    }

    /// Opens a directory that is locked already (with the embedded metadata below the same lock).
    ///
    /// Removes the temporary files of a crashed process and probes the file system. Call it once
    /// per lock: temporary files of a second store on it would be removed.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open_locked(lock: Arc<DirectoryLock>, options: LocalOptions) -> Result<Self, OpenError> {
        let root = lock.root().to_owned();
        let removed = prepare_temporary(&root)?;
        probe(&root)?;
        let counters = Counters::default();
        counters
            .temporaries_removed
            .store(removed, Ordering::Relaxed);
        let io = |source| OpenError::Io {
            attempt: "start a thread",
            path: root.clone(),
            source,
        };
        let queue_max = options.queue_max;
        let writers = Pool::start("store-write", options.writers, queue_max).map_err(io)?;
        let readers = Pool::start("store-read", options.readers, queue_max).map_err(io)?;
        let shared = Shared {
            directories: Directories::new(&root),
            root,
            lock,
            options,
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            next_temporary: AtomicU64::new(0),
            last_stamp_ns: AtomicI64::new(0),
            counters,
            #[cfg(test)]
            full: std::sync::atomic::AtomicBool::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
            writers,
            readers,
        })
    }

    /// The lock of the directory.
    pub fn lock(&self) -> &Arc<DirectoryLock> {
        &self.shared.lock
    }

    /// Counters since the store was opened.
    pub fn stats(&self) -> LocalStats {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LocalStats {
            puts: read(&counters.puts),
            put_bytes: read(&counters.put_bytes),
            file_syncs: read(&counters.file_syncs),
            directory_syncs: self.shared.directories.syncs(),
            crc32_checks: read(&counters.crc32_checks),
            crc32_mismatches: read(&counters.crc32_mismatches),
            temporaries_removed: read(&counters.temporaries_removed),
        }
    }
}

impl ObjectStore for LocalStore {
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        condition: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        let (shared, name) = (Arc::clone(&self.shared), key.clone());
        let answer = self
            .writers
            .run(move || shared.put(&key, &body, &condition));
        Box::pin(async move {
            answer.await.unwrap_or_else(|lost| {
                let (reason, outcome_unknown) = (lost.reason(), lost == Lost::Panicked);
                Err(PutError::Unavailable {
                    key: name,
                    reason,
                    outcome_unknown,
                })
            })
        })
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        let (shared, name) = (Arc::clone(&self.shared), key.clone());
        let answer = self.readers.run(move || shared.get(&key, &range));
        Box::pin(async move {
            answer.await.unwrap_or_else(|lost| {
                Err(GetError::Unavailable {
                    key: name,
                    reason: lost.reason(),
                })
            })
        })
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        let (shared, name) = (Arc::clone(&self.shared), key.clone());
        let answer = self.readers.run(move || shared.head(&key));
        Box::pin(async move {
            answer.await.unwrap_or_else(|lost| {
                Err(HeadError::Unavailable {
                    key: name,
                    reason: lost.reason(),
                })
            })
        })
    }

    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        let (shared, prefix) = (Arc::clone(&self.shared), request.prefix.clone());
        let answer = self.readers.run(move || shared.list(&request));
        Box::pin(async move {
            answer.await.unwrap_or_else(|lost| {
                Err(ListError::Unavailable {
                    prefix,
                    reason: lost.reason(),
                })
            })
        })
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        let (shared, names) = (Arc::clone(&self.shared), keys.clone());
        let answer = self.readers.run(move || shared.delete(keys));
        Box::pin(async move {
            answer.await.unwrap_or_else(|lost| {
                let outcome_unknown = lost == Lost::Panicked;
                let error = |key: &ObjectKey| DeleteError::Unavailable {
                    key: key.clone(),
                    reason: lost.reason(),
                    outcome_unknown,
                };
                names
                    .iter()
                    .map(|key| (key.clone(), Err(error(key))))
                    .collect()
            })
        })
    }
}

impl Lost {
    fn reason(self) -> String {
        match self {
            Self::NotStarted => "the local store is closed".to_owned(),
            Self::Panicked => "the operation panicked".to_owned(),
        }
    }
}

impl Shared {
    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn stripe(&self, key: &ObjectKey) -> MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        let stripe = &self.stripes[hash as usize % STRIPES];
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A modification time that no object of this store has: greater than all before.
    fn stamp(&self) -> SystemTime {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX / 2) / STAMP_NS * STAMP_NS;
        let next = |last: i64| Some(now_ns.max(last + STAMP_NS));
        let last = self
            .last_stamp_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let stamp_ns = now_ns.max(last.unwrap_or_default() + STAMP_NS);
        UNIX_EPOCH + Duration::from_nanos(stamp_ns.unsigned_abs())
    }
}

/// Nanoseconds since 1970 of a file's modification time; negative before.
fn modified_ns(metadata: &fs::Metadata) -> i128 {
    use std::os::unix::fs::MetadataExt;
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

/// Length and modification time: the latter is unique among the objects that one process writes,
/// and both survive a copy that keeps times, so that a restored directory has the same ETags.
fn etag(metadata: &fs::Metadata) -> ETag {
    ETag::new(format!(
        "\"{:x}-{:x}\"",
        metadata.len(),
        modified_ns(metadata)
    ))
}

fn meta(key: ObjectKey, metadata: &fs::Metadata) -> ObjectMeta {
    let modified_ms = i64::try_from(modified_ns(metadata) / 1_000_000).unwrap_or_default();
    ObjectMeta {
        key,
        len: metadata.len(),
        etag: etag(metadata),
        modified_ms,
    }
}

/// Whether trying again cannot help.
fn is_permanent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::DirectoryNotEmpty
            | ErrorKind::AlreadyExists
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput
            | ErrorKind::FileTooLarge
            | ErrorKind::CrossesDevices
            | ErrorKind::TooManyLinks
            | ErrorKind::Unsupported
    )
}

/// Makes `.tmp` and removes what a crashed process left there: the number of files removed.
fn prepare_temporary(root: &Path) -> Result<u64, OpenError> {
    let path = root.join(TEMPORARY);
    let io = |attempt, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io {
            attempt,
            path,
            source,
        }
    };
    match fs::create_dir(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        outcome => outcome.map_err(io("create", &path))?,
    }
    let kind = fs::symlink_metadata(&path).map_err(io("inspect", &path))?;
    if !kind.is_dir() {
        let source = io::Error::new(ErrorKind::NotADirectory, "not a directory");
        return Err(OpenError::Io {
            attempt: "use",
            path,
            source,
        });
    }
    let mut removed = 0;
    for entry in fs::read_dir(&path).map_err(io("list", &path))? {
        let entry = entry.map_err(io("list", &path))?;
        if entry
            .file_type()
            .map_err(io("inspect", &entry.path()))?
            .is_dir()
        {
            continue;
        }
        fs::remove_file(entry.path()).map_err(io("remove", &entry.path()))?;
        removed += 1;
    }
    if removed > 0 {
        tracing::info!(removed, "removed temporary files of an earlier process");
    }
    Ok(removed)
}

/// Checks once what every PUT relies on. Makes empty files only, so a full disk may pass.
fn probe(root: &Path) -> Result<(), OpenError> {
    let (first, second) = (
        root.join(TEMPORARY).join("probe"),
        root.join(TEMPORARY).join("linked"),
    );
    let unfit = |lack| OpenError::Unfit {
        path: root.to_owned(),
        lack,
    };
    let outcome = probe_files(root, &first, &second);
    for path in [&first, &second] {
        // What is left here is removed at the next start.
        let _ = fs::remove_file(path);
    }
    match outcome {
        Ok(None) => Ok(()),
        Ok(Some(lack)) => Err(unfit(lack)),
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            tracing::warn!(%error, "the disk is full: file system not probed");
            Ok(())
        }
        Err(source) => Err(OpenError::Io {
            attempt: "probe files in",
            path: root.join(TEMPORARY),
            source,
        }),
    }
}

fn probe_files(root: &Path, first: &Path, second: &Path) -> io::Result<Option<&'static str>> {
    let stamp = UNIX_EPOCH + Duration::new(1_000_000_000, 123_457_000);
    let file = File::create_new(first)?;
    file.set_modified(stamp)?;
    if file.metadata()?.modified()? != stamp {
        return Ok(Some("does not keep microseconds of file times"));
    }
    if fs::hard_link(first, second).is_err() {
        return Ok(Some("has no hard links"));
    }
    if fs::hard_link(first, second).is_ok() {
        return Ok(Some("replaces files by hard links"));
    }
    if File::open(root)?.sync_all().is_err() {
        return Ok(Some("cannot sync directories"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
