//! Producers: each writes to some partitions, a lane of its own for each, with several batches on their way.
//!
//! What is not answered is sent again, in order, until it is: nothing that was begun is given up.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use check::{Anomaly, Broker, Event, Key, Keyed, Kind, Partition, Producer, SendId};
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::{ProducerEpoch, ProducerId, Sequence, TimestampMs};
use wire::messages::produce::{PartitionProduceData, TopicProduceData};
use wire::messages::{InitProducerIdRequest, ProduceRequest};
use wire::{ErrorCode, Records, decode_response};

use super::connection::{Connection, Reply};
use super::scene::{Connections, Keeping, Leaders, SMALL_TIMEOUT, Scene};
use crate::clock::sleep;
use crate::fault::Fault;
use crate::random::Random;
use crate::trace::{self, trace};

const PRODUCE: i16 = 9;
const INIT_PRODUCER_ID: i16 = 4;
/// Batches of a producer that a broker has to know (Kafka: `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
const WINDOW: usize = 5;
/// Longest wait for the answer to a batch.
const PRODUCE_WAIT: Duration = Duration::from_secs(6);
/// Time of the records, a day before the run: in no broker's future, however its clock jumps, and not old enough to
/// be deleted.
pub(super) const RECORD_TIME: TimestampMs = TimestampMs::new(1_699_900_000_000);

/// Keys of a compacted topic.
const KEYS: u64 = 12;

/// How a producer behaves.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    pub(crate) is_idempotent: bool,
    /// Batches of one lane on their way at most: Kafka's five.
    pub(crate) in_flight_max: usize,
    pub(crate) records_max: u64,
    pub(crate) record_bytes_max: u64,
    /// Longest pause between two batches, in milliseconds.
    pub(crate) pause_max_ms: u64,
    pub(crate) acks: i16,
    /// Acknowledged batches that are sent again, in parts of a million.
    pub(crate) repeat: u32,
}

/// One partition of one producer.
pub(crate) struct Lane {
    scene: Rc<Scene>,
    habits: Habits,
    producer: Producer,
    topic: usize,
    partition: i32,
    random: Random,
    name: String,
    identity: Option<(ProducerId, ProducerEpoch)>,
    sequence: i32,
    waiting: VecDeque<Batch>,
    has_succeeded: bool,
    /// A batch of the epoch before.
    stale: Option<Bytes>,
    /// The last batches of this epoch that were acknowledged, the oldest first, and their offsets.
    recent: VecDeque<(Batch, i64)>,
    /// Who acknowledged the last one.
    acknowledged_by: Option<usize>,
    connections: Connections,
    leaders: Leaders,
}

/// A batch that is not acknowledged yet.
struct Batch {
    send: SendId,
    records: usize,
    bytes: Bytes,
    reply: Option<(Reply, Rc<Connection>)>,
}

/// What came of the oldest batch.
enum Outcome {
    /// At this offset, by this broker.
    Acknowledged(i64, usize),
    /// To be sent again, with all after it.
    Again,
    /// A refusal that a correct producer is never given, and the broker that gave it.
    Refused(ErrorCode, usize),
}

impl Lane {
    pub(crate) fn new(
        scene: Rc<Scene>,
        habits: Habits,
        producer: u32,
        topic: usize,
        partition: i32,
        seed: u64,
    ) -> Self {
        let name = format!("producer/{producer}.{topic}.{partition}");
        Self {
            scene,
            habits,
            producer: Producer(producer),
            topic,
            partition,
            random: Random::of(seed, &name),
            name,
            identity: None,
            sequence: 0,
            waiting: VecDeque::new(),
            has_succeeded: false,
            stale: None,
            recent: VecDeque::new(),
            acknowledged_by: None,
            connections: Connections::default(),
            leaders: Leaders::default(),
        }
    }

    /// Writes while faults strike, and finishes then; gives itself back for a last word.
    pub(crate) async fn run(mut self) -> Self {
        if self.habits.is_idempotent {
            self.get_identity().await;
        }
        while self.scene.is_faulty() {
            self.fill();
            self.step().await;
            if self.waiting.len() < self.window() {
                let pause = self.random.millis(0..self.habits.pause_max_ms + 1);
                sleep(pause).await;
            }
        }
        self.finish().await;
        self
    }

    /// Writes one more batch, and waits until it is acknowledged.
    pub(crate) async fn say_one_more(&mut self) {
        self.begin_batch();
        self.finish().await;
    }

    async fn finish(&mut self) {
        while !self.waiting.is_empty() && !self.scene.is_over() {
            self.step().await;
        }
    }

    fn window(&self) -> usize {
        // The first batch tells the broker of the producer: alone, since one that came first would be taken for
        // the first.
        match self.has_succeeded {
            true => self.habits.in_flight_max,
            false => 1,
        }
    }

    fn fill(&mut self) {
        let burst = self.random.one_in(8);
        if burst {
            trace::fault(Fault::ClientBurst);
        } else if !self.waiting.is_empty() && !self.random.one_in(4) {
            // What is on its way arrives first, so that there are bursts, and silence.
            return;
        }
        let most = if burst { self.window() } else { 1 };
        for _ in 0..most {
            if self.waiting.len() < self.window() {
                self.begin_batch();
            }
        }
    }

    fn begin_batch(&mut self) {
        let count = 1 + self.random.below(self.habits.records_max);
        let mut builder = RecordBatchBuilder::new();
        if let Some((id, epoch)) = self.identity {
            builder = builder.producer(id, epoch, Sequence::new(self.sequence));
        }
        let (mut values, mut keyed) = (Vec::new(), Vec::new());
        let has_keys = self.scene.topics[self.topic].keeping == Keeping::Latest;
        for _ in 0..count {
            let value = self.scene.value();
            let mut bytes = value.0.to_be_bytes().to_vec();
            bytes.resize(
                8 + self.random.index(self.habits.record_bytes_max as usize + 1),
                b'.',
            );
            let key = has_keys.then(|| Keyed {
                value,
                key: Key(self.random.below(KEYS)),
                deletes: self.random.one_in(6),
            });
            let key_bytes = key.map(|keyed| keyed.key.0.to_be_bytes());
            let deletes = key.is_some_and(|keyed| keyed.deletes);
            let headers = [("value", Some(&bytes[..8]))];
            let record = NewRecord {
                timestamp: RECORD_TIME,
                key: key_bytes.as_ref().map(<[u8; 8]>::as_slice),
                value: (!deletes).then_some(&bytes[..]),
                headers: if deletes { &headers } else { &[] },
            };
            builder
                .push(record)
                .expect("a record of the simulator fits");
            values.push(value);
            keyed.extend(key);
        }
        if has_keys {
            let event = Event::Keyed {
                partition: Partition(self.partition),
                records: keyed,
                at: self.scene.now(),
            };
            self.scene.record(self.topic, event);
        }
        let send = self.scene.send_id();
        let records = values.len();
        let event = Event::Send {
            send,
            producer: self.producer,
            kind: match self.identity {
                Some(_) => Kind::Idempotent,
                None => Kind::Plain,
            },
            partition: Partition(self.partition),
            values,
            at: self.scene.now(),
        };
        self.scene.record(self.topic, event);
        self.sequence += count as i32;
        let bytes = builder.build().expect("a batch of the simulator is built");
        self.waiting.push_back(Batch {
            send,
            records,
            bytes: Bytes::copy_from_slice(&bytes),
            reply: None,
        });
    }

    /// Sends what is to be sent, and waits for the oldest answer.
    async fn step(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if !self.send_all().await {
            self.again().await;
            return;
        }
        match self.oldest_answer().await {
            Outcome::Acknowledged(base, broker) => self.acknowledged(base, broker).await,
            Outcome::Again => self.again().await,
            Outcome::Refused(code, broker) => {
                if self.identity.is_some() {
                    let event = Event::Refused {
                        producer: self.producer,
                        partition: Partition(self.partition),
                        broker: Broker(broker as i32),
                        reason: format!("{code:?}"),
                        at: self.scene.now(),
                    };
                    trace!(self.name, "is refused by broker {broker}: {code:?}");
                    self.scene.record(self.topic, event);
                }
                self.again().await;
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Sends what is not on its way, in order; false if there is no way.
    async fn send_all(&mut self) -> bool {
        let leader = self.leaders.of(self.topic, self.partition);
        let Some(leader) = leader else { return false };
        if self.scene.unwritten.get() == Some(leader) {
            return false;
        }
        let Some(connection) = self.connections.to(&self.scene, leader).await else {
            return false;
        };
        if connection.broker() != leader {
            return false;
        }
        let mut on_its_way = self.waiting.iter().filter_map(|it| it.reply.as_ref());
        if on_its_way.any(|(_, other)| !Rc::ptr_eq(other, &connection)) {
            // What is on its way elsewhere comes first: this broker would refuse what follows as out of order.
            return true;
        }
        let window = self.window();
        let name = self.scene.topics[self.topic].name.clone();
        for batch in self.waiting.iter_mut().take(window) {
            if batch.reply.is_none() {
                let reply = send(
                    &connection,
                    &name,
                    self.partition,
                    self.habits.acks,
                    &batch.bytes,
                );
                batch.reply = Some((reply, connection.clone()));
            }
        }
        true
    }

    async fn oldest_answer(&mut self) -> Outcome {
        let Some((reply, connection)) = self.waiting.front_mut().and_then(|it| it.reply.take())
        else {
            return Outcome::Again;
        };
        let answer = reply.within(PRODUCE_WAIT).await;
        let Ok(body) = answer else {
            self.connections.drop_to(connection.broker());
            return Outcome::Again;
        };
        self.judge(&body, connection.broker())
    }

    fn judge(&self, body: &Bytes, broker: usize) -> Outcome {
        let decoded = decode_response::<ProduceRequest<'_>>(body, PRODUCE);
        let part = decoded.ok().and_then(|(_, response)| {
            let mut parts = response
                .responses
                .iter()
                .flat_map(|topic| &topic.partition_responses);
            parts.next().map(|part| (part.error_code, part.base_offset))
        });
        let Some((code, base)) = part else {
            self.scene.violation(format!(
                "{}: an answer to Produce cannot be decoded",
                self.name
            ));
            return Outcome::Again;
        };
        match code {
            ErrorCode::NONE => Outcome::Acknowledged(base, broker),
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
            | ErrorCode::INVALID_PRODUCER_EPOCH
            | ErrorCode::UNKNOWN_PRODUCER_ID
            | ErrorCode::DUPLICATE_SEQUENCE_NUMBER => Outcome::Refused(code, broker),
            code => {
                trace!(self.name, "{code:?} by broker {broker}: again");
                Outcome::Again
            }
        }
    }

    async fn acknowledged(&mut self, base: i64, by: usize) {
        let Some(batch) = self.waiting.pop_front() else {
            return;
        };
        self.has_succeeded = true;
        self.record_ok(&batch, base);
        self.scene
            .acknowledged
            .set(self.scene.acknowledged.get() + 1);
        trace!(self.name, "{} records at {base}", batch.records);
        if let Some(old) = self.stale.take() {
            self.send_stale(old).await;
        }
        if self.identity.is_none() {
            return;
        }
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back((batch, base));
        let has_moved = self.acknowledged_by.replace(by) != Some(by);
        let repeats = match has_moved {
            // Somebody else has to know them.
            true => self.habits.repeat > 0 && self.random.one_in(2),
            false => self.random.chance(self.habits.repeat),
        };
        if repeats && self.waiting.is_empty() && self.scene.is_faulty() {
            self.repeat().await;
            if self.random.one_in(3) {
                self.raise_epoch();
            }
        }
    }

    /// Begins a new epoch, as idempotent producers do on their own, and keeps a batch of the old one.
    fn raise_epoch(&mut self) {
        let Some((_, epoch)) = &mut self.identity else {
            return;
        };
        *epoch = ProducerEpoch::new(epoch.get() + 1);
        self.sequence = 0;
        self.has_succeeded = false;
        self.stale = self.recent.pop_back().map(|(batch, _)| batch.bytes);
        self.recent.clear();
    }

    /// Sends a batch of the epoch before, which is refused.
    async fn send_stale(&mut self, old: Bytes) {
        trace::fault(Fault::ClientOldEpoch);
        let Some(leader) = self.leaders.of(self.topic, self.partition) else {
            return;
        };
        let Some(connection) = self.connections.to(&self.scene, leader).await else {
            return;
        };
        let name = self.scene.topics[self.topic].name.clone();
        let reply = send(&connection, &name, self.partition, self.habits.acks, &old);
        match reply.within(PRODUCE_WAIT).await {
            Ok(body) => {
                if let Outcome::Acknowledged(base, _) = self.judge(&body, leader) {
                    let name = &self.name;
                    let what = format!("{name}: a batch of an old epoch is acknowledged at {base}");
                    self.scene.violation(what);
                }
            }
            Err(_) => self.connections.drop_to(leader),
        }
    }

    fn record_ok(&self, batch: &Batch, base: i64) {
        let end = base + batch.records as i64;
        self.scene.raise_end(self.topic, self.partition, end);
        let event = Event::Ok {
            send: batch.send,
            offset: Some(base),
            at: self.scene.now(),
        };
        self.scene.record(self.topic, event);
    }

    /// Sends acknowledged batches again, the last one or as many as a broker has to know: each is answered with the
    /// same offset. Nothing else is on its way.
    async fn repeat(&mut self) {
        let count = match self.random.one_in(2) {
            true => self.recent.len(),
            false => 1,
        };
        trace::fault(match count {
            WINDOW => Fault::ClientRetriesWindow,
            _ => Fault::ClientRetriesAcknowledged,
        });
        let Some(leader) = self.leaders.of(self.topic, self.partition) else {
            return;
        };
        let Some(connection) = self.connections.to(&self.scene, leader).await else {
            return;
        };
        trace!(
            self.name,
            "sends the last {count} batches again, to broker {leader}"
        );
        let name = self.scene.topics[self.topic].name.clone();
        let first = self.recent.len() - count;
        let send_again = |(batch, base): &(Batch, i64)| {
            let (partition, acks) = (self.partition, self.habits.acks);
            let reply = send(&connection, &name, partition, acks, &batch.bytes);
            (reply, *base)
        };
        let sent: Vec<(Reply, i64)> = self.recent.iter().skip(first).map(send_again).collect();
        for (at, (reply, base)) in sent.into_iter().enumerate() {
            let Ok(body) = reply.within(PRODUCE_WAIT).await else {
                self.connections.drop_to(leader);
                return;
            };
            match self.judge(&body, leader) {
                Outcome::Acknowledged(again, _) => {
                    if again != base {
                        let name = &self.name;
                        self.scene.broken(Anomaly::InconsistentOffsets, format!(
                            "{name}: a batch that is stored at {base} is sent again and acknowledged at {again}"
                        ));
                    }
                    let (batch, _) = &self.recent[first + at];
                    self.record_ok(batch, again);
                }
                Outcome::Refused(code, broker) => {
                    let name = &self.name;
                    self.scene.broken(Anomaly::ProducerState, format!(
                        "{name}: broker {broker} refuses one of the last {count} batches, stored at {base}: {code:?}"
                    ));
                }
                Outcome::Again => return,
            }
        }
    }

    /// Nothing is on its way any more: everything is sent again.
    async fn again(&mut self) {
        for batch in &mut self.waiting {
            batch.reply = None;
        }
        self.connections = Connections::default();
        sleep(self.random.millis(10..200)).await;
        self.leaders.refresh(&self.scene, &mut self.random).await;
    }

    async fn get_identity(&mut self) {
        while self.identity.is_none() && !self.scene.is_over() {
            let broker = self.random.index(self.scene.brokers);
            if let Some(connection) = self.connections.to(&self.scene, broker).await {
                let request = InitProducerIdRequest::default();
                let answer = connection
                    .call(&request, INIT_PRODUCER_ID, SMALL_TIMEOUT)
                    .await;
                if let Ok(body) = answer
                    && let Ok((_, response)) =
                        decode_response::<InitProducerIdRequest<'_>>(&body, INIT_PRODUCER_ID)
                    && response.error_code.is_none()
                {
                    let id = ProducerId::new(response.producer_id);
                    self.identity = Some((id, ProducerEpoch::new(response.producer_epoch)));
                    trace!(self.name, "is producer {id}");
                    return;
                }
                self.connections.drop_to(broker);
            }
            sleep(self.random.millis(20..300)).await;
        }
    }
}

fn send(
    connection: &Rc<Connection>,
    topic: &str,
    partition: i32,
    acks: i16,
    bytes: &Bytes,
) -> Reply {
    let part = PartitionProduceData {
        index: partition,
        records: Records::Chunks(vec![bytes.clone()]),
    };
    let request = ProduceRequest {
        acks,
        timeout_ms: 5_000,
        topic_data: vec![TopicProduceData {
            name: topic,
            partition_data: vec![part],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    connection.send(&request, PRODUCE)
}
