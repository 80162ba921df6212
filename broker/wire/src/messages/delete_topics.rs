//! DeleteTopics: API key 20, versions 0-6. Deletes topics.
//!
//! v1: throttle time. v4: flexible. v5: error texts (KIP-599). v6: topics by id (KIP-516).
//!
//! Source: `DeleteTopicsRequest.json` and `DeleteTopicsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::{between, since};
use crate::uuid::Uuid;

message! {
    /// Deletes topics.
    pub struct DeleteTopicsRequest<'a>: versions 0..=6, flexible 4 {
        /// Topics, one entry each. Since v6.
        topics: Vec<DeleteTopicState<'a>> = Vec::new(), since(6);
        /// Names of the topics. Until v5.
        topic_names: Vec<&'a str> = Vec::new(), between(0, 5).ignorable();
        /// How long the broker may take, in ms.
        timeout_ms: i32 = 0, since(0);
    }
}

part! {
    /// One entry of [`DeleteTopicsRequest::topics`].
    pub struct DeleteTopicState<'a> {
        /// Name of the topic. Since v6.
        name: Option<&'a str> = None, since(6).nullable(6);
        /// Id of the topic (KIP-516). Since v6.
        topic_id: Uuid = Uuid::ZERO, since(6);
    }
}

message! {
    /// Answers [`DeleteTopicsRequest`].
    pub struct DeleteTopicsResponse<'a>: versions 0..=6, flexible 4 {
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v1.
        throttle_time_ms: i32 = 0, since(1).ignorable();
        /// Outcomes, one entry each.
        responses: Vec<DeletableTopicResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DeleteTopicsResponse::responses`].
    pub struct DeletableTopicResult<'a> {
        /// Name of the topic.
        name: Option<&'a str> = Some(""), since(0).nullable(6);
        /// Id of the topic (KIP-516). Since v6.
        topic_id: Uuid = Uuid::ZERO, since(6).ignorable();
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did. Since v5.
        error_message: Option<&'a str> = None, since(5).nullable(5).ignorable();
    }
}
