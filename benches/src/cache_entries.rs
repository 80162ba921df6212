//! A cache of chunks that is full.

use cache::s3_fifo::Cache;

/// Chunks that the cache holds.
pub const ENTRIES: u64 = 4096;
/// Bytes of a chunk.
pub const CHUNK_BYTES: u64 = 1 << 20;
/// Keys are taken in a stride that is prime to their number, so that no two turns are neighbors.
pub const STRIDE: u64 = 1_597;

/// As the broker has it: object and number of the chunk.
pub type Key = (u64, u64);

/// Object 1, all of whose chunks fit.
pub fn full() -> Cache<Key, u64> {
    let mut cache = Cache::new(ENTRIES * CHUNK_BYTES, ENTRIES as usize * 2);
    (0..ENTRIES).for_each(|number| drop(cache.insert((1, number), number, CHUNK_BYTES)));
    cache
}
