//! The thread of a shard.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use cache::tail::TailBudget;

use super::cold::ColdReads;
use super::groups::GroupSlots;
use super::handle::{ShardId, ShardMsg};
use super::produce::Produce;
use super::{Shard, Shared};
use crate::api::FetchSessions;
use crate::metrics::ShardMetrics;
use crate::net::Connections;
use crate::runtime::{self, Driver};

/// Messages handled before the other tasks of the shard get their turn.
const MESSAGES_A_TURN: usize = 128;
/// A message that takes longer than this keeps others waiting.
const STALL: std::time::Duration = std::time::Duration::from_micros(500);
/// Share of the cache budget that acknowledged tails may take; the rest is for chunks read back.
const TAIL_SHARE: (u64, u64) = (2, 3);
/// Memory of the smallest run, about; bounds the number of runs kept.
const RUN_BYTES_MIN: u64 = 512;

/// What a shard is started with.
pub struct ShardStart {
    /// Which one.
    pub id: ShardId,
    /// What it shares with the others.
    pub shared: Shared,
    /// Where its messages arrive.
    pub mailbox: flume::Receiver<ShardMsg>,
    /// Its counters.
    pub metrics: Arc<ShardMetrics>,
    /// Its kernel interface.
    pub driver: Driver,
    /// The CPU that it is pinned to, if any.
    pub cpu: Option<usize>,
    /// Origin of the process's monotonic milliseconds.
    pub started: Instant,
}

/// Starts the thread of a shard. It ends after [`ShardMsg::Shutdown`].
///
/// # Errors
/// The thread cannot be created.
pub fn run(start: ShardStart) -> std::io::Result<std::thread::JoinHandle<std::io::Result<()>>> {
    let name = format!("shard-{}", start.id);
    std::thread::Builder::new().name(name).spawn(move || {
        let (driver, cpu) = (start.driver, start.cpu);
        runtime::run(driver, cpu, serve(start))
    })
}

/// The main task of a shard, for a runtime that runs already. It ends after [`ShardMsg::Shutdown`].
pub async fn serve(start: ShardStart) {
    let config = start.shared.config.clone();
    let cache_bytes = config.cache_bytes_per_shard();
    let tail_bytes = cache_bytes * TAIL_SHARE.0 / TAIL_SHARE.1;
    let runs_max = usize::try_from(tail_bytes / RUN_BYTES_MIN).unwrap_or(usize::MAX);
    let shard = Rc::new(Shard {
        id: start.id,
        groups: GroupSlots::new(&config),
        producer_ids: super::producer_ids::ProducerIds::default(),
        fetch_sessions: FetchSessions::new(&config, start.id, rand::random()),
        audit: Default::default(),
        connections: Connections::new(&config),
        metrics: start.metrics,
        shared: start.shared,
        partitions: RefCell::default(),
        produce: Produce::default(),
        cold: ColdReads::new(cache_bytes - tail_bytes),
        aging: RefCell::default(),
        noted: Default::default(),
        tail: RefCell::new(TailBudget::new(tail_bytes, runs_max.max(16))),
        tail_budget: tail_bytes,
        dirty: Cell::new(false),
        urgent: Cell::new(false),
        open_bytes: Cell::new(0),
        started: start.started,
        read_ms: Cell::new(0),
    });
    #[cfg(feature = "simulation")]
    super::holdings::register(&shard);
    crate::net::start_sweeper(&shard);
    let mut handled = 0;
    while let Ok(message) = start.mailbox.recv_async().await {
        if matches!(message, ShardMsg::Shutdown) {
            break;
        }
        let turn = Instant::now();
        shard.on_message(message);
        if turn.elapsed() > STALL {
            shard.metrics.stalls.increment();
        }
        handled += 1;
        if handled % MESSAGES_A_TURN == 0 {
            runtime::yield_now().await;
        }
    }
    shard.connections.close_all();
}

impl Shard {
    fn on_message(self: &Rc<Self>, message: ShardMsg) {
        match message {
            ShardMsg::Connect(stream, peer, admitted) => {
                crate::net::accept(self, stream, peer, admitted);
            }
            ShardMsg::Produce(call) => self.produce(call),
            ShardMsg::Seal(reply) => drop(reply.send(self.seal())),
            ShardMsg::Acknowledge(sections) => self.acknowledge(sections),
            ShardMsg::Run(job) => job(self),
            ShardMsg::Shutdown => unreachable!("the mailbox loop ends at Shutdown"),
        }
    }
}
