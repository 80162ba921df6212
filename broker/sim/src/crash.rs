//! Where brokers die: at a request to the store or to etcd, before or after it takes effect.
//!
//! What a broker leaves behind when it dies are its effects: objects put and deleted, transactions, leases. A crash between two
//! of them leaves the same as one at either, but for the answers that clients were given in between: right after an effect
//! nobody has been told of it, right before the next one everybody has. So the effects of a run, each of them before and after, are
//! all the places at which a crash can make a difference; they are numbered, and a run can be told to crash at one
//! of them ([`CrashPoint`]). The same seed does the same up to there.

use std::cell::RefCell;
use std::sync::Arc;

use crate::fault::Fault;
use crate::node::Gate;
use crate::trace::{self, trace};

/// When a broker dies at a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the request takes effect, which it never does.
    Before,
    /// After that, before its answer is under way.
    After,
}

/// A crash point of a run: `2 n` is before effect `n`, `2 n + 1` after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashPoint(pub u64);

impl CrashPoint {
    /// How many a run of so many effects has.
    pub fn count(effects: u64) -> u64 {
        effects.saturating_mul(2)
    }

    fn effect(self) -> u64 {
        self.0 / 2
    }

    fn moment(self) -> Moment {
        match self.0 % 2 {
            0 => Moment::Before,
            _ => Moment::After,
        }
    }
}

#[derive(Default)]
struct State {
    /// The present process of each broker.
    gates: Vec<Option<Arc<Gate>>>,
    chosen: Option<CrashPoint>,
    is_counted: bool,
    effects: u64,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Begins to count effects; a broker dies at the chosen point.
pub(crate) fn begin(brokers: usize, chosen: Option<CrashPoint>) {
    STATE.set(State {
        gates: vec![None; brokers],
        chosen,
        is_counted: true,
        effects: 0,
    });
}

/// Effects are not counted any more: faults have ended.
pub(crate) fn end() {
    STATE.with_borrow_mut(|state| state.is_counted = false);
}

/// Effects while they were counted.
pub(crate) fn effects() -> u64 {
    STATE.with_borrow(|state| state.effects)
}

/// A process of a broker begins.
pub(crate) fn serve(broker: usize, gate: Arc<Gate>) {
    STATE.with_borrow_mut(|state| state.gates[broker] = Some(gate));
}

/// A request is about to take effect; whether its broker dies at it.
pub(crate) fn at_effect() -> Option<Moment> {
    STATE.with_borrow_mut(|state| {
        if !state.is_counted {
            return None;
        }
        let effect = state.effects;
        state.effects += 1;
        let chosen = state.chosen.filter(|point| point.effect() == effect);
        chosen.map(CrashPoint::moment)
    })
}

/// The broker dies at its request; `actor` says to whom.
pub(crate) fn kill(actor: &str, broker: usize, fault: Fault, moment: Moment) {
    let gate = STATE.with_borrow(|state| state.gates[broker].clone());
    if let Some(gate) = gate {
        trace::fault(fault);
        let when = match moment {
            Moment::Before => "before it takes effect",
            Moment::After => "after it has taken effect",
        };
        trace!(actor, "broker {broker} dies at this request, {when}");
        gate.doom();
    }
}
