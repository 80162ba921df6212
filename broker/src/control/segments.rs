//! What is known of a partition's segments when it is opened: LIST, and the manifest as a hint.
//!
//! Control thread. A manifest entry is believed where LIST shows a segment of its base and of its
//! length. Segments are created once, with bytes that their intent has decided, and a merge only
//! makes one longer, so such an entry is right whatever epoch wrote it; a restart without a
//! compaction does not cost a read of every segment. Any other segment is read once, whole.

use bytes::Bytes;
use coord::keys::partition::PartitionRecord;
use coord::rules::{self, Rule};
use segment::index::Index;
use segment::keys::{KeySpace, ObjectKey as Named, TopicDir};
use segment::kfs;
use segment::manifest::{Manifest, ManifestSegment, time_points};
use segment::producer_snapshot::ProducerSnapshot;
use segment::{Offset, PartitionIndex, TopicPartition};
use store::{Body, ETag, GetError, GetRange, PutCondition};

use super::image::{ImageError, contiguous, superseded};
use super::objects::Objects;
use crate::partition::SegmentRef;

/// The segments of a partition.
#[derive(Debug, Default)]
pub struct Segments {
    /// Those that are read: contiguous up to the compacted end, none wholly below the log start.
    pub live: Vec<ManifestSegment>,
    /// First offset that is covered: the log start is at least this.
    pub covered_from: Offset,
    /// Objects that lie wholly below the log start, or were merged into others.
    pub dead: Vec<String>,
}

/// Finds the segments of a partition.
///
/// # Errors
/// [`ImageError::Segments`] if the store fails or a segment that is needed is damaged.
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
    let known = |base: Offset, bytes: u64| {
        let segments = &hint.as_ref()?.segments;
        let at = segments
            .binary_search_by_key(&base, |segment| segment.base)
            .ok()?;
        let believed = |segment: &ManifestSegment| {
            segment.bytes == bytes || !rules::holds(Rule::ManifestIsAHint)
        };
        let found = segments.get(at).filter(|segment| believed(segment))?;
        // Its time points stay in the manifest.
        let time_points = Vec::new();
        Some(ManifestSegment {
            time_points,
            ..found.clone()
        })
    };
    let (mut all, mut unknown) = (Vec::new(), Vec::new());
    for meta in &listed {
        let Some(Named::Segment { base, .. }) = keys.parse(meta.key.as_str()) else {
            continue;
        };
        if base >= record.compacted_end {
            continue;
        }
        match known(base, meta.len) {
            Some(segment) => all.push(segment),
            None => unknown.push(base),
        }
    }
    // One that has gone meanwhile does not count as coverage.
    let read = |base| read_whole(objects, keys, dir, id.partition, base);
    for found in objects.read_many(unknown, read).await {
        let found = found.map_err(|error| ImageError::Segments(error.to_string()))?;
        all.extend(found.map(|whole| whole.segment));
    }
    let chain = contiguous(&all, record.compacted_end);
    let merged = superseded(&all, &chain).into_iter();
    let merged = merged.flat_map(|base| object_keys(keys, dir, id.partition, base));
    let mut found = split(keys, dir, id.partition, chain, record);
    found.dead.extend(merged);
    Ok(found)
}

fn split(
    keys: &KeySpace,
    dir: &TopicDir,
    partition: PartitionIndex,
    chain: Vec<ManifestSegment>,
    record: &PartitionRecord,
) -> Segments {
    let covered_from = chain
        .first()
        .map_or(record.compacted_end, |segment| segment.base);
    let log_start = record.log_start.max(covered_from);
    let (dead, live): (Vec<_>, Vec<_>) = chain
        .into_iter()
        .partition(|segment| segment.end <= log_start);
    let dead = dead
        .iter()
        .flat_map(|segment| object_keys(keys, dir, partition, segment.base));
    let dead = dead.collect();
    Segments {
        live,
        covered_from,
        dead,
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
    let key = keys.segment(dir, partition, base);
    let found = match objects.get(&key, GetRange::Full).await {
        Ok(found) => found,
        Err(GetError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let bytes = found.bytes;
    let read = tokio::task::spawn_blocking(move || check_whole(base, &bytes)).await?;
    match read {
        Ok((segment, index, body)) => Ok(Some(Whole {
            segment,
            index,
            body,
            etag: found.etag,
        })),
        Err(reason) => Err(ReadSegmentError::Damaged { key, reason }),
    }
}

fn check_whole(base: Offset, bytes: &Bytes) -> Result<(ManifestSegment, Index, Bytes), String> {
    let report = kfs::verify(bytes);
    if let Some(fault) = report.faults.first() {
        return Err(fault.to_string());
    }
    let body = kfs::body_range(bytes.len() as u64);
    let end = report.last_offset.and_then(Offset::next);
    let (Some(header), Some(end), Some(body)) = (report.header, end, body) else {
        return Err("it holds no batch".to_owned());
    };
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

/// A segment as a shard knows it.
pub fn segment_ref(
    keys: &KeySpace,
    dir: &TopicDir,
    partition: PartitionIndex,
    segment: &ManifestSegment,
) -> SegmentRef {
    SegmentRef {
        base: segment.base,
        end: segment.end,
        max_timestamp: segment.max_timestamp,
        bytes: segment.bytes,
        key: keys.segment(dir, partition, segment.base).into(),
        index_key: keys.index(dir, partition, segment.base).into(),
        spans: None,
    }
}
