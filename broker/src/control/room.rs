//! Room in the namespace for topics that are being created and for partitions that are being added.
//!
//! Control thread. Invariant: what is being made and what is there count once, whatever order the watch and our own
//! transactions tell of it: a topic counts with the partitions that it has or is to have, whichever are more.

use std::cell::RefCell;
use std::collections::BTreeMap;

use segment::TopicName;

use crate::config::NamespaceSettings;
use crate::namespace::{Full, Held};

/// Topics that are being made or are growing, with the partitions that each is to have.
#[derive(Debug, Default)]
pub(super) struct Room {
    wanted: RefCell<BTreeMap<TopicName, usize>>,
}

/// Room that is kept for one topic until this is dropped.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    room: &'a Room,
    name: TopicName,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.room.wanted.borrow_mut().remove(&self.name);
    }
}

impl Room {
    /// Keeps room for a topic to have so many partitions. `topics` are those that are there, of which `count` gives the
    /// partitions. The changes of one name are serial.
    ///
    /// # Errors
    /// There is no room.
    pub(super) fn keep<T>(
        &self,
        bounds: &NamespaceSettings,
        topics: &BTreeMap<TopicName, T>,
        count: impl Fn(&T) -> usize,
        (name, partitions): (&TopicName, usize),
    ) -> Result<Kept<'_>, Full> {
        let mut wanted = self.wanted.borrow_mut();
        if bounds.bounds_topics() {
            let now = |name: &TopicName| topics.get(name).map_or(0, &count);
            let is_new = |name: &TopicName| !topics.contains_key(name);
            let grow = wanted
                .iter()
                .map(|(name, to_be)| to_be.saturating_sub(now(name)));
            let held = Held {
                topics: topics.len() + wanted.keys().filter(|name| is_new(name)).count(),
                partitions: topics.values().map(&count).sum::<usize>() + grow.sum::<usize>(),
            };
            let more = Held {
                topics: usize::from(is_new(name)),
                partitions: partitions.saturating_sub(now(name)),
            };
            bounds.room_for(more, held)?;
        }
        let before = wanted.insert(name.clone(), partitions);
        assert!(before.is_none(), "the changes of one name are serial");
        Ok(Kept {
            room: self,
            name: name.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_being_made_counts_once_whether_it_is_known_yet_or_not() {
        let settings = [
            ("namespace.topics_max", "3"),
            ("namespace.partitions_max", "10"),
        ];
        let bounds = Config::with(&settings).unwrap().namespace;
        let name = |name: &str| TopicName::new(name).unwrap();
        let mut topics = BTreeMap::from([(name("a"), 4)]);
        let room = Room::default();
        let keep = |topics: &BTreeMap<TopicName, usize>, of: &str, partitions| {
            room.keep(&bounds, topics, |count| *count, (&name(of), partitions))
        };
        let b = keep(&topics, "b", 3).unwrap();
        assert!(keep(&topics, "c", 4).is_err(), "eleven partitions");
        topics.insert(name("b"), 3);
        let c = keep(&topics, "c", 3).expect("b is not counted twice");
        assert!(keep(&topics, "d", 0).is_err(), "a fourth topic");
        assert!(keep(&topics, "a", 5).is_err(), "an eleventh partition");
        drop((b, c));
        let grown = keep(&topics, "a", 7).expect("c was not made after all");
        assert!(keep(&topics, "c", 1).is_err(), "a is to have seven");
        topics.insert(name("a"), 7);
        drop(grown);
        assert!(keep(&topics, "c", 1).is_err());
        topics.remove(&name("b"));
        assert!(keep(&topics, "c", 3).is_ok());
    }
}
