//! Several named listeners: who comes by one is told addresses of that one, and brokers ask each other by the one that is
//! for them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use client::{
    Client, ClientSettings, ClientTls, NewTopic, SaslCredentials, TlsFiles, TopicPartition,
};
use s3_server::Conditional;
use security::Mechanism;
use security::scram::ScramHash;
use security::secret::Secret;
use segment::{Offset, PartitionIndex};
use wire::messages::find_coordinator::FindCoordinatorRequest;
use wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use wire::messages::{DescribeClusterRequest, DescribeTopicPartitionsRequest};
use wire::{ErrorCode, Request};

use crate::authority::Authority;
use crate::common::Connection;
use crate::world::{Node, World, eventually, free};

const LAG: &str = "kafscale_consumer_group_lag{group=\"billing\",topic=\"t\"}";
const PASSWORD: &str = "hunter2";

/// A broker with its listeners, by name.
struct Broker {
    node: Node,
    at: Vec<(&'static str, SocketAddr)>,
}

impl Broker {
    /// One with these listeners, whose first is where [`Node`] connects.
    fn start(world: &World, id: &str, names: &[&'static str], settings: &[(&str, &str)]) -> Self {
        let at: Vec<_> = names.iter().map(|name| (*name, free())).collect();
        let bind = at.iter().map(|(name, addr)| format!("{name}://{addr}"));
        let bind = bind.collect::<Vec<_>>().join(",");
        let own = [("KAFSCALE_LISTENERS", bind.as_str())];
        let node = world.node_at(id, at[0].1, &[&own[..], settings].concat());
        Self { node, at }
    }

    fn at(&self, listener: &str) -> SocketAddr {
        let found = self.at.iter().find(|(name, _)| *name == listener);
        found.unwrap().1
    }
}

/// How a client of a listener speaks.
struct Speaks<'a> {
    tls: Option<&'a Authority>,
    has_sasl: bool,
}

impl Speaks<'_> {
    fn connect(&self, address: SocketAddr) -> Client {
        let tls = self.tls.map(|authority| {
            let ca = Some(authority.ca());
            ClientTls::new(&TlsFiles { ca, own: None }).unwrap()
        });
        let sasl = self.has_sasl.then(|| SaslCredentials {
            mechanism: Mechanism::Scram(ScramHash::Sha512),
            user: "admin".to_owned(),
            password: Secret::new(PASSWORD),
        });
        let settings = ClientSettings {
            tls,
            sasl,
            ..ClientSettings::with_bootstrap(&address.to_string())
        };
        Client::connect(settings).unwrap()
    }
}

/// All addresses that a client is told, by every request that tells some.
fn told(client: &mut Client, groups: &[String]) -> BTreeSet<(i32, String)> {
    let mut all = BTreeSet::new();
    let reply = client.call_any(&MetadataRequest::default()).unwrap();
    let by_metadata = reply.decode().unwrap().brokers;
    all.extend(
        by_metadata
            .iter()
            .map(|it| (it.node_id, format!("{}:{}", it.host, it.port))),
    );
    let asked = DescribeClusterRequest {
        endpoint_type: 1,
        ..DescribeClusterRequest::default()
    };
    let reply = client.call_any(&asked).unwrap();
    let by_cluster = reply.decode().unwrap().brokers;
    all.extend(
        by_cluster
            .iter()
            .map(|it| (it.broker_id, format!("{}:{}", it.host, it.port))),
    );
    for group in groups {
        let asked = FindCoordinatorRequest {
            coordinator_keys: vec![group],
            ..FindCoordinatorRequest::default()
        };
        let reply = client.call_any(&asked).unwrap();
        for found in reply.decode().unwrap().coordinators {
            assert_eq!(found.error_code, ErrorCode::NONE, "{group}");
            all.insert((found.node_id, format!("{}:{}", found.host, found.port)));
        }
    }
    all
}

fn groups() -> Vec<String> {
    (0..20).map(|number| format!("g{number}")).collect()
}

fn create(client: &mut Client, partitions: i32) {
    let topic = NewTopic {
        name: "t".to_owned(),
        partitions: Some(partitions),
        ..NewTopic::default()
    };
    client.create_topic(&topic).unwrap();
}

/// Settings of TLS and SASL for listeners that have it; `ANONYMOUS` may do everything, as clients of the plain one.
fn protected(authority: &Authority) -> [(&'static str, String); 5] {
    authority.issue("broker", |_| {});
    [
        ("KAFSCALE_TLS_CERT_FILE", authority.text("broker.pem")),
        ("KAFSCALE_TLS_KEY_FILE", authority.text("broker.key")),
        ("KAFSCALE_SASL_MECHANISMS", "SCRAM-SHA-512".to_owned()),
        ("KAFSCALE_ADMIN_PASSWORD", PASSWORD.to_owned()),
        ("KAFSCALE_SUPER_USERS", "User:ANONYMOUS".to_owned()),
    ]
}

fn texts<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    settings
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect()
}

#[test]
fn who_comes_by_a_listener_is_told_its_addresses_and_brokers_ask_each_other_by_theirs() {
    let world = World::start(Conditional::Atomic);
    let authority = Authority::new();
    let settings = protected(&authority);
    let settings = [
        &texts(&settings)[..],
        &[
            (
                "KAFSCALE_LISTENER_PROTOCOLS",
                "INTERNAL:PLAINTEXT,EXTERNAL:SASL_SSL",
            ),
            ("KAFSCALE_LAG_SAMPLE_INTERVAL_SEC", "1"),
            ("KAFSCALE_INTER_BROKER_LISTENER", "internal"),
        ],
    ]
    .concat();
    let brokers =
        ["0", "1"].map(|id| Broker::start(&world, id, &["INTERNAL", "EXTERNAL"], &settings));
    let internal = Speaks {
        tls: None,
        has_sasl: false,
    };
    let external = Speaks {
        tls: Some(&authority),
        has_sasl: true,
    };
    create(&mut internal.connect(brokers[0].at("INTERNAL")), 8);
    for (listener, speaks) in [("INTERNAL", &internal), ("EXTERNAL", &external)] {
        let expected: BTreeSet<_> = (0..)
            .zip(&brokers)
            .map(|(id, broker)| (id, broker.at(listener).to_string()))
            .collect();
        for broker in &brokers {
            eventually("both brokers are told, by this listener", || {
                let mut client = speaks.connect(broker.at(listener));
                let known = client.metadata().brokers.len();
                known == 2 && told(&mut client, &groups()) == expected
            });
        }
    }
    // Records that came by one are read by the other, of partitions that both brokers lead.
    brokers[0].node.produce("t", 0..400);
    let all: Vec<u32> = (0..400).collect();
    assert_eq!(brokers[1].node.read("t"), all);
    let mut client = external.connect(brokers[1].at("EXTERNAL"));
    let leaders = client.topic("t").unwrap().partitions;
    let leaders: BTreeSet<_> = leaders.iter().map(|it| it.leader).collect();
    assert_eq!(leaders.len(), 2, "{leaders:?}");
    let partitions = (0..8).map(|index| TopicPartition::new("t", PartitionIndex::new(index)));
    let partitions: Vec<_> = partitions.collect();
    let ends = client.log_bounds(&partitions).unwrap();
    let held: i64 = ends.values().map(|(_, end)| end.get()).sum();
    assert_eq!(held, 400);
    // Brokers ask each other where partitions end, as ANONYMOUS by the plain listener.
    let offsets = partitions.into_iter().map(|it| (it, Offset::ZERO));
    client
        .commit_offline("billing", &offsets.collect())
        .unwrap();
    eventually("the lag is that of both brokers' partitions", || {
        brokers.iter().map(|it| it.node.metric(LAG)).sum::<f64>() == 400.0
    });
    assert!(
        brokers[0].node.log().contains("EXTERNAL"),
        "{}",
        brokers[0].node.log()
    );
}

#[test]
fn four_listeners_serve_at_once_each_with_its_own_protocol() {
    let world = World::start(Conditional::Atomic);
    let authority = Authority::new();
    let settings = protected(&authority);
    let settings = [
        &texts(&settings)[..],
        &[("KAFSCALE_LISTENER_DIRECT_PORTS", "SSL:0,SASL_SSL:0")],
    ]
    .concat();
    let names = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
    let brokers = ["0", "1"].map(|id| Broker::start(&world, id, &names, &settings));
    let direct: BTreeSet<i32> = [256, 257, 512, 513].into();
    let mut seen = BTreeSet::new();
    for (number, listener) in names.into_iter().enumerate() {
        let speaks = Speaks {
            tls: listener.ends_with("SSL").then_some(&authority),
            has_sasl: listener.starts_with("SASL"),
        };
        let mut client = speaks.connect(brokers[0].at(listener));
        if number == 0 {
            create(&mut client, 8);
        }
        let ids = match listener.ends_with("SSL") {
            true => direct.clone(),
            false => [0, 1].into(),
        };
        eventually("the nodes of this listener", || {
            let found = told(&mut client, &groups());
            let found_ids: BTreeSet<i32> = found.iter().map(|(id, _)| *id).collect();
            found_ids == ids && found.len() == ids.len()
        });
        let found = told(&mut client, &groups());
        // No address is that of another listener.
        assert!(
            found
                .iter()
                .all(|(_, address)| seen.insert(address.clone())),
            "{found:?}"
        );
        let leaders = client.topic("t").unwrap().partitions;
        assert!(
            leaders
                .iter()
                .all(|it| it.leader.is_some_and(|id| ids.contains(&id)))
        );
        // Each leader serves at the address that is told of it.
        let at = |index| TopicPartition::new("t", PartitionIndex::new(index));
        client
            .log_bounds(&(0..8).map(at).collect::<Vec<_>>())
            .unwrap();
    }
}

fn metadata(at: SocketAddr, version: i16) -> (Vec<i32>, Vec<ErrorCode>) {
    let asked = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("t"),
            ..MetadataRequestTopic::default()
        }]),
        ..MetadataRequest::default()
    };
    let body = Connection::open(at).call(version, &asked);
    let (_, reply) = wire::decode_response::<MetadataRequest<'_>>(&body, version).unwrap();
    let codes = reply.topics[0].partitions.iter().map(|it| it.error_code);
    (
        reply.brokers.iter().map(|it| it.node_id).collect(),
        codes.collect(),
    )
}

fn latest<'q, R: Request<'q>>(at: SocketAddr, version: i16, request: &R) -> Vec<u8> {
    Connection::open(at).call(version, request)
}

#[test]
fn a_broker_without_a_listener_is_not_there_for_its_clients() {
    let world = World::start(Conditional::Atomic);
    let protocols = [("KAFSCALE_LISTENER_PROTOCOLS", "A:PLAINTEXT,B:PLAINTEXT")];
    let one = Broker::start(&world, "0", &["A", "B"], &protocols);
    let two = Broker::start(&world, "1", &["A"], &protocols);
    let plain = Speaks {
        tls: None,
        has_sasl: false,
    };
    create(&mut plain.connect(two.at("A")), 8);
    let (a, b) = (one.at("A"), one.at("B"));
    eventually("both lead partitions", || {
        let (ids, codes) = metadata(a, 12);
        ids == [0, 1]
            && codes == [ErrorCode::NONE; 8]
            && metadata(b, 12).1.contains(&ErrorCode::NONE)
    });
    for (version, code) in [
        (12, ErrorCode::LISTENER_NOT_FOUND),
        (6, ErrorCode::LISTENER_NOT_FOUND),
        (5, ErrorCode::LEADER_NOT_AVAILABLE),
    ] {
        let (ids, codes) = metadata(b, version);
        assert_eq!(ids, [0], "v{version}");
        let known: BTreeSet<_> = codes.iter().map(|it| it.as_i16()).collect();
        assert_eq!(
            known,
            [ErrorCode::NONE, code].map(|it| it.as_i16()).into(),
            "v{version}"
        );
    }
    let asked = DescribeTopicPartitionsRequest {
        response_partition_limit: 100,
        ..DescribeTopicPartitionsRequest::default()
    };
    let body = latest(b, 0, &asked);
    let (_, reply) = wire::decode_response::<DescribeTopicPartitionsRequest<'_>>(&body, 0).unwrap();
    let codes = reply.topics[0].partitions.iter().map(|it| it.error_code);
    assert!(
        codes
            .into_iter()
            .any(|it| it == ErrorCode::LISTENER_NOT_FOUND)
    );
    let coordinators = |at| {
        let names = groups();
        let asked = FindCoordinatorRequest {
            coordinator_keys: names.iter().map(String::as_str).collect(),
            ..FindCoordinatorRequest::default()
        };
        let body = latest(at, 6, &asked);
        let (_, reply) = wire::decode_response::<FindCoordinatorRequest<'_>>(&body, 6).unwrap();
        let found = reply
            .coordinators
            .iter()
            .map(|it| (it.node_id, it.error_code));
        found.collect::<Vec<_>>()
    };
    eventually("groups of both", || {
        let by_a = coordinators(a);
        by_a.iter().all(|(_, code)| code.is_none()) && by_a.iter().any(|(id, _)| *id == 1)
    });
    for (by_a, by_b) in coordinators(a).into_iter().zip(coordinators(b)) {
        match by_a.0 {
            0 => assert_eq!(by_b, (0, ErrorCode::NONE)),
            _ => assert_eq!(by_b, (-1, ErrorCode::COORDINATOR_NOT_AVAILABLE)),
        }
    }
    let body = latest(
        b,
        2,
        &DescribeClusterRequest {
            endpoint_type: 1,
            ..Default::default()
        },
    );
    let (_, reply) = wire::decode_response::<DescribeClusterRequest>(&body, 2).unwrap();
    let ids: Vec<i32> = reply.brokers.iter().map(|it| it.broker_id).collect();
    assert_eq!((ids, reply.controller_id), (vec![0], 0));
}

/// Two brokers that know each other by their certificates alone; their lag is complete where both may ask.
fn mutual(super_users: &str) -> (World, Vec<Node>) {
    let world = World::start(Conditional::Atomic);
    let authority = Authority::new();
    authority.issue("broker", |_| {});
    authority.issue("root", |_| {});
    let settings = [
        ("KAFSCALE_TLS_CERT_FILE", authority.text("broker.pem")),
        ("KAFSCALE_TLS_KEY_FILE", authority.text("broker.key")),
        ("KAFSCALE_TLS_CLIENT_CA_FILE", authority.text("ca.pem")),
        ("KAFSCALE_SUPER_USERS", super_users.to_owned()),
        ("KAFSCALE_LAG_SAMPLE_INTERVAL_SEC", "1".to_owned()),
    ];
    let settings = texts(&settings);
    let nodes: Vec<_> = ["0", "1"]
        .iter()
        .map(|id| world.node_with(id, &settings))
        .collect();
    let tls = TlsFiles {
        ca: Some(authority.ca()),
        own: authority.own("root"),
    };
    let settings = ClientSettings {
        tls: Some(ClientTls::new(&tls).unwrap()),
        ..ClientSettings::with_bootstrap(&nodes[0].kafka.to_string())
    };
    let mut client = Client::connect(settings).unwrap();
    create(&mut client, 8);
    let mut producer = client::Producer::new(client, client::ProducerSettings::default()).unwrap();
    for index in 0..8 {
        let record = segment::record::NewRecord {
            timestamp: segment::TimestampMs::new(1),
            key: None,
            value: Some(b"x"),
            headers: &[],
        };
        producer
            .send("t", Some(PartitionIndex::new(index)), record)
            .unwrap();
    }
    producer.flush().unwrap();
    let mut client = producer.into_client();
    let leaders = client.topic("t").unwrap().partitions;
    let leaders: BTreeSet<_> = leaders.iter().map(|it| it.leader).collect();
    assert_eq!(leaders.len(), 2, "{leaders:?}");
    let at = |index| TopicPartition::new("t", PartitionIndex::new(index));
    let offsets = (0..8).map(|index| (at(index), Offset::ZERO));
    client
        .commit_offline("billing", &offsets.collect())
        .unwrap();
    (world, nodes)
}

fn lag(nodes: &[Node]) -> f64 {
    nodes.iter().map(|node| node.metric(LAG)).sum()
}

#[test]
fn brokers_ask_each_other_by_their_certificates_where_these_are_of_super_users() {
    let (_world, nodes) = mutual("User:CN=broker,O=Example;User:CN=root,O=Example");
    eventually("the lag is that of both brokers' partitions", || {
        lag(&nodes) == 8.0
    });
}

#[test]
fn brokers_whose_certificates_are_of_nobody_are_denied_what_they_ask() {
    let (_world, nodes) = mutual("User:CN=root,O=Example");
    let denied = |node: &Node| node.metric("kafscale_authorization_denied_total");
    eventually("a question is denied", || {
        nodes.iter().map(denied).sum::<f64>() > 0.0
    });
    std::thread::sleep(Duration::from_secs(3));
    assert!(lag(&nodes) < 8.0, "{}", lag(&nodes));
}
