//! Produce as a client sees it: what is refused, with which error.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use bytes::Bytes;
use common::{LocalBroker, batch};
use segment::TimestampMs;
use segment::batch::Codec;
use segment::record::{NewRecord, RecordBatchBuilder};
use wire::ErrorCode;

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
