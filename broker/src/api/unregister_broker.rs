//! UnregisterBroker (key 64), version 0 (KIP-631).
//!
//! - BROKER_ID_NOT_REGISTERED for a broker that does not live: the cluster forgets a broker by itself when its session
//!   ends.
//! - INVALID_REQUEST, with what to do, for one that lives. Kafka drops its registration and fences it until it is
//!   started again; here it would come back at once.

use security::acl::Operation;
use wire::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 0 };

pub(crate) async fn handle(cx: &RequestContext, request: UnregisterBrokerRequest) -> Reply {
    if let Err((error_code, text)) = cx.authorize_cluster(Operation::Alter) {
        cx.failed(error_code);
        return cx.reply(&UnregisterBrokerResponse {
            error_code,
            error_message: Some(text),
            ..UnregisterBrokerResponse::default()
        });
    }
    let id = request.broker_id;
    let metadata = cx.shard.metadata();
    let lives = metadata.has_node(id);
    let (error_code, text) = if lives {
        let text = format!(
            "Broker {id} is running: stop it, and it is forgotten by itself; drain it first to move what it \
             owns without a pause."
        );
        (ErrorCode::INVALID_REQUEST, text)
    } else {
        let text = format!("Broker ID {id} is not currently registered");
        (ErrorCode::BROKER_ID_NOT_REGISTERED, text)
    };
    cx.failed(error_code);
    cx.reply(&UnregisterBrokerResponse {
        error_code,
        error_message: Some(&text),
        ..UnregisterBrokerResponse::default()
    })
}
