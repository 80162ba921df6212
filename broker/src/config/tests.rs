use super::*;

fn machine() -> Machine {
    Machine {
        memory_bytes: 8 << 30,
        cpus: vec![0, 1, 4, 5],
        parallelism: 4,
        host_name: "box".to_owned(),
        pod_name: None,
        pod_namespace: None,
    }
}

fn load(args: &[&str], env: &[(&str, &str)], toml: Option<&str>) -> Result<Loaded, ConfigError> {
    let argv = std::iter::once("broker").chain(args.iter().copied());
    let matches = command().try_get_matches_from(argv).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = toml.map(|text| {
        let path = dir.path().join("kafscale.toml");
        std::fs::write(&path, text).unwrap();
        path
    });
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Config::resolve(Inputs {
        flags: cli::flags(&matches),
        env,
        file,
        machine: machine(),
    })
}

fn refusal(args: &[&str], env: &[(&str, &str)], toml: Option<&str>) -> String {
    load(args, env, toml).unwrap_err().to_string()
}

fn advertised(config: &Config, bound: std::net::SocketAddr) -> Advertised {
    config.advertised(&config.kafka_listeners()[0], bound, &[])
}

#[test]
fn every_default_is_allowed_and_the_design_is_kept() {
    let loaded = load(&[], &[], None).unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.broker.addr.to_string(), "127.0.0.1:9092");
    assert_eq!(config.admin.addr.to_string(), "127.0.0.1:9093");
    assert_eq!(config.mode(), Mode::Embedded);
    assert_eq!(config.flush_interval(), Duration::from_millis(10));
    assert_eq!(config.shards(), 4);
    assert_eq!(config.cpu_of_shard(6), Some(4));
    assert_eq!(config.memory_bytes(), 4 << 30);
    assert_eq!(config.cache_bytes_per_shard(), 512 << 20);
    assert_eq!(config.log.segment_bytes, 64 << 20);
    assert_eq!(config.log.compaction_interval, Duration::from_secs(600));
    assert_eq!(config.health.error_rate_crit, 0.05);
    assert_eq!(config.s3.wal_prefix, "kafscale-wal/");
    assert_eq!(config.broker_id(), None);
    assert!(config.topic.auto_create);
    let bound = config.broker.addr;
    assert_eq!(advertised(&config, bound).host, "127.0.0.1");
}

#[test]
fn the_declaration_names_every_key_once_and_consistently() {
    let mut seen = std::collections::BTreeSet::new();
    for setting in SETTINGS {
        let names = setting.flag.iter().chain(setting.env).chain([&setting.key]);
        for name in names {
            assert!(seen.insert(*name), "{name} is declared twice");
        }
        for name in setting.env {
            assert!(name.starts_with("KAFSCALE_"), "{name}");
            assert!(!foreign::is_injected(name, "1"), "{name} looks injected");
        }
        if let Some(flag) = setting.flag {
            let env = format!("KAFSCALE_{}", flag.to_ascii_uppercase().replace('-', "_"));
            assert_eq!(setting.env[0], env);
        }
        assert_eq!(
            setting.secret,
            setting.flag.is_none(),
            "{}: a secret is no flag",
            setting.key
        );
        assert!(setting.about.ends_with('.'), "{}", setting.key);
        assert!(
            setting.about.len() <= 100,
            "{}: {}",
            setting.key,
            setting.about.len()
        );
    }
    command().debug_assert();
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let toml = "[log]\nsegment_bytes = \"1MiB\"\nflush_bytes = \"9MiB\"\ncompaction_interval_ms = \
                \"30s\"\n";
    let env = [
        ("KAFSCALE_SEGMENT_BYTES", "2MiB"),
        ("KAFSCALE_FLUSH_BYTES", "10MiB"),
    ];
    let config = load(&["--segment-bytes", "3MiB"], &env, Some(toml))
        .unwrap()
        .config;
    assert_eq!(config.log.segment_bytes, 3 << 20);
    assert_eq!(config.log.flush_bytes, 10 << 20);
    assert_eq!(config.log.compaction_interval, Duration::from_secs(30));
}

#[test]
fn toml_takes_every_scalar_and_lists() {
    let toml = "[broker]\naddr = \":9092\"\nid = 7\n[shard]\npin = false\ncount = 2\n[health]\n\
                error_rate_crit = 0.5\n[security]\nallow_insecure = true\n";
    let config = load(&[], &[], Some(toml)).unwrap().config;
    assert_eq!(config.broker_id(), Some(7));
    assert_eq!(config.cpu_of_shard(0), None);
    assert_eq!(config.health.error_rate_crit, 0.5);
    let advertised = advertised(&config, "0.0.0.0:19092".parse().unwrap());
    assert_eq!(advertised, Advertised::unnamed("box", 19092, &[]));
    assert!(
        refusal(&[], &[], Some("[etcd]\nendpoints = [\"http://a\"]")).contains("etcd.endpoints")
    );
}

#[test]
fn a_refusal_names_key_value_source_and_range() {
    let text = refusal(&["--segment-bytes", "1KiB"], &[], None);
    for part in [
        "log.segment_bytes",
        "\"1KiB\"",
        "--segment-bytes",
        "64 KiB to 1 GiB",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let text = refusal(&[], &[("KAFSCALE_FLUSH_INTERVAL_MS", "10 parsecs")], None);
    for part in [
        "log.flush_interval_ms",
        "KAFSCALE_FLUSH_INTERVAL_MS",
        "parsecs",
        "1 ms to 1 min",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let text = refusal(
        &[],
        &[],
        Some("[log]\nsegment_byte = 1\n[shard]\npin = 1979-05-27\n"),
    );
    for part in [
        "log.segment_byte",
        "did you mean log.segment_bytes?",
        "shard.pin",
        "kafscale.toml",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let text = refusal(&["--shards", "-1"], &[("KAFSCALE_PIN", "perhaps")], None);
    assert!(text.contains("2 settings refused"), "{text}");
}

#[test]
fn a_broken_or_missing_file_refuses_to_start() {
    let text = refusal(
        &[],
        &[],
        Some("[s3]\nregion = \"a\"\nsecret_key = \"hunter2\n"),
    );
    assert!(
        text.contains("line 3") && !text.contains("hunter2"),
        "{text}"
    );
    let inputs = Inputs {
        flags: Vec::new(),
        env: BTreeMap::new(),
        file: Some(PathBuf::from("/nonexistent/kafscale.toml")),
        machine: machine(),
    };
    let error = Config::resolve(inputs).unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/kafscale.toml"),
        "{error}"
    );
}

#[test]
fn an_unknown_flag_is_refused() {
    let error = command()
        .try_get_matches_from(["broker", "--segment-byte", "1"])
        .unwrap_err();
    assert!(error.to_string().contains("--segment-bytes"), "{error}");
}

#[test]
fn a_boolean_flag_may_stand_alone() {
    assert!(
        load(&["--pin", "--shards", "4"], &[], None)
            .unwrap()
            .config
            .shard
            .pin
    );
    assert!(
        !load(&["--pin", "false"], &[], None)
            .unwrap()
            .config
            .shard
            .pin
    );
    assert!(!load(&["--pin=off"], &[], None).unwrap().config.shard.pin);
}

#[test]
fn an_empty_variable_is_unset_and_an_injected_one_is_ignored() {
    let env = [
        ("KAFSCALE_SEGMENT_BYTES", ""),
        ("KAFSCALE_ACL_JSON", ""),
        ("KAFSCALE_BROKER_PORT", "tcp://10.0.0.1:9092"),
        ("KAFSCALE_PORT", "tcp://10.0.0.1:9092"),
        ("KAFSCALE_SERVICE_HOST", "10.0.0.1"),
    ];
    let loaded = load(&[], &env, None).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.broker.port, None);
}

#[test]
fn the_originals_rules_need_clients_that_show_who_they_are() {
    let rules = (
        "KAFSCALE_ACL_JSON",
        "{\n\t\"principals\": [{\"name\": \"a\", \"allow\": \
         [{\"action\": \"fetch\", \"resource\": \"topic\", \"name\": \"t\"}]}]}",
    );
    let on = ("KAFSCALE_ACL_ENABLED", "true");
    let sasl = [
        ("KAFSCALE_SASL_MECHANISMS", "PLAIN"),
        ("KAFSCALE_ADMIN_PASSWORD", "p"),
    ];
    let text = refusal(&[], &[on, rules], None);
    assert!(text.contains("name users, not the client ids"), "{text}");
    let text = refusal(&[], &[&[on], &sasl[..]].concat(), None);
    assert!(
        text.contains("security.acl_json or security.acl_file"),
        "{text}"
    );
    let wrong = ("KAFSCALE_ACL_JSON", "{\"default_policy\": \"open\"}");
    let text = refusal(&[], &[&[on, wrong], &sasl[..]].concat(), None);
    assert!(text.contains("it is allow or deny"), "{text}");
    let loaded = load(&[], &[&[on, rules], &sasl[..]].concat(), None).unwrap();
    assert_eq!(loaded.config.fixed_rules().unwrap().len(), 2);
}

#[test]
fn the_proxy_protocol_needs_proxies_that_are_trusted() {
    let on = ("KAFSCALE_PROXY_PROTOCOL", "true");
    let text = refusal(&[], &[on], None);
    assert!(text.contains("security.proxy_trusted"), "{text}");
    let wrong = ("KAFSCALE_PROXY_TRUSTED", "10.0.0.0/8,lb.example");
    let text = refusal(&[], &[on, wrong], None);
    assert!(text.contains("takes addresses and networks"), "{text}");
    let right = ("KAFSCALE_PROXY_TRUSTED", "10.0.0.0/8, 192.0.2.7");
    let loaded = load(&[], &[on, right], None).unwrap();
    let trusted = loaded.config.trusted_proxies().unwrap();
    assert!(trusted.contains([192, 0, 2, 7].into()) && !trusted.contains([192, 0, 2, 8].into()));
}

#[test]
fn foreign_variables_warn_once_and_protections_refuse() {
    let env = [
        ("KAFSCALE_PRODUCE_SYNC_FLUSH", "true"),
        ("KAFSCALE_SEGMENT_BYTE", "1"),
        ("KAFSCALE_CACHE_SIZE", "1GiB"),
        ("KAFSCALE_CACHE_BYTES", "2GiB"),
    ];
    let loaded = load(&[], &env, None).unwrap();
    assert_eq!(loaded.config.cache_bytes(), 1 << 30);
    let text: Vec<String> = loaded.warnings.iter().map(Warning::to_string).collect();
    assert_eq!(text.len(), 3, "{text:?}");
    assert!(
        text.iter()
            .any(|line| line.contains("did you mean KAFSCALE_SEGMENT_BYTES?"))
    );
    assert!(
        text.iter()
            .any(|line| line.starts_with("KAFSCALE_CACHE_BYTES=2GiB is ignored"))
    );
    let text = refusal(&[], &[("KAFSCALE_ACL_FAIL_OPEN", "true")], None);
    assert!(text.contains("KAFSCALE_ACL_FAIL_OPEN"), "{text}");
    let alias = load(&[], &[("KAFSCALE_CACHE_BYTES", "33554432")], None)
        .unwrap()
        .config;
    assert_eq!(alias.cache_bytes(), 32 << 20);
}

#[test]
fn a_bucket_and_etcd_go_together() {
    for env in [
        ("KAFSCALE_S3_BUCKET", "b"),
        ("KAFSCALE_ETCD_ENDPOINTS", "http://a:2379"),
    ] {
        let text = refusal(&[], &[env], None);
        assert!(text.contains("go together"), "{text}");
    }
    let both = [
        ("KAFSCALE_S3_BUCKET", "b"),
        ("KAFSCALE_ETCD_ENDPOINTS", "http://a:2379"),
    ];
    let config = load(&[], &both, None).unwrap().config;
    assert_eq!(config.mode(), Mode::Cluster);
    assert_eq!(config.flush_interval(), Duration::from_millis(250));
}

#[test]
fn contradictions_are_refused() {
    for (overrides, part) in [
        (&[("s3.wal_prefix", "kafscale/wal/")][..], "s3.wal_prefix"),
        (&[("s3.prefix", "kafscale-wal/segments/")], "s3.wal_prefix"),
        (&[("s3.wal_prefix", "")], "s3.wal_prefix"),
        (
            &[("health.latency_warn_ms", "5000")],
            "health.latency_warn_ms",
        ),
        (
            &[("health.error_rate_warn", "0.5")],
            "health.error_rate_warn",
        ),
        (
            &[("group.session_timeout_max_ms", "1000")],
            "group.session_timeout",
        ),
        (
            &[("log.flush_partition_bytes", "16MiB")],
            "log.flush_partition_bytes",
        ),
        (
            &[
                ("topic.partitions_max", "1"),
                ("topic.auto_create_partitions", "2"),
            ],
            "topic.",
        ),
        (&[("admin.metrics_addr", "127.0.0.1:9092")], "must differ"),
        (&[("s3.access_key", "AKIA")], "s3.secret_key"),
        (&[("no.such", "1")], "no.such"),
    ] {
        let error = Config::with_machine(overrides, machine())
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(Config::with_machine(&[("s3.prefix", "")], machine()).is_ok());
}

#[test]
fn secrets_are_masked_in_refusals_and_in_the_tree() {
    let env = [("KAFSCALE_ETCD_PASSWORD", "hunter\u{7}2")];
    let text = refusal(&[], &env, None);
    assert!(text.contains("***") && !text.contains("hunter"), "{text}");
    let pairs = [("s3.access_key", "AKIAX"), ("s3.secret_key", "hunter2")];
    let config = Config::with_machine(&pairs, machine()).unwrap();
    let text = format!("{config:?}");
    assert!(
        !text.contains("hunter2") && !text.contains("AKIAX"),
        "{text}"
    );
    assert_eq!(
        config.s3.secret_key.map(|key| key.expose().to_owned()),
        Some("hunter2".into())
    );
}

#[test]
fn a_pod_gives_its_ordinal_and_its_name() {
    let mut machine = machine();
    machine.pod_name = Some("kafscale-2".to_owned());
    machine.pod_namespace = Some("prod".to_owned());
    let config = Config::with_machine(&[("broker.service", "brokers")], machine).unwrap();
    assert_eq!(config.broker_id(), Some(2));
    let host = advertised(&config, "0.0.0.0:9092".parse().unwrap()).host;
    assert_eq!(host, "kafscale-2.brokers.prod.svc.cluster.local");
}

#[test]
fn oddities_are_told() {
    let loaded = load(&["--shards", "9", "--memory-bytes", "7GiB"], &[], None).unwrap();
    let text: Vec<String> = loaded.warnings.iter().map(Warning::to_string).collect();
    assert_eq!(text.len(), 2, "{text:?}");
}

#[test]
fn help_tells_default_range_and_variable() {
    let help = command().render_long_help().to_string();
    for part in [
        "--segment-bytes <bytes>",
        "64MiB",
        "64 KiB to 1 GiB",
        "KAFSCALE_SEGMENT_BYTES",
    ] {
        assert!(help.contains(part), "{part} is not in: {help}");
    }
    assert!(!help.contains("secret-key"));
}

/// Run with `UPDATE_DOCS=1` to write the tables anew.
#[test]
fn the_documentation_is_what_the_declaration_generates() {
    const MARK: &str = "<!-- generated from broker/src/config/declaration.rs -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, tables) = text
        .split_once(MARK)
        .expect("the marker of the generated part");
    let wanted = format!("\n{}", settings_markdown());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{MARK}{wanted}")).unwrap();
    } else {
        assert_eq!(tables, wanted, "run the tests with UPDATE_DOCS=1");
    }
}
