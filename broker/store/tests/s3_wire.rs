//! What the S3 side sends, and what it makes of answers, lost answers and broken ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod conformance;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::script::{Reply, Request, Script, etag};
use common::{connect, options};
use conformance::{key, wait};
use futures_util::FutureExt;
use store::s3::{Expiry, PART_BYTES_MIN, ReadReplica, S3Options, S3Store, Secret, Sse, covers};
use store::{
    Body, ETag, GetError, GetOutcome, GetRange, ListRequest, ObjectKey, ObjectStore, PutCondition,
    PutError, PutOutcome,
};

const SHORT: Duration = Duration::from_millis(300);

fn store(script: &Script, change: impl FnOnce(&mut S3Options)) -> S3Store {
    let mut options = S3Options {
        attempt_timeout: SHORT,
        ..options(&script.endpoint(), "bucket")
    };
    change(&mut options);
    connect(options)
}

fn put(store: &S3Store, condition: PutCondition) -> Result<PutOutcome, PutError> {
    let body = Body::new(vec![
        Bytes::from_static(b"123"),
        Bytes::from_static(b"456789"),
    ]);
    wait(store.put(key("a/b"), body, condition))
}

fn get(store: &S3Store, range: GetRange) -> Result<GetOutcome, GetError> {
    wait(store.get(key("a/b"), range))
}

fn written() -> Reply {
    Reply::Answer(200, etag(), vec![])
}

#[test]
fn a_put_sends_condition_checksum_encryption_and_the_chunks_as_they_are() {
    let script = Script::start(|_, _| written());
    let store = store(&script, |options| {
        options.sse = Sse::Kms {
            key_id: "arn:aws:kms:k".into(),
        };
        let credentials = options.credentials.as_mut().unwrap();
        credentials.session_token = Some(Secret::new("token"));
    });
    put(&store, PutCondition::IfAbsent).unwrap();
    put(&store, PutCondition::IfMatch(ETag::new("\"e\""))).unwrap();
    put(&store, PutCondition::None).unwrap();
    let [absent, matching, plain] = script.seen().try_into().unwrap();
    let absent: Request = absent;
    assert!(absent.is("PUT", "/bucket/a/b"), "{absent:?}");
    assert_eq!(absent.body, "123456789");
    for (name, value) in [
        ("if-none-match", Some("*")),
        ("if-match", None),
        ("content-length", Some("9")),
        ("x-amz-checksum-crc32", Some("y/Q5Jg==")),
        ("x-amz-trailer", None),
        ("content-encoding", None),
        ("x-amz-content-sha256", Some("UNSIGNED-PAYLOAD")),
        ("x-amz-server-side-encryption", Some("aws:kms")),
        (
            "x-amz-server-side-encryption-aws-kms-key-id",
            Some("arn:aws:kms:k"),
        ),
        ("x-amz-security-token", Some("token")),
    ] {
        assert_eq!(absent.header(name), value, "{name}");
    }
    assert_eq!(
        (
            matching.header("if-match"),
            matching.header("if-none-match")
        ),
        (Some("\"e\""), None)
    );
    assert_eq!(
        (plain.header("if-match"), plain.header("if-none-match")),
        (None, None)
    );
}

#[test]
fn a_call_that_fails_sends_one_request() {
    let script = Script::start(|_, _| Reply::error(500, "InternalError"));
    // Long enough for a retry to show.
    let store = store(&script, |options| {
        options.attempt_timeout = Duration::from_secs(10);
    });
    let error = put(&store, PutCondition::IfAbsent).unwrap_err();
    assert!(error.retriable() && error.outcome_unknown(), "{error}");
    assert!(get(&store, GetRange::Full).unwrap_err().retriable());
    assert!(wait(store.head(key("a/b"))).unwrap_err().retriable());
    assert!(
        wait(store.list(ListRequest::new("a/")))
            .unwrap_err()
            .retriable()
    );
    assert_eq!(script.seen().len(), 4);
}

#[test]
fn nothing_is_unknown_where_no_connection_was_made() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let store = connect(options(&endpoint, "bucket"));
    let error = put(&store, PutCondition::IfAbsent).unwrap_err();
    assert!(error.retriable() && !error.outcome_unknown(), "{error}");
    let results = wait(store.delete(vec![key("a/b"), key("a/c")]));
    for (_, result) in results {
        assert!(!result.unwrap_err().outcome_unknown());
    }
}

#[test]
fn a_connection_that_is_never_accepted_ends_after_the_connect_timeout() {
    // A full backlog: the kernel drops further connections.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    for _ in 0..10_000 {
        match std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50)) {
            Ok(stream) => filling.push(stream),
            Err(_) => break,
        }
    }
    let store = connect(S3Options {
        connect_timeout: SHORT,
        ..options(&format!("http://{address}"), "bucket")
    });
    let began = Instant::now();
    let error = put(&store, PutCondition::IfAbsent).unwrap_err();
    assert!(error.retriable() && !error.outcome_unknown(), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_lost_answer_is_unknown() {
    for lost in [
        || Reply::Close,
        || written().after(2_000),
        || Reply::Stall(etag(), 9, vec![]),
    ] {
        let script = Script::start(move |_, _| lost());
        let error = put(&store(&script, |_| {}), PutCondition::IfAbsent).unwrap_err();
        assert!(error.retriable() && error.outcome_unknown(), "{error}");
        assert_eq!(script.seen().len(), 1);
    }
}

#[test]
fn a_throttle_tells_how_long_to_wait() {
    let script = Script::start(|_, _| Reply::error(503, "SlowDown").with("Retry-After", "7"));
    let store = store(&script, |_| {});
    let retry_after = Some(Duration::from_secs(7));
    let expected = PutError::Throttled {
        key: key("a/b"),
        retry_after,
    };
    assert_eq!(put(&store, PutCondition::IfAbsent), Err(expected));
    let expected = GetError::Throttled {
        key: key("a/b"),
        retry_after,
    };
    assert_eq!(get(&store, GetRange::Full), Err(expected));
}

#[test]
fn refusals_of_the_wire_are_told_with_what_to_mend() {
    let script = Script::start(|_, number| match number {
        0 => {
            Reply::error(403, "RequestTimeTooSkewed").with("Date", "Tue, 01 Jan 2030 00:00:00 GMT")
        }
        1 => Reply::error(301, "PermanentRedirect").with("x-amz-bucket-region", "eu-west-3"),
        2 => Reply::error(403, "AccessDenied"),
        3 => Reply::error(400, "BadDigest"),
        _ => Reply::Answer(403, vec![], b"<html>not S3</html>".to_vec()),
    });
    let store = store(&script, |_| {});
    for mend in [
        "01 Jan 2030",
        "eu-west-3",
        "grant s3:PutObject",
        "BadDigest",
        "grant s3:PutObject",
    ] {
        let error = put(&store, PutCondition::None).unwrap_err();
        assert!(error.to_string().contains(mend), "{error}");
        assert_eq!(
            error.retriable(),
            mend == "01 Jan 2030",
            "a clock can be set"
        );
        assert!(!error.outcome_unknown());
    }
}

#[test]
fn a_body_that_is_not_whole_is_not_given_out() {
    let script = Script::start(|_, number| match number {
        0 => Reply::CutOff(etag(), 9, b"1234".to_vec()),
        1 => Reply::Stall(etag(), 9, b"1234".to_vec()),
        _ => Reply::object("123456789").with("x-amz-checksum-crc32", "AAAAAA=="),
    });
    let store = store(&script, |_| {});
    for _ in 0..2 {
        let error = get(&store, GetRange::Full).unwrap_err();
        assert!(matches!(error, GetError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("4 of 9"), "{error}");
    }
    let error = get(&store, GetRange::Full).unwrap_err();
    assert!(matches!(error, GetError::Corrupt { .. }), "{error}");
}

/// What came of a ranged body that ends early is kept, and the rest asked for, of the same object.
#[test]
fn a_ranged_body_that_ends_early_is_read_to_its_end() {
    let part = |range: &'static str, len: u64, sent: &'static str| {
        let headers = vec![etag().remove(0), ("Content-Range", range.to_owned())];
        match sent.len() as u64 == len {
            true => Reply::Answer(206, headers, sent.as_bytes().to_vec()),
            false => Reply::CutOff(headers, len, sent.as_bytes().to_vec()),
        }
    };
    let script = Script::start(move |_, number| match number {
        0 => part("bytes 4-8/9", 5, "56"),
        1 => part("bytes 6-8/9", 3, "7"),
        2 => part("bytes 7-8/9", 2, "89"),
        // Then the object is replaced.
        3 => part("bytes 4-8/9", 5, "56"),
        4 => Reply::error(412, "PreconditionFailed"),
        // A store sends another range than the rest.
        5 => part("bytes 4-8/9", 5, "56"),
        6 => part("bytes 4-8/9", 5, "56789"),
        // And one wants a rest of its own.
        7 => part("bytes 4-8/9", 5, "56"),
        _ => Reply::error(503, "SlowDown"),
    });
    let store = store(&script, |_| {});
    let whole = get(&store, GetRange::Suffix(5)).unwrap();
    assert_eq!((&whole.bytes[..], whole.object_len), (&b"56789"[..], 9));
    let seen = script.seen();
    let asked = seen
        .iter()
        .map(|request| (request.header("range"), request.header("if-match")));
    let asked: Vec<_> = asked.collect();
    let etag = Some("\"e\"");
    assert_eq!(
        asked,
        [
            (Some("bytes=-5"), None),
            (Some("bytes=6-8"), etag),
            (Some("bytes=7-8"), etag)
        ]
    );
    assert_eq!(store.counters().resumes.get(), 2);
    for _ in 0..2 {
        let error = get(&store, GetRange::Range(4..9)).unwrap_err();
        assert!(matches!(error, GetError::Unavailable { .. }), "{error}");
    }
    let error = get(&store, GetRange::Range(4..9)).unwrap_err();
    assert!(matches!(error, GetError::Throttled { .. }), "{error}");
}

/// A whole object is put together if the store tells its checksum, and has it.
#[test]
fn a_whole_body_that_ends_early_is_read_to_its_end_and_checked() {
    let begin = |crc32: &str| {
        let crc32 = ("x-amz-checksum-crc32", crc32.to_owned());
        Reply::CutOff([etag(), vec![crc32]].concat(), 9, b"1234".to_vec())
    };
    let rest =
        || Reply::Answer(206, etag(), b"56789".to_vec()).with("Content-Range", "bytes 4-8/9");
    let script = Script::start(move |_, number| match number {
        0 => begin("y/Q5Jg=="),
        2 => begin("AAAAAA=="),
        4 => begin("y/Q5Jg==-2"),
        _ => rest(),
    });
    let store = store(&script, |_| {});
    assert_eq!(
        &get(&store, GetRange::Full).unwrap().bytes[..],
        b"123456789"
    );
    let error = get(&store, GetRange::Full).unwrap_err();
    assert!(matches!(error, GetError::Corrupt { .. }), "{error}");
    // The checksum of an upload in parts is not that of the bytes.
    let error = get(&store, GetRange::Full).unwrap_err();
    assert!(matches!(error, GetError::Unavailable { .. }), "{error}");
    assert_eq!(store.counters().resumes.get(), 2);
}

#[test]
fn a_range_that_was_not_asked_for_is_not_given_out() {
    let range = |text: &'static str, body: &'static str| {
        move || Reply::Answer(206, etag(), body.as_bytes().to_vec()).with("Content-Range", text)
    };
    let right = range("bytes 2-4/9", "345");
    let wrong = range("bytes 3-5/9", "456");
    let short = range("bytes 2-3/9", "34");
    let script = Script::start(move |request, number| {
        assert_eq!(request.header("range"), Some("bytes=2-4"));
        match number {
            0 => right(),
            1 => wrong(),
            2 => short(),
            // A store that ignores ranges.
            _ => Reply::object("123456789"),
        }
    });
    let store = store(&script, |_| {});
    let read = || get(&store, GetRange::Range(2..5));
    let right = read().unwrap();
    assert_eq!((&right.bytes[..], right.object_len), (&b"345"[..], 9));
    for _ in 0..2 {
        let error = read().unwrap_err();
        assert!(matches!(error, GetError::Unavailable { .. }), "{error}");
    }
    let cut = read().unwrap();
    assert_eq!((&cut.bytes[..], cut.object_len), (&b"345"[..], 9));
}

#[test]
fn a_slow_get_is_hedged_within_the_budget() {
    let script = Script::start(|_, number| match number {
        0 => Reply::object("slow").after(3_000),
        _ => Reply::object("quick"),
    });
    let store = store(&script, |options| {
        options.attempt_timeout = Duration::from_secs(10);
        options.hedge_after = Some(Duration::from_millis(50));
    });
    let began = Instant::now();
    assert_eq!(get(&store, GetRange::Full).unwrap().bytes, "quick");
    assert!(began.elapsed() < Duration::from_secs(2));
    let counters = store.counters();
    assert_eq!((counters.gets.get(), counters.hedges.get()), (2, 1));
    assert_eq!(get(&store, GetRange::Full).unwrap().bytes, "quick");
    assert_eq!(counters.hedges.get(), 1, "a quick GET is not hedged");
}

#[test]
fn hedges_end_where_all_is_slow() {
    let script = Script::start(|_, _| Reply::object("slow").after(30));
    let store = store(&script, |options| {
        options.hedge_after = Some(Duration::from_millis(1))
    });
    for _ in 0..40 {
        get(&store, GetRange::Full).unwrap();
    }
    let hedges = store.counters().hedges.get();
    assert!((10..=12).contains(&hedges), "{hedges}");
}

#[test]
fn the_replica_is_read_first_and_the_main_bucket_where_it_fails() {
    let main = Script::start(|request, _| match request.method.as_str() {
        "PUT" => written(),
        _ => Reply::object("main"),
    });
    let replica = Script::start(|_, number| match number {
        0 => Reply::object("copy"),
        1 => Reply::error(404, "NoSuchKey"),
        2 => Reply::CutOff(etag(), 9, vec![]),
        _ => Reply::error(500, "InternalError"),
    });
    let store = store(&main, |options| {
        options.read_replica = Some(ReadReplica {
            bucket: "replica".into(),
            region: None,
            endpoint: Some(replica.endpoint()),
        });
    });
    assert_eq!(get(&store, GetRange::Full).unwrap().bytes, "copy");
    for _ in 0..6 {
        assert_eq!(get(&store, GetRange::Full).unwrap().bytes, "main");
    }
    put(&store, PutCondition::IfAbsent).unwrap();
    assert_eq!(store.counters().replica_fallbacks.get(), 6);
    // After a lag and three failures it is left alone.
    assert_eq!(replica.count("GET", "/replica/a/b"), 5);
    assert_eq!(replica.seen().len(), 5);
    assert_eq!(main.count("GET", "/bucket/a/b"), 6);
}

/// A server for uploads: `on_part` and `on_complete` say what happens to those.
fn uploads(
    on_part: impl Fn(usize) -> Reply + Send + Sync + 'static,
    on_complete: impl Fn() -> Reply + Send + Sync + 'static,
) -> Script {
    let parts = AtomicUsize::new(0);
    Script::start(move |request, _| {
        if request.is("POST", "uploads") {
            return Reply::xml(
                "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>",
            );
        }
        if request.is("PUT", "partNumber=") {
            return on_part(parts.fetch_add(1, Ordering::SeqCst));
        }
        match request.method.as_str() {
            "POST" => on_complete(),
            _ => Reply::status(204),
        }
    })
}

fn uploader(script: &Script) -> S3Store {
    store(script, |options| {
        options.multipart_threshold = PART_BYTES_MIN;
        options.part_size = PART_BYTES_MIN;
        options.parts_in_flight = 2;
        options.attempt_timeout = Duration::from_secs(5);
    })
}

fn large() -> Body {
    Body::new(vec![Bytes::from(vec![7; PART_BYTES_MIN as usize]); 5])
}

fn upload(store: &S3Store) -> Result<PutOutcome, PutError> {
    wait(store.put(key("a/b"), large(), PutCondition::IfAbsent))
}

const COMPLETED: &str =
    "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";

#[test]
fn an_upload_in_parts_has_its_condition_on_the_completion() {
    let flying = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let seen = Arc::clone(&flying);
    let script = uploads(
        move |_| {
            let now = flying.0.fetch_add(1, Ordering::SeqCst) + 1;
            flying.1.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(50));
            flying.0.fetch_sub(1, Ordering::SeqCst);
            written()
        },
        || Reply::xml(COMPLETED),
    );
    let store = uploader(&script);
    assert_eq!(upload(&store).unwrap().etag, ETag::new("\"e\""));
    assert_eq!(seen.1.load(Ordering::SeqCst), 2, "parts in flight");
    let requests = script.seen();
    let (last, before) = requests.split_last().unwrap();
    assert!(last.is("POST", "uploadId=u1"));
    assert_eq!(last.header("if-none-match"), Some("*"));
    assert!(
        before
            .iter()
            .all(|request| request.header("if-none-match").is_none())
    );
    let xml = String::from_utf8(last.body.to_vec()).unwrap();
    let numbers: Vec<_> = xml
        .match_indices("<PartNumber>")
        .map(|(at, tag)| &xml[at + tag.len()..][..1])
        .collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5"], "in their order");
    assert_eq!(script.count("DELETE", ""), 0);
}

#[test]
fn an_upload_whose_part_fails_is_aborted_and_left_no_object() {
    let script = uploads(
        |number| match number {
            2 => Reply::Close,
            _ => written(),
        },
        || Reply::xml(COMPLETED),
    );
    let error = upload(&uploader(&script)).unwrap_err();
    assert!(error.retriable() && !error.outcome_unknown(), "{error}");
    script.wait_for("DELETE", "uploadId=u1");
    assert_eq!(script.count("POST", "uploadId=u1"), 0);
}

#[test]
fn an_upload_whose_completion_is_lost_is_unknown() {
    for lost in [
        || Reply::Close,
        || Reply::error(200, "InternalError"),
        || Reply::error(404, "NoSuchUpload"),
    ] {
        let script = uploads(|_| written(), lost);
        let error = upload(&uploader(&script)).unwrap_err();
        assert!(error.retriable() && error.outcome_unknown(), "{error}");
    }
    let script = uploads(|_| written(), || Reply::error(412, "PreconditionFailed"));
    let error = upload(&uploader(&script)).unwrap_err();
    assert!(matches!(error, PutError::AlreadyExists { .. }), "{error}");
    script.wait_for("DELETE", "uploadId=u1");
}

#[test]
fn an_upload_that_is_dropped_is_aborted() {
    let script = uploads(|_| written().after(1_000), || Reply::xml(COMPLETED));
    let store = uploader(&script);
    let mut upload = store.put(key("a/b"), large(), PutCondition::IfAbsent);
    assert!((&mut upload).now_or_never().is_none());
    script.wait_for("PUT", "partNumber=");
    drop(upload);
    script.wait_for("DELETE", "uploadId=u1");
    assert_eq!(store.counters().uploads_aborted.get(), 1);
    assert_eq!(script.count("POST", "uploadId=u1"), 0);
}

#[test]
fn a_body_that_is_not_what_was_stated_is_not_uploaded() {
    let script = uploads(|_| written(), || Reply::xml(COMPLETED));
    let body = large().with_crc32(1);
    let error = wait(uploader(&script).put(key("a/b"), body, PutCondition::None)).unwrap_err();
    assert!(matches!(error, PutError::Corrupt { .. }), "{error}");
    assert!(script.seen().is_empty());
}

fn keys(count: usize) -> Vec<ObjectKey> {
    (0..count)
        .map(|number| key(&format!("a/{number}")))
        .collect()
}

#[test]
fn deletes_go_in_batches_with_a_result_for_each_key() {
    let script = Script::start(|_, number| match number {
        1 => Reply::xml(
            "<DeleteResult><Error><Key>a/1003</Key><Code>AccessDenied</Code></Error>\
             <Error><Key>a/1004</Key><Code>SlowDown</Code></Error>\
             <Error><Key>a/1005</Key><Code>NoSuchKey</Code></Error></DeleteResult>",
        ),
        _ => Reply::xml("<DeleteResult/>"),
    });
    let store = store(&script, |_| {});
    let results = wait(store.delete(keys(2_500)));
    assert_eq!(script.count("POST", "delete"), 3);
    assert_eq!(
        results
            .iter()
            .map(|(key, _)| key.clone())
            .collect::<Vec<_>>(),
        keys(2_500)
    );
    let failed: Vec<usize> = (0..2_500).filter(|at| results[*at].1.is_err()).collect();
    assert_eq!(failed, [1003, 1004]);
    let retriable = |at: usize| results[at].1.as_ref().unwrap_err().retriable();
    assert!(!retriable(1003) && retriable(1004));
}

#[test]
fn a_store_without_batches_gets_single_deletes() {
    for refusal in [
        (501, "NotImplemented"),
        (405, "MethodNotAllowed"),
        (400, "MissingContentMD5"),
    ] {
        let script = Script::start(move |request, _| match request.method.as_str() {
            "POST" => Reply::error(refusal.0, refusal.1),
            _ if request.target.contains("/a/3") => Reply::error(404, "NoSuchKey"),
            _ => Reply::status(204),
        });
        let store = store(&script, |_| {});
        for _ in 0..2 {
            let results = wait(store.delete(keys(20)));
            assert!(
                results.iter().all(|(_, result)| result.is_ok()),
                "{results:?}"
            );
        }
        assert_eq!(
            (
                script.count("POST", ""),
                script.count("DELETE", "/bucket/a/")
            ),
            (1, 40)
        );
    }
}

#[test]
fn futures_are_lazy_and_a_dropped_one_ends_its_request() {
    let script = Script::start(|_, _| written().after(200));
    let store = store(&script, |_| {});
    drop(store.put(key("a/b"), Body::from(vec![1]), PutCondition::None));
    std::thread::sleep(Duration::from_millis(50));
    assert!(
        script.seen().is_empty(),
        "nothing happens before the first poll"
    );
    let mut polled = store.put(key("a/b"), Body::from(vec![1]), PutCondition::None);
    assert!((&mut polled).now_or_never().is_none());
    script.wait_for("PUT", "/bucket/a/b");
    drop(polled);
    assert_eq!(
        put(&store, PutCondition::None).unwrap().etag,
        ETag::new("\"e\"")
    );
}

#[test]
fn lifecycle_rules_are_read() {
    let script = Script::start(|_, number| match number {
        0 => Reply::xml(
            "<LifecycleConfiguration><Rule><ID>old</ID><Status>Enabled</Status><Filter><Prefix>kafscale/</Prefix>\
             </Filter><Expiration><Days>7</Days></Expiration></Rule><Rule><ID>all</ID><Status>Enabled</Status>\
             <Filter/><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>",
        ),
        1 => Reply::error(404, "NoSuchLifecycleConfiguration"),
        2 => Reply::error(403, "AccessDenied"),
        _ => Reply::error(501, "NotImplemented"),
    });
    let store = store(&script, |_| {});
    let rules = wait(store.lifecycle_rules()).unwrap();
    let covering: Vec<_> = rules
        .iter()
        .filter(|rule| covers(rule, "kafscale-wal/"))
        .collect();
    assert_eq!((rules.len(), covering.len()), (2, 1));
    assert_eq!(
        (covering[0].id.as_str(), &covering[0].expires),
        ("all", &Some(Expiry::AfterDays(30)))
    );
    assert_eq!(wait(store.lifecycle_rules()), Ok(vec![]));
    let denied = wait(store.lifecycle_rules()).unwrap_err().to_string();
    assert!(
        denied.contains("grant s3:GetLifecycleConfiguration on arn:aws:s3:::bucket"),
        "{denied}"
    );
    assert!(wait(store.lifecycle_rules()).is_err());
}

#[test]
fn counters_tell_what_was_sent() {
    let script = Script::start(|request, _| match request.method.as_str() {
        "GET" if request.target.contains("list-type") => Reply::xml("<ListBucketResult/>"),
        "GET" => Reply::object("12345"),
        _ => written(),
    });
    let store = store(&script, |_| {});
    put(&store, PutCondition::None).unwrap();
    get(&store, GetRange::Full).unwrap();
    wait(store.head(key("a/b"))).unwrap();
    wait(store.list(ListRequest::new("a/"))).unwrap();
    wait(store.delete(keys(1)));
    let counters = store.counters();
    let requests = [
        &counters.puts,
        &counters.gets,
        &counters.heads,
        &counters.lists,
        &counters.deletes,
    ];
    assert_eq!(requests.map(store::s3::Counter::get), [1; 5]);
    assert_eq!((counters.bytes_out.get(), counters.bytes_in.get()), (9, 5));
}
