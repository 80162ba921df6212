//! Adding and removing rules of who may do what.
//!
//! A rule is its key: to add it twice, or to remove it twice, is the same as once. So nothing that was read guards these,
//! only that our session lives; after an unknown outcome the same is simply sent again.

use segment::SessionId;

use super::session_lives;
use crate::keys::acl::{self, AclKey, AclRecord};
use crate::keys::codec::encode;
use crate::keys::space::Keyspace;
use crate::kv::{KvLimits, Op, Txn};
use crate::rules::Rule;

/// Rules of one transaction at most.
pub const ACLS_MAX: usize = 32;

const _: () = assert!(
    ACLS_MAX <= KvLimits::ETCD.operations_max,
    "etcd takes all rules of a transaction"
);

fn by(space: &Keyspace, writer: SessionId) -> Txn {
    Txn::new().rule(Rule::WriterLives, session_lives(space, writer))
}

/// Adds rules.
///
/// # Panics
/// They are more than [`ACLS_MAX`]: the caller's mistake.
pub fn put_acls(space: &Keyspace, writer: SessionId, rules: &[AclKey], record: &AclRecord) -> Txn {
    assert!(
        rules.len() <= ACLS_MAX,
        "rules of one transaction are bounded"
    );
    let put = |txn: Txn, rule| txn.and_then(Op::put(acl::key(space, rule), encode(record)));
    rules.iter().fold(by(space, writer), put)
}

/// Removes rules.
///
/// # Panics
/// They are more than [`ACLS_MAX`]: the caller's mistake.
pub fn delete_acls(space: &Keyspace, writer: SessionId, rules: &[AclKey]) -> Txn {
    assert!(
        rules.len() <= ACLS_MAX,
        "rules of one transaction are bounded"
    );
    let delete = |txn: Txn, rule| txn.and_then(Op::Delete(acl::key(space, rule)));
    rules.iter().fold(by(space, writer), delete)
}
