//! What can be found, by name, and the report of it.

use serde::Serialize;

use super::history::{At, Observer, Partition, Progress};

/// Violations kept word for word; more are only counted.
pub const REPORTED_MAX: usize = 100;

macro_rules! anomalies {
    ($($name:ident $text:literal $doc:literal;)*) => {
        /// What a history shows that a correct cluster never does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Anomaly {
            $(#[doc = $doc] $name,)*
        }

        impl Anomaly {
            /// All, in the order of this list.
            pub const ALL: &'static [Anomaly] = &[$(Anomaly::$name),*];

            /// Its name, Jepsen's where Jepsen's checker for Kafka has one.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, in a sentence.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }
        }
    };
}

anomalies! {
    LostWrite "lost-write" "What was acknowledged, or read by somebody, before a full read began is not in it at its place.";
    Unseen "unseen" "What was acknowledged has been read by nobody, and there was time.";
    Duplicate "duplicate" "A value of an idempotent producer stands at two places.";
    InconsistentOffsets "inconsistent-offsets" "Two values at one offset, by reads and acknowledgments of anybody.";
    Phantom "phantom" "A value that nobody wrote to that partition.";
    Gap "gap" "An offset without a record between log start and end, a record beyond the end, or a log start that nobody raised.";
    PollSkip "poll-skip" "From one answer to the next an observer is led past a record.";
    IntPollSkip "int-poll-skip" "Within one answer an observer is led past a record.";
    NonmonotonicPoll "nonmonotonic-poll" "From one answer to the next an observer is led back.";
    IntNonmonotonicPoll "int-nonmonotonic-poll" "Within one answer the offsets do not rise.";
    NonmonotonicSend "nonmonotonic-send" "Two batches of one producer stand in another order than they were sent in.";
    IntNonmonotonicSend "int-nonmonotonic-send" "The values of one batch stand in another order.";
    IntSendSkip "int-send-skip" "The values of one batch do not stand side by side.";
    G0 "G0" "Write cycle: a batch was acknowledged before another producer's was begun, and stands after it.";
    G1a "G1a" "Aborted read: a value was read whose write surely failed.";
    G1c "G1c" "Circular information flow: a value was read before its write began.";
    EpochOrder "epoch-order" "Leader epochs fall along the log, or the epoch of a record changes.";
    TwoOwners "two-owners" "Two brokers lead a partition in one epoch.";
    HighWatermarkFalls "high-watermark-falls" "The high watermark falls for one observer, or for anybody within one leader epoch.";
    OutOfRange "out-of-range" "An observer is told that its position, which is in the log, is not.";
    CommittedFalls "committed-falls" "A committed offset that is read was never committed, or lies before the last acknowledged one.";
    StaleCommit "stale-commit" "A commit is taken from a generation that a newer one had already followed.";
    StuckProducer "stuck-producer" "A partition was without an acknowledgment for too long.";
    StuckConsumer "stuck-consumer" "A partition was without a record read for too long.";
    StuckCommitter "stuck-committer" "A partition was without an acknowledged commit for too long.";
    RealtimeLag "realtime-lag" "A consumer was too far behind what was acknowledged, or was shown too old a high watermark.";
    ProducerState "producer-state" "A producer is refused for a reason that only lost state explains.";
    Leak "leak" "A broker did not give back what it had taken.";
    Malformed "malformed" "The history itself is wrong: an end without a beginning, or a value used twice.";
}

impl std::fmt::Display for Anomaly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One anomaly that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which.
    pub anomaly: Anomaly,
    /// In words, with the numbers.
    pub what: String,
}

/// What was found, and how much there was.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Values sent.
    pub sent: usize,
    /// Values acknowledged.
    pub acknowledged: usize,
    /// Values whose fate the producer does not know.
    pub unknown: usize,
    /// Records read, each reading counted.
    pub reads: usize,
    /// Full reads.
    pub full_reads: usize,
    /// The first [`REPORTED_MAX`] violations.
    pub violations: Vec<Violation>,
    /// All violations.
    pub violation_count: usize,
    /// The longest time that a partition was without progress, for each expectation in order: its
    /// name and kind.
    pub gaps: Vec<(String, Progress, Gap)>,
    /// The longest time that something acknowledged was not read, for each expectation in order.
    pub lags: Vec<(String, Lag)>,
}

/// A time without progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// When it began.
    pub from: At,
    /// How long it was, in microseconds.
    pub length: u64,
    /// The partition.
    pub partition: Partition,
}

/// How far behind an observer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// Who.
    pub observer: Observer,
    /// Where.
    pub partition: Partition,
    /// When what it had not read was acknowledged.
    pub from: At,
    /// How long it took, in microseconds.
    pub length: u64,
}

impl Report {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.violation_count == 0
    }

    pub(crate) fn add(&mut self, anomaly: Anomaly, what: impl FnOnce() -> String) {
        self.violation_count += 1;
        if self.violations.len() < REPORTED_MAX {
            self.violations.push(Violation {
                anomaly,
                what: what(),
            });
        }
    }
}
