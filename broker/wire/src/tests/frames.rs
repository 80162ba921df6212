//! Whole frames: headers, length prefix, records that are not copied, the streaming writer.

use bytes::Bytes;
use kafka_protocol::protocol::Decodable;

use super::{Rng, arbitrary, body};
use crate::messages::fetch::{
    FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use crate::messages::produce::{PartitionProduceData, TopicProduceData};
use crate::messages::{
    ApiVersionsRequest, ApiVersionsResponse, ConsumerProtocolSubscription, FetchRequest,
    HeartbeatRequest, HeartbeatResponse, ProduceRequest,
};
use crate::{
    ApiKey, DecodeErrorKind, Decoder, EncodeError, ErrorCode, FetchResponseWriter,
    LENGTH_PREFIX_BYTES, Message, Records, RequestHeader, Uuid, decode_request, decode_response,
    encode_request, encode_response, range_in, supported_versions,
};

fn header<'a>(api: ApiKey, version: i16) -> RequestHeader<'a> {
    RequestHeader {
        api_key: api.as_i16(),
        api_version: version,
        correlation_id: 77,
        client_id: Some("test"),
    }
}

#[test]
fn request_frames_round_trip_and_match_the_oracle() {
    for version in supported_versions(ApiKey::Fetch).iter() {
        let request: FetchRequest<'static> = arbitrary(version, 1);
        let header = header(ApiKey::Fetch, version);
        let frame = encode_request(&header, &request).unwrap();
        let whole = frame.to_bytes();
        assert_eq!(whole.len(), frame.len);
        let prefix = i32::from_be_bytes(*whole.first_chunk().unwrap());
        assert_eq!(
            usize::try_from(prefix).unwrap(),
            frame.len - LENGTH_PREFIX_BYTES
        );

        let body = frame.body();
        assert_eq!(RequestHeader::peek(&body).unwrap(), (1, version, 77));
        assert_eq!(decode_request(&body).unwrap(), (header, request));
        let mut left = body.clone();
        let theirs =
            kafka_protocol::protocol::decode_request_header_from_buffer(&mut left).unwrap();
        assert_eq!(theirs.client_id.unwrap().as_str(), "test");
        kafka_protocol::messages::FetchRequest::decode(&mut left, version).unwrap();
        assert!(left.is_empty());
    }
}

#[test]
fn response_frames_round_trip() {
    let response = HeartbeatResponse {
        throttle_time_ms: 3,
        error_code: ErrorCode::REBALANCE_IN_PROGRESS,
    };
    for version in 1..=4 {
        let frame = encode_response(9, ApiKey::Heartbeat, version, &response).unwrap();
        let body = frame.body();
        assert_eq!(body.len(), if version == 4 { 12 } else { 10 });
        let back = decode_response::<HeartbeatRequest<'_>>(&body, version).unwrap();
        assert_eq!(back, (9, response.clone()));
    }
}

#[test]
fn api_versions_has_an_inflexible_response_header_even_when_unknown() {
    // A client from the future: the request is not understood, its header is.
    let request = ApiVersionsRequest {
        client_software_name: "x",
        ..Default::default()
    };
    let mut frame = encode_request(&header(ApiKey::ApiVersions, 4), &request)
        .unwrap()
        .body()
        .to_vec();
    frame[3] = 99;
    assert_eq!(RequestHeader::peek(&frame).unwrap(), (18, 99, 77));
    let mut decoder = Decoder::new(&frame);
    assert_eq!(
        RequestHeader::decode(&mut decoder).unwrap().client_id,
        Some("test")
    );
    let error = ApiVersionsRequest::decode(&mut decoder, 99).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::UnsupportedVersion(99));

    let answer = ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        ..Default::default()
    };
    let frame = encode_response(77, ApiKey::ApiVersions, 0, &answer).unwrap();
    assert_eq!(&frame.body()[..], [0, 0, 0, 77, 0, 35, 0, 0, 0, 0]);
    let frame = encode_response(77, ApiKey::ApiVersions, 3, &answer).unwrap();
    assert_eq!(&frame.body()[..], [0, 0, 0, 77, 0, 35, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn unknown_api_keys_still_give_a_correlation_id() {
    let frame = [0x03, 0xe8, 0, 0, 0, 0, 0, 5];
    assert_eq!(RequestHeader::peek(&frame).unwrap(), (1000, 0, 5));
    let error = RequestHeader::decode(&mut Decoder::new(&frame)).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::UnknownApiKey(1000));
    assert!(RequestHeader::peek(&frame[..7]).is_err());
}

#[test]
fn a_frame_of_another_api_is_refused() {
    let frame =
        encode_request(&header(ApiKey::Heartbeat, 4), &HeartbeatRequest::default()).unwrap();
    let error = decode_request::<FetchRequest<'_>>(&frame.body()).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::UnexpectedApiKey(12));
}

#[test]
fn bytes_behind_a_request_are_tolerated() {
    let mut body = body(&HeartbeatRequest::default(), 4).to_vec();
    body.push(1);
    let mut decoder = Decoder::new(&body);
    HeartbeatRequest::decode(&mut decoder, 4).unwrap();
    assert_eq!(decoder.remaining(), 1);
}

#[test]
fn decoded_records_lie_in_the_frame() {
    let records = [9u8; 61];
    let partition = PartitionProduceData {
        index: 3,
        records: Records::Borrowed(&records),
    };
    let topic = TopicProduceData {
        topic_id: Uuid::from_u128(5),
        partition_data: vec![partition],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        topic_data: vec![topic],
        ..Default::default()
    };
    let frame = encode_request(&header(ApiKey::Produce, 13), &request).unwrap();
    let mut buffer = frame.body();
    let range = {
        let (_, request) = decode_request::<ProduceRequest<'_>>(&buffer).unwrap();
        let records = request.topic_data[0].partition_data[0]
            .records
            .borrowed()
            .unwrap();
        range_in(&buffer, records).unwrap()
    };
    let tail = buffer.split_off(range.start);
    assert_eq!(&tail[..range.len()], records);
    // Three structs' ends follow: partition, topic, request.
    assert_eq!(tail.len() - range.len(), 3);
}

#[test]
fn range_in_answers_only_for_parts() {
    let frame = [0u8; 16];
    let other = [0u8; 16];
    assert_eq!(range_in(&frame, &frame[4..9]), Some(4..9));
    assert_eq!(range_in(&frame, &frame), Some(0..16));
    assert_eq!(range_in(&frame, &frame[16..]), Some(16..16));
    assert_eq!(range_in(&frame, &other), None);
    assert_eq!(range_in(&frame[..8], &frame[4..9]), None);
    assert_eq!(range_in(&frame[4..], &frame[..8]), None);
}

#[test]
fn chunks_are_passed_on_without_a_copy() {
    let first = Bytes::from(vec![1; 100]);
    let second = Bytes::from(vec![2; 50]);
    let slices = [first.clone(), second.clone()];
    for records in [Records::Slices(&slices), Records::Chunks(slices.to_vec())] {
        let partition = PartitionData {
            partition_index: 1,
            records,
            ..Default::default()
        };
        let topic = FetchableTopicResponse {
            partitions: vec![partition],
            ..Default::default()
        };
        let response = FetchResponse {
            responses: vec![topic],
            ..Default::default()
        };
        let frame = encode_response(1, ApiKey::Fetch, 12, &response).unwrap();
        let parts: Vec<*const u8> = frame.parts.iter().map(|part| part.as_ptr()).collect();
        assert_eq!(frame.parts.len(), 4);
        assert_eq!(parts[1], first.as_ptr());
        assert_eq!(parts[2], second.as_ptr());
        assert_eq!(frame.parts.iter().map(Bytes::len).sum::<usize>(), frame.len);
        let body = frame.body();
        let (_, back) = decode_response::<FetchRequest<'_>>(&body, 12).unwrap();
        assert_eq!(back, response);
        assert_eq!(back.responses[0].partitions[0].records.len(), 150);
    }
}

#[test]
fn the_fetch_writer_makes_the_same_bytes() {
    for version in supported_versions(ApiKey::Fetch).iter() {
        for case in 0..20 {
            let response: FetchResponse<'static> = arbitrary(version, case);
            let whole = encode_response(5, ApiKey::Fetch, version, &response).unwrap();
            let topics = response.responses.len();
            let mut writer = FetchResponseWriter::new(5, version, &response, topics).unwrap();
            for topic in &response.responses {
                writer.topic(topic, topic.partitions.len()).unwrap();
                for partition in &topic.partitions {
                    writer.partition(partition).unwrap();
                }
            }
            let streamed = writer.finish(&response.node_endpoints).unwrap();
            assert_eq!(
                streamed.to_bytes(),
                whole.to_bytes(),
                "v{version} case {case}"
            );
            assert_eq!(streamed.len, whole.len);
        }
    }
}

#[test]
fn the_fetch_writer_holds_its_caller_to_the_counts() {
    let head = FetchResponse::default();
    let topic = FetchableTopicResponse::default();
    let partition = PartitionData::default();
    let writer = FetchResponseWriter::new(1, 12, &head, 1).unwrap();
    assert_eq!(writer.finish(&[]).unwrap_err(), EncodeError::Count);
    let mut writer = FetchResponseWriter::new(1, 12, &head, 1).unwrap();
    assert_eq!(
        writer.partition(&partition).unwrap_err(),
        EncodeError::Count
    );
    writer.topic(&topic, 1).unwrap();
    assert_eq!(writer.topic(&topic, 1).unwrap_err(), EncodeError::Count);
    writer.partition(&partition).unwrap();
    assert_eq!(
        writer.partition(&partition).unwrap_err(),
        EncodeError::Count
    );
    assert!(FetchResponseWriter::new(1, 3, &head, 1).is_err());
}

#[test]
fn fields_that_a_version_lacks_are_dropped_or_refused() {
    // Kafka calls the leader epoch of a fetch ignorable, the group instance id it does not.
    let request = HeartbeatRequest {
        group_instance_id: Some("x"),
        ..Default::default()
    };
    let mut encoder = crate::Encoder::new();
    let error = request.encode(&mut encoder, 2).unwrap_err();
    let field = "group_instance_id";
    assert_eq!(
        error,
        EncodeError::FieldNotInVersion {
            message: "HeartbeatRequest",
            field,
            version: 2
        }
    );
    let response = HeartbeatResponse {
        throttle_time_ms: 8,
        ..Default::default()
    };
    assert_eq!(&body(&response, 0)[..], [0, 0]);
}

#[test]
fn tagged_fields_are_written_only_when_set() {
    let partition = PartitionData {
        current_leader: LeaderIdAndEpoch {
            leader_id: 1,
            leader_epoch: 2,
        },
        ..Default::default()
    };
    let topic = FetchableTopicResponse {
        partitions: vec![partition],
        ..Default::default()
    };
    let node_endpoints = vec![NodeEndpoint {
        node_id: 1,
        host: "h",
        ..Default::default()
    }];
    let set = FetchResponse {
        responses: vec![topic],
        node_endpoints,
        ..Default::default()
    };
    let bytes = body(&set, 16);
    let mut decoder = Decoder::new(&bytes);
    assert_eq!(FetchResponse::decode(&mut decoder, 16).unwrap(), set);
    // throttle, error, session, no topics, no tagged fields
    assert_eq!(body(&FetchResponse::default(), 16).len(), 4 + 2 + 4 + 1 + 1);
}

#[test]
fn strings_that_do_not_fit_are_refused() {
    let long = "x".repeat(40_000);
    let request = HeartbeatRequest {
        group_id: &long,
        ..Default::default()
    };
    let error = request.encode(&mut crate::Encoder::new(), 3).unwrap_err();
    assert_eq!(error, EncodeError::TooLong(40_000));
    assert_eq!(body(&request, 4).len(), 3 + 40_000 + 4 + 1 + 1 + 1);
}

#[test]
fn consumer_protocol_blobs_carry_their_version() {
    let mut rng = Rng::new(1);
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["a", "b"],
        user_data: Some(rng.bytes()),
        ..Default::default()
    };
    for version in 0..=3 {
        let blob = subscription.to_blob(version).unwrap();
        assert_eq!(blob[..2], version.to_be_bytes());
        let back = ConsumerProtocolSubscription::from_blob(&blob).unwrap();
        assert_eq!(back, (version, subscription.clone()));
    }
    // A newer version is read as the newest known one; what it appends is left alone.
    let mut newer = subscription.to_blob(3).unwrap().to_vec();
    newer[1] = 7;
    newer.extend_from_slice(b"appended");
    let back = ConsumerProtocolSubscription::from_blob(&newer).unwrap();
    assert_eq!(back, (7, subscription));
    assert!(ConsumerProtocolSubscription::from_blob(&[0xff, 0xff, 0, 0]).is_err());
    assert!(ConsumerProtocolSubscription::from_blob(&[]).is_err());
}
