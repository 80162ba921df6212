//! AlterUserScramCredentials: API key 51, version 0. Sets and removes SCRAM credentials (KIP-554).
//!
//! Source: `AlterUserScramCredentialsRequest.json` and `AlterUserScramCredentialsResponse.json` of
//! Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Sets and removes SCRAM credentials.
    pub struct AlterUserScramCredentialsRequest<'a>: versions 0..=0, flexible 0 {
        /// Credentials to remove, one entry each.
        deletions: Vec<ScramCredentialDeletion<'a>> = Vec::new(), since(0);
        /// Credentials to set, one entry each.
        upsertions: Vec<ScramCredentialUpsertion<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`AlterUserScramCredentialsRequest::deletions`].
    pub struct ScramCredentialDeletion<'a> {
        /// Name of the user.
        name: &'a str = "", since(0);
        /// The mechanism: 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8 = 0, since(0);
    }
}

part! {
    /// One entry of [`AlterUserScramCredentialsRequest::upsertions`].
    pub struct ScramCredentialUpsertion<'a> {
        /// Name of the user.
        name: &'a str = "", since(0);
        /// The mechanism: 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8 = 0, since(0);
        /// Iterations of the hash.
        iterations: i32 = 0, since(0);
        /// The salt, chosen by the client.
        salt: &'a [u8] = &[], since(0);
        /// The password, salted and hashed by the client.
        salted_password: &'a [u8] = &[], since(0);
    }
}

message! {
    /// Answers [`AlterUserScramCredentialsRequest`].
    pub struct AlterUserScramCredentialsResponse<'a>: versions 0..=0, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Users, one entry each.
        results: Vec<AlterUserScramCredentialsResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`AlterUserScramCredentialsResponse::results`].
    pub struct AlterUserScramCredentialsResult<'a> {
        /// Name of the user.
        user: &'a str = "", since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
    }
}
