//! Figures: of topics, partitions, groups, the store, memory, latency. Each is held against what the test did.

use std::time::Duration;

use segment::{Offset, PartitionIndex};
use serde_json::{Value, json};

use crate::common::{Fetch, LocalBroker, Wanted, batch, eventually};
use crate::http::{Ask, view};

const UI: [(&str, &str); 2] = [
    ("admin.ui_username", "operator"),
    ("admin.ui_password", "let me in"),
];
const SOON: Duration = Duration::from_secs(20);

fn row<'a>(rows: &'a Value, key: &str, value: &str) -> &'a Value {
    let rows = rows.as_array().unwrap();
    rows.iter()
        .find(|row| row[key] == value)
        .unwrap_or_else(|| panic!("no {value}: {rows:?}"))
}

#[test]
fn topics_come_a_page_at_a_time_sorted_and_searched() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    for number in 0..12 {
        client.create(&format!("page-{number:02}"), 1 + number % 3);
    }
    client.create("Other", 1);
    let names = |path: &str| -> Vec<String> {
        let shown = view(&broker, path);
        let rows = shown["rows"].as_array().unwrap();
        rows.iter()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("topics?per=2"), ["Other", "page-00"]);
    assert_eq!(
        names("topics?per=5&page=2"),
        ["page-09", "page-10", "page-11"]
    );
    assert_eq!(names("topics?search=OTH"), ["Other"]);
    assert_eq!(
        names("topics?sort=partitions&order=desc&per=2"),
        ["page-02", "page-05"]
    );
    let found = view(&broker, "topics?search=page-1");
    assert_eq!(
        (found["total"].as_u64(), found["matched"].as_u64()),
        (Some(13), Some(2))
    );
    for path in ["topics?sort=height", "topics?page=x"] {
        assert_eq!(
            Ask::get(&format!("/api/v1/{path}")).of(&broker).status,
            400,
            "{path}"
        );
    }
    let all = view(&broker, "topics?per=100000");
    assert_eq!(all["per"], 500);
}

#[test]
fn traffic_is_counted_where_it_happens_and_unknown_after_one_look() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("busy", 2);
    client.create("idle", 1);
    let first = view(&broker, "topics");
    assert_eq!(row(&first["rows"], "name", "busy")["bytes_in"], Value::Null);
    let sent = batch(&[&[7; 1_000], &[8; 1_000]]);
    client.produce(&topic, 0, &sent).offset();
    client.produce(&topic, 1, &sent).offset();
    client.fetch(&Fetch::of(vec![Wanted::new(&topic, 0, 0)]));
    eventually("the traffic is seen", SOON, || {
        let shown = view(&broker, "topics/busy");
        let here = &shown["rows"][0]["here"];
        here["bytes_in"].as_f64().is_some_and(|rate| rate > 0.0)
    });
    let debug = Ask::get("/debug/partitions").of(&broker).json();
    let busy = &debug["partitions"][0];
    assert_eq!(busy["topic"], "busy");
    assert_eq!(busy["bytes_in"].as_u64(), Some(sent.len() as u64));
    assert_eq!(busy["bytes_out"].as_u64(), Some(sent.len() as u64));
    assert_eq!(
        (busy["records_in"].as_u64(), busy["hits"].as_u64()),
        (Some(2), Some(1))
    );
    assert_eq!(debug["partitions"][1]["bytes_out"], 0);
    let shown = view(&broker, "topics");
    let busy = row(&shown["rows"], "name", "busy");
    assert!(busy["stored_bytes"].as_u64().unwrap() >= 2 * sent.len() as u64);
    assert!(busy["memory_bytes"].as_u64().unwrap() >= 2 * sent.len() as u64);
    let idle = row(&shown["rows"], "name", "idle");
    assert_eq!(
        (idle["bytes_in"].as_f64(), idle["stored_bytes"].as_u64()),
        (Some(0.0), Some(0))
    );
    let memory = view(&broker, "cache");
    let cached = memory["partitions"].as_array().unwrap();
    assert_eq!(
        cached.len(),
        2,
        "only what is in memory or was read: {cached:?}"
    );
    assert_eq!(memory["shards"].as_array().unwrap().len(), 2);
    let overview = view(&broker, "overview");
    assert_eq!(overview["cluster"]["topics"], 2);
    assert_eq!(overview["cluster"]["partitions"], 3);
    assert_eq!(overview["cluster"]["leaderless_partitions"], 0);
}

#[test]
fn latencies_are_those_that_were_measured() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("timed", 1);
    for _ in 0..20 {
        client.produce(&topic, 0, &batch(&[b"x"])).offset();
        client.fetch(&Fetch::of(vec![Wanted::new(&topic, 0, 0)]));
    }
    let shown = view(&broker, "latency");
    let produce = row(&shown["rows"], "name", "produce");
    assert_eq!(
        (produce["count"].as_u64(), produce["total"].as_u64()),
        (Some(20), Some(20))
    );
    let counted: u64 = produce["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| bucket[1].as_u64().unwrap())
        .sum();
    assert_eq!(counted, 20);
    assert!(produce["quantiles_ms"][0].as_f64().unwrap() > 0.1);
    assert_eq!(row(&shown["rows"], "name", "fetch_hit")["count"], 20);
    let miss = row(&shown["rows"], "name", "fetch_miss");
    assert_eq!(
        (miss["count"].as_u64(), &miss["quantiles_ms"][0]),
        (Some(0), &Value::Null)
    );
}

#[test]
fn the_store_tells_of_its_requests_and_a_local_one_costs_nothing() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("stored", 1);
    client.produce(&topic, 0, &batch(&[b"x"])).offset();
    let store = view(&broker, "store");
    assert_eq!(
        (store["is_s3"].as_bool(), &store["dollars_per_month"]),
        (Some(false), &Value::Null)
    );
    assert_eq!(
        (store["state"].as_str(), &store["produce_refused"]),
        (Some("healthy"), &Value::Null)
    );
    let put = row(&store["operations"], "name", "PUT");
    assert_eq!(
        put["total"].as_f64().unwrap(),
        broker.metric("kafscale_s3_operations_total{operation=\"put\"}")
    );
    assert!(store["bytes_written"]["total"].as_u64().unwrap() > 0);
}

#[test]
fn settings_of_a_topic_are_shown_with_their_source() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    client.create_with("set", 1, &[("retention.ms", "5000")]);
    let shown = view(&broker, "topics/set/configs");
    let retention = row(&shown["rows"], "name", "retention.ms");
    assert_eq!(
        (retention["value"].as_str(), retention["is_set"].as_bool()),
        (Some("5000"), Some(true))
    );
    let cleanup = row(&shown["rows"], "name", "cleanup.policy");
    assert_eq!(
        (cleanup["value"].as_str(), cleanup["is_set"].as_bool()),
        (Some("delete"), Some(false))
    );
    assert_eq!(
        view(&broker, "topics/set")["configs"],
        json!({ "retention.ms": "5000" })
    );
}

/// A client of the library, as the command line has it.
fn client(broker: &LocalBroker) -> client::Client {
    let settings = client::ClientSettings::with_bootstrap(&broker.kafka.to_string());
    client::Client::connect(settings).unwrap()
}

fn commit(broker: &LocalBroker, group: &str, offsets: &[(&str, i32, i64)]) {
    let offsets = offsets.iter().map(|(topic, partition, offset)| {
        let of = client::TopicPartition::new(*topic, PartitionIndex::new(*partition));
        (of, Offset::new(*offset))
    });
    client(broker)
        .commit_offline(group, &offsets.collect())
        .unwrap();
}

#[test]
fn groups_show_their_lag_and_their_offsets_can_be_moved_by_an_admin_alone() {
    let settings = [&UI[..], &[("admin.lag_sample_interval_sec", "1")]].concat();
    let broker = LocalBroker::start(&settings);
    let mut kafka = broker.connect();
    let topic = kafka.create("read", 2);
    for _ in 0..10 {
        kafka.produce(&topic, 0, &batch(&[b"x"])).offset();
    }
    commit(&broker, "readers/eu", &[("read", 0, 4), ("read", 1, 0)]);
    let path = "groups/readers%2Feu";
    let group = view(&broker, path);
    assert_eq!(
        (group["state"].as_str(), group["lag"].as_u64()),
        (Some("Empty"), Some(6))
    );
    let rows = group["partitions"].as_array().unwrap();
    assert_eq!(
        (
            rows[0]["committed"].as_i64(),
            rows[0]["end"].as_i64(),
            rows[0]["lag"].as_u64()
        ),
        (Some(4), Some(10), Some(6))
    );
    eventually("the lag is sampled", SOON, || {
        let shown = view(&broker, "groups");
        row(&shown["rows"], "group", "readers/eu")["lag"] == 6
    });
    let offsets = format!("/api/v1/{path}/offsets");
    let to_start = json!({ "topic": "read", "to": "earliest", "execute": true });
    assert_eq!(Ask::post(&offsets, &to_start).of(&broker).status, 401);
    let admin = |body: &Value| {
        Ask::post(&offsets, body)
            .basic("operator", "let me in")
            .of(&broker)
    };
    // Nothing is moved before it was shown.
    let planned = admin(&json!({ "to": { "offset": 7 } })).json();
    assert_eq!(planned["executed"], false);
    assert_eq!(
        planned["moves"][0],
        json!({ "topic": "read", "partition": 0, "from": 4, "to": 7 })
    );
    assert_eq!(planned["moves"][1]["to"], 0, "inside its log");
    assert_eq!(view(&broker, path)["lag"], 6);
    let moved = admin(
        &json!({ "topic": "read", "partitions": [0], "to": { "shift": -3 }, "execute": true }),
    );
    assert_eq!(
        (moved.status, moved.json()["moves"][0]["to"].as_i64()),
        (200, Some(1))
    );
    assert_eq!(view(&broker, path)["lag"], 9);
    assert_eq!(
        admin(&json!({ "to": "latest", "execute": true })).status,
        200
    );
    assert_eq!(view(&broker, path)["lag"], 0);
    for (body, status) in [
        (json!({ "to": "middle" }), 400),
        (json!({ "to": "latest", "partitions": [0] }), 400),
        (
            json!({ "to": "latest", "topic": "read", "partitions": [9] }),
            400,
        ),
        (json!({ "to": "latest", "topic": "unread" }), 404),
        (json!({ "to": "latest", "sure": true }), 400),
    ] {
        assert_eq!(admin(&body).status, status, "{body}");
    }
    let events = serde_json::to_string(&view(&broker, "events")).unwrap();
    assert!(
        events.contains("offsets of 1 partitions moved by operator"),
        "{events}"
    );
}

#[test]
fn a_group_with_members_keeps_its_offsets() {
    let broker = LocalBroker::start(&UI);
    let mut kafka = broker.connect();
    let topic = kafka.create("read", 1);
    kafka.produce(&topic, 0, &batch(&[b"x"])).offset();
    let settings = client::GroupSettings {
        group: "busy".to_owned(),
        topics: vec!["read".to_owned()],
        ..client::GroupSettings::default()
    };
    let mut member = client::GroupConsumer::new(client(&broker), settings).unwrap();
    eventually("the member has joined", SOON, || {
        let _ = member.poll(Duration::from_millis(200)).unwrap();
        view(&broker, "groups/busy")["state"] == "Stable"
    });
    let shown = view(&broker, "groups/busy");
    assert_eq!(shown["members"][0]["assigned"], json!(["read-0"]));
    assert_eq!(
        row(&view(&broker, "groups")["rows"], "group", "busy")["members"],
        1
    );
    let body = json!({ "topic": "read", "to": "latest", "execute": true });
    let refused = Ask::post("/api/v1/groups/busy/offsets", &body)
        .basic("operator", "let me in")
        .of(&broker);
    assert_eq!(refused.status, 409, "{}", refused.text());
    let events = serde_json::to_string(&view(&broker, "events")).unwrap();
    assert!(events.contains("group busy: generation 1"), "{events}");
}

#[test]
fn topics_are_created_and_deleted_by_an_admin_alone() {
    let broker = LocalBroker::start(&UI);
    let body = json!({ "name": "made", "partitions": 3, "configs": { "retention.ms": "60000" } });
    assert_eq!(Ask::post("/api/v1/topics", &body).of(&broker).status, 401);
    let create = |body: &Value| {
        Ask::post("/api/v1/topics", body)
            .basic("operator", "let me in")
            .of(&broker)
    };
    assert_eq!(create(&body).status, 200);
    assert_eq!(view(&broker, "topics/made")["partitions"], 3);
    assert_eq!(create(&body).status, 400, "it is there");
    assert_eq!(create(&json!({ "name": "no/name" })).status, 400);
    assert_eq!(
        create(&json!({ "name": "x", "configs": { "no.such": "1" } })).status,
        400
    );
    let delete = |path: &str| {
        Ask::new("DELETE", path)
            .basic("operator", "let me in")
            .of(&broker)
            .status
    };
    assert_eq!(delete("/api/v1/topics/made"), 428, "it must be named twice");
    assert_eq!(delete("/api/v1/topics/made?confirm=made"), 200);
    assert_eq!(delete("/api/v1/topics/made?confirm=made"), 404);
}

#[test]
fn series_by_topic_are_there_if_asked_for() {
    let of = |settings: &[(&str, &str)]| {
        let broker = LocalBroker::start(settings);
        let mut client = broker.connect();
        for number in 0..4_u8 {
            let topic = client.create(&format!("t{number}"), 1);
            let value = vec![7; 1_000 * usize::from(number + 1)];
            client.produce(&topic, 0, &batch(&[&value])).offset();
        }
        broker
    };
    let broker = of(&[]);
    let page = Ask::get("/metrics").of(&broker).text();
    assert!(!page.contains("kafscale_topic_"), "{page}");
    let broker = of(&[("admin.metrics_topics_max", "2")]);
    eventually("the busiest have series", SOON, || {
        let page = Ask::get("/metrics").of(&broker).text();
        let lines = page
            .lines()
            .filter(|it| it.starts_with("kafscale_topic_records_in_total{"));
        lines.count() == 3
            && page.contains("kafscale_topic_records_in_total{topic=\"t3\"} 1")
            && page.contains("kafscale_topic_records_in_total{topic=\"(other)\"} 4")
    });
}
