//! Each fault, as a client sees it and as the store has it.

use std::io::ErrorKind;
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_s3::Client;
use aws_smithy_async::time::StaticTimeSource;
use s3_server::{ErrorCode, Fault, Operation, Outcome, Rule, RuleError, Server};

use crate::support::*;

fn add(server: &Server, rule: Rule) -> s3_server::RuleId {
    server.faults().add(rule).unwrap()
}

fn error(code: ErrorCode) -> Fault {
    Fault::Error {
        code,
        retry_after_seconds: None,
    }
}

fn hold(gate: &str) -> Fault {
    Fault::Hold {
        gate: gate.to_owned(),
    }
}

async fn until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < deadline, "waited in vain");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn an_error_before_the_effect_has_its_status_and_leaves_no_trace() {
    let server = start();
    let client = client(&server);
    let wanted = [
        (ErrorCode::AccessDenied, 403, "AccessDenied"),
        (
            ErrorCode::ConditionalRequestConflict,
            409,
            "ConditionalRequestConflict",
        ),
        (ErrorCode::ExpiredToken, 400, "ExpiredToken"),
        (ErrorCode::InternalError, 500, "InternalError"),
        (ErrorCode::RequestTimeout, 400, "RequestTimeout"),
        (ErrorCode::ServiceUnavailable, 503, "ServiceUnavailable"),
        (ErrorCode::SlowDown, 503, "SlowDown"),
    ];
    for (code, status, name) in wanted {
        add(
            &server,
            Rule::new(error(code)).on(Operation::PutObject).times(1),
        );
        let refused = put(&client, "k", b"x").send().await;
        assert_eq!(refusal(refused), (status, name.to_owned()));
    }
    assert_eq!(server.objects().keys(""), [""; 0]);
    put(&client, "k", b"x").send().await.unwrap();
}

#[tokio::test]
async fn slow_down_tells_when_to_come_back() {
    let server = start();
    let slow = |seconds| Fault::Error {
        code: ErrorCode::SlowDown,
        retry_after_seconds: seconds,
    };
    for (seconds, shown) in [(None, "retry-after: 1\r"), (Some(7), "retry-after: 7\r")] {
        add(&server, Rule::new(slow(seconds)).times(1));
        let (head, _) = read_reply(&mut send_raw(&server, "GET", "/test/k", ""));
        assert!(
            head.starts_with("http/1.1 503") && head.contains(shown),
            "{head}"
        );
    }
}

#[tokio::test]
async fn an_error_after_the_effect_leaves_the_effect() {
    let server = start();
    let client = client(&server);
    let code = ErrorCode::InternalError;
    let lost = Fault::ErrorAfter {
        code,
        retry_after_seconds: None,
    };
    add(&server, Rule::new(lost).on(Operation::PutObject).times(1));
    let refused = put(&client, "k", b"landed").if_none_match("*").send().await;
    assert_eq!(refusal(refused).0, 500);
    assert_eq!(server.objects().get("k").unwrap(), "landed");
    let again = put(&client, "k", b"landed").if_none_match("*").send().await;
    assert_eq!(refusal(again).0, 412);
}

#[tokio::test]
async fn a_reset_is_a_reset_on_the_wire_with_the_effect_or_without() {
    let server = start();
    let client = client(&server);
    for (fault, effect) in [(Fault::Reset, false), (Fault::ResetAfter, true)] {
        add(
            &server,
            Rule::new(fault.clone()).on(Operation::PutObject).times(1),
        );
        let refused = put(&client, "k", b"x").send().await;
        assert_eq!(refusal(refused), (0, String::new()));
        assert_eq!(server.objects().get("k").is_some(), effect, "{fault:?}");
        add(&server, Rule::new(fault).times(1));
        let (seen, end) = read_raw(send_raw(&server, "GET", "/test/none", ""));
        assert_eq!(
            (seen, end.unwrap_err().kind()),
            (vec![], ErrorKind::ConnectionReset)
        );
        let last = server.requests().log().pop().unwrap();
        assert_eq!(
            (last.operation, last.outcome),
            (Operation::GetObject, Outcome::Reset)
        );
    }
}

#[tokio::test]
async fn a_truncated_body_ends_before_its_content_length() {
    let server = start();
    let client = client(&server);
    server.objects().put("k", vec![7; 300_000]).unwrap();
    for (keep_bytes, sent) in [(Some(0), 0), (Some(100_001), 100_001), (None, 150_000)] {
        add(&server, Rule::new(Fault::Truncate { keep_bytes }).times(1));
        let path = presigned_get(&client, "k").await;
        let stream = send_raw(&server, "GET", &path, "");
        let (seen, end) = tokio::task::spawn_blocking(|| read_raw(stream))
            .await
            .unwrap();
        end.unwrap();
        let head = seen
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        let text = String::from_utf8_lossy(&seen[..head]).to_lowercase();
        assert!(text.contains("content-length: 300000\r"), "{text}");
        assert_eq!(seen.len() - head, sent);
        assert_eq!(
            server.requests().log().pop().unwrap().outcome,
            Outcome::Truncated
        );
    }
    add(
        &server,
        Rule::new(Fault::Truncate { keep_bytes: None }).times(1),
    );
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert!(got.body.collect().await.is_err());
    assert_eq!(get(&client, "k").await.len(), 300_000);
}

#[tokio::test]
async fn delays_come_before_or_after_the_effect() {
    let server = start();
    let client = client(&server);
    let before = Fault::Delay {
        lo_ms: 300,
        hi_ms: None,
    };
    let after = Fault::DelayAfter {
        lo_ms: 300,
        hi_ms: Some(400),
    };
    for (key, fault, landed) in [("b", before, false), ("a", after, true)] {
        add(&server, Rule::new(fault).on(Operation::PutObject).times(1));
        let began = Instant::now();
        let put = tokio::spawn(put(&client, key, b"x").send());
        until(|| server.requests().in_flight() == 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(server.objects().get(key).is_some(), landed);
        put.await.unwrap().unwrap();
        let took = began.elapsed();
        assert!((300..3000).contains(&took.as_millis()), "{took:?}");
    }
}

#[tokio::test]
async fn a_bandwidth_is_shared_by_all_that_it_covers_both_ways() {
    let server = start();
    let client = client(&server);
    let limit = Fault::Bandwidth {
        bytes_per_second: 1_000_000,
    };
    let id = add(&server, Rule::new(limit));
    let body = vec![1; 150_000];
    let began = Instant::now();
    let (one, two) = tokio::join!(
        put(&client, "a", &body).send(),
        put(&client, "b", &body).send()
    );
    assert!(one.is_ok() && two.is_ok());
    let took = began.elapsed();
    assert!((290..3000).contains(&took.as_millis()), "{took:?}");
    let began = Instant::now();
    let (one, two) = tokio::join!(get(&client, "a"), get(&client, "b"));
    assert!(one == body && two == body);
    let took = began.elapsed();
    assert!((290..3000).contains(&took.as_millis()), "{took:?}");
    assert!(server.faults().remove(id));
    let began = Instant::now();
    assert_eq!(get(&client, "a").await, body);
    assert!(began.elapsed() < Duration::from_millis(100));
}

#[tokio::test]
async fn a_stale_list_shows_the_past_and_a_get_the_present() {
    let server = start();
    let client = client(&server);
    for key in ["gone", "kept"] {
        server.objects().put(key, "old").unwrap();
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    server.objects().put("kept", "a new state").unwrap();
    server.objects().put("new", "x").unwrap();
    server.objects().delete("gone");
    assert_eq!(list(&client, "").await, ["kept", "new"]);
    let id = add(&server, Rule::new(Fault::StaleList { age_ms: 500 }));
    assert_eq!(list(&client, "").await, ["gone", "kept"]);
    assert_eq!(list(&client, "g").await, ["gone"]);
    let page = client
        .list_objects_v2()
        .bucket(BUCKET)
        .prefix("kept")
        .send()
        .await
        .unwrap();
    assert_eq!(page.contents()[0].size(), Some(3));
    assert_eq!(get(&client, "new").await, b"x");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(list(&client, "").await, ["kept", "new"]);
    assert!(server.faults().remove(id));
}

#[tokio::test]
async fn a_held_write_lands_when_released_even_if_its_client_has_gone() {
    let server = start();
    let client = client(&server);
    add(
        &server,
        Rule::new(hold("gate"))
            .on(Operation::PutObject)
            .prefix("wal/")
            .times(1),
    );
    let put_held = tokio::spawn(put(&client, "wal/1", b"late").if_none_match("*").send());
    until(|| server.faults().waiting("gate") == 1).await;
    put_held.abort();
    assert!(put_held.await.unwrap_err().is_cancelled());
    drop(client);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.faults().waiting("gate"), 1);
    assert!(server.objects().get("wal/1").is_none());
    assert_eq!(server.faults().release("gate"), 1);
    until(|| server.objects().get("wal/1").is_some()).await;
}

#[tokio::test]
async fn a_held_conditional_write_loses_to_one_that_came_before_its_release() {
    let server = start();
    let client = client(&server);
    add(
        &server,
        Rule::new(hold("gate")).on(Operation::PutObject).times(1),
    );
    let held = tokio::spawn(put(&client, "k", b"held").if_none_match("*").send());
    until(|| server.faults().waiting("gate") == 1).await;
    put(&client, "k", b"first")
        .if_none_match("*")
        .send()
        .await
        .unwrap();
    assert_eq!(server.faults().release("gate"), 1);
    assert_eq!(refusal(held.await.unwrap()).0, 412);
    assert_eq!(get(&client, "k").await, b"first");
}

#[tokio::test]
async fn a_gate_lets_through_as_many_as_it_is_told_in_order_of_arrival() {
    let server = start();
    let client = client(&server);
    let after = Fault::HoldAfter {
        gate: "gate".to_owned(),
    };
    add(&server, Rule::new(after).on(Operation::PutObject));
    let mut puts = Vec::new();
    for key in ["a", "b", "c"] {
        let waiting = server.faults().waiting("gate");
        puts.push(tokio::spawn(put(&client, key, b"x").send()));
        until(|| server.faults().waiting("gate") > waiting).await;
    }
    assert_eq!(server.objects().keys(""), ["a", "b", "c"]);
    assert_eq!(server.faults().release_next("gate", 2), 2);
    until(|| puts[0].is_finished() && puts[1].is_finished()).await;
    assert!(!puts[2].is_finished());
    assert!(server.faults().wait_for_waiting("gate", 1, Duration::ZERO));
    server.faults().clear();
    puts.pop().unwrap().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_rule_hits_only_what_it_names() {
    let server = start();
    let client = client(&server);
    client.create_bucket().bucket("other").send().await.unwrap();
    let rule = Rule::new(error(ErrorCode::InternalError)).on(Operation::PutObject);
    let rule = rule
        .bucket(BUCKET)
        .prefix("wal/")
        .suffix(".wal")
        .after_first(1)
        .times(1);
    let id = add(&server, rule);
    let status = |result: Result<_, _>| match result {
        Ok(_) => 200,
        Err(refused) => refusal::<(), _>(Err(refused)).0,
    };
    assert_eq!(status(put(&client, "kfs/1.wal", b"x").send().await), 200);
    assert_eq!(status(put(&client, "wal/1.idx", b"x").send().await), 200);
    let other = client
        .put_object()
        .bucket("other")
        .key("wal/1.wal")
        .send()
        .await;
    assert_eq!(status(other), 200);
    assert_eq!(status(put(&client, "wal/1.wal", b"x").send().await), 200);
    assert_eq!(get(&client, "wal/1.wal").await, b"x");
    assert_eq!(status(put(&client, "wal/2.wal", b"x").send().await), 500);
    assert_eq!(status(put(&client, "wal/2.wal", b"x").send().await), 200);
    assert_eq!(server.faults().fired(id), 1);
}

#[tokio::test]
async fn a_rule_ends_with_its_time_and_hits_the_part_that_it_names() {
    let server = start();
    let client = client(&server);
    let rule = Rule::new(error(ErrorCode::ServiceUnavailable));
    add(&server, rule.clone().lasting(Duration::from_millis(200)));
    assert_eq!(refusal(put(&client, "k", b"x").send().await).0, 503);
    tokio::time::sleep(Duration::from_millis(250)).await;
    put(&client, "k", b"x").send().await.unwrap();
    add(&server, rule.probability(0.5));
    let mut hit = 0;
    for _ in 0..100 {
        hit += u32::from(put(&client, "k", b"x").send().await.is_err());
    }
    assert!((25..75).contains(&hit), "{hit}");
}

#[tokio::test]
async fn a_clock_that_is_off_takes_only_requests_of_its_own_time() {
    let server = start();
    let on_time = client(&server);
    let then = SystemTime::now() - Duration::from_secs(7200);
    let late = settings(&server).time_source(StaticTimeSource::new(then));
    let late = Client::from_conf(late.build());
    let skewed = (403, "RequestTimeTooSkewed".to_owned());
    assert_eq!(refusal(put(&late, "k", b"x").send().await), skewed);
    put(&on_time, "k", b"x").send().await.unwrap();
    add(&server, Rule::new(Fault::ClockSkew { seconds: -7200 }));
    assert_eq!(refusal(put(&on_time, "k", b"x").send().await), skewed);
    put(&late, "k", b"x").send().await.unwrap();
}

#[test]
fn rules_without_sense_are_refused() {
    let server = start();
    let add = |rule| server.faults().add(rule).unwrap_err();
    let rule = Rule::new(Fault::Reset).probability(1.5);
    assert_eq!(add(rule), RuleError::Probability(1.5));
    let rule = Rule::new(Fault::Delay {
        lo_ms: 2,
        hi_ms: Some(1),
    });
    assert_eq!(add(rule), RuleError::Delay { lo_ms: 2, hi_ms: 1 });
    assert_eq!(
        add(Rule::new(Fault::Bandwidth {
            bytes_per_second: 0
        })),
        RuleError::Bandwidth
    );
    for _ in 0..s3_server::MAX_RULES {
        server
            .faults()
            .add(Rule::new(Fault::Reset).times(0))
            .unwrap();
    }
    assert_eq!(
        add(Rule::new(Fault::Reset)),
        RuleError::TooMany(s3_server::MAX_RULES)
    );
}
