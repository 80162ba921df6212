//! Settings: one typed tree, built once at start-up and never changed.
//!
//! Every key is declared once, in `declaration.rs` and the file beside it; the flags, the environment names, the TOML
//! keys, `--help` and `docs/settings.md` come from there. A flag goes before an environment
//! variable, that before the TOML file, that before the default. A value that cannot be used
//! refuses to start and says which key, from where, and what would be allowed; nothing is
//! repaired silently.

mod cli;
mod declaration;
mod error;
mod foreign;
mod kind;
mod layered;
mod listeners;
mod machine;
mod oauth;
mod secret;
mod security;
mod setting;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use cli::{args, command};
pub use declaration::{
    AdminSettings, BrokerSettings, Config, CostSettings, EtcdSettings, GroupSettings,
    HealthSettings, ListenerSettings, LogSettings, MemorySettings, NamespaceSettings,
    OauthSettings, QuotaSettings, RequestSettings, S3Settings, SETTINGS, SecuritySettings,
    ShardSettings, TlsSettings, TopicSettings,
};
pub use error::{ConfigError, Problem, Source, Warning};
pub use kind::{
    AuthorizerMode, Checksums, ClientAuth, Encryption, IoDriver, LogFormat, LogLevel, TlsVersion,
};
pub(crate) use kind::{Bytes, Kind};
pub use listeners::{KafkaListener, ListenerId, Protocol, ServerTls, UNNAMED};
pub use machine::Machine;
pub use secret::Secret;
pub use security::SecurityError;
pub use setting::{Allowed, Setting};
pub use table::settings_markdown;

use declaration::BROKER_ID_MAX;
use layered::Layered;

/// Flush interval of a local store, where a write costs a disk's fsync.
const FLUSH_INTERVAL_LOCAL: Duration = Duration::from_millis(10);
/// Flush interval of S3, where each write is paid for.
const FLUSH_INTERVAL_S3: Duration = Duration::from_millis(250);
/// Most shards when the number is not given: node ids leave 8 bits for the shard.
const SHARDS_AUTO_MAX: usize = 256;
/// Smallest budget that is chosen without being asked for.
const MEMORY_BYTES_MIN: u64 = 16 << 20;
/// One part in so many of the memory budget is for batches that are decompressed.
const UNPACK_MEMORY: u64 = 8;

/// Where the log and its metadata live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A local directory and the embedded metadata store.
    Embedded,
    /// A bucket and etcd.
    Cluster,
}

/// Where clients of a listener are told to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// Name of the listener.
    pub listener: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Ports of the shards, in order; none without direct routing.
    pub shard_ports: Vec<u16>,
}

impl Advertised {
    /// One without a name of its own.
    pub fn unnamed(host: &str, port: u16, shard_ports: &[u16]) -> Self {
        Self {
            listener: UNNAMED.to_owned(),
            host: host.to_owned(),
            port,
            shard_ports: shard_ports.to_vec(),
        }
    }
}

/// A configuration and what its reader should know about it.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What to log once logging is set up: see [`Loaded::warn`].
    pub warnings: Vec<Warning>,
}

impl Loaded {
    /// Logs each warning once and gives the settings.
    pub fn warn(self) -> Config {
        for warning in &self.warnings {
            tracing::warn!(%warning, "settings");
        }
        self.config
    }
}

/// Everything that settings are read from.
#[derive(Debug)]
struct Inputs {
    flags: Vec<(&'static str, String)>,
    env: BTreeMap<String, String>,
    file: Option<PathBuf>,
    machine: Machine,
}

impl Config {
    /// Reads flags, environment and file. `matches` are those of [`command`], or of any command
    /// that has [`args`].
    pub fn load(matches: &clap::ArgMatches) -> Result<Loaded, ConfigError> {
        let mut problems = Vec::new();
        let env = cli::environment(&mut problems);
        if !problems.is_empty() {
            return Err(ConfigError::Invalid(problems));
        }
        let from_env = env.get(layered::CONFIG_ENV).filter(|path| !path.is_empty());
        let file = cli::file_flag(matches).or_else(|| from_env.map(PathBuf::from));
        Self::resolve(Inputs {
            flags: cli::flags(matches),
            env,
            file,
            machine: Machine::detect(),
        })
    }

    /// Defaults on this machine with some keys set, given as `("broker.addr", "127.0.0.1:0")`:
    /// for tests and for programs that embed a broker. Reads no environment and no file.
    pub fn with(overrides: &[(&str, &str)]) -> Result<Self, ConfigError> {
        Self::with_machine(overrides, Machine::detect())
    }

    /// The same on a machine that the caller describes.
    pub fn with_machine(overrides: &[(&str, &str)], machine: Machine) -> Result<Self, ConfigError> {
        let (mut values, mut problems) = (Layered::default(), Vec::new());
        for (key, text) in overrides {
            match layered::setting(key) {
                Some(setting) => values.set(setting.key, (*text).to_owned(), Source::Program),
                None => problems.push(Problem::Conflict(format!("{key}: no such setting"))),
            }
        }
        Ok(Self::finish(&values, machine, problems, Vec::new())?.config)
    }

    /// Defaults under a settings file, on a machine that the caller describes. Reads no environment and no flags.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is no setting.
    pub fn with_file(file: &Path, machine: Machine) -> Result<Loaded, ConfigError> {
        let (mut values, mut problems) = (Layered::default(), Vec::new());
        values.add_file(file, &mut problems)?;
        Self::finish(&values, machine, problems, Vec::new())
    }

    fn resolve(inputs: Inputs) -> Result<Loaded, ConfigError> {
        let (mut values, mut problems, mut warnings) = (Layered::default(), vec![], vec![]);
        if let Some(path) = &inputs.file {
            values.add_file(path, &mut problems)?;
        }
        values.add_env(&inputs.env, &mut problems, &mut warnings);
        for (key, text) in inputs.flags {
            if let Some(Setting {
                flag: Some(flag), ..
            }) = layered::setting(key)
            {
                values.set(key, text, Source::Flag(flag));
            }
        }
        Self::finish(&values, inputs.machine, problems, warnings)
    }

    fn finish(
        values: &Layered,
        machine: Machine,
        mut problems: Vec<Problem>,
        mut warnings: Vec<Warning>,
    ) -> Result<Loaded, ConfigError> {
        Self::check(values, &mut problems);
        if !problems.is_empty() {
            return Err(ConfigError::Invalid(problems));
        }
        let built = Self::build(values, machine);
        let config = built.map_err(|problem| ConfigError::Invalid(vec![problem]))?;
        config.find_conflicts(&mut problems);
        if !problems.is_empty() {
            return Err(ConfigError::Invalid(problems));
        }
        config.find_oddities(values, &mut warnings);
        Ok(Loaded { config, warnings })
    }

    /// Where the log and its metadata live.
    pub fn mode(&self) -> Mode {
        match self.s3.bucket {
            Some(_) => Mode::Cluster,
            None => Mode::Embedded,
        }
    }

    /// Facts about the machine that defaults were taken from.
    pub fn machine(&self) -> &Machine {
        &self.facts
    }

    /// How a broker logs.
    pub fn log_settings(&self) -> crate::logging::LogSettings {
        let admin = &self.admin;
        let traces = admin.otlp_endpoint.as_ref();
        crate::logging::LogSettings {
            level: admin.log_level,
            format: admin.log_format,
            lines_a_second: u32::try_from(admin.log_lines_max).unwrap_or(u32::MAX),
            traces: traces.map(|endpoint| crate::logging::TraceSettings {
                endpoint: endpoint.clone(),
                ratio: admin.trace_ratio,
                instance: self.facts.host_name.clone(),
            }),
        }
    }

    /// What the store's provider asks for.
    pub fn prices(&self) -> crate::metrics::Prices {
        let cost = &self.cost;
        crate::metrics::Prices {
            put_per_1000: cost.put_per_1000,
            get_per_1000: cost.get_per_1000,
            storage_gb_month: cost.storage_gb_month,
        }
    }

    /// Node id: the one set, else the ordinal of the pod, else none yet.
    pub fn broker_id(&self) -> Option<i32> {
        let legal = |id: &i32| u64::try_from(*id).is_ok_and(|id| id <= BROKER_ID_MAX);
        self.broker
            .id
            .or_else(|| self.facts.pod_ordinal().filter(legal))
    }

    /// The pod's name under its headless service.
    fn pod_host(&self) -> Option<String> {
        let (pod, service) = (self.facts.pod_name.as_ref()?, self.broker.service.as_ref()?);
        let namespace = self.facts.pod_namespace.as_deref().unwrap_or("default");
        Some(format!("{pod}.{service}.{namespace}.svc.cluster.local"))
    }

    /// Number of shards, at least 1.
    pub fn shards(&self) -> usize {
        match self.shard.count {
            0 => self.facts.parallelism.clamp(1, SHARDS_AUTO_MAX),
            count => count,
        }
    }

    /// CPU that a shard is pinned to; none when pinning is off. With more shards than CPUs they
    /// share.
    pub fn cpu_of_shard(&self, shard: usize) -> Option<usize> {
        let cpus = &self.facts.cpus;
        if self.shard.pin && !cpus.is_empty() {
            Some(cpus[shard % cpus.len()])
        } else {
            None
        }
    }

    /// Longest wait before a flush.
    pub fn flush_interval(&self) -> Duration {
        self.log.flush_interval.unwrap_or(match self.mode() {
            Mode::Embedded => FLUSH_INTERVAL_LOCAL,
            Mode::Cluster => FLUSH_INTERVAL_S3,
        })
    }

    /// Memory budget of all shards together.
    pub fn memory_bytes(&self) -> u64 {
        let half = self.facts.memory_bytes / 2;
        self.memory
            .budget_bytes
            .unwrap_or(half.max(MEMORY_BYTES_MIN))
    }

    /// Cache budget of all shards together.
    pub fn cache_bytes(&self) -> u64 {
        let quarter = self.facts.memory_bytes / 4;
        self.memory
            .cache_bytes
            .unwrap_or(quarter.max(MEMORY_BYTES_MIN))
    }

    /// The part of the memory budget that is set aside for batches which are decompressed: an eighth.
    pub fn unpack_bytes(&self) -> u64 {
        self.memory_bytes() / UNPACK_MEMORY
    }

    /// Memory budget of one shard.
    pub fn memory_bytes_per_shard(&self) -> u64 {
        (self.memory_bytes() - self.unpack_bytes()) / self.shards() as u64
    }

    /// Cache budget of one shard.
    pub fn cache_bytes_per_shard(&self) -> u64 {
        self.cache_bytes() / self.shards() as u64
    }

    /// Whether a bucket goes to the path of a URL.
    pub fn s3_path_style(&self) -> bool {
        self.s3.path_style.unwrap_or(self.s3.endpoint.is_some())
    }

    /// Settings that contradict each other.
    fn find_conflicts(&self, problems: &mut Vec<Problem>) {
        let mut require = |holds: bool, text: &str| {
            if !holds {
                problems.push(Problem::Conflict(text.to_owned()));
            }
        };
        let (s3, etcd, health) = (&self.s3, &self.etcd, &self.health);
        require(
            s3.bucket.is_some() != etcd.endpoints.is_empty(),
            "s3.bucket and etcd.endpoints go together: set both for a cluster, or neither",
        );
        require(
            s3.access_key.is_some() == s3.secret_key.is_some(),
            "s3.access_key and s3.secret_key go together: set both or neither",
        );
        require(
            etcd.username.is_some() == etcd.password.is_some(),
            "etcd.username and etcd.password go together: set both or neither",
        );
        require(
            etcd.cert_file.is_some() == etcd.key_file.is_some(),
            "etcd.cert_file and etcd.key_file go together: set both or neither",
        );
        let is_plain = |url: &String| url.starts_with("http://");
        require(
            s3.ca_file.is_none() || !s3.endpoint.as_ref().is_some_and(is_plain),
            "s3.ca_file is for TLS: s3.endpoint must begin https://",
        );
        require(
            s3.read_bucket.is_some() || (s3.read_region.is_none() && s3.read_endpoint.is_none()),
            "s3.read_region and s3.read_endpoint need s3.read_bucket",
        );
        require(
            !s3.wal_prefix.is_empty() && !overlap(&s3.wal_prefix, &s3.prefix),
            "s3.wal_prefix must be set and must not overlap s3.prefix: a lifecycle rule on \
             segments would delete WAL objects",
        );
        require(
            health.latency_warn <= health.latency_crit,
            "health.latency_warn_ms must not be above health.latency_crit_ms",
        );
        require(
            health.error_rate_warn <= health.error_rate_crit,
            "health.error_rate_warn must not be above health.error_rate_crit",
        );
        require(
            self.group.session_timeout_min <= self.group.session_timeout_max,
            "group.session_timeout_min_ms must not be above group.session_timeout_max_ms",
        );
        require(
            self.log.flush_partition_bytes <= self.log.flush_bytes,
            "log.flush_partition_bytes must not be above log.flush_bytes",
        );
        require(
            self.topic.auto_create_partitions <= self.topic.partitions_max,
            "topic.auto_create_partitions must not be above topic.partitions_max",
        );
        self.find_listener_conflicts(&mut require);
        self.find_security_conflicts(&mut require);
    }

    /// Settings that work and that may not be what was meant.
    fn find_oddities(&self, values: &Layered, warnings: &mut Vec<Warning>) {
        let mut warn = |text: String| warnings.push(Warning(text));
        if self.mode() == Mode::Cluster && values.is_set("log.data_dir") {
            warn("log.data_dir is ignored: s3.bucket is set".to_owned());
        }
        for key in [
            "broker.addr",
            "broker.host",
            "broker.port",
            "broker.direct_port",
        ] {
            if !self.listeners.bind.is_empty() && values.is_set(key) {
                warn(format!("{key} is ignored: listeners.bind is set"));
            }
        }
        let (shards, cpus) = (self.shards(), self.facts.cpus.len());
        if self.shard.pin && shards > cpus {
            warn(format!(
                "shard.count is {shards} with {cpus} CPUs allowed: shards share CPUs"
            ));
        }
        let asked = self.memory_bytes().saturating_add(self.cache_bytes());
        if asked > self.facts.memory_bytes {
            warn(format!(
                "memory.budget_bytes and memory.cache_bytes add up to {asked}, above the {} bytes \
                 of memory",
                self.facts.memory_bytes
            ));
        }
    }
}

/// True if one prefix lies under the other. The layout of the original KafScale has no prefix: its
/// keys start with the namespace, so nothing lies under it.
fn overlap(wal: &str, segments: &str) -> bool {
    let (wal, segments) = (Path::new(wal), Path::new(segments));
    !segments.as_os_str().is_empty() && (wal.starts_with(segments) || segments.starts_with(wal))
}

#[cfg(test)]
mod tests;
