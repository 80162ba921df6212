//! [`Session`]: the client's side of an incremental fetch session (KIP-227).

use std::collections::BTreeMap;
use std::sync::Arc;

use segment::Offset;
use wire::messages::FetchRequest;
use wire::messages::fetch::{FetchPartition, FetchTopic};

use super::FetcherSettings;
use crate::admin::millis;
use crate::metadata::{Metadata, TopicPartition};

/// Epoch of a fetch that begins a session.
const EPOCH_FIRST: i32 = 0;

/// What the broker remembers of us: the partitions and the positions asked for.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    epoch: i32,
    asked: BTreeMap<TopicPartition, Offset>,
    /// Whether a fetch that is on the way belongs to what was before the last reset.
    outdated: bool,
}

impl Session {
    /// The next fetch: all of `wanted` at the beginning, what has changed later.
    pub(super) fn request<'a>(
        &self,
        settings: &FetcherSettings,
        wanted: &'a [(TopicPartition, Offset)],
        metadata: &Metadata,
    ) -> FetchRequest<'a>
    where
        Self: 'a,
    {
        let full = self.epoch == EPOCH_FIRST;
        let mut topics: BTreeMap<&'a Arc<str>, FetchTopic<'a>> = BTreeMap::new();
        for (partition, offset) in wanted {
            if !full && self.asked.get(partition) == Some(offset) {
                continue;
            }
            let known = metadata.topics.get(&partition.topic);
            let topic = topics
                .entry(&partition.topic)
                .or_insert_with(|| FetchTopic {
                    topic: &partition.topic,
                    topic_id: known.map_or(wire::Uuid::ZERO, |known| known.id),
                    partitions: Vec::new(),
                });
            let leader_epoch = known
                .and_then(|known| known.partition(partition.partition))
                .map_or(-1, |found| found.leader_epoch);
            topic.partitions.push(FetchPartition {
                partition: partition.partition.get(),
                current_leader_epoch: leader_epoch,
                fetch_offset: offset.get(),
                partition_max_bytes: settings.partition_bytes,
                ..Default::default()
            });
        }
        FetchRequest {
            max_wait_ms: millis(settings.wait),
            min_bytes: settings.min_bytes,
            max_bytes: settings.fetch_bytes,
            session_id: self.id,
            session_epoch: self.epoch,
            topics: topics.into_values().collect(),
            ..Default::default()
        }
    }

    /// Notes what was asked for.
    pub(super) fn sent(&mut self, wanted: &[(TopicPartition, Offset)]) {
        if self.epoch == EPOCH_FIRST {
            self.asked.clear();
        }
        self.outdated = false;
        self.asked.extend(wanted.iter().cloned());
    }

    /// The position that the broker was asked for last.
    pub(super) fn asked(&self, partition: &TopicPartition) -> Option<Offset> {
        self.asked.get(partition).copied()
    }

    /// Notes the broker's answer: the session goes on, or there is none (id 0).
    pub(super) fn answered(&mut self, id: i32) {
        self.id = id;
        if std::mem::take(&mut self.outdated) {
            return;
        }
        self.epoch = match (id, self.epoch) {
            (0, _) => EPOCH_FIRST,
            (_, i32::MAX) => 1,
            (_, epoch) => epoch + 1,
        };
    }

    /// Begins anew; the old session is named, so that the broker can drop it.
    pub(super) fn reset(&mut self) {
        self.epoch = EPOCH_FIRST;
        self.asked.clear();
        self.outdated = true;
    }

    /// Begins anew if the session holds a partition that is no longer read from this broker.
    pub(super) fn keep_only(&mut self, mut wanted: impl FnMut(&TopicPartition) -> bool) {
        if self.epoch != EPOCH_FIRST && !self.asked.keys().all(&mut wanted) {
            self.reset();
        }
    }

    /// Begins anew after the broker has dropped the session.
    pub(super) fn lost(&mut self) {
        self.id = 0;
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use segment::PartitionIndex;

    use super::*;

    fn wanted(offset: i64) -> Vec<(TopicPartition, Offset)> {
        let partition = |index| TopicPartition::new("t", PartitionIndex::new(index));
        vec![
            (partition(0), Offset::new(offset)),
            (partition(1), Offset::new(7)),
        ]
    }

    fn asked(session: &Session, wanted: &[(TopicPartition, Offset)]) -> (i32, i32, usize) {
        let (settings, metadata) = (FetcherSettings::default(), Metadata::default());
        let request = session.request(&settings, wanted, &metadata);
        let count = request
            .topics
            .iter()
            .map(|topic| topic.partitions.len())
            .sum();
        (request.session_id, request.session_epoch, count)
    }

    #[test]
    fn only_changes_are_sent_once_a_session_is_there() {
        let mut session = Session::default();
        assert_eq!(asked(&session, &wanted(3)), (0, 0, 2));
        session.sent(&wanted(3));
        session.answered(42);
        assert_eq!(asked(&session, &wanted(3)), (42, 1, 0));
        assert_eq!(asked(&session, &wanted(4)), (42, 1, 1));
        session.sent(&wanted(4));
        session.answered(42);
        assert_eq!(asked(&session, &wanted(4)), (42, 2, 0));
    }

    #[test]
    fn a_reset_outlives_the_answer_that_was_on_the_way() {
        let mut session = Session::default();
        session.sent(&wanted(3));
        session.reset();
        session.answered(42);
        assert_eq!(asked(&session, &wanted(3)), (42, 0, 2));
        assert_eq!(session.asked(&wanted(3)[0].0), None);
        session.sent(&wanted(3));
        session.lost();
        assert_eq!(asked(&session, &wanted(3)), (0, 0, 2));
    }

    #[test]
    fn without_a_session_everything_is_sent_each_time() {
        let mut session = Session::default();
        session.sent(&wanted(3));
        session.answered(0);
        assert_eq!(asked(&session, &wanted(3)), (0, 0, 2));
    }
}
