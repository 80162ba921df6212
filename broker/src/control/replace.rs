//! Replaces segments under the key of the first of them, for merges and for log compaction.
//!
//! Control thread. An intent is recorded first; the object is PUT only over the ETag that was read;
//! then the record, the shard and the manifest follow, in this order (log-protocol H4).

use std::ops::Range;

use coord::keys::partition::{self, Intent, IntentKind};
use coord::keys::plan::{self, Finish};
use coord::rules::{self, Rule};
use segment::Offset;
use segment::index::Index;
use segment::kfs::{self, KfsObject};
use segment::manifest::{ManifestSegment, time_points};
use store::{Body, ETag, GetError, GetRange, PutCondition, PutError};

use super::commit::{CommitError, commit};
use super::compactor::{CompactionError, tidy};
use super::context::Context;
use super::segments::{object_keys, segment_ref};
use super::takeover::{Owned, OwnedState};

/// A segment object that is in the store.
#[derive(Debug)]
pub struct Stored {
    /// What the manifest tells of it.
    pub segment: ManifestSegment,
    /// Its index.
    pub index: Index,
}

/// The ETag that an intent replaces; none: it creates.
pub fn etag_of(intent: &Intent) -> Option<ETag> {
    match &intent.kind {
        IntentKind::Extend { etag } | IntentKind::Rewrite { etag } => {
            Some(ETag::new(etag.as_str()))
        }
        IntentKind::Append => None,
    }
}

/// Records an intent.
///
/// # Errors
/// [`CompactionError`].
pub async fn begin(
    context: &Context,
    owned: &Owned,
    state: &mut OwnedState,
    intent: Intent,
) -> Result<(), CompactionError> {
    let Context {
        space, session, kv, ..
    } = context;
    let id = owned.handle.id;
    let planned = plan::begin_intent(space, session.id, id, &state.seen, intent);
    let planned = planned.map_err(CommitError::from)?;
    state.seen = commit(kv, &partition::key(space, id), &planned, Some(&state.seen)).await?;
    Ok(())
}

/// Takes the pending intent out of the record; the compacted end stays.
///
/// # Errors
/// [`CompactionError`].
pub async fn finish(
    context: &Context,
    owned: &Owned,
    state: &mut OwnedState,
) -> Result<(), CompactionError> {
    let Context {
        space, session, kv, ..
    } = context;
    let id = owned.handle.id;
    let planned = plan::finish_compaction(space, session.id, id, &state.seen, &Finish::default());
    let planned = planned.map_err(CommitError::from)?;
    state.seen = commit(kv, &partition::key(space, id), &planned, Some(&state.seen)).await?;
    Ok(())
}

/// PUTs a segment over the one with this ETag. If that has changed, it is ours already, from an
/// earlier try, or nobody knows what it is.
///
/// # Errors
/// [`CompactionError`].
pub async fn put_over(
    context: &Context,
    key: &str,
    kfs: &KfsObject,
    etag: ETag,
) -> Result<(), CompactionError> {
    let body = Body::new(kfs.chunks.clone()).with_crc32(kfs.crc32);
    let condition = match rules::holds(Rule::MergeOverWhatWasRead) {
        true => PutCondition::IfMatch(etag),
        false => PutCondition::None,
    };
    match context.objects.put(key, body, condition).await {
        Ok(_) => return Ok(()),
        Err(PutError::Mismatch { .. } | PutError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let alien = || CompactionError::Alien {
        key: key.to_owned(),
    };
    match context.objects.get(key, GetRange::Full).await {
        Ok(found) if found.object_len == kfs.len && crc32fast::hash(&found.bytes) == kfs.crc32 => {
            Ok(())
        }
        Ok(_) | Err(GetError::NotFound { .. }) => Err(alien()),
        Err(error) => Err(error.into()),
    }
}

/// Finishes the pending intent, whose object is in the store: record, shard, manifest. It takes the
/// place of the segments `replaced`.
///
/// # Errors
/// [`CompactionError`].
pub async fn adopt(
    context: &Context,
    owned: &Owned,
    state: &mut OwnedState,
    replaced: Range<usize>,
    stored: Stored,
) -> Result<(), CompactionError> {
    let id = owned.handle.id;
    let Stored { segment, index } = stored;
    let [index_key, _] = object_keys(&context.keys, &owned.dir, id.partition, segment.base);
    let index = Body::from(index.encode());
    if let Err(error) = context
        .objects
        .put(&index_key, index, PutCondition::None)
        .await
    {
        tracing::warn!(key = index_key, %error, "an index was not written; it is built when read");
    }
    finish(context, owned, state).await?;
    let adopted = segment_ref(&context.keys, &owned.dir, id.partition, &segment);
    state.segments.splice(replaced, [segment]);
    context
        .shard_of(id)
        .call(move |shard| shard.merged(id, adopted))
        .await?;
    tidy(context, owned, state, None).await;
    Ok(())
}

/// Reads the segment at `base` and checks all of it; none if it is not there.
///
/// # Errors
/// [`CompactionError::Damaged`], or the store failed.
pub async fn read_stored(
    context: &Context,
    owned: &Owned,
    base: Offset,
) -> Result<Option<(Stored, bytes::Bytes, ETag)>, CompactionError> {
    let [_, key] = object_keys(&context.keys, &owned.dir, owned.handle.id.partition, base);
    let found = match context.objects.get(&key, GetRange::Full).await {
        Ok(found) => found,
        Err(GetError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let bytes = found.bytes.clone();
    let verified = tokio::task::spawn_blocking(move || {
        let report = kfs::verify(&bytes);
        let body = kfs::body_range(bytes.len() as u64)
            .map(|body| bytes.slice(body.start as usize..body.end as usize));
        let points = body.clone().and_then(|body| time_points(&[body]).ok());
        (
            report,
            body,
            points.unwrap_or_default(),
            crc32fast::hash(&bytes),
        )
    });
    let (report, body, time_points, crc32) = verified.await?;
    let damaged = |reason: String| CompactionError::Damaged {
        key: key.as_str().into(),
        position: 0,
        reason,
    };
    if let Some(fault) = report.faults.first() {
        return Err(damaged(fault.to_string()));
    }
    let (Some(header), Some(end), Some(body)) = (
        report.header,
        report.last_offset.and_then(Offset::next),
        body,
    ) else {
        return Err(damaged("it holds no batch".to_owned()));
    };
    let segment = ManifestSegment {
        base,
        end,
        bytes: found.object_len,
        crc32,
        created: header.created,
        max_timestamp: report.max_timestamp,
        max_timestamp_offset: None,
        time_points,
    };
    let index = report.index;
    Ok(Some((Stored { segment, index }, body, found.etag)))
}
