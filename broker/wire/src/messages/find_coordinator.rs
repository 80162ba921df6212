//! FindCoordinator: API key 10, versions 0-6.
//!
//! Finds the broker that coordinates a group or a transactional id.
//!
//! v1: transactional ids (KIP-98) and error texts. v3: flexible. v4: several keys (KIP-699). v5:
//! TRANSACTION_ABORTABLE (KIP-890). v6: share groups (KIP-932).
//!
//! Source: `FindCoordinatorRequest.json` and `FindCoordinatorResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::{between, since};

message! {
    /// Finds the broker that coordinates a group or a transactional id.
    pub struct FindCoordinatorRequest<'a>: versions 0..=6, flexible 3 {
        /// The group or transactional id. Until v3.
        key: &'a str = "", between(0, 3);
        /// 0 for a group, 1 for a transactional id, 2 for a share group. Since v1.
        key_type: i8 = 0, since(1);
        /// Groups or transactional ids to find. Since v4.
        coordinator_keys: Vec<&'a str> = Vec::new(), since(4);
    }
}

message! {
    /// Answers [`FindCoordinatorRequest`].
    pub struct FindCoordinatorResponse<'a>: versions 0..=6, flexible 3 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v1.
        throttle_time_ms: i32 = 0, since(1).ignorable();
        /// Outcome; 0 is success. Until v3.
        error_code: ErrorCode = ErrorCode::NONE, between(0, 3);
        /// What went wrong, for people; null if nothing did. Versions 1 to 3.
        error_message: Option<&'a str> = None, between(1, 3).nullable(1).ignorable();
        /// Id of the broker. Until v3.
        node_id: i32 = 0, between(0, 3);
        /// Host name or address. Until v3.
        host: &'a str = "", between(0, 3);
        /// TCP port. Until v3.
        port: i32 = 0, between(0, 3);
        /// One entry per key asked for. Since v4.
        coordinators: Vec<Coordinator<'a>> = Vec::new(), since(4);
    }
}

part! {
    /// One entry of [`FindCoordinatorResponse::coordinators`].
    pub struct Coordinator<'a> {
        /// The group or transactional id. Since v4.
        key: &'a str = "", since(4);
        /// Id of the broker. Since v4.
        node_id: i32 = 0, since(4);
        /// Host name or address. Since v4.
        host: &'a str = "", since(4);
        /// TCP port. Since v4.
        port: i32 = 0, since(4);
        /// Outcome; 0 is success. Since v4.
        error_code: ErrorCode = ErrorCode::NONE, since(4);
        /// What went wrong, for people; null if nothing did. Since v4.
        error_message: Option<&'a str> = None, since(4).nullable(4).ignorable();
    }
}
