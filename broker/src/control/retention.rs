//! Retention by time and by size (`retention.ms`, `retention.bytes`).
//!
//! Control thread. Looked at as often as Kafka does. What is too old, or too much, is the longest
//! run of whole pieces (segments, then sections of WAL objects) from the log start on; the log
//! start is raised to its end, which deletes the segments below it. Rules of Kafka's
//! `UnifiedLog.deleteOldSegments`: a piece is too old when its largest timestamp is older than the
//! retention time; the oldest go while what is left without them still has the retention size.

use std::rc::Rc;

use segment::{Offset, TimestampMs, TopicPartition};

use super::context::{Context, wall_clock};
use super::log_start::raise_log_start;
use crate::partition::Piece;

/// Applies retention to everything that this broker serves, for ever.
pub async fn run(context: Rc<Context>) {
    let every = context.config.log.retention_check_interval;
    loop {
        tokio::time::sleep(every).await;
        let ids: Vec<TopicPartition> = context.owned.borrow().ids().collect();
        for id in ids {
            if let Err(reason) = retain(&context, id, wall_clock()).await {
                tracing::warn!(partition = %id, reason, "retention is tried again later");
            }
        }
    }
}

/// Applies retention to one partition at this time; gives its log start where it is raised.
///
/// # Errors
/// The metadata store or the shard does not answer.
pub async fn retain(
    context: &Context,
    id: TopicPartition,
    now: TimestampMs,
) -> Result<Option<Offset>, String> {
    let metadata = context.metadata.load_full();
    let Some(topic) = metadata.topic_by_id(id.topic) else {
        return Ok(None);
    };
    let (time, bytes) = (topic.config.retention_ms(), topic.config.retention_bytes());
    if time.is_none() && bytes.is_none() {
        return Ok(None);
    }
    let shard = context.shard_of(id);
    let pieces =
        shard.call(move |shard| shard.with_log(id, |log| log.pieces().collect::<Vec<_>>()));
    let Some(pieces) = pieces.await.map_err(|gone| gone.to_string())? else {
        return Ok(None);
    };
    let oldest = time.map(|time| now.get().saturating_sub(time));
    let by_time = oldest.and_then(|oldest| expired_end(&pieces, TimestampMs::new(oldest)));
    let by_size = bytes.and_then(|bytes| oversize_end(&pieces, bytes));
    let Some(to) = by_time.max(by_size) else {
        return Ok(None);
    };
    let raised = raise_log_start(context, id, to).await;
    let raised = raised.map_err(|error| error.to_string())?;
    tracing::info!(topic = %topic.name, partition = %id.partition, log_start = %raised,
        by_time = by_time.is_some(), by_size = by_size.is_some(), "old records deleted");
    Ok(Some(raised))
}

/// The end of the pieces from the first on that hold nothing from `oldest` on. Pieces without
/// timestamps are not too old.
fn expired_end(pieces: &[Piece], oldest: TimestampMs) -> Option<Offset> {
    let is_old = |piece: &&Piece| piece.max_timestamp.get() >= 0 && piece.max_timestamp < oldest;
    pieces
        .iter()
        .take_while(is_old)
        .last()
        .map(|piece| piece.end)
}

/// The end of the pieces from the first on without which there are `keep` bytes or more left.
fn oversize_end(pieces: &[Piece], keep: i64) -> Option<Offset> {
    let keep = u64::try_from(keep).ok()?;
    let mut left: u64 = pieces.iter().map(|piece| piece.bytes).sum();
    let mut end = None;
    for piece in pieces {
        left -= piece.bytes;
        if left < keep {
            break;
        }
        end = Some(piece.end);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(end: i64, timestamp: i64, bytes: u64) -> Piece {
        Piece {
            end: Offset::new(end),
            max_timestamp: TimestampMs::new(timestamp),
            bytes,
        }
    }

    #[test]
    fn what_is_old_goes_up_to_the_first_piece_that_is_not() {
        let pieces = [piece(10, 100, 1), piece(20, 300, 1), piece(30, 200, 1)];
        let expired = |oldest| expired_end(&pieces, TimestampMs::new(oldest)).map(Offset::get);
        assert_eq!(expired(100), None, "exactly as old as allowed stays");
        assert_eq!(expired(101), Some(10));
        assert_eq!(
            expired(250),
            Some(10),
            "a younger piece keeps the older ones behind it"
        );
        assert_eq!(expired(301), Some(30));
        assert_eq!(expired_end(&[piece(10, -1, 1)], TimestampMs::new(9)), None);
    }

    #[test]
    fn the_oldest_go_while_the_rest_is_large_enough() {
        let pieces = [piece(10, 0, 50), piece(20, 0, 30), piece(30, 0, 20)];
        let oversize = |keep| oversize_end(&pieces, keep).map(Offset::get);
        assert_eq!(oversize(100), None);
        assert_eq!(
            oversize(51),
            None,
            "without the first only 50 would be left"
        );
        assert_eq!(oversize(50), Some(10));
        assert_eq!(oversize(20), Some(20));
        assert_eq!(oversize(0), Some(30));
    }
}
