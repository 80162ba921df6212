//! Which rules a DescribeAcls or DeleteAcls means (`AclBindingFilter`).

use super::{ANY, AclBinding, AclError, Operation, PatternType, Permission, ResourceType};
use crate::principal::Principal;

/// Code that matches anything.
const CODE_ANY: i8 = 1;
/// Code of the pattern type that matches every rule that is in force for a name.
const CODE_MATCH: i8 = 2;

/// How names are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameMatch {
    /// Any pattern type; the name must be the same.
    Same,
    /// This pattern type; the name must be the same.
    Typed(PatternType),
    /// Everything that decides about the name.
    InForce,
}

/// A filter; what is `None` matches anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclFilter {
    resource: Option<ResourceType>,
    name: Option<String>,
    names: NameMatch,
    principal: Option<Principal>,
    host: Option<String>,
    operation: Option<Operation>,
    permission: Option<Permission>,
}

/// A filter as a request brings it.
#[derive(Debug, Clone, Copy)]
pub struct RawFilter<'a> {
    /// Code of the resource type.
    pub resource: i8,
    /// Name.
    pub name: Option<&'a str>,
    /// Code of the pattern type.
    pub pattern: i8,
    /// `TYPE:NAME`.
    pub principal: Option<&'a str>,
    /// Host.
    pub host: Option<&'a str>,
    /// Code of the operation.
    pub operation: i8,
    /// Code of the permission.
    pub permission: i8,
}

impl AclFilter {
    /// Checks the parts of a filter.
    ///
    /// # Errors
    /// [`AclError`]: an unknown code, or a principal that cannot be read.
    pub fn of_raw(raw: &RawFilter<'_>) -> Result<Self, AclError> {
        fn code<T>(
            code: i8,
            of: impl Fn(i8) -> Option<T>,
            what: &'static str,
        ) -> Result<Option<T>, AclError> {
            match code {
                CODE_ANY => Ok(None),
                code => of(code).map(Some).ok_or(AclError::Code(what, code)),
            }
        }
        let names = match raw.pattern {
            CODE_ANY => NameMatch::Same,
            CODE_MATCH => NameMatch::InForce,
            code => PatternType::of_code(code)
                .map(NameMatch::Typed)
                .ok_or(AclError::Code("patternType", code))?,
        };
        let principal = raw.principal.map(|text| {
            Principal::parse(text).map_err(|error| AclError::Principal(text.to_owned(), error))
        });
        Ok(Self {
            resource: code(raw.resource, ResourceType::of_code, "resourceType")?,
            name: raw.name.map(str::to_owned),
            names,
            principal: principal.transpose()?,
            host: raw.host.map(str::to_owned),
            operation: code(raw.operation, Operation::of_code, "operation")?,
            permission: code(raw.permission, Permission::of_code, "permissionType")?,
        })
    }

    /// Whether a rule is meant.
    pub fn matches(&self, acl: &AclBinding) -> bool {
        fn fits<T: PartialEq>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        fits(self.resource.as_ref(), &acl.resource)
            && self.fits_name(acl)
            && fits(self.principal.as_ref(), &acl.principal)
            && fits(self.host.as_ref(), &acl.host)
            && fits(self.operation.as_ref(), &acl.operation)
            && fits(self.permission.as_ref(), &acl.permission)
    }

    fn fits_name(&self, acl: &AclBinding) -> bool {
        let typed = match self.names {
            NameMatch::Typed(pattern) => acl.pattern == pattern,
            NameMatch::Same | NameMatch::InForce => true,
        };
        let Some(name) = &self.name else {
            return typed;
        };
        let in_force = || match acl.pattern {
            PatternType::Literal => acl.name == *name || acl.name == ANY,
            PatternType::Prefixed => name.starts_with(&acl.name),
        };
        match self.names {
            NameMatch::InForce => in_force(),
            NameMatch::Same | NameMatch::Typed(_) => typed && acl.name == *name,
        }
    }
}
