//! A store in memory with the semantics of the others: for the simulator and tests.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::error::{DeleteError, GetError, HeadError, ListError, PutError};
use crate::key::ObjectKey;
use crate::object::{
    Body, ETag, GetOutcome, GetRange, ListPage, ListRequest, ObjectMeta, PutCondition, PutOutcome,
};
use crate::{DeleteResults, ObjectStore, StoreFuture};

/// An object store in memory: one lock, conditions checked and applied under it.
///
/// Deterministic: no clock, no randomness. An operation takes effect at the first poll of its
/// future, which is always ready. A stated CRC-32 is always verified. Clones share the objects.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<ObjectKey, Object>,
    used_bytes: u64,
    capacity_bytes: Option<u64>,
    writes: u64,
    now_ms: i64,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    etag: ETag,
    modified_ms: i64,
}

impl MemoryStore {
    /// An empty store without a bound.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bounds the sum of all bodies, in bytes: a PUT that would exceed it is `Full`. `None` = no
    /// bound.
    pub fn set_capacity_bytes(&self, capacity_bytes: Option<u64>) {
        self.lock().capacity_bytes = capacity_bytes;
    }

    /// Sets the time that later PUTs record as `modified_ms`.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.lock().now_ms = now_ms;
    }

    /// Sum of all bodies, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes
    }

    /// Every object, in key order: for checkers.
    pub fn objects(&self) -> Vec<(ObjectKey, Bytes)> {
        let state = self.lock();
        state
            .objects
            .iter()
            .map(|(key, object)| (key.clone(), object.bytes.clone()))
            .collect()
    }

    /// A store of its own with the same objects: for what-if runs.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.lock();
        let copy = State {
            objects: state.objects.clone(),
            used_bytes: state.used_bytes,
            capacity_bytes: state.capacity_bytes,
            writes: state.writes,
            now_ms: state.now_ms,
        };
        Self {
            state: Arc::new(Mutex::new(copy)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryStore")
            .field("objects", &state.objects.len())
            .field("used_bytes", &state.used_bytes)
            .finish()
    }
}

impl ObjectStore for MemoryStore {
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        condition: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        let store = self.clone();
        Box::pin(async move { store.lock().put(key, &body, &condition) })
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        let store = self.clone();
        Box::pin(async move { store.lock().get(key, &range) })
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        let store = self.clone();
        Box::pin(async move {
            let state = store.lock();
            match state.objects.get(&key) {
                Some(object) => Ok(object.meta(&key)),
                None => Err(HeadError::NotFound { key }),
            }
        })
    }

    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        let store = self.clone();
        Box::pin(async move { Ok(store.lock().list(&request)) })
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        let store = self.clone();
        Box::pin(async move {
            let mut state = store.lock();
            keys.into_iter().map(|key| state.delete(key)).collect()
        })
    }
}

impl State {
    fn put(
        &mut self,
        key: ObjectKey,
        body: &Body,
        condition: &PutCondition,
    ) -> Result<PutOutcome, PutError> {
        if let Some(expected) = body.crc32() {
            let found = body.compute_crc32();
            if found != expected {
                let reason = format!("crc32 {found:08x}, stated {expected:08x}");
                return Err(PutError::Corrupt { key, reason });
            }
        }
        let old = self.objects.get(&key);
        match (condition, old) {
            (PutCondition::None, _) | (PutCondition::IfAbsent, None) => {}
            (PutCondition::IfAbsent, Some(_)) => return Err(PutError::AlreadyExists { key }),
            (PutCondition::IfMatch(_), None) => return Err(PutError::NotFound { key }),
            (PutCondition::IfMatch(etag), Some(old)) if *etag == old.etag => {}
            (PutCondition::IfMatch(_), Some(_)) => return Err(PutError::Mismatch { key }),
        }
        let used = self.used_bytes - old.map_or(0, |old| old.bytes.len() as u64) + body.len();
        if self.capacity_bytes.is_some_and(|capacity| used > capacity) {
            let reason = format!("{used} bytes would exceed the capacity");
            return Err(PutError::Full {
                key,
                reason,
                outcome_unknown: false,
            });
        }
        self.used_bytes = used;
        self.writes += 1;
        let etag = ETag::new(format!("\"m{}\"", self.writes));
        let object = Object {
            bytes: body.to_bytes(),
            etag: etag.clone(),
            modified_ms: self.now_ms,
        };
        self.objects.insert(key, object);
        Ok(PutOutcome { etag })
    }

    fn get(&self, key: ObjectKey, range: &GetRange) -> Result<GetOutcome, GetError> {
        let Some(object) = self.objects.get(&key) else {
            return Err(GetError::NotFound { key });
        };
        let object_len = object.bytes.len() as u64;
        let Some(span) = range.resolve(object_len) else {
            return Err(GetError::RangeNotSatisfiable { key, object_len });
        };
        let (start, end) = (span.start as usize, span.end as usize);
        let bytes = object.bytes.slice(start..end);
        Ok(GetOutcome {
            bytes,
            object_len,
            etag: object.etag.clone(),
        })
    }

    fn list(&self, request: &ListRequest) -> ListPage {
        let limit = request.limit_clamped();
        let prefix = request.prefix.as_str();
        let start = match request.start_after.as_deref() {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let mut matching = self
            .objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix));
        let objects: Vec<ObjectMeta> = matching
            .by_ref()
            .take(limit)
            .map(|(key, object)| object.meta(key))
            .collect();
        let more = matching.next().is_some();
        let next_start_after = match objects.last() {
            Some(last) if more => Some(last.key.as_str().to_owned()),
            Some(_) | None => None,
        };
        ListPage {
            objects,
            next_start_after,
        }
    }

    fn delete(&mut self, key: ObjectKey) -> (ObjectKey, Result<(), DeleteError>) {
        if let Some(old) = self.objects.remove(&key) {
            self.used_bytes -= old.bytes.len() as u64;
        }
        (key, Ok(()))
    }
}

impl Object {
    fn meta(&self, key: &ObjectKey) -> ObjectMeta {
        ObjectMeta {
            key: key.clone(),
            len: self.bytes.len() as u64,
            etag: self.etag.clone(),
            modified_ms: self.modified_ms,
        }
    }
}
