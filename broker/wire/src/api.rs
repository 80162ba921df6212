//! The table of APIs: key, request type, response type; and what follows from it.

use crate::error::DecodeErrorKind;
use crate::message::{Message, Request};
use crate::messages;

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// Lowest version.
    pub min: i16,
    /// Highest version.
    pub max: i16,
}

impl VersionRange {
    /// Whether `version` is in the range.
    pub const fn contains(self, version: i16) -> bool {
        version >= self.min && version <= self.max
    }

    /// The versions in rising order.
    pub fn iter(self) -> impl Iterator<Item = i16> {
        self.min..=self.max
    }
}

/// Calls the macro `$apply` with one row per API.
macro_rules! for_each_api {
    ($apply:ident) => {
        $apply! {
            Produce = 0, produce:
                ProduceRequest<'a> => ProduceResponse<'r>;
            Fetch = 1, fetch:
                FetchRequest<'a> => FetchResponse<'r>;
            ListOffsets = 2, list_offsets:
                ListOffsetsRequest<'a> => ListOffsetsResponse<'r>;
            Metadata = 3, metadata:
                MetadataRequest<'a> => MetadataResponse<'r>;
            OffsetCommit = 8, offset_commit:
                OffsetCommitRequest<'a> => OffsetCommitResponse<'r>;
            OffsetFetch = 9, offset_fetch:
                OffsetFetchRequest<'a> => OffsetFetchResponse<'r>;
            FindCoordinator = 10, find_coordinator:
                FindCoordinatorRequest<'a> => FindCoordinatorResponse<'r>;
            JoinGroup = 11, join_group:
                JoinGroupRequest<'a> => JoinGroupResponse<'r>;
            Heartbeat = 12, heartbeat:
                HeartbeatRequest<'a> => HeartbeatResponse;
            LeaveGroup = 13, leave_group:
                LeaveGroupRequest<'a> => LeaveGroupResponse<'r>;
            SyncGroup = 14, sync_group:
                SyncGroupRequest<'a> => SyncGroupResponse<'r>;
            DescribeGroups = 15, describe_groups:
                DescribeGroupsRequest<'a> => DescribeGroupsResponse<'r>;
            ListGroups = 16, list_groups:
                ListGroupsRequest<'a> => ListGroupsResponse<'r>;
            SaslHandshake = 17, sasl_handshake:
                SaslHandshakeRequest<'a> => SaslHandshakeResponse<'r>;
            ApiVersions = 18, api_versions:
                ApiVersionsRequest<'a> => ApiVersionsResponse<'r>;
            CreateTopics = 19, create_topics:
                CreateTopicsRequest<'a> => CreateTopicsResponse<'r>;
            DeleteTopics = 20, delete_topics:
                DeleteTopicsRequest<'a> => DeleteTopicsResponse<'r>;
            DeleteRecords = 21, delete_records:
                DeleteRecordsRequest<'a> => DeleteRecordsResponse<'r>;
            InitProducerId = 22, init_producer_id:
                InitProducerIdRequest<'a> => InitProducerIdResponse;
            OffsetForLeaderEpoch = 23, offset_for_leader_epoch:
                OffsetForLeaderEpochRequest<'a> => OffsetForLeaderEpochResponse<'r>;
            AddPartitionsToTxn = 24, add_partitions_to_txn:
                AddPartitionsToTxnRequest<'a> => AddPartitionsToTxnResponse<'r>;
            AddOffsetsToTxn = 25, add_offsets_to_txn:
                AddOffsetsToTxnRequest<'a> => AddOffsetsToTxnResponse;
            EndTxn = 26, end_txn:
                EndTxnRequest<'a> => EndTxnResponse;
            WriteTxnMarkers = 27, write_txn_markers:
                WriteTxnMarkersRequest<'a> => WriteTxnMarkersResponse<'r>;
            TxnOffsetCommit = 28, txn_offset_commit:
                TxnOffsetCommitRequest<'a> => TxnOffsetCommitResponse<'r>;
            DescribeAcls = 29, describe_acls:
                DescribeAclsRequest<'a> => DescribeAclsResponse<'r>;
            CreateAcls = 30, create_acls:
                CreateAclsRequest<'a> => CreateAclsResponse<'r>;
            DeleteAcls = 31, delete_acls:
                DeleteAclsRequest<'a> => DeleteAclsResponse<'r>;
            DescribeConfigs = 32, describe_configs:
                DescribeConfigsRequest<'a> => DescribeConfigsResponse<'r>;
            AlterConfigs = 33, alter_configs:
                AlterConfigsRequest<'a> => AlterConfigsResponse<'r>;
            DescribeLogDirs = 35, describe_log_dirs:
                DescribeLogDirsRequest<'a> => DescribeLogDirsResponse<'r>;
            SaslAuthenticate = 36, sasl_authenticate:
                SaslAuthenticateRequest<'a> => SaslAuthenticateResponse<'r>;
            CreatePartitions = 37, create_partitions:
                CreatePartitionsRequest<'a> => CreatePartitionsResponse<'r>;
            CreateDelegationToken = 38, create_delegation_token:
                CreateDelegationTokenRequest<'a> => CreateDelegationTokenResponse<'r>;
            RenewDelegationToken = 39, renew_delegation_token:
                RenewDelegationTokenRequest<'a> => RenewDelegationTokenResponse;
            ExpireDelegationToken = 40, expire_delegation_token:
                ExpireDelegationTokenRequest<'a> => ExpireDelegationTokenResponse;
            DescribeDelegationToken = 41, describe_delegation_token:
                DescribeDelegationTokenRequest<'a> => DescribeDelegationTokenResponse<'r>;
            DeleteGroups = 42, delete_groups:
                DeleteGroupsRequest<'a> => DeleteGroupsResponse<'r>;
            ElectLeaders = 43, elect_leaders:
                ElectLeadersRequest<'a> => ElectLeadersResponse<'r>;
            IncrementalAlterConfigs = 44, incremental_alter_configs:
                IncrementalAlterConfigsRequest<'a> => IncrementalAlterConfigsResponse<'r>;
            AlterPartitionReassignments = 45, alter_partition_reassignments:
                AlterPartitionReassignmentsRequest<'a> => AlterPartitionReassignmentsResponse<'r>;
            ListPartitionReassignments = 46, list_partition_reassignments:
                ListPartitionReassignmentsRequest<'a> => ListPartitionReassignmentsResponse<'r>;
            OffsetDelete = 47, offset_delete:
                OffsetDeleteRequest<'a> => OffsetDeleteResponse<'r>;
            DescribeClientQuotas = 48, describe_client_quotas:
                DescribeClientQuotasRequest<'a> => DescribeClientQuotasResponse<'r>;
            AlterClientQuotas = 49, alter_client_quotas:
                AlterClientQuotasRequest<'a> => AlterClientQuotasResponse<'r>;
            DescribeUserScramCredentials = 50, describe_user_scram_credentials:
                DescribeUserScramCredentialsRequest<'a> => DescribeUserScramCredentialsResponse<'r>;
            AlterUserScramCredentials = 51, alter_user_scram_credentials:
                AlterUserScramCredentialsRequest<'a> => AlterUserScramCredentialsResponse<'r>;
            UpdateFeatures = 57, update_features:
                UpdateFeaturesRequest<'a> => UpdateFeaturesResponse<'r>;
            DescribeCluster = 60, describe_cluster:
                DescribeClusterRequest => DescribeClusterResponse<'r>;
            DescribeProducers = 61, describe_producers:
                DescribeProducersRequest<'a> => DescribeProducersResponse<'r>;
            UnregisterBroker = 64, unregister_broker:
                UnregisterBrokerRequest => UnregisterBrokerResponse<'r>;
            DescribeTransactions = 65, describe_transactions:
                DescribeTransactionsRequest<'a> => DescribeTransactionsResponse<'r>;
            ListTransactions = 66, list_transactions:
                ListTransactionsRequest<'a> => ListTransactionsResponse<'r>;
            ListConfigResources = 74, list_config_resources:
                ListConfigResourcesRequest => ListConfigResourcesResponse<'r>;
            DescribeTopicPartitions = 75, describe_topic_partitions:
                DescribeTopicPartitionsRequest<'a> => DescribeTopicPartitionsResponse<'r>;
        }
    };
}

macro_rules! define_apis {
    ($(
        $name:ident = $key:literal, $module:ident:
            $request:ident $(<$a:lifetime>)? => $response:ident $(<$r:lifetime>)?;
    )*) => {
        /// The APIs whose requests and responses the codec knows. The discriminant is the key.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("[`messages::", stringify!($module), "`]: key ", $key, ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// Every API, by rising key.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name),*];

            /// The name that Kafka's documentation uses.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            /// First flexible version (KIP-482) of the request; `i16::MAX` for none.
            const fn flexible_from(self) -> i16 {
                match self {
                    $(ApiKey::$name => {
                        <messages::$module::$request as Message<'_>>::FLEXIBLE_FROM
                    })*
                }
            }
        }

        impl TryFrom<i16> for ApiKey {
            type Error = DecodeErrorKind;

            fn try_from(key: i16) -> Result<Self, Self::Error> {
                match key {
                    $($key => Ok(ApiKey::$name),)*
                    unknown => Err(DecodeErrorKind::UnknownApiKey(unknown)),
                }
            }
        }

        /// The versions of an API's request and response that the codec can decode and encode.
        pub const fn supported_versions(api: ApiKey) -> VersionRange {
            match api {
                $(ApiKey::$name => {
                    <messages::$module::$request as Message<'_>>::VERSIONS
                })*
            }
        }

        $(
            const _: () = {
                let request = <messages::$module::$request as Message<'_>>::VERSIONS;
                let response = <messages::$module::$response as Message<'_>>::VERSIONS;
                assert!(request.min == response.min);
                assert!(request.max == response.max);
                let request = <messages::$module::$request as Message<'_>>::FLEXIBLE_FROM;
                let response = <messages::$module::$response as Message<'_>>::FLEXIBLE_FROM;
                assert!(request == response);
            };

            impl<'a> Request<'a> for messages::$module::$request $(<$a>)? {
                const KEY: ApiKey = ApiKey::$name;
                type Response<'r> = messages::$module::$response $(<$r>)?;
            }
        )*
    };
}

for_each_api!(define_apis);

#[cfg(test)]
pub(crate) use for_each_api;

impl ApiKey {
    /// The key on the wire.
    pub const fn as_i16(self) -> i16 {
        self as i16
    }

    /// Whether requests and responses of `version` are flexible.
    const fn is_flexible(self, version: i16) -> bool {
        self.flexible_from() != i16::MAX && version >= self.flexible_from()
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Version of the header in front of a request: 2 (tagged fields) where the request is flexible,
/// else 1. A version above the known ones counts as flexible if any known one is.
pub const fn request_header_version(api: ApiKey, version: i16) -> i16 {
    if api.is_flexible(version) { 2 } else { 1 }
}

/// Version of the header in front of a response: 1 (tagged fields) where the response is
/// flexible, else 0. ApiVersions always has 0 (KIP-511): the client cannot yet know whether the
/// broker understood the version that it asked in.
pub const fn response_header_version(api: ApiKey, version: i16) -> i16 {
    if matches!(api, ApiKey::ApiVersions) || version < api.flexible_from() {
        0
    } else {
        1
    }
}
