//! Consumers: each follows all partitions of a topic, and reads everything once.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use check::{Anomaly, At, Broker, Epoch, Event, Observer, Partition, Record, Value};
use segment::batch::Batches;
use segment::record::{DecodeLimits, RecordSet};
use wire::messages::fetch::{FetchPartition, FetchTopic, PartitionData};
use wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::{FetchRequest, ListOffsetsRequest};
use wire::{ErrorCode, decode_response};

use super::replay::Replay;
use super::scene::{Connections, Keeping, Leaders, SMALL_TIMEOUT, Scene};
use crate::clock::sleep;
use crate::fault::Fault;
use crate::random::Random;
use crate::trace::{self, trace};

const FETCH: i16 = 12;
const LIST_OFFSETS: i16 = 5;
/// The time that stands for the beginning of the log.
const EARLIEST: i64 = -2;
/// How much longer than its longest wait an answer may take.
const FETCH_GRACE: Duration = Duration::from_secs(8);

/// How a consumer behaves.
#[derive(Debug, Clone)]
pub(crate) struct Diet {
    pub(crate) max_wait: Duration,
    pub(crate) bytes_max: i32,
    /// Answers that are not read for a while, in parts of a million.
    pub(crate) slow: u32,
    /// Requests to a broker that led the partition once, or never, in parts of a million.
    pub(crate) stray: u32,
    /// Whether it tells which leader epoch it knows.
    pub(crate) knows_epochs: bool,
}

/// What was asked for.
struct Asked {
    leader: usize,
    /// Not the one that it follows.
    astray: bool,
    epoch: Epoch,
    began: At,
}

/// One reader of a topic.
pub(crate) struct Consumer {
    scene: Rc<Scene>,
    diet: Diet,
    observer: Observer,
    topic: usize,
    random: Random,
    name: String,
    positions: BTreeMap<i32, i64>,
    /// High watermarks, as last seen.
    ends: BTreeMap<i32, i64>,
    connections: Connections,
    leaders: Leaders,
    /// Where the log begins, as far as it had to be asked.
    starts: BTreeMap<i32, i64>,
    /// Partitions whose beginning is to be asked for.
    trimmed: Vec<i32>,
    /// Whether records were deleted of a partition that it had begun to read.
    is_torn: bool,
    /// The model of the log, where everything is read.
    replay: Option<Replay>,
}

impl Consumer {
    pub(crate) fn new(
        scene: Rc<Scene>,
        diet: Diet,
        observer: u32,
        topic: usize,
        seed: u64,
    ) -> Self {
        let name = format!("consumer/{observer}.{topic}");
        let partitions = scene.topics[topic].partitions;
        for partition in 0..partitions {
            scene.progress(observer, topic, partition, 0);
        }
        Self {
            random: Random::of(seed, &name),
            scene,
            diet,
            observer: Observer(observer),
            topic,
            name,
            positions: (0..partitions).map(|partition| (partition, 0)).collect(),
            ends: BTreeMap::new(),
            starts: BTreeMap::new(),
            connections: Connections::default(),
            leaders: Leaders::default(),
            trimmed: Vec::new(),
            is_torn: false,
            replay: None,
        }
    }

    /// One that follows a single partition from `position` on.
    pub(crate) fn of_partition(
        scene: Rc<Scene>,
        diet: Diet,
        observer: u32,
        (topic, partition, position): (usize, i32, i64),
        seed: u64,
    ) -> Self {
        let mut consumer = Self::new(scene.clone(), diet, observer, topic, seed);
        for other in 0..scene.topics[topic].partitions {
            let at = if other == partition {
                position
            } else {
                i64::MAX
            };
            scene.progress(observer, topic, other, at);
        }
        consumer.positions = BTreeMap::from([(partition, position)]);
        consumer
    }

    /// Where it is, by partition.
    pub(crate) fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.positions
    }

    /// The high watermarks that it has seen, by partition.
    pub(crate) fn ends(&self) -> &BTreeMap<i32, i64> {
        &self.ends
    }

    /// Reads until `until` says that it is enough.
    pub(crate) async fn run(mut self, until: impl Fn(&Self) -> bool) -> Self {
        while !self.scene.is_over() && !until(&self) {
            let mut led = self.by_leader();
            if led.values().map(Vec::len).sum::<usize>() < self.positions.len() {
                // As clients do: a partition without a leader is asked for, although others have records.
                self.pause_and_refresh().await;
                led = self.by_leader();
            }
            let is_behind = |partitions: &Vec<i32>| {
                let end = |partition| self.ends.get(partition).copied().unwrap_or(0);
                partitions
                    .iter()
                    .any(|partition| self.positions[partition] < end(partition))
            };
            if led.values().any(is_behind) {
                // Nobody waits for one broker while another has records.
                led.retain(|_, partitions| is_behind(partitions));
            }
            if led.is_empty() {
                continue;
            }
            let turn = self.random.index(led.len());
            let Some((mut leader, partitions)) = led.into_iter().nth(turn) else {
                continue;
            };
            let followed = leader;
            if self.random.chance(self.diet.stray) && self.scene.is_faulty() {
                trace::fault(Fault::ClientAsksAnother);
                leader = self.random.index(self.scene.brokers);
            }
            let astray = leader != followed;
            if !self.fetch(leader, astray, &partitions).await {
                self.pause_and_refresh().await;
            }
        }
        self
    }

    async fn pause_and_refresh(&mut self) {
        sleep(self.random.millis(10..250)).await;
        self.leaders.refresh(&self.scene, &mut self.random).await;
    }

    fn by_leader(&self) -> BTreeMap<usize, Vec<i32>> {
        let mut led: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
        for partition in self.positions.keys() {
            if let Some(leader) = self.leaders.of(self.topic, *partition) {
                led.entry(leader).or_default().push(*partition);
            }
        }
        led
    }

    /// One fetch; whether it was answered well.
    async fn fetch(&mut self, leader: usize, astray: bool, partitions: &[i32]) -> bool {
        let Some(connection) = self.connections.to(&self.scene, leader).await else {
            return false;
        };
        if self.random.chance(self.diet.slow) && self.scene.is_faulty() {
            trace::fault(Fault::ClientSlowReader);
            let until = self.scene.now().0 + self.random.within(100_000..4_000_000);
            connection.reads_from.set(until);
        }
        let scene = self.scene.clone();
        let epoch_of = |partition| match astray || !self.diet.knows_epochs {
            true => -1,
            false => self.leaders.epoch_of(self.topic, partition),
        };
        let epochs = partitions.iter().map(|it| (*it, epoch_of(*it)));
        let epochs: BTreeMap<i32, i32> = epochs.collect();
        let asked = partitions.iter().map(|partition| FetchPartition {
            partition: *partition,
            current_leader_epoch: epochs[partition],
            fetch_offset: self.positions[partition],
            partition_max_bytes: self.diet.bytes_max,
            ..FetchPartition::default()
        });
        let request = FetchRequest {
            max_wait_ms: self.diet.max_wait.as_millis() as i32,
            min_bytes: 1,
            max_bytes: self.diet.bytes_max,
            topics: vec![FetchTopic {
                topic: &scene.topics[self.topic].name,
                partitions: asked.collect(),
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        let time = self.diet.max_wait + FETCH_GRACE;
        let began = scene.now();
        let body = match connection.call(&request, FETCH, time).await {
            Ok(body) => body,
            Err(failure) => {
                trace!(self.name, "broker {leader} does not answer: {failure:?}");
                self.connections.drop_to(leader);
                return false;
            }
        };
        let Ok((_, response)) = decode_response::<FetchRequest<'_>>(&body, FETCH) else {
            scene.violation(format!(
                "{}: an answer to Fetch cannot be decoded",
                self.name
            ));
            return false;
        };
        let mut is_well = response.error_code.is_none();
        for part in response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions)
        {
            let epoch = epochs.get(&part.partition_index).copied();
            let asked = Asked {
                leader,
                astray,
                epoch: Epoch(epoch.unwrap_or(-1)),
                began,
            };
            is_well &= self.part(asked, part);
        }
        for partition in std::mem::take(&mut self.trimmed) {
            self.go_to_beginning(leader, partition).await;
        }
        is_well
    }

    /// Records were deleted: goes on where the log begins now.
    async fn go_to_beginning(&mut self, leader: usize, partition: i32) {
        let Some(connection) = self.connections.to(&self.scene, leader).await else {
            return;
        };
        let scene = self.scene.clone();
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: &scene.topics[self.topic].name,
                partitions: vec![ListOffsetsPartition {
                    partition_index: partition,
                    timestamp: EARLIEST,
                    ..ListOffsetsPartition::default()
                }],
            }],
            ..ListOffsetsRequest::default()
        };
        let Ok(body) = connection.call(&request, LIST_OFFSETS, SMALL_TIMEOUT).await else {
            return;
        };
        let decoded = decode_response::<ListOffsetsRequest<'_>>(&body, LIST_OFFSETS);
        let Ok((_, response)) = decoded else { return };
        let part = response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .next();
        let Some(part) = part.filter(|part| part.error_code.is_none()) else {
            return;
        };
        let position = self.positions.entry(partition).or_default();
        if part.offset > *position {
            trace!(
                self.name,
                "{partition}: goes on at the beginning, {}", part.offset
            );
            self.is_torn |= *position > 0;
            *position = part.offset;
            self.starts.insert(partition, part.offset);
            let event = Event::Seek {
                observer: self.observer,
                partition: Partition(partition),
                offset: part.offset,
                at: scene.now(),
            };
            scene.record(self.topic, event);
            scene.progress(self.observer.0, self.topic, partition, part.offset);
        }
    }

    fn part(&mut self, asked: Asked, part: &PartitionData<'_>) -> bool {
        let Asked {
            leader,
            astray,
            epoch,
            began,
        } = asked;
        let partition = Partition(part.partition_index);
        let (observer, broker, at) = (self.observer, Broker(leader as i32), self.scene.now());
        let position = self.positions.get(&partition.0).copied().unwrap_or(0);
        match part.error_code {
            ErrorCode::NONE => {}
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                let start = part.log_start_offset;
                trace!(
                    self.name,
                    "{partition}: {position} is out of range, the log starts at {start}"
                );
                if self.scene.topics[self.topic].keeping == Keeping::Trimmed {
                    self.trimmed.push(partition.0);
                } else {
                    let event = Event::OutOfRange {
                        observer,
                        partition,
                        broker,
                        offset: position,
                        at,
                    };
                    self.scene.record(self.topic, event);
                }
                return false;
            }
            code => {
                trace!(self.name, "{partition}: {code:?}");
                return false;
            }
        }
        let high_watermark = part.high_watermark;
        self.check_age(leader, partition, began, high_watermark);
        if !astray {
            self.ends.insert(partition.0, high_watermark);
        }
        let (records, behind) = match records(part.records.borrowed().unwrap_or_default()) {
            Ok(found) => found,
            Err(error) => {
                self.scene.violation(format!(
                    "{}: partition {partition} at {position}: {error}",
                    self.name
                ));
                return false;
            }
        };
        if let Some(replay) = &mut self.replay {
            let bytes = part.records.borrowed().unwrap_or_default();
            if let Err(wrong) = replay.take(partition.0, position, bytes) {
                let name = &self.name;
                let what = format!("{name}: partition {partition}: {wrong}");
                self.scene.violation(what);
            }
        }
        // A batch may begin before the position.
        let records: Vec<Record> = records
            .into_iter()
            .filter(|record| record.offset >= position)
            .collect();
        let mut next = position;
        for record in &records {
            self.scene.read.set(self.scene.read.get() + 1);
            if record.offset != next && self.scene.topics[self.topic].keeping == Keeping::All {
                self.scene.broken(
                    Anomaly::PollSkip,
                    format!(
                        "{}: partition {partition}: skipped from {next} to {}",
                        self.name, record.offset
                    ),
                );
            }
            next = record.offset + 1;
        }
        // Of a compacted log: the last records of the last batch may be gone.
        next = next.max(behind);
        let event = Event::Poll {
            observer,
            partition,
            broker,
            epoch,
            astray,
            began,
            records,
            high_watermark,
            at,
        };
        self.scene.record(self.topic, event);
        if next > position {
            trace!(
                self.name,
                "{partition}: read {position}..{next} of {high_watermark}"
            );
        }
        self.positions.insert(partition.0, next);
        self.scene
            .progress(self.observer.0, self.topic, partition.0, next);
        true
    }
}

impl Consumer {
    /// A broker answers reads as long as its session is proven: what it tells is no older than that.
    fn check_age(&self, leader: usize, partition: Partition, began: At, high_watermark: i64) {
        let Some(since) = began.0.checked_sub(self.scene.age_max.as_micros() as u64) else {
            return;
        };
        let acknowledged = self.scene.end_at(self.topic, partition.0, At(since));
        if high_watermark < acknowledged {
            let (name, age) = (&self.name, self.scene.age_max);
            self.scene.broken(Anomaly::RealtimeLag, format!(
                "{name}: partition {partition}: broker {leader} answers that the log ends at {high_watermark}, \
                 {acknowledged} had been acknowledged {age:?} before it was asked"
            ));
        }
    }
}

/// The records of whole batches, each checked, and the offset behind them; a batch that is cut off at the end is left
/// out.
pub(super) fn records(bytes: &[u8]) -> Result<(Vec<Record>, i64), String> {
    let (mut found, mut behind) = (Vec::new(), 0);
    for batch in Batches::until_truncated(bytes) {
        let batch = batch.map_err(|error| error.to_string())?;
        batch.verify_crc().map_err(|error| error.to_string())?;
        let epoch = Epoch(batch.header.leader_epoch.get());
        behind = batch.header.next_offset().get();
        let set = RecordSet::decode(batch.bytes, &DecodeLimits::default());
        let set = set.map_err(|error| error.to_string())?;
        for record in &set {
            let record = record.map_err(|error| error.to_string())?;
            // One that deletes its key has no value: a header has it then.
            let header = || record.headers.clone().next().and_then(|(_, value)| value);
            let value = record.value.or_else(header);
            let value = value.and_then(|bytes| bytes.first_chunk::<8>());
            let value = value.ok_or("a record without its value")?;
            found.push(Record {
                offset: record.offset.get(),
                value: Value(u64::from_be_bytes(*value)),
                epoch,
            });
        }
    }
    Ok((found, behind))
}

/// Reads everything that a topic holds, and again where records were deleted meanwhile; records it as a full read.
/// Gives where each partition ended, or nothing when the time is up.
pub(crate) async fn read_all(
    scene: &Rc<Scene>,
    topic: usize,
    first: u32,
    seed: u64,
    patience: Duration,
) -> Option<BTreeMap<i32, i64>> {
    for observer in first.. {
        let (consumer, began) = read_once(scene, topic, observer, seed, patience).await?;
        if !consumer.is_torn {
            return Some(read_in_full(scene, topic, &consumer, began));
        }
    }
    None
}

async fn read_once(
    scene: &Rc<Scene>,
    topic: usize,
    observer: u32,
    seed: u64,
    patience: Duration,
) -> Option<(Consumer, At)> {
    let diet = Diet {
        max_wait: Duration::from_millis(100),
        bytes_max: 1 << 20,
        slow: 0,
        stray: 0,
        knows_epochs: false,
    };
    let began = scene.now();
    let mut consumer = Consumer::new(scene.clone(), diet, observer, topic, seed);
    // Of a compacted log batches are gone.
    let is_whole = scene.topics[topic].keeping != Keeping::Latest;
    consumer.replay = is_whole.then(Replay::default);
    let partitions = scene.topics[topic].partitions as usize;
    let is_done = move |consumer: &Consumer| {
        let at_end = |(partition, end): (&i32, &i64)| consumer.positions[partition] >= *end;
        consumer.ends.len() == partitions && consumer.ends.iter().all(at_end)
    };
    let read = tokio::time::timeout(patience, consumer.run(is_done)).await;
    crate::clock::read();
    Some((read.ok().filter(is_done)?, began))
}

fn read_in_full(scene: &Scene, topic: usize, consumer: &Consumer, began: At) -> BTreeMap<i32, i64> {
    for (partition, end) in consumer.ends() {
        let start = consumer.starts.get(partition).copied().unwrap_or(0);
        let partition = Partition(*partition);
        if scene.topics[topic].keeping == Keeping::Trimmed {
            // What was deleted is known only by what is left.
            let event = Event::LogStart {
                partition,
                offset: start,
                at: scene.now(),
            };
            scene.record(topic, event);
        }
        let event = Event::FullRead {
            observer: consumer.observer,
            partition,
            broker: Broker(-1),
            start,
            end: *end,
            began,
        };
        scene.record(topic, event);
    }
    scene.record(topic, Event::Settled { at: began });
    consumer.positions().clone()
}
