//! Faults: the rules in force, what they mean for a request, and the gates.
//!
//! The fate of a request is drawn once, when its head arrives: rules are asked in the order in
//! which they were added, and a rule that an earlier one makes pointless is not used up.

mod gate;
mod pacer;
mod reply;
mod rule;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

pub use self::gate::{LONGEST_HOLD, MAX_WAITING};
pub(crate) use self::pacer::{PIECE, Pacer};
pub(crate) use self::reply::{error_reply, into_reply};
pub use self::rule::{ErrorCode, Fault, MAX_DELAY_MS, Rule, RuleError};
use crate::operation::Target;

/// Rules in force at most.
pub const MAX_RULES: usize = 1000;

/// Names a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(u64);

impl std::str::FromStr for RuleId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A rule and what it has done.
#[derive(Debug, Clone, Serialize)]
pub struct RuleState {
    /// Its name.
    pub id: RuleId,
    /// The rule.
    pub rule: Rule,
    /// Requests that it was about.
    pub matched: u64,
    /// Requests that it hit.
    pub fired: u64,
}

/// Handle on the rules and gates; clones share them.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    next: u64,
    rules: BTreeMap<RuleId, Active>,
    gates: gate::Gates,
    random: StdRng,
}

#[derive(Debug)]
struct Active {
    state: RuleState,
    ends: Option<Instant>,
    pacer: Option<Arc<Pacer>>,
}

/// What befalls one request.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) before: Vec<Step>,
    pub(crate) after: Vec<Step>,
    pub(crate) pacers: Vec<Arc<Pacer>>,
    pub(crate) truncate: Option<Truncate>,
    pub(crate) stale: Option<Duration>,
    /// How far ahead the server's clock is, in seconds.
    pub(crate) clock_ahead: i64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Truncate {
    pub(crate) keep_bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Wait(Duration),
    Hold(String),
    Reply {
        code: ErrorCode,
        retry_after_seconds: Option<u32>,
    },
    Reset,
}

impl Step {
    fn ends_the_request(&self) -> bool {
        matches!(self, Self::Reply { .. } | Self::Reset)
    }
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let (rules, gates) = (BTreeMap::new(), gate::Gates::default());
        Self(Arc::new(Mutex::new(Table {
            next: 1,
            rules,
            gates,
            random,
        })))
    }

    /// Puts a rule in force.
    ///
    /// # Errors
    /// [`RuleError`] for numbers out of range and above [`MAX_RULES`] rules.
    pub fn add(&self, rule: Rule) -> Result<RuleId, RuleError> {
        rule.check()?;
        let mut table = self.lock();
        if table.rules.len() >= MAX_RULES {
            return Err(RuleError::TooMany(table.rules.len()));
        }
        let id = RuleId(table.next);
        table.next += 1;
        let ends = rule
            .for_ms
            .and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
        let pacer = match rule.fault {
            Fault::Bandwidth { bytes_per_second } => Some(Arc::new(Pacer::new(bytes_per_second))),
            _ => None,
        };
        let state = RuleState {
            id,
            rule,
            matched: 0,
            fired: 0,
        };
        table.rules.insert(id, Active { state, ends, pacer });
        Ok(id)
    }

    /// Ends a rule; says whether it was there. Requests that wait at its gate go on waiting.
    pub fn remove(&self, id: RuleId) -> bool {
        self.lock().rules.remove(&id).is_some()
    }

    /// Ends all rules and lets all through that wait at gates.
    pub fn clear(&self) {
        let mut table = self.lock();
        table.rules.clear();
        table.gates.release_all();
    }

    /// All rules that were added and not removed, those used up among them.
    #[must_use]
    pub fn list(&self) -> Vec<RuleState> {
        self.lock()
            .rules
            .values()
            .map(|active| active.state.clone())
            .collect()
    }

    /// How many requests a rule has hit; 0 for one that is not there.
    #[must_use]
    pub fn fired(&self, id: RuleId) -> u64 {
        self.lock()
            .rules
            .get(&id)
            .map_or(0, |active| active.state.fired)
    }

    /// Lets all through that wait at `gate` now; says how many.
    pub fn release(&self, gate: &str) -> usize {
        self.release_next(gate, usize::MAX)
    }

    /// Lets the first `count` through that wait at `gate`; says how many.
    pub fn release_next(&self, gate: &str, count: usize) -> usize {
        self.lock().gates.release(gate, count)
    }

    /// Requests that wait at `gate`.
    #[must_use]
    pub fn waiting(&self, gate: &str) -> usize {
        self.lock().gates.waiting(gate)
    }

    /// Requests that wait, by gate.
    #[must_use]
    pub fn gates(&self) -> BTreeMap<String, usize> {
        self.lock().gates.all()
    }

    /// Blocks the thread until at least `count` requests wait at `gate`, at most `within`; says
    /// whether they do.
    #[must_use]
    pub fn wait_for_waiting(&self, gate: &str, count: usize, within: Duration) -> bool {
        let until = Instant::now() + within;
        while self.waiting(gate) < count {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Waits until the gate is released; false if it is full or the wait was too long.
    pub(crate) async fn pass_gate(&self, gate: &str) -> bool {
        let entered = self.lock().gates.enter(gate);
        let Some(released) = entered else {
            return false;
        };
        matches!(
            tokio::time::timeout(LONGEST_HOLD, released).await,
            Ok(Ok(()))
        )
    }

    /// Draws the fate of a request.
    pub(crate) fn plan(&self, target: &Target) -> Plan {
        let mut table = self.lock();
        let Table { rules, random, .. } = &mut *table;
        let now = Instant::now();
        let mut plan = Plan::default();
        for before in [true, false] {
            for active in rules.values_mut() {
                if is_before(&active.state.rule.fault) == before && plan.is_open(before) {
                    active.befall(target, now, random, &mut plan);
                }
            }
            if !plan.is_open(true) {
                break;
            }
        }
        plan
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn is_open(&self, before: bool) -> bool {
        let steps = if before { &self.before } else { &self.after };
        !steps.last().is_some_and(Step::ends_the_request)
    }
}

impl Active {
    fn befall(&mut self, target: &Target, now: Instant, random: &mut StdRng, plan: &mut Plan) {
        let RuleState {
            rule,
            matched,
            fired,
            ..
        } = &mut self.state;
        let over = self.ends.is_some_and(|ends| now >= ends);
        let used_up = rule.count.is_some_and(|count| *fired >= count);
        if over || used_up || !rule.matches(target) {
            return;
        }
        *matched += 1;
        if *matched <= rule.skip || !random.random_bool(rule.probability) {
            return;
        }
        *fired += 1;
        match &rule.fault {
            Fault::Error {
                code,
                retry_after_seconds,
            } => {
                let retry_after_seconds = *retry_after_seconds;
                plan.before.push(Step::Reply {
                    code: *code,
                    retry_after_seconds,
                });
            }
            Fault::ErrorAfter {
                code,
                retry_after_seconds,
            } => {
                let retry_after_seconds = *retry_after_seconds;
                plan.after.push(Step::Reply {
                    code: *code,
                    retry_after_seconds,
                });
            }
            Fault::Delay { lo_ms, hi_ms } => plan.before.push(wait(*lo_ms, *hi_ms, random)),
            Fault::DelayAfter { lo_ms, hi_ms } => plan.after.push(wait(*lo_ms, *hi_ms, random)),
            Fault::Reset => plan.before.push(Step::Reset),
            Fault::ResetAfter => plan.after.push(Step::Reset),
            Fault::Truncate { keep_bytes } => {
                plan.truncate = Some(Truncate {
                    keep_bytes: *keep_bytes,
                });
            }
            Fault::Bandwidth { .. } => plan.pacers.extend(self.pacer.clone()),
            Fault::StaleList { age_ms } => plan.stale = Some(Duration::from_millis(*age_ms)),
            Fault::Hold { gate } => plan.before.push(Step::Hold(gate.clone())),
            Fault::HoldAfter { gate } => plan.after.push(Step::Hold(gate.clone())),
            Fault::ClockSkew { seconds } => plan.clock_ahead = *seconds,
        }
    }
}

/// Whether a fault is one that comes before the effect.
fn is_before(fault: &Fault) -> bool {
    !matches!(
        fault,
        Fault::ErrorAfter { .. }
            | Fault::DelayAfter { .. }
            | Fault::ResetAfter
            | Fault::HoldAfter { .. }
            | Fault::Truncate { .. }
    )
}

fn wait(lo_ms: u64, hi_ms: Option<u64>, random: &mut StdRng) -> Step {
    let hi_ms = hi_ms.unwrap_or(lo_ms);
    Step::Wait(Duration::from_millis(random.random_range(lo_ms..=hi_ms)))
}
