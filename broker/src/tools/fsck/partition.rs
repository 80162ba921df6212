//! The objects of one partition beside its WAL: segments, indexes, manifest, producer snapshots.

use std::collections::{BTreeMap, HashMap};

use coord::keys::partition::PartitionRecord;
use segment::batch::Batches;
use segment::index::Index;
use segment::keys::{ObjectKey as Named, TopicDir};
use segment::kfs::{self, KFS_FOOTER_BYTES, KFS_HEADER_BYTES, KfsFooter, KfsHeader};
use segment::manifest::{Manifest, ManifestSegment};
use segment::producer_snapshot::ProducerSnapshot;
use segment::{Offset, TimestampMs, TopicPartition};
use store::{GetError, GetRange, ObjectMeta};
use tokio::sync::Semaphore;

use super::FsckError;
use super::finding::{Code, Finding};
use super::repair::Repair;
use crate::control::loads::SPAN_BYTES;
use crate::control::quarantine::{Covering, DamagedSegments, cover};
use crate::control::segments::{Looked, Whole, merged_away, object_keys, read_segment};
use crate::tools::Ground;

/// A partition to look at.
#[derive(Debug)]
pub(super) struct Subject {
    /// Which.
    pub(super) id: TopicPartition,
    /// Where its objects lie.
    pub(super) dir: TopicDir,
    /// Its record.
    pub(super) record: PartitionRecord,
}

/// Looks at partitions.
pub(super) struct Look<'a> {
    /// Where.
    pub(super) ground: &'a Ground,
    /// Whether every byte is read.
    pub(super) deep: bool,
    /// Segments that are read whole at a time.
    pub(super) whole: &'a Semaphore,
}

/// What LIST shows of a partition.
#[derive(Debug, Default)]
struct Listed {
    segments: BTreeMap<Offset, ObjectMeta>,
    indexes: BTreeMap<Offset, ObjectMeta>,
    manifest: Option<ObjectMeta>,
}

/// The segments, as they were found.
#[derive(Debug, Default)]
struct Found {
    sound: Vec<ManifestSegment>,
    damaged: DamagedSegments,
    /// Offsets and positions of the batches of segments that were read whole.
    batches: HashMap<Offset, HashMap<u32, Offset>>,
}

impl Look<'_> {
    /// Everything that is wrong with a partition.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn at(&self, subject: &Subject) -> Result<Vec<Finding>, FsckError> {
        let listed = self.list(subject).await?;
        let mut findings = Vec::new();
        let found = self.read(subject, &listed).await?;
        let end = subject.record.compacted_end;
        let chain = cover(&found.sound, &found.damaged, end);
        self.check_chain(subject, &listed, &found, &chain, &mut findings);
        self.check_indexes(subject, &listed, &found, &chain, &mut findings)
            .await?;
        if listed.manifest.is_some() {
            findings.extend(self.check_manifest(subject, &listed, &found).await?);
        }
        self.check_snapshots(subject, &mut findings).await?;
        Ok(findings)
    }

    async fn list(&self, subject: &Subject) -> Result<Listed, FsckError> {
        let keys = &self.ground.keys;
        let prefix = keys.partition_prefix(&subject.dir, subject.id.partition);
        let mut listed = Listed::default();
        for meta in self.ground.objects.list(&prefix, None).await? {
            match keys.parse(meta.key.as_str()) {
                Some(Named::Segment { base, .. }) => drop(listed.segments.insert(base, meta)),
                Some(Named::Index { base, .. }) => drop(listed.indexes.insert(base, meta)),
                Some(Named::Manifest { .. }) => listed.manifest = Some(meta),
                _ => {}
            }
        }
        Ok(listed)
    }

    async fn read(&self, subject: &Subject, listed: &Listed) -> Result<Found, FsckError> {
        let end = subject.record.compacted_end;
        let below = listed.segments.range(..end);
        let read = |(base, meta): (&Offset, &ObjectMeta)| {
            let (base, len) = (*base, meta.len);
            async move { (base, self.read_one(subject, base, len).await) }
        };
        let mut found = Found::default();
        for (base, outcome) in self.ground.objects.read_many(below, read).await {
            match outcome? {
                Some(One::Told(segment)) => found.sound.push(segment),
                Some(One::Read(Looked::Whole(whole))) => {
                    found.batches.insert(base, positions(&whole));
                    found.sound.push(whole.segment);
                }
                Some(One::Read(Looked::Damaged(damaged))) => {
                    found.damaged.insert(base, *damaged);
                }
                None => {}
            }
        }
        found.sound.sort_by_key(|segment| segment.base);
        Ok(found)
    }

    /// Reads header and footer, and the whole segment where they are not right, or by wish.
    async fn read_one(
        &self,
        subject: &Subject,
        base: Offset,
        len: u64,
    ) -> Result<Option<One>, FsckError> {
        if !self.deep {
            match self.ends(subject, base, len).await {
                Ok(Some(segment)) => return Ok(Some(One::Told(segment))),
                Ok(None) | Err(GetError::RangeNotSatisfiable { .. } | GetError::Corrupt { .. }) => {
                }
                Err(GetError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let _permit = self.whole.acquire().await;
        let Ground { objects, keys, .. } = self.ground;
        let (dir, partition) = (&subject.dir, subject.id.partition);
        let read = read_segment(objects, keys, dir, partition, base, None).await?;
        Ok(read.map(One::Read))
    }

    /// What header and footer tell; none if they are not right.
    async fn ends(
        &self,
        subject: &Subject,
        base: Offset,
        len: u64,
    ) -> Result<Option<ManifestSegment>, GetError> {
        let key = self
            .ground
            .keys
            .segment(&subject.dir, subject.id.partition, base);
        let Some(body) = kfs::body_range(len) else {
            return Ok(None);
        };
        let get = |range| self.ground.objects.get(&key, GetRange::Range(range));
        let head = get(0..KFS_HEADER_BYTES as u64).await?;
        let tail = get(body.end..body.end + KFS_FOOTER_BYTES as u64).await?;
        let (header, footer) = (KfsHeader::parse(&head.bytes), KfsFooter::parse(&tail.bytes));
        let (Ok(header), Ok(footer)) = (header, footer) else {
            return Ok(None);
        };
        let end = footer.last_offset.next();
        let Some(end) = end.filter(|end| header.base_offset == base && *end > base) else {
            return Ok(None);
        };
        Ok(Some(ManifestSegment {
            base,
            end,
            bytes: len,
            crc32: 0,
            created: header.created,
            max_timestamp: TimestampMs::NONE,
            max_timestamp_offset: None,
            time_points: Vec::new(),
        }))
    }

    fn key(&self, subject: &Subject, base: Offset) -> String {
        self.ground
            .keys
            .segment(&subject.dir, subject.id.partition, base)
    }

    fn check_chain(
        &self,
        subject: &Subject,
        listed: &Listed,
        found: &Found,
        chain: &[Covering],
        findings: &mut Vec<Finding>,
    ) {
        let record = &subject.record;
        let end = record.compacted_end;
        let covered_from = chain.first().map_or(end, Covering::base);
        let merged = merged_away(&found.sound, &found.damaged, chain);
        self.check_start(subject, found, covered_from, findings);
        for (base, meta) in &listed.segments {
            let covering = chain.iter().find(|covering| covering.base() == *base);
            let segment = found.sound.iter().find(|segment| segment.base == *base);
            let key = meta.key.as_str();
            let delete = || Repair::DeleteSegment {
                id: subject.id,
                dir: subject.dir.clone(),
                base: *base,
            };
            let finding = match covering {
                _ if *base >= end => {
                    let announced = record.intent.as_ref().is_some_and(|i| i.base == *base);
                    let detail = format!("the record's compacted end is {end}");
                    let finding = Finding::new(Code::SegmentAhead, key, detail);
                    (!announced).then_some(finding)
                }
                Some(Covering::Damaged { base, end }) => {
                    Some(self.damaged(subject, found, *base, *end))
                }
                Some(Covering::Sound(segment)) if segment.end <= record.log_start => {
                    let detail = format!("it lies below the log start {}", record.log_start);
                    Some(Finding::new(Code::SegmentLeftover, key, detail).repair(delete()))
                }
                Some(Covering::Sound(_)) => None,
                None if merged.contains(base) => {
                    let detail = "it was merged into the one before";
                    Some(Finding::new(Code::SegmentLeftover, key, detail).repair(delete()))
                }
                None if segment.is_some_and(|segment| segment.end <= record.log_start) => {
                    let detail = format!("it lies below the log start {}", record.log_start);
                    Some(Finding::new(Code::SegmentLeftover, key, detail).repair(delete()))
                }
                None => {
                    let detail = match found.damaged.get(base) {
                        Some(damaged) => format!("nothing follows it, and {}", damaged.reason),
                        None => {
                            "its offsets do not reach what follows it, or others hold them".into()
                        }
                    };
                    Some(Finding::new(Code::SegmentStray, key, detail))
                }
            };
            findings.extend(finding.map(|finding| finding.bytes(meta.len)));
        }
    }

    /// Whether the log is covered from its start on.
    fn check_start(
        &self,
        subject: &Subject,
        found: &Found,
        covered_from: Offset,
        findings: &mut Vec<Finding>,
    ) {
        let log_start = subject.record.log_start;
        if covered_from <= log_start {
            return;
        }
        let below = found
            .sound
            .iter()
            .filter(|segment| segment.base < covered_from);
        let below = below
            .map(|segment| segment.end)
            .filter(|end| *end > log_start)
            .max();
        let (code, from) = match below {
            Some(reached) => (Code::SegmentGap, reached.min(covered_from)),
            None => (Code::LogStartBehind, log_start),
        };
        let prefix = self
            .ground
            .keys
            .partition_prefix(&subject.dir, subject.id.partition);
        let detail = format!("no segment holds the offsets {from}..{covered_from}");
        let repair = Repair::RaiseLogStart {
            id: subject.id,
            to: covered_from,
        };
        findings.push(Finding::new(code, prefix, detail).repair(repair));
    }

    fn damaged(&self, subject: &Subject, found: &Found, base: Offset, end: Offset) -> Finding {
        let damaged = &found.damaged[&base];
        let lost = damaged.survey.lost(end);
        let lost: Vec<String> = lost
            .iter()
            .map(|l| format!("{}..{}", l.start, l.end))
            .collect();
        let reason = &damaged.reason;
        let detail = match lost.is_empty() {
            true => format!("{reason}; no record is lost"),
            false => format!("{reason}; offsets {} are lost", lost.join(", ")),
        };
        let repair = Repair::Salvage {
            id: subject.id,
            dir: subject.dir.clone(),
            base,
            end,
        };
        Finding::new(Code::SegmentDamaged, self.key(subject, base), detail).repair(repair)
    }

    async fn check_indexes(
        &self,
        subject: &Subject,
        listed: &Listed,
        found: &Found,
        chain: &[Covering],
        findings: &mut Vec<Finding>,
    ) -> Result<(), FsckError> {
        let partition = subject.id.partition;
        let live = chain.iter().filter_map(|covering| match covering {
            Covering::Sound(segment) if segment.end > subject.record.log_start => Some(segment),
            _ => None,
        });
        let check = |segment: &ManifestSegment| {
            let (base, bytes) = (segment.base, segment.bytes);
            async move {
                let [key, _] = object_keys(&self.ground.keys, &subject.dir, partition, base);
                let wrong = self.check_index(&key, found, base, bytes).await?;
                let repair = Repair::BuildIndex {
                    id: subject.id,
                    dir: subject.dir.clone(),
                    base,
                };
                let finding = |(code, detail)| Finding::new(code, key, detail).repair(repair);
                Ok::<_, FsckError>(wrong.map(finding))
            }
        };
        for outcome in self.ground.objects.read_many(live, check).await {
            findings.extend(outcome?);
        }
        for (base, meta) in &listed.indexes {
            if !listed.segments.contains_key(base) {
                let key = meta.key.as_str();
                let finding = Finding::new(Code::IndexLeftover, key, "it has no segment");
                let repair = Repair::DeleteObjects(vec![key.to_owned()]);
                findings.push(finding.repair(repair));
            }
        }
        Ok(())
    }

    async fn check_index(
        &self,
        key: &str,
        found: &Found,
        base: Offset,
        bytes: u64,
    ) -> Result<Option<(Code, String)>, FsckError> {
        let wrong = |reason: String| Ok(Some((Code::IndexWrong, reason)));
        let read = match self.ground.objects.get(key, GetRange::Full).await {
            Ok(found) => found.bytes,
            Err(GetError::NotFound { .. }) => {
                return Ok(Some((Code::IndexMissing, "there is none".to_owned())));
            }
            Err(GetError::Corrupt { reason, .. }) => return wrong(reason),
            Err(error) => return Err(error.into()),
        };
        let index = match Index::parse(&read) {
            Ok(index) => index,
            Err(error) => return wrong(error.to_string()),
        };
        let body = kfs::body_range(bytes).unwrap_or(0..0);
        if let Err(error) = index.chunks(SPAN_BYTES, body.end) {
            return wrong(error.to_string());
        }
        let first = index.entries().first();
        let starts = first.is_some_and(|first| {
            u64::from(first.position) == KFS_HEADER_BYTES as u64 && first.offset >= base
        });
        if !starts {
            return wrong("it does not begin with the first batch".to_owned());
        }
        if let Some(batches) = found.batches.get(&base) {
            let is_right = |offset, position| batches.get(&position) == Some(&offset);
            let mut entries = index.entries().iter();
            if let Some(entry) = entries.find(|entry| !is_right(entry.offset, entry.position)) {
                let (offset, position) = (entry.offset, entry.position);
                return wrong(format!("no batch of offset {offset} begins at {position}"));
            }
        }
        Ok(None)
    }

    async fn check_manifest(
        &self,
        subject: &Subject,
        listed: &Listed,
        found: &Found,
    ) -> Result<Option<Finding>, FsckError> {
        let key = self
            .ground
            .keys
            .manifest(&subject.dir, subject.id.partition);
        let bytes = match self.ground.objects.get(&key, GetRange::Full).await {
            Ok(found) => found.bytes,
            Err(GetError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = subject.record.compacted_end;
        let (code, detail) = match Manifest::parse(&bytes) {
            Err(error) => (Code::ManifestDamaged, error.to_string()),
            Ok(manifest) if manifest.partition != subject.id => (
                Code::ManifestForeign,
                format!("it is of {}", manifest.partition),
            ),
            Ok(manifest) if manifest.compacted_end != end => {
                let told = manifest.compacted_end;
                (
                    Code::ManifestStale,
                    format!("it ends at {told}, the record at {end}"),
                )
            }
            Ok(manifest) => match contradiction(&manifest, listed, found) {
                Some(detail) => (Code::ManifestStale, detail),
                None => return Ok(None),
            },
        };
        let repair = Repair::DeleteObjects(vec![key.clone()]);
        Ok(Some(Finding::new(code, key, detail).repair(repair)))
    }

    async fn check_snapshots(
        &self,
        subject: &Subject,
        findings: &mut Vec<Finding>,
    ) -> Result<(), FsckError> {
        let Ground { objects, keys, .. } = self.ground;
        let (id, record) = (subject.id, &subject.record);
        let named = record.producer_snapshot;
        if let Some(named) = named {
            let key = keys.producer_snapshot(id, named.end, named.epoch);
            let wrong = match objects.get(&key, GetRange::Full).await {
                Ok(found) => match ProducerSnapshot::parse(&found.bytes) {
                    Ok(snapshot)
                        if snapshot.partition != id || snapshot.end_offset != named.end =>
                    {
                        Some((
                            Code::SnapshotDamaged,
                            "it is of another partition or offset".into(),
                        ))
                    }
                    Ok(_) if named.end != record.compacted_end => {
                        let detail = format!("it is not at the end {}", record.compacted_end);
                        Some((Code::SnapshotDamaged, detail))
                    }
                    Ok(_) => None,
                    Err(error) => Some((Code::SnapshotDamaged, error.to_string())),
                },
                Err(GetError::NotFound { .. }) => {
                    Some((Code::SnapshotMissing, "there is no such object".to_owned()))
                }
                Err(GetError::Corrupt { reason, .. }) => Some((Code::SnapshotDamaged, reason)),
                Err(error) => return Err(error.into()),
            };
            let repair = Repair::ForgetProducers { id };
            let finding = |(code, detail)| Finding::new(code, key, detail).repair(repair);
            findings.extend(wrong.map(finding));
        }
        for meta in objects.list(&keys.producers_prefix(id), None).await? {
            let key = meta.key.as_str();
            let Some(Named::ProducerSnapshot { end, epoch, .. }) = keys.parse(key) else {
                continue;
            };
            let is_named = named.is_some_and(|named| named.end == end && named.epoch == epoch);
            // One at or above the compacted end may be about to be named.
            if !is_named && end < record.compacted_end {
                let detail = format!("the compacted end is {}", record.compacted_end);
                let repair = Repair::DeleteObjects(vec![key.to_owned()]);
                let finding = Finding::new(Code::SnapshotLeftover, key, detail);
                findings.push(finding.bytes(meta.len).repair(repair));
            }
        }
        Ok(())
    }
}

/// What is known of a segment.
enum One {
    /// Its header and footer are right.
    Told(ManifestSegment),
    /// It was read whole.
    Read(Looked),
}

/// Where the batches of a segment begin.
fn positions(whole: &Whole) -> HashMap<u32, Offset> {
    let batches = Batches::strict(&whole.body).filter_map(Result::ok);
    let positions = batches.filter_map(|batch| {
        let position = u32::try_from(batch.position + KFS_HEADER_BYTES).ok()?;
        Some((position, batch.header.base_offset))
    });
    positions.collect()
}

/// Where a manifest tells something else than the objects do.
fn contradiction(manifest: &Manifest, listed: &Listed, found: &Found) -> Option<String> {
    manifest.segments.iter().find_map(|told| {
        let (base, bytes) = (told.base, listed.segments.get(&told.base)?.len);
        if bytes != told.bytes {
            return Some(format!(
                "segment {base} has {bytes} bytes, it tells {}",
                told.bytes
            ));
        }
        let segment = found.sound.iter().find(|segment| segment.base == base)?;
        let (end, told) = (segment.end, told.end);
        (end != told).then(|| format!("segment {base} ends at {end}, it tells {told}"))
    })
}
