//! The embedded side: redb in one file, owned by one thread, for one process.
//!
//! Commands reach the owner thread over a bounded channel; each is answered over a channel of its
//! own, so callers may live on any runtime or on none. **Waiting transactions are joined into one
//! redb commit** (group commit, durable before anyone is answered); each keeps its own compares and
//! its own revision, in the order of arrival.
//!
//! Sessions live as long as the process: they never expire by time, they end when they are revoked,
//! and opening the file deletes every key that was bound to one. The caller holds the lock of the
//! directory, which proves the process before this one dead; redb's own file lock is a second
//! guard.
//!
//! When a commit fails (the disk is full) the file is closed and opened again, and its revision is
//! read. If it is the one from before, the transactions definitely failed: redb switches to new
//! pages by the last write of a commit, so pages without that switch are never read. If it is the
//! new one, the switch is in the file but its fsync was not confirmed: the outcome is
//! [`KvError::Ambiguous`], and reading tells. If the file cannot be opened, it is ambiguous too. In
//! every case the next command tries to open it again, so that the store works again once there is
//! room.

#[cfg(test)]
mod faults;
mod file;
mod owner;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::KvError;
use super::txn::{Txn, TxnReply};
use super::types::{Key, KeyValue, Revision, SessionLease, Span};
use super::watch::{WATCH_QUEUE_BATCHES, Watch};
use super::{Kv, KvFuture, KvLimits, Range, RangeReply};

use owner::{Command, Inbox, Reply};

/// Name of the database file in the data directory.
pub const METADATA_FILE: &str = "metadata.redb";

/// Commands that wait for the owner thread; a sender waits (without blocking its thread) for room.
pub const COMMANDS_MAX: usize = 4_096;

/// Transactions joined into one commit at most: bounds the wait of the first.
pub const JOINED_TXNS_MAX: usize = 1_024;

/// Bytes of keys and values joined into one commit at most (a single larger one goes alone).
pub const JOINED_BYTES_MAX: usize = 16 << 20;

const _: () = assert!(
    JOINED_TXNS_MAX <= COMMANDS_MAX,
    "as many transactions can wait as are joined"
);
const _: () = assert!(
    JOINED_BYTES_MAX >= 2 * KvLimits::ETCD.bytes_max,
    "what is within etcd's limits is joined with others"
);

/// What a keep-alive answers: embedded sessions do not expire.
pub const SESSION_FOREVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Why the embedded store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is open already, here or in another process.
    #[error("open {path}: it is in use by another broker; stop it, or set another data directory")]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The file is no redb file, or it was damaged.
    #[error(
        "open {path}: the metadata file is damaged ({reason}); restore it from a backup, or move \
         it away and run the repair command, which rebuilds topics from the objects beside it"
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was written by another version.
    #[error(
        "open {path}: metadata format {found}, this version reads {known}; use the matching one"
    )]
    Version {
        /// The database file.
        path: PathBuf,
        /// The format of the file.
        found: i64,
        /// The format that this version reads and writes.
        known: i64,
    },
    /// The operating system refused.
    #[error("open {path}: {source}")]
    Io {
        /// The database file.
        path: PathBuf,
        /// What it answered.
        source: std::io::Error,
    },
}

/// The embedded store: a handle to its owner thread. Clones share it.
#[derive(Clone, Debug)]
pub struct Embedded {
    commands: flume::Sender<Command>,
    /// Set once the owner thread answers nothing more.
    closed: Arc<AtomicBool>,
}

impl Embedded {
    /// Opens `{directory}/metadata.redb`, creating it if it is not there, and deletes all keys
    /// bound to sessions. Blocks while the file is checked; call it before serving.
    ///
    /// # Errors
    /// [`OpenError`], whose text says what to do next.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Self::open_with(directory, WATCH_QUEUE_BATCHES)
    }

    /// As [`Embedded::open`], with another bound on the batches that wait for a watcher.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_with(directory: &Path, watch_queue_batches: usize) -> Result<Self, OpenError> {
        let path = directory.join(METADATA_FILE);
        Self::start(file::Source::path(path), watch_queue_batches)
    }

    fn start(source: file::Source, watch_queue_batches: usize) -> Result<Self, OpenError> {
        let owner = owner::Owner::open(source, watch_queue_batches)?;
        let path = owner.path().to_path_buf();
        let (commands, received) = flume::bounded(COMMANDS_MAX);
        let closed = Arc::new(AtomicBool::new(false));
        let inbox = Inbox {
            commands: received,
            closed: Arc::clone(&closed),
        };
        std::thread::Builder::new()
            .name("metadata".to_string())
            .spawn(move || owner.run(inbox))
            .map_err(|source| OpenError::Io { path, source })?;
        Ok(Self { commands, closed })
    }

    /// Finishes what was sent before, closes the file and ends the owner thread. Later operations
    /// answer [`KvError::Closed`]. Without it the thread ends after the last handle is dropped.
    ///
    /// # Errors
    /// [`KvError::Closed`] if it is closed already.
    pub fn close(&self) -> KvFuture<()> {
        self.ask(Command::Close, false)
    }

    /// Sends a command and waits for its reply. A reply that never comes means that the owner
    /// thread ended first: for a change the outcome is unknown.
    fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command + Send + 'static,
        changes: bool,
    ) -> KvFuture<T> {
        let (commands, closed) = (self.commands.clone(), Arc::clone(&self.closed));
        Box::pin(async move {
            let (reply, answer) = flume::bounded(1);
            let command = command(Reply(reply));
            commands
                .send_async(command)
                .await
                .map_err(|_| KvError::Closed)?;
            drop(commands);
            if closed.load(Ordering::SeqCst) {
                // It was answered before the thread ended, or lies in a queue that nobody reads.
                return answer.try_recv().unwrap_or(Err(KvError::Closed));
            }
            match answer.into_recv_async().await {
                Ok(outcome) => outcome,
                Err(flume::RecvError::Disconnected) if changes => Err(KvError::ambiguous(
                    "metadata thread failed before it answered",
                )),
                Err(flume::RecvError::Disconnected) => {
                    Err(KvError::failed("metadata thread failed before it answered"))
                }
            }
        })
    }
}

impl Kv for Embedded {
    fn txn(&self, txn: Txn) -> KvFuture<TxnReply> {
        if let Err(error) = txn.validate() {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.ask(|reply| Command::Txn(txn, reply), true)
    }

    fn range(&self, range: Range) -> KvFuture<RangeReply> {
        self.ask(|reply| Command::Range(range, reply), false)
    }

    fn get(&self, key: Key) -> KvFuture<Option<KeyValue>> {
        self.ask(|reply| Command::Get(key, reply), false)
    }

    fn watch(&self, span: Span, from: Revision) -> KvFuture<Watch> {
        self.ask(move |reply| Command::Watch(span, from, reply), false)
    }

    fn grant_session(&self, _ttl: Duration) -> KvFuture<SessionLease> {
        self.ask(Command::Grant, false)
    }

    fn keep_alive(&self, session: SessionLease) -> KvFuture<Duration> {
        self.ask(move |reply| Command::KeepAlive(session, reply), false)
    }

    fn revoke(&self, session: SessionLease) -> KvFuture<()> {
        self.ask(move |reply| Command::Revoke(session, reply), true)
    }

    fn limits(&self) -> KvLimits {
        KvLimits::NONE
    }
}
