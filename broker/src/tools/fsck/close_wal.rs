//! Makes what is left of a partition's WAL a segment, where objects that it needs are lost: else no
//! broker could open it. Lost offsets stay empty, so that no other record ever gets them.
//!
//! What was written of it before is taken over, so that it can be interrupted and run again. The record
//! changes last, guarded by its revision and by the death of every session that it names.

use bytes::Bytes;
use coord::keys::cluster::CommitMode;
use coord::keys::committed::{self, CommittedRecord};
use coord::keys::floor::{self, FloorRecord};
use coord::keys::partition::{self, Owner, PartitionRecord, Source};
use coord::keys::{Record, Seen, encode, seen, session};
use coord::kv::{Compare, Key, Op, Txn};
use segment::batch::Batches;
use segment::keys::TopicDir;
use segment::kfs::KfsObject;
use segment::survey::without_records;
use segment::{Offset, SessionId, TopicPartition, WalSequence};
use store::{Body, GetError, GetRange, PutCondition, PutError};

use super::FsckError;
use super::repair::{CHANGED, OWNED, Outcome, done, refused};
use crate::control::context::wall_clock;
use crate::control::harvest::{Found, Harvest};
use crate::control::image::{bytes_of, first_needed};
use crate::control::segments::{Looked, object_keys, read_segment};
use crate::tools::Ground;

/// The first sequence of a session that can hold batches.
const FIRST_SEQUENCE: WalSequence = WalSequence::new(1);
/// Bytes from which a segment is written, so that memory is bounded.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Closes the WAL of a partition.
///
/// # Errors
/// A store failed; segments may have been written, which the next try takes over.
pub(super) async fn close_wal(
    ground: &Ground,
    id: TopicPartition,
    dir: &TopicDir,
) -> Result<Outcome, FsckError> {
    let key = partition::key(&ground.space, id);
    let found = ground.kv.get(key.clone()).await?;
    let Some(before) = seen::<PartitionRecord>(found.as_ref())? else {
        return refused(CHANGED);
    };
    let sources = &before.record.sources;
    let named = sources.iter().map(|source| source.session);
    let sessions: Vec<SessionId> = named
        .chain(before.record.owner.map(|o| o.session))
        .collect();
    for one in &sessions {
        let live = ground.kv.get(session::key(&ground.space, *one)).await?;
        if live.is_some() {
            return refused(OWNED);
        }
    }
    let mut end = match written(ground, id, dir, &before.record).await? {
        Ok(end) => end,
        Err(why) => return refused(why),
    };
    let mut left = Left::new(ground, id, dir, end);
    for section in sections(ground, id, &before.record).await? {
        left.take(&section).await?;
        if left.bytes >= SEGMENT_BYTES && !left.write().await? {
            return refused(CHANGED);
        }
    }
    if !left.write().await? {
        return refused(CHANGED);
    }
    end = end.max(left.at);
    let mut txn = Txn::new().when(Compare::mod_revision(key.clone(), before.mod_revision));
    for one in sessions {
        txn = txn.when(Compare::absent(session::key(&ground.space, one)));
    }
    let txn = txn.and_then(Op::put(key, encode(&closed(before, end))));
    if !ground.kv.txn(txn).await?.succeeded {
        return refused(CHANGED);
    }
    // It tells of an earlier end, and is only a hint.
    let manifest = ground.keys.manifest(dir, id.partition);
    ground.objects.delete(&[manifest]).await;
    let Left { lost, kept, .. } = left;
    done(format!(
        "{lost} offsets are empty, {kept} records are kept in segments up to {end}, and producers are \
         forgotten"
    ))
}

/// The record when all that is left is in segments.
fn closed(before: Seen<PartitionRecord>, end: Offset) -> PartitionRecord {
    PartitionRecord {
        owner: None,
        sources: Vec::new(),
        compacted_end: end,
        intent: None,
        // One at another offset would be refused.
        producer_snapshot: None,
        ..before.record
    }
}

/// Where the segments end that lie at the compacted end and behind it: those of an intent, or of an
/// earlier try. Else why it cannot be told.
async fn written(
    ground: &Ground,
    id: TopicPartition,
    dir: &TopicDir,
    record: &PartitionRecord,
) -> Result<Result<Offset, String>, FsckError> {
    let Ground { objects, keys, .. } = ground;
    let mut end = record.compacted_end;
    loop {
        match read_segment(objects, keys, dir, id.partition, end, None).await? {
            Some(Looked::Whole(whole)) => end = whole.segment.end,
            Some(Looked::Damaged(damaged)) => {
                let Some(stated) = damaged.survey.stated_end else {
                    return Ok(Err(format!(
                        "{} is damaged: {}",
                        damaged.key, damaged.reason
                    )));
                };
                end = stated.max(damaged.survey.sound_end());
            }
            None => return Ok(Ok(end)),
        }
    }
}

/// What the directories tell of a partition's sections, in order. Open sources are fenced, as whoever
/// takes the partition would do.
async fn sections(
    ground: &Ground,
    id: TopicPartition,
    record: &PartitionRecord,
) -> Result<Vec<Found>, FsckError> {
    let Ground { objects, keys, .. } = ground;
    let me = SessionId::new(rand::random());
    let mut harvest = Harvest::new(objects, keys, me, [id].into());
    for source in &record.sources {
        let owner = Owner {
            session: source.session,
            broker: source.broker,
        };
        let told = record_of::<FloorRecord>(ground, floor::key(&ground.space, source.session));
        let floor = told.await?.map_or(WalSequence::ZERO, |told| told.floor);
        let first = first_needed(source, floor);
        let end = match source.end_sequence {
            Some(end) => end,
            None => open_end(ground, &mut harvest, source, owner, floor).await?,
        };
        harvest.read_range(owner, first..end.max(first)).await?;
    }
    let mut found = harvest.take_sections(id);
    found.sort_by_key(|section| section.entry.first_offset);
    Ok(found)
}

async fn open_end(
    ground: &Ground,
    harvest: &mut Harvest<'_>,
    source: &Source,
    owner: Owner,
    floor: WalSequence,
) -> Result<WalSequence, FsckError> {
    match ground.mode()? {
        CommitMode::Conditional => Ok(harvest.fence(owner, floor).await?),
        CommitMode::Guarded => {
            let key = committed::key(&ground.space, source.session);
            let told = record_of::<CommittedRecord>(ground, key).await?;
            Ok(told.map_or(FIRST_SEQUENCE, |told| told.end).max(floor))
        }
    }
}

async fn record_of<T: Record>(ground: &Ground, key: Key) -> Result<Option<T>, FsckError> {
    let found = ground.kv.get(key).await?;
    Ok(seen::<T>(found.as_ref())?.map(|seen| seen.record))
}

/// What is left, from the compacted end on.
struct Left<'a> {
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
    fn new(ground: &'a Ground, id: TopicPartition, dir: &'a TopicDir, at: Offset) -> Self {
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

    /// Adds what can be read of a section.
    async fn take(&mut self, section: &Found) -> Result<(), FsckError> {
        let entry = &section.entry;
        let end = entry.last_offset.next().unwrap_or(entry.last_offset);
        if end <= self.at {
            return Ok(());
        }
        let range = GetRange::Range(bytes_of(entry));
        let bytes = match self.ground.objects.get(&section.key, range).await {
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
            self.leave_out(first, entry.leader_epoch);
            self.kept += u64::from(batch.header.record_count);
            self.push(bytes.slice(chunk), next);
        }
        self.leave_out(end, entry.leader_epoch);
        Ok(())
    }

    fn push(&mut self, chunk: Bytes, next: Offset) {
        self.bytes += chunk.len() as u64;
        self.chunks.push(chunk);
        self.at = next;
    }

    /// The offsets up to `to` are lost.
    fn leave_out(&mut self, to: Offset, epoch: segment::LeaderEpoch) {
        if to <= self.at {
            return;
        }
        self.lost += to.get() - self.at.get();
        for chunk in without_records(self.at..to, epoch) {
            self.push(chunk, to);
        }
    }

    /// Writes what was gathered as a segment. False: somebody else has written there.
    async fn write(&mut self) -> Result<bool, FsckError> {
        let chunks = std::mem::take(&mut self.chunks);
        let base = std::mem::replace(&mut self.base, self.at);
        self.bytes = 0;
        if chunks.is_empty() {
            return Ok(true);
        }
        let created = wall_clock();
        let build = move || KfsObject::build(base, created, chunks);
        let kfs = tokio::task::spawn_blocking(build).await?;
        let kfs = kfs.map_err(|error| FsckError::Build(error.to_string()))?;
        let Ground { objects, keys, .. } = self.ground;
        let [index_key, key] = object_keys(keys, self.dir, self.id.partition, base);
        let body = Body::new(kfs.chunks.clone()).with_crc32(kfs.crc32);
        match objects.put(&key, body, PutCondition::IfAbsent).await {
            Ok(_) => {}
            Err(PutError::AlreadyExists { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let index = Body::from(kfs.index.encode());
        objects.put(&index_key, index, PutCondition::None).await?;
        Ok(true)
    }
}
