//! DescribeUserScramCredentials (key 50), version 0 (KIP-554).
//!
//! - Mechanisms and iterations of users, of all where none is named; never a salt or a key. RESOURCE_NOT_FOUND for a
//!   user that is named and has none, DUPLICATE_RESOURCE for one that is named twice.
//! - Needs DESCRIBE on the cluster: CLUSTER_AUTHORIZATION_FAILED.
//! - The administrator of the settings is not stored, and not told of.

use std::collections::BTreeMap;

use security::acl::Operation;
use security::scram::Verifier;
use wire::messages::describe_user_scram_credentials::{
    CredentialInfo, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};
use wire::{ErrorCode, VersionRange};

use super::create_topics::Refusal;
use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 0 };

/// What is stored of one user.
type Found<'a> = Result<&'a Vec<&'a Verifier>, Refusal>;

pub(crate) async fn handle(
    cx: &RequestContext,
    request: DescribeUserScramCredentialsRequest<'_>,
) -> Reply {
    if let Err((error_code, text)) = cx.authorize_cluster(Operation::Describe) {
        cx.failed(error_code);
        return cx.reply(&DescribeUserScramCredentialsResponse {
            error_code,
            error_message: Some(text),
            ..DescribeUserScramCredentialsResponse::default()
        });
    }
    let credentials = cx.shard.shared.security.credentials();
    let stored = credentials.users();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for user in request.users.iter().flatten() {
        *counts.entry(user.name).or_default() += 1;
    }
    if counts.is_empty() {
        counts = stored.keys().map(|user| (*user, 1)).collect();
    }
    let found: Vec<(&str, Found<'_>)> = counts
        .into_iter()
        .map(|(user, count)| (user, find(user, count, &stored)))
        .collect();
    let results = found.iter().map(|(user, found)| match found {
        Ok(verifiers) => DescribeUserScramCredentialsResult {
            user,
            credential_infos: verifiers.iter().map(|it| info(it)).collect(),
            ..DescribeUserScramCredentialsResult::default()
        },
        Err((error_code, text)) => {
            cx.failed(*error_code);
            DescribeUserScramCredentialsResult {
                user,
                error_code: *error_code,
                error_message: Some(text),
                credential_infos: Vec::new(),
            }
        }
    });
    cx.reply(&DescribeUserScramCredentialsResponse {
        results: results.collect(),
        ..DescribeUserScramCredentialsResponse::default()
    })
}

fn find<'a>(user: &str, count: usize, stored: &'a BTreeMap<&str, Vec<&'a Verifier>>) -> Found<'a> {
    if count > 1 {
        let text =
            "Cannot describe SCRAM credentials for the same user twice in a single request: ";
        return Err((ErrorCode::DUPLICATE_RESOURCE, format!("{text}{user}")));
    }
    stored.get(user).ok_or_else(|| {
        let text = "Attempt to describe a user credential that does not exist: ";
        (ErrorCode::RESOURCE_NOT_FOUND, format!("{text}{user}"))
    })
}

fn info(verifier: &Verifier) -> CredentialInfo {
    CredentialInfo {
        mechanism: verifier.hash().code(),
        iterations: i32::try_from(verifier.iterations()).unwrap_or(i32::MAX),
    }
}
