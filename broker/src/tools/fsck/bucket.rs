//! A walk over everything under our prefixes: what nobody names, and what nobody needs.
//!
//! Pages of LIST come in the order of keys, so the objects of one session, and those of one topic's
//! partition, come together; nothing else is kept.

use std::collections::HashMap;
use std::ops::Range;

use coord::keys::partition::Owner;
use segment::keys::{ObjectKey as Named, TopicDir};
use segment::wal::SectionPlace;
use segment::{PartitionIndex, SessionId, TopicPartition, WalSequence};
use store::{GetError, ListRequest, ObjectMeta};

use super::FsckError;
use super::finding::{Code, Finding};
use super::metadata::Metadata;
use super::repair::Repair;
use crate::control::directories::read_one;
use crate::control::garbage::{BARE_BYTES, Needed, judge};
use crate::tools::Ground;

/// Walks the bucket.
pub(super) struct Walk<'a> {
    /// Where.
    pub(super) ground: &'a Ground,
    /// The metadata, read before the walk.
    pub(super) metadata: &'a Metadata,
}

/// Objects that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Group {
    Session(SessionId),
    Topic(TopicDir),
    Partition(TopicDir, PartitionIndex),
    Producers(TopicPartition),
}

#[derive(Debug, Default)]
struct Gathered {
    group: Option<Group>,
    objects: Vec<ObjectMeta>,
    bytes: u64,
    count: u64,
}

/// What a walk has counted.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    /// Objects.
    pub(super) objects: u64,
    /// Dead sessions of which only bare objects are left.
    pub(super) sessions_over: u64,
}

impl Walk<'_> {
    /// Walks the prefix of segments.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn segments(&self, seen: &mut Seen) -> Result<Vec<Finding>, FsckError> {
        self.walk(self.ground.keys.segments_root(), false, seen)
            .await
    }

    /// Walks the prefix of the WAL.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn wal(&self, seen: &mut Seen) -> Result<Vec<Finding>, FsckError> {
        self.walk(self.ground.keys.wal_root(), false, seen).await
    }

    /// Only what the collector of garbage would delete now.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn garbage(&self, seen: &mut Seen) -> Result<Vec<Finding>, FsckError> {
        self.walk(self.ground.keys.wal_root(), true, seen).await
    }

    async fn walk(
        &self,
        root: &str,
        only_garbage: bool,
        seen: &mut Seen,
    ) -> Result<Vec<Finding>, FsckError> {
        let needed = Needed::of(&self.metadata.partitions);
        let mut findings = Vec::new();
        let mut gathered = Gathered::default();
        let mut request = ListRequest::new(root);
        loop {
            let page = self.ground.objects.list_page(&request).await?;
            let next = request.next(&page);
            for meta in page.objects {
                seen.objects += 1;
                let group = match self.group(&meta) {
                    Ok(group) => group,
                    Err(finding) => {
                        let finding = finding.filter(|_| !only_garbage);
                        findings.extend(finding.map(|finding| *finding));
                        continue;
                    }
                };
                if gathered.group.as_ref() != Some(&group) {
                    let done = std::mem::take(&mut gathered);
                    let found = self.finish(done, &needed, only_garbage, seen).await?;
                    findings.extend(found);
                    gathered.group = Some(group);
                }
                gathered.add(meta);
            }
            match next {
                Some(next) => request = next,
                None => break,
            }
        }
        findings.extend(self.finish(gathered, &needed, only_garbage, seen).await?);
        Ok(findings)
    }

    /// What an object belongs to; else what is to be said of it.
    fn group(&self, meta: &ObjectMeta) -> Result<Group, Option<Box<Finding>>> {
        let key = meta.key.as_str();
        match self.ground.keys.parse(key) {
            Some(
                Named::Segment {
                    topic, partition, ..
                }
                | Named::Index {
                    topic, partition, ..
                }
                | Named::Manifest { topic, partition },
            ) => Ok(match self.metadata.knows_dir(&topic) {
                true => Group::Partition(topic, partition),
                false => Group::Topic(topic),
            }),
            Some(
                Named::Wal { session, .. }
                | Named::Own { session, .. }
                | Named::WalDirectories { session, .. },
            ) => Ok(Group::Session(session)),
            Some(Named::ProducerSnapshot { partition, .. }) => Ok(Group::Producers(partition)),
            Some(Named::Quarantined { .. }) => {
                let detail = "a damaged segment, as it was before it was repaired";
                let finding = Finding::new(Code::Quarantined, key, detail);
                Err(Some(Box::new(finding.bytes(meta.len))))
            }
            Some(Named::Cluster | Named::HealthProbe { .. } | Named::Backup { .. }) => Err(None),
            None => {
                let detail = "its name is none of ours";
                let finding = Finding::new(Code::ObjectForeign, key, detail);
                Err(Some(Box::new(finding.bytes(meta.len))))
            }
        }
    }

    async fn finish(
        &self,
        gathered: Gathered,
        needed: &Needed,
        only_garbage: bool,
        seen: &mut Seen,
    ) -> Result<Vec<Finding>, FsckError> {
        let Some(group) = &gathered.group else {
            return Ok(Vec::new());
        };
        let keys = &self.ground.keys;
        let count = gathered.count;
        let finding = |code, subject: String, reason: &str| {
            let detail = format!("{count} objects; {reason}");
            vec![Finding::new(code, subject, detail).bytes(gathered.bytes)]
        };
        let found = match group {
            Group::Session(session) => {
                return self
                    .session(*session, &gathered, needed, only_garbage, seen)
                    .await;
            }
            Group::Topic(dir) => {
                let reason = "there is no topic of this name and generation";
                finding(Code::TopicUnknown, keys.topic_prefix(dir), reason)
            }
            Group::Partition(dir, partition) => match self.is_known(dir, *partition) {
                true => Vec::new(),
                false => {
                    let reason = "there is no record of this partition";
                    let prefix = keys.partition_prefix(dir, *partition);
                    finding(Code::PartitionObjects, prefix, reason)
                }
            },
            Group::Producers(id) if !self.metadata.is_known(*id) => {
                let reason = "there is no topic of this id, or it has fewer partitions";
                finding(Code::TopicUnknown, keys.producers_prefix(*id), reason)
            }
            Group::Producers(_) => Vec::new(),
        };
        Ok(if only_garbage { Vec::new() } else { found })
    }

    /// Whether a partition in a directory that is known has a record.
    fn is_known(&self, dir: &TopicDir, partition: PartitionIndex) -> bool {
        let topic = self.metadata.topics.get(&dir.name);
        let topic = topic.filter(|seen| seen.record.generation == dir.generation);
        topic.is_none_or(|seen| {
            let id = TopicPartition::new(seen.record.topic_id, partition);
            self.metadata.partitions.contains_key(&id)
        })
    }

    /// The objects of one session.
    async fn session(
        &self,
        session: SessionId,
        gathered: &Gathered,
        needed: &Needed,
        only_garbage: bool,
        seen: &mut Seen,
    ) -> Result<Vec<Finding>, FsckError> {
        let Metadata {
            sessions, unfenced, ..
        } = self.metadata;
        let Some(broker) = sessions.known.get(&session) else {
            let detail = format!(
                "{} objects; there is no record of this session",
                gathered.count
            );
            let first = gathered.objects.first().map(|meta| meta.key.as_str());
            let prefix = first
                .and_then(|key| key.rsplit_once('/'))
                .map(|(prefix, _)| prefix);
            let subject = format!("{}/", prefix.unwrap_or_default());
            let finding = Finding::new(Code::WalUnknownSession, subject, detail);
            let finding = (!only_garbage).then(|| finding.bytes(gathered.bytes));
            return Ok(finding.into_iter().collect());
        };
        let is_live = sessions.live.contains(&session);
        if is_live {
            return Ok(self.below_floor(session, gathered));
        }
        // What cannot be read may need anything; who is unfenced needs everything.
        if !self.metadata.is_complete() || unfenced.contains(&session) {
            return Ok(Vec::new());
        }
        let ranges = needed.of_session(session);
        let Ground { objects, keys, .. } = self.ground;
        let garbage = judge(objects, keys, &gathered.objects, ranges).await?;
        let bare = gathered.objects.iter().all(|meta| meta.len <= BARE_BYTES);
        seen.sessions_over += u64::from(bare && garbage.is_empty());
        let why = match ranges.is_empty() {
            true => format!("session {session} of broker {broker} is over, and nobody names it"),
            false => format!("session {session} of broker {broker} is over; nobody needs this"),
        };
        let mut findings: Vec<Finding> =
            garbage.iter().map(|meta| garbage_of(meta, &why)).collect();
        if !only_garbage && !ranges.is_empty() {
            let broker = *broker;
            let owner = Owner { session, broker };
            findings.extend(self.unnamed(owner, gathered, ranges).await?);
        }
        Ok(findings)
    }

    /// Objects of their own that no WAL object which is needed names.
    async fn unnamed(
        &self,
        owner: Owner,
        gathered: &Gathered,
        needed: &[Range<WalSequence>],
    ) -> Result<Vec<Finding>, FsckError> {
        let Ground { objects, keys, .. } = self.ground;
        let parsed = gathered.objects.iter();
        let parsed = parsed.filter_map(|meta| Some((keys.parse(meta.key.as_str())?, meta)));
        let (mut own, mut naming) = (HashMap::new(), Vec::new());
        for (name, meta) in parsed {
            match name {
                Named::Own { counter, .. } => drop(own.insert(counter, meta)),
                Named::Wal { sequence, .. } if needed.iter().any(|r| r.contains(&sequence)) => {
                    naming.push(sequence);
                }
                _ => {}
            }
        }
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let read = |sequence| read_one(objects, keys, owner, sequence);
        for found in objects.read_many(naming, read).await {
            match found {
                Ok(Ok(found)) => found.directory.entries.iter().for_each(|entry| {
                    if let SectionPlace::Own { counter } = entry.place {
                        own.remove(&counter);
                    }
                }),
                // What cannot be read may name any of them.
                Ok(Err(_)) => return Ok(Vec::new()),
                Err(GetError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let detail = "no WAL object that is needed names it";
        let finding = |meta: &&ObjectMeta| {
            let key = meta.key.as_str();
            Finding::new(Code::OwnUnnamed, key, detail).bytes(meta.len)
        };
        Ok(own.values().map(finding).collect())
    }

    /// What a live session has left below its floor: its broker deletes it.
    fn below_floor(&self, session: SessionId, gathered: &Gathered) -> Vec<Finding> {
        let floor = self
            .metadata
            .floors
            .get(&session)
            .copied()
            .unwrap_or_default();
        let is_below = |meta: &&ObjectMeta| match self.ground.keys.parse(meta.key.as_str()) {
            Some(Named::Wal { sequence, .. }) => sequence < floor && sequence.get() > 0,
            Some(Named::WalDirectories { last, .. }) => last < floor,
            _ => false,
        };
        let why = format!("it lies below the floor {floor} of its live session");
        let below = gathered.objects.iter().filter(is_below);
        below.map(|meta| garbage_of(meta, &why)).collect()
    }
}

fn garbage_of(meta: &ObjectMeta, why: &str) -> Finding {
    let key = meta.key.as_str();
    let repair = Repair::DeleteObjects(vec![key.to_owned()]);
    Finding::new(Code::WalGarbage, key, why)
        .bytes(meta.len)
        .repair(repair)
}

impl Gathered {
    fn add(&mut self, meta: ObjectMeta) {
        self.count += 1;
        self.bytes += meta.len;
        // Only those of a session are looked at one by one.
        if matches!(self.group, Some(Group::Session(_))) {
            self.objects.push(meta);
        }
    }
}
