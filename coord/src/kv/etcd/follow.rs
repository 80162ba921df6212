//! Watches: one stream of etcd each, regrouped into one batch per revision, reopened when it breaks.
//!
//! Invariants:
//! - a batch holds all changes of its revision within the span; revisions rise, none is left out
//!   without the watch ending with [`WatchError::Compacted`];
//! - a broken stream is reopened at the first revision that was not delivered whole, and only while
//!   etcd still keeps every change since then;
//! - the task ends when the watcher is dropped.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbWatchResponse;
use etcd_client::{WatchOptions, WatchStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};

use super::super::types::{Revision, Span};
use super::super::watch::{WatchBatch, WatchError, WatchSender};
use super::convert;
use super::fault::{Fault, Kind};
use super::members::Repeat;
use super::{MESSAGE_BYTES_MAX, Shared};

/// How long a broken watch is reopened before it ends with [`WatchError::Closed`].
pub const WATCH_REOPEN_MAX: Duration = Duration::from_secs(60);

/// Pause before the first attempt to reopen; each further one is twice as long.
const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause between attempts.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often an idle watch looks whether its watcher is still there.
const ABANDONED_CHECK: Duration = Duration::from_secs(1);

const _: () = assert!(
    REOPEN_PAUSE_MIN.as_millis() <= REOPEN_PAUSE_MAX.as_millis()
        && REOPEN_PAUSE_MAX.as_millis() < WATCH_REOPEN_MAX.as_millis(),
    "pauses grow, and a watch is reopened more than once"
);

/// Opens a stream of the changes from `next` on. `reopened`: changes before `next` have been seen, so
/// a store that has not come that far is another one, or has lost some.
pub(super) async fn open(
    shared: &Shared,
    span: &Span,
    next: Revision,
    reopened: bool,
) -> Result<WatchStream, Fault> {
    // Without this, a deletion at exactly the compacted revision can be left out by etcd before
    // 3.5.18. Asking for the state before `next` is refused if changes from `next` on may be gone.
    let before = Revision(next.0.saturating_sub(1).max(1));
    match shared.probe(span, before).await {
        Err(fault) if fault.kind == Kind::Future && !reopened => {}
        Err(fault) => return Err(fault),
        Ok(_) => {}
    }
    let Some((key, end)) = convert::bounds(span) else {
        return Err(Fault::unsent("an empty span is not watched"));
    };
    let create = |client: etcd_client::Client| {
        let options = WatchOptions::new()
            .with_range(end.clone())
            .with_start_revision(next.0.max(1))
            .with_fragment();
        let key = key.clone();
        async move {
            let client = client.watch_client();
            let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
            let mut stream = client.watch(key, Some(options)).await?;
            let first = stream.message().await?;
            let Some(first) = first else {
                return Err(Fault::unanswered("the watch was not answered"));
            };
            if first.canceled() {
                return Err(canceled(&first.0));
            }
            Ok(stream)
        }
    };
    shared.members.call(Repeat::Harmless, create).await
}

fn canceled(response: &PbWatchResponse) -> Fault {
    let reason = format!("watch canceled: {}", response.cancel_reason);
    let kind = if response.compact_revision > 0 {
        Kind::Compacted
    } else if response.created {
        // Refused at creation: the only cause is the login or what it may do.
        Kind::Token
    } else {
        Kind::Member
    };
    Fault {
        kind,
        ..Fault::unanswered(reason)
    }
}

/// What became of a stream.
enum Outcome {
    /// It broke; it may be reopened.
    Broken(Fault),
    /// The watch has ended or nobody reads it.
    Ended,
}

/// The task behind one watch.
pub(super) struct Follow {
    shared: Arc<Shared>,
    span: Span,
    /// The first revision that has not been delivered whole.
    next: Revision,
    /// `None` once the watch has ended.
    sender: Option<WatchSender>,
    /// The batch whose revision may go on in the next fragment.
    open: Option<WatchBatch>,
    _permit: OwnedSemaphorePermit,
}

impl Follow {
    pub(super) fn new(
        shared: Arc<Shared>,
        span: Span,
        next: Revision,
        sender: WatchSender,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            shared,
            span,
            next,
            sender: Some(sender),
            open: None,
            _permit: permit,
        }
    }

    /// Delivers until the watch ends.
    pub(super) async fn run(mut self, stream: Option<WatchStream>) {
        let Some(mut stream) = stream else {
            return self.idle().await;
        };
        loop {
            let Outcome::Broken(fault) = self.read(&mut stream).await else {
                return;
            };
            // The rest of an open batch never came: its revision is read again as a whole.
            self.open = None;
            tracing::debug!(next = %self.next, reason = fault.reason, "reopening a watch of etcd");
            let Some(reopened) = self.reopen(fault).await else {
                return;
            };
            stream = reopened;
        }
    }

    /// An empty span: nothing ever comes.
    async fn idle(self) {
        while !self.is_abandoned() {
            sleep(ABANDONED_CHECK).await;
        }
    }

    async fn read(&mut self, stream: &mut WatchStream) -> Outcome {
        loop {
            // Dropping the wait for a message loses nothing: what has come stays in the stream.
            let response = match timeout(ABANDONED_CHECK, stream.message()).await {
                Err(_) if self.is_abandoned() => return Outcome::Ended,
                Err(_) => continue,
                Ok(Ok(Some(response))) => response.0,
                Ok(Ok(None)) => return Outcome::Broken(Fault::unanswered("the stream ended")),
                Ok(Err(error)) => return Outcome::Broken(error.into()),
            };
            if response.canceled {
                return Outcome::Broken(canceled(&response));
            }
            if let Err(misfit) = self.take(response) {
                return Outcome::Broken(Fault::unanswered(misfit.to_string()));
            }
            if self.sender.is_none() {
                return Outcome::Ended;
            }
        }
    }

    /// Regroups the events of one response by revision.
    fn take(&mut self, response: PbWatchResponse) -> Result<(), convert::Misfit> {
        let more = response.fragment;
        for event in response.events {
            let (revision, event) = convert::event(event)?;
            if revision < self.next {
                continue;
            }
            match &mut self.open {
                Some(open) if open.revision == revision => open.events.push(event),
                Some(open) if open.revision > revision => {
                    return Err(convert::Misfit("revisions of a watch went back"));
                }
                _ => {
                    self.close_batch();
                    let events = vec![event];
                    self.open = Some(WatchBatch { revision, events });
                }
            }
        }
        // etcd never spreads a revision over responses but by fragments.
        if !more {
            self.close_batch();
        }
        Ok(())
    }

    fn close_batch(&mut self) {
        if let Some(batch) = self.open.take() {
            assert!(batch.revision >= self.next, "a revision is delivered once");
            assert!(!batch.events.is_empty(), "a batch begins with an event");
            self.next = batch.revision.next();
            self.sender = self.sender.take().and_then(|sender| sender.send(batch));
        }
    }

    /// Opens the stream again, for at most [`WATCH_REOPEN_MAX`]; `None` when the watch has ended.
    async fn reopen(&mut self, mut fault: Fault) -> Option<WatchStream> {
        let begun = Instant::now();
        let mut pause = REOPEN_PAUSE_MIN;
        loop {
            match fault.kind {
                // More came at once than is taken in: the span is read again in pages instead.
                Kind::Compacted | Kind::Future | Kind::ReplyTooLarge => {
                    let revision = self.next;
                    self.end(WatchError::Compacted { revision });
                    return None;
                }
                Kind::Denied | Kind::Invalid | Kind::TooLarge | Kind::Corrupt => break,
                Kind::Token | Kind::Member | Kind::LeaseGone => {}
            }
            if self.is_abandoned() {
                return None;
            }
            if begun.elapsed() >= WATCH_REOPEN_MAX {
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(REOPEN_PAUSE_MAX);
            match open(&self.shared, &self.span, self.next, true).await {
                Ok(stream) => return Some(stream),
                Err(found) => fault = found,
            }
        }
        tracing::warn!(next = %self.next, reason = fault.reason, "a watch of etcd is given up");
        self.end(WatchError::Closed);
        None
    }

    fn is_abandoned(&self) -> bool {
        self.sender.as_ref().is_none_or(WatchSender::is_abandoned)
    }

    fn end(&mut self, error: WatchError) {
        if let Some(sender) = self.sender.take() {
            sender.end_with(error);
        }
    }
}
