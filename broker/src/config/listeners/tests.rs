use super::super::ConfigError;
use super::*;

const TWO: (&str, &str) = (
    "listeners.bind",
    "internal://127.0.0.1:9192,EXTERNAL://:9292",
);
const PROTOCOLS: (&str, &str) = (
    "listeners.protocols",
    "INTERNAL:PLAINTEXT,external:sasl_ssl",
);
const CERT: (&str, &str) = ("tls.cert_file", "c");
const KEY: (&str, &str) = ("tls.key_file", "k");
const MECHANISMS: (&str, &str) = ("security.sasl_mechanisms", "SCRAM-SHA-512,PLAIN");
const ADMIN: (&str, &str) = ("security.admin_password", "secret");
const USUAL: [(&str, &str); 6] = [TWO, PROTOCOLS, CERT, KEY, MECHANISMS, ADMIN];

fn with(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::with(settings)
}

fn usual(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
    with(&[&USUAL, settings].concat())
}

fn refused(settings: &[(&str, &str)]) -> String {
    with(settings).unwrap_err().to_string()
}

fn bound(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

#[test]
fn one_listener_has_the_protocol_that_tls_and_sasl_make() {
    for (settings, protocol) in [
        (&[][..], Protocol::Plaintext),
        (&[CERT, KEY], Protocol::Ssl),
        (&[MECHANISMS, ADMIN], Protocol::SaslPlaintext),
        (&[CERT, KEY, MECHANISMS, ADMIN], Protocol::SaslSsl),
    ] {
        let config = with(settings).unwrap();
        let [listener] = &config.kafka_listeners()[..] else {
            panic!("one listener");
        };
        assert_eq!(
            (listener.name.as_str(), listener.protocol),
            (UNNAMED, protocol)
        );
        assert_eq!(listener.tls.is_some(), protocol.has_tls());
        assert_eq!(
            listener.mechanisms.len(),
            if protocol.has_sasl() { 2 } else { 0 }
        );
        assert_eq!(&config.inter_broker_listener(), listener);
    }
}

#[test]
fn listeners_have_names_in_capitals_addresses_and_protocols_of_their_own() {
    let config = usual(&[
        ("listeners.advertised", "EXTERNAL://kafka.example.org:443"),
        ("listeners.direct_ports", "INTERNAL:9300"),
        ("listeners.inter_broker", "internal"),
    ]);
    let config = config.unwrap();
    let [internal, external] = &config.kafka_listeners()[..] else {
        panic!("two listeners");
    };
    assert_eq!(internal.name, "INTERNAL");
    assert_eq!(internal.addr.to_string(), "127.0.0.1:9192");
    assert_eq!(internal.protocol, Protocol::Plaintext);
    assert_eq!(
        (internal.direct_port, external.direct_port),
        (Some(9300), None)
    );
    assert!(internal.tls.is_none() && internal.mechanisms.is_empty());
    assert_eq!(external.addr.to_string(), "0.0.0.0:9292");
    assert_eq!(external.protocol, Protocol::SaslSsl);
    assert_eq!(external.mechanisms, config.sasl_mechanisms());
    assert_eq!(external.tls.as_ref().unwrap().cert_file, PathBuf::from("c"));
    assert_eq!(config.inter_broker_listener().name, "INTERNAL");
    let advertised = config.advertised(external, bound(9292), &[]);
    assert_eq!(advertised.listener, "EXTERNAL");
    assert_eq!(
        (advertised.host.as_str(), advertised.port),
        ("kafka.example.org", 443)
    );
    let here = "127.0.0.1:9192".parse().unwrap();
    let advertised = config.advertised(internal, here, &[bound(9300), bound(9301)]);
    assert_eq!(
        (advertised.host.as_str(), advertised.port),
        ("127.0.0.1", 9192)
    );
    assert_eq!(advertised.shard_ports, [9300, 9301]);
}

#[test]
fn a_listener_that_is_named_after_its_protocol_needs_no_other() {
    let bind =
        "PLAINTEXT://127.0.0.1:1,SSL://127.0.0.1:2,SASL_PLAINTEXT://127.0.0.1:3,SASL_SSL://[::1]:4";
    let config = with(&[("listeners.bind", bind), CERT, KEY, MECHANISMS, ADMIN]).unwrap();
    let listeners = config.kafka_listeners();
    let protocols: Vec<_> = listeners.iter().map(|it| it.protocol).collect();
    assert_eq!(protocols, Protocol::ALL);
    assert!(
        listeners
            .iter()
            .all(|it| it.name == it.protocol.kafka_name())
    );
}

#[test]
fn a_listener_may_have_mechanisms_a_certificate_and_clients_of_its_own() {
    let config = with(&[
        ("listeners.bind", "A://127.0.0.1:1,B://127.0.0.1:2"),
        ("listeners.protocols", "A:SASL_SSL,B:SASL_SSL"),
        ("listeners.sasl_mechanisms", "B:PLAIN,B:SCRAM-SHA-256"),
        ("listeners.cert_files", "B:/b.pem"),
        ("listeners.key_files", "B:/b.key"),
        ("listeners.client_ca_files", "B:/b-clients.pem"),
        ("listeners.client_auth", "B:requested"),
        ("tls.crl_file", "/crl.pem"),
        MECHANISMS,
        ADMIN,
        CERT,
        KEY,
    ]);
    let config = config.unwrap();
    let [a, b] = &config.kafka_listeners()[..] else {
        panic!("two listeners");
    };
    let names =
        |it: &KafkaListener| -> Vec<&str> { it.mechanisms.iter().map(|it| it.name()).collect() };
    assert_eq!(names(a), ["SCRAM-SHA-512", "PLAIN"]);
    assert_eq!(names(b), ["PLAIN", "SCRAM-SHA-256"]);
    let (a, b) = (a.tls.clone().unwrap(), b.tls.clone().unwrap());
    assert_eq!(
        (a.cert_file, a.key_file, a.client_ca_file),
        ("c".into(), "k".into(), None)
    );
    assert_eq!(
        (b.cert_file, b.key_file),
        ("/b.pem".into(), "/b.key".into())
    );
    assert_eq!(b.client_ca_file, Some("/b-clients.pem".into()));
    assert_eq!(
        (a.client_auth, b.client_auth),
        (ClientAuth::Required, ClientAuth::Requested)
    );
    assert_eq!(a.crl_file, b.crl_file);
}

#[test]
fn each_listener_that_is_open_to_other_machines_needs_protection_or_consent() {
    let open = ("listeners.bind", "SSL://:1,PLAINTEXT://:2");
    let text = refused(&[open, CERT, KEY]);
    assert!(
        text.contains("listener PLAINTEXT") && text.contains("allow_insecure"),
        "{text}"
    );
    assert!(!text.contains("listener SSL"), "{text}");
    with(&[open, CERT, KEY, ("security.allow_insecure", "true")]).unwrap();
    with(&[
        ("listeners.bind", "SSL://:1,PLAINTEXT://127.0.0.1:2"),
        CERT,
        KEY,
    ])
    .unwrap();
}

#[test]
fn rules_decide_for_all_listeners_where_clients_of_any_must_say_who_they_are() {
    assert!(usual(&[]).unwrap().has_authorizer());
    let ssl = [
        ("listeners.bind", "SSL://:1,PLAINTEXT://127.0.0.1:2"),
        CERT,
        KEY,
    ];
    assert!(!with(&ssl).unwrap().has_authorizer());
    let root = ("security.super_users", "User:root");
    let mutual = [
        &ssl[..],
        &[("listeners.client_ca_files", "SSL:/ca.pem"), root],
    ]
    .concat();
    assert!(with(&mutual).unwrap().has_authorizer());
    let may = [&mutual[..], &[("listeners.client_auth", "SSL:requested")]].concat();
    assert!(!with(&may).unwrap().has_authorizer());
}

#[test]
fn what_no_listener_can_be_made_of_is_refused_with_what_to_do() {
    for (key, value, part) in [
        (
            "listeners.bind",
            "127.0.0.1:9092",
            "does not begin with the name of a listener",
        ),
        (
            "listeners.bind",
            "A:127.0.0.1:9092",
            "not `NAME://host:port`",
        ),
        (
            "listeners.bind",
            "A://kafka.example:9092",
            "of A: not `ip:port`",
        ),
        (
            "listeners.advertised",
            "A://0.0.0.0:1",
            "cannot connect to every address",
        ),
        (
            "listeners.advertised",
            "A://h:0",
            "the port is not 1 to 65535",
        ),
        ("listeners.advertised", "A://::1:1", "stands in brackets"),
        ("listeners.advertised", "A://a b:1", "no host name"),
        ("listeners.protocols", "A:TLS", "not one of PLAINTEXT, SSL"),
        ("listeners.client_auth", "A:maybe", "not one of the words"),
        (
            "listeners.advertised",
            "A://h:1",
            "A is not in listeners.bind",
        ),
        ("listeners.inter_broker", "A", "A is not in listeners.bind"),
    ] {
        let text = refused(&[(key, value)]);
        assert!(
            text.contains(key) && text.contains(part),
            "{key}={value}: {text}"
        );
    }
    for (settings, part) in [
        (
            vec![("listeners.bind", "A://127.0.0.1:1")],
            "A needs a protocol",
        ),
        (
            vec![("listeners.bind", "SSL://127.0.0.1:1")],
            "has TLS and no certificate",
        ),
        (
            vec![("listeners.bind", "SASL_PLAINTEXT://127.0.0.1:1"), ADMIN],
            "has SASL and no mechanism",
        ),
        (
            vec![
                ("listeners.bind", "SASL_PLAINTEXT://127.0.0.1:1"),
                MECHANISMS,
            ],
            "needs an administrator",
        ),
        (
            vec![("listeners.bind", "SSL://:1,ssl://:2"), CERT, KEY],
            "names SSL twice",
        ),
        (
            vec![("listeners.bind", "SSL://:1,PLAINTEXT://:1"), CERT, KEY],
            "addresses must differ",
        ),
        (
            vec![("listeners.bind", "SSL://127.0.0.1:9093"), CERT, KEY],
            "addresses must differ",
        ),
    ] {
        let text = refused(&settings);
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    for (key, value, part) in [
        ("listeners.cert_files", "EXTERNAL:/c", "go together"),
        (
            "listeners.client_auth",
            "EXTERNAL:required",
            "needs tls.client_ca_file",
        ),
        (
            "listeners.client_ca_files",
            "INTERNAL:/c",
            "INTERNAL has no TLS",
        ),
        (
            "listeners.sasl_mechanisms",
            "INTERNAL:PLAIN",
            "INTERNAL has no SASL",
        ),
        (
            "listeners.sasl_mechanisms",
            "EXTERNAL:GSSAPI",
            "takes PLAIN, SCRAM-SHA-256",
        ),
        (
            "listeners.direct_ports",
            "OTHER:1",
            "OTHER is not in listeners.bind",
        ),
    ] {
        let text = usual(&[(key, value)]).unwrap_err().to_string();
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn the_admin_listener_has_tls_with_a_certificate_of_its_own_or_that_of_the_kafka_listener() {
    assert_eq!(with(&[CERT, KEY]).unwrap().admin_tls(), None);
    let on = ("admin.tls", "true");
    let shared = with(&[
        CERT,
        KEY,
        on,
        ("tls.client_ca_file", "/clients"),
        ("security.authorizer", "off"),
    ]);
    let shared = shared.unwrap().admin_tls().unwrap();
    assert_eq!(
        (shared.cert_file, shared.key_file),
        ("c".into(), "k".into())
    );
    assert_eq!(shared.client_ca_file, None, "scrapers are no Kafka clients");
    let own = [("admin.tls_cert_file", "/c"), ("admin.tls_key_file", "/k")];
    let config = with(&[&own[..], &[("admin.tls_client_ca_file", "/ca")]].concat()).unwrap();
    let tls = config.admin_tls().unwrap();
    assert_eq!((tls.cert_file, tls.key_file), ("/c".into(), "/k".into()));
    assert_eq!(
        (tls.client_ca_file, tls.client_auth),
        (Some("/ca".into()), ClientAuth::Required)
    );
    for (settings, part) in [
        (vec![on], "admin.tls needs a certificate"),
        (vec![own[0]], "admin.tls_key_file go together"),
        (
            vec![("admin.tls_client_ca_file", "/ca")],
            "needs admin.tls = true",
        ),
        (vec![own[0], own[1], ("admin.tls", "false")], "contradicts"),
    ] {
        let text = refused(&settings);
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn a_listener_has_rules_lists_and_a_version_of_its_own() {
    let rules = "EXTERNAL:RULE:^CN=(.*?),OU=(.*?)$/$1@$2/L,DEFAULT,OTHER:RULE:^.*$/x/";
    let settings = [
        (
            "listeners.bind",
            "EXTERNAL://127.0.0.1:1,OTHER://127.0.0.1:2,THIRD://127.0.0.1:3",
        ),
        ("listeners.protocols", "EXTERNAL:SSL,OTHER:SSL,THIRD:SSL"),
        CERT,
        KEY,
        ("tls.client_ca_file", "ca"),
        ("tls.crl_file", "crl"),
        ("tls.principal_mapping_rules", "RULE:^CN=(.*)$/$1/"),
        ("listeners.principal_mapping_rules", rules),
        ("listeners.crl_files", "OTHER:own-crl"),
        ("listeners.tls_min_versions", "external:tlsv1.3"),
        ("security.super_users", "User:x"),
    ];
    let config = with(&settings).unwrap();
    let all = config.kafka_listeners();
    let tls = all.iter().map(|it| it.tls.as_ref().unwrap());
    let shown: Vec<_> = tls
        .map(|tls| {
            let crl = tls.crl_file.as_ref().and_then(|file| file.to_str());
            (tls.principal_mapping_rules.as_str(), crl, tls.min_version)
        })
        .collect();
    let (old, new) = (TlsVersion::Tls12, TlsVersion::Tls13);
    let expected = [
        ("RULE:^CN=(.*?),OU=(.*?)$/$1@$2/L,DEFAULT", Some("crl"), new),
        ("RULE:^.*$/x/", Some("own-crl"), old),
        ("RULE:^CN=(.*)$/$1/", Some("crl"), old),
    ];
    assert_eq!(shown, expected);
    for (key, value, part) in [
        (
            "listeners.crl_files",
            "EXTERNAL:crl",
            "needs tls.client_ca_file",
        ),
        ("listeners.crl_files", "INTERNAL:crl", "INTERNAL has no TLS"),
        (
            "listeners.tls_min_versions",
            "INTERNAL:tlsv1.3",
            "INTERNAL has no TLS",
        ),
        (
            "listeners.tls_min_versions",
            "EXTERNAL:tlsv1.1",
            "not one of the words",
        ),
        (
            "listeners.principal_mapping_rules",
            "INTERNAL:DEFAULT",
            "INTERNAL has no TLS",
        ),
        (
            "listeners.principal_mapping_rules",
            "NOBODY:DEFAULT",
            "NOBODY is not in",
        ),
        (
            "listeners.principal_mapping_rules",
            "RULE:^.*$/x/",
            "the name of a listener",
        ),
        (
            "listeners.principal_mapping_rules",
            "EXTERNAL:DEFAULT,EXTERNAL:DEFAULT",
            "twice",
        ),
    ] {
        let text = usual(&[(key, value)]).unwrap_err().to_string();
        assert!(text.contains(part), "{key}={value}: {text}");
    }
}
