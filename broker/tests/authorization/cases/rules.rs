//! Rules, users and delegation tokens.

use wire::messages::alter_user_scram_credentials::ScramCredentialDeletion;
use wire::messages::create_acls::AclCreation;
use wire::messages::delete_acls::DeleteAclsFilter;

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let (see, change) = ([(Cluster, O::Describe)], [(Cluster, O::Alter)]);
    let tokens = E::DELEGATION_TOKEN_AUTH_DISABLED;
    vec![
        case(ApiKey::DescribeAcls, "", &see, E::NONE, |c, _| {
            let request = DescribeAclsRequest {
                resource_type_filter: 1,
                resource_name_filter: None,
                pattern_type_filter: 1,
                principal_filter: Some("User:nobody"),
                host_filter: None,
                operation: 1,
                permission_type: 1,
            };
            ask!(c, 2, DescribeAclsRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
        case(ApiKey::CreateAcls, "", &change, E::NONE, |c, _| {
            let creation = AclCreation {
                resource_type: 2,
                resource_name: "t",
                resource_pattern_type: 3,
                principal: "User:nobody",
                host: "*",
                operation: 3,
                permission_type: 3,
            };
            let request = CreateAclsRequest {
                creations: vec![creation],
            };
            ask!(c, 2, CreateAclsRequest<'_>, request, |r| vec![
                r.results[0].error_code
            ])
        }),
        case(ApiKey::DeleteAcls, "", &change, E::NONE, |c, _| {
            let filter = DeleteAclsFilter {
                resource_type_filter: 1,
                resource_name_filter: None,
                pattern_type_filter: 1,
                principal_filter: Some("User:nobody"),
                host_filter: None,
                operation: 1,
                permission_type: 1,
            };
            let request = DeleteAclsRequest {
                filters: vec![filter],
            };
            ask!(c, 2, DeleteAclsRequest<'_>, request, |r| vec![
                r.filter_results[0].error_code
            ])
        }),
        case(
            ApiKey::DescribeUserScramCredentials,
            "",
            &see,
            E::NONE,
            |c, _| {
                let request = DescribeUserScramCredentialsRequest { users: None };
                ask!(
                    c,
                    0,
                    DescribeUserScramCredentialsRequest<'_>,
                    request,
                    |r| vec![r.error_code]
                )
            },
        ),
        case(
            ApiKey::AlterUserScramCredentials,
            "",
            &change,
            E::RESOURCE_NOT_FOUND,
            |c, _| {
                let deletion = ScramCredentialDeletion {
                    name: "nobody",
                    mechanism: 1,
                };
                let request = AlterUserScramCredentialsRequest {
                    deletions: vec![deletion],
                    upsertions: Vec::new(),
                };
                ask!(
                    c,
                    0,
                    AlterUserScramCredentialsRequest<'_>,
                    request,
                    |r| vec![r.results[0].error_code]
                )
            },
        ),
        case(ApiKey::CreateDelegationToken, "", &[], tokens, |c, _| {
            let request = CreateDelegationTokenRequest::default();
            ask!(c, 2, CreateDelegationTokenRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
        case(
            ApiKey::CreateDelegationToken,
            "for another",
            &[(On::User, O::CreateTokens)],
            tokens,
            |c, n| {
                let request = CreateDelegationTokenRequest {
                    owner_principal_type: Some("User"),
                    owner_principal_name: Some(n.group),
                    ..CreateDelegationTokenRequest::default()
                };
                ask!(c, 3, CreateDelegationTokenRequest<'_>, request, |r| vec![
                    r.error_code
                ])
            },
        ),
        case(ApiKey::RenewDelegationToken, "", &[], tokens, |c, _| {
            let request = RenewDelegationTokenRequest::default();
            ask!(c, 2, RenewDelegationTokenRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
        case(ApiKey::ExpireDelegationToken, "", &[], tokens, |c, _| {
            let request = ExpireDelegationTokenRequest::default();
            ask!(c, 2, ExpireDelegationTokenRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
        case(ApiKey::DescribeDelegationToken, "", &[], tokens, |c, _| {
            let request = DescribeDelegationTokenRequest::default();
            ask!(c, 2, DescribeDelegationTokenRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
    ]
}
