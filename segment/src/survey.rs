//! What of a damaged segment can still be read, and the segment that is left of it.
//!
//! A batch is sound when its header can be read, its CRC-32C matches and its offsets fit those around
//! it. Behind a batch that is not, the walk goes on where its length says, if a batch begins there;
//! else at the next byte where a sound batch does. Bytes that a client sent inside a damaged batch
//! could look like a sound batch only if they were one, with offsets that fit this very place.
//!
//! What a broker writes outside the CRC of a batch (leader epoch) is believed.

use std::ops::Range;

use bytes::Bytes;

use crate::batch::{
    Attributes, BATCH_HEADER_BYTES, BATCH_LENGTH_OVERHEAD, BatchHeader, Batches, Codec,
};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use crate::kfs::{KFS_FOOTER_BYTES, KFS_HEADER_BYTES, KfsError, KfsFooter, KfsHeader, KfsObject};
use crate::record::empty_batch;

/// Where the magic of a batch is.
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;

const _: () = assert!(MAGIC_AT < BATCH_HEADER_BYTES);

/// A range of offsets of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// First offset.
    pub first: Offset,
    /// The offset after the last.
    pub next: Offset,
    /// Whole sound batches inside the object; empty: the records cannot be read.
    pub range: Range<u64>,
}

impl Stretch {
    fn lost(first: Offset, next: Offset) -> Self {
        let range = 0..0;
        Self { first, next, range }
    }

    /// Whether its records cannot be read.
    pub fn is_lost(&self) -> bool {
        self.range.is_empty()
    }
}

/// What a segment's bytes still hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Base offset of the segment, from its name.
    pub base: Offset,
    /// In order and without a gap, from `base` to the end of the last sound batch.
    pub stretches: Vec<Stretch>,
    /// The offset after the last, where the object still tells it.
    pub stated_end: Option<Offset>,
    /// Records of the sound batches.
    pub records: u64,
    /// Largest timestamp of the sound batches.
    pub max_timestamp: TimestampMs,
}

impl Survey {
    /// Looks through the bytes of the segment at `base`. Stretches of sound batches are cut at about
    /// `cut_bytes`.
    pub fn of(base: Offset, bytes: &[u8], cut_bytes: u64) -> Self {
        let header = KfsHeader::parse(bytes).ok();
        let footer = KfsFooter::parse(bytes).ok();
        let body_end = match footer {
            Some(_) => bytes.len() - KFS_FOOTER_BYTES,
            None => bytes.len(),
        };
        let body = bytes.get(..body_end).unwrap_or_default();
        let mut walk = Walk::new(base, cut_bytes);
        walk.last = footer.map(|footer| footer.last_offset);
        walk.all(body);
        let whole = header.is_some_and(|header| {
            u64::from(header.record_count) == walk.records && !walk.is_damaged
        });
        let by_footer = footer.and_then(|footer| footer.last_offset.next());
        // No checksum covers the footer: where every record is there, they tell.
        let stated_end = match whole && walk.records > 0 {
            true => Some(walk.next),
            false => by_footer.filter(|end| *end >= walk.next && *end > base),
        };
        let sound_end = walk.stretches.last().map_or(base, |last| last.next);
        assert!(
            sound_end == walk.next,
            "the stretches reach as far as the walk"
        );
        Self {
            base,
            stretches: walk.stretches,
            stated_end,
            records: walk.records,
            max_timestamp: walk.max_timestamp,
        }
    }

    /// The offset after the last sound batch.
    pub fn sound_end(&self) -> Offset {
        self.stretches.last().map_or(self.base, |last| last.next)
    }

    /// The stretches of a segment that ends at `end`: what is missing there is lost.
    pub fn up_to(&self, end: Offset) -> Vec<Stretch> {
        let mut all = self.stretches.clone();
        all.retain(|stretch| stretch.first < end);
        let reached = all.last().map_or(self.base, |last| last.next);
        if reached < end {
            all.push(Stretch::lost(reached, end));
        }
        assert!(
            all.is_sorted_by(|a, b| a.next <= b.first),
            "stretches follow each other"
        );
        assert!(
            all.last().is_none_or(|last| last.next >= end),
            "the stretches reach the end"
        );
        all
    }

    /// The offsets below `end` that cannot be read.
    pub fn lost(&self, end: Offset) -> Vec<Range<Offset>> {
        let all = self.up_to(end);
        let lost = all.iter().filter(|stretch| stretch.is_lost());
        lost.map(|stretch| stretch.first..stretch.next.min(end))
            .collect()
    }
}

/// Builds the segment that is left: the sound batches below `end`, byte for byte, and batches
/// without records in the place of those that are lost, so that offsets stay contiguous up to `end`.
///
/// # Errors
/// [`KfsError`]: what is left makes no segment.
///
/// # Panics
/// If `bytes` are not those of the survey.
pub fn salvage(
    survey: &Survey,
    bytes: &Bytes,
    end: Offset,
    created: TimestampMs,
) -> Result<KfsObject, KfsError> {
    let stretches = survey.up_to(end);
    let mut chunks = Vec::with_capacity(stretches.len());
    let mut epoch = LeaderEpoch::ZERO;
    for stretch in &stretches {
        if stretch.is_lost() {
            chunks.extend(without_records(stretch.first..stretch.next.min(end), epoch));
            continue;
        }
        let (from, to) = (stretch.range.start as usize, stretch.range.end as usize);
        let (mut kept, mut reached) = (from..from, stretch.first);
        for batch in Batches::strict(&bytes[from..to]) {
            let batch = batch.expect("the survey has read it");
            if batch.header.last_offset() >= end {
                break;
            }
            kept.end += batch.bytes.len();
            (epoch, reached) = (batch.header.leader_epoch, batch.header.next_offset());
        }
        if !kept.is_empty() {
            chunks.push(bytes.slice(kept));
        }
        // A batch that crosses the end is of no use.
        chunks.extend(without_records(reached..stretch.next.min(end), epoch));
    }
    let left = KfsObject::build(survey.base, created, chunks)?;
    assert!(
        left.last_offset.next() == Some(end),
        "what is left ends where it should"
    );
    Ok(left)
}

/// Batches without records for these offsets: as log compaction leaves them, so that readers pass over
/// what is lost.
pub fn without_records(range: Range<Offset>, epoch: LeaderEpoch) -> Vec<Bytes> {
    let (mut at, mut chunks) = (range.start, Vec::new());
    while at < range.end {
        let left = range.end.get() - at.get();
        let delta = u32::try_from((left - 1).min(i64::from(i32::MAX))).expect("it is not negative");
        chunks.push(empty_batch(&BatchHeader {
            base_offset: at,
            batch_length: (BATCH_HEADER_BYTES - BATCH_LENGTH_OVERHEAD) as u32,
            leader_epoch: epoch,
            crc: 0,
            attributes: Attributes::new(0).with_codec(Codec::None),
            last_offset_delta: delta,
            base_timestamp: TimestampMs::NONE,
            max_timestamp: TimestampMs::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            record_count: 0,
        }));
        at = Offset::new(at.get() + i64::from(delta) + 1);
        assert!(at <= range.end, "the batches end with the range");
    }
    chunks
}

/// Walks a body, across what is damaged.
struct Walk {
    cut_bytes: u64,
    next: Offset,
    /// The last offset, as the footer states it.
    last: Option<Offset>,
    is_damaged: bool,
    /// What comes directly before could not be read.
    is_after_damage: bool,
    stretches: Vec<Stretch>,
    records: u64,
    max_timestamp: TimestampMs,
}

impl Walk {
    fn new(base: Offset, cut_bytes: u64) -> Self {
        assert!(base.is_valid(), "a segment has no negative offsets");
        Self {
            cut_bytes,
            next: base,
            last: None,
            is_damaged: false,
            is_after_damage: false,
            stretches: Vec::new(),
            records: 0,
            max_timestamp: TimestampMs::NONE,
        }
    }

    fn all(&mut self, body: &[u8]) {
        let mut at = KFS_HEADER_BYTES;
        while at < body.len() {
            match self.sound(body, at) {
                Some(header) => {
                    self.keep(at, &header);
                    at += header.total_bytes();
                }
                // What is left of a damaged footer holds no batch.
                None if body.len() - at < BATCH_HEADER_BYTES => break,
                None => {
                    (self.is_damaged, self.is_after_damage) = (true, true);
                    let behind = self.behind(body, at);
                    assert!(at < behind && behind <= body.len(), "the walk goes on");
                    at = behind;
                }
            }
        }
    }

    fn keep(&mut self, at: usize, header: &BatchHeader) {
        let (first, next) = (header.base_offset, header.next_offset());
        assert!(self.next <= first, "a batch that is kept follows");
        assert!(first < next, "a batch has offsets");
        if self.next < first {
            self.stretches.push(Stretch::lost(self.next, first));
        }
        let (from, bytes) = (at as u64, header.total_bytes() as u64);
        match self.stretches.last_mut() {
            Some(last)
                if last.range.end == from
                    && last.range.end - last.range.start + bytes <= self.cut_bytes =>
            {
                last.range.end += bytes;
                last.next = next;
            }
            _ => {
                let range = from..from + bytes;
                self.stretches.push(Stretch { first, next, range });
            }
        }
        (self.next, self.is_after_damage) = (next, false);
        self.records += u64::from(header.record_count);
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    /// The sound batch at `at`, if there is one that can follow.
    fn sound(&self, body: &[u8], at: usize) -> Option<BatchHeader> {
        let header = intact(body, at)?;
        if header.base_offset <= self.next {
            return (header.base_offset == self.next).then_some(header);
        }
        // Offsets lie outside the CRC: one that leaves a gap is believed if what follows agrees.
        let agrees = match intact(body, at + header.total_bytes()) {
            Some(after) => after.base_offset == header.next_offset(),
            None => self.is_after_damage || Some(header.last_offset()) == self.last,
        };
        agrees.then_some(header)
    }

    /// Where the walk goes on behind the batch at `at`, which is not sound.
    fn behind(&self, body: &[u8], at: usize) -> usize {
        let stated = body
            .get(at..)
            .and_then(|left| BatchHeader::parse(left).ok());
        if let Some(stated) = stated {
            let end = at + stated.total_bytes();
            if end == body.len() || self.sound(body, end).is_some() {
                return end;
            }
        }
        let last = body.len().saturating_sub(BATCH_HEADER_BYTES);
        (at + 1..=last)
            .find(|from| body[from + MAGIC_AT] == MAGIC && self.sound(body, *from).is_some())
            .unwrap_or(body.len())
    }
}

/// The batch at `at` whose CRC matches.
fn intact(body: &[u8], at: usize) -> Option<BatchHeader> {
    let left = body.get(at..)?;
    let header = BatchHeader::parse(left).ok()?;
    let bytes = left.get(..header.total_bytes())?;
    header.verify_crc(bytes).is_ok().then_some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kfs::verify;
    use crate::samples::batch;
    use proptest::prelude::*;

    const CUT: u64 = 4 << 20;

    fn segment(base: i64, counts: &[u32]) -> (Vec<u8>, Vec<Range<usize>>) {
        let (mut at, mut chunks) = (base, Vec::new());
        for count in counts {
            chunks.push(batch(at, *count, Codec::None));
            at += i64::from(*count);
        }
        let mut start = KFS_HEADER_BYTES;
        let place = |chunk: &Bytes| {
            start += chunk.len();
            start - chunk.len()..start
        };
        let places = chunks.iter().map(place).collect();
        let kfs = KfsObject::build(Offset::new(base), TimestampMs::ZERO, chunks).unwrap();
        (kfs.to_vec(), places)
    }

    fn survey(bytes: &[u8]) -> Survey {
        Survey::of(Offset::new(100), bytes, CUT)
    }

    fn lost(bytes: &[u8], end: i64) -> Vec<(i64, i64)> {
        let lost = survey(bytes).lost(Offset::new(end));
        lost.iter()
            .map(|range| (range.start.get(), range.end.get()))
            .collect()
    }

    #[test]
    fn a_sound_segment_has_nothing_lost_and_states_its_end() {
        let (bytes, _) = segment(100, &[5, 5, 5]);
        let found = survey(&bytes);
        assert_eq!(found.stated_end, Some(Offset::new(115)));
        assert_eq!(found.stretches.len(), 1);
        assert_eq!(found.stretches[0].range, 32..bytes.len() as u64 - 16);
        assert_eq!(lost(&bytes, 115), []);
        let cut = Survey::of(Offset::new(100), &bytes, 1);
        assert_eq!(cut.stretches.len(), 3);
        assert_eq!(cut.lost(Offset::new(115)), []);
    }

    #[test]
    fn a_damaged_batch_is_lost_and_its_neighbors_are_not() {
        let (bytes, places) = segment(100, &[5, 5, 5]);
        for (number, place) in places.iter().enumerate() {
            // Length, base offset, magic, CRC, a record.
            for at in [8, 7, 16, 18, 70] {
                let mut bytes = bytes.clone();
                bytes[place.start + at] ^= 0x41;
                let first = 100 + 5 * number as i64;
                assert_eq!(lost(&bytes, 115), [(first, first + 5)], "{number} {at}");
                assert_eq!(survey(&bytes).stated_end, Some(Offset::new(115)));
            }
        }
    }

    #[test]
    fn header_and_footer_may_be_damaged_without_loss() {
        let (bytes, _) = segment(100, &[5, 5]);
        let mut footer = bytes.clone();
        let len = footer.len();
        footer[len - 1] ^= 1;
        assert_eq!(lost(&footer, 110), []);
        assert_eq!(
            survey(&footer).stated_end,
            Some(Offset::new(110)),
            "by the count"
        );
        let mut footer = bytes.clone();
        footer[len - KFS_FOOTER_BYTES + 4] ^= 0x40;
        assert_eq!(
            survey(&footer).stated_end,
            Some(Offset::new(110)),
            "not by a last offset that no batch has"
        );
        let mut header = bytes.clone();
        header[0] ^= 1;
        assert_eq!(lost(&header, 110), []);
        assert_eq!(
            survey(&header).stated_end,
            Some(Offset::new(110)),
            "by the footer"
        );
    }

    #[test]
    fn what_is_cut_off_or_was_never_there_is_lost() {
        let (bytes, places) = segment(100, &[5, 5, 5]);
        assert_eq!(lost(&bytes[..places[1].end - 3], 115), [(105, 115)]);
        assert_eq!(lost(&bytes[..places[1].end], 115), [(110, 115)]);
        assert_eq!(survey(&bytes[..places[1].end]).stated_end, None);
        for garbage in [&b""[..], &b"not a segment"[..], &[0x5a; 4_000][..]] {
            assert_eq!(lost(garbage, 115), [(100, 115)], "{}", garbage.len());
            assert_eq!(survey(garbage).stated_end, None);
        }
    }

    #[test]
    fn a_segment_of_another_base_is_not_taken_for_this_one() {
        let (bytes, _) = segment(0, &[5, 5]);
        assert_eq!(lost(&bytes, 115), [(100, 115)]);
    }

    proptest! {
        /// Whatever is damaged: what is left is sound, holds every batch that was not touched, and
        /// nothing that was not there.
        #[test]
        fn a_salvaged_segment_is_sound_and_keeps_what_was_not_touched(
            counts in prop::collection::vec(1_u32..6, 1..8),
            flips in prop::collection::vec((0_usize..100_000, 1_u8..=255), 0..4),
            cut in prop::option::of(0_usize..100_000),
        ) {
            let (whole, places) = segment(100, &counts);
            let mut bytes = whole.clone();
            for (at, with) in &flips {
                let at = at % bytes.len();
                bytes[at] ^= with;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut % whole.len());
            }
            let end = Offset::new(100 + counts.iter().map(|c| i64::from(*c)).sum::<i64>());
            let found = survey(&bytes);
            prop_assert!(found.stated_end.is_none_or(|stated| stated >= found.sound_end()));
            let bytes = Bytes::from(bytes);
            let kfs = salvage(&found, &bytes, end, TimestampMs::ZERO).unwrap();
            let left = Bytes::from(kfs.to_vec());
            let report = verify(&left);
            prop_assert!(report.is_sound(), "{:?}", report.faults);
            prop_assert_eq!(report.last_offset.and_then(Offset::next), Some(end));
            prop_assert_eq!(report.gap_count, 0);
            let body = &left[KFS_HEADER_BYTES..left.len() - KFS_FOOTER_BYTES];
            let kept: Vec<&[u8]> = Batches::strict(body).map(|b| b.unwrap().bytes).collect();
            // A batch whose offset was changed makes those around it doubtful.
            let offsets = places.iter().map(|place| place.start..place.start + 8);
            if offsets.clone().any(|at| bytes.get(at.clone()) != whole.get(at)) {
                return Ok(());
            }
            for place in places {
                let was = &whole[place.clone()];
                let untouched = bytes.get(place).is_some_and(|now| now == was);
                if untouched {
                    prop_assert!(kept.contains(&was));
                }
            }
        }
    }
}
