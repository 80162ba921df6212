//! The seam's words in etcd's and back.
//!
//! Invariant: a reply that does not fit its request is an error, never a panic: it is a peer's data.

use bytes::Bytes;
use etcd_client::proto::{PbEvent, PbKeyValue, PbRangeResponse, PbTxnOpResponse, PbTxnResponse};
use etcd_client::{
    Compare as EtcdCompare, CompareOp as EtcdCompareOp, DeleteOptions, GetOptions, PutOptions,
    Txn as EtcdTxn, TxnOp,
};

use super::super::txn::{Compare, CompareOp, CompareTarget, Op, OpReply, Txn, TxnReply};
use super::super::types::{Key, KeyValue, Revision, SessionLease, Span, Value};
use super::super::watch::WatchEvent;

/// A reply that does not fit the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("etcd's reply does not fit the request: {0}")]
pub(super) struct Misfit(pub(super) &'static str);

/// The first key of all: no stored key is empty.
const FIRST_KEY: &[u8] = &[0];

/// How etcd names a span: key and range end. `None` for a span that holds no key: etcd would take
/// an empty end for "this one key", and an end of one zero byte for "to the last key".
pub(super) fn bounds(span: &Span) -> Option<(Vec<u8>, Vec<u8>)> {
    let start = first_key(span);
    let end = match span.end() {
        Some(end) if end.as_bytes() <= start.as_slice() => return None,
        Some(end) => end.as_bytes(),
        None => FIRST_KEY,
    };
    assert!(!start.is_empty(), "etcd has no empty key");
    assert!(
        end == FIRST_KEY || end > start.as_slice(),
        "what is asked for is a span"
    );
    Some((start, end.to_vec()))
}

/// The first key of a span, which whoever may read the span may read; there need not be one.
pub(super) fn first_key(span: &Span) -> Vec<u8> {
    match span.start().as_bytes() {
        [] => FIRST_KEY.to_vec(),
        start => start.to_vec(),
    }
}

/// A transaction in etcd's words.
pub(super) fn txn(txn: &Txn) -> EtcdTxn {
    let compares: Vec<EtcdCompare> = txn.compares.iter().map(compare).collect();
    let then: Vec<TxnOp> = txn.then.iter().map(op).collect();
    let otherwise: Vec<TxnOp> = txn.otherwise.iter().map(op).collect();
    EtcdTxn::new()
        .when(compares)
        .and_then(then)
        .or_else(otherwise)
}

fn compare(compare: &Compare) -> EtcdCompare {
    let key = compare.key.as_bytes();
    let op = match compare.op {
        CompareOp::Equal => EtcdCompareOp::Equal,
        CompareOp::NotEqual => EtcdCompareOp::NotEqual,
        CompareOp::Less => EtcdCompareOp::Less,
        CompareOp::Greater => EtcdCompareOp::Greater,
    };
    match &compare.target {
        CompareTarget::ModRevision(revision) => EtcdCompare::mod_revision(key, op, revision.0),
        CompareTarget::CreateRevision(revision) => {
            EtcdCompare::create_revision(key, op, revision.0)
        }
        CompareTarget::Value(value) => EtcdCompare::value(key, op, value.as_bytes()),
    }
}

fn op(op: &Op) -> TxnOp {
    match op {
        Op::Put {
            key,
            value,
            session,
        } => {
            let lease = session.map_or(0, |session| session.0);
            assert!(lease != 0 || session.is_none(), "lease 0 means none");
            let options = PutOptions::new().with_lease(lease);
            TxnOp::put(key.as_bytes(), value.as_bytes(), Some(options))
        }
        Op::Delete(key) => TxnOp::delete(key.as_bytes(), None),
        Op::DeleteSpan(span) => match bounds(span) {
            Some((key, end)) => TxnOp::delete(key, Some(DeleteOptions::new().with_range(end))),
            None => nothing(span),
        },
        Op::Get(key) => TxnOp::get(key.as_bytes(), None),
        Op::GetRange { span, limit } => match bounds(span) {
            Some((key, end)) => {
                let options = GetOptions::new().with_range(end).with_limit(count(*limit));
                TxnOp::get(key, Some(options))
            }
            None => nothing(span),
        },
        Op::Txn(nested) => TxnOp::txn(txn(nested)),
    }
}

/// In the place of an operation on an empty span: a reading whose answer is not looked at.
fn nothing(span: &Span) -> TxnOp {
    TxnOp::get(first_key(span), Some(GetOptions::new().with_count_only()))
}

/// A limit in etcd's words (0: all).
pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The reply to a transaction.
pub(super) fn txn_reply(asked: &Txn, reply: PbTxnResponse) -> Result<TxnReply, Misfit> {
    let header = reply.header.as_ref().ok_or(Misfit("no header"))?;
    let revision = Revision(header.revision);
    branch_reply(asked, reply, revision)
}

/// Nested replies carry the revision of the whole request.
fn branch_reply(asked: &Txn, reply: PbTxnResponse, revision: Revision) -> Result<TxnReply, Misfit> {
    let ops = if reply.succeeded {
        &asked.then
    } else {
        &asked.otherwise
    };
    if ops.len() != reply.responses.len() {
        return Err(Misfit("not one response for each operation"));
    }
    let mut responses = Vec::with_capacity(ops.len());
    for (op, response) in ops.iter().zip(reply.responses) {
        let response = response.response.ok_or(Misfit("an empty response"))?;
        responses.push(op_reply(op, response, revision)?);
    }
    Ok(TxnReply {
        succeeded: reply.succeeded,
        revision,
        responses,
    })
}

fn op_reply(op: &Op, reply: PbTxnOpResponse, revision: Revision) -> Result<OpReply, Misfit> {
    Ok(match (op, reply) {
        (Op::Put { .. }, PbTxnOpResponse::ResponsePut(_)) => OpReply::Put,
        (Op::DeleteSpan(span), PbTxnOpResponse::ResponseRange(_)) if bounds(span).is_none() => {
            OpReply::Deleted { count: 0 }
        }
        (Op::Delete(_) | Op::DeleteSpan(_), PbTxnOpResponse::ResponseDeleteRange(reply)) => {
            let count = usize::try_from(reply.deleted).map_err(|_| Misfit("a negative count"))?;
            OpReply::Deleted { count }
        }
        (Op::Get(_), PbTxnOpResponse::ResponseRange(reply)) => {
            OpReply::Get(entries(reply.kvs)?.into_iter().next())
        }
        (Op::GetRange { span, .. }, PbTxnOpResponse::ResponseRange(_))
            if bounds(span).is_none() =>
        {
            OpReply::Range {
                entries: Vec::new(),
                more: false,
            }
        }
        (Op::GetRange { .. }, PbTxnOpResponse::ResponseRange(reply)) => {
            let (entries, more) = page(reply)?;
            OpReply::Range { entries, more }
        }
        (Op::Txn(nested), PbTxnOpResponse::ResponseTxn(reply)) => {
            OpReply::Txn(branch_reply(nested, reply, revision)?)
        }
        _ => return Err(Misfit("a response of another kind")),
    })
}

/// The entries of a range response, and whether there are more.
pub(super) fn page(reply: PbRangeResponse) -> Result<(Vec<KeyValue>, bool), Misfit> {
    Ok((entries(reply.kvs)?, reply.more))
}

fn entries(stored: Vec<PbKeyValue>) -> Result<Vec<KeyValue>, Misfit> {
    stored.into_iter().map(entry).collect()
}

fn entry(stored: PbKeyValue) -> Result<KeyValue, Misfit> {
    if stored.key.is_empty() {
        return Err(Misfit("an empty key"));
    }
    Ok(KeyValue {
        key: Key::new(Bytes::from(stored.key)),
        value: Value::new(Bytes::from(stored.value)),
        create_revision: Revision(stored.create_revision),
        mod_revision: Revision(stored.mod_revision),
        session: (stored.lease != 0).then_some(SessionLease(stored.lease)),
    })
}

/// An event with the revision that made it.
pub(super) fn event(event: PbEvent) -> Result<(Revision, WatchEvent), Misfit> {
    /// `mvccpb.Event.EventType`.
    const PUT: i32 = 0;
    const DELETE: i32 = 1;
    let stored = entry(event.kv.ok_or(Misfit("an event without a key"))?)?;
    let revision = stored.mod_revision;
    match event.r#type {
        PUT => Ok((revision, WatchEvent::Put(stored))),
        DELETE => Ok((revision, WatchEvent::Delete { key: stored.key })),
        _ => Err(Misfit("an event of an unknown type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_without_keys_is_never_sent_as_one_that_has_some() {
        let key = |text: &str| Key::from(text);
        let empty = [
            Span::between(key("b"), key("a")),
            Span::between(key("a"), key("a")),
            Span::between(key("a"), key("")),
            Span::between(key(""), key("")),
            // Sent as it is, this one would be every key of the store.
            Span::single(key("")),
        ];
        for span in empty {
            assert_eq!(bounds(&span), None, "{span:?}");
        }
    }

    #[test]
    fn spans_without_a_start_or_an_end_reach_to_the_first_and_last_key() {
        let bounds = |span: Span| bounds(&span).expect("a span with keys");
        assert_eq!(bounds(Span::prefix("")), (vec![0], vec![0]));
        assert_eq!(
            bounds(Span::prefix(Key::new(vec![0xff]))),
            (vec![0xff], vec![0])
        );
        assert_eq!(bounds(Span::prefix("a")), (b"a".to_vec(), b"b".to_vec()));
        assert_eq!(
            bounds(Span::single("a".into())),
            (b"a".to_vec(), b"a\0".to_vec())
        );
    }
}
