//! Requests: counts of what was asked, and a bounded log of single requests.
//!
//! A request is recorded after its effect and before its reply leaves, so that a client that has
//! the reply finds the record. A held request is recorded when it ends. Counts never forget;
//! the log forgets its oldest entries.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::operation::Operation;

/// How a request ended on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A reply with this HTTP status.
    Status(u16),
    /// A reply whose body ended too early, on command.
    Truncated,
    /// No reply: the connection was reset on command, or the request's body never came whole.
    Reset,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Record {
    /// When its head had arrived.
    pub arrived: Instant,
    /// How long it took until its reply was ready.
    pub took: Duration,
    /// What it asked for.
    pub operation: Operation,
    /// The bucket; empty for none.
    pub bucket: String,
    /// The object's key; for the LIST operations the prefix; empty for none.
    pub key: String,
    /// Bytes of the request's body as sent, with the framing of chunked signing.
    pub received: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl Record {
    /// Whether the reply was a 2xx.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self.outcome, Outcome::Status(200..=299))
    }
}

/// Handle on the counts and the log; clones share them.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Mutex<Log>,
    in_flight: AtomicUsize,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Log {
    counts: BTreeMap<Operation, u64>,
    entries: VecDeque<Record>,
}

impl Requests {
    pub(crate) fn new(capacity: usize) -> Self {
        let log = Mutex::default();
        Self(Arc::new(Inner {
            log,
            in_flight: AtomicUsize::new(0),
            capacity,
        }))
    }

    /// Requests of `operation` since the start or the last [`Requests::clear`].
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.lock().counts.get(&operation).copied().unwrap_or(0)
    }

    /// All counts that are not zero.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Operation, u64> {
        self.lock().counts.clone()
    }

    /// Logged requests of `operation` whose key begins with `prefix` and that arrived at `since`
    /// or later.
    #[must_use]
    pub fn count_since(&self, operation: Operation, prefix: &str, since: Instant) -> usize {
        self.count_where(|record| {
            record.operation == operation
                && record.arrived >= since
                && record.key.starts_with(prefix)
        })
    }

    /// Logged requests for which `wanted` holds. `wanted` runs under the log's lock: it must not
    /// call back.
    #[must_use]
    pub fn count_where(&self, mut wanted: impl FnMut(&Record) -> bool) -> usize {
        self.lock()
            .entries
            .iter()
            .filter(|record| wanted(record))
            .count()
    }

    /// A copy of the log, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<Record> {
        self.lock().entries.iter().cloned().collect()
    }

    /// Requests that have arrived and have no reply yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Relaxed)
    }

    /// Forgets all counts and the log.
    pub fn clear(&self) {
        *self.lock() = Log::default();
    }

    /// Counts a request as in flight until the guard goes.
    pub(crate) fn enter(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    pub(crate) fn record(&self, record: Record) {
        let mut log = self.lock();
        *log.counts.entry(record.operation).or_default() += 1;
        if self.0.capacity == 0 {
            return;
        }
        if log.entries.len() >= self.0.capacity {
            log.entries.pop_front();
        }
        log.entries.push_back(record);
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct InFlight(Requests);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
