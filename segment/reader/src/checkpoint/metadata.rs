//! Checkpoints in the cluster's metadata store, for processors without a disk of their own.

use std::collections::HashMap;

use coord::keys::processor::{self, ProcessorRecord};
use coord::keys::{encode, seen};
use coord::kv::{Compare, KvError, Op, Revision, Txn};
use segment::{Offset, TopicPartition};

use super::CheckpointError;
use crate::bucket::Bucket;
use crate::look::kv_retried;
use crate::pause::uniform;

/// Tries of one save on top of earlier ones of ours.
const SAVES_MAX: usize = 4;

/// The offsets of the processor of one name. Two processors of one name do not overwrite each
/// other's: a save compares the mod revision of what this one has read or written last.
#[derive(Debug)]
pub struct EtcdCheckpoints {
    bucket: Bucket,
    name: String,
    /// Tells our own writes from those of others.
    writer: String,
    revisions: HashMap<TopicPartition, Revision>,
}

impl EtcdCheckpoints {
    /// The checkpoints of a processor in the metadata of a cluster. Any name will do.
    pub fn new(bucket: &Bucket, name: impl Into<String>) -> Self {
        let part = || (uniform() * (1_u64 << 53) as f64) as u64;
        Self {
            bucket: bucket.clone(),
            name: name.into(),
            writer: format!("{:014x}{:014x}", part(), part()),
            revisions: HashMap::new(),
        }
    }

    /// Where to go on in a partition; none if nothing was saved for this topic id.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub async fn load(&mut self, id: TopicPartition) -> Result<Option<Offset>, CheckpointError> {
        let key = processor::key(&self.bucket.space, &self.name, id);
        let found = kv_retried(|| self.bucket.kv.get(key.clone())).await?;
        let found = seen::<ProcessorRecord>(found.as_ref())?;
        let revision = found
            .as_ref()
            .map_or(Revision::ZERO, |seen| seen.mod_revision);
        self.revisions.insert(id, revision);
        Ok(found.map(|seen| seen.record.offset))
    }

    /// Saves that everything below `next` in this partition has been processed.
    ///
    /// # Errors
    /// [`CheckpointError::Overtaken`] if it is no longer what was loaded or saved here last (never
    /// loaded counts as absent); [`CheckpointError::Kv`] if the store failed: a later save tells
    /// whether this one was done.
    pub async fn save(&mut self, id: TopicPartition, next: Offset) -> Result<(), CheckpointError> {
        for _ in 0..SAVES_MAX {
            if self.try_save(id, next).await? {
                return Ok(());
            }
        }
        let reason = "earlier saves land in between".to_owned();
        Err(KvError::Failed { reason }.into())
    }

    /// One save; false if an earlier one of ours, whose outcome was unknown, was found: the next try
    /// goes on top of it.
    async fn try_save(
        &mut self,
        id: TopicPartition,
        next: Offset,
    ) -> Result<bool, CheckpointError> {
        let key = processor::key(&self.bucket.space, &self.name, id);
        let before = self.revisions.get(&id).copied().unwrap_or(Revision::ZERO);
        let record = ProcessorRecord {
            offset: next,
            writer: self.writer.clone(),
        };
        // Sent again as it is: its guard lets only one of them through, and the second finds what
        // the first has written.
        let txn = Txn::new()
            .when(Compare::mod_revision(key.clone(), before))
            .and_then(Op::put(key.clone(), encode(&record)))
            .or_else(Op::Get(key));
        let reply = kv_retried(|| self.bucket.kv.txn(txn.clone())).await?;
        if reply.succeeded {
            self.revisions.insert(id, reply.revision);
            return Ok(true);
        }
        match seen::<ProcessorRecord>(reply.get(0))? {
            Some(found) if found.record.writer == self.writer => {
                self.revisions.insert(id, found.mod_revision);
                Ok(found.record == record)
            }
            found => Err(CheckpointError::Overtaken {
                name: self.name.clone(),
                id,
                found: found.map(|found| found.record.offset),
            }),
        }
    }
}
