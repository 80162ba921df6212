//! Starts the shards, one thread each, and watches them end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{StartError, io_error};
use crate::config::{Config, IoDriver};
use crate::control::context::Context;
use crate::metrics::ShardMetrics;
use crate::runtime::Driver;
use crate::shard::{self, Shard, ShardHandle, ShardId, ShardMsg, ShardStart, Shared};

/// How long the end waits for the shards.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// The shards, started.
pub(super) struct Shards {
    pub(super) handles: Arc<[ShardHandle]>,
    pub(super) metrics: Vec<Arc<ShardMetrics>>,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) driver: Driver,
}

/// Told when the threads of all shards have ended.
pub(super) type Ended = Rc<Notify>;

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

/// Starts the shards, with what they share but for their own list.
pub(super) async fn start_shards(shared: Shared) -> Result<Shards, StartError> {
    let config = shared.config.clone();
    let mut driver = choose_driver(&config)?;
    let ids = (0..config.shards()).map(|number| ShardId(number as u16));
    let (handles, mailboxes): (Vec<_>, Vec<_>) = ids.map(ShardHandle::new).unzip();
    let handles: Arc<[ShardHandle]> = handles.into();
    let shared = Shared {
        peers: handles.clone(),
        ..shared
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
    let (failed, reason) = oneshot::channel();
    let waits = spawn_shard(start, failed)?;
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

/// Starts the thread of a shard; the handle is ready when it has ended, and `failed` is told why.
fn spawn_shard(
    start: ShardStart,
    failed: oneshot::Sender<String>,
) -> Result<JoinHandle<()>, StartError> {
    let id = start.id;
    #[cfg(feature = "simulation")]
    if let Some(backend) = crate::runtime::simulated::backend() {
        let main = backend.shard(id.index(), Box::pin(shard::serve(start)));
        return Ok(tokio::task::spawn_local(async move {
            main.await;
            drop(failed.send("it ended".to_owned()));
        }));
    }
    let thread = shard::run(start).map_err(io_error(format!("start shard {id}")))?;
    Ok(tokio::task::spawn_blocking(move || {
        let reason = match thread.join() {
            Ok(Ok(())) => "it ended".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it panicked".to_owned(),
        };
        drop(failed.send(reason));
    }))
}

/// Ends the process when a shard ends by itself.
pub(super) fn watch_shards(context: &Rc<Context>, threads: Vec<JoinHandle<()>>) -> Ended {
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

/// Tells the shards to end, and waits for it; not for ever for one that stands still. Harmless when they have ended.
pub(super) async fn stop_shards(shards: &[ShardHandle], ended: &Ended) {
    let ending = async {
        for shard in shards {
            let _ = shard.send(ShardMsg::Shutdown).await;
        }
        ended.notified().await;
    };
    if tokio::time::timeout(END_TIMEOUT, ending).await.is_err() {
        tracing::warn!("a shard did not end in time");
    }
}
