//! DescribeUserScramCredentials (key 50), version 0 (KIP-554).
//!
//! As a Kafka broker where nobody has SCRAM credentials: none for all users, RESOURCE_NOT_FOUND for a user that is
//! named, DUPLICATE_RESOURCE for one that is named twice.

use std::collections::BTreeMap;

use wire::messages::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 0 };

pub(crate) async fn handle(
    cx: &RequestContext,
    request: DescribeUserScramCredentialsRequest<'_>,
) -> Reply {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for user in request.users.iter().flatten() {
        *counts.entry(user.name).or_default() += 1;
    }
    let found: Vec<(&str, ErrorCode, String)> = counts
        .into_iter()
        .map(|(user, count)| match count {
            1 => {
                let text = "Attempt to describe a user credential that does not exist: ";
                (user, ErrorCode::RESOURCE_NOT_FOUND, format!("{text}{user}"))
            }
            _ => {
                let text = "Cannot describe SCRAM credentials for the same user twice in a single request: ";
                (user, ErrorCode::DUPLICATE_RESOURCE, format!("{text}{user}"))
            }
        })
        .collect();
    let results = found.iter().map(|(user, error_code, text)| {
        cx.failed(*error_code);
        DescribeUserScramCredentialsResult {
            user,
            error_code: *error_code,
            error_message: Some(text),
            credential_infos: Vec::new(),
        }
    });
    cx.reply(&DescribeUserScramCredentialsResponse {
        results: results.collect(),
        ..DescribeUserScramCredentialsResponse::default()
    })
}
