//! What follows the segments of a partition, out of all sections that the bucket holds: pure.
//!
//! Sections of one partition lie in the objects of many sessions, and not all of them are of the log:
//! what a session wrote beyond its end was never acknowledged, and the next owner wrote other records
//! at those offsets. An owner begins where the log ended when it took the partition, so of two
//! sections the one of the later leader epoch holds, and one of an earlier epoch that reaches the
//! first offset of a later one was never acknowledged.

use std::ops::Range;

use coord::keys::partition::EpochStart;
use segment::{LeaderEpoch, Offset};

use super::wal::Section;

/// What is known of a log besides its sections.
#[derive(Debug, Clone)]
pub(super) struct Known<'a> {
    /// Where its segments end.
    pub(super) segments_end: Offset,
    /// It has reached this offset, whatever is left of it.
    pub(super) reached: Offset,
    /// Where its leader epochs begin, as far as segments and backup tell.
    pub(super) epochs: &'a [EpochStart],
}

/// What follows the segments.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Where the sections that are used begin: the compacted end.
    pub(super) start: Offset,
    /// They follow each other.
    pub(super) used: Vec<Section>,
    /// The end of the log.
    pub(super) end: Offset,
    /// Offsets that are in no object: no record of theirs can be found.
    pub(super) missing: Vec<Range<Offset>>,
    /// Sections of the log that lie below the last of these, in order.
    pub(super) below: Vec<Section>,
    /// Sections at or behind `start` that are not of the log.
    pub(super) left_out: Vec<Section>,
}

/// Orders sections.
pub(super) fn chain(known: &Known<'_>, sections: Vec<Section>) -> Chain {
    let (mut sound, mut left_out) = sort_out(known, sections);
    let mut chain = Chain {
        start: known.segments_end,
        end: known.segments_end,
        ..Chain::default()
    };
    loop {
        let end = chain.end;
        let at = sound.partition_point(|section| section.entry.first_offset < end);
        // What begins before the end of another overlaps with it.
        left_out.extend(
            sound
                .drain(..at)
                .filter(|section| section.entry.last_offset >= end),
        );
        let next = sound.first().map(|section| section.entry.first_offset);
        if next == Some(end) {
            let section = sound.remove(0);
            chain.end = after(&section);
            chain.used.push(section);
            continue;
        }
        // Nothing goes on here. What was acknowledged behind it is the log all the same.
        let sure = sound.iter().position(|section| section.is_sure);
        let jump = sure.map(|at| sound[at].entry.first_offset);
        let jump = jump.or((known.reached > end).then_some(known.reached));
        let Some(to) = jump else { break };
        chain.missing.push(end..to);
        left_out.extend(sound.drain(..sure.unwrap_or(0)));
        chain.below.append(&mut chain.used);
        (chain.start, chain.end) = (to, to);
    }
    left_out.append(&mut sound);
    let start = chain.start;
    left_out.retain(|section| section.entry.last_offset >= start);
    chain.left_out = left_out;
    chain
}

fn after(section: &Section) -> Offset {
    let next = section.entry.last_offset.next();
    next.expect("checked when the row was read")
}

/// Those that may be of the log, by first offset; and those that are not, since a later owner wrote
/// other records there.
fn sort_out(known: &Known<'_>, mut sections: Vec<Section>) -> (Vec<Section>, Vec<Section>) {
    sections.retain(|section| section.entry.last_offset >= known.segments_end);
    sections.sort_by_key(|section| std::cmp::Reverse(section.entry.leader_epoch));
    let (mut sound, mut others) = (Vec::new(), Vec::new());
    // First offset of a later epoch than the one that is looked at, and of that one.
    let mut later: Option<Offset> = None;
    let mut of_epoch: Option<(LeaderEpoch, Offset)> = None;
    for section in sections {
        let (epoch, first) = (section.entry.leader_epoch, section.entry.first_offset);
        match of_epoch {
            Some((same, lowest)) if same == epoch => of_epoch = Some((same, lowest.min(first))),
            Some((_, lowest)) => {
                later = Some(later.map_or(lowest, |later| later.min(lowest)));
                of_epoch = Some((epoch, first));
            }
            None => of_epoch = Some((epoch, first)),
        }
        let last = section.entry.last_offset;
        let is_overtaken = later.is_some_and(|later| later <= last)
            || known
                .epochs
                .iter()
                .any(|start| start.epoch > epoch && start.start <= last);
        match is_overtaken {
            true => others.push(section),
            false => sound.push(section),
        }
    }
    sound.sort_by_key(|section| section.entry.first_offset);
    (sound, others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coord::keys::partition::Owner;
    use segment::wal::{SectionPlace, WalEntry};
    use segment::{BrokerId, PartitionIndex, SessionId, TimestampMs, TopicId, WalSequence};
    use std::sync::Arc;

    fn section(epoch: i32, first: i64, end: i64, is_sure: bool) -> Section {
        let entry = WalEntry {
            topic: TopicId::new([1; 16]),
            partition: PartitionIndex::ZERO,
            leader_epoch: LeaderEpoch::new(epoch),
            first_offset: Offset::new(first),
            last_offset: Offset::new(end - 1),
            max_timestamp: TimestampMs::ZERO,
            max_timestamp_offset: None,
            record_count: 1,
            place: SectionPlace::Inline { position: 64 },
            len: 100,
            crc: 0,
            producers: Vec::new(),
        };
        Section {
            owner: Owner {
                session: SessionId::new([epoch as u8; 16]),
                broker: BrokerId::ZERO,
            },
            sequence: WalSequence::new(first as u64 + 1),
            is_sure,
            entry: Arc::new(entry),
        }
    }

    fn run(end: i64, reached: i64, sections: Vec<Section>) -> Chain {
        let epochs = [EpochStart {
            epoch: LeaderEpoch::new(2),
            start: Offset::ZERO,
        }];
        let known = Known {
            segments_end: Offset::new(end),
            reached: Offset::new(reached),
            epochs: &epochs,
        };
        chain(&known, sections)
    }

    fn spans(sections: &[Section]) -> Vec<(i32, i64)> {
        let span = |section: &Section| {
            let entry = &section.entry;
            (entry.leader_epoch.get(), entry.first_offset.get())
        };
        sections.iter().map(span).collect()
    }

    fn missing(chain: &Chain) -> Vec<(i64, i64)> {
        let range = |range: &Range<Offset>| (range.start.get(), range.end.get());
        chain.missing.iter().map(range).collect()
    }

    #[test]
    fn what_follows_is_used_in_the_order_of_offsets() {
        let all = vec![
            section(4, 30, 40, true),
            section(3, 20, 30, true),
            section(3, 10, 20, true),
            section(3, 0, 10, true),
        ];
        let found = run(10, 0, all);
        assert_eq!(spans(&found.used), [(3, 10), (3, 20), (4, 30)]);
        assert_eq!((found.start.get(), found.end.get()), (10, 40));
        assert!(found.missing.is_empty() && found.left_out.is_empty());
    }

    #[test]
    fn what_a_later_owner_wrote_over_was_never_acknowledged() {
        let all = vec![
            section(3, 10, 20, true),
            section(3, 20, 30, false),
            section(3, 30, 35, false),
            section(4, 20, 25, true),
        ];
        let found = run(10, 0, all);
        assert_eq!(spans(&found.used), [(3, 10), (4, 20)]);
        assert_eq!(found.end.get(), 25);
        assert_eq!(spans(&found.left_out), [(3, 20), (3, 30)]);
        // Nor what is older than the segments.
        let found = run(10, 0, vec![section(1, 10, 20, true)]);
        assert_eq!((found.used.len(), found.end.get()), (0, 10));
    }

    #[test]
    fn what_was_acknowledged_behind_missing_offsets_is_the_log() {
        let all = vec![section(3, 10, 20, true), section(3, 25, 30, true)];
        let found = run(10, 0, all);
        assert_eq!(missing(&found), [(20, 25)]);
        assert_eq!((found.start.get(), found.end.get()), (25, 30));
        assert_eq!(spans(&found.below), [(3, 10)]);
        assert_eq!(spans(&found.left_out), []);
        // What was not is not.
        let all = vec![section(3, 10, 20, true), section(3, 25, 30, false)];
        let found = run(10, 0, all);
        assert_eq!((found.start.get(), found.end.get()), (10, 20));
        assert_eq!(spans(&found.left_out), [(3, 25)]);
        // An offset is never given out twice, even if nothing is left.
        let found = run(10, 50, vec![section(3, 10, 20, true)]);
        assert_eq!(missing(&found), [(20, 50)]);
        assert_eq!(spans(&found.below), [(3, 10)]);
        assert_eq!((found.start.get(), found.end.get()), (50, 50));
    }
}
