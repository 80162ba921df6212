//! Gauges of the segments of the partitions that this broker owns.
//!
//! Control thread. Counted anew every second, so that whatever changes them (compaction, retention,
//! takeover, release, deletion) has nothing to keep in step. It costs one pass over what is in memory
//! of each segment: about a millisecond for 100,000.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use segment::TopicPartition;

use super::context::Context;

/// How often segments are counted.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Counts segments, for ever.
pub async fn run(context: Rc<Context>) {
    let mut counted = HashMap::new();
    loop {
        count(&context, &mut counted);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Counts once. A partition whose segments are being changed counts as it did last.
fn count(context: &Context, counted: &mut HashMap<TopicPartition, (usize, u64)>) {
    let owned = context.owned.borrow();
    counted.retain(|id, _| owned.contains_key(id));
    for (id, owned) in &*owned {
        if let Ok(state) = owned.state.try_lock() {
            let bytes = state.segments.iter().map(|segment| segment.bytes).sum();
            counted.insert(*id, (state.segments.len(), bytes));
        }
    }
    let (segments, bytes) = counted.values().fold((0, 0_u64), |sum, one| {
        (sum.0 + one.0, sum.1.saturating_add(one.1))
    });
    let metrics = &context.metrics;
    metrics.segments.set_count(segments);
    metrics
        .segment_bytes
        .set(i64::try_from(bytes).unwrap_or(i64::MAX));
}
