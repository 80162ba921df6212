//! What is known of a partition's segments when it is opened: LIST, and the manifest as a hint.
//!
//! Control thread. A manifest entry is believed where LIST shows a segment of its base and of its
//! length. Segments are created once, with bytes that their intent has decided, and a merge only
//! makes one longer, so such an entry is right whatever epoch wrote it; a restart without a
//! compaction does not cost a read of every segment. One that LIST does not show is gone only if a read says
//! so too: a listing may be old, and the manifest late. Any other segment is read once, whole; one that is
//! damaged does not keep the rest from being served (see [`super::quarantine`]).

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use coord::keys::partition::PartitionRecord;
use coord::mark;
use coord::rules::{self, Rule};
use segment::index::Index;
use segment::keys::{KeySpace, ObjectKey as Named, TopicDir};
use segment::kfs;
use segment::manifest::{Manifest, ManifestSegment, time_points};
use segment::producer_snapshot::ProducerSnapshot;
use segment::{Offset, PartitionIndex, TimestampMs, TopicPartition};
use store::{Body, ETag, GetError, GetRange, ObjectMeta, PutCondition};

use super::image::{ImageError, superseded};
use super::objects::Objects;
use super::quarantine::{Covering, Damaged, DamagedSegments, cover, survey};

/// The segments of a partition.
#[derive(Debug, Default)]
pub struct Segments {
    /// Those that are read: contiguous up to the compacted end, none wholly below the log start.
    pub live: Vec<ManifestSegment>,
    /// First offset that is covered: the log start is at least this.
    pub covered_from: Offset,
    /// Those of them that are damaged.
    pub damaged: DamagedSegments,
    /// Objects that lie wholly below the log start, or were merged into others.
    pub dead: Vec<String>,
}

/// Finds the segments of a partition.
///
/// # Errors
/// [`ImageError::Segments`] if the store fails.
pub async fn find_segments(
    objects: &Objects,
    keys: &KeySpace,
    dir: &TopicDir,
    id: TopicPartition,
    record: &PartitionRecord,
) -> Result<Segments, ImageError> {
    if record.compacted_end == Offset::ZERO {
        return Ok(Segments::default());
    }
    let prefix = keys.partition_prefix(dir, id.partition);
    let listed = objects.list(&prefix, None).await;
    let listed = listed.map_err(|error| ImageError::Segments(error.to_string()))?;
    let hint = read_manifest(objects, keys, dir, id).await;
    let known = |base, bytes| believed(hint.as_ref()?, base, bytes);
    let (mut sound, mut unknown) = (Vec::new(), Vec::new());
    for meta in &listed {
        let Some(Named::Segment { base, .. }) = keys.parse(meta.key.as_str()) else {
            continue;
        };
        if base >= record.compacted_end {
            continue;
        }
        match known(base, meta.len) {
            Some(segment) => sound.push(segment),
            None => unknown.push(base),
        }
    }
    unknown.extend(not_listed(hint.as_ref(), &listed, keys, record));
    let mut damaged = DamagedSegments::default();
    // One that has gone meanwhile does not count as coverage.
    let read = async |base| {
        let found = read_segment(objects, keys, dir, id.partition, base, None).await?;
        // The bodies of all of them would be more than the memory holds.
        Ok(found.map(|found| match found {
            Looked::Whole(whole) => Ok(whole.segment),
            Looked::Damaged(damaged) => Err(damaged),
        }))
    };
    let mut tried = BTreeSet::new();
    // Each round finds a segment, or is the last.
    loop {
        tried.extend(unknown.iter().copied());
        for found in objects.read_many(unknown, &read).await {
            let found =
                found.map_err(|error: ReadSegmentError| ImageError::Segments(error.to_string()));
            match found? {
                Some(Ok(segment)) => sound.push(segment),
                Some(Err(found)) => drop(damaged.insert(found.survey.base, *found)),
                None => {}
            }
        }
        unknown = where_others_end(&sound, &damaged, record, &tried);
        if unknown.is_empty() {
            break;
        }
    }
    let chain = cover(&sound, &damaged, record.compacted_end);
    let dead = merged_away(&sound, &damaged, &chain);
    let dead = dead
        .into_iter()
        .flat_map(|base| object_keys(keys, dir, id.partition, base));
    let dead = dead.collect();
    let mut live: Vec<ManifestSegment> = Vec::with_capacity(chain.len());
    for covering in chain.into_iter().rev() {
        live.push(match covering {
            Covering::Sound(segment) => segment,
            Covering::Damaged { base, end } => {
                // What it has lost is about as old as what follows, as far as retention is concerned.
                let next = live.last().map(|next| next.max_timestamp);
                damaged[&base].segment(end, next.unwrap_or(TimestampMs::NONE))
            }
        });
    }
    live.reverse();
    let found = Segments {
        live,
        damaged,
        dead,
        ..Segments::default()
    };
    Ok(found.above_log_start(keys, dir, id.partition, record))
}

/// Bases of segments that the manifest tells of and LIST does not show: deleted, or the listing is old. The log
/// start never falls back, so they are read before it is believed that they are gone.
fn not_listed(
    hint: Option<&Manifest>,
    listed: &[ObjectMeta],
    keys: &KeySpace,
    record: &PartitionRecord,
) -> Vec<Offset> {
    let named = |meta: &ObjectMeta| match keys.parse(meta.key.as_str()) {
        Some(Named::Segment { base, .. }) => Some(base),
        _ => None,
    };
    let shown: BTreeSet<Offset> = listed.iter().filter_map(named).collect();
    let told = hint.iter().flat_map(|hint| &hint.segments);
    let wanted = told.filter(|told| {
        told.end > record.log_start
            && told.base < record.compacted_end
            && !shown.contains(&told.base)
    });
    wanted.map(|told| told.base).collect()
}

/// Offsets below the compacted end where what is known ends and nothing that is known begins: a segment that neither an
/// old listing nor a late manifest tells of begins there. It is looked for before the log start is raised.
fn where_others_end(
    sound: &[ManifestSegment],
    damaged: &DamagedSegments,
    record: &PartitionRecord,
    tried: &BTreeSet<Offset>,
) -> Vec<Offset> {
    let mut known: Vec<(Offset, Offset)> = sound.iter().map(|s| (s.base, s.end)).collect();
    known.sort_unstable();
    let mut covered = record.log_start;
    let mut ends = BTreeSet::new();
    for (base, end) in known {
        if base > covered {
            ends.insert(covered);
        }
        covered = covered.max(end);
    }
    ends.insert(covered);
    let wanted = |end: &Offset| {
        *end < record.compacted_end && !tried.contains(end) && !damaged.contains_key(end)
    };
    ends.into_iter().filter(wanted).collect()
}

/// What a manifest tells of the segment at `base`, if it has so many bytes. Its time points stay in the
/// manifest.
fn believed(hint: &Manifest, base: Offset, bytes: u64) -> Option<ManifestSegment> {
    let segments = &hint.segments;
    let at = segments.binary_search_by_key(&base, |segment| segment.base);
    let found = segments.get(at.ok()?)?;
    let is_believed = found.bytes == bytes || !rules::holds(Rule::ManifestIsAHint);
    is_believed.then(|| ManifestSegment {
        time_points: Vec::new(),
        ..found.clone()
    })
}

/// Bases of segments that were merged into a sound one.
pub fn merged_away(
    sound: &[ManifestSegment],
    damaged: &DamagedSegments,
    chain: &[Covering],
) -> Vec<Offset> {
    let into = chain.iter().filter_map(|covering| match covering {
        Covering::Sound(segment) => Some(segment.clone()),
        Covering::Damaged { .. } => None,
    });
    let into: Vec<ManifestSegment> = into.collect();
    let least = |damaged: &Damaged| {
        let base = damaged.survey.base;
        let end = damaged
            .survey
            .stated_end
            .unwrap_or(damaged.survey.sound_end());
        damaged.segment(end.max(base.next().unwrap_or(base)), TimestampMs::NONE)
    };
    let all: Vec<ManifestSegment> = sound
        .iter()
        .cloned()
        .chain(damaged.values().map(least))
        .collect();
    superseded(&all, &into)
}

impl Segments {
    /// Sorts out what lies wholly below the log start.
    fn above_log_start(
        mut self,
        keys: &KeySpace,
        dir: &TopicDir,
        partition: PartitionIndex,
        record: &PartitionRecord,
    ) -> Self {
        let first = self.live.first().map(|segment| segment.base);
        self.covered_from = first.unwrap_or(record.compacted_end);
        let log_start = record.log_start.max(self.covered_from);
        let below = self
            .live
            .partition_point(|segment| segment.end <= log_start);
        for segment in self.live.drain(..below) {
            let gone = object_keys(keys, dir, partition, segment.base);
            self.dead.extend(gone);
        }
        let live = &self.live;
        self.damaged.retain(|base, _| {
            live.binary_search_by_key(base, |segment| segment.base)
                .is_ok()
        });
        self
    }
}

/// Keys of a segment's objects, the index first: a segment without index is served, the other way
/// round nothing is.
pub fn object_keys(
    keys: &KeySpace,
    dir: &TopicDir,
    partition: PartitionIndex,
    base: Offset,
) -> [String; 2] {
    [
        keys.index(dir, partition, base),
        keys.segment(dir, partition, base),
    ]
}

/// The manifest, if there is one and it can be read: a hint.
pub async fn read_manifest(
    objects: &Objects,
    keys: &KeySpace,
    dir: &TopicDir,
    id: TopicPartition,
) -> Option<Manifest> {
    let key = keys.manifest(dir, id.partition);
    let found = objects.get(&key, GetRange::Full).await.ok()?;
    match Manifest::parse(&found.bytes) {
        Ok(manifest) if manifest.partition == id => Some(manifest),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(%key, %error, "the manifest cannot be read; segments are read");
            None
        }
    }
}

/// A segment that was read whole, every byte of it checked.
#[derive(Debug)]
pub struct Whole {
    /// What a manifest tells of it.
    pub segment: ManifestSegment,
    /// Its index.
    pub index: Index,
    /// Its batches.
    pub body: Bytes,
    /// ETag of the object.
    pub etag: ETag,
}

/// Why a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadSegmentError {
    /// The store failed.
    #[error("{0}")]
    Get(#[from] GetError),
    /// It is not what a segment is.
    #[error("{key} is damaged: {reason}")]
    Damaged {
        /// Its key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The blocking pool failed.
    #[error("the work was not finished: {0}")]
    Pool(#[from] tokio::task::JoinError),
}

/// How often a segment that looks damaged is read at most.
const LOOKS_MAX: usize = 4;

/// A segment that was read.
#[derive(Debug)]
pub enum Looked {
    /// Every byte of it is right.
    Whole(Whole),
    /// It is damaged, or not what its name says.
    Damaged(Box<Damaged>),
}

/// Reads a segment whole, which is to end at `end` where that is known. `None` where there is none
/// (any more). One that looks damaged is read again, until it looks the same twice: a bit that flipped on the way, or a
/// body that was cut off there, is no damage of the object, and one that counts as damaged is not looked at again before
/// its ETag changes.
///
/// # Errors
/// [`ReadSegmentError`], but not [`ReadSegmentError::Damaged`].
pub async fn read_segment(
    objects: &Objects,
    keys: &KeySpace,
    dir: &TopicDir,
    partition: PartitionIndex,
    base: Offset,
    end: Option<Offset>,
) -> Result<Option<Looked>, ReadSegmentError> {
    let key = keys.segment(dir, partition, base);
    let mut before: Option<Box<Damaged>> = None;
    for _ in 0..LOOKS_MAX {
        let damaged = match look_at(objects, &key, base, end).await? {
            Some(Looked::Damaged(damaged)) => damaged,
            other => return Ok(other),
        };
        let is_same =
            |before: Box<Damaged>| (before.bytes, before.crc32) == (damaged.bytes, damaged.crc32);
        if before.take().is_some_and(is_same) {
            return Ok(Some(Looked::Damaged(damaged)));
        }
        mark!(SegmentReadAgain);
        before = Some(damaged);
    }
    Ok(before.map(Looked::Damaged))
}

async fn look_at(
    objects: &Objects,
    key: &str,
    base: Offset,
    end: Option<Offset>,
) -> Result<Option<Looked>, ReadSegmentError> {
    let leave = objects.whole_segment().await;
    let (bytes, etag, unreadable) = match objects.get(key, GetRange::Full).await {
        Ok(found) => (found.bytes, found.etag, None),
        Err(GetError::NotFound { .. }) => return Ok(None),
        // The store has it and cannot give its bytes.
        Err(GetError::Corrupt { reason, .. }) => (Bytes::new(), ETag::new(""), Some(reason)),
        Err(error) => return Err(error.into()),
    };
    let key = key.to_owned();
    let look = move || {
        // Until it has been looked through: what is found holds its body only where that is wanted.
        let _leave = leave;
        let checked = match unreadable {
            None => check_whole(base, end, &bytes),
            Some(reason) => Err(reason),
        };
        match checked {
            Ok((segment, index, body)) => Looked::Whole(Whole {
                segment,
                index,
                body,
                etag,
            }),
            Err(reason) => Looked::Damaged(Box::new(Damaged {
                key,
                reason,
                survey: survey(base, &bytes),
                bytes: bytes.len() as u64,
                crc32: crc32fast::hash(&bytes),
                etag,
                looked: Instant::now(),
            })),
        }
    };
    Ok(Some(super::pool::run(look).await?))
}

/// Reads a segment whole. `None` where there is none (any more).
///
/// # Errors
/// [`ReadSegmentError`].
pub async fn read_whole(
    objects: &Objects,
    keys: &KeySpace,
    dir: &TopicDir,
    partition: PartitionIndex,
    base: Offset,
) -> Result<Option<Whole>, ReadSegmentError> {
    match read_segment(objects, keys, dir, partition, base, None).await? {
        Some(Looked::Whole(whole)) => Ok(Some(whole)),
        Some(Looked::Damaged(damaged)) => {
            let Damaged { key, reason, .. } = *damaged;
            Err(ReadSegmentError::Damaged { key, reason })
        }
        None => Ok(None),
    }
}

fn check_whole(
    base: Offset,
    stated_end: Option<Offset>,
    bytes: &Bytes,
) -> Result<(ManifestSegment, Index, Bytes), String> {
    let report = kfs::verify(bytes);
    if let Some(fault) = report.faults.first() {
        return Err(fault.to_string());
    }
    let body = kfs::body_range(bytes.len() as u64);
    let end = report.last_offset.and_then(Offset::next);
    let (Some(header), Some(end), Some(body)) = (report.header, end, body) else {
        return Err("it holds no batch".to_owned());
    };
    if header.base_offset != base {
        return Err(format!("it is the segment at {}", header.base_offset));
    }
    if let Some(stated) = stated_end.filter(|stated| *stated != end) {
        return Err(format!("it ends at {end}, expected {stated}"));
    }
    let body = bytes.slice(body.start as usize..body.end as usize);
    let segment = ManifestSegment {
        base,
        end,
        bytes: bytes.len() as u64,
        crc32: crc32fast::hash(bytes),
        created: header.created,
        max_timestamp: report.max_timestamp,
        max_timestamp_offset: None,
        time_points: time_points(std::slice::from_ref(&body)).unwrap_or_default(),
    };
    Ok((segment, report.index, body))
}

/// Writes the manifest: a hint, so a failure is only logged; whether it was written.
pub async fn write_manifest(objects: &Objects, key: &str, manifest: &Manifest) -> bool {
    let body = Body::from(manifest.encode());
    match objects.put(key, body, PutCondition::None).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%key, %error, "the manifest could not be written; it is only a hint");
            false
        }
    }
}

/// Reads the producer snapshot that the record names.
///
/// # Errors
/// [`ImageError::Snapshot`] if it is missing or damaged: without it retries would be appended
/// twice.
pub async fn read_snapshot(
    objects: &Objects,
    keys: &KeySpace,
    id: TopicPartition,
    record: &PartitionRecord,
) -> Result<Option<ProducerSnapshot>, ImageError> {
    let named = record.producer_snapshot;
    let named = named.filter(|_| rules::holds(Rule::ProducersAreSnapshotted));
    let Some(named) = named else {
        return Ok(None);
    };
    let key = keys.producer_snapshot(id, named.end, named.epoch);
    let failed = |reason: String| ImageError::Snapshot {
        key: key.clone(),
        reason,
    };
    let found = objects
        .get(&key, GetRange::Full)
        .await
        .map_err(|e| failed(e.to_string()))?;
    let snapshot = ProducerSnapshot::parse(&found.bytes).map_err(|e| failed(e.to_string()))?;
    if snapshot.partition != id || snapshot.end_offset != named.end {
        return Err(failed("it is of another partition or offset".to_owned()));
    }
    if named.end != record.compacted_end {
        return Err(failed(format!(
            "it is not at the compacted end {}",
            record.compacted_end
        )));
    }
    Ok(Some(snapshot))
}
