//! Produce as a client sees it: what is refused, with which error.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{LocalBroker, PRODUCE_VERSION, batch, produce_request};
use segment::TimestampMs;
use segment::batch::Codec;
use segment::record::{NewRecord, RecordBatchBuilder};
use wire::ErrorCode;
use wire::messages::produce::ProduceRequest;

fn keyed(codec: Codec, keys: &[Option<&[u8]>]) -> Bytes {
    let mut builder = RecordBatchBuilder::new().codec(codec);
    for key in keys {
        let record = NewRecord {
            timestamp: TimestampMs::new(1_700_000_000_000),
            key: *key,
            value: Some(b"value"),
            headers: &[],
        };
        builder.push(record).unwrap();
    }
    builder.build().unwrap()
}

/// Kafka's `LogValidator`: a record without a key could never be superseded.
#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create_with("table", 1, &[("cleanup.policy", "compact")]);
    let mut produce = |batch: &Bytes| client.produce(&topic, 0, batch).error;
    for codec in [Codec::None, Codec::Zstd] {
        let keys: [Option<&[u8]>; 2] = [Some(b"a"), Some(b"")];
        assert_eq!(produce(&keyed(codec, &keys)), ErrorCode::NONE);
        let one_without: [Option<&[u8]>; 2] = [Some(b"a"), None];
        let refused = produce(&keyed(codec, &one_without));
        assert_eq!(refused, ErrorCode::INVALID_RECORD, "{codec:?}");
    }
    let other = client.create("log", 1);
    assert_eq!(
        client.produce(&other, 0, &batch(&[b"1"])).error,
        ErrorCode::NONE
    );
    broker.stop();
}

/// KIP-467: the reply names the records that are to blame, so that a client can tell them from the others.
#[test]
fn a_refused_batch_names_its_records_without_a_key() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create_with("table", 1, &[("cleanup.policy", "compact")]);
    for codec in [Codec::None, Codec::Zstd] {
        let keys: [Option<&[u8]>; 4] = [None, Some(b"a"), Some(b"b"), None];
        let request = keyed(codec, &keys);
        let request = produce_request(&topic, 0, &request, Duration::from_secs(10));
        let body = client.call(PRODUCE_VERSION, &request);
        let (_, response) =
            wire::decode_response::<ProduceRequest<'_>>(&body, PRODUCE_VERSION).unwrap();
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, ErrorCode::INVALID_RECORD);
        let text = partition.error_message.unwrap();
        assert!(text.contains("due to 2 record errors"), "{text}");
        let named = partition.record_errors.iter();
        let named: Vec<i32> = named.map(|record| record.batch_index).collect();
        assert_eq!(named, [0, 3], "{codec:?}");
        let text = partition.record_errors[0].batch_index_error_message;
        assert!(text.unwrap().contains("without key"));
    }
    broker.stop();
}
