//! The sockets of the Kafka listeners: each has one that deals connections to all shards, and with direct routing one of
//! each shard.
//!
//! Control thread. Bound without SO_REUSEPORT, so that a second broker on the port is refused and
//! does not silently take half of the clients.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::gate::{Gate, Refusal};
use super::proxied::{self, NAMELESS_MAX, Nameless};
use crate::config::{KafkaListener, UNNAMED};
use crate::metrics::ShardMetrics;
use crate::shard::{ShardHandle, ShardMsg};

/// Pause after an accept that failed because the process or the machine is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that wait in the kernel's queue until they are accepted (as far as `net.core.somaxconn` allows). Beyond it
/// the kernel drops what a client sends to connect, and the client tries again only after a second, then two, then four:
/// when all clients of a broker come back at once, or come faster than they are let in, they are better off in the queue.
const BACKLOG: u32 = 4_096;
/// Failures in a row of which one is logged.
const LOG_EVERY: u64 = 100;

/// What sets the address.
const ADDRESS: &str = "--broker-addr or KAFSCALE_BROKER_ADDR";
/// What sets the ports of shards.
const DIRECT_PORT: &str = "--direct-port or KAFSCALE_DIRECT_PORT";
/// The same of listeners with names.
const NAMED: (&str, &str) = (
    "--listeners or KAFSCALE_LISTENERS",
    "--listener-direct-ports or KAFSCALE_LISTENER_DIRECT_PORTS",
);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} for Kafka clients: {cause}. {advice}")]
pub struct BindError {
    /// The address.
    addr: SocketAddr,
    /// What the kernel said.
    cause: io::Error,
    /// What to do.
    advice: String,
}

impl BindError {
    fn new(addr: SocketAddr, (addresses, setting): (&str, &str), cause: io::Error) -> Self {
        let port = addr.port();
        let advice = match cause.kind() {
            io::ErrorKind::AddrInUse => format!(
                "Another process listens on port {port}: stop it, or choose another port with \
                 {setting}"
            ),
            io::ErrorKind::PermissionDenied => {
                format!("Port {port} needs privileges: choose one from 1024 up with {setting}")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!(
                    "{} is no address of this machine: set {addresses}",
                    addr.ip()
                )
            }
            _ => format!("Set another address with {addresses}"),
        };
        Self {
            addr,
            cause,
            advice,
        }
    }
}

/// One socket, bound and not yet accepting.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    addr: SocketAddr,
}

/// The sockets of one listener.
#[derive(Debug)]
pub struct Sockets {
    /// The one of all shards.
    pub all: Rc<Listener>,
    /// With direct routing one of each shard, in order; else none.
    pub shards: Vec<Rc<Listener>>,
}

impl Sockets {
    /// Binds what the settings say of a listener. Clients that connect from now on wait in the kernel's queue.
    ///
    /// # Errors
    /// [`BindError`], whose text says what to do.
    pub fn bind(listener: &KafkaListener, shards: usize) -> Result<Self, BindError> {
        let (addresses, ports) = match listener.name.as_str() {
            UNNAMED => (ADDRESS, DIRECT_PORT),
            _ => NAMED,
        };
        let addr = listener.addr;
        let all = Rc::new(Listener::bind(addr, (addresses, addresses))?);
        let shards = match listener.direct_port {
            Some(first) => Listener::bind_shards(addr, first, shards, (addresses, ports))?,
            None => Vec::new(),
        };
        Ok(Self { all, shards })
    }

    /// The addresses of the shards.
    pub fn shard_addresses(&self) -> Vec<SocketAddr> {
        self.shards.iter().map(|it| it.addr()).collect()
    }
}

impl Listener {
    /// Binds a port for each of `shards` at the IP address of `addr`, from port `first` on, or free ones
    /// if that is 0.
    fn bind_shards(
        addr: SocketAddr,
        first: u16,
        shards: usize,
        settings: (&str, &str),
    ) -> Result<Vec<Rc<Self>>, BindError> {
        let mut listeners = Vec::with_capacity(shards);
        for shard in 0..shards {
            let shard = u16::try_from(shard).unwrap_or(u16::MAX);
            let port = match first {
                0 => Some(0),
                first => first.checked_add(shard),
            };
            let failed = |cause| BindError::new(addr, settings, cause);
            let beyond = || failed(io::Error::other("the last shard has no port below 65536"));
            let addr = SocketAddr::new(addr.ip(), port.ok_or_else(beyond)?);
            let listener = Self::bind(addr, settings)?;
            listeners.push(Rc::new(listener));
        }
        Ok(listeners)
    }

    /// Binds an address; `settings` are what sets it, and what sets its port.
    fn bind(addr: SocketAddr, settings: (&str, &str)) -> Result<Self, BindError> {
        let failed = |cause| BindError::new(addr, settings, cause);
        let listener = listen(addr).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, addr })
    }

    /// The address that it is bound to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts for ever, and deals each socket to the shard of `dealer` with the fewest connections.
    pub async fn serve(self: Rc<Self>, dealer: Dealer) {
        let mut dealer = dealer;
        let mut failures = 0_u64;
        let mut nameless = FuturesUnordered::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(received) = nameless.next() => {
                    match received {
                        Ok((stream, client)) => dealer.connect(stream, client),
                        Err((proxy, why)) => dealer.gate.nameless(proxy, &why),
                    }
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    failures = 0;
                    if !dealer.gate.is_proxy(peer) {
                        dealer.connect(stream, peer);
                    } else if nameless.len() < NAMELESS_MAX {
                        nameless.push(proxied::receive(stream, peer));
                    } else {
                        dealer.gate.nameless(peer, &Nameless::Crowded);
                    }
                    // Those that come meanwhile wait in the kernel's queue.
                    let pause = dealer.gate.pause();
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                Err(error) => {
                    if failures.is_multiple_of(LOG_EVERY) {
                        tracing::error!(%error, failures, "connections cannot be accepted now; a \
                            higher limit of open files (ulimit -n) may be needed");
                    }
                    failures += 1;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A socket as tokio makes them, but for the length of its queue.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A broker that is started again must not wait for the connections of the one before it to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Deals sockets to shards.
pub struct Dealer {
    shards: Arc<[ShardHandle]>,
    metrics: Vec<Arc<ShardMetrics>>,
    /// Where the search starts, so that shards with as many connections take turns.
    next: usize,
    connections_max: usize,
    gate: Gate,
}

impl Dealer {
    /// A dealer to these shards, of at most `connections_max` connections each, behind a gate.
    pub fn new(
        shards: Arc<[ShardHandle]>,
        metrics: Vec<Arc<ShardMetrics>>,
        connections_max: usize,
        gate: Gate,
    ) -> Self {
        assert!(
            shards.len() == metrics.len(),
            "every shard has its counters"
        );
        assert!(!shards.is_empty(), "a broker has shards");
        Self {
            shards,
            metrics,
            next: 0,
            connections_max,
            gate,
        }
    }

    /// Accepts the connections of a simulation, until there are no more.
    #[cfg(feature = "simulation")]
    pub async fn serve_simulated(
        mut self,
        wires: flume::Receiver<crate::runtime::simulated::Wire>,
    ) {
        while let Ok(wire) = wires.recv_async().await {
            let peer = wire.peer;
            if let Some((wire, admitted)) = self.gate.admit(wire, peer) {
                let accept = move |shard: &Rc<crate::shard::Shard>| {
                    crate::net::accept_simulated(shard, wire, admitted);
                };
                self.deal(ShardMsg::Run(Box::new(accept)), peer);
            }
        }
    }

    /// Deals the connection of a client, if it may open one.
    fn connect(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Some((stream, admitted)) = self.gate.admit(stream, peer) else {
            return;
        };
        match stream.into_std() {
            Ok(stream) => self.deal(ShardMsg::Connect(stream, peer, admitted), peer),
            Err(error) => tracing::debug!(%error, "a connection was gone at once"),
        }
    }

    fn deal(&mut self, connect: ShardMsg, peer: SocketAddr) {
        let open = |shard: &usize| self.metrics[*shard].connections.get();
        let count = self.shards.len();
        let turns = (0..count).map(|step| (self.next + step) % count);
        let Some(least) = turns.min_by_key(open) else {
            return;
        };
        self.next = (least + 1) % count;
        if usize::try_from(open(&least)).unwrap_or(0) >= self.connections_max {
            self.gate.refused(peer, Refusal::Shards);
            return;
        }
        if self.shards[least].try_send(connect).is_err() {
            self.gate.refused(peer, Refusal::Mailbox);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Nobody accepts meanwhile: with a shorter queue the kernel drops the packets of those that are too many, and they
    /// try again after a second.
    #[tokio::test]
    async fn a_thousand_clients_may_come_at_once() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let began = Instant::now();
        let clients = (0..1_000).map(|_| std::net::TcpStream::connect(addr).unwrap());
        let clients: Vec<_> = clients.collect();
        let took = began.elapsed();
        assert!(took < Duration::from_millis(900), "{took:?}");
        drop(clients);
    }
}
