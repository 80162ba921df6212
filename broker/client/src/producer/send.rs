//! Sending batches and taking their answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use segment::Offset;
use wire::messages::ProduceRequest;
use wire::messages::produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData};
use wire::{ApiKey, ErrorCode, Records, decode_response};

use super::queue::Queue;
use super::settings::Acks;
use super::{Acknowledged, InFlight, Leader, Producer};
use crate::admin::millis;
use crate::connection::correlation_id;
use crate::error::ClientError;
use crate::pipe::{Event, Pipe};
use crate::router::AutoCreate;

/// First version of Produce that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;
/// Longest wait for an event before deadlines are looked at again.
const TICK: Duration = Duration::from_millis(100);

impl Producer {
    /// Waits for the next answer, or for the next moment at which something may be sent.
    pub(super) fn wait(&mut self) -> Result<(), ClientError> {
        let now = Instant::now();
        let next = self
            .queues
            .iter()
            .filter_map(|queue| queue.held_until())
            .min();
        let left = next.map(|next| next.saturating_duration_since(now));
        let wait = left.unwrap_or(TICK).clamp(Duration::from_millis(1), TICK);
        self.take_events(wait)?;
        self.pump()
    }

    /// Takes the answers that are there, waiting at most `wait` for the first.
    pub(super) fn take_events(&mut self, wait: Duration) -> Result<(), ClientError> {
        if !wait.is_zero() {
            match self.events.recv_timeout(wait) {
                Ok(event) => self.take_event(event)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => (),
            }
        }
        loop {
            match self.events.try_recv() {
                Ok(event) => self.take_event(event)?,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Sends all that may be sent now, after it has given up what took too long.
    pub(super) fn pump(&mut self) -> Result<(), ClientError> {
        let now = Instant::now();
        self.give_up_late_answers(now);
        self.check_delivery(now)?;
        if self.metadata_stale && self.queues.iter().any(|queue| queue.held_until().is_some()) {
            self.refresh_metadata();
        }
        loop {
            let sent = self.send_round(now)?;
            if !sent {
                return Ok(());
            }
        }
    }

    /// One request to each leader that has batches to get and room for a request.
    fn send_round(&mut self, now: Instant) -> Result<bool, ClientError> {
        let mut ready: BTreeMap<i32, Vec<(usize, u64)>> = BTreeMap::new();
        for index in 0..self.queues.len() {
            let queue = &self.queues[index];
            let Some(batch) = queue.next_to_send(self.settings.in_flight_per_partition, now) else {
                continue;
            };
            let number = batch.number;
            match self.client.leader(&queue.partition) {
                Ok(leader) => ready.entry(leader).or_default().push((index, number)),
                Err(error) => {
                    // Metadata that was read while a partition moved names no leader: read it anew.
                    self.metadata_stale = true;
                    self.fail_batch(index, number, &error.to_string(), now);
                }
            }
        }
        let mut any = false;
        for (node, parts) in ready {
            let full =
                |leader: &Leader| leader.in_flight.len() >= self.settings.in_flight_per_broker;
            if self.leaders.get(&node).is_some_and(full) {
                continue;
            }
            let parts = self.within_limit(parts);
            if let Err(error) = self.open_leader(node) {
                self.metadata_stale = true;
                self.fail_parts(&parts, &error, now)?;
                continue;
            }
            self.send_request(node, parts, now)?;
            any = true;
        }
        Ok(any)
    }

    /// The first parts, up to the size of a request; at least one.
    fn within_limit(&self, mut parts: Vec<(usize, u64)>) -> Vec<(usize, u64)> {
        let mut bytes = 0;
        let mut count = 0;
        for (index, number) in &parts {
            bytes += self.queues[*index]
                .batch(*number)
                .map_or(0, |batch| batch.bytes.len());
            if count > 0 && bytes > self.settings.request_bytes {
                break;
            }
            count += 1;
        }
        parts.truncate(count);
        parts
    }

    fn open_leader(&mut self, node: i32) -> Result<(), ClientError> {
        if self.leaders.contains_key(&node) {
            return Ok(());
        }
        let connection = self.client.open(node)?;
        self.pipes_opened += 1;
        let pipe = Pipe::new(connection, self.pipes_opened, self.event_sender.clone())?;
        self.pipes.insert(pipe.number(), node);
        self.leaders.insert(
            node,
            Leader {
                pipe,
                in_flight: VecDeque::new(),
            },
        );
        Ok(())
    }

    fn send_request(
        &mut self,
        node: i32,
        parts: Vec<(usize, u64)>,
        now: Instant,
    ) -> Result<(), ClientError> {
        let timeout = self.client.settings().request_timeout;
        let Some(leader) = self.leaders.get_mut(&node) else {
            return Ok(());
        };
        let nameless = parts
            .iter()
            .any(|(index, _)| self.queues[*index].topic_id.is_zero());
        let max = if nameless {
            TOPIC_IDS_FROM - 1
        } else {
            i16::MAX
        };
        let version = leader.pipe.version(ApiKey::Produce, max)?;
        let batches: Vec<(usize, Bytes)> = parts
            .iter()
            .filter_map(|(index, number)| {
                Some((*index, self.queues[*index].batch(*number)?.bytes.clone()))
            })
            .collect();
        let mut request = request_of(&self.queues, &batches);
        request.acks = self.settings.acks.on_wire();
        request.timeout_ms = millis(timeout);
        let sent = leader.pipe.send(&request, version);
        drop(request);
        for (index, number) in &parts {
            self.queues[*index].mark_sent(*number);
        }
        let correlation_id = match sent {
            Ok(correlation_id) => correlation_id,
            Err(error) if error.is_retriable() => {
                self.drop_leader(node, &error, now);
                return self.fail_parts(&parts, &error, now);
            }
            Err(error) => return Err(error),
        };
        if self.settings.acks == Acks::None {
            for (index, number) in parts {
                self.acknowledge(index, number, None, now);
            }
            return Ok(());
        }
        // The broker answers at its own timeout; beyond that the connection is dead.
        let deadline = now + timeout + timeout / 2;
        let in_flight = InFlight {
            correlation_id,
            version,
            deadline,
            parts,
        };
        if let Some(leader) = self.leaders.get_mut(&node) {
            leader.in_flight.push_back(in_flight);
        }
        Ok(())
    }

    fn take_event(&mut self, event: Event) -> Result<(), ClientError> {
        let now = Instant::now();
        let Some(node) = self.pipes.get(&event.pipe).copied() else {
            return Ok(());
        };
        let Some(leader) = self.leaders.get_mut(&node) else {
            return Ok(());
        };
        if leader.pipe.number() != event.pipe {
            return Ok(());
        }
        let address = leader.pipe.address().to_owned();
        let frame = match event.outcome {
            Ok(frame) => frame,
            Err(cause) => {
                let error = ClientError::Broken { address, cause };
                self.drop_leader(node, &error, now);
                return Ok(());
            }
        };
        let Some(answered) = leader.in_flight.pop_front() else {
            let reason = "an answer came that nothing had asked for".to_owned();
            return Err(ClientError::Protocol { address, reason });
        };
        if correlation_id(&frame) != Some(answered.correlation_id) {
            let reason = "answers came in another order than the requests".to_owned();
            return Err(ClientError::Protocol { address, reason });
        }
        self.take_answer(&address, &answered, &frame, now)
    }

    fn take_answer(
        &mut self,
        address: &str,
        answered: &InFlight,
        frame: &[u8],
        now: Instant,
    ) -> Result<(), ClientError> {
        let decoded = decode_response::<ProduceRequest<'_>>(frame, answered.version);
        let (_, response) = decoded.map_err(|error| ClientError::decode(address, &error))?;
        for (index, number) in &answered.parts {
            let queue = &self.queues[*index];
            let found = response
                .responses
                .iter()
                .filter(|topic| match answered.version >= TOPIC_IDS_FROM {
                    true => topic.topic_id == queue.topic_id,
                    false => topic.name == &*queue.partition.topic,
                })
                .flat_map(|topic| &topic.partition_responses)
                .find(|partition| partition.index == queue.partition.partition.get());
            match found {
                Some(found) => self.take_part(*index, *number, found, now)?,
                None => self.fail_batch(*index, *number, "the answer does not name it", now),
            }
        }
        Ok(())
    }

    fn take_part(
        &mut self,
        index: usize,
        number: u64,
        answer: &PartitionProduceResponse<'_>,
        now: Instant,
    ) -> Result<(), ClientError> {
        let code = answer.error_code;
        let queue = &self.queues[index];
        match code {
            ErrorCode::NONE => {
                let base = (answer.base_offset >= 0).then(|| Offset::new(answer.base_offset));
                self.acknowledge(index, number, base, now);
                return Ok(());
            }
            // The broker has had it before.
            ErrorCode::DUPLICATE_SEQUENCE_NUMBER => {
                self.acknowledge(index, number, None, now);
                return Ok(());
            }
            _ => (),
        }
        let operation = || format!("produce to {}", queue.partition);
        let refused = ClientError::check(operation, code, answer.error_message);
        let follows =
            code == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER && queue.follows_a_failure(number);
        if !code.retriable() && !follows {
            return refused;
        }
        self.metadata_stale |= !follows;
        let text = refused
            .err()
            .map_or_else(String::new, |error| error.to_string());
        self.fail_batch(index, number, &text, now);
        Ok(())
    }

    fn acknowledge(&mut self, index: usize, number: u64, base: Option<Offset>, now: Instant) {
        let queue = &mut self.queues[index];
        let Some(batch) = queue.remove(number) else {
            return;
        };
        self.buffered_bytes = self.buffered_bytes.saturating_sub(batch.cost);
        self.produced.records += u64::from(batch.records);
        self.produced.bytes += batch.payload;
        self.produced.batches += 1;
        if let Some(report) = &mut self.acknowledged {
            report(&Acknowledged {
                partition: queue.partition.clone(),
                base_offset: base,
                records: batch.records,
                latency: now.saturating_duration_since(batch.since),
            });
        }
    }

    /// Puts a batch back, to be sent again.
    fn fail_batch(&mut self, index: usize, number: u64, failure: &str, now: Instant) {
        let settings = self.client.settings();
        let queue = &mut self.queues[index];
        queue.mark_sent(number);
        queue.put_back(number, now, failure.to_owned(), |attempt| {
            settings.wait_before(attempt)
        });
        self.produced.resent += 1;
    }

    fn fail_parts(
        &mut self,
        parts: &[(usize, u64)],
        error: &ClientError,
        now: Instant,
    ) -> Result<(), ClientError> {
        for (index, number) in parts {
            self.fail_batch(*index, *number, &error.to_string(), now);
        }
        Ok(())
    }

    /// Gives up a connection; all that was on the way is sent again on another.
    fn drop_leader(&mut self, node: i32, error: &ClientError, now: Instant) {
        let Some(leader) = self.leaders.remove(&node) else {
            return;
        };
        self.pipes.remove(&leader.pipe.number());
        self.metadata_stale = true;
        for request in leader.in_flight {
            for (index, number) in request.parts {
                self.fail_batch(index, number, &error.to_string(), now);
            }
        }
    }

    fn give_up_late_answers(&mut self, now: Instant) {
        let late = self.leaders.iter().filter(|(_, leader)| {
            leader
                .in_flight
                .front()
                .is_some_and(|request| request.deadline <= now)
        });
        let late: Vec<(i32, String)> = late
            .map(|(node, leader)| (*node, leader.pipe.address().to_owned()))
            .collect();
        for (node, address) in late {
            let cause = "it did not answer in time".to_owned();
            self.drop_leader(node, &ClientError::Broken { address, cause }, now);
        }
    }

    /// Fails when a batch has been tried for longer than is allowed.
    fn check_delivery(&mut self, now: Instant) -> Result<(), ClientError> {
        let limit = self.settings.delivery_timeout;
        for queue in &mut self.queues {
            let Some(oldest) = queue.oldest() else {
                continue;
            };
            let after = now.saturating_duration_since(oldest);
            if after > limit {
                let operation = format!("produce to {}", queue.partition);
                let last = queue.last_failure.take();
                return Err(ClientError::TimedOut {
                    operation,
                    after,
                    last,
                });
            }
        }
        Ok(())
    }

    /// Learns who leads what. A failure leaves the mark, so that it is tried again.
    fn refresh_metadata(&mut self) {
        let names: Vec<Arc<str>> = self.topics.iter().map(|topic| topic.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        if self.client.refresh(&names, AutoCreate::Forbidden).is_ok() {
            self.metadata_stale = false;
        }
    }
}

/// A request with these batches, each with the number of its queue.
fn request_of<'a>(queues: &'a [Queue], batches: &'a [(usize, Bytes)]) -> ProduceRequest<'a> {
    let mut topics: BTreeMap<&Arc<str>, TopicProduceData<'a>> = BTreeMap::new();
    for (index, bytes) in batches {
        let queue = &queues[*index];
        let name = &queue.partition.topic;
        let topic = topics.entry(name).or_insert_with(|| TopicProduceData {
            name,
            topic_id: queue.topic_id,
            partition_data: Vec::new(),
        });
        topic.partition_data.push(PartitionProduceData {
            index: queue.partition.partition.get(),
            records: Records::Slices(std::slice::from_ref(bytes)),
        });
    }
    ProduceRequest {
        topic_data: topics.into_values().collect(),
        ..ProduceRequest::default()
    }
}
