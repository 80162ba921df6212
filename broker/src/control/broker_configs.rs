//! Changing settings of brokers while they run (Kafka's IncrementalAlterConfigs and AlterConfigs).
//!
//! Control thread. A change is durable, and the snapshot of this broker has it, before it is answered; others learn of
//! it by their watch.

use std::collections::BTreeMap;

use coord::keys::broker_config::{self, BrokerConfigRecord};
use coord::keys::{plan, seen};
use segment::BrokerId;

use super::catalog::Catalog;
use super::commit::{CommitError, commit};
use super::context::Context;
use super::handle::TopicError;

/// Tries of a change that meets others.
const TRIES_MAX: usize = 8;

/// A change of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfigChange {
    /// The broker; none for every broker that has none of its own.
    pub broker: Option<BrokerId>,
    /// Values to set, and none to remove.
    pub changes: BTreeMap<String, Option<String>>,
    /// Whether what is not named goes.
    pub replaces: bool,
}

/// Makes a change durable and known here.
///
/// # Errors
/// [`TopicError::Unavailable`]: the metadata store cannot be reached, or others changed them at the same time.
pub async fn alter(
    context: &Context,
    catalog: &Catalog,
    change: BrokerConfigChange,
) -> Result<(), TopicError> {
    let unavailable = |error: CommitError| TopicError::Unavailable(error.to_string());
    let Context {
        kv, space, session, ..
    } = context;
    let key = broker_config::key(space, change.broker);
    for _ in 0..TRIES_MAX {
        let found = kv.get(key.clone()).await;
        let found = found.map_err(|error| unavailable(error.into()))?;
        let before = seen::<BrokerConfigRecord>(found.as_ref());
        let before = before.map_err(|error| unavailable(error.into()))?;
        let record = changed(before.as_ref().map(|it| &it.record), &change);
        if before
            .as_ref()
            .map_or_else(Default::default, |it| it.record.clone())
            == record
        {
            return Ok(());
        }
        let (writer, broker) = (session.id, change.broker);
        let planned = plan::put_broker_config(space, writer, broker, before.as_ref(), record);
        match commit(kv, &key, &planned, before.as_ref()).await {
            Ok(seen) => {
                context.view.broker_config_is(broker, &seen);
                catalog.publish();
                return Ok(());
            }
            Err(CommitError::Superseded) => {}
            Err(error) => return Err(unavailable(error)),
        }
    }
    Err(unavailable(CommitError::Superseded))
}

fn changed(before: Option<&BrokerConfigRecord>, change: &BrokerConfigChange) -> BrokerConfigRecord {
    let mut record = before
        .filter(|_| !change.replaces)
        .cloned()
        .unwrap_or_default();
    for (name, value) in &change.changes {
        match value {
            Some(value) => drop(record.values.insert(name.clone(), value.clone())),
            None => drop(record.values.remove(name)),
        }
    }
    record
}
