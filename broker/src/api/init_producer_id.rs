//! InitProducerId (key 22), versions 0-5.
//!
//! - Idempotent producers only. Each gets an id that no producer had before, with epoch 0. A shard
//!   takes ids in blocks and hands them out of memory (KIP-730).
//! - A request that names the producer's present id and epoch (v3, KIP-360) gets a new id as well:
//!   that is what Kafka's broker does without a transactional id, and clients of such producers
//!   raise their epoch on their own. Only one of the two named is INVALID_REQUEST.
//! - COORDINATOR_LOAD_IN_PROGRESS, retriable, while the metadata store gives no block, as in Kafka.
//! - A transactional id is TRANSACTIONAL_ID_AUTHORIZATION_FAILED: nobody may use one, since there are no
//!   transactions. Every client fails at once with that; librdkafka repeats INVALID_REQUEST without end. v4: PRODUCER_FENCED (KIP-588), v5: TRANSACTION_ABORTABLE (KIP-890):
//!   not used.
//!
//! - Needs IDEMPOTENT_WRITE on the cluster, or WRITE on some topic (KIP-679): CLUSTER_AUTHORIZATION_FAILED.
//!
//! Left out: transactions.

use security::acl::{CLUSTER, Operation, ResourceType};
use wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 5 };
/// "None" for an id and for an epoch.
const NO_PRODUCER_ID: i64 = -1;
const NO_PRODUCER_EPOCH: i16 = -1;

pub(crate) async fn handle(cx: &RequestContext, request: InitProducerIdRequest<'_>) -> Reply {
    match producer_id(cx, &request).await {
        Ok(producer_id) => cx.reply(&InitProducerIdResponse {
            producer_id,
            producer_epoch: 0,
            ..InitProducerIdResponse::default()
        }),
        Err(error_code) => {
            cx.failed(error_code);
            cx.reply(&InitProducerIdResponse {
                error_code,
                producer_id: NO_PRODUCER_ID,
                producer_epoch: NO_PRODUCER_EPOCH,
                ..InitProducerIdResponse::default()
            })
        }
    }
}

async fn producer_id(
    cx: &RequestContext,
    request: &InitProducerIdRequest<'_>,
) -> Result<i64, ErrorCode> {
    let has_id = request.producer_id != NO_PRODUCER_ID;
    let has_epoch = request.producer_epoch != NO_PRODUCER_EPOCH;
    if request.transactional_id.is_some() {
        return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    let may = cx.allows_quietly(Operation::IdempotentWrite, ResourceType::Cluster, CLUSTER)
        || cx.allows_any(Operation::Write, ResourceType::Topic);
    if !may {
        return Err(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    }
    if has_id != has_epoch {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    let shard = &cx.shard;
    if let Some(id) = shard.producer_ids.next() {
        return Ok(id);
    }
    match shard.shared.control.producer_block().await {
        Ok(block) => shard
            .producer_ids
            .refill(block)
            .ok_or(ErrorCode::UNKNOWN_SERVER_ERROR),
        Err(error) => {
            tracing::warn!(%error, "no producer ids");
            Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
        }
    }
}
