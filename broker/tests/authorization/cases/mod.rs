//! Every API that is served: what is asked, which rules it needs, and what is answered with and without them.

use security::acl::{CLUSTER, Operation, ResourceType};
use wire::messages::*;
use wire::{ApiKey, ErrorCode, Float64, Uuid};

use crate::common::{Connection, Fetch, Topic, Wanted, batch, produce_request};

/// What requests name.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) topic: Topic,
    pub(crate) group: &'static str,
}

/// Codes of an answer, and its bytes.
pub(crate) type Answer = (Vec<ErrorCode>, Vec<u8>);

/// On what a rule is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Topic,
    Group,
    Cluster,
    /// Of the group's name.
    TransactionalId,
    /// Of the group's name.
    User,
}

impl On {
    pub(crate) fn resource(self) -> ResourceType {
        match self {
            Self::Topic => ResourceType::Topic,
            Self::Group => ResourceType::Group,
            Self::Cluster => ResourceType::Cluster,
            Self::TransactionalId => ResourceType::TransactionalId,
            Self::User => ResourceType::User,
        }
    }

    pub(crate) fn name(self, names: &Names) -> String {
        match self {
            Self::Topic => names.topic.name.clone(),
            Self::Cluster => CLUSTER.to_owned(),
            Self::Group | Self::TransactionalId => names.group.to_owned(),
            Self::User => format!("User:{}", names.group),
        }
    }

    pub(crate) fn denial(self) -> ErrorCode {
        match self {
            Self::Topic => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            Self::Group => ErrorCode::GROUP_AUTHORIZATION_FAILED,
            Self::Cluster => ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
            Self::TransactionalId => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            Self::User => ErrorCode::DELEGATION_TOKEN_AUTHORIZATION_FAILED,
        }
    }
}

/// One row of the matrix.
pub(crate) struct Case {
    pub(crate) api: ApiKey,
    pub(crate) what: &'static str,
    pub(crate) ask: fn(&mut Connection, &Names) -> Answer,
    /// All of them are needed; none where everybody is answered.
    pub(crate) needs: Vec<(On, Operation)>,
    /// The code without any of them.
    pub(crate) denied: ErrorCode,
    /// The code with all of them.
    pub(crate) allowed: ErrorCode,
    /// Whether it names what exists when it is allowed: else it would be gone.
    pub(crate) is_harmless: bool,
    /// Whether topics are named by id: an unknown id is unknown to everybody.
    pub(crate) is_by_id: bool,
}

/// APIs that anybody may ask, before and after it is known who that is.
pub(crate) const FOR_ALL: [ApiKey; 3] = [
    ApiKey::SaslHandshake,
    ApiKey::SaslAuthenticate,
    ApiKey::ApiVersions,
];

macro_rules! ask {
    ($connection:expr, $version:expr, $kind:ty, $request:expr, |$response:ident| $codes:expr) => {{
        let body = $connection.call($version, &$request);
        let (_, $response) = wire::decode_response::<$kind>(&body, $version).unwrap();
        let codes: Vec<ErrorCode> = $codes;
        (codes, body)
    }};
}

mod cluster;
mod data;
mod groups;
mod rules;
mod settings;
mod topics;

pub(crate) use groups::{commit_offsets, offsets};
pub(crate) use topics::metadata;

fn case(
    api: ApiKey,
    what: &'static str,
    needs: &[(On, Operation)],
    allowed: ErrorCode,
    ask: fn(&mut Connection, &Names) -> Answer,
) -> Case {
    Case {
        api,
        what,
        ask,
        needs: needs.to_vec(),
        denied: needs.first().map_or(allowed, |(on, _)| on.denial()),
        allowed,
        is_harmless: true,
        is_by_id: what.ends_with("by id"),
    }
}

use ErrorCode as E;
use On::{Cluster, Group, TransactionalId};
use Operation as O;

const T: On = On::Topic;

pub(crate) fn cases() -> Vec<Case> {
    let all = [
        data::cases(),
        groups::cases(),
        topics::cases(),
        settings::cases(),
        cluster::cases(),
        rules::cases(),
    ];
    all.into_iter().flatten().collect()
}
