//! What the tests of the control thread share.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::{LeaderEpoch, Offset, TimestampMs};
use store::memory::MemoryStore;

use super::health::HealthConfig;
use super::objects::Objects;

/// A batch of `count` records at `base`, in epoch 0.
pub(crate) fn batch(base: i64, count: u32) -> Bytes {
    let mut builder = RecordBatchBuilder::new()
        .base_offset(Offset::new(base))
        .leader_epoch(LeaderEpoch::ZERO);
    for number in 0..i64::from(count) {
        builder
            .push(NewRecord {
                timestamp: TimestampMs::new(1_700_000_000_000 + base + number),
                key: None,
                value: Some(b"value"),
                headers: &[],
            })
            .unwrap();
    }
    builder.build().unwrap()
}

/// Thresholds that no test meets by chance.
pub(crate) const HEALTH: HealthConfig = HealthConfig {
    window: Duration::from_secs(60),
    latency: (Duration::from_secs(60), Duration::from_secs(60)),
    errors: (1.0, 1.0),
};

/// A store in memory, and the control thread's view of it.
pub(crate) fn objects_in_memory() -> (Objects, MemoryStore) {
    let store = MemoryStore::new();
    (
        Objects::new(Arc::new(store.clone()), Arc::default(), 64, HEALTH),
        store,
    )
}
