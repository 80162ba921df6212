//! Closed loops of many connections on one thread, on the broker's own runtime.
//!
//! Why not a thread a connection: with 16 connections on two cores the kernel then spends its time on
//! switching between the meter's threads, on the core of the broker, and broker and floor look alike. Here one
//! ring carries all connections: their requests and receives go to the kernel together. One request is in
//! flight per connection; the clock stops when the reply's last byte is seen, before it is decoded.
//!
//! Invariants: every buffer belongs to one connection and is empty between two requests; a connection that
//! gets no reply until the window's patience is over fails the run.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::{Bytes, BytesMut};
use client::Stream;
use futures_channel::oneshot;
use runtime::tls::{Inbound, Outbound, resume};
use runtime::{Driver, Socket};

use crate::clock::Window;
use crate::consumer::{Cursor, FetchLimits};
use crate::meter::{Counter, Tally};

/// First size of a receive buffer; it grows to the largest reply.
const BUFFER_BYTES: usize = 64 * 1024;
/// Most bytes that one receive asks for.
const RECEIVE_BYTES_MAX: usize = 1 << 20;
/// A reply larger than this is taken for damage.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// Length prefix and correlation id.
const HEAD_BYTES: usize = 8;

/// A connection that fetches, with nothing in flight.
#[derive(Debug)]
pub struct Lane {
    /// Its bytes.
    pub stream: Stream,
    /// Where it is.
    pub cursor: Cursor,
    /// The bounds of its fetches.
    pub limits: FetchLimits,
}

/// The kernel interface of the meter's threads: the ring where it works.
fn driver() -> Driver {
    match Driver::probe_io_uring() {
        Ok(()) => Driver::IoUring,
        Err(_) => Driver::Epoll,
    }
}

/// Fetches on all lanes until the window is over.
///
/// # Errors
/// A connection fails, an answer cannot be decoded, or none comes.
pub fn fetch_all(lanes: Vec<Lane>, window: Window, counter: &Arc<Counter>) -> Result<Tally> {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let work = async {
        let mut ends = Vec::with_capacity(lanes.len());
        for lane in lanes {
            let (tell, end) = oneshot::channel();
            ends.push(end);
            let (tally, counter) = (tally.clone(), counter.clone());
            runtime::spawn(async move {
                // Nobody listens once another lane has failed.
                let _ = tell.send(fetch(lane, window, &tally, &counter).await);
            });
        }
        for end in ends {
            end.await
                .map_err(|_| anyhow!("a connection's task panicked"))??;
        }
        anyhow::Ok(())
    };
    let patience = window.give_up.saturating_duration_since(Instant::now());
    let done = runtime::run(driver(), None, runtime::timeout(patience, work))
        .context("start the meter's runtime")?;
    match done {
        Some(outcome) => outcome?,
        None => bail!("a fetch was not answered in time"),
    }
    Ok(tally.take())
}

async fn fetch(
    lane: Lane,
    window: Window,
    tally: &RefCell<Tally>,
    counter: &Counter,
) -> Result<()> {
    let Lane {
        stream,
        mut cursor,
        limits,
    } = lane;
    let (mut read, mut write) = adopt(stream)?;
    let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
    let mut id: i32 = 0;
    while Instant::now() < window.to {
        id = id.wrapping_add(1);
        let request = cursor.request(&limits)?.into_parts(id);
        let sent = Instant::now();
        exchange(request, id, &mut write, &mut read, &mut buffer).await?;
        let done = Instant::now();
        let brought = cursor.accept(&buffer[HEAD_BYTES / 2..], |_, _| {})?;
        buffer.clear();
        cursor.begin_anew_at_the_end();
        counter.count(brought.bytes);
        if !window.holds(done) {
            continue;
        }
        let mut tally = tally.borrow_mut();
        match brought.error {
            Some(error) => tally.fail(1, error),
            None if brought.bytes == 0 => tally.fail(1, "an answer without data"),
            None => {
                tally.latency.record(sent, done);
                tally.requests += 1;
                tally.bytes += brought.bytes;
                tally.records += brought.records;
            }
        }
    }
    if !cursor.has_session() {
        tally
            .borrow_mut()
            .note("the broker offers no fetch sessions");
    }
    Ok(())
}

/// Takes a connection over to this thread's runtime.
fn adopt(stream: Stream) -> Result<(Inbound, Outbound)> {
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    let parts = stream.into_parts();
    let (socket, session) = parts.context("another thread has the connection")?;
    let peer = socket.peer_addr()?;
    let (read, write, _) = Socket::adopt(socket, peer)?.split();
    Ok(match session {
        None => (Inbound::Plain(read), Outbound::Plain(write)),
        Some(tls) => resume(tls.session, &tls.sealed, read, write),
    })
}

/// Sends a request and receives the reply, length prefix included, into the empty `buffer`.
async fn exchange(
    request: Vec<Bytes>,
    id: i32,
    write: &mut Outbound,
    read: &mut Inbound,
    buffer: &mut BytesMut,
) -> Result<()> {
    let written = write.write_telling(request, |_| {}).await;
    written.context("send a request")?;
    let mut whole = HEAD_BYTES;
    while buffer.len() < whole {
        buffer.reserve((whole - buffer.len()).max(BUFFER_BYTES - buffer.len().min(BUFFER_BYTES)));
        let count = read.fill(buffer, RECEIVE_BYTES_MAX).await;
        let count = count.context("receive a reply")?;
        ensure!(count > 0, "the broker closed the connection");
        if whole == HEAD_BYTES && buffer.len() >= HEAD_BYTES {
            whole = reply_bytes(buffer, id)?;
        }
    }
    ensure!(buffer.len() == whole, "more than the reply came");
    Ok(())
}

/// Bytes of the reply whose head has come, length prefix included.
fn reply_bytes(head: &[u8], id: i32) -> Result<usize> {
    let (length, rest) = head.split_first_chunk::<4>().context("a head")?;
    let answered = rest.first_chunk::<4>().map(|id| i32::from_be_bytes(*id));
    ensure!(answered == Some(id), "a reply to another request");
    let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
    let sound = (HEAD_BYTES / 2..=FRAME_BYTES_MAX).contains(&length);
    ensure!(sound, "a reply of {length} bytes");
    Ok(length + HEAD_BYTES / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_as_long_as_it_says_and_answers_what_was_asked() {
        let head = [0, 0, 1, 0, 0, 0, 0, 7, 99];
        assert_eq!(reply_bytes(&head, 7).unwrap(), 260);
        assert!(reply_bytes(&head, 8).is_err());
        assert!(reply_bytes(&[0, 0, 0, 3, 0, 0, 0, 7], 7).is_err());
        assert!(reply_bytes(&[255, 0, 0, 3, 0, 0, 0, 7], 7).is_err());
    }
}
