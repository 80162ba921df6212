//! All rules, arranged so that a question looks at those for its name alone.
//!
//! Immutable shared: a change makes a new table. Order of the rules does not matter: one that denies wins.

use std::collections::{BTreeSet, HashMap};

use super::{ANY, AclBinding, Operation, PatternType, Permission, ResourceType};
use crate::principal::Principal;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// From where, as text.
    pub host: &'a str,
    /// What.
    pub operation: Operation,
    /// With what kind of resource.
    pub resource: ResourceType,
    /// Its name.
    pub name: &'a str,
}

/// The part of a rule that is not its resource.
#[derive(Debug)]
struct Entry {
    principal: Principal,
    host: String,
    operation: Operation,
    permission: Permission,
}

impl Entry {
    fn is_for(&self, principal: &Principal, host: &str) -> bool {
        self.principal.covers(principal) && (self.host == ANY || self.host == host)
    }
}

/// An address as hosts of clients are written, whichever way a rule writes it.
fn canonical(host: String) -> String {
    let address = host.parse::<std::net::IpAddr>();
    address.map_or(host, |address| address.to_canonical().to_string())
}

/// Rules of one kind of resource.
#[derive(Debug, Default)]
struct OfType {
    literal: HashMap<Box<str>, Vec<Entry>>,
    prefixed: HashMap<Box<str>, Vec<Entry>>,
    /// Lengths of the prefixes in bytes, so that few are looked up.
    lengths: BTreeSet<usize>,
}

impl OfType {
    /// All entries whose pattern fits the name.
    fn entries<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        let any = self.literal.get(ANY).filter(|_| name != ANY);
        let same = self.literal.get(name);
        let prefixes = self.lengths.range(..=name.len());
        let prefixes = prefixes.filter_map(move |length| self.prefixed.get(name.get(..*length)?));
        any.into_iter().chain(same).chain(prefixes).flatten()
    }
}

/// All rules and the super users.
#[derive(Debug, Default)]
pub struct AclTable {
    by_type: HashMap<ResourceType, OfType>,
    super_users: Vec<Principal>,
    /// `allow.everyone.if.no.acl.found`.
    open: bool,
}

impl AclTable {
    /// A table of these rules. `open`: what no rule is about is allowed
    /// (`allow.everyone.if.no.acl.found`, false by default).
    pub fn new(
        bindings: impl IntoIterator<Item = AclBinding>,
        super_users: Vec<Principal>,
        open: bool,
    ) -> Self {
        let mut by_type: HashMap<ResourceType, OfType> = HashMap::new();
        for binding in bindings {
            let of_type = by_type.entry(binding.resource).or_default();
            let entry = Entry {
                principal: binding.principal,
                host: canonical(binding.host),
                operation: binding.operation,
                permission: binding.permission,
            };
            let named = match binding.pattern {
                PatternType::Literal => &mut of_type.literal,
                PatternType::Prefixed => {
                    of_type.lengths.insert(binding.name.len());
                    &mut of_type.prefixed
                }
            };
            named.entry(binding.name.into()).or_default().push(entry);
        }
        Self {
            by_type,
            super_users,
            open,
        }
    }

    /// Whether it may be done: super users may everything; one rule that denies is enough; else one that allows is
    /// needed (`StandardAuthorizerData.authorize`).
    pub fn allows(&self, question: &Question<'_>) -> bool {
        if self.is_super(question.principal) {
            return true;
        }
        let Some(of_type) = self.by_type.get(&question.resource) else {
            return self.open;
        };
        let (mut found, mut allowed) = (false, false);
        for entry in of_type.entries(question.name) {
            found = true;
            if !entry.is_for(question.principal, question.host) {
                continue;
            }
            match entry.permission {
                Permission::Deny => {
                    let all = entry.operation == Operation::All;
                    if all || entry.operation == question.operation {
                        return false;
                    }
                }
                Permission::Allow => allowed |= entry.operation.implies(question.operation),
            }
        }
        allowed || (!found && self.open)
    }

    /// Whether it may be done with any resource of a kind (`Authorizer.authorizeByResourceType`): some rule allows it
    /// for names that no rule denies as a whole.
    pub fn allows_any(
        &self,
        principal: &Principal,
        host: &str,
        operation: Operation,
        resource: ResourceType,
    ) -> bool {
        if self.is_super(principal) {
            return true;
        }
        let Some(of_type) = self.by_type.get(&resource) else {
            return self.open;
        };
        let applies = |entries: &[Entry], permission| {
            entries.iter().any(|entry| {
                entry.permission == permission
                    && entry.is_for(principal, host)
                    && (entry.operation == operation || entry.operation == Operation::All)
            })
        };
        let denied = |entries: &Vec<Entry>| applies(entries, Permission::Deny);
        if of_type.literal.get(ANY).is_some_and(denied) {
            return false;
        }
        let under_denied_prefix = |name: &str| {
            let prefixes = of_type.lengths.range(..=name.len());
            let mut prefixes =
                prefixes.filter_map(|length| of_type.prefixed.get(name.get(..*length)?));
            prefixes.any(denied)
        };
        let by_name = of_type.literal.iter().any(|(name, entries)| {
            applies(entries, Permission::Allow)
                && !denied(entries)
                && (&**name == ANY || !under_denied_prefix(name))
        });
        let by_prefix = of_type.prefixed.iter().any(|(prefix, entries)| {
            applies(entries, Permission::Allow) && !under_denied_prefix(prefix)
        });
        by_name || by_prefix || self.open
    }

    fn is_super(&self, principal: &Principal) -> bool {
        self.super_users.contains(principal)
    }
}
