//! Who may open a connection: as many as the quota and the bound of its address and the namespace allow, and no more a
//! second than the shards can take.
//!
//! Control thread; the shards only hold what says that a connection is open ([`Admitted`]). Invariant: a
//! connection counts for its address and for the namespace from the moment it is admitted until its socket is closed, wherever that
//! happens.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use security::proxy::Networks;

use super::context::Context;
use super::quotas::Quotas;
use crate::config::{Config, ListenerId};
use crate::metadata::SharedMetadata;
use crate::metrics::ControlMetrics;
use crate::namespace::share;
use crate::quota::{Paid, Rate};

/// Refused connections that are kept open for a while at most; more are closed at once.
const REFUSED_MAX: usize = 1_024;
/// What the shards may be given at once, as time at their rate: a moment's rush waits for nothing.
const BURST: Duration = Duration::from_secs(1);
/// How often the operator is told of proxies that send no header.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Addresses that are known before the first look for those without a connection.
const ADDRESSES_LOOK_AT: usize = 1_024;

/// A connection that counts for its address until this is dropped, and how it came. Sent to its shard with the socket.
#[derive(Debug)]
pub struct Admitted {
    /// How many hold it is what is read.
    _holder: Arc<()>,
    /// The same, of all connections.
    _one_of_all: Option<Arc<()>>,
    /// By which listener it came.
    pub(crate) listener: ListenerId,
}

/// Why a connection is closed as it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its address holds as many as one may.
    Address,
    /// The namespace holds as many as it may, or this broker its share of them.
    Namespace,
    /// Every shard holds as many as it may.
    Shards,
    /// The shard takes no messages: it ends, or is far behind.
    Mailbox,
}

/// Connections by address. The count is that of the holders, so that a shard lets one go without a message.
#[derive(Debug)]
struct Addresses {
    most: usize,
    held: HashMap<IpAddr, Arc<()>>,
    look_at: usize,
}

impl Addresses {
    fn new(most: usize) -> Self {
        Self {
            most,
            held: HashMap::new(),
            look_at: ADDRESSES_LOOK_AT,
        }
    }

    /// Counts one more, unless its address has its most.
    fn admit(&mut self, address: IpAddr) -> Option<Admitted> {
        if self.held.len() >= self.look_at {
            self.held
                .retain(|_, holders| Arc::strong_count(holders) > 1);
            self.look_at = ADDRESSES_LOOK_AT.max(self.held.len() * 2);
        }
        let holders = self.held.entry(address.to_canonical()).or_default();
        let is_free = Arc::strong_count(holders) <= self.most;
        is_free.then(|| Admitted {
            _holder: holders.clone(),
            _one_of_all: None,
            listener: ListenerId::FIRST,
        })
    }
}

/// All connections of this broker, where the namespace has a bound. Counted as those of an address.
struct All {
    most: usize,
    held: Arc<()>,
    /// Tells how many brokers share the bound.
    metadata: SharedMetadata,
    /// The listener among several by which brokers ask each other. Its connections count and are taken all the same,
    /// as Kafka's `max.connections` has it: clients must not keep brokers and their operator out.
    protected: Option<ListenerId>,
}

impl All {
    /// None where the namespace has no bound.
    fn new(context: &Context) -> Option<Self> {
        Some(Self {
            most: context.config.namespace.connections_max?,
            held: Arc::default(),
            metadata: context.metadata.clone(),
            protected: context.config.protected_listener(),
        })
    }

    /// Counts one more, unless there are as many as may be.
    fn admit(&self, listener: ListenerId) -> Option<Arc<()>> {
        let most = share(self.most, self.metadata.load().brokers.len());
        let is_free = Arc::strong_count(&self.held) <= most;
        let may = is_free || self.protected == Some(listener);
        may.then(|| self.held.clone())
    }
}

/// New connections of all listeners.
#[derive(Debug)]
struct Arrivals {
    rate: Rate,
    paid: Cell<Paid>,
}

impl Arrivals {
    fn new(config: &Config) -> Self {
        let a_second = config.shard.connections_per_second_max * config.shards();
        Self {
            rate: Rate::new(a_second as f64, BURST),
            paid: Cell::new(Paid::LONG_AGO),
        }
    }

    /// Counts one; gives how long nobody else is to be taken.
    fn arrived(&self, now: Duration) -> Duration {
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let (paid, owed) = self.rate.charge(self.paid.get(), 1.0, now);
        self.paid.set(paid);
        Duration::from_nanos(u64::try_from(owed).unwrap_or(0))
    }
}

/// Keeps connections out. One for all listeners of a broker; each has a clone.
#[derive(Clone)]
pub struct Gate {
    listener: ListenerId,
    quotas: Rc<Quotas>,
    metrics: Arc<ControlMetrics>,
    /// Refused connections that are still open.
    refused: Rc<Cell<usize>>,
    addresses: Rc<RefCell<Addresses>>,
    all: Option<Rc<All>>,
    arrivals: Rc<Arrivals>,
    since: Instant,
    /// Who says first for whom it comes.
    proxies: Rc<Networks>,
    /// From when on a wrong header may be told of again.
    quiet_until: Rc<Cell<Duration>>,
}

impl Gate {
    /// The gate of a broker.
    pub fn new(context: &Context) -> Self {
        let most = context.config.shard.connections_per_address_max;
        Self {
            listener: ListenerId::FIRST,
            quotas: context.quotas.clone(),
            metrics: context.metrics.clone(),
            refused: Rc::default(),
            addresses: Rc::new(RefCell::new(Addresses::new(most))),
            all: All::new(context).map(Rc::new),
            arrivals: Rc::new(Arrivals::new(&context.config)),
            since: Instant::now(),
            // Where they cannot be read the settings are refused.
            proxies: Rc::new(context.config.trusted_proxies().unwrap_or_default()),
            quiet_until: Rc::default(),
        }
    }

    /// Whether a connection from here begins with a PROXY header.
    pub(super) fn is_proxy(&self, peer: SocketAddr) -> bool {
        self.proxies.contains(peer.ip())
    }

    /// Tells of a proxy that has not said for whom it comes, once in a while.
    pub(super) fn nameless(&self, peer: SocketAddr, why: &super::proxied::Nameless) {
        self.metrics.refused_proxied.increment();
        let now = self.since.elapsed();
        if now >= self.quiet_until.get() {
            self.quiet_until.set(now + WARN_EVERY);
            tracing::warn!(%peer, %why, "a proxy's connection is closed; more are not told of for a minute");
        } else {
            tracing::debug!(%peer, %why, "a proxy's connection is closed");
        }
    }

    /// The same gate, for connections that come by a listener.
    #[must_use]
    pub fn at(&self, listener: ListenerId) -> Self {
        Self {
            listener,
            ..self.clone()
        }
    }

    /// The connection, if its address may open it now. One that comes too fast is closed when it may come: a client that
    /// were told at once would only try again.
    pub(super) fn admit<S: 'static>(&self, stream: S, peer: SocketAddr) -> Option<(S, Admitted)> {
        if let Err(wait) = self.quotas.admit(peer.ip()) {
            self.metrics.throttled_connections.increment();
            tracing::debug!(%peer, "a connection is refused: the quota of its address is used up");
            self.close_later(stream, wait);
            return None;
        }
        let Some(admitted) = self.addresses.borrow_mut().admit(peer.ip()) else {
            self.refused(peer, Refusal::Address);
            return None;
        };
        let listener = self.listener;
        let one_of_all = match &self.all {
            None => None,
            Some(all) => match all.admit(listener) {
                Some(held) => Some(held),
                None => {
                    self.refused(peer, Refusal::Namespace);
                    return None;
                }
            },
        };
        let admitted = Admitted {
            listener,
            _one_of_all: one_of_all,
            ..admitted
        };
        Some((stream, admitted))
    }

    /// How long nobody is to be taken after the connection that has just arrived.
    pub(super) fn pause(&self) -> Duration {
        let pause = self.arrivals.arrived(self.since.elapsed());
        if !pause.is_zero() {
            self.metrics.accept_pauses.increment();
        }
        pause
    }

    /// Counts and tells of a connection that is closed as it arrives.
    pub(super) fn refused(&self, peer: SocketAddr, why: Refusal) {
        match why {
            Refusal::Address => self.metrics.refused_address.increment(),
            Refusal::Namespace => self.metrics.refused_namespace.increment(),
            Refusal::Shards | Refusal::Mailbox => self.metrics.refused_shards.increment(),
        }
        tracing::debug!(%peer, ?why, "a connection is refused: there are too many");
    }

    fn close_later<S: 'static>(&self, stream: S, wait: Duration) {
        if self.refused.get() >= REFUSED_MAX {
            return;
        }
        self.refused.set(self.refused.get() + 1);
        let refused = self.refused.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            drop(stream);
            refused.set(refused.get() - 1);
        });
    }
}

#[cfg(test)]
mod tests {
    use segment::BrokerId;

    use super::*;
    use crate::metadata::Metadata;
    use crate::node::BrokerNode;

    #[test]
    fn a_broker_holds_its_share_and_the_listener_of_brokers_is_never_shut() {
        let settings = [
            ("namespace.connections_max", "5"),
            ("listeners.bind", "IN://127.0.0.1:1,OUT://127.0.0.1:2"),
            ("listeners.protocols", "IN:PLAINTEXT,OUT:PLAINTEXT"),
            ("listeners.inter_broker", "OUT"),
        ];
        let config = Config::with(&settings).unwrap();
        let [inner, outer] = [0, 1].map(|at| ListenerId::all(2).nth(at).unwrap());
        assert_eq!(config.protected_listener(), Some(outer));
        let brokers = |count: i32| {
            let node = |id| BrokerNode {
                id: BrokerId::new(id),
                listeners: Vec::new(),
                rack: None,
            };
            let nodes = (0..count).map(node).collect();
            Arc::new(Metadata::new(String::new(), BrokerId::ZERO, nodes, []))
        };
        let all = All {
            most: 5,
            held: Arc::default(),
            metadata: Arc::new(arc_swap::ArcSwap::new(brokers(2))),
            protected: config.protected_listener(),
        };
        let mut held: Vec<_> = std::iter::repeat_with(|| all.admit(inner))
            .map_while(|it| it)
            .collect();
        assert_eq!(held.len(), 3, "half, rounded up");
        assert!(all.admit(outer).is_some());
        all.metadata.store(brokers(1));
        held.extend(all.admit(inner));
        held.extend(all.admit(outer));
        assert_eq!(held.len(), 5);
        assert!(all.admit(inner).is_none(), "those of the other one count");
        held.pop();
        assert!(all.admit(inner).is_some());
        let alone = Config::with(&[("listeners.bind", "PLAINTEXT://127.0.0.1:1")]).unwrap();
        assert_eq!(alone.protected_listener(), None);
    }

    fn address(last: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + last).to_be_bytes())
    }

    #[test]
    fn an_address_holds_so_many_until_some_are_closed() {
        let mut addresses = Addresses::new(3);
        let mut held: Vec<Admitted> = (0..3).filter_map(|_| addresses.admit(address(1))).collect();
        assert_eq!(held.len(), 3);
        assert!(addresses.admit(address(1)).is_none());
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert!(addresses.admit(mapped).is_none(), "it is the same");
        assert!(addresses.admit(address(2)).is_some(), "another has its own");
        held.pop();
        assert!(addresses.admit(address(1)).is_some());
    }

    #[test]
    fn addresses_without_a_connection_are_forgotten_and_others_are_not() {
        let mut addresses = Addresses::new(1);
        let held = addresses.admit(address(0));
        for last in 1..100_000 {
            assert!(addresses.admit(address(last)).is_some());
            assert!(addresses.held.len() <= ADDRESSES_LOOK_AT);
        }
        assert!(addresses.admit(address(0)).is_none());
        drop(held);
        assert!(addresses.admit(address(0)).is_some());
    }

    #[test]
    fn connections_come_at_the_rate_of_the_shards_after_a_moments_rush() {
        let settings = [
            ("shard.connections_per_second_max", "50"),
            ("shard.count", "2"),
        ];
        let arrivals = Arrivals::new(&Config::with(&settings).unwrap());
        let mut now = Duration::from_secs(5);
        let rush = (0..1_000).take_while(|_| arrivals.arrived(now).is_zero());
        assert_eq!(rush.count(), 100);
        let began = now;
        for _ in 0..200 {
            now += arrivals.arrived(now);
        }
        assert!(
            (now - began).as_millis().abs_diff(2_000) < 50,
            "{:?}",
            now - began
        );
    }
}
