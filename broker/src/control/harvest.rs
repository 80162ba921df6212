//! Reads the WAL objects of earlier sessions, and ends those sessions by fences.
//!
//! Control thread. Every object is read once, for all partitions that are taken. The end of a
//! session is the lowest sequence that holds a fence; where none is found, a fence is created at
//! the first sequence that holds nothing (log-protocol H1). LIST and bundles of directories only
//! save reads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use coord::keys::partition::Owner;
use coord::rules::{self, Rule};
use segment::keys::KeySpace;
use segment::wal::{WalDirectory, WalEntry, WalHeader, WalKind, encode};
use segment::{SessionId, TopicPartition, WalSequence};
use store::{Body, GetError, ListError, PutCondition, PutError};

use super::directories::{self, Bundle, Listing};
use super::objects::Objects;

/// How often a fence is tried again where the object that was in its way cannot be found.
const FENCE_TRIES_MAX: usize = 16;
/// Fences that are PUT at once at most, against a session that outruns them (log-protocol H19).
const FENCES_AT_ONCE_MAX: u64 = 16;
/// Closed ranges of more objects than this are listed, to find bundles.
const LIST_FROM_OBJECTS: usize = 32;
/// Sessions are read side by side as long as they have no more objects than this together: the directories of all of them
/// are in memory before what is wanted is taken out.
const TOGETHER_OBJECTS_MAX: usize = 1_024;
/// Bytes of directories that are kept to be bundled.
const TAILS_BYTES_MAX: usize = 32 << 20;

/// Why the objects of a session cannot be read or fenced now.
#[derive(Debug, thiserror::Error)]
pub enum HarvestError {
    /// The store failed.
    #[error("read the WAL of session {session}: {source}")]
    Get {
        /// The session.
        session: SessionId,
        /// What the store answered.
        source: GetError,
    },
    /// The store failed.
    #[error("read the WAL of session {session}: {source}")]
    List {
        /// The session.
        session: SessionId,
        /// What the store answered.
        source: ListError,
    },
    /// The store failed.
    #[error("fence session {session}: {source}")]
    Fence {
        /// The session.
        session: SessionId,
        /// What the store answered.
        source: PutError,
    },
    /// An object was said to exist and could not be found.
    #[error("fence session {session}: object {sequence} comes and goes")]
    Unsteady {
        /// The session.
        session: SessionId,
        /// Its object.
        sequence: WalSequence,
    },
}

/// What an object of a session turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    /// Batches, or the first object, or a proof of life.
    Data,
    /// The end of the session.
    Fence,
    /// There is an object, but it cannot be understood.
    Unreadable(String),
    /// There is none.
    Missing,
}

/// A section of a partition that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Session of the object.
    pub session: SessionId,
    /// Number of the object.
    pub sequence: WalSequence,
    /// Key of the object that holds the bytes.
    pub key: Arc<str>,
    /// The row of its directory.
    pub entry: WalEntry,
}

/// Reads and fences sessions for one takeover.
#[derive(Debug)]
pub struct Harvest<'a> {
    objects: &'a Objects,
    keys: &'a KeySpace,
    me: SessionId,
    wanted: HashSet<TopicPartition>,
    held: HashMap<SessionId, BTreeMap<WalSequence, Held>>,
    sections: HashMap<TopicPartition, Vec<Found>>,
    /// Directories that no bundle told.
    tails: HashMap<SessionId, (Owner, BTreeMap<WalSequence, Bytes>)>,
    tails_bytes: usize,
}

impl<'a> Harvest<'a> {
    /// Reads for these partitions, in the name of our session.
    pub fn new(
        objects: &'a Objects,
        keys: &'a KeySpace,
        me: SessionId,
        wanted: HashSet<TopicPartition>,
    ) -> Self {
        Self {
            objects,
            keys,
            me,
            wanted,
            held: HashMap::new(),
            sections: HashMap::new(),
            tails: HashMap::new(),
            tails_bytes: 0,
        }
    }

    /// Ends a session: gives the sequence after its last object. Everything below it and from
    /// `floor` on has been read.
    ///
    /// # Errors
    /// [`HarvestError`]; the session may have been ended all the same.
    pub async fn fence(
        &mut self,
        owner: Owner,
        floor: WalSequence,
    ) -> Result<WalSequence, HarvestError> {
        assert!(owner.session != self.me, "a session does not fence itself");
        let everything = floor..WalSequence::new(u64::MAX);
        let listing = list(self.objects, self.keys, owner, everything).await?;
        let listed = listing.objects.clone();
        let mut at = search_from(floor, &listed);
        self.read(owner, &listing, listed).await?;
        let (mut lost, mut unsteady) = (0, 0);
        for _ in 0..u64::MAX {
            match self.held(owner.session, at) {
                Some(Held::Fence)
                    if rules::holds(Rule::LowestFenceIsTheEnd)
                        || self.held[&owner.session].keys().next_back() == Some(&at) =>
                {
                    return Ok(at);
                }
                Some(Held::Data | Held::Unreadable(_) | Held::Fence) => {
                    at = at.next().expect("a session has fewer than 2^64 objects");
                    unsteady = 0;
                }
                Some(Held::Missing) | None => {
                    if !rules::holds(Rule::FenceBeforeLoading) {
                        return Ok(at);
                    }
                    if unsteady == FENCE_TRIES_MAX {
                        let (session, sequence) = (owner.session, at);
                        return Err(HarvestError::Unsteady { session, sequence });
                    }
                    let width = match rules::holds(Rule::FencesComeInNumbers) {
                        true => 1 << lost.min(FENCES_AT_ONCE_MAX.ilog2()),
                        false => 1,
                    };
                    self.create_fences(owner, at, width).await?;
                    lost += 1;
                    unsteady += 1;
                }
            }
        }
        unreachable!("a session has fewer than 2^64 objects");
    }

    fn held(&self, session: SessionId, sequence: WalSequence) -> Option<&Held> {
        self.held.get(&session)?.get(&sequence)
    }

    fn hold(&mut self, session: SessionId, sequence: WalSequence, held: Held) {
        self.held.entry(session).or_default().insert(sequence, held);
    }

    /// Creates fences at `width` sequences from `at` on, all at once, and reads what is there
    /// already. Afterwards each of them is known to hold something, or its object has come and
    /// gone.
    async fn create_fences(
        &mut self,
        owner: Owner,
        at: WalSequence,
        width: u64,
    ) -> Result<(), HarvestError> {
        let (objects, keys, me) = (self.objects, self.keys, self.me);
        let sequences = (at.get()..at.get().saturating_add(width)).map(WalSequence::new);
        let puts = sequences.map(|at| create_fence(objects, keys, me, owner, at));
        let mut taken = Vec::new();
        for outcome in futures_util::future::join_all(puts).await {
            match outcome? {
                (at, true) => self.hold(owner.session, at, Held::Fence),
                (at, false) => taken.push(at),
            }
        }
        self.read(owner, &Listing::default(), taken).await
    }

    /// Reads the objects of a range that have not been read yet; see [`Self::read_ranges`].
    ///
    /// # Errors
    /// As there.
    pub async fn read_range(
        &mut self,
        owner: Owner,
        range: Range<WalSequence>,
    ) -> Result<(), HarvestError> {
        self.read_ranges([(owner, range)]).await
    }

    /// Reads the objects of ranges that have not been read yet, of several sessions at a time.
    ///
    /// # Errors
    /// [`HarvestError`] if the store fails; an object that is missing or damaged is no error here.
    pub async fn read_ranges(
        &mut self,
        ranges: impl IntoIterator<Item = (Owner, Range<WalSequence>)>,
    ) -> Result<(), HarvestError> {
        let (objects, keys) = (self.objects, self.keys);
        let mut unread = self.unread(ranges).into_iter().peekable();
        while let Some(first) = unread.next() {
            let mut count = first.1.len();
            let mut together = vec![first];
            while let Some(next) =
                unread.next_if(|(_, next)| count + next.len() <= TOGETHER_OBJECTS_MAX)
            {
                count += next.1.len();
                together.push(next);
            }
            let reading = together.into_iter().map(|(owner, sequences)| async move {
                let read = read_listed(objects, keys, owner, sequences).await;
                (owner, read)
            });
            for (owner, read) in futures_util::future::join_all(reading).await {
                self.keep_all(owner, read?);
            }
        }
        Ok(())
    }

    /// What of some ranges has not been read yet: by session, in order, each object once.
    fn unread(
        &self,
        ranges: impl IntoIterator<Item = (Owner, Range<WalSequence>)>,
    ) -> Vec<(Owner, Vec<WalSequence>)> {
        let mut sessions: BTreeMap<SessionId, (Owner, Vec<Range<WalSequence>>)> = BTreeMap::new();
        for (owner, range) in ranges {
            let known = sessions.entry(owner.session);
            let (_, ranges) = known.or_insert_with(|| (owner, Vec::new()));
            // Partitions of one session mostly want the same.
            if ranges.last() != Some(&range) {
                ranges.push(range);
            }
        }
        let mut unread = Vec::with_capacity(sessions.len());
        for (session, (owner, mut ranges)) in sessions {
            ranges.sort_unstable_by_key(|range| range.start);
            let known = self.held.get(&session);
            let (mut sequences, mut next) = (Vec::new(), 0);
            for range in ranges {
                let all = (range.start.get().max(next)..range.end.get()).map(WalSequence::new);
                sequences
                    .extend(all.filter(|at| known.is_none_or(|known| !known.contains_key(at))));
                next = next.max(range.end.get());
            }
            if !sequences.is_empty() {
                unread.push((owner, sequences));
            }
        }
        unread
    }

    /// Reads objects of a session: from bundles where there are any, the others one by one.
    async fn read(
        &mut self,
        owner: Owner,
        listing: &Listing,
        mut sequences: Vec<WalSequence>,
    ) -> Result<(), HarvestError> {
        sequences.retain(|at| !matches!(self.held(owner.session, *at), Some(Held::Data)));
        let read = read_objects(self.objects, self.keys, owner, listing, sequences).await?;
        self.keep_all(owner, read);
        Ok(())
    }

    fn keep_all(&mut self, owner: Owner, read: ReadObjects) {
        let session = owner.session;
        for directory in read.bundled {
            let sequence = directory.header().sequence;
            if self.held(session, sequence).is_none() {
                self.keep(owner, sequence, directory);
            }
        }
        for (sequence, found) in read.single {
            match found {
                Ok(directories::Read { directory, tail }) => {
                    self.keep(owner, sequence, directory);
                    self.keep_tail(owner, sequence, tail);
                }
                Err(held) => {
                    if let Held::Unreadable(reason) = &held {
                        tracing::error!(%session, %sequence, reason, "a WAL object cannot be read");
                    }
                    self.hold(session, sequence, held);
                }
            }
        }
    }

    fn keep_tail(&mut self, owner: Owner, sequence: WalSequence, tail: Bytes) {
        if self.tails_bytes + tail.len() <= TAILS_BYTES_MAX {
            self.tails_bytes += tail.len();
            let (_, tails) = self
                .tails
                .entry(owner.session)
                .or_insert_with(|| (owner, BTreeMap::new()));
            tails.insert(sequence, tail);
        }
    }

    /// Bundles of the directories that were read one by one, of objects below the ends of their
    /// sessions.
    pub fn bundles(&mut self) -> Vec<Bundle> {
        let mut bundles = Vec::new();
        for (session, (owner, tails)) in std::mem::take(&mut self.tails) {
            let held = self.held.get(&session).into_iter().flatten();
            let fence = held.into_iter().find(|(_, held)| **held == Held::Fence);
            let end = fence.map_or(WalSequence::new(u64::MAX), |(at, _)| *at);
            bundles.extend(directories::bundles(self.keys, owner, &tails, end));
        }
        bundles
    }

    fn keep(&mut self, owner: Owner, sequence: WalSequence, directory: WalDirectory) {
        let Owner { session, broker } = owner;
        let held = match directory.header().kind {
            WalKind::Fence => Held::Fence,
            WalKind::Open | WalKind::Data | WalKind::Empty => Held::Data,
        };
        self.hold(session, sequence, held);
        let key: Arc<str> = self.keys.wal(broker, session, sequence).into();
        for entry in directory.entries {
            let partition = entry.topic_partition();
            if self.wanted.contains(&partition) {
                let key = match entry.place {
                    segment::wal::SectionPlace::Inline { .. } => key.clone(),
                    segment::wal::SectionPlace::Own { counter } => {
                        self.keys.own(broker, session, counter).into()
                    }
                };
                let found = Found {
                    session,
                    sequence,
                    key,
                    entry,
                };
                self.sections.entry(partition).or_default().push(found);
            }
        }
    }

    /// The sections of a partition that have been read, and forgets them.
    pub fn take_sections(&mut self, partition: TopicPartition) -> Vec<Found> {
        self.sections.remove(&partition).unwrap_or_default()
    }

    /// What is wrong with the objects of a range, if anything is: nobody knows then what they held.
    pub fn fault(&self, session: SessionId, range: Range<WalSequence>) -> Option<String> {
        if range.is_empty() {
            return None;
        }
        let known = self.held.get(&session);
        let mut next = range.start;
        while next < range.end {
            match known.and_then(|known| known.get(&next)) {
                Some(Held::Data) => {}
                Some(Held::Fence) => {
                    return Some(format!("object {next} of session {session} is a fence"));
                }
                Some(Held::Unreadable(reason)) => {
                    return Some(format!("object {next} of session {session}: {reason}"));
                }
                Some(Held::Missing) | None => {
                    return Some(format!("object {next} of session {session} is missing"));
                }
            }
            next = next.next()?;
        }
        None
    }

    /// The objects of a range that are there and cannot be understood, and why.
    pub fn unreadable(
        &self,
        session: SessionId,
        range: Range<WalSequence>,
    ) -> Vec<(WalSequence, String)> {
        let held = self.held.get(&session);
        let held = held.into_iter().flat_map(|held| held.range(range.clone()));
        let unreadable = held.filter_map(|(at, held)| match held {
            Held::Unreadable(reason) => Some((*at, reason.clone())),
            Held::Data | Held::Fence | Held::Missing => None,
        });
        unreadable.collect()
    }

    /// Sequences that were found to hold batches, by session.
    pub fn objects(&self) -> HashMap<SessionId, Vec<WalSequence>> {
        let data = |held: &BTreeMap<WalSequence, Held>| {
            let data = held.iter().filter(|(_, held)| **held == Held::Data);
            data.map(|(sequence, _)| *sequence).collect()
        };
        self.held
            .iter()
            .map(|(session, held)| (*session, data(held)))
            .collect()
    }
}

/// What was read of a session.
#[derive(Debug)]
struct ReadObjects {
    /// Directories that bundles told, of objects that LIST shows.
    bundled: Vec<WalDirectory>,
    /// What each of the others turned out to be.
    single: Vec<(WalSequence, Result<directories::Read, Held>)>,
}

/// What LIST shows of a session in a range.
async fn list(
    objects: &Objects,
    keys: &KeySpace,
    owner: Owner,
    range: Range<WalSequence>,
) -> Result<Listing, HarvestError> {
    let session = owner.session;
    let listed = directories::list(objects, keys, owner, range).await;
    listed.map_err(|source| HarvestError::List { session, source })
}

/// Reads objects of a session, in order; where there are many, bundles are looked for.
async fn read_listed(
    objects: &Objects,
    keys: &KeySpace,
    owner: Owner,
    sequences: Vec<WalSequence>,
) -> Result<ReadObjects, HarvestError> {
    let listing = match (sequences.first(), sequences.last()) {
        (Some(first), Some(last)) if sequences.len() > LIST_FROM_OBJECTS => {
            let end = last.next().unwrap_or(*last);
            list(objects, keys, owner, *first..end).await?
        }
        _ => Listing::default(),
    };
    read_objects(objects, keys, owner, &listing, sequences).await
}

/// Reads objects of a session: from bundles where there are any, the others one by one.
async fn read_objects(
    objects: &Objects,
    keys: &KeySpace,
    owner: Owner,
    listing: &Listing,
    mut sequences: Vec<WalSequence>,
) -> Result<ReadObjects, HarvestError> {
    let session = owner.session;
    let failed = |source| HarvestError::Get { session, source };
    let bundles = listing.useful_bundles(&sequences);
    let read = |block| directories::read_bundle(objects, keys, owner, block);
    let bundles = objects.read_all(bundles, read).await.map_err(failed)?;
    let mut bundled: Vec<WalDirectory> = bundles.into_iter().flatten().flatten().collect();
    // A bundle outlives an object that is lost: one that LIST does not show is looked for.
    let shown: HashSet<WalSequence> = listing.objects.iter().copied().collect();
    bundled.retain(|directory| shown.contains(&directory.header().sequence));
    let told: HashSet<WalSequence> = bundled
        .iter()
        .filter(|directory| directory.header().kind != WalKind::Fence)
        .map(|directory| directory.header().sequence)
        .collect();
    sequences.retain(|at| !told.contains(at));
    let read = |sequence| read_object(objects, keys, owner, sequence);
    let single = objects.read_all(sequences, read).await.map_err(failed)?;
    Ok(ReadObjects { bundled, single })
}

/// Reads the directory of one object; the inner error is what the object turned out to be instead.
async fn read_object(
    objects: &Objects,
    keys: &KeySpace,
    owner: Owner,
    sequence: WalSequence,
) -> Result<(WalSequence, Result<directories::Read, Held>), GetError> {
    let found = match directories::read_one(objects, keys, owner, sequence).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(reason)) | Err(GetError::Corrupt { reason, .. }) => Err(Held::Unreadable(reason)),
        Err(GetError::NotFound { .. }) => Err(Held::Missing),
        Err(source) => return Err(source),
    };
    Ok((sequence, found))
}

/// Where the search for the end of a session begins: at its floor, whatever LIST shows.
fn search_from(floor: WalSequence, listed: &[WalSequence]) -> WalSequence {
    if !rules::holds(Rule::FenceFromFloor) {
        return WalSequence::ZERO;
    }
    let after_last = listed.iter().max().and_then(|last| last.next());
    after_last
        .filter(|_| !rules::holds(Rule::ListIsAHint))
        .unwrap_or(floor)
}

/// Creates a fence; false if something is there already.
async fn create_fence(
    objects: &Objects,
    keys: &KeySpace,
    me: SessionId,
    owner: Owner,
    at: WalSequence,
) -> Result<(WalSequence, bool), HarvestError> {
    let Owner { session, broker } = owner;
    let object = encode(WalHeader::fence(broker, session, at, me), Vec::new());
    let key = keys.wal(broker, session, at);
    let body = Body::new(object.chunks).with_crc32(object.crc32);
    match objects.put(&key, body, PutCondition::IfAbsent).await {
        Ok(_) => {
            coord::mark!(FencePut);
            tracing::info!(%session, %at, "ended an earlier session");
            Ok((at, true))
        }
        Err(PutError::AlreadyExists { .. }) => {
            coord::mark!(FenceMetObject);
            Ok((at, false))
        }
        Err(source) => Err(HarvestError::Fence { session, source }),
    }
}
