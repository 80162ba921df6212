//! The model network between clients and brokers: ordered bytes over pipes, with latency, clogs and resets.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use runtime::simulated::{Pipe, Wire};
use tokio::task::spawn_local;

use crate::clock::sleep;
use crate::fault::Fault;
use crate::random::Random;
use crate::trace::{self, trace};

/// Bytes between two sockets that wait before their writer does.
const PIPE_BYTES: usize = 256 * 1024;
/// Bytes that pass at a time.
const STEP_BYTES: usize = 64 * 1024;
/// How often a connection that is clogged looks whether it is so still.
const CLOG_EVERY: Duration = Duration::from_millis(20);
/// Connections that wait to be accepted.
const BACKLOG: usize = 64;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the broker.
    In,
    /// From the broker.
    Out,
}

/// The network.
pub(crate) struct Network {
    brokers: RefCell<Vec<Option<flume::Sender<Wire>>>>,
    random: RefCell<Random>,
    latency_ms: (u64, u64),
    /// Of each broker and way.
    clogged: RefCell<Vec<[bool; 2]>>,
    /// Connections that break, in parts of a million chunks.
    reset: Cell<u32>,
    half_open: Cell<u32>,
    /// From now on nothing is clogged any more.
    is_calm: Cell<bool>,
    next_port: Cell<u16>,
    open: RefCell<Vec<(usize, Rc<Link>)>>,
}

/// One connection.
struct Link {
    is_silent: Cell<bool>,
    pipes: [Pipe; 4],
}

impl Link {
    fn reset(&self) {
        self.pipes.iter().for_each(Pipe::reset);
    }
}

/// A connection as its client has it.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Of which broker.
    pub(crate) broker: usize,
    /// What the client sends.
    pub(crate) output: Pipe,
    /// What it receives.
    pub(crate) input: Pipe,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.output.close();
        self.input.close();
    }
}

impl Network {
    pub(crate) fn new(seed: u64, brokers: usize, latency_ms: (u64, u64)) -> Rc<Self> {
        Rc::new(Self {
            brokers: RefCell::new(vec![None; brokers]),
            random: RefCell::new(Random::of(seed, "network")),
            latency_ms,
            clogged: RefCell::new(vec![[false; 2]; brokers]),
            reset: Cell::new(0),
            half_open: Cell::new(0),
            is_calm: Cell::new(false),
            next_port: Cell::new(10_000),
            open: RefCell::default(),
        })
    }

    /// Sets how many chunks of a million break their connection, or make it silent.
    pub(crate) fn set_rates(&self, reset: u32, half_open: u32) {
        self.reset.set(reset);
        self.half_open.set(half_open);
    }

    /// Ends all faults; connections that are silent are reset.
    pub(crate) fn calm(&self) {
        self.set_rates(0, 0);
        self.is_calm.set(true);
        self.clogged.borrow_mut().fill([false; 2]);
        let silent = |link: &Rc<Link>| link.is_silent.get();
        let open = self.open.borrow();
        let links = open.iter().map(|(_, link)| link);
        links
            .filter(|link| silent(link))
            .for_each(|link| link.reset());
    }

    /// Bytes of a broker stand still, or pass again.
    pub(crate) fn clog(&self, broker: usize, way: Way, is_clogged: bool) {
        self.clogged.borrow_mut()[broker][way as usize] = is_clogged && !self.is_calm.get();
    }

    /// Resets every connection of a broker.
    pub(crate) fn reset(&self, broker: usize) {
        let open = self.open.borrow();
        let of_broker = open.iter().filter(|(of, _)| *of == broker);
        of_broker.for_each(|(_, link)| link.reset());
    }

    /// A broker listens; what it accepts arrives there.
    pub(crate) fn listen(&self, broker: usize) -> flume::Receiver<Wire> {
        let (sender, receiver) = flume::bounded(BACKLOG);
        self.brokers.borrow_mut()[broker] = Some(sender);
        receiver
    }

    /// A connection; `None` where nobody listens.
    pub(crate) async fn connect(self: &Rc<Self>, broker: usize) -> Option<Socket> {
        sleep(self.latency()).await;
        let port = self.next_port.get();
        self.next_port.set(port.checked_add(1).unwrap_or(10_000));
        let pipe = || Pipe::new(PIPE_BYTES);
        let (output, incoming, outgoing, input) = (pipe(), pipe(), pipe(), pipe());
        let wire = Wire {
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        };
        let sender = self.brokers.borrow().get(broker)?.clone()?;
        sender.try_send(wire).ok()?;
        let link = Rc::new(Link {
            is_silent: Cell::new(false),
            pipes: [
                output.clone(),
                incoming.clone(),
                outgoing.clone(),
                input.clone(),
            ],
        });
        let mut open = self.open.borrow_mut();
        open.retain(|(_, link)| !link.pipes.iter().all(Pipe::is_closed));
        open.push((broker, link.clone()));
        drop(open);
        let (there, back) = (self.clone(), self.clone());
        let (of_there, of_back) = (link.clone(), link);
        let (from, to) = (output.clone(), incoming);
        spawn_local(async move { there.carry(broker, Way::In, of_there, from, to).await });
        let (from, to) = (outgoing, input.clone());
        spawn_local(async move { back.carry(broker, Way::Out, of_back, from, to).await });
        Some(Socket {
            broker,
            output,
            input,
        })
    }

    fn latency(&self) -> Duration {
        let (low, high) = self.latency_ms;
        self.random.borrow_mut().millis(low..high + 1)
    }

    async fn carry(&self, broker: usize, way: Way, link: Rc<Link>, from: Pipe, to: Pipe) {
        while let Some(chunk) = from.read(STEP_BYTES).await {
            sleep(self.latency()).await;
            while self.clogged.borrow()[broker][way as usize] && !from.is_closed() {
                sleep(CLOG_EVERY).await;
            }
            let (breaks, falls_silent) = {
                let mut random = self.random.borrow_mut();
                (
                    random.chance(self.reset.get()),
                    random.chance(self.half_open.get()),
                )
            };
            if breaks {
                trace::fault(Fault::NetReset);
                trace!("network", "a connection of broker {broker} is reset");
                link.reset();
                return;
            }
            if falls_silent && !link.is_silent.replace(true) {
                trace::fault(Fault::NetHalfOpen);
                trace!("network", "a connection of broker {broker} falls silent");
            }
            if link.is_silent.get() {
                continue;
            }
            if to.write(chunk).await.is_err() {
                // The other side has closed: so do we.
                from.close();
                return;
            }
        }
        to.close();
    }
}
