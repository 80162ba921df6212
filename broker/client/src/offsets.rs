//! Looking up offsets by time, at the start and at the end of partitions.

use std::collections::{BTreeMap, HashMap};

use segment::{Offset, PartitionIndex, TimestampMs};
use wire::messages::ListOffsetsRequest;
use wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};

use crate::error::ClientError;
use crate::metadata::TopicPartition;
use crate::router::Client;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Which offset is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first one that can be read.
    Earliest,
    /// The one that the next record will get.
    Latest,
    /// That of the first record at or after a time.
    At(TimestampMs),
}

impl OffsetSpec {
    const fn on_wire(self) -> i64 {
        match self {
            Self::Earliest => EARLIEST,
            Self::Latest => LATEST,
            Self::At(timestamp) => timestamp.get(),
        }
    }
}

/// What a lookup found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset; none if no record is that late.
    pub offset: Option<Offset>,
    /// Timestamp of that record, for a lookup by time.
    pub timestamp: Option<TimestampMs>,
    /// Leader epoch of that record; -1 if unknown.
    pub leader_epoch: i32,
}

impl Client {
    /// Looks up one offset in each partition, at their leaders.
    ///
    /// # Errors
    /// A partition does not exist, or cannot be asked in time.
    pub fn offsets(
        &mut self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, FoundOffset>, ClientError> {
        let mut found = BTreeMap::new();
        self.retry("look up offsets", |client| {
            client.learn_topics(partitions)?;
            let mut by_leader: HashMap<i32, Vec<&TopicPartition>> = HashMap::new();
            for partition in partitions {
                if !found.contains_key(partition) {
                    by_leader
                        .entry(client.leader(partition)?)
                        .or_default()
                        .push(partition);
                }
            }
            for (leader, wanted) in by_leader {
                client.offsets_of_leader(leader, &wanted, spec, &mut found)?;
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Looks up offsets of all partitions of a topic: first and next.
    ///
    /// # Errors
    /// As [`Client::offsets`].
    pub fn log_bounds(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, (Offset, Offset)>, ClientError> {
        let starts = self.offsets(partitions, OffsetSpec::Earliest)?;
        let ends = self.offsets(partitions, OffsetSpec::Latest)?;
        let offset = |found: Option<&FoundOffset>| found.and_then(|found| found.offset);
        let bounds = |partition: &TopicPartition| {
            let start = offset(starts.get(partition)).unwrap_or(Offset::ZERO);
            let end = offset(ends.get(partition)).unwrap_or(start);
            (partition.clone(), (start, end))
        };
        Ok(partitions.iter().map(bounds).collect())
    }

    /// Makes sure that the topics of these partitions are known.
    pub(crate) fn learn_topics(&mut self, of: &[TopicPartition]) -> Result<(), ClientError> {
        for partition in of {
            if !self.metadata().topics.contains_key(&partition.topic) {
                self.topic(&partition.topic)?;
            }
        }
        Ok(())
    }

    fn offsets_of_leader(
        &mut self,
        leader: i32,
        wanted: &[&TopicPartition],
        spec: OffsetSpec,
        found: &mut BTreeMap<TopicPartition, FoundOffset>,
    ) -> Result<(), ClientError> {
        let wanted = wanted.iter().map(|p| (&*p.topic, p.partition));
        let request = list_offsets(wanted, spec);
        let reply = self.call(leader, &request)?;
        let mut failed = Ok(());
        for topic in &reply.decode()?.topics {
            for answer in &topic.partitions {
                let index = PartitionIndex::new(answer.partition_index);
                let partition = TopicPartition::new(topic.name, index);
                let operation = || format!("look up an offset of {partition}");
                if let Err(error) = ClientError::check(operation, answer.error_code, None) {
                    failed = Err(error);
                    continue;
                }
                let entry = FoundOffset {
                    offset: (answer.offset >= 0).then(|| Offset::new(answer.offset)),
                    timestamp: (answer.timestamp >= 0).then(|| TimestampMs::new(answer.timestamp)),
                    leader_epoch: answer.leader_epoch,
                };
                found.insert(partition, entry);
            }
        }
        failed
    }
}

/// A request for one offset of each of these partitions, to their leader.
pub fn list_offsets<'a>(
    wanted: impl IntoIterator<Item = (&'a str, PartitionIndex)>,
    spec: OffsetSpec,
) -> ListOffsetsRequest<'a> {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for (topic, partition) in wanted {
        let wanted = ListOffsetsPartition {
            partition_index: partition.get(),
            timestamp: spec.on_wire(),
            ..Default::default()
        };
        topics.entry(topic).or_default().push(wanted);
    }
    let topics = topics.into_iter();
    ListOffsetsRequest {
        replica_id: -1,
        topics: topics
            .map(|(name, partitions)| ListOffsetsTopic { name, partitions })
            .collect(),
        timeout_ms: 30_000,
        ..Default::default()
    }
}
