//! One connection: a task that reads and dispatches, a task that writes.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use security::Principal;

use super::frame::{FrameError, FrameReader};
use super::reply_queue::{Reply, ReplyQueue, Slot, Write};
use super::{BUFFER_BYTES, ConnectionQuota, ConnectionState, Pace, Turn, heavy};
use crate::api;
use crate::config::ListenerId;
use crate::control::gate::Admitted;
use crate::runtime::tls::{Inbound, Outbound};
use crate::runtime::{self, ReadHalf, Socket, WriteHalf};
use crate::security::identity::Identity;
use crate::shard::Shard;

/// Most bytes of a frame of a client that has not said who it is: a token and its request.
const STRANGER_FRAME_BYTES_MAX: u64 = security::MESSAGE_BYTES_MAX as u64 + 1024;
/// How long a client may take to say who it is.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(10);
/// How long one that has failed to waits for the answer (Kafka's `connection.failed.authentication.delay.ms`).
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Serves a connection until it ends.
pub(super) async fn serve(shard: Rc<Shard>, socket: Socket, admitted: Admitted) {
    let peer = socket.peer();
    let (read, write, closer) = socket.split();
    let timeout = shard.shared.config.request.frame_timeout.as_millis() as u64;
    let state = Rc::new(ConnectionState {
        closer,
        progress_ms: Cell::new(shard.now_ms()),
        reading: Pace::new(timeout),
        unanswered: Cell::new(0),
        writing: Pace::new(timeout),
        identify_by_ms: Cell::new(u64::MAX),
        is_closed: Cell::new(false),
    });
    let replies = Rc::new(ReplyQueue::new(shard.connections.unsent.clone()));
    let listener = admitted.listener;
    let _open = Open::new(shard.clone(), state.clone(), replies.clone(), admitted);
    let opened = open(&shard, listener, read, write, &state, peer).await;
    let Some(Opened {
        inbound,
        outbound,
        certified,
    }) = opened
    else {
        return state.closer.close();
    };
    let identity = Identity::new(
        shard.shared.security.clone(),
        listener,
        peer.ip(),
        certified,
    );
    runtime::spawn(write_replies(
        shard.clone(),
        outbound,
        state.clone(),
        replies.clone(),
    ));
    let memory = shard.connections.memory.clone();
    let mut frames = FrameReader::new(inbound, memory);
    let served = read_requests(&shard, &mut frames, &state, &replies, peer, &identity).await;
    if let Err(error) = served {
        count(&shard, &error);
        tell(&shard, peer, &error);
    }
}

/// A connection that is ready for requests.
struct Opened {
    inbound: Inbound,
    outbound: Outbound,
    /// Whom the client's certificate is for.
    certified: Option<Principal>,
}

/// Sets up TLS where the listener has it; none where the client is not let in.
async fn open(
    shard: &Shard,
    listener: ListenerId,
    read: ReadHalf,
    write: WriteHalf,
    state: &ConnectionState,
    peer: std::net::SocketAddr,
) -> Option<Opened> {
    let Some(tls) = shard.shared.security.listener(listener).tls() else {
        return Some(Opened {
            inbound: Inbound::Plain(read),
            outbound: Outbound::Plain(write),
            certified: None,
        });
    };
    let by = shard.now_ms() + IDENTIFY_WITHIN.as_millis() as u64;
    state.identify_by_ms.set(by);
    // Apart from the task, which keeps the room of all that it ever waits for.
    let accepted = Box::pin(runtime::tls::accept(tls.current(), read, write));
    let accepted = match accepted.await {
        Ok(accepted) => accepted,
        Err(error) => {
            shard.metrics.tls_failed.increment();
            tracing::debug!(%peer, %error, "a TLS handshake has failed");
            return None;
        }
    };
    let certified = match &accepted.client {
        None => None,
        Some(certificate) => {
            let principal = tls.principal(certificate);
            if principal.is_none() {
                shard.metrics.tls_failed.increment();
                tracing::debug!(%peer, "no rule makes a name of the subject of a client's certificate");
                return None;
            }
            principal
        }
    };
    shard.metrics.tls_succeeded.increment();
    state.identify_by_ms.set(u64::MAX);
    Some(Opened {
        inbound: accepted.inbound,
        outbound: accepted.outbound,
        certified,
    })
}

/// Keeps a connection in its shard's list; however its task ends, a panic included, the writer ends too.
struct Open {
    shard: Rc<Shard>,
    id: u64,
    replies: Rc<ReplyQueue>,
    /// What lets its address open another when this one has ended.
    _admitted: Admitted,
}

impl Open {
    fn new(
        shard: Rc<Shard>,
        state: Rc<ConnectionState>,
        replies: Rc<ReplyQueue>,
        admitted: Admitted,
    ) -> Self {
        let id = shard.connections.next.get();
        shard.connections.next.set(id + 1);
        shard.connections.open.borrow_mut().insert(id, state);
        shard.metrics.connections.add(1);
        shard.metrics.connections_accepted.increment();
        Self {
            shard,
            id,
            replies,
            _admitted: admitted,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.replies.end();
        self.shard.connections.open.borrow_mut().remove(&self.id);
        self.shard.metrics.connections.add(-1);
    }
}

async fn read_requests(
    shard: &Rc<Shard>,
    frames: &mut FrameReader,
    state: &Rc<ConnectionState>,
    replies: &Rc<ReplyQueue>,
    peer: std::net::SocketAddr,
    identity: &Rc<Identity>,
) -> Result<(), FrameError> {
    let limits = &shard.shared.config.request;
    let quota = ConnectionQuota::default();
    let mut turn = Turn::default();
    if !identity.is_settled() {
        frames.set_limit(Some(STRANGER_FRAME_BYTES_MAX));
        let by = shard.coarse_ms() + IDENTIFY_WITHIN.as_millis() as u64;
        state.identify_by_ms.set(by);
    }
    loop {
        replies
            .room(limits.in_flight_max, limits.reply_queue_bytes as usize)
            .await;
        let next = frames.next(state, || shard.coarse_ms()).await?;
        let Some((frame, reserved)) = next else {
            return Ok(());
        };
        shard.metrics.bytes_in.add(frame.len() as u64);
        state.unanswered.set(state.unanswered.get() + 1);
        let is_stranger = !identity.is_settled();
        let began = frames.has_more().then(Instant::now);
        let is_heavy = is_heavy(&frame);
        let expected = heavy::expected(frame.len());
        if is_heavy {
            wait_for_rest(shard, expected).await;
        }
        let slot = {
            let mut work = pin!(api::dispatch(
                shard, frame, reserved, peer, &quota, identity
            ));
            if is_heavy {
                let (slot, held) = heavy::measured(work.as_mut()).await;
                let heavy = &shard.connections.heavy;
                heavy.used(held, expected, Instant::now());
                slot
            } else {
                work.await
            }
        };
        if identity.is_refused() {
            refuse(shard, peer, replies, slot).await;
            return Ok(());
        }
        if is_stranger && identity.is_settled() {
            frames.set_limit(None);
            state.identify_by_ms.set(u64::MAX);
        }
        let close = matches!(slot, Slot::Ready(Reply::Close));
        replies.push(slot);
        if close {
            return Ok(());
        }
        if let Some(began) = began {
            turn.used(began.elapsed(), &shard.connections.turns).await;
        }
        if let Some(pause) = quota.pause(shard) {
            // Bounded as any silence is: a client that has gone is noticed when it is read from.
            runtime::sleep(pause.min(limits.idle_timeout)).await;
            state.progress_ms.set(shard.coarse_ms());
        }
    }
}

/// Whether a request may hold its shard for long: a large one but Produce, whose bytes are records.
fn is_heavy(frame: &[u8]) -> bool {
    frame.len() > BUFFER_BYTES && !api::is_produce(frame)
}

/// Waits until the shard has rested from the last heavy request.
async fn wait_for_rest(shard: &Shard, expected: Duration) {
    let wait = shard.connections.heavy.place(expected, Instant::now());
    if !wait.is_zero() {
        shard.metrics.requests_held_back.increment();
        runtime::sleep(wait).await;
    }
}

/// Ends a connection whose client has not shown who it is, after a pause that guessing must wait for.
async fn refuse(shard: &Shard, peer: std::net::SocketAddr, replies: &ReplyQueue, slot: Slot) {
    shard.metrics.authentication_failed.increment();
    if shard.connections.may_warn(shard.now_ms()) {
        tracing::warn!(%peer, "a client has failed to authenticate; more are not told of for a minute");
    }
    runtime::sleep(REFUSED_PAUSE).await;
    replies.push(slot);
    replies.push(Slot::Ready(Reply::Close));
}

/// Says why a connection is closed. What is too large for the settings is for the operator to know,
/// once in a while: its client sees no more than a closed connection, and tries again for ever.
fn tell(shard: &Shard, peer: std::net::SocketAddr, error: &FrameError) {
    if matches!(error, FrameError::Proxy) && shard.connections.may_warn(shard.now_ms()) {
        tracing::warn!(%peer, %error, "closing a connection");
        return;
    }
    let is_too_large = matches!(error, FrameError::Length { length, .. } if *length > 0);
    if is_too_large && shard.connections.may_warn(shard.now_ms()) {
        tracing::warn!(%peer, %error, "closing a connection: raise KAFSCALE_MEMORY_BYTES, of which \
            one request may take its shard's half, if such requests are meant to be");
    } else {
        tracing::debug!(%peer, %error, "closing a connection");
    }
}

fn count(shard: &Shard, error: &FrameError) {
    match error {
        FrameError::Length { length, .. } if *length > 0 => {
            shard.metrics.rejected_too_large.increment();
        }
        FrameError::NotProduce { .. } => shard.metrics.rejected_too_large.increment(),
        FrameError::Length { .. } | FrameError::Truncated { .. } | FrameError::Proxy => {
            shard.metrics.rejected_malformed.increment();
        }
        FrameError::Io(_) => shard.metrics.closed_error.increment(),
    }
}

async fn write_replies(
    shard: Rc<Shard>,
    mut write: Outbound,
    state: Rc<ConnectionState>,
    replies: Rc<ReplyQueue>,
) {
    loop {
        let Write::Parts(parts, answered) = replies.next().await else {
            break;
        };
        state.unanswered.set(state.unanswered.get() - answered);
        if parts.is_empty() {
            continue;
        }
        let bytes: usize = parts.iter().map(bytes::Bytes::len).sum();
        state.writing.begin(shard.coarse_ms());
        let moved = |bytes| state.writing.moved(bytes, shard.coarse_ms());
        let written = write.write_telling(parts, moved).await;
        state.writing.stop();
        state.progress_ms.set(shard.coarse_ms());
        replies.sent(bytes);
        shard.metrics.bytes_out.add(bytes as u64);
        if let Err(error) = written {
            tracing::debug!(%error, "a reply could not be sent");
            break;
        }
    }
    // Wakes the reading half too: the kernel ends its pending read.
    replies.abandon();
    state.closer.close();
}
