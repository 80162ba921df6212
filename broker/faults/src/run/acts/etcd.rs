//! What befalls etcd.

use std::time::{Duration, Instant};

use client::ClientError;
use wire::ErrorCode;

use super::nothing_has_moved;
use crate::run::RunError;
use crate::run::kafka::{commit_once, create_once};
use crate::run::proxy::Link;
use crate::run::stage::Stage;

/// How late each word to and from etcd is: a commit still fits into the clients' time-out.
const ETCD_DELAY: Duration = Duration::from_millis(200);
/// How long a broker may take to refuse what it cannot do without etcd.
const REFUSAL_LIMIT: Duration = Duration::from_secs(8);

pub(super) fn restart_etcd(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let before = stage.epochs();
    stage.breaks("kill -9 of etcd");
    stage.fault_begins();
    stage.cluster.etcd.kill();
    stage.pause(stage.ttl() + stage.ttl() / 2)?;
    stage.say("etcd comes back");
    stage.cluster.etcd.start()?;
    stage.mended();
    stage.pause(stage.ttl())?;
    nothing_has_moved(stage, &before)
}

/// Every broker is asked to create a topic and to commit an offset: each answers in time, with an
/// error that is to be retried. The clients go on producing. Afterwards both succeed.
pub(super) fn etcd_down(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let (topic, group) = (stage.name_of("created"), stage.name_of("committed"));
    stage.breaks("kill -9 of etcd");
    stage.fault_begins();
    stage.cluster.etcd.kill();
    let before = stage.counts();
    for id in stage.cluster.ids() {
        let asked = Instant::now();
        let created = create_once(&mut stage.connection(id)?, &topic, REFUSAL_LIMIT);
        let took = asked.elapsed();
        stage.say(&format!(
            "broker {id} creates a topic: {created:?} after {took:.1?}"
        ));
        refused(stage, "a topic", id, created)?;
    }
    for id in stage.cluster.ids() {
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
    stage.cluster.etcd.start()?;
    stage.mended();
    let mut last = None;
    stage.until(
        "a topic can be created and an offset committed",
        REFUSAL_LIMIT,
        |stage| {
            for id in stage.cluster.ids() {
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
            let mut brokers = stage.cluster.ids().into_iter();
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
pub(super) fn etcd_slow(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let before = stage.epochs();
    stage.breaks(&format!("{ETCD_DELAY:?} each way"));
    for node in &stage.cluster.nodes {
        node.set_etcd(Link::Slow(ETCD_DELAY));
    }
    stage.wait_for_progress(1, stage.ttl() * 3)?;
    stage.pause(stage.ttl() * 3)?;
    for node in &stage.cluster.nodes {
        node.set_etcd(Link::Up);
    }
    nothing_has_moved(stage, &before)
}

/// etcd stands still for longer than any lease: when it goes on, all leases have ended.
pub(super) fn etcd_frozen(stage: &mut Stage<'_>) -> Result<(), RunError> {
    stage.breaks("SIGSTOP of etcd");
    stage.fault_begins();
    stage.cluster.etcd.freeze(true)?;
    stage.pause(stage.ttl() * 2)?;
    stage.say("SIGCONT");
    stage.cluster.etcd.freeze(false)?;
    stage.mended();
    Ok(())
}

/// Two of three members die, the leader among them; produce goes on, and nothing moves.
pub(super) fn etcd_quorum(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let before = stage.epochs();
    stage.breaks("kill -9 of two members of etcd");
    stage.fault_begins();
    stage.cluster.etcd.kill_leader_and(1);
    stage.pause(stage.ttl() * 2)?;
    stage.say("they come back");
    stage.cluster.etcd.start()?;
    stage.mended();
    stage.pause(stage.ttl())?;
    nothing_has_moved(stage, &before)
}

/// The member that leads dies, and another one leads: nobody notices.
pub(super) fn etcd_leader(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let before = stage.epochs();
    stage.breaks("kill -9 of the member of etcd that leads");
    stage.fault_begins();
    stage.cluster.etcd.kill_leader_and(0);
    stage.pause(stage.ttl() * 2)?;
    stage.say("it comes back");
    stage.cluster.etcd.start()?;
    stage.mended();
    nothing_has_moved(stage, &before)
}
