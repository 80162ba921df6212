//! DeleteObjects in batches, and DeleteObject where the store has no batches.
//!
//! Invariant: each key has a result, in the order asked for; a key that a batch does not report as
//! failed was deleted (the quiet form of the request).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_sdk_s3::types::{Delete, Error as KeyFailure, ObjectIdentifier};
use futures_util::StreamExt;

use super::Shared;
use super::failure::{Answer, Failure, send};
use super::verdict::{Asked, Verdict, delete_result, verdict};
use crate::DeleteResults;
use crate::error::DeleteError;
use crate::key::ObjectKey;

/// Keys of one batch: S3's bound.
const BATCH_KEYS_MAX: usize = 1000;
/// Single deletes at the same time.
const SINGLES_IN_FLIGHT: usize = 8;
const PERMISSION: &str = "s3:DeleteObject";

/// Deletes all keys, batch after batch.
pub(super) async fn delete(shared: &Arc<Shared>, keys: Vec<ObjectKey>) -> DeleteResults {
    let mut results = Vec::with_capacity(keys.len());
    for batch in keys.chunks(BATCH_KEYS_MAX) {
        // One key needs no batch; DeleteObject is known to more stores.
        let one_by_one = batch.len() == 1 || shared.deletes_one_by_one.load(Ordering::Relaxed);
        let done = match one_by_one {
            true => singles(shared, batch).await,
            false => match together(shared, batch).await {
                Some(done) => done,
                None => singles(shared, batch).await,
            },
        };
        results.extend(batch.iter().cloned().zip(done));
    }
    results
}

/// One batch; `None` where the store has no batches.
async fn together(shared: &Shared, batch: &[ObjectKey]) -> Option<Vec<Result<(), DeleteError>>> {
    let asked = asked(shared, "DeleteObjects");
    let failed = match send_batch(shared, batch).await {
        Ok(failed) => failed,
        Err(failure) => {
            if let Verdict::NotImplemented(reason) = verdict(failure.clone(), asked) {
                tracing::info!(
                    reason,
                    "the store has no DeleteObjects: deleting one by one"
                );
                shared.deletes_one_by_one.store(true, Ordering::Relaxed);
                return None;
            }
            let result = |key| delete_result(key, failure.clone(), asked);
            return Some(batch.iter().map(result).collect());
        }
    };
    let by_key: HashMap<&str, &KeyFailure> = failed
        .iter()
        .filter_map(|failure| Some((failure.key()?, failure)))
        .collect();
    let result = |key: &ObjectKey| match by_key.get(key.as_str()) {
        Some(failed) => delete_result(key, key_failure(failed), asked),
        None => Ok(()),
    };
    Some(batch.iter().map(result).collect())
}

async fn send_batch(shared: &Shared, batch: &[ObjectKey]) -> Result<Vec<KeyFailure>, Failure> {
    let mut objects = Vec::with_capacity(batch.len());
    for key in batch {
        let object = ObjectIdentifier::builder().key(key.as_str()).build();
        objects.push(object.map_err(|error| Failure::NotSent(error.to_string()))?);
    }
    let delete = Delete::builder()
        .set_objects(Some(objects))
        .quiet(true)
        .build()
        .map_err(|error| Failure::NotSent(error.to_string()))?;
    let request = shared
        .main
        .client
        .delete_objects()
        .bucket(&shared.main.name)
        .delete(delete);
    shared.counters.deletes.increment();
    let answer = send(shared.limit(0), request.send()).await?;
    Ok(answer.errors.unwrap_or_default())
}

/// The failure of one key inside of a batch, which has a code but no status.
fn key_failure(failed: &KeyFailure) -> Failure {
    Failure::Answered(Answer {
        status: 200,
        code: failed.code().map(str::to_owned),
        message: failed.message().unwrap_or_default().to_owned(),
        ..Answer::default()
    })
}

async fn singles(shared: &Shared, batch: &[ObjectKey]) -> Vec<Result<(), DeleteError>> {
    futures_util::stream::iter(batch.to_vec())
        .map(|key| single(shared, key))
        .buffered(SINGLES_IN_FLIGHT)
        .collect()
        .await
}

async fn single(shared: &Shared, key: ObjectKey) -> Result<(), DeleteError> {
    let request = shared
        .main
        .client
        .delete_object()
        .bucket(&shared.main.name)
        .key(key.as_str());
    shared.counters.deletes.increment();
    match send(shared.limit(0), request.send()).await {
        Ok(_) => Ok(()),
        Err(failure) => delete_result(&key, failure, asked(shared, "DeleteObject")),
    }
}

fn asked<'a>(shared: &'a Shared, operation: &'static str) -> Asked<'a> {
    Asked {
        operation,
        permission: PERMISSION,
        bucket: &shared.main.name,
    }
}
