//! Object store of KafScale: the seam, S3, the local directory, memory and fault injection.
//!
//! Everything that the broker keeps lies in an object store behind the trait [`ObjectStore`]. This
//! crate owns that seam, its errors, the check that a store keeps its promises ([`probe`]), when to
//! try again ([`retry`]), and the sides:
//!
//! - [`s3::S3Store`]: S3 and what speaks its protocol;
//! - [`local::LocalStore`]: a directory as the object store, with the durability of S3;
//! - [`memory::MemoryStore`]: the same semantics in memory, for the simulator and tests;
//! - [`faulty::FaultyStore`]: wraps any store and injects faults from a seed or a script.
//!
//! # Invariants
//!
//! - A PUT is atomic: an object is seen whole or not at all, also after a crash.
//! - [`PutCondition::IfAbsent`] succeeds at most once per life of a key, whatever runs at once.
//! - What a call returned as success is durable. What a read returned is durable too.
//! - An error says whether the request may have taken effect (`outcome_unknown`).

#![forbid(unsafe_code)]

mod error;
pub mod faulty;
mod key;
pub mod local;
pub mod memory;
mod object;
pub mod probe;
pub mod retry;
pub mod s3;
mod unconditional;

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use error::{DeleteError, GetError, HeadError, ListError, PutError};
pub use key::{KEY_BYTES_MAX, KEY_COMPONENT_BYTES_MAX, KEY_COMPONENTS_MAX, KeyError, ObjectKey};
pub use object::{
    Body, ETag, GetOutcome, GetRange, LIST_LIMIT_MAX, ListPage, ListRequest, ObjectMeta,
    PutCondition, PutOutcome,
};
pub use unconditional::Unconditional;

/// What every method of a store returns: a future that owns what it needs and runs on any runtime.
pub type StoreFuture<T> = BoxFuture<'static, T>;

/// Per-key results of a DELETE, in the order of the keys asked for.
pub type DeleteResults = Vec<(ObjectKey, Result<(), DeleteError>)>;

/// An object store: S3, a local directory, memory, or a wrapper around one of them.
///
/// Futures are lazy: nothing happens before the first poll. A future that is dropped after its
/// first poll leaves an unknown outcome: the request may still take effect.
///
/// No method has a time limit of its own: callers own deadlines and retries.
pub trait ObjectStore: Debug + Send + Sync + 'static {
    /// Writes one object of `body.len()` bytes, atomically and durably, under `condition`.
    ///
    /// # Errors
    ///
    /// See [`PutError`]. With `outcome_unknown` the object may exist: retry the same key and bytes.
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        condition: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>>;

    /// Reads an object or a range of it. A range is clamped to the end of the object.
    ///
    /// # Errors
    ///
    /// See [`GetError`]; a range that selects no byte is `RangeNotSatisfiable`.
    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>>;

    /// Reads an object's length and ETag.
    ///
    /// # Errors
    ///
    /// See [`HeadError`].
    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>>;

    /// Lists objects in ascending order of key bytes, one page of at most [`LIST_LIMIT_MAX`].
    ///
    /// Names that are no [`ObjectKey`] are left out.
    ///
    /// # Errors
    ///
    /// See [`ListError`].
    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>>;

    /// Deletes objects; a key that does not exist is a success. Results are in the order of `keys`.
    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults>;
}

impl<S: ObjectStore + ?Sized> ObjectStore for Arc<S> {
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        condition: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        (**self).put(key, body, condition)
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        (**self).get(key, range)
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        (**self).head(key)
    }

    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        (**self).list(request)
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        (**self).delete(keys)
    }
}
