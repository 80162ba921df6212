//! A partition whose history is made step by step, as brokers make it, and what of it counts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use coord::keys::cluster::{self, ClusterRecord, CommitMode};
use coord::keys::committed::{self, CommittedRecord};
use coord::keys::floor::{self, FloorRecord};
use coord::keys::partition::{self, Owner, PartitionRecord, Source};
use coord::keys::topic::{self, TopicRecord};
use coord::keys::{Keyspace, Record, encode};
use coord::kv::simulated::Simulated;
use coord::kv::{Key, Kv, Op, Txn, wait};
use segment::batch::{BatchHeader, Batches, Codec};
use segment::keys::{KeySpace, TopicDir};
use segment::kfs::KfsObject;
use segment::manifest::{Manifest, ManifestSegment, time_points};
use segment::record::{NewRecord, RecordBatchBuilder, RecordSet};
use segment::wal::{
    SectionBody, WalHeader, WalSection, WalSectionBuilder, encode as encode_wal, encode_directories,
};
use segment::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, SessionId, TimestampMs, TopicId, TopicName,
    TopicPartition, WalSequence,
};
use store::memory::MemoryStore;
use store::{Body, GetRange, ObjectKey, ObjectStore, PutCondition};

use crate::{Bucket, PartitionReader, ReadError, ReaderOptions, Topic};

/// Offset to value.
pub(super) type Log = BTreeMap<i64, String>;

/// One session of a broker.
struct Session {
    owner: Owner,
    /// Its next WAL object.
    next: u64,
    own: u64,
    /// Ends of its objects, for bundles.
    tails: BTreeMap<u64, Bytes>,
    /// It has been ended by another.
    is_dead: bool,
}

/// A committed section that no segment holds.
struct Uncompacted {
    session: usize,
    sequence: u64,
    end: Offset,
    chunks: Vec<Bytes>,
}

/// A segment.
#[derive(Clone)]
struct Stored {
    base: Offset,
    end: Offset,
    chunks: Vec<Bytes>,
    manifest: ManifestSegment,
}

pub(super) struct World {
    pub(super) store: MemoryStore,
    pub(super) kv: Simulated,
    pub(super) keys: KeySpace,
    pub(super) space: Keyspace,
    pub(super) id: TopicPartition,
    dir: TopicDir,
    mode: CommitMode,
    pub(super) record: PartitionRecord,
    sessions: Vec<Session>,
    /// The owner's, or the last owner's.
    current: usize,
    uncompacted: VecDeque<Uncompacted>,
    segments: Vec<Stored>,
    /// The offset of the next record.
    pub(super) end: Offset,
    /// What a reader must give.
    pub(super) live: Log,
    /// What a reader may give: also what log compaction has removed since.
    pub(super) ever: Log,
    /// The manifest is written after each compaction.
    pub(super) has_manifest: bool,
}

impl World {
    pub(super) fn new(mode: CommitMode) -> Self {
        let space = Keyspace::new("test").unwrap();
        let id = TopicPartition::new(TopicId::new([7; 16]), PartitionIndex::new(0));
        let mut world = Self {
            store: MemoryStore::new(),
            kv: Simulated::new(),
            keys: KeySpace::default(),
            space,
            id,
            dir: TopicDir::new(TopicName::new("orders").unwrap(), 0),
            mode,
            record: PartitionRecord::absent(),
            sessions: Vec::new(),
            current: 0,
            uncompacted: VecDeque::new(),
            segments: Vec::new(),
            end: Offset::ZERO,
            live: Log::new(),
            ever: Log::new(),
            has_manifest: true,
        };
        let record = ClusterRecord {
            cluster_id: "c".to_owned(),
            commit_mode: mode,
            created_ms: TimestampMs::ZERO,
        };
        world.put_key(cluster::key(&world.space), &record);
        world.put_topic(world.id.topic);
        world.take_begin(false);
        world.take_end(false);
        world
    }

    pub(super) fn put_topic(&self, topic: TopicId) {
        let record = TopicRecord {
            topic_id: topic,
            generation: 0,
            partition_count: 1,
            configs: BTreeMap::new(),
            created_ms: TimestampMs::ZERO,
        };
        self.put_key(topic::key(&self.space, &self.dir.name), &record);
    }

    fn put_key<T: Record>(&self, key: Key, record: &T) {
        let txn = Txn::new().and_then(Op::put(key, encode(record)));
        assert!(wait(self.kv.txn(txn)).unwrap().succeeded);
    }

    fn put_record(&self) {
        self.put_key(partition::key(&self.space, self.id), &self.record);
    }

    pub(super) fn put(&self, key: &str, chunks: Vec<Bytes>, condition: PutCondition) {
        let key = ObjectKey::new(key).unwrap();
        wait(self.store.put(key, Body::new(chunks), condition)).unwrap();
    }

    pub(super) fn delete(&self, key: &str) {
        wait(self.store.delete(vec![ObjectKey::new(key).unwrap()]));
    }

    pub(super) fn bytes(&self, key: &str) -> Bytes {
        wait(self.store.get(ObjectKey::new(key).unwrap(), GetRange::Full))
            .unwrap()
            .bytes
    }

    pub(super) fn bucket(&self) -> Bucket {
        let kv: Arc<dyn Kv> = Arc::new(self.kv.clone());
        Bucket::new(
            Arc::new(self.store.clone()),
            kv,
            self.keys.clone(),
            self.space.clone(),
        )
    }

    pub(super) fn topic(&self) -> Topic {
        wait(self.bucket().topic(&self.dir.name)).unwrap().unwrap()
    }

    pub(super) fn reader(&self, run_bytes: u64) -> PartitionReader {
        let options = ReaderOptions { run_bytes };
        let partition = self.id.partition;
        self.bucket()
            .reader_with(&self.topic(), partition, options)
            .unwrap()
    }

    fn me(&mut self) -> &mut Session {
        &mut self.sessions[self.current]
    }

    fn section(&mut self, batches: &[(usize, Codec)], salt: &str, log: &mut Log) -> WalSection {
        let mut builder = WalSectionBuilder::new(self.id, self.record.leader_epoch, self.end);
        for (count, codec) in batches {
            let base = builder.next_offset();
            let mut batch = RecordBatchBuilder::new()
                .base_offset(base)
                .leader_epoch(self.record.leader_epoch)
                .codec(*codec);
            for index in 0..*count as i64 {
                let offset = base.get() + index;
                let value = format!("{salt}{offset}{}", "x".repeat(offset as usize % 40));
                let key = format!("k{}", offset % 7);
                log.insert(offset, value.clone());
                batch
                    .push(NewRecord {
                        timestamp: time_of(offset),
                        key: Some(key.as_bytes()),
                        value: Some(value.as_bytes()),
                        headers: &[("h", Some(b"1"))],
                    })
                    .unwrap();
            }
            let bytes = batch.build().unwrap();
            let header = BatchHeader::parse(&bytes).unwrap();
            builder.push(&header, bytes).unwrap();
        }
        builder.finish()
    }

    fn put_wal(&mut self, sequence: u64, sections: Vec<WalSection>) {
        let keys = self.keys.clone();
        let session = self.me();
        let Owner {
            session: id,
            broker,
        } = session.owner;
        let at = WalSequence::new(sequence);
        let header = match sections.is_empty() {
            false => WalHeader::data(broker, id, at, None),
            true => WalHeader::empty(broker, id, at, None),
        };
        let object = encode_wal(header, sections);
        session.tails.insert(sequence, object.tail());
        self.put(
            &keys.wal(broker, id, at),
            object.chunks,
            PutCondition::IfAbsent,
        );
    }

    /// The owner flushes batches of this partition, in an object of their own or not; with none, an
    /// object without this partition.
    pub(super) fn flush(&mut self, batches: &[(usize, Codec)], own: bool) {
        let sequence = self.me().next;
        let mut sections = Vec::new();
        let mut held = None;
        if !batches.is_empty() {
            let mut log = Log::new();
            let section = self.section(batches, "v", &mut log);
            self.live.extend(log.clone());
            self.ever.extend(log);
            let SectionBody::Inline(chunks) = section.body.clone() else {
                panic!("built inline");
            };
            let end = section.last_offset.next().unwrap();
            let first = self.end;
            self.end = end;
            held = Some((end, chunks.clone()));
            let section = match own {
                false => section,
                true => {
                    let counter = self.me().own;
                    self.me().own += 1;
                    let Owner { session, broker } = self.me().owner;
                    let kfs = KfsObject::build(first, TimestampMs::ZERO, chunks).unwrap();
                    let key = self.keys.own(broker, session, counter);
                    self.put(&key, kfs.chunks, PutCondition::IfAbsent);
                    section.into_own(counter).0
                }
            };
            sections.push(section);
        }
        self.put_wal(sequence, sections);
        self.me().next += 1;
        let session = self.current;
        if let Some((end, chunks)) = held {
            self.uncompacted.push_back(Uncompacted {
                session,
                sequence,
                end,
                chunks,
            });
        }
        if self.mode == CommitMode::Guarded {
            let end = WalSequence::new(self.me().next);
            let owner = self.me().owner;
            let key = committed::key(&self.space, owner.session);
            self.put_key(key, &CommittedRecord { end });
        }
    }

    /// Objects that never count: the one before them is still on its way.
    pub(super) fn flush_out_of_order(&mut self, count: u64) {
        for ahead in 1..=count {
            let section = self.section(&[(3, Codec::None)], "lost", &mut Log::new());
            let sequence = self.me().next + ahead;
            self.put_wal(sequence, vec![section]);
            self.me().tails.remove(&sequence);
        }
    }

    /// An object that is stored and, in the guarded mode, not committed: it counts only in the
    /// conditional one.
    pub(super) fn flush_and_die(&mut self) {
        if self.mode == CommitMode::Conditional {
            return self.flush(&[(2, Codec::None)], false);
        }
        let section = self.section(&[(2, Codec::None)], "lost", &mut Log::new());
        let sequence = self.me().next;
        self.put_wal(sequence, vec![section]);
        self.me().tails.remove(&sequence);
    }

    /// The owner gives the partition up.
    pub(super) fn release(&mut self, narrows: bool) {
        let end = WalSequence::new(self.me().next);
        self.record.sources.last_mut().unwrap().end_sequence = Some(end);
        self.record.owner = None;
        if narrows {
            self.narrow();
        }
        self.record.sources.retain(|source| !source.is_empty());
        self.put_record();
    }

    /// The first transaction of a takeover: from an owner that has released it or is dead, by a new
    /// session, or by one that has had it before and lives.
    pub(super) fn take_begin(&mut self, again: bool) {
        if self.record.owner.is_some() {
            self.me().is_dead = true;
        }
        let earlier = self.sessions.iter().position(|session| !session.is_dead);
        match earlier.filter(|earlier| again && *earlier != self.current) {
            Some(earlier) => {
                self.current = earlier;
                // It has had other partitions meanwhile.
                self.flush(&[], false);
                self.flush(&[], false);
            }
            None => self.begin_session(),
        }
        let (owner, next) = (self.me().owner, self.me().next);
        self.record.leader_epoch = self.record.leader_epoch.next().unwrap_or(LeaderEpoch::ZERO);
        self.record.owner = Some(owner);
        self.record.sources.push(Source {
            session: owner.session,
            broker: owner.broker,
            first_sequence: WalSequence::new(next),
            end_sequence: None,
        });
        self.put_record();
    }

    fn begin_session(&mut self) {
        let number = self.sessions.len() as u8 + 1;
        let owner = Owner {
            session: SessionId::new([number; 16]),
            broker: BrokerId::new(i32::from(number % 3)),
        };
        let open = encode_wal(WalHeader::open(owner.broker, owner.session), Vec::new());
        let tails = BTreeMap::from([(0, open.tail())]);
        let key = self
            .keys
            .wal(owner.broker, owner.session, WalSequence::ZERO);
        self.put(&key, open.chunks, PutCondition::IfAbsent);
        self.current = self.sessions.len();
        self.sessions.push(Session {
            owner,
            next: 1,
            own: 0,
            tails,
            is_dead: false,
        });
    }

    /// Ends the sessions of open sources but the last.
    pub(super) fn fence(&mut self) {
        if self.mode == CommitMode::Guarded {
            return;
        }
        let me = self.me().owner.session;
        for source in &self.record.sources {
            if source.is_open() && source.session != me {
                let dead = &self.sessions[self.session_of(source.session)];
                let Owner { session, broker } = dead.owner;
                let at = WalSequence::new(dead.next);
                let fence = encode_wal(WalHeader::fence(broker, session, at, me), Vec::new());
                let key = ObjectKey::new(self.keys.wal(broker, session, at)).unwrap();
                let body = Body::new(fence.chunks);
                // It may be there from an earlier try.
                let _ = wait(self.store.put(key, body, PutCondition::IfAbsent));
            }
        }
    }

    /// The second transaction of a takeover.
    pub(super) fn take_end(&mut self, narrows: bool) {
        let me = self.me().owner.session;
        let ends: Vec<(SessionId, u64)> = self
            .sessions
            .iter()
            .map(|session| (session.owner.session, session.next))
            .collect();
        for source in &mut self.record.sources {
            if source.is_open() && source.session != me {
                let end = ends.iter().find(|(session, _)| *session == source.session);
                source.end_sequence = Some(WalSequence::new(end.unwrap().1));
            }
        }
        if narrows {
            self.narrow();
        }
        self.record.sources.retain(|source| !source.is_empty());
        self.put_record();
    }

    fn session_of(&self, session: SessionId) -> usize {
        let is_it = |other: &Session| other.owner.session == session;
        self.sessions.iter().position(is_it).unwrap()
    }

    /// Closed sources become as narrow as their sections.
    fn narrow(&mut self) {
        let sections: Vec<(SessionId, u64)> = self
            .uncompacted
            .iter()
            .map(|section| {
                (
                    self.sessions[section.session].owner.session,
                    section.sequence,
                )
            })
            .collect();
        for source in &mut self.record.sources {
            let Some(end) = source.end_sequence else {
                continue;
            };
            let within = |(session, at): &&(SessionId, u64)| {
                *session == source.session && source.first_sequence.get() <= *at && *at < end.get()
            };
            let held: Vec<u64> = sections.iter().filter(within).map(|(_, at)| *at).collect();
            match (held.first(), held.last()) {
                (Some(first), Some(last)) => {
                    source.first_sequence = WalSequence::new(*first);
                    source.end_sequence = Some(WalSequence::new(last + 1));
                }
                _ => source.end_sequence = Some(source.first_sequence),
            }
        }
    }

    /// Moves some sections into a segment.
    pub(super) fn compact(&mut self, sections: usize) {
        let taken = sections.min(self.uncompacted.len());
        if taken == 0 {
            return;
        }
        let mut chunks = Vec::new();
        let mut end = self.record.compacted_end;
        for section in self.uncompacted.drain(..taken) {
            chunks.extend(section.chunks);
            end = section.end;
        }
        let base = self.record.compacted_end;
        let stored = self.put_segment(base, end, chunks, PutCondition::IfAbsent, true);
        self.segments.push(stored);
        self.record.compacted_end = end;
        self.trim();
        self.put_record();
        self.put_manifest();
    }

    fn trim(&mut self) {
        let next = self.uncompacted.front().map(|section| {
            let session = self.sessions[section.session].owner.session;
            (session, section.sequence)
        });
        let sources = &mut self.record.sources;
        let at = match next {
            Some((session, sequence)) => sources
                .iter()
                .position(|source| source.contains(session, WalSequence::new(sequence)))
                .unwrap(),
            // Only the open source of the owner is left.
            None => sources.len() - usize::from(sources.last().is_some_and(Source::is_open)),
        };
        sources.drain(..at);
        if let (Some(first), Some((_, sequence))) = (sources.first_mut(), next) {
            first.first_sequence = WalSequence::new(sequence);
        }
    }

    fn put_segment(
        &self,
        base: Offset,
        end: Offset,
        chunks: Vec<Bytes>,
        condition: PutCondition,
        with_index: bool,
    ) -> Stored {
        let created = self.ever.len() as i64;
        let kfs = KfsObject::build(base, TimestampMs::new(created), chunks.clone()).unwrap();
        let [key, index] = self.segment_keys(base);
        self.put(&key, kfs.chunks.clone(), condition);
        if with_index {
            self.put(&index, vec![kfs.index.encode()], PutCondition::None);
        }
        Stored {
            base,
            end,
            manifest: ManifestSegment {
                base,
                end,
                bytes: kfs.len,
                crc32: kfs.crc32,
                created: kfs.header.created,
                max_timestamp: kfs.max_timestamp,
                max_timestamp_offset: None,
                time_points: time_points(&chunks).unwrap(),
            },
            chunks,
        }
    }

    pub(super) fn segment_keys(&self, base: Offset) -> [String; 2] {
        let partition = self.id.partition;
        [
            self.keys.segment(&self.dir, partition, base),
            self.keys.index(&self.dir, partition, base),
        ]
    }

    fn put_manifest(&self) {
        if self.has_manifest {
            let manifest = Manifest {
                partition: self.id,
                leader_epoch: self.record.leader_epoch,
                compacted_end: self.record.compacted_end,
                log_start: self.record.log_start,
                segments: self
                    .segments
                    .iter()
                    .map(|held| held.manifest.clone())
                    .collect(),
            };
            let key = self.keys.manifest(&self.dir, self.id.partition);
            self.put(&key, vec![manifest.encode()], PutCondition::None);
        }
    }

    /// Deletes WAL objects that are not needed: of live sessions below a floor, of dead ones outside
    /// all ranges.
    pub(super) fn collect(&mut self) {
        for index in 0..self.sessions.len() {
            let Session { owner, next, .. } = self.sessions[index];
            let Owner { session, broker } = owner;
            let held = self
                .uncompacted
                .iter()
                .filter(|section| section.session == index);
            let floor = held.map(|section| section.sequence).min().unwrap_or(next);
            let is_dead = self.sessions[index].is_dead;
            if !is_dead {
                let floor = WalSequence::new(floor);
                self.put_key(floor::key(&self.space, session), &FloorRecord { floor });
            }
            for sequence in 0..next {
                let at = WalSequence::new(sequence);
                let is_needed = match is_dead {
                    true => self.record.needs(session, at),
                    false => sequence >= floor,
                };
                if !is_needed {
                    self.delete(&self.keys.wal(broker, session, at));
                    self.sessions[index].tails.remove(&sequence);
                }
            }
        }
    }

    /// Writes the directories of consecutive objects of the owner's session together.
    pub(super) fn bundle(&mut self) {
        let Owner { session, broker } = self.me().owner;
        let tails: Vec<(u64, Bytes)> = self.me().tails.clone().into_iter().collect();
        for block in tails.chunks(5) {
            let (first, last) = (block[0].0, block[block.len() - 1].0);
            if last - first + 1 != block.len() as u64 {
                continue;
            }
            let tails: Vec<Bytes> = block.iter().map(|(_, tail)| tail.clone()).collect();
            let (first, last) = (WalSequence::new(first), WalSequence::new(last));
            let key = self.keys.wal_directories(broker, session, first, last);
            self.put(&key, vec![encode_directories(&tails)], PutCondition::None);
        }
    }

    /// Merges some segments into one. The index comes later, or never.
    pub(super) fn merge(&mut self, from: usize, count: usize, with_index: bool) {
        if self.segments.len() < 2 || self.mode == CommitMode::Guarded {
            return;
        }
        let from = from % (self.segments.len() - 1);
        let to = (from + 2 + count).min(self.segments.len());
        let inputs: Vec<Stored> = self.segments.drain(from..to).collect();
        let chunks: Vec<Bytes> = inputs
            .iter()
            .flat_map(|input| input.chunks.clone())
            .collect();
        let (base, end) = (inputs[0].base, inputs[inputs.len() - 1].end);
        let merged = self.put_segment(base, end, chunks, PutCondition::None, with_index);
        self.segments.insert(from, merged);
        for input in &inputs[1..] {
            self.segment_keys(input.base)
                .iter()
                .for_each(|key| self.delete(key));
        }
        self.put_manifest();
    }

    /// Log compaction: every batch of one segment loses records, the last keeps its last.
    pub(super) fn rewrite(&mut self, segment: usize, drops: i64, with_index: bool) {
        if self.segments.is_empty() || self.mode == CommitMode::Guarded {
            return;
        }
        let at = segment % self.segments.len();
        let held = self.segments[at].clone();
        let all = held.chunks.concat();
        let mut chunks = Vec::new();
        for batch in Batches::strict(&all) {
            let batch = batch.unwrap();
            let set = RecordSet::decode(batch.bytes, &Default::default()).unwrap();
            let is_last = batch.header.next_offset() == held.end;
            let mut kept = RecordBatchBuilder::new()
                .base_offset(batch.header.base_offset)
                .leader_epoch(batch.header.leader_epoch)
                .last_offset_delta(batch.header.last_offset_delta as i32);
            for record in &set {
                let record = record.unwrap();
                let offset = record.offset;
                if offset.get() % drops == 0 && offset.next() != Some(held.end) {
                    self.live.remove(&offset.get());
                    continue;
                }
                let delta = offset.get() - batch.header.base_offset.get();
                let new = NewRecord {
                    timestamp: record.timestamp,
                    key: record.key,
                    value: record.value,
                    headers: &[("h", Some(b"1"))],
                };
                kept.push_at(delta as i32, new).unwrap();
            }
            if kept.record_count() > 0 || is_last {
                chunks.push(kept.build().unwrap());
            }
        }
        let stored = self.put_segment(held.base, held.end, chunks, PutCondition::None, with_index);
        self.segments[at] = stored;
        self.put_manifest();
    }

    /// DeleteRecords or retention: the log starts later; segments below may be swept.
    pub(super) fn raise_log_start(&mut self, to: Offset, sweeps: bool) {
        if to <= self.record.log_start || to > self.end {
            return;
        }
        self.record.log_start = to;
        self.put_record();
        self.forget(to, sweeps);
    }

    /// A lifecycle rule deletes the oldest segment; the record does not say so yet.
    pub(super) fn expire(&mut self) {
        if let Some(first) = self.segments.first() {
            let to = first.end;
            self.forget(to, true);
        }
    }

    fn forget(&mut self, to: Offset, sweeps: bool) {
        self.live = self.live.split_off(&to.get());
        if sweeps {
            let gone: Vec<Stored> = self
                .segments
                .extract_if(.., |held| held.end <= to)
                .collect();
            for held in gone {
                self.segment_keys(held.base)
                    .iter()
                    .for_each(|key| self.delete(key));
            }
        }
    }

    /// The first offset that can be read.
    pub(super) fn log_start(&self) -> Offset {
        let covered = self
            .segments
            .first()
            .map_or(self.record.compacted_end, |held| held.base);
        self.record.log_start.max(covered)
    }
}

/// Records are not in the order of their timestamps.
pub(super) fn time_of(offset: i64) -> TimestampMs {
    TimestampMs::new(1_000 + offset * 10 + offset * 7_919 % 50)
}

/// Reads to the end; checks that offsets rise and runs keep to their size.
pub(super) fn read_all(reader: &mut PartitionReader) -> Result<Log, ReadError> {
    let mut log = Log::new();
    while let Some(run) = wait(reader.next())? {
        assert!(!run.batches.is_empty());
        for record in run.records() {
            let record = record?;
            assert!(record.offset >= run.position && record.offset < run.next);
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            assert_eq!(record.headers.len(), 1);
            let before = log.insert(record.offset.get(), value);
            assert_eq!(before, None, "no record twice");
        }
        assert_eq!(reader.position(), Some(run.next));
    }
    Ok(log)
}
