//! [`ClientError`]: what can go wrong between a client and its cluster, and what to do about it.

use std::time::Duration;

use segment::record::{BuildError, RecordError};
use wire::{DecodeError, EncodeError, ErrorCode};

use crate::metadata::TopicPartition;

/// What a failure means to a caller that has no time for its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No broker could be reached.
    Unreachable,
    /// The time was over before the operation was done.
    TimedOut,
    /// The request itself is at fault: an option or a name that cannot be used.
    Usage,
    /// Anything else: the operation failed.
    Failed,
}

/// Why an operation of the client failed. The text says what to do next where that is known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// No address of the list could be connected to.
    #[error(
        "cannot connect to {addresses}: {cause}; is a broker running? start one with `kafscale \
         broker`, or name another with --bootstrap-server"
    )]
    Unreachable {
        /// The addresses that were tried.
        addresses: String,
        /// What the last one failed with.
        cause: String,
    },
    /// A broker that the cluster names could not be connected to.
    #[error(
        "cannot connect to broker {node} at {address}: {cause}; the cluster tells its clients to \
         connect there: if that address is wrong, start the broker with the right advertised host \
         and port"
    )]
    Advertised {
        /// Id of the broker.
        node: i32,
        /// Where the cluster says that it is.
        address: String,
        /// What the attempt failed with.
        cause: String,
    },
    /// The peer and the client do not agree on TLS.
    #[error(
        "no TLS with {address}: {cause}; does the listener speak TLS, is its certificate for that \
         name, and does --ca-file hold its authority?"
    )]
    Tls {
        /// The peer.
        address: String,
        /// What it failed with.
        cause: String,
    },
    /// The connection ended in the middle of a conversation.
    #[error("the connection to {address} broke: {cause}")]
    Broken {
        /// The peer.
        address: String,
        /// What it ended with.
        cause: String,
    },
    /// The time was over.
    #[error("{operation} timed out after {} s{}", .after.as_secs_f32(), because(.last))]
    TimedOut {
        /// What was attempted.
        operation: String,
        /// How long it was attempted.
        after: Duration,
        /// What the last attempt failed with, if it failed.
        last: Option<String>,
    },
    /// The peer answers, but not as a Kafka broker does.
    #[error("{address} does not answer as a Kafka broker does: {reason}")]
    Protocol {
        /// The peer.
        address: String,
        /// What was wrong.
        reason: String,
    },
    /// The broker serves no version of a request that this client can send.
    #[error("the broker at {address} cannot do {api} in a version that this client knows")]
    NotServed {
        /// The peer.
        address: String,
        /// Name of the request.
        api: &'static str,
    },
    /// The broker answered with an error code.
    #[error("{operation}: {}", reason(*.code, .message))]
    Refused {
        /// What was attempted.
        operation: String,
        /// The broker's code.
        code: ErrorCode,
        /// The broker's words, if it had any.
        message: Option<String>,
    },
    /// The topic does not exist.
    #[error("topic {topic} does not exist; create it with `kafscale topic create {topic}`")]
    UnknownTopic {
        /// The name.
        topic: String,
    },
    /// The topic exists without that partition.
    #[error("topic {topic} has no partition {partition}: it has {count}, numbered from 0")]
    UnknownPartition {
        /// The name.
        topic: String,
        /// The partition that was asked for.
        partition: i32,
        /// Partitions that there are.
        count: usize,
    },
    /// A position outside the log, where no reset was allowed.
    #[error("offset {offset} of {partition} is out of range: its log holds {start} to {end}")]
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The position that was asked for.
        offset: i64,
        /// First offset of the log.
        start: i64,
        /// Offset after the last one.
        end: i64,
    },
    /// A committed offset was to be moved by some records, and there is none.
    #[error("the group has no committed offset of {partition} to shift")]
    NothingToShift {
        /// The partition.
        partition: TopicPartition,
    },
    /// A record that cannot be put into a batch.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A batch that was read is damaged.
    #[error("{partition} holds a batch that cannot be read, at offset {offset} or after: {cause}")]
    Damaged {
        /// The partition.
        partition: TopicPartition,
        /// The position that was read from.
        offset: i64,
        /// What is wrong with the batch.
        cause: RecordError,
    },
    /// A request that cannot be encoded, for example because a name is too long.
    #[error("cannot encode a request: {0}")]
    Encode(#[from] EncodeError),
    /// An option that cannot be used.
    #[error("{0}")]
    Usage(String),
}

fn because(last: &Option<String>) -> String {
    match last {
        Some(last) => format!("; the last attempt failed: {last}"),
        None => String::new(),
    }
}

/// The broker's words, or the name of its code, with a hint where one helps.
fn reason(code: ErrorCode, message: &Option<String>) -> String {
    let words = match message {
        Some(message) if !message.is_empty() => format!("{message} ({})", code.name()),
        _ => code.to_string(),
    };
    match hint(code) {
        Some(hint) => format!("{words}; {hint}"),
        None => words,
    }
}

fn hint(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => {
            "raise max.message.bytes of the topic, or send smaller batches (--batch-bytes)"
        }
        ErrorCode::NON_EMPTY_GROUP => "the group has active members: stop them first",
        ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID => {
            "the group no longer knows this member"
        }
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID => {
            "the broker lost track of this producer; check what arrived before sending again"
        }
        _ => return None,
    })
}

impl ClientError {
    /// What the failure means to a caller that has no time for its details.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Unreachable { .. } | Self::Advertised { .. } | Self::Broken { .. } => {
                FailureKind::Unreachable
            }
            Self::TimedOut { .. } => FailureKind::TimedOut,
            Self::Usage(_) => FailureKind::Usage,
            Self::Refused { code, .. } if *code == ErrorCode::REQUEST_TIMED_OUT => {
                FailureKind::TimedOut
            }
            _ => FailureKind::Failed,
        }
    }

    /// Whether the same may succeed when it is tried again on another connection or a little later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Advertised { .. } | Self::Broken { .. } => true,
            Self::Refused { code, .. } => code.retriable(),
            _ => false,
        }
    }

    /// The broker's code, if that is what the failure is.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::UnknownTopic { .. } => Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            _ => None,
        }
    }

    /// What an operation fails with whose last attempt failed so: a timeout, unless nobody could be
    /// reached, which says more.
    pub(crate) fn after(self, operation: &str, after: Duration) -> Self {
        match self.kind() {
            FailureKind::Unreachable => self,
            _ => {
                let (operation, last) = (operation.to_owned(), Some(self.to_string()));
                Self::TimedOut {
                    operation,
                    after,
                    last,
                }
            }
        }
    }

    /// `Ok` for no error, else the refusal of `operation`.
    pub fn check(
        operation: impl FnOnce() -> String,
        code: ErrorCode,
        message: Option<&str>,
    ) -> Result<(), Self> {
        if code.is_none() {
            return Ok(());
        }
        let message = message.map(str::to_owned);
        Err(Self::Refused {
            operation: operation(),
            code,
            message,
        })
    }

    pub(crate) fn decode(address: &str, error: &DecodeError) -> Self {
        Self::Protocol {
            address: address.to_owned(),
            reason: error.to_string(),
        }
    }
}
