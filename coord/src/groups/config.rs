//! Settings and bounds of a coordinator.

/// Settings of a [`Coordinator`](super::Coordinator); Kafka's broker setting is named where there
/// is one. The bounds that Kafka does not have keep a slot's memory finite whatever its clients do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// Shortest session timeout accepted, in milliseconds (`group.min.session.timeout.ms`).
    pub session_timeout_min_ms: u32,
    /// Longest session timeout accepted, in milliseconds (`group.max.session.timeout.ms`).
    pub session_timeout_max_ms: u32,
    /// How long the first rebalance of an empty group waits for more members, in milliseconds
    /// (`group.initial.rebalance.delay.ms`; Kafka's default is 3,000).
    pub initial_rebalance_delay_ms: u32,
    /// How long a member that waits in its first JoinGroup is kept, in milliseconds. It cannot send
    /// heartbeats yet. Kafka's constant.
    pub new_member_join_timeout_ms: u32,
    /// Most members of a group, and most pending member ids (`group.max.size`).
    pub members_max: usize,
    /// Most bytes of a group's members (ids and protocol metadata), and of its persisted form.
    pub group_bytes_max: usize,
    /// Most groups of the slot.
    pub groups_max: usize,
    /// Most bytes of the slot: members, committed offsets and writes under way. Above it requests
    /// that add to them get COORDINATOR_NOT_AVAILABLE. A broker has 64 slots.
    pub slot_bytes_max: usize,
    /// Most writes under way. Above it requests that need one get COORDINATOR_NOT_AVAILABLE.
    pub writes_max: usize,
    /// Most bytes of writes under way, with the same effect.
    pub write_bytes_max: usize,
    /// Most OffsetFetch requests that wait for commits under way (`require_stable`, KIP-447). Above
    /// it they get UNSTABLE_OFFSET_COMMIT, and clients retry.
    pub parked_fetches_max: usize,
    /// Most operations of one [`GroupWrite`](super::GroupWrite); longer requests take several.
    pub write_ops_max: usize,
    /// Longest metadata string of a committed offset, in UTF-16 code units as Kafka counts it
    /// (`offset.metadata.max.bytes`).
    pub offset_metadata_max: usize,
    /// How long offsets of an empty group, or of topics that nobody subscribes to, are kept, in
    /// milliseconds (`offsets.retention.minutes`).
    pub offsets_retention_ms: u64,
    /// Most groups that one call of `expire_offsets` looks at.
    pub expiry_groups_max: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 100,
            new_member_join_timeout_ms: 300_000,
            members_max: 1_000,
            group_bytes_max: 1 << 20,
            groups_max: 10_000,
            slot_bytes_max: 64 << 20,
            writes_max: 4_096,
            write_bytes_max: 16 << 20,
            parked_fetches_max: 256,
            write_ops_max: 32,
            offset_metadata_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            expiry_groups_max: 64,
        }
    }
}

impl GroupConfig {
    /// Asserts what the state machine relies on.
    pub(super) fn check(&self) {
        assert!(
            self.session_timeout_min_ms <= self.session_timeout_max_ms,
            "session bounds"
        );
        assert!(
            self.session_timeout_max_ms <= i32::MAX as u32,
            "session timeouts are 32-bit"
        );
        assert!(self.members_max > 0, "a group has room for a member");
        assert!(self.groups_max > 0, "a slot has room for a group");
        assert!(self.writes_max > 0, "a slot can write");
        assert!(self.write_ops_max > 0, "a write has room for an operation");
        assert!(self.expiry_groups_max > 0, "expiry makes progress");
    }
}
