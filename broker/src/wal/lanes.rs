//! Which sealed sections go into the next WAL object, and which wait for an object of their own, as
//! a state machine without I/O, clock or runtime.
//!
//! Control thread. Rules (DESIGN §3.5, log-protocol H3):
//! - a section of [`LARGE_SECTION_BYTES`] or more is stored as an object of its own, which takes no WAL
//!   sequence; it joins the first WAL object that is built after it is durable;
//! - sections of one partition join in the order in which they were sealed, so only that partition
//!   waits;
//! - at most [`OWN_UPLOADS_MAX`] of them are under way.

use std::collections::{HashMap, VecDeque};

use coord::rules::{self, Rule};
use segment::TopicPartition;

use crate::partition::LARGE_SECTION_BYTES;

/// Objects of their own under way at a time.
pub const OWN_UPLOADS_MAX: usize = 4;

/// A sealed section, as far as lanes care.
pub trait Section {
    /// Its partition.
    fn partition(&self) -> TopicPartition;
    /// Its bytes.
    fn bytes(&self) -> u64;
}

/// The number of an object of its own in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnCounter(pub u64);

/// A section that goes into the next WAL object.
#[derive(Debug, PartialEq, Eq)]
pub struct Ready<S> {
    /// The section.
    pub section: S,
    /// The object that holds its bytes; none: the WAL object itself.
    pub own: Option<OwnCounter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its bytes go into the WAL object.
    Inline,
    /// It needs an object of its own, which is not under way yet.
    Queued,
    /// Its own object is under way.
    Uploading(OwnCounter),
    /// Its own object is durable.
    Durable(OwnCounter),
}

/// The sections that have been sealed and are in no WAL object yet.
#[derive(Debug)]
pub struct Lanes<S> {
    /// Partitions with a section that is not ready, in the order of sealing. Never empty lanes.
    waiting: HashMap<TopicPartition, VecDeque<(S, State)>>,
    /// Partitions with queued sections, in the order of sealing.
    queue: VecDeque<TopicPartition>,
    ready: Vec<Ready<S>>,
    uploads: HashMap<OwnCounter, TopicPartition>,
    next: u64,
}

impl<S> Default for Lanes<S> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            queue: VecDeque::new(),
            ready: Vec::new(),
            uploads: HashMap::new(),
            next: 0,
        }
    }
}

impl<S: Section> Lanes<S> {
    /// Sections have been sealed, of one partition in the order of their offsets.
    pub fn sealed(&mut self, sections: impl IntoIterator<Item = S>) {
        for section in sections {
            let partition = section.partition();
            let is_large = section.bytes() >= LARGE_SECTION_BYTES;
            if !is_large && !self.waiting.contains_key(&partition) {
                self.ready.push(Ready { section, own: None });
                continue;
            }
            let state = match is_large {
                true => State::Queued,
                false => State::Inline,
            };
            let lane = self.waiting.entry(partition).or_default();
            lane.push_back((section, state));
            if is_large {
                self.queue.push_back(partition);
            }
        }
    }

    /// The next section to be stored as an object of its own, if there is room for its upload.
    /// Then call [`Self::stored`].
    pub fn next_upload(&mut self) -> Option<(OwnCounter, &S)> {
        if self.uploads.len() >= OWN_UPLOADS_MAX {
            return None;
        }
        let partition = self.queue.pop_front()?;
        let counter = OwnCounter(self.next);
        self.next += 1;
        self.uploads.insert(counter, partition);
        let lane = self.waiting.get_mut(&partition);
        let lane = lane.expect("a queued section waits in its lane");
        let queued = lane.iter_mut().find(|(_, state)| *state == State::Queued);
        let (section, state) = queued.expect("a queued section waits in its lane");
        *state = State::Uploading(counter);
        Some((counter, section))
    }

    /// An object of its own is durable.
    ///
    /// # Panics
    /// If it was not under way.
    pub fn stored(&mut self, counter: OwnCounter) {
        let partition = self.uploads.remove(&counter);
        let partition = partition.expect("only what is under way is stored");
        let lane = self.waiting.get_mut(&partition);
        let lane = lane.expect("what is under way waits in its lane");
        let stored = lane
            .iter_mut()
            .find(|(_, state)| *state == State::Uploading(counter));
        stored.expect("what is under way waits in its lane").1 = State::Durable(counter);
        while let Some((section, state)) = lane.pop_front() {
            let own = match state {
                State::Inline => None,
                State::Durable(counter) => Some(counter),
                State::Uploading(counter) if !rules::holds(Rule::OwnObjectFirst) => Some(counter),
                State::Queued | State::Uploading(_) => {
                    lane.push_front((section, state));
                    break;
                }
            };
            self.ready.push(Ready { section, own });
        }
        if lane.is_empty() {
            self.waiting.remove(&partition);
        }
    }

    /// Whether the next WAL object has sections.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The sections of the next WAL object.
    pub fn take_ready(&mut self) -> Vec<Ready<S>> {
        std::mem::take(&mut self.ready)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use segment::{PartitionIndex, TopicId};

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Sealed {
        partition: i32,
        number: u32,
        large: bool,
    }

    impl Section for Sealed {
        fn partition(&self) -> TopicPartition {
            TopicPartition::new(TopicId::new([1; 16]), PartitionIndex::new(self.partition))
        }

        fn bytes(&self) -> u64 {
            if self.large {
                LARGE_SECTION_BYTES
            } else {
                LARGE_SECTION_BYTES - 1
            }
        }
    }

    fn section(partition: i32, number: u32, large: bool) -> Sealed {
        Sealed {
            partition,
            number,
            large,
        }
    }

    fn taken(lanes: &mut Lanes<Sealed>) -> Vec<(i32, u32, Option<u64>)> {
        let ready = lanes.take_ready().into_iter();
        let row = |r: Ready<Sealed>| {
            (
                r.section.partition,
                r.section.number,
                r.own.map(|own| own.0),
            )
        };
        ready.map(row).collect()
    }

    #[test]
    fn only_the_partition_of_a_large_section_waits_and_its_order_is_kept() {
        let mut lanes = Lanes::default();
        lanes.sealed([section(0, 1, true), section(1, 1, false)]);
        let (first, _) = lanes.next_upload().unwrap();
        assert!(lanes.next_upload().is_none());
        assert_eq!(taken(&mut lanes), [(1, 1, None)]);
        lanes.sealed([
            section(0, 2, false),
            section(1, 2, false),
            section(0, 3, true),
        ]);
        let (second, of) = lanes.next_upload().unwrap();
        assert_eq!((of.partition, of.number), (0, 3));
        assert_eq!(taken(&mut lanes), [(1, 2, None)]);
        lanes.stored(second);
        assert!(!lanes.has_ready(), "what came before it is not durable");
        lanes.stored(first);
        let all = [(0, 1, Some(0)), (0, 2, None), (0, 3, Some(1))];
        assert_eq!(taken(&mut lanes), all);
        assert!(lanes.is_empty());
        lanes.sealed([section(0, 4, false)]);
        assert_eq!(taken(&mut lanes), [(0, 4, None)]);
    }

    #[test]
    fn few_are_under_way_and_none_is_forgotten() {
        let mut lanes = Lanes::default();
        lanes.sealed((0..10).map(|number| section(number % 3, number as u32, true)));
        let mut under_way = VecDeque::new();
        let mut joined = Vec::new();
        while !lanes.is_empty() {
            while let Some((counter, _)) = lanes.next_upload() {
                under_way.push_back(counter);
            }
            assert!(under_way.len() <= OWN_UPLOADS_MAX);
            // The latest ends first.
            lanes.stored(under_way.pop_back().unwrap());
            joined.extend(taken(&mut lanes));
        }
        assert_eq!(joined.len(), 10);
        for partition in 0..3 {
            let of_partition = joined.iter().filter(|row| row.0 == partition);
            let numbers: Vec<u32> = of_partition.map(|row| row.1).collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
        }
    }
}
