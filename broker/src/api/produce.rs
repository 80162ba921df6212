//! Produce (key 0), versions 0-13.
//!
//! - Every partition's record set must be exactly one v2 batch; it is validated where it lands (length, magic,
//!   CRC-32C, codec, counts, timestamps, size; the records too where they are not compressed) and handed to its owner, if it is large in the buffer that it came in.
//! - The order of appends is fixed when the request is dispatched; the reply follows when every batch is
//!   durable, or has failed, or the request's timeout is over (REQUEST_TIMED_OUT; the batch stays known for
//!   deduplication).
//! - A topic with a codec of its own (`compression.type`) has batches that come in another compressed anew, before
//!   they are appended; the connection waits for that, and nobody else.
//! - acks=all and acks=1 both mean durable in the object store. acks=0 gets no reply; if a batch of it is
//!   refused, the connection is closed, as in Kafka, so that the client learns of it.
//! - OUT_OF_ORDER_SEQUENCE_NUMBER is answered only while nobody else can own the partition (log protocol H11).
//! - v0-2 are advertised because librdkafka up to 2.10 otherwise turns compression off (KIP-896); they
//!   are answered UNSUPPORTED_VERSION as in Kafka 4.
//! - v7: zstd may be used (KIP-110). v8: error messages, and which records a compacted topic refused, the first
//!   1,024 of a batch (KIP-467). v10: the new leader (KIP-951) is not
//!   named: a client asks Metadata. v13: topic ids (KIP-516).
//!
//! - Needs WRITE on each topic: TOPIC_AUTHORIZATION_FAILED, whether it exists or not; an id is not told from its name.
//!
//! Left out: transactions; a transactional batch is answered INVALID_TXN_STATE.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use coord::rules::{self, Rule};
use futures_channel::oneshot;
use futures_util::FutureExt;
use security::acl::{Operation, ResourceType};
use segment::batch::{BatchError, BatchHeader, BatchLimits, Codec, TimestampType};
use segment::record::{Compression, DecodeLimits, RecordSet};
use segment::{PartitionIndex, TimestampMs, TopicId};
use wire::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData, TopicProduceResponse,
};
use wire::{DecodeError, ErrorCode, Records, VersionRange};

use super::{Reply, RequestContext, Reserved, Slot, error, throttle_ms};
use crate::control::ControlMsg;
use crate::control::unpack::{Look, Unpack, UnpackError, WITHOUT_KEY};
use crate::metadata::{Metadata, Topic};
use crate::partition::producers::SequenceError;
use crate::partition::{AppendError, PartitionHandle};
use crate::shard::{ProduceCall, ProduceError, ProduceOutcome, ProducePart, ShardId};
use crate::topic_config::TopicConfig;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 13 };
/// A batch smaller than this is copied out of its frame: it may have come in its connection's buffer, all of
/// which it would keep alive until it leaves the cache.
const COPY_BELOW_BYTES: usize = crate::net::BUFFER_BYTES;
/// Batches of one call to an owner, which appends them without a break: others of its shard come between two calls.
const CALL_PARTS_MAX: usize = 512;
/// First version with v2 batches.
const BATCHES_FROM: i16 = 3;
/// First version that may carry zstd.
const ZSTD_FROM: i16 = 7;
/// First version with topic ids instead of names.
const TOPIC_IDS_FROM: i16 = 13;

/// The topic as the reply names it.
struct TopicPlan {
    name: String,
    id: wire::Uuid,
    partitions: Range<usize>,
}

/// One partition of the request.
struct PartPlan {
    index: i32,
    outcome: PartOutcome,
    log_append_time: TimestampMs,
}

/// Why a batch was refused.
struct Refused {
    code: ErrorCode,
    message: String,
    /// Indexes in the batch of the records that are to blame; empty where no single one is.
    records: Vec<i32>,
}

impl From<(ErrorCode, String)> for Refused {
    fn from((code, message): (ErrorCode, String)) -> Self {
        let records = Vec::new();
        Refused {
            code,
            message,
            records,
        }
    }
}

impl From<UnpackError> for Refused {
    fn from(error: UnpackError) -> Self {
        let (code, message) = (error::unpack_code(&error), error.to_string());
        let records = match error {
            UnpackError::WithoutKey { records, .. } => records,
            _ => Vec::new(),
        };
        Refused {
            code,
            message,
            records,
        }
    }
}

enum PartOutcome {
    Refused(Refused),
    /// Where its batch lies in the frame.
    Accepted(Accepted),
    /// Which call it went out with, and as which part.
    Sent(usize, usize),
}

/// A batch that is to be appended.
struct Accepted {
    handle: Arc<PartitionHandle>,
    /// Where it lies in the frame.
    range: Range<usize>,
    header: BatchHeader,
    /// What is to be found out of what is compressed; nothing for most.
    look: Look,
    /// The codec that it is to be brought into; none for most.
    recode: Option<Compression>,
    /// Largest batch that its topic takes.
    bytes_max: usize,
}

struct Plan {
    topics: Vec<TopicPlan>,
    parts: Vec<PartPlan>,
    acks: i16,
    timeout: Duration,
    /// How long the client is to pause because of a quota.
    throttle_ms: i32,
}

/// Dispatches a produce request. The slot is the reply, or its promise.
///
/// # Errors
/// The request cannot be decoded.
pub(super) async fn handle(
    mut cx: RequestContext,
    frame: BytesMut,
    reserved: Reserved,
) -> Result<Slot, DecodeError> {
    let now = cx.shard.wall_clock();
    let bytes = wire::LENGTH_PREFIX_BYTES + frame.len();
    let (_, request) = wire::decode_request::<ProduceRequest<'_>>(&frame)?;
    let mut plan = plan(&cx, &frame, &request, now).await;
    drop(request);
    let calls = send(&cx, frame, &mut plan, now).await;
    charge(&mut cx, &mut plan, bytes);
    if plan.acks == 0 {
        let refused = plan
            .parts
            .iter()
            .any(|p| matches!(p.outcome, PartOutcome::Refused(..)));
        cx.shard
            .metrics
            .requests
            .answered(cx.api.as_i16(), cx.took());
        return Ok(Slot::Ready(if refused {
            Reply::Close
        } else {
            Reply::None
        }));
    }
    if calls.is_empty() {
        return Ok(Slot::Ready(answer(&cx, &plan, &[])));
    }
    Ok(Slot::Pending(
        finish(cx, plan, calls, reserved).boxed_local(),
    ))
}

/// Charges the request when it has been dispatched: its client is read from again after the pause, and told of
/// it by the reply, which may come before or after. Its time is not charged with acks=0, as in Kafka.
fn charge(cx: &mut RequestContext, plan: &mut Plan, bytes: usize) {
    // The next request may have begun before this one is answered: what is owed is taken down here.
    let Some(limits) = cx.limits.take() else {
        return;
    };
    let now = cx.shard.shared.quotas.now_ns();
    limits.produced(bytes, now);
    if plan.acks != 0 {
        limits.charge_time(now);
    }
    if let Some((pause, _)) = limits.owed() {
        plan.throttle_ms = throttle_ms(pause);
    }
}

/// Looks up and validates every partition of the request.
async fn plan(
    cx: &RequestContext,
    frame: &[u8],
    request: &ProduceRequest<'_>,
    now: TimestampMs,
) -> Plan {
    let metadata = cx.shard.metadata();
    let refused = refuse_whole(cx, request);
    let mut topics = Vec::with_capacity(request.topic_data.len());
    let mut parts = Vec::new();
    for data in &request.topic_data {
        let topic = find_topic(cx, &metadata, data);
        let first = parts.len();
        for partition in &data.partition_data {
            cx.next_row().await;
            let checked = match (&refused, &topic) {
                (Some((code, message)), _) => Err((*code, message.clone()).into()),
                (None, Err(code)) => Err((*code, String::new()).into()),
                (None, Ok(topic)) => {
                    check(cx, topic, partition.index, &partition.records, frame, now)
                }
            };
            let (outcome, log_append_time) = match checked {
                Ok((outcome, time)) => (outcome, time),
                Err(refused) => {
                    cx.shard.metrics.produce_invalid.increment();
                    (PartOutcome::Refused(refused), TimestampMs::NONE)
                }
            };
            parts.push(PartPlan {
                index: partition.index,
                outcome,
                log_append_time,
            });
        }
        let name = data.name.to_owned();
        topics.push(TopicPlan {
            name,
            id: data.topic_id,
            partitions: first..parts.len(),
        });
    }
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    Plan {
        topics,
        parts,
        acks: request.acks,
        timeout,
        throttle_ms: 0,
    }
}

/// What refuses all partitions alike.
fn refuse_whole(cx: &RequestContext, request: &ProduceRequest<'_>) -> Option<(ErrorCode, String)> {
    if cx.version < BATCHES_FROM {
        return Some((ErrorCode::UNSUPPORTED_VERSION, String::new()));
    }
    if !(-1..=1).contains(&request.acks) {
        return Some((ErrorCode::INVALID_REQUIRED_ACKS, String::new()));
    }
    if let Some(id) = request.transactional_id {
        if let Err(refusal) =
            cx.authorize_or_tell(Operation::Write, ResourceType::TransactionalId, id)
        {
            return Some(refusal);
        }
        let message = "transactions are not supported by this broker".to_owned();
        return Some((ErrorCode::INVALID_TXN_STATE, message));
    }
    let partitions: usize = request
        .topic_data
        .iter()
        .map(|t| t.partition_data.len())
        .sum();
    let limit = cx.shard.shared.config.request.partitions_max;
    if partitions > limit {
        cx.shard.metrics.rejected_partitions.increment();
        let message = format!("{partitions} partitions in one request, at most {limit} are taken");
        return Some((ErrorCode::INVALID_REQUEST, message));
    }
    None
}

fn find_topic<'a>(
    cx: &RequestContext,
    metadata: &'a Metadata,
    data: &TopicProduceData<'_>,
) -> Result<&'a Arc<Topic>, ErrorCode> {
    if cx.version >= TOPIC_IDS_FROM {
        let topic = metadata.topic_by_id(TopicId::new(data.topic_id.0));
        let topic = topic.ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?;
        may_write(cx, topic.name.as_str())?;
        Ok(topic)
    } else {
        may_write(cx, data.name)?;
        metadata
            .topic(data.name)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }
}

fn may_write(cx: &RequestContext, topic: &str) -> Result<(), ErrorCode> {
    match cx.allows_topic(Operation::Write, topic) {
        true => Ok(()),
        false => Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
    }
}

type Checked = Result<(PartOutcome, TimestampMs), Refused>;

fn check(
    cx: &RequestContext,
    topic: &Topic,
    index: i32,
    records: &Records<'_>,
    frame: &[u8],
    now: TimestampMs,
) -> Checked {
    let Some(handle) = topic.partition(PartitionIndex::new(index)) else {
        return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new()).into());
    };
    let invalid = |text: &str| Refused::from((ErrorCode::INVALID_RECORD, text.to_owned()));
    let bytes = records.borrowed().filter(|bytes| !bytes.is_empty());
    let bytes = bytes.ok_or_else(|| invalid("a record set must hold exactly one record batch"))?;
    let config = &topic.config;
    let latest = config
        .timestamp_after_max_ms()
        .map(|after| now.get().saturating_add(after));
    let append_time = config.timestamp_type() == TimestampType::LogAppendTime;
    let limits = BatchLimits {
        bytes_max: config.max_message_bytes(),
        timestamp_latest: latest.filter(|_| !append_time).map(TimestampMs::new),
    };
    let header = BatchHeader::validate(bytes, &limits).map_err(|error| match error {
        BatchError::TrailingBytes { .. } => {
            invalid("a record set must hold exactly one record batch")
        }
        error => (error::batch_code(&error), error.to_string()).into(),
    })?;
    let look = look(config, &header, now)?;
    if header.attributes.is_transactional() {
        return Err((
            ErrorCode::INVALID_TXN_STATE,
            "transactions are not supported".to_owned(),
        )
            .into());
    }
    let is_compressed = header.attributes.codec() != Ok(Codec::None);
    if !is_compressed {
        look.at(bytes, &DecodeLimits::default())?;
        if !look.is_wanted() && !has_whole_records(bytes) {
            return Err(UnpackError::Malformed.into());
        }
    }
    if header.attributes.codec() == Ok(Codec::Zstd) && cx.version < ZSTD_FROM {
        let text = "zstd needs Produce version 7 or later".to_owned();
        return Err((ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, text).into());
    }
    let range = wire::range_in(frame, bytes).expect("borrowed records lie in their frame");
    let time = if append_time { now } else { TimestampMs::NONE };
    let recode = config
        .compression()
        .filter(|to| header.attributes.codec() != Ok(to.codec));
    let accepted = Accepted {
        handle: handle.clone(),
        range,
        header,
        look: if is_compressed { look } else { Look::default() },
        recode,
        bytes_max: config.max_message_bytes(),
    };
    Ok((PartOutcome::Accepted(accepted), time))
}

/// Whether every record of an uncompressed batch can be read, so that no consumer is handed one that it cannot
/// get past. What is compressed is not looked into: its CRC is right, and shards do not decompress.
fn has_whole_records(batch: &[u8]) -> bool {
    let records = RecordSet::decode(batch, &DecodeLimits::default());
    records.is_ok_and(|records| records.iter().all(|record| record.is_ok()))
}

/// What of a batch is looked at: a producer's timestamps may be too old, a compacted topic has keys. The header decides
/// where it can.
fn look(config: &TopicConfig, header: &BatchHeader, now: TimestampMs) -> Result<Look, UnpackError> {
    let append_time = config.timestamp_type() == TimestampType::LogAppendTime;
    let before = config.timestamp_before_max_ms().filter(|_| !append_time);
    let earliest = before.map(|before| TimestampMs::new(now.get().saturating_sub(before)));
    let first = header.base_timestamp;
    if first.get() >= 0 && earliest.is_some_and(|earliest| first < earliest) {
        return Err(UnpackError::TooOld);
    }
    Ok(Look {
        with_keys: config.compaction().is_some(),
        earliest,
    })
}

type Answer = oneshot::Receiver<ProduceOutcome>;

/// Cuts the batches out of the frame, large ones without a copy, and sends them to their owners, one call each, or
/// several where it has very many.
async fn send(
    cx: &RequestContext,
    mut frame: BytesMut,
    plan: &mut Plan,
    now: TimestampMs,
) -> Vec<Answer> {
    let (mut position, frame_bytes) = (0, frame.len());
    let mut calls: Vec<(ShardId, Vec<ProducePart>)> = Vec::new();
    for part in &mut plan.parts {
        let PartOutcome::Accepted(accepted) = &part.outcome else {
            continue;
        };
        cx.next_row().await;
        let (handle, range) = (accepted.handle.clone(), accepted.range.clone());
        let mut header = accepted.header;
        assert!(
            range.start >= position,
            "record sets lie in the frame in order"
        );
        drop(frame.split_to(range.start - position));
        let mut bytes = frame.split_to(range.len());
        position = range.end;
        let copied = bytes.len() < COPY_BELOW_BYTES || accepted.recode.is_some();
        if accepted.look.is_wanted() || accepted.recode.is_some() {
            match unpacked(cx, bytes, accepted).await {
                Ok(unpacked) => (bytes, header) = unpacked,
                Err(refused) => {
                    cx.shard.metrics.produce_invalid.increment();
                    part.outcome = PartOutcome::Refused(refused);
                    continue;
                }
            }
        }
        if copied && accepted.recode.is_none() {
            bytes = BytesMut::from(&bytes[..]);
        }
        if part.log_append_time != TimestampMs::NONE {
            segment::batch::set_log_append_time(&mut bytes, now);
            header.max_timestamp = now;
        }
        let has_room = |parts: &Vec<_>| parts.len() < CALL_PARTS_MAX;
        let call = calls
            .iter()
            .rposition(|(shard, parts)| *shard == handle.shard && has_room(parts));
        let call = call.unwrap_or_else(|| {
            calls.push((handle.shard, Vec::new()));
            calls.len() - 1
        });
        part.outcome = PartOutcome::Sent(call, calls[call].1.len());
        calls[call].1.push(ProducePart {
            id: handle.id,
            memory: if copied { bytes.len() as u64 } else { 0 },
            bytes,
            header,
        });
    }
    let mut answers = Vec::with_capacity(calls.len());
    for (shard, mut parts) in calls {
        settle_memory(&mut parts, frame_bytes);
        let (reply, answer) = oneshot::channel();
        cx.shard
            .send_produce(shard, ProduceCall { parts, now, reply })
            .await;
        answers.push(answer);
    }
    answers
}

/// A compressed batch whose records have been looked at, in the codec of its topic (`compression.type`), and its header.
/// Threads of the control thread do it: a batch of 1 MiB takes them from milliseconds to a second, and the shard serves
/// others meanwhile. The connection waits, which keeps the order of its requests.
async fn unpacked(
    cx: &RequestContext,
    batch: BytesMut,
    accepted: &Accepted,
) -> Result<(BytesMut, BatchHeader), Refused> {
    let unpack = Unpack {
        batch,
        header: accepted.header,
        look: accepted.look,
        to: accepted.recode,
    };
    let control = &cx.shard.shared.control;
    let done = control.ask(|reply| ControlMsg::Unpack(unpack, reply)).await;
    let done = done.map_err(|gone| (ErrorCode::NOT_LEADER_OR_FOLLOWER, gone.to_string()))?;
    let (batch, header) = done?;
    if batch.len() > accepted.bytes_max {
        let error = BatchError::TooLarge {
            bytes: batch.len(),
            limit: accepted.bytes_max,
        };
        return Err((error::batch_code(&error), error.to_string()).into());
    }
    Ok((batch, header))
}

/// Each batch that was not copied (its memory is 0 here) keeps its frame. Where one shard keeps less than half
/// of it, they are copied after all; else they share its memory, so that it is accounted for.
fn settle_memory(parts: &mut [ProducePart], frame_bytes: usize) {
    let frame_bytes = frame_bytes as u64;
    let is_kept = |part: &ProducePart| part.memory == 0;
    let kept = parts.iter().filter(|part| is_kept(part));
    let kept_bytes: u64 = kept.map(|part| part.bytes.len() as u64).sum();
    for part in parts.iter_mut().filter(|part| is_kept(part)) {
        let bytes = part.bytes.len() as u64;
        part.memory = bytes;
        if kept_bytes * 2 < frame_bytes {
            part.bytes = BytesMut::from(&part.bytes[..]);
        } else {
            part.memory = (bytes * frame_bytes).div_ceil(kept_bytes);
        }
    }
}

/// Waits until everything is durable or the time is up, and answers.
async fn finish(cx: RequestContext, plan: Plan, calls: Vec<Answer>, reserved: Reserved) -> Reply {
    let deadline = cx.started + plan.timeout;
    let mut outcomes: Vec<Option<ProduceOutcome>> = Vec::with_capacity(calls.len());
    for mut call in calls {
        let outcome = match (&mut call).now_or_never() {
            Some(outcome) => outcome.ok(),
            None => {
                let left = deadline.saturating_duration_since(std::time::Instant::now());
                cx.shard.at_most(left, call).await.and_then(Result::ok)
            }
        };
        outcomes.push(outcome);
    }
    confirm_out_of_order(&cx, &mut outcomes).await;
    let reply = answer(&cx, &plan, &outcomes);
    cx.shard.metrics.produce_latency.record_time(cx.took());
    drop(reserved);
    reply
}

/// OUT_OF_ORDER_SEQUENCE_NUMBER makes a producer give its sequence up, so it is answered only by a broker that was
/// proven after the request arrived: others may have gone on with the producer. Any other sends the client to ask for
/// the leader.
async fn confirm_out_of_order(cx: &RequestContext, outcomes: &mut [Option<ProduceOutcome>]) {
    let is_out = |outcome: &Result<_, ProduceError>| {
        let out = SequenceError::is_out_of_order;
        matches!(outcome, Err(ProduceError::Append(AppendError::Sequence(error))) if out(error))
    };
    let found = outcomes.iter_mut().flatten().flatten();
    let refused: Vec<_> = found.filter(|outcome| is_out(outcome)).collect();
    if refused.is_empty()
        || !rules::holds(Rule::OutOfOrderNeedsProof)
        || cx.shard.proven_since(cx.started).await
    {
        return;
    }
    for outcome in refused {
        *outcome = Err(ProduceError::NotOwner);
    }
}

fn answer(cx: &RequestContext, plan: &Plan, outcomes: &[Option<ProduceOutcome>]) -> Reply {
    let responses = plan.topics.iter().map(|topic| TopicProduceResponse {
        name: &topic.name,
        topic_id: topic.id,
        partition_responses: plan.parts[topic.partitions.clone()]
            .iter()
            .map(|part| partition_response(cx, part, outcomes))
            .collect(),
    });
    cx.reply(&ProduceResponse {
        responses: responses.collect(),
        throttle_time_ms: plan.throttle_ms,
        ..ProduceResponse::default()
    })
}

fn partition_response<'a>(
    cx: &RequestContext,
    part: &'a PartPlan,
    outcomes: &[Option<ProduceOutcome>],
) -> PartitionProduceResponse<'a> {
    let failed = |code: ErrorCode, message: Option<&'a str>| {
        cx.failed(code);
        PartitionProduceResponse {
            index: part.index,
            error_code: code,
            base_offset: -1,
            error_message: message.filter(|text| !text.is_empty()),
            ..PartitionProduceResponse::default()
        }
    };
    match &part.outcome {
        PartOutcome::Refused(refused) => PartitionProduceResponse {
            record_errors: refused.records.iter().map(record_error).collect(),
            ..failed(refused.code, Some(&refused.message))
        },
        PartOutcome::Accepted(_) => unreachable!("every accepted batch has been sent"),
        PartOutcome::Sent(call, index) => match &outcomes[*call] {
            None => failed(ErrorCode::REQUEST_TIMED_OUT, None),
            Some(outcomes) => match &outcomes[*index] {
                Ok(produced) => PartitionProduceResponse {
                    index: part.index,
                    base_offset: produced.base_offset.get(),
                    log_append_time_ms: part.log_append_time.get(),
                    log_start_offset: produced.log_start.get(),
                    ..PartitionProduceResponse::default()
                },
                Err(error) => failed(error::produce_code(error), None),
            },
        },
    }
}

fn record_error(index: &i32) -> BatchIndexAndErrorMessage<'static> {
    BatchIndexAndErrorMessage {
        batch_index: *index,
        batch_index_error_message: Some(WITHOUT_KEY),
    }
}

#[cfg(test)]
mod tests {
    use segment::TopicPartition;

    use super::*;

    /// Parts of these lengths, cut out of a frame that has `beside` bytes more; those with `true` copied.
    fn parts(lens: &[(usize, bool)], beside: usize) -> (Vec<ProducePart>, usize) {
        let total = lens.iter().map(|(len, _)| len).sum::<usize>() + beside;
        let bytes = crate::control::testing::batch(0, 1);
        let header = BatchHeader::parse_whole(&bytes).unwrap();
        let mut frame = BytesMut::zeroed(total);
        let part = |(len, copied): &(usize, bool)| {
            let cut = frame.split_to(*len);
            let (bytes, memory) = match copied {
                true => (BytesMut::from(&cut[..]), *len as u64),
                false => (cut, 0),
            };
            let id = TopicPartition::new(TopicId::new([1; 16]), PartitionIndex::ZERO);
            ProducePart {
                id,
                bytes,
                memory,
                header,
            }
        };
        (lens.iter().map(part).collect(), total)
    }

    fn memory(lens: &[(usize, bool)], beside: usize) -> (Vec<u64>, Vec<bool>) {
        let (mut parts, frame_bytes) = parts(lens, beside);
        let before: Vec<_> = parts.iter().map(|part| part.bytes.as_ptr()).collect();
        settle_memory(&mut parts, frame_bytes);
        let moved = parts
            .iter()
            .zip(before)
            .map(|(part, at)| part.bytes.as_ptr() != at);
        let moved = moved.collect();
        (parts.iter().map(|part| part.memory).collect(), moved)
    }

    #[test]
    fn a_frame_is_accounted_for_by_those_who_keep_it_and_copied_if_that_is_little() {
        assert_eq!(memory(&[(900, false)], 100), (vec![1000], vec![false]));
        assert_eq!(
            memory(&[(400, false), (200, false), (50, true)], 350),
            (vec![667, 334, 50], vec![false; 3]),
            "1,000 bytes shared by 600"
        );
        assert_eq!(
            memory(&[(300, false), (100, false), (50, true)], 550),
            (vec![300, 100, 50], vec![true, true, false]),
            "less than half is kept"
        );
        assert_eq!(memory(&[(10, true)], 5), (vec![10], vec![false]));
    }
}
