//! While ownership moves: every broker names the true owner within a second, of partitions (Metadata)
//! and of coordinators (FindCoordinator).
//!
//! The truth is what etcd says, read all the time. An answer is wrong if what it names was true at no
//! time from a second before it was asked for until it was there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use broker::shard::slot_of_group;
use client::{ClientError, ClientSettings, Connection};
use coord::keys::partition::{self, PartitionRecord};
use coord::keys::slot::{self, SlotRecord};
use coord::keys::{Keyspace, Record, seen, session};
use coord::kv::etcd::{Etcd, EtcdOptions};
use coord::kv::{Kv, Span, range_all};
use s3_server::Conditional;
use segment::SessionId;
use wire::messages::metadata::MetadataRequestTopic;
use wire::messages::{FindCoordinatorRequest, MetadataRequest};

use crate::world::{Node, Over, World, eventually};

/// How long a change of the owner may be news.
const PROMISE: Duration = Duration::from_secs(1);
const TOPIC: &str = "orders";
const PARTITIONS: usize = 12;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Pause between two rounds of questions to one broker.
const ASK_EVERY: Duration = Duration::from_millis(20);
const GROUPS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Partition(i32),
    Group(&'static str),
}

/// The live broker that owns something, with the epoch of a partition.
type Owner = Option<(i32, i32)>;
type Owners = BTreeMap<Thing, Owner>;

/// Something seen between two moments.
struct Look {
    from: Instant,
    until: Instant,
    owners: Owners,
}

/// What etcd says.
async fn truth(kv: &Arc<dyn Kv>, space: &Keyspace) -> Owners {
    let partitions = records::<PartitionRecord>(kv, partition::span(space)).await;
    let slots = records::<SlotRecord>(kv, slot::span(space)).await;
    let live = range_all(kv, session::span(space)).await.unwrap().entries;
    let live = live
        .iter()
        .map(|it| session::parse(space, &it.key).unwrap());
    let live: BTreeSet<SessionId> = live.collect();
    let mut owners = Owners::new();
    for (key, record) in partitions {
        let index = partition::parse(space, &key).unwrap().partition.get();
        let owner = record.owner.filter(|owner| live.contains(&owner.session));
        let owner = owner.map(|owner| (owner.broker.get(), record.leader_epoch.get()));
        owners.insert(Thing::Partition(index), owner);
    }
    for (key, record) in slots {
        let slot = slot::parse(space, &key).unwrap().get();
        let owner = record.owner.filter(|owner| live.contains(&owner.session));
        for group in GROUPS.iter().filter(|group| slot_of_group(group) == slot) {
            let owner = owner.map(|owner| (owner.broker.get(), -1));
            owners.insert(Thing::Group(group), owner);
        }
    }
    owners
}

async fn records<T: Record>(kv: &Arc<dyn Kv>, span: Span) -> Vec<(coord::kv::Key, T)> {
    let entries = range_all(kv, span).await.unwrap().entries;
    let record = |it: coord::kv::KeyValue| {
        let record = seen::<T>(Some(&it)).unwrap().unwrap().record;
        (it.key, record)
    };
    entries.into_iter().map(record).collect()
}

/// Reads the truth until it is over.
fn watch(world: &World, over: &AtomicBool, seen: &Mutex<Vec<Look>>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = EtcdOptions::new([format!("http://{}", world.etcd.client)]);
    runtime.block_on(async {
        let kv: Arc<dyn Kv> = Arc::new(Etcd::connect(options).await.unwrap());
        let space = Keyspace::new("kafscale").unwrap();
        while !over.load(Ordering::Relaxed) {
            let from = Instant::now();
            let owners = truth(&kv, &space).await;
            let until = Instant::now();
            seen.lock().unwrap().push(Look {
                from,
                until,
                owners,
            });
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
}

/// Asks a broker until it is over; it may not be there all the time.
fn ask(address: SocketAddr, over: &AtomicBool, told: &Mutex<Vec<(SocketAddr, Look)>>) {
    let settings = ClientSettings::default();
    let mut connection = None;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(ASK_EVERY);
        if connection.is_none() {
            connection = Connection::open(&address.to_string(), &settings).ok();
        }
        let Some(open) = &mut connection else {
            continue;
        };
        for question in [partitions, coordinators] {
            let from = Instant::now();
            match question(open) {
                Ok(owners) => {
                    let until = Instant::now();
                    let look = Look {
                        from,
                        until,
                        owners,
                    };
                    told.lock().unwrap().push((address, look));
                }
                Err(_) => {
                    connection = None;
                    break;
                }
            }
        }
    }
}

fn partitions(connection: &mut Connection) -> Result<Owners, ClientError> {
    let topic = MetadataRequestTopic {
        name: Some(TOPIC),
        ..Default::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let reply = connection.call(&request)?;
    let response = reply.decode()?;
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let owner = |it: &wire::messages::metadata::MetadataResponsePartition| {
        let led = it
            .error_code
            .is_none()
            .then_some((it.leader_id, it.leader_epoch));
        (Thing::Partition(it.partition_index), led)
    };
    Ok(partitions.map(owner).collect())
}

fn coordinators(connection: &mut Connection) -> Result<Owners, ClientError> {
    let request = FindCoordinatorRequest {
        coordinator_keys: GROUPS.to_vec(),
        ..Default::default()
    };
    let reply = connection.call(&request)?;
    let response = reply.decode()?;
    let mut owners = Owners::new();
    for it in &response.coordinators {
        let group = GROUPS.iter().find(|group| **group == it.key).unwrap();
        let owner = it.error_code.is_none().then_some((it.node_id, -1));
        owners.insert(Thing::Group(group), owner);
    }
    Ok(owners)
}

/// Whether an answer is explained by what was true in the time before it.
fn is_explained(thing: Thing, answer: Owner, look: &Look, truth: &[Look]) -> bool {
    let from = look.from.checked_sub(PROMISE).unwrap();
    // With one look before and one after: what was true between two looks is seen by neither.
    let first = truth
        .partition_point(|it| it.until < from)
        .saturating_sub(1);
    let last = truth.partition_point(|it| it.from <= look.until);
    let window = &truth[first..(last + 1).min(truth.len())];
    let owners: BTreeSet<Owner> = window
        .iter()
        .map(|it| it.owners.get(&thing).copied().flatten())
        .collect();
    // Nobody serves while it moves, and a taker says so until it does.
    owners.contains(&answer) || answer.is_none() && owners.len() > 1
}

/// How long after a change each broker first named the new owner, over all changes.
fn delays(truth: &[Look], told: &[(SocketAddr, Look)]) -> Vec<Duration> {
    let mut delays = Vec::new();
    let addresses: BTreeSet<SocketAddr> = told.iter().map(|(address, _)| *address).collect();
    for pair in truth.windows(2) {
        for (thing, owner) in &pair[1].owners {
            let changed = pair[0]
                .owners
                .get(thing)
                .is_some_and(|before| before != owner);
            if !changed || owner.is_none() {
                continue;
            }
            for address in &addresses {
                let mut answers = told
                    .iter()
                    .filter(|(of, it)| of == address && it.until >= pair[1].from);
                let first = answers.find(|(_, it)| it.owners.get(thing) == Some(owner));
                delays.extend(first.map(|(_, it)| it.until - pair[1].from));
            }
        }
    }
    delays.sort_unstable();
    delays
}

/// What an operator and a broken machine do, one after the other.
fn move_everything(world: &World, nodes: &mut Vec<Node>) {
    let rest = || std::thread::sleep(PROMISE * 2);
    world.operate(&["drain", "2"]);
    rest();
    world.operate(&["undrain", "2"]);
    rest();
    let mut three = nodes.pop().unwrap();
    three.kill();
    eventually("what the dead broker had has other owners", || {
        let described = world.operate(&["describe", "--json"]);
        let state: serde_json::Value = serde_json::from_str(&described).unwrap();
        state["brokers"].as_array().unwrap().len() == 2
            && state["partitions_without_leader"] == 0
            && state["slots_without_owner"] == 0
    });
    rest();
    nodes.push(world.node("4"));
    world.operate(&["balance"]);
    rest();
    nodes.remove(1).stop();
    world.operate(&["balance"]);
    rest();
}

#[test]
fn every_broker_names_the_true_owner_within_a_second() {
    let world = World::start_named(Conditional::Atomic);
    let mut nodes: Vec<Node> = ["1", "2", "3"].map(|id| world.node(id)).into();
    let count = PARTITIONS.to_string();
    nodes[0].run(&["topic", "create", TOPIC, "--partitions", &count], "");
    world.operate(&["balance"]);
    let (over, seen, told) = (AtomicBool::new(false), Mutex::default(), Mutex::default());
    let (over, seen, told) = (&over, &seen, &told);
    std::thread::scope(|scope| {
        let world = &world;
        let ends = Over(over);
        scope.spawn(|| watch(world, over, seen));
        for node in &nodes {
            let address = node.kafka;
            scope.spawn(move || ask(address, over, told));
        }
        eventually("a second of truth", || {
            let seen = seen.lock().unwrap();
            seen.last()
                .is_some_and(|last| last.from - seen[0].from > PROMISE)
        });
        told.lock().unwrap().clear();
        move_everything(world, &mut nodes);
        drop(ends);
    });
    let (truth, told) = (seen.lock().unwrap(), told.lock().unwrap());
    let last = truth.last().unwrap().until;
    let mut answers = 0;
    for (address, look) in told.iter().filter(|(_, look)| look.until < last) {
        for (thing, answer) in &look.owners {
            answers += 1;
            assert!(
                is_explained(*thing, *answer, look, &truth),
                "{address} said {answer:?} of {thing:?}, which was not so for {PROMISE:?}"
            );
        }
    }
    let delays = delays(&truth, &told);
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    let moved: usize = delays.len();
    println!(
        "{answers} answers; {moved} changes seen by a broker: p50 {:?}, p99 {:?}, max {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(moved >= 3 * PARTITIONS, "enough has moved: {moved}");
}
