//! A wrapper that injects faults into any store, from a seed or a script.
//!
//! It has no clock and starts no thread: delays go through a hook of the caller ([`Sleep`]), so it
//! runs under a virtual clock. Calls draw their faults at the first poll of their future, in the
//! order of these polls; with one thread and one seed every run is the same.

mod plan;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, pending};

use crate::error::{DeleteError, GetError, HeadError, ListError, PutError};
use crate::key::ObjectKey;
use crate::object::{
    Body, GetOutcome, GetRange, ListPage, ListRequest, ObjectMeta, PutCondition, PutOutcome,
};
use crate::{DeleteResults, ObjectStore, StoreFuture};
use plan::Plan;
pub use plan::{Fault, Operation, PER_MILLION, Rule, Scripted};

/// How a faulty store waits: a future that is ready after the duration, by whatever clock.
pub type Sleep = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// Created keys remembered for stale LISTs.
const CREATED_MAX: usize = 1024;
/// Reason text of every injected error.
const INJECTED: &str = "injected fault";

/// A store that fails on purpose. Clones share plan and counters.
#[derive(Clone)]
pub struct FaultyStore<S> {
    store: S,
    sleep: Sleep,
    state: Arc<Mutex<State>>,
}

struct State {
    plan: Plan,
    created: VecDeque<ObjectKey>,
}

impl<S: ObjectStore + Clone> FaultyStore<S> {
    /// Wraps `store` without any fault yet. `sleep` serves the delays.
    pub fn new(store: S, seed: u64, sleep: Sleep) -> Self {
        let state = State {
            plan: Plan::new(seed),
            created: VecDeque::new(),
        };
        Self {
            store,
            sleep,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Wraps `store` for faults without delays: a delay is over at once.
    pub fn without_clock(store: S, seed: u64) -> Self {
        Self::new(store, seed, Arc::new(|_| Box::pin(async {})))
    }

    /// Adds a rule. Rules are drawn in the order in which they were added.
    pub fn add_rule(&self, rule: Rule) {
        self.lock().plan.add_rule(rule);
    }

    /// Adds a scripted fault.
    pub fn add_scripted(&self, scripted: Scripted) {
        self.lock().plan.add_scripted(scripted);
    }

    /// Removes all rules and the script: from now on the store is sound. Hanging calls stay.
    pub fn clear(&self) {
        self.lock().plan.clear();
    }

    /// Number of faults drawn so far.
    pub fn injected(&self) -> u64 {
        self.lock().plan.injected
    }

    /// The wrapped store.
    pub fn inner(&self) -> &S {
        &self.store
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws the faults of a call and sorts them by when they strike.
    fn draw(&self, operation: Operation, key: &str) -> Strike {
        let mut state = self.lock();
        let faults = state.plan.draw(operation, key);
        let mut strike = Strike {
            luck: state.plan.random(),
            ..Strike::default()
        };
        drop(state);
        for fault in faults {
            strike.add(fault);
        }
        strike
    }

    fn remember(&self, key: &ObjectKey) {
        let mut state = self.lock();
        if state.created.len() >= CREATED_MAX {
            state.created.pop_front();
        }
        state.created.push_back(key.clone());
    }

    /// Keys that a stale LIST leaves out.
    fn unseen(&self, last: usize) -> Vec<ObjectKey> {
        let mut state = self.lock();
        let recent: Vec<ObjectKey> = state.created.iter().rev().take(last).cloned().collect();
        recent
            .into_iter()
            .filter(|_| state.plan.random().is_multiple_of(2))
            .collect()
    }

    async fn before(&self, strike: &Strike) {
        if !strike.delay_before.is_zero() {
            (self.sleep)(strike.delay_before).await;
        }
        if strike.hang_before {
            pending::<()>().await;
        }
    }

    async fn after(&self, strike: &Strike) {
        if !strike.delay_after.is_zero() {
            (self.sleep)(strike.delay_after).await;
        }
        if strike.hang_after {
            pending::<()>().await;
        }
    }
}

impl<S: ObjectStore> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl<S: ObjectStore + Clone> ObjectStore for FaultyStore<S> {
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        condition: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        let this = self.clone();
        Box::pin(async move {
            let strike = this.draw(Operation::Put, key.as_str());
            this.before(&strike).await;
            if let Some(refusal) = strike.refusal {
                return Err(refusal.put(key));
            }
            let damaged = strike.damage_body(&body);
            if damaged.is_some() && body.crc32().is_some() {
                return Err(PutError::Corrupt {
                    key,
                    reason: INJECTED.to_owned(),
                });
            }
            let body = damaged.unwrap_or(body);
            let condition = match strike.unconditional {
                true => PutCondition::None,
                false => condition,
            };
            let outcome = this.store.put(key.clone(), body, condition).await;
            if outcome.is_ok() {
                this.remember(&key);
            }
            this.after(&strike).await;
            if strike.lost_reply {
                return Err(Refusal::Unknown.put(key));
            }
            outcome
        })
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        let this = self.clone();
        Box::pin(async move {
            let strike = this.draw(Operation::Get, key.as_str());
            this.before(&strike).await;
            if let Some(refusal) = strike.refusal {
                return Err(refusal.get(key));
            }
            let mut outcome = this.store.get(key.clone(), range).await;
            if let Ok(found) = &mut outcome
                && let Some(damaged) = strike.damage(&found.bytes)
            {
                found.bytes = damaged;
            }
            this.after(&strike).await;
            if strike.lost_reply {
                Err(Refusal::Unknown.get(key))
            } else {
                outcome
            }
        })
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        let this = self.clone();
        Box::pin(async move {
            let strike = this.draw(Operation::Head, key.as_str());
            this.before(&strike).await;
            if let Some(refusal) = strike.refusal {
                return Err(refusal.head(key));
            }
            let outcome = this.store.head(key.clone()).await;
            this.after(&strike).await;
            if strike.lost_reply {
                Err(Refusal::Unknown.head(key))
            } else {
                outcome
            }
        })
    }

    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        let this = self.clone();
        Box::pin(async move {
            let strike = this.draw(Operation::List, &request.prefix);
            this.before(&strike).await;
            let prefix = request.prefix.clone();
            if let Some(refusal) = strike.refusal {
                return Err(refusal.list(prefix));
            }
            let mut outcome = this.store.list(request).await;
            if let (Ok(page), Some(last)) = (&mut outcome, strike.stale_list) {
                let unseen = this.unseen(last);
                page.objects.retain(|object| !unseen.contains(&object.key));
            }
            this.after(&strike).await;
            if strike.lost_reply {
                Err(Refusal::Unknown.list(prefix))
            } else {
                outcome
            }
        })
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        let this = self.clone();
        Box::pin(async move {
            let mut results = Vec::with_capacity(keys.len());
            for key in keys {
                let strike = this.draw(Operation::Delete, key.as_str());
                this.before(&strike).await;
                if let Some(refusal) = strike.refusal {
                    results.push((key.clone(), Err(refusal.delete(key))));
                    continue;
                }
                let outcome = this.store.delete(vec![key.clone()]).await;
                this.after(&strike).await;
                if strike.lost_reply {
                    results.push((key.clone(), Err(Refusal::Unknown.delete(key))));
                } else {
                    results.extend(outcome);
                }
            }
            results
        })
    }
}

/// The faults of one call, by when they strike.
#[derive(Debug, Default)]
struct Strike {
    delay_before: Duration,
    hang_before: bool,
    refusal: Option<Refusal>,
    truncate: bool,
    flip: bool,
    unconditional: bool,
    stale_list: Option<usize>,
    delay_after: Duration,
    hang_after: bool,
    lost_reply: bool,
    luck: u64,
}

impl Strike {
    fn add(&mut self, fault: Fault) {
        match fault {
            Fault::ErrorBefore => self.refuse(Refusal::Unavailable),
            Fault::UnknownBefore => self.refuse(Refusal::Unknown),
            Fault::Throttled => self.refuse(Refusal::Throttled),
            Fault::Full => self.refuse(Refusal::Full),
            Fault::Conflict => self.refuse(Refusal::Conflict),
            Fault::Denied => self.refuse(Refusal::Denied),
            Fault::ErrorAfter => self.lost_reply = true,
            Fault::DelayBefore(delay) => self.delay_before += delay,
            Fault::DelayAfter(delay) => self.delay_after += delay,
            Fault::HangBefore => self.hang_before = true,
            Fault::HangAfter => self.hang_after = true,
            Fault::Truncate => self.truncate = true,
            Fault::FlipBit => self.flip = true,
            Fault::IgnoreCondition => self.unconditional = true,
            Fault::StaleList(last) => self.stale_list = Some(last),
        }
    }

    /// The first refusal drawn is the one told.
    fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    /// The damaged bytes, if there is damage to do and bytes to damage.
    fn damage(&self, bytes: &Bytes) -> Option<Bytes> {
        if bytes.is_empty() || !(self.truncate || self.flip) {
            return None;
        }
        let mut damaged = bytes.to_vec();
        if self.flip {
            let at = self.luck as usize % damaged.len();
            damaged[at] ^= 1 << (self.luck >> 61);
        }
        if self.truncate {
            damaged.truncate((self.luck >> 8) as usize % bytes.len());
        }
        Some(damaged.into())
    }

    fn damage_body(&self, body: &Body) -> Option<Body> {
        if !(self.truncate || self.flip) {
            return None;
        }
        self.damage(&body.to_bytes()).map(Body::from)
    }
}

/// An injected error in place of the operation.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Unavailable,
    Unknown,
    Throttled,
    Full,
    Conflict,
    Denied,
}

impl Refusal {
    fn put(self, key: ObjectKey) -> PutError {
        let reason = INJECTED.to_owned();
        match self {
            Self::Unavailable => PutError::Unavailable {
                key,
                reason,
                outcome_unknown: false,
            },
            Self::Unknown => PutError::Unavailable {
                key,
                reason,
                outcome_unknown: true,
            },
            Self::Throttled => PutError::Throttled {
                key,
                retry_after: None,
            },
            Self::Full => PutError::Full {
                key,
                reason,
                outcome_unknown: false,
            },
            Self::Conflict => PutError::Conflict { key },
            Self::Denied => PutError::Denied { key, reason },
        }
    }

    fn get(self, key: ObjectKey) -> GetError {
        let reason = INJECTED.to_owned();
        match self {
            Self::Unavailable | Self::Unknown | Self::Full | Self::Conflict => {
                GetError::Unavailable { key, reason }
            }
            Self::Throttled => GetError::Throttled {
                key,
                retry_after: None,
            },
            Self::Denied => GetError::Denied { key, reason },
        }
    }

    fn head(self, key: ObjectKey) -> HeadError {
        let reason = INJECTED.to_owned();
        match self {
            Self::Unavailable | Self::Unknown | Self::Full | Self::Conflict => {
                HeadError::Unavailable { key, reason }
            }
            Self::Throttled => HeadError::Throttled {
                key,
                retry_after: None,
            },
            Self::Denied => HeadError::Denied { key, reason },
        }
    }

    fn list(self, prefix: String) -> ListError {
        let reason = INJECTED.to_owned();
        match self {
            Self::Unavailable | Self::Unknown | Self::Full | Self::Conflict => {
                ListError::Unavailable { prefix, reason }
            }
            Self::Throttled => ListError::Throttled {
                prefix,
                retry_after: None,
            },
            Self::Denied => ListError::Denied { prefix, reason },
        }
    }

    fn delete(self, key: ObjectKey) -> DeleteError {
        let reason = INJECTED.to_owned();
        match self {
            Self::Unavailable | Self::Full | Self::Conflict => DeleteError::Unavailable {
                key,
                reason,
                outcome_unknown: false,
            },
            Self::Unknown => DeleteError::Unavailable {
                key,
                reason,
                outcome_unknown: true,
            },
            Self::Throttled => DeleteError::Throttled {
                key,
                retry_after: None,
            },
            Self::Denied => DeleteError::Denied { key, reason },
        }
    }
}
