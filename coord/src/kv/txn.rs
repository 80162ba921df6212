//! Transactions: compares, then one of two branches of operations.
//!
//! Semantics are etcd's, on every side: all compares (those of nested transactions too) are
//! evaluated before anything is written; the chosen branch applies as a whole or not at all; every
//! key that it changes gets the same, one, new revision; a read in a branch sees the writes
//! before it in that branch; a branch that changes nothing makes no revision.

use super::error::KvError;
use super::types::{Key, KeyValue, Revision, SessionLease, Span, Value};
use crate::rules::{self, Rule};

/// Depth of nesting: a transaction and the transactions in it.
pub const NESTING_MAX: usize = 2;

const _: () = assert!(NESTING_MAX > 1, "a batch holds transactions");

/// How a stored number is compared with the one in the request: stored `op` given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// Stored = given.
    Equal,
    /// Stored != given.
    NotEqual,
    /// Stored < given.
    Less,
    /// Stored > given.
    Greater,
}

/// What is compared. An absent key has mod revision 0, create revision 0 and no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// The revision of the last change of the key.
    ModRevision(Revision),
    /// The revision that created the key.
    CreateRevision(Revision),
    /// The bytes of the value. On an absent key every value compare is false.
    Value(Value),
}

/// One condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key looked at.
    pub key: Key,
    /// What of it, and the given operand.
    pub target: CompareTarget,
    /// The relation.
    pub op: CompareOp,
}

impl Compare {
    /// The key was last changed at exactly this revision (0: it is absent).
    pub fn mod_revision(key: Key, revision: Revision) -> Self {
        Self {
            key,
            target: CompareTarget::ModRevision(revision),
            op: CompareOp::Equal,
        }
    }

    /// The key is the one that was created at exactly this revision (0: it is absent).
    pub fn create_revision(key: Key, revision: Revision) -> Self {
        Self {
            key,
            target: CompareTarget::CreateRevision(revision),
            op: CompareOp::Equal,
        }
    }

    /// The key is there.
    pub fn exists(key: Key) -> Self {
        let target = CompareTarget::CreateRevision(Revision::ZERO);
        Self {
            key,
            target,
            op: CompareOp::Greater,
        }
    }

    /// The key is not there.
    pub fn absent(key: Key) -> Self {
        Self::create_revision(key, Revision::ZERO)
    }

    /// The key is there and has exactly this value.
    pub fn value(key: Key, value: Value) -> Self {
        Self {
            key,
            target: CompareTarget::Value(value),
            op: CompareOp::Equal,
        }
    }

    /// Whether the condition holds for what is stored under the key.
    pub fn holds(&self, stored: Option<&KeyValue>) -> bool {
        let ordering = match &self.target {
            CompareTarget::ModRevision(given) => stored
                .map_or(Revision::ZERO, |found| found.mod_revision)
                .cmp(given),
            CompareTarget::CreateRevision(given) => stored
                .map_or(Revision::ZERO, |found| found.create_revision)
                .cmp(given),
            CompareTarget::Value(given) => match stored {
                Some(found) => found.value.as_bytes().cmp(given.as_bytes()),
                None => return false,
            },
        };
        match self.op {
            CompareOp::Equal => ordering.is_eq(),
            CompareOp::NotEqual => ordering.is_ne(),
            CompareOp::Less => ordering.is_lt(),
            CompareOp::Greater => ordering.is_gt(),
        }
    }
}

/// One operation of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Write a key. The binding to a session is written too: without one the key is unbound.
    Put {
        /// The key.
        key: Key,
        /// Its new value.
        value: Value,
        /// The lease that the key lives and dies with, if any.
        session: Option<SessionLease>,
    },
    /// Delete one key, if it is there.
    Delete(Key),
    /// Delete every key of the span.
    DeleteSpan(Span),
    /// Read one key.
    Get(Key),
    /// Read the keys of a span, in order, at most `limit` (0: all).
    GetRange {
        /// The keys.
        span: Span,
        /// At most so many.
        limit: usize,
    },
    /// A transaction with its own compares, evaluated before anything is written. So many
    /// independent changes travel as one request, each atomic on its own.
    Txn(Box<Txn>),
}

impl Op {
    /// Write a key that is bound to no session.
    pub fn put(key: Key, value: Value) -> Self {
        Op::Put {
            key,
            value,
            session: None,
        }
    }

    /// Write a key that is bound to a session.
    pub fn put_bound(key: Key, value: Value, session: SessionLease) -> Self {
        Op::Put {
            key,
            value,
            session: Some(session),
        }
    }

    /// Delete every key with this prefix.
    pub fn delete_prefix(prefix: impl Into<Key>) -> Self {
        Op::DeleteSpan(Span::prefix(prefix))
    }
}

/// A transaction: if all compares hold, `then`, else `otherwise`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold (none: it always succeeds).
    pub compares: Vec<Compare>,
    /// What is done when they hold.
    pub then: Vec<Op>,
    /// What is done when one does not.
    pub otherwise: Vec<Op>,
}

impl Txn {
    /// An empty transaction, to be built up.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// With one more condition, which carries out a rule of the log protocol.
    #[must_use]
    pub fn rule(self, rule: Rule, compare: Compare) -> Self {
        match rules::holds(rule) {
            true => self.when(compare),
            false => self,
        }
    }

    /// With one more operation for success.
    #[must_use]
    pub fn and_then(mut self, op: Op) -> Self {
        self.then.push(op);
        self
    }

    /// With one more operation for failure.
    #[must_use]
    pub fn or_else(mut self, op: Op) -> Self {
        self.otherwise.push(op);
        self
    }

    /// One request of many independent transactions, each atomic on its own. Its reply's
    /// `responses[i]` is [`OpReply::Txn`] of the i-th.
    pub fn batch(txns: impl IntoIterator<Item = Txn>) -> Self {
        let then = txns.into_iter().map(|txn| Op::Txn(Box::new(txn))).collect();
        Self {
            compares: Vec::new(),
            then,
            otherwise: Vec::new(),
        }
    }

    /// The size that etcd's limit on operations counts: the longest of the three lists, and
    /// the largest nested transaction on top.
    pub fn operations(&self) -> usize {
        let own = self
            .compares
            .len()
            .max(self.then.len())
            .max(self.otherwise.len());
        own + self.nested().map(Txn::operations).max().unwrap_or(0)
    }

    /// Bytes of all keys and values in the request.
    pub fn bytes(&self) -> usize {
        let compares: usize = self.compares.iter().map(compare_bytes).sum();
        let ops = self.then.iter().chain(&self.otherwise);
        compares + ops.map(op_bytes).sum::<usize>()
    }

    /// Checks the rules that every side has: no empty key, no key written twice by one
    /// branch, nesting of at most [`NESTING_MAX`].
    ///
    /// # Errors
    /// [`KvError::Invalid`] with the rule that is broken.
    pub fn validate(&self) -> Result<(), KvError> {
        self.validate_at(1)?;
        check_writes(&self.then)?;
        check_writes(&self.otherwise)?;
        Ok(())
    }

    fn validate_at(&self, depth: usize) -> Result<(), KvError> {
        assert!(depth > 0, "the outermost transaction has depth 1");
        if depth > NESTING_MAX {
            return Err(KvError::invalid("transactions nested too deep"));
        }
        for compare in &self.compares {
            check_key(&compare.key)?;
        }
        for op in self.then.iter().chain(&self.otherwise) {
            match op {
                Op::Put { key, .. } | Op::Delete(key) | Op::Get(key) => check_key(key)?,
                Op::DeleteSpan(_) | Op::GetRange { .. } => {}
                Op::Txn(txn) => txn.validate_at(depth + 1)?,
            }
        }
        Ok(())
    }

    fn nested(&self) -> impl Iterator<Item = &Txn> {
        self.then
            .iter()
            .chain(&self.otherwise)
            .filter_map(|op| match op {
                Op::Txn(txn) => Some(txn.as_ref()),
                _ => None,
            })
    }
}

fn check_key(key: &Key) -> Result<(), KvError> {
    if key.is_empty() {
        Err(KvError::invalid("empty key"))
    } else {
        Ok(())
    }
}

/// What a list of operations may write.
#[derive(Default)]
struct Writes {
    puts: std::collections::BTreeSet<Key>,
    deletes: Vec<Span>,
}

/// A put may meet neither another put nor a delete of the same key in one branch.
fn check_writes(ops: &[Op]) -> Result<Writes, KvError> {
    let mut all = Writes::default();
    for op in ops {
        let writes = match op {
            Op::Put { key, .. } => Writes {
                puts: [key.clone()].into(),
                deletes: Vec::new(),
            },
            Op::Delete(key) => Writes {
                puts: Default::default(),
                deletes: vec![Span::single(key.clone())],
            },
            Op::DeleteSpan(span) => Writes {
                puts: Default::default(),
                deletes: vec![span.clone()],
            },
            Op::Get(_) | Op::GetRange { .. } => continue,
            Op::Txn(txn) => {
                // Only one of its branches will run: they may write the same keys.
                let mut writes = check_writes(&txn.then)?;
                let otherwise = check_writes(&txn.otherwise)?;
                writes.puts.extend(otherwise.puts);
                writes.deletes.extend(otherwise.deletes);
                writes
            }
        };
        merge_writes(&mut all, writes)?;
    }
    Ok(all)
}

fn merge_writes(all: &mut Writes, more: Writes) -> Result<(), KvError> {
    let meets = |puts: &std::collections::BTreeSet<Key>, span: &Span| {
        puts.range(span.start().clone()..)
            .next()
            .is_some_and(|key| span.contains(key))
    };
    let twice = more.puts.iter().find(|key| all.puts.contains(*key));
    if let Some(key) = twice {
        return Err(KvError::invalid(format!(
            "key {key} is put twice in one transaction"
        )));
    }
    let deleted = all.deletes.iter().any(|span| meets(&more.puts, span))
        || more.deletes.iter().any(|span| meets(&all.puts, span));
    if deleted {
        return Err(KvError::invalid(
            "a key is put and deleted in one transaction",
        ));
    }
    let count = all.puts.len() + more.puts.len();
    all.puts.extend(more.puts);
    all.deletes.extend(more.deletes);
    assert!(all.puts.len() == count, "no key is put twice");
    Ok(())
}

fn compare_bytes(compare: &Compare) -> usize {
    let operand = match &compare.target {
        CompareTarget::ModRevision(_) | CompareTarget::CreateRevision(_) => size_of::<i64>(),
        CompareTarget::Value(value) => value.len(),
    };
    compare.key.len() + operand
}

fn op_bytes(op: &Op) -> usize {
    let span_bytes = |span: &Span| span.start().len() + span.end().map_or(0, Key::len);
    match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete(key) | Op::Get(key) => key.len(),
        Op::DeleteSpan(span) | Op::GetRange { span, .. } => span_bytes(span),
        Op::Txn(txn) => txn.bytes(),
    }
}

/// What one operation of the branch that ran answers, in the order of the operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpReply {
    /// The key was written.
    Put,
    /// So many keys were deleted.
    Deleted {
        /// How many were there.
        count: usize,
    },
    /// The key, if it was there.
    Get(Option<KeyValue>),
    /// The keys of a span.
    Range {
        /// In key order.
        entries: Vec<KeyValue>,
        /// Whether the limit cut the answer short.
        more: bool,
    },
    /// The reply of a nested transaction.
    Txn(TxnReply),
}

/// The outcome of a transaction that reached the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnReply {
    /// Whether all compares held, so that `then` ran.
    pub succeeded: bool,
    /// The store's revision after the transaction: its own, if it changed a key.
    pub revision: Revision,
    /// One reply for each operation of the branch that ran.
    pub responses: Vec<OpReply>,
}

impl TxnReply {
    /// The key read by the `index`-th operation of the branch, when that was a `Get` that
    /// found it.
    pub fn get(&self, index: usize) -> Option<&KeyValue> {
        match self.responses.get(index)? {
            OpReply::Get(found) => found.as_ref(),
            _ => None,
        }
    }

    /// The reply of the nested transaction at `index`, when there is one.
    pub fn nested(&self, index: usize) -> Option<&TxnReply> {
        match self.responses.get(index)? {
            OpReply::Txn(reply) => Some(reply),
            _ => None,
        }
    }
}
