//! What the bucket holds under the WAL prefix, whatever any metadata says of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use coord::keys::partition::Owner;
use segment::keys::{KeySpace, ObjectKey as Named};
use segment::wal::{SectionPlace, WalEntry, WalHeader, WalKind, encode};
use segment::{LeaderEpoch, Offset, ProducerId, SessionId, TopicPartition, WalSequence};
use store::{Body, GetError, ObjectMeta, PutCondition, PutError};

use super::RecoverError;
use super::before::Before;
use crate::control::directories::read_one;
use crate::tools::Ground;

/// Who fences in the name of a recovery: no session has this id. Such a fence keeps a broker that was
/// taken for dead from writing; it does not say where its session had ended, since objects before it
/// may have been deleted as nobody needed them.
pub(super) const RECOVERY: SessionId = SessionId::new(*b"kafscale backup.");

/// A section of a partition.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// Its session.
    pub(super) owner: Owner,
    /// Its object.
    pub(super) sequence: WalSequence,
    /// Whether it is known to have been acknowledged.
    pub(super) is_sure: bool,
    /// The row of its directory.
    pub(super) entry: Arc<WalEntry>,
}

impl Section {
    /// Key of the object that holds its bytes.
    pub(super) fn key(&self, keys: &KeySpace) -> String {
        let Owner { session, broker } = self.owner;
        match self.entry.place {
            SectionPlace::Own { counter } => keys.own(broker, session, counter),
            SectionPlace::Inline { .. } => keys.wal(broker, session, self.sequence),
        }
    }
}

/// A session that has left objects.
#[derive(Debug)]
pub(super) struct Session {
    /// Session and broker.
    pub(super) owner: Owner,
    /// Objects that are there, but for fences of a recovery.
    pub(super) objects: BTreeSet<WalSequence>,
    /// The lowest fence of another session: the end.
    pub(super) fence: Option<WalSequence>,
    /// All objects below it were acknowledged; those that are missing were deleted since nobody
    /// needed them.
    pub(super) acknowledged: WalSequence,
}

impl Session {
    /// The first object from the acknowledged end on that is missing: nothing behind it was
    /// acknowledged, unless more was than anybody tells.
    fn end(&self) -> WalSequence {
        let mut end = self.acknowledged;
        while self.objects.contains(&end) {
            end = end.next().expect("a session has fewer than 2^64 objects");
        }
        self.fence.map_or(end, |fence| fence.min(end))
    }

    /// Where the session could go on if its broker were not dead: every hole, and after the last.
    fn places(&self) -> Vec<WalSequence> {
        let first = self.acknowledged.get().max(1);
        let last = self.objects.iter().next_back().map_or(0, |last| last.get());
        let all = (first..=last.saturating_add(1).max(first)).map(WalSequence::new);
        all.filter(|at| !self.objects.contains(at)).collect()
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Wal {
    /// Sessions.
    pub(super) sessions: BTreeMap<SessionId, Session>,
    /// Sections below the ends of their sessions.
    pub(super) sections: HashMap<TopicPartition, Vec<Section>>,
    /// Ends and epochs of producer snapshots.
    pub(super) snapshots: HashMap<TopicPartition, Vec<(Offset, LeaderEpoch)>>,
    /// Objects that cannot be understood, and why.
    pub(super) unreadable: Vec<(Owner, WalSequence, String)>,
    /// The largest producer id in it.
    pub(super) largest_producer: Option<ProducerId>,
}

/// Keys of WAL objects, by session.
pub(super) type Keys = BTreeMap<SessionId, (Owner, BTreeSet<WalSequence>)>;

/// Lists WAL objects and producer snapshots.
///
/// # Errors
/// The store failed.
pub(super) async fn list(ground: &Ground, wal: &mut Wal) -> Result<Keys, RecoverError> {
    let mut sessions = Keys::new();
    let mut snapshots: HashMap<_, Vec<_>> = HashMap::new();
    let take = |meta: ObjectMeta| {
        let (broker, session, sequence) = match ground.keys.parse(meta.key.as_str()) {
            Some(Named::Wal {
                broker,
                session,
                sequence,
            }) => (broker, session, Some(sequence)),
            Some(
                Named::Own {
                    broker, session, ..
                }
                | Named::WalDirectories {
                    broker, session, ..
                },
            ) => (broker, session, None),
            Some(Named::ProducerSnapshot {
                partition,
                end,
                epoch,
            }) => return snapshots.entry(partition).or_default().push((end, epoch)),
            _ => return,
        };
        let owner = Owner { session, broker };
        let entry = sessions.entry(session);
        let (_, objects) = entry.or_insert_with(|| (owner, BTreeSet::new()));
        objects.extend(sequence);
    };
    let root = ground.keys.wal_root();
    ground.objects.list_each(root, take).await?;
    wal.snapshots = snapshots;
    Ok(sessions)
}

/// Reads the directories of all WAL objects that were listed.
///
/// # Errors
/// The store failed.
pub(super) async fn read(
    ground: &Ground,
    before: &Before,
    keys: Keys,
    wal: &mut Wal,
) -> Result<(), RecoverError> {
    let all = keys
        .values()
        .flat_map(|(owner, objects)| objects.iter().map(|sequence| (*owner, *sequence)));
    let all: Vec<(Owner, WalSequence)> = all.collect();
    for (session, (owner, objects)) in keys {
        let acknowledged = before.acknowledged(session);
        wal.sessions.insert(
            session,
            Session {
                owner,
                objects,
                fence: None,
                acknowledged,
            },
        );
    }
    let read = |(owner, sequence): (Owner, WalSequence)| async move {
        let found = read_one(&ground.objects, &ground.keys, owner, sequence).await;
        (owner, sequence, found)
    };
    let mut sections: Vec<(TopicPartition, Section)> = Vec::new();
    for (owner, sequence, found) in ground.objects.read_many(all, read).await {
        let session = wal.sessions.get_mut(&owner.session).expect("it was listed");
        let directory = match found {
            Ok(Ok(found)) => found.directory,
            Ok(Err(reason)) | Err(GetError::Corrupt { reason, .. }) => {
                wal.unreadable.push((owner, sequence, reason));
                continue;
            }
            Err(GetError::NotFound { .. }) => {
                return Err(RecoverError::Changing { owner, sequence });
            }
            Err(error) => return Err(error.into()),
        };
        let header = *directory.header();
        if let Some(by) = header.fenced_by {
            if by == RECOVERY {
                session.objects.remove(&sequence);
            } else {
                session.fence = Some(session.fence.map_or(sequence, |at| at.min(sequence)));
            }
            continue;
        }
        let acknowledged = header.acknowledged.and_then(WalSequence::next);
        session.acknowledged = session.acknowledged.max(acknowledged.unwrap_or_default());
        for entry in directory.entries {
            let largest = entry.producers.iter().map(|batch| batch.producer_id).max();
            wal.largest_producer = wal.largest_producer.max(largest);
            let section = Section {
                owner,
                sequence,
                is_sure: false,
                entry: Arc::new(entry),
            };
            sections.push((section.entry.topic_partition(), section));
        }
    }
    wal.place(sections);
    Ok(())
}

impl Wal {
    /// Ends and epochs of the producer snapshots of a partition.
    pub(super) fn snapshots_of(&self, id: TopicPartition) -> &[(Offset, LeaderEpoch)] {
        self.snapshots
            .get(&id)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Whether an object is there and cannot be understood.
    pub(super) fn is_unreadable(&self, owner: Owner, at: WalSequence) -> bool {
        let mut all = self.unreadable.iter();
        all.any(|(other, sequence, _)| *other == owner && *sequence == at)
    }

    /// Keeps the sections below the ends of their sessions.
    fn place(&mut self, sections: Vec<(TopicPartition, Section)>) {
        let ends: HashMap<SessionId, WalSequence> = self
            .sessions
            .iter()
            .map(|(id, session)| (*id, session.end()))
            .collect();
        for (id, mut section) in sections {
            let session = &self.sessions[&section.owner.session];
            if session.fence.is_some_and(|fence| section.sequence >= fence) {
                continue;
            }
            section.is_sure = section.sequence < ends[&section.owner.session];
            self.sections.entry(id).or_default().push(section);
        }
    }
}

/// Ends every session that nobody has fenced yet, so that a broker that was taken for dead writes no
/// more.
///
/// # Errors
/// [`RecoverError::Changing`] where a session has gone on meanwhile.
pub(super) async fn fence(ground: &Ground, wal: &Wal) -> Result<usize, RecoverError> {
    let open = wal
        .sessions
        .values()
        .filter(|session| session.fence.is_none());
    let places = open.flat_map(|session| {
        let owner = session.owner;
        session.places().into_iter().map(move |at| (owner, at))
    });
    let put = |(owner, at): (Owner, WalSequence)| async move {
        let Owner { session, broker } = owner;
        let object = encode(WalHeader::fence(broker, session, at, RECOVERY), Vec::new());
        let key = ground.keys.wal(broker, session, at);
        let body = Body::new(object.chunks).with_crc32(object.crc32);
        let outcome = ground.objects.put(&key, body, PutCondition::IfAbsent).await;
        match outcome {
            Ok(_) => Ok(()),
            Err(PutError::AlreadyExists { .. }) => {
                let found = read_one(&ground.objects, &ground.keys, owner, at).await?;
                let is_fence = |header: &WalHeader| header.kind == WalKind::Fence;
                match found {
                    Ok(found) if is_fence(found.directory.header()) => Ok(()),
                    Ok(_) | Err(_) => Err(RecoverError::Changing {
                        owner,
                        sequence: at,
                    }),
                }
            }
            Err(source) => Err(RecoverError::Put { key, source }),
        }
    };
    let mut count = 0;
    for outcome in ground.objects.read_many(places, put).await {
        outcome?;
        count += 1;
    }
    Ok(count)
}
