//! One evaluation of transactions for every in-process side, so that they cannot differ.

use super::error::KvError;
use super::txn::{Op, OpReply, Txn, TxnReply};
use super::types::{Key, KeyValue, Revision, SessionLease, Span};
use super::watch::{WatchBatch, WatchEvent};

/// A table of keys that a transaction reads and writes.
pub(super) trait Table {
    /// Why the table cannot be read or written.
    type Error;

    /// The key, if it is there.
    fn get(&self, key: &Key) -> Result<Option<KeyValue>, Self::Error>;

    /// The keys of a span in order, at most `limit` (0: all), and whether there are more.
    fn scan(&self, span: &Span, limit: usize) -> Result<(Vec<KeyValue>, bool), Self::Error>;

    /// Writes a key with its revisions and binding.
    fn put(&mut self, stored: &KeyValue) -> Result<(), Self::Error>;

    /// Deletes a key; tells whether it was there.
    fn delete(&mut self, key: &Key) -> Result<bool, Self::Error>;

    /// Whether the session lives.
    fn session_lives(&self, session: SessionLease) -> bool;
}

/// Why a transaction was not applied.
#[derive(Debug)]
pub(super) enum ApplyError<E> {
    /// The transaction alone is refused; the table is untouched.
    Refused(KvError),
    /// The table failed: what was written so far must be thrown away.
    Table(E),
}

/// What a transaction did.
#[derive(Debug)]
pub(super) struct Applied {
    /// The reply to its sender.
    pub(super) reply: TxnReply,
    /// Its changes, if it changed a key.
    pub(super) batch: Option<WatchBatch>,
}

/// Which branch runs, decided for a transaction and those nested in its branch before any write.
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

/// Applies a validated transaction to a table at revision `current`.
pub(super) fn apply<T: Table>(
    table: &mut T,
    txn: &Txn,
    current: Revision,
) -> Result<Applied, ApplyError<T::Error>> {
    let path = choose(table, txn).map_err(ApplyError::Table)?;
    if let Some(session) = dead_session(table, txn, &path) {
        return Err(ApplyError::Refused(KvError::SessionGone { lease: session }));
    }
    let revision = current.next();
    let mut events = Vec::new();
    let mut reply = run(table, txn, &path, revision, &mut events).map_err(ApplyError::Table)?;
    let reached = if events.is_empty() { current } else { revision };
    assert!(reached >= current, "revisions do not fall");
    stamp(&mut reply, reached);
    let batch = (!events.is_empty()).then_some(WatchBatch { revision, events });
    Ok(Applied { reply, batch })
}

/// Deletes every key bound to a session: its end.
pub(super) fn delete_keys<T: Table>(
    table: &mut T,
    keys: &[Key],
    current: Revision,
) -> Result<Option<WatchBatch>, T::Error> {
    let mut events = Vec::new();
    for key in keys {
        if table.delete(key)? {
            events.push(WatchEvent::Delete { key: key.clone() });
        }
    }
    assert!(events.len() <= keys.len(), "a key is deleted once");
    let revision = current.next();
    Ok((!events.is_empty()).then_some(WatchBatch { revision, events }))
}

fn branch<'t>(txn: &'t Txn, path: &Path) -> &'t [Op] {
    if path.succeeded {
        &txn.then
    } else {
        &txn.otherwise
    }
}

fn choose<T: Table>(table: &T, txn: &Txn) -> Result<Path, T::Error> {
    let mut succeeded = true;
    for compare in &txn.compares {
        let stored = table.get(&compare.key)?;
        if !compare.holds(stored.as_ref()) {
            succeeded = false;
            break;
        }
    }
    let mut path = Path {
        succeeded,
        nested: Vec::new(),
    };
    for op in branch(txn, &path) {
        if let Op::Txn(nested) = op {
            path.nested.push(choose(table, nested)?);
        }
    }
    assert!(
        path.nested.len() <= branch(txn, &path).len(),
        "one path for each nested transaction"
    );
    Ok(path)
}

/// A session that the branch binds a key to and that does not live.
fn dead_session<T: Table>(table: &T, txn: &Txn, path: &Path) -> Option<SessionLease> {
    let mut nested = path.nested.iter();
    branch(txn, path).iter().find_map(|op| match op {
        Op::Put {
            session: Some(session),
            ..
        } => (!table.session_lives(*session)).then_some(*session),
        Op::Txn(inner) => dead_session(table, inner, nested.next()?),
        _ => None,
    })
}

fn run<T: Table>(
    table: &mut T,
    txn: &Txn,
    path: &Path,
    revision: Revision,
    events: &mut Vec<WatchEvent>,
) -> Result<TxnReply, T::Error> {
    let mut nested = path.nested.iter();
    let mut responses = Vec::new();
    for op in branch(txn, path) {
        let response = match op {
            Op::Put {
                key,
                value,
                session,
            } => {
                let before = table.get(key)?;
                let stored = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: before.map_or(revision, |found| found.create_revision),
                    mod_revision: revision,
                    session: *session,
                };
                assert!(
                    stored.create_revision <= revision,
                    "a key is created before it changes"
                );
                table.put(&stored)?;
                events.push(WatchEvent::Put(stored));
                OpReply::Put
            }
            Op::Delete(key) => {
                let count = delete(table, key.clone(), events)?;
                OpReply::Deleted { count }
            }
            Op::DeleteSpan(span) => {
                let (found, _) = table.scan(span, 0)?;
                let mut count = 0;
                for stored in found {
                    count += delete(table, stored.key, events)?;
                }
                OpReply::Deleted { count }
            }
            Op::Get(key) => OpReply::Get(table.get(key)?),
            Op::GetRange { span, limit } => {
                let (entries, more) = table.scan(span, *limit)?;
                OpReply::Range { entries, more }
            }
            Op::Txn(inner) => {
                let path = nested
                    .next()
                    .expect("one path was chosen for each nested transaction");
                OpReply::Txn(run(table, inner, path, revision, events)?)
            }
        };
        responses.push(response);
    }
    assert!(
        nested.next().is_none(),
        "each path that was chosen is taken"
    );
    assert!(
        responses.len() == branch(txn, path).len(),
        "each operation has its response"
    );
    Ok(TxnReply {
        succeeded: path.succeeded,
        revision,
        responses,
    })
}

fn delete<T: Table>(
    table: &mut T,
    key: Key,
    events: &mut Vec<WatchEvent>,
) -> Result<usize, T::Error> {
    let was_there = table.delete(&key)?;
    if was_there {
        events.push(WatchEvent::Delete { key });
    }
    Ok(usize::from(was_there))
}

/// Writes the revision that was reached into a reply and those nested in it.
fn stamp(reply: &mut TxnReply, revision: Revision) {
    reply.revision = revision;
    for response in &mut reply.responses {
        if let OpReply::Txn(nested) = response {
            stamp(nested, revision);
        }
    }
}
