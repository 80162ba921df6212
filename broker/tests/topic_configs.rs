//! Topic settings that act when records are produced, over the wire.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::{
    Connection, Fetch, LocalBroker, PRODUCE_TIMEOUT, PRODUCE_VERSION, Topic, Wanted, batches,
    produce_request,
};
use segment::TimestampMs;
use segment::batch::{Codec, TimestampType};
use segment::record::{DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet};
use wire::ErrorCode;
use wire::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use wire::messages::{IncrementalAlterConfigsRequest, ProduceRequest};

const NONE: ErrorCode = ErrorCode::NONE;
const TOO_LARGE: ErrorCode = ErrorCode::MESSAGE_TOO_LARGE;
const BAD_TIME: ErrorCode = ErrorCode::INVALID_TIMESTAMP;

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64
}

/// A batch with a record of each time, its value as long as given and all alike.
fn batch(codec: Codec, times: &[i64], value_bytes: usize) -> Bytes {
    let value = vec![b'v'; value_bytes];
    let mut builder = RecordBatchBuilder::new().codec(codec);
    for time in times {
        let record = NewRecord {
            timestamp: TimestampMs::new(*time),
            key: Some(b"k"),
            value: Some(&value),
            headers: &[],
        };
        builder.push(record).unwrap();
    }
    builder.build().unwrap()
}

/// The outcome, and the time that the broker says it has given.
fn produce(client: &mut Connection, topic: &Topic, batch: &Bytes) -> (ErrorCode, i64) {
    let request = produce_request(topic, 0, batch, PRODUCE_TIMEOUT);
    let body = client.call(PRODUCE_VERSION, &request);
    let (_, response) =
        wire::decode_response::<ProduceRequest<'_>>(&body, PRODUCE_VERSION).unwrap();
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.log_append_time_ms)
}

fn stored(client: &mut Connection, topic: &Topic) -> Vec<u8> {
    let fetch = Fetch::of(vec![Wanted::new(topic, 0, 0)]);
    client.fetch(&fetch).only().records.clone()
}

fn set(client: &mut Connection, topic: &Topic, name: &str, value: &str) -> ErrorCode {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: &topic.name,
            configs: vec![AlterableConfig {
                name,
                config_operation: 0,
                value: Some(value),
            }],
        }],
        validate_only: false,
    };
    let body = client.call(1, &request);
    let (_, response) =
        wire::decode_response::<IncrementalAlterConfigsRequest<'_>>(&body, 1).unwrap();
    response.responses[0].error_code
}

#[test]
fn no_batch_is_larger_than_the_topic_takes() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create_with("a", 1, &[("max.message.bytes", "1000")]);
    let now = now_ms();
    let (small, large) = (
        batch(Codec::None, &[now], 800),
        batch(Codec::None, &[now], 1_100),
    );
    assert_eq!(produce(&mut client, &topic, &small).0, NONE);
    assert_eq!(produce(&mut client, &topic, &large).0, TOO_LARGE);
    // It is the size of the batch as it comes that counts.
    let packed = batch(Codec::Gzip, &[now], 50_000);
    assert_eq!(produce(&mut client, &topic, &packed).0, NONE);
    assert_eq!(set(&mut client, &topic, "max.message.bytes", "2000"), NONE);
    assert_eq!(produce(&mut client, &topic, &large).0, NONE);
    broker.stop();
}

#[test]
fn times_are_the_producers_or_the_brokers() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let now = now_ms();
    let old = batch(Codec::Zstd, &[now - 900_000, now - 800_000], 10);
    let own = client.create("own", 1);
    assert_eq!(produce(&mut client, &own, &old), (NONE, -1));
    let header = batches(&stored(&mut client, &own))[0];
    assert_eq!(
        header.attributes.timestamp_type(),
        TimestampType::CreateTime
    );
    assert_eq!(header.max_timestamp.get(), now - 800_000);
    let config = [("message.timestamp.type", "LogAppendTime")];
    let brokers = client.create_with("brokers", 1, &config);
    let (code, given) = produce(&mut client, &brokers, &old);
    assert_eq!(code, NONE);
    assert!((now..now + 60_000).contains(&given), "{given} {now}");
    let header = batches(&stored(&mut client, &brokers))[0];
    assert_eq!(
        header.attributes.timestamp_type(),
        TimestampType::LogAppendTime
    );
    assert_eq!(header.max_timestamp.get(), given);
    broker.stop();
}

#[test]
fn times_too_far_from_the_brokers_are_refused_unless_it_gives_them() {
    const HOUR: i64 = 3_600_000;
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let now = now_ms();
    let usual = client.create("usual", 1);
    let ahead = batch(Codec::None, &[now, now + 2 * HOUR], 10);
    assert_eq!(
        produce(&mut client, &usual, &ahead).0,
        BAD_TIME,
        "an hour is the default"
    );
    let ancient = batch(Codec::None, &[1, 2], 10);
    assert_eq!(produce(&mut client, &usual, &ancient).0, NONE, "any age is");
    let bounds = [
        ("message.timestamp.before.max.ms", "60000"),
        ("message.timestamp.after.max.ms", "86400000"),
    ];
    let bounded = client.create_with("bounded", 1, &bounds);
    assert_eq!(produce(&mut client, &bounded, &ahead).0, NONE);
    assert_eq!(produce(&mut client, &bounded, &ancient).0, BAD_TIME);
    for codec in [Codec::None, Codec::Lz4] {
        let second = batch(codec, &[now, now - HOUR, now], 10);
        assert_eq!(
            produce(&mut client, &bounded, &second).0,
            BAD_TIME,
            "not only the first counts"
        );
        let none = batch(codec, &[-1], 10);
        assert_eq!(
            produce(&mut client, &bounded, &none).0,
            NONE,
            "no time at all"
        );
    }
    let config = [bounds[0], ("message.timestamp.type", "LogAppendTime")];
    let given = client.create_with("given", 1, &config);
    assert_eq!(produce(&mut client, &given, &ancient).0, NONE);
    assert_eq!(produce(&mut client, &given, &ahead).0, NONE);
    broker.stop();
}

#[test]
fn batches_are_stored_in_the_codec_of_the_topic() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let now = now_ms();
    let times = [now, now + 1, now + 2];
    let codecs = [
        ("uncompressed", Codec::None),
        ("gzip", Codec::Gzip),
        ("snappy", Codec::Snappy),
        ("lz4", Codec::Lz4),
        ("zstd", Codec::Zstd),
    ];
    for (name, codec) in codecs {
        let topic = client.create_with(name, 1, &[("compression.type", name)]);
        for (_, from) in codecs {
            let sent = batch(from, &times, 30_000);
            assert_eq!(produce(&mut client, &topic, &sent).0, NONE);
        }
        let fetch = Fetch::of(vec![Wanted::new(&topic, 0, 0)]);
        let found = client.fetch(&fetch).only().records.clone();
        let headers = batches(&found);
        assert_eq!(headers.len(), codecs.len(), "{name}");
        assert_eq!(headers[4].base_offset.get(), 12);
        assert!(
            headers.iter().all(|it| it.attributes.codec() == Ok(codec)),
            "{name}"
        );
        let set = RecordSet::decode(&found[..headers[0].total_bytes()], &DecodeLimits::default());
        let rows = set.unwrap();
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                row.map(|row| (row.timestamp.get(), row.value.unwrap().len()))
                    .unwrap()
            })
            .collect();
        assert_eq!(rows, times.map(|time| (time, 30_000)));
    }
    // What the broker makes of it has to fit, too; and it has to be able to read it.
    let config = [
        ("compression.type", "uncompressed"),
        ("max.message.bytes", "1000"),
    ];
    let topic = client.create_with("small", 1, &config);
    let packed = batch(Codec::Zstd, &[now], 5_000);
    assert!(packed.len() < 1_000);
    assert_eq!(produce(&mut client, &topic, &packed).0, TOO_LARGE);
    assert_eq!(
        produce(&mut client, &topic, &batch(Codec::Zstd, &[now], 500)).0,
        NONE
    );
    assert_eq!(
        set(&mut client, &topic, "compression.type", "producer"),
        NONE
    );
    assert_eq!(produce(&mut client, &topic, &packed).0, NONE);
    assert_eq!(
        set(&mut client, &topic, "compression.type", "brotli"),
        ErrorCode::INVALID_CONFIG
    );
    broker.stop();
}
