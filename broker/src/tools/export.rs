//! A topic as files: read from the bucket by [`reader`], written by the crate `export`. No broker is
//! asked.
//!
//! Reading is asynchronous, on the thread of the caller; decoding, encoding and writing are done on a
//! thread of their own, so that both go on at once ([`RUNS_AHEAD`] runs at most between them).
//!
//! Invariants:
//! - Which offsets are exported is fixed before the first is read ([`span`]): the end of a partition
//!   is the one that it has then, so that an export ends under a running producer.
//! - A file under its final name is whole ([`files`]).
//! - Memory: a few runs, and what the encoders promise.

mod encode;
mod files;
mod span;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use export::{EncodeError, JsonEncoding, ParquetOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use reader::{Bucket, PartitionReader, ReadError, Run, Topic};
use segment::record::RecordError;
use segment::{Offset, PartitionIndex, TopicName};
use tokio::sync::mpsc;

pub use encode::Written;
pub use span::{Bound, Span};

use super::{Ground, ToolError};
use encode::{Encoding, Work};

/// Runs that wait between reading and encoding.
const RUNS_AHEAD: usize = 2;
/// Partitions whose bounds are looked up at a time.
const LOOKUPS_AT_ONCE: usize = 16;
/// Time between looks at whether the export has been told to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the rows are written as.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// Parquet files.
    Parquet(ParquetOptions),
    /// JSON lines.
    Json {
        /// How bytes stand there.
        encoding: JsonEncoding,
        /// As Zstandard frames.
        compressed: bool,
    },
}

impl Format {
    /// How names of files end.
    fn extension(self) -> &'static str {
        match self {
            Self::Parquet(_) => "parquet",
            Self::Json {
                compressed: false, ..
            } => "jsonl",
            Self::Json {
                compressed: true, ..
            } => "jsonl.zst",
        }
    }
}

/// Where the rows go.
pub enum Target {
    /// Files in a directory, which is made if it is not there.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Whether it may hold files of the same partitions already.
        append: bool,
        /// About the bytes of a file after which the next one begins.
        file_bytes: u64,
    },
    /// All of them one after the other, partition by partition.
    Stream(Box<dyn io::Write + Send>),
}

/// What is exported, and how.
pub struct Request {
    /// The topic.
    pub topic: TopicName,
    /// Its partitions; none for all.
    pub partitions: Vec<PartitionIndex>,
    /// Where the export begins in each of them.
    pub from: Bound,
    /// Where it ends.
    pub to: Bound,
    /// What rows are written as.
    pub format: Format,
    /// Where they go.
    pub target: Target,
}

/// Who watches an export, and may end it.
pub trait Watch {
    /// So many offsets lie in the ranges that are exported.
    fn planned(&self, offsets: u64);
    /// So many of them have been read.
    fn reached(&self, offsets: u64);
    /// Whether the export is to end now.
    fn is_told(&self) -> bool;
}

/// Why a topic cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The cluster.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// There is no such topic.
    #[error("there is no topic {topic} in {place}")]
    NoTopic {
        /// Its name.
        topic: TopicName,
        /// Where it was looked for.
        place: String,
    },
    /// The topic has fewer partitions.
    #[error("topic {topic} has partitions 0 to {}, no {partition}", .count - 1)]
    NoPartition {
        /// The topic.
        topic: TopicName,
        /// The partition asked for.
        partition: PartitionIndex,
        /// How many there are.
        count: i32,
    },
    /// Records are asked for that are not there.
    #[error(
        "partition {partition} holds offsets {start} to before {end}, and {asked} is outside: \
         begin at `earliest`, end at `latest`, or choose --partitions"
    )]
    OutOfRange {
        /// The partition.
        partition: PartitionIndex,
        /// What was asked for.
        asked: Offset,
        /// Its first offset.
        start: Offset,
        /// The offset after its last.
        end: Offset,
    },
    /// The bucket or the metadata cannot be read.
    #[error("read partition {partition}: {source}")]
    Read {
        /// The partition.
        partition: PartitionIndex,
        /// What is wrong.
        source: ReadError,
    },
    /// The topic cannot be looked up.
    #[error(transparent)]
    LookUp(ReadError),
    /// A partition has become shorter.
    #[error(
        "partition {partition} ends at offset {reached}, but reached to {end} when the export began: \
         check the cluster with its brokers stopped, then export again"
    )]
    Short {
        /// The partition.
        partition: PartitionIndex,
        /// Where it ends.
        reached: Offset,
        /// Where it ended.
        end: Offset,
    },
    /// A batch cannot be decoded.
    #[error(
        "partition {partition}: the batch of offsets {first} to {last} in {key} cannot be decoded: \
         {source}; export what is before it with --to {first}, and what follows with --from {}",
        .last.get().saturating_add(1)
    )]
    Records {
        /// The partition.
        partition: PartitionIndex,
        /// Its first offset.
        first: Offset,
        /// Its last offset.
        last: Offset,
        /// The object that holds it.
        key: String,
        /// What is wrong.
        source: RecordError,
    },
    /// A row cannot be encoded.
    #[error("{source}{}", hint(.source))]
    Encode {
        /// Why not.
        source: EncodeError,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {name}: {cause}")]
    Write {
        /// What was written.
        name: String,
        /// Why not.
        cause: io::Error,
    },
    /// The directory holds files of these partitions.
    #[error(
        "{0} is there already, and records must not be exported twice: name another directory, or \
         add --append if this export does not overlap it"
    )]
    Occupied(PathBuf),
    /// A file of this name has come, or was there.
    #[error("{0} is there already: this export overlaps it; name another directory")]
    Exists(PathBuf),
}

fn hint(error: &EncodeError) -> &'static str {
    match error {
        EncodeError::NotText { .. } => "; without --text, keys and values are binary",
        _ => "",
    }
}

/// What came of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// The range that was exported; up to where, after an interruption.
    pub span: Span,
    /// What was written of it.
    pub written: Written,
    /// Offsets whose records were deleted (by retention, say) before they could be read.
    pub lost: u64,
}

/// What came of an export.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Of each partition that was begun.
    pub partitions: BTreeMap<PartitionIndex, Exported>,
    /// Whether it was told to end before it had ended.
    pub is_interrupted: bool,
}

impl Outcome {
    /// Takes back of the last partition what was read and is in no whole file, so that another export
    /// can go on at the end of its span.
    fn shorten(&mut self) {
        if let Some(mut last) = self.partitions.last_entry() {
            let exported = last.get_mut();
            let next = exported.written.last.and_then(Offset::next);
            exported.span.to = next.unwrap_or(exported.span.from);
        }
    }
}

/// A partition that is to be exported.
struct Planned<S> {
    partition: PartitionIndex,
    source: S,
    span: Span,
}

/// Where runs come from: [`PartitionReader`], or what a test makes up.
trait Source {
    fn seek(&mut self, offset: Offset);
    fn position(&self) -> Option<Offset>;
    async fn next(&mut self) -> Result<Option<Run>, ReadError>;
}

impl Source for PartitionReader {
    fn seek(&mut self, offset: Offset) {
        Self::seek(self, offset);
    }

    fn position(&self) -> Option<Offset> {
        Self::position(self)
    }

    async fn next(&mut self) -> Result<Option<Run>, ReadError> {
        Self::next(self).await
    }
}

/// Exports a topic.
///
/// # Errors
/// [`ExportError`]. Files that were whole by then stay; nothing else does.
pub async fn export(
    ground: &Ground,
    request: Request,
    watch: &impl Watch,
) -> Result<Outcome, ExportError> {
    let cluster = ground.cluster()?.cluster_id.clone();
    let bucket = Bucket::new(
        ground.store.clone(),
        ground.kv.clone(),
        ground.keys.clone(),
        ground.space.clone(),
    );
    let topic = bucket.topic(&request.topic).await;
    let topic = topic.map_err(ExportError::LookUp)?;
    let topic = topic.ok_or_else(|| ExportError::NoTopic {
        topic: request.topic.clone(),
        place: ground.place.clone(),
    })?;
    let partitions = chosen(&topic, &request.partitions)?;
    let planning = plan(&bucket, &topic, &partitions, request.from, request.to);
    let Some(planned) = unless_told(watch, planning).await else {
        return Ok(Outcome {
            is_interrupted: true,
            ..Outcome::default()
        });
    };
    let planned = planned?;
    watch.planned(planned.iter().map(|it| it.span.offsets()).sum());
    let encoding = Encoding::prepare(cluster, &topic, &partitions, request.format, request.target)?;
    let (sender, receiver) = mpsc::channel(RUNS_AHEAD);
    let encoding = tokio::task::spawn_blocking(move || encoding.run(receiver));
    let read = Reading {
        watch,
        sender,
        reached: 0,
        outcome: Outcome::default(),
    };
    // What the encoder says goes first: it is why reading has ended, if it has failed.
    let read = read.run(planned).await;
    let written = match encoding.await {
        Ok(written) => written?,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    let mut outcome = read?;
    for (partition, written) in written {
        outcome.partitions.entry(partition).or_default().written = written;
    }
    if outcome.is_interrupted {
        outcome.shorten();
    }
    Ok(outcome)
}

/// The partitions asked for, each once and in order.
fn chosen(topic: &Topic, asked: &[PartitionIndex]) -> Result<Vec<PartitionIndex>, ExportError> {
    let count = topic.partitions;
    if asked.is_empty() {
        return Ok((0..count).map(PartitionIndex::new).collect());
    }
    let mut chosen = asked.to_vec();
    chosen.sort();
    chosen.dedup();
    let is_there = |partition: &&PartitionIndex| (0..count).contains(&partition.get());
    match chosen.iter().find(|partition| !is_there(partition)) {
        Some(partition) => Err(ExportError::NoPartition {
            topic: topic.name.clone(),
            partition: *partition,
            count,
        }),
        None => Ok(chosen),
    }
}

/// What there is to export of each partition, all looked up at about one time.
async fn plan(
    bucket: &Bucket,
    topic: &Topic,
    partitions: &[PartitionIndex],
    from: Bound,
    to: Bound,
) -> Result<Vec<Planned<PartitionReader>>, ExportError> {
    let lookups = partitions.iter().map(async |&partition| {
        let failed = |source| ExportError::Read { partition, source };
        let mut source = bucket.reader(topic, partition).map_err(failed)?;
        let bounds = source.bounds().await.map_err(failed)?;
        let first = match from {
            Bound::Time(time) => {
                let found = source.seek_to_time(time).await.map_err(failed)?;
                // Nothing is that late.
                Some(found.unwrap_or(bounds.end))
            }
            _ => None,
        };
        let span = Span::resolve(partition, (bounds.log_start, bounds.end), from, to, first)?;
        Ok(Planned {
            partition,
            source,
            span,
        })
    });
    let lookups = stream::iter(lookups).buffered(LOOKUPS_AT_ONCE);
    lookups.try_collect().await
}

/// What comes of the work, unless the export is told to end before.
async fn unless_told<T>(watch: &impl Watch, work: impl Future<Output = T>) -> Option<T> {
    let told = async {
        while !watch.is_told() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        biased;
        () = told => None,
        done = work => Some(done),
    }
}

/// The side that reads.
struct Reading<'a, W> {
    watch: &'a W,
    sender: mpsc::Sender<Work>,
    /// Offsets of all partitions so far.
    reached: u64,
    outcome: Outcome,
}

/// Whether there is more to do.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    GoesOn,
    /// Told to end, or the encoder has ended.
    Ends,
}

impl<W: Watch> Reading<'_, W> {
    async fn run<S: Source>(mut self, planned: Vec<Planned<S>>) -> Result<Outcome, ExportError> {
        for it in planned {
            if self.partition(it).await? == Flow::Ends {
                break;
            }
        }
        Ok(self.outcome)
    }

    /// Reads a partition to the end of its span.
    async fn partition<S: Source>(&mut self, planned: Planned<S>) -> Result<Flow, ExportError> {
        let Planned {
            partition,
            mut source,
            span,
        } = planned;
        let mut exported = Exported {
            span,
            ..Exported::default()
        };
        source.seek(span.from);
        let mut next = span.from;
        let mut flow = self.send(Work::Begin { partition, span }).await;
        while flow == Flow::GoesOn && next < span.to {
            let Some(read) = unless_told(self.watch, source.next()).await else {
                self.outcome.is_interrupted = true;
                flow = Flow::Ends;
                break;
            };
            next = match read {
                Ok(Some(run)) => {
                    let next = run.next;
                    flow = self.send(Work::Run(run)).await;
                    next
                }
                Ok(None) => {
                    let reached = source.position().unwrap_or_default();
                    // What a reader has shown is final: this says that it is not so.
                    if reached < span.to {
                        return Err(ExportError::Short {
                            partition,
                            reached,
                            end: span.to,
                        });
                    }
                    span.to
                }
                Err(ReadError::LogStartPassed { log_start, .. }) => {
                    let goes_on = log_start.min(span.to);
                    exported.lost += goes_on.distance_from(next).unwrap_or(0);
                    source.seek(goes_on);
                    goes_on
                }
                Err(cause) => {
                    return Err(ExportError::Read {
                        partition,
                        source: cause,
                    });
                }
            };
            let done = next.min(span.to).distance_from(span.from).unwrap_or(0);
            self.watch.reached(self.reached + done);
        }
        if flow == Flow::GoesOn {
            flow = self.send(Work::End).await;
        }
        self.reached += span.offsets();
        exported.span.to = next.min(span.to);
        self.outcome.partitions.insert(partition, exported);
        Ok(flow)
    }

    async fn send(&self, work: Work) -> Flow {
        match self.sender.send(work).await {
            Ok(()) => Flow::GoesOn,
            // It says itself why it has ended.
            Err(_) => Flow::Ends,
        }
    }
}

#[cfg(test)]
mod tests;
