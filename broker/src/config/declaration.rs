//! The declaration of every setting: here, and in [`access`] of what is about clients. A key is written down nowhere else.

mod access;

pub use access::{
    ListenerSettings, NamespaceSettings, OauthSettings, QuotaSettings, SecuritySettings,
    TlsSettings,
};

use super::error::Problem;
use super::kind::{
    Addr, Bytes, Checksums, Count, Dollars, Encryption, File, Hidden, IoDriver, KeyPrefix, Kind,
    List, LogFormat, LogLevel, Maybe, Millis, NodeId, Port, Ratio, Seconds, Switch, Text,
};
use super::layered::Layered;
use super::setting::{Allowed, Section, Setting, concat, sections, settings};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const YEAR: u64 = 365 * 24 * HOUR;

/// Node ids of shards are `(broker id + 1) x 256 + shard`, which must fit an `int32`.
pub(super) const BROKER_ID_MAX: u64 = (i32::MAX as u64 >> 8) - 1;
/// One node id a shard: see [`BROKER_ID_MAX`].
const SHARDS_MAX: u64 = 256;

sections! {
    /// The Kafka listener and who this broker is.
    broker: BrokerSettings {
        addr: Addr {
            Some("broker-addr"), ["KAFSCALE_BROKER_ADDR"], "broker.addr",
            default "127.0.0.1:9092", in Allowed::Any,
            "Address on which Kafka clients are served; `:9092` listens on every interface."
        }
        host: Maybe<Text> {
            Some("broker-host"), ["KAFSCALE_BROKER_HOST"], "broker.host",
            default "" or "the listen address; the pod's DNS name or the machine's host name when \
             that is every interface", in Allowed::Text(255),
            "Host name that clients are told to connect to."
        }
        port: Maybe<Port> {
            Some("broker-port"), ["KAFSCALE_BROKER_PORT"], "broker.port",
            default "" or "the listen port", in Allowed::Count(1, 65535),
            "Port that clients are told to connect to."
        }
        direct_port: Maybe<Port> {
            Some("direct-port"), ["KAFSCALE_DIRECT_PORT"], "broker.direct_port",
            default "" or "no direct routing", in Allowed::Count(0, 65535),
            "Port of shard 0, the next of shard 1, ...: clients see each shard as a node. 0: free ports."
        }
        id: Maybe<NodeId> {
            Some("broker-id"), ["KAFSCALE_BROKER_ID"], "broker.id",
            default "" or "the ordinal of `POD_NAME`, else chosen at start",
            in Allowed::Count(0, BROKER_ID_MAX),
            "Node id of this broker, unique in the cluster."
        }
        rack: Maybe<Text> {
            Some("broker-rack"), ["KAFSCALE_BROKER_RACK"], "broker.rack",
            default "", in Allowed::Text(255),
            "Rack or availability zone of this broker, as Metadata names it."
        }
        service: Maybe<Text> {
            Some("broker-service"), ["KAFSCALE_BROKER_SERVICE"], "broker.service",
            default "", in Allowed::Name(253),
            "Headless Kubernetes service; with `POD_NAME` it gives the advertised host."
        }
        cluster: Text {
            Some("cluster"), ["KAFSCALE_CLUSTER"], "broker.cluster",
            default "kafscale", in Allowed::Name(128),
            "Name of the cluster; brokers of one cluster share it."
        }
        session_ttl: Millis {
            Some("session-ttl-ms"), ["KAFSCALE_SESSION_TTL_MS"], "broker.session_ttl_ms",
            default "10000", in Allowed::Millis(1000, 600_000),
            "How long a broker may go unproven before its partitions move."
        }
    }

    /// Shards: one thread a core, and what each may hold.
    shard: ShardSettings {
        count: Count {
            Some("shards"), ["KAFSCALE_SHARDS"], "shard.count",
            default "0" or "one for each allowed CPU", in Allowed::Count(0, SHARDS_MAX),
            "Number of shards; 0 means one for each CPU that the process may use."
        }
        pin: Switch {
            Some("pin"), ["KAFSCALE_PIN"], "shard.pin",
            default "true", in Allowed::Any,
            "Pin each shard to a CPU of its own."
        }
        io_driver: IoDriver {
            Some("io-driver"), ["KAFSCALE_IO_DRIVER"], "shard.io_driver",
            default "auto", in Allowed::OneOf(IoDriver::WORDS),
            "Kernel interface for sockets; `auto` falls back to epoll where io_uring is refused."
        }
        connections_max: Count {
            Some("connections-max"), ["KAFSCALE_CONNECTIONS_MAX"], "shard.connections_max",
            default "10000", in Allowed::Count(1, 1_000_000),
            "Client connections a shard holds; more are closed as they arrive."
        }
        connections_per_address_max: Count {
            Some("connections-per-address-max"), ["KAFSCALE_CONNECTIONS_PER_ADDRESS_MAX"],
            "shard.connections_per_address_max",
            default "1000000", in Allowed::Count(1, 1_000_000),
            "Client connections that all shards together hold from one IP address."
        }
        connections_per_second_max: Count {
            Some("connections-per-second-max"), ["KAFSCALE_CONNECTIONS_PER_SECOND_MAX"],
            "shard.connections_per_second_max",
            default "500", in Allowed::Count(1, 1_000_000),
            "New connections a second for each shard; those that come faster wait to be taken."
        }
        fetch_sessions_max: Count {
            Some("fetch-sessions-max"), ["KAFSCALE_FETCH_SESSIONS_MAX"], "shard.fetch_sessions_max",
            default "1000", in Allowed::Count(0, 1_000_000),
            "Incremental fetch sessions a shard holds; at the bound the oldest is evicted."
        }
    }

    /// What one connection and one request may use.
    request: RequestSettings {
        in_flight_max: Count {
            Some("requests-in-flight-max"), ["KAFSCALE_REQUESTS_IN_FLIGHT_MAX"], "request.in_flight_max",
            default "64", in Allowed::Count(1, 10_000),
            "Requests of one connection that may be unanswered before its next is read."
        }
        partitions_max: Count {
            Some("request-partitions-max"), ["KAFSCALE_REQUEST_PARTITIONS_MAX"], "request.partitions_max",
            default "100000", in Allowed::Count(1, 100_000),
            "Partitions that one request may name."
        }
        fetch_bytes_max: Bytes {
            Some("fetch-max-bytes"), ["KAFSCALE_FETCH_MAX_BYTES"], "request.fetch_max_bytes",
            default "55MiB", in Allowed::Bytes(KIB, GIB),
            "Records in one fetch reply; the first batch is sent whatever its size."
        }
        reply_queue_bytes: Bytes {
            Some("reply-queue-bytes"), ["KAFSCALE_REPLY_QUEUE_BYTES"], "request.reply_queue_bytes",
            default "8MiB", in Allowed::Bytes(64 * KIB, GIB),
            "Replies queued on one connection before its next request is read."
        }
        frame_timeout: Millis {
            Some("frame-timeout-ms"), ["KAFSCALE_FRAME_TIMEOUT_MS"], "request.frame_timeout_ms",
            default "30000", in Allowed::Millis(100, HOUR),
            "A half-read request or half-sent reply without progress for this long ends its connection."
        }
        idle_timeout: Millis {
            Some("idle-timeout-ms"), ["KAFSCALE_IDLE_TIMEOUT_MS"], "request.idle_timeout_ms",
            default "600000", in Allowed::Millis(1000, 24 * HOUR),
            "A connection without a request for this long is closed."
        }
    }

    /// Memory budgets; each is split evenly over the shards.
    memory: MemorySettings {
        budget_bytes: Maybe<Bytes> {
            Some("memory-bytes"), ["KAFSCALE_MEMORY_BYTES"], "memory.budget_bytes",
            default "" or "half of memory", in Allowed::Bytes(16 * MIB, 16 * TIB),
            "Bytes that requests, unacknowledged batches and unsent replies hold; an eighth is to decompress."
        }
        cache_bytes: Maybe<Bytes> {
            Some("cache-size"), ["KAFSCALE_CACHE_SIZE", "KAFSCALE_CACHE_BYTES"], "memory.cache_bytes",
            default "" or "a quarter of memory", in Allowed::Bytes(MIB, 16 * TIB),
            "Bytes of acknowledged batches kept in memory for fetches."
        }
    }

    /// The log: flush, segments, retention of producer state.
    log: LogSettings {
        data_dir: File {
            Some("data-dir"), ["KAFSCALE_DATA_DIR"], "log.data_dir",
            default "./kafscale-data", in Allowed::Any,
            "Directory of the embedded store; ignored when a bucket is set."
        }
        flush_interval: Maybe<Millis> {
            Some("flush-interval-ms"), ["KAFSCALE_FLUSH_INTERVAL_MS"], "log.flush_interval_ms",
            default "" or "10 on a local store, 250 on S3", in Allowed::Millis(1, 60_000),
            "Longest wait before appended batches are written to the store."
        }
        flush_partition_bytes: Bytes {
            Some("flush-partition-bytes"), ["KAFSCALE_FLUSH_PARTITION_BYTES"], "log.flush_partition_bytes",
            default "4MiB", in Allowed::Bytes(KIB, GIB),
            "Appended bytes in one partition that start a flush before its interval."
        }
        flush_bytes: Bytes {
            Some("flush-bytes"), ["KAFSCALE_FLUSH_BYTES"], "log.flush_bytes",
            default "8MiB", in Allowed::Bytes(KIB, GIB),
            "Appended bytes in all partitions that start a flush before its interval."
        }
        segment_bytes: Bytes {
            Some("segment-bytes"), ["KAFSCALE_SEGMENT_BYTES"], "log.segment_bytes",
            default "64MiB", in Allowed::Bytes(64 * KIB, GIB),
            "Bytes of one partition that are compacted into a segment."
        }
        compaction_interval: Millis {
            Some("compaction-interval-ms"), ["KAFSCALE_COMPACTION_INTERVAL_MS"], "log.compaction_interval_ms",
            default "600000", in Allowed::Millis(1000, 7 * 24 * HOUR),
            "Age at which a partition's batches are compacted into a segment whatever their size."
        }
        cleaner_interval: Millis {
            Some("cleaner-interval-ms"), ["KAFSCALE_CLEANER_INTERVAL_MS"],
            "log.cleaner_interval_ms",
            default "15000", in Allowed::Millis(100, HOUR),
            "How often topics with cleanup.policy=compact are looked at for what may be compacted."
        }
        wal_backlog_objects: Count {
            Some("wal-backlog-objects"), ["KAFSCALE_WAL_BACKLOG_OBJECTS"], "log.wal_backlog_objects",
            default "16384", in Allowed::Count(64, 1_000_000),
            "WAL objects that may wait for compaction before produce is refused."
        }
        retention_check_interval: Millis {
            Some("retention-check-interval-ms"), ["KAFSCALE_RETENTION_CHECK_INTERVAL_MS"],
            "log.retention_check_interval_ms",
            default "300000", in Allowed::Millis(100, 24 * HOUR),
            "How often records are looked for that retention.ms or retention.bytes deletes."
        }
        producer_id_expiration: Millis {
            Some("producer-id-expiration-ms"), ["KAFSCALE_PRODUCER_ID_EXPIRATION_MS"], "log.producer_id_expiration_ms",
            default "86400000", in Allowed::Millis(1000, YEAR),
            "How long the state of an idle idempotent producer is kept."
        }
        producer_id_expiration_check_interval: Millis {
            Some("producer-id-expiration-check-interval-ms"),
            ["KAFSCALE_PRODUCER_ID_EXPIRATION_CHECK_INTERVAL_MS"], "log.producer_id_expiration_check_interval_ms",
            default "600000", in Allowed::Millis(1, 24 * HOUR),
            "How often a partition with producers is looked at for those that are kept no longer."
        }
    }

    /// Backups of the metadata.
    backup: BackupSettings {
        interval: Maybe<Millis> {
            Some("backup-interval-ms"), ["KAFSCALE_BACKUP_INTERVAL_MS"], "backup.interval_ms",
            default "" or "3600000 with etcd, 0 on the embedded store",
            in Allowed::Millis(0, YEAR),
            "How often the metadata is written to the bucket as one object; 0: never."
        }
        keep: Count {
            Some("backup-keep"), ["KAFSCALE_BACKUP_KEEP"], "backup.keep",
            default "24", in Allowed::Count(1, 100_000),
            "Sound backups that are kept; older ones are deleted after each backup."
        }
        bucket: Maybe<Text> {
            Some("backup-bucket"), ["KAFSCALE_BACKUP_BUCKET"], "backup.bucket",
            default "" or "`s3.bucket`", in Allowed::Name(255),
            "Bucket where backups are kept, by the same endpoint and credentials as `s3.bucket`."
        }
    }

    /// Topics.
    topic: TopicSettings {
        auto_create: Switch {
            Some("auto-create-topics"), ["KAFSCALE_AUTO_CREATE_TOPICS"], "topic.auto_create",
            default "true", in Allowed::Any,
            "Create a topic when a client that allows it asks for one that does not exist."
        }
        auto_create_partitions: Count {
            Some("auto-create-partitions"), ["KAFSCALE_AUTO_CREATE_PARTITIONS"], "topic.auto_create_partitions",
            default "1", in Allowed::Count(1, 100_000),
            "Partitions of a topic that is created without a number."
        }
        partitions_max: Count {
            Some("topic-partitions-max"), ["KAFSCALE_TOPIC_PARTITIONS_MAX"], "topic.partitions_max",
            default "10000", in Allowed::Count(1, 100_000),
            "Partitions that one topic may have."
        }
    }

    /// Consumer groups.
    group: GroupSettings {
        initial_rebalance_delay: Millis {
            Some("group-initial-rebalance-delay-ms"),
            ["KAFSCALE_GROUP_INITIAL_REBALANCE_DELAY_MS"], "group.initial_rebalance_delay_ms",
            default "100", in Allowed::Millis(0, 60_000),
            "How long the first rebalance of an empty group waits for more members."
        }
        session_timeout_min: Millis {
            Some("group-session-timeout-min-ms"), ["KAFSCALE_GROUP_SESSION_TIMEOUT_MIN_MS"],
            "group.session_timeout_min_ms",
            default "6000", in Allowed::Millis(1, HOUR),
            "Shortest session timeout that a member may ask for."
        }
        session_timeout_max: Millis {
            Some("group-session-timeout-max-ms"), ["KAFSCALE_GROUP_SESSION_TIMEOUT_MAX_MS"],
            "group.session_timeout_max_ms",
            default "1800000", in Allowed::Millis(1000, 24 * HOUR),
            "Longest session timeout that a member may ask for."
        }
        size_max: Count {
            Some("group-size-max"), ["KAFSCALE_GROUP_SIZE_MAX"], "group.size_max",
            default "1000", in Allowed::Count(1, 100_000),
            "Members that one group may have."
        }
        offset_metadata_bytes_max: Bytes {
            Some("offset-metadata-bytes-max"), ["KAFSCALE_OFFSET_METADATA_BYTES_MAX"],
            "group.offset_metadata_bytes_max",
            default "4096", in Allowed::Bytes(0, MIB),
            "Metadata that a client may store with one committed offset."
        }
        offsets_retention: Millis {
            Some("offsets-retention-ms"), ["KAFSCALE_OFFSETS_RETENTION_MS"], "group.offsets_retention_ms",
            default "604800000", in Allowed::Millis(60_000, 10 * YEAR),
            "How long the committed offsets of an empty group are kept."
        }
    }

    /// When the store counts as slow or failing.
    health: HealthSettings {
        window: Seconds {
            Some("s3-health-window-sec"), ["KAFSCALE_S3_HEALTH_WINDOW_SEC"], "health.window_sec",
            default "60", in Allowed::Millis(SECOND, HOUR),
            "Time over which latency and errors of the store are judged."
        }
        latency_warn: Millis {
            Some("s3-latency-warn-ms"), ["KAFSCALE_S3_LATENCY_WARN_MS"], "health.latency_warn_ms",
            default "500", in Allowed::Millis(1, HOUR),
            "Average latency of the store from which it is Degraded."
        }
        latency_crit: Millis {
            Some("s3-latency-crit-ms"), ["KAFSCALE_S3_LATENCY_CRIT_MS"], "health.latency_crit_ms",
            default "2000", in Allowed::Millis(1, HOUR),
            "Average latency of the store from which it is Unavailable; produce is refused if that of writes is."
        }
        error_rate_warn: Ratio {
            Some("s3-error-rate-warn"), ["KAFSCALE_S3_ERROR_RATE_WARN"], "health.error_rate_warn",
            default "0.01", in Allowed::Ratio(0.0, 1.0),
            "Fraction of failed requests from which the store is Degraded."
        }
        error_rate_crit: Ratio {
            Some("s3-error-rate-crit"), ["KAFSCALE_S3_ERROR_RATE_CRIT"], "health.error_rate_crit",
            default "0.05", in Allowed::Ratio(0.0, 1.0),
            "Fraction of failed requests from which the store is Unavailable."
        }
    }

    /// Console, metrics, health pages and logging.
    admin: AdminSettings {
        addr: Addr {
            Some("metrics-addr"), ["KAFSCALE_METRICS_ADDR"], "admin.metrics_addr",
            default "127.0.0.1:9093", in Allowed::Any,
            "Address of the console, `/metrics`, `/livez`, `/healthz` and `/readyz`."
        }
        tls: Maybe<Switch> {
            Some("metrics-tls"), ["KAFSCALE_METRICS_TLS"], "admin.tls",
            default "" or "true if `admin.tls_cert_file` is set", in Allowed::Any,
            "TLS there; with the certificate of `[tls]`, unless it has one of its own."
        }
        tls_cert_file: Maybe<File> {
            Some("metrics-tls-cert-file"), ["KAFSCALE_METRICS_TLS_CERT_FILE"], "admin.tls_cert_file",
            default "" or "`tls.cert_file`", in Allowed::Any,
            "PEM file with a certificate of its own."
        }
        tls_key_file: Maybe<File> {
            Some("metrics-tls-key-file"), ["KAFSCALE_METRICS_TLS_KEY_FILE"], "admin.tls_key_file",
            default "" or "`tls.key_file`", in Allowed::Any,
            "PEM file with the key of that certificate."
        }
        tls_client_ca_file: Maybe<File> {
            Some("metrics-tls-client-ca-file"), ["KAFSCALE_METRICS_TLS_CLIENT_CA_FILE"],
            "admin.tls_client_ca_file",
            default "" or "clients need no certificate", in Allowed::Any,
            "PEM file with the authorities of which its clients must show a certificate."
        }
        ui_username: Maybe<Text> {
            Some("ui-username"), ["KAFSCALE_UI_USERNAME"], "admin.ui_username",
            default "" or "no account of the console's own", in Allowed::Name(255),
            "Who may change things through the console, beside Kafka's super users."
        }
        ui_password: Maybe<Hidden> {
            None, ["KAFSCALE_UI_PASSWORD"], "admin.ui_password", default "", in Allowed::Any,
            "Password of that account."
        }
        ui_password_file: Maybe<File> {
            Some("ui-password-file"), ["KAFSCALE_UI_PASSWORD_FILE"], "admin.ui_password_file",
            default "", in Allowed::Any, "File with that password in one line."
        }
        topic_series_max: Count {
            Some("metrics-topics-max"), ["KAFSCALE_METRICS_TOPICS_MAX"], "admin.metrics_topics_max",
            default "0" or "no metric has a topic as its label", in Allowed::Count(0, 10_000),
            "Topics with series of their own in the metrics of traffic, the busiest; the rest is `other`."
        }
        rate_window: Seconds {
            Some("throughput-window-sec"), ["KAFSCALE_THROUGHPUT_WINDOW_SEC"],
            "admin.throughput_window_sec",
            default "60", in Allowed::Millis(SECOND, HOUR),
            "Time over which `kafscale_produce_rps` and `kafscale_fetch_rps` are averaged."
        }
        lag_interval: Seconds {
            Some("lag-sample-interval-sec"), ["KAFSCALE_LAG_SAMPLE_INTERVAL_SEC"],
            "admin.lag_sample_interval_sec",
            default "10", in Allowed::Millis(SECOND, HOUR),
            "How often the lag of consumer groups is looked at."
        }
        log_level: LogLevel {
            Some("log-level"), ["KAFSCALE_LOG_LEVEL"], "admin.log_level",
            default "info", in Allowed::OneOf(LogLevel::WORDS),
            "How much is logged; `RUST_LOG`, where set, decides instead."
        }
        log_format: LogFormat {
            Some("log-format"), ["KAFSCALE_LOG_FORMAT"], "admin.log_format",
            default "text", in Allowed::OneOf(LogFormat::WORDS),
            "Form of a log line."
        }
        log_lines_max: Count {
            Some("log-lines-max"), ["KAFSCALE_LOG_LINES_MAX"], "admin.log_lines_max",
            default "20", in Allowed::Count(0, 1_000_000),
            "Log lines a second from one place in the code; what is above is counted. 0: no bound."
        }
        otlp_endpoint: Maybe<Text> {
            Some("otlp-endpoint"), ["KAFSCALE_OTLP_ENDPOINT"], "admin.otlp_endpoint",
            default "" or "spans are not sent", in Allowed::Text(1024),
            "URL of an OpenTelemetry collector (OTLP over gRPC) that gets spans of what is done with the stores."
        }
        trace_ratio: Ratio {
            Some("trace-ratio"), ["KAFSCALE_TRACE_RATIO"], "admin.trace_ratio",
            default "1", in Allowed::Ratio(0.0, 1.0),
            "Fraction of those spans that are sent, with all below them."
        }
    }

    /// List prices of the object store in dollars, for the estimate in the metrics; the defaults are those of S3 Standard.
    cost: CostSettings {
        put_per_1000: Dollars {
            Some("cost-put-per-1000"), ["KAFSCALE_COST_PUT_PER_1000"], "cost.put_per_1000",
            default "0.005", in Allowed::Ratio(0.0, 1000.0),
            "Price of 1,000 PUT or LIST requests."
        }
        get_per_1000: Dollars {
            Some("cost-get-per-1000"), ["KAFSCALE_COST_GET_PER_1000"], "cost.get_per_1000",
            default "0.0004", in Allowed::Ratio(0.0, 1000.0),
            "Price of 1,000 GET or HEAD requests."
        }
        storage_gb_month: Dollars {
            Some("cost-storage-gb-month"), ["KAFSCALE_COST_STORAGE_GB_MONTH"],
            "cost.storage_gb_month",
            default "0.023", in Allowed::Ratio(0.0, 1000.0),
            "Price of a gigabyte for a month."
        }
    }

    /// The object store.
    s3: S3Settings {
        bucket: Maybe<Text> {
            Some("s3-bucket"), ["KAFSCALE_S3_BUCKET"], "s3.bucket",
            default "", in Allowed::Name(255),
            "Bucket of the log; without one the embedded store is used."
        }
        region: Maybe<Text> {
            Some("s3-region"), ["KAFSCALE_S3_REGION"], "s3.region",
            default "", in Allowed::Name(64),
            "Region of the bucket."
        }
        endpoint: Maybe<Text> {
            Some("s3-endpoint"), ["KAFSCALE_S3_ENDPOINT"], "s3.endpoint",
            default "", in Allowed::Text(1024),
            "URL of an S3-compatible server."
        }
        ca_file: Maybe<File> {
            Some("s3-ca-file"), ["KAFSCALE_S3_CA_FILE"], "s3.ca_file",
            default "" or "the authorities of the system", in Allowed::Any,
            "PEM file with the authorities that the store's certificate is checked against."
        }
        path_style: Maybe<Switch> {
            Some("s3-path-style"), ["KAFSCALE_S3_PATH_STYLE"], "s3.path_style",
            default "" or "true if an endpoint is set", in Allowed::Any,
            "Put the bucket in the path of a URL and not in its host."
        }
        access_key: Maybe<Hidden> {
            None, ["KAFSCALE_S3_ACCESS_KEY"], "s3.access_key",
            default "" or "the SDK's credential chain", in Allowed::Any,
            "Access key id."
        }
        secret_key: Maybe<Hidden> {
            None, ["KAFSCALE_S3_SECRET_KEY"], "s3.secret_key",
            default "" or "the SDK's credential chain", in Allowed::Any,
            "Secret access key."
        }
        session_token: Maybe<Hidden> {
            None, ["KAFSCALE_S3_SESSION_TOKEN"], "s3.session_token",
            default "", in Allowed::Any,
            "Session token of temporary credentials."
        }
        kms_arn: Maybe<Text> {
            Some("s3-kms-arn"), ["KAFSCALE_S3_KMS_ARN"], "s3.kms_arn",
            default "", in Allowed::Text(2048),
            "KMS key with which objects are encrypted at rest."
        }
        encryption: Encryption {
            Some("s3-encryption"), ["KAFSCALE_S3_ENCRYPTION"], "s3.encryption",
            default "bucket", in Allowed::OneOf(Encryption::WORDS),
            "Encryption that objects ask for where no KMS key is set: the bucket's, or SSE-S3."
        }
        request_checksums: Checksums {
            Some("s3-request-checksums"), ["KAFSCALE_S3_REQUEST_CHECKSUMS"], "s3.request_checksums",
            default "when_supported", in Allowed::OneOf(Checksums::WORDS),
            "Checksums sent with writes; `when_required` for stores that refuse the headers."
        }
        hedge_after: Millis {
            Some("s3-hedge-after-ms"), ["KAFSCALE_S3_HEDGE_AFTER_MS"], "s3.hedge_after_ms",
            default "500", in Allowed::Millis(0, 60_000),
            "A read without an answer for this long is sent once more; 0 turns that off."
        }
        request_timeout: Millis {
            Some("s3-request-timeout-ms"), ["KAFSCALE_S3_REQUEST_TIMEOUT_MS"], "s3.request_timeout_ms",
            default "15000", in Allowed::Millis(100, 600_000),
            "Longest wait for one answer of the store; a write gets a second more for each MiB."
        }
        namespace: Text {
            Some("s3-namespace"), ["KAFSCALE_S3_NAMESPACE"], "s3.namespace",
            default "default", in Allowed::Name(128),
            "Part of every object key after its prefix."
        }
        prefix: KeyPrefix {
            Some("s3-prefix"), ["KAFSCALE_S3_PREFIX"], "s3.prefix",
            default "kafscale/", in Allowed::Text(512),
            "Prefix of segment keys; `/` (none) is the layout of the original KafScale."
        }
        wal_prefix: KeyPrefix {
            Some("s3-wal-prefix"), ["KAFSCALE_S3_WAL_PREFIX"], "s3.wal_prefix",
            default "kafscale-wal/", in Allowed::Text(512),
            "Prefix of WAL keys; must not lie under the segments' prefix."
        }
        concurrency: Count {
            Some("s3-concurrency"), ["KAFSCALE_S3_CONCURRENCY"], "s3.concurrency",
            default "64", in Allowed::Count(1, 4096),
            "Requests to the store in flight at once."
        }
        read_bucket: Maybe<Text> {
            Some("s3-read-bucket"), ["KAFSCALE_S3_READ_BUCKET"], "s3.read_bucket",
            default "", in Allowed::Name(255),
            "Replica bucket that reads of segments try first."
        }
        read_region: Maybe<Text> {
            Some("s3-read-region"), ["KAFSCALE_S3_READ_REGION"], "s3.read_region",
            default "" or "that of the bucket", in Allowed::Name(64),
            "Region of the replica bucket."
        }
        read_endpoint: Maybe<Text> {
            Some("s3-read-endpoint"), ["KAFSCALE_S3_READ_ENDPOINT"], "s3.read_endpoint",
            default "" or "that of the bucket", in Allowed::Text(1024),
            "URL of the replica's server."
        }
    }

    /// The metadata store of a cluster.
    etcd: EtcdSettings {
        endpoints: List {
            Some("etcd-endpoints"), ["KAFSCALE_ETCD_ENDPOINTS"], "etcd.endpoints",
            default "", in Allowed::Text(1024),
            "URLs of etcd; without them the embedded metadata store is used."
        }
        username: Maybe<Text> {
            Some("etcd-username"), ["KAFSCALE_ETCD_USERNAME"], "etcd.username",
            default "", in Allowed::Text(255),
            "User for etcd."
        }
        password: Maybe<Hidden> {
            None, ["KAFSCALE_ETCD_PASSWORD"], "etcd.password",
            default "", in Allowed::Any,
            "Password for etcd."
        }
        ca_file: Maybe<File> {
            Some("etcd-ca-file"), ["KAFSCALE_ETCD_CA_FILE"], "etcd.ca_file",
            default "", in Allowed::Any,
            "PEM file with the authorities that etcd's certificate is checked against."
        }
        cert_file: Maybe<File> {
            Some("etcd-cert-file"), ["KAFSCALE_ETCD_CERT_FILE"], "etcd.cert_file",
            default "", in Allowed::Any,
            "PEM file with the certificate shown to etcd."
        }
        key_file: Maybe<File> {
            Some("etcd-key-file"), ["KAFSCALE_ETCD_KEY_FILE"], "etcd.key_file",
            default "", in Allowed::Any,
            "PEM file with the key of that certificate."
        }
    }
}

settings! {
    broker: BrokerSettings,
    listeners: ListenerSettings,
    shard: ShardSettings,
    security: SecuritySettings,
    oauth: OauthSettings,
    tls: TlsSettings,
    request: RequestSettings,
    memory: MemorySettings,
    log: LogSettings,
    backup: BackupSettings,
    topic: TopicSettings,
    group: GroupSettings,
    namespace: NamespaceSettings,
    quota: QuotaSettings,
    health: HealthSettings,
    admin: AdminSettings,
    cost: CostSettings,
    s3: S3Settings,
    etcd: EtcdSettings,
}
