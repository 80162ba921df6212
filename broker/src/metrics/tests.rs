use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;

fn registry(shards: usize) -> (Registry, Vec<Arc<ShardMetrics>>, Instant) {
    let now = Instant::now();
    let shards: Vec<_> = (0..shards).map(|_| ShardMetrics::new()).collect();
    let window = Duration::from_secs(60);
    let prices = Prices {
        put_per_1000: 0.005,
        get_per_1000: 0.0004,
        storage_gb_month: 0.023,
    };
    let registry = Registry::new(shards.clone(), Arc::default(), prices, window, now);
    (registry, shards, now)
}

fn line<'a>(page: &'a str, start: &str) -> &'a str {
    let found = page.lines().find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("{start} is not in:\n{page}"))
}

fn families() -> Vec<&'static Family> {
    let cells = SHARD_METRICS.iter().chain(CONTROL_METRICS);
    COMPUTED_METRICS.iter().copied().chain(cells).collect()
}

#[test]
fn names_are_declared_once_and_follow_the_convention() {
    let mut seen = BTreeSet::new();
    for family in families() {
        let name = family.name;
        assert!(seen.insert(name), "{name} is declared twice");
        assert!(name.starts_with("kafscale_"), "{name}");
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(legal), "{name}");
        assert_eq!(
            name.ends_with("_total"),
            family.shape == Shape::Counter,
            "{name}"
        );
        assert!(family.help.ends_with('.'), "{name}");
        let values: BTreeSet<_> = family.values.iter().collect();
        assert_eq!(
            values.len(),
            family.values.len(),
            "{name} repeats a label value"
        );
    }
}

#[test]
fn counters_add_up_over_shards_and_gauges_show_each() {
    let (registry, shards, now) = registry(3);
    for (number, shard) in shards.iter().enumerate() {
        shard.bytes_in.add(100);
        shard.connections.set_count(number);
        shard.memory_unacknowledged.set(7);
        shard.rejected_malformed.increment();
    }
    let page = registry.render(now, Exposition::Text);
    assert_eq!(
        line(&page, "kafscale_network_bytes_total{direction=\"in\"}"),
        "kafscale_network_bytes_total{direction=\"in\"} 300"
    );
    assert_eq!(
        line(&page, "kafscale_connections{shard=\"2\"}"),
        "kafscale_connections{shard=\"2\"} 2"
    );
    let name = "kafscale_memory_bytes{use=\"unacknowledged\",shard=\"1\"}";
    assert_eq!(line(&page, name), format!("{name} 7"));
    let name = "kafscale_frames_rejected_total{reason=\"malformed\"}";
    assert_eq!(line(&page, name), format!("{name} 3"));
    assert_eq!(line(&page, "kafscale_shards"), "kafscale_shards 3");
}

#[test]
fn histograms_are_merged_and_exported_in_milliseconds() {
    let (registry, shards, now) = registry(2);
    shards[0]
        .produce_latency
        .record_time(Duration::from_micros(1500));
    shards[1]
        .produce_latency
        .record_time(Duration::from_millis(40));
    shards[1]
        .fetch_hit_latency
        .record_time(Duration::from_micros(7));
    registry
        .control()
        .put_latency
        .record_time(Duration::from_secs(9));
    registry.control().flush_bytes.record(5000);
    let page = registry.render(now, Exposition::Text);
    for wanted in [
        "kafscale_produce_latency_ms_bucket{le=\"1\"} 0",
        "kafscale_produce_latency_ms_bucket{le=\"2\"} 1",
        "kafscale_produce_latency_ms_bucket{le=\"50\"} 2",
        "kafscale_produce_latency_ms_bucket{le=\"+Inf\"} 2",
        "kafscale_produce_latency_ms_sum 41.5",
        "kafscale_produce_latency_ms_count 2",
        "kafscale_fetch_hit_latency_ms_bucket{le=\"0.005\"} 0",
        "kafscale_fetch_hit_latency_ms_bucket{le=\"0.01\"} 1",
        "kafscale_s3_put_latency_ms_bucket{le=\"5000\"} 0",
        "kafscale_s3_put_latency_ms_bucket{le=\"+Inf\"} 1",
        "kafscale_flush_bytes_bucket{le=\"16384\"} 1",
    ] {
        assert!(
            page.lines().any(|line| line == wanted),
            "{wanted} is not in:\n{page}"
        );
    }
}

#[test]
fn requests_errors_rates_and_lag_are_shown() {
    let (registry, shards, now) = registry(2);
    for shard in &shards {
        shard.requests.answered(0, Duration::from_millis(3));
        shard.requests.answered(19, Duration::from_millis(4));
        shard.requests.failed(19, 36, 1);
    }
    registry.set_group_lags(vec![GroupLag {
        group: "g\"1".to_owned(),
        topic: "t".to_owned(),
        records: 12,
        wait: Duration::from_millis(1500),
    }]);
    registry.control().puts.add(40);
    registry.control().segment_bytes.set(1 << 40);
    for shard in &shards {
        shard.tail_hits.add(30);
        shard.tail_misses.add(10);
    }
    registry.control().health_state.set(1);
    registry.control().health_error_rate.set(0.02);
    let page = registry.render(now + Duration::from_secs(10), Exposition::Text);
    for wanted in [
        "kafscale_requests_total{api=\"Produce\"} 2",
        "kafscale_request_latency_ms_sum{api=\"Produce\"} 6",
        "kafscale_request_errors_total{api=\"CreateTopics\",code=\"36\"} 2",
        "kafscale_admin_requests_total{api=\"CreateTopics\"} 2",
        "kafscale_admin_request_errors_total{api=\"CreateTopics\"} 2",
        "kafscale_admin_request_latency_ms_avg{api=\"CreateTopics\"} 4",
        "kafscale_produce_rps 0.2",
        "kafscale_fetch_rps 0",
        "kafscale_consumer_group_lag{group=\"g\\\"1\",topic=\"t\"} 12",
        "kafscale_consumer_group_lag_seconds{group=\"g\\\"1\",topic=\"t\"} 1.5",
        "kafscale_cache_hit_ratio{tier=\"tail\"} 0.75",
        "kafscale_s3_cost_dollars_per_month{operation=\"put\"} 51.84",
        "kafscale_s3_cost_dollars_per_month{operation=\"storage\"} 23.552",
        "kafscale_consumer_lag_bucket{le=\"100\"} 1",
        "kafscale_consumer_lag_max 12",
        "kafscale_s3_health_state 1",
        "kafscale_s3_error_rate 0.02",
        "kafscale_broker_uptime_seconds 10",
    ] {
        assert!(
            page.lines().any(|line| line == wanted),
            "{wanted} is not in:\n{page}"
        );
    }
    assert!(
        !page.contains("api=\"Fetch\""),
        "an API that nobody used has no series"
    );
}

#[test]
fn the_page_is_well_formed_and_shows_every_metric() {
    let (registry, shards, now) = registry(2);
    let registry = registry.with_topic_series(3);
    shards[1].requests.failed(1, 6, 2);
    let page = registry.render(now, Exposition::Text);
    let mut types = BTreeMap::new();
    let mut series = BTreeSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, shape) = rest.split_once(' ').unwrap();
            assert!(types.insert(name, shape).is_none(), "{name} twice");
        } else if !line.starts_with('#') {
            let (id, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.insert(id), "{id} twice");
        }
    }
    for family in families() {
        assert_eq!(
            types.get(family.name),
            Some(&family.shape.word()),
            "{}",
            family.name
        );
    }
}

#[test]
fn open_metrics_has_its_own_names_of_families_bounds_and_an_end() {
    let (registry, shards, now) = registry(1);
    shards[0]
        .produce_latency
        .record_time(Duration::from_micros(1500));
    let page = registry.render(now, Exposition::OpenMetrics);
    assert!(page.ends_with("\n# EOF\n"), "{page}");
    for wanted in [
        "# TYPE kafscale_stalls counter",
        "kafscale_stalls_total 0",
        "kafscale_produce_latency_ms_bucket{le=\"2.0\"} 1",
        "kafscale_fetch_hit_latency_ms_bucket{le=\"0.005\"} 0",
    ] {
        assert!(
            page.lines().any(|line| line == wanted),
            "{wanted} is not in:\n{page}"
        );
    }
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names: Vec<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(
        names.len(),
        distinct.len(),
        "a counter without its suffix has the name of another metric"
    );
}

#[test]
fn shards_do_not_share_cache_lines() {
    assert_eq!(std::mem::align_of::<ShardMetrics>(), 128);
    assert_eq!(std::mem::size_of::<ShardMetrics>() % 128, 0);
}

#[test]
fn a_reader_on_another_thread_sees_what_the_owner_counted() {
    let (registry, shards, now) = registry(1);
    let shard = Arc::clone(&shards[0]);
    let owner = std::thread::spawn(move || {
        for _ in 0..100_000 {
            shard.hops.increment();
            shard.hop_latency.record(20_000);
            shard.requests.failed(1, 3, 1);
        }
    });
    while !owner.is_finished() {
        assert!(
            registry
                .render(now, Exposition::Text)
                .contains("kafscale_hops_total ")
        );
    }
    owner.join().unwrap();
    let page = registry.render(now, Exposition::Text);
    assert_eq!(
        line(&page, "kafscale_hops_total "),
        "kafscale_hops_total 100000"
    );
    assert_eq!(
        line(&page, "kafscale_hop_latency_ms_count"),
        "kafscale_hop_latency_ms_count 100000"
    );
}

/// Run with `UPDATE_DOCS=1` to write the tables anew.
#[test]
fn the_documentation_is_what_the_declaration_generates() {
    const MARK: &str = "<!-- generated from broker/src/metrics/declaration.rs -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, tables) = text
        .split_once(MARK)
        .expect("the marker of the generated part");
    let wanted = format!("\n{}", metrics_markdown());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{MARK}{wanted}")).unwrap();
    } else {
        assert_eq!(tables, wanted, "run the tests with UPDATE_DOCS=1");
    }
}
