//! Directories of WAL objects: from the objects' ends, or many at a time from bundles.

use std::sync::Arc;

use coord::keys::partition::Source;
use segment::WalSequence;
use segment::keys::ObjectKey as Named;
use segment::wal::{WAL_TAIL_BYTES, WalDirectory, WalTail, parse_directories};
use store::{GetError, GetRange, ListRequest};

use crate::bucket::Bucket;
use crate::error::ReadError;
use crate::held::Span;

/// Objects of one bundle at most: one that begins so far before a sequence may tell of it.
const BUNDLE_OBJECTS: u64 = 64;

/// Consecutive objects of one session, as a bundle names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first: WalSequence,
    pub(crate) last: WalSequence,
}

/// What one page of LIST shows of a session from a sequence on. Only a hint.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The highest WAL object shown.
    pub(crate) last: Option<WalSequence>,
    /// Bundles, by first object, the longest first.
    pub(crate) bundles: Vec<Block>,
    /// Whether there is more behind it.
    pub(crate) more: bool,
}

/// Lists one page of a session from a sequence on.
pub(crate) async fn list(
    bucket: &Bucket,
    source: &Source,
    from: WalSequence,
) -> Result<Page, ReadError> {
    let Bucket { objects, keys, .. } = bucket;
    let mut request = ListRequest::new(keys.session_prefix(source.broker, source.session));
    let before = from.get().checked_sub(BUNDLE_OBJECTS + 1);
    request.start_after =
        before.map(|before| keys.wal(source.broker, source.session, WalSequence::new(before)));
    let listed = objects.list_page(&request).await?;
    let mut page = Page {
        more: listed.next_start_after.is_some(),
        ..Page::default()
    };
    for meta in &listed.objects {
        match keys.parse(meta.key.as_str()) {
            Some(Named::Wal { sequence, .. }) => page.last = page.last.max(Some(sequence)),
            Some(Named::WalDirectories { first, last, .. }) if last >= from => {
                page.bundles.push(Block { first, last });
            }
            _ => {}
        }
    }
    page.bundles
        .sort_by_key(|block| (block.first, std::cmp::Reverse(block.last)));
    Ok(page)
}

/// Reads the directory of one WAL object; none where there is no such object.
pub(crate) async fn read_one(
    bucket: &Bucket,
    source: &Source,
    sequence: WalSequence,
) -> Result<Option<Arc<[WalDirectory]>>, ReadError> {
    let Bucket { objects, keys, .. } = bucket;
    let span = Span {
        session: source.session,
        first: sequence,
        last: sequence,
    };
    if let Some(held) = bucket.held.get(span) {
        return Ok(Some(held));
    }
    let key = keys.wal(source.broker, source.session, sequence);
    let found = match objects.get(&key, GetRange::Suffix(WAL_TAIL_BYTES)).await {
        Ok(found) => found,
        Err(GetError::NotFound { .. }) => return Ok(None),
        Err(GetError::RangeNotSatisfiable { .. }) => {
            return Err(ReadError::damaged(&key, "it is empty"));
        }
        Err(error) => return Err(error.into()),
    };
    let damaged = |reason: &dyn ToString| ReadError::damaged(&key, reason.to_string());
    let tail = WalDirectory::from_tail(&found.bytes).map_err(|error| damaged(&error))?;
    let directory = match tail {
        WalTail::Directory(directory) => directory,
        WalTail::Fetch(trailer) => {
            let range = GetRange::Range(trailer.directory_range());
            let rows = match objects.get(&key, range).await {
                Ok(found) => found.bytes,
                // It was deleted in between.
                Err(GetError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            WalDirectory::parse(&trailer, &rows).map_err(|error| damaged(&error))?
        }
    };
    let stated = directory.trailer.object_len;
    if stated != found.object_len {
        let len = found.object_len;
        return Err(damaged(&format!("it has {len} bytes and states {stated}")));
    }
    let header = directory.header();
    if !is_of(&directory, source) || header.sequence != sequence {
        let (session, sequence) = (header.session, header.sequence);
        let says = format!("it says that it is object {sequence} of session {session}");
        return Err(damaged(&says));
    }
    Ok(Some(bucket.held.hold(span, vec![directory])))
}

/// Reads a bundle; none if it is gone or is not what its key says: it is only a help.
///
/// What it tells of is durable and lies below the end of its session, so it proves as much as the
/// objects themselves.
pub(crate) async fn read_bundle(
    bucket: &Bucket,
    source: &Source,
    block: Block,
) -> Result<Option<Arc<[WalDirectory]>>, ReadError> {
    let Bucket { objects, keys, .. } = bucket;
    let Block { first, last } = block;
    let span = Span {
        session: source.session,
        first,
        last,
    };
    if let Some(held) = bucket.held.get(span) {
        return Ok(Some(held));
    }
    let key = keys.wal_directories(source.broker, source.session, first, last);
    let found = match objects.get(&key, GetRange::Full).await {
        Ok(found) => found,
        Err(GetError::NotFound { .. } | GetError::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let directories = match parse_directories(&found.bytes) {
        Ok(directories) => directories,
        Err(error) => {
            tracing::warn!(key, %error, "a bundle of directories is damaged; it is only a help");
            return Ok(None);
        }
    };
    let follow =
        |pair: &[WalDirectory]| pair[0].header().sequence.next() == Some(pair[1].header().sequence);
    let is_sound = directories.first().map(|first| first.header().sequence) == Some(first)
        && directories.last().map(|last| last.header().sequence) == Some(last)
        && directories.windows(2).all(follow)
        && directories.iter().all(|directory| is_of(directory, source));
    if !is_sound {
        tracing::warn!(
            key,
            "a bundle of directories is not what its name says; not used"
        );
    }
    Ok(is_sound.then(|| bucket.held.hold(span, directories)))
}

fn is_of(directory: &WalDirectory, source: &Source) -> bool {
    let header = directory.header();
    header.session == source.session && header.broker == source.broker
}
