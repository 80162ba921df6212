//! A test S3 server: objects in memory, conditional writes that are atomic, and faults on command,
//! over the real wire.
//!
//! It is for the tests of programs that keep their truth in S3. [`Server::start`] runs one on a
//! thread of its own; [`Server::faults`] makes it fail, [`Server::requests`] tells what was
//! asked of it, [`Server::objects`] shows what it holds. The binary `kafscale-s3-server` is the same with
//! a small HTTP and JSON control listener.
//!
//! Invariants:
//! - All state is under one lock; a conditional write checks and writes in one hold of it
//!   (unless [`Conditional`] asks for a store that does not).
//! - A request whose body has arrived takes its effect, or its planned fault, whether or not its
//!   client still waits.
//! - Nothing is kept on disk.

mod clock;
mod control;
mod faults;
mod front;
mod objects;
mod operation;
mod options;
mod requests;
mod server;
mod service;
mod socket;
mod store;
mod transfer;

pub use faults::{
    ErrorCode, Fault, Faults, LONGEST_HOLD, MAX_DELAY_MS, MAX_RULES, MAX_WAITING, Rule, RuleError,
    RuleId, RuleState,
};
pub use objects::{ObjectInfo, Objects, PutError};
pub use operation::Operation;
pub use options::{Conditional, Options, RACY_GAP_MS};
pub use requests::{Outcome, Record, Requests};
pub use server::{Server, StartError};
