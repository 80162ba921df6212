//! The key-value seam: what KafScale needs of its metadata store, and nothing more.
//!
//! One trait, [`Kv`], with etcd's semantics; its sides are [`embedded`] (redb, one process),
//! [`simulated`] (in memory, virtual clock, faults on demand) and [`mod@etcd`]. The same conformance tests
//! run against every side (`tests/kv_conformance.rs`).
//!
//! Invariants, on every side:
//! - the revision rises by exactly one with each transaction that changes a key;
//! - a transaction applies as a whole or not at all, and its compares see one state;
//! - a key bound to a session is gone once the session has ended;
//! - an error other than [`KvError::Ambiguous`] means that nothing was applied, now or later.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

mod apply;
pub mod embedded;
mod error;
pub mod etcd;
pub mod simulated;
mod txn;
mod types;
mod wait;
mod watch;

pub use error::KvError;
pub use txn::{Compare, CompareOp, CompareTarget, NESTING_MAX, Op, OpReply, Txn, TxnReply};
pub use types::{Key, KeyValue, Revision, SessionLease, Span, Value};
pub use wait::wait;
pub use watch::{WATCH_QUEUE_BATCHES, Watch, WatchBatch, WatchError, WatchEvent};

/// Keys of one page of [`range_all`].
pub const PAGE_KEYS: usize = 1_000;

const _: () = assert!(PAGE_KEYS > 0, "0 would be all keys in one page");

/// How often [`range_all`] starts again when the revision it reads at is compacted under it.
pub const RANGE_RESTARTS_MAX: usize = 8;

/// The future of an operation. It owns what it needs, belongs to no runtime, and does nothing
/// until it is polled. Dropping it after the first poll leaves the operation's outcome unknown.
pub type KvFuture<T> = Pin<Box<dyn Future<Output = Result<T, KvError>> + Send + 'static>>;

/// A metadata store, shared as `Arc<dyn Kv>` and used from any thread and any runtime.
pub trait Kv: Send + Sync + 'static {
    /// Applies a transaction.
    ///
    /// # Errors
    /// [`KvError::Ambiguous`] if it may have been applied; any other: it was not and will not be.
    fn txn(&self, txn: Txn) -> KvFuture<TxnReply>;

    /// Reads one page of a span. See [`range_all`] for all of it at one revision.
    ///
    /// # Errors
    /// [`KvError::Compacted`] if the revision asked for is no longer kept.
    fn range(&self, range: Range) -> KvFuture<RangeReply>;

    /// Reads one key at the current revision.
    ///
    /// # Errors
    /// Those of [`Kv::range`] but [`KvError::Compacted`].
    fn get(&self, key: Key) -> KvFuture<Option<KeyValue>>;

    /// Watches the changes of a span, from those of revision `from` on: usually the revision of
    /// the reading that came before, + 1.
    ///
    /// # Errors
    /// [`KvError::Compacted`] if changes since `from` are no longer kept: read again.
    fn watch(&self, span: Span, from: Revision) -> KvFuture<Watch>;

    /// Begins a session that lives for `ttl` after each keep-alive. On the embedded store it
    /// lives until it is revoked or the process ends, whatever `ttl` is.
    ///
    /// # Errors
    /// [`KvError::Ambiguous`] may leave a session that nobody keeps alive: it expires by itself.
    fn grant_session(&self, ttl: Duration) -> KvFuture<SessionLease>;

    /// Proves the session alive; gives the time that it now has to live.
    ///
    /// # Errors
    /// [`KvError::SessionGone`] if it has ended.
    fn keep_alive(&self, session: SessionLease) -> KvFuture<Duration>;

    /// Ends the session; its keys are deleted in one transaction. Ending one that has ended
    /// is no error.
    ///
    /// # Errors
    /// As [`Kv::txn`].
    fn revoke(&self, session: SessionLease) -> KvFuture<()>;

    /// What fits into one transaction.
    fn limits(&self) -> KvLimits;
}

/// What fits into one transaction of a side. [`KvError::TooLarge`] is answered beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLimits {
    /// Operations, counted as [`Txn::operations`] counts them.
    pub operations_max: usize,
    /// Bytes of keys and values, counted as [`Txn::bytes`] counts them.
    pub bytes_max: usize,
}

impl KvLimits {
    /// etcd's defaults: `--max-txn-ops` 128; `--max-request-bytes` 1.5 MiB, of which 64 KiB are
    /// left for framing.
    pub const ETCD: KvLimits = KvLimits {
        operations_max: 128,
        bytes_max: (3 << 19) - (64 << 10),
    };

    /// No limit but memory.
    pub const NONE: KvLimits = KvLimits {
        operations_max: usize::MAX,
        bytes_max: usize::MAX,
    };

    /// Checks a transaction against the limits.
    ///
    /// # Errors
    /// [`KvError::TooLarge`] names the limit that is exceeded.
    pub fn check(&self, txn: &Txn) -> Result<(), KvError> {
        let refuse = |unit, size, limit| Err(KvError::TooLarge { unit, size, limit });
        let (operations, bytes) = (txn.operations(), txn.bytes());
        if operations > self.operations_max {
            return refuse("operations", operations, self.operations_max);
        }
        if bytes > self.bytes_max {
            return refuse("bytes", bytes, self.bytes_max);
        }
        Ok(())
    }
}

/// A reading of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The keys.
    pub span: Span,
    /// At most so many (0: all of them in one page).
    pub limit: usize,
    /// The state read: the current one, or the one at an earlier revision (further pages).
    pub at: Option<Revision>,
}

impl Range {
    /// All keys with a prefix, at the current revision.
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        Self {
            span: Span::prefix(prefix),
            limit: 0,
            at: None,
        }
    }

    /// With at most `limit` keys a page.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// One page of a reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeReply {
    /// In key order.
    pub entries: Vec<KeyValue>,
    /// The revision of the state that was read.
    pub revision: Revision,
    /// Whether the limit cut it short: the next page is [`RangeReply::next`].
    pub more: bool,
}

impl RangeReply {
    /// The reading of the next page, at the same revision; `None` after the last.
    pub fn next(&self, range: &Range) -> Option<Range> {
        let last = self.entries.last().filter(|_| self.more)?;
        let span = range.span.after(&last.key);
        Some(Range {
            span,
            limit: range.limit,
            at: Some(self.revision),
        })
    }
}

/// Reads a whole span at one revision, page by page, and starts again (boundedly) when that
/// revision is compacted meanwhile. The reply never has `more`.
///
/// # Errors
/// Those of [`Kv::range`].
pub async fn range_all(kv: &Arc<dyn Kv>, span: Span) -> Result<RangeReply, KvError> {
    let (entries, revision) = range_map(kv, span, Some).await?;
    Ok(RangeReply {
        entries,
        revision,
        more: false,
    })
}

/// As [`range_all`], but each entry is given to `map` as its page comes, and what that gives is kept in its
/// stead: the encoded form of a large span is never in memory whole.
///
/// # Errors
/// Those of [`Kv::range`].
pub async fn range_map<T, C: Default + Extend<T>>(
    kv: &Arc<dyn Kv>,
    span: Span,
    mut map: impl FnMut(KeyValue) -> Option<T>,
) -> Result<(C, Revision), KvError> {
    let mut restarts = 0;
    loop {
        match range_once(kv, span.clone(), &mut map).await {
            Err(KvError::Compacted { .. }) if restarts < RANGE_RESTARTS_MAX => restarts += 1,
            outcome => return outcome,
        }
    }
}

async fn range_once<T, C: Default + Extend<T>>(
    kv: &Arc<dyn Kv>,
    span: Span,
    map: &mut impl FnMut(KeyValue) -> Option<T>,
) -> Result<(C, Revision), KvError> {
    let mut range = Range {
        span,
        limit: PAGE_KEYS,
        at: None,
    };
    let mut all = C::default();
    loop {
        let page = kv.range(range.clone()).await?;
        assert!(
            range.at.is_none_or(|at| at == page.revision),
            "a page is read at the revision asked for"
        );
        let (next, revision) = (page.next(&range), page.revision);
        all.extend(page.entries.into_iter().filter_map(&mut *map));
        match next {
            Some(next) => range = next,
            None => return Ok((all, revision)),
        }
    }
}
