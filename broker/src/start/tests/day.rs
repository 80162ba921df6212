//! A day of traffic: thousands of flushes, retention, restarts and takeovers. The bucket holds what
//! is live and little else, and exactly what should be readable is.
//!
//! The minutes are simulated: this test calls what the loops of a broker call when their time has
//! come. Everything else is as in a cluster.

use std::collections::HashMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::control::merge::merge;
use crate::control::policy::{Backlog, Policy};

const MINUTE: i64 = 60_000;
/// When the day begins: long ago, so that the clock of this machine plays no part.
const MORNING: i64 = 1_700_000_000_000;
const DAY_MINUTES: i64 = 24 * 60;
const FLUSHES_A_MINUTE: usize = 2;
const SEGMENT_BYTES: u64 = 128 << 10;
const COMPACTION_INTERVAL: Duration = Duration::from_secs(600);
/// How long `clicks` keeps its records.
const KEEP_MINUTES: i64 = 3 * 60;
/// How much `events` keeps.
const KEEP_BYTES: u64 = 1 << 20;
const RETENTION_EVERY: i64 = 5;
/// How long a byte may be in the bucket twice, or longer than its topic keeps it: the WAL objects
/// of a segment stay until it is written, and old records until their segment is old.
const GRACE_MINUTES: i64 = 30;
const LOOK_EVERY: i64 = 60;
/// Minutes between deaths of brokers.
const LIFE_MINUTES: i64 = 45;

/// A batch that was acknowledged.
struct Stored {
    base: i64,
    minute: i64,
    bytes: u64,
}

struct Day {
    random: SmallRng,
    minute: i64,
    clicks: Vec<TopicPartition>,
    events: Vec<TopicPartition>,
    stored: HashMap<TopicPartition, Vec<Stored>>,
    /// Since which minute each partition has had batches that no segment holds.
    waiting: HashMap<TopicPartition, i64>,
    flushes: usize,
}

impl Day {
    fn all(&self) -> Vec<TopicPartition> {
        [&self.clicks[..], &self.events[..]].concat()
    }

    fn batch(&mut self) -> bytes::Bytes {
        let mut builder = RecordBatchBuilder::new();
        for _ in 0..self.random.random_range(1..6) {
            let value: Vec<u8> = (0..self.random.random_range(500..3_000))
                .map(|_| self.random.random())
                .collect();
            builder
                .push(NewRecord {
                    timestamp: TimestampMs::new(MORNING + self.minute * MINUTE),
                    key: None,
                    value: Some(&value),
                    headers: &[],
                })
                .unwrap();
        }
        builder.build().unwrap()
    }

    async fn traffic(&mut self, rig: &Rig) {
        for _ in 0..FLUSHES_A_MINUTE {
            let sent: Vec<_> = self
                .all()
                .into_iter()
                .map(|id| (id, self.batch()))
                .collect();
            let answers = sent.iter().map(|(id, batch)| rig.produce(*id, batch));
            let answers = futures_util::future::join_all(answers).await;
            self.flushes += 1;
            for ((id, batch), produced) in sent.into_iter().zip(answers) {
                let stored = Stored {
                    base: produced.unwrap().base_offset.get(),
                    minute: self.minute,
                    bytes: batch.len() as u64,
                };
                self.stored.entry(id).or_default().push(stored);
                self.waiting.entry(id).or_insert(self.minute);
            }
        }
    }

    /// What the compactor does in a minute.
    async fn compact(&mut self, rig: &Rig) {
        let shards = rig.context.shards.iter();
        let asked =
            shards.map(|shard| shard.call(|shard: &Rc<Shard>| shard.compaction_candidates()));
        let told = futures_util::future::join_all(asked).await;
        let mut candidates: Vec<_> = told.into_iter().flat_map(Result::unwrap).collect();
        for candidate in &mut candidates {
            let since = self
                .waiting
                .get(&candidate.id)
                .copied()
                .unwrap_or(self.minute);
            candidate.age_ms = ((self.minute - since) * MINUTE) as u64;
        }
        let policy = Policy {
            interval: COMPACTION_INTERVAL,
            backlog_max: 16_384,
        };
        let backlog = Backlog {
            session: rig.context.session.id,
            first: WalSequence::ZERO,
            end: WalSequence::ZERO,
            inherited: 0,
        };
        for candidate in policy.choose(&candidates, &backlog) {
            let (id, size) = (candidate.id, candidate.segment_bytes);
            assert_eq!(size, SEGMENT_BYTES);
            compact(&rig.context, id, size).await.unwrap().unwrap();
            merge(&rig.context, id, size).await.unwrap();
            self.waiting.insert(id, self.minute);
        }
    }

    async fn retain(&self, rig: &Rig) {
        let now = TimestampMs::new(MORNING + self.minute * MINUTE);
        for id in self.all() {
            retain(&rig.context, id, now).await.unwrap();
        }
    }

    /// Bytes of what was stored from a minute on.
    fn bytes_since(&self, id: TopicPartition, minute: i64) -> u64 {
        let stored = self.stored[&id].iter();
        let fresh = stored.filter(|stored| stored.minute >= minute);
        fresh.map(|stored| stored.bytes).sum()
    }

    /// Bytes that the topics' settings keep.
    fn live_bytes(&self) -> u64 {
        let clicks = self.clicks.iter();
        let clicks = clicks.map(|id| self.bytes_since(*id, self.minute - KEEP_MINUTES));
        let events = self.events.iter();
        let events = events.map(|id| self.bytes_since(*id, 0).min(KEEP_BYTES));
        clicks.chain(events).sum()
    }

    fn grace_bytes(&self) -> u64 {
        let all = self.all().into_iter();
        all.map(|id| self.bytes_since(id, self.minute - GRACE_MINUTES))
            .sum()
    }

    fn assert_bucket(&self, world: &World, lives: usize) {
        let objects = world.memory.objects();
        let bytes: u64 = objects.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let (live, grace) = (self.live_bytes(), self.grace_bytes());
        assert!(
            bytes as f64 <= 1.1 * live as f64 + grace as f64,
            "minute {}: {bytes} bytes in the bucket, {live} live, {grace} of the grace period",
            self.minute
        );
        // A segment and its index for each half of a segment's bytes, since merges fill them; the
        // manifests; the first object and the fence of each life; the objects of the grace period
        // and their bundles.
        let segments = 2 * (live + grace) / (SEGMENT_BYTES / 2);
        let partitions = 2 * self.all().len() as u64;
        let wal = GRACE_MINUTES as u64 * FLUSHES_A_MINUTE as u64 * self.all().len() as u64;
        let most = segments + partitions + 2 * lives as u64 + wal + 2;
        assert!(
            objects.len() as u64 <= most,
            "minute {}: {} objects, at most {most} were expected",
            self.minute,
            objects.len()
        );
    }

    async fn assert_readable(&self, rig: &Rig) {
        for id in self.all() {
            let start = rig.served_from(id).unwrap();
            let stored = &self.stored[&id];
            let expected: Vec<i64> = stored
                .iter()
                .map(|stored| stored.base)
                .filter(|base| *base >= start)
                .collect();
            assert_eq!(expected.first(), Some(&start), "the log starts at a batch");
            assert_eq!(
                rig.scan(id, start).await,
                expected,
                "minute {}",
                self.minute
            );
            let oldest = stored.iter().find(|stored| stored.base == start).unwrap();
            if self.clicks.contains(&id) {
                let must = (self.minute - KEEP_MINUTES).max(0);
                let may = must - GRACE_MINUTES;
                assert!(oldest.minute <= must, "{id}: young records are gone");
                assert!(oldest.minute >= may, "{id}: old records are there");
            } else {
                let kept = self.bytes_since(id, 0) - self.bytes_before(id, start);
                let all = self.bytes_since(id, 0);
                assert!(kept >= KEEP_BYTES.min(all), "{id}: too much is gone");
                let most = KEEP_BYTES + 2 * SEGMENT_BYTES;
                assert!(kept <= most, "{id}: {kept} bytes are kept");
            }
        }
    }

    fn bytes_before(&self, id: TopicPartition, base: i64) -> u64 {
        let stored = self.stored[&id].iter();
        let before = stored.filter(|stored| stored.base < base);
        before.map(|stored| stored.bytes).sum()
    }
}

impl Rig {
    async fn create_with(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, String)],
    ) -> Vec<TopicPartition> {
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        let new = NewTopic {
            name: TopicName::new(name).unwrap(),
            partitions: partitions as u32,
            config: TopicConfig::from_overrides(settings.collect()).unwrap(),
        };
        let topic = self.served.catalog.create(new).await.unwrap();
        topic.partitions.iter().map(|handle| handle.id).collect()
    }
}

#[test]
fn a_day_of_traffic_leaves_what_is_live_and_nothing_else() {
    test(async {
        let world = World::new();
        let mut rig = world.start_as(Some(1)).await;
        let segment = ("segment.bytes", SEGMENT_BYTES.to_string());
        let by_time = ("retention.ms", (KEEP_MINUTES * MINUTE).to_string());
        let clicks = rig
            .create_with("clicks", 3, &[segment.clone(), by_time])
            .await;
        let for_ever = ("retention.ms", "-1".to_owned());
        let by_size = ("retention.bytes", KEEP_BYTES.to_string());
        let events = rig
            .create_with("events", 2, &[segment, for_ever, by_size])
            .await;
        let mut day = Day {
            random: SmallRng::seed_from_u64(1),
            minute: 0,
            clicks,
            events,
            stored: HashMap::new(),
            waiting: HashMap::new(),
            flushes: 0,
        };
        let mut lives = 1;
        for minute in 0..DAY_MINUTES {
            day.minute = minute;
            day.traffic(&rig).await;
            day.compact(&rig).await;
            if minute % RETENTION_EVERY == 0 {
                day.retain(&rig).await;
            }
            rig.collect().await;
            if minute % LOOK_EVERY == LOOK_EVERY - 1 {
                day.retain(&rig).await;
                day.assert_bucket(&world, lives);
                day.assert_readable(&rig).await;
            }
            if minute % LIFE_MINUTES == LIFE_MINUTES - 1 {
                // Killed and started again, killed and replaced by another, ended in good order.
                match lives % 3 {
                    0 => rig.finish().await,
                    _ => rig.crash().await,
                }
                lives += 1;
                rig = world.start_as(Some(1 + (lives % 3 == 1) as i32)).await;
            }
        }
        assert!(day.flushes >= 2_000, "{}", day.flushes);
        rig.finish().await;
    });
}
