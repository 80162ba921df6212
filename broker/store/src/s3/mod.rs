//! S3 and what speaks its protocol, as an object store on `aws-sdk-s3`.
//!
//! Owns the client, the mapping of its errors, multipart uploads, hedged GETs and the read replica.
//!
//! # Invariants
//!
//! - One call sends one request (GETs: at most one hedge and one fallback; large PUTs: parts). No
//!   retries: callers own them, and what a conditional PUT came to where its answer was lost.
//! - Conditions go to the store as `If-None-Match: *` and `If-Match`; for a multipart upload they
//!   are those of its completion. That the store keeps them is what [`crate::probe`] checks.
//! - An error is `outcome_unknown` unless the store refused or nothing was sent.
//! - Each request runs as a task of the tokio runtime that [`S3Store::connect`] was called on, so the
//!   futures can be polled from any executor; a future that is dropped aborts its task.
//! - A read is given out only whole: as many bytes as the store said, checksums verified where the
//!   store sends them.

mod body;
mod connect;
mod counters;
mod delete;
mod failure;
mod get;
mod hedge;
mod lifecycle;
mod list;
mod multipart;
mod options;
mod put;
mod replica;
mod verdict;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::Client;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

pub use counters::{Counter, S3Counters};
pub use failure::RETRY_AFTER_MAX;
pub use get::GET_BYTES_MAX;
pub use hedge::{GETS_PER_HEDGE, HEDGES_BURST};
pub use lifecycle::{Expiry, LifecycleError, LifecycleRule, covers};
pub use options::{
    ConnectError, PART_BYTES_MIN, PARTS_IN_FLIGHT_MAX, PARTS_MAX, PUT_BYTES_MAX, ReadReplica,
    RequestChecksums, S3Options, Secret, Sse, StaticCredentials,
};
pub use replica::{FAILURES_MAX as REPLICA_FAILURES_MAX, PAUSE as REPLICA_PAUSE};

use crate::error::{DeleteError, GetError, HeadError, ListError, PutError};
use crate::key::ObjectKey;
use crate::object::{
    Body, GetOutcome, GetRange, ListPage, ListRequest, ObjectMeta, PutCondition, PutOutcome,
};
use crate::{DeleteResults, ObjectStore, StoreFuture};
use hedge::HedgeBudget;
use replica::ReplicaHealth;

/// Slowest line for which the time limit of a body that is sent allows, in bytes a second.
const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 1024 * 1024;

/// A bucket. Clones share client, budget and counters.
///
/// Reads may come from the replica, which lags: an object that was replaced may be read in its
/// older state there, an object that is never replaced cannot.
#[derive(Clone)]
pub struct S3Store {
    shared: Arc<Shared>,
}

/// What the tasks of a store share.
struct Shared {
    runtime: Handle,
    main: Bucket,
    replica: Option<Bucket>,
    options: S3Options,
    counters: Arc<S3Counters>,
    hedges: Mutex<HedgeBudget>,
    replica_health: Mutex<ReplicaHealth>,
    /// The store has no DeleteObjects: set when it first said so.
    deletes_one_by_one: AtomicBool,
}

/// A client and the bucket that it is for.
#[derive(Debug)]
struct Bucket {
    client: Client,
    name: String,
}

impl S3Store {
    /// Sets up the client. Sends nothing to the bucket: see [`crate::probe`]. Must be called on the
    /// tokio runtime, with its I/O and time drivers, that all requests shall run on.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] names the setting to mend.
    pub async fn connect(options: S3Options) -> Result<Self, ConnectError> {
        let (main, replica) = connect::buckets(&options).await?;
        let shared = Shared {
            runtime: Handle::current(),
            main,
            replica,
            options,
            counters: Arc::new(S3Counters::default()),
            hedges: Mutex::new(HedgeBudget::default()),
            replica_health: Mutex::new(ReplicaHealth::default()),
            deletes_one_by_one: AtomicBool::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// What this store has done so far.
    pub fn counters(&self) -> Arc<S3Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// The bucket's lifecycle rules; none where it has no such configuration.
    ///
    /// # Errors
    ///
    /// [`LifecycleError`]: they cannot be read (also on stores that have none).
    pub fn lifecycle_rules(&self) -> StoreFuture<Result<Vec<LifecycleRule>, LifecycleError>> {
        let shared = Arc::clone(&self.shared);
        let work = async move { lifecycle::rules(&shared).await };
        self.run(work, |reason| Err(LifecycleError::Unreadable { reason }))
    }

    /// Runs `work` as a task of the store's runtime once the future is polled; `lost` makes the
    /// outcome where the task ends without one (the runtime stops).
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        lost: impl FnOnce(String) -> T + Send + 'static,
    ) -> StoreFuture<T> {
        let runtime = self.shared.runtime.clone();
        let work = Box::pin(work);
        Box::pin(async move {
            match Task(runtime.spawn(work)).await {
                Ok(outcome) => outcome,
                Err(error) => lost(format!("the request's task ended early: {error}")),
            }
        })
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replica = self.shared.replica.as_ref();
        f.debug_struct("S3Store")
            .field("bucket", &self.shared.main.name)
            .field("endpoint", &self.shared.options.endpoint)
            .field("replica", &replica.map(|replica| &replica.name))
            .finish_non_exhaustive()
    }
}

/// A task that ends with its owner.
struct Task<T>(JoinHandle<T>);

impl<T> Future for Task<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(context)))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    /// Longest wait for the answer to a request with a body of `bytes`.
    fn limit(&self, bytes: u64) -> Duration {
        let extra = Duration::from_secs(bytes / UPLOAD_BYTES_PER_SECOND_MIN);
        self.options.attempt_timeout.saturating_add(extra)
    }

    fn hedges(&self) -> MutexGuard<'_, HedgeBudget> {
        self.hedges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replica_health(&self) -> MutexGuard<'_, ReplicaHealth> {
        self.replica_health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ObjectStore for S3Store {
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        condition: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        let shared = Arc::clone(&self.shared);
        let asked = key.clone();
        let work = async move { put::put(&shared, key, body, condition).await };
        self.run(work, |reason| {
            Err(PutError::Unavailable {
                key: asked,
                reason,
                outcome_unknown: true,
            })
        })
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        let shared = Arc::clone(&self.shared);
        let asked = key.clone();
        let work = async move { get::get(&shared, key, range).await };
        self.run(work, |reason| {
            Err(GetError::Unavailable { key: asked, reason })
        })
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        let shared = Arc::clone(&self.shared);
        let asked = key.clone();
        let work = async move { get::head(&shared, key).await };
        self.run(work, |reason| {
            Err(HeadError::Unavailable { key: asked, reason })
        })
    }

    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        let shared = Arc::clone(&self.shared);
        let prefix = request.prefix.clone();
        let work = async move { list::list(&shared, request).await };
        self.run(work, |reason| {
            Err(ListError::Unavailable { prefix, reason })
        })
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        let shared = Arc::clone(&self.shared);
        let asked = keys.clone();
        let work = async move { delete::delete(&shared, keys).await };
        self.run(work, |reason| {
            let lost = |key: ObjectKey| {
                let error = DeleteError::Unavailable {
                    key: key.clone(),
                    reason: reason.clone(),
                    outcome_unknown: true,
                };
                (key, Err(error))
            };
            asked.into_iter().map(lost).collect()
        })
    }
}
