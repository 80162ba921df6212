//! AlterUserScramCredentials (key 51), version 0 (KIP-554).
//!
//! - Sets and removes what is stored of the passwords of users; one outcome a user, whatever is asked of it, as in
//!   Kafka: where one of its changes is refused, none is made. In force on every broker once its watch has told of it,
//!   on this one when this is answered.
//! - UNACCEPTABLE_CREDENTIAL for an empty name, iterations outside 4,096 to 16,384, or a salt or password of a wrong
//!   length, UNSUPPORTED_SASL_MECHANISM for an unknown mechanism, DUPLICATE_RESOURCE for a user and mechanism that are
//!   named twice, RESOURCE_NOT_FOUND for one to remove that is not there. REQUEST_TIMED_OUT where the metadata store
//!   cannot be reached: the change may have been made. The administrator of the settings is refused with
//!   UNACCEPTABLE_CREDENTIAL: its password is changed in the settings.
//! - Needs ALTER on the cluster: CLUSTER_AUTHORIZATION_FAILED for each user.
//! - A change ends no connection: who is connected stays so until it must authenticate again.

use std::collections::{BTreeMap, HashSet};

use security::acl::Operation;
use security::scram::{ScramHash, Verifier};
use wire::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    AlterUserScramCredentialsResult, ScramCredentialUpsertion,
};
use wire::{ErrorCode, VersionRange};

use super::create_topics::{Refusal, timed_out};
use super::{Reply, RequestContext, alter_configs, error};
use crate::control::{ControlMsg, CredentialChange, UsersMsg};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 0 };
/// Characters of a user's name at most.
const NAME_CHARS_MAX: usize = 255;

pub(crate) async fn handle(
    cx: &RequestContext,
    request: AlterUserScramCredentialsRequest<'_>,
) -> Reply {
    let mut checked = check(&request, &|user| cx.shard.shared.security.is_admin(user));
    if let Err((code, text)) = cx.authorize_cluster(Operation::Alter) {
        let denied = checked.values_mut();
        denied.for_each(|checked| *checked = Err((code, text.to_owned())));
    }
    let changes = checked.values().filter_map(|it| it.as_ref().ok().cloned());
    let changes: Vec<Vec<CredentialChange>> = changes.collect();
    let control = &cx.shard.shared.control;
    let asked = control.ask(|reply| ControlMsg::Users(UsersMsg::Alter(changes, reply)));
    let altered = cx.shard.at_most(alter_configs::WAIT, asked).await;
    let mut altered = altered.and_then(Result::ok).map(Vec::into_iter);
    let outcomes: Vec<(&str, Result<(), Refusal>)> = checked
        .into_iter()
        .map(|(user, checked)| {
            let outcome = checked.and_then(|_| match altered.as_mut().and_then(Iterator::next) {
                Some(outcome) => {
                    outcome.map_err(|error| (error::user_code(&error), error.to_string()))
                }
                None => Err(timed_out()),
            });
            (user, outcome)
        })
        .collect();
    let results = outcomes.iter().map(|(user, outcome)| {
        let (error_code, error_message) = alter_configs::outcome_fields(cx, outcome);
        AlterUserScramCredentialsResult {
            user,
            error_code,
            error_message,
        }
    });
    cx.reply(&AlterUserScramCredentialsResponse {
        results: results.collect(),
        ..AlterUserScramCredentialsResponse::default()
    })
}

type Checked<'a> = BTreeMap<&'a str, Result<Vec<CredentialChange>, Refusal>>;

/// What is asked of each user, or the first reason to refuse it.
fn check<'a>(
    request: &AlterUserScramCredentialsRequest<'a>,
    is_admin: &dyn Fn(&str) -> bool,
) -> Checked<'a> {
    let mut users: Checked<'a> = BTreeMap::new();
    let mut seen = HashSet::new();
    let deletions = request.deletions.iter();
    let deletions = deletions.map(|it| (it.name, it.mechanism, None));
    let upsertions = request.upsertions.iter();
    let upsertions = upsertions.map(|it| (it.name, it.mechanism, Some(it)));
    for (user, mechanism, upsertion) in deletions.chain(upsertions) {
        let change = if !seen.insert((user, mechanism)) {
            let text = "A user credential cannot be altered twice in the same request";
            Err((ErrorCode::DUPLICATE_RESOURCE, text.to_owned()))
        } else if is_admin(user) {
            let text = "the password of the administrator is in the settings of the brokers";
            Err(unacceptable(text))
        } else {
            change(user, mechanism, upsertion)
        };
        let of_user = users.entry(user).or_insert_with(|| Ok(Vec::new()));
        match (of_user, change) {
            (Ok(changes), Ok(change)) => changes.push(change),
            (of_user @ Ok(_), Err(refusal)) => *of_user = Err(refusal),
            (Err(_), _) => {}
        }
    }
    users
}

fn unacceptable(text: impl Into<String>) -> Refusal {
    (ErrorCode::UNACCEPTABLE_CREDENTIAL, text.into())
}

fn change(
    user: &str,
    mechanism: i8,
    upsertion: Option<&ScramCredentialUpsertion<'_>>,
) -> Result<CredentialChange, Refusal> {
    if user.is_empty() {
        return Err(unacceptable("Username must not be empty"));
    }
    if user.chars().count() > NAME_CHARS_MAX || user.chars().any(char::is_control) {
        return Err(unacceptable(
            "Username is too long, or has control characters",
        ));
    }
    let hash = ScramHash::of_code(mechanism).ok_or_else(|| {
        (
            ErrorCode::UNSUPPORTED_SASL_MECHANISM,
            "Unknown SCRAM mechanism".to_owned(),
        )
    })?;
    let verifier = upsertion.map(|it| {
        let iterations = i64::from(it.iterations);
        Verifier::of_salted(hash, it.salted_password, it.salt, iterations)
            .map_err(|error| unacceptable(error.to_string()))
    });
    Ok(CredentialChange {
        user: user.to_owned(),
        hash,
        verifier: verifier.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use wire::messages::alter_user_scram_credentials::ScramCredentialDeletion;

    use super::*;

    fn set(
        name: &'static str,
        mechanism: i8,
        iterations: i32,
    ) -> ScramCredentialUpsertion<'static> {
        ScramCredentialUpsertion {
            name,
            mechanism,
            iterations,
            salt: b"salt",
            salted_password: &[7; 32],
        }
    }

    fn outcome(request: &AlterUserScramCredentialsRequest<'static>, user: &str) -> ErrorCode {
        let checked = check(request, &|user| user == "root");
        let of_user = checked[user].as_ref();
        of_user.err().map_or(ErrorCode::NONE, |(code, _)| *code)
    }

    #[test]
    fn what_is_asked_of_a_user_is_done_whole_or_not_at_all() {
        let request = AlterUserScramCredentialsRequest {
            deletions: vec![
                ScramCredentialDeletion {
                    name: "a",
                    mechanism: 2,
                },
                ScramCredentialDeletion {
                    name: "c",
                    mechanism: 1,
                },
                ScramCredentialDeletion {
                    name: "d",
                    mechanism: 3,
                },
            ],
            upsertions: vec![
                set("a", 1, 4096),
                set("b", 1, 4095),
                set("c", 1, 4096),
                set("e", 2, 4096),
                set("", 1, 4096),
                set("root", 1, 4096),
                set("f", 1, 16_385),
            ],
        };
        assert_eq!(outcome(&request, "a"), ErrorCode::NONE);
        let checked = check(&request, &|_| false);
        assert_eq!(checked["a"].as_ref().map(Vec::len), Ok(2));
        assert_eq!(outcome(&request, "b"), ErrorCode::UNACCEPTABLE_CREDENTIAL);
        assert_eq!(outcome(&request, "c"), ErrorCode::DUPLICATE_RESOURCE);
        assert_eq!(
            outcome(&request, "d"),
            ErrorCode::UNSUPPORTED_SASL_MECHANISM
        );
        let length = outcome(&request, "e");
        assert_eq!(
            length,
            ErrorCode::UNACCEPTABLE_CREDENTIAL,
            "32 bytes are not a SHA-512"
        );
        assert_eq!(outcome(&request, ""), ErrorCode::UNACCEPTABLE_CREDENTIAL);
        assert_eq!(
            outcome(&request, "root"),
            ErrorCode::UNACCEPTABLE_CREDENTIAL
        );
        assert_eq!(outcome(&request, "f"), ErrorCode::UNACCEPTABLE_CREDENTIAL);
    }
}
