//! What befalls the store.

use std::time::{Duration, Instant};

use s3_server::{ErrorCode, Fault, Operation, Rule, RuleId};

use super::AIM;
use crate::run::RunError;
use crate::run::proxy::Link;
use crate::run::stage::Stage;

/// Where all WAL objects lie.
const WAL: &str = "kafscale-wal/";
const GATE: &str = "late";
/// How a broker finds the store, as its metric has it.
const HEALTHY: u8 = 0;
const DEGRADED: u8 = 1;
const UNAVAILABLE: u8 = 2;
/// How late each word to and from the store is on a slow link.
const LINK_DELAY: Duration = Duration::from_millis(150);
/// What bodies share on a narrow link: three times what the clients of the run write.
const NARROW_BYTES_PER_SECOND: u64 = 512 << 10;
/// How old a list of the store may be.
const LIST_AGE_MS: u64 = 30_000;

fn rule(stage: &Stage<'_>, rule: Rule) -> Result<RuleId, RunError> {
    let added = stage.cluster.s3.faults().add(rule);
    added.map_err(|error| RunError::setup("plan a fault of the store", error))
}

/// Produce is refused with an error that clients retry, and records are read all the same (that
/// they are is a limit of the table).
pub(super) fn s3_errors(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let time = Duration::from_secs(if stage.is_short() { 5 } else { 20 });
    let before = stage.counts().refused;
    stage.breaks(&format!("503 for {} s", time.as_secs()));
    stage.fault_begins();
    let slow_down = Fault::Error {
        code: ErrorCode::SlowDown,
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

fn slow(stage: &mut Stage<'_>, wait_ms: u64) -> Result<RuleId, RunError> {
    stage.breaks(&format!("each request takes {wait_ms} ms"));
    let delay = Fault::Delay {
        lo_ms: wait_ms,
        hi_ms: None,
    };
    rule(stage, Rule::new(delay))
}

/// Degraded: everything is accepted.
pub(super) fn s3_slow(stage: &mut Stage<'_>) -> Result<(), RunError> {
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
pub(super) fn s3_very_slow(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let before = stage.counts().refused;
    stage.fault_begins();
    let id = slow(stage, 3_000)?;
    stage.wait_for_health(UNAVAILABLE)?;
    stage.pause(Duration::from_secs(if stage.is_short() { 4 } else { 15 }))?;
    recovered(stage, id, before)
}

pub(super) fn lost_replies(stage: &mut Stage<'_>) -> Result<(), RunError> {
    stage.breaks("a third of the replies to writes is lost");
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

pub(super) fn late_put(stage: &mut Stage<'_>) -> Result<(), RunError> {
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
    stage.breaks(&format!("a write of broker {owner} is on its way; kill -9"));
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

/// Plays faults for a time and demands that they struck.
fn plague(stage: &mut Stage<'_>, what: &str, rules: Vec<Rule>) -> Result<(), RunError> {
    stage.breaks(what);
    stage.fault_begins();
    let mut ids = Vec::new();
    for planned in rules {
        ids.push(rule(stage, planned)?);
    }
    stage.pause(Duration::from_secs(if stage.is_short() { 6 } else { 30 }))?;
    let partitions_are_read = stage.read_running(AIM);
    let fired = ids.iter().map(|id| stage.cluster.s3.faults().fired(*id));
    let fired: u64 = fired.sum();
    stage.say(&format!("{fired} requests were struck"));
    for id in ids {
        stage.cluster.s3.faults().remove(id);
    }
    stage.mended();
    partitions_are_read?;
    match fired {
        0 => Err(stage.wrong("no request was struck")),
        _ => Ok(()),
    }
}

/// Connections are reset, before the effect and after it.
pub(super) fn s3_resets(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let rules = vec![
        Rule::new(Fault::Reset).probability(0.1),
        Rule::new(Fault::ResetAfter).probability(0.1),
    ];
    plague(stage, "a fifth of the connections is reset", rules)
}

/// Bodies go slowly.
pub(super) fn s3_narrow(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let narrow = Fault::Bandwidth {
        bytes_per_second: NARROW_BYTES_PER_SECOND,
    };
    plague(stage, "bodies are slow", vec![Rule::new(narrow)])
}

/// Half of the bodies that are read end early; what is cut off is read again. Nothing is refused: writes are well.
pub(super) fn s3_truncated(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    // Whoever takes over reads what the owner wrote.
    let cut = Rule::new(Fault::Truncate { keep_bytes: None });
    let refused = stage.counts().refused;
    let id = rule(stage, cut.on(Operation::GetObject).probability(0.5))?;
    stage.breaks(&format!("bodies end early; kill -9 of broker {owner}"));
    stage.cluster.kill_broker(owner)?;
    stage.wait_for_other(AIM, owner, stage.takeover_limit())?;
    stage.wait_for_progress(1, stage.takeover_limit())?;
    let fired = stage.cluster.s3.faults().fired(id);
    stage.say(&format!("{fired} bodies were cut off"));
    let refused = stage.counts().refused - refused;
    stage.cluster.s3.faults().remove(id);
    match (fired, refused) {
        (0, _) => Err(stage.wrong("no body was cut off")),
        (_, 0) => Ok(()),
        (_, refused) => Err(stage.wrong(format!(
            "{refused} batches were refused for reads that fail"
        ))),
    }
}

/// A taker sees an old list: a list is only a hint.
pub(super) fn s3_stale_list(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    let old = Rule::new(Fault::StaleList {
        age_ms: LIST_AGE_MS,
    });
    let id = rule(stage, old)?;
    stage.breaks(&format!("lists are old; kill -9 of broker {owner}"));
    stage.cluster.kill_broker(owner)?;
    stage.wait_for_other(AIM, owner, stage.takeover_limit())?;
    stage.wait_for_progress(1, stage.takeover_limit())?;
    stage.cluster.start_broker(owner)?;
    stage.cluster.wait_ready(owner)?;
    stage.wait_for_progress(1, stage.takeover_limit())?;
    stage.cluster.s3.faults().remove(id);
    Ok(())
}

/// Everything at once, each seldom.
pub(super) fn s3_storm(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let error = |code| Fault::Error {
        code,
        retry_after_seconds: None,
    };
    let late = |lo_ms, hi_ms| Fault::Delay {
        lo_ms,
        hi_ms: Some(hi_ms),
    };
    let narrow = Fault::Bandwidth {
        bytes_per_second: NARROW_BYTES_PER_SECOND,
    };
    let rules = vec![
        Rule::new(late(50, 600)).probability(0.3),
        Rule::new(late(3_000, 3_000)).probability(0.02),
        Rule::new(Fault::Reset).probability(0.05),
        Rule::new(Fault::ResetAfter).probability(0.05),
        Rule::new(error(ErrorCode::SlowDown)).probability(0.1),
        Rule::new(error(ErrorCode::InternalError)).probability(0.05),
        Rule::new(narrow).probability(0.5),
    ];
    plague(stage, "late, slow, reset, 500 and 503", rules)
}

/// All brokers have a slow link to the store: late, and nothing fails.
pub(super) fn s3_slow_link(stage: &mut Stage<'_>) -> Result<(), RunError> {
    stage.breaks(&format!("{LINK_DELAY:?} each way"));
    for node in &stage.cluster.nodes {
        node.s3.set(Link::Slow(LINK_DELAY));
    }
    stage.wait_for_progress(1, stage.ttl() * 3)?;
    stage.pause(Duration::from_secs(if stage.is_short() { 5 } else { 30 }))?;
    for node in &stage.cluster.nodes {
        node.s3.set(Link::Up);
    }
    Ok(())
}
