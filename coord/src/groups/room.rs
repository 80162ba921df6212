//! How many groups a cluster may have: one bound, of which each slot brings a share.
//!
//! A broker cannot count the groups of others. Groups are spread over slots by a hash of their names, so a
//! broker that coordinates some of the slots may hold as large a part of the groups. Invariants: a group takes
//! one place from when it is made until it is gone; a slot that is given up gives back its share and its places.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The room of the slots that one broker has open, on whatever shard.
#[derive(Debug)]
pub struct GroupRoom {
    /// Most groups of all slots; none where there is no bound.
    most: Option<usize>,
    /// All slots.
    slots: usize,
    /// Those that are open here.
    open: AtomicUsize,
    /// Groups in them.
    used: AtomicUsize,
}

impl Default for GroupRoom {
    /// Without a bound.
    fn default() -> Self {
        Self::new(None, 1)
    }
}

impl GroupRoom {
    /// Room for `most` groups in `slots` slots, none of them open here.
    pub fn new(most: Option<usize>, slots: u16) -> Self {
        assert!(slots > 0, "a cluster has slots");
        Self {
            most,
            slots: usize::from(slots),
            open: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
        }
    }

    /// Most groups of the slots that are open here: their share of the bound, rounded up.
    fn share(&self) -> Option<usize> {
        let open = self.open.load(Ordering::Relaxed);
        let most = self.most?.saturating_mul(open);
        Some(most.div_ceil(self.slots))
    }
}

/// The places that the groups of one slot take. Nothing else is guarded by the counts, so no order of memory is
/// needed.
#[derive(Debug)]
pub(super) struct Places {
    room: Arc<GroupRoom>,
    taken: usize,
}

impl Places {
    /// Those of a slot that opens, without a group.
    pub(super) fn new(room: Arc<GroupRoom>) -> Self {
        room.open.fetch_add(1, Ordering::Relaxed);
        Self { room, taken: 0 }
    }

    /// Takes one for a new group, if there is room; whether there was.
    #[must_use]
    pub(super) fn take(&mut self) -> bool {
        let share = self.room.share();
        let used = &self.room.used;
        let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            share.is_none_or(|share| used < share).then_some(used + 1)
        });
        self.taken += usize::from(taken.is_ok());
        taken.is_ok()
    }

    /// Takes those of groups that are there already, whether there is room or not.
    pub(super) fn take_all(&mut self, groups: usize) {
        self.room.used.fetch_add(groups, Ordering::Relaxed);
        self.taken += groups;
    }

    /// Gives back that of a group that is gone.
    pub(super) fn give_back(&mut self) {
        assert!(self.taken > 0, "a group that goes has a place");
        let used = self.room.used.fetch_sub(1, Ordering::Relaxed);
        assert!(used >= self.taken, "the room counts all places");
        self.taken -= 1;
    }

    /// Places that are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.taken, Ordering::Relaxed);
        self.room.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(places: &mut Places) -> usize {
        (0..100).take_while(|_| places.take()).count()
    }

    #[test]
    fn open_slots_share_their_part_of_the_bound() {
        let room = Arc::new(GroupRoom::new(Some(10), 4));
        let mut first = Places::new(room.clone());
        assert_eq!(taken(&mut first), 3, "a quarter, rounded up");
        let mut second = Places::new(room.clone());
        assert_eq!(taken(&mut second), 2, "five of two slots");
        first.give_back();
        assert!(second.take(), "what one gives back the other may take");
        drop(second);
        assert!(first.take(), "a slot takes its share and its groups along");
        assert!(!first.take());
    }

    #[test]
    fn groups_that_are_there_stay_and_let_no_others_in() {
        let room = Arc::new(GroupRoom::new(Some(2), 1));
        let mut places = Places::new(room);
        places.take_all(3);
        assert!(!places.take());
        places.give_back();
        assert!(!places.take());
        places.give_back();
        assert!(places.take());
    }

    #[test]
    fn without_a_bound_there_is_always_room() {
        let mut places = Places::new(Arc::default());
        assert_eq!(taken(&mut places), 100);
    }
}
