//! `acls/{type}/{pattern}/{name}/{principal}/{host}/{operation}/{permission}`: one rule of who may do what (Kafka's
//! CreateAcls). The rule is its key, so that the same rule is there once, however often it is added. Kinds are Kafka's
//! codes; name, principal and host are escaped. Whether a rule makes sense is for its readers to check.

use serde::{Deserialize, Serialize};

use super::codec::Record;
use super::space::{KeyError, Keyspace, escape, parse_exact, unescape};
use crate::kv::{Key, Span};

const FOLDER: &str = "acls/";

/// A rule, as nobody has checked it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclKey {
    /// Code of the resource type.
    pub resource: i8,
    /// Code of the pattern type.
    pub pattern: i8,
    /// Name of the resource, or its beginning.
    pub name: String,
    /// `TYPE:NAME`.
    pub principal: String,
    /// Address, or `*`.
    pub host: String,
    /// Code of the operation.
    pub operation: i8,
    /// Code of the permission.
    pub permission: i8,
}

/// What is known of a rule besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclRecord {
    /// Who added it, `TYPE:NAME`.
    pub by: String,
}

impl Record for AclRecord {
    const NAME: &'static str = "acl";
}

/// The key of a rule.
pub fn key(space: &Keyspace, of: &AclKey) -> Key {
    let [name, principal, host] = [&of.name, &of.principal, &of.host].map(|part| escape(part));
    space.key(format_args!(
        "{FOLDER}{}/{}/{name}/{principal}/{host}/{}/{}",
        of.resource, of.pattern, of.operation, of.permission
    ))
}

/// All rules.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The rule that a key is.
///
/// # Errors
/// [`KeyError`] if it is none.
pub fn parse(space: &Keyspace, key: &Key) -> Result<AclKey, KeyError> {
    let rest = space.rest(key, FOLDER, "acl")?;
    let parts: Vec<&str> = rest.split('/').collect();
    parse_parts(&parts).ok_or_else(|| KeyError {
        key: key.clone(),
        expected: "acl",
    })
}

fn parse_parts(parts: &[&str]) -> Option<AclKey> {
    let [
        resource,
        pattern,
        name,
        principal,
        host,
        operation,
        permission,
    ] = parts
    else {
        return None;
    };
    Some(AclKey {
        resource: parse_exact(resource)?,
        pattern: parse_exact(pattern)?,
        name: unescape(name)?,
        principal: unescape(principal)?,
        host: unescape(host)?,
        operation: parse_exact(operation)?,
        permission: parse_exact(permission)?,
    })
}
