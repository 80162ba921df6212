//! What clients did and saw, as a list of events in the order of their recording.
//!
//! Times are microseconds of one monotonic clock. An event is recorded after what it tells of,
//! except the invocations, which are recorded before.

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// What one record carries; never used for two records that a client meant to be two.
    Value(u64)
}
number! {
    /// A partition of the one topic that the history is about.
    Partition(i32)
}
number! {
    /// A sequential writer: it invokes a write to a partition only when its former write to that
    /// partition has ended, or in the same batch.
    Producer(u32)
}
number! {
    /// A sequential reader with one position in each partition.
    Observer(u32)
}
number! {
    /// A broker, by its id.
    Broker(i32)
}
number! {
    /// Microseconds since the history began.
    At(u64)
}

/// What a producer asks of the broker about repeated batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Each value at most once, whatever is repeated.
    Idempotent,
    /// A repeated value may stand in the log more than once.
    Plain,
}

/// What counts as progress of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// A value was acknowledged.
    Acknowledged,
    /// A record was read, for the first time or again.
    Read,
    /// The commit of an offset was acknowledged.
    Committed,
}

impl Progress {
    /// All kinds.
    pub const ALL: [Progress; 3] = [Self::Acknowledged, Self::Read, Self::Committed];
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Acknowledged => "acknowledgment",
            Self::Read => "read",
            Self::Committed => "commit",
        })
    }
}

/// One thing that a client did or saw. `partition` and `at` mean the same in each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs, reason = "fields are named after their types")]
pub enum Event {
    /// A write begins.
    Invoke {
        value: Value,
        producer: Producer,
        kind: Kind,
        partition: Partition,
        at: At,
    },
    /// A write was acknowledged; without an offset where the broker only said that it has it.
    Ok {
        value: Value,
        offset: Option<i64>,
        at: At,
    },
    /// A write was given up, and surely had no effect.
    Fail { value: Value, at: At },
    /// A write was given up, and may have had an effect or may yet have one.
    Unknown { value: Value, at: At },
    /// A broker refused a write for a reason that no correct producer is ever given, such as a
    /// sequence out of order.
    Refused {
        producer: Producer,
        partition: Partition,
        broker: Broker,
        reason: String,
        at: At,
    },
    /// A record was read.
    Read {
        observer: Observer,
        partition: Partition,
        broker: Broker,
        offset: i64,
        value: Value,
        at: At,
    },
    /// A high watermark was seen.
    HighWatermark {
        observer: Observer,
        partition: Partition,
        broker: Broker,
        high_watermark: i64,
        at: At,
    },
    /// A reader was told that its position is outside the log.
    OutOfRange {
        observer: Observer,
        partition: Partition,
        broker: Broker,
        offset: i64,
        at: At,
    },
    /// The observer has read all from offset 0 to `end`, the high watermark; it began at `began`.
    /// Its records are the [`Event::Read`]s of that observer.
    FullRead {
        observer: Observer,
        partition: Partition,
        broker: Broker,
        end: i64,
        began: At,
    },
    /// The one committer of the partition begins to commit an offset; offsets rise.
    Committing {
        partition: Partition,
        offset: i64,
        at: At,
    },
    /// That commit was acknowledged.
    Committed {
        partition: Partition,
        offset: i64,
        at: At,
    },
    /// The committer, with no commit under way, was told this committed offset.
    CommittedRead {
        partition: Partition,
        offset: Option<i64>,
        at: At,
    },
    /// Between `from` and `until` none of the first `partitions` partitions is without `progress`
    /// for longer than `within` microseconds, the ends counted.
    Expect {
        name: String,
        progress: Progress,
        partitions: i32,
        from: At,
        until: At,
        within: u64,
    },
}
