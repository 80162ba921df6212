//! Fetch-hit latency over data that was produced right before, so that it is in the broker's memory. One
//! partition and one request in flight per connection.
//!
//! Closed loop: few threads drive all connections ([`crate::drive`]); the clock runs from the send to the last
//! byte of the answer. Open loop: a thread a connection, since its timer is exact where the runtime's is
//! a millisecond coarse; the clock runs from the intended time. Each connection walks through its partition
//! and begins anew when less than a full answer is left, so every answer is full.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::clock::{Schedule, Window, sleep_until};
use crate::cluster::Topic;
use crate::consumer::{Consumer, FetchLimits, Fetched};
use crate::drive::{self, Lane};
use crate::latency::Latencies;
use crate::meter::{Counter, Tally};
use crate::payload::{BATCH_BYTES_MIN, Payload, Shape, wall_clock};
use crate::produce::{Rotation, Source, check, open_partition};
use crate::run::{Measured, Setting};

/// Bytes in flight per connection while the data is loaded: small batches must not wait for a flush each.
const LOAD_IN_FLIGHT_BYTES: usize = 1 << 20;
/// Batches in flight meanwhile, at least and at most.
const LOAD_IN_FLIGHT: std::ops::RangeInclusive<u64> = 8..=512;
/// Full answers that the data of a partition suffices for, at least.
const ANSWERS_MIN: u64 = 8;
/// How long the broker may wait; it never should, as data is there.
const WAIT_MAX_MS: i32 = 500;
/// How long a connection that has fallen behind its schedule goes on after the window.
const OVERRUN: Duration = Duration::from_secs(1);
/// How long loaded data may stay invisible.
const VISIBLE_WITHIN: Duration = Duration::from_secs(20);

/// A fetch run.
#[derive(Debug, Clone)]
pub struct FetchRun {
    /// Connections; each reads a partition of its own.
    pub connections: usize,
    /// Bytes of an answer.
    pub fetch_bytes: usize,
    /// The batches that are loaded. A batch larger than an answer is cut to its size.
    pub shape: Shape,
    /// Bytes that are loaded, over all partitions.
    pub data_bytes: u64,
    /// Closed loop: threads of the meter, at most one a connection.
    pub threads: usize,
    /// Open loop: so many fetches a second over all connections; else closed.
    pub per_second: Option<f64>,
}

/// A consumer and the bounds of its fetches.
#[derive(Debug)]
struct Reader {
    number: usize,
    consumer: Consumer,
    limits: FetchLimits,
}

impl FetchRun {
    /// Loads a topic of its own and reads it.
    ///
    /// # Errors
    /// The broker refuses, or a connection fails.
    pub fn run(&self, setting: &Setting, title: &str) -> Result<Measured> {
        setting.with_topic("fetch", self.connections, |topic| {
            self.load(topic)?;
            let mut readers = Vec::new();
            for (number, assignment) in topic.assign(self.connections).iter().enumerate() {
                readers.push(self.reader(number, Consumer::connect(topic, assignment)?)?);
            }
            let measured = match self.per_second {
                None => setting.run(title, self.deal(readers)?, drive::fetch_all)?,
                Some(rate) => {
                    let count = readers.len();
                    setting.run(title, readers, |reader, window, counter| {
                        let schedule = Schedule::new(window.start, rate, reader.number, count);
                        read_on_schedule(reader, schedule, window, counter)
                    })?
                }
            };
            ensure!(
                measured.tally.requests > 0,
                "no fetch was answered in the window"
            );
            Ok(measured)
        })
    }

    /// Deals the connections to the threads in turn.
    fn deal(&self, readers: Vec<Reader>) -> Result<Vec<Vec<Lane>>> {
        let threads = self.threads.clamp(1, readers.len().max(1));
        let mut dealt: Vec<Vec<Lane>> = (0..threads).map(|_| Vec::new()).collect();
        for (number, reader) in readers.into_iter().enumerate() {
            let (stream, cursor) = reader.consumer.into_parts()?;
            let limits = reader.limits;
            dealt[number % threads].push(Lane {
                stream,
                cursor,
                limits,
            });
        }
        Ok(dealt)
    }

    fn shape(&self) -> Shape {
        let batch_bytes = self
            .shape
            .batch_bytes
            .min(self.fetch_bytes)
            .max(BATCH_BYTES_MIN);
        Shape {
            batch_bytes,
            record_bytes: self.shape.record_bytes.min(batch_bytes),
        }
    }

    /// Produces the data.
    fn load(&self, topic: &Topic) -> Result<()> {
        let payload = self.shape().build(wall_clock(), None)?;
        let share = self.data_bytes / topic.partitions.len().max(1) as u64;
        let bytes = share.max(self.fetch_bytes as u64 * ANSWERS_MIN);
        let batches = bytes.div_ceil(payload.bytes.len() as u64);
        std::thread::scope(|scope| {
            let payload = &payload;
            let threads: Vec<_> = (topic.assign(1).into_iter())
                .map(|assignment| {
                    let count = batches * assignment.partitions.len() as u64;
                    scope.spawn(move || load_partitions(topic, &assignment, payload, count))
                })
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .map_err(|_| anyhow::anyhow!("a thread panicked"))?
            })
        })
        .context("load the data")
    }

    /// Waits until the data is visible.
    fn reader(&self, number: usize, mut consumer: Consumer) -> Result<Reader> {
        let limits = FetchLimits {
            bytes_max: i32::try_from(self.fetch_bytes)?,
            wait_max_ms: WAIT_MAX_MS,
        };
        let started = Instant::now();
        while consumer.fetch(&limits, |_, _, _| {})?.bytes == 0 {
            ensure!(
                started.elapsed() < VISIBLE_WITHIN,
                "the data that was loaded is not visible"
            );
        }
        let cursor = consumer.cursor();
        for index in 0..cursor.positions().len() {
            cursor.seek(index, 0);
        }
        Ok(Reader {
            number,
            consumer,
            limits,
        })
    }
}

fn load_partitions(
    topic: &Topic,
    assignment: &crate::cluster::Assignment,
    payload: &Payload,
    count: u64,
) -> Result<()> {
    let mut connection = topic.connect(assignment)?;
    let version = topic.produce_version(&connection)?;
    let mut rotation = Rotation::new(topic, assignment, payload, version, -1)?;
    for _ in &assignment.partitions {
        open_partition(&mut connection, rotation.next(Instant::now())?, version)?;
    }
    let (mut stream, mut reader) = connection.split();
    let in_flight = (LOAD_IN_FLIGHT_BYTES / payload.bytes.len().max(1)) as u64;
    let in_flight = in_flight.clamp(*LOAD_IN_FLIGHT.start(), *LOAD_IN_FLIGHT.end());
    let (mut sent, mut answered) = (0, 0);
    while answered < count {
        while sent < count && sent - answered < in_flight {
            rotation
                .next(Instant::now())?
                .send(&mut stream, (sent & 0xffff) as i32)?;
            sent += 1;
        }
        let frame = reader.next_frame()?;
        if let Some(error) = check(frame, version, Some((answered & 0xffff) as i32))? {
            anyhow::bail!("a batch was refused: {error}");
        }
        answered += 1;
    }
    Ok(())
}

/// Fetches on schedule until the window is over. Latency counts from the intended time: while one fetch is
/// late, those whose time has come wait for it, and that wait counts.
fn read_on_schedule(
    mut reader: Reader,
    schedule: Schedule,
    window: Window,
    counter: &Counter,
) -> Result<Tally> {
    let (mut tally, mut service) = (Tally::default(), Latencies::new());
    let consumer = &mut reader.consumer;
    for number in 0..schedule.count_within(window.length()) {
        let intended = schedule.intended(number);
        sleep_until(intended);
        if Instant::now() > window.to + OVERRUN {
            tally.note("the broker did not keep up: some requests were never sent");
            break;
        }
        let fetched = consumer.fetch(&reader.limits, |_, _, _| {})?;
        counter.count(fetched.bytes);
        consumer.cursor().begin_anew_at_the_end();
        count(&mut tally, &fetched, window);
        if window.holds(intended) && fetched.error.is_none() && fetched.bytes > 0 {
            tally.latency.record(intended, fetched.done);
            service.record(fetched.sent, fetched.done);
        }
    }
    if !consumer.cursor().has_session() {
        tally.note("the broker offers no fetch sessions");
    }
    tally.service = Some(service);
    Ok(tally)
}

fn count(tally: &mut Tally, fetched: &Fetched, window: Window) {
    if !window.holds(fetched.done) {
        return;
    }
    match fetched.error {
        Some(error) => tally.fail(1, error),
        None if fetched.bytes == 0 => tally.fail(1, "an answer without data"),
        None => {
            tally.requests += 1;
            tally.bytes += fetched.bytes;
            tally.records += fetched.records;
        }
    }
}
