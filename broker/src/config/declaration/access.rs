//! The declaration of what is about clients: where they connect, who they are, and what they may use.

use super::{HOUR, KIB, SECOND, TIB, YEAR};
use crate::config::error::Problem;
use crate::config::kind::{
    Addr, AuthorizerMode, Bytes, ClientAuth, Count, File, Hidden, Json, Kind, List, Maybe, Millis,
    Port, Principals, Seconds, Switch, Text, TlsVersion,
};
use crate::config::layered::Layered;
use crate::config::listeners::{HostPort, PerListener, Protocol, RulesPerListener, Slashed};
use crate::config::setting::{Allowed, Section, Setting, sections};

sections! {
    /// Several Kafka listeners with names, in place of the one of `[broker]`; names are the same on all brokers.
    listeners: ListenerSettings {
        bind: PerListener<Slashed<Addr>> {
            Some("listeners"), ["KAFSCALE_LISTENERS"], "listeners.bind",
            default "" or "one listener, of `broker.addr`", in Allowed::Any,
            "Listeners as `NAME://ip:port` (Kafka's `listeners`); the first is the one of older brokers."
        }
        advertised: PerListener<Slashed<HostPort>> {
            Some("advertised-listeners"), ["KAFSCALE_ADVERTISED_LISTENERS"], "listeners.advertised",
            default "" or "where each listens, as for `broker.host`", in Allowed::Any,
            "Where clients of a listener are told to connect, as `NAME://host:port`."
        }
        protocols: PerListener<Protocol> {
            Some("listener-protocols"), ["KAFSCALE_LISTENER_PROTOCOLS"], "listeners.protocols",
            default "" or "that of its name", in Allowed::Any,
            "`NAME:PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL` (`listener.security.protocol.map`)."
        }
        inter_broker: Maybe<Text> {
            Some("inter-broker-listener"), ["KAFSCALE_INTER_BROKER_LISTENER"], "listeners.inter_broker",
            default "" or "the first", in Allowed::Name(64),
            "Listener by which brokers ask each other (`inter.broker.listener.name`)."
        }
        direct_ports: PerListener<Port> {
            Some("listener-direct-ports"), ["KAFSCALE_LISTENER_DIRECT_PORTS"], "listeners.direct_ports",
            default "" or "no direct routing", in Allowed::Count(0, 65535),
            "`NAME:port` of shard 0, as `broker.direct_port`."
        }
        sasl_mechanisms: PerListener<Text> {
            Some("listener-sasl-mechanisms"), ["KAFSCALE_LISTENER_SASL_MECHANISMS"], "listeners.sasl_mechanisms",
            default "" or "`security.sasl_mechanisms`", in Allowed::Name(64),
            "`NAME:mechanism` of a listener with SASL; one that offers several is named several times."
        }
        cert_files: PerListener<File> {
            Some("listener-cert-files"), ["KAFSCALE_LISTENER_CERT_FILES"], "listeners.cert_files",
            default "" or "`tls.cert_file`", in Allowed::Any,
            "`NAME:path` of a listener's own certificate."
        }
        key_files: PerListener<File> {
            Some("listener-key-files"), ["KAFSCALE_LISTENER_KEY_FILES"], "listeners.key_files",
            default "" or "`tls.key_file`", in Allowed::Any,
            "`NAME:path` of the key of that certificate."
        }
        client_ca_files: PerListener<File> {
            Some("listener-client-ca-files"), ["KAFSCALE_LISTENER_CLIENT_CA_FILES"], "listeners.client_ca_files",
            default "" or "`tls.client_ca_file`", in Allowed::Any,
            "`NAME:path` of the authorities of a listener's clients."
        }
        client_auth: PerListener<ClientAuth> {
            Some("listener-client-auth"), ["KAFSCALE_LISTENER_CLIENT_AUTH"], "listeners.client_auth",
            default "" or "`tls.client_auth`", in Allowed::Any,
            "`NAME:none`, `requested` or `required`: whether its clients must show a certificate."
        }
        crl_files: PerListener<File> {
            Some("listener-crl-files"), ["KAFSCALE_LISTENER_CRL_FILES"], "listeners.crl_files",
            default "" or "`tls.crl_file`", in Allowed::Any,
            "`NAME:path` of the lists of revoked certificates of a listener's clients."
        }
        min_versions: PerListener<TlsVersion> {
            Some("listener-tls-min-versions"), ["KAFSCALE_LISTENER_TLS_MIN_VERSIONS"], "listeners.tls_min_versions",
            default "" or "`tls.min_version`", in Allowed::Any,
            "`NAME:tlsv1.2` or `NAME:tlsv1.3`: the oldest version of TLS that its clients may use."
        }
        mapping_rules: RulesPerListener {
            Some("listener-principal-mapping-rules"), ["KAFSCALE_LISTENER_PRINCIPAL_MAPPING_RULES"],
            "listeners.principal_mapping_rules",
            default "" or "`tls.principal_mapping_rules`", in Allowed::Text(16_384),
            "`NAME:rules`, those of each listener as in `tls.principal_mapping_rules`."
        }
    }

    /// Who may connect.
    security: SecuritySettings {
        sasl_mechanisms: List {
            Some("sasl-mechanisms"), ["KAFSCALE_SASL_MECHANISMS"], "security.sasl_mechanisms",
            default "" or "clients need not authenticate", in Allowed::Text(255),
            "How clients must authenticate: `SCRAM-SHA-256`, `SCRAM-SHA-512`, `PLAIN`, `OAUTHBEARER`."
        }
        admin_user: Text {
            Some("admin-user"), ["KAFSCALE_ADMIN_USER"], "security.admin_user",
            default "admin", in Allowed::Name(255),
            "Name of the user whose password is in the settings, and who makes the other users."
        }
        admin_password: Maybe<Hidden> {
            None, ["KAFSCALE_ADMIN_PASSWORD"], "security.admin_password",
            default "", in Allowed::Any,
            "Password of that user."
        }
        admin_password_file: Maybe<File> {
            Some("admin-password-file"), ["KAFSCALE_ADMIN_PASSWORD_FILE"], "security.admin_password_file",
            default "", in Allowed::Any,
            "File with the password of that user in one line."
        }
        allow_insecure: Switch {
            Some("allow-insecure"), ["KAFSCALE_ALLOW_INSECURE"], "security.allow_insecure",
            default "false", in Allowed::Any,
            "Serve clients of other machines although there is neither TLS nor authentication."
        }
        acl_enabled: Switch {
            Some("acl-enabled"), ["KAFSCALE_ACL_ENABLED"], "security.acl_enabled",
            default "false", in Allowed::Any,
            "Whether rules in the original KafScale's JSON hold, too; its names are users, not client ids."
        }
        acl_json: Maybe<Json> {
            Some("acl-json"), ["KAFSCALE_ACL_JSON"], "security.acl_json",
            default "", in Allowed::Any,
            "Those rules."
        }
        acl_file: Maybe<File> {
            Some("acl-file"), ["KAFSCALE_ACL_FILE"], "security.acl_file",
            default "", in Allowed::Any,
            "File with those rules."
        }
        proxy_protocol: Switch {
            Some("proxy-protocol"), ["KAFSCALE_PROXY_PROTOCOL"], "security.proxy_protocol",
            default "false", in Allowed::Any,
            "Whether trusted proxies begin connections with a PROXY header (version 1 or 2)."
        }
        proxy_trusted: List {
            Some("proxy-trusted"), ["KAFSCALE_PROXY_TRUSTED"], "security.proxy_trusted",
            default "" or "nobody", in Allowed::Text(1024),
            "Addresses and networks (`10.0.0.0/8`) of proxies whose PROXY headers are believed."
        }
        max_reauth: Maybe<Millis> {
            Some("max-reauth-ms"), ["KAFSCALE_MAX_REAUTH_MS"], "security.max_reauth_ms",
            default "" or "for ever", in Allowed::Millis(1000, YEAR),
            "How long an authentication holds; a client that knows KIP-368 authenticates again before."
        }
        authorizer: AuthorizerMode {
            Some("authorizer"), ["KAFSCALE_AUTHORIZER"], "security.authorizer",
            default "auto", in Allowed::OneOf(AuthorizerMode::WORDS),
            "Whether rules (ACLs) decide what clients may do; `auto`: where they must authenticate."
        }
        super_users: Principals {
            Some("super-users"), ["KAFSCALE_SUPER_USERS"], "security.super_users",
            default "" or "the administrator alone", in Allowed::Text(1024),
            "Who may do everything beside the administrator, as `User:name`; several between semicolons."
        }
        allow_everyone_if_no_acl: Switch {
            Some("allow-everyone-if-no-acl"), ["KAFSCALE_ALLOW_EVERYONE_IF_NO_ACL"],
            "security.allow_everyone_if_no_acl",
            default "false", in Allowed::Any,
            "Whether what no rule is about is allowed to everybody (`allow.everyone.if.no.acl.found`)."
        }
    }

    /// Tokens of clients that authenticate by OAUTHBEARER.
    oauth: OauthSettings {
        jwks_file: Maybe<File> {
            Some("oauth-jwks-file"), ["KAFSCALE_OAUTH_JWKS_FILE"], "oauth.jwks_file",
            default "", in Allowed::Any,
            "File with the keys that tokens are signed with, as a JSON Web Key Set."
        }
        jwks_url: Maybe<Text> {
            Some("oauth-jwks-url"), ["KAFSCALE_OAUTH_JWKS_URL"], "oauth.jwks_url",
            default "", in Allowed::Text(1024),
            "URL of that set, in place of a file; https, or http on this machine."
        }
        jwks_refresh: Millis {
            Some("oauth-jwks-refresh-ms"), ["KAFSCALE_OAUTH_JWKS_REFRESH_MS"], "oauth.jwks_refresh_ms",
            default "3600000", in Allowed::Millis(1000, 7 * 24 * HOUR),
            "How often the URL is asked anew, apart from tokens that name an unknown key."
        }
        ca_file: Maybe<File> {
            Some("oauth-ca-file"), ["KAFSCALE_OAUTH_CA_FILE"], "oauth.ca_file",
            default "" or "the system's authorities", in Allowed::Any,
            "PEM file with the authorities that the certificate of that URL is checked against."
        }
        audience: List {
            Some("oauth-expected-audience"), ["KAFSCALE_OAUTH_EXPECTED_AUDIENCE"], "oauth.expected_audience",
            default "", in Allowed::Text(1024),
            "A token must be for one of these (`aud`); `*` lets in those for others too."
        }
        issuer: Maybe<Text> {
            Some("oauth-expected-issuer"), ["KAFSCALE_OAUTH_EXPECTED_ISSUER"], "oauth.expected_issuer",
            default "" or "whoever has the keys", in Allowed::Text(1024),
            "A token must be of this issuer (`iss`)."
        }
        subject_claim: Text {
            Some("oauth-sub-claim-name"), ["KAFSCALE_OAUTH_SUB_CLAIM_NAME"], "oauth.sub_claim_name",
            default "sub", in Allowed::Text(255),
            "Claim that names the client: `User:` and its value."
        }
        scope_claim: Text {
            Some("oauth-scope-claim-name"), ["KAFSCALE_OAUTH_SCOPE_CLAIM_NAME"], "oauth.scope_claim_name",
            default "scope", in Allowed::Text(255),
            "Claim that names the scopes of a token."
        }
        scopes: List {
            Some("oauth-required-scopes"), ["KAFSCALE_OAUTH_REQUIRED_SCOPES"], "oauth.required_scopes",
            default "", in Allowed::Text(255),
            "Scopes all of which a token must have."
        }
        skew: Millis {
            Some("oauth-clock-skew-ms"), ["KAFSCALE_OAUTH_CLOCK_SKEW_MS"], "oauth.clock_skew_ms",
            default "30000", in Allowed::Millis(0, 600_000),
            "How far the clocks of issuer and broker may be apart."
        }
    }

    /// TLS of the Kafka listener.
    tls: TlsSettings {
        cert_file: Maybe<File> {
            Some("tls-cert-file"), ["KAFSCALE_TLS_CERT_FILE"], "tls.cert_file",
            default "" or "no TLS", in Allowed::Any,
            "PEM file with the certificate of the Kafka listener, and those between it and its authority."
        }
        key_file: Maybe<File> {
            Some("tls-key-file"), ["KAFSCALE_TLS_KEY_FILE"], "tls.key_file",
            default "", in Allowed::Any,
            "PEM file with the private key of that certificate."
        }
        client_ca_file: Maybe<File> {
            Some("tls-client-ca-file"), ["KAFSCALE_TLS_CLIENT_CA_FILE"], "tls.client_ca_file",
            default "", in Allowed::Any,
            "PEM file with the authorities that certificates of clients are checked against."
        }
        client_auth: ClientAuth {
            Some("tls-client-auth"), ["KAFSCALE_TLS_CLIENT_AUTH"], "tls.client_auth",
            default "required", in Allowed::OneOf(ClientAuth::WORDS),
            "Whether clients must show a certificate, where `tls.client_ca_file` is set."
        }
        ca_file: Maybe<File> {
            Some("tls-ca-file"), ["KAFSCALE_TLS_CA_FILE"], "tls.ca_file",
            default "" or "`tls.client_ca_file`, else the authorities of the system", in Allowed::Any,
            "PEM file with the authorities that certificates of other brokers are checked against."
        }
        crl_file: Maybe<File> {
            Some("tls-crl-file"), ["KAFSCALE_TLS_CRL_FILE"], "tls.crl_file",
            default "", in Allowed::Any,
            "PEM file with lists of revoked certificates of clients."
        }
        min_version: TlsVersion {
            Some("tls-min-version"), ["KAFSCALE_TLS_MIN_VERSION"], "tls.min_version",
            default "tlsv1.2", in Allowed::OneOf(TlsVersion::WORDS),
            "Oldest version of TLS that clients may use."
        }
        principal_mapping_rules: Text {
            Some("tls-principal-mapping-rules"), ["KAFSCALE_TLS_PRINCIPAL_MAPPING_RULES"],
            "tls.principal_mapping_rules",
            default "DEFAULT", in Allowed::Text(16_384),
            "How the subject of a client's certificate becomes its name: Kafka's `ssl.principal.mapping.rules`."
        }
    }

    /// What the whole cluster, one namespace of its bucket, may hold and use; the same on all brokers.
    namespace: NamespaceSettings {
        topics_max: Maybe<Count> {
            Some("namespace-topics-max"), ["KAFSCALE_NAMESPACE_TOPICS_MAX"], "namespace.topics_max",
            default "" or "no bound", in Allowed::Count(1, 10_000_000),
            "Topics of the cluster; to create more is POLICY_VIOLATION."
        }
        partitions_max: Maybe<Count> {
            Some("namespace-partitions-max"), ["KAFSCALE_NAMESPACE_PARTITIONS_MAX"], "namespace.partitions_max",
            default "" or "no bound", in Allowed::Count(1, 100_000_000),
            "Partitions of all topics of the cluster; to create more is POLICY_VIOLATION."
        }
        groups_max: Maybe<Count> {
            Some("namespace-groups-max"), ["KAFSCALE_NAMESPACE_GROUPS_MAX"], "namespace.groups_max",
            default "" or "no bound", in Allowed::Count(1, 10_000_000),
            "Consumer groups of the cluster; to join or commit as one more is POLICY_VIOLATION."
        }
        connections_max: Maybe<Count> {
            Some("namespace-connections-max"), ["KAFSCALE_NAMESPACE_CONNECTIONS_MAX"], "namespace.connections_max",
            default "" or "no bound", in Allowed::Count(1, 100_000_000),
            "Client connections of all brokers together; more are closed as they arrive."
        }
        produce_bytes_per_second: Maybe<Bytes> {
            Some("namespace-produce-bytes-per-second"),
            ["KAFSCALE_NAMESPACE_PRODUCE_BYTES_PER_SECOND"], "namespace.produce_bytes_per_second",
            default "" or "no bound", in Allowed::Bytes(KIB, TIB),
            "Bytes of Produce requests of all clients together; more is slowed down as by a quota."
        }
        fetch_bytes_per_second: Maybe<Bytes> {
            Some("namespace-fetch-bytes-per-second"),
            ["KAFSCALE_NAMESPACE_FETCH_BYTES_PER_SECOND"], "namespace.fetch_bytes_per_second",
            default "" or "no bound", in Allowed::Bytes(KIB, TIB),
            "Bytes of Fetch replies of all clients together; more is slowed down as by a quota."
        }
    }

    /// Client quotas.
    quota: QuotaSettings {
        window_num: Count {
            Some("quota-window-num"), ["KAFSCALE_QUOTA_WINDOW_NUM"], "quota.window_num",
            default "11", in Allowed::Count(2, 3600),
            "Samples over which the rate of a client is judged; an idle one may use all but one at once."
        }
        window: Seconds {
            Some("quota-window-size-sec"), ["KAFSCALE_QUOTA_WINDOW_SIZE_SEC"], "quota.window_size_sec",
            default "1", in Allowed::Millis(SECOND, HOUR),
            "Length of a sample, and of the longest throttle by request time and connection rate."
        }
    }
}
