//! Who is at the other end of a connection: nobody yet, an exchange under way, or a principal.
//!
//! Shard-owned. Rules of `SaslServerAuthenticator` (KIP-43, KIP-152, KIP-368). Invariants:
//! - where clients must authenticate, a connection is served nothing but ApiVersions and the exchange until that is
//!   done, and after a failure nothing at all;
//! - a principal does not change while its connection lasts: who authenticates again must be the same, by the same
//!   mechanism;
//! - an authentication that is over holds for no further request.

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use security::acl::{Operation, Question, ResourceType};
use security::oauth::{TokenError, Verified};
use security::principal::ANONYMOUS;
use security::secret::Secret;
use security::{Exchange, Failure, MESSAGE_BYTES_MAX, Mechanism, Principal, Step};
use wire::ApiKey;

use super::authorizer::Remembered;
use super::{ListenerSecurity, Security};
use crate::config::ListenerId;
use crate::control::{ControlMsg, UsersMsg};
use crate::shard::Shard;

/// Where the connection stands.
#[derive(Debug)]
enum Phase {
    /// Nothing is under way: no exchange has begun, or it is done, or none is needed.
    Idle,
    /// An exchange.
    Exchanging(Exchange),
    /// The exchange has failed: the connection ends.
    Failed,
}

/// Why a step of an exchange is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// No exchange is to go on.
    #[error("{0}")]
    State(&'static str),
    /// The mechanism is not offered.
    #[error("Unsupported SASL mechanism")]
    Mechanism,
    /// The exchange has failed.
    #[error("{0}")]
    Failed(String),
}

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Identity {
    security: Arc<Security>,
    /// By which listener it came.
    listener: ListenerId,
    /// From where it connects, as rules name it.
    host: Box<str>,
    /// What it may do with topics.
    remembered: Remembered,
    phase: RefCell<Phase>,
    /// Whether messages of the exchange come without a request around them (SaslHandshake 0).
    is_raw: Cell<bool>,
    /// Who it is, once that is known, and by which mechanism of SASL; none by its certificate.
    known: RefCell<Option<(Principal, Option<Mechanism>)>>,
    /// How long the authentication holds from when it was made, in milliseconds; 0 for ever.
    lifetime_ms: Cell<i64>,
    /// Until when it holds, by the shard's clock.
    until_ms: Cell<u64>,
}

impl Identity {
    /// Nobody yet, by that listener and from there, or whom the certificate is for that the client has shown.
    pub(crate) fn new(
        security: Arc<Security>,
        listener: ListenerId,
        from: IpAddr,
        certified: Option<Principal>,
    ) -> Rc<Self> {
        let is_on = security.listener(listener).is_on();
        Rc::new(Self {
            listener,
            host: from.to_canonical().to_string().into(),
            remembered: Remembered::default(),
            phase: RefCell::new(Phase::Idle),
            is_raw: Cell::new(false),
            // Where SASL is on, it alone says who a client is, as on Kafka's SASL_SSL listeners.
            known: RefCell::new(certified.filter(|_| !is_on).map(|it| (it, None))),
            lifetime_ms: Cell::new(0),
            until_ms: Cell::new(u64::MAX),
            security,
        })
    }

    /// What its listener demands.
    fn demanded(&self) -> &ListenerSecurity {
        self.security.listener(self.listener)
    }

    /// The name of the listener that it came by.
    pub(crate) fn listener(&self) -> &str {
        self.demanded().name()
    }

    /// The mechanisms that its listener offers, in the order of the settings.
    pub(crate) fn mechanisms(&self) -> &[Mechanism] {
        self.demanded().mechanisms()
    }

    /// Whether it is known who is at the other end, or nobody asks.
    pub(crate) fn is_settled(&self) -> bool {
        !self.demanded().is_on() || self.known.borrow().is_some()
    }

    /// Whether an exchange has failed.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Failed)
    }

    /// Whether the next frame is a message of an exchange without a request around it.
    pub(crate) fn is_raw(&self) -> bool {
        self.is_raw.get()
    }

    /// Its name, for quotas.
    pub(crate) fn user(&self) -> Arc<str> {
        let known = self.known.borrow();
        known.as_ref().map_or_else(
            || ANONYMOUS.into(),
            |(principal, _)| principal.shared_name(),
        )
    }

    /// Who it is.
    pub(crate) fn principal(&self) -> Principal {
        let known = self.known.borrow();
        let known = known.as_ref().map(|(principal, _)| principal.clone());
        known.unwrap_or_else(Principal::anonymous)
    }

    /// Whether it has shown who it is: by SASL, or by a certificate that is somebody's.
    pub(crate) fn is_authenticated(&self) -> bool {
        let known = self.known.borrow();
        known.as_ref().is_some_and(|(principal, mechanism)| {
            mechanism.is_some() || *principal != Principal::anonymous()
        })
    }

    /// From where it connects, as rules name it.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whose state that outlives a connection is: told by a number, the same for all where everybody may everything.
    pub(crate) fn owner(&self) -> u64 {
        if self.security.authorizer().is_none() {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        if let Some((principal, _)) = &*self.known.borrow() {
            principal.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Whether it may do that.
    pub(crate) fn may(&self, operation: Operation, resource: ResourceType, name: &str) -> bool {
        let Some(authorizer) = self.security.authorizer() else {
            return true;
        };
        authorizer.allows(&Question {
            principal: &self.principal(),
            host: &self.host,
            operation,
            resource,
            name,
        })
    }

    /// Whether it may do that with a topic; what was asked before is remembered, at no cost of memory.
    pub(crate) fn may_topic(&self, operation: Operation, topic: &str) -> bool {
        let Some(authorizer) = self.security.authorizer() else {
            return true;
        };
        let ask = || self.may(operation, ResourceType::Topic, topic);
        self.remembered.get(authorizer, operation, topic, ask)
    }

    /// Whether it may do that with some resource of a kind.
    pub(crate) fn may_any(&self, operation: Operation, resource: ResourceType) -> bool {
        self.security.authorizer().is_none_or(|authorizer| {
            authorizer.allows_any(&self.principal(), &self.host, operation, resource)
        })
    }

    /// Whether a request of this kind is served now. One that is not ends the connection, as in Kafka.
    pub(crate) fn allows(&self, api: ApiKey, now_ms: u64) -> bool {
        if !self.demanded().is_on() {
            return true;
        }
        let is_exchange = matches!(api, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
        match &*self.phase.borrow() {
            Phase::Failed => false,
            Phase::Exchanging(_) => is_exchange,
            Phase::Idle if is_exchange || api == ApiKey::ApiVersions => true,
            Phase::Idle => self.known.borrow().is_some() && now_ms < self.until_ms.get(),
        }
    }

    /// Begins an exchange (SaslHandshake in this version).
    pub(crate) fn choose(&self, mechanism: &str, version: i16) -> Result<(), Refused> {
        if !self.demanded().is_on() {
            return Err(Refused::State("SASL is not enabled on this listener"));
        }
        if matches!(*self.phase.borrow(), Phase::Exchanging(_)) {
            self.phase.replace(Phase::Failed);
            return Err(Refused::State("SaslHandshake in the middle of an exchange"));
        }
        let offered = Mechanism::of_name(mechanism);
        let offered = offered.filter(|it| self.mechanisms().contains(it));
        let before = self.known.borrow().as_ref().map(|(_, before)| *before);
        match offered {
            Some(chosen) if before.is_none_or(|before| before == Some(chosen)) => {
                self.is_raw.set(version == 0);
                self.phase.replace(Phase::Exchanging(Exchange::new(chosen)));
                Ok(())
            }
            _ => {
                self.phase.replace(Phase::Failed);
                Err(Refused::Mechanism)
            }
        }
    }

    /// Takes a message of the client and gives the answer.
    ///
    /// # Errors
    /// [`Refused`]; after [`Refused::Failed`] the connection is to be closed.
    pub(crate) async fn advance(&self, shard: &Shard, bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        let before = self.phase.replace(Phase::Failed);
        let mut exchange = match before {
            Phase::Exchanging(exchange) => exchange,
            Phase::Idle => {
                self.phase.replace(Phase::Idle);
                let text = "SaslAuthenticate request received after successful authentication";
                return Err(Refused::State(text));
            }
            Phase::Failed => return Err(Refused::State("the exchange has failed")),
        };
        let mechanism = exchange.mechanism();
        let step = match bytes.len() {
            0..=MESSAGE_BYTES_MAX => exchange.message(bytes),
            _ => Err(Failure::Over),
        };
        let mut holds = None;
        let step = match step {
            Ok(Step::Verifier(user, hash)) => self.challenge(&mut exchange, &user, hash),
            Ok(Step::Token(message)) => {
                let verdict = checked(shard, message.token).await;
                holds = verdict
                    .as_ref()
                    .ok()
                    .and_then(|it| it.as_ref().ok())
                    .map(|it| it.holds);
                verdict.and_then(|verdict| exchange.with_token(verdict))
            }
            step => step,
        };
        let outcome = match step {
            Ok(Step::Reply(reply)) => {
                self.phase.replace(Phase::Exchanging(exchange));
                return Ok(reply);
            }
            Ok(Step::Done(principal, reply)) => Ok((principal, reply)),
            Ok(Step::Password(message)) => {
                let principal = Principal::user(&message.user);
                let asked = shard
                    .shared
                    .control
                    .ask(|reply| ControlMsg::Users(UsersMsg::CheckPassword(message, reply)));
                match asked.await {
                    Ok(true) => Ok((principal, Vec::new())),
                    Ok(false) | Err(_) => Err(Failure::Credentials),
                }
            }
            Ok(Step::Verifier(..) | Step::Token(_)) => Err(Failure::Over),
            Err(failure) => Err(failure),
        };
        let settled = outcome.map_err(|failure| {
            tracing::debug!(%mechanism, %failure, "an authentication has failed");
            refusal(mechanism, failure)
        });
        settled.and_then(|(principal, reply)| {
            self.settle(shard, principal, mechanism, holds)?;
            Ok(reply)
        })
    }

    fn challenge(
        &self,
        exchange: &mut Exchange,
        user: &str,
        hash: security::scram::ScramHash,
    ) -> Result<Step, Failure> {
        let verifier = self.security.verifier(user, hash);
        let nonce = security::nonce().ok_or(Failure::Over)?;
        exchange.with_verifier(verifier, &nonce)
    }

    fn settle(
        &self,
        shard: &Shard,
        principal: Principal,
        mechanism: Mechanism,
        holds: Option<Duration>,
    ) -> Result<(), Refused> {
        let mut known = self.known.borrow_mut();
        if known
            .as_ref()
            .is_some_and(|(before, _)| *before != principal)
        {
            let text = "Cannot change principals during re-authentication";
            return Err(Refused::Failed(text.to_owned()));
        }
        *known = Some((principal, Some(mechanism)));
        drop(known);
        self.is_raw.set(false);
        // As long as the settings say, and no longer than what was shown (KIP-368).
        let holds = self.security.reauth().into_iter().chain(holds).min();
        let holds = holds.map(|holds| u64::try_from(holds.as_millis()).unwrap_or(u64::MAX).max(1));
        let until = holds.map_or(u64::MAX, |holds| shard.now_ms().saturating_add(holds));
        let lifetime = holds.map_or(0, |holds| i64::try_from(holds).unwrap_or(i64::MAX));
        self.until_ms.set(until);
        self.lifetime_ms.set(lifetime);
        self.phase.replace(Phase::Idle);
        shard.metrics.authentication_succeeded.increment();
        Ok(())
    }

    /// How long the authentication that was just made holds, in milliseconds; 0 for ever, or when none is made yet.
    pub(crate) fn lifetime_ms(&self) -> i64 {
        match *self.phase.borrow() {
            Phase::Idle => self.lifetime_ms.get(),
            Phase::Exchanging(_) | Phase::Failed => 0,
        }
    }
}

/// The verdict on a token, which the control thread gives.
async fn checked(shard: &Shard, token: Secret) -> Result<Result<Verified, TokenError>, Failure> {
    let control = &shard.shared.control;
    let asked = control.ask(|reply| ControlMsg::Users(UsersMsg::CheckToken(token, reply)));
    asked.await.map_err(|_| Failure::Credentials)
}

/// The text of Kafka: it tells no more than that it failed.
fn refusal(mechanism: Mechanism, failure: Failure) -> Refused {
    Refused::Failed(match (mechanism, failure) {
        (_, Failure::Token(told)) => told,
        (Mechanism::Plain, _) => "Authentication failed: Invalid username or password".to_owned(),
        _ => format!(
            "Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}"
        ),
    })
}
