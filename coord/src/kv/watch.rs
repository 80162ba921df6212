//! Watches: what changed, in order, one batch for each transaction, over a bounded queue.
//!
//! A watcher that is too slow is not waited for: its queue overflows, it reads what is queued and
//! is then told [`WatchError::Compacted`]. It reads the span again and starts a new watch at the
//! revision of that reading + 1, as with etcd.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use super::error::KvError;
use super::types::{Key, KeyValue, Revision, Span};

/// Batches that wait for one watcher before it is told to read again.
pub const WATCH_QUEUE_BATCHES: usize = 1_024;

/// Events kept for watches that start at an earlier revision.
pub(crate) const HISTORY_EVENTS: usize = 512;

/// Bytes of keys and values kept for watches that start at an earlier revision.
pub(crate) const HISTORY_BYTES: usize = 1 << 20;

const _: () = assert!(
    HISTORY_EVENTS <= WATCH_QUEUE_BATCHES,
    "a watch from the near past does not fall behind at its start"
);

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The key was written; its mod revision is the revision of the batch.
    Put(KeyValue),
    /// The key was deleted, by a transaction or with its session.
    Delete {
        /// The key.
        key: Key,
    },
}

impl WatchEvent {
    /// The key that changed.
    pub fn key(&self) -> &Key {
        match self {
            WatchEvent::Put(stored) => &stored.key,
            WatchEvent::Delete { key } => key,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            WatchEvent::Put(stored) => stored.key.len() + stored.value.len(),
            WatchEvent::Delete { key } => key.len(),
        }
    }
}

/// What one transaction changed within the watched span. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision of the transaction.
    pub revision: Revision,
    /// Its changes, in the order in which they were made.
    pub events: Vec<WatchEvent>,
}

/// Why a watch has ended. It never goes on after one of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Changes were missed: read the span again, then watch from the revision read + 1.
    #[error("watch fell behind at revision {revision}, the span must be read again")]
    Compacted {
        /// The revision of the first change that was not delivered, or the oldest still kept.
        revision: Revision,
    },
    /// The store was closed or the connection to it lost: read again when it is back.
    #[error("watch ended, the store is closed or lost")]
    Closed,
}

/// The receiving end of a watch. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    receiver: flume::Receiver<WatchBatch>,
    end: Arc<OnceLock<WatchError>>,
}

impl Watch {
    /// Waits for the next batch. Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// [`WatchError`] when the watch has ended; what was queued is delivered first.
    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        self.receiver.recv_async().await.map_err(|_| self.ended())
    }

    /// The next batch if one waits, `None` if none does.
    ///
    /// # Errors
    /// [`WatchError`] when the watch has ended; what was queued is delivered first.
    pub fn try_next(&mut self) -> Result<Option<WatchBatch>, WatchError> {
        match self.receiver.try_recv() {
            Ok(batch) => Ok(Some(batch)),
            Err(flume::TryRecvError::Empty) => Ok(None),
            Err(flume::TryRecvError::Disconnected) => Err(self.ended()),
        }
    }

    fn ended(&self) -> WatchError {
        self.end.get().cloned().unwrap_or(WatchError::Closed)
    }
}

/// The sending end of a watch: one for each watcher, held by the side that serves it.
#[derive(Debug)]
pub(crate) struct WatchSender {
    sender: flume::Sender<WatchBatch>,
    end: Arc<OnceLock<WatchError>>,
}

impl WatchSender {
    /// A watch with room for `capacity` batches.
    pub(crate) fn channel(capacity: usize) -> (WatchSender, Watch) {
        assert!(capacity > 0, "a watch without a queue delivers nothing");
        let (sender, receiver) = flume::bounded(capacity);
        let end = Arc::new(OnceLock::new());
        (
            WatchSender {
                sender,
                end: Arc::clone(&end),
            },
            Watch { receiver, end },
        )
    }

    /// Queues a batch; gives the sender back while the watch goes on, `None` once it has ended.
    pub(crate) fn send(self, batch: WatchBatch) -> Option<WatchSender> {
        match self.sender.try_send(batch) {
            Ok(()) => Some(self),
            Err(flume::TrySendError::Full(batch)) => {
                self.end_with(WatchError::Compacted {
                    revision: batch.revision,
                });
                None
            }
            Err(flume::TrySendError::Disconnected(_)) => None,
        }
    }

    /// Whether the watcher has dropped its end, so that nobody will read what is sent.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.sender.is_disconnected()
    }

    /// Ends the watch with a reason.
    pub(crate) fn end_with(self, error: WatchError) {
        // The first reason stays; there is only one sender, so there is only one.
        let _ = self.end.set(error);
    }
}

/// The watchers of an in-process store and the latest changes, for watches from the near past.
#[derive(Debug)]
pub(crate) struct WatchHub {
    watchers: Vec<(Span, WatchSender)>,
    history: VecDeque<WatchBatch>,
    history_events: usize,
    history_bytes: usize,
    /// Changes up to this revision are no longer in the history.
    forgotten: Revision,
    queue_batches: usize,
}

impl WatchHub {
    /// A hub for a store at this revision.
    pub(crate) fn new(current: Revision, queue_batches: usize) -> Self {
        assert!(
            queue_batches > 0,
            "a watch without a queue delivers nothing"
        );
        Self {
            watchers: Vec::new(),
            history: VecDeque::new(),
            history_events: 0,
            history_bytes: 0,
            forgotten: current,
            queue_batches,
        }
    }

    /// Starts a watch of the changes at `from` and later.
    pub(crate) fn watch(
        &mut self,
        span: Span,
        from: Revision,
        current: Revision,
    ) -> Result<Watch, KvError> {
        if from <= self.forgotten {
            return Err(KvError::Compacted {
                asked: from,
                current,
            });
        }
        let (mut sender, watch) = WatchSender::channel(self.queue_batches);
        for batch in self.history.iter().filter(|batch| batch.revision >= from) {
            if let Some(part) = part_of(batch, &span) {
                match sender.send(part) {
                    Some(live) => sender = live,
                    None => return Ok(watch),
                }
            }
        }
        self.watchers.push((span, sender));
        Ok(watch)
    }

    /// Records a change and hands it to the watchers.
    pub(crate) fn publish(&mut self, batch: WatchBatch) {
        assert!(!batch.events.is_empty(), "a batch has events");
        assert!(batch.revision > self.forgotten, "revisions rise");
        let watchers = std::mem::take(&mut self.watchers);
        for (span, sender) in watchers {
            match part_of(&batch, &span) {
                None => self.watchers.push((span, sender)),
                Some(part) => {
                    if let Some(live) = sender.send(part) {
                        self.watchers.push((span, live));
                    }
                }
            }
        }
        self.history_events += batch.events.len();
        self.history_bytes += batch.events.iter().map(WatchEvent::bytes).sum::<usize>();
        assert!(
            self.history
                .back()
                .is_none_or(|last| last.revision < batch.revision),
            "history is in order"
        );
        self.history.push_back(batch);
        self.trim();
    }

    /// Forgets the history and ends every watch: a compaction.
    pub(crate) fn compact(&mut self, current: Revision) {
        self.history.clear();
        self.history_events = 0;
        self.history_bytes = 0;
        self.forgotten = current;
        for (_, sender) in self.watchers.drain(..) {
            sender.end_with(WatchError::Compacted { revision: current });
        }
    }

    fn trim(&mut self) {
        while self.history_events > HISTORY_EVENTS || self.history_bytes > HISTORY_BYTES {
            let Some(oldest) = self.history.pop_front() else {
                break;
            };
            assert!(
                oldest.revision > self.forgotten,
                "history is forgotten in its order"
            );
            assert!(
                self.history_events >= oldest.events.len(),
                "each event is counted once"
            );
            self.history_events -= oldest.events.len();
            self.history_bytes -= oldest.events.iter().map(WatchEvent::bytes).sum::<usize>();
            self.forgotten = oldest.revision;
        }
        assert!(
            !self.history.is_empty() || (self.history_events, self.history_bytes) == (0, 0),
            "what is forgotten is not counted"
        );
    }
}

/// The changes of a batch within a span; `None` if there are none.
fn part_of(batch: &WatchBatch, span: &Span) -> Option<WatchBatch> {
    let events: Vec<WatchEvent> = batch
        .events
        .iter()
        .filter(|event| span.contains(event.key()))
        .cloned()
        .collect();
    (!events.is_empty()).then_some(WatchBatch {
        revision: batch.revision,
        events,
    })
}
