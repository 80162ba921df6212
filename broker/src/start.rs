//! Puts the process together: stores, sockets, and lives of the broker, one session each.
//!
//! The thread that calls [`run`] is the control thread. The stores are opened and the ports are
//! bound first, so that a start that cannot succeed changes nothing. A life ([`life`]) whose session
//! is over, because another broker fenced it or the store refused it, is followed by another one
//! with a new session: nothing of it is kept but the sockets.

mod life;
mod pages;
mod shards;
#[cfg(feature = "simulation")]
pub mod simulated;
mod stores;

use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coord::keys::KeyspaceError;
use coord::kv::KvError;
use coord::kv::embedded::{self, METADATA_FILE};
use futures_channel::oneshot;
use futures_util::FutureExt;
use segment::keys::KeySpaceError;
use store::KeyError;
use store::retry::{Again, again};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::config::Config;
use crate::console::{self, Console};
use crate::control::admin::Admin;
use crate::control::catalog::CatalogError;
use crate::control::commit::CommitError;
use crate::control::context::Ending;
use crate::control::events::{EventKind, Events, Severity};
use crate::control::listener::Sockets;
use crate::control::ownership::OwnershipError;
use crate::control::session::SessionError;
use crate::control::slots::SlotsError;
use crate::control::tokens::Tokens;
use crate::control::{admin, certificates, listener};
use crate::metrics::ControlMetrics;
use crate::security::SetupError;
use crate::security::tls::Tls;
use crate::shard::ShardId;
use life::{DRAIN_TIMEOUT, Entrance, Lasting, live};
use pages::Switch;
pub use stores::{Stores, health_config, key_space, open, open_unprobed};
pub(crate) use stores::{
    connect_backups, connect_etcd, connect_s3, spares_the_wal, without_conditions,
};

/// Threads for blocking and heavy work, beside one that waits for each shard to end.
const BLOCKING_THREADS: usize = 4;
/// First and longest pause before the next life, where one could not begin.
const LIFE_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));

/// Why the broker did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The bucket cannot be used.
    #[error(transparent)]
    S3(#[from] store::s3::ConnectError),
    /// etcd cannot be used.
    #[error(transparent)]
    Etcd(#[from] coord::kv::etcd::ConnectError),
    /// The object store cannot be used.
    #[error("the object store was probed and cannot be used: {0}")]
    Probe(#[from] store::probe::ProbeError),
    /// A lifecycle rule would delete what was acknowledged.
    #[error(
        "lifecycle rule {rule:?} of the bucket deletes objects under {prefix:?}, which covers \
         {wal_prefix:?}, where unmerged batches and fences lie: acknowledged data would be lost. \
         Limit the rule to KAFSCALE_S3_PREFIX, or choose another KAFSCALE_S3_WAL_PREFIX"
    )]
    Lifecycle {
        /// The rule.
        rule: String,
        /// What it covers.
        prefix: String,
        /// What it must not cover.
        wal_prefix: String,
    },
    /// Who may connect cannot be read.
    #[error("read who may connect: {0}")]
    Users(String),
    /// The settings about authentication and TLS cannot be used.
    #[error(transparent)]
    Security(#[from] SetupError),
    /// There are no keys for the tokens of clients.
    #[error(
        "{0}. Nobody could authenticate by OAUTHBEARER: see to it, or take it out of security.sasl_mechanisms"
    )]
    Keys(#[from] crate::control::jwks::KeysError),
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
    KeySpace(#[from] KeySpaceError),
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
    /// The metadata store cannot be followed.
    #[error("follow the metadata store: {0}")]
    Follow(#[from] KvError),
    /// What this broker should serve cannot be taken.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// The session is over; another may begin.
    #[error("the session is over: {0}")]
    SessionOver(String),
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

impl From<Ending> for StartError {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Session(reason) => Self::SessionOver(reason),
            Ending::Process(reason) => Self::Failed(reason),
        }
    }
}

impl StartError {
    /// Whether the store asks to slow down: no reason to exit, not even for the first session.
    fn is_slow_down(&self) -> bool {
        matches!(again(self), Again::SlowDown { .. })
    }

    /// Whether a broker that has served before should try again: stores come back.
    fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::SessionOver(_)
                | Self::Session(_)
                | Self::Follow(_)
                | Self::Ownership(_)
                | Self::Catalog(_)
                | Self::Slots(_)
                | Self::Commit(_)
                | Self::List(_)
        )
    }
}

/// A broker that serves, as a program that embeds it sees it.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Where Kafka clients connect; of several listeners the first.
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
    raise_open_files();
    block_on(&config, async {
        let stores = open(&config).await?;
        let stop = signals()?;
        lives(config.clone(), stores, stop, ready).await
    })
}

/// Raises the soft limit of open files to the hard one: each connection is a file, and the soft limit of a shell is often
/// 1,024, for the sake of programs that use select(2).
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, ?limit, "the limit of open files was not raised");
    }
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
        lives(config.clone(), stores, stop, |running, _| ready(running)),
    )
}

fn block_on<F>(config: &Config, main: F) -> Result<(), StartError>
where
    F: Future<Output = Result<(), StartError>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(config.shards() + BLOCKING_THREADS + console::CLIENTS_MAX)
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

/// Lives until `stop` completes, one session after the other.
async fn lives(
    config: Config,
    stores: Stores,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Running, &str),
) -> Result<(), StartError> {
    let mut listeners = Vec::new();
    for listener in config.kafka_listeners() {
        listeners.push(Sockets::bind(&listener, config.shards())?);
    }
    let events = Arc::<Events>::default();
    let console = Console::new(&config, events.clone()).map_err(SetupError::from)?;
    let admin_tls = config.admin_tls().map(Tls::new).transpose();
    let admin_tls = admin_tls.map_err(SetupError::from)?.map(Arc::new);
    let admin = Admin::bind(config.admin.addr)
        .await?
        .with_tls(admin_tls.clone());
    let running = Running {
        kafka: listeners[0].all.addr(),
        admin: admin.addr(),
    };
    let metrics = Arc::new(ControlMetrics::default());
    let stop = stop.shared();
    let tokens = tokio::select! {
        tokens = Tokens::open(&config, metrics.clone()) => tokens?,
        () = stop.clone() => return Ok(()),
    };
    let lasting = Lasting {
        config: Arc::new(config),
        stores,
        entrance: Entrance::Listeners(listeners),
        running,
        metrics,
        tokens,
        pages: Arc::new(Switch::with_console(console.clone())),
        broker: Cell::new(None),
        events,
        console: Some(console),
    };
    // Dropped at the end, which ends the listener.
    let (_serving, shutdown) = watch::channel(false);
    tokio::task::spawn_local(admin.serve(lasting.pages.clone(), shutdown));
    if let Some(tls) = admin_tls {
        tokio::task::spawn_local(certificates::follow_admin(tls));
    }
    lives_on(lasting, stop, ready).await
}

/// As [`lives`], once the ports are bound.
async fn lives_on(
    lasting: Lasting,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Running, &str),
) -> Result<(), StartError> {
    let stop = stop.shared();
    let mut ready = Some(ready);
    let mut pause = LIFE_PAUSE.0;
    loop {
        let mut served = false;
        let mut on_ready = |running, banner: &str| {
            served = true;
            if let Some(ready) = ready.take() {
                ready(running, banner);
            }
        };
        let outcome = live(&lasting, stop.clone(), &mut on_ready).await;
        let error = match outcome {
            Err(error) if error.may_pass() && (ready.is_none() || error.is_slow_down()) => error,
            outcome => return outcome,
        };
        pause = if served {
            LIFE_PAUSE.0
        } else {
            (pause * 2).min(LIFE_PAUSE.1)
        };
        tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "a new session begins");
        let events = &lasting.events;
        events.note(EventKind::Session, Severity::Error, error.to_string());
        tokio::select! {
            () = stop.clone() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
