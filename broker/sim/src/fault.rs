//! The kinds of faults that a run injects.

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Fault] = &[$(Fault::$name,)*];
        }
    };
}

faults! {
    /// Store: an answer takes long.
    StoreLatencyTail,
    /// Store: bytes take long.
    StoreLowBandwidth,
    /// Store: 500 or 503 before the request took effect.
    StoreErrorBefore,
    /// Store: an error after the PUT took effect; the retry meets its own object.
    StoreErrorAfter,
    /// Store: a time-out; nothing happened.
    StoreTimeout,
    /// Store: a time-out; the PUT takes effect later.
    StoreLatePut,
    /// Store: the PUT takes effect a second time, later.
    StoreDuplicatePut,
    /// Store: a burst of 503 SlowDown.
    StoreSlowDown,
    /// Store: 409 on a conditional PUT.
    StoreConflict,
    /// Store: the body of a GET is cut off.
    StoreTruncatedBody,
    /// Store: a bit of the body of a GET is flipped.
    StoreFlippedBit,
    /// Store: a LIST without the newest objects.
    StoreStaleList,
    /// Store: a LIST whose pages are short.
    StorePartialList,
    /// Store: a bit of a LIST is flipped: of a key or of a length.
    StoreFlippedList,
    /// Store: a DELETE takes effect late.
    StoreSlowDelete,
    /// Store: a lifecycle rule deletes the oldest segment of a partition.
    StoreLifecycle,
    /// Store: a broker does not reach it.
    StoreCut,
    /// Store: it takes no requests from the moment on at which a broker joins, and partitions are to move.
    StoreDarkAtJoin,
    /// etcd: a request fails, as while a leader is elected.
    EtcdFailed,
    /// etcd: a transaction is applied, its reply is lost.
    EtcdReplyLost,
    /// etcd: a transaction is lost, the outcome unknown.
    EtcdRequestLost,
    /// etcd: the outcome is unknown, and it is applied later.
    EtcdDelayed,
    /// etcd: a broker does not reach it.
    EtcdCut,
    /// etcd: watches are late.
    EtcdWatchLate,
    /// etcd: a watch tells of a change twice.
    EtcdWatchTwice,
    /// etcd: a compaction ends watches.
    EtcdWatchGap,
    /// etcd: a lease ends while its broker runs.
    EtcdLeaseLost,
    /// etcd: a lease ends while its broker does not reach it, or does not see it.
    EtcdLeaseLostUnseen,
    /// etcd: keep-alives are slow.
    EtcdSlowKeepAlive,
    /// Network: connections are reset.
    NetReset,
    /// Network: a connection is silent.
    NetHalfOpen,
    /// Network: nothing passes for a while, in one direction or both, broker after broker.
    NetClog,
    /// Process: a broker dies.
    Crash,
    /// Process: a broker dies at a certain request to the store.
    CrashAtRequest,
    /// Process: a broker dies at a transaction, or at the grant or the end of a lease.
    CrashAtTransaction,
    /// Process: a broker dies after so many turns of its loop.
    CrashAtTurn,
    /// Process: a broker stands still, mostly for longer than its lease.
    Pause,
    /// Process: a shard stands still.
    ShardStall,
    /// Process: a broker is asked to end, and starts again.
    GracefulRestart,
    /// Process: memory and limits are tiny.
    TinyLimits,
    /// Time: the wall clock of a broker jumps.
    ClockJump,
    /// Client: an acknowledged batch is sent again.
    ClientRetriesAcknowledged,
    /// Client: the last five acknowledged batches are sent again, all at once.
    ClientRetriesWindow,
    /// Client: answers are not read for a while.
    ClientSlowReader,
    /// Client: the connection ends in the middle of a request.
    ClientCutsRequest,
    /// Client: a request makes no sense.
    ClientMalformed,
    /// Client: somebody who does not lead a partition is asked for it.
    ClientAsksAnother,
    /// Client: many requests at once.
    ClientBurst,
    /// Client: batches that nobody waits for (acks=0), more than the store takes.
    ClientCareless,
    /// Client: those who write do not reach a broker that those who read do reach.
    ClientCut,
    /// Client: a batch of an old producer epoch.
    ClientOldEpoch,
    /// Group: a member goes without a word.
    MemberVanishes,
    /// Group: a member leaves, and comes back.
    MemberFlaps,
    /// Group: a member commits for a generation that is over.
    MemberCommitsLate,
    /// Administrator: records are deleted.
    RecordsDeleted,
    /// Administrator: a topic is deleted, and created again.
    TopicDeleted,
}
