//! Readers: consumers beside the producers, the committer of offsets, and full reads.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use check::{At, Broker, Epoch, Event, Generation, Group, Observer, Partition};
use client::{Client, ClientError, Connection, TopicPartition};
use segment::{Offset, PartitionIndex};
use wire::ErrorCode;

use super::RunError;
use super::directory::Directory;
use super::kafka::{Leader, Piece, Position, fetch, leaders, settings};
use super::load::Shared;
use super::recorder::Recorder;

/// How long a consumer's fetch waits at each broker.
const FETCH_WAIT: Duration = Duration::from_millis(50);
/// How long a broker that did not answer is left alone.
const SHUN: Duration = Duration::from_millis(300);
/// How far before the end of what it knows a reader of recent records begins.
pub(super) const RECENT: i64 = 5;
/// The one group that commits, without members.
const GROUP: Group = Group(0);
/// Pause between rounds of the committer.
const COMMIT_PAUSE: Duration = Duration::from_millis(300);
const READ_PAUSE: Duration = Duration::from_millis(50);

/// A consumer of all partitions that begins at offset 0. One with `back` above 0 reads that many
/// records again each time, as an observer of its own each time: it has something to read while
/// nothing is produced.
pub(super) struct Consumer<'a> {
    shared: &'a Shared,
    observer: Observer,
    back: i64,
    positions: BTreeMap<Partition, i64>,
    connections: HashMap<i32, Connection>,
    shunned: HashMap<i32, Instant>,
}

impl<'a> Consumer<'a> {
    pub(super) fn new(shared: &'a Shared, observer: u32, back: i64) -> Self {
        let all = (0..shared.partitions).map(|partition| (Partition(partition), 0));
        Self {
            shared,
            observer: Observer(observer),
            back,
            positions: all.collect(),
            connections: HashMap::new(),
            shunned: HashMap::new(),
        }
    }

    /// Reads until the load stops.
    pub(super) fn run(mut self) {
        while !self.shared.is_stopping() {
            for (broker, positions) in self.by_leader() {
                self.read(broker, &positions);
            }
            if self.back > 0 {
                self.observer = Observer(self.observer.0 + 1);
            }
            std::thread::sleep(READ_PAUSE);
        }
    }

    fn by_leader(&self) -> BTreeMap<i32, Vec<Position>> {
        let mut by_leader: BTreeMap<i32, Vec<Position>> = BTreeMap::new();
        for (partition, offset) in &self.positions {
            if let Some((leader, _)) = self.shared.directory.leader(*partition) {
                by_leader.entry(leader.broker).or_default().push(Position {
                    partition: *partition,
                    offset: (offset - self.back).max(0),
                    epoch: leader.epoch,
                });
            }
        }
        by_leader
    }

    fn read(&mut self, broker: i32, positions: &[Position]) {
        let shunned = self.shunned.get(&broker);
        if shunned.is_some_and(|since| since.elapsed() < SHUN) {
            return;
        }
        let shared = self.shared;
        let topic = &shared.directory.topic;
        let began = shared.recorder.now();
        let connection = self.connection(broker);
        let outcome = connection.and_then(|to| fetch(to, topic, positions, FETCH_WAIT));
        match outcome {
            Ok(pieces) => {
                for piece in pieces {
                    let asked = positions.iter();
                    let mut asked = asked.filter(|asked| asked.partition == piece.partition);
                    let epoch = asked.next().map_or(-1, |asked| asked.epoch);
                    self.take((broker, epoch), began, piece);
                }
            }
            Err(_) => {
                self.connections.remove(&broker);
                self.shunned.insert(broker, Instant::now());
            }
        }
    }

    fn connection(&mut self, broker: i32) -> Result<&mut Connection, ClientError> {
        if !self.connections.contains_key(&broker) {
            let address = self.shared.directory.address(broker).unwrap_or_default();
            let opened = Connection::open(address, &settings())?;
            self.connections.insert(broker, opened);
        }
        let unknown = || ClientError::Usage(format!("no broker {broker}"));
        self.connections.get_mut(&broker).ok_or_else(unknown)
    }

    fn take(&mut self, (broker, epoch): (i32, i32), began: At, piece: Piece) {
        let recorder = &self.shared.recorder;
        if !piece.code.is_none() {
            if piece.code == ErrorCode::OFFSET_OUT_OF_RANGE {
                recorder.add(Event::OutOfRange {
                    observer: self.observer,
                    partition: piece.partition,
                    broker: Broker(broker),
                    offset: self.positions.get(&piece.partition).copied().unwrap_or(0),
                    at: recorder.now(),
                });
            }
            return;
        }
        if let Some(last) = piece.records.last() {
            self.positions.insert(piece.partition, last.offset + 1);
        }
        record(recorder, self.observer, (broker, epoch), began, piece);
    }
}

/// What a broker gave that was asked in an epoch, at `began`.
fn record(
    recorder: &Recorder,
    observer: Observer,
    (broker, epoch): (i32, i32),
    began: At,
    piece: Piece,
) {
    recorder.add(Event::Poll {
        observer,
        partition: piece.partition,
        broker: Broker(broker),
        epoch: Epoch(epoch),
        astray: false,
        began,
        records: piece.records,
        high_watermark: piece.high_watermark,
        at: recorder.now(),
    });
}

/// Commits rising offsets of one group and reads them back, until the load stops.
pub(super) fn commit(shared: &Shared) {
    let group = format!("group-{}", shared.directory.topic);
    let bootstrap = shared.directory.brokers.iter();
    let settings = client::ClientSettings {
        bootstrap: bootstrap.map(|(_, address)| address.clone()).collect(),
        ..settings()
    };
    let partition = Partition(0);
    let of = TopicPartition::new(shared.directory.topic.as_str(), PartitionIndex::new(0));
    let mut client = None;
    for offset in 1.. {
        if shared.is_stopping() {
            return;
        }
        std::thread::sleep(COMMIT_PAUSE);
        if client.is_none() {
            client = Client::connect(settings.clone()).ok();
        }
        let Some(connected) = &mut client else {
            continue;
        };
        let recorder = &shared.recorder;
        let at = recorder.now();
        recorder.add(Event::Committing {
            group: GROUP,
            generation: Generation::NONE,
            partition,
            offset,
            at,
        });
        let offsets = BTreeMap::from([(of.clone(), Offset::new(offset))]);
        let committed = connected.commit_offline(&group, &offsets);
        if committed.is_ok() {
            shared.committed();
            let at = recorder.now();
            recorder.add(Event::Committed {
                group: GROUP,
                generation: Generation::NONE,
                partition,
                offset,
                at,
            });
        }
        let began = recorder.now();
        match connected.committed(&group, Some(std::slice::from_ref(&of))) {
            Ok(found) => {
                let offset = found.get(&of).map(|found| found.offset.get());
                let offset = offset.filter(|offset| *offset >= 0);
                recorder.add(Event::CommittedRead {
                    group: GROUP,
                    partition,
                    offset,
                    began,
                    at: recorder.now(),
                });
            }
            Err(_) => client = None,
        }
    }
}

/// Reads every partition from offset 0 to its high watermark, from the leaders that each broker of
/// `ask` names, within `limit`.
///
/// # Errors
/// [`RunError::Unread`]: a broker did not name the leaders, or they did not answer, in time.
pub(super) fn full_reads(
    recorder: &Recorder,
    directory: &Directory,
    ask: &[i32],
    partitions: &[Partition],
    next_observer: &mut u32,
    limit: Duration,
) -> Result<(), RunError> {
    for broker in ask {
        let deadline = Instant::now() + limit;
        for partition in partitions {
            loop {
                *next_observer += 1;
                let observer = Observer(*next_observer);
                let read = full_read(recorder, directory, *broker, *partition, observer);
                let Err(error) = read else {
                    break;
                };
                if Instant::now() > deadline {
                    return Err(RunError::Unread {
                        broker: *broker,
                        partition: partition.0,
                        last: error.to_string(),
                    });
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    Ok(())
}

fn full_read(
    recorder: &Recorder,
    directory: &Directory,
    ask: i32,
    partition: Partition,
    observer: Observer,
) -> Result<(), ClientError> {
    let topic = directory.topic.as_str();
    let began = recorder.now();
    let open = |broker: i32| {
        let address = directory.address(broker).unwrap_or_default();
        Connection::open(address, &settings())
    };
    let named = leaders(&mut open(ask)?, topic)?;
    let leader = named.iter().find(|(of, _)| *of == partition);
    let no_leader = || ClientError::Usage(format!("broker {ask} names no leader"));
    let Leader { broker, epoch } = leader
        .and_then(|(_, leader)| *leader)
        .ok_or_else(no_leader)?;
    let mut connection = open(broker)?;
    let (mut offset, mut end) = (0, None);
    while end.is_none_or(|end| offset < end) {
        let position = Position {
            partition,
            offset,
            epoch,
        };
        let asked = recorder.now();
        let pieces = fetch(&mut connection, topic, &[position], Duration::ZERO)?;
        let refused = |why: String| ClientError::Usage(format!("broker {broker}: {why}"));
        let mut piece = pieces
            .into_iter()
            .next()
            .ok_or_else(|| refused("no answer".to_owned()))?;
        if !piece.code.is_none() {
            return Err(refused(format!("{} at {offset}", piece.code)));
        }
        // The end is what the first answer said; the log may grow meanwhile.
        let end = *end.get_or_insert(piece.high_watermark);
        piece.records.retain(|record| record.offset < end);
        let last = piece.records.last().map(|record| record.offset);
        record(recorder, observer, (broker, epoch), asked, piece);
        match last {
            Some(last) => offset = last + 1,
            None => break,
        }
    }
    finished(recorder, (observer, partition, broker), end, began);
    Ok(())
}

fn finished(
    recorder: &Recorder,
    (observer, partition, broker): (Observer, Partition, i32),
    end: Option<i64>,
    began: At,
) {
    recorder.add(Event::FullRead {
        observer,
        partition,
        broker: Broker(broker),
        start: 0,
        end: end.unwrap_or(0),
        began,
    });
}
