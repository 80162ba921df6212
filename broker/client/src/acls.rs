//! Rules of who may do what: Kafka's ACLs.

use security::Principal;
use security::acl::{AclBinding, Operation, Permission, RawBinding, ResourceType};
use wire::messages::create_acls::AclCreation;
use wire::messages::delete_acls::DeleteAclsFilter;
use wire::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};

use crate::error::ClientError;
use crate::router::Client;

/// Code that matches anything.
const ANY: i8 = 1;

/// How names of rules are compared with one that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameQuery {
    /// The rule has this name, or this beginning.
    Same,
    /// The rule decides about this name.
    InForce,
}

/// Which rules are meant; what is `None` matches anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclQuery {
    /// Kind of resource.
    pub resource: Option<ResourceType>,
    /// Its name.
    pub name: Option<String>,
    /// How that is compared.
    pub names: NameQuery,
    /// Whose rules.
    pub principal: Option<Principal>,
    /// From where.
    pub host: Option<String>,
    /// To do what.
    pub operation: Option<Operation>,
    /// Whether they allow or deny.
    pub permission: Option<Permission>,
}

impl Default for AclQuery {
    fn default() -> Self {
        Self {
            resource: None,
            name: None,
            names: NameQuery::Same,
            principal: None,
            host: None,
            operation: None,
            permission: None,
        }
    }
}

impl AclQuery {
    fn pattern(&self) -> i8 {
        match self.names {
            NameQuery::Same => ANY,
            NameQuery::InForce => 2,
        }
    }
}

impl Client {
    /// The rules that are meant, as one broker has been told of them.
    ///
    /// # Errors
    /// The broker refuses, for example because no rules decide there.
    pub fn acls(&mut self, query: &AclQuery) -> Result<Vec<AclBinding>, ClientError> {
        let principal = query.principal.as_ref().map(ToString::to_string);
        let request = DescribeAclsRequest {
            resource_type_filter: query.resource.map_or(ANY, ResourceType::code),
            resource_name_filter: query.name.as_deref(),
            pattern_type_filter: query.pattern(),
            principal_filter: principal.as_deref(),
            host_filter: query.host.as_deref(),
            operation: query.operation.map_or(ANY, Operation::code),
            permission_type: query.permission.map_or(ANY, Permission::code),
        };
        let reply = self.call_any(&request)?;
        let response = reply.decode()?;
        let operation = || "list ACLs".to_owned();
        ClientError::check(operation, response.error_code, response.error_message)?;
        let mut found = Vec::new();
        for resource in &response.resources {
            for acl in &resource.acls {
                found.push(binding(&RawBinding {
                    resource: resource.resource_type,
                    name: resource.resource_name,
                    pattern: resource.pattern_type,
                    principal: acl.principal,
                    host: acl.host,
                    operation: acl.operation,
                    permission: acl.permission_type,
                })?);
            }
        }
        Ok(found)
    }

    /// Adds rules; those that are there already are no error.
    ///
    /// # Errors
    /// The broker refuses one: others may have been added.
    pub fn create_acls(&mut self, rules: &[AclBinding]) -> Result<(), ClientError> {
        let principals: Vec<String> = rules.iter().map(|it| it.principal.to_string()).collect();
        let creations = rules
            .iter()
            .zip(&principals)
            .map(|(rule, principal)| AclCreation {
                resource_type: rule.resource.code(),
                resource_name: &rule.name,
                resource_pattern_type: rule.pattern.code(),
                principal,
                host: &rule.host,
                operation: rule.operation.code(),
                permission_type: rule.permission.code(),
            });
        let request = CreateAclsRequest {
            creations: creations.collect(),
        };
        let reply = self.call_any(&request)?;
        reply.decode()?.results.iter().try_for_each(|result| {
            let operation = || "add ACLs".to_owned();
            ClientError::check(operation, result.error_code, result.error_message)
        })
    }

    /// Removes the rules that are meant; gives them.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn delete_acls(&mut self, queries: &[AclQuery]) -> Result<Vec<AclBinding>, ClientError> {
        let principals: Vec<Option<String>> = queries
            .iter()
            .map(|query| query.principal.as_ref().map(ToString::to_string))
            .collect();
        let filters = queries
            .iter()
            .zip(&principals)
            .map(|(query, principal)| DeleteAclsFilter {
                resource_type_filter: query.resource.map_or(ANY, ResourceType::code),
                resource_name_filter: query.name.as_deref(),
                pattern_type_filter: query.pattern(),
                principal_filter: principal.as_deref(),
                host_filter: query.host.as_deref(),
                operation: query.operation.map_or(ANY, Operation::code),
                permission_type: query.permission.map_or(ANY, Permission::code),
            });
        let request = DeleteAclsRequest {
            filters: filters.collect(),
        };
        let reply = self.call_any(&request)?;
        let response = reply.decode()?;
        let mut removed = Vec::new();
        for result in &response.filter_results {
            let operation = || "remove ACLs".to_owned();
            ClientError::check(operation, result.error_code, result.error_message)?;
            for acl in &result.matching_acls {
                ClientError::check(operation, acl.error_code, acl.error_message)?;
                removed.push(binding(&RawBinding {
                    resource: acl.resource_type,
                    name: acl.resource_name,
                    pattern: acl.pattern_type,
                    principal: acl.principal,
                    host: acl.host,
                    operation: acl.operation,
                    permission: acl.permission_type,
                })?);
            }
        }
        Ok(removed)
    }
}

fn binding(raw: &RawBinding<'_>) -> Result<AclBinding, ClientError> {
    let unknown = |error| {
        ClientError::Usage(format!(
            "the broker names an ACL that is not known here: {error}"
        ))
    };
    raw.check().map_err(unknown)
}
