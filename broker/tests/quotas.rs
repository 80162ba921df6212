//! Client quotas over the wire: what is stored and told, and that it is enforced.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "quotas/namespace.rs"]
mod namespace;

use std::thread;
use std::time::{Duration, Instant};

use common::{
    Connection, Fetch, Fetched, LocalBroker, PRODUCE_TIMEOUT, PRODUCE_VERSION, Topic, Wanted,
    numbered, produce_request,
};
use wire::messages::alter_client_quotas::{self, EntityData, OpData, RequestEntryData};
use wire::messages::create_partitions::CreatePartitionsTopic;
use wire::messages::create_topics::CreatableTopic;
use wire::messages::delete_topics::DeleteTopicState;
use wire::messages::describe_client_quotas::ComponentData;
use wire::messages::metadata::MetadataRequestTopic;
use wire::messages::{
    AlterClientQuotasRequest, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteTopicsRequest, DescribeClientQuotasRequest, FetchRequest, MetadataRequest,
    ProduceRequest,
};
use wire::{ErrorCode, Float64};

/// Idle clients may use one second's worth at once.
const SHORT: (&str, &str) = ("quota.window_num", "2");
/// How far a rate may be from its quota.
const NEAR: f64 = 0.2;

type Part<'a> = (&'a str, Option<&'a str>);
type Op<'a> = (&'a str, Option<f64>);

fn alter_request<'a>(entries: &[(&[Part<'a>], &[Op<'a>])]) -> AlterClientQuotasRequest<'a> {
    let part = |(entity_type, entity_name): &Part<'a>| EntityData {
        entity_type,
        entity_name: *entity_name,
    };
    let op = |(key, value): &Op<'a>| OpData {
        key,
        value: Float64::new(value.unwrap_or_default()),
        remove: value.is_none(),
    };
    let entries = entries.iter().map(|(entity, ops)| RequestEntryData {
        entity: entity.iter().map(part).collect(),
        ops: ops.iter().map(op).collect(),
    });
    AlterClientQuotasRequest {
        entries: entries.collect(),
        validate_only: false,
    }
}

fn altered(
    client: &mut Connection,
    version: i16,
    request: &AlterClientQuotasRequest<'_>,
) -> Vec<ErrorCode> {
    let body = client.call(version, request);
    let (_, response) =
        wire::decode_response::<AlterClientQuotasRequest<'_>>(&body, version).unwrap();
    let codes =
        response
            .entries
            .iter()
            .map(|entry: &alter_client_quotas::ResponseEntryData<'_>| {
                assert_eq!(entry.error_code.is_none(), entry.error_message.is_none());
                entry.error_code
            });
    codes.collect()
}

/// Sets quotas of one entity.
fn set(broker: &LocalBroker, entity: &[Part<'_>], ops: &[Op<'_>]) {
    let request = alter_request(&[(entity, ops)]);
    let mut admin = broker.connect();
    admin.client_id = "admin";
    assert_eq!(altered(&mut admin, 1, &request), [ErrorCode::NONE]);
}

/// Entities with their quotas, as text.
fn described(
    client: &mut Connection,
    version: i16,
    filter: &[(&str, i8, Option<&str>)],
) -> Vec<String> {
    let component =
        |(entity_type, match_type, match_name): &(&'static str, i8, Option<&'static str>)| {
            ComponentData {
                entity_type,
                match_type: *match_type,
                match_name: *match_name,
            }
        };
    // Leaked: what a test asks lives as long as the test.
    let filter: Vec<_> = filter
        .iter()
        .map(
            |(kind, how, name)| -> (&'static str, i8, Option<&'static str>) {
                let leak =
                    |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
                (leak(kind), *how, name.map(leak))
            },
        )
        .collect();
    let request = DescribeClientQuotasRequest {
        components: filter.iter().map(component).collect(),
        strict: false,
    };
    let body = client.call(version, &request);
    let (_, response) =
        wire::decode_response::<DescribeClientQuotasRequest<'_>>(&body, version).unwrap();
    assert_eq!(response.error_code, ErrorCode::NONE, "{response:?}");
    let entries = response.entries.unwrap();
    let rows = entries.iter().map(|entry| {
        let entity = entry.entity.iter();
        let entity =
            entity.map(|it| format!("{}={}", it.entity_type, it.entity_name.unwrap_or("*")));
        let values = entry.values.iter();
        let values = values.map(|it| format!("{}={}", it.key, it.value.get()));
        format!(
            "{}: {}",
            entity.collect::<Vec<_>>().join(" "),
            values.collect::<Vec<_>>().join(" ")
        )
    });
    rows.collect()
}

#[test]
fn quotas_are_kept_and_told_in_every_version() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    for version in 0..=1 {
        assert_eq!(described(&mut client, version, &[]), [] as [String; 0]);
        let request = alter_request(&[
            (
                &[("client-id", Some("a/b"))],
                &[
                    ("producer_byte_rate", Some(1e9)),
                    ("consumer_byte_rate", Some(2e9)),
                ],
            ),
            (
                &[("user", None), ("client-id", Some("c"))],
                &[("request_percentage", Some(1e6 + 0.1))],
            ),
            (
                &[("ip", Some("127.0.0.2"))],
                &[("connection_creation_rate", Some(3.0))],
            ),
            (
                &[("user", Some("u"))],
                &[("producer_byte_rate", Some(-1.0))],
            ),
        ]);
        let codes = altered(&mut client, version, &request);
        let refused = ErrorCode::INVALID_REQUEST;
        assert_eq!(
            codes,
            [ErrorCode::NONE, ErrorCode::NONE, ErrorCode::NONE, refused]
        );
        let all = [
            "user=* client-id=c: request_percentage=1000000.1",
            "client-id=a/b: consumer_byte_rate=2000000000 producer_byte_rate=1000000000",
            "ip=127.0.0.2: connection_creation_rate=3",
        ];
        let mut found = described(&mut client, version, &[]);
        found.sort();
        let mut expected = all.map(str::to_owned);
        expected.sort();
        assert_eq!(found, expected);
        let by_client = described(&mut client, version, &[("client-id", 0, Some("a/b"))]);
        assert_eq!(by_client, [all[1]]);
        let by_default = described(&mut client, version, &[("user", 1, None)]);
        assert_eq!(by_default, [all[0]]);
        let mut only_check =
            alter_request(&[(&[("user", Some("v"))], &[("request_percentage", Some(1.0))])]);
        only_check.validate_only = true;
        assert_eq!(
            altered(&mut client, version, &only_check),
            [ErrorCode::NONE]
        );
        assert_eq!(
            described(&mut client, version, &[("user", 0, Some("v"))]),
            [] as [String; 0]
        );
        let request = alter_request(&[
            (
                &[("client-id", Some("a/b"))],
                &[("producer_byte_rate", None), ("consumer_byte_rate", None)],
            ),
            (
                &[("user", None), ("client-id", Some("c"))],
                &[("request_percentage", None)],
            ),
            (
                &[("ip", Some("127.0.0.2"))],
                &[("connection_creation_rate", None)],
            ),
        ]);
        assert_eq!(
            altered(&mut client, version, &request),
            [ErrorCode::NONE; 3]
        );
    }
    set(
        &broker,
        &[("user", Some("u"))],
        &[("producer_byte_rate", Some(7.0))],
    );
    let broker = broker.restart();
    let mut client = broker.connect();
    assert_eq!(
        described(&mut client, 1, &[]),
        ["user=u: producer_byte_rate=7"]
    );
    broker.stop();
}

fn produce(client: &mut Connection, topic: &Topic, bytes: usize) -> Duration {
    let request = produce_request(topic, 0, &numbered(1, bytes), PRODUCE_TIMEOUT);
    let body = client.call(PRODUCE_VERSION, &request);
    let (_, response) =
        wire::decode_response::<ProduceRequest<'_>>(&body, PRODUCE_VERSION).unwrap();
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, ErrorCode::NONE);
    Duration::from_millis(response.throttle_time_ms as u64)
}

/// Bytes a second that `work` moves in `time`, after the budget of idle clients is used up.
fn rate(time: Duration, mut work: impl FnMut() -> (usize, Duration)) -> f64 {
    // Used up when the first pause is told.
    while work().1.is_zero() {}
    let began = Instant::now();
    let mut bytes = 0;
    while began.elapsed() < time {
        bytes += work().0;
    }
    bytes as f64 / began.elapsed().as_secs_f64()
}

fn assert_near(rate: f64, quota: f64) {
    assert!(
        (rate - quota).abs() < quota * NEAR,
        "{rate} and not {quota}"
    );
}

#[test]
fn a_producer_gets_the_rate_of_its_quota_whoever_else_uses_the_broker() {
    let broker = LocalBroker::start(&[SHORT]);
    let topic = broker.connect().create("a", 1);
    set(
        &broker,
        &[("client-id", Some("slow"))],
        &[("producer_byte_rate", Some(200_000.0))],
    );
    let mut slow = broker.connect();
    slow.client_id = "slow";
    let found = rate(Duration::from_secs(5), || {
        (20_000, produce(&mut slow, &topic, 20_000))
    });
    assert_near(found, 200_000.0);
    assert!(broker.metric("kafscale_throttled_requests_total{quota=\"producer_byte_rate\"}") > 0.0);
    // Others are not throttled, nor is this one once its quota is gone.
    let mut fast = broker.connect();
    let began = Instant::now();
    for _ in 0..30 {
        assert_eq!(produce(&mut fast, &topic, 20_000), Duration::ZERO);
    }
    set(
        &broker,
        &[("client-id", Some("slow"))],
        &[("producer_byte_rate", None)],
    );
    for _ in 0..30 {
        assert_eq!(produce(&mut slow, &topic, 20_000), Duration::ZERO);
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    broker.stop();
}

#[test]
fn a_throttled_request_is_answered_at_once_and_the_next_is_read_after_the_pause() {
    let broker = LocalBroker::start(&[SHORT]);
    let topic = broker.connect().create("a", 1);
    set(
        &broker,
        &[("client-id", None)],
        &[("producer_byte_rate", Some(100_000.0))],
    );
    let mut client = broker.connect();
    let began = Instant::now();
    let pause = produce(&mut client, &topic, 300_000);
    assert!(
        began.elapsed() < Duration::from_millis(1_500),
        "answered at once"
    );
    let told = pause.as_secs_f64();
    assert!(
        (1.8..2.1).contains(&told),
        "3 s of which 1 s may be used at once: {told}"
    );
    client.call(0, &ApiVersionsRequest::default());
    let waited = began.elapsed().as_secs_f64();
    assert!((told..told + 2.0).contains(&waited), "{waited} s");
    broker.stop();
}

#[test]
fn connections_of_one_client_share_its_budget_on_whatever_shard_they_are() {
    let broker = LocalBroker::start(&[SHORT]);
    let topic = broker.connect().create("a", 1);
    set(
        &broker,
        &[("user", Some("ANONYMOUS"))],
        &[("producer_byte_rate", Some(300_000.0))],
    );
    let threads: Vec<_> = ["one", "two", "one", "three"]
        .into_iter()
        .map(|name| {
            let (mut client, topic) = (broker.connect(), topic.clone());
            client.client_id = name;
            thread::spawn(move || {
                rate(Duration::from_secs(6), || {
                    (15_000, produce(&mut client, &topic, 15_000))
                })
            })
        })
        .collect();
    let rates: Vec<f64> = threads.into_iter().map(|it| it.join().unwrap()).collect();
    assert_near(rates.iter().sum(), 300_000.0);
    broker.stop();
}

fn fetch(client: &mut Connection, fetch: &Fetch) -> (Fetched, Duration) {
    let body = client.call(fetch.version, &fetch.request());
    let (_, response) = wire::decode_response::<FetchRequest<'_>>(&body, fetch.version).unwrap();
    let pause = Duration::from_millis(response.throttle_time_ms as u64);
    (Fetched::decode(&body, fetch.version), pause)
}

#[test]
fn a_consumer_gets_the_rate_of_its_quota_and_every_record() {
    let broker = LocalBroker::start(&[SHORT]);
    let mut client = broker.connect();
    let topic = client.create("a", 1);
    for _ in 0..150 {
        produce(&mut client, &topic, 20_000);
    }
    set(
        &broker,
        &[("client-id", Some("slow"))],
        &[("consumer_byte_rate", Some(250_000.0))],
    );
    client.client_id = "slow";
    let (mut next, mut session, mut epoch) = (0_i64, 0, 0);
    let found = rate(Duration::from_secs(5), || {
        let ask =
            Fetch::of(vec![Wanted::new(&topic, 0, next).max_bytes(60_000)]).session(session, epoch);
        let (fetched, pause) = fetch(&mut client, &ask);
        assert_eq!(fetched.error, ErrorCode::NONE);
        if !pause.is_zero() {
            assert!(fetched.partitions.is_empty(), "a throttled reply is empty");
        }
        // As a client does: a full fetch that was throttled is asked again from the beginning.
        (session, epoch) = match (epoch, pause.is_zero()) {
            (0, false) => (0, 0),
            (_, _) => (fetched.session_id, epoch + 1),
        };
        let mut bytes = 0;
        for partition in &fetched.partitions {
            for base in partition.bases() {
                assert_eq!(base, next, "in order, and none left out");
                next += 1;
            }
            bytes += partition.records.len();
        }
        (bytes, pause)
    });
    assert_near(found, 250_000.0);
    broker.stop();
}

#[test]
fn a_batch_larger_than_a_consumer_may_read_at_once_is_read_all_the_same() {
    let broker = LocalBroker::start(&[SHORT]);
    let mut client = broker.connect();
    let topic = client.create("a", 1);
    produce(&mut client, &topic, 300_000);
    produce(&mut client, &topic, 100);
    set(
        &broker,
        &[("client-id", None)],
        &[("consumer_byte_rate", Some(100_000.0))],
    );
    let first = Fetch::of(vec![Wanted::new(&topic, 0, 0)]);
    let (fetched, pause) = fetch(&mut client, &first);
    assert_eq!((fetched.only().bases(), pause), (vec![0], Duration::ZERO));
    let second = Fetch::of(vec![Wanted::new(&topic, 0, 1)]);
    let (fetched, pause) = fetch(&mut client, &second);
    assert!(
        fetched.partitions.is_empty() && pause > Duration::from_secs(1),
        "{pause:?}"
    );
    let (fetched, pause) = fetch(&mut client, &second);
    assert_eq!((fetched.only().bases(), pause), (vec![1], Duration::ZERO));
    broker.stop();
}

#[test]
fn the_time_of_requests_is_limited_and_no_pause_is_longer_than_a_sample() {
    let broker = LocalBroker::start(&[SHORT]);
    // A hundredth of a percent of a thread: 0.1 ms a second.
    set(
        &broker,
        &[("client-id", Some("busy"))],
        &[("request_percentage", Some(0.01))],
    );
    let mut client = broker.connect();
    client.client_id = "busy";
    let began = Instant::now();
    let mut pauses = Vec::new();
    while pauses.len() < 3 && began.elapsed() < Duration::from_secs(30) {
        let body = client.call(9, &MetadataRequest::default());
        let (_, response) = wire::decode_response::<MetadataRequest<'_>>(&body, 9).unwrap();
        if response.throttle_time_ms > 0 {
            pauses.push(response.throttle_time_ms);
        }
    }
    assert_eq!(pauses.len(), 3);
    assert!(pauses.iter().all(|ms| *ms <= 1_000), "{pauses:?}");
    let mut other = broker.connect();
    let body = other.call(9, &MetadataRequest::default());
    let (_, response) = wire::decode_response::<MetadataRequest<'_>>(&body, 9).unwrap();
    assert_eq!(response.throttle_time_ms, 0);
    broker.stop();
}

/// Creates a topic; gives the outcome and what the reply says of a pause.
fn create(client: &mut Connection, version: i16, name: &str, partitions: i32) -> (ErrorCode, i32) {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name,
            num_partitions: partitions,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        timeout_ms: 15_000,
        validate_only: false,
    };
    let body = client.call(version, &request);
    let (_, response) = wire::decode_response::<CreateTopicsRequest<'_>>(&body, version).unwrap();
    (response.topics[0].error_code, response.throttle_time_ms)
}

#[test]
fn partitions_are_created_and_deleted_at_the_rate_of_the_quota() {
    let broker = LocalBroker::start(&[SHORT]);
    set(
        &broker,
        &[("client-id", Some("admin 2"))],
        &[("controller_mutation_rate", Some(2.0))],
    );
    let exceeded = ErrorCode::THROTTLING_QUOTA_EXCEEDED;
    let mut client = broker.connect();
    client.client_id = "admin 2";
    // Two samples of two partitions may be used at once; the request that uses them up goes whole.
    assert_eq!(create(&mut client, 7, "a", 6), (ErrorCode::NONE, 0));
    let (code, ms) = create(&mut client, 7, "b", 1);
    assert_eq!(code, exceeded);
    assert!((1..=1_000).contains(&ms), "{ms} ms");
    let began = Instant::now();
    let (code, _) = create(&mut client, 7, "b", 3);
    assert_eq!(
        code,
        ErrorCode::NONE,
        "after the pause, for which nothing was read"
    );
    assert!(began.elapsed() >= Duration::from_millis(ms as u64 - 1));
    let topics = vec![CreatePartitionsTopic {
        name: "b",
        count: 4,
        assignments: None,
    }];
    let request = CreatePartitionsRequest {
        topics,
        timeout_ms: 15_000,
        validate_only: false,
    };
    let body = client.call(3, &request);
    let (_, response) = wire::decode_response::<CreatePartitionsRequest<'_>>(&body, 3).unwrap();
    assert_eq!(response.results[0].error_code, exceeded);
    // Old clients are throttled and not refused.
    let (code, ms) = create(&mut client, 5, "c", 2);
    assert!(code == ErrorCode::NONE && ms > 0, "{code} {ms}");
    let request = DeleteTopicsRequest {
        topic_names: vec!["c"],
        timeout_ms: 15_000,
        ..DeleteTopicsRequest::default()
    };
    let body = client.call(4, &request);
    let (_, response) = wire::decode_response::<DeleteTopicsRequest<'_>>(&body, 4).unwrap();
    assert_eq!(response.responses[0].error_code, ErrorCode::NONE);
    assert!(response.throttle_time_ms > 0);
    // The pause pays for what was deleted; this uses the budget up anew, and the next is refused.
    assert_eq!(create(&mut client, 5, "d", 3).0, ErrorCode::NONE);
    let mut second = broker.connect();
    second.client_id = "admin 2";
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some("b"),
            ..DeleteTopicState::default()
        }],
        timeout_ms: 15_000,
        ..DeleteTopicsRequest::default()
    };
    let body = second.call(6, &request);
    let (_, response) = wire::decode_response::<DeleteTopicsRequest<'_>>(&body, 6).unwrap();
    assert_eq!(
        response.responses[0].error_code, exceeded,
        "connections share the budget"
    );
    broker.stop();
}

#[test]
fn an_address_opens_connections_at_the_rate_of_its_quota() {
    let broker = LocalBroker::start(&[SHORT]);
    set(
        &broker,
        &[("ip", Some("127.0.0.1"))],
        &[("connection_creation_rate", Some(5.0))],
    );
    let is_served = || {
        let mut client = broker.connect();
        let (_, bytes) = client.encode(0, &ApiVersionsRequest::default());
        std::io::Write::write_all(&mut client.stream, &bytes).is_ok()
            && client.try_receive().is_ok()
    };
    let began = Instant::now();
    let mut served = 0;
    while began.elapsed() < Duration::from_secs(4) {
        served += u32::from(is_served());
    }
    // Five at once, then five a second.
    let seconds = began.elapsed().as_secs_f64();
    assert_near(f64::from(served), 5.0 + 5.0 * seconds);
    assert!(broker.metric("kafscale_throttled_connections_total") > 0.0);
    thread::sleep(Duration::from_secs(1));
    set(
        &broker,
        &[("ip", Some("127.0.0.1"))],
        &[("connection_creation_rate", None)],
    );
    assert_eq!((0..30).filter(|_| is_served()).count(), 30);
    broker.stop();
}

#[test]
fn topics_that_are_created_because_somebody_asks_for_them_count_as_mutations() {
    let settings = [
        SHORT,
        ("topic.auto_create", "true"),
        ("topic.auto_create_partitions", "6"),
    ];
    let broker = LocalBroker::start(&settings);
    set(
        &broker,
        &[("client-id", Some("asks"))],
        &[("controller_mutation_rate", Some(2.0))],
    );
    let asked = |client: &mut Connection, name: &str| {
        let topic = MetadataRequestTopic {
            name: Some(name),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        let body = client.call(12, &request);
        let (_, told) = wire::decode_response::<MetadataRequest<'_>>(&body, 12).unwrap();
        assert_eq!(
            told.throttle_time_ms, 0,
            "as Kafka, which does not throttle this"
        );
        told.topics[0].error_code
    };
    let (mut client, mut other) = (broker.connect(), broker.connect());
    (client.client_id, other.client_id) = ("asks", "other");
    // Two samples of two partitions may be used at once; the topic that uses them up is created whole.
    assert_eq!(asked(&mut client, "a"), ErrorCode::NONE);
    assert_eq!(
        asked(&mut client, "b"),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(asked(&mut client, "a"), ErrorCode::NONE, "it is there");
    assert_eq!(asked(&mut other, "b"), ErrorCode::NONE, "who has no quota");
    let began = Instant::now();
    while asked(&mut client, "c") != ErrorCode::NONE {
        assert!(began.elapsed() < Duration::from_secs(20), "never created");
        thread::sleep(Duration::from_millis(50));
    }
    broker.stop();
}
