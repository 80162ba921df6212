//! One wake-up time for each group that has timers.

use std::collections::BTreeSet;

use super::ids::{GroupId, Millis};

/// Groups in the order of their next timer.
#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(Millis, GroupId)>,
}

impl Timers {
    /// Moves a group from one wake-up time to another.
    pub(super) fn set(&mut self, group: &GroupId, from: Option<Millis>, to: Option<Millis>) {
        if from == to {
            return;
        }
        if let Some(at) = from {
            let removed = self.order.remove(&(at, group.clone()));
            assert!(removed, "an armed group is in the order");
        }
        if let Some(at) = to {
            let inserted = self.order.insert((at, group.clone()));
            assert!(inserted, "a group is armed once");
        }
    }

    /// The earliest wake-up time.
    pub(super) fn next(&self) -> Option<Millis> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Groups whose time has come, in order; they stay armed.
    pub(super) fn due(&self, now: Millis) -> Vec<GroupId> {
        let due = self.order.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, group)| group.clone()).collect()
    }

    /// Armed groups.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}
