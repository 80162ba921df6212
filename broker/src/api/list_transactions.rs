//! ListTransactions (key 66), versions 0-2 (KIP-664).
//!
//! - As a Kafka broker that coordinates no transaction: none, whatever the filters. States that Kafka does not know
//!   are named as such.
//! - Kafka leaves out what may not be described: there is nothing to leave out.
//! - v1: a filter by duration (KIP-994). v2: by a pattern of transactional ids (KIP-1152); INVALID_REGULAR_EXPRESSION
//!   is never answered, since there is nothing to match.

use wire::VersionRange;
use wire::messages::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 2 };

/// Kafka's names of the states of a transaction.
const STATES: &[&str] = &[
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "PrepareEpochFence",
    "Dead",
];

pub(crate) async fn handle(cx: &RequestContext, request: ListTransactionsRequest<'_>) -> Reply {
    let mut unknown = request.state_filters;
    unknown.retain(|state| !STATES.contains(state));
    cx.reply(&ListTransactionsResponse {
        unknown_state_filters: unknown,
        ..ListTransactionsResponse::default()
    })
}
