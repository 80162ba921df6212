//! DescribeClientQuotas: API key 48, versions 0-1. Lists client quotas (KIP-546).
//!
//! v1: flexible.
//!
//! Source: `DescribeClientQuotasRequest.json` and `DescribeClientQuotasResponse.json` of Apache
//! Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;
use crate::float64::Float64;

message! {
    /// Lists client quotas.
    pub struct DescribeClientQuotasRequest<'a>: versions 0..=1, flexible 1 {
        /// What an entity must match, one entry for each of its types.
        components: Vec<ComponentData<'a>> = Vec::new(), since(0);
        /// Whether entities with other types than those named are left out.
        strict: bool = false, since(0);
    }
}

part! {
    /// One entry of [`DescribeClientQuotasRequest::components`].
    pub struct ComponentData<'a> {
        /// Type of the entity: `user`, `client-id` or `ip`.
        entity_type: &'a str = "", since(0);
        /// How to match: 0 this name, 1 the default, 2 any name and the default.
        match_type: i8 = 0, since(0);
        /// The name; null for match types that have none.
        match_name: Option<&'a str> = None, since(0).nullable(0);
    }
}

message! {
    /// Answers [`DescribeClientQuotasRequest`].
    pub struct DescribeClientQuotasResponse<'a>: versions 0..=1, flexible 1 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// Entities with quotas; null after an error.
        entries: Option<Vec<EntryData<'a>>> = None, since(0).nullable(0);
    }
}

part! {
    /// One entry of [`DescribeClientQuotasResponse::entries`].
    pub struct EntryData<'a> {
        /// The entity, one entry for each of its types.
        entity: Vec<EntityData<'a>> = Vec::new(), since(0);
        /// Its quotas.
        values: Vec<ValueData<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`EntryData::entity`].
    pub struct EntityData<'a> {
        /// Type of the entity: `user`, `client-id` or `ip`.
        entity_type: &'a str = "", since(0);
        /// Its name; null for the default.
        entity_name: Option<&'a str> = None, since(0).nullable(0);
    }
}

part! {
    /// One entry of [`EntryData::values`].
    pub struct ValueData<'a> {
        /// Name of the quota.
        key: &'a str = "", since(0);
        /// Its value.
        value: Float64 = Float64::ZERO, since(0);
    }
}
