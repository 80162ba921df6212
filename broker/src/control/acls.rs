//! Rules of who may do what: the mirror of what is stored, and its changes.
//!
//! Control thread. What changes here or on other brokers comes by the watch; a change made here is answered once the
//! watch has told of it and it is in force. Rules that change one by one are put in force together: to arrange many
//! takes a while, and it takes at most a fifth of the thread's time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coord::keys::acl::{self, AclKey, AclRecord};
use coord::keys::plan;
use coord::kv::{KvError, Revision, Txn, range_all};
use futures_channel::oneshot;
use security::Principal;
use security::acl::{AclBinding, AclFilter, RawBinding};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::context::Context;
use super::follow::{Followed, Update, follow, read};
use super::retry::Pauses;
use crate::security::Security;

/// Rules of a cluster at most. Others may add some at the same time: then there are a few more.
pub const ACLS_MAX: usize = 100_000;
/// Tries of a change whose outcome is unknown.
const TRIES_MAX: usize = 8;
/// How long a change waits until the watch tells of it; it is answered then all the same.
const SEEN_WAIT: Duration = Duration::from_secs(5);
/// For every moment that rules are arranged, so many pass in which they are not.
const PAUSE_FACTOR: u32 = 4;

/// Why rules were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclChangeError {
    /// There would be more than [`ACLS_MAX`].
    #[error("a cluster may have {ACLS_MAX} ACLs at most")]
    TooMany,
    /// The metadata store cannot be reached.
    #[error("the metadata store is not available: {0}")]
    Unavailable(String),
}

/// What shards ask about rules.
#[derive(Debug)]
pub enum AclsMsg {
    /// Add rules, as this principal; answered, in their order, when they are durable and in force here.
    Create(
        Vec<AclBinding>,
        Principal,
        oneshot::Sender<Vec<Result<(), AclChangeError>>>,
    ),
    /// Remove the rules that each filter means; answered with them when they are gone and not in force here.
    Delete(
        Vec<AclFilter>,
        oneshot::Sender<Result<Vec<Vec<AclBinding>>, AclChangeError>>,
    ),
    /// The rules that a filter means, as this broker has been told of them.
    Find(AclFilter, oneshot::Sender<Vec<AclBinding>>),
}

/// Rules as they are stored.
#[derive(Debug)]
pub struct Acls {
    rows: RefCell<BTreeMap<AclKey, AclBinding>>,
    security: Arc<Security>,
    /// The last change that the watch has told of.
    told: Cell<Revision>,
    /// The last change that is in force.
    at: watch::Sender<Revision>,
    /// Whether what was told of is about to be put in force.
    is_due: Cell<bool>,
    /// How long that took last.
    took: Cell<Duration>,
}

impl Acls {
    /// None, until they are followed.
    pub fn new(security: Arc<Security>) -> Self {
        Self {
            rows: RefCell::default(),
            security,
            told: Cell::new(Revision::ZERO),
            at: watch::Sender::new(Revision::ZERO),
            is_due: Cell::new(false),
            took: Cell::new(Duration::ZERO),
        }
    }

    /// Reads all rules, and follows them from there; they are in force when this returns.
    ///
    /// # Errors
    /// The metadata store failed at the first reading.
    pub async fn follow(self: &Rc<Self>, context: &Context) -> Result<JoinHandle<()>, KvError> {
        let (kv, space) = (context.kv.clone(), context.space.clone());
        let followed = Followed {
            what: "ACLs",
            span: acl::span(&space),
            parse: |space, key| acl::parse(space, key).ok(),
        };
        let (all, at) = read::<_, AclRecord>(&kv, &space, &followed).await?;
        self.on_update(Update::Whole(all, at));
        self.put_in_force();
        let this = self.clone();
        Ok(tokio::task::spawn_local(async move {
            follow::<_, AclRecord>(kv, space, followed, at, move |update| {
                this.on_update(update);
                this.put_in_force_soon();
            })
            .await;
        }))
    }

    fn on_update(&self, update: Update<AclKey, AclRecord>) {
        let mut rows = self.rows.borrow_mut();
        let checked = |key: AclKey| Some((key.clone(), binding(&key)?));
        let at = match update {
            Update::Whole(all, at) => {
                *rows = all
                    .into_iter()
                    .filter_map(|(key, _)| checked(key))
                    .collect();
                at
            }
            Update::Put(key, seen) => {
                rows.extend(checked(key));
                seen.mod_revision
            }
            Update::Gone(key, at) => {
                rows.remove(&key);
                at
            }
        };
        self.told.set(at);
    }

    fn put_in_force_soon(self: &Rc<Self>) {
        if self.is_due.replace(true) {
            return;
        }
        let this = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(this.took.get() * PAUSE_FACTOR).await;
            this.is_due.set(false);
            this.put_in_force();
        });
    }

    fn put_in_force(&self) {
        let began = Instant::now();
        if let Some(authorizer) = self.security.authorizer() {
            authorizer.set_rules(self.rows.borrow().values().cloned());
        }
        self.took.set(began.elapsed());
        self.at.send_replace(self.told.get());
    }

    /// The rules that a filter means.
    pub fn find(&self, filter: &AclFilter) -> Vec<AclBinding> {
        let rows = self.rows.borrow();
        let found = rows.values().filter(|rule| filter.matches(rule));
        found.cloned().collect()
    }

    /// All rules that are stored.
    pub fn all(&self) -> Vec<AclBinding> {
        self.rows.borrow().values().cloned().collect()
    }

    /// Whether there is no room for these.
    fn is_full(&self, keys: &[AclKey]) -> bool {
        let rows = self.rows.borrow();
        let new: BTreeSet<&AclKey> = keys.iter().filter(|it| !rows.contains_key(it)).collect();
        rows.len() + new.len() > ACLS_MAX
    }

    /// Waits until a change is in force.
    async fn seen(&self, at: Revision) {
        let mut told = self.at.subscribe();
        let told = told.wait_for(|seen| *seen >= at);
        if tokio::time::timeout(SEEN_WAIT, told).await.is_err() {
            tracing::warn!("a change of ACLs is stored, and the watch does not tell of it");
        }
    }
}

/// What is stored, checked; what cannot be a rule here is said and left out. One that denied would be missed: it is
/// for people to look at.
fn binding(key: &AclKey) -> Option<AclBinding> {
    let raw = RawBinding {
        resource: key.resource,
        name: &key.name,
        pattern: key.pattern,
        principal: &key.principal,
        host: &key.host,
        operation: key.operation,
        permission: key.permission,
    };
    let checked = raw.check();
    checked
        .inspect_err(|error| tracing::error!(?key, %error, "a stored ACL cannot be used"))
        .ok()
}

fn key(rule: &AclBinding) -> AclKey {
    AclKey {
        resource: rule.resource.code(),
        pattern: rule.pattern.code(),
        name: rule.name.clone(),
        principal: rule.principal.to_string(),
        host: rule.host.clone(),
        operation: rule.operation.code(),
        permission: rule.permission.code(),
    }
}

/// Adds rules; outcomes are in their order.
pub async fn create(
    context: &Context,
    rules: &[AclBinding],
    by: &Principal,
) -> Vec<Result<(), AclChangeError>> {
    let keys: Vec<AclKey> = rules.iter().map(key).collect();
    if context.acls.is_full(&keys) {
        return vec![Err(AclChangeError::TooMany); keys.len()];
    }
    // What is there already is written again: it may have been removed elsewhere, which is not told of here yet.
    let record = AclRecord { by: by.to_string() };
    let mut outcomes = Vec::with_capacity(keys.len());
    let mut last = Revision::ZERO;
    for some in keys.chunks(plan::ACLS_MAX) {
        let txn = || plan::put_acls(&context.space, context.session.id, &distinct(some), &record);
        let outcome = send(context, txn).await.map(|at| last = last.max(at));
        outcomes.extend(std::iter::repeat_n(outcome, some.len()));
    }
    context.acls.seen(last).await;
    outcomes
}

/// One transaction writes a key once.
fn distinct(keys: &[AclKey]) -> Vec<AclKey> {
    let distinct: BTreeSet<&AclKey> = keys.iter().collect();
    distinct.into_iter().cloned().collect()
}

/// Removes the rules that filters mean, of those that are stored now: what another broker has just added is meant too.
///
/// # Errors
/// The metadata store failed: some may be removed.
pub async fn delete(
    context: &Context,
    filters: &[AclFilter],
) -> Result<Vec<Vec<AclBinding>>, AclChangeError> {
    let all = range_all(&context.kv, acl::span(&context.space)).await;
    let all = all.map_err(|error| AclChangeError::Unavailable(error.to_string()))?;
    let keys = all.entries.iter();
    let keys = keys.filter_map(|entry| acl::parse(&context.space, &entry.key).ok());
    let rules: Vec<AclBinding> = keys.filter_map(|key| binding(&key)).collect();
    let found: Vec<Vec<AclBinding>> = filters
        .iter()
        .map(|filter| {
            let found = rules.iter().filter(|rule| filter.matches(rule));
            found.cloned().collect()
        })
        .collect();
    let keys: Vec<AclKey> = found.iter().flatten().map(key).collect();
    let mut last = Revision::ZERO;
    for some in distinct(&keys).chunks(plan::ACLS_MAX) {
        let txn = || plan::delete_acls(&context.space, context.session.id, some);
        last = last.max(send(context, txn).await?);
    }
    context.acls.seen(last).await;
    Ok(found)
}

/// Sends a transaction that may be sent again; gives its revision.
async fn send(context: &Context, txn: impl Fn() -> Txn) -> Result<Revision, AclChangeError> {
    let unavailable = |text: String| AclChangeError::Unavailable(text);
    let mut pauses = Pauses::default();
    for _ in 0..TRIES_MAX {
        match context.kv.txn(txn()).await {
            Ok(reply) if reply.succeeded => return Ok(reply.revision),
            Ok(_) => return Err(unavailable("the session of this broker is over".to_owned())),
            Err(error) if error.is_ambiguous() || error.is_retriable() => pauses.pause().await,
            Err(error) => return Err(unavailable(error.to_string())),
        }
    }
    Err(unavailable("it does not answer".to_owned()))
}
