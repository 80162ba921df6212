//! An independent model of one partition's log: what a single machine that never fails would hold.
//!
//! It is written from Kafka's rules and shares nothing with the broker. Offsets are dense; a batch of
//! an idempotent producer is taken once, however often it comes; nobody sees beyond the high
//! watermark; another owner goes on at a committed end and forgets what lay beyond it.

use std::collections::{HashMap, VecDeque};

use super::history::Value;

/// Batches of one producer that are recognized when they come again (Kafka's
/// `NUM_BATCHES_TO_RETAIN`).
const REMEMBERED: usize = 5;

/// What an idempotent producer writes into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence number of the first record.
    pub sequence: i32,
}

/// A batch as a producer sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// None of a plain producer.
    pub identity: Option<Identity>,
    /// At least one.
    pub values: Vec<Value>,
}

/// What became of a batch that was taken, with the offset of its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was appended.
    Appended(i64),
    /// It had been appended before.
    Known(i64),
}

/// Why a batch was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has no records.
    Empty,
    /// Its sequence does not follow the last one: `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    OutOfOrder,
    /// A newer epoch of its producer is known: `INVALID_PRODUCER_EPOCH`.
    Fenced,
}

#[derive(Debug, Clone)]
struct Entry {
    base: i64,
    batch: Batch,
}

/// State of one producer id.
#[derive(Debug, Clone, Default)]
struct Producer {
    epoch: i16,
    /// First sequence, last sequence and base offset of its last batches.
    batches: VecDeque<(i32, i32, i64)>,
}

/// The log of one partition.
#[derive(Debug, Clone, Default)]
pub struct Log {
    start: i64,
    end: i64,
    high_watermark: i64,
    entries: VecDeque<Entry>,
    producers: HashMap<i64, Producer>,
}

impl Log {
    /// A log whose records below `start` are gone, and with them what their producers had written.
    pub fn beginning_at(start: i64) -> Self {
        Self {
            start,
            end: start,
            high_watermark: start,
            ..Self::default()
        }
    }

    /// The offset that the next record is given.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// The first offset that can be read.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// What lies below it is durable and can be read.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// Takes a batch.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn append(&mut self, batch: Batch) -> Result<Taken, Refusal> {
        let count = batch.values.len();
        if count == 0 {
            return Err(Refusal::Empty);
        }
        if let Some(identity) = batch.identity
            && let Some(base) = self.known(identity, count)?
        {
            return Ok(Taken::Known(base));
        }
        let base = self.end;
        self.remember(&batch, base);
        self.entries.push_back(Entry { base, batch });
        self.end += length(count);
        Ok(Taken::Appended(base))
    }

    /// Where this batch stands already; none if it is new and in order.
    fn known(&self, identity: Identity, count: usize) -> Result<Option<i64>, Refusal> {
        let Some(producer) = self.producers.get(&identity.id) else {
            // Kafka takes any sequence of a producer that it knows nothing of.
            return Ok(None);
        };
        if identity.epoch < producer.epoch {
            return Err(Refusal::Fenced);
        }
        if identity.epoch > producer.epoch {
            let is_first = identity.sequence == 0;
            return if is_first {
                Ok(None)
            } else {
                Err(Refusal::OutOfOrder)
            };
        }
        let last = forward(identity.sequence, count - 1);
        let mut batches = producer.batches.iter();
        let same = batches.find(|(from, to, _)| (*from, *to) == (identity.sequence, last));
        if let Some((_, _, base)) = same {
            return Ok(Some(*base));
        }
        let next = producer.batches.back().map(|(_, to, _)| forward(*to, 1));
        match next {
            Some(next) if next != identity.sequence => Err(Refusal::OutOfOrder),
            _ => Ok(None),
        }
    }

    fn remember(&mut self, batch: &Batch, base: i64) {
        let Some(identity) = batch.identity else {
            return;
        };
        let last = forward(identity.sequence, batch.values.len() - 1);
        let producer = self.producers.entry(identity.id).or_default();
        if producer.epoch != identity.epoch {
            producer.epoch = identity.epoch;
            producer.batches.clear();
        }
        producer.batches.push_back((identity.sequence, last, base));
        if producer.batches.len() > REMEMBERED {
            producer.batches.pop_front();
        }
    }

    /// What lies below `end` is durable: it is acknowledged and can be read.
    pub fn acknowledge(&mut self, end: i64) {
        self.high_watermark = self.high_watermark.max(end.min(self.end));
    }

    /// Another owner goes on at `end`, the committed end of what its predecessors wrote, which lies
    /// between high watermark and log end; false if it does not, and then nothing is changed.
    pub fn take_over(&mut self, end: i64) -> bool {
        let is_whole = end == self.end || self.entries.iter().any(|entry| entry.base == end);
        if end < self.high_watermark || end > self.end || !is_whole {
            return false;
        }
        self.entries.retain(|entry| entry.base < end);
        self.end = end;
        self.high_watermark = end;
        self.producers.clear();
        let kept: Vec<Entry> = self.entries.iter().cloned().collect();
        for entry in kept {
            self.remember(&entry.batch, entry.base);
        }
        true
    }

    /// Records below `start` are gone; what producers wrote there is still known.
    pub fn delete_below(&mut self, start: i64) {
        self.start = self.start.max(start.min(self.high_watermark));
    }

    /// What a reader at `from` may be shown; none where `from` is outside the log.
    pub fn read(&self, from: i64) -> Option<Vec<(i64, Value)>> {
        if from < self.start || from > self.high_watermark {
            return None;
        }
        let records = self
            .entries
            .iter()
            .flat_map(|entry| (entry.base..).zip(entry.batch.values.iter().copied()));
        let visible =
            records.filter(|(offset, _)| *offset >= from && *offset < self.high_watermark);
        Some(visible.collect())
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A sequence number so many further on: after the largest comes 0.
fn forward(sequence: i32, count: usize) -> i32 {
    let wrapped = (i64::from(sequence) + length(count)) % (i64::from(i32::MAX) + 1);
    i32::try_from(wrapped).unwrap_or(0)
}
