//! Random sequences of events, checked against a small model of what clients may see.
//!
//! The model knows no states and no timers: only what was answered, what is durable, and what
//! follows for the next answer. Each sequence ends with a calm phase in which every request must be
//! answered.

use std::collections::BTreeMap;

use segment::TopicPartition;

use super::world::*;
use crate::groups::*;

const SEQUENCES: u64 = 10_000;
const EVENTS: u64 = 30;

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            None
        } else {
            from.get(self.below(from.len() as u64) as usize).cloned()
        }
    }
}

#[derive(Debug, Clone)]
enum Asked {
    Join,
    Sync { generation: Generation },
    Commit { values: Vec<(TopicPartition, i64)> },
    Fetch,
    Delete,
}

#[derive(Debug, Clone)]
struct Seen {
    member: MemberId,
    instance: Option<&'static str>,
    generation: Generation,
    leads: Vec<MemberId>,
}

struct Model {
    w: World,
    random: Random,
    /// Requests without an answer.
    asked: BTreeMap<u64, Asked>,
    instances: BTreeMap<u64, &'static str>,
    /// Members as clients know them, the latest last; some are out of date.
    seen: Vec<Seen>,
    pending: Vec<MemberId>,
    /// Last acknowledged commit of each partition.
    acknowledged: BTreeMap<TopicPartition, i64>,
    /// Protocol of each generation, until a restart or a deletion.
    protocols: BTreeMap<Generation, String>,
    floor: Generation,
    stored_floor: Generation,
    next_value: i64,
    marks: BTreeMap<&'static str, u64>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut config = GroupConfig {
            write_ops_max: 8,
            ..GroupConfig::default()
        };
        if random.one_in(4) {
            config.members_max = 3;
            config.writes_max = 3;
            config.parked_fetches_max = 1;
        }
        let mut w = World::with(config);
        w.auto = false;
        Self {
            w,
            random,
            asked: BTreeMap::new(),
            instances: BTreeMap::new(),
            seen: Vec::new(),
            pending: Vec::new(),
            acknowledged: BTreeMap::new(),
            protocols: BTreeMap::new(),
            floor: Generation::ZERO,
            stored_floor: Generation::ZERO,
            next_value: 0,
            marks: BTreeMap::new(),
        }
    }

    fn mark(&mut self, what: &'static str) {
        *self.marks.entry(what).or_insert(0) += 1;
    }

    fn event(&mut self) {
        match self.random.below(100) {
            0..=12 => self.join_new(),
            13..=23 => self.join_known(),
            24..=42 => self.sync(),
            43..=50 => self.advance(),
            51..=56 => self.heartbeat(),
            57..=59 => self.leave(),
            60..=69 => self.commit(),
            70..=72 => self.fetch(),
            73 => self.delete(),
            74..=83 => self.pass(),
            84 => self.restart(),
            85 => self.expire(),
            _ => self.finish_write(),
        }
        self.settle();
    }

    fn request(&mut self, member: &MemberId) -> JoinRequest {
        let mut request = join_request(member);
        let both = [protocol("range", b"r"), protocol("sticky", b"s")];
        request.protocols = match self.random.below(4) {
            0 => vec![both[1].clone(), both[0].clone()],
            1 => vec![both[0].clone()],
            _ => both.to_vec(),
        };
        request.rebalance_timeout_ms = [0, 5_000, 20_000][self.random.below(3) as usize];
        request.member_id_required = !self.random.one_in(3);
        request.skip_assignment_supported = self.random.one_in(2);
        request
    }

    fn join_new(&mut self) {
        let mut request = self.request(&nobody());
        let instance = if self.random.one_in(2) {
            self.random.pick(&["i0", "i1"])
        } else {
            None
        };
        request.instance = instance.map(InstanceId::from);
        let token = self.w.send_join(request);
        self.asked.insert(token, Asked::Join);
        if let Some(instance) = instance {
            self.instances.insert(token, instance);
        }
    }

    fn join_known(&mut self) {
        if self.random.one_in(2)
            && let Some(member) = self.pending.pop()
        {
            let request = self.request(&member);
            let token = self.w.send_join(request);
            self.asked.insert(token, Asked::Join);
            return;
        }
        let Some(seen) = self.recent() else { return };
        let mut request = self.request(&seen.member);
        request.instance = seen.instance.map(InstanceId::from);
        let token = self.w.send_join(request);
        self.asked.insert(token, Asked::Join);
        if let Some(instance) = seen.instance {
            self.instances.insert(token, instance);
        }
    }

    /// One of the members seen last, mostly.
    fn recent(&mut self) -> Option<Seen> {
        let mut seen = self.seen.clone();
        if !self.random.one_in(6) {
            seen.retain(|seen| seen.generation == self.floor);
        }
        self.random.pick(&seen)
    }

    fn sync(&mut self) {
        let leader = self
            .seen
            .iter()
            .rev()
            .find(|seen| !seen.leads.is_empty())
            .cloned();
        let seen = if self.random.one_in(2) {
            leader
        } else {
            self.recent()
        };
        let Some(seen) = seen else { return };
        let plan = seen.generation.to_string();
        let assignments: Vec<(&MemberId, &str)> = seen
            .leads
            .iter()
            .map(|member| (member, plan.as_str()))
            .collect();
        let token = self
            .w
            .send_sync(&seen.member, seen.generation, &assignments);
        self.asked.insert(
            token,
            Asked::Sync {
                generation: seen.generation,
            },
        );
    }

    /// Clients and store do what brings a rebalance forward.
    fn advance(&mut self) {
        while let Some(member) = self.pending.pop() {
            let request = self.request(&member);
            let token = self.w.send_join(request);
            self.asked.insert(token, Asked::Join);
            self.settle();
        }
        self.w.pass(300);
        self.settle();
        let mut current = self.seen.clone();
        current.retain(|seen| seen.generation == self.floor);
        current.dedup_by(|a, b| a.member == b.member);
        for seen in current {
            let plan = seen.generation.to_string();
            let plan: Vec<(&MemberId, &str)> = seen
                .leads
                .iter()
                .map(|member| (member, plan.as_str()))
                .collect();
            let token = self.w.send_sync(&seen.member, seen.generation, &plan);
            self.asked.insert(
                token,
                Asked::Sync {
                    generation: seen.generation,
                },
            );
            self.settle();
        }
        self.finish_write();
    }

    fn heartbeat(&mut self) {
        let Some(seen) = self.recent() else { return };
        let result = self
            .w
            .heartbeat_as(&seen.member, seen.instance, seen.generation);
        let group = self.w.coordinator.describe("g");
        if result == Ok(()) {
            assert_eq!(
                group.unwrap().generation,
                seen.generation,
                "heartbeats of the generation"
            );
        }
    }

    fn leave(&mut self) {
        let Some(seen) = self.recent() else { return };
        let result = self.w.leave(&[(&seen.member, seen.instance)]);
        if result == Ok(vec![Ok(())]) {
            self.mark("left");
            let late = self.w.heartbeat(&seen.member, seen.generation);
            assert!(matches!(
                late,
                Err(GroupError::UnknownMemberId | GroupError::FencedInstanceId)
            ));
        }
    }

    fn commit(&mut self) {
        let member = if self.random.one_in(4) {
            None
        } else {
            self.recent()
        };
        let (id, generation) = match member {
            Some(seen) => (seen.member, seen.generation),
            None => (nobody(), Generation::NONE),
        };
        let mut request = commit_request(&id, generation);
        let first = self.random.below(3) as i32;
        for index in 0..=self.random.below(2) as i32 {
            self.next_value += 1;
            // Commits may go back.
            let value = self.next_value * if self.random.one_in(5) { -1 } else { 1 };
            request
                .offsets
                .push(offset(partition(1, first + index), value));
        }
        let values = request
            .offsets
            .iter()
            .map(|entry| (entry.partition, entry.offset.get()));
        let values: Vec<_> = values.collect();
        let group = self.w.coordinator.describe("g");
        let token = self.w.send_commit(request);
        let current = group.as_ref().map(|group| group.generation);
        let is_member = group
            .as_ref()
            .is_some_and(|group| group.members.iter().any(|own| own.member == id));
        if generation >= Generation::ZERO && (current != Some(generation) || !is_member) {
            assert!(
                !self.w.is_parked(token),
                "commits of other generations are refused"
            );
            self.mark("stale commit");
        }
        if id.is_empty() && group.is_some_and(|group| !group.members.is_empty()) {
            assert!(
                !self.w.is_parked(token),
                "a group with members takes only theirs"
            );
        }
        self.asked.insert(token, Asked::Commit { values });
    }

    fn fetch(&mut self) {
        for index in 0..4 {
            let at = partition(1, index);
            let expected = self.acknowledged.get(&at).copied();
            assert_eq!(
                self.w.fetch(at),
                expected.unwrap_or(-1),
                "the last acknowledged commit"
            );
        }
        let all = self.random.one_in(2);
        let partitions = (!all).then(|| vec![partition(1, 0)]);
        let token = self.w.send_fetch(partitions, true);
        self.asked.insert(token, Asked::Fetch);
    }

    fn delete(&mut self) {
        let token = self.w.delete_groups(&["g"]);
        self.asked.insert(token, Asked::Delete);
    }

    fn pass(&mut self) {
        let ms = [1, 50, 100, 200, 2_000, 11_000][self.random.below(6) as usize];
        self.w.pass(ms);
    }

    fn restart(&mut self) {
        if !self.w.queue.is_empty() && self.random.one_in(2) {
            // Durable, but the coordinator dies before it knows.
            let (_, write) = self.w.queue.front().cloned().unwrap();
            self.note_durable(&write);
            self.w.finish_write(Persisted::Done);
        }
        self.mark("restart");
        self.w.replies.clear();
        self.asked.clear();
        self.instances.clear();
        self.w.restart();
        self.protocols.clear();
        self.floor = Generation::ZERO;
    }

    fn expire(&mut self) {
        if self.random.one_in(3) {
            self.w.pass(8 * 24 * 60 * 60 * 1_000);
        }
        self.w.expire();
    }

    fn finish_write(&mut self) {
        if self.w.queue.is_empty() {
            return;
        }
        let outcome = if self.random.one_in(5) {
            Persisted::Failed
        } else {
            Persisted::Done
        };
        self.finish_as(outcome);
    }

    fn finish_as(&mut self, outcome: Persisted) {
        let (_, write) = self.w.queue.front().cloned().unwrap();
        if outcome == Persisted::Done {
            self.note_durable(&write);
        } else {
            self.mark("failed write");
        }
        self.w.finish_write(outcome);
    }

    fn note_durable(&mut self, write: &GroupWrite) {
        for op in &write.ops {
            match op {
                WriteOp::PutGroup(group) => {
                    assert!(
                        group.generation >= self.stored_floor,
                        "generations never fall"
                    );
                    self.stored_floor = group.generation;
                }
                WriteOp::DeleteGroup(_) => self.stored_floor = Generation::ZERO,
                WriteOp::PutOffset(key, offset) => {
                    self.acknowledged.insert(key.partition, offset.offset.get());
                }
                WriteOp::DeleteOffset(key) => {
                    self.acknowledged.remove(&key.partition);
                }
            }
        }
    }

    /// Looks at all answers and at the generation.
    fn settle(&mut self) {
        match self.w.coordinator.describe("g") {
            None => {
                self.floor = Generation::ZERO;
                self.protocols.clear();
            }
            Some(group) => {
                assert!(group.generation >= self.floor, "a generation never falls");
                self.floor = group.generation;
            }
        }
        assert!(
            self.w.coordinator.memory_bytes() < 100_000,
            "memory is bounded"
        );
        for (token, reply) in std::mem::take(&mut self.w.replies) {
            let asked = self.asked.remove(&token).expect("answers are to requests");
            self.check(token, asked, reply);
        }
    }

    fn check(&mut self, token: u64, asked: Asked, reply: Reply) {
        match (asked, reply) {
            (Asked::Join, Reply::Join(result)) => self.check_join(token, result),
            (Asked::Sync { generation }, Reply::Sync(Ok(synced))) => {
                self.mark("synced");
                let plan = String::from_utf8(synced.assignment.to_vec()).unwrap();
                assert!(
                    plan.is_empty() || plan == generation.to_string(),
                    "of its generation"
                );
                let stored = self
                    .w
                    .store
                    .group("g")
                    .expect("durable before it is answered");
                assert_eq!(
                    stored.generation, generation,
                    "durable before it is answered"
                );
            }
            (Asked::Sync { .. }, Reply::Sync(Err(_))) => self.mark("sync refused"),
            (Asked::Commit { values }, Reply::Commit(entries)) => {
                for ((at, value), entry) in values.into_iter().zip(entries) {
                    assert_eq!(entry.partition, at);
                    if entry.result.is_ok() {
                        self.mark("committed");
                        assert_eq!(self.acknowledged.get(&at), Some(&value), "durable first");
                    }
                }
            }
            (Asked::Fetch, Reply::Fetch(Ok(entries))) => {
                for entry in entries {
                    if let Ok(Some(committed)) = entry.result {
                        let expected = self.acknowledged.get(&entry.partition);
                        assert_eq!(Some(&committed.offset.get()), expected);
                    }
                }
            }
            (Asked::Delete, Reply::DeleteGroups(entries)) => {
                if entries[0].1.is_ok() {
                    self.mark("deleted");
                    assert!(self.acknowledged.is_empty(), "offsets go with the group");
                    assert!(self.w.store.groups.is_empty());
                }
            }
            (asked, reply) => panic!("{asked:?} was answered with {reply:?}"),
        }
    }

    fn check_join(&mut self, token: u64, result: Result<JoinedGroup, JoinRefused>) {
        let instance = self.instances.remove(&token);
        match result {
            Err(refused) if refused.error == GroupError::MemberIdRequired => {
                self.pending.push(refused.member);
            }
            Err(refused) => {
                assert_ne!(refused.error, GroupError::NotCoordinator);
                self.mark("join refused");
            }
            Ok(joined) => {
                self.mark(if joined.skip_assignment {
                    "skip assignment"
                } else {
                    "joined"
                });
                let protocol = joined.protocol_name.to_string();
                let first = self.protocols.entry(joined.generation).or_insert(protocol);
                assert_eq!(
                    *first, &*joined.protocol_name,
                    "one protocol for a generation"
                );
                if !joined.members.is_empty() {
                    assert_eq!(
                        joined.leader, joined.member,
                        "only the leader sees the members"
                    );
                    let own = joined
                        .members
                        .iter()
                        .filter(|own| own.member == joined.member);
                    assert_eq!(own.count(), 1);
                    let metadata = &protocol_metadata(&joined.protocol_name);
                    assert!(joined.members.iter().all(|own| own.metadata == metadata));
                }
                self.seen.push(Seen {
                    member: joined.member,
                    instance,
                    generation: joined.generation,
                    leads: joined
                        .members
                        .into_iter()
                        .map(|member| member.member)
                        .collect(),
                });
            }
        }
    }

    /// Faults stop and time goes on: every request is answered and nobody is left.
    fn calm(&mut self) {
        for _ in 0..8 {
            while !self.w.queue.is_empty() {
                self.finish_as(Persisted::Done);
                self.settle();
            }
            self.w.pass(150_000);
            self.settle();
        }
        assert!(
            self.asked.is_empty(),
            "every request is answered: {:?}",
            self.asked
        );
        assert!(self.w.coordinator.writes.is_idle(), "nothing is under way");
        assert_eq!(
            self.w.coordinator.next_deadline(),
            None,
            "no timers are left"
        );
        let state = self.w.state();
        assert!(matches!(state, None | Some(GroupState::Empty)), "{state:?}");
        self.fetch();
        self.settle();
        self.w.now_ms += 8 * 24 * 60 * 60 * 1_000;
        self.w.expire();
        while !self.w.queue.is_empty() {
            self.finish_as(Persisted::Done);
        }
        assert_eq!(self.w.coordinator.memory_bytes(), 0, "nothing is leaked");
        assert!(self.w.store.groups.is_empty() && self.w.store.offsets.is_empty());
    }
}

fn protocol_metadata(name: &str) -> Vec<u8> {
    if name == "range" {
        b"r".to_vec()
    } else {
        b"s".to_vec()
    }
}

fn run(seeds: std::ops::Range<u64>) {
    let mut marks: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds {
        let mut model = Model::new(seed);
        for _ in 0..EVENTS {
            model.event();
        }
        model.calm();
        for (what, count) in model.marks {
            *marks.entry(what).or_insert(0) += count;
        }
    }
    // The generator reaches what it is meant to test.
    let expected = [
        "joined",
        "synced",
        "committed",
        "stale commit",
        "skip assignment",
        "deleted",
        "restart",
        "failed write",
        "left",
        "sync refused",
        "join refused",
    ];
    for what in expected {
        assert!(
            marks.get(what).is_some_and(|count| *count >= 20),
            "{what}: {marks:?}"
        );
    }
}

#[test]
fn random_sequences_keep_the_promises() {
    run(0..SEQUENCES);
}

#[test]
fn more_random_sequences_keep_the_promises() {
    run(SEQUENCES..2 * SEQUENCES);
}

#[test]
fn the_same_seed_gives_the_same_effects() {
    let trace = |seed| {
        let mut model = Model::new(seed);
        let mut trace = String::new();
        for _ in 0..EVENTS {
            model.event();
            trace += &format!("{:?} {:?}", model.w.queue, model.seen.last());
        }
        trace
    };
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed));
    }
}
