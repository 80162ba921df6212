//! Who leads what, as the clients of the run know it.
//!
//! One thread asks the brokers in turn, all clients read what it learned. As in any Kafka client,
//! an answer with a lower leader epoch than one seen before is passed over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::Connection;

use super::kafka::{Leader, leaders, settings};
use crate::checker::Partition;

/// How often the brokers are asked, and how often while a client misses a leader.
const REFRESH: Duration = Duration::from_millis(250);
const REFRESH_WANTED: Duration = Duration::from_millis(50);

/// Leaders of one topic.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) topic: String,
    /// Brokers by id, with their addresses.
    pub(super) brokers: Vec<(i32, String)>,
    leaders: Mutex<HashMap<Partition, Leader>>,
    is_wanted: AtomicBool,
    is_over: AtomicBool,
}

impl Directory {
    pub(super) fn new(topic: String, brokers: Vec<(i32, String)>) -> Arc<Self> {
        Arc::new(Self {
            topic,
            brokers,
            leaders: Mutex::default(),
            is_wanted: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
        })
    }

    /// The leader of a partition, with its address.
    pub(super) fn leader(&self, partition: Partition) -> Option<(Leader, &str)> {
        let leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        let leader = *leaders.get(&partition)?;
        drop(leaders);
        Some((leader, self.address(leader.broker)?))
    }

    pub(super) fn address(&self, broker: i32) -> Option<&str> {
        let found = self.brokers.iter().find(|(id, _)| *id == broker);
        found.map(|(_, address)| address.as_str())
    }

    /// Asks for news: somebody was sent away.
    pub(super) fn want(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
    }

    /// Ends the thread that asks.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Asks the brokers in turn until the end.
    pub(super) fn run(&self) {
        let mut connections: HashMap<i32, Connection> = HashMap::new();
        let mut asked = Instant::now();
        for (id, address) in self.brokers.iter().cycle() {
            while asked.elapsed() < REFRESH && !self.is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
                if self.is_wanted.load(Ordering::Relaxed) && asked.elapsed() >= REFRESH_WANTED {
                    break;
                }
            }
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            asked = Instant::now();
            if !connections.contains_key(id) {
                let Ok(connection) = Connection::open(address, &settings()) else {
                    continue;
                };
                connections.insert(*id, connection);
            }
            let Some(connection) = connections.get_mut(id) else {
                continue;
            };
            match leaders(connection, &self.topic) {
                Ok(found) => self.learn(&found),
                Err(_) => {
                    connections.remove(id);
                }
            }
        }
    }

    fn learn(&self, found: &[(Partition, Option<Leader>)]) {
        self.is_wanted.store(false, Ordering::Relaxed);
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, leader) in found {
            let Some(leader) = leader else {
                self.want();
                continue;
            };
            let known = leaders.entry(*partition).or_insert(*leader);
            if leader.epoch > known.epoch {
                *known = *leader;
            }
        }
    }
}
