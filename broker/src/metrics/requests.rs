//! Requests and error codes by API.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cell::Counter;

/// API keys that are counted one by one; a higher one counts as the last.
pub(super) const API_KEYS: usize = 96;
/// Pairs of API and error code that a shard tells apart; further ones count as [`OVERFLOW`].
const ERROR_SLOTS: usize = 256;
/// Slots that are tried for a pair.
const PROBES_MAX: usize = 16;
/// Error code under which pairs without a slot are counted: no code of Kafka has this number.
pub(super) const OVERFLOW: i16 = i16::MIN;

/// *Shard-owned, read by the control thread.* Requests answered, by API.
#[derive(Debug)]
pub struct Requests {
    apis: Box<[Api]>,
    slots: Box<[Slot]>,
    overflow: Counter,
}

#[derive(Debug, Default)]
struct Api {
    count: Counter,
    nanos: Counter,
    errors: Counter,
}

/// A pair and its count. The pair is written once, after its count is 1 or more, so that a reader
/// who sees it sees a count.
#[derive(Debug, Default)]
struct Slot {
    pair: AtomicU64,
    count: Counter,
}

/// What was counted for one API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApiTotals {
    /// Requests answered.
    pub count: u64,
    /// Their time, in nanoseconds.
    pub nanos: u64,
    /// Error codes in their replies.
    pub errors: u64,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            apis: (0..API_KEYS).map(|_| Api::default()).collect(),
            slots: (0..ERROR_SLOTS).map(|_| Slot::default()).collect(),
            overflow: Counter::default(),
        }
    }
}

impl Requests {
    /// Counts a request that was answered, with its time from read to reply queued. Called by the
    /// owner only.
    #[inline]
    pub fn answered(&self, api_key: i16, time: Duration) {
        let api = &self.apis[index_of(api_key)];
        api.count.increment();
        api.nanos
            .add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts error codes in a reply; code 0 is none. Called by the owner only.
    pub fn failed(&self, api_key: i16, code: i16, count: u64) {
        if code == 0 || count == 0 {
            return;
        }
        let api = index_of(api_key);
        self.apis[api].errors.add(count);
        // 1 keeps 0 for an empty slot.
        let pair = 1 | (u64::from(code as u16) << 8) | ((api as u64) << 32);
        let start = (code as u16 as usize)
            .wrapping_mul(31)
            .wrapping_add(api * 7);
        for step in 0..PROBES_MAX {
            let slot = &self.slots[(start + step) % ERROR_SLOTS];
            match slot.pair.load(Ordering::Relaxed) {
                0 => {
                    slot.count.add(count);
                    slot.pair.store(pair, Ordering::Release);
                    return;
                }
                taken if taken == pair => return slot.count.add(count),
                _ => {}
            }
        }
        self.overflow.add(count);
    }

    /// What was counted for an API.
    pub fn totals(&self, api_key: i16) -> ApiTotals {
        let api = &self.apis[index_of(api_key)];
        ApiTotals {
            count: api.count.get(),
            nanos: api.nanos.get(),
            errors: api.errors.get(),
        }
    }

    /// Calls `each` with API key, error code and count of every pair seen.
    pub(super) fn errors(&self, mut each: impl FnMut(i16, i16, u64)) {
        for slot in &self.slots {
            let pair = slot.pair.load(Ordering::Acquire);
            if pair != 0 {
                each(
                    (pair >> 32) as i16,
                    (pair >> 8) as u16 as i16,
                    slot.count.get(),
                );
            }
        }
        if self.overflow.get() > 0 {
            each(API_KEYS as i16 - 1, OVERFLOW, self.overflow.get());
        }
    }
}

fn index_of(api_key: i16) -> usize {
    usize::try_from(api_key).map_or(API_KEYS - 1, |key| key.min(API_KEYS - 1))
}

/// Label of an API key.
pub(super) fn api_name(api_key: usize) -> String {
    match NAMES.get(api_key) {
        Some(name) => (*name).to_owned(),
        None if api_key == API_KEYS - 1 => "other".to_owned(),
        None => format!("api_{api_key}"),
    }
}

/// True for requests that the original counts as administration, and for their like.
pub(super) fn is_admin(api_key: usize) -> bool {
    const KEYS: &[std::ops::RangeInclusive<usize>] = &[
        15..=16,
        19..=21,
        23..=23,
        29..=35,
        37..=51,
        57..=57,
        60..=61,
        64..=66,
        69..=69,
        74..=75,
    ];
    KEYS.iter().any(|range| range.contains(&api_key))
}

/// Names of Kafka's requests by API key.
const NAMES: &[&str] = &[
    "Produce",
    "Fetch",
    "ListOffsets",
    "Metadata",
    "LeaderAndIsr",
    "StopReplica",
    "UpdateMetadata",
    "ControlledShutdown",
    "OffsetCommit",
    "OffsetFetch",
    "FindCoordinator",
    "JoinGroup",
    "Heartbeat",
    "LeaveGroup",
    "SyncGroup",
    "DescribeGroups",
    "ListGroups",
    "SaslHandshake",
    "ApiVersions",
    "CreateTopics",
    "DeleteTopics",
    "DeleteRecords",
    "InitProducerId",
    "OffsetForLeaderEpoch",
    "AddPartitionsToTxn",
    "AddOffsetsToTxn",
    "EndTxn",
    "WriteTxnMarkers",
    "TxnOffsetCommit",
    "DescribeAcls",
    "CreateAcls",
    "DeleteAcls",
    "DescribeConfigs",
    "AlterConfigs",
    "AlterReplicaLogDirs",
    "DescribeLogDirs",
    "SaslAuthenticate",
    "CreatePartitions",
    "CreateDelegationToken",
    "RenewDelegationToken",
    "ExpireDelegationToken",
    "DescribeDelegationToken",
    "DeleteGroups",
    "ElectLeaders",
    "IncrementalAlterConfigs",
    "AlterPartitionReassignments",
    "ListPartitionReassignments",
    "OffsetDelete",
    "DescribeClientQuotas",
    "AlterClientQuotas",
    "DescribeUserScramCredentials",
    "AlterUserScramCredentials",
    "Vote",
    "BeginQuorumEpoch",
    "EndQuorumEpoch",
    "DescribeQuorum",
    "AlterPartition",
    "UpdateFeatures",
    "Envelope",
    "FetchSnapshot",
    "DescribeCluster",
    "DescribeProducers",
    "BrokerRegistration",
    "BrokerHeartbeat",
    "UnregisterBroker",
    "DescribeTransactions",
    "ListTransactions",
    "AllocateProducerIds",
    "ConsumerGroupHeartbeat",
    "ConsumerGroupDescribe",
    "ControllerRegistration",
    "GetTelemetrySubscriptions",
    "PushTelemetry",
    "AssignReplicasToDirs",
    "ListConfigResources",
    "DescribeTopicPartitions",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sit_at_their_api_keys() {
        for (key, name) in [
            (0, "Produce"),
            (18, "ApiVersions"),
            (36, "SaslAuthenticate"),
            (60, "DescribeCluster"),
            (68, "ConsumerGroupHeartbeat"),
            (75, "DescribeTopicPartitions"),
            (90, "api_90"),
            (95, "other"),
        ] {
            assert_eq!(api_name(key), name);
        }
        assert!(is_admin(19) && is_admin(23) && !is_admin(0) && !is_admin(18));
    }

    #[test]
    fn requests_and_errors_are_counted_by_api_and_code() {
        let requests = Requests::default();
        requests.answered(1, Duration::from_nanos(500));
        requests.answered(1, Duration::from_nanos(700));
        requests.failed(1, 6, 3);
        requests.failed(1, -1, 1);
        requests.failed(1, 0, 9);
        assert_eq!(
            requests.totals(1),
            ApiTotals {
                count: 2,
                nanos: 1200,
                errors: 4
            }
        );
        let mut seen = Vec::new();
        requests.errors(|api, code, count| seen.push((api, code, count)));
        seen.sort_unstable();
        assert_eq!(seen, [(1, -1, 1), (1, 6, 3)]);
    }

    #[test]
    fn more_pairs_than_slots_are_counted_together() {
        let requests = Requests::default();
        for api in 0..50 {
            for code in 1..50 {
                requests.failed(api, code, 1);
            }
        }
        let (mut total, mut series) = (0, 0);
        requests.errors(|_, _, count| {
            total += count;
            series += 1;
        });
        assert_eq!(total, 50 * 49);
        assert!(series <= ERROR_SLOTS + 1);
        requests.answered(-1, Duration::ZERO);
        requests.answered(i16::MAX, Duration::ZERO);
        assert_eq!(requests.totals(95).count, 2);
    }
}
