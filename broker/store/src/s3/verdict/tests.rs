//! The table of verdicts, row by row.

use super::*;
use crate::object::ETag;

const ASKED: Asked<'static> = Asked {
    operation: "PutObject",
    permission: "s3:PutObject",
    bucket: "logs",
};

fn key() -> ObjectKey {
    ObjectKey::new("a/b").unwrap()
}

fn answered(status: u16, code: &str) -> Failure {
    Failure::Answered(Answer {
        status,
        code: (!code.is_empty()).then(|| code.to_owned()),
        message: "said the store".to_owned(),
        ..Answer::default()
    })
}

fn put(condition: PutCondition, failure: Failure) -> PutError {
    put_error(key(), &condition, failure, ASKED)
}

fn create(failure: Failure) -> PutError {
    put(PutCondition::IfAbsent, failure)
}

fn replace(failure: Failure) -> PutError {
    put(PutCondition::IfMatch(ETag::new("\"1\"")), failure)
}

#[test]
fn a_condition_that_does_not_hold_is_told_by_what_was_asked() {
    for code in ["PreconditionFailed", ""] {
        let exists = create(answered(412, code));
        assert!(matches!(exists, PutError::AlreadyExists { .. }), "{exists}");
        let mismatch = replace(answered(412, code));
        assert!(matches!(mismatch, PutError::Mismatch { .. }), "{mismatch}");
        let strange = put(PutCondition::None, answered(412, code));
        assert!(matches!(strange, PutError::Denied { .. }), "{strange}");
    }
    for code in ["NoSuchKey", ""] {
        let gone = replace(answered(404, code));
        assert!(matches!(gone, PutError::NotFound { .. }), "{gone}");
        assert!(matches!(
            create(answered(404, code)),
            PutError::Denied { .. }
        ));
    }
    for code in ["ConditionalRequestConflict", "OperationAborted", ""] {
        let conflict = create(answered(409, code));
        assert!(matches!(conflict, PutError::Conflict { .. }), "{conflict}");
        assert!(conflict.retriable() && !conflict.outcome_unknown());
    }
}

#[test]
fn a_throttle_counts_as_refused_only_if_the_store_itself_said_so() {
    let after = Some(Duration::from_secs(2));
    for (status, code) in [
        (503, "SlowDown"),
        (503, "SlowDownWrite"),
        (503, "ServiceUnavailable"),
        (429, ""),
        (503, "TooManyRequests"),
        (400, "ThrottlingException"),
        (503, "XMinioBusy"),
    ] {
        let failure = Failure::Answered(Answer {
            status,
            code: (!code.is_empty()).then(|| code.to_owned()),
            retry_after: after,
            ..Answer::default()
        });
        let error = create(failure.clone());
        let expected = PutError::Throttled {
            key: key(),
            retry_after: after,
        };
        assert_eq!(error, expected, "{code}");
        let read = get_error(key(), failure, ASKED);
        assert_eq!(
            read,
            GetError::Throttled {
                key: key(),
                retry_after: after
            }
        );
    }
    let proxy = create(answered(503, ""));
    assert!(proxy.retriable() && proxy.outcome_unknown(), "{proxy}");
    let deleted = delete_result(&key(), answered(503, ""), ASKED).unwrap_err();
    assert!(deleted.outcome_unknown(), "{deleted}");
    assert!(matches!(
        head_error(key(), answered(503, ""), ASKED),
        HeadError::Throttled { .. }
    ));
}

#[test]
fn failures_without_an_answer_are_unknown_unless_nothing_was_sent() {
    let lost = create(Failure::Unknown("no answer within 15s".into()));
    assert!(lost.retriable() && lost.outcome_unknown(), "{lost}");
    let refused = create(Failure::NotSent("connection refused".into()));
    assert!(
        refused.retriable() && !refused.outcome_unknown(),
        "{refused}"
    );
    let stranger = create(Failure::NotSent("invalid peer certificate".into())).to_string();
    assert!(stranger.contains("KAFSCALE_S3_CA_FILE"), "{stranger}");
    for (status, code) in [
        (500, "InternalError"),
        (200, "InternalError"),
        (500, ""),
        (502, ""),
        (504, ""),
        (400, "RequestTimeout"),
        (408, ""),
        (404, "NoSuchUpload"),
        (200, "Strange"),
    ] {
        let error = create(answered(status, code));
        assert!(
            error.retriable() && error.outcome_unknown(),
            "{status} {code}: {error}"
        );
    }
    let broken_off = create(answered(400, "IncompleteBody"));
    assert!(broken_off.retriable() && !broken_off.outcome_unknown());
    let no_role = Failure::Credentials {
        reason: "imds".into(),
        permanent: false,
    };
    assert!(create(no_role).retriable());
    let none = Failure::Credentials {
        reason: "none".into(),
        permanent: true,
    };
    let none = create(none);
    assert!(
        !none.retriable() && none.to_string().contains("KAFSCALE_S3_ACCESS_KEY"),
        "{none}"
    );
}

#[test]
fn refusals_say_what_to_mend() {
    let cases = [
        (404, "NoSuchBucket", "KAFSCALE_S3_BUCKET"),
        (400, "InvalidToken", "KAFSCALE_S3_SESSION_TOKEN"),
        (403, "InvalidAccessKeyId", "KAFSCALE_S3_ACCESS_KEY"),
        (403, "SignatureDoesNotMatch", "KAFSCALE_S3_SECRET_KEY"),
        (
            403,
            "AccessDenied",
            "grant s3:PutObject on arn:aws:s3:::logs/*",
        ),
        (403, "", "grant s3:PutObject"),
        (401, "", "grant s3:PutObject"),
        (403, "SomethingNew", "grant s3:PutObject"),
        (301, "PermanentRedirect", "KAFSCALE_S3_REGION"),
        (400, "AuthorizationHeaderMalformed", "KAFSCALE_S3_REGION"),
        (400, "KMS.DisabledException", "KAFSCALE_S3_KMS_ARN"),
        (400, "SomethingNew", "said the store"),
        (501, "NotImplemented", "said the store"),
    ];
    for (status, code, mend) in cases {
        let errors = [
            create(answered(status, code)).to_string(),
            get_error(key(), answered(status, code), ASKED).to_string(),
            head_error(key(), answered(status, code), ASKED).to_string(),
            list_error("a/".into(), answered(status, code), ASKED).to_string(),
            delete_result(&key(), answered(status, code), ASKED)
                .unwrap_err()
                .to_string(),
        ];
        for error in errors {
            assert!(
                error.contains(mend) && error.contains("refused"),
                "{code}: {error}"
            );
        }
        assert!(!create(answered(status, code)).retriable(), "{code}");
    }
}

/// A token that has expired and a clock that is wrong pass without a new session: the same request
/// succeeds once they are mended.
#[test]
fn what_passes_when_somebody_acts_is_retriable_and_says_what_to_mend() {
    for (status, code, mend) in [
        (400, "ExpiredToken", "KAFSCALE_S3_SESSION_TOKEN"),
        (400, "TokenRefreshRequired", "KAFSCALE_S3_SESSION_TOKEN"),
        (403, "RequestTimeTooSkewed", "NTP"),
        (403, "RequestExpired", "NTP"),
    ] {
        let put = create(answered(status, code));
        assert!(put.retriable() && !put.outcome_unknown(), "{put}");
        let get = get_error(key(), answered(status, code), ASKED);
        assert!(get.retriable(), "{get}");
        let list = list_error("a/".into(), answered(status, code), ASKED);
        assert!(list.retriable(), "{list}");
        let delete = delete_result(&key(), answered(status, code), ASKED).unwrap_err();
        assert!(delete.retriable() && !delete.outcome_unknown(), "{delete}");
        for error in [
            put.to_string(),
            get.to_string(),
            list.to_string(),
            delete.to_string(),
        ] {
            assert!(error.contains(mend), "{code}: {error}");
        }
    }
}

#[test]
fn a_clock_that_is_wrong_is_named_with_both_times() {
    let failure = Failure::Answered(Answer {
        status: 403,
        code: Some("RequestTimeTooSkewed".into()),
        clocks: Some(("their time".into(), "our time".into())),
        ..Answer::default()
    });
    let error = create(failure).to_string();
    assert!(
        error.contains("their time") && error.contains("our time"),
        "{error}"
    );
}

#[test]
fn the_right_region_is_named() {
    let failure = Failure::Answered(Answer {
        status: 301,
        code: Some("PermanentRedirect".into()),
        region: Some("eu-west-3".into()),
        ..Answer::default()
    });
    assert!(create(failure).to_string().contains("eu-west-3"));
}

#[test]
fn checksums_and_space_have_errors_of_their_own() {
    for code in ["BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest"] {
        let error = create(answered(400, code));
        assert!(matches!(error, PutError::Corrupt { .. }), "{error}");
    }
    for (status, code) in [
        (507, ""),
        (507, "XMinioStorageFull"),
        (403, "QuotaExceeded"),
    ] {
        let error = create(answered(status, code));
        assert!(
            matches!(
                error,
                PutError::Full {
                    outcome_unknown: false,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn reads_tell_missing_objects_and_ranges() {
    assert_eq!(
        get_error(key(), answered(404, "NoSuchKey"), ASKED),
        GetError::NotFound { key: key() }
    );
    assert_eq!(
        head_error(key(), answered(404, ""), ASKED),
        HeadError::NotFound { key: key() }
    );
    let range = Failure::Answered(Answer {
        status: 416,
        code: Some("InvalidRange".into()),
        object_len: Some(10),
        ..Answer::default()
    });
    let error = get_error(key(), range, ASKED);
    assert_eq!(
        error,
        GetError::RangeNotSatisfiable {
            key: key(),
            object_len: 10
        }
    );
    let error = list_error("a".into(), answered(404, ""), ASKED);
    assert!(
        matches!(error, ListError::Denied { .. })
            && error.to_string().contains("KAFSCALE_S3_BUCKET")
    );
}

#[test]
fn deleting_what_is_not_there_is_a_success() {
    assert_eq!(
        delete_result(&key(), answered(404, "NoSuchKey"), ASKED),
        Ok(())
    );
    assert_eq!(delete_result(&key(), answered(404, ""), ASKED), Ok(()));
    let bucket = delete_result(&key(), answered(404, "NoSuchBucket"), ASKED);
    assert!(
        matches!(bucket, Err(DeleteError::Denied { .. })),
        "{bucket:?}"
    );
    let lost = delete_result(&key(), Failure::Unknown("x".into()), ASKED).unwrap_err();
    assert!(lost.retriable() && lost.outcome_unknown());
}
