//! Stops a call of a model store before it takes effect, until the test lets it go on: this is how
//! an interleaving is directed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coord::kv::simulated::Simulated;
use coord::kv::{
    Key, KeyValue, Kv, KvError, KvFuture, KvLimits, Range, RangeReply, Revision, SessionLease,
    Span, Txn, TxnReply, Watch,
};
use futures_channel::oneshot;
use store::ObjectStore;
use store::faulty::{Fault, FaultyStore, Operation, Scripted, Sleep};

/// A gate as the call sees it: whom to tell, and what to wait for.
type Closed = (oneshot::Sender<()>, oneshot::Receiver<()>);

#[derive(Default)]
struct State {
    next: u64,
    closed: HashMap<u64, Closed>,
}

/// The gates of a faulty store. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Gates {
    state: Arc<Mutex<State>>,
}

/// One gate. Dropped, it is open.
pub(crate) struct Gate {
    reached: oneshot::Receiver<()>,
    open: oneshot::Sender<()>,
}

impl Gates {
    /// How the faulty store waits: a delay of so many nanoseconds is the gate of that number.
    pub(crate) fn sleep(&self) -> Sleep {
        let gates = self.clone();
        Arc::new(move |delay: Duration| {
            let closed = gates.with(|state| state.closed.remove(&(delay.as_nanos() as u64)));
            Box::pin(async move {
                if let Some(closed) = closed {
                    pass(closed).await;
                }
            })
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops the next call of this kind on a key with this prefix, after `skip` of them.
    pub(crate) fn stop<S: ObjectStore + Clone>(
        &self,
        store: &FaultyStore<S>,
        operation: Operation,
        prefix: &str,
        skip: u64,
    ) -> Gate {
        let (gate, closed) = Gate::new();
        let number = self.with(|state| {
            state.next += 1;
            state.closed.insert(state.next, closed);
            state.next
        });
        store.add_scripted(Scripted {
            operation,
            prefix: prefix.to_owned(),
            skip,
            fault: Fault::DelayBefore(Duration::from_nanos(number)),
        });
        gate
    }
}

async fn pass((reached, open): Closed) {
    let _ = reached.send(());
    let _ = open.await;
}

impl Gate {
    fn new() -> (Self, Closed) {
        let (told, reached) = oneshot::channel();
        let (open, opened) = oneshot::channel();
        (Self { reached, open }, (told, opened))
    }

    /// Waits until a call has been stopped.
    pub(crate) async fn reached(&mut self) {
        (&mut self.reached).await.expect("the call is made once");
    }

    /// Whether a call has been stopped.
    pub(crate) fn is_reached(&mut self) -> bool {
        matches!(self.reached.try_recv(), Ok(Some(())))
    }

    /// Lets it go on.
    pub(crate) fn open(self) {
        let _ = self.open.send(());
    }
}

/// Gates for one kind of calls of the metadata store. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Readings {
    closed: Arc<Mutex<Option<(u64, Closed)>>>,
}

impl Readings {
    /// Stops the next call, after `skip` of them.
    pub(crate) fn stop(&self, skip: u64) -> Gate {
        let (gate, closed) = Gate::new();
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some((skip, closed));
        gate
    }

    fn take(&self) -> Option<Closed> {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((skip, _)) = closed.as_mut().filter(|(skip, _)| *skip > 0) {
            *skip -= 1;
            return None;
        }
        closed.take().map(|(_, closed)| closed)
    }
}

/// The simulated metadata store as one broker reaches it: its readings and the answers of its transactions may be
/// stopped, it may be cut off, and the broker may be deaf: what it asks is done, and it is not told. Clones are one.
#[derive(Clone)]
pub(crate) struct GatedKv {
    kv: Simulated,
    readings: Readings,
    answers: Readings,
    cut: Arc<AtomicBool>,
    deaf: Arc<AtomicBool>,
    keep_alives: Arc<AtomicUsize>,
}

impl GatedKv {
    /// A store without a closed gate.
    pub(crate) fn new(kv: Simulated, readings: Readings) -> Self {
        Self {
            kv,
            readings,
            answers: Readings::default(),
            cut: Arc::default(),
            deaf: Arc::default(),
            keep_alives: Arc::default(),
        }
    }

    /// Stops the answer of the next transaction, which has taken effect then.
    pub(crate) fn stop_answer(&self) -> Gate {
        self.answers.stop(0)
    }

    /// Whoever uses this one reaches the store no more.
    pub(crate) fn cut_off(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Whoever uses this one hears nothing of the store any more, or again.
    pub(crate) fn deafen(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
    }

    /// How often a lease has been renewed.
    pub(crate) fn keep_alives(&self) -> usize {
        self.keep_alives.load(Ordering::Relaxed)
    }

    fn ask<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Simulated) -> KvFuture<T> + Send + 'static,
    ) -> KvFuture<T> {
        let this = self.clone();
        Box::pin(async move {
            if this.cut.load(Ordering::Relaxed) {
                return Err(KvError::Failed {
                    reason: "cut off".to_owned(),
                });
            }
            let answer = operation(&this.kv).await;
            match this.deaf.load(Ordering::Relaxed) {
                true => std::future::pending().await,
                false => answer,
            }
        })
    }
}

impl Kv for GatedKv {
    fn txn(&self, txn: Txn) -> KvFuture<TxnReply> {
        let closed = self.answers.take();
        let reply = self.ask(|kv| kv.txn(txn));
        Box::pin(async move {
            let reply = reply.await;
            if let Some(closed) = closed {
                pass(closed).await;
            }
            reply
        })
    }

    fn range(&self, range: Range) -> KvFuture<RangeReply> {
        let closed = self.readings.take();
        let reply = self.ask(|kv| kv.range(range));
        Box::pin(async move {
            if let Some(closed) = closed {
                pass(closed).await;
            }
            reply.await
        })
    }

    fn get(&self, key: Key) -> KvFuture<Option<KeyValue>> {
        self.ask(|kv| kv.get(key))
    }

    fn watch(&self, span: Span, from: Revision) -> KvFuture<Watch> {
        self.ask(move |kv| kv.watch(span, from))
    }

    fn grant_session(&self, ttl: Duration) -> KvFuture<SessionLease> {
        self.ask(move |kv| kv.grant_session(ttl))
    }

    fn keep_alive(&self, session: SessionLease) -> KvFuture<Duration> {
        self.keep_alives.fetch_add(1, Ordering::Relaxed);
        self.ask(move |kv| kv.keep_alive(session))
    }

    fn revoke(&self, session: SessionLease) -> KvFuture<()> {
        self.ask(move |kv| kv.revoke(session))
    }

    fn limits(&self) -> KvLimits {
        self.kv.limits()
    }
}
