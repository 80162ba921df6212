//! Which faults to inject where: rules drawn from a seed, and a script.

use std::time::Duration;

/// Rates are parts of this.
pub const PER_MILLION: u32 = 1_000_000;

/// An operation of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// PUT.
    Put,
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// LIST.
    List,
    /// DELETE: each key of a batch draws for itself.
    Delete,
}

/// One fault. A refusal that an operation does not know is told as Unavailable; damage and stale
/// lists strike only the operations that they name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Unavailable before the request took effect.
    ErrorBefore,
    /// The request takes effect, its reply is lost: Unavailable with `outcome_unknown`.
    ErrorAfter,
    /// As `ErrorBefore`, but told as a timeout: `outcome_unknown` although nothing happened.
    UnknownBefore,
    /// Waits this long before the request takes effect (a late PUT).
    DelayBefore(Duration),
    /// Waits this long between the effect and the reply.
    DelayAfter(Duration),
    /// Never takes effect and never answers: the caller must give up on it.
    HangBefore,
    /// Takes effect and never answers.
    HangAfter,
    /// 503 SlowDown; nothing happened.
    Throttled,
    /// No space; nothing happened.
    Full,
    /// 409; nothing happened.
    Conflict,
    /// A permanent refusal; nothing happened.
    Denied,
    /// GET answers fewer bytes than asked for; PUT stores fewer, unless the body states a CRC-32:
    /// then it is refused as corrupt.
    Truncate,
    /// One bit of what GET answers or of what PUT stores is flipped; a body that states a CRC-32
    /// is refused as corrupt.
    FlipBit,
    /// PUT ignores its condition, as behind a gateway that drops the header.
    IgnoreCondition,
    /// LIST leaves out each of the last so many keys created through this wrapper with a chance of
    /// one half.
    StaleList(usize),
}

/// A fault that is drawn at each call that it matches.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Only this operation; `None` = all.
    pub operation: Option<Operation>,
    /// Only keys (or LIST prefixes) that begin with this text.
    pub prefix: String,
    /// Chance of the fault at each matching call, in parts per million.
    pub rate_ppm: u32,
    /// Inject at most so often.
    pub times_max: u64,
    /// What happens.
    pub fault: Fault,
}

impl Rule {
    /// The fault at each call, on any key, without a bound.
    pub fn always(operation: Operation, fault: Fault) -> Self {
        let prefix = String::new();
        Self {
            operation: Some(operation),
            prefix,
            rate_ppm: PER_MILLION,
            times_max: u64::MAX,
            fault,
        }
    }

    /// Only at this rate, in parts per million.
    #[must_use]
    pub fn rate_ppm(mut self, rate_ppm: u32) -> Self {
        self.rate_ppm = rate_ppm;
        self
    }

    /// Only on keys that begin with this text.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// At most so often.
    #[must_use]
    pub fn times(mut self, times_max: u64) -> Self {
        self.times_max = times_max;
        self
    }

    fn matches(&self, operation: Operation, key: &str) -> bool {
        self.operation.is_none_or(|own| own == operation) && key.starts_with(&self.prefix)
    }
}

/// A scripted fault: hits one matching call, after `skip` of them went by.
#[derive(Debug, Clone)]
pub struct Scripted {
    /// The operation.
    pub operation: Operation,
    /// Only keys (or LIST prefixes) that begin with this text.
    pub prefix: String,
    /// Matching calls to leave alone first.
    pub skip: u64,
    /// What happens.
    pub fault: Fault,
}

/// The rules, the script and the random numbers of a faulty store.
#[derive(Debug)]
pub(super) struct Plan {
    rules: Vec<Rule>,
    script: Vec<Scripted>,
    random: Random,
    pub(super) injected: u64,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rules: Vec::new(),
            script: Vec::new(),
            random: Random(seed),
            injected: 0,
        }
    }

    pub(super) fn add_rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(super) fn add_scripted(&mut self, scripted: Scripted) {
        self.script.push(scripted);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
        self.script.clear();
    }

    pub(super) fn random(&mut self) -> u64 {
        self.random.next()
    }

    /// The faults of one call, in order of the script and then of the rules.
    pub(super) fn draw(&mut self, operation: Operation, key: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.script.retain_mut(|scripted| {
            if scripted.operation != operation || !key.starts_with(&scripted.prefix) {
                return true;
            }
            if scripted.skip > 0 {
                scripted.skip -= 1;
                return true;
            }
            faults.push(scripted.fault.clone());
            false
        });
        for rule in self
            .rules
            .iter_mut()
            .filter(|rule| rule.matches(operation, key))
        {
            // Drawn even when used up, so that one rule's bound does not shift the others' luck.
            let hit = self.random.next() % u64::from(PER_MILLION) < u64::from(rule.rate_ppm);
            if hit && rule.times_max > 0 {
                rule.times_max -= 1;
                faults.push(rule.fault.clone());
            }
        }
        self.injected += faults.len() as u64;
        faults
    }
}

/// SplitMix64: small, seeded, the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
