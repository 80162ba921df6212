//! Consumer groups while their coordinator moves: gracefully, by a death, and from under a broker that
//! is frozen and thaws.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::{
    Client, ClientError, ClientSettings, Connection, GroupConsumer, GroupSettings, OffsetReset,
    TopicPartition,
};
use s3_server::Conditional;
use segment::{Offset, PartitionIndex};
use wire::messages::OffsetFetchRequest;
use wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};

use crate::world::{Node, Over, PATIENCE, World, eventually};

const TOPIC: &str = "orders";
/// They lie in different slots, so that each move of a broker hits some.
const GROUPS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A client that does not wait long for a broker that is frozen.
fn impatient(nodes: &[Node]) -> ClientSettings {
    let addresses: Vec<String> = nodes.iter().map(|node| node.kafka.to_string()).collect();
    ClientSettings {
        request_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(2),
        retry_timeout: PATIENCE,
        retry_wait_max: Duration::from_millis(200),
        ..ClientSettings::with_bootstrap(&addresses.join(","))
    }
}

/// What is known of one group's committed offset.
#[derive(Default)]
struct Group {
    /// The highest that a broker has acknowledged.
    acknowledged: AtomicI64,
    /// The highest that was sent.
    sent: AtomicI64,
}

/// Commits 1, 2, 3, ... until it is over.
fn commit(client: &mut Client, name: &str, group: &Group, over: &AtomicBool) {
    let partition = TopicPartition::new(TOPIC, PartitionIndex::ZERO);
    for offset in 1.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        group.sent.store(offset, Ordering::SeqCst);
        let offsets = BTreeMap::from([(partition.clone(), Offset::new(offset))]);
        // A broker that is frozen does not answer: whether it has committed is not known.
        while let Err(error) = client.commit_offline(name, &offsets) {
            let timed_out = matches!(error, ClientError::TimedOut { .. });
            assert!(timed_out, "{error}");
            if over.load(Ordering::Relaxed) {
                return;
            }
        }
        group.acknowledged.store(offset, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The committed offset that one broker tells, whether it should or not; `None` where it refuses.
fn told(connection: &mut Connection, name: &str) -> Result<Option<i64>, ClientError> {
    let topic = OffsetFetchRequestTopics {
        name: TOPIC,
        partition_indexes: vec![0],
        ..OffsetFetchRequestTopics::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: name,
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request = OffsetFetchRequest {
        groups: vec![group],
        ..Default::default()
    };
    let reply = connection.call(&request)?;
    let response = reply.decode()?;
    let group = &response.groups[0];
    if !group.error_code.is_none() {
        return Ok(None);
    }
    let partition = &group.topics[0].partitions[0];
    Ok(partition
        .error_code
        .is_none()
        .then_some(partition.committed_offset))
}

/// Asks one broker for all groups until it is over: it answers right, or not at all.
fn ask(address: SocketAddr, groups: &[Group], answers: &AtomicUsize, over: &AtomicBool) {
    let settings = ClientSettings {
        request_timeout: Duration::from_secs(20),
        ..ClientSettings::default()
    };
    let mut connection = None;
    while !over.load(Ordering::Relaxed) {
        let Some(open) = &mut connection else {
            connection = Connection::open(&address.to_string(), &settings).ok();
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        for (name, group) in GROUPS.iter().zip(groups) {
            let least = group.acknowledged.load(Ordering::SeqCst);
            let answer = told(open, name);
            let most = group.sent.load(Ordering::SeqCst);
            match answer {
                Ok(Some(offset)) => {
                    // Nothing is committed as long as nothing was sent.
                    let offset = offset.max(0);
                    assert!(
                        least <= offset && offset <= most,
                        "{address} says {offset} of group {name}, where {least} was acknowledged \
                         and {most} sent"
                    );
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                Ok(None) => {}
                Err(_) => {
                    connection = None;
                    break;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn state(world: &World) -> serde_json::Value {
    serde_json::from_str(&world.operate(&["describe", "--json"])).unwrap()
}

fn all_served(world: &World, brokers: usize) -> bool {
    let state = state(world);
    state["brokers"].as_array().unwrap().len() == brokers
        && state["partitions_without_leader"] == 0
        && state["slots_without_owner"] == 0
}

fn are_well(world: &World, brokers: usize) -> bool {
    let state = state(world);
    let all = state["brokers"].as_array().unwrap();
    all.len() == brokers && all.iter().all(|broker| broker["state"] == "healthy")
}

/// Drains of each broker, a freeze, and a death, one after the other.
fn move_coordinators(world: &World, nodes: &mut [Node], groups: &[Group]) {
    let rest = || {
        let before: Vec<i64> = groups.iter().map(acknowledged).collect();
        eventually("every group commits on", || {
            let mut pairs = groups.iter().zip(&before);
            pairs.all(|(group, before)| acknowledged(group) > before + 20)
        });
    };
    rest();
    for id in ["1", "2", "3"] {
        // On a busy machine a broker is in trouble now and then, and takes nothing meanwhile.
        eventually("every broker is well", || are_well(world, 3));
        world.operate(&["drain", id]);
        rest();
        world.operate(&["undrain", id]);
        rest();
    }
    // Frozen for longer than its lease: it thaws with what it knew, and must not tell it.
    nodes[1].signal("-STOP");
    eventually("others coordinate", || all_served(world, 2));
    rest();
    nodes[1].signal("-CONT");
    eventually("it is back", || all_served(world, 3));
    rest();
    nodes[2].kill();
    eventually("others coordinate", || all_served(world, 2));
    rest();
}

#[test]
fn a_committed_offset_never_goes_back_while_coordinators_move() {
    let world = World::start_named(Conditional::Atomic);
    let mut nodes: Vec<Node> = ["1", "2", "3"].map(|id| world.node(id)).into();
    nodes[0].run(&["topic", "create", TOPIC, "--partitions", "1"], "");
    let groups: Vec<Group> = GROUPS.iter().map(|_| Group::default()).collect();
    let (over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let settings = impatient(&nodes);
    std::thread::scope(|scope| {
        let (over, answers, groups) = (&over, &answers, &groups);
        for (name, group) in GROUPS.iter().zip(groups) {
            let mut client = Client::connect(settings.clone()).unwrap();
            scope.spawn(move || commit(&mut client, name, group, over));
        }
        for node in &nodes {
            let address = node.kafka;
            scope.spawn(move || ask(address, groups, answers, over));
        }
        let ends = Over(over);
        move_coordinators(&world, &mut nodes, groups);
        drop(ends);
    });
    let answers = answers.into_inner();
    let commits: i64 = groups.iter().map(acknowledged).sum();
    println!("{commits} commits, {answers} answers");
    assert!(answers > 100, "{answers}");
    // Read back by whoever coordinates now.
    let mut client = Client::connect(impatient(&nodes)).unwrap();
    for (name, group) in GROUPS.iter().zip(&groups) {
        let committed = client.committed(name, None).unwrap();
        let offsets: Vec<i64> = committed.values().map(|it| it.offset.get()).collect();
        let [offset] = offsets.as_slice() else {
            panic!("group {name}: {offsets:?}");
        };
        let most = group.sent.load(Ordering::SeqCst);
        assert!(
            (acknowledged(group)..=most).contains(offset),
            "group {name}: {offset}"
        );
    }
}

fn acknowledged(group: &Group) -> i64 {
    group.acknowledged.load(Ordering::SeqCst)
}

/// Records that members of a group have read: partition and offset.
type Seen = Mutex<BTreeSet<(i32, i64)>>;

/// Reads as a member until it is over, commits what it has read, and leaves.
fn read(client: Client, seen: &Seen, over: &AtomicBool) -> u64 {
    let settings = GroupSettings {
        group: "readers".to_owned(),
        topics: vec![TOPIC.to_owned()],
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(20),
        heartbeat_interval: Duration::from_millis(200),
        commit_interval: Duration::from_millis(200),
        reset: OffsetReset::Earliest,
        ..GroupSettings::default()
    };
    let mut member = GroupConsumer::new(client, settings).unwrap();
    while !over.load(Ordering::Relaxed) {
        // While a broker goes down polls may fail; the next one tries again.
        let Ok(Some(fetched)) = member.poll(Duration::from_millis(100)) else {
            continue;
        };
        let partition = fetched.partition().clone();
        let (first, next) = (fetched.first_offset().get(), fetched.next_offset());
        let all = (first..next.get()).map(|offset| (partition.partition.get(), offset));
        seen.lock().unwrap().extend(all);
        member.mark(&partition, next);
    }
    let assignments = member.assignments();
    member.close().unwrap();
    assignments
}

#[test]
fn members_join_read_and_commit_on_across_moves_of_their_coordinator() {
    let world = World::start_named(Conditional::Atomic);
    let mut nodes: Vec<Node> = ["1", "2", "3"].map(|id| world.node(id)).into();
    nodes[0].run(&["topic", "create", TOPIC, "--partitions", "6"], "");
    let (over, seen) = (AtomicBool::new(false), Seen::default());
    let connect = |nodes: &[Node]| Client::connect(impatient(nodes)).unwrap();
    let mut client = connect(&nodes);
    let coordinator = |client: &mut Client| {
        client
            .describe_group("readers")
            .unwrap()
            .coordinator
            .to_string()
    };
    let members = |client: &mut Client| client.describe_group("readers").unwrap().members.len();
    std::thread::scope(|scope| {
        let (over, seen) = (&over, &seen);
        let mut threads = Vec::new();
        for _ in 0..2 {
            let client = connect(&nodes);
            threads.push(scope.spawn(move || read(client, seen, over)));
        }
        let ends = Over(over);
        let sent = {
            let mut sent = 0;
            let mut go_on = |what: &str, node: &Node| {
                node.produce(TOPIC, sent..sent + 300);
                sent += 300;
                let began = Instant::now();
                eventually(what, || seen.lock().unwrap().len() >= sent as usize);
                println!("{what}: {:?}", began.elapsed());
            };
            go_on("the group reads", &nodes[0]);
            eventually("both are members", || members(&mut client) == 2);
            // Gracefully.
            let first = coordinator(&mut client);
            world.operate(&["drain", &first]);
            assert_ne!(coordinator(&mut client), first);
            go_on("the group reads on after a drain", &nodes[0]);
            assert_eq!(members(&mut client), 2, "nobody had to join anew");
            // By a death.
            let second = coordinator(&mut client);
            world.operate(&["undrain", &first]);
            let dead = nodes.iter_mut().position(|node| node.id == second).unwrap();
            nodes.remove(dead).kill();
            eventually("others coordinate", || all_served(&world, 2));
            go_on("the group reads on after a death", &nodes[0]);
            // One more joins, and everybody has its share.
            let client_of_third = connect(&nodes);
            threads.push(scope.spawn(move || read(client_of_third, seen, over)));
            eventually("the third is a member", || {
                let group = client.describe_group("readers").unwrap();
                let shares: Vec<usize> = group.members.iter().map(|m| m.assignment.len()).collect();
                shares == [2, 2, 2]
            });
            go_on("the larger group reads", &nodes[0]);
            sent
        };
        drop(ends);
        let assignments: Vec<u64> = threads.into_iter().map(|it| it.join().unwrap()).collect();
        println!("assignments of each member: {assignments:?}");
        assert_eq!(
            seen.lock().unwrap().len(),
            sent as usize,
            "each record once"
        );
    });
    // What was read is committed, and nothing beyond the end.
    let partitions: Vec<TopicPartition> = (0..6)
        .map(|index| TopicPartition::new(TOPIC, PartitionIndex::new(index)))
        .collect();
    let ends = client.log_bounds(&partitions).unwrap();
    let committed = client.committed("readers", None).unwrap();
    for (partition, (_, end)) in ends.iter().filter(|(_, (_, end))| end.get() > 0) {
        assert_eq!(committed[partition].offset, *end, "{partition}");
    }
}
