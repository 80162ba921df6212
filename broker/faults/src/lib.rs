//! What a cluster promises, checked from outside: [`checker`] judges a history of clients, and
//! [`run`] makes one, with brokers, etcd and an S3 server that are killed, stopped and cut off.
//!
//! The checker is pure and knows nothing of Kafka, of sockets or of clocks. The run owns every
//! process that it starts: none outlives it, however it ends.

pub mod checker;
pub mod run;
