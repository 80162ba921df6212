//! Every API, every version, both directions, against the `kafka-protocol` crate.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message as OracleMessage};

use super::{arbitrary, body};
use crate::api::{
    ApiKey, for_each_api, request_header_version, response_header_version, supported_versions,
};
use crate::codes::ErrorCode;
use crate::decode::{Decoder, response_budget_bytes};
use crate::field::Field;
use crate::message::Message;
use crate::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};

/// Random messages per type and version.
const CASES: u64 = 64;

/// Versions that we decode and that the oracle does not know; `known_bytes` has tests for them.
const NOT_IN_ORACLE: &[(ApiKey, i16)] = &[
    (ApiKey::Produce, 0),
    (ApiKey::Produce, 1),
    (ApiKey::Produce, 2),
    (ApiKey::OffsetCommit, 0),
    (ApiKey::OffsetCommit, 1),
    (ApiKey::CreateTopics, 0),
    (ApiKey::CreateTopics, 1),
    (ApiKey::DeleteTopics, 0),
    (ApiKey::OffsetForLeaderEpoch, 0),
    (ApiKey::OffsetForLeaderEpoch, 1),
    (ApiKey::WriteTxnMarkers, 0),
    (ApiKey::DescribeConfigs, 0),
    (ApiKey::DescribeLogDirs, 5),
    (ApiKey::ListOffsets, 11),
    (ApiKey::OffsetCommit, 10),
    (ApiKey::OffsetFetch, 10),
    (ApiKey::ApiVersions, 5),
    (ApiKey::DeleteGroups, 3),
];

/// APIs and the versions up to which their responses have no throttle time.
const NO_THROTTLE_TIME: &[(ApiKey, i16)] = &[
    (ApiKey::Produce, 0),
    (ApiKey::ListOffsets, 1),
    (ApiKey::Metadata, 2),
    (ApiKey::OffsetCommit, 2),
    (ApiKey::OffsetFetch, 2),
    (ApiKey::FindCoordinator, 0),
    (ApiKey::JoinGroup, 1),
    (ApiKey::Heartbeat, 0),
    (ApiKey::LeaveGroup, 0),
    (ApiKey::SyncGroup, 0),
    (ApiKey::DescribeGroups, 0),
    (ApiKey::ListGroups, 0),
    (ApiKey::SaslHandshake, 1),
    (ApiKey::ApiVersions, 0),
    (ApiKey::CreateTopics, 1),
    (ApiKey::DeleteTopics, 0),
    (ApiKey::WriteTxnMarkers, 2),
    (ApiKey::SaslAuthenticate, 2),
];

/// A throttle time is set in every response that has one, whatever the place of its field.
fn check_throttle_time<R, OR>(api: ApiKey, version: i16)
where
    R: Message<'static> + Field<'static> + Default,
    OR: Decodable + OracleMessage + Debug,
{
    let mut response = R::default();
    Message::set_throttle_time(&mut response, version, 7_654_321);
    let mut bytes = body(&response, version);
    let Ok(theirs) = OR::decode(&mut bytes, version) else {
        return assert!(NOT_IN_ORACLE.contains(&(api, version)), "{api} v{version}");
    };
    let is_set = format!("{theirs:?}").contains("throttle_time_ms: 7654321");
    let listed = NO_THROTTLE_TIME
        .iter()
        .any(|(key, last)| *key == api && version <= *last);
    assert!(is_set != listed, "{api} v{version}: set {is_set}");
}

/// Our encoding, read and written again by the oracle, must be the same bytes and must decode to
/// the message that we began with.
fn round_trip<M, O>(version: i16)
where
    M: Message<'static> + Field<'static> + Debug + PartialEq,
    O: Decodable + Encodable + OracleMessage,
{
    let known = O::VERSIONS.min <= version && version <= O::VERSIONS.max;
    for case in 0..CASES {
        let message: M = arbitrary(version, case);
        let ours = body(&message, version);
        if known {
            assert_eq!(
                through_oracle::<O>(&ours, version, M::NAME),
                ours,
                "{} v{version}",
                M::NAME
            );
        }
        // The types borrow from the frame; a test may leak it.
        let frame: &'static [u8] = Box::leak(ours.to_vec().into_boxed_slice());
        let budget = response_budget_bytes(frame.len());
        let mut decoder = Decoder::with_budget(frame, budget);
        let back = M::decode(&mut decoder, version).unwrap();
        assert_eq!(back, message, "{} v{version}", M::NAME);
        assert_eq!(decoder.remaining(), 0, "{} v{version}", M::NAME);
        assert_eq!(
            back.heap_bytes(),
            budget - decoder.budget_left(),
            "{} v{version}",
            M::NAME
        );
    }
}

fn through_oracle<O: Decodable + Encodable>(ours: &Bytes, version: i16, name: &str) -> Bytes {
    let mut left = ours.clone();
    let theirs = match O::decode(&mut left, version) {
        Ok(theirs) => theirs,
        Err(error) => panic!("oracle cannot decode {name} v{version}: {error}"),
    };
    assert!(left.is_empty(), "oracle leaves bytes of {name} v{version}");
    let mut again = BytesMut::new();
    match theirs.encode(&mut again, version) {
        Ok(()) => again.freeze(),
        Err(error) => panic!("oracle cannot encode {name} v{version}: {error}"),
    }
}

/// Checks one API; returns the versions that went through the oracle in both directions.
fn check_api<Q, R, OQ, OR>(api: ApiKey) -> Vec<(ApiKey, i16)>
where
    Q: Message<'static> + Field<'static> + Debug + PartialEq + Default,
    R: Message<'static> + Field<'static> + Debug + PartialEq + Default,
    OQ: Decodable + Encodable + OracleMessage + HeaderVersion,
    OR: Decodable + Encodable + OracleMessage + HeaderVersion + Debug,
{
    let mut checked = Vec::new();
    for version in supported_versions(api).iter() {
        round_trip::<Q, OQ>(version);
        round_trip::<R, OR>(version);
        // Else `..Default::default()` would be a trap.
        body(&Q::default(), version);
        body(&R::default(), version);
        check_throttle_time::<R, OR>(api, version);
        let min = OQ::VERSIONS.min.max(OR::VERSIONS.min);
        let max = OQ::VERSIONS.max.min(OR::VERSIONS.max);
        if (min..=max).contains(&version) {
            assert_eq!(
                request_header_version(api, version),
                OQ::header_version(version),
                "{api}"
            );
            assert_eq!(
                response_header_version(api, version),
                OR::header_version(version),
                "{api}"
            );
            checked.push((api, version));
        }
    }
    checked
}

macro_rules! check_apis {
    ($(
        $name:ident = $key:literal, $module:ident:
            $request:ident $(<$a:lifetime>)? => $response:ident $(<$r:lifetime>)?;
    )*) => {
        /// The table of APIs is the list of tests, so none can be forgotten; what the oracle did
        /// not see must be listed by name.
        #[test]
        fn every_api_and_version_round_trips() {
            let mut checked: BTreeSet<(ApiKey, i16)> = BTreeSet::new();
            $(
                checked.extend(check_api::<
                    crate::messages::$module::$request,
                    crate::messages::$module::$response,
                    kafka_protocol::messages::$request,
                    kafka_protocol::messages::$response,
                >(ApiKey::$name));
                assert_eq!(ApiKey::$name.as_i16(), $key);
                assert_eq!(kafka_protocol::messages::ApiKey::$name as i16, $key);
            )*
            for api in ApiKey::ALL {
                for version in supported_versions(*api).iter() {
                    let listed = NOT_IN_ORACLE.contains(&(*api, version));
                    let seen = checked.contains(&(*api, version));
                    assert!(seen != listed, "{api} v{version}: seen {seen}, listed {listed}");
                }
            }
        }
    };
}

for_each_api!(check_apis);

#[test]
fn consumer_protocol_round_trips() {
    use kafka_protocol::messages::{
        ConsumerProtocolAssignment as A, ConsumerProtocolSubscription as S,
    };
    for version in ConsumerProtocolSubscription::VERSIONS.iter() {
        round_trip::<ConsumerProtocolSubscription<'_>, S>(version);
        round_trip::<ConsumerProtocolAssignment<'_>, A>(version);
    }
}

#[test]
fn error_codes_agree() {
    use kafka_protocol::ResponseError;
    for code in ErrorCode::ALL {
        let Some(theirs) = ResponseError::try_from_code(code.as_i16()) else {
            assert!(code.is_none());
            continue;
        };
        let name = code.name().replace('_', "").to_lowercase();
        assert_eq!(name, theirs.to_string().to_lowercase());
        // The oracle is behind here: Kafka made this one retriable.
        let differs = *code == ErrorCode::CONCURRENT_TRANSACTIONS;
        assert_eq!(code.retriable() != theirs.is_retriable(), differs, "{code}");
    }
    let last = ErrorCode::ALL.last().map(|code| code.as_i16()).unwrap();
    assert_eq!(ErrorCode(last + 1).name(), "UNKNOWN");
    assert_eq!(
        ResponseError::try_from_code(last + 1),
        Some(ResponseError::Unknown(last + 1)),
        "the oracle knows more codes"
    );
}
