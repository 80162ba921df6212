//! The S3 side against a real server over the wire.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod conformance;

use std::sync::Arc;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, LifecycleExpiration,
    LifecycleRule, LifecycleRuleFilter,
};
use bytes::Bytes;
use common::{ACCESS_KEY, Conditional, SECRET_KEY, Server, connect};
use conformance::{key, run, wait};
use store::probe::{ProbeReport, probe};
use store::s3::{PART_BYTES_MIN, RequestChecksums, S3Options, covers};
use store::{
    Body, GetRange, ListRequest, ObjectKey, ObjectStore, PutCondition, PutError, Unconditional,
};
use tokio::runtime::Builder;

#[test]
fn conformance() {
    let server = Server::start();
    run(Arc::new(connect(server.options())), "p/");
}

#[test]
fn conformance_without_checksums() {
    let server = Server::start();
    let options = S3Options {
        request_checksums: RequestChecksums::WhenRequired,
        ..server.options()
    };
    run(Arc::new(connect(options)), "q/");
}

/// Garage ignores the condition; s3s-fs checks it and then writes, with a gap, which only creations
/// at once show. One probe is what a broker makes.
#[test]
fn the_probe_catches_stores_that_do_not_keep_conditions() {
    let without = [
        Conditional::Ignored,
        Conditional::Racy,
        Conditional::Refused,
    ];
    for conditional in without {
        let server = Server::start_with(conditional);
        let store: Arc<dyn ObjectStore> = Arc::new(connect(server.options()));
        let report = wait(probe(&store, "kafscale-wal/default/", "1")).unwrap();
        assert!(!report.conditional, "{conditional:?}: {report:?}");
        assert!(!report.problems.is_empty());
        let left = wait(store.list(ListRequest::new("kafscale-wal/"))).unwrap();
        assert!(
            left.objects.is_empty(),
            "the probe leaves nothing: {left:?}"
        );
    }
}

#[test]
fn the_probe_tells_a_store_that_creates_and_does_not_replace() {
    let server = Server::start_with(Conditional::CreateOnly);
    let store: Arc<dyn ObjectStore> = Arc::new(connect(server.options()));
    let report = wait(probe(&store, "kafscale-wal/default/", "1")).unwrap();
    assert!(report.conditional && !report.if_match, "{report:?}");
}

#[test]
fn a_store_that_refuses_conditions_takes_the_same_writes_without_them() {
    let server = Server::start_with(Conditional::Refused);
    let store = connect(server.options());
    let key = || ObjectKey::new("q/one").unwrap();
    let body = || Body::from(b"one".to_vec());
    let refused = wait(store.put(key(), body(), PutCondition::IfAbsent));
    assert!(refused.is_err_and(|error| !error.retriable()));
    let without = Unconditional::new(Arc::new(store));
    let etag = wait(without.put(key(), body(), PutCondition::IfAbsent))
        .unwrap()
        .etag;
    wait(without.put(key(), body(), PutCondition::IfMatch(etag))).unwrap();
}

#[test]
fn the_probe_finds_a_sound_store() {
    let server = Server::start();
    let store: Arc<dyn ObjectStore> = Arc::new(connect(server.options()));
    let report = wait(probe(&store, "kafscale-wal/default/", "1")).unwrap();
    let sound = ProbeReport {
        conditional: true,
        if_match: true,
        list_is_consistent: true,
        problems: vec![],
    };
    assert_eq!(report, sound);
}

#[test]
fn the_probe_names_a_bucket_that_does_not_exist() {
    let server = Server::start();
    let options = S3Options {
        bucket: "no-such-bucket".into(),
        ..server.options()
    };
    let store: Arc<dyn ObjectStore> = Arc::new(connect(options));
    let error = wait(probe(&store, "kafscale-wal/default/", "1")).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("no-such-bucket") && text.contains("KAFSCALE_S3_BUCKET"),
        "{text}"
    );
    assert!(!error.retriable());
}

fn large() -> Body {
    let mib: Bytes = (0..1024 * 1024_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let body = Body::new(vec![mib; 13]);
    body.clone().with_crc32(body.compute_crc32())
}

#[test]
fn large_objects_go_in_parts_and_keep_conditions() {
    let server = Server::start();
    let store = connect(S3Options {
        multipart_threshold: PART_BYTES_MIN,
        part_size: PART_BYTES_MIN,
        ..server.options()
    });
    let key = key("large/one");
    let written = wait(store.put(key.clone(), large(), PutCondition::IfAbsent)).unwrap();
    assert_eq!(store.counters().parts.get(), 3);
    let found = wait(store.get(key.clone(), GetRange::Full)).unwrap();
    assert!(found.bytes == large().to_bytes() && found.etag == written.etag);
    let cut = wait(store.get(key.clone(), GetRange::Range(5_242_870..5_242_890))).unwrap();
    assert_eq!(cut.bytes, large().to_bytes().slice(5_242_870..5_242_890));
    let again = wait(store.put(key.clone(), large(), PutCondition::IfAbsent));
    assert!(
        matches!(again, Err(PutError::AlreadyExists { .. })),
        "{again:?}"
    );
    wait(store.put(key, large(), PutCondition::IfMatch(written.etag))).unwrap();
}

/// The rules that `docs/operations.md` gives.
fn documented_rules() -> Vec<LifecycleRule> {
    let page = include_str!("../../../docs/operations.md");
    let json = page.split("```json\n").nth(1).unwrap();
    let json = json.split("```").next().unwrap();
    let rules: serde_json::Value = serde_json::from_str(json).unwrap();
    let rules = rules["Rules"].as_array().unwrap().iter().map(|rule| {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let days = |value: &serde_json::Value| value.as_i64().map(|days| days as i32);
        let expiration = days(&rule["Expiration"]["Days"])
            .map(|days| LifecycleExpiration::builder().days(days).build());
        let abort = days(&rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]);
        let abort = abort.map(|days| {
            AbortIncompleteMultipartUpload::builder()
                .days_after_initiation(days)
                .build()
        });
        let filter = LifecycleRuleFilter::builder().prefix(text(&rule["Filter"]["Prefix"]));
        LifecycleRule::builder()
            .id(text(&rule["ID"]))
            .status(text(&rule["Status"]).as_str().into())
            .filter(filter.build())
            .set_expiration(expiration)
            .set_abort_incomplete_multipart_upload(abort)
            .build()
            .unwrap()
    });
    rules.collect()
}

/// A store takes the rules of the documentation and gives them back, and they spare the WAL.
#[test]
fn lifecycle_rules_are_read_as_they_were_set() {
    let server = Server::start();
    let store = connect(server.options());
    assert_eq!(wait(store.lifecycle_rules()), Ok(vec![]));
    let client = client(server.endpoint());
    let mut rules = documented_rules();
    if server.is_named() {
        // MinIO ends broken uploads by itself, and takes no rule about them.
        rules.retain(|rule| rule.abort_incomplete_multipart_upload().is_none());
    }
    let rules = BucketLifecycleConfiguration::builder()
        .set_rules(Some(rules))
        .build()
        .unwrap();
    let put = client
        .put_bucket_lifecycle_configuration()
        .bucket(server.bucket());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let put = put.lifecycle_configuration(rules).send();
    runtime.block_on(put).unwrap();
    let found = wait(store.lifecycle_rules()).unwrap();
    let mut expiring: Vec<_> = found
        .iter()
        .filter(|rule| rule.expires.is_some())
        .map(|rule| (rule.id.as_str(), rule.prefix.as_str()))
        .collect();
    expiring.sort_unstable();
    let expected = [
        ("everything-1-year", "kafscale/"),
        ("orders-30-days", "kafscale/default/orders/"),
    ];
    assert_eq!(expiring, expected);
    assert!(
        found
            .iter()
            .all(|rule| !covers(rule, "kafscale-wal/default/"))
    );
    let delete = client.delete_bucket_lifecycle().bucket(server.bucket());
    runtime.block_on(delete.send()).unwrap();
    assert_eq!(wait(store.lifecycle_rules()), Ok(vec![]));
}

/// A bare client of the same server.
fn client(endpoint: String) -> aws_sdk_s3::Client {
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}
