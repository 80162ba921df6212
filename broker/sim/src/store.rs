//! The model object store: the semantics of S3 on objects in memory, with its latencies and failures.
//!
//! A request is a task of the store, not of its broker: one whose broker has died, or has given up, goes on
//! and takes effect when the model says so.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use store::memory::MemoryStore;
use store::{
    Body, DeleteError, DeleteResults, GetError, GetOutcome, GetRange, HeadError, ListError,
    ListPage, ListRequest, ObjectKey, ObjectMeta, ObjectStore, PutCondition, PutError, PutOutcome,
    StoreFuture,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::clock::sleep;
use crate::crash::{self, Moment};
use crate::fault::Fault;
use crate::random::Random;
use crate::trace::{self, trace};

/// Reason of every injected error.
const INJECTED: &str = "injected";
/// How long a request without an answer is waited for, as a client of S3 does.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// New objects that a stale LIST may not show.
const RECENT_MAX: usize = 32;

/// How often each fault strikes, in parts of a million requests, and how fast the store is.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreRates {
    /// Shortest and longest usual latency, in milliseconds.
    pub(crate) latency_ms: (u64, u64),
    pub(crate) tail: u32,
    /// Bytes a second; 0: no bound.
    pub(crate) bandwidth: u64,
    pub(crate) error_before: u32,
    pub(crate) error_after: u32,
    pub(crate) timeout: u32,
    pub(crate) late_put: u32,
    pub(crate) duplicate_put: u32,
    pub(crate) conflict: u32,
    pub(crate) truncated: u32,
    pub(crate) flipped: u32,
    pub(crate) stale_list: u32,
    pub(crate) partial_list: u32,
    pub(crate) flipped_list: u32,
    pub(crate) slow_delete: u32,
}

impl StoreRates {
    /// The same store without faults.
    pub(crate) fn calm(&self) -> Self {
        Self {
            latency_ms: self.latency_ms,
            ..Self::default()
        }
    }
}

/// The store, as all brokers share it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) memory: MemoryStore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rates: StoreRates,
    random: Random,
    slow_down_until: Option<Instant>,
    recent: VecDeque<ObjectKey>,
    cut: Vec<bool>,
    /// Of each broker: it dies at the request after so many, before or after it takes effect.
    crash_at: Vec<Option<(u64, Moment)>>,
}

impl Shared {
    pub(crate) fn new(seed: u64, brokers: usize, rates: StoreRates) -> Arc<Self> {
        Arc::new(Self {
            memory: MemoryStore::new(),
            state: Mutex::new(State {
                rates,
                random: Random::of(seed, "store"),
                slow_down_until: None,
                recent: VecDeque::new(),
                cut: vec![false; brokers],
                crash_at: vec![None; brokers],
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on faults strike so often.
    pub(crate) fn set_rates(&self, rates: StoreRates) {
        self.lock().rates = rates;
    }

    /// Ends all faults.
    pub(crate) fn calm(&self) {
        let mut state = self.lock();
        state.rates = state.rates.calm();
        state.slow_down_until = None;
        state.cut.fill(false);
        state.crash_at.fill(None);
    }

    /// Every request is answered 503 for a while.
    pub(crate) fn slow_down(&self, time: Duration) {
        self.lock().slow_down_until = Some(Instant::now() + time);
    }

    /// Deletes the oldest segment of some partition of a topic, as a lifecycle rule does; the newest, which may be
    /// in the making, stays.
    pub(crate) fn expire_oldest(&self, topic: &str, random: &mut Random) {
        let mut partitions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, _) in self.memory.objects() {
            let Some((folder, name)) = key.as_str().rsplit_once('/') else {
                continue;
            };
            if folder.contains(&format!("/{topic}/")) && name.ends_with(".kfs") {
                let segments = partitions.entry(folder.to_owned()).or_default();
                segments.push(name.trim_end_matches(".kfs").to_owned());
            }
        }
        partitions.retain(|_, segments| segments.len() > 1);
        if partitions.is_empty() {
            return;
        }
        let at = random.index(partitions.len());
        let oldest = partitions.into_iter().nth(at).and_then(|(folder, all)| {
            let oldest = all.into_iter().min()?;
            Some(format!("{folder}/{oldest}"))
        });
        let Some(oldest) = oldest else { return };
        trace::fault(Fault::StoreLifecycle);
        trace!("nemesis", "a lifecycle rule deletes {oldest}");
        let keys = ["index", "kfs"].map(|ending| format!("{oldest}.{ending}"));
        let keys = keys.into_iter().filter_map(|key| ObjectKey::new(key).ok());
        now(self.memory.delete(keys.collect()));
    }

    /// The objects of all topics of a name, whatever their generation.
    pub(crate) fn of_topic(&self, name: &str) -> Vec<ObjectKey> {
        let objects = self.memory.objects().into_iter().map(|(key, _)| key);
        let of_name = |key: &ObjectKey| {
            let mut folders = key.as_str().split('/');
            folders.any(|folder| folder.split('@').next() == Some(name))
        };
        objects.filter(of_name).collect()
    }

    /// A broker does not reach the store, or does again.
    pub(crate) fn cut(&self, broker: usize, is_cut: bool) {
        self.lock().cut[broker] = is_cut;
    }

    /// A process of a broker begins, which is not to die at a request yet.
    pub(crate) fn serve(&self, broker: usize) {
        self.lock().crash_at[broker] = None;
    }

    /// A broker dies at its request after so many more.
    pub(crate) fn crash_at(&self, broker: usize, requests: u64, moment: Moment) {
        self.lock().crash_at[broker] = Some((requests, moment));
    }
}

/// The store as one broker reaches it.
#[derive(Clone)]
pub(crate) struct ModelStore {
    shared: Arc<Shared>,
    broker: usize,
}

impl fmt::Debug for ModelStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelStore({})", self.broker)
    }
}

/// What happens to one request.
#[derive(Debug, Default)]
struct Draw {
    before: Duration,
    after: Duration,
    refusal: Option<Refusal>,
    is_reply_lost: bool,
    duplicate: Option<Duration>,
    truncated: bool,
    flipped: bool,
    is_stale: bool,
    is_partial: bool,
    is_list_flipped: bool,
    luck: u64,
    /// Whether something is put or deleted.
    changes: bool,
    crash: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Unavailable,
    /// Told after the time of a request is over: nothing happened.
    Timeout,
    SlowDown,
    Conflict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Get,
    List,
    Delete,
}

impl ModelStore {
    pub(crate) fn new(shared: Arc<Shared>, broker: usize) -> Self {
        Self { shared, broker }
    }

    fn actor(&self) -> String {
        format!("store/{}", self.broker)
    }

    fn draw(&self, kind: Kind, bytes: u64, is_conditional: bool) -> Draw {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let rates = state.rates.clone();
        let random = &mut state.random;
        let (low, high) = rates.latency_ms;
        let latency = random.millis(low..high + 1);
        let at = random.below(100);
        let mut draw = Draw {
            before: latency.mul_f64(at as f64 / 100.0),
            after: latency.mul_f64((100 - at) as f64 / 100.0),
            luck: random.bits(),
            changes: matches!(kind, Kind::Put | Kind::Delete),
            ..Draw::default()
        };
        let mut strikes = |ppm: u32, fault: Fault, wanted: bool| {
            let strikes = random.chance(ppm) && wanted;
            if strikes {
                trace::fault(fault);
            }
            strikes
        };
        let (put, get) = (kind == Kind::Put, kind == Kind::Get);
        if strikes(rates.tail, Fault::StoreLatencyTail, true) {
            draw.before += Duration::from_millis(draw.luck % 3_000);
        }
        if rates.bandwidth > 0 && bytes > 0 {
            trace::fault(Fault::StoreLowBandwidth);
            draw.before += Duration::from_micros(bytes * 1_000_000 / rates.bandwidth);
        }
        if strikes(rates.error_before, Fault::StoreErrorBefore, true) {
            draw.refusal = Some(Refusal::Unavailable);
        } else if strikes(rates.timeout, Fault::StoreTimeout, true) {
            draw.refusal = Some(Refusal::Timeout);
        } else if strikes(rates.conflict, Fault::StoreConflict, put && is_conditional) {
            draw.refusal = Some(Refusal::Conflict);
        }
        draw.is_reply_lost = strikes(rates.error_after, Fault::StoreErrorAfter, true);
        if strikes(rates.late_put, Fault::StoreLatePut, put) {
            draw.before += Duration::from_millis(5_000 + draw.luck % 20_000);
        }
        if strikes(rates.duplicate_put, Fault::StoreDuplicatePut, put) {
            draw.duplicate = Some(Duration::from_millis(draw.luck % 30_000));
        }
        draw.truncated = strikes(rates.truncated, Fault::StoreTruncatedBody, get);
        draw.flipped = strikes(rates.flipped, Fault::StoreFlippedBit, get);
        draw.is_stale = strikes(rates.stale_list, Fault::StoreStaleList, kind == Kind::List);
        draw.is_partial = strikes(
            rates.partial_list,
            Fault::StorePartialList,
            kind == Kind::List,
        );
        draw.is_list_flipped = strikes(
            rates.flipped_list,
            Fault::StoreFlippedList,
            kind == Kind::List,
        );
        if strikes(
            rates.slow_delete,
            Fault::StoreSlowDelete,
            kind == Kind::Delete,
        ) {
            draw.before += Duration::from_millis(draw.luck % 20_000);
        }
        if state
            .slow_down_until
            .is_some_and(|until| Instant::now() < until)
        {
            trace::fault(Fault::StoreSlowDown);
            draw.refusal = Some(Refusal::SlowDown);
        }
        if state.cut[self.broker] {
            draw.refusal = Some(Refusal::Timeout);
        }
        if let Some((left, moment)) = state.crash_at[self.broker] {
            state.crash_at[self.broker] = match left {
                0 => {
                    draw.crash = Some(moment);
                    None
                }
                left => Some((left - 1, moment)),
            };
        }
        draw
    }

    /// The broker dies at this request.
    fn crash(&self, moment: Moment) {
        crash::kill(&self.actor(), self.broker, Fault::CrashAtRequest, moment);
    }

    /// Carries a request out as `draw` says; `None`: the answer is lost, or there was none.
    fn request<T: fmt::Debug + Send + 'static>(
        &self,
        draw: Draw,
        apply: impl Fn(&Draw) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Refusal>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        let this = self.clone();
        let work = async move {
            sleep(draw.before).await;
            if let Some(refusal) = draw.refusal {
                sleep(draw.after).await;
                drop(reply.send(Err(refusal)));
                return;
            }
            let at_effect = draw.changes.then(crash::at_effect).flatten();
            let crash = draw.crash.or(at_effect);
            if crash == Some(Moment::Before) {
                return this.crash(Moment::Before);
            }
            let outcome = apply(&draw);
            if crash == Some(Moment::After) {
                return this.crash(Moment::After);
            }
            sleep(draw.after).await;
            if !draw.is_reply_lost {
                drop(reply.send(Ok(outcome)));
            }
            if let Some(later) = draw.duplicate {
                sleep(later).await;
                let again = apply(&draw);
                trace!(this.actor(), "the same PUT again: {again:?}");
            }
        };
        drop(tokio::spawn(work));
        async move {
            let answered = tokio::time::timeout(REQUEST_TIMEOUT, answer).await;
            let refused = match answered {
                Ok(Ok(Err(Refusal::Timeout))) | Err(_) => Refusal::Timeout,
                Ok(Ok(outcome)) => return outcome,
                // An answer is lost: an error of the connection.
                Ok(Err(_)) => Refusal::Timeout,
            };
            Err(refused)
        }
    }
}

fn unavailable_put(key: ObjectKey, outcome_unknown: bool) -> PutError {
    PutError::Unavailable {
        key,
        reason: INJECTED.to_owned(),
        outcome_unknown,
    }
}

/// Applies at once: an operation of the memory store is ready at its first poll.
fn now<T>(operation: StoreFuture<T>) -> T {
    operation
        .now_or_never()
        .expect("the memory store answers at once")
}

impl ObjectStore for ModelStore {
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        condition: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        let this = self.clone();
        Box::pin(async move {
            let draw = this.draw(Kind::Put, body.len(), condition != PutCondition::None);
            let (store, name) = (this.clone(), key.clone());
            let apply = move |_: &Draw| {
                let memory = &store.shared.memory;
                let outcome = now(memory.put(name.clone(), body.clone(), condition.clone()));
                if outcome.is_ok() {
                    let mut state = store.shared.lock();
                    state.recent.push_back(name.clone());
                    if state.recent.len() > RECENT_MAX {
                        state.recent.pop_front();
                    }
                }
                let told = outcome
                    .as_ref()
                    .map_or_else(ToString::to_string, |_| "ok".to_owned());
                trace!(store.actor(), "PUT {name} {} bytes: {told}", body.len());
                outcome
            };
            match this.request(draw, apply).await {
                Ok(outcome) => outcome,
                Err(Refusal::Unavailable) => Err(unavailable_put(key, false)),
                Err(Refusal::Timeout) => Err(unavailable_put(key, true)),
                Err(Refusal::Conflict) => Err(PutError::Conflict { key }),
                Err(Refusal::SlowDown) => Err(PutError::Throttled {
                    key,
                    retry_after: None,
                }),
            }
        })
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        let this = self.clone();
        Box::pin(async move {
            let draw = this.draw(Kind::Get, 0, false);
            let (store, name) = (this.clone(), key.clone());
            let apply = move |draw: &Draw| {
                let mut outcome = now(store.shared.memory.get(name.clone(), range.clone()));
                if let Ok(found) = &mut outcome {
                    found.bytes = damaged(&found.bytes, draw);
                }
                let told = match &outcome {
                    Ok(found) => format!("{} bytes", found.bytes.len()),
                    Err(error) => error.to_string(),
                };
                trace!(store.actor(), "GET {name} {range:?}: {told}");
                outcome
            };
            match this.request(draw, apply).await {
                Ok(outcome) => outcome,
                Err(Refusal::SlowDown) => Err(GetError::Throttled {
                    key,
                    retry_after: None,
                }),
                Err(_) => Err(GetError::Unavailable {
                    key,
                    reason: INJECTED.to_owned(),
                }),
            }
        })
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        let this = self.clone();
        Box::pin(async move {
            let draw = this.draw(Kind::Get, 0, false);
            let (store, name) = (this.clone(), key.clone());
            let apply = move |_: &Draw| now(store.shared.memory.head(name.clone()));
            match this.request(draw, apply).await {
                Ok(outcome) => outcome,
                Err(_) => Err(HeadError::Unavailable {
                    key,
                    reason: INJECTED.to_owned(),
                }),
            }
        })
    }

    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        let this = self.clone();
        Box::pin(async move {
            let draw = this.draw(Kind::List, 0, false);
            let prefix = request.prefix.clone();
            let store = this.clone();
            let apply = move |draw: &Draw| {
                let mut asked = request.clone();
                if draw.is_partial {
                    asked.limit = asked.limit.min(1 + (draw.luck % 3) as usize);
                }
                let mut outcome = now(store.shared.memory.list(asked));
                if let (Ok(page), true) = (&mut outcome, draw.is_stale) {
                    let recent = store.shared.lock().recent.clone();
                    let count = 1 + draw.luck as usize % RECENT_MAX;
                    let hidden: Vec<&ObjectKey> = recent.iter().rev().take(count).collect();
                    page.objects.retain(|found| !hidden.contains(&&found.key));
                }
                if let (Ok(page), true) = (&mut outcome, draw.is_list_flipped) {
                    flip(page, draw.luck);
                }
                let told = outcome.as_ref().map_or(0, |page| page.objects.len());
                trace!(store.actor(), "LIST {}: {told} objects", request.prefix);
                outcome
            };
            match this.request(draw, apply).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ListError::Unavailable {
                    prefix,
                    reason: INJECTED.to_owned(),
                }),
            }
        })
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        let this = self.clone();
        Box::pin(async move {
            let draw = this.draw(Kind::Delete, 0, false);
            let (store, names) = (this.clone(), keys.clone());
            let apply = move |_: &Draw| {
                for name in &names {
                    trace!(store.actor(), "DELETE {name}");
                }
                now(store.shared.memory.delete(names.clone()))
            };
            match this.request(draw, apply).await {
                Ok(results) => results,
                Err(refusal) => {
                    let failed = |key: ObjectKey| {
                        let error = DeleteError::Unavailable {
                            key: key.clone(),
                            reason: INJECTED.to_owned(),
                            outcome_unknown: refusal == Refusal::Timeout,
                        };
                        (key, Err(error))
                    };
                    keys.into_iter().map(failed).collect()
                }
            }
        })
    }
}

/// Flips a bit of one entry of a listing, of its key if that is one still, else of its length.
fn flip(page: &mut ListPage, luck: u64) {
    let count = page.objects.len();
    let Some(entry) = page.objects.get_mut(luck as usize % count.max(1)) else {
        return;
    };
    let mut key = entry.key.as_str().as_bytes().to_vec();
    let at = (luck >> 16) as usize % key.len();
    key[at] ^= 1 << ((luck >> 32) % 7);
    let flipped = String::from_utf8(key).ok().map(ObjectKey::new);
    match flipped {
        Some(Ok(key)) if luck & 1 == 0 => entry.key = key,
        _ => entry.len ^= 1 << ((luck >> 40) % 24),
    }
}

/// What arrives of a body that a proxy has cut off, or in which a bit has flipped.
fn damaged(bytes: &Bytes, draw: &Draw) -> Bytes {
    if bytes.is_empty() || !(draw.truncated || draw.flipped) {
        return bytes.clone();
    }
    if draw.truncated {
        return bytes.slice(..cut_at(bytes, draw.luck));
    }
    let mut damaged = bytes.to_vec();
    let at = draw.luck as usize % damaged.len();
    damaged[at] ^= 1 << (draw.luck >> 61);
    damaged.into()
}

/// Where a body is cut: after a whole record batch where it begins with one, since every other place is easy to
/// notice.
fn cut_at(bytes: &Bytes, luck: u64) -> usize {
    let batches = segment::batch::Batches::until_truncated(bytes);
    let mut ends = Vec::new();
    let mut end = 0;
    for batch in batches.map_while(Result::ok) {
        end += batch.bytes.len();
        ends.push(end);
    }
    ends.pop();
    match ends.is_empty() {
        true => luck as usize % bytes.len(),
        false => ends[luck as usize % ends.len()],
    }
}
