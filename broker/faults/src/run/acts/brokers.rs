//! What befalls brokers: kills, pauses, restarts, moves.

use std::time::{Duration, Instant};

use super::AIM;
use crate::run::RunError;
use crate::run::stage::Stage;

/// Moves of one scenario of moves.
const MOVES: usize = 10;
/// How often a flapping broker dies.
const FLAPS: usize = 4;
/// How long it lives in between, once it takes requests.
const FLAP_LIFE: Duration = Duration::from_millis(700);

/// Nothing at all: the worst bugs needed no fault.
pub(super) fn nothing(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let before = stage.epochs();
    stage.pause(Duration::from_secs(if stage.is_short() { 8 } else { 60 }))?;
    super::nothing_has_moved(stage, &before)
}

pub(super) fn kill_owner(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    stage.breaks(&format!("kill -9 of broker {owner}"));
    stage.cluster.kill_broker(owner)?;
    stage.wait_for_other(AIM, owner, stage.takeover_limit())?;
    stage.pause(stage.ttl())?;
    stage.say("it comes back");
    stage.cluster.start_broker(owner)?;
    stage.cluster.wait_ready(owner)
}

pub(super) fn zombie(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    let ends = Instant::now() + stage.ttl() * 2;
    stage.breaks(&format!("SIGSTOP of broker {owner}"));
    stage.cluster.freeze(owner, true)?;
    stage.wait_for_other(AIM, owner, stage.takeover_limit())?;
    stage.pause(ends.saturating_duration_since(Instant::now()))?;
    stage.say("SIGCONT");
    stage.cluster.freeze(owner, false)
}

/// Each broker in turn is asked to end, and started again when it has.
pub(super) fn rolling_restart(stage: &mut Stage<'_>) -> Result<(), RunError> {
    for id in stage.cluster.ids() {
        stage.breaks(&format!("SIGTERM of broker {id}"));
        let asked = Instant::now();
        stage.cluster.stop_broker(id)?;
        let took = asked.elapsed().as_secs_f64();
        stage.say(&format!("it ended after {took:.1} s and is started again"));
        stage.cluster.start_broker(id)?;
        stage.cluster.wait_ready(id)?;
        stage.wait_for_progress(1, stage.takeover_limit())?;
    }
    Ok(())
}

/// The owner dies again and again, soon after it has come back.
pub(super) fn flapping(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    for number in 1..=FLAPS {
        stage.breaks(&format!("kill -9 of broker {owner}, {number} of {FLAPS}"));
        stage.cluster.kill_broker(owner)?;
        if number == 1 {
            stage.wait_for_other(AIM, owner, stage.takeover_limit())?;
        }
        stage.cluster.start_broker(owner)?;
        stage.cluster.wait_ready(owner)?;
        stage.pause(FLAP_LIFE)?;
    }
    Ok(())
}

/// All at once, as a power cut does it.
pub(super) fn all_killed(stage: &mut Stage<'_>) -> Result<(), RunError> {
    stage.breaks("kill -9 of all brokers");
    stage.fault_begins();
    for id in stage.cluster.ids() {
        stage.cluster.kill_broker(id)?;
    }
    stage.pause(stage.ttl() / 2)?;
    stage.say("they come back");
    stage.cluster.start_all()?;
    stage.mended();
    Ok(())
}

/// After each move every broker shows the same log, without a hole.
pub(super) fn graceful_moves(stage: &mut Stage<'_>) -> Result<(), RunError> {
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
pub(super) fn forced_moves(stage: &mut Stage<'_>) -> Result<(), RunError> {
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
