//! [`ProducerSettings`]: how records are gathered, sent and repeated.

use std::time::Duration;

use segment::batch::Codec;

use crate::error::ClientError;

/// Batches of one partition that a broker remembers of an idempotent producer. With more on the
/// way, a repeated one might not be recognized.
const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;

/// What a produce request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// No answer at all: batches may be lost without notice.
    None,
    /// The leader has the batch.
    Leader,
    /// The batch is as safe as the cluster makes it.
    #[default]
    All,
}

impl Acks {
    pub(super) const fn on_wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How records are gathered, sent and repeated.
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    /// What a produce request waits for.
    pub acks: Acks,
    /// Whether the broker recognizes repeated batches. Needs [`Acks::All`].
    pub idempotent: bool,
    /// How batches are compressed.
    pub codec: Codec,
    /// Size, before compression, at which a batch is closed. A larger record has its own batch.
    pub batch_bytes: usize,
    /// Age at which a batch is closed by `poll` although it is not full.
    pub linger: Duration,
    /// Most batches of one partition on the way; at most 5 for an idempotent producer.
    pub in_flight_per_partition: usize,
    /// Most requests on the way to one broker.
    pub in_flight_per_broker: usize,
    /// Most bytes of one request, beyond which it carries one batch only.
    pub request_bytes: usize,
    /// Most bytes that wait to be acknowledged before `send` waits.
    pub buffer_bytes: usize,
    /// Longest time from a batch's first record to its acknowledgement, with all retries.
    pub delivery_timeout: Duration,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            codec: Codec::None,
            batch_bytes: 1_000_000,
            linger: Duration::from_millis(5),
            in_flight_per_partition: IDEMPOTENT_IN_FLIGHT_MAX,
            in_flight_per_broker: 32,
            request_bytes: 16 << 20,
            buffer_bytes: 64 << 20,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

impl ProducerSettings {
    pub(super) fn check(&self) -> Result<(), ClientError> {
        let refuse = |text: &str| Err(ClientError::Usage(text.to_owned()));
        if self.idempotent && self.acks != Acks::All {
            return refuse("an idempotent producer needs acks=all");
        }
        if self.idempotent && self.in_flight_per_partition > IDEMPOTENT_IN_FLIGHT_MAX {
            return refuse("an idempotent producer has at most 5 batches in flight a partition");
        }
        if self.in_flight_per_partition == 0 || self.in_flight_per_broker == 0 {
            return refuse("at least one request must be allowed in flight");
        }
        Ok(())
    }
}
