//! A store whose conditional writes are not kept, or refused: the conditions are left out.
//!
//! Who writes to it relies on no condition (the cluster commits through its metadata instead). A store that ignores
//! conditions does the same by itself; one that answers them with 501, as Backblaze B2 does, could not be written to
//! otherwise.

use std::sync::Arc;

use crate::error::{GetError, HeadError, ListError, PutError};
use crate::key::ObjectKey;
use crate::object::{
    Body, GetOutcome, GetRange, ListPage, ListRequest, ObjectMeta, PutCondition, PutOutcome,
};
use crate::{DeleteResults, ObjectStore, StoreFuture};

/// See the module.
#[derive(Debug, Clone)]
pub struct Unconditional(Arc<dyn ObjectStore>);

impl Unconditional {
    /// Writes to this store are sent without their conditions.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }
}

impl ObjectStore for Unconditional {
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        _: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        self.0.put(key, body, PutCondition::None)
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        self.0.get(key, range)
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        self.0.head(key)
    }

    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        self.0.list(request)
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        self.0.delete(keys)
    }
}
