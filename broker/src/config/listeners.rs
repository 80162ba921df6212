//! The listeners that the settings ask for: for Kafka clients the one of `[broker]`, or the named ones of `[listeners]`;
//! and TLS of the admin listener.
//!
//! Kafka's `listeners`, `advertised.listeners`, `listener.security.protocol.map`, `inter.broker.listener.name` and
//! `listener.name.<name>.*`. Names are the same on all brokers of a cluster, and in capitals whatever the settings say
//! (`ListenerName.normalised`). Invariant: in settings that were not refused there is at least one listener, and one that
//! has TLS has a certificate.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use security::Mechanism;

use super::kind::{ClientAuth, Kind, Text, TlsVersion};
use super::setting::Allowed;
use super::{Advertised, Config};

/// The name of the one listener of a broker whose settings name none.
pub const UNNAMED: &str = "DEFAULT";
/// Listeners of one broker.
const LISTENERS_MAX: usize = 16;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 64;
/// Characters of a host name.
const HOST_CHARS_MAX: usize = 255;

/// Which of a broker's listeners, in the order of its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerId(u8);

impl ListenerId {
    /// The first.
    pub const FIRST: Self = Self(0);

    /// All of so many listeners.
    pub fn all(count: usize) -> impl Iterator<Item = Self> {
        (0..=u8::MAX).take(count).map(Self)
    }

    /// Its place among them.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What protects a listener (Kafka's `SecurityProtocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Nothing.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl Protocol {
    const ALL: [Self; 4] = [
        Self::Plaintext,
        Self::Ssl,
        Self::SaslPlaintext,
        Self::SaslSsl,
    ];

    fn new(has_tls: bool, has_sasl: bool) -> Self {
        match (has_tls, has_sasl) {
            (false, false) => Self::Plaintext,
            (true, false) => Self::Ssl,
            (false, true) => Self::SaslPlaintext,
            (true, true) => Self::SaslSsl,
        }
    }

    /// The one of that name, in any case.
    fn of_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|it| it.kafka_name().eq_ignore_ascii_case(name))
    }

    /// Its name in Kafka.
    pub fn kafka_name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    /// Whether there is TLS.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether clients must authenticate by SASL.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl Kind for Protocol {
    type Out = Self;
    const UNIT: &'static str = "protocol";
    fn parse(text: &str, _: Allowed) -> Result<Self, String> {
        let none = || "not one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL".to_owned();
        Self::of_name(text).ok_or_else(none)
    }
}

/// Something of listeners: `NAME:value`, several separated by commas.
pub struct PerListener<K>(PhantomData<K>);

impl<K: Kind> Kind for PerListener<K> {
    type Out = Vec<(String, K::Out)>;
    const UNIT: &'static str = "list of NAME:value";
    fn parse(text: &str, allowed: Allowed) -> Result<Self::Out, String> {
        let parts = text.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(|part| named::<K>(part, allowed)).collect()
    }
}

fn named<K: Kind>(part: &str, allowed: Allowed) -> Result<(String, K::Out), String> {
    let is_legal = |name: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(legal)
    };
    let (name, value) = part
        .split_once(':')
        .filter(|(name, _)| is_legal(name))
        .ok_or("does not begin with the name of a listener and a colon")?;
    let value = K::parse(value.trim(), allowed).map_err(|why| format!("of {name}: {why}"))?;
    Ok((name.to_ascii_uppercase(), value))
}

/// Rules of listeners that make names of certificates' subjects: `NAME:rules`, several separated by commas, as the rules
/// of each are. A comma with a listener's name and a colon after it begins those of the next.
pub struct RulesPerListener;

/// Begins a rule, and is the name of no listener here.
const RULE: &str = "RULE";

impl Kind for RulesPerListener {
    type Out = Vec<(String, String)>;
    const UNIT: &'static str = "list of NAME:rules";
    fn parse(text: &str, allowed: Allowed) -> Result<Self::Out, String> {
        let mut all: Vec<(String, String)> = Vec::new();
        for part in text.split(',') {
            let begun = named::<Text>(part.trim(), allowed).ok();
            match (begun.filter(|(name, _)| name != RULE), all.last_mut()) {
                (Some(next), _) => all.push(next),
                (None, Some((_, rules))) => *rules = format!("{rules},{part}"),
                (None, None) if part.trim().is_empty() => {}
                (None, None) => {
                    return Err("does not begin with the name of a listener and a colon".to_owned());
                }
            }
        }
        Ok(all)
    }
}

/// What stands behind two slashes, as in Kafka's `NAME://host:port`.
pub struct Slashed<K>(PhantomData<K>);

impl<K: Kind> Kind for Slashed<K> {
    type Out = K::Out;
    const UNIT: &'static str = K::UNIT;
    fn parse(text: &str, allowed: Allowed) -> Result<K::Out, String> {
        let rest = text.strip_prefix("//").ok_or("not `NAME://host:port`")?;
        K::parse(rest, allowed)
    }
}

/// Where clients connect: a host that is some machine, and a port.
pub struct HostPort;

impl Kind for HostPort {
    type Out = (String, u16);
    const UNIT: &'static str = "host:port";
    fn parse(text: &str, _: Allowed) -> Result<(String, u16), String> {
        let (host, port) = text.rsplit_once(':').ok_or("not `host:port`")?;
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        let port = port.ok_or("the port is not 1 to 65535")?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let ip = host.parse::<IpAddr>();
        if bare.is_none() && host.contains(':') {
            return Err("an IPv6 address stands in brackets".to_owned());
        }
        if host.is_empty() || ip.is_ok_and(|ip| ip.is_unspecified()) {
            return Err("clients cannot connect to every address: name one".to_owned());
        }
        let is_legal = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
        if host.len() > HOST_CHARS_MAX || !host.chars().all(is_legal) {
            return Err("the host is no host name and no address".to_owned());
        }
        Ok((host.to_owned(), port))
    }
}

/// The files and rules of TLS of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate, and those between it and its authority.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// The authorities that certificates of clients are checked against.
    pub client_ca_file: Option<PathBuf>,
    /// Certificates of clients that are revoked.
    pub crl_file: Option<PathBuf>,
    /// Whether clients must show a certificate, where there is a `client_ca_file`.
    pub client_auth: ClientAuth,
    /// The oldest version.
    pub min_version: TlsVersion,
    /// How a subject becomes a name.
    pub principal_mapping_rules: String,
}

/// One Kafka listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaListener {
    /// Its name, the same on all brokers.
    pub name: String,
    /// What protects it.
    pub protocol: Protocol,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Port of its first shard, with direct routing.
    pub direct_port: Option<u16>,
    /// The mechanisms of SASL that it offers; none where its protocol has none.
    pub mechanisms: Vec<Mechanism>,
    /// TLS, where its protocol has it.
    pub tls: Option<ServerTls>,
    /// Host that clients are told, if one is set.
    host: Option<String>,
    /// Port that clients are told, if one is set.
    port: Option<u16>,
}

impl KafkaListener {
    /// Whether each of its clients has to say who it is.
    pub fn authenticates(&self) -> bool {
        let has_to_show = |tls: &ServerTls| {
            tls.client_ca_file.is_some() && tls.client_auth == ClientAuth::Required
        };
        self.protocol.has_sasl() || self.tls.as_ref().is_some_and(has_to_show)
    }
}

/// What is said of a listener.
fn of<'a, T>(all: &'a [(String, T)], name: &str) -> Option<&'a T> {
    all.iter().find(|(of, _)| of == name).map(|(_, it)| it)
}

impl Config {
    /// The listeners of this broker, in the order of the settings; at least one.
    pub fn kafka_listeners(&self) -> Vec<KafkaListener> {
        if self.listeners.bind.is_empty() {
            return vec![self.unnamed_listener()];
        }
        let bind = self.listeners.bind.iter();
        bind.map(|(name, addr)| self.named_listener(name, *addr))
            .collect()
    }

    /// The listener by which brokers ask each other.
    pub fn inter_broker_listener(&self) -> KafkaListener {
        let mut all = self.kafka_listeners();
        let wanted = self.listeners.inter_broker.as_deref();
        let named =
            |it: &KafkaListener| wanted.is_some_and(|name| it.name.eq_ignore_ascii_case(name));
        let place = all.iter().position(named).unwrap_or(0);
        all.swap_remove(place)
    }

    /// The listener by which brokers ask each other, where there are others besides.
    pub fn protected_listener(&self) -> Option<ListenerId> {
        let names: Vec<_> = self.listeners.bind.iter().map(|(name, _)| name).collect();
        let own = self.inter_broker_listener().name;
        let mut ids = ListenerId::all(names.len()).zip(&names);
        let found = ids.find(|(_, name)| **name == &own).map(|(id, _)| id);
        found.filter(|_| names.len() > 1)
    }

    fn unnamed_listener(&self) -> KafkaListener {
        let (broker, mechanisms) = (&self.broker, self.sasl_mechanisms());
        let has_sasl = !self.security.sasl_mechanisms.is_empty();
        KafkaListener {
            name: UNNAMED.to_owned(),
            protocol: Protocol::new(self.tls.cert_file.is_some(), has_sasl),
            addr: broker.addr,
            direct_port: broker.direct_port,
            mechanisms,
            tls: self.server_tls(None),
            host: broker.host.clone(),
            port: broker.port,
        }
    }

    fn named_listener(&self, name: &str, addr: SocketAddr) -> KafkaListener {
        let all = &self.listeners;
        let said = of(&all.protocols, name).copied();
        // One without a protocol is refused with the settings.
        let protocol = said.or_else(|| Protocol::of_name(name));
        let protocol = protocol.unwrap_or(Protocol::Plaintext);
        let own = all.sasl_mechanisms.iter().filter(|(of, _)| of == name);
        let own = own.filter_map(|(_, it)| Mechanism::of_name(it));
        let mechanisms = match (protocol.has_sasl(), of(&all.sasl_mechanisms, name)) {
            (false, _) => Vec::new(),
            (true, None) => self.sasl_mechanisms(),
            (true, Some(_)) => own.collect(),
        };
        let advertised = of(&all.advertised, name);
        KafkaListener {
            name: name.to_owned(),
            protocol,
            addr,
            direct_port: of(&all.direct_ports, name).copied(),
            mechanisms,
            tls: self.server_tls(Some(name)).filter(|_| protocol.has_tls()),
            host: advertised.map(|(host, _)| host.clone()),
            port: advertised.map(|(_, port)| *port),
        }
    }

    /// The files of `[tls]`, but for those that are said of a listener; none without a certificate.
    fn server_tls(&self, listener: Option<&str>) -> Option<ServerTls> {
        let (tls, all) = (&self.tls, &self.listeners);
        let own = |files: &[(String, PathBuf)]| of(files, listener?).cloned();
        let (cert_file, key_file) = match own(&all.cert_files) {
            Some(cert_file) => (cert_file, own(&all.key_files)?),
            None => (tls.cert_file.clone()?, tls.key_file.clone()?),
        };
        let client_auth = listener.and_then(|name| of(&all.client_auth, name));
        let min_version = listener.and_then(|name| of(&all.min_versions, name));
        let rules = listener.and_then(|name| of(&all.mapping_rules, name));
        Some(ServerTls {
            cert_file,
            key_file,
            client_ca_file: own(&all.client_ca_files).or_else(|| tls.client_ca_file.clone()),
            crl_file: own(&all.crl_files).or_else(|| tls.crl_file.clone()),
            client_auth: client_auth.copied().unwrap_or(tls.client_auth),
            min_version: min_version.copied().unwrap_or(tls.min_version),
            principal_mapping_rules: rules.unwrap_or(&tls.principal_mapping_rules).clone(),
        })
    }

    /// TLS of the admin listener, where it has any. A file of its clients' authorities asks for their certificates.
    pub fn admin_tls(&self) -> Option<ServerTls> {
        let (admin, tls) = (&self.admin, &self.tls);
        if !admin.tls.unwrap_or(admin.tls_cert_file.is_some()) {
            return None;
        }
        let (cert_file, key_file) = match &admin.tls_cert_file {
            Some(cert_file) => (cert_file, admin.tls_key_file.as_ref()?),
            None => (tls.cert_file.as_ref()?, tls.key_file.as_ref()?),
        };
        Some(ServerTls {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
            client_ca_file: admin.tls_client_ca_file.clone(),
            crl_file: tls.crl_file.clone(),
            client_auth: ClientAuth::Required,
            min_version: tls.min_version,
            principal_mapping_rules: "DEFAULT".to_owned(),
        })
    }

    fn find_admin_conflicts(&self, require: &mut impl FnMut(bool, &str)) {
        let admin = &self.admin;
        require(
            admin.tls_cert_file.is_some() == admin.tls_key_file.is_some(),
            "admin.tls_cert_file and admin.tls_key_file go together: set both or neither",
        );
        let has_tls = self.admin_tls().is_some();
        require(
            has_tls || admin.tls != Some(true) || admin.tls_cert_file.is_some(),
            "admin.tls needs a certificate: set admin.tls_cert_file and admin.tls_key_file, or those of [tls]",
        );
        require(
            has_tls || admin.tls_client_ca_file.is_none() || admin.tls_cert_file.is_some(),
            "admin.tls_client_ca_file needs admin.tls = true, or admin.tls_cert_file",
        );
        require(
            admin.tls != Some(false) || admin.tls_cert_file.is_none(),
            "admin.tls = false contradicts admin.tls_cert_file: leave one of them out",
        );
    }

    /// Where clients of a listener are told to connect, given the addresses that it and its shards were bound to (their
    /// ports differ from the settings when those are 0).
    pub fn advertised(
        &self,
        listener: &KafkaListener,
        bound: SocketAddr,
        shards: &[SocketAddr],
    ) -> Advertised {
        let host = match &listener.host {
            Some(host) => host.clone(),
            None if bound.ip().is_unspecified() => self
                .pod_host()
                .unwrap_or_else(|| self.facts.host_name.clone()),
            None => bound.ip().to_string(),
        };
        Advertised {
            listener: listener.name.clone(),
            host,
            port: listener.port.unwrap_or(bound.port()),
            shard_ports: shards.iter().map(SocketAddr::port).collect(),
        }
    }

    /// What contradicts itself or cannot be, of what is said about listeners.
    pub(super) fn find_listener_conflicts(&self, require: &mut impl FnMut(bool, &str)) {
        let all = self.kafka_listeners();
        let admin = self.admin.addr;
        let mut taken = BTreeSet::from([admin]);
        for it in &all {
            let is_free = it.addr.port() == 0 || taken.insert(it.addr);
            match self.listeners.bind.is_empty() {
                true => require(is_free, "broker.addr and admin.metrics_addr must differ"),
                false => require(
                    is_free,
                    "listeners.bind: addresses must differ, from each other and from admin.metrics_addr",
                ),
            }
        }
        self.find_name_conflicts(require);
        self.find_admin_conflicts(require);
        self.find_console_conflicts(require);
        if !self.listeners.bind.is_empty() {
            all.iter().for_each(|it| self.check_named(it, require));
        }
    }

    /// Names that are said twice, or of listeners that are not there.
    fn find_name_conflicts(&self, require: &mut impl FnMut(bool, &str)) {
        fn names<T>(all: &[(String, T)]) -> Vec<&str> {
            all.iter().map(|(name, _)| name.as_str()).collect()
        }
        let all = &self.listeners;
        let bound = names(&all.bind);
        require(
            bound.len() <= LISTENERS_MAX,
            "listeners.bind names more than 16 listeners",
        );
        let inter_broker = all
            .inter_broker
            .iter()
            .map(|name| name.to_ascii_uppercase());
        for name in inter_broker {
            let text = format!("listeners.inter_broker: {name} is not in listeners.bind");
            require(bound.contains(&name.as_str()), &text);
        }
        for (key, names, may_repeat) in [
            ("bind", bound.clone(), false),
            ("advertised", names(&all.advertised), false),
            ("protocols", names(&all.protocols), false),
            ("direct_ports", names(&all.direct_ports), false),
            ("sasl_mechanisms", names(&all.sasl_mechanisms), true),
            ("cert_files", names(&all.cert_files), false),
            ("key_files", names(&all.key_files), false),
            ("client_ca_files", names(&all.client_ca_files), false),
            ("client_auth", names(&all.client_auth), false),
            ("crl_files", names(&all.crl_files), false),
            ("tls_min_versions", names(&all.min_versions), false),
            ("principal_mapping_rules", names(&all.mapping_rules), false),
        ] {
            let mut seen = BTreeSet::new();
            for name in names {
                let is_new = seen.insert(name) || may_repeat;
                require(is_new, &format!("listeners.{key} names {name} twice"));
                // Kafka's own map names protocols that no listener has.
                let is_known = bound.contains(&name) || key == "protocols";
                let text = format!("listeners.{key}: {name} is not in listeners.bind");
                require(is_known, &text);
            }
        }
    }

    fn check_named(&self, it: &KafkaListener, require: &mut impl FnMut(bool, &str)) {
        let (all, name) = (&self.listeners, it.name.as_str());
        let has_protocol = of(&all.protocols, name).is_some() || Protocol::of_name(name).is_some();
        let text = format!(
            "listeners.bind: {name} needs a protocol: add {name}:SASL_SSL, or another one, to listeners.protocols"
        );
        require(has_protocol, &text);
        let (has_cert, has_key) = (of(&all.cert_files, name), of(&all.key_files, name));
        let text = format!(
            "listeners.cert_files and listeners.key_files go together: name {name} in both or in neither"
        );
        require(has_cert.is_some() == has_key.is_some(), &text);
        let text = format!(
            "listener {name} has TLS and no certificate: set tls.cert_file and tls.key_file, or add {name} to \
             listeners.cert_files and listeners.key_files"
        );
        require(it.tls.is_some() || !it.protocol.has_tls(), &text);
        let says_tls = has_cert.is_some()
            || of(&all.client_ca_files, name).is_some()
            || of(&all.client_auth, name).is_some()
            || of(&all.crl_files, name).is_some()
            || of(&all.min_versions, name).is_some()
            || of(&all.mapping_rules, name).is_some();
        let text = format!(
            "listener {name} has no TLS, which listeners.cert_files, client_ca_files, client_auth, crl_files, \
             tls_min_versions or principal_mapping_rules ask for: change its protocol in listeners.protocols"
        );
        require(it.protocol.has_tls() || !says_tls, &text);
        let text = format!(
            "listener {name} has no SASL, which listeners.sasl_mechanisms asks for: change its protocol in \
             listeners.protocols"
        );
        let says_sasl = of(&all.sasl_mechanisms, name).is_some();
        require(it.protocol.has_sasl() || !says_sasl, &text);
        let text = format!(
            "listener {name} has SASL and no mechanism: set security.sasl_mechanisms, or add {name}:SCRAM-SHA-512 to \
             listeners.sasl_mechanisms"
        );
        require(!it.mechanisms.is_empty() || !it.protocol.has_sasl(), &text);
        let no_authority = it.tls.as_ref().is_some_and(|tls| {
            tls.client_ca_file.is_none() && of(&all.client_auth, name).is_some()
        });
        let text = format!(
            "listeners.client_auth of {name} needs tls.client_ca_file, or {name} in listeners.client_ca_files"
        );
        require(!no_authority, &text);
        let no_authority = it
            .tls
            .as_ref()
            .is_some_and(|tls| tls.client_ca_file.is_none() && of(&all.crl_files, name).is_some());
        let text = format!(
            "listeners.crl_files of {name} needs tls.client_ca_file, or {name} in listeners.client_ca_files"
        );
        require(!no_authority, &text);
    }
}

#[cfg(test)]
mod tests;
