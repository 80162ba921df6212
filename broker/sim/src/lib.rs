//! Deterministic simulator of the write path: the same partition logs, flush scheduler and WAL format that run
//! in production, under a world of clients, a store and crashes that one seed decides.
//!
//! What a run checks, after every crash and at its end:
//! - everything acknowledged is in the log, at the offset that was acknowledged, with the same bytes;
//! - nothing of an idempotent producer is there twice;
//! - the high watermark never falls, over restarts too, and offsets have no gap.
//!
//! The world: uploads end in any order, late, or after their session is dead; replies get lost; clients send
//! again what was not answered; the process dies between any two events. [`Bug`] plants defects that a run
//! must find, so that the simulator itself is tested.

#![forbid(unsafe_code)]

mod random;
mod store;
mod world;

pub use random::Random;
pub use world::{Bug, Outcome, Violation, run};
