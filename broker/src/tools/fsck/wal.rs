//! The WAL objects that partitions need: whether they are all there, can be read and follow each
//! other. As a takeover does, without a fence.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use coord::keys::cluster::CommitMode;
use coord::keys::partition::{self, Owner, PartitionRecord, Source};
use segment::keys::ObjectKey as Named;
use segment::kfs::{self, KFS_FOOTER_BYTES, KFS_HEADER_BYTES};
use segment::wal::{self, SectionPlace, WAL_HEADER_BYTES, WalEntry, WalHeader, WalKind};
use segment::{BrokerId, Offset, SessionId, TopicPartition, WalSequence};
use store::{GetError, GetRange};
use tokio::sync::Semaphore;

use super::FsckError;
use super::finding::{Code, Finding};
use super::metadata::Metadata;
use super::repair::Repair;
use crate::control::garbage::BARE_BYTES;
use crate::control::harvest::{Found, Harvest};
use crate::control::image::{ImageError, first_needed, order_sections};
use crate::tools::Ground;

/// The first sequence of a session that can hold batches.
const FIRST_SEQUENCE: WalSequence = WalSequence::new(1);
/// Missing objects of one source that are told of one by one.
const MISSING_MAX: usize = 1_000;

/// Looks at what partitions need of the WAL.
pub(super) struct WalLook<'a> {
    /// Where.
    pub(super) ground: &'a Ground,
    /// The metadata.
    pub(super) metadata: &'a Metadata,
    /// Whether every byte is read.
    pub(super) deep: bool,
    /// Objects that are read whole at a time.
    pub(super) whole: &'a Semaphore,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct WalReport {
    /// What is wrong.
    pub(super) findings: Vec<Finding>,
    /// Where the logs end, of those that nothing is wrong with.
    pub(super) ends: HashMap<TopicPartition, Offset>,
    /// Where the finding about an object is.
    told: HashMap<String, usize>,
}

impl WalReport {
    /// One finding for an object, however many partitions need it.
    fn tell(&mut self, finding: Finding) {
        match self.told.get(&finding.subject) {
            Some(at) => self.findings[*at].join(finding),
            None => {
                let at = self.findings.len();
                self.told.insert(finding.subject.clone(), at);
                self.findings.push(finding);
            }
        }
    }
}

/// The objects of a session, as LIST shows them.
#[derive(Debug, Default)]
struct Prefix {
    wal: BTreeMap<WalSequence, u64>,
    own: HashMap<u64, u64>,
}

type Ranges = Vec<(SessionId, WalSequence, WalSequence)>;

impl WalLook<'_> {
    /// Looks at these partitions together: each object is read once.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn at(&self, ids: &[TopicPartition]) -> Result<WalReport, FsckError> {
        let records: Vec<(TopicPartition, &PartitionRecord)> = ids
            .iter()
            .filter_map(|id| Some((*id, &self.metadata.partitions.get(id)?.record)))
            .collect();
        let owners = records.iter().flat_map(|(_, record)| &record.sources);
        let owners: BTreeMap<SessionId, Owner> = owners.map(|s| (s.session, owner_of(s))).collect();
        let mut prefixes = HashMap::new();
        for owner in owners.values() {
            prefixes.insert(owner.session, self.list(*owner).await?);
        }
        let wanted: HashSet<TopicPartition> = ids.iter().copied().collect();
        let nobody = SessionId::new([0; 16]);
        let Ground { objects, keys, .. } = self.ground;
        let mut harvest = Harvest::new(objects, keys, nobody, wanted);
        let mut report = WalReport::default();
        let mut needed = BTreeSet::new();
        for (id, record) in &records {
            let ranges = self.ranges(*id, record, &prefixes, &mut report).await?;
            for (source, (_, first, end)) in record.sources.iter().zip(&ranges) {
                harvest.read_range(owner_of(source), *first..*end).await?;
                if self.deep {
                    let all = (first.get()..end.get()).map(WalSequence::new);
                    needed.extend(all.map(|at| (source.session, at)));
                }
            }
            let sections = harvest.take_sections(*id);
            self.own_objects(&sections, &prefixes, &mut report);
            self.follow(
                *id,
                record,
                &ranges,
                sections,
                &harvest,
                &prefixes,
                &mut report,
            );
        }
        if self.deep {
            self.read_whole(needed, &owners, &prefixes, &mut report)
                .await?;
        }
        Ok(report)
    }

    async fn list(&self, owner: Owner) -> Result<Prefix, FsckError> {
        let Ground { objects, keys, .. } = self.ground;
        let mut prefix = Prefix::default();
        let root = keys.session_prefix(owner.broker, owner.session);
        for meta in objects.list(&root, None).await? {
            match keys.parse(meta.key.as_str()) {
                Some(Named::Wal { sequence, .. }) => drop(prefix.wal.insert(sequence, meta.len)),
                Some(Named::Own { counter, .. }) => drop(prefix.own.insert(counter, meta.len)),
                _ => {}
            }
        }
        Ok(prefix)
    }

    /// Which objects each source of a record needs.
    async fn ranges(
        &self,
        id: TopicPartition,
        record: &PartitionRecord,
        prefixes: &HashMap<SessionId, Prefix>,
        report: &mut WalReport,
    ) -> Result<Ranges, FsckError> {
        let mut ranges = Ranges::new();
        for source in &record.sources {
            let session = source.session;
            let floor = self
                .metadata
                .floors
                .get(&session)
                .copied()
                .unwrap_or_default();
            let first = first_needed(source, floor);
            // Without a cluster record nobody can commit by metadata.
            let mode = self.ground.mode().unwrap_or(CommitMode::Conditional);
            let end = match (source.end_sequence, mode) {
                (Some(end), _) => end,
                (None, CommitMode::Guarded) => {
                    let committed = self.metadata.committed.get(&session);
                    committed.copied().unwrap_or(FIRST_SEQUENCE)
                }
                (None, CommitMode::Conditional) => {
                    self.open_end(id, source, first, &prefixes[&session], report)
                        .await?
                }
            };
            ranges.push((session, first, end.max(first)));
        }
        Ok(ranges)
    }

    /// Where a session ends that nobody has fenced for this partition: before the first object that
    /// is missing, or at a fence (who fenced may have met a hole). What follows was never acknowledged,
    /// unless it says so.
    async fn open_end(
        &self,
        id: TopicPartition,
        source: &Source,
        first: WalSequence,
        prefix: &Prefix,
        report: &mut WalReport,
    ) -> Result<WalSequence, FsckError> {
        let mut at = first;
        while let Some(len) = prefix.wal.get(&at) {
            if *len <= BARE_BYTES && self.kind(source, at).await? == Some(WalKind::Fence) {
                break;
            }
            at = at.next().expect("a session has fewer than 2^64 objects");
        }
        let mut beyond = prefix.wal.range(at..).filter(|(_, len)| **len > BARE_BYTES);
        let Some((last, _)) = beyond.next_back() else {
            return Ok(at);
        };
        let header = self.header(source, *last).await?;
        let acknowledged = header.and_then(|header| header.acknowledged);
        if acknowledged.is_some_and(|acknowledged| acknowledged >= at) {
            let key = self.ground.keys.wal(source.broker, source.session, at);
            let detail =
                format!("object {last} says that it was acknowledged: what it held is lost");
            report.tell(self.closing(id, Finding::new(Code::WalMissing, key, detail)));
        }
        Ok(at)
    }

    async fn kind(&self, source: &Source, at: WalSequence) -> Result<Option<WalKind>, FsckError> {
        Ok(self.header(source, at).await?.map(|header| header.kind))
    }

    async fn header(
        &self,
        source: &Source,
        at: WalSequence,
    ) -> Result<Option<WalHeader>, FsckError> {
        let key = self.ground.keys.wal(source.broker, source.session, at);
        let range = GetRange::Range(0..WAL_HEADER_BYTES as u64);
        match self.ground.objects.get(&key, range).await {
            Ok(found) => Ok(WalHeader::parse(&found.bytes).ok()),
            Err(
                GetError::NotFound { .. }
                | GetError::RangeNotSatisfiable { .. }
                | GetError::Corrupt { .. },
            ) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Objects of their own that sections lie in.
    fn own_objects(
        &self,
        sections: &[Found],
        prefixes: &HashMap<SessionId, Prefix>,
        report: &mut WalReport,
    ) {
        for found in sections {
            let SectionPlace::Own { counter } = found.entry.place else {
                continue;
            };
            let entry = &found.entry;
            let expected = entry.len + (KFS_HEADER_BYTES + KFS_FOOTER_BYTES) as u64;
            let (code, reason) = match prefixes[&found.session].own.get(&counter) {
                Some(len) if *len == expected => continue,
                Some(len) => (
                    Code::WalDamaged,
                    format!("it has {len} bytes of {expected}"),
                ),
                None => (Code::WalMissing, "it is not there".to_owned()),
            };
            let (first, last) = (entry.first_offset, entry.last_offset);
            let id = entry.topic_partition();
            let detail = format!("{reason}; offsets {first} to {last} of {id} are lost");
            let finding = Finding::new(code, &*found.key, detail);
            report.tell(self.closing(id, finding));
        }
    }

    /// With what makes a partition whole that no broker could open.
    fn closing(&self, id: TopicPartition, finding: Finding) -> Finding {
        match self.metadata.topic(id.topic) {
            Some((dir, _)) => finding.repair(Repair::CloseWal { id, dir }),
            None => finding,
        }
    }

    /// Puts the sections of a partition in order, and tells what is missing.
    #[expect(
        clippy::too_many_arguments,
        reason = "what was found so far, of all partitions"
    )]
    fn follow(
        &self,
        id: TopicPartition,
        record: &PartitionRecord,
        ranges: &Ranges,
        sections: Vec<Found>,
        harvest: &Harvest<'_>,
        prefixes: &HashMap<SessionId, Prefix>,
        report: &mut WalReport,
    ) {
        let ordered = order_sections(record, ranges, sections);
        let lost = match &ordered {
            Err(ImageError::Gap {
                expected, found, ..
            }) => {
                format!("offsets {expected}..{found} of partition {id} are lost")
            }
            Ok(sections) => format!(
                "offsets of partition {id} from {} on may be lost",
                sections.end
            ),
            Err(error) => error.to_string(),
        };
        let mut is_explained = false;
        for (source, (session, first, end)) in record.sources.iter().zip(ranges) {
            let key = |at| self.ground.keys.wal(source.broker, *session, at);
            for at in missing(&prefixes[session], *first..*end) {
                is_explained = true;
                let finding = Finding::new(Code::WalMissing, key(at), &lost);
                report.tell(self.closing(id, finding));
            }
            for (at, reason) in harvest.unreadable(*session, *first..*end) {
                is_explained = true;
                let detail = format!("{reason}; {lost}");
                let finding = Finding::new(Code::WalDamaged, key(at), detail);
                report.tell(self.closing(id, finding));
            }
        }
        match ordered {
            _ if is_explained => {}
            Ok(sections) => drop(
                report
                    .ends
                    .insert(id, sections.end.max(record.compacted_end)),
            ),
            Err(error) => {
                let key = partition::key(&self.ground.space, id).to_string();
                let finding = Finding::new(Code::WalGap, key, error.to_string());
                report.tell(self.closing(id, finding));
            }
        }
    }

    /// Reads every byte of the objects that are needed.
    async fn read_whole(
        &self,
        needed: BTreeSet<(SessionId, WalSequence)>,
        owners: &BTreeMap<SessionId, Owner>,
        prefixes: &HashMap<SessionId, Prefix>,
        report: &mut WalReport,
    ) -> Result<(), FsckError> {
        let there = needed.into_iter();
        let there = there.filter(|(session, at)| prefixes[session].wal.contains_key(at));
        let read = |(session, at)| async move {
            let Owner { session, broker } = owners[&session];
            let key = self.ground.keys.wal(broker, session, at);
            let faults = self.verify(&key, broker, session).await;
            (key, session, at, faults)
        };
        for (key, session, at, faults) in self.ground.objects.read_many(there, read).await {
            // What any look finds is told already.
            let is_told = report.told.contains_key(&key);
            for fault in faults?.into_iter().filter(|_| !is_told) {
                let finding = Finding::new(Code::WalDamaged, &key, fault.reason);
                match fault.section {
                    None => report.tell(finding),
                    Some((id, last)) if self.needs(id, last, session, at) => {
                        report.tell(self.closing(id, finding));
                    }
                    // It is in a segment.
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Whether a partition needs its section in an object, which ends with the offset `last`.
    fn needs(&self, id: TopicPartition, last: Offset, session: SessionId, at: WalSequence) -> bool {
        let record = self.metadata.partitions.get(&id).map(|seen| &seen.record);
        record.is_some_and(|record| {
            let covers = |source: &Source| {
                source.session == session
                    && source.first_sequence <= at
                    && source.end_sequence.is_none_or(|end| at < end)
            };
            last >= record.compacted_end && record.sources.iter().any(covers)
        })
    }

    /// What is wrong with the bytes of an object and of those that it names.
    async fn verify(
        &self,
        key: &str,
        broker: BrokerId,
        session: SessionId,
    ) -> Result<Vec<Fault>, FsckError> {
        let _permit = self.whole.acquire().await;
        let objects = &self.ground.objects;
        let bytes = match objects.get(key, GetRange::Full).await {
            Ok(found) => found.bytes,
            Err(GetError::NotFound { .. }) => return Ok(Vec::new()),
            Err(GetError::Corrupt { reason, .. }) => return Ok(vec![Fault::of_object(reason)]),
            Err(error) => return Err(error.into()),
        };
        let (mut faults, entries) = tokio::task::spawn_blocking(move || verify(&bytes)).await?;
        for entry in entries {
            let SectionPlace::Own { counter } = entry.place else {
                continue;
            };
            let own = self.ground.keys.own(broker, session, counter);
            let section = Some((entry.topic_partition(), entry.last_offset));
            let reason = match objects.get(&own, GetRange::Full).await {
                Ok(found) => {
                    let check = move || {
                        let body = kfs::body_range(found.bytes.len() as u64).unwrap_or(0..0);
                        let body = &found.bytes[body.start as usize..body.end as usize];
                        wal::verify_section(&entry, body).err()
                    };
                    let fault = tokio::task::spawn_blocking(check).await?;
                    fault.map(|fault| fault.to_string())
                }
                Err(GetError::NotFound { .. }) => None,
                Err(GetError::Corrupt { reason, .. }) => Some(reason),
                Err(error) => return Err(error.into()),
            };
            faults.extend(reason.map(|reason| Fault {
                section,
                reason: format!("{own}: {reason}"),
            }));
        }
        Ok(faults)
    }
}

/// What a deep look has found wrong with an object.
struct Fault {
    /// The partition and the last offset of the section that is damaged; none: the object itself is.
    section: Option<(TopicPartition, Offset)>,
    reason: String,
}

impl Fault {
    fn of_object(reason: String) -> Self {
        Self {
            section: None,
            reason,
        }
    }
}

/// What is wrong with an object and its inline sections; and the rows of its directory.
fn verify(bytes: &[u8]) -> (Vec<Fault>, Vec<WalEntry>) {
    let verified = wal::verify(bytes);
    let entries = verified.directory.as_ref();
    let entries = entries.map_or(Vec::new(), |directory| directory.entries.clone());
    let mut faults = Vec::new();
    for entry in entries.iter().filter(|_| !verified.is_sound()) {
        let Some(range) = entry.inline_range() else {
            continue;
        };
        let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
        let section = start.ok().zip(end.ok());
        let section = section.and_then(|(start, end)| bytes.get(start..end));
        if let Err(fault) = wal::verify_section(entry, section.unwrap_or_default()) {
            faults.push(Fault {
                section: Some((entry.topic_partition(), entry.last_offset)),
                reason: fault.to_string(),
            });
        }
    }
    if let Some(first) = verified.faults.first().filter(|_| faults.is_empty()) {
        faults.push(Fault::of_object(first.to_string()));
    }
    (faults, entries)
}

fn owner_of(source: &Source) -> Owner {
    Owner {
        session: source.session,
        broker: source.broker,
    }
}

/// Sequences of a range that LIST does not show, the first ones.
fn missing(prefix: &Prefix, range: Range<WalSequence>) -> Vec<WalSequence> {
    let mut missing = Vec::new();
    let mut next = range.start;
    let there = prefix.wal.range(range.clone()).map(|(at, _)| *at);
    for at in there.chain([range.end]) {
        while next < at && missing.len() < MISSING_MAX {
            missing.push(next);
            next = WalSequence::new(next.get() + 1);
        }
        next = WalSequence::new(at.get().saturating_add(1));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_list_does_not_show_is_missing() {
        let prefix = Prefix {
            wal: [2, 3, 6].map(|at| (WalSequence::new(at), 500)).into(),
            own: HashMap::new(),
        };
        let missing = |first, end| -> Vec<u64> {
            let range = WalSequence::new(first)..WalSequence::new(end);
            missing(&prefix, range).iter().map(|at| at.get()).collect()
        };
        assert_eq!(missing(1, 9), [1, 4, 5, 7, 8]);
        assert_eq!(missing(2, 4), [0; 0]);
        assert_eq!(missing(4, 4), [0; 0]);
    }
}
