//! A broker that is attacked, as a process of its own: what it takes of memory is seen from outside.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use wire::messages::ApiVersionsRequest;

use crate::common::child::ChildBroker;
use crate::common::{Connection, Fetch, REPLY_TIMEOUT, Topic, Wanted, numbered};

/// The memory budget of a victim: each of its two shards takes requests of a quarter of it.
pub(crate) const MEMORY_BYTES: u64 = 256 << 20;
/// Its cache.
const CACHE_BYTES: u64 = 32 << 20;
/// What the process may grow by under any attack: its budgets, and what an allocator keeps beside them.
pub(crate) const GROWTH_MAX: u64 = MEMORY_BYTES + CACHE_BYTES + (32 << 20);

/// Those who look at memory and time of a process have the machine for themselves, as far as this suite goes.
static ALONE: Mutex<()> = Mutex::new(());

/// A broker with one topic.
pub(crate) struct Victim {
    broker: ChildBroker,
    pub(crate) topic: Topic,
    before: u64,
    _directory: TempDir,
    _alone: Option<MutexGuard<'static, ()>>,
}

impl Victim {
    /// A broker with some flags beside the usual ones. Nothing else of this suite runs while it lives.
    pub(crate) fn alone(flags: &[&str]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            _alone: Some(alone),
            ..Self::start(flags)
        }
    }

    /// Another one beside it.
    pub(crate) fn beside(&self, flags: &[&str]) -> Self {
        Self::start(flags)
    }

    fn start(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (memory, cache) = (MEMORY_BYTES.to_string(), CACHE_BYTES.to_string());
        let usual = [
            "--memory-bytes",
            &memory,
            "--cache-size",
            &cache,
            "--connections-per-address-max",
            "100000",
            "--connections-per-second-max",
            "100000",
            "--flush-interval-ms",
            "2",
        ];
        let (data, log) = (directory.path().join("data"), directory.path().join("log"));
        let broker = ChildBroker::start(&data, &log, &[&usual, flags].concat());
        let mut client = broker.connect();
        let topic = client.create("good", 4);
        for index in 0..4 {
            client.produce(&topic, index, &numbered(1, 1_000)).offset();
        }
        let before = broker.resident_bytes();
        Self {
            broker,
            topic,
            before,
            _directory: directory,
            _alone: None,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker.kafka
    }

    pub(crate) fn connect(&self) -> Connection {
        self.broker.connect()
    }

    /// A socket that is written to by hand.
    pub(crate) fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(REPLY_TIMEOUT)).unwrap();
        stream
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.broker.metric(name)
    }

    /// Bytes by which the process has grown since it had served its first requests.
    pub(crate) fn growth(&self) -> u64 {
        self.broker.resident_bytes().saturating_sub(self.before)
    }

    /// The most bytes by which it had grown at any time.
    pub(crate) fn peak_growth(&self) -> u64 {
        self.broker.peak_bytes().saturating_sub(self.before)
    }

    /// Its memory has been within bounds all the time, it has not crashed, nothing in it has panicked, and it serves.
    pub(crate) fn is_well(&self, growth_max: u64) {
        let growth = self.peak_growth();
        assert!(growth <= growth_max, "{growth} bytes, at most {growth_max}");
        let mut client = self.connect();
        client.call(0, &ApiVersionsRequest::default());
        let wanted = Fetch::of(vec![Wanted::new(&self.topic, 0, 0)]);
        assert!(!client.fetch(&wanted).only().records.is_empty());
        client.produce(&self.topic, 1, &numbered(7, 100)).offset();
        let log = self.broker.log();
        assert!(!log.contains("panicked"), "{log}");
        eprintln!("grew by {} KiB", growth >> 10);
    }
}

/// What comes back for some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Frame(Vec<u8>),
    Closed,
}

/// Sends bytes and reads one frame, or the end.
pub(crate) fn ask(mut stream: TcpStream, bytes: &[u8]) -> Answer {
    // A broker that has seen enough closes before it has read everything.
    let _ = stream.write_all(bytes);
    // Where there is no answer (acks=0) the end of ours brings the end of theirs.
    let _ = stream.shutdown(Shutdown::Write);
    let mut prefix = [0; 4];
    if let Err(error) = stream.read_exact(&mut prefix) {
        assert!(!is_timeout(&error), "neither an answer nor the end");
        return Answer::Closed;
    }
    let mut frame = vec![0; i32::from_be_bytes(prefix) as usize];
    match stream.read_exact(&mut frame) {
        Ok(()) => Answer::Frame(frame),
        Err(error) => {
            assert!(!is_timeout(&error), "half an answer");
            Answer::Closed
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

/// A request's bytes: prefix, header of version 1 or 2, body.
pub(crate) fn request(key: i16, version: i16, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(16 + body.len());
    frame.extend_from_slice(&key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&7_i32.to_be_bytes());
    frame.extend_from_slice(&(-1_i16).to_be_bytes());
    if flexible {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    prefixed(&frame)
}

/// A frame with its length before it.
pub(crate) fn prefixed(frame: &[u8]) -> Vec<u8> {
    let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    bytes
}

/// How long a pause in an attack is.
pub(crate) const MOMENT: Duration = Duration::from_millis(100);
