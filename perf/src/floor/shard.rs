//! A shard of the floor server on the broker's runtime: reads frames, writes replies, knows no protocol.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BytesMut};
use runtime::tls::{self, Inbound, Outbound};
use runtime::{Closer, Driver, Socket};

use super::ShardStart;
use super::answers::{Session, Shared};

/// Room for small requests, as the broker gives.
const BUFFER_BYTES: usize = 16 * 1024;
/// A frame larger than this is taken for damage.
pub(super) const FRAME_BYTES_MAX: usize = 1 << 30;
/// Length prefix of a frame.
pub(super) const PREFIX_BYTES: usize = 4;
/// How long the end waits for connections that were shut down, in steps of a millisecond.
const END_STEPS: u32 = 500;

/// Runs a shard until its mailbox is closed.
pub(super) fn run(start: ShardStart, driver: Driver) {
    let started = start.started.clone();
    let failed = match runtime::run(driver, start.cpu, main(start)) {
        Ok(()) => return,
        Err(error) => error.to_string(),
    };
    // Nobody listens any more where the shard had started.
    let _ = started.send(Err(failed));
}

async fn main(start: ShardStart) {
    let ShardStart {
        sockets,
        open,
        shared,
        started,
        ..
    } = start;
    let _ = started.send(Ok(()));
    let connections = Rc::new(Connections::default());
    while let Ok(stream) = sockets.recv_async().await {
        let guard = Counted(open.clone());
        // A client that is gone again sees why.
        let socket = stream
            .peer_addr()
            .and_then(|peer| Socket::adopt(stream, peer));
        let Ok(socket) = socket else {
            continue;
        };
        let serving = serve(socket, shared.clone(), connections.clone());
        runtime::spawn(async move {
            let _guard = guard;
            // A connection that fails ends alone; its client sees the end of the stream.
            let _ = serving.await;
        });
    }
    connections.end().await;
}

/// One socket less when dropped.
pub(super) struct Counted(pub(super) Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The open connections of this shard, to end them.
#[derive(Default)]
struct Connections {
    open: RefCell<HashMap<u64, Closer>>,
    next: Cell<u64>,
}

impl Connections {
    async fn end(&self) {
        self.open.borrow().values().for_each(Closer::close);
        for _ in 0..END_STEPS {
            if self.open.borrow().is_empty() {
                return;
            }
            runtime::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Takes a connection off the list before its socket is closed.
struct Listed(Rc<Connections>, u64);

impl Listed {
    fn new(connections: Rc<Connections>, closer: Closer) -> Self {
        let id = connections.next.get();
        connections.next.set(id + 1);
        connections.open.borrow_mut().insert(id, closer);
        Self(connections, id)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.0.open.borrow_mut().remove(&self.1);
    }
}

async fn serve(socket: Socket, shared: Shared, connections: Rc<Connections>) -> Result<()> {
    let (read, write, closer) = socket.split();
    let _listed = Listed::new(connections, closer);
    let (mut read, mut write) = match &shared.tls {
        None => (Inbound::Plain(read), Outbound::Plain(write)),
        Some(config) => {
            let accepted = tls::accept(config.clone(), read, write).await?;
            (accepted.inbound, accepted.outbound)
        }
    };
    let mut session = Session::new(shared);
    let mut buffer = BytesMut::new();
    while let Some(frame) = next_frame(&mut read, &mut buffer).await? {
        let Some(reply) = session.answer(&frame)? else {
            continue;
        };
        if let Some(pause) = reply.pause {
            runtime::sleep(pause).await;
        }
        write.write_telling(reply.parts, |_| {}).await?;
    }
    Ok(())
}

/// The next frame without its prefix; none at the end of the stream.
async fn next_frame(read: &mut Inbound, buffer: &mut BytesMut) -> Result<Option<BytesMut>> {
    while buffer.len() < PREFIX_BYTES {
        buffer.reserve(BUFFER_BYTES);
        if read.fill(buffer, BUFFER_BYTES).await? == 0 {
            return Ok(None);
        }
    }
    let length = usize::try_from(buffer.get_i32()).context("a negative length")?;
    ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
    while buffer.len() < length {
        let missing = length - buffer.len();
        buffer.reserve(missing);
        if read.fill(buffer, missing).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(buffer.split_to(length)))
}
