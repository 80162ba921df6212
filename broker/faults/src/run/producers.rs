//! Producers: each writes batches of a few values to one partition, one at a time.
//!
//! A batch is repeated until it is acknowledged or the run gives up. What a failed attempt did is
//! never guessed: only a batch of which no byte was sent counts as not written.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use check::{Broker, Event, Kind, Partition, Producer, SendId, Value};
use client::{ClientError, Connection};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::ErrorCode;

use super::kafka::{Identity, batch, identity, produce, settings};
use super::load::Shared;

/// Values of one batch at most.
const BATCH_MAX: usize = 3;
/// Pause between two batches, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 60..180;
/// Pause before an attempt is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How an attempt ended.
enum Attempt {
    /// With an acknowledgment; the offset of the first value, if the broker told it.
    Acknowledged(Option<i64>),
    /// No byte was sent.
    NotSent,
    /// Something was sent; another attempt may do better.
    Repeat,
    /// The broker says that the producer is wrong.
    Refused(i32, ErrorCode),
}

pub(super) struct Lane<'a> {
    shared: &'a Shared,
    producer: Producer,
    partition: Partition,
    kind: Kind,
    identity: Option<Identity>,
    connections: HashMap<i32, Connection>,
    random: StdRng,
}

impl<'a> Lane<'a> {
    pub(super) fn new(shared: &'a Shared, producer: u32, partition: i32, kind: Kind) -> Self {
        let seed = shared.seed ^ (u64::from(producer) << 32);
        Self {
            shared,
            producer: Producer(producer),
            partition: Partition(partition),
            kind,
            identity: None,
            connections: HashMap::new(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Writes until the load stops.
    pub(super) fn run(mut self) {
        while !self.shared.is_stopping() {
            if self.kind == Kind::Idempotent && self.identity.is_none() {
                self.identity = self.ask_identity();
                if self.identity.is_none() {
                    std::thread::sleep(RETRY_PAUSE);
                    continue;
                }
            }
            self.write();
            let pause = self.random.random_range(PAUSE_MS);
            std::thread::sleep(Duration::from_millis(pause));
        }
    }

    fn ask_identity(&mut self) -> Option<Identity> {
        let brokers = &self.shared.directory.brokers;
        let (_, address) = brokers.get(self.random.random_range(0..brokers.len()))?;
        identity(&mut Connection::open(address, &settings()).ok()?).ok()
    }

    /// One batch, until its fate is known or nobody waits for it any more.
    fn write(&mut self) {
        let shared = self.shared;
        let count = self.random.random_range(1..=BATCH_MAX);
        let values: Vec<Value> = (0..count).map(|_| shared.recorder.value()).collect();
        let Ok(bytes) = batch(&values, self.identity) else {
            return;
        };
        let send = shared.recorder.send();
        shared.recorder.add(Event::Send {
            send,
            producer: self.producer,
            kind: self.kind,
            partition: self.partition,
            values,
            at: shared.recorder.now(),
        });
        let mut sent = false;
        loop {
            match self.attempt(&bytes) {
                Attempt::Acknowledged(offset) => {
                    self.acknowledged(send, count, offset);
                    return;
                }
                Attempt::NotSent => (),
                Attempt::Repeat => sent = true,
                Attempt::Refused(broker, code) => {
                    shared.recorder.add(Event::Refused {
                        producer: self.producer,
                        partition: self.partition,
                        broker: Broker(broker),
                        reason: code.name().to_owned(),
                        at: shared.recorder.now(),
                    });
                    self.identity = None;
                    self.given_up(send, true);
                    return;
                }
            }
            if shared.is_over() {
                self.given_up(send, sent);
                return;
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    fn acknowledged(&mut self, send: SendId, count: usize, offset: Option<i64>) {
        let recorder = &self.shared.recorder;
        let at = recorder.now();
        recorder.add(Event::Ok { send, offset, at });
        self.shared.acknowledged(self.partition);
        if let Some(identity) = &mut self.identity {
            let count = u32::try_from(count).unwrap_or(0);
            identity.next = identity.next.next(count);
        }
    }

    fn given_up(&self, send: SendId, sent: bool) {
        let recorder = &self.shared.recorder;
        let at = recorder.now();
        recorder.add(match sent {
            true => Event::Unknown { send, at },
            false => Event::Fail { send, at },
        });
    }

    fn attempt(&mut self, bytes: &bytes::Bytes) -> Attempt {
        let directory = &self.shared.directory;
        let Some((leader, address)) = directory.leader(self.partition) else {
            return Attempt::NotSent;
        };
        let connection = match self.connections.entry(leader.broker) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(none) => match Connection::open(address, &settings()) {
                Ok(connection) => none.insert(connection),
                Err(_) => return Attempt::NotSent,
            },
        };
        let began = Instant::now();
        let wait = directory.wait_at(leader.broker, self.partition, connection);
        let answer = produce(connection, &directory.topic, self.partition, bytes.clone());
        drop(wait);
        self.shared.note(leader.broker, began.elapsed(), &answer);
        match answer {
            Ok((ErrorCode::NONE, base)) => Attempt::Acknowledged((base >= 0).then_some(base)),
            Ok((ErrorCode::DUPLICATE_SEQUENCE_NUMBER, _)) => Attempt::Acknowledged(None),
            Ok((code, _)) if code.retriable() => Attempt::Repeat,
            Ok((code, _)) => Attempt::Refused(leader.broker, code),
            Err(ClientError::Encode(_) | ClientError::NotServed { .. }) => Attempt::NotSent,
            Err(_) => {
                self.connections.remove(&leader.broker);
                Attempt::Repeat
            }
        }
    }
}
