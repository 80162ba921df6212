//! Moving the committed offsets of a group that nobody reads for.

use std::collections::BTreeMap;

use segment::{Offset, TimestampMs};
use wire::ErrorCode;

use crate::error::ClientError;
use crate::metadata::TopicPartition;
use crate::offsets::OffsetSpec;
use crate::router::Client;

/// States of a group that nobody reads for.
const IDLE: [&str; 2] = ["Empty", "Dead"];

/// Where committed offsets are moved to. What lies outside the log goes to its nearest end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTarget {
    /// The first offset of the log.
    Earliest,
    /// The end of the log.
    Latest,
    /// This offset.
    Offset(Offset),
    /// The first record at or after a time; the end of the log if no record is that late.
    Time(TimestampMs),
    /// So many records forwards, or backwards if negative.
    Shift(i64),
}

/// The change of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetMove {
    /// What is committed now, if anything is.
    pub from: Option<Offset>,
    /// What is to be committed.
    pub to: Offset,
}

impl Client {
    /// Makes sure that a group has no members. One that does not exist yet has none.
    ///
    /// # Errors
    /// It has members, or its coordinator cannot be asked.
    pub fn check_idle(&mut self, group: &str) -> Result<(), ClientError> {
        match self.describe_group(group) {
            Ok(found) if !IDLE.contains(&found.state.as_str()) => Err(ClientError::Refused {
                operation: format!("reset offsets of group {group}"),
                code: ErrorCode::NON_EMPTY_GROUP,
                message: Some(format!(
                    "it is {} with {} members",
                    found.state,
                    found.members.len()
                )),
            }),
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a reset of a group would commit for these partitions. Nothing is changed:
    /// [`Client::commit_offline`] does that.
    ///
    /// # Errors
    /// A partition cannot be asked, or has no committed offset to shift.
    pub fn plan_reset(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
        target: ResetTarget,
    ) -> Result<BTreeMap<TopicPartition, OffsetMove>, ClientError> {
        let committed = self.committed(group, None)?;
        let bounds = self.log_bounds(partitions)?;
        let by_time = match target {
            ResetTarget::Time(time) => self.offsets(partitions, OffsetSpec::At(time))?,
            _ => BTreeMap::new(),
        };
        let mut moves = BTreeMap::new();
        for (partition, bounds) in bounds {
            let from = committed.get(&partition).map(|found| found.offset);
            let found = by_time.get(&partition).and_then(|found| found.offset);
            let Some(to) = new_offset(target, from, found, bounds) else {
                return Err(ClientError::NothingToShift { partition });
            };
            moves.insert(partition, OffsetMove { from, to });
        }
        Ok(moves)
    }
}

/// Where one partition goes, inside its log. None if there is nothing to shift.
fn new_offset(
    target: ResetTarget,
    from: Option<Offset>,
    by_time: Option<Offset>,
    (start, end): (Offset, Offset),
) -> Option<Offset> {
    let wanted = match target {
        ResetTarget::Earliest => start,
        ResetTarget::Latest => end,
        ResetTarget::Offset(offset) => offset,
        // No record is that late: the next one will be.
        ResetTarget::Time(_) => by_time.unwrap_or(end),
        ResetTarget::Shift(count) => Offset::new(from?.get().saturating_add(count)),
    };
    Some(wanted.max(start).min(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_offsets_stay_inside_the_log() {
        let bounds = (Offset::new(10), Offset::new(20));
        let to = |target, from: Option<i64>| {
            new_offset(target, from.map(Offset::new), None, bounds).map(Offset::get)
        };
        let offset = |offset| ResetTarget::Offset(Offset::new(offset));
        assert_eq!(to(ResetTarget::Earliest, None), Some(10));
        assert_eq!(to(ResetTarget::Latest, Some(3)), Some(20));
        assert_eq!(to(offset(15), None), Some(15));
        assert_eq!(to(offset(99), None), Some(20));
        assert_eq!(to(ResetTarget::Shift(-4), Some(16)), Some(12));
        assert_eq!(to(ResetTarget::Shift(-40), Some(16)), Some(10));
        assert_eq!(to(ResetTarget::Shift(i64::MAX), Some(16)), Some(20));
        assert_eq!(to(ResetTarget::Shift(1), None), None);
        let time = ResetTarget::Time(TimestampMs::ZERO);
        assert_eq!(to(time, None), Some(20), "no record is that late");
        let found = new_offset(time, None, Some(Offset::new(12)), bounds);
        assert_eq!(found, Some(Offset::new(12)));
    }
}
