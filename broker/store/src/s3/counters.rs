//! What an S3 store has done so far: counters to read at any time.
//!
//! Invariant: a counter never goes down; one that counts requests counts what was sent, so that it
//! can be compared with the store's bill.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one store. All are totals since its start.
#[derive(Debug, Default)]
pub struct S3Counters {
    /// PutObject and CompleteMultipartUpload requests.
    pub puts: Counter,
    /// GetObject requests; hedges, tries on the replica and those for the rest of a body included.
    pub gets: Counter,
    /// HeadObject requests, tries on the replica included.
    pub heads: Counter,
    /// ListObjectsV2 requests.
    pub lists: Counter,
    /// DeleteObjects and DeleteObject requests.
    pub deletes: Counter,
    /// UploadPart requests.
    pub parts: Counter,
    /// Multipart uploads that were given up.
    pub uploads_aborted: Counter,
    /// Bytes of bodies received.
    pub bytes_in: Counter,
    /// Bytes of bodies sent, whether or not they were accepted.
    pub bytes_out: Counter,
    /// GETs that were sent a second time because the first was slow.
    pub hedges: Counter,
    /// Bodies that ended early and whose rest was asked for.
    pub resumes: Counter,
    /// Reads that the replica could not serve and the main bucket got.
    pub replica_fallbacks: Counter,
}

/// A total that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The total now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn increment(&self) {
        self.add(1);
    }
}
