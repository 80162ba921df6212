//! Changing settings of brokers.

use segment::{BrokerId, SessionId};

use super::{Planned, guarded};
use crate::keys::broker_config::{self, BrokerConfigRecord};
use crate::keys::codec::Seen;
use crate::keys::space::Keyspace;

/// Replaces the settings of a broker, or of all: they are as they were read, and our session lives.
pub fn put_broker_config(
    space: &Keyspace,
    writer: SessionId,
    broker: Option<BrokerId>,
    seen: Option<&Seen<BrokerConfigRecord>>,
    record: BrokerConfigRecord,
) -> Planned<BrokerConfigRecord> {
    guarded(
        space,
        writer,
        broker_config::key(space, broker),
        seen,
        record,
    )
}
