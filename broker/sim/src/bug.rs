//! The defects that can be planted, each of which the simulator has to find.

use coord::planted::Bug;
use coord::rules::Rule;

/// A defect to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A defect of the code.
    Bug(Bug),
    /// A rule of the log protocol that does not hold.
    Without(Rule),
}

/// All of them, by name.
pub const ALL: &[(&str, Planted)] = &[
    ("ack-before-put", Planted::Bug(Bug::AckBeforePut)),
    (
        "watermark-before-durability",
        Planted::Bug(Bug::WatermarkBeforeDurability),
    ),
    (
        "base-offset-off-by-one",
        Planted::Bug(Bug::BaseOffsetOffByOne),
    ),
    ("stale-index", Planted::Bug(Bug::StaleIndex)),
    ("lost-wakeup", Planted::Bug(Bug::LostWakeup)),
    (
        "old-producer-epoch-accepted",
        Planted::Bug(Bug::OldProducerEpochAccepted),
    ),
    (
        "garbage-deletes-needed",
        Planted::Without(Rule::FloorBelowNeeded),
    ),
    (
        "acknowledged-out-of-sequence",
        Planted::Without(Rule::AcknowledgedInSequence),
    ),
    ("retries-do-not-join", Planted::Without(Rule::RetriesJoin)),
    (
        "unknown-outcome-assumed",
        Planted::Without(Rule::UnknownOutcomeIsRead),
    ),
    (
        "duplicate-window-off-by-one",
        Planted::Bug(Bug::DuplicateWindowOffByOne),
    ),
    (
        "dead-generation-commits",
        Planted::Bug(Bug::DeadGenerationCommits),
    ),
    (
        "refusal-is-success",
        Planted::Without(Rule::RefusalsAreRead),
    ),
    (
        "load-before-fence",
        Planted::Without(Rule::FenceBeforeLoading),
    ),
    ("owner-not-compared", Planted::Without(Rule::OwnerIsGone)),
    (
        "producers-not-replayed",
        Planted::Without(Rule::DirectoriesReplayProducers),
    ),
    (
        "lease-renewed-after-expiry",
        Planted::Bug(Bug::LeaseRenewedAfterExpiry),
    ),
    (
        "partial-body-accepted",
        Planted::Bug(Bug::PartialBodyAccepted),
    ),
    (
        "checksum-not-verified",
        Planted::Bug(Bug::ChecksumNotVerified),
    ),
];

/// The defect of a name.
pub fn named(name: &str) -> Option<Planted> {
    ALL.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, planted)| *planted)
}
