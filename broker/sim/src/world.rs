//! One run: clients, two shards, the flush scheduler, the store, and crashes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use broker::partition::epochs::EpochHistory;
use broker::partition::producers::{ProducerBatch, Producers};
use broker::partition::{
    Append, Appended, PartitionHandle, PartitionImage, PartitionLog, RunSlot, SealedSection,
    Ticket, WalLocation, run as runs,
};
use broker::shard::ShardId;
use broker::wal::{Scheduler, SchedulerConfig, Sealed, Step, UploadWindow};
use bytes::{Bytes, BytesMut};
use segment::batch::BatchHeader;
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::wal::{
    ProducerBatch as StoredProducer, ProducerBatchKind, SectionBody, WalHeader, WalSection, encode,
};
use segment::{
    LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, SessionId,
    TimestampMs, TopicId, TopicPartition, WalSequence,
};

use crate::random::Random;
use crate::store::{BROKER, Store};

const PARTITIONS: i32 = 3;
const CLIENTS: u64 = 4;
const FIRST: WalSequence = WalSequence::new(1);

/// A defect to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// None: the code as it is.
    None,
    /// Clients are answered when their object is stored, without waiting for those before it.
    AcknowledgeOutOfSequence,
    /// A restart forgets which batches producers have sent.
    ForgetProducers,
    /// A restart takes over without a fence: a late upload of the dead session still lands.
    NoFence,
}

/// What broke a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// An acknowledged batch is not where it was acknowledged.
    Lost(TopicPartition, Offset),
    /// A batch of an idempotent producer is in the log twice.
    Duplicate(TopicPartition, u64),
    /// The high watermark fell.
    HighWatermarkFell(TopicPartition),
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Batches acknowledged.
    pub acknowledged: usize,
    /// Times the process died.
    pub crashes: usize,
    /// The first broken promise.
    pub violation: Option<Violation>,
}

struct Client {
    producer: ProducerId,
    partition: TopicPartition,
    next: i32,
    /// The batch that waits for its answer, and whether it is under way.
    waiting: Option<(u64, i32, bool)>,
}

struct Upload {
    session: SessionId,
    sequence: WalSequence,
    bytes: Bytes,
    sections: Vec<(TopicPartition, Offset, WalLocation)>,
}

struct World {
    random: Random,
    bug: Bug,
    now: Duration,
    store: Store,
    sessions: Vec<SessionId>,
    logs: BTreeMap<TopicPartition, PartitionLog>,
    scheduler: Scheduler,
    uploads: Vec<Upload>,
    stored: BTreeMap<WalSequence, Vec<(TopicPartition, Offset, WalLocation)>>,
    clients: Vec<Client>,
    next_batch: u64,
    acknowledged: BTreeMap<(TopicPartition, Offset), u64>,
    watermarks: BTreeMap<TopicPartition, Offset>,
    early: BTreeSet<u64>,
    crashes: usize,
    violation: Option<Violation>,
}

/// Runs `steps` events of the world that `seed` decides.
pub fn run(seed: u64, steps: usize, bug: Bug) -> Outcome {
    let mut world = World::new(seed, bug);
    world.restart();
    for _ in 0..steps {
        world.step();
        if world.violation.is_some() {
            break;
        }
    }
    world.calm();
    Outcome {
        acknowledged: world.acknowledged.len(),
        crashes: world.crashes,
        violation: world.violation,
    }
}

fn scheduler() -> Scheduler {
    let config = SchedulerConfig {
        interval: Duration::from_millis(10),
        window: UploadWindow {
            least: 2,
            most: 5,
            bytes: 600,
        },
    };
    Scheduler::new(config, FIRST)
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new(TopicId::new([7; 16]), PartitionIndex::new(index))
}

fn batch(id: u64, client: &Client, sequence: i32) -> (BytesMut, BatchHeader) {
    let mut builder = RecordBatchBuilder::new().producer(
        client.producer,
        ProducerEpoch::ZERO,
        Sequence::new(sequence),
    );
    let value = id.to_be_bytes();
    let record = NewRecord {
        timestamp: TimestampMs::new(1),
        key: None,
        value: Some(&value),
        headers: &[],
    };
    builder.push(record).expect("a small record");
    let bytes = builder.build().expect("a small batch");
    let header = BatchHeader::parse(&bytes).expect("a built batch");
    (BytesMut::from(&bytes[..]), header)
}

/// The number that a batch of the world carries as its last bytes (the record has no headers).
fn batch_id(bytes: &[u8]) -> u64 {
    let end = bytes.len() - 1;
    u64::from_be_bytes(bytes[end - 8..end].try_into().expect("eight bytes"))
}

impl World {
    fn new(seed: u64, bug: Bug) -> Self {
        let client = |index: u64| Client {
            producer: ProducerId::new(index as i64),
            partition: partition(index as i32 % PARTITIONS),
            next: 0,
            waiting: None,
        };
        Self {
            random: Random::new(seed),
            bug,
            now: Duration::ZERO,
            store: Store::default(),
            sessions: Vec::new(),
            logs: BTreeMap::new(),
            scheduler: scheduler(),
            uploads: Vec::new(),
            stored: BTreeMap::new(),
            clients: (0..CLIENTS).map(client).collect(),
            next_batch: 1,
            acknowledged: BTreeMap::new(),
            watermarks: BTreeMap::new(),
            early: BTreeSet::new(),
            crashes: 0,
            violation: None,
        }
    }

    fn session(&self) -> SessionId {
        *self.sessions.last().expect("a session has begun")
    }

    fn step(&mut self) {
        self.now += Duration::from_micros(self.random.below(4_000));
        match self.random.below(100) {
            0..40 => self.send(),
            40..70 => self.flush(),
            70..97 => self.land(),
            _ => {
                self.crashes += 1;
                self.restart();
                self.check();
            }
        }
    }

    /// A client sends its next batch, or sends again what was not answered.
    fn send(&mut self) {
        let index = self.random.below(CLIENTS) as usize;
        let fresh = self.next_batch;
        let client = &mut self.clients[index];
        let (id, sequence) = match client.waiting {
            Some((id, sequence, _)) => (id, sequence),
            None => {
                self.next_batch += 1;
                (fresh, client.next)
            }
        };
        client.waiting = Some((id, sequence, true));
        let (bytes, header) = batch(id, client, sequence);
        let partition = client.partition;
        let ticket = Some(Ticket(index as u64));
        let log = self
            .logs
            .get_mut(&partition)
            .expect("every partition is open");
        let append = Append {
            memory: bytes.len() as u64,
            bytes,
            header,
            ticket,
            now: TimestampMs::new(1),
        };
        match log.append(append) {
            Ok(Appended::Pending) => self.scheduler.dirty(ShardId(0)),
            Ok(Appended::Joined) => {}
            Ok(Appended::Durable { base_offset }) => self.answered(index, base_offset),
            // Only a log that forgot its producers refuses what its client sends in order.
            Err(_) => self.violation = Some(Violation::Lost(partition, Offset::NONE)),
        }
    }

    fn answered(&mut self, client: usize, offset: Offset) {
        let client = &mut self.clients[client];
        let Some((id, sequence, _)) = client.waiting.take() else {
            return;
        };
        client.next = sequence + 1;
        self.acknowledged.insert((client.partition, offset), id);
    }

    fn flush(&mut self) {
        self.scheduler.store_is_troubled(self.random.one_in(4));
        self.scheduler.backlog_grows(self.random.one_in(8));
        let Step::Seal { sequence, .. } = self.scheduler.step(self.now) else {
            return;
        };
        let sealed: Vec<SealedSection> = self
            .logs
            .values_mut()
            .filter_map(|log| log.seal())
            .collect();
        if sealed.is_empty() {
            self.scheduler.sealed(sequence, Sealed::Empty);
            return;
        }
        let bytes = sealed.iter().map(|section| section.run.bytes()).sum();
        self.scheduler.sealed(sequence, Sealed::Object(bytes));
        let session = self.session();
        let header = WalHeader::data(BROKER, session, sequence, None);
        let object = encode(header, sealed.iter().map(section).collect());
        let location = |range| WalLocation {
            key: "wal".into(),
            session,
            sequence,
            range,
        };
        let sections = object.directory.entries.iter().map(|entry| {
            let range = entry
                .inline_range()
                .expect("sections of the world are inline");
            (entry.topic_partition(), entry.first_offset, location(range))
        });
        let sections = sections.collect();
        let bytes = Bytes::from(object.to_vec());
        self.uploads.push(Upload {
            session,
            sequence,
            bytes,
            sections,
        });
    }

    /// One of the uploads under way, in any order and of any session, reaches the store. Nobody fences a live
    /// session in this world, so an object that is there already is our own.
    fn land(&mut self) {
        if self.uploads.is_empty() {
            return;
        }
        let index = self.random.below(self.uploads.len() as u64) as usize;
        let upload = self.uploads.swap_remove(index);
        let (session, sequence) = (upload.session, upload.sequence);
        let created = self.store.create(session, sequence, upload.bytes.clone());
        if session != self.session() {
            return;
        }
        // A reply that is lost: the same bytes are sent again, and found to be there already.
        if created && self.random.one_in(4) {
            self.uploads.push(upload);
            return;
        }
        if self.bug == Bug::AcknowledgeOutOfSequence {
            self.answer_early(&upload.sections);
        }
        self.stored.insert(upload.sequence, upload.sections);
        for sequence in self.scheduler.stored(upload.sequence) {
            let sections = self
                .stored
                .remove(&sequence)
                .expect("stored before acknowledged");
            for (id, first, location) in sections {
                let log = self.logs.get_mut(&id).expect("every partition is open");
                let done = log.acknowledge(first, location, 0).completions;
                for completion in done {
                    self.answered(completion.ticket.0 as usize, completion.base_offset);
                }
            }
        }
    }

    /// The planted defect: answers the clients of a section as soon as it is stored.
    fn answer_early(&mut self, sections: &[(TopicPartition, Offset, WalLocation)]) {
        for (id, _, location) in sections {
            let bytes =
                self.store
                    .read(location.session, location.sequence, location.range.clone());
            let run = runs::parse(&bytes).expect("whole batches");
            for batch in run.batches() {
                let number = batch_id(&run.batch_bytes(batch));
                self.acknowledged.insert((*id, batch.base), number);
                self.early.insert(number);
            }
        }
    }

    /// The process dies and comes back: a new session takes over, as a taker does.
    fn restart(&mut self) {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&self.random.bits().to_be_bytes());
        let session = SessionId::new(name);
        let dead = std::mem::take(&mut self.logs);
        for (id, log) in dead {
            self.watermarks.insert(id, log.high_watermark());
            log.close();
        }
        let mut found: BTreeMap<TopicPartition, VecDeque<(RunSlot, Vec<StoredProducer>)>> =
            BTreeMap::new();
        for dead in self.sessions.clone() {
            for (sequence, directory) in self.take(dead, session) {
                for entry in directory.entries {
                    let range = entry
                        .inline_range()
                        .expect("sections of the world are inline");
                    let slot = RunSlot {
                        first: entry.first_offset,
                        last: entry.last_offset,
                        max_timestamp: entry.max_timestamp,
                        record_count: u64::from(entry.record_count),
                        location: WalLocation {
                            key: "wal".into(),
                            session: dead,
                            sequence,
                            range,
                        },
                        acknowledged_ms: 0,
                    };
                    let id = TopicPartition::new(entry.topic, entry.partition);
                    found
                        .entry(id)
                        .or_default()
                        .push_back((slot, entry.producers));
                }
            }
        }
        for index in 0..PARTITIONS {
            let id = partition(index);
            self.open(id, found.remove(&id).unwrap_or_default());
        }
        self.sessions.push(session);
        self.scheduler = scheduler();
        self.stored.clear();
        for client in &mut self.clients {
            if let Some((_, _, under_way)) = &mut client.waiting {
                *under_way = false;
            }
        }
    }

    fn take(
        &mut self,
        dead: SessionId,
        by: SessionId,
    ) -> Vec<(WalSequence, segment::wal::WalDirectory)> {
        if self.bug == Bug::NoFence {
            return self.store.peek(dead, FIRST);
        }
        self.store.fence(dead, FIRST, by)
    }

    fn open(&mut self, id: TopicPartition, found: VecDeque<(RunSlot, Vec<StoredProducer>)>) {
        let mut slots: Vec<RunSlot> = Vec::new();
        let mut producers = Producers::default();
        for (slot, batches) in found {
            let end = slots
                .last()
                .map_or(Offset::ZERO, |s| s.last.next().expect("in range"));
            if slot.first != end {
                // Two histories: what a missing fence leads to.
                self.violation = Some(Violation::Lost(id, slot.first));
                continue;
            }
            slots.push(slot);
            if self.bug != Bug::ForgetProducers {
                batches
                    .iter()
                    .for_each(|b| producers.record(restored(b), TimestampMs::new(1)));
            }
        }
        let log = PartitionLog::open(PartitionImage {
            handle: Arc::new(PartitionHandle::new(id, ShardId(0))),
            leader_epoch: LeaderEpoch::ZERO,
            log_start: Offset::ZERO,
            compacted_end: Offset::ZERO,
            epochs: EpochHistory::default(),
            segments: Vec::new(),
            slots,
            producers,
        });
        if self
            .watermarks
            .get(&id)
            .is_some_and(|before| log.high_watermark() < *before)
        {
            self.violation = Some(Violation::HighWatermarkFell(id));
        }
        self.logs.insert(id, log);
    }

    /// Compares what is in the logs with what was acknowledged.
    fn check(&mut self) {
        for (id, log) in &self.logs {
            let mut present = BTreeMap::new();
            let mut seen = BTreeSet::new();
            let mut offset = Offset::ZERO;
            while offset < log.high_watermark() {
                let run = match log.run_in_memory(offset) {
                    Some(run) => run,
                    None => Arc::new(self.load(log, offset)),
                };
                for batch in run.batches() {
                    let number = batch_id(&run.batch_bytes(batch));
                    present.insert(batch.base, number);
                    if !seen.insert(number) {
                        self.violation = Some(Violation::Duplicate(*id, number));
                        return;
                    }
                }
                offset = run.last().next().expect("offsets in range");
            }
            let expected = self
                .acknowledged
                .range((*id, Offset::ZERO)..=(*id, Offset::new(i64::MAX)));
            for ((_, offset), number) in expected {
                if present.get(offset) != Some(number) {
                    self.violation = Some(Violation::Lost(*id, *offset));
                    return;
                }
            }
        }
    }

    fn load(&self, log: &PartitionLog, offset: Offset) -> runs::Run {
        let slot = log
            .slot_at(offset)
            .expect("an acknowledged offset is in a section");
        let place = &slot.location;
        let bytes = self
            .store
            .read(place.session, place.sequence, place.range.clone());
        runs::parse(&bytes).expect("stored batches are whole")
    }

    /// Faults off: everything under way ends, then everything is checked.
    fn calm(&mut self) {
        for _ in 0..10_000 {
            if self.violation.is_some() || (self.scheduler.is_quiet() && self.uploads.is_empty()) {
                break;
            }
            self.now += Duration::from_millis(10);
            self.flush();
            self.land();
        }
        if self.violation.is_none() {
            assert!(
                self.scheduler.is_quiet(),
                "everything under way ends once faults are off"
            );
            self.check();
        }
    }
}

fn restored(stored: &StoredProducer) -> ProducerBatch {
    ProducerBatch {
        producer_id: stored.producer_id,
        epoch: stored.epoch,
        base_sequence: stored.base_sequence,
        count: stored.record_count,
        base_offset: stored.base_offset,
        max_timestamp: stored.max_timestamp,
    }
}

fn section(sealed: &SealedSection) -> WalSection {
    let producer = |batch: &ProducerBatch| StoredProducer {
        producer_id: batch.producer_id,
        epoch: batch.epoch,
        base_sequence: batch.base_sequence,
        record_count: batch.count,
        base_offset: batch.base_offset,
        last_offset: batch.last_offset(),
        max_timestamp: batch.max_timestamp,
        kind: ProducerBatchKind::Idempotent,
    };
    WalSection {
        topic: sealed.id.topic,
        partition: sealed.id.partition,
        leader_epoch: sealed.leader_epoch,
        first_offset: sealed.run.first(),
        last_offset: sealed.run.last(),
        max_timestamp: sealed.run.max_timestamp(),
        max_timestamp_offset: None,
        record_count: u32::try_from(sealed.record_count).expect("few records"),
        len: sealed.run.bytes(),
        crc: sealed
            .hasher
            .clone()
            .expect("sections of the world are small")
            .finalize(),
        producers: sealed.producers.iter().map(producer).collect(),
        body: SectionBody::Inline(sealed.run.chunks().cloned().collect()),
    }
}
