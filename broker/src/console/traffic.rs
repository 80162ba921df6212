//! What goes through the partitions that this broker leads: counters of the shards, looked at twice.
//!
//! Control thread. Shards count (`shard/figures.rs`); here their counts are taken together, at most once a second and
//! only while somebody looks, or metrics by topic are on. A rate is over the time between two looks, and unknown after
//! the first one. A counter that fell belongs to a partition that was opened anew: it counts from 0.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use segment::{TopicId, TopicPartition};

use crate::control::context::Context;
use crate::metrics::TopicTraffic;
use crate::partition::PartitionMap;
use crate::shard::{FIGURES_MAX, PartitionFigures, Shard};

/// A look is not repeated before.
const FRESH: Duration = Duration::from_millis(900);
/// A rate over longer than this is none of now.
const RATE_MAX: Duration = Duration::from_secs(30);

/// What has gone through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) bytes_in: u64,
    pub(super) records_in: u64,
    pub(super) bytes_out: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

impl Counts {
    fn each(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            bytes_in: f(self.bytes_in, other.bytes_in),
            records_in: f(self.records_in, other.records_in),
            bytes_out: f(self.bytes_out, other.bytes_out),
            hits: f(self.hits, other.hits),
            misses: f(self.misses, other.misses),
        }
    }

    /// What has come since `before`.
    fn since(self, before: Self) -> Self {
        let step = |now: u64, before: u64| if now >= before { now - before } else { now };
        self.each(before, step)
    }

    fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }
}

/// How much goes through a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) bytes_in: f64,
    pub(super) records_in: f64,
    pub(super) bytes_out: f64,
    pub(super) hits: f64,
    pub(super) misses: f64,
}

impl Rates {
    fn of(counts: Counts, over: Duration) -> Self {
        let rate = |count: u64| count as f64 / over.as_secs_f64();
        Self {
            bytes_in: rate(counts.bytes_in),
            records_in: rate(counts.records_in),
            bytes_out: rate(counts.bytes_out),
            hits: rate(counts.hits),
            misses: rate(counts.misses),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.bytes_in += other.bytes_in;
        self.records_in += other.records_in;
        self.bytes_out += other.bytes_out;
        self.hits += other.hits;
        self.misses += other.misses;
    }
}

/// A partition that this broker leads, at the last look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partition {
    pub(super) figures: PartitionFigures,
    pub(super) counts: Counts,
    /// Unknown after one look.
    pub(super) rates: Option<Rates>,
    pub(super) segments: usize,
    pub(super) segment_bytes: u64,
    pub(super) damaged: usize,
}

impl Partition {
    /// Bytes in the store, as far as they belong to the log.
    pub(super) fn stored_bytes(&self) -> u64 {
        let wal = self.figures.log.map_or(0, |log| log.wal_bytes);
        self.segment_bytes.saturating_add(wal)
    }
}

/// One look.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) partitions: PartitionMap<Partition>,
    /// What went through each topic since this session began.
    topics: HashMap<TopicId, Counts>,
    at: Option<Instant>,
}

/// The last look, and how to take another.
pub(super) struct Traffic {
    context: Rc<Context>,
    last: RefCell<Rc<Look>>,
    /// Held while one is taken.
    taking: tokio::sync::Mutex<()>,
}

impl Traffic {
    pub(super) fn new(context: Rc<Context>) -> Self {
        Self {
            context,
            last: RefCell::default(),
            taking: tokio::sync::Mutex::default(),
        }
    }

    /// A look that is at most a second old.
    pub(super) async fn look(&self) -> Rc<Look> {
        let _taking = self.taking.lock().await;
        let last = self.last.borrow().clone();
        let now = Instant::now();
        if last.at.is_some_and(|at| now.duration_since(at) < FRESH) {
            return last;
        }
        let taken = Rc::new(self.take(&last).await);
        self.last.replace(taken.clone());
        taken
    }

    async fn take(&self, last: &Look) -> Look {
        let ids: Vec<TopicPartition> = self.context.owned.borrow().ids().collect();
        let figures = self.figures(&ids).await;
        let now = Instant::now();
        let over = last.at.map(|at| now.duration_since(at));
        let over = over.filter(|over| *over <= RATE_MAX && !over.is_zero());
        let (mut partitions, mut topics) = (PartitionMap::default(), last.topics.clone());
        for (id, figures) in figures {
            let log = figures
                .log
                .unwrap_or_else(|| unreachable!("only what is open is kept"));
            let counts = Counts {
                bytes_in: log.bytes_in,
                records_in: log.records_in,
                bytes_out: figures.reads.bytes,
                hits: figures.reads.hits,
                misses: figures.reads.misses,
            };
            let known = last.partitions.get(id);
            let step = counts.since(known.map_or_else(Counts::default, |known| known.counts));
            let topic = topics.entry(id.topic).or_default();
            *topic = topic.plus(step);
            let (segments, segment_bytes, damaged) = self.segments(id).unwrap_or_else(|| {
                // They are being changed: as they were.
                known.map_or((0, 0, 0), |it| (it.segments, it.segment_bytes, it.damaged))
            });
            let rates = over.filter(|_| known.is_some());
            let partition = Partition {
                figures,
                counts,
                rates: rates.map(|over| Rates::of(step, over)),
                segments,
                segment_bytes,
                damaged,
            };
            partitions.insert(id, partition);
        }
        let metadata = self.context.metadata.load();
        topics.retain(|id, _| metadata.topic_by_id(*id).is_some());
        Look {
            partitions,
            topics,
            at: Some(now),
        }
    }

    /// Segments of a partition of ours: their number, bytes, and how many are damaged. None while they are changed.
    fn segments(&self, id: TopicPartition) -> Option<(usize, u64, usize)> {
        let owned = self.context.owned(id)?;
        let state = owned.state.try_lock().ok()?;
        let bytes = state.segments.iter().map(|segment| segment.bytes).sum();
        Some((state.segments.len(), bytes, state.damaged.len()))
    }

    /// Asks all shards for all partitions, some at a time: who owns one tells of its log, each tells what it has read.
    /// Those that are not open are left out.
    async fn figures(&self, ids: &[TopicPartition]) -> Vec<(TopicPartition, PartitionFigures)> {
        let mut all = Vec::with_capacity(ids.len());
        for some in ids.chunks(FIGURES_MAX) {
            let asked = self.context.shards.iter().map(|shard| {
                let some = some.to_vec();
                shard.call(move |shard: &Rc<Shard>| shard.figures(&some))
            });
            let answers = futures_util::future::join_all(asked).await;
            let mut answers = answers.into_iter().flatten();
            let Some(mut sum) = answers.next() else {
                return all;
            };
            for answer in answers {
                sum.iter_mut().zip(answer).for_each(|(sum, one)| {
                    sum.log = sum.log.or(one.log);
                    sum.tail_bytes += one.tail_bytes;
                    sum.reads.bytes += one.reads.bytes;
                    sum.reads.hits += one.reads.hits;
                    sum.reads.misses += one.reads.misses;
                });
            }
            let open = some.iter().copied().zip(sum);
            all.extend(open.filter(|(_, figures)| figures.log.is_some()));
            tokio::task::yield_now().await;
        }
        all
    }

    /// What went through each topic, by name, for the metrics.
    pub(super) async fn by_topic(&self) -> Vec<TopicTraffic> {
        let look = self.look().await;
        let metadata = self.context.metadata.load();
        let topics = look.topics.iter().filter_map(|(id, counts)| {
            let topic = metadata.topic_by_id(*id)?;
            Some(TopicTraffic {
                id: *id,
                topic: topic.name.as_str().to_owned(),
                bytes_in: counts.bytes_in,
                bytes_out: counts.bytes_out,
                records_in: counts.records_in,
            })
        });
        topics.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_fell_begins_anew() {
        let counts = |bytes_in, hits| Counts {
            bytes_in,
            hits,
            ..Counts::default()
        };
        assert_eq!(counts(150, 7).since(counts(100, 7)), counts(50, 0));
        assert_eq!(counts(30, 8).since(counts(100, 7)), counts(30, 1));
        let rates = Rates::of(counts(50, 4), Duration::from_secs(2));
        assert_eq!((rates.bytes_in, rates.hits), (25.0, 2.0));
    }
}
