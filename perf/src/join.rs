//! Group joins: from the JoinGroup of a consumer to the answer of its SyncGroup.
//!
//! Two kinds, measured at the same time. *New*: the first members of a group that nobody has used;
//! the broker waits `group.initial.rebalance.delay.ms` for more of them. *Further*: one more member of
//! a group that has one, which asks again and again whether it must rejoin; the heartbeat interval
//! of a real client comes on top.
//!
//! A closed loop, a thread for each group. The coordinator is looked up, and the group left and
//! deleted, outside of the measured time. The round trip for a member id (KIP-394) counts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use wire::messages::delete_groups::DeleteGroupsRequest;
use wire::messages::find_coordinator::FindCoordinatorRequest;
use wire::messages::heartbeat::HeartbeatRequest;
use wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use wire::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use wire::{ApiKey, ErrorCode, decode_response};

use crate::access::Access;
use crate::clock::Window;
use crate::connection::{Connection, Template};
use crate::meter::{Counter, Tally};
use crate::run::{Measured, Setting};

/// First version of FindCoordinator with a list of keys.
const COORDINATOR_KEYS_FROM: i16 = 4;
/// First version of LeaveGroup with a list of members.
const LEAVE_MEMBERS_FROM: i16 = 3;
const SESSION_TIMEOUT_MS: i32 = 30_000;
const REBALANCE_TIMEOUT_MS: i32 = 30_000;
/// A subscription of the consumer protocol, version 0: no topic, no user data.
const SUBSCRIPTION: &[u8] = &[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
/// An assignment of the consumer protocol, version 0: nothing.
const ASSIGNMENT: &[u8] = SUBSCRIPTION;
const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "range";
/// Heartbeats after which a member should have heard of a rebalance.
const HEARTBEATS_MAX: usize = 10_000;
/// Pause after a failure, so that a broker that is not ready is not flooded.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// A run of joins.
#[derive(Debug, Clone, Copy)]
pub struct JoinRun {
    /// Groups at a time, of each kind.
    pub groups: usize,
    /// Members that begin a group together.
    pub members: usize,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    New,
    Further,
}

/// A member of a group, with a connection of its own.
struct Member {
    connection: Connection,
    id: String,
    began: Instant,
    generation: i32,
    /// The members that it must give assignments, if it leads the group.
    led: Option<Vec<String>>,
}

/// Connections that are free, by address.
struct Pool {
    bootstrap: String,
    access: Access,
    control: Connection,
    free: HashMap<String, Vec<Connection>>,
}

impl JoinRun {
    /// Gives the times of first members of new groups, and of further members.
    ///
    /// # Errors
    /// A broker cannot be reached.
    pub fn run(&self, setting: &Setting, title: &str) -> Result<(Measured, Measured)> {
        let mut workers = Vec::new();
        for kind in [Kind::New, Kind::Further] {
            for _ in 0..self.groups {
                workers.push((kind, Pool::connect(&setting.bootstrap, &setting.access)?));
            }
        }
        let members = self.members;
        let (tallies, seconds, cpu) =
            setting.run_each(title, workers, |(kind, mut pool), window, counter| {
                Ok(join_until(kind, members, &mut pool, window, counter))
            })?;
        let (new, further) = tallies.split_at(self.groups);
        let measured = |tallies: &[Tally]| {
            let mut tally = Tally::default();
            tallies.iter().for_each(|other| tally.add(other));
            Measured {
                tally,
                seconds,
                cpu,
            }
        };
        Ok((measured(new), measured(further)))
    }
}

/// Groups one after the other, until the window is over.
fn join_until(
    kind: Kind,
    members: usize,
    pool: &mut Pool,
    window: Window,
    counter: &Counter,
) -> Tally {
    let mut tally = Tally::default();
    while Instant::now() < window.to {
        let began = Instant::now();
        let group = format!("kafscale-perf-join-{:016x}", rand::random::<u64>());
        let joined = match kind {
            Kind::New => new_group(pool, &group, members),
            Kind::Further => further_member(pool, &group),
        };
        let is_measured = window.holds(began);
        match joined {
            Ok(times) => {
                for time in times.iter().filter(|_| is_measured) {
                    tally.latency.record_duration(*time, 1);
                    tally.requests += 1;
                }
                counter.count(0);
            }
            Err(error) => {
                if is_measured {
                    tally.fail(1, format!("{error:#}"));
                }
                pool.free.clear();
                std::thread::sleep(FAILURE_PAUSE);
            }
        }
    }
    tally
}

/// Members that begin a group together: the time of each.
fn new_group(pool: &mut Pool, group: &str, members: usize) -> Result<Vec<Duration>> {
    let address = pool.coordinator(group)?;
    let mut all = Vec::with_capacity(members);
    for _ in 0..members {
        all.push(Member::begin(pool.take(&address)?, group)?);
    }
    all.iter_mut()
        .try_for_each(|member| member.send_join(group))?;
    all.iter_mut().try_for_each(Member::receive_join)?;
    let times = sync(&mut all, group)?;
    leave(pool, &address, group, all)?;
    Ok(times)
}

/// One more member of a group that has one: its time.
fn further_member(pool: &mut Pool, group: &str) -> Result<Vec<Duration>> {
    let address = pool.coordinator(group)?;
    let mut first = Member::begin(pool.take(&address)?, group)?;
    first.send_join(group)?;
    first.receive_join()?;
    sync(std::slice::from_mut(&mut first), group)?;
    let mut second = Member::begin(pool.take(&address)?, group)?;
    second.send_join(group)?;
    first.await_rebalance(group)?;
    first.send_join(group)?;
    first.receive_join()?;
    second.receive_join()?;
    let mut all = vec![first, second];
    let times = sync(&mut all, group)?;
    leave(pool, &address, group, all)?;
    Ok(times.into_iter().skip(1).collect())
}

/// SyncGroup of all members. Gives the time of each from its first JoinGroup on.
fn sync(members: &mut [Member], group: &str) -> Result<Vec<Duration>> {
    for member in &mut *members {
        let led = member.led.as_deref().unwrap_or_default();
        let assignments = led.iter().map(|id| SyncGroupRequestAssignment {
            member_id: id,
            assignment: ASSIGNMENT,
        });
        let request = SyncGroupRequest {
            group_id: group,
            generation_id: member.generation,
            member_id: &member.id,
            protocol_type: Some(PROTOCOL_TYPE),
            protocol_name: Some(PROTOCOL),
            assignments: assignments.collect(),
            ..Default::default()
        };
        let version = member.connection.versions().pick(ApiKey::SyncGroup)?;
        let mut template = Template::new(version, &request)?;
        member.connection.send(&mut template)?;
    }
    let mut times = Vec::with_capacity(members.len());
    for member in members {
        let version = member.connection.versions().pick(ApiKey::SyncGroup)?;
        let frame = member.connection.receive()?;
        let answered = Instant::now();
        let (_, response) = decode_response::<SyncGroupRequest<'_>>(frame, version)?;
        ensure!(
            response.error_code.is_none(),
            "SyncGroup: {}",
            response.error_code
        );
        times.push(answered - member.began);
    }
    Ok(times)
}

/// Leaves the group, which nobody will use again, and deletes it.
fn leave(pool: &mut Pool, address: &str, group: &str, members: Vec<Member>) -> Result<()> {
    for mut member in members {
        let version = member.connection.versions().pick(ApiKey::LeaveGroup)?;
        let identity = MemberIdentity {
            member_id: &member.id,
            ..Default::default()
        };
        let (member_id, members) = match version >= LEAVE_MEMBERS_FROM {
            true => ("", vec![identity]),
            false => (member.id.as_str(), Vec::new()),
        };
        let request = LeaveGroupRequest {
            group_id: group,
            member_id,
            members,
        };
        let left = member.connection.call_in(version, &request)?;
        ensure!(left.error_code.is_none(), "LeaveGroup: {}", left.error_code);
        pool.give(address, member.connection);
    }
    let mut connection = pool.take(address)?;
    let request = DeleteGroupsRequest {
        groups_names: vec![group],
    };
    // One that stays is empty, and expires.
    let _ = connection.call(&request)?;
    pool.give(address, connection);
    Ok(())
}

impl Member {
    /// Asks for a member id, which starts the clock.
    fn begin(mut connection: Connection, group: &str) -> Result<Self> {
        let mut template = join_request(&connection, group, "")?;
        let began = Instant::now();
        connection.send(&mut template)?;
        let version = connection.versions().pick(ApiKey::JoinGroup)?;
        let (_, response) =
            decode_response::<JoinGroupRequest<'_>>(connection.receive()?, version)?;
        let code = response.error_code;
        ensure!(
            code == ErrorCode::MEMBER_ID_REQUIRED,
            "JoinGroup without a member id: {code}"
        );
        let id = response.member_id.to_owned();
        Ok(Self {
            connection,
            id,
            began,
            generation: -1,
            led: None,
        })
    }

    fn send_join(&mut self, group: &str) -> Result<()> {
        let mut template = join_request(&self.connection, group, &self.id)?;
        Ok(self.connection.send(&mut template)?)
    }

    fn receive_join(&mut self) -> Result<()> {
        let version = self.connection.versions().pick(ApiKey::JoinGroup)?;
        let frame = self.connection.receive()?;
        let (_, response): (_, JoinGroupResponse<'_>) =
            decode_response::<JoinGroupRequest<'_>>(frame, version)?;
        ensure!(
            response.error_code.is_none(),
            "JoinGroup: {}",
            response.error_code
        );
        self.generation = response.generation_id;
        let members = response.members.iter();
        let members = || members.map(|member| member.member_id.to_owned()).collect();
        self.led = (response.leader == self.id).then(members);
        Ok(())
    }

    /// Heartbeats until the coordinator says that the group rebalances.
    fn await_rebalance(&mut self, group: &str) -> Result<()> {
        for _ in 0..HEARTBEATS_MAX {
            let request = HeartbeatRequest {
                group_id: group,
                generation_id: self.generation,
                member_id: &self.id,
                ..Default::default()
            };
            match self.connection.call(&request)?.error_code {
                ErrorCode::NONE => {}
                ErrorCode::REBALANCE_IN_PROGRESS => return Ok(()),
                other => bail!("Heartbeat: {other}"),
            }
        }
        bail!("{HEARTBEATS_MAX} heartbeats did not tell of the rebalance")
    }
}

fn join_request(connection: &Connection, group: &str, member_id: &str) -> Result<Template> {
    let protocol = JoinGroupRequestProtocol {
        name: PROTOCOL,
        metadata: SUBSCRIPTION,
    };
    let request = JoinGroupRequest {
        group_id: group,
        session_timeout_ms: SESSION_TIMEOUT_MS,
        rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
        member_id,
        protocol_type: PROTOCOL_TYPE,
        protocols: vec![protocol],
        ..Default::default()
    };
    Template::new(connection.versions().pick(ApiKey::JoinGroup)?, &request)
}

impl Pool {
    fn connect(bootstrap: &str, access: &Access) -> Result<Self> {
        let mut last = None;
        for address in bootstrap.split(',').map(str::trim) {
            match access.open(address) {
                Ok(control) => {
                    return Ok(Self {
                        bootstrap: bootstrap.to_owned(),
                        control,
                        access: access.clone(),
                        free: HashMap::new(),
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no bootstrap address was given")?)
    }

    fn coordinator(&mut self, group: &str) -> Result<String> {
        let version = self.control.versions().pick(ApiKey::FindCoordinator)?;
        let many = version >= COORDINATOR_KEYS_FROM;
        let request = FindCoordinatorRequest {
            key: if many { "" } else { group },
            coordinator_keys: if many { vec![group] } else { Vec::new() },
            ..Default::default()
        };
        let bootstrap = &self.bootstrap;
        let found = self.control.call_in(version, &request);
        let found = found.with_context(|| format!("ask {bootstrap} for a coordinator"))?;
        let (code, host, port) = match found.coordinators.first() {
            Some(one) => (one.error_code, one.host, one.port),
            None => (found.error_code, found.host, found.port),
        };
        ensure!(code.is_none(), "FindCoordinator: {code}");
        Ok(format!("{host}:{port}"))
    }

    fn take(&mut self, address: &str) -> Result<Connection> {
        match self.free.get_mut(address).and_then(Vec::pop) {
            Some(connection) => Ok(connection),
            None => self.access.open(address),
        }
    }

    fn give(&mut self, address: &str, connection: Connection) {
        let free = self.free.entry(address.to_owned()).or_default();
        free.push(connection);
    }
}
