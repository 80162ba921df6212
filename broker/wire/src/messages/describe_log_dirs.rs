//! DescribeLogDirs: API key 35, versions 1-5. Lists log directories and what partitions take there.
//!
//! v2: flexible. v3: the error of the whole request (KIP-784). v4: sizes of the volume (KIP-827). v5:
//! cordoned directories (KIP-1066).
//!
//! Source: `DescribeLogDirsRequest.json` and `DescribeLogDirsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Lists log directories and what partitions take there.
    pub struct DescribeLogDirsRequest<'a>: versions 1..=5, flexible 2 {
        /// Topics, one entry each; null for all.
        topics: Option<Vec<DescribableLogDirTopic<'a>>> = Some(Vec::new()), since(0).nullable(0);
    }
}

part! {
    /// One entry of [`DescribeLogDirsRequest::topics`].
    pub struct DescribableLogDirTopic<'a> {
        /// Name of the topic.
        topic: &'a str = "", since(0);
        /// Its partitions, by index.
        partitions: Vec<i32> = Vec::new(), since(0);
    }
}

message! {
    /// Answers [`DescribeLogDirsRequest`].
    pub struct DescribeLogDirsResponse<'a>: versions 1..=5, flexible 2 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome of the whole request; 0 is success. Since v3.
        error_code: ErrorCode = ErrorCode::NONE, since(3).ignorable();
        /// Log directories, one entry each.
        results: Vec<DescribeLogDirsResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeLogDirsResponse::results`].
    pub struct DescribeLogDirsResult<'a> {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// The directory.
        log_dir: &'a str = "", since(0);
        /// Topics that have something in it.
        topics: Vec<DescribeLogDirsTopic<'a>> = Vec::new(), since(0);
        /// Bytes of the volume; -1 if unknown. Since v4.
        total_bytes: i64 = -1, since(4).ignorable();
        /// Bytes of the volume that can still be used; -1 if unknown. Since v4.
        usable_bytes: i64 = -1, since(4).ignorable();
        /// Whether the directory takes no new partitions. Since v5.
        is_cordoned: bool = false, since(5).ignorable();
    }
}

part! {
    /// One entry of [`DescribeLogDirsResult::topics`].
    pub struct DescribeLogDirsTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Its partitions, one entry each.
        partitions: Vec<DescribeLogDirsPartition> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeLogDirsTopic::partitions`].
    pub struct DescribeLogDirsPartition {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Bytes of its log there.
        partition_size: i64 = 0, since(0);
        /// How far the log is behind, in offsets.
        offset_lag: i64 = 0, since(0);
        /// Whether it is a log that will take the place of the current one.
        is_future_key: bool = false, since(0);
    }
}
