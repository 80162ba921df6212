//! Makes what is left of a partition's WAL a segment, where objects that it needs are lost: else no
//! broker could open it. Lost offsets stay empty, so that no other record ever gets them.
//!
//! What was written of it before is taken over, so that it can be interrupted and run again. The record
//! changes last, guarded by its revision and by the death of every session that it names.

use coord::keys::cluster::CommitMode;
use coord::keys::committed::{self, CommittedRecord};
use coord::keys::floor::{self, FloorRecord};
use coord::keys::partition::{self, Owner, PartitionRecord, Source};
use coord::keys::{Record, Seen, encode, seen, session};
use coord::kv::{Compare, Key, Op, Txn};
use segment::keys::{ObjectKey as Named, TopicDir};
use segment::wal::{WAL_HEADER_BYTES, WalHeader};
use segment::{Offset, SessionId, TopicPartition, WalSequence};
use store::{GetError, GetRange};

use super::FsckError;
use super::repair::{CHANGED, OWNED, Outcome, done, refused};
use crate::control::garbage::BARE_BYTES;
use crate::control::harvest::{Found, Harvest};
use crate::control::image::first_needed;
use crate::control::segments::{Looked, read_segment};
use crate::tools::Ground;
use crate::tools::left::{Left, LeftError};

/// The first sequence of a session that can hold batches.
const FIRST_SEQUENCE: WalSequence = WalSequence::new(1);

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
    if sources.is_empty() {
        return done("nothing of it is in the WAL any more");
    }
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
    let written = async {
        for section in sections(ground, id, &before.record).await? {
            left.take(&section.key, &section.entry).await?;
        }
        left.write().await?;
        Ok::<_, FsckError>(())
    };
    match written.await {
        Err(FsckError::Left(LeftError::Taken(_))) => return refused(CHANGED),
        outcome => outcome?,
    }
    end = end.max(left.at());
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
    let (lost, kept) = (left.lost(), left.kept());
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
    let mut ranges = Vec::new();
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
        let range = first..end.max(first);
        harvest.read_range(owner, range.clone()).await?;
        ranges.push((source.session, range));
    }
    let mut found = harvest.take_sections(id);
    // What lies behind the end of a session was never acknowledged.
    found.retain(|section| {
        let mut ranges = ranges.iter();
        ranges.any(|(session, range)| {
            section.session == *session && range.contains(&section.sequence)
        })
    });
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
        CommitMode::Conditional => {
            // A hole below what was acknowledged is no end.
            let told = acknowledged_end(ground, owner).await?;
            Ok(harvest.fence(owner, floor.max(told)).await?)
        }
        CommitMode::Guarded => {
            let key = committed::key(&ground.space, source.session);
            let told = record_of::<CommittedRecord>(ground, key).await?;
            Ok(told.map_or(FIRST_SEQUENCE, |told| told.end).max(floor))
        }
    }
}

/// The sequence below which everything was acknowledged, as the last object of a session tells.
async fn acknowledged_end(ground: &Ground, owner: Owner) -> Result<WalSequence, FsckError> {
    let Ground { objects, keys, .. } = ground;
    let prefix = keys.session_prefix(owner.broker, owner.session);
    let mut listed = objects.list(&prefix, None).await?;
    let is_wal = |key: &str| matches!(keys.parse(key), Some(Named::Wal { .. }));
    listed.retain(|meta| meta.len > BARE_BYTES && is_wal(meta.key.as_str()));
    // One that cannot be read tells nothing.
    for meta in listed.iter().rev() {
        let range = GetRange::Range(0..WAL_HEADER_BYTES as u64);
        let header = match objects.get(meta.key.as_str(), range).await {
            Ok(found) => WalHeader::parse(&found.bytes).ok(),
            Err(GetError::NotFound { .. } | GetError::Corrupt { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(header) = header {
            let next = header.acknowledged.and_then(WalSequence::next);
            return Ok(next.unwrap_or_default());
        }
    }
    Ok(WalSequence::ZERO)
}

async fn record_of<T: Record>(ground: &Ground, key: Key) -> Result<Option<T>, FsckError> {
    let found = ground.kv.get(key).await?;
    Ok(seen::<T>(found.as_ref())?.map(|seen| seen.record))
}
