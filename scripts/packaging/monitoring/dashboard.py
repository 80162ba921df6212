#!/usr/bin/env python3
"""The Grafana dashboard of KafScale, as code: `dashboard.py > grafana-dashboard.json`.

Each query of it is run against a scraped broker by scripts/monitoring-test, which also compares the JSON with this file.
Import the JSON into Grafana 10 or later; its only input is the Prometheus data source.
"""

import json

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Series of the brokers that are chosen.
BY = 'job=~"$job",instance=~"$instance"'


def rate(metric, labels="", by=""):
    inside = f"{BY},{labels}" if labels else BY
    return f"sum {f'by ({by}) ' if by else ''}(rate({metric}{{{inside}}}[$__rate_interval]))"


def gauge(metric, labels="", by="", how="sum"):
    inside = f"{BY},{labels}" if labels else BY
    return f"{how} {f'by ({by}) ' if by else ''}({metric}{{{inside}}})"


def quantile(metric, q):
    return f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket{{{BY}}}[$__rate_interval])))"


def quantiles(metric):
    return [(quantile(metric, q), f"p{label}") for q, label in ((0.5, "50"), (0.99, "99"), (0.999, "99.9"))]


# A row: its title, then panels: title, unit of Grafana, what it says, queries with their legends.
ROWS = [
    ("Cluster", [
        ("Brokers", "short", "Live brokers, as each broker sees them; they should agree.",
         [(gauge("kafscale_cluster_brokers", how="min"), "least"), (gauge("kafscale_cluster_brokers", how="max"), "most")]),
        ("Partitions owned", "short", "By broker; the cluster evens them out.",
         [(gauge("kafscale_partitions", by="instance"), "{{instance}}")]),
        ("Partitions that moved", "short", "Taken over and given away, a second.",
         [(rate("kafscale_takeovers_total"), "taken over"), (rate("kafscale_releases_total"), "given away")]),
        ("Health of the store", "short", "0 healthy, 1 degraded, 2 unavailable: produce is refused then if it is for writes.",
         [(gauge("kafscale_s3_health_state", by="instance", how="max"), "{{instance}}")]),
    ]),
    ("Traffic", [
        ("Bytes", "Bps", "Record batches acknowledged and sent.",
         [(rate("kafscale_produce_bytes_total"), "produced"), (rate("kafscale_fetch_bytes_total"), "fetched")]),
        ("Records acknowledged", "short", "A second.", [(rate("kafscale_produce_records_total"), "records")]),
        ("Requests", "reqps", "By API.", [(rate("kafscale_requests_total", by="api"), "{{api}}")]),
        ("Error codes", "short", "In replies, a second, by API and Kafka's code.",
         [(rate("kafscale_request_errors_total", by="api, code"), "{{api}} {{code}}")]),
        ("Connections", "short", "Open, by broker.", [(gauge("kafscale_connections", by="instance"), "{{instance}}")]),
        ("Batches refused", "short", "By reason; backlog and store_unavailable are the broker's, the others the client's.",
         [(rate("kafscale_produce_refused_total", by="reason"), "{{reason}}")]),
    ]),
    ("Latency", [
        ("Produce", "ms", "From the request read to its reply queued.", quantiles("kafscale_produce_latency_ms")),
        ("Fetch from memory", "ms", "Where memory had everything.", quantiles("kafscale_fetch_hit_latency_ms")),
        ("Fetch from the store", "ms", "Where the store was read.", quantiles("kafscale_fetch_miss_latency_ms")),
        ("Hop between shards", "ms", "From a message to another shard to its answer.", quantiles("kafscale_hop_latency_ms")),
        ("Flush", "ms", "From the start of a flush to its acknowledgement.", quantiles("kafscale_flush_latency_ms")),
        ("PUT", "ms", "Of the store.", quantiles("kafscale_s3_put_latency_ms")),
        ("GET", "ms", "Of the store.", quantiles("kafscale_s3_get_latency_ms")),
    ]),
    ("Consumers", [
        ("Lag in seconds", "s", "How long the oldest record waits that a group has not read; the ten longest.",
         [(f"topk(10, max by (group, topic) (kafscale_consumer_group_lag_seconds{{{BY}}}))", "{{group}} {{topic}}")]),
        ("Lag in records", "short", "The ten largest.",
         [(f"topk(10, max by (group, topic) (kafscale_consumer_group_lag{{{BY}}}))", "{{group}} {{topic}}")]),
        ("Groups", "short", "By state.", [(gauge("kafscale_groups", by="state"), "{{state}}")]),
        ("Members", "short", "Of all groups.", [(gauge("kafscale_group_members"), "members")]),
    ]),
    ("Memory and shards", [
        ("Utilization of shards", "percentunit", "Processor time of each shard's thread; at 1 it is saturated.",
         [(rate("kafscale_shard_cpu_seconds_total", by="instance, shard"), "{{instance}} {{shard}}"),
          (rate("kafscale_control_cpu_seconds_total", by="instance"), "{{instance}} control")]),
        ("Stalls", "short", "Turns of a shard's loop above 500 us, a second.", [(rate("kafscale_stalls_total"), "turns")]),
        ("Cache hit ratio", "percentunit", "Of reads, by tier; what misses the tail asks the chunks.",
         [(f'avg by (tier) (kafscale_cache_hit_ratio{{{BY}}})', "{{tier}}")]),
        ("Cache", "bytes", "Memory by tier, and the budget.",
         [(gauge("kafscale_cache_bytes", by="tier"), "{{tier}}"), (gauge("kafscale_cache_budget_bytes"), "budget")]),
        ("Request memory", "bytes", "Held of the budget, by use.",
         [(gauge("kafscale_memory_bytes", by="use"), "{{use}}"), (gauge("kafscale_memory_budget_bytes"), "budget")]),
        ("Resident memory", "bytes", "Of the process.",
         [(gauge("kafscale_broker_mem_sys_bytes", by="instance"), "{{instance}}")]),
    ]),
    ("Store", [
        ("Requests", "reqps", "By operation.", [(rate("kafscale_s3_operations_total", by="operation"), "{{operation}}")]),
        ("Failed requests", "reqps", "By operation.",
         [(rate("kafscale_s3_operation_errors_total", by="operation"), "{{operation}}")]),
        ("Dollars a month", "currencyUSD", "An estimate at the present rate, by the prices in the settings.",
         [(gauge("kafscale_s3_cost_dollars_per_month", by="operation"), "{{operation}}")]),
        ("Stored", "bytes", "Segments of owned partitions, and WAL objects that wait for compaction.",
         [(gauge("kafscale_segment_bytes"), "segments"), (gauge("kafscale_wal_backlog_bytes"), "WAL backlog")]),
        ("WAL backlog", "short", "Objects that wait for compaction, and the bound above which produce is refused.",
         [(gauge("kafscale_wal_backlog_objects", by="instance"), "{{instance}}"),
          (gauge("kafscale_wal_backlog_limit_objects", how="min"), "bound")]),
        ("Compactions", "short", "A second, by result.", [(rate("kafscale_compactions_total", by="result"), "{{result}}")]),
        ("Garbage", "bytes", "Of the WAL: found and not deleted yet, or of sessions that nobody knows.",
         [(gauge("kafscale_wal_garbage_bytes", by="state"), "{{state}}")]),
        ("Damaged segments", "short", "See kafscale fsck.", [(gauge("kafscale_segments_damaged"), "segments")]),
    ]),
    ("Sessions and access", [
        ("Sessions", "short", "Begun, and fenced by another broker.",
         [(rate("kafscale_sessions_total", by="event"), "{{event}}")]),
        ("Keep-alives that failed", "short", "The metadata store did not answer.",
         [(rate("kafscale_keep_alive_errors_total"), "keep-alives")]),
        ("Age of the newest backup", "s", "Of the metadata.", [(gauge("kafscale_backup_age_seconds", how="max"), "age")]),
        ("Authentications", "short", "By result.", [(rate("kafscale_authentications_total", by="result"), "{{result}}")]),
        ("Denials", "short", "What clients were not allowed to do.",
         [(rate("kafscale_authorization_denied_total"), "denied")]),
        ("Throttled requests", "short", "By quota.", [(rate("kafscale_throttled_requests_total", by="quota"), "{{quota}}")]),
    ]),
]

WIDTH, HEIGHT, COLUMNS = 8, 7, 24


def panel(number, x, y, title, unit, says, targets):
    return {
        "id": number, "type": "timeseries", "title": title, "description": says, "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 8, "showPoints": "never"}},
                        "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [{"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
                    for index, (expr, legend) in enumerate(targets)],
    }


def variable(name, query, **more):
    return {"name": name, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
            "definition": query, "refresh": 2, "includeAll": True, "multi": True, "allValue": ".*",
            "current": {"text": "All", "value": "$__all"}, **more}


def dashboard():
    panels, number, y = [], 0, 0
    for title, row in ROWS:
        number += 1
        panels.append({"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}})
        y += 1
        for index, (name, unit, says, targets) in enumerate(row):
            number += 1
            x = index * WIDTH % COLUMNS
            panels.append(panel(number, x, y + index * WIDTH // COLUMNS * HEIGHT, name, unit, says, targets))
        y += -(-len(row) * WIDTH // COLUMNS) * HEIGHT
    return {
        "title": "KafScale", "uid": "kafscale", "tags": ["kafscale", "kafka"], "schemaVersion": 39, "version": 1,
        "editable": True, "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "annotations": {"list": []}, "panels": panels,
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}},
            variable("job", "label_values(kafscale_build_info, job)"),
            variable("instance", 'label_values(kafscale_build_info{job=~"$job"}, instance)'),
        ]},
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
