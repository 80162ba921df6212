//! Objects of their own for sections that are too large to share a WAL object (DESIGN §3.5).
//!
//! Control thread; hashing runs on the blocking pool. Such an object lies in the session's WAL prefix
//! in the segment format and takes no WAL sequence. It counts for nothing until a WAL object names
//! it: nobody fences it, and one that is never named is garbage.

use bytes::Bytes;
use segment::TimestampMs;
use segment::kfs::{KFS_FOOTER_BYTES, KfsFooter, KfsObject};
use store::{Body, GetError, GetRange};

use super::context::{Context, wall_clock};
use super::flusher::{FlushError, StoredAs, store_object};
use crate::partition::SealedSection;
use crate::wal::OwnCounter;

/// What is known of a section once its own object is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnStored {
    /// The object's number in its session.
    pub counter: OwnCounter,
    /// Checksum (CRC-32/IEEE) of the section's bytes.
    pub crc: u32,
}

/// Stores a section as an object of its own, however long it takes.
///
/// # Errors
/// [`FlushError`]: the session is over, or the process.
pub async fn store_own(
    context: &Context,
    counter: OwnCounter,
    section: &SealedSection,
) -> Result<OwnStored, FlushError> {
    let session = context.session;
    let key = context.keys.own(session.broker, session.id, counter.0);
    let chunks: Vec<Bytes> = section.run.chunks().cloned().collect();
    let (base, created) = (section.run.first(), wall_clock());
    let built = super::pool::run(move || build(base, created, chunks));
    let built = built.await.map_err(|_| FlushError::ShardGone)?;
    let (kfs, crc) = built;
    let body = Body::new(kfs.chunks.clone()).with_crc32(kfs.crc32);
    let stored_as = StoredAs::Own {
        footer: kfs.footer,
        len: kfs.len,
    };
    store_object(context, &key, body, &stored_as).await?;
    Ok(OwnStored { counter, crc })
}

fn build(base: segment::Offset, created: TimestampMs, chunks: Vec<Bytes>) -> (KfsObject, u32) {
    let mut hasher = crc32fast::Hasher::new();
    chunks.iter().for_each(|chunk| hasher.update(chunk));
    let kfs = KfsObject::build(base, created, chunks);
    let kfs = kfs.expect("a section is whole batches in order, and far below 2 GiB");
    (kfs, hasher.finalize())
}

/// Whether the object under one of our own keys is what we wrote; else what it is.
pub async fn is_ours(
    context: &Context,
    key: &str,
    footer: KfsFooter,
    len: u64,
) -> Result<Option<String>, GetError> {
    let tail = GetRange::Suffix(KFS_FOOTER_BYTES as u64);
    let found = match context.objects.get_once(key, tail).await {
        Ok(found) => found,
        Err(GetError::NotFound { .. }) => return Ok(Some("it was there and is gone".to_owned())),
        Err(error) => return Err(error),
    };
    Ok(match KfsFooter::parse(&found.bytes) {
        Ok(parsed) if parsed == footer && found.object_len == len => None,
        Ok(_) => Some("another segment".to_owned()),
        Err(error) => Some(error.to_string()),
    })
}
