//! Client connections of a shard: frames in, replies out in order, everything bounded.
//!
//! Requests of one connection are pipelined as Kafka clients expect: the order of produce requests is fixed at
//! the owner when they are dispatched, the next request is read at once, and replies leave in order when
//! they are ready. Any other request is carried out before the next one is looked at, as in Kafka.

mod budget;
mod connection;
mod frame;
mod heavy;
mod pace;
mod quota;
mod reply_queue;
mod turns;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

pub(crate) use budget::{MemoryBudget, Reserved};
pub(crate) use frame::BUFFER_BYTES;
use heavy::Heavy;
use pace::Pace;
pub(crate) use quota::ConnectionQuota;
pub(crate) use reply_queue::{Reply, Slot, Unsent};
pub(crate) use turns::{TURN, Turn, Turns};

use crate::config::Config;
use crate::control::gate::Admitted;
use crate::metrics::ShardMetrics;
use crate::runtime::{self, Closer};
use crate::shard::Shard;

/// How often connections are looked at for time-outs.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often the operator is told of refused requests.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What the sweeper looks at. Shard-owned.
pub(crate) struct ConnectionState {
    closer: Closer,
    /// When bytes last came in or a reply last went out, by the shard's coarse clock: a second early at most.
    progress_ms: Cell<u64>,
    /// A frame that has been read in part.
    reading: Pace,
    /// Requests that have not been answered.
    unanswered: Cell<usize>,
    /// A reply that is being written.
    writing: Pace,
    /// By when its client must have said who it is, by the shard's clock.
    identify_by_ms: Cell<u64>,
    /// Whether it has been closed from here.
    is_closed: Cell<bool>,
}

/// All connections of a shard. Shard-owned.
pub struct Connections {
    open: RefCell<HashMap<u64, Rc<ConnectionState>>>,
    next: Cell<u64>,
    /// Bytes of frames that are read or carried out.
    pub(crate) memory: Rc<MemoryBudget>,
    /// Bytes of replies that have not been sent.
    pub(crate) unsent: Rc<Unsent>,
    /// Turns of those that have more requests at hand than one may take.
    pub(crate) turns: Rc<Turns>,
    /// Requests that hold the shard for long.
    heavy: Heavy,
    connections_max: usize,
    /// From when on a refused request may be told of again.
    quiet_until_ms: Cell<u64>,
}

impl Connections {
    /// No connections, bounded by the settings.
    pub fn new(config: &Config) -> Self {
        Self {
            open: RefCell::default(),
            next: Cell::new(0),
            memory: MemoryBudget::new(config.memory_bytes_per_shard() / 2),
            unsent: Unsent::new(config.memory_bytes_per_shard() / 2),
            turns: Rc::default(),
            heavy: Heavy::default(),
            connections_max: config.shard.connections_max,
            quiet_until_ms: Cell::new(0),
        }
    }

    /// Whether the operator is told of a refused request now: not more often than every
    /// [`WARN_EVERY`], since clients and strangers decide how many there are.
    pub(crate) fn may_warn(&self, now_ms: u64) -> bool {
        let may = now_ms >= self.quiet_until_ms.get();
        if may {
            let quiet = WARN_EVERY.as_millis() as u64;
            self.quiet_until_ms.set(now_ms + quiet);
        }
        may
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Requests that have not been answered.
    pub fn unanswered(&self) -> usize {
        self.open
            .borrow()
            .values()
            .map(|state| state.unanswered.get())
            .sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Ends every connection.
    pub fn close_all(&self) {
        self.open
            .borrow()
            .values()
            .for_each(|state| state.closer.close());
    }

    fn sweep(&self, now_ms: u64, config: &Config, metrics: &ShardMetrics) {
        let idle_timeout = config.request.idle_timeout.as_millis() as u64;
        let open = self.open.borrow();
        for state in open.values().filter(|state| !state.is_closed.get()) {
            let silent = now_ms.saturating_sub(state.progress_ms.get());
            let is_stuck = state.reading.is_over(now_ms)
                || state.writing.is_over(now_ms)
                || now_ms > state.identify_by_ms.get();
            let is_busy = state.unanswered.get() > 0;
            if is_stuck {
                metrics.closed_no_progress.increment();
            } else if !is_busy && silent > idle_timeout {
                metrics.closed_idle.increment();
            } else {
                continue;
            }
            tracing::debug!(
                is_stuck,
                silent,
                "closing a connection that makes no progress"
            );
            state.is_closed.set(true);
            state.closer.close();
        }
    }
}

/// Takes over a socket that was dealt to this shard, of the client `peer`; `admitted` counts it for as long as it is
/// open.
pub fn accept(
    shard: &Rc<Shard>,
    stream: std::net::TcpStream,
    peer: std::net::SocketAddr,
    admitted: Admitted,
) {
    match runtime::Socket::adopt(stream, peer) {
        Ok(socket) => serve(shard, socket, admitted),
        Err(error) => tracing::debug!(%error, "a connection was gone before it was served"),
    }
}

/// Takes over a connection of the simulator.
#[cfg(feature = "simulation")]
pub fn accept_simulated(shard: &Rc<Shard>, wire: runtime::simulated::Wire, admitted: Admitted) {
    serve(shard, runtime::Socket::simulated(wire), admitted);
}

fn serve(shard: &Rc<Shard>, socket: runtime::Socket, admitted: Admitted) {
    if shard.connections.len() >= shard.connections.connections_max {
        shard.metrics.closed_limit.increment();
        return;
    }
    runtime::spawn(connection::serve(shard.clone(), socket, admitted));
}

/// Starts the task that looks at the shard once a second: closes connections that make no progress, forgets
/// producers that have expired, sets gauges.
pub fn start_sweeper(shard: &Rc<Shard>) {
    let shard = Rc::downgrade(shard);
    runtime::spawn(async move {
        loop {
            runtime::sleep(SWEEP_EVERY).await;
            let Some(shard) = shard.upgrade() else { return };
            shard
                .connections
                .sweep(shard.now_ms(), &shard.shared.config, &shard.metrics);
            shard.expire_producers();
            shard.sample();
        }
    });
}
