//! What takes the place of records that are lost in the middle of a log.
//!
//! A log is served from where it is whole up to its end, so that what lies below a gap could not be
//! read any more, and the next collection of garbage would delete it. So each gap becomes a segment of
//! batches without records, and the sections below the last gap become segments like those of any
//! compaction. Their bases are new, hence nothing is replaced; an interrupted try is found as segments
//! by the next one.

use std::ops::Range;

use coord::keys::partition::EpochStart;
use segment::keys::TopicDir;
use segment::manifest::Manifest;
use segment::{LeaderEpoch, Offset};
use store::{Body, PutCondition};

use super::RecoverError;
use super::chain::Chain;
use super::log::RecoveredPartition;
use super::wal::Section;
use crate::tools::Ground;
use crate::tools::left::{Left, LeftError};

/// What is to be written.
#[derive(Debug)]
pub(super) struct Fill {
    dir: TopicDir,
    /// It tells of an earlier end.
    manifest: Option<Manifest>,
    /// Where the log begins that is whole then.
    from: Offset,
    /// Offsets from there on that segments hold.
    runs: Vec<Range<Offset>>,
    /// The sections that follow them.
    sections: Vec<Section>,
    /// Where what is written ends.
    end: Offset,
    epochs: Vec<EpochStart>,
}

impl Fill {
    /// What is to be written between `runs` and sections up to the start of the chain. What lies
    /// below `log_start` is left as it is.
    pub(super) fn new(
        dir: TopicDir,
        manifest: Option<Manifest>,
        runs: &[Range<Offset>],
        found: &Chain,
        log_start: Offset,
        epochs: &[EpochStart],
    ) -> Self {
        let runs = runs.iter().filter(|run| run.end > log_start);
        let runs: Vec<Range<Offset>> = runs.cloned().collect();
        let sections = found.below.iter();
        let sections = sections.filter(|section| section.entry.last_offset >= log_start);
        let sections: Vec<Section> = sections.cloned().collect();
        let first = sections.first().map(|section| section.entry.first_offset);
        let from = runs.first().map(|run| run.start).or(first);
        Self {
            dir,
            manifest,
            from: from.unwrap_or(found.start),
            runs,
            sections,
            end: found.start,
            epochs: epochs.to_vec(),
        }
    }

    pub(super) fn from(&self) -> Offset {
        self.from
    }

    /// The leader epoch of an offset.
    fn epoch(&self, at: Offset) -> LeaderEpoch {
        let begun = self.epochs.iter().rfind(|start| start.start <= at);
        begun
            .or(self.epochs.first())
            .map_or(LeaderEpoch::ZERO, |start| start.epoch)
    }

    async fn write(&self, left: &mut Left<'_>, ground: &Ground) -> Result<(), LeftError> {
        for run in &self.runs {
            left.lose(run.start, self.epoch(left.at()));
            left.pass_over(run.end).await?;
        }
        for section in &self.sections {
            left.take(&section.key(&ground.keys), &section.entry)
                .await?;
        }
        left.lose(self.end, self.epoch(left.at()));
        left.write().await
    }
}

impl RecoveredPartition {
    /// Whether batches without records can take the place of what is missing.
    pub fn can_fill(&self) -> bool {
        self.fill.is_some()
    }

    /// Writes what takes the place of lost records, if there is to be anything.
    ///
    /// # Errors
    /// The store failed, or an object lies in the way.
    pub(super) async fn write_fill(&mut self, ground: &Ground) -> Result<(), RecoverError> {
        let Some(fill) = &self.fill else {
            return Ok(());
        };
        let id = self.id;
        let mut left = Left::new(ground, id, &fill.dir, fill.from);
        let written = fill.write(&mut left, ground).await;
        written.map_err(|source| RecoverError::Fill { id, source })?;
        let (lost, kept) = (left.lost(), left.kept());
        self.notes.push(format!(
            "{lost} offsets are empty, {kept} records of WAL objects are in segments up to {}, and \
             producers are forgotten",
            fill.end
        ));
        if let Some(manifest) = &fill.manifest {
            let manifest = Manifest {
                compacted_end: self.record.compacted_end,
                log_start: self.record.log_start,
                ..manifest.clone()
            };
            let key = ground.keys.manifest(&fill.dir, id.partition);
            let body = Body::from(manifest.encode());
            let put = ground.objects.put(&key, body, PutCondition::None).await;
            put.map_err(|source| RecoverError::Put { key, source })?;
        }
        Ok(())
    }
}
