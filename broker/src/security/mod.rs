//! Who may connect: what the settings demand of a client, and what is known of users.
//!
//! Immutable, shared by all threads; [`Security::set_credentials`] alone changes it, and only the control thread calls
//! that. Invariants: a shard reads a verifier without a lock and without waiting; a password is checked on the control
//! thread's pool, never on a shard; an unknown user gets the answer that a known one would get.
//!
//! | file | holds |
//! |---|---|
//! | [`mod@self`] | what holds for all connections |
//! | [`authorizer`] | who may do what |
//! | [`audit`] | what is told of denials |
//! | [`identity`] | who is at the other end of one connection |
//! | [`tls`] | TLS of a listener, and its files |
//! | `subject` | whom a certificate is for |

pub(crate) mod audit;
pub(crate) mod authorizer;
pub mod document;
pub(crate) mod identity;
mod subject;
pub mod tls;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use client::{ClientTls, SaslCredentials, TlsFiles};
use security::Mechanism;
use security::scram::{ITERATIONS_MIN, ScramHash, Verifier};
use security::secret::Secret;

use authorizer::Authorizer;
use document::DocumentError;

use crate::config::{Config, KafkaListener, ListenerId, SecurityError};
use crate::control::tokens::Tokens;
use tls::{Tls, TlsError};

/// How a broker asks others of its cluster by the inter-broker listener: as the administrator where it has SASL, and with
/// the certificate of that listener where it has TLS.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// As whom, where clients have to say who they are.
    pub sasl: Option<SaslCredentials>,
    /// TLS, where listeners have it.
    pub tls: Option<ClientTls>,
}

impl Own {
    /// What its files hold; those that cannot be read are empty.
    fn contents(config: &Config) -> Vec<Vec<u8>> {
        let Some(tls) = config.inter_broker_listener().tls else {
            return Vec::new();
        };
        let authorities = config.tls.ca_file.clone().or(tls.client_ca_file);
        let files = [Some(tls.cert_file), Some(tls.key_file), authorities];
        let read = |file: PathBuf| std::fs::read(file).unwrap_or_default();
        files.into_iter().flatten().map(read).collect()
    }

    fn new(config: &Config) -> Result<Self, TlsError> {
        let Some(tls) = config.inter_broker_listener().tls else {
            return Ok(Self::default());
        };
        let files = TlsFiles {
            ca: config.tls.ca_file.clone().or(tls.client_ca_file),
            own: Some((tls.cert_file, tls.key_file)),
        };
        let tls = ClientTls::new(&files).map_err(TlsError::Setup)?;
        Ok(Self {
            sasl: None,
            tls: Some(tls),
        })
    }
}

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The administrator's password.
    #[error(transparent)]
    Password(#[from] SecurityError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Rules that the settings name.
    #[error(transparent)]
    Rules(#[from] DocumentError),
}

/// What is stored of the passwords of users.
#[derive(Debug, Default)]
pub struct Credentials {
    verifiers: HashMap<ScramHash, HashMap<String, Arc<Verifier>>>,
}

impl Credentials {
    /// Those of these users; the last of several for one user and hash counts.
    pub fn new(all: impl IntoIterator<Item = (String, Verifier)>) -> Self {
        let mut verifiers: HashMap<ScramHash, HashMap<String, Arc<Verifier>>> = HashMap::new();
        for (user, verifier) in all {
            let of_hash = verifiers.entry(verifier.hash()).or_default();
            of_hash.insert(user, Arc::new(verifier));
        }
        Self { verifiers }
    }

    /// What is stored of a user for a hash.
    pub fn find(&self, user: &str, hash: ScramHash) -> Option<&Arc<Verifier>> {
        self.verifiers.get(&hash)?.get(user)
    }

    /// All users, with what is stored of them.
    pub fn users(&self) -> std::collections::BTreeMap<&str, Vec<&Verifier>> {
        let mut users = std::collections::BTreeMap::<&str, Vec<&Verifier>>::new();
        for hash in ScramHash::ALL {
            for (user, verifier) in self.verifiers.get(&hash).into_iter().flatten() {
                users.entry(user).or_default().push(verifier);
            }
        }
        users
    }
}

/// What one listener demands of its clients.
#[derive(Debug)]
pub struct ListenerSecurity {
    name: Box<str>,
    mechanisms: Vec<Mechanism>,
    tls: Option<Tls>,
}

impl ListenerSecurity {
    fn new(listener: KafkaListener) -> Result<Self, TlsError> {
        Ok(Self {
            name: listener.name.into(),
            mechanisms: listener.mechanisms,
            tls: listener.tls.map(Tls::new).transpose()?,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a client has to say who it is.
    pub fn is_on(&self) -> bool {
        !self.mechanisms.is_empty()
    }

    /// The mechanisms that are offered, in the order of the settings.
    pub fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    /// TLS, where it has any.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

/// What the settings demand of clients, and what is known of users.
#[derive(Debug)]
pub struct Security {
    /// In the order of the settings.
    listeners: Vec<ListenerSecurity>,
    /// How long an authentication holds (`connections.max.reauth.ms`, KIP-368).
    reauth: Option<Duration>,
    /// The user of the settings, who is there before any other.
    admin: Credentials,
    /// How this broker asks others.
    own: ArcSwap<Own>,
    /// What was read for that, to tell whether it has changed.
    own_read: Mutex<Vec<Vec<u8>>>,
    /// From which answers to unknown users are made.
    decoy: Secret,
    credentials: ArcSwap<Credentials>,
    /// Who may do what; none where everybody may everything.
    authorizer: Option<Authorizer>,
    /// What tokens are checked with; none where clients have none.
    tokens: Option<Arc<Tokens>>,
}

impl Security {
    /// As the settings say, with no stored users yet. `decoy` is the cluster's secret from which answers to unknown
    /// users are made. Takes some milliseconds where an administrator's password is set.
    ///
    /// # Errors
    /// The file of the administrator's password, or those of TLS, cannot be read or used.
    pub fn new(
        config: &Config,
        decoy: &str,
        tokens: Option<Arc<Tokens>>,
    ) -> Result<Self, SetupError> {
        let decoy = Secret::new(decoy);
        let mechanisms = config.inter_broker_listener().mechanisms;
        let listeners = config.kafka_listeners().into_iter();
        let listeners: Result<_, _> = listeners.map(ListenerSecurity::new).collect();
        let own_read = Own::contents(config);
        let (mut admin, mut own) = (Vec::new(), Own::new(config)?);
        if let Some(password) = config.admin_password()? {
            let user = &config.security.admin_user;
            let has_password = |it: &&Mechanism| **it != Mechanism::OauthBearer;
            let by_password = mechanisms.iter().find(has_password);
            own.sasl = by_password.map(|mechanism| SaslCredentials {
                mechanism: *mechanism,
                user: user.clone(),
                password: Secret::new(password.expose()),
            });
            for hash in ScramHash::ALL {
                // The same on every broker, and the one that would be told if the user were not there.
                let salt = Verifier::of_nobody(hash, &decoy, user).salt().to_vec();
                let bytes = password.expose().as_bytes();
                let verifier = Verifier::of_password(hash, bytes, &salt, ITERATIONS_MIN);
                admin.push((
                    user.clone(),
                    verifier.expect("a salt of ours is within its bounds"),
                ));
            }
        }
        let fixed = config.fixed_rules()?;
        let authorizer = Authorizer::new(config).map(|authorizer| authorizer.with_fixed(fixed));
        Ok(Self {
            listeners: listeners?,
            reauth: config.security.max_reauth.filter(|max| !max.is_zero()),
            admin: Credentials::new(admin),
            own: ArcSwap::from_pointee(own),
            own_read: Mutex::new(own_read),
            decoy,
            credentials: ArcSwap::default(),
            authorizer,
            tokens,
        })
    }

    /// What a listener demands.
    ///
    /// # Panics
    /// The settings have no such listener.
    pub fn listener(&self, id: ListenerId) -> &ListenerSecurity {
        &self.listeners[id.index()]
    }

    /// Whether any listener has TLS.
    pub fn has_tls(&self) -> bool {
        self.listeners.iter().any(|it| it.tls.is_some())
    }

    /// Who may do what; none where everybody may everything.
    pub fn authorizer(&self) -> Option<&Authorizer> {
        self.authorizer.as_ref()
    }

    /// What tokens are checked with; none where clients have none.
    pub fn tokens(&self) -> Option<&Arc<Tokens>> {
        self.tokens.as_ref()
    }

    /// How long an authentication holds.
    pub fn reauth(&self) -> Option<Duration> {
        self.reauth
    }

    /// How this broker asks others of its cluster.
    pub fn own(&self) -> Arc<Own> {
        self.own.load_full()
    }

    /// Takes the files of TLS anew where they have changed; whether they had. Reads files: not on a shard.
    ///
    /// # Errors
    /// What is there now cannot be used; what was there before stays in use.
    pub fn reload(&self, config: &Config) -> Result<bool, TlsError> {
        let (mut has_changed, mut refused) = (false, None);
        // Files of one listener that cannot be used keep no other from its own.
        for tls in self.listeners.iter().filter_map(ListenerSecurity::tls) {
            match tls.reload() {
                Ok(changed) => has_changed |= changed,
                Err(error) => refused = Some(error),
            }
        }
        match self.reload_own(config) {
            Ok(changed) => has_changed |= changed,
            Err(error) => refused = Some(error),
        }
        match refused {
            Some(error) => Err(error),
            None => Ok(has_changed),
        }
    }

    /// The same of what this broker shows to others and trusts them by.
    fn reload_own(&self, config: &Config) -> Result<bool, TlsError> {
        let now = Own::contents(config);
        let mut read = self.own_read.lock().unwrap_or_else(PoisonError::into_inner);
        if *read == now {
            return Ok(false);
        }
        // Not looked at again before it changes again, be it of use or not.
        *read = now;
        let sasl = self.own().sasl.clone();
        let own = Own::new(config)?;
        self.own.store(Arc::new(Own { sasl, ..own }));
        Ok(true)
    }

    /// Replaces what is known of users. The control thread's.
    pub fn set_credentials(&self, credentials: Credentials) {
        self.credentials.store(Arc::new(credentials));
    }

    /// What is known of users, but for the administrator of the settings.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.load_full()
    }

    /// Whether a name is that of the administrator of the settings, whose password nobody changes by a request.
    pub fn is_admin(&self, user: &str) -> bool {
        self.admin.find(user, ScramHash::Sha256).is_some()
    }

    /// With what the proof of a user is checked: the one of the settings, what is stored, or what fits no password.
    pub fn verifier(&self, user: &str, hash: ScramHash) -> Verifier {
        let stored = self.credentials.load();
        let found = self
            .admin
            .find(user, hash)
            .or_else(|| stored.find(user, hash));
        match found {
            Some(verifier) => Verifier::clone(verifier),
            None => Verifier::of_nobody(hash, &self.decoy, user),
        }
    }

    /// Whether this is the user's password, whichever hash of it is stored. Takes milliseconds: not on a shard.
    pub fn is_password(&self, user: &str, password: &Secret) -> bool {
        let stored = self.credentials.load();
        let known = |hash: &ScramHash| {
            self.admin.find(user, *hash).is_some() || stored.find(user, *hash).is_some()
        };
        let hash = ScramHash::ALL.into_iter().find(known);
        let verifier = self.verifier(user, hash.unwrap_or(ScramHash::Sha256));
        verifier.is_password(password.expose())
    }
}

#[cfg(test)]
mod tests;
