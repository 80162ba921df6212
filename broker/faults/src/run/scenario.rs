//! The scenarios: what befalls the cluster, and what is expected of it meanwhile.

use std::time::{Duration, Instant};

use client::ClientError;
use rand::Rng;
use s3_server::{ErrorCode as ErrorCodeS3, Fault, Operation, Rule, RuleId};
use wire::ErrorCode;

use super::RunError;
use super::cluster::BROKERS;
use super::kafka::{commit_once, create_once};
use super::promises::{GIVEN_UP, GIVEN_UP_IN_SILENCE};
use super::proxy::Link;
use super::stage::Stage;
use crate::checker::Partition;

/// Moves of one scenario of moves.
const MOVES: usize = 10;
/// Where all WAL objects lie.
const WAL: &str = "kafscale-wal/";
/// The partition whose owner is the victim.
const AIM: Partition = Partition(0);
const GATE: &str = "late";
/// How late each word to and from etcd is: a commit still fits into the clients' time-out.
const ETCD_DELAY: Duration = Duration::from_millis(200);
/// How long a broker may take to refuse what it cannot do without etcd.
const REFUSAL_LIMIT: Duration = Duration::from_secs(8);
/// How a broker finds the store, as its metric has it.
const HEALTHY: u8 = 0;
const DEGRADED: u8 = 1;
const UNAVAILABLE: u8 = 2;

macro_rules! scenarios {
    ($($name:ident $text:literal $short_s:literal $doc:literal;)*) => {
        /// One thing that befalls the cluster.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Scenario {
            $(#[doc = $doc] $name,)*
        }

        impl Scenario {
            /// All, in the order in which they are run.
            pub const ALL: &'static [Scenario] = &[$(Scenario::$name),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Scenario::$name => $text,)* }
            }

            /// What happens, in a sentence.
            pub fn sentence(self) -> &'static str {
                match self { $(Scenario::$name => $doc,)* }
            }

            /// How long it takes in the short form, roughly.
            pub fn short_estimate(self) -> Duration {
                Duration::from_secs(match self { $(Scenario::$name => $short_s,)* })
            }
        }
    };
}

scenarios! {
    KillOwner "kill-owner" 16 "The owner is killed and comes back later.";
    Zombie "zombie" 15 "The owner stands still for twice the time to live of its session.";
    CutEtcd "cut-etcd" 16 "The owner cannot reach etcd.";
    CutS3 "cut-s3" 20 "The owner is refused by S3, and the others are not.";
    SilentS3 "silent-s3" 30 "The owner gets no answer of S3, and the others do.";
    CutBoth "cut-both" 16 "The owner can reach neither.";
    RestartEtcd "restart-etcd" 12 "etcd is killed and started again on its data.";
    EtcdDown "etcd-down" 18 "etcd is down while topics are created and offsets committed.";
    EtcdSlow "slow-etcd" 14 "Every word to and from etcd is late.";
    S3Errors "s3-503" 22 "Every request to S3 answers 503.";
    S3Slow "s3-slow" 25 "Every request to S3 takes 1.5 s: all goes on.";
    S3VerySlow "s3-very-slow" 28 "Every request to S3 takes 3 s: produce is refused, reads go on.";
    LostReplies "lost-replies" 12 "Writes to S3 take effect and answer with an error, or with none.";
    LatePut "late-put" 16 "A write to S3 arrives after its partition was taken over.";
    GracefulMoves "graceful-moves" 25 "A partition is handed over ten times.";
    ForcedMoves "forced-moves" 50 "A partition loses its owner ten times.";
}

impl Scenario {
    pub(super) fn act(self, stage: &mut Stage<'_>) -> Result<(), RunError> {
        match self {
            Self::KillOwner => kill_owner(stage),
            Self::Zombie => zombie(stage),
            Self::CutEtcd => cut(stage, false),
            Self::CutS3 => cut_from_s3(stage, Link::Cut),
            Self::SilentS3 => cut_from_s3(stage, Link::Held),
            Self::CutBoth => cut(stage, true),
            Self::RestartEtcd => restart_etcd(stage),
            Self::EtcdDown => etcd_down(stage),
            Self::EtcdSlow => etcd_slow(stage),
            Self::S3Errors => s3_errors(stage),
            Self::S3Slow => s3_slow(stage),
            Self::S3VerySlow => s3_very_slow(stage),
            Self::LostReplies => lost_replies(stage),
            Self::LatePut => late_put(stage),
            Self::GracefulMoves => graceful_moves(stage),
            Self::ForcedMoves => forced_moves(stage),
        }
    }
}

fn kill_owner(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    stage.say(&format!("kill -9 of broker {owner}"));
    stage.cluster.kill_broker(owner)?;
    stage.wait_for_other(AIM, owner, stage.takeover_limit())?;
    stage.pause(stage.ttl())?;
    stage.say("it comes back");
    stage.cluster.start_broker(owner)?;
    stage.cluster.wait_ready(owner)
}

fn zombie(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    let ends = Instant::now() + stage.ttl() * 2;
    stage.say(&format!("SIGSTOP of broker {owner}"));
    stage.cluster.freeze(owner, true)?;
    stage.wait_for_other(AIM, owner, stage.takeover_limit())?;
    stage.pause(ends.saturating_duration_since(Instant::now()))?;
    stage.say("SIGCONT");
    stage.cluster.freeze(owner, false)
}

/// Cuts the owner from etcd, and from S3 too, for three times the session's time to live.
fn cut(stage: &mut Stage<'_>, from_s3: bool) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    let link = match stage.random().random_bool(0.5) {
        true => Link::Cut,
        false => Link::Held,
    };
    let ends = Instant::now() + stage.ttl() * 3;
    stage.say(&format!("broker {owner}: {link:?}"));
    let node = stage.cluster.node(owner)?;
    node.etcd.set(link);
    if from_s3 {
        node.s3.set(link);
    }
    stage.wait_for_other(AIM, owner, stage.takeover_limit())?;
    stage.pause(ends.saturating_duration_since(Instant::now()))?;
    stage.say("the links are up again");
    let node = stage.cluster.node(owner)?;
    node.etcd.set(Link::Up);
    node.s3.set(Link::Up);
    Ok(())
}

/// The owner keeps its lease and must give up by itself, since others reach S3.
fn cut_from_s3(stage: &mut Stage<'_>, link: Link) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    let limit = stage.limit(match link {
        Link::Held => GIVEN_UP_IN_SILENCE,
        _ => GIVEN_UP,
    });
    stage.say(&format!("broker {owner}: {link:?}"));
    stage.cluster.node(owner)?.s3.set(link);
    stage.wait_for_other(AIM, owner, limit)?;
    stage.pause(stage.ttl())?;
    if stage.owner(AIM)? == owner {
        return Err(stage.wrong("a broker without S3 has taken its partition back"));
    }
    stage.say("the link is up again");
    stage.cluster.node(owner)?.s3.set(Link::Up);
    Ok(())
}

fn restart_etcd(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let before = stage.epochs();
    stage.say("kill -9 of etcd");
    stage.fault_begins();
    stage.cluster.kill_etcd();
    stage.pause(stage.ttl() + stage.ttl() / 2)?;
    stage.say("etcd comes back");
    stage.cluster.start_etcd()?;
    stage.mended();
    stage.pause(stage.ttl())?;
    nothing_has_moved(stage, &before)
}

fn nothing_has_moved(stage: &Stage<'_>, before: &[Option<i32>]) -> Result<(), RunError> {
    let now = stage.epochs();
    match now == before {
        true => Ok(()),
        false => Err(stage.wrong(format!("leader epochs were {before:?} and are {now:?}"))),
    }
}

/// Every broker is asked to create a topic and to commit an offset: each answers in time, with an
/// error that is to be retried. The clients go on producing. Afterwards both succeed.
fn etcd_down(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let (topic, group) = (stage.name_of("created"), stage.name_of("committed"));
    stage.say("kill -9 of etcd");
    stage.fault_begins();
    stage.cluster.kill_etcd();
    let before = stage.counts();
    for id in 1..=BROKERS {
        let asked = Instant::now();
        let created = create_once(&mut stage.connection(id)?, &topic, REFUSAL_LIMIT);
        let took = asked.elapsed();
        stage.say(&format!(
            "broker {id} creates a topic: {created:?} after {took:.1?}"
        ));
        refused(stage, "a topic", id, created)?;
    }
    for id in 1..=BROKERS {
        let asked = Instant::now();
        let committed = commit_once(
            &mut stage.connection(id)?,
            stage.topic(),
            &group,
            REFUSAL_LIMIT,
        );
        let took = asked.elapsed();
        stage.say(&format!(
            "broker {id} commits an offset: {committed:?} after {took:.1?}"
        ));
        refused(stage, "an offset", id, committed)?;
    }
    stage.pause(stage.ttl())?;
    if stage.counts().acknowledged.iter().sum::<u64>() <= before.acknowledged.iter().sum() {
        return Err(stage.wrong("nothing is acknowledged without etcd"));
    }
    stage.say("etcd comes back");
    stage.cluster.start_etcd()?;
    stage.mended();
    let mut last = None;
    stage.until(
        "a topic can be created and an offset committed",
        REFUSAL_LIMIT,
        |stage| {
            for id in 1..=BROKERS {
                let Ok(mut connection) = stage.connection(id) else {
                    return false;
                };
                let created = create_once(&mut connection, &topic, REFUSAL_LIMIT);
                let is_there = matches!(
                    created,
                    Ok(ErrorCode::NONE | ErrorCode::TOPIC_ALREADY_EXISTS)
                );
                if !is_there {
                    last = Some(created);
                    return false;
                }
            }
            let mut brokers = 1..=BROKERS;
            brokers.any(|id| {
                let connection = stage.connection(id);
                connection.is_ok_and(|mut connection| {
                    let committed =
                        commit_once(&mut connection, stage.topic(), &group, REFUSAL_LIMIT);
                    matches!(committed, Ok(ErrorCode::NONE))
                })
            })
        },
    )?;
    Ok(())
}

/// An answer that says that it may be tried again.
fn refused(
    stage: &Stage<'_>,
    what: &str,
    broker: i32,
    answer: Result<ErrorCode, ClientError>,
) -> Result<(), RunError> {
    match answer {
        Ok(code) if code.retriable() => Ok(()),
        Ok(code) => Err(stage.wrong(format!(
            "without etcd broker {broker} answers {code} to {what}"
        ))),
        Err(error) => Err(stage.wrong(format!("without etcd broker {broker}: {what}: {error}"))),
    }
}

/// Keep-alives come late and in time: no session ends, and produce does not notice.
fn etcd_slow(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let before = stage.epochs();
    stage.say(&format!("{ETCD_DELAY:?} each way"));
    for node in &stage.cluster.nodes {
        node.etcd.set(Link::Slow(ETCD_DELAY));
    }
    stage.wait_for_progress(1, stage.ttl() * 3)?;
    stage.pause(stage.ttl() * 3)?;
    for node in &stage.cluster.nodes {
        node.etcd.set(Link::Up);
    }
    nothing_has_moved(stage, &before)
}

fn rule(stage: &Stage<'_>, rule: Rule) -> Result<RuleId, RunError> {
    let added = stage.cluster.s3.faults().add(rule);
    added.map_err(|error| RunError::setup("plan a fault of the store", error))
}

/// Produce is refused with an error that clients retry, and records are read all the same (that
/// they are is a limit of the table).
fn s3_errors(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let time = Duration::from_secs(if stage.is_short() { 5 } else { 20 });
    let before = stage.counts().refused;
    stage.say(&format!("503 for {} s", time.as_secs()));
    stage.fault_begins();
    let slow_down = Fault::Error {
        code: ErrorCodeS3::SlowDown,
        retry_after_seconds: None,
    };
    let id = rule(stage, Rule::new(slow_down))?;
    let ends = Instant::now() + time;
    stage.wait_for_health(UNAVAILABLE)?;
    stage.pause(ends.saturating_duration_since(Instant::now()))?;
    recovered(stage, id, before)
}

/// Ends a fault in which produce must have been refused, and waits until the store counts as good.
fn recovered(stage: &mut Stage<'_>, id: RuleId, refused: u64) -> Result<(), RunError> {
    let count = stage.counts().refused - refused;
    stage.say(&format!(
        "{count} batches were refused; the store is good again"
    ));
    stage.cluster.s3.faults().remove(id);
    stage.mended();
    if count == 0 {
        return Err(stage.wrong("no batch was refused while the store was unavailable"));
    }
    stage.wait_for_health(HEALTHY)
}

fn slow(stage: &Stage<'_>, wait_ms: u64) -> Result<RuleId, RunError> {
    stage.say(&format!("each request takes {wait_ms} ms"));
    let delay = Fault::Delay {
        lo_ms: wait_ms,
        hi_ms: None,
    };
    rule(stage, Rule::new(delay))
}

/// Degraded: everything is accepted.
fn s3_slow(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let id = slow(stage, 1_500)?;
    stage.wait_for_health(DEGRADED)?;
    let before = stage.counts();
    stage.pause(Duration::from_secs(if stage.is_short() { 5 } else { 15 }))?;
    let now = stage.counts();
    stage.cluster.s3.faults().remove(id);
    if !now.is_beyond(&before, 1) || now.refused > before.refused {
        return Err(stage.wrong(format!("Degraded: {before:?}, then {now:?}")));
    }
    stage.wait_for_health(HEALTHY)
}

/// Unavailable: produce is refused, records are read.
fn s3_very_slow(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let before = stage.counts().refused;
    stage.fault_begins();
    let id = slow(stage, 3_000)?;
    stage.wait_for_health(UNAVAILABLE)?;
    stage.pause(Duration::from_secs(if stage.is_short() { 4 } else { 15 }))?;
    recovered(stage, id, before)
}

fn lost_replies(stage: &mut Stage<'_>) -> Result<(), RunError> {
    stage.say("a third of the replies to writes is lost");
    let lost = [
        Fault::ErrorAfter {
            code: ErrorCodeS3::InternalError,
            retry_after_seconds: None,
        },
        Fault::ResetAfter,
    ];
    let mut rules = Vec::new();
    for fault in lost {
        let fault = Rule::new(fault).on(Operation::PutObject).prefix(WAL);
        rules.push(rule(stage, fault.probability(0.2))?);
    }
    stage.fault_begins();
    stage.pause(stage.ttl() * 2)?;
    let fired = rules.iter().map(|id| stage.cluster.s3.faults().fired(*id));
    let fired: u64 = fired.sum();
    stage.say(&format!("{fired} replies were lost"));
    for id in rules {
        stage.cluster.s3.faults().remove(id);
    }
    stage.mended();
    if fired == 0 {
        return Err(stage.wrong("no reply was lost"));
    }
    Ok(())
}

fn late_put(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    let hold = Fault::Hold {
        gate: GATE.to_owned(),
    };
    let of = format!("{WAL}default/{owner}/");
    let hold = Rule::new(hold).on(Operation::PutObject).prefix(&of);
    let id = rule(stage, hold.times(1))?;
    let faults = stage.cluster.s3.faults().clone();
    let held = faults.wait_for_waiting(GATE, 1, Duration::from_secs(10));
    if !held {
        return Err(stage.wrong("no write of the owner was held"));
    }
    stage.say(&format!("a write of broker {owner} is on its way; kill -9"));
    stage.cluster.kill_broker(owner)?;
    stage.wait_for_other(AIM, owner, stage.takeover_limit())?;
    stage.pause(stage.ttl() / 2)?;
    stage.say("the write arrives");
    let released = faults.release(GATE);
    faults.remove(id);
    if released != 1 {
        return Err(stage.wrong("the write that was held did not arrive"));
    }
    stage.pause(stage.ttl() / 2)?;
    stage.cluster.start_broker(owner)?;
    stage.cluster.wait_ready(owner)
}

/// After each move every broker shows the same log, without a hole.
fn graceful_moves(stage: &mut Stage<'_>) -> Result<(), RunError> {
    for number in 1..=MOVES {
        let owner = stage.owner(AIM)?;
        stage.cluster.drain(owner, true)?;
        let moved = stage.wait_for_other(AIM, owner, stage.takeover_limit());
        stage.cluster.drain(owner, false)?;
        moved?;
        let heir = stage.owner(AIM)?;
        stage.say(&format!("move {number}: from broker {owner} to {heir}"));
        settled(stage)?;
    }
    Ok(())
}

/// One move is over before the next begins: every partition goes on, and every broker that runs
/// shows the same log.
fn settled(stage: &mut Stage<'_>) -> Result<(), RunError> {
    stage.wait_for_progress(1, stage.takeover_limit() * 2)?;
    let running = stage.cluster.running();
    stage.read_now(AIM, &running)
}

/// In turn the owner is killed, or loses its lease without being told and goes on as a zombie.
fn forced_moves(stage: &mut Stage<'_>) -> Result<(), RunError> {
    for number in 1..=MOVES {
        let owner = stage.owner(AIM)?;
        let before = stage.epoch(AIM);
        let kill = number % 2 == 0;
        if kill {
            stage.cluster.kill_broker(owner)?;
        } else if !stage.cluster.revoke(owner)? {
            return Err(stage.wrong("the owner has no lease"));
        }
        stage.wait_for_change(AIM, before, stage.takeover_limit())?;
        let heir = stage.owner(AIM)?;
        let how = if kill { "killed" } else { "without its lease" };
        stage.say(&format!("move {number}: broker {owner} {how}, now {heir}"));
        settled(stage)?;
        if kill {
            // What it gets back moves once more.
            stage.cluster.start_broker(owner)?;
            stage.cluster.wait_ready(owner)?;
            settled(stage)?;
        }
    }
    Ok(())
}
