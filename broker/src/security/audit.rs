//! What is told of denials: some lines a second, however many there are.

use std::cell::Cell;

/// Lines of one second at most; clients decide how many denials there are.
const LINES_A_SECOND: u32 = 20;

/// Bounds the lines of one shard. Shard-owned.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    second: Cell<u64>,
    told: Cell<u32>,
    untold: Cell<u64>,
}

impl Audit {
    /// Whether a denial is told of now, and how many before it were not; `now_ms` by the shard's clock.
    pub(crate) fn tell(&self, now_ms: u64) -> Option<u64> {
        let second = now_ms / 1000;
        if self.second.replace(second) != second {
            self.told.set(0);
        }
        if self.told.get() >= LINES_A_SECOND {
            self.untold.set(self.untold.get() + 1);
            return None;
        }
        self.told.set(self.told.get() + 1);
        Some(self.untold.replace(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_is_counted() {
        let audit = Audit::default();
        let told = (0..50).filter(|_| audit.tell(5).is_some()).count();
        assert_eq!(told, LINES_A_SECOND as usize);
        assert_eq!(audit.tell(1000), Some(30));
        assert_eq!(audit.tell(1001), Some(0));
    }
}
