//! What clients did and saw, as a list of events in the order of their recording.
//!
//! Times are microseconds of one monotonic clock, real or simulated. An event is recorded after what
//! it tells of, except those that begin something (`Send`, `Committing`), which are recorded before.
//! As a file a history is one JSON object a line.

use std::io::{self, BufRead, Write};

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
    /// The key of a record.
    Key(u64)
}
number! {
    /// One batch that a producer wants in the log, however often it tries.
    SendId(u64)
}
number! {
    /// A partition; a history that is about several topics numbers the partitions of all.
    Partition(i32)
}
number! {
    /// A sequential writer: it begins a batch for a partition only when its former batch for that
    /// partition has ended. One that pipelines is a writer for each batch in flight.
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
    /// A leader epoch; -1 where it is not known.
    Epoch(i32)
}
number! {
    /// A consumer group.
    Group(u32)
}
number! {
    /// A generation of a group; -1 for a committer that is no member.
    Generation(i32)
}
number! {
    /// Microseconds since the history began.
    At(u64)
}

impl Epoch {
    /// The epoch is not known.
    pub const NONE: Self = Self(-1);
}

impl Generation {
    /// The committer is no member.
    pub const NONE: Self = Self(-1);
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
    /// A batch was acknowledged.
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

/// What a process holds and must give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Bytes of memory.
    Memory,
    /// File descriptors, sockets among them.
    Descriptors,
    /// Threads.
    Threads,
}

/// A record as a reader was given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where it stands.
    pub offset: i64,
    /// What it carries.
    pub value: Value,
    /// Leader epoch of its batch.
    pub epoch: Epoch,
}

/// A record of a compacted log: it may be gone where a later one of its key stands in the log, and
/// one that deletes its key may go when nothing before it of that key is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed {
    /// What it carries.
    pub value: Value,
    /// Its key.
    pub key: Key,
    /// Whether it deletes its key.
    pub deletes: bool,
}

/// One thing that a client did or saw. `partition` and `at` mean the same in each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs, reason = "fields are named after their types")]
pub enum Event {
    /// A batch is about to be sent for the first time.
    Send {
        send: SendId,
        producer: Producer,
        kind: Kind,
        partition: Partition,
        values: Vec<Value>,
        at: At,
    },
    /// A batch was acknowledged with the offset of its first value; without an offset where the
    /// broker only said that it has it.
    Ok {
        send: SendId,
        offset: Option<i64>,
        at: At,
    },
    /// A batch was given up, and surely had no effect.
    Fail { send: SendId, at: At },
    /// A batch was given up, and may have had an effect or may yet have one.
    Unknown { send: SendId, at: At },
    /// A broker refused a batch for a reason that no correct producer is ever given, such as a
    /// sequence out of order.
    Refused {
        producer: Producer,
        partition: Partition,
        broker: Broker,
        reason: String,
        at: At,
    },
    /// These records have keys, and log compaction may take them away: see [`Keyed`]. Recorded
    /// before they are sent.
    Keyed {
        partition: Partition,
        records: Vec<Keyed>,
        at: At,
    },
    /// An observer asked at `began`, with leader epoch `epoch`, for what follows its position, and
    /// was given these records (perhaps none) and this high watermark. One that asked `astray`
    /// asked somebody whom it does not follow: what it was told of the end of the log is judged
    /// within that epoch only.
    Poll {
        observer: Observer,
        partition: Partition,
        broker: Broker,
        epoch: Epoch,
        #[serde(default)]
        astray: bool,
        began: At,
        records: Vec<Record>,
        high_watermark: i64,
        at: At,
    },
    /// An observer chose another position by itself, or was assigned the partition anew.
    Seek {
        observer: Observer,
        partition: Partition,
        offset: i64,
        at: At,
    },
    /// An observer was told that its position is outside the log.
    OutOfRange {
        observer: Observer,
        partition: Partition,
        broker: Broker,
        offset: i64,
        at: At,
    },
    /// Records below this offset may be gone: retention or a request may have deleted them.
    /// Recorded before the first of them goes.
    LogStart {
        partition: Partition,
        offset: i64,
        at: At,
    },
    /// The observer has read all from `start`, the log start, to `end`, the high watermark; it began
    /// at `began`. Its records are the [`Event::Poll`]s of that observer.
    FullRead {
        observer: Observer,
        partition: Partition,
        broker: Broker,
        start: i64,
        end: i64,
        began: At,
    },
    /// A broker was named as leader in this epoch.
    Leader {
        partition: Partition,
        broker: Broker,
        epoch: Epoch,
        at: At,
    },
    /// The one committer of the partition in this generation begins to commit an offset; offsets
    /// rise within a generation.
    Committing {
        group: Group,
        generation: Generation,
        partition: Partition,
        offset: i64,
        at: At,
    },
    /// That commit was acknowledged.
    Committed {
        group: Group,
        generation: Generation,
        partition: Partition,
        offset: i64,
        at: At,
    },
    /// Somebody who asked at `began` was told this committed offset.
    CommittedRead {
        group: Group,
        partition: Partition,
        offset: Option<i64>,
        began: At,
        at: At,
    },
    /// What was acknowledged before `at` has been given the time to be seen by somebody.
    Settled { at: At },
    /// A fault begins, or the next step of one.
    Fault { name: String, at: At },
    /// Everything is mended.
    Mended { at: At },
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
    /// What is acknowledged from `from` on is read by each of the observers within `within`
    /// microseconds, as far as that falls before `until`.
    ExpectLag {
        name: String,
        observers: Vec<Observer>,
        from: At,
        until: At,
        within: u64,
    },
    /// Whoever asks a broker so many microseconds after an acknowledgment is shown a high watermark
    /// beyond it: a leader that was replaced without its knowledge serves no longer than that.
    ExpectFresh { within: u64 },
    /// A broker that held `before` holds no more than that and `allowed` now that the load is over.
    ExpectBack {
        broker: Broker,
        resource: Resource,
        before: u64,
        after: u64,
        allowed: u64,
    },
}

/// Writes a history, one event a line.
///
/// # Errors
/// Those of the writer.
pub fn write(mut to: impl Write, events: &[Event]) -> io::Result<()> {
    for event in events {
        serde_json::to_writer(&mut to, event)?;
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// Reads a history, one event a line.
///
/// # Errors
/// Those of the reader, and of a line that is no event.
pub fn read(from: impl BufRead) -> io::Result<Vec<Event>> {
    from.lines()
        .map(|line| serde_json::from_str(&line?).map_err(io::Error::from))
        .collect()
}
