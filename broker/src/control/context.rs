//! What the parts of the control thread share.
//!
//! Control thread. One writer each: the catalog owns the metadata snapshot, the flusher the
//! acknowledged end.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use coord::keys::Keyspace;
use coord::keys::cluster::CommitMode;
use coord::keys::partition::Owner;
use coord::kv::Kv;
use futures_util::FutureExt;
use segment::keys::KeySpace;
use segment::{ProducerId, SessionId, TimestampMs, TopicId, TopicPartition, WalSequence};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::acls::Acls;
use super::directories::Block;
use super::events::{EventKind, Events, Severity};
use super::objects::Objects;
use super::quotas::Quotas;
use super::session::Session;
use super::takeover::{Owned, Taker};
use super::time_index::TimeIndex;
use super::users::Users;
use super::view::ClusterView;
use crate::config::Config;
use crate::metadata::SharedMetadata;
use crate::metrics::ControlMetrics;
use crate::node::BrokerNode;
use crate::partition::PartitionMap;
use crate::proof::Proof;
use crate::shard::{ShardHandle, ShardId, shard_of_partition};
use crate::wal::OwnCounter;

/// The wall clock.
pub fn wall_clock() -> TimestampMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    TimestampMs::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Why produce is refused, and the flag that the shards look at.
#[derive(Debug)]
pub struct Refusal {
    flag: Arc<AtomicBool>,
    events: Arc<Events>,
    failing_uploads: Cell<usize>,
    backlog: Cell<bool>,
    unavailable: Cell<bool>,
}

impl Refusal {
    /// Nothing is refused.
    pub fn new(flag: Arc<AtomicBool>, events: Arc<Events>) -> Self {
        Self {
            flag,
            events,
            failing_uploads: Cell::new(0),
            backlog: Cell::new(false),
            unavailable: Cell::new(false),
        }
    }

    /// The flag that the shards look at.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }

    /// An upload does not get through (+1), or has got through after all (-1).
    pub fn upload_fails(&self, fails: bool) {
        let count = self.failing_uploads.get();
        let next = if fails {
            count.checked_add(1)
        } else {
            count.checked_sub(1)
        };
        self.failing_uploads
            .set(next.expect("what fails is counted once"));
        self.publish();
    }

    /// The WAL backlog is at its bound, or no longer.
    pub fn backlog_is_full(&self, full: bool) {
        self.backlog.set(full);
        self.publish();
    }

    /// The store is unavailable for writes, as their health says, or no longer.
    pub fn store_takes_no_writes(&self, unavailable: bool) {
        self.unavailable.set(unavailable);
        self.publish();
    }

    /// Whether produce is refused, and why.
    pub fn reason(&self) -> Option<&'static str> {
        if self.failing_uploads.get() > 0 {
            Some("the object store takes no writes")
        } else if self.unavailable.get() {
            Some("the object store is unavailable for writes")
        } else if self.backlog.get() {
            Some("too many WAL objects wait for compaction")
        } else {
            None
        }
    }

    fn publish(&self) {
        let refused = self.reason().is_some();
        if self.flag.swap(refused, Ordering::Relaxed) != refused {
            match self.reason() {
                Some(reason) => {
                    tracing::warn!(reason, "produce is refused until that ends");
                    let text = format!("produce is refused: {reason}");
                    self.events.note(EventKind::Produce, Severity::Error, text);
                }
                None => {
                    tracing::info!("produce is accepted again");
                    let text = "produce is accepted again";
                    self.events.note(EventKind::Produce, Severity::Info, text);
                }
            }
        }
    }
}

/// Where the flusher is.
#[derive(Debug)]
pub struct FlushProgress {
    acknowledged_end: Cell<WalSequence>,
    told_end: Cell<WalSequence>,
    /// Told after every acknowledgement.
    pub acknowledged: Notify,
}

impl FlushProgress {
    /// Nothing is flushed; the first sequence is `first`.
    pub fn new(first: WalSequence) -> Self {
        Self {
            acknowledged_end: Cell::new(first),
            told_end: Cell::new(first),
            acknowledged: Notify::new(),
        }
    }

    /// The sequence after the last whose acknowledgement has been sent to the shards.
    pub fn acknowledged_end(&self) -> WalSequence {
        self.acknowledged_end.get()
    }

    /// The sequence after the last of which a shard may have been told that it is durable. What
    /// shards know of lies below it, also while an acknowledgement is on its way to others.
    pub fn told_end(&self) -> WalSequence {
        self.told_end.get()
    }

    /// Shards are being told that everything below `end` is durable.
    pub fn tell(&self, end: WalSequence) {
        assert!(end >= self.told_end.get(), "objects are told of in order");
        self.told_end.set(end);
    }

    /// Everything below `end` is acknowledged.
    pub fn raise(&self, end: WalSequence) {
        assert!(
            end >= self.acknowledged_end.get(),
            "the acknowledged end never falls"
        );
        self.acknowledged_end.set(end);
        self.told_end.set(end);
        self.acknowledged.notify_one();
    }
}

/// Objects that were reported as lost: each is reported once.
#[derive(Debug, Default)]
pub struct Lost {
    reported: RefCell<HashSet<String>>,
}

impl Lost {
    /// Objects that are remembered; more are reported again.
    const MAX: usize = 1_024;

    /// Whether this is to be reported now.
    pub fn report(&self, key: &str) -> bool {
        let mut reported = self.reported.borrow_mut();
        if reported.len() >= Self::MAX {
            reported.clear();
        }
        reported.insert(key.to_owned())
    }
}

/// Everything shared.
pub struct Context {
    /// The settings.
    pub config: Arc<Config>,
    /// The object store.
    pub objects: Objects,
    /// Where backups of the metadata are kept: the same, or another bucket.
    pub backups: Objects,
    /// Whether segments can be replaced: the object store keeps conditions, If-Match among them.
    pub replaces: bool,
    /// Names of objects.
    pub keys: KeySpace,
    /// The metadata store.
    pub kv: Arc<dyn Kv>,
    /// Names of its keys.
    pub space: Keyspace,
    /// Our session.
    pub session: Session,
    /// Id of the cluster.
    pub cluster_id: String,
    /// This broker, as clients reach it.
    pub node: BrokerNode,
    /// The shards.
    pub shards: Arc<[ShardHandle]>,
    /// The snapshot that shards read.
    pub metadata: SharedMetadata,
    /// Our counters.
    pub metrics: Arc<ControlMetrics>,
    /// Whether produce is refused.
    pub refusal: Refusal,
    /// Where the flusher is.
    pub flushed: FlushProgress,
    /// The partitions of ours that are open.
    pub owned: RefCell<PartitionMap<Rc<Owned>>>,
    /// The producer id after the largest that was ever seen in loaded state.
    pub producer_floor: Cell<ProducerId>,
    /// WAL objects of earlier sessions that a partition needed when it was loaded.
    pub inherited: RefCell<HashMap<SessionId, Vec<WalSequence>>>,
    /// The floor of our session: objects below it may be deleted.
    pub floor: Cell<WalSequence>,
    /// Objects of their own that our session has written and not deleted, with the WAL object that
    /// names each.
    pub own_objects: RefCell<Vec<(WalSequence, OwnCounter)>>,
    /// Bundles of directories that our session has written and not deleted.
    pub bundles: RefCell<Vec<Block>>,
    /// Told after every compaction and sweep: there may be garbage.
    pub compacted: Notify,
    /// The failure that ends the process.
    pub failure: Failure,
    /// Whether the shards have been told to end.
    pub shards_stop: Cell<bool>,
    /// What is known of the cluster.
    pub view: Rc<ClusterView>,
    /// Until when our session is proven.
    pub proof: Arc<Proof>,
    /// Asks the flusher for an object that proves our session.
    pub heartbeat: Notify,
    /// Whether at least half as many WAL objects wait for compaction as may.
    pub backlog_is_high: Cell<bool>,
    /// Whether the metadata store did not answer when it was last asked to keep our session.
    pub metadata_is_lost: Cell<bool>,
    /// How WAL objects are committed.
    pub mode: CommitMode,
    /// Where records of a time lie in segments.
    pub times: TimeIndex,
    /// Objects that are gone and should not be.
    pub lost: Lost,
    /// Client quotas.
    pub quotas: Rc<Quotas>,
    /// Users and what is stored of their passwords.
    pub users: Rc<Users>,
    /// Rules of who may do what.
    pub acls: Rc<Acls>,
    /// What has happened, for the console.
    pub events: Arc<Events>,
    /// Topics that are being swept.
    pub sweeping: RefCell<HashSet<TopicId>>,
}

/// The first failure that cannot be survived.
#[derive(Debug, Default)]
pub struct Failure {
    ending: RefCell<Option<Ending>>,
    told: Notify,
}

/// Why this life of the broker ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The session is over: everything is dropped, and the next session begins.
    Session(String),
    /// The process cannot go on.
    Process(String),
}

impl Failure {
    /// Ends the process, with a message. Only the first ending counts.
    pub fn set(&self, reason: String) {
        tracing::error!(%reason, "the broker must stop");
        self.end(Ending::Process(reason));
    }

    /// Ends the session, with a message. Only the first ending counts.
    pub fn end_session(&self, reason: String) {
        tracing::error!(%reason, "this session is over: everything is dropped");
        self.end(Ending::Session(reason));
    }

    fn end(&self, ending: Ending) {
        let mut slot = self.ending.borrow_mut();
        if slot.is_none() {
            *slot = Some(ending);
            self.told.notify_one();
        }
    }

    /// The ending, once there is one.
    pub async fn wait(&self) -> Ending {
        loop {
            if let Some(ending) = self.ending.borrow().clone() {
                return ending;
            }
            self.told.notified().await;
        }
    }
}

impl Context {
    /// The handle of the shard that owns a partition.
    pub fn shard_of(&self, id: TopicPartition) -> &ShardHandle {
        self.shard(shard_of_partition(id, self.shards.len()))
    }

    /// The handle of a shard.
    pub fn shard(&self, id: ShardId) -> &ShardHandle {
        self.shards
            .get(id.index())
            .expect("shards are numbered from 0")
    }

    /// Starts a task of the control thread. A panic inside ends the process: an acknowledgement
    /// that never comes would be worse than a restart, which takes everything over.
    pub fn spawn(
        self: &Rc<Self>,
        part: &'static str,
        task: impl Future<Output = ()> + 'static,
    ) -> JoinHandle<()> {
        let context = self.clone();
        tokio::task::spawn_local(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                context.failure.set(format!("the {part} panicked"));
            }
        })
    }

    /// Whether WAL objects pile up: compaction commits nothing while the metadata store is lost.
    pub fn backlog_grows(&self) -> bool {
        self.backlog_is_high.get() && self.metadata_is_lost.get()
    }

    /// A partition of ours.
    pub fn owned(&self, id: TopicPartition) -> Option<Rc<Owned>> {
        self.owned.borrow().get(id).cloned()
    }

    /// What takes partitions for our session from now on.
    pub fn taker(&self) -> Taker<'_> {
        Taker {
            objects: &self.objects,
            keys: &self.keys,
            kv: &self.kv,
            space: &self.space,
            me: Owner {
                session: self.session.id,
                broker: self.session.broker,
            },
            first_sequence: self.flushed.told_end(),
            now: wall_clock(),
            mode: self.mode,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn produce_is_refused_while_any_reason_holds() {
        let flag = Arc::new(AtomicBool::new(false));
        let refusal = Refusal::new(flag.clone(), Arc::default());
        refusal.upload_fails(true);
        refusal.upload_fails(true);
        refusal.backlog_is_full(true);
        refusal.upload_fails(false);
        refusal.upload_fails(false);
        assert!(flag.load(Ordering::Relaxed));
        refusal.backlog_is_full(false);
        assert!(!flag.load(Ordering::Relaxed));
    }
}
