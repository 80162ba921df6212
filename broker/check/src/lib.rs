//! Judges a history of clients against what a cluster promises.
//!
//! The names of the anomalies are those of Jepsen's checker for Kafka where it has one
//! ([`Anomaly`] says what each means here). There are no transactions, so that
//! - an "operation" is one batch to one partition, or one answer to one fetch of one partition:
//!   `int-...` looks inside of it, the name without `int-` looks from one to the next;
//! - **G0** (a cycle of writes) is left with the order of real time: who sends after an
//!   acknowledgment stands behind it;
//! - **G1a** (aborted read) is a value that was read though no attempt to write it left its client;
//! - **G1c** (circular flow) is a value that was read before its write began;
//! - cycles through several partitions are no anomalies: a produce request promises nothing across
//!   partitions.
//!
//! What must hold beside that:
//! - **Nothing acknowledged is lost**, and nothing that anybody has read.
//! - **Dense.** A full read holds one record at each offset from the log start to its end. There is no
//!   exception for offsets that were never acknowledged: a taker goes on at the committed end, so that
//!   an offset is given again rather than left out. Only records with keys ([`Event::Keyed`]) may be
//!   gone: where a later one of the key stands in the log, and one that deletes its key alone when
//!   nothing before it of that key is left.
//! - **Nothing goes back**: positions, high watermarks, committed offsets within a generation, leader
//!   epochs along the log; one broker owns an epoch.
//! - **Progress**, lag and freshness as the expectations in the history say; resources go back.
//!
//! Two observers may see different high watermarks at one time: an owner that has been replaced
//! without its knowledge may serve what it has until its proof of life ends
//! ([`Event::ExpectFresh`] says for how long).
//!
//! The crate is pure: it knows nothing of Kafka, of sockets or of clocks. Time and memory are linear in
//! the history (with sorting), times the full reads. Nothing panics on a malformed history: that is an
//! anomaly of its own.

mod anomaly;
mod commits;
mod full;
mod history;
mod index;
mod model;
mod polls;
mod progress;
mod sends;
mod timeline;
mod values;

#[cfg(test)]
mod tests;

pub use anomaly::{Anomaly, Gap, Lag, REPORTED_MAX, Report, Violation};
pub use history::{
    At, Broker, Epoch, Event, Generation, Group, Key, Keyed, Kind, Observer, Partition, Producer,
    Progress, Record, Resource, SendId, Value, read, write,
};
pub use model::{Batch, Identity, Log, Refusal, Taken};
pub use timeline::timeline;

use index::Index;

/// Checks a history.
pub fn check(history: &[Event]) -> Report {
    let mut report = Report::default();
    let index = Index::new(history, &mut report);
    values::check(&index, &mut report);
    full::check(history, &index, &mut report);
    sends::check(history, &index, &mut report);
    polls::check(history, &index, &mut report);
    commits::check(history, &mut report);
    progress::check(history, &index, &mut report);
    report
}
