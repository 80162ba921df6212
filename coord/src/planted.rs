//! Defects that the simulator plants, to prove that it finds such.
//!
//! With the feature `simulation`, which only the simulator asks for, one of them can be in force on a
//! thread; in a product [`is_planted`] is `false` at compile time. Rules of the log protocol are taken out
//! by [`crate::rules`]; what is here are defects of another kind.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A WAL object is acknowledged before its PUT has completed.
    AckBeforePut,
    /// What is appended is visible before it is durable.
    WatermarkBeforeDurability,
    /// Producers are told an offset that is one too high.
    BaseOffsetOffByOne,
    /// Four batches of a producer are known as duplicates in place of five.
    DuplicateWindowOffByOne,
    /// The index of another segment is used.
    StaleIndex,
    /// Those who wait for records are not woken.
    LostWakeup,
    /// Offsets are committed for a generation that is over.
    DeadGenerationCommits,
    /// A session goes on although the metadata store says that it has ended.
    LeaseRenewedAfterExpiry,
    /// A read that got fewer bytes than it asked for is taken as whole.
    PartialBodyAccepted,
    /// Batches that come from the store are taken without a look at their checksums.
    ChecksumNotVerified,
    /// A batch of an old producer epoch is appended.
    OldProducerEpochAccepted,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 11] = [
        Self::AckBeforePut,
        Self::WatermarkBeforeDurability,
        Self::BaseOffsetOffByOne,
        Self::DuplicateWindowOffByOne,
        Self::StaleIndex,
        Self::LostWakeup,
        Self::DeadGenerationCommits,
        Self::LeaseRenewedAfterExpiry,
        Self::PartialBodyAccepted,
        Self::ChecksumNotVerified,
        Self::OldProducerEpochAccepted,
    ];
}

/// Whether a defect is in force: never.
#[cfg(not(feature = "simulation"))]
#[inline(always)]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "simulation")]
pub use switch::{is_planted, plant};

#[cfg(feature = "simulation")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether a defect is in force on this thread.
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a defect on this thread, for as long as it lives.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }
}
