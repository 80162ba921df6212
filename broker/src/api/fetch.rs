//! Fetch (key 1), versions 4-18.
//!
//! - A partition whose offset is in the published tail is read on the connection's own shard, without a message,
//!   a lock or a copy; anything older is read by its owner, from its chunk cache or the object store.
//! - At least one whole batch is returned if there is one (KIP-74), whatever the limits; `max_bytes` and
//!   `partition_max_bytes` bound the rest.
//! - A fetch that finds fewer than `min_bytes` waits, at most `max_wait_ms`, and is woken exactly when its bytes
//!   have become visible. An error, or anything that must be read from the store, answers at once.
//!   `min_bytes` above `max_bytes` means `max_bytes`; no wait is longer than a connection may be idle, nor, for a
//!   request that names more than 500 partitions, whose memory others may need, than 2 s: its client asks again.
//! - v7: incremental sessions (KIP-227): only partitions with news are in the reply, and those that returned
//!   data go to the end of the line. v9: leader epochs (KIP-320). v11: rack, ignored. v12: flexible. v13:
//!   topic ids (KIP-516). v15-18: fields of followers.
//! - A fetch that a quota holds back is answered at once, empty, with the time to pause (KIP-219); none returns
//!   more bytes than its client may use at once, but for the first batch.
//! - Needs READ on each topic: TOPIC_AUTHORIZATION_FAILED, whether it exists or not. A session is used by whoever began
//!   it, and is unknown to others.
//! - Isolation level: without transactions the last stable offset is the high watermark.
//!
//! Left out: followers (replica id 0 and up is refused; CVE-2018-1288), diverging epochs (followers only).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coord::rules::{self, Rule};
use security::acl::Operation;
use segment::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use wire::messages::fetch::{
    AbortedTransaction, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use wire::{ErrorCode, FetchResponseWriter, Records, Uuid, VersionRange};

use super::fetch_session::{Context, Session, TopicKey, Wanted};
use super::{Reply, RequestContext, error};
use crate::metadata::{Metadata, Topic};
use crate::partition::{FetchWaiter, PartitionHandle, ReadSnapshot, TailRead};
use crate::shard::ReadError;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 4, max: 18 };
/// First version with topic ids instead of names.
const TOPIC_IDS_FROM: i16 = 13;
/// Reads of one fetch that may wait for the store; partitions beyond it come with the next fetch.
const COLD_READS_MAX: usize = 64;

/// Partitions of a request that is served in one turn, and may wait as long as it likes. More are reserved memory
/// meanwhile; a client that has a session names them once.
const LONG_PARTITIONS: usize = 500;
/// What one that names more waits, at most.
const SHORT_WAIT: Duration = Duration::from_secs(2);

/// Room for the head of a reply and its topic, and for what the encoder wants to have left behind records: with
/// less it takes another block.
const HEAD_BYTES: usize = 256;
/// Room for one partition of a reply, without its records: some 45 bytes are used.
const PARTITION_BYTES: usize = 64;

/// What one fetch may return.
struct Limits {
    bytes: u64,
    min_bytes: u64,
    wait: Duration,
}

/// One partition of the fetch, looked up.
struct Place {
    handle: Option<Arc<PartitionHandle>>,
    error: ErrorCode,
}

impl Place {
    /// The published snapshot, as long as our session is proven.
    fn snapshot(&self, proven: bool) -> Option<Arc<ReadSnapshot>> {
        self.handle.as_ref().filter(|_| proven)?.snapshot()
    }

    /// Looks at it in place: shards that read one partition side by side do not write to a common
    /// reference count.
    fn with_snapshot<R>(&self, proven: bool, look: impl FnOnce(Option<&ReadSnapshot>) -> R) -> R {
        match self.handle.as_ref().filter(|_| proven) {
            Some(handle) => handle.with_snapshot(look),
            None => look(None),
        }
    }
}

/// Who had what a fetch asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Nobody was asked: an error, or no room left in the reply.
    NotRead,
    /// The published tail.
    Memory,
    /// The owner, from its chunk cache or the object store.
    Owner,
}

/// What is found of one partition.
struct Found {
    source: Source,
    error: ErrorCode,
    high_watermark: i64,
    last_stable: i64,
    log_start: i64,
    /// Its slices in the list of all slices.
    slices: std::ops::Range<usize>,
    bytes: u64,
}

/// Answers a fetch.
pub(super) async fn handle(cx: &RequestContext, request: FetchRequest<'_>) -> Reply {
    if let Some(code) = refuse_whole(cx, &request) {
        return refuse(cx, code, 0);
    }
    let (wanted, forgotten) = (wanted(cx, &request), forgotten(cx, &request));
    let is_long = wanted.len() > LONG_PARTITIONS;
    if is_long {
        cx.next_step().await;
    }
    let config = &cx.shard.shared.config.request;
    let wait_max = match is_long {
        // A client that has gone away is noticed when it is answered: until then it counts as idle.
        false => config.idle_timeout,
        true => SHORT_WAIT,
    };
    let sessions = &cx.shard.fetch_sessions;
    let context = sessions.context(
        request.session_id,
        request.session_epoch,
        cx.identity.owner(),
        wanted,
        &forgotten,
    );
    let context = match context {
        Ok(context) => context,
        Err(session) => return refuse(cx, error::session_code(&session), 0),
    };
    let mut bytes = u64::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(config.fetch_bytes_max)
        // Where much waits for slow readers, everyone gets one batch at a time.
        .min(cx.shard.connections.unsent.room().max(1));
    if let Some(limits) = &cx.limits {
        bytes = bytes.min(limits.fetch_bytes_max());
    }
    let limits = Limits {
        bytes,
        // More than that will never be in a reply: as in Kafka, there is nothing to wait for.
        min_bytes: u64::try_from(request.min_bytes).unwrap_or(0).min(bytes),
        wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(wait_max),
    };
    let read_committed = request.isolation_level == 1;
    match context {
        Context::Sessionless(mut session) => {
            serve(cx, &mut session, &limits, 0, Filter::All, read_committed).await
        }
        Context::Full(id, session) => {
            let mut copy = session.borrow_mut().lend();
            let reply = serve(cx, &mut copy, &limits, id, Filter::All, read_committed).await;
            session.replace(copy);
            reply
        }
        Context::Incremental(id, session) => {
            let mut copy = session.borrow_mut().lend();
            let reply = serve(cx, &mut copy, &limits, id, Filter::News, read_committed).await;
            session.replace(copy);
            reply
        }
    }
}

/// Which partitions go into the reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filter {
    All,
    News,
}

fn refuse_whole(cx: &RequestContext, request: &FetchRequest<'_>) -> Option<ErrorCode> {
    if request.replica_id >= 0 || request.replica_state.replica_id >= 0 {
        return Some(ErrorCode::INVALID_REQUEST);
    }
    let partitions: usize = request
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum();
    if partitions > cx.shard.shared.config.request.partitions_max {
        cx.shard.metrics.rejected_partitions.increment();
        return Some(ErrorCode::INVALID_REQUEST);
    }
    None
}

fn refuse(cx: &RequestContext, code: ErrorCode, session_id: i32) -> Reply {
    cx.failed(code);
    cx.reply(&FetchResponse {
        error_code: code,
        session_id,
        ..FetchResponse::default()
    })
}

fn key(cx: &RequestContext, name: &str, id: Uuid) -> TopicKey {
    if cx.version >= TOPIC_IDS_FROM {
        TopicKey::Id(TopicId::new(id.0))
    } else {
        TopicKey::Name(name.into())
    }
}

fn wanted(cx: &RequestContext, request: &FetchRequest<'_>) -> Vec<Wanted> {
    let count = request.topics.iter().map(|topic| topic.partitions.len());
    let mut all = Vec::with_capacity(count.sum());
    for topic in &request.topics {
        let key = key(cx, topic.topic, topic.topic_id);
        all.extend(topic.partitions.iter().map(|partition| Wanted {
            topic: key.clone(),
            partition: PartitionIndex::new(partition.partition),
            offset: Offset::new(partition.fetch_offset),
            bytes_max: u64::try_from(partition.partition_max_bytes).unwrap_or(0),
            leader_epoch: partition.current_leader_epoch,
            told: None,
        }));
    }
    all
}

fn forgotten(cx: &RequestContext, request: &FetchRequest<'_>) -> Vec<(TopicKey, PartitionIndex)> {
    let mut all = Vec::new();
    for topic in &request.forgotten_topics_data {
        let key = key(cx, topic.topic, topic.topic_id);
        all.extend(
            topic
                .partitions
                .iter()
                .map(|p| (key.clone(), PartitionIndex::new(*p))),
        );
    }
    all
}

fn find_topic<'a>(
    cx: &RequestContext,
    metadata: &'a Metadata,
    key: &TopicKey,
) -> Result<&'a Arc<Topic>, ErrorCode> {
    let may_read = |name: &str| match cx.allows_topic(Operation::Read, name) {
        true => Ok(()),
        false => Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
    };
    match key {
        TopicKey::Name(name) => {
            may_read(name)?;
            let topic = metadata.topic(name);
            topic.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        }
        TopicKey::Id(id) => {
            let topic = metadata.topic_by_id(*id);
            let topic = topic.ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?;
            may_read(topic.name.as_str())?;
            Ok(topic)
        }
    }
}

fn places(cx: &RequestContext, metadata: &Metadata, session: &Session) -> Vec<Place> {
    let mut last: Option<(&TopicKey, Result<&Arc<Topic>, ErrorCode>)> = None;
    let mut places = Vec::with_capacity(session.wanted.len());
    for wanted in &session.wanted {
        let topic = match &last {
            Some((key, topic)) if **key == wanted.topic => *topic,
            _ => find_topic(cx, metadata, &wanted.topic),
        };
        last = Some((&wanted.topic, topic));
        places.push(match topic.map(|topic| topic.partition(wanted.partition)) {
            Ok(Some(handle)) => Place {
                handle: Some(handle.clone()),
                error: ErrorCode::NONE,
            },
            Ok(None) => Place {
                handle: None,
                error: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            },
            Err(error) => Place {
                handle: None,
                error,
            },
        });
    }
    places
}

async fn serve(
    cx: &RequestContext,
    session: &mut Session,
    limits: &Limits,
    session_id: i32,
    filter: Filter,
    read_committed: bool,
) -> Reply {
    let metadata = cx.shard.metadata();
    let is_long = session.wanted.len() > LONG_PARTITIONS;
    if is_long {
        cx.next_step().await;
    }
    let places = places(cx, &metadata, session);
    // Most fetches find what they need: only the others look twice.
    let mut read = read_all(cx, session, &places, limits).await;
    let waits = read.waits(limits) && !session.wanted.is_empty();
    if waits {
        wait_for_bytes(cx, session, &places, limits).await;
        read = read_all(cx, session, &places, limits).await;
    }
    read.count(cx, &places);
    let Read {
        mut found,
        slices,
        cold,
    } = read;
    confirm_out_of_range(cx, session, &places, &mut found).await;
    if is_long {
        cx.next_step().await;
    }
    let metrics = &cx.shard.metrics;
    let bytes: u64 = found.iter().map(|f| f.bytes).sum();
    metrics.fetch_bytes.add(bytes);
    let reply = encode(
        cx,
        session,
        &metadata,
        &found,
        &slices,
        session_id,
        filter,
        read_committed,
    );
    let elapsed = cx.took();
    if cold {
        metrics.fetch_miss_latency.record_time(elapsed);
    } else if !waits && bytes > 0 {
        metrics.fetch_hit_latency.record_time(elapsed);
    }
    reply
}

/// OFFSET_OUT_OF_RANGE makes a consumer start anew, so it is answered only by a broker that was
/// proven after the request arrived; any other sends the client to ask for the leader.
async fn confirm_out_of_range(
    cx: &RequestContext,
    session: &Session,
    places: &[Place],
    found: &mut [Found],
) {
    let is_out = |found: &Found| found.error == ErrorCode::OFFSET_OUT_OF_RANGE;
    if !found.iter().any(is_out) || !rules::holds(Rule::OutOfRangeNeedsProof) {
        return;
    }
    let proven = cx.shard.proven_since(cx.started).await;
    let rows = found.iter_mut().zip(&session.wanted).zip(places);
    for ((found, wanted), place) in rows.filter(|((found, _), _)| is_out(found)) {
        let snapshot = place.snapshot(proven);
        // What is in range by now comes with the next fetch.
        found.error = verdict(wanted, snapshot.as_deref(), place);
    }
}

/// Checks an offset and an epoch against a snapshot.
fn verdict(wanted: &Wanted, snapshot: Option<&ReadSnapshot>, place: &Place) -> ErrorCode {
    if !place.error.is_none() {
        return place.error;
    }
    let Some(snapshot) = snapshot else {
        return ErrorCode::NOT_LEADER_OR_FOLLOWER;
    };
    let epoch = epoch_verdict(wanted.leader_epoch, snapshot.leader_epoch);
    if !epoch.is_none() {
        return epoch;
    }
    if snapshot.in_range(wanted.offset) {
        ErrorCode::NONE
    } else {
        ErrorCode::OFFSET_OUT_OF_RANGE
    }
}

/// Compares the leader epoch that a client knows (-1: none) with ours (KIP-320).
pub(super) fn epoch_verdict(client: i32, ours: LeaderEpoch) -> ErrorCode {
    match client {
        i32::MIN..0 => ErrorCode::NONE,
        epoch if epoch < ours.get() => ErrorCode::FENCED_LEADER_EPOCH,
        epoch if epoch > ours.get() => ErrorCode::UNKNOWN_LEADER_EPOCH,
        _ => ErrorCode::NONE,
    }
}

/// Waits until `min_bytes` are there, the time is up, or there is a reason to answer at once.
async fn wait_for_bytes(cx: &RequestContext, session: &Session, places: &[Place], limits: &Limits) {
    let proven = cx.shard.is_proven();
    let mut available = 0;
    let mut seen = Vec::with_capacity(places.len());
    for (wanted, place) in session.wanted.iter().zip(places) {
        let snapshot = place.snapshot(proven);
        if !verdict(wanted, snapshot.as_deref(), place).is_none() {
            return;
        }
        let (Some(snapshot), Some(handle)) = (snapshot, &place.handle) else {
            return;
        };
        let Some(bytes) = snapshot.available(wanted.offset, limits.min_bytes) else {
            return;
        };
        available += bytes.min(wanted.bytes_max.max(1));
        if available >= limits.min_bytes {
            return;
        }
        seen.push((handle, snapshot));
    }
    let waiter = FetchWaiter::new(limits.min_bytes - available);
    for (handle, snapshot) in &seen {
        handle.wait(&waiter, snapshot);
    }
    drop(seen);
    cx.shard.metrics.fetch_waiters.add(1);
    let done = std::future::poll_fn(|context| waiter.poll(context));
    let _ = cx.shard.poll_at_most(limits.wait, done).await;
    cx.shard.metrics.fetch_waiters.add(-1);
    waiter.finish();
}

/// What was read of all partitions of a fetch.
struct Read {
    /// In the order of the session.
    found: Vec<Found>,
    /// The records of all of them.
    slices: Vec<Bytes>,
    /// Whether the store had to be asked.
    cold: bool,
}

impl Read {
    /// Whether the client is to wait for more.
    fn waits(&self, limits: &Limits) -> bool {
        let bytes: u64 = self.found.iter().map(|found| found.bytes).sum();
        let may = !limits.wait.is_zero() && bytes < limits.min_bytes;
        may && !self.cold && self.found.iter().all(|found| found.error.is_none())
    }

    fn count(&self, cx: &RequestContext, places: &[Place]) {
        let (mut empty, mut hits, mut misses, mut cold) = (0, 0, 0, 0);
        for (found, place) in self.found.iter().zip(places) {
            if let (Some(handle), 1..) = (&place.handle, found.bytes) {
                let is_hit = found.source == Source::Memory;
                cx.shard.count_read(handle.id, found.bytes, is_hit);
            }
            match (found.source, found.bytes) {
                (Source::NotRead, _) => {}
                (Source::Memory, 0) => empty += 1,
                (Source::Memory, _) => hits += 1,
                (Source::Owner, 0) => (empty, cold) = (empty + 1, cold + 1),
                (Source::Owner, _) => (misses, cold) = (misses + 1, cold + 1),
            }
        }
        let metrics = &cx.shard.metrics;
        metrics.fetch_empty.add(empty);
        metrics.fetch_hits.add(hits);
        metrics.tail_hits.add(hits);
        metrics.fetch_misses.add(misses);
        metrics.tail_misses.add(cold);
    }
}

/// Reads every partition, beginning where the last fetch of the session left off.
async fn read_all(
    cx: &RequestContext,
    session: &Session,
    places: &[Place],
    limits: &Limits,
) -> Read {
    let count = places.len();
    let mut found: Vec<Found> = Vec::with_capacity(count);
    found.resize_with(count, Found::nothing);
    // Most partitions give one slice; more make the list grow.
    let mut slices = Vec::with_capacity(count);
    let (mut left, mut first, mut cold_reads) = (limits.bytes, true, 0);
    let mut proven = cx.shard.is_proven();
    for step in 0..count {
        // Few partitions are served in one turn, without a look at the clock.
        if count > LONG_PARTITIONS && cx.row() {
            cx.turn().await;
            proven = cx.shard.is_proven();
        }
        let index = (session.first + step) % count;
        let (wanted, place) = (&session.wanted[index], &places[index]);
        let entry = &mut found[index];
        let budget = left.min(wanted.bytes_max);
        let start = slices.len();
        let in_memory = place.with_snapshot(proven, |snapshot| {
            entry.error = verdict(wanted, snapshot, place);
            let snapshot = snapshot?;
            entry.tell(snapshot);
            let asks = entry.error.is_none() && (left > 0 || first);
            asks.then(|| snapshot.read(wanted.offset, budget, first, &mut slices))
        });
        (entry.source, entry.bytes) = match in_memory {
            None => continue,
            Some(TailRead::Bytes(bytes)) => (Source::Memory, bytes),
            Some(TailRead::Cold) if cold_reads >= COLD_READS_MAX => continue,
            Some(TailRead::Cold) => {
                cold_reads += 1;
                let read = read_cold(cx, place, wanted.offset, budget, first).await;
                entry.error = read
                    .as_ref()
                    .err()
                    .map_or(ErrorCode::NONE, error::read_code);
                slices.extend(read.into_iter().flatten());
                let bytes = slices[start..].iter().map(|slice| slice.len() as u64);
                (Source::Owner, bytes.sum())
            }
        };
        entry.slices = start..slices.len();
        first = first && entry.bytes == 0;
        left = left.saturating_sub(entry.bytes);
    }
    Read {
        found,
        slices,
        cold: cold_reads > 0,
    }
}

/// Asks the owner for what is not in the published tail.
async fn read_cold(
    cx: &RequestContext,
    place: &Place,
    offset: Offset,
    budget: u64,
    at_least_one: bool,
) -> Result<Vec<Bytes>, ReadError> {
    let Some(handle) = &place.handle else {
        return Err(ReadError::NotServed);
    };
    let id = handle.id;
    if handle.shard == cx.shard.id {
        return Rc::clone(&cx.shard)
            .read(id, offset, budget, at_least_one)
            .await;
    }
    let owner = &cx.shard.shared.peers[handle.shard.index()];
    let hop = std::time::Instant::now();
    let read = owner
        .call_task(move |shard| shard.read(id, offset, budget, at_least_one))
        .await;
    cx.shard.metrics.hops.increment();
    cx.shard.metrics.hop_latency.record_time(hop.elapsed());
    read.unwrap_or(Err(ReadError::NotServed))
}

impl Found {
    fn nothing() -> Self {
        Self {
            source: Source::NotRead,
            error: ErrorCode::NONE,
            high_watermark: -1,
            last_stable: -1,
            log_start: -1,
            slices: 0..0,
            bytes: 0,
        }
    }

    fn tell(&mut self, snapshot: &ReadSnapshot) {
        self.high_watermark = snapshot.high_watermark.get();
        self.last_stable = snapshot.last_stable_offset.get();
        self.log_start = snapshot.log_start.get();
    }

    /// Whether a session's client has to be told.
    fn is_news(&self, wanted: &Wanted) -> bool {
        let now = (self.high_watermark, self.log_start, self.error.as_i16());
        self.bytes > 0 || !self.error.is_none() || wanted.told != Some(now)
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "everything that a reply is made of"
)]
fn encode(
    cx: &RequestContext,
    session: &mut Session,
    metadata: &Metadata,
    found: &[Found],
    slices: &[Bytes],
    session_id: i32,
    filter: Filter,
    read_committed: bool,
) -> Reply {
    let count = found.len();
    let order = (0..count).map(|step| (session.first + step) % count);
    let mut told = Vec::with_capacity(count);
    told.extend(order.filter(|&i| filter == Filter::All || found[i].is_news(&session.wanted[i])));
    let frame = write(
        cx,
        session,
        metadata,
        found,
        slices,
        session_id,
        &told,
        read_committed,
    );
    if let (Some(limits), Ok(frame)) = (&cx.limits, &frame)
        && !limits.fetched(frame.len, cx.shard.shared.quotas.now_ns())
    {
        return throttled(cx, session_id, filter);
    }
    let mut last_served = None;
    for &index in &told {
        let found = &found[index];
        if !found.error.is_none() {
            cx.failed(found.error);
        }
        if found.bytes > 0 {
            last_served = Some(index);
        }
        let told = (found.high_watermark, found.log_start, found.error.as_i16());
        session.wanted[index].told = Some(told);
    }
    if let Some(last) = last_served {
        session.first = (last + 1) % count;
    }
    cx.finish(frame)
}

/// The reply to a fetch that a quota holds back: nothing, as in Kafka. What was found comes with a later one.
fn throttled(cx: &RequestContext, session_id: i32, filter: Filter) -> Reply {
    let session_id = match filter {
        // Its client begins another session, and does not know of this one.
        Filter::All => {
            cx.shard.fetch_sessions.end(session_id);
            0
        }
        Filter::News => session_id,
    };
    cx.reply(&FetchResponse {
        session_id,
        ..FetchResponse::default()
    })
}

#[expect(
    clippy::too_many_arguments,
    reason = "everything that a reply is made of"
)]
fn write(
    cx: &RequestContext,
    session: &Session,
    metadata: &Metadata,
    found: &[Found],
    slices: &[Bytes],
    session_id: i32,
    told: &[usize],
    read_committed: bool,
) -> Result<wire::Frame, wire::EncodeError> {
    let same_topic = |a: &usize, b: &usize| session.wanted[*a].topic == session.wanted[*b].topic;
    let topics = told.chunk_by(same_topic).count();
    let head = FetchResponse {
        session_id,
        ..FetchResponse::default()
    };
    let parts = slices.len() * 2 + 2;
    let bytes = HEAD_BYTES + told.len() * PARTITION_BYTES;
    let encoder = wire::Encoder::with_capacity(bytes, parts);
    let mut writer =
        FetchResponseWriter::with_encoder(encoder, cx.correlation_id, cx.version, &head, topics)?;
    for partitions in told.chunk_by(same_topic) {
        let key = &session.wanted[partitions[0]].topic;
        let topic = topic_response(key, metadata);
        writer.topic(&topic, partitions.len())?;
        for &index in partitions {
            let found = &found[index];
            writer.partition(&PartitionData {
                partition_index: session.wanted[index].partition.get(),
                error_code: found.error,
                high_watermark: found.high_watermark,
                last_stable_offset: found.last_stable,
                log_start_offset: found.log_start,
                aborted_transactions: read_committed.then(Vec::<AbortedTransaction>::new),
                records: Records::Slices(&slices[found.slices.clone()]),
                ..PartitionData::default()
            })?;
        }
    }
    writer.finish(&[])
}

fn topic_response<'a>(key: &'a TopicKey, metadata: &'a Metadata) -> FetchableTopicResponse<'a> {
    let (topic, topic_id) = match key {
        TopicKey::Name(name) => (&**name, Uuid::ZERO),
        TopicKey::Id(id) => (
            metadata
                .topic_by_id(*id)
                .map_or("", |topic| topic.name.as_str()),
            Uuid(id.get()),
        ),
    };
    FetchableTopicResponse {
        topic,
        topic_id,
        ..FetchableTopicResponse::default()
    }
}
