//! Reads the WAL objects of earlier sessions, and ends those sessions by fences.
//!
//! Control thread. Every object is read once, for all partitions that are taken. The end of a
//! session is the lowest sequence that holds a fence; where none is found, a fence is created at
//! the first sequence that holds nothing (log-protocol H1). LIST is only a hint of what to read at
//! once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use coord::keys::partition::Owner;
use segment::keys::{KeySpace, ObjectKey as Named};
use segment::wal::{WAL_TAIL_BYTES, WalDirectory, WalEntry, WalHeader, WalKind, WalTail, encode};
use segment::{SessionId, TopicPartition, WalSequence};
use store::{Body, GetError, GetRange, ListError, PutCondition, PutError};

use super::objects::Objects;

/// How often a fence is tried again where the object that was in its way cannot be found.
const FENCE_TRIES_MAX: usize = 16;

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
}

impl<'a> Harvest<'a> {
    /// Reads for these partitions, in the name of our session.
    pub fn new(
        objects: &'a Objects,
        keys: &'a KeySpace,
        me: SessionId,
        wanted: HashSet<TopicPartition>,
    ) -> Self {
        let (held, sections) = (HashMap::new(), HashMap::new());
        Self {
            objects,
            keys,
            me,
            wanted,
            held,
            sections,
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
        let listed = self.listed(owner, floor).await?;
        self.read(owner, listed).await?;
        let mut at = floor;
        for _ in 0..u64::MAX {
            match self.held(owner.session, at) {
                Some(Held::Fence) => return Ok(at),
                Some(Held::Data | Held::Unreadable(_)) => {
                    at = at.next().expect("a session has fewer than 2^64 objects");
                }
                Some(Held::Missing) | None => {
                    if self.create_fence(owner, at).await? {
                        self.hold(owner.session, at, Held::Fence);
                        return Ok(at);
                    }
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

    /// The sequences that LIST shows from `floor` on.
    async fn listed(
        &self,
        owner: Owner,
        floor: WalSequence,
    ) -> Result<Vec<WalSequence>, HarvestError> {
        let Owner { session, broker } = owner;
        let prefix = self.keys.session_prefix(broker, session);
        let before = floor
            .previous()
            .map(|before| self.keys.wal(broker, session, before));
        let listed = self.objects.list(&prefix, before).await;
        let listed = listed.map_err(|source| HarvestError::List { session, source })?;
        let sequences = listed
            .iter()
            .filter_map(|meta| match self.keys.parse(meta.key.as_str()) {
                Some(Named::Wal { sequence, .. }) if sequence >= floor => Some(sequence),
                _ => None,
            });
        Ok(sequences.collect())
    }

    /// Creates a fence at `at`. If something is there already, reads it and gives false.
    async fn create_fence(&mut self, owner: Owner, at: WalSequence) -> Result<bool, HarvestError> {
        let Owner { session, broker } = owner;
        let object = encode(WalHeader::fence(broker, session, at, self.me), Vec::new());
        let key = self.keys.wal(broker, session, at);
        let body = Body::new(object.chunks).with_crc32(object.crc32);
        for _ in 0..FENCE_TRIES_MAX {
            match self
                .objects
                .put(&key, body.clone(), PutCondition::IfAbsent)
                .await
            {
                Ok(_) => {
                    tracing::info!(%session, %at, "ended an earlier session");
                    return Ok(true);
                }
                Err(PutError::AlreadyExists { .. }) => {}
                Err(source) => return Err(HarvestError::Fence { session, source }),
            }
            self.read(owner, [at]).await?;
            if self.held(session, at) != Some(&Held::Missing) {
                return Ok(false);
            }
        }
        Err(HarvestError::Unsteady {
            session,
            sequence: at,
        })
    }

    /// Reads the objects of a range that have not been read yet.
    ///
    /// # Errors
    /// [`HarvestError::Get`] if the store fails; an object that is missing or damaged is no error
    /// here.
    pub async fn read_range(
        &mut self,
        owner: Owner,
        range: Range<WalSequence>,
    ) -> Result<(), HarvestError> {
        let known = self.held.get(&owner.session);
        let unread = (range.start.get()..range.end.get()).map(WalSequence::new);
        let unread = unread.filter(|at| known.is_none_or(|known| !known.contains_key(at)));
        let unread: Vec<WalSequence> = unread.collect();
        self.read(owner, unread).await
    }

    async fn read(
        &mut self,
        owner: Owner,
        sequences: impl IntoIterator<Item = WalSequence>,
    ) -> Result<(), HarvestError> {
        let (objects, keys) = (self.objects, self.keys);
        let read = |sequence| async move {
            (
                sequence,
                read_directory(objects, keys, owner, sequence).await,
            )
        };
        let results = objects.read_many(sequences, read).await;
        for (sequence, result) in results {
            let held = match result {
                Ok(Ok(directory)) => {
                    let kind = directory.header().kind;
                    self.keep(owner, sequence, directory);
                    if kind == WalKind::Fence {
                        Held::Fence
                    } else {
                        Held::Data
                    }
                }
                Ok(Err(reason)) => {
                    tracing::error!(session = %owner.session, %sequence, reason,
                        "a WAL object cannot be read");
                    Held::Unreadable(reason)
                }
                Err(GetError::NotFound { .. }) => Held::Missing,
                Err(GetError::Corrupt { reason, .. }) => Held::Unreadable(reason),
                Err(source) => {
                    return Err(HarvestError::Get {
                        session: owner.session,
                        source,
                    });
                }
            };
            self.hold(owner.session, sequence, held);
        }
        Ok(())
    }

    fn keep(&mut self, owner: Owner, sequence: WalSequence, directory: WalDirectory) {
        let Owner { session, broker } = owner;
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

/// Reads the directory of one WAL object. The inner error says why the object cannot be understood.
async fn read_directory(
    objects: &Objects,
    keys: &KeySpace,
    owner: Owner,
    sequence: WalSequence,
) -> Result<Result<WalDirectory, String>, GetError> {
    let key = keys.wal(owner.broker, owner.session, sequence);
    let tail = match objects.get(&key, GetRange::Suffix(WAL_TAIL_BYTES)).await {
        Ok(tail) => tail,
        Err(GetError::RangeNotSatisfiable { .. }) => return Ok(Err("it is empty".to_owned())),
        Err(error) => return Err(error),
    };
    let directory = match WalDirectory::from_tail(&tail.bytes) {
        Ok(WalTail::Directory(directory)) => directory,
        Ok(WalTail::Fetch(trailer)) => {
            let rows = objects
                .get(&key, GetRange::Range(trailer.directory_range()))
                .await?;
            match WalDirectory::parse(&trailer, &rows.bytes) {
                Ok(directory) => directory,
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Err(error) => return Ok(Err(error.to_string())),
    };
    if directory.trailer.object_len != tail.object_len {
        let stated = directory.trailer.object_len;
        return Ok(Err(format!(
            "it has {} bytes and states {stated}",
            tail.object_len
        )));
    }
    let header = directory.header();
    let ours = header.session == owner.session
        && header.broker == owner.broker
        && header.sequence == sequence;
    if !ours {
        let (session, sequence) = (header.session, header.sequence);
        return Ok(Err(format!(
            "it says that it is object {sequence} of session {session}"
        )));
    }
    Ok(Ok(directory))
}
