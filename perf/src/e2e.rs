//! End-to-end latency: records carry the time at which they should have been sent, and consumers
//! that wait in long polls compare it with the time at which they have them.
//!
//! Producers and consumers are threads of one process and so share one monotonic clock. The
//! latency contains the producer's send, the wait for the flush, the wake of the long poll and the
//! way to the consumer; decoding is left out.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use segment::batch::Batches;
use segment::record::{DecodeLimits, RecordSet};

use crate::clock::{Schedule, Window, process_ns};
use crate::cluster::{Assignment, Topic};
use crate::connection::Template;
use crate::consumer::{Consumer, FetchLimits};
use crate::meter::{Counter, Tally};
use crate::payload::{RECORD_BYTES_MIN, Shape, Target, produce_request, wall_clock};
use crate::produce::{Lane, Source, open_loop, open_partition};
use crate::run::{Measured, Setting};

/// Most bytes of one answer.
const FETCH_BYTES_MAX: i32 = 4 << 20;
/// How long a fetch may wait for data.
const WAIT_MAX_MS: i32 = 500;
/// How long consumers go on after the window and after the last record that they got.
const DRAIN: Duration = Duration::from_secs(2);

/// An end-to-end run.
#[derive(Debug, Clone)]
pub struct EndToEndRun {
    /// Connections that produce.
    pub producers: usize,
    /// Connections that consume.
    pub consumers: usize,
    /// Partitions of the topic.
    pub partitions: usize,
    /// The batches.
    pub shape: Shape,
    /// Batches a second, over all producers.
    pub per_second: f64,
}

/// Builds batches that carry the time of their send.
#[derive(Debug)]
struct Stamping {
    targets: Vec<Target>,
    next: usize,
    noise: Vec<u8>,
    shape: Shape,
    run_id: u64,
    version: i16,
    current: Option<Template>,
}

impl Source for Stamping {
    fn next(&mut self, intended: Instant) -> Result<&mut Template> {
        let target = self
            .targets
            .get(self.next % self.targets.len())
            .context("no partition")?;
        self.next += 1;
        let mark = mark(self.run_id, intended);
        let payload = self
            .shape
            .build_from(&mut self.noise, wall_clock(), Some(mark))?;
        let template = produce_request(target, &payload, self.version, -1)?;
        Ok(self.current.insert(template))
    }
}

fn mark(run_id: u64, intended: Instant) -> [u8; RECORD_BYTES_MIN] {
    let number = u128::from(run_id) << 64 | u128::from(process_ns(intended));
    number.to_be_bytes()
}

enum Worker {
    Produce(Box<Lane<Stamping>>),
    Consume(Box<Consumer>),
}

impl EndToEndRun {
    /// Runs against a topic of its own. Gives end-to-end latency, and that of acknowledgements.
    ///
    /// # Errors
    /// The broker refuses, or a connection fails.
    pub fn run(&self, setting: &Setting, title: &str) -> Result<(Measured, Measured)> {
        // The clock that records are stamped with starts here, before any of them.
        process_ns(Instant::now());
        setting.with_topic("e2e", self.partitions, |topic| {
            self.run_on(setting, title, topic)
        })
    }

    fn run_on(
        &self,
        setting: &Setting,
        title: &str,
        topic: &Topic,
    ) -> Result<(Measured, Measured)> {
        let run_id = rand::random::<u64>();
        let mut workers = Vec::new();
        for (number, assignment) in topic.assign(self.producers).into_iter().enumerate() {
            workers.push(Worker::Produce(Box::new(self.lane(
                topic,
                &assignment,
                number,
                run_id,
            )?)));
        }
        let producers = workers.len();
        for assignment in topic.assign(self.consumers.min(topic.partitions.len())) {
            workers.push(Worker::Consume(Box::new(Consumer::connect(
                topic,
                &assignment,
            )?)));
        }
        let (tallies, seconds, cpu) =
            setting.run_each(title, workers, |worker, window, counter| match worker {
                Worker::Produce(lane) => {
                    let number = lane.number;
                    let schedule = Schedule::new(window.start, self.per_second, number, producers);
                    open_loop(*lane, schedule, window, counter)
                }
                Worker::Consume(consumer) => consume(*consumer, run_id, window, counter),
            })?;
        let (produced, consumed) = tallies.split_at(producers);
        let sum = |tallies: &[Tally]| {
            let mut sum = Tally::default();
            tallies.iter().for_each(|tally| sum.add(tally));
            sum
        };
        let (produced, mut consumed) = (sum(produced), sum(consumed));
        let missing = produced
            .records_in_all
            .saturating_sub(consumed.records_in_all);
        consumed.fail(missing, "records were acknowledged but not read");
        let measured = |tally| Measured {
            tally,
            seconds,
            cpu,
        };
        Ok((measured(consumed), measured(produced)))
    }

    fn lane(
        &self,
        topic: &Topic,
        assignment: &Assignment,
        number: usize,
        run_id: u64,
    ) -> Result<Lane<Stamping>> {
        let mut connection = topic.connect(assignment)?;
        let version = topic.produce_version(&connection)?;
        let opening = self.shape.build(wall_clock(), None)?;
        let mut targets = Vec::new();
        for partition in &assignment.partitions {
            let target = Target {
                topic: topic.name.clone(),
                topic_id: topic.id,
                partition: partition.index,
            };
            let mut template = produce_request(&target, &opening, version, -1)?;
            open_partition(&mut connection, &mut template, version)?;
            targets.push(target);
        }
        let mut noise = vec![0; self.shape.batch_bytes];
        rand::RngCore::fill_bytes(&mut rand::rng(), &mut noise);
        let source = Stamping {
            targets,
            next: 0,
            noise,
            shape: self.shape,
            run_id,
            version,
            current: None,
        };
        Ok(Lane {
            number,
            connection,
            source,
            version,
            batch_bytes: opening.bytes.len() as u64,
            batch_records: opening.records,
            acks: -1,
        })
    }
}

/// Reads until the window is over and nothing more comes.
fn consume(
    mut consumer: Consumer,
    run_id: u64,
    window: Window,
    counter: &Counter,
) -> Result<Tally> {
    let limits = FetchLimits {
        bytes_max: FETCH_BYTES_MAX,
        wait_max_ms: WAIT_MAX_MS,
    };
    let mut tally = Tally::default();
    let mut last_news = window.to;
    loop {
        let before = tally.records_in_all;
        let mut failure = None;
        let fetched = consumer.fetch(&limits, |_, bytes, done| {
            failure = failure
                .take()
                .or(account(bytes, done, run_id, window, &mut tally).err());
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        counter.count(fetched.bytes);
        if let Some(error) = fetched.error {
            tally.fail(1, error);
        }
        let now = Instant::now();
        if tally.records_in_all > before {
            last_news = now.max(window.to);
        }
        if now > window.give_up || now > last_news + DRAIN {
            return Ok(tally);
        }
    }
}

/// Takes the time of every batch of this run.
fn account(
    bytes: &[u8],
    done: Instant,
    run_id: u64,
    window: Window,
    tally: &mut Tally,
) -> Result<()> {
    for batch in Batches::until_truncated(bytes) {
        let batch = batch?;
        let records = RecordSet::decode(batch.bytes, &DecodeLimits::default())?;
        let Some(first) = records.iter().next() else {
            continue;
        };
        let Some(mark) = first?
            .value
            .and_then(|value| value.first_chunk::<RECORD_BYTES_MIN>())
        else {
            continue;
        };
        let mark = u128::from_be_bytes(*mark);
        if (mark >> 64) as u64 != run_id {
            continue;
        }
        let count = u64::from(batch.header.record_count);
        tally.records_in_all += count;
        let sent_ns = mark as u64;
        if sent_ns < process_ns(window.from) || sent_ns >= process_ns(window.to) {
            continue;
        }
        let latency = Duration::from_nanos(process_ns(done).saturating_sub(sent_ns));
        tally.latency.record_duration(latency, count);
        tally.requests += 1;
        tally.records += count;
        tally.bytes += batch.bytes.len() as u64;
    }
    Ok(())
}
