//! Deterministic simulator of whole clusters.
//!
//! Brokers with their shards, their control thread and their request handlers, clients, an object store, etcd and a
//! network run in one thread, from one seed. What is real and what is a model, how to run it and how to read a
//! trace: `docs/simulator.md`.

#![deny(unsafe_code)]

pub mod bug;
mod client;
mod clock;
mod cluster;
mod crash;
mod entropy;
mod etcd;
pub mod fault;
mod judge;
pub mod many;
mod nemesis;
mod network;
mod node;
mod plan;
mod random;
mod records;
mod run;
mod store;
mod trace;

pub use crash::CrashPoint;
pub use random::Random;
pub use run::{Options, Outcome, run};
