//! Produce as a client sees it: what is refused, with which error.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write};
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

/// Its length is the first four bytes of a binary PROXY header.
#[test]
fn a_request_as_long_as_a_proxy_header_begins_is_read_and_such_a_header_is_not() {
    let broker = LocalBroker::start(&[("memory.budget_bytes", "2GiB")]);
    let begin = |bytes: &[u8]| {
        let mut client = broker.connect();
        client.stream.write_all(bytes).unwrap();
        client
            .stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let read = client.stream.read(&mut [0; 1]);
        matches!(read, Ok(0))
    };
    let length = 218_762_506_i32.to_be_bytes();
    assert_eq!(&length, b"\r\n\r\n");
    // Produce in version 9, and the correlation id that the rest of the signature would be.
    let produce = [&length[..], b"\0\0\0\x09", b"QUIT\n"].concat();
    assert!(!begin(&produce), "it waits for the rest");
    assert!(!begin(&produce[..5]), "it may be either");
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02";
    assert!(begin(header));
    assert!(begin(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"));
    // What begins like one and is none is a request of LeaveGroup that is too large.
    assert!(begin(b"\r\n\r\n\0\r\nQUIX\n"));
    let too_large = "kafscale_frames_rejected_total{reason=\"too_large\"}";
    assert_eq!(broker.metric(too_large), 1.0);
    broker.stop();
}
