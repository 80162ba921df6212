//! Topic settings that act when records are produced, and on what is kept of them, over the wire.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::{
    Connection, Fetch, LocalBroker, PRODUCE_TIMEOUT, PRODUCE_VERSION, Topic, Wanted, batches,
    produce_request,
};
use segment::TimestampMs;
use segment::batch::{Codec, TimestampType};
use segment::record::{DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet};
use store::memory::MemoryStore;
use wire::ErrorCode;
use wire::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::{IncrementalAlterConfigsRequest, ListOffsetsRequest, ProduceRequest};

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

/// Digits, in which the codecs find something and never the same.
fn text(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut text = Vec::with_capacity(bytes + 24);
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        text.extend_from_slice((state >> 44).to_string().as_bytes());
    }
    text.truncate(bytes);
    text
}

fn of_values(values: &[Vec<u8>]) -> Bytes {
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    common::batch(&values)
}

#[test]
fn a_codec_works_as_hard_as_the_topic_says() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let sent = of_values(&[text(500_000)]);
    let mut stored_bytes = |codec, level: &[(&'static str, &'static str)]| {
        let name = format!("{codec}{}", level.first().map_or("", |(_, value)| value));
        let configs = [&[("compression.type", codec)], level].concat();
        let topic = client.create_with(&name.replace('-', "m"), 1, &configs);
        assert_eq!(produce(&mut client, &topic, &sent).0, NONE);
        stored(&mut client, &topic).len()
    };
    let gzip = ["1", "9"].map(|level| stored_bytes("gzip", &[("compression.gzip.level", level)]));
    assert!(gzip[1] < gzip[0], "{gzip:?}");
    let zstd = ["-50", "3", "19"];
    let zstd = zstd.map(|level| stored_bytes("zstd", &[("compression.zstd.level", level)]));
    assert!(zstd[2] < zstd[1] && zstd[1] < zstd[0], "{zstd:?}");
    assert_eq!(stored_bytes("zstd", &[]), zstd[1], "3 is the default");
    let lz4 = ["1", "17"].map(|level| stored_bytes("lz4", &[("compression.lz4.level", level)]));
    assert_eq!(lz4[0], lz4[1], "without effect");
    broker.stop();
}

#[test]
fn a_shard_serves_others_while_a_batch_is_brought_into_another_codec() {
    let broker = LocalBroker::start(&[("shard.count", "1")]);
    let mut client = broker.connect();
    let config = [
        ("compression.type", "zstd"),
        ("compression.zstd.level", "19"),
    ];
    let topic = client.create_with("slow", 1, &config);
    let sent = of_values(&[text(500_000)]);
    client.send(
        PRODUCE_VERSION,
        &produce_request(&topic, 0, &sent, PRODUCE_TIMEOUT),
    );
    let is_answered = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = is_answered.clone();
    let waits = std::thread::spawn(move || {
        let answer = common::produced(&client.receive().1);
        told.store(true, std::sync::atomic::Ordering::SeqCst);
        answer
    });
    let mut other = broker.connect();
    let mut answers = 0;
    while !is_answered.load(std::sync::atomic::Ordering::SeqCst) {
        other.call(3, &wire::messages::ApiVersionsRequest::default());
        answers += 1;
    }
    assert_eq!(waits.join().unwrap().error, NONE);
    // On the shard's own thread the first would be answered after the batch.
    assert!(answers > 10, "{answers} answers meanwhile");
    broker.stop();
}

/// What is kept is looked at often, and what is young and small is left alone.
fn keeping() -> (LocalBroker, MemoryStore) {
    let store = MemoryStore::new();
    let settings = [
        ("log.retention_check_interval_ms", "100"),
        ("log.compaction_interval_ms", "3600000"),
    ];
    let broker = LocalBroker::start_on(std::sync::Arc::new(store.clone()), &settings);
    (broker, store)
}

fn segments(store: &MemoryStore, topic: &Topic) -> usize {
    let part = format!("/{}/", topic.name);
    let objects = store.objects().into_iter();
    let keys = objects.map(|(key, _)| key.as_str().to_owned());
    keys.filter(|key| key.contains(&part) && key.ends_with(".kfs"))
        .count()
}

/// The first offset and the next one.
fn bounds(client: &mut Connection, topic: &Topic) -> (i64, i64) {
    let [first, next] = [-2, -1].map(|timestamp| {
        let partitions = vec![ListOffsetsPartition {
            timestamp,
            ..ListOffsetsPartition::default()
        }];
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: &topic.name,
                partitions,
            }],
            ..ListOffsetsRequest::default()
        };
        let body = client.call(1, &request);
        let (_, told) = wire::decode_response::<ListOffsetsRequest<'_>>(&body, 1).unwrap();
        let told = &told.topics[0].partitions[0];
        assert_eq!(told.error_code, NONE);
        told.offset
    });
    (first, next)
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn segments_are_as_large_as_the_topic_says() {
    let (broker, store) = keeping();
    let mut client = broker.connect();
    let small = [("segment.bytes", "65536"), ("retention.ms", "-1")];
    let small = client.create_with("small", 1, &small);
    let large = client.create_with("large", 1, &[("retention.ms", "-1")]);
    for number in 0..5 {
        let sent = common::numbered(number, 40_000);
        assert_eq!(produce(&mut client, &small, &sent).0, NONE);
        assert_eq!(produce(&mut client, &large, &sent).0, NONE);
    }
    common::eventually("two segments", LONG, || segments(&store, &small) >= 2);
    assert_eq!(segments(&store, &large), 0, "less than the broker's size");
    assert_eq!(set(&mut client, &large, "segment.bytes", "100000"), NONE);
    common::eventually("what was set acts", LONG, || segments(&store, &large) >= 1);
    assert_eq!(
        set(&mut client, &large, "segment.bytes", "13"),
        ErrorCode::INVALID_CONFIG
    );
    broker.stop();
}

#[test]
fn what_is_too_old_or_too_much_goes_and_offsets_go_on() {
    let (broker, store) = keeping();
    let mut client = broker.connect();
    let config = [("segment.bytes", "65536"), ("retention.ms", "-1")];
    let topic = client.create_with("kept", 1, &config);
    // The batches are of the year 2023.
    for number in 0..8 {
        let sent = common::numbered(number, 40_000);
        assert_eq!(produce(&mut client, &topic, &sent).0, NONE);
    }
    common::eventually("segments", LONG, || segments(&store, &topic) >= 3);
    assert_eq!(bounds(&mut client, &topic), (0, 8), "nothing goes");
    assert_eq!(set(&mut client, &topic, "retention.bytes", "100000"), NONE);
    common::eventually("what is too much goes", LONG, || {
        bounds(&mut client, &topic).0 > 0
    });
    let (start, end) = bounds(&mut client, &topic);
    assert!(
        start <= 5 && end == 8,
        "at least 100,000 bytes are kept: {start} to {end}"
    );
    assert_eq!(set(&mut client, &topic, "retention.bytes", "-1"), NONE);
    assert_eq!(set(&mut client, &topic, "retention.ms", "86400000"), NONE);
    common::eventually("what is too old goes", LONG, || {
        bounds(&mut client, &topic).0 > start
    });
    let sent = batch(Codec::None, &[now_ms()], 10);
    assert_eq!(produce(&mut client, &topic, &sent).0, NONE);
    assert_eq!(bounds(&mut client, &topic).1, 9);
    let fetch = Fetch::of(vec![Wanted::new(&topic, 0, 0)]);
    let found = client.fetch(&fetch);
    assert_eq!(found.only().error, ErrorCode::OFFSET_OUT_OF_RANGE);
    let fetch = Fetch::of(vec![Wanted::new(&topic, 0, 8)]);
    assert_eq!(batches(&client.fetch(&fetch).only().records).len(), 1);
    for (name, value) in [("retention.ms", "-2"), ("retention.bytes", "x")] {
        let refused = set(&mut client, &topic, name, value);
        assert_eq!(refused, ErrorCode::INVALID_CONFIG);
    }
    broker.stop();
}

/// Kafka refuses acks=all with fewer replicas in sync than that; here the object store has the copies.
#[test]
fn a_batch_is_acknowledged_whatever_number_of_replicas_is_asked_for() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create_with("copies", 1, &[("min.insync.replicas", "3")]);
    let sent = batch(Codec::None, &[now_ms()], 10);
    assert_eq!(produce(&mut client, &topic, &sent).0, NONE);
    assert_eq!(
        set(&mut client, &topic, "min.insync.replicas", "0"),
        ErrorCode::INVALID_CONFIG
    );
    broker.stop();
}
