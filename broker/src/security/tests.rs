use super::*;

fn security(settings: &[(&str, &str)]) -> Security {
    Security::new(&Config::with(settings).unwrap(), "decoy", None).unwrap()
}

const ON: [(&str, &str); 2] = [
    ("security.sasl_mechanisms", "SCRAM-SHA-256,PLAIN"),
    ("security.admin_password", "secret"),
];

fn alice(hash: ScramHash, password: &[u8]) -> (String, Verifier) {
    let verifier = Verifier::of_password(hash, password, b"salt", 4096).unwrap();
    ("alice".to_owned(), verifier)
}

#[test]
fn nobody_has_to_say_who_it_is_unless_the_settings_say_so() {
    assert!(!security(&[]).listener(ListenerId::FIRST).is_on());
    let on = security(&ON);
    let on = on.listener(ListenerId::FIRST);
    assert!(on.is_on());
    let names: Vec<_> = on.mechanisms().iter().map(|it| it.name()).collect();
    assert_eq!(names, ["SCRAM-SHA-256", "PLAIN"]);
}

#[test]
fn a_password_is_that_of_the_settings_or_the_one_that_is_stored() {
    let on = security(&ON);
    let is = |user: &str, password: &str| on.is_password(user, &Secret::new(password));
    assert!(is("admin", "secret") && !is("admin", "x") && !is("alice", "a"));
    on.set_credentials(Credentials::new([alice(ScramHash::Sha512, b"a")]));
    assert!(is("alice", "a") && !is("alice", "b") && !is("bob", "a"));
    // What is stored under the administrator's name does not replace the one of the settings.
    let (_, stored) = alice(ScramHash::Sha256, b"stolen");
    on.set_credentials(Credentials::new([("admin".to_owned(), stored)]));
    assert!(is("admin", "secret") && !is("admin", "stolen"));
}

#[test]
fn an_unknown_user_has_a_salt_that_stays() {
    let on = security(&ON);
    let salt = |user: &str, hash| on.verifier(user, hash).salt().to_vec();
    let of_bob = salt("bob", ScramHash::Sha256);
    assert_eq!(of_bob, salt("bob", ScramHash::Sha256));
    assert_ne!(of_bob, salt("eve", ScramHash::Sha256));
    assert_ne!(of_bob, salt("bob", ScramHash::Sha512));
    on.set_credentials(Credentials::new([alice(ScramHash::Sha256, b"a")]));
    assert_eq!(salt("alice", ScramHash::Sha256), b"salt");
}

#[test]
fn who_serves_other_machines_without_tls_and_authentication_must_say_so() {
    let open = ("broker.addr", ":9092");
    let text = Config::with(&[open]).unwrap_err().to_string();
    assert!(text.contains("security.allow_insecure = true"), "{text}");
    Config::with(&[open, ("security.allow_insecure", "true")]).unwrap();
    Config::with(&[open, ON[0], ON[1]]).unwrap();
    let tls = [open, ("tls.cert_file", "c"), ("tls.key_file", "k")];
    Config::with(&tls).unwrap();
    Config::with(&[("broker.addr", "[::1]:9092")]).unwrap();
}

#[test]
fn settings_that_let_nobody_in_or_know_no_such_mechanism_are_refused() {
    let refused = |settings: &[(&str, &str)]| Config::with(settings).unwrap_err().to_string();
    let text = refused(&[("security.sasl_mechanisms", "PLAIN")]);
    assert!(text.contains("needs an administrator"), "{text}");
    let text = refused(&[("security.sasl_mechanisms", "GSSAPI"), ON[1]]);
    assert!(text.contains("takes PLAIN, SCRAM-SHA-256"), "{text}");
    let both = ("security.admin_password_file", "/x");
    assert!(refused(&[ON[1], both]).contains("exclude each other"));
}

/// A certificate that is its own authority, and its key.
fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn authorities_of_other_brokers_are_taken_anew_by_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (own, key) = certificate();
    let files = [
        file("own.pem", &own),
        file("own.key", &key),
        file("ca.pem", &own),
    ];
    let settings = [
        ("tls.cert_file", files[0].as_str()),
        ("tls.key_file", &files[1]),
        ("tls.ca_file", &files[2]),
    ];
    let config = Config::with(&settings).unwrap();
    let security = Security::new(&config, "decoy", None).unwrap();
    let first = security.own();
    assert!(!security.reload(&config).unwrap());
    file("ca.pem", &certificate().0);
    assert!(security.reload(&config).unwrap());
    let second = security.own();
    assert!(!Arc::ptr_eq(&first, &second));
    file("ca.pem", "nothing");
    assert!(security.reload(&config).is_err());
    assert!(Arc::ptr_eq(&second, &security.own()), "it stays in use");
    assert!(!security.reload(&config).unwrap(), "told of once");
    let served = security
        .listener(ListenerId::FIRST)
        .tls()
        .unwrap()
        .current();
    file("own.pem", "nothing");
    assert!(security.reload(&config).is_err());
    let now = security
        .listener(ListenerId::FIRST)
        .tls()
        .unwrap()
        .current();
    assert!(Arc::ptr_eq(&served, &now));
}
