//! Settings of topics, groups and brokers, and quotas.

use wire::messages::alter_client_quotas as alter_quotas;
use wire::messages::alter_configs::{AlterConfigsResource, AlterableConfig};
use wire::messages::describe_configs::DescribeConfigsResource;
use wire::messages::incremental_alter_configs as incremental;

use super::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

pub(super) fn cases() -> Vec<Case> {
    let (see, change) = (O::DescribeConfigs, O::AlterConfigs);
    vec![
        case(
            ApiKey::DescribeConfigs,
            "of a topic",
            &[(T, see)],
            E::NONE,
            |c, n| describe_configs(c, TOPIC, &n.topic.name),
        ),
        case(
            ApiKey::DescribeConfigs,
            "of a group",
            &[(Group, see)],
            E::NONE,
            |c, n| describe_configs(c, GROUP, n.group),
        ),
        case(
            ApiKey::DescribeConfigs,
            "of a broker",
            &[(Cluster, see)],
            E::NONE,
            |c, _| describe_configs(c, BROKER, "0"),
        ),
        case(
            ApiKey::AlterConfigs,
            "of a topic",
            &[(T, change)],
            E::NONE,
            |c, n| alter_configs(c, TOPIC, &n.topic.name),
        ),
        case(
            ApiKey::AlterConfigs,
            "of a group",
            &[(Group, change)],
            E::INVALID_REQUEST,
            |c, n| alter_configs(c, GROUP, n.group),
        ),
        case(
            ApiKey::AlterConfigs,
            "of a broker",
            &[(Cluster, change)],
            E::INVALID_REQUEST,
            |c, _| alter_configs(c, BROKER, "0"),
        ),
        case(
            ApiKey::IncrementalAlterConfigs,
            "of a topic",
            &[(T, change)],
            E::NONE,
            |c, n| incremental(c, TOPIC, &n.topic.name),
        ),
        case(
            ApiKey::IncrementalAlterConfigs,
            "of a broker",
            &[(Cluster, change)],
            E::INVALID_REQUEST,
            |c, _| incremental(c, BROKER, "0"),
        ),
        case(
            ApiKey::ListConfigResources,
            "",
            &[(Cluster, see)],
            E::NONE,
            |c, _| {
                let request = ListConfigResourcesRequest::default();
                ask!(c, 1, ListConfigResourcesRequest, request, |r| vec![
                    r.error_code
                ])
            },
        ),
        case(
            ApiKey::DescribeClientQuotas,
            "",
            &[(Cluster, see)],
            E::NONE,
            |c, _| {
                let request = DescribeClientQuotasRequest::default();
                ask!(c, 1, DescribeClientQuotasRequest<'_>, request, |r| vec![
                    r.error_code
                ])
            },
        ),
        case(
            ApiKey::AlterClientQuotas,
            "",
            &[(Cluster, change)],
            E::NONE,
            |c, _| {
                let entity = alter_quotas::EntityData {
                    entity_type: "user",
                    entity_name: Some("u"),
                };
                let op = alter_quotas::OpData {
                    key: "producer_byte_rate",
                    value: Float64::new(1e6),
                    remove: false,
                };
                let entry = alter_quotas::RequestEntryData {
                    entity: vec![entity],
                    ops: vec![op],
                };
                let request = AlterClientQuotasRequest {
                    entries: vec![entry],
                    validate_only: true,
                };
                ask!(c, 1, AlterClientQuotasRequest<'_>, request, |r| vec![
                    r.entries[0].error_code
                ])
            },
        ),
    ]
}

fn describe_configs(c: &mut Connection, resource_type: i8, resource_name: &str) -> Answer {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name,
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        ..DescribeConfigsRequest::default()
    };
    ask!(c, 4, DescribeConfigsRequest<'_>, request, |r| vec![
        r.results[0].error_code
    ])
}

fn alter_configs(c: &mut Connection, resource_type: i8, resource_name: &str) -> Answer {
    let config = AlterableConfig {
        name: "retention.ms",
        value: Some("1000000"),
    };
    let resource = AlterConfigsResource {
        resource_type,
        resource_name,
        configs: vec![config],
    };
    let request = AlterConfigsRequest {
        resources: vec![resource],
        validate_only: true,
    };
    ask!(c, 2, AlterConfigsRequest<'_>, request, |r| vec![
        r.responses[0].error_code
    ])
}

fn incremental(c: &mut Connection, resource_type: i8, resource_name: &str) -> Answer {
    let config = incremental::AlterableConfig {
        name: "retention.ms",
        config_operation: 0,
        value: Some("1000000"),
    };
    let resource = incremental::AlterConfigsResource {
        resource_type,
        resource_name,
        configs: vec![config],
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![resource],
        validate_only: true,
    };
    ask!(c, 1, IncrementalAlterConfigsRequest<'_>, request, |r| vec![
        r.responses[0].error_code
    ])
}
