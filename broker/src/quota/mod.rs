//! Client quotas: how much a client may use, and what it has used.
//!
//! Invariants: whoever has no quota pays one comparison a request ([`Signal`]); clients that share an
//! entity share its budget, whatever shard they are on ([`Bucket`]); what was used is never forgotten before
//! it is paid for. Rules of Kafka's `ClientQuotaManager`, `ClientRequestQuotaManager`,
//! `ControllerMutationQuotaManager` and `ConnectionQuotas`.
//!
//! | file | holds |
//! |---|---|
//! | [`rate`] | the arithmetic: `(state, amount, now) -> throttle` |
//! | [`bucket`] | the state of a budget, shared by shards without a lock |
//! | [`table`] | which quota holds for whom |
//! | [`limits`] | what limits one connection |

pub mod bucket;
pub mod limits;
pub mod rate;
pub mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use bucket::Bucket;
pub use limits::{FoundLimits, Limit, Limits};
pub use rate::{Paid, Rate};
pub use table::{BucketKey, QuotaTable};

/// Who connects without authentication.
pub const ANONYMOUS: &str = "ANONYMOUS";

/// What is limited, each with a quota of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaKind {
    /// Bytes of Produce requests a second.
    Produce,
    /// Bytes of Fetch replies a second.
    Fetch,
    /// Time that shards spend on requests, in percent of one thread.
    Request,
    /// Partitions that are created and deleted a second.
    Mutation,
    /// Bytes of Produce requests a second, of all clients of the namespace together.
    NamespaceProduce,
    /// Bytes of Fetch replies a second, of all clients of the namespace together.
    NamespaceFetch,
}

impl QuotaKind {
    /// Those that users and clients have, which are stored.
    pub const OF_CLIENTS: [Self; 4] = [Self::Produce, Self::Fetch, Self::Request, Self::Mutation];
    /// Those of the namespace, which the settings have.
    pub const OF_NAMESPACE: [Self; 2] = [Self::NamespaceProduce, Self::NamespaceFetch];
    /// How many there are.
    pub const COUNT: usize = Self::OF_CLIENTS.len() + Self::OF_NAMESPACE.len();

    /// Kafka's name of the quota, where it has one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Produce => "producer_byte_rate",
            Self::Fetch => "consumer_byte_rate",
            Self::Request => "request_percentage",
            Self::Mutation => "controller_mutation_rate",
            Self::NamespaceProduce => "namespace_produce",
            Self::NamespaceFetch => "namespace_fetch",
        }
    }

    /// What a quota of this value lets a client use in a second: bytes, nanoseconds or partitions.
    fn per_second(self, value: f64) -> f64 {
        match self {
            Self::Request => value / 100.0 * 1e9,
            Self::Produce
            | Self::Fetch
            | Self::Mutation
            | Self::NamespaceProduce
            | Self::NamespaceFetch => value,
        }
    }
}

/// Kafka's name of the quota of connections that an IP address opens a second.
pub const CONNECTION_RATE: &str = "connection_creation_rate";

/// How long a client may use more than its quota lets it: Kafka's samples and their length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Samples.
    pub samples: u32,
    /// Length of a sample.
    pub sample: Duration,
}

impl Window {
    /// What an idle client may use at once, as time at its quota. Kafka judges a rate over all samples but the
    /// present one, of which only a part has passed; its token bucket for mutations holds all of them.
    pub fn burst(&self, kind: QuotaKind) -> Duration {
        match kind {
            QuotaKind::Mutation => self.sample * self.samples,
            QuotaKind::Produce
            | QuotaKind::Fetch
            | QuotaKind::Request
            | QuotaKind::NamespaceProduce
            | QuotaKind::NamespaceFetch => self.before(),
        }
    }

    /// All samples but the present one.
    pub fn before(&self) -> Duration {
        self.sample * (self.samples - 1)
    }
}

/// Tells connections when to look up their quotas: one number that the control thread changes with every
/// change of quotas of users and clients, and the clock of all budgets.
#[derive(Debug)]
pub struct Signal {
    state: AtomicU64,
    epoch: Instant,
}

impl Default for Signal {
    fn default() -> Self {
        Self {
            state: AtomicU64::new(0),
            epoch: Instant::now(),
        }
    }
}

/// What [`Signal`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State(u64);

impl State {
    /// Whether any user or client has a quota, or the namespace.
    pub fn is_limited(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Signal {
    /// What holds now.
    pub fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    /// Quotas have changed; whether there are any now. One writer.
    pub fn changed(&self, is_limited: bool) {
        let next = (self.state.load(Ordering::Relaxed) >> 1) + 1;
        let state = next << 1 | u64::from(is_limited);
        self.state.store(state, Ordering::Release);
    }

    /// Nanoseconds since the clock of the budgets began.
    pub fn now_ns(&self) -> i64 {
        i64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_told_and_whether_anyone_is_limited() {
        let signal = Signal::default();
        let before = signal.state();
        assert!(!before.is_limited());
        signal.changed(true);
        let limited = signal.state();
        assert!(limited.is_limited() && limited != before);
        signal.changed(true);
        assert_ne!(signal.state(), limited);
        signal.changed(false);
        assert!(!signal.state().is_limited());
        assert_ne!(signal.state(), before, "a connection looks again");
    }
}
