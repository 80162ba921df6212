//! Judges a history of clients against what a cluster promises.
//!
//! What must hold, precisely:
//! 1. **Nothing acknowledged is lost.** A value acknowledged at offset `o` before a full read began
//!    is at `o` in that read; one acknowledged without an offset is somewhere in it. A record that
//!    anybody has read before a full read began is in it, at its offset.
//! 2. **One value an offset.** All reads and acknowledgments of an offset name the same value.
//! 3. **No duplicates.** A value of an idempotent producer stands at one offset only. Those of plain
//!    producers may stand at several.
//! 4. **Nothing else.** Every value read was written to that partition, and its write did not fail.
//! 5. **Dense.** A full read holds one record at each offset from 0 to its end, and none beyond.
//!    There is no exception for offsets that were never acknowledged: the log has no transactions
//!    and no log compaction here, and a taker goes on at the committed end, so that an offset is
//!    given again rather than left out.
//! 6. **Order.** Values acknowledged to one producer in one partition have offsets in the order of
//!    their invocation. Those of an idempotent producer stand in that order even where they were
//!    not acknowledged.
//! 7. **Nothing goes back.** For each observer and partition neither the high watermark nor the
//!    offset read falls, and no observer is told that its position is out of range.
//! 8. **Commits.** A committed offset that is read is one that was committed, not below the last
//!    acknowledged one.
//! 9. **Progress.** Each expectation is met: in its time no partition was without progress of its kind
//!    (an acknowledgment, a record read, a commit) for longer than it says.
//! 10. **Producer state.** No producer is refused for a reason that only lost state explains.
//!
//! Two observers may see different high watermarks at one time: an owner that has been replaced
//! without its knowledge may serve what it has until its proof of life ends.
//!
//! Time and memory are linear in the history (with sorting). Nothing panics on a malformed history:
//! an acknowledgment without an invocation is a violation of its own.

mod check;
mod history;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

pub use check::{Gap, REPORTED_MAX, Report, Violation, ViolationKind, check};
pub use history::{At, Broker, Event, Kind, Observer, Partition, Producer, Progress, Value};
