//! How often somebody may try a password: so many failures a minute from one address, and from all together.
//!
//! *Control thread*, behind a lock. Bounded: addresses are forgotten with their minute.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures a minute from one address, as in the original.
pub(super) const FAILURES_MAX: u32 = 20;
/// Failures a minute from all addresses.
const ALL_MAX: u32 = 200;
/// The minute.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are told apart.
const ADDRESSES_MAX: usize = 1_024;

#[derive(Debug)]
struct Window {
    since: Instant,
    count: u32,
}

impl Window {
    /// Counts one, if there is room; the seconds to wait if not.
    fn take(&mut self, now: Instant, most: u32) -> Result<(), u64> {
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.count) = (now, 0);
        }
        if self.count >= most {
            let left = (self.since + WINDOW).saturating_duration_since(now);
            return Err(left.as_secs() + 1);
        }
        self.count += 1;
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Counts {
    by_address: HashMap<IpAddr, Window>,
    all: Option<Window>,
}

/// Who has failed how often.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<Counts>);

impl Attempts {
    /// A password is about to be tried: it counts as a failure until [`Attempts::succeeded`].
    ///
    /// # Errors
    /// Seconds to wait before the next.
    pub(super) fn begin(&self, from: IpAddr, now: Instant) -> Result<(), u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Window {
            since: now,
            count: 0,
        };
        counts.all.get_or_insert(fresh).take(now, ALL_MAX)?;
        if counts.by_address.len() >= ADDRESSES_MAX && !counts.by_address.contains_key(&from) {
            let lives = |window: &Window| now.saturating_duration_since(window.since) < WINDOW;
            counts.by_address.retain(|_, window| lives(window));
        }
        if counts.by_address.len() >= ADDRESSES_MAX && !counts.by_address.contains_key(&from) {
            return Err(WINDOW.as_secs());
        }
        let fresh = || Window {
            since: now,
            count: 0,
        };
        let window = counts.by_address.entry(from).or_insert_with(fresh);
        window.take(now, FAILURES_MAX)
    }

    /// It was the right one.
    pub(super) fn succeeded(&self, from: IpAddr) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = counts.by_address.get_mut(&from) {
            window.count = window.count.saturating_sub(1);
        }
        if let Some(window) = &mut counts.all {
            window.count = window.count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + last).to_be_bytes())
    }

    #[test]
    fn failures_are_bounded_by_address_for_a_minute() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..FAILURES_MAX {
            assert!(attempts.begin(address(1), now).is_ok());
        }
        assert_eq!(attempts.begin(address(1), now), Err(61));
        assert!(attempts.begin(address(2), now).is_ok());
        assert!(attempts.begin(address(1), now + WINDOW).is_ok());
    }

    #[test]
    fn who_knows_the_password_may_show_it_as_often_as_they_like() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..10 * FAILURES_MAX {
            assert!(attempts.begin(address(1), now).is_ok());
            attempts.succeeded(address(1));
        }
    }

    #[test]
    fn many_addresses_together_are_bounded_too() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let tried = (0..5_000).filter(|last| attempts.begin(address(*last), now).is_ok());
        assert_eq!(tried.count(), ALL_MAX as usize);
    }
}
