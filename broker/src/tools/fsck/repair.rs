//! What `--repair` does about findings. Each change is guarded by what was read: a revision, an ETag,
//! or a rule that makes it right at any time. Nothing that is not understood is deleted.

use bytes::Bytes;
use coord::keys::cluster::CommitMode;
use coord::keys::partition::{self, PartitionRecord};
use coord::keys::topic_generation::{self, TopicGenerationRecord};
use coord::keys::{Seen, encode, seen, session, tombstone, topic};
use coord::kv::{Compare, Key, Op, Revision, Txn, range_all};
use segment::keys::{ObjectKey as Named, TopicDir};
use segment::survey::salvage;
use segment::{Offset, TimestampMs, TopicId, TopicName, TopicPartition};
use store::{Body, GetError, GetRange, PutCondition, PutError};

use super::FsckError;
use super::close_wal::close_wal;
use crate::control::context::wall_clock;
use crate::control::segments::{Looked, object_keys, read_segment};
use crate::tools::Ground;

/// A repair of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// Raises the generation counter of a name.
    RaiseGeneration {
        /// The name.
        name: TopicName,
        /// At least this.
        next: u32,
    },
    /// Deletes a key of a topic that is gone.
    DeleteKey {
        /// The key.
        key: Key,
        /// Its revision.
        revision: Revision,
        /// The topic.
        topic: TopicId,
    },
    /// Deletes objects that are hints, or that nobody can ever need again.
    DeleteObjects(Vec<String>),
    /// Deletes a segment whose records others hold, or that lies below the log start.
    DeleteSegment {
        /// The partition.
        id: TopicPartition,
        /// Its directory.
        dir: TopicDir,
        /// Its base.
        base: Offset,
    },
    /// Builds the index of a segment.
    BuildIndex {
        /// The partition.
        id: TopicPartition,
        /// Its directory.
        dir: TopicDir,
        /// Its base.
        base: Offset,
    },
    /// Replaces a damaged segment by what is sound in it, after a copy was made.
    Salvage {
        /// The partition.
        id: TopicPartition,
        /// Its directory.
        dir: TopicDir,
        /// Its base.
        base: Offset,
        /// Where it is to end.
        end: Offset,
    },
    /// Raises the log start. Only with `--accept-loss`.
    RaiseLogStart {
        /// The partition.
        id: TopicPartition,
        /// To this offset.
        to: Offset,
    },
    /// Makes what is left of the WAL a segment. Only with `--accept-loss`.
    CloseWal {
        /// The partition.
        id: TopicPartition,
        /// Its directory.
        dir: TopicDir,
    },
    /// Takes the producer snapshot out of the record. Only with `--accept-loss`.
    ForgetProducers {
        /// The partition.
        id: TopicPartition,
    },
}

/// What came of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; what.
    Done(String),
    /// It was not done; why, and what to do.
    Refused(String),
}

impl Outcome {
    /// What came of this repair and of another one of the same finding: it is done if both are.
    #[must_use]
    pub fn and(self, next: Self) -> Self {
        match (self, next) {
            (Self::Done(one), Self::Done(two)) => Self::Done(format!("{one}; {two}")),
            (Self::Refused(one), Self::Refused(two)) if one != two => {
                Self::Refused(format!("{one}; {two}"))
            }
            (Self::Refused(why), _) | (_, Self::Refused(why)) => Self::Refused(why),
        }
    }
}

impl Repair {
    /// Whether it makes a loss final.
    pub fn accepts_loss(&self) -> bool {
        matches!(
            self,
            Self::RaiseLogStart { .. } | Self::CloseWal { .. } | Self::ForgetProducers { .. }
        )
    }

    /// Carries it out.
    ///
    /// # Errors
    /// A store failed; it may be carried out all the same.
    pub async fn carry_out(&self, ground: &Ground) -> Result<Outcome, FsckError> {
        match self {
            Self::RaiseGeneration { name, next } => raise_generation(ground, name, *next).await,
            Self::DeleteKey {
                key,
                revision,
                topic,
            } => delete_key(ground, key, *revision, *topic).await,
            Self::DeleteObjects(keys) => delete_objects(ground, keys).await,
            Self::DeleteSegment { id, dir, base } => delete_segment(ground, *id, dir, *base).await,
            Self::BuildIndex { id, dir, base } => build_index(ground, *id, dir, *base).await,
            Self::Salvage { id, dir, base, end } => {
                replace_damaged(ground, *id, dir, *base, *end).await
            }
            Self::RaiseLogStart { id, to } => {
                let change = |record: &mut PartitionRecord| {
                    record.log_start = record.log_start.max(*to);
                    let covers = record.epochs.iter().rposition(|past| past.start <= *to);
                    record.epochs.drain(..covers.unwrap_or(0));
                    format!("the log starts at {to}")
                };
                change_record(ground, *id, change).await
            }
            Self::CloseWal { id, dir } => close_wal(ground, *id, dir).await,
            Self::ForgetProducers { id } => {
                let change = |record: &mut PartitionRecord| {
                    record.producer_snapshot = None;
                    "the record names no producer snapshot any more".to_owned()
                };
                change_record(ground, *id, change).await
            }
        }
    }
}

pub(super) fn refused(why: impl Into<String>) -> Result<Outcome, FsckError> {
    Ok(Outcome::Refused(why.into()))
}

pub(super) fn done(what: impl Into<String>) -> Result<Outcome, FsckError> {
    Ok(Outcome::Done(what.into()))
}

pub(super) const CHANGED: &str = "it has changed meanwhile: look again";

async fn raise_generation(
    ground: &Ground,
    name: &TopicName,
    next: u32,
) -> Result<Outcome, FsckError> {
    let key = topic_generation::key(&ground.space, name);
    let found = ground.kv.get(key.clone()).await?;
    let counter = seen::<TopicGenerationRecord>(found.as_ref()).ok().flatten();
    if counter.is_some_and(|counter| counter.record.next >= next) {
        return refused(CHANGED);
    }
    let revision = found.map_or(Revision::ZERO, |found| found.mod_revision);
    let record = TopicGenerationRecord { next };
    let txn = Txn::new()
        .when(Compare::mod_revision(key.clone(), revision))
        .and_then(Op::put(key, encode(&record)));
    match ground.kv.txn(txn).await?.succeeded {
        true => done(format!("the counter is {next}")),
        false => refused(CHANGED),
    }
}

/// Deletes a key of a topic id that no topic has: ids are random, so none ever will.
async fn delete_key(
    ground: &Ground,
    key: &Key,
    revision: Revision,
    id: TopicId,
) -> Result<Outcome, FsckError> {
    for entry in range_all(&ground.kv, topic::span(&ground.space))
        .await?
        .entries
    {
        match seen::<topic::TopicRecord>(Some(&entry)) {
            Ok(Some(seen)) if seen.record.topic_id != id => {}
            Ok(Some(_)) => return refused(CHANGED),
            // It may be the topic of this key.
            Ok(None) | Err(_) => return refused(format!("{} cannot be read", entry.key)),
        }
    }
    let buried = tombstone::key(&ground.space, id);
    let txn = Txn::new()
        .when(Compare::mod_revision(key.clone(), revision))
        .when(Compare::absent(buried))
        .and_then(Op::Delete(key.clone()));
    match ground.kv.txn(txn).await?.succeeded {
        true => done("deleted"),
        false => refused(CHANGED),
    }
}

async fn delete_objects(ground: &Ground, keys: &[String]) -> Result<Outcome, FsckError> {
    match ground.objects.delete(keys).await {
        0 => done("deleted"),
        failed => refused(format!(
            "{failed} objects could not be deleted: see the log"
        )),
    }
}

/// The record of a partition, and whether a live session owns it.
async fn look(
    ground: &Ground,
    id: TopicPartition,
) -> Result<Option<(Seen<PartitionRecord>, bool)>, FsckError> {
    let found = ground.kv.get(partition::key(&ground.space, id)).await?;
    let Some(seen) = seen::<PartitionRecord>(found.as_ref())? else {
        return Ok(None);
    };
    let is_owned = match seen.record.owner {
        None => false,
        Some(owner) => {
            let key = session::key(&ground.space, owner.session);
            ground.kv.get(key).await?.is_some()
        }
    };
    Ok(Some((seen, is_owned)))
}

pub(super) const OWNED: &str =
    "a live broker owns the partition: stop the brokers, then run it again";

/// Changes the record of a partition that no live session owns.
async fn change_record(
    ground: &Ground,
    id: TopicPartition,
    change: impl FnOnce(&mut PartitionRecord) -> String,
) -> Result<Outcome, FsckError> {
    let seen = match look(ground, id).await? {
        Some((_, true)) => return refused(OWNED),
        Some((seen, false)) => seen,
        None => return refused(CHANGED),
    };
    let key = partition::key(&ground.space, id);
    let mut record = seen.record.clone();
    let what = change(&mut record);
    let mut txn = Txn::new().when(Compare::mod_revision(key.clone(), seen.mod_revision));
    if let Some(owner) = seen.record.owner {
        txn = txn.when(Compare::absent(session::key(&ground.space, owner.session)));
    }
    let txn = txn.and_then(Op::put(key, encode(&record)));
    match ground.kv.txn(txn).await?.succeeded {
        true => done(what),
        false => refused(CHANGED),
    }
}

async fn delete_segment(
    ground: &Ground,
    id: TopicPartition,
    dir: &TopicDir,
    base: Offset,
) -> Result<Outcome, FsckError> {
    let record = match look(ground, id).await? {
        // It may be one that the owner reads.
        Some((_, true)) => return refused(OWNED),
        Some((seen, false)) => seen.record,
        None => return refused(CHANGED),
    };
    let Ground { objects, keys, .. } = ground;
    let end = match read_segment(objects, keys, dir, id.partition, base, None).await? {
        Some(Looked::Whole(whole)) => whole.segment.end,
        Some(Looked::Damaged(damaged)) => damaged.survey.stated_end.unwrap_or(record.compacted_end),
        None => return done("it is gone"),
    };
    if end > record.log_start && !is_held(ground, id, dir, base..end).await? {
        return refused("no other segment that is sound holds its records");
    }
    let gone = object_keys(keys, dir, id.partition, base);
    delete_objects(ground, &gone).await
}

/// Whether a sound segment of a lower base holds these offsets.
async fn is_held(
    ground: &Ground,
    id: TopicPartition,
    dir: &TopicDir,
    range: std::ops::Range<Offset>,
) -> Result<bool, FsckError> {
    let Ground { objects, keys, .. } = ground;
    let bases = bases(ground, id, dir).await?;
    let below = bases.into_iter().filter(|base| *base < range.start);
    let Some(base) = below.max() else {
        return Ok(false);
    };
    let found = read_segment(objects, keys, dir, id.partition, base, None).await?;
    Ok(matches!(found, Some(Looked::Whole(whole)) if whole.segment.end >= range.end))
}

async fn build_index(
    ground: &Ground,
    id: TopicPartition,
    dir: &TopicDir,
    base: Offset,
) -> Result<Outcome, FsckError> {
    let Ground { objects, keys, .. } = ground;
    let whole = match read_segment(objects, keys, dir, id.partition, base, None).await? {
        Some(Looked::Whole(whole)) => whole,
        Some(Looked::Damaged(damaged)) => {
            return refused(format!("its segment is damaged: {}", damaged.reason));
        }
        None => return refused(CHANGED),
    };
    // A reader that finds a wrong one builds it again, so it is safe at any time.
    let [key, segment] = object_keys(keys, dir, id.partition, base);
    let put = Body::from(whole.index.encode());
    objects.put(&key, put, PutCondition::None).await?;
    match objects.get(&segment, GetRange::Range(0..1)).await {
        Ok(now) if now.etag == whole.etag => done("built"),
        // It was merged or rewritten meanwhile, and this may be the older index.
        Ok(_) | Err(GetError::NotFound { .. }) => {
            objects.delete(&[key]).await;
            refused(CHANGED)
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes an intent out of the record whose ETag is none any more: whoever was to finish it would stop
/// there for ever.
async fn forget_intent(ground: &Ground, id: TopicPartition) -> Result<Outcome, FsckError> {
    let forget = |record: &mut PartitionRecord| {
        record.intent = None;
        "the intent is given up".to_owned()
    };
    change_record(ground, id, forget).await
}

/// Bases of the segments of a partition that LIST shows.
async fn bases(
    ground: &Ground,
    id: TopicPartition,
    dir: &TopicDir,
) -> Result<Vec<Offset>, FsckError> {
    let prefix = ground.keys.partition_prefix(dir, id.partition);
    let listed = ground.objects.list(&prefix, None).await?;
    let base = |meta: &store::ObjectMeta| match ground.keys.parse(meta.key.as_str()) {
        Some(Named::Segment { base, .. }) => Some(base),
        _ => None,
    };
    Ok(listed.iter().filter_map(base).collect())
}

/// Keeps the bytes of a segment; gives the key of the copy.
async fn quarantine(
    ground: &Ground,
    id: TopicPartition,
    dir: &TopicDir,
    base: Offset,
    bytes: Bytes,
) -> Result<String, FsckError> {
    let crc32 = crc32fast::hash(&bytes);
    let key = ground.keys.quarantined(dir, id.partition, base, crc32);
    let body = Body::from(bytes);
    match ground.objects.put(&key, body, PutCondition::IfAbsent).await {
        // The same bytes, from an earlier try.
        Ok(_) | Err(PutError::AlreadyExists { .. }) => Ok(key),
        Err(error) => Err(error.into()),
    }
}

/// Whether a segment may be replaced now, else why not; and whether an intent on it is pending.
async fn may_replace(
    ground: &Ground,
    id: TopicPartition,
    base: Offset,
    is_guarded: bool,
) -> Result<Result<bool, String>, FsckError> {
    let Some((seen, is_owned)) = look(ground, id).await? else {
        return Ok(Err(CHANGED.to_owned()));
    };
    if is_owned && is_guarded {
        return Ok(Err(format!("this store ignores conditions, and {OWNED}")));
    }
    let intent = seen.record.intent;
    let pends = intent.is_some_and(|intent| intent.base <= base && base < intent.end);
    if pends && is_owned {
        return Ok(Err(format!("it is about to be rewritten: {OWNED}")));
    }
    Ok(Ok(pends))
}

/// Copies a damaged segment, then replaces it by what is sound in it, over the ETag that was read.
async fn replace_damaged(
    ground: &Ground,
    id: TopicPartition,
    dir: &TopicDir,
    base: Offset,
    end: Offset,
) -> Result<Outcome, FsckError> {
    let is_guarded = ground.mode()? == CommitMode::Guarded;
    let pends = match may_replace(ground, id, base, is_guarded).await? {
        Ok(pends) => pends,
        Err(why) => return refused(why),
    };
    let Ground { objects, keys, .. } = ground;
    let damaged = match read_segment(objects, keys, dir, id.partition, base, None).await? {
        Some(Looked::Damaged(damaged)) => damaged,
        Some(Looked::Whole(_)) => return refused("it is sound now"),
        None => return refused(CHANGED),
    };
    let [index_key, key] = object_keys(keys, dir, id.partition, base);
    let found = match objects.get(&key, GetRange::Full).await {
        Ok(found) if found.etag == damaged.etag => found,
        Ok(_) | Err(GetError::NotFound { .. }) => return refused(CHANGED),
        Err(error) => return Err(error.into()),
    };
    let copy = quarantine(ground, id, dir, base, found.bytes.clone()).await?;
    // What was merged into it and is still there holds what is lost, and will be deleted as merged.
    for inside in bases(ground, id, dir).await? {
        if base < inside && inside < end {
            let key = keys.segment(dir, id.partition, inside);
            match objects.get(&key, GetRange::Full).await {
                Ok(found) => drop(quarantine(ground, id, dir, inside, found.bytes).await?),
                Err(GetError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let (survey, now): (_, TimestampMs) = (damaged.survey.clone(), wall_clock());
    let kfs = tokio::task::spawn_blocking(move || salvage(&survey, &found.bytes, end, now)).await?;
    let kfs = match kfs {
        Ok(kfs) => kfs,
        Err(error) => return refused(format!("what is left makes no segment: {error}")),
    };
    let condition = match is_guarded {
        false => PutCondition::IfMatch(damaged.etag.clone()),
        true => PutCondition::None,
    };
    let body = Body::new(kfs.chunks.clone()).with_crc32(kfs.crc32);
    match objects.put(&key, body, condition).await {
        Ok(_) => {}
        Err(PutError::Mismatch { .. } | PutError::NotFound { .. }) => return refused(CHANGED),
        Err(error) => return Err(error.into()),
    }
    let index = Body::from(kfs.index.encode());
    objects.put(&index_key, index, PutCondition::None).await?;
    if pends {
        forget_intent(ground, id).await?;
    }
    let lost: i64 = damaged
        .survey
        .lost(end)
        .iter()
        .map(|l| l.end.get() - l.start.get())
        .sum();
    let records = damaged.survey.records;
    done(format!(
        "{records} records are kept, {lost} offsets are empty, a copy is {copy}"
    ))
}
