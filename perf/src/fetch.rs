//! Fetch-hit latency: closed loop over data that was produced right before, so that it is in the
//! broker's memory. One partition and one request in flight per connection.
//!
//! The clock runs from the send to the last byte of the answer. Each connection walks through its
//! partition and begins anew when less than a full answer is left, so every answer is full.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::clock::Window;
use crate::cluster::Topic;
use crate::consumer::{Consumer, FetchLimits};
use crate::meter::{Counter, Tally};
use crate::payload::{BATCH_BYTES_MIN, Payload, Shape, wall_clock};
use crate::produce::{Rotation, Source, check, open_partition};
use crate::run::{Measured, Setting};

/// Batches in flight per connection while the data is loaded.
const LOAD_IN_FLIGHT: usize = 8;
/// Full answers that the data of a partition suffices for, at least.
const ANSWERS_MIN: u64 = 8;
/// How long the broker may wait; it never should, as data is there.
const WAIT_MAX_MS: i32 = 500;
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
}

/// A consumer and the offset at which it begins anew.
#[derive(Debug)]
struct Reader {
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
            for assignment in topic.assign(self.connections) {
                readers.push(self.reader(Consumer::connect(topic, &assignment)?)?);
            }
            let measured = setting.run(title, readers, read)?;
            ensure!(
                measured.tally.requests > 0,
                "no fetch was answered in the window"
            );
            Ok(measured)
        })
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
    fn reader(&self, mut consumer: Consumer) -> Result<Reader> {
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
        for index in 0..consumer.positions().len() {
            consumer.seek(index, 0);
        }
        Ok(Reader { consumer, limits })
    }
}

fn load_partitions(
    topic: &Topic,
    assignment: &crate::cluster::Assignment,
    payload: &Payload,
    count: u64,
) -> Result<()> {
    let mut connection = crate::connection::Connection::open(&assignment.address)?;
    let version = topic.produce_version(&connection)?;
    let mut rotation = Rotation::new(topic, assignment, payload, version, -1)?;
    for _ in &assignment.partitions {
        open_partition(&mut connection, rotation.next(Instant::now())?, version)?;
    }
    let (mut stream, mut reader) = connection.split();
    let (mut sent, mut answered) = (0, 0);
    while answered < count {
        while sent < count && sent - answered < LOAD_IN_FLIGHT as u64 {
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

/// Fetches until the window is over.
fn read(mut reader: Reader, window: Window, counter: &Counter) -> Result<Tally> {
    let mut tally = Tally::default();
    let consumer = &mut reader.consumer;
    // With more partitions than one (one connection per leader) the session serves them in turn.
    while Instant::now() < window.to {
        let before: Vec<i64> = consumer.positions().iter().map(|p| p.offset).collect();
        let fetched = consumer.fetch(&reader.limits, |_, _, _| {})?;
        counter.count(fetched.bytes);
        for (index, before) in before.into_iter().enumerate() {
            let Some(position) = consumer.positions().get(index) else {
                break;
            };
            let step = position.offset - before;
            if position.offset + step > position.high_watermark {
                consumer.seek(index, 0);
            }
        }
        if !window.holds(fetched.done) {
            continue;
        }
        match fetched.error {
            Some(error) => tally.fail(1, error),
            None if fetched.bytes == 0 => tally.fail(1, "an answer without data"),
            None => {
                tally.latency.record(fetched.sent, fetched.done);
                tally.requests += 1;
                tally.bytes += fetched.bytes;
                tally.records += fetched.records;
            }
        }
    }
    if !consumer.has_session() {
        tally
            .notes
            .push("the broker offers no fetch sessions".to_owned());
    }
    Ok(tally)
}
