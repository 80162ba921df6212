//! Cache policy of KafScale: byte budgets, S3-FIFO, single flight, read-ahead; no I/O, no clock.
//!
//! Everything here is a plain state machine that one thread owns (a shard or the control thread):
//! it takes no lock, starts nothing and allocates within named bounds. Two budgets are kept apart
//! on purpose: [`tail::TailBudget`] orders the acknowledged batches of all partitions, oldest out
//! first; [`s3_fifo::Cache`] holds chunks read back from the store. A catch-up reader fills only
//! the second, so it never evicts the tail of another partition.
//!
//! Hash maps are never iterated: no behavior depends on their order.

#![forbid(unsafe_code)]

pub mod read_ahead;
pub mod s3_fifo;
pub mod single_flight;
pub mod tail;
