//! [`Fetcher`]: reads partitions, with fetch sessions and one fetch on the way to each leader.
//!
//! While the caller works on what was fetched, the next fetch is already on its way. A position
//! that changes meanwhile makes its answer useless for that partition; it is dropped.

mod fetched;
mod session;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use segment::{Offset, PartitionIndex};
use wire::messages::fetch::PartitionData;
use wire::messages::{FetchRequest, FetchResponse};
use wire::{ApiKey, ErrorCode, decode_response, range_in};

use crate::connection::correlation_id;
use crate::error::ClientError;
use crate::metadata::TopicPartition;
use crate::offsets::OffsetSpec;
use crate::pipe::{EVENTS_MAX, Event, Pipe};
use crate::router::{AutoCreate, Client};
pub use fetched::Fetched;
use session::Session;

/// First version of Fetch that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;

/// What to do at a position that the log does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetReset {
    /// Go on at the first record.
    Earliest,
    /// Go on behind the last record.
    Latest,
    /// Fail.
    Fail,
}

/// How partitions are read.
#[derive(Debug, Clone)]
pub struct FetcherSettings {
    /// Most bytes of one answer; a larger batch comes whole.
    pub fetch_bytes: i32,
    /// Most bytes of one partition in one answer; a larger batch comes whole.
    pub partition_bytes: i32,
    /// Fewest bytes worth an answer before `wait` is over.
    pub min_bytes: i32,
    /// How long a broker may wait for records.
    pub wait: Duration,
    /// What to do at a position that the log does not hold.
    pub reset: OffsetReset,
}

impl Default for FetcherSettings {
    fn default() -> Self {
        Self {
            fetch_bytes: 50 << 20,
            partition_bytes: 4 << 20,
            min_bytes: 1,
            wait: Duration::from_millis(500),
            reset: OffsetReset::Fail,
        }
    }
}

/// The connection to one leader.
#[derive(Debug)]
struct Leader {
    pipe: Pipe,
    session: Session,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    correlation_id: i32,
    version: i16,
    deadline: Instant,
}

/// Where reading a partition stands.
#[derive(Debug, Clone, Copy)]
struct Position {
    offset: Offset,
    /// Not asked for before this moment, after a failure.
    not_before: Option<Instant>,
}

/// Reads partitions from their leaders. Owned by one thread; a thread per leader reads the answers.
#[derive(Debug)]
pub struct Fetcher {
    settings: FetcherSettings,
    positions: BTreeMap<TopicPartition, Position>,
    leaders: BTreeMap<i32, Leader>,
    pipes: HashMap<u64, i32>,
    pipes_opened: u64,
    events: Receiver<Event>,
    event_sender: SyncSender<Event>,
    ready: VecDeque<Fetched>,
    metadata_stale: bool,
    /// When the first of the failures that go on happened.
    failing_since: Option<Instant>,
}

impl Fetcher {
    /// A fetcher without partitions.
    pub fn new(settings: FetcherSettings) -> Self {
        let (event_sender, events) = sync_channel(EVENTS_MAX);
        Self {
            settings,
            positions: BTreeMap::new(),
            leaders: BTreeMap::new(),
            pipes: HashMap::new(),
            pipes_opened: 0,
            events,
            event_sender,
            ready: VecDeque::new(),
            metadata_stale: false,
            failing_since: None,
        }
    }

    /// Reads these partitions from these positions on, and no others.
    pub fn assign(&mut self, positions: impl IntoIterator<Item = (TopicPartition, Offset)>) {
        let position = |offset| Position {
            offset,
            not_before: None,
        };
        let positions = positions.into_iter();
        self.positions = positions
            .map(|(partition, offset)| (partition, position(offset)))
            .collect();
        self.ready.clear();
        self.leaders
            .values_mut()
            .for_each(|leader| leader.session.reset());
    }

    /// The next offset of each partition that `poll` has not given yet.
    pub fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.positions.iter().map(|(partition, position)| {
            let mut ready = self.ready.iter();
            let waiting = ready.find(|fetched| fetched.partition() == partition);
            (
                partition,
                waiting.map_or(position.offset, Fetched::first_offset),
            )
        })
    }

    /// Gives the next records that arrive, of one partition; none if nothing came in `wait`.
    ///
    /// # Errors
    /// A failure that no retry mends, or one that went on for the client's retry time.
    pub fn poll(
        &mut self,
        client: &mut Client,
        wait: Duration,
    ) -> Result<Option<Fetched>, ClientError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(fetched) = self.ready.pop_front() {
                return Ok(Some(fetched));
            }
            self.ask(client)?;
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            let next = self
                .positions
                .values()
                .filter_map(|position| position.not_before)
                .min();
            let until = next.map_or(deadline, |next| next.min(deadline));
            let left = until
                .saturating_duration_since(now)
                .max(Duration::from_millis(1));
            match self.events.recv_timeout(left) {
                Ok(event) => self.take_event(client, event)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => (),
            }
        }
    }

    /// Sends a fetch to each leader that has none on the way.
    fn ask(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let now = Instant::now();
        self.give_up_late_answers(client, now)?;
        if self.metadata_stale {
            self.refresh(client);
        }
        let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, Offset)>> = BTreeMap::new();
        let partitions: Vec<_> = self.positions.keys().cloned().collect();
        client.learn_topics(&partitions)?;
        for partition in partitions {
            let position = self.positions[&partition];
            if position.not_before.is_some_and(|until| now < until) {
                continue;
            }
            match client.leader(&partition) {
                Ok(leader) => {
                    let wanted = (partition, position.offset);
                    by_leader.entry(leader).or_default().push(wanted);
                }
                Err(error) if error.is_retriable() => self.fail(client, &partition, &error)?,
                Err(error) => return Err(error),
            }
        }
        for (node, wanted) in by_leader {
            if self
                .leaders
                .get(&node)
                .is_some_and(|leader| leader.in_flight.is_some())
            {
                continue;
            }
            if let Err(error) = self.fetch(client, node, &wanted) {
                if !error.is_retriable() {
                    return Err(error);
                }
                self.drop_leader(node);
                for (partition, _) in &wanted {
                    self.fail(client, partition, &error)?;
                }
            }
        }
        Ok(())
    }

    fn fetch(
        &mut self,
        client: &mut Client,
        node: i32,
        wanted: &[(TopicPartition, Offset)],
    ) -> Result<(), ClientError> {
        if !self.leaders.contains_key(&node) {
            let connection = client.open(node)?;
            self.pipes_opened += 1;
            let pipe = Pipe::new(connection, self.pipes_opened, self.event_sender.clone())?;
            self.pipes.insert(pipe.number(), node);
            let session = Session::default();
            self.leaders.insert(
                node,
                Leader {
                    pipe,
                    session,
                    in_flight: None,
                },
            );
        }
        let Some(leader) = self.leaders.get_mut(&node) else {
            return Ok(());
        };
        let metadata = client.metadata();
        let id_of = |topic: &str| metadata.topics.get(topic).map(|topic| topic.id);
        let nameless = wanted
            .iter()
            .any(|(partition, _)| id_of(&partition.topic).is_none_or(|id| id.is_zero()));
        let max = if nameless {
            TOPIC_IDS_FROM - 1
        } else {
            i16::MAX
        };
        let version = leader.pipe.version(ApiKey::Fetch, max)?;
        let positions = &self.positions;
        leader.session.keep_only(|partition| {
            positions.contains_key(partition) && metadata.leader(partition) == Some(node)
        });
        let request = leader.session.request(&self.settings, wanted, metadata);
        let correlation_id = leader.pipe.send(&request, version)?;
        drop(request);
        leader.session.sent(wanted);
        let deadline = Instant::now() + self.settings.wait + client.settings().request_timeout;
        leader.in_flight = Some(InFlight {
            correlation_id,
            version,
            deadline,
        });
        Ok(())
    }

    fn take_event(&mut self, client: &mut Client, event: Event) -> Result<(), ClientError> {
        let Some(node) = self.pipes.get(&event.pipe).copied() else {
            return Ok(());
        };
        let Some(leader) = self.leaders.get_mut(&node) else {
            return Ok(());
        };
        let address = leader.pipe.address().to_owned();
        let frame = match event.outcome {
            Ok(frame) => frame,
            Err(cause) => {
                self.drop_leader(node);
                let error = ClientError::Broken { address, cause };
                return self.fail_node(client, node, &error);
            }
        };
        let expected = leader.in_flight.take();
        let matching = expected.filter(|sent| correlation_id(&frame) == Some(sent.correlation_id));
        let Some(sent) = matching else {
            let reason = "an answer came that nothing had asked for".to_owned();
            return Err(ClientError::Protocol { address, reason });
        };
        let decoded = decode_response::<FetchRequest<'_>>(&frame, sent.version);
        let (_, response) = decoded.map_err(|error| ClientError::decode(&address, &error))?;
        match response.error_code {
            ErrorCode::NONE => leader.session.answered(response.session_id),
            // The session is gone; the next fetch begins another.
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND
            | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR => {
                leader.session.lost();
                return Ok(());
            }
            code => {
                leader.session.lost();
                let error = ClientError::Refused {
                    operation: format!("fetch from {address}"),
                    code,
                    message: None,
                };
                return self.fail_node(client, node, &error);
            }
        }
        self.take_answer(client, node, &frame, &response)
    }

    fn take_answer(
        &mut self,
        client: &mut Client,
        node: i32,
        frame: &Bytes,
        response: &FetchResponse<'_>,
    ) -> Result<(), ClientError> {
        for topic in &response.responses {
            let name: Option<Arc<str>> = match topic.topic_id.is_zero() {
                true => Some(topic.topic.into()),
                false => client
                    .metadata()
                    .topic_of_id(topic.topic_id)
                    .map(|it| it.name.clone()),
            };
            let Some(name) = name else { continue };
            for data in &topic.partitions {
                let index = PartitionIndex::new(data.partition_index);
                let partition = TopicPartition::new(name.clone(), index);
                let asked = self
                    .leaders
                    .get(&node)
                    .and_then(|it| it.session.asked(&partition));
                let at = self
                    .positions
                    .get(&partition)
                    .map(|position| position.offset);
                let led = client.metadata().leader(&partition) == Some(node);
                if led && at.is_some() && at == asked {
                    self.take_partition(client, &partition, frame, data)?;
                }
            }
        }
        Ok(())
    }

    fn take_partition(
        &mut self,
        client: &mut Client,
        partition: &TopicPartition,
        frame: &Bytes,
        data: &PartitionData<'_>,
    ) -> Result<(), ClientError> {
        match data.error_code {
            ErrorCode::NONE => (),
            ErrorCode::OFFSET_OUT_OF_RANGE => return self.out_of_range(client, partition),
            code => {
                let operation = format!("fetch from {partition}");
                let error = ClientError::Refused {
                    operation,
                    code,
                    message: None,
                };
                return self.fail(client, partition, &error);
            }
        }
        self.failing_since = None;
        let records = data.records.borrowed().unwrap_or_default();
        let Some(position) = self.positions.get_mut(partition) else {
            return Ok(());
        };
        position.not_before = None;
        let range = range_in(frame, records).unwrap_or(0..0);
        let fetched = Fetched::new(partition, position.offset, frame.slice(range), data)?;
        if fetched.is_cut_short() {
            // Not even one batch fits: ask for more of each partition.
            let more = self.settings.partition_bytes.saturating_mul(2);
            self.settings.partition_bytes = more;
            self.settings.fetch_bytes = self.settings.fetch_bytes.max(more);
            return Ok(());
        }
        if fetched.next_offset() > position.offset {
            position.offset = fetched.next_offset();
            self.ready.push_back(fetched);
        }
        Ok(())
    }

    fn out_of_range(
        &mut self,
        client: &mut Client,
        partition: &TopicPartition,
    ) -> Result<(), ClientError> {
        let one = std::slice::from_ref(partition);
        let spec = match self.settings.reset {
            OffsetReset::Earliest => OffsetSpec::Earliest,
            OffsetReset::Latest => OffsetSpec::Latest,
            OffsetReset::Fail => {
                let bounds = client.log_bounds(one)?;
                let (start, end) = bounds.get(partition).copied().unwrap_or_default();
                let at = self
                    .positions
                    .get(partition)
                    .map_or(-1, |it| it.offset.get());
                return Err(ClientError::OutOfRange {
                    partition: partition.clone(),
                    offset: at,
                    start: start.get(),
                    end: end.get(),
                });
            }
        };
        let found = client.offsets(one, spec)?;
        let offset = found.get(partition).and_then(|found| found.offset);
        if let (Some(position), Some(offset)) = (self.positions.get_mut(partition), offset) {
            position.offset = offset;
        }
        Ok(())
    }

    /// Notes that a partition cannot be read now; fails when that has gone on for too long.
    fn fail(
        &mut self,
        client: &Client,
        partition: &TopicPartition,
        error: &ClientError,
    ) -> Result<(), ClientError> {
        self.metadata_stale = true;
        let now = Instant::now();
        let after = now.duration_since(*self.failing_since.get_or_insert(now));
        if !error.is_retriable() {
            return Err(error.clone());
        }
        if after > client.settings().retry_timeout {
            return Err(error
                .clone()
                .after(&format!("fetch from {partition}"), after));
        }
        if let Some(position) = self.positions.get_mut(partition) {
            position.not_before = Some(now + client.settings().wait_before(2));
        }
        Ok(())
    }

    fn fail_node(
        &mut self,
        client: &Client,
        node: i32,
        error: &ClientError,
    ) -> Result<(), ClientError> {
        let led = |partition: &&TopicPartition| client.metadata().leader(partition) == Some(node);
        let partitions: Vec<_> = self.positions.keys().filter(led).cloned().collect();
        for partition in partitions {
            self.fail(client, &partition, error)?;
        }
        Ok(())
    }

    fn give_up_late_answers(&mut self, client: &Client, now: Instant) -> Result<(), ClientError> {
        let late = self.leaders.iter().filter(|(_, leader)| {
            leader
                .in_flight
                .as_ref()
                .is_some_and(|sent| sent.deadline <= now)
        });
        let late: Vec<(i32, String)> = late
            .map(|(node, leader)| (*node, leader.pipe.address().to_owned()))
            .collect();
        for (node, address) in late {
            self.drop_leader(node);
            let cause = "it did not answer in time".to_owned();
            self.fail_node(client, node, &ClientError::Broken { address, cause })?;
        }
        Ok(())
    }

    fn drop_leader(&mut self, node: i32) {
        if let Some(leader) = self.leaders.remove(&node) {
            self.pipes.remove(&leader.pipe.number());
        }
        self.metadata_stale = true;
    }

    /// Learns who leads what. A failure leaves the mark, so that it is tried again.
    fn refresh(&mut self, client: &mut Client) {
        let names: std::collections::BTreeSet<Arc<str>> = self
            .positions
            .keys()
            .map(|partition| partition.topic.clone())
            .collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        if client.refresh(&names, AutoCreate::Forbidden).is_ok() {
            self.metadata_stale = false;
        }
    }
}
