//! One scenario from its topic to its verdict, and the run through all of them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use check::{At, Broker, Event, Observer, Partition, Progress, Resource};
use client::{Client, ClientSettings, Connection, NewTopic};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::acts::act;
use super::cluster::Cluster;
use super::directory::Directory;
use super::kafka::settings;
use super::load::{CONSUMERS, Counts, Load, Shared};
use super::outcome::{ALL_THE_TIME, Outcome, explain, judge};
use super::process::Usage;
use super::promises::{
    DESCRIPTORS_BACK, Limit, MEMORY_BACK, TAKEOVER, THREADS_BACK, freshness, limits,
};
use super::readers::full_reads;
use super::recorder::Recorder;
use super::scenario::{Need, Scenario};
use super::{Ground, Interrupt, Options, RunError};

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
/// How long brokers may take to give back what they held for clients that have gone.
const BACK_LIMIT: Duration = Duration::from_secs(5);
/// Batches that each partition acknowledges before the fault.
const FIRST_BATCHES: u64 = 5;
/// How long it may take after the mending until every partition goes on, and offsets are committed.
const HEAL_LIMIT: Duration = Duration::from_secs(15);
/// How long a broker may take to notice how the store is.
const HEALTH_LIMIT: Duration = Duration::from_secs(15);

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
    load: Option<Arc<Shared>>,
    fault: Option<Instant>,
    fault_time: Duration,
    is_broken: bool,
    /// What each broker held before the load.
    held: Vec<(i32, Usage)>,
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

    /// The fault begins now; unless it is mended by itself it lasts until [`Self::mended`].
    pub(super) fn fault_begins(&mut self) {
        self.fault = Some(Instant::now());
    }

    /// The fault is over.
    pub(super) fn mended(&mut self) {
        if let Some(since) = self.fault.take() {
            self.fault_time += since.elapsed();
        }
        if std::mem::take(&mut self.is_broken) {
            let at = self.recorder.now();
            self.recorder.add(Event::Mended { at });
        }
    }

    /// Something is about to be broken: for people, for the history and for the picture.
    pub(super) fn breaks(&mut self, what: &str) {
        self.say(what);
        self.is_broken = true;
        let (name, at) = (what.to_owned(), self.recorder.now());
        self.recorder.add(Event::Fault { name, at });
    }

    pub(super) fn pause(&self, time: Duration) -> Result<(), RunError> {
        self.interrupt.pause(time)
    }

    /// Progress, for people.
    pub(super) fn say(&self, what: &str) {
        let left = self.clock.ends.saturating_duration_since(Instant::now());
        let (at, name) = (utc(SystemTime::now()), self.scenario.name());
        eprintln!("{at} [{:>3} s left] {name}: {what}", left.as_secs());
    }

    /// Something that should be is not.
    pub(super) fn wrong(&self, what: impl Into<String>) -> RunError {
        RunError::Wrong(what.into())
    }

    fn expect(&self, name: &str, progress: Progress, (from, until): (At, At), within: Duration) {
        self.recorder.add(Event::Expect {
            name: name.to_owned(),
            progress,
            partitions: match progress {
                // One group commits for one partition.
                Progress::Committed => 1,
                Progress::Acknowledged | Progress::Read => PARTITIONS,
            },
            from,
            until,
            within: micros(within),
        });
    }

    /// From now on each partition acknowledges something, and is read, within a time.
    pub(super) fn expect_within(&self, name: &str, within: Duration) {
        let from = self.recorder.now();
        let until = At(from.0.saturating_add(micros(within)));
        for progress in [Progress::Acknowledged, Progress::Read] {
            self.expect(name, progress, (from, until), within);
        }
    }

    /// A dead owner is replaced in that time.
    pub(super) fn takeover_limit(&self) -> Duration {
        self.limit(TAKEOVER)
    }

    pub(super) fn limit(&self, limit: Limit) -> Duration {
        limit.time(self.ttl(), self.fault_time)
    }

    /// How far the clients have come.
    ///
    /// # Panics
    /// If no clients have been started.
    pub(super) fn counts(&self) -> Counts {
        self.load.as_ref().expect("clients run").counts()
    }

    /// Waits until each partition has acknowledged so many batches more, and a commit was.
    pub(super) fn wait_for_progress(&self, batches: u64, limit: Duration) -> Result<(), RunError> {
        let before = self.counts();
        let what = format!("each partition acknowledges {batches} batches, and a commit succeeds");
        self.interrupt
            .until(&what, limit, || self.counts().is_beyond(&before, batches))
    }

    /// Waits until every broker says that the store is so: 0 healthy, 1 degraded, 2 unavailable.
    pub(super) fn wait_for_health(&self, wanted: u8) -> Result<(), RunError> {
        let began = Instant::now();
        let what = format!("kafscale_s3_health_state of each broker is {wanted}");
        self.interrupt.until(&what, HEALTH_LIMIT, || {
            let mut nodes = self.cluster.nodes.iter();
            nodes.all(|node| node.health() == Some(wanted))
        })?;
        let took = began.elapsed().as_secs_f64();
        self.say(&format!("the store counts as {wanted} after {took:.1} s"));
        Ok(())
    }

    /// The broker that leads a partition, as the clients know it.
    pub(super) fn owner(&self, partition: Partition) -> Result<i32, RunError> {
        let leader = self.directory.leader(partition);
        let leader = leader.map(|(leader, _)| leader.broker);
        leader.ok_or_else(|| self.wrong("the partition has no leader"))
    }

    /// Waits until another broker leads it.
    pub(super) fn wait_for_other(
        &self,
        partition: Partition,
        than: i32,
        limit: Duration,
    ) -> Result<(), RunError> {
        let began = Instant::now();
        let what = format!("another broker than {than} leads partition {partition}");
        self.interrupt.until(&what, limit, || {
            let leader = self.directory.leader(partition);
            leader.is_some_and(|(leader, _)| leader.broker != than)
        })?;
        let (took, limit) = (began.elapsed().as_secs_f64(), limit.as_secs_f64());
        self.say(&format!("{what} after {took:.1} s of {limit:.1} s"));
        Ok(())
    }

    /// The leader epochs of all partitions, as the clients know them.
    pub(super) fn epochs(&self) -> Vec<Option<i32>> {
        (0..PARTITIONS)
            .map(|partition| self.epoch(Partition(partition)))
            .collect()
    }

    /// The leader epoch of a partition.
    pub(super) fn epoch(&self, partition: Partition) -> Option<i32> {
        let leader = self.directory.leader(partition);
        leader.map(|(leader, _)| leader.epoch)
    }

    /// The topic of the scenario.
    pub(super) fn topic(&self) -> &str {
        &self.directory.topic
    }

    /// A name that no other scenario of the run uses.
    pub(super) fn name_of(&self, what: &str) -> String {
        format!("{what}-{}", self.topic())
    }

    /// A connection to a broker.
    pub(super) fn connection(&self, broker: i32) -> Result<Connection, RunError> {
        let address = self.directory.address(broker).unwrap_or_default();
        let opened = Connection::open(address, &settings());
        opened.map_err(|error| RunError::setup("connect to a broker", error))
    }

    /// Waits until something holds.
    pub(super) fn until(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Result<(), RunError> {
        self.interrupt.until(what, limit, || holds(self))
    }

    /// Waits until it is led in another epoch than `before`, by whichever broker.
    pub(super) fn wait_for_change(
        &self,
        partition: Partition,
        before: Option<i32>,
        limit: Duration,
    ) -> Result<(), RunError> {
        let what = format!("partition {partition} is led in another epoch than {before:?}");
        self.interrupt
            .until(&what, limit, || self.epoch(partition) != before)
    }

    /// Reads a partition in full while the clients go on, by way of each of `brokers`.
    pub(super) fn read_now(
        &mut self,
        partition: Partition,
        brokers: &[i32],
    ) -> Result<(), RunError> {
        full_reads(
            &self.recorder,
            &self.directory,
            brokers,
            &[partition],
            &mut self.observers,
            READ_LIMIT,
        )
    }

    /// The same by way of every broker that runs.
    pub(super) fn read_running(&mut self, partition: Partition) -> Result<(), RunError> {
        let running = self.cluster.running();
        self.read_now(partition, &running)
    }

    /// Fills the disk of the embedded default.
    ///
    /// # Errors
    /// [`RunError`]: there is none, or it does not fill up.
    pub(super) fn fill_disk(&self) -> Result<(), RunError> {
        let disk = self.cluster.disk.as_ref();
        disk.ok_or_else(|| self.wrong("there is no disk"))?.fill()
    }

    /// Makes room on it again.
    pub(super) fn clear_disk(&self) {
        if let Some(disk) = &self.cluster.disk {
            disk.clear();
        }
    }

    fn read_all(&mut self) -> Result<(), RunError> {
        let brokers = self.cluster.ids();
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
        self.held = self.usages();
        let (recorder, directory) = (self.recorder.clone(), self.directory.clone());
        let seed = self.options.seed;
        let load = Load::start(recorder, directory, PARTITIONS, seed);
        let load = load.map_err(|error| RunError::setup("start the clients", error))?;
        self.load = Some(load.shared.clone());
        self.wait_for_progress(FIRST_BATCHES, FIRST_LIMIT)?;
        self.pause(WARM_UP)?;
        let began = self.recorder.now();
        let acted = act(self.scenario, self);
        let healed = self.cluster.heal();
        self.mended();
        // Whether each partition went on in time is the checker's to say; this gives it the time.
        self.expect_within("after everything was mended", HEAL_LIMIT);
        let gone_on = self.wait_for_progress(1, HEAL_LIMIT);
        acted?;
        healed?;
        gone_on?;
        self.pause(COOL_DOWN)?;
        let ended = self.recorder.now();
        for (progress, limit) in self.limits() {
            self.expect(ALL_THE_TIME, progress, (began, ended), limit);
        }
        self.stop(load)?;
        let stopped = self.recorder.now();
        self.expect_back()?;
        self.read_all()?;
        self.also_expect((began, ended), stopped);
        match self.recorder.is_full() {
            true => Err(RunError::setup("record", "the history is too long")),
            false => Ok(()),
        }
    }

    /// What holds for whole histories, and for consumers: they are behind no longer than they may be
    /// without a record.
    fn also_expect(&self, (from, until): (At, At), stopped: At) {
        let mut limits = self.limits().into_iter();
        let read = limits.find(|(progress, _)| *progress == Progress::Read);
        if let Some((_, within)) = read {
            self.recorder.add(Event::ExpectLag {
                name: ALL_THE_TIME.to_owned(),
                observers: (0..CONSUMERS).map(Observer).collect(),
                from,
                until,
                within: micros(within),
            });
        }
        let within = micros(freshness(self.ttl()));
        self.recorder.add(Event::ExpectFresh { within });
        self.recorder.add(Event::Settled { at: stopped });
    }

    fn usages(&self) -> Vec<(i32, Usage)> {
        let nodes = self.cluster.nodes.iter();
        let usages = nodes.filter_map(|node| Some((node.id, node.usage()?)));
        usages.collect()
    }

    /// Brokers give back what they took for the load, within [`BACK_LIMIT`].
    fn expect_back(&self) -> Result<(), RunError> {
        let deadline = Instant::now() + BACK_LIMIT;
        loop {
            let now = self.usages();
            let expected: Vec<Event> = self
                .held
                .iter()
                .filter_map(|(id, before)| {
                    let (_, after) = now.iter().find(|(of, _)| of == id)?;
                    Some(back(*id, *before, *after))
                })
                .flatten()
                .collect();
            let is_back = |event: &Event| {
                matches!(event, Event::ExpectBack { before, after, allowed, .. }
                    if *after <= before + allowed)
            };
            if expected.iter().all(is_back) || Instant::now() > deadline {
                self.recorder.extend(expected);
                return Ok(());
            }
            self.pause(Duration::from_millis(200))?;
        }
    }

    fn limits(&self) -> [(Progress, Duration); 3] {
        limits(self.scenario, self.ttl(), self.fault_time)
    }

    /// The verdict; what is wrong is said, and the history is kept.
    fn judge(&self, error: Option<RunError>) -> Outcome {
        let limits = self.limits().to_vec();
        let outcome = judge(self.scenario.name(), &self.recorder, limits, error);
        explain(&outcome, &self.recorder, &self.options.logs);
        let longest = |progress| outcome.longest(progress).map(|gap| (progress, gap));
        for (progress, gap) in Progress::ALL.into_iter().filter_map(longest) {
            self.say(&format!(
                "longest without {progress}: {} ms, partition {}, from {} on",
                gap.length / 1000,
                gap.partition,
                utc(self.recorder.wall_clock(gap.from))
            ));
        }
        outcome
    }

    fn stop(&mut self, load: Load) -> Result<(), RunError> {
        let (refusals, panicked) = load.stop();
        for (what, count) in refusals {
            eprintln!("    {count} x {what}");
        }
        if panicked > 0 {
            return Err(self.wrong(format!("{panicked} clients panicked")));
        }
        let ended = self.cluster.ended();
        if !ended.is_empty() {
            return Err(self.wrong(format!("brokers {ended:?} ended by themselves")));
        }
        Ok(())
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

fn back(id: i32, before: Usage, after: Usage) -> [Event; 3] {
    let held = [
        (
            Resource::Memory,
            (before.memory_bytes, after.memory_bytes),
            MEMORY_BACK,
        ),
        (
            Resource::Descriptors,
            (before.descriptors, after.descriptors),
            DESCRIPTORS_BACK,
        ),
        (
            Resource::Threads,
            (before.threads, after.threads),
            THREADS_BACK,
        ),
    ];
    held.map(|(resource, (before, after), allowed)| Event::ExpectBack {
        broker: Broker(id),
        resource,
        before,
        after,
        allowed,
    })
}

/// Runs the scenarios, ground by ground, telling `told` of each outcome; each ground ends with all its
/// topics read again and its bucket verified.
///
/// # Errors
/// [`RunError`]: a ground was not set up or could not be mended, or the run was interrupted.
pub fn run(
    options: &Options,
    interrupt: &Interrupt,
    told: &mut dyn FnMut(Outcome),
) -> Result<(), RunError> {
    let logs = &options.logs;
    let made = std::fs::create_dir_all(logs);
    made.map_err(|error| RunError::setup("make the directory for logs", error))?;
    let took: Duration = options
        .scenarios
        .iter()
        .map(|of| estimate(options, *of))
        .sum();
    let (seed, took) = (options.seed, took.as_secs());
    eprintln!("seed {seed}, about {took} s, logs in {}", logs.display());
    let mut past = Vec::new();
    for ground in Ground::ALL {
        let numbered = options.scenarios.iter().copied().enumerate();
        let here: Vec<_> = numbered.filter(|(_, of)| of.ground() == ground).collect();
        if !here.is_empty() {
            let played = play_ground(options, ground, &here, interrupt, told)?;
            past.extend(played);
        }
    }
    picture(&past, logs)
}

/// All scenarios of one ground.
fn play_ground(
    options: &Options,
    ground: Ground,
    scenarios: &[(usize, Scenario)],
    interrupt: &Interrupt,
    told: &mut dyn FnMut(Outcome),
) -> Result<Vec<Past>, RunError> {
    let mut cluster = Cluster::start(options, ground, interrupt.clone())?;
    let mut past = Vec::new();
    for (number, scenario) in scenarios {
        if let Some(lack) = lack(&cluster, scenario.need()) {
            told(Outcome::skipped(scenario.name(), lack));
            continue;
        }
        let mut stage = prepare(options, &mut cluster, *number, *scenario, interrupt);
        stage.say(scenario.sentence());
        let error = stage.play().err();
        if let Some(RunError::Interrupted) = error {
            return Err(RunError::Interrupted);
        }
        let outcome = stage.judge(error);
        let failed = outcome.error.is_some();
        past.push(Past {
            scenario: *scenario,
            recorder: stage.recorder.clone(),
            directory: stage.directory.clone(),
            observers: stage.observers,
            violations: outcome.report.violation_count,
        });
        told(outcome);
        if failed {
            // The next scenario needs a whole cluster.
            cluster.heal()?;
        }
    }
    read_again(&mut past, interrupt, &options.logs, told)?;
    told(Outcome::verified(ground, cluster.verify().err()));
    Ok(past)
}

/// Why a scenario cannot be played here.
fn lack(cluster: &Cluster, need: Need) -> Option<&'static str> {
    let is_mounted = || {
        let disk = cluster.disk.as_ref();
        disk.is_some_and(super::disk::Disk::is_mounted)
    };
    match need {
        Need::Packets if !cluster.firewall.is_usable() => {
            Some("packets cannot be lost: no nft, or no network namespace of our own")
        }
        Need::Disk if !is_mounted() => Some("no disk may be mounted"),
        _ => None,
    }
}

/// A scenario that is about to be played, by its place in the list.
fn prepare<'a>(
    options: &'a Options,
    cluster: &'a mut Cluster,
    number: usize,
    scenario: Scenario,
    interrupt: &Interrupt,
) -> Stage<'a> {
    let nodes = cluster.nodes.iter();
    let brokers = nodes
        .map(|node| (node.id, node.kafka.to_string()))
        .collect();
    let topic = format!("{}-{number}", scenario.name());
    Stage {
        cluster,
        options,
        interrupt: interrupt.clone(),
        recorder: Arc::default(),
        directory: Directory::new(topic, brokers),
        random: StdRng::seed_from_u64(scenario_seed(options, number)),
        observers: FULL_READERS,
        scenario,
        clock: Clock {
            ends: Instant::now() + left(options, number),
        },
        load: None,
        fault: None,
        fault_time: Duration::ZERO,
        is_broken: false,
        held: Vec::new(),
    }
}

/// Draws all histories, and keeps each beside the picture.
fn picture(past: &[Past], logs: &Path) -> Result<(), RunError> {
    let histories: Vec<(&str, Vec<Event>)> = past
        .iter()
        .map(|past| (past.scenario.name(), past.recorder.with(<[Event]>::to_vec)))
        .collect();
    let rows = histories
        .iter()
        .map(|(name, events)| (*name, events.as_slice()));
    let file = logs.join("timeline.svg");
    let written = std::fs::write(&file, check::timeline(rows));
    written.map_err(|error| RunError::setup("draw the picture", error))?;
    eprintln!("throughput over time: {}", file.display());
    Ok(())
}

/// The seed of one scenario does not depend on which others are run.
fn scenario_seed(options: &Options, number: usize) -> u64 {
    let done = options.scenarios.get(..number).unwrap_or_default();
    let scenario = options.scenarios.get(number);
    let times = done.iter().filter(|of| Some(*of) == scenario).count();
    let place = Scenario::ALL.iter().position(|of| Some(of) == scenario);
    let own = place.unwrap_or(0) * 1_000 + times;
    options.seed.wrapping_add(own as u64)
}

fn left(options: &Options, done: usize) -> Duration {
    let left = options.scenarios.iter().skip(done);
    left.map(|scenario| estimate(options, *scenario)).sum()
}

fn estimate(options: &Options, scenario: Scenario) -> Duration {
    let short = scenario.short_estimate();
    if options.is_short { short } else { short * 2 }
}

/// A scenario that is over.
struct Past {
    scenario: Scenario,
    recorder: Arc<Recorder>,
    directory: Arc<Directory>,
    observers: u32,
    /// Those that are known.
    violations: usize,
}

/// Every topic of the run once more: takeovers of later scenarios must not have cost it anything.
/// Tells only of what is wrong.
fn read_again(
    past: &mut [Past],
    interrupt: &Interrupt,
    logs: &Path,
    told: &mut dyn FnMut(Outcome),
) -> Result<(), RunError> {
    for past in past {
        interrupt.check()?;
        let partitions: Vec<_> = (0..PARTITIONS).map(Partition).collect();
        let ask = [1];
        let read = full_reads(
            &past.recorder,
            &past.directory,
            &ask,
            &partitions,
            &mut past.observers,
            READ_LIMIT,
        );
        let name = format!("{}-again", past.scenario.name());
        let outcome = judge(&name, &past.recorder, Vec::new(), read.err());
        if outcome.error.is_some() || outcome.report.violation_count > past.violations {
            explain(&outcome, &past.recorder, logs);
            told(outcome);
        }
    }
    Ok(())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The time of day in UTC, as the brokers' logs have it.
fn utc(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    let (seconds, ms) = (since.as_secs() % 86_400, since.subsec_millis());
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
}
