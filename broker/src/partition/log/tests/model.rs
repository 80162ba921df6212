//! The log against `check::Log`, which was written from Kafka's rules and shares nothing with it: random appends, retries,
//! flushes, evictions, segments, deletions and changes of owner, after each of which both must hold the same.

use std::collections::{HashMap, VecDeque};

use check::{Batch, Identity, Log, Refusal, Taken, Value};
use proptest::prelude::*;
use segment::batch::Batches;
use segment::record::{DecodeLimits, RecordSet};

use super::*;
use crate::partition::producers::ProducerEntry;
use crate::partition::view::PartitionHandle;

/// What is done to the log; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    Plain(u8),
    /// Producer, records, and how its sequence relates to the one that follows.
    Idempotent(u8, u8, Sent),
    Seal,
    Acknowledge,
    Evict,
    /// A segment of so many bytes; whether its upload succeeds.
    Compact(u16, bool),
    DeleteBelow(u8),
    /// Another owner; so many of the sections that were not acknowledged are found in the store.
    TakeOver(u8),
}

#[derive(Debug, Clone, Copy)]
enum Sent {
    InOrder,
    /// So many batches ago, once more.
    Again(u8),
    Gap,
    OfOldEpoch,
    OfNewEpoch,
    /// Of a new epoch that does not begin at 0.
    OfNewEpochAstray,
}

fn step() -> impl Strategy<Value = Step> {
    let sent = prop_oneof![
        6 => Just(Sent::InOrder),
        4 => (0_u8..8).prop_map(Sent::Again),
        1 => Just(Sent::Gap),
        1 => Just(Sent::OfOldEpoch),
        1 => Just(Sent::OfNewEpoch),
        1 => Just(Sent::OfNewEpochAstray),
    ];
    prop_oneof![
        2 => (1_u8..4).prop_map(Step::Plain),
        8 => (0_u8..3, 1_u8..4, sent).prop_map(|(id, count, sent)| Step::Idempotent(id, count, sent)),
        4 => Just(Step::Seal),
        4 => Just(Step::Acknowledge),
        1 => Just(Step::Evict),
        1 => (0_u16..600, any::<bool>()).prop_map(|(bytes, works)| Step::Compact(bytes, works)),
        1 => any::<u8>().prop_map(Step::DeleteBelow),
        1 => (0_u8..4).prop_map(Step::TakeOver),
    ]
}

/// What a producer has sent: identity and number of records of each batch.
#[derive(Default)]
struct Client {
    epoch: i16,
    next: i32,
    sent: VecDeque<(i16, i32, u8)>,
}

impl Client {
    fn identity(&self, id: u8, count: u8, sent: Sent) -> (Identity, u8) {
        let (epoch, sequence, count) = match sent {
            Sent::InOrder => (self.epoch, self.next, count),
            Sent::Again(ago) => {
                let at = usize::from(ago) % self.sent.len().max(1);
                let first = (self.epoch, self.next, count);
                self.sent.get(at).copied().unwrap_or(first)
            }
            Sent::Gap => (self.epoch, self.next + 3, count),
            Sent::OfOldEpoch => ((self.epoch - 1).max(0), self.next, count),
            Sent::OfNewEpoch => (self.epoch + 1, 0, count),
            Sent::OfNewEpochAstray => (self.epoch + 1, 5, count),
        };
        let id = i64::from(id);
        let identity = Identity {
            id,
            epoch,
            sequence,
        };
        (identity, count)
    }

    fn appended(&mut self, identity: Identity, count: u8) {
        self.epoch = identity.epoch;
        self.next = identity.sequence + i32::from(count);
        self.sent
            .push_front((identity.epoch, identity.sequence, count));
        self.sent.truncate(8);
    }
}

/// The log, the model, and a store.
struct World {
    log: PartitionLog,
    model: Log,
    clients: HashMap<u8, Client>,
    next_value: u64,
    next_ticket: u64,
    epoch: i32,
    sealed: VecDeque<SealedSection>,
    acknowledged: Vec<(SealedSection, WalLocation)>,
    objects: HashMap<String, Vec<u8>>,
    segments: Vec<ManifestSegment>,
    snapshot: Vec<(ProducerId, ProducerEntry)>,
    waits: HashMap<u64, i64>,
    wal: u64,
}

fn bytes_of(section: &SealedSection) -> Vec<u8> {
    let chunks = section.run.chunks();
    chunks.flat_map(|chunk| chunk.to_vec()).collect()
}

impl World {
    fn new() -> Self {
        Self {
            log: open(),
            model: Log::default(),
            clients: HashMap::new(),
            next_value: 0,
            next_ticket: 0,
            epoch: 3,
            sealed: VecDeque::new(),
            acknowledged: Vec::new(),
            objects: HashMap::new(),
            segments: Vec::new(),
            snapshot: Vec::new(),
            waits: HashMap::new(),
            wal: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Plain(count) => drop(self.append(None, count)),
            Step::Idempotent(id, count, sent) => {
                let client = self.clients.entry(id).or_default();
                let (identity, count) = client.identity(id, count, sent);
                if let Ok(Taken::Appended(_)) = self.append(Some(identity), count) {
                    let client = self.clients.entry(id).or_default();
                    client.appended(identity, count);
                }
            }
            Step::Seal => self.sealed.extend(self.log.seal()),
            Step::Acknowledge => self.acknowledge(),
            Step::Evict => drop(self.log.evict()),
            Step::Compact(bytes, works) => self.compact(u64::from(bytes), works),
            Step::DeleteBelow(part) => {
                let to = self.model.end() * i64::from(part) / 200;
                self.log.raise_log_start(Offset::new(to));
                self.model.delete_below(to);
                let start = self.log.log_start();
                self.segments.retain(|segment| segment.end > start);
            }
            Step::TakeOver(found) => self.take_over(usize::from(found)),
        }
    }

    /// Appends a batch to both, which must do the same with it.
    fn append(&mut self, identity: Option<Identity>, count: u8) -> Result<Taken, Refusal> {
        let values: Vec<Value> = (0..count).map(|_| self.value()).collect();
        let mut builder = RecordBatchBuilder::new();
        if let Some(identity) = identity {
            builder = builder.producer(
                ProducerId::new(identity.id),
                ProducerEpoch::new(identity.epoch),
                Sequence::new(identity.sequence),
            );
        }
        for value in &values {
            let record = NewRecord {
                timestamp: TimestampMs::new(100),
                key: None,
                value: Some(&value.0.to_be_bytes()),
                headers: &[],
            };
            builder.push(record).expect("a small record");
        }
        let bytes = builder.build().expect("a small batch");
        let header = BatchHeader::parse(&bytes).expect("a built batch");
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let done = self.log.append(Append {
            memory: bytes.len() as u64,
            bytes: BytesMut::from(&bytes[..]),
            header,
            ticket: Some(Ticket(ticket)),
            now: NOW,
        });
        let expected = self.model.append(Batch { identity, values });
        match (done, expected) {
            (Ok(Appended::Pending), Ok(Taken::Appended(base))) => {
                self.waits.insert(ticket, base);
            }
            (Ok(Appended::Joined), Ok(Taken::Known(base)))
                if base >= self.model.high_watermark() =>
            {
                self.waits.insert(ticket, base);
            }
            (Ok(Appended::Durable { base_offset }), Ok(Taken::Known(base)))
                if base < self.model.high_watermark() =>
            {
                assert_eq!(base_offset.get(), base);
            }
            (
                Err(AppendError::Sequence(SequenceError::OutOfOrder { .. })),
                Err(Refusal::OutOfOrder),
            )
            | (Err(AppendError::Sequence(SequenceError::Fenced { .. })), Err(Refusal::Fenced)) => {}
            (done, expected) => panic!("{identity:?}: {done:?}, the model says {expected:?}"),
        }
        expected
    }

    fn value(&mut self) -> Value {
        self.next_value += 1;
        Value(self.next_value)
    }

    fn store(&mut self, section: &SealedSection) -> WalLocation {
        self.wal += 1;
        let key = format!("wal-{}", self.wal);
        let body = bytes_of(section);
        let location = WalLocation {
            key: key.as_str().into(),
            session: SessionId::ZERO,
            sequence: WalSequence::new(self.wal),
            range: 0..body.len() as u64,
        };
        self.objects.insert(key, body);
        location
    }

    fn acknowledge(&mut self) {
        let Some(section) = self.sealed.pop_front() else {
            return;
        };
        let location = self.store(&section);
        let end = section.run.last().get() + 1;
        let first = section.run.first();
        let done = self.log.acknowledge(first, location.clone(), self.wal);
        self.model.acknowledge(end);
        for completion in &done.completions {
            let base = self.waits.remove(&completion.ticket.0);
            assert_eq!(base, Some(completion.base_offset.get()), "answered once");
            assert!(
                completion.base_offset.get() < end,
                "durable before it is told"
            );
        }
        let forgotten = self.waits.values().find(|base| **base < end);
        assert_eq!(forgotten, None, "everyone who waits for it is told");
        self.acknowledged.push((section, location));
    }

    fn compact(&mut self, bytes: u64, works: bool) {
        let Some(plan) = self.log.plan_segment(bytes) else {
            return;
        };
        if !works {
            return self.log.plan_failed();
        }
        let segment = stored(&plan);
        let parts = plan.parts.iter();
        let parts = parts.map(|(slot, _)| self.objects[&*slot.location.key].clone());
        let body = parts.collect::<Vec<_>>().concat();
        self.objects.insert(dir().segment(plan.base), body);
        self.log.compacted(SegmentRef::new(dir(), &segment));
        self.segments.push(segment);
        self.snapshot = plan.producers;
    }

    /// As a taker does: what segments do not hold is replayed from the sections in the store, producers from their
    /// snapshot and what follows it.
    fn take_over(&mut self, found: usize) {
        for _ in 0..found.min(self.sealed.len()) {
            let section = self.sealed.pop_front().expect("as many as there are");
            let location = self.store(&section);
            self.acknowledged.push((section, location));
        }
        self.sealed.clear();
        self.epoch += 1;
        let compacted_end = self.segments.last().map(|segment| segment.end);
        let log_start = self.log.log_start();
        let compacted_end = compacted_end.unwrap_or(self.log.compacted_end);
        let (mut producers, mut slots) = (Producers::default(), Vec::new());
        for (id, entry) in &self.snapshot {
            producers.restore(*id, entry.clone());
        }
        for (section, location) in &self.acknowledged {
            if section.run.first() < compacted_end {
                continue;
            }
            for batch in &section.producers {
                producers.record(*batch, NOW);
            }
            slots.push(RunSlot {
                first: section.run.first(),
                last: section.run.last(),
                max_timestamp: section.run.max_timestamp(),
                record_count: section.record_count,
                location: location.clone(),
                acknowledged_ms: 0,
            });
        }
        let epoch = LeaderEpoch::new(self.epoch);
        let id = self.log.id();
        let taken = PartitionLog::open(PartitionImage {
            handle: Arc::new(PartitionHandle::new(id, ShardId(0))),
            leader_epoch: epoch,
            log_start,
            compacted_end,
            epochs: EpochHistory::new(vec![(epoch, log_start)]),
            segments: self
                .segments
                .iter()
                .map(|it| SegmentRef::new(dir(), it))
                .collect(),
            slots,
            producers,
        });
        let closed = std::mem::replace(&mut self.log, taken).close();
        let waiting: Vec<u64> = closed.iter().map(|ticket| ticket.0).collect();
        assert_eq!(
            waiting.len(),
            self.waits.len(),
            "everyone who waits is told"
        );
        assert!(
            waiting
                .iter()
                .all(|ticket| self.waits.remove(ticket).is_some())
        );
        let end = self.log.log_end().get();
        assert!(
            self.model.take_over(end),
            "the end is one that may be committed"
        );
    }

    /// Everything that a reader can see, in memory and in the store.
    fn visible(&self) -> Vec<(i64, Value)> {
        let snapshot = self.log.handle.snapshot().expect("published");
        let (mut at, mut found) = (self.log.log_start(), Vec::new());
        while at < snapshot.high_watermark {
            let mut out = Vec::new();
            let body = match snapshot.read(at, u64::MAX, true, &mut out) {
                TailRead::Bytes(_) => out.concat(),
                TailRead::Cold => match self.log.place(at).expect("it lies somewhere") {
                    ColdPlace::Index { key, .. } => self.objects[&*key].clone(),
                    ColdPlace::Chunk { key, range, .. } => {
                        self.objects[&*key][range.start as usize..range.end as usize].to_vec()
                    }
                    ColdPlace::Lost { .. } => panic!("nothing is lost"),
                },
            };
            let mut next = at;
            for batch in Batches::until_truncated(&body) {
                let batch = batch.expect("a whole batch");
                batch.verify_crc().expect("the checksum of what was sent");
                let set = RecordSet::decode(batch.bytes, &DecodeLimits::default());
                for record in &set.expect("a batch that was built here") {
                    let record = record.expect("a record that was built here");
                    let value = record.value.and_then(|bytes| bytes.first_chunk());
                    let value = Value(u64::from_be_bytes(*value.expect("eight bytes")));
                    if record.offset >= at {
                        found.push((record.offset.get(), value));
                    }
                }
                next = next.max(batch.header.next_offset());
            }
            assert!(next > at, "a read brings a reader on");
            at = next;
        }
        found
    }

    fn compare(&self) {
        assert_eq!(self.log.log_end().get(), self.model.end(), "log end");
        assert_eq!(self.log.log_start().get(), self.model.start(), "log start");
        let high_watermark = self.model.high_watermark();
        assert_eq!(self.log.high_watermark().get(), high_watermark);
        assert_eq!(visible(&self.log), high_watermark, "what readers are told");
        assert_eq!(Some(self.visible()), self.model.read(self.model.start()));
    }
}

proptest! {
    #[test]
    fn the_log_holds_what_the_model_holds(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.compare();
        }
    }
}

#[test]
#[should_panic = "the model says"]
fn a_log_that_does_not_know_its_retries_differs_from_the_model() {
    rules::without(Rule::RetriesJoin, || {
        let mut world = World::new();
        world.take(&Step::Idempotent(0, 1, Sent::InOrder));
        world.take(&Step::Idempotent(0, 1, Sent::Again(0)));
    });
}
