//! The consumer-group coordinator: Apache Kafka's classic group protocol as a state machine.
//!
//! A [`Coordinator`] holds the groups of one coordinator slot. It takes no clock, no randomness, no
//! socket and no runtime: its owner passes requests, timers and the outcomes of writes with the
//! time ([`Now`]), and carries out the [`Effect`]s that come back. The same code runs under the
//! simulator.
//!
//! What is durable and when:
//! - A group is persisted (generation, protocol, members, assignment) before SyncGroup is answered.
//! - Offsets are persisted before OffsetCommit is answered, and OffsetFetch shows only what was
//!   persisted. The map of committed offsets changes in one place, when a write is confirmed.
//! - Heartbeats, parked requests and pending member ids are memory only. After a restart the
//!   members of the last persisted generation are there again, with fresh session timers.
//!
//! Writes of a slot are serial and in order. Each [`Effect::Persist`] is a list of whole-key puts
//! and deletes, so its owner may join several that wait into one transaction; the last operation on
//! a key wins. Outcomes come back in the same order through [`Coordinator::on_persisted`].
//!
//! The rules are those of Kafka's `GroupMetadataManager`, `ClassicGroup` and
//! `OffsetMetadataManager`. Where Kafka leaves a request without an answer (a parked JoinGroup that
//! a retry replaces) or a queue without a bound (pending member ids), this module answers, and
//! bounds; each such place says so.

mod admin;
mod codec;
mod commit;
mod config;
mod coordinator;
mod effect;
mod error;
mod expiry;
mod fields;
mod group;
mod heartbeat;
mod ids;
mod join;
mod leave;
mod member;
mod reason;
mod rebalance;
mod reply;
mod request;
mod restore;
mod room;
mod stored;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;
mod timers;
mod writes;

pub use codec::{GROUP_FORMAT_VERSION, OFFSET_FORMAT_VERSION};
pub use config::GroupConfig;
pub use coordinator::Coordinator;
pub use effect::{Effect, Effects, GroupWrite, Persisted, WriteOp};
pub use error::{DecodeError, GroupError, RestoreError};
pub use group::GroupState;
pub use ids::{
    Generation, GroupId, InstanceId, MemberId, Millis, Now, OffsetKey, ReplyToken, WriteId,
};
pub use reply::{
    CommitReply, DeleteOffsetsReply, FetchedOffset, GroupDescription, GroupSummary, JoinRefused,
    JoinedGroup, JoinedMember, LeaveReply, MemberDescription, Reply, SyncedGroup,
};
pub use request::{
    CommitOffset, CommitRequest, DeleteOffsetsRequest, FetchRequest, HeartbeatRequest, JoinRequest,
    LeaveMember, LeaveRequest, MemberAssignment, OffsetToDelete, Protocol, SyncRequest,
};
pub use room::GroupRoom;
pub use stored::{CommittedOffset, StoredGroup, StoredMember};
