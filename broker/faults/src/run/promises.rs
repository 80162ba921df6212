//! How long each scenario may keep clients waiting: the one table of limits.
//!
//! A limit is the longest time that a partition may be without progress at any moment from just
//! before the fault until the clients stop. Where it is promised only that the cluster recovers,
//! the limit is the time of the fault and that of the recovery.

use std::time::Duration;

use check::Progress;

use super::Scenario;

/// So many times the session's time to live, the time that the fault lasted if it counts, and so
/// many milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    ttls: u32,
    with_fault: bool,
    ms: u64,
}

const fn limit(ttls: u32, ms: u64) -> Limit {
    Limit {
        ttls,
        with_fault: false,
        ms,
    }
}

const fn fault_and(ms: u64) -> Limit {
    Limit {
        ttls: 0,
        with_fault: true,
        ms,
    }
}

/// Nothing moves, or what moves is handed over. Two seconds are a busy machine's.
const STEADY: Limit = limit(0, 2_000);
/// Another broker serves what a dead one had: its lease has ended, its log is fenced and read.
pub(super) const TAKEOVER: Limit = limit(1, 2_000);
/// A broker that does not hear etcd keeps its lease until it has heard nothing for a time to live; then the lease runs out.
pub(super) const UNHEARD: Limit = limit(2, 2_000);
/// A broker that only it is without the store gives up: it has noticed, has been Unavailable for
/// twice the time to live, and others have taken over.
pub(super) const GIVEN_UP: Limit = limit(2, 6_000);
/// The same where the store is not refused but silent: each request to it fails only after
/// [`S3_TIMEOUT_MS`], the one that is noticed and the one that is on its way when it is time.
pub(super) const GIVEN_UP_IN_SILENCE: Limit = limit(2, 6_000 + 2 * S3_TIMEOUT_MS);
/// How long the brokers of the run wait for an answer of the store.
pub(super) const S3_TIMEOUT_MS: u64 = 6_000;
/// A store that failed is held to be good again after seconds of good answers.
const RECOVERED: Limit = fault_and(10_000);
/// A client that commits waits for a coordinator that does not answer, then looks for another.
const COMMITTER_MS: u64 = 3_000;
const COMMIT_STEADY: Limit = limit(0, 2_000 + COMMITTER_MS);
const COMMIT_TAKEOVER: Limit = limit(1, 2_000 + COMMITTER_MS);
const COMMIT_UNHEARD: Limit = limit(2, 2_000 + COMMITTER_MS);
/// What changes metadata waits for etcd.
const COMMIT_WITHOUT_ETCD: Limit = fault_and(2_000 + COMMITTER_MS);

/// TCP sends again what was lost, and waits longer each time.
const LOSSY: Limit = limit(0, 5_000);
/// Clients that waited at a broker that was cut off come back when they have given up, or when their
/// packets are sent again.
const REACHED_AGAIN: Limit = fault_and(8_000);
/// Everybody was down, for as long as the fault lasted; then each broker waits for its old session.
const STARTED_AGAIN: Limit = Limit {
    ttls: 1,
    with_fault: true,
    ms: 5_000,
};
/// The embedded default listens again within 2 s of its death, and takes what it had.
const EMBEDDED_AGAIN: Limit = limit(0, 5_000);

/// Scenario; without an acknowledgment; without a record read; without a commit.
const TABLE: &[(Scenario, Limit, Limit, Limit)] = &[
    (Scenario::Nothing, STEADY, STEADY, COMMIT_STEADY),
    (Scenario::KillOwner, TAKEOVER, TAKEOVER, COMMIT_TAKEOVER),
    (Scenario::Zombie, TAKEOVER, TAKEOVER, COMMIT_TAKEOVER),
    (Scenario::RollingRestart, STEADY, STEADY, COMMIT_STEADY),
    (Scenario::Flapping, TAKEOVER, TAKEOVER, COMMIT_TAKEOVER),
    (
        Scenario::AllKilled,
        STARTED_AGAIN,
        STARTED_AGAIN,
        STARTED_AGAIN,
    ),
    (Scenario::CutEtcd, TAKEOVER, TAKEOVER, COMMIT_TAKEOVER),
    // It serves its partitions meanwhile; what it coordinates cannot commit.
    (Scenario::DeafEtcd, TAKEOVER, TAKEOVER, COMMIT_UNHEARD),
    (Scenario::MuteEtcd, TAKEOVER, TAKEOVER, COMMIT_TAKEOVER),
    (Scenario::CutS3, GIVEN_UP, TAKEOVER, COMMIT_TAKEOVER),
    (
        Scenario::SilentS3,
        GIVEN_UP_IN_SILENCE,
        TAKEOVER,
        COMMIT_TAKEOVER,
    ),
    (
        Scenario::DeafS3,
        GIVEN_UP_IN_SILENCE,
        TAKEOVER,
        COMMIT_TAKEOVER,
    ),
    (Scenario::CutBoth, TAKEOVER, TAKEOVER, COMMIT_TAKEOVER),
    (Scenario::Loss, LOSSY, LOSSY, LOSSY),
    (
        Scenario::CutClients,
        REACHED_AGAIN,
        REACHED_AGAIN,
        REACHED_AGAIN,
    ),
    (
        Scenario::MuteOwner,
        REACHED_AGAIN,
        REACHED_AGAIN,
        REACHED_AGAIN,
    ),
    (Scenario::RestartEtcd, STEADY, STEADY, COMMIT_WITHOUT_ETCD),
    (Scenario::EtcdDown, STEADY, STEADY, COMMIT_WITHOUT_ETCD),
    (Scenario::EtcdSlow, STEADY, STEADY, COMMIT_STEADY),
    // All leases have ended when it goes on: whoever is asked first takes over.
    (Scenario::EtcdFrozen, TAKEOVER, TAKEOVER, STARTED_AGAIN),
    (Scenario::S3Errors, RECOVERED, STEADY, COMMIT_STEADY),
    // Each batch waits for the object that is on its way and for its own.
    (Scenario::S3Slow, limit(0, 5_000), STEADY, COMMIT_STEADY),
    (Scenario::S3VerySlow, RECOVERED, STEADY, COMMIT_STEADY),
    (Scenario::S3SlowLink, STEADY, STEADY, COMMIT_STEADY),
    // What fails is more than Unavailable's twentieth.
    (Scenario::S3Resets, RECOVERED, STEADY, COMMIT_STEADY),
    (Scenario::S3Narrow, limit(0, 5_000), STEADY, COMMIT_STEADY),
    (Scenario::S3Truncated, TAKEOVER, TAKEOVER, COMMIT_TAKEOVER),
    (Scenario::S3StaleList, TAKEOVER, TAKEOVER, COMMIT_TAKEOVER),
    (Scenario::S3Storm, RECOVERED, STEADY, COMMIT_STEADY),
    // A third of the writes fails, which is more than Unavailable's twentieth.
    (Scenario::LostReplies, RECOVERED, STEADY, COMMIT_STEADY),
    (Scenario::LatePut, TAKEOVER, TAKEOVER, COMMIT_TAKEOVER),
    (Scenario::GracefulMoves, STEADY, STEADY, COMMIT_STEADY),
    (Scenario::ForcedMoves, TAKEOVER, TAKEOVER, COMMIT_TAKEOVER),
    (Scenario::EtcdQuorum, STEADY, STEADY, COMMIT_WITHOUT_ETCD),
    (Scenario::EtcdLeader, STEADY, STEADY, COMMIT_TAKEOVER),
    (Scenario::FullDisk, RECOVERED, STEADY, RECOVERED),
    (
        Scenario::EmbeddedKill,
        EMBEDDED_AGAIN,
        EMBEDDED_AGAIN,
        EMBEDDED_AGAIN,
    ),
];

impl Limit {
    /// The limit as a time.
    pub(super) fn time(self, ttl: Duration, fault: Duration) -> Duration {
        let fault = if self.with_fault {
            fault
        } else {
            Duration::ZERO
        };
        ttl * self.ttls + fault + Duration::from_millis(self.ms)
    }
}

/// How long after an acknowledgment a broker may show a high watermark that does not cover it: an owner
/// that was replaced without its knowledge stops at the end of its proof of life.
pub(super) fn freshness(ttl: Duration) -> Duration {
    limit(1, 500).time(ttl, Duration::ZERO)
}

/// What brokers may hold more than before when the load is over: what they cache and pool.
pub(super) const MEMORY_BACK: u64 = 128 << 20;
/// A takeover asks the store much at once (47 connections more were seen), and its connections stay open
/// for a while; the next takeover uses the same.
pub(super) const DESCRIPTORS_BACK: u64 = 96;
pub(super) const THREADS_BACK: u64 = 16;

/// The limits of a scenario whose fault lasted `fault`.
pub(super) fn limits(
    scenario: Scenario,
    ttl: Duration,
    fault: Duration,
) -> [(Progress, Duration); 3] {
    let row = TABLE.iter().find(|(of, ..)| *of == scenario);
    let (_, acknowledged, read, committed) = row.expect("each scenario has a row");
    [
        (Progress::Acknowledged, acknowledged.time(ttl, fault)),
        (Progress::Read, read.time(ttl, fault)),
        (Progress::Committed, committed.time(ttl, fault)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_has_one_row() {
        let named: Vec<Scenario> = TABLE.iter().map(|(scenario, ..)| *scenario).collect();
        assert_eq!(named, Scenario::ALL);
        let [(_, taken), ..] = limits(
            Scenario::KillOwner,
            Duration::from_secs(5),
            Duration::from_secs(9),
        );
        assert_eq!(
            taken,
            Duration::from_secs(7),
            "a dead owner is replaced within TTL + 2 s"
        );
    }
}
