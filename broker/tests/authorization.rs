//! Authorization over the wire: every API that is served, with and without the rules that it needs; and nothing that may
//! not be seen is named to whoever has not named it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "authorization/cases/mod.rs"]
mod cases;
mod common;

use cases::{Case, FOR_ALL, Names, cases, commit_offsets, metadata, offsets};
use client::{Client, ClientSettings, SaslCredentials};
use common::{Connection, Fetch, LocalBroker, Topic, Wanted, batch};
use security::Mechanism;
use security::acl::{CLUSTER, Operation, PatternType, Permission, ResourceType};
use security::secret::Secret;
use wire::messages::create_acls::AclCreation;
use wire::messages::create_delegation_token::CreatableRenewers;
use wire::messages::create_topics::CreatableTopic;
use wire::messages::delete_acls::DeleteAclsFilter;
use wire::messages::delete_topics::DeleteTopicState;
use wire::messages::metadata::MetadataRequestTopic;
use wire::messages::*;
use wire::{ApiKey, ErrorCode, Uuid};

const SETTINGS: [(&str, &str); 2] = [
    ("security.sasl_mechanisms", "PLAIN"),
    ("security.admin_password", "hunter2"),
];
/// In every name that exists.
const MARK: &str = "zq-";

/// One rule for `User:alice`, unless it says otherwise.
#[derive(Debug, Clone)]
struct Rule {
    resource: ResourceType,
    name: String,
    pattern: PatternType,
    principal: &'static str,
    host: &'static str,
    operation: Operation,
    permission: Permission,
}

impl Rule {
    fn allow(resource: ResourceType, name: &str, operation: Operation) -> Self {
        Self {
            resource,
            name: name.to_owned(),
            pattern: PatternType::Literal,
            principal: "User:alice",
            host: "*",
            operation,
            permission: Permission::Allow,
        }
    }

    fn topic(name: &str, operation: Operation) -> Self {
        Self::allow(ResourceType::Topic, name, operation)
    }

    fn deny_all(resource: ResourceType, name: &str) -> Self {
        Self {
            permission: Permission::Deny,
            ..Self::allow(resource, name, Operation::All)
        }
    }

    fn creation(&self) -> AclCreation<'_> {
        AclCreation {
            resource_type: self.resource.code(),
            resource_name: &self.name,
            resource_pattern_type: self.pattern.code(),
            principal: self.principal,
            host: self.host,
            operation: self.operation.code(),
            permission_type: self.permission.code(),
        }
    }
}

/// A broker with what may not be seen: two topics and a group with offsets of both.
struct World {
    broker: LocalBroker,
    admin: Connection,
    existing: Names,
    absent: Names,
}

impl World {
    fn new(settings: &[(&str, &str)]) -> Self {
        let broker = LocalBroker::start(&[&SETTINGS[..], settings].concat());
        let sasl = SaslCredentials {
            mechanism: Mechanism::Plain,
            user: "admin".to_owned(),
            password: Secret::new("hunter2"),
        };
        let settings = ClientSettings {
            sasl: Some(sasl),
            ..ClientSettings::with_bootstrap(&broker.kafka.to_string())
        };
        let mut client = Client::connect(settings).unwrap();
        for user in ["alice", "bob"] {
            client.set_password(user, &Secret::new(user)).unwrap();
        }
        let mut admin = connect(&broker, "admin", "hunter2");
        let topic = admin.create("zq-topic", 2);
        let other = admin.create("zq-other", 2);
        let existing = Names {
            topic,
            group: "zq-group",
        };
        commit_offsets(&mut admin, &existing);
        commit_offsets(
            &mut admin,
            &Names {
                topic: other,
                ..existing.clone()
            },
        );
        let topic = Topic {
            name: "absent".to_owned(),
            id: Uuid([9; 16]),
        };
        Self {
            broker,
            admin,
            existing,
            absent: Names {
                topic,
                group: "absent",
            },
        }
    }

    fn alice(&self) -> Connection {
        connect(&self.broker, "alice", "alice")
    }

    fn add(&mut self, rules: &[Rule]) {
        assert!(
            create_rules(&mut self.admin, rules)
                .iter()
                .all(|code| code.is_none())
        );
    }

    /// Removes all rules; gives how many there were.
    fn clear(&mut self) -> usize {
        let filter = DeleteAclsFilter {
            resource_type_filter: 1,
            resource_name_filter: None,
            pattern_type_filter: 1,
            principal_filter: None,
            host_filter: None,
            operation: 1,
            permission_type: 1,
        };
        let request = DeleteAclsRequest {
            filters: vec![filter],
        };
        let body = self.admin.call(2, &request);
        let (_, response) = wire::decode_response::<DeleteAclsRequest<'_>>(&body, 2).unwrap();
        assert_eq!(response.filter_results[0].error_code, ErrorCode::NONE);
        response.filter_results[0].matching_acls.len()
    }
}

fn create_rules(connection: &mut Connection, rules: &[Rule]) -> Vec<ErrorCode> {
    let request = CreateAclsRequest {
        creations: rules.iter().map(Rule::creation).collect(),
    };
    let body = connection.call(2, &request);
    let (_, response) = wire::decode_response::<CreateAclsRequest<'_>>(&body, 2).unwrap();
    response.results.iter().map(|it| it.error_code).collect()
}

fn connect(broker: &LocalBroker, user: &str, password: &str) -> Connection {
    let mut connection = broker.connect();
    let handshake = SaslHandshakeRequest { mechanism: "PLAIN" };
    connection.call(1, &handshake);
    let auth_bytes = format!("\0{user}\0{password}");
    let body = connection.call(
        2,
        &SaslAuthenticateRequest {
            auth_bytes: auth_bytes.as_bytes(),
        },
    );
    let (_, response) = wire::decode_response::<SaslAuthenticateRequest<'_>>(&body, 2).unwrap();
    assert_eq!(response.error_code, ErrorCode::NONE, "{user}");
    connection
}

fn names(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|part| part == text.as_bytes())
}

fn all_are(codes: &[ErrorCode], expected: ErrorCode) -> bool {
    !codes.is_empty() && codes.iter().all(|code| *code == expected)
}

#[test]
fn every_api_that_is_served_is_in_the_matrix() {
    let world = World::new(&[]);
    let mut alice = world.alice();
    let body = alice.call(0, &ApiVersionsRequest::default());
    let (_, response) = wire::decode_response::<ApiVersionsRequest<'_>>(&body, 0).unwrap();
    let cases = cases();
    assert!(response.api_keys.len() > 40);
    for served in &response.api_keys {
        let api = ApiKey::try_from(served.api_key).unwrap();
        let is_covered = FOR_ALL.contains(&api) || cases.iter().any(|case| case.api == api);
        assert!(
            is_covered,
            "{} is served, and not in the matrix",
            api.name()
        );
    }
}

#[test]
fn every_api_does_what_the_rules_say_and_no_more() {
    let mut world = World::new(&[]);
    for case in cases() {
        without_rules(&world, &case);
        with_rules(&mut world, &case);
        world.clear();
    }
    assert!(world.broker.metric("kafscale_authorization_denied_total") > 50.0);
}

/// What exists and what does not are refused alike, and nothing is named that was not named.
fn without_rules(world: &World, case: &Case) {
    let (api, what) = (case.api.name(), case.what);
    let mut alice = world.alice();
    let (codes, body) = (case.ask)(&mut alice, &world.existing);
    assert!(all_are(&codes, case.denied), "{api} {what}: {codes:?}");
    if case.is_by_id {
        let group = world.existing.group.as_bytes().to_vec();
        let cut: Vec<u8> = without(&body, &group);
        assert!(!names(&cut, MARK), "{api} {what} tells a name");
        return;
    }
    let (codes, body) = (case.ask)(&mut alice, &world.absent);
    assert!(
        all_are(&codes, case.denied),
        "{api} {what}, of what does not exist: {codes:?}"
    );
    assert!(!names(&body, MARK), "{api} {what} tells a name");
}

fn without(body: &[u8], part: &[u8]) -> Vec<u8> {
    let mut rest = Vec::new();
    let mut at = 0;
    while at < body.len() {
        if body[at..].starts_with(part) {
            at += part.len();
        } else {
            rest.push(body[at]);
            at += 1;
        }
    }
    rest
}

fn with_rules(world: &mut World, case: &Case) {
    let (api, what) = (case.api.name(), case.what);
    let named = match case.is_harmless {
        true => world.existing.clone(),
        false => world.absent.clone(),
    };
    let mut alice = world.alice();
    let rules: Vec<Rule> = case
        .needs
        .iter()
        .map(|(on, operation)| Rule::allow(on.resource(), &on.name(&named), *operation))
        .collect();
    // Each but one is not enough, and neither is the same for somebody else, or from somewhere else.
    for left_out in 0..rules.len() {
        let mut some = rules.clone();
        some[left_out].principal = "User:bob";
        let elsewhere = Rule {
            host: "10.99.0.1",
            ..rules[left_out].clone()
        };
        some.push(elsewhere);
        // Nor does anything else with the same do, but for what means as much. Of what does not exist whoever may see
        // it is told that.
        let (on, needed) = case.needs[left_out];
        let tells = |it: &Operation| !case.is_harmless && it.implies(Operation::Describe);
        let others = Operation::ALL.iter();
        let others = others.filter(|other| !other.implies(needed) && !tells(other));
        some.extend(others.map(|other| Rule::allow(on.resource(), &on.name(&named), *other)));
        world.add(&some);
        let (codes, _) = (case.ask)(&mut alice, &named);
        let denied = denial(case, left_out);
        assert!(
            all_are(&codes, denied),
            "{api} {what} without {left_out}: {codes:?}"
        );
        world.clear();
    }
    world.add(&rules);
    let (codes, _) = (case.ask)(&mut alice, &named);
    assert!(
        all_are(&codes, case.allowed),
        "{api} {what}, allowed: {codes:?}"
    );
    for (place, rule) in rules.iter().enumerate() {
        let deny = Rule::deny_all(rule.resource, &rule.name);
        world.add(&[deny]);
        let (codes, _) = (case.ask)(&mut alice, &named);
        let denied = denial(case, place);
        assert!(all_are(&codes, denied), "{api} {what}, denied: {codes:?}");
        world.clear();
        world.add(&rules);
    }
    let (codes, _) = (case.ask)(&mut world.admin, &named);
    assert!(
        all_are(&codes, case.allowed),
        "{api} {what}, as a super user: {codes:?}"
    );
}

/// The code where one of the rules that a case needs is missing.
fn denial(case: &Case, place: usize) -> ErrorCode {
    match case.needs.len() {
        1 => case.denied,
        _ => case.needs[place].0.denial(),
    }
}

/// Asks for everything there is of something.
type List<'a> = &'a dyn Fn(&mut Connection) -> Vec<u8>;

#[test]
fn lists_leave_out_what_may_not_be_seen() {
    let mut world = World::new(&[]);
    let mut alice = world.alice();
    let list_groups =
        |connection: &mut Connection| connection.call(4, &ListGroupsRequest::default());
    let describe_all = |connection: &mut Connection| {
        let request = DescribeTopicPartitionsRequest {
            response_partition_limit: 1,
            ..DescribeTopicPartitionsRequest::default()
        };
        connection.call(0, &request)
    };
    let lists: [List<'_>; 4] = [
        &|connection| metadata(connection, 9, None).1,
        &|connection| connection.call(0, &MetadataRequest::default()),
        &list_groups,
        &describe_all,
    ];
    for (place, list) in lists.iter().enumerate() {
        assert!(!names(&list(&mut alice), MARK), "list {place}");
        assert!(names(&list(&mut world.admin), MARK), "list {place}");
    }
    let see = Operation::Describe;
    world.add(&[
        Rule::topic("zq-topic", see),
        Rule::allow(ResourceType::Group, "zq-group", see),
    ]);
    for (place, list) in lists.iter().enumerate() {
        let body = list(&mut alice);
        assert!(
            names(&body, MARK) && !names(&body, "zq-other"),
            "list {place}"
        );
    }
    let (_, body) = offsets(&mut alice, &world.existing, 9, true);
    assert!(names(&body, "zq-topic") && !names(&body, "zq-other"));
    world.clear();
    world.add(&[Rule::allow(ResourceType::Cluster, CLUSTER, see)]);
    assert!(
        names(&list_groups(&mut alice), "zq-group"),
        "whoever sees the cluster sees its groups"
    );
    assert!(
        !names(&metadata(&mut alice, 9, None).1, MARK),
        "but not its topics"
    );
}

#[test]
fn to_delete_a_topic_by_its_id_tells_its_name_to_whoever_may_see_it() {
    let mut world = World::new(&[]);
    let mut alice = world.alice();
    let id = world.existing.topic.id;
    let delete = |connection: &mut Connection, topics: &[(Option<&'static str>, Uuid)]| {
        let topics = topics.iter().map(|(name, topic_id)| DeleteTopicState {
            name: *name,
            topic_id: *topic_id,
        });
        let request = DeleteTopicsRequest {
            topics: topics.collect(),
            timeout_ms: 15_000,
            ..DeleteTopicsRequest::default()
        };
        let body = connection.call(6, &request);
        let (_, response) = wire::decode_response::<DeleteTopicsRequest<'_>>(&body, 6).unwrap();
        let rows = response.responses.iter();
        rows.map(|it| (it.error_code, it.name.map(str::to_owned), it.topic_id))
            .collect::<Vec<_>>()
    };
    let denied = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    let name = Some("zq-topic".to_owned());
    assert_eq!(delete(&mut alice, &[(None, id)]), [(denied, None, id)]);
    // Nor that a name and an id are the same topic.
    let both = delete(&mut alice, &[(None, id), (Some("zq-topic"), Uuid::ZERO)]);
    assert_eq!(
        both,
        [(denied, None, id), (denied, name.clone(), Uuid::ZERO)]
    );
    world.add(&[Rule::topic("zq-topic", Operation::Describe)]);
    assert_eq!(
        delete(&mut alice, &[(None, id)]),
        [(denied, name.clone(), id)]
    );
    world.add(&[Rule::topic("zq-topic", Operation::Delete)]);
    assert_eq!(
        delete(&mut alice, &[(None, id)]),
        [(ErrorCode::NONE, name, id)]
    );
}

fn create(connection: &mut Connection, name: &str) -> (ErrorCode, Option<String>, ErrorCode) {
    let topic = CreatableTopic {
        name,
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 15_000,
        validate_only: false,
    };
    let body = connection.call(7, &request);
    let (_, response) = wire::decode_response::<CreateTopicsRequest<'_>>(&body, 7).unwrap();
    let topic = &response.topics[0];
    let text = topic.error_message.map(str::to_owned);
    (topic.error_code, text, topic.topic_config_error_code)
}

#[test]
fn a_topic_is_created_by_whoever_may_and_settings_are_shown_to_whoever_may_see_them() {
    let mut world = World::new(&[]);
    let mut alice = world.alice();
    let denied = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    let (code, text, _) = create(&mut alice, "zq-topic");
    assert_eq!(
        (code, text.as_deref()),
        (denied, Some("Authorization failed."))
    );
    world.add(&[Rule {
        pattern: PatternType::Prefixed,
        ..Rule::topic("zq", Operation::Create)
    }]);
    assert_eq!(
        create(&mut alice, "zq-new"),
        (ErrorCode::NONE, None, denied)
    );
    assert_eq!(
        create(&mut alice, "zq-topic").0,
        ErrorCode::TOPIC_ALREADY_EXISTS
    );
    assert_eq!(create(&mut alice, "other").0, denied);
    // Nor is a name told that merely collides.
    world.admin.create("zq.x_1", 1);
    let (code, text, _) = create(&mut alice, "zq_x_1");
    assert_eq!(code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert!(!text.unwrap().contains("zq.x_1"));
    world.add(&[Rule::topic("zq-last", Operation::DescribeConfigs)]);
    assert_eq!(create(&mut alice, "zq-last").2, ErrorCode::NONE);
    // By asking for metadata, it is created by whoever may see and create it.
    let ask = |connection: &mut Connection, name: &'static str| {
        let topic = MetadataRequestTopic {
            topic_id: Uuid::ZERO,
            name: Some(name),
        };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            include_topic_authorized_operations: true,
            ..MetadataRequest::default()
        };
        let body = connection.call(9, &request);
        let (_, response) = wire::decode_response::<MetadataRequest<'_>>(&body, 9).unwrap();
        let topic = &response.topics[0];
        (topic.error_code, topic.topic_authorized_operations)
    };
    assert_eq!(ask(&mut alice, "auto").0, denied);
    world.add(&[Rule::topic("auto", Operation::Describe)]);
    assert_eq!(ask(&mut alice, "auto").0, denied);
    assert_eq!(
        metadata(&mut world.admin, 9, Some((Some("auto"), Uuid::ZERO))).0,
        [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]
    );
    world.add(&[Rule::topic("auto", Operation::Create)]);
    let bits = |all: &[Operation]| all.iter().fold(0, |bits, it| bits | 1 << it.code());
    let may = bits(&[Operation::Describe, Operation::Create]);
    assert_eq!(ask(&mut alice, "auto"), (ErrorCode::NONE, may));
}

#[test]
fn operations_that_are_told_are_those_that_are_allowed() {
    let mut world = World::new(&[]);
    let mut alice = world.alice();
    let of_cluster = |connection: &mut Connection| {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: true,
            ..DescribeClusterRequest::default()
        };
        let body = connection.call(0, &request);
        let (_, response) = wire::decode_response::<DescribeClusterRequest>(&body, 0).unwrap();
        response.cluster_authorized_operations
    };
    let of_group = |connection: &mut Connection| {
        let request = DescribeGroupsRequest {
            groups: vec!["zq-group"],
            include_authorized_operations: true,
        };
        let body = connection.call(4, &request);
        let (_, response) = wire::decode_response::<DescribeGroupsRequest<'_>>(&body, 4).unwrap();
        response.groups[0].authorized_operations
    };
    assert_eq!(
        (of_cluster(&mut alice), of_group(&mut alice)),
        (0, i32::MIN)
    );
    world.add(&[
        Rule::allow(ResourceType::Cluster, CLUSTER, Operation::Alter),
        Rule::allow(ResourceType::Group, "zq-group", Operation::Read),
    ]);
    let bit = |operation: Operation| 1 << operation.code();
    let (alter, describe) = (bit(Operation::Alter), bit(Operation::Describe));
    assert_eq!(of_cluster(&mut alice), alter | describe);
    let by_metadata = |connection: &mut Connection| {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            include_cluster_authorized_operations: true,
            ..MetadataRequest::default()
        };
        let body = connection.call(8, &request);
        let (_, response) = wire::decode_response::<MetadataRequest<'_>>(&body, 8).unwrap();
        response.cluster_authorized_operations
    };
    assert_eq!(by_metadata(&mut alice), alter | describe);
    let mut bob = connect(&world.broker, "bob", "bob");
    assert_eq!((of_cluster(&mut bob), by_metadata(&mut bob)), (0, 0));
    assert_eq!(by_metadata(&mut world.admin), 0b1_1111_1010_0000);
    assert_eq!(of_group(&mut alice), bit(Operation::Read) | describe);
    assert_eq!(of_cluster(&mut world.admin), 0b1_1111_1010_0000);
}

#[test]
fn every_operation_on_the_cluster_has_its_bit_and_is_told_to_whoever_may_see_the_cluster() {
    let mut world = World::new(&[]);
    let mut alice = world.alice();
    let mut told = || {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: true,
            ..DescribeClusterRequest::default()
        };
        let body = alice.call(0, &request);
        let (_, response) = wire::decode_response::<DescribeClusterRequest>(&body, 0).unwrap();
        response.cluster_authorized_operations
    };
    let may = |operation| Rule::allow(ResourceType::Cluster, CLUSTER, operation);
    let all = [
        Operation::Create,
        Operation::Alter,
        Operation::Describe,
        Operation::ClusterAction,
        Operation::DescribeConfigs,
        Operation::AlterConfigs,
        Operation::IdempotentWrite,
    ];
    for operation in all {
        let implied = all.iter().filter(|it| operation.implies(**it));
        let bits = implied.fold(0, |bits, it| bits | 1 << it.code());
        let see = 1 << Operation::Describe.code();
        world.add(&[may(operation)]);
        let alone = if bits & see == 0 { 0 } else { bits };
        assert_eq!(told(), alone, "{operation:?}");
        world.add(&[may(Operation::Describe)]);
        assert_eq!(told(), bits | see, "{operation:?}");
        world.clear();
    }
}

/// As a Kafka broker without `delegation.token.secret.key`, in its order.
#[test]
fn delegation_tokens_are_refused_in_the_order_of_kafka() {
    let mut world = World::new(&[]);
    let mut alice = world.alice();
    let ask = |connection: &mut Connection, owner: Option<&'static str>, renewer: &'static str| {
        let request = CreateDelegationTokenRequest {
            owner_principal_type: owner.map(|_| "User"),
            owner_principal_name: owner,
            renewers: vec![CreatableRenewers {
                principal_type: renewer,
                principal_name: "r",
            }],
            ..CreateDelegationTokenRequest::default()
        };
        let body = connection.call(3, &request);
        let (_, it) = wire::decode_response::<CreateDelegationTokenRequest<'_>>(&body, 3).unwrap();
        let names = [
            it.principal_type,
            it.principal_name,
            it.token_requester_principal_type,
            it.token_requester_principal_name,
        ];
        let times = [
            it.issue_timestamp_ms,
            it.expiry_timestamp_ms,
            it.max_timestamp_ms,
        ];
        (it.error_code, names.join(":"), times)
    };
    let disabled = ErrorCode::DELEGATION_TOKEN_AUTH_DISABLED;
    let (unauthorized, kind) = (
        ErrorCode::DELEGATION_TOKEN_AUTHORIZATION_FAILED,
        ErrorCode::INVALID_PRINCIPAL_TYPE,
    );
    let own = "User:alice:User:alice".to_owned();
    let other = "User:bob:User:alice".to_owned();
    for owner in [None, Some(""), Some("alice")] {
        assert_eq!(
            ask(&mut alice, owner, "User"),
            (disabled, own.clone(), [0; 3])
        );
        assert_eq!(
            ask(&mut alice, owner, "Group"),
            (kind, own.clone(), [-1; 3])
        );
    }
    let refused = (unauthorized, other.clone(), [-1; 3]);
    assert_eq!(ask(&mut alice, Some("bob"), "Group"), refused);
    world.add(&[Rule::allow(
        ResourceType::User,
        "User:bob",
        Operation::CreateTokens,
    )]);
    assert_eq!(
        ask(&mut alice, Some("bob"), "Group"),
        (kind, other.clone(), [-1; 3])
    );
    assert_eq!(
        ask(&mut alice, Some("bob"), "User"),
        (disabled, other, [0; 3])
    );
    let body = alice.call(2, &RenewDelegationTokenRequest::default());
    let (_, it) = wire::decode_response::<RenewDelegationTokenRequest<'_>>(&body, 2).unwrap();
    assert_eq!((it.error_code, it.expiry_timestamp_ms), (disabled, 0));
    let body = alice.call(2, &ExpireDelegationTokenRequest::default());
    let (_, it) = wire::decode_response::<ExpireDelegationTokenRequest<'_>>(&body, 2).unwrap();
    assert_eq!((it.error_code, it.expiry_timestamp_ms), (disabled, 0));
    // Whoever's tokens are asked for, nobody's among them.
    for owners in [None, Some(Vec::new())] {
        let request = DescribeDelegationTokenRequest { owners };
        let body = alice.call(3, &request);
        let (_, it) =
            wire::decode_response::<DescribeDelegationTokenRequest<'_>>(&body, 3).unwrap();
        assert_eq!(it.error_code, disabled);
    }
}

#[test]
fn a_rule_that_goes_is_not_in_force_with_the_next_request_of_an_open_connection() {
    let mut world = World::new(&[]);
    let mut alice = world.alice();
    let topic = world.existing.topic.clone();
    let rules = [
        Rule::topic("zq-topic", Operation::Read),
        Rule::topic("zq-topic", Operation::Write),
    ];
    let denied = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    for _ in 0..3 {
        world.add(&rules);
        let session = alice.fetch(&Fetch::of(vec![Wanted::new(&topic, 0, 0)]).session(0, 0));
        assert_eq!(session.partitions[0].error, ErrorCode::NONE);
        assert_eq!(
            alice.produce(&topic, 0, &batch(&[b"x"])).error,
            ErrorCode::NONE
        );
        assert_eq!(world.clear(), 2);
        assert_eq!(alice.produce(&topic, 0, &batch(&[b"x"])).error, denied);
        let next = alice.fetch(&Fetch::of(vec![]).session(session.session_id, 1));
        assert_eq!(next.partitions[0].error, denied);
    }
}

#[test]
fn a_fetch_session_serves_nobody_but_whoever_began_it() {
    let mut world = World::new(&[]);
    let topic = world.existing.topic.clone();
    world.add(&[Rule::topic("zq-topic", Operation::Read)]);
    // Sessions live on a shard: of several connections some are on the same.
    let mut own: Vec<Connection> = (0..4).map(|_| world.alice()).collect();
    let mut others: Vec<Connection> = (0..4)
        .map(|_| connect(&world.broker, "bob", "bob"))
        .collect();
    let begun = own[0].fetch(&Fetch::of(vec![Wanted::new(&topic, 0, 0)]).session(0, 0));
    for other in &mut others {
        let stolen = other.fetch(&Fetch::of(vec![]).session(begun.session_id, 1));
        assert_eq!(stolen.error, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    }
    let mut used = own.iter_mut().enumerate().map(|(turn, connection)| {
        let epoch = turn as i32 + 1;
        connection.fetch(&Fetch::of(vec![]).session(begun.session_id, epoch))
    });
    assert!(
        used.any(|fetched| fetched.error.is_none()),
        "it has not been ended"
    );
}

#[test]
fn rules_can_be_for_everybody_for_a_prefix_and_for_a_host() {
    let mut world = World::new(&[]);
    let mut alice = world.alice();
    let topic = world.existing.topic.clone();
    let mut may = |world: &mut World, rule: Rule| {
        world.add(&[rule]);
        let code = alice.produce(&topic, 0, &batch(&[b"x"])).error;
        assert_eq!(world.clear(), 1);
        code.is_none()
    };
    let write = Rule::topic("zq-topic", Operation::Write);
    assert!(may(
        &mut world,
        Rule {
            principal: "User:*",
            ..write.clone()
        }
    ));
    assert!(may(
        &mut world,
        Rule {
            host: "127.0.0.1",
            ..write.clone()
        }
    ));
    assert!(!may(
        &mut world,
        Rule {
            host: "127.0.0.2",
            ..write.clone()
        }
    ));
    assert!(!may(
        &mut world,
        Rule {
            principal: "Group:alice",
            ..write.clone()
        }
    ));
    let prefix = Rule {
        pattern: PatternType::Prefixed,
        ..write
    };
    assert!(may(
        &mut world,
        Rule {
            name: "zq-t".to_owned(),
            ..prefix.clone()
        }
    ));
    assert!(!may(
        &mut world,
        Rule {
            name: "zq-topic-".to_owned(),
            ..prefix.clone()
        }
    ));
    assert!(may(&mut world, Rule::topic("*", Operation::All)));
    assert!(
        !may(
            &mut world,
            Rule {
                name: "*".to_owned(),
                ..prefix
            }
        ),
        "a prefix is no wildcard"
    );
}

#[test]
fn rules_are_there_once_are_shown_and_outlive_a_restart() {
    let mut world = World::new(&[]);
    let write = Rule::topic("zq-topic", Operation::Write);
    let read = Rule::topic("zq-topic", Operation::Read);
    let codes = create_rules(
        &mut world.admin,
        &[
            write.clone(),
            write.clone(),
            Rule {
                name: String::new(),
                ..write.clone()
            },
            Rule::allow(ResourceType::Cluster, "me", Operation::Alter),
            read,
        ],
    );
    let invalid = ErrorCode::INVALID_REQUEST;
    let none = ErrorCode::NONE;
    assert_eq!(codes, [none, none, invalid, invalid, none]);
    let World { broker, .. } = world;
    let broker = broker.restart();
    let mut admin = connect(&broker, "admin", "hunter2");
    let describe = |principal: Option<&'static str>| DescribeAclsRequest {
        resource_type_filter: 1,
        resource_name_filter: Some("zq-topic"),
        pattern_type_filter: 2,
        principal_filter: principal,
        host_filter: None,
        operation: 1,
        permission_type: 1,
    };
    let body = admin.call(2, &describe(None));
    let (_, response) = wire::decode_response::<DescribeAclsRequest<'_>>(&body, 2).unwrap();
    assert_eq!(response.resources.len(), 1);
    let shown: Vec<_> = response.resources[0]
        .acls
        .iter()
        .map(|it| (it.principal, it.operation))
        .collect();
    assert_eq!(shown, [("User:alice", 3), ("User:alice", 4)]);
    let body = admin.call(2, &describe(Some("User:bob")));
    let (_, response) = wire::decode_response::<DescribeAclsRequest<'_>>(&body, 2).unwrap();
    assert!(response.resources.is_empty());
    let topic = Topic {
        name: "zq-topic".to_owned(),
        id: Uuid::ZERO,
    };
    let mut alice = connect(&broker, "alice", "alice");
    assert_eq!(alice.produce(&topic, 0, &batch(&[b"x"])).error, none);
}

#[test]
fn settings_say_who_is_above_the_rules_and_whether_there_are_any() {
    let topic = Topic {
        name: "zq-topic".to_owned(),
        id: Uuid::ZERO,
    };
    let produce = |world: &World| world.alice().produce(&topic, 0, &batch(&[b"x"])).error;
    let denied = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    assert_eq!(
        produce(&World::new(&[("security.super_users", "User:bob")])),
        denied
    );
    let is_super = World::new(&[("security.super_users", "User:bob,User:alice")]);
    assert_eq!(produce(&is_super), ErrorCode::NONE);
    let mut open = World::new(&[("security.allow_everyone_if_no_acl", "true")]);
    assert_eq!(produce(&open), ErrorCode::NONE);
    open.add(&[Rule {
        principal: "User:bob",
        ..Rule::topic("zq-topic", Operation::Read)
    }]);
    assert_eq!(produce(&open), denied, "there is a rule about it");
    let mut off = World::new(&[("security.authorizer", "off")]);
    assert_eq!(produce(&off), ErrorCode::NONE);
    let codes = create_rules(&mut off.admin, &[Rule::topic("t", Operation::Read)]);
    assert_eq!(codes, [ErrorCode::SECURITY_DISABLED]);
    // Without authentication everybody is the same.
    let broker = LocalBroker::start(&[
        ("security.authorizer", "on"),
        ("security.super_users", "User:ANONYMOUS"),
    ]);
    broker.connect().create("t", 1);
    let broker = LocalBroker::start(&[
        ("security.authorizer", "on"),
        ("security.super_users", "User:root"),
    ]);
    let code = broker.connect().produce(&topic, 0, &batch(&[b"x"])).error;
    assert_eq!(code, denied);
}
