use proptest::prelude::*;

use super::track::{PATIENCE_MAX, RELAPSE};
use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const CRITICAL: Duration = ms(2_000);

fn health() -> Health {
    Health::new(HealthConfig {
        window: at(60),
        latency: (ms(500), CRITICAL),
        errors: (0.01, 0.05),
    })
}

/// How a store meets a request that is sent to it now.
#[derive(Clone, Copy)]
enum Meets {
    Answers(Duration),
    Fails(Duration),
    Hangs,
}

const WELL: Meets = Meets::Answers(ms(20));
const REFUSES: Meets = Meets::Fails(ms(2));

struct Sent {
    id: RequestId,
    ends: Option<(Duration, End)>,
    /// A probe is given up then.
    limit: Option<Duration>,
}

/// A store, its health, and probes as the watch sends them, in virtual time.
struct World {
    health: Health,
    now: Duration,
    next_look: Duration,
    sent: Vec<Sent>,
    probes: usize,
    /// Every state that it turned to.
    turns: Vec<(Duration, HealthState)>,
}

impl World {
    fn new() -> Self {
        Self {
            health: health(),
            now: Duration::ZERO,
            next_look: Duration::ZERO,
            sent: Vec::new(),
            probes: 0,
            turns: Vec::new(),
        }
    }

    fn send(&mut self, kind: RequestKind, meets: Meets, limit: Option<Duration>) {
        let id = self.health.begin(self.now, kind, 0);
        let ends = match meets {
            Meets::Answers(after) => Some((self.now + after, End::Answered)),
            Meets::Fails(after) => Some((self.now + after, End::Failed)),
            Meets::Hangs => None,
        };
        let limit = limit.map(|limit| self.now + limit);
        self.sent.push(Sent { id, ends, limit });
    }

    /// Lets time pass; `traffic` sends a write every so often while the store is not unavailable.
    fn pass(
        &mut self,
        time: Duration,
        traffic: Option<Duration>,
        meets: impl Fn(Duration) -> Meets,
    ) {
        let (end, mut next_write) = (self.now + time, self.now);
        while self.now < end {
            for sent in std::mem::take(&mut self.sent) {
                let ends = match (sent.ends, sent.limit) {
                    (Some((at, end)), _) if at <= self.now => Some(end),
                    (_, Some(limit)) if limit <= self.now => Some(End::GivenUp),
                    _ => None,
                };
                match ends {
                    Some(end) => self.health.end(self.now, sent.id, end, 0),
                    None => self.sent.push(sent),
                }
            }
            if self.now >= self.next_look {
                self.look(meets(self.now));
            }
            let is_open = self.health.state().0 < HealthState::Unavailable;
            if let Some(every) = traffic.filter(|_| self.now >= next_write && is_open) {
                next_write = self.now + every;
                self.send(RequestKind::Write, meets(self.now), None);
            }
            self.now += ms(10);
        }
    }

    fn look(&mut self, meets: Meets) {
        if let Some(state) = self.health.step(self.now) {
            self.turns.push((self.now, state));
        }
        let pause = ms(500);
        for kind in [RequestKind::Read, RequestKind::Write] {
            if self.health.wants_probe(self.now, kind, pause) {
                self.probes += 1;
                self.send(kind, meets, Some(CRITICAL));
            }
        }
        self.next_look = self.now + pause;
    }

    fn state(&self) -> HealthState {
        self.health.state().0
    }

    /// Times at which it was unavailable no longer.
    fn returns(&self) -> Vec<Duration> {
        let pairs = self.turns.windows(2);
        let returns = pairs.filter(|pair| pair[0].1 == HealthState::Unavailable);
        returns.map(|pair| pair[1].0).collect()
    }
}

#[test]
fn while_all_is_well_nothing_is_sent_for_its_answer_alone() {
    let mut world = World::new();
    world.pass(at(600), None, |_| WELL);
    world.pass(at(60), Some(ms(100)), |_| WELL);
    world.pass(at(600), None, |_| Meets::Hangs);
    assert_eq!((world.probes, world.turns.len()), (0, 0));
}

#[test]
fn one_error_on_a_quiet_broker_is_no_outage() {
    let mut world = World::new();
    world.send(RequestKind::Write, REFUSES, None);
    world.pass(at(120), None, |_| WELL);
    assert!(world.turns.is_empty(), "{:?}", world.turns);
    assert!(
        (1..=15).contains(&world.probes),
        "it is looked into: {}",
        world.probes
    );
}

#[test]
fn a_slow_store_is_degraded_and_a_very_slow_one_unavailable() {
    for (latency, expected) in [
        (300, HealthState::Healthy),
        (600, HealthState::Degraded),
        (1_500, HealthState::Degraded),
        (2_500, HealthState::Unavailable),
        (3_000, HealthState::Unavailable),
    ] {
        let mut world = World::new();
        world.pass(at(60), Some(ms(50)), |_| WELL);
        for second in 1..=60 {
            world.pass(at(1), Some(ms(50)), |_| Meets::Answers(ms(latency)));
            let is_due = ms(latency) + at(3) <= at(second);
            assert!(
                !is_due || world.state() == expected,
                "{latency} ms after {second} s"
            );
        }
        assert!(
            world.turns.len() <= 1,
            "it does not waver: {:?}",
            world.turns
        );
    }
}

#[test]
fn a_request_that_hangs_is_slow_from_the_critical_latency_on_once() {
    let mut health = health();
    let hanging = health.begin(at(0), RequestKind::Write, 0);
    health.step(ms(1_999));
    assert_eq!(health.window().samples, 0);
    for now in (2_000..15_000).step_by(100) {
        health.step(ms(now));
    }
    let seen = health.window();
    assert_eq!((seen.samples, seen.errors, seen.mean()), (1, 0, CRITICAL));
    health.end(ms(15_000), hanging, End::Failed, 0);
    let seen = health.window();
    assert_eq!(
        (seen.samples, seen.errors),
        (1, 1),
        "it failed, and counts once"
    );
    // An answer adds nothing; what is given up early says nothing, what is given up late was slow.
    let late = health.begin(at(20), RequestKind::Write, 0);
    health.step(at(23));
    health.end(at(24), late, End::Answered, 0);
    let early = health.begin(at(30), RequestKind::Write, 0);
    health.end(at(31), early, End::GivenUp, 0);
    assert_eq!(health.window().samples, 2);
    let late = health.begin(at(32), RequestKind::Write, 0);
    health.end(at(34), late, End::GivenUp, 0);
    assert_eq!((health.window().samples, health.window().errors), (3, 1));
}

#[test]
fn large_messages_on_a_slow_line_are_no_outage() {
    let mut health = health();
    let (bytes, takes) = (100 << 20, at(10));
    for n in 0..60 {
        let (write, read) = (RequestKind::Write, RequestKind::Read);
        let write = health.begin(at(n * 10), write, bytes);
        // How much a read brings may be known only when it ends.
        let read = health.begin(at(n * 10), read, 0);
        health.end(at(n * 10) + ms(1_900), read, End::Answered, 16 << 20);
        for second in 0..10 {
            assert_eq!(health.step(at(n * 10 + second)), None);
        }
        health.end(at(n * 10) + takes, write, End::Answered, 0);
    }
    let hangs = health.begin(at(600), RequestKind::Write, bytes);
    let overdue = at(600) + transfer_time(bytes) + CRITICAL;
    health.step(overdue - ms(1));
    let before = health.window().samples;
    health.step(overdue);
    assert_eq!(health.window().samples, before + 1, "it hangs in the end");
    health.end(at(700), hangs, End::Failed, 0);
}

#[test]
fn hanging_writes_are_seen_before_they_end() {
    let mut world = World::new();
    world.pass(at(60), Some(ms(100)), |_| WELL);
    let from = world.now;
    world.pass(at(10), Some(ms(100)), |_| Meets::Hangs);
    let (when, state) = world.turns[0];
    assert_eq!(state, HealthState::Unavailable, "without a way by Degraded");
    assert!(when - from <= CRITICAL + at(1), "{:?}", when - from);
}

#[test]
fn a_quiet_broker_finds_out_that_the_store_hangs() {
    let mut world = World::new();
    world.pass(at(60), Some(at(10)), |_| WELL);
    let from = world.now;
    world.send(RequestKind::Write, Meets::Hangs, None);
    world.pass(at(20), None, |_| Meets::Hangs);
    let unavailable = |(_, state): &&_| *state == HealthState::Unavailable;
    let (when, _) = world.turns.iter().find(unavailable).unwrap();
    assert!(*when - from <= at(8), "{:?}", *when - from);
}

#[test]
fn fast_reads_do_not_hide_writes_that_fail() {
    let mut health = health();
    for n in 0..3_000 {
        let now = ms(n * 10);
        let read = health.begin(now, RequestKind::Read, 0);
        health.end(now + ms(5), read, End::Answered, 0);
        if n % 100 == 0 {
            let write = health.begin(now, RequestKind::Write, 0);
            health.end(now + ms(5), write, End::Failed, 0);
        }
        health.step(now + ms(5));
    }
    assert_eq!(health.state().0, HealthState::Unavailable);
}

#[test]
fn after_a_burst_of_failures_it_returns_within_two_seconds() {
    for seconds in [2, 5, 60, 600] {
        let mut world = World::new();
        world.pass(at(60), Some(ms(20)), |_| WELL);
        world.pass(at(seconds), Some(ms(20)), |_| REFUSES);
        assert_eq!(
            world.state(),
            HealthState::Unavailable,
            "{seconds} s of failures"
        );
        let well_from = world.now;
        world.pass(at(60), Some(ms(20)), |_| WELL);
        let states: Vec<_> = world.turns.iter().map(|(_, state)| *state).collect();
        let expected = [
            HealthState::Unavailable,
            HealthState::Degraded,
            HealthState::Healthy,
        ];
        assert_eq!(states, expected, "after {seconds} s of failures");
        let returned = world.turns[1].0 - well_from;
        assert!(returned <= at(2), "after {seconds} s: {returned:?}");
        assert!(world.turns[2].0 - well_from <= at(6));
    }
}

#[test]
fn what_hung_and_ends_late_does_not_bring_the_outage_back() {
    let mut world = World::new();
    world.pass(at(10), Some(ms(20)), |_| WELL);
    world.pass(at(4), Some(ms(20)), |_| Meets::Fails(at(15)));
    assert_eq!(world.state(), HealthState::Unavailable);
    world.pass(at(60), Some(ms(20)), |_| WELL);
    assert_eq!(world.returns().len(), 1, "{:?}", world.turns);
    assert_eq!(world.state(), HealthState::Healthy);
}

/// The worst store: well as long as it is unavailable, and failing as soon as it is trusted.
#[test]
fn a_store_that_fails_whenever_it_is_trusted_is_trusted_ever_more_rarely() {
    let mut world = World::new();
    world.pass(at(1), Some(ms(20)), |_| WELL);
    let hour = at(3_600);
    while world.now < hour {
        let meets = match world.state() {
            HealthState::Unavailable => WELL,
            HealthState::Degraded | HealthState::Healthy => REFUSES,
        };
        world.pass(ms(100), Some(ms(20)), |_| meets);
    }
    let pauses: Vec<Duration> = world
        .returns()
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    let longest = at(1) * PATIENCE_MAX;
    assert!(
        pauses.iter().skip(5).all(|pause| *pause >= longest),
        "{pauses:?}"
    );
    assert!(world.returns().len() as u64 <= hour.as_secs() / longest.as_secs() + 7);
    // Once it is well it returns after that time at most, and is forgiven after a while.
    let well_from = world.now;
    world.pass(longest * (RELAPSE + 1), Some(ms(20)), |_| WELL);
    assert_eq!(world.state(), HealthState::Healthy);
    assert!(*world.returns().last().unwrap() - well_from <= longest + at(1));
    world.pass(at(5), Some(ms(20)), |_| REFUSES);
    let well_from = world.now;
    world.pass(at(5), Some(ms(20)), |_| WELL);
    assert!(*world.returns().last().unwrap() - well_from <= at(2));
}

#[test]
fn one_failure_in_ten_makes_it_unavailable_and_it_stays_so_mostly() {
    let mut world = World::new();
    world.pass(at(60), Some(ms(20)), |_| WELL);
    let fails = |now: Duration| match now.as_millis() / 10 % 97 % 10 {
        0 => REFUSES,
        _ => WELL,
    };
    world.pass(at(600), Some(ms(20)), fails);
    let returns = world.returns().len();
    assert!(returns <= 20, "{returns} times in ten minutes");
}

proptest! {
    /// Whatever it has seen: a store that is well makes it healthy, and it turns better one step at
    /// a time.
    #[test]
    fn good_answers_always_make_it_healthy(
        past in proptest::collection::vec((0_u8..4, 0_u64..4_000), 0..100),
    ) {
        let mut world = World::new();
        for (what, time) in past {
            let meets = match what {
                0 => WELL,
                1 => REFUSES,
                2 => Meets::Answers(ms(time)),
                _ => Meets::Hangs,
            };
            world.pass(ms(time), Some(ms(50)), |_| meets);
        }
        let well_from = world.now;
        world.pass(at(40), Some(ms(50)), |_| WELL);
        prop_assert_eq!(world.state(), HealthState::Healthy, "{:?}", world.turns);
        for pair in world.turns.windows(2) {
            let is_jump = (pair[0].1, pair[1].1) == (HealthState::Unavailable, HealthState::Healthy);
            prop_assert!(!is_jump, "{:?}", world.turns);
        }
        // The first time it returns at once.
        if let [_, .., (when, HealthState::Healthy)] = world.turns.as_slice()
            && world.returns().len() == 1
            && *when > well_from
        {
            prop_assert!(*when - well_from <= at(8), "{:?}", world.turns);
        }
    }
}
