//! [`Producer`]: sends records, in order within a partition, with many batches in flight.
//!
//! Records gather in one open batch a partition. A batch that is full, or older than the linger
//! time, is closed and gets its sequence. Closed batches wait in their partition's queue, in
//! order, until they are acknowledged. At most `in_flight_per_partition` of them are on the way;
//! one request carries a batch of each partition of that leader that has one to send.
//!
//! A batch that fails in a way that may pass is sent again. Until then nothing that follows it in
//! its partition is sent, so that the order stays; batches that were already on the way behind it
//! fail with an out-of-order sequence and are sent again too.

mod queue;
mod send;
mod settings;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use segment::record::NewRecord;
use segment::{Offset, PartitionIndex, ProducerEpoch, ProducerId};
use wire::messages::InitProducerIdRequest;

use crate::error::ClientError;
use crate::metadata::TopicPartition;
use crate::partitioner::partition_of_key;
use crate::pipe::{EVENTS_MAX, Event, Pipe};
use crate::router::Client;
use queue::Queue;
pub use settings::{Acks, ProducerSettings};

/// What has been acknowledged so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Produced {
    /// Records.
    pub records: u64,
    /// Bytes of their keys, values and headers.
    pub bytes: u64,
    /// Batches.
    pub batches: u64,
    /// Batches that had to be sent again.
    pub resent: u64,
}

/// A batch that the broker has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// Where it lies.
    pub partition: TopicPartition,
    /// Offset of its first record; none where the broker does not tell it (acks=0, or a repeated
    /// batch that it had before).
    pub base_offset: Option<Offset>,
    /// Records in it.
    pub records: u32,
    /// From the first record's arrival at the producer to the acknowledgement.
    pub latency: Duration,
}

/// A topic that the producer sends to.
#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    /// Queue of each partition, by its number.
    queues: Vec<usize>,
    /// The partition that records without a key go to, until its batch is closed.
    sticky: usize,
}

/// The connection to one leader.
#[derive(Debug)]
struct Leader {
    pipe: Pipe,
    in_flight: VecDeque<InFlight>,
}

/// A request on the way.
#[derive(Debug)]
struct InFlight {
    correlation_id: i32,
    version: i16,
    deadline: Instant,
    /// Queue and batch number of each part.
    parts: Vec<(usize, u64)>,
}

/// Who is told of each batch that the broker has taken.
type Report = Box<dyn FnMut(&Acknowledged)>;

/// Sends records. Owned by one thread; a thread per leader reads the answers.
pub struct Producer {
    client: Client,
    settings: ProducerSettings,
    identity: (ProducerId, ProducerEpoch),
    topics: Vec<Topic>,
    queues: Vec<Queue>,
    leaders: BTreeMap<i32, Leader>,
    /// Which leader an event's pipe number means.
    pipes: HashMap<u64, i32>,
    pipes_opened: u64,
    events: Receiver<Event>,
    event_sender: SyncSender<Event>,
    /// Bytes of all batches that are not acknowledged yet, open ones included.
    buffered_bytes: usize,
    metadata_stale: bool,
    produced: Produced,
    acknowledged: Option<Report>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("identity", &self.identity)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}

impl Producer {
    /// A producer over `client`. An idempotent one gets its producer id now.
    ///
    /// # Errors
    /// Settings that exclude each other, or no producer id can be had.
    pub fn new(mut client: Client, settings: ProducerSettings) -> Result<Self, ClientError> {
        settings.check()?;
        let identity = match settings.idempotent {
            true => producer_id(&mut client)?,
            false => (ProducerId::NONE, ProducerEpoch::NONE),
        };
        let (event_sender, events) = sync_channel(EVENTS_MAX);
        Ok(Self {
            client,
            settings,
            identity,
            topics: Vec::new(),
            queues: Vec::new(),
            leaders: BTreeMap::new(),
            pipes: HashMap::new(),
            pipes_opened: 0,
            events,
            event_sender,
            buffered_bytes: 0,
            metadata_stale: false,
            produced: Produced::default(),
            acknowledged: None,
        })
    }

    /// Calls `report` for each batch that the broker has taken.
    pub fn on_acknowledged(&mut self, report: impl FnMut(&Acknowledged) + 'static) {
        self.acknowledged = Some(Box::new(report));
    }

    /// What has been acknowledged so far.
    pub fn produced(&self) -> Produced {
        self.produced
    }

    /// Takes a record: into `partition`, else into that of its key, else into any. Waits while the
    /// buffer is full.
    ///
    /// # Errors
    /// The topic or partition does not exist, or a batch sent before has failed for good.
    pub fn send(
        &mut self,
        topic: &str,
        partition: Option<PartitionIndex>,
        record: NewRecord<'_>,
    ) -> Result<(), ClientError> {
        let topic = self.topic(topic)?;
        let place = self.place(topic, partition, record.key)?;
        let index = self.topics[topic].queues[place];
        let now = Instant::now();
        let batch_bytes = self.settings.batch_bytes;
        let (queue, identity) = (&mut self.queues[index], self.identity);
        let before = queue.open_bytes();
        let mut full = queue.must_close_before(&record, batch_bytes);
        if full {
            queue.close(identity, self.settings.codec)?;
        }
        let closed_bytes = if full { before } else { 0 };
        queue.push(&record, now)?;
        let added = queue.open_bytes() + closed_bytes - before;
        if queue.open_bytes() >= batch_bytes {
            queue.close(identity, self.settings.codec)?;
            full = true;
        }
        self.buffered_bytes += added;
        if !full {
            return Ok(());
        }
        self.topics[topic].move_on(partition.is_none() && record.key.is_none());
        self.take_events(Duration::ZERO)?;
        self.pump()?;
        while self.buffered_bytes > self.settings.buffer_bytes {
            self.wait()?;
        }
        Ok(())
    }

    /// Sends what has lingered long enough and takes the answers that are there. To be called now
    /// and then while no records come.
    ///
    /// # Errors
    /// A batch has failed for good.
    pub fn poll(&mut self) -> Result<(), ClientError> {
        let now = Instant::now();
        let (identity, linger) = (self.identity, self.settings.linger);
        for queue in &mut self.queues {
            if queue
                .open_since()
                .is_some_and(|since| now.duration_since(since) >= linger)
            {
                queue.close(identity, self.settings.codec)?;
            }
        }
        self.take_events(Duration::ZERO)?;
        self.pump()
    }

    /// Sends everything and waits until it is acknowledged.
    ///
    /// # Errors
    /// A batch has failed for good.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        let identity = self.identity;
        for queue in &mut self.queues {
            queue.close(identity, self.settings.codec)?;
        }
        self.take_events(Duration::ZERO)?;
        self.pump()?;
        while self.queues.iter().any(|queue| !queue.is_empty()) {
            self.wait()?;
        }
        Ok(())
    }

    /// Whether everything sent has been acknowledged.
    pub fn is_idle(&self) -> bool {
        self.queues
            .iter()
            .all(|queue| queue.is_empty() && queue.open_since().is_none())
    }

    /// Ends the producer and gives the client back. What is not flushed is lost.
    pub fn into_client(self) -> Client {
        self.client
    }

    /// Number of a topic; asks for its partitions the first time.
    fn topic(&mut self, name: &str) -> Result<usize, ClientError> {
        if let Some(known) = self.topics.iter().position(|topic| &*topic.name == name) {
            return Ok(known);
        }
        let info = self.client.topic_or_create(name)?;
        let mut topic = Topic {
            name: info.name.clone(),
            queues: Vec::new(),
            sticky: 0,
        };
        for partition in &info.partitions {
            topic.queues.push(self.queues.len());
            let of = TopicPartition::new(info.name.clone(), partition.partition);
            self.queues.push(Queue::new(of, info.id));
        }
        if topic.queues.is_empty() {
            return Err(ClientError::UnknownTopic {
                topic: name.to_owned(),
            });
        }
        self.topics.push(topic);
        Ok(self.topics.len() - 1)
    }

    /// The place of a record in its topic's list of queues.
    fn place(
        &self,
        topic: usize,
        partition: Option<PartitionIndex>,
        key: Option<&[u8]>,
    ) -> Result<usize, ClientError> {
        let topic = &self.topics[topic];
        let count = topic.queues.len();
        let wanted = match (partition, key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of_key(key, count),
            (None, None) => return Ok(topic.sticky),
        };
        let place = usize::try_from(wanted.get())
            .ok()
            .filter(|place| *place < count);
        place.ok_or_else(|| ClientError::UnknownPartition {
            topic: topic.name.to_string(),
            partition: wanted.get(),
            count,
        })
    }
}

impl Topic {
    /// After a batch was closed, records without a key go to the next partition.
    fn move_on(&mut self, is_sticky: bool) {
        if is_sticky {
            self.sticky = (self.sticky + 1) % self.queues.len();
        }
    }
}

fn producer_id(client: &mut Client) -> Result<(ProducerId, ProducerEpoch), ClientError> {
    client.retry("get a producer id", |client| {
        let request = InitProducerIdRequest::default();
        let reply = client.call_any(&request)?;
        let response = reply.decode()?;
        ClientError::check(|| "get a producer id".to_owned(), response.error_code, None)?;
        let epoch = ProducerEpoch::new(response.producer_epoch);
        Ok((ProducerId::new(response.producer_id), epoch))
    })
}
