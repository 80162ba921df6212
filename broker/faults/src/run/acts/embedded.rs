//! What befalls the embedded default: a full disk, a kill.

use std::time::{Duration, Instant};

use super::AIM;
use crate::run::RunError;
use crate::run::stage::Stage;

/// Within that time of a kill the embedded default listens again.
const LISTEN_LIMIT: Duration = Duration::from_secs(2);
/// How long the disk stays full.
const FULL_FOR: Duration = Duration::from_secs(6);
/// How long it takes until a full disk is noticed.
const NOTICE_LIMIT: Duration = Duration::from_secs(15);

/// Produce is refused, records are read, and all goes on when there is room again.
pub(super) fn full_disk(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let before = stage.counts().refused;
    stage.breaks("the disk is full");
    stage.fault_begins();
    stage.fill_disk()?;
    stage.until("a batch is refused", NOTICE_LIMIT, |stage| {
        stage.counts().refused > before
    })?;
    stage.pause(FULL_FOR)?;
    stage.say("there is room again");
    stage.clear_disk();
    stage.mended();
    stage.wait_for_progress(1, NOTICE_LIMIT)
}

/// The data are those of before, and the port listens again soon.
pub(super) fn embedded_kill(stage: &mut Stage<'_>) -> Result<(), RunError> {
    for _ in 0..3 {
        let owner = stage.owner(AIM)?;
        stage.breaks("kill -9");
        stage.cluster.kill_broker(owner)?;
        let killed = Instant::now();
        stage.cluster.start_broker(owner)?;
        stage.until("the port listens again", LISTEN_LIMIT, |stage| {
            stage.connection(owner).is_ok()
        })?;
        let took = killed.elapsed().as_secs_f64();
        stage.say(&format!("the port listens again after {took:.1} s"));
        stage.cluster.wait_ready(owner)?;
        stage.wait_for_progress(1, stage.takeover_limit())?;
    }
    Ok(())
}
