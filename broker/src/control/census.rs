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

/// What a partition has.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    segments: usize,
    bytes: u64,
    damaged: usize,
}

/// Counts segments, for ever.
pub async fn run(context: Rc<Context>) {
    let mut counted = HashMap::new();
    loop {
        count(&context, &mut counted);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Counts once. A partition whose segments are being changed counts as it did last.
fn count(context: &Context, counted: &mut HashMap<TopicPartition, Count>) {
    let owned = context.owned.borrow();
    counted.retain(|id, _| owned.contains(*id));
    for (id, owned) in owned.iter() {
        let Ok(state) = owned.state.try_lock() else {
            continue;
        };
        if state.segments.is_empty() {
            counted.remove(&id);
            continue;
        }
        let bytes = state.segments.iter().map(|segment| segment.bytes).sum();
        let (segments, damaged) = (state.segments.len(), state.damaged.len());
        let count = Count {
            segments,
            bytes,
            damaged,
        };
        counted.insert(id, count);
    }
    let mut all = Count::default();
    for one in counted.values() {
        all.segments += one.segments;
        all.bytes = all.bytes.saturating_add(one.bytes);
        all.damaged += one.damaged;
    }
    let metrics = &context.metrics;
    metrics.segments.set_count(all.segments);
    metrics.segments_damaged.set_count(all.damaged);
    metrics
        .segment_bytes
        .set(i64::try_from(all.bytes).unwrap_or(i64::MAX));
}
