//! Produce at the owner: append, and answer when durable.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use coord::mark;
use coord::planted::{self, Bug};
use futures_channel::oneshot;
use segment::{Offset, TopicPartition};

use super::handle::{ProduceCall, ProduceError, ProduceOutcome, Produced};
use super::{Shard, ShardMsg};
use crate::partition::producers::SequenceError;
use crate::partition::{Append, AppendError, Appended, Completion, Ticket};

/// Bits of a ticket that hold the part's index inside its call.
const PART_BITS: u32 = 20;

/// A call of which parts wait for their flush.
#[derive(Debug)]
struct Call {
    outcomes: ProduceOutcome,
    missing: usize,
    reply: oneshot::Sender<ProduceOutcome>,
}

/// Produce calls that wait. Shard-owned.
#[derive(Debug, Default)]
pub(super) struct Produce {
    calls: RefCell<HashMap<u64, Call>>,
    next: Cell<u64>,
    touched: RefCell<Vec<TopicPartition>>,
    unacknowledged: Cell<u64>,
}

impl Produce {
    /// The partitions that were appended to since the last seal, each once, in order of first append.
    pub(super) fn take_touched(&self) -> Vec<TopicPartition> {
        std::mem::take(&mut self.touched.borrow_mut())
    }

    /// A partition has something to seal.
    pub(super) fn touch(&self, id: TopicPartition) {
        self.touched.borrow_mut().push(id);
    }

    /// Bytes appended that are not durable yet.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.unacknowledged.get()
    }

    /// Calls that are not answered.
    #[cfg(feature = "simulation")]
    pub(super) fn calls(&self) -> usize {
        self.calls.borrow().len()
    }

    /// Bytes of sections that became durable (or were dropped) no longer count as waiting.
    pub(super) fn settled(&self, bytes: u64) {
        self.unacknowledged
            .set(self.unacknowledged.get().saturating_sub(bytes));
    }

    /// Batches are durable: sets their outcomes and answers the calls that are complete.
    pub(super) fn complete(&self, completions: &[Completion], log_start: Offset) {
        for completion in completions {
            let mut base_offset = completion.base_offset;
            if planted::is_planted(Bug::BaseOffsetOffByOne) {
                base_offset = base_offset.next().unwrap_or(base_offset);
            }
            self.set(
                completion.ticket,
                Ok(Produced {
                    base_offset,
                    log_start,
                }),
            );
        }
    }

    /// Batches will not become durable here.
    pub(super) fn fail(&self, tickets: &[Ticket], error: ProduceError) {
        for ticket in tickets {
            self.set(*ticket, Err(error));
        }
    }

    fn set(&self, ticket: Ticket, outcome: Result<Produced, ProduceError>) {
        let mut calls = self.calls.borrow_mut();
        let id = ticket.0 >> PART_BITS;
        let part = (ticket.0 & ((1 << PART_BITS) - 1)) as usize;
        let call = calls
            .get_mut(&id)
            .expect("a ticket is completed once, while its call waits");
        call.outcomes[part] = outcome;
        call.missing -= 1;
        if call.missing == 0
            && let Some(call) = calls.remove(&id)
        {
            // A client that went away, or whose time is up, does not listen any more.
            let _ = call.reply.send(call.outcomes);
        }
    }
}

impl Shard {
    /// Sends a call to the owner of its partitions. Calls from one task arrive in the order in which they
    /// were sent: this fixes the order of appends on a connection.
    pub(crate) async fn send_produce(&self, owner: super::ShardId, call: ProduceCall) {
        if owner == self.id {
            self.produce(call);
            return;
        }
        self.metrics.hops.increment();
        let peer = &self.shared.peers[owner.index()];
        if peer.send(ShardMsg::Produce(call)).await.is_err() {
            tracing::debug!("a produce request met a shard that has ended");
        }
    }

    /// Appends the parts of a call to the logs of this shard.
    pub(super) fn produce(&self, call: ProduceCall) {
        let refused = self
            .shared
            .produce_refused
            .load(std::sync::atomic::Ordering::Relaxed);
        let id = self.produce.next.get();
        self.produce.next.set(id + 1);
        assert!(
            call.parts.len() < 1 << PART_BITS,
            "a request names a bounded number of partitions"
        );
        let mut outcomes = ProduceOutcome::with_capacity(call.parts.len());
        let mut missing = 0;
        for (index, part) in call.parts.into_iter().enumerate() {
            let ticket = Ticket(id << PART_BITS | index as u64);
            let append = Append {
                bytes: part.bytes,
                memory: part.memory,
                header: part.header,
                ticket: Some(ticket),
                now: call.now,
            };
            let outcome = if refused {
                Err(ProduceError::Unavailable)
            } else {
                self.append(part.id, append)
            };
            if let Err(error) = &outcome {
                self.count_refused(error);
            }
            let outcome = outcome.map(|produced| {
                produced.unwrap_or_else(|| {
                    missing += 1;
                    Produced {
                        base_offset: Offset::NONE,
                        log_start: Offset::NONE,
                    }
                })
            });
            outcomes.push(outcome);
        }
        if missing == 0 {
            let _ = call.reply.send(outcomes);
            return;
        }
        let waiting = Call {
            outcomes,
            missing,
            reply: call.reply,
        };
        self.produce.calls.borrow_mut().insert(id, waiting);
    }

    /// Appends one batch; `None` when its ticket will be completed later.
    fn append(&self, id: TopicPartition, append: Append) -> Result<Option<Produced>, ProduceError> {
        let bytes = append.bytes.len() as u64;
        let waiting = self.produce.unacknowledged.get();
        if waiting > 0 && waiting + bytes > self.shared.config.memory_bytes_per_shard() / 2 {
            return Err(ProduceError::Backlog);
        }
        let appended = self.with_log(id, |log| {
            let first = log.open_bytes() == 0;
            let appended = log.append(append)?;
            let watch = log.watch_producers();
            Ok::<_, ProduceError>((appended, first, watch, log.open_bytes(), log.log_start()))
        });
        let (appended, first, watch, open_bytes, log_start) =
            appended.ok_or(ProduceError::NotOwner)??;
        if watch {
            self.watch_producers(id);
        }
        match appended {
            Appended::Pending => {
                if first {
                    self.produce.touch(id);
                }
                self.produce.unacknowledged.set(waiting + bytes);
                self.appended(open_bytes, bytes);
                Ok(None)
            }
            Appended::Joined => {
                mark!(RetryJoined);
                self.metrics.produce_duplicates.increment();
                Ok(None)
            }
            Appended::Durable { base_offset } => {
                mark!(RetryDurable);
                self.metrics.produce_duplicates.increment();
                Ok(Some(Produced {
                    base_offset,
                    log_start,
                }))
            }
        }
    }

    fn count_refused(&self, error: &ProduceError) {
        let cells = &self.metrics;
        match error {
            ProduceError::Append(AppendError::Sequence(SequenceError::Fenced { .. })) => {
                mark!(ProducerFenced);
                cells.produce_fenced.increment();
            }
            ProduceError::Append(AppendError::Sequence(SequenceError::OutOfOrder { .. })) => {
                mark!(OutOfOrder);
                cells.produce_sequence.increment();
            }
            ProduceError::Backlog => {
                mark!(Backlog);
                cells.produce_backlog.increment();
            }
            ProduceError::Unavailable => {
                mark!(Unavailable);
                cells.produce_unavailable.increment();
            }
            ProduceError::NotOwner => mark!(NotOwner),
            ProduceError::Append(AppendError::Released | AppendError::Exhausted) => {}
        }
    }
}
