//! The one that makes trouble: at random times it does something bad to somebody, and undoes it later.

use std::rc::Rc;
use std::time::Duration;

use coord::kv::Kv;
use tokio::task::spawn_local;

use crate::client::scene::{Keeping, Scene, Topic};
use crate::clock::sleep;
use crate::cluster::Cluster;
use crate::crash::Moment;
use crate::etcd;
use crate::fault::Fault;
use crate::network::Way;
use crate::plan::Action;
use crate::random::Random;
use crate::trace::{self, trace};

/// Strikes until the faults of the run end.
pub(crate) async fn run(cluster: Rc<Cluster>, scene: Rc<Scene>) {
    let plan = cluster.plan.clone();
    let mut random = Random::of(plan.seed, "nemesis");
    if plan.actions.is_empty() {
        return;
    }
    while scene.is_faulty() {
        let (low, high) = plan.action_pause_ms;
        sleep(random.millis(low..high)).await;
        if !scene.is_faulty() {
            return;
        }
        let action = *random.choose(&plan.actions);
        let broker = random.index(plan.brokers);
        strike(&cluster, &scene, &mut random, action, broker);
    }
}

/// Undoes something after a while.
fn later(time: Duration, undo: impl FnOnce() + 'static) {
    spawn_local(async move {
        sleep(time).await;
        undo();
    });
}

fn strike(
    cluster: &Rc<Cluster>,
    scene: &Rc<Scene>,
    random: &mut Random,
    action: Action,
    broker: usize,
) {
    let ttl = cluster.plan.session_ttl.as_millis() as u64;
    let node = cluster.nodes[broker].clone();
    let name = "nemesis";
    match action {
        Action::Crash => {
            trace::fault(Fault::Crash);
            trace!(name, "kills broker {broker}");
            node.kill();
        }
        Action::CrashAtRequest => {
            let (requests, after) = (random.below(20), random.one_in(2));
            let moment = if after { Moment::After } else { Moment::Before };
            trace!(
                name,
                "broker {broker} will die at a request, {requests} from now"
            );
            cluster.store.crash_at(broker, requests, moment);
        }
        Action::CrashAtTurn => {
            trace::fault(Fault::CrashAtTurn);
            let turns = 1 + random.below(2_000) as u32;
            trace!(name, "broker {broker} will die in {turns} turns");
            node.gate().doom_after(turns);
        }
        Action::Pause => {
            trace::fault(Fault::Pause);
            let time = random.millis(ttl / 4..ttl * 4);
            trace!(name, "broker {broker} stands still for {time:?}");
            let gate = node.gate();
            gate.pause(true);
            later(time, move || gate.pause(false));
        }
        Action::ShardStall => stall(random, &node, broker, ttl),
        Action::GracefulRestart => {
            trace::fault(Fault::GracefulRestart);
            trace!(name, "broker {broker} is asked to end");
            node.stop();
        }
        Action::ClockJump => {
            trace::fault(Fault::ClockJump);
            let ms = random.within(0..7_200_000) as i64 - 3_600_000;
            trace!(name, "the wall clock of broker {broker} jumps by {ms} ms");
            node.gate().shift_wall_clock(ms);
            let shards = node.shards.borrow();
            shards.iter().for_each(|gate| gate.shift_wall_clock(ms));
        }
        Action::StoreSlowDown => {
            let time = random.millis(200..6_000);
            trace!(name, "the store answers 503 for {time:?}");
            cluster.store.slow_down(time);
        }
        Action::StoreCut => {
            trace::fault(Fault::StoreCut);
            let time = random.millis(200..ttl * 4);
            trace!(name, "broker {broker} is cut from the store for {time:?}");
            cluster.store.cut(broker, true);
            let cluster = cluster.clone();
            later(time, move || cluster.store.cut(broker, false));
        }
        Action::StoreLifecycle => {
            let trimmed = |topic: &&Topic| topic.keeping == Keeping::Trimmed;
            for topic in cluster.plan.topics.iter().filter(trimmed) {
                cluster.store.expire_oldest(&topic.name, random);
            }
        }
        _ => strike_metadata_or_network(cluster, scene, random, action, broker),
    }
}

fn stall(random: &mut Random, node: &crate::cluster::Node, broker: usize, ttl: u64) {
    let shards = node.shards.borrow();
    if shards.is_empty() {
        return;
    }
    trace::fault(Fault::ShardStall);
    let (shard, time) = (random.index(shards.len()), random.millis(50..ttl * 3));
    trace!(
        "nemesis",
        "shard {shard} of broker {broker} stands still for {time:?}"
    );
    let gate = shards[shard].clone();
    gate.pause(true);
    later(time, move || gate.pause(false));
}

fn strike_metadata_or_network(
    cluster: &Rc<Cluster>,
    scene: &Rc<Scene>,
    random: &mut Random,
    action: Action,
    broker: usize,
) {
    let ttl = cluster.plan.session_ttl.as_millis() as u64;
    let name = "nemesis";
    match action {
        Action::EtcdCut => {
            trace::fault(Fault::EtcdCut);
            let time = random.millis(200..ttl * 4);
            trace!(name, "broker {broker} is cut from etcd for {time:?}");
            cluster.etcd.cut(broker, true);
            let cluster = cluster.clone();
            later(time, move || cluster.etcd.cut(broker, false));
        }
        Action::EtcdDown => {
            trace::fault(Fault::EtcdFailed);
            let time = random.millis(100..ttl * 2);
            trace!(name, "etcd answers nobody for {time:?}");
            cluster.etcd.down(true);
            let cluster = cluster.clone();
            later(time, move || cluster.etcd.down(false));
        }
        Action::EtcdCompact => {
            trace!(name, "etcd is compacted");
            etcd::compact(&cluster.etcd);
        }
        Action::LeaseLost => {
            let leases = cluster.etcd.leases();
            if let Some(at) = (!leases.is_empty()).then(|| random.index(leases.len())) {
                trace::fault(Fault::EtcdLeaseLost);
                let lease = leases[at];
                trace!(name, "lease {lease} is lost");
                let table = cluster.etcd.table.clone();
                spawn_local(async move { drop(table.revoke(lease).await) });
            }
        }
        Action::LeaseLostUnseen => lose_lease_unseen(cluster, random, broker),
        Action::LeaseLostUnwritten => lose_lease_unwritten(cluster, scene, random, broker),
        Action::Clog => clog(cluster, random, broker),
        Action::Reset => {
            trace::fault(Fault::NetReset);
            trace!(name, "the connections of broker {broker} are reset");
            cluster.network.reset(broker);
        }
        _ => unreachable!("everything else is done above"),
    }
}

/// A lease ends at once while its broker is cut from etcd, or while only what it watches is held up.
fn lose_lease_unseen(cluster: &Rc<Cluster>, random: &mut Random, broker: usize) {
    let Some(lease) = cluster.etcd.lease_of(broker) else {
        return;
    };
    trace::fault(Fault::EtcdLeaseLostUnseen);
    let ttl = cluster.plan.session_ttl.as_millis() as u64;
    let ttl_part = Duration::from_millis(ttl / 2);
    let (time, is_cut) = (random.millis(ttl..ttl * 4), random.one_in(2));
    let seen = if is_cut {
        "is cut from etcd"
    } else {
        "sees no changes"
    };
    trace!(
        "nemesis",
        "lease {lease} of broker {broker}, which {seen} for {time:?}, is lost"
    );
    let hold = move |cluster: &Cluster, is_held| match is_cut {
        true => cluster.etcd.cut(broker, is_held),
        false => cluster.etcd.hold_watches(broker, is_held),
    };
    hold(cluster, true);
    let table = cluster.etcd.table.clone();
    spawn_local(async move { drop(table.revoke(lease).await) });
    if random.one_in(2) {
        // Its clients go elsewhere, so that nobody's batches tell it that it is fenced.
        let cluster = cluster.clone();
        later(ttl_part, move || cluster.network.reset(broker));
    }
    let cluster = cluster.clone();
    later(time, move || hold(&cluster, false));
}

/// A lease ends while its broker sees no changes, and reaches all that it asks for. Those who write have lost it before,
/// so that no batch of theirs meets the fence of whoever comes next; those who read go on with it.
fn lose_lease_unwritten(
    cluster: &Rc<Cluster>,
    scene: &Rc<Scene>,
    random: &mut Random,
    broker: usize,
) {
    let Some(lease) = cluster.etcd.lease_of(broker) else {
        return;
    };
    let ttl = cluster.plan.session_ttl.as_millis() as u64;
    let (before, time) = (random.millis(100..1_500), random.millis(ttl * 2..ttl * 5));
    trace::fault(Fault::ClientCut);
    trace!(
        "nemesis",
        "lease {lease} of broker {broker}, which nobody writes to and which sees no changes for {time:?}, is lost \
         in {before:?}"
    );
    scene.unwritten.set(Some(broker));
    let (lost, ended, scene) = (cluster.clone(), cluster.clone(), scene.clone());
    later(before, move || {
        trace::fault(Fault::EtcdLeaseLostUnseen);
        lost.etcd.hold_watches(broker, true);
        let table = lost.etcd.table.clone();
        spawn_local(async move { drop(table.revoke(lease).await) });
    });
    later(before + time, move || {
        ended.etcd.hold_watches(broker, false);
        scene.unwritten.set(None);
    });
}

/// The store goes dark whenever a broker joins, while partitions are about to move to it, and stays so for longer than
/// their owners wait for it.
pub(crate) async fn darken_joins(cluster: Rc<Cluster>, scene: Rc<Scene>) {
    let mut random = Random::of(cluster.plan.seed, "dark joins");
    while scene.is_faulty() {
        scene.joined.notified().await;
        if scene.is_faulty() && random.one_in(2) {
            trace::fault(Fault::StoreDarkAtJoin);
            sleep(random.millis(0..30)).await;
            let time = random.millis(10_500..16_000);
            trace!(
                "nemesis",
                "a broker has joined; the store answers 503 for {time:?}"
            );
            cluster.store.slow_down(time);
        }
    }
}

/// Swizzle: brokers are clogged one after the other, and free again in another order.
fn clog(cluster: &Rc<Cluster>, random: &mut Random, first: usize) {
    trace::fault(Fault::NetClog);
    let count = 1 + random.index(cluster.plan.brokers);
    for step in 0..count {
        let broker = (first + step) % cluster.plan.brokers;
        const WAYS: [&[Way]; 3] = [&[Way::In], &[Way::Out], &[Way::In, Way::Out]];
        let ways = *random.choose(&WAYS);
        let (begin, time) = (random.millis(0..500), random.millis(100..6_000));
        trace!(
            "nemesis",
            "broker {broker} is clogged {ways:?} for {time:?}"
        );
        for way in ways.iter().copied() {
            let (on, off) = (cluster.clone(), cluster.clone());
            later(begin, move || on.network.clog(broker, way, true));
            later(begin + time, move || off.network.clog(broker, way, false));
        }
    }
}
