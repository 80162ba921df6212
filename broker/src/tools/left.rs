//! Makes segments of what is left of a partition where acknowledged records are lost. Batches without
//! records, as log compaction leaves them, stand for what is lost: no other record ever gets those
//! offsets, and readers pass over them.
//!
//! Segments are created, never replaced. Memory is bounded by [`SEGMENT_BYTES`] and one section.

use bytes::Bytes;
use segment::batch::Batches;
use segment::keys::TopicDir;
use segment::kfs::KfsObject;
use segment::survey::without_records;
use segment::wal::WalEntry;
use segment::{LeaderEpoch, Offset, TopicPartition};
use store::{Body, GetError, GetRange, PutCondition, PutError};

use super::Ground;
use crate::control::context::wall_clock;
use crate::control::image::bytes_of;
use crate::control::segments::object_keys;

/// Bytes from which a segment is written.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Why it was not written whole. What was written before stays.
#[derive(Debug, thiserror::Error)]
pub enum LeftError {
    /// An object could not be read.
    #[error(transparent)]
    Get(#[from] GetError),
    /// An object could not be written.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The blocking pool failed.
    #[error("the work was not finished: {0}")]
    Pool(#[from] tokio::task::JoinError),
    /// What is left makes no segment.
    #[error("what is left makes no segment: {0}")]
    Build(String),
    /// An object lies where the segment is to be.
    #[error("{0} lies where what is left is to be written: move it elsewhere, and run it again")]
    Taken(String),
}

/// What is left, from an offset on.
pub(super) struct Left<'a> {
    ground: &'a Ground,
    id: TopicPartition,
    dir: &'a TopicDir,
    /// Where the segment begins that is being gathered.
    base: Offset,
    /// Offset after the last batch.
    at: Offset,
    chunks: Vec<Bytes>,
    bytes: u64,
    lost: i64,
    kept: u64,
}

impl<'a> Left<'a> {
    pub(super) fn new(
        ground: &'a Ground,
        id: TopicPartition,
        dir: &'a TopicDir,
        at: Offset,
    ) -> Self {
        Self {
            ground,
            id,
            dir,
            base: at,
            at,
            chunks: Vec::new(),
            bytes: 0,
            lost: 0,
            kept: 0,
        }
    }

    /// Where it ends.
    pub(super) fn at(&self) -> Offset {
        self.at
    }

    /// Offsets that batches without records stand for.
    pub(super) fn lost(&self) -> i64 {
        self.lost
    }

    /// Records that were taken.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// Adds what can be read of a section, whose bytes lie in the object `key`.
    ///
    /// # Errors
    /// [`LeftError`].
    pub(super) async fn take(&mut self, key: &str, entry: &WalEntry) -> Result<(), LeftError> {
        let end = entry.last_offset.next().unwrap_or(entry.last_offset);
        if end <= self.at {
            return Ok(());
        }
        let range = GetRange::Range(bytes_of(entry));
        let bytes = match self.ground.objects.get(key, range).await {
            Ok(found) => found.bytes,
            Err(
                GetError::NotFound { .. }
                | GetError::RangeNotSatisfiable { .. }
                | GetError::Corrupt { .. },
            ) => Bytes::new(),
            Err(error) => return Err(error.into()),
        };
        let mut position = 0;
        for batch in Batches::strict(&bytes) {
            let Ok(batch) = batch else { break };
            let chunk = position..position + batch.bytes.len();
            position = chunk.end;
            let (first, next) = (batch.header.base_offset, batch.header.next_offset());
            let is_sound = batch.verify_crc().is_ok() && next <= end;
            if !is_sound {
                break;
            }
            if first < self.at {
                continue;
            }
            self.lose(first, entry.leader_epoch);
            self.kept += u64::from(batch.header.record_count);
            self.push(bytes.slice(chunk), next);
        }
        self.lose(end, entry.leader_epoch);
        if self.bytes >= SEGMENT_BYTES {
            self.write().await?;
        }
        Ok(())
    }

    /// The offsets up to `to` are lost.
    pub(super) fn lose(&mut self, to: Offset, epoch: LeaderEpoch) {
        if to <= self.at {
            return;
        }
        self.lost += to.get() - self.at.get();
        for chunk in without_records(self.at..to, epoch) {
            self.push(chunk, to);
        }
    }

    /// The offsets up to `to` are in segments that are there: what was gathered ends before them.
    ///
    /// # Errors
    /// [`LeftError`].
    pub(super) async fn pass_over(&mut self, to: Offset) -> Result<(), LeftError> {
        self.write().await?;
        self.at = self.at.max(to);
        self.base = self.at;
        Ok(())
    }

    fn push(&mut self, chunk: Bytes, next: Offset) {
        self.bytes += chunk.len() as u64;
        self.chunks.push(chunk);
        self.at = next;
    }

    /// Writes what was gathered as a segment.
    ///
    /// # Errors
    /// [`LeftError`]; [`LeftError::Taken`] where there is an object already.
    pub(super) async fn write(&mut self) -> Result<(), LeftError> {
        let chunks = std::mem::take(&mut self.chunks);
        let base = std::mem::replace(&mut self.base, self.at);
        self.bytes = 0;
        if chunks.is_empty() {
            return Ok(());
        }
        let created = wall_clock();
        let build = move || KfsObject::build(base, created, chunks);
        let kfs = tokio::task::spawn_blocking(build).await?;
        let kfs = kfs.map_err(|error| LeftError::Build(error.to_string()))?;
        let Ground { objects, keys, .. } = self.ground;
        let [index_key, key] = object_keys(keys, self.dir, self.id.partition, base);
        let body = Body::new(kfs.chunks.clone()).with_crc32(kfs.crc32);
        match objects.put(&key, body, PutCondition::IfAbsent).await {
            Ok(_) => {}
            Err(PutError::AlreadyExists { .. }) => return Err(LeftError::Taken(key)),
            Err(error) => return Err(error.into()),
        }
        let index = Body::from(kfs.index.encode());
        objects.put(&index_key, index, PutCondition::None).await?;
        Ok(())
    }
}
