//! Whether who asks may do what it asks for: the one place where handlers put that question (Kafka's `AuthHelper`).
//!
//! Invariants: a handler asks before it looks whether what is named exists, so that a refusal is the same for what
//! exists and what does not, and nothing in a reply is named that its client neither may see nor has named itself.
//! Where no rules decide, a question costs one comparison; one about a topic of a fetch or a produce request takes no
//! memory when it was asked before.

use security::acl::{CLUSTER, Operation, ResourceType};
use wire::ErrorCode;

use super::RequestContext;
use super::create_topics::Refusal;

/// No operations are told.
const NOT_TOLD: i32 = i32::MIN;

/// The code of a denial.
const fn code(resource: ResourceType) -> ErrorCode {
    match resource {
        ResourceType::Topic => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ResourceType::Group => ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ResourceType::Cluster => ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
        ResourceType::TransactionalId => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ResourceType::DelegationToken | ResourceType::User => {
            ErrorCode::DELEGATION_TOKEN_AUTHORIZATION_FAILED
        }
    }
}

/// What is said of a denial (Kafka's `Errors`).
const fn text(resource: ResourceType) -> &'static str {
    match resource {
        ResourceType::Topic => "Topic authorization failed.",
        ResourceType::Group => "Group authorization failed.",
        ResourceType::Cluster => "Cluster authorization failed.",
        ResourceType::TransactionalId => "Transactional Id authorization failed.",
        ResourceType::DelegationToken | ResourceType::User => {
            "Delegation Token authorization failed."
        }
    }
}

impl RequestContext {
    /// Whether it may be done. That it may not is counted, and told to the operator.
    pub(super) fn allows(&self, operation: Operation, resource: ResourceType, name: &str) -> bool {
        let may = self.allows_quietly(operation, resource, name);
        if !may {
            self.denied(operation, resource, name);
        }
        may
    }

    /// As [`RequestContext::allows`], where it is no matter if it may not: others ways are open, or it is left out.
    pub(super) fn allows_quietly(
        &self,
        operation: Operation,
        resource: ResourceType,
        name: &str,
    ) -> bool {
        self.identity.may(operation, resource, name)
    }

    /// As [`RequestContext::allows`], of a topic that is asked for again and again.
    pub(super) fn allows_topic(&self, operation: Operation, name: &str) -> bool {
        let may = self.identity.may_topic(operation, name);
        if !may {
            self.denied(operation, ResourceType::Topic, name);
        }
        may
    }

    /// Whether it may be done with some resource of a kind.
    pub(super) fn allows_any(&self, operation: Operation, resource: ResourceType) -> bool {
        let may = self.identity.may_any(operation, resource);
        if !may {
            self.denied(operation, resource, "");
        }
        may
    }

    /// The code of a denial, if it is one.
    pub(super) fn authorize(
        &self,
        operation: Operation,
        resource: ResourceType,
        name: &str,
    ) -> Result<(), ErrorCode> {
        match self.allows(operation, resource, name) {
            true => Ok(()),
            false => Err(code(resource)),
        }
    }

    /// As [`RequestContext::authorize`], with the text that explains the code.
    pub(super) fn authorize_or_tell(
        &self,
        operation: Operation,
        resource: ResourceType,
        name: &str,
    ) -> Result<(), Refusal> {
        let refusal = |code| (code, text(resource).to_owned());
        self.authorize(operation, resource, name).map_err(refusal)
    }

    /// Code and text of a denial of an operation on the cluster, if it is one.
    pub(super) fn authorize_cluster(
        &self,
        operation: Operation,
    ) -> Result<(), (ErrorCode, &'static str)> {
        let refusal = |code| (code, text(ResourceType::Cluster));
        self.authorize(operation, ResourceType::Cluster, CLUSTER)
            .map_err(refusal)
    }

    /// The operations that are allowed, of those whose bits are set (KIP-430): the bit of an operation is its code.
    pub(super) fn operations(&self, resource: ResourceType, name: &str, all: i32) -> i32 {
        if self.shard.shared.security.authorizer().is_none() {
            return all;
        }
        let bits = Operation::ALL.iter().map(|operation| {
            let bit = 1_i32 << operation.code();
            let is_told = all & bit != 0 && self.allows_quietly(*operation, resource, name);
            if is_told { bit } else { 0 }
        });
        bits.fold(0, std::ops::BitOr::bitor)
    }

    /// The operations on the cluster that are allowed, if they are asked for: none to whom may not see it.
    pub(super) fn cluster_operations(&self, is_asked: bool, all: i32) -> i32 {
        match is_asked {
            false => NOT_TOLD,
            true if !self.allows(Operation::Describe, ResourceType::Cluster, CLUSTER) => 0,
            true => self.operations(ResourceType::Cluster, CLUSTER, all),
        }
    }

    /// The code where who asks may not speak of delegation tokens, since nobody knows who that is
    /// (`KafkaApis.allowTokenRequests`).
    pub(super) fn refuses_tokens(&self) -> Option<ErrorCode> {
        let is_known = self.identity.is_authenticated();
        (!is_known).then_some(ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED)
    }

    #[cold]
    fn denied(&self, operation: Operation, resource: ResourceType, name: &str) {
        self.shard.metrics.authorization_denied.increment();
        let Some(untold) = self.shard.audit.tell(self.shard.now_ms()) else {
            return;
        };
        let (principal, host) = (self.identity.principal(), self.identity.host());
        let (principal, api) = (principal.to_string(), self.api.name());
        tracing::info!(
            target: "kafscale::audit",
            ?principal, host, ?operation, ?resource, ?name, api, untold,
            "denied"
        );
    }
}
