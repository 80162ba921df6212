//! The flusher: gathers what the shards have appended into WAL objects, stores them, acknowledges
//! them.
//!
//! Control thread; the rules are those of [`Scheduler`]. A PUT is sent again with the same key and
//! bytes until it succeeds, meets an object that is not ours, or is refused for good; the last two
//! end the session: everything that was not acknowledged is dropped. The common budget of retries
//! slows it down and never ends it. In the guarded mode an object is acknowledged once the metadata
//! store has committed it, too.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coord::keys::cluster::CommitMode;
use coord::keys::committed::{self, CommittedRecord};
use coord::keys::{Seen, plan};
use coord::mark;
use coord::planted::{self, Bug};
use coord::rules::{self, Rule};
use futures_channel::oneshot;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use segment::kfs::KfsFooter;
use segment::wal::{
    SectionBody, SectionPlace, WalHeader, WalObject, WalSection, WalTrailer, encode,
};
use segment::{Offset, TopicPartition, WalSequence};
use store::{Body, GetError, GetRange, PutCondition, PutError, PutOutcome};
use tracing::Instrument;

use super::commit::{CommitError, commit};
use super::context::Context;
use super::directories::{Bundle, Bundler};
use super::handle::FlushSignal;
use super::health::transfer_time;
use super::image::{bytes_of, stored_batch};
use super::own_objects::{self, OwnStored, store_own};
use super::retry::Pauses;
use crate::logging::span;
use crate::partition::{SealedSection, WalLocation};
use crate::shard::{ShardId, ShardMsg};
use crate::wal::{
    Lanes, OwnCounter, Ready, Scheduler, SchedulerConfig, Sealed, Section, Step, UploadWindow,
};

/// Uploads at a time, whatever their size.
const UPLOADS_LEAST: usize = 8;
/// Uploads at a time of small objects: at 10 ms between flushes enough for a store that takes
/// 640 ms.
const UPLOADS_MOST: usize = 64;
/// Part of the memory budget from which on uploads are few: half of what may be unacknowledged, so
/// that there is room to gather the next ones.
const UPLOAD_MEMORY: u64 = 4;
/// An upload that has failed for so long makes produce be refused.
const REFUSE_AFTER: Duration = Duration::from_secs(1);
/// Flush signals handled before anything else gets its turn.
const SIGNALS_A_TURN: usize = 1_024;
/// Bytes from the end of our own object that tell whether it is ours.
const TRAILER_BYTES: u64 = segment::wal::WAL_TRAILER_BYTES as u64;

/// Why a flush can never succeed.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// Somebody has ended our session.
    #[error(
        "WAL object {key} is not the one that this session wrote ({found}): another broker ended \
         the session, or the objects were changed. Nothing that was acknowledged is lost"
    )]
    Fenced {
        /// The object.
        key: String,
        /// What is there.
        found: String,
    },
    /// The store refuses for good.
    #[error("the object store refuses writes: {0}")]
    Refused(#[from] PutError),
    /// Our own object cannot be read.
    #[error("WAL object {key} cannot be read to tell whose it is: {source}")]
    Unknown {
        /// The object.
        key: String,
        /// What the store answered.
        source: GetError,
    },
    /// The session ended before the metadata store had committed what was stored.
    #[error("a flush was stored and not committed: {0}")]
    NotCommitted(String),
    /// A shard has ended.
    #[error("a shard ended by itself")]
    ShardGone,
}

impl FlushError {
    /// Whether only this session is over: everything is dropped and another may begin.
    fn ends_session(&self) -> bool {
        match self {
            Self::Fenced { .. }
            | Self::NotCommitted(_)
            | Self::Refused(_)
            | Self::Unknown { .. } => true,
            Self::ShardGone => false,
        }
    }
}

/// Sections by the shard that gave them.
type BySection = Vec<FromShard>;

/// A section and the shard that gave it; once it has an object of its own, what is known of that.
struct FromShard {
    shard: ShardId,
    section: SealedSection,
    own: Option<OwnStored>,
}

impl Section for FromShard {
    fn partition(&self) -> TopicPartition {
        self.section.id
    }

    fn bytes(&self) -> u64 {
        self.section.run.bytes()
    }
}

enum Event {
    Sealed(WalSequence, Instant, Option<BySection>),
    OwnStored(Result<OwnStored, FlushError>),
    Stored(WalSequence, Result<(), FlushError>),
}

/// What is acknowledged once the object is durable.
struct Upload {
    began: Instant,
    /// Its directory and trailer.
    tail: Bytes,
    locations: Locations,
}

/// Where the sections of a WAL object lie, by shard.
type Locations = HashMap<ShardId, Vec<(TopicPartition, Offset, WalLocation)>>;

/// Asks the flusher to flush everything; answered when all of it is acknowledged.
pub type Drain = oneshot::Sender<()>;

/// The flusher. Runs until its signals end.
pub struct Flusher {
    context: Rc<Context>,
    signals: flume::Receiver<FlushSignal>,
    drains: flume::Receiver<Drain>,
    scheduler: Scheduler,
    /// An object is wanted even if nothing was appended: it proves our session.
    heartbeat: bool,
    committed: Option<Seen<CommittedRecord>>,
    events: FuturesUnordered<LocalBoxFuture<'static, Event>>,
    uploads: HashMap<WalSequence, Upload>,
    lanes: Lanes<FromShard>,
    /// What is known of objects of their own that no WAL object names yet.
    own: HashMap<OwnCounter, OwnStored>,
    bundler: Bundler,
    /// A bundle is being written: the next one is left out meanwhile.
    bundling: Rc<Cell<bool>>,
    waiting: Vec<Drain>,
    origin: Instant,
}

impl Flusher {
    /// A flusher for our session, whose first object after `open` is the first unacknowledged one.
    pub fn new(
        context: Rc<Context>,
        signals: flume::Receiver<FlushSignal>,
        drains: flume::Receiver<Drain>,
    ) -> Self {
        let config = SchedulerConfig {
            interval: context.config.flush_interval(),
            window: UploadWindow {
                least: UPLOADS_LEAST,
                most: UPLOADS_MOST,
                bytes: context.config.memory_bytes() / UPLOAD_MEMORY,
            },
        };
        let scheduler = Scheduler::new(config, context.flushed.acknowledged_end());
        let owner = context.taker().me;
        let bundler = Bundler::new(owner, context.keys.clone());
        Self {
            context,
            signals,
            drains,
            scheduler,
            heartbeat: false,
            committed: None,
            events: FuturesUnordered::new(),
            uploads: HashMap::new(),
            lanes: Lanes::default(),
            own: HashMap::new(),
            bundler,
            bundling: Rc::default(),
            waiting: Vec::new(),
            origin: Instant::now(),
        }
    }

    /// Runs until the shards have gone, or a flush has failed for good.
    pub async fn run(mut self) {
        loop {
            let context = &self.context;
            self.scheduler
                .store_is_troubled(context.objects.is_troubled());
            self.scheduler.backlog_grows(context.backlog_grows());
            let wake_at = match self.scheduler.step(self.origin.elapsed()) {
                Step::Seal { sequence, shards } => {
                    self.seal(sequence, shards);
                    continue;
                }
                Step::WaitUntil(at) => Some(self.origin + at),
                Step::Idle => None,
            };
            if self.scheduler.is_quiet() && self.lanes.is_empty() {
                for drain in self.waiting.drain(..) {
                    // Whoever asked may have given up.
                    let _ = drain.send(());
                }
            }
            tokio::select! {
                Some(event) = self.events.next(), if !self.events.is_empty() => {
                    if let Err(error) = self.on_event(event).await {
                        self.context.metrics.sessions_fenced.add(
                            u64::from(matches!(error, FlushError::Fenced { .. })));
                        let failure = &self.context.failure;
                        return if error.ends_session() {
                            failure.end_session(error.to_string());
                        } else {
                            failure.set(error.to_string());
                        };
                    }
                }
                signal = self.signals.recv_async() => match signal {
                    Ok(signal) => self.on_signals(signal),
                    Err(flume::RecvError::Disconnected) => return,
                },
                drain = self.drains.recv_async() => match drain {
                    Ok(drain) => self.on_drain(drain),
                    Err(flume::RecvError::Disconnected) => return,
                },
                () = self.context.heartbeat.notified() => {
                    self.heartbeat = true;
                    self.scheduler.force();
                }
                () = sleep_until(wake_at), if wake_at.is_some() => {}
            }
        }
    }

    fn on_signals(&mut self, first: FlushSignal) {
        let rest = self.signals.try_iter().take(SIGNALS_A_TURN);
        for signal in std::iter::once(first).chain(rest) {
            match signal {
                FlushSignal::Dirty(shard) => self.scheduler.dirty(shard),
                FlushSignal::Urgent(shard) => self.scheduler.urgent(shard),
            }
        }
    }

    fn on_drain(&mut self, drain: Drain) {
        for shard in self.context.shards.iter() {
            self.scheduler.urgent(shard.id);
        }
        self.waiting.push(drain);
    }

    /// Asks the shards for what they have appended.
    fn seal(&mut self, sequence: WalSequence, shards: Vec<ShardId>) {
        let (context, began) = (self.context.clone(), Instant::now());
        self.events.push(Box::pin(async move {
            let asked = shards.into_iter().map(|shard| {
                let handle = context.shard(shard).clone();
                async move {
                    let (reply, answer) = oneshot::channel();
                    handle.send(ShardMsg::Seal(reply)).await.ok()?;
                    Some((shard, answer.await.ok()?))
                }
            });
            let mut sections = Some(BySection::new());
            for answer in futures_util::future::join_all(asked).await {
                match (answer, &mut sections) {
                    (Some((shard, sealed)), Some(all)) => {
                        all.extend(sealed.into_iter().map(|section| FromShard {
                            shard,
                            section,
                            own: None,
                        }));
                    }
                    _ => sections = None,
                }
            }
            Event::Sealed(sequence, began, sections)
        }));
    }

    async fn on_event(&mut self, event: Event) -> Result<(), FlushError> {
        match event {
            Event::Sealed(_, _, None) => Err(FlushError::ShardGone),
            Event::Sealed(sequence, began, Some(sections)) => {
                self.lanes.sealed(sections);
                self.start_own_uploads();
                if !self.lanes.has_ready() && !self.heartbeat {
                    self.scheduler.sealed(sequence, Sealed::Empty);
                    return Ok(());
                }
                self.heartbeat = false;
                let sections = self.take_ready();
                let bytes = sections.iter().map(Section::bytes).sum();
                self.scheduler.sealed(sequence, Sealed::Object(bytes));
                self.upload(sequence, began, sections);
                Ok(())
            }
            Event::OwnStored(outcome) => {
                let stored = outcome?;
                self.own.insert(stored.counter, stored);
                self.lanes.stored(stored.counter);
                self.start_own_uploads();
                if self.lanes.has_ready() {
                    self.scheduler.force();
                }
                Ok(())
            }
            Event::Stored(sequence, outcome) => {
                outcome?;
                for acknowledged in self.scheduler.stored(sequence) {
                    self.acknowledge(acknowledged).await?;
                }
                Ok(())
            }
        }
    }

    /// Begins to store large sections as objects of their own.
    fn start_own_uploads(&mut self) {
        while let Some((counter, from)) = self.lanes.next_upload() {
            let (context, section) = (self.context.clone(), from.section.clone());
            self.events.push(Box::pin(async move {
                Event::OwnStored(store_own(&context, counter, &section).await)
            }));
        }
    }

    /// The sections of the next WAL object.
    fn take_ready(&mut self) -> BySection {
        let ready = self.lanes.take_ready().into_iter();
        let known = |Ready { section, own }: Ready<FromShard>| FromShard {
            own: own.map(|own| self.own.remove(&own).expect("it is durable")),
            ..section
        };
        ready.map(known).collect()
    }

    fn upload(&mut self, sequence: WalSequence, began: Instant, sections: BySection) {
        let session = self.context.session;
        let acknowledged = self.scheduler.acknowledged_end().previous();
        let header = if sections.is_empty() {
            WalHeader::empty(session.broker, session.id, sequence, acknowledged)
        } else {
            WalHeader::data(session.broker, session.id, sequence, acknowledged)
        };
        let key = self.context.keys.wal(session.broker, session.id, sequence);
        let owners: HashMap<TopicPartition, ShardId> = sections
            .iter()
            .map(|from| (from.section.id, from.shard))
            .collect();
        let named = sections.iter().filter_map(|from| from.own);
        let named = named.map(|own| (sequence, own.counter));
        self.context.own_objects.borrow_mut().extend(named);
        let partitions = sections.len() as u64;
        let object = encode(header, sections.into_iter().map(wal_section).collect());
        let locations = self.locations(&object, &key, &owners, sequence);
        self.context.metrics.flush_bytes.record(object.len);
        let upload = Upload {
            began,
            tail: object.tail(),
            locations,
        };
        let before = self.uploads.insert(sequence, upload);
        assert!(before.is_none(), "a sequence is uploaded once");
        let context = self.context.clone();
        let span = span!(
            "flush",
            sequence = sequence.get(),
            bytes = object.len,
            partitions
        );
        let stored = async move {
            let stored_as = StoredAs::Wal(object.directory.trailer);
            // What is acknowledged stays in the tail, and compaction reads it there.
            let body = Body::new(object.chunks)
                .with_crc32(object.crc32)
                .kept_by_writer();
            if planted::is_planted(Bug::AckBeforePut) {
                let later = context.clone();
                context.spawn("planted defect", async move {
                    drop(store_object(&later, &key, body, &stored_as).await);
                });
                return Event::Stored(sequence, Ok(()));
            }
            let outcome = store_object(&context, &key, body, &stored_as).await;
            Event::Stored(sequence, outcome)
        };
        self.events.push(Box::pin(stored.instrument(span)));
    }

    /// Where the sections of an object lie.
    fn locations(
        &self,
        object: &WalObject,
        key: &str,
        owners: &HashMap<TopicPartition, ShardId>,
        sequence: WalSequence,
    ) -> Locations {
        let (keys, session) = (&self.context.keys, self.context.session);
        let key: Arc<str> = key.into();
        let mut locations = Locations::new();
        for entry in &object.directory.entries {
            let id = entry.topic_partition();
            let key = match entry.place {
                SectionPlace::Inline { .. } => key.clone(),
                SectionPlace::Own { counter } => {
                    keys.own(session.broker, session.id, counter).into()
                }
            };
            let location = WalLocation {
                key,
                session: session.id,
                sequence,
                range: bytes_of(entry),
            };
            let shard = owners.get(&id).expect("every section came from a shard");
            let of_shard = locations.entry(*shard).or_default();
            of_shard.push((id, entry.first_offset, location));
        }
        locations
    }

    /// Tells the shards; they have it in order, since there is one sender and their mailboxes keep
    /// order.
    async fn acknowledge(&mut self, sequence: WalSequence) -> Result<(), FlushError> {
        let upload = self
            .uploads
            .remove(&sequence)
            .expect("what is stored was uploaded");
        let end = sequence.next().expect("sequences in range");
        let guarded = self.context.mode == CommitMode::Guarded;
        if guarded && rules::holds(Rule::GuardedCommitFirst) {
            self.commit(end).await?;
        }
        self.context.proof.prove(upload.began);
        self.context.flushed.tell(end);
        for (shard, sections) in upload.locations {
            let message = ShardMsg::Acknowledge(sections);
            self.context
                .shard(shard)
                .send(message)
                .await
                .map_err(|_| FlushError::ShardGone)?;
        }
        self.context.metrics.wal_written.increment();
        self.context
            .metrics
            .flush_latency
            .record_time(upload.began.elapsed());
        self.context.flushed.raise(end);
        if let Some(bundle) = self.bundler.add(sequence, upload.tail) {
            self.write_bundle(bundle);
        }
        Ok(())
    }

    /// Off the acknowledgement path; one at a time, since it is only a help.
    fn write_bundle(&self, bundle: Bundle) {
        if self.bundling.replace(true) {
            return;
        }
        let (context, bundling) = (self.context.clone(), self.bundling.clone());
        self.context.spawn("bundle writer", async move {
            let block = bundle.block;
            if bundle.write(&context.objects).await {
                context.bundles.borrow_mut().push(block);
            }
            bundling.set(false);
        });
    }

    /// In the guarded mode an object counts once the metadata store says so: it is asked until it
    /// answers, and a session that has ended is told so by the guard.
    async fn commit(&mut self, end: WalSequence) -> Result<(), FlushError> {
        let Context {
            space, session, kv, ..
        } = &*self.context;
        let key = committed::key(space, session.id);
        let mut pauses = Pauses::default();
        loop {
            let before = self.committed.as_ref();
            let planned = plan::commit_sequence(space, session.id, before, end);
            let planned = planned.map_err(|error| FlushError::NotCommitted(error.to_string()))?;
            match commit(kv, &key, &planned, before).await {
                Ok(seen) => {
                    self.committed = Some(seen);
                    return Ok(());
                }
                Err(CommitError::Store(error)) => {
                    tracing::warn!(%error, "a flush is stored and cannot be committed now");
                    pauses.pause().await;
                }
                Err(error) => return Err(FlushError::NotCommitted(error.to_string())),
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}

fn wal_section(from: FromShard) -> WalSection {
    let SealedSection {
        id,
        leader_epoch,
        run,
        record_count,
        hasher,
        producers,
    } = from.section;
    let (crc, body) = match from.own {
        Some(OwnStored { counter, crc }) => (crc, SectionBody::Own { counter: counter.0 }),
        None => {
            let hasher = hasher.expect("a section that is not large was hashed by its shard");
            let chunks = run.chunks().cloned().collect();
            (hasher.finalize(), SectionBody::Inline(chunks))
        }
    };
    WalSection {
        topic: id.topic,
        partition: id.partition,
        leader_epoch,
        first_offset: run.first(),
        last_offset: run.last(),
        max_timestamp: run.max_timestamp(),
        max_timestamp_offset: None,
        record_count: u32::try_from(record_count).expect("a flush has far fewer records"),
        len: run.bytes(),
        crc,
        producers: producers.iter().map(stored_batch).collect(),
        body,
    }
}

/// How an object under a key of our session is told from any other.
#[derive(Debug, Clone, Copy)]
pub enum StoredAs {
    /// A WAL object: by its trailer.
    Wal(WalTrailer),
    /// An object of its own: by its footer and length.
    Own {
        /// The footer, with the CRC of the body.
        footer: KfsFooter,
        /// Bytes of the object.
        len: u64,
    },
}

/// Stores an object of our session, however long it takes.
///
/// # Errors
/// [`FlushError`]: the session is over, or the process.
pub async fn store_object(
    context: &Context,
    key: &str,
    body: Body,
    stored_as: &StoredAs,
) -> Result<(), FlushError> {
    let condition = match context.mode {
        CommitMode::Conditional => PutCondition::IfAbsent,
        CommitMode::Guarded => PutCondition::None,
    };
    let mut failing = Failing::new(context, key, body.len());
    let mut pauses = Pauses::default();
    loop {
        let put = || {
            let (body, condition) = (body.clone(), condition.clone());
            context.objects.put_once(key, body, condition)
        };
        match failing.answer(put).await {
            Ok(_) => return Ok(()),
            Err(PutError::AlreadyExists { .. }) => match is_ours(context, key, stored_as).await {
                Ok(None) => {
                    mark!(OwnCopyFound);
                    return Ok(());
                }
                Ok(Some(found)) => {
                    mark!(SessionFenced);
                    return Err(FlushError::Fenced {
                        key: key.to_owned(),
                        found,
                    });
                }
                // It may be stored, and nobody knows before it can be read.
                Err(source) if source.retriable() => failing.failed(&source, false),
                Err(source) => {
                    return Err(FlushError::Unknown {
                        key: key.to_owned(),
                        source,
                    });
                }
            },
            Err(error) if error.retriable() && rules::holds(Rule::FailedPutsAreSentAgain) => {
                let is_full = matches!(error, PutError::Full { .. });
                failing.failed(&error, is_full);
            }
            Err(error) => return Err(error.into()),
        }
        context.objects.pause_of_persistent(&mut pauses).await;
    }
}

/// An upload that may not get through: clients are told while it does not.
struct Failing<'a> {
    context: &'a Context,
    key: &'a str,
    /// How long an answer may take.
    patience: Duration,
    began: Instant,
    is_refusing: bool,
}

impl<'a> Failing<'a> {
    fn new(context: &'a Context, key: &'a str, bytes: u64) -> Self {
        Self {
            context,
            key,
            patience: context.config.health.latency_crit + transfer_time(bytes),
            began: Instant::now(),
            is_refusing: false,
        }
    }

    /// Sends a PUT and waits for its answer, which may never come. When patience is at an end
    /// clients are told; and when the store has answered a write that was sent later, this one is
    /// sent a second time beside the first: its connection may be dead, and all acknowledgements
    /// wait for it.
    async fn answer<F>(&mut self, put: impl Fn() -> F) -> Result<PutOutcome, PutError>
    where
        F: Future<Output = Result<PutOutcome, PutError>>,
    {
        let (context, sent) = (self.context, Instant::now());
        let mut first = std::pin::pin!(put());
        if let Ok(answer) = tokio::time::timeout(self.patience, &mut first).await {
            return answer;
        }
        self.refuse("no answer yet");
        let second = async {
            context.objects.overtaken(sent).await;
            mark!(OvertakenPutSentAgain);
            put().await
        };
        tokio::select! {
            answer = &mut first => answer,
            answer = second => match answer {
                Err(error) if error.retriable() => first.await,
                answer => answer,
            }
        }
    }

    /// A try has failed. Where the store is full there is no point in waiting before clients are
    /// told.
    fn failed(&mut self, error: &dyn std::fmt::Display, is_full: bool) {
        if is_full || self.began.elapsed() >= REFUSE_AFTER {
            self.refuse(&error.to_string());
        }
    }

    fn refuse(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_refusing, true) {
            mark!(UploadRefusesProduce);
            tracing::warn!(
                key = self.key,
                reason,
                "a flush does not get through; it goes on"
            );
            self.context.refusal.upload_fails(true);
        }
    }
}

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if self.is_refusing {
            self.context.refusal.upload_fails(false);
        }
    }
}

/// Whether the object under our key is the one that we wrote; else what it is. A 404 after a 412 is
/// somebody's doing too. An acknowledgement waits for it, so it does not wait for other reads.
async fn is_ours(
    context: &Context,
    key: &str,
    stored_as: &StoredAs,
) -> Result<Option<String>, GetError> {
    let ours = match stored_as {
        StoredAs::Wal(trailer) => trailer,
        StoredAs::Own { footer, len } => {
            return own_objects::is_ours(context, key, *footer, *len).await;
        }
    };
    mark!(RefusedPutIsRead);
    let trailer = GetRange::Suffix(TRAILER_BYTES);
    let found = match context.objects.get_once(key, trailer).await {
        Ok(found) => found,
        Err(GetError::NotFound { .. }) => {
            let fenced = rules::holds(Rule::GoneAfterRefusalIsFenced);
            return Ok(fenced.then(|| "it was there and is gone".to_owned()));
        }
        Err(error) => return Err(error),
    };
    if !rules::holds(Rule::RefusalsAreRead) {
        return Ok(None);
    }
    let owned = found.object_len == ours.object_len && rules::holds(Rule::OwnCopyIsSuccess);
    Ok(match WalTrailer::parse(&found.bytes) {
        Ok(trailer) if trailer == *ours && owned => None,
        Ok(trailer) => Some(match trailer.header.fenced_by {
            Some(session) => format!("a fence of session {session}"),
            None => format!("an object of kind {:?}", trailer.header.kind),
        }),
        Err(error) => Some(error.to_string()),
    })
}
