//! Users: the mirror of what is stored of their passwords, its changes, and passwords that are to be checked.
//!
//! Control thread. What changes here or on other brokers comes by the watch; a change made here is answered once the
//! watch has told of it. Hashing a password takes milliseconds on purpose: it is done by a thread of its own, few at
//! a time, so that a flood of wrong passwords takes no more than that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use coord::keys::decoy::{self, DecoyRecord};
use coord::keys::scram::{self, ScramKey, ScramRecord};
use coord::keys::{Keyspace, Seen, plan, seen};
use coord::kv::{Kv, KvError, Revision};
use futures_channel::oneshot;
use rand::Rng;
use rand::distr::Alphanumeric;
use security::Mechanism;
use security::oauth::{TokenError, Verified};
use security::plain::PlainMessage;
use security::scram::{ScramHash, Verifier, VerifierError};
use security::secret::Secret;
use segment::SessionId;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::context::Context;
use super::follow::{Followed, Update, follow, read};
use super::pool;
use super::retry::Pauses;
use crate::security::{Credentials, Security};

/// Tries of a change that meets others.
const TRIES_MAX: usize = 8;
/// How long a change waits until the watch tells of it; it is answered then all the same.
const SEEN_WAIT: Duration = Duration::from_secs(5);
/// Passwords that are hashed at a time.
const HASHING_MAX: usize = 2;
/// Passwords that wait to be hashed, beyond which one is refused.
const WAITING_MAX: usize = 256;

/// What to do to one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialChange {
    /// The user.
    pub user: String,
    /// For which mechanism.
    pub hash: ScramHash,
    /// What is to be stored; none to remove it.
    pub verifier: Option<Verifier>,
}

impl CredentialChange {
    fn key(&self) -> ScramKey {
        ScramKey {
            user: self.user.clone(),
            mechanism: Mechanism::Scram(self.hash).name().to_owned(),
        }
    }
}

/// Why a user was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// There is nothing to remove.
    #[error("Attempt to delete a user credential that does not exist")]
    Unknown,
    /// The metadata store cannot be reached, or others changed the user at the same time.
    #[error("the metadata store is not available: {0}")]
    Unavailable(String),
}

/// What shards ask about users.
#[derive(Debug)]
pub enum UsersMsg {
    /// Change users, each wholly or not at all; answered, in their order, when the changes are durable and in force
    /// here.
    Alter(
        Vec<Vec<CredentialChange>>,
        oneshot::Sender<Vec<Result<(), UserError>>>,
    ),
    /// Whether it is the user's password.
    CheckPassword(PlainMessage, oneshot::Sender<bool>),
    /// Whom a token is for. No answer is a refusal.
    CheckToken(Secret, oneshot::Sender<Result<Verified, TokenError>>),
}

/// Users as they are stored.
#[derive(Debug)]
pub struct Users {
    rows: RefCell<BTreeMap<ScramKey, ScramRecord>>,
    security: Arc<Security>,
    /// The last change that the watch has told of.
    at: watch::Sender<Revision>,
    hashing: Arc<Semaphore>,
    /// Passwords that are hashed or wait for it.
    waiting: Cell<usize>,
}

impl Users {
    /// None, until they are followed.
    pub fn new(security: Arc<Security>) -> Self {
        Self {
            rows: RefCell::default(),
            security,
            at: watch::Sender::new(Revision::ZERO),
            hashing: Arc::new(Semaphore::new(HASHING_MAX)),
            waiting: Cell::new(0),
        }
    }

    /// Who may connect.
    pub fn security(&self) -> &Arc<Security> {
        &self.security
    }

    /// Reads all users, and follows them from there.
    ///
    /// # Errors
    /// The metadata store failed at the first reading.
    pub async fn follow(self: &Rc<Self>, context: &Context) -> Result<JoinHandle<()>, KvError> {
        let (kv, space) = (context.kv.clone(), context.space.clone());
        let followed = Followed {
            what: "users",
            span: scram::span(&space),
            parse: |space, key| scram::parse(space, key).ok(),
        };
        let (all, at) = read(&kv, &space, &followed).await?;
        self.on_update(Update::Whole(all, at));
        let this = self.clone();
        Ok(tokio::task::spawn_local(async move {
            follow(kv, space, followed, at, move |update| {
                this.on_update(update);
            })
            .await;
        }))
    }

    fn on_update(&self, update: Update<ScramKey, ScramRecord>) {
        let mut rows = self.rows.borrow_mut();
        let at = match update {
            Update::Whole(all, at) => {
                *rows = all
                    .into_iter()
                    .map(|(key, seen)| (key, seen.record))
                    .collect();
                at
            }
            Update::Put(key, seen) => {
                rows.insert(key, seen.record);
                seen.mod_revision
            }
            Update::Gone(key, at) => {
                rows.remove(&key);
                at
            }
        };
        let known = rows.iter().filter_map(|(key, record)| {
            let verifier = verifier(key, record)
                .inspect_err(|error| {
                    tracing::error!(user = %key.user, %error,
                    "what is stored of a password cannot be used: set the password anew")
                })
                .ok()??;
            Some((key.user.clone(), verifier))
        });
        self.security.set_credentials(Credentials::new(known));
        self.at.send_replace(at);
    }

    /// Waits until the watch has told of a change.
    async fn seen(&self, at: Revision) {
        let mut told = self.at.subscribe();
        let told = told.wait_for(|seen| *seen >= at);
        if tokio::time::timeout(SEEN_WAIT, told).await.is_err() {
            tracing::warn!("a change of users is stored, and the watch does not tell of it");
        }
    }

    /// Whether it is the user's password; no where too many wait to be told.
    pub fn check_password(self: &Rc<Self>, message: PlainMessage, reply: oneshot::Sender<bool>) {
        if self.waiting.get() >= WAITING_MAX {
            let _ = reply.send(false);
            return;
        }
        let this = self.clone();
        this.waiting.set(this.waiting.get() + 1);
        tokio::task::spawn_local(async move {
            let permit = this.hashing.clone().acquire_owned().await;
            let security = this.security.clone();
            let hashed = pool::run(move || security.is_password(&message.user, &message.password));
            let _ = reply.send(hashed.await.unwrap_or(false));
            drop(permit);
            this.waiting.set(this.waiting.get() - 1);
        });
    }
}

/// What is stored, checked; none for a mechanism that a newer broker knows.
fn verifier(key: &ScramKey, record: &ScramRecord) -> Result<Option<Verifier>, VerifierError> {
    let Some(Mechanism::Scram(hash)) = Mechanism::of_name(&key.mechanism) else {
        return Ok(None);
    };
    let (stored, server) = (record.stored_key.clone(), record.server_key.clone());
    Verifier::of_parts(hash, record.salt.clone(), record.iterations, stored, server).map(Some)
}

fn record(verifier: &Verifier) -> ScramRecord {
    ScramRecord {
        salt: verifier.salt().to_vec(),
        iterations: verifier.iterations(),
        stored_key: verifier.stored_key().expose().to_vec(),
        server_key: verifier.server_key().expose().to_vec(),
    }
}

/// Changes users, one after the other; outcomes are in their order.
pub async fn alter(
    context: &Context,
    users: Vec<Vec<CredentialChange>>,
) -> Vec<Result<(), UserError>> {
    let mut outcomes = Vec::with_capacity(users.len());
    let mut last = Revision::ZERO;
    for changes in &users {
        let outcome = alter_user(context, changes).await;
        outcomes.push(outcome.map(|at| last = last.max(at)));
    }
    context.users.seen(last).await;
    outcomes
}

async fn alter_user(
    context: &Context,
    changes: &[CredentialChange],
) -> Result<Revision, UserError> {
    for change in changes.iter().filter(|change| change.verifier.is_none()) {
        if stored(context, &change.key()).await?.is_none() {
            return Err(UserError::Unknown);
        }
    }
    let mut last = Revision::ZERO;
    for change in changes {
        last = last.max(alter_one(context, change).await?);
    }
    Ok(last)
}

fn unavailable(error: &dyn std::fmt::Display) -> UserError {
    UserError::Unavailable(error.to_string())
}

async fn stored(context: &Context, key: &ScramKey) -> Result<Option<Seen<ScramRecord>>, UserError> {
    let key = scram::key(&context.space, key);
    let found = context.kv.get(key).await.map_err(|e| unavailable(&e))?;
    seen::<ScramRecord>(found.as_ref()).map_err(|e| unavailable(&e))
}

/// Gives the revision of the change; zero where nothing had to be changed. An unknown outcome is resolved by reading:
/// what is wanted is there, or it is tried again.
async fn alter_one(context: &Context, change: &CredentialChange) -> Result<Revision, UserError> {
    let Context {
        kv, space, session, ..
    } = context;
    let key = change.key();
    let mut pauses = Pauses::default();
    for _ in 0..TRIES_MAX {
        let before = stored(context, &key).await?;
        let wanted = change.verifier.as_ref().map(record);
        let txn = match (&before, wanted) {
            (None, None) => return Ok(Revision::ZERO),
            (Some(before), Some(wanted)) if before.record == wanted => {
                return Ok(before.mod_revision);
            }
            (before, Some(wanted)) => {
                plan::put_scram(space, session.id, &key, before.as_ref(), wanted).txn
            }
            (Some(before), None) => plan::delete_scram(space, session.id, &key, before),
        };
        match kv.txn(txn).await {
            Ok(reply) if reply.succeeded => return Ok(reply.revision),
            Ok(_) => {}
            Err(error) if error.is_ambiguous() || error.is_retriable() => pauses.pause().await,
            Err(error) => return Err(unavailable(&error)),
        }
    }
    Err(UserError::Unavailable(
        "the user could not be changed; others may be changing it".to_owned(),
    ))
}

/// The cluster's secret from which answers to unknown users are made; written by the first broker that asks.
///
/// # Errors
/// The metadata store failed.
pub async fn decoy(
    kv: &Arc<dyn Kv>,
    space: &Keyspace,
    session: SessionId,
) -> Result<String, String> {
    let mut pauses = Pauses::default();
    for _ in 0..TRIES_MAX {
        let found = kv.get(decoy::key(space)).await.map_err(|e| e.to_string())?;
        let found = seen::<DecoyRecord>(found.as_ref()).map_err(|e| e.to_string())?;
        if let Some(found) = found {
            return Ok(found.record.secret);
        }
        let secret = rand::rng()
            .sample_iter(Alphanumeric)
            .take(decoy::SECRET_CHARS);
        let record = DecoyRecord {
            secret: secret.map(char::from).collect(),
        };
        let planned = plan::create_decoy(space, session, record);
        match kv.txn(planned.txn).await {
            Ok(reply) if reply.succeeded => return Ok(planned.record.secret),
            Ok(_) => {}
            Err(error) if error.is_ambiguous() || error.is_retriable() => pauses.pause().await,
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("the secret of unknown users could not be written".to_owned())
}
