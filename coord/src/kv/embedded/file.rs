//! The database file: its tables, how an entry is stored, opening and checking it.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`, `revision` | `i64` |
//! | `keys` | key | three `i64` big-endian (create and mod revision, lease or 0), the value |
//! | `bound` | key that is bound to a session | its lease |

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table as RedbTable,
    TableDefinition, TableError, WriteTransaction,
};

use super::OpenError;
use crate::kv::apply::Table;
use crate::kv::{Key, KeyValue, KvError, Revision, SessionLease, Span, Value};

pub(super) const META: TableDefinition<'static, &str, i64> = TableDefinition::new("meta");
pub(super) const KEYS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("keys");
pub(super) const BOUND: TableDefinition<'static, &[u8], i64> = TableDefinition::new("bound");

const FORMAT: i64 = 1;
const _: () = assert!(FORMAT != 0, "0 stands for a file that names no format");
const FORMAT_ROW: &str = "format";
const REVISION_ROW: &str = "revision";

/// Memory that redb may use for pages: the system caches the file, and nothing is read from it on a path that is
/// measured in microseconds.
const CACHE_BYTES: usize = 1 << 20;

/// Create revision, mod revision and lease before the value.
const ENTRY_HEADER_BYTES: usize = 24;

const _: () = assert!(
    ENTRY_HEADER_BYTES == 3 * size_of::<i64>(),
    "the header is two revisions and a lease"
);

/// Bytes read and written back at a time when a file is made durable again.
const RESYNC_CHUNK_BYTES: usize = 1 << 20;

/// Where the database is, how it is opened and how it is made durable after a failed commit.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) open: Box<dyn Fn() -> Result<Database, DatabaseError> + Send>,
    pub(super) resync: Box<dyn Fn() -> io::Result<()> + Send>,
}

impl Source {
    /// A file on disk.
    pub(super) fn path(path: PathBuf) -> Self {
        let (to_open, to_sync) = (path.clone(), path.clone());
        Self {
            path,
            open: Box::new(move || builder().create(&to_open)),
            resync: Box::new(move || resync(&to_sync)),
        }
    }
}

/// How every database is opened: all pages are checked, since a damaged one must be an error.
pub(super) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

/// Writes every block of the file back as it reads and syncs it. After a failed fsync the system
/// may hold pages as clean that never reached the disk: what is read afterwards is only
/// trusted once it has been written and synced again.
fn resync(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)?;
    let length = file.metadata()?.len();
    let mut chunk = vec![0; RESYNC_CHUNK_BYTES];
    let mut position = 0;
    while position < length {
        assert!(
            position.is_multiple_of(RESYNC_CHUNK_BYTES as u64),
            "chunks are whole but for the last"
        );
        let left = usize::try_from(length - position).unwrap_or(RESYNC_CHUNK_BYTES);
        let block = &mut chunk[..left.min(RESYNC_CHUNK_BYTES)];
        file.read_exact_at(block, position)?;
        file.write_all_at(block, position)?;
        position += block.len() as u64;
    }
    assert!(position == length, "every block has been written back");
    file.sync_all()
}

/// Why a table could not be read or written.
#[derive(Clone, Debug)]
pub(super) enum TableFault {
    /// The file holds what was never written.
    Corrupt(String),
    /// The operating system failed, or redb after such a failure.
    Io(String),
}

impl TableFault {
    /// What a sender is told whose operation certainly did nothing.
    pub(super) fn into_definite(self) -> KvError {
        match self {
            TableFault::Corrupt(reason) => {
                let reason =
                    format!("{reason}; stop the broker and restore the file from a backup");
                KvError::Corrupt { reason }
            }
            TableFault::Io(reason) => KvError::Failed { reason },
        }
    }
}

impl From<StorageError> for TableFault {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(reason) => TableFault::Corrupt(reason),
            other => TableFault::Io(other.to_string()),
        }
    }
}

impl From<TableError> for TableFault {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(storage) => storage.into(),
            other => TableFault::Corrupt(other.to_string()),
        }
    }
}

impl From<redb::TransactionError> for TableFault {
    fn from(error: redb::TransactionError) -> Self {
        match error {
            redb::TransactionError::Storage(storage) => storage.into(),
            other => TableFault::Io(other.to_string()),
        }
    }
}

/// The tables of a write transaction.
pub(super) struct Tables<'txn> {
    meta: RedbTable<'txn, &'static str, i64>,
    keys: RedbTable<'txn, &'static [u8], &'static [u8]>,
    bound: RedbTable<'txn, &'static [u8], i64>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Self, TableFault> {
        Ok(Self {
            meta: txn.open_table(META)?,
            keys: txn.open_table(KEYS)?,
            bound: txn.open_table(BOUND)?,
        })
    }

    pub(super) fn revision(&self) -> Result<Revision, TableFault> {
        read_revision(&self.meta)
    }

    pub(super) fn set_revision(&mut self, revision: Revision) -> Result<(), TableFault> {
        self.meta.insert(REVISION_ROW, revision.0)?;
        Ok(())
    }

    /// The keys bound to a session, or to any.
    pub(super) fn bound(&self, session: Option<SessionLease>) -> Result<Vec<Key>, TableFault> {
        let mut keys = Vec::new();
        for row in self.bound.iter()? {
            let (key, lease) = row?;
            if session.is_none_or(|session| session.0 == lease.value()) {
                keys.push(Key::new(Bytes::copy_from_slice(key.value())));
            }
        }
        Ok(keys)
    }
}

/// The tables and the sessions that live: what a transaction applies to.
pub(super) struct SessionTables<'a, 'txn> {
    pub(super) tables: &'a mut Tables<'txn>,
    pub(super) sessions: &'a std::collections::BTreeSet<SessionLease>,
}

impl Table for SessionTables<'_, '_> {
    type Error = TableFault;

    fn get(&self, key: &Key) -> Result<Option<KeyValue>, TableFault> {
        read_key(&self.tables.keys, key)
    }

    fn scan(&self, span: &Span, limit: usize) -> Result<(Vec<KeyValue>, bool), TableFault> {
        read_span(&self.tables.keys, span, limit)
    }

    fn put(&mut self, stored: &KeyValue) -> Result<(), TableFault> {
        assert!(
            stored.session.is_none_or(|it| self.session_lives(it)),
            "a transaction that binds keys to a dead session is refused before it writes"
        );
        let entry = encode_entry(stored);
        let key = stored.key.as_bytes();
        self.tables.keys.insert(key, entry.as_slice())?;
        match stored.session {
            Some(session) => self.tables.bound.insert(key, session.0)?,
            None => self.tables.bound.remove(key)?,
        };
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<bool, TableFault> {
        self.tables.bound.remove(key.as_bytes())?;
        let removed = self.tables.keys.remove(key.as_bytes())?;
        Ok(removed.is_some())
    }

    fn session_lives(&self, session: SessionLease) -> bool {
        self.sessions.contains(&session)
    }
}

pub(super) fn read_key(
    keys: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &Key,
) -> Result<Option<KeyValue>, TableFault> {
    match keys.get(key.as_bytes())? {
        Some(entry) => Ok(Some(decode_entry(key.clone(), entry.value())?)),
        None => Ok(None),
    }
}

pub(super) fn read_span(
    keys: &impl ReadableTable<&'static [u8], &'static [u8]>,
    span: &Span,
    limit: usize,
) -> Result<(Vec<KeyValue>, bool), TableFault> {
    if span.is_empty() {
        return Ok((Vec::new(), false));
    }
    let start = std::ops::Bound::Included(span.start().as_bytes());
    let end = match span.end() {
        Some(end) => std::ops::Bound::Excluded(end.as_bytes()),
        None => std::ops::Bound::Unbounded,
    };
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut entries = Vec::new();
    for row in keys.range::<&[u8]>((start, end))? {
        let (key, entry) = row?;
        if entries.len() == limit {
            return Ok((entries, true));
        }
        let key = Key::new(Bytes::copy_from_slice(key.value()));
        entries.push(decode_entry(key, entry.value())?);
    }
    Ok((entries, false))
}

fn read_revision(meta: &impl ReadableTable<&'static str, i64>) -> Result<Revision, TableFault> {
    let row = meta.get(REVISION_ROW)?;
    Ok(Revision(row.map_or(0, |row| row.value())))
}

fn encode_entry(stored: &KeyValue) -> Vec<u8> {
    let lease = stored.session.map_or(0, |session| session.0);
    assert!(
        stored.create_revision <= stored.mod_revision,
        "a key is created before it changes"
    );
    let mut entry = Vec::with_capacity(ENTRY_HEADER_BYTES + stored.value.len());
    entry.extend_from_slice(&stored.create_revision.0.to_be_bytes());
    entry.extend_from_slice(&stored.mod_revision.0.to_be_bytes());
    entry.extend_from_slice(&lease.to_be_bytes());
    entry.extend_from_slice(stored.value.as_bytes());
    assert!(
        stored.create_revision > Revision::ZERO,
        "a stored key was created"
    );
    assert!(lease != 0 || stored.session.is_none(), "lease 0 means none");
    assert!(
        entry.len() == ENTRY_HEADER_BYTES + stored.value.len(),
        "an entry is a header and the value"
    );
    entry
}

fn decode_entry(key: Key, entry: &[u8]) -> Result<KeyValue, TableFault> {
    let header = entry.split_first_chunk::<ENTRY_HEADER_BYTES>();
    let Some((header, value)) = header else {
        return Err(TableFault::Corrupt(format!(
            "entry of key {key} is too short"
        )));
    };
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        i64::from_be_bytes(bytes)
    };
    let (create, modified, lease) = (number(0), number(8), number(16));
    if create <= 0 || modified < create {
        return Err(TableFault::Corrupt(format!(
            "entry of key {key} has impossible revisions"
        )));
    }
    Ok(KeyValue {
        key,
        value: Value::new(Bytes::copy_from_slice(value)),
        create_revision: Revision(create),
        mod_revision: Revision(modified),
        session: (lease != 0).then_some(SessionLease(lease)),
    })
}

/// What becomes of the keys bound to sessions when the file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sessions {
    /// The process that held them is dead: delete the keys.
    End,
    /// It is this process, which opens the file again.
    Keep,
}

/// Opens the database, checks its format, makes its tables; gives its revision.
pub(super) fn open(source: &Source, sessions: Sessions) -> Result<(Database, Revision), OpenError> {
    let path = &source.path;
    let database = open_database(source)?;
    let damaged = |fault: TableFault| match fault {
        TableFault::Corrupt(reason) => OpenError::Damaged {
            path: path.clone(),
            reason,
        },
        TableFault::Io(reason) => OpenError::Io {
            path: path.clone(),
            source: io::Error::other(reason),
        },
    };
    let stored = check_format(&database, path)?;
    let revision = match (sessions, stored) {
        // Nothing to change: a full disk does not keep the file from being read again.
        (Sessions::Keep, Some(revision)) => revision,
        (Sessions::Keep, None) | (Sessions::End, _) => {
            prepare(&database, sessions).map_err(damaged)?
        }
    };
    Ok((database, revision))
}

fn open_database(source: &Source) -> Result<Database, OpenError> {
    let path = source.path.clone();
    // redb checks what it reads, but a damaged file must not take the process down.
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (source.open)()));
    let error = match opened {
        Ok(Ok(database)) => return Ok(database),
        Ok(Err(error)) => error,
        Err(_) => {
            let reason = "checking it failed unexpectedly".to_string();
            return Err(OpenError::Damaged { path, reason });
        }
    };
    Err(match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path },
        DatabaseError::Storage(StorageError::Io(source)) if not_redb(&source) => {
            OpenError::Damaged {
                path,
                reason: source.to_string(),
            }
        }
        DatabaseError::Storage(StorageError::Io(source)) => OpenError::Io { path, source },
        other => OpenError::Damaged {
            path,
            reason: other.to_string(),
        },
    })
}

/// What redb answers for a file that it cannot parse, as an I/O error.
fn not_redb(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

/// Refuses a file of another format before anything is written to it; gives the revision of a
/// file that has one.
fn check_format(database: &Database, path: &Path) -> Result<Option<Revision>, OpenError> {
    let path = path.to_path_buf();
    let (found, revision) = match read_meta(database) {
        Ok(Some(meta)) => meta,
        Ok(None) => return Ok(None),
        Err(TableFault::Corrupt(reason)) => return Err(OpenError::Damaged { path, reason }),
        Err(TableFault::Io(reason)) => {
            return Err(OpenError::Io {
                path,
                source: io::Error::other(reason),
            });
        }
    };
    if found != FORMAT {
        return Err(OpenError::Version {
            path,
            found,
            known: FORMAT,
        });
    }
    Ok(Some(revision))
}

/// Format and revision, unless the file is new.
fn read_meta(database: &Database) -> Result<Option<(i64, Revision)>, TableFault> {
    let meta = match database.begin_read()?.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let format = meta.get(FORMAT_ROW)?.map_or(0, |row| row.value());
    Ok(Some((format, read_revision(&meta)?)))
}

fn prepare(database: &Database, sessions: Sessions) -> Result<Revision, TableFault> {
    let mut txn = database.begin_write()?;
    set_durable(&mut txn)?;
    let mut tables = Tables::open(&txn)?;
    tables.meta.insert(FORMAT_ROW, FORMAT)?;
    let before = tables.revision()?;
    let mut revision = before;
    if revision < Revision::ZERO {
        return Err(TableFault::Corrupt(format!(
            "revision {revision} in the meta table"
        )));
    }
    if sessions == Sessions::End {
        let bound = tables.bound(None)?;
        let none = std::collections::BTreeSet::new();
        let mut table = SessionTables {
            tables: &mut tables,
            sessions: &none,
        };
        if let Some(batch) = crate::kv::apply::delete_keys(&mut table, &bound, revision)? {
            revision = batch.revision;
        }
    }
    assert!(
        revision == before || revision == before.next(),
        "all keys of sessions go with one change"
    );
    tables.set_revision(revision)?;
    drop(tables);
    txn.commit()
        .map_err(|error| TableFault::Io(error.to_string()))?;
    Ok(revision)
}

/// Every commit is on the disk before anyone is answered.
pub(super) fn set_durable(txn: &mut WriteTransaction) -> Result<(), TableFault> {
    txn.set_durability(redb::Durability::Immediate)
        .map_err(|error| TableFault::Io(error.to_string()))
}
