//! Read-ahead: finds readers that go through a log in order, and tells how much to read before them.
//!
//! A stream is found by where it is, not by who reads: whoever enters the chunk at which a stream
//! is, or the one after it, is that stream. Readers that walk together share one.

use std::collections::VecDeque;

/// Most chunks that are named ahead of one stream, however small they are: bounds its GETs.
pub const CHUNKS_AHEAD_MAX: usize = 32;
/// A stream counts as active for so many reads after its last.
const ACTIVE_READS: u64 = 64;

/// A part of a log that is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// First position (offset) in it.
    pub first: u64,
    /// First position after it: where the next chunk begins.
    pub next: u64,
    /// Its size.
    pub bytes: u64,
}

/// How a read relates to the reads before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nobody was here before: a reader that starts, or jumps.
    Start,
    /// The same chunk again: a reader takes a chunk in slices.
    Again,
    /// The chunk after the last one.
    Next,
}

/// Streams of sequential reads. Owned by one thread.
///
/// The window of a stream, which is how many bytes are named ahead of it, begins with the size of
/// its first chunk, doubles with each chunk that it goes on, and ends at `window_max` bytes, which active
/// streams share evenly (each has one chunk at least). At most `streams_max` streams are kept; the one least
/// recently read is forgotten for a new one.
#[derive(Debug)]
pub struct ReadAhead<P> {
    /// The least recently read first.
    streams: VecDeque<Stream<P>>,
    streams_max: usize,
    window_max: u64,
    /// Number of reads so far.
    reads: u64,
}

#[derive(Debug)]
struct Stream<P> {
    log: P,
    at: Chunk,
    /// The number of its last read.
    read: u64,
    window: u64,
    /// Chunks named and not reached, in order.
    named: VecDeque<Chunk>,
    named_bytes: u64,
}

impl<P> Stream<P> {
    fn new(log: P, at: Chunk, window_max: u64) -> Self {
        Self {
            log,
            at,
            read: 0,
            window: at.bytes.min(window_max),
            named: VecDeque::new(),
            named_bytes: 0,
        }
    }

    fn go_on(&mut self, at: Chunk, window_max: u64) {
        self.window = self.window.saturating_mul(2).max(at.bytes).min(window_max);
        self.at = at;
        while let Some(chunk) = self.named.pop_front_if(|chunk| chunk.first < at.next) {
            self.named_bytes -= chunk.bytes;
        }
    }

    fn end(&self) -> u64 {
        self.named.back().map_or(self.at.next, |chunk| chunk.next)
    }
}

impl<P: Eq + Clone> ReadAhead<P> {
    /// No streams; at most `streams_max` of them and `window_max` bytes ahead of each. A window of 0
    /// turns read-ahead off.
    ///
    /// # Panics
    ///
    /// If `streams_max` is 0.
    pub fn new(streams_max: usize, window_max: u64) -> Self {
        assert!(streams_max > 0, "at least one stream is kept");
        Self {
            streams: VecDeque::new(),
            streams_max,
            window_max,
            reads: 0,
        }
    }

    /// Somebody reads `chunk` of `log` now.
    pub fn on_read(&mut self, log: &P, chunk: Chunk) -> Step {
        let place = |is: fn(&Chunk, &Chunk) -> bool| {
            let found = |stream: &Stream<P>| stream.log == *log && is(&stream.at, &chunk);
            self.streams.iter().rposition(found)
        };
        let (place, step) = match place(|at, chunk| at.first == chunk.first) {
            Some(place) => (Some(place), Step::Again),
            None => match place(|at, chunk| at.next == chunk.first) {
                Some(place) => (Some(place), Step::Next),
                None => (None, Step::Start),
            },
        };
        let mut stream = match place.and_then(|place| self.streams.remove(place)) {
            Some(stream) => stream,
            None => Stream::new(log.clone(), chunk, self.window_max),
        };
        if step == Step::Next {
            stream.go_on(chunk, self.window_max);
        }
        self.reads += 1;
        stream.read = self.reads;
        if self.streams.len() == self.streams_max {
            self.streams.pop_front();
        }
        self.streams.push_back(stream);
        step
    }

    /// Where the chunk begins that is to be read ahead next for the stream at `at`; `None` when enough
    /// is named, or the stream is forgotten. To be asked again after [`Self::name`].
    pub fn wanted(&self, log: &P, at: u64) -> Option<u64> {
        let stream = self.stream(log, at)?;
        let share = (self.window_max / self.active()).max(stream.at.bytes);
        let is_full = stream.named_bytes >= stream.window.min(share)
            || stream.named.len() >= CHUNKS_AHEAD_MAX;
        (!is_full).then(|| stream.end())
    }

    /// The chunk is read ahead, or is there already, for the stream at `at`.
    pub fn name(&mut self, log: &P, at: u64, chunk: Chunk) {
        let found = |stream: &&mut Stream<P>| stream.log == *log && stream.at.first == at;
        if let Some(stream) = self.streams.iter_mut().rev().find(found)
            && stream.end() <= chunk.first
        {
            stream.named_bytes += chunk.bytes;
            stream.named.push_back(chunk);
        }
    }

    /// Number of streams kept.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether no stream is kept.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Number of streams that were read lately; the one that asks is among them.
    fn active(&self) -> u64 {
        let recent = self.streams.iter().rev();
        let recent = recent.take_while(|stream| self.reads - stream.read < ACTIVE_READS);
        recent.count().max(1) as u64
    }

    fn stream(&self, log: &P, at: u64) -> Option<&Stream<P>> {
        let found = |stream: &&Stream<P>| stream.log == *log && stream.at.first == at;
        self.streams.iter().rev().find(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u64) -> Chunk {
        Chunk {
            first: number * 10,
            next: number * 10 + 10,
            bytes: 4,
        }
    }

    /// Reads a chunk: the step, and the numbers of the chunks that are named then.
    fn read(ahead: &mut ReadAhead<char>, log: char, number: u64) -> (Step, Vec<u64>) {
        let step = ahead.on_read(&log, chunk(number));
        let mut named = Vec::new();
        while let Some(from) = ahead.wanted(&log, number * 10) {
            named.push(from / 10);
            ahead.name(&log, number * 10, chunk(from / 10));
        }
        (step, named)
    }

    #[test]
    fn a_stream_gets_a_window_that_doubles_to_its_bound() {
        let mut ahead = ReadAhead::new(4, 16);
        assert_eq!(read(&mut ahead, 'a', 5), (Step::Start, vec![6]));
        assert_eq!(read(&mut ahead, 'a', 5), (Step::Again, vec![]));
        assert_eq!(read(&mut ahead, 'a', 6), (Step::Next, vec![7, 8]));
        assert_eq!(read(&mut ahead, 'a', 7), (Step::Next, vec![9, 10, 11]));
        assert_eq!(read(&mut ahead, 'a', 8), (Step::Next, vec![12]));
        assert_eq!(read(&mut ahead, 'a', 8), (Step::Again, vec![]));
        assert_eq!(read(&mut ahead, 'a', 9), (Step::Next, vec![13]));
    }

    #[test]
    fn a_jump_is_a_new_stream_and_the_old_one_goes_on() {
        let mut ahead = ReadAhead::new(4, 48);
        read(&mut ahead, 'a', 1);
        read(&mut ahead, 'a', 2);
        assert_eq!(read(&mut ahead, 'a', 50), (Step::Start, vec![51]));
        assert_eq!(read(&mut ahead, 'b', 3), (Step::Start, vec![4]));
        assert_eq!(read(&mut ahead, 'a', 3), (Step::Next, vec![5, 6, 7]));
        assert_eq!(ahead.len(), 3);
        let last = Chunk {
            first: 600,
            next: u64::MAX,
            bytes: u64::MAX,
        };
        assert_eq!(ahead.on_read(&'c', last), Step::Start);
        assert_eq!(ahead.wanted(&'c', 600), Some(u64::MAX));
    }

    #[test]
    fn active_streams_share_the_window_and_stale_ones_take_nothing_of_it() {
        let mut ahead = ReadAhead::new(8, 16);
        for number in 0..10 {
            read(&mut ahead, 'a', number);
            read(&mut ahead, 'b', number);
        }
        for stream in &ahead.streams {
            assert_eq!(stream.named_bytes, 8, "two of four chunks each");
        }
        for number in 10..100 {
            read(&mut ahead, 'b', number);
        }
        assert_eq!(ahead.streams.back().map(|b| b.named_bytes), Some(16));
    }

    #[test]
    fn streams_are_bounded_and_the_stalest_goes() {
        let mut ahead = ReadAhead::new(2, 4);
        read(&mut ahead, 'a', 1);
        read(&mut ahead, 'b', 1);
        read(&mut ahead, 'a', 2);
        read(&mut ahead, 'c', 1);
        assert_eq!(ahead.len(), 2);
        assert_eq!(read(&mut ahead, 'a', 3).0, Step::Next);
        assert_eq!(read(&mut ahead, 'b', 2).0, Step::Start, "b was forgotten");
    }

    #[test]
    fn small_chunks_are_bounded_by_number() {
        let mut ahead = ReadAhead::new(2, 1_000_000);
        for number in 0..20 {
            read(&mut ahead, 'a', number);
        }
        let named = ahead.streams[0].named.len();
        assert_eq!(named, CHUNKS_AHEAD_MAX);
        assert_eq!(ahead.streams[0].named_bytes, 4 * named as u64);
    }

    #[test]
    fn a_window_of_zero_turns_it_off() {
        let mut ahead = ReadAhead::new(2, 0);
        for number in 0..10 {
            assert_eq!(read(&mut ahead, 'a', number).1, vec![]);
        }
        assert!(!ahead.is_empty());
    }
}
