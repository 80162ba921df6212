//! The scenarios: what they are called, what they are played on, and whether they belong to the short
//! form. What happens in each is in [`super::acts`], what is promised in [`super::promises`].

use std::time::Duration;

use super::ground::Ground;

/// What a scenario needs beside its ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    None,
    /// Packets that can be lost.
    Packets,
    /// A disk that can be filled.
    Disk,
}

macro_rules! scenarios {
    ($($name:ident $text:literal $ground:ident $need:ident $short:literal $estimate_s:literal $doc:literal;)*) => {
        /// One thing that befalls the machines of the run.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Scenario {
            $(#[doc = $doc] $name,)*
        }

        impl Scenario {
            /// All, in the order in which they are run.
            pub const ALL: &'static [Scenario] = &[$(Scenario::$name),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Scenario::$name => $text,)* }
            }

            /// What happens, in a sentence.
            pub fn sentence(self) -> &'static str {
                match self { $(Scenario::$name => $doc,)* }
            }

            /// What it is played on.
            pub fn ground(self) -> Ground {
                match self { $(Scenario::$name => Ground::$ground,)* }
            }

            pub(super) fn need(self) -> Need {
                match self { $(Scenario::$name => Need::$need,)* }
            }

            /// Whether it belongs to the short form, which continuous integration runs.
            pub fn is_in_short(self) -> bool {
                match self { $(Scenario::$name => $short,)* }
            }

            /// How long it takes with short leases, roughly.
            pub(super) fn short_estimate(self) -> Duration {
                Duration::from_secs(match self { $(Scenario::$name => $estimate_s,)* })
            }
        }
    };
}

scenarios! {
    Nothing "nothing" Cluster None false 16 "Nothing happens: the worst bugs needed no fault.";
    KillOwner "kill-owner" Cluster None true 16 "The owner is killed and comes back later.";
    Zombie "zombie" Cluster None true 15 "The owner stands still for twice the time to live of its session.";
    RollingRestart "rolling-restart" Cluster None true 20 "Each broker in turn is asked to end, and started again.";
    Flapping "flapping" Cluster None false 30 "The owner dies again and again, soon after it has come back.";
    AllKilled "all-killed" Cluster None false 16 "All brokers are killed at once and come back.";
    CutEtcd "cut-etcd" Cluster None true 16 "The owner cannot reach etcd.";
    DeafEtcd "deaf-etcd" Cluster None true 16 "etcd hears the owner, and the owner does not hear etcd.";
    MuteEtcd "mute-etcd" Cluster None false 16 "The owner hears etcd, and etcd does not hear the owner.";
    CutS3 "cut-s3" Cluster None false 20 "The owner is refused by S3, and the others are not.";
    SilentS3 "silent-s3" Cluster None true 30 "The owner gets no answer of S3, and the others do.";
    DeafS3 "deaf-s3" Cluster None false 30 "What the owner asks of S3 takes effect, and no answer comes.";
    CutBoth "cut-both" Cluster None false 16 "The owner can reach neither.";
    Loss "loss" Cluster Packets true 16 "Of all packets 5 % are lost.";
    CutClients "cut-clients" Cluster Packets false 16 "Clients cannot reach the owner, which is well otherwise.";
    MuteOwner "mute-owner" Cluster Packets false 16 "Clients reach the owner, and its answers do not reach them.";
    RestartEtcd "restart-etcd" Cluster None true 12 "etcd is killed and started again on its data.";
    EtcdDown "etcd-down" Cluster None true 18 "etcd is down while topics are created and offsets committed.";
    EtcdSlow "slow-etcd" Cluster None true 14 "Every word to and from etcd is late.";
    EtcdFrozen "frozen-etcd" Cluster None false 14 "etcd stands still for longer than any lease.";
    S3Errors "s3-503" Cluster None true 22 "Every request to S3 answers 503.";
    S3Slow "s3-slow" Cluster None false 25 "Every request to S3 takes 1.5 s: all goes on.";
    S3VerySlow "s3-very-slow" Cluster None true 28 "Every request to S3 takes 3 s: produce is refused, reads go on.";
    S3SlowLink "s3-slow-link" Cluster None false 16 "Every word to and from S3 is late.";
    S3Resets "s3-resets" Cluster None false 20 "A fifth of the connections to S3 is reset, before the effect or after it.";
    S3Narrow "s3-narrow" Cluster None false 18 "Bodies to and from S3 are slow.";
    S3Truncated "s3-truncated" Cluster None true 16 "Half of the bodies from S3 end early, while a partition is taken over.";
    S3StaleList "s3-stale-list" Cluster None false 20 "Lists of S3 are old, while a partition is taken over.";
    S3Storm "s3-storm" Cluster None true 25 "S3 is late, slow, resets connections and answers 500 and 503, each seldom.";
    LostReplies "lost-replies" Cluster None true 12 "Writes to S3 take effect and answer with an error, or with none.";
    LatePut "late-put" Cluster None true 16 "A write to S3 arrives after its partition was taken over.";
    GracefulMoves "graceful-moves" Cluster None true 25 "A partition is handed over ten times.";
    ForcedMoves "forced-moves" Cluster None false 50 "A partition loses its owner ten times.";
    EtcdQuorum "etcd-quorum" Quorum None true 16 "Two of three members of etcd die and come back.";
    EtcdLeader "etcd-leader" Quorum None false 14 "The member of etcd that leads dies and comes back.";
    FullDisk "full-disk" Embedded Disk true 22 "The disk of the embedded default is full.";
    EmbeddedKill "embedded-kill" Embedded None true 16 "The embedded default is killed and started again, three times.";
}
