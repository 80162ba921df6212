//! WriteTxnMarkers: API key 27, versions 0-1.
//!
//! Writes commit or abort markers, from a transaction coordinator.
//!
//! v0: KIP-98. v1: flexible.
//!
//! Source: `WriteTxnMarkersRequest.json` and `WriteTxnMarkersResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Writes commit or abort markers, from a transaction coordinator.
    pub struct WriteTxnMarkersRequest<'a>: versions 0..=1, flexible 1 {
        /// Transaction markers to write, or their outcomes.
        markers: Vec<WritableTxnMarker<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`WriteTxnMarkersRequest::markers`].
    pub struct WritableTxnMarker<'a> {
        /// Id of the producer; -1 if none.
        producer_id: i64 = 0, since(0);
        /// Epoch of the producer id.
        producer_epoch: i16 = 0, since(0);
        /// True for a commit marker, false for an abort marker.
        transaction_result: bool = false, since(0);
        /// Topics, one entry each.
        topics: Vec<WritableTxnMarkerTopic<'a>> = Vec::new(), since(0);
        /// Epoch of the transaction coordinator.
        coordinator_epoch: i32 = 0, since(0);
    }
}

part! {
    /// One entry of [`WritableTxnMarker::topics`].
    pub struct WritableTxnMarkerTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Indexes of the partitions.
        partition_indexes: Vec<i32> = Vec::new(), since(0);
    }
}

message! {
    /// Answers [`WriteTxnMarkersRequest`].
    pub struct WriteTxnMarkersResponse<'a>: versions 0..=1, flexible 1 {
        /// Transaction markers to write, or their outcomes.
        markers: Vec<WritableTxnMarkerResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`WriteTxnMarkersResponse::markers`].
    pub struct WritableTxnMarkerResult<'a> {
        /// Id of the producer; -1 if none.
        producer_id: i64 = 0, since(0);
        /// Topics, one entry each.
        topics: Vec<WritableTxnMarkerTopicResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`WritableTxnMarkerResult::topics`].
    pub struct WritableTxnMarkerTopicResult<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<WritableTxnMarkerPartitionResult> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`WritableTxnMarkerTopicResult::partitions`].
    pub struct WritableTxnMarkerPartitionResult {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
    }
}
