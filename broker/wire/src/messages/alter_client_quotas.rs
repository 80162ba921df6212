//! AlterClientQuotas: API key 49, versions 0-1. Sets and removes client quotas (KIP-546).
//!
//! v1: flexible.
//!
//! Source: `AlterClientQuotasRequest.json` and `AlterClientQuotasResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;
use crate::float64::Float64;

message! {
    /// Sets and removes client quotas.
    pub struct AlterClientQuotasRequest<'a>: versions 0..=1, flexible 1 {
        /// Entities with what to change, one entry each.
        entries: Vec<RequestEntryData<'a>> = Vec::new(), since(0);
        /// Whether to check the request only.
        validate_only: bool = false, since(0);
    }
}

part! {
    /// One entry of [`AlterClientQuotasRequest::entries`].
    pub struct RequestEntryData<'a> {
        /// The entity, one entry for each of its types.
        entity: Vec<EntityData<'a>> = Vec::new(), since(0);
        /// What to change.
        ops: Vec<OpData<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One type of an entity.
    pub struct EntityData<'a> {
        /// Type of the entity: `user`, `client-id` or `ip`.
        entity_type: &'a str = "", since(0);
        /// Its name; null for the default.
        entity_name: Option<&'a str> = None, since(0).nullable(0);
    }
}

part! {
    /// One entry of [`RequestEntryData::ops`].
    pub struct OpData<'a> {
        /// Name of the quota.
        key: &'a str = "", since(0);
        /// The value to set; not looked at where the quota is removed.
        value: Float64 = Float64::ZERO, since(0);
        /// Whether to remove the quota.
        remove: bool = false, since(0);
    }
}

message! {
    /// Answers [`AlterClientQuotasRequest`].
    pub struct AlterClientQuotasResponse<'a>: versions 0..=1, flexible 1 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcomes, one entry for each entity.
        entries: Vec<ResponseEntryData<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`AlterClientQuotasResponse::entries`].
    pub struct ResponseEntryData<'a> {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// The entity, one entry for each of its types.
        entity: Vec<EntityData<'a>> = Vec::new(), since(0);
    }
}
