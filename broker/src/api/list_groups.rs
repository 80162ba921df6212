//! ListGroups (key 16), versions 0-5.
//!
//! - The groups that this broker coordinates, in order of name within each coordinator slot.
//! - v4: states, as a filter and in the reply (KIP-518). v5: types (KIP-848); all groups here are
//!   of type `classic`. Filters compare without regard to case, and unknown names match nothing.
//! - COORDINATOR_LOAD_IN_PROGRESS for the whole reply while a slot of this broker is not open.
//!
//! - All groups to whom may DESCRIBE the cluster, to others those that they may DESCRIBE.
//!
//! Left out: groups of the consumer protocol and share groups.

use security::acl::{CLUSTER, Operation, ResourceType};
use wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, error};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 5 };
/// The type of all groups.
const GROUP_TYPE: &str = "classic";

pub(crate) async fn handle(cx: &RequestContext, request: ListGroupsRequest<'_>) -> Reply {
    let owned = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let (states, types) = (owned(&request.states_filter), owned(&request.types_filter));
    let read = cx.shard.read_all_slots(move |slot| {
        let states: Vec<&str> = states.iter().map(String::as_str).collect();
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        slot.list(&states, &types)
    });
    let slots = match read.await {
        Ok(slots) => slots,
        Err(error) => {
            let error_code = error::unavailable_code(error);
            cx.failed(error_code);
            return cx.reply(&ListGroupsResponse {
                error_code,
                ..ListGroupsResponse::default()
            });
        }
    };
    let may_all = cx.allows_quietly(Operation::Describe, ResourceType::Cluster, CLUSTER);
    let may_see =
        |name: &str| may_all || cx.allows_quietly(Operation::Describe, ResourceType::Group, name);
    let groups = slots.iter().flatten();
    let groups = groups.filter(|group| may_see(group.group.as_str()));
    let groups = groups.map(|group| ListedGroup {
        group_id: group.group.as_str(),
        protocol_type: &group.protocol_type,
        group_state: group.state.as_str(),
        group_type: GROUP_TYPE,
    });
    cx.reply(&ListGroupsResponse {
        error_code: ErrorCode::NONE,
        groups: groups.collect(),
        ..ListGroupsResponse::default()
    })
}
