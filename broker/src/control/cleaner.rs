//! Log compaction (`cleanup.policy=compact`): of each key only the latest record stays.
//!
//! Control thread, one partition at a time; CPU work runs on the blocking pool. As Kafka's
//! `LogCleaner`: a partition is cleaned when the part of its segments that has not been cleaned is
//! `min.cleanable.dirty.ratio` or more, or holds a record older than `max.compaction.lag.ms`. The
//! latest offsets of the keys of that part are gathered, then every segment from the first to its
//! end is rewritten without what they supersede, in order, so that a tombstone's time begins only
//! when everything before it is gone. What is in no segment yet is never touched.
//!
//! A segment is replaced by a recorded rewrite over the ETag that was read. The next owner cannot
//! make the same bytes (its map may differ), so it ends a pending rewrite by writing what is there
//! under another creation time: then the late PUT of the one before meets another ETag. In the
//! guarded mode nothing is rewritten.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use coord::keys::partition::{Intent, IntentKind};
use segment::kfs::KfsObject;
use segment::manifest::{ManifestSegment, time_points};
use segment::record::Tombstones;
use segment::{Offset, TimestampMs, TopicPartition};
use store::{Body, PutCondition, PutError};

use super::compactor::{CompactionError, examine_damaged, manifest_segment};
use super::context::{Context, wall_clock};
use super::replace::{Stored, adopt, begin, etag_of, finish, put_over, read_stored};
use super::segments::{Whole, object_keys};
use crate::partition::cleaning::{KeyMap, clean_body};
use crate::topic_config::Compaction;

/// The cleaner.
pub struct Cleaner {
    context: Rc<Context>,
    /// Up to where each partition was cleaned in this ownership. A takeover begins anew: what was
    /// clean is read and not written.
    cleaned: RefCell<HashMap<TopicPartition, Offset>>,
}

impl Cleaner {
    /// Nothing is known of any partition.
    pub fn new(context: Rc<Context>) -> Self {
        Self {
            context,
            cleaned: RefCell::default(),
        }
    }

    /// Runs for ever.
    pub async fn run(self) {
        if !self.context.replaces {
            // Without conditional writes a late rewrite could land over a later one.
            return;
        }
        loop {
            tokio::time::sleep(self.context.config.log.cleaner_interval).await;
            let ids: Vec<TopicPartition> = self.context.owned.borrow().ids().collect();
            let owned = |id: &TopicPartition| self.context.owned.borrow().contains(*id);
            self.cleaned.borrow_mut().retain(|id, _| owned(id));
            for id in ids {
                if let Err(error) = self.clean(id).await {
                    self.context.metrics.compaction_errors.increment();
                    tracing::error!(partition = %id, %error, "log compaction failed; tried again");
                    examine_damaged(&self.context, id, &error).await;
                }
            }
        }
    }

    /// Cleans one partition if it is due; gives how many segments were rewritten.
    ///
    /// # Errors
    /// [`CompactionError`]: the segments before the one that failed are clean.
    pub async fn clean(&self, id: TopicPartition) -> Result<usize, CompactionError> {
        let metadata = self.context.metadata.load_full();
        let compaction = metadata
            .topic_by_id(id.topic)
            .and_then(|topic| topic.config.compaction());
        let Some(compaction) = compaction else {
            return Ok(0);
        };
        resolve(&self.context, id).await?;
        let Some(owned) = self.context.owned(id) else {
            return Ok(0);
        };
        let segments = {
            let state = owned.state.lock().await;
            // What a damaged segment holds nobody knows: a tombstone behind it may still be needed.
            let is_sound = |s: &&ManifestSegment| !state.damaged.contains_key(&s.base);
            let sound = state.segments.iter().take_while(is_sound);
            sound.cloned().collect::<Vec<_>>()
        };
        let from = self
            .cleaned
            .borrow()
            .get(&id)
            .copied()
            .unwrap_or(Offset::ZERO);
        let now = wall_clock();
        let dirty = dirty(&segments, from, &compaction, now);
        if dirty.is_empty() {
            return Ok(0);
        }
        let mut keys = KeyMap::default();
        let mut end = from;
        for segment in dirty {
            if keys.is_full() {
                break;
            }
            let Some(whole) = read_stored(&self.context, &owned, segment.base).await? else {
                // Retention or a merge was faster: looked at again later.
                return Ok(0);
            };
            let add = move || keys.add_body(&whole.body).map(|()| keys);
            let added = super::pool::run(add).await?;
            keys = added.map_err(|error| CompactionError::Damaged {
                key: format!("segment {}", segment.base).into(),
                position: 0,
                reason: error.to_string(),
            })?;
            end = whole.segment.end;
        }
        let keys = Arc::new(keys);
        let tombstones = Tombstones {
            now,
            retention_ms: compaction.delete_retention_ms,
        };
        let mut rewritten = 0;
        for segment in segments.iter().filter(|segment| segment.end <= end) {
            match rewrite(&self.context, id, segment, &keys, tombstones).await? {
                Rewrite::Done => rewritten += 1,
                Rewrite::Nothing => {}
                // The time of a tombstone behind it must not begin while what it covers is left.
                Rewrite::Overtaken => return Ok(rewritten),
            }
        }
        self.cleaned.borrow_mut().insert(id, end);
        if rewritten > 0 {
            tracing::info!(partition = %id, to = %end, rewritten, "log compacted");
        }
        Ok(rewritten)
    }
}

/// The segments that have not been cleaned and may be; none while they are too few.
fn dirty<'a>(
    segments: &'a [ManifestSegment],
    cleaned: Offset,
    compaction: &Compaction,
    now: TimestampMs,
) -> &'a [ManifestSegment] {
    // One that was merged across that border is dirty as a whole.
    let from = segments.partition_point(|segment| segment.end <= cleaned);
    let is_young = |segment: &ManifestSegment| {
        segment.max_timestamp.get() > now.get().saturating_sub(compaction.min_lag_ms)
    };
    let young = segments[from..].iter().position(is_young);
    let to = young.map_or(segments.len(), |young| from + young);
    let dirty = &segments[from..to];
    let bytes = |segments: &[ManifestSegment]| segments.iter().map(|s| s.bytes).sum::<u64>() as f64;
    let is_much = bytes(dirty) >= compaction.dirty_ratio * bytes(&segments[..to]);
    let oldest = now.get().saturating_sub(compaction.max_lag_ms);
    let is_late = dirty
        .iter()
        .any(|segment| segment.max_timestamp.get() < oldest);
    if is_much || is_late { dirty } else { &[] }
}

/// What became of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rewrite {
    /// It is rewritten.
    Done,
    /// Nothing of it goes.
    Nothing,
    /// Retention, a compaction, a merge or a takeover was faster: it was not looked at.
    Overtaken,
}

/// Rewrites one segment without what is superseded.
async fn rewrite(
    context: &Context,
    id: TopicPartition,
    known: &ManifestSegment,
    keys: &Arc<KeyMap>,
    tombstones: Tombstones,
) -> Result<Rewrite, CompactionError> {
    let Some(owned) = context.owned(id) else {
        return Ok(Rewrite::Overtaken);
    };
    let mut state = owned.state.lock().await;
    let at = state.segments.iter().position(|segment| {
        segment.base == known.base && segment.bytes == known.bytes && segment.crc32 == known.crc32
    });
    let (Some(at), None, false) = (at, &state.seen.record.intent, state.gone) else {
        return Ok(Rewrite::Overtaken);
    };
    let Some(Whole { body, etag, .. }) = read_stored(context, &owned, known.base).await? else {
        return Ok(Rewrite::Overtaken);
    };
    let (base, end, created) = (known.base, known.end, wall_clock());
    let keys = keys.clone();
    let build = move || -> Result<_, String> {
        let left = clean_body(&body, &keys, tombstones).map_err(|error| error.to_string())?;
        let Some(chunks) = left else { return Ok(None) };
        let points = time_points(&chunks).unwrap_or_default();
        let kfs = KfsObject::build(base, created, chunks).map_err(|error| error.to_string())?;
        Ok(Some((kfs, points)))
    };
    let built = super::pool::run(build).await?;
    let [_, key] = object_keys(&context.keys, &owned.dir, id.partition, base);
    let built = built.map_err(|reason| CompactionError::Damaged {
        key: key.as_str().into(),
        position: 0,
        reason,
    })?;
    let Some((kfs, points)) = built else {
        return Ok(Rewrite::Nothing);
    };
    assert!(
        kfs.last_offset.next() == Some(end),
        "a rewritten segment covers the offsets of the one before"
    );
    let intent = Intent {
        base,
        end,
        created_ms: created,
        kind: IntentKind::Rewrite {
            etag: etag.as_str().to_owned(),
        },
        object_bytes: Some(kfs.len),
        object_crc32c: None,
    };
    begin(context, &owned, &mut state, intent).await?;
    put_over(context, &key, &kfs, etag).await?;
    let stored = Stored {
        segment: manifest_segment(&kfs, base, end, points),
        index: kfs.index,
    };
    adopt(context, &owned, &mut state, at..at + 1, stored).await?;
    context.metrics.rewrites.increment();
    Ok(Rewrite::Done)
}

/// Ends a rewrite that an earlier owner, or an earlier try, has left pending.
///
/// # Errors
/// [`CompactionError`]; it stays pending.
pub async fn resolve(context: &Context, id: TopicPartition) -> Result<(), CompactionError> {
    let Some(owned) = context.owned(id) else {
        return Ok(());
    };
    let mut state = owned.state.lock().await;
    let Some(intent) = state.seen.record.intent.clone() else {
        return Ok(());
    };
    if state.gone || !matches!(intent.kind, IntentKind::Rewrite { .. }) {
        return Ok(());
    }
    let at = state
        .segments
        .iter()
        .position(|segment| segment.base == intent.base);
    let found = read_stored(context, &owned, intent.base).await?;
    let (Some(at), Some(mut found)) = (at, found) else {
        // The log start has passed it, and its object is gone: no late PUT finds its ETag.
        return finish(context, &owned, &mut state).await;
    };
    let [_, key] = object_keys(&context.keys, &owned.dir, id.partition, intent.base);
    if Some(&found.etag) == etag_of(&intent).as_ref() {
        let (base, created, body) = (intent.base, wall_clock(), found.body);
        let kfs = super::pool::run(move || KfsObject::build(base, created, vec![body]));
        let kfs = kfs.await??;
        let put = Body::new(kfs.chunks.clone()).with_crc32(kfs.crc32);
        match context
            .objects
            .put(&key, put, PutCondition::IfMatch(found.etag))
            .await
        {
            // Either ours is there now, or the one that was late: both are whole.
            Ok(_) | Err(PutError::Mismatch { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        found = match read_stored(context, &owned, intent.base).await? {
            Some(now) => now,
            None => return finish(context, &owned, &mut state).await,
        };
    }
    if found.segment.end != intent.end {
        return Err(CompactionError::Alien { key });
    }
    let stored = Stored {
        segment: found.segment,
        index: found.index,
    };
    adopt(context, &owned, &mut state, at..at + 1, stored).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(rows: &[(u64, i64)]) -> Vec<ManifestSegment> {
        let segment = |(number, (bytes, time)): (usize, &(u64, i64))| ManifestSegment {
            base: Offset::new(number as i64 * 10),
            end: Offset::new(number as i64 * 10 + 10),
            bytes: *bytes,
            crc32: 0,
            created: TimestampMs::ZERO,
            max_timestamp: TimestampMs::new(*time),
            max_timestamp_offset: None,
            time_points: Vec::new(),
        };
        rows.iter().enumerate().map(segment).collect()
    }

    #[test]
    fn a_partition_is_due_by_its_dirty_part_or_by_age_and_the_young_stay() {
        let all = segments(&[(50, 100), (30, 200), (20, 300)]);
        let compaction = Compaction {
            dirty_ratio: 0.5,
            min_lag_ms: 0,
            max_lag_ms: i64::MAX,
            delete_retention_ms: 0,
        };
        let bases = |cleaned, compaction: Compaction| {
            let found = dirty(
                &all,
                Offset::new(cleaned),
                &compaction,
                TimestampMs::new(400),
            );
            found
                .iter()
                .map(|segment| segment.base.get())
                .collect::<Vec<_>>()
        };
        assert_eq!(bases(0, compaction), [0, 10, 20]);
        assert_eq!(bases(10, compaction), [10, 20], "half is dirty");
        assert_eq!(bases(20, compaction), [0; 0], "a fifth is dirty");
        let late = Compaction {
            max_lag_ms: 50,
            ..compaction
        };
        assert_eq!(bases(20, late), [20]);
        let lagging = Compaction {
            min_lag_ms: 150,
            ..compaction
        };
        assert_eq!(bases(0, lagging), [0, 10]);
    }
}
