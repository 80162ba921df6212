//! The model etcd: revisions, transactions, leases and watches in memory, with its latencies and failures.
//!
//! As with the store, a request is a task of its own, which goes on when its broker has died.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coord::kv::simulated::{Relay, Simulated};
use coord::kv::{
    Key, KeyValue, Kv, KvError, KvFuture, KvLimits, Range, RangeReply, Revision, SessionLease,
    Span, Txn, TxnReply, Watch,
};
use tokio::sync::oneshot;

use crate::clock::{self, sleep};
use crate::crash::{self, Moment};
use crate::fault::Fault;
use crate::random::Random;
use crate::trace::{self, trace};

/// How long an answer is waited for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// When a sender notices that its connection is broken.
const CONNECTION_BREAKS_AFTER: Duration = Duration::from_millis(500);
/// How often leases are looked at.
const LEASES_EVERY: Duration = Duration::from_millis(50);
/// How often a watch whose broker is cut off looks whether it is so still.
const CUT_EVERY: Duration = Duration::from_millis(100);

/// How often each fault strikes, in parts of a million requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct EtcdRates {
    /// Shortest and longest usual latency, in milliseconds.
    pub(crate) latency_ms: (u64, u64),
    pub(crate) failed: u32,
    pub(crate) reply_lost: u32,
    pub(crate) request_lost: u32,
    pub(crate) delayed: u32,
    pub(crate) watch_late: u32,
    pub(crate) watch_twice: u32,
    pub(crate) slow_keep_alive: u32,
    /// The broker dies at a change, before or after it is applied.
    pub(crate) crash: u32,
}

impl EtcdRates {
    /// The same without faults.
    pub(crate) fn calm(&self) -> Self {
        Self {
            latency_ms: self.latency_ms,
            ..Self::default()
        }
    }
}

/// etcd, as all brokers share it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: Simulated,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rates: EtcdRates,
    random: Random,
    cut: Vec<bool>,
    /// Of each broker: changes do not arrive.
    watches_held: Vec<bool>,
    /// Of each broker: the last lease that it was granted.
    granted: Vec<Option<SessionLease>>,
    is_down: bool,
}

impl Shared {
    pub(crate) fn new(seed: u64, brokers: usize, rates: EtcdRates) -> Arc<Self> {
        Arc::new(Self {
            table: Simulated::new(),
            state: Mutex::new(State {
                rates,
                random: Random::of(seed, "etcd"),
                cut: vec![false; brokers],
                watches_held: vec![false; brokers],
                granted: vec![None; brokers],
                is_down: false,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on faults strike so often.
    pub(crate) fn set_rates(&self, rates: EtcdRates) {
        self.lock().rates = rates;
    }

    /// Ends all faults.
    pub(crate) fn calm(&self) {
        let mut state = self.lock();
        state.rates = state.rates.calm();
        state.cut.fill(false);
        state.watches_held.fill(false);
        state.is_down = false;
    }

    /// A broker does not reach etcd, or does again.
    pub(crate) fn cut(&self, broker: usize, is_cut: bool) {
        self.lock().cut[broker] = is_cut;
    }

    /// What a broker watches is held up, or arrives again.
    pub(crate) fn hold_watches(&self, broker: usize, is_held: bool) {
        self.lock().watches_held[broker] = is_held;
    }

    /// The last lease that a broker was granted.
    pub(crate) fn lease_of(&self, broker: usize) -> Option<SessionLease> {
        self.lock().granted[broker]
    }

    fn holds_watches(&self, broker: usize) -> bool {
        let state = self.lock();
        state.is_down || state.cut[broker] || state.watches_held[broker]
    }

    /// Nobody is answered: a leader is elected.
    pub(crate) fn down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    fn is_cut(&self, broker: usize) -> bool {
        let state = self.lock();
        state.is_down || state.cut[broker]
    }

    /// Ends leases in time, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            sleep(LEASES_EVERY).await;
            let now = u64::try_from(clock::read().as_millis()).unwrap_or(u64::MAX);
            for lease in self.table.advance(now) {
                trace!("etcd", "lease {lease} has ended");
            }
        }
    }

    /// The leases that keys are bound to.
    pub(crate) fn leases(&self) -> Vec<SessionLease> {
        let mut leases: Vec<SessionLease> = self
            .table
            .dump()
            .iter()
            .filter_map(|stored| stored.session)
            .collect();
        leases.sort_unstable();
        leases.dedup();
        leases
    }
}

/// etcd as one broker reaches it.
#[derive(Clone, Debug)]
pub(crate) struct ModelEtcd {
    shared: Arc<Shared>,
    broker: usize,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    Failed,
    ReplyLost,
    RequestLost,
    /// It is applied after this time; its sender is told long before.
    Delayed(Duration),
    /// Its sender dies.
    Crash(Moment),
}

impl ModelEtcd {
    pub(crate) fn new(shared: Arc<Shared>, broker: usize) -> Self {
        Self { shared, broker }
    }

    fn actor(&self) -> String {
        format!("etcd/{}", self.broker)
    }

    /// The broker dies at this request.
    fn crash(&self, moment: Moment) {
        crash::kill(
            &self.actor(),
            self.broker,
            Fault::CrashAtTransaction,
            moment,
        );
    }

    fn draw(&self, changes: bool, keeps_alive: bool) -> (Duration, Duration, Fate) {
        let mut state = self.shared.lock();
        let is_cut = state.is_down || state.cut[self.broker];
        let rates = state.rates.clone();
        let random = &mut state.random;
        let (low, high) = rates.latency_ms;
        let (there, back) = (random.millis(low..high + 1), random.millis(low..high + 1));
        let luck = random.bits();
        let mut slow = Duration::ZERO;
        if keeps_alive && random.chance(rates.slow_keep_alive) {
            trace::fault(Fault::EtcdSlowKeepAlive);
            slow = Duration::from_millis(luck % 4_000);
        }
        let mut strikes = |ppm: u32, fault: Fault| {
            let strikes = random.chance(ppm);
            if strikes {
                trace::fault(fault);
            }
            strikes
        };
        let fate = if is_cut {
            Fate::RequestLost
        } else if strikes(rates.failed, Fault::EtcdFailed) {
            Fate::Failed
        } else if !changes {
            Fate::Answered
        } else if strikes(rates.reply_lost, Fault::EtcdReplyLost) {
            Fate::ReplyLost
        } else if strikes(rates.request_lost, Fault::EtcdRequestLost) {
            Fate::RequestLost
        } else if strikes(rates.delayed, Fault::EtcdDelayed) {
            Fate::Delayed(Duration::from_millis(1_000 + luck % 10_000))
        } else if random.chance(rates.crash) {
            Fate::Crash(match luck % 2 {
                0 => Moment::Before,
                _ => Moment::After,
            })
        } else {
            Fate::Answered
        };
        (there + slow, back, fate)
    }

    fn request<T: Send + 'static>(
        &self,
        changes: bool,
        keeps_alive: bool,
        what: impl Fn(&Result<T, KvError>) -> String + Send + 'static,
        apply: impl FnOnce(&Simulated) -> KvFuture<T> + Send + 'static,
    ) -> KvFuture<T> {
        let this = self.clone();
        Box::pin(async move {
            let (there, back, fate) = this.draw(changes, keeps_alive);
            let (reply, answer) = oneshot::channel();
            let store = this.clone();
            drop(tokio::spawn(async move {
                sleep(there).await;
                let is_lost = match fate {
                    Fate::Crash(_) => true,
                    Fate::Failed => {
                        let failed = KvError::Failed {
                            reason: "injected: no leader".to_owned(),
                        };
                        return drop(reply.send(Err(failed)));
                    }
                    Fate::RequestLost => return,
                    Fate::ReplyLost => true,
                    Fate::Delayed(time) => {
                        sleep(time).await;
                        true
                    }
                    Fate::Answered => store.shared.is_cut(store.broker),
                };
                let at_effect = changes.then(crash::at_effect).flatten();
                let crash = match fate {
                    Fate::Crash(moment) => Some(moment),
                    _ => at_effect,
                };
                if crash == Some(Moment::Before) {
                    return store.crash(Moment::Before);
                }
                let outcome = apply(&store.shared.table).await;
                trace!(
                    store.actor(),
                    "{}{}",
                    what(&outcome),
                    if is_lost { ", reply lost" } else { "" }
                );
                if crash == Some(Moment::After) {
                    return store.crash(Moment::After);
                }
                sleep(back).await;
                if !is_lost {
                    drop(reply.send(outcome));
                }
            }));
            let patience = match fate {
                Fate::Answered | Fate::Failed => REQUEST_TIMEOUT,
                // The connection breaks.
                _ => there + CONNECTION_BREAKS_AFTER,
            };
            match tokio::time::timeout(patience, answer).await {
                Ok(Ok(outcome)) => outcome,
                _ if changes => Err(KvError::Ambiguous {
                    reason: "injected: no answer".to_owned(),
                }),
                _ => Err(KvError::Failed {
                    reason: "injected: no answer".to_owned(),
                }),
            }
        })
    }
}

fn told<T>(outcome: &Result<T, KvError>, ok: impl Fn(&T) -> String) -> String {
    match outcome {
        Ok(value) => ok(value),
        Err(error) => error.to_string(),
    }
}

impl Kv for ModelEtcd {
    fn txn(&self, txn: Txn) -> KvFuture<TxnReply> {
        let keys = first_key(&txn);
        let what = move |outcome: &Result<TxnReply, KvError>| {
            let reply = told(outcome, |reply| {
                format!("{} at {}", reply.succeeded, reply.revision)
            });
            format!("TXN {keys}: {reply}")
        };
        self.request(true, false, what, move |table| table.txn(txn))
    }

    fn range(&self, range: Range) -> KvFuture<RangeReply> {
        let start = range.span.start().to_string();
        let what = move |outcome: &Result<RangeReply, KvError>| {
            let reply = told(outcome, |reply| {
                format!("{} keys at {}", reply.entries.len(), reply.revision)
            });
            format!("RANGE {start}: {reply}")
        };
        self.request(false, false, what, move |table| table.range(range))
    }

    fn get(&self, key: Key) -> KvFuture<Option<KeyValue>> {
        let name = key.to_string();
        let what = move |outcome: &Result<Option<KeyValue>, KvError>| {
            let reply = told(outcome, |found| match found {
                Some(found) => format!("revision {}", found.mod_revision),
                None => "absent".to_owned(),
            });
            format!("GET {name}: {reply}")
        };
        self.request(false, false, what, move |table| table.get(key))
    }

    fn watch(&self, span: Span, from: Revision) -> KvFuture<Watch> {
        let start = span.start().to_string();
        let what = move |outcome: &Result<Watch, KvError>| {
            format!(
                "WATCH {start} from {from}: {}",
                told(outcome, |_| "ok".to_owned())
            )
        };
        let opened = self.request(false, false, what, move |table| table.watch(span, from));
        let this = self.clone();
        Box::pin(async move {
            let inner = opened.await?;
            let (relay, watch) = Relay::new();
            drop(tokio::spawn(this.relay(inner, relay)));
            Ok(watch)
        })
    }

    fn grant_session(&self, ttl: Duration) -> KvFuture<SessionLease> {
        let what = |outcome: &Result<SessionLease, KvError>| {
            format!("GRANT: {}", told(outcome, ToString::to_string))
        };
        let (shared, broker) = (self.shared.clone(), self.broker);
        self.request(true, false, what, move |table| {
            let granted = table.grant_session(ttl);
            Box::pin(async move {
                let lease = granted.await?;
                shared.lock().granted[broker] = Some(lease);
                Ok(lease)
            })
        })
    }

    fn keep_alive(&self, session: SessionLease) -> KvFuture<Duration> {
        let what = move |outcome: &Result<Duration, KvError>| {
            format!(
                "KEEP-ALIVE {session}: {}",
                told(outcome, |_| "ok".to_owned())
            )
        };
        self.request(false, true, what, move |table| table.keep_alive(session))
    }

    fn revoke(&self, session: SessionLease) -> KvFuture<()> {
        let what = move |outcome: &Result<(), KvError>| {
            format!("REVOKE {session}: {}", told(outcome, |()| "ok".to_owned()))
        };
        self.request(true, false, what, move |table| table.revoke(session))
    }

    fn limits(&self) -> KvLimits {
        KvLimits::ETCD
    }
}

impl ModelEtcd {
    /// Passes the changes of a watch on, in order, each after some time.
    async fn relay(self, mut inner: Watch, mut relay: Relay) {
        loop {
            let batch = match inner.next().await {
                Ok(batch) => batch,
                Err(error) => {
                    trace!(self.actor(), "a watch ends: {error}");
                    return relay.end(error);
                }
            };
            let mut delay = {
                let mut state = self.shared.lock();
                let (low, high) = state.rates.latency_ms;
                let late = state.rates.watch_late;
                let usual = state.random.millis(low..high + 1);
                match state.random.chance(late) {
                    true => {
                        trace::fault(Fault::EtcdWatchLate);
                        usual + state.random.millis(0..3_000)
                    }
                    false => usual,
                }
            };
            while self.shared.holds_watches(self.broker) {
                delay = delay.max(Duration::from_millis(1));
                sleep(CUT_EVERY).await;
                if relay.is_abandoned() {
                    return;
                }
            }
            sleep(delay).await;
            let is_told_twice = {
                let mut state = self.shared.lock();
                let rate = state.rates.watch_twice;
                state.random.chance(rate)
            };
            if is_told_twice {
                trace::fault(Fault::EtcdWatchTwice);
                if !relay.send(batch.clone()) {
                    return;
                }
            }
            if !relay.send(batch) {
                return;
            }
        }
    }
}

/// What a transaction is about.
fn first_key(txn: &Txn) -> String {
    let text = format!("{txn:?}");
    let key = text.split("Key(\"").nth(1);
    let key = key.and_then(|rest| rest.split('"').next());
    format!("{} ({} operations)", key.unwrap_or("?"), txn.operations())
}

/// Ends every watch, as a compaction of etcd does for those that are behind.
pub(crate) fn compact(shared: &Shared) {
    trace::fault(Fault::EtcdWatchGap);
    shared.table.compact();
}
