//! One scenario from its topic to its verdict, and the run through all of them.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Client, ClientSettings, NewTopic};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::cluster::{BROKERS, Cluster};
use super::directory::Directory;
use super::kafka::settings;
use super::load::Load;
use super::readers::full_reads;
use super::recorder::Recorder;
use super::scenario::Scenario;
use super::{Interrupt, Options, RunError};
use crate::checker::{Event, Partition, Report, check};

/// Partitions of each topic.
const PARTITIONS: i32 = 6;
/// How long a new topic may take until each partition has acknowledged something.
const FIRST_LIMIT: Duration = Duration::from_secs(30);
/// Quiet time before the fault.
const WARM_UP: Duration = Duration::from_secs(1);
/// Time with load after everything was mended.
const COOL_DOWN: Duration = Duration::from_secs(2);
/// How long the full reads by way of one broker may take.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// Observers from this number on are full readers.
const FULL_READERS: u32 = 1_000;
/// How long a change of leaders is waited for.
const MOVE_LIMIT: Duration = Duration::from_secs(30);

/// What came of one scenario.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What the checker found; none if the scenario could not be carried out.
    pub report: Option<Report>,
    /// Why it could not be carried out.
    pub error: Option<RunError>,
}

impl Outcome {
    /// Whether it was carried out and every promise was kept.
    pub fn is_good(&self) -> bool {
        self.error.is_none() && self.report.as_ref().is_some_and(Report::is_clean)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<15}", self.name)?;
        if let Some(report) = &self.report {
            write!(
                f,
                " acked {:>6}  unknown {:>3}  reads {:>7}  full reads {:>3}  unavailable {:>6} ms",
                report.acknowledged,
                report.unknown,
                report.reads,
                report.full_reads,
                report.longest_gap / 1000
            )?;
        }
        match (&self.error, &self.report) {
            (Some(error), _) => write!(f, "  FAILED: {error}"),
            (None, Some(report)) if !report.is_clean() => {
                write!(f, "  VIOLATIONS: {}", report.violation_count)
            }
            _ => write!(f, "  ok"),
        }
    }
}

/// A scenario while it is on.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a mut Cluster,
    options: &'a Options,
    interrupt: Interrupt,
    recorder: Arc<Recorder>,
    directory: Arc<Directory>,
    random: StdRng,
    observers: u32,
    scenario: Scenario,
    clock: Clock,
}

/// Time that the run has left, by the estimates of its scenarios.
#[derive(Debug, Clone, Copy)]
struct Clock {
    ends: Instant,
}

impl Stage<'_> {
    pub(super) fn ttl(&self) -> Duration {
        self.options.ttl()
    }

    pub(super) fn is_short(&self) -> bool {
        self.options.is_short
    }

    pub(super) fn random(&mut self) -> &mut StdRng {
        &mut self.random
    }

    /// How long a takeover may take from the fault on: the lease, which may just have been
    /// renewed, what the heirs must read, and a slow machine.
    pub(super) fn takeover_limit(&self) -> Duration {
        self.ttl() * 2 + Duration::from_secs(6)
    }

    /// How long it may take until everything is acknowledged again after the mending.
    pub(super) fn heal_limit(&self) -> Duration {
        self.ttl() * 2 + Duration::from_secs(8)
    }

    pub(super) fn pause(&self, time: Duration) -> Result<(), RunError> {
        self.interrupt.pause(time)
    }

    /// Progress, for people.
    pub(super) fn say(&self, what: &str) {
        let left = self.clock.ends.saturating_duration_since(Instant::now());
        eprintln!(
            "[{:>3} s left] {}: {what}",
            left.as_secs(),
            self.scenario.name()
        );
    }

    pub(super) fn late(&self, what: &str) -> RunError {
        RunError::Late {
            what: what.to_owned(),
            limit: Duration::ZERO,
        }
    }

    pub(super) fn expect(&self, name: &str, within: Duration) {
        self.recorder.add(Event::Expect {
            name: name.to_owned(),
            partitions: PARTITIONS,
            from: self.recorder.now(),
            within: u64::try_from(within.as_micros()).unwrap_or(u64::MAX),
        });
    }

    pub(super) fn expect_takeover(&self, name: &str) {
        self.expect(name, self.takeover_limit());
    }

    /// The broker that leads a partition, as the clients know it.
    pub(super) fn owner(&self, partition: Partition) -> Result<i32, RunError> {
        let leader = self.directory.leader(partition);
        let leader = leader.map(|(leader, _)| leader.broker);
        leader.ok_or_else(|| self.late("the partition has a leader"))
    }

    /// Waits until another broker leads it.
    pub(super) fn wait_for_other(&self, partition: Partition, than: i32) -> Result<(), RunError> {
        let what = format!("another broker than {than} leads partition {partition}");
        self.interrupt.until(&what, MOVE_LIMIT, || {
            let leader = self.directory.leader(partition);
            leader.is_some_and(|(leader, _)| leader.broker != than)
        })
    }

    /// Waits until it is led in another epoch, by whichever broker.
    pub(super) fn wait_for_change(&self, partition: Partition) -> Result<(), RunError> {
        let epoch = || {
            self.directory
                .leader(partition)
                .map(|(leader, _)| leader.epoch)
        };
        let before = epoch();
        let what = format!("partition {partition} is led in another epoch than {before:?}");
        self.interrupt
            .until(&what, MOVE_LIMIT, || epoch() != before)
    }

    /// Reads a partition in full while the clients go on, by way of every broker that runs.
    pub(super) fn read_now(&mut self, partition: Partition) -> Result<(), RunError> {
        let leader = self.owner(partition)?;
        full_reads(
            &self.recorder,
            &self.directory,
            &[leader],
            &[partition],
            &mut self.observers,
            READ_LIMIT,
        )
    }

    fn read_all(&mut self) -> Result<(), RunError> {
        let brokers: Vec<i32> = (1..=BROKERS).collect();
        let partitions: Vec<_> = (0..PARTITIONS).map(Partition).collect();
        full_reads(
            &self.recorder,
            &self.directory,
            &brokers,
            &partitions,
            &mut self.observers,
            READ_LIMIT,
        )
    }

    fn play(&mut self) -> Result<(), RunError> {
        let brokers = self.directory.brokers.iter();
        let bootstrap = brokers.map(|(_, address)| address.clone()).collect();
        self.create_topic(bootstrap)?;
        let (recorder, directory) = (self.recorder.clone(), self.directory.clone());
        let seed = self.options.seed;
        let load = Load::start(recorder, directory, PARTITIONS, seed);
        let load = load.map_err(|error| RunError::setup("start the clients", error))?;
        self.expect("at first", FIRST_LIMIT);
        self.interrupt
            .until("every partition has a leader", FIRST_LIMIT, || {
                (0..PARTITIONS)
                    .all(|partition| self.directory.leader(Partition(partition)).is_some())
            })?;
        let enough = u64::try_from(PARTITIONS).unwrap_or(0) * 10;
        self.interrupt
            .until("the first acknowledgments", FIRST_LIMIT, || {
                self.recorder.acknowledged() > enough
            })?;
        self.pause(WARM_UP)?;
        let acted = self.scenario.act(self);
        let healed = self.cluster.heal();
        self.expect("after everything was mended", self.heal_limit());
        let limit = self.heal_limit();
        acted?;
        healed?;
        self.pause(COOL_DOWN)?;
        let before = self.recorder.acknowledged();
        // Whether each partition goes on is the checker's to say; this only gives it the time.
        let _ = self
            .interrupt
            .until("", limit, || self.recorder.acknowledged() > before + enough);
        self.interrupt.check()?;
        let (refusals, panicked) = load.stop();
        for (what, count) in refusals {
            eprintln!("             {count} x {what}");
        }
        if panicked > 0 {
            return Err(RunError::setup(
                "go on",
                format!("{panicked} clients panicked"),
            ));
        }
        let ended = self.cluster.ended();
        if !ended.is_empty() {
            return Err(RunError::setup("go on", format!("brokers {ended:?} ended")));
        }
        self.read_all()?;
        match self.recorder.is_full() {
            true => Err(RunError::setup("record", "the history is too long")),
            false => Ok(()),
        }
    }

    fn create_topic(&self, bootstrap: Vec<String>) -> Result<(), RunError> {
        let settings = ClientSettings {
            bootstrap,
            request_timeout: Duration::from_secs(10),
            retry_timeout: FIRST_LIMIT,
            ..settings()
        };
        let topic = NewTopic {
            name: self.directory.topic.clone(),
            partitions: Some(PARTITIONS),
            replication_factor: None,
            configs: Vec::new(),
        };
        let created = Client::connect(settings).and_then(|mut client| client.create_topic(&topic));
        created.map_err(|error| RunError::setup("create a topic", error))
    }
}

/// Runs the scenarios in order, telling `told` of each outcome; then reads all topics again.
///
/// # Errors
/// [`RunError`]: the cluster did not start, or the run was interrupted.
pub fn run(
    options: &Options,
    interrupt: &Interrupt,
    told: &mut dyn FnMut(&Outcome),
) -> Result<bool, RunError> {
    let logs = &options.logs;
    let made = std::fs::create_dir_all(logs);
    made.map_err(|error| RunError::setup("make the directory for logs", error))?;
    let began = Instant::now();
    let mut clock = clock(options, 0);
    eprintln!(
        "[{:>3} s left] seed {}, logs in {}",
        clock.ends.saturating_duration_since(began).as_secs(),
        options.seed,
        logs.display()
    );
    let mut cluster = Cluster::start(options, logs, interrupt.clone())?;
    let mut past: Vec<(Scenario, Arc<Recorder>, Arc<Directory>, u32)> = Vec::new();
    let mut is_good = true;
    for (number, scenario) in options.scenarios.iter().enumerate() {
        clock = self::clock(options, number);
        let nodes = cluster.nodes.iter();
        let brokers = nodes
            .map(|node| (node.id, node.kafka.to_string()))
            .collect();
        let topic = format!("{}-{number}", scenario.name());
        let mut stage = Stage {
            cluster: &mut cluster,
            options,
            interrupt: interrupt.clone(),
            recorder: Arc::default(),
            directory: Directory::new(topic, brokers),
            random: StdRng::seed_from_u64(options.seed.wrapping_add(number as u64)),
            observers: FULL_READERS,
            scenario: *scenario,
            clock,
        };
        stage.say(scenario.sentence());
        let error = stage.play().err();
        let (recorder, directory) = (stage.recorder.clone(), stage.directory.clone());
        let observers = stage.observers;
        if let Some(RunError::Interrupted) = error {
            return Err(RunError::Interrupted);
        }
        let outcome = judge(scenario.name(), &recorder, error, logs);
        told(&outcome);
        is_good &= outcome.is_good();
        past.push((*scenario, recorder, directory, observers));
        if outcome.error.is_some() {
            // The next scenario needs a whole cluster.
            cluster.heal()?;
        }
    }
    is_good &= read_again(past, interrupt, logs, told)?;
    Ok(is_good)
}

fn clock(options: &Options, done: usize) -> Clock {
    let left = options.scenarios.iter().skip(done);
    let short: Duration = left.map(|scenario| scenario.short_estimate()).sum();
    let left = if options.is_short {
        short
    } else {
        short * 5 / 2
    };
    Clock {
        ends: Instant::now() + left,
    }
}

/// Every topic of the run once more: takeovers of later scenarios must not have cost it anything.
fn read_again(
    past: Vec<(Scenario, Arc<Recorder>, Arc<Directory>, u32)>,
    interrupt: &Interrupt,
    logs: &Path,
    told: &mut dyn FnMut(&Outcome),
) -> Result<bool, RunError> {
    let mut is_good = true;
    for (scenario, recorder, directory, mut observers) in past {
        interrupt.check()?;
        let partitions: Vec<_> = (0..PARTITIONS).map(Partition).collect();
        let ask = [1];
        let read = full_reads(
            &recorder,
            &directory,
            &ask,
            &partitions,
            &mut observers,
            READ_LIMIT,
        );
        let name = format!("{}-again", scenario.name());
        let outcome = judge(&name, &recorder, read.err(), logs);
        if !outcome.is_good() {
            told(&outcome);
            is_good = false;
        }
    }
    Ok(is_good)
}

fn judge(name: &str, recorder: &Recorder, error: Option<RunError>, logs: &Path) -> Outcome {
    let report = recorder.with(check);
    let outcome = Outcome {
        name: name.to_owned(),
        report: Some(report),
        error,
    };
    if !outcome.is_good() {
        let file = logs.join(format!("{name}.jsonl"));
        match recorder.with(|events| write_history(&file, events)) {
            Ok(()) => eprintln!("             the history is in {}", file.display()),
            Err(error) => eprintln!("             cannot write the history: {error}"),
        }
        for violation in outcome.report.iter().flat_map(|report| &report.violations) {
            eprintln!("             {:?}: {}", violation.kind, violation.what);
        }
    }
    outcome
}

fn write_history(file: &Path, events: &[Event]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(file)?);
    for event in events {
        serde_json::to_writer(&mut file, event)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
