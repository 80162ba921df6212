//! `kafscale restore`: a new topic that holds another one as it was at a moment.
//!
//! Every record of the source that is still in the bucket and not later than the moment is in the
//! target, at the same offset; no other is. Time is the records' own: they need not be in order.
//!
//! | step | what is left if it ends here |
//! |---|---|
//! | the target is announced with a generation of its own (`restores/{name}`) | the announcement |
//! | segments, indexes and a manifest for each partition, under a prefix that nothing else uses | objects that nobody looks for |
//! | partition records, guarded by the announcement | records of a topic that is not there |
//! | one transaction makes the topic and takes the announcement back | a whole topic |
//!
//! So brokers see nothing of the target before it is whole. The next restore to that name first
//! removes what an interrupted one left, objects before records, and takes another generation: what a
//! run that was taken for dead still writes disturbs nobody, and its transactions meet their guard.

mod copy;
mod target;

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use coord::keys::topic::{self, TopicRecord};
use coord::keys::{CodecError, Seen, seen, tombstone};
use coord::kv::{KvError, range_all};
use futures_util::{StreamExt, TryStreamExt};
use reader::{Bucket, PartitionReader, ReadError, ReaderOptions, Topic};
use segment::batch::BatchHeader;
use segment::kfs::KfsError;
use segment::{Offset, PartitionIndex, TimestampMs, TopicName};
use store::{ListError, PutError};

use super::Ground;
use super::place::{self, PlaceError};
use crate::control::commit::CommitError;
use crate::control::context::wall_clock;
use crate::topic_config::TopicConfig;
pub use copy::Copied;
use copy::{Copy, Sealed, Terms};
use target::{Target, Writer};

/// Partitions that are copied at a time: each holds a segment in memory.
const PARTITIONS_AT_ONCE: usize = 4;
/// Largest segment that is gathered in memory, whatever is set.
const SEGMENT_BYTES_MAX: u64 = 256 << 20;

/// Why a topic was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bucket is not that of the metadata.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// No broker has ever started there.
    #[error(transparent)]
    Ground(#[from] super::ToolError),
    /// There is no such topic.
    #[error("there is no topic {0}")]
    NoSource(TopicName),
    /// It was deleted.
    #[error(
        "topic {0} was deleted, and brokers are removing its objects or have done so: it cannot be \
         restored"
    )]
    Deleted(TopicName),
    /// It has no such partition.
    #[error("topic {name} has partitions 0 to {last}, and no partition {partition}")]
    NoPartition {
        /// The source.
        name: TopicName,
        /// What was asked for.
        partition: i32,
        /// Its last.
        last: i32,
    },
    /// The name is in use.
    #[error("topic {0} exists: restore to another name, or delete it first")]
    Exists(TopicName),
    /// Names that differ only in '.' and '_' are one name in metrics.
    #[error("topic {0} collides with topic {1}: names must differ in more than '.' and '_'")]
    Collision(TopicName, String),
    /// Another restore to the same name was begun meanwhile, or the topic was created.
    #[error(
        "topic {0} was created, or another restore to it was begun, while this one was at work; \
         nothing of this one is left visible"
    )]
    Overtaken(TopicName),
    /// The source cannot be read.
    #[error("partition {partition} of the source: {source}")]
    Read {
        /// The partition.
        partition: PartitionIndex,
        /// Why not.
        source: Box<ReadError>,
    },
    /// The source ends earlier than it did.
    #[error(
        "partition {partition} of the source ended at {end} and now ends at {at}; run it again: it \
         starts over"
    )]
    Short {
        /// The partition.
        partition: PartitionIndex,
        /// Where it ends now.
        at: Offset,
        /// Where it ended.
        end: Offset,
    },
    /// What was read makes no segment.
    #[error("partition {partition} of the source: {source}")]
    Segment {
        /// The partition.
        partition: PartitionIndex,
        /// Why not.
        source: KfsError,
    },
    /// A segment cannot be written.
    #[error("write {key}: {source}; run it again: it starts over")]
    Put {
        /// Its key.
        key: String,
        /// Why not.
        source: Box<PutError>,
    },
    /// What an interrupted restore left cannot be removed.
    #[error("remove what an interrupted restore left under {prefix}: {reason}; run it again")]
    Discard {
        /// Where it lies.
        prefix: String,
        /// Why not.
        reason: String,
    },
    /// The bucket cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// The metadata store failed.
    #[error("metadata: {0}; run it again: it starts over")]
    Kv(#[from] KvError),
    /// The metadata was not changed.
    #[error("metadata: {0}; run it again: it starts over")]
    Commit(#[from] CommitError),
    /// A record cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// No prefix is free.
    #[error("{0} prefixes of topic {1} hold objects already")]
    NoGeneration(u32, TopicName),
    /// The blocking pool failed.
    #[error("the work was not finished: {0}")]
    Pool(#[from] tokio::task::JoinError),
}

/// What is to be restored.
#[derive(Debug, Clone)]
pub struct Restore {
    /// The topic that is read.
    pub source: TopicName,
    /// The topic that is made.
    pub target: TopicName,
    /// The last timestamp that stays.
    pub until: TimestampMs,
    /// The partitions that are copied, none: all. The others are empty in the target.
    pub partitions: Option<BTreeSet<i32>>,
    /// Bytes of a segment where the topic does not set them.
    pub segment_bytes: u64,
    /// Whether all is read and nothing written.
    pub dry_run: bool,
}

/// What came of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The partition.
    pub partition: PartitionIndex,
    /// Where the source ended when it was read.
    pub source_end: Offset,
    /// The copy; none where the partition was not asked for.
    pub copied: Option<Copied>,
}

/// What came of a restore.
#[derive(Debug, Clone)]
pub struct Report {
    /// Every partition, in order.
    pub partitions: Vec<Restored>,
    /// When an interrupted restore was begun whose remains were removed.
    pub discarded: Option<TimestampMs>,
    /// The topic; none after a dry run.
    pub topic: Option<TopicRecord>,
}

/// How far it is, in offsets of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many more will be read.
    Total(u64),
    /// So many more have been read.
    Done(u64),
}

/// Restores a topic.
///
/// # Errors
/// [`RestoreError`]: nothing of the target is visible.
pub async fn restore(
    ground: &Ground,
    wanted: &Restore,
    progress: &dyn Fn(Step),
) -> Result<Report, RestoreError> {
    ground.cluster()?;
    place::check(ground).await?;
    let bucket = Bucket::new(
        ground.store.clone(),
        ground.kv.clone(),
        ground.keys.clone(),
        ground.space.clone(),
    );
    let (topic, configs) = source(ground, &bucket, wanted).await?;
    check_target(ground, &wanted.target).await?;
    let (target, discarded) = match wanted.dry_run {
        true => (None, None),
        false => {
            let (target, discarded) = Target::announce(ground, wanted).await?;
            (Some(target), discarded)
        }
    };
    let terms = Terms {
        until: wanted.until,
        segment_bytes: segment_bytes(wanted, &topic),
        created: wall_clock(),
        writes: target.is_some(),
    };
    let writer = target.as_ref().map(Target::writer).map(Rc::new);
    let job = Job {
        bucket: &bucket,
        topic: &topic,
        terms,
        writer,
        progress,
    };
    let copied = job.copy_all(wanted).await;
    let Some(target) = target else {
        let (partitions, topic) = (copied?, None);
        return Ok(Report {
            partitions,
            discarded,
            topic,
        });
    };
    let made = match copied {
        Ok(partitions) => {
            let made = target.make(&partitions, configs).await;
            made.map(|topic| (partitions, topic))
        }
        Err(error) => Err(error),
    };
    if let Err(RestoreError::Overtaken(_)) = &made {
        target.discard().await?;
    }
    let (partitions, topic) = made?;
    Ok(Report {
        partitions,
        discarded,
        topic: Some(topic),
    })
}

type Configs = std::collections::BTreeMap<String, String>;

async fn source(
    ground: &Ground,
    bucket: &Bucket,
    wanted: &Restore,
) -> Result<(Topic, Configs), RestoreError> {
    let name = &wanted.source;
    let failed = |source: ReadError| RestoreError::Read {
        partition: PartitionIndex::ZERO,
        source: Box::new(source),
    };
    let Some(topic) = bucket.topic(name).await.map_err(failed)? else {
        let buried = range_all(&ground.kv, tombstone::span(&ground.space)).await?;
        for entry in &buried.entries {
            let found: Option<Seen<tombstone::TombstoneRecord>> = seen(Some(entry))?;
            if found.is_some_and(|seen| seen.record.name == name.as_str()) {
                return Err(RestoreError::Deleted(name.clone()));
            }
        }
        return Err(RestoreError::NoSource(name.clone()));
    };
    let last = topic.partitions - 1;
    let asked = wanted.partitions.iter().flatten();
    if let Some(partition) = asked.copied().find(|asked| !(0..=last).contains(asked)) {
        let name = name.clone();
        return Err(RestoreError::NoPartition {
            name,
            partition,
            last,
        });
    }
    let configs = topic.configs.clone();
    Ok((topic, configs))
}

/// Refuses a name that exists, or that metrics cannot tell from one that does.
async fn check_target(ground: &Ground, name: &TopicName) -> Result<(), RestoreError> {
    let metric = |name: &str| name.replace('.', "_");
    for entry in range_all(&ground.kv, topic::span(&ground.space))
        .await?
        .entries
    {
        let Ok(other) = topic::parse(&ground.space, &entry.key) else {
            continue;
        };
        if other == *name {
            return Err(RestoreError::Exists(other));
        }
        if metric(other.as_str()) == metric(name.as_str()) {
            let other = other.as_str().to_owned();
            return Err(RestoreError::Collision(name.clone(), other));
        }
    }
    Ok(())
}

fn segment_bytes(wanted: &Restore, topic: &Topic) -> u64 {
    let own = TopicConfig::from_overrides(topic.configs.clone());
    let own = own.ok().and_then(|config| config.segment_bytes());
    own.unwrap_or(wanted.segment_bytes).min(SEGMENT_BYTES_MAX)
}

/// What the copies of all partitions share.
struct Job<'a> {
    bucket: &'a Bucket,
    topic: &'a Topic,
    terms: Terms,
    writer: Option<Rc<Writer>>,
    progress: &'a dyn Fn(Step),
}

impl Job<'_> {
    async fn copy_all(&self, wanted: &Restore) -> Result<Vec<Restored>, RestoreError> {
        let is_wanted = |partition: &i32| {
            let asked = wanted.partitions.as_ref();
            asked.is_none_or(|asked| asked.contains(partition))
        };
        let copies = (0..self.topic.partitions).map(|partition| async move {
            let index = PartitionIndex::new(partition);
            match is_wanted(&partition) {
                true => self.copy(index).await,
                false => Ok(Restored {
                    partition: index,
                    source_end: Offset::ZERO,
                    copied: None,
                }),
            }
        });
        futures_util::stream::iter(copies)
            .buffered(PARTITIONS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Copies a partition up to where it ends now.
    async fn copy(&self, partition: PartitionIndex) -> Result<Restored, RestoreError> {
        let failed = |source: ReadError| RestoreError::Read {
            partition,
            source: Box::new(source),
        };
        let options = ReaderOptions::default();
        let reader = self.bucket.reader_with(self.topic, partition, options);
        let mut reader = reader.map_err(failed)?;
        let bounds = reader.bounds().await.map_err(failed)?;
        let (start, source_end) = (bounds.log_start, bounds.end);
        reader.seek(start);
        let total = source_end.distance_from(start).unwrap_or(0);
        (self.progress)(Step::Total(total));
        let mut copy = Copy::new(self.terms, start);
        let mut at = start;
        while at < source_end {
            let Some(run) = next(&mut reader).await.map_err(failed)? else {
                // The rest of it may have gone while it was read.
                if reader.position().is_some_and(|gone| gone >= source_end) {
                    break;
                }
                return Err(RestoreError::Short {
                    partition,
                    at,
                    end: source_end,
                });
            };
            let batches = run.batches.into_iter();
            let batches = batches.filter(|batch| batch.header.base_offset < source_end);
            let batches = batches.map(|batch| (batch.header, batch.bytes)).collect();
            copy = self.take(partition, copy, batches).await?;
            let done = run.next.min(source_end).distance_from(at).unwrap_or(0);
            (self.progress)(Step::Done(done));
            at = run.next;
        }
        let segment = |source| RestoreError::Segment { partition, source };
        let (last, copied) = copy.finish().map_err(segment)?;
        self.put(partition, last).await?;
        if let Some(writer) = &self.writer {
            writer.manifest(partition, &copied).await;
        }
        Ok(Restored {
            partition,
            source_end,
            copied: Some(copied),
        })
    }

    /// Cuts batches on the blocking pool and writes the segments that are full.
    async fn take(
        &self,
        partition: PartitionIndex,
        mut copy: Copy,
        batches: Vec<(BatchHeader, Bytes)>,
    ) -> Result<Copy, RestoreError> {
        let cut = move || copy.batches(&batches).map(|sealed| (copy, sealed));
        let cut = tokio::task::spawn_blocking(cut).await?;
        let (copy, sealed) = cut.map_err(|source| RestoreError::Segment { partition, source })?;
        self.put(partition, sealed).await?;
        Ok(copy)
    }

    async fn put(
        &self,
        partition: PartitionIndex,
        sealed: impl IntoIterator<Item = Sealed>,
    ) -> Result<(), RestoreError> {
        for sealed in sealed {
            let writer = self.writer.as_ref();
            let writer = writer.expect("segments are made only to be written");
            writer.segment(partition, sealed).await?;
        }
        Ok(())
    }
}

/// The next run. Where the log's start has passed the reader, it goes on at the new start: what is
/// gone is no part of what is restored.
async fn next(reader: &mut PartitionReader) -> Result<Option<reader::Run>, ReadError> {
    loop {
        match reader.next().await {
            Err(ReadError::LogStartPassed { log_start, .. }) => reader.seek(log_start),
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests;
