//! Which objects of dead sessions nobody needs: the rules, for the collector and for whoever looks
//! at what it would do.
//!
//! Sessions are read before records (see [`super`]).

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use coord::keys::partition::PartitionRecord;
use coord::keys::session_record::{self, SessionHistoryRecord};
use coord::keys::slot::{self, SlotRecord};
use coord::keys::{Keyspace, Seen, seen, session};
use coord::kv::{Kv, range_all};
use coord::rules::{self, Rule};
use segment::keys::{KeySpace, ObjectKey as Named};
use segment::wal::{WAL_HEADER_BYTES, WAL_TRAILER_BYTES, WalHeader, WalKind};
use segment::{BrokerId, SessionId, TopicPartition, WalSequence};
use store::{GetError, GetRange, ObjectMeta};

use super::GarbageError;
use crate::control::commit::CommitError;
use crate::control::objects::Objects;

/// Bytes of a WAL object without sections: the first object, a fence, or a proof of life.
pub const BARE_BYTES: u64 = (WAL_HEADER_BYTES + 4 + WAL_TRAILER_BYTES) as u64;

/// The records of all partitions, at one revision.
pub type Records = HashMap<TopicPartition, Seen<PartitionRecord>>;

/// Sessions, as the metadata store knows them.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    /// All that it has heard of.
    pub known: HashMap<SessionId, BrokerId>,
    /// Those that live.
    pub live: HashSet<SessionId>,
}

impl Sessions {
    /// Reads them: first those that it has heard of, then those that live.
    ///
    /// # Errors
    /// The metadata store failed.
    pub async fn read(kv: &Arc<dyn Kv>, space: &Keyspace) -> Result<Self, GarbageError> {
        let known = range_all(kv, session_record::span(space)).await?.entries;
        let known = known.iter().filter_map(|entry| {
            let session = session_record::parse(space, &entry.key).ok()?;
            let seen = seen::<SessionHistoryRecord>(Some(entry)).ok()??;
            Some((session, seen.record.broker))
        });
        let known = known.collect();
        let live = range_all(kv, session::span(space)).await?.entries;
        let live = live.iter();
        let live = live.filter_map(|entry| session::parse(space, &entry.key).ok());
        let live = live.collect();
        Ok(Self { known, live })
    }
}

/// Sessions that a taker of a partition or slot has yet to fence: it begins at their floor and
/// ends them at the first object that is missing, so none of theirs may be missing above it.
///
/// # Errors
/// The metadata store failed.
pub async fn unfenced(
    kv: &Arc<dyn Kv>,
    space: &Keyspace,
    records: &Records,
) -> Result<HashSet<SessionId>, GarbageError> {
    let sources = records.values().flat_map(|seen| &seen.record.sources);
    let open = sources.filter(|source| source.is_open());
    let mut unfenced: HashSet<SessionId> = open.map(|source| source.session).collect();
    for entry in range_all(kv, slot::span(space)).await?.entries {
        let seen = seen::<SlotRecord>(Some(&entry)).map_err(CommitError::from)?;
        let owners = seen.into_iter().flat_map(|seen| {
            let SlotRecord {
                owner, unfenced, ..
            } = seen.record;
            owner.into_iter().chain(unfenced)
        });
        unfenced.extend(owners.map(|owner| owner.session));
    }
    Ok(unfenced)
}

/// The WAL objects that partition records name.
#[derive(Debug, Default)]
pub struct Needed {
    ranges: HashMap<SessionId, Vec<Range<WalSequence>>>,
}

impl Needed {
    /// Those of these records.
    pub fn of(records: &Records) -> Self {
        let mut ranges: HashMap<SessionId, Vec<Range<WalSequence>>> = HashMap::new();
        for source in records.values().flat_map(|seen| &seen.record.sources) {
            let end = source.end_sequence.unwrap_or(WalSequence::new(u64::MAX));
            let of_session = ranges.entry(source.session).or_default();
            of_session.push(source.first_sequence..end);
        }
        ranges.values_mut().for_each(merge);
        Self { ranges }
    }

    /// In order, without overlaps.
    pub fn of_session(&self, session: SessionId) -> &[Range<WalSequence>] {
        self.ranges.get(&session).map_or(&[], Vec::as_slice)
    }
}

/// Puts ranges in order and joins those that touch.
fn merge(ranges: &mut Vec<Range<WalSequence>>) {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<WalSequence>> = Vec::new();
    for range in ranges.drain(..).filter(|range| !range.is_empty()) {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    *ranges = merged;
}

/// Which of the objects of a dead session nobody needs, where the ranges `needed` of it are named.
///
/// # Errors
/// The store failed.
pub async fn judge<'a>(
    objects: &Objects,
    keys: &KeySpace,
    all: &'a [ObjectMeta],
    needed: &[Range<WalSequence>],
) -> Result<Vec<&'a ObjectMeta>, GetError> {
    let named = |at: WalSequence| needed.iter().any(|range| range.contains(&at));
    let is_needed = |at| named(at) && rules::holds(Rule::NamedObjectsStay);
    let mut garbage = Vec::new();
    for meta in all {
        let key = meta.key.as_str();
        let is_garbage = match keys.parse(key) {
            Some(Named::Wal { sequence, .. }) if is_needed(sequence) => false,
            Some(Named::Wal { sequence, .. }) if meta.len <= BARE_BYTES => {
                sequence != WalSequence::ZERO && is_empty(objects, key).await?
            }
            Some(Named::Wal { .. }) => true,
            Some(Named::WalDirectories { first, last, .. }) => {
                let mut block = (first.get()..=last.get()).map(WalSequence::new);
                !block.any(is_needed)
            }
            Some(Named::Own { .. }) => needed.is_empty(),
            _ => false,
        };
        if is_garbage {
            garbage.push(meta);
        }
    }
    Ok(garbage)
}

/// Whether an object without sections is a proof of life: a fence must stay.
async fn is_empty(objects: &Objects, key: &str) -> Result<bool, GetError> {
    let range = GetRange::Range(0..WAL_HEADER_BYTES as u64);
    let head = match objects.get(key, range).await {
        Ok(found) => found.bytes,
        Err(GetError::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let goes = |kind| match kind {
        WalKind::Empty => true,
        WalKind::Fence => !rules::holds(Rule::FencesStay),
        WalKind::Open | WalKind::Data => false,
    };
    Ok(WalHeader::parse(&head).is_ok_and(|header| goes(header.kind)))
}
