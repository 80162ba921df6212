//! What befalls the ways between: cuts, one-way cuts, lost packets.

use std::time::{Duration, Instant};

use rand::Rng;

use super::AIM;
use crate::run::RunError;
use crate::run::firewall::Way;
use crate::run::promises::{GIVEN_UP, GIVEN_UP_IN_SILENCE, UNHEARD};
use crate::run::proxy::Link;
use crate::run::stage::Stage;

/// Of a hundred packets so many are lost.
const LOSS_PERCENT: u8 = 5;

/// Cuts the owner from etcd, and from S3 too, for three times the session's time to live.
pub(super) fn cut(stage: &mut Stage<'_>, from_s3: bool) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    let link = match stage.random().random_bool(0.5) {
        true => Link::Cut,
        false => Link::Held,
    };
    let ends = Instant::now() + stage.ttl() * 3;
    stage.breaks(&format!("broker {owner}: {link:?}"));
    let node = stage.cluster.node(owner)?;
    node.set_etcd(link);
    if from_s3 {
        node.s3.set(link);
    }
    stage.wait_for_other(AIM, owner, stage.takeover_limit())?;
    stage.pause(ends.saturating_duration_since(Instant::now()))?;
    stage.say("the links are up again");
    let node = stage.cluster.node(owner)?;
    node.set_etcd(Link::Up);
    node.s3.set(Link::Up);
    Ok(())
}

/// The owner is cut from etcd in one way only: it is as good as cut off.
pub(super) fn cut_one_way(stage: &mut Stage<'_>, link: Link) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    let ends = Instant::now() + stage.ttl() * 3;
    stage.breaks(&format!("broker {owner} and etcd: {link:?}"));
    stage.cluster.node(owner)?.set_etcd(link);
    let limit = match link {
        Link::Deaf => stage.limit(UNHEARD),
        _ => stage.takeover_limit(),
    };
    stage.wait_for_other(AIM, owner, limit)?;
    stage.pause(ends.saturating_duration_since(Instant::now()))?;
    stage.say("the link is up again");
    stage.cluster.node(owner)?.set_etcd(Link::Up);
    Ok(())
}

/// The owner keeps its lease and must give up by itself, since others reach S3.
pub(super) fn cut_from_s3(stage: &mut Stage<'_>, link: Link) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    let limit = stage.limit(match link {
        Link::Held => GIVEN_UP_IN_SILENCE,
        _ => GIVEN_UP,
    });
    stage.breaks(&format!("broker {owner}: {link:?}"));
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

/// Packets of all servers and proxies are lost: everything goes on.
pub(super) fn loss(stage: &mut Stage<'_>) -> Result<(), RunError> {
    let nodes = stage.cluster.nodes.iter();
    let ports: Vec<u16> = nodes.flat_map(|node| node.ports()).collect();
    stage.breaks(&format!("{LOSS_PERCENT} % of all packets are lost"));
    let firewall = &stage.cluster.firewall;
    firewall.lose(&ports, &[Way::To, Way::From], LOSS_PERCENT)?;
    stage.pause(Duration::from_secs(if stage.is_short() { 8 } else { 60 }))?;
    stage.cluster.firewall.clear()
}

/// Clients cannot reach the owner, or do not hear it; it is well otherwise and keeps what it has.
pub(super) fn clients_cut(stage: &mut Stage<'_>, ways: &[Way]) -> Result<(), RunError> {
    let owner = stage.owner(AIM)?;
    let before = stage.epoch(AIM);
    let port = stage.cluster.node(owner)?.kafka.port();
    stage.breaks(&format!("clients and broker {owner}: {ways:?} cut"));
    stage.fault_begins();
    stage.cluster.firewall.lose(&[port], ways, 100)?;
    stage.pause(stage.ttl() * 2)?;
    stage.say("packets pass again");
    stage.cluster.firewall.clear()?;
    stage.mended();
    match stage.epoch(AIM) == before {
        true => Ok(()),
        false => Err(stage.wrong("a broker that is well has lost its partition")),
    }
}
