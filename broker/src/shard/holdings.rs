//! What the shards of a simulated thread hold, for a check that everything is given back.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::{Shard, ShardId};

thread_local! {
    static SHARDS: RefCell<Vec<Weak<Shard>>> = const { RefCell::new(Vec::new()) };
}

/// What one shard holds for its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Which one, of some broker.
    pub shard: ShardId,
    /// Connections that are open.
    pub connections: usize,
    /// Bytes of requests that are reserved.
    pub request_bytes: u64,
    /// Bytes of replies that are not sent.
    pub unsent_bytes: u64,
    /// Bytes that were appended and are not durable.
    pub unacknowledged_bytes: u64,
    /// Produce calls that are not answered.
    pub calls: usize,
    /// Fetches that wait for records.
    pub waiters: i64,
    /// Members of groups.
    pub members: usize,
}

impl Holding {
    /// Whether there is nothing.
    pub fn is_nothing(&self) -> bool {
        let Self {
            shard: _,
            connections,
            request_bytes,
            unsent_bytes,
            unacknowledged_bytes,
            calls,
            waiters,
            members,
        } = self;
        *connections == 0
            && [*request_bytes, *unsent_bytes, *unacknowledged_bytes] == [0; 3]
            && *calls == 0
            && *waiters == 0
            && *members == 0
    }
}

/// A shard begins.
pub(super) fn register(shard: &Rc<Shard>) {
    SHARDS.with_borrow_mut(|shards| {
        shards.retain(|shard| shard.strong_count() > 0);
        shards.push(Rc::downgrade(shard));
    });
}

/// What every shard of this thread holds that is not gone.
pub fn all() -> Vec<Holding> {
    SHARDS.with_borrow(|shards| shards.iter().filter_map(Weak::upgrade).map(of).collect())
}

fn of(shard: Rc<Shard>) -> Holding {
    let mut members = 0;
    shard.groups.for_each(|_, count| members += count);
    Holding {
        shard: shard.id,
        connections: shard.connections.len(),
        request_bytes: shard.connections.memory.used(),
        unsent_bytes: shard.connections.unsent.bytes(),
        unacknowledged_bytes: shard.produce.unacknowledged(),
        calls: shard.produce.calls(),
        waiters: shard.metrics.fetch_waiters.get(),
        members,
    }
}
