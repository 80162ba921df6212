//! One member of a group.

use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::ids::{InstanceId, MemberId, Millis, ReplyToken};
use super::request::{JoinRequest, Protocol};
use super::stored::StoredMember;

/// A member: what it joined with, its assignment, and its parked requests (at most one of each
/// kind).
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) instance: Option<InstanceId>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout_ms: u32,
    pub(super) session_timeout_ms: u32,
    /// In order of preference, never empty. Copies: a slice would keep its whole request alive.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    pub(super) awaiting_join: Option<ReplyToken>,
    pub(super) awaiting_sync: Option<ReplyToken>,
    /// Waits in its first JoinGroup: it has no id yet, so it cannot send heartbeats.
    pub(super) is_new: bool,
    /// When the session ends; `None` while a parked request keeps it.
    pub(super) deadline: Option<Millis>,
}

impl Member {
    pub(super) fn new(id: MemberId, request: &JoinRequest) -> Self {
        let mut member = Self {
            id,
            instance: request.instance.clone(),
            client_id: Arc::clone(&request.client_id),
            client_host: Arc::clone(&request.client_host),
            rebalance_timeout_ms: 0,
            session_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            deadline: None,
        };
        member.update(request);
        member
    }

    pub(super) fn restored(stored: StoredMember, protocol: &Arc<str>) -> Self {
        let protocols = vec![Protocol {
            name: Arc::clone(protocol),
            metadata: stored.metadata,
        }];
        Self {
            id: stored.member,
            instance: stored.instance,
            client_id: stored.client_id,
            client_host: stored.client_host,
            rebalance_timeout_ms: stored.rebalance_timeout_ms,
            session_timeout_ms: stored.session_timeout_ms,
            protocols,
            assignment: stored.assignment,
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            deadline: None,
        }
    }

    /// Takes over protocols and timeouts of a new JoinGroup.
    pub(super) fn update(&mut self, request: &JoinRequest) {
        assert!(
            !request.protocols.is_empty(),
            "protocols are checked before"
        );
        self.protocols = request
            .protocols
            .iter()
            .map(|protocol| Protocol {
                name: Arc::clone(&protocol.name),
                metadata: Bytes::copy_from_slice(&protocol.metadata),
            })
            .collect();
        assert!(
            request.session_timeout_ms >= 0,
            "the session timeout is checked before"
        );
        // A rebalance timeout below 0 means "the same".
        self.session_timeout_ms = u32::try_from(request.session_timeout_ms).unwrap_or(0);
        self.rebalance_timeout_ms =
            u32::try_from(request.rebalance_timeout_ms).unwrap_or(self.session_timeout_ms);
    }

    pub(super) fn is_static(&self) -> bool {
        self.instance.is_some()
    }

    /// Bytes that the member brought, without its assignment.
    pub(super) fn bytes(&self) -> usize {
        self.id.len()
            + self.instance.as_ref().map_or(0, InstanceId::len)
            + self.client_id.len()
            + self.client_host.len()
            + protocol_bytes(&self.protocols)
    }

    /// Names of its protocols, each once.
    pub(super) fn protocol_names(&self) -> BTreeSet<Arc<str>> {
        self.protocols
            .iter()
            .map(|protocol| Arc::clone(&protocol.name))
            .collect()
    }

    /// Its metadata for a protocol; empty when it does not have that protocol.
    pub(super) fn metadata(&self, protocol: Option<&Arc<str>>) -> Bytes {
        protocol
            .and_then(|name| self.protocols.iter().find(|own| own.name == *name))
            .map_or_else(Bytes::new, |own| own.metadata.clone())
    }

    /// Whether it has joined with exactly these protocols, in this order.
    pub(super) fn matches(&self, protocols: &[Protocol]) -> bool {
        self.protocols == protocols
    }

    /// The first of its protocols that is a candidate.
    pub(super) fn vote(&self, candidates: &BTreeSet<Arc<str>>) -> Option<Arc<str>> {
        self.protocols
            .iter()
            .find(|protocol| candidates.contains(&protocol.name))
            .map(|protocol| Arc::clone(&protocol.name))
    }

    /// Whether the end of its session is put off: it waits in a parked request. A new member is not
    /// kept by its parked JoinGroup, or clients that retry would leave dead members behind.
    pub(super) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    pub(super) fn to_stored(&self, protocol: &Arc<str>, assignment: Bytes) -> StoredMember {
        StoredMember {
            member: self.id.clone(),
            instance: self.instance.clone(),
            client_id: Arc::clone(&self.client_id),
            client_host: Arc::clone(&self.client_host),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            metadata: self.metadata(Some(protocol)),
            assignment,
        }
    }
}

/// Bytes of the names and metadata of protocols.
pub(super) fn protocol_bytes(protocols: &[Protocol]) -> usize {
    protocols
        .iter()
        .map(|protocol| protocol.name.len() + protocol.metadata.len())
        .sum()
}
