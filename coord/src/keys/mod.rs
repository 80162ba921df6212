//! The keys under `/kafscale/{cluster}/`: one file for each type, with layout, record and codec.
//!
//! Records are JSON objects with a version `"v"`, readable with `etcdctl get`. A reader ignores
//! fields that it does not know and refuses a version that it does not know. [`plan`] builds the
//! guarded transactions on them as pure functions; the table of keys is in `coord/README.md`.

mod codec;
mod space;

#[cfg(test)]
mod record_tests;

pub mod acl;
pub mod broker;
pub mod broker_config;
pub mod cluster;
pub mod committed;
pub mod decoy;
pub mod drain;
pub mod floor;
pub mod group;
pub mod group_offset;
pub mod partition;
pub mod pin;
pub mod plan;
pub mod processor;
pub mod producer_block;
pub mod quota;
pub mod recovery;
pub mod restore;
pub mod scram;
pub mod session;
pub mod session_record;
pub mod slot;
pub mod tombstone;
pub mod topic;
pub mod topic_generation;

pub use codec::{CodecError, Record, Seen, decode, encode, seen};
pub use space::{KeyError, Keyspace, KeyspaceError, escape, unescape};
