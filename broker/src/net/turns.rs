//! Turns of connections that have more requests at hand than one turn may take.
//!
//! The tasks of a shard take turns in the order in which they are woken, so that fifty connections that each have a
//! buffer full of requests would let a fifty-first wait for all fifty. Who has used its time up, and has another request
//! at hand, waits here: one goes on at a time, and only when the runtime has looked for what else there is to do. Others
//! then wait for one such turn at most, however many connections are waiting here.
//!
//! A request that goes through many rows waits here between them (`api/rows.rs`).
//!
//! A client that sends its next request when it has the answer to the last one never comes here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;

use crate::runtime;

/// Time of a turn.
pub(crate) const TURN: Duration = Duration::from_micros(100);

/// Those who wait for their next turn, each connection once at most. Shard-owned.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    waiting: RefCell<VecDeque<oneshot::Sender<()>>>,
    /// Whether somebody gives turns.
    is_given: Cell<bool>,
}

impl Turns {
    /// Waits for the next turn.
    pub(crate) async fn next(self: &Rc<Self>) {
        let (turn, given) = oneshot::channel();
        self.waiting.borrow_mut().push_back(turn);
        if !self.is_given.replace(true) {
            runtime::spawn(self.clone().give());
        }
        // Whoever gives turns ends when nobody waits.
        let _ = given.await;
    }

    async fn give(self: Rc<Self>) {
        // However it ends, somebody else can begin.
        let _given = Given(self.clone());
        let mut turnstile = runtime::Turnstile::new();
        loop {
            turnstile.pass().await;
            loop {
                let Some(next) = self.waiting.borrow_mut().pop_front() else {
                    return;
                };
                // A connection that has ended meanwhile has no use for it.
                if next.send(()).is_ok() {
                    break;
                }
            }
        }
    }
}

struct Given(Rc<Turns>);

impl Drop for Given {
    fn drop(&mut self) {
        self.0.is_given.set(false);
        // Of one who panicked: they go on without turns.
        self.0.waiting.borrow_mut().clear();
    }
}

/// The turn of one connection.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    used: Duration,
}

impl Turn {
    /// A request took `time`, and another one is at hand: waits if the turn is over.
    pub(crate) async fn used(&mut self, time: Duration, turns: &Rc<Turns>) {
        self.used += time;
        if self.used >= TURN {
            self.used = Duration::ZERO;
            turns.next().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_come_between_two_turns_and_nobody_is_left_behind() {
        let run = async {
            let turns = Rc::new(Turns::default());
            let order = Rc::new(RefCell::new(Vec::new()));
            for hog in 0..3 {
                let (turns, order) = (turns.clone(), order.clone());
                runtime::spawn(async move {
                    let mut turn = Turn::default();
                    for _ in 0..4 {
                        turn.used(TURN, &turns).await;
                        order.borrow_mut().push(hog);
                    }
                });
            }
            while order.borrow().len() < 12 {
                runtime::sleep(Duration::from_millis(1)).await;
            }
            let found = order.borrow().clone();
            assert_eq!(found, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
            runtime::sleep(Duration::from_millis(1)).await;
            assert!(
                !turns.is_given.get(),
                "nobody gives turns that nobody waits for"
            );
        };
        runtime::run(runtime::Driver::Epoll, None, run).expect("a runtime");
        let ring = async {
            let turns = Rc::new(Turns::default());
            let mut turn = Turn::default();
            for _ in 0..100 {
                turn.used(TURN, &turns).await;
            }
        };
        if runtime::Driver::probe_io_uring().is_ok() {
            runtime::run(runtime::Driver::IoUring, None, ring).expect("a runtime");
        }
    }

    #[test]
    fn a_turn_is_over_when_its_time_is_used_up() {
        use futures_util::FutureExt;
        let turns = Rc::new(Turns::default());
        turns.is_given.set(true);
        let mut turn = Turn::default();
        assert!(turn.used(TURN / 2, &turns).now_or_never().is_some());
        assert!(turn.used(TURN / 2, &turns).now_or_never().is_none());
        assert!(turn.used(TURN / 2, &turns).now_or_never().is_some());
    }
}
