//! The object store as the control thread uses it: bounded, counted, retried.
//!
//! Control thread. A retry always sends the same key and bytes, and is paid for by the one budget of
//! all requests ([`Pacer`]). What must not be retried (a 412, a refusal) comes back at once. When
//! the store asks one request to slow down, all wait before they are sent.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use store::retry::{Again, Failure};
use store::{
    Body, DeleteError, GetError, GetOutcome, GetRange, ListError, ListPage, ListRequest, ObjectKey,
    ObjectMeta, ObjectStore, PutCondition, PutError, PutOutcome, StoreFuture,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

use super::health::{HealthConfig, Look, SharedHealth};
use super::retry::{Pacer, Pauses, RequestKind};
use crate::logging::span;
use crate::metrics::ControlMetrics;

/// Reads at a time when many objects are read at once.
pub const READS_AT_ONCE: usize = 64;
/// Segments that are read whole, and held in memory, at a time.
const WHOLE_SEGMENTS_AT_ONCE: usize = 4;
/// Pages of one LIST at most: bounds the memory of a listing (a million keys).
const LIST_PAGES_MAX: usize = 1_000;
/// Keys of one DELETE request, as in S3.
const DELETE_KEYS_MAX: usize = 1_000;
/// How often a write that gets no answer looks whether others get one.
const OVERTAKEN_EVERY: Duration = Duration::from_millis(50);
/// Tries of a request whose caller waits.
const TRIES_MAX: u32 = 6;
/// Rounds in a row in which hardly anything more was read, after which many reads are given up together.
const FRUITLESS_ROUNDS_MAX: u32 = 6;
/// A round that reads less than this part of what is missing is fruitless, so that rounds are few and what is read again
/// stays within a few times what there is.
const FRUITFUL_FRACTION: usize = 8;

/// The store with its counters. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    metrics: Arc<ControlMetrics>,
    reads: Arc<Semaphore>,
    whole_segments: Arc<Semaphore>,
    health: Arc<SharedHealth>,
    pacer: Arc<Pacer>,
}

/// The store's form of a key that is built from validated names.
///
/// # Panics
/// If the key is not legal in a store; start-up checks the prefixes.
pub fn object_key(key: &str) -> ObjectKey {
    ObjectKey::new(key).expect("keys are built from checked prefixes and validated names")
}

impl Objects {
    /// The store, with at most `reads` GETs at a time.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        metrics: Arc<ControlMetrics>,
        reads: usize,
        health: HealthConfig,
    ) -> Self {
        Self {
            store,
            metrics,
            reads: Arc::new(Semaphore::new(reads.max(1))),
            whole_segments: Arc::new(Semaphore::new(WHOLE_SEGMENTS_AT_ONCE)),
            health: Arc::new(SharedHealth::new(health)),
            pacer: Arc::default(),
        }
    }

    /// One look at how the store is; see [`SharedHealth::step`].
    pub fn step_health(&self, pause: Duration) -> Look {
        self.health.step(pause)
    }

    /// What the last request failed of; see [`SharedHealth::last_failure`].
    pub fn last_failure(&self) -> Option<String> {
        self.health.last_failure()
    }

    /// Whether the store has asked for a rest that is not over, or the last write has failed.
    pub fn is_troubled(&self) -> bool {
        self.pacer.is_troubled()
    }

    /// The pause before the next try of a write that is tried until it succeeds.
    pub async fn pause_of_persistent(&self, pauses: &mut Pauses) {
        self.metrics.store_retries.increment();
        self.pacer.pause_of_persistent(pauses).await;
    }

    /// Waits until the store has answered a write that was sent after `sent`, and the budget pays
    /// for sending another.
    pub async fn overtaken(&self, sent: Instant) {
        while !self.health.has_answered_write_since(sent) || !self.pacer.may_retry() {
            tokio::time::sleep(OVERTAKEN_EVERY).await;
        }
        self.metrics.store_retries.increment();
    }

    /// Sends one request, which sends or asks for so many bytes, when its turn has come; `got` are
    /// those of its answer. Gives its time from then on, too.
    async fn send<T, E: Failure + Display>(
        &self,
        kind: RequestKind,
        bytes: u64,
        request: StoreFuture<Result<T, E>>,
        got: impl Fn(&T) -> u64,
    ) -> (Result<T, E>, Duration) {
        self.pacer.turn().await;
        let watched = SharedHealth::begin(&self.health, kind, bytes);
        let outcome = request.await;
        let again = outcome.as_ref().err().map_or(Again::Never, Failure::again);
        let latency = match &outcome {
            Err(error) if again != Again::Never => watched.failed(error.to_string()),
            outcome => watched.answered(outcome.as_ref().map_or(0, got)),
        };
        self.tell(kind, again);
        (outcome, latency)
    }

    /// Tells the pace and the budget what came of a request.
    fn tell(&self, kind: RequestKind, again: Again) {
        match again {
            Again::Never => self.pacer.answered(kind),
            again => self.pacer.failed(kind, again),
        }
    }

    /// Sends a request again while it fails, the tries last and the budget pays.
    async fn retried<T, E: Failure, F>(&self, mut send: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut pauses = Pauses::default();
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match send().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_final = error.again() == Again::Never || tries >= TRIES_MAX;
            if is_final || !self.pacer.may_retry() {
                return Err(error);
            }
            tracing::debug!(%error, "tried again");
            self.metrics.store_retries.increment();
            pauses.pause().await;
        }
    }

    /// Sends one GET.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn get_once(&self, key: &str, range: GetRange) -> Result<GetOutcome, GetError> {
        let asked = match &range {
            GetRange::Range(range) => range.end.saturating_sub(range.start),
            GetRange::Suffix(bytes) => *bytes,
            // Not known before the answer.
            GetRange::Full => 0,
        };
        let request = self.store.get(object_key(key), range);
        let got = |found: &GetOutcome| found.bytes.len() as u64;
        let sent = self.send(RequestKind::Read, asked, request, got);
        let (outcome, latency) = sent.instrument(span!("s3.get", key, asked)).await;
        self.metrics.gets.increment();
        match &outcome {
            Ok(found) => {
                self.metrics.get_latency.record_time(latency);
                self.metrics.get_bytes.add(found.bytes.len() as u64);
            }
            Err(GetError::NotFound { .. }) => {}
            Err(_) => self.metrics.get_errors.increment(),
        }
        outcome
    }

    /// Leave to hold one more whole segment in memory, which may have a gigabyte; it is given back when
    /// it is dropped.
    pub async fn whole_segment(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.whole_segments.clone().acquire_owned().await.ok()
    }

    /// Reads an object or a range of it, a few times if the store fails.
    ///
    /// # Errors
    /// As the store's last answer.
    pub async fn get(&self, key: &str, range: GetRange) -> Result<GetOutcome, GetError> {
        let _permit = self.reads.acquire().await;
        self.retried(|| self.get_once(key, range.clone())).await
    }

    /// Sends one PUT.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn put_once(
        &self,
        key: &str,
        body: Body,
        condition: PutCondition,
    ) -> Result<PutOutcome, PutError> {
        let bytes = body.len();
        let request = self.store.put(object_key(key), body, condition);
        let sent = self.send(RequestKind::Write, bytes, request, |_| 0);
        let (outcome, latency) = sent.instrument(span!("s3.put", key, bytes)).await;
        self.metrics.puts.increment();
        match &outcome {
            Ok(_) => {
                self.metrics.put_latency.record_time(latency);
                self.metrics.put_bytes.add(bytes);
            }
            Err(PutError::AlreadyExists { .. }) => {}
            Err(_) => self.metrics.put_errors.increment(),
        }
        outcome
    }

    /// PUTs the same bytes a few times if the store fails.
    ///
    /// # Errors
    /// As the store's last answer. [`PutError::AlreadyExists`] may be an earlier try of this call.
    pub async fn put(
        &self,
        key: &str,
        body: Body,
        condition: PutCondition,
    ) -> Result<PutOutcome, PutError> {
        self.retried(|| self.put_once(key, body.clone(), condition.clone()))
            .await
    }

    /// Lists all objects with a prefix, in order, from after `after` on.
    ///
    /// # Errors
    /// As the store's last answer.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<String>,
    ) -> Result<Vec<ObjectMeta>, ListError> {
        let mut request = ListRequest::new(prefix);
        request.start_after = after;
        let mut all = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let page = self.list_page(&request).await?;
            let next = request.next(&page);
            all.extend(page.objects);
            match next {
                Some(next) => request = next,
                None => return Ok(all),
            }
        }
        Err(ListError::Denied {
            prefix: prefix.to_owned(),
            reason: format!("more than {} objects", all.len()),
        })
    }

    /// Lists all objects with a prefix, in order, however many there are: only one page of them is
    /// held, and what else is kept is up to `take`.
    ///
    /// # Errors
    /// As the store's last answer.
    pub async fn list_each(
        &self,
        prefix: &str,
        mut take: impl FnMut(ObjectMeta),
    ) -> Result<(), ListError> {
        let mut request = Some(ListRequest::new(prefix));
        // Each page begins after the last key of the one before.
        while let Some(this) = request {
            let page = self.list_page(&this).await?;
            request = this.next(&page);
            page.objects.into_iter().for_each(&mut take);
        }
        Ok(())
    }

    /// Whether any object has this prefix.
    ///
    /// # Errors
    /// As the store's last answer.
    pub async fn any(&self, prefix: &str) -> Result<bool, ListError> {
        let page = self.list_page(&ListRequest::new(prefix).limit(1)).await?;
        Ok(!page.objects.is_empty())
    }

    /// Lists one page.
    ///
    /// # Errors
    /// As the store's last answer.
    pub async fn list_page(&self, request: &ListRequest) -> Result<ListPage, ListError> {
        self.retried(|| self.list_once(request)).await
    }

    async fn list_once(&self, request: &ListRequest) -> Result<ListPage, ListError> {
        let span = span!("s3.list", prefix = request.prefix);
        let request = self.store.list(request.clone());
        let sent = self.send(RequestKind::Read, 0, request, |_| 0);
        let (outcome, _) = sent.instrument(span).await;
        self.metrics.lists.increment();
        if outcome.is_err() {
            self.metrics.list_errors.increment();
        }
        outcome
    }

    /// Deletes objects, a few times those that the store fails to; gives how many could not be
    /// deleted (each is logged).
    pub async fn delete(&self, keys: &[String]) -> usize {
        let mut failed = 0;
        for keys in keys.chunks(DELETE_KEYS_MAX) {
            failed += self.delete_together(keys).await;
        }
        failed
    }

    async fn delete_together(&self, keys: &[String]) -> usize {
        let mut left: Vec<ObjectKey> = keys.iter().map(|key| object_key(key)).collect();
        let (mut failed, mut tries, mut pauses) = (0, 0, Pauses::default());
        loop {
            tries += 1;
            let errors = self.delete_once(left).await;
            let (lasting, passing): (Vec<_>, Vec<_>) = errors
                .into_iter()
                .partition(|(_, error)| error.again() == Again::Never);
            failed += given_up(&lasting);
            if passing.is_empty() {
                return failed;
            }
            if tries >= TRIES_MAX || !self.pacer.may_retry() {
                return failed + given_up(&passing);
            }
            left = passing.into_iter().map(|(key, _)| key).collect();
            self.metrics.store_retries.increment();
            pauses.pause().await;
        }
    }

    /// Sends one DELETE; gives the keys that are not deleted. Its time hangs on the number of keys,
    /// so health does not look at it.
    async fn delete_once(&self, keys: Vec<ObjectKey>) -> Vec<(ObjectKey, DeleteError)> {
        self.pacer.turn().await;
        let span = span!("s3.delete", keys = keys.len() as u64);
        let results = self.store.delete(keys).instrument(span).await;
        self.metrics.deletes.add(results.len() as u64);
        let failed = results
            .into_iter()
            .filter_map(|(key, result)| Some((key, result.err()?)));
        let failed: Vec<_> = failed.collect();
        self.metrics.delete_errors.add(failed.len() as u64);
        // One request, one verdict: the most pressing one.
        let slow_down = |again: &Again| matches!(again, Again::SlowDown { .. });
        let all = failed.iter().map(|(_, error)| error.again());
        let later = all.clone().find(|again| *again == Again::Later);
        let verdict = all.clone().find(slow_down).or(later);
        // Deletions say nothing of whether objects can be written.
        self.tell(RequestKind::Read, verdict.unwrap_or(Again::Never));
        failed
    }

    /// Runs `read` for each of `items`, many at a time; results come in no order.
    pub async fn read_many<T, R, F, Fut>(
        &self,
        items: impl IntoIterator<Item = T>,
        read: F,
    ) -> Vec<R>
    where
        F: FnMut(T) -> Fut,
        Fut: Future<Output = R>,
    {
        futures_util::stream::iter(items)
            .map(read)
            .buffer_unordered(READS_AT_ONCE)
            .collect()
            .await
    }

    /// As [`Self::read_many`], but all of `items` must be read: what could not be is read again, and
    /// what has been is kept, as long as the store gives a good part of it.
    ///
    /// # Errors
    /// The last failure, once the store gives nothing more, or at once if it is one that lasts.
    pub async fn read_all<T: Clone, R, F, Fut>(
        &self,
        mut items: Vec<T>,
        mut read: F,
    ) -> Result<Vec<R>, GetError>
    where
        F: FnMut(T) -> Fut,
        Fut: Future<Output = Result<R, GetError>>,
    {
        let mut found = Vec::with_capacity(items.len());
        let (mut pauses, mut fruitless) = (Pauses::default(), 0);
        loop {
            let read = |item: T| {
                let reading = read(item.clone());
                async move { reading.await.map_err(|error| (item, error)) }
            };
            let (before, asked) = (found.len(), items.len());
            let mut failed = Vec::new();
            let mut last = None;
            for outcome in self.read_many(items, read).await {
                match outcome {
                    Ok(one) => found.push(one),
                    Err((_, error)) if error.again() == Again::Never => return Err(error),
                    Err((item, error)) => {
                        failed.push(item);
                        last = Some(error);
                    }
                }
            }
            let Some(error) = last else {
                return Ok(found);
            };
            if (found.len() - before) * FRUITFUL_FRACTION >= asked {
                (pauses, fruitless) = (Pauses::default(), 0);
            } else {
                fruitless += 1;
            }
            if fruitless == FRUITLESS_ROUNDS_MAX {
                return Err(error);
            }
            let (missing, read) = (failed.len(), found.len());
            tracing::debug!(%error, missing, read, "what is missing is read again");
            items = failed;
            pauses.pause().await;
        }
    }
}

fn given_up(errors: &[(ObjectKey, DeleteError)]) -> usize {
    for (key, error) in errors {
        tracing::debug!(%key, %error, "an object could not be deleted now");
    }
    errors.len()
}

#[cfg(test)]
mod tests;
