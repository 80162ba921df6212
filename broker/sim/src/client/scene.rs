//! What all clients of a run share: where the brokers are, who leads what, what was seen.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use check::{Anomaly, At, Event, SendId, Value};
use tokio::sync::Notify;
use wire::decode_response;
use wire::messages::MetadataRequest;
use wire::messages::metadata::MetadataRequestTopic;

use super::connection::Connection;
use crate::clock;
use crate::network::Network;
use crate::random::Random;
use crate::trace::trace;

/// Version of Metadata that is asked for: the last with plain strings.
const METADATA: i16 = 8;
/// Longest wait for the answer to a small request.
pub(crate) const SMALL_TIMEOUT: Duration = Duration::from_secs(3);

/// What becomes of the records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// All are kept.
    All,
    /// Old ones are deleted, by retention and by clients.
    Trimmed,
    /// Of each key the latest.
    Latest,
}

/// A topic of a run.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) keeping: Keeping,
    pub(crate) configs: Vec<(String, String)>,
}

/// Where the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// Faults strike; clients write.
    Faults,
    /// No faults; clients finish what they have begun.
    Quiet,
    /// Clients end.
    Over,
}

/// Ends of a log, rising, each with the time from which it was known.
type Ends = Vec<(At, i64)>;

/// What all clients share.
pub(crate) struct Scene {
    pub(crate) network: Rc<Network>,
    pub(crate) brokers: usize,
    pub(crate) topics: Vec<Topic>,
    pub(crate) phase: Cell<Phase>,
    /// The broker that those who write do not reach.
    pub(crate) unwritten: Cell<Option<usize>>,
    /// Told when a session begins.
    pub(crate) joined: Notify,
    /// Oldest state of a log that a broker may tell of.
    pub(crate) age_max: Duration,
    histories: RefCell<Vec<Vec<Event>>>,
    violations: RefCell<Vec<String>>,
    next_value: Cell<u64>,
    next_send: Cell<u64>,
    /// End of what is acknowledged, by topic and partition, and when it was known.
    ends: RefCell<BTreeMap<(usize, i32), Ends>>,
    /// Where each consumer is.
    positions: RefCell<BTreeMap<(u32, usize, i32), i64>>,
    /// Batches acknowledged.
    pub(crate) acknowledged: Cell<u64>,
    /// Records read.
    pub(crate) read: Cell<u64>,
}

impl Scene {
    pub(crate) fn new(
        network: Rc<Network>,
        brokers: usize,
        topics: Vec<Topic>,
        age_max: Duration,
    ) -> Rc<Self> {
        Rc::new(Self {
            network,
            brokers,
            histories: RefCell::new(vec![Vec::new(); topics.len()]),
            topics,
            phase: Cell::new(Phase::Faults),
            unwritten: Cell::new(None),
            joined: Notify::new(),
            age_max,
            violations: RefCell::default(),
            next_value: Cell::new(1),
            next_send: Cell::new(1),
            ends: RefCell::default(),
            positions: RefCell::default(),
            acknowledged: Cell::new(0),
            read: Cell::new(0),
        })
    }

    /// The time, for the history.
    pub(crate) fn now(&self) -> At {
        At(u64::try_from(clock::read().as_micros()).unwrap_or(u64::MAX))
    }

    /// Whether faults strike.
    pub(crate) fn is_faulty(&self) -> bool {
        self.phase.get() == Phase::Faults
    }

    /// Whether clients are to end.
    pub(crate) fn is_over(&self) -> bool {
        self.phase.get() == Phase::Over
    }

    /// A value that nobody has used.
    pub(crate) fn value(&self) -> Value {
        let value = self.next_value.get();
        self.next_value.set(value + 1);
        Value(value)
    }

    /// A batch that nobody has begun.
    pub(crate) fn send_id(&self) -> SendId {
        let send = self.next_send.get();
        self.next_send.set(send + 1);
        SendId(send)
    }

    /// Records what a client did or saw in a topic.
    pub(crate) fn record(&self, topic: usize, event: Event) {
        self.histories.borrow_mut()[topic].push(event);
    }

    /// The histories so far, by topic.
    pub(crate) fn take_histories(&self) -> Vec<Vec<Event>> {
        let empty = vec![Vec::new(); self.topics.len()];
        self.histories.replace(empty)
    }

    /// Everything below `end` is acknowledged to somebody.
    pub(crate) fn raise_end(&self, topic: usize, partition: i32, end: i64) {
        let now = self.now();
        let mut ends = self.ends.borrow_mut();
        let known = ends.entry((topic, partition)).or_default();
        if known.last().is_none_or(|(_, before)| *before < end) {
            known.push((now, end));
        }
    }

    /// The end of what is acknowledged of a partition.
    pub(crate) fn end(&self, topic: usize, partition: i32) -> i64 {
        let ends = self.ends.borrow();
        let known = ends.get(&(topic, partition)).and_then(|known| known.last());
        known.map_or(0, |(_, end)| *end)
    }

    /// The end of what had been acknowledged of a partition by a certain time.
    pub(crate) fn end_at(&self, topic: usize, partition: i32, at: At) -> i64 {
        let ends = self.ends.borrow();
        let Some(known) = ends.get(&(topic, partition)) else {
            return 0;
        };
        let by_then = known.partition_point(|(known_at, _)| known_at.0 <= at.0);
        by_then.checked_sub(1).map_or(0, |last| known[last].1)
    }

    /// A consumer has read up to here.
    pub(crate) fn progress(&self, consumer: u32, topic: usize, partition: i32, position: i64) {
        let mut positions = self.positions.borrow_mut();
        positions.insert((consumer, topic, partition), position);
    }

    /// The first consumer that has not read everything that is acknowledged, of those below `observers_end`.
    pub(crate) fn behind(&self, observers: std::ops::Range<u32>) -> Option<String> {
        let positions = self.positions.borrow();
        let late = positions
            .iter()
            .find(|((consumer, topic, partition), position)| {
                observers.contains(consumer) && **position < self.end(*topic, *partition)
            });
        late.map(|((consumer, topic, partition), position)| {
            let end = self.end(*topic, *partition);
            format!("consumer {consumer} is at {position} of {end} in {topic}/{partition}")
        })
    }

    /// Records that consumers have not reached, of all of them together.
    pub(crate) fn left(&self, observers: std::ops::Range<u32>) -> i64 {
        let positions = self.positions.borrow();
        let of_them = positions
            .iter()
            .filter(|((consumer, ..), _)| observers.contains(consumer));
        let left = of_them.map(|((_, topic, partition), position)| {
            (self.end(*topic, *partition) - position).max(0)
        });
        left.sum()
    }

    /// A promise is broken that has a name.
    pub(crate) fn broken(&self, anomaly: Anomaly, what: String) {
        self.violation(format!("{anomaly}: {what}"));
    }

    /// A promise is broken.
    pub(crate) fn violation(&self, what: String) {
        trace!("check", "VIOLATION {what}");
        self.violations.borrow_mut().push(what);
    }

    /// The promises that were broken.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.borrow().clone()
    }
}

/// Who leads what, and since which epoch, as far as one client knows. As Kafka's clients do, it takes no word of an
/// older epoch than it knows of: that is of a broker that has not heard what it has.
#[derive(Default)]
pub(crate) struct Leaders(BTreeMap<(usize, i32), (Option<usize>, i32)>);

impl Leaders {
    /// The broker that leads a partition, as far as it is known.
    pub(crate) fn of(&self, topic: usize, partition: i32) -> Option<usize> {
        self.0.get(&(topic, partition))?.0
    }

    /// The epoch in which it leads; -1 if it is not known.
    pub(crate) fn epoch_of(&self, topic: usize, partition: i32) -> i32 {
        let found = self.0.get(&(topic, partition));
        found.map_or(-1, |(_, epoch)| *epoch)
    }

    /// Asks some broker who leads what.
    pub(crate) async fn refresh(&mut self, scene: &Scene, random: &mut Random) {
        let broker = random.index(scene.brokers);
        let Ok(connection) = Connection::open(&scene.network, broker).await else {
            return;
        };
        let topics = scene.topics.iter().map(|topic| MetadataRequestTopic {
            name: Some(&topic.name),
            ..MetadataRequestTopic::default()
        });
        let request = MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let Ok(body) = connection.call(&request, METADATA, SMALL_TIMEOUT).await else {
            return;
        };
        let Ok((_, response)) = decode_response::<MetadataRequest<'_>>(&body, METADATA) else {
            scene.violation("an answer to Metadata cannot be decoded".to_owned());
            return;
        };
        for found in &response.topics {
            let at = scene
                .topics
                .iter()
                .position(|topic| found.name == Some(&topic.name));
            let Some(topic) = at else { continue };
            for partition in &found.partitions {
                let key = (topic, partition.partition_index);
                let leader = usize::try_from(partition.leader_id).ok();
                let leader = leader.filter(|leader| *leader < scene.brokers);
                let (known, epoch) = self.0.entry(key).or_insert((None, -1));
                if leader.is_none() || partition.leader_epoch >= *epoch {
                    *known = leader;
                    *epoch = partition.leader_epoch.max(*epoch);
                }
            }
        }
    }
}

/// The connections of one client, one a broker.
#[derive(Default)]
pub(crate) struct Connections {
    open: BTreeMap<usize, Rc<Connection>>,
}

impl Connections {
    /// The connection to a broker, opened where there is none.
    pub(crate) async fn to(&mut self, scene: &Scene, broker: usize) -> Option<Rc<Connection>> {
        if let Some(open) = self.open.get(&broker)
            && !open.is_over()
        {
            return Some(open.clone());
        }
        let opened = Connection::open(&scene.network, broker).await.ok()?;
        self.open.insert(broker, opened.clone());
        Some(opened)
    }

    /// Drops the connection to a broker.
    pub(crate) fn drop_to(&mut self, broker: usize) {
        self.open.remove(&broker);
    }
}
