//! Transfer: bodies on their way in and out, where limits, pacing and truncation take hold.
//!
//! A request's body is taken whole before anything else happens, so that a request once accepted
//! no longer depends on its client. Bodies are lists of [`Bytes`]; nothing is copied here.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use s3s::Body;

use crate::faults::{PIECE, Pacer, Truncate};

/// How long a client may pause while it sends a body.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the bytes that a truncated reply still has get to reach the wire.
const LINGER: Duration = Duration::from_millis(20);

/// Bytes of all bodies in flight, bounded.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    used: Arc<AtomicU64>,
    limit: u64,
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    used: Arc<AtomicU64>,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            used: Arc::default(),
            limit,
        }
    }

    fn share(&self) -> Share {
        Share {
            used: self.used.clone(),
            bytes: 0,
        }
    }

    /// Adds to a share; false if there is no room.
    fn extend(&self, share: &mut Share, bytes: u64) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        share.bytes += bytes;
        before.saturating_add(bytes) <= self.limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why a request's body was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("the body is above the limit")]
    TooLarge,
    #[error("the bodies in flight are above their limit")]
    NoRoom,
    #[error("the client paused too long")]
    Slow,
    #[error("the client went away")]
    Broken(#[source] hyper::Error),
}

/// A request's body, whole.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) chunks: Chunks,
    pub(crate) share: Share,
}

/// Takes a body of at most `limit` bytes.
pub(crate) async fn receive(
    mut body: Incoming,
    limit: u64,
    budget: &Budget,
    pacers: &[Arc<Pacer>],
) -> Result<Received, ReceiveError> {
    let mut received = Received {
        chunks: Chunks::default(),
        share: budget.share(),
    };
    loop {
        let frame = tokio::time::timeout(LONGEST_PAUSE, body.frame());
        let Some(frame) = frame.await.map_err(|_| ReceiveError::Slow)? else {
            return Ok(received);
        };
        let Ok(data) = frame.map_err(ReceiveError::Broken)?.into_data() else {
            continue;
        };
        let bytes = data.len();
        received.chunks.push(data);
        if received.chunks.bytes > limit {
            return Err(ReceiveError::TooLarge);
        }
        if !budget.extend(&mut received.share, bytes as u64) {
            return Err(ReceiveError::NoRoom);
        }
        for pacer in pacers {
            pacer.pass(bytes).await;
        }
    }
}

/// A body that is there already, in pieces.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    pieces: VecDeque<Bytes>,
    bytes: u64,
}

impl Chunks {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len() as u64;
            self.pieces.push_back(piece);
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn into_body(mut self) -> Body {
        match (self.pieces.len(), self.pieces.pop_front()) {
            (1, Some(only)) => Body::from(only),
            (_, Some(first)) => {
                self.pieces.push_front(first);
                Body::http_body(self)
            }
            _ => Body::empty(),
        }
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.bytes -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}

/// Makes a reply's body go at the pace of `pacers`.
pub(crate) fn pace(reply: Response<Body>, pacers: Vec<Arc<Pacer>>) -> Response<Body> {
    if pacers.is_empty() {
        return reply;
    }
    reply.map(|body| {
        let pieces = body.flat_map(|chunk| match chunk {
            Ok(bytes) => stream::iter(split(bytes).map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        let paced = pieces.then(move |piece| {
            let pacers = pacers.clone();
            async move {
                let piece = piece?;
                for pacer in &pacers {
                    pacer.pass(piece.len()).await;
                }
                Ok::<_, s3s::StdError>(Frame::data(piece))
            }
        });
        Body::http_body_unsync(StreamBody::new(Box::pin(paced)))
    })
}

fn split(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        (!piece.is_empty()).then_some(piece)
    })
}

/// Cuts a reply's body short; `Content-Length` stays as it is. False if the body has no more bytes
/// than are to be kept: it comes whole then.
pub(crate) fn truncate(reply: Response<Body>, cut: Truncate) -> (Response<Body>, bool) {
    let length = reply.headers().get(CONTENT_LENGTH);
    let length = length
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    let keep = cut.keep_bytes.unwrap_or(length / 2);
    if !reply.status().is_success() || keep >= length {
        return (reply, false);
    }
    let reply = reply.map(|body| {
        let cut = stream::unfold((body, keep), |(mut body, left)| async move {
            if left == 0 {
                // Without a pause the failure would overtake the bytes before it.
                tokio::time::sleep(LINGER).await;
                let error: s3s::StdError = Box::new(io::Error::other("truncated on command"));
                return Some((Err(error), (body, 0)));
            }
            let chunk = match body.next().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(error), (body, left))),
            };
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            let piece = chunk.slice(..take);
            Some((Ok(Frame::data(piece)), (body, left - take as u64)))
        });
        Body::http_body_unsync(StreamBody::new(Box::pin(cut)))
    });
    (reply, true)
}
