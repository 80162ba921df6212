//! Sweeps what deleted topics left: segments, indexes, manifests, producer snapshots.
//!
//! Control thread. The tombstone goes last, so that a sweep that was interrupted goes on after a
//! restart. WAL objects need no sweep: nothing names their sections any more.

use std::rc::Rc;
use std::time::Duration;

use coord::keys::plan;
use coord::keys::tombstone::{self, TombstoneRecord};
use coord::keys::{Seen, seen};
use coord::kv::range_all;
use segment::keys::TopicDir;
use segment::{TopicId, TopicName};

use super::commit::CommitError;
use super::context::Context;

/// Pause before a sweep that failed is tried again.
const PAUSE: Duration = Duration::from_secs(10);

/// Goes on with the sweeps that an earlier session left.
///
/// # Errors
/// The metadata store failed.
pub async fn resume(context: &Rc<Context>) -> Result<(), CommitError> {
    for entry in range_all(&context.kv, tombstone::span(&context.space))
        .await?
        .entries
    {
        let Ok(id) = tombstone::parse(&context.space, &entry.key) else {
            continue;
        };
        if let Some(buried) = seen::<TombstoneRecord>(Some(&entry))? {
            start(context, id, buried);
        }
    }
    Ok(())
}

/// Starts to sweep a topic, unless that is under way.
pub fn start(context: &Rc<Context>, id: TopicId, buried: Seen<TombstoneRecord>) {
    if context.sweeping.borrow_mut().insert(id) {
        let context = context.clone();
        context.clone().spawn("sweep", async move {
            sweep(&context, id, buried).await;
            context.sweeping.borrow_mut().remove(&id);
        });
    }
}

/// Sweeps one topic, until nothing of it is left. Other brokers may learn late that their
/// partitions are gone and finish a segment, and so may ours be under way with one: what is written
/// in the time to live of a session is found by the second pass.
async fn sweep(context: &Context, id: TopicId, buried: Seen<TombstoneRecord>) {
    let mut passes = 0;
    loop {
        let is_last = passes > 0;
        match sweep_once(context, id, &buried, is_last).await {
            Ok(_) if !is_last => {
                passes += 1;
                tokio::time::sleep(context.config.broker.session_ttl).await;
            }
            Ok(objects) => {
                // Nobody names the sections of its partitions any more.
                context.compacted.notify_one();
                tracing::info!(topic = %buried.record.name, %id, objects, "swept");
                return;
            }
            Err(reason) => {
                tracing::warn!(topic = %buried.record.name, reason, "a sweep is tried again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn sweep_once(
    context: &Context,
    id: TopicId,
    buried: &Seen<TombstoneRecord>,
    is_last: bool,
) -> Result<usize, String> {
    let record = &buried.record;
    let name = TopicName::new(&record.name).map_err(|error| error.to_string())?;
    let dir = TopicDir::new(name, record.generation);
    let prefixes = [
        context.keys.topic_prefix(&dir),
        context.keys.producers_topic_prefix(id),
    ];
    let mut swept = 0;
    for prefix in prefixes {
        let found = context
            .objects
            .list(&prefix, None)
            .await
            .map_err(|e| e.to_string())?;
        let keys: Vec<String> = found
            .iter()
            .map(|meta| meta.key.as_str().to_owned())
            .collect();
        let failed = context.objects.delete(&keys).await;
        if failed > 0 {
            return Err(format!("{failed} objects could not be deleted"));
        }
        swept += keys.len();
        context
            .metrics
            .segments_deleted
            .add(keys.iter().filter(|k| k.ends_with(".kfs")).count() as u64);
    }
    if !is_last {
        return Ok(swept);
    }
    let txn = plan::finish_topic_deletion(&context.space, context.session.id, id, buried);
    // Whatever an unknown outcome was: a second try finds the tombstone gone, or removes it.
    let reply = context
        .kv
        .txn(txn)
        .await
        .map_err(|error| error.to_string())?;
    if reply.succeeded {
        return Ok(swept);
    }
    match context.kv.get(tombstone::key(&context.space, id)).await {
        Ok(None) => Ok(swept),
        Ok(Some(_)) => Err("the tombstone has changed".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
