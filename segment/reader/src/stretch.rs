//! A stretch of one object that holds batches of the partition: a segment's body or a WAL section.
//! Read piece by piece, every batch checked.
//!
//! Invariant: all pieces are of one version of the object: the ETag of the first holds for all.

use std::sync::Arc;

use bytes::Bytes;
use segment::batch::{BATCH_HEADER_BYTES, Batch, BatchHeader, Batches};
use segment::{LeaderEpoch, Offset, TimestampMs};
use store::{ETag, GetError, GetRange};

use crate::error::ReadError;
use crate::objects::Objects;
use crate::run::RunBatch;

/// What the batches of a stretch must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// A segment: offsets rise; log compaction leaves gaps.
    Rising,
    /// A WAL section: offsets follow each other, all of one epoch.
    Strict(LeaderEpoch),
}

/// Where reading a stretch is.
#[derive(Debug, Clone)]
pub(crate) struct Stretch {
    pub(crate) key: Arc<str>,
    /// Bytes of the whole object, where they are known: another length is another version.
    pub(crate) object_len: Option<u64>,
    /// The byte at which the next batch begins.
    pub(crate) next: u64,
    /// The byte after the last batch.
    pub(crate) end: u64,
    /// The lowest offset that the next batch may have.
    pub(crate) offset: Offset,
    /// The offset after the last batch.
    pub(crate) end_offset: Offset,
    pub(crate) order: Order,
    /// The next batch must begin at exactly `offset`: an index said so.
    pub(crate) is_indexed: bool,
    pub(crate) etag: Option<ETag>,
}

/// Which batches of a stretch are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    /// Those with an offset from here on.
    pub(crate) from: Offset,
    /// Those whose largest timestamp is at least this, where one is given.
    pub(crate) since: Option<TimestampMs>,
}

impl Want {
    fn takes(&self, header: &BatchHeader) -> bool {
        header.next_offset() > self.from
            && self.since.is_none_or(|since| header.max_timestamp >= since)
    }
}

impl Stretch {
    /// Whether all of it has been read.
    pub(crate) fn is_done(&self) -> bool {
        self.next >= self.end
    }

    /// Reads the next piece of about `bytes` and gives the batches in it that are wanted, maybe
    /// none. A batch that is larger comes whole. Where it fails, nothing of it has been passed.
    pub(crate) async fn read(
        &mut self,
        objects: &Objects,
        want: Want,
        bytes: u64,
    ) -> Result<Vec<RunBatch>, ReadError> {
        assert!(!self.is_done(), "there is something left to read");
        let piece = self
            .get(objects, bytes.max(BATCH_HEADER_BYTES as u64))
            .await?;
        let mut after = self.clone();
        let batches = after.walk(&piece, want)?;
        if after.next > self.next {
            after.check_end()?;
            *self = after;
            return Ok(batches);
        }
        // The first batch is larger than the piece.
        let header = BatchHeader::parse(&piece).map_err(|error| self.fault(error))?;
        let needed = header.total_bytes() as u64;
        if needed > self.end - self.next {
            return Err(self.fault(format!("a batch of {needed} bytes does not fit")));
        }
        let piece = self.get(objects, needed).await?;
        let batches = after.walk(&piece, want)?;
        if after.next != self.next + needed {
            return Err(self.fault(format!("a batch of {needed} bytes cannot be read")));
        }
        after.check_end()?;
        *self = after;
        Ok(batches)
    }

    async fn get(&mut self, objects: &Objects, bytes: u64) -> Result<Bytes, ReadError> {
        let to = self.next.saturating_add(bytes).min(self.end);
        let range = self.next..to;
        let found = match objects.get(&self.key, GetRange::Range(range.clone())).await {
            Ok(found) => found,
            Err(GetError::NotFound { .. } | GetError::RangeNotSatisfiable { .. }) => {
                return Err(ReadError::Missing {
                    key: self.key.to_string(),
                    from: self.offset,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let is_same = self.etag.as_ref().is_none_or(|etag| *etag == found.etag)
            && self.object_len.is_none_or(|len| len == found.object_len);
        if !is_same {
            let what = self.key.to_string();
            return Err(ReadError::Unsteady { what });
        }
        self.etag = Some(found.etag);
        if found.bytes.len() as u64 != range.end - range.start {
            let len = found.object_len;
            return Err(self.fault(format!("it ends at {len}, before its last batch")));
        }
        Ok(found.bytes)
    }

    /// Passes the whole batches of a piece.
    fn walk(&mut self, piece: &Bytes, want: Want) -> Result<Vec<RunBatch>, ReadError> {
        let mut wanted = Vec::new();
        // Cut off is allowed only where the piece ends before the stretch does.
        let is_last = self.next + piece.len() as u64 == self.end;
        let batches = match is_last {
            true => Batches::strict(piece),
            false => Batches::until_truncated(piece),
        };
        for batch in batches {
            let batch = batch.map_err(|error| self.fault(error))?;
            self.check(&batch)?;
            let header = batch.header;
            if want.takes(&header) {
                let bytes = piece.slice(batch.position..batch.position + batch.bytes.len());
                let key = self.key.clone();
                wanted.push(RunBatch { header, bytes, key });
            }
            self.next += batch.bytes.len() as u64;
            self.is_indexed = false;
            self.offset = header.next_offset();
        }
        Ok(wanted)
    }

    fn check(&self, batch: &Batch<'_>) -> Result<(), ReadError> {
        batch.verify_crc().map_err(|error| self.fault(error))?;
        let (found, expected) = (batch.header.base_offset, self.offset);
        let is_in_order = match self.order {
            Order::Rising if self.is_indexed => found == expected,
            Order::Rising => found >= expected,
            Order::Strict(epoch) => found == expected && batch.header.leader_epoch == epoch,
        };
        if !is_in_order || batch.header.next_offset() > self.end_offset {
            return Err(self.fault(format!(
                "it has base offset {found} and leader epoch {}, expected offset {expected}",
                batch.header.leader_epoch
            )));
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), ReadError> {
        if self.is_done() && self.offset != self.end_offset {
            let (found, expected) = (self.offset, self.end_offset);
            return Err(self.fault(format!("it ends at offset {found}, expected {expected}")));
        }
        Ok(())
    }

    fn fault(&self, reason: impl std::fmt::Display) -> ReadError {
        ReadError::damaged(&self.key, format!("batch at {}: {reason}", self.next))
    }
}
