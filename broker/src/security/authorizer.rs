//! Who may do what: the rules in force, and what a connection remembers of their answers.
//!
//! [`Authorizer`] is immutable but for its rules, which the control thread replaces whole. Invariants: a shard asks it
//! without a lock and without waiting; a remembered answer holds for the version of the rules that gave it, and for no
//! other, so that a rule that goes is in force with the next request.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use security::Principal;
use security::acl::{AclBinding, AclTable, Operation, Question, ResourceType};

use crate::config::Config;

/// Topics of which a connection remembers what it may do: beyond it all are forgotten.
const TOPICS_MAX: usize = 4096;

/// The rules in force.
#[derive(Debug)]
pub struct Authorizer {
    table: ArcSwap<AclTable>,
    /// Rises with every change, after the rules have changed.
    version: AtomicU64,
    super_users: Vec<Principal>,
    /// Rules of the settings, which hold beside those that are stored.
    fixed: Vec<AclBinding>,
    /// Whether what no rule is about is allowed.
    is_open: bool,
}

impl Authorizer {
    /// One without rules, as the settings say; none where no rules are to decide.
    pub fn new(config: &Config) -> Option<Self> {
        if !config.has_authorizer() {
            return None;
        }
        let settings = &config.security;
        let named = settings.super_users.iter();
        // What is no principal has been refused with the settings.
        let named = named.filter_map(|name| Principal::parse(name).ok());
        let has_admin = settings.admin_password.is_some() || settings.admin_password_file.is_some();
        let admin = has_admin.then(|| Principal::user(&settings.admin_user));
        let this = Self {
            table: ArcSwap::default(),
            version: AtomicU64::new(1),
            super_users: named.chain(admin).collect(),
            fixed: Vec::new(),
            is_open: settings.allow_everyone_if_no_acl,
        };
        this.set_rules([]);
        Some(this)
    }

    /// With rules of the settings.
    #[must_use]
    pub fn with_fixed(mut self, rules: Vec<AclBinding>) -> Self {
        self.fixed = rules;
        self.set_rules([]);
        self
    }

    /// Replaces the rules that are stored. The control thread's.
    pub fn set_rules(&self, rules: impl IntoIterator<Item = AclBinding>) {
        let rules = self.fixed.iter().cloned().chain(rules);
        let table = AclTable::new(rules, self.super_users.clone(), self.is_open);
        self.table.store(Arc::new(table));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Which rules are in force: those of this version or later ones.
    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether it may be done.
    pub fn allows(&self, question: &Question<'_>) -> bool {
        self.table.load().allows(question)
    }

    /// Whether it may be done with some resource of a kind.
    pub fn allows_any(
        &self,
        principal: &Principal,
        host: &str,
        operation: Operation,
        resource: ResourceType,
    ) -> bool {
        self.table
            .load()
            .allows_any(principal, host, operation, resource)
    }
}

/// Operations with a topic that are known to be allowed or denied, by the bits of their codes.
#[derive(Debug, Clone, Copy, Default)]
struct Answers {
    known: u32,
    allowed: u32,
}

/// What a connection remembers of what it may do with topics. Shard-owned.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    version: Cell<u64>,
    topics: RefCell<HashMap<Box<str>, Answers, RandomState>>,
}

impl Remembered {
    /// What is remembered, or what `ask` says, which is remembered then. Takes no memory for what is remembered.
    pub(crate) fn get(
        &self,
        authorizer: &Authorizer,
        operation: Operation,
        topic: &str,
        ask: impl FnOnce() -> bool,
    ) -> bool {
        // Read before the rules are: an answer of later rules is only asked for once more.
        let version = authorizer.version();
        let mut topics = self.topics.borrow_mut();
        if self.version.replace(version) != version {
            topics.clear();
        }
        let bit = 1_u32 << operation.code();
        if let Some(answers) = topics.get(topic)
            && answers.known & bit != 0
        {
            return answers.allowed & bit != 0;
        }
        let is_allowed = ask();
        if topics.len() >= TOPICS_MAX {
            topics.clear();
        }
        let answers = topics.entry(topic.into()).or_default();
        answers.known |= bit;
        answers.allowed |= if is_allowed { bit } else { 0 };
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use security::acl::{PatternType, Permission};

    use super::*;

    fn rule(name: &str) -> AclBinding {
        AclBinding {
            resource: ResourceType::Topic,
            name: name.to_owned(),
            pattern: PatternType::Literal,
            principal: Principal::user("a"),
            host: "*".to_owned(),
            operation: Operation::Read,
            permission: Permission::Allow,
        }
    }

    fn on() -> Authorizer {
        let settings = [
            ("security.authorizer", "on"),
            ("security.super_users", "User:root"),
        ];
        Authorizer::new(&Config::with(&settings).unwrap()).unwrap()
    }

    fn may(authorizer: &Authorizer, remembered: &Remembered, topic: &str) -> bool {
        let principal = Principal::user("a");
        let ask = || {
            authorizer.allows(&Question {
                principal: &principal,
                host: "h",
                operation: Operation::Read,
                resource: ResourceType::Topic,
                name: topic,
            })
        };
        remembered.get(authorizer, Operation::Read, topic, ask)
    }

    #[test]
    fn it_is_on_where_clients_must_authenticate_or_the_settings_say_so() {
        const ROOT: (&str, &str) = ("security.super_users", "User:root");
        const ON: (&str, &str) = ("security.authorizer", "on");
        const OFF: (&str, &str) = ("security.authorizer", "off");
        let tls = [
            ("tls.cert_file", "c"),
            ("tls.key_file", "k"),
            ("tls.client_ca_file", "a"),
        ];
        let sasl = [
            ("security.sasl_mechanisms", "PLAIN"),
            ("security.admin_password", "p"),
        ];
        let with = |settings: &[&[(&str, &str)]]| Config::with(&settings.concat());
        let is_on =
            |settings: &[&[(&str, &str)]]| Authorizer::new(&with(settings).unwrap()).is_some();
        assert!(!is_on(&[]) && is_on(&[&sasl]) && !is_on(&[&sasl, &[OFF]]));
        assert!(is_on(&[&[ON, ROOT]]) && is_on(&[&tls, &[ROOT]]) && !is_on(&[&tls, &[OFF]]));
        assert!(!is_on(&[&tls, &[("tls.client_auth", "requested")]]));
        // With nobody above the rules nobody could add any.
        assert!(with(&[&[ON]]).is_err() && with(&[&tls]).is_err());
        assert!(with(&[&[ON, ("security.allow_everyone_if_no_acl", "true")]]).is_ok());
    }

    #[test]
    fn what_is_remembered_is_forgotten_when_the_rules_change() {
        let authorizer = on();
        let remembered = Remembered::default();
        assert!(!may(&authorizer, &remembered, "t"));
        authorizer.set_rules([rule("t")]);
        assert!(may(&authorizer, &remembered, "t"));
        assert!(remembered.get(&authorizer, Operation::Read, "t", || panic!(
            "it is remembered"
        )));
        assert!(!remembered.get(&authorizer, Operation::Write, "t", || false));
        authorizer.set_rules([rule("u")]);
        assert!(!may(&authorizer, &remembered, "t") && may(&authorizer, &remembered, "u"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let authorizer = on();
        let remembered = Remembered::default();
        for number in 0..TOPICS_MAX * 2 + 1 {
            assert!(!may(&authorizer, &remembered, &number.to_string()));
            assert!(remembered.topics.borrow().len() <= TOPICS_MAX);
        }
    }
}
