//! Who looks at the console, and what they may see and do there.
//!
//! Rules:
//! - where clients of Kafka have to show a password, so have people here: the same names, the same passwords, and the
//!   same ACLs for what they read;
//! - the account of the settings (`admin.ui_username`) may everything here, and is none of Kafka's users;
//! - to change things takes a login: that account, a super user, or ALTER on the cluster;
//! - who is not logged in, where nobody has to be, may look; at contents of messages only where the console serves its
//!   own machine alone, since the port may be open to more people than Kafka's is.

use std::net::IpAddr;
use std::sync::Arc;

use security::Principal;
use security::acl::{CLUSTER, Operation, Question, ResourceType};
use security::scram::{ScramHash, Verifier};
use security::secret::Secret;

use crate::config::Config;
use crate::security::Security;

/// Somebody who has shown a password.
#[derive(Debug, Clone)]
pub(super) enum Login {
    /// The account of the settings.
    Console(Arc<str>),
    /// A user of Kafka, with what the password was checked against: a login ends with a change of the password.
    Kafka(Arc<str>, Arc<Verifier>),
}

impl Login {
    /// The name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Console(name) | Self::Kafka(name, _) => name,
        }
    }
}

/// Somebody who looks.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    /// Who, if logged in.
    pub(super) login: Option<Login>,
    principal: Principal,
    host: String,
}

impl Viewer {
    /// Somebody from there, logged in or not.
    pub(super) fn new(login: Option<Login>, from: IpAddr) -> Self {
        let principal = match &login {
            Some(Login::Kafka(name, _)) => Principal::user(name),
            // Never asked about: it may everything.
            Some(Login::Console(_)) | None => Principal::anonymous(),
        };
        Self {
            login,
            principal,
            host: from.to_string(),
        }
    }

    /// The name, if logged in.
    pub(super) fn name(&self) -> Option<&str> {
        self.login.as_ref().map(Login::name)
    }
}

/// What is asked of people, and what they may.
#[derive(Debug, Clone)]
pub(super) struct Access {
    security: Arc<Security>,
    /// Whether people have to log in before they see anything.
    pub(super) needs_login: bool,
    /// Whether there is an account of the console's own.
    has_account: bool,
    /// Whether the console serves its own machine alone.
    is_local: bool,
}

impl Access {
    /// As the settings say.
    pub(super) fn new(config: &Config, security: Arc<Security>) -> Self {
        let mut listeners = config.kafka_listeners().into_iter();
        Self {
            security,
            needs_login: listeners.any(|it| it.protocol.has_sasl()),
            has_account: config.admin.ui_username.is_some(),
            is_local: config.admin.addr.ip().is_loopback(),
        }
    }

    /// Whether there is anything to log in to.
    pub(super) fn has_login(&self) -> bool {
        self.needs_login || self.has_account
    }

    /// The user of Kafka whose password that is. Takes milliseconds: on the pool.
    pub(super) fn verify(&self, user: &str, password: &Secret) -> Option<Login> {
        if !self.needs_login || !self.security.is_password(user, password) {
            return None;
        }
        let verifier = Arc::new(self.current(user)?);
        Some(Login::Kafka(user.into(), verifier))
    }

    /// What is stored of the password of a user now.
    fn current(&self, user: &str) -> Option<Verifier> {
        let stored = self.security.credentials();
        let is_known =
            |hash: &ScramHash| self.security.is_admin(user) || stored.find(user, *hash).is_some();
        let hash = ScramHash::ALL.into_iter().find(is_known)?;
        Some(self.security.verifier(user, hash))
    }

    /// Whether a login still holds: its user is there, with the same password.
    pub(super) fn holds(&self, login: &Login) -> bool {
        match login {
            Login::Console(_) => self.has_account,
            Login::Kafka(user, verifier) => {
                self.needs_login && self.current(user).is_some_and(|now| now == **verifier)
            }
        }
    }

    fn allows(
        &self,
        viewer: &Viewer,
        operation: Operation,
        resource: ResourceType,
        name: &str,
    ) -> bool {
        if matches!(viewer.login, Some(Login::Console(_))) {
            return true;
        }
        if self.needs_login && viewer.login.is_none() {
            return false;
        }
        self.security.authorizer().is_none_or(|authorizer| {
            authorizer.allows(&Question {
                principal: &viewer.principal,
                host: &viewer.host,
                operation,
                resource,
                name,
            })
        })
    }

    /// Whether somebody may see anything at all.
    pub(super) fn may_look(&self, viewer: &Viewer) -> bool {
        !self.needs_login || viewer.login.is_some()
    }

    /// Whether somebody may change things.
    pub(super) fn is_admin(&self, viewer: &Viewer) -> bool {
        let may_alter = || self.allows(viewer, Operation::Alter, ResourceType::Cluster, CLUSTER);
        viewer.login.is_some() && may_alter()
    }

    /// Whether somebody may see the cluster's users and rules.
    pub(super) fn may_describe_cluster(&self, viewer: &Viewer) -> bool {
        self.allows(viewer, Operation::Describe, ResourceType::Cluster, CLUSTER)
    }

    /// Whether somebody may see that a topic is there.
    pub(super) fn may_describe_topic(&self, viewer: &Viewer, topic: &str) -> bool {
        self.allows(viewer, Operation::Describe, ResourceType::Topic, topic)
    }

    /// Whether somebody may see the settings of a topic.
    pub(super) fn may_describe_configs(&self, viewer: &Viewer, topic: &str) -> bool {
        self.allows(
            viewer,
            Operation::DescribeConfigs,
            ResourceType::Topic,
            topic,
        )
    }

    /// Whether somebody may see a group.
    pub(super) fn may_describe_group(&self, viewer: &Viewer, group: &str) -> bool {
        self.allows(viewer, Operation::Describe, ResourceType::Group, group)
    }

    /// Whether somebody may read the records of a topic.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn may_read(&self, viewer: &Viewer, topic: &str) -> Result<(), String> {
        if viewer.login.is_none() && !self.is_local {
            let how = match self.has_account {
                true => "log in",
                false => {
                    "set KAFSCALE_UI_USERNAME and KAFSCALE_UI_PASSWORD and log in, or let \
                     admin.metrics_addr be a loopback address"
                }
            };
            return Err(format!(
                "messages are not shown to everybody who reaches this port: {how}"
            ));
        }
        match self.allows(viewer, Operation::Read, ResourceType::Topic, topic) {
            true => Ok(()),
            false => Err(format!("this needs READ on topic {topic}")),
        }
    }
}
