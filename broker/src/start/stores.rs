//! Where everything is kept: opened, and checked before anything is served.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coord::keys::cluster::CommitMode;
use coord::kv::Kv;
use coord::kv::embedded::{Embedded, METADATA_FILE};
use coord::kv::etcd::{Etcd, EtcdOptions, EtcdStatus, Password};
use coord::rules::{self, Rule};
use segment::keys::KeySpace;
use store::local::{LocalOptions, LocalStore};
use store::probe::{ProbeReport, probe};
use store::retry::{Again, again};
use store::s3::{
    LifecycleRule, ReadReplica, RequestChecksums, S3Options, S3Store, Sse, StaticCredentials,
    covers,
};
use store::{ListRequest, ObjectKey, ObjectStore, Unconditional};

use super::StartError;
use crate::config::{Checksums, Config, Encryption, Mode, Secret};
use crate::control::health::HealthConfig;
use crate::control::retry::{Pacer, Pauses, RequestKind};

/// Tries of the probe where the store does not answer.
const PROBE_TRIES_MAX: u32 = 5;
/// A start that waits for the store longer than this says so; one that ends sooner says only why.
const SILENT: Duration = Duration::from_secs(1);

/// Where everything is kept.
#[derive(Clone)]
pub struct Stores {
    /// The object store.
    pub objects: Arc<dyn ObjectStore>,
    /// Where backups of the metadata are kept, unless it is there too.
    pub backups: Option<Arc<dyn ObjectStore>>,
    /// The metadata store.
    pub kv: Arc<dyn Kv>,
    /// How a reader is told where that is.
    pub place: String,
    /// How WAL objects can be committed there.
    pub mode: CommitMode,
    /// Whether an object can be replaced on condition that it is still the one that was read.
    pub replaces: bool,
    /// Whether other brokers use them too, so that sessions must be proven alive.
    pub shared: bool,
}

/// Opens the stores that the settings name.
///
/// # Errors
/// [`StartError`]: what cannot be used, and what to do.
pub async fn open(config: &Config) -> Result<Stores, StartError> {
    match config.mode() {
        Mode::Embedded => open_embedded(config).await,
        Mode::Cluster => open_cluster(config).await,
    }
}

/// Opens the stores for a tool: nothing is probed or written. Gives the object store, the metadata
/// store, and how a reader is told where they are.
///
/// # Errors
/// [`StartError`]; a directory that another process uses is refused.
pub async fn open_unprobed(
    config: &Config,
) -> Result<(Arc<dyn ObjectStore>, Arc<dyn Kv>, String), StartError> {
    match config.mode() {
        Mode::Embedded => {
            let stores = open_embedded(config).await?;
            Ok((stores.objects, stores.kv, stores.place))
        }
        Mode::Cluster => {
            let (s3, etcd, _) = connect(config).await?;
            Ok((Arc::new(s3), Arc::new(etcd), place(config)))
        }
    }
}

/// Connects to the bucket and etcd.
async fn connect(config: &Config) -> Result<(S3Store, Etcd, EtcdStatus), StartError> {
    let (etcd, status) = connect_etcd(config).await?;
    Ok((connect_s3(config).await?, etcd, status))
}

/// Connects to the bucket of backups, if it is another one. Asks nothing of it.
///
/// # Errors
/// [`StartError`].
pub(crate) async fn connect_backups(
    config: &Config,
) -> Result<Option<Arc<dyn ObjectStore>>, StartError> {
    let Some(bucket) = config
        .backup
        .bucket
        .as_ref()
        .filter(|_| config.mode() == Mode::Cluster)
    else {
        return Ok(None);
    };
    let options = S3Options {
        bucket: bucket.clone(),
        read_replica: None,
        ..s3_options(config)
    };
    Ok(Some(Arc::new(S3Store::connect(options).await?)))
}

/// Connects to etcd, and gives what the member says of itself that answered.
///
/// # Errors
/// [`StartError`].
pub(crate) async fn connect_etcd(config: &Config) -> Result<(Etcd, EtcdStatus), StartError> {
    let etcd = Etcd::connect(etcd_options(config)).await?;
    let status = etcd.check().await?;
    Ok((etcd, status))
}

/// Connects to the bucket. Asks nothing of it.
///
/// # Errors
/// [`StartError`].
pub(crate) async fn connect_s3(config: &Config) -> Result<S3Store, StartError> {
    Ok(S3Store::connect(s3_options(config)).await?)
}

fn place(config: &Config) -> String {
    let bucket = config.s3.bucket.as_deref().unwrap_or_default();
    let endpoint = config.s3.endpoint.as_deref().unwrap_or("AWS");
    let etcd = config.etcd.endpoints.join(", ");
    format!("s3://{bucket} at {endpoint}; metadata in etcd {etcd}")
}

/// Opens the bucket and etcd, and checks that the bucket keeps its promises.
async fn open_cluster(config: &Config) -> Result<Stores, StartError> {
    let (s3, etcd, status) = connect(config).await?;
    let objects: Arc<dyn ObjectStore> = Arc::new(s3.clone());
    let keys = key_space(config)?;
    let report = probe_store(&objects, keys.wal_root()).await?;
    check_lifecycle(&s3, keys.wal_root()).await?;
    for problem in &report.problems {
        tracing::warn!(problem, "the object store does not keep a promise");
    }
    let backups = connect_backups(config).await?;
    let (mode, objects, backups) = match report.conditional {
        true => (CommitMode::Conditional, objects, backups),
        false => {
            let backups = backups.map(without_conditions);
            (CommitMode::Guarded, without_conditions(objects), backups)
        }
    };
    if report.conditional && !report.if_match {
        tracing::warn!(
            "small segments are not merged and compacted topics not cleaned: the object store replaces nothing under \
             If-Match"
        );
    }
    tracing::info!(
        bucket = config.s3.bucket.as_deref().unwrap_or_default(),
        endpoint = config.s3.endpoint.as_deref().unwrap_or("AWS"),
        etcd = config.etcd.endpoints.join(", "),
        etcd_version = status.version,
        ?mode,
        "stores opened"
    );
    Ok(Stores {
        objects,
        backups,
        kv: Arc::new(etcd),
        place: place(config),
        mode,
        replaces: report.if_match,
        shared: true,
    })
}

/// Leaves conditions out of writes to a store that does not keep them, and may refuse them.
pub(crate) fn without_conditions(objects: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    Arc::new(Unconditional::new(objects))
}

/// The names of objects, checked.
pub fn key_space(config: &Config) -> Result<KeySpace, StartError> {
    let s3 = &config.s3;
    let keys = KeySpace::new(&s3.prefix, &s3.wal_prefix, &s3.namespace)?;
    for root in [keys.segments_root(), keys.wal_root()] {
        ObjectKey::new(format!("{root}x"))?;
    }
    Ok(keys)
}

/// The thresholds of the health states.
pub fn health_config(config: &Config) -> HealthConfig {
    let health = &config.health;
    HealthConfig {
        window: health.window,
        latency: (health.latency_warn, health.latency_crit),
        errors: (health.error_rate_warn, health.error_rate_crit),
    }
}

fn s3_options(config: &Config) -> S3Options {
    let s3 = &config.s3;
    let secret = |secret: &Secret| store::s3::Secret::new(secret.expose());
    let credentials = s3.access_key.as_ref().zip(s3.secret_key.as_ref());
    let credentials = credentials.map(|(access_key, secret_key)| StaticCredentials {
        access_key: access_key.expose().to_owned(),
        secret_key: secret(secret_key),
        session_token: s3.session_token.as_ref().map(secret),
    });
    let sse = match (&s3.kms_arn, s3.encryption) {
        (Some(key_id), _) => Sse::Kms {
            key_id: key_id.clone(),
        },
        (None, Encryption::Aes256) => Sse::Aes256,
        (None, Encryption::Bucket) => Sse::None,
    };
    let read_replica = s3.read_bucket.as_ref().map(|bucket| ReadReplica {
        bucket: bucket.clone(),
        region: s3.read_region.clone(),
        endpoint: s3.read_endpoint.clone(),
    });
    S3Options {
        region: s3.region.clone(),
        endpoint: s3.endpoint.clone(),
        ca_file: s3.ca_file.clone(),
        path_style: config.s3_path_style(),
        credentials,
        sse,
        request_checksums: match s3.request_checksums {
            Checksums::Supported => RequestChecksums::WhenSupported,
            Checksums::Required => RequestChecksums::WhenRequired,
        },
        attempt_timeout: s3.request_timeout,
        hedge_after: Some(s3.hedge_after).filter(|after| !after.is_zero()),
        read_replica,
        ..S3Options::new(s3.bucket.as_deref().unwrap_or_default())
    }
}

fn etcd_options(config: &Config) -> EtcdOptions {
    let etcd = &config.etcd;
    let options = EtcdOptions {
        username: etcd.username.clone(),
        password: etcd.password.as_ref().map(|p| Password::new(p.expose())),
        ..EtcdOptions::new(etcd.endpoints.iter().cloned())
    };
    let (cert_file, key_file) = (etcd.cert_file.clone(), etcd.key_file.clone());
    options.with_tls_files(etcd.ca_file.clone(), cert_file, key_file)
}

/// Probes the store, a few times where it cannot be judged now, and for as long as it asks to slow
/// down: a store that is busy is no reason to exit.
async fn probe_store(
    objects: &Arc<dyn ObjectStore>,
    prefix: &str,
) -> Result<ProbeReport, StartError> {
    let began = Instant::now();
    let (pacer, mut pauses) = (Pacer::default(), Pauses::default());
    let mut tries = 0;
    loop {
        let token = format!("{:032x}", rand::random::<u128>());
        let error = match probe(objects, prefix, &token).await {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        let again = again(&error);
        let is_told_to_wait = matches!(again, Again::SlowDown { .. });
        tries += u32::from(!is_told_to_wait);
        if !error.retriable() || tries >= PROBE_TRIES_MAX {
            return Err(error.into());
        }
        if began.elapsed() > SILENT {
            tracing::warn!(%error, "the object store cannot be probed now; trying again");
        }
        pacer.failed(RequestKind::Read, again);
        pacer.turn().await;
        pauses.pause().await;
    }
}

/// Refuses a lifecycle rule that would delete WAL objects and fences (log-protocol H2).
async fn check_lifecycle(s3: &S3Store, wal_prefix: &str) -> Result<(), StartError> {
    let rules = match s3.lifecycle_rules().await {
        Ok(rules) => rules,
        Err(error) => {
            tracing::warn!(%error, "make sure that no lifecycle rule covers {wal_prefix}");
            return Ok(());
        }
    };
    spares_the_wal(&rules, wal_prefix)
}

pub(crate) fn spares_the_wal(
    lifecycle: &[LifecycleRule],
    wal_prefix: &str,
) -> Result<(), StartError> {
    let covers = |rule: &&LifecycleRule| covers(rule, wal_prefix);
    match lifecycle.iter().find(covers) {
        Some(rule) if rules::holds(Rule::LifecycleSparesTheWal) => Err(StartError::Lifecycle {
            rule: rule.id.clone(),
            prefix: rule.prefix.clone(),
            wal_prefix: wal_prefix.to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// Opens the embedded stores of the data directory.
///
/// # Errors
/// [`StartError`]; a directory that another broker uses is refused.
async fn open_embedded(config: &Config) -> Result<Stores, StartError> {
    let directory = config.log.data_dir.clone();
    let opened = LocalStore::open(&directory, LocalOptions::default())?;
    let directory = opened.lock().root().to_owned();
    let objects: Arc<dyn ObjectStore> = Arc::new(opened);
    if !directory.join(METADATA_FILE).exists() {
        let page = objects.list(ListRequest::new("").limit(1)).await?;
        if let Some(first) = page.objects.first() {
            let example = first.key.as_str().to_owned();
            return Err(StartError::NoMetadata { directory, example });
        }
    }
    let kv: Arc<dyn Kv> = Arc::new(Embedded::open(&directory)?);
    let place = directory.display().to_string();
    Ok(Stores {
        objects,
        backups: None,
        kv,
        place,
        mode: CommitMode::Conditional,
        replaces: true,
        shared: false,
    })
}

#[cfg(test)]
mod tests {
    use store::faulty::{Fault, FaultyStore, Operation, Rule};
    use store::memory::MemoryStore;

    use super::*;

    async fn probe_after(fault: Fault, times: u64) -> Result<ProbeReport, StartError> {
        let faulty = FaultyStore::without_clock(MemoryStore::new(), 1);
        faulty.add_rule(Rule::always(Operation::Put, fault).times(times));
        let store: Arc<dyn ObjectStore> = Arc::new(faulty);
        probe_store(&store, "wal/").await
    }

    #[tokio::test]
    async fn a_store_that_asks_to_slow_down_is_probed_until_it_answers_and_one_that_fails_is_not() {
        let tries = u64::from(PROBE_TRIES_MAX);
        assert!(
            probe_after(Fault::Throttled, tries + 1)
                .await
                .unwrap()
                .conditional
        );
        assert!(
            probe_after(Fault::ErrorBefore, tries - 1)
                .await
                .unwrap()
                .conditional
        );
        let failed = probe_after(Fault::ErrorBefore, tries).await;
        assert!(matches!(failed, Err(StartError::Probe(_))));
    }
}
