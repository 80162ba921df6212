//! Principals: who is asked for when something is to be allowed (`org.apache.kafka.common.security.auth.KafkaPrincipal`).

use std::fmt;
use std::sync::Arc;

/// The type of every principal that a listener makes.
pub const USER: &str = "User";
/// The name of a client that has not said who it is.
pub const ANONYMOUS: &str = "ANONYMOUS";
/// Any name, in an ACL.
pub const ANY: &str = "*";
/// Bytes of type and name together at most: it is stored in ACLs and said in audit lines.
pub const PRINCIPAL_BYTES_MAX: usize = 1024;

/// A kind of identity and its name, as `User:alice`. Immutable, shared; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    kind: Arc<str>,
    name: Arc<str>,
}

/// Why a text names no principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalError {
    /// There is no colon.
    #[error("{0:?} is no principal: write TYPE:NAME, as in User:alice")]
    Shape(String),
    /// It is longer than [`PRINCIPAL_BYTES_MAX`].
    #[error("a principal has {0} bytes; at most {PRINCIPAL_BYTES_MAX} are allowed")]
    Long(usize),
}

impl Principal {
    /// `User:name`.
    pub fn user(name: &str) -> Self {
        Self {
            kind: USER.into(),
            name: name.into(),
        }
    }

    /// A client that has not said who it is.
    pub fn anonymous() -> Self {
        Self::user(ANONYMOUS)
    }

    /// Reads `TYPE:NAME`; the name may hold colons (`SecurityUtils.parseKafkaPrincipal`).
    ///
    /// # Errors
    /// [`PrincipalError`].
    pub fn parse(text: &str) -> Result<Self, PrincipalError> {
        if text.len() > PRINCIPAL_BYTES_MAX {
            return Err(PrincipalError::Long(text.len()));
        }
        match text.split_once(':') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(Self {
                kind: kind.into(),
                name: name.into(),
            }),
            _ => Err(PrincipalError::Shape(text.to_owned())),
        }
    }

    /// Its type, mostly `User`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name, shared.
    pub fn shared_name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// Whether an ACL for `self` is for `other` too: the same, or any name of its type.
    pub fn covers(&self, other: &Self) -> bool {
        self.kind == other.kind && (&*self.name == ANY || self.name == other.name)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_colons() {
        let found = Principal::parse("User:a:b").unwrap();
        assert_eq!((found.kind(), found.name()), ("User", "a:b"));
        assert_eq!(found.to_string(), "User:a:b");
        for bad in ["", "alice", ":alice", "User:"] {
            assert!(Principal::parse(bad).is_err(), "{bad}");
        }
        assert!(Principal::parse(&format!("User:{}", "x".repeat(1020))).is_err());
    }

    #[test]
    fn any_name_covers_its_type_only() {
        let any = Principal::user(ANY);
        assert!(any.covers(&Principal::user("alice")));
        assert!(!any.covers(&Principal::parse("Group:alice").unwrap()));
        assert!(!Principal::user("alice").covers(&Principal::user("bob")));
    }
}
