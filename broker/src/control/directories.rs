//! Directories of WAL objects: read from the objects' ends, or many at a time from bundles.
//!
//! Control thread. A bundle (`{first}-{last}.dir`) repeats the directories of consecutive objects of
//! one session, so that whoever takes its partitions reads few objects. It is only a help: what no
//! bundle tells is read from the objects themselves.
//!
//! Invariant: only objects that are durable and below the end of their session are bundled.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use coord::keys::partition::Owner;
use segment::WalSequence;
use segment::keys::{KeySpace, ObjectKey as Named};
use segment::wal::{
    WAL_TAIL_BYTES, WAL_TRAILER_BYTES, WalDirectory, WalTail, encode_directories, parse_directories,
};
use store::{Body, GetError, GetRange, ListError, ListRequest, PutCondition};

use super::objects::Objects;

/// Objects of one bundle at most.
pub const BUNDLE_OBJECTS: u64 = 64;
/// Bytes of one bundle, about, so that its memory is bounded with many partitions, too.
const BUNDLE_BYTES: usize = 8 << 20;
/// A taker bundles what it had to read one by one from so many objects on.
const BUNDLE_OBJECTS_MIN: usize = 16;
/// Sequences that one page of a listing is asked for; bundles come on top.
const SPAN_OBJECTS: u64 = 900;
/// Keys of a page, as in S3.
const PAGE_KEYS: usize = 1_000;
/// Pages that are asked for at a time at most; the number doubles up to it.
const PAGES_AT_ONCE: u64 = 16;

/// Consecutive objects of one session, as a bundle names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// The first.
    pub first: WalSequence,
    /// The last.
    pub last: WalSequence,
}

impl Block {
    /// Whether an object is one of them.
    pub fn contains(&self, sequence: WalSequence) -> bool {
        self.first <= sequence && sequence <= self.last
    }
}

/// A bundle that can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Its objects.
    pub block: Block,
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Bundle {
    fn new(keys: &KeySpace, owner: Owner, first: WalSequence, tails: &[Bytes]) -> Self {
        let count = tails.len() as u64;
        assert!(count > 0, "a bundle has objects");
        let last = WalSequence::new(first.get() + count - 1);
        Self {
            block: Block { first, last },
            key: keys.wal_directories(owner.broker, owner.session, first, last),
            bytes: encode_directories(tails),
        }
    }

    /// Writes it. A failure only costs a later taker some reads.
    pub async fn write(self, objects: &Objects) -> bool {
        let body = Body::from(self.bytes);
        match objects.put(&self.key, body, PutCondition::None).await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(key = self.key, %error, "a bundle of directories was not written");
                false
            }
        }
    }
}

/// Gathers the directories of our own session as its objects are acknowledged.
#[derive(Debug)]
pub struct Bundler {
    owner: Owner,
    keys: KeySpace,
    first: WalSequence,
    tails: Vec<Bytes>,
    bytes: usize,
}

impl Bundler {
    /// Nothing is gathered yet.
    pub fn new(owner: Owner, keys: KeySpace) -> Self {
        Self {
            owner,
            keys,
            first: WalSequence::ZERO,
            tails: Vec::new(),
            bytes: 0,
        }
    }

    /// An object was acknowledged; `tail` is its directory and trailer. Gives a bundle when one is
    /// full.
    ///
    /// # Panics
    /// If it does not follow the object before it.
    pub fn add(&mut self, sequence: WalSequence, tail: Bytes) -> Option<Bundle> {
        if self.tails.is_empty() {
            self.first = sequence;
        }
        let expected = self.first.get() + self.tails.len() as u64;
        assert!(
            sequence.get() == expected,
            "objects are acknowledged in sequence"
        );
        self.bytes += tail.len();
        self.tails.push(tail);
        let full = self.tails.len() as u64 >= BUNDLE_OBJECTS || self.bytes >= BUNDLE_BYTES;
        full.then(|| {
            self.bytes = 0;
            let tails = std::mem::take(&mut self.tails);
            Bundle::new(&self.keys, self.owner, self.first, &tails)
        })
    }
}

/// Bundles of directories that were read one by one, for the next taker.
pub fn bundles(
    keys: &KeySpace,
    owner: Owner,
    tails: &BTreeMap<WalSequence, Bytes>,
    end: WalSequence,
) -> Vec<Bundle> {
    let mut bundles = Vec::new();
    let mut block: Vec<Bytes> = Vec::new();
    let (mut first, mut bytes) = (WalSequence::ZERO, 0);
    let mut finish = |block: &mut Vec<Bytes>, first| {
        if block.len() >= BUNDLE_OBJECTS_MIN {
            bundles.push(Bundle::new(keys, owner, first, block));
        }
        block.clear();
    };
    for (sequence, tail) in tails.range(..end) {
        let follows = first.get() + block.len() as u64 == sequence.get();
        let full = block.len() as u64 >= BUNDLE_OBJECTS || bytes >= BUNDLE_BYTES;
        if !follows || full {
            finish(&mut block, first);
        }
        if block.is_empty() {
            (first, bytes) = (*sequence, 0);
        }
        bytes += tail.len();
        block.push(tail.clone());
    }
    finish(&mut block, first);
    bundles
}

/// What LIST shows of a session. Only a hint: it may lack objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// WAL objects.
    pub objects: Vec<WalSequence>,
    /// Bundles.
    pub bundles: Vec<Block>,
}

impl Listing {
    /// The bundles that tell of sequences in `wanted`, in order, without those that others make
    /// superfluous.
    pub fn useful_bundles(&self, wanted: &[WalSequence]) -> Vec<Block> {
        let mut all = self.bundles.clone();
        all.sort_by_key(|block| (block.first, std::cmp::Reverse(block.last)));
        let mut useful: Vec<Block> = Vec::new();
        for block in all {
            let told = useful.last().map(|before| before.last);
            let mut new = wanted
                .iter()
                .filter(|at| told.is_none_or(|told| **at > told));
            if new.any(|at| block.contains(*at)) {
                useful.push(block);
            }
        }
        useful
    }
}

/// Lists objects and bundles of a session in a range. Pages are asked for side by side: their keys
/// are known.
///
/// # Errors
/// As the store's last answer.
pub async fn list(
    objects: &Objects,
    keys: &KeySpace,
    owner: Owner,
    range: Range<WalSequence>,
) -> Result<Listing, ListError> {
    let mut listing = Listing::default();
    // A bundle that begins before the range may reach into it.
    let mut at = range.start.get().saturating_sub(BUNDLE_OBJECTS);
    let mut pages = 1;
    while at < range.end.get() {
        let spans: Vec<Range<u64>> = (0..pages)
            .map(|page| at.saturating_add(page * SPAN_OBJECTS))
            .map(|from| from..from.saturating_add(SPAN_OBJECTS).min(range.end.get()))
            .filter(|span| !span.is_empty())
            .collect();
        let asked = spans
            .iter()
            .map(|span| list_span(objects, keys, owner, span.clone()));
        let mut last_is_empty = true;
        for answer in futures_util::future::join_all(asked).await {
            let page = answer?;
            last_is_empty = page.objects.is_empty() && page.bundles.is_empty();
            listing.objects.extend(page.objects);
            listing.bundles.extend(page.bundles);
        }
        if last_is_empty {
            break;
        }
        at = spans.last().map_or(range.end.get(), |span| span.end);
        pages = (pages * 2).min(PAGES_AT_ONCE);
    }
    listing.objects.retain(|at| range.contains(at));
    Ok(listing)
}

async fn list_span(
    objects: &Objects,
    keys: &KeySpace,
    owner: Owner,
    span: Range<u64>,
) -> Result<Listing, ListError> {
    let Owner { session, broker } = owner;
    let mut request = ListRequest::new(keys.session_prefix(broker, session)).limit(PAGE_KEYS);
    let before = span.start.checked_sub(1);
    request.start_after = before.map(|before| keys.wal(broker, session, WalSequence::new(before)));
    let page = objects.list_page(&request).await?;
    let mut listing = Listing::default();
    for meta in &page.objects {
        match keys.parse(meta.key.as_str()) {
            Some(Named::Wal { sequence, .. }) if span.contains(&sequence.get()) => {
                listing.objects.push(sequence);
            }
            Some(Named::WalDirectories { first, last, .. }) if span.contains(&first.get()) => {
                listing.bundles.push(Block { first, last });
            }
            _ => {}
        }
    }
    Ok(listing)
}

/// The directory of one WAL object, and the bytes that a bundle repeats.
#[derive(Debug)]
pub struct Read {
    /// The directory.
    pub directory: WalDirectory,
    /// Directory and trailer, verbatim.
    pub tail: Bytes,
}

/// Reads the directory of one WAL object. The inner error says why the object cannot be understood.
///
/// # Errors
/// As the store answers.
pub async fn read_one(
    objects: &Objects,
    keys: &KeySpace,
    owner: Owner,
    sequence: WalSequence,
) -> Result<Result<Read, String>, GetError> {
    let key = keys.wal(owner.broker, owner.session, sequence);
    let found = match objects.get(&key, GetRange::Suffix(WAL_TAIL_BYTES)).await {
        Ok(found) => found,
        Err(GetError::RangeNotSatisfiable { .. }) => return Ok(Err("it is empty".to_owned())),
        Err(error) => return Err(error),
    };
    let (directory, tail) = match WalDirectory::from_tail(&found.bytes) {
        Ok(WalTail::Directory(directory)) => {
            let len = directory.trailer.directory_len as usize + WAL_TRAILER_BYTES;
            // A copy: what was read around it goes.
            let tail = Bytes::copy_from_slice(&found.bytes[found.bytes.len() - len..]);
            (directory, tail)
        }
        Ok(WalTail::Fetch(trailer)) => {
            let start = trailer.directory_range().start;
            let range = GetRange::Range(start..trailer.object_len);
            let tail = objects.get(&key, range).await?.bytes;
            match WalDirectory::from_tail(&tail) {
                Ok(WalTail::Directory(directory)) => (directory, tail),
                Ok(WalTail::Fetch(_)) => {
                    return Ok(Err("its directory cannot be read".to_owned()));
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Err(error) => return Ok(Err(error.to_string())),
    };
    if directory.trailer.object_len != found.object_len {
        let stated = directory.trailer.object_len;
        let len = found.object_len;
        return Ok(Err(format!("it has {len} bytes and states {stated}")));
    }
    if !is_of(&directory, owner) || directory.header().sequence != sequence {
        let header = directory.header();
        let (session, sequence) = (header.session, header.sequence);
        return Ok(Err(format!(
            "it says that it is object {sequence} of session {session}"
        )));
    }
    Ok(Ok(Read { directory, tail }))
}

/// Reads a bundle; none if it is gone, or is not what its key says.
///
/// # Errors
/// As the store answers.
pub async fn read_bundle(
    objects: &Objects,
    keys: &KeySpace,
    owner: Owner,
    block: Block,
) -> Result<Option<Vec<WalDirectory>>, GetError> {
    let key = keys.wal_directories(owner.broker, owner.session, block.first, block.last);
    let found = match objects.get(&key, GetRange::Full).await {
        Ok(found) => found,
        Err(GetError::NotFound { .. } | GetError::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let directories = match parse_directories(&found.bytes) {
        Ok(directories) => directories,
        Err(error) => {
            tracing::warn!(key, %error, "a bundle of directories is damaged; it is only a help");
            return Ok(None);
        }
    };
    let is_sound = directories.first().map(|first| first.header().sequence) == Some(block.first)
        && directories.last().map(|last| last.header().sequence) == Some(block.last)
        && directories.iter().all(|directory| is_of(directory, owner));
    if !is_sound {
        tracing::warn!(
            key,
            "a bundle of directories is not what its name says; not used"
        );
    }
    Ok(is_sound.then_some(directories))
}

fn is_of(directory: &WalDirectory, owner: Owner) -> bool {
    let header = directory.header();
    header.session == owner.session && header.broker == owner.broker
}

#[cfg(test)]
mod tests;
