//! The thread that owns the database: gathers waiting commands, commits, answers.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase};

use super::file::{self, SessionTables, Sessions, Source, TableFault, Tables};
use super::{JOINED_BYTES_MAX, JOINED_TXNS_MAX, OpenError, SESSION_FOREVER};
use crate::kv::apply::{self, Applied, ApplyError};
use crate::kv::watch::{WatchBatch, WatchHub};
use crate::kv::{
    Key, KeyValue, KvError, Range, RangeReply, Revision, SessionLease, Span, Txn, TxnReply, Watch,
};

/// Earlier states kept for the further pages of paged readings.
const SNAPSHOTS_MAX: usize = 4;

/// Commits after which an earlier state is dropped: pages that it holds cannot be used again.
const SNAPSHOT_COMMITS_MAX: u64 = 4_096;

/// Where the answer to a command goes. Dropped unused, the sender learns that none will come.
#[derive(Debug)]
pub(super) struct Reply<T>(pub(super) flume::Sender<Result<T, KvError>>);

impl<T> Reply<T> {
    fn send(self, outcome: Result<T, KvError>) {
        // A sender that waits no longer needs no answer.
        let _ = self.0.try_send(outcome);
    }
}

/// What the thread can be asked.
#[derive(Debug)]
pub(super) enum Command {
    Txn(Txn, Reply<TxnReply>),
    Revoke(SessionLease, Reply<()>),
    Range(Range, Reply<RangeReply>),
    Get(Key, Reply<Option<KeyValue>>),
    Watch(Span, Revision, Reply<Watch>),
    Grant(Reply<SessionLease>),
    KeepAlive(SessionLease, Reply<Duration>),
    Close(Reply<()>),
}

/// The receiving end of the commands. However the thread ends, every command in it is answered.
pub(super) struct Inbox {
    pub(super) commands: flume::Receiver<Command>,
    pub(super) closed: Arc<AtomicBool>,
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // First the flag, then the drain: a command sent before the flag was set is found here,
        // the sender of a later one sees the flag.
        self.closed.store(true, Ordering::SeqCst);
        for command in self.commands.try_iter() {
            refuse(command, KvError::Closed);
        }
    }
}

/// A change that waits for the next commit.
enum Write {
    Txn(Txn, Reply<TxnReply>),
    Revoke(SessionLease, Reply<()>),
}

impl Write {
    fn refuse(self, error: KvError) {
        match self {
            Write::Txn(_, reply) => reply.send(Err(error)),
            Write::Revoke(_, reply) => reply.send(Err(error)),
        }
    }

    fn accept(self, reply: TxnReply) {
        match self {
            Write::Txn(_, sender) => sender.send(Ok(reply)),
            Write::Revoke(_, sender) => sender.send(Ok(())),
        }
    }
}

/// The commands of one turn.
#[derive(Default)]
struct Turn {
    writes: Vec<Write>,
    write_bytes: usize,
    others: Vec<Command>,
    close: Option<Reply<()>>,
}

impl Turn {
    fn add(&mut self, command: Command) {
        assert!(self.close.is_none(), "nothing is served behind a close");
        match command {
            Command::Txn(txn, reply) => {
                self.write_bytes += txn.bytes();
                self.writes.push(Write::Txn(txn, reply));
            }
            Command::Revoke(session, reply) => self.writes.push(Write::Revoke(session, reply)),
            Command::Close(reply) => self.close = Some(reply),
            other => self.others.push(other),
        }
    }

    fn refuse(self, error: &KvError) {
        self.writes
            .into_iter()
            .for_each(|write| write.refuse(error.clone()));
        self.others
            .into_iter()
            .for_each(|other| refuse(other, error.clone()));
    }

    fn is_full(&self) -> bool {
        self.close.is_some()
            || self.write_bytes >= JOINED_BYTES_MAX
            || self.writes.len() + self.others.len() >= JOINED_TXNS_MAX
    }
}

/// What the writes of a turn did inside a redb transaction that is not yet committed.
struct Joined {
    outcomes: Vec<Result<TxnReply, KvError>>,
    batches: Vec<WatchBatch>,
    revision: Revision,
    ended: BTreeSet<SessionLease>,
}

/// Why a turn's writes are not known to be committed.
enum CommitFault {
    /// Before the commit: certainly nothing is stored.
    Before(TableFault),
    /// By the commit, which would have reached this revision.
    During(TableFault, Joined),
}

/// An earlier state, kept for the further pages of a paged reading.
struct Snapshot {
    revision: Revision,
    commit: u64,
    read: ReadTransaction,
}

/// The owner of the database.
pub(super) struct Owner {
    source: Source,
    /// `None` after a failure, until it could be opened again.
    database: Option<Database>,
    revision: Revision,
    sessions: BTreeSet<SessionLease>,
    lease_next: i64,
    hub: WatchHub,
    snapshots: VecDeque<Snapshot>,
    commits: u64,
}

impl Owner {
    pub(super) fn open(source: Source, watch_queue_batches: usize) -> Result<Self, OpenError> {
        let (database, revision) = file::open(&source, Sessions::End)?;
        assert!(
            revision >= Revision::ZERO,
            "a file with a negative revision is refused when sessions end"
        );
        Ok(Self {
            source,
            database: Some(database),
            revision,
            sessions: BTreeSet::new(),
            lease_next: 1,
            hub: WatchHub::new(revision, watch_queue_batches),
            snapshots: VecDeque::new(),
            commits: 0,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.source.path
    }

    /// Serves commands until it is closed or nobody can send any.
    pub(super) fn run(self, inbox: Inbox) {
        let close = self.serve_until_closed(&inbox);
        // The file is closed and nothing can be sent any more before this is answered, so that
        // the directory may change hands.
        drop(inbox);
        if let Some(reply) = close {
            reply.send(Ok(()));
        }
    }

    fn serve_until_closed(mut self, inbox: &Inbox) -> Option<Reply<()>> {
        while let Ok(first) = inbox.commands.recv() {
            let mut turn = Turn::default();
            turn.add(first);
            while !turn.is_full() {
                let Ok(command) = inbox.commands.try_recv() else {
                    break;
                };
                turn.add(command);
            }
            assert!(
                turn.writes.len() + turn.others.len() <= JOINED_TXNS_MAX,
                "a turn is bounded"
            );
            let close = turn.close.take();
            self.serve_caught(turn);
            if close.is_some() {
                return close;
            }
        }
        None
    }

    /// A page damaged under the running process can make redb panic. The senders of this turn
    /// then see their replies dropped (unknown outcome), and the file is opened and checked again.
    fn serve_caught(&mut self, turn: Turn) {
        let served = std::panic::AssertUnwindSafe(|| self.serve(turn));
        if std::panic::catch_unwind(served).is_err() {
            let path = self.source.path.display();
            tracing::error!(%path, "metadata file failed unexpectedly");
            self.close_database();
        }
    }

    fn serve(&mut self, turn: Turn) {
        if self.database.is_none() {
            let known = self.revision;
            if let Err(error) = self.reopen() {
                return turn.refuse(&KvError::failed(error));
            }
            if self.revision != known {
                // Changes whose outcome was unknown are there: watchers must read again.
                self.hub.compact(self.revision);
            }
        }
        assert!(self.database.is_some(), "only an open file is served");
        if !turn.writes.is_empty() {
            self.write(turn.writes);
        }
        for command in turn.others {
            self.answer(command);
        }
    }

    fn answer(&mut self, command: Command) {
        match command {
            Command::Range(range, reply) => reply.send(self.range(&range)),
            Command::Get(key, reply) => reply.send(self.get(&key)),
            Command::Watch(span, from, reply) => {
                reply.send(self.hub.watch(span, from, self.revision));
            }
            Command::Grant(reply) => reply.send(Ok(self.grant())),
            Command::KeepAlive(session, reply) => {
                let lives = self.sessions.contains(&session);
                let gone = KvError::SessionGone { lease: session };
                reply.send(if lives {
                    Ok(SESSION_FOREVER)
                } else {
                    Err(gone)
                });
            }
            Command::Txn(..) | Command::Revoke(..) | Command::Close(_) => {
                unreachable!("sorted out when the turn was gathered")
            }
        }
    }

    fn grant(&mut self) -> SessionLease {
        let session = SessionLease(self.lease_next);
        self.lease_next += 1;
        let is_new = self.sessions.insert(session);
        assert!(is_new, "a lease is granted once");
        session
    }

    fn write(&mut self, writes: Vec<Write>) {
        assert!(!writes.is_empty(), "a commit has writes");
        let before = self.revision;
        match self.commit(&writes) {
            Ok(joined) => self.committed(writes, joined),
            Err(CommitFault::Before(fault)) => {
                tracing::error!(?fault, "metadata transaction failed, nothing stored");
                self.close_database();
                let error = fault.into_definite();
                writes
                    .into_iter()
                    .for_each(|write| write.refuse(error.clone()));
            }
            Err(CommitFault::During(fault, joined)) => {
                tracing::error!(?fault, "metadata commit failed, reading the file again");
                self.close_database();
                let reopened = self.reopen();
                self.resolve(writes, joined, before, &fault, reopened);
            }
        }
    }

    /// Answers after a failed commit, from what the file holds.
    fn resolve(
        &mut self,
        writes: Vec<Write>,
        joined: Joined,
        before: Revision,
        fault: &TableFault,
        reopened: Result<(), OpenError>,
    ) {
        assert!(
            joined.outcomes.len() == writes.len(),
            "each write has its outcome"
        );
        if reopened.is_ok() && self.revision == joined.revision && before < joined.revision {
            // The file was written back and synced: what it holds is durable after all.
            return self.committed(writes, joined);
        }
        let definite = reopened.is_ok() && self.revision == before;
        if reopened.is_ok() && !definite {
            self.hub.compact(self.revision);
        }
        let error = if definite {
            KvError::failed(format!("metadata commit: {fault:?}"))
        } else {
            KvError::ambiguous(format!(
                "metadata commit: {fault:?}, and the file cannot be read"
            ))
        };
        for (write, outcome) in writes.into_iter().zip(joined.outcomes) {
            match outcome {
                Ok(_) => write.refuse(error.clone()),
                Err(refused) => write.refuse(refused),
            }
        }
    }

    fn committed(&mut self, writes: Vec<Write>, joined: Joined) {
        assert!(joined.revision >= self.revision, "revisions do not fall");
        assert!(
            joined.outcomes.len() == writes.len(),
            "each write has its outcome"
        );
        self.commits += 1;
        self.revision = joined.revision;
        self.sessions
            .retain(|session| !joined.ended.contains(session));
        for batch in joined.batches {
            self.hub.publish(batch);
        }
        for (write, outcome) in writes.into_iter().zip(joined.outcomes) {
            match outcome {
                Ok(reply) => write.accept(reply),
                Err(error) => write.refuse(error),
            }
        }
        let oldest = self.commits.saturating_sub(SNAPSHOT_COMMITS_MAX);
        self.snapshots.retain(|snapshot| snapshot.commit >= oldest);
    }

    /// Applies all writes in one redb transaction and commits it if it changes anything.
    fn commit(&self, writes: &[Write]) -> Result<Joined, CommitFault> {
        let database = self
            .database
            .as_ref()
            .expect("opened before anything is served");
        let before = |error: TableFault| CommitFault::Before(error);
        let mut txn = database
            .begin_write()
            .map_err(|error| before(error.into()))?;
        file::set_durable(&mut txn).map_err(before)?;
        let joined = self.join(&txn, writes).map_err(before)?;
        if joined.batches.is_empty() {
            txn.abort().map_err(|error| before(error.into()))?;
            return Ok(joined);
        }
        match txn.commit() {
            Ok(()) => Ok(joined),
            Err(error) => Err(CommitFault::During(
                TableFault::Io(error.to_string()),
                joined,
            )),
        }
    }

    fn join(&self, txn: &redb::WriteTransaction, writes: &[Write]) -> Result<Joined, TableFault> {
        let mut tables = Tables::open(txn)?;
        let mut sessions = self.sessions.clone();
        let stored = tables.revision()?;
        if stored != self.revision {
            let reason = format!("revision {stored} in the file, {} known", self.revision);
            return Err(TableFault::Corrupt(reason));
        }
        let mut joined = Joined {
            outcomes: Vec::with_capacity(writes.len()),
            batches: Vec::new(),
            revision: stored,
            ended: BTreeSet::new(),
        };
        for write in writes {
            let outcome = match write {
                Write::Txn(txn, _) => apply_txn(&mut tables, &sessions, txn, joined.revision)?,
                Write::Revoke(session, _) => {
                    sessions.remove(session);
                    joined.ended.insert(*session);
                    Ok(end_session(
                        &mut tables,
                        &sessions,
                        *session,
                        joined.revision,
                    )?)
                }
            };
            joined.outcomes.push(outcome.map(|applied| {
                if let Some(batch) = applied.batch {
                    joined.revision = batch.revision;
                    joined.batches.push(batch);
                }
                applied.reply
            }));
        }
        assert!(
            joined.outcomes.len() == writes.len(),
            "each write has its outcome"
        );
        assert!(
            joined.batches.is_sorted_by(|a, b| a.revision < b.revision),
            "each change has a revision of its own"
        );
        assert!(
            joined.batches.is_empty() == (joined.revision == stored),
            "a revision is a change"
        );
        tables.set_revision(joined.revision)?;
        Ok(joined)
    }

    fn get(&self, key: &Key) -> Result<Option<KeyValue>, KvError> {
        let read = || {
            let keys = self.begin_read()?.open_table(file::KEYS)?;
            file::read_key(&keys, key)
        };
        read().map_err(TableFault::into_definite)
    }

    fn range(&mut self, range: &Range) -> Result<RangeReply, KvError> {
        let at = range.at.unwrap_or(self.revision);
        let kept = self
            .snapshots
            .iter()
            .position(|snapshot| snapshot.revision == at);
        let snapshot = match kept.and_then(|index| self.snapshots.remove(index)) {
            Some(snapshot) => snapshot,
            None if at == self.revision => {
                let read = self.begin_read().map_err(TableFault::into_definite)?;
                Snapshot {
                    revision: at,
                    commit: self.commits,
                    read,
                }
            }
            None => {
                return Err(KvError::Compacted {
                    asked: at,
                    current: self.revision,
                });
            }
        };
        let read = || {
            let keys = snapshot.read.open_table(file::KEYS)?;
            file::read_span(&keys, &range.span, range.limit)
        };
        let (entries, more) = read().map_err(TableFault::into_definite)?;
        if more || (kept.is_some() && at != self.revision) {
            // Another reading may page through the same revision: it stays until it is the oldest.
            self.snapshots.push_back(snapshot);
            if self.snapshots.len() > SNAPSHOTS_MAX {
                self.snapshots.pop_front();
            }
        }
        assert!(
            self.snapshots.len() <= SNAPSHOTS_MAX,
            "old readings are bounded"
        );
        assert!(
            range.limit == 0 || entries.len() <= range.limit,
            "a page has no more than was asked for"
        );
        Ok(RangeReply {
            entries,
            revision: at,
            more,
        })
    }

    fn begin_read(&self) -> Result<ReadTransaction, TableFault> {
        let Some(database) = &self.database else {
            return Err(TableFault::Io(
                "metadata file is closed after a failure".to_string(),
            ));
        };
        Ok(database.begin_read()?)
    }

    fn close_database(&mut self) {
        self.snapshots.clear();
        self.database = None;
    }

    /// Makes the file durable as it reads, opens it and takes its revision. The caller tells the
    /// watchers if that is not the one that they know.
    fn reopen(&mut self) -> Result<(), OpenError> {
        (self.source.resync)().map_err(|source| OpenError::Io {
            path: self.source.path.clone(),
            source,
        })?;
        let (database, revision) = file::open(&self.source, Sessions::Keep)?;
        tracing::warn!(%revision, "metadata file opened again after a failure");
        assert!(
            self.snapshots.is_empty(),
            "readings end with the file they read"
        );
        self.database = Some(database);
        self.revision = revision;
        Ok(())
    }
}

fn apply_txn(
    tables: &mut Tables<'_>,
    sessions: &BTreeSet<SessionLease>,
    txn: &Txn,
    current: Revision,
) -> Result<Result<Applied, KvError>, TableFault> {
    let mut table = SessionTables { tables, sessions };
    match apply::apply(&mut table, txn, current) {
        Ok(applied) => Ok(Ok(applied)),
        Err(ApplyError::Refused(error)) => Ok(Err(error)),
        Err(ApplyError::Table(fault)) => Err(fault),
    }
}

fn end_session(
    tables: &mut Tables<'_>,
    sessions: &BTreeSet<SessionLease>,
    session: SessionLease,
    current: Revision,
) -> Result<Applied, TableFault> {
    let bound = tables.bound(Some(session))?;
    let mut table = SessionTables { tables, sessions };
    let batch = apply::delete_keys(&mut table, &bound, current)?;
    let revision = batch.as_ref().map_or(current, |batch| batch.revision);
    let reply = TxnReply {
        succeeded: true,
        revision,
        responses: Vec::new(),
    };
    Ok(Applied { reply, batch })
}

fn refuse(command: Command, error: KvError) {
    match command {
        Command::Txn(_, reply) => reply.send(Err(error)),
        Command::Revoke(_, reply) | Command::Close(reply) => reply.send(Err(error)),
        Command::Range(_, reply) => reply.send(Err(error)),
        Command::Get(_, reply) => reply.send(Err(error)),
        Command::Watch(_, _, reply) => reply.send(Err(error)),
        Command::Grant(reply) => reply.send(Err(error)),
        Command::KeepAlive(_, reply) => reply.send(Err(error)),
    }
}
