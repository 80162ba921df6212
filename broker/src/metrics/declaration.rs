//! The declaration of every metric. This is the only place where a name is written down.

use super::cell::{Counter, FloatGauge, Gauge, Histogram};
use super::family::{Cells, Each, Family, Shape, metrics};

metrics! {
    /// *Shard-owned, read by the control thread.* What a shard counts, besides its requests.
    ShardCells, SHARD_METRICS {
        Gauge "kafscale_connections" "connections" ["shard"]
            "Client connections that are open." { connections }
        Counter "kafscale_connections_accepted_total" "connections" []
            "Client connections taken." { connections_accepted }
        Counter "kafscale_connections_closed_total" "connections" ["reason"]
            "Client connections closed, by who or what ended them." {
            closed_by_client = "client",
            closed_idle = "idle",
            closed_no_progress = "no_progress",
            closed_frame = "frame",
            closed_limit = "limit",
            closed_error = "error",
            closed_shutdown = "shutdown",
        }
        Counter "kafscale_authentications_total" "connections" ["result"]
            "Exchanges in which clients showed who they are, by what came of it." {
            authentication_succeeded = "succeeded",
            authentication_failed = "failed",
        }
        Counter "kafscale_tls_handshakes_total" "connections" ["result"]
            "TLS handshakes with clients, by what came of them." {
            tls_succeeded = "succeeded",
            tls_failed = "failed",
        }
        Counter "kafscale_authorization_denied_total" "operations" []
            "What clients were not allowed to do." { authorization_denied }
        Counter "kafscale_network_bytes_total" "bytes" ["direction"]
            "Bytes read from and written to client connections." {
            bytes_in = "in",
            bytes_out = "out",
        }
        Counter "kafscale_frames_rejected_total" "frames" ["reason"]
            "Requests refused before they were served." {
            rejected_too_large = "too_large",
            rejected_malformed = "malformed",
            rejected_api = "unsupported_api",
            rejected_version = "unsupported_version",
            rejected_partitions = "too_many_partitions",
            rejected_budget = "decode_budget",
        }
        Counter "kafscale_requests_held_back_total" "requests" []
            "Large requests that waited because others had held their shard for long." { requests_held_back }
        Gauge "kafscale_requests_in_flight" "requests" ["shard"]
            "Requests read and not answered yet." { requests_in_flight }
        Counter "kafscale_produce_records_total" "records" []
            "Records acknowledged." { produce_records }
        Counter "kafscale_produce_batches_total" "batches" []
            "Record batches acknowledged." { produce_batches }
        Counter "kafscale_produce_bytes_total" "bytes" []
            "Bytes of record batches acknowledged." { produce_bytes }
        Counter "kafscale_produce_duplicates_total" "batches" []
            "Record batches that a producer sent again and that were not appended." {
            produce_duplicates
        }
        Counter "kafscale_produce_refused_total" "batches" ["reason"]
            "Record batches refused." {
            produce_invalid = "invalid",
            produce_fenced = "fenced",
            produce_sequence = "sequence",
            produce_backlog = "backlog",
            produce_unavailable = "store_unavailable",
        }
        Histogram "kafscale_produce_latency_ms" "ms" []
            "Time from a Produce request read to its reply queued, failures included." {
            produce_latency
        }
        Counter "kafscale_fetch_bytes_total" "bytes" []
            "Bytes of record batches sent to consumers." { fetch_bytes }
        Counter "kafscale_fetch_partitions_total" "partitions" ["result"]
            "Partitions read by Fetch: from memory, from the store, or nothing new." {
            fetch_hits = "hit",
            fetch_misses = "miss",
            fetch_empty = "empty",
        }
        Histogram "kafscale_fetch_hit_latency_ms" "ms" []
            "Time from a Fetch request read to its reply queued, where memory had everything." {
            fetch_hit_latency
        }
        Histogram "kafscale_fetch_miss_latency_ms" "ms" []
            "Time from a Fetch request read to its reply queued, where the store was read." {
            fetch_miss_latency
        }
        Gauge "kafscale_fetch_waiters" "requests" ["shard"]
            "Fetch requests that wait for new records." { fetch_waiters }
        Gauge "kafscale_fetch_sessions" "sessions" ["shard"]
            "Incremental fetch sessions." { fetch_sessions }
        Counter "kafscale_fetch_sessions_evicted_total" "sessions" []
            "Incremental fetch sessions evicted to make room." { fetch_sessions_evicted }
        Counter "kafscale_hops_total" "messages" []
            "Requests that one shard sent to another." { hops }
        Histogram "kafscale_hop_latency_ms" "ms" []
            "Time from a request to another shard to its answer." { hop_latency }
        Counter "kafscale_stalls_total" "turns" []
            "Turns of a shard's loop that ran for more than 500 us." { stalls }
        Gauge "kafscale_memory_bytes" "bytes" ["use", "shard"]
            "Bytes held of the memory budget, by use." {
            memory_requests = "request",
            memory_unacknowledged = "unacknowledged",
            memory_unsent = "unsent",
        }
        Gauge "kafscale_memory_budget_bytes" "bytes" ["shard"]
            "The memory budget." { memory_budget }
        Counter "kafscale_memory_waits_total" "requests" []
            "Requests that waited for room in the memory budget." { memory_waits }
        Gauge "kafscale_cache_bytes" "bytes" ["tier", "shard"]
            "Memory of the cache: batches as they came (tail), the places of those that no segment holds, what was \
             read back from the store or is on its way (chunk)." {
            tail_bytes = "tail",
            place_bytes = "place",
            chunk_bytes = "chunk",
        }
        Gauge "kafscale_cache_budget_bytes" "bytes" ["shard"]
            "The budget of the cache: what its tiers take together." { cache_budget }
        Counter "kafscale_cache_hits_total" "reads" ["tier", "shard"]
            "Reads that found their bytes in memory." {
            tail_hits = "tail",
            chunk_hits = "chunk",
        }
        Counter "kafscale_cache_misses_total" "reads" ["tier", "shard"]
            "Reads that did not find their bytes in memory." {
            tail_misses = "tail",
            chunk_misses = "chunk",
        }
        Counter "kafscale_cache_evictions_total" "entries" ["tier", "shard"]
            "Entries evicted to make room; `unreached` are chunks that were read ahead for nobody." {
            tail_evictions = "tail",
            chunk_evictions = "chunk",
            unreached_evictions = "unreached",
        }
        Counter "kafscale_cache_read_aheads_total" "reads" ["shard"]
            "Reads of the store that were begun before anyone asked for their bytes." { read_aheads }
        Gauge "kafscale_partitions" "partitions" ["shard"]
            "Partitions that this broker owns." { partitions }
        Gauge "kafscale_producers" "producers" []
            "Idempotent producers whose state is held." { producers }
        Counter "kafscale_throttled_requests_total" "requests" ["quota"]
            "Requests whose client was told to pause because of a quota, of its own or of all clients together." {
            throttled_produce = "producer_byte_rate",
            throttled_fetch = "consumer_byte_rate",
            throttled_request = "request_percentage",
            throttled_mutation = "controller_mutation_rate",
            throttled_namespace_produce = "namespace_produce",
            throttled_namespace_fetch = "namespace_fetch",
        }
        Gauge "kafscale_groups" "groups" ["state"]
            "Consumer groups that this broker coordinates." {
            groups_empty = "empty",
            groups_preparing = "preparing_rebalance",
            groups_completing = "completing_rebalance",
            groups_stable = "stable",
            groups_dead = "dead",
        }
        Gauge "kafscale_group_members" "members" []
            "Members of those groups." { group_members }
    }
}

metrics! {
    /// *Control thread.* What the control thread counts.
    ControlMetrics, CONTROL_METRICS {
        Counter "kafscale_throttled_connections_total" "connections" []
            "Connections refused because their address opens more than its quota lets it." {
            throttled_connections
        }
        Counter "kafscale_connections_refused_total" "connections" ["reason"]
            "Connections refused: too many of their address, of all, or of the namespace; or of a proxy that does not \
             say for whom." {
            refused_address = "address",
            refused_shards = "shards",
            refused_namespace = "namespace",
            refused_proxied = "proxy",
        }
        Counter "kafscale_accept_pauses_total" "pauses" []
            "Times that no connection was taken for a moment because too many came." { accept_pauses }
        Gauge "kafscale_token_keys" "keys" []
            "Keys that tokens of clients may be signed with." { token_keys }
        Counter "kafscale_token_key_reads_total" "reads" ["result"]
            "Times that these keys were read, by what came of it." {
            token_keys_read = "succeeded",
            token_keys_failed = "failed",
        }
        Gauge "kafscale_s3_health_state" "state" []
            "Health of the store: 0 healthy, 1 degraded, 2 unavailable." { health_state }
        FloatGauge "kafscale_s3_latency_ms_avg" "ms" []
            "Mean latency of the store over the health window." { health_latency_ms }
        FloatGauge "kafscale_s3_error_rate" "fraction" []
            "Fraction of failed requests to the store over the health window." { health_error_rate }
        FloatGauge "kafscale_s3_state_duration_seconds" "s" []
            "Time in the present state of health." { health_state_seconds }
        Counter "kafscale_s3_state_transitions_total" "changes" []
            "Changes of the state of health." { health_transitions }
        Counter "kafscale_s3_operations_total" "requests" ["operation"]
            "Requests to the store." {
            puts = "put",
            gets = "get",
            lists = "list",
            deletes = "delete",
            heads = "head",
        }
        Counter "kafscale_s3_operation_errors_total" "requests" ["operation"]
            "Requests to the store that failed." {
            put_errors = "put",
            get_errors = "get",
            list_errors = "list",
            delete_errors = "delete",
            head_errors = "head",
        }
        Counter "kafscale_s3_retries_total" "requests" []
            "Requests to the store that were sent again." { store_retries }
        Counter "kafscale_s3_bytes_total" "bytes" ["direction"]
            "Bytes of objects written and read." {
            put_bytes = "put",
            get_bytes = "get",
        }
        Histogram "kafscale_s3_put_latency_ms" "ms" []
            "Time of a PUT." { put_latency }
        Histogram "kafscale_s3_get_latency_ms" "ms" []
            "Time of a GET." { get_latency }
        Histogram "kafscale_flush_latency_ms" "ms" []
            "Time from the start of a flush to its acknowledgement." { flush_latency }
        Histogram "kafscale_flush_bytes" "bytes" []
            "Size of the WAL object of a flush." { flush_bytes }
        Counter "kafscale_wal_objects_total" "objects" ["event"]
            "WAL objects written, and deleted once their batches were in segments." {
            wal_written = "written",
            wal_deleted = "deleted",
        }
        Gauge "kafscale_wal_backlog_objects" "objects" []
            "WAL objects that wait for compaction." { wal_backlog_objects }
        Gauge "kafscale_wal_backlog_bytes" "bytes" []
            "Their bytes." { wal_backlog_bytes }
        Gauge "kafscale_wal_backlog_limit_objects" "objects" []
            "The bound above which produce is refused." { wal_backlog_limit }
        Gauge "kafscale_wal_garbage_bytes" "bytes" ["state"]
            "Bytes of WAL objects that nobody needs: found and not deleted yet, or of sessions that \
             the metadata has never heard of, which are left alone." {
            wal_garbage_bytes = "pending",
            wal_unknown_bytes = "unknown",
        }
        Gauge "kafscale_backup_age_seconds" "s" []
            "Age of the newest backup of the metadata, on the broker that makes them; 0 on the others and \
             before the first." { backup_age }
        Gauge "kafscale_backup_bytes" "bytes" []
            "Size of the newest backup of the metadata, on the broker that makes them." { backup_bytes }
        Counter "kafscale_backups_total" "backups" ["result"]
            "Backups of the metadata that were made, and tries that failed." {
            backups = "ok",
            backup_errors = "error",
        }
        Counter "kafscale_compactions_total" "segments" ["result"]
            "Compactions of a partition's batches into a segment." {
            compactions = "ok",
            merges = "merged",
            rewrites = "rewritten",
            compaction_errors = "error",
        }
        Gauge "kafscale_segments" "objects" []
            "Segments of the partitions that this broker owns." { segments }
        Gauge "kafscale_segments_damaged" "objects" []
            "Segments among them that were found to be damaged: `kafscale fsck --repair`." {
            segments_damaged
        }
        Gauge "kafscale_segment_bytes" "bytes" []
            "Their bytes." { segment_bytes }
        Counter "kafscale_segments_deleted_total" "objects" []
            "Segments deleted by retention, DeleteRecords or deletion of a topic." {
            segments_deleted
        }
        Gauge "kafscale_topics" "topics" []
            "Topics of the cluster." { topics }
        Gauge "kafscale_cluster_partitions" "partitions" []
            "Partitions of all topics of the cluster." { cluster_partitions }
        Gauge "kafscale_namespace_limit" "things" ["of"]
            "What the namespace may hold; 0 where there is no bound." {
            namespace_topics = "topics",
            namespace_partitions = "partitions",
            namespace_groups = "groups",
            namespace_connections = "connections",
        }
        Counter "kafscale_takeovers_total" "partitions" []
            "Partitions taken over." { takeovers }
        Counter "kafscale_releases_total" "partitions" []
            "Partitions given away while serving." { releases }
        Gauge "kafscale_cluster_brokers" "brokers" []
            "Live brokers of the cluster, as this broker sees it." { cluster_brokers }
        Counter "kafscale_keep_alive_errors_total" "requests" []
            "Keep-alives of this broker's session that the metadata store did not answer." {
            keep_alive_errors
        }
        Counter "kafscale_sessions_total" "sessions" ["event"]
            "Sessions of this broker that began, and that another broker fenced." {
            sessions_begun = "begun",
            sessions_fenced = "fenced",
        }
    }
}

const fn computed(
    name: &'static str,
    shape: Shape,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        name,
        shape,
        labels,
        values: &[],
        unit,
        help,
    }
}

/// Requests by API.
pub(super) static REQUESTS: Family = computed(
    "kafscale_requests_total",
    Shape::Counter,
    "requests",
    &["api"],
    "Requests answered.",
);
/// Errors by API and code.
pub(super) static REQUEST_ERRORS: Family = computed(
    "kafscale_request_errors_total",
    Shape::Counter,
    "errors",
    &["api", "code"],
    "Error codes in replies, one for each that a reply holds.",
);
/// Latency by API.
pub(super) static REQUEST_LATENCY: Family = computed(
    "kafscale_request_latency_ms",
    Shape::Summary,
    "ms",
    &["api"],
    "Time from a request read to its reply queued.",
);
/// The original's name for requests of administration.
pub(super) static ADMIN_REQUESTS: Family = computed(
    "kafscale_admin_requests_total",
    Shape::Counter,
    "requests",
    &["api"],
    "Requests of administration answered.",
);
/// The original's name for their errors.
pub(super) static ADMIN_ERRORS: Family = computed(
    "kafscale_admin_request_errors_total",
    Shape::Counter,
    "errors",
    &["api"],
    "Error codes in replies to requests of administration.",
);
/// The original's name for their latency.
pub(super) static ADMIN_LATENCY: Family = computed(
    "kafscale_admin_request_latency_ms_avg",
    Shape::Gauge,
    "ms",
    &["api"],
    "Mean time of requests of administration since the start.",
);
/// Produce requests a second.
pub(super) static PRODUCE_RPS: Family = computed(
    "kafscale_produce_rps",
    Shape::Gauge,
    "requests/s",
    &[],
    "Produce requests a second over the throughput window.",
);
/// Fetch requests a second.
pub(super) static FETCH_RPS: Family = computed(
    "kafscale_fetch_rps",
    Shape::Gauge,
    "requests/s",
    &[],
    "Fetch requests a second over the throughput window.",
);
/// Lag by group and topic.
pub(super) static GROUP_LAG: Family = computed(
    "kafscale_consumer_group_lag",
    Shape::Gauge,
    "records",
    &["group", "topic"],
    "Records between committed offsets and high watermarks; the 1,000 largest.",
);
/// Lag in time, by group and topic.
pub(super) static GROUP_LAG_SECONDS: Family = computed(
    "kafscale_consumer_group_lag_seconds",
    Shape::Gauge,
    "s",
    &["group", "topic"],
    "How long the oldest record waits that the group has not read; of the same pairs.",
);
/// Hit ratio.
pub(super) static CACHE_HIT_RATIO: Family = computed(
    "kafscale_cache_hit_ratio",
    Shape::Gauge,
    "fraction",
    &["tier"],
    "Fraction of reads over the throughput window that found their bytes in memory; absent where nothing was read.",
);
/// Dollars.
pub(super) static COST: Family = computed(
    "kafscale_s3_cost_dollars_per_month",
    Shape::Gauge,
    "dollars",
    &["operation"],
    "Estimate of what the store costs: requests at the rate of the throughput window, and `storage` for what this \
     broker's partitions keep, by the prices in the settings.",
);
/// Processor time of shards.
pub(super) static SHARD_CPU: Family = computed(
    "kafscale_shard_cpu_seconds_total",
    Shape::Counter,
    "s",
    &["shard"],
    "Processor time of a shard's thread; its rate is the shard's utilization.",
);
/// Processor time of the control thread.
pub(super) static CONTROL_CPU: Family = computed(
    "kafscale_control_cpu_seconds_total",
    Shape::Counter,
    "s",
    &[],
    "Processor time of the control thread.",
);
/// Lags that found no room.
pub(super) static GROUP_LAG_DROPPED: Family = computed(
    "kafscale_consumer_group_lag_dropped",
    Shape::Gauge,
    "series",
    &[],
    "Pairs of group and topic left out of kafscale_consumer_group_lag.",
);
/// Lag samples by size.
pub(super) static LAG: Family = computed(
    "kafscale_consumer_lag",
    Shape::Histogram,
    "records",
    &[],
    "Lags of group and topic, one count for each pair and sample.",
);
/// The largest lag.
pub(super) static LAG_MAX: Family = computed(
    "kafscale_consumer_lag_max",
    Shape::Gauge,
    "records",
    &[],
    "The largest lag of a group and topic that this broker coordinates.",
);
/// The topic of what has no series of its own: parentheses are not legal in the name of one.
pub(super) const OTHER_TOPICS: &str = "(other)";
/// Traffic by topic: bytes in, bytes out, records in.
pub(super) static TOPIC_TRAFFIC: [Family; 3] = [
    computed(
        "kafscale_topic_bytes_in_total",
        Shape::Counter,
        "bytes",
        &["topic"],
        "Bytes of record batches acknowledged, by topic; only with `admin.metrics_topics_max`.",
    ),
    computed(
        "kafscale_topic_bytes_out_total",
        Shape::Counter,
        "bytes",
        &["topic"],
        "Bytes of record batches sent to consumers, by topic; only with `admin.metrics_topics_max`.",
    ),
    computed(
        "kafscale_topic_records_in_total",
        Shape::Counter,
        "records",
        &["topic"],
        "Records acknowledged, by topic; only with `admin.metrics_topics_max`.",
    ),
];
/// Version of the binary.
pub(super) static BUILD: Family = computed(
    "kafscale_build_info",
    Shape::Gauge,
    "",
    &["version"],
    "Always 1.",
);
/// Time since the start.
pub(super) static UPTIME: Family = computed(
    "kafscale_broker_uptime_seconds",
    Shape::Gauge,
    "s",
    &[],
    "Time since the broker started.",
);
/// Processor time.
pub(super) static CPU: Family = computed(
    "kafscale_broker_cpu_percent",
    Shape::Gauge,
    "percent",
    &[],
    "Processor time of the process since the page before; 100 is one CPU.",
);
/// Anonymous memory.
pub(super) static MEM_ALLOC: Family = computed(
    "kafscale_broker_mem_alloc_bytes",
    Shape::Gauge,
    "bytes",
    &[],
    "Anonymous memory of the process that is resident: its heap and stacks.",
);
/// Resident memory.
pub(super) static MEM_SYS: Family = computed(
    "kafscale_broker_mem_sys_bytes",
    Shape::Gauge,
    "bytes",
    &[],
    "All memory of the process that is resident.",
);
/// Threads.
pub(super) static THREADS: Family = computed(
    "kafscale_broker_threads",
    Shape::Gauge,
    "threads",
    &[],
    "Threads of the process.",
);
/// Shards.
pub(super) static SHARDS: Family = computed(
    "kafscale_shards",
    Shape::Gauge,
    "shards",
    &[],
    "Shards of the broker.",
);

/// Metrics that are computed when the page is read, in its order.
pub static COMPUTED_METRICS: &[&Family] = &[
    &REQUESTS,
    &REQUEST_ERRORS,
    &REQUEST_LATENCY,
    &ADMIN_REQUESTS,
    &ADMIN_ERRORS,
    &ADMIN_LATENCY,
    &PRODUCE_RPS,
    &FETCH_RPS,
    &CACHE_HIT_RATIO,
    &COST,
    &GROUP_LAG,
    &GROUP_LAG_SECONDS,
    &GROUP_LAG_DROPPED,
    &LAG,
    &LAG_MAX,
    &TOPIC_TRAFFIC[0],
    &TOPIC_TRAFFIC[1],
    &TOPIC_TRAFFIC[2],
    &BUILD,
    &SHARDS,
    &UPTIME,
    &CPU,
    &MEM_ALLOC,
    &MEM_SYS,
    &THREADS,
    &SHARD_CPU,
    &CONTROL_CPU,
];
