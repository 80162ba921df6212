//! FindCoordinator (key 10), versions 0-6.
//!
//! - Groups: the node that owns the group's slot, by its address at the listener that the client came by;
//!   COORDINATOR_NOT_AVAILABLE between two owners, and for one that does not have that listener.
//!   v4: several keys (KIP-699).
//! - Transactional ids (v1): the node that owns the slot of a group of that name. It knows no transaction and
//!   says so to tools (DescribeTransactions); a producer fails at once, when it asks for its id (InitProducerId).
//! - Share groups (v6, KIP-932) and unknown kinds: INVALID_REQUEST, as on a Kafka broker without share groups.
//! - v1: texts for errors. v5: TRANSACTION_ABORTABLE (KIP-890): not used.
//!
//! - Needs DESCRIBE on the group or transactional id.
//!
//! Left out: transactions, share groups.

use security::acl::{Operation, ResourceType};
use wire::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};
use crate::metadata::Metadata;
use crate::node::Endpoint;
use crate::shard::slot_of_group;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 6 };
/// First version with several keys.
const SEVERAL_FROM: i16 = 4;

/// `CoordinatorType`.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

const NO_NODE: i32 = -1;

pub(crate) async fn handle(cx: &RequestContext, request: FindCoordinatorRequest<'_>) -> Reply {
    let metadata = cx.shard.metadata();
    let row = |key| {
        let found = find(cx, request.key_type, key, &metadata);
        if let Err((code, _)) = found {
            cx.failed(code);
        }
        coordinator(key, found)
    };
    if cx.version < SEVERAL_FROM {
        let row = row(request.key);
        return cx.reply(&FindCoordinatorResponse {
            error_code: row.error_code,
            error_message: row.error_message,
            node_id: row.node_id,
            host: row.host,
            port: row.port,
            ..FindCoordinatorResponse::default()
        });
    }
    let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
    for key in &request.coordinator_keys {
        cx.next_row().await;
        coordinators.push(row(key));
    }
    cx.reply(&FindCoordinatorResponse {
        coordinators,
        ..FindCoordinatorResponse::default()
    })
}

type Found<'a> = Result<Endpoint<'a>, (ErrorCode, &'static str)>;

fn find<'a>(cx: &RequestContext, key_type: i8, key: &str, metadata: &'a Metadata) -> Found<'a> {
    let denied = |code| (code, "The client is not authorized.");
    match key_type {
        GROUP => cx.authorize(Operation::Describe, ResourceType::Group, key),
        TRANSACTION => cx.authorize(Operation::Describe, ResourceType::TransactionalId, key),
        _ => Ok(()),
    }
    .map_err(denied)?;
    match key_type {
        GROUP | TRANSACTION => metadata
            .coordinator(slot_of_group(key))
            .and_then(|owner| metadata.node(owner))
            .and_then(|node| node.at(cx.listener()))
            .map(|node| node.of_slot(slot_of_group(key)))
            .ok_or((
                ErrorCode::COORDINATOR_NOT_AVAILABLE,
                "The coordinator is not available.",
            )),
        _ => Err((
            ErrorCode::INVALID_REQUEST,
            "This kind of coordinator is not supported by this broker.",
        )),
    }
}

fn coordinator<'a>(key: &'a str, found: Found<'a>) -> Coordinator<'a> {
    match found {
        Ok(node) => Coordinator {
            key,
            node_id: node.id.get(),
            host: node.host,
            port: i32::from(node.port),
            error_code: ErrorCode::NONE,
            error_message: None,
        },
        Err((error_code, text)) => Coordinator {
            key,
            node_id: NO_NODE,
            host: "",
            port: NO_NODE,
            error_code,
            error_message: Some(text),
        },
    }
}
