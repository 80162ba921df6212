//! The brokers of a run: started, killed, held up, started again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use broker::config::Config;
use broker::start::{Stores, simulated};
use broker::tools::{self, Ground, ToolError};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;

use crate::clock::sleep;
use crate::crash;
use crate::etcd::{self, ModelEtcd};
use crate::network::Network;
use crate::node::{End, Gate, ShardGates, process};
use crate::plan::Plan;
use crate::random::Random;
use crate::store::{self, ModelStore};
use crate::trace::trace;

/// Pause before a broker that has ended is started again.
const RESTART_AFTER: (u64, u64) = (50, 2_000);

/// The brokers and what they run on.
pub(crate) struct Cluster {
    pub(crate) plan: Plan,
    pub(crate) store: Arc<store::Shared>,
    pub(crate) etcd: Arc<etcd::Shared>,
    pub(crate) network: Rc<Network>,
    pub(crate) nodes: Vec<Rc<Node>>,
}

/// One broker.
#[derive(Default)]
pub(crate) struct Node {
    gate: RefCell<Arc<Gate>>,
    pub(crate) shards: ShardGates,
    stop: RefCell<Option<oneshot::Sender<()>>>,
    is_running: Cell<bool>,
    /// Whether it is started again when it has ended.
    is_wanted: Cell<bool>,
    wanted: Notify,
    pub(crate) lives: Cell<u32>,
}

impl Node {
    /// The gate of the present process.
    pub(crate) fn gate(&self) -> Arc<Gate> {
        self.gate.borrow().clone()
    }

    /// Whether a process runs.
    pub(crate) fn is_running(&self) -> bool {
        self.is_running.get()
    }

    /// Kills the process.
    pub(crate) fn kill(&self) {
        self.gate().doom();
    }

    /// Asks the process to end.
    pub(crate) fn stop(&self) {
        if let Some(stop) = self.stop.take() {
            // Who does not listen has ended.
            let _ = stop.send(());
        }
    }

    /// Whether the broker is started again from now on.
    pub(crate) fn want(&self, is_wanted: bool) {
        self.is_wanted.set(is_wanted);
        self.wanted.notify_one();
    }
}

impl Cluster {
    /// The cluster of a plan, not started.
    pub(crate) fn new(plan: Plan) -> Rc<Self> {
        let (seed, brokers) = (plan.seed, plan.brokers);
        Rc::new(Self {
            store: store::Shared::new(seed, brokers, plan.store.calm()),
            etcd: etcd::Shared::new(seed, brokers, plan.etcd.calm()),
            network: Network::new(seed, brokers, plan.net_latency_ms),
            nodes: (0..brokers).map(|_| Rc::default()).collect(),
            plan,
        })
    }

    /// Starts every broker, each of which is started again when it ends.
    pub(crate) fn start(self: &Rc<Self>) {
        for broker in 0..self.plan.brokers {
            self.nodes[broker].want(true);
            let cluster = self.clone();
            spawn_local(async move { cluster.keep(broker).await });
        }
    }

    async fn keep(self: Rc<Self>, broker: usize) {
        let node = self.nodes[broker].clone();
        let mut random = Random::of(self.plan.seed, &format!("node {broker}"));
        loop {
            while !node.is_wanted.get() {
                node.wanted.notified().await;
            }
            self.live(broker, &node, random.bits()).await;
            sleep(random.millis(RESTART_AFTER.0..RESTART_AFTER.1)).await;
        }
    }

    async fn live(&self, broker: usize, node: &Rc<Node>, seed: u64) {
        let name = format!("broker/{broker}");
        let gate = Arc::new(Gate::default());
        gate.shift_wall_clock(node.gate().wall_offset_ms());
        node.gate.replace(gate.clone());
        node.shards.borrow_mut().clear();
        node.lives.set(node.lives.get() + 1);
        self.store.serve(broker);
        crash::serve(broker, gate.clone());
        let (stop, stopped) = oneshot::channel();
        node.stop.replace(Some(stop));
        let stores = Stores {
            objects: Arc::new(ModelStore::new(self.store.clone(), broker)),
            backups: None,
            kv: Arc::new(ModelEtcd::new(self.etcd.clone(), broker)),
            place: "simulated".to_owned(),
            mode: self.plan.mode,
            replaces: true,
            shared: true,
        };
        let wires = self.network.listen(broker);
        let told = name.clone();
        let main = simulated::run(
            self.config(broker),
            stores,
            wires,
            async move {
                drop(stopped.await);
            },
            move || {
                trace!(told, "serves");
            },
        );
        trace!(name, "starts");
        node.is_running.set(true);
        let ended = process(
            gate,
            node.shards.clone(),
            seed,
            self.plan.put_off_one_in,
            main,
        )
        .await;
        node.is_running.set(false);
        match ended {
            End::Killed => trace!(name, "is dead"),
            End::Done(Ok(())) => trace!(name, "has ended"),
            End::Done(Err(error)) => trace!(name, "has ended: {error}"),
        }
    }

    fn config(&self, broker: usize) -> Config {
        let (id, port) = (broker.to_string(), (9_000 + broker).to_string());
        let shards = self.plan.shards[broker].to_string();
        let mut settings: Vec<(&str, &str)> = vec![
            ("broker.id", &id),
            ("broker.host", "sim"),
            ("broker.port", &port),
            ("shard.count", &shards),
            ("shard.pin", "false"),
            ("shard.io_driver", "epoll"),
            ("s3.bucket", "sim"),
            ("etcd.endpoints", "http://sim:2379"),
            // It asks other brokers over sockets.
            ("admin.lag_sample_interval_sec", "3600"),
        ];
        let own = self.plan.settings.iter();
        settings.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
        Config::with(&settings).unwrap_or_else(|error| panic!("settings of the simulator: {error}"))
    }

    /// The stores as tools see them, without faults.
    pub(crate) async fn ground(&self) -> Result<Ground, ToolError> {
        let store = Arc::new(self.store.memory.clone());
        let kv = Arc::new(self.etcd.table.clone());
        tools::ground(&self.config(0), (store, kv, "simulated".to_owned()), None).await
    }

    /// Ends all faults, and lets every broker run.
    pub(crate) fn calm(&self) {
        self.store.calm();
        self.etcd.calm();
        self.network.calm();
        for node in &self.nodes {
            node.want(true);
            node.gate().doom_after(0);
            node.gate().pause(false);
            node.shards
                .borrow()
                .iter()
                .for_each(|gate| gate.pause(false));
        }
    }

    /// Kills every broker; they start again.
    pub(crate) async fn restart_all(&self) {
        self.nodes.iter().for_each(|node| node.kill());
        sleep(Duration::from_millis(1)).await;
    }

    /// Asks every broker to end, and waits for it; `false` when the time is up.
    pub(crate) async fn stop_all(&self, patience: Duration) -> bool {
        for node in &self.nodes {
            node.want(false);
            node.stop();
        }
        let ended = async {
            while self.nodes.iter().any(|node| node.is_running()) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let ended = tokio::time::timeout(patience, ended).await.is_ok();
        crate::clock::read();
        ended
    }
}
