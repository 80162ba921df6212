//! Raises the log start of a partition: in its record first, then where it is reported.
//!
//! Control thread. Segments wholly below it are deleted afterwards.

use coord::keys::plan;
use coord::rules::{self, Rule};
use segment::{Offset, TopicPartition};

use super::context::Context;
use super::handle::TopicError;
use super::segments::object_keys;

fn unavailable(error: impl std::fmt::Display) -> TopicError {
    TopicError::Unavailable(error.to_string())
}

/// Raises the log start to `to`, at most to the high watermark; gives the log start that is
/// durable.
///
/// # Errors
/// [`TopicError::Unknown`] if the partition is not served; [`TopicError::Unavailable`].
pub async fn raise_log_start(
    context: &Context,
    id: TopicPartition,
    to: Offset,
) -> Result<Offset, TopicError> {
    let owned = context.owned(id).ok_or(TopicError::Unknown)?;
    let mut state = owned.state.lock().await;
    if state.gone {
        return Err(TopicError::Unknown);
    }
    let shard = context.shard_of(id);
    let high_watermark = shard.call(move |shard| shard.with_log(id, |log| log.high_watermark()));
    let high_watermark = high_watermark
        .await
        .map_err(unavailable)?
        .ok_or(TopicError::Unknown)?;
    let to = to.min(high_watermark);
    let from = state.seen.record.log_start;
    if to <= from {
        return Ok(from);
    }
    let (space, session) = (&context.space, context.session.id);
    let planned = plan::raise_log_start(space, session, id, &state.seen, to);
    let written = state.write(context, id, planned).await;
    if let Err(error) = written
        && rules::holds(Rule::LogStartRaisedInEtcdFirst)
    {
        return Err(unavailable(error));
    }
    coord::mark!(LogStartRaised);
    shard
        .call(move |shard| drop(shard.raise_log_start(id, to)))
        .await
        .map_err(unavailable)?;
    let below = state.segments.partition_point(|segment| segment.end <= to);
    let gone: Vec<String> = state
        .segments
        .drain(..below)
        .flat_map(|segment| object_keys(&context.keys, &owned.dir, id.partition, segment.base))
        .collect();
    let left = state.segments.first().map_or(to, |first| first.base);
    state.damaged.retain(|base, _| *base >= left);
    context.metrics.segments_deleted.add(gone.len() as u64 / 2);
    if !gone.is_empty() && context.objects.delete(&gone).await > 0 {
        tracing::warn!(partition = %id, "old segments could not be deleted; a restart tries again");
    }
    Ok(to)
}
