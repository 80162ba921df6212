//! Puts the process together and takes it apart: stores, session, shards, control thread,
//! listeners.
//!
//! The thread that calls [`run`] is the control thread. Order of a start: the directory is locked,
//! the ports are bound (so that a start that cannot succeed changes nothing), the session begins,
//! the shards start, everything is taken over and opened, and only then is a connection accepted.
//! Order of a graceful end: no new connections, no appends, flush, acknowledge, release, exit.

use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use coord::keys::partition as partition_key;
use coord::keys::plan::{self, PARTITIONS_MAX};
use coord::keys::{Keyspace, KeyspaceError};
use coord::kv::Kv;
use coord::kv::embedded::{self, Embedded, METADATA_FILE};
use futures_channel::oneshot;
use segment::keys::{KeySpace, KeySpaceError};
use segment::{BrokerId, TopicPartition, WalSequence};
use store::local::{LocalOptions, LocalStore};
use store::{KeyError, ListRequest, ObjectKey, ObjectStore};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, LocalSet};

use crate::config::{Advertised, Config, IoDriver, Mode};
use crate::control::admin::{Admin, Closures};
use crate::control::catalog::{Catalog, CatalogError};
use crate::control::commit::{Change, CommitError, commit_all};
use crate::control::compactor::Compactor;
use crate::control::context::{Context, Failure, FlushProgress, Refusal, wall_clock};
use crate::control::flusher::{Drain, Flusher};
use crate::control::garbage::Garbage;
use crate::control::listener::{Dealer, Listener};
use crate::control::objects::Objects;
use crate::control::requests::Requests;
use crate::control::session::{Begin, SessionError};
use crate::control::slots::{Slots, SlotsError};
use crate::control::{ControlHandle, ControlMsg, FlushSignal, admin, lags, listener, sweep};
use crate::metadata::{BrokerNode, Metadata, SharedMetadata};
use crate::metrics::{ControlMetrics, Registry, ShardMetrics};
use crate::runtime::Driver;
use crate::shard::{self, Shard, ShardHandle, ShardId, ShardMsg, ShardStart, Shared};

/// Threads for blocking and heavy work, beside one that waits for each shard to end.
const BLOCKING_THREADS: usize = 4;
/// How long a graceful end waits for the store to take what was appended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Flushes that may be asked for at a time.
const DRAINS: usize = 16;
/// How often throughput is sampled.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Why the broker did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings ask for what this build has not.
    #[error("this build serves the embedded store only; unset s3.bucket and etcd.endpoints")]
    Cluster,
    /// The operating system refused.
    #[error("{attempt}: {source}")]
    Io {
        /// What was attempted.
        attempt: String,
        /// The answer.
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] store::local::OpenError),
    /// The metadata file cannot be used.
    #[error(transparent)]
    Metadata(#[from] embedded::OpenError),
    /// There are objects but no metadata.
    #[error(
        "{directory} holds objects (such as {example}) but no {METADATA_FILE}: without it nobody \
         knows which topics they belong to. Restore that file from a backup, or set \
         KAFSCALE_DATA_DIR to an empty directory; `kafscale segment inspect` shows what the \
         objects hold"
    )]
    NoMetadata {
        /// The data directory.
        directory: PathBuf,
        /// One of the objects.
        example: String,
    },
    /// The data directory cannot be listed.
    #[error(transparent)]
    List(#[from] store::ListError),
    /// The prefixes name no objects.
    #[error(transparent)]
    Keys(#[from] KeySpaceError),
    /// The prefixes name no objects.
    #[error("s3.prefix, s3.wal_prefix and s3.namespace make no object key: {0}")]
    Key(#[from] KeyError),
    /// The cluster's name names no keys.
    #[error(transparent)]
    Space(#[from] KeyspaceError),
    /// The Kafka port cannot be bound.
    #[error(transparent)]
    Listen(#[from] listener::BindError),
    /// The metrics port cannot be bound.
    #[error(transparent)]
    Admin(#[from] admin::BindError),
    /// io_uring is asked for and refused.
    #[error("shard.io_driver is io_uring, which the kernel refuses: {0}. Use auto or epoll")]
    IoUring(String),
    /// No session could be begun.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The topics cannot be loaded.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The groups cannot be loaded.
    #[error(transparent)]
    Slots(#[from] SlotsError),
    /// The metadata store failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A shard did not start.
    #[error("shard {shard} did not start: {reason}")]
    Shard {
        /// Its number.
        shard: ShardId,
        /// Why not.
        reason: String,
    },
    /// Something happened that the broker cannot survive.
    #[error("{0}")]
    Failed(String),
    /// The store did not take what was appended before the end.
    #[error(
        "the store did not take the last batches within {} s; they were not acknowledged, and \
         clients \
         send them again", DRAIN_TIMEOUT.as_secs()
    )]
    NotDrained,
}

fn io_error(attempt: impl Into<String>) -> impl FnOnce(std::io::Error) -> StartError {
    let attempt = attempt.into();
    move |source| StartError::Io { attempt, source }
}

/// Where everything is kept.
pub struct Stores {
    /// The object store.
    pub objects: Arc<dyn ObjectStore>,
    /// The metadata store.
    pub kv: Arc<dyn Kv>,
    /// How a reader is told where that is.
    pub place: String,
}

/// A broker that serves, as a program that embeds it sees it.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Where Kafka clients connect.
    pub kafka: std::net::SocketAddr,
    /// Where metrics and health are.
    pub admin: std::net::SocketAddr,
}

/// Runs a broker until a signal (SIGTERM, SIGINT) or a failure ends it.
///
/// # Errors
/// [`StartError`]: why it did not start or go on.
pub fn run(config: Config) -> Result<(), StartError> {
    let ready = |running: Running, text: &str| {
        tracing::info!(kafka = %running.kafka, admin = %running.admin, "ready");
        let mut out = std::io::stdout().lock();
        // Nobody may be reading: that is no reason to stop.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    };
    block_on(&config, async {
        let stores = open_embedded(&config).await?;
        let stop = signals()?;
        serve(config.clone(), stores, stop, ready).await
    })
}

/// Runs a broker on these stores until `stop` completes, and tells when it serves: for tests and
/// for programs that embed a broker. Does not listen to signals.
///
/// # Errors
/// [`StartError`].
pub fn run_on(
    config: Config,
    stores: Stores,
    stop: oneshot::Receiver<()>,
    ready: impl FnOnce(Running),
) -> Result<(), StartError> {
    let stop = async move {
        // A sender that is gone means the same as one that sends.
        let _ = stop.await;
    };
    block_on(
        &config,
        serve(config.clone(), stores, stop, |running, _| ready(running)),
    )
}

fn block_on<F>(config: &Config, main: F) -> Result<(), StartError>
where
    F: Future<Output = Result<(), StartError>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(config.shards() + BLOCKING_THREADS)
        .build()
        .map_err(io_error("start the control thread"))?;
    let local = LocalSet::new();
    // Without this a panic would wait here for the shards, which nobody would tell to end.
    let outcome = catch_unwind(AssertUnwindSafe(|| local.block_on(&runtime, main)));
    runtime.shutdown_timeout(Duration::from_secs(1));
    let panicked = |_| StartError::Failed("the control thread panicked".to_owned());
    outcome.map_err(panicked)?
}

/// Completes at the first signal; the second ends the process at once.
fn signals() -> Result<impl Future<Output = ()>, StartError> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = || io_error("listen to signals");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed())?;
    let (first, told) = oneshot::channel::<()>();
    tokio::task::spawn_local(async move {
        let mut first = Some(first);
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match first.take() {
                Some(first) => {
                    tracing::info!("stopping; a second signal ends the process at once");
                    let _ = first.send(());
                }
                None => {
                    tracing::warn!(
                        "ended at once by a second signal; nothing acknowledged is lost"
                    );
                    std::process::exit(1);
                }
            }
        }
    });
    Ok(async move {
        let _ = told.await;
    })
}

/// Opens the embedded stores of the data directory.
///
/// # Errors
/// [`StartError`]; a directory that another broker uses is refused.
pub async fn open_embedded(config: &Config) -> Result<Stores, StartError> {
    if config.mode() != Mode::Embedded {
        return Err(StartError::Cluster);
    }
    let directory = config.log.data_dir.clone();
    let opened = LocalStore::open(&directory, LocalOptions::default())?;
    let directory = opened.lock().root().to_owned();
    let objects: Arc<dyn ObjectStore> = Arc::new(opened);
    if !directory.join(METADATA_FILE).exists() {
        let page = objects.list(ListRequest::new("").limit(1)).await?;
        if let Some(first) = page.objects.first() {
            let example = first.key.as_str().to_owned();
            return Err(StartError::NoMetadata { directory, example });
        }
    }
    let kv: Arc<dyn Kv> = Arc::new(Embedded::open(&directory)?);
    let place = directory.display().to_string();
    Ok(Stores { objects, kv, place })
}

/// The shards, started.
struct Shards {
    handles: Arc<[ShardHandle]>,
    metrics: Vec<Arc<ShardMetrics>>,
    threads: Vec<JoinHandle<()>>,
    driver: Driver,
}

/// Told when the threads of all shards have ended.
type Ended = Rc<Notify>;

async fn serve(
    config: Config,
    stores: Stores,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Running, &str),
) -> Result<(), StartError> {
    let began = Instant::now();
    let config = Arc::new(config);
    let listener = Listener::bind(config.broker.addr).await?;
    let admin = Admin::bind(config.admin.addr).await?;
    let running = Running {
        kafka: listener.addr(),
        admin: admin.addr(),
    };
    let advertised = config.advertised(running.kafka);
    let (control, requests, flushes) = ControlHandle::new();
    let place = stores.place.clone();
    let parts = Parts {
        config,
        stores,
        control,
        advertised,
    };
    let (context, mut shards) = parts.begin().await?;
    let ended = watch_shards(&context, std::mem::take(&mut shards.threads));
    let broker = Broker {
        context: context.clone(),
        shards,
        place,
        running,
        began,
    };
    let outcome = broker
        .serve(Sockets { listener, admin }, requests, flushes, stop, ready)
        .await;
    context.shards_stop.set(true);
    stop_shards(&context.shards, &ended).await;
    // The session ends with the process at the latest; its partitions have been released.
    if let Err(error) = context.kv.revoke(context.session.lease).await {
        tracing::debug!(%error, "the session was not revoked");
    }
    outcome
}

/// What is known before the session begins.
struct Parts {
    config: Arc<Config>,
    stores: Stores,
    control: ControlHandle,
    advertised: Advertised,
}

impl Parts {
    async fn begin(self) -> Result<(Rc<Context>, Shards), StartError> {
        let Self {
            config,
            stores,
            control,
            advertised,
        } = self;
        let keys = KeySpace::new(
            &config.s3.prefix,
            &config.s3.wal_prefix,
            &config.s3.namespace,
        )?;
        for root in [keys.segments_root(), keys.wal_root()] {
            ObjectKey::new(format!("{root}x"))?;
        }
        let space = Keyspace::new(&config.broker.cluster)?;
        let metrics: Arc<ControlMetrics> = Arc::default();
        let objects = Objects::new(stores.objects, metrics.clone(), config.s3.concurrency);
        let broker = BrokerId::new(config.broker_id().unwrap_or(0));
        let begin = Begin {
            kv: &stores.kv,
            space: &space,
            objects: &objects,
            keys: &keys,
            broker,
            advertised: &advertised,
            ttl: config.broker.session_ttl,
            now: wall_clock(),
        };
        let cluster_id = begin.cluster().await?;
        let session = begin.session().await?;
        metrics.sessions_begun.increment();
        tracing::info!(session = %session.id, %cluster_id, place = stores.place, "session begun");
        let Advertised { host, port } = advertised;
        let node = BrokerNode {
            id: broker,
            host,
            port,
            rack: None,
        };
        let empty = Metadata::new(cluster_id.clone(), broker, vec![node.clone()], []);
        let metadata: SharedMetadata = Arc::new(ArcSwap::from_pointee(empty));
        let refused = Arc::new(AtomicBool::new(false));
        let shards = start_shards(&config, &metadata, &control, &refused).await?;
        let first = WalSequence::ZERO.next().expect("1 is a sequence");
        let context = Context {
            config,
            objects,
            keys,
            kv: stores.kv,
            space,
            session,
            cluster_id,
            node,
            shards: shards.handles.clone(),
            metadata,
            metrics,
            refusal: Refusal::new(refused),
            flushed: FlushProgress::new(first),
            owned: Default::default(),
            producer_floor: Default::default(),
            inherited: Default::default(),
            floor: std::cell::Cell::new(first),
            compacted: Notify::new(),
            failure: Failure::default(),
            shards_stop: Cell::new(false),
        };
        Ok((Rc::new(context), shards))
    }
}

/// Which driver the shards use.
fn choose_driver(config: &Config) -> Result<Driver, StartError> {
    match config.shard.io_driver {
        IoDriver::Epoll => Ok(Driver::Epoll),
        IoDriver::IoUring => match Driver::probe_io_uring() {
            Ok(()) => Ok(Driver::IoUring),
            Err(reason) => Err(StartError::IoUring(reason)),
        },
        IoDriver::Auto => Ok(match Driver::probe_io_uring() {
            Ok(()) => Driver::IoUring,
            Err(reason) => {
                tracing::warn!(
                    reason,
                    "io_uring is not available; shards use epoll, which is slower"
                );
                Driver::Epoll
            }
        }),
    }
}

async fn start_shards(
    config: &Arc<Config>,
    metadata: &SharedMetadata,
    control: &ControlHandle,
    refused: &Arc<AtomicBool>,
) -> Result<Shards, StartError> {
    let mut driver = choose_driver(config)?;
    let ids = (0..config.shards()).map(|number| ShardId(number as u16));
    let (handles, mailboxes): (Vec<_>, Vec<_>) = ids.map(ShardHandle::new).unzip();
    let handles: Arc<[ShardHandle]> = handles.into();
    let shared = Shared {
        config: config.clone(),
        metadata: metadata.clone(),
        peers: handles.clone(),
        control: control.clone(),
        produce_refused: refused.clone(),
    };
    let started = Instant::now();
    let (mut metrics, mut threads) = (Vec::new(), Vec::new());
    for (handle, mailbox) in handles.iter().zip(mailboxes) {
        let cells = ShardMetrics::new();
        let start = |driver| ShardStart {
            id: handle.id,
            shared: shared.clone(),
            mailbox: mailbox.clone(),
            metrics: cells.clone(),
            driver,
            cpu: config.cpu_of_shard(handle.id.index()),
            started,
        };
        let first = start_shard(handle, start(driver)).await;
        let fall_back = driver == Driver::IoUring && config.shard.io_driver == IoDriver::Auto;
        let thread = match first {
            Err(StartError::Shard { shard, reason }) if fall_back => {
                tracing::warn!(%shard, reason, "io_uring failed; this and later shards use epoll");
                driver = Driver::Epoll;
                start_shard(handle, start(driver)).await?
            }
            outcome => outcome?,
        };
        metrics.push(cells);
        threads.push(thread);
    }
    Ok(Shards {
        handles,
        metrics,
        threads,
        driver,
    })
}

/// Starts one shard and waits until it answers.
async fn start_shard(
    handle: &ShardHandle,
    start: ShardStart,
) -> Result<JoinHandle<()>, StartError> {
    let id = handle.id;
    let thread = shard::run(start).map_err(io_error(format!("start shard {id}")))?;
    let (failed, reason) = oneshot::channel();
    let waits = tokio::task::spawn_blocking(move || {
        let reason = match thread.join() {
            Ok(Ok(())) => "it ended".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it panicked".to_owned(),
        };
        drop(failed.send(reason));
    });
    tokio::select! {
        answer = handle.call(|_: &Rc<Shard>| ()) => match answer {
            Ok(()) => Ok(waits),
            Err(gone) => Err(StartError::Shard { shard: id, reason: gone.to_string() }),
        },
        reason = reason => {
            let reason = reason.unwrap_or_else(|_| "it ended".to_owned());
            Err(StartError::Shard { shard: id, reason })
        }
    }
}

/// Ends the process when a shard ends by itself.
fn watch_shards(context: &Rc<Context>, threads: Vec<JoinHandle<()>>) -> Ended {
    let (context, ended) = (context.clone(), Ended::default());
    let told = ended.clone();
    tokio::task::spawn_local(async move {
        let (_, index, rest) = futures_util::future::select_all(threads).await;
        if !context.shards_stop.get() {
            context
                .failure
                .set(format!("shard {index} has ended by itself"));
        }
        futures_util::future::join_all(rest).await;
        told.notify_one();
    });
    ended
}

/// Tells the shards to end. Harmless when they have ended.
async fn stop_shards_now(shards: &[ShardHandle]) {
    for shard in shards {
        let _ = shard.send(ShardMsg::Shutdown).await;
    }
}

async fn stop_shards(shards: &[ShardHandle], ended: &Ended) {
    stop_shards_now(shards).await;
    if tokio::time::timeout(DRAIN_TIMEOUT, ended.notified())
        .await
        .is_err()
    {
        tracing::warn!("a shard did not end in time");
    }
}

/// The sockets, bound.
struct Sockets {
    listener: Listener,
    admin: Admin,
}

/// A broker whose session has begun.
struct Broker {
    context: Rc<Context>,
    shards: Shards,
    place: String,
    running: Running,
    began: Instant,
}

/// Tasks that end with this.
struct Tasks {
    context: Rc<Context>,
    handles: Vec<JoinHandle<()>>,
}

impl Tasks {
    fn new(context: &Rc<Context>) -> Self {
        Self {
            context: context.clone(),
            handles: Vec::new(),
        }
    }

    fn spawn(&mut self, part: &'static str, task: impl Future<Output = ()> + 'static) {
        self.handles.push(self.context.spawn(part, task));
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.handles.iter().for_each(JoinHandle::abort);
    }
}

impl Broker {
    async fn serve(
        self,
        sockets: Sockets,
        requests: flume::Receiver<ControlMsg>,
        flushes: flume::Receiver<FlushSignal>,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce(Running, &str),
    ) -> Result<(), StartError> {
        let context = &self.context;
        let (drain, drains) = flume::bounded::<Drain>(DRAINS);
        let mut flushing = Tasks::new(context);
        flushing.spawn(
            "flusher",
            Flusher::new(context.clone(), flushes, drains).run(),
        );
        let serving_shards = self.load().await?;
        let slots = serving_shards.slots.clone();
        flushing.spawn("request loop", serving_shards.serve(requests));
        let mut serving = Tasks::new(context);
        let is_ready = Arc::new(AtomicBool::new(true));
        let (told, shutdown) = watch::channel(false);
        self.spawn_admin(&mut serving, sockets.admin, &is_ready, shutdown);
        let (handles, metrics) = (self.shards.handles.clone(), self.shards.metrics.clone());
        let dealer = Dealer::new(handles, metrics, context.config.shard.connections_max);
        serving.spawn("listener", sockets.listener.serve(dealer));
        serving.spawn("compactor", Compactor::new(context.clone()).run());
        serving.spawn("garbage collector", Garbage::new(context.clone()).run());
        ready(self.running, &self.banner());
        tokio::select! {
            () = stop => {}
            reason = context.failure.wait() => return Err(StartError::Failed(reason)),
        }
        is_ready.store(false, Ordering::Relaxed);
        drop((serving, told));
        let drained = self.drain(drain).await;
        self.release().await;
        context.shards_stop.set(true);
        stop_shards_now(&context.shards).await;
        if let Err(error) = slots.release().await {
            tracing::warn!(%error, "the slots were not released; the next start takes them");
        }
        drained
    }

    /// Takes over everything; gives what serves the requests of the shards.
    async fn load(&self) -> Result<Requests, StartError> {
        let context = &self.context;
        let loading = async {
            let slots = Slots::take(context.clone()).await?;
            let catalog = Catalog::load(context.clone()).await?;
            sweep::resume(context).await?;
            Ok((slots, catalog))
        };
        let loaded: Result<_, StartError> = tokio::select! {
            loaded = loading => loaded,
            reason = context.failure.wait() => Err(StartError::Failed(reason)),
        };
        let (slots, catalog) = loaded?;
        tracing::info!(
            topics = context.metrics.topics.get(),
            partitions = context.owned.borrow().len(),
            took_ms = self.began.elapsed().as_millis() as u64,
            "everything is taken over",
        );
        Ok(Requests {
            context: context.clone(),
            catalog,
            slots,
        })
    }

    fn spawn_admin(
        &self,
        tasks: &mut Tasks,
        admin: Admin,
        is_ready: &Arc<AtomicBool>,
        shutdown: watch::Receiver<bool>,
    ) {
        let metrics = self.context.metrics.clone();
        let window = self.context.config.admin.rate_window;
        let cells = self.shards.metrics.clone();
        let registry = Arc::new(Registry::new(cells, metrics, window, Instant::now()));
        let (page, is_ready) = (registry.clone(), is_ready.clone());
        let refused = self.context.refusal.flag();
        let health = refused.clone();
        let pages = Closures {
            metrics: move || page.render(Instant::now()),
            health: move || match health.load(Ordering::Relaxed) {
                true => "ok; produce is refused".to_owned(),
                false => "ok".to_owned(),
            },
            ready: move || {
                if !is_ready.load(Ordering::Relaxed) {
                    Err("the broker is stopping".to_owned())
                } else if refused.load(Ordering::Relaxed) {
                    Err(
                        "produce is refused: the store takes no writes or compaction is behind"
                            .to_owned(),
                    )
                } else {
                    Ok("ready".to_owned())
                }
            },
        };
        tasks.spawn("admin listener", admin.serve(Arc::new(pages), shutdown));
        let lagging = registry.clone();
        tasks.spawn("sampler", async move {
            loop {
                tokio::time::sleep(SAMPLE_EVERY).await;
                registry.sample(Instant::now());
            }
        });
        let context = self.context.clone();
        tasks.spawn("lag sampler", async move {
            loop {
                tokio::time::sleep(lags::LOOK_EVERY).await;
                lagging.set_group_lags(lags::group_lags(&context).await);
            }
        });
    }

    /// Stops appends and waits until everything that was appended is acknowledged.
    async fn drain(&self, drain: flume::Sender<Drain>) -> Result<(), StartError> {
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
            Ok(None) => Err(StartError::Failed(self.context.failure.wait().await)),
            Err(_) => Err(StartError::NotDrained),
        }
    }

    /// Releases every partition: its source is closed at the acknowledged end. What is not released
    /// is taken over by the next start all the same.
    async fn release(&self) {
        let context = &self.context;
        let end = context.flushed.acknowledged_end();
        let owned: Vec<_> = context.owned.borrow_mut().drain().collect();
        let mut changes = Vec::with_capacity(owned.len());
        for (id, owned) in owned {
            let mut state = owned.state.lock().await;
            if std::mem::replace(&mut state.gone, true) {
                continue;
            }
            let before = &state.seen;
            let planned =
                plan::release_partition(&context.space, context.session.id, id, before, end);
            match planned {
                Ok(planned) => {
                    let key = partition_key::key(&context.space, id);
                    changes.push(Change {
                        key,
                        planned,
                        before: Some(before.clone()),
                    });
                }
                Err(error) => tracing::warn!(partition = %id, %error, "cannot be released"),
            }
        }
        let outcomes = commit_all(&context.kv, &changes, PARTITIONS_MAX).await;
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        if failed > 0 {
            tracing::warn!(
                failed,
                "partitions were not released; the next start takes them over"
            );
        }
        tracing::info!(released = changes.len() - failed, "partitions released");
    }

    /// What a reader of the terminal wants to know.
    fn banner(&self) -> String {
        let context = &self.context;
        let Running { kafka, admin } = self.running;
        let BrokerNode { host, port, .. } = &context.node;
        let (shards, driver) = (context.shards.len(), self.shards.driver.name());
        let (topics, place) = (context.metrics.topics.get(), &self.place);
        let took = self.began.elapsed().as_millis();
        format!(
            "KafScale {version} is ready ({took} ms)\n\
             \x20 Kafka clients   {host}:{port} (listening on {kafka})\n\
             \x20 metrics, health http://{admin}/metrics, /healthz, /readyz\n\
             \x20 data            {place} ({topics} topics)\n\
             \x20 shards          {shards}, {driver}\n\
             Try it:\n\
             \x20 echo hello | kafscale produce test -b {host}:{port}\n\
             \x20 kafscale consume test --from-beginning -b {host}:{port}\n\
             \x20 echo hello | kcat -b {host}:{port} -t test -P\n\
             \x20 kcat -b {host}:{port} -t test -C -o beginning -e\n",
            version = env!("CARGO_PKG_VERSION"),
        )
    }
}

#[cfg(test)]
mod tests;
