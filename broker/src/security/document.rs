//! Rules as the original KafScale writes them, in one JSON document (`KAFSCALE_ACL_JSON`, `KAFSCALE_ACL_FILE`), as ACLs.
//!
//! They are read once, at start, and hold beside the rules that are stored; nobody can change them over the wire.
//!
//! **Names are users.** The original takes the client id for the principal, which every client chooses for itself: whoever
//! knew the name had its rights. Here a name in the document is that of a user, who has shown who it is (`User:name`),
//! and a client id grants nothing. The document therefore needs an authorizer, and with it clients that authenticate.
//!
//! What an action means is what the original asks for it:
//!
//! | action | resource | ACL operations |
//! |---|---|---|
//! | `produce` | `topic` | Write |
//! | `fetch` | `topic` | Read, DescribeConfigs |
//! | `group_read` | `group` | Describe |
//! | `group_write` | `group` | Read |
//! | `group_admin` | `group` | Delete |
//! | `admin` | `cluster` | Create, AlterConfigs and DescribeConfigs of the cluster; Alter, AlterConfigs and Delete of all topics |
//!
//! `*` as action or resource means all of them, but never the right to change rules and users (Alter of the cluster),
//! which the original does not have. Denials win, as there; `default_policy: allow` allows all of the table to everybody.

use std::path::PathBuf;

use security::Principal;
use security::acl::{
    ANY, AclBinding, CLUSTER, NAME_BYTES_MAX, Operation, PatternType, Permission, ResourceType,
};
use serde::Deserialize;

/// Bytes of a document at most.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Rules of a document at most, as ACLs.
const RULES_MAX: usize = 10_000;

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file cannot be read.
    #[error("read security.acl_file {path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is too long.
    #[error("the rules have {0} bytes or more, {DOCUMENT_BYTES_MAX} are taken")]
    Long(usize),
    /// It is no such document.
    #[error(
        "the rules are not of the form {{\"principals\":[{{\"name\":…,\"allow\":[{{\"action\":…,\"resource\":…,\"name\":…}}]}}]}}: {0}"
    )]
    Form(#[from] serde_json::Error),
    /// The default is neither of both.
    #[error("default_policy is {0:?}: it is allow or deny")]
    Default(String),
    /// A name is empty or too long.
    #[error(
        "a principal or resource has an empty name, or one of more than {NAME_BYTES_MAX} bytes"
    )]
    Name,
    /// A rule that no request meets.
    #[error(
        "no request asks for action {action:?} on resource {resource:?}: produce and fetch are of topic, group_read, \
         group_write and group_admin of group, admin of cluster; * is all of them"
    )]
    Meaning {
        /// The action.
        action: String,
        /// The resource.
        resource: String,
    },
    /// Too many rules.
    #[error("the rules are more than {RULES_MAX} ACLs")]
    Many,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    default_policy: Option<String>,
    #[serde(default)]
    principals: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    allow: Vec<Rule>,
    #[serde(default)]
    deny: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    action: String,
    resource: String,
    name: String,
}

fn yes() -> bool {
    true
}

/// What an action asks for, of the resources that the rule names or of all topics.
struct Meaning {
    action: &'static str,
    resource: &'static str,
    named: (ResourceType, &'static [Operation]),
    all_topics: &'static [Operation],
}

const MEANINGS: [Meaning; 6] = [
    Meaning {
        action: "produce",
        resource: "topic",
        named: (ResourceType::Topic, &[Operation::Write]),
        all_topics: &[],
    },
    Meaning {
        action: "fetch",
        resource: "topic",
        named: (
            ResourceType::Topic,
            &[Operation::Read, Operation::DescribeConfigs],
        ),
        all_topics: &[],
    },
    Meaning {
        action: "group_read",
        resource: "group",
        named: (ResourceType::Group, &[Operation::Describe]),
        all_topics: &[],
    },
    Meaning {
        action: "group_write",
        resource: "group",
        named: (ResourceType::Group, &[Operation::Read]),
        all_topics: &[],
    },
    Meaning {
        action: "group_admin",
        resource: "group",
        named: (ResourceType::Group, &[Operation::Delete]),
        all_topics: &[],
    },
    Meaning {
        action: "admin",
        resource: "cluster",
        named: (
            ResourceType::Cluster,
            &[
                Operation::Create,
                Operation::AlterConfigs,
                Operation::DescribeConfigs,
            ],
        ),
        all_topics: &[Operation::Alter, Operation::AlterConfigs, Operation::Delete],
    },
];

/// Reads a document.
///
/// # Errors
/// [`DocumentError`]: a broker whose rules cannot be read does not start.
pub fn parse(text: &str) -> Result<Vec<AclBinding>, DocumentError> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::Long(text.len()));
    }
    let document: Document = serde_json::from_str(text)?;
    let mut rules = Vec::new();
    for entry in &document.principals {
        let principal = principal(&entry.name)?;
        for (permission, given) in [
            (Permission::Allow, &entry.allow),
            (Permission::Deny, &entry.deny),
        ] {
            for rule in given {
                expand(&principal, permission, rule, &mut rules)?;
            }
        }
    }
    match document.default_policy.as_deref() {
        None | Some("deny") => {}
        Some("allow") => {
            let any = || ANY.to_owned();
            let all = Rule {
                action: any(),
                resource: any(),
                name: any(),
            };
            expand(&Principal::user(ANY), Permission::Allow, &all, &mut rules)?;
        }
        Some(other) => return Err(DocumentError::Default(other.to_owned())),
    }
    if !document.enabled {
        // Read all the same: what is switched on later is right already.
        rules.clear();
    }
    Ok(rules)
}

/// Reads a document from a file.
///
/// # Errors
/// [`DocumentError`].
pub fn read(path: &std::path::Path) -> Result<Vec<AclBinding>, DocumentError> {
    let failed = |source| DocumentError::File {
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::Long(bytes));
    }
    parse(&std::fs::read_to_string(path).map_err(failed)?)
}

/// A user, everybody (`*`), or whoever has not shown who it is (`anonymous`).
fn principal(name: &str) -> Result<Principal, DocumentError> {
    match name {
        "anonymous" => Ok(Principal::anonymous()),
        name => Ok(Principal::user(checked(name)?)),
    }
}

fn checked(name: &str) -> Result<&str, DocumentError> {
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    fits.then_some(name).ok_or(DocumentError::Name)
}

fn expand(
    principal: &Principal,
    permission: Permission,
    rule: &Rule,
    rules: &mut Vec<AclBinding>,
) -> Result<(), DocumentError> {
    let meets = |own: &str, stated: &str| stated == ANY || stated == own;
    let mut is_met = false;
    for meaning in &MEANINGS {
        if !meets(meaning.action, &rule.action) || !meets(meaning.resource, &rule.resource) {
            continue;
        }
        is_met = true;
        let (resource, operations) = meaning.named;
        let (name, pattern) = pattern(resource, checked(&rule.name)?);
        let named = operations
            .iter()
            .map(|operation| (resource, name, pattern, *operation));
        let topics = meaning.all_topics.iter();
        let topics =
            topics.map(|operation| (ResourceType::Topic, ANY, PatternType::Literal, *operation));
        rules.extend(
            named
                .chain(topics)
                .map(|(resource, name, pattern, operation)| AclBinding {
                    resource,
                    name: name.to_owned(),
                    pattern,
                    principal: principal.clone(),
                    host: ANY.to_owned(),
                    operation,
                    permission,
                }),
        );
    }
    if !is_met {
        let (action, resource) = (rule.action.clone(), rule.resource.clone());
        return Err(DocumentError::Meaning { action, resource });
    }
    (rules.len() <= RULES_MAX)
        .then_some(())
        .ok_or(DocumentError::Many)
}

/// A name, all names (`*`), or the beginning of names (`orders-*`).
fn pattern(resource: ResourceType, name: &str) -> (&str, PatternType) {
    match name.strip_suffix('*') {
        _ if resource == ResourceType::Cluster => (CLUSTER, PatternType::Literal),
        None | Some("") => (name, PatternType::Literal),
        Some(beginning) => (beginning, PatternType::Prefixed),
    }
}

#[cfg(test)]
mod tests {
    use security::acl::{AclTable, Question};

    use super::*;

    fn table(text: &str) -> AclTable {
        AclTable::new(parse(text).unwrap(), Vec::new(), false)
    }

    fn may(
        table: &AclTable,
        user: &str,
        operation: Operation,
        resource: ResourceType,
        name: &str,
    ) -> bool {
        table.allows(&Question {
            principal: &Principal::user(user),
            host: "10.0.0.1",
            operation,
            resource,
            name,
        })
    }

    const RULES: &str = r#"{"enabled": true, "default_policy": "deny", "principals": [
        {"name": "app", "allow": [
            {"action": "produce", "resource": "topic", "name": "orders-*"},
            {"action": "fetch", "resource": "topic", "name": "*"},
            {"action": "group_write", "resource": "group", "name": "g"}],
         "deny": [{"action": "fetch", "resource": "topic", "name": "secret"}]},
        {"name": "ops", "allow": [{"action": "*", "resource": "*", "name": "*"}]}]}"#;

    #[test]
    fn the_originals_rules_mean_what_they_did() {
        use Operation::{Alter, Create, Delete, Describe, Read, Write};
        use ResourceType::{Cluster, Group, Topic};
        let table = table(RULES);
        assert!(may(&table, "app", Write, Topic, "orders-1"));
        assert!(!may(&table, "app", Write, Topic, "order"));
        assert!(may(&table, "app", Read, Topic, "any"));
        assert!(!may(&table, "app", Read, Topic, "secret"), "denials win");
        assert!(may(&table, "app", Read, Group, "g") && !may(&table, "app", Delete, Group, "g"));
        assert!(!may(&table, "app", Create, Cluster, CLUSTER));
        for (operation, resource, name) in [
            (Write, Topic, "t"),
            (Delete, Topic, "t"),
            (Delete, Group, "g"),
            (Describe, Group, "g"),
            (Create, Cluster, CLUSTER),
        ] {
            assert!(
                may(&table, "ops", operation, resource, name),
                "{operation:?}"
            );
        }
        assert!(
            !may(&table, "ops", Alter, Cluster, CLUSTER),
            "rules and users are not its"
        );
        assert!(!may(&table, "other", Read, Topic, "any"));
    }

    #[test]
    fn the_default_holds_for_everybody_that_no_denial_is_about() {
        use Operation::{Alter, Read};
        use ResourceType::{Cluster, Topic};
        let open = r#"{"default_policy": "allow", "principals": [
            {"name": "app", "deny": [{"action": "fetch", "resource": "topic", "name": "t"}]}]}"#;
        let table = table(open);
        assert!(!may(&table, "app", Read, Topic, "t") && may(&table, "app", Read, Topic, "u"));
        assert!(may(&table, "stranger", Read, Topic, "t"));
        assert!(!may(&table, "stranger", Alter, Cluster, CLUSTER));
    }

    #[test]
    fn without_a_default_what_is_not_allowed_is_denied() {
        use Operation::Read;
        use ResourceType::Topic;
        for text in [
            "{}",
            r#"{"default_policy": "deny"}"#,
            r#"{"principals": [{"name": "app", "allow": [
                {"action": "fetch", "resource": "topic", "name": "t"}]}]}"#,
        ] {
            let table = table(text);
            assert!(!may(&table, "stranger", Read, Topic, "t"), "{text}");
            assert!(!may(&table, "app", Read, Topic, "u"), "{text}");
        }
    }

    #[test]
    fn rules_that_are_switched_off_are_checked_and_not_taken() {
        let off = RULES.replace("\"enabled\": true", "\"enabled\": false");
        assert_eq!(parse(&off).unwrap(), []);
        assert!(parse("{\"enabled\": false, \"principals\": 1}").is_err());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let rule = |action: &str, resource: &str, name: &str| {
            format!(
                "{{\"principals\":[{{\"name\":\"a\",\"allow\":[{{\"action\":\"{action}\",\
                 \"resource\":\"{resource}\",\"name\":\"{name}\"}}]}}]}}"
            )
        };
        for (action, resource) in [
            ("produce", "group"),
            ("admin", "topic"),
            ("write", "topic"),
            ("fetch", "topics"),
        ] {
            let refused = parse(&rule(action, resource, "x"));
            assert!(
                matches!(refused, Err(DocumentError::Meaning { .. })),
                "{action} {resource}"
            );
        }
        assert!(matches!(
            parse(&rule("fetch", "topic", "")),
            Err(DocumentError::Name)
        ));
        assert!(matches!(
            parse("{\"default_policy\":\"open\"}"),
            Err(DocumentError::Default(_))
        ));
        assert!(
            matches!(parse("{\"principal\":[]}"), Err(DocumentError::Form(_))),
            "a typing error"
        );
        assert!(matches!(
            parse(&" ".repeat(DOCUMENT_BYTES_MAX + 1)),
            Err(DocumentError::Long(_))
        ));
    }
}
