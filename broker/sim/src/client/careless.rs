//! Producers that wait for no answer (acks=0): nothing holds them up, so that more can wait for the store than it takes.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use check::{Event, Kind, Partition, Producer};
use segment::record::{NewRecord, RecordBatchBuilder};
use wire::Records;
use wire::messages::ProduceRequest;
use wire::messages::produce::{PartitionProduceData, TopicProduceData};

use super::producer::RECORD_TIME;
use super::scene::{Connections, Leaders, Scene};
use crate::clock::sleep;
use crate::fault::Fault;
use crate::random::Random;
use crate::trace::{self, trace};

const PRODUCE: i16 = 9;
/// Its number as a producer.
const PRODUCER: Producer = Producer(1_000);
/// Longest wait until there is room for a batch between the sockets.
const ROOM_WAIT: Duration = Duration::from_secs(5);
/// Batches of a burst.
const BURST: u64 = 40;

/// Writes batches of up to `bytes` bytes to the first topic while faults strike, in bursts; what becomes of them it does
/// not know.
pub(crate) async fn run(scene: Rc<Scene>, bytes: u64, seed: u64) {
    let mut random = Random::of(seed, "careless");
    let (mut leaders, mut connections) = (Leaders::default(), Connections::default());
    let partitions = scene.topics[0].partitions as usize;
    while scene.is_faulty() {
        sleep(random.millis(500..4_000)).await;
        leaders.refresh(&scene, &mut random).await;
        let partition = random.index(partitions) as i32;
        let Some(leader) = leaders.of(0, partition) else {
            continue;
        };
        let count = 1 + random.below(BURST);
        trace!(
            "careless",
            "writes {count} batches to broker {leader} without waiting"
        );
        for _ in 0..count {
            if !scene.is_faulty() {
                return;
            }
            let Some(connection) = connections.to(&scene, leader).await else {
                break;
            };
            trace::fault(Fault::ClientCareless);
            let batch = batch(&scene, partition, bytes, &mut random);
            let request = ProduceRequest {
                acks: 0,
                timeout_ms: 5_000,
                topic_data: vec![TopicProduceData {
                    name: &scene.topics[0].name,
                    partition_data: vec![PartitionProduceData {
                        index: partition,
                        records: Records::Chunks(vec![batch]),
                    }],
                    ..TopicProduceData::default()
                }],
                ..ProduceRequest::default()
            };
            connection
                .send_unanswered(&request, PRODUCE, ROOM_WAIT)
                .await;
        }
    }
}

fn batch(scene: &Scene, partition: i32, bytes_max: u64, random: &mut Random) -> Bytes {
    let value = scene.value();
    let mut bytes = value.0.to_be_bytes().to_vec();
    bytes.resize(8 + random.below(bytes_max) as usize, b'.');
    let record = NewRecord {
        timestamp: RECORD_TIME,
        value: Some(&bytes),
        ..NewRecord::default()
    };
    let mut builder = RecordBatchBuilder::new();
    builder
        .push(record)
        .expect("a record of the simulator fits");
    let batch = builder.build().expect("a batch of the simulator is built");
    let (send, partition) = (scene.send_id(), Partition(partition));
    let sent = Event::Send {
        send,
        producer: PRODUCER,
        kind: Kind::Plain,
        partition,
        values: vec![value],
        at: scene.now(),
    };
    scene.record(0, sent);
    let at = scene.now();
    scene.record(0, Event::Unknown { send, at });
    batch
}
