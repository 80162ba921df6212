//! The rules of the log protocol, by name, so that a test can take one out.
//!
//! Each rule closes at least one interleaving that would lose acknowledged data or give an offset
//! two values. The code asks [`holds`] at the place where a rule lives. In a product that is `true`
//! at compile time. With the feature `switchable-rules`, which only tests may ask for, a test runs
//! its interleaving once more [`without`] the rule and has to see the violation: this is how it
//! proves that it can fail. `docs/log-protocol-tests.md` has the table of rules and tests.
//!
//! Invariant: with the feature on, every rule holds on every thread that has not been told
//! otherwise. A switch belongs to one thread, so tests that run side by side do not meet.

/// A rule of the log protocol. H numbers are those of its review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// H1, H5, H9: every write is guarded by the presence of the writer's own session.
    WriterLives,
    /// H5, H7, H14: every write is guarded by the revision of what it was planned on.
    WrittenAsRead,
    /// H5: a takeover compares the absence of the old owner's session.
    OwnerIsGone,
    /// H1, H5, H7, H14: an unknown outcome is resolved by reading, never assumed.
    UnknownOutcomeIsRead,
    /// H1: the search for the end of a session starts at its floor.
    FenceFromFloor,
    /// H1: the end is the first sequence at which nothing is found; LIST is only a hint.
    ListIsAHint,
    /// H1: the floor stays below everything that a partition still needs.
    FloorBelowNeeded,
    /// H1: objects are deleted only below a floor whose transaction is confirmed.
    DeleteBelowConfirmedFloor,
    /// H1: a dead session keeps its objects until nobody has to fence it any more.
    UnfencedSessionsStay,
    /// H2: fence objects are never deleted.
    FencesStay,
    /// H2: a lifecycle rule that covers the WAL prefix refuses the start.
    LifecycleSparesTheWal,
    /// H3: an object of its own is durable before a WAL object names it.
    OwnObjectFirst,
    /// H4: a pending intent is finished before another segment is decided.
    PendingIntentFirst,
    /// H4: a segment that is there already is adopted only if it has exactly our bytes.
    AdoptOnlyOurBytes,
    /// H4: a merged segment is PUT only over the object that was read.
    MergeOverWhatWasRead,
    /// H4: on a store without conditional writes nothing is merged.
    NoMergeWithoutConditions,
    /// H4: an index that does not match its segment is built again.
    IndexIsDerived,
    /// H4: a manifest entry is believed only where LIST shows a segment of its length.
    ManifestIsAHint,
    /// H6: every source without a recorded end is fenced, not only the newest.
    FenceEverySource,
    /// H7: once a release has been sent the partition takes no appends, whatever the reply.
    ReleasedTakesNoAppends,
    /// H7: a partition is released when everything of it is acknowledged.
    ReleaseAfterAcknowledgements,
    /// H8: a topic that is created again has a prefix of its own.
    GenerationsHavePrefixes,
    /// H8: a new topic never gets a prefix under which there are objects.
    CreateSkipsUsedPrefixes,
    /// H9: objects of a live session are deleted only by that session.
    OnlyOwnersDeleteLive,
    /// H9: sessions are read before records, so that a dead one is in no later record.
    SessionsBeforeRecords,
    /// H9: objects of a session that etcd has never heard of are never deleted.
    UnknownSessionsStay,
    /// H9: an object stays while any partition record names a range that contains it.
    NamedObjectsStay,
    /// H9: the records of all partitions count for the floor, released ones too.
    ReleasedPartitionsCount,
    /// H9: objects that belong to another cluster refuse the start.
    OneClusterOneStore,
    /// H10: a broker whose probe disagrees with the cluster's commit mode refuses to start.
    OneCommitMode,
    /// H10: in the guarded mode an object counts once etcd has committed it.
    GuardedCommitFirst,
    /// H11, H14: a session that is unproven for longer than its time to live answers no reads.
    ProofExpires,
    /// H11: a session that the metadata store says is gone is proven no more, whatever was sent before.
    GoneSessionsAreUnproven,
    /// H11: a broker that does not reach etcd PUTs an empty WAL object every half of its TTL.
    CutOffSessionsMeetTheFence,
    /// H11: out of range is answered only by a session proven after the request arrived.
    OutOfRangeNeedsProof,
    /// H11: out of order is answered only by a session proven after the request arrived.
    OutOfOrderNeedsProof,
    /// H11: a 404 on a WAL object re-reads the record, and moves nothing.
    MissingObjectsAreLookedInto,
    /// H12: a compaction writes a producer snapshot, and a taker loads it.
    ProducersAreSnapshotted,
    /// H12: a taker replays the producer fields of the directories.
    DirectoriesReplayProducers,
    /// H12: a retry of a batch in flight joins it.
    RetriesJoin,
    /// H13: a PUT is sent again until it succeeds; a brown-out ends no session.
    FailedPutsAreSentAgain,
    /// H13: above the WAL backlog produce is refused.
    BacklogIsBounded,
    /// H15: where epochs began is kept when their sources go.
    EpochHistoryIsKept,
    /// H16: the log start never falls below the record's.
    LogStartFromRecord,
    /// H16: the log starts where coverage up to the compacted end is contiguous.
    CoverageIsContiguous,
    /// H16: the log start is raised in etcd before it is reported.
    LogStartRaisedInEtcdFirst,
    /// H17: a 412 on our own prefix is read: what is not ours has fenced us.
    RefusalsAreRead,
    /// H17: an object of our session, sequence and CRC is our own success.
    OwnCopyIsSuccess,
    /// H17: a 404 after a 412 means fenced.
    GoneAfterRefusalIsFenced,
    /// H18: a session whose first object exists chooses another id.
    OpenProvesPrefixNew,
    /// H18: a broker id belongs to one live session.
    BrokerIdOnce,
    /// H1, H19: a fence of anybody is the end, and of several the lowest.
    LowestFenceIsTheEnd,
    /// H19: against a fast zombie several fences are PUT at once.
    FencesComeInNumbers,
    /// H20: the snapshot is published before the acknowledgement is queued.
    PublishBeforeAnswering,
    /// H20: the snapshot is withdrawn when the ownership ends.
    ClosedIsWithdrawn,
    /// H21: a 404 is looked up again where the bytes are now; no grace period.
    MovedBytesAreLookedUp,
    /// H22: at most 32 partitions a transaction.
    TransactionsAreBounded,
    /// H23: below 1 MiB the age limit of compaction stretches to an hour.
    SmallPartitionsWait,
    /// H23: the compaction of small partitions keeps to a budget of PUTs.
    SmallCompactionsHaveABudget,
    /// Objects are acknowledged strictly in sequence (else one fence is not enough).
    AcknowledgedInSequence,
    /// A session is fenced before anything of it is loaded.
    FenceBeforeLoading,
}

/// Whether a rule is in force: always.
#[cfg(not(feature = "switchable-rules"))]
#[inline(always)]
pub const fn holds(_rule: Rule) -> bool {
    true
}

#[cfg(feature = "switchable-rules")]
pub use switch::{adopt, holds, without, without_here};

#[cfg(feature = "switchable-rules")]
mod switch {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static WITHOUT: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Whether a rule is in force on this thread.
    pub fn holds(rule: Rule) -> bool {
        WITHOUT.get() != Some(rule)
    }

    /// The rule that is not in force on this thread.
    pub fn without_here() -> Option<Rule> {
        WITHOUT.get()
    }

    /// Takes a rule out on this thread (none: all hold) for as long as the thread lives: for the
    /// threads that a test starts.
    pub fn adopt(rule: Option<Rule>) {
        WITHOUT.set(rule);
    }

    /// Runs something on this thread without a rule, which holds again afterwards, also after a
    /// panic.
    pub fn without<T>(rule: Rule, run: impl FnOnce() -> T) -> T {
        struct Restore(Option<Rule>);
        impl Drop for Restore {
            fn drop(&mut self) {
                WITHOUT.set(self.0);
            }
        }
        let _restore = Restore(WITHOUT.replace(Some(rule)));
        run()
    }
}
