//! The PROXY protocol: who is believed, and that the client is who the proxy says it is.

use std::io::Write;

use super::common::{Connection, LocalBroker};
use super::limits::{connect_from, is_served};

const SETTINGS: [(&str, &str); 3] = [
    ("security.proxy_protocol", "true"),
    ("security.proxy_trusted", "127.0.0.9,127.0.1.0/24"),
    ("shard.connections_per_address_max", "1"),
];

fn begin(from: u8, broker: &LocalBroker, header: &[u8]) -> Connection {
    let mut client = connect_from(from, broker.kafka);
    client.stream.write_all(header).unwrap();
    client
}

fn for_client(address: &str) -> Vec<u8> {
    format!("PROXY TCP4 {address} 10.9.9.9 40000 9092\r\n").into_bytes()
}

/// A closed connection, which may fail to be written to.
fn is_refused(client: &mut Connection) -> bool {
    let bytes = client
        .encode(0, &wire::messages::ApiVersionsRequest::default())
        .1;
    let _ = client.stream.write_all(&bytes);
    client.try_receive().is_err()
}

#[test]
fn clients_of_a_trusted_proxy_have_their_own_addresses() {
    let broker = LocalBroker::start(&SETTINGS);
    let mut first = begin(9, &broker, &for_client("10.0.0.1"));
    assert!(is_served(&mut first), "version 1");
    let mut again = begin(9, &broker, &for_client("10.0.0.1"));
    assert!(
        is_refused(&mut again),
        "its address holds as many as one may"
    );
    let address = [10, 0, 0, 2, 10, 9, 9, 9, 0x9c, 0x40, 0x23, 0x84];
    let header = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f",
        &address[..],
        &[4, 0, 0],
    ]
    .concat();
    let mut second = begin(9, &broker, &header);
    assert!(is_served(&mut second), "version 2, with an extension");
    let mut own = begin(9, &broker, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    assert!(is_served(&mut own), "the proxy's own, as for health checks");
    assert!(is_served(&mut first));
    broker.stop();
}

#[test]
fn a_trusted_proxy_has_to_say_for_whom_it_comes() {
    let broker = LocalBroker::start(&SETTINGS);
    for header in [
        &b""[..],
        b"PROXY TCP4 nobody nobody 1 1\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x23\x11\0\0",
    ] {
        assert!(is_refused(&mut begin(9, &broker, header)), "{header:?}");
    }
    let refused = broker.metric("kafscale_connections_refused_total{reason=\"proxy\"");
    assert_eq!(refused, 3.0);
    broker.stop();
}

#[test]
fn whoever_is_not_trusted_is_not_believed() {
    let broker = LocalBroker::start(&SETTINGS);
    assert!(
        is_served(&mut begin(8, &broker, b"")),
        "it may come without a proxy"
    );
    assert!(is_refused(&mut begin(10, &broker, &for_client("10.0.0.1"))));
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02";
    assert!(is_refused(&mut begin(11, &broker, binary)));
    broker.stop();
}

#[test]
fn a_header_that_was_not_asked_for_closes_the_connection() {
    let broker = LocalBroker::start(&[]);
    assert!(is_refused(&mut begin(9, &broker, &for_client("10.0.0.1"))));
    assert!(is_served(&mut begin(9, &broker, b"")));
    broker.stop();
}
