//! Committed offsets: committed-falls, stale-commit.

use std::collections::HashMap;

use super::anomaly::{Anomaly, Report};
use super::history::{At, Event, Generation, Group, Partition};

/// What is known of one group's offset in one partition.
#[derive(Default)]
struct Offset {
    /// Commits that were begun, with the newest generation that was known to commit then.
    begun: HashMap<i64, Vec<(Generation, Generation)>>,
    /// What is settled, in the order of time.
    settled: Vec<Settled>,
}

#[derive(Clone, Copy)]
struct Settled {
    at: At,
    generation: Generation,
    offset: i64,
}

pub(crate) fn check(history: &[Event], report: &mut Report) {
    let mut offsets: HashMap<(Group, Partition), Offset> = HashMap::new();
    for event in history {
        match event {
            Event::Committing {
                group,
                generation,
                partition,
                offset,
                ..
            } => {
                let of = offsets.entry((*group, *partition)).or_default();
                let newest = of.newest();
                let begun = of.begun.entry(*offset).or_default();
                begun.push((*generation, newest));
            }
            Event::Committed {
                group,
                generation,
                partition,
                offset,
                at,
            } => {
                let of = offsets.entry((*group, *partition)).or_default();
                if let Some(newer) = of.committed(*generation, *offset, *at) {
                    report.add(Anomaly::StaleCommit, || {
                        format!(
                            "group {group}, partition {partition}: {offset} of generation \
                             {generation} after a commit of generation {newer}"
                        )
                    });
                }
            }
            Event::CommittedRead {
                group,
                partition,
                offset,
                began,
                at,
            } => {
                let of = offsets.entry((*group, *partition)).or_default();
                if let Err(floor) = of.read(*offset, *began, *at) {
                    report.add(Anomaly::CommittedFalls, || {
                        format!(
                            "group {group}, partition {partition}: {offset:?} read, {floor:?} was \
                             the last acknowledged commit"
                        )
                    });
                }
            }
            _ => (),
        }
    }
}

impl Offset {
    fn newest(&self) -> Generation {
        let settled = self.settled.iter().map(|settled| settled.generation);
        settled.max().unwrap_or(Generation::NONE)
    }

    /// A commit was acknowledged; the newer generation that should have kept it out, if any.
    fn committed(&mut self, generation: Generation, offset: i64, at: At) -> Option<Generation> {
        let begun = self.begun.get(&offset).into_iter().flatten();
        let mut mine = begun.filter(|(of, _)| *of == generation);
        let newer = mine.next_back().map(|(_, newest)| *newest);
        let newest = self.newest();
        if generation >= newest {
            self.settled.push(Settled {
                at,
                generation,
                offset,
            });
        }
        newer.filter(|newer| generation != Generation::NONE && *newer > generation)
    }

    /// A committed offset was read; the floor that it lies under, if it does or was never committed.
    fn read(&mut self, offset: Option<i64>, began: At, at: At) -> Result<(), Option<i64>> {
        let before = self.settled.iter().rev().find(|settled| settled.at < began);
        let floor = before.copied();
        let right = match offset {
            None => floor.is_none(),
            Some(offset) => {
                let known = self.begun.contains_key(&offset);
                // A newer generation may have gone back: its commit is known to have begun.
                known
                    && floor
                        .is_none_or(|floor| offset >= floor.offset || self.is_newer(offset, floor))
            }
        };
        // What was read once is settled: an unknown commit that took effect stays.
        if let Some(offset) = offset
            && self.settled.last().is_none_or(|last| offset > last.offset)
        {
            let generation = self.newest();
            self.settled.push(Settled {
                at,
                generation,
                offset,
            });
        }
        if right {
            Ok(())
        } else {
            Err(floor.map(|floor| floor.offset))
        }
    }

    /// Whether a generation after the floor's began to commit this.
    fn is_newer(&self, offset: i64, floor: Settled) -> bool {
        let mut begun = self.begun.get(&offset).into_iter().flatten();
        begun.any(|(generation, _)| *generation > floor.generation)
    }
}
