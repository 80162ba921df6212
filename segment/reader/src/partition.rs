//! Reads one partition, from wherever it is asked to.
//!
//! Owns the position and what is known of the partition around it. Invariant: everything but the
//! position is a cache of metadata and objects. Where it turns out not to fit, it is dropped, looked
//! up again, and reading goes on at the same position.

use std::time::Duration;

use futures_util::StreamExt;
use segment::{Offset, PartitionIndex, TimestampMs, TopicPartition};
use store::retry::Backoff;

use crate::bucket::{Bucket, Topic};
use crate::error::ReadError;
use crate::look::{Look, look};
use crate::pause::{pause, uniform};
use crate::run::{Run, RunBatch};
use crate::scan::{Scan, Section, Step};
use crate::segments::{self, Chain};
use crate::stretch::{Order, Stretch, Want};

/// Looks at the metadata without getting further before reading gives up.
const STALE_MAX: u32 = 10;
/// Bounds of the first and the longest pause between two of them.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// Looks at the metadata at the end of a scan, each of which finds it changed, before the scan begins
/// anew.
const ENDS_MAX: usize = 64;
/// Sections that are read at a time.
const SECTIONS_AT_ONCE: usize = 16;

/// How a partition is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderOptions {
    /// Bytes of a run, about, and of a ranged GET: bounds the memory of a reader. A batch that is
    /// larger comes whole, alone.
    pub run_bytes: u64,
}

impl Default for ReaderOptions {
    /// 4 MiB.
    fn default() -> Self {
        Self { run_bytes: 4 << 20 }
    }
}

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that can be read.
    pub log_start: Offset,
    /// Everything below it is in segments.
    pub compacted_end: Offset,
    /// The offset of the next record, as far as the WAL shows.
    pub end: Offset,
}

/// A reader of one partition. It holds no lock and nothing that must be closed; any number may read
/// the same partition.
#[derive(Debug)]
pub struct PartitionReader {
    bucket: Bucket,
    topic: Topic,
    id: TopicPartition,
    options: ReaderOptions,
    /// The next offset to read; none: the log start, wherever it is.
    position: Option<Offset>,
    look: Option<Look>,
    chain: Option<Chain>,
    /// The segment or section that is being read.
    open: Option<Open>,
    scan: Option<Scan>,
    stale: Stale,
}

/// A stretch that is being read, and where to begin anew should an index have been wrong.
#[derive(Debug)]
struct Open {
    stretch: Stretch,
    whole: Option<Stretch>,
}

/// How often what was known did not fit since the reader last got further.
#[derive(Debug)]
struct Stale {
    times: u32,
    pauses: Backoff,
    /// A log start above the position that was seen, with nothing behind it but LIST.
    uncovered: Option<Offset>,
}

impl Default for Stale {
    fn default() -> Self {
        Self {
            times: 0,
            pauses: Backoff::new(PAUSES.0, PAUSES.1),
            uncovered: None,
        }
    }
}

impl PartitionReader {
    pub(crate) fn new(
        bucket: Bucket,
        topic: Topic,
        partition: PartitionIndex,
        options: ReaderOptions,
    ) -> Self {
        let id = topic.partition(partition);
        Self {
            bucket,
            topic,
            id,
            options,
            position: None,
            look: None,
            chain: None,
            open: None,
            scan: None,
            stale: Stale::default(),
        }
    }

    /// The topic, as it was when the reader was made.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> TopicPartition {
        self.id
    }

    /// The offset that the next run begins at; none for a new reader, which begins at the log start.
    pub fn position(&self) -> Option<Offset> {
        self.position
    }

    /// Goes on at an offset. Whether it can be read is told by [`Self::next`].
    pub fn seek(&mut self, offset: Offset) {
        if self.position != Some(offset) {
            self.position = Some(offset);
            self.open = None;
            self.scan = None;
            self.stale = Stale::default();
        }
    }

    /// Goes on at the log start; gives where that is.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn seek_to_start(&mut self) -> Result<Offset, ReadError> {
        let log_start = self.bounds().await?.log_start;
        self.seek(log_start);
        Ok(log_start)
    }

    /// Goes on at the first record, in offset order, with this timestamp or a later one; gives its
    /// offset. None if there is none: the position is then the end of the log.
    ///
    /// Segments and sections whose largest timestamp is known to be earlier are not read.
    ///
    /// # Errors
    /// [`ReadError`]; the position may be anywhere.
    pub async fn seek_to_time(&mut self, since: TimestampMs) -> Result<Option<Offset>, ReadError> {
        self.seek_to_start().await?;
        loop {
            let Some(run) = self.fetch(Some(since)).await? else {
                return Ok(None);
            };
            for record in run.records() {
                let record = record?;
                if record.timestamp >= since {
                    self.seek(record.offset);
                    return Ok(Some(record.offset));
                }
            }
        }
    }

    /// What the partition holds now. Reads the directories of all WAL objects that are not compacted
    /// yet, from bundles where there are any.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn bounds(&mut self) -> Result<Bounds, ReadError> {
        loop {
            match self.try_bounds().await {
                Ok(bounds) => {
                    self.stale = Stale::default();
                    return Ok(bounds);
                }
                Err(error) => self.again(error).await?,
            }
        }
    }

    async fn try_bounds(&mut self) -> Result<Bounds, ReadError> {
        self.look_again().await?;
        let end = self.find_end().await?;
        let log_start = self.log_start().await?;
        let record = &self.current().record;
        Ok(Bounds {
            log_start,
            compacted_end: record.compacted_end,
            end,
        })
    }

    /// The next run, from the position on; none at the end of the log: ask again later. The position
    /// is then behind the run.
    ///
    /// At the end it costs one read of the metadata and, in the conditional mode, one GET of an
    /// object that is not there yet.
    ///
    /// # Errors
    /// [`ReadError`]; the position stays. [`ReadError::LogStartPassed`] and
    /// [`ReadError::BeyondEnd`] come again until the caller seeks.
    #[allow(clippy::should_implement_trait)]
    pub async fn next(&mut self) -> Result<Option<Run>, ReadError> {
        self.fetch(None).await
    }

    async fn fetch(&mut self, since: Option<TimestampMs>) -> Result<Option<Run>, ReadError> {
        loop {
            match self.try_fetch(since).await {
                Ok(found) => {
                    self.stale = Stale::default();
                    return Ok(found);
                }
                Err(error) => self.again(error).await?,
            }
        }
    }

    /// Forgets what was known after it turned out not to fit; gives the error back where that does
    /// not help.
    async fn again(&mut self, error: ReadError) -> Result<(), ReadError> {
        self.open = None;
        self.chain = None;
        self.scan = None;
        if !error.is_stale() || self.stale.times >= STALE_MAX {
            self.stale = Stale::default();
            return Err(error);
        }
        tracing::debug!(partition = %self.id, %error, "the metadata is read again");
        if self.stale.times > 0 {
            pause(self.stale.pauses.next(uniform())).await;
        }
        self.stale.times += 1;
        self.look_again().await
    }

    async fn try_fetch(&mut self, since: Option<TimestampMs>) -> Result<Option<Run>, ReadError> {
        if self.look.is_none() {
            self.look_again().await?;
        }
        let position = match self.position {
            Some(position) => position,
            None => {
                let start = self.log_start().await?;
                self.position = Some(start);
                start
            }
        };
        let mut at = position;
        loop {
            let record = &self.current().record;
            if at < record.log_start {
                return Err(ReadError::LogStartPassed {
                    position: at,
                    log_start: record.log_start,
                });
            }
            let batches = if at < record.compacted_end {
                self.read_segment(&mut at, since).await?
            } else {
                match self.read_sections(&mut at, since).await? {
                    Some(batches) => batches,
                    None => {
                        self.position = Some(at);
                        return Ok(None);
                    }
                }
            };
            // What held nothing that was wanted has been passed all the same.
            self.stale = Stale::default();
            let from = self.position.replace(at).unwrap_or(at);
            if !batches.is_empty() {
                return Ok(Some(Run {
                    partition: self.id,
                    position: from,
                    next: at,
                    batches,
                }));
            }
        }
    }

    fn current(&self) -> &Look {
        self.look.as_ref().expect("the metadata was looked at")
    }

    /// Looks at the metadata; keeps of the scan what still fits.
    async fn look_again(&mut self) -> Result<(), ReadError> {
        let found = look(&self.bucket, &self.topic, self.id, self.look.as_ref()).await?;
        self.scan = self.scan.take().and_then(|scan| scan.adopt(found.clone()));
        self.look = Some(found);
        Ok(())
    }

    /// The first offset that can be read.
    async fn log_start(&mut self) -> Result<Offset, ReadError> {
        let record = &self.current().record;
        let (log_start, compacted_end) = (record.log_start, record.compacted_end);
        if log_start >= compacted_end {
            return Ok(log_start);
        }
        let from = self.chain().await?.from;
        if from > log_start {
            self.confirm(from)?;
        }
        Ok(log_start.max(from))
    }

    /// LIST is not one reading: a merge between two of its pages hides segments. So coverage that
    /// begins above the log start counts only once it was seen twice.
    fn confirm(&mut self, from: Offset) -> Result<(), ReadError> {
        if self.stale.uncovered.replace(from) == Some(from) {
            return Ok(());
        }
        let what = format!("the list of segments of partition {}", self.id);
        Err(ReadError::Unsteady { what })
    }

    /// The segments up to the compacted end.
    async fn chain(&mut self) -> Result<&Chain, ReadError> {
        let end = self.current().record.compacted_end;
        if self.chain.as_ref().is_none_or(|chain| chain.end != end) {
            let (bucket, dir) = (&self.bucket, self.topic.dir());
            let found = segments::find(&bucket.objects, &bucket.keys, &dir, self.id, end).await?;
            self.chain = Some(found);
        }
        Ok(self.chain.as_ref().expect("it was just found"))
    }

    /// Reads the next piece of the segment at the position; passes it.
    async fn read_segment(
        &mut self,
        at: &mut Offset,
        since: Option<TimestampMs>,
    ) -> Result<Vec<RunBatch>, ReadError> {
        let want = Want { from: *at, since };
        let bytes = self.options.run_bytes;
        if self.open.is_none() && !self.open_segment(at, since).await? {
            return Ok(Vec::new());
        }
        let open = self.open.as_mut().expect("it was just opened");
        let outcome = open.stretch.read(&self.bucket.objects, want, bytes).await;
        if let (Err(ReadError::Damaged { reason, key }), Some(whole)) = (&outcome, &open.whole)
            && open.stretch.is_indexed
        {
            tracing::debug!(
                key,
                reason,
                "an index does not fit its segment; read from its start"
            );
            open.stretch = whole.clone();
            open.whole = None;
            return Ok(Vec::new());
        }
        let batches = outcome?;
        *at = (*at).max(open.stretch.offset);
        if open.stretch.is_done() {
            self.open = None;
        }
        Ok(batches)
    }

    /// Opens the segment at the position; false if it was passed, since it holds nothing that is
    /// wanted.
    async fn open_segment(
        &mut self,
        at: &mut Offset,
        since: Option<TimestampMs>,
    ) -> Result<bool, ReadError> {
        // The log start may have passed the position: the caller looks.
        self.look_again().await?;
        if *at < self.current().record.log_start {
            return Ok(false);
        }
        let held = self.chain.as_ref().and_then(|chain| chain.at(*at).cloned());
        let held = match held {
            Some(held) => Some(held),
            None => self.chain().await?.at(*at).cloned(),
        };
        let Some(segment) = held else {
            let position = *at;
            let log_start = self.log_start().await?;
            return Err(ReadError::LogStartPassed {
                position,
                log_start,
            });
        };
        if since.is_some_and(|since| segment.is_before(since)) {
            *at = segment.end;
            return Ok(false);
        }
        let from = since.and_then(|since| segment.offset_since(since));
        *at = from.map_or(*at, |from| from.max(*at));
        let (bucket, dir) = (&self.bucket, self.topic.dir());
        let opened = segments::open(&bucket.objects, &bucket.keys, &dir, self.id, &segment, *at);
        let (indexed, whole) = opened.await?;
        self.open = Some(match indexed {
            Some(stretch) => Open {
                stretch,
                whole: Some(whole),
            },
            None => Open {
                stretch: whole,
                whole: None,
            },
        });
        Ok(true)
    }

    /// Reads the next sections; passes them. None at the end of the log.
    async fn read_sections(
        &mut self,
        at: &mut Offset,
        since: Option<TimestampMs>,
    ) -> Result<Option<Vec<RunBatch>>, ReadError> {
        if self.open.is_none() && !self.find_section(*at).await? {
            return Ok(None);
        }
        let want = Want { from: *at, since };
        let bytes = self.options.run_bytes;
        if self.open.is_none() {
            let found = &mut self.scan.as_mut().expect("it has found a section").found;
            let first = found.front().expect("it has found a section");
            if since.is_some_and(|since| first.max_timestamp < since) {
                *at = first.end;
                found.pop_front();
                return Ok(Some(Vec::new()));
            }
            if first.range.end - first.range.start <= bytes {
                return self.read_small(at, want).await.map(Some);
            }
            let stretch = stretch(first);
            found.pop_front();
            self.open = Some(Open {
                stretch,
                whole: None,
            });
        }
        let open = self.open.as_mut().expect("it was just opened");
        let batches = open.stretch.read(&self.bucket.objects, want, bytes).await?;
        *at = (*at).max(open.stretch.offset);
        if open.stretch.is_done() {
            self.open = None;
        }
        Ok(Some(batches))
    }

    /// Reads as many of the next sections as fit one run, some at a time.
    async fn read_small(
        &mut self,
        at: &mut Offset,
        want: Want,
    ) -> Result<Vec<RunBatch>, ReadError> {
        let bytes = self.options.run_bytes;
        let found = &mut self.scan.as_mut().expect("it has found a section").found;
        let mut room = bytes;
        let fits = |section: &&Section| {
            let len = section.range.end - section.range.start;
            let is_fitting = len <= room;
            room = room.saturating_sub(len);
            is_fitting
        };
        let sections: Vec<Stretch> = found.iter().take_while(fits).map(stretch).collect();
        let objects = &self.bucket.objects;
        let read = |mut stretch: Stretch| async move {
            let batches = stretch.read(objects, want, bytes).await?;
            Ok::<_, ReadError>((stretch.end_offset, batches))
        };
        let mut reads = std::pin::pin!(
            futures_util::stream::iter(sections)
                .map(read)
                .buffered(SECTIONS_AT_ONCE)
        );
        let mut all = Vec::new();
        while let Some(read) = reads.next().await {
            match read {
                Ok((end, batches)) => {
                    *at = (*at).max(end);
                    all.extend(batches);
                    found.pop_front();
                }
                // What came before it is given; it fails again at the next call.
                Err(_) if !all.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Looks at WAL objects until there is a section at the position; false at the end of the log.
    async fn find_section(&mut self, at: Offset) -> Result<bool, ReadError> {
        for _ in 0..ENDS_MAX {
            if self.scan_to(at, false).await? {
                return Ok(true);
            }
            match self.confirm_end().await? {
                Some(end) if at > end => return Err(ReadError::BeyondEnd { position: at, end }),
                Some(_) => return Ok(false),
                // It has been compacted meanwhile.
                None if at < self.current().record.compacted_end => break,
                None => {}
            }
        }
        Err(self.unsteady())
    }

    /// Looks at all WAL objects; gives the end of the log.
    async fn find_end(&mut self) -> Result<Offset, ReadError> {
        let at = self.position.unwrap_or(Offset::ZERO);
        for _ in 0..ENDS_MAX {
            self.scan_to(at, true).await?;
            if let Some(end) = self.confirm_end().await? {
                return Ok(end);
            }
        }
        Err(self.unsteady())
    }

    /// Looks at WAL objects until there is a section that ends behind `at`, or, if `all`, to the end;
    /// whether there is such a section.
    async fn scan_to(&mut self, at: Offset, all: bool) -> Result<bool, ReadError> {
        let mut scan = self.take_scan();
        loop {
            while scan.found.front().is_some_and(|section| section.end <= at) {
                scan.found.pop_front();
            }
            let is_found = !scan.found.is_empty();
            if (is_found && !all) || scan.step(&self.bucket, at).await? == Step::End {
                self.scan = Some(scan);
                return Ok(is_found);
            }
        }
    }

    fn unsteady(&self) -> ReadError {
        let what = format!("the record of partition {}", self.id);
        ReadError::Unsteady { what }
    }

    /// The scan; a new one if there is none.
    fn take_scan(&mut self) -> Scan {
        let look = self.current().clone();
        self.scan.take().unwrap_or_else(|| Scan::new(self.id, look))
    }

    /// At the end of a scan: whether the metadata still says so. An object that is not there may
    /// have been compacted and deleted, or belong to a source that has been closed meanwhile.
    async fn confirm_end(&mut self) -> Result<Option<Offset>, ReadError> {
        let before = self.current().clone();
        let end = self.scan.as_ref().map(Scan::end);
        self.look_again().await?;
        let is_same = *self.current() == before;
        Ok(end.filter(|_| is_same))
    }
}

fn stretch(section: &Section) -> Stretch {
    Stretch {
        key: section.key.clone(),
        object_len: None,
        next: section.range.start,
        end: section.range.end,
        offset: section.first,
        end_offset: section.end,
        order: Order::Strict(section.leader_epoch),
        is_indexed: false,
        etag: None,
    }
}
