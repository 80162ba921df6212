//! A broker on an S3 server that is slow, or asks to slow down: what clients see, by the wire.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Connection, Fetch, LocalBroker, Topic, Wanted, eventually, numbered};
use futures_channel::oneshot;
use s3_server::{ErrorCode as S3Code, Fault, Operation, Rule, Server};
use store::ObjectStore;
use store::faulty::{self, FaultyStore};
use store::memory::MemoryStore;
use store::s3::{S3Options, S3Store, Secret, StaticCredentials};
use wire::ErrorCode;

/// Clients that produce, each one batch after the other.
const PRODUCERS: u64 = 8;
/// For what takes a second or so on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it may take after the store is well again until produce is accepted: about two seconds,
/// and a busy machine.
const RETURN_MAX: Duration = Duration::from_secs(5);
const UNAVAILABLE: f64 = 2.0;
const DEGRADED: f64 = 1.0;

/// An S3 server with a client of it.
struct S3 {
    server: Server,
    store: Arc<dyn ObjectStore>,
    /// Dropped, it ends the thread that runs the client's requests.
    _stop: oneshot::Sender<()>,
}

impl S3 {
    fn start() -> Self {
        let server = Server::start(s3_server::Options::default()).unwrap();
        let options = S3Options {
            endpoint: Some(server.endpoint()),
            path_style: true,
            credentials: Some(StaticCredentials {
                access_key: server.access_key().to_owned(),
                secret_key: Secret::new(server.secret_key()),
                session_token: None,
            }),
            ..S3Options::new(server.bucket())
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (connected, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                connected
                    .send(S3Store::connect(options).await.unwrap())
                    .unwrap();
                let _ = stopped.await;
            });
        });
        Self {
            server,
            store: Arc::new(told.recv_timeout(PATIENCE).unwrap()),
            _stop: stop,
        }
    }

    fn delay_writes(&self, ms: u64) -> s3_server::RuleId {
        let delay = Fault::Delay {
            lo_ms: ms,
            hi_ms: None,
        };
        let rule = Rule::new(delay).on(Operation::PutObject);
        self.server.faults().add(rule).unwrap()
    }
}

/// What a produce request came to.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    began: Instant,
    ended: Instant,
    error: ErrorCode,
}

/// Producers that go on until they are dropped.
struct Load {
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(broker: &LocalBroker, topic: &Topic) -> Self {
        let (outcomes, stop) = (Arc::<Mutex<Vec<Outcome>>>::default(), Arc::default());
        let producer = |number: u64| {
            let mut connection = broker.connect();
            let (outcomes, stop): (_, Arc<AtomicBool>) = (outcomes.clone(), Arc::clone(&stop));
            let topic = topic.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let error = connection.produce(&topic, 0, &numbered(number, 10)).error;
                    let ended = Instant::now();
                    outcomes.lock().unwrap().push(Outcome {
                        began,
                        ended,
                        error,
                    });
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        };
        let threads = (0..PRODUCERS).map(producer).collect();
        Self {
            outcomes,
            stop,
            threads,
        }
    }

    /// Outcomes of requests that were sent since.
    fn since(&self, since: Instant) -> Vec<Outcome> {
        let outcomes = self.outcomes.lock().unwrap();
        let later = outcomes.iter().filter(|outcome| outcome.began >= since);
        later.copied().collect()
    }

    /// When the first request that was sent since was acknowledged, once one is.
    fn first_acknowledged(&self, since: Instant) -> Instant {
        let mut first = None;
        eventually("produce is accepted again", PATIENCE, || {
            let outcomes = self.since(since);
            let good = outcomes.iter().filter(|outcome| outcome.error.is_none());
            first = good.map(|outcome| outcome.ended).min();
            first.is_some()
        });
        first.unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its panic has failed the test already.
            let _ = thread.join();
        }
    }
}

fn health(broker: &LocalBroker) -> f64 {
    broker.metric("kafscale_s3_health_state")
}

fn refused(outcomes: &[Outcome]) -> usize {
    let refused = outcomes.iter().filter(|outcome| !outcome.error.is_none());
    refused.count()
}

#[test]
fn slow_writes_are_accepted_and_very_slow_ones_refused() {
    let s3 = S3::start();
    let broker = LocalBroker::start_on(s3.store.clone(), &[]);
    let mut connection = broker.connect();
    let topic = connection.create("orders", 1);
    let load = Load::start(&broker, &topic);
    load.first_acknowledged(Instant::now());
    let slow = s3.delay_writes(1_500);
    let from = Instant::now();
    eventually("it is seen", PATIENCE, || health(&broker) == DEGRADED);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(health(&broker), DEGRADED);
    let outcomes = load.since(from);
    assert_eq!(refused(&outcomes), 0, "{} in all", outcomes.len());
    assert!(outcomes.len() as u64 >= PRODUCERS);
    let very_slow = s3.delay_writes(3_000);
    s3.server.faults().remove(slow);
    eventually("it is unavailable", PATIENCE, || {
        health(&broker) == UNAVAILABLE
    });
    let from = Instant::now();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(health(&broker), UNAVAILABLE, "it stays so without traffic");
    let outcomes = load.since(from);
    let is_retriable = |outcome: &Outcome| outcome.error == ErrorCode::KAFKA_STORAGE_ERROR;
    assert!(!outcomes.is_empty() && outcomes.iter().all(is_retriable));
    let fetched = connection.fetch(&Fetch::of(vec![Wanted::new(&topic, 0, 0)]));
    assert!(
        !fetched.only().bases().is_empty(),
        "fetches from memory go on"
    );
    s3.server.faults().remove(very_slow);
    let well_from = Instant::now();
    let returned = load.first_acknowledged(well_from) - well_from;
    // What the server has under way is late for another 3 s.
    let returns_max = RETURN_MAX + Duration::from_secs(3);
    assert!(returned <= returns_max, "{returned:?}");
    println!("produce was accepted {returned:?} after writes were fast again");
}

#[test]
fn after_a_burst_of_503_produce_is_accepted_soon() {
    let s3 = S3::start();
    let broker = LocalBroker::start_on(s3.store.clone(), &[]);
    let topic = broker.connect().create("orders", 1);
    let load = Load::start(&broker, &topic);
    load.first_acknowledged(Instant::now());
    let slow_down = Fault::Error {
        code: S3Code::SlowDown,
        retry_after_seconds: None,
    };
    let rule = Rule::new(slow_down).on(Operation::PutObject);
    let burst = Duration::from_secs(5);
    let from = Instant::now();
    let rule = s3.server.faults().add(rule).unwrap();
    // Clients are refused only in the moment between the end of the burst and that of the state, which may be none.
    eventually("the store is found unavailable", PATIENCE, || {
        health(&broker) == UNAVAILABLE
    });
    std::thread::sleep(burst.saturating_sub(from.elapsed()));
    let asked = s3.server.faults().fired(rule);
    s3.server.faults().remove(rule);
    let well_from = Instant::now();
    let burst = well_from - from;
    let returned = load.first_acknowledged(well_from) - well_from;
    assert!(returned <= RETURN_MAX, "{returned:?}");
    println!(
        "produce was accepted {returned:?} after the burst, in which {asked} PUTs were refused"
    );
    // The server asks for a second each time: every upload tries about once in it.
    assert!(asked <= 2 * PRODUCERS * burst.as_secs(), "{asked}");
    eventually("it is healthy", PATIENCE, || health(&broker) == 0.0);
}

#[test]
fn an_idle_broker_asks_the_store_nothing() {
    let s3 = S3::start();
    let broker = LocalBroker::start_on(s3.store.clone(), &[]);
    let mut connection: Connection = broker.connect();
    let topic = connection.create("orders", 3);
    connection.produce(&topic, 0, &numbered(1, 10)).offset();
    std::thread::sleep(Duration::from_secs(2));
    let asked = broker.metric("kafscale_s3_operations_total");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(broker.metric("kafscale_s3_operations_total"), asked);
}

#[test]
fn a_store_that_asks_a_start_to_slow_down_is_waited_for() {
    for prefix in ["kafscale-wal/default/cluster", "kafscale-wal/default/0/"] {
        let store = FaultyStore::without_clock(MemoryStore::new(), 1);
        let throttled = faulty::Rule::always(faulty::Operation::Put, faulty::Fault::Throttled);
        // More than the tries of one request.
        store.add_rule(throttled.prefix(prefix).times(8));
        let broker = LocalBroker::start_on(Arc::new(store), &[]);
        let mut connection = broker.connect();
        let topic = connection.create("orders", 1);
        assert_eq!(connection.produce(&topic, 0, &numbered(1, 10)).offset(), 0);
        broker.stop();
    }
}
