//! How far consumer groups are behind, for `kafscale_consumer_group_lag`.
//!
//! Control thread. Looked at every few seconds, over the groups that this broker coordinates and
//! the partitions that it serves. A partition served by another broker is left out: its high
//! watermark is not known here.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::context::Context;
use crate::metrics::GroupLag;
use crate::shard::Shard;

/// How often lag is looked at: it reads every committed offset in memory.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Records between committed offsets and high watermarks, one row a group and topic.
pub async fn group_lags(context: &Context) -> Vec<GroupLag> {
    let asked = context
        .shards
        .iter()
        .map(|shard| shard.call(|shard: &Rc<Shard>| lags_of(shard)));
    let answers = futures_util::future::join_all(asked).await;
    answers.into_iter().flatten().flatten().collect()
}

fn lags_of(shard: &Shard) -> Vec<GroupLag> {
    let metadata = shard.metadata();
    let mut sums: BTreeMap<(String, String), u64> = BTreeMap::new();
    shard.groups.for_each_offset(|group, id, committed| {
        let topic = metadata.topic_by_id(id.topic);
        let handle = topic.and_then(|topic| topic.partition(id.partition));
        let snapshot = handle.and_then(|handle| handle.snapshot());
        let (Some(topic), Some(snapshot)) = (topic, snapshot) else {
            return;
        };
        // What has been deleted is nothing that the group has yet to read.
        let next = committed.offset.max(snapshot.log_start);
        let lag = snapshot.high_watermark.get().saturating_sub(next.get());
        let key = (group.as_str().to_owned(), topic.name.as_str().to_owned());
        *sums.entry(key).or_default() += u64::try_from(lag).unwrap_or(0);
    });
    let rows = sums.into_iter();
    rows.map(|((group, topic), records)| GroupLag {
        group,
        topic,
        records,
    })
    .collect()
}
