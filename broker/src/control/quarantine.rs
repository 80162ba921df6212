//! Damaged segments: what is sound in them is served, the rest is left alone until somebody repairs it.
//!
//! Control thread. A segment is found to be damaged when its partition is opened (one that the
//! manifest does not tell of is read) or when it is read. Invariants:
//! - it keeps its range: the log start is never raised past it because of the damage;
//! - what is sound before, in and behind it is served; the rest is answered as Kafka answers for a
//!   corrupt log (CORRUPT_MESSAGE);
//! - nothing writes over it, merges it or compacts it away; retention deletes it like any other;
//! - an object that was repaired meanwhile (`kafscale fsck --repair`) is noticed by its ETag.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use segment::keys::ObjectKey as Named;
use segment::manifest::ManifestSegment;
use segment::survey::{Stretch, Survey};
use segment::{Offset, TimestampMs, TopicPartition};
use store::{Body, ETag, GetError, GetRange, PutCondition};

use super::context::Context;
use super::events::{EventKind, Events, Severity};
use super::image::contiguous;
use super::loads::SPAN_BYTES;
use super::missing::{self, Missing};
use super::segments::{Looked, ReadSegmentError, Whole, object_keys, read_segment};
use super::takeover::{Owned, OwnedState};
use crate::partition::{ChunkSpan, SegmentRef};

/// How often a damaged object is looked at again while it is read.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A segment that is not what it should be.
#[derive(Debug, Clone)]
pub struct Damaged {
    /// Its key.
    pub key: String,
    /// What is wrong, in one sentence.
    pub reason: String,
    /// What can be read of it.
    pub survey: Survey,
    /// Bytes of the object.
    pub bytes: u64,
    /// CRC-32 of the object.
    pub crc32: u32,
    /// ETag of the object.
    pub etag: ETag,
    /// When it was last looked at.
    pub looked: Instant,
}

/// The damaged segments of a partition, by base. Nearly always there are none, which costs no memory.
#[expect(
    clippy::box_collection,
    reason = "a third of the memory of a map that is not there"
)]
#[derive(Debug, Clone, Default)]
pub struct DamagedSegments(Option<Box<BTreeMap<Offset, Damaged>>>);

static NONE: BTreeMap<Offset, Damaged> = BTreeMap::new();

impl Deref for DamagedSegments {
    type Target = BTreeMap<Offset, Damaged>;

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for DamagedSegments {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.get_or_insert_default()
    }
}

impl Damaged {
    /// The segment up to `end`, with records of up to `latest` at least.
    pub fn segment(&self, end: Offset, latest: TimestampMs) -> ManifestSegment {
        ManifestSegment {
            base: self.survey.base,
            end,
            bytes: self.bytes,
            crc32: self.crc32,
            created: TimestampMs::ZERO,
            max_timestamp: self.survey.max_timestamp.max(latest),
            max_timestamp_offset: None,
            time_points: Vec::new(),
        }
    }

    /// Where its records up to `end` lie.
    pub fn spans(&self, end: Offset) -> Arc<[ChunkSpan]> {
        let span = |Stretch { first, range, .. }: Stretch| ChunkSpan { first, range };
        self.survey.up_to(end).into_iter().map(span).collect()
    }

    /// Notes it for the console.
    pub fn note(&self, events: &Events) {
        let text = format!("segment {} is damaged: {}", self.key, self.reason);
        events.note(EventKind::Damage, Severity::Error, text);
    }

    /// Says so, for people.
    pub fn report(&self, id: TopicPartition, end: Offset) {
        let lost = self.survey.lost(end);
        let lost: Vec<String> = lost
            .iter()
            .map(|range| format!("{}..{}", range.start, range.end))
            .collect();
        tracing::error!(partition = %id, key = self.key, reason = self.reason, lost = lost.join(", "),
            "a segment is damaged: what is sound in it is served, the offsets that are lost are \
             answered CORRUPT_MESSAGE; restore the object from a bucket version, or run `kafscale \
             fsck --repair`, which keeps a copy of it");
    }
}

/// The segments that cover the log up to `compacted_end`, damaged ones included, in order: where no
/// sound segment ends at the base of the one that follows, a damaged one that says that it does
/// covers the offsets in between, else the nearest that may have reached so far.
pub fn cover(
    sound: &[ManifestSegment],
    damaged: &DamagedSegments,
    compacted_end: Offset,
) -> Vec<Covering> {
    let mut chain: Vec<Covering> = Vec::new();
    let mut want = compacted_end;
    loop {
        let more = contiguous(sound, want);
        want = more.first().map_or(want, |first| first.base);
        chain.splice(0..0, more.into_iter().map(Covering::Sound));
        let reaches = |damaged: &&Damaged| {
            let stated = damaged.survey.stated_end;
            stated.is_none_or(|stated| stated >= want)
        };
        let below = || damaged.range(..want).map(|(_, damaged)| damaged);
        let exact = |damaged: &&Damaged| damaged.survey.stated_end == Some(want);
        let Some(found) = below().find(exact).or_else(|| below().rev().find(reaches)) else {
            return chain;
        };
        let base = found.survey.base;
        chain.insert(0, Covering::Damaged { base, end: want });
        want = base;
    }
}

/// One segment of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covering {
    /// A sound one.
    Sound(ManifestSegment),
    /// A damaged one, and the offsets that it stands for.
    Damaged {
        /// Its base.
        base: Offset,
        /// The offset after its last.
        end: Offset,
    },
}

impl Covering {
    /// First offset.
    pub fn base(&self) -> Offset {
        match self {
            Self::Sound(segment) => segment.base,
            Self::Damaged { base, .. } => *base,
        }
    }
}

/// An object of a partition could not be read as what it is: finds out what can be read of it, and
/// tells its shard. [`Missing::Lost`]: nothing more than before.
pub async fn examine(context: &Context, id: TopicPartition, key: &str) -> Missing {
    let base = match context.keys.parse(key) {
        Some(Named::Segment { base, .. } | Named::Index { base, .. }) => base,
        _ => return Missing::Lost,
    };
    let Some(owned) = context.owned(id) else {
        return Missing::NotOurs;
    };
    let outcome = {
        let mut state = owned.state.lock().await;
        if state.gone {
            return Missing::NotOurs;
        }
        look(context, &owned, &mut state, base).await
    };
    match outcome {
        Ok(Some(found)) => found,
        // It is gone altogether.
        Ok(None) => missing::look_into(context, id, key).await,
        Err(error) => {
            tracing::warn!(partition = %id, key, %error, "a damaged segment is looked at later");
            Missing::Unknown
        }
    }
}

async fn look(
    context: &Context,
    owned: &Owned,
    state: &mut OwnedState,
    base: Offset,
) -> Result<Option<Missing>, ReadSegmentError> {
    let id = owned.handle.id;
    let Some(at) = state
        .segments
        .iter()
        .position(|segment| segment.base == base)
    else {
        return Ok(Some(Missing::LookAgain));
    };
    let [_, key] = object_keys(&context.keys, &owned.dir, id.partition, base);
    if let Some(known) = state.damaged.get_mut(&base) {
        if known.looked.elapsed() < LOOK_EVERY {
            return Ok(Some(Missing::Lost));
        }
        known.looked = Instant::now();
        if is_unchanged(context, &key, known).await? {
            return Ok(Some(Missing::Lost));
        }
    }
    let Context { objects, keys, .. } = context;
    let end = state.segments[at].end;
    let found = read_segment(objects, keys, &owned.dir, id.partition, base, Some(end)).await?;
    let damaged = match found {
        Some(Looked::Damaged(damaged)) => *damaged,
        Some(Looked::Whole(whole)) => {
            tracing::info!(partition = %id, key, "a segment is sound; its index is built again");
            mend(context, owned, state, at, whole).await;
            return Ok(Some(Missing::LookAgain));
        }
        None => return Ok(None),
    };
    damaged.report(id, end);
    damaged.note(&context.events);
    let spans = damaged.spans(end);
    state.damaged.insert(base, damaged);
    tell(context, id, move |log| log.set_spans(base, None, spans)).await;
    Ok(Some(Missing::LookAgain))
}

async fn is_unchanged(
    context: &Context,
    key: &str,
    known: &Damaged,
) -> Result<bool, ReadSegmentError> {
    match context.objects.get(key, GetRange::Suffix(1)).await {
        Ok(found) => Ok(found.etag == known.etag),
        Err(GetError::RangeNotSatisfiable { .. }) => Ok(known.bytes == 0),
        Err(GetError::Corrupt { .. } | GetError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A segment is sound: it was repaired, or only its index was wrong.
async fn mend(context: &Context, owned: &Owned, state: &mut OwnedState, at: usize, whole: Whole) {
    let id = owned.handle.id;
    let base = whole.segment.base;
    let [index_key, _] = object_keys(&context.keys, &owned.dir, id.partition, base);
    let index = Body::from(whole.index.encode());
    if let Err(error) = context
        .objects
        .put(&index_key, index, PutCondition::None)
        .await
    {
        tracing::warn!(key = index_key, %error, "an index was not written; it is only a help");
    }
    state.damaged.remove(&base);
    let adopted = SegmentRef::new(owned.place(&context.keys), &whole.segment);
    state.segments[at] = whole.segment;
    tell(context, id, move |log| log.merged(adopted)).await;
}

async fn tell(
    context: &Context,
    id: TopicPartition,
    change: impl FnOnce(&mut crate::partition::PartitionLog) + Send + 'static,
) {
    let shard = context.shard_of(id);
    // A shard that has gone serves nothing any more.
    let told = shard.call(move |shard| shard.with_log(id, change).is_some());
    let _ = told.await;
}

/// What a survey of a segment is cut to.
pub fn survey(base: Offset, bytes: &[u8]) -> Survey {
    Survey::of(base, bytes, SPAN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(base: i64, end: i64) -> ManifestSegment {
        ManifestSegment {
            base: Offset::new(base),
            end: Offset::new(end),
            bytes: 100,
            crc32: 0,
            created: TimestampMs::ZERO,
            max_timestamp: TimestampMs::ZERO,
            max_timestamp_offset: None,
            time_points: Vec::new(),
        }
    }

    fn damaged(rows: &[(i64, Option<i64>)]) -> DamagedSegments {
        let row = |(base, end): &(i64, Option<i64>)| {
            let mut survey = survey(Offset::new(*base), b"");
            survey.stated_end = end.map(Offset::new);
            let damaged = Damaged {
                key: String::new(),
                reason: String::new(),
                survey,
                bytes: 0,
                crc32: 0,
                etag: ETag::new("1"),
                looked: Instant::now(),
            };
            (Offset::new(*base), damaged)
        };
        DamagedSegments(Some(Box::new(rows.iter().map(row).collect())))
    }

    fn chain(
        all: &[(i64, i64)],
        broken: &[(i64, Option<i64>)],
        compacted_end: i64,
    ) -> Vec<(i64, i64, bool)> {
        let all: Vec<_> = all.iter().map(|(base, end)| sound(*base, *end)).collect();
        let chain = cover(&all, &damaged(broken), Offset::new(compacted_end));
        let row = |covering: &Covering| match covering {
            Covering::Sound(segment) => (segment.base.get(), segment.end.get(), false),
            Covering::Damaged { base, end } => (base.get(), end.get(), true),
        };
        chain.iter().map(row).collect()
    }

    #[test]
    fn a_damaged_segment_covers_up_to_the_next_one_wherever_it_lies() {
        let (first, middle, last) = ((0, 10), (10, 20), (20, 30));
        assert_eq!(
            chain(&[middle, last], &[(0, None)], 30),
            [(0, 10, true), (10, 20, false), (20, 30, false)]
        );
        assert_eq!(
            chain(&[first, last], &[(10, Some(20))], 30),
            [(0, 10, false), (10, 20, true), (20, 30, false)]
        );
        assert_eq!(
            chain(&[first, middle], &[(20, None)], 30),
            [(0, 10, false), (10, 20, false), (20, 30, true)]
        );
        assert_eq!(
            chain(&[], &[(0, None), (10, None), (20, None)], 30).len(),
            3
        );
    }

    #[test]
    fn a_gap_behind_a_damaged_segment_that_states_its_end_is_a_gap() {
        assert_eq!(chain(&[(20, 30)], &[(0, Some(10))], 30), [(20, 30, false)]);
        assert_eq!(
            chain(&[(20, 30)], &[(0, None)], 30),
            [(0, 20, true), (20, 30, false)],
            "one that states none may have reached so far"
        );
    }

    #[test]
    fn sound_segments_go_before_a_damaged_one_that_they_were_merged_into() {
        assert_eq!(
            chain(&[(10, 20), (20, 30)], &[(0, Some(30))], 30),
            [(0, 10, true), (10, 20, false), (20, 30, false)]
        );
    }
}
