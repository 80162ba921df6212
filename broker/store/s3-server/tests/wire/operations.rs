//! Every operation, as an SDK sees it.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ChecksumAlgorithm, Delete, ExpirationStatus, LifecycleExpiration,
    LifecycleRule, LifecycleRuleFilter, MetadataDirective, ObjectIdentifier,
};
use s3_server::{Operation, Options};

use crate::support::*;

#[tokio::test]
async fn buckets_are_made_seen_and_listed() {
    let server = start();
    let client = client(&server);
    assert_eq!(
        refusal(client.head_bucket().bucket("other").send().await).0,
        404
    );
    client.create_bucket().bucket("other").send().await.unwrap();
    client.head_bucket().bucket("other").send().await.unwrap();
    client
        .get_bucket_location()
        .bucket("other")
        .send()
        .await
        .unwrap();
    let again = client.create_bucket().bucket("other").send().await;
    assert_eq!(refusal(again), (409, "BucketAlreadyOwnedByYou".to_owned()));
    let listed = client.list_buckets().send().await.unwrap();
    let names: Vec<_> = listed
        .buckets()
        .iter()
        .map(|bucket| bucket.name().unwrap())
        .collect();
    assert_eq!(names, ["other", BUCKET]);
    let missing = client.get_object().bucket("none").key("k").send().await;
    assert_eq!(refusal(missing), (404, "NoSuchBucket".to_owned()));
}

#[tokio::test]
async fn an_object_comes_back_whole_with_what_was_stored_beside_it() {
    let server = start();
    for client in [client(&server), plain_client(&server)] {
        for size in [0, 1, 64 * 1024, 3_000_000] {
            let body: Vec<u8> = (0..size)
                .map(|at: u32| at.to_le_bytes()[0] ^ 0x5A)
                .collect();
            let put = put(&client, "dir/key é+ %", &body)
                .content_type("text/x")
                .metadata("a", "b");
            let put = put.send().await.unwrap();
            let got = client
                .get_object()
                .bucket(BUCKET)
                .key("dir/key é+ %")
                .send()
                .await
                .unwrap();
            assert_eq!(got.e_tag(), put.e_tag());
            assert_eq!(got.content_type(), Some("text/x"));
            assert_eq!(got.metadata().unwrap()["a"], "b");
            assert_eq!(got.content_length(), Some(i64::from(size)));
            assert!(got.last_modified().is_some());
            assert_eq!(got.body.collect().await.unwrap().to_vec(), body);
            let head = client
                .head_object()
                .bucket(BUCKET)
                .key("dir/key é+ %")
                .send()
                .await;
            assert_eq!(head.unwrap().content_length(), Some(i64::from(size)));
        }
    }
    let missing = client(&server)
        .head_object()
        .bucket(BUCKET)
        .key("none")
        .send()
        .await;
    assert_eq!(refusal(missing).0, 404);
    let missing = client(&server)
        .get_object()
        .bucket(BUCKET)
        .key("none")
        .send()
        .await;
    assert_eq!(refusal(missing), (404, "NoSuchKey".to_owned()));
}

#[tokio::test]
async fn a_range_gives_its_bytes_and_no_more() {
    let server = start();
    let client = client(&server);
    server.objects().put("k", "0123456789").unwrap();
    let wanted = [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-99", "0123456789", "bytes 0-9/10"),
    ];
    for (range, bytes, shown) in wanted {
        let got = client
            .get_object()
            .bucket(BUCKET)
            .key("k")
            .range(range)
            .send()
            .await
            .unwrap();
        assert_eq!(got.content_range(), Some(shown));
        assert_eq!(got.body.collect().await.unwrap().to_vec(), bytes.as_bytes());
    }
    let beyond = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .range("bytes=10-")
        .send()
        .await;
    assert_eq!(refusal(beyond), (416, "InvalidRange".to_owned()));
}

#[tokio::test]
async fn a_read_obeys_its_conditions() {
    let server = start();
    let client = client(&server);
    let etag = put(&client, "k", b"one")
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let get = || client.get_object().bucket(BUCKET).key("k");
    get().if_match(&etag).send().await.unwrap();
    assert_eq!(refusal(get().if_match("\"other\"").send().await).0, 412);
    assert_eq!(refusal(get().if_none_match(&etag).send().await).0, 304);
    get().if_none_match("\"other\"").send().await.unwrap();
    let (past, future) = (DateTime::from_secs(1), DateTime::from_secs(4_000_000_000));
    assert_eq!(refusal(get().if_modified_since(future).send().await).0, 304);
    assert_eq!(refusal(get().if_unmodified_since(past).send().await).0, 412);
    get()
        .if_modified_since(past)
        .if_unmodified_since(future)
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_body_that_is_not_what_its_checksum_says_is_refused_and_not_stored() {
    let server = start();
    let client = client(&server);
    let algorithms = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ];
    for algorithm in algorithms {
        put(&client, "good", b"body")
            .checksum_algorithm(algorithm)
            .send()
            .await
            .unwrap();
        assert_eq!(get(&client, "good").await, b"body");
    }
    let bad = put(&client, "bad", b"body")
        .checksum_crc32("AAAAAA==")
        .send()
        .await;
    assert_eq!(refusal(bad), (400, "BadDigest".to_owned()));
    let bad = put(&client, "bad", b"body")
        .checksum_crc32_c("AAAAAA==")
        .send()
        .await;
    assert_eq!(refusal(bad), (400, "BadDigest".to_owned()));
    let plain = plain_client(&server);
    let md5 = "hBotaJrYa9FhFEdFPCLG/A=="; // of "body"
    put(&plain, "good", b"body")
        .content_md5(md5)
        .send()
        .await
        .unwrap();
    let bad = put(&plain, "bad", b"nobody").content_md5(md5).send().await;
    assert_eq!(refusal(bad), (400, "BadDigest".to_owned()));
    assert_eq!(server.objects().keys(""), ["good"]);
}

#[tokio::test]
async fn wrong_keys_are_refused() {
    let server = start();
    let with = |access: &str, secret: &str| {
        let keys = Credentials::new(access, secret, None, None, "test");
        Client::from_conf(settings(&server).credentials_provider(keys).build())
    };
    let wrong = put(&with(server.access_key(), "wrong"), "k", b"x")
        .send()
        .await;
    assert_eq!(refusal(wrong), (403, "SignatureDoesNotMatch".to_owned()));
    let wrong = put(&with("nobody", server.secret_key()), "k", b"x")
        .send()
        .await;
    assert_eq!(refusal(wrong), (403, "InvalidAccessKeyId".to_owned()));
    let (head, body) = read_reply(&mut send_raw(&server, "PUT", "/test/k", "x"));
    assert!(head.starts_with("http/1.1 403"), "{head}");
    assert!(body.contains("AccessDenied"), "{body}");
    assert_eq!(server.objects().keys(""), [""; 0]);
}

#[tokio::test]
async fn an_unsigned_payload_is_taken_and_a_body_other_than_the_signed_one_is_not() {
    let server = start();
    let expires = || PresigningConfig::expires_in(std::time::Duration::from_secs(60)).unwrap();
    let plain = plain_client(&server);
    let request = plain
        .put_object()
        .bucket(BUCKET)
        .key("k")
        .presigned(expires())
        .await
        .unwrap();
    let path = request.uri().split_once("/test/").unwrap().1.to_owned();
    let (head, body) = read_reply(&mut send_raw(
        &server,
        "PUT",
        &format!("/test/{path}"),
        "hey",
    ));
    assert!(head.starts_with("http/1.1 200"), "{head} {body}");
    assert_eq!(server.objects().get("k").unwrap(), "hey");
    // The SHA-256 of "hey".
    let sum = "fa690b82061edfd2852629aeba8a8977b57e40fcb77d1a7a28b26cba62591204";
    for (sent, status) in [("hoy", "400"), ("hey", "200")] {
        let request = format!(
            "PUT /test/{path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 3\r\nx-amz-content-sha256: {sum}\r\n\r\n{sent}",
            server.addr()
        );
        let (head, body) = read_reply(&mut send_bytes(&server, request.as_bytes()));
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert_eq!(status == "400", body.contains("XAmzContentSHA256Mismatch"));
    }
    assert_eq!(server.objects().keys(""), ["k"]);
}

#[tokio::test]
async fn deletes_say_yes_whether_or_not_the_object_was_there() {
    let server = start();
    let client = client(&server);
    for key in ["a", "b", "c", "d"] {
        server.objects().put(key, "x").unwrap();
    }
    client
        .delete_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    client
        .delete_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    let named = ["b", "c", "none"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let named = Delete::builder()
        .set_objects(Some(named.to_vec()))
        .build()
        .unwrap();
    let reply = client
        .delete_objects()
        .bucket(BUCKET)
        .delete(named)
        .send()
        .await
        .unwrap();
    assert_eq!((reply.deleted().len(), reply.errors().len()), (3, 0));
    assert_eq!(server.objects().keys(""), ["d"]);
}

#[tokio::test]
async fn listing_pages_through_all_keys_and_rolls_prefixes_up() {
    let server = start();
    let client = client(&server);
    for key in ["a/1", "a/2", "b", "c/1", "c/2/x", "d"] {
        server.objects().put(key, key.to_owned()).unwrap();
    }
    for page in 1..8 {
        let pages = client
            .list_objects_v2()
            .bucket(BUCKET)
            .max_keys(page)
            .into_paginator();
        let pages: Vec<_> = pages.send().try_collect().await.unwrap();
        let keys = pages
            .iter()
            .flat_map(|page| page.contents())
            .map(|one| one.key().unwrap());
        assert_eq!(
            keys.collect::<Vec<_>>(),
            ["a/1", "a/2", "b", "c/1", "c/2/x", "d"]
        );
        let list = client
            .list_objects_v2()
            .bucket(BUCKET)
            .delimiter("/")
            .max_keys(page);
        let pages: Vec<_> = list.into_paginator().send().try_collect().await.unwrap();
        let keys = pages
            .iter()
            .flat_map(|page| page.contents())
            .map(|one| one.key().unwrap());
        assert_eq!(keys.collect::<Vec<_>>(), ["b", "d"]);
        let rolled = pages.iter().flat_map(|page| page.common_prefixes());
        let rolled: Vec<_> = rolled.map(|one| one.prefix().unwrap()).collect();
        assert_eq!(rolled, ["a/", "c/"]);
    }
    let list = || client.list_objects_v2().bucket(BUCKET);
    assert_eq!(list_of(list().prefix("c/")).await, ["c/1", "c/2/x"]);
    assert_eq!(
        list_of(list().start_after("b")).await,
        ["c/1", "c/2/x", "d"]
    );
    assert_eq!(
        list_of(list().prefix("a/").start_after("a/1")).await,
        ["a/2"]
    );
    let old = client
        .list_objects()
        .bucket(BUCKET)
        .max_keys(2)
        .send()
        .await
        .unwrap();
    assert_eq!((old.contents().len(), old.next_marker()), (2, Some("a/2")));
    let size = list().send().await.unwrap().contents()[0].size();
    assert_eq!(size, Some(3));
    let bad = list().continuation_token("nonsense").send().await;
    assert_eq!(refusal(bad), (400, "InvalidArgument".to_owned()));
}

async fn list_of(
    list: aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder,
) -> Vec<String> {
    let page = list.send().await.unwrap();
    page.contents()
        .iter()
        .map(|one| one.key().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_copy_has_the_bytes_and_the_metadata_or_what_replaces_it() {
    let server = start();
    let client = client(&server);
    put(&client, "from", b"bytes")
        .metadata("a", "b")
        .send()
        .await
        .unwrap();
    let copy = |to: &str| {
        client
            .copy_object()
            .bucket(BUCKET)
            .key(to)
            .copy_source("test/from")
    };
    copy("kept").send().await.unwrap();
    let replaced = copy("new").metadata_directive(MetadataDirective::Replace);
    replaced.metadata("c", "d").send().await.unwrap();
    for (key, name) in [("kept", "a"), ("new", "c")] {
        let got = client
            .get_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
        assert_eq!(got.metadata().unwrap().keys().collect::<Vec<_>>(), [name]);
        assert_eq!(got.body.collect().await.unwrap().to_vec(), b"bytes");
    }
    let refused = copy("x").copy_source_if_match("\"other\"").send().await;
    assert_eq!(refusal(refused).0, 412);
}

#[tokio::test]
async fn lifecycle_rules_are_kept_and_done_on_command() {
    let server = start();
    let client = client(&server);
    let none = client
        .get_bucket_lifecycle_configuration()
        .bucket(BUCKET)
        .send()
        .await;
    assert_eq!(
        refusal(none),
        (404, "NoSuchLifecycleConfiguration".to_owned())
    );
    let rule = |id: &str, prefix: &str, days: i32, status: ExpirationStatus| {
        LifecycleRule::builder()
            .id(id)
            .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
            .expiration(LifecycleExpiration::builder().days(days).build())
            .status(status)
            .build()
            .unwrap()
    };
    let rules = BucketLifecycleConfiguration::builder()
        .rules(rule("soon", "soon/", 1, ExpirationStatus::Enabled))
        .rules(rule("late", "late/", 9, ExpirationStatus::Enabled))
        .rules(rule("off", "off/", 1, ExpirationStatus::Disabled))
        .build()
        .unwrap();
    let put = client.put_bucket_lifecycle_configuration().bucket(BUCKET);
    put.lifecycle_configuration(rules).send().await.unwrap();
    let kept = client
        .get_bucket_lifecycle_configuration()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let ids: Vec<_> = kept.rules().iter().map(|rule| rule.id().unwrap()).collect();
    assert_eq!(ids, ["soon", "late", "off"]);
    for key in ["soon/1", "late/1", "off/1", "other"] {
        server.objects().put(key, "x").unwrap();
    }
    assert_eq!(server.objects().expire(Some(0)).0, [""; 0]);
    assert_eq!(server.objects().expire(Some(1)).0, ["soon/1"]);
    assert_eq!(server.objects().expire(None).0, ["late/1"]);
    assert_eq!(list(&client, "").await, ["off/1", "other"]);
    client
        .delete_bucket_lifecycle()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_stored_and_one_body_are_bounded() {
    let limits = Options {
        memory_bytes: 2000,
        body_bytes: 5000,
        ..Options::default()
    };
    let server = start_with(limits);
    let client = plain_client(&server);
    put(&client, "a", &[0; 1400]).send().await.unwrap();
    assert_eq!(refusal(put(&client, "b", &[0; 400]).send().await).0, 507);
    put(&client, "a", &[0; 1000]).send().await.unwrap();
    put(&client, "b", &[0; 400]).send().await.unwrap();
    client
        .delete_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    put(&client, "c", &[0; 800]).send().await.unwrap();
    let large = put(&client, "d", &[0; 6000]).send().await;
    assert_eq!(refusal(large), (400, "EntityTooLarge".to_owned()));
    assert_eq!(server.objects().keys(""), ["b", "c"]);
}

#[tokio::test]
async fn a_byte_corrupted_by_hand_is_seen_by_a_client_that_checks() {
    let server = start();
    let client = client(&server);
    put(&client, "k", b"0123456789").send().await.unwrap();
    assert!(server.objects().corrupt("k", 4));
    assert!(!server.objects().corrupt("k", 10));
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .range("bytes=4-4")
        .send()
        .await
        .unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), [b'4' ^ 0xFF]);
    let checked = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert!(checked.body.collect().await.is_err());
    assert!(server.objects().cut("k", 3));
    assert_eq!(server.objects().get("k").unwrap().len(), 3);
}

#[tokio::test]
async fn requests_are_counted_by_operation_prefix_and_time() {
    let server = start();
    let client = client(&server);
    put(&client, "wal/1", b"x").send().await.unwrap();
    let later = std::time::Instant::now();
    put(&client, "wal/2", b"x").send().await.unwrap();
    put(&client, "kfs/1", b"x").send().await.unwrap();
    let _ = client.get_object().bucket(BUCKET).key("none").send().await;
    let requests = server.requests();
    assert_eq!(requests.count(Operation::PutObject), 3);
    assert_eq!(requests.count_since(Operation::PutObject, "wal/", later), 1);
    assert_eq!(requests.count_where(|record| !record.succeeded()), 1);
    let log = requests.log();
    let keys: Vec<_> = log.iter().map(|record| record.key.as_str()).collect();
    assert_eq!(keys, ["wal/1", "wal/2", "kfs/1", "none"]);
    requests.clear();
    assert_eq!(requests.count(Operation::PutObject), 0);
}
