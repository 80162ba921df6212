//! The message browser: what is read, from where, and within which bounds.

use bytes::Bytes;
use segment::TimestampMs;
use segment::batch::Codec;
use segment::record::{NewRecord, RecordBatchBuilder};
use serde_json::{Value, json};

use crate::common::{LocalBroker, batch};
use crate::http::{Ask, view};

const FIRST_MS: i64 = 1_700_000_000_000;

fn offsets(shown: &Value) -> Vec<i64> {
    let rows = shown["records"].as_array().unwrap();
    rows.iter()
        .map(|row| row["offset"].as_i64().unwrap())
        .collect()
}

/// Three records with keys `a`, `b`, `a`, a second apart from the `at`th on.
fn keyed(at: i64, codec: Codec) -> Bytes {
    let mut builder = RecordBatchBuilder::new().codec(codec);
    for (step, key) in ["a", "b", "a"].into_iter().enumerate() {
        let number = at + step as i64;
        let value = format!("{{\"n\":{number}}}");
        let record = NewRecord {
            timestamp: TimestampMs::new(FIRST_MS + number * 1_000),
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &[("trace", Some(b"t")), ("none", None)],
        };
        builder.push(record).unwrap();
    }
    builder.build().unwrap()
}

/// A topic of one partition with fifteen such records, each three compressed otherwise.
fn filled(broker: &LocalBroker) {
    let mut client = broker.connect();
    let topic = client.create("read", 1);
    let codecs = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];
    for (turn, codec) in codecs.into_iter().enumerate() {
        client
            .produce(&topic, 0, &keyed(turn as i64 * 3, codec))
            .offset();
    }
}

#[test]
fn messages_are_read_from_the_end_an_offset_a_time_and_by_key() {
    let broker = LocalBroker::start(&[]);
    filled(&broker);
    let read = |query: &str| view(&broker, &format!("topics/read/messages?{query}"));
    let newest = read("limit=4");
    assert_eq!(offsets(&newest), [14, 13, 12, 11]);
    assert_eq!(newest["stopped"], "limit");
    assert_eq!(offsets(&read("from=earliest&limit=2")), [0, 1]);
    let at = read("from=offset&offset=7&limit=3");
    assert_eq!(offsets(&at), [7, 8, 9]);
    let place = &at["partitions"][0];
    assert_eq!(
        (place["next"].as_i64(), place["high_watermark"].as_i64()),
        (Some(10), Some(15))
    );
    let rest = read("from=offset&offset=13");
    assert_eq!(
        (offsets(&rest), rest["stopped"].as_str()),
        (vec![13, 14], Some("end"))
    );
    assert!(offsets(&read("from=offset&offset=99")).is_empty());
    let time = FIRST_MS + 12_000;
    assert_eq!(
        offsets(&read(&format!("from=time&time={time}"))),
        [12, 13, 14]
    );
    assert_eq!(
        offsets(&read("from=time&time=2023-11-14T22:13:33Z")),
        [13, 14]
    );
    assert!(offsets(&read("from=time&time=2100-01-01")).is_empty());
    let of_key = read("key=b");
    assert_eq!(offsets(&of_key), [1, 4, 7, 10, 13]);
    assert_eq!(of_key["looked_at"], 15);
    assert_eq!(
        offsets(&read("key=a&from=offset&offset=9&limit=2")),
        [9, 11]
    );
    assert_eq!(offsets(&read("key_hex=62&limit=1")), [1]);
    assert!(offsets(&read("key=c")).is_empty());
}

#[test]
fn a_message_is_shown_with_its_key_headers_and_time() {
    let broker = LocalBroker::start(&[]);
    filled(&broker);
    let shown = view(&broker, "topics/read/messages?from=offset&offset=4&limit=1");
    let expected = json!({
        "partition": 0,
        "offset": 4,
        "timestamp_ms": FIRST_MS + 4_000,
        "key": { "bytes": 1, "text": "b", "is_cut": false },
        "value": { "bytes": 7, "text": "{\"n\":4}", "is_cut": false },
        "headers": [
            { "name": "trace", "value": { "bytes": 1, "text": "t", "is_cut": false } },
            { "name": "none", "value": null },
        ],
        "headers_left_out": 0,
    });
    assert_eq!(shown["records"][0], expected);
}

#[test]
fn what_is_no_text_is_base64_and_what_is_long_is_cut() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("odd", 1);
    let long = vec![b'x'; 3 << 20];
    for value in [&[0xff, 0x00][..], b"<script>alert(1)</script>", &long] {
        client.produce(&topic, 0, &batch(&[value])).offset();
    }
    let shown = view(&broker, "topics/odd/messages?from=earliest&preview=100");
    assert_eq!(
        shown["records"][0]["value"],
        json!({ "bytes": 2, "base64": "/wA=", "is_cut": false })
    );
    assert_eq!(shown["records"][0]["key"], Value::Null);
    assert_eq!(
        shown["records"][1]["value"]["text"],
        "<script>alert(1)</script>"
    );
    let cut = &shown["records"][2]["value"];
    assert_eq!(
        (cut["bytes"].as_u64(), cut["is_cut"].as_bool()),
        (Some(3 << 20), Some(true))
    );
    assert_eq!(cut["text"].as_str().unwrap().len(), 100);
    // One alone may be looked at in more detail, and no more than that.
    let path = "/api/v1/topics/odd/messages?from=offset&offset=2&limit=1&preview=99999999";
    let alone = Ask::get(path).of(&broker);
    assert!(alone.body.len() > 1 << 20 && alone.body.len() < 2 << 20);
    assert_eq!(alone.header("content-type"), Some("application/json"));
    assert_eq!(alone.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn an_answer_is_bounded_and_says_why_it_stops() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("large", 1);
    let value = vec![b'v'; 64 << 10];
    let values: Vec<&[u8]> = (0..10).map(|_| value.as_slice()).collect();
    for _ in 0..20 {
        client.produce(&topic, 0, &batch(&values)).offset();
    }
    let path = "topics/large/messages?from=earliest&limit=1000&preview=65536";
    let shown = view(&broker, path);
    assert_eq!(shown["stopped"], "size");
    let count = shown["records"].as_array().unwrap().len();
    assert!((60..=66).contains(&count), "{count}");
    let next = shown["partitions"][0]["next"].as_i64().unwrap();
    assert_eq!(next, count as i64, "reading goes on where it stopped");
}

#[test]
fn several_partitions_are_read_together_in_order_of_time() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("many", 3);
    for partition in 0..3 {
        let number = i64::from(partition) * 10;
        client
            .produce(&topic, partition, &keyed(number, Codec::Zstd))
            .offset();
    }
    let shown = view(&broker, "topics/many/messages?limit=4");
    let rows = shown["records"].as_array().unwrap();
    let places: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["partition"].as_i64().unwrap(),
                row["offset"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(places, [(2, 2), (2, 1), (2, 0), (1, 2)]);
    let one = view(&broker, "topics/many/messages?partition=1&from=earliest");
    assert_eq!(offsets(&one), [0, 1, 2]);
    // A key is looked for where producers put it, or everywhere.
    let everywhere = view(&broker, "topics/many/messages?key=b&everywhere=1");
    assert_eq!(everywhere["records"].as_array().unwrap().len(), 3);
    let placed = view(&broker, "topics/many/messages?key=b");
    assert_eq!(placed["partitions"].as_array().unwrap().len(), 1);
    for query in [
        "partition=3",
        "partition=-1",
        "partition=x",
        "from=offset",
        "from=offset&offset=-2",
        "from=middle",
        "from=time&time=yesterday",
        "key_hex=0",
    ] {
        let path = format!("/api/v1/topics/many/messages?{query}");
        assert_eq!(Ask::get(&path).of(&broker).status, 400, "{query}");
    }
    client.create("wide", 65);
    let wide = Ask::get("/api/v1/topics/wide/messages").of(&broker);
    assert_eq!(wide.status, 400, "{}", wide.text());
    assert_eq!(
        Ask::get("/api/v1/topics/wide/messages?partition=64")
            .of(&broker)
            .status,
        200
    );
}
