//! Requests that name many things: others have their turn meanwhile.
//!
//! A shard has one thread, and a request may name a hundred thousand partitions or groups. Handlers say when they come
//! to the next row; one that has used up the time of a turn waits for the next ([`crate::net::Turns`]). What cannot be cut
//! into pieces is followed by a rest (`net/heavy.rs`).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream;

use super::RequestContext;
use crate::net::TURN;

/// The clock is looked at once in so many rows.
const ROWS_A_LOOK: u32 = 8;
/// Rows of one request that are carried out side by side. A request of fewer is one batch for the control thread.
const SIDE_BY_SIDE_MAX: usize = 1_000;

/// How far a request has come in its turn.
#[derive(Debug)]
pub(super) struct Rows {
    count: Cell<u32>,
    since: Cell<Instant>,
    is_over: Cell<bool>,
}

impl Rows {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            count: Cell::new(0),
            since: Cell::new(started),
            is_over: Cell::new(false),
        }
    }
}

impl RequestContext {
    /// Comes to the next row; says whether the turn is over. Then [`Self::turn`] must be awaited before it.
    #[inline]
    pub(super) fn row(&self) -> bool {
        let rows = &self.rows;
        let count = rows.count.get().wrapping_add(1);
        rows.count.set(count);
        if count.is_multiple_of(ROWS_A_LOOK) && rows.since.get().elapsed() >= TURN {
            rows.is_over.set(true);
        }
        rows.is_over.get()
    }

    /// Waits for the next turn.
    pub(super) async fn turn(&self) {
        self.shard.connections.turns.next().await;
        self.rows.since.set(Instant::now());
        self.rows.is_over.set(false);
    }

    /// Comes to the next row, when there is time for it.
    pub(super) async fn next_row(&self) {
        if self.row() {
            self.turn().await;
        }
    }

    /// Lets others have their turn between two steps of a request, if it has used up its own.
    pub(super) async fn next_step(&self) {
        if self.rows.since.get().elapsed() >= TURN {
            self.turn().await;
        }
    }

    /// Carries out all rows, a thousand at a time, and gives what they come to in their order. Each is begun when there is
    /// time for it, one after the other: only what they wait for is waited for side by side.
    pub(super) async fn side_by_side<F: Future>(
        &self,
        rows: impl IntoIterator<Item = F>,
    ) -> Vec<F::Output> {
        let rows = rows.into_iter();
        let mut outcomes = Vec::with_capacity(rows.size_hint().0);
        let begun = stream::iter(rows).map(Box::pin).then(|row| async {
            self.next_row().await;
            Begun::of(row).await
        });
        // On the heap: an idle connection has no room for it.
        let mut done = Box::pin(begun.map(Begun::rest).buffered(SIDE_BY_SIDE_MAX));
        while let Some(outcome) = done.next().await {
            outcomes.push(outcome);
        }
        outcomes
    }
}

/// A row whose first step has been taken.
enum Begun<F: Future> {
    Done(F::Output),
    Waits(Pin<Box<F>>),
}

impl<F: Future> Begun<F> {
    async fn of(mut row: Pin<Box<F>>) -> Self {
        match poll_fn(|context| Poll::Ready(row.as_mut().poll(context))).await {
            Poll::Ready(outcome) => Self::Done(outcome),
            Poll::Pending => Self::Waits(row),
        }
    }

    async fn rest(self) -> F::Output {
        match self {
            Self::Done(outcome) => outcome,
            Self::Waits(row) => row.await,
        }
    }
}
