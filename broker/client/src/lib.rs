//! Small blocking Kafka client on top of wire: for the command line, perf and tests.
//!
//! Why it exists: the command line and the tests must not need another implementation of the
//! protocol, and one that shares the codec and the batch builder with the broker stays small.
//!
//! [`Client`] knows the cluster: it connects, agrees on versions with each broker, keeps the
//! metadata, routes requests to leaders and coordinators, and repeats what may be repeated.
//! [`Producer`] sends records in order, idempotently unless told otherwise. [`Fetcher`] reads
//! partitions with fetch sessions. [`GroupConsumer`] does so as a member of a group.
//!
//! Invariants: everything waits at most for a stated time; queues are bounded; a connection that
//! failed in the middle of a frame is never used again. Batches that arrive are checked by their
//! CRC before their records are shown.

#![forbid(unsafe_code)]

mod acls;
mod admin;
mod connection;
mod consumer;
mod error;
mod group;
mod groups;
mod metadata;
mod offsets;
mod partitioner;
mod pipe;
mod producer;
mod reset;
mod router;
mod sasl;
mod settings;
mod stream;
mod users;

pub use acls::{AclQuery, NameQuery};
pub use admin::{ConfigChange, ConfigEntry, NewTopic};
pub use connection::{Closer, Connection, Reply};
pub use consumer::{Fetched, Fetcher, FetcherSettings, OffsetReset};
pub use error::{ClientError, FailureKind};
pub use group::{GroupConsumer, GroupSettings};
pub use groups::{CommittedOffset, GroupDescription, GroupListing, GroupMember};
pub use metadata::{BrokerAddress, Metadata, PartitionInfo, TopicInfo, TopicPartition};
pub use offsets::{FoundOffset, OffsetSpec, list_offsets};
pub use partitioner::{murmur2, partition_of_key};
pub use producer::{Acknowledged, Acks, Produced, Producer, ProducerSettings};
pub use reset::{OffsetMove, ResetTarget};
pub use router::Client;
pub use sasl::SaslCredentials;
pub use settings::ClientSettings;
pub use stream::{ClientTls, Stream, TlsFiles, TlsState};
pub use users::StoredUser;
