//! The scenarios: what befalls the cluster, and what is expected of it meanwhile.

use std::time::Duration;

use rand::Rng;
use s3_server::{ErrorCode, Fault, Operation, Rule, RuleId};

use super::RunError;
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
    CutS3 "cut-s3" 22 "The owner cannot reach S3.";
    CutBoth "cut-both" 16 "The owner can reach neither.";
    RestartEtcd "restart-etcd" 13 "etcd is killed and started again on its data.";
    S3Errors "s3-503" 14 "Every write to S3 answers 503.";
    S3Slow "s3-slow" 18 "Every write to S3 takes 1.5 s, then 3 s.";
    LostReplies "lost-replies" 13 "Writes to S3 take effect and answer with an error, or with none.";
    LatePut "late-put" 16 "A write to S3 arrives after its partition was taken over.";
    GracefulMoves "graceful-moves" 25 "A partition is handed over ten times.";
    ForcedMoves "forced-moves" 60 "A partition loses its owner ten times.";
}

impl Scenario {
    pub(super) fn act(self, stage: &mut Stage<'_>) -> Result<(), RunError> {
        match self {
            Self::KillOwner => kill_owner(stage),
            Self::Zombie => zombie(stage),
            Self::CutEtcd => cut(stage, (true, false), 3),
            Self::CutS3 => cut(stage, (false, true), 5),
            Self::CutBoth => cut(stage, (true, true), 3),
            Self::RestartEtcd => restart_etcd(stage),
            Self::S3Errors => s3_errors(stage),
            Self::S3Slow => s3_slow(stage),
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
    stage.expect_takeover("after the kill");
    stage.wait_for_other(AIM, owner)?;
    stage.pause(stage.ttl())?;
    stage.say("it comes back");
    stage.cluster.start_broker(owner)?;
    stage.cluster.wait_ready(owner)
}

fn zombie(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    stage.say(&format!("SIGSTOP of broker {owner}"));
    stage.cluster.freeze(owner, true)?;
    stage.expect_takeover("while the owner stands still");
    stage.pause(stage.ttl() * 2)?;
    stage.say("SIGCONT");
    stage.cluster.freeze(owner, false)
}

/// Cuts the owner from etcd, S3 or both for so many times the session's time to live.
fn cut(stage: &mut Stage<'_>, (etcd, s3): (bool, bool), times: u32) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    let link = match stage.random().random_bool(0.5) {
        true => Link::Cut,
        false => Link::Held,
    };
    stage.say(&format!("broker {owner}: {link:?}"));
    let node = stage.cluster.node(owner)?;
    if etcd {
        node.etcd.set(link);
    }
    if s3 {
        node.s3.set(link);
    }
    let time = stage.ttl() * times;
    // Cut from S3 alone it keeps its session until it has been without it for twice that time.
    if etcd {
        stage.expect_takeover("while the owner is cut off");
    } else {
        stage.expect("after the owner gave up", time + stage.takeover_limit());
    }
    stage.pause(time)?;
    stage.say("the links are up again");
    let node = stage.cluster.node(owner)?;
    node.etcd.set(Link::Up);
    node.s3.set(Link::Up);
    Ok(())
}

fn restart_etcd(stage: &mut Stage<'_>) -> Result<(), RunError> {
    stage.say("kill -9 of etcd");
    stage.cluster.kill_etcd();
    // Produce needs no etcd.
    stage.expect("without etcd", stage.ttl());
    stage.pause(stage.ttl() + stage.ttl() / 2)?;
    stage.say("etcd comes back");
    stage.cluster.start_etcd()
}

fn rule(stage: &Stage<'_>, rule: Rule) -> Result<RuleId, RunError> {
    let added = stage.cluster.s3.faults().add(rule);
    added.map_err(|error| RunError::setup("plan a fault of the store", error))
}

fn error(code: ErrorCode) -> Fault {
    Fault::Error {
        code,
        retry_after_seconds: None,
    }
}

fn s3_errors(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let time = Duration::from_secs(if stage.is_short() { 5 } else { 20 });
    stage.say(&format!("503 for {} s", time.as_secs()));
    let slow_down = Rule::new(error(ErrorCode::SlowDown)).on(Operation::PutObject);
    rule(stage, slow_down.lasting(time))?;
    stage.pause(time)
}

fn s3_slow(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let time = Duration::from_secs(if stage.is_short() { 4 } else { 15 });
    for wait in [1_500, 3_000] {
        stage.say(&format!("each write takes {wait} ms"));
        let delay = Fault::Delay {
            lo_ms: wait,
            hi_ms: None,
        };
        let id = rule(stage, Rule::new(delay).on(Operation::PutObject))?;
        if wait < 2_000 {
            stage.expect("while S3 is slow", time + stage.takeover_limit());
        }
        stage.pause(time)?;
        stage.cluster.s3.faults().remove(id);
    }
    Ok(())
}

fn lost_replies(stage: &mut Stage<'_>) -> Result<(), RunError> {
    stage.say("a third of the replies to writes is lost");
    let lost = [
        Fault::ErrorAfter {
            code: ErrorCode::InternalError,
            retry_after_seconds: None,
        },
        Fault::ResetAfter,
    ];
    let mut rules = Vec::new();
    for fault in lost {
        let fault = Rule::new(fault).on(Operation::PutObject).prefix(WAL);
        rules.push(rule(stage, fault.probability(0.2))?);
    }
    stage.pause(stage.ttl() * 2)?;
    let fired = rules.iter().map(|id| stage.cluster.s3.faults().fired(*id));
    let fired: u64 = fired.sum();
    stage.say(&format!("{fired} replies were lost"));
    for id in rules {
        stage.cluster.s3.faults().remove(id);
    }
    if fired == 0 {
        return Err(stage.late("a reply is lost"));
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
        return Err(stage.late("a write of the owner is held"));
    }
    stage.say(&format!("a write of broker {owner} is on its way; kill -9"));
    stage.cluster.kill_broker(owner)?;
    stage.expect_takeover("after the kill");
    stage.wait_for_other(AIM, owner)?;
    stage.pause(stage.ttl() / 2)?;
    stage.say("the write arrives");
    let released = faults.release(GATE);
    faults.remove(id);
    if released != 1 {
        return Err(stage.late("the write that was held arrives"));
    }
    stage.pause(stage.ttl() / 2)?;
    stage.cluster.start_broker(owner)?;
    stage.cluster.wait_ready(owner)
}

fn graceful_moves(stage: &mut Stage<'_>) -> Result<(), RunError> {
    for number in 1..=MOVES {
        let owner = stage.owner(AIM)?;
        stage.cluster.drain(owner, true)?;
        let moved = stage.wait_for_other(AIM, owner);
        stage.cluster.drain(owner, false)?;
        moved?;
        let heir = stage.owner(AIM)?;
        stage.say(&format!("move {number}: from broker {owner} to {heir}"));
        stage.expect("after a graceful move", stage.heal_limit());
        stage.read_now(AIM)?;
    }
    Ok(())
}

/// In turn the owner is killed, or loses its lease without being told and goes on as a zombie.
fn forced_moves(stage: &mut Stage<'_>) -> Result<(), RunError> {
    for number in 1..=MOVES {
        let owner = stage.owner(AIM)?;
        let kill = number % 2 == 0;
        if kill {
            stage.cluster.kill_broker(owner)?;
        } else if !stage.cluster.revoke(owner)? {
            return Err(stage.late("the owner has a lease"));
        }
        stage.expect_takeover("after a forced move");
        stage.wait_for_change(AIM)?;
        if kill {
            stage.cluster.start_broker(owner)?;
        }
        let heir = stage.owner(AIM)?;
        let how = if kill { "killed" } else { "without its lease" };
        stage.say(&format!("move {number}: broker {owner} {how}, now {heir}"));
        stage.read_now(AIM)?;
        if kill {
            stage.cluster.wait_ready(owner)?;
        }
    }
    Ok(())
}
