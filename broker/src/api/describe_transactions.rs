//! DescribeTransactions (key 65), version 0 (KIP-664).
//!
//! As a Kafka broker that coordinates no transaction: TRANSACTIONAL_ID_NOT_FOUND for every transactional id,
//! INVALID_REQUEST for an empty one. Needs DESCRIBE on each: TRANSACTIONAL_ID_AUTHORIZATION_FAILED.

use security::acl::{Operation, ResourceType};
use wire::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TransactionState,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 0 };

pub(crate) async fn handle(cx: &RequestContext, request: DescribeTransactionsRequest<'_>) -> Reply {
    let states = request.transactional_ids.iter().map(|id| {
        let may = cx.authorize(Operation::Describe, ResourceType::TransactionalId, id);
        let error_code = if let Err(code) = may {
            code
        } else if id.is_empty() {
            ErrorCode::INVALID_REQUEST
        } else {
            ErrorCode::TRANSACTIONAL_ID_NOT_FOUND
        };
        cx.failed(error_code);
        TransactionState {
            error_code,
            transactional_id: id,
            ..TransactionState::default()
        }
    });
    cx.reply(&DescribeTransactionsResponse {
        transaction_states: states.collect(),
        ..DescribeTransactionsResponse::default()
    })
}
