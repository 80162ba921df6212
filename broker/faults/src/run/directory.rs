//! Who leads what, as the clients of the run know it.
//!
//! One thread a broker asks that broker, all clients read what was learned. As in any Kafka client,
//! an answer with a lower leader epoch than one seen before is passed over. A client that waits for
//! a broker which no longer leads is told at once: what is measured is when another one serves, and
//! not how long a client waits for an answer that never comes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use check::{Broker, Epoch, Event, Partition};
use client::{Closer, Connection};

use super::kafka::{Leader, leaders, settings};
use super::recorder::Recorder;

/// How often each broker is asked.
const REFRESH: Duration = Duration::from_millis(100);

/// Somebody who waits for a broker's answer about a partition.
#[derive(Debug)]
struct Waiting {
    partition: Partition,
    broker: i32,
    closer: Closer,
}

/// Leaders of one topic.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) topic: String,
    /// Brokers by id, with their addresses.
    pub(super) brokers: Vec<(i32, String)>,
    leaders: Mutex<HashMap<Partition, Leader>>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    waits: AtomicU64,
    is_over: AtomicBool,
}

/// A wait that is on; dropped when it is over.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    directory: &'a Directory,
    number: u64,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.directory.waiting().remove(&self.number);
    }
}

impl Directory {
    pub(super) fn new(topic: String, brokers: Vec<(i32, String)>) -> Arc<Self> {
        Arc::new(Self {
            topic,
            brokers,
            leaders: Mutex::default(),
            waiting: Mutex::default(),
            waits: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        })
    }

    fn leaders(&self) -> MutexGuard<'_, HashMap<Partition, Leader>> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leader of a partition, with its address.
    pub(super) fn leader(&self, partition: Partition) -> Option<(Leader, &str)> {
        let leader = *self.leaders().get(&partition)?;
        Some((leader, self.address(leader.broker)?))
    }

    pub(super) fn address(&self, broker: i32) -> Option<&str> {
        let found = self.brokers.iter().find(|(id, _)| *id == broker);
        found.map(|(_, address)| address.as_str())
    }

    /// Closes `connection` as soon as `broker` no longer leads the partition, until the answer is
    /// dropped. None where it cannot be closed.
    pub(super) fn wait_at(
        &self,
        broker: i32,
        partition: Partition,
        connection: &Connection,
    ) -> Option<Wait<'_>> {
        let waiting = Waiting {
            partition,
            broker,
            closer: connection.closer().ok()?,
        };
        let number = self.waits.fetch_add(1, Ordering::Relaxed);
        self.waiting().insert(number, waiting);
        // The leader may have changed before this wait was known.
        let leader = self.leaders().get(&partition).copied();
        if let Some(leader) = leader {
            self.send_away(partition, leader.broker);
        }
        Some(Wait {
            directory: self,
            number,
        })
    }

    fn send_away(&self, partition: Partition, leader: i32) {
        let waiting = self.waiting();
        let mut waiting = waiting.values();
        let moved = |waiting: &&Waiting| waiting.partition == partition && waiting.broker != leader;
        for waiting in waiting.by_ref().filter(moved) {
            waiting.closer.close();
        }
    }

    /// Ends the threads that ask.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Asks the broker until the end; new leaders go to the history.
    pub(super) fn run(&self, broker: i32, recorder: &Recorder) {
        let mut connection: Option<Connection> = None;
        while !self.is_over.load(Ordering::Relaxed) {
            if connection.is_none() {
                let address = self.address(broker).unwrap_or_default();
                connection = Connection::open(address, &settings()).ok();
            }
            if let Some(open) = &mut connection {
                match leaders(open, &self.topic) {
                    Ok(found) => self.learn(&found, recorder),
                    Err(_) => connection = None,
                }
            }
            std::thread::sleep(REFRESH);
        }
    }

    fn learn(&self, found: &[(Partition, Option<Leader>)], recorder: &Recorder) {
        for (partition, leader) in found {
            let Some(leader) = leader else {
                continue;
            };
            // Another owner of an epoch that is known is what the checker looks for.
            if self.leaders().get(partition) != Some(leader) {
                recorder.add(Event::Leader {
                    partition: *partition,
                    broker: Broker(leader.broker),
                    epoch: Epoch(leader.epoch),
                    at: recorder.now(),
                });
            }
            let is_new = {
                let mut leaders = self.leaders();
                let known = leaders.entry(*partition).or_insert(*leader);
                let is_new = leader.epoch > known.epoch;
                if is_new {
                    *known = *leader;
                }
                is_new
            };
            if is_new {
                self.send_away(*partition, leader.broker);
            }
        }
    }
}
