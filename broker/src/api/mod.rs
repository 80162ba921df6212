//! The Kafka APIs: one file per API key, each with its versions and rules at the top.
//!
//! A handler gets a decoded request and gives a [`Reply`]. It knows shards, metadata and the control
//! thread's requests; it touches no runtime and no store. [`error`] is the only place that turns our errors
//! into Kafka's codes.

mod alter_client_quotas;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_user_scram_credentials;
mod api_versions;
mod authorize;
mod create_acls;
mod create_delegation_token;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_delegation_token;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
mod describe_transactions;
mod describe_user_scram_credentials;
mod dynamic_configs;
mod elect_leaders;
mod error;
mod expire_delegation_token;
mod fetch;
mod fetch_session;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
#[cfg(test)]
mod protocol_page;
mod renew_delegation_token;
mod rows;
mod sasl_authenticate;
mod sasl_handshake;
mod sync_group;
mod unregister_broker;
mod update_features;
mod work;

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use wire::{ApiKey, DecodeError, DecodeErrorKind, Message, Request, RequestHeader, VersionRange};

pub(crate) use crate::net::{ConnectionQuota, Reply, Reserved, Slot};
pub(crate) use fetch_session::FetchSessions;

use create_topics::Refusal;

use crate::quota::Limits;
use crate::security::identity::Identity;
use crate::shard::Shard;

/// What a handler knows about the request besides its body.
pub(crate) struct RequestContext {
    /// The shard of the connection.
    pub(crate) shard: Rc<Shard>,
    /// Which API.
    pub(crate) api: ApiKey,
    /// In which version, one that is advertised.
    pub(crate) version: i16,
    /// Echoed in the reply.
    pub(crate) correlation_id: i32,
    /// What the client calls itself; not taken out of Produce and Fetch requests.
    pub(crate) client_id: Option<Arc<str>>,
    /// Who asks.
    pub(crate) peer: SocketAddr,
    /// Who that is.
    pub(crate) identity: Rc<Identity>,
    /// When the request had been read.
    pub(crate) started: Instant,
    /// What limits its client; none for most.
    pub(crate) limits: Option<Rc<Limits>>,
    /// How long it took: the clock is read once.
    took: OnceCell<Duration>,
    /// How far it has come in its turn.
    rows: rows::Rows,
}

impl RequestContext {
    /// The name of the listener that its client came by.
    pub(crate) fn listener(&self) -> &str {
        self.identity.listener()
    }

    /// How long the request took, by when this is first asked for.
    pub(crate) fn took(&self) -> Duration {
        *self.took.get_or_init(|| self.started.elapsed())
    }

    /// Encodes a response. Where its client has exceeded a quota, it tells how long to pause.
    pub(crate) fn reply<'a, M: Message<'a> + Clone>(&self, response: &M) -> Reply {
        if let Some(limits) = &self.limits {
            limits.charge_time(self.shard.shared.quotas.now_ns());
            if let Some((pause, _)) = limits.owed() {
                let mut response = response.clone();
                response.set_throttle_time(self.version, throttle_ms(pause));
                return self.encode(&response);
            }
        }
        self.encode(response)
    }

    fn encode<'a, M: Message<'a>>(&self, response: &M) -> Reply {
        self.finish(wire::encode_response(
            self.correlation_id,
            self.api,
            self.version,
            response,
        ))
    }

    /// Takes an encoded response. One that cannot be encoded is our defect: the connection is closed.
    pub(crate) fn finish(&self, frame: Result<wire::Frame, wire::EncodeError>) -> Reply {
        self.shard
            .metrics
            .requests
            .answered(self.api.as_i16(), self.took());
        match frame {
            Ok(frame) => frame.into(),
            Err(error) => {
                let (api, version) = (self.api.name(), self.version);
                tracing::error!(api, version, %error, "a response could not be encoded");
                Reply::Close
            }
        }
    }

    /// Charges partitions that are to be created or deleted, against a quota that refuses from version
    /// `strict_from` on (KIP-599).
    fn charge_partitions(&self, strict_from: i16, count: usize) -> Result<(), Refusal> {
        let Some(limits) = &self.limits else {
            return Ok(());
        };
        let now = self.shard.shared.quotas.now_ns();
        let charged = limits.mutated(count, self.version >= strict_from, now);
        charged.map_err(|exhausted| {
            (
                wire::ErrorCode::THROTTLING_QUOTA_EXCEEDED,
                exhausted.to_string(),
            )
        })
    }

    /// Charges the partitions of a topic that is created because it was asked for; whether the quota lets it be.
    fn charge_auto_created(&self, count: usize) -> bool {
        let now = self.shard.shared.quotas.now_ns();
        let limits = self.limits.as_ref();
        limits.is_none_or(|limits| limits.auto_created(count, now))
    }

    /// Counts an error code that the reply carries.
    pub(crate) fn failed(&self, code: wire::ErrorCode) {
        self.shard
            .metrics
            .requests
            .failed(self.api.as_i16(), code.as_i16(), 1);
    }
}

/// Declares which APIs are served, in which versions, and who carries each out.
macro_rules! apis {
    ($($key:ident => $module:ident :: $request:ident),* $(,)?) => {
        /// The APIs that are served, with their versions, by key.
        pub(crate) const ADVERTISED: &[(ApiKey, VersionRange)] = &[
            (ApiKey::Produce, produce::VERSIONS),
            $((ApiKey::$key, $module::VERSIONS)),*
        ];

        async fn route(cx: &RequestContext, frame: &[u8]) -> Result<Reply, DecodeError> {
            match cx.api {
                $(ApiKey::$key => {
                    let request: wire::messages::$module::$request = body(frame)?;
                    Ok($module::handle(cx, request).await)
                })*
                _ => Ok(Reply::Close),
            }
        }
    };
}

apis! {
    Fetch => fetch::FetchRequest,
    ListOffsets => list_offsets::ListOffsetsRequest,
    Metadata => metadata::MetadataRequest,
    OffsetCommit => offset_commit::OffsetCommitRequest,
    OffsetFetch => offset_fetch::OffsetFetchRequest,
    FindCoordinator => find_coordinator::FindCoordinatorRequest,
    JoinGroup => join_group::JoinGroupRequest,
    Heartbeat => heartbeat::HeartbeatRequest,
    LeaveGroup => leave_group::LeaveGroupRequest,
    SyncGroup => sync_group::SyncGroupRequest,
    DescribeGroups => describe_groups::DescribeGroupsRequest,
    ListGroups => list_groups::ListGroupsRequest,
    SaslHandshake => sasl_handshake::SaslHandshakeRequest,
    ApiVersions => api_versions::ApiVersionsRequest,
    CreateTopics => create_topics::CreateTopicsRequest,
    DeleteTopics => delete_topics::DeleteTopicsRequest,
    DeleteRecords => delete_records::DeleteRecordsRequest,
    InitProducerId => init_producer_id::InitProducerIdRequest,
    OffsetForLeaderEpoch => offset_for_leader_epoch::OffsetForLeaderEpochRequest,
    DescribeAcls => describe_acls::DescribeAclsRequest,
    CreateAcls => create_acls::CreateAclsRequest,
    DeleteAcls => delete_acls::DeleteAclsRequest,
    DescribeConfigs => describe_configs::DescribeConfigsRequest,
    AlterConfigs => alter_configs::AlterConfigsRequest,
    DescribeLogDirs => describe_log_dirs::DescribeLogDirsRequest,
    SaslAuthenticate => sasl_authenticate::SaslAuthenticateRequest,
    CreatePartitions => create_partitions::CreatePartitionsRequest,
    CreateDelegationToken => create_delegation_token::CreateDelegationTokenRequest,
    RenewDelegationToken => renew_delegation_token::RenewDelegationTokenRequest,
    ExpireDelegationToken => expire_delegation_token::ExpireDelegationTokenRequest,
    DescribeDelegationToken => describe_delegation_token::DescribeDelegationTokenRequest,
    DeleteGroups => delete_groups::DeleteGroupsRequest,
    ElectLeaders => elect_leaders::ElectLeadersRequest,
    IncrementalAlterConfigs => incremental_alter_configs::IncrementalAlterConfigsRequest,
    AlterPartitionReassignments =>
        alter_partition_reassignments::AlterPartitionReassignmentsRequest,
    ListPartitionReassignments =>
        list_partition_reassignments::ListPartitionReassignmentsRequest,
    OffsetDelete => offset_delete::OffsetDeleteRequest,
    DescribeClientQuotas => describe_client_quotas::DescribeClientQuotasRequest,
    AlterClientQuotas => alter_client_quotas::AlterClientQuotasRequest,
    DescribeUserScramCredentials =>
        describe_user_scram_credentials::DescribeUserScramCredentialsRequest,
    AlterUserScramCredentials =>
        alter_user_scram_credentials::AlterUserScramCredentialsRequest,
    UpdateFeatures => update_features::UpdateFeaturesRequest,
    DescribeCluster => describe_cluster::DescribeClusterRequest,
    DescribeProducers => describe_producers::DescribeProducersRequest,
    UnregisterBroker => unregister_broker::UnregisterBrokerRequest,
    DescribeTransactions => describe_transactions::DescribeTransactionsRequest,
    ListTransactions => list_transactions::ListTransactionsRequest,
    ListConfigResources => list_config_resources::ListConfigResourcesRequest,
    DescribeTopicPartitions => describe_topic_partitions::DescribeTopicPartitionsRequest,
}

/// The APIs that are served, with their versions.
pub(crate) fn advertised() -> impl Iterator<Item = (ApiKey, VersionRange)> {
    ADVERTISED.iter().copied()
}

fn body<'a, R: Request<'a>>(frame: &'a [u8]) -> Result<R, DecodeError> {
    wire::decode_request::<R>(frame).map(|(_, request)| request)
}

/// Whether a frame is that of Produce.
pub(crate) fn is_produce(frame: &[u8]) -> bool {
    RequestHeader::peek(frame).is_ok_and(|(key, _, _)| key == ApiKey::Produce.as_i16())
}

/// Carries out one request. Produce returns as soon as its order is fixed; anything else when it is done.
pub(crate) async fn dispatch(
    shard: &Rc<Shard>,
    frame: BytesMut,
    reserved: Reserved,
    peer: SocketAddr,
    quota: &ConnectionQuota,
    identity: &Rc<Identity>,
) -> Slot {
    let started = Instant::now();
    if identity.is_raw() {
        return Slot::Ready(raw_token(shard, &frame, identity).await);
    }
    let (api, version, correlation_id) = match recognize(shard, &frame) {
        Ok(known) => known,
        Err(refused) => return refused,
    };
    if !identity.allows(api, shard.coarse_ms()) {
        tracing::debug!(%peer, api = api.name(), "closing a connection that has not authenticated");
        return Slot::Ready(Reply::Close);
    }
    let cx = RequestContext {
        shard: shard.clone(),
        api,
        version,
        correlation_id,
        client_id: None,
        peer,
        identity: identity.clone(),
        started,
        limits: quota.limits(shard, &frame, identity).await,
        took: OnceCell::new(),
        rows: rows::Rows::new(started),
    };
    let limits = cx.limits.clone().filter(|limits| limits.is_timed());
    // Pinned once: an idle connection has room for one request.
    let work = pin!(carry_out(cx, frame, reserved));
    match limits {
        Some(limits) => limits.timed(work).await,
        None => work.await,
    }
}

/// A message of an exchange without a request around it (SaslHandshake 0): the answer is as bare, and a refusal closes
/// the connection.
async fn raw_token(shard: &Shard, token: &[u8], identity: &Identity) -> Reply {
    let Ok(answer) = identity.advance(shard, token).await else {
        return Reply::Close;
    };
    let length = u32::try_from(answer.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let frame = bytes::Bytes::from([&length[..], &answer].concat());
    let bytes = frame.len();
    Reply::Frame(vec![frame], bytes)
}

async fn carry_out(mut cx: RequestContext, frame: BytesMut, mut reserved: Reserved) -> Slot {
    let (api, version, peer) = (cx.api, cx.version, cx.peer);
    let partitions_max = cx.shard.shared.config.request.partitions_max;
    let memory = work::memory(api, version, frame.len(), partitions_max);
    if memory > 0 {
        reserved.grow(memory as u64).await;
    }
    if api == ApiKey::Produce {
        let shard = cx.shard.clone();
        return match produce::handle(cx, frame, reserved).await {
            Ok(slot) => slot,
            Err(error) => refuse(&shard, peer, api, version, &error),
        };
    }
    if api != ApiKey::Fetch {
        cx.client_id = client_id(&frame);
    }
    match route(&cx, &frame).await {
        Ok(reply) => Slot::Ready(reply),
        Err(error) => refuse(&cx.shard, peer, api, version, &error),
    }
}

/// A pause as replies tell it, in whole milliseconds.
fn throttle_ms(pause: Duration) -> i32 {
    i32::try_from(pause.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

fn client_id(frame: &[u8]) -> Option<Arc<str>> {
    let header = RequestHeader::decode(&mut wire::Decoder::new(frame)).ok()?;
    header.client_id.map(Arc::from)
}

/// Key, version and correlation id of a request that is served. Otherwise Kafka's answers: ApiVersions in an
/// unknown version is answered in version 0 (KIP-511), anything else closes the connection.
fn recognize(shard: &Rc<Shard>, frame: &[u8]) -> Result<(ApiKey, i16, i32), Slot> {
    let Ok((key, version, correlation_id)) = RequestHeader::peek(frame) else {
        shard.metrics.rejected_malformed.increment();
        return Err(Slot::Ready(Reply::Close));
    };
    let served = ApiKey::try_from(key)
        .ok()
        .and_then(|api| ADVERTISED.iter().find(|(served, _)| *served == api));
    let Some((api, versions)) = served else {
        shard.metrics.rejected_api.increment();
        tracing::debug!(
            key,
            "closing a connection that asks for an API which is not served"
        );
        return Err(Slot::Ready(Reply::Close));
    };
    if versions.contains(version) {
        return Ok((*api, version, correlation_id));
    }
    shard.metrics.rejected_version.increment();
    if *api == ApiKey::ApiVersions {
        return Err(Slot::Ready(api_versions::unsupported(correlation_id)));
    }
    tracing::debug!(
        api = api.name(),
        version,
        "closing a connection: the version is not served"
    );
    Err(Slot::Ready(Reply::Close))
}

fn refuse(
    shard: &Rc<Shard>,
    peer: SocketAddr,
    api: ApiKey,
    version: i16,
    error: &DecodeError,
) -> Slot {
    if !matches!(
        error.kind,
        DecodeErrorKind::Budget | DecodeErrorKind::Elements
    ) {
        shard.metrics.rejected_malformed.increment();
        tracing::debug!(%peer, api = api.name(), version, %error, "closing a connection: bad request");
        return Slot::Ready(Reply::Close);
    }
    shard.metrics.rejected_budget.increment();
    // Its client sees no more than a closed connection, and tries again for ever.
    if shard.connections.may_warn(shard.now_ms()) {
        tracing::warn!(
            %peer, api = api.name(), %error,
            "closing a connection: its client asks for too much in one request; let it ask for less at a time"
        );
    }
    Slot::Ready(Reply::Close)
}
