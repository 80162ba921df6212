//! Finds the sections of a partition in the WAL, source by source, object by object.
//!
//! Owns how far the WAL has been looked at, and what was found and not read yet. Invariants:
//! - an object is taken only after every object before it in its source, from the first that is
//!   needed on, was seen to be there and to be no fence (see the crate's documentation: then it is
//!   final);
//! - sections follow each other without a gap from the compacted end of the look on.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use coord::keys::partition::Source;
use futures_util::StreamExt;
use segment::kfs::KFS_HEADER_BYTES;
use segment::wal::{SectionPlace, WalDirectory, WalEntry, WalKind};
use segment::{LeaderEpoch, Offset, TimestampMs, TopicPartition, WalSequence};

use crate::bucket::Bucket;
use crate::directory::{Block, list, read_bundle, read_one};
use crate::error::ReadError;
use crate::look::Look;

/// Objects whose directories are read at a time.
const WINDOW: u64 = 16;
/// Ranges of more objects than this are listed, to find bundles.
const LIST_FROM_OBJECTS: u64 = 32;

/// A section of the partition in a WAL object.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// The object that holds its bytes.
    pub(crate) key: Arc<str>,
    /// Where in that object.
    pub(crate) range: Range<u64>,
    /// First offset.
    pub(crate) first: Offset,
    /// Offset after the last.
    pub(crate) end: Offset,
    /// Epoch of all its batches.
    pub(crate) leader_epoch: LeaderEpoch,
    /// Largest timestamp.
    pub(crate) max_timestamp: TimestampMs,
}

/// What a step of the scan came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It has got further.
    Further,
    /// There is nothing more, as far as the look and the objects tell.
    End,
}

/// How far the WAL of a partition has been looked at.
#[derive(Debug)]
pub(crate) struct Scan {
    id: TopicPartition,
    look: Look,
    /// The source that is looked at.
    source: usize,
    /// Its next object.
    next: WalSequence,
    /// The offset after the last section.
    end: Offset,
    /// Sections from the position on that were not taken yet.
    pub(crate) found: VecDeque<Section>,
    /// What LIST has shown of the source.
    hint: Hint,
}

#[derive(Debug, Default)]
struct Hint {
    /// LIST was asked at least once.
    asked: bool,
    /// There is more to list behind `shown`.
    more: bool,
    /// The highest object shown.
    shown: Option<WalSequence>,
    bundles: VecDeque<Block>,
    /// Objects that are asked for at a time beyond what LIST has shown.
    width: u64,
}

impl Scan {
    /// Nothing is looked at yet.
    pub(crate) fn new(id: TopicPartition, look: Look) -> Self {
        let end = look.record.compacted_end;
        let mut scan = Self {
            id,
            look,
            source: 0,
            next: WalSequence::ZERO,
            end,
            found: VecDeque::new(),
            hint: Hint::default(),
        };
        scan.enter(0);
        scan
    }

    /// The end of the log, as far as it has been looked at.
    pub(crate) fn end(&self) -> Offset {
        self.end.max(self.look.record.log_start)
    }

    /// Goes on with a newer look; none if what was seen does not tell where in it the scan is, so
    /// that it must begin anew.
    pub(crate) fn adopt(mut self, look: Look) -> Option<Self> {
        let (old, new) = (&self.look.record.sources, &look.record.sources);
        // What was compacted meanwhile may have been deleted before it was seen.
        if look.record.compacted_end > self.end {
            return None;
        }
        let gone = old.len().checked_sub(new.len())?;
        let same = |(old, new): (&Source, &Source)| {
            old.session == new.session && old.end_sequence == new.end_sequence
        };
        let is_trimmed = look.record.leader_epoch == self.look.record.leader_epoch
            && old[gone..].iter().zip(new).all(same);
        if !is_trimmed || self.source < gone {
            return None;
        }
        self.source -= gone;
        if let Some(source) = new.get(self.source) {
            self.next = self.next.max(look.first_needed(source));
        }
        self.look = look;
        Some(self)
    }

    fn enter(&mut self, source: usize) {
        self.source = source;
        self.hint = Hint::default();
        if let Some(source) = self.look.record.sources.get(source) {
            self.next = self.look.first_needed(source);
        }
    }

    /// Looks at some more objects; sections that end at or before `position` are not kept.
    ///
    /// # Errors
    /// [`ReadError`]; one that is stale may be due to an old look.
    pub(crate) async fn step(
        &mut self,
        bucket: &Bucket,
        position: Offset,
    ) -> Result<Step, ReadError> {
        let Some(source) = self.look.record.sources.get(self.source).copied() else {
            return Ok(Step::End);
        };
        let end = self.look.end(&source);
        if end.is_some_and(|end| self.next >= end) {
            // Whatever follows it in the guarded mode is committed later, or never.
            let is_last = self.source + 1 == self.look.record.sources.len();
            if is_last && source.is_open() {
                return Ok(Step::End);
            }
            self.enter(self.source + 1);
            return Ok(Step::Further);
        }
        self.list(bucket, &source, end).await?;
        if self.step_by_bundle(bucket, &source, end, position).await? {
            return Ok(Step::Further);
        }
        self.step_by_objects(bucket, &source, end, position).await
    }

    /// Lists the next objects where they may be many.
    async fn list(
        &mut self,
        bucket: &Bucket,
        source: &Source,
        end: Option<WalSequence>,
    ) -> Result<(), ReadError> {
        let is_short = end.is_some_and(|end| end.get() - self.next.get() <= LIST_FROM_OBJECTS);
        let is_told = self.hint.shown.is_some_and(|shown| shown >= self.next);
        let is_done = self.hint.asked && !self.hint.more;
        if is_short || is_told || is_done {
            return Ok(());
        }
        let page = list(bucket, source, self.next).await?;
        // A page that shows nothing new ends the listing, whatever it says.
        let is_new = page.last > self.hint.shown && page.last >= Some(self.next);
        self.hint = Hint {
            asked: true,
            more: page.more && is_new,
            shown: page.last.max(self.hint.shown),
            bundles: page.bundles.into(),
            width: 1,
        };
        Ok(())
    }

    /// Takes the directories of a bundle that tells of the next object, if there is one.
    async fn step_by_bundle(
        &mut self,
        bucket: &Bucket,
        source: &Source,
        end: Option<WalSequence>,
        position: Offset,
    ) -> Result<bool, ReadError> {
        while let Some(block) = self.hint.bundles.front().copied() {
            if block.first > self.next {
                return Ok(false);
            }
            self.hint.bundles.pop_front();
            if block.last < self.next {
                continue;
            }
            let read = read_bundle(bucket, source, block).await?;
            for directory in read.iter().flat_map(|read| read.iter()) {
                let sequence = directory.header().sequence;
                let is_next = sequence == self.next && end.is_none_or(|end| sequence < end);
                if is_next && !self.take(bucket, source, directory, position)? {
                    break;
                }
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads the directories of the next objects one by one, some at a time.
    async fn step_by_objects(
        &mut self,
        bucket: &Bucket,
        source: &Source,
        end: Option<WalSequence>,
        position: Offset,
    ) -> Result<Step, ReadError> {
        let from = self.next.get();
        let shown = self.hint.shown.map_or(0, |shown| shown.get() + 1);
        // Objects that nobody has shown are asked for carefully: each that is not there costs.
        let known = end.map_or(shown, WalSequence::get);
        let width = if known > from {
            WINDOW
        } else {
            self.hint.width.max(1)
        };
        let bundle = self.hint.bundles.front();
        let mut to = from.saturating_add(width);
        to = to.min(end.map_or(u64::MAX, WalSequence::get));
        to = to.min(bundle.map_or(u64::MAX, |block| block.first.get()));
        let read = |sequence| read_one(bucket, source, sequence);
        let sequences = (from..to).map(WalSequence::new);
        let mut directories = std::pin::pin!(
            futures_util::stream::iter(sequences.map(read)).buffered(WINDOW as usize)
        );
        while let Some(directory) = directories.next().await {
            match directory? {
                Some(directory) => {
                    let directory = directory.first().expect("one was read");
                    if !self.take(bucket, source, directory, position)? {
                        return Ok(self.after_fence());
                    }
                }
                None if end.is_none() => {
                    self.hint.width = 1;
                    // Objects before it were taken; the caller asks again if there were any.
                    let is_further = self.next.get() > from;
                    return Ok(if is_further { Step::Further } else { Step::End });
                }
                None => {
                    let key = bucket.keys.wal(source.broker, source.session, self.next);
                    return Err(ReadError::Missing {
                        key,
                        from: self.end,
                    });
                }
            }
        }
        self.hint.width = (width * 2).min(WINDOW);
        Ok(Step::Further)
    }

    fn after_fence(&mut self) -> Step {
        if self.source + 1 == self.look.record.sources.len() {
            // Whoever has fenced it is about to write, or has written, another record.
            return Step::End;
        }
        self.enter(self.source + 1);
        Step::Further
    }

    /// Takes the next object of the source; false if it is a fence, behind which nothing counts.
    fn take(
        &mut self,
        bucket: &Bucket,
        source: &Source,
        directory: &WalDirectory,
        position: Offset,
    ) -> Result<bool, ReadError> {
        let header = directory.header();
        assert!(header.sequence == self.next, "objects are taken in order");
        let key = bucket.keys.wal(source.broker, source.session, self.next);
        if header.kind == WalKind::Fence {
            if !source.is_open() {
                return Err(ReadError::damaged(
                    &key,
                    "it is a fence within a closed range",
                ));
            }
            return Ok(false);
        }
        let key: Arc<str> = key.into();
        for entry in directory.entries_of(self.id) {
            let last = entry.last_offset;
            if last < self.look.record.compacted_end {
                continue;
            }
            if entry.first_offset != self.end {
                return Err(ReadError::Gap {
                    key: key.to_string(),
                    expected: self.end,
                    found: entry.first_offset,
                });
            }
            self.end = last.next().expect("checked when the row was read");
            if last >= position {
                self.found.push_back(section(bucket, source, &key, entry));
            }
        }
        self.next = self
            .next
            .next()
            .expect("a session has fewer than 2^64 objects");
        Ok(true)
    }
}

fn section(bucket: &Bucket, source: &Source, key: &Arc<str>, entry: &WalEntry) -> Section {
    let (key, start) = match entry.place {
        SectionPlace::Inline { position } => (key.clone(), position),
        SectionPlace::Own { counter } => {
            let own = bucket.keys.own(source.broker, source.session, counter);
            (own.into(), KFS_HEADER_BYTES as u64)
        }
    };
    Section {
        key,
        range: start..start + entry.len,
        first: entry.first_offset,
        end: entry
            .last_offset
            .next()
            .expect("checked when the row was read"),
        leader_epoch: entry.leader_epoch,
        max_timestamp: entry.max_timestamp,
    }
}
