//! The etcd side: the seam over an etcd cluster, by the crate `etcd-client`.
//!
//! Requests run as tasks on a tokio runtime; their futures belong to none and may be polled from any
//! thread and executor. They must not be waited for by blocking the runtime's own (only) thread.
//!
//! Invariants:
//! - every request ends within the request timeout, at most [`REQUESTS_MAX`] run at once;
//! - a write answers anything but [`KvError::Ambiguous`] only if it was not sent, or if etcd refused it
//!   before applying it (`fault.rs`);
//! - a reading is linearizable; it is repeated on other members, and fails definitely.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbRangeResponse;
use etcd_client::{Client, GetOptions};
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::error::KvError;
use super::txn::{Op, Txn, TxnReply};
use super::types::{Key, KeyValue, Revision, SessionLease, Span};
use super::watch::{Watch, WatchSender};
use super::{Kv, KvFuture, KvLimits, Range, RangeReply};

mod convert;
mod fault;
mod follow;
mod members;
mod options;

use fault::{Effect, Fault, Kind};
use follow::Follow;
use members::{Members, Repeat};

pub use follow::WATCH_REOPEN_MAX;
pub use options::{
    ConnectError, ENDPOINTS_MAX, EtcdOptions, EtcdTls, KEEP_ALIVE_INTERVAL_MIN, Password,
};

/// Requests that run at once; further ones fail definitely.
pub const REQUESTS_MAX: usize = 4_096;

/// Watches that are open at once; further ones fail definitely.
pub const WATCHES_MAX: usize = 1_024;

/// Bytes of one reply at most. A page of a reading that is larger is cut short instead.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(
    MESSAGE_BYTES_MAX > 2 * KvLimits::ETCD.bytes_max,
    "what is written can be read"
);

/// The oldest etcd that has everything used here: (3, 4).
const VERSION_MIN: (u32, u32) = (3, 4);

/// What one member says of itself and its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdStatus {
    /// Its version, such as `3.5.1`.
    pub version: String,
    /// The cluster that it belongs to.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// The member that leads, as far as this one knows.
    pub leader: Option<u64>,
}

/// A store in an etcd cluster; clones share the connections.
#[derive(Clone)]
pub struct Etcd {
    shared: Arc<Shared>,
}

struct Shared {
    handle: Handle,
    members: Members,
    watch_queue_batches: usize,
    requests: Arc<Semaphore>,
    watches: Arc<Semaphore>,
}

/// What the sender is told when the runtime stopped under its request.
#[derive(Clone, Copy)]
enum Stopped {
    Read,
    Write,
}

impl Etcd {
    /// Connects, on the tokio runtime that the future is polled in; see [`Etcd::connect_on`].
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(options: EtcdOptions) -> Result<Etcd, ConnectError> {
        let handle = Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        Self::connect_on(handle, options).await
    }

    /// Connects: at least one member must answer, be of version 3.4 or later and know a leader,
    /// and all that answer must be of one cluster. Takes at most twice the request timeout.
    ///
    /// # Errors
    /// [`ConnectError`] says what was answered and which setting mends it.
    pub async fn connect_on(handle: Handle, options: EtcdOptions) -> Result<Etcd, ConnectError> {
        let (answer, reply) = oneshot::channel();
        let on = handle.clone();
        handle.spawn(async move {
            // Whoever has gone away does not need the answer.
            let _ = answer.send(connect(on, options).await);
        });
        reply.await.unwrap_or(Err(ConnectError::NoRuntime))
    }

    /// Asks members until one answers.
    ///
    /// # Errors
    /// [`KvError::Failed`] with what was answered.
    pub fn check(&self) -> KvFuture<EtcdStatus> {
        self.run(Stopped::Read, |shared| async move {
            let asked = shared.members.call(Repeat::Harmless, status);
            asked.await.map_err(|fault| read_error(&fault))
        })
    }

    /// What each endpoint answers, in the order of the options.
    ///
    /// # Errors
    /// [`KvError::Closed`] if the runtime has stopped; those of one member are in the list.
    pub fn members(&self) -> KvFuture<Vec<(String, Result<EtcdStatus, KvError>)>> {
        self.run(Stopped::Read, |shared| async move {
            let answers = shared.ask_all().await;
            let answers = shared.members.all.iter().zip(answers);
            Ok(answers
                .map(|(member, answer)| {
                    let answer = answer.map_err(|fault| read_error(&fault));
                    (member.url.clone(), answer)
                })
                .collect())
        })
    }

    /// A future that, once polled, runs `operation` as a task of the runtime.
    fn run<T, F>(
        &self,
        stopped: Stopped,
        operation: impl FnOnce(Arc<Shared>) -> F + Send + 'static,
    ) -> KvFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, KvError>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let requests = Arc::clone(&shared.requests);
            let Ok(permit) = requests.try_acquire_owned() else {
                let reason = format!("{REQUESTS_MAX} requests to etcd are running");
                return Err(KvError::failed(reason));
            };
            let (answer, reply) = oneshot::channel();
            let handle = shared.handle.clone();
            handle.spawn(async move {
                let outcome = operation(shared).await;
                drop(permit);
                // Whoever has gone away does not need the answer.
                let _ = answer.send(outcome);
            });
            reply.await.unwrap_or(Err(match stopped {
                Stopped::Read => KvError::Closed,
                Stopped::Write => KvError::ambiguous("the runtime stopped under the request"),
            }))
        })
    }
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let members = &self.shared.members.all;
        let urls: Vec<&str> = members.iter().map(|member| member.url.as_str()).collect();
        f.debug_struct("Etcd").field("endpoints", &urls).finish()
    }
}

impl Kv for Etcd {
    fn txn(&self, txn: Txn) -> KvFuture<TxnReply> {
        self.run(
            Stopped::Write,
            |shared| async move { shared.txn(&txn).await },
        )
    }

    fn range(&self, range: Range) -> KvFuture<RangeReply> {
        self.run(
            Stopped::Read,
            |shared| async move { shared.page(&range).await },
        )
    }

    fn get(&self, key: Key) -> KvFuture<Option<KeyValue>> {
        let range = Range {
            span: Span::single(key),
            limit: 1,
            at: None,
        };
        self.run(Stopped::Read, |shared| async move {
            let page = shared.page(&range).await?;
            Ok(page.entries.into_iter().next())
        })
    }

    fn watch(&self, span: Span, from: Revision) -> KvFuture<Watch> {
        self.run(Stopped::Read, move |shared| watch(shared, span, from))
    }

    /// etcd counts in whole seconds and has a least time (2 s unless its election timeout says
    /// otherwise): `ttl` is rounded up, etcd raises it further. [`Kv::keep_alive`] tells the truth.
    fn grant_session(&self, ttl: Duration) -> KvFuture<SessionLease> {
        self.run(Stopped::Write, move |shared| async move {
            let granted = shared.members.call(Repeat::Never, |client| async move {
                let mut client = client.lease_client();
                let reply = client.grant(whole_seconds(ttl), None).await?;
                Ok(reply.id())
            });
            match granted.await {
                Ok(lease) if lease != 0 => Ok(SessionLease(lease)),
                Ok(_) => Err(KvError::ambiguous("etcd granted a lease without an id")),
                Err(fault) => Err(write_error(&fault)),
            }
        })
    }

    fn keep_alive(&self, session: SessionLease) -> KvFuture<Duration> {
        self.run(Stopped::Write, move |shared| async move {
            let kept = shared.members.call(Repeat::Harmless, |client| async move {
                // The client swallows the time in the first answer of the stream.
                let (mut keeper, mut replies) = client.lease_client().keep_alive(session.0).await?;
                keeper.keep_alive().await?;
                match replies.message().await? {
                    Some(reply) => Ok(reply.ttl()),
                    None => Err(Fault::unanswered("the keep-alive was not answered")),
                }
            });
            match kept.await.map(u64::try_from) {
                Ok(Ok(seconds)) if seconds > 0 => Ok(Duration::from_secs(seconds)),
                Ok(_) => Err(KvError::SessionGone { lease: session }),
                Err(fault) if fault.kind == Kind::LeaseGone => {
                    Err(KvError::SessionGone { lease: session })
                }
                Err(fault) => Err(write_error(&fault)),
            }
        })
    }

    fn revoke(&self, session: SessionLease) -> KvFuture<()> {
        self.run(Stopped::Write, move |shared| async move {
            let revoked = shared.members.call(Repeat::Harmless, |client| async move {
                client.lease_client().revoke(session.0).await?;
                Ok(())
            });
            match revoked.await {
                Err(fault) if fault.kind == Kind::LeaseGone => Ok(()),
                outcome => outcome.map_err(|fault| write_error(&fault)),
            }
        })
    }

    fn limits(&self) -> KvLimits {
        KvLimits::ETCD
    }
}

impl Shared {
    async fn txn(&self, txn: &Txn) -> Result<TxnReply, KvError> {
        txn.validate()?;
        KvLimits::ETCD.check(txn)?;
        let request = convert::txn(txn);
        let sent = self.members.call(Repeat::Never, |client| {
            let request = request.clone();
            async move {
                let client = client.kv_client();
                let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
                Ok(client.txn(request).await?)
            }
        });
        match sent.await {
            Ok(reply) => convert::txn_reply(txn, reply.0).map_err(KvError::ambiguous),
            Err(fault) if fault.effect == Effect::None => match fault.kind {
                Kind::LeaseGone => Err(self.session_gone(txn).await),
                // This etcd is set to take less than usual; how much it does not say.
                Kind::TooLarge => Err(KvError::TooLarge {
                    unit: "bytes",
                    size: txn.bytes(),
                    limit: txn.bytes().saturating_sub(1),
                }),
                _ => Err(write_error(&fault)),
            },
            Err(fault) => Err(write_error(&fault)),
        }
    }

    /// Which of the sessions named in a transaction does not live; etcd does not say.
    async fn session_gone(&self, txn: &Txn) -> KvError {
        let mut named = Vec::new();
        sessions(txn, &mut named);
        named.sort_unstable();
        named.dedup();
        if named.len() > 1 {
            for lease in &named {
                let asked = self.members.call(Repeat::Harmless, |client| async move {
                    let mut client = client.lease_client();
                    Ok(client.time_to_live(lease.0, None).await?.ttl())
                });
                if matches!(asked.await, Ok(ttl) if ttl <= 0) {
                    return KvError::SessionGone { lease: *lease };
                }
            }
        }
        match named.first() {
            Some(lease) => KvError::SessionGone { lease: *lease },
            None => KvError::failed("etcd misses a lease that the transaction does not name"),
        }
    }

    /// One page; fewer keys than the limit allows if they would not fit into one reply.
    async fn page(&self, range: &Range) -> Result<RangeReply, KvError> {
        let mut limit = range.limit;
        loop {
            assert!(limit <= range.limit, "a page only gets smaller");
            match self.read(range, limit).await {
                Ok(reply) => return Ok(reply),
                Err(fault) if fault.kind == Kind::ReplyTooLarge && limit > 1 => limit /= 2,
                Err(fault) => return Err(self.page_error(range, &fault).await),
            }
        }
    }

    async fn read(&self, range: &Range, limit: usize) -> Result<RangeReply, Fault> {
        let Some((key, end)) = convert::bounds(&range.span) else {
            let at = range.at.unwrap_or(Revision::ZERO);
            let revision = self.probe(&range.span, at).await?;
            return Ok(RangeReply {
                entries: Vec::new(),
                revision: range.at.unwrap_or(revision),
                more: false,
            });
        };
        let options = GetOptions::new()
            .with_range(end)
            .with_limit(convert::count(limit))
            .with_revision(range.at.map_or(0, |at| at.0));
        let reply = self.get(key, options).await?;
        let current = header_revision(&reply)?;
        let (entries, more) =
            convert::page(reply).map_err(|misfit| Fault::unanswered(misfit.to_string()))?;
        Ok(RangeReply {
            entries,
            revision: range.at.unwrap_or(current),
            more,
        })
    }

    async fn get(&self, key: Vec<u8>, options: GetOptions) -> Result<PbRangeResponse, Fault> {
        let asked = self.members.call(Repeat::Harmless, |client| {
            let (key, options) = (key.clone(), options.clone());
            async move {
                let client = client.kv_client();
                let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
                Ok(client.get(key, Some(options)).await?.0)
            }
        });
        asked.await
    }

    /// Whether the state at a revision (0: the current one) can be read; gives the current revision.
    /// It asks for a key of the span, since the login may be allowed no other.
    async fn probe(&self, span: &Span, at: Revision) -> Result<Revision, Fault> {
        let options = GetOptions::new().with_count_only().with_revision(at.0);
        let reply = self.get(convert::first_key(span), options).await?;
        header_revision(&reply)
    }

    async fn page_error(&self, range: &Range, fault: &Fault) -> KvError {
        match (fault.kind, range.at) {
            (Kind::Compacted | Kind::Future, Some(asked)) => {
                self.compacted(&range.span, asked).await
            }
            (Kind::ReplyTooLarge, _) if range.limit == 0 => KvError::invalid(format!(
                "the keys are more than {MESSAGE_BYTES_MAX} bytes in one page: read with a limit"
            )),
            _ => read_error(fault),
        }
    }

    /// The error for a revision that is not kept, with the current one.
    async fn compacted(&self, span: &Span, asked: Revision) -> KvError {
        match self.probe(span, Revision::ZERO).await {
            Ok(current) => KvError::Compacted { asked, current },
            Err(fault) => read_error(&fault),
        }
    }

    async fn ask_all(&self) -> Vec<Result<EtcdStatus, Fault>> {
        let limit = self.members.request_timeout();
        let members = self.members.all.iter();
        let answers = join_all(members.map(|member| member.attempt(limit, status))).await;
        assert!(
            answers.len() == self.members.all.len(),
            "each member has an answer"
        );
        answers
    }
}

async fn connect(handle: Handle, options: EtcdOptions) -> Result<Etcd, ConnectError> {
    let shared = Shared {
        handle,
        members: Members::new(&options).await?,
        watch_queue_batches: options.watch_queue_batches.max(1),
        requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        watches: Arc::new(Semaphore::new(WATCHES_MAX)),
    };
    let (mut good, mut bad) = (Vec::<(String, EtcdStatus)>::new(), Vec::new());
    let answers = shared.ask_all().await;
    for (member, answer) in shared.members.all.iter().zip(answers) {
        match answer {
            Ok(status) => good.push((member.url.clone(), status)),
            Err(fault) if fault.kind == Kind::Denied => {
                return Err(ConnectError::Login {
                    reason: fault.reason,
                });
            }
            Err(fault) => bad.push(fault.reason),
        }
    }
    let Some((first, expected)) = good.first() else {
        let answers = bad.join("; ");
        return Err(ConnectError::Unreachable { answers });
    };
    for (endpoint, status) in &good {
        check_version(endpoint, status)?;
        if status.cluster_id != expected.cluster_id {
            return Err(ConnectError::DifferentClusters {
                first: first.clone(),
                second: endpoint.clone(),
            });
        }
    }
    check_access(&shared).await?;
    for reason in bad {
        tracing::warn!(reason, "an etcd member cannot be used now");
    }
    let shared = Arc::new(shared);
    Ok(Etcd { shared })
}

async fn watch(shared: Arc<Shared>, span: Span, from: Revision) -> Result<Watch, KvError> {
    let Ok(permit) = Arc::clone(&shared.watches).try_acquire_owned() else {
        let reason = format!("{WATCHES_MAX} watches of etcd are open");
        return Err(KvError::failed(reason));
    };
    let opened = match convert::bounds(&span) {
        None => Ok(None),
        Some(_) => follow::open(&shared, &span, from, false).await.map(Some),
    };
    let stream = match opened {
        Ok(stream) => stream,
        Err(fault) if fault.kind == Kind::Compacted => {
            return Err(shared.compacted(&span, from).await);
        }
        Err(fault) => return Err(read_error(&fault)),
    };
    let (sender, watch) = WatchSender::channel(shared.watch_queue_batches);
    let handle = shared.handle.clone();
    let follow = Follow::new(shared, span, from, sender, permit);
    handle.spawn(follow.run(stream));
    Ok(watch)
}

async fn status(mut client: Client) -> Result<EtcdStatus, Fault> {
    let status = client.status().await?;
    let header = status.header().ok_or(Fault::unanswered("no header"))?;
    Ok(EtcdStatus {
        version: status.version().to_owned(),
        cluster_id: header.cluster_id(),
        member_id: header.member_id(),
        leader: (status.leader() != 0).then_some(status.leader()),
    })
}

/// Reads a key: there is a quorum, and a login where one is needed. Which keys it may use is not known
/// here.
async fn check_access(shared: &Shared) -> Result<(), ConnectError> {
    match shared.probe(&Span::prefix(""), Revision::ZERO).await {
        Ok(_) => Ok(()),
        Err(fault) if fault.kind == Kind::Denied => Ok(()),
        Err(fault) if fault.kind == Kind::Token => Err(ConnectError::Login {
            reason: fault.reason,
        }),
        Err(fault) => Err(ConnectError::Unreachable {
            answers: fault.reason,
        }),
    }
}

fn check_version(endpoint: &str, status: &EtcdStatus) -> Result<(), ConnectError> {
    let mut parts = status.version.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= VERSION_MIN => Ok(()),
        _ => Err(ConnectError::TooOld {
            endpoint: endpoint.to_owned(),
            version: status.version.clone(),
        }),
    }
}

fn header_revision(reply: &PbRangeResponse) -> Result<Revision, Fault> {
    let header = reply
        .header
        .as_ref()
        .ok_or(Fault::unanswered("no header"))?;
    Ok(Revision(header.revision))
}

/// Every session that a transaction binds a key to.
fn sessions(txn: &Txn, found: &mut Vec<SessionLease>) {
    for op in txn.then.iter().chain(&txn.otherwise) {
        match op {
            Op::Put { session, .. } => found.extend(session),
            Op::Txn(nested) => sessions(nested, found),
            _ => {}
        }
    }
}

fn whole_seconds(ttl: Duration) -> i64 {
    let part = u64::from(ttl.subsec_nanos() > 0);
    let seconds = ttl.as_secs().saturating_add(part);
    i64::try_from(seconds.max(1)).unwrap_or(i64::MAX)
}

fn write_error(fault: &Fault) -> KvError {
    match (fault.effect, fault.kind) {
        (Effect::Unknown, _) => KvError::ambiguous(&fault.reason),
        (Effect::None, Kind::Invalid | Kind::TooLarge) => KvError::invalid(&fault.reason),
        (Effect::None, Kind::Corrupt) => corrupt(fault),
        (Effect::None, _) => KvError::failed(&fault.reason),
    }
}

/// A reading has no effect, so it never ends in doubt.
fn read_error(fault: &Fault) -> KvError {
    match fault.kind {
        Kind::Invalid | Kind::TooLarge => KvError::invalid(&fault.reason),
        Kind::Corrupt => corrupt(fault),
        _ => KvError::failed(&fault.reason),
    }
}

fn corrupt(fault: &Fault) -> KvError {
    KvError::Corrupt {
        reason: format!("{}; see etcd's alarms (etcdctl alarm list)", fault.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_3_4_on_are_taken() {
        let check = |version: &str| {
            let status = EtcdStatus {
                version: version.to_owned(),
                cluster_id: 1,
                member_id: 1,
                leader: None,
            };
            check_version("http://one:2379", &status)
        };
        for version in ["3.4.0", "3.5.1", "3.10.0-alpha.1", "4.0"] {
            assert_eq!(check(version), Ok(()), "{version}");
        }
        for version in ["3.3.27", "2.3.8", "", "new"] {
            let error = check(version).expect_err(version).to_string();
            assert!(
                error.contains("http://one:2379") && error.contains("upgrade"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_session_lives_no_shorter_than_asked() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(10)), 10);
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::MAX), i64::MAX);
    }
}
