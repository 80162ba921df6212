//! Who is let in, and who may do what.

use std::time::{Duration, Instant};

use client::{Client, ClientSettings, SaslCredentials};
use security::acl::{AclBinding, Operation, PatternType, Permission, ResourceType};
use security::secret::Secret;
use security::{Mechanism, Principal};
use serde_json::{Value, json};

use crate::common::{LocalBroker, batch, eventually};
use crate::http::{Answer, Ask};

const SASL: [(&str, &str); 2] = [
    ("security.sasl_mechanisms", "SCRAM-SHA-256"),
    ("security.admin_password", "hunter2"),
];
const UI: [(&str, &str); 2] = [
    ("admin.ui_username", "operator"),
    ("admin.ui_password", "let me in"),
];
const SOON: Duration = Duration::from_secs(20);

fn log_in(broker: &LocalBroker, user: &str, password: &str) -> Answer {
    let body = json!({ "user": user, "password": password });
    Ask::post("/api/v1/session", &body)
        .header("origin", "http://localhost")
        .of(broker)
}

fn session(broker: &LocalBroker, cookie: &str) -> Value {
    Ask::get("/api/v1/session").cookie(cookie).of(broker).json()
}

fn kafka(broker: &LocalBroker, user: &str, password: &str) -> Client {
    Client::connect(ClientSettings {
        sasl: Some(SaslCredentials {
            mechanism: Mechanism::Scram(security::scram::ScramHash::Sha256),
            user: user.to_owned(),
            password: Secret::new(password),
        }),
        ..ClientSettings::with_bootstrap(&broker.kafka.to_string())
    })
    .unwrap()
}

fn allow(resource: ResourceType, name: &str, operation: Operation) -> AclBinding {
    AclBinding {
        resource,
        name: name.to_owned(),
        pattern: PatternType::Literal,
        principal: Principal::user("alice"),
        host: "*".to_owned(),
        operation,
        permission: Permission::Allow,
    }
}

#[test]
fn without_an_account_the_console_is_read_only() {
    let broker = LocalBroker::start(&[]);
    broker.connect().create("t", 1);
    let shown = Ask::get("/api/v1/session").of(&broker).json();
    assert_eq!(
        (shown["has_login"].as_bool(), shown["is_admin"].as_bool()),
        (Some(false), Some(false))
    );
    assert_eq!(
        Ask::get("/api/v1/topics/t/messages").of(&broker).status,
        200
    );
    for ask in [
        Ask::post("/api/v1/topics", &json!({ "name": "x" })),
        Ask::new("DELETE", "/api/v1/topics/t?confirm=t"),
        Ask::post("/api/v1/groups/g/offsets", &json!({ "to": "latest" })),
    ] {
        let refused = ask.of(&broker);
        assert_eq!(refused.status, 403, "{}", refused.text());
        assert!(
            refused.text().contains("KAFSCALE_UI_USERNAME"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(log_in(&broker, "admin", "admin").status, 401);
}

#[test]
fn the_account_of_the_settings_lets_in_for_a_session() {
    let broker = LocalBroker::start(&UI);
    for (user, password) in [
        ("operator", "let me"),
        ("Operator", "let me in"),
        ("", ""),
        ("operator", ""),
    ] {
        assert_eq!(
            log_in(&broker, user, password).status,
            401,
            "{user} {password}"
        );
    }
    let entered = log_in(&broker, "operator", "let me in");
    assert_eq!(entered.status, 200, "{}", entered.text());
    let set = entered.header("set-cookie").unwrap();
    for part in ["httponly", "samesite=strict", "path=/", "max-age=43200"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains("secure"), "there is no TLS: {set}");
    let cookie = entered.cookie();
    let known = session(&broker, &cookie);
    assert_eq!(
        (known["user"].as_str(), known["is_admin"].as_bool()),
        (Some("operator"), Some(true))
    );
    let create = |name: &str| Ask::post("/api/v1/topics", &json!({ "name": name }));
    assert_eq!(create("by-cookie").cookie(&cookie).of(&broker).status, 200);
    // Another's token, and none that was ever given.
    let forged = format!("kafscale_ui_session={}", "0".repeat(64));
    assert_eq!(session(&broker, &forged)["user"], Value::Null);
    let out = Ask::new("DELETE", "/api/v1/session")
        .cookie(&cookie)
        .of(&broker);
    assert!(out.header("set-cookie").unwrap().contains("max-age=0"));
    assert_eq!(session(&broker, &cookie)["user"], Value::Null);
    assert_eq!(
        create("after-logout").cookie(&cookie).of(&broker).status,
        401
    );
}

#[test]
fn a_change_from_another_site_is_refused() {
    let broker = LocalBroker::start(&UI);
    let cookie = log_in(&broker, "operator", "let me in").cookie();
    let create = |name: &str| Ask::post("/api/v1/topics", &json!({ "name": name }));
    let other = create("a")
        .cookie(&cookie)
        .header("origin", "http://evil.example");
    assert_eq!(other.of(&broker).status, 403);
    let other = create("b")
        .cookie(&cookie)
        .header("sec-fetch-site", "cross-site");
    assert_eq!(other.of(&broker).status, 403);
    // A browser that does not say where it is.
    let silent = create("c").header("cookie", &cookie);
    assert_eq!(silent.of(&broker).status, 403);
    // A form can be sent by any site, but not as JSON.
    let form = Ask::new("POST", "/api/v1/topics")
        .cookie(&cookie)
        .body("name=d");
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data",
    ] {
        assert_eq!(
            form.clone().header("content-type", kind).of(&broker).status,
            415,
            "{kind}"
        );
    }
    let logged_in = json!({ "user": "operator", "password": "let me in" });
    let login = Ask::post("/api/v1/session", &logged_in).header("origin", "http://evil.example");
    assert_eq!(login.of(&broker).status, 403);
    let topics = Ask::get("/api/v1/topics").of(&broker).data();
    assert_eq!(topics["total"], 0, "nothing was made");
    // A script has neither cookie nor origin.
    assert_eq!(
        create("e")
            .basic("operator", "let me in")
            .of(&broker)
            .status,
        200
    );
}

#[test]
fn guessing_is_slowed_down_and_bodies_are_bounded() {
    let broker = LocalBroker::start(&UI);
    let statuses: Vec<u16> = (0..25)
        .map(|_| log_in(&broker, "operator", "guess").status)
        .collect();
    assert_eq!(
        statuses.iter().filter(|it| **it == 401).count(),
        20,
        "{statuses:?}"
    );
    let late = log_in(&broker, "operator", "let me in");
    assert_eq!(late.status, 429, "the right one waits as well");
    assert!(late.header("retry-after").is_some());
    let basic = Ask::get("/api/v1/topics")
        .basic("operator", "let me in")
        .of(&broker);
    assert_eq!(basic.status, 429);
    let long = json!({ "user": "x".repeat(2_000), "password": "y" });
    assert_eq!(Ask::post("/api/v1/session", &long).of(&broker).status, 400);
    let huge = json!({ "user": "x".repeat(100_000), "password": "y" });
    assert_eq!(Ask::post("/api/v1/session", &huge).of(&broker).status, 413);
    for body in [
        "",
        "{",
        "[]",
        "{\"user\":1}",
        "{\"user\":\"a\",\"password\":\"b\",\"c\":1}",
    ] {
        let ask = Ask::new("POST", "/api/v1/session").header("content-type", "application/json");
        assert_eq!(ask.body(body).of(&broker).status, 400, "{body}");
    }
    assert_eq!(Ask::new("PUT", "/api/v1/session").of(&broker).status, 405);
}

#[test]
fn a_header_that_is_no_password_is_refused() {
    let broker = LocalBroker::start(&UI);
    for header in [
        "Bearer abc",
        "Basic",
        "Basic !!!",
        "Basic bm9jb2xvbg==",
        "basic /w==",
        "nonsense",
    ] {
        let answer = Ask::get("/api/v1/topics")
            .header("authorization", header)
            .of(&broker);
        assert_eq!(answer.status, 400, "{header}");
    }
    let wrong = Ask::get("/api/v1/topics")
        .basic("operator", "no")
        .of(&broker);
    assert_eq!(wrong.status, 401);
    assert!(
        !wrong.header("www-authenticate").unwrap().contains("basic"),
        "no browser asks by itself"
    );
}

#[test]
fn where_clients_authenticate_people_do_too() {
    let broker = LocalBroker::start(&SASL);
    for path in [
        "overview", "topics", "cluster", "events", "security", "store", "cache", "latency",
        "groups",
    ] {
        let answer = Ask::get(&format!("/api/v1/{path}")).of(&broker);
        assert_eq!(answer.status, 401, "{path}");
    }
    for path in ["shards", "partitions", "owners"] {
        assert_eq!(
            Ask::get(&format!("/debug/{path}")).of(&broker).status,
            401,
            "{path}"
        );
    }
    assert_eq!(
        Ask::get("/console/").of(&broker).status,
        200,
        "to log in with"
    );
    let told = Ask::get("/api/v1/session").of(&broker).json();
    assert_eq!(told["needs_login"], true);
    for (user, password) in [("admin", "hunter3"), ("nobody", "hunter2"), ("", "")] {
        assert_eq!(log_in(&broker, user, password).status, 401);
    }
    let cookie = log_in(&broker, "admin", "hunter2").cookie();
    assert_eq!(session(&broker, &cookie)["is_admin"], true);
    let create = Ask::post("/api/v1/topics", &json!({ "name": "made" })).cookie(&cookie);
    let made = create.of(&broker);
    assert_eq!(made.status, 200, "{}", made.text());
    let groups = Ask::get("/api/v1/groups").cookie(&cookie).of(&broker);
    assert_eq!(groups.status, 200, "{}", groups.text());
    let shown = Ask::get("/api/v1/security")
        .basic("admin", "hunter2")
        .of(&broker)
        .data();
    assert_eq!(shown["super_users"], json!(["User:admin"]));
    assert_eq!(shown["listeners"][0]["protocol"], "SASL_PLAINTEXT");
}

#[test]
fn the_rules_of_a_user_hold_in_the_console() {
    let broker = LocalBroker::start(&SASL);
    let mut admin = kafka(&broker, "admin", "hunter2");
    for name in ["public", "private"] {
        let topic = client::NewTopic {
            name: name.to_owned(),
            ..Default::default()
        };
        admin.create_topic(&topic).unwrap();
    }
    admin.set_password("alice", &Secret::new("wonder")).unwrap();
    admin
        .create_acls(&[allow(ResourceType::Topic, "public", Operation::Describe)])
        .unwrap();
    let alice = |path: &str| {
        Ask::get(&format!("/api/v1/{path}"))
            .basic("alice", "wonder")
            .of(&broker)
    };
    let names = |answer: &Answer| -> Vec<String> {
        let data = answer.data();
        let rows = data["rows"].as_array().unwrap();
        rows.iter()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&alice("topics")), ["public"]);
    assert_eq!(
        alice("topics/private").status,
        404,
        "not even its name is told"
    );
    assert_eq!(alice("topics/public").status, 200);
    assert_eq!(alice("topics/public/configs").status, 403);
    assert_eq!(
        alice("topics/public/messages").status,
        403,
        "DESCRIBE is not READ"
    );
    assert_eq!(alice("topics/private/messages").status, 404);
    assert_eq!(alice("security").status, 403);
    assert_eq!(alice("groups").data()["total"], 0);
    let debug = Ask::get("/debug/partitions")
        .basic("alice", "wonder")
        .of(&broker)
        .json();
    assert_eq!(debug["total"], 1);
    let create = Ask::post("/api/v1/topics", &json!({ "name": "x" })).basic("alice", "wonder");
    assert_eq!(create.of(&broker).status, 403);
    admin
        .create_acls(&[allow(ResourceType::Topic, "public", Operation::Read)])
        .unwrap();
    eventually("the rule is in force", SOON, || {
        alice("topics/public/messages").status == 200
    });
    // Who may change the cluster is an administrator here.
    admin
        .create_acls(&[allow(
            ResourceType::Cluster,
            "kafka-cluster",
            Operation::Alter,
        )])
        .unwrap();
    let create =
        Ask::post("/api/v1/topics", &json!({ "name": "by-alice" })).basic("alice", "wonder");
    eventually("the rule is in force", SOON, || {
        create.of(&broker).status == 200
    });
    assert_eq!(alice("security").status, 200, "ALTER implies DESCRIBE");
}

#[test]
fn a_login_ends_with_its_password_and_its_user() {
    let broker = LocalBroker::start(&SASL);
    let mut admin = kafka(&broker, "admin", "hunter2");
    admin.set_password("alice", &Secret::new("first")).unwrap();
    let enter = |password: &str| -> String {
        let mut answer = log_in(&broker, "alice", password);
        let until = Instant::now() + SOON;
        while answer.status != 200 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
            answer = log_in(&broker, "alice", password);
        }
        answer.cookie()
    };
    let is_in = |cookie: &str| session(&broker, cookie)["user"] == "alice";
    let cookie = enter("first");
    assert!(is_in(&cookie));
    admin.set_password("alice", &Secret::new("second")).unwrap();
    eventually("the login is over", SOON, || !is_in(&cookie));
    let cookie = enter("second");
    assert!(is_in(&cookie));
    admin.delete_user("alice").unwrap();
    eventually("the login is over", SOON, || !is_in(&cookie));
    assert_eq!(log_in(&broker, "alice", "second").status, 401);
}

#[test]
fn messages_are_not_shown_to_everybody_who_reaches_the_port() {
    let broker = LocalBroker::start(&[("admin.metrics_addr", "0.0.0.0:0")]);
    let mut client = broker.connect();
    let topic = client.create("t", 1);
    client.produce(&topic, 0, &batch(&[b"secret"])).offset();
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], broker.admin().port()));
    let ask = |path: &str| Ask::get(path).header("host", "broker-0.example").at(admin);
    assert_eq!(ask("/api/v1/topics").status, 200);
    let refused = ask("/api/v1/topics/t/messages");
    assert_eq!(refused.status, 403);
    assert!(!refused.text().contains("secret") && refused.text().contains("KAFSCALE_UI_USERNAME"));
    let shown = ask("/api/v1/topics/t").data();
    assert_eq!(shown["may_read"], false);
    let settings = [&UI[..], &[("admin.metrics_addr", "0.0.0.0:0")]].concat();
    let broker = LocalBroker::start(&settings);
    broker.connect().create("t", 1);
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], broker.admin().port()));
    let path = "/api/v1/topics/t/messages";
    assert_eq!(Ask::get(path).at(admin).status, 403);
    assert_eq!(
        Ask::get(path)
            .basic("operator", "let me in")
            .at(admin)
            .status,
        200
    );
}

#[test]
fn half_an_account_refuses_to_start() {
    use broker::config::Config;
    let refused = |settings: &[(&str, &str)]| Config::with(settings).unwrap_err().to_string();
    for half in [&UI[..1], &UI[1..]] {
        assert!(refused(half).contains("KAFSCALE_UI_USERNAME"), "{half:?}");
    }
    let both = [&UI[..], &[("admin.ui_password_file", "/x")]].concat();
    assert!(refused(&both).contains("exclude each other"));
}
