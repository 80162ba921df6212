//! `reset_group_offsets`: a tool that writes.

use std::collections::BTreeMap;

use client::{OffsetMove, ResetTarget, TopicPartition};
use schemars::JsonSchema;
use segment::Offset;
use serde::{Deserialize, Serialize};

use super::range::read_time;
use super::{GroupName, OffsetNumber, PartitionNumber, TopicName, number, offset};
use crate::bounds::{List, Text};
use crate::desk::Visit;
use crate::tool::{Effect, Tool, ToolError};

/// Partitions of one call.
const PARTITIONS_MAX: usize = 1_000;

/// See [`Tool::NAME`].
pub(super) struct ResetGroupOffsets;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Arguments {
    /// Name of the group; it must have no members
    group: GroupName,
    /// Name of the topic
    topic: TopicName,
    /// Partitions to reset; all of the topic if left out
    #[serde(default)]
    partitions: Option<List<PartitionNumber, PARTITIONS_MAX>>,
    /// Where to
    to: Target,
    /// With `to` = "offset": the offset; one outside the log is moved to its nearest end
    #[serde(default)]
    offset: Option<OffsetNumber>,
    /// With `to` = "time": RFC 3339, or milliseconds since 1970; the first record at or after it
    #[serde(default)]
    time: Option<Text<1, 40>>,
    /// Do it; otherwise it is only shown what would change
    #[serde(default)]
    execute: bool,
}

/// Where offsets are moved to.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Target {
    Earliest,
    Latest,
    Offset,
    Time,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answer {
    group: String,
    /// Whether the offsets were committed; else this is what would be
    executed: bool,
    moves: Vec<MoveRow>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct MoveRow {
    partition: i32,
    /// What was committed; null if nothing was
    from: Option<i64>,
    to: i64,
}

impl Tool for ResetGroupOffsets {
    type Arguments = Arguments;
    type Answer = Answer;

    const NAME: &'static str = "reset_group_offsets";
    const TITLE: &'static str = "Reset offsets of a group";
    const DESCRIPTION: &'static str = "Move the committed offsets of a consumer group that has no members, for one topic: its \
        consumers will read records again, or skip them. Only shows what would change unless `execute` is true.";
    const EFFECT: Effect = Effect::Writes;

    fn run(visit: &mut Visit, arguments: Arguments) -> Result<Answer, ToolError> {
        let target = arguments.target()?;
        let client = visit.client()?;
        let group = arguments.group.as_str();
        client.check_idle(group)?;
        let info = client.topic(arguments.topic.as_str())?;
        let wanted: Vec<TopicPartition> = match &arguments.partitions {
            Some(numbers) => {
                let numbers = numbers.as_slice().iter().map(|it| number(*it));
                numbers
                    .map(|it| {
                        TopicPartition::new(info.name.clone(), segment::PartitionIndex::new(it))
                    })
                    .collect()
            }
            None => {
                let all = info.partitions.iter().map(|it| it.partition);
                all.map(|it| TopicPartition::new(info.name.clone(), it))
                    .collect()
            }
        };
        let moves = client.plan_reset(group, &wanted, target)?;
        if arguments.execute {
            let offsets: BTreeMap<TopicPartition, Offset> = moves
                .iter()
                .map(|(partition, change)| (partition.clone(), change.to))
                .collect();
            client.commit_offline(group, &offsets)?;
        }
        let row = |(partition, change): (&TopicPartition, &OffsetMove)| MoveRow {
            partition: partition.partition.get(),
            from: change.from.map(Offset::get),
            to: change.to.get(),
        };
        Ok(Answer {
            group: group.to_owned(),
            executed: arguments.execute,
            moves: moves.iter().map(row).collect(),
        })
    }
}

impl Arguments {
    fn target(&self) -> Result<ResetTarget, ToolError> {
        let refuse = |text: &str| Err(ToolError::Arguments(text.to_owned()));
        match (self.to, &self.offset, &self.time) {
            (Target::Earliest, None, None) => Ok(ResetTarget::Earliest),
            (Target::Latest, None, None) => Ok(ResetTarget::Latest),
            (Target::Offset, Some(to), None) => Ok(ResetTarget::Offset(offset(*to))),
            (Target::Time, None, Some(time)) => Ok(ResetTarget::Time(read_time("time", time)?)),
            (Target::Offset, _, _) => refuse("`to` = \"offset\" needs `offset`, and no `time`"),
            (Target::Time, _, _) => refuse("`to` = \"time\" needs `time`, and no `offset`"),
            _ => refuse("`offset` and `time` are only for `to` = \"offset\" and \"time\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_target_has_what_belongs_to_it_and_nothing_else() {
        let target = |more: Value| {
            let mut arguments = json!({ "group": "g", "topic": "t" });
            let more = more.as_object().unwrap().clone();
            arguments.as_object_mut().unwrap().extend(more);
            serde_json::from_value::<Arguments>(arguments)
                .unwrap()
                .target()
        };
        assert_eq!(
            target(json!({ "to": "earliest" })).unwrap(),
            ResetTarget::Earliest
        );
        let to = target(json!({ "to": "offset", "offset": 7 })).unwrap();
        assert_eq!(to, ResetTarget::Offset(Offset::new(7)));
        for wrong in [
            json!({ "to": "offset" }),
            json!({ "to": "time" }),
            json!({ "to": "time", "time": "soon" }),
            json!({ "to": "latest", "offset": 1 }),
            json!({ "to": "offset", "offset": 1, "time": "0" }),
        ] {
            assert!(target(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
