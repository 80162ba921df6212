//! Client quotas: the mirror of what is stored, their changes, and the budgets that connections use.
//!
//! Control thread. What changes here or on other brokers comes by the watch; a change made here is answered
//! once the watch has told of it. Connections look up their limits after every change
//! ([`crate::quota::Signal`]).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use coord::keys::plan;
use coord::keys::quota::{self, QuotaEntity, QuotaName, QuotaRecord};
use coord::keys::seen;
use coord::kv::{KvError, Revision};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::context::Context;
use super::follow::{Followed, Update, follow, read};
use super::retry::Pauses;
use crate::config::{Config, NamespaceSettings};
use crate::quota::{
    Bucket, BucketKey, CONNECTION_RATE, Limit, Paid, QuotaKind, QuotaTable, Rate, Signal, Window,
};

/// Tries of a change that meets others.
const TRIES_MAX: usize = 8;
/// How long a change waits until the watch tells of it; it is answered then all the same.
const SEEN_WAIT: Duration = Duration::from_secs(5);
/// Budgets and addresses that are kept before the first look for those that nobody needs.
const KEPT_MIN: usize = 1_024;
/// Budgets and addresses that are kept at most: beyond it those without a connection go, used or not.
const KEPT_MAX: usize = 100_000;

/// A change of one entity's quotas: values to set, and none to remove.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaChange {
    /// The entity.
    pub entity: QuotaEntity,
    /// The values.
    pub values: BTreeMap<String, Option<f64>>,
}

/// Why quotas were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// Not the address of a machine, nor a name that can be looked up.
    #[error("{0} is not a valid IP or resolvable host.")]
    Address(String),
    /// The metadata store cannot be reached, or others changed them at the same time.
    #[error("the metadata store is not available: {0}")]
    Unavailable(String),
}

/// Things that are kept until nobody needs them, looked through whenever their number has doubled.
#[derive(Debug)]
struct Kept<K, V> {
    all: HashMap<K, V>,
    look_at: usize,
}

impl<K: std::hash::Hash + Eq, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self {
            all: HashMap::new(),
            look_at: KEPT_MIN,
        }
    }
}

impl<K: std::hash::Hash + Eq, V> Kept<K, V> {
    /// Makes room for one more: `is_used` tells what is in use, `is_whole` what is as good as new.
    fn make_room(&mut self, is_used: impl Fn(&V) -> bool, is_whole: impl Fn(&V) -> bool) {
        if self.all.len() < self.look_at {
            return;
        }
        self.all.retain(|_, it| is_used(it) || !is_whole(it));
        if self.all.len() >= KEPT_MAX {
            self.all.retain(|_, it| is_used(it));
        }
        self.look_at = (self.all.len() * 2).clamp(KEPT_MIN, KEPT_MAX.max(self.all.len() + 1));
    }
}

/// Connections of addresses.
#[derive(Debug, Default)]
struct Addresses {
    /// Connections a second; `None` as address for all that have no quota of their own.
    quotas: HashMap<Option<IpAddr>, Rate>,
    used: Kept<IpAddr, (Rate, Paid)>,
}

/// Quotas as they are stored, and what is used of them.
pub struct Quotas {
    rows: RefCell<BTreeMap<QuotaEntity, QuotaRecord>>,
    table: RefCell<QuotaTable>,
    buckets: RefCell<Kept<BucketKey, (Rate, Arc<Bucket>)>>,
    addresses: RefCell<Addresses>,
    /// The last change that the watch has told of.
    at: watch::Sender<Revision>,
    /// Counts the changes, so that a name that was looked up for an earlier one is dropped.
    changes: Cell<u64>,
    signal: Arc<Signal>,
    window: Window,
    namespace: Namespace,
}

/// What all clients together may use, of which this broker has its share.
#[derive(Debug)]
struct Namespace {
    /// Bytes a second of the whole namespace, by [`QuotaKind::OF_NAMESPACE`].
    bytes: [Option<u64>; 2],
    buckets: [Arc<Bucket>; 2],
    /// Brokers that have a share.
    brokers: Cell<usize>,
}

impl Namespace {
    fn new(settings: &NamespaceSettings) -> Self {
        Self {
            bytes: [
                settings.produce_bytes_per_second,
                settings.fetch_bytes_per_second,
            ],
            buckets: Default::default(),
            brokers: Cell::new(1),
        }
    }

    fn is_limited(&self) -> bool {
        self.bytes.iter().any(Option::is_some)
    }

    /// One budget for all; its rate is that of the present share.
    fn limits(&self, window: &Window) -> [Option<Limit>; 2] {
        [0, 1].map(|place| {
            let bytes = self.bytes[place]? as f64 / self.brokers.get() as f64;
            let burst = window.burst(QuotaKind::OF_NAMESPACE[place]);
            Some(Limit {
                rate: Rate::new(bytes, burst),
                bucket: self.buckets[place].clone(),
            })
        })
    }
}

impl Quotas {
    /// No quotas, until they are followed.
    pub fn new(config: &Config, signal: Arc<Signal>) -> Self {
        let namespace = Namespace::new(&config.namespace);
        if namespace.is_limited() {
            signal.changed(true);
        }
        Self {
            namespace,
            rows: RefCell::default(),
            table: RefCell::default(),
            buckets: RefCell::default(),
            addresses: RefCell::default(),
            at: watch::Sender::new(Revision::ZERO),
            changes: Cell::new(0),
            signal,
            window: Window {
                samples: u32::try_from(config.quota.window_num).unwrap_or(u32::MAX),
                sample: config.quota.window,
            },
        }
    }

    /// Reads all quotas, and follows them from there.
    ///
    /// # Errors
    /// The metadata store failed at the first reading.
    pub async fn follow(self: &Rc<Self>, context: &Context) -> Result<JoinHandle<()>, KvError> {
        let (kv, space) = (context.kv.clone(), context.space.clone());
        let followed = Followed {
            what: "quotas",
            span: quota::span(&space),
            parse: |space, key| quota::parse(space, key).ok(),
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

    fn on_update(self: &Rc<Self>, update: Update<QuotaEntity, QuotaRecord>) {
        let mut rows = self.rows.borrow_mut();
        let at = match update {
            Update::Whole(all, at) => {
                let all = all.into_iter();
                let all: BTreeMap<_, _> = all.map(|(entity, seen)| (entity, seen.record)).collect();
                if all.is_empty() && rows.is_empty() {
                    self.at.send_replace(at);
                    return;
                }
                *rows = all;
                at
            }
            Update::Put(entity, seen) => {
                rows.insert(entity, seen.record);
                seen.mod_revision
            }
            Update::Gone(entity, at) => {
                rows.remove(&entity);
                at
            }
        };
        let table = QuotaTable::new(&rows);
        drop(rows);
        let is_limited = !table.is_empty() || self.namespace.is_limited();
        self.table.replace(table);
        self.signal.changed(is_limited);
        self.set_addresses();
        self.at.send_replace(at);
    }

    /// The quotas of all entities.
    pub fn all(&self) -> Vec<(QuotaEntity, QuotaRecord)> {
        let rows = self.rows.borrow();
        let rows = rows.iter();
        rows.map(|(entity, record)| (entity.clone(), record.clone()))
            .collect()
    }

    /// So many brokers share what all clients together may use.
    pub fn set_brokers(&self, brokers: usize) {
        let brokers = brokers.max(1);
        if self.namespace.brokers.replace(brokers) != brokers && self.namespace.is_limited() {
            self.signal.changed(true);
        }
    }

    /// What limits the clients of this user with this id.
    pub fn limits(&self, user: &str, client: &str) -> [Option<Limit>; QuotaKind::COUNT] {
        let table = self.table.borrow();
        let [produce, fetch, request, mutation] = QuotaKind::OF_CLIENTS.map(|kind| {
            let (key, rate) = table.find(kind, user, client, &self.window)?;
            let bucket = self.bucket(key, rate);
            Some(Limit { rate, bucket })
        });
        let [all_produce, all_fetch] = self.namespace.limits(&self.window);
        [produce, fetch, request, mutation, all_produce, all_fetch]
    }

    /// Longest throttle for the time of requests: one sample, as in Kafka.
    pub fn request_max(&self) -> Duration {
        self.window.sample
    }

    fn bucket(&self, key: BucketKey, rate: Rate) -> Arc<Bucket> {
        let now = self.signal.now_ns();
        let mut buckets = self.buckets.borrow_mut();
        if let Some((_, bucket)) = buckets.all.get(&key) {
            return bucket.clone();
        }
        // A connection keeps its bucket in use; one that is whole is no other than a new one.
        let is_used = |(_, bucket): &(Rate, Arc<Bucket>)| Arc::strong_count(bucket) > 1;
        let is_whole = |(rate, bucket): &(Rate, Arc<Bucket>)| rate.is_whole(bucket.paid(), now);
        buckets.make_room(is_used, is_whole);
        let bucket = Arc::<Bucket>::default();
        buckets.all.insert(key, (rate, bucket.clone()));
        bucket
    }

    /// Whether an address may open one more connection.
    ///
    /// # Errors
    /// For how long it may not.
    pub fn admit(&self, address: IpAddr) -> Result<(), Duration> {
        let mut addresses = self.addresses.borrow_mut();
        if addresses.quotas.is_empty() {
            return Ok(());
        }
        let address = address.to_canonical();
        let own = addresses.quotas.get(&Some(address));
        let Some(rate) = own.or_else(|| addresses.quotas.get(&None)).copied() else {
            return Ok(());
        };
        let now = self.signal.now_ns();
        let used = &mut addresses.used;
        let known = used.all.get(&address).filter(|(of, _)| *of == rate);
        let paid = known.map_or(Paid::LONG_AGO, |(_, paid)| *paid);
        match rate.try_charge(paid, 1.0, now) {
            Ok(paid) => {
                used.make_room(|_| false, |(rate, paid)| rate.is_whole(*paid, now));
                used.all.insert(address, (rate, paid));
                Ok(())
            }
            Err(wait) => {
                let wait = Duration::from_nanos(u64::try_from(wait).unwrap_or(0));
                Err(wait.min(self.window.sample))
            }
        }
    }

    /// Sets the quotas of addresses from what is stored; names are looked up meanwhile.
    fn set_addresses(self: &Rc<Self>) {
        let change = self.changes.get() + 1;
        self.changes.set(change);
        let rows = self.rows.borrow();
        let mut quotas = HashMap::new();
        for (entity, record) in rows.iter() {
            let QuotaEntity::Ip(name) = entity else {
                continue;
            };
            let value = record.values.get(CONNECTION_RATE).copied();
            let Some(value) = value.filter(|value| *value > 0.0) else {
                continue;
            };
            let rate = Rate::new(value, self.window.before());
            match name {
                QuotaName::Default => drop(quotas.insert(None, rate)),
                QuotaName::Named(name) => match name.parse::<IpAddr>() {
                    Ok(address) => drop(quotas.insert(Some(address.to_canonical()), rate)),
                    Err(_) => self.look_up(name.clone(), rate, change),
                },
            }
        }
        self.addresses.borrow_mut().quotas = quotas;
    }

    fn look_up(self: &Rc<Self>, name: String, rate: Rate, change: u64) {
        let this = self.clone();
        tokio::task::spawn_local(async move {
            let found = addresses_of(&name).await;
            if found.is_empty() {
                tracing::warn!(%name, "a host with a quota of connections is not known here");
            }
            if this.changes.get() == change {
                let mut addresses = this.addresses.borrow_mut();
                let found = found.into_iter().map(|address| (Some(address), rate));
                addresses.quotas.extend(found);
            }
        });
    }

    /// Waits until the watch has told of a change.
    async fn seen(&self, at: Revision) {
        let mut told = self.at.subscribe();
        let told = told.wait_for(|seen| *seen >= at);
        if tokio::time::timeout(SEEN_WAIT, told).await.is_err() {
            tracing::warn!("a change of quotas is stored, and the watch does not tell of it");
        }
    }
}

async fn addresses_of(name: &str) -> Vec<IpAddr> {
    match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => found.map(|it| it.ip().to_canonical()).collect(),
        Err(_) => Vec::new(),
    }
}

/// Changes quotas, one entity after the other, each wholly or not at all; outcomes are in their order. With
/// `validate_only` nothing is changed.
pub async fn alter(
    context: &Context,
    changes: Vec<QuotaChange>,
    validate_only: bool,
) -> Vec<Result<(), QuotaError>> {
    let mut outcomes = Vec::with_capacity(changes.len());
    let mut last = Revision::ZERO;
    for change in &changes {
        let outcome = match check_address(&change.entity).await {
            Ok(()) if validate_only => Ok(Revision::ZERO),
            Ok(()) => alter_one(context, change).await,
            Err(error) => Err(error),
        };
        outcomes.push(outcome.map(|at| last = last.max(at)));
    }
    context.quotas.seen(last).await;
    outcomes
}

/// Checks that an entity that is an address can be found.
async fn check_address(entity: &QuotaEntity) -> Result<(), QuotaError> {
    let QuotaEntity::Ip(QuotaName::Named(name)) = entity else {
        return Ok(());
    };
    if name.parse::<IpAddr>().is_ok() || !addresses_of(name).await.is_empty() {
        return Ok(());
    }
    Err(QuotaError::Address(name.clone()))
}

/// Gives the revision of the change; zero where nothing had to be changed. An unknown outcome is resolved by
/// reading: what is wanted is there, or it is tried again.
async fn alter_one(context: &Context, change: &QuotaChange) -> Result<Revision, QuotaError> {
    let unavailable = |error: &dyn std::fmt::Display| QuotaError::Unavailable(error.to_string());
    let Context {
        kv, space, session, ..
    } = context;
    let key = quota::key(space, &change.entity);
    let mut pauses = Pauses::default();
    for _ in 0..TRIES_MAX {
        let found = kv.get(key.clone()).await.map_err(|e| unavailable(&e))?;
        let before = seen::<QuotaRecord>(found.as_ref()).map_err(|e| unavailable(&e))?;
        let mut values = before
            .as_ref()
            .map(|before| before.record.values.clone())
            .unwrap_or_default();
        for (name, value) in &change.values {
            match value {
                Some(value) => drop(values.insert(name.clone(), *value)),
                None => drop(values.remove(name)),
            }
        }
        let is_same = match &before {
            Some(before) => before.record.values == values,
            None => values.is_empty(),
        };
        if is_same {
            return Ok(before.map_or(Revision::ZERO, |before| before.mod_revision));
        }
        let record = QuotaRecord { values };
        let planned = plan::put_quotas(space, session.id, &change.entity, before.as_ref(), record);
        match kv.txn(planned.txn).await {
            Ok(reply) if reply.succeeded => return Ok(reply.revision),
            Ok(_) => {}
            Err(error) if error.is_ambiguous() || error.is_retriable() => pauses.pause().await,
            Err(error) => return Err(unavailable(&error)),
        }
    }
    Err(QuotaError::Unavailable(
        "the quotas could not be changed; others may be changing them".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::ANONYMOUS;

    fn quotas(rows: &[(QuotaEntity, &str, f64)]) -> Rc<Quotas> {
        let config = Config::with(&[("quota.window_num", "3")]).unwrap();
        let quotas = Rc::new(Quotas::new(&config, Arc::default()));
        set(&quotas, rows);
        quotas
    }

    fn set(quotas: &Rc<Quotas>, rows: &[(QuotaEntity, &str, f64)]) {
        let row = |(entity, name, value): &(QuotaEntity, &str, f64)| {
            let record = QuotaRecord {
                values: [((*name).to_owned(), *value)].into(),
            };
            let seen = coord::keys::Seen {
                record,
                create_revision: Revision(1),
                mod_revision: Revision(1),
            };
            (entity.clone(), seen)
        };
        let all = rows.iter().map(row).collect();
        quotas.on_update(Update::Whole(all, Revision(1)));
    }

    fn named(name: &str) -> QuotaName {
        QuotaName::Named(name.to_owned())
    }

    #[test]
    fn clients_share_the_budget_of_their_entity_until_its_quota_changes() {
        let each = QuotaEntity::Client(QuotaName::Default);
        let name = QuotaKind::Produce.name();
        let quotas = quotas(&[(each.clone(), name, 10.0)]);
        assert!(quotas.signal.state().is_limited());
        let bucket = |client: &str| {
            let [produce, ..] = quotas.limits(ANONYMOUS, client);
            produce.unwrap().bucket
        };
        let a = bucket("a");
        assert!(Arc::ptr_eq(&a, &bucket("a")));
        assert!(!Arc::ptr_eq(&a, &bucket("b")), "each its own");
        set(&quotas, &[(each, name, 20.0)]);
        assert!(!Arc::ptr_eq(&a, &bucket("a")));
        let user = QuotaEntity::User(named(ANONYMOUS));
        set(&quotas, &[(user, name, 20.0)]);
        assert!(Arc::ptr_eq(&bucket("a"), &bucket("b")), "all of one user");
        set(&quotas, &[]);
        assert!(quotas.limits(ANONYMOUS, "a").iter().all(Option::is_none));
        assert!(!quotas.signal.state().is_limited());
    }

    #[test]
    fn all_clients_share_the_budget_of_the_namespace_and_brokers_its_rate() {
        let settings = [("namespace.fetch_bytes_per_second", "10KiB")];
        let config = Config::with(&settings).unwrap();
        let quotas = Rc::new(Quotas::new(&config, Arc::default()));
        let fetch = |client: &str| quotas.limits(ANONYMOUS, client);
        let place = QuotaKind::NamespaceFetch as usize;
        let of = |client: &str| fetch(client)[place].clone().unwrap();
        assert_eq!(fetch("a").iter().flatten().count(), 1);
        assert!(Arc::ptr_eq(&of("a").bucket, &of("b").bucket));
        assert_eq!(of("a").rate.per_second, 10_240.0);
        let before = quotas.signal.state();
        assert!(before.is_limited());
        quotas.set_brokers(1);
        assert_eq!(quotas.signal.state(), before, "nothing has changed");
        quotas.set_brokers(4);
        assert_ne!(quotas.signal.state(), before, "connections look again");
        assert_eq!(of("a").rate.per_second, 2_560.0);
        set(&quotas, &[]);
        assert!(
            quotas.signal.state().is_limited(),
            "also where no client has a quota"
        );
    }

    #[test]
    fn budgets_that_nobody_needs_go_and_those_in_use_or_in_debt_stay() {
        let each = QuotaEntity::Client(QuotaName::Default);
        let quotas = quotas(&[(each, QuotaKind::Produce.name(), 10.0)]);
        let [used, ..] = quotas.limits(ANONYMOUS, "used");
        let [in_debt, ..] = quotas.limits(ANONYMOUS, "in debt");
        let Limit { rate, bucket } = in_debt.unwrap();
        bucket.charge(&rate, 1e6, quotas.signal.now_ns());
        drop(bucket);
        for number in 0..3 * KEPT_MIN {
            drop(quotas.limits(ANONYMOUS, &number.to_string()));
        }
        let buckets = &quotas.buckets;
        assert!(buckets.borrow().all.len() <= KEPT_MIN + 2);
        let [again, ..] = quotas.limits(ANONYMOUS, "used");
        assert!(Arc::ptr_eq(&used.unwrap().bucket, &again.unwrap().bucket));
        let [again, ..] = quotas.limits(ANONYMOUS, "in debt");
        assert!(again.unwrap().bucket.paid() > Paid::LONG_AGO);
    }

    #[test]
    fn an_address_opens_as_many_connections_as_its_quota_lets_it() {
        let own = QuotaEntity::Ip(named("127.0.0.1"));
        let rest = QuotaEntity::Ip(QuotaName::Default);
        let quotas = quotas(&[(own, CONNECTION_RATE, 2.0), (rest, CONNECTION_RATE, 5.0)]);
        assert!(!quotas.signal.state().is_limited(), "no client is limited");
        let admitted = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            (0..50)
                .take_while(|_| quotas.admit(address).is_ok())
                .count()
        };
        // Two samples at once, and what refills while this runs.
        assert!((4..6).contains(&admitted("127.0.0.1")));
        assert!(
            (10..13).contains(&admitted("::ffff:10.0.0.1")),
            "as 10.0.0.1"
        );
        let wait = quotas.admit("10.0.0.1".parse().unwrap()).unwrap_err();
        assert!(wait <= Duration::from_millis(200), "{wait:?}");
        set(&quotas, &[]);
        assert_eq!(quotas.admit("10.0.0.1".parse().unwrap()), Ok(()));
    }
}
