//! What can happen, and how it is drawn. An event names what its client knows, not what that is: so any
//! part of a sequence is a sequence, and can be played alone.

use crate::groups::*;

/// SplitMix64: small, and the same on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    /// Mostly the first.
    fn mostly<T: Clone>(&mut self, usual: T, rare: &[T]) -> T {
        if self.one_in(12) {
            self.pick(rare)
        } else {
            usual
        }
    }
}

/// Settings of one sequence.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) initial_delay_ms: u32,
    pub(super) new_member_ms: u32,
    pub(super) members_max: usize,
    pub(super) write_ops_max: usize,
    /// Salt of the member ids, whose order is not that of joining.
    pub(super) salt: u64,
}

impl Setup {
    pub(super) fn draw(random: &mut Random) -> Self {
        Self {
            initial_delay_ms: random.pick(&[0, 1, 100, 3_000]),
            new_member_ms: random.pick(&[150, 30_000, 300_000]),
            members_max: random.pick(&[2, 3, 1_000, 1_000]),
            write_ops_max: random.pick(&[1, 2, 32]),
            salt: random.next(),
        }
    }
}

/// Something that a client has learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// The latest it was told.
    Last,
    /// What it was told before that.
    Former,
    /// No id, generation -1.
    None,
    /// What nobody ever was told.
    Invented,
    /// The latest that another client was told.
    OfOther,
}

/// The `group.instance.id` that a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instance {
    None,
    /// The client's own, if it is a static member.
    Own,
    /// Another client's.
    OfOther,
}

/// Who sends a request, and as whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct As {
    pub(super) client: usize,
    pub(super) id: Known,
    pub(super) generation: Known,
    pub(super) instance: Instance,
    pub(super) group: &'static str,
}

/// What the leader hands in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plan {
    /// Something for all members that it was told of.
    All,
    /// Nobody but itself; twice.
    OwnTwice,
    /// Members and a stranger.
    WithStranger,
    Nothing,
}

#[derive(Debug, Clone)]
pub(super) struct JoinHow {
    pub(super) session_ms: i32,
    pub(super) rebalance_ms: i32,
    pub(super) kind: &'static str,
    /// Protocols, each with the number of its metadata.
    pub(super) protocols: Vec<(&'static str, u8)>,
    pub(super) id_required: bool,
    pub(super) skip_supported: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Commit {
    pub(super) topic: u8,
    pub(super) index: i32,
    pub(super) value: i64,
    pub(super) metadata: Option<&'static str>,
    pub(super) timestamp: Option<i64>,
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    Join(As, JoinHow),
    Sync(As, Plan, Option<&'static str>),
    Heartbeat(As),
    Leave(Vec<As>),
    Commit(As, Vec<Commit>, Option<i64>, bool),
    Fetch(&'static str, Option<Vec<(u8, i32)>>, bool),
    DeleteGroups(Vec<&'static str>),
    DeleteOffsets(&'static str, Vec<(u8, i32)>),
    DeleteTopic(u8),
    Expire,
    /// Time passes, millisecond by millisecond; timers run when they are due.
    Pass(u64),
    /// Time passes at once; then timers run, late.
    PassLate(u64),
    /// The oldest write has an outcome.
    Write(Persisted),
    /// The slot moves: given up in order or not, after so many writes that took effect unseen.
    Restart {
        unloads: bool,
        unseen: usize,
        members_max: usize,
    },
    /// Always fails: for the test of the shrinking.
    Fail,
}

pub(super) const CLIENTS: usize = 5;
/// The first of them are static members.
pub(super) const STATICS: usize = 2;
const GROUP: &str = "g";
const PROTOCOLS: [&str; 3] = ["range", "sticky", "zone"];

/// Outcomes that must be seen, and how often in a thousand sequences.
pub(super) const EXPECTED: &[(&str, u64)] = &[
    ("Join Ok", 1_000),
    ("Join Ok skip", 5),
    ("Join InvalidGroupId", 10),
    ("Join InvalidSessionTimeout", 50),
    ("Join MemberIdRequired", 1_000),
    ("Join UnknownMemberId", 500),
    ("Join FencedInstanceId", 100),
    ("Join InconsistentGroupProtocol", 100),
    ("Join RebalanceInProgress", 200),
    ("Join GroupMaxSizeReached", 500),
    ("Join CoordinatorNotAvailable", 20),
    ("Join NotCoordinator", 10),
    ("Join UnknownServerError", 5),
    ("Sync Ok", 500),
    ("Sync UnknownMemberId", 500),
    ("Sync FencedInstanceId", 100),
    ("Sync IllegalGeneration", 100),
    ("Sync InconsistentGroupProtocol", 3),
    ("Sync RebalanceInProgress", 200),
    ("Sync CoordinatorNotAvailable", 50),
    ("Sync NotCoordinator", 1),
    ("Heartbeat Ok", 500),
    ("Heartbeat UnknownMemberId", 500),
    ("Heartbeat FencedInstanceId", 100),
    ("Heartbeat IllegalGeneration", 100),
    ("Heartbeat RebalanceInProgress", 50),
    ("Leave Ok", 50),
    ("Leave UnknownMemberId", 200),
    ("Leave FencedInstanceId", 1),
    ("Commit Ok", 500),
    ("Commit UnknownMemberId", 200),
    ("Commit FencedInstanceId", 10),
    ("Commit IllegalGeneration", 10),
    ("Commit GroupIdNotFound", 3),
    ("Commit RebalanceInProgress", 10),
    ("Commit CoordinatorNotAvailable", 10),
    ("Commit OffsetMetadataTooLarge", 50),
    ("Commit NotCoordinator", 3),
    ("Fetch Ok", 200),
    ("DeleteGroups Ok", 10),
    ("DeleteGroups GroupIdNotFound", 20),
    ("DeleteGroups NonEmptyGroup", 20),
    ("DeleteOffsets Ok", 20),
    ("DeleteOffsets GroupSubscribedToTopic", 10),
    ("DeleteOffsets NonEmptyGroup", 1),
    ("state Empty", 1_000),
    ("state PreparingRebalance", 1_000),
    ("state CompletingRebalance", 1_000),
    ("state Stable", 1_000),
    ("state Dead", 50),
];

/// Draws the events of one sequence.
pub(super) fn sequence(random: &mut Random) -> Vec<Event> {
    let mut events = Vec::new();
    let length = 10 + random.below(50) as usize;
    while events.len() < length {
        match random.below(100) {
            0..=19 => events.push(join(random)),
            20..=34 => forward(random, &mut events),
            35..=44 => events.push(sync(random)),
            45..=52 => events.push(Event::Heartbeat(who(random))),
            53..=56 => events.push(leave(random)),
            57..=66 => events.push(commit(random)),
            67..=70 => events.push(fetch(random)),
            71 => events.push(Event::DeleteGroups(random.pick(&[
                vec!["g"],
                vec!["none", "g"],
                vec!["g", "g"],
            ]))),
            72 => events.push(Event::DeleteOffsets(group(random), partitions(random))),
            73 => events.push(random.pick(&[
                Event::Expire,
                Event::DeleteTopic(1),
                Event::DeleteTopic(2),
            ])),
            74..=85 => events.push(pass(random)),
            86 => events.push(restart(random)),
            _ => events.push(Event::Write(
                random.mostly(Persisted::Done, &[Persisted::Failed]),
            )),
        }
    }
    events
}

/// What brings a group forward: ids are taken up, members join, time passes, they sync, and the store
/// keeps up.
fn forward(random: &mut Random, events: &mut Vec<Event>) {
    let count = 1 + random.below(CLIENTS as u64) as usize;
    let first = random.pick(&[0, 0, 0, 1, 2]);
    let how = plain_join(random);
    let clients = (0..count).map(|index| plain((first + index) % CLIENTS));
    // Members that are not static have to take up an id first.
    let dynamic = clients.clone().filter(|own| own.client >= STATICS);
    events.extend(dynamic.map(|own| Event::Join(own, how.clone())));
    events.extend(clients.clone().map(|own| Event::Join(own, how.clone())));
    events.push(Event::Pass(
        random.pick(&[0, 1, 100, 300, 3_000, 10_000, 60_000]),
    ));
    events.extend(clients.clone().map(|own| Event::Sync(own, Plan::All, None)));
    let outcome = random.mostly(Persisted::Done, &[Persisted::Failed]);
    let writes = random.mostly(3, &[0, 1, 2]);
    events.extend((0..writes).map(|_| Event::Write(outcome)));
    if !random.one_in(4) {
        for _ in 0..random.below(10) {
            let client = (first + random.below(count as u64) as usize) % CLIENTS;
            events.push(work(random, client));
        }
    }
}

/// What members of a stable group do.
fn work(random: &mut Random, client: usize) -> Event {
    let own = plain(client);
    match random.below(10) {
        0..=1 => Event::Heartbeat(own),
        2..=4 => Event::Commit(own, offsets(random), None, true),
        5..=6 => {
            // A client has restarted.
            let mut how = plain_join(random);
            how.skip_supported = !random.one_in(3);
            Event::Join(
                As {
                    id: Known::None,
                    ..plain(client % STATICS)
                },
                how,
            )
        }
        7..=8 => Event::Write(Persisted::Done),
        _ => Event::Pass(random.pick(&[1, 50, 100, 3_000])),
    }
}

fn plain(client: usize) -> As {
    As {
        client,
        id: Known::Last,
        generation: Known::Last,
        instance: Instance::Own,
        group: GROUP,
    }
}

fn who(random: &mut Random) -> As {
    let others = [Known::Former, Known::None, Known::Invented, Known::OfOther];
    As {
        client: random.below(CLIENTS as u64) as usize,
        id: random.mostly(Known::Last, &others),
        generation: random.mostly(Known::Last, &others),
        instance: random.mostly(Instance::Own, &[Instance::None, Instance::OfOther]),
        group: group(random),
    }
}

fn group(random: &mut Random) -> &'static str {
    if random.one_in(3) {
        random.mostly(GROUP, &["none", ""])
    } else {
        GROUP
    }
}

fn plain_join(random: &mut Random) -> JoinHow {
    JoinHow {
        session_ms: random.pick(&[6_000, 10_000]),
        rebalance_ms: random.pick(&[10_000, 60_000]),
        kind: "consumer",
        protocols: vec![("range", 0), ("sticky", 0)],
        id_required: true,
        skip_supported: true,
    }
}

fn join(random: &mut Random) -> Event {
    let mut own = who(random);
    if random.one_in(4) {
        // It has restarted.
        own.id = Known::None;
    }
    let mut protocols = Vec::new();
    for _ in 0..random.mostly(2, &[0, 1, 3]) {
        let name = random.mostly(random_first(protocols.len()), &PROTOCOLS);
        let number = random.mostly(0, &[1, 2, 3]);
        if protocols.iter().all(|(other, _)| *other != name) {
            protocols.push((name, number));
        }
    }
    if random.one_in(4) {
        protocols.reverse();
    }
    let how = JoinHow {
        session_ms: random.mostly(random_session(random.0), &[0, 5_999, 1_800_001, -1]),
        rebalance_ms: random.pick(&[-1, 0, 50, 5_000, 10_000, 60_000]),
        kind: random.mostly("consumer", &["connect", ""]),
        protocols,
        id_required: !random.one_in(3),
        skip_supported: !random.one_in(3),
    };
    Event::Join(own, how)
}

fn random_first(index: usize) -> &'static str {
    PROTOCOLS[index % PROTOCOLS.len()]
}

fn random_session(bits: u64) -> i32 {
    [6_000, 7_000, 10_000, 30_000][(bits % 4) as usize]
}

fn sync(random: &mut Random) -> Event {
    let plan = random.mostly(
        Plan::All,
        &[Plan::OwnTwice, Plan::WithStranger, Plan::Nothing],
    );
    let protocol = random.mostly(None, &[Some("range"), Some("sticky"), Some("other")]);
    Event::Sync(who(random), plan, protocol)
}

fn leave(random: &mut Random) -> Event {
    let mut leavers = vec![who(random)];
    while random.one_in(3) {
        leavers.push(who(random));
    }
    for leaver in &mut leavers {
        if random.one_in(4) {
            // An administrator removes a static member.
            leaver.id = Known::None;
        }
    }
    Event::Leave(leavers)
}

fn commit(random: &mut Random) -> Event {
    let mut own = who(random);
    if random.one_in(4) {
        own.id = Known::None;
        own.generation = Known::None;
        own.instance = Instance::None;
    }
    let retention = random.mostly(None, &[Some(0), Some(5_000), Some(86_400_000)]);
    Event::Commit(own, offsets(random), retention, !random.one_in(4))
}

fn offsets(random: &mut Random) -> Vec<Commit> {
    let mut offsets = Vec::new();
    for _ in 0..random.mostly(1, &[0, 2, 3]) {
        offsets.push(Commit {
            topic: 1 + random.below(2) as u8,
            index: random.below(2) as i32,
            value: random.below(1_000) as i64,
            metadata: random.pick(&[
                None,
                Some(""),
                Some("note"),
                Some("too long"),
                Some("\u{1f600}"),
            ]),
            timestamp: random.mostly(None, &[Some(-1_000_000_000), Some(0)]),
        });
    }
    offsets
}

fn partitions(random: &mut Random) -> Vec<(u8, i32)> {
    let count = random.below(3);
    (0..count)
        .map(|_| (1 + random.below(2) as u8, random.below(2) as i32))
        .collect()
}

fn fetch(random: &mut Random) -> Event {
    let asked = partitions(random);
    let asked = (!random.one_in(2)).then_some(asked);
    Event::Fetch(group(random), asked, random.one_in(2))
}

fn pass(random: &mut Random) -> Event {
    let short = random.pick(&[0, 1, 2, 49, 50, 99, 100, 101, 150]);
    let long = random.pick(&[1_000, 3_000, 5_999, 6_000, 6_001, 10_000, 60_000]);
    let rare = [8 * 86_400_000, 300_000, 7 * 86_400_000 - 1];
    let ms = random.pick(&[short, short, long]);
    let ms = random.mostly(ms, &rare);
    if random.one_in(6) {
        Event::PassLate(ms)
    } else {
        Event::Pass(ms)
    }
}

fn restart(random: &mut Random) -> Event {
    Event::Restart {
        unloads: random.one_in(2),
        unseen: random.below(2) as usize,
        members_max: random.pick(&[1, 2, 1_000, 1_000]),
    }
}
