//! The simulated side: in memory, a virtual clock, faults on demand. For the simulator and tests.
//!
//! Time is what the test last passed to [`Simulated::advance`]; leases end by it alone. Faults come
//! from a script ([`Simulated::inject`]) or from a seeded stream ([`Faults`]), so a run repeats
//! exactly. Futures complete at their first poll.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::apply::{self, ApplyError, Table};
use super::error::KvError;
use super::txn::{Txn, TxnReply};
use super::types::{Key, KeyValue, Revision, SessionLease, Span};
use super::watch::{WATCH_QUEUE_BATCHES, Watch, WatchBatch, WatchError, WatchHub, WatchSender};
use super::{Kv, KvFuture, KvLimits, Range, RangeReply};

/// Earlier states kept for the further pages of a paged reading; the oldest is dropped first.
const SNAPSHOTS_MAX: usize = 8;

/// What goes wrong with one transaction (or one grant or revocation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is applied and the sender is told so.
    Failed,
    /// It is applied, but the reply is lost: the sender gets [`KvError::Ambiguous`].
    AppliedReplyLost,
    /// It is lost on the way: nothing is applied, the sender gets [`KvError::Ambiguous`].
    RequestLost,
    /// The sender gets [`KvError::Ambiguous`]; the transaction is applied only when the test
    /// calls [`Simulated::land_delayed`], maybe after later ones.
    Delayed,
}

/// The seeded stream of faults: for each kind, of a million transactions so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Seed of the stream. The same seed and the same calls give the same faults.
    pub seed: u64,
    /// [`Fault::Failed`], per million.
    pub failed_ppm: u32,
    /// [`Fault::AppliedReplyLost`], per million.
    pub applied_reply_lost_ppm: u32,
    /// [`Fault::RequestLost`], per million.
    pub request_lost_ppm: u32,
    /// [`Fault::Delayed`], per million.
    pub delayed_ppm: u32,
}

/// The settings of a simulated store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedConfig {
    /// The seeded faults (none by default).
    pub faults: Faults,
    /// What fits into a transaction (etcd's limits by default).
    pub limits: KvLimits,
    /// Batches that wait for a watcher before it must read again.
    pub watch_queue_batches: usize,
}

impl Default for SimulatedConfig {
    fn default() -> Self {
        Self {
            faults: Faults::default(),
            limits: KvLimits::ETCD,
            watch_queue_batches: WATCH_QUEUE_BATCHES,
        }
    }
}

/// The simulated store; clones share one state.
#[derive(Clone, Debug)]
pub struct Simulated {
    state: Arc<Mutex<State>>,
    limits: KvLimits,
}

#[derive(Clone, Debug)]
struct Lease {
    ttl_ms: u64,
    expires_ms: u64,
}

#[derive(Debug)]
struct State {
    /// Shared with the snapshots; copied when it changes while one is held.
    keys: Arc<BTreeMap<Key, KeyValue>>,
    revision: Revision,
    leases: BTreeMap<SessionLease, Lease>,
    lease_next: i64,
    now_ms: u64,
    hub: WatchHub,
    snapshots: VecDeque<(Revision, Arc<BTreeMap<Key, KeyValue>>)>,
    faults: Faults,
    random: u64,
    script: VecDeque<Option<Fault>>,
    delayed: VecDeque<Txn>,
    reachable: bool,
}

impl Simulated {
    /// An empty store at time 0 without faults and with etcd's limits.
    pub fn new() -> Self {
        Self::with(SimulatedConfig::default())
    }

    /// An empty store at time 0.
    pub fn with(config: SimulatedConfig) -> Self {
        let state = State {
            keys: Arc::default(),
            revision: Revision::ZERO,
            leases: BTreeMap::new(),
            lease_next: 1,
            now_ms: 0,
            hub: WatchHub::new(Revision::ZERO, config.watch_queue_batches),
            snapshots: VecDeque::new(),
            faults: config.faults,
            random: config.faults.seed,
            script: VecDeque::new(),
            delayed: VecDeque::new(),
            reachable: true,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            limits: config.limits,
        }
    }

    /// Moves the clock to `now_ms` (never back) and ends the sessions whose time has run out;
    /// gives those that ended.
    pub fn advance(&self, now_ms: u64) -> Vec<SessionLease> {
        let mut state = self.lock();
        state.now_ms = state.now_ms.max(now_ms);
        let now_ms = state.now_ms;
        let expired = state
            .leases
            .iter()
            .filter(|(_, lease)| lease.expires_ms <= now_ms);
        let expired: Vec<SessionLease> = expired.map(|(session, _)| *session).collect();
        for session in &expired {
            state.end_session(*session);
        }
        expired
    }

    /// The virtual time, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.lock().now_ms
    }

    /// Scripts what happens to the next transaction that has no script yet: `None` = no fault.
    /// A script goes before the seeded faults.
    pub fn inject(&self, fault: impl Into<Option<Fault>>) {
        self.lock().script.push_back(fault.into());
    }

    /// Replaces the seeded faults and starts their stream anew. `Faults::default()` ends them.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.lock();
        state.random = faults.seed;
        state.faults = faults;
    }

    /// While not reachable every operation fails definitely and leases are not kept alive.
    /// Watches stay as they are and deliver nothing, since nothing changes but by expiry.
    pub fn set_reachable(&self, reachable: bool) {
        self.lock().reachable = reachable;
    }

    /// Applies the oldest delayed transaction; `false` if there is none. Its outcome reaches
    /// nobody.
    pub fn land_delayed(&self) -> bool {
        let mut state = self.lock();
        let Some(txn) = state.delayed.pop_front() else {
            return false;
        };
        // Its sender was told "ambiguous" long ago.
        let _ = state.apply(&txn);
        true
    }

    /// How many transactions are delayed.
    pub fn delayed_count(&self) -> usize {
        self.lock().delayed.len()
    }

    /// Compacts: every watch ends with `Compacted`, earlier revisions cannot be read.
    pub fn compact(&self) {
        let mut state = self.lock();
        let revision = state.revision;
        state.hub.compact(revision);
        state.snapshots.clear();
    }

    /// The current revision.
    pub fn revision(&self) -> Revision {
        self.lock().revision
    }

    /// All keys in order: for checkers and for comparing two runs.
    pub fn dump(&self) -> Vec<KeyValue> {
        self.lock().keys.values().cloned().collect()
    }

    /// A store of its own with the same keys, revision, leases and time, without watches, faults
    /// and delayed transactions: to try what would have happened.
    #[must_use]
    pub fn fork(&self) -> Simulated {
        let state = self.lock();
        let leases = state
            .leases
            .iter()
            .map(|(session, lease)| (*session, lease.clone()));
        let forked = State {
            keys: Arc::clone(&state.keys),
            revision: state.revision,
            leases: leases.collect(),
            lease_next: state.lease_next,
            now_ms: state.now_ms,
            hub: WatchHub::new(state.revision, WATCH_QUEUE_BATCHES),
            snapshots: VecDeque::new(),
            faults: Faults::default(),
            random: 0,
            script: VecDeque::new(),
            delayed: VecDeque::new(),
            reachable: true,
        };
        Simulated {
            state: Arc::new(Mutex::new(forked)),
            limits: self.limits,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a test must not hide behind a second one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn future<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut State) -> Result<T, KvError> + Send + 'static,
    ) -> KvFuture<T> {
        let store = self.clone();
        Box::pin(async move {
            let mut state = store.lock();
            if !state.reachable {
                return Err(KvError::failed("metadata store cannot be reached"));
            }
            operation(&mut state)
        })
    }
}

impl Default for Simulated {
    fn default() -> Self {
        Self::new()
    }
}

impl Kv for Simulated {
    fn txn(&self, txn: Txn) -> KvFuture<TxnReply> {
        let limits = self.limits;
        self.future(move |state| {
            txn.validate()?;
            limits.check(&txn)?;
            match state.next_fault() {
                None => state.apply(&txn),
                Some(Fault::Failed) => Err(KvError::failed("injected")),
                Some(Fault::AppliedReplyLost) => {
                    state.apply(&txn)?;
                    Err(KvError::ambiguous("injected: reply lost"))
                }
                Some(Fault::RequestLost) => Err(KvError::ambiguous("injected: request lost")),
                Some(Fault::Delayed) => {
                    state.delayed.push_back(txn);
                    Err(KvError::ambiguous("injected: delayed"))
                }
            }
        })
    }

    fn range(&self, range: Range) -> KvFuture<RangeReply> {
        self.future(move |state| state.range(&range))
    }

    fn get(&self, key: Key) -> KvFuture<Option<KeyValue>> {
        self.future(move |state| Ok(state.keys.get(&key).cloned()))
    }

    fn watch(&self, span: Span, from: Revision) -> KvFuture<Watch> {
        self.future(move |state| {
            let current = state.revision;
            state.hub.watch(span, from, current)
        })
    }

    fn grant_session(&self, ttl: Duration) -> KvFuture<SessionLease> {
        self.future(move |state| match state.next_fault() {
            None => Ok(state.grant(ttl)),
            Some(Fault::AppliedReplyLost) => {
                state.grant(ttl);
                Err(KvError::ambiguous("injected: reply lost"))
            }
            Some(Fault::Failed) => Err(KvError::failed("injected")),
            Some(Fault::RequestLost | Fault::Delayed) => {
                Err(KvError::ambiguous("injected: request lost"))
            }
        })
    }

    fn keep_alive(&self, session: SessionLease) -> KvFuture<Duration> {
        self.future(move |state| {
            let now_ms = state.now_ms;
            let gone = KvError::SessionGone { lease: session };
            let lease = state.leases.get_mut(&session).ok_or(gone)?;
            lease.expires_ms = now_ms.saturating_add(lease.ttl_ms);
            Ok(Duration::from_millis(lease.ttl_ms))
        })
    }

    fn revoke(&self, session: SessionLease) -> KvFuture<()> {
        self.future(move |state| match state.next_fault() {
            None => {
                state.end_session(session);
                Ok(())
            }
            Some(Fault::AppliedReplyLost) => {
                state.end_session(session);
                Err(KvError::ambiguous("injected: reply lost"))
            }
            Some(Fault::Failed) => Err(KvError::failed("injected")),
            Some(Fault::RequestLost | Fault::Delayed) => {
                Err(KvError::ambiguous("injected: request lost"))
            }
        })
    }

    fn limits(&self) -> KvLimits {
        self.limits
    }
}

/// The sending end of a watch that a simulation relays: late, or cut short.
#[derive(Debug)]
pub struct Relay(Option<WatchSender>);

impl Relay {
    /// A watch, and what feeds it.
    pub fn new() -> (Self, Watch) {
        let (sender, watch) = WatchSender::channel(WATCH_QUEUE_BATCHES);
        (Self(Some(sender)), watch)
    }

    /// Passes a batch on; `false` once the watch has ended.
    pub fn send(&mut self, batch: WatchBatch) -> bool {
        self.0 = self.0.take().and_then(|sender| sender.send(batch));
        self.0.is_some()
    }

    /// Whether nobody reads any more.
    pub fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_none_or(WatchSender::is_abandoned)
    }

    /// Ends the watch.
    pub fn end(mut self, error: WatchError) {
        if let Some(sender) = self.0.take() {
            sender.end_with(error);
        }
    }
}

/// The keys and leases of the state, as a table that a transaction applies to.
struct MemoryTable<'a> {
    keys: &'a mut BTreeMap<Key, KeyValue>,
    leases: &'a BTreeMap<SessionLease, Lease>,
}

impl Table for MemoryTable<'_> {
    type Error = Infallible;

    fn get(&self, key: &Key) -> Result<Option<KeyValue>, Infallible> {
        Ok(self.keys.get(key).cloned())
    }

    fn scan(&self, span: &Span, limit: usize) -> Result<(Vec<KeyValue>, bool), Infallible> {
        Ok(scan(self.keys, span, limit))
    }

    fn put(&mut self, stored: &KeyValue) -> Result<(), Infallible> {
        self.keys.insert(stored.key.clone(), stored.clone());
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<bool, Infallible> {
        Ok(self.keys.remove(key).is_some())
    }

    fn session_lives(&self, session: SessionLease) -> bool {
        self.leases.contains_key(&session)
    }
}

impl State {
    fn apply(&mut self, txn: &Txn) -> Result<TxnReply, KvError> {
        let keys = Arc::make_mut(&mut self.keys);
        let mut table = MemoryTable {
            keys,
            leases: &self.leases,
        };
        let applied = match apply::apply(&mut table, txn, self.revision) {
            Ok(applied) => applied,
            Err(ApplyError::Refused(error)) => return Err(error),
            Err(ApplyError::Table(never)) => match never {},
        };
        if let Some(batch) = applied.batch {
            self.revision = batch.revision;
            self.hub.publish(batch);
        }
        assert!(
            applied.reply.revision == self.revision,
            "a reply carries the store's revision"
        );
        Ok(applied.reply)
    }

    fn range(&mut self, range: &Range) -> Result<RangeReply, KvError> {
        let (revision, keys) = match range.at {
            None => (self.revision, &self.keys),
            Some(at) if at == self.revision => (at, &self.keys),
            Some(at) => {
                let kept = self.snapshots.iter().find(|(revision, _)| *revision == at);
                let gone = KvError::Compacted {
                    asked: at,
                    current: self.revision,
                };
                let (_, keys) = kept.ok_or(gone)?;
                (at, keys)
            }
        };
        let (entries, more) = scan(keys, &range.span, range.limit);
        let kept = self.snapshots.iter().any(|(at, _)| *at == revision);
        if more && !kept {
            self.snapshots.push_back((revision, Arc::clone(keys)));
            if self.snapshots.len() > SNAPSHOTS_MAX {
                self.snapshots.pop_front();
            }
        }
        Ok(RangeReply {
            entries,
            revision,
            more,
        })
    }

    fn grant(&mut self, ttl: Duration) -> SessionLease {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let session = SessionLease(self.lease_next);
        self.lease_next += 1;
        let lease = Lease {
            ttl_ms,
            expires_ms: self.now_ms.saturating_add(ttl_ms),
        };
        self.leases.insert(session, lease);
        session
    }

    fn end_session(&mut self, session: SessionLease) {
        if self.leases.remove(&session).is_none() {
            return;
        }
        let bound = self
            .keys
            .values()
            .filter(|stored| stored.session == Some(session));
        let bound: Vec<Key> = bound.map(|stored| stored.key.clone()).collect();
        let keys = Arc::make_mut(&mut self.keys);
        let mut table = MemoryTable {
            keys,
            leases: &self.leases,
        };
        let Ok(batch) = apply::delete_keys(&mut table, &bound, self.revision);
        if let Some(batch) = batch {
            self.revision = batch.revision;
            self.hub.publish(batch);
        }
    }

    fn next_fault(&mut self) -> Option<Fault> {
        if let Some(scripted) = self.script.pop_front() {
            return scripted;
        }
        let faults = [
            (self.faults.failed_ppm, Fault::Failed),
            (self.faults.applied_reply_lost_ppm, Fault::AppliedReplyLost),
            (self.faults.request_lost_ppm, Fault::RequestLost),
            (self.faults.delayed_ppm, Fault::Delayed),
        ];
        if faults.iter().all(|(ppm, _)| *ppm == 0) {
            return None;
        }
        let mut draw = split_mix(&mut self.random) % 1_000_000;
        for (ppm, fault) in faults {
            if draw < u64::from(ppm) {
                return Some(fault);
            }
            draw -= u64::from(ppm);
        }
        None
    }
}

fn scan(keys: &BTreeMap<Key, KeyValue>, span: &Span, limit: usize) -> (Vec<KeyValue>, bool) {
    if span.is_empty() {
        return (Vec::new(), false);
    }
    let end = span.end().map_or(Bound::Unbounded, Bound::Excluded);
    let mut found = keys.range::<Key, _>((Bound::Included(span.start()), end));
    let limit = if limit == 0 { usize::MAX } else { limit };
    let entries = found
        .by_ref()
        .take(limit)
        .map(|(_, stored)| stored.clone())
        .collect();
    (entries, found.next().is_some())
}

/// The SplitMix64 step (Steele, Lea, Flood 2014): enough for drawing faults, and the same
/// everywhere.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
