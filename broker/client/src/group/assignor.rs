//! How the leader of a group shares partitions out: `range` and `roundrobin`, as Kafka's consumers
//! define them, so that a group may mix clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use segment::PartitionIndex;
use wire::EncodeError;
use wire::messages::consumer_protocol::{ConsumerProtocolAssignment, TopicPartitions};

use crate::groups::by_topic;
use crate::metadata::TopicPartition;

const RANGE: &str = "range";
const ROUND_ROBIN: &str = "roundrobin";

/// The ways that a member offers, the preferred one first.
pub(super) const ASSIGNORS: [&str; 2] = [RANGE, ROUND_ROBIN];

/// A member as the leader sees it.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) instance_id: Option<String>,
    pub(super) topics: Vec<String>,
}

impl Member {
    /// Static members come first, by their own names, so that they keep their share.
    fn rank(&self) -> (bool, &str) {
        match &self.instance_id {
            Some(instance_id) => (false, instance_id),
            None => (true, &self.id),
        }
    }

    fn reads(&self, topic: &str) -> bool {
        self.topics.iter().any(|read| read == topic)
    }
}

/// The partitions of each member, by its id. Every member has an entry.
pub(super) fn assign(
    assignor: &str,
    members: &[Member],
    counts: &BTreeMap<String, usize>,
) -> BTreeMap<String, Vec<TopicPartition>> {
    let mut members: Vec<&Member> = members.iter().collect();
    members.sort_by(|one, other| one.rank().cmp(&other.rank()));
    let mut shares: BTreeMap<String, Vec<TopicPartition>> = members
        .iter()
        .map(|member| (member.id.clone(), Vec::new()))
        .collect();
    let mut give = |member: &Member, topic: &Arc<str>, partition: usize| {
        let index = PartitionIndex::new(i32::try_from(partition).unwrap_or(i32::MAX));
        if let Some(share) = shares.get_mut(&member.id) {
            share.push(TopicPartition::new(topic.clone(), index));
        }
    };
    if assignor == ROUND_ROBIN {
        round_robin(&members, counts, &mut give);
    } else {
        range(&members, counts, &mut give);
    }
    shares
}

/// Topic by topic: consecutive partitions to each member, the first ones get one more.
fn range(
    members: &[&Member],
    counts: &BTreeMap<String, usize>,
    give: &mut impl FnMut(&Member, &Arc<str>, usize),
) {
    for (topic, count) in counts {
        let readers: Vec<&&Member> = members.iter().filter(|it| it.reads(topic)).collect();
        let name: Arc<str> = topic.as_str().into();
        let mut next = 0;
        for (place, reader) in readers.iter().enumerate() {
            let extra = usize::from(place < count % readers.len());
            let share = count / readers.len() + extra;
            for partition in next..next + share {
                give(reader, &name, partition);
            }
            next += share;
        }
    }
}

/// All partitions of all topics in a row, dealt to the members in turn.
fn round_robin(
    members: &[&Member],
    counts: &BTreeMap<String, usize>,
    give: &mut impl FnMut(&Member, &Arc<str>, usize),
) {
    let mut turn = 0;
    for (topic, count) in counts {
        if !members.iter().any(|member| member.reads(topic)) {
            continue;
        }
        let name: Arc<str> = topic.as_str().into();
        for partition in 0..*count {
            while !members[turn % members.len()].reads(topic) {
                turn += 1;
            }
            give(members[turn % members.len()], &name, partition);
            turn += 1;
        }
    }
}

/// The assignment as the consumer protocol writes it.
pub(super) fn to_blob(partitions: &[TopicPartition], version: i16) -> Result<Bytes, EncodeError> {
    let topics = by_topic(partitions).into_iter();
    let named = |(topic, partitions)| TopicPartitions { topic, partitions };
    let assigned_partitions = topics.map(named).collect();
    ConsumerProtocolAssignment {
        assigned_partitions,
        user_data: None,
    }
    .to_blob(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::assignment;

    fn member(id: &str, topics: &[&str]) -> Member {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Member {
            id: id.to_owned(),
            instance_id: None,
            topics,
        }
    }

    fn counts(topics: &[(&str, usize)]) -> BTreeMap<String, usize> {
        topics
            .iter()
            .map(|(topic, count)| ((*topic).to_owned(), *count))
            .collect()
    }

    fn shown(shares: &BTreeMap<String, Vec<TopicPartition>>) -> Vec<String> {
        let share = |partitions: &Vec<TopicPartition>| {
            partitions
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        shares
            .iter()
            .map(|(id, partitions)| format!("{id}: {}", share(partitions)))
            .collect()
    }

    #[test]
    fn range_gives_runs_and_the_rest_to_the_first() {
        let members = [member("b", &["t", "u"]), member("a", &["t", "u"])];
        let shares = assign(RANGE, &members, &counts(&[("t", 3), ("u", 3)]));
        assert_eq!(shown(&shares), ["a: t-0 t-1 u-0 u-1", "b: t-2 u-2"]);
    }

    #[test]
    fn round_robin_deals_in_turn_to_those_who_read() {
        let members = [
            member("a", &["t", "u"]),
            member("b", &["t"]),
            member("c", &["u"]),
        ];
        let shares = assign(
            ROUND_ROBIN,
            &members,
            &counts(&[("t", 3), ("u", 2), ("v", 1)]),
        );
        assert_eq!(shown(&shares), ["a: t-0 t-2 u-1", "b: t-1", "c: u-0"]);
    }

    #[test]
    fn more_members_than_partitions_leave_some_without() {
        let members = [member("a", &["t"]), member("b", &["t"])];
        let shares = assign(RANGE, &members, &counts(&[("t", 1)]));
        assert_eq!(shown(&shares), ["a: t-0", "b: "]);
        assert_eq!(
            shown(&assign(RANGE, &members, &counts(&[("t", 0)]))),
            ["a: ", "b: "]
        );
    }

    #[test]
    fn static_members_come_first_by_their_own_names() {
        let mut second = member("a", &["t"]);
        second.instance_id = Some("y".to_owned());
        let mut first = member("b", &["t"]);
        first.instance_id = Some("x".to_owned());
        let members = [member("0", &["t"]), second, first];
        let shares = assign(RANGE, &members, &counts(&[("t", 3)]));
        assert_eq!(shown(&shares), ["0: t-2", "a: t-1", "b: t-0"]);
    }

    #[test]
    fn blobs_are_read_back() {
        let members = [member("a", &["t", "u"])];
        let shares = assign(RANGE, &members, &counts(&[("t", 2), ("u", 1)]));
        let blob = to_blob(&shares["a"], 1).unwrap();
        assert_eq!(assignment(&blob), shares["a"]);
    }
}
