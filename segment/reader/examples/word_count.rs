//! Counts the words of a topic, each exactly once, into a file.
//!
//! `word_count TOPIC FILE`, with the settings of the cluster's brokers in the environment. It may be
//! stopped at any moment, in any way: started again, it goes on.

use std::collections::BTreeMap;
use std::env::var;
use std::error::Error;
use std::time::Duration;

use coord::keys::Keyspace;
use coord::kv::etcd::EtcdOptions;
use reader::{Bucket, FileCheckpoints, ReadError};
use segment::keys::{KeySpace, SEGMENTS_PREFIX_DEFAULT, WAL_PREFIX_DEFAULT};
use segment::{PartitionIndex, TopicName};
use store::s3::{S3Options, Secret, StaticCredentials};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [topic, file] => count(&open().await?, topic, file).await,
        _ => Err("word_count TOPIC FILE".into()),
    }
}

/// The bucket and the metadata of the cluster that the environment names.
pub(crate) async fn open() -> Result<Bucket, Box<dyn Error>> {
    let mut bucket = S3Options::new(var("KAFSCALE_S3_BUCKET")?);
    bucket.region = var("KAFSCALE_S3_REGION").ok();
    bucket.endpoint = var("KAFSCALE_S3_ENDPOINT").ok();
    bucket.path_style = bucket.endpoint.is_some();
    if let (Ok(access_key), Ok(secret)) =
        (var("KAFSCALE_S3_ACCESS_KEY"), var("KAFSCALE_S3_SECRET_KEY"))
    {
        bucket.credentials = Some(StaticCredentials {
            access_key,
            secret_key: Secret::new(secret),
            session_token: None,
        });
    }
    let endpoints = var("KAFSCALE_ETCD_ENDPOINTS")?;
    let metadata = EtcdOptions::new(endpoints.split(','));
    let namespace = var("KAFSCALE_S3_NAMESPACE").unwrap_or_else(|_| "default".to_owned());
    let keys = KeySpace::new(SEGMENTS_PREFIX_DEFAULT, WAL_PREFIX_DEFAULT, &namespace)?;
    let cluster = var("KAFSCALE_CLUSTER").unwrap_or_else(|_| "kafscale".to_owned());
    Ok(Bucket::open(bucket, metadata, keys, Keyspace::new(&cluster)?).await?)
}

/// Counts for ever.
pub(crate) async fn count(bucket: &Bucket, topic: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let cluster = bucket.cluster().await?;
    let topic = bucket.topic(&TopicName::new(topic)?).await?;
    let topic = topic.ok_or("there is no such topic")?;
    // What was counted, and up to where: in one file, which is replaced as a whole.
    let mut counts = FileCheckpoints::<BTreeMap<String, u64>>::open(file, &cluster.cluster_id)?;
    let mut readers = Vec::new();
    for partition in (0..topic.partitions).map(PartitionIndex::new) {
        let mut reader = bucket.reader(&topic, partition)?;
        if let Some(next) = counts.offset(reader.partition()) {
            reader.seek(next);
        }
        readers.push(reader);
    }
    loop {
        let mut is_idle = true;
        for reader in &mut readers {
            let run = match reader.next().await {
                Ok(Some(run)) => run,
                Ok(None) => continue,
                Err(error @ ReadError::LogStartPassed { log_start, .. }) => {
                    eprintln!("not counted: {error}");
                    reader.seek(log_start);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for record in run.records() {
                let value = record?.value.unwrap_or_default();
                for word in String::from_utf8_lossy(&value).split_whitespace() {
                    *counts.state.entry(word.to_owned()).or_default() += 1;
                }
            }
            counts.advance(run.partition, run.next);
            is_idle = false;
        }
        match is_idle {
            true => tokio::time::sleep(Duration::from_millis(200)).await,
            false => counts.commit()?,
        }
    }
}
