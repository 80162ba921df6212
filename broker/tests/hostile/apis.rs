//! Every API in every version, with as little in it as can be, and APIs that there are not.

use wire::messages::*;
use wire::{ApiKey, Request, RequestHeader, supported_versions};

use crate::victim::{Answer, Victim, ask, prefixed, request};

/// What one process may grow by here: nothing that is sent is larger than a few bytes.
const GROWTH_MAX: u64 = 64 << 20;

/// Requests of a type in all its versions, all arrays empty and everything else as by default.
fn defaults<'a, R: Request<'a> + Default>() -> Vec<(ApiKey, i16, Vec<u8>)> {
    let encode = |version: i16| {
        let header = RequestHeader {
            api_key: R::KEY.as_i16(),
            api_version: version,
            correlation_id: 7,
            client_id: Some("hostile"),
        };
        let frame = wire::encode_request(&header, &R::default()).unwrap();
        (R::KEY, version, frame.to_bytes().to_vec())
    };
    supported_versions(R::KEY).iter().map(encode).collect()
}

macro_rules! all_requests {
    ($($request:ident),* $(,)?) => {{
        let mut all = Vec::new();
        $(all.extend(defaults::<$request>());)*
        all
    }};
}

fn every_request() -> Vec<(ApiKey, i16, Vec<u8>)> {
    all_requests![
        ProduceRequest,
        FetchRequest,
        ListOffsetsRequest,
        MetadataRequest,
        OffsetCommitRequest,
        OffsetFetchRequest,
        FindCoordinatorRequest,
        JoinGroupRequest,
        HeartbeatRequest,
        LeaveGroupRequest,
        SyncGroupRequest,
        DescribeGroupsRequest,
        ListGroupsRequest,
        SaslHandshakeRequest,
        ApiVersionsRequest,
        CreateTopicsRequest,
        DeleteTopicsRequest,
        DeleteRecordsRequest,
        InitProducerIdRequest,
        OffsetForLeaderEpochRequest,
        AddPartitionsToTxnRequest,
        AddOffsetsToTxnRequest,
        EndTxnRequest,
        WriteTxnMarkersRequest,
        TxnOffsetCommitRequest,
        DescribeAclsRequest,
        CreateAclsRequest,
        DeleteAclsRequest,
        DescribeConfigsRequest,
        AlterConfigsRequest,
        DescribeLogDirsRequest,
        SaslAuthenticateRequest,
        CreatePartitionsRequest,
        CreateDelegationTokenRequest,
        RenewDelegationTokenRequest,
        ExpireDelegationTokenRequest,
        DescribeDelegationTokenRequest,
        DeleteGroupsRequest,
        ElectLeadersRequest,
        IncrementalAlterConfigsRequest,
        AlterPartitionReassignmentsRequest,
        ListPartitionReassignmentsRequest,
        OffsetDeleteRequest,
        DescribeClientQuotasRequest,
        AlterClientQuotasRequest,
        DescribeUserScramCredentialsRequest,
        AlterUserScramCredentialsRequest,
        UpdateFeaturesRequest,
        DescribeClusterRequest,
        DescribeProducersRequest,
        UnregisterBrokerRequest,
        DescribeTransactionsRequest,
        ListTransactionsRequest,
        ListConfigResourcesRequest,
        DescribeTopicPartitionsRequest,
    ]
}

#[test]
fn empty_arrays_in_every_api_and_version() {
    let victim = Victim::alone(&[]);
    let all = every_request();
    let mut keys: Vec<ApiKey> = all.iter().map(|(key, ..)| *key).collect();
    keys.dedup();
    assert_eq!(keys, ApiKey::ALL, "none is left out");
    let mut answered = 0;
    for (key, version, bytes) in &all {
        let answer = ask(victim.raw(), bytes);
        if let Answer::Frame(frame) = &answer {
            assert_eq!(frame[..4], 7_i32.to_be_bytes(), "{key} v{version}");
            answered += 1;
        }
    }
    assert!(answered > 150, "{answered} of {} are answered", all.len());
    victim.is_well(GROWTH_MAX);
}

/// Bodies of zeros are empty or null arrays in any version, bodies of ones are empty arrays where lengths are compact, and
/// bodies of 0xff are null or absurd: whatever the schema, each is cut off at every length.
#[test]
fn bodies_of_zeros_ones_and_ff_in_every_api_and_version() {
    let victim = Victim::alone(&[]);
    for (key, version, _) in every_request() {
        let flexible = wire::request_header_version(key, version) == 2;
        for filler in [0, 1, 0xff] {
            for length in [0, 1, 2, 5, 17, 64] {
                let bytes = request(key.as_i16(), version, flexible, &vec![filler; length]);
                ask(victim.raw(), &bytes);
            }
        }
    }
    victim.is_well(GROWTH_MAX);
}

#[test]
fn unknown_keys_and_versions() {
    let victim = Victim::alone(&[]);
    for key in [-1, 4, 5, 6, 7, 52, 59, 71, 95, 1_000, i16::MAX, i16::MIN] {
        for version in [-1, 0, 1, i16::MAX] {
            let bytes = request(key, version, false, &[0; 32]);
            assert_eq!(
                ask(victim.raw(), &bytes),
                Answer::Closed,
                "{key} v{version}"
            );
        }
    }
    for (key, ..) in every_request() {
        let most = supported_versions(key).max;
        for version in [i16::MIN, -1, most + 1, i16::MAX] {
            let bytes = request(key.as_i16(), version, true, &[0; 32]);
            let answer = ask(victim.raw(), &bytes);
            if key == ApiKey::ApiVersions {
                let Answer::Frame(frame) = answer else {
                    panic!("ApiVersions is answered in any version (KIP-511)");
                };
                assert_eq!(frame[4..6], 35_i16.to_be_bytes(), "UNSUPPORTED_VERSION");
            } else {
                assert_eq!(answer, Answer::Closed, "{key} v{version}");
            }
        }
    }
    for length in 1..8 {
        let answer = ask(victim.raw(), &prefixed(&vec![0; length]));
        assert_eq!(answer, Answer::Closed, "no header fits {length} bytes");
    }
    assert!(victim.metric("kafscale_frames_rejected_total") > 100.0);
    victim.is_well(GROWTH_MAX);
}
