//! The log protocol, item by item: each interleaving that would lose acknowledged data or give an
//! offset two values, on the production state machines and control logic with the model stores.
//!
//! A test is named after its item (H1 to H23 of the review of the protocol). It runs its
//! interleaving twice: with all rules, where nothing may be violated, and without the rule that
//! closes it (`coord::rules`), where exactly the expected violation has to come out. So every test
//! proves that it can fail. Where an interleaving needs calls of a store in a certain order, gates
//! hold them back ([`gate`]); no outcome depends on time.
//!
//! `docs/log-protocol-tests.md` has the table.

pub(crate) mod gate;

mod h01_floor;
mod h02_fences;
mod h03_own_objects;
mod h04_segments;
mod h05_takeover;
mod h06_sources;
mod h07_release;
mod h08_generations;
mod h09_garbage;
mod h10_commit_mode;
mod h11_zombie_reads;
mod h12_producers;
mod h13_brown_out;
mod h14_offsets;
mod h15_epochs;
mod h16_log_start;
mod h17_refused_puts;
mod h18_sessions;
mod h19_fences_at_once;
mod h20_snapshots;
mod h21_clocks;
mod h22_limits;
mod h23_trickle;
mod order;

use std::rc::Rc;
use std::time::Duration;

use coord::rules::{self, Rule};
use segment::TopicPartition;
use tokio::task::{JoinHandle, spawn_local};

use super::takeover::Takeover;
use super::takeover::tests::{World as Stage, ends};
use super::testing::batch;
use crate::shard::{ProduceError, Produced};
use crate::start::tests::{Rig, World, test};

/// Longest run of one interleaving, on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(60);
/// How often an outcome is looked for that comes from another task.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What an interleaving breaks.
#[derive(Debug, PartialEq, Eq)]
enum Violation {
    /// Records were acknowledged that are not in the log of a later owner.
    Lost {
        /// End of what was acknowledged.
        acknowledged: i64,
        /// End of the log that a later owner has loaded.
        found: i64,
    },
    /// The log of a later owner holds what nobody acknowledged or wrote.
    Foreign {
        /// End of what was acknowledged.
        acknowledged: i64,
        /// End of the log that a later owner has loaded.
        found: i64,
    },
    /// Other records are served than those that were acknowledged.
    OtherRecords {
        /// First offsets of the batches that are served.
        found: Vec<i64>,
    },
    /// A later owner refuses the partition: what was acknowledged cannot be read.
    NotServed,
    /// A session acknowledges after a later owner has taken over.
    ZombieAcknowledges,
    /// A broker starts where it must refuse.
    Starts,
    /// Two live sessions have one broker id.
    TwoBrokers,
    /// The log start is not what was reported, or nothing lies where it is.
    LogStart {
        /// Where it has to be.
        expected: i64,
        /// Where it is.
        found: i64,
    },
    /// What is there cannot be read.
    ReadFails,
    /// Something is read from a broker that may own it no longer.
    StaleRead,
    /// A consumer is told to start anew, although its offset is in range.
    ConsumerReset,
    /// A producer is told to give its sequence up, although its batch is next.
    ProducerReset,
    /// A retry was appended once more, at this offset.
    Duplicate {
        /// Of the second copy.
        offset: i64,
    },
    /// A session ends although nobody else has ended it.
    SessionEnds,
    /// A session goes on although others have ended it.
    SessionGoesOn,
    /// Objects pile up without a bound.
    Unbounded,
    /// A commit that was acknowledged is not what is stored.
    Committed {
        /// What is stored.
        found: Option<i64>,
    },
    /// A leader epoch ends elsewhere than it ended.
    EpochEnd {
        /// Where it is said to end.
        found: i64,
    },
    /// A client is answered before others can read what it wrote.
    AnsweredBeforeVisible,
    /// More requests than the design allows.
    TooManyRequests {
        /// In an hour.
        per_hour: usize,
    },
}

/// What came of an interleaving.
type Verdict = Result<(), Violation>;

/// Runs an interleaving with all rules, and then without the one that closes it.
#[track_caller]
fn closes(rule: Rule, interleaving: impl AsyncFn() -> Verdict, violation: Violation) {
    let run = || {
        test(async {
            let run = tokio::time::timeout(RUN_MAX, interleaving()).await;
            run.expect("an interleaving comes to an end")
        })
    };
    assert_eq!(run(), Ok(()), "with {rule:?}");
    assert_eq!(
        rules::without(rule, run),
        Err(violation),
        "without {rule:?}: the test must be able to fail"
    );
}

/// Compares the end of a log with the end of what was acknowledged.
fn ends_at(acknowledged: i64, found: i64) -> Verdict {
    match found {
        found if found < acknowledged => Err(Violation::Lost {
            acknowledged,
            found,
        }),
        found if found > acknowledged => Err(Violation::Foreign {
            acknowledged,
            found,
        }),
        _ => Ok(()),
    }
}

/// The log of a partition as its owner serves it: batches of five records, from 0 up to
/// `acknowledged`.
async fn has_all(rig: &Rig, id: TopicPartition, acknowledged: i64) -> Verdict {
    starts_at(rig, id, 0)?;
    ends_at(acknowledged, rig.high_watermark(id).unwrap_or(0))?;
    let expected: Vec<i64> = (0..acknowledged).step_by(5).collect();
    match rig.scan(id, 0).await {
        found if found == expected => Ok(()),
        found => Err(Violation::OtherRecords { found }),
    }
}

/// A broker, of a cluster if it has an id, with so many batches of five records in a partition.
async fn orders(broker: Option<i32>, batches: usize) -> (World, Rig, TopicPartition) {
    let world = World::new();
    let rig = world.start_as(broker).await;
    let id = rig.create("orders", 1).await;
    rig.produce_many(id, batches).await;
    (world, rig, id)
}

/// The broker dies, and the next one has the log of a partition up to `acknowledged`.
async fn is_there_after_a_crash(
    world: &World,
    rig: Rig,
    id: TopicPartition,
    acknowledged: i64,
) -> Verdict {
    rig.crash().await;
    has_all(&world.start().await, id, acknowledged).await
}

/// The log of a partition is served and starts here.
fn starts_at(rig: &Rig, id: TopicPartition, expected: i64) -> Verdict {
    let found = rig.served_from(id).ok_or(Violation::NotServed)?;
    match found == expected {
        true => Ok(()),
        false => Err(Violation::LogStart { expected, found }),
    }
}

/// The log of a partition as a takeover has loaded it.
fn loads_all(taken: &Takeover, partition: i32, acknowledged: i64) -> Verdict {
    if !taken.refused.is_empty() {
        return Err(Violation::NotServed);
    }
    let found = ends(taken).into_iter().find(|end| end.0 == partition);
    ends_at(acknowledged, found.expect("the partition is taken").1)
}

/// Sends a batch of five records and does not wait for the answer.
fn produce_later(rig: &Rc<Rig>, id: TopicPartition) -> JoinHandle<Result<Produced, ProduceError>> {
    let rig = rig.clone();
    spawn_local(async move { rig.produce(id, &batch(0, 5)).await })
}

/// The produce request that is under way at a session which others have ended is never answered as
/// durable.
async fn is_not_acknowledged(
    rig: &Rig,
    produced: JoinHandle<Result<Produced, ProduceError>>,
) -> Verdict {
    while !produced.is_finished() {
        // One object is under way: if it ends the flusher it is not acknowledged.
        if rig.flusher_has_ended() {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    match produced.await.expect("the request ends") {
        Ok(_) => Err(Violation::ZombieAcknowledges),
        Err(_) => Ok(()),
    }
}

/// Waits for a task, whose outcome is looked at elsewhere.
async fn until_finished<T>(task: &JoinHandle<T>) {
    while !task.is_finished() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The prefix of the WAL objects of a broker's session.
fn wal_of(rig: &Rig) -> String {
    let session = rig.context.session;
    rig.context.keys.session_prefix(session.broker, session.id)
}
