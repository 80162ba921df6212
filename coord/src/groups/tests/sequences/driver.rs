//! Plays events to a coordinator and to the model, and compares.

use std::collections::BTreeMap;

use bytes::Bytes;
use segment::{TimestampMs, TopicId};

use super::super::reference::Model;
use super::super::world::*;
use super::event::{As, CLIENTS, Commit, Event, Instance, JoinHow, Known, Plan, STATICS, Setup};
use crate::groups::*;

/// What a client has been told.
#[derive(Default)]
struct Client {
    ids: Vec<MemberId>,
    generations: Vec<Generation>,
    /// Members that it makes the assignment for.
    leads: Vec<MemberId>,
}

pub(super) struct Driver {
    w: World,
    model: Model,
    clients: Vec<Client>,
    /// Which client has sent a JoinGroup.
    joins: BTreeMap<u64, usize>,
    salt: u64,
    pub(super) outcomes: BTreeMap<String, u64>,
    /// What was seen since it was last taken.
    pub(super) story: Vec<String>,
}

impl Driver {
    pub(super) fn new(setup: &Setup) -> Self {
        let config = GroupConfig {
            initial_rebalance_delay_ms: setup.initial_delay_ms,
            new_member_join_timeout_ms: setup.new_member_ms,
            members_max: setup.members_max,
            write_ops_max: setup.write_ops_max,
            offset_metadata_max: 4,
            ..GroupConfig::default()
        };
        let mut w = World::with(config.clone());
        w.auto = false;
        Self {
            model: Model::new(config, w.now()),
            w,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            joins: BTreeMap::new(),
            salt: setup.salt,
            outcomes: BTreeMap::new(),
            story: Vec::new(),
        }
    }

    /// Plays one event; tells what differs after it.
    pub(super) fn step(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Pass(ms) => return self.pass(*ms),
            Event::PassLate(ms) => {
                self.w.now_ms += ms;
                return self.wake();
            }
            Event::Write(outcome) => self.write(*outcome),
            Event::Restart {
                unloads,
                unseen,
                members_max,
            } => {
                return self.restart(*unloads, *unseen, *members_max);
            }
            Event::Expire => {
                self.w.expire();
                self.model.expire(&topic_name);
            }
            Event::DeleteTopic(topic) => {
                let topic = TopicId::new([*topic; 16]);
                let mut out = Effects::new();
                self.w
                    .coordinator
                    .on_topics_deleted(&[topic], self.w.now(), &mut out);
                self.w.absorb(out);
                self.model.delete_topic(topic);
            }
            Event::Fail => return Err("this event always fails".to_owned()),
            request => self.request(request),
        }
        self.compare()
    }

    fn request(&mut self, event: &Event) {
        let token = self.w.token();
        let (mut out, now) = (Effects::new(), self.w.now());
        let coordinator = &mut self.w.coordinator;
        match event {
            Event::Join(own, how) => {
                let request = join(&self.clients, *own, how, mix(self.salt, token.0));
                self.joins.insert(token.0, own.client);
                self.model.join(&request, token);
                coordinator.join(request, token, now, &mut out);
            }
            Event::Sync(own, plan, protocol) => {
                let request = sync(&self.clients, *own, *plan, *protocol);
                self.model.sync(&request, token);
                coordinator.sync(request, token, now, &mut out);
            }
            Event::Heartbeat(own) => {
                let request = HeartbeatRequest {
                    group: own.group.into(),
                    member: id(&self.clients, *own),
                    instance: instance(*own),
                    generation: generation(&self.clients, *own),
                };
                self.model.heartbeat(&request, token);
                coordinator.heartbeat(request, token, now, &mut out);
            }
            Event::Leave(leavers) => {
                let request = leave(&self.clients, leavers);
                self.model.leave(&request, token);
                coordinator.leave(request, token, now, &mut out);
            }
            Event::Commit(own, offsets, retention, v9) => {
                let request = CommitRequest {
                    group: own.group.into(),
                    member: id(&self.clients, *own),
                    instance: instance(*own),
                    generation: generation(&self.clients, *own),
                    retention_ms: *retention,
                    group_not_found_supported: *v9,
                    offsets: offsets
                        .iter()
                        .map(|offset| committed(offset, now))
                        .collect(),
                };
                self.model.commit(&request, token);
                coordinator.commit(request, token, now, &mut out);
            }
            Event::Fetch(group, asked, require_stable) => {
                let at = |asked: &Vec<(u8, i32)>| {
                    asked
                        .iter()
                        .map(|(topic, index)| partition(*topic, *index))
                        .collect()
                };
                let request = FetchRequest {
                    group: (*group).into(),
                    partitions: asked.as_ref().map(at),
                    require_stable: *require_stable,
                };
                self.model.fetch(&request, token);
                coordinator.fetch_offsets(request, token, &mut out);
            }
            Event::DeleteGroups(names) => {
                let ids: Vec<GroupId> = names.iter().map(|name| (*name).into()).collect();
                self.model.delete_groups(&ids, token);
                coordinator.delete_groups(ids, token, now, &mut out);
            }
            Event::DeleteOffsets(group, offsets) => {
                let offsets = offsets.iter().map(|(topic, index)| OffsetToDelete {
                    partition: partition(*topic, *index),
                    topic_name: topic_name(TopicId::new([*topic; 16])).into(),
                });
                let request = DeleteOffsetsRequest {
                    group: (*group).into(),
                    offsets: offsets.collect(),
                };
                self.model.delete_offsets(&request, token);
                coordinator.delete_offsets(request, token, now, &mut out);
            }
            _ => unreachable!("not a request"),
        }
        self.w.absorb(out);
    }

    /// Lets time pass from one timer to the next of either side; each answer is due at its moment.
    fn pass(&mut self, ms: u64) -> Result<(), String> {
        let end = self.w.now_ms + ms;
        for _ in 0..100_000 {
            let theirs = self.w.coordinator.next_deadline().map(Millis::get);
            let next = theirs.into_iter().chain(self.model.next_deadline()).min();
            let Some(next) = next.filter(|at| *at <= end) else {
                self.w.now_ms = end;
                self.model.now = self.w.now();
                return Ok(());
            };
            self.w.now_ms = self.w.now_ms.max(next);
            self.wake()?;
        }
        Err("timers make no progress".to_owned())
    }

    /// Runs all timers that are due now.
    fn wake(&mut self) -> Result<(), String> {
        for _ in 0..1_000 {
            let mut out = Effects::new();
            self.w.coordinator.on_timer(self.w.now(), &mut out);
            self.w.absorb(out);
            let next = self.w.coordinator.next_deadline();
            if next.is_none_or(|at| at.get() > self.w.now_ms) {
                self.model.wake(self.w.now());
                return self.compare();
            }
        }
        Err("the coordinator does not get past its timers".to_owned())
    }

    fn write(&mut self, outcome: Persisted) {
        if !self.w.queue.is_empty() {
            self.model.finish(outcome);
            self.w.finish_write(outcome);
        }
    }

    fn restart(&mut self, unloads: bool, unseen: usize, members_max: usize) -> Result<(), String> {
        let now = self.w.now();
        if unloads {
            let config = self.w.config.clone();
            let coordinator = std::mem::replace(&mut self.w.coordinator, Coordinator::new(config));
            let mut out = Effects::new();
            coordinator.unload(now, &mut out);
            // Writes that had been handed out may still take effect.
            let queue = std::mem::take(&mut self.w.queue);
            self.w.absorb(out);
            self.w.queue = queue;
            self.model.unload();
            self.answers()?;
        }
        for _ in 0..unseen.min(self.w.queue.len()) {
            self.w.finish_unseen();
            self.model.finish_unseen();
        }
        self.w.config.members_max = members_max;
        self.w.restart();
        self.model.restart(members_max);
        self.joins.clear();
        self.compare()
    }

    /// Compares what was answered, what is written, and how the groups look.
    fn compare(&mut self) -> Result<(), String> {
        self.answers()?;
        let order: Vec<GroupId> = self
            .w
            .queue
            .iter()
            .map(|(_, write)| group_of(&write.ops[0]))
            .collect();
        self.model.take_order(&order);
        let ours: Vec<&[WriteOp]> = self
            .w
            .queue
            .iter()
            .map(|(_, write)| &write.ops[..])
            .collect();
        let models: Vec<&[WriteOp]> = self
            .model
            .writes
            .iter()
            .map(|write| &write.ops[..])
            .collect();
        differ("writes under way", &ours, &models)?;
        for name in ["g", "none", ""] {
            let ours = self.w.coordinator.describe(name);
            differ("the group", &ours, &self.model.describe(name))?;
            if let Some(group) = ours {
                *self
                    .outcomes
                    .entry(format!("state {}", group.state))
                    .or_insert(0) += 1;
            }
        }
        differ(
            "the list",
            &self.w.coordinator.list(&[], &[]),
            &self.model.list(),
        )?;
        let next = self.w.coordinator.next_deadline().map(Millis::get);
        match (next, self.model.next_deadline()) {
            (Some(ours), Some(models)) if ours <= models => Ok(()),
            // It may wake up early, and then finds nothing to do.
            (_, None) => Ok(()),
            (ours, models) => Err(format!("wakes up at {ours:?}, model at {models:?}")),
        }
    }

    fn answers(&mut self) -> Result<(), String> {
        let ours = std::mem::take(&mut self.w.replies);
        let models = std::mem::take(&mut self.model.answers);
        differ("answers", &ours, &models)?;
        for (token, reply) in ours {
            self.story.push(format!(
                "@{} ms, to request {token}: {reply:?}",
                self.w.now_ms
            ));
            self.learn(token, &reply);
            for outcome in outcomes(&reply) {
                *self.outcomes.entry(outcome).or_insert(0) += 1;
            }
        }
        Ok(())
    }

    fn learn(&mut self, token: u64, reply: &Reply) {
        let Some(client) = self.joins.get(&token) else {
            return;
        };
        let client = &mut self.clients[*client];
        match reply {
            Reply::Join(Ok(joined)) => {
                client.ids.push(joined.member.clone());
                client.generations.push(joined.generation);
                client.leads = joined
                    .members
                    .iter()
                    .map(|own| own.member.clone())
                    .collect();
            }
            Reply::Join(Err(refused)) if refused.error == GroupError::MemberIdRequired => {
                client.ids.push(refused.member.clone());
            }
            _ => {}
        }
    }

    /// The store answers and time goes on: every request is answered.
    pub(super) fn calm(&mut self) -> Result<(), String> {
        for _ in 0..8 {
            while !self.w.queue.is_empty() {
                self.write(Persisted::Done);
                self.compare()?;
            }
            self.pass(400_000)?;
        }
        match self.model.parked() {
            0 => Ok(()),
            count => Err(format!("{count} requests are never answered")),
        }
    }
}

fn group_of(op: &WriteOp) -> GroupId {
    match op {
        WriteOp::PutGroup(group) => group.group.clone(),
        WriteOp::DeleteGroup(id) => id.clone(),
        WriteOp::PutOffset(key, _) | WriteOp::DeleteOffset(key) => key.group.clone(),
    }
}

fn differ<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, models: &T) -> Result<(), String> {
    if ours == models {
        return Ok(());
    }
    Err(format!(
        "{what}\n  coordinator: {ours:?}\n  model:       {models:?}"
    ))
}

fn outcomes(reply: &Reply) -> Vec<String> {
    let name = |result: Result<(), GroupError>| match result {
        Ok(()) => "Ok".to_owned(),
        Err(error) => format!("{error:?}"),
    };
    let all = |api: &str, results: Vec<Result<(), GroupError>>| {
        results
            .into_iter()
            .map(|result| format!("{api} {}", name(result)))
            .collect()
    };
    match reply {
        Reply::Join(Ok(joined)) if joined.skip_assignment => vec!["Join Ok skip".to_owned()],
        Reply::Join(result) => all(
            "Join",
            vec![result.as_ref().map(drop).map_err(|refused| refused.error)],
        ),
        Reply::Sync(result) => all(
            "Sync",
            vec![result.as_ref().map(drop).map_err(|error| *error)],
        ),
        Reply::Heartbeat(result) => all("Heartbeat", vec![*result]),
        Reply::Leave(Ok(replies)) => all("Leave", replies.iter().map(|own| own.result).collect()),
        Reply::Leave(Err(error)) => all("Leave", vec![Err(*error)]),
        Reply::Commit(replies) => all("Commit", replies.iter().map(|own| own.result).collect()),
        Reply::Fetch(result) => all(
            "Fetch",
            vec![result.as_ref().map(drop).map_err(|error| *error)],
        ),
        Reply::DeleteGroups(replies) => all(
            "DeleteGroups",
            replies.iter().map(|(_, result)| *result).collect(),
        ),
        Reply::DeleteOffsets(Ok(replies)) => all(
            "DeleteOffsets",
            replies.iter().map(|own| own.result).collect(),
        ),
        Reply::DeleteOffsets(Err(error)) => all("DeleteOffsets", vec![Err(*error)]),
    }
}

/// Some bits of a number, all over.
fn mix(salt: u64, number: u64) -> u128 {
    let mut random = super::event::Random(salt ^ number << 32);
    u128::from(random.next()) << 64 | u128::from(random.next())
}

fn id(clients: &[Client], own: As) -> MemberId {
    let client = &clients[own.client];
    let other = &clients[(own.client + 1) % clients.len()];
    let known = match own.id {
        Known::Last => client.ids.last().cloned(),
        Known::Former => client.ids.iter().rev().nth(1).cloned(),
        Known::None => None,
        Known::Invented => Some("invented".into()),
        Known::OfOther => other.ids.last().cloned(),
    };
    known.unwrap_or_else(nobody)
}

fn generation(clients: &[Client], own: As) -> Generation {
    let client = &clients[own.client];
    let other = &clients[(own.client + 1) % clients.len()];
    let known = match own.generation {
        Known::Last => client.generations.last().copied(),
        Known::Former => client.generations.iter().rev().nth(1).copied(),
        Known::None => None,
        Known::Invented => Some(Generation::new(99)),
        Known::OfOther => other.generations.last().copied(),
    };
    known.unwrap_or(Generation::NONE)
}

fn instance(own: As) -> Option<InstanceId> {
    let name = |client: usize| InstanceId::from(format!("i{client}"));
    match own.instance {
        Instance::None => None,
        Instance::Own => (own.client < STATICS).then(|| name(own.client)),
        Instance::OfOther => Some(name((own.client + 1) % CLIENTS)),
    }
}

/// Metadata 1 is another subscription, 2 none of a consumer, 3 empty.
fn metadata(number: u8) -> Vec<u8> {
    match number {
        0 => subscription(&["t"]),
        1 => subscription(&["t", "t2"]),
        2 => b"unreadable".to_vec(),
        _ => Vec::new(),
    }
}

fn join(clients: &[Client], own: As, how: &JoinHow, random_bits: u128) -> JoinRequest {
    let protocols = how.protocols.iter();
    let protocols = protocols.map(|(name, number)| protocol(name, &metadata(*number)));
    JoinRequest {
        group: own.group.into(),
        member: id(clients, own),
        instance: instance(own),
        client_id: format!("client{}", own.client).into(),
        client_host: format!("/10.0.0.{}", own.client).into(),
        session_timeout_ms: how.session_ms,
        rebalance_timeout_ms: how.rebalance_ms,
        protocol_type: how.kind.into(),
        protocols: protocols.collect(),
        random_bits,
        member_id_required: how.id_required,
        skip_assignment_supported: how.skip_supported,
    }
}

fn sync(clients: &[Client], own: As, plan: Plan, protocol: Option<&str>) -> SyncRequest {
    let member = id(clients, own);
    let generation = generation(clients, own);
    let share = |member: &MemberId, share: usize| MemberAssignment {
        member: member.clone(),
        assignment: Bytes::from(format!("{generation}:{share}")),
    };
    let members = clients[own.client].leads.iter().enumerate();
    let mut assignments: Vec<_> = members
        .map(|(index, member)| share(member, index))
        .collect();
    match plan {
        Plan::All => {}
        Plan::OwnTwice => assignments = vec![share(&member, 7), share(&member, 8)],
        Plan::WithStranger => assignments.push(share(&"stranger".into(), 9)),
        Plan::Nothing => assignments.clear(),
    }
    SyncRequest {
        group: own.group.into(),
        member,
        instance: instance(own),
        generation,
        protocol_type: protocol.map(|_| "consumer".into()),
        protocol_name: protocol.map(Into::into),
        assignments,
    }
}

fn leave(clients: &[Client], leavers: &[As]) -> LeaveRequest {
    let members = leavers.iter().map(|own| LeaveMember {
        member: id(clients, *own),
        instance: instance(*own),
        reason: None,
    });
    LeaveRequest {
        group: leavers[0].group.into(),
        members: members.collect(),
    }
}

fn committed(commit: &Commit, now: Now) -> CommitOffset {
    let mut offset = offset(partition(commit.topic, commit.index), commit.value);
    offset.metadata = commit.metadata.map(Into::into);
    let shift = |shift| TimestampMs::new(now.wall.get() + shift);
    offset.timestamp = commit.timestamp.map(shift);
    offset
}
