//! Proof of life: how long this broker may answer reads without asking anybody.
//!
//! Shared by the control thread, which writes, and all shards, which compare it with the clock
//! (DESIGN §4). A session is proven by a lease keep-alive or by an acknowledged WAL object,
//! whichever was sent last, by this broker's own monotonic clock. Unproven for longer than the
//! time to live, fetches, offset lookups and group requests are answered as by a broker that owns
//! nothing, so that a process that was frozen, or cut from everything, serves nothing stale.
//!
//! A session that the metadata store says is gone is never proven again, whatever proof is still
//! on its way.
//!
//! Invariant: the proof never ends earlier because of a proof that was sent earlier.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coord::rules::{self, Rule};

/// The proof never ends: the lock of the data directory is held.
const FOREVER: u64 = u64::MAX;
/// The session is gone. Greater than every time, so that no later proof replaces it.
const ENDED: u64 = FOREVER - 1;
/// The last time that is told apart.
const LATEST: u64 = ENDED - 1;

/// Until when this broker's session is proven. Immutable but for one atomic.
#[derive(Debug)]
pub struct Proof {
    origin: Instant,
    ttl: Duration,
    /// When the last proof was sent, in microseconds after `origin`, plus one; 0: never.
    sent: AtomicU64,
}

impl Proof {
    /// Not proven yet; each proof holds for `ttl` from when it was sent.
    pub fn new(ttl: Duration) -> Self {
        Self {
            origin: Instant::now(),
            ttl,
            sent: AtomicU64::new(0),
        }
    }

    /// Proven as long as the process lives.
    pub fn forever() -> Self {
        Self {
            sent: AtomicU64::new(FOREVER),
            ..Self::new(Duration::MAX)
        }
    }

    /// Whether no proof is ever needed.
    pub fn is_forever(&self) -> bool {
        self.sent.load(Ordering::Relaxed) == FOREVER
    }

    fn stamp(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin).as_micros();
        u64::try_from(since).map_or(LATEST, |since| since.saturating_add(1).min(LATEST))
    }

    /// A proof that was sent at `sent` has been answered.
    pub fn prove(&self, sent: Instant) {
        self.sent.fetch_max(self.stamp(sent), Ordering::Relaxed);
    }

    /// The session is gone: proven no more, unless no proof is ever needed.
    pub fn end(&self) {
        self.sent.fetch_max(ENDED, Ordering::Relaxed);
    }

    /// The time to live of every proof so far is over.
    #[cfg(test)]
    pub(crate) fn run_out(&self) {
        self.sent.store(0, Ordering::Relaxed);
    }

    /// Whether the session is proven now. Reads the clock, unless no proof is ever needed.
    pub fn holds(&self) -> bool {
        self.is_forever() || self.holds_at(Instant::now())
    }

    fn holds_at(&self, now: Instant) -> bool {
        if !rules::holds(Rule::ProofExpires) {
            return true;
        }
        let ttl = u64::try_from(self.ttl.as_micros()).unwrap_or(LATEST);
        match self.sent.load(Ordering::Relaxed) {
            FOREVER => true,
            0 | ENDED => false,
            sent => self.stamp(now) < sent.saturating_add(ttl),
        }
    }

    /// Whether a proof that was sent at `at` or later has been answered.
    pub fn holds_since(&self, at: Instant) -> bool {
        let sent = self.sent.load(Ordering::Relaxed);
        sent != ENDED && sent >= self.stamp(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_from_when_it_was_sent_and_never_ends_early() {
        let ttl = Duration::from_secs(10);
        let proof = Proof::new(ttl);
        let start = proof.origin;
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(!proof.holds_at(at(0)));
        proof.prove(at(5));
        assert!(proof.holds_at(at(14)) && !proof.holds_at(at(15)));
        assert!(proof.holds_since(at(5)) && !proof.holds_since(at(6)));
        proof.prove(at(3));
        assert!(
            proof.holds_at(at(14)),
            "an older proof that is answered later takes nothing away"
        );
        proof.prove(at(20));
        assert!(proof.holds_at(at(29)));
    }

    #[test]
    fn a_session_that_is_gone_is_never_proven_again() {
        let proof = Proof::new(Duration::from_secs(10));
        let start = proof.origin;
        proof.prove(start);
        assert!(proof.holds_at(start) && proof.holds_since(start));
        proof.end();
        proof.prove(start + Duration::from_secs(1));
        assert!(!proof.holds_at(start + Duration::from_secs(1)));
        assert!(!proof.holds_since(start));
    }

    #[test]
    fn with_the_directory_locked_nothing_has_to_be_proven() {
        let proof = Proof::forever();
        proof.end();
        assert!(proof.holds() && proof.holds_since(Instant::now()));
        assert!(proof.holds_at(proof.origin + Duration::from_secs(1 << 40)));
    }
}
