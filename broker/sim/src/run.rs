//! One run: faults with safety checks, then quiet with liveness checks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use broker::shard::holdings;
use broker::tools::fsck::{self, Fsck, Severity};
use check::Anomaly;
use coord::marks::{self, Mark};
use coord::planted;
use coord::rules;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::bug::Planted;
use crate::client::consumer::{Consumer, Diet, read_all};
use crate::client::member::{Group, Member};
use crate::client::producer::Lane;
use crate::client::scene::{Keeping, Phase, Scene};
use crate::client::{admin, careless, fleeting, hostile};
use crate::clock::{self, sleep};
use crate::cluster::Cluster;
use crate::crash::{self, CrashPoint};
use crate::fault::Fault;
use crate::judge;
use crate::plan::Plan;
use crate::random::Random;
use crate::trace::{self, trace};
use crate::{entropy, nemesis, node, records};

/// The stack of a run: debug builds of deep futures take much.
const STACK_BYTES: usize = 64 << 20;
/// How long the cluster may take to serve, and to create the topics.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long everything that was begun may take to be answered, once faults have ended.
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);
/// How long consumers may come no nearer to the end then. A slow one that takes a batch at a time may need longer.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(60);
/// How long they may take to reach it, however slow they are.
const CATCH_UP_MOST: Duration = Duration::from_secs(900);
/// How long a group may take to commit then.
const COMMIT_PATIENCE: Duration = Duration::from_secs(60);
/// How long one who waits for records may take to see one, with everything calm.
const WAKE_PATIENCE: Duration = Duration::from_secs(6);
/// The longest wait of those who do.
const LONG_POLL: Duration = Duration::from_secs(30);
/// How much older than the time to live of a session what a broker tells may be.
const AGE_GRACE: Duration = Duration::from_millis(500);
/// How long what was held for clients may take to be given back: their last polls, and their sessions in groups.
const GIVE_BACK_PATIENCE: Duration = Duration::from_secs(90);
/// How long a broker that is asked to end may take.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// Numbers of observers: those that follow from the beginning, those that wait for a last record, those that read all.
const LISTENERS: u32 = 100;
const READERS: u32 = 1_000;
/// Those that read all again and again while faults strike, each time as somebody else.
const REPEATERS: u32 = 10_000;

/// How to run a seed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Print what happens.
    pub is_printed: bool,
    /// A defect to plant.
    pub planted: Option<Planted>,
    /// Where a broker dies, beside what the seed says.
    pub crash_at: Option<CrashPoint>,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Promises that were broken.
    pub violations: Vec<String>,
    /// Hash of everything that happened.
    pub trace_hash: u64,
    /// Events of the trace.
    pub events: u64,
    /// Hash of all objects at the end.
    pub store_hash: u64,
    /// Revision of the metadata store at the end.
    pub revision: i64,
    /// The next random number of the thread.
    pub next_bits: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// Changes of store and metadata while faults struck: each has two crash points.
    #[serde(default)]
    pub effects: u64,
    /// Batches acknowledged.
    pub acknowledged: u64,
    /// Records read.
    pub read: u64,
    /// Times that each fault was injected, by name.
    pub faults: BTreeMap<String, u64>,
    /// Times that each mark was hit, by name.
    pub marks: BTreeMap<String, u64>,
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs a seed on a thread of its own. For the numbers of the runtime to repeat it has to be the first run of its
/// process.
///
/// # Panics
/// If the simulator itself fails.
pub fn run(seed: u64, options: Options) -> Outcome {
    let thread = std::thread::Builder::new()
        .name(format!("seed-{seed}"))
        .stack_size(STACK_BYTES)
        .spawn(move || run_here(seed, &options))
        .expect("a thread for the run");
    thread.join().expect("the run ends")
}

fn run_here(seed: u64, options: &Options) -> Outcome {
    entropy::begin(seed);
    trace::print(options.is_printed);
    note_panics();
    match options.planted {
        Some(Planted::Bug(bug)) => planted::plant(Some(bug)),
        Some(Planted::Without(rule)) => rules::adopt(Some(rule)),
        None => {}
    }
    runtime::simulated::install(Rc::new(node::Tokio));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime for the run");
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        clock::begin();
        let plan = Plan::draw(seed);
        crash::begin(plan.brokers, options.crash_at);
        world(plan).await
    })
}

/// A panic of the simulated thread is a broken promise, wherever it is caught.
fn note_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
        before(panic);
    }));
}

async fn world(plan: Plan) -> Outcome {
    let seed = plan.seed;
    trace!("plan", "{plan:?}");
    let cluster = Cluster::new(plan.clone());
    let network = cluster.network.clone();
    let age_max = plan.session_ttl + AGE_GRACE;
    let scene = Scene::new(network, plan.brokers, plan.topics.clone(), age_max);
    spawn_local(cluster.etcd.clone().run());
    spawn_local(records::watch(cluster.etcd.table.clone(), scene.clone()));
    cluster.start();
    if admin::create_topics(&scene, seed, START_PATIENCE).await {
        live(&cluster, &scene).await;
    } else {
        scene.violation("the topics were not created in time, without any fault".to_owned());
    }
    scene.phase.set(Phase::Over);
    if scene.violations().is_empty() {
        give_back(&cluster, &scene).await;
    }
    if scene.violations().is_empty() {
        look_at_the_bucket(&cluster, &scene).await;
    }
    if plan.ends_gracefully && !cluster.stop_all(END_PATIENCE).await {
        scene.violation("a broker did not end in time when it was asked to".to_owned());
    }
    for (topic, history) in plan.topics.iter().zip(scene.take_histories()) {
        for found in judge::judge(&topic.name, &history) {
            scene.violation(found);
        }
    }
    outcome(&cluster, &scene)
}

/// Nobody asks for anything any more: what was held for clients is given back, and members that have gone without a
/// word are removed.
async fn give_back(cluster: &Rc<Cluster>, scene: &Rc<Scene>) {
    let shards: usize = cluster.plan.shards.iter().sum();
    let wrong = || {
        let all = holdings::all();
        let held = all.iter().find(|held| !held.is_nothing());
        let of_dead = all.len().saturating_sub(shards);
        match held {
            Some(held) => Some(format!("{held:?}")),
            None => (of_dead > 0).then(|| format!("{of_dead} shards of brokers that are gone")),
        }
    };
    if let Some(held) = until(GIVE_BACK_PATIENCE, wrong).await {
        scene.broken(Anomaly::Leak, format!("not given back: {held}"));
    }
}

/// Bucket and metadata, every byte of them, by another way than that of the brokers: `kafscale fsck --deep`. Its warnings
/// are what crashes leave behind (stale manifests, snapshots that nobody needs), and the offsets that members make up.
async fn look_at_the_bucket(cluster: &Rc<Cluster>, scene: &Rc<Scene>) {
    let looked = async {
        let ground = cluster.ground().await.map_err(|error| error.to_string())?;
        let options = fsck::Options {
            deep: true,
            ..fsck::Options::default()
        };
        let report = Fsck::new(&ground, options, &|_| ()).run().await;
        report.map_err(|error| error.to_string())
    };
    let looked = looked.await;
    clock::read();
    match looked {
        Ok(report) => {
            let findings = report.findings.iter();
            for found in findings.filter(|found| found.code.severity() == Severity::Error) {
                let (code, subject) = (found.code, &found.subject);
                scene.violation(format!("fsck: {code:?} {subject}: {}", found.detail));
            }
        }
        Err(error) => scene.violation(format!("fsck ended: {error}")),
    }
}

/// Both phases.
async fn live(cluster: &Rc<Cluster>, scene: &Rc<Scene>) {
    let plan = &cluster.plan;
    let groups = start_readers(plan, scene);
    let lanes = start_writers(plan, scene);
    let fleeting = plan.fleeting.then(|| {
        spawn_local(fleeting::run(
            scene.clone(),
            cluster.store.clone(),
            plan.seed,
        ))
    });
    cluster.store.set_rates(plan.store.clone());
    cluster.etcd.set_rates(plan.etcd.clone());
    cluster
        .network
        .set_rates(plan.net_reset, plan.net_half_open);
    if plan.is_tiny {
        trace::fault(Fault::TinyLimits);
    }
    let trouble = spawn_local(nemesis::run(cluster.clone(), scene.clone()));
    if plan.dark_joins {
        spawn_local(nemesis::darken_joins(cluster.clone(), scene.clone()));
    }
    sleep(plan.duration).await;
    trace!("run", "faults end");
    scene.phase.set(Phase::Quiet);
    crash::end();
    scene.unwritten.set(None);
    cluster.calm();
    trouble.abort();
    let answered = tokio::time::timeout(ANSWER_PATIENCE, join_all(lanes)).await;
    clock::read();
    let Ok(lanes) = answered else {
        let what = "requests are not answered although faults have ended".to_owned();
        scene.broken(Anomaly::StuckProducer, what);
        return;
    };
    let lanes: Vec<Lane> = lanes.into_iter().filter_map(Result::ok).collect();
    if let Some(fleeting) = fleeting {
        let ended = tokio::time::timeout(ANSWER_PATIENCE, fleeting).await;
        clock::read();
        if ended.is_err() {
            scene.violation("a topic is not created and deleted, with everything calm".to_owned());
        }
    }
    catch_up(plan, scene).await;
    commit(scene, &groups).await;
    if !scene.violations().is_empty() {
        return;
    }
    wake(cluster, scene, lanes).await;
    if plan.ends_cold {
        trace!("run", "every broker starts anew, with empty caches");
        cluster.restart_all().await;
    }
    for topic in 0..plan.topics.len() {
        let read = read_all(scene, topic, READERS, plan.seed, CATCH_UP_PATIENCE).await;
        match read {
            Some(ends) => shown(scene, topic, &ends),
            None => {
                let what = format!("topic {topic} cannot be read to its end");
                scene.broken(Anomaly::StuckConsumer, what);
            }
        }
    }
}

/// What was acknowledged is below the end that a reader of everything has seen.
fn shown(scene: &Scene, topic: usize, ends: &BTreeMap<i32, i64>) {
    for (partition, end) in ends {
        let acknowledged = scene.end(topic, *partition);
        if *end < acknowledged {
            let what = format!(
                "{topic}/{partition}: the log ends at {end}, {acknowledged} was acknowledged"
            );
            scene.broken(Anomaly::LostWrite, what);
        }
    }
}

fn start_writers(plan: &Plan, scene: &Rc<Scene>) -> Vec<JoinHandle<Lane>> {
    let mut random = Random::of(plan.seed, "lanes");
    let mut lanes = Vec::new();
    for (producer, habits) in plan.producers.iter().enumerate() {
        for (topic, of) in plan.topics.iter().enumerate() {
            for partition in 0..of.partitions {
                if !random.one_in(3) || lanes.is_empty() {
                    let (scene, mut habits) = (scene.clone(), habits.clone());
                    // A copy that comes late would delete a key anew.
                    habits.is_idempotent |= of.keeping == Keeping::Latest;
                    let (producer, seed) = (producer as u32, plan.seed);
                    let lane = Lane::new(scene, habits, producer, topic, partition, seed);
                    lanes.push(spawn_local(lane.run()));
                }
            }
        }
    }
    for (topic, of) in plan.topics.iter().enumerate() {
        if of.keeping == Keeping::Trimmed {
            spawn_local(admin::delete_records(scene.clone(), topic, plan.seed));
        }
    }
    if let Some(bytes) = plan.careless_bytes {
        spawn_local(careless::run(scene.clone(), bytes, plan.seed));
    }
    if plan.hostile {
        spawn_local(hostile::run(scene.clone(), plan.seed));
    }
    lanes
}

fn start_readers(plan: &Plan, scene: &Rc<Scene>) -> Vec<Rc<Group>> {
    let mut random = Random::of(plan.seed, "readers");
    for observer in 0..plan.consumers {
        for topic in 0..plan.topics.len() {
            let diet = Diet {
                max_wait: random.millis(20..1_000),
                bytes_max: *random.choose(&[200, 10_000, 1 << 20]),
                slow: plan.slow_readers,
                stray: plan.strays,
                knows_epochs: plan.knows_epochs,
            };
            let consumer = Consumer::new(scene.clone(), diet, observer, topic, plan.seed);
            spawn_local(async move { drop(consumer.run(|_| false).await) });
        }
    }
    for topic in 0..plan.topics.len() {
        if plan.repeats {
            let observer = REPEATERS * (1 + topic as u32);
            spawn_local(read_again_and_again(
                scene.clone(),
                topic,
                observer,
                plan.clone(),
            ));
        }
    }
    if plan.members == 0 {
        return Vec::new();
    }
    let group = Group::new("group".to_owned(), 0);
    for number in 0..plan.members {
        let (scene, group) = (scene.clone(), group.clone());
        let member = Member::new(scene, group, number, plan.members_flap, plan.seed);
        spawn_local(member.run());
    }
    vec![group]
}

/// Reads a topic from its beginning to its end, and again: from the store, where a broker has just begun.
async fn read_again_and_again(scene: Rc<Scene>, topic: usize, first: u32, plan: Plan) {
    let mut random = Random::of(plan.seed, &format!("repeater {topic}"));
    for pass in 0..REPEATERS {
        if !scene.is_faulty() {
            return;
        }
        let diet = Diet {
            max_wait: random.millis(20..500),
            bytes_max: *random.choose(&[200, 10_000, 1 << 20]),
            slow: 0,
            stray: plan.strays,
            knows_epochs: plan.knows_epochs,
        };
        let consumer = Consumer::new(scene.clone(), diet, first + pass, topic, plan.seed);
        let (partitions, during) = (plan.topics[topic].partitions as usize, scene.clone());
        let is_done = move |consumer: &Consumer| {
            let at_end = |(partition, end): (&i32, &i64)| consumer.positions()[partition] >= *end;
            let ends = consumer.ends();
            !during.is_faulty() || ends.len() == partitions && ends.iter().all(at_end)
        };
        drop(consumer.run(is_done).await);
        sleep(random.millis(0..2_000)).await;
    }
}

/// Waits for a condition; gives what was still wrong when the time was up.
async fn until(patience: Duration, wrong: impl Fn() -> Option<String>) -> Option<String> {
    let end = clock::read() + patience;
    loop {
        let found = wrong()?;
        if clock::read() >= end {
            return Some(found);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn catch_up(plan: &Plan, scene: &Rc<Scene>) {
    let begun = clock::read();
    let (mut least, mut since) = (i64::MAX, begun);
    while let Some(late) = scene.behind(0..plan.consumers) {
        let (now, left) = (clock::read(), scene.left(0..plan.consumers));
        if left < least {
            (least, since) = (left, now);
        }
        if now >= since + CATCH_UP_PATIENCE || now >= begun + CATCH_UP_MOST {
            let what = format!("{late}, although faults have ended");
            return scene.broken(Anomaly::StuckConsumer, what);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn commit(scene: &Rc<Scene>, groups: &[Rc<Group>]) {
    for group in groups {
        let before = group.commits();
        let wrong = || (group.commits() == before).then(|| group.name.clone());
        if let Some(name) = until(COMMIT_PATIENCE, wrong).await {
            let what = format!("group {name} commits nothing, although faults have ended");
            scene.broken(Anomaly::StuckCommitter, what);
        }
    }
}

/// Those who wait for records see a new one at once.
async fn wake(cluster: &Rc<Cluster>, scene: &Rc<Scene>, lanes: Vec<Lane>) {
    let plan = &cluster.plan;
    let mut observer = LISTENERS;
    for (topic, of) in plan.topics.iter().enumerate() {
        for partition in 0..of.partitions {
            let diet = Diet {
                max_wait: LONG_POLL,
                bytes_max: 1 << 20,
                slow: 0,
                stray: 0,
                knows_epochs: plan.knows_epochs,
            };
            let place = (topic, partition, scene.end(topic, partition));
            let listener = Consumer::of_partition(scene.clone(), diet, observer, place, plan.seed);
            spawn_local(async move { drop(listener.run(|_| false).await) });
            observer += 1;
        }
    }
    // Their polls arrive, and wait.
    sleep(Duration::from_secs(2)).await;
    let last_words = lanes.into_iter().map(|mut lane| async move {
        lane.say_one_more().await;
    });
    let said = tokio::time::timeout(ANSWER_PATIENCE, join_all(last_words)).await;
    clock::read();
    if said.is_err() {
        let what = "a last batch is not answered, with everything calm".to_owned();
        scene.broken(Anomaly::StuckProducer, what);
        return;
    }
    let wrong = || scene.behind(LISTENERS..observer);
    if let Some(late) = until(WAKE_PATIENCE, wrong).await {
        let what = format!("{late}: it waits and was not woken");
        scene.broken(Anomaly::StuckConsumer, what);
    }
}

fn outcome(cluster: &Cluster, scene: &Scene) -> Outcome {
    let mut violations = scene.violations();
    let panics = PANICS.with_borrow_mut(std::mem::take);
    violations.extend(panics.into_iter().map(|panic| format!("a panic: {panic}")));
    let mut store_hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut mix = |bytes: &[u8]| {
        for byte in bytes {
            store_hash = (store_hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for (key, bytes) in cluster.store.memory.objects() {
        mix(key.as_str().as_bytes());
        mix(&bytes);
    }
    let (trace_hash, events) = trace::hash();
    let by_name = |(fault, count): (Fault, u64)| (format!("{fault:?}"), count);
    let of_mark = |(mark, count): (Mark, u64)| (format!("{mark:?}"), count);
    Outcome {
        seed: cluster.plan.seed,
        violations,
        trace_hash,
        events,
        store_hash,
        revision: cluster.etcd.table.revision().0,
        next_bits: entropy::next_bits(),
        simulated_ms: clock::read().as_millis() as u64,
        effects: crash::effects(),
        acknowledged: scene.acknowledged.get(),
        read: scene.read.get(),
        faults: trace::faults().into_iter().map(by_name).collect(),
        marks: marks::hits().into_iter().map(of_mark).collect(),
    }
}
