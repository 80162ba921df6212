//! Read-ahead: finds readers that go through chunks in order and names what to read before them.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::Range;

/// Sequential streams by reader. Owned by one thread.
///
/// A reader is whatever reads in order: a fetch session's partition, or a partition alone. The
/// window begins with one chunk at the second consecutive one, doubles with each further one and
/// ends at `depth_max` chunks. At most `streams_max` streams are kept; the one least recently read
/// is forgotten for a new one.
#[derive(Debug)]
pub struct ReadAhead<R> {
    streams: HashMap<R, Stream>,
    by_use: BTreeMap<u64, R>,
    next_use: u64,
    streams_max: usize,
    depth_max: u64,
}

#[derive(Debug)]
struct Stream {
    used: u64,
    chunk: u64,
    /// Chunks below this have been named already.
    named_end: u64,
    depth: u64,
}

impl<R: Hash + Eq + Clone> ReadAhead<R> {
    /// No streams; at most `streams_max` of them and `depth_max` chunks ahead of each. A depth of
    /// 0 turns read-ahead off.
    ///
    /// # Panics
    ///
    /// If `streams_max` is 0.
    pub fn new(streams_max: usize, depth_max: u64) -> Self {
        assert!(streams_max > 0, "at least one stream is kept");
        let (streams, by_use) = (HashMap::new(), BTreeMap::new());
        Self {
            streams,
            by_use,
            next_use: 0,
            streams_max,
            depth_max,
        }
    }

    /// The reader reads `chunk` now: the chunks to read ahead, each named once per stream. The
    /// range may reach beyond the last chunk that exists: the caller clamps it.
    pub fn on_read(&mut self, reader: &R, chunk: u64) -> Range<u64> {
        let used = self.touch(reader, chunk);
        let depth_max = self.depth_max;
        let stream = self
            .streams
            .get_mut(reader)
            .expect("touch keeps the stream");
        stream.used = used;
        if chunk == stream.chunk {
            return chunk..chunk;
        }
        if Some(chunk) != stream.chunk.checked_add(1) {
            let named_end = chunk.saturating_add(1);
            *stream = Stream {
                used,
                chunk,
                named_end,
                depth: 0,
            };
            return chunk..chunk;
        }
        stream.chunk = chunk;
        stream.depth = (stream.depth * 2).max(1).min(depth_max);
        let start = stream.named_end.max(chunk.saturating_add(1));
        let end = chunk
            .saturating_add(1)
            .saturating_add(stream.depth)
            .max(start);
        stream.named_end = end;
        start..end
    }

    /// Whether the reader goes through chunks in order: then it shall not mark what it reads as
    /// popular (see `s3_fifo::Cache::peek`).
    pub fn is_sequential(&self, reader: &R) -> bool {
        self.streams
            .get(reader)
            .is_some_and(|stream| stream.depth > 0)
    }

    /// Forgets a reader that left.
    pub fn forget(&mut self, reader: &R) {
        if let Some(stream) = self.streams.remove(reader) {
            self.by_use.remove(&stream.used);
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

    /// Makes the reader the one most recently used, as a new stream if it is not known.
    fn touch(&mut self, reader: &R, chunk: u64) -> u64 {
        let used = self.next_use;
        self.next_use += 1;
        match self.streams.get(reader) {
            Some(stream) => {
                self.by_use.remove(&stream.used);
            }
            None => {
                self.make_room();
                let named_end = chunk.saturating_add(1);
                let stream = Stream {
                    used,
                    chunk,
                    named_end,
                    depth: 0,
                };
                self.streams.insert(reader.clone(), stream);
            }
        }
        self.by_use.insert(used, reader.clone());
        assert!(
            self.by_use.len() == self.streams.len(),
            "each stream has one place in the order"
        );
        used
    }

    fn make_room(&mut self) {
        while self.streams.len() >= self.streams_max {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                return;
            };
            self.streams.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequential_reader_gets_a_growing_window() {
        let mut ahead = ReadAhead::new(4, 4);
        assert_eq!(ahead.on_read(&'r', 10), 10..10);
        assert!(!ahead.is_sequential(&'r'));
        assert_eq!(ahead.on_read(&'r', 11), 12..13);
        assert_eq!(ahead.on_read(&'r', 11), 11..11);
        assert_eq!(ahead.on_read(&'r', 12), 13..15);
        assert_eq!(ahead.on_read(&'r', 13), 15..18);
        assert_eq!(ahead.on_read(&'r', 14), 18..19);
        assert!(ahead.is_sequential(&'r'));
    }

    #[test]
    fn a_jump_starts_anew() {
        let mut ahead = ReadAhead::new(4, 8);
        ahead.on_read(&'r', 1);
        ahead.on_read(&'r', 2);
        assert_eq!(ahead.on_read(&'r', 50), 50..50);
        assert!(!ahead.is_sequential(&'r'));
        assert_eq!(ahead.on_read(&'r', 51), 52..53);
        assert_eq!(ahead.on_read(&'r', 3), 3..3);
        assert_eq!(ahead.on_read(&'r', u64::MAX), u64::MAX..u64::MAX);
        assert_eq!(ahead.on_read(&'r', 0), 0..0);
    }

    #[test]
    fn streams_are_bounded_and_the_stalest_goes() {
        let mut ahead = ReadAhead::new(2, 2);
        ahead.on_read(&1, 0);
        ahead.on_read(&2, 0);
        ahead.on_read(&1, 1);
        ahead.on_read(&3, 0);
        assert_eq!(ahead.len(), 2);
        assert_eq!(ahead.on_read(&1, 2), 3..5);
        assert_eq!(ahead.on_read(&2, 1), 1..1, "the stream of 2 was forgotten");
        ahead.forget(&2);
        assert_eq!(ahead.len(), 1);
    }

    #[test]
    fn depth_zero_turns_it_off() {
        let mut ahead = ReadAhead::new(2, 0);
        for chunk in 0..10 {
            assert!(ahead.on_read(&'r', chunk).is_empty());
        }
    }
}
