//! A connection of a simulated client: requests go out in order, answers come back in that order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use wire::{Request, RequestHeader, encode_request};

use crate::network::{Network, Socket};

/// Bytes read at a time.
const STEP_BYTES: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody listens.
    Refused,
    /// The connection has ended.
    Ended,
    /// It took too long.
    Late,
}

type Waiting = Rc<RefCell<VecDeque<(i32, oneshot::Sender<Bytes>)>>>;

/// An open connection. It ends when this is dropped.
pub(crate) struct Connection {
    socket: Rc<Socket>,
    waiting: Waiting,
    is_over: Rc<Cell<bool>>,
    /// Answers are not read until this time, in microseconds of the run.
    pub(crate) reads_from: Rc<Cell<u64>>,
    next: Cell<i32>,
}

/// An answer that is to come.
pub(crate) struct Reply {
    receiver: oneshot::Receiver<Bytes>,
}

impl Reply {
    /// Waits for the body of the answer (with its header).
    pub(crate) async fn within(self, time: Duration) -> Result<Bytes, Failure> {
        let answered = tokio::time::timeout(time, self.receiver).await;
        crate::clock::read();
        match answered {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(_)) => Err(Failure::Ended),
            Err(_) => Err(Failure::Late),
        }
    }
}

impl Connection {
    /// Opens a connection to a broker.
    pub(crate) async fn open(network: &Rc<Network>, broker: usize) -> Result<Rc<Self>, Failure> {
        let socket = network.connect(broker).await.ok_or(Failure::Refused)?;
        let connection = Rc::new(Self {
            socket: Rc::new(socket),
            waiting: Waiting::default(),
            is_over: Rc::default(),
            reads_from: Rc::default(),
            next: Cell::new(1),
        });
        let input = connection.socket.input.clone();
        let (waiting, is_over) = (connection.waiting.clone(), connection.is_over.clone());
        let reads_from = connection.reads_from.clone();
        spawn_local(async move {
            let mut buffer = BytesMut::new();
            while let Some(chunk) = input.read(STEP_BYTES).await {
                let now = crate::clock::read().as_micros() as u64;
                let pause = reads_from.get().saturating_sub(now);
                crate::clock::sleep(Duration::from_micros(pause)).await;
                buffer.extend_from_slice(&chunk);
                if !deliver(&mut buffer, &waiting) {
                    break;
                }
            }
            is_over.set(true);
            waiting.borrow_mut().clear();
        });
        Ok(connection)
    }

    /// Of which broker.
    pub(crate) fn broker(&self) -> usize {
        self.socket.broker
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.get() || self.socket.output.is_closed()
    }

    /// Sends a request; the order of calls is the order in which the broker sees them.
    pub(crate) fn send<'a, R: Request<'a>>(&self, request: &R, version: i16) -> Reply {
        let correlation = self.next.get();
        self.next.set(correlation.wrapping_add(1));
        let header = RequestHeader {
            api_key: R::KEY.as_i16(),
            api_version: version,
            correlation_id: correlation,
            client_id: Some("sim"),
        };
        let frame = encode_request(&header, request).expect("requests of the simulator encode");
        let (sender, receiver) = oneshot::channel();
        if !self.is_over() {
            self.waiting.borrow_mut().push_back((correlation, sender));
            self.raw(frame.to_bytes());
        }
        Reply { receiver }
    }

    /// Sends a request that has no answer, waiting until there is room for it between the sockets; ends the connection
    /// when that takes too long.
    pub(crate) async fn send_unanswered<'a, R: Request<'a>>(
        &self,
        request: &R,
        version: i16,
        time: Duration,
    ) {
        let header = RequestHeader {
            api_key: R::KEY.as_i16(),
            api_version: version,
            correlation_id: -1,
            client_id: Some("sim"),
        };
        let frame = encode_request(&header, request).expect("requests of the simulator encode");
        let writing = self.socket.output.write(frame.to_bytes());
        let written = tokio::time::timeout(time, writing).await;
        crate::clock::read();
        if !matches!(written, Ok(Ok(()))) {
            self.close();
        }
    }

    /// Sends bytes as they are; what does not fit between the sockets is lost with the connection.
    pub(crate) fn raw(&self, bytes: Bytes) {
        if self.socket.output.write(bytes).now_or_never().is_none() {
            self.close();
        }
    }

    /// Ends the connection.
    pub(crate) fn close(&self) {
        self.is_over.set(true);
        self.socket.output.close();
        self.socket.input.close();
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call<'a, R: Request<'a>>(
        &self,
        request: &R,
        version: i16,
        time: Duration,
    ) -> Result<Bytes, Failure> {
        self.send(request, version).within(time).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// Gives whole answers to those who wait; `false` when one makes no sense.
fn deliver(buffer: &mut BytesMut, waiting: &Waiting) -> bool {
    while let Some(prefix) = buffer.first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*prefix)).unwrap_or(0);
        if buffer.len() < 4 + length {
            return true;
        }
        let frame = buffer.split_to(4 + length).freeze();
        let Some((correlation, sender)) = waiting.borrow_mut().pop_front() else {
            return false;
        };
        let body = frame.slice(4..);
        if body.get(..4) != Some(&correlation.to_be_bytes()[..]) {
            return false;
        }
        drop(sender.send(body));
    }
    true
}
