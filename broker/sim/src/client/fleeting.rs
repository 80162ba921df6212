//! One who creates a topic, writes to it, reads it and deletes it, again and again under the same name.
//!
//! A topic is named by its id from then on, so that nothing that is late means the next one. What is checked: each has an
//! id of its own, begins empty, keeps every promise for as long as it is there, and leaves nothing in the store.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use check::{Broker, Epoch, Event, Kind, Observer, Partition, Producer};
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::{ProducerEpoch, ProducerId, Sequence};
use wire::messages::create_topics::CreatableTopic;
use wire::messages::delete_topics::DeleteTopicState;
use wire::messages::fetch::{FetchPartition, FetchTopic};
use wire::messages::metadata::MetadataRequestTopic;
use wire::messages::produce::{PartitionProduceData, TopicProduceData};
use wire::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, InitProducerIdRequest, MetadataRequest,
    ProduceRequest,
};
use wire::{ErrorCode, Records, Uuid, decode_response};

use super::connection::Connection;
use super::consumer::records;
use super::producer::RECORD_TIME;
use super::scene::{SMALL_TIMEOUT, Scene};
use crate::clock::{self, sleep};
use crate::fault::Fault;
use crate::judge;
use crate::random::Random;
use crate::store;
use crate::trace::{self, trace};

const CREATE_TOPICS: i16 = 7;
const DELETE_TOPICS: i16 = 6;
const METADATA: i16 = 12;
const PRODUCE: i16 = 13;
const FETCH: i16 = 13;
const INIT_PRODUCER_ID: i16 = 4;
/// The name of all of them.
const NAME: &str = "fleeting";
const HOME: i32 = 0;
const READER: Observer = Observer(1);
/// How long deleted objects may be there still, with everything calm: twice the longest time to live of a session, and the
/// pause after a sweep that failed.
const SWEPT_WITHIN: Duration = Duration::from_secs(40);

/// The one who does it.
struct Owner {
    scene: Rc<Scene>,
    random: Random,
    /// The ids of those that are gone.
    gone: BTreeSet<Uuid>,
}

/// A topic while it is there.
struct Present {
    id: Uuid,
    producer: (ProducerId, ProducerEpoch),
    sequence: i32,
    history: Vec<Event>,
}

/// Creates and deletes while faults strike, and once more when they have ended.
pub(crate) async fn run(scene: Rc<Scene>, store: Arc<store::Shared>, seed: u64) {
    let mut owner = Owner {
        random: Random::of(seed, NAME),
        scene: scene.clone(),
        gone: BTreeSet::new(),
    };
    while scene.is_faulty() {
        owner.one().await;
        let pause = owner.random.millis(0..2_000);
        sleep(pause).await;
    }
    owner.one().await;
    let end = clock::read() + SWEPT_WITHIN;
    while !scene.is_over() {
        let left = store.of_topic(NAME);
        let Some(first) = left.first() else { return };
        if clock::read() >= end {
            let count = left.len();
            return scene.violation(format!(
                "{NAME}: it is deleted, and {count} of its objects are there, {first} first"
            ));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

impl Owner {
    /// One topic from its beginning to its end.
    async fn one(&mut self) {
        let Some(id) = self.create().await else {
            return;
        };
        let Some(producer) = self.identity().await else {
            return;
        };
        let mut topic = Present {
            id,
            producer,
            sequence: 0,
            history: Vec::new(),
        };
        for _ in 0..1 + self.random.below(6) {
            self.write(&mut topic).await;
        }
        self.read(&mut topic).await;
        if self.random.one_in(2) {
            // One that nobody waits for meets the end.
            let scene = self.scene.clone();
            let (batch, _) = self.batch(&mut topic);
            let broker = self.random.index(scene.brokers);
            tokio::task::spawn_local(async move {
                if let Ok(connection) = Connection::open(&scene.network, broker).await {
                    drop(send(&connection, id, batch).within(SMALL_TIMEOUT).await);
                }
            });
        }
        self.delete(id).await;
        for found in judge::judge(NAME, &topic.history) {
            self.scene.violation(found);
        }
    }

    async fn any(&mut self) -> Option<Rc<Connection>> {
        let broker = self.random.index(self.scene.brokers);
        let opened = Connection::open(&self.scene.network, broker).await.ok();
        if opened.is_none() {
            self.pause().await;
        }
        opened
    }

    async fn pause(&mut self) {
        let pause = self.random.millis(20..300);
        sleep(pause).await;
    }

    /// Creates the topic, trying until one is there that it has not deleted.
    async fn create(&mut self) -> Option<Uuid> {
        while !self.scene.is_over() {
            if let Some(connection) = self.any().await {
                let request = CreateTopicsRequest {
                    topics: vec![CreatableTopic {
                        name: NAME,
                        num_partitions: 1,
                        replication_factor: 1,
                        ..CreatableTopic::default()
                    }],
                    timeout_ms: 5_000,
                    ..CreateTopicsRequest::default()
                };
                // Whatever is answered, or nothing: what counts is what is there.
                let answer = connection
                    .call(&request, CREATE_TOPICS, SMALL_TIMEOUT)
                    .await;
                if let Ok(body) = &answer
                    && let Ok((_, response)) =
                        decode_response::<CreateTopicsRequest<'_>>(body, CREATE_TOPICS)
                    && let Some(topic) = response.topics.first()
                    && topic.error_code.is_none()
                    && self.gone.contains(&topic.topic_id)
                {
                    let id = topic.topic_id;
                    self.scene.violation(format!(
                        "{NAME}: a new topic has the id {id} of one that is deleted"
                    ));
                }
                match self.look(&connection).await {
                    Some((id, _)) if self.gone.contains(&id) => {
                        // Who did not know it yet may have said that it is gone.
                        self.delete_once(&connection, id).await;
                    }
                    Some((id, _)) => {
                        trace!(NAME, "topic {id} is there");
                        return Some(id);
                    }
                    None => {}
                }
            }
            self.pause().await;
        }
        None
    }

    /// Id and leader, as some broker knows them.
    async fn look(&self, connection: &Rc<Connection>) -> Option<(Uuid, usize)> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(NAME),
                ..MetadataRequestTopic::default()
            }]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let body = connection
            .call(&request, METADATA, SMALL_TIMEOUT)
            .await
            .ok()?;
        let (_, response) = decode_response::<MetadataRequest<'_>>(&body, METADATA).ok()?;
        let topic = response.topics.first()?;
        if !topic.error_code.is_none() {
            return None;
        }
        let leader = usize::try_from(topic.partitions.first()?.leader_id).ok()?;
        (leader < self.scene.brokers).then_some((topic.topic_id, leader))
    }

    /// A connection to who leads it.
    async fn leader(&mut self, id: Uuid) -> Option<(usize, Rc<Connection>)> {
        let connection = self.any().await?;
        let found = self.look(&connection).await;
        let Some((_, leader)) = found.filter(|(found, _)| *found == id) else {
            self.pause().await;
            return None;
        };
        let opened = Connection::open(&self.scene.network, leader).await.ok();
        if opened.is_none() {
            self.pause().await;
        }
        opened.map(|connection| (leader, connection))
    }

    async fn identity(&mut self) -> Option<(ProducerId, ProducerEpoch)> {
        while !self.scene.is_over() {
            if let Some(connection) = self.any().await {
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
                    return Some((id, ProducerEpoch::new(response.producer_epoch)));
                }
            }
            self.pause().await;
        }
        None
    }

    /// The next batch, begun.
    fn batch(&mut self, topic: &mut Present) -> (Bytes, Event) {
        let (id, epoch) = topic.producer;
        let sequence = Sequence::new(topic.sequence);
        let mut builder = RecordBatchBuilder::new().producer(id, epoch, sequence);
        let mut values = Vec::new();
        for _ in 0..1 + self.random.below(5) {
            let value = self.scene.value();
            let bytes = value.0.to_be_bytes();
            let record = NewRecord {
                timestamp: RECORD_TIME,
                value: Some(&bytes),
                ..NewRecord::default()
            };
            builder
                .push(record)
                .expect("a record of the simulator fits");
            values.push(value);
        }
        topic.sequence += values.len() as i32;
        let bytes = builder.build().expect("a batch of the simulator is built");
        let sent = Event::Send {
            send: self.scene.send_id(),
            producer: Producer(0),
            kind: Kind::Idempotent,
            partition: Partition(HOME),
            values,
            at: self.scene.now(),
        };
        topic.history.push(sent.clone());
        (Bytes::copy_from_slice(&bytes), sent)
    }

    /// Writes a batch, until it is acknowledged.
    async fn write(&mut self, topic: &mut Present) {
        let (batch, sent) = self.batch(topic);
        let Event::Send { send: sent, .. } = sent else {
            unreachable!("a batch begins with its sending");
        };
        while !self.scene.is_over() {
            let Some((leader, connection)) = self.leader(topic.id).await else {
                continue;
            };
            let answer = send(&connection, topic.id, batch.clone());
            if let Ok(body) = answer.within(SMALL_TIMEOUT * 2).await {
                let decoded = decode_response::<ProduceRequest<'_>>(&body, PRODUCE);
                let part = decoded.ok().and_then(|(_, response)| {
                    let mut parts = response
                        .responses
                        .iter()
                        .flat_map(|topic| &topic.partition_responses);
                    parts.next().map(|part| (part.error_code, part.base_offset))
                });
                match part {
                    Some((ErrorCode::NONE, base)) => {
                        trace!(NAME, "broker {leader} has a batch at {base}");
                        topic.history.push(Event::Ok {
                            send: sent,
                            offset: Some(base),
                            at: self.scene.now(),
                        });
                        return;
                    }
                    other => trace!(NAME, "{other:?} by broker {leader}: again"),
                }
            }
            self.pause().await;
        }
    }

    /// Reads it from its beginning to its end.
    async fn read(&mut self, topic: &mut Present) {
        let began = self.scene.now();
        let (mut position, mut end) = (0, None);
        while end.is_none_or(|end| position < end) && !self.scene.is_over() {
            let Some((leader, connection)) = self.leader(topic.id).await else {
                continue;
            };
            let request = FetchRequest {
                max_wait_ms: 100,
                min_bytes: 1,
                max_bytes: 1 << 20,
                topics: vec![FetchTopic {
                    topic_id: topic.id,
                    partitions: vec![FetchPartition {
                        partition: HOME,
                        fetch_offset: position,
                        partition_max_bytes: 1 << 20,
                        ..FetchPartition::default()
                    }],
                    ..FetchTopic::default()
                }],
                ..FetchRequest::default()
            };
            let asked = self.scene.now();
            let Ok(body) = connection.call(&request, FETCH, SMALL_TIMEOUT * 2).await else {
                self.pause().await;
                continue;
            };
            let Ok((_, response)) = decode_response::<FetchRequest<'_>>(&body, FETCH) else {
                self.scene
                    .violation(format!("{NAME}: an answer to Fetch cannot be decoded"));
                return;
            };
            let mut parts = response.responses.iter().flat_map(|it| &it.partitions);
            let Some(part) = parts.next().filter(|part| part.error_code.is_none()) else {
                self.pause().await;
                continue;
            };
            let found = records(part.records.borrowed().unwrap_or_default());
            let (mut found, behind) = match found {
                Ok(found) => found,
                Err(error) => return self.scene.violation(format!("{NAME}: {error}")),
            };
            found.retain(|record| record.offset >= position);
            position = position.max(behind);
            end = Some(part.high_watermark);
            topic.history.push(Event::Poll {
                observer: READER,
                partition: Partition(HOME),
                broker: Broker(leader as i32),
                epoch: Epoch::NONE,
                astray: false,
                began: asked,
                records: found,
                high_watermark: part.high_watermark,
                at: self.scene.now(),
            });
        }
        let Some(end) = end.filter(|end| position >= *end) else {
            return;
        };
        trace!(NAME, "read to its end, {end}");
        topic.history.push(Event::FullRead {
            observer: READER,
            partition: Partition(HOME),
            broker: Broker(-1),
            start: 0,
            end,
            began,
        });
    }

    /// Deletes it, until it is gone.
    async fn delete(&mut self, id: Uuid) {
        while !self.scene.is_over() {
            if let Some(connection) = self.any().await {
                match self.delete_once(&connection, id).await {
                    code @ Some(ErrorCode::NONE | ErrorCode::UNKNOWN_TOPIC_ID) => {
                        trace::fault(Fault::TopicDeleted);
                        trace!(NAME, "topic {id} is deleted: {code:?}");
                        self.gone.insert(id);
                        return;
                    }
                    other => trace!(NAME, "{other:?}: it is deleted again"),
                }
            }
            self.pause().await;
        }
    }

    async fn delete_once(&self, connection: &Rc<Connection>, id: Uuid) -> Option<ErrorCode> {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                name: None,
                topic_id: id,
            }],
            timeout_ms: 5_000,
            ..DeleteTopicsRequest::default()
        };
        let answer = connection
            .call(&request, DELETE_TOPICS, SMALL_TIMEOUT * 2)
            .await;
        let body = answer.ok()?;
        let (_, response) =
            decode_response::<DeleteTopicsRequest<'_>>(&body, DELETE_TOPICS).ok()?;
        response.responses.first().map(|topic| topic.error_code)
    }
}

fn send(connection: &Rc<Connection>, id: Uuid, batch: Bytes) -> super::connection::Reply {
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 5_000,
        topic_data: vec![TopicProduceData {
            topic_id: id,
            partition_data: vec![PartitionProduceData {
                index: HOME,
                records: Records::Chunks(vec![batch]),
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    connection.send(&request, PRODUCE)
}
