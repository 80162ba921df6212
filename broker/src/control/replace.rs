//! Replaces segments under the key of the first of them, for merges and for log compaction.
//!
//! Control thread. An intent is recorded first; the object is PUT only over the ETag that was read;
//! then the record, the shard and the manifest follow, in this order (log-protocol H4).

use std::ops::Range;

use coord::keys::partition::{Intent, IntentKind};
use coord::keys::plan::{self, Finish};
use coord::rules::{self, Rule};
use segment::Offset;
use segment::index::Index;
use segment::kfs::KfsObject;
use segment::manifest::ManifestSegment;
use store::{Body, ETag, GetError, GetRange, PutCondition, PutError};

use super::compactor::{CompactionError, tidy};
use super::context::Context;
use super::segments::{Whole, object_keys, read_whole};
use super::takeover::{Owned, OwnedState};
use crate::partition::SegmentRef;

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
    let (space, session, id) = (&context.space, context.session.id, owned.handle.id);
    let planned = plan::begin_intent(space, session, id, &state.seen, intent);
    Ok(state.write(context, id, planned).await?)
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
    let (space, session, id) = (&context.space, context.session.id, owned.handle.id);
    let planned = plan::finish_compaction(space, session, id, &state.seen, &Finish::default());
    Ok(state.write(context, id, planned).await?)
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
    let adopted = SegmentRef::new(owned.place(&context.keys), &segment);
    coord::mark!(SegmentsMerged);
    state.segments.splice(replaced, [segment]);
    context
        .shard_of(id)
        .call(move |shard| shard.merged(id, adopted))
        .await?;
    tidy(context, owned, state, None).await;
    Ok(())
}

/// Reads the segment at `base` of a partition whole; none if it is not there.
///
/// # Errors
/// [`CompactionError::Segment`].
pub async fn read_stored(
    context: &Context,
    owned: &Owned,
    base: Offset,
) -> Result<Option<Whole>, CompactionError> {
    let Context { objects, keys, .. } = context;
    let partition = owned.handle.id.partition;
    Ok(read_whole(objects, keys, &owned.dir, partition, base).await?)
}
