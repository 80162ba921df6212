//! The files of the page and the headers around them; who may name the host.

use crate::common::LocalBroker;
use crate::http::{Ask, view};

#[test]
fn the_page_is_served_with_a_strict_policy_and_compressed() {
    let broker = LocalBroker::start(&[]);
    let root = Ask::get("/").of(&broker);
    assert_eq!(
        (root.status, root.header("location")),
        (302, Some("/console/"))
    );
    let moved = Ask::get("/console").of(&broker);
    assert_eq!(
        (moved.status, moved.header("location")),
        (308, Some("/console/"))
    );
    let page = Ask::get("/console/").of(&broker);
    assert_eq!(page.status, 200);
    assert!(
        page.text()
            .contains("<script type=\"module\" src=\"app.js\">")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("x-frame-options"), Some("deny"));
    let script = Ask::get("/console/app.js").header("accept-encoding", "gzip");
    let script = script.of(&broker);
    assert_eq!(script.header("content-encoding"), Some("gzip"));
    assert!(
        script
            .header("content-type")
            .unwrap()
            .starts_with("text/javascript")
    );
    let tag = script.header("etag").unwrap();
    let again = Ask::get("/console/app.js")
        .header("if-none-match", tag)
        .of(&broker);
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[test]
fn there_is_nothing_beside_the_page() {
    let broker = LocalBroker::start(&[]);
    for path in [
        "/console/../Cargo.toml",
        "/console/%2e%2e/mod.rs",
        "/console/..%2f..%2fetc/passwd",
        "/console/views/",
        "/console//etc/passwd",
        "/console/app.js%00",
        "/api/v1/../../metrics",
        "/api/v1/nothing",
        "/api/v2/topics",
        "/api/",
        "/debug/",
        "/debug/pprof",
        "/api/v1/topics/no-such-topic",
        "/api/v1/topics/no-such-topic/messages",
        "/api/v1/groups/no-such-group",
    ] {
        let answer = Ask::get(path).of(&broker);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(answer.json()["error"].is_string(), "{path}");
    }
    let post = Ask::new("POST", "/console/app.js").of(&broker);
    assert_eq!(post.status, 405);
}

#[test]
fn another_name_for_this_machine_is_refused() {
    let broker = LocalBroker::start(&[]);
    for path in [
        "/console/",
        "/api/v1/overview",
        "/api/v1/session",
        "/debug/shards",
    ] {
        let evil = Ask::get(path)
            .header("host", "rebound.example:9093")
            .of(&broker);
        assert_eq!(evil.status, 421, "{path}");
        for host in ["localhost:9093", "127.0.0.1", "[::1]:9093"] {
            let ours = Ask::get(path).header("host", host).of(&broker);
            assert_eq!(ours.status, 200, "{path} {host}");
        }
    }
    // Those who scrape name it as they like.
    for path in ["/metrics", "/livez", "/healthz", "/readyz"] {
        let scraped = Ask::get(path)
            .header("host", "broker-0.kafscale")
            .of(&broker);
        assert_eq!(scraped.status, 200, "{path}");
    }
}

#[test]
fn debug_pages_tell_of_shards_partitions_and_owners_a_page_at_a_time() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    client.create("debugged", 5);
    let shards = Ask::get("/debug/shards").of(&broker).json();
    assert_eq!(shards["shards"].as_array().unwrap().len(), 2);
    let page = Ask::get("/debug/partitions?limit=3").of(&broker).json();
    assert_eq!(
        (page["total"].as_u64(), page["next"].as_u64()),
        (Some(5), Some(3))
    );
    let rest = Ask::get("/debug/partitions?from=3&limit=3")
        .of(&broker)
        .json();
    let rest = rest["partitions"].as_array().unwrap();
    assert_eq!(rest.len(), 2);
    assert_eq!(rest[0]["partition"], 3);
    assert_eq!(
        (
            rest[0]["is_open"].as_bool(),
            rest[0]["high_watermark"].as_i64()
        ),
        (Some(true), Some(0))
    );
    let owners = Ask::get("/debug/owners").of(&broker).json();
    assert_eq!(owners["slots"].as_array().unwrap().len(), 64);
    assert_eq!(owners["sessions"][0]["is_this"], true);
    let session = &owners["sessions"][0]["session"];
    for partition in owners["partitions"].as_array().unwrap() {
        assert_eq!(&partition["session"], session);
        assert_eq!(partition["is_open_here"], true);
    }
    assert_eq!(Ask::get("/debug/partitions?from=x").of(&broker).status, 400);
}

#[test]
fn a_broker_says_of_itself_what_the_cluster_knows() {
    let broker = LocalBroker::start(&[]);
    let cluster = view(&broker, "cluster");
    let [one] = cluster["brokers"].as_array().unwrap().as_slice() else {
        panic!("one broker: {cluster}");
    };
    assert_eq!(
        (one["is_this"].as_bool(), one["state"].as_str()),
        (Some(true), Some("healthy"))
    );
    assert_eq!(one["listeners"][0]["address"], broker.kafka.to_string());
    assert_eq!(one["group_slots"], 64);
    assert_eq!(cluster["this"]["admin"], broker.admin().to_string());
    let text = serde_json::to_string(&view(&broker, "events")).unwrap();
    assert!(text.contains("begun as broker 0"), "{text}");
}
