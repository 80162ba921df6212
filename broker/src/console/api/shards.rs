//! The shards of this broker, from their counters.

use serde::Serialize;

use crate::console::service::Service;

/// One shard.
#[derive(Debug, Serialize)]
pub(super) struct ShardRow {
    shard: usize,
    /// Which part of its core its thread has used over the last ten seconds.
    utilization: Option<f64>,
    partitions: i64,
    connections: i64,
    requests_in_flight: i64,
    fetch_waiters: i64,
    /// Turns of its loop that took longer than 500 us, since the session began.
    stalls: u64,
    memory: Memory,
    cache: Cache,
}

/// The memory budget of a shard.
#[derive(Debug, Serialize)]
struct Memory {
    budget_bytes: i64,
    request_bytes: i64,
    unacknowledged_bytes: i64,
    unsent_bytes: i64,
}

/// The cache of a shard.
#[derive(Debug, Serialize)]
struct Cache {
    budget_bytes: i64,
    tail_bytes: i64,
    place_bytes: i64,
    chunk_bytes: i64,
    tail_hits: u64,
    tail_misses: u64,
    chunk_hits: u64,
    chunk_misses: u64,
}

/// All shards, in order.
pub(super) fn rows(service: &Service) -> Vec<ShardRow> {
    let utilization = service.history.borrow().utilization();
    let rows = service.cells.iter().zip(utilization).enumerate();
    rows.map(|(shard, (cells, utilization))| ShardRow {
        shard,
        utilization: utilization.map(|part| (part * 1_000.0).round() / 1_000.0),
        partitions: cells.partitions.get(),
        connections: cells.connections.get(),
        requests_in_flight: cells.requests_in_flight.get(),
        fetch_waiters: cells.fetch_waiters.get(),
        stalls: cells.stalls.get(),
        memory: Memory {
            budget_bytes: cells.memory_budget.get(),
            request_bytes: cells.memory_requests.get(),
            unacknowledged_bytes: cells.memory_unacknowledged.get(),
            unsent_bytes: cells.memory_unsent.get(),
        },
        cache: Cache {
            budget_bytes: cells.cache_budget.get(),
            tail_bytes: cells.tail_bytes.get(),
            place_bytes: cells.place_bytes.get(),
            chunk_bytes: cells.chunk_bytes.get(),
            tail_hits: cells.tail_hits.get(),
            tail_misses: cells.tail_misses.get(),
            chunk_hits: cells.chunk_hits.get(),
            chunk_misses: cells.chunk_misses.get(),
        },
    })
    .collect()
}
