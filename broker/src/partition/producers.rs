//! Idempotent producers of one partition: which batches have been appended, so that a retry is answered
//! and never appended twice. Rules of Kafka's `ProducerStateManager` and `ProducerAppendInfo`.
//!
//! Shard-owned. Invariants: a producer keeps at most [`BATCHES_KEPT`] batches, all of its current epoch,
//! with consecutive sequences; batches in flight count, so that a retry of one joins it.

use std::collections::{HashMap, VecDeque};

use coord::planted::{self, Bug};
use segment::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Batches remembered per producer: as many as a client may have in flight (Kafka keeps five).
pub const BATCHES_KEPT: usize = 5;

/// The idempotent fields of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Who produced it.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// Sequence of its first record.
    pub base_sequence: Sequence,
    /// Records in it.
    pub count: u32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Largest record timestamp.
    pub max_timestamp: TimestampMs,
}

impl ProducerBatch {
    /// Sequence of its last record.
    pub fn last_sequence(&self) -> Sequence {
        self.base_sequence.last_of_count(self.count)
    }

    /// Offset of its last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset
            .last_of_count(self.count)
            .expect("a stored batch has records in range")
    }
}

/// Why a batch of an idempotent producer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// The producer has been fenced by a newer epoch of the same id.
    #[error("check sequence: producer {producer} is at epoch {current}, the batch has {found}")]
    Fenced {
        /// The producer.
        producer: ProducerId,
        /// Newest epoch seen.
        current: ProducerEpoch,
        /// Epoch of the batch.
        found: ProducerEpoch,
    },
    /// The batch does not follow the last one.
    #[error("check sequence: producer {producer} expected {expected}, the batch has {found}")]
    OutOfOrder {
        /// The producer.
        producer: ProducerId,
        /// Sequence that would follow.
        expected: Sequence,
        /// First sequence of the batch.
        found: Sequence,
    },
}

impl SequenceError {
    /// Whether the batch does not follow the last one that is known here.
    pub const fn is_out_of_order(&self) -> bool {
        matches!(self, Self::OutOfOrder { .. })
    }
}

/// What to do with a batch that passed the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new.
    Append,
    /// It was appended before, at this offset.
    Duplicate {
        /// Offset that the first copy got.
        base_offset: Offset,
        /// Largest timestamp of the first copy.
        max_timestamp: TimestampMs,
    },
}

/// State of one producer, oldest batch first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Newest epoch seen.
    pub epoch: ProducerEpoch,
    /// Its last batches.
    pub batches: VecDeque<ProducerBatch>,
    /// Wall clock of its last append, for expiry.
    pub last_seen: TimestampMs,
}

/// All producers of a partition. Shard-owned.
#[derive(Debug, Default)]
pub struct Producers {
    entries: HashMap<ProducerId, ProducerEntry>,
    /// Whether somebody looks for those that have expired.
    is_watched: bool,
}

impl Producers {
    /// Number of producers known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Checks the idempotent fields of a batch that arrived (its `base_offset` is not looked at).
    ///
    /// A producer that is not known may start at any sequence: its state may have expired or been
    /// deleted with its records (KIP-360, `ProducerAppendInfo.checkSequence`).
    ///
    /// # Errors
    /// [`SequenceError`] when the batch is of an old epoch or out of order.
    pub fn check(&self, batch: &ProducerBatch) -> Result<Verdict, SequenceError> {
        let Some(entry) = self.entries.get(&batch.producer_id) else {
            return Ok(Verdict::Append);
        };
        let producer = batch.producer_id;
        assert!(
            entry.batches.len() <= BATCHES_KEPT,
            "a producer keeps few batches"
        );
        if batch.epoch < entry.epoch && planted::is_planted(Bug::OldProducerEpochAccepted) {
            return Ok(Verdict::Append);
        }
        if batch.epoch < entry.epoch {
            let (current, found) = (entry.epoch, batch.epoch);
            return Err(SequenceError::Fenced {
                producer,
                current,
                found,
            });
        }
        let out_of_order = |expected| {
            Err(SequenceError::OutOfOrder {
                producer,
                expected,
                found: batch.base_sequence,
            })
        };
        if batch.epoch > entry.epoch {
            if batch.base_sequence != Sequence::ZERO {
                return out_of_order(Sequence::ZERO);
            }
            return Ok(Verdict::Append);
        }
        let same = |kept: &&ProducerBatch| {
            kept.base_sequence == batch.base_sequence && kept.count == batch.count
        };
        let all = entry.batches.iter();
        let forgotten = planted::is_planted(Bug::DuplicateWindowOffByOne)
            && entry.batches.len() == BATCHES_KEPT;
        if let Some(kept) = all.skip(usize::from(forgotten)).find(same) {
            let (base_offset, max_timestamp) = (kept.base_offset, kept.max_timestamp);
            return Ok(Verdict::Duplicate {
                base_offset,
                max_timestamp,
            });
        }
        let Some(last) = entry.batches.back() else {
            return Ok(Verdict::Append);
        };
        assert!(
            last.epoch == entry.epoch,
            "what is kept is of the producer's epoch"
        );
        let expected = last.last_sequence().next(1);
        if batch.base_sequence == expected {
            Ok(Verdict::Append)
        } else {
            out_of_order(expected)
        }
    }

    /// Records a batch that has been appended, at `now` by the wall clock.
    pub fn record(&mut self, batch: ProducerBatch, now: TimestampMs) {
        let entry = self
            .entries
            .entry(batch.producer_id)
            .or_insert_with(|| ProducerEntry {
                epoch: batch.epoch,
                batches: VecDeque::with_capacity(BATCHES_KEPT),
                last_seen: now,
            });
        assert!(
            batch.epoch >= entry.epoch || planted::is_planted(Bug::OldProducerEpochAccepted),
            "a checked batch is never of an old epoch"
        );
        if batch.epoch > entry.epoch {
            entry.epoch = batch.epoch;
            entry.batches.clear();
        }
        if let Some(before) = entry.batches.back() {
            assert!(
                before.last_offset() < batch.base_offset,
                "a producer's batches are recorded in the order of the log"
            );
        }
        if entry.batches.len() == BATCHES_KEPT {
            entry.batches.pop_front();
        }
        entry.batches.push_back(batch);
        assert!(
            entry.batches.len() <= BATCHES_KEPT,
            "a producer keeps few batches"
        );
        entry.last_seen = entry.last_seen.max(now);
    }

    /// Puts back one producer as a snapshot has it.
    pub fn restore(&mut self, id: ProducerId, entry: ProducerEntry) {
        let before = self.entries.insert(id, entry);
        assert!(before.is_none(), "a producer is restored once");
    }

    /// The state as it was when the log ended at `end`: batches that end later are left out. A taker that
    /// replays the batches from `end` on comes to the same state as the one that is here now.
    pub fn at(&self, end: Offset) -> Vec<(ProducerId, ProducerEntry)> {
        let mut all: Vec<(ProducerId, ProducerEntry)> = self
            .entries
            .iter()
            .filter_map(|(id, entry)| {
                let mut entry = entry.clone();
                entry.batches.retain(|batch| batch.last_offset() < end);
                (!entry.batches.is_empty()).then_some((*id, entry))
            })
            .collect();
        all.sort_by_key(|(id, _)| *id);
        assert!(
            all.len() <= self.entries.len(),
            "an earlier state knows no more producers"
        );
        all
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// Whether somebody has to begin to look for those that have expired: tells so once, until
    /// [`Self::expire`] has left none.
    pub fn watch(&mut self) -> bool {
        let begins = !self.is_watched && !self.entries.is_empty();
        self.is_watched |= begins;
        begins
    }

    /// Forgets producers that have been silent since `horizon`, but none with a batch at or above
    /// `high_watermark` (it is in flight). Whether any is left; if not, nobody has to look any more.
    pub fn expire(&mut self, horizon: TimestampMs, high_watermark: Offset) -> bool {
        self.entries.retain(|_, entry| {
            entry.last_seen > horizon
                || entry
                    .batches
                    .back()
                    .is_some_and(|b| b.last_offset() >= high_watermark)
        });
        self.is_watched &= !self.entries.is_empty();
        !self.entries.is_empty()
    }

    /// Largest producer id known, so that new ids start above it.
    pub fn largest_id(&self) -> Option<ProducerId> {
        self.entries.keys().max().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs::new(1_000);

    fn batch(epoch: i16, base: i32, count: u32, offset: i64) -> ProducerBatch {
        ProducerBatch {
            producer_id: ProducerId::new(7),
            epoch: ProducerEpoch::new(epoch),
            base_sequence: Sequence::new(base),
            count,
            base_offset: Offset::new(offset),
            max_timestamp: TimestampMs::new(5),
        }
    }

    fn with(batches: &[ProducerBatch]) -> Producers {
        let mut producers = Producers::default();
        for batch in batches {
            assert_eq!(producers.check(batch), Ok(Verdict::Append));
            producers.record(*batch, NOW);
        }
        producers
    }

    #[test]
    fn the_last_five_batches_are_known_as_duplicates_and_the_sixth_is_not() {
        let all: Vec<_> = (0..6)
            .map(|i| batch(0, i * 2, 2, i64::from(i) * 2))
            .collect();
        let producers = with(&all);
        for kept in &all[1..] {
            let duplicate = Verdict::Duplicate {
                base_offset: kept.base_offset,
                max_timestamp: kept.max_timestamp,
            };
            assert_eq!(producers.check(kept), Ok(duplicate));
        }
        assert!(matches!(
            producers.check(&all[0]),
            Err(SequenceError::OutOfOrder { .. })
        ));
    }

    #[test]
    fn a_gap_an_overlap_and_an_old_epoch_are_refused() {
        let producers = with(&[batch(1, 0, 3, 0)]);
        assert!(matches!(
            producers.check(&batch(1, 4, 1, 0)),
            Err(SequenceError::OutOfOrder { expected, .. }) if expected == Sequence::new(3)
        ));
        assert!(matches!(
            producers.check(&batch(1, 0, 2, 0)),
            Err(SequenceError::OutOfOrder { .. })
        ));
        assert!(matches!(
            producers.check(&batch(0, 3, 1, 0)),
            Err(SequenceError::Fenced { .. })
        ));
        assert!(matches!(
            producers.check(&batch(2, 3, 1, 0)),
            Err(SequenceError::OutOfOrder { .. })
        ));
        assert_eq!(producers.check(&batch(2, 0, 1, 0)), Ok(Verdict::Append));
    }

    #[test]
    fn sequences_go_on_across_the_wrap() {
        let producers = with(&[batch(0, i32::MAX - 1, 2, 0)]);
        assert_eq!(producers.check(&batch(0, 0, 5, 0)), Ok(Verdict::Append));
        assert!(producers.check(&batch(0, 1, 5, 0)).is_err());
    }

    #[test]
    fn an_unknown_producer_may_start_anywhere() {
        assert_eq!(
            Producers::default().check(&batch(3, 77, 1, 0)),
            Ok(Verdict::Append)
        );
    }

    #[test]
    fn a_snapshot_and_the_batches_after_it_give_the_same_state() {
        let all: Vec<_> = (0..7).map(|i| batch(0, i, 1, i64::from(i))).collect();
        let live = with(&all);
        for end in 0..=7 {
            let until = with(&all[..end as usize]);
            let mut taken = Producers::default();
            for (id, entry) in live.at(Offset::new(end)) {
                taken.restore(id, entry);
            }
            for batch in &all[end as usize..] {
                taken.record(*batch, NOW);
            }
            assert_eq!(
                taken.entries,
                live.entries,
                "end {end}, {} before it",
                until.len()
            );
        }
    }

    #[test]
    fn silent_producers_expire_but_never_one_with_a_batch_in_flight() {
        let mut producers = with(&[batch(0, 0, 1, 10)]);
        assert!(producers.watch() && !producers.watch(), "told once");
        let before = TimestampMs::new(NOW.get() - 1);
        assert!(producers.expire(before, Offset::new(11)), "seen since");
        assert!(producers.expire(NOW, Offset::new(10)), "in flight");
        assert_eq!(producers.len(), 1);
        assert!(!producers.watch(), "looked after already");
        assert!(!producers.expire(NOW, Offset::new(11)));
        assert!(producers.is_empty() && !producers.watch());
        producers.record(batch(0, 5, 1, 11), NOW);
        assert!(producers.watch(), "told again");
    }
}
