//! A proxy in front of TLS: its header comes first, in the clear, and rules for hosts are about the client that it names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;

use client::{Client, ClientError, ClientSettings, NewTopic, SaslCredentials};
use security::acl::{AclBinding, Operation, PatternType, Permission, ResourceType};
use security::secret::Secret;
use security::{Mechanism, Principal};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{LocalBroker, settings, start};
use crate::authority::Authority;

/// From where the proxy opens connections.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

/// A proxy that says of each connection what it was told to say.
struct Proxy {
    addr: SocketAddr,
    header: Arc<Mutex<Vec<u8>>>,
    broker: mpsc::Sender<SocketAddr>,
}

impl Proxy {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let header = Arc::<Mutex<Vec<u8>>>::default();
        let (broker, told) = mpsc::channel();
        let said = header.clone();
        thread::spawn(move || {
            let Ok(broker) = told.recv() else { return };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((client, _)) = listener.accept().await {
                    let header = said.lock().unwrap().clone();
                    tokio::spawn(relay(client, broker, header));
                }
            });
        });
        Self {
            addr,
            header,
            broker,
        }
    }

    fn say(&self, header: &[u8]) {
        *self.header.lock().unwrap() = header.to_vec();
    }

    fn client(&self, address: &str) {
        self.say(format!("PROXY TCP4 {address} 10.9.9.9 40000 9092\r\n").as_bytes());
    }
}

async fn relay(mut client: TcpStream, broker: SocketAddr, header: Vec<u8>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(PROXY, 0)).unwrap();
    let mut upstream = socket.connect(broker).await.unwrap();
    upstream.write_all(&header).await.unwrap();
    // Either side may go at any time.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
}

fn connect(
    broker: &LocalBroker,
    proxy: &Proxy,
    authority: &Authority,
    user: &str,
) -> Result<Client, ClientError> {
    Client::connect(ClientSettings {
        sasl: Some(SaslCredentials {
            mechanism: Mechanism::Plain,
            user: user.to_owned(),
            password: Secret::new("hunter2"),
        }),
        bootstrap: vec![proxy.addr.to_string()],
        ..settings(broker, authority.ca(), None)
    })
}

#[test]
fn a_rule_for_a_host_is_about_the_client_of_a_proxy_and_not_about_the_proxy() {
    let (authority, proxy) = (Authority::new(), Proxy::start());
    let port = proxy.addr.port().to_string();
    let broker = start(
        &authority,
        &[
            ("broker.host", "127.0.0.1"),
            ("broker.port", &port),
            ("security.sasl_mechanisms", "PLAIN"),
            ("security.admin_password", "hunter2"),
            ("security.proxy_protocol", "true"),
            ("security.proxy_trusted", "127.0.0.9"),
        ],
    );
    proxy.broker.send(broker.kafka).unwrap();
    proxy.client("10.0.0.7");
    let mut admin = connect(&broker, &proxy, &authority, "admin").unwrap();
    admin
        .set_password("alice", &Secret::new("hunter2"))
        .unwrap();
    let rule = |prefix: &str, host: &str| AclBinding {
        resource: ResourceType::Topic,
        name: prefix.to_owned(),
        pattern: PatternType::Prefixed,
        principal: Principal::user("alice"),
        host: host.to_owned(),
        operation: Operation::Create,
        permission: Permission::Allow,
    };
    let rules = [rule("client-", "10.0.0.1"), rule("proxy-", "127.0.0.9")];
    admin.create_acls(&rules).unwrap();
    let create = |name: &str| {
        let mut client = connect(&broker, &proxy, &authority, "alice").unwrap();
        let topic = NewTopic {
            name: name.to_owned(),
            ..NewTopic::default()
        };
        client.create_topic(&topic).is_ok()
    };
    proxy.client("10.0.0.1");
    assert!(create("client-a"));
    assert!(
        !create("proxy-a"),
        "the proxy's address is not the client's"
    );
    proxy.client("10.0.0.2");
    assert!(!create("client-b"), "another client of the same proxy");
    // Version 2, and the same address in the form of IPv6.
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    header.extend(
        "::ffff:10.0.0.1"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    header.extend([0; 16 + 4]);
    proxy.say(&header);
    assert!(create("client-c"));
    // LOCAL: the proxy speaks for itself.
    proxy.say(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    assert!(create("proxy-b") && !create("client-d"));
    // A client that tells an address of its own inside of what the proxy relays is not believed, nor served.
    proxy.say(b"PROXY TCP4 10.0.0.2 10.9.9.9 1 1\r\nPROXY TCP4 10.0.0.1 10.9.9.9 1 1\r\n");
    assert!(connect(&broker, &proxy, &authority, "alice").is_err());
    proxy.say(b"");
    assert!(
        connect(&broker, &proxy, &authority, "alice").is_err(),
        "no header"
    );
    broker.stop();
}
