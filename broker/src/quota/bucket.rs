//! The state of one budget: one atomic number, which shards change without a lock.

use std::sync::atomic::{AtomicI64, Ordering};

use super::rate::{Paid, Rate};

/// What clients that share a budget have used of it. There is one only where a quota is set.
#[derive(Debug)]
pub struct Bucket(AtomicI64);

impl Default for Bucket {
    fn default() -> Self {
        Self(AtomicI64::new(Paid::LONG_AGO.0))
    }
}

impl Bucket {
    /// Until when what was used is paid for.
    pub fn paid(&self) -> Paid {
        Paid(self.0.load(Ordering::Relaxed))
    }

    /// Uses an amount; gives what is owed afterwards, in nanoseconds.
    pub fn charge(&self, rate: &Rate, amount: f64, now_ns: i64) -> i64 {
        let mut owed = 0;
        let charged = self.change(|paid| {
            let (paid, now_owed) = rate.charge(paid, amount, now_ns);
            owed = now_owed;
            Ok(paid)
        });
        assert!(charged.is_ok(), "nothing refuses a charge");
        owed
    }

    /// As [`Rate::try_charge`].
    ///
    /// # Errors
    /// How long to wait, in nanoseconds.
    pub fn try_charge(&self, rate: &Rate, amount: f64, now_ns: i64) -> Result<(), i64> {
        self.change(|paid| rate.try_charge(paid, amount, now_ns))
    }

    /// Takes back a charge of what was not used after all.
    pub fn give_back(&self, rate: &Rate, amount: f64) {
        let given = self.change(|paid| Ok(rate.give_back(paid, amount)));
        assert!(given.is_ok(), "nothing refuses what is given back");
    }

    /// As [`Rate::charge_unless_owed`].
    ///
    /// # Errors
    /// What is owed, in nanoseconds.
    pub fn charge_unless_owed(&self, rate: &Rate, amount: f64, now_ns: i64) -> Result<(), i64> {
        self.change(|paid| rate.charge_unless_owed(paid, amount, now_ns))
    }

    /// Nothing else is guarded by the number, so no order of memory is needed.
    fn change(&self, mut next: impl FnMut(Paid) -> Result<Paid, i64>) -> Result<(), i64> {
        let mut refused = 0;
        let changed = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                next(Paid(now))
                    .map(|paid| paid.0)
                    .inspect_err(|wait| refused = *wait)
                    .ok()
            });
        changed.map(drop).map_err(|_| refused)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn shards_that_share_a_budget_lose_no_charge() {
        let bucket = Arc::new(Bucket::default());
        let rate = Rate::new(1_000.0, Duration::from_secs(1));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let bucket = bucket.clone();
                std::thread::spawn(move || {
                    for _ in 0..1_000 {
                        bucket.charge(&rate, 1.0, 0);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|it| it.join().unwrap());
        assert_eq!(
            bucket.paid(),
            Paid(3_000_000_000),
            "4 s used, 1 s of it free"
        );
        assert_eq!(bucket.try_charge(&rate, 1.0, 0), Err(3_001_000_000));
        assert_eq!(bucket.charge_unless_owed(&rate, 1.0, 0), Err(3_000_000_000));
        assert_eq!(
            bucket.paid(),
            Paid(3_000_000_000),
            "what is refused is not used"
        );
    }
}
