//! Objects: a look at a bucket and changes by hand, past the wire and past all rules.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;

use crate::service::digest;
use crate::store::{After, Attributes, Condition, Object, Query, Store};

/// What is known of an object beside its bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its ETag, without quotes.
    pub etag: String,
    /// When it was written.
    #[serde(skip)]
    pub modified: SystemTime,
}

/// Why an object could not be put by hand.
#[derive(Debug, thiserror::Error)]
#[error("the object was not stored: {0}")]
pub struct PutError(String);

/// Handle on the objects of one bucket; clones share them. A bucket that does not exist is empty.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<Store>,
    bucket: String,
}

impl Objects {
    pub(crate) fn new(store: Arc<Store>, bucket: String) -> Self {
        Self { store, bucket }
    }

    /// The same for another bucket.
    #[must_use]
    pub fn in_bucket(&self, bucket: &str) -> Self {
        Self::new(self.store.clone(), bucket.to_owned())
    }

    /// All objects whose key begins with `prefix`, in order.
    #[must_use]
    pub fn list(&self, prefix: &str) -> Vec<ObjectInfo> {
        let query = Query {
            prefix,
            delimiter: None,
            after: After::Start,
            limit: usize::MAX,
        };
        let Ok(listing) = self.store.list(&self.bucket, &query, None) else {
            return Vec::new();
        };
        let entries = listing.entries.into_iter();
        let info = entries.map(|(key, summary)| ObjectInfo {
            key,
            size: summary.size,
            etag: summary.etag,
            modified: summary.modified,
        });
        info.collect()
    }

    /// Their keys.
    #[must_use]
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.list(prefix).into_iter().map(|info| info.key).collect()
    }

    /// An object's bytes.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.store
            .get(&self.bucket, key)
            .ok()
            .map(|object| object.bytes.clone())
    }

    /// Writes an object, without any condition.
    ///
    /// # Errors
    /// [`PutError`] without the bucket or above the memory bound.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<(), PutError> {
        let bytes = bytes.into();
        let object = Object {
            etag: digest::etag(&bytes),
            modified: SystemTime::now(),
            checksum: digest::default_checksum(&bytes),
            attributes: Attributes::default(),
            bytes,
        };
        let written = self
            .store
            .put(&self.bucket, key, object, &Condition::default());
        written.map_err(|error| PutError(error.to_string()))
    }

    /// Removes an object; says whether it was there.
    pub fn delete(&self, key: &str) -> bool {
        self.store.delete(&self.bucket, key, None).unwrap_or(false)
    }

    /// Inverts the byte at `offset`; ETag and checksums stay those of the true bytes. False if
    /// there is no such byte.
    pub fn corrupt(&self, key: &str, offset: usize) -> bool {
        self.store.damage(&self.bucket, key, |bytes| {
            let mut damaged = bytes.to_vec();
            *damaged.get_mut(offset)? ^= 0xFF;
            Some(Bytes::from(damaged))
        })
    }

    /// Cuts an object to `length` bytes; ETag and checksums stay those of the true bytes. False if
    /// it is not longer.
    pub fn cut(&self, key: &str, length: usize) -> bool {
        self.store.damage(&self.bucket, key, |bytes| {
            (length < bytes.len()).then(|| bytes.slice(..length))
        })
    }

    /// Keys of the multipart uploads that are open, for keys that begin with `prefix`.
    #[must_use]
    pub fn uploads(&self, prefix: &str) -> Vec<String> {
        let open = self.store.uploads(&self.bucket, prefix, None, usize::MAX);
        open.map(|page| page.uploads)
            .unwrap_or_default()
            .into_iter()
            .map(|(key, _, _)| key)
            .collect()
    }

    /// Does what the bucket's lifecycle rules demand as if `days` more had passed; with `None` for
    /// all that they cover, whatever its age. Gives the keys of the objects deleted and of the
    /// uploads aborted.
    pub fn expire(&self, days: Option<u32>) -> (Vec<String>, Vec<String>) {
        self.store.expire(&self.bucket, days).unwrap_or_default()
    }
}
