//! Conditional writes: atomic, or on purpose not.

use std::time::Duration;

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use futures_util::future::join_all;
use s3_server::{Conditional, Fault, Operation, Rule, Server};

use crate::support::*;

/// Starts all writers, holds them at a gate until all are there, and lets them go at once; how
/// many succeed.
async fn winners(server: &Server, writers: Vec<PutObjectFluentBuilder>) -> usize {
    let gate = "start".to_owned();
    let hold = Rule::new(Fault::Hold { gate }).on(Operation::PutObject);
    let hold = server.faults().add(hold).unwrap();
    let count = writers.len();
    let puts: Vec<_> = writers
        .into_iter()
        .map(|put| tokio::spawn(put.send()))
        .collect();
    while server.faults().waiting("start") < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(server.faults().remove(hold));
    assert_eq!(server.faults().release("start"), count);
    let mut winners = 0;
    for result in join_all(puts).await {
        match result.unwrap() {
            Ok(_) => winners += 1,
            refused => assert_eq!(refusal(refused), (412, "PreconditionFailed".to_owned())),
        }
    }
    winners
}

fn makers(server: &Server, key: &str, count: usize) -> Vec<PutObjectFluentBuilder> {
    let client = client(server);
    let writer = |at| put(&client, key, format!("writer {at}").as_bytes()).if_none_match("*");
    (0..count).map(writer).collect()
}

#[tokio::test]
async fn of_64_writers_of_a_new_key_one_wins() {
    let server = start();
    for round in 0..5 {
        assert_eq!(
            winners(&server, makers(&server, &format!("key {round}"), 64)).await,
            1
        );
    }
}

#[tokio::test]
async fn a_write_under_an_etag_replaces_that_state_only() {
    let server = start();
    let client = client(&server);
    let first = put(&client, "k", b"one")
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let second = put(&client, "k", b"two")
        .if_match(&first)
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let stale = put(&client, "k", b"three").if_match(&first).send().await;
    assert_eq!(refusal(stale), (412, "PreconditionFailed".to_owned()));
    assert_eq!(get(&client, "k").await, b"two");
    let missing = put(&client, "none", b"x").if_match(&second).send().await;
    assert_eq!(refusal(missing), (404, "NoSuchKey".to_owned()));
    let stale = client
        .delete_object()
        .bucket(BUCKET)
        .key("k")
        .if_match(&first)
        .send()
        .await;
    assert_eq!(refusal(stale).0, 412);
    client
        .delete_object()
        .bucket(BUCKET)
        .key("k")
        .if_match(&second)
        .send()
        .await
        .unwrap();
    assert_eq!(server.objects().keys(""), [""; 0]);
}

#[tokio::test]
async fn of_64_writers_under_one_etag_one_wins() {
    let server = start();
    let client = client(&server);
    let etag = put(&client, "k", b"start")
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let writer = |at| put(&client, "k", format!("writer {at}").as_bytes()).if_match(&etag);
    assert_eq!(winners(&server, (0..64).map(writer).collect()).await, 1);
}

#[tokio::test]
async fn a_server_that_ignores_conditions_lets_each_write_succeed() {
    let server = conditional(Conditional::Ignored);
    let client = client(&server);
    for body in ["one", "two"] {
        put(&client, "k", body.as_bytes())
            .if_none_match("*")
            .send()
            .await
            .unwrap();
    }
    put(&client, "k", b"three")
        .if_match("\"none\"")
        .send()
        .await
        .unwrap();
    assert_eq!(get(&client, "k").await, b"three");
}

#[tokio::test]
async fn a_racy_server_has_several_winners_at_once_and_refuses_later_ones() {
    let server = conditional(Conditional::Racy);
    assert!(winners(&server, makers(&server, "k", 16)).await > 1);
    assert_eq!(winners(&server, makers(&server, "k", 16)).await, 0);
}
