//! Who a client is and what it may do: SASL exchanges, principals and ACLs, without any I/O.
//!
//! Owns the rules of authentication (RFC 5802, RFC 7677, RFC 4616, RFC 7628) and authorization (Kafka's ACL model).
//! Everything here but [`nonce`] is a pure function or a state machine `(state, message) -> reply`; randomness and time
//! come in as arguments. Invariants:
//! - secrets are compared in constant time, wiped when dropped, and in no `Debug`, error or log;
//! - what a client sends is bounded before it is parsed ([`MESSAGE_BYTES_MAX`]) and never asserted;
//! - an unknown user costs and looks like a known one with a wrong password.

#![forbid(unsafe_code)]

pub mod acl;
pub mod exchange;
pub mod mapping;
mod nonce;
pub mod oauth;
pub mod plain;
pub mod principal;
pub mod proxy;
pub mod scram;
pub mod secret;

pub use exchange::{Exchange, Failure, Mechanism, Step};
pub use nonce::nonce;
pub use principal::Principal;

/// Bytes of one SASL message at most. Kafka bounds it by `sasl.server.max.receive.size` (512 KiB); the longest that
/// is sent in practice is a token of some 8 KiB.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
