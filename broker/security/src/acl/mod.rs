//! Kafka's ACLs: who may do what with which resources, from where.
//!
//! [`AclBinding`] is one rule, [`AclFilter`] picks some of them (DescribeAcls, DeleteAcls), [`AclTable`] decides
//! (`org.apache.kafka.metadata.authorizer.StandardAuthorizer`).

mod code;
mod filter;
mod table;

pub use code::{Operation, PatternType, Permission, ResourceType};
pub use filter::{AclFilter, RawFilter};
pub use table::{AclTable, Question};

use crate::principal::{Principal, PrincipalError};

/// Any host, and the literal pattern for any name.
pub const ANY: &str = "*";
/// The only name of the resource that is the cluster.
pub const CLUSTER: &str = "kafka-cluster";
/// Bytes of a name or host at most.
pub const NAME_BYTES_MAX: usize = 1024;

/// One rule. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclBinding {
    /// Kind of resource.
    pub resource: ResourceType,
    /// Its name, or the beginning of names.
    pub name: String,
    /// Which of both.
    pub pattern: PatternType,
    /// Who; `User:*` is everybody.
    pub principal: Principal,
    /// From where: an address, or `*`.
    pub host: String,
    /// What.
    pub operation: Operation,
    /// Whether that is allowed or denied.
    pub permission: Permission,
}

/// Why a rule is refused. The texts are those of Kafka's `AclControlManager` in sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// A code that names nothing that a rule can have.
    #[error("Invalid {0} {name}", name = code_name(.0, *.1))]
    Code(&'static str, i8),
    /// The name is empty.
    #[error("Invalid empty resource name")]
    EmptyName,
    /// A name or host is longer than [`NAME_BYTES_MAX`].
    #[error("{0} bytes of a name or host; at most {NAME_BYTES_MAX} are allowed")]
    Long(usize),
    /// Another name than the cluster's.
    #[error("The only valid name for the CLUSTER resource is kafka-cluster")]
    ClusterName,
    /// The principal cannot be read.
    #[error("Could not parse principal from {0:?}: {1}")]
    Principal(String, PrincipalError),
    /// The host is empty.
    #[error("Host should not be empty")]
    EmptyHost,
}

/// What Kafka calls a code that no rule can have.
fn code_name(what: &str, code: i8) -> &'static str {
    match (what, code) {
        (_, 1) => "ANY",
        ("patternType", 2) => "MATCH",
        _ => "UNKNOWN",
    }
}

/// A rule as a request or a store brings it: codes and texts that nobody has looked at.
#[derive(Debug, Clone, Copy)]
pub struct RawBinding<'a> {
    /// Code of the resource type.
    pub resource: i8,
    /// Name.
    pub name: &'a str,
    /// Code of the pattern type.
    pub pattern: i8,
    /// `TYPE:NAME`.
    pub principal: &'a str,
    /// Host.
    pub host: &'a str,
    /// Code of the operation.
    pub operation: i8,
    /// Code of the permission.
    pub permission: i8,
}

impl RawBinding<'_> {
    /// Checks every part (`AclControlManager.validateNewAcl`).
    ///
    /// # Errors
    /// [`AclError`].
    pub fn check(&self) -> Result<AclBinding, AclError> {
        fn code<T>(found: Option<T>, what: &'static str, code: i8) -> Result<T, AclError> {
            found.ok_or(AclError::Code(what, code))
        }
        let resource = code(
            ResourceType::of_code(self.resource),
            "resourceType",
            self.resource,
        )?;
        let pattern = code(
            PatternType::of_code(self.pattern),
            "patternType",
            self.pattern,
        )?;
        let operation = code(
            Operation::of_code(self.operation),
            "operation",
            self.operation,
        )?;
        let permission = code(
            Permission::of_code(self.permission),
            "permissionType",
            self.permission,
        )?;
        for text in [self.name, self.host] {
            if text.len() > NAME_BYTES_MAX {
                return Err(AclError::Long(text.len()));
            }
        }
        if self.name.is_empty() {
            return Err(AclError::EmptyName);
        }
        if resource == ResourceType::Cluster && self.name != CLUSTER {
            return Err(AclError::ClusterName);
        }
        if self.host.is_empty() {
            return Err(AclError::EmptyHost);
        }
        let principal = Principal::parse(self.principal)
            .map_err(|error| AclError::Principal(self.principal.to_owned(), error))?;
        Ok(AclBinding {
            resource,
            name: self.name.to_owned(),
            pattern,
            principal,
            host: self.host.to_owned(),
            operation,
            permission,
        })
    }
}

#[cfg(test)]
mod tests;
