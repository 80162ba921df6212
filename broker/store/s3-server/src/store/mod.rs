//! Store: all buckets and objects, in memory under one lock.
//!
//! Invariants:
//! - A write with a condition checks and writes in one hold of the lock.
//! - `State::bytes` is what all objects and parts cost, and never above the limit.
//! - Each change of a bucket's keys is in its history before the lock is let go.

mod history;
mod lifecycle;
mod list;
mod multipart;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::StatusCode;
use s3s::dto::{BucketLifecycleConfiguration, Checksum, ETag, ETagCondition};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use self::history::History;
pub(crate) use self::list::{After, Listing, Query};
pub(crate) use self::multipart::{Completed, Part, Upload, hex};
use crate::options::Options;

/// What an object or a part costs beside its bytes, so that empty ones are bounded as well.
const ENTRY_BYTES: u64 = 256;
/// Buckets that may exist.
const MAX_BUCKETS: usize = 1000;

/// What an object or part of these bytes costs.
fn cost(bytes: &Bytes) -> u64 {
    bytes.len() as u64 + ENTRY_BYTES
}

/// One object. Never changed, only replaced.
#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) bytes: Bytes,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) modified: SystemTime,
    pub(crate) checksum: Checksum,
    pub(crate) attributes: Attributes,
}

/// What a client stores beside the bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    pub(crate) content_type: Option<String>,
    pub(crate) metadata: Option<s3s::dto::Metadata>,
}

/// What a LIST shows of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) modified: SystemTime,
}

impl Object {
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            size: self.size(),
            etag: self.etag.clone(),
            modified: self.modified,
        }
    }
}

/// What must hold for a write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_match: Option<ETagCondition>,
}

impl Condition {
    pub(crate) fn is_none(&self) -> bool {
        self.if_none_match.is_none() && self.if_match.is_none()
    }

    fn check(&self, current: Option<&Object>) -> S3Result<()> {
        match &self.if_none_match {
            None => {}
            Some(ETagCondition::Any) if current.is_none() => {}
            Some(ETagCondition::Any) => return Err(s3_error!(PreconditionFailed)),
            Some(ETagCondition::ETag(_)) => {
                return Err(s3_error!(
                    NotImplemented,
                    "If-None-Match of a write must be *"
                ));
            }
        }
        match (&self.if_match, current) {
            (None, _) | (Some(ETagCondition::Any), Some(_)) => Ok(()),
            (Some(_), None) => Err(s3_error!(NoSuchKey)),
            (Some(ETagCondition::ETag(wanted)), Some(object)) => {
                match ETag::Strong(object.etag.clone()).strong_cmp(wanted) {
                    true => Ok(()),
                    false => Err(s3_error!(PreconditionFailed)),
                }
            }
        }
    }
}

pub(crate) struct Store {
    state: Mutex<State>,
    memory_bytes: u64,
    min_part_bytes: u64,
    history_entries: usize,
}

struct State {
    buckets: BTreeMap<String, Bucket>,
    bytes: u64,
    next_upload: u64,
}

pub(crate) struct Bucket {
    pub(crate) created: SystemTime,
    objects: BTreeMap<String, Arc<Object>>,
    /// By key and upload id.
    uploads: BTreeMap<(String, String), Upload>,
    lifecycle: Option<BucketLifecycleConfiguration>,
    history: History,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("bytes", &self.lock().bytes)
            .finish_non_exhaustive()
    }
}

impl State {
    fn bucket(&self, name: &str) -> S3Result<&Bucket> {
        self.buckets
            .get(name)
            .ok_or_else(|| s3_error!(NoSuchBucket))
    }

    fn bucket_mut(&mut self, name: &str) -> S3Result<&mut Bucket> {
        self.buckets
            .get_mut(name)
            .ok_or_else(|| s3_error!(NoSuchBucket))
    }

    /// Counts `new` bytes in and `old` bytes out.
    fn account(&mut self, new: u64, old: u64, limit: u64) -> S3Result<()> {
        let bytes = self.bytes.saturating_sub(old).saturating_add(new);
        if new > old && bytes > limit {
            let code = S3ErrorCode::Custom("InsufficientStorage".into());
            let mut error = S3Error::with_message(code, "The server's memory bound is reached.");
            error.set_status_code(StatusCode::INSUFFICIENT_STORAGE);
            return Err(error);
        }
        self.bytes = bytes;
        Ok(())
    }

    fn put(&mut self, bucket: &str, key: &str, object: Object, limit: u64) -> S3Result<()> {
        let old = self
            .bucket(bucket)?
            .objects
            .get(key)
            .map_or(0, |old| cost(&old.bytes));
        self.account(cost(&object.bytes), old, limit)?;
        self.bucket_mut(bucket)?.set(key, Some(object));
        Ok(())
    }

    fn delete(&mut self, bucket: &str, key: &str) -> S3Result<bool> {
        let old = self.bucket_mut(bucket)?.set(key, None);
        self.bytes = self
            .bytes
            .saturating_sub(old.as_ref().map_or(0, |old| cost(&old.bytes)));
        Ok(old.is_some())
    }
}

impl Bucket {
    fn new(history_entries: usize) -> Self {
        Self {
            created: SystemTime::now(),
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            lifecycle: None,
            history: History::new(history_entries),
        }
    }

    /// Replaces or removes an object; the former one.
    fn set(&mut self, key: &str, object: Option<Object>) -> Option<Arc<Object>> {
        let old = match object {
            Some(object) => self.objects.insert(key.to_owned(), Arc::new(object)),
            None => self.objects.remove(key),
        };
        self.history
            .changed(key, old.as_ref().map(|old| old.summary()));
        old
    }
}

impl Store {
    pub(crate) fn new(options: &Options) -> Self {
        let bucket = |name: &String| (name.clone(), Bucket::new(options.history_entries));
        let buckets = options.buckets.iter().map(bucket).collect();
        Self {
            state: Mutex::new(State {
                buckets,
                bytes: 0,
                next_upload: 1,
            }),
            memory_bytes: options.memory_bytes,
            min_part_bytes: options.min_part_bytes,
            history_entries: options.history_entries,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn create_bucket(&self, name: &str) -> S3Result<()> {
        let mut state = self.lock();
        if state.buckets.contains_key(name) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        if state.buckets.len() >= MAX_BUCKETS {
            return Err(s3_error!(TooManyBuckets));
        }
        state
            .buckets
            .insert(name.to_owned(), Bucket::new(self.history_entries));
        Ok(())
    }

    pub(crate) fn head_bucket(&self, name: &str) -> S3Result<()> {
        self.lock().bucket(name).map(|_| ())
    }

    pub(crate) fn buckets(&self) -> Vec<(String, SystemTime)> {
        let state = self.lock();
        state
            .buckets
            .iter()
            .map(|(name, bucket)| (name.clone(), bucket.created))
            .collect()
    }

    pub(crate) fn get(&self, bucket: &str, key: &str) -> S3Result<Arc<Object>> {
        let state = self.lock();
        let object = state.bucket(bucket)?.objects.get(key).cloned();
        object.ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// Whether a write under `condition` would be let through now.
    pub(crate) fn check(&self, bucket: &str, key: &str, condition: &Condition) -> S3Result<()> {
        let state = self.lock();
        condition.check(state.bucket(bucket)?.objects.get(key).map(AsRef::as_ref))
    }

    /// Writes an object if `condition` holds.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        object: Object,
        condition: &Condition,
    ) -> S3Result<()> {
        let mut state = self.lock();
        condition.check(state.bucket(bucket)?.objects.get(key).map(AsRef::as_ref))?;
        state.put(bucket, key, object, self.memory_bytes)
    }

    /// Removes an object if it has the ETag wanted; whether it was there.
    pub(crate) fn delete(
        &self,
        bucket: &str,
        key: &str,
        if_match: Option<&ETagCondition>,
    ) -> S3Result<bool> {
        let mut state = self.lock();
        if let (Some(wanted), Some(current)) = (if_match, state.bucket(bucket)?.objects.get(key)) {
            let condition = Condition {
                if_match: Some(wanted.clone()),
                if_none_match: None,
            };
            condition.check(Some(current))?;
        }
        state.delete(bucket, key)
    }

    /// Replaces an object's bytes and keeps all else, ETag and checksum among it. False if there
    /// is no such object or `change` has nothing to change.
    pub(crate) fn damage(
        &self,
        bucket: &str,
        key: &str,
        change: impl FnOnce(&Bytes) -> Option<Bytes>,
    ) -> bool {
        let mut state = self.lock();
        let Ok(found) = state.bucket(bucket) else {
            return false;
        };
        let Some(object) = found.objects.get(key) else {
            return false;
        };
        let Some(bytes) = change(&object.bytes) else {
            return false;
        };
        let damaged = Object {
            bytes,
            ..Object::clone(object)
        };
        state.put(bucket, key, damaged, self.memory_bytes).is_ok()
    }

    /// Lists the bucket as it is, or as it was `age` ago.
    pub(crate) fn list(
        &self,
        bucket: &str,
        query: &Query<'_>,
        age: Option<Duration>,
    ) -> S3Result<Listing> {
        let state = self.lock();
        let bucket = state.bucket(bucket)?;
        Ok(match age {
            None => list::list(&bucket.objects, query, |object| object.summary()),
            Some(age) => {
                let live = bucket.objects.range(query.prefix.to_owned()..);
                let live = live.take_while(|(key, _)| key.starts_with(query.prefix));
                let live = live.map(|(key, object)| (key.clone(), object.summary()));
                let then = bucket.history.rewind(live.collect(), query.prefix, age);
                list::list(&then, query, Summary::clone)
            }
        })
    }
}
