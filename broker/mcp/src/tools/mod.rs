//! The tools, one file for each thing that they are about.

mod cluster;
mod data;
mod groups;
mod health;
mod metrics;
mod produce;
mod range;
mod read;
mod reset;
mod scan;
mod search;
mod topics;

use crate::admin::AdminPages;
use crate::bounds::{Text, Whole};
use crate::tool::Toolbox;

/// Name of a topic, as Kafka bounds it.
type TopicName = Text<1, 249>;
/// Name of a group.
type GroupName = Text<1, 1_024>;
/// Number of a partition.
type PartitionNumber = Whole<0, { i32::MAX as u64 }>;
/// Offset of a record.
type OffsetNumber = Whole<0, { i64::MAX as u64 }>;

/// The tools that change nothing; those that change the cluster where `allow_writes`.
pub(crate) fn toolbox(admin: &AdminPages, allow_writes: bool) -> Toolbox {
    let mut tools = Toolbox::default()
        .with::<cluster::DescribeCluster>()
        .with::<topics::ListTopics>()
        .with::<topics::DescribeTopic>()
        .with::<read::ReadRecords>()
        .with::<search::SearchRecords>()
        .with::<groups::ListGroups>()
        .with::<groups::DescribeGroup>()
        .with::<health::Health>();
    if !admin.addresses().is_empty() {
        tools = tools.with::<metrics::Metrics>();
    }
    if allow_writes {
        tools = tools
            .with::<produce::ProduceRecord>()
            .with::<topics::create::CreateTopic>()
            .with::<reset::ResetGroupOffsets>();
    }
    tools
}

fn number(partition: PartitionNumber) -> i32 {
    i32::try_from(partition.get()).unwrap_or(i32::MAX)
}

fn offset(offset: OffsetNumber) -> segment::Offset {
    segment::Offset::new(i64::try_from(offset.get()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
