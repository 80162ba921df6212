//! [`PartitionLog`]: append, seal, acknowledge, evict, compact.

mod compaction;
pub mod figures;

use std::sync::{Arc, LazyLock};

use bytes::BytesMut;
use coord::planted::{self, Bug};
use coord::rules::{self, Rule};
use crc32fast::Hasher;
use segment::batch::{self, BatchHeader};
use segment::{LeaderEpoch, Offset, ProducerId, TimestampMs, TopicPartition};

use super::contents::{Contents, Pending, Sealed};
use super::epochs::EpochHistory;
pub use super::outcome::{Acknowledged, Completion, Piece, SealedSection, SegmentPlan};
use super::producers::{ProducerBatch, ProducerEntry, Producers, SequenceError, Verdict};
use super::run::{self, Run, RunPart};
use super::segments::{ColdPlace, RunSlot, SegmentRef, WalLocation};
use super::view::{PartitionHandle, ReadSnapshot};

/// Names whoever waits for an append to become durable. Opaque to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// One validated batch to append.
#[derive(Debug)]
pub struct Append {
    /// The whole batch; offset and epoch are patched in place.
    pub bytes: BytesMut,
    /// Memory that it keeps; see [`RunPart::memory`].
    pub memory: u64,
    /// Its header, as parsed.
    pub header: BatchHeader,
    /// Who waits for it; none for acks=0.
    pub ticket: Option<Ticket>,
    /// Wall clock, for the producer's expiry.
    pub now: TimestampMs,
}

/// Why a batch is not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Idempotence forbids it.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The partition takes no appends any more in this ownership.
    #[error("append: the partition is being released")]
    Released,
    /// The log has no offset left.
    #[error("append: no offsets left")]
    Exhausted,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It waits for its flush; the ticket is completed then.
    Pending,
    /// It is a retry of a batch that is still in flight: the ticket is completed with that one.
    Joined,
    /// It is a retry of a batch that is durable already.
    Durable {
        /// Offset of the first copy.
        base_offset: Offset,
    },
}

/// A section of so many bytes (16 MiB) is large: it is stored as an object of its own.
pub const LARGE_SECTION_BYTES: u64 = 16 << 20;
/// Most bytes of one section, but for a single batch: far below what a segment can hold.
pub const SECTION_BYTES_MAX: u64 = 512 << 20;

/// A partition as its records and objects have it.
#[derive(Debug)]
pub struct PartitionImage {
    /// The partition.
    pub handle: Arc<PartitionHandle>,
    /// Epoch of this ownership.
    pub leader_epoch: LeaderEpoch,
    /// First readable offset.
    pub log_start: Offset,
    /// Offset below which everything is in segments.
    pub compacted_end: Offset,
    /// Epoch history.
    pub epochs: EpochHistory,
    /// Segments in order.
    pub segments: Vec<SegmentRef>,
    /// WAL sections from `compacted_end` on, in order.
    pub slots: Vec<RunSlot>,
    /// Producers as of the end of the log.
    pub producers: Producers,
}

/// The contents of a log that has none.
static NOTHING: LazyLock<Contents> = LazyLock::new(Contents::default);

/// The log of one partition. Shard-owned.
#[derive(Debug)]
pub struct PartitionLog {
    handle: Arc<PartitionHandle>,
    leader_epoch: LeaderEpoch,
    epochs: EpochHistory,
    log_start: Offset,
    compacted_end: Offset,
    high_watermark: Offset,
    log_end: Offset,
    position: u64,
    released: bool,
    /// None until there is something: most partitions of a large cluster are idle.
    contents: Option<Box<Contents>>,
}

impl PartitionLog {
    /// Opens the log and publishes its first snapshot.
    ///
    /// # Panics
    /// If the sections do not follow each other from `compacted_end` on.
    pub fn open(image: PartitionImage) -> Self {
        let mut end = image.compacted_end;
        let mut slot_bytes = 0;
        assert!(
            image.leader_epoch >= LeaderEpoch::ZERO,
            "an owner has an epoch"
        );
        assert!(
            image.log_start.is_valid() && image.compacted_end.is_valid(),
            "a log has no negative offsets"
        );
        assert!(
            image
                .segments
                .last()
                .is_none_or(|last| last.end <= image.compacted_end),
            "segments end at the compacted end"
        );
        for slot in &image.slots {
            assert!(
                slot.first == end,
                "sections are contiguous from the compacted end on"
            );
            assert!(slot.first <= slot.last, "a section has records");
            end = slot.last.next().expect("offsets in range");
            slot_bytes += slot.bytes();
        }
        let end = end.max(image.log_start);
        let is_empty =
            image.slots.is_empty() && image.segments.is_empty() && image.producers.is_empty();
        let contents = (!is_empty).then(|| {
            Box::new(Contents {
                slots: image.slots.into(),
                slot_bytes,
                segments: image.segments,
                producers: image.producers,
                ..Contents::default()
            })
        });
        let log = Self {
            handle: image.handle,
            leader_epoch: image.leader_epoch,
            epochs: image.epochs,
            log_start: image.log_start,
            compacted_end: image.compacted_end,
            high_watermark: end,
            log_end: end,
            position: 0,
            released: false,
            contents,
        };
        log.publish();
        log
    }

    fn contents(&self) -> &Contents {
        self.contents.as_deref().unwrap_or_else(|| &NOTHING)
    }

    /// The partition.
    pub fn id(&self) -> TopicPartition {
        self.handle.id
    }

    /// Epoch of this ownership.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Where each epoch began.
    pub fn epochs(&self) -> &EpochHistory {
        &self.epochs
    }

    /// First readable offset.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Offset below which everything is durable and visible.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Offset that the next record will get.
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// Idempotent producers known.
    pub fn producer_count(&self) -> usize {
        self.contents().producers.len()
    }

    /// The idempotent producers known.
    pub fn producers(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.contents().producers.iter()
    }

    /// Whether a producer is known that nobody looks after yet: [`Self::expire_producers`] is to be called from
    /// now on, until it tells that none is left.
    pub fn watch_producers(&mut self) -> bool {
        let contents = self.contents.as_deref_mut();
        contents.is_some_and(|contents| contents.producers.watch())
    }

    /// Forgets producers that have been silent since `horizon`; whether any is left.
    pub fn expire_producers(&mut self, horizon: TimestampMs) -> bool {
        let high_watermark = self.high_watermark;
        let contents = self.contents.as_deref_mut();
        contents.is_some_and(|contents| contents.producers.expire(horizon, high_watermark))
    }

    /// Bytes appended since the last seal.
    pub fn open_bytes(&self) -> u64 {
        self.contents().open_bytes
    }

    fn publish(&self) {
        assert!(
            self.high_watermark <= self.log_end,
            "nothing is visible that was not appended"
        );
        let visible = match planted::is_planted(Bug::WatermarkBeforeDurability) {
            true => self.log_end,
            false => self.high_watermark,
        };
        self.handle.publish(ReadSnapshot {
            leader_epoch: self.leader_epoch,
            log_start: self.log_start,
            high_watermark: visible,
            last_stable_offset: visible,
            position: self.position,
            tail: self.contents().tail.tail(),
        });
    }

    /// Appends a batch: checks idempotence, assigns offsets in place, queues it for the next flush.
    ///
    /// # Errors
    /// [`AppendError`]; nothing has changed then.
    pub fn append(&mut self, mut append: Append) -> Result<Appended, AppendError> {
        if self.released && rules::holds(Rule::ReleasedTakesNoAppends) {
            return Err(AppendError::Released);
        }
        let header = &append.header;
        let count = header.record_count;
        let next = self
            .log_end
            .next_after_count(count)
            .ok_or(AppendError::Exhausted)?;
        let producer = header.is_idempotent().then_some(ProducerBatch {
            producer_id: header.producer_id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            count,
            base_offset: self.log_end,
            max_timestamp: header.max_timestamp,
        });
        if let Some(batch) = &producer
            && let Verdict::Duplicate { base_offset, .. } =
                self.contents().producers.check(batch)?
            && (base_offset < self.high_watermark || rules::holds(Rule::RetriesJoin))
        {
            return Ok(self.join(base_offset, append.ticket));
        }
        assert!(next > self.log_end, "a batch takes offsets");
        let base = self.log_end;
        batch::assign(&mut append.bytes, base, self.leader_epoch);
        let contents = self.contents.get_or_insert_default();
        if let Some(batch) = producer {
            contents.producers.record(batch, append.now);
        }
        let len = append.bytes.len() as u64;
        let last = base
            .last_of_count(count)
            .expect("the next offset is in range");
        let part = RunPart {
            base,
            last,
            max_timestamp: append.header.max_timestamp,
            bytes: append.bytes.freeze(),
            memory: append.memory,
        };
        contents.open.push(Pending {
            part,
            producer,
            record_count: count,
        });
        assert!(last.next() == Some(next), "offsets are dense");
        contents.open_bytes += len;
        self.log_end = next;
        if let Some(ticket) = append.ticket {
            contents.open_completions.push(Completion {
                ticket,
                base_offset: base,
            });
        }
        Ok(Appended::Pending)
    }

    /// Lets a retry wait for the first copy of its batch.
    fn join(&mut self, base_offset: Offset, ticket: Option<Ticket>) -> Appended {
        if base_offset < self.high_watermark {
            return Appended::Durable { base_offset };
        }
        if let Some(ticket) = ticket {
            let completion = Completion {
                ticket,
                base_offset,
            };
            let contents = self.contents.get_or_insert_default();
            let holder = contents.sealed.iter_mut().find(|sealed| {
                sealed.run.first() <= base_offset && base_offset <= sealed.run.last()
            });
            match holder {
                Some(sealed) => sealed.completions.push(completion),
                None => contents.open_completions.push(completion),
            }
        }
        Appended::Joined
    }

    /// Takes what was appended since the last seal into a section, at most [`SECTION_BYTES_MAX`] of it
    /// but at least one batch; see [`Self::open_bytes`] for what is left.
    pub fn seal(&mut self) -> Option<SealedSection> {
        let contents = self.contents.as_deref_mut()?;
        if contents.open.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = |pending: &&Pending| {
            let first = bytes == 0;
            bytes += pending.part.bytes.len() as u64;
            first || bytes <= SECTION_BYTES_MAX
        };
        let open = &mut contents.open;
        let count = open.iter().take_while(fits).count();
        assert!(count > 0, "a section has at least one batch");
        let rest = open.split_off(count);
        let pending = std::mem::replace(open, rest);
        contents.open_bytes = open.iter().map(|p| p.part.bytes.len() as u64).sum();
        let record_count = pending.iter().map(|p| u64::from(p.record_count)).sum();
        let producers = pending.iter().filter_map(|p| p.producer).collect();
        let run = Arc::new(run::build(pending.into_iter().map(|p| p.part).collect()));
        let hasher = (run.bytes() < LARGE_SECTION_BYTES).then(|| {
            let mut hasher = Hasher::new();
            run.chunks().for_each(|chunk| hasher.update(chunk));
            hasher
        });
        if let Some(before) = contents.sealed.back() {
            assert!(
                before.run.last().next() == Some(run.first()),
                "sections are sealed without a gap"
            );
        }
        assert!(
            contents.open.is_empty() == (contents.open_bytes == 0),
            "what is left open is counted"
        );
        let last = run.last();
        let mut completions = std::mem::take(&mut contents.open_completions);
        if !contents.open.is_empty() {
            let all = completions.into_iter();
            (completions, contents.open_completions) =
                all.partition(|completion| completion.base_offset <= last);
        }
        contents.sealed.push_back(Sealed {
            run: run.clone(),
            record_count,
            completions,
        });
        if planted::is_planted(Bug::WatermarkBeforeDurability) {
            self.publish();
        }
        let (id, leader_epoch) = (self.id(), self.leader_epoch);
        Some(SealedSection {
            id,
            leader_epoch,
            run,
            record_count,
            hasher,
            producers,
        })
    }

    /// The WAL object `location.sequence` is durable, and so is every one before it: the oldest sealed
    /// section, which it holds or names, becomes visible. Publishes the snapshot, wakes long polls, and
    /// gives those who waited.
    ///
    /// # Panics
    /// If it is not the oldest sealed section, or its object comes before that of the one before.
    pub fn acknowledge(
        &mut self,
        first: Offset,
        location: WalLocation,
        now_ms: u64,
    ) -> Acknowledged {
        let contents = self.contents.as_deref_mut();
        let contents = contents.expect("an acknowledged section was sealed");
        let sealed = contents.sealed.pop_front();
        let sealed = sealed.expect("an acknowledged section was sealed");
        let run = sealed.run;
        let before = contents.slots.back().map(|slot| &slot.location);
        let follows = before.is_none_or(|before| {
            before.session != location.session || before.sequence <= location.sequence
        });
        assert!(
            follows && run.first() == first,
            "acknowledged strictly in sequence"
        );
        assert!(
            run.first() == self.high_watermark,
            "the high watermark rises without a gap"
        );
        let bytes = run.bytes();
        assert!(
            location.range.end - location.range.start == bytes,
            "the section is stored whole"
        );
        self.high_watermark = run.last().next().expect("offsets in range");
        assert!(
            self.high_watermark <= self.log_end,
            "nothing is acknowledged that was not appended"
        );
        self.position += bytes;
        contents.slot_bytes += bytes;
        contents.slots.push_back(RunSlot {
            first: run.first(),
            last: run.last(),
            max_timestamp: run.max_timestamp(),
            record_count: sealed.record_count,
            location,
            acknowledged_ms: now_ms,
        });
        let (batches, records) = (run.batches().len() as u64, sealed.record_count);
        contents.appended.bytes += bytes;
        contents.appended.records += records;
        let memory = run.memory_bytes();
        contents.tail.push(run);
        if rules::holds(Rule::PublishBeforeAnswering) {
            self.publish();
        }
        if !planted::is_planted(Bug::LostWakeup) {
            self.handle.credit_waits();
        }
        Acknowledged {
            completions: sealed.completions,
            bytes,
            memory,
            batches,
            records,
        }
    }

    /// Takes the oldest run out of memory; gives the memory that it took. The snapshot no longer has it.
    pub fn evict(&mut self) -> u64 {
        let contents = self.contents.as_deref_mut();
        let Some(run) = contents.and_then(|contents| contents.tail.pop_front()) else {
            return 0;
        };
        self.publish();
        run.memory_bytes()
    }

    /// Acknowledged sections whose places are kept: those that no segment holds.
    pub fn slot_count(&self) -> usize {
        self.contents().slots.len()
    }

    /// The run that holds an acknowledged `offset`, if it is in memory.
    pub fn run_in_memory(&self, offset: Offset) -> Option<Arc<Run>> {
        let tail = &self.contents().tail;
        if offset >= self.high_watermark || tail.first()? > offset {
            return None;
        }
        tail.tail().run_with(offset)
    }

    /// Bytes appended that are not acknowledged yet.
    pub fn unacknowledged_bytes(&self) -> u64 {
        let contents = self.contents();
        let sealed = contents.sealed.iter().map(|sealed| sealed.run.bytes());
        contents.open_bytes + sealed.sum::<u64>()
    }

    /// Where an acknowledged `offset` lies in the store; `None` if it is not in range.
    pub fn place(&self, offset: Offset) -> Option<ColdPlace> {
        if offset < self.log_start || offset >= self.high_watermark {
            return None;
        }
        let Contents {
            segments, slots, ..
        } = self.contents();
        if offset < self.compacted_end {
            let after = segments.partition_point(|segment| segment.base <= offset);
            return Some(segments.get(after.checked_sub(1)?)?.place(offset));
        }
        let index = slots.partition_point(|slot| slot.last < offset);
        let slot = slots.get(index)?;
        assert!(
            slot.first <= offset,
            "sections are contiguous up to the high watermark"
        );
        let (key, range) = (slot.location.key.clone(), slot.location.range.clone());
        Some(ColdPlace::Chunk {
            first: slot.first,
            next: slot.last.next()?,
            key,
            range,
        })
    }

    /// Remembers the spans of a segment, once its index has been read. An index that was read of a segment of so many
    /// bytes is not that of one by which it was replaced meanwhile.
    pub fn set_spans(&mut self, base: Offset, of: Option<u64>, spans: Arc<[super::ChunkSpan]>) {
        let Some(contents) = &mut self.contents else {
            return;
        };
        let at = contents.segments.binary_search_by_key(&base, |s| s.base);
        let off = usize::from(planted::is_planted(Bug::StaleIndex));
        let at = at.ok().map(|at| at + off);
        if let Some(segment) = at.and_then(|at| contents.segments.get_mut(at))
            && (of.is_none_or(|bytes| bytes == segment.bytes) || off > 0)
        {
            segment.set_spans(spans);
        }
    }

    /// The first piece (segment or section) that may hold a record with a timestamp of at least
    /// `target`, from `from` on: where to begin, and the base of its segment if it is one. `None` if
    /// there is none.
    pub fn first_with_timestamp(
        &self,
        target: TimestampMs,
        from: Offset,
    ) -> Option<(Offset, Option<Offset>)> {
        let from = from.max(self.log_start);
        let contents = self.contents();
        let segments = contents
            .segments
            .iter()
            .filter(|s| s.end > from && s.max_timestamp >= target);
        let slots = contents
            .slots
            .iter()
            .filter(|s| s.last >= from && s.max_timestamp >= target);
        let first = segments
            .map(|s| (s.base, Some(s.base)))
            .chain(slots.map(|s| (s.first, None)))
            .next()?;
        let (first, segment) = first;
        Some((first.max(from), segment))
    }

    /// The piece with the largest timestamp: its first offset, its end, and the base of its segment
    /// if it is one. The earliest wins a tie.
    pub fn piece_with_max_timestamp(&self) -> Option<(Offset, Offset, Option<Offset>)> {
        let contents = self.contents();
        let segments = contents
            .segments
            .iter()
            .map(|s| (s.max_timestamp, s.base, s.end, Some(s.base)));
        let slots = contents.slots.iter().map(|s| {
            let end = s.last.next().unwrap_or(s.last);
            (s.max_timestamp, s.first, end, None)
        });
        let mut best: Option<(TimestampMs, Offset, Offset, Option<Offset>)> = None;
        for piece in segments.chain(slots) {
            if piece.2 > self.log_start && best.is_none_or(|best| piece.0 > best.0) {
                best = Some(piece);
            }
        }
        best.map(|(_, first, end, segment)| (first.max(self.log_start), end, segment))
    }

    /// Segments and sections from the log start on, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> {
        let contents = self.contents();
        let segments = contents.segments.iter().map(|segment| Piece {
            end: segment.end,
            max_timestamp: segment.max_timestamp,
            bytes: segment.bytes,
        });
        let slots = contents.slots.iter().map(|slot| Piece {
            end: slot.last.next().unwrap_or(slot.last),
            max_timestamp: slot.max_timestamp,
            bytes: slot.bytes(),
        });
        let from_start = |piece: &Piece| piece.end > self.log_start;
        segments.chain(slots).filter(from_start)
    }

    /// Raises the log start (never lowers it), at most to the high watermark; gives the segments that lie
    /// wholly below it now.
    pub fn raise_log_start(&mut self, to: Offset) -> Vec<SegmentRef> {
        let to = to.min(self.high_watermark);
        if to <= self.log_start {
            return Vec::new();
        }
        assert!(
            to > self.log_start && to <= self.high_watermark,
            "the log start rises, and not above what is durable"
        );
        self.log_start = to;
        let contents = self.contents.get_or_insert_default();
        let gone = contents
            .segments
            .partition_point(|segment| segment.end <= to);
        let gone = contents.segments.drain(..gone).collect();
        self.publish();
        gone
    }

    /// Takes no appends from now on (release, fence, deletion).
    pub fn release(&mut self) {
        self.released = true;
    }

    /// Takes appends again: the release was given up before anything was sent.
    pub fn resume(&mut self) {
        self.released = false;
    }

    /// Whether nothing waits for a flush or its acknowledgement.
    pub fn is_quiet(&self) -> bool {
        let contents = self.contents();
        let quiet = contents.open.is_empty() && contents.sealed.is_empty();
        quiet || !rules::holds(Rule::ReleaseAfterAcknowledgements)
    }

    /// Ends this ownership: withdraws the snapshot, wakes long polls, and gives everyone who still waits.
    pub fn close(mut self) -> Vec<Ticket> {
        if rules::holds(Rule::ClosedIsWithdrawn) {
            self.handle.withdraw();
        }
        self.handle.finish_waits();
        let contents = self.contents.take().unwrap_or_default();
        let sealed = contents.sealed.iter();
        let sealed = sealed.flat_map(|sealed| sealed.completions.iter());
        sealed
            .chain(&contents.open_completions)
            .map(|completion| completion.ticket)
            .collect()
    }
}

#[cfg(test)]
mod tests;
