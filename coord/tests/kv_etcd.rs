//! What only the etcd side must do: against real etcd processes that crash, lose replies, compact,
//! ask for passwords and certificates, and lose their leader.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use coord::kv::etcd::{ConnectError, Etcd, EtcdOptions, EtcdTls, Password};
use coord::kv::{
    Compare, Key, Kv, KvError, Op, Range, Revision, SessionLease, Span, Txn, Value, Watch,
    WatchBatch, WatchError, WatchEvent, wait,
};
use etcd_process::proxy::Proxy;
use etcd_process::{EtcdProcess, connect, on_runtime};

mod etcd_process;

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn key(text: &str) -> Key {
    Key::from(text)
}

fn put_txn(name: &str, text: &str) -> Txn {
    Txn::new().and_then(Op::put(key(name), Value::from(text)))
}

fn put(kv: &Etcd, name: &str, text: &str) -> Revision {
    wait(kv.txn(put_txn(name, text))).unwrap().revision
}

fn value_of(kv: &Etcd, name: &str) -> Option<Value> {
    wait(kv.get(key(name))).unwrap().map(|stored| stored.value)
}

/// The next batch, or the end of the watch; panics when neither comes.
fn next(watch: &mut Watch) -> Result<WatchBatch, WatchError> {
    let begun = Instant::now();
    loop {
        match watch.try_next() {
            Ok(None) if begun.elapsed() < PATIENCE => sleep(Duration::from_millis(5)),
            Ok(None) => panic!("the watch delivers nothing"),
            Ok(Some(batch)) => return Ok(batch),
            Err(error) => return Err(error),
        }
    }
}

fn impatient(endpoint: String) -> EtcdOptions {
    EtcdOptions {
        connect_timeout: Duration::from_millis(500),
        request_timeout: Duration::from_secs(1),
        ..EtcdOptions::new([endpoint])
    }
}

/// Writes through restarts and elections: an attempt in doubt is settled by reading.
fn put_surely(kv: &Etcd, name: &str, text: &str) {
    let begun = Instant::now();
    loop {
        match wait(kv.txn(put_txn(name, text))) {
            Ok(_) => return,
            Err(error) if error.is_ambiguous() => {
                let stored = loop {
                    match wait(kv.get(key(name))) {
                        Ok(stored) => break stored,
                        Err(error) => assert!(error.is_retriable(), "{error}"),
                    }
                };
                if stored.is_some_and(|stored| stored.value == Value::from(text)) {
                    return;
                }
            }
            Err(error) => assert!(error.is_retriable(), "{error}"),
        }
        assert!(begun.elapsed() < PATIENCE, "no write gets through");
        sleep(Duration::from_millis(50));
    }
}

fn compact(process: &EtcdProcess, revision: Revision) {
    let mut admin = process.admin();
    on_runtime(async move { admin.compact(revision.0, None).await }).unwrap();
}

#[test]
fn futures_do_nothing_until_they_are_polled() {
    let process = EtcdProcess::start();
    let kv = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    drop(kv.txn(put_txn("/never", "x")));
    sleep(Duration::from_millis(200));
    assert_eq!(value_of(&kv, "/never"), None);
    // From another executor than tokio: `wait` parks a plain thread.
    let shared: Arc<dyn Kv> = Arc::new(kv.clone());
    let reply = std::thread::spawn(move || wait(shared.txn(put_txn("/there", "x"))));
    assert!(reply.join().unwrap().unwrap().succeeded);
}

#[test]
fn a_watch_survives_a_restart_of_etcd_and_loses_nothing() {
    let mut process = EtcdProcess::start();
    let kv = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    let start = put(&kv, "/w/0", "first");
    let mut watch = wait(kv.watch(Span::prefix("/w/"), start.next())).unwrap();
    let mut expected = Vec::new();
    for round in 0..2 {
        for number in 0..5 {
            let name = format!("/w/{round}-{number}");
            put_surely(&kv, &name, "x");
            expected.push(name);
        }
        process.kill();
        let refused = wait(kv.txn(put_txn("/w/down", "x"))).unwrap_err();
        assert!(
            refused.is_retriable() || refused.is_ambiguous(),
            "{refused}"
        );
        process.start_again();
    }
    put_surely(&kv, "/w/last", "x");
    expected.push("/w/last".to_owned());
    let mut seen = Vec::new();
    let mut before = start;
    while seen.len() < expected.len() {
        let batch = next(&mut watch).unwrap();
        assert!(batch.revision > before, "revisions rise");
        before = batch.revision;
        seen.extend(batch.events.iter().map(|event| event.key().to_string()));
    }
    assert_eq!(seen, expected);
}

#[test]
fn a_compaction_while_the_watch_is_cut_off_is_told() {
    let process = EtcdProcess::start();
    let direct = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    let proxy = Proxy::to(process.port());
    let kv = connect(impatient(proxy.endpoint())).unwrap();
    let start = put(&direct, "/w/0", "first");
    let mut watch = wait(kv.watch(Span::prefix("/w/"), start.next())).unwrap();
    let seen = put(&direct, "/w/1", "seen");
    assert_eq!(next(&mut watch).unwrap().revision, seen);
    proxy.cut(true);
    let missed = put(&direct, "/w/1", "missed");
    let last = put(&direct, "/w/1", "last");
    compact(&process, last);
    proxy.cut(false);
    let told = WatchError::Compacted { revision: missed };
    assert_eq!(next(&mut watch), Err(told));
    let error = wait(kv.watch(Span::prefix("/w/"), missed)).unwrap_err();
    let expected = KvError::Compacted {
        asked: missed,
        current: last,
    };
    assert_eq!(error, expected, "nor does a new one begin there");
    let old = Range {
        at: Some(seen),
        ..Range::prefix("/w/")
    };
    let refused = wait(kv.range(old));
    assert!(matches!(refused, Err(KvError::Compacted { asked, .. }) if asked == seen));
    let mut again = wait(kv.watch(Span::prefix("/w/"), last.next())).unwrap();
    let late = put(&direct, "/w/2", "late");
    assert_eq!(next(&mut again).unwrap().revision, late);
}

#[test]
fn a_watch_that_is_cut_off_goes_on_where_it_was() {
    let process = EtcdProcess::start();
    let direct = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    let proxy = Proxy::to(process.port());
    let kv = connect(impatient(proxy.endpoint())).unwrap();
    let mut expected = vec![put(&direct, "/w", "0")];
    let mut watch = wait(kv.watch(Span::prefix("/w"), expected[0])).unwrap();
    for round in 0..20 {
        proxy.cut(round % 2 == 0);
        expected.push(put(&direct, "/w", "x"));
        proxy.cut(false);
        expected.push(put(&direct, "/w", "y"));
    }
    let seen: Vec<Revision> = expected
        .iter()
        .map(|_| next(&mut watch).unwrap().revision)
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_revision_larger_than_a_message_is_one_batch() {
    const TXNS: usize = 12;
    const KEYS: usize = 3;
    let process = EtcdProcess::start();
    let kv = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    let start = put(&kv, "/before", "x");
    let large = Value::from(vec![b'x'; 400 << 10]);
    for _ in 0..TXNS {
        let puts = (0..KEYS).map(|number| Op::put(key(&format!("/w/{number}")), large.clone()));
        let txn = Txn {
            then: puts.collect(),
            ..Txn::new()
        };
        wait(kv.txn(txn)).unwrap();
    }
    // Many small ones with it, so that fragments begin and end within revisions.
    for number in 0..50 {
        put(&kv, "/w/small", &number.to_string());
    }
    let mut watch = wait(kv.watch(Span::prefix("/w/"), start.next())).unwrap();
    for number in 1..=TXNS + 50 {
        let batch = next(&mut watch).unwrap();
        assert_eq!(batch.revision, Revision(start.0 + number as i64));
        let expected = if number <= TXNS { KEYS } else { 1 };
        assert_eq!(batch.events.len(), expected, "revision {}", batch.revision);
    }
}

#[test]
fn a_page_too_large_for_a_message_is_cut_short_and_none_is_lost() {
    let process = EtcdProcess::start();
    let kv: Arc<dyn Kv> = Arc::new(connect(EtcdOptions::new([process.endpoint()])).unwrap());
    let large = Value::from(vec![b'x'; 1 << 20]);
    for number in 0..70 {
        let txn = Txn::new().and_then(Op::put(key(&format!("/l/{number:02}")), large.clone()));
        wait(kv.txn(txn)).unwrap();
    }
    let all = wait(coord::kv::range_all(&kv, Span::prefix("/l/"))).unwrap();
    assert_eq!((all.entries.len(), all.more), (70, false));
    let error = wait(kv.range(Range::prefix("/l/"))).unwrap_err();
    assert!(matches!(error, KvError::Invalid { .. }), "{error}");
}

#[test]
fn an_expired_session_takes_its_keys_with_it_in_one_change() {
    let process = EtcdProcess::start();
    let kv = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    let session = wait(kv.grant_session(Duration::from_millis(1_500))).unwrap();
    let left = wait(kv.keep_alive(session)).unwrap();
    assert!(left >= Duration::from_millis(1_500), "{left:?}");
    let bound = |name: &str| Op::put_bound(key(name), Value::from("s"), session);
    let txn = Txn::new().and_then(bound("/s/1")).and_then(bound("/s/2"));
    let written = wait(kv.txn(txn)).unwrap().revision;
    let mut watch = wait(kv.watch(Span::prefix("/s/"), written.next())).unwrap();
    let ended = next(&mut watch).unwrap();
    assert_eq!(ended.revision, written.next(), "one change for all keys");
    let mut deleted = ended.events;
    deleted.sort_by_key(|event| event.key().clone());
    let gone = |name: &str| WatchEvent::Delete { key: key(name) };
    assert_eq!(deleted, [gone("/s/1"), gone("/s/2")]);
    let over = KvError::SessionGone { lease: session };
    assert_eq!(wait(kv.keep_alive(session)), Err(over));
    wait(kv.revoke(session)).unwrap();
}

#[test]
fn the_session_that_is_gone_is_named_among_several() {
    let process = EtcdProcess::start();
    let kv = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    let ttl = Duration::from_secs(10);
    let (alive, dead) = (
        wait(kv.grant_session(ttl)).unwrap(),
        wait(kv.grant_session(ttl)).unwrap(),
    );
    wait(kv.revoke(dead)).unwrap();
    let bound = |name: &str, session: SessionLease| {
        Txn::new().and_then(Op::put_bound(key(name), Value::from("s"), session))
    };
    for batch in [
        Txn::batch([bound("/a", alive), bound("/b", dead)]),
        Txn::batch([bound("/a", dead), bound("/b", alive)]),
    ] {
        let expected = KvError::SessionGone { lease: dead };
        assert_eq!(wait(kv.txn(batch)), Err(expected));
    }
    assert_eq!(value_of(&kv, "/a"), None, "nothing was applied");
}

#[test]
fn a_transaction_whose_reply_is_lost_is_in_doubt_and_applied_once() {
    let process = EtcdProcess::start();
    let direct = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    let proxy = Proxy::to(process.port());
    let kv = connect(impatient(proxy.endpoint())).unwrap();
    put(&kv, "/warm", "x");
    // The reply never comes.
    proxy.lose_replies(true);
    let begun = Instant::now();
    let error = wait(kv.txn(put_txn("/lost", "1"))).unwrap_err();
    assert!(error.is_ambiguous(), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "it has a limit");
    let stored = wait(direct.get(key("/lost"))).unwrap().unwrap();
    assert_eq!(stored.create_revision, stored.mod_revision, "once only");
    // The connection breaks instead.
    let kv = kv.clone();
    let broken = std::thread::spawn(move || wait(kv.txn(put_txn("/broken", "1"))));
    let begun = Instant::now();
    while value_of(&direct, "/broken").is_none() && !broken.is_finished() {
        assert!(begun.elapsed() < PATIENCE, "the request does not arrive");
        sleep(Duration::from_millis(5));
    }
    // The reply is lost by now; were it sent again over a new connection, it would succeed.
    sleep(Duration::from_millis(100));
    proxy.lose_replies(false);
    proxy.cut(false);
    let error = broken.join().unwrap().unwrap_err();
    assert!(error.is_ambiguous(), "{error}");
    let stored = wait(direct.get(key("/broken"))).unwrap().unwrap();
    assert_eq!(stored.create_revision, stored.mod_revision, "once only");
}

#[test]
fn a_transaction_lost_on_the_way_is_in_doubt_too() {
    let process = EtcdProcess::start();
    let direct = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    let proxy = Proxy::to(process.port());
    let kv = connect(impatient(proxy.endpoint())).unwrap();
    put(&kv, "/warm", "x");
    proxy.lose_requests(true);
    let error = wait(kv.txn(put_txn("/lost", "1"))).unwrap_err();
    assert!(error.is_ambiguous(), "{error}");
    assert_eq!(value_of(&direct, "/lost"), None);
    let error = wait(kv.get(key("/warm"))).unwrap_err();
    assert!(error.is_retriable(), "a reading is never in doubt: {error}");
}

#[test]
fn what_could_not_be_sent_has_failed_definitely() {
    let mut process = EtcdProcess::start();
    let kv = connect(impatient(process.endpoint())).unwrap();
    put(&kv, "/warm", "x");
    process.kill();
    // The broken connection is noticed by now, or by the first request.
    let _ = wait(kv.get(key("/warm")));
    let error = wait(kv.txn(put_txn("/a", "1"))).unwrap_err();
    assert!(matches!(error, KvError::Failed { .. }), "{error}");
    assert!(error.to_string().contains(&process.endpoint()), "{error}");
    process.start_again();
    put_surely(&kv, "/a", "2");
}

#[test]
fn a_transaction_at_the_limits_is_taken() {
    let process = EtcdProcess::start();
    let kv = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    let limits = kv.limits();
    let nested = |number: usize| {
        let name = key(&format!("/n/{number}"));
        Txn::new()
            .when(Compare::absent(name.clone()))
            .and_then(Op::put(name, Value::from("x")))
    };
    let widest = Txn::batch((0..limits.operations_max - 1).map(nested));
    assert_eq!(widest.operations(), limits.operations_max);
    assert!(wait(kv.txn(widest)).unwrap().succeeded);
    let large = vec![0; limits.bytes_max - key("/large").len()];
    let largest = Txn::new().and_then(Op::put(key("/large"), Value::from(large)));
    assert_eq!(largest.bytes(), limits.bytes_max);
    assert!(wait(kv.txn(largest)).unwrap().succeeded);
}

#[test]
fn an_etcd_that_takes_less_says_too_large() {
    let process = EtcdProcess::start_with("http", &["--max-request-bytes", "100000"]);
    let kv = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    for size in [200_000, 1_400_000] {
        let large = Op::put(key("/large"), Value::from(vec![0; size]));
        let error = wait(kv.txn(Txn::new().and_then(large))).unwrap_err();
        assert!(matches!(error, KvError::TooLarge { .. }), "{error}");
    }
    assert_eq!(value_of(&kv, "/large"), None);
}

#[test]
fn empty_spans_touch_nothing() {
    let process = EtcdProcess::start();
    let kv = connect(EtcdOptions::new([process.endpoint()])).unwrap();
    put(&kv, "/a", "1");
    let before = put(&kv, "/b", "1");
    for span in [
        Span::between(key("/b"), key("/a")),
        Span::between(key("/a"), key("/a")),
        Span::single(key("")),
    ] {
        let txn = Txn::new()
            .and_then(Op::DeleteSpan(span.clone()))
            .and_then(Op::GetRange {
                span: span.clone(),
                limit: 0,
            });
        let reply = wait(kv.txn(txn)).unwrap();
        assert_eq!(reply.revision, before, "{span:?}");
        let range = Range {
            span: span.clone(),
            limit: 0,
            at: None,
        };
        let read = wait(kv.range(range)).unwrap();
        assert!(
            read.entries.is_empty() && read.revision == before,
            "{span:?}"
        );
        let mut watch = wait(kv.watch(span, before)).unwrap();
        assert_eq!(watch.try_next(), Ok(None));
    }
    let everything = wait(kv.range(Range::prefix(""))).unwrap();
    assert_eq!(everything.entries.len(), 2);
}

#[test]
fn a_cluster_of_three_goes_on_without_its_leader() {
    let mut members = EtcdProcess::start_three();
    let leads = |process: &EtcdProcess| {
        let kv = connect(EtcdOptions::new([process.endpoint()])).unwrap();
        let status = wait(kv.check()).unwrap();
        status.leader == Some(status.member_id)
    };
    let leader = members.iter().position(leads).unwrap();
    // The first one given is the one that is used until it fails.
    let endpoints: Vec<String> = (0..3)
        .map(|next| members[(leader + next) % 3].endpoint())
        .collect();
    let options = EtcdOptions {
        connect_timeout: Duration::from_millis(500),
        request_timeout: Duration::from_secs(2),
        ..EtcdOptions::new(endpoints)
    };
    let kv = connect(options).unwrap();
    let start = put(&kv, "/w/0", "x");
    let mut watch = wait(kv.watch(Span::prefix("/w/"), start.next())).unwrap();
    let session = wait(kv.grant_session(Duration::from_secs(30))).unwrap();
    members[leader].kill();
    let names: Vec<String> = (1..10).map(|number| format!("/w/{number}")).collect();
    for name in &names {
        put_surely(&kv, name, "after");
    }
    let seen: Vec<String> = std::iter::from_fn(|| next(&mut watch).ok())
        .flat_map(|batch| batch.events)
        .map(|event| event.key().to_string())
        .take(names.len())
        .collect();
    assert_eq!(seen, names, "the watch goes on too");
    assert!(wait(kv.keep_alive(session)).unwrap() > Duration::ZERO);
    let now = wait(kv.members()).unwrap();
    assert_eq!(now.iter().filter(|(_, answer)| answer.is_err()).count(), 1);
    // With one of three left there is no leader: definite failures or doubt, no success.
    members[(leader + 1) % 3].kill();
    let error = wait(kv.txn(put_txn("/minority", "x"))).unwrap_err();
    assert!(error.is_ambiguous() || error.is_retriable(), "{error}");
}

/// Turns on authentication: root, and `broker` who may use `/kafscale/` only.
fn require_passwords(process: &EtcdProcess) {
    use etcd_client::Permission;
    let mut admin = process.admin();
    on_runtime(async move {
        admin.user_add("root", "root-word", None).await.unwrap();
        admin.role_add("root").await.unwrap();
        admin.user_grant_role("root", "root").await.unwrap();
        admin.user_add("broker", "broker-word", None).await.unwrap();
        admin.role_add("brokers").await.unwrap();
        let own = Permission::read_write("/kafscale/").with_prefix();
        admin.role_grant_permission("brokers", own).await.unwrap();
        admin.user_grant_role("broker", "brokers").await.unwrap();
        admin.auth_enable().await.unwrap();
    });
}

fn as_broker(process: &EtcdProcess, password: &str) -> EtcdOptions {
    EtcdOptions {
        username: Some("broker".to_owned()),
        password: Some(Password::new(password)),
        ..EtcdOptions::new([process.endpoint()])
    }
}

#[test]
fn passwords_are_used_and_tokens_renewed() {
    let mut process = EtcdProcess::start_with("http", &["--auth-token-ttl", "2"]);
    let early = connect(as_broker(&process, "broker-word")).unwrap_err();
    assert!(matches!(early, ConnectError::Login { .. }), "{early}");
    require_passwords(&process);
    let wrong = connect(as_broker(&process, "secret-typo")).unwrap_err();
    assert!(matches!(wrong, ConnectError::Login { .. }), "{wrong}");
    let text = format!("{wrong} {wrong:?} {:?}", as_broker(&process, "secret-typo"));
    assert!(text.contains("KAFSCALE_ETCD_PASSWORD") && text.contains(&process.endpoint()));
    assert!(!text.contains("secret-typo"), "a password is never shown");
    let kv = connect(as_broker(&process, "broker-word")).unwrap();
    let start = put(&kv, "/kafscale/a", "1");
    let mut watch = wait(kv.watch(Span::prefix("/kafscale/"), start.next())).unwrap();
    let foreign = wait(kv.txn(put_txn("/other", "1"))).unwrap_err();
    assert!(matches!(foreign, KvError::Failed { .. }), "{foreign}");
    // Longer than a token lives: etcd refuses the one that is used next.
    sleep(Duration::from_secs(5));
    put(&kv, "/kafscale/b", "2");
    process.kill();
    process.start_again();
    assert_eq!(value_of(&kv, "/kafscale/b"), Some(Value::from("2")));
    let batch = next(&mut watch).unwrap();
    assert_eq!(batch.events[0].key(), &key("/kafscale/b"));
    put_surely(&kv, "/kafscale/c", "3");
    let batch = next(&mut watch).unwrap();
    assert_eq!(batch.events[0].key(), &key("/kafscale/c"));
    let session = wait(kv.grant_session(Duration::from_secs(10))).unwrap();
    assert!(wait(kv.keep_alive(session)).is_ok());
    wait(kv.revoke(session)).unwrap();
    let nobody = connect(EtcdOptions::new([process.endpoint()])).unwrap_err();
    assert!(matches!(nobody, ConnectError::Login { .. }), "{nobody}");
}

/// An authority and what it signed, as PEM files.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
        let folder = tempfile::tempdir().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write("ca.pem", authority.pem());
        for (name, host) in [("server", "etcd.test"), ("client", "broker.test")] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            let signed = params.signed_by(&key, &authority).unwrap();
            write(&format!("{name}.pem"), signed.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn certificates_are_shown_and_checked() {
    let ours = Certificates::new();
    let [ca, cert, private] = ["ca.pem", "server.pem", "server.key"].map(|name| ours.path(name));
    let arguments = [
        "--cert-file",
        cert.to_str().unwrap(),
        "--key-file",
        private.to_str().unwrap(),
        "--trusted-ca-file",
        ca.to_str().unwrap(),
        "--client-cert-auth",
    ];
    let process = EtcdProcess::start_with("https", &arguments);
    let tls = EtcdTls {
        ca_file: Some(ours.path("ca.pem")),
        cert_file: Some(ours.path("client.pem")),
        key_file: Some(ours.path("client.key")),
        server_name: Some("etcd.test".to_owned()),
    };
    let options = |tls: Option<EtcdTls>| EtcdOptions {
        tls,
        ..EtcdOptions::new([process.endpoint()])
    };
    let begun = Instant::now();
    let kv = loop {
        match connect(options(Some(tls.clone()))) {
            Ok(kv) => break kv,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        sleep(Duration::from_millis(100));
    };
    put(&kv, "/a", "1");
    assert_eq!(value_of(&kv, "/a"), Some(Value::from("1")));

    let other = Certificates::new();
    let unreachable = [
        EtcdTls {
            ca_file: Some(other.path("ca.pem")),
            ..tls.clone()
        },
        EtcdTls {
            server_name: None,
            ..tls.clone()
        },
        EtcdTls {
            cert_file: None,
            key_file: None,
            ..tls.clone()
        },
    ];
    for tls in unreachable {
        let error = connect(options(Some(tls.clone()))).unwrap_err();
        assert!(
            matches!(error, ConnectError::Unreachable { .. }),
            "{error} with {tls:?}"
        );
    }
    let half = EtcdTls {
        key_file: None,
        ..tls.clone()
    };
    assert_eq!(
        connect(options(Some(half))).unwrap_err(),
        ConnectError::HalfCertificate
    );
    let missing = EtcdTls {
        ca_file: Some(ours.path("none.pem")),
        ..tls
    };
    let error = connect(options(Some(missing))).unwrap_err().to_string();
    assert!(error.contains("KAFSCALE_ETCD_CA_FILE") && error.contains("none.pem"));
}

#[test]
fn what_keeps_etcd_from_being_used_is_said_with_the_setting() {
    let process = EtcdProcess::start();
    let other = EtcdProcess::start();
    let none: [String; 0] = [];
    let cases = [
        (EtcdOptions::new(none), "1 to 32 URLs"),
        (EtcdOptions::new(["ftp://host:1"]), "must begin http"),
        (EtcdOptions::new(["http://user@host:1"]), "http://host:port"),
        (
            EtcdOptions::new(["http://127.0.0.1:1"]),
            "http://127.0.0.1:1: cannot connect",
        ),
        (
            EtcdOptions::new([process.endpoint(), other.endpoint()]),
            "different etcd clusters",
        ),
        (
            EtcdOptions {
                tls: Some(EtcdTls::default()),
                ..EtcdOptions::new([process.endpoint()])
            },
            "must begin https",
        ),
        (
            EtcdOptions::new([process.endpoint().replace("http", "https")]),
            "cannot connect",
        ),
    ];
    for (options, expected) in cases {
        let error = connect(options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("KAFSCALE_ETCD_ENDPOINTS"), "{error}");
    }
    let login = EtcdOptions {
        username: Some("broker".to_owned()),
        ..EtcdOptions::new([process.endpoint()])
    };
    assert_eq!(connect(login).unwrap_err(), ConnectError::HalfLogin);
    // One of two is enough, and a scheme is not needed.
    let address = process.endpoint().replace("http://", "");
    let kv = connect(EtcdOptions::new(["127.0.0.1:1".to_owned(), address])).unwrap();
    put(&kv, "/a", "1");
    assert!(wait(kv.check()).unwrap().leader.is_some());
}
