//! The log of one partition of the original, as its objects show it.
//!
//! The original checks nothing when it reads, and its defects leave gaps and overlaps: so every
//! segment is read and every byte checked, and what brokers will serve is computed by the function
//! that they use. Nothing is deleted or overwritten.

use std::collections::HashSet;

use segment::batch::Batches;
use segment::index::Index;
use segment::keys::{ObjectKey, TopicDir};
use segment::manifest::{Manifest, ManifestSegment};
use segment::{Offset, PartitionIndex, TopicPartition};
use store::{Body, ListError, PutCondition, PutError};

use crate::control::image::{contiguous, superseded};
use crate::control::objects::READS_AT_ONCE;
use crate::control::segments::{ReadSegmentError, read_whole, write_manifest};
use crate::tools::Ground;
use crate::tools::epochs::EpochHistory;

/// Bytes of segments that are read at a time, unless one has more.
const READ_BYTES_MAX: u64 = 256 << 20;

/// Why a log cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The bucket cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// A segment cannot be read.
    #[error(transparent)]
    Read(#[from] ReadSegmentError),
    /// An index cannot be written.
    #[error("write {key}: {source}")]
    Put {
        /// Its key.
        key: String,
        /// Why not.
        source: PutError,
    },
}

/// Why a segment is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is not what a segment is.
    Damaged(String),
    /// Offsets are missing between it and what is served, or it overlaps with that.
    Apart,
    /// It lies inside another one. The first broker that takes the partition deletes it, as it does
    /// with segments that were merged.
    Inside,
}

/// A segment that is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its key.
    pub key: String,
    /// The offset that its key names.
    pub base: Offset,
    /// Why not.
    pub reason: Reason,
}

/// A partition of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalLog {
    /// The partition.
    pub partition: PartitionIndex,
    /// First offset that is served.
    pub start: Offset,
    /// The offset after the last.
    pub end: Offset,
    /// Segments that are served.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Segments that are not served, by base.
    pub left_out: Vec<LeftOut>,
    /// Segments without an index; one is written.
    pub without_index: usize,
    /// Indexes without a segment: the original lost the segment, or a rule has deleted it.
    pub without_segment: usize,
    /// The offset after the last that the original gave out, where it lies above the end: records of
    /// the offsets between were acknowledged or given up, and are in no segment.
    pub given_out: Option<Offset>,
    /// Where leader epochs begin.
    pub epochs: EpochHistory,
    /// All sound segments, for the manifest.
    sound: Vec<ManifestSegment>,
    /// Indexes that are to be written.
    indexes: Vec<(Offset, Index)>,
}

/// A sound segment.
struct Sound {
    entry: ManifestSegment,
    epochs: EpochHistory,
    index: Index,
}

impl OriginalLog {
    /// A damaged segment at or above the end: the first segment that a broker writes could need its
    /// key.
    pub fn blocked_by(&self) -> Option<&LeftOut> {
        self.left_out.iter().find(|left| left.base >= self.end)
    }
}

/// Lists and reads all segments of a partition. `read` is told of bytes as they are read.
///
/// # Errors
/// [`LogError`].
pub(super) async fn look(
    ground: &Ground,
    dir: &TopicDir,
    partition: PartitionIndex,
    next_offset: Option<Offset>,
    read: &dyn Fn(u64),
) -> Result<OriginalLog, LogError> {
    let prefix = ground.keys.partition_prefix(dir, partition);
    let listed = ground.objects.list(&prefix, None).await?;
    let (mut segments, mut indexes) = (Vec::new(), HashSet::new());
    for meta in &listed {
        match ground.keys.parse(meta.key.as_str()) {
            Some(ObjectKey::Segment { base, .. }) => segments.push((base, meta.len)),
            Some(ObjectKey::Index { base, .. }) => {
                indexes.insert(base);
            }
            _ => {}
        }
    }
    let mut sound = Vec::new();
    let mut left_out = Vec::new();
    for some in portions(&segments) {
        for (base, found) in read_portion(ground, dir, partition, some).await? {
            match found {
                Ok(found) => sound.push(found),
                Err(reason) => left_out.push(LeftOut {
                    key: ground.keys.segment(dir, partition, base),
                    base,
                    reason: Reason::Damaged(reason),
                }),
            }
        }
        read(some.iter().map(|(_, len)| *len).sum());
    }
    sound.sort_by_key(|found| found.entry.base);
    let bases: HashSet<Offset> = segments.iter().map(|(base, _)| *base).collect();
    let without_segment = indexes.iter().filter(|base| !bases.contains(base)).count();
    let end = sound.iter().map(|found| found.entry.end).max();
    // Where rules have deleted every segment, the log goes on where it was.
    let end = end.or(next_offset).unwrap_or(Offset::ZERO);
    let mut log = served(ground, dir, partition, &sound, (end, left_out));
    log.without_segment = without_segment;
    log.given_out = next_offset.filter(|next| *next > log.end);
    for found in sound {
        if !indexes.contains(&found.entry.base) {
            log.without_index += 1;
            log.indexes.push((found.entry.base, found.index));
        }
        log.sound.push(found.entry);
    }
    Ok(log)
}

/// What brokers serve of the sound segments of a log with this end, besides those that were left out
/// already.
fn served(
    ground: &Ground,
    dir: &TopicDir,
    partition: PartitionIndex,
    sound: &[Sound],
    (end, mut left_out): (Offset, Vec<LeftOut>),
) -> OriginalLog {
    let entries: Vec<ManifestSegment> = sound.iter().map(|found| found.entry.clone()).collect();
    let chain = contiguous(&entries, end);
    let inside: HashSet<Offset> = superseded(&entries, &chain).into_iter().collect();
    let chained: HashSet<Offset> = chain.iter().map(|entry| entry.base).collect();
    let mut epochs = EpochHistory::default();
    for found in sound {
        let base = found.entry.base;
        if chained.contains(&base) {
            epochs.append(&found.epochs);
            continue;
        }
        left_out.push(LeftOut {
            key: ground.keys.segment(dir, partition, base),
            base,
            reason: match inside.contains(&base) {
                true => Reason::Inside,
                false => Reason::Apart,
            },
        });
    }
    left_out.sort_by_key(|left| left.base);
    OriginalLog {
        partition,
        start: chain.first().map_or(end, |first| first.base),
        end,
        segments: chain.len(),
        bytes: chain.iter().map(|entry| entry.bytes).sum(),
        left_out,
        without_index: 0,
        without_segment: 0,
        given_out: None,
        epochs,
        sound: Vec::new(),
        indexes: Vec::new(),
    }
}

/// Runs of segments that are read at a time.
fn portions(segments: &[(Offset, u64)]) -> Vec<&[(Offset, u64)]> {
    let mut portions = Vec::new();
    let mut left = segments;
    while !left.is_empty() {
        let mut bytes = 0;
        let fits = |(_, len): &&(Offset, u64)| {
            bytes += len;
            bytes <= READ_BYTES_MAX
        };
        let count = left.iter().take(READS_AT_ONCE).take_while(fits).count();
        let (portion, rest) = left.split_at(count.max(1));
        portions.push(portion);
        left = rest;
    }
    portions
}

type Found = (Offset, Result<Sound, String>);

/// Reads segments; one that has gone meanwhile is not there.
async fn read_portion(
    ground: &Ground,
    dir: &TopicDir,
    partition: PartitionIndex,
    segments: &[(Offset, u64)],
) -> Result<Vec<Found>, LogError> {
    let (objects, keys) = (&ground.objects, &ground.keys);
    let read = |base| async move {
        let whole = read_whole(objects, keys, dir, partition, base).await;
        (base, whole)
    };
    let bases = segments.iter().map(|(base, _)| *base);
    let mut all = Vec::with_capacity(segments.len());
    for (base, whole) in objects.read_many(bases, read).await {
        let found = match whole {
            Ok(None) => continue,
            Ok(Some(whole)) if whole.segment.base != base => Err(format!(
                "its header states base offset {}",
                whole.segment.base
            )),
            Ok(Some(whole)) => {
                let mut epochs = EpochHistory::default();
                let batches = Batches::strict(&whole.body).flatten();
                batches.for_each(|batch| epochs.batch(&batch.header));
                Ok(Sound {
                    entry: whole.segment,
                    epochs,
                    index: whole.index,
                })
            }
            Err(ReadSegmentError::Damaged { reason, .. }) => Err(reason),
            Err(error) => return Err(error.into()),
        };
        all.push((base, found));
    }
    Ok(all)
}

/// Writes what brokers would otherwise have to find out: the indexes that are missing, and the
/// manifest. Nothing that is there is replaced.
///
/// # Errors
/// [`LogError::Put`].
pub(super) async fn write_hints(
    ground: &Ground,
    dir: &TopicDir,
    id: TopicPartition,
    log: &OriginalLog,
) -> Result<(), LogError> {
    for (base, index) in &log.indexes {
        let key = ground.keys.index(dir, id.partition, *base);
        let body = Body::from(index.encode());
        let put = ground.objects.put(&key, body, PutCondition::IfAbsent).await;
        match put {
            Ok(_) | Err(PutError::AlreadyExists { .. }) => {}
            Err(source) => return Err(LogError::Put { key, source }),
        }
    }
    if log.sound.is_empty() {
        return Ok(());
    }
    let manifest = Manifest {
        partition: id,
        leader_epoch: log.epochs.leader_epoch(),
        compacted_end: log.end,
        log_start: Offset::ZERO,
        segments: log.sound.clone(),
    };
    let key = ground.keys.manifest(dir, id.partition);
    write_manifest(&ground.objects, &key, &manifest).await;
    Ok(())
}
