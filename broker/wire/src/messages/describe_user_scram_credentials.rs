//! DescribeUserScramCredentials: API key 50, version 0. Lists who has SCRAM credentials (KIP-554).
//!
//! Source: `DescribeUserScramCredentialsRequest.json` and
//! `DescribeUserScramCredentialsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Lists who has SCRAM credentials.
    pub struct DescribeUserScramCredentialsRequest<'a>: versions 0..=0, flexible 0 {
        /// Users, one entry each; null or empty for all.
        users: Option<Vec<UserName<'a>>> = None, since(0).nullable(0);
    }
}

part! {
    /// One entry of [`DescribeUserScramCredentialsRequest::users`].
    pub struct UserName<'a> {
        /// Name of the user.
        name: &'a str = "", since(0);
    }
}

message! {
    /// Answers [`DescribeUserScramCredentialsRequest`].
    pub struct DescribeUserScramCredentialsResponse<'a>: versions 0..=0, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// Users, one entry each.
        results: Vec<DescribeUserScramCredentialsResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeUserScramCredentialsResponse::results`].
    pub struct DescribeUserScramCredentialsResult<'a> {
        /// Name of the user.
        user: &'a str = "", since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// Credentials, one entry each.
        credential_infos: Vec<CredentialInfo> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeUserScramCredentialsResult::credential_infos`].
    pub struct CredentialInfo {
        /// The mechanism: 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8 = 0, since(0);
        /// Iterations of the hash.
        iterations: i32 = 0, since(0);
    }
}
