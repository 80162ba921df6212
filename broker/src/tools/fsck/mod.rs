//! `kafscale fsck`: walks metadata and bucket and tells every inconsistency it knows.
//!
//! It works whether brokers run or not: what it suspects it looks at again, with new metadata, and
//! what has changed meanwhile is no finding. Memory is bounded by the metadata, by the WAL objects
//! that wait for compaction (as in a takeover), and by [`WHOLE_AT_ONCE`] objects that are read whole;
//! segments are looked at partition by partition.

mod bucket;
mod close_wal;
mod finding;
mod metadata;
mod partition;
mod repair;
mod wal;

use std::time::Duration;

use coord::kv::KvError;
use futures_util::StreamExt;
use segment::{Offset, TopicName, TopicPartition};
use store::{GetError, GetRange, ListError, PutError};
use tokio::sync::Semaphore;

use self::bucket::{Seen, Walk};
use self::finding::confirmed;
pub use self::finding::{Code, Finding, Severity};
use self::metadata::{GroupOffset, Metadata};
use self::partition::{Look, Subject};
pub use self::repair::{Outcome, Repair};
use self::wal::WalLook;
use super::left::LeftError;
use super::{Ground, ToolError};
use crate::control::harvest::HarvestError;
use crate::control::segments::ReadSegmentError;

/// Partitions that are looked at side by side.
const PARTITIONS_AT_ONCE: usize = 16;
/// Objects that are read whole at a time.
const WHOLE_AT_ONCE: usize = 2;
/// Partitions whose WAL is looked at together: directories are read once for all of them.
const WAL_PARTITIONS: usize = 1_000;
/// How long after the first look the second one comes.
const AGAIN_AFTER: Duration = Duration::from_millis(750);
/// Findings that are kept; more are counted.
const FINDINGS_MAX: usize = 100_000;

/// Why the check was not finished.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// What it works on cannot be used.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The metadata store failed.
    #[error("metadata: {0}")]
    Kv(#[from] KvError),
    /// A record cannot be read.
    #[error(transparent)]
    Codec(#[from] coord::keys::CodecError),
    /// The object store failed.
    #[error(transparent)]
    List(#[from] ListError),
    /// The object store failed.
    #[error(transparent)]
    Get(#[from] GetError),
    /// The object store failed.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The object store failed.
    #[error(transparent)]
    Segment(#[from] ReadSegmentError),
    /// The object store failed.
    #[error(transparent)]
    Harvest(#[from] HarvestError),
    /// The blocking pool failed.
    #[error("the work was not finished: {0}")]
    Pool(#[from] tokio::task::JoinError),
    /// What is left of a partition could not be written.
    #[error(transparent)]
    Left(#[from] LeftError),
    /// There is no such topic.
    #[error("there is no topic {0}")]
    NoTopic(TopicName),
}

/// What is looked at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether every byte is read.
    pub deep: bool,
    /// Only this topic.
    pub topic: Option<TopicName>,
    /// Only what the collector of garbage would delete now.
    pub garbage: bool,
}

/// What is told while it goes on.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// So many things are to be looked at.
    Total(u64),
    /// One more was looked at.
    Done,
}

/// What was looked at, and found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// Findings that are not kept.
    pub more: u64,
    /// Partitions with a record.
    pub partitions: u64,
    /// Objects that were listed; of one topic only they are not counted.
    pub objects: u64,
}

impl Report {
    /// Whether there is anything but notes.
    pub fn is_clean(&self) -> bool {
        let notes = |finding: &Finding| finding.code.severity() == Severity::Note;
        self.more == 0 && self.findings.iter().all(notes)
    }

    /// Adds what is said of WAL objects: one finding for each, however many partitions need it.
    fn join(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            let mut told = self.findings.iter_mut();
            match told.find(|told| told.subject == finding.subject) {
                Some(told) => told.join(finding),
                None => self.add(vec![finding]),
            }
        }
    }

    fn add(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            match self.findings.len() < FINDINGS_MAX {
                true => self.findings.push(finding),
                false => self.more += 1,
            }
        }
    }
}

/// A check of a cluster.
pub struct Fsck<'a> {
    ground: &'a Ground,
    options: Options,
    whole: Semaphore,
    tell: &'a dyn Fn(Step),
}

impl<'a> Fsck<'a> {
    /// Checks what `options` say; `tell` hears how far it is.
    pub fn new(ground: &'a Ground, options: Options, tell: &'a dyn Fn(Step)) -> Self {
        Self {
            ground,
            options,
            whole: Semaphore::new(WHOLE_AT_ONCE),
            tell,
        }
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// [`FsckError`].
    pub async fn run(&self) -> Result<Report, FsckError> {
        let mut report = Report::default();
        let first = self.metadata().await?;
        if self.options.garbage {
            self.walk(&first, &mut report).await?;
            return Ok(report);
        }
        if let Some(name) = &self.options.topic
            && !first.topics.contains_key(name)
        {
            return Err(FsckError::NoTopic(name.clone()));
        }
        let ids = self.ids(&first);
        report.partitions = ids.len() as u64;
        (self.tell)(Step::Total(2 * ids.len() as u64));
        self.check_metadata(&first, &mut report).await?;
        self.check_segments(&first, &ids, &mut report).await?;
        for ids in ids.chunks(WAL_PARTITIONS) {
            self.check_wal(ids, &mut report).await?;
        }
        if self.options.topic.is_none() {
            self.walk(&first, &mut report).await?;
        }
        report.findings.sort_by(|a, b| {
            let rank = |finding: &Finding| std::cmp::Reverse(finding.code.severity());
            (rank(a), a.code, &a.subject).cmp(&(rank(b), b.code, &b.subject))
        });
        Ok(report)
    }

    async fn metadata(&self) -> Result<Metadata, KvError> {
        Metadata::read(&self.ground.kv, &self.ground.space).await
    }

    /// The partitions of topics that are there, in order.
    fn ids(&self, metadata: &Metadata) -> Vec<TopicPartition> {
        let only = self.options.topic.as_ref();
        let is_wanted = |id: &&TopicPartition| {
            let topic = metadata.topic(id.topic);
            topic.is_some_and(|(dir, _)| only.is_none_or(|only| *only == dir.name))
        };
        let ids = metadata.partitions.keys().filter(is_wanted);
        let mut ids: Vec<TopicPartition> = ids.copied().collect();
        ids.sort();
        ids
    }

    async fn check_metadata(&self, first: &Metadata, report: &mut Report) -> Result<(), FsckError> {
        let (space, only) = (&self.ground.space, self.options.topic.as_ref());
        let suspected = first.check(space, only);
        if !suspected.is_empty() {
            tokio::time::sleep(AGAIN_AFTER).await;
            let second = self.metadata().await?;
            report.add(confirmed(&suspected, second.check(space, only)));
        }
        if only.is_none() {
            report.add(self.check_cluster_object().await?.into_iter().collect());
        }
        Ok(())
    }

    /// The object that names the cluster.
    async fn check_cluster_object(&self) -> Result<Option<Finding>, FsckError> {
        let Some(cluster) = &self.ground.cluster else {
            return Ok(None);
        };
        let (id, key) = (&cluster.cluster_id, self.ground.keys.cluster());
        let detail = match self.ground.objects.get(&key, GetRange::Full).await {
            Ok(found) => {
                let text = String::from_utf8_lossy(&found.bytes).into_owned();
                let found = text.lines().next().unwrap_or_default().to_owned();
                if found == *id {
                    return Ok(None);
                }
                format!("it names cluster {found:?}, the metadata {id:?}")
            }
            Err(GetError::NotFound { .. }) => format!("it is not there; the cluster is {id:?}"),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Finding::new(Code::ClusterObject, key, detail)))
    }

    async fn check_segments(
        &self,
        metadata: &Metadata,
        ids: &[TopicPartition],
        report: &mut Report,
    ) -> Result<(), FsckError> {
        let checks = ids.iter().map(|id| self.check_partition(metadata, *id));
        let mut checks = futures_util::stream::iter(checks).buffer_unordered(PARTITIONS_AT_ONCE);
        while let Some(findings) = checks.next().await {
            report.add(findings?);
            (self.tell)(Step::Done);
        }
        Ok(())
    }

    /// Looks at the segments of a partition; again if anything is wrong, with its record as it is
    /// then.
    async fn check_partition(
        &self,
        metadata: &Metadata,
        id: TopicPartition,
    ) -> Result<Vec<Finding>, FsckError> {
        let Some((dir, _)) = metadata.topic(id.topic) else {
            return Ok(Vec::new());
        };
        let look = Look {
            ground: self.ground,
            deep: self.options.deep,
            whole: &self.whole,
        };
        let mut suspected = None;
        loop {
            let key = coord::keys::partition::key(&self.ground.space, id);
            let found = self.ground.kv.get(key).await?;
            // One that cannot be read is told of by itself.
            let Ok(Some(seen)) = coord::keys::seen(found.as_ref()) else {
                return Ok(Vec::new());
            };
            let dir = dir.clone();
            let record = seen.record;
            let findings = look.at(&Subject { id, dir, record }).await?;
            match suspected {
                None if findings.is_empty() => return Ok(findings),
                None => suspected = Some(findings),
                Some(suspected) => return Ok(confirmed(&suspected, findings)),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Looks at the WAL of partitions, and at the offsets that groups have committed in them.
    async fn check_wal(
        &self,
        ids: &[TopicPartition],
        report: &mut Report,
    ) -> Result<(), FsckError> {
        let mut suspected: Option<Vec<Finding>> = None;
        loop {
            // Offsets before logs: a log only grows.
            let metadata = self.metadata().await?;
            let look = WalLook {
                ground: self.ground,
                metadata: &metadata,
                deep: self.options.deep && suspected.is_none(),
                whole: &self.whole,
            };
            let found = look.at(ids).await?;
            let mut findings = found.findings;
            let end = |id: &TopicPartition| found.ends.get(id).copied();
            findings.extend(metadata.offsets_beyond(ids, end));
            match suspected {
                None if findings.is_empty() => break,
                // What is read deep is not read again: nobody rewrites a WAL object.
                None if self.options.deep => {
                    let (lasting, passing): (Vec<_>, Vec<_>) = findings
                        .into_iter()
                        .partition(|f| f.code == Code::WalDamaged);
                    report.join(lasting);
                    suspected = Some(passing);
                }
                None => suspected = Some(findings),
                Some(suspected) => {
                    report.join(confirmed(&suspected, findings));
                    break;
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        ids.iter().for_each(|_| (self.tell)(Step::Done));
        Ok(())
    }

    /// Walks the bucket; once more if anything is suspected.
    async fn walk(&self, first: &Metadata, report: &mut Report) -> Result<(), FsckError> {
        let mut seen = Seen::default();
        let suspected = self.walk_once(first, &mut seen).await?;
        report.objects = seen.objects;
        if !suspected.is_empty() {
            let second = self.metadata().await?;
            let again = self.walk_once(&second, &mut Seen::default()).await?;
            report.add(confirmed(&suspected, again));
        }
        if seen.sessions_over > 0 && !self.options.garbage {
            let detail = format!(
                "{} sessions are over and have nothing left",
                seen.sessions_over
            );
            let root = self.ground.keys.wal_root();
            report.add(vec![Finding::new(Code::SessionsOver, root, detail)]);
        }
        Ok(())
    }

    async fn walk_once(
        &self,
        metadata: &Metadata,
        seen: &mut Seen,
    ) -> Result<Vec<Finding>, FsckError> {
        let walk = Walk {
            ground: self.ground,
            metadata,
        };
        if self.options.garbage {
            return walk.garbage(seen).await;
        }
        let mut findings = walk.segments(seen).await?;
        findings.extend(walk.wal(seen).await?);
        Ok(findings)
    }
}

impl Metadata {
    /// Committed offsets behind the end of the log.
    fn offsets_beyond(
        &self,
        ids: &[TopicPartition],
        end: impl Fn(&TopicPartition) -> Option<Offset>,
    ) -> Vec<Finding> {
        // They are in order.
        let is_one = |offset: &&GroupOffset| ids.binary_search(&offset.partition).is_ok();
        let of_these = self.offsets.iter().filter(is_one);
        let beyond = of_these.filter_map(|offset| {
            let end = end(&offset.partition).filter(|end| offset.offset > *end)?;
            let detail = format!("it is {}, the log ends at {end}", offset.offset);
            Some(Finding::new(
                Code::GroupOffsetBeyond,
                offset.key.to_string(),
                detail,
            ))
        });
        beyond.collect()
    }
}

#[cfg(test)]
mod tests;
