//! Kafka messages: requests, responses, headers, the blobs of the consumer protocol.

use wire::messages::*;
use wire::{
    ApiKey, Decoder, Message, Request, RequestHeader, ResponseHeader, request_budget_bytes,
    response_budget_bytes, supported_versions,
};

use super::Target;
use crate::{feedback, memory, recorded};

/// Messages up to this length are cut off at every byte, longer ones at some.
const CUT_EVERYWHERE_BYTES: usize = 512;
/// Bytes beside decoded structs: errors, and what a decoder keeps on its stack.
const SLACK_BYTES: usize = 4 << 10;

macro_rules! for_each_request {
    ($apply:ident) => {
        $apply! {
            Produce ProduceRequest, Fetch FetchRequest, ListOffsets ListOffsetsRequest,
            Metadata MetadataRequest, OffsetCommit OffsetCommitRequest,
            OffsetFetch OffsetFetchRequest, FindCoordinator FindCoordinatorRequest,
            JoinGroup JoinGroupRequest, Heartbeat HeartbeatRequest, LeaveGroup LeaveGroupRequest,
            SyncGroup SyncGroupRequest, DescribeGroups DescribeGroupsRequest,
            ListGroups ListGroupsRequest, SaslHandshake SaslHandshakeRequest,
            ApiVersions ApiVersionsRequest, CreateTopics CreateTopicsRequest,
            DeleteTopics DeleteTopicsRequest, DeleteRecords DeleteRecordsRequest,
            InitProducerId InitProducerIdRequest,
            OffsetForLeaderEpoch OffsetForLeaderEpochRequest,
            AddPartitionsToTxn AddPartitionsToTxnRequest, AddOffsetsToTxn AddOffsetsToTxnRequest,
            EndTxn EndTxnRequest, WriteTxnMarkers WriteTxnMarkersRequest,
            TxnOffsetCommit TxnOffsetCommitRequest, DescribeAcls DescribeAclsRequest,
            CreateAcls CreateAclsRequest, DeleteAcls DeleteAclsRequest,
            DescribeConfigs DescribeConfigsRequest, AlterConfigs AlterConfigsRequest,
            DescribeLogDirs DescribeLogDirsRequest, SaslAuthenticate SaslAuthenticateRequest,
            CreatePartitions CreatePartitionsRequest,
            CreateDelegationToken CreateDelegationTokenRequest,
            RenewDelegationToken RenewDelegationTokenRequest,
            ExpireDelegationToken ExpireDelegationTokenRequest,
            DescribeDelegationToken DescribeDelegationTokenRequest,
            DeleteGroups DeleteGroupsRequest, ElectLeaders ElectLeadersRequest,
            IncrementalAlterConfigs IncrementalAlterConfigsRequest,
            AlterPartitionReassignments AlterPartitionReassignmentsRequest,
            ListPartitionReassignments ListPartitionReassignmentsRequest,
            OffsetDelete OffsetDeleteRequest, DescribeClientQuotas DescribeClientQuotasRequest,
            AlterClientQuotas AlterClientQuotasRequest,
            DescribeUserScramCredentials DescribeUserScramCredentialsRequest,
            AlterUserScramCredentials AlterUserScramCredentialsRequest,
            UpdateFeatures UpdateFeaturesRequest, DescribeCluster DescribeClusterRequest,
            DescribeProducers DescribeProducersRequest, UnregisterBroker UnregisterBrokerRequest,
            DescribeTransactions DescribeTransactionsRequest,
            ListTransactions ListTransactionsRequest,
            ListConfigResources ListConfigResourcesRequest,
            DescribeTopicPartitions DescribeTopicPartitionsRequest,
        }
    };
}

/// Checks a request of a known type. A macro, since the type of a request names the lifetime of its frame, and there are
/// two frames.
macro_rules! check_request {
    ($request:ident, $frame:expr) => {{
        let frame: &[u8] = $frame;
        let limit = request_budget_bytes(frame.len()) + SLACK_BYTES;
        let decoded = memory::within_limit(frame.len(), limit, || {
            wire::decode_request::<$request>(frame)
        });
        feedback::note(stringify!($request));
        feedback::note_result(stringify!($request), &decoded);
        let Ok((header, request)) = decoded else {
            return;
        };
        feedback::note((
            header.api_key,
            header.api_version,
            feedback::order(frame.len()),
        ));
        let encoded = wire::encode_request(&header, &request);
        let encoded = encoded.expect("what was decoded can be encoded").body();
        let again = wire::decode_request::<$request>(&encoded);
        let (header_again, same) = again.expect("what we encode is sound");
        assert_eq!(header_again, header, "encode after decode is the identity");
        assert_eq!(same, request, "encode after decode is the identity");
        let third = wire::encode_request(&header, &same).expect("it was encoded before");
        assert_eq!(third.body(), encoded, "encoding is canonical");
        for cut in cuts(encoded.len()) {
            let cut_off = wire::decode_request::<$request>(&encoded[..cut]);
            assert!(
                cut_off.is_err(),
                "{cut} of {} bytes are a request",
                encoded.len()
            );
        }
    }};
}

macro_rules! check_response {
    ($request:ident, $version:expr, $frame:expr) => {{
        let (version, frame): (i16, &[u8]) = ($version, $frame);
        let limit = response_budget_bytes(frame.len()) + SLACK_BYTES;
        let decoded = memory::within_limit(frame.len(), limit, || {
            wire::decode_response::<$request>(frame, version)
        });
        feedback::note((stringify!($request), "response"));
        feedback::note_result(stringify!($request), &decoded);
        let Ok((correlation_id, response)) = decoded else {
            return;
        };
        let key = <$request as Request>::KEY;
        feedback::note((key.as_i16(), version, feedback::order(frame.len())));
        let encoded = wire::encode_response(correlation_id, key, version, &response);
        let encoded = encoded.expect("what was decoded can be encoded").body();
        let again = wire::decode_response::<$request>(&encoded, version);
        let (id, same) = again.expect("what we encode is sound");
        assert_eq!(id, correlation_id, "encode after decode is the identity");
        assert_eq!(same, response, "encode after decode is the identity");
        for cut in cuts(encoded.len()) {
            let cut_off = wire::decode_response::<$request>(&encoded[..cut], version);
            assert!(
                cut_off.is_err(),
                "{cut} of {} bytes are a response",
                encoded.len()
            );
        }
    }};
}

macro_rules! dispatch {
    ($($key:ident $request:ident,)*) => {
        fn run_request(key: ApiKey, frame: &[u8]) {
            match key {
                $(ApiKey::$key => check_request!($request, frame),)*
            }
        }

        fn run_response(key: ApiKey, version: i16, frame: &[u8]) {
            match key {
                $(ApiKey::$key => check_response!($request, version, frame),)*
            }
        }

        /// Requests and responses of every API and version, as by default.
        fn defaults() -> Vec<recorded::Frame> {
            let mut all = Vec::new();
            $(for version in supported_versions(ApiKey::$key).iter() {
                all.extend(default::<$request>(version));
            })*
            all
        }
    };
}

for_each_request!(dispatch);

fn default<'a, R: Request<'a> + Default>(version: i16) -> Vec<recorded::Frame>
where
    R::Response<'a>: Default,
{
    let header = RequestHeader {
        api_key: R::KEY.as_i16(),
        api_version: version,
        correlation_id: 7,
        client_id: Some("fuzz"),
    };
    let request = wire::encode_request(&header, &R::default());
    let response = wire::encode_response(7, R::KEY, version, &R::Response::default());
    let frame = |is_response, frame: Result<wire::Frame, _>| {
        let bytes = frame.ok()?.body().to_vec();
        Some(recorded::Frame {
            is_response,
            key: R::KEY.as_i16(),
            version,
            bytes,
        })
    };
    [frame(false, request), frame(true, response)]
        .into_iter()
        .flatten()
        .collect()
}

/// Requests of all APIs and versions, as a broker reads them.
pub const REQUESTS: Target = Target {
    name: "requests",
    about: "request decode, all keys and versions; encode after decode is the identity",
    run: requests,
    seeds: || {
        let all = recorded::frames().into_iter().chain(defaults());
        all.filter(|frame| !frame.is_response)
            .map(|frame| frame.bytes)
            .collect()
    },
    words: &[],
};

fn requests(frame: &[u8]) {
    let Ok((key, version, _)) = RequestHeader::peek(frame) else {
        return;
    };
    // Any number becomes a key that there is: unknown ones are looked at by another target.
    let keys = ApiKey::ALL;
    let key = ApiKey::try_from(key)
        .unwrap_or_else(|_| keys[usize::from(key.unsigned_abs()) % keys.len()]);
    let versions = supported_versions(key);
    let mut frame = frame.to_vec();
    frame[..2].copy_from_slice(&key.as_i16().to_be_bytes());
    if !(-1..=versions.max + 1).contains(&version) {
        let count = (versions.max - versions.min + 1).unsigned_abs();
        let version = versions.min + (version.unsigned_abs() % count) as i16;
        frame[2..4].copy_from_slice(&version.to_be_bytes());
    }
    run_request(key, &frame);
}

/// Responses of all APIs and versions, as a client reads them. The first four bytes are key and version.
pub const RESPONSES: Target = Target {
    name: "responses",
    about: "response decode, all keys and versions; encode after decode is the identity",
    run: responses,
    seeds: || {
        let all = recorded::frames().into_iter().chain(defaults());
        let all = all.filter(|frame| frame.is_response);
        all.map(|it| {
            [
                &it.key.to_be_bytes()[..],
                &it.version.to_be_bytes(),
                &it.bytes,
            ]
            .concat()
        })
        .collect()
    },
    words: &[],
};

fn responses(input: &[u8]) {
    let Some((head, frame)) = input.split_first_chunk::<4>() else {
        return;
    };
    let (key, version) = (
        i16::from_be_bytes([head[0], head[1]]),
        i16::from_be_bytes([head[2], head[3]]),
    );
    let keys = ApiKey::ALL;
    let key = ApiKey::try_from(key)
        .unwrap_or_else(|_| keys[usize::from(key.unsigned_abs()) % keys.len()]);
    let versions = supported_versions(key);
    let count = (versions.max - versions.min + 1).unsigned_abs();
    let version = if versions.contains(version) {
        version
    } else {
        versions.min + (version.unsigned_abs() % count) as i16
    };
    run_response(key, version, frame);
}

/// Places at which something of so many bytes is cut off.
fn cuts(len: usize) -> impl Iterator<Item = usize> {
    let step = len / CUT_EVERYWHERE_BYTES + 1;
    (0..len).step_by(step)
}

/// Headers with their tagged fields, of any key and version.
pub const HEADERS: Target = Target {
    name: "headers",
    about: "request and response headers with tagged fields",
    run: headers,
    seeds: || {
        recorded::frames()
            .into_iter()
            .map(|frame| frame.bytes)
            .collect()
    },
    words: &[&[0x80, 0xda, 0xc4, 0x09], &[0xff, 0xff, 0xff, 0xff, 0x0f]],
};

fn headers(frame: &[u8]) {
    feedback::note_result("peek", &RequestHeader::peek(frame));
    let mut decoder = Decoder::new(frame);
    let decoded = memory::within(frame.len(), 0, || RequestHeader::decode(&mut decoder));
    feedback::note_result("request", &decoded);
    if let Ok(header) = decoded {
        assert_eq!(
            RequestHeader::peek(frame),
            Ok((header.api_key, header.api_version, header.correlation_id))
        );
        let key = ApiKey::try_from(header.api_key).expect("a header names a known key");
        let version = wire::request_header_version(key, header.api_version);
        let mut encoder = wire::Encoder::new();
        header
            .encode(&mut encoder, version)
            .expect("it was decoded");
        let encoded = encoder.finish().expect("a header is short").body();
        let again = RequestHeader::decode(&mut Decoder::new(&encoded));
        assert_eq!(again, Ok(header), "encode after decode is the identity");
        for cut in cuts(encoded.len()) {
            let cut_off = RequestHeader::decode(&mut Decoder::new(&encoded[..cut]));
            assert!(cut_off.is_err(), "{cut} bytes are a header");
        }
    } else {
        assert!(decoder.i8().is_err(), "a bad decoder stays bad");
    }
    for version in 0..=1 {
        let mut decoder = Decoder::new(frame);
        let decoded = ResponseHeader::decode(&mut decoder, version);
        feedback::note_result("response", &decoded);
        if let Ok(header) = decoded {
            let mut encoder = wire::Encoder::new();
            header
                .encode(&mut encoder, version)
                .expect("it was decoded");
            let encoded = encoder.finish().expect("a header is short").body();
            let again = ResponseHeader::decode(&mut Decoder::new(&encoded), version);
            assert_eq!(again, Ok(header), "encode after decode is the identity");
        }
    }
}

/// What consumers put into JoinGroup and SyncGroup.
pub const CONSUMER: Target = Target {
    name: "consumer-protocol",
    about: "group metadata and assignments of consumers",
    run: consumer,
    seeds: consumer_seeds,
    words: &[b"\x00\x01t", &[0, 0, 0, 1], &[0xff, 0xff, 0xff, 0xff]],
};

fn consumer(blob: &[u8]) {
    let limit = request_budget_bytes(blob.len()) + SLACK_BYTES;
    let subscription = memory::within_limit(blob.len(), limit, || {
        ConsumerProtocolSubscription::from_blob(blob)
    });
    feedback::note_result("subscription", &subscription);
    if let Ok((version, subscription)) = subscription {
        let known = version.min(ConsumerProtocolSubscription::VERSIONS.max);
        feedback::note((known, subscription.topics.len().min(3)));
        let encoded = subscription.to_blob(known).expect("it was decoded");
        let again = ConsumerProtocolSubscription::from_blob(&encoded);
        assert_eq!(
            again,
            Ok((known, subscription)),
            "encode after decode is the identity"
        );
        for cut in cuts(encoded.len()) {
            let cut_off = ConsumerProtocolSubscription::from_blob(&encoded[..cut]);
            assert!(cut_off.is_err(), "{cut} bytes are a subscription");
        }
    }
    let assignment = memory::within_limit(blob.len(), limit, || {
        ConsumerProtocolAssignment::from_blob(blob)
    });
    feedback::note_result("assignment", &assignment);
    if let Ok((version, assignment)) = assignment {
        let known = version.min(ConsumerProtocolAssignment::VERSIONS.max);
        let encoded = assignment.to_blob(known).expect("it was decoded");
        let again = ConsumerProtocolAssignment::from_blob(&encoded);
        assert_eq!(
            again,
            Ok((known, assignment)),
            "encode after decode is the identity"
        );
    }
}

fn consumer_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for frame in recorded::frames().iter().filter(|frame| !frame.is_response) {
        if let Ok((_, request)) = wire::decode_request::<JoinGroupRequest<'_>>(&frame.bytes) {
            seeds.extend(
                request
                    .protocols
                    .iter()
                    .map(|protocol| protocol.metadata.to_vec()),
            );
        }
        if let Ok((_, request)) = wire::decode_request::<SyncGroupRequest<'_>>(&frame.bytes) {
            seeds.extend(request.assignments.iter().map(|it| it.assignment.to_vec()));
        }
    }
    let plain = ConsumerProtocolSubscription {
        topics: vec!["a", "b"],
        ..Default::default()
    };
    seeds.extend(
        (0..=3)
            .filter_map(|version| plain.to_blob(version).ok())
            .map(|it| it.to_vec()),
    );
    seeds
}
