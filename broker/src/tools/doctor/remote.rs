//! etcd and the bucket: whether they answer, how fast, and whether they keep their promises.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use coord::keys::{Keyspace, cluster};
use coord::kv::{Kv, etcd::Etcd};
use store::s3::S3Store;
use store::{Body, GetRange, ObjectKey, ObjectStore, PutCondition};

use super::{Check, spread};
use crate::config::Config;
use crate::start::{connect_etcd, connect_s3, key_space, spares_the_wal};

/// Requests whose time is taken.
const REQUESTS: usize = 10;
/// A linearizable read of etcd that takes longer endangers the sessions of brokers.
const ETCD_SLOW: Duration = Duration::from_millis(100);
/// Bytes of the objects that are written: as many as the flush of a broker with little to do.
const OBJECT_BYTES: usize = 64 << 10;
/// S3 refuses requests whose time is further off than 15 minutes.
const SKEW_WARN: Duration = Duration::from_secs(60);

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let mut checks = etcd(config).await;
    match connect_s3(config).await {
        Ok(s3) => checks.extend(bucket(config, &s3).await),
        Err(error) => checks.push(Check::problem(
            "bucket",
            error.to_string(),
            "check the settings of [s3]; docs/storage-compatibility.md has examples for providers",
        )),
    }
    checks
}

async fn etcd(config: &Config) -> Vec<Check> {
    const NAME: &str = "etcd";
    let (etcd, status) = match connect_etcd(config).await {
        Ok(connected) => connected,
        Err(error) => {
            let remedy =
                "check KAFSCALE_ETCD_ENDPOINTS, and etcd itself with etcdctl endpoint status";
            return vec![Check::problem(NAME, error.to_string(), remedy)];
        }
    };
    let mut checks = vec![members(&etcd, &status.version).await];
    let space = match Keyspace::new(&config.broker.cluster) {
        Ok(space) => space,
        Err(error) => {
            checks.push(Check::problem(
                NAME,
                error.to_string(),
                "choose another KAFSCALE_CLUSTER",
            ));
            return checks;
        }
    };
    let (mut times, mut is_there) = (Vec::new(), false);
    for _ in 0..REQUESTS {
        let began = Instant::now();
        match etcd.get(cluster::key(&space)).await {
            Ok(found) => is_there = found.is_some(),
            Err(error) => {
                let remedy = "see whether its members are well: etcdctl endpoint health --cluster";
                checks.push(Check::problem(
                    NAME,
                    format!("a read failed: {error}"),
                    remedy,
                ));
                return checks;
            }
        }
        times.push(began.elapsed());
    }
    let found = format!("a read takes {}", spread(&mut times));
    checks.push(match times[times.len() / 2] > ETCD_SLOW {
        true => Check::warning(
            NAME,
            found,
            "sessions of brokers hang on it: give it fast disks of its own, and place it near the brokers",
        ),
        false => Check::good(NAME, found),
    });
    let name = &config.broker.cluster;
    checks.push(match is_there {
        true => Check::good("cluster", format!("{name:?} is there")),
        false => Check::note(
            "cluster",
            format!("{name:?} is not there yet: its first broker makes it"),
        ),
    });
    checks
}

async fn members(etcd: &Etcd, version: &str) -> Check {
    const NAME: &str = "etcd";
    let answers = etcd.members().await.unwrap_or_default();
    let silent = answers.iter().filter(|(_, answer)| answer.is_err());
    let silent: Vec<&str> = silent.map(|(url, _)| url.as_str()).collect();
    if !silent.is_empty() {
        let found = format!("version {version}; no answer from {}", silent.join(", "));
        return Check::warning(
            NAME,
            found,
            "start these members, or take them out of KAFSCALE_ETCD_ENDPOINTS",
        );
    }
    match answers.len() {
        1 => Check::warning(
            NAME,
            format!("version {version}; one endpoint"),
            "with one member the cluster stands still while it is away: run three, and name them all",
        ),
        members => Check::good(
            NAME,
            format!("version {version}; {members} endpoints answer"),
        ),
    }
}

async fn bucket(config: &Config, s3: &S3Store) -> Vec<Check> {
    const NAME: &str = "bucket";
    let keys = match key_space(config) {
        Ok(keys) => keys,
        Err(error) => {
            return vec![Check::problem(
                NAME,
                error.to_string(),
                "choose other prefixes",
            )];
        }
    };
    let objects: Arc<dyn ObjectStore> = Arc::new(s3.clone());
    let token = format!("{:032x}", rand::random::<u128>());
    let mut checks = Vec::new();
    match store::probe::probe(&objects, keys.wal_root(), &token).await {
        Err(error) => {
            let remedy = "the broker needs to PUT, GET, HEAD, LIST and DELETE there: check the policy of its credentials";
            return vec![Check::problem(NAME, error.to_string(), remedy)];
        }
        Ok(report) if report.problems.is_empty() => {
            checks.push(Check::good(NAME, "every operation works, and conditional writes are kept"));
        }
        Ok(report) => checks.push(Check::warning(
            NAME,
            report.problems.join("; "),
            "etcd guards the commits instead, at one more transaction a flush; a store that keeps If-None-Match is faster",
        )),
    }
    checks.push(match s3.lifecycle_rules().await {
        Err(error) => Check::warning(
            "lifecycle",
            format!("its rules cannot be read: {error}"),
            format!(
                "make sure that no rule deletes objects under {}",
                keys.wal_root()
            ),
        ),
        Ok(rules) => match spares_the_wal(&rules, keys.wal_root()) {
            Ok(()) => Check::good("lifecycle", "no rule deletes what is acknowledged"),
            Err(error) => Check::problem(
                "lifecycle",
                error.to_string(),
                "change that rule before a broker starts",
            ),
        },
    });
    checks.extend(
        latency(
            config,
            &objects,
            &format!("{}probe-{token}/", keys.wal_root()),
        )
        .await,
    );
    checks
}

/// Times of PUT and GET, and how far this clock is off the store's.
async fn latency(config: &Config, objects: &Arc<dyn ObjectStore>, below: &str) -> Vec<Check> {
    const NAME: &str = "bucket latency";
    let keys = (0..REQUESTS).map(|number| ObjectKey::new(format!("{below}{number}")));
    let Ok(keys) = keys.collect::<Result<Vec<ObjectKey>, _>>() else {
        return Vec::new();
    };
    let outcome = timed(objects, &keys).await;
    for (key, result) in objects.delete(keys.clone()).await {
        if let Err(error) = result {
            tracing::warn!(%key, %error, "an object of the doctor was not deleted");
        }
    }
    let remedy = "check the network between here and the bucket, and its limits of requests";
    let (mut puts, mut gets, skew) = match outcome {
        Ok(times) => times,
        Err(error) => return vec![Check::problem(NAME, error, remedy)],
    };
    let size = OBJECT_BYTES >> 10;
    let found = format!(
        "PUT of {size} KiB takes {}; GET {}",
        spread(&mut puts),
        spread(&mut gets)
    );
    let is_slow = puts[puts.len() / 2] > config.health.latency_warn;
    vec![
        match is_slow {
            true => Check::warning(NAME, found, remedy),
            false => Check::good(NAME, found),
        },
        match skew > SKEW_WARN {
            true => Check::warning(
                "time",
                format!("this clock is {} s off the store's", skew.as_secs()),
                "run chrony or systemd-timesyncd: S3 refuses requests whose time is 15 minutes off, and retention goes \
                 by the clock",
            ),
            false => Check::good(
                "time",
                format!("within {} s of the store's", skew.as_secs() + 1),
            ),
        },
    ]
}

type Times = (Vec<Duration>, Vec<Duration>, Duration);

async fn timed(objects: &Arc<dyn ObjectStore>, keys: &[ObjectKey]) -> Result<Times, String> {
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for key in keys {
        let body = Body::from(bytes::Bytes::from(vec![0x5a; OBJECT_BYTES]));
        let began = Instant::now();
        let put = objects.put(key.clone(), body, PutCondition::None).await;
        put.map_err(|error| error.to_string())?;
        puts.push(began.elapsed());
        let began = Instant::now();
        let got = objects.get(key.clone(), GetRange::Full).await;
        got.map_err(|error| error.to_string())?;
        gets.push(began.elapsed());
    }
    let head = objects.head(keys[0].clone()).await;
    let head = head.map_err(|error| error.to_string())?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let since: Duration = puts.iter().chain(&gets).sum();
    let written = now.saturating_sub(since).as_millis();
    let skew = head.clock_offset(i64::try_from(written).unwrap_or(i64::MAX));
    Ok((puts, gets, skew))
}
