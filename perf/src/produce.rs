//! Produce latency and throughput: closed loop with a window, or open loop at a rate.
//!
//! Without linger: a batch is built before the run and sent when its time has come, so the broker
//! alone is measured. The batches are not idempotent and carry no producer id.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use client::Stream;
use wire::messages::produce::ProduceRequest;
use wire::{ErrorCode, decode_response};

use crate::clock::{Schedule, Window, sleep_until};
use crate::cluster::{Assignment, Topic};
use crate::connection::{Connection, FrameReader, Template};
use crate::latency::Latencies;
use crate::meter::{Counter, Tally};
use crate::payload::{Payload, Shape, Target, produce_request, wall_clock};
use crate::run::{Measured, Setting};

/// Most requests of one connection whose send times are kept; far above what brokers accept.
const SENT_MAX: usize = 1 << 16;
/// How long a sender that has fallen behind its schedule goes on after the window.
const OVERRUN: Duration = Duration::from_secs(1);
/// How long a new partition may refuse batches before the run counts as failed.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
/// Pause before a refused first batch is sent again.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// When batches are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Closed loop: each connection keeps so many requests in flight.
    InFlight(usize),
    /// Open loop: so many batches a second over all connections, whatever the broker does.
    PerSecond(f64),
}

/// A produce run.
#[derive(Debug, Clone)]
pub struct ProduceRun {
    /// Connections.
    pub connections: usize,
    /// Partitions of the topic.
    pub partitions: usize,
    /// The batches.
    pub shape: Shape,
    /// Acknowledgements: -1 all, 1 the leader's, 0 none.
    pub acks: i16,
    /// When they are sent.
    pub pace: Pace,
}

/// What a sender sends next.
pub trait Source: Send {
    /// The request that will be sent at `intended`. Called before that time, where there is time.
    ///
    /// # Errors
    /// It cannot be built.
    fn next(&mut self, intended: Instant) -> Result<&mut Template>;
}

/// The same batch to a connection's partitions in turn.
#[derive(Debug)]
pub struct Rotation {
    templates: Vec<Template>,
    next: usize,
}

impl Rotation {
    /// Requests with `payload` to the partitions of `assignment`.
    ///
    /// # Errors
    /// The version cannot carry them.
    pub fn new(
        topic: &Topic,
        assignment: &Assignment,
        payload: &Payload,
        version: i16,
        acks: i16,
    ) -> Result<Self> {
        let request = |partition: i32| {
            let topic_id = topic.id;
            let topic = topic.name.clone();
            let target = Target {
                topic,
                topic_id,
                partition,
            };
            produce_request(&target, payload, version, acks)
        };
        let templates: Result<_> = assignment
            .partitions
            .iter()
            .map(|p| request(p.index))
            .collect();
        Ok(Self {
            templates: templates?,
            next: 0,
        })
    }
}

impl Source for Rotation {
    fn next(&mut self, _intended: Instant) -> Result<&mut Template> {
        let number = self.next % self.templates.len();
        self.next = number + 1;
        self.templates
            .get_mut(number)
            .context("a connection has a partition")
    }
}

/// One connection that produces.
#[derive(Debug)]
pub struct Lane<S> {
    /// Its number.
    pub number: usize,
    /// The connection.
    pub connection: Connection,
    /// What it sends.
    pub source: S,
    /// Version of Produce.
    pub version: i16,
    /// Bytes of a batch.
    pub batch_bytes: u64,
    /// Records of a batch.
    pub batch_records: u64,
    /// Acknowledgements asked for.
    pub acks: i16,
}

impl ProduceRun {
    /// Runs against a topic of its own.
    ///
    /// # Errors
    /// The broker refuses, or a connection fails.
    pub fn run(&self, setting: &Setting, title: &str) -> Result<Measured> {
        setting.with_topic("produce", self.partitions, |topic| {
            self.run_on(setting, title, topic)
        })
    }

    fn run_on(&self, setting: &Setting, title: &str, topic: &Topic) -> Result<Measured> {
        let lanes = self.lanes(topic)?;
        let connections = lanes.len();
        setting.run(title, lanes, |lane, window, counter| {
            match (self.pace, self.acks) {
                (Pace::PerSecond(rate), acks) => {
                    let schedule = Schedule::new(window.start, rate, lane.number, connections);
                    if acks == 0 {
                        return send_only(lane, Some(schedule), window, counter);
                    }
                    open_loop(lane, schedule, window, counter)
                }
                (Pace::InFlight(_), 0) => send_only(lane, None, window, counter),
                (Pace::InFlight(count), _) => closed_loop(lane, count, window, counter),
            }
        })
    }

    /// Connects, and opens every partition with one batch; the connections do so side by side, as a
    /// batch may wait for a flush.
    fn lanes(&self, topic: &Topic) -> Result<Vec<Lane<Rotation>>> {
        let payload = self.shape.build(wall_clock(), None)?;
        let assignments = topic.assign(self.connections);
        std::thread::scope(|scope| {
            let payload = &payload;
            let open = |(number, assignment): (usize, Assignment)| {
                scope.spawn(move || self.lane(topic, number, &assignment, payload))
            };
            let opening: Vec<_> = assignments.into_iter().enumerate().map(open).collect();
            let opened = opening.into_iter().map(|lane| lane.join());
            opened
                .map(|lane| lane.map_err(|_| anyhow!("a connection panicked"))?)
                .collect()
        })
    }

    fn lane(
        &self,
        topic: &Topic,
        number: usize,
        assignment: &Assignment,
        payload: &Payload,
    ) -> Result<Lane<Rotation>> {
        let mut connection = topic.connect(assignment)?;
        let version = topic.produce_version(&connection)?;
        let mut opening = Rotation::new(topic, assignment, payload, version, -1)?;
        for template in &mut opening.templates {
            open_partition(&mut connection, template, version)?;
        }
        Ok(Lane {
            number,
            connection,
            source: Rotation::new(topic, assignment, payload, version, self.acks)?,
            version,
            batch_bytes: payload.bytes.len() as u64,
            batch_records: payload.records,
            acks: self.acks,
        })
    }
}

/// Sends one batch until it is taken: a new partition may not have its owner yet.
///
/// # Errors
/// It is refused for too long, or the connection fails.
pub fn open_partition(
    connection: &mut Connection,
    template: &mut Template,
    version: i16,
) -> Result<()> {
    let started = Instant::now();
    loop {
        let (frame, ..) = connection.timed(template)?;
        let Some(error) = check(frame, version, None)? else {
            return Ok(());
        };
        if started.elapsed() > OPEN_WITHIN {
            bail!("the first batch of a partition was refused: {error}");
        }
        std::thread::sleep(RETRY_EVERY);
    }
}

/// The error of a produce reply, if it carries one.
///
/// # Errors
/// The reply cannot be decoded, or is not that to the request `expected`.
pub fn check(frame: &[u8], version: i16, expected: Option<i32>) -> Result<Option<ErrorCode>> {
    let (correlation_id, reply) = decode_response::<ProduceRequest<'_>>(frame, version)?;
    if let Some(expected) = expected {
        ensure!(correlation_id == expected, "replies out of order");
    }
    let mut outcomes = reply
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    Ok(outcomes
        .find(|o| o.error_code != ErrorCode::NONE)
        .map(|o| o.error_code))
}

/// Keeps `in_flight` requests in flight until the window is over. Latency counts from the send.
///
/// # Errors
/// The connection fails.
pub fn closed_loop<S: Source>(
    lane: Lane<S>,
    in_flight: usize,
    window: Window,
    counter: &Counter,
) -> Result<Tally> {
    let mut source = lane.source;
    let (mut stream, mut reader) = lane.connection.split();
    let mut sent: VecDeque<Instant> = VecDeque::with_capacity(in_flight);
    let mut tally = Tally::default();
    let mut answered: i32 = 0;
    let mut next: i32 = 0;
    loop {
        while sent.len() < in_flight && Instant::now() < window.to {
            let template = source.next(Instant::now())?;
            sent.push_back(Instant::now());
            template.send(&mut stream, next)?;
            next = next.wrapping_add(1);
        }
        if sent.is_empty() {
            return Ok(tally);
        }
        let frame = reader.next_frame()?;
        let now = Instant::now();
        let from = sent.pop_front().context("a reply to no request")?;
        let error = check(frame, lane.version, Some(answered))?;
        answered = answered.wrapping_add(1);
        counter.count(lane.batch_bytes);
        if !window.holds(now) {
            continue;
        }
        match error {
            Some(error) => tally.fail(1, error),
            None => {
                tally.latency.record(from, now);
                tally.requests += 1;
                tally.bytes += lane.batch_bytes;
                tally.records += lane.batch_records;
            }
        }
    }
}

/// Sends on schedule in one thread, receives in another. Latency counts from the intended time.
///
/// # Errors
/// The connection fails.
pub fn open_loop<S: Source>(
    lane: Lane<S>,
    schedule: Schedule,
    window: Window,
    counter: &Counter,
) -> Result<Tally> {
    let (stream, reader) = lane.connection.split();
    let (note_sent, sent) = sync_channel(SENT_MAX);
    let total = AtomicU64::new(u64::MAX);
    let planned = schedule.count_within(window.length());
    let batch = (lane.batch_bytes, lane.batch_records);
    let receiving = Receiving {
        reader,
        sent,
        schedule,
        window,
        version: lane.version,
        batch,
        total: &total,
    };
    std::thread::scope(|scope| {
        let source = lane.source;
        let sender = scope.spawn(|| {
            let outcome = send_all(stream, source, schedule, planned, window, note_sent, &total);
            if outcome.is_err() {
                total.store(0, Ordering::Release);
            }
            outcome
        });
        let tally = receiving.run(counter);
        if tally.is_err() {
            total.store(0, Ordering::Release);
        }
        let count = sender
            .join()
            .map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        let mut tally = tally?;
        let unsent = planned - count;
        if unsent > 0 {
            tally.note("the broker did not keep up: some requests were never sent");
        }
        Ok(tally)
    })
}

fn send_all<S: Source>(
    mut stream: Stream,
    mut source: S,
    schedule: Schedule,
    planned: u64,
    window: Window,
    note_sent: SyncSender<Instant>,
    total: &AtomicU64,
) -> Result<u64> {
    for number in 0..planned {
        let intended = schedule.intended(number);
        let template = source.next(intended)?;
        sleep_until(intended);
        let now = Instant::now();
        if now > window.to + OVERRUN || total.load(Ordering::Relaxed) == 0 {
            total.store(number, Ordering::Release);
            return Ok(number);
        }
        // An error means that the receiver has given up, and it says why.
        if note_sent.send(now).is_err() {
            return Ok(planned);
        }
        template.send(&mut stream, correlation_id(number))?;
    }
    total.store(planned, Ordering::Release);
    Ok(planned)
}

/// Correlation ids of one connection go up and wrap.
fn correlation_id(number: u64) -> i32 {
    (number & u64::from(u32::MAX >> 1)) as i32
}

struct Receiving<'a> {
    reader: FrameReader,
    sent: Receiver<Instant>,
    schedule: Schedule,
    window: Window,
    version: i16,
    batch: (u64, u64),
    total: &'a AtomicU64,
}

impl Receiving<'_> {
    fn run(mut self, counter: &Counter) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut service = Latencies::new();
        let mut received = 0;
        while received < self.total.load(Ordering::Acquire) {
            let total = self.total;
            let stop = || {
                received >= total.load(Ordering::Acquire) || Instant::now() > self.window.give_up
            };
            let frame = match self.reader.next_unless(stop) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                    bail!("the broker closed the connection after {received} replies")
                }
                Err(e) => return Err(e.into()),
            };
            let now = Instant::now();
            let error = check(frame, self.version, Some(correlation_id(received)))?;
            let sent = self.sent.recv().context("a reply to no request")?;
            let intended = self.schedule.intended(received);
            received += 1;
            counter.count(self.batch.0);
            tally.records_in_all += if error.is_none() { self.batch.1 } else { 0 };
            if self.window.holds(now) {
                tally.requests += u64::from(error.is_none());
                tally.bytes += if error.is_none() { self.batch.0 } else { 0 };
                tally.records += if error.is_none() { self.batch.1 } else { 0 };
            }
            if !self.window.holds(intended) {
                continue;
            }
            match error {
                Some(error) => tally.fail(1, error),
                None => {
                    tally.latency.record(intended, now);
                    service.record(sent, now);
                }
            }
        }
        let total = self.total.load(Ordering::Acquire);
        tally.fail(
            total.saturating_sub(received),
            "some requests were not answered",
        );
        tally.service = Some(service);
        Ok(tally)
    }
}

/// acks=0: there is no reply, so the latency is that of the send alone.
fn send_only<S: Source>(
    lane: Lane<S>,
    schedule: Option<Schedule>,
    window: Window,
    counter: &Counter,
) -> Result<Tally> {
    let mut source = lane.source;
    let (mut stream, _reader) = lane.connection.split();
    let mut tally = Tally::default();
    tally
        .notes
        .push("acks=0: the latency is that of the send alone".to_owned());
    for number in 0.. {
        let intended = schedule.map_or_else(Instant::now, |s| s.intended(number));
        let template = source.next(intended)?;
        sleep_until(intended);
        if Instant::now() >= window.to {
            break;
        }
        template.send(&mut stream, correlation_id(number))?;
        let now = Instant::now();
        counter.count(lane.batch_bytes);
        if window.holds(now) {
            tally.latency.record(intended, now);
            tally.requests += 1;
            tally.bytes += lane.batch_bytes;
            tally.records += lane.batch_records;
        }
    }
    Ok(tally)
}
