//! Administrators: they create the topics of a run, and delete records.

use std::rc::Rc;
use std::time::Duration;

use wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::{CreateTopicsRequest, DeleteRecordsRequest};
use wire::{ErrorCode, decode_response};

use super::connection::Connection;
use super::scene::{Keeping, Leaders, Scene};
use crate::clock::sleep;
use crate::fault::Fault;
use crate::random::Random;
use crate::trace::{self, trace};

const CREATE_TOPICS: i16 = 5;
const DELETE_RECORDS: i16 = 2;
const TIMEOUT_MS: i32 = 5_000;
const WAIT: Duration = Duration::from_secs(8);

/// Creates every topic, trying until it is there; `false` when the time is up.
pub(crate) async fn create_topics(scene: &Rc<Scene>, seed: u64, patience: Duration) -> bool {
    let mut random = Random::of(seed, "administrator");
    let all = async {
        for topic in 0..scene.topics.len() {
            while !create(scene, topic, &mut random).await {
                sleep(random.millis(50..300)).await;
            }
        }
    };
    let created = tokio::time::timeout(patience, all).await.is_ok();
    crate::clock::read();
    created
}

async fn create(scene: &Rc<Scene>, topic: usize, random: &mut Random) -> bool {
    let broker = random.index(scene.brokers);
    let Ok(connection) = Connection::open(&scene.network, broker).await else {
        return false;
    };
    let topic = &scene.topics[topic];
    let configs = topic
        .configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig {
            name,
            value: Some(value),
        });
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: &topic.name,
            num_partitions: topic.partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..CreatableTopic::default()
        }],
        timeout_ms: TIMEOUT_MS,
        ..CreateTopicsRequest::default()
    };
    let Ok(body) = connection.call(&request, CREATE_TOPICS, WAIT).await else {
        return false;
    };
    let decoded = decode_response::<CreateTopicsRequest<'_>>(&body, CREATE_TOPICS);
    let Some(code) = decoded
        .ok()
        .and_then(|(_, response)| response.topics.first().map(|topic| topic.error_code))
    else {
        return false;
    };
    trace!("admin", "creates {}: {code:?}", topic.name);
    code.is_none() || code == ErrorCode::TOPIC_ALREADY_EXISTS
}

/// Deletes records of a topic that is trimmed, now and then, while faults strike.
pub(crate) async fn delete_records(scene: Rc<Scene>, topic: usize, seed: u64) {
    let mut random = Random::of(seed, "deleter");
    let mut leaders = Leaders::default();
    let mut below = vec![0_i64; scene.topics[topic].partitions as usize];
    assert!(
        scene.topics[topic].keeping == Keeping::Trimmed,
        "records are kept elsewhere"
    );
    while scene.is_faulty() {
        sleep(random.millis(1_000..8_000)).await;
        let partition = random.index(below.len());
        leaders.refresh(&scene, &mut random).await;
        let Some(leader) = leaders.of(topic, partition as i32) else {
            continue;
        };
        let Ok(connection) = Connection::open(&scene.network, leader).await else {
            continue;
        };
        let offset = below[partition] + 1 + random.below(20) as i64;
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: &scene.topics[topic].name,
                partitions: vec![DeleteRecordsPartition {
                    partition_index: partition as i32,
                    offset,
                }],
            }],
            timeout_ms: TIMEOUT_MS,
        };
        let Ok(body) = connection.call(&request, DELETE_RECORDS, WAIT).await else {
            continue;
        };
        let decoded = decode_response::<DeleteRecordsRequest<'_>>(&body, DELETE_RECORDS);
        let Ok((_, response)) = decoded else { continue };
        let mut parts = response.topics.iter().flat_map(|topic| &topic.partitions);
        let Some(part) = parts.next() else { continue };
        trace!(
            "admin",
            "deletes records of {partition} below {offset}: {:?}, {}",
            part.error_code,
            part.low_watermark
        );
        if part.error_code.is_none() {
            trace::fault(Fault::RecordsDeleted);
            if part.low_watermark < below[partition] {
                scene.violation(format!(
                    "partition {partition}: the log start fell from {} to {}",
                    below[partition], part.low_watermark
                ));
            }
            below[partition] = below[partition].max(part.low_watermark);
        }
    }
}
