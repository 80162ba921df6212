//! Client quotas in a cluster: set at one broker, known to all, enforced by each.

use std::time::Duration;

use client::{ClientSettings, Connection};
use s3_server::Conditional;
use wire::messages::alter_client_quotas::{EntityData, OpData, RequestEntryData};
use wire::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest, MetadataRequest};
use wire::{ErrorCode, Float64};

use crate::world::{Node, World, eventually};

const CLIENT: &str = "busy";

fn connect(node: &Node) -> Connection {
    let settings = ClientSettings {
        client_id: CLIENT.to_owned(),
        request_timeout: Duration::from_secs(20),
        ..ClientSettings::default()
    };
    Connection::open(&node.kafka.to_string(), &settings).unwrap()
}

/// Sets how much time of a thread the client may use, in percent, or that it may use any.
fn set(node: &Node, percent: Option<f64>) {
    let request = AlterClientQuotasRequest {
        entries: vec![RequestEntryData {
            entity: vec![EntityData {
                entity_type: "client-id",
                entity_name: Some(CLIENT),
            }],
            ops: vec![OpData {
                key: "request_percentage",
                value: Float64::new(percent.unwrap_or_default()),
                remove: percent.is_none(),
            }],
        }],
        validate_only: false,
    };
    let reply = connect(node).call(&request).unwrap();
    let response = reply.decode().unwrap();
    assert_eq!(
        response.entries[0].error_code,
        ErrorCode::NONE,
        "{response:?}"
    );
}

fn described(node: &Node) -> usize {
    let reply = connect(node)
        .call(&DescribeClientQuotasRequest::default())
        .unwrap();
    let response = reply.decode().unwrap();
    response.entries.unwrap().len()
}

/// Whether a client of this broker is told to pause within a few requests.
fn is_throttled(node: &Node) -> bool {
    let mut connection = connect(node);
    (0..50).any(|_| {
        let reply = connection.call(&MetadataRequest::default()).unwrap();
        reply.decode().unwrap().throttle_time_ms > 0
    })
}

#[test]
fn a_quota_holds_on_every_broker_and_outlives_the_one_that_set_it() {
    let world = World::start(Conditional::Atomic);
    let settings = [("KAFSCALE_QUOTA_WINDOW_NUM", "2")];
    let mut one = world.node_with("1", &settings);
    let two = world.node_with("2", &settings);
    assert!(!is_throttled(&one) && !is_throttled(&two));
    // 10 us a second.
    set(&one, Some(0.001));
    assert_eq!(
        described(&one),
        1,
        "in force where it was set when that is answered"
    );
    assert!(is_throttled(&one));
    eventually("the other broker knows it", || described(&two) == 1);
    assert!(is_throttled(&two));
    one.kill();
    let three = world.node_with("3", &settings);
    assert_eq!(described(&three), 1);
    assert!(is_throttled(&three));
    set(&three, None);
    eventually("the other broker knows that", || described(&two) == 0);
    assert!(!is_throttled(&two) && !is_throttled(&three));
}
