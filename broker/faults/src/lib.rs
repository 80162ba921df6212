//! A cluster through crashes, cuts and slow stores, seen by its clients: [`run`] makes histories,
//! with brokers, etcd and an S3 server that are killed, stopped and cut off, and the crate
//! `kafscale-check` judges them.
//!
//! The run owns every process that it starts: none outlives it, however it ends.

pub mod run;
