//! Requests and responses of a given size.

use bytes::Bytes;
use wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::{FetchResponseWriter, Frame, Records, Request, RequestHeader, Uuid, encode_request};

/// Version of Produce with names, flexible.
pub const PRODUCE_VERSION: i16 = 12;
/// Version of Fetch with topic ids.
pub const FETCH_VERSION: i16 = 17;

fn frame<'a, R: Request<'a>>(version: i16, request: &R) -> Bytes {
    let header = RequestHeader {
        api_key: R::KEY.as_i16(),
        api_version: version,
        correlation_id: 1,
        client_id: Some("bench"),
    };
    encode_request(&header, request)
        .expect("a sound request")
        .body()
}

/// A produce request without its length prefix: `batch` for each of `partitions` partitions.
///
/// # Panics
/// Never: the request is sound.
pub fn produce_frame(partitions: usize, batch: &Bytes) -> Bytes {
    let data = (0..partitions).map(|index| PartitionProduceData {
        index: index as i32,
        records: Records::Chunks(vec![batch.clone()]),
    });
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: "orders",
            partition_data: data.collect(),
            ..Default::default()
        }],
    };
    frame(PRODUCE_VERSION, &request)
}

/// A fetch request without its length prefix, of `partitions` partitions of one topic.
///
/// # Panics
/// Never: the request is sound.
pub fn fetch_frame(partitions: usize) -> Bytes {
    let wanted = (0..partitions).map(|index| FetchPartition {
        partition: index as i32,
        current_leader_epoch: 3,
        fetch_offset: 1_000,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        session_id: 7,
        session_epoch: 1,
        topics: vec![FetchTopic {
            topic_id: Uuid::from_u128(7),
            partitions: wanted.collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    frame(FETCH_VERSION, &request)
}

/// The response to a fetch of `partitions` partitions of one topic, `slices` from each.
///
/// # Panics
/// Never: the response is sound.
pub fn fetch_response(partitions: usize, slices: &[Bytes]) -> Frame {
    let head = FetchResponse {
        session_id: 1,
        ..Default::default()
    };
    let topic = FetchableTopicResponse {
        topic_id: Uuid::from_u128(7),
        ..Default::default()
    };
    let mut writer = FetchResponseWriter::new(1, FETCH_VERSION, &head, 1).expect("a known version");
    writer.topic(&topic, partitions).expect("one topic");
    for index in 0..partitions {
        let data = PartitionData {
            partition_index: index as i32,
            high_watermark: 1_000,
            last_stable_offset: 1_000,
            log_start_offset: 0,
            records: Records::Slices(slices),
            ..Default::default()
        };
        writer
            .partition(&data)
            .expect("as many partitions as announced");
    }
    writer.finish(&[]).expect("a complete response")
}
