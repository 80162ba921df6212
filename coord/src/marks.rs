//! Coverage marks: branches that are seldom taken and must be taken by a simulation now and then.
//!
//! A branch says [`mark!`](crate::mark); in a product that is nothing. With the feature `simulation` the
//! thread counts it, and the simulator reports the marks that no seed has hit.

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A branch that is seldom taken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mark {
            $($(#[$doc])* $name,)*
        }

        impl Mark {
            /// All of them.
            pub const ALL: &'static [Mark] = &[$(Mark::$name,)*];
        }
    };
}

marks! {
    /// A 412 on an object of our session, which is read then.
    RefusedPutIsRead,
    /// It was our own copy.
    OwnCopyFound,
    /// It was not: the session is fenced.
    SessionFenced,
    /// A PUT does not get through, and produce is refused.
    UploadRefusesProduce,
    /// A PUT is sent a second time beside the first.
    OvertakenPutSentAgain,
    /// The metadata store says that the session is gone.
    SessionGone,
    /// The outcome of a transaction is unknown, and read.
    UnknownOutcome,
    /// It had been applied.
    UnknownWasApplied,
    /// It had not been applied, and is sent again.
    UnknownWasNotApplied,
    /// A guard has refused a transaction.
    Superseded,
    /// A fence met data of the dead session.
    FenceMetObject,
    /// A fence was the first at its place.
    FencePut,
    /// A retry joined its first copy, which is in flight.
    RetryJoined,
    /// A retry of a durable batch was answered with its offset.
    RetryDurable,
    /// A batch of an old producer epoch was refused.
    ProducerFenced,
    /// A batch out of order was refused.
    OutOfOrder,
    /// Produce is refused: too many bytes wait for the store.
    Backlog,
    /// Produce is refused: the store takes no writes.
    Unavailable,
    /// Produce met a shard that does not own the partition.
    NotOwner,
    /// Bytes moved while they were read.
    ChunkMoved,
    /// An object that is gone is looked into.
    MissingLookedInto,
    /// An object is not what it should be, and is examined.
    DamageExamined,
    /// An index is built again.
    IndexRebuilt,
    /// A range that was not what it should be is read again.
    RangeReadAgain,
    /// A segment that looks damaged is read again.
    SegmentReadAgain,
    /// A segment that is there already is compared with ours.
    SegmentAdopted,
    /// A segment was made.
    SegmentMade,
    /// Segments were merged.
    SegmentsMerged,
    /// A commit of a generation that is over was refused.
    IllegalGeneration,
    /// A member's session ended.
    MemberExpired,
    /// A watch ended and everything is read again.
    WatchReadAgain,
    /// A session that is not proven refuses a read.
    Unproven,
    /// The WAL of a dead session is collected.
    DeadSessionCollected,
    /// The floor of our session is raised.
    FloorRaised,
    /// A release was given up, or its outcome not known.
    ReleaseGivenUp,
    /// A log start was raised.
    LogStartRaised,
}

/// Marks a branch that is seldom taken: `coord::mark!(RetryJoined)`.
#[macro_export]
macro_rules! mark {
    ($name:ident) => {
        $crate::marks::hit($crate::marks::Mark::$name)
    };
}

/// A marked branch is taken: nothing.
#[cfg(not(feature = "simulation"))]
#[inline(always)]
pub const fn hit(_mark: Mark) {}

#[cfg(feature = "simulation")]
pub use counts::{hit, hits};

#[cfg(feature = "simulation")]
mod counts {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::Mark;

    thread_local! {
        static HITS: RefCell<BTreeMap<Mark, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// A marked branch is taken.
    pub fn hit(mark: Mark) {
        HITS.with_borrow_mut(|hits| *hits.entry(mark).or_default() += 1);
    }

    /// How often each marked branch has been taken on this thread.
    pub fn hits() -> BTreeMap<Mark, u64> {
        HITS.with_borrow(Clone::clone)
    }
}
