//! The object store as the control thread uses it: bounded, counted, retried.
//!
//! Control thread. A retry always sends the same key and bytes. What must not be retried (a 412, a
//! refusal) comes back at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use store::{
    Body, GetError, GetOutcome, GetRange, ListError, ListRequest, ObjectKey, ObjectMeta,
    ObjectStore, PutCondition, PutError, PutOutcome,
};
use tokio::sync::Semaphore;

use super::health::{HealthConfig, Look, SharedHealth};
use crate::metrics::ControlMetrics;

/// Reads at a time when many objects are read at once.
pub const READS_AT_ONCE: usize = 64;
/// Pages of one LIST at most: bounds the memory of a listing (a million keys).
const LIST_PAGES_MAX: usize = 1_000;
/// Keys of one DELETE request, as in S3.
const DELETE_KEYS_MAX: usize = 1_000;
/// Tries of a request whose caller waits.
const TRIES_MAX: u32 = 6;
/// First and longest pause between tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// Pauses that double, with jitter, so that retries of many do not meet.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: PAUSE.0 }
    }
}

impl Backoff {
    /// Sleeps, and makes the next pause longer.
    pub async fn pause(&mut self) {
        let jitter = 0.5 + rand::random::<f64>() / 2.0;
        tokio::time::sleep(self.next.mul_f64(jitter)).await;
        self.next = (self.next * 2).min(PAUSE.1);
    }
}

/// The store with its counters. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    metrics: Arc<ControlMetrics>,
    reads: Arc<Semaphore>,
    health: Arc<SharedHealth>,
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
            health: Arc::new(SharedHealth::new(health)),
        }
    }

    /// One look at how the store is.
    pub fn step_health(&self) -> Look {
        self.health.step()
    }

    /// Sends one GET.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn get_once(&self, key: &str, range: GetRange) -> Result<GetOutcome, GetError> {
        let began = Instant::now();
        let outcome = self.store.get(object_key(key), range).await;
        self.metrics.gets.increment();
        let failed = outcome.as_ref().is_err_and(GetError::retriable);
        self.health.record(began.elapsed(), !failed);
        match &outcome {
            Ok(found) => {
                self.metrics.get_latency.record_time(began.elapsed());
                self.metrics.get_bytes.add(found.bytes.len() as u64);
            }
            Err(GetError::NotFound { .. }) => {}
            Err(_) => self.metrics.get_errors.increment(),
        }
        outcome
    }

    /// Reads an object or a range of it, a few times if the store fails.
    ///
    /// # Errors
    /// As the store's last answer.
    pub async fn get(&self, key: &str, range: GetRange) -> Result<GetOutcome, GetError> {
        let _permit = self.reads.acquire().await;
        let mut backoff = Backoff::default();
        let mut tries = 0;
        loop {
            tries += 1;
            match self.get_once(key, range.clone()).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    if !error.retriable() || tries >= TRIES_MAX {
                        return Err(error);
                    }
                    tracing::debug!(%error, "read again");
                }
            }
            self.metrics.store_retries.increment();
            backoff.pause().await;
        }
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
        let began = Instant::now();
        let bytes = body.len();
        let outcome = self.store.put(object_key(key), body, condition).await;
        self.metrics.puts.increment();
        let failed = outcome.as_ref().is_err_and(PutError::retriable);
        self.health.record(began.elapsed(), !failed);
        match &outcome {
            Ok(_) => {
                self.metrics.put_latency.record_time(began.elapsed());
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
        let mut backoff = Backoff::default();
        let mut tries = 0;
        loop {
            tries += 1;
            match self.put_once(key, body.clone(), condition.clone()).await {
                Err(error) if error.retriable() && tries < TRIES_MAX => {
                    tracing::debug!(%error, "write again");
                }
                outcome => return outcome,
            }
            self.metrics.store_retries.increment();
            backoff.pause().await;
        }
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
    pub async fn list_page(&self, request: &ListRequest) -> Result<store::ListPage, ListError> {
        let mut backoff = Backoff::default();
        let mut tries = 0;
        loop {
            let began = Instant::now();
            let outcome = self.store.list(request.clone()).await;
            self.metrics.lists.increment();
            let failed = outcome.as_ref().is_err_and(ListError::retriable);
            self.health.record(began.elapsed(), !failed);
            tries += 1;
            match outcome {
                Ok(page) => return Ok(page),
                Err(error) => {
                    self.metrics.list_errors.increment();
                    if !error.retriable() || tries >= TRIES_MAX {
                        return Err(error);
                    }
                }
            }
            self.metrics.store_retries.increment();
            backoff.pause().await;
        }
    }

    /// Deletes objects; gives how many could not be deleted (each is logged).
    pub async fn delete(&self, keys: &[String]) -> usize {
        let mut failed = 0;
        for keys in keys.chunks(DELETE_KEYS_MAX) {
            let results = self
                .store
                .delete(keys.iter().map(|key| object_key(key)).collect())
                .await;
            for (key, result) in results {
                self.metrics.deletes.increment();
                if let Err(error) = result {
                    self.metrics.delete_errors.increment();
                    failed += 1;
                    tracing::debug!(%key, %error, "an object could not be deleted now");
                }
            }
        }
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
}
