//! Options: what a server is started with. Every bound of the server is here, with its default.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// How the server treats `If-None-Match` and `If-Match` on writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conditional {
    /// The check and the write are one step under the lock: of any number of writers one wins.
    #[default]
    Atomic,
    /// The conditions are silently ignored: each write succeeds.
    Ignored,
    /// The check and the write have a gap of [`RACY_GAP_MS`] between them: writers at the same
    /// time can all win, a later one is refused.
    Racy,
    /// Every write with a condition is refused with 501, as Backblaze B2 does.
    Refused,
    /// `If-None-Match` is kept as with [`Conditional::Atomic`]; every write with `If-Match` is answered with 412, as by
    /// Ceph's gateway 16.
    CreateOnly,
}

/// The gap between check and write in [`Conditional::Racy`], in milliseconds.
pub const RACY_GAP_MS: u64 = 5;

/// What [`crate::Server::start`] needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address of the S3 listener. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// Address of the control listener; `None` for no control listener.
    pub control: Option<SocketAddr>,
    /// Buckets that exist from the start. The first is the one that
    /// [`crate::Server::objects`] shows; it must be there.
    pub buckets: Vec<String>,
    /// The one access key that is known.
    pub access_key: String,
    /// The secret key that belongs to it.
    pub secret_key: String,
    /// How conditions on writes are treated.
    pub conditional: Conditional,
    /// Seed of the random numbers that rules with a probability or a range of delays draw.
    pub seed: u64,
    /// Bytes that all objects and parts may have together, 256 more counted for each; a write above
    /// it answers 507.
    pub memory_bytes: u64,
    /// Bytes of one request's body; above it the answer is `EntityTooLarge`.
    pub body_bytes: u64,
    /// Bytes of the bodies of all requests in flight; above it the answer is `SlowDown`.
    pub in_flight_bytes: u64,
    /// Bytes that each part but the last of a multipart upload must have at least.
    pub min_part_bytes: u64,
    /// Connections open at a time; more wait to be accepted.
    pub connections: usize,
    /// Entries of the request log; the oldest are forgotten.
    pub log_entries: usize,
    /// Changes remembered for a stale LIST; older states cannot be shown.
    pub history_entries: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            control: None,
            buckets: vec!["test".to_owned()],
            access_key: "test-access".to_owned(),
            secret_key: "test-secret".to_owned(),
            conditional: Conditional::Atomic,
            seed: 1,
            memory_bytes: 4 << 30,
            body_bytes: 1 << 30,
            in_flight_bytes: 2 << 30,
            min_part_bytes: 5 << 20,
            connections: 1024,
            log_entries: 100_000,
            history_entries: 100_000,
        }
    }
}
