//! One life of the broker: from the beginning of a session to its end.
//!
//! Order of a start: the session begins, the shards start, what placement assigns is taken over and
//! opened, and only then is a connection accepted. Order of a graceful end: no new connections, no
//! appends, flush, acknowledge, release, exit. A session that is over is not continued: everything
//! is dropped, and the caller begins another life.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use coord::groups::GroupRoom;
use coord::keys::Keyspace;
use coord::keys::cluster::CommitMode;
use coord::keys::session::SessionState;
use futures_channel::oneshot;
use segment::{BrokerId, TopicPartition, WalSequence};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::pages::{Switch, pages};
use super::shards::{Shards, start_shards, stop_shards, watch_shards};
use super::stores::{health_config, key_space};
use super::{Running, StartError, Stores};
use crate::config::{Advertised, Config, ListenerId};
use crate::console::Console;
use crate::console::service::{Facts, Service};
use crate::control::acls::Acls;
use crate::control::backups::Schedule;
use crate::control::catalog::Catalog;
use crate::control::cleaner::Cleaner;
use crate::control::compactor::Compactor;
use crate::control::context::{Context, Failure, FlushProgress, Refusal, wall_clock};
use crate::control::events::{EventKind, Events, Severity};
use crate::control::flusher::{Drain, Flusher};
use crate::control::garbage::Garbage;
use crate::control::gate::Gate;
use crate::control::keeper::{Keeper, PROOFS, ProofRequest};
use crate::control::lags::Lags;
use crate::control::listener::{Dealer, Sockets};
use crate::control::objects::Objects;
use crate::control::ownership::{Ownership, release};
use crate::control::quotas::Quotas;
use crate::control::requests::Requests;
use crate::control::session::{Begin, publish_state};
use crate::control::slots::Slots;
use crate::control::tokens::{self, Tokens};
use crate::control::users::{self, Users};
use crate::control::{
    ControlHandle, ControlMsg, FlushSignal, census, certificates, health, memory, retention, sweep,
};
use crate::logging;
use crate::metadata::{Metadata, SharedMetadata};
use crate::metrics::{ControlMetrics, Registry};
use crate::node::BrokerNode;
use crate::proof::Proof;
use crate::quota::Signal;
use crate::security::Security;
use crate::shard::{SLOTS, Shared};

/// How long a graceful end waits for the store to take what was appended.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Flushes that may be asked for at a time.
pub(super) const DRAINS: usize = 16;
/// How often throughput is sampled.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// What outlives a life.
pub(super) struct Lasting {
    pub(super) config: Arc<Config>,
    pub(super) stores: Stores,
    pub(super) entrance: Entrance,
    pub(super) running: Running,
    pub(super) metrics: Arc<ControlMetrics>,
    pub(super) tokens: Option<Arc<Tokens>>,
    pub(super) pages: Arc<Switch>,
    /// Our broker id, once a session had one.
    pub(super) broker: Cell<Option<BrokerId>>,
    pub(super) events: Arc<Events>,
    /// What people see of the broker.
    pub(super) console: Option<Arc<Console>>,
}

/// Where connections come from.
pub(super) enum Entrance {
    /// Sockets, for each of the listeners of the settings, in order.
    Listeners(Vec<Sockets>),
    /// The network of a simulation.
    #[cfg(feature = "simulation")]
    Simulated(flume::Receiver<crate::runtime::simulated::Wire>),
}

impl Lasting {
    /// Where clients are told to connect, by listener.
    fn advertised(&self) -> Vec<Advertised> {
        let listeners = self.config.kafka_listeners();
        match &self.entrance {
            Entrance::Listeners(sockets) => {
                let bound = listeners.iter().zip(sockets);
                let advertised = bound.map(|(it, sockets)| {
                    let shards = sockets.shard_addresses();
                    self.config.advertised(it, sockets.all.addr(), &shards)
                });
                advertised.collect()
            }
            #[cfg(feature = "simulation")]
            Entrance::Simulated(_) => {
                let kafka = self.running.kafka;
                vec![self.config.advertised(&listeners[0], kafka, &[])]
            }
        }
    }
}

/// Lives once: until `stop` completes, or the session or the process is over.
pub(super) async fn live(
    lasting: &Lasting,
    stop: impl Future<Output = ()> + Clone,
    ready: &mut dyn FnMut(Running, &str),
) -> Result<(), StartError> {
    let began = Instant::now();
    let running = lasting.running;
    let (control, requests, flushes) = ControlHandle::new();
    let parts = Parts {
        config: lasting.config.clone(),
        stores: lasting.stores.clone(),
        control,
        advertised: lasting.advertised(),
        metrics: lasting.metrics.clone(),
        tokens: lasting.tokens.clone(),
        broker: lasting.broker.get(),
        events: lasting.events.clone(),
    };
    // A store that does not answer must not keep the process from ending. A lease that was granted
    // ends by itself.
    let begun = tokio::select! {
        begun = parts.begin() => begun,
        () = stop.clone() => return Ok(()),
    };
    let (context, mut shards) = begun?;
    lasting.broker.set(Some(context.node.id));
    let ended = watch_shards(&context, std::mem::take(&mut shards.threads));
    let broker = Broker {
        context: context.clone(),
        shards,
        place: lasting.stores.place.clone(),
        running,
        began,
    };
    let outcome = broker.serve(lasting, requests, flushes, stop, ready).await;
    lasting.pages.clear();
    lasting.console.iter().for_each(|console| console.close());
    context.shards_stop.set(true);
    stop_shards(&context.shards, &ended).await;
    // A session that is over revokes its lease before the next begins.
    let revoked = context.kv.revoke(context.session.lease);
    match tokio::time::timeout(context.config.broker.session_ttl, revoked).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the session was not revoked"),
        Err(_) => tracing::debug!("the session was not revoked in time"),
    }
    outcome
}

/// What is known before the session begins.
pub(super) struct Parts {
    pub(super) config: Arc<Config>,
    pub(super) stores: Stores,
    pub(super) control: ControlHandle,
    pub(super) advertised: Vec<Advertised>,
    pub(super) metrics: Arc<ControlMetrics>,
    pub(super) tokens: Option<Arc<Tokens>>,
    pub(super) broker: Option<BrokerId>,
    pub(super) events: Arc<Events>,
}

impl Parts {
    /// Begins the session and starts the shards.
    pub(super) async fn begin(self) -> Result<(Rc<Context>, Shards), StartError> {
        let Self {
            config,
            stores,
            control,
            advertised,
            metrics,
            tokens,
            broker,
            events,
        } = self;
        let keys = key_space(&config)?;
        let space = Keyspace::new(&config.broker.cluster)?;
        let health = health_config(&config);
        let reads = config.s3.concurrency;
        let objects = Objects::new(stores.objects, metrics.clone(), reads, health);
        let backups = stores.backups.map_or_else(
            || objects.clone(),
            |store| Objects::new(store, metrics.clone(), reads, health_config(&config)),
        );
        let alone = (!stores.shared).then_some(BrokerId::ZERO);
        let set = config.broker_id().map(BrokerId::new);
        let begin = Begin {
            kv: &stores.kv,
            space: &space,
            objects: &objects,
            keys: &keys,
            broker: set.or(broker).or(alone),
            advertised: &advertised,
            rack: config.broker.rack.as_deref(),
            mode: stores.mode,
            ttl: config.broker.session_ttl,
            now: wall_clock(),
        };
        let cluster = begin.cluster().await?;
        let session = begin.session().await?;
        let cluster_id = cluster.cluster_id;
        metrics.sessions_begun.increment();
        let text = format!("session {} begun as broker {}", session.id, session.broker);
        events.note(EventKind::Session, Severity::Info, text);
        tracing::info!(session = %session.id, broker = %session.broker, %cluster_id,
            place = stores.place, "session begun");
        let node = BrokerNode {
            id: session.broker,
            listeners: advertised,
            rack: config.broker.rack.clone(),
        };
        let proof = Arc::new(match stores.shared {
            true => Proof::new(config.broker.session_ttl),
            false => Proof::forever(),
        });
        proof.prove(session.sent);
        let empty = Metadata::new(cluster_id.clone(), node.id, vec![node.clone()], []);
        let metadata: SharedMetadata = Arc::new(ArcSwap::from_pointee(empty));
        let refused = Arc::new(AtomicBool::new(false));
        config.namespace.tell(&metrics);
        let signal = Arc::new(Signal::default());
        let quotas = Rc::new(Quotas::new(&config, signal.clone()));
        let decoy = users::decoy(&stores.kv, &space, session.id).await;
        let decoy = decoy.map_err(StartError::Users)?;
        let security = Arc::new(Security::new(&config, &decoy, tokens)?);
        let users = Rc::new(Users::new(security.clone()));
        let acls = Rc::new(Acls::new(security.clone()));
        let shared = Shared {
            config: config.clone(),
            metadata: metadata.clone(),
            peers: Arc::new([]),
            control,
            produce_refused: refused.clone(),
            group_room: Arc::new(GroupRoom::new(config.namespace.groups_max, SLOTS)),
            proof: proof.clone(),
            quotas: signal,
            security,
        };
        let shards = start_shards(shared).await?;
        let first = WalSequence::ZERO.next().expect("1 is a sequence");
        let context = Context {
            config,
            objects,
            backups,
            replaces: cluster.commit_mode == CommitMode::Conditional && stores.replaces,
            keys,
            kv: stores.kv,
            space,
            session,
            cluster_id,
            node,
            shards: shards.handles.clone(),
            metadata,
            metrics,
            refusal: Refusal::new(refused, events.clone()),
            flushed: FlushProgress::new(first),
            owned: Default::default(),
            producer_floor: Default::default(),
            inherited: Default::default(),
            floor: Cell::new(first),
            own_objects: Default::default(),
            bundles: Default::default(),
            compacted: Notify::new(),
            failure: Failure::default(),
            shards_stop: Cell::new(false),
            view: Default::default(),
            proof,
            heartbeat: Notify::new(),
            backlog_is_high: Cell::default(),
            metadata_is_lost: Cell::default(),
            mode: cluster.commit_mode,
            times: Default::default(),
            lost: Default::default(),
            quotas,
            users,
            acls,
            events,
            sweeping: Default::default(),
        };
        Ok((Rc::new(context), shards))
    }
}

/// A broker whose session has begun.
pub(super) struct Broker {
    pub(super) context: Rc<Context>,
    pub(super) shards: Shards,
    pub(super) place: String,
    pub(super) running: Running,
    pub(super) began: Instant,
}

/// Tasks that end with this.
pub(super) struct Tasks {
    context: Rc<Context>,
    handles: Vec<JoinHandle<()>>,
}

impl Tasks {
    pub(super) fn new(context: &Rc<Context>) -> Self {
        Self {
            context: context.clone(),
            handles: Vec::new(),
        }
    }

    pub(super) fn spawn(&mut self, part: &'static str, task: impl Future<Output = ()> + 'static) {
        self.handles.push(self.context.spawn(part, task));
    }

    pub(super) fn keep(&mut self, handles: impl IntoIterator<Item = JoinHandle<()>>) {
        self.handles.extend(handles);
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.handles.iter().for_each(JoinHandle::abort);
    }
}

/// What serves, once everything is taken over.
pub(super) struct Loaded {
    pub(super) requests: Requests,
    pub(super) ownership: Ownership,
    /// What follows the metadata store.
    pub(super) following: Vec<JoinHandle<()>>,
}

impl Broker {
    async fn serve(
        self,
        lasting: &Lasting,
        requests: flume::Receiver<ControlMsg>,
        flushes: flume::Receiver<FlushSignal>,
        stop: impl Future<Output = ()> + Clone,
        ready: &mut dyn FnMut(Running, &str),
    ) -> Result<(), StartError> {
        let context = &self.context;
        let (drain, drains) = flume::bounded::<Drain>(DRAINS);
        let (prove, proofs) = flume::bounded::<ProofRequest>(PROOFS);
        let mut flushing = Tasks::new(context);
        let flusher = Flusher::new(context.clone(), flushes, drains);
        flushing.spawn("flusher", flusher.run());
        if !context.proof.is_forever() {
            flushing.spawn("keeper", Keeper::new(context.clone(), proofs).run());
        }
        let loaded = tokio::select! {
            loaded = self.load(prove) => loaded?,
            // What was taken by now is taken from us by others, as after a crash.
            () = stop.clone() => return Ok(()),
        };
        let (slots, catalog) = (
            loaded.requests.slots.clone(),
            loaded.requests.catalog.clone(),
        );
        flushing.keep(loaded.following);
        flushing.spawn("catalog", catalog.publish_changes());
        flushing.spawn("request loop", loaded.requests.serve(requests));
        let mut serving = Tasks::new(context);
        serving.spawn("ownership", loaded.ownership.run());
        let is_ready = Arc::new(AtomicBool::new(true));
        let registry = self.spawn_pages(&mut serving, &lasting.pages, &is_ready);
        if let Some(console) = &lasting.console {
            self.spawn_console(&mut serving, console, registry, &is_ready);
        }
        self.spawn_listeners(&mut serving, lasting);
        serving.spawn("compactor", Compactor::new(context.clone()).run());
        serving.spawn("cleaner", Cleaner::new(context.clone()).run());
        serving.spawn("health watch", health::watch(context.clone()));
        serving.spawn("census", census::run(context.clone()));
        serving.spawn("certificates", certificates::follow(context.clone()));
        serving.spawn("keys of tokens", tokens::follow(context.clone()));
        serving.spawn("memory", memory::run());
        serving.spawn("retention", retention::run(context.clone()));
        serving.spawn("garbage collector", Garbage::new(context.clone()).run());
        if let Some(schedule) = Schedule::new(context.clone()) {
            serving.spawn("backups", schedule.run());
        }
        ready(self.running, &self.banner());
        tokio::select! {
            () = stop => {}
            ending = context.failure.wait() => return Err(ending.into()),
        }
        is_ready.store(false, Ordering::Relaxed);
        drop(serving);
        self.end(&slots, drain).await
    }

    /// Ends gracefully: what was appended is acknowledged, and everything is released. A session that is over meanwhile
    /// has nothing to release, and what was to be acknowledged by it never is.
    pub(super) async fn end(
        &self,
        slots: &Slots,
        drain: flume::Sender<Drain>,
    ) -> Result<(), StartError> {
        let ending = async {
            // Others must not leave a share of what is released to us.
            if let Err(error) = publish_state(&self.context, SessionState::Draining).await {
                tracing::debug!(%error, "the end was not published; the session ends anyway");
            }
            let drained = self.drain(drain).await;
            self.release().await;
            if let Err(error) = slots.release_all().await {
                tracing::warn!(%error, "the slots were not released; others take them");
            }
            drained
        };
        tokio::select! {
            drained = ending => drained,
            over = self.context.failure.wait() => Err(over.into()),
        }
    }

    fn spawn_listeners(&self, serving: &mut Tasks, lasting: &Lasting) {
        let most = self.context.config.shard.connections_max;
        let (handles, metrics) = (&self.shards.handles, &self.shards.metrics);
        let gate = Gate::new(&self.context);
        let to_all = |gate| Dealer::new(handles.clone(), metrics.clone(), most, gate);
        let listeners = match &lasting.entrance {
            Entrance::Listeners(listeners) => listeners,
            #[cfg(feature = "simulation")]
            Entrance::Simulated(wires) => {
                let dealer = to_all(gate);
                return serving.spawn("listener", dealer.serve_simulated(wires.clone()));
            }
        };
        for (id, sockets) in ListenerId::all(listeners.len()).zip(listeners) {
            let gate = gate.at(id);
            serving.spawn("listener", sockets.all.clone().serve(to_all(gate.clone())));
            for (shard, listener) in sockets.shards.iter().enumerate() {
                let (handle, metrics) = (handles[shard].clone(), metrics[shard].clone());
                let dealer = Dealer::new([handle].into(), vec![metrics], most, gate.clone());
                serving.spawn("listener of a shard", listener.clone().serve(dealer));
            }
        }
    }

    /// Follows the metadata store and takes over what is assigned to us.
    pub(super) async fn load(
        &self,
        prove: flume::Sender<ProofRequest>,
    ) -> Result<Loaded, StartError> {
        let context = &self.context;
        let loading = async {
            let mut following = context.view.follow(&context.kv, &context.space).await?;
            let (catalog, follower) = Catalog::load(context.clone()).await?;
            following.push(follower);
            following.push(context.quotas.follow(context).await?);
            following.push(context.users.follow(context).await?);
            following.push(context.acls.follow(context).await?);
            let slots = Slots::new(context.clone());
            let ownership = Ownership::new(context.clone(), catalog.clone(), slots.clone());
            ownership.begin().await?;
            sweep::resume(context).await?;
            let requests = Requests {
                context: context.clone(),
                catalog,
                slots,
                prove,
            };
            Ok(Loaded {
                requests,
                ownership,
                following,
            })
        };
        let loaded: Result<_, StartError> = tokio::select! {
            loaded = loading => loaded,
            ending = context.failure.wait() => Err(ending.into()),
        };
        let loaded = loaded?;
        tracing::info!(
            topics = context.metrics.topics.get(),
            partitions = context.owned.borrow().len(),
            brokers = context.view.nodes().len(),
            took_ms = self.began.elapsed().as_millis() as u64,
            "everything is taken over",
        );
        Ok(loaded)
    }

    /// What people and scripts are told of this life.
    fn spawn_console(
        &self,
        tasks: &mut Tasks,
        console: &Arc<Console>,
        registry: Arc<Registry>,
        is_ready: &Arc<AtomicBool>,
    ) {
        let facts = Facts {
            place: self.place.clone(),
            driver: self.shards.driver.name(),
            admin: self.running.admin,
            began: self.began,
            is_ready: is_ready.clone(),
        };
        let (context, cells) = (self.context.clone(), self.shards.metrics.clone());
        let calls = console.open();
        tasks.spawn("console", async move {
            let service = Service::new(context, registry, cells, facts).await;
            service.run(calls).await;
        });
    }

    fn spawn_pages(
        &self,
        tasks: &mut Tasks,
        switch: &Switch,
        is_ready: &Arc<AtomicBool>,
    ) -> Arc<Registry> {
        let metrics = self.context.metrics.clone();
        let window = self.context.config.admin.rate_window;
        let cells = self.shards.metrics.clone();
        let prices = self.context.config.prices();
        let topics = self.context.config.admin.topic_series_max;
        let registry = Registry::new(cells, metrics, prices, window, Instant::now());
        let registry = Arc::new(registry.with_topic_series(topics));
        let refused = self.context.refusal.flag();
        let proof = self.context.proof.clone();
        switch.set(pages(registry.clone(), is_ready.clone(), refused, proof));
        let (lagging, sampled) = (registry.clone(), registry.clone());
        tasks.spawn("sampler", async move {
            loop {
                tokio::time::sleep(SAMPLE_EVERY).await;
                sampled.sample(Instant::now());
            }
        });
        tasks.spawn("log lines left out", async move {
            loop {
                tokio::time::sleep(logging::TELL_EVERY).await;
                for logging::LeftOut { place, lines } in logging::take_left_out() {
                    tracing::warn!(
                        place,
                        lines,
                        "log lines were left out: one place logs too many"
                    );
                }
            }
        });
        let every = self.context.config.admin.lag_interval;
        let mut lags = Lags::new(self.context.clone());
        tasks.spawn("lag sampler", async move {
            loop {
                tokio::time::sleep(every).await;
                lagging.set_group_lags(lags.look().await);
            }
        });
        registry
    }

    /// Stops appends and waits until everything that was appended is acknowledged.
    pub(super) async fn drain(&self, drain: flume::Sender<Drain>) -> Result<(), StartError> {
        for shard in self.context.shards.iter() {
            // An error means that the shard has ended: it appends nothing.
            let _ = shard
                .call(|shard| {
                    for (topic, partition) in shard.partition_ids() {
                        shard.release(TopicPartition::new(topic, partition));
                    }
                })
                .await;
        }
        let (reply, done) = oneshot::channel();
        let drained = async {
            drain.send_async(reply).await.ok()?;
            done.await.ok()
        };
        match tokio::time::timeout(DRAIN_TIMEOUT, drained).await {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(self.context.failure.wait().await.into()),
            Err(_) => Err(StartError::NotDrained),
        }
    }

    /// Releases every partition. What is not released is taken over by others, or by the next
    /// start, all the same.
    pub(super) async fn release(&self) {
        let owned = std::mem::take(&mut *self.context.owned.borrow_mut());
        let released = release(&self.context, owned.into_values().collect()).await;
        tracing::info!(released, "partitions released");
    }

    /// What a reader of the terminal wants to know.
    fn banner(&self) -> String {
        let context = &self.context;
        let Running { kafka, admin } = self.running;
        let [first, others @ ..] = context.node.listeners.as_slice() else {
            unreachable!("a broker has a listener");
        };
        let Advertised { host, port, .. } = first;
        let others: String = others.iter().map(banner_line).collect();
        let (shards, driver) = (context.shards.len(), self.shards.driver.name());
        let (topics, place) = (context.metrics.topics.get(), &self.place);
        let scheme = match context.config.admin_tls() {
            Some(_) => "https",
            None => "http",
        };
        let took = self.began.elapsed().as_millis();
        let direct = match first.shard_ports.as_slice() {
            [] => String::new(),
            ports => format!("\x20 direct routing  shards on ports {ports:?}\n"),
        };
        let cluster = match context.proof.is_forever() {
            true => String::new(),
            false => format!(
                "\x20 cluster         {}, broker {} of {}, {:?} commits\n",
                context.config.broker.cluster,
                context.node.id,
                context.view.nodes().len(),
                context.mode,
            ),
        };
        format!(
            "KafScale {version} is ready ({took} ms)\n\
             \x20 Kafka clients   {host}:{port} (listening on {kafka})\n\
             {others}\
             \x20 console         {scheme}://{admin}/\n\
             \x20 metrics, health {scheme}://{admin}/metrics, /healthz, /readyz\n\
             \x20 data            {place} ({topics} topics)\n\
             \x20 shards          {shards}, {driver}\n\
             {direct}{cluster}\
             Try it:\n\
             \x20 echo hello | kafscale produce test -b {host}:{port}\n\
             \x20 kafscale consume test --from-beginning -b {host}:{port}\n\
             \x20 echo hello | kcat -b {host}:{port} -t test -P\n\
             \x20 kcat -b {host}:{port} -t test -C -o beginning -e\n",
            version = env!("CARGO_PKG_VERSION"),
        )
    }
}

/// Where clients of another listener than the first connect.
fn banner_line(at: &Advertised) -> String {
    let Advertised {
        listener,
        host,
        port,
        shard_ports,
    } = at;
    let direct = match shard_ports.as_slice() {
        [] => String::new(),
        ports => format!(", shards on ports {ports:?}"),
    };
    format!("\x20                 {host}:{port} ({listener}{direct})\n")
}
